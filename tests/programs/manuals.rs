//! Manual pages and shell completions, as written by `make install`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 3] = ["vstun", "vstun-director", "vstun-realserver"];

/// Writes all files into a folder of this test.
fn written(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("manuals-{name}"));
    let _ = fs::remove_dir_all(&folder);
    let vstun = Command::new(env!("CARGO_BIN_EXE_vstun")).arg("manuals").arg(&folder).status();
    assert!(vstun.unwrap().success());
    folder
}

/// Runs an installed program; returns its output, if there was any.
fn complaints(program: &str, arguments: &[&str], file: &Path) -> Option<String> {
    let output = Command::new(program).args(arguments).arg(file).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn each_program_and_verb_has_a_page_without_faults() {
    let man = written("pages").join("man");
    let files: Vec<_> = fs::read_dir(&man).unwrap().map(|entry| entry.unwrap().path()).collect();
    let names: BTreeSet<_> =
        files.iter().map(|path| path.file_name().unwrap().to_string_lossy()).collect();
    let wanted = ["vstun.8", "vstun-list.8", "vstun-director.8", "vstun-realserver.8"];
    for name in wanted.into_iter().chain(["vstun-explain.8", "vstun.toml.5"]) {
        assert!(names.contains(name), "{name} is missing: {names:?}");
    }
    assert!(!names.contains("vstun-manuals.8") && !names.contains("vstun-help.8"), "{names:?}");
    for file in &files {
        let said = complaints("mandoc", &["-T", "lint"], file);
        assert_eq!(said.unwrap_or_default(), "", "{}", file.display());
    }
}

#[test]
fn shells_take_the_completions() {
    let folder = written("completions");
    for program in PROGRAMS {
        for (shell, file) in [
            ("bash", program.to_owned()),
            ("zsh", format!("_{program}")),
            ("fish", format!("{program}.fish")),
        ] {
            let said = complaints(shell, &["-n"], &folder.join(shell).join(file));
            assert_eq!(said.unwrap_or_default(), "", "{shell} {program}");
        }
    }
    // The completions that bash offers after `vstun dr`.
    let script = format!(
        "source {}/bash/vstun; COMP_WORDS=(vstun dr); COMP_CWORD=1; _vstun vstun dr vstun; \
         echo ${{COMPREPLY[@]}}",
        folder.display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "drops drain");
}
