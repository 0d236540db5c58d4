//! `podrun ns`: who shares which namespace, as a table.
//!
//! A namespace has one letter wherever it appears, and the host's are `*`; the legend gives the inodes.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use runtime::pod::namespaces::{self, KINDS, Part, Row};
use runtime::policy::store::PodEntry;
use runtime::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::target;
use crate::completion;
use crate::context::Context;
use crate::output;
use crate::table::Table;

/// Show who shares which namespace
///
/// Each namespace has a letter; the host's own are marked *. PID is the process on the host, INSIDE the
/// same process in its own PID namespace: `nsenter --target PID --net` enters it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun ns web
  podrun ns --all
  podrun ns web -o json")]
pub(crate) struct Args {
    /// The pods
    #[arg(value_name = "POD", add = ArgValueCompleter::new(completion::pods))]
    words: Vec<String>,
    /// All pods of the namespace, side by side
    #[arg(long)]
    all: bool,
    /// json
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json"], hide_possible_values = true)]
    output: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let names = target::names(context, &args.words)?;
    target::refuse_names_beside(&names, args.all, "--all")?;
    let entries: Vec<PodEntry> = if args.all {
        target::all(context, false, None)?
    } else if names.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "no pod is named").hint("name pods, or say --all"));
    } else {
        names.iter().map(|name| target::find(context, name)).collect::<Result<_>>()?
    };
    let host = namespaces::of_host()?;
    let mut pods = Vec::new();
    for entry in &entries {
        let rows = namespaces::of_pod(&context.host, &entry.id, entry.containers())?;
        if rows.is_empty() && !args.all {
            return Err(Error::failed(format!(
                "pod {:?} does not run: it has no namespaces any more",
                entry.name
            )));
        }
        pods.push((entry, rows));
    }
    match args.output {
        Some(_) => output::json(&format!("{:#}", as_json(&host, &pods)))?,
        None => output::text(as_table(&host, &pods))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The letters of the namespaces, in the order in which they are met.
struct Letters<'r> {
    host: &'r Row,
    /// Kind, inode, and who is in it.
    met: Vec<(&'static str, u64, Vec<String>)>,
}

impl Letters<'_> {
    fn cell(&mut self, column: usize, inode: Option<u64>, who: &str) -> String {
        let Some(inode) = inode else { return "-".into() };
        if self.host.inodes[column] == Some(inode) {
            return "*".into();
        }
        let index = self.met.iter().position(|(_, known, _)| *known == inode).unwrap_or_else(|| {
            self.met.push((KINDS[column], inode, Vec::new()));
            self.met.len() - 1
        });
        self.met[index].2.push(who.into());
        letter(index)
    }
}

/// A, B … Z, AA, AB …
fn letter(index: usize) -> String {
    let last = char::from(b'A' + u8::try_from(index % 26).unwrap_or_default());
    if index < 26 { last.into() } else { format!("{}{last}", letter(index / 26 - 1)) }
}

fn name(entry: &PodEntry, row: &Row) -> String {
    match row.part {
        Part::Host => "host".into(),
        Part::Monitor => format!("{} (monitor)", entry.name),
        Part::Init => format!("{} (init)", entry.name),
        Part::Container => format!("{}/{}", entry.name, row.container),
    }
}

/// A pid, where it is known.
fn pid(pid: i32) -> String {
    if pid == 0 { "-".into() } else { pid.to_string() }
}

fn as_table(host: &Row, pods: &[(&PodEntry, Vec<Row>)]) -> String {
    let header = ["NAME", "PID", "INSIDE"].into_iter().map(str::to_owned);
    let mut table = Table::new(header.chain(KINDS.iter().map(|kind| kind.to_uppercase())));
    let mut letters = Letters { host, met: Vec::new() };
    let mut row = |name: String, row: &Row| {
        let mut cells = vec![name.clone(), pid(row.pid), pid(row.pid_inside)];
        cells
            .extend(row.inodes.iter().enumerate().map(|(column, inode)| letters.cell(column, *inode, &name)));
        table.row(cells);
    };
    row("host".into(), host);
    for (entry, rows) in pods {
        rows.iter().for_each(|one| row(name(entry, one), one));
    }
    let mut text = table.render(true);
    text.push('\n');
    let mut legend = Table::new(["", "NAMESPACE", "WHO"]);
    for (index, (kind, inode, who)) in letters.met.iter().enumerate() {
        let rest = if who.len() > 1 { "shared by " } else { "only " };
        legend.row([letter(index), format!("{kind}:[{inode}]"), format!("{rest}{}", who.join(", "))]);
    }
    legend.row(["*", "the host's", ""]);
    text.push_str(&legend.render(false));
    text
}

fn as_json(host: &Row, pods: &[(&PodEntry, Vec<Row>)]) -> Value {
    let mut users: BTreeMap<u64, usize> = BTreeMap::new();
    for inode in pods.iter().flat_map(|(_, rows)| rows).flat_map(|row| row.inodes).flatten() {
        *users.entry(inode).or_default() += 1;
    }
    let namespaces = |row: &Row| -> Map<String, Value> {
        let column = |(index, kind): (usize, &&str)| {
            let inode = row.inodes[index]?;
            let owner = if host.inodes[index] == Some(inode) {
                "host"
            } else if users.get(&inode).is_some_and(|count| *count > 1) {
                "shared"
            } else {
                "own"
            };
            Some(((*kind).to_owned(), json!({"inode": inode, "of": owner})))
        };
        KINDS.iter().enumerate().filter_map(column).collect()
    };
    let process = |row: &Row| {
        let part = format!("{:?}", row.part).to_lowercase();
        let mut value = json!({"part": part, "namespaces": namespaces(row)});
        if row.pid != 0 {
            value["pid"] = json!(row.pid);
            value["pidInside"] = json!(row.pid_inside);
        }
        if row.part == Part::Container {
            value["container"] = json!(row.container);
        }
        value
    };
    let pods: Vec<Value> = pods
        .iter()
        .map(|(entry, rows)| {
            let processes: Vec<Value> = rows.iter().map(process).collect();
            json!({"name": entry.name, "namespace": entry.namespace, "id": entry.id, "processes": processes})
        })
        .collect();
    json!({"host": process(host), "pods": pods})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 27, 52].map(letter), ["A", "Z", "AA", "AB", "BA"]);
    }
}
