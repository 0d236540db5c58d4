//! `list`: every container of a root.

use std::process::ExitCode;

use runtime::error::harmless;
use runtime::oci::State;
use runtime::{Error, Result};

use super::context::Context;
use crate::output;

/// List containers
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The form of the list
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print the ids alone
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let mut states = Vec::new();
    for container in context.store.list()? {
        match container.state() {
            Ok(state) => states.push(state),
            // One that cannot be read must not hide the others.
            Err(error) => {
                context.log.warning(&format!("container `{}`: {}", container.id(), error.message()))
            }
        }
    }
    if args.quiet {
        output::text(states.iter().map(|state| format!("{}\n", state.id)).collect::<String>())?;
    } else if args.format == Format::Json {
        let text = serde_json::to_string(&states).map_err(|error| Error::failed(error.to_string()))?;
        output::json(&text)?;
    } else {
        output::text(table(&states))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Columns as wide as their widest cell and three spaces, twelve at least, as callers know them from runc.
fn table(states: &[State]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |state: &State| {
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.display().to_string(),
            state.created.to_string(),
            state.owner.clone(),
        ]
        // Folders and owners may be called anything.
        .map(|cell| harmless(&cell).into_owned())
    };
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(states.iter().map(row)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count() + 3).max().unwrap_or(0).max(12)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(row.last().map_or("", String::as_str));
        text.push('\n');
    }
    text
}
