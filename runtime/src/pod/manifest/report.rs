//! Problems as a compiler shows them: file, line, column, what is wrong, the line and a caret.
//!
//! Invariant: every problem is shown, in the order of the file; a line is cut around its column
//! rather than folded, so that the caret always stands below what it means.

use std::fmt::Write as _;

use super::tree::Position;

/// How much of a long line is shown on either side of the column.
const REACH: usize = 60;

/// Everything that is wrong with one file.
pub(crate) struct Report<'a> {
    source_name: &'a str,
    text: &'a str,
    findings: Vec<(Position, String)>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(source_name: &'a str, text: &'a str) -> Self {
        Self { source_name, text, findings: Vec::new() }
    }

    pub(crate) fn add(&mut self, at: Position, message: impl Into<String>) {
        self.findings.push((at, message.into()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// All findings, each with its line and caret.
    pub(crate) fn render(mut self) -> String {
        self.findings.sort_by_key(|(at, _)| *at);
        self.findings.dedup();
        let mut rendered = String::new();
        for (at, message) in &self.findings {
            let _ = write!(rendered, "{}:{}:{}: {message}", self.source_name, at.line, at.column);
            let line = self.text.lines().nth(at.line as usize - 1).unwrap_or_default();
            rendered.push('\n');
            // At the end of the file there is no line to show.
            if !line.is_empty() {
                let (shown, caret) = excerpt(line, at.column as usize - 1);
                let _ = write!(rendered, "{shown}\n{caret}\n");
            }
        }
        rendered.truncate(rendered.trim_end().len());
        rendered
    }
}

/// The part of `line` around `column` (from 0), and a line with a caret below it.
fn excerpt(line: &str, column: usize) -> (String, String) {
    let start = column.saturating_sub(REACH);
    let end = column + REACH;
    let clean = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut shown: String = line.chars().skip(start).take(end - start).map(clean).collect();
    // Tabs are repeated below themselves, whatever their width.
    let mut caret: String =
        line.chars().skip(start).take(column - start).map(|c| if c == '\t' { c } else { ' ' }).collect();
    if start > 0 {
        shown.insert_str(0, "...");
        caret.insert_str(0, "   ");
    }
    if line.chars().count() > end {
        shown.push_str("...");
    }
    caret.push('^');
    (shown, caret)
}
