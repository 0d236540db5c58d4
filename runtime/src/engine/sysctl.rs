//! Kernel settings: how their names are spelt, and which kind of namespace each is of.
//!
//! Invariant: a setting that is not known to belong to a namespace is the host's, and cannot be set here.

use crate::sys::kernel;

/// A setting by the parts of its name, each a directory or file below /proc/sys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting(Vec<String>);

/// The owner of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A network namespace. A setting of the host's alone is not there, or not to be written, in another.
    Network,
    /// An IPC namespace (ipc/ipc_sysctl.c, ipc/mq_sysctl.c).
    Ipc,
    /// A UTS namespace (kernel/utsname_sysctl.c).
    Uts,
    /// A user namespace (kernel/ucount.c).
    User,
    /// A pid namespace (kernel/pid_namespace.c, and kernel/pid.c since Linux 6.14).
    Pid,
    /// The whole machine.
    Host,
}

impl Setting {
    /// Reads a name as sysctl(8) does: the first of `.` and `/` in it separates the parts, and the other one stands for a dot
    /// in them: `net.ipv4.conf.eth0/1.forwarding`, `net/ipv4/conf/eth0.1/forwarding`.
    pub fn parse(name: &str) -> Option<Self> {
        let separator = name.chars().find(|c| ['.', '/'].contains(c)).unwrap_or('.');
        let parts: Vec<String> = name.split(separator).map(|part| part.replace('/', ".")).collect();
        let plain = |part: &String| {
            !["", ".", ".."].contains(&part.as_str())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:@".contains(&byte))
        };
        parts.iter().all(plain).then_some(Self(parts))
    }

    /// Its owner, on this kernel.
    pub fn owner(&self) -> Owner {
        self.owner_on(kernel::release())
    }

    fn owner_on(&self, release: (u32, u32)) -> Owner {
        let parts: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let ipc = |name: &str| ["msg", "sem", "shm"].iter().any(|kind| name.starts_with(kind));
        match parts.as_slice() {
            ["net", _, ..] => Owner::Network,
            ["kernel", "auto_msgmni"] | ["fs", "mqueue", _] => Owner::Ipc,
            ["kernel", name] if ipc(name) => Owner::Ipc,
            ["kernel", "hostname" | "domainname"] => Owner::Uts,
            ["user", _] => Owner::User,
            ["kernel", "ns_last_pid"] => Owner::Pid,
            ["kernel", "pid_max"] if release >= (6, 14) => Owner::Pid,
            _ => Owner::Host,
        }
    }

    /// Its file below /proc.
    pub fn file(&self) -> String {
        format!("sys/{}", self.0.join("/"))
    }

    /// Its name with dots between the parts, the same for each spelling.
    pub fn dotted(&self) -> String {
        self.0.iter().map(|part| part.replace('.', "/")).collect::<Vec<_>>().join(".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_lead_to_one_file() {
        for (name, file, dotted) in [
            ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"),
            ("net/ipv4/ip_forward", "sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"),
            ("net.ipv4.conf.eth0/1.mtu", "sys/net/ipv4/conf/eth0.1/mtu", "net.ipv4.conf.eth0/1.mtu"),
            ("net/ipv4/conf/eth0.1/mtu", "sys/net/ipv4/conf/eth0.1/mtu", "net.ipv4.conf.eth0/1.mtu"),
        ] {
            let setting = Setting::parse(name).unwrap();
            assert_eq!((setting.file().as_str(), setting.dotted().as_str()), (file, dotted), "{name}");
        }
        for wrong in ["", ".", "a..b", "net.", "/net", "net/../kernel", "net.//.x", "net. x", "net.ipv4\n"] {
            assert_eq!(Setting::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn each_has_its_namespace() {
        let owner = |name: &str| Setting::parse(name).unwrap().owner_on((6, 14));
        for (owner_of, names) in [
            (Owner::Network, &["net.core.somaxconn", "net/ipv6/conf/all/forwarding"][..]),
            (
                Owner::Ipc,
                &[
                    "kernel.sem",
                    "kernel.sem_next_id",
                    "kernel.msgmni",
                    "kernel.shm_rmid_forced",
                    "kernel.auto_msgmni",
                    "fs.mqueue.msg_max",
                ],
            ),
            (Owner::Uts, &["kernel.hostname", "kernel/domainname"]),
            (Owner::User, &["user.max_user_namespaces", "user/max_inotify_watches"]),
            (Owner::Pid, &["kernel.pid_max", "kernel.ns_last_pid"]),
            (
                Owner::Host,
                &["kernel.core_pattern", "vm.swappiness", "kernel", "net", "user.a.b", "fs.mqueue"],
            ),
        ] {
            for name in names {
                assert_eq!(owner(name), owner_of, "{name}");
            }
        }
        assert_eq!(Setting::parse("kernel.pid_max").unwrap().owner_on((6, 13)), Owner::Host);
    }
}
