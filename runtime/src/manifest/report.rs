//! Problems as a compiler shows them: file, line, column, message, the line and a caret.
//!
//! Invariant: the first problems are shown in the order of the file, the rest are counted. A long line is cut
//! around its column rather than folded, so that the caret always stands below its character. Whatever the file
//! holds, its report fits on a few screens and steers no terminal.

use std::fmt::Write as _;

use super::tree::Position;
use crate::error::{harmless, steers};

/// How much of a long line is shown on either side of the column.
const REACH: usize = 60;

/// As many problems are shown, of a file and of each look at a document.
pub(super) const SHOWN: usize = 20;

/// How many problems are kept to choose the first ones from: checks run one after the other, and a later one
/// may find an earlier line.
const KEPT: usize = 1000;

/// Everything that is wrong with one file.
pub(crate) struct Report<'a> {
    source_name: &'a str,
    text: &'a str,
    findings: Vec<(Position, String)>,
    /// How many more there are.
    more: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(source_name: &'a str, text: &'a str) -> Self {
        Self { source_name, text, findings: Vec::new(), more: 0 }
    }

    pub(crate) fn add(&mut self, at: Position, message: impl Into<String>) {
        match self.findings.len() < KEPT {
            true => self.findings.push((at, message.into())),
            false => self.more += 1,
        }
    }

    /// Counts problems that have no message.
    pub(crate) fn add_more(&mut self, more: usize) {
        self.more += more;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// The first findings, each with its line and caret.
    pub(crate) fn render(mut self) -> String {
        self.findings.sort_by_key(|(at, _)| *at);
        self.findings.dedup();
        let mut rendered = String::new();
        let source_name = harmless(self.source_name);
        for (at, message) in self.findings.iter().take(SHOWN) {
            let _ = write!(rendered, "{source_name}:{}:{}: {message}", at.line, at.column);
            let line = self.text.lines().nth(at.line as usize - 1).unwrap_or_default();
            rendered.push('\n');
            // At the end of the file there is no line to show.
            if !line.is_empty() {
                let (shown, caret) = excerpt(line, at.column as usize - 1);
                let _ = write!(rendered, "{shown}\n{caret}\n");
            }
        }
        let more = self.more + self.findings.len().saturating_sub(SHOWN);
        if more > 0 {
            let _ = write!(rendered, "{source_name}: … and {more} more");
        }
        rendered.truncate(rendered.trim_end().len());
        rendered
    }
}

/// The part of `line` around `column` (from 0), and a line with a caret below it.
fn excerpt(line: &str, column: usize) -> (String, String) {
    let start = column.saturating_sub(REACH);
    let end = column + REACH;
    let clean = |c: char| match c {
        '\t' => ' ',
        c if steers(c) => '\u{fffd}',
        c => c,
    };
    let mut shown: String = line.chars().skip(start).take(end - start).map(clean).collect();
    let mut caret = " ".repeat(line.chars().skip(start).take(column - start).count());
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
