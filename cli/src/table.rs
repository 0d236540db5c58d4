//! Tables as kubectl prints them: columns parted by at least three spaces, no borders.
//!
//! Invariant: a row is one line whatever its cells hold (characters that would steer a terminal are escaped),
//! and no cell is cut. On a terminal that is too narrow, and only there, the columns that do not fit continue
//! below.

use std::borrow::Cow;

use runtime::error::harmless;

use crate::output;

/// Spaces after the widest cell of a column.
const PADDING: usize = 3;
/// The least a column takes, its padding included.
const LEAST: usize = 6;
/// The indent of a row's continuation.
const INDENT: usize = 4;
/// So narrow a column of words may be.
const TEXT_LEAST: usize = 20;

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
        self.render_within(widths, header, output::columns(std::io::stdout()))
    }

    /// The text for a terminal of `room` columns; `None`: one line a row, however long.
    fn render_within(&self, widths: &[usize], header: bool, room: Option<usize>) -> String {
        let places = self.places(widths, room.unwrap_or(usize::MAX));
        let mut out = String::new();
        let first = header.then_some(&self.header);
        for row in first.into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (cell, place) in row.iter().zip(&places) {
                let mut length = line.chars().count();
                if place.is_below {
                    push_line(&mut out, &std::mem::take(&mut line));
                    length = 0;
                }
                let start = if length == 0 { place.start } else { place.start.max(length + PADDING) };
                line.extend(std::iter::repeat_n(' ', start - length));
                let mut pieces = pieces(cell, room.unwrap_or(usize::MAX).saturating_sub(start)).into_iter();
                line.extend(pieces.next());
                for piece in pieces {
                    push_line(&mut out, &std::mem::take(&mut line));
                    line.extend(std::iter::repeat_n(' ', start));
                    line.push_str(piece);
                }
            }
            push_line(&mut out, &line);
        }
        out
    }

    /// Where the columns of `widths` begin within `room`.
    fn places(&self, widths: &[usize], room: usize) -> Vec<Place> {
        let mut next = 0;
        let mut places = Vec::with_capacity(widths.len());
        for (column, width) in widths.iter().enumerate() {
            let fits = next + width - PADDING.min(*width) <= room;
            // Words that follow each other may go on below each other.
            let is_text = column + 1 == widths.len() && next + TEXT_LEAST <= room && self.is_text(column);
            let is_below = column > 0 && !fits && !is_text;
            if is_below {
                next = INDENT;
            }
            places.push(Place { start: next, is_below });
            next += width;
        }
        places
    }

    /// Whether a column's cells are of several words.
    fn is_text(&self, column: usize) -> bool {
        self.rows.iter().filter_map(|row| row.get(column)).any(|cell| cell.contains(' '))
    }
}

/// Where a column begins, and whether on a line below the one before.
struct Place {
    start: usize,
    is_below: bool,
}

/// `cell` in lines of at most `room` columns, parted between its words; a longer word is left whole.
fn pieces(cell: &str, room: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = cell;
    while rest.chars().count() > room {
        let fitting = rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at);
        let within = match rest[fitting..].starts_with(' ') {
            true => Some(fitting),
            false => rest[..fitting].rfind(' '),
        };
        let Some(end) = within.or_else(|| rest.find(' ')).filter(|end| *end > 0) else { break };
        pieces.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    pieces.push(rest);
    pieces
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
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

    #[test]
    fn a_narrow_terminal_parts_no_word() {
        let mut table = Table::new(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
        table.row(["localhost/podrun/busybox", "1", "0123456789ab", "2d", "1.2MB"]);
        table.row(["a", "latest", "ba9876543210", "<unknown>", "12.5MB"]);
        let shown = table.render_within(&table.widths(), true, Some(59));
        let wanted = "\
REPOSITORY                 TAG      IMAGE ID
    CREATED     SIZE
localhost/podrun/busybox   1        0123456789ab
    2d          1.2MB
a                          latest   ba9876543210
    <unknown>   12.5MB
";
        assert_eq!(shown, wanted);
        assert_eq!(table.render_within(&table.widths(), true, Some(80)).lines().count(), 3, "here is room");
        for room in 1..100 {
            let shown = table.render_within(&table.widths(), true, Some(room));
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&shown), words(&table.render_within(&table.widths(), true, None)), "{room}");
            assert!(room < 31 || shown.lines().all(|line| line.chars().count() <= room), "{room}: {shown}");
        }
    }

    #[test]
    fn words_of_a_last_column_go_on_below_each_other() {
        let mut table = Table::new(["", "SUBJECT", "SEEN"]);
        table.row(["ok", "network", "bridge, veth and nftables; pods get addresses"]);
        let shown = table.render_within(&table.widths(), false, Some(40));
        assert_eq!(
            shown,
            "ok    network   bridge, veth and\n                nftables; pods get\n                addresses\n"
        );
    }
}
