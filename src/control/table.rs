//! Text columns that fit the terminal's width.

use std::borrow::Cow;
use std::ops::Range;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::printable_line;

/// Spaces between two columns.
const GAP: usize = 2;

/// The indent of a record's second and further lines.
const INDENT: usize = 4;

/// The width that the last column needs to wrap prose in it; with less, prose gets lines of its
/// own.
const PROSE: usize = 24;

/// How listings are laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// The longest line, in characters; [`usize::MAX`]: one record per line.
    pub width: usize,
    /// Whether large numbers have all their digits.
    pub exact: bool,
}

impl Layout {
    /// No limit, for programs such as `grep` that read lines.
    pub const UNBOUNDED: Self = Self { width: usize::MAX, exact: false };

    /// A number in display form.
    #[must_use]
    pub fn number(self, number: u64) -> String {
        if self.exact { number.to_string() } else { short(number) }
    }
}

/// The columns of a listing.
#[derive(Clone, Debug)]
pub(super) struct Columns<'a> {
    pub(super) header: Vec<&'a str>,
    /// The indexes of right-aligned columns.
    pub(super) numbers: &'a [usize],
    /// Whether the last column is prose.
    pub(super) prose: bool,
}

impl Columns<'_> {
    /// The header and the rows, two spaces between columns, no line longer than `width`.
    pub(super) fn text(&self, rows: Vec<Vec<String>>, width: usize) -> String {
        self.records(rows, width).into_iter().map(|record| record + "\n").collect()
    }

    /// The header and the rows, each as its lines.
    ///
    /// A row that is too wide is broken between columns. If all columns but the first fit, only
    /// rows whose first cell is too long take two lines.
    pub(super) fn records(&self, mut rows: Vec<Vec<String>>, width: usize) -> Vec<String> {
        // A cell is one line: its text cannot imitate another row.
        for cell in rows.iter_mut().flatten() {
            if let Cow::Owned(shown) = printable_line(cell) {
                *cell = shown;
            }
        }
        rows.insert(0, self.header.iter().map(ToString::to_string).collect());
        let widths: Vec<usize> = (0..self.header.len()).map(|at| widest(&rows, at)).collect();
        let total = widths.iter().map(|width| width + GAP).sum::<usize>() - GAP;
        let prose = widths.last().filter(|_| self.prose);
        let wrapped = prose.is_some_and(|prose| total - prose + PROSE <= width);
        if total <= width || wrapped {
            return self.broken(&rows, std::slice::from_ref(&(0..widths.len())), width);
        }
        let first = (width + widths[0]).saturating_sub(total);
        if first >= self.header[0].chars().count() {
            return self.hanging(&rows, first);
        }
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut used = 0;
        for (at, column) in widths.iter().enumerate() {
            match groups.last_mut() {
                Some(group) if used + GAP + column <= width => {
                    group.end = at + 1;
                    used += GAP + column;
                }
                _ => {
                    used = column + if groups.is_empty() { 0 } else { INDENT };
                    groups.push(at..at + 1);
                }
            }
        }
        self.broken(&rows, &groups, width)
    }

    /// Records whose columns are in groups below each other.
    fn broken(&self, rows: &[Vec<String>], groups: &[Range<usize>], width: usize) -> Vec<String> {
        let mut records = vec![Vec::new(); rows.len()];
        for (index, group) in groups.iter().enumerate() {
            let indent = if index == 0 { 0 } else { INDENT };
            for (record, lines) in
                records.iter_mut().zip(self.group(rows, group, width.saturating_sub(indent)))
            {
                let lines = lines.into_iter().filter(|line| index == 0 || !line.is_empty());
                record.extend(lines.map(|line| format!("{:indent$}{line}", "")));
            }
        }
        records.into_iter().map(|lines| lines.join("\n")).collect()
    }

    /// Records whose first cell has its own line if it does not fit into `room`.
    fn hanging(&self, rows: &[Vec<String>], room: usize) -> Vec<String> {
        let names = rows.iter().map(|row| row[0].chars().count());
        let first = names.filter(|length| *length <= room).max().unwrap_or(0);
        let rest = self.group(rows, &(1..self.header.len()), usize::MAX);
        let record = |(row, rest): (&Vec<String>, Vec<String>)| {
            let (name, rest) = (&row[0], rest.join("\n"));
            let fits = name.chars().count() <= first;
            let (own, name) = if fits { (None, name.as_str()) } else { (Some(name), "") };
            let own = own.map(|own| format!("{own}\n")).unwrap_or_default();
            format!("{own}{name:<first$}{:GAP$}{rest}", "")
        };
        rows.iter().zip(rest).map(record).collect()
    }

    /// Columns side by side: for each row its lines, more than one if its prose is wrapped.
    fn group(&self, rows: &[Vec<String>], group: &Range<usize>, width: usize) -> Vec<Vec<String>> {
        let beside: usize =
            group.clone().take(group.len() - 1).map(|at| widest(rows, at) + GAP).sum();
        // A cell on its own line may be too long for it.
        let prose = group.len() == 1 || (self.prose && group.end == self.header.len());
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        let mut heights = Vec::with_capacity(rows.len());
        for row in rows {
            let mut cells = row[group.clone()].to_vec();
            let wrapped = match cells.last_mut().filter(|_| prose) {
                Some(last) => fill(last, 0, width.saturating_sub(beside)),
                None => Vec::new(),
            };
            heights.push(wrapped.len().max(1));
            let mut wrapped = wrapped.into_iter();
            if let (Some(last), Some(line)) = (cells.last_mut(), wrapped.next()) {
                *last = line;
            }
            table.add_row(cells);
            for line in wrapped {
                table.add_row([vec![String::new(); group.len() - 1], vec![line]].concat());
            }
        }
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if at + 1 == group.len() { 0 } else { 2 }));
            if self.numbers.contains(&(group.start + at)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut lines = table.lines().map(|line| line.trim_end().to_owned());
        heights.into_iter().map(|height| lines.by_ref().take(height).collect()).collect()
    }
}

fn widest(rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column));
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
}

impl Layout {
    /// A text that others determine as one record: it cannot imitate a second one.
    #[must_use]
    pub fn record(self, text: &str) -> String {
        wrap(&printable_line(text), self.width, INDENT)
    }
}

/// The words of a text in lines of at most `width` characters, the first with `more` in addition. A
/// longer word is cut. What is in backquotes counts as one word if a line has room for it: it may
/// be a command to copy.
fn fill(text: &str, more: usize, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words(text, width) {
        let room = if lines.len() < 2 { width.saturating_add(more) } else { width };
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.extend(cut(word, width)),
        }
    }
    lines
}

fn words(text: &str, width: usize) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    loop {
        let end = match (rest.find(' '), rest.find('`')) {
            (Some(space), Some(quote)) if quote < space => {
                let closing = rest[quote + 1..].find('`').map(|at| quote + 1 + at);
                let end = closing.map(|at| rest[at..].find(' ').map_or(rest.len(), |end| at + end));
                end.filter(|end| rest[..*end].chars().count() <= width).unwrap_or(space)
            }
            (space, _) => space.unwrap_or(rest.len()),
        };
        all.push(&rest[..end]);
        if end == rest.len() {
            return all;
        }
        rest = &rest[end + 1..];
    }
}

/// A word in pieces of at most `width` characters.
fn cut(word: &str, width: usize) -> Vec<String> {
    if word.chars().count() <= width.max(1) {
        return vec![word.to_owned()];
    }
    let characters: Vec<char> = word.chars().collect();
    characters.chunks(width.max(1)).map(|piece| piece.iter().collect()).collect()
}

/// Wraps each line of a text to `width` characters, with continuation lines indented by `indent`.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut wrapped = String::new();
    for line in text.lines() {
        // The line's own indent is not a word.
        let body = line.trim_start_matches(' ');
        let own = line.len() - body.len();
        let hang = own + indent;
        let room = width.saturating_sub(hang);
        for (index, piece) in fill(body, indent, room).iter().enumerate() {
            let hang = if index == 0 { own } else { hang };
            wrapped += &format!("{:hang$}{piece}\n", "");
        }
    }
    wrapped
}

/// Texts after their names, one below the other; no line is longer than `width`.
pub(super) fn named(
    rows: impl IntoIterator<Item = (&'static str, String)>,
    width: usize,
) -> String {
    const NAMES: usize = 13;
    let row = |(name, text): (&str, String)| {
        let mut lines = fill(&text, 0, width.saturating_sub(NAMES)).into_iter();
        let first = format!("{name:<NAMES$}{}\n", lines.next().unwrap_or_default());
        first + &lines.map(|line| format!("{:NAMES$}{line}\n", "")).collect::<String>()
    };
    rows.into_iter().map(row).collect()
}

/// A number of at most seven characters: from ten million on in thousands, and so on, as in
/// ipvsadm.
fn short(number: u64) -> String {
    const EXACT: u64 = 9_999_999;
    let mut left = number;
    for unit in ["", "K", "M", "G", "T"] {
        if left <= EXACT / if unit.is_empty() { 1 } else { 10 } {
            return format!("{left}{unit}");
        }
        left /= 1_000;
    }
    format!("{left}P")
}

/// Counters below each other: the label, then the right-aligned number.
pub(super) fn figures<'a>(rows: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let rows: Vec<_> = rows.into_iter().map(|(label, value)| (label, value.to_string())).collect();
    let label_width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let value_width = rows.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
    let line = |(label, value)| format!("{label:<label_width$}  {value:>value_width$}\n");
    rows.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_as_long_as_they_fit() {
        for (number, expected) in [
            (0, "0"),
            (9_999_999, "9999999"),
            (10_000_000, "10000K"),
            (999_999_999, "999999K"),
            (1_000_000_000, "1000M"),
            (u64::MAX, "18446P"),
        ] {
            assert_eq!(short(number), expected);
        }
    }

    fn shown(rows: &[[&str; 3]], prose: bool, width: usize) -> String {
        let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        Columns { header: vec!["NAME", "NUMBER", "WHY"], numbers: &[1], prose }.text(rows, width)
    }

    #[test]
    fn a_cell_cannot_imitate_a_row_or_steer_the_terminal() {
        let rows = [["one", "1", "x\ntwo\x1b[2J"]];
        let expected = "NAME  NUMBER  WHY\none        1  x\u{fffd}two\u{fffd}[2J\n";
        assert_eq!(shown(&rows, false, usize::MAX), expected);
    }

    #[test]
    fn columns_that_fit_are_side_by_side() {
        let rows = [["one", "1", "x"], ["three", "20", "yy"]];
        assert_eq!(
            shown(&rows, false, 18),
            "NAME   NUMBER  WHY\none         1  x\nthree      20  yy\n"
        );
        assert_eq!(shown(&rows, false, usize::MAX), shown(&rows, false, 18));
    }

    #[test]
    fn a_first_cell_that_is_one_too_long_has_a_line_of_its_own() {
        let rows = [["one", "1", "x"], ["seven", "20", "yy"]];
        let expected = "NAME  NUMBER  WHY\none        1  x\nseven\n          20  yy\n";
        assert_eq!(shown(&rows, false, 17), expected);
    }

    #[test]
    fn columns_that_do_not_fit_go_below() {
        let rows = [["one", "1", "a long cell"], ["three", "20", "yy"]];
        let expected =
            "NAME   NUMBER\n    WHY\none         1\n    a long cell\nthree      20\n    yy\n";
        assert_eq!(shown(&rows, false, 15), expected);
    }

    #[test]
    fn prose_is_wrapped_in_its_column() {
        let rows = [["one", "1", "a sentence of more words than there is room for"]];
        let expected = "NAME  NUMBER  WHY\n\
                        one        1  a sentence of more words\n\
                        \x20             than there is room for\n";
        assert_eq!(shown(&rows, true, 14 + PROSE), expected);
        let below = shown(&rows, true, 13 + PROSE);
        assert!(
            below.contains("\n    a sentence of more words than\n    there is room for\n"),
            "{below}"
        );
    }

    #[test]
    fn lines_are_wrapped_behind_their_own_indent() {
        assert_eq!(
            wrap("one two three\n  four five six\n", 10, 2),
            "one two\n  three\n  four\n    five\n    six\n"
        );
        assert_eq!(wrap("as it is\n", usize::MAX, 4), "as it is\n");
    }

    #[test]
    fn a_quoted_command_is_in_one_line_if_it_fits() {
        for (text, wrapped) in [
            ("see `ip rule`, and go", "see\n  `ip rule`,\n  and go\n"),
            ("see `ip route get 192.0.2.1` too", "see `ip route\n  get\n  192.0.2.1`\n  too\n"),
            ("an odd ` quote in it", "an odd `\n  quote in it\n"),
            ("`a b c` `d e f`", "`a b c`\n  `d e f`\n"),
        ] {
            assert_eq!(wrap(text, 13, 2), wrapped, "{text}");
        }
    }
}
