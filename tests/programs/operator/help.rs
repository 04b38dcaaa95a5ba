//! Wrong usage and `--help`.

use super::*;

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_0() {
    for (program, args, code) in [
        (env!("CARGO_BIN_EXE_vstun"), &["lisst"][..], 2),
        (env!("CARGO_BIN_EXE_vstun"), &[], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["set-weight", "10.0.0.11"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["set-weight", "10.0.0.11", "--weight", "65536"], 2),
        (
            env!("CARGO_BIN_EXE_vstun"),
            &["drain", "10.0.0.11", "--service", "a", "--all-services"],
            2,
        ),
        (env!("CARGO_BIN_EXE_vstun"), &["flush"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["list", "--watch", "99ms"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["drain", "10.0.0.11", "--timeout", "1m"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["drain", "10.0.0.11", "--wait", "--timeout", "1"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["flush", "--all", "--service", "web"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["explain"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["explain", "tcp", "198.51.100.7:1"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["explain", "tcp 198.51.100.7:1"], 2),
        (env!("CARGO_BIN_EXE_vstun-director"), &[], 2),
        (env!("CARGO_BIN_EXE_vstun-director"), &["--config", "x", "--log", "loud"], 2),
        (env!("CARGO_BIN_EXE_vstun-realserver"), &["--check"], 2),
        (env!("CARGO_BIN_EXE_vstun-realserver"), &["--config", "x", "--vip", "192.0.2.1"], 2),
        (env!("CARGO_BIN_EXE_vstun"), &["--help"], 0),
        (env!("CARGO_BIN_EXE_vstun-director"), &["--help"], 0),
        (env!("CARGO_BIN_EXE_vstun-realserver"), &["--help"], 0),
    ] {
        let output = Command::new(program).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{program} {args:?}");
        if code == 0 {
            let help = text(&output.stdout);
            assert!(help.contains("Exit codes:") && help.contains("Examples:"), "{help}");
        }
    }
}

#[test]
fn help_fits_80_columns() {
    let vstun = env!("CARGO_BIN_EXE_vstun");
    let help = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        let text = text(&output.stdout).to_owned();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{program} {args:?}: {line}");
        }
        text
    };
    let short = help(vstun, &["-h"]);
    let verbs = short.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs = verbs.take_while(|line| line.starts_with("  "));
    let verbs: Vec<_> = verbs
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(verbs.contains(&"list") && verbs.contains(&"cleanup"), "{verbs:?}");
    for verb in verbs {
        help(vstun, &[verb, "--help"]);
    }
    help(vstun, &["--help"]);
    for program in [env!("CARGO_BIN_EXE_vstun-director"), env!("CARGO_BIN_EXE_vstun-realserver")] {
        help(program, &["-h"]);
        help(program, &["--help"]);
    }
}

/// The text of `vstun VERB --help`, in one line.
fn help(verb: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vstun")).args([verb, "--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn help_explains_required_arguments_and_forgotten_connections() {
    let explain = help("explain");
    let usage = "vstun explain [OPTIONS] <TRANSPORT> <CLIENT[:PORT]> <VIP:PORT>";
    assert!(explain.contains(usage) && !explain.contains("[CLIENT[:PORT]]"), "{explain}");
    let flush = help("flush");
    assert!(flush.contains("a reset, or adopted") && flush.contains("mh"), "{flush}");
}
