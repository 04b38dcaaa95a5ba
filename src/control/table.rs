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

/// Figures under each other: the label, then the number at the right of its column.
pub(super) fn figures<'a>(rows: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let rows: Vec<_> = rows.into_iter().map(|(label, value)| (label, value.to_string())).collect();
    let label_width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let value_width = rows.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
    let line = |(label, value)| format!("{label:<label_width$}  {value:>value_width$}\n");
    rows.into_iter().map(line).collect()
}
