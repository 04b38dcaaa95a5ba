//! Where listings are printed.

use std::io;

use terminal_size::{Width, terminal_size_of};

use crate::control::Layout;

/// How listings are laid out: as wide as `COLUMNS` says, else as the terminal is. What is no
/// terminal gets one record a line, however long, since programs read it.
pub(super) fn layout() -> Layout {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = columns.filter(|&columns| columns > 0);
    let own = || terminal_size_of(io::stdout()).map(|(Width(width), _)| usize::from(width));
    match columns.or_else(own) {
        Some(width) => Layout { width, ..Layout::UNBOUNDED },
        None => Layout::UNBOUNDED,
    }
}
