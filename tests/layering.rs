//! The rules that hold for the sources themselves: which module may use which, who may touch the
//! kernel, how long a file may be.
//!
//! The table is ARCHITECTURE.md's; what it does not list is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each module of `runtime` with the ones it may use. `error`, `host`, `lock`, `parallel` and `time` are everybody's, `sys`'s aside.
const TABLE: [(&str, &[&str]); 10] = [
    ("sys", &[]),
    ("cgroup", &["sys"]),
    ("engine", &["cgroup", "sys"]),
    ("image", &["sys"]),
    ("oci", &["engine", "net", "cgroup", "sys"]),
    ("net", &["sys"]),
    ("manifest", &["engine", "image", "sys"]),
    ("policy", &["manifest"]),
    ("pod", &["manifest", "policy", "engine", "image", "net", "cgroup", "sys"]),
    ("cri", &["pod", "image"]),
];

/// The rooms of `image`: each may use those before it, by their own paths.
const IMAGE_ROOMS: [&str; 8] =
    ["model", "progress", "disk", "content", "layer", "store", "registry", "transfer"];

const LONGEST_FILE: usize = 600;
const LONGEST_FUNCTION: usize = 60;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Every Rust file below `folder` (from the workspace's root), with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
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

/// The text without comments, string literals and test modules: what the rules speak about.
fn code(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        // A test module is the last thing in its file.
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        out.push_str(&without_literals(line));
        out.push('\n');
    }
    out
}

fn without_literals(line: &str) -> String {
    let mut out = String::new();
    let mut in_string = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => drop(characters.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => out.push(character),
        }
    }
    out
}

/// Whether `word` stands in `code` as a path's first segment or alone, not as a part of another name.
fn names(code: &str, word: &str) -> bool {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + word.len()..];
        before.is_none_or(|before| !is_name(before)) && after.starts_with("::") && !code[..at].ends_with("::")
    })
}

/// The modules that `code` reaches by `crate::x` or `use crate::{x, y::z}`.
fn edges(code: &str) -> BTreeSet<String> {
    edges_below(code, "crate::")
}

/// The same of the modules below `top`, which ends in `::`.
fn edges_below(code: &str, top: &str) -> BTreeSet<String> {
    let mut edges = BTreeSet::new();
    for (at, found) in code.match_indices(top) {
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

/// `runtime/src/net/ipam.rs` and `runtime/src/net.rs` belong to `net`.
fn module_of(file: &str) -> &str {
    let below = file.trim_start_matches("runtime/src/");
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

#[test]
fn a_module_uses_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (file, text) in sources("runtime/src") {
        let module = module_of(&file);
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == module) else { continue };
        for edge in edges(&code(&text)) {
            let is_module = TABLE.iter().any(|(name, _)| *name == edge);
            let is_shared = ["error", "host", "lock", "parallel", "time", "Error", "ErrorKind", "Result"]
                .contains(&edge.as_str());
            let fine = edge == module
                || allowed.contains(&edge.as_str())
                || (is_shared && module != "sys")
                || (!is_module && !is_shared);
            if !fine {
                wrong.push(format!("{file}: `{module}` may not use `{edge}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What of the rooms' order `text`, the file `name` below `image/`, breaks.
fn rooms_broken(name: &str, text: &str) -> Vec<String> {
    let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
    let room = path.split('/').next().unwrap_or(path);
    let Some(own) = IMAGE_ROOMS.iter().position(|other| *other == room) else {
        return vec![format!("{name}: `{room}` is not in the list of rooms")];
    };
    // As many `super` as there are names in its path lead to `image`.
    let above = "super::".repeat(path.split('/').count());
    let code = code(text).replace(&above, "crate::image::");
    let allowed = |edge: &String| IMAGE_ROOMS[..=own].contains(&edge.as_str());
    let wrong = edges_below(&code, "crate::image::").into_iter().filter(|edge| !allowed(edge));
    wrong.map(|edge| format!("{name}: `{room}` may not use `{edge}`")).collect()
}

#[test]
fn a_room_of_the_images_uses_only_earlier_ones() {
    let sources = sources("runtime/src/image")
        .into_iter()
        .map(|(file, text)| (file.trim_start_matches("runtime/src/image/").to_owned(), text));
    let of_rooms = sources.filter(|(name, _)| !["mod.rs", "fuzz.rs"].contains(&name.as_str()));
    let wrong: Vec<_> = of_rooms.flat_map(|(name, text)| rooms_broken(&name, &text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_library_stands_in_the_table() {
    let known = ["error", "host", "lib", "lock", "parallel", "time"];
    for (file, _) in sources("runtime/src") {
        let module = module_of(&file);
        let listed = TABLE.iter().any(|(name, _)| *name == module) || known.contains(&module);
        assert!(listed, "{file}: `{module}` is not in the table");
    }
}

#[test]
fn only_sys_names_libc_nix_and_rustix() {
    let mut wrong = Vec::new();
    for folder in ["runtime/src", "cli/src"] {
        for (file, text) in sources(folder) {
            if module_of(&file) == "sys" {
                continue;
            }
            let code = code(&text);
            for name in ["libc", "nix", "rustix"].iter().filter(|name| names(&code, name)) {
                wrong.push(format!("{file}: names `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_sys_has_unsafe_code() {
    let mut wrong = Vec::new();
    for folder in ["runtime/src", "cli/src", "rootfs-fixtures", "tests", "fuzz"] {
        for (file, text) in sources(folder) {
            let is_sys = file.starts_with("runtime/src/sys/");
            let code = code(&text);
            let words = code.split(|character: char| !(character.is_alphanumeric() || character == '_'));
            if !is_sys && words.into_iter().any(|word| word == "unsafe") {
                wrong.push(file);
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe outside sys: {wrong:?}");
}

/// What makes a directory or a file of podrun's own says its mode and sets it: `sys::own`.
#[test]
fn only_sys_makes_directories_and_files_by_their_paths() {
    // A user's own folder of credentials, and a playground.
    const OTHERS: [&str; 2] = ["runtime/src/image/registry/credentials.rs", "runtime/src/image/fuzz.rs"];
    let mut wrong = Vec::new();
    for (file, text) in sources("runtime/src") {
        if module_of(&file) == "sys" || file.ends_with("/tests.rs") || OTHERS.contains(&file.as_str()) {
            continue;
        }
        let code = code(&text);
        let words = ["create_dir", "DirBuilder", "File::create(", "create_new(&"];
        wrong.extend(words.iter().filter(|word| code.contains(**word)).map(|word| format!("{file}: {word}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where `code` has one of `spellings`, or imports `name` from a crate that makes system calls.
fn places(code: &str, name: &str, spellings: &[&str]) -> usize {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let whole = |(at, _): &(usize, &str)| !code[..*at].ends_with(is_name);
    let calls: usize =
        spellings.iter().map(|spelling| code.match_indices(spelling).filter(whole).count()).sum();
    let starts = ["use rustix::", "use nix::", "use libc::"];
    let imports = starts.iter().flat_map(|start| code.match_indices(start)).filter(|(at, _)| {
        let statement = code[*at..].split(';').next().unwrap_or_default();
        statement.split(|character| !is_name(character)).any(|word| word == name)
    });
    calls + imports.count()
}

/// A second call of one of these is a second way of doing it, with retries, flags and SAFETY lines of its own.
#[test]
fn sys_makes_each_of_these_calls_in_one_place() {
    const ONCE: [(&str, &[&str]); 8] = [
        ("openat2", &["fs::openat2(", "SYS_openat2,"]),
        ("clone3", &["SYS_clone3,"]),
        ("setns", &["SYS_setns,", "libc::setns(", "sched::setns(", "thread::move_into_"]),
        ("poll", &["event::poll(", "libc::poll(", "libc::ppoll(", "SYS_poll,", "SYS_ppoll,", "poll::ppoll("]),
        ("pidfd_send_signal", &["SYS_pidfd_send_signal,", "process::pidfd_send_signal("]),
        ("sethostname", &["system::sethostname(", "libc::sethostname(", "unistd::sethostname("]),
        ("memfd_create", &["fs::memfd_create(", "libc::memfd_create("]),
        ("tcsetattr", &["raw.make_raw(", "termios::cfmakeraw("]),
    ];
    let files = sources("runtime/src/sys");
    for (name, spellings) in ONCE {
        let found: Vec<_> = files
            .iter()
            .map(|(file, text)| (file, places(&code(text), name, spellings)))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert!(matches!(found[..], [(_, 1)]), "{name} is called in {found:?}: one place is to call it");
    }
}

/// The rule stands at the top of `sys/mod.rs`: `nix` is for what `rustix` lacks.
#[test]
fn sys_names_nix_for_signals_peers_and_errnos_alone() {
    let places = ["io/socket.rs", "mod.rs", "process/interrupt.rs", "process/signal.rs"];
    let expected = places.map(|place| format!("runtime/src/sys/{place}"));
    let mut found: Vec<String> = sources("runtime/src/sys")
        .into_iter()
        .filter(|(_, text)| names(&code(text), "nix"))
        .map(|(file, _)| file)
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

/// A small file is replaced by `own::replace` and `own::replace_by`. Who renames otherwise moves a thing that is there.
#[test]
fn one_function_replaces_a_file_by_rename() {
    const MOVES: [(&str, usize); 7] = [
        // To the trash, to be removed there.
        ("runtime/src/image/store.rs", 1),
        ("runtime/src/image/layer/unpack.rs", 1),
        ("runtime/src/pod/store/edit.rs", 1),
        // A layer gets its name; what is no layer goes to the trash.
        ("runtime/src/image/layer/layers.rs", 2),
        // A log is rotated.
        ("runtime/src/pod/monitor/log.rs", 2),
        ("runtime/src/sys/file/dir.rs", 2),
        // A lock file gets its name once it is locked.
        ("runtime/src/sys/process/daemon.rs", 1),
    ];
    const REPLACE: (&str, usize) = ("runtime/src/sys/file/own.rs", 1);
    let mut wrong = Vec::new();
    for (file, text) in sources("runtime/src") {
        let code = code(&text);
        let calls = ["fs::rename(", "dir::rename(", "fs::renameat(", "fs::renameat_with(", "libc::rename"];
        let count: usize = calls.iter().map(|call| code.matches(call).count()).sum();
        let known = MOVES.iter().chain([&REPLACE]).find(|(known, _)| *known == file);
        if count > known.map_or(0, |(_, known)| *known) && !file.ends_with("/tests.rs") {
            wrong.push(format!("{file} renames {count} times"));
        }
    }
    assert!(wrong.is_empty(), "a file is replaced by sys::file::own alone: {}", wrong.join(", "));
}

#[test]
fn the_command_line_never_sees_sys() {
    for (file, text) in sources("cli/src") {
        assert!(!code(&text).contains("runtime::sys"), "{file}: uses runtime::sys");
    }
}

#[test]
fn no_file_is_longer_than_600_lines_without_its_tests() {
    let mut wrong = Vec::new();
    for folder in ["runtime/src", "cli/src", "rootfs-fixtures", "tests", "fuzz"] {
        for (file, text) in sources(folder) {
            let is_tests =
                file.ends_with("/tests.rs") || file.contains("/tests/") || file.starts_with("tests/");
            let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
            if !is_tests && lines > LONGEST_FILE {
                wrong.push(format!("{file}: {lines} lines"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files of the engine in the order in which `runtime/src/engine/mod.rs` has them.
fn engine_files() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("runtime/src/engine/mod.rs")).expect("sources are UTF-8");
    let head = text.lines().map_while(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join("\n");
    let (_, list) = head.split_once("Each file uses only those before it:").expect("it says the order");
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The files of the engine that `code` uses: of a file at the top (`top`), by `super::` too.
fn engine_edges(code: &str, top: bool) -> BTreeSet<String> {
    let own = code.replace("crate::engine::", "engine::").replace("crate::", "other::");
    let own = if top { own.replace("super::", "engine::") } else { own };
    edges(&own.replace("engine::", "crate::"))
}

#[test]
fn a_file_of_the_engine_uses_only_those_before_it() {
    let order = engine_files();
    let place = |name: &str| order.iter().position(|known| known == name);
    let (mut count, mut wrong) = (0, Vec::new());
    for (file, text) in sources("runtime/src/engine") {
        let below = file.trim_start_matches("runtime/src/engine/");
        let module = below.split('/').next().unwrap_or(below).trim_end_matches(".rs");
        if module == "mod" {
            continue;
        }
        let own = place(module).unwrap_or_else(|| panic!("{file} is not in the engine's order"));
        for edge in engine_edges(&code(&text), !below.contains('/')) {
            count += 1;
            match place(&edge) {
                Some(other) if other < own || edge == module => {}
                Some(_) => wrong.push(format!("{file}: uses `{edge}`, which comes after it")),
                None => wrong.push(format!("{file}: uses `{edge}`, which is no file of the engine")),
            }
        }
    }
    assert!(count > 60, "only {count} uses found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let sample =
        code("use super::plan::Step;\nuse crate::engine::hints;\nuse crate::sys::{Errno, super_name};");
    assert_eq!(engine_edges(&sample, true), BTreeSet::from(["hints", "plan"].map(str::to_owned)));
    assert_eq!(engine_edges(&sample, false), BTreeSet::from(["hints".to_owned()]));
}

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
            if file.ends_with("/tests.rs") || file.contains("/tests/") {
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

#[test]
fn every_file_opens_by_saying_what_it_is() {
    for folder in ["runtime/src", "cli/src", "rootfs-fixtures", "tests", "fuzz"] {
        for (file, text) in sources(folder) {
            // What a file `tests.rs` is stands at the end of the one that it tests.
            assert!(file.ends_with("/tests.rs") || text.starts_with("//!"), "{file} does not open with //!");
        }
    }
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut folder = PathBuf::new();
    let mut count = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let is_path = ["runtime/", "cli/", "tests/", "docs/"].iter().any(|start| word.starts_with(start));
        // `stop.rs` after `runtime/src/policy/step.rs` lies beside it.
        let is_beside = !is_path && word.ends_with(".rs");
        if !is_path && !is_beside {
            continue;
        }
        let path = if is_path { root().join(word) } else { folder.join(word) };
        assert!(path.exists(), "ARCHITECTURE.md names `{word}`, and there is no {}", path.display());
        if is_path {
            folder = if path.is_dir() { path } else { path.parent().unwrap().to_owned() };
        }
        count += 1;
    }
    assert!(count > 40, "only {count} paths found");
}

#[test]
fn every_link_of_a_page_leads_to_a_file() {
    let mut count = 0;
    for folder in ["", "docs", "examples"] {
        let pages = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        for page in pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            let text = std::fs::read_to_string(&page).unwrap();
            for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let (file, _anchor) = link.split_once('#').unwrap_or((link, ""));
                if file.contains("://") {
                    continue;
                }
                let target = page.parent().unwrap().join(file);
                assert!(target.exists(), "{} links to `{link}`, which is not there", page.display());
                count += 1;
            }
        }
    }
    assert!(count > 20, "only {count} links found");
}

#[test]
fn a_broken_rule_is_seen() {
    let code = code("use crate::{error::Result, net::{Bridge, ipam}, pod};\nlet x = crate::image::get();\n");
    let expected = ["error", "image", "net", "pod"].map(str::to_owned);
    assert_eq!(edges(&code), BTreeSet::from(expected));
    // By the crate's path, by `super`, by the façade, and from a room that is not listed.
    assert_eq!(rooms_broken("content/blob.rs", "use crate::image::{disk::Space, store::record};").len(), 1);
    assert_eq!(rooms_broken("store.rs", "use super::transfer::pull;\nuse super::model::digest;").len(), 1);
    assert_eq!(rooms_broken("layer/unpack/walk.rs", "use super::super::super::store;").len(), 1);
    assert_eq!(rooms_broken("store/lease.rs", "use crate::image::Image;").len(), 1);
    assert_eq!(rooms_broken("attic.rs", "").len(), 1);
    assert!(
        rooms_broken("store/lease.rs", "use super::record;\nuse super::super::layer::layers;").is_empty()
    );
    assert!(names("use nix::unistd;", "nix") && !names("use std::os::unix::fs;", "nix"));
    assert!(!names("std::os::fd::nix_like::x", "nix"));
    let again =
        "fn openat2(a: i32) { rustix::fs::openat2(a) }\nuse rustix::event::{\n    PollFd, poll,\n};\n";
    assert_eq!(places(again, "openat2", &["fs::openat2("]), 1);
    assert_eq!(places(again, "poll", &["event::poll("]), 1);
    assert_eq!(without_literals(r#"let a = "un\"safe"; // unsafe"#), "let a = ; ");
}

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
