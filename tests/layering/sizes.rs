//! How large a file, a function and a line may be; a heading in a comment has its own line.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::{self, Token};

/// The most lines of a source file, and of a function from its `fn` to its last brace.
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 60;

/// The most characters of a line.
const COLUMNS_MAX: usize = 100;

/// The checked folders and files, below the repository's root.
const CHECKED: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "README.md",
    "benches",
    "build.rs",
    "config.example",
    "docs",
    "fuzz/run",
    "fuzz/src",
    "netns-tests",
    "src",
    "tests",
];

/// Files with long lines: their lines are whole messages, which a test compares.
const WIDE: &[&str] = &["netns-tests/bad-configs"];

/// The endings of texts that people write; other files are data or made by a program.
const TEXTS: &[&str] = &["", "example", "html", "md", "py", "rs", "sh"];

#[test]
fn files_functions_and_lines_keep_their_bounds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for name in CHECKED {
        collect(&root.join(name), &mut files);
    }
    assert!(files.len() > 100, "only {} files found under {}", files.len(), root.display());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).expect("a source file is readable text");
            check(file.strip_prefix(root).expect("the walk starts there"), &text)
        })
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    let extension = path.extension().unwrap_or_default();
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a source folder is readable") {
            collect(&entry.expect("a folder entry is readable").path(), files);
        }
    } else if TEXTS.iter().any(|ending| extension == *ending) {
        files.push(path.to_owned());
    }
}

/// The faults of one file; `path` is below the root.
fn check(path: &Path, text: &str) -> Vec<String> {
    let name = path.display();
    let mut faults = Vec::new();
    if !WIDE.iter().any(|folder| path.starts_with(folder)) {
        let wide = text.lines().enumerate().filter(|(_, line)| is_wide(path, line));
        faults.extend(wide.map(|(index, line)| {
            let columns = line.chars().count();
            format!("{name}:{}: {columns} columns; a line has at most {COLUMNS_MAX}", index + 1)
        }));
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        let headings = text.lines().enumerate().filter(|(_, line)| is_joined_heading(line));
        faults.extend(headings.map(|(index, _)| {
            format!("{name}:{}: the text after the heading belongs on the next line", index + 1)
        }));
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!(
                "{name}:{lines}: {lines} lines; a file has at most {FILE_LINES_MAX}"
            ));
        }
        let functions = functions(&source::tokens(text)).into_iter();
        faults.extend(functions.filter(|found| found.lines > FUNCTION_LINES_MAX).map(|found| {
            let Function { line, name: function, lines } = found;
            format!(
                "{name}:{line}: `{function}` has {lines} lines; a function has at most \
                 {FUNCTION_LINES_MAX}"
            )
        }));
    }
    faults
}

/// Whether a line is too wide. The rows of a Markdown table, a program's output in a document and a
/// URL cannot be broken.
fn is_wide(path: &Path, line: &str) -> bool {
    let in_markdown = path.extension().is_some_and(|extension| extension == "md");
    let whole = in_markdown && (line.starts_with('|') || line.starts_with("    "));
    let url = line.split_whitespace().filter(|word| word.contains("://"));
    let url = url.map(|word| word.chars().count()).max().unwrap_or(0);
    !whole && line.chars().count() - url > COLUMNS_MAX
}

/// Whether text follows a heading such as `# Errors` on its line.
fn is_joined_heading(line: &str) -> bool {
    let heading = line.trim_start().strip_prefix("/// # ");
    heading.is_some_and(|words| words.contains(' '))
}

struct Function {
    line: usize,
    name: String,
    lines: usize,
}

/// The functions that have a body, those inside of others too.
fn functions(tokens: &[Token]) -> Vec<Function> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let starts_with_letter = |text: &str| text.starts_with(|c: char| c == '_' || c.is_alphabetic());
    let named =
        (0..tokens.len()).filter(|&at| text(at) == "fn" && starts_with_letter(text(at + 1)));
    named
        .filter_map(|at| {
            let line = tokens[at].line;
            let end = end_of_body(&tokens[at..])?;
            Some(Function { line, name: text(at + 1).to_owned(), lines: end - line + 1 })
        })
        .collect()
}

/// The line of the brace that ends the function which starts here; `None` without a body.
fn end_of_body(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0_i32;
    for token in tokens {
        match token.text.as_str() {
            ";" if depth == 0 => return None,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn exceeded_bounds_are_reported_with_their_position() {
    let body = "    g();\n".repeat(FUNCTION_LINES_MAX - 1);
    let wide = "x".repeat(COLUMNS_MAX + 1);
    let plants = [
        ("src/a.rs", "\n".repeat(FILE_LINES_MAX + 1), "src/a.rs:501: 501 lines"),
        ("src/a.rs", format!("\nfn f() {{\n{body}}}\n"), "src/a.rs:2: `f` has 61 lines"),
        ("src/a.rs", format!("impl A {{\nfn f(\n) {{\n{body}}}}}\n"), "src/a.rs:2: `f` has 62"),
        ("src/a.rs", format!("fn f() {{ }} fn g() {{ if a {{\n{body}}}\n}}"), ":1: `g` has 62"),
        ("src/a.rs", format!("//\n// {wide}"), "src/a.rs:2: 104 columns"),
        (
            "src/a.rs",
            "/// # Errors See [`B`].".to_owned(),
            "src/a.rs:1: the text after the heading",
        ),
        ("docs/a.md", format!("Text.\n{wide}"), "docs/a.md:2: 101 columns"),
        ("netns-tests/a.sh", format!("{wide}\n"), "netns-tests/a.sh:1: 101 columns"),
        ("src/a.rs", format!("| {wide}"), "src/a.rs:1: 103 columns"),
        ("docs/a.md", format!("{wide} https://example.com/"), "docs/a.md:1: 122 columns"),
    ];
    for (path, text, expected) in plants {
        let faults = check(Path::new(path), &text);
        assert_eq!(faults.len(), 1, "{expected}: {faults:?}");
        assert!(faults[0].contains(expected), "{expected}: {faults:?}");
    }
}

#[test]
fn sizes_at_the_bound_and_unbreakable_lines_pass() {
    let body = "    g();\n".repeat(FUNCTION_LINES_MAX - 2);
    let full = "ä".repeat(COLUMNS_MAX);
    let wide = "x".repeat(COLUMNS_MAX + 1);
    let clean = [
        ("src/a.rs", "\n".repeat(FILE_LINES_MAX)),
        ("src/a.rs", format!("fn f() {{\n{body}}}\nfn g();\n{body}")),
        ("src/a.rs", format!("type F = fn() -> u8;\n{body}\n{body}")),
        ("src/a.rs", format!("/*\n{body}fn f() {{\n{body}}}*/")),
        ("src/a.rs", format!("//\n{full}")),
        ("src/a.rs", "/// # Errors\n/// See [`B`].\n".to_owned()),
        ("docs/a.md", format!("| `a` | {wide} |")),
        ("docs/a.md", format!("    $ vstun trace\n    {wide}")),
        ("docs/a.md", format!("See https://example.com/{wide}")),
        ("netns-tests/bad-configs/a.toml", format!("# expect: {wide}")),
    ];
    for (path, text) in clean {
        assert_eq!(check(Path::new(path), &text), Vec::<String>::new(), "{path}: {text}");
    }
}
