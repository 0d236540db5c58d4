//! The length of functions, and the matches that must have an arm for each variant.

use super::sources::{code, is_tests, root, sources};

const LONGEST_FUNCTION: usize = 60;

/// The functions of a file, each with its lines. By rustfmt, which the lint runs, a function ends with a brace below its first word.
fn functions(text: &str) -> Vec<(String, Vec<&str>)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let words = line.trim_start();
        let Some((before, after)) = words.split_once("fn ") else { continue };
        let modifiers = ["pub", "const", "async", "unsafe"];
        let begins = before.is_empty() || modifiers.iter().any(|modifier| before.starts_with(modifier));
        // A trait's function without a body ends with a semicolon.
        if !begins || line.ends_with(';') {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - words.len()]);
        let Some(last) = lines[at..].iter().position(|line| *line == end) else { continue };
        let name = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        found.push((name, lines[at..=at + last].to_vec()));
    }
    found
}

#[test]
fn no_function_is_longer_than_60_lines() {
    /// One arm for each of many variants, and nothing else; `launch` has its phases to come.
    const LONGER: [(&str, &str); 3] = [
        ("runtime/src/engine/init.rs", "walk"),
        ("runtime/src/engine/plan.rs", "label"),
        ("runtime/src/pod/monitor/container.rs", "launch"),
    ];
    let (mut count, mut wrong) = (0, Vec::new());
    for folder in ["runtime/src", "cli/src"] {
        for (file, text) in sources(folder) {
            if is_tests(&file) {
                continue;
            }
            for (name, lines) in functions(&code(&text)) {
                count += 1;
                if lines.len() > LONGEST_FUNCTION && !LONGER.contains(&(&file, &name)) {
                    wrong.push(format!("{file}: {name}: {} lines", lines.len()));
                }
            }
        }
    }
    assert!(count > 2000, "only {count} functions found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The arms of `lines` that take whatever is left: by `_`, or by a name for it.
fn catch_alls<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let is_name = |pattern: &str| pattern.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let pattern = |line: &'a str| line.trim_start().split_once(" =>").map(|(pattern, _)| pattern);
    lines.iter().filter_map(|line| pattern(line)).filter(|pattern| is_name(pattern)).collect()
}

/// What nobody handles must not be passed over in silence: a step that guards something least of all.
#[test]
fn every_step_of_a_child_and_every_request_has_an_arm_of_its_own() {
    for (file, function) in
        [("runtime/src/engine/init.rs", "walk"), ("runtime/src/pod/monitor/serve.rs", "request")]
    {
        let text = code(&std::fs::read_to_string(root().join(file)).unwrap());
        let functions = functions(&text);
        let (_, lines) = functions.iter().find(|(name, _)| name == function).expect("it is there");
        let arms = lines.iter().filter(|line| line.contains(" =>")).count();
        assert!(arms > 15, "{file}: {function}: {arms} arms are not all");
        assert_eq!(catch_alls(lines), Vec::<&str>::new(), "{file}: {function}");
    }
    let silent =
        ["match step {", "    Step::Reap => reap(),", "    _ => Ok(()),", "    other => walk(other),", "}"];
    assert_eq!(catch_alls(&silent), ["_", "other"]);
}
