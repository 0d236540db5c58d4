//! Hints for limits that the kernel refuses: of most it says EINVAL alone.
//!
//! Invariant: pure; by the file's name and the errno, where these leave one cause.

use std::path::Path;

use crate::error::Error;
use crate::sys::Errno;

/// The error of a write to `file` of a cgroup, with its remedy.
pub(super) fn hint(file: &Path, errno: Option<i32>, error: Error) -> Error {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match errno.and_then(|errno| remedy(name, Errno(errno))) {
        Some(remedy) => error.hint(remedy),
        None => error,
    }
}

fn remedy(name: &str, errno: Errno) -> Option<&'static str> {
    let about = |beginning: &str| name.starts_with(beginning);
    Some(match errno {
        Errno::EINVAL | Errno::ERANGE | Errno::EACCES if name == "cpuset.cpus" => {
            "one of the processors is not there, or not in cpuset.cpus of the cgroup above"
        }
        Errno::EINVAL | Errno::ERANGE | Errno::EACCES if name == "cpuset.mems" => {
            "one of the memory nodes is not there, or not in cpuset.mems of the cgroup above"
        }
        Errno::EINVAL if name == "cpu.rt_runtime_us" => {
            "a cgroup gives those below it no more than it has: cpu.rt_runtime_us of each above has to hold them all"
        }
        Errno::EINVAL if about("cpu.cfs_burst") || about("cpu.max.burst") => {
            "a burst is not longer than the quota"
        }
        Errno::EINVAL if about("cpu.cfs_") || about("cpu.max") => {
            "a quota is 1000 microseconds or more, a period from 1000 to 1000000; on cgroup v1 they give no more than those \
             of the cgroup above"
        }
        Errno::EINVAL if about("cpu.weight") || about("cpu.idle") => {
            "a weight is from 1 to 10000 (cpu.weight.nice: from -20 to 19), and an idle cgroup has none"
        }
        Errno::EINVAL if about("memory.memsw") || name == "memory.limit_in_bytes" => {
            "memory.swap counts memory and swap together: it is not below memory.limit"
        }
        Errno::EINVAL if about("memory.swappiness") => "it is from 0 to 100, on newer kernels 200",
        Errno::EBUSY if about("memory.") => "more than that is in use, and cannot be freed",
        Errno::ENODEV if about("blkio.") || about("io.") => {
            "there is no block device of this number: the whole disk is to be named, not a partition"
        }
        Errno::EINVAL if about("blkio.") || about("io.") => {
            "a weight is from 1 (on cgroup v1: 10) to 1000, io.weight to 10000, and a rate more than 0"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_by_an_errno_alone_is_put_into_words() {
        let told = |file: &str, errno: Errno| {
            let error = hint(Path::new(file), Some(errno.0), Error::failed("write"));
            error.hint_text().map(str::to_owned)
        };
        for (file, errno, word) in [
            ("/a/cpuset.cpus", Errno::ERANGE, "processors"),
            ("/a/cpuset.mems", Errno::EINVAL, "nodes"),
            ("/a/cpu.cfs_quota_us", Errno::EINVAL, "1000"),
            ("/a/cpu.max", Errno::EINVAL, "1000"),
            ("/a/cpu.rt_runtime_us", Errno::EINVAL, "above"),
            ("/a/cpu.max.burst", Errno::EINVAL, "burst"),
            ("/a/memory.memsw.limit_in_bytes", Errno::EINVAL, "together"),
            ("/a/memory.limit_in_bytes", Errno::EBUSY, "in use"),
            ("/a/io.max", Errno::ENODEV, "block device"),
        ] {
            assert!(told(file, errno).is_some_and(|text| text.contains(word)), "{file}");
        }
        assert_eq!(told("/a/pids.max", Errno::EINVAL), None);
        assert_eq!(told("/a/cpuset.cpus", Errno::EBUSY), None);
    }
}
