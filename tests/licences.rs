//! Every dependency's licence is one that podrun may be built from and shipped with, those of tests and fixtures included.

use std::process::Command;

use serde_json::Value;

/// Licences that ask for no more than to be named.
const ALLOWED: [&str; 9] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be met by allowed licences alone.
fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    // `A AND (B OR C)` is judged as if `AND` bound weaker, which only ever refuses too much.
    plain.split(" AND ").all(|part| part.split(" OR ").any(|one| ALLOWED.contains(&one.trim())))
}

#[test]
fn every_dependency_has_a_licence_on_the_list() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .arg("--filter-platform")
        .arg(platform())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "cargo metadata lists {} packages", packages.len());
    let wrong: Vec<String> = packages
        .iter()
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or("none")))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(wrong.is_empty(), "not on the list of licences:\n{}", wrong.join("\n"));
}

/// C libraries that are linked in, statically: the LGPL asks that a user can link anew with another version of the
/// library, which whoever has these sources can.
const LINKED: [(&str, &str); 1] = [("seccomp", "LGPL-2.1-only")];

#[test]
fn every_c_library_has_a_licence_on_the_list() {
    let sys = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/src/sys");
    let mut found = Vec::new();
    let mut open = vec![std::path::PathBuf::from(sys)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let links = text.match_indices("#[link(name = \"").map(|(at, start)| &text[at + start.len()..]);
        found.extend(links.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    let listed: Vec<&str> = LINKED.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, listed, "what `sys` links, and what is on the list of licences");
}

/// Only what is built here counts: libraries for other systems are never fetched.
fn platform() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

#[test]
fn an_expression_is_judged_as_spdx_means_it() {
    assert!(is_allowed("MIT OR Apache-2.0") && is_allowed("MIT/Apache-2.0"));
    assert!(is_allowed("GPL-2.0-only OR MIT"));
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!is_allowed("GPL-3.0-only") && !is_allowed("MIT AND GPL-3.0-only") && !is_allowed("none"));
}
