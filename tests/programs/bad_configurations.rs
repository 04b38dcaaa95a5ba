//! Faulty configurations: each is refused before anything happens, with exactly the expected lines.
//!
//! `netns-tests/bad-configs/` holds one file per mistake. Its first lines, `# expect: LINE: key:
//! message`, are the expected output of the program that the first part of the file's name names,
//! each after the file's name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DIRECTOR: &str = env!("CARGO_BIN_EXE_vstun-director");
const REALSERVER: &str = env!("CARGO_BIN_EXE_vstun-realserver");

fn bad_configurations() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-tests/bad-configs");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

fn check(program: &str, file: &Path) -> Output {
    Command::new(program).arg("--check").arg("--config").arg(file).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A file of this test, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        let name = format!("vstun-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn every_bad_configuration_gets_its_lines_and_exit_code_2() {
    let files = bad_configurations();
    assert!(files.len() >= 90, "only {} bad configurations found", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let expected: String = text
            .lines()
            .map_while(|line| line.strip_prefix("# expect: "))
            .map(|line| format!("{}:{line}\n", file.display()))
            .collect();
        assert!(!expected.is_empty(), "{} expects nothing", file.display());
        let name = file.file_name().unwrap().to_str().unwrap();
        let program = if name.starts_with("director-") { DIRECTOR } else { REALSERVER };
        let output = check(program, &file);
        assert_eq!(stderr(&output), expected, "{name}");
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(output.stdout.is_empty(), "{name}");
    }
}

#[test]
fn a_daemon_refuses_a_bad_configuration_without_check_too() {
    let file = bad_configurations().remove(0);
    let output = Command::new(DIRECTOR).arg("--config").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with(file.to_str().unwrap()), "{}", stderr(&output));
}

#[test]
fn the_example_is_fine_for_both_daemons() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example");
    for (program, summary) in [
        (DIRECTOR, "1 service, 4 listens, 3 real servers"),
        (REALSERVER, "2 virtual IPs, 2 ranges of directors"),
    ] {
        let output = check(program, &example);
        let expected = format!("{}: ok ({summary})\n", example.display());
        assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), expected);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn files_that_cannot_be_read_as_text_are_named() {
    let missing = check(DIRECTOR, Path::new("/nonexistent/vstun.toml"));
    let expected = "cannot read /nonexistent/vstun.toml: No such file or directory (os error 2)\n";
    assert_eq!((stderr(&missing).as_str(), missing.status.code()), (expected, Some(2)));

    let latin1 = Scratch::new("latin1", b"[director]\n# caf\xe9\n");
    let output = check(DIRECTOR, &latin1.0);
    let expected = format!("{}:2: syntax: not UTF-8; save the file in UTF-8\n", latin1.0.display());
    assert_eq!((stderr(&output), output.status.code()), (expected, Some(2)));

    let endless = check(DIRECTOR, Path::new("/dev/zero"));
    let expected = "cannot read /dev/zero: it is a device; give a regular file\n";
    assert_eq!((stderr(&endless).as_str(), endless.status.code()), (expected, Some(2)));
}

#[test]
fn a_hostile_file_of_100_000_lines_is_refused_with_a_bounded_answer() {
    let mut text = "[director]\n".to_owned();
    for line in 0..100_000 {
        text += &format!("{line:x}=1\n");
    }
    let file = Scratch::new("hostile", text.as_bytes());
    let output = check(DIRECTOR, &file.0);
    assert_eq!(output.status.code(), Some(2));
    let lines = stderr(&output);
    assert_eq!(lines.lines().count(), 1001);
    assert!(lines.ends_with(": more than 1000 faults; mend these and check again\n"));
}

#[test]
fn flags_go_through_the_same_checks() {
    let output = Command::new(REALSERVER)
        .args(["--check", "--vip", "192.0.2.10:80", "--director", "10.0.0.1/8", "--control", "x"])
        .output()
        .unwrap();
    let expected = "\
--vip: \"192.0.2.10:80\" has a port; write 192.0.2.10, the whole address comes through the tunnel
--director: 10.0.0.1/8 has bits beyond its prefix; write 10.0.0.0/8 or 10.0.0.1/32
--control: \"x\" is not an absolute path of a file; write one such as /run/vstun/director.sock
";
    assert_eq!((stderr(&output).as_str(), output.status.code()), (expected, Some(2)));

    let output = Command::new(REALSERVER)
        .args(["--check", "--vip", "192.0.2.10", "2001:db8::10"])
        .args(["--director", "10.0.0.0/24", "2001:db8:1::/64", "2001:db8:2::1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, b"flags: ok (2 virtual IPs, 3 ranges of directors)\n");

    let output = Command::new(REALSERVER)
        .args(["--check", "--vip", "::ffff:192.0.2.10", "fe80::1%eth0"])
        .args(["--director", "fe80::1", "::ffff:10.0.0.0/120"])
        .output()
        .unwrap();
    let expected = "\
--vip: ::ffff:192.0.2.10 is an IPv4-mapped address; write 192.0.2.10
--vip: \"fe80::1%eth0\" has a zone; write a global or unique local address without one
--director: fe80::1 is a link-local address, which means nothing without an interface; write a \
global or unique local address
--director: ::ffff:10.0.0.0/120 is a range of IPv4-mapped addresses; write 10.0.0.0/24
";
    assert_eq!((stderr(&output).as_str(), output.status.code()), (expected, Some(2)));

    let output =
        Command::new(REALSERVER).args(["--check", "--vip", "192.0.2.10"]).output().unwrap();
    let expected = "--director: missing; give it at least once, or --config FILE\n";
    assert_eq!((stderr(&output).as_str(), output.status.code()), (expected, Some(2)));
}
