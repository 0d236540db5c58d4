//! `podrun get`: kubectl's table of pods, and the pods themselves with `-o`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::host::Host;
use runtime::pod::changes::Changes;
use runtime::pod::manifest::{Pod, Time};
use runtime::pod::policy::columns::columns;
use runtime::pod::store::PodEntry;
use runtime::{Error, Result};

use super::print::{self, Format, ObjectFormat, Printer};
use super::target;
use crate::args::Context;
use crate::query::jsonpath::Template;
use crate::query::selector::Selector;
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
  podrun get pods -w")]
pub(crate) struct Args {
    /// Pods by name; a word `pods` before them may be given [default: all]
    #[arg(value_name = "POD", add = ArgValueCompleter::new(completion::pods))]
    words: Vec<String>,
    /// wide, json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT",
          add = completion::words(&["wide", "json", "yaml", "name", "jsonpath="]))]
    output: Option<Format>,
    /// Go on with a row for each change
    #[arg(short, long)]
    watch: bool,
    /// The pods of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only pods with these labels: app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<Selector>,
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
    let names = target::names(&args.words)?;
    target::refuse_names_beside(&names, args.all_namespaces, "-A")?;
    let mut view = View::new(args);
    let (entries, missing) = select(args, context, &names)?;
    match (&args.output, &names[..]) {
        (Some(Format::Object(format)), [_]) => view.objects(format, &entries)?,
        (Some(Format::Object(format)), _) => {
            print::list(format, &entries.iter().map(|entry| &entry.pod).collect::<Vec<_>>())?;
        }
        (Some(Format::Wide) | None, _) => {
            view.rows(&entries)?;
            if entries.is_empty() && missing.is_empty() && !args.watch {
                let place =
                    if args.all_namespaces { "" } else { &format!(" in {} namespace", context.namespace()) };
                output::note(format_args!("No resources found{place}."));
            }
        }
    }
    let mut failures = exit::Failures::default();
    missing.into_iter().filter(|_| !args.ignore_not_found).for_each(|error| failures.add(error));
    failures.result()?;
    if args.watch {
        watch(args, context, &names, &mut view, entries)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The pods that are asked for, in the order that is asked for, and an error for each name that is none.
fn select(args: &Args, context: &Context, names: &[String]) -> Result<(Vec<PodEntry>, Vec<Error>)> {
    let (mut entries, missing) = if names.is_empty() {
        (target::all(context, args.all_namespaces, args.selector.as_ref())?, Vec::new())
    } else {
        target::each(context, names)?
    };
    if let Some(path) = &args.sort_by
        && !sort::sort_by(&mut entries, path, |entry| print::json_of(&entry.pod))
    {
        return Err(Error::failed("--sort-by: none of the pods has this field"));
    }
    Ok((entries, missing))
}

/// Prints each pod anew whenever it has changed. Ends with the user.
fn watch(
    args: &Args,
    context: &Context,
    names: &[String],
    view: &mut View<'_>,
    shown: Vec<PodEntry>,
) -> Result<()> {
    let mut changes = Changes::new(&context.host)?;
    let key = |entry: &PodEntry| (entry.id.clone(), entry.pod.clone());
    let mut known: BTreeMap<String, Pod> = shown.iter().map(key).collect();
    for entry in &shown {
        changes.follow(&entry.id)?;
    }
    loop {
        // Before they are read: what changes afterwards wakes us.
        changes.all()?;
        let (entries, _) = select(args, context, names)?;
        for entry in &entries {
            changes.follow(&entry.id)?;
        }
        let changed: Vec<PodEntry> =
            entries.iter().filter(|entry| known.get(&entry.id) != Some(&entry.pod)).cloned().collect();
        match &args.output {
            Some(Format::Object(format)) => view.objects(format, &changed)?,
            Some(Format::Wide) | None => view.rows(&changed)?,
        }
        known = entries.iter().map(key).collect();
        changes.wait(None)?;
    }
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

    fn header(&self) -> Vec<&'static str> {
        let mut header = Vec::new();
        if self.args.all_namespaces {
            header.push("NAMESPACE");
        }
        header.extend(["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
        if self.wide() {
            header.extend(["IP", "NODE", "NOMINATED NODE", "READINESS GATES"]);
        }
        if self.args.show_labels {
            header.push("LABELS");
        }
        header
    }

    fn row(&self, pod: &Pod) -> Vec<String> {
        let cells = columns(pod, Time::now());
        let mut row = Vec::new();
        if self.args.all_namespaces {
            row.push(pod.metadata.namespace.clone());
        }
        row.extend([pod.metadata.name.clone(), cells.ready, cells.status, cells.restarts, cells.age]);
        if self.wide() {
            let ip = if pod.status.pod_ip.is_empty() { "<none>" } else { &pod.status.pod_ip };
            row.extend([ip.into(), self.node.clone(), "<none>".into(), "<none>".into()]);
        }
        if self.args.show_labels {
            let labels: Vec<String> =
                pod.metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            row.push(if labels.is_empty() { "<none>".into() } else { labels.join(",") });
        }
        row
    }

    fn objects(&mut self, format: &ObjectFormat, entries: &[PodEntry]) -> Result<()> {
        entries.iter().try_for_each(|entry| self.printer.object(format, &entry.pod))
    }

    /// Prints rows, the first time under their header.
    fn rows(&mut self, entries: &[PodEntry]) -> Result<()> {
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
