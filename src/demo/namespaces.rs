//! Private namespaces: the program runs itself again inside them. The kernel ends the processes,
//! mounts and networks in them together with the namespaces.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::output;

/// Logs, configuration and web pages, on a file system of their own.
pub(super) const FOLDER: &str = "/run/demo";
/// The search path for programs; a user's own path often lacks the `sbin` folders.
pub(super) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Set inside the namespaces.
pub(super) const MARK: &str = "VSTUN_DEMO_NAMESPACES";

/// Whether this process is inside them.
pub(super) fn are_private() -> bool {
    env::var_os(MARK).is_some()
}

/// `unshare`'s arguments. Other users than root need a user namespace in which they are root.
pub(super) fn flags() -> Vec<&'static str> {
    let mut flags = vec!["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !is_root() {
        flags.extend(["--user", "--map-root-user"]);
    }
    flags
}

/// Replaces this process by `unshare`, which runs it again inside; returns only errors.
pub(super) fn enter(keep: bool) -> Result<()> {
    let program = env::current_exe().context("cannot find the path of this program")?;
    let error = Command::new("unshare")
        .args(flags())
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
    output(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]))?;
    // The director keeps its seed there.
    if Path::new("/var/lib").is_dir() {
        output(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/var/lib"]))?;
    }
    for folder in ["/run/netns", "/run/vstun", FOLDER] {
        // Independent of the umask: a daemon refuses a folder that its group may write to.
        let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
        made.with_context(|| format!("cannot make {folder}"))?;
    }
    Ok(())
}

/// The path of an installed program.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    SEARCH_PATH.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
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

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
