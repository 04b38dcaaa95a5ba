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
}

/// Prints what bash offers for the last word of a command line.
const BASH: &str = r#"source "$1/bash/$2"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2))
    "_${2//-/__}" "$2" "${!#}" "${@: -2:1}"; printf '%s\n' "${COMPREPLY[@]}""#;

const FISH: &str = r#"source "$argv[1]/fish/$argv[2].fish"; complete -C "$argv[2..]""#;

/// Presses Tab in an interactive zsh in a pseudo-terminal, and prints what it shows within ten
/// seconds, until the words after the line have all come. Each piece of a mark is typed apart, so
/// that the echo of the typing is not taken for it.
const ZSH: &str = r#"
    zmodload zsh/zpty; zpty shell zsh -f -i
    shown() {
        local piece; all=
        repeat 200 {
            while zpty -r -t shell piece; do all+=$piece; done
            for word; do [[ $all == *$word* ]] || { sleep 0.05; continue 2 }; done
            return
        }
    }
    zpty -w shell "PS1=; stty cols 200; fpath=($1/zsh \$fpath); LISTMAX=0; unsetopt list_beep
        autoload -Uz compinit; compinit -u -D; echo MA''RK"
    shown MARK
    zpty -n -w shell "$2"$'\t'; shown ${@:3}
    print -r -- $all; zpty -d shell"#;

/// The output of a shell that is installed.
fn run_shell(shell: &str, script: &str, arguments: &[&str]) -> Option<String> {
    let name: &[&str] = if shell == "fish" { &[] } else { &["shell"] };
    let mut command = Command::new(shell);
    if shell == "zsh" {
        command.arg("-f");
    }
    let output = command.arg("-c").arg(script).args(name).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn shells_offer_commands_options_and_values() {
    let folder = written("offers");
    let folder = folder.to_str().unwrap();
    for (line, offers) in [
        (&["vstun", "dr"][..], &["drops", "drain"][..]),
        (&["vstun", "drain", "--de"], &["--deadline"]),
        (&["vstun", "trace", "--verdict", "re"], &["reply", "reset"]),
        (&["vstun-director", "--conf"], &["--config"]),
        (&["vstun-realserver", "--vi"], &["--vip"]),
    ] {
        let arguments = [&[folder][..], line].concat();
        let typed = line.join(" ");
        let zsh = [&[folder, &typed][..], offers].concat();
        for (shell, script, arguments) in
            [("bash", BASH, &arguments), ("fish", FISH, &arguments), ("zsh", ZSH, &zsh)]
        {
            let Some(output) = run_shell(shell, script, arguments) else { continue };
            for offer in offers {
                assert!(output.contains(offer), "{shell} {line:?}: {output:?}");
            }
            if shell != "zsh" {
                assert_eq!(output.lines().count(), offers.len(), "{shell} {line:?}: {output}");
            }
        }
    }
}
