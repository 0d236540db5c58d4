//! The texts of a pod's /etc/hosts, /etc/hostname and /etc/resolv.conf, as a kubelet writes them.
//!
//! Pure: the host's own files are an input, read by [`HostFiles::read`] alone.
//!
//! Invariant: a text made here is within the resolver's limits (three nameservers, 32 search domains, 2048
//! characters), and a warning names every entry left out.

use std::net::IpAddr;
use std::path::Path;

use crate::sys::file::own;

/// The longest file of the host's that is read: lists of hosts to block have some MiB.
const FILE_MAX: u64 = 16 << 20;
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// The domain below which a pod with a `subdomain` has its full name.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// Names that a pod's /etc/hosts gives to an address (`hostAliases`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAlias {
    /// The address.
    pub ip: IpAddr,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// The names in the /etc/hosts of a pod with its own network.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The pod's hostname.
    pub hostname: &'a str,
    /// The manifest's `subdomain`.
    pub subdomain: Option<&'a str>,
    /// The pod's namespace.
    pub namespace: &'a str,
}

impl Names<'_> {
    /// `<hostname>.<subdomain>.<namespace>.svc.cluster.local`, where there is a subdomain.
    pub fn fqdn(&self) -> Option<String> {
        let subdomain = self.subdomain?;
        Some(format!("{}.{subdomain}.{}.svc.{CLUSTER_DOMAIN}", self.hostname, self.namespace))
    }
}

/// The host's own files that a pod's are made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFiles {
    /// The host's name, as the kernel has it.
    pub hostname: String,
    /// /etc/hosts; empty where it is missing.
    pub hosts: String,
    /// /etc/resolv.conf; empty where it is missing.
    pub resolv_conf: String,
    /// /run/systemd/resolve/resolv.conf: the servers behind a stub resolver, where there is one.
    pub resolved: Option<String>,
}

impl HostFiles {
    /// Reads them below `root` (`/`); a file that cannot be read, or has no end, counts as missing.
    pub fn read(root: &Path) -> Self {
        let read = |path: &str| own::read_text(&root.join(path), FILE_MAX).ok();
        Self {
            hostname: read("proc/sys/kernel/hostname").unwrap_or_default().trim_end().to_owned(),
            hosts: read("etc/hosts").unwrap_or_default(),
            resolv_conf: read("etc/resolv.conf").unwrap_or_default(),
            resolved: read("run/systemd/resolve/resolv.conf"),
        }
    }
}

/// /etc/hosts of a pod with a network of its own.
pub fn hosts(names: &Names<'_>, ips: &[IpAddr], aliases: &[HostAlias]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let fqdn = names.fqdn();
    for ip in ips {
        match &fqdn {
            Some(fqdn) => text.push_str(&format!("{ip}\t{fqdn}\t{}\n", names.hostname)),
            None => text.push_str(&format!("{ip}\t{}\n", names.hostname)),
        }
    }
    push_aliases(&mut text, aliases);
    text
}

/// /etc/hosts of a pod on the host's network: the host's, and the aliases.
pub fn hosts_of_host_network(host: &HostFiles, aliases: &[HostAlias]) -> String {
    let mut text = String::from("# Kubernetes-managed hosts file (host network).\n");
    text.push_str(&host.hosts);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    push_aliases(&mut text, aliases);
    text
}

fn push_aliases(text: &mut String, aliases: &[HostAlias]) {
    if aliases.is_empty() {
        return;
    }
    text.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
    }
}

/// /etc/hostname.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// Where a pod's resolver configuration comes from (`dnsPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsPolicy {
    /// The cluster's DNS; where there is no cluster, the host's.
    ClusterFirst,
    /// The same for a pod on the host's network.
    ClusterFirstWithHostNet,
    /// The host's.
    Default,
    /// `dnsConfig` alone.
    None,
}

/// The manifest's `dnsConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Servers, after the policy's.
    pub nameservers: Vec<String>,
    /// Search domains, after the policy's.
    pub searches: Vec<String>,
    /// Options by name; they replace the policy's.
    pub options: Vec<(String, Option<String>)>,
}

/// A text with its warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// The file's text.
    pub text: String,
    /// The entries left out, and why.
    pub warnings: Vec<String>,
}

/// /etc/resolv.conf. A pod on the host's network (`host_network`) may use the host's loopback resolver; on the
/// loopback of any other pod no resolver listens.
pub fn resolv_conf(
    policy: DnsPolicy,
    config: &DnsConfig,
    host: &HostFiles,
    host_network: HostNetwork,
) -> ResolvConf {
    let mut warnings = Vec::new();
    let mut merged = match policy {
        DnsPolicy::None => DnsConfig::default(),
        DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet | DnsPolicy::Default => {
            of_host(host, host_network, &mut warnings)
        }
    };
    merged.nameservers.extend(config.nameservers.iter().cloned());
    merged.searches.extend(config.searches.iter().cloned());
    for option in &config.options {
        merged.options.retain(|(name, _)| *name != option.0);
        merged.options.push(option.clone());
    }
    dedupe(&mut merged.nameservers);
    dedupe(&mut merged.searches);
    limit(&mut merged, &mut warnings);
    ResolvConf { text: render(&merged), warnings }
}

/// Whether a pod uses the host's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostNetwork {
    /// It has one of its own.
    Own,
    /// It is on the host's.
    Shared,
}

/// The host's configuration, as far as a pod can use it.
fn of_host(host: &HostFiles, host_network: HostNetwork, warnings: &mut Vec<String>) -> DnsConfig {
    let own = parse(&host.resolv_conf);
    if host_network == HostNetwork::Shared || !own.nameservers.iter().any(|server| is_loopback(server)) {
        return own;
    }
    let mut behind = match &host.resolved {
        Some(resolved) => parse(resolved),
        None => own,
    };
    behind.nameservers.retain(|server| !is_loopback(server));
    if behind.nameservers.is_empty() {
        warnings.push(
            "the host's nameservers are on its loopback, which a pod does not see; \
             set dnsConfig.nameservers"
                .into(),
        );
    }
    behind
}

fn is_loopback(server: &str) -> bool {
    let address = server.split('%').next().unwrap_or(server);
    address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Reads a resolv.conf(5). The last of `search` and `domain` counts, as in the resolver.
fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with(['#', ';']));
        match words.next() {
            Some("nameserver") => config.nameservers.extend(words.next().map(String::from)),
            Some("search" | "domain") => config.searches = words.map(String::from).collect(),
            Some("options") => config.options.extend(words.map(|word| match word.split_once(':') {
                Some((name, value)) => (name.to_string(), Some(value.to_string())),
                None => (word.to_string(), None),
            })),
            _ => {}
        }
    }
    // `search .` asks for no search list; it must not be joined with others.
    config.searches.retain(|domain| domain != ".");
    config
}

fn dedupe(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|entry| seen.insert(entry.clone()));
}

fn limit(config: &mut DnsConfig, warnings: &mut Vec<String>) {
    if config.nameservers.len() > MAX_NAMESERVERS {
        let left_out = config.nameservers.split_off(MAX_NAMESERVERS).join(", ");
        warnings.push(format!("a resolver takes {MAX_NAMESERVERS} nameservers; left out: {left_out}"));
    }
    let mut chars = 0;
    let kept = config
        .searches
        .iter()
        .take(MAX_SEARCHES)
        .take_while(|domain| {
            chars += domain.len() + usize::from(chars > 0);
            chars <= MAX_SEARCH_CHARS
        })
        .count();
    if kept < config.searches.len() {
        let left_out = config.searches.split_off(kept).join(", ");
        warnings.push(format!(
            "a resolver takes {MAX_SEARCHES} search domains of {MAX_SEARCH_CHARS} characters; \
             left out: {left_out}"
        ));
    }
}

fn render(config: &DnsConfig) -> String {
    let mut text = String::new();
    if !config.searches.is_empty() {
        text.push_str(&format!("search {}\n", config.searches.join(" ")));
    }
    for server in &config.nameservers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !config.options.is_empty() {
        let options: Vec<String> = config
            .options
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            })
            .collect();
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests;
