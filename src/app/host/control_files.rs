//! The files around a control socket: `<control>.lock`, `<control>.state`, and the directory they are in.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::sys::lock::{self, Attempt, Lock};

/// The suffix of the lock file.
pub(super) const LOCK: &str = "lock";
/// The suffix of the state file.
pub(super) const STATE: &str = "state";

/// The locked place of one daemon. Dropped, it leaves nothing of its own behind.
#[derive(Debug)]
pub(super) struct ControlFiles {
    control: PathBuf,
    /// Directories that we made, outermost first.
    made: Vec<PathBuf>,
    lock: Option<Lock>,
}

impl ControlFiles {
    /// Makes the directory and takes the lock.
    pub(super) fn take(control: &Path) -> Result<Self> {
        let mut files =
            Self { control: control.to_owned(), made: make_directory(control)?, lock: None };
        let path = beside(control, LOCK);
        match lock::take(&path).with_context(|| format!("cannot lock {}", path.display()))? {
            Attempt::Taken(lock) => files.lock = Some(lock),
            Attempt::Held { pid } => bail!("{}", held(control, pid)),
        }
        files.remove_stale_socket()?;
        Ok(files)
    }

    pub(super) fn control(&self) -> &Path {
        &self.control
    }

    pub(super) fn state(&self) -> PathBuf {
        beside(&self.control, STATE)
    }

    pub(super) fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Directories that a dead predecessor made are ours to remove.
    pub(super) fn inherit(&mut self, made: Vec<PathBuf>) {
        for directory in made {
            if !self.made.contains(&directory) {
                self.made.push(directory);
            }
        }
        self.made.sort();
    }

    /// A socket that nobody listens on is a killed daemon's; one that somebody does belongs to another program.
    fn remove_stale_socket(&self) -> Result<()> {
        let control = self.control.display();
        match fs::symlink_metadata(&self.control) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot look at {control}")),
            Ok(meta) if !meta.file_type().is_socket() => {
                bail!("{control} exists and is no socket; remove it, or choose another `control`")
            }
            Ok(_) if UnixStream::connect(&self.control).is_ok() => {
                bail!("another program listens on {control}; choose another `control`")
            }
            Ok(_) => fs::remove_file(&self.control)
                .with_context(|| format!("cannot remove the stale socket {control}")),
        }
    }
}

impl Drop for ControlFiles {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        // Files first: a directory goes only when it is empty, so what belongs to others keeps it.
        let socket = fs::symlink_metadata(&self.control);
        if socket.is_ok_and(|meta| meta.file_type().is_socket()) {
            let _ = fs::remove_file(&self.control);
        }
        self.lock = None;
        for directory in self.made.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// `<control>.<suffix>`.
pub(super) fn beside(control: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(control);
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Why a place is not ours.
fn held(control: &Path, pid: Option<u32>) -> String {
    let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    format!(
        "another daemon{who} runs with control socket {}; stop it, or choose another `control`",
        control.display()
    )
}

fn make_directory(control: &Path) -> Result<Vec<PathBuf>> {
    let Some(directory) = control.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(Vec::new());
    };
    let missing: Vec<PathBuf> = directory
        .ancestors()
        .take_while(|ancestor| !ancestor.exists())
        .map(Path::to_owned)
        .collect();
    let context = || format!("cannot make the directory {}", directory.display());
    DirBuilder::new().recursive(true).mode(0o755).create(directory).with_context(context)?;
    Ok(missing.into_iter().rev().collect())
}
