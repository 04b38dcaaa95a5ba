//! Each type name of `src` has one meaning: no two files declare a type of the same name.

use std::collections::BTreeMap;

use super::source::{self, Token};

/// Names that two files may declare, and why.
const SHARED: &[(&str, &str)] = &[
    ("Header", "always written with its module: `tcp::Header`, `virtio::Header`"),
    ("LinkMtus", "the same type; `host` imports no other layer, and neither does `balancer` it"),
];

/// The words that start the declaration of a type.
const KEYWORDS: &[&str] = &["enum", "struct", "trait", "type", "union"];

/// The names that several of the files declare; `files` holds paths below `src` and texts.
pub(crate) fn check(files: &[(String, String)]) -> Vec<String> {
    let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in files {
        for (line, name) in declarations(&source::without_tests(&source::tokens(text))) {
            declared.entry(name).or_default().push(format!("src/{file}:{line}"));
        }
    }
    let several = declared.into_iter().filter(|(name, positions)| {
        positions.len() > 1 && !SHARED.iter().any(|(shared, _)| shared == name)
    });
    several
        .map(|(name, positions)| {
            format!("{name} is declared several times: {}", positions.join(", "))
        })
        .collect()
}

/// The types that a file declares, with their lines. An associated `type` of a trait or an `impl`
/// does not count; its name is the trait's.
fn declarations(tokens: &[Token]) -> Vec<(usize, String)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut depth = 0_i32;
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            word if KEYWORDS.contains(&word) && (word != "type" || depth == 0) => {
                let name = text(at + 1);
                if name.starts_with(char::is_uppercase) {
                    found.push((token.line, name.to_owned()));
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn a_name_that_two_files_declare_is_reported() {
    let files = |one: &str, other: &str| {
        check(&[("a.rs".to_owned(), one.to_owned()), ("b/c.rs".to_owned(), other.to_owned())])
    };
    let faults = [
        ("struct Table;", "\npub(super) enum Table { A }"),
        ("type Table = u8;", "\npub trait Table {}"),
        ("fn f() { struct Table; }", "\nunion Table { a: u8 }"),
    ];
    for (one, other) in faults {
        let expected = "Table is declared several times: src/a.rs:1, src/b/c.rs:2";
        assert_eq!(files(one, other), [expected], "{one} {other}");
    }
    let clean = [
        ("struct Table;", "struct Tables;"),
        ("struct Table;", "use crate::a::Table; fn f(_: Table) {}"),
        ("struct Table;", "#[cfg(test)] mod tests { struct Table; }"),
        ("trait A { type Item; }", "impl B for C { type Item = u8; }"),
        ("struct Table;", "// struct Table;\nconst A: &str = \"struct Table;\";"),
        ("struct Header;", "struct Header;"),
    ];
    for (one, other) in clean {
        assert_eq!(files(one, other), Vec::<String>::new(), "{one} {other}");
    }
}
