//! Import circles between the source files of the pure layers.
//!
//! File A uses file B when code of A names an item that B defines: by `use`, by a path in the code,
//! or by a name that A itself re-exports. A path that goes through re-exports leads to the file
//! that defines the item, so a `mod.rs` that declares its children and re-exports their items is in
//! no circle. It is in one when it defines an item that a child uses and also uses an item of that
//! child. Methods are not followed: a call of `self.open()` names no file. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::source;

/// One file as a module: what it defines, what it binds by `use`, and the paths in its code.
struct Module {
    file: String,
    items: BTreeSet<String>,
    /// The name, and the path that it stands for.
    bindings: Vec<(String, Vec<String>)>,
    paths: Vec<source::Path>,
}

/// The modules by their paths from the crate's root: `["wire", "packet"]`.
struct Tree(BTreeMap<Vec<String>, Module>);

/// Each file with the files that it uses, and the line of the first use.
type Graph = BTreeMap<String, BTreeMap<String, usize>>;

/// The circles of `files`, which are paths below `src` with their texts.
pub(crate) fn check(files: &[(String, String)]) -> Vec<String> {
    faults(&Tree::new(files).graph())
}

fn faults(graph: &Graph) -> Vec<String> {
    let fault = |circle: &BTreeSet<String>| {
        let uses = circle.iter().flat_map(|from| {
            let inside = graph[from].iter().filter(|(to, _)| circle.contains(*to));
            inside.map(move |(to, line)| format!("  src/{from}:{line} uses src/{to}"))
        });
        let uses: Vec<String> = uses.collect();
        format!("{} files in a circle:\n{}", circle.len(), uses.join("\n"))
    };
    circles(graph).iter().map(fault).collect()
}

/// The sets of files that reach each other, each with more than one file.
fn circles(graph: &Graph) -> BTreeSet<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        graph.keys().map(|from| (from, reached_from(graph, from))).collect();
    graph
        .keys()
        .map(|from| {
            let mutual = reached[from].iter().filter(|to| reached[**to].contains(from));
            mutual.map(|to| (*to).clone()).collect::<BTreeSet<String>>()
        })
        .filter(|circle| circle.len() > 1)
        .collect()
}

fn reached_from<'a>(graph: &'a Graph, from: &String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = graph[from].keys().collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(graph[file].keys());
        }
    }
    reached
}

impl Tree {
    fn new(files: &[(String, String)]) -> Self {
        let modules = files.iter().map(|(file, text)| {
            let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let name = stem.split('/').map(str::to_owned).collect();
            (name, Module::new(file, text))
        });
        Self(modules.collect())
    }

    fn graph(&self) -> Graph {
        let of = |(name, module): (&Vec<String>, &Module)| {
            let mut uses = BTreeMap::new();
            for path in module.paths.iter().filter(|path| !path.exported) {
                let used = self.used(name, path);
                for file in used.into_iter().filter(|file| *file != module.file) {
                    uses.entry(file).or_insert(path.line);
                }
            }
            (module.file.clone(), uses)
        };
        self.0.iter().map(of).collect()
    }

    /// The file that defines what `path` names in the module `here`. A `use` of a module alone
    /// uses nothing yet: the paths that start with its name do.
    fn used(&self, here: &[String], path: &source::Path) -> Option<String> {
        self.resolve(here, &path.segments, 0).and_then(|found| match found {
            Found::Item(file) => Some(file),
            Found::Module => None,
        })
    }

    /// `depth` ends bindings that lead to themselves.
    fn resolve(&self, here: &[String], path: &[String], depth: usize) -> Option<Found> {
        let first = path.first()?;
        let (module, rest) = match first.as_str() {
            "crate" => (vec![], &path[1..]),
            "self" => (here.to_vec(), &path[1..]),
            "super" => (here.get(..here.len().checked_sub(1)?)?.to_vec(), &path[1..]),
            _ => return self.inside(here, path, depth, false),
        };
        if matches!(rest.first().map(String::as_str), Some("super")) {
            return self.resolve(&module, rest, depth);
        }
        self.inside(&module, rest, depth, true)
    }

    /// The item that `path` names inside the module `here`. Only a `sure` path leads to the
    /// module's own file when the name is not known there: it may be made by a macro.
    fn inside(&self, here: &[String], path: &[String], depth: usize, sure: bool) -> Option<Found> {
        if depth > 20 {
            return None;
        }
        let module = self.0.get(here);
        let Some(name) = path.first() else { return Some(Found::Module) };
        if name == "*" || name == "self" {
            return Some(Found::Module);
        }
        if path.len() > 1 || sure {
            let child: Vec<String> = here.iter().chain([name]).cloned().collect();
            if self.0.contains_key(&child) {
                return self.inside(&child, &path[1..], depth, true);
            }
        }
        let module = module?;
        if module.items.contains(name) {
            return Some(Found::Item(module.file.clone()));
        }
        for (bound, target) in &module.bindings {
            let long: Vec<String> = if bound == name {
                target.iter().chain(&path[1..]).cloned().collect()
            } else if bound == "*" {
                target[..target.len() - 1].iter().chain(path).cloned().collect()
            } else {
                continue;
            };
            let found = self.resolve(here, &long, depth + 1);
            if found.is_some() && (bound == name || path.len() == 1 || sure) {
                return found;
            }
        }
        sure.then(|| Found::Item(module.file.clone()))
    }
}

enum Found {
    /// An item, and the file that defines it.
    Item(String),
    Module,
}

impl Module {
    fn new(file: &str, text: &str) -> Self {
        let code = source::without_tests(&source::tokens(text));
        let paths = source::paths(&code);
        let bindings = paths.iter().filter(|path| path.imported).map(|path| {
            let last = match path.segments.as_slice() {
                [.., module, last] if last == "self" => module,
                [.., last] => last,
                [] => unreachable!("a path has a segment"),
            };
            let name = path.alias.clone().unwrap_or_else(|| last.clone());
            let mut target = path.segments.clone();
            target.pop_if(|last| last == "self");
            (name, target)
        });
        Self { file: file.to_owned(), items: items(&code), bindings: bindings.collect(), paths }
    }
}

/// The names that the module defines outside of blocks.
fn items(code: &[source::Token]) -> BTreeSet<String> {
    const KEYWORDS: &[&str] =
        &["const", "enum", "fn", "macro_rules", "static", "struct", "trait", "type", "union"];
    let mut items = BTreeSet::new();
    let mut depth = 0_usize;
    for (at, token) in code.iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            word if depth == 0 && KEYWORDS.contains(&word) => {
                let name = code[at + 1..].iter().find(|token| token.text != "!");
                items.extend(name.map(|token| token.text.clone()));
            }
            _ => {}
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of `files`, each a list of names.
    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let files: Vec<(String, String)> =
            files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        let found = circles(&Tree::new(&files).graph());
        found.into_iter().map(|circle| circle.into_iter().collect()).collect()
    }

    #[test]
    fn planted_circles_are_found() {
        let pairs = [
            // By `use`, by paths in the code, by a name of the module, by a glob.
            ("use super::b::B; pub struct A;", "use super::a::A; pub struct B;"),
            ("pub fn f() { super::b::g() }", "pub fn g() { crate::wire::a::f() }"),
            ("use super::b; pub fn f() { b::g() }", "use crate::wire::a::f; pub fn g() {}"),
            ("use super::b::*; pub fn f() { g() }", "use super::a::f; pub fn g() {}"),
            (
                "use super::{b::g as h}; pub fn f() {}",
                "use super::a::{self}; pub fn g() { a::f() }",
            ),
            (
                "pub fn f() { super::b::g::<u8>() }",
                "pub type T = u8; impl super::a::f for T {} fn g() {}",
            ),
        ];
        for (a, b) in pairs {
            let found =
                found(&[("wire/a.rs", a), ("wire/b.rs", b), ("wire/mod.rs", "mod a; mod b;")]);
            assert_eq!(found, [["wire/a.rs", "wire/b.rs"]], "{a}\n{b}");
        }
    }

    #[test]
    fn a_parent_is_in_a_circle_when_it_defines_what_its_child_uses() {
        let child = ("wire/a.rs", "use super::Item; pub fn f() {}");
        for parent in [
            "mod a; pub struct Item; fn g() { a::f() }",
            "mod a; use a::f; pub struct Item;",
            "mod a; pub use a::f; pub struct Item; fn g() { f() }",
        ] {
            assert_eq!(found(&[child, ("wire/mod.rs", parent)]).len(), 1, "{parent}");
        }
    }

    #[test]
    fn a_use_through_re_exports_leads_to_the_file_that_defines_the_item() {
        let parent = ("wire/mod.rs", "mod a; mod b; pub use a::A; pub(crate) use self::b::{B};");
        let a = ("wire/a.rs", "pub struct A; use super::B;");
        assert_eq!(found(&[parent, a, ("wire/b.rs", "pub struct B;")]).len(), 0);
        assert_eq!(found(&[parent, a, ("wire/b.rs", "pub struct B(crate::wire::A);")]).len(), 1);
    }

    #[test]
    fn what_is_no_circle_passes() {
        let clean = [
            ("use super::b::B; pub struct A;", "/* super::a::A */ pub struct B;"),
            (
                "use super::b::B; pub struct A;",
                "pub struct B; #[cfg(test)] mod tests { use super::super::a::A; }",
            ),
            ("use super::b::B; pub struct A;", "pub struct B; fn f(a: u8) -> u8 { a }"),
            ("use std::fmt; pub struct A;", "use super::a::A; use std::fmt;"),
        ];
        for (a, b) in clean {
            let files = [("wire/a.rs", a), ("wire/b.rs", b), ("wire/mod.rs", "mod a; mod b;")];
            assert_eq!(found(&files), Vec::<Vec<String>>::new(), "{a}\n{b}");
        }
    }

    #[test]
    fn a_fault_shows_the_lines_that_make_the_circle() {
        let uses = |to: &str| BTreeMap::from([(to.to_owned(), 7)]);
        let graph = Graph::from([
            ("a.rs".to_owned(), uses("b.rs")),
            ("b.rs".to_owned(), uses("a.rs")),
            ("c.rs".to_owned(), uses("a.rs")),
        ]);
        let circle = "2 files in a circle:\n  src/a.rs:7 uses src/b.rs\n  src/b.rs:7 uses src/a.rs";
        assert_eq!(faults(&graph), [circle]);
    }
}
