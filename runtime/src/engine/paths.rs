//! The words of a spec in the kernel's form: strings, and paths inside the root.
//!
//! Invariant: pure. No path leads out of the root by its words, and none is looked up here.

use std::ffi::CString;

use oci_spec::runtime::Mount;

use crate::error::{Error, ErrorKind, Result};

/// The error of an invalid spec.
pub(super) fn usage(message: String) -> Error {
    Error::new(ErrorKind::Usage, message)
}

/// A string for the kernel.
pub(super) fn c_string(what: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| usage(format!("{what}: {text:?} holds a null byte")))
}

/// A path inside the root as its parts; `.` and `..` are resolved by their words, as the spec's are absolute.
pub(super) fn parts<'a>(what: &str, path: &'a str) -> Result<Vec<&'a str>> {
    /// The kernel's PATH_MAX, which counts the NUL.
    const PATH_MAX: usize = 4096;
    if path.len() >= PATH_MAX {
        return Err(usage(format!("{what}: a path of {} bytes is longer than the kernel takes", path.len())));
    }
    if !path.starts_with('/') {
        return Err(usage(format!("{what}: `{path}` is not an absolute path")));
    }
    Ok(words(path))
}

fn words(path: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in path.split('/') {
        match word {
            "" | "." => {}
            ".." => {
                words.pop();
            }
            word => words.push(word),
        }
    }
    words
}

/// A path inside the root from there, without `.` and `..`; empty: the root.
pub(super) fn from_root(what: &str, path: &str) -> Result<String> {
    Ok(parts(what, path)?.join("/"))
}

/// A place inside the root, to be found or made by the child; `.` is the root itself.
pub(super) fn place(what: &str, path: &str) -> Result<CString> {
    match from_root(what, path)? {
        empty if empty.is_empty() => Ok(c".".to_owned()),
        path => c_string(what, &path),
    }
}

/// The path of a mask or a read-only path, relative to the root.
pub(super) fn relative(what: &str, path: &str) -> Result<CString> {
    match place(what, path)? {
        root if root.as_c_str() == c"." => Err(usage(format!("{what}: `{path}` is the whole root"))),
        path => Ok(path),
    }
}

/// Where the spec's mount goes, from the root on and without dots and double slashes; a relative one is meant so too.
pub(super) fn destination(mount: &Mount) -> Result<String> {
    let Some(path) = mount.destination().to_str() else {
        return Err(usage(format!("mount {:?}: not UTF-8", mount.destination())));
    };
    normal(path)
}

pub(super) fn normal(path: &str) -> Result<String> {
    Ok(format!("/{}", parts("mounts", &format!("/{path}"))?.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_dots_and_does_not_leave_the_root() {
        assert_eq!(place("x", "/a//b/./c/../d/").unwrap().as_c_str(), c"a/b/d");
        assert_eq!(place("x", "/../..").unwrap().as_c_str(), c".");
        assert!(place("x", "relative").is_err());
        assert!(relative("x", "/a/..").is_err());
    }

    #[test]
    fn a_relative_destination_is_from_the_root_on() {
        let at = |path: &str| {
            destination(
                serde_json::from_value::<Mount>(serde_json::json!({"destination": path})).as_ref().unwrap(),
            )
        };
        assert_eq!(at("var").unwrap(), "/var");
        assert_eq!(at("./dev/").unwrap(), "/dev");
        assert_eq!(at("../a//b").unwrap(), "/a/b");
        assert_eq!(at("").unwrap(), "/");
    }
}
