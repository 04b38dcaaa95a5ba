//! The log under systemd: the journal adds its own time stamps and reads a line's priority from its
//! first characters (sd-daemon(3)).

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

use env_logger::fmt::Formatter;
use log::{Level, Record};

/// Whether stderr is the journal's socket. `JOURNAL_STREAM` (systemd.exec(5)) may be inherited and
/// name another stream.
pub(super) fn is_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = fs::metadata("/proc/self/fd/2").map(|meta| format!("{}:{}", meta.dev(), meta.ino()));
    own.is_ok_and(|own| own == stream)
}

/// Writes a record in the journal's form.
pub(super) fn write(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let text = format!("{}: {}", record.target(), record.args());
    out.write_all(prefixed(record.level(), &text).as_bytes())
}

/// The text with the priority at the start of each line.
pub(super) fn prefixed(level: Level, text: &str) -> String {
    // syslog(3): error, warning, informational, debug.
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    text.lines().map(|line| format!("<{priority}>{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_priority() {
        assert_eq!(prefixed(Level::Error, "one\ntwo"), "<3>one\n<3>two\n");
        assert_eq!(prefixed(Level::Warn, "x"), "<4>x\n");
        assert_eq!(prefixed(Level::Info, "x"), "<6>x\n");
        assert_eq!(prefixed(Level::Debug, "x"), "<7>x\n");
    }
}
