//! Facts about a process in procfs, by its number in the reader's pid namespace.
//!
//! Invariant: a number may be reused by the next look; a caller that keeps one keeps the start time beside it
//! (field 22 of stat).

use crate::sys::{Error, Result};

fn read(pid: i32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    crate::sys::file::fs::read_kernel_file(&path)
        .map_err(|error| Error::new(path, error.raw_os_error().unwrap_or(libc::EIO)))
}

/// A number out of /proc/PID/stat, by proc_pid_stat(5)'s count, from the fourth on.
pub fn stat_field(pid: i32, number: usize) -> Result<u64> {
    let stat = read(pid, "stat")?;
    // The second field, the command's name in parentheses, may hold anything.
    let field = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(number - 3));
    let value = field.and_then(|field| field.parse().ok());
    value.ok_or_else(|| Error::new(format!("/proc/{pid}/stat: field {number}"), libc::EINVAL))
}

/// The arguments it was executed with; ones that are not UTF-8 are replaced.
pub fn arguments(pid: i32) -> Result<Vec<String>> {
    Ok(read(pid, "cmdline")?.split_terminator('\0').map(str::to_owned).collect())
}

/// Its pid in its own pid namespace.
pub fn innermost_pid(pid: i32) -> Result<i32> {
    let status = read(pid, "status")?;
    last_pid(&status).ok_or_else(|| Error::new(format!("/proc/{pid}/status: NSpid"), libc::EINVAL))
}

/// The last number of `NSpid:`, which names the process in each pid namespace from the reader's inwards.
fn last_pid(status: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_the_innermost_pid_last() {
        assert_eq!(last_pid("Name:\tx\nNSpid:\t4713\t2\t1\n"), Some(1));
        assert_eq!(last_pid("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_is_itself() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(stat_field(own, 22).unwrap() > 1);
        assert_eq!(innermost_pid(own).unwrap(), own);
    }
}
