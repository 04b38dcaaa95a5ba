//! The output of listings: a terminal or a pipe.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::{process, thread};

use anyhow::Context;
use terminal_size::{Height, Width, terminal_size_of};

use crate::control::{Layout, counted, printable, printable_json};
use crate::sys::hangup;

/// The layout of listings: as wide as `COLUMNS`, else as the terminal. Other outputs get one record
/// per line, however long, since programs read them.
pub(super) fn layout() -> Layout {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = columns.filter(|&columns| columns > 0);
    let own = || terminal_size_of(io::stdout()).map(|(Width(width), _)| usize::from(width));
    match columns.or_else(own) {
        Some(width) => Layout { width, ..Layout::UNBOUNDED },
        None => Layout::UNBOUNDED,
    }
}

/// Writes a text for people. Every text from a file or a daemon is written here or by
/// [`write_json`], without the control characters in it.
///
/// # Errors
/// Those of writing.
pub(super) fn write(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(printable(text).as_bytes())
}

/// Writes JSON lines.
///
/// # Errors
/// Those of writing.
pub(super) fn write_json(out: &mut impl Write, lines: &[u8]) -> io::Result<()> {
    out.write_all(printable_json(&String::from_utf8_lossy(lines)).as_bytes())
}

/// Writes a warning to standard error.
pub(super) fn warn(text: &str) {
    note(&format!("vstun: warning: {text}"));
}

/// Writes a line to standard error. Unlike with `eprintln!`, a terminal that is gone is no panic.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// Ends the program when the terminal or the reader of its standard output is gone. Otherwise a
/// program that waits for something to show would stay, and keep a connection to the daemon.
pub(super) fn end_with_reader() {
    thread::spawn(|| {
        let out = io::stdout();
        if hangup::wait(&[out.as_fd()]).is_ok() {
            process::exit(0);
        }
    });
}

/// Ends the program successfully at Ctrl-C, for output that does not end by itself.
///
/// # Errors
/// The signal handler cannot be installed.
pub(super) fn end_at_interrupt() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot wait for Ctrl-C")?;
    let interrupt = {
        let _guard = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
    };
    let mut interrupt = interrupt.context("cannot wait for Ctrl-C")?;
    thread::spawn(move || {
        runtime.block_on(interrupt.recv());
        process::exit(0);
    });
    Ok(())
}

/// Draws a text over the previous one. Lines that do not fit on the terminal are cut off and
/// counted.
///
/// # Errors
/// Those of writing.
pub(super) fn redraw(out: &mut impl Write, first: bool, text: &str) -> io::Result<()> {
    let rows = terminal_size_of(io::stdout()).map_or(usize::MAX, |(_, Height(rows))| rows.into());
    out.write_all(drawn(first, rows, text).as_bytes())
}

/// The text with the control sequences (ECMA-48) that erase the rest of the previous one.
fn drawn(first: bool, rows: usize, text: &str) -> String {
    let lines = text.lines().count();
    // The cursor needs a line of its own.
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines > room { room - 1 } else { lines };
    let mut drawn = if first { "\x1b[2J\x1b[H" } else { "\x1b[H" }.to_owned();
    for line in text.lines().take(shown) {
        // Writing to a String does not fail.
        let _ = write!(drawn, "{}\x1b[K\r\n", printable(line));
    }
    if lines > shown {
        let more = counted((lines - shown) as u64, "line");
        let _ = write!(drawn, "… {more} more\x1b[K\r\n");
    }
    drawn + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_fits_its_terminal_and_leaves_nothing_below() {
        let text = "a\nb\nc\n";
        let whole = "\x1b[Ha\x1b[K\r\nb\x1b[K\r\nc\x1b[K\r\n\x1b[J";
        assert_eq!(drawn(false, 4, text), whole);
        assert_eq!(drawn(true, usize::MAX, text), format!("\x1b[2J{whole}"));
        let cut = "\x1b[Ha\x1b[K\r\n… 2 lines more\x1b[K\r\n\x1b[J";
        assert_eq!(drawn(false, 3, text), cut);
        assert_eq!(drawn(false, 0, text), "\x1b[H… 3 lines more\x1b[K\r\n\x1b[J");
    }
}
