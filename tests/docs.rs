//! The documentation matches the code: reasons, figures, dependencies, configurations, links.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use vstun::balancer::{Counters, Reason};
use vstun::config::{self, keys};
use vstun::control::{DirectorStats, Drops, RealServerStats, Stats, encode};
use vstun::decap::Refusal;
use vstun::model::SchedulerKind;

/// The most lines of the README.
const README_LINES: usize = 150;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page, relative to the root.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    ["README.md", "CONTRIBUTING.md"].into_iter().map(PathBuf::from).chain(docs).collect()
}

/// The part of a page below a heading, up to the next one of any level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, after) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    after.split("\n#").next().unwrap_or(after)
}

/// The names in the first column of a section's table, each in backquotes.
fn rows(section: &str) -> BTreeSet<&str> {
    section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

/// Fenced blocks of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    page.split(opening.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The texts in single backquotes, outside of fenced and indented blocks.
fn quoted(page: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        if !fenced && !line.starts_with("    ") {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

#[test]
fn every_drop_has_its_line_and_no_line_is_stale() {
    let page = read("docs/drops.md");
    let director: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(rows(section(&page, "The director")), director);
    let real_server: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
    assert_eq!(rows(section(&page, "The real server")), real_server);
}

/// The programs show the page's remedies.
#[test]
fn what_to_do_about_a_drop_is_the_same_on_the_page_and_in_the_programs() {
    let page = read("docs/drops.md");
    let todo = |heading: &str| -> Vec<(String, String)> {
        let (_, after) = page.split_once(&format!("# {heading}\n")).unwrap();
        let rows = after.split("\n#").next().unwrap().lines();
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
        let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
        cells.map(|row| (row[0].trim_matches('`').to_owned(), row[3].to_owned())).collect()
    };
    let sorted = |mut rows: Vec<(String, String)>| {
        rows.sort();
        rows
    };
    let director = Reason::ALL.iter().map(|one| (one.name().to_owned(), one.remedy().to_owned()));
    assert_eq!(sorted(todo("The director")), sorted(director.collect()));
    let own = Refusal::ALL.iter().map(|one| (one.name().to_owned(), one.remedy().to_owned()));
    assert_eq!(sorted(todo("The real server")), sorted(own.collect()));
    let mut answers = Drops::from(&Counters::default()).remedies;
    answers.retain(|name, _| Reason::ALL.iter().all(|reason| reason.name() != name));
    assert_eq!(sorted(todo("Answers")), sorted(answers.into_iter().collect()));
    let beside = Drops::from(&RealServerStats::default()).remedies;
    assert_eq!(sorted(todo("Beside the daemon")), sorted(beside.into_iter().collect()));
}

/// The names of failed sends and writes are defined by the daemons, so they are read from the
/// source.
#[test]
fn every_failed_send_and_write_has_its_line() {
    let page = read("docs/drops.md");
    let names = read("src/app/director/sent.rs");
    let sends: BTreeSet<_> =
        names.split('"').filter(|text| text.starts_with("send_") && !text.contains(' ')).collect();
    assert!(sends.contains("send_again"), "the names have moved: {sends:?}");
    assert_eq!(rows(section(&page, "The director, sending")), sends);
    let handler = read("src/app/realserver/request_handler.rs");
    for name in rows(section(&page, "The real server, writing")) {
        assert!(handler.contains(&format!("(\"{name}\"")), "{name} is not a write error");
    }
    assert!(page.contains("`write_failed`"));
}

#[test]
fn every_figure_of_stats_is_explained() {
    let page = read("docs/operations.md");
    let director = section(&page, "vstun stats, at a director");
    let real_server = section(&page, "vstun stats, at a real server");
    for (part, stats) in [
        (director, Stats::Director(DirectorStats::default())),
        (real_server, Stats::RealServer(RealServerStats::default())),
    ] {
        let value: serde_json::Value = serde_json::from_str(&encode(&stats)).unwrap();
        let fields = value.as_object().unwrap().keys();
        for field in fields.filter(|field| !["version", "role"].contains(&field.as_str())) {
            let named =
                part.contains(&format!("`{field}`")) || part.contains(&format!("`{field}."));
            assert!(named, "docs/operations.md does not explain {field}");
        }
    }
}

/// The sources of the library without their tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name != "tests" => sources(&path, found),
            false if name.ends_with(".rs") && !name.contains("tests") => found.push(path),
            _ => {}
        }
    }
}

/// A field has the same name in every line, and `jq` needs to know it.
#[test]
fn every_field_of_a_log_line_is_named() {
    let page = read("docs/operations.md");
    let (_, named) = page.split_once("With `--log-format json`").unwrap();
    let named = named.split("\n    #").next().unwrap();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut fields = BTreeSet::new();
    for file in &files {
        let text = read(file);
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for level in ["error!(", "warn!(", "info!(", "debug!("] {
            for call in text.split(level).skip(1) {
                // A macro's pairs come before its text.
                let Some((pairs, _)) = call.split_once('"') else { continue };
                let Some((pairs, _)) = pairs.split_once(';') else { continue };
                let names = pairs.split(',').map(|pair| pair.split(['=', ':']).next().unwrap());
                fields.extend(names.map(|name| name.trim().to_owned()));
            }
        }
    }
    assert!(fields.len() > 4, "{fields:?}");
    for field in &fields {
        assert!(named.contains(&format!("`{field}`")), "{field} is not in docs/operations.md");
    }
}

#[test]
fn every_dependency_has_its_reason_and_no_reason_is_stale() {
    let design = read("docs/design.md");
    let reasons: BTreeSet<_> = section(&design, "Dependencies")
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once("`: "))
        .map(|(name, _)| name)
        .collect();
    let manifest = read("Cargo.toml");
    let dependencies: BTreeSet<_> = ["dependencies", "dev-dependencies"]
        .into_iter()
        .filter_map(|table| manifest.split_once(&format!("\n[{table}]\n")))
        .flat_map(|(_, after)| after.split("\n[").next().unwrap().lines())
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .collect();
    assert!(dependencies.contains("proptest") && dependencies.contains("mio"), "{dependencies:?}");
    assert_eq!(reasons, dependencies);
}

/// Otherwise a run of the fuzz targets changes a file of the repository.
#[test]
fn the_fuzz_targets_lock_the_dependencies_of_the_library() {
    let locked = |file: &str| -> BTreeSet<String> {
        let lock = read(file);
        let (_, package) = lock.split_once("\nname = \"vstun\"\n").unwrap();
        let list = package.split_once("dependencies = [\n").unwrap().1;
        let names = list.split("]").next().unwrap().lines();
        names.map(|line| line.trim_matches([' ', '"', ',']).to_owned()).collect()
    };
    let mut whole = locked("Cargo.lock");
    assert!(whole.remove("proptest"), "the tests' own: {whole:?}");
    assert_eq!(locked("fuzz/Cargo.lock"), whole);
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES, "{lines} lines, at most {README_LINES}");
}

#[test]
fn every_configuration_is_accepted() {
    let mut seen = 0;
    for page in pages() {
        for text in blocks(&read(&page), "toml") {
            let (director, real_server) = (config::director(text), config::realserver(text));
            if text.contains("[director]") {
                assert!(director.is_ok(), "{}: {director:?}", page.display());
            } else {
                assert!(real_server.is_ok(), "{}: {real_server:?}", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} configurations found");
}

#[test]
fn every_key_that_is_named_exists() {
    let known: BTreeSet<&str> = keys::DIRECTOR
        .iter()
        .chain(&keys::TIMEOUTS)
        .chain(&keys::SERVICE)
        .chain(&keys::REAL)
        .chain(&keys::CHECK)
        .chain(&keys::REALSERVER)
        .copied()
        .collect();
    let mut seen = 0;
    for page in pages() {
        for span in quoted(&read(&page)) {
            let Some((key, _)) = span.split_once(" = ") else { continue };
            if key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                assert!(known.contains(key), "{}: `{span}`: no such key", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 5, "only {seen} keys found");
}

/// The keys of `[director]` that a reload applies; it refuses the others, which the page lists.
const RELOADED: [&str; 16] = [
    "announce",
    "http",
    "hooks",
    "withdraw_without_quorum",
    "timeouts",
    "hash_seed",
    "maglev_slots",
    "uplinks",
    "arp",
    "source",
    "announce_table",
    "neighbour_routes",
    "busy_poll",
    "max_connections",
    "gue_port",
    "gue_source_ports",
];

#[test]
fn every_key_that_needs_a_restart_is_listed() {
    let page = read("docs/operations.md");
    let line = page.lines().find(|line| line.ends_with(": needs a restart |")).unwrap();
    for key in keys::DIRECTOR.iter().filter(|key| !RELOADED.contains(key)) {
        assert!(line.contains(&format!("`{key}`")), "{key} is missing");
    }
}

#[test]
fn every_link_has_a_target() {
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                _ => page.parent().unwrap().join(file),
            };
            assert!(root().join(&target).exists(), "{}: {link}", page.display());
            assert!(
                anchor.is_empty() || anchors(&read(&target)).contains(anchor),
                "{}: {link}: no such heading",
                page.display()
            );
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} links found");
}

/// Headings in link form: lower case, hyphens for spaces, no punctuation.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_scheduler_has_its_line() {
    let page = read("docs/schedulers.md");
    let table = page.split("\n\n").find(|part| part.starts_with("| name |")).unwrap();
    let names: BTreeSet<_> = SchedulerKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(rows(table), names);
}

/// promtool passes a case without alerts for a name that no rule has.
#[test]
fn every_alert_has_a_case_and_every_case_an_alert() {
    let names = |file: &str, key: &str| -> BTreeSet<String> {
        let text = read(root().join("dist/prometheus").join(file));
        let found = text.match_indices(key).map(|(at, _)| &text[at + key.len()..]);
        let name = |rest: &str| {
            rest.trim_start().chars().take_while(char::is_ascii_alphanumeric).collect::<String>()
        };
        found.map(name).collect()
    };
    let alerts = names("vstun.rules.yml", "alert:");
    assert!(!alerts.is_empty());
    assert_eq!(names("vstun.rules.test.yml", "alertname:"), alerts);
}

/// A newcomer's first commands run something: a name that matches no test is no error for cargo.
#[test]
fn the_tests_that_contributing_names_exist() {
    let page = read("CONTRIBUTING.md");
    let modules: Vec<_> = page
        .lines()
        .filter_map(|line| line.split_once("cargo test --lib ")?.1.split_whitespace().next())
        .collect();
    assert!(!modules.is_empty());
    for module in modules {
        let text = read(format!("src/{}.rs", module.replace("::", "/")));
        assert!(text.contains("#[test]"), "{module} has no test");
    }
    let is_number = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit());
    let scripts: BTreeSet<_> = page
        .split(|letter: char| letter.is_whitespace() || "`\"/@.".contains(letter))
        .filter(is_number)
        .filter(|word| word.contains('-'))
        .collect();
    assert!(!scripts.is_empty());
    for script in scripts {
        assert!(root().join(format!("netns-tests/{script}.sh")).is_file(), "no test {script}");
    }
}

/// The items and variants that a source declares.
fn declared(text: &str) -> BTreeSet<&str> {
    let is_in_a_name = |c: char| c == '_' || c.is_alphanumeric();
    let name = |line: &str| line.find(|c| !is_in_a_name(c)).unwrap_or(line.len());
    let mut all = BTreeSet::new();
    for line in text.lines().map(str::trim_start) {
        let line = match line.strip_prefix("pub(") {
            Some(visible) => visible.split_once(") ").map_or(visible, |(_, item)| item),
            None => line.strip_prefix("pub ").unwrap_or(line),
        };
        let line = line.strip_prefix("async ").unwrap_or(line);
        let line = line.strip_prefix("const fn ").map_or(line, |_| &line["const ".len()..]);
        let kinds = ["fn ", "struct ", "enum ", "trait ", "type ", "const "];
        let item = kinds.iter().find_map(|kind| line.strip_prefix(kind)).unwrap_or(line);
        all.insert(&item[..name(item)]);
    }
    all
}

/// What the page writes as `parent::name` is a module, or is declared in the module or next to the
/// type that it names as its parent.
#[test]
fn every_item_that_the_design_names_exists() {
    let page = read("docs/design.md");
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let files: Vec<(String, String)> =
        files.iter().map(|file| (file.display().to_string(), read(file))).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path, text, declared(text))).collect();
    let is_path = |text: &&str| {
        text.contains("::") && text.chars().all(|c| c == '_' || c == ':' || c.is_alphanumeric())
    };
    let mut missing = BTreeSet::new();
    for item in quoted(&page).into_iter().filter(is_path) {
        let (parents, name) = item.rsplit_once("::").unwrap();
        let parent = parents.rsplit("::").next().unwrap();
        let module = format!("/{}/{name}", parents.replace("::", "/"));
        let is_there = files.iter().any(|(path, text, declared)| {
            let inside = || {
                path.contains(&format!("/{parent}.rs"))
                    || path.contains(&format!("/{parent}/"))
                    || declared.contains(parent)
                    || text.contains(&format!("impl {parent} "))
            };
            path.ends_with(&format!("{module}.rs"))
                || path.ends_with(&format!("{module}/mod.rs"))
                || declared.contains(name) && inside()
        });
        if !is_there {
            missing.insert(item);
        }
    }
    assert!(missing.is_empty(), "docs/design.md names what does not exist: {missing:?}");
}
