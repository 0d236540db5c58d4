//! Reads the sources: each file's text, its code alone, and the modules that this code names. Every rule of
//! `tests/layering.rs` reads them by these functions.
//!
//! Only what a `#[cfg(test)]` stands before is left out, with comments and literals: what follows a test module is read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Every Rust file below `folder` (from the workspace's root), with its text.
pub(crate) fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("the workspace can be read");
            open.extend(entries.map(|entry| entry.expect("the workspace can be read").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name =
                path.strip_prefix(root()).expect("it lies below the root").to_string_lossy().into_owned();
            found.push((name, std::fs::read_to_string(&path).expect("sources are UTF-8")));
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found.sort();
    found
}

/// Whether `file` holds tests alone, in a folder of sources.
pub(crate) fn is_tests(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// `runtime/src/net/ipam.rs` and `runtime/src/net.rs` belong to `net`.
pub(crate) fn module_of(file: &str) -> &str {
    let below = file.trim_start_matches("runtime/src/");
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

/// The text without comments, literals and test items: what the rules speak about. Every other line stays.
pub(crate) fn code(text: &str) -> String {
    without_tests(&without_literals(text))
}

/// The text without its comments and literals.
pub(crate) fn without_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        // Only these begin a comment or a literal; a letter does so only at the beginning of a word.
        let in_word = out.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let may = matches!(character, '/' | '"' | '\'') || matches!(character, 'b' | 'c' | 'r') && !in_word;
        let skipped = may.then(|| comment(rest).or_else(|| literal(rest))).flatten();
        match skipped {
            Some(length) => out.extend(rest[..length].chars().filter(|character| *character == '\n')),
            None => out.push(character),
        }
        rest = &rest[skipped.unwrap_or(character.len_utf8())..];
    }
    out
}

/// How long the comment is that `rest` begins with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let (mut at, mut depth) = (rest.starts_with("/*").then_some(2)?, 1);
    while depth > 0 {
        let (begin, end) = (rest[at..].find("/*"), rest[at..].find("*/").expect("a comment ends"));
        let begins = begin.is_some_and(|begin| begin < end);
        depth = if begins { depth + 1 } else { depth - 1 };
        at += 2 + if begins { begin.unwrap_or(end) } else { end };
    }
    Some(at)
}

/// How long the string or character is that `rest` begins with. A lifetime is none.
fn literal(rest: &str) -> Option<usize> {
    let unprefixed = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - unprefixed.len();
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let text = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(prefix + hashes + 2 + text.find(&end).expect("a string ends") + end.len());
    }
    let quote = unprefixed.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let mut inside = unprefixed.char_indices().skip(1);
    if quote == '\'' && !unprefixed.starts_with("'\\") {
        let (after, closing) = inside.nth(1)?;
        return (closing == quote).then_some(prefix + after + 1);
    }
    while let Some((at, character)) = inside.next() {
        match character {
            '\\' => drop(inside.next()),
            end if end == quote => return Some(prefix + at + 1),
            _ => {}
        }
    }
    panic!("a literal does not end: {}", unprefixed.lines().next().unwrap_or_default())
}

/// The code without what `#[cfg(test)]` stands before. It has no literals any more.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        out.push_str(before);
        rest = &after[end_of_item(after)..];
    }
    out + rest
}

/// Where the item ends that `code` begins with: behind its braces or its semicolon.
fn end_of_item(code: &str) -> usize {
    let mut item = code.trim_start();
    while let Some(attribute) = item.strip_prefix("#[") {
        item = attribute[attribute.find("]\n").expect("an attribute ends") + 1..].trim_start();
    }
    let words =
        ["mod ", "fn ", "use ", "const ", "static ", "impl", "struct ", "enum ", "trait ", "type ", "pub"];
    let line = item.lines().next().unwrap_or_default();
    assert!(words.iter().any(|word| item.starts_with(word)), "where a test item ends is not known: {line}");
    let mut depth = 0;
    for (at, character) in item.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        // `use a::{b, c};` has both.
        let is_end = character == ';' || character == '}' && !item[at + 1..].starts_with(';');
        if depth == 0 && is_end {
            return code.len() - item.len() + at + 1;
        }
    }
    panic!("a test item does not end: {line}")
}

/// Whether `word` stands in `code` as a path's first segment or alone, not as a part of another name.
pub(crate) fn names(code: &str, word: &str) -> bool {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + word.len()..];
        before.is_none_or(|before| !is_name(before)) && after.starts_with("::") && !code[..at].ends_with("::")
    })
}

/// The modules that `code` reaches by `crate::x` or `use crate::{x, y::z}`.
pub(crate) fn edges(code: &str) -> BTreeSet<String> {
    edges_from(code, "crate::")
}

/// What `code` reaches right below `start`, which ends with `::`.
pub(crate) fn edges_from(code: &str, start: &str) -> BTreeSet<String> {
    let mut edges = BTreeSet::new();
    for (at, found) in code.match_indices(start) {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let mut entry = String::new();
                for character in group.chars() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => edges.extend(first_segment(&std::mem::take(&mut entry))),
                        other if depth == 0 => entry.push(other),
                        _ => {}
                    }
                }
                edges.extend(first_segment(&entry));
            }
            None => edges.extend(first_segment(rest)),
        }
    }
    edges
}

fn first_segment(path: &str) -> Option<String> {
    let end = |character: char| !(character.is_alphanumeric() || character == '_');
    path.trim().split(end).next().filter(|segment| !segment.is_empty()).map(str::to_owned)
}
