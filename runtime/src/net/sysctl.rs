//! The host's sysctls that a bridge network needs, and giving them back.
//!
//! /proc/sys/net shows the network namespace of whoever looks, so every function here runs in the
//! host's ([`crate::sys::netns::visit`]).
//!
//! Invariant: a value is changed only after the old one is in the file `sysctls`, one a line
//! (`net/ipv4/ip_forward 0 1`: what it was, what we made it), and given back only if nobody has
//! changed it since.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Result};

const PROC_SYS: &str = "/proc/sys";

/// Whether the kernel has IPv6.
pub(super) fn has_ipv6() -> bool {
    Path::new(PROC_SYS).join("net/ipv6").exists()
}

/// Lets the host route for its pods, remembering in `record` what it did before.
pub(super) fn let_host_route(record: &Path, ipv6: bool) -> Result<()> {
    set(record, "net/ipv4/ip_forward", "1")?;
    if ipv6 && read("net/ipv6/conf/all/forwarding").as_deref() == Some("0") {
        route_ipv6(record)?;
    }
    Ok(())
}

/// A host that routes IPv6 forgets the routes that it learned from router advertisements. Linux 6.17
/// can forward by interface and stay a host; before, advertisements are accepted all the same first.
fn route_ipv6(record: &Path) -> Result<()> {
    let by_interface = read("net/ipv6/conf/default/force_forwarding").is_some();
    for interface in interfaces()? {
        let base = format!("net/ipv6/conf/{interface}");
        if by_interface {
            set_if(record, &format!("{base}/force_forwarding"), "0", "1")?;
        } else {
            set_if(record, &format!("{base}/accept_ra"), "1", "2")?;
        }
    }
    if by_interface { Ok(()) } else { set(record, "net/ipv6/conf/all/forwarding", "1") }
}

/// Every interface, and `default` for those to come.
fn interfaces() -> Result<Vec<String>> {
    let folder = Path::new(PROC_SYS).join("net/ipv6/conf");
    let entries = fs::read_dir(&folder).context(|| format!("read {}", folder.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name != "all" && name != "lo").collect())
}

/// What a bridge of ours wants for itself; it takes these with it when it goes.
pub(super) fn set_for_bridge(bridge: &str, ipv6: bool) -> Result<()> {
    // A connection to 127.0.0.1 that is redirected to a pod comes back over the bridge.
    write(&format!("net/ipv4/conf/{bridge}/route_localnet"), "1")?;
    let disabled = format!("net/ipv6/conf/{bridge}/disable_ipv6");
    if ipv6 && read(&disabled).as_deref() == Some("1") {
        write(&disabled, "0")?;
    }
    Ok(())
}

/// Gives the host back what `record` says it had.
pub(super) fn restore(record: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(record) else { return Ok(()) };
    for line in text.lines().rev() {
        let mut words = line.split(' ');
        let (Some(name), Some(old), Some(new)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        // An interface may have gone meanwhile, and its value with it.
        if read(name).as_deref() == Some(new) {
            write(name, old)?;
        }
    }
    fs::remove_file(record).context(|| format!("unlink {}", record.display()))
}

fn set(record: &Path, name: &str, value: &str) -> Result<()> {
    match read(name) {
        Some(old) if old != value => change(record, name, &old, value),
        _ => Ok(()),
    }
}

fn set_if(record: &Path, name: &str, old: &str, value: &str) -> Result<()> {
    match read(name) {
        Some(found) if found == old => change(record, name, old, value),
        _ => Ok(()),
    }
}

fn change(record: &Path, name: &str, old: &str, value: &str) -> Result<()> {
    fs::File::options()
        .create(true)
        .append(true)
        .open(record)
        .and_then(|mut file| writeln!(file, "{name} {old} {value}"))
        .context(|| format!("write {}", record.display()))?;
    write(name, value)
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
