//! The files of a control socket: `<control>.lock`, `<control>.state`, and their directory.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use anyhow::{Context, Result, anyhow, bail};

use crate::app::{slow_io, unix_socket};
use crate::host::{Problem, ProblemKind};
use crate::sys::folder::{FileError, Folder};
use crate::sys::lock::{self, Attempt, Lock};

/// The suffix of the lock file.
pub(super) const LOCK: &str = "lock";
/// The suffix of the state file.
pub(super) const STATE: &str = "state";

/// The locked files of one daemon. When dropped, it removes what it created.
#[derive(Debug)]
pub(super) struct ControlFiles {
    folder: Arc<Folder>,
    /// The control socket's name in the folder.
    socket: OsString,
    state: OsString,
    /// The number of state writes requested, and of the last one completed.
    given: u64,
    written: Arc<Mutex<u64>>,
    /// Directories that this daemon created, outermost first.
    made: Vec<PathBuf>,
    lock: Option<Lock>,
    /// Whether a socket there is this daemon's. Another program's is left alone.
    own_socket: bool,
    /// The file of the socket on which this daemon listens, by device and inode.
    listening: Option<(u64, u64)>,
}

impl ControlFiles {
    /// Creates the directory and takes the lock.
    pub(super) fn take(control: &Path) -> Result<Self> {
        let socket = control.file_name().context("the control socket's path has no file name")?;
        let parent = control.parent().unwrap_or_else(|| Path::new(""));
        let made = make_directory(parent)?;
        let folder = Arc::new(Folder::open(parent).map_err(|error| unusable(parent, error))?);
        let mut files = Self {
            folder,
            socket: socket.to_owned(),
            state: with_suffix(socket, STATE),
            given: 0,
            written: Arc::default(),
            made,
            lock: None,
            own_socket: false,
            listening: None,
        };
        let name = with_suffix(socket, LOCK);
        match lock::take(&files.folder, &name) {
            Ok(Attempt::Taken(lock)) => files.lock = Some(lock),
            Ok(Attempt::Held { pid }) => bail!("{}", held(control, pid)),
            Err(FileError::NotOurs(stranger)) => {
                bail!(
                    "{stranger}, so it is not used as a lock; remove it, or choose another \
                     `control`"
                )
            }
            Err(FileError::Io(error)) => {
                let path = files.folder.shown(&name);
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "; run as root, or choose a `control` in a folder of this user"
                    }
                    _ => "",
                };
                return Err(error).with_context(|| format!("cannot lock {}{hint}", path.display()));
            }
        }
        files.remove_stale_socket(control)?;
        files.own_socket = true;
        Ok(files)
    }

    pub(super) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// The state file's name in the folder.
    pub(super) fn state_name(&self) -> &OsStr {
        &self.state
    }

    /// The state file's path for messages.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.shown(&self.state)
    }

    /// Writes the state file; `None` removes it.
    ///
    /// # Errors
    /// The file cannot be written, or not within [`slow_io::LIMIT`].
    pub(super) async fn write_state(&mut self, text: Option<Vec<u8>>) -> Result<()> {
        self.given += 1;
        let (number, written) = (self.given, Arc::clone(&self.written));
        let (folder, name) = (Arc::clone(&self.folder), self.state.clone());
        let what = format!("cannot write {}", self.state().display());
        let write = move || {
            // A poisoned lock is not a problem: a number is never half written.
            let mut last = written.lock().unwrap_or_else(PoisonError::into_inner);
            // A write that hung until a newer one was written must not overwrite it.
            if number < *last {
                return Ok(());
            }
            *last = number;
            match text {
                Some(text) => folder.replace(&name, &text),
                None => folder.remove(&name),
            }
        };
        slow_io::run(&what, write).await?.context(what)
    }

    /// The daemon listens on the socket with this file.
    pub(super) fn listens_on(&mut self, file: (u64, u64)) {
        self.listening = Some(file);
    }

    /// The problem if this daemon's socket is no longer at its path. A file system that does not
    /// answer says nothing about that.
    pub(super) async fn missing_socket(&self) -> Option<Problem> {
        let own = self.listening?;
        let path = self.folder.shown(&self.socket);
        let what = format!("cannot look at {}", path.display());
        let look = {
            let path = path.clone();
            move || fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
        };
        let there = slow_io::run(&what, look).await.ok()?.ok();
        (there != Some(own)).then(|| {
            let path = path.display();
            let what = if there.is_none() { "gone" } else { "another program's now" };
            let text = format!(
                "the control socket {path} is {what}: no command reaches this daemon, and a second \
                 one would not notice it; restart it"
            );
            Problem::new(ProblemKind::Control, path.to_string(), text)
        })
    }

    pub(super) fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Takes over directories that a dead predecessor created, to remove them later: those that
    /// contain the control socket.
    pub(super) fn inherit(&mut self, made: Vec<PathBuf>) {
        let socket = self.folder.shown(&self.socket);
        for directory in made {
            if !self.made.contains(&directory) && socket.starts_with(&directory) {
                self.made.push(directory);
            }
        }
        self.made.sort();
    }

    /// Removes a killed daemon's socket. A socket on which a process listens belongs to another
    /// program.
    fn remove_stale_socket(&self, control: &Path) -> Result<()> {
        let (path, control) = (self.folder.at(&self.socket), control.display());
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot look at {control}")),
            Ok(meta) if !meta.file_type().is_socket() => {
                bail!(
                    "{control} exists and is not a socket; remove it, or choose another `control`"
                )
            }
            Ok(_) if unix_socket::has_listener(&path) => {
                bail!("another program listens on {control}; choose another `control`")
            }
            Ok(_) => fs::remove_file(&path)
                .with_context(|| format!("cannot remove the stale socket {control}")),
        }
    }
}

/// Why the control socket's folder cannot be used, and what to do.
fn unusable(folder: &Path, error: FileError) -> anyhow::Error {
    match error {
        FileError::NotOurs(stranger) => anyhow!(
            "{stranger}: another user could put files there that vstun would believe; `chown` or \
             `chmod go-w` it, or choose a `control` in another directory, such as /run/vstun"
        ),
        FileError::Io(error) => anyhow::Error::new(error)
            .context(format!("cannot open the directory {}", folder.display())),
    }
}

impl Drop for ControlFiles {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        // Files first: a directory is only removed when empty, so others' files keep it.
        let socket = self.folder.at(&self.socket);
        let meta = fs::symlink_metadata(&socket);
        if self.own_socket && meta.is_ok_and(|meta| meta.file_type().is_socket()) {
            let _ = fs::remove_file(&socket);
        }
        self.lock = None;
        for directory in self.made.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// `<control>.<suffix>`.
pub(super) fn beside(control: &Path, suffix: &str) -> PathBuf {
    with_suffix(control.as_os_str(), suffix).into()
}

/// `<name>.<suffix>`.
pub(super) fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(".");
    name.push(suffix);
    name
}

/// The error if another daemon holds the lock.
fn held(control: &Path, pid: Option<u32>) -> String {
    let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    format!(
        "another daemon{who} runs with control socket {}; stop it, or choose another `control`",
        control.display()
    )
}

fn make_directory(directory: &Path) -> Result<Vec<PathBuf>> {
    if directory.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let missing: Vec<PathBuf> = directory
        .ancestors()
        .take_while(|ancestor| !ancestor.exists())
        .map(Path::to_owned)
        .collect();
    let context = || format!("cannot make the directory {}", directory.display());
    DirBuilder::new().recursive(true).mode(0o755).create(directory).with_context(context)?;
    Ok(missing.into_iter().rev().collect())
}
