//! Commands after a prompt in the documentation are valid command lines of the programs, whatever
//! their result.

use std::path::Path;
use std::process::Command;

const PAGES: [&str; 3] = ["README.md", "docs/operations.md", "docs/setup.md"];

/// Command lines of `vstun` after a prompt, without redirections and comments.
fn printed() -> Vec<String> {
    let mut found = Vec::new();
    for page in PAGES {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        for line in text.lines().filter(|line| line.starts_with("    ")) {
            let line = line.trim_start().trim_start_matches(['$', '#']).trim_start();
            if let Some(rest) = line.strip_prefix("vstun ") {
                // Comments are two spaces after the command.
                let end = ["  ", " && ", " | "].iter().filter_map(|end| rest.find(end)).min();
                found.push(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    found
}

#[test]
fn printed_commands_of_vstun_are_understood() {
    let commands = printed();
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let output = Command::new(env!("CARGO_BIN_EXE_vstun"))
            .args(["--socket", "/does/not/exist"])
            .args(command.split_whitespace())
            .output()
            .unwrap();
        // 2 is wrong usage; no daemon answers these.
        assert_eq!(output.status.code(), Some(1), "vstun {command}: {output:?}");
    }
}
