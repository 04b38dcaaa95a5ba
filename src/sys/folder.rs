//! A folder of a daemon's own files, such as that of its control socket.
//!
//! The daemon neither reads nor writes a file that another user may have put there: root would
//! carry out the content. The folder is opened once, and names are looked up in that open folder
//! (`/proc/self/fd` of proc(5) serves std as openat(2)), so another user cannot replace it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Write access of the group and of others.
const OTHERS_WRITE: u32 = 0o022;

/// `S_ISVTX`: in such a folder a user cannot remove or rename another user's files.
const STICKY: u32 = 0o1000;

/// Why a folder or a file is not trusted as this user's own.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path} {fault}")]
pub struct NotOurs {
    path: String,
    fault: String,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Another user may have made or changed it.
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
    /// The system call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A folder that is open, in which other users cannot replace this user's files.
#[derive(Debug)]
pub struct Folder {
    handle: File,
    path: PathBuf,
}

impl Folder {
    /// Makes the folder with mode 0700, unless it exists.
    ///
    /// # Errors
    ///
    /// Those of mkdir(2).
    pub fn make(path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens the folder.
    ///
    /// # Errors
    ///
    /// The folder belongs to a user other than root and this one, or others may write to it and it
    /// is not sticky as `/tmp` is; errors of open(2).
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let handle = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        let meta = handle.metadata()?;
        let sticky = meta.mode() & STICKY != 0;
        let fault = stranger(&meta).or_else(|| {
            let open = meta.mode() & OTHERS_WRITE != 0 && !sticky;
            open.then(|| format!("has mode {:04o}: others may write to it", meta.mode() & 0o7777))
        });
        match fault {
            Some(fault) => Err(NotOurs { path: path.display().to_string(), fault }.into()),
            None => Ok(Self { handle, path: path.to_owned() }),
        }
    }

    /// The file's path for messages.
    #[must_use]
    pub fn shown(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// The file's path for system calls.
    #[must_use]
    pub fn at(&self, name: &OsStr) -> PathBuf {
        Path::new("/proc/self/fd").join(self.handle.as_raw_fd().to_string()).join(name)
    }

    /// Reads at most `most` bytes of this user's file; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// The file is longer, or [`NotOurs`].
    pub fn read(&self, name: &OsStr, most: u64) -> Result<Option<Vec<u8>>, FileError> {
        let Some(file) = self.open_file(name, OpenOptions::new().read(true))? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::other(format!("longer than {most} bytes")).into());
        }
        Ok(Some(bytes))
    }

    /// Writes a file of mode 0600. After a crash the file has the old or the new content, never a
    /// part.
    ///
    /// # Errors
    ///
    /// Those of the system calls; a name that is taken by something that cannot be removed. Nothing
    /// new is left then.
    pub fn replace(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        let mut new_name = name.to_owned();
        new_name.push(".new");
        let new = self.at(&new_name);
        // A file left by a crash, or another user's link: remove the name, do not follow it.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let shown = self.shown(&new_name);
                let text = format!("{} is in the way: {error}; remove it", shown.display());
                return Err(io::Error::new(error.kind(), text));
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&new)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&new, self.at(name))) {
            // On a full file system a part of it would take the last room.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        // Also writes the new name to the disk.
        self.handle.sync_all()
    }

    /// Removes the file if it exists.
    ///
    /// # Errors
    ///
    /// Those of unlink(2).
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match fs::remove_file(self.at(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens this user's file; `None` if it does not exist. A new file has mode 0600.
    pub(super) fn open_file(
        &self,
        name: &OsStr,
        how: &mut OpenOptions,
    ) -> Result<Option<File>, FileError> {
        // Without O_NONBLOCK opening a FIFO waits for its other end.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let not_ours =
            |fault: String| NotOurs { path: self.shown(name).display().to_string(), fault };
        let file = match how.mode(0o600).custom_flags(flags).open(self.at(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(not_ours("is a symbolic link".to_owned()).into());
            }
            Err(error) if error.raw_os_error() == Some(libc::EISDIR) => {
                return Err(not_ours("is a directory".to_owned()).into());
            }
            Err(error) => return Err(error.into()),
        };
        match fault(&file.metadata()?) {
            Some(fault) => Err(not_ours(fault).into()),
            None => Ok(Some(file)),
        }
    }
}

/// The file of a socket, whatever is at its path later.
#[derive(Debug)]
pub struct SocketFile(File);

impl SocketFile {
    /// Finds the file without following a link.
    ///
    /// # Errors
    ///
    /// There is something else; errors of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        match file.metadata()?.file_type().is_socket() {
            true => Ok(Self(file)),
            false => Err(io::Error::other("another program has replaced it")),
        }
    }

    /// A path that leads to this file and no other.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.0.as_raw_fd().to_string())
    }
}

/// Why the file cannot be this user's own.
fn fault(meta: &Metadata) -> Option<String> {
    let kind = meta.file_type();
    if !kind.is_file() {
        let what = match kind {
            _ if kind.is_dir() => "a directory",
            _ if kind.is_fifo() => "a FIFO",
            _ if kind.is_socket() => "a socket",
            _ => "a device",
        };
        return Some(format!("is {what}, not a regular file"));
    }
    stranger(meta).or_else(|| match (meta.nlink(), meta.mode() & OTHERS_WRITE) {
        (1, 0) => None,
        (1, _) => Some(format!("has mode {:04o}: others may write to it", meta.mode() & 0o7777)),
        (links, _) => Some(format!("has {links} names (hard links)")),
    })
}

/// Says which user owns it, if that is neither root nor this one.
fn stranger(meta: &Metadata) -> Option<String> {
    // SAFETY: geteuid(2) takes nothing and cannot fail.
    let own = unsafe { libc::geteuid() };
    let owner = meta.uid();
    (owner != 0 && owner != own).then(|| format!("belongs to user {owner}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    const NAME: &str = "d.sock.state";

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("vstun-folder-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            set_mode(&path, 0o755);
            Self(path)
        }

        fn refusal(&self) -> String {
            let folder = Folder::open(&self.0).unwrap();
            match folder.read(OsStr::new(NAME), 100) {
                Err(FileError::NotOurs(fault)) => fault.to_string(),
                other => panic!("{other:?}"),
            }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_written_file_reads_back_up_to_the_bound_and_has_mode_0600() {
        let scratch = Scratch::new("written");
        let folder = Folder::open(&scratch.0).unwrap();
        let name = OsStr::new(NAME);
        assert!(folder.read(name, 3).unwrap().is_none());
        folder.replace(name, b"one").unwrap();
        folder.replace(name, b"two").unwrap();
        assert_eq!(folder.read(name, 3).unwrap().unwrap(), b"two");
        assert!(matches!(folder.read(name, 2), Err(FileError::Io(_))));
        let meta = fs::metadata(scratch.0.join(NAME)).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o600);
        folder.remove(name).unwrap();
        folder.remove(name).unwrap();
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_the_place_of_the_new_file_is_removed_and_not_followed() {
        let scratch = Scratch::new("new");
        let precious = scratch.0.join("precious");
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, scratch.0.join("d.sock.state.new")).unwrap();
        let folder = Folder::open(&scratch.0).unwrap();
        folder.replace(OsStr::new(NAME), b"state").unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        fs::create_dir(scratch.0.join("d.sock.state.new")).unwrap();
        assert!(folder.replace(OsStr::new(NAME), b"state").is_err());
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let scratch = Scratch::new("unwritten");
        let folder = Folder::open(&scratch.0).unwrap();
        // A file cannot take the name of a folder.
        fs::create_dir(scratch.0.join(NAME)).unwrap();
        assert!(folder.replace(OsStr::new(NAME), b"state").is_err());
        let left: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|one| one.unwrap()).collect();
        assert!(left.len() == 1 && left[0].file_name() == NAME, "{left:?}");
    }

    #[test]
    fn a_file_that_another_user_may_have_made_or_changed_is_not_read() {
        let scratch = Scratch::new("not-ours");
        let path = scratch.0.join(NAME);
        let other = scratch.0.join("other");
        fs::write(&other, "x").unwrap();

        symlink(&other, &path).unwrap();
        assert!(scratch.refusal().ends_with("is a symbolic link"), "{}", scratch.refusal());
        fs::remove_file(&path).unwrap();

        fs::hard_link(&other, &path).unwrap();
        assert!(scratch.refusal().ends_with("has 2 names (hard links)"), "{}", scratch.refusal());
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        assert!(scratch.refusal().contains("is a directory"), "{}", scratch.refusal());
        fs::remove_dir(&path).unwrap();

        fs::write(&path, "x").unwrap();
        set_mode(&path, 0o620);
        assert!(scratch.refusal().ends_with("has mode 0620: others may write to it"));
        set_mode(&path, 0o644);
        assert!(Folder::open(&scratch.0).unwrap().read(OsStr::new(NAME), 1).unwrap().is_some());
        // Only root can give files away.
        if chown(&path, Some(65_534), None).is_ok()
            && stranger(&fs::metadata(&path).unwrap()).is_some()
        {
            assert!(scratch.refusal().ends_with("belongs to user 65534"), "{}", scratch.refusal());
        }
        fs::remove_file(&path).unwrap();

        let socket = UnixListener::bind(&path).unwrap();
        let folder = Folder::open(&scratch.0).unwrap();
        assert!(folder.read(OsStr::new(NAME), 1).is_err());
        drop(socket);
    }

    #[test]
    fn a_socket_s_file_is_itself_and_no_link() {
        let scratch = Scratch::new("socket-file");
        let (socket, link) = (scratch.0.join("socket"), scratch.0.join("link"));
        let listener = UnixListener::bind(&socket).unwrap();
        symlink(&socket, &link).unwrap();
        assert!(SocketFile::open(&link).is_err());
        let file = SocketFile::open(&socket).unwrap();
        // A link to something else takes its place.
        let precious = scratch.0.join("precious");
        fs::write(&precious, "precious").unwrap();
        set_mode(&precious, 0o600);
        fs::rename(&socket, scratch.0.join("moved")).unwrap();
        symlink(&precious, &socket).unwrap();
        set_mode(&file.path(), 0o666);
        let mode = |name| fs::metadata(scratch.0.join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode("moved"), mode("precious")), (0o666, 0o600));
        assert!(SocketFile::open(&socket).is_err());
        drop(listener);
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let scratch = Scratch::new("fifo");
        let made = std::process::Command::new("mkfifo").arg(scratch.0.join(NAME)).status();
        assert!(made.unwrap().success());
        assert!(
            scratch.refusal().ends_with("is a FIFO, not a regular file"),
            "{}",
            scratch.refusal()
        );
    }

    #[test]
    fn a_folder_to_which_others_may_write_is_accepted_only_if_it_is_sticky() {
        let scratch = Scratch::new("mode");
        for (mode, fine) in [
            (0o700, true),
            (0o755, true),
            (0o1777, true),
            (0o777, false),
            (0o775, false),
            (0o757, false),
        ] {
            set_mode(&scratch.0, mode);
            assert_eq!(Folder::open(&scratch.0).is_ok(), fine, "{mode:o}");
        }
        set_mode(&scratch.0, 0o755);
        if chown(&scratch.0, Some(65_534), None).is_ok()
            && stranger(&fs::metadata(&scratch.0).unwrap()).is_some()
        {
            let refused = Folder::open(&scratch.0).unwrap_err().to_string();
            assert!(refused.ends_with("belongs to user 65534"), "{refused}");
            chown(&scratch.0, Some(0), None).unwrap();
        }
        assert!(Folder::open(&scratch.0.join("absent")).is_err());
    }
}
