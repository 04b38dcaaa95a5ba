//! One process per file: an exclusive `flock`, which the kernel releases when the process ends.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use super::folder::{FileError, Folder};

/// flock(2) needs no write permission: any user who may open the file could hold the lock.
const MODE: u32 = 0o600;

/// A held lock. The file contains the holder's process ID and is removed when the lock is dropped.
#[derive(Debug)]
pub struct Lock {
    folder: Arc<Folder>,
    name: OsString,
    _file: File,
}

/// The result of [`take`].
#[derive(Debug)]
pub enum Attempt {
    /// This process holds the lock.
    Taken(Lock),
    /// Another process holds it.
    Held {
        /// Its process ID, if the file contains one.
        pid: Option<u32>,
    },
}

/// Takes the lock or reports its holder; does not wait.
///
/// # Errors
///
/// The file cannot be opened, locked or written, or another user may have made it.
pub fn take(folder: &Arc<Folder>, name: &OsStr) -> Result<Attempt, FileError> {
    loop {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(false);
        let Some(mut file) = folder.open_file(name, &mut how)? else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Held { pid: holder(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // The previous holder may have removed the file between open and lock. This lock would then
        // be on a file without a name, and the next process would lock another file.
        if !same_file(&file, folder, name)? {
            continue;
        }
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        let (folder, name) = (Arc::clone(folder), name.to_owned());
        return Ok(Attempt::Taken(Lock { folder, name, _file: file }));
    }
}

/// Whether a process holds the lock now; false if the file does not exist.
///
/// # Errors
///
/// The file exists but cannot be opened or queried, or another user may have made it.
pub fn held(folder: &Folder, name: &OsStr) -> Result<bool, FileError> {
    let Some(file) = folder.open_file(name, OpenOptions::new().read(true))? else {
        return Ok(false);
    };
    // A shared lock: two processes that ask at once do not see each other as holders.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: no other process has replaced the file. A file that stays does no harm.
        let _ = self.folder.remove(&self.name);
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    // More digits than any process ID has.
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn same_file(file: &File, folder: &Folder, name: &OsStr) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::symlink_metadata(folder.at(name)) {
        Ok(named) => Ok(named.ino() == opened.ino() && named.dev() == opened.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    const NAME: &str = "d.sock.lock";

    fn new_folder(name: &str) -> (PathBuf, Arc<Folder>) {
        let path = std::env::temp_dir().join(format!("vstun-lock-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let folder = Folder::open(&path).unwrap().into();
        (path, folder)
    }

    #[test]
    fn the_second_process_gets_the_holders_process_id() {
        let (path, folder) = new_folder("second");
        let name = OsStr::new(NAME);
        let Ok(Attempt::Taken(first)) = take(&folder, name) else { panic!("free") };
        match take(&folder, name) {
            Ok(Attempt::Held { pid }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        assert!(held(&folder, name).unwrap());
        drop(first);
        assert!(!path.join(NAME).exists());
        assert!(!held(&folder, name).unwrap());
        fs::remove_dir(path).unwrap();
    }

    #[test]
    fn a_lock_file_of_a_dead_holder_is_locked_anew() {
        let (path, folder) = new_folder("dead");
        fs::write(path.join(NAME), "4194305\n").unwrap();
        let Ok(Attempt::Taken(lock)) = take(&folder, OsStr::new(NAME)) else { panic!("free") };
        let text = fs::read_to_string(path.join(NAME)).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
        assert_eq!(fs::metadata(path.join(NAME)).unwrap().mode() & 0o777, MODE);
        drop(lock);
        fs::remove_dir(path).unwrap();
    }

    #[test]
    fn a_link_is_not_followed() {
        let (path, folder) = new_folder("link");
        let precious = path.join("precious");
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, path.join(NAME)).unwrap();
        let name = OsStr::new(NAME);
        assert!(matches!(take(&folder, name), Err(FileError::NotOurs(_))));
        assert!(held(&folder, name).is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        fs::remove_dir_all(path).unwrap();
    }
}
