//! The files of the command line use each other one way: no circle is among them.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{code, sources};

/// The words of `code`, with `::`, braces and commas between them.
fn tokens(code: &str) -> Vec<&str> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            _ if is_name(first) => rest.find(|character| !is_name(character)).unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push(&rest[..end]);
        }
        rest = &rest[end..];
    }
    tokens
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

/// Reads the path that begins at `at` below `above`, each end of its braces as a path of its own; gives where it ends.
fn read_path<'t>(
    tokens: &[&'t str],
    mut at: usize,
    above: &[&'t str],
    found: &mut Vec<Vec<&'t str>>,
) -> usize {
    let mut path = above.to_vec();
    loop {
        path.push(tokens[at]);
        at += 1;
        let goes_on = tokens.get(at) == Some(&"::");
        match tokens.get(at + 1).filter(|_| goes_on) {
            Some(next) if is_word(next) => at += 1,
            Some(&"{") => {
                at += 2;
                while at < tokens.len() && tokens[at] != "}" {
                    at = match tokens[at] {
                        "as" => at + 2,
                        word if is_word(word) => read_path(tokens, at, &path, found),
                        _ => at + 1,
                    };
                }
                return at + 1;
            }
            _ => {
                found.push(path);
                return at;
            }
        }
    }
}

/// Each file of `sources` (below `cli/src`) with the others that it names.
fn files_used(sources: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let module = |file: &str| -> Vec<String> {
        let path = file.trim_start_matches("cli/src/").trim_end_matches(".rs");
        path.split('/').filter(|part| !["mod", "main"].contains(part)).map(str::to_owned).collect()
    };
    let files: BTreeMap<Vec<String>, &str> =
        sources.iter().map(|(file, _)| (module(file), file.as_str())).collect();
    let mut used = BTreeMap::new();
    for (file, text) in sources {
        let own = module(file);
        let code = code(text);
        let tokens = tokens(&code);
        let (mut paths, mut at) = (Vec::new(), 0);
        while at < tokens.len() {
            at = if is_word(tokens[at]) { read_path(&tokens, at, &[], &mut paths) } else { at + 1 };
        }
        let below = |module: &[String], rest: &[&str]| -> Vec<String> {
            module.iter().cloned().chain(rest.iter().map(|part| (*part).to_owned())).collect()
        };
        let from_the_top = |path: &[&str]| match path[0] {
            "crate" => Some(below(&[], &path[1..])),
            "self" => Some(below(&own, &path[1..])),
            "super" => {
                let up = path.iter().take_while(|part| **part == "super").count();
                Some(below(&own[..own.len().checked_sub(up)?], &path[up..]))
            }
            _ => None,
        };
        let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let whole = paths.iter().filter(|path| path.len() > 1);
        let whole: Vec<Vec<&str>> =
            whole.map(|path| path.strip_suffix(&["self"]).unwrap_or(path).to_vec()).collect();
        for path in &whole {
            if let Some(path) = from_the_top(path).filter(|path| files.contains_key(path))
                && let Some(last) = path.last()
            {
                known.insert(last.clone(), path.clone());
            }
        }
        let mut others = BTreeSet::new();
        for path in whole {
            let path = from_the_top(&path).or_else(|| {
                let child = below(&own, &path[..1]);
                let child = files.contains_key(&child).then_some(child);
                Some(below(&child.or_else(|| known.get(path[0]).cloned())?, &path[1..]))
            });
            let Some(path) = path else { continue };
            let file = (0..=path.len()).rev().find_map(|end| files.get(&path[..end]));
            others.extend(file.map(|file| (*file).to_owned()));
        }
        others.remove(file);
        used.insert(file.clone(), others);
    }
    used
}

/// A way from `file` back to one that is on it already, if there is one; files without one are put into `done`.
fn circle(
    file: &str,
    used: &BTreeMap<String, BTreeSet<String>>,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> bool {
    if done.contains(file) {
        return false;
    }
    let is_met_again = way.iter().any(|before| before == file);
    way.push(file.to_owned());
    if is_met_again || used[file].iter().any(|other| circle(other, used, way, done)) {
        return true;
    }
    way.pop();
    done.insert(file.to_owned());
    false
}

/// Of the files of `sources`, those that use each other in a circle, the first of it at its end again.
fn circle_among(sources: &[(String, String)]) -> Vec<String> {
    let used = files_used(sources);
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    let _ = used.keys().any(|file| circle(file, &used, &mut way, &mut done));
    way
}

#[test]
fn the_files_of_the_command_line_use_each_other_one_way() {
    let sources = sources("cli/src");
    let used = files_used(&sources);
    // The rule would hold of nothing, too.
    for (file, other) in [
        ("main.rs", "line.rs"),
        ("line.rs", "args.rs"),
        ("args.rs", "pod/run.rs"),
        ("pod/run.rs", "pod/bring.rs"),
        ("pod/run.rs", "context.rs"),
        ("pod/attach.rs", "completion.rs"),
        ("completion.rs", "image/registries.rs"),
        ("oci/mod.rs", "oci/create.rs"),
        ("oci/create.rs", "oci/context.rs"),
    ] {
        let others = &used[&format!("cli/src/{file}")];
        assert!(others.contains(&format!("cli/src/{other}")), "{file} uses {other}: {others:?}");
    }
    assert_eq!(circle_among(&sources), Vec::<String>::new());
}

#[test]
fn a_circle_of_files_is_seen_however_a_path_is_written() {
    for (one, other) in [
        ("use crate::b;", "use crate::a::X;"),
        ("use crate::{b::{self, Y}, c};", "fn f() { super::a::x() }"),
        ("use crate::b as z;", "use super::{a, c};"),
        ("use crate::c;\nfn f() { c::d::f() }", "use crate::c;"),
    ] {
        let third = if one.contains("c::d") { "use crate::a;" } else { "" };
        let file = |name: &str, text: &str| (format!("cli/src/{name}.rs"), text.to_owned());
        let sources = [
            file("main", "mod a; mod b; mod c;"),
            file("a", one),
            file("b", other),
            file("c/mod", ""),
            file("c/d", third),
        ];
        assert!(circle_among(&sources).len() > 2, "{one} {other}");
    }
}
