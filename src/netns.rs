//! Network namespaces of this machine and cables between them. The demonstration, the bench of the
//! whole path and the tests of the host's set-up build their networks from these.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The search path for programs; a user's own path often lacks the `sbin` folders.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A device in a network namespace.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// `None`: this process's own.
    namespace: Option<&'a str>,
    name: &'a str,
}

impl<'a> Device<'a> {
    /// A device in this process's namespace.
    #[must_use]
    pub const fn here(name: &'a str) -> Self {
        Self { namespace: None, name }
    }

    /// A device in the named namespace.
    #[must_use]
    pub const fn of(namespace: &'a str, name: &'a str) -> Self {
        Self { namespace: Some(namespace), name }
    }

    /// Gives the device an address with its prefix length, usable at once.
    ///
    /// # Errors
    /// What `ip` reports.
    pub fn address(self, address: &str) -> Result<()> {
        let now = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("address add {address} dev {} {now}", self.name))
    }

    /// Brings the device up.
    ///
    /// # Errors
    /// What `ip` reports.
    pub fn up(self) -> Result<()> {
        self.ip(&format!("link set dev {} up", self.name))
    }

    /// `ip` with these arguments, separated by spaces, in the device's namespace.
    fn ip(self, arguments: &str) -> Result<()> {
        let mut command = Command::new("ip");
        if let Some(namespace) = self.namespace {
            command.args(["-n", namespace]);
        }
        output(command.args(arguments.split_whitespace())).map(drop)
    }
}

/// Makes a network namespace with its loopback device up.
///
/// # Errors
/// What `ip` reports.
pub fn add(name: &str) -> Result<()> {
    output(Command::new("ip").args(["netns", "add", name]))?;
    Device::of(name, "lo").up()
}

/// Makes a cable: a pair of veth devices, still down and without addresses.
///
/// # Errors
/// What `ip` reports.
pub fn cable(left: Device<'_>, right: Device<'_>) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["link", "add", left.name]);
    command.args(left.namespace.iter().flat_map(|namespace| ["netns", namespace]));
    command.args(["type", "veth", "peer", "name", right.name]);
    command.args(right.namespace.iter().flat_map(|namespace| ["netns", namespace]));
    output(&mut command).map(drop)
}

/// A command in the named namespace.
pub fn at(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// `unshare` with these flags. Other users than root need a user namespace in which they are root.
#[must_use]
pub fn unshare(flags: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(flags);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

/// Covers the folder with an empty file system, for this mount namespace.
///
/// # Errors
/// What `mount` reports.
pub fn mount_empty(folder: &str) -> Result<()> {
    output(Command::new("mount").args(["-t", "tmpfs", "tmpfs", folder])).map(drop)
}

/// The path of an installed program.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    SEARCH_PATH.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// Runs the command and returns its output; its stderr becomes the error.
///
/// # Errors
/// The command does not run, or ends with another exit code than 0.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    ensure!(
        output.status.success(),
        "{shown} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
