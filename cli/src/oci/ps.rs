//! `ps`: a container's processes, by the host's `ps` or as a list of pids.

use std::process::{Command, ExitCode};

use runtime::{Error, Result};

use super::context::{Context, Named};
use crate::output;

/// Show the processes of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    named: Named,
    /// The form of the list
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Options for the host's ps(1), of which a PID column is shown
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let pids = args.named.get(context)?.pids()?;
    if args.format == Format::Json {
        let text = serde_json::to_string(&pids).map_err(|error| Error::failed(error.to_string()))?;
        output::line(text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options: &[String] = if args.options.is_empty() { &["-ef".to_owned()] } else { &args.options };
    let shown = Command::new("ps").args(options).output().map_err(|error| {
        Error::from(error).context("ps").hint("the host needs ps(1); or use --format json")
    })?;
    if !shown.status.success() {
        return Err(Error::failed(format!("ps: {}", String::from_utf8_lossy(&shown.stderr).trim_end())));
    }
    output::text(of_these(&String::from_utf8_lossy(&shown.stdout), &pids)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The table's lines that are about `pids`, with its header.
fn of_these(table: &str, pids: &[i32]) -> Result<String> {
    let header = table.lines().next().unwrap_or_default();
    let Some(column) = header.split_whitespace().position(|name| name == "PID") else {
        return Err(Error::failed("ps shows no column PID").hint("choose options that show it, like -ef"));
    };
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    let lines = std::iter::once(header).chain(table.lines().skip(1).filter(is_ours));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_their_pid_column() {
        let table = "UID PID CMD\nroot 1 init 7\nroot 7 sh\n";
        assert_eq!(of_these(table, &[7]).unwrap(), "UID PID CMD\nroot 7 sh\n");
        assert!(of_these("CMD\nsh\n", &[7]).is_err());
    }
}
