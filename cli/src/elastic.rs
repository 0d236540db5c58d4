//! Elastic columns, as kubectl lays out descriptions: cells end with a tab, and cells below each other in
//! adjacent lines form a column of their own.
//!
//! Invariant: a line that ends a column (it has no cell there) lets the next one begin with a width of its own.

/// The gap between a column's longest cell and the next column.
const PADDING: usize = 2;

/// `text` with its tabs turned into columns.
pub(crate) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len());
    let mut widths: Vec<usize> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        // A line's last text ends no cell, and is in no column.
        let cells = line.len() - 1;
        widths.truncate(cells);
        for column in widths.len()..cells {
            let block = lines[index..].iter().take_while(|line| line.len() > column + 1);
            let longest = block.map(|line| line[column].chars().count()).max().unwrap_or(0);
            widths.push(longest + PADDING);
        }
        let begin = out.len();
        for (cell, width) in line.iter().zip(&widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        out.push_str(line[cells]);
        out.truncate(begin + out[begin..].trim_end().len());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn a_column_is_as_wide_as_its_longest_cell_and_ends_with_a_line_that_has_none() {
        let text = "Name:\tweb\nNamespace:\tx\nBox:\n  a:\t1\n  long:\t\n  b:\t2\tnote\n  c:\t22\tnote\n";
        let wanted = "Name:       web\nNamespace:  x\nBox:\n  a:     1\n  long:\n  b:     2   note\n  c:     22  note\n";
        assert_eq!(align(text), wanted);
    }
}
