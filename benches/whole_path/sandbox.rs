//! Private namespaces for the whole run: the host is not touched, and everything ends with the
//! program.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vstun::netns;

/// The required programs, by the Debian package that contains them.
const TOOLS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("ethtool", "ethtool"),
    ("unshare", "util-linux"),
    ("taskset", "util-linux"),
    ("renice", "bsdutils"),
    ("setpriv", "util-linux"),
];

/// Starts this program again in its own namespaces, pinned to the `harness` CPU. Inside, it
/// returns.
///
/// # Errors
/// A missing requirement of the machine, with its remedy.
pub(crate) fn enter(harness: usize) -> Result<()> {
    if env::var_os(INSIDE).is_none() {
        check_machine(harness)?;
        let itself = env::current_exe()?;
        let failed = netns::unshare(&["--mount", "--net"])
            .args(["taskset", "-c", &harness.to_string()])
            .arg(itself)
            .args(env::args_os().skip(1))
            .env(INSIDE, "1")
            .exec();
        return Err(failed).context("run unshare");
    }
    netns::mount_empty("/run")
}

/// A directory that only this run sees.
pub(crate) fn scratch() -> PathBuf {
    PathBuf::from("/run")
}

/// Ends the whole run after `limit`, even if something hangs; the started programs end with it.
pub(crate) fn end_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("bench: gave up after {} s", limit.as_secs());
        std::process::exit(1);
    });
}

fn check_machine(harness: usize) -> Result<()> {
    let cpus = thread::available_parallelism()?.get();
    ensure!(cpus > harness, "the bench needs two CPUs: one for the nodes, one for itself");
    let id = Command::new("id").arg("-u").output().context("run id")?;
    ensure!(id.stdout.trim_ascii() == b"0", "the bench needs root: sudo -E make bench");
    ensure!(
        Path::new("/dev/net/tun").exists(),
        "/dev/net/tun is missing: modprobe tun, or start the container with --device /dev/net/tun"
    );
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| netns::find(tool).is_none()).collect();
    if let Some((tool, package)) = missing.first() {
        bail!("{tool} is missing: apt install {package}");
    }
    Ok(())
}

/// Set in the copy of the program that runs inside.
const INSIDE: &str = "VSTUN_BENCH_INSIDE";
