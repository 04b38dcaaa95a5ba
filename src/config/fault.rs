//! The faults of a configuration, as messages.

use std::fmt;

/// How many faults one reading reports; a last one then says that there are more.
pub const MAX_FAULTS: usize = 1000;

/// One fault: the line, the key, and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The line in the file, from 1; 0 when the value came from a flag.
    pub line: usize,
    /// The key with its tables, as in `director.timeouts.udp`, or the flag; empty for the whole
    /// file.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Fault {
    /// The fault as `FILE:LINE: key: message`.
    pub fn display<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        InFile { fault: self, file }
    }
}

/// `LINE: key: message`; without a line, `key: message`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

struct InFile<'a> {
    fault: &'a Fault,
    file: &'a str,
}

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fault.line > 0 {
            write!(f, "{}:", self.file)?;
        }
        self.fault.fmt(f)
    }
}

impl std::error::Error for Fault {}

/// Collects faults while reading goes on.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, line: usize, key: impl fmt::Display, message: impl Into<String>) {
        if !self.is_full() {
            self.0.push(Fault { line, key: key.to_string(), message: message.into() });
        }
    }

    /// Whether further faults would be dropped. One past the bound is kept: it says that there are
    /// more.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() > MAX_FAULTS
    }

    /// The value, or the faults.
    pub(super) fn into_result<T>(self, value: Option<T>) -> Result<T, Vec<Fault>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.into_sorted()),
        }
    }

    fn into_sorted(self) -> Vec<Fault> {
        let mut faults = self.0;
        let more = faults.len() > MAX_FAULTS;
        faults.truncate(MAX_FAULTS);
        faults.sort_by_key(|fault| fault.line);
        if more {
            let line = faults.last().map_or(0, |fault| fault.line);
            let message = format!("more than {MAX_FAULTS} faults; mend these and check again");
            faults.push(Fault { line, key: String::new(), message });
        }
        faults
    }
}

/// Untrusted text for a message: quoted and cut, so that no control character reaches the terminal.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
    }
}
