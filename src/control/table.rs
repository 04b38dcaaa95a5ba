//! Columns for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Rows as columns under a header, two spaces apart; the columns in `numbers` stand at the right.
pub(super) fn text<'a>(
    header: impl IntoIterator<Item = &'a str>,
    rows: Vec<Vec<String>>,
    numbers: &[usize],
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.into_iter().collect::<Vec<_>>());
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// A number of at most seven characters: from ten million on in thousands, and so on, as ipvsadm
/// shows them.
pub(super) fn short(number: u64) -> String {
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

/// Figures under each other: the label, then the number at the right of its column.
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
}
