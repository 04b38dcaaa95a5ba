//! Checks the layers of `src/lib.rs`: the imports of each layer, the names that pure layers must
//! not use, and the place of `unsafe`; and that a type's name is declared once. The checkers are
//! tested on planted violations.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "layering/circles.rs"]
mod circles;
#[path = "layering/names.rs"]
mod names;
#[path = "layering/sizes.rs"]
mod sizes;
#[path = "layering/source.rs"]
mod source;

/// Which layers a layer may import, besides itself. `lib` only declares modules.
const IMPORTS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("model", &["wire"]),
    ("balancer", &["model", "wire"]),
    ("decap", &["wire"]),
    ("health", &["model"]),
    ("config", &["balancer", "health", "model", "wire"]),
    ("control", &["balancer", "health", "model", "wire"]),
    ("metrics", &["control"]),
    ("trace", &["balancer", "config", "control", "model", "wire"]),
    ("doctor", &["control", "model", "wire"]),
    ("host", &[]),
    ("sys", &[]),
    ("netns", &[]),
    ("demo", &["netns"]),
    (
        "app",
        &[
            "balancer", "config", "control", "decap", "demo", "doctor", "health", "host",
            "metrics", "model", "sys", "trace", "wire",
        ],
    ),
    ("bin", &["app"]),
    ("lib", &[]),
];

/// The pure layers.
const PURE: &[&str] = &[
    "wire", "model", "balancer", "decap", "config", "control", "doctor", "health", "host",
    "metrics", "trace",
];

/// Crates that do IO, or that only the glue may use.
const IMPURE_CRATES: &[&str] = &[
    "anyhow",
    "aya",
    "clap",
    "env_logger",
    "futures_util",
    "libc",
    "log",
    "mio",
    "rtnetlink",
    "sd_notify",
    "socket2",
    "tokio",
    "tun_rs",
];
const IMPURE_STD: &[&str] = &["env", "fs", "io", "os", "process", "thread"];
const SOCKETS: &[&str] =
    &["TcpListener", "TcpStream", "UdpSocket", "UnixDatagram", "UnixListener", "UnixStream"];
const PRINTS: &[&str] = &["dbg!", "eprint!", "eprintln!", "print!", "println!"];

/// Module names that do not describe the content.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "manager", "misc", "types", "util", "utils"];

/// The only file with locks that several readers share: one that takes such a lock twice waits for
/// ever if a writer waits in between.
const SHARED_LOCK: &str = "app/latest.rs";

const BIN_LINES_MAX: usize = 40;

#[test]
fn the_sources_keep_the_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 20, "only {} source files found under {}", files.len(), root.display());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).expect("a source file is readable text");
            check(file.strip_prefix(&root).expect("the walk starts there"), &text)
        })
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn no_file_of_the_pure_layers_is_in_a_circle() {
    let mut texts = texts_without_tests();
    texts.retain(|(file, _)| {
        let layer = file.trim_end_matches(".rs").split('/').next();
        layer.is_some_and(|layer| PURE.contains(&layer))
    });
    let faults = circles::check(&texts);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn each_type_name_is_declared_once() {
    let faults = names::check(&texts_without_tests());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The paths below `src` and the texts of all files that are not tests.
fn texts_without_tests() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let texts = files.iter().map(|file| {
        let below = file.strip_prefix(&root).expect("the walk starts there");
        let text = fs::read_to_string(file).expect("a source file is readable text");
        (below.to_string_lossy().into_owned(), text)
    });
    texts
        .filter(|(file, _)| file.trim_end_matches(".rs").split('/').all(|name| name != "tests"))
        .collect()
}

#[test]
fn planted_violations_are_caught() {
    let plants = [
        ("wire/tcp.rs", "use crate::balancer::Verdict;", "wire must not import balancer"),
        ("wire/tcp.rs", "fn f() { crate::app::run() }", "wire must not import app"),
        ("wire/tcp.rs", "use super::super::balancer::Verdict;", "wire must not import balancer"),
        ("decap.rs", "use super::balancer::Verdict;", "decap must not import balancer"),
        ("config/diff.rs", "use crate::control::Reply;", "config must not import control"),
        ("model/listen.rs", "use crate::balancer::Change;", "model must not import balancer"),
        ("host/mod.rs", "use crate::wire;", "host must not import wire"),
        ("demo/mod.rs", "use crate::app::cli;", "demo must not import app"),
        ("sys/tun.rs", "use crate::balancer::{Reason, Verdict};", "sys must not import balancer"),
        ("bin/vstun.rs", "use vstun::wire::Packet;", "bin must not import wire"),
        ("app/mod.rs", "use crate::{sys, wire};", "groups of layers"),
        ("decap.rs", "use libc::c_int;", "`libc`"),
        ("decap.rs", "use log;", "`log`"),
        ("control/mod.rs", "fn f() -> anyhow::Result<()> { Ok(()) }", "`anyhow`"),
        ("wire/mod.rs", "fn f() { log::info!(\"x\") }", "`log`"),
        ("balancer/mod.rs", "use std::{collections::HashMap, fs};", "`std::fs`"),
        ("balancer/mod.rs", "use std::{io::{Read, Write}};", "`std::io`"),
        ("balancer/mod.rs", "fn f() { let _ = std::time::Instant::now(); }", "`Instant::now`"),
        ("balancer/mod.rs", "use std::net::UdpSocket;", "`UdpSocket`"),
        ("host/plan.rs", "fn f() { println!(\"x\") }", "`println!`"),
        ("app/mod.rs", "fn f() { unsafe { g() } }", "unsafe"),
        ("app/tests.rs", "fn f() { unsafe { g() } }", "unsafe"),
        ("app/mod.rs", "#[cfg(test)] mod tests { fn f() { unsafe { g() } } }", "unsafe"),
        ("app/host/mod.rs", "use tokio::sync::{mpsc, watch};", "app/latest.rs"),
        ("app/host/mod.rs", "fn f(lock: &std::sync::RwLock<u8>) {}", "app/latest.rs"),
        ("app/util.rs", "", "names nothing"),
        ("app/helpers/mod.rs", "", "names nothing"),
        ("app/mod.rs", "mod manager { }", "names nothing"),
        ("elsewhere/mod.rs", "", "not a layer"),
    ];
    for (path, text, expected) in plants {
        let faults = check(Path::new(path), text);
        assert_eq!(faults.len(), 1, "{path}: {text}\n{faults:?}");
        assert!(faults[0].contains(expected), "{path}: {text}\n{faults:?}");
    }
    let long = "fn main() {}\n".repeat(BIN_LINES_MAX + 1);
    assert!(check(Path::new("bin/vstun.rs"), &long)[0].contains("41 lines"));
}

#[test]
fn what_is_allowed_passes() {
    let clean = [
        ("wire/tcp.rs", "use super::protocol; use crate::wire::packet;"),
        ("balancer/mod.rs", "use std::net::{IpAddr, SocketAddr}; use std::time::Duration;"),
        ("balancer/mod.rs", "// unsafe std::fs println! crate::app\n/* libc:: /* nested */ */"),
        (
            "balancer/mod.rs",
            "const A: &str = \"crate::app unsafe \\\" std::fs\"; const B: char = '\"';",
        ),
        (
            "balancer/mod.rs",
            "const A: &str = r#\"unsafe \" std::fs\"#; fn f<'a>(log: &'a f64) { log.ln(); }",
        ),
        (
            "balancer/mod.rs",
            "#[cfg(test)]\n#[allow(dead_code)]\n\
             mod tests { use crate::app; fn f() { std::fs::x({}) } }",
        ),
        ("balancer/mod.rs", "#[cfg(test)] mod tests; fn g() {}"),
        ("balancer/tests.rs", "use crate::config::parse; fn f() { println!(\"x\") }"),
        ("app/run.rs", "use crate::sys::Tun; use crate::wire::Packet; use std::{fs, io};"),
        ("app/latest.rs", "use tokio::sync::watch;"),
        ("app/top.rs", "fn f(watch: u8) { watch::g() }"),
        ("sys/raw.rs", "fn f() { unsafe { libc::close(1) }; }"),
        ("bin/vstun.rs", "fn main() { vstun::app::cli::operator() }"),
    ];
    for (path, text) in clean {
        assert_eq!(check(Path::new(path), text), Vec::<String>::new(), "{path}: {text}");
    }
    assert!(check(Path::new("bin/vstun.rs"), &"\n".repeat(BIN_LINES_MAX)).is_empty());
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder is readable") {
        let path = entry.expect("a folder entry is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The faults of one file; `path` is below `src`.
fn check(path: &Path, text: &str) -> Vec<String> {
    let names: Vec<String> =
        path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    let layer = names.first().map_or("", String::as_str);
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("{}: {layer:?} is not a layer of src/lib.rs", path.display())];
    };
    // `src/wire/mod.rs` is the module `wire`, one level below the crate's root.
    let depth = names.iter().filter(|name| *name != "mod" && *name != "lib").count();
    let all = source::tokens(text);
    let file = File { layer, depth, allowed };
    let mut faults = file.names(&names, &source::paths(&all), text);
    if !names.iter().any(|name| name == "tests") {
        let code = source::without_tests(&all);
        let paths = source::paths(&code);
        faults.extend(file.imports(&code, &paths));
        if PURE.contains(&layer) {
            faults.extend(paths.iter().filter_map(impurity));
        }
        if path != Path::new(SHARED_LOCK) {
            faults.extend(paths.iter().filter_map(shared_lock));
        }
    }
    faults.dedup();
    let name = path.display();
    faults.into_iter().map(|(line, fault)| format!("src/{name}:{line}: {fault}")).collect()
}

/// A message and its line.
type Fault = (usize, String);

struct File<'a> {
    layer: &'a str,
    depth: usize,
    allowed: &'a [&'a str],
}

impl File<'_> {
    /// Rules for all code, tests included: `unsafe`, module names, the length of a program.
    fn names(&self, names: &[String], paths: &[source::Path], text: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut words = paths.iter().filter(|path| path.segments.len() == 1).peekable();
        while let Some(path) = words.next() {
            let next = words.peek().map_or("", |next| next.segments[0].as_str());
            match path.segments[0].as_str() {
                "unsafe" if self.layer != "sys" => {
                    faults.push((path.line, "unsafe outside of src/sys".to_owned()));
                }
                "mod" if EMPTY_NAMES.contains(&next) => {
                    faults.push((path.line, format!("module {next:?} names nothing")));
                }
                _ => {}
            }
        }
        for name in names.iter().filter(|name| EMPTY_NAMES.contains(&name.as_str())) {
            faults.push((1, format!("module {name:?} names nothing")));
        }
        let lines = text.lines().count();
        if self.layer == "bin" && lines > BIN_LINES_MAX {
            faults.push((lines, format!("{lines} lines; a program has at most {BIN_LINES_MAX}")));
        }
        faults
    }

    fn imports(&self, code: &[source::Token], paths: &[source::Path]) -> Vec<Fault> {
        let group = code
            .windows(4)
            .filter(|window| window.iter().map(|t| t.text.as_str()).eq(["use", "crate", "::", "{"]))
            .map(|window| (window[0].line, "no groups of layers: one layer per `use`".to_owned()));
        let in_group: Vec<usize> = group.clone().map(|(line, _)| line).collect();
        let crossing =
            paths.iter().filter(|path| !in_group.contains(&path.line)).filter_map(|path| {
                let target = self.target(path)?;
                let fine = target == self.layer || self.allowed.contains(&target);
                (!fine).then(|| (path.line, format!("{} must not import {target}", self.layer)))
            });
        group.chain(crossing).collect()
    }

    /// The layer that a path leads to; `None` if it stays inside its own or leaves the crate.
    fn target<'a>(&self, path: &'a source::Path) -> Option<&'a str> {
        let first = path.segments.first()?;
        let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
        let below_root = match first.as_str() {
            "crate" => 1,
            "vstun" if self.layer == "bin" => 1,
            "super" if supers >= self.depth => supers,
            _ => return None,
        };
        let target = path.segments.get(below_root)?.as_str();
        IMPORTS.iter().any(|(name, _)| *name == target).then_some(target)
    }
}

/// A lock that several readers share.
fn shared_lock(path: &source::Path) -> Option<Fault> {
    let ends_with_watch = |pair: &[String]| pair[0] == "sync" && pair[1] == "watch";
    let named = path.segments.iter().any(|segment| segment == "RwLock")
        || path.segments.windows(2).any(ends_with_watch);
    named.then(|| (path.line, format!("shared locks are only in {SHARED_LOCK}")))
}

/// The impure word of the path.
fn impurity(path: &source::Path) -> Option<Fault> {
    let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    let first = *segments.first()?;
    let word = if IMPURE_CRATES.contains(&first) && (segments.len() > 1 || path.imported) {
        first.to_owned()
    } else if let ["std", module, ..] = segments[..]
        && IMPURE_STD.contains(&module)
    {
        format!("std::{module}")
    } else if let Some(pair) = segments
        .windows(2)
        .find(|pair| ["Instant", "SystemTime"].contains(&pair[0]) && pair[1] == "now")
    {
        pair.join("::")
    } else {
        let named = |segment: &&&str| SOCKETS.contains(segment) || PRINTS.contains(segment);
        (*segments.iter().find(named)?).to_owned()
    };
    Some((path.line, format!("`{word}` in a pure layer")))
}
