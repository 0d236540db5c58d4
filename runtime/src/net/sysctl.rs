//! The sysctls that a bridge network needs, the host's and the pods', and giving the host its own back.
//!
//! /proc/sys/net shows the network namespace of the reading thread, so every function here runs in the
//! namespace that it is about: the host's by [`crate::sys::process::ns::visit_network`].
//!
//! Invariant: a value of the host's is changed only after the old one is in the file `sysctls`, one a line
//! (`net/ipv4/ip_forward 0 1`: the old value, the new value), and restored only if no other program has changed
//! it since.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Result};

const PROC_SYS: &str = "/proc/sys";
const ALL_IPV6: &str = "net/ipv6/conf/all/forwarding";

/// Whether the kernel has IPv6.
pub(super) fn has_ipv6() -> bool {
    Path::new(PROC_SYS).join("net/ipv6").exists()
}

/// A value of the host's, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    name: String,
    old: String,
    new: String,
    /// Whether it is for us to write; else the kernel makes it so when another is given back.
    ours: bool,
}

impl Change {
    fn to(name: impl Into<String>, value: impl FnOnce(&str) -> String) -> Option<Self> {
        let name = name.into();
        let old = read(&name)?;
        let new = value(&old);
        Some(Self { name, old, new, ours: true })
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(str::to_owned);
        Some(Self { name: words.next()?, old: words.next()?, new: words.next()?, ours: true })
    }

    /// The part of the name before the interface's, and that after it.
    fn around_interface(&self) -> Option<(&str, &str)> {
        let (folder, key) = self.name.rsplit_once('/')?;
        let (folder, _) = folder.split_once("/conf/")?;
        Some((folder, key))
    }

    /// Whether it is about interfaces that are yet to come.
    fn is_default(&self) -> bool {
        self.name.contains("/conf/default/")
    }

    /// Whether an interface takes its value from `other` when it comes.
    fn is_inherited_from(&self, other: &Self) -> bool {
        other.is_default() && self.around_interface() == other.around_interface()
    }
}

/// Enables routing for pods, after recording the old values in `record`.
pub(super) fn let_host_route(record: &Path, ipv6: bool) -> Result<()> {
    let mut changes = Vec::new();
    if read("net/ipv4/ip_forward").as_deref() == Some("0") {
        // The kernel sets these with the one for all, and again when that is given back (inet_forward_change).
        changes.extend(kept("net/ipv4/conf/all/accept_redirects", "0", "1"));
        for interface in interfaces("net/ipv4/conf")? {
            changes.extend(kept(&format!("net/ipv4/conf/{interface}/forwarding"), "1", "0"));
        }
        changes.extend(Change::to("net/ipv4/ip_forward", |_| "1".into()));
    }
    if ipv6 && read(ALL_IPV6).as_deref() == Some("0") {
        changes.extend(route_ipv6()?);
    }
    apply(record, &changes)
}

/// A host that routes IPv6 forgets the routes that it learned from router advertisements. Linux 6.17
/// can forward by interface and stay a host; before, advertisements are accepted all the same first.
///
/// An interface that comes later, as a VPN's does, may be the way on which an answer to a pod comes: `default` is set too.
fn route_ipv6() -> Result<Vec<Change>> {
    let by_interface = read("net/ipv6/conf/default/force_forwarding").is_some();
    let mut changes = Vec::new();
    for interface in interfaces("net/ipv6/conf")?.iter().filter(|name| *name != "lo") {
        let base = format!("net/ipv6/conf/{interface}");
        changes.extend(if by_interface {
            Change::to(format!("{base}/force_forwarding"), |_| "1".into())
        } else {
            Change::to(format!("{base}/accept_ra"), |old| if old == "1" { "2".into() } else { old.into() })
        });
        if !by_interface {
            changes.extend(kept(&format!("{base}/forwarding"), "1", "0"));
        }
    }
    if !by_interface {
        changes.extend(Change::to(ALL_IPV6, |_| "1".into()));
    }
    Ok(changes)
}

/// The change of a sysctl that has the value `old`, and gets `new` when another one is restored.
fn kept(name: &str, old: &str, new: &str) -> Option<Change> {
    let found = read(name).filter(|found| found == old)?;
    Some(Change { name: name.into(), old: found, new: new.into(), ours: false })
}

/// Every interface, and `default` for future ones.
fn interfaces(folder: &str) -> Result<Vec<String>> {
    let folder = path(folder);
    let entries = fs::read_dir(&folder).context(|| format!("read {}", folder.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name != "all").collect())
}

/// Records the changes that are not in `record` yet, then makes them. An interface that appeared later has
/// podrun's value from `default`: it has no value of the host's.
fn apply(record: &Path, changes: &[Change]) -> Result<()> {
    let known = recorded(record);
    let is_known = |change: &&Change| known.iter().any(|known| known.name == change.name);
    let is_ours = |change: &&Change| {
        change.old == change.new && known.iter().any(|known| change.is_inherited_from(known))
    };
    let new: Vec<&Change> = changes.iter().filter(|change| !is_known(change) && !is_ours(change)).collect();
    let lines: String =
        new.iter().map(|change| format!("{} {} {}\n", change.name, change.old, change.new)).collect();
    if !lines.is_empty() {
        let file = fs::File::options().create(true).append(true).open(record);
        file.and_then(|mut file| file.write_all(lines.as_bytes()))
            .context(|| format!("write {}", record.display()))?;
    }
    let mut to_write = changes.iter().filter(|change| change.ours && change.old != change.new);
    to_write.try_for_each(|change| write_to_interface(&change.name, &change.new))
}

fn recorded(record: &Path) -> Vec<Change> {
    let text = fs::read_to_string(record).unwrap_or_default();
    text.lines().filter_map(Change::parse).collect()
}

/// Sets a bridge's own sysctls, which go with it. The bridge is still down.
pub(super) fn set_for_bridge(bridge: &str, ipv6: bool) -> Result<()> {
    // A connection to 127.0.0.1 that is redirected to a pod comes back over the bridge.
    write(&format!("net/ipv4/conf/{bridge}/route_localnet"), "1")?;
    // A pod is no router, whatever it announces (CVE-2020-10749, CVE-2020-13401).
    write(&format!("net/ipv4/conf/{bridge}/accept_redirects"), "0")?;
    if !has_ipv6() {
        return Ok(());
    }
    write(&format!("net/ipv6/conf/{bridge}/accept_ra"), "0")?;
    write(&format!("net/ipv6/conf/{bridge}/accept_redirects"), "0")?;
    let disabled = format!("net/ipv6/conf/{bridge}/disable_ipv6");
    if ipv6 && read(&disabled).as_deref() == Some("1") {
        write(&disabled, "0")?;
    }
    Ok(())
}

/// Keeps links that enter this network namespace, a pod's, from learning routes and addresses from others. IPv4
/// takes a redirect if either `all` or the link does; IPv6 looks at the link alone.
pub(super) fn learn_nothing() -> Result<()> {
    write("net/ipv4/conf/all/accept_redirects", "0")?;
    write("net/ipv4/conf/default/accept_redirects", "0")?;
    if has_ipv6() {
        write("net/ipv6/conf/default/accept_ra", "0")?;
        write("net/ipv6/conf/default/accept_redirects", "0")?;
    }
    Ok(())
}

/// Restores the values in `record`, and gives interfaces that appeared meanwhile the value that they would have
/// had.
pub(super) fn restore(record: &Path) -> Result<()> {
    if !record.exists() {
        return Ok(());
    }
    let changes = recorded(record);
    // In reverse: a sysctl that the kernel changes along with another is set right after that one.
    for change in changes.iter().rev() {
        if change.old != change.new {
            give_back(&change.name, change)?;
        }
    }
    for default in changes.iter().filter(|change| change.is_default() && change.old != change.new) {
        let Some((folder, key)) = default.around_interface() else { continue };
        for interface in interfaces(&format!("{folder}/conf"))? {
            let name = format!("{folder}/conf/{interface}/{key}");
            if changes.iter().all(|change| change.name != name) {
                give_back(&name, default)?;
            }
        }
    }
    fs::remove_file(record).context(|| format!("unlink {}", record.display()))
}

/// Gives `name` its value from before `change`, if it still has the one from after.
fn give_back(name: &str, change: &Change) -> Result<()> {
    if read(name).as_ref() != Some(&change.new) {
        return Ok(());
    }
    write_to_interface(name, &change.old)
}

/// An interface may go at any time, and its values with it: a pod's link, for one.
fn write_to_interface(name: &str, value: &str) -> Result<()> {
    let written = write(name, value);
    if path(name).exists() { written } else { Ok(()) }
}

fn path(name: &str) -> PathBuf {
    Path::new(PROC_SYS).join(name)
}

fn read(name: &str) -> Option<String> {
    Some(fs::read_to_string(path(name)).ok()?.trim_end().to_string())
}

fn write(name: &str, value: &str) -> Result<()> {
    fs::write(path(name), value).context(|| format!("write {value} to {}", path(name).display()))
}
