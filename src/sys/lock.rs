//! One process per file: an exclusive `flock` that ends with the process, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A lock that is held. The file holds the holder's process number; it is removed when the lock is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

/// What came of the attempt.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Taken(Lock),
    /// Another process has it.
    Held {
        /// Its number, where the file says so.
        pid: Option<u32>,
    },
}

/// Takes the lock, or says who has it; does not wait.
///
/// # Errors
///
/// The file cannot be opened, locked or written.
pub fn take(path: &Path) -> io::Result<Attempt> {
    loop {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Held { pid: holder(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The holder before us may have removed the file between our open and our lock: then this lock is on a
        // file without a name, and the next one would lock another.
        if !same_file(&file, path)? {
            continue;
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        return Ok(Attempt::Taken(Lock { path: path.to_owned(), _file: file }));
    }
}

/// Whether a process holds the lock now; a missing file is not held.
///
/// # Errors
///
/// The file is there and cannot be opened or asked.
pub fn held(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // A shared lock: two that ask at once must not see each other as holders.
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: nobody else can have put another file here. A file that stays is no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok(named.ino() == opened.ino() && named.dev() == opened.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("vstun-lock-{}-{name}", std::process::id()))
    }

    #[test]
    fn the_second_is_told_who_is_first() {
        let path = place("second");
        let Ok(Attempt::Taken(first)) = take(&path) else { panic!("free") };
        match take(&path) {
            Ok(Attempt::Held { pid }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        assert!(held(&path).expect("readable"));
        drop(first);
        assert!(!path.exists());
        assert!(!held(&path).expect("absent"));
    }

    #[test]
    fn a_file_left_by_a_dead_holder_is_taken() {
        let path = place("dead");
        std::fs::write(&path, "4194305\n").expect("temp");
        let Ok(Attempt::Taken(lock)) = take(&path) else { panic!("free") };
        let text = std::fs::read_to_string(&path).expect("there");
        assert_eq!(text.trim(), std::process::id().to_string());
        drop(lock);
    }
}
