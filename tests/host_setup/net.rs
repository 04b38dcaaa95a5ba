//! Private network and mount namespaces, created by the test itself.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vstun::app::host::Session;
use vstun::netns::{self, Device};

/// Set in a process that runs inside the namespaces.
const INSIDE: &str = "VSTUN_TEST_NAMESPACE";
/// Set in a process that is to be killed.
const VICTIM: &str = "VSTUN_TEST_VICTIM";
/// Set in a process that does something in another namespace.
const ERRAND: &str = "VSTUN_TEST_ERRAND";
/// The time limit of all waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two checks of a wait.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Runs `body` in new namespaces, by running this test binary again for this one test.
pub(crate) fn alone(test: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        if !victim() && errand().is_none() {
            // `ip netns` and control sockets stay in this namespace.
            netns::mount_empty("/run").expect("a mount namespace of its own");
            Device::here("lo").up().expect("a loopback device");
        }
        return body();
    }
    let output = netns::unshare(&["--net", "--mount"])
        .arg(std::env::current_exe().expect("a test has a binary"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare of util-linux is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{test} is not a test's name\n{text}");
}

/// Whether this process is the one to be killed.
pub(crate) fn victim() -> bool {
    std::env::var_os(VICTIM).is_some()
}

/// In the process that is to be killed: starts the session, waits for the kill and does not return.
/// `false` elsewhere.
pub(crate) fn is_killed<S>(session: impl Future<Output = S>) -> bool {
    if victim() {
        run(async {
            let _session = session.await;
            await_the_kill().await;
        });
    }
    victim()
}

/// Signals that the victim is ready, and waits to be killed.
pub(crate) async fn await_the_kill() {
    println!("\nready");
    std::future::pending::<()>().await;
}

/// Runs the test's body again as the victim, calls `meanwhile` with its process ID once it is
/// ready, and kills it.
pub(crate) fn kill_one(test: &str, meanwhile: impl FnOnce(u32)) {
    let mut child = Command::new(std::env::current_exe().expect("a test has a binary"))
        .args(["--exact", test, "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary runs");
    let stdout = child.stdout.take().expect("piped");
    let ready = BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line == "ready");
    if ready {
        meanwhile(child.id());
    }
    child.kill().expect("it runs");
    child.wait().expect("it is ours");
    assert!(ready, "the victim failed before it was killed");
}

/// The argument with which this process was sent into another namespace.
pub(crate) fn errand() -> Option<String> {
    std::env::var(ERRAND).ok()
}

/// Runs the test's body again in the named network namespace; there [`errand`] returns the
/// argument.
pub(crate) fn send_into(namespace: &str, test: &str, errand: &str) {
    let output = Command::new("ip")
        .args(["netns", "exec", namespace])
        .arg(std::env::current_exe().expect("a test has a binary"))
        .args(["--exact", test, "--nocapture"])
        .env(ERRAND, errand)
        .output()
        .expect("iproute2 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Connects this namespace to a new one by a cable from `device` to its eth0, and gives each end an
/// address.
pub(crate) fn connect(device: &str, address: &str, host: &str, at_host: &str) {
    let (near, far) = (Device::here(device), Device::of(host, "eth0"));
    let connected = netns::add(host).and_then(|()| netns::cable(near, far)).and_then(|()| {
        [(near, address), (far, at_host)].into_iter().try_for_each(|(device, address)| {
            device.address(address)?;
            device.up()
        })
    });
    connected.expect("namespaces and cables of the test's own");
}

/// Runs a shell script; returns its output.
pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().expect("sh is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// The output of `vstun cleanup`; an error if it fails.
pub(crate) fn cleanup(control: &str) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_vstun"))
        .args(["--socket", control, "cleanup"])
        .output()
        .expect("the operator's command runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Everything about a host's network that the program could change, and the files that it could
/// leave.
pub(crate) fn picture() -> String {
    sh(PICTURE)
}

/// Few processes: `ip -batch`, and no `sysctl -a`, which reads the sysctls of everything else too.
/// Learnt routes have an age, and the kernel randomises the reachable time every five minutes.
/// Another test's firewall may load the module of connection tracking, whose sysctls are in all
/// namespaces then.
const PICTURE: &str = r#"
state=$(printf '%s\n' address maddress 'route show table all' rule 'neigh show proxy' ntable |
    ip -d -batch -)
echo "$state" | sed -E 's/ expires [0-9]+sec//; s/ (reachable|refcnt) [0-9]+//g'
ip -6 rule
grep -rs '' /proc/sys/net | grep -vE '/netfilter/nf_(conntrack|flowtable|hooks)_' || true
find /run
"#;

/// Fails with the lines that differ.
pub(crate) fn assert_same(before: &str, after: &str) {
    if before == after {
        return;
    }
    let gone = before.lines().filter(|line| !after.lines().any(|other| other == *line));
    let new = after.lines().filter(|line| !before.lines().any(|other| other == *line));
    let diff: Vec<String> =
        gone.map(|line| format!("- {line}")).chain(new.map(|line| format!("+ {line}"))).collect();
    assert!(diff.is_empty(), "the host is not as before:\n{}", diff.join("\n"));
    panic!("lines are repeated or in another order:\n{before}\n{after}");
}

/// Runs a future like the control thread.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Waits until the script succeeds, while other futures run. The pauses grow with the time waited:
/// each check is several processes.
pub(crate) async fn until(script: &str) {
    let start = Instant::now();
    while !succeeds(script).await {
        assert!(start.elapsed() < PATIENCE, "never: {script}");
        let pause = (start.elapsed() / 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        tokio::time::sleep(pause).await;
    }
}

/// [`until`], while the session follows the host. It goes on when it reports other paths to real
/// servers, which a slow machine has between two steps of a script.
pub(crate) async fn until_followed(session: &mut Session, script: &str) {
    let ends = async {
        loop {
            if let Err(error) = session.follow().await {
                break error;
            }
        }
    };
    tokio::select! {
        error = ends => panic!("{error:?}"),
        () = until(script) => {}
    }
}

/// Waits until the script succeeds: the kernel makes some changes with a delay.
pub(crate) fn wait_for(script: &str) {
    run(until(script));
}

/// Waits until the host has all of these IPv6 addresses: the kernel adds an address's local route
/// and multicast group later than the address, in a work queue, also with `nodad`.
pub(crate) fn wait_for_addresses(addresses: &[&str]) {
    for address in addresses {
        wait_for(&format!("ip -6 route show table local | grep -q '^local {address} '"));
    }
}

/// Whether the file exists.
pub(crate) fn there(path: &str) -> bool {
    Path::new(path).symlink_metadata().is_ok()
}

/// Meanwhile the runtime's thread runs other futures, as the control thread would.
async fn succeeds(script: &str) -> bool {
    let mut sh = Command::new("sh");
    sh.args(["-ec", script]);
    let output = tokio::task::spawn_blocking(move || sh.output()).await.expect("it ends");
    output.expect("sh is there").status.success()
}
