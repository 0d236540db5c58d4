//! Leases of addresses and host ports.
//!
//! The file `leases` is a text, one fact a line, replaced whole under the flock of `lock` beside it.
//! A lock is held for one read and one write (and while a bridge is made, which all wait for).
//!
//! Taking an address needs the lock and room for the file. Giving it back needs neither: a lease lasts as long
//! as its pod has a folder in the state dir, and the next taker, or a check whether a bridge is in use, first
//! collects the others. So a full disk keeps no address and no port, and neither does a process that was killed
//! or that holds the lock.
//!
//! ```text
//! bridge 0 ready                                            its bridge stands; `making`: somebody died over it
//! next 0 58                                                 where the search for a free address begins
//! address 0 57 held prd3b07384d113 default/web              slice, offset, link, pod
//! address 0 56 left pr0beec7b5ea3f default/db               free once the link is gone
//! port TCP 8080 * prd3b07384d113 default/web
//! ```
//!
//! Invariant: an address is given to a pod only if no line holds it and no link of an earlier holder
//! is left, since a dead pod's link answers for some milliseconds.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind as IoErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::attach::link_name;
use super::subnet::{Network, PORTS, Slice};
use super::{PortMap, Protocol};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::lock;
use crate::sys::file::own;

/// More than a network of every size has: 65,536 addresses, each with a line.
const LEASES_MAX: u64 = 64 << 20;

/// How the alias of a bridge begins that is podrun's.
pub(super) const MARK: &str = "podrun: ";
/// `IFALIASZ` without its terminating zero.
const ALIAS_MAX: usize = 255;

/// The network's folder below the state dir.
#[derive(Debug, Clone)]
pub(super) struct LeaseFolder {
    path: PathBuf,
    /// The folder of the pods' folders.
    pods: PathBuf,
}

impl LeaseFolder {
    /// The folder of `network`; it need not exist.
    pub(super) fn new(state_dir: &Path, network: &str) -> Self {
        Self { path: state_dir.join("net").join(network), pods: state_dir.join("pods") }
    }

    /// The host's former sysctls, for the last network to restore.
    pub(super) fn sysctls(&self) -> PathBuf {
        self.above().join("sysctls")
    }

    /// Keeps all other networks from changing the host's sysctls.
    pub(super) fn lock_sysctls(&self) -> Result<File> {
        let above = self.above();
        let folder = File::open(above).context(|| format!("open {}", above.display()))?;
        lock::take(&folder, above, lock::BRIEF)?;
        Ok(folder)
    }

    /// Whether another network has a bridge, whole or half made; one with unreadable leases may have.
    pub(super) fn is_beside_others(&self) -> bool {
        let has_bridge = |other: &Self| other.read().map_or(true, |leases| !leases.slices().is_empty());
        folders(self.above(), &self.pods)
            .map_or(true, |all| all.iter().any(|other| other.path != self.path && has_bridge(other)))
    }

    fn above(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The folder of every network that has leases, whatever the configuration names.
    pub(super) fn all(state_dir: &Path) -> Result<Vec<Self>> {
        folders(&state_dir.join("net"), &state_dir.join("pods"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The alias of this network's bridges, by which they are found when the leases are lost. The end of a path
    /// that is longer than an alias.
    pub(super) fn mark(&self) -> String {
        let path = self.path.display().to_string();
        let start = path.ceil_char_boundary(path.len().saturating_sub(ALIAS_MAX - MARK.len()));
        format!("{MARK}{}", &path[start..])
    }

    /// Whether any pod was ever attached.
    pub(super) fn exists(&self) -> bool {
        self.path("leases").exists()
    }

    /// Completes an interrupted clearing: the leases go first.
    pub(super) fn finish_clearing(&self) -> Result<()> {
        if !self.path.is_dir() {
            return Ok(());
        }
        let locked = self.lock()?;
        // A newcomer has leases by now.
        if self.exists() { Ok(()) } else { locked.clear() }
    }

    /// Locks the leases and reads them; the folder is made where it is missing.
    pub(super) fn lock(&self) -> Result<Locked> {
        self.lock_by(|lock, path| lock::take(lock, path, lock::BRIEF))
    }

    /// Gives back the lease of the pod with `link`, if that needs neither waiting nor disk space. Else it is
    /// collected once the pod has no folder.
    pub(super) fn give_back(&self, link: &str) {
        let at_once = |lock: &File, path: &Path| lock::take(lock, path, Duration::ZERO);
        if let Ok(locked) = self.lock_by(at_once)
            && let Ok(Some(mut locked)) = self.unless_cleared(locked)
            && locked.leases.give_back(link)
        {
            let _ = locked.save();
        }
    }

    /// Locks existing leases, for a caller that takes none; none if there are none.
    pub(super) fn lock_if_there(&self) -> Result<Option<Locked>> {
        if self.exists() { self.unless_cleared(self.lock()?) } else { Ok(None) }
    }

    /// A waiter for the lock recreates the lock file when the last pod's monitor clears it away, and has to
    /// remove it.
    fn unless_cleared(&self, locked: Locked) -> Result<Option<Locked>> {
        if self.exists() { Ok(Some(locked)) } else { locked.clear().map(|()| None) }
    }

    fn lock_by(&self, take: impl Fn(&File, &Path) -> Result<()>) -> Result<Locked> {
        let lock = loop {
            let made = match own::mend(&self.path, own::PRIVATE) {
                Err(error) if error.kind() == IoErrorKind::NotFound => {
                    own::directories(&self.path, own::PRIVATE)
                }
                mended => mended,
            };
            match made {
                // The one above it went with its last network, in between.
                Err(error) if error.kind() == IoErrorKind::NotFound && self.pods.exists() => continue,
                made => made.context(|| format!("mkdir {}", self.path.display()))?,
            }
            let path = self.path("lock");
            let lock = match own::lock_file(&path) {
                // The folder went with its last pod, in between.
                Err(error) if error.kind() == IoErrorKind::NotFound => continue,
                opened => opened.context(|| format!("open {}", path.display()))?,
            };
            take(&lock, &path)?;
            // An unlinked lock excludes no process.
            if lock.metadata().context(|| format!("stat {}", path.display()))?.nlink() > 0 {
                break lock;
            }
        };
        Ok(Locked { leases: self.read()?, folder: self.clone(), _lock: lock })
    }

    /// The leases, as they are at this moment.
    pub(super) fn read(&self) -> Result<Leases> {
        let path = self.path("leases");
        let text = match own::read_text(&path, LEASES_MAX) {
            Err(error) if error.kind() == IoErrorKind::NotFound => String::new(),
            read => read.context(|| format!("read {}", path.display()))?,
        };
        Leases::parse(&text).context(|| path.display().to_string())
    }
}

fn folders(above: &Path, pods: &Path) -> Result<Vec<LeaseFolder>> {
    let listed = match fs::read_dir(above) {
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = listed.context(|| format!("read {}", above.display()))?.into_iter();
    let folders = entries.map(|entry| LeaseFolder { path: entry.path(), pods: pods.to_owned() });
    Ok(folders.filter(LeaseFolder::exists).collect())
}

/// The leases, locked.
#[derive(Debug)]
pub(super) struct Locked {
    pub(super) leases: Leases,
    folder: LeaseFolder,
    _lock: File,
}

impl Locked {
    /// Writes the leases.
    pub(super) fn save(&self) -> Result<()> {
        let path = self.folder.path("leases");
        own::replace(&path, self.leases.render().as_bytes(), own::SECRET)
            .context(|| format!("write {}", path.display()))
    }

    /// Gives back the leases of pods without a folder. A pod's folder exists before its lease, and the listed
    /// leases were made before the lock was taken. If the folders cannot all be listed, none is given back.
    pub(super) fn collect(&mut self) -> Result<()> {
        let path = &self.folder.pods;
        let listed = match fs::read_dir(path) {
            Err(error) if error.kind() == IoErrorKind::NotFound => Ok(Vec::new()),
            entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
        };
        let entries = listed.context(|| format!("read {}", path.display()))?;
        let ids = entries.iter().filter_map(|entry| entry.file_name().into_string().ok());
        let present: HashSet<String> = ids.map(|id| link_name(&id)).collect();
        for link in self.leases.holders() {
            if !present.contains(&link) {
                self.leases.give_back(&link);
            }
        }
        Ok(())
    }

    /// How long ago they were last written.
    pub(super) fn age(&self) -> std::time::Duration {
        fs::metadata(self.folder.path("leases"))
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok())
            .unwrap_or_default()
    }

    /// Removes the leases with their folder. A waiter for the lock finds its name gone and begins anew.
    pub(super) fn clear(self) -> Result<()> {
        for name in ["leases", "leases.new", "sysctls", "lock"] {
            let path = self.folder.path(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == IoErrorKind::NotFound => {}
                removed => removed.context(|| format!("unlink {}", path.display()))?,
            }
        }
        // Another network, or a waiter for this one, may have put a file there.
        let _ = fs::remove_dir(&self.folder.path);
        let _ = self.folder.path.parent().map(fs::remove_dir);
        Ok(())
    }
}

/// How far a bridge is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BridgeState {
    /// Not at all.
    Absent,
    /// The work of a process that did not finish.
    Making,
    /// All of it stands.
    Ready,
}

/// The state of an address that has had a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Held,
    Left,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct AddressLease {
    slice: Slice,
    offset: u32,
    hold: Hold,
    link: String,
    pod: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PortLease {
    protocol: Protocol,
    port: u16,
    host_ip: Option<IpAddr>,
    link: String,
    pod: String,
}

/// Every lease of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leases {
    bridges: Vec<(Slice, BridgeState)>,
    next: Vec<(Slice, u32)>,
    addresses: Vec<AddressLease>,
    ports: Vec<PortLease>,
}

/// The result of [`Leases::take`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// An address, now held.
    Address(Slice, u32),
    /// All that is free still has its last holder's link: soon.
    Soon,
    /// Nothing is free.
    Exhausted,
}

impl Leases {
    /// Takes the next address for the pod with `link`. `gone` says whether a link has disappeared.
    pub(super) fn take(
        &mut self,
        network: &Network,
        link: &str,
        pod: &str,
        mut gone: impl FnMut(&str) -> bool,
    ) -> Taken {
        let mut soon = false;
        for slice in 0..network.slices() {
            let here = || self.addresses.iter().filter(|lease| lease.slice == slice);
            if here().filter(|lease| lease.hold == Hold::Held).count() >= PORTS {
                continue;
            }
            let offsets = network.offsets();
            let mut holders = vec![None; offsets.end as usize];
            for lease in here().filter(|lease| offsets.contains(&lease.offset)) {
                holders[lease.offset as usize] = Some((lease.hold, lease.link.clone()));
            }
            let first = self.next_offset(slice).filter(|next| offsets.contains(next));
            let first = first.unwrap_or(offsets.start);
            for offset in (first..offsets.end).chain(offsets.start..first) {
                let free = match &holders[offset as usize] {
                    None => true,
                    Some((Hold::Held, _)) => continue,
                    Some((Hold::Left, earlier)) => gone(earlier),
                };
                if free {
                    self.hold(slice, offset, link, pod);
                    return Taken::Address(slice, offset);
                }
                soon = true;
            }
        }
        if soon { Taken::Soon } else { Taken::Exhausted }
    }

    fn next_offset(&self, slice: Slice) -> Option<u32> {
        self.next.iter().find(|(of, _)| *of == slice).map(|(_, next)| *next)
    }

    fn hold(&mut self, slice: Slice, offset: u32, link: &str, pod: &str) {
        self.addresses.retain(|lease| (lease.slice, lease.offset) != (slice, offset));
        let (link, pod) = (link.to_string(), one_word(pod));
        self.addresses.push(AddressLease { slice, offset, hold: Hold::Held, link, pod });
        self.next.retain(|(of, _)| *of != slice);
        self.next.push((slice, offset + 1));
    }

    /// Whether the pod with `link` has an address.
    pub(super) fn holds(&self, link: &str) -> bool {
        self.addresses.iter().any(|lease| lease.hold == Hold::Held && lease.link == link)
    }

    /// Takes a host port, or says which pod has it.
    pub(super) fn take_port(&mut self, map: &PortMap, link: &str, pod: &str) -> Result<(), String> {
        let host_ip = map.host_ip;
        let meets = |lease: &PortLease| {
            lease.protocol == map.protocol
                && lease.port == map.host_port
                && match (lease.host_ip, host_ip) {
                    (Some(a), Some(b)) => {
                        let all = a.is_unspecified() || b.is_unspecified();
                        a == b || (all && a.is_ipv4() == b.is_ipv4())
                    }
                    _ => true,
                }
        };
        if let Some(lease) = self.ports.iter().find(|lease| meets(lease)) {
            return Err(lease.pod.clone());
        }
        let (link, pod) = (link.to_string(), one_word(pod));
        self.ports.push(PortLease { protocol: map.protocol, port: map.host_port, host_ip, link, pod });
        Ok(())
    }

    /// The host ports of the pod with `link`, as far as they are known here: not where they lead.
    pub(super) fn ports(&self, link: &str) -> Vec<PortMap> {
        let of_pod = self.ports.iter().filter(|lease| lease.link == link);
        let map = |lease: &PortLease| PortMap {
            host_ip: lease.host_ip,
            host_port: lease.port,
            container_port: 0,
            protocol: lease.protocol,
        };
        of_pod.map(map).collect()
    }

    /// The links of all holders.
    fn holders(&self) -> HashSet<String> {
        let held = self.addresses.iter().filter(|lease| lease.hold == Hold::Held).map(|lease| &lease.link);
        held.chain(self.ports.iter().map(|lease| &lease.link)).cloned().collect()
    }

    /// Gives back all that the pod with `link` has. True: it had something.
    pub(super) fn give_back(&mut self, link: &str) -> bool {
        let ports = self.ports.len();
        self.ports.retain(|lease| lease.link != link);
        let mut had = ports != self.ports.len();
        for lease in self.addresses.iter_mut().filter(|lease| lease.link == link) {
            had |= lease.hold == Hold::Held;
            lease.hold = Hold::Left;
        }
        had
    }

    /// Whether a slice, or with none any, has a pod.
    pub(super) fn used(&self, slice: Option<Slice>) -> bool {
        let in_slice = |lease: &AddressLease| slice.is_none_or(|slice| lease.slice == slice);
        self.addresses.iter().any(|lease| lease.hold == Hold::Held && in_slice(lease))
    }

    /// The slices that have a bridge, whole or half made.
    pub(super) fn slices(&self) -> Vec<Slice> {
        self.bridges.iter().map(|(slice, _)| *slice).collect()
    }

    /// How far a slice's bridge is made.
    pub(super) fn bridge(&self, slice: Slice) -> BridgeState {
        let found = self.bridges.iter().find(|(of, _)| *of == slice);
        found.map_or(BridgeState::Absent, |(_, state)| *state)
    }

    /// Notes how far a slice's bridge is made.
    pub(super) fn set_bridge(&mut self, slice: Slice, state: BridgeState) {
        self.bridges.retain(|(of, _)| *of != slice);
        if state != BridgeState::Absent {
            self.bridges.push((slice, state));
        }
    }

    fn render(&self) -> String {
        let mut text = String::with_capacity(64 * (self.addresses.len() + 2));
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            text.write_fmt(arguments).expect("writing to a string cannot fail");
        };
        for (slice, state) in &self.bridges {
            let state = if *state == BridgeState::Ready { "ready" } else { "making" };
            line(format_args!("bridge {slice} {state}\n"));
        }
        for (slice, next) in &self.next {
            line(format_args!("next {slice} {next}\n"));
        }
        for AddressLease { slice, offset, hold, link, pod } in &self.addresses {
            let hold = if *hold == Hold::Held { "held" } else { "left" };
            line(format_args!("address {slice} {offset} {hold} {link} {pod}\n"));
        }
        for PortLease { protocol, port, host_ip, link, pod } in &self.ports {
            let host_ip = host_ip.map_or("*".to_string(), |ip| ip.to_string());
            line(format_args!("port {protocol} {port} {host_ip} {link} {pod}\n"));
        }
        text
    }

    fn parse(text: &str) -> Result<Self> {
        let mut leases = Self::default();
        for (number, line) in text.lines().enumerate() {
            leases.parse_line(line).ok_or_else(|| {
                Error::new(ErrorKind::Failed, format!("line {}: `{line}` is no lease", number + 1))
            })?;
        }
        Ok(leases)
    }

    fn parse_line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let mut word = || words.next();
        match kind {
            "bridge" => {
                let slice = word()?.parse().ok()?;
                let ready = word()? == "ready";
                self.bridges.push((slice, if ready { BridgeState::Ready } else { BridgeState::Making }));
            }
            "next" => self.next.push((word()?.parse().ok()?, word()?.parse().ok()?)),
            "address" => self.addresses.push(AddressLease {
                slice: word()?.parse().ok()?,
                offset: word()?.parse().ok()?,
                hold: if word()? == "held" { Hold::Held } else { Hold::Left },
                link: word()?.into(),
                pod: word()?.into(),
            }),
            "port" => self.ports.push(PortLease {
                protocol: Protocol::parse(word()?)?,
                port: word()?.parse().ok()?,
                host_ip: match word()? {
                    "*" => None,
                    ip => Some(ip.parse().ok()?),
                },
                link: word()?.into(),
                pod: word()?.into(),
            }),
            _ => return None,
        }
        Some(())
    }
}

/// A name that cannot break a line or a field, whatever a static pod is called.
fn one_word(name: &str) -> String {
    let word: String =
        name.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect();
    if word.is_empty() { "-".into() } else { word }
}

#[cfg(test)]
mod tests;
