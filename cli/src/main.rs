//! podrun's command line: parse, dispatch, print the error once, choose the exit code.
//!
//! Keeps no state of its own. A verb is one module with an `Args` struct and a `run`; `args` lists them all,
//! and this file knows none of them.
//!
//! Files use each other one way: main, line and usage, args, the verbs (`pod`, `image`, man …), completion, and
//! below them files that know no verb (context, print, query, output …). `oci` is a command line of its own
//! beside args.

use std::process::ExitCode;

use clap::CommandFactory as _;

mod args;
mod completion;
mod config;
mod context;
mod doctor;
mod duration;
mod elastic;
mod exit;
mod flags;
mod help;
mod image;
mod line;
mod man;
mod missing;
mod oci;
mod output;
mod pod;
mod print;
mod query;
mod table;
mod usage;
mod version;

fn main() -> ExitCode {
    if let Some(code) = monitor() {
        return code;
    }
    if let Some(arguments) = oci::asked(std::env::args_os()) {
        return oci::main(&arguments);
    }
    if completion::answer(args::Cli::command) {
        return ExitCode::SUCCESS;
    }
    let parsed = match line::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    match parsed.run() {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

/// The hidden verb `monitor ID`, which only this program calls: a pod's own process. It comes first of all, since it
/// lives as long as the pod and must hold nothing that the command line needs.
fn monitor() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != "monitor" {
        return None;
    }
    // The error is in the pod's folder: this process has no stream for it.
    Some(
        runtime::pod::monitor::run(&arguments.next()?, runtime::policy::fronts)
            .map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
    )
}
