//! `podrun get`: kubectl's table of pods, and the pods themselves with `-o`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use runtime::host::Host;
use runtime::manifest::{Pod, Time};
use runtime::pod::changes::{Changed, Changes};
use runtime::policy;
use runtime::policy::columns::columns;
use runtime::policy::store::{self, PodEntry};
use runtime::{Error, Result};

use super::target::{Choice, Wanted};
use crate::context::Context;
use crate::print::{self, Format, Printer};
use crate::query::jsonpath::Template;
use crate::query::sort;
use crate::table::Table;
use crate::{completion, exit, output};

/// List pods, or print them with -o
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun get pods
  podrun get pod web -o wide
  podrun get pods -A -l app=web --sort-by .metadata.creationTimestamp
  podrun get pod web -o jsonpath='{.status.podIP}{\"\\n\"}'
  podrun get pods -o custom-columns=NAME:.metadata.name,IP:.status.podIP
  podrun get pods -w")]
pub(crate) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// wide, json, yaml, name, jsonpath=TEMPLATE or custom-columns=HEAD:PATH,...
    #[arg(short, long, value_name = "FORMAT",
          add = completion::words(&["wide", "json", "yaml", "name", "jsonpath=", "custom-columns="]))]
    output: Option<Format>,
    /// Go on with a row for each change
    #[arg(short, long)]
    watch: bool,
    /// A column for the value of each of these labels: app,tier
    #[arg(short = 'L', long, value_name = "LABELS", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// A column for the labels
    #[arg(long)]
    show_labels: bool,
    /// Leave the table's header out
    #[arg(long)]
    no_headers: bool,
    /// Sort by a field, as a jsonpath: .metadata.name
    #[arg(long, value_name = "PATH", value_parser = |text: &str| Template::parse_path(text).map_err(|e| e.to_string()))]
    sort_by: Option<Template>,
    /// No error for a pod that does not exist
    #[arg(long)]
    ignore_not_found: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let wanted = args.choice.wanted(context)?;
    let mut view = View::new(args);
    let (entries, missing) = select(args, context, &wanted)?;
    let is_one = matches!(&wanted, Wanted::Named(names) if names.len() == 1);
    match &args.output {
        Some(Format::Object(format)) if !is_one => {
            print::list(format, &entries.iter().map(|entry| &entry.pod).collect::<Vec<_>>())?;
        }
        _ => view.show(&entries)?,
    }
    let is_table = !matches!(args.output, Some(Format::Object(_)));
    if is_table && entries.is_empty() && missing.is_empty() && !args.watch {
        args.choice.note_none(context);
    }
    let mut failures = exit::Failures::default();
    missing.into_iter().filter(|_| !args.ignore_not_found).for_each(|error| failures.add(error));
    failures.result()?;
    if args.watch {
        watch(args, context, &wanted, &mut view, entries)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The pods that are asked for, in the order that is asked for, and an error for each name that is none.
fn select(args: &Args, context: &Context, wanted: &Wanted) -> Result<(Vec<PodEntry>, Vec<Error>)> {
    let (mut entries, missing) = args.choice.find(context, wanted)?;
    if let Some(path) = &args.sort_by
        && !sort::sort_by(&mut entries, path, |entry| print::json_of(&entry.pod))
    {
        return Err(Error::failed("--sort-by: none of the pods has this field"));
    }
    Ok((entries, missing))
}

/// Prints each pod anew whenever it has changed, and once more when it has gone. Ends with the user.
fn watch(
    args: &Args,
    context: &Context,
    wanted: &Wanted,
    view: &mut View<'_>,
    shown: Vec<PodEntry>,
) -> Result<()> {
    // Watch before reading: later changes wake the loop.
    let mut changes = Changes::of_all(&context.host, policy::fronts)?;
    let mut known: BTreeMap<String, PodEntry> =
        shown.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
    let mut changed = Changed::Any;
    loop {
        let (found, looked_at): (Vec<PodEntry>, BTreeSet<String>) = match (changed, wanted) {
            (Changed::Pods(ids), Wanted::Selected) => {
                let mut found = Vec::new();
                for id in &ids {
                    let entry = store::with_id(&context.host, id)?;
                    found.extend(entry.filter(|entry| args.choice.is_selected(context, entry)));
                }
                (found, ids)
            }
            _ => (args.choice.find(context, wanted)?.0, known.keys().cloned().collect()),
        };
        let there: BTreeSet<&str> = found.iter().map(|entry| &*entry.id).collect();
        let gone = looked_at.iter().filter(|id| !there.contains(id.as_str()));
        let mut news = Vec::new();
        for before in gone.filter_map(|id| known.remove(id)) {
            // One that is selected no more is shown as it is now, once.
            news.push(store::with_id(&context.host, &before.id)?.unwrap_or_else(|| deleted(before)));
        }
        for entry in found {
            if known.get(&entry.id).is_none_or(|before| before.pod != entry.pod) {
                known.insert(entry.id.clone(), entry.clone());
                news.push(entry);
            }
        }
        view.show(&news)?;
        changed = changes.wait(None)?.unwrap_or(Changed::Any);
    }
}

/// A pod as it was last, which is gone by now: as kubectl's, its last row says that it was deleted.
fn deleted(mut entry: PodEntry) -> PodEntry {
    entry.pod.metadata.deletion_timestamp.get_or_insert_with(Time::now);
    entry
}

/// What is printed: the table, which later rows stand under too, or objects.
struct View<'a> {
    args: &'a Args,
    node: String,
    printer: Printer,
    /// The columns' widths, once a first row has been printed.
    widths: Option<Vec<usize>>,
}

impl<'a> View<'a> {
    fn new(args: &'a Args) -> Self {
        Self { args, node: Host::node_name(), printer: Printer::default(), widths: None }
    }

    fn wide(&self) -> bool {
        self.args.output == Some(Format::Wide)
    }

    fn header(&self) -> Vec<String> {
        if let Some(Format::Columns(columns)) = &self.args.output {
            return columns.header();
        }
        let mut header = Vec::new();
        if self.args.choice.all_namespaces {
            header.push("NAMESPACE".into());
        }
        header.extend(["NAME", "READY", "STATUS", "RESTARTS", "AGE"].map(String::from));
        if self.wide() {
            header.extend(["IP", "NODE", "NOMINATED NODE", "READINESS GATES"].map(String::from));
        }
        // As kubectl: of a label with a prefix the name alone.
        let head = |label: &String| label.rsplit('/').next().unwrap_or(label).to_uppercase();
        header.extend(self.args.label_columns.iter().map(head));
        if self.args.show_labels {
            header.push("LABELS".into());
        }
        header
    }

    fn row(&self, pod: &Pod) -> Vec<String> {
        if let Some(Format::Columns(columns)) = &self.args.output {
            return columns.row(&print::json_of(pod));
        }
        let cells = columns(pod, Time::now());
        let mut row = Vec::new();
        if self.args.choice.all_namespaces {
            row.push(pod.metadata.namespace.clone());
        }
        row.extend([pod.metadata.name.clone(), cells.ready, cells.status, cells.restarts, cells.age]);
        if self.wide() {
            let ip = if pod.status.pod_ip.is_empty() { "<none>" } else { &pod.status.pod_ip };
            row.extend([ip.into(), self.node.clone(), "<none>".into(), "<none>".into()]);
        }
        let labels = &pod.metadata.labels;
        row.extend(
            self.args.label_columns.iter().map(|label| labels.get(label).cloned().unwrap_or_default()),
        );
        if self.args.show_labels {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            row.push(if labels.is_empty() { "<none>".into() } else { labels.join(",") });
        }
        row
    }

    /// Prints pods one by one: objects, or rows, the first time under their header.
    fn show(&mut self, entries: &[PodEntry]) -> Result<()> {
        if let Some(Format::Object(format)) = &self.args.output {
            return entries.iter().try_for_each(|entry| self.printer.object(format, &entry.pod));
        }
        if entries.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(self.header());
        for entry in entries {
            table.row(self.row(&entry.pod));
        }
        let first = self.widths.is_none();
        let widths = self.widths.get_or_insert_with(|| table.widths());
        output::text(table.render_with(widths, first && !self.args.no_headers))
    }
}
