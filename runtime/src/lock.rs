//! The flocks of podrun's own trees: waited for within a time, after which the error names the holder.
//!
//! Invariant: no command waits for ever. The locked file is one that root alone can open (`sys::file::own`), or
//! one that others may lock by right, such as resctrl's root: then the timeout keeps them from blocking podrun.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::file::flock::{self, Share};

/// Enough for locks that are held for a few files, 50 ms at most, by each of a hundred waiters.
pub(crate) const BRIEF: Duration = Duration::from_secs(10);
/// Enough for locks under which trees of any size are removed, or all the pods of a host.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// Takes the lock of `file`, which is at `path`, for this process alone.
///
/// # Errors
/// [`ErrorKind::Timeout`] once it was waited for as long as `patience`.
pub(crate) fn take(file: &File, path: &Path, patience: Duration) -> Result<()> {
    wait(file, path, Share::Exclusive, patience)
}

/// The same, beside others that take it so.
pub(crate) fn take_shared(file: &File, path: &Path, patience: Duration) -> Result<()> {
    wait(file, path, Share::Shared, patience)
}

fn wait(file: &File, path: &Path, share: Share, patience: Duration) -> Result<()> {
    let taken = flock::lock_within(file, share, patience)
        .map_err(|errno| errno.during(format!("flock({path:?})")))
        .map_err(Error::from)?;
    if taken {
        return Ok(());
    }
    let what = format!("flock({path:?}): somebody else has had it for {} s", patience.as_secs());
    let hint = match holder(file) {
        Some(pid) => format!("process {pid} has it: see what that waits for, or end it"),
        None => "/proc/locks shows by its inode which process has it".to_owned(),
    };
    Err(Error::new(ErrorKind::Timeout, what).hint(hint))
}

/// The process that has the lock of `file`, as far as this pid namespace sees it.
fn holder(file: &File) -> Option<i32> {
    let inode = format!(":{}", file.metadata().context(|| "stat").ok()?.ino());
    let locks = crate::sys::file::fs::read_kernel_file("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 4711 00:1b:1234 0 EOF`; a waiter has an arrow before FLOCK.
        let mut words = line.split_whitespace().skip(1);
        let flock = words.next() == Some("FLOCK");
        let pid = words.nth(2)?.parse().ok()?;
        (flock && words.next()?.ends_with(&inode)).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_in_vain_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = File::create(&path).unwrap();
        take(&held, &path, BRIEF).unwrap();
        let error = take(&File::open(&path).unwrap(), &path, Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let hint = error.hint_text().unwrap();
        assert!(hint.contains(&format!("process {}", std::process::id())), "{hint}");
        assert!(error.to_string().contains("lock"), "{error}");
    }
}
