//! `podrun describe`: all of a pod for a person, in kubectl's sections, with its events.

use std::fmt::{self, Display, Write as _};
use std::process::ExitCode;

use runtime::error::harmless;
use runtime::host::Host;
use runtime::manifest::{
    Container, ContainerPort, ContainerState, ContainerStatus, Pod, QosClass, ResourceRequirements,
    StorageMedium, StringMap, Time, Volume, VolumeMount, VolumeSource,
};
use runtime::policy::Journal;
use runtime::policy::columns::human_duration;
use runtime::policy::store::PodEntry;
use runtime::{Error, ErrorKind, Result};

use super::target::{self, Choice, Wanted};
use crate::context::Context;
use crate::elastic::align;
use crate::{exit, output};

/// Show all of a pod, with what happened to it
///
/// The word `pods` alone stands for all pods of the namespace.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun describe pod web
  podrun describe pod/web pod/job
  podrun describe pods -l app=web")]
pub(crate) struct Args {
    #[command(flatten)]
    choice: Choice,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let choice = &args.choice;
    let wanted = choice.wanted(context)?;
    let is_selected = matches!(wanted, Wanted::Selected);
    if is_selected && choice.words.is_empty() && !choice.selects() && !choice.all_namespaces {
        return Err(Error::new(ErrorKind::Usage, "no pod is named")
            .hint("name pods, choose by -l, or describe all by `podrun describe pods`"));
    }
    let mut failures = exit::Failures::default();
    let (entries, missing) = choice.find(context, &wanted)?;
    missing.into_iter().for_each(|error| failures.add(error));
    if entries.is_empty() && is_selected {
        choice.note_none(context);
    }
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            output::text("\n\n")?;
        }
        output::text(describe(entry))?;
    }
    failures.result()
}

/// A cell or a line, whatever it quotes.
fn printable(text: impl Display) -> String {
    harmless(&text.to_string()).into_owned()
}

/// Text that grows by indented lines of tab-ended cells.
#[derive(Default)]
struct Page(String);

impl Page {
    /// `name:` and its value, below `indent` spaces.
    fn field(&mut self, indent: usize, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{:indent$}{name}:\t{}", "", printable(value));
    }

    /// A line without cells, which ends the columns above it.
    fn line(&mut self, indent: usize, text: impl Display) {
        let _ = writeln!(self.0, "{:indent$}{}", "", printable(text));
    }

    /// A list below its name, or `<none>` beside it.
    fn list<T: Display>(&mut self, indent: usize, name: &str, items: impl IntoIterator<Item = T>) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return self.field(indent, name, "<none>");
        }
        self.line(indent, format_args!("{name}:"));
        items.for_each(|item| self.line(indent + 2, item));
    }

    /// Labels: the first beside the name, the others below it.
    fn labels(&mut self, name: &str, labels: &StringMap, joint: &str) {
        let mut lines = labels.iter().map(|(key, value)| format!("{key}{joint}{value}"));
        self.field(0, name, lines.next().unwrap_or_else(|| "<none>".into()));
        for line in lines {
            let _ = writeln!(self.0, "\t{}", printable(line));
        }
    }
}

fn describe(entry: &PodEntry) -> String {
    let (pod, mut page) = (&entry.pod, Page::default());
    head(&mut page, entry);
    containers(&mut page, "Init Containers", &pod.spec.init_containers, pod);
    containers(&mut page, "Containers", &pod.spec.containers, pod);
    if !pod.status.conditions.is_empty() {
        page.line(0, "Conditions:");
        let _ = writeln!(page.0, "  Type\tStatus");
        for condition in &pod.status.conditions {
            let _ = writeln!(page.0, "  {}\t{:?}", condition.kind, condition.status);
        }
    }
    volumes(&mut page, &pod.spec.volumes);
    let qos = pod.status.qos_class.map_or("<none>".into(), |class: QosClass| format!("{class:?}"));
    page.field(0, "QoS Class", qos);
    events(&mut page, &entry.journal());
    align(&page.0)
}

fn head(page: &mut Page, entry: &PodEntry) {
    let pod = &entry.pod;
    page.field(0, "Name", &pod.metadata.name);
    page.field(0, "Namespace", &pod.metadata.namespace);
    page.field(0, "ID", &entry.id);
    page.field(0, "Node", format_args!("{}/{}", Host::node_name(), pod.status.host_ip));
    page.field(0, "Start Time", moment(pod.status.start_time));
    page.labels("Labels", &pod.metadata.labels, "=");
    page.labels("Annotations", &pod.metadata.annotations, ": ");
    match (pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds) {
        (Some(when), grace) => {
            page.field(0, "Status", format_args!("Terminating (until {when})"));
            page.field(0, "Termination Grace Period", format_args!("{}s", grace.unwrap_or_default()));
        }
        (None, _) => {
            page.field(0, "Status", pod.status.phase.map_or("Unknown".into(), |phase| format!("{phase:?}")))
        }
    }
    for (name, text) in [("Reason", &pod.status.reason), ("Message", &pod.status.message)] {
        if !text.is_empty() {
            page.field(0, name, text);
        }
    }
    page.field(0, "IP", &pod.status.pod_ip);
    if pod.status.pod_ips.is_empty() {
        page.field(0, "IPs", "<none>");
    } else {
        page.line(0, "IPs:");
        pod.status.pod_ips.iter().for_each(|one| page.field(2, "IP", &one.ip));
    }
}

fn containers(page: &mut Page, title: &str, containers: &[Container], pod: &Pod) {
    if containers.is_empty() {
        return;
    }
    page.line(0, format_args!("{title}:"));
    for container in containers {
        page.line(2, format_args!("{}:", container.name));
        let unknown = ContainerStatus::default();
        let status = target::status(pod, &container.name).unwrap_or(&unknown);
        what_it_is(page, container, status);
        how_it_is(page, container, status);
        what_it_has(page, container);
    }
}

fn what_it_is(page: &mut Page, container: &Container, status: &ContainerStatus) {
    page.field(4, "Container ID", &status.container_id);
    page.field(4, "Image", &container.image);
    page.field(4, "Image ID", &status.image_id);
    let several = if container.ports.len() > 1 { "s" } else { "" };
    let numbers = |number: fn(&ContainerPort) -> u16| {
        let protocol = |port: &ContainerPort| format!("{:?}", port.protocol).to_uppercase();
        let ports = container.ports.iter().map(|port| format!("{}/{}", number(port), protocol(port)));
        let ports: Vec<String> = ports.collect();
        if ports.is_empty() { "<none>".into() } else { ports.join(", ") }
    };
    page.field(4, &format!("Port{several}"), numbers(|port| port.container_port));
    page.field(4, &format!("Host Port{several}"), numbers(|port| port.host_port));
    for (name, words) in [("Command", &container.command), ("Args", &container.args)] {
        if !words.is_empty() {
            page.list(4, name, words.iter().flat_map(|word| word.split('\n')));
        }
    }
}

fn how_it_is(page: &mut Page, container: &Container, status: &ContainerStatus) {
    state(page, "State", status.state.as_ref());
    if status.last_state.is_some() {
        state(page, "Last State", status.last_state.as_ref());
    }
    page.field(4, "Ready", if status.ready { "True" } else { "False" });
    page.field(4, "Restart Count", status.restart_count);
    if container.restarts_always() {
        page.field(4, "Restart Policy", "Always (a sidecar)");
    }
}

fn state(page: &mut Page, name: &str, state: Option<&ContainerState>) {
    let reason = |page: &mut Page, reason: &str, message: &str| {
        for (name, text) in [("Reason", reason), ("Message", message.trim_end())] {
            if !text.is_empty() {
                page.field(6, name, text);
            }
        }
    };
    match state {
        None => page.field(4, name, "Waiting"),
        Some(ContainerState::Waiting(waiting)) => {
            page.field(4, name, "Waiting");
            reason(page, &waiting.reason, &waiting.message);
        }
        Some(ContainerState::Running(running)) => {
            page.field(4, name, "Running");
            page.field(6, "Started", moment(running.started_at));
        }
        Some(ContainerState::Terminated(ended)) => {
            page.field(4, name, "Terminated");
            reason(page, &ended.reason, &ended.message);
            page.field(6, "Exit Code", ended.exit_code);
            if ended.signal != 0 {
                page.field(6, "Signal", ended.signal);
            }
            page.field(6, "Started", moment(ended.started_at));
            page.field(6, "Finished", moment(ended.finished_at));
        }
    }
}

fn what_it_has(page: &mut Page, container: &Container) {
    let ResourceRequirements { limits, requests, .. } = &container.resources;
    for (name, amounts) in [("Limits", limits), ("Requests", requests)] {
        if !amounts.is_empty() {
            page.line(4, format_args!("{name}:"));
            amounts.iter().for_each(|(name, amount)| page.field(6, name, amount));
        }
    }
    if container.env.is_empty() {
        page.field(4, "Environment", "<none>");
    } else {
        page.line(4, "Environment:");
        container.env.iter().for_each(|variable| page.field(6, &variable.name, &variable.value));
    }
    let mut mounts: Vec<&VolumeMount> = container.volume_mounts.iter().collect();
    mounts.sort_by(|left, right| left.mount_path.cmp(&right.mount_path));
    let mounts = mounts.into_iter().map(|mount| {
        let rights = if mount.read_only { "ro" } else { "rw" };
        let below =
            if mount.sub_path.is_empty() { String::new() } else { format!(",path={:?}", mount.sub_path) };
        format!("{} from {} ({rights}{below})", mount.mount_path, mount.name)
    });
    page.list(4, "Mounts", mounts);
}

fn volumes(page: &mut Page, volumes: &[Volume]) {
    if volumes.is_empty() {
        return page.field(0, "Volumes", "<none>");
    }
    page.line(0, "Volumes:");
    for volume in volumes {
        page.line(2, format_args!("{}:", volume.name));
        match &volume.source {
            VolumeSource::EmptyDir(dir) => {
                page.field(4, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
                page.field(4, "Medium", if dir.medium == StorageMedium::Memory { "Memory" } else { "" });
                let limit = dir.size_limit.as_ref().map_or("<unset>".into(), ToString::to_string);
                page.field(4, "SizeLimit", limit);
            }
            VolumeSource::HostPath(host) => {
                page.field(4, "Type", "HostPath (bare host directory volume)");
                page.field(4, "Path", &host.path);
                page.field(4, "HostPathType", HostPathWord(host));
            }
        }
    }
}

/// The type of a hostPath as the manifest spells it.
struct HostPathWord<'a>(&'a runtime::manifest::HostPathVolumeSource);

impl Display for HostPathWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            runtime::manifest::HostPathType::Unset => Ok(()),
            kind => write!(f, "{kind:?}"),
        }
    }
}

fn events(page: &mut Page, journal: &Journal) {
    if journal.entries().is_empty() {
        return page.field(0, "Events", "<none>");
    }
    page.line(0, "Events:");
    let _ = writeln!(page.0, "  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------");
    let now = Time::now();
    let ago = |moment: runtime::policy::Moment| human_duration(now.unix() - Time::from(moment).unix());
    for entry in journal.entries() {
        let age = match entry.count {
            1 => ago(entry.last_at),
            count => format!("{} (x{count} over {})", ago(entry.last_at), ago(entry.first_at)),
        };
        let (kind, reason, message) = (entry.severity, printable(&entry.reason), printable(&entry.message));
        let _ = writeln!(page.0, "  {kind:?}\t{reason}\t{age}\t{}\t{message}", Journal::SOURCE);
    }
}

/// A time as kubectl describes it: RFC 1123 with a numeric zone.
fn moment(time: Option<Time>) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Some(time) = time else { return String::new() };
    // 2026-11-23T21:59:59Z
    let text = time.to_string();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    let day = usize::try_from(time.unix().div_euclid(86_400).rem_euclid(7)).map_or("", |day| DAYS[day]);
    format!("{day}, {} {} {} {} +0000", part(8..10), month.unwrap_or(&""), part(0..4), part(11..19))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_kubectls() {
        assert_eq!(moment(Some(Time::from_unix(0))), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(moment(Some(Time::from_unix(1_795_471_199))), "Mon, 23 Nov 2026 21:59:59 +0000");
        assert_eq!(moment(None), "");
    }
}
