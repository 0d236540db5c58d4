//! `exec`: another process in a container that runs.

use std::path::PathBuf;
use std::process::ExitCode;

use runtime::Result;
use runtime::oci::{self, Asked, Below, Exec, Foreground, Override, Protected};

use super::context::{Context, Named};
use super::create::{stand_for, streams};

/// Run another program in a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) named: Named,
    /// The program and its arguments, in place of --process
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// A file with the process as config.json has it
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    process: Option<PathBuf>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// The user and, if given, the group, by number
    #[arg(short, long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<(u32, Option<u32>)>,
    /// Further groups, by number
    #[arg(short = 'g', long, value_name = "GID", value_delimiter = ',')]
    additional_gids: Vec<u32>,
    /// The working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set a variable of the environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Add a capability to the bounding, permitted and effective sets; to the ambient one where it is inheritable
    #[arg(short, long, value_name = "NAME")]
    cap: Vec<String>,
    /// The AppArmor profile
    #[arg(long, value_name = "NAME")]
    apparmor: Option<String>,
    /// The SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// No program that it executes gains rights
    #[arg(long)]
    no_new_privs: bool,
    /// The file for its pid
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The socket to which its pidfd is sent
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// The socket to which the terminal's master is sent
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Return when it runs
    #[arg(short, long)]
    detach: bool,
    /// Give the descriptors 3 to N+2 on to the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// A cgroup below the container's to run in; on cgroup v1 of some controllers, where they stand before it
    #[arg(long, value_name = "[CONTROLLER,…:]PATH")]
    cgroup: Vec<String>,
    /// Enter a paused container too: the process waits there
    #[arg(long)]
    ignore_paused: bool,
}

/// `UID` or `UID:GID`, by number: a text is no number, and a number is no name (CVE-2016-3697).
fn user(text: &str) -> std::result::Result<(u32, Option<u32>), String> {
    let id = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let id = text.parse::<u32>().ok().filter(|id| digits && *id <= i32::MAX.cast_unsigned());
        id.ok_or_else(|| format!("`{text}` is no id from 0 to {}", i32::MAX))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

pub(super) fn run(mut args: Args, protected: Protected, context: &Context) -> Result<ExitCode> {
    // First of all, while nothing else has these numbers.
    let preserve = oci::inherited(args.preserve_fds)?;
    // An empty one is none, as callers have it.
    let listed = args.cgroup.iter().filter(|path| !path.is_empty());
    let cgroup: Vec<Below> =
        listed.map(|path| path.parse()).collect::<Result<_>>().map_err(|error| error.context("--cgroup"))?;
    let container = args.named.get(context)?;
    let exec = Exec {
        streams: streams(args.console_socket.take(), !args.detach)?,
        pid_file: args.pid_file.take(),
        pidfd_socket: args.pidfd_socket.take(),
        preserve,
        ignore_paused: args.ignore_paused,
        cgroup,
        asked: match args.process.take() {
            Some(file) => Asked::read(&file, &container)?,
            None => Override {
                args: args.command,
                terminal: args.tty,
                user: args.user,
                additional_gids: args.additional_gids,
                cwd: args.cwd,
                env: args.env,
                capabilities: args.cap,
                apparmor: args.apparmor,
                label: args.process_label,
                no_new_privileges: args.no_new_privs.then_some(true),
            }
            .of(&container)?,
        },
    };
    let foreground = (!args.detach).then(Foreground::open).transpose()?;
    let executed = exec.perform(&container)?;
    // While the program runs.
    drop(protected);
    executed.warnings.iter().for_each(|warning| context.log.warning(warning));
    match foreground {
        None => Ok(ExitCode::SUCCESS),
        Some(foreground) => stand_for(&foreground, &executed.process, executed.terminal.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_in_range() {
        assert_eq!(user("0"), Ok((0, None)));
        assert_eq!(user("1000:100"), Ok((1000, Some(100))));
        for bad in ["", "root", "+1", "-1", "1:", ":1", "4294967295", "2147483648", "0x0", "1:2:3"] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }
}
