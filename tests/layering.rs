//! The rules that hold for the sources themselves: which module may use which, who may touch the
//! kernel, how long a file may be.
//!
//! The table is ARCHITECTURE.md's, read from the page; what it does not list is an error.

use std::collections::BTreeSet;
use std::path::PathBuf;

#[path = "layering/calls.rs"]
mod calls;
#[path = "layering/circles.rs"]
mod circles;
#[path = "layering/order.rs"]
mod order;
#[path = "layering/shape.rs"]
mod shape;
#[path = "layering/sources.rs"]
mod sources;
#[path = "layering/table.rs"]
mod table;

use sources::{code, edges, edges_from, is_tests, module_of, names, root, sources, without_literals};
use table::{May, Table};

const LONGEST_FILE: usize = 600;

fn table() -> Table {
    Table::read(&std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page is there"))
}

/// Each file of the library and of the command line, with what its code names of the library.
fn named() -> Vec<(String, BTreeSet<String>)> {
    let files = [sources("runtime/src"), sources("cli/src")].concat();
    let module = |edge: String| match edge.as_str() {
        // `lib.rs` has these three of `error`.
        "Error" | "ErrorKind" | "Result" => "error".to_owned(),
        _ => edge,
    };
    let edges = |file: &str, text: &str| {
        let start = if file.starts_with("cli/") { "runtime::" } else { "crate::" };
        edges_from(&code(text), start).into_iter().map(module).collect()
    };
    files
        .into_iter()
        .map(|(file, text)| {
            let edges = edges(&file, &text);
            (file, edges)
        })
        .collect()
}

/// What the files name against the table.
fn against(table: &Table, named: &[(String, BTreeSet<String>)]) -> Vec<String> {
    let mut wrong = Vec::new();
    // A unit test makes its configs of manifests, which are the shortest way to say them.
    let files = named.iter().filter(|(file, _)| file != "runtime/src/lib.rs" && !is_tests(file));
    for (file, edges) in files {
        let module = if file.starts_with("cli/") { "cli" } else { module_of(file) };
        // What all may use stands on `sys`.
        let is_shared = table.shared.contains(module);
        let may = |edge: &&String| table.allows(module, edge) || is_shared && *edge == "sys";
        let refused = edges.iter().filter(|edge| !may(edge));
        wrong.extend(refused.map(|edge| format!("{file}: `{module}` may not use `{edge}`")));
    }
    wrong
}

#[test]
fn a_module_uses_only_what_the_table_allows() {
    let wrong = against(&table(), &named());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table is broken on purpose: without the first of what a row allows, the rule has to fail for that row.
#[test]
fn a_row_of_the_table_that_allows_less_is_seen() {
    let named = named();
    let mut count = 0;
    for (module, may) in table().modules {
        let May::Use(others) = may else { continue };
        for other in &others {
            let fewer = others.iter().filter(|one| *one != other).cloned().collect();
            let mut broken = table();
            broken.modules.insert(module.clone(), May::Use(fewer));
            let expected = format!("`{module}` may not use `{other}`");
            let wrong = against(&broken, &named);
            assert!(
                wrong.iter().any(|line| line.ends_with(&expected)),
                "no file needs what the table says: {expected}"
            );
            count += 1;
        }
    }
    assert!(count > 10, "only {count} words of the table were taken away");
}

#[test]
fn every_module_of_the_library_stands_in_the_table() {
    let table = table();
    for (file, _) in sources("runtime/src") {
        let module = module_of(&file);
        assert!(
            module == "lib" || table.knows(module),
            "{file}: `{module}` is not in ARCHITECTURE.md's table"
        );
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
            let lines = code(&text).lines().count();
            if !is_tests(&file) && !file.starts_with("tests/") && lines > LONGEST_FILE {
                wrong.push(format!("{file}: {lines} lines"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    for folder in ["runtime/src", "cli/src", "rootfs-fixtures", "tests", "fuzz"] {
        for (file, text) in sources(folder) {
            assert!(text.starts_with("//!"), "{file} does not open with //!");
        }
    }
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let mut count = 0;
    for page in ["ARCHITECTURE.md", "docs/invariants.md", "docs/dependencies.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let mut folder = PathBuf::new();
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = ["runtime/", "cli/", "tests/", "docs/"].iter().any(|start| word.starts_with(start));
            // `stop.rs` after `runtime/src/policy/step.rs` lies beside it.
            let is_beside = !is_path && word.ends_with(".rs");
            if !is_path && !is_beside {
                continue;
            }
            let path = if is_path { root().join(word) } else { folder.join(word) };
            assert!(path.exists(), "{page} names `{word}`, and there is no {}", path.display());
            if is_path {
                folder = if path.is_dir() { path } else { path.parent().unwrap().to_owned() };
            }
            count += 1;
        }
    }
    assert!(count > 100, "only {count} paths found");
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
fn what_follows_a_test_module_is_read() {
    let text = "#[cfg(test)]\nmod tests;\nuse crate::net;\n#[cfg(test)]\n#[path = \"a\"]\nmod more {\n    use crate::{oci, pod};\n    fn a(b: [u8; 3]) { drop('}') }\n}\nfn c() { crate::image::get(\"\\n}\", '\\'', b\"{\") }\n";
    assert_eq!(edges(&code(text)), BTreeSet::from(["image", "net"].map(str::to_owned)));
    assert_eq!(code("#[cfg(test)]\nuse a::{b, c};\nfn f<'a>() {}").trim(), "fn f<'a>() {}");
    assert_eq!(
        without_literals("a /* b /* c */ d */ e r#\"f\"g\"# '\"' h 'i\n\"j\nk\" l"),
        "a  e   h 'i\n\n l"
    );
}

#[test]
fn a_broken_rule_is_seen() {
    let code = code("use crate::{error::Result, net::{Bridge, ipam}, pod};\nlet x = crate::image::get();\n");
    let expected = ["error", "image", "net", "pod"].map(str::to_owned);
    assert_eq!(edges(&code), BTreeSet::from(expected));
    assert!(names("use nix::unistd;", "nix") && !names("use std::os::unix::fs;", "nix"));
    assert!(!names("std::os::fd::nix_like::x", "nix"));
    assert_eq!(without_literals(r#"let a = "un\"safe"; // unsafe"#), "let a = ; ");
}
