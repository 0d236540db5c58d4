//! `process.apparmorProfile` and `process.selinuxLabel`, the labels of the next execve; and `linux.mountLabel`.
//!
//! Invariant: a label that the kernel cannot give is refused before anything is made: a container that is to
//! be confined does not run unconfined.

use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{Linux, Process};

use super::paths::c_string;
use super::plan::Step;
use crate::error::{Error, ErrorKind, Result};

/// The step of a process that has a profile or a label.
pub(super) fn of(process: &Process) -> Result<Option<Step>> {
    let named = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    match (named(process.apparmor_profile()), named(process.selinux_label())) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Error::new(
            ErrorKind::Usage,
            "process.apparmorProfile: a process has it or a selinuxLabel, not both",
        )),
        (Some(profile), None) => apparmor(&profile).map(Some),
        (None, Some(label)) => selinux(&label).map(Some),
    }
}

fn apparmor(profile: &str) -> Result<Step> {
    let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if enabled.first() != Some(&b'Y') {
        return Err(absent("process.apparmorProfile", profile, "AppArmor"));
    }
    // Its own file, since Linux 5.8, exists whichever other security module comes first.
    let own = Path::new("/proc/self/attr/apparmor/exec").exists();
    let file = if own { c"self/attr/apparmor/exec" } else { c"self/attr/exec" };
    let label = c_string("process.apparmorProfile", &format!("exec {profile}"))?;
    Ok(Step::ExecLabel { file: file.to_owned(), label })
}

/// `linux.mountLabel`: the SELinux label of all that is in the file systems made for the container.
pub(super) fn of_mounts(linux: Option<&Linux>) -> Result<Option<CString>> {
    match linux.and_then(|linux| linux.mount_label().as_deref()).filter(|label| !label.is_empty()) {
        None => Ok(None),
        Some(label) if !has_selinux() => Err(absent("linux.mountLabel", label, "SELinux")),
        Some(label) => c_string("linux.mountLabel", label).map(Some),
    }
}

fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn selinux(label: &str) -> Result<Step> {
    if !has_selinux() {
        return Err(absent("process.selinuxLabel", label, "SELinux"));
    }
    let file = c"self/attr/exec".to_owned();
    Ok(Step::ExecLabel { file, label: c_string("process.selinuxLabel", label)? })
}

fn absent(field: &str, value: &str, module: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{field}: `{value}`: this kernel runs without {module}"))
        .hint(format!("start the kernel with {module}, or leave the field out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(json: &str) -> Result<Option<Step>> {
        let base = r#"{"cwd":"/","user":{"uid":0,"gid":0}"#;
        of(&serde_json::from_str(&format!("{base}{json}}}")).unwrap())
    }

    #[test]
    fn a_label_that_cannot_be_given_is_refused() {
        assert!(labelled("").unwrap().is_none());
        assert!(labelled(r#","apparmorProfile":"","selinuxLabel":"""#).unwrap().is_none());
        let both = labelled(r#","apparmorProfile":"a","selinuxLabel":"b""#).unwrap_err();
        assert_eq!(both.kind(), ErrorKind::Usage);
        let linux =
            serde_json::from_str(r#"{"mountLabel":"system_u:object_r:container_file_t:s0"}"#).unwrap();
        match of_mounts(Some(&linux)) {
            Ok(label) => assert!(label.is_some() && has_selinux()),
            Err(error) => assert!(error.message().contains("without SELinux"), "{error}"),
        }
        assert!(of_mounts(None).unwrap().is_none());
        match labelled(r#","apparmorProfile":"web""#) {
            Ok(step) => assert!(matches!(step, Some(Step::ExecLabel { .. }))),
            Err(error) => assert!(error.message().contains("without AppArmor"), "{error}"),
        }
    }
}
