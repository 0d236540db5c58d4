//! Frozen cgroups and stopped processes: the cause, and the remedy.
//!
//! Invariant: nothing here waits, or changes anything: it is asked when a wait is over, or before one would begin.

use std::path::{Path, PathBuf};

use super::layout::{Controller, Layout};
use super::{Cgroup, end};
use crate::error::{Error, ErrorKind, Result};

impl Cgroup {
    /// Refuses a cgroup that is frozen, or below a frozen one: a joining process would stop before its first
    /// instruction.
    pub fn must_move(&self) -> Result<()> {
        if !self.is_frozen() {
            return Ok(());
        }
        let frozen = self.directories().find_map(|directory| frozen_at(directory));
        let error = Error::failed(format!("cgroup {} is frozen: what joins it stands still", self.path));
        Err(frozen
            .map_or_else(|| error, |frozen| Error::failed(frozen.names(&self.path)).hint(frozen.remedy())))
    }

    /// Says of which process that does not end a cgroup or `other` has, and why.
    pub fn unended(&self, other: Option<i32>) -> Error {
        let pids = self.pids().unwrap_or_default();
        let all = || other.iter().chain(&pids).copied();
        match all().find(|pid| cause(*pid).is_some()).or_else(|| all().next()) {
            Some(pid) => unended(pid),
            None => Error::new(ErrorKind::Timeout, "its processes do not end"),
        }
    }
}

/// A killed process that is still there.
pub fn unended(pid: i32) -> Error {
    explain(Error::new(ErrorKind::Timeout, format!("process {pid} does not end")), pid)
}

/// `error` with the reason for which `pid` stands still, if there is one to be seen.
pub fn explain(error: Error, pid: i32) -> Error {
    let Some(cause) = cause(pid) else { return error };
    Error::new(error.kind(), format!("{}: {}", error.message(), cause.0)).hint(cause.1)
}

/// The cause of a process's stop, and the remedy.
fn cause(pid: i32) -> Option<(String, String)> {
    let layout = Layout::detect().ok()?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    if let Some(frozen) =
        text.lines().filter_map(|line| place(&layout, line)).find_map(|place| frozen_at(&place))
    {
        let said = format!("it is in the frozen cgroup {}", frozen.directory.display());
        return Some((said, frozen.remedy()));
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let state = status.lines().find_map(|line| line.strip_prefix("State:"))?;
    state.trim_start().starts_with('D').then(|| {
        let hint = "a file system or a device does not answer it; it ends as soon as that does";
        ("it is in a call of the kernel that cannot be interrupted".to_owned(), hint.to_owned())
    })
}

/// The directory that a line of /proc/PID/cgroup names, if its hierarchy can freeze.
fn place(layout: &Layout, line: &str) -> Option<PathBuf> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let mount = match controllers {
        "" => &layout.unified.as_ref()?.mount,
        _ => {
            let known = |name: &str| Controller::parse(name) == Some(Controller::Freezer);
            controllers.split(',').find(|name| known(name))?;
            &layout.v1.iter().find(|hierarchy| hierarchy.controllers.contains(&Controller::Freezer))?.mount
        }
    };
    Some(mount.join(path.trim_start_matches('/')))
}

/// A cgroup that was told to stand still.
struct Frozen {
    directory: PathBuf,
    file: &'static str,
    word: &'static str,
}

impl Frozen {
    fn names(&self, path: &str) -> String {
        match self.directory.ends_with(path.trim_start_matches('/')) {
            true => format!("cgroup {path} is frozen: what joins it stands still"),
            false => format!(
                "cgroup {path} is below {}, which is frozen: what joins it stands still",
                self.directory.display()
            ),
        }
    }

    fn remedy(&self) -> String {
        format!("`echo {} >{}` lets it go on", self.word, self.directory.join(self.file).display())
    }
}

/// The lowest frozen cgroup among a directory and its parents.
fn frozen_at(directory: &Path) -> Option<Frozen> {
    const FILES: [(&str, &str, &str); 2] =
        [("cgroup.freeze", "cgroup.freeze", "0"), ("freezer.self_freezing", "freezer.state", "THAWED")];
    directory.ancestors().find_map(|above| {
        let (_, file, word) = FILES.into_iter().find(|(told, _, _)| end::is_said(&above.join(told), "1"))?;
        Some(Frozen { directory: above.to_owned(), file, word })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_that_was_told_to_stand_still_is_found_from_below() {
        let top = tempfile::tempdir().unwrap();
        let (outer, inner) = (top.path().join("a"), top.path().join("a/b"));
        std::fs::create_dir_all(&inner).unwrap();
        for (directory, file, text) in [
            (&inner, "cgroup.freeze", "0"),
            (&outer, "cgroup.freeze", "1"),
            (&inner, "freezer.self_freezing", "0"),
        ] {
            std::fs::write(directory.join(file), format!("{text}\n")).unwrap();
        }
        let frozen = frozen_at(&inner).unwrap();
        assert_eq!((&frozen.directory, frozen.word), (&outer, "0"));
        assert!(frozen.names("/a/b").contains("which is frozen"));
        std::fs::write(inner.join("freezer.self_freezing"), "1\n").unwrap();
        let frozen = frozen_at(&inner).unwrap();
        assert!(frozen.names("/a/b").starts_with("cgroup /a/b is frozen"));
        assert!(frozen.remedy().contains("a/b/freezer.state"));
    }

    #[test]
    fn a_line_leads_to_a_hierarchy_that_can_freeze() {
        let layout = Layout::parse(
            "1 0 0:1 / /c/freezer rw - cgroup cgroup rw,freezer\n2 0 0:2 / /c/unified rw - cgroup2 cgroup2 rw\n\
             3 0 0:3 / /c/pids rw - cgroup cgroup rw,pids\n",
        );
        let found = |line| place(&layout, line).map(|place| place.display().to_string());
        assert_eq!(found("7:freezer:/x/y").as_deref(), Some("/c/freezer/x/y"));
        assert_eq!(found("0::/z").as_deref(), Some("/c/unified/z"));
        assert_eq!(found("4:pids:/z"), None);
    }
}
