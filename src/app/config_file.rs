//! Configuration files: read up to a bound, checked, and refused with one line per fault. A
//! separate thread does the work that may wait for a disk or a network file system.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::task::spawn_blocking;

use crate::balancer::Change;
use crate::config::{self, Fault};

use super::slow_io;

/// Why a configuration file is refused: lines of the form `FILE:LINE: key: message`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads and checks the director's configuration.
///
/// # Errors
/// The file cannot be read, or has faults.
pub(super) fn director(path: &Path) -> Result<config::Director, ConfigErrors> {
    config::director(&text(path)?).map_err(|faults| refused(path, &faults))
}

/// Reads and checks the real server's configuration.
///
/// # Errors
/// The file cannot be read, or has faults.
pub(super) fn realserver(path: &Path) -> Result<config::RealServer, ConfigErrors> {
    config::realserver(&text(path)?).map_err(|faults| refused(path, &faults))
}

/// A configuration, and the changes from the running one to it.
pub(super) type Compared = (config::Director, Vec<Change>);

/// Reads and checks the director's configuration again, for a reload from `running`.
///
/// # Errors
/// The file cannot be read in time, has faults, or changes what needs a restart.
pub(super) async fn reload(path: &Path, running: &config::Director) -> anyhow::Result<Compared> {
    let what = format!("cannot read {}", path.display());
    let file = path.to_owned();
    let bytes = slow_io::run(&what, move || read(&file)).await??;
    compare(path.to_owned(), bytes, running).await
}

/// Checks the text of a configuration, and computes the changes from `running` to it. `path` is its
/// name in faults.
///
/// # Errors
/// As those of [`reload`].
pub(super) async fn compare(
    path: PathBuf,
    bytes: Vec<u8>,
    running: &config::Director,
) -> anyhow::Result<Compared> {
    let running = running.clone();
    // It waits for nothing but the CPU, which packets may need for longer than a file system may
    // take.
    let compare = spawn_blocking(move || compared(&path, bytes, &running));
    Ok(compare.await.context("cannot compare the configuration")??)
}

/// Reads and checks the real server's configuration again, for a reload from `running`.
///
/// # Errors
/// As for [`reload`].
pub(super) async fn reload_realserver(
    path: &Path,
    running: &config::RealServer,
) -> anyhow::Result<config::RealServer> {
    let what = format!("cannot read {}", path.display());
    let (path, running) = (path.to_owned(), running.clone());
    let read = move || compared_realserver(&path, read(&path)?, &running);
    Ok(slow_io::run(&what, read).await??)
}

/// Checks a real server's configuration that the caller has read; `path` names it in faults.
///
/// # Errors
/// As for [`reload`].
pub(super) async fn compare_realserver(
    path: PathBuf,
    bytes: Vec<u8>,
    running: &config::RealServer,
) -> anyhow::Result<config::RealServer> {
    let running = running.clone();
    let compare = move || compared_realserver(&path, bytes, &running);
    Ok(slow_io::run("cannot compare the configuration", compare).await??)
}

fn compared_realserver(
    path: &Path,
    bytes: Vec<u8>,
    running: &config::RealServer,
) -> Result<config::RealServer, ConfigErrors> {
    let wanted =
        config::realserver(&utf8(path, bytes)?).map_err(|faults| refused(path, &faults))?;
    let faults = config::needs_restart(running, &wanted);
    if faults.is_empty() { Ok(wanted) } else { Err(refused(path, &faults)) }
}

fn compared(
    path: &Path,
    bytes: Vec<u8>,
    running: &config::Director,
) -> Result<Compared, ConfigErrors> {
    let wanted = config::director(&utf8(path, bytes)?).map_err(|faults| refused(path, &faults))?;
    let changes = config::diff(running, &wanted).map_err(|faults| refused(path, &faults))?;
    Ok((wanted, changes))
}

/// Reads a configuration file without checking it.
///
/// # Errors
/// The file cannot be read, or is not a regular file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ConfigErrors> {
    bounded(path)
        .map_err(|error| ConfigErrors(vec![format!("cannot read {}: {error}", path.display())]))
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    // One byte above the bound distinguishes a file that is too long from one that just fits.
    let bound = config::MAX_LEN as u64 + 1;
    file.take(bound).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A FIFO or a device could block its reader or never end.
fn open(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK opening a FIFO waits for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(file),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ => "a device",
    };
    Err(io::Error::other(format!("it is {what}; give a regular file")))
}

fn refused(path: &Path, faults: &[Fault]) -> ConfigErrors {
    let file = path.display().to_string();
    ConfigErrors(faults.iter().map(|fault| fault.display(&file).to_string()).collect())
}

fn text(path: &Path) -> Result<String, ConfigErrors> {
    utf8(path, read(path)?)
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, ConfigErrors> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = "not UTF-8; save the file in UTF-8".to_owned();
        refused(path, &[Fault { line, key: "syntax".to_owned(), message }])
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_regular_file_is_read_and_none_is_waited_for() {
        let fifo = std::env::temp_dir().join(format!("vstun-config-{}", std::process::id()));
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let refused = read(&fifo).unwrap_err().to_string();
        std::fs::remove_file(&fifo).unwrap();
        assert!(refused.ends_with(": it is a FIFO; give a regular file"), "{refused}");
        for (path, what) in [("/dev/zero", "a device"), ("/", "a directory")] {
            let refused = read(Path::new(path)).unwrap_err().to_string();
            assert!(
                refused.ends_with(&format!(": it is {what}; give a regular file")),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_long_file_is_read_up_to_one_byte_beyond_the_bound() {
        let path = std::env::temp_dir().join(format!("vstun-config-long-{}", std::process::id()));
        std::fs::write(&path, vec![b'#'; config::MAX_LEN + 2]).unwrap();
        let read = read(&path).unwrap().len();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, config::MAX_LEN + 1);
    }
}
