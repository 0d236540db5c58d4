//! Everything on a host that podrun could leave behind, as one sorted list of lines: processes, mounts,
//! namespaces, cgroups, links, addresses, routes, nft rules, sysctls, files.
//!
//! Two footprints are compared line by line, so that a failing test names what stayed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::deadline::wait_for;
use crate::host::Host;

/// What there is on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    /// What there is on `host` now.
    pub fn of(host: &Host) -> Result<Self> {
        let mut lines = BTreeSet::new();
        processes(host, &mut lines)?;
        mounts(host, &mut lines)?;
        cgroups(host, &mut lines)?;
        network(host, &mut lines)?;
        sysctls(host, &mut lines)?;
        files(host, &mut lines)?;
        Ok(Self(lines))
    }

    /// The lines that only one of both has, `-` for those of `before`, `+` for those of `self`.
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let gone = before.0.difference(&self.0).map(|line| format!("- {line}"));
        gone.chain(self.0.difference(&before.0).map(|line| format!("+ {line}"))).collect()
    }

    /// The lines of one kind, for example `mount`.
    pub fn of_kind(&self, kind: &str) -> Vec<&str> {
        let kind = format!("{kind} ");
        self.0.iter().filter_map(|line| line.strip_prefix(&kind)).collect()
    }

    /// Waits until the host is again as it was; what goes by itself, as links do, has its time.
    pub fn wait_until_restored(&self, host: &Host) -> Result<()> {
        wait_for("the host is not as it was before the test", || {
            let changes = Self::of(host)?.changes_since(self);
            if changes.is_empty() {
                return Ok(());
            }
            bail!("{}", changes.join("\n"))
        })
    }
}

/// Processes, and the namespaces that they are in or hold by a descriptor.
fn processes(host: &Host, lines: &mut BTreeSet<String>) -> Result<()> {
    let proc = host.proc();
    for entry in std::fs::read_dir(&proc)? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let folder = entry.path();
        // A process may end while it is looked at.
        let Ok(command) = std::fs::read(folder.join("cmdline")) else { continue };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let state = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
        let zombie = if state.contains(") Z ") { " (zombie)" } else { "" };
        lines.insert(format!("process {pid} {}{zombie}", command.trim_end()));
        for held in ["ns", "fd"] {
            for link in std::fs::read_dir(folder.join(held)).into_iter().flatten().flatten() {
                let target = std::fs::read_link(link.path()).unwrap_or_default();
                let target = target.to_string_lossy();
                let kind = target.split(":[").next().unwrap_or_default();
                if ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].contains(&kind) {
                    lines.insert(format!("namespace {target}"));
                }
            }
        }
    }
    Ok(())
}

/// The mount table, without ids, which the kernel counts up.
fn mounts(host: &Host, lines: &mut BTreeSet<String>) -> Result<()> {
    for line in std::fs::read_to_string(host.path("/proc/1/mountinfo"))?.lines() {
        let fields: Vec<&str> = line.split(' ').skip(2).collect();
        lines.insert(format!("mount {}", fields.join(" ")));
    }
    Ok(())
}

/// The host's own cgroup and all below, in every hierarchy.
fn cgroups(host: &Host, lines: &mut BTreeSet<String>) -> Result<()> {
    for parent in host.cgroup_folders()? {
        let mut open = vec![parent];
        while let Some(folder) = open.pop() {
            let below = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            open.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
            if folder.is_dir() {
                lines.insert(format!("cgroup {}", folder.display()));
            }
        }
    }
    Ok(())
}

fn network(host: &Host, lines: &mut BTreeSet<String>) -> Result<()> {
    let questions: [(&str, &str, &[&str]); 5] = [
        ("link", "ip", &["-o", "-d", "link"]),
        ("address", "ip", &["-o", "address"]),
        ("route", "ip", &["route", "show", "table", "all"]),
        ("route6", "ip", &["-6", "route", "show", "table", "all"]),
        ("nft", "nft", &["list", "ruleset"]),
    ];
    for (kind, program, arguments) in questions {
        for line in host.run(program, arguments)?.ok()?.lines() {
            lines.insert(format!("{kind} {line}"));
        }
    }
    Ok(())
}

/// The sysctls of the host's namespaces, read from inside since they show the reader's.
fn sysctls(host: &Host, lines: &mut BTreeSet<String>) -> Result<()> {
    const READ: &str = "cd /proc/sys; find net fs/mqueue kernel/shm* kernel/sem kernel/msg* kernel/hostname \
        kernel/domainname -type f -readable ! -name stable_secret ! -name tcp_fastopen_key \
        ! -name nf_conntrack_count -print0 | xargs -0 grep -s -H ''; :";
    for line in host.run("sh", &["-c", READ])?.ok()?.lines() {
        lines.insert(format!("sysctl {line}"));
    }
    Ok(())
}

/// Files in the state trees and in /run. Images and compiled filters may stay with what the store keeps for all, and so may empty
/// locks and the folders that hold records.
fn files(host: &Host, lines: &mut BTreeSet<String>) -> Result<()> {
    let trees = [host.root(), host.state_dir(), host.log_dir(), host.path("/run")];
    for (tree, name) in trees.iter().zip(["root", "state", "log", "/run"]) {
        walk(tree, tree, name, lines)?;
    }
    Ok(())
}

fn walk(tree: &Path, folder: &Path, name: &str, lines: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("`{}`", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        let below = path.strip_prefix(tree)?.to_string_lossy().into_owned();
        let kept = ["content", "images", "layers", "layout.json", "mountpoints", "filters"];
        if name == "root" && kept.contains(&below.as_str()) || name == "state" && below == "oci/.seccomp" {
            continue;
        }
        let kind = entry.file_type()?;
        let is_lock = below.ends_with("lock") && entry.metadata()?.len() == 0;
        if kind.is_dir() {
            // A namespace's folder of names stays, as `names` itself does.
            if below.contains('/') && !(name == "root" && below.starts_with("names/")) {
                lines.insert(format!("folder {name}/{below}"));
            }
            walk(tree, &path, name, lines)?;
        } else if !is_lock && below != "boot_id" {
            lines.insert(format!("file {name}/{below}"));
        }
    }
    Ok(())
}
