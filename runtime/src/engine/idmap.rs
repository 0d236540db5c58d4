//! Mounts with mapped owners: `idmap` and `ridmap`, and a mount's own `uidMappings` and `gidMappings`.
//!
//! Invariant: the mapping is given to a detached mount, before anyone can reach it; the user namespace that
//! carries it holds no process once it is open.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use oci_spec::runtime::{LinuxIdMapping, Mount as SpecMount, Spec};

use super::options::Options;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::file::mount::{Depth, map_owners};
use crate::sys::process::userns;

/// The lines of a process's `uid_map` or `gid_map` (user_namespaces(7)).
pub(super) fn lines(list: &[LinuxIdMapping]) -> String {
    list.iter().map(|one| format!("{} {} {}\n", one.container_id(), one.host_id(), one.size())).collect()
}

/// A container's id on the host; `None`: it is not mapped.
pub(super) fn on_host(list: &[LinuxIdMapping], id: u32) -> Option<u32> {
    list.iter().find_map(|one| {
        let offset = id.checked_sub(one.container_id()).filter(|offset| *offset < one.size())?;
        one.host_id().checked_add(offset)
    })
}

/// Other owners for a mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owners {
    uid_map: String,
    gid_map: String,
    depth: Depth,
}

/// The owners that a mount is to show; `None`: its own.
pub(super) fn of_mount(
    mount: &SpecMount,
    destination: &str,
    options: &Options,
    spec: &Spec,
) -> Result<Option<Owners>> {
    let wrong = |what: &str| Err(Error::new(ErrorKind::Usage, format!("mount {destination}: {what}")));
    let some = |list: &Option<Vec<LinuxIdMapping>>| list.clone().filter(|list| !list.is_empty());
    let own = (some(mount.uid_mappings()), some(mount.gid_mappings()));
    let (uids, gids) = match (own, options.idmap) {
        ((None, None), None) => return Ok(None),
        ((Some(uids), Some(gids)), _) => (uids, gids),
        ((None, None), Some(_)) => {
            let linux = spec.linux().as_ref();
            let uids = linux.and_then(|linux| some(linux.uid_mappings()));
            match (uids, linux.and_then(|linux| some(linux.gid_mappings()))) {
                (Some(uids), Some(gids)) => (uids, gids),
                _ => return wrong("idmap: neither it nor the container's user namespace has mappings"),
            }
        }
        _ => return wrong("uidMappings and gidMappings: there is one without the other"),
    };
    if options.bind.is_none() && mount.typ().as_deref().is_some_and(|kind| kind != "bind") {
        return wrong("uidMappings: only a bind mount can show other owners");
    }
    let depth = options.idmap.unwrap_or(Depth::One);
    Ok(Some(Owners { uid_map: lines(&uids), gid_map: lines(&gids), depth }))
}

impl Owners {
    /// Gives them to the detached mount `tree`.
    pub(super) fn give(&self, tree: BorrowedFd<'_>, destination: &str) -> Result<()> {
        let mapped = self.namespace().context(|| format!("mount {destination}: idmap"))?;
        map_owners(tree, self.depth, mapped.as_fd()).map_err(|errno| {
            Error::from(errno.during(format!("mount {destination}: mount_setattr(MOUNT_ATTR_IDMAP)"))).hint(
                "the file system, or a mount below it with ridmap, cannot show other owners on this kernel",
            )
        })
    }

    /// A user namespace with these mappings.
    fn namespace(&self) -> Result<OwnedFd> {
        userns::made(|pid| {
            for (file, text) in [("uid_map", &self.uid_map), ("gid_map", &self.gid_map)] {
                let path = format!("/proc/{pid}/{file}");
                std::fs::write(&path, text).context(|| format!("write({path:?})"))?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::options;

    fn owners(mount: &str, linux: &str) -> Result<Option<Owners>> {
        let mount: SpecMount = serde_json::from_str(mount).unwrap();
        let spec = serde_json::from_str(&format!(r#"{{"ociVersion":"1.2.0","linux":{linux}}}"#)).unwrap();
        let options = options::parse(mount.options().as_deref().unwrap_or_default());
        of_mount(&mount, "/x", &options, &spec)
    }

    const MAPS: &str = r#""uidMappings":[{"containerID":0,"hostID":5,"size":1}],"gidMappings":[{"containerID":0,"hostID":6,"size":1}]"#;

    #[test]
    fn mappings_are_the_mounts_own_or_the_containers() {
        assert_eq!(owners(r#"{"destination":"/x","options":["bind"]}"#, "{}").unwrap(), None);
        let own = format!(r#"{{"destination":"/x","options":["bind"],{MAPS}}}"#);
        let found = owners(&own, "{}").unwrap().unwrap();
        assert_eq!(
            (found.uid_map.as_str(), found.gid_map.as_str(), found.depth),
            ("0 5 1\n", "0 6 1\n", Depth::One)
        );
        let containers =
            owners(r#"{"destination":"/x","options":["rbind","ridmap"]}"#, &format!("{{{MAPS}}}"));
        assert_eq!(containers.unwrap().unwrap().depth, Depth::Recursive);
    }

    #[test]
    fn an_id_is_mapped_by_the_range_that_it_is_in() {
        let list: Vec<LinuxIdMapping> = serde_json::from_str(
            r#"[{"containerID":0,"hostID":1000,"size":1},{"containerID":1,"hostID":5000,"size":9}]"#,
        )
        .unwrap();
        assert_eq!([0, 1, 9, 10].map(|id| on_host(&list, id)), [Some(1000), Some(5000), Some(5008), None]);
    }

    #[test]
    fn what_has_no_mapping_or_cannot_have_one_is_refused() {
        assert!(owners(r#"{"destination":"/x","options":["bind","idmap"]}"#, "{}").is_err());
        let tmpfs = format!(r#"{{"destination":"/x","type":"tmpfs",{MAPS}}}"#);
        assert!(owners(&tmpfs, "{}").is_err());
    }
}
