//! Tables as kubectl prints them: columns parted by at least three spaces, no borders, no wrapping.
//!
//! Invariant: a row is one line whatever its cells hold (what would steer a terminal is shown escaped), and
//! no cell is cut.

use std::borrow::Cow;

use runtime::error::harmless;

/// Spaces after the widest cell of a column.
const PADDING: usize = 3;
/// The least a column takes, its padding included.
const LEAST: usize = 6;

/// Rows of cells under a header.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table under `header`.
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; a hostile name stays in it.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let shown = |cell: String| match harmless(&cell) {
            Cow::Borrowed(_) => cell,
            Cow::Owned(escaped) => escaped,
        };
        self.rows.push(cells.into_iter().map(|cell| shown(cell.into())).collect());
    }

    /// The text, one line a row; `header` leaves the first line out where false.
    pub(crate) fn render(&self, header: bool) -> String {
        self.render_with(&self.widths(), header)
    }

    /// The widths that the cells ask for, for [`Table::render_with`].
    pub(crate) fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| {
            std::iter::once(&self.header).chain(&self.rows).filter_map(move |row| row.get(column))
        };
        (0..self.header.len())
            .map(|column| {
                cells(column).map(|cell| cell.chars().count() + PADDING).max().unwrap_or(0).max(LEAST)
            })
            .collect()
    }

    /// The text with columns of `widths`, so that rows printed later stand under the same header.
    /// A longer cell still keeps its padding.
    pub(crate) fn render_with(&self, widths: &[usize], header: bool) -> String {
        let mut out = String::new();
        let first = header.then_some(&self.header);
        for row in first.into_iter().chain(&self.rows) {
            let start = out.len();
            for (cell, width) in row.iter().zip(widths) {
                let length = cell.chars().count();
                out.push_str(cell);
                out.extend(std::iter::repeat_n(' ', (*width).max(length + PADDING) - length));
            }
            out.truncate(start + out[start..].trim_end().len());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_kubectls() {
        let mut table = Table::new(["NAME", "READY", "AGE"]);
        table.row(["web", "2/2", "12s"]);
        table.row(["a-longer-name", "0/1", "3m"]);
        assert_eq!(
            table.render(true),
            "NAME            READY   AGE\nweb             2/2     12s\na-longer-name   0/1     3m\n"
        );
        assert_eq!(table.render(false).lines().count(), 2);
        table.row(["", "", ""]);
        assert!(table.render(false).ends_with("3m\n\n"), "{:?}", table.render(false));
    }

    #[test]
    fn a_cell_with_a_newline_stays_in_its_row() {
        let mut table = Table::new(["NAME"]);
        table.row(["a\nb\u{1b}[31m"]);
        assert_eq!(table.render(false), "a\\nb\\u{1b}[31m\n");
    }
}
