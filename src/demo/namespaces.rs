//! Private namespaces: the program runs itself again inside them. The kernel ends the processes,
//! mounts and networks in them together with the namespaces.

use std::env;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::netns::{self, SEARCH_PATH};

/// Logs, configuration and web pages, on a file system of their own.
pub(super) const FOLDER: &str = "/run/demo";

/// Set inside the namespaces.
pub(super) const MARK: &str = "VSTUN_DEMO_NAMESPACES";

/// Whether this process is inside them.
pub(super) fn are_private() -> bool {
    env::var_os(MARK).is_some()
}

/// `unshare` with the demonstration's namespaces.
pub(super) fn unshare() -> Command {
    netns::unshare(&["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
}

/// Replaces this process by `unshare`, which runs it again inside; returns only errors.
pub(super) fn enter(keep: bool) -> Result<()> {
    let program = env::current_exe().context("cannot find the path of this program")?;
    let error = unshare()
        .arg(program)
        .arg("demo")
        .args(keep.then_some("--keep"))
        .env(MARK, "private")
        .env("PATH", SEARCH_PATH)
        .exec();
    Err(error).context("cannot run unshare")
}

/// Private `/run`, where `ip netns` keeps its names and the daemons their sockets.
pub(super) fn prepare() -> Result<()> {
    netns::mount_empty("/run")?;
    // The director keeps its seed there.
    if Path::new("/var/lib").is_dir() {
        netns::mount_empty("/var/lib")?;
    }
    for folder in ["/run/netns", "/run/vstun", FOLDER] {
        // Independent of the umask: a daemon refuses a folder that its group may write to.
        let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
        made.with_context(|| format!("cannot make {folder}"))?;
    }
    Ok(())
}

/// The path of one of vstun's own programs, next to this one.
pub(super) fn sibling(program: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the path of this program")?;
    let path = own.with_file_name(program);
    anyhow::ensure!(path.is_file(), "{} is missing; `make build` makes it", path.display());
    Ok(path)
}

/// The search path for a shell: vstun's programs first.
pub(super) fn search_path() -> Result<OsString> {
    let own = sibling("vstun")?;
    let mut path = own.parent().unwrap_or_else(|| Path::new("/")).as_os_str().to_owned();
    path.push(":");
    path.push(SEARCH_PATH);
    Ok(path)
}
