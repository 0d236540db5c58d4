//! The list of differences that are wanted: `wanted.txt`, each with its reason.
//!
//! Invariant: a line without a reason is an error, and a line that no difference met is said, so that the list stays true.

use std::cell::Cell;

use anyhow::{Context, Result, ensure};

use crate::compare::{Difference, Kind};

/// A line of the list.
#[derive(Debug)]
struct Wanted {
    kind: Kind,
    /// What the difference says, where `*` stands for anything.
    pattern: String,
    met: Cell<bool>,
}

/// The list.
#[derive(Debug)]
pub(crate) struct List(Vec<Wanted>);

impl List {
    /// Reads lines of `KIND | PATTERN | REASON`; empty lines and those that begin with `#` are for the reader.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|(number, line)| one(line).with_context(|| format!("wanted.txt:{}", number + 1)))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whether this difference is wanted.
    pub(crate) fn has(&self, difference: &Difference) -> bool {
        let met =
            self.0.iter().find(|one| one.kind == difference.kind && matches(&one.pattern, &difference.said));
        met.inspect(|one| one.met.set(true)).is_some()
    }

    /// The lines that no difference has met.
    pub(crate) fn unmet(&self) -> Vec<String> {
        let unmet = self.0.iter().filter(|one| !one.met.get());
        unmet.map(|one| format!("{} | {}", one.kind.name(), one.pattern)).collect()
    }
}

fn one(line: &str) -> Result<Wanted> {
    let mut parts = line.splitn(3, " | ").map(str::trim);
    let mut next = |what| parts.next().filter(|part| !part.is_empty()).with_context(|| format!("no {what}"));
    let (name, pattern, _reason) = (next("kind")?, next("pattern")?, next("reason")?);
    let kind = Kind::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind);
    ensure!(kind.is_some(), "{name:?} is no kind of difference");
    Ok(Wanted { kind: kind.context("a kind")?, pattern: pattern.to_owned(), met: Cell::new(false) })
}

/// Whether `text` has the parts of `pattern`, which `*` parts, in their order.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    for part in pattern.split('*') {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_wanted_by_its_kind_and_its_words() {
        let list = List::read("# why\n\naccepts | spec.a*: must be | it is right\nmakes | x | y\n").unwrap();
        let said = |kind, said: &str| Difference { kind, said: said.into() };
        assert!(list.has(&said(Kind::Accepts, "spec.a[0].b: it must be, : must be so")));
        assert!(!list.has(&said(Kind::Accepts, ": must be, spec.a")));
        assert!(!list.has(&said(Kind::Refuses, "spec.a: must be so")));
        assert_eq!(list.unmet(), ["makes | x"]);
    }

    #[test]
    fn a_line_without_a_reason_or_of_no_kind_is_an_error() {
        for line in ["accepts | a", "accepts | a | ", "allows | a | b", "accepts"] {
            assert!(List::read(line).is_err(), "{line}");
        }
        List::read(include_str!("wanted.txt")).unwrap();
    }
}
