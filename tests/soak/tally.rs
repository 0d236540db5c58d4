//! What the run counts: verbs with what became of them, and what is wrong.
//!
//! Invariant: nothing that is wrong is forgotten; the same message is printed once with how often it was seen.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use support::run::Outcome;

/// Words that no verb ever has a reason to say: of a panic, of a record that was cut off, of a program that gave up.
const NEVER: [&str; 6] =
    ["panicked", "serde", "EOF while parsing", "overflow", "unreachable", "RecordUnreadable"];

/// How many lines before and behind such a word are shown.
const AROUND: usize = 6;

/// How many kinds of what is wrong are said at once; all are in the report.
const SHOWN: usize = 12;

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<String, u64>>,
    failures: Mutex<BTreeMap<String, u64>>,
    wrong: Mutex<BTreeMap<String, (u64, String)>>,
}

impl Tally {
    /// Adds to a count.
    pub(crate) fn count(&self, what: &str, times: u64) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what.to_owned()).or_default() +=
            times;
    }

    /// Something is wrong, by its kind in the first line; said at once, since the run may take an hour.
    pub(crate) fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let class = class(what.lines().next().unwrap_or_default());
        let is_new = !wrong.contains_key(&class);
        if is_new && wrong.len() < SHOWN {
            println!("WRONG: {what}");
        }
        wrong.entry(class).or_insert_with(|| (0, what)).0 += 1;
    }

    /// Counts what became of a verb, and looks for what must never be; gives it back, if it ended.
    pub(crate) fn ended(&self, verb: &str, outcome: Result<Outcome>) -> Option<Outcome> {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                self.count(&format!("{verb}: did not end"), 1);
                self.wrong(format!("{error:#}"));
                return None;
            }
        };
        if let Some((word, around)) = never(&outcome) {
            self.wrong(format!("{verb} says {word:?}\n{}\n{around}", outcome.command));
        }
        if outcome.status.code().is_none() {
            self.wrong(format!("{verb} died: {outcome}"));
        }
        let code = outcome.code();
        self.count(&format!("{verb}: {}", if code == 0 { "done".into() } else { format!("exit {code}") }), 1);
        if code != 0 {
            // Warnings come before the reason.
            let lines = || outcome.stderr.lines();
            let first = lines()
                .find(|line| line.starts_with("podrun: "))
                .or_else(|| lines().next())
                .unwrap_or_default();
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            *failures.entry(format!("{verb}: {}", class(first))).or_default() += 1;
        }
        Some(outcome)
    }

    /// Prints all of it; gives whether nothing is wrong.
    pub(crate) fn report(&self) -> bool {
        println!("\n-- what was done");
        for (what, times) in &*self.counts.lock().unwrap_or_else(PoisonError::into_inner) {
            println!("{times:>8}  {what}");
        }
        println!("-- what failed, and may: monitors were killed, and disks full");
        for (what, times) in &*self.failures.lock().unwrap_or_else(PoisonError::into_inner) {
            println!("{times:>8}  {what}");
        }
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        println!("-- what is wrong: {}", if wrong.is_empty() { "nothing" } else { "" });
        for (times, what) in wrong.values() {
            println!("{times:>8}  {what}");
        }
        wrong.is_empty()
    }
}

/// The word that a verb never should have said, and the lines around it.
fn never(outcome: &Outcome) -> Option<(&'static str, String)> {
    [&outcome.stderr, &outcome.stdout].into_iter().find_map(|stream| {
        let word = NEVER.into_iter().find(|word| stream.contains(word))?;
        let lines: Vec<&str> = stream.lines().collect();
        let at = lines.iter().position(|line| line.contains(word))?;
        let around = &lines[at.saturating_sub(AROUND)..lines.len().min(at + AROUND + 1)];
        Some((word, around.join("\n")))
    })
}

/// A message without its numbers and ids: what is the same of two of its kind.
fn class(message: &str) -> String {
    let mut class = String::new();
    for word in message.split(' ') {
        let is_id = word.len() > 20 && word.chars().filter(char::is_ascii_hexdigit).count() > word.len() / 2;
        let word = if is_id { "…" } else { word };
        for character in word.chars() {
            match character {
                digit if digit.is_ascii_digit() && class.ends_with('0') => {}
                digit if digit.is_ascii_digit() => class.push('0'),
                other => class.push(other),
            }
        }
        class.push(' ');
    }
    class.truncate(class.trim_end().len());
    class
}
