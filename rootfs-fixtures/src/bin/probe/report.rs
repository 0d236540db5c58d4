//! What this process sees, as JSON: who it is, what it may, and where it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Prints the report.
pub(crate) fn print() -> Result<()> {
    let text = serde_json::to_string_pretty(&report()?)?;
    std::io::stdout().write_all(text.as_bytes())?;
    println!();
    Ok(())
}

fn report() -> Result<Value> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
    };
    let numbers = |name: &str| -> Vec<u64> {
        field(name).split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let capabilities = |name: &str| capability_names(u64::from_str_radix(field(name), 16).unwrap_or(0));
    Ok(json!({
        "pid": std::process::id(),
        "parent": field("PPid").parse::<u64>().unwrap_or(0),
        "uids": numbers("Uid"),
        "gids": numbers("Gid"),
        "groups": numbers("Groups"),
        "umask": field("Umask"),
        "noNewPrivs": field("NoNewPrivs") == "1",
        "seccomp": field("Seccomp").parse::<u64>().unwrap_or(0),
        "capabilities": {
            "effective": capabilities("CapEff"),
            "permitted": capabilities("CapPrm"),
            "inheritable": capabilities("CapInh"),
            "bounding": capabilities("CapBnd"),
            "ambient": capabilities("CapAmb"),
        },
        "arguments": std::env::args().collect::<Vec<_>>(),
        "environment": std::env::vars().collect::<BTreeMap<_, _>>(),
        "cwd": std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
        "hostname": nix::unistd::gethostname()?.to_string_lossy(),
        "namespaces": namespaces(),
        "mounts": mounts(),
        "cgroups": lines("/proc/self/cgroup"),
        "rlimits": rlimits(),
        "descriptors": descriptors(),
        "interfaces": interfaces()?,
        "oomScoreAdj": fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default().trim(),
        "devices": devices(),
        "root": fs::read_dir("/").map(names).unwrap_or_default(),
        "processes": processes(),
        "apparmor": fs::read_to_string("/proc/self/attr/current").unwrap_or_default().trim_end_matches(['\n', '\0']),
    }))
}

fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn names(folder: fs::ReadDir) -> Vec<String> {
    let mut names: Vec<String> =
        folder.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Namespace kinds with their inodes: equal inodes are the same namespace.
fn namespaces() -> BTreeMap<String, u64> {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let inode = |kind: &str| fs::metadata(format!("/proc/self/ns/{kind}")).map(|found| found.ino()).ok();
    kinds.iter().filter_map(|kind| Some(((*kind).to_owned(), inode(kind)?))).collect()
}

fn mounts() -> Vec<Value> {
    let mount = |line: String| {
        let (before, after) = line.split_once(" - ")?;
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        Some(json!({
            "root": before.get(3)?,
            "destination": before.get(4)?,
            "options": before.get(5)?.split(',').collect::<Vec<_>>(),
            "propagation": before[6..],
            "type": after.first()?,
            "source": after.get(1)?,
            "superOptions": after.get(2)?.split(',').collect::<Vec<_>>(),
        }))
    };
    lines("/proc/self/mountinfo").into_iter().filter_map(mount).collect()
}

/// Name, soft and hard limit, as /proc/self/limits words them.
fn rlimits() -> BTreeMap<String, [String; 2]> {
    let limit = |line: &String| {
        let (name, rest) = (line.get(..26)?.trim(), line.get(26..)?);
        let mut words = rest.split_whitespace();
        Some((name.to_owned(), [words.next()?.to_owned(), words.next()?.to_owned()]))
    };
    lines("/proc/self/limits").iter().skip(1).filter_map(limit).collect()
}

/// Open descriptors with what they are, the one that lists them aside.
fn descriptors() -> BTreeMap<String, String> {
    let Ok(folder) = fs::read_dir("/proc/self/fd") else { return BTreeMap::new() };
    let numbers: Vec<String> = names(folder);
    let target = |number: String| {
        let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        Some((number, target.display().to_string()))
    };
    numbers.into_iter().filter_map(target).collect()
}

fn interfaces() -> Result<BTreeMap<String, Value>> {
    let mut found: BTreeMap<String, (bool, Vec<String>)> = BTreeMap::new();
    for one in nix::ifaddrs::getifaddrs()? {
        let up = one.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP);
        let entry = found.entry(one.interface_name).or_insert((up, Vec::new()));
        let Some(address) = one.address else { continue };
        let ip: std::net::IpAddr = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => v4.ip().into(),
            (_, Some(v6)) => v6.ip().into(),
            _ => continue,
        };
        entry.1.push(ip.to_string());
    }
    Ok(found
        .into_iter()
        .map(|(name, (up, addresses))| (name, json!({ "up": up, "addresses": addresses })))
        .collect())
}

/// What stands in /dev: type, numbers and mode of each.
fn devices() -> BTreeMap<String, String> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(folder) = fs::read_dir("/dev") else { return BTreeMap::new() };
    let describe = |name: String| {
        let path = format!("/dev/{name}");
        let found = fs::symlink_metadata(&path).ok()?;
        let kind = found.file_type();
        let text = if kind.is_char_device() || kind.is_block_device() {
            let (major, minor) = (nix::sys::stat::major(found.rdev()), nix::sys::stat::minor(found.rdev()));
            let letter = if kind.is_char_device() { 'c' } else { 'b' };
            format!("{letter} {major}:{minor} {:o}", found.mode() & 0o7777)
        } else if kind.is_symlink() {
            format!("-> {}", fs::read_link(&path).ok()?.display())
        } else {
            format!("{} {:o}", if kind.is_dir() { "d" } else { "f" }, found.mode() & 0o7777)
        };
        Some((name, text))
    };
    names(folder).into_iter().filter_map(describe).collect()
}

/// The processes this one can see, by pid.
fn processes() -> BTreeMap<u32, String> {
    let Ok(folder) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let describe = |name: String| {
        let pid = name.parse().ok()?;
        let command = fs::read(format!("/proc/{name}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned()))
    };
    names(folder).into_iter().filter_map(describe).collect()
}

fn capability_names(set: u64) -> Vec<String> {
    const NAMES: [&str; 41] = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let name = |bit: usize| NAMES.get(bit).map_or_else(|| format!("CAP_{bit}"), |name| (*name).to_owned());
    (0..64).filter(|bit| set & (1 << bit) != 0).map(name).collect()
}
