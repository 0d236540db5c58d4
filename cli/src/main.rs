//! podrun's command line: parse, dispatch, print the error once, choose the exit code.
//!
//! Keeps no state of its own. A verb is one module with an `Args` struct and a `run`; this file
//! knows none of them, `args` lists them all.

use std::process::ExitCode;

mod args;
mod completion;
mod config;
mod doctor;
mod duration;
mod exit;
mod image;
mod missing;
mod output;
mod pod;
mod query;
mod table;
mod version;

fn main() -> ExitCode {
    if completion::answer() {
        return ExitCode::SUCCESS;
    }
    let parsed = match args::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    match parsed.run() {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}
