//! `podrun run`: a pod of one container, without a manifest.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap_complete::engine::ArgValueCompleter;
use runtime::manifest::{
    self, Container, ContainerPort, ContainerStatus, EnvVar, ImagePullPolicy, Pod, RestartPolicy,
};
use runtime::pod::client::Client;
use runtime::pod::launch::{self, Grace};
use runtime::pod::logs::{self, Line};
use runtime::pod::session::{self, Ended};
use runtime::policy::launch::Up;
use runtime::policy::store;
use runtime::{Error, ErrorKind, Result};

use super::bring::{self, Wait};
use super::create::Shown;
use super::streams;
use crate::context::Context;
use crate::print::Printer;
use crate::{completion, duration, exit, output};

/// Run an image in a pod of its own
///
/// The arguments replace the image's Cmd, or, with --command, its Entrypoint. With -i or -t the
/// container is attached to, and its exit code is podrun's own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun run web --image=nginx:1.22 --port=80
  podrun run job --image=busybox:1.36 --restart=Never --env=MODE=fast -- echo done
  podrun run shell --image=debian:12 -it --rm --command -- bash
  podrun run web --image=nginx:1.22 --dry-run=client -o yaml")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// The pod's name
    name: String,
    /// The container's image
    #[arg(long, add = ArgValueCompleter::new(completion::images))]
    image: String,
    /// When to pull it [default: Always for the tag latest, else IfNotPresent]
    #[arg(long, value_name = "POLICY", value_parser = policy,
          add = completion::words(&["Always", "IfNotPresent", "Never"]))]
    image_pull_policy: Option<ImagePullPolicy>,
    /// A variable; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<EnvVar>,
    /// A port that the container listens on
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Labels of the pod: app=web,tier=front [default: run=NAME]
    #[arg(short, long, value_name = "LABELS", value_delimiter = ',')]
    labels: Vec<String>,
    /// When it is started again: Always, OnFailure or Never [default: Always; Never with --rm]
    #[arg(long, value_name = "POLICY", value_parser = restart,
          add = completion::words(&["Always", "OnFailure", "Never"]))]
    restart: Option<RestartPolicy>,
    /// The arguments are the program, not its arguments
    #[arg(long)]
    command: bool,
    /// As good as root on the host
    #[arg(long)]
    privileged: bool,
    /// Keep standard input open, and attach to it
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    tty: bool,
    /// Delete the pod once the attached container has ended
    #[arg(long)]
    rm: bool,
    /// Unless attached: for none (its network is up), started or ready
    #[arg(long, value_name = "HOW FAR", value_enum, default_value_t, hide_possible_values = true)]
    wait: Wait,
    /// Give up, and remove the pod, after this time [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
    #[command(flatten)]
    shown: Shown,
    /// Arguments for the container
    #[arg(value_name = "ARGS", last = true)]
    args: Vec<String>,
}

impl Args {
    /// Whether the host is left alone, so that a plain user may.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.shown.is_dry_run()
    }

    /// Whether the container's streams are joined.
    pub(crate) fn attaches(&self) -> bool {
        self.stdin || self.tty
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    if args.tty && !args.stdin {
        let message = "-t gives the container a terminal, and nobody types on it without -i";
        return Err(Error::new(ErrorKind::Usage, message).hint("give -it"));
    }
    if !args.attaches() || args.is_dry_run() {
        return detached(args, context);
    }
    attached(args, context)
}

fn detached(args: &Args, context: &Context) -> Result<ExitCode> {
    if args.rm && !args.attaches() {
        let message = "--rm is for a pod that is attached to";
        return Err(Error::new(ErrorKind::Usage, message).hint("give -i or -it too"));
    }
    let mut pod = pod(args, context)?;
    if !args.is_dry_run() {
        bring::up(context, &mut pod, args.wait, args.timeout, None).map_err(bring::own_kind)?;
    }
    args.shown.print(&mut Printer::default(), &pod)?;
    Ok(ExitCode::SUCCESS)
}

fn attached(args: &Args, context: &Context) -> Result<ExitCode> {
    let mut pod = pod(args, context)?;
    // Without one here, one inside would wait for keys for ever.
    let tty = args.tty && streams::terminal_or_warn();
    if let Some(container) = pod.spec.containers.first_mut() {
        container.tty = tty;
    }
    let window = session::window().filter(|_| tty);
    let mut up = bring::up(context, &mut pod, Wait::Started, args.timeout, window)?;
    let ended = follow(args, context, &mut up, tty);
    let detached = matches!(ended, Ok(None));
    if args.rm && !detached {
        let entry = store::find(&context.host, &up.sandbox.namespace, &up.sandbox.name)?;
        launch::down(&context.host, &entry.id, Grace::default(), None)?;
        launch::tidy(&context.host)?;
        output::note(format_args!("pod \"{}\" deleted", up.sandbox.name));
    }
    ended.map(|code| code.map_or(ExitCode::SUCCESS, exit::of_child))
}

/// Joins the container's streams until it ends; its exit code, or `None` when the user left it.
fn follow(args: &Args, context: &Context, up: &mut Up, tty: bool) -> Result<Option<i32>> {
    let sandbox = &up.sandbox;
    let entry = store::find(&context.host, &sandbox.namespace, &sandbox.name)?;
    let id = entry.pod.status.container_statuses.first().and_then(ContainerStatus::attempt_id);
    let id = id.ok_or_else(|| Error::failed("the pod has no container"))?;
    let exit_code = || runtime::pod::store::exit_code(&context.host, &entry.id, id);
    match up.monitor.attach(id, args.stdin) {
        Ok(ends) => {
            let options = session::Options {
                stdin: args.stdin,
                tty,
                detach: true,
                container: tty.then_some(id),
                ..session::Options::default()
            };
            if streams::join(&mut up.monitor, ends, options, &sandbox.name)? == Ended::Detached {
                return Ok(None);
            }
            until_exit(&mut up.monitor, exit_code).map(Some)
        }
        // A container that was quicker than we are is over, and what it said is in its log.
        Err(error) => {
            let code = exit_code()?.ok_or(error)?;
            entry.container_logs(&args.name).map_or(Ok(()), |logs| print_log(&logs))?;
            Ok(Some(code))
        }
    }
}

/// The exit code of a container whose streams are closed, which may be before its end.
fn until_exit(monitor: &mut Client, exit_code: impl Fn() -> Result<Option<i32>>) -> Result<i32> {
    loop {
        // The monitor tells when it has written that down; and when it is gone, it has.
        let gone = monitor.next(Some(Instant::now())).is_err();
        if let Some(code) = exit_code()? {
            return Ok(code);
        }
        if gone || monitor.next(None).is_err() && exit_code()?.is_none() {
            return Err(Error::failed("the pod's monitor ended unexpectedly"));
        }
    }
}

/// Prints what a container has written, each stream to its own.
fn print_log(directory: &Path) -> Result<()> {
    let Some(attempt) = logs::attempts(directory)?.first().copied() else { return Ok(()) };
    let mut log = logs::Reader::open(directory, attempt, None)?;
    log.read(|line| {
        let Some(line) = Line::parse(line) else { return Ok(true) };
        let end: &[u8] = if line.partial { b"" } else { b"\n" };
        let text = [line.text, end].concat();
        let written = match line.stream {
            "stderr" => std::io::stderr().write_all(&text),
            _ => std::io::stdout().write_all(&text),
        };
        written.map(|()| true).map_err(output::failed)
    })?;
    std::io::stdout().flush().map_err(output::failed)
}

/// The pod that the flags describe, checked as a manifest is.
fn pod(args: &Args, context: &Context) -> Result<Pod> {
    let mut container = Container {
        name: args.name.clone(),
        image: args.image.clone(),
        image_pull_policy: args.image_pull_policy,
        env: args.env.clone(),
        stdin: args.stdin,
        stdin_once: args.stdin,
        tty: args.tty,
        ..Container::default()
    };
    if args.command { &mut container.command } else { &mut container.args }.clone_from(&args.args);
    if let Some(port) = args.port {
        container.ports.push(ContainerPort { container_port: port, ..ContainerPort::default() });
    }
    if args.privileged {
        container.security_context.privileged = Some(true);
    }
    let mut pod = Pod::default();
    pod.metadata.name.clone_from(&args.name);
    if args.labels.is_empty() {
        pod.metadata.labels.insert("run".into(), args.name.clone());
    }
    for label in &args.labels {
        let (key, value) = label.split_once('=').ok_or_else(|| {
            Error::new(ErrorKind::Usage, format!("--labels {label:?}: KEY=VALUE is wanted"))
        })?;
        pod.metadata.labels.insert(key.into(), value.into());
    }
    // A pod that goes when its container ends has no use for a next attempt.
    let unasked = if args.rm { RestartPolicy::Never } else { RestartPolicy::Always };
    pod.spec.restart_policy = args.restart.unwrap_or(unasked);
    pod.spec.containers.push(container);
    manifest::place(&mut pod, context.given_namespace.as_deref())?;
    manifest::default(&mut pod);
    let problems: Vec<String> = manifest::validate(&pod).first.iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(pod) } else { Err(Error::new(ErrorKind::Manifest, problems.join("\n"))) }
}

fn variable(text: &str) -> Result<EnvVar, String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is wanted")?;
    Ok(EnvVar { name: name.into(), value: value.into() })
}

fn policy(text: &str) -> Result<ImagePullPolicy, String> {
    match text {
        "Always" => Ok(ImagePullPolicy::Always),
        "IfNotPresent" => Ok(ImagePullPolicy::IfNotPresent),
        "Never" => Ok(ImagePullPolicy::Never),
        _ => Err("one of Always, IfNotPresent, Never is wanted".into()),
    }
}

fn restart(text: &str) -> Result<RestartPolicy, String> {
    match text {
        "Always" => Ok(RestartPolicy::Always),
        "OnFailure" => Ok(RestartPolicy::OnFailure),
        "Never" => Ok(RestartPolicy::Never),
        _ => Err("one of Always, OnFailure, Never is wanted".into()),
    }
}
