//! TOML text as tables whose values have line numbers.

use toml::de::{DeTable, Error};

use super::fault::Faults;
use super::keys;

/// The longest configuration that is read, in bytes: 16 MiB.
pub const MAX_LEN: usize = 16 << 20;

/// A text without syntax errors.
pub(super) struct Document<'i> {
    pub(super) root: DeTable<'i>,
    pub(super) lines: Lines,
}

impl<'i> Document<'i> {
    /// Parses `text`. A duplicate key is a fault, but the rest is still read; after any other
    /// syntax error the rest is unreliable, so there is no document.
    pub(super) fn parse(text: &'i str, faults: &mut Faults) -> Option<Self> {
        if text.len() > MAX_LEN {
            faults.add(1, "", format!("longer than {MAX_LEN} bytes; split the services up"));
            return None;
        }
        let lines = Lines::of(text);
        let (root, mut errors) = DeTable::parse_recoverable(text);
        errors.sort_by_key(start);
        let broken = errors.iter().any(|error| !is_duplicate(error));
        let mut last_line = 0;
        for error in &errors {
            let line = lines.at(start(error));
            // One mistake often causes several errors on its line; the first one is the useful one.
            if line != last_line && !(broken && is_duplicate(error)) {
                last_line = line;
                report(error, text, line, faults);
            }
        }
        if broken {
            return None;
        }
        let document = Self { root: root.into_inner(), lines };
        document.refuse_unknown_tables(faults);
        Some(document)
    }

    fn refuse_unknown_tables(&self, faults: &mut Faults) {
        for (key, _) in &self.root {
            let name: &str = key.get_ref();
            if !keys::TABLES.contains(&name) && !faults.is_full() {
                let line = self.lines.at(key.span().start);
                faults.add(line, keys::shown(name), keys::unknown_table(name));
            }
        }
    }
}

/// Where the lines of a text start.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let after_newline = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(after_newline.map(|(at, _)| at + 1)).collect())
    }

    /// The line of the byte at `offset`, from 1.
    pub(super) fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn start(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// The parser's only error after which the rest of the document is reliable.
fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

fn report(error: &Error, text: &str, line: usize, faults: &mut Faults) {
    if is_duplicate(error) {
        let key = error.span().and_then(|span| text.get(span)).unwrap_or_default();
        faults.add(line, keys::shown(key.trim_matches(['"', '\''])), "given twice; keep one");
    } else {
        faults.add(line, "syntax", error.message());
    }
}
