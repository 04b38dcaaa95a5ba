//! The end of `make test`'s output: the sum, and before it what failed and why.

use std::process::{Command, Output};

/// What cargo prints of a failed and a passed test.
const CARGO: &str = "\
running 2 tests
test a::b ... FAILED
test c ... ok

failures:

---- a::b stdout ----

thread 'a::b' (123) panicked at src/x.rs:3:5:
assertion `left == right` failed
  left: 1
 right: 2
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


failures:
    a::b

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
";

/// What netns-tests/run prints of two failed tests, one of which says why, and a passed one.
const NETNS: &str = "\
netns 10-web                           6in4  FAILED     1.0 s, CPU  0.1 s
    served: 3
    FAILED: requests: is 1
    and 2, expected 2
    --- threads and logs of its programs, the last lines
    ready
    all logs are in target/netns-tests/10-web@6in4
netns 11-leastconn                     6in4  FAILED     1.0 s, CPU  0.1 s
    line 1
    line 2
    line 3
    all logs are in target/netns-tests/11-leastconn@6in4
netns 12-udp                           6in4  ok         1.0 s, CPU  0.1 s
1 passed, 2 failed, 0 skipped
";

fn tally(name: &str, logs: [&str; 2], most: &str) -> Output {
    let folder = std::env::temp_dir().join(format!("vstun-tally-{name}-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/netns-tests/tally"));
    command.env("CI", "1").env("LINES_OF_A_FAILURE", most);
    for (number, log) in logs.iter().enumerate() {
        let path = folder.join(number.to_string());
        std::fs::write(&path, log).unwrap();
        command.arg(path);
    }
    let output = command.output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    output
}

#[test]
fn what_failed_and_why_comes_before_the_sum() {
    let output = tally("failures", [CARGO, NETNS], "12");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "a::b failed:\n    \
             thread 'a::b' (123) panicked at src/x.rs:3:5:\n    \
             assertion `left == right` failed\n      \
               left: 1\n     \
              right: 2\n\
         netns 10-web@6in4 failed:\n    \
             served: 3\n    \
             FAILED: requests: is 1\n    \
             and 2, expected 2\n\
         netns 11-leastconn@6in4 failed:\n    \
             line 1\n    \
             line 2\n    \
             line 3\n\
         2 passed, 3 failed, 0 skipped\n"
    );
}

/// A test that runs its own program again prints that one's output first.
#[test]
fn a_long_message_is_cut_to_its_panic_or_to_its_end() {
    let again = "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out";
    let nested = CARGO.replace("thread 'a::b'", &format!("line\nline\n{again}\nthread 'a::b'"));
    let output = tally("long", [&nested, NETNS], "2");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("panicked at") && !said.contains("left: 1"), "{said}");
    assert!(said.contains("line 3\n") && !said.contains("line 1"), "{said}");
    assert!(said.ends_with("2 passed, 3 failed, 0 skipped\n"), "counted once: {said}");
}

#[test]
fn without_failures_the_sum_is_all() {
    let green = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
    let output = tally("green", [green, "2 passed, 0 failed, 0 skipped\n"], "3");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"5 passed, 0 failed, 0 skipped\n");
}

#[test]
fn a_part_that_breaks_off_and_a_skipped_test_fail_in_ci() {
    let green = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
    let broken = tally("broken", [&format!("{green}broken: cargo test\n"), ""], "3");
    assert_eq!(broken.status.code(), Some(1));
    let netns = "netns 10-web    6in4  skipped  no nginx here\n2 passed, 0 failed, 1 skipped\n";
    let skipped = tally("skipped", [green, netns], "3");
    assert_eq!(skipped.status.code(), Some(1));
    let said = String::from_utf8(skipped.stdout).unwrap();
    assert!(said.starts_with("CI allows no skipped test: 10-web@6in4\n"), "{said}");
}
