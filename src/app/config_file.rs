//! Configuration files: read with a bound, checked, and refused with one line per fault.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::balancer::Change;
use crate::config::{self, Fault};

/// Why a configuration file is refused: lines of the form `FILE:LINE: key: message`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refused(Vec<String>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Refused {}

/// Reads and checks the director's configuration.
///
/// # Errors
/// The file cannot be read, or has faults.
pub(super) fn director(path: &Path) -> Result<config::Director, Refused> {
    config::director(&text(path)?).map_err(|faults| refused(path, &faults))
}

/// Reads and checks the real server's configuration.
///
/// # Errors
/// The file cannot be read, or has faults.
pub(super) fn realserver(path: &Path) -> Result<config::RealServer, Refused> {
    config::realserver(&text(path)?).map_err(|faults| refused(path, &faults))
}

/// Reads and checks the director's configuration anew, for a reload: with the changes that lead to it
/// from `running`.
///
/// # Errors
/// The file cannot be read, has faults, or changes what needs a restart.
pub(super) fn reload(
    path: &Path,
    running: &config::Director,
) -> Result<(config::Director, Vec<Change>), Refused> {
    compare(path, read(path)?, running)
}

/// Checks a configuration that somebody else has read, for the changes that lead to it from `running`. `path` is what
/// faults call it.
///
/// # Errors
/// As those of [`reload`].
pub(super) fn compare(
    path: &Path,
    bytes: Vec<u8>,
    running: &config::Director,
) -> Result<(config::Director, Vec<Change>), Refused> {
    let wanted = config::director(&utf8(path, bytes)?).map_err(|faults| refused(path, &faults))?;
    let changes = config::diff(running, &wanted).map_err(|faults| refused(path, &faults))?;
    Ok((wanted, changes))
}

/// A configuration as it is in the file.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Refused> {
    let cannot_read =
        |error: io::Error| Refused(vec![format!("cannot read {}: {error}", path.display())]);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot_read)?;
    // One byte more than is accepted tells a file that is too long from one that just fits.
    let bound = config::MAX_LEN as u64 + 1;
    file.take(bound).read_to_end(&mut bytes).map_err(cannot_read)?;
    Ok(bytes)
}

fn refused(path: &Path, faults: &[Fault]) -> Refused {
    let file = path.display().to_string();
    Refused(faults.iter().map(|fault| fault.display(&file).to_string()).collect())
}

fn text(path: &Path) -> Result<String, Refused> {
    utf8(path, read(path)?)
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, Refused> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = "not UTF-8; save the file in UTF-8".to_owned();
        refused(path, &[Fault { line, key: "syntax".to_owned(), message }])
    })
}
