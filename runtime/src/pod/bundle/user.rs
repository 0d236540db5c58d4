//! The user of a container's processes: the requested one, or the image's, looked up in the image's own passwd
//! and group files.
//!
//! Invariants: a number is never looked up as a name; one out of range is an error, never root. The files are
//! the image's: only regular files are read, up to a bound, line by line and once, no further than needed;
//! their only results are ids.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::error::{Context, Error, ErrorKind, Result, quoted, shown};
use crate::pod::config::UserRequest;
use crate::sys::file::confined;

/// As much of a passwd or group file as is read: containerd's bound.
const FILE_MAX: u64 = 10 << 20;

/// As many groups as a process can have: NGROUPS_MAX.
const GROUPS_MAX: usize = 65_536;

/// The largest id: beyond it a signed 32-bit id of the kernel's interfaces would be negative.
const ID_MAX: u32 = i32::MAX.unsigned_abs();

/// A container's user, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// The user id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// Every other group, and the primary one too: a file that denies a group must deny all of it.
    pub groups: Vec<u32>,
}

/// One half of `user:group`, decided once.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Id(u32),
    Name(String),
}

impl Name {
    fn parse(text: &str) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = |why: &str| Err(Error::failed(format!("user {}: {why}", quoted(text))));
        let numeric = text.trim_start_matches(['+', '-']);
        if !numeric.is_empty() && numeric.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse::<u32>() {
                Ok(id) if id <= ID_MAX && numeric == text => Ok(Some(Self::Id(id))),
                _ => wrong("not an id from 0 to 2147483647"),
            };
        }
        if text.contains(|c: char| c.is_control() || c == ':') {
            return wrong("not a user name");
        }
        Ok(Some(Self::Name(text.to_owned())))
    }
}

/// The user that is asked for, where the root file system is `rootfs` and the image asks for `image_user`.
pub(crate) fn resolve(asked: &UserRequest, image_user: &str, rootfs: BorrowedFd<'_>) -> Result<User> {
    let (image_user, image_group) = image_user.split_once(':').unwrap_or((image_user, ""));
    let user = match asked.uid {
        Some(uid) => Some(Name::Id(uid)),
        None => Name::parse(image_user)?,
    };
    check_non_root(asked, user.as_ref())?;

    let entry = passwd_entry(rootfs, user.as_ref().unwrap_or(&Name::Id(0)))?;
    let uid = match (&user, &entry) {
        (None, _) => 0,
        (Some(Name::Id(uid)), _) => *uid,
        (Some(Name::Name(_)), Some(entry)) => entry.uid,
        (Some(Name::Name(name)), None) => {
            return Err(Error::failed(format!(
                "the image's user {} is not in its /etc/passwd",
                quoted(name)
            )));
        }
    };
    // A user of the manifest's comes with no group of the image's.
    let image_group = if asked.uid.is_some() { None } else { Name::parse(image_group)? };
    let gid = match (asked.gid, image_group) {
        (Some(gid), _) => gid,
        (None, Some(Name::Id(gid))) => gid,
        (None, Some(Name::Name(name))) => group_entry(rootfs, &name)?.ok_or_else(|| {
            Error::failed(format!("the image's group {} is not in its /etc/group", quoted(&name)))
        })?,
        (None, None) => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    let mut groups = BTreeSet::from([gid]);
    for given in &asked.groups {
        add(&mut groups, *given)?;
    }
    if let Some(entry) = &entry {
        add_memberships(rootfs, &entry.name, &mut groups)?;
    }
    let groups = groups.into_iter().collect();
    Ok(User { uid, gid, groups })
}

fn add(groups: &mut BTreeSet<u32>, group: u32) -> Result<()> {
    groups.insert(group);
    match groups.len() > GROUPS_MAX {
        true => Err(Error::failed(format!("more than the {GROUPS_MAX} groups that a process can have"))),
        false => Ok(()),
    }
}

fn check_non_root(asked: &UserRequest, user: Option<&Name>) -> Result<()> {
    if !asked.non_root {
        return Ok(());
    }
    let refused = |message: String| {
        Err(Error::new(ErrorKind::Manifest, message).hint("set runAsUser to a number other than 0"))
    };
    match user {
        Some(Name::Id(0)) if asked.uid.is_some() => {
            refused("container has runAsNonRoot and its runAsUser is root".into())
        }
        Some(Name::Id(0)) | None => refused("container has runAsNonRoot and image will run as root".into()),
        Some(Name::Id(_)) => Ok(()),
        Some(Name::Name(name)) => refused(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root",
            shown(name)
        )),
    }
}

/// A file of the image, line by line.
struct Lines {
    path: &'static str,
    file: BufReader<Take<File>>,
    line: Vec<u8>,
}

impl Lines {
    /// Opens the file at `path`, if there is one.
    fn open(rootfs: BorrowedFd<'_>, path: &'static str) -> Result<Option<Self>> {
        let context = || format!("the image's /{path}");
        let file = match confined::open_regular(rootfs.as_fd(), Path::new(path)) {
            Ok(Some(file)) => File::from(file),
            Ok(None) => return Err(Error::failed("not a regular file").context(context())),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(Error::from(error).context(context())),
        };
        if file.metadata().context(context)?.len() > FILE_MAX {
            return Err(Error::failed(format!("larger than {FILE_MAX} bytes")).context(context()));
        }
        Ok(Some(Self { path, file: BufReader::new(file.take(FILE_MAX)), line: Vec::new() }))
    }

    /// The first result of `wanted` on a line. The rest is not read.
    fn find<T>(&mut self, mut wanted: impl FnMut(&str) -> Result<Option<T>>) -> Result<Option<T>> {
        let context = |path: &str| format!("the image's /{path}");
        loop {
            self.line.clear();
            if self.file.read_until(b'\n', &mut self.line).context(|| context(self.path))? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&self.line);
            let found = wanted(line.trim_end_matches(['\n', '\r'])).context(|| context(self.path))?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
}

fn passwd_entry(rootfs: BorrowedFd<'_>, wanted: &Name) -> Result<Option<Entry>> {
    let Some(mut passwd) = Lines::open(rootfs, "etc/passwd")? else { return Ok(None) };
    passwd.find(|line| {
        let mut fields = line.split(':');
        let mut next = || fields.next();
        let (Some(name), _, Some(uid), Some(gid), _, Some(_home)) =
            (next(), next(), next(), next(), next(), next())
        else {
            return Ok(None);
        };
        let (Some(uid), Some(gid)) = (number(uid), number(gid)) else { return Ok(None) };
        let found = match wanted {
            Name::Id(id) => *id == uid,
            Name::Name(wanted) => wanted == name,
        };
        Ok(found.then(|| Entry { name: name.to_owned(), uid, gid }))
    })
}

fn group_entry(rootfs: BorrowedFd<'_>, wanted: &str) -> Result<Option<u32>> {
    let Some(mut group) = Lines::open(rootfs, "etc/group")? else { return Ok(None) };
    group.find(|line| {
        let mut fields = line.split(':');
        let named = fields.next() == Some(wanted);
        Ok(fields.nth(1).filter(|_| named).and_then(number))
    })
}

/// Adds the groups that name `user` as a member.
fn add_memberships(rootfs: BorrowedFd<'_>, user: &str, groups: &mut BTreeSet<u32>) -> Result<()> {
    let Some(mut group) = Lines::open(rootfs, "etc/group")? else { return Ok(()) };
    let none: Option<()> = group.find(|line| {
        let mut fields = line.split(':').skip(2);
        let (Some(gid), Some(members)) = (fields.next(), fields.next()) else { return Ok(None) };
        if members.split(',').any(|member| member.trim() == user)
            && let Some(gid) = number(gid)
        {
            add(groups, gid)?;
        }
        Ok(None)
    })?;
    debug_assert_eq!(none, None, "every line is looked at");
    Ok(())
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= ID_MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::manifest::Pod;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nevil\nwww:x:33:34:www:/var/www:/bin/sh\n\
                          1000:x:0:0::/root:\nbad:x:5:5::relative:\nhuge:x:4294967295:0::/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nstaff:x:50:www,other\nweb:x:51:www\n";

    fn image() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), PASSWD).unwrap();
        std::fs::write(dir.path().join("etc/group"), GROUP).unwrap();
        dir
    }

    fn asked(pod: &Pod) -> Result<UserRequest> {
        let facts = crate::pod::Facts::default();
        crate::manifest::container_config(pod, &pod.spec.containers[0], 0, &facts).map(|config| config.user)
    }

    fn resolved(image_user: &str, pod: serde_json::Value, own: serde_json::Value) -> Result<User> {
        let dir = image();
        let spec = serde_json::json!({"spec": {"securityContext": pod, "containers": [{"name": "c", "securityContext": own}]}});
        let pod: Pod = serde_json::from_value(spec).unwrap();
        let rootfs = confined::open_host(dir.path()).unwrap();
        resolve(&asked(&pod)?, image_user, rootfs.as_fd())
    }

    fn ids(image_user: &str) -> Result<(u32, u32, Vec<u32>)> {
        let none = || serde_json::json!({});
        resolved(image_user, none(), none()).map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn the_image_names_its_user() {
        assert_eq!(ids("").unwrap(), (0, 0, vec![0]));
        assert_eq!(ids("www").unwrap(), (33, 34, vec![34, 50, 51]));
        assert_eq!(ids("33").unwrap(), (33, 34, vec![34, 50, 51]));
        assert_eq!(ids("www:staff").unwrap(), (33, 50, vec![50, 51]));
        assert_eq!(ids("77:88").unwrap(), (77, 88, vec![88]));
        assert_eq!(ids("77").unwrap(), (77, 0, vec![0]));
    }

    #[test]
    fn a_number_is_never_a_name_and_never_wraps_to_root() {
        assert_eq!(ids("1000").unwrap(), (1000, 0, vec![0]), "not the passwd line called 1000");
        for wrong in [
            "+1",
            "-1",
            "-",
            "2147483648",
            "4294967296",
            "18446744073709551616",
            "1:-1",
            "nobody",
            "www:nope",
            "huge",
            "0x0",
        ] {
            assert!(ids(wrong).is_err(), "{wrong:?} gave {:?}", ids(wrong));
        }
        assert_eq!(ids("007").unwrap().0, 7);
    }

    #[test]
    fn the_manifest_stands_above_the_image() {
        use serde_json::json;
        let user =
            resolved("www:staff", json!({"runAsUser": 5, "supplementalGroups": [9, 9]}), json!({})).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (5, 5, vec![5, 9]), "passwd line `bad` has gid 5");
        let user =
            resolved("www", json!({"runAsUser": 5}), json!({"runAsUser": 6, "runAsGroup": 7})).unwrap();
        assert_eq!((user.uid, user.gid), (6, 7));
        assert!(resolved("", json!({"runAsUser": -1}), json!({})).is_err());
    }

    #[test]
    fn run_as_non_root_refuses_root_and_names() {
        use serde_json::json;
        for (image, own, ok) in [
            ("", json!({"runAsNonRoot": true}), false),
            ("0", json!({"runAsNonRoot": true}), false),
            ("www", json!({"runAsNonRoot": true}), false),
            ("33", json!({"runAsNonRoot": true}), true),
            ("www", json!({"runAsNonRoot": true, "runAsUser": 33}), true),
            ("", json!({"runAsNonRoot": false}), true),
        ] {
            assert_eq!(
                resolved(image, json!({"runAsNonRoot": true}), own.clone()).is_ok(),
                ok,
                "{image} {own}"
            );
        }
    }

    #[test]
    fn run_as_non_root_says_whose_root_it_is() {
        use serde_json::json;
        let message = |image: &str, user: serde_json::Value| {
            let own = json!({"runAsNonRoot": true, "runAsUser": user});
            resolved(image, json!({}), own).unwrap_err().message().to_owned()
        };
        assert!(message("33", json!(0)).contains("runAsUser"));
        assert!(message("0", json!(null)).contains("image will run as root"));
    }

    #[test]
    fn only_bounded_regular_files_inside_the_image_are_read() {
        let dir = image();
        let rootfs = confined::open_host(dir.path()).unwrap();
        let passwd = dir.path().join("etc/passwd");
        let outcome = || resolve(&UserRequest::default(), "www", rootfs.as_fd());
        for target in ["/etc/passwd", "../../../../../etc/passwd"] {
            std::fs::remove_file(&passwd).unwrap();
            symlink(target, &passwd).unwrap();
            assert!(outcome().is_err(), "a link to itself inside the image, not the host's file: {target}");
        }
        std::fs::remove_file(&passwd).unwrap();
        std::fs::create_dir(&passwd).unwrap();
        assert!(outcome().unwrap_err().message().contains("not a regular file"));
        std::fs::remove_dir(&passwd).unwrap();
        // open(2) fails with ENXIO, as for a device without a driver.
        let listener = std::os::unix::net::UnixListener::bind(&passwd).unwrap();
        assert!(outcome().unwrap_err().message().contains("not a regular file"));
        drop(listener);
        std::fs::remove_file(&passwd).unwrap();
        std::fs::File::create(&passwd).unwrap().set_len(1 << 30).unwrap();
        assert!(outcome().unwrap_err().message().contains("larger than"));
    }

    #[test]
    fn large_files_are_read_once_and_groups_are_as_many_as_a_process_can_have() {
        let dir = image();
        let rootfs = confined::open_host(dir.path()).unwrap();
        let outcome = || resolve(&UserRequest::default(), "www", rootfs.as_fd());
        let write = |name: &str, text: String| {
            assert!(text.len() as u64 <= FILE_MAX, "{}", text.len());
            std::fs::write(dir.path().join("etc").join(name), text).unwrap();
        };
        // One line of nothing but fields, and one of nothing but members.
        write("passwd", ":".repeat(5 << 20) + "\n" + PASSWD);
        write("group", format!("a:x:7:{}www\n", ",".repeat(10_000_000)));
        assert_eq!(outcome().unwrap().groups, [7, 34]);
        let lines = |count: u32| (1..=count).map(|gid| format!("g:x:{gid}:www\n")).collect::<String>();
        write("group", lines(65_535) + &"g:x:9:www\n".repeat(100_000));
        assert_eq!(outcome().unwrap().groups.len(), 65_535);
        write("group", lines(65_537));
        let error = outcome().unwrap_err();
        assert_eq!(
            error.message(),
            "the image's /etc/group: more than the 65536 groups that a process can have"
        );
    }

    #[test]
    fn a_long_user_is_not_said_whole() {
        let user = "u".repeat(3 << 20);
        for user in [user.clone(), format!("0:{user}"), user.clone() + "\n", "1".repeat(3 << 20)] {
            let error = ids(&user).unwrap_err();
            assert!(error.message().len() < 400, "{}", error.message().len());
        }
    }
}
