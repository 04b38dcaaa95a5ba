//! Private network and mount namespaces for tests, made by the test itself.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Set in the process that runs inside the namespaces.
const INSIDE: &str = "VSTUN_TEST_NAMESPACE";

/// Runs `body` in namespaces of its own, by running this test's binary again for this one test.
pub fn alone(test: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        // `ip netns` and control sockets stay in here.
        sh("mount -t tmpfs tmpfs /run && ip link set lo up");
        return body();
    }
    let binary = std::env::current_exe().expect("a test has a binary");
    let root = std::fs::metadata("/proc/self/ns/user").is_ok()
        && Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let output = Command::new("unshare")
        .arg(if root { "-nm" } else { "-Urnm" })
        .arg(binary)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare of util-linux is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{test} is no test's name\n{text}");
}

/// Runs a shell script; gives what it prints.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().expect("sh is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Everything about a host's network that the program could have changed.
pub fn picture() -> String {
    let mut picture = String::new();
    for look in [
        "ip -d addr",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
        "ip neigh show proxy",
        "ip ntable",
        "sysctl -a -r '^net' 2>/dev/null",
        "find /run",
    ] {
        let _ = writeln!(picture, "# {look}\n{}", sh(look));
    }
    picture
}

/// Fails with the lines that differ.
pub fn assert_same(before: &str, after: &str) {
    let gone = before.lines().filter(|line| !after.lines().any(|other| other == *line));
    let new = after.lines().filter(|line| !before.lines().any(|other| other == *line));
    let diff: Vec<String> =
        gone.map(|line| format!("- {line}")).chain(new.map(|line| format!("+ {line}"))).collect();
    assert!(diff.is_empty(), "the host is not as before:\n{}", diff.join("\n"));
    assert_eq!(before, after, "the order of lines differs");
}

/// Runs a future as the control thread does.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Waits until the script succeeds; the kernel acts on some changes later.
pub fn wait_for(script: &str) {
    let patience = std::time::Instant::now();
    while !Command::new("sh").args(["-c", script]).output().expect("sh").status.success() {
        assert!(patience.elapsed().as_secs() < 10, "{script}: never");
        std::thread::yield_now();
    }
}

/// Whether the file is there.
pub fn there(path: &str) -> bool {
    Path::new(path).symlink_metadata().is_ok()
}
