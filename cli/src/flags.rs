//! Flags as kubectl and runc read them, by Go's rules.
//!
//! Invariant: help and completion show a command line as it is declared; it is read as these rules change it.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction};

/// The rules of Go's flag packages, which kubectl and runc follow: of a repeated flag the last one counts, and
/// a switch takes `=true` and `=false`.
pub(crate) fn as_go_reads(command: clap::Command) -> clap::Command {
    command.args_override_self(true).mut_args(switch).mut_subcommands(with_switches)
}

fn with_switches(verb: clap::Command) -> clap::Command {
    verb.mut_args(switch).mut_subcommands(with_switches)
}

fn switch(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(boolean())
}

/// The words of Go's strconv.ParseBool.
fn boolean() -> impl TypedValueParser<Value = bool> {
    let yes = PossibleValue::new("true").aliases(["1", "t", "T", "TRUE", "True"]);
    let no = PossibleValue::new("false").aliases(["0", "f", "F", "FALSE", "False"]);
    PossibleValuesParser::new([yes, no]).map(|word| word.starts_with(['1', 't', 'T']))
}
