//! A file system that is mounted nowhere yet: made by a parent, for those who are to have it or a part of it.
//!
//! Invariant: nobody can reach it but by the descriptor that is given back.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};

use super::mount;
use crate::sys::{Errno, Result};

/// Makes a file system of `kind` with these parameters, and a mount of it with these attributes.
pub fn make(kind: &CStr, parameters: &[(&CStr, Option<&CStr>)], attributes: u64) -> Result<OwnedFd> {
    let during =
        |call: &'static str| move |errno: Errno| errno.during(format!("{call}({})", kind.to_string_lossy()));
    let context = mount::fsopen(kind).map_err(during("fsopen"))?;
    for (key, value) in parameters {
        mount::fsconfig(context.as_fd(), key, *value).map_err(|errno| {
            errno.during(format!("fsconfig({}, {key:?}, {value:?})", kind.to_string_lossy()))
        })?;
    }
    mount::fsconfig_create(context.as_fd()).map_err(during("fsconfig"))?;
    mount::fsmount(context.as_fd(), attributes).map_err(during("fsmount"))
}
