//! `podrun logs`: what containers wrote, from the files that the monitor keeps.
//!
//! Needs no monitor. With `-f` it goes on into each next attempt, and ends when none can follow.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;
use runtime::manifest::{Container, ContainerState, Pod, PodPhase, RestartPolicy, Time};
use runtime::pod::changes::Changes;
use runtime::pod::logs::{self, Line, Reader};
use runtime::policy;
use runtime::policy::store::{self, PodEntry};
use runtime::{Error, ErrorKind, Result};

use super::target;
use crate::context::Context;
use crate::query::selector::Selector;
use crate::{completion, duration, output};

/// Print what a container wrote
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun logs web
  podrun logs -f web -c sidecar --tail 20
  podrun logs web --all-containers --prefix --timestamps
  podrun logs -l app=web --prefix --tail 5
  podrun logs -p crashing")]
pub(crate) struct Args {
    /// The pod
    #[arg(value_name = "POD", required_unless_present = "selector", conflicts_with = "selector",
          add = ArgValueCompleter::new(completion::pods))]
    pod: Option<String>,
    /// The container [default: the pod's default or first one]
    #[arg(value_name = "CONTAINER", conflicts_with = "container",
          add = ArgValueCompleter::new(completion::containers))]
    positional: Option<String>,
    /// The container
    #[arg(short, long, value_name = "NAME", add = ArgValueCompleter::new(completion::containers))]
    container: Option<String>,
    /// Go on as more is written, into the container's next attempts too
    #[arg(short, long)]
    follow: bool,
    /// The attempt before the current one
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// The pods with these labels: app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<Selector>,
    /// The last lines only [default: all; with -l 10 of each container; -1 is all]
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Only what is newer than this: 30s, 5m, 1h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Only what is not older than this: 2026-11-23T20:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "since")]
    since_time: Option<String>,
    /// Put the time in front of each line
    #[arg(long)]
    timestamps: bool,
    /// All containers, the init containers too
    #[arg(long, conflicts_with_all = ["container", "positional"])]
    all_containers: bool,
    /// Put [pod/NAME/CONTAINER] in front of each line
    #[arg(long)]
    prefix: bool,
}

/// So many lines of each container are shown where labels choose the pods, as with kubectl.
const SELECTED_TAIL: i64 = 10;

/// A time as the lines write it, without the letter that ends it: what is written later is greater.
fn moment(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no time; write it as 2026-11-23T20:00:00Z, or use --since=5m");
    let time: Time = text.parse().map_err(|_| wrong())?;
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = fraction.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    Ok(format!("{}.{digits}", time.to_string().trim_end_matches('Z')))
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let entries = match (&args.pod, &args.selector) {
        (Some(pod), _) => vec![target::find(context, pod)?],
        (None, selector) => target::all(context, false, selector.as_ref())?,
    };
    if entries.is_empty() {
        output::note(format_args!("No resources found in {} namespace.", context.namespace()));
    }
    let mut sources = Vec::new();
    for entry in &entries {
        let pod = &entry.pod;
        let chosen: Vec<&Container> = if args.all_containers {
            pod.spec.all_containers().collect()
        } else {
            vec![target::container(pod, args.container.as_deref().or(args.positional.as_deref()))?]
        };
        for container in chosen {
            sources.extend(Source::open(args, entry, container)?);
        }
    }
    let mut printer = Printer::new(args);
    if args.follow {
        follow(context, &entries, &mut sources, &mut printer)?;
    } else {
        sources.iter_mut().try_for_each(|source| source.print(&mut printer))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what comes until no container of `sources` can write any more.
fn follow(
    context: &Context,
    entries: &[PodEntry],
    sources: &mut [Source],
    printer: &mut Printer,
) -> Result<()> {
    let mut changes = Changes::new(&context.host, policy::fronts)?;
    for entry in entries {
        changes.follow(&entry.id)?;
    }
    loop {
        // Whether they are over is asked before they are read: what a container wrote last is on disk
        // before its end is.
        let mut writing = BTreeMap::new();
        for entry in entries {
            // The logs of one that was deleted meanwhile have gone with it.
            if let Some(entry) = store::with_id(&context.host, &entry.id)?
                && runtime::pod::store::is_alive(&context.host, &entry.id)?
            {
                writing.insert(entry.id.clone(), entry);
            }
        }
        let is_over =
            |source: &Source| writing.get(&source.pod).is_none_or(|entry| is_over(entry, &source.container));
        let all_over = sources.iter().all(is_over);
        for source in sources.iter_mut() {
            source.print(printer)?;
            source.watched = source.watched || changes.directory(&source.directory)?;
        }
        if all_over {
            return Ok(());
        }
        changes.wait(None)?;
    }
}

/// Whether `container` will not write any more: its pod is over, or it ended and is not restarted.
fn is_over(entry: &PodEntry, container: &str) -> bool {
    let pod = &entry.pod;
    if matches!(pod.status.phase, Some(PodPhase::Succeeded | PodPhase::Failed)) {
        return true;
    }
    let ended = target::status(pod, container).and_then(|status| match &status.state {
        Some(ContainerState::Terminated(ended)) => Some(ended.exit_code),
        _ => None,
    });
    ended.is_some_and(|code| !restarts(pod, container, code))
}

/// Whether a container that ended with `code` is started again.
fn restarts(pod: &Pod, container: &str, code: i32) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let init = pod.spec.init_containers.iter().find(|init| init.name == container);
    match (init, pod.spec.restart_policy) {
        (Some(init), _) if init.restarts_always() => true,
        (_, RestartPolicy::Never) => false,
        (None, RestartPolicy::Always) => true,
        (_, RestartPolicy::OnFailure | RestartPolicy::Always) => code != 0,
    }
}

/// One container's log.
struct Source {
    /// The pod's id.
    pod: String,
    container: String,
    label: String,
    directory: PathBuf,
    /// The attempt that is being read, once there is one.
    reading: Option<(u32, Reader)>,
    tail: Option<usize>,
    follow: bool,
    watched: bool,
}

impl Source {
    /// The log to print; `None` where one of several is a container that has not written yet.
    fn open(args: &Args, entry: &PodEntry, container: &Container) -> Result<Option<Self>> {
        let pod = &entry.pod;
        let directory = entry
            .container_logs(&container.name)
            .ok_or_else(|| Error::failed(format!("pod {:?}: {}", pod.metadata.name, pod.status.message)))?;
        let tail = args.tail.or(args.selector.as_ref().map(|_| SELECTED_TAIL));
        let mut source = Self {
            pod: entry.id.clone(),
            container: container.name.clone(),
            label: format!("[pod/{}/{}] ", pod.metadata.name, container.name),
            directory,
            reading: None,
            tail: tail.and_then(|tail| usize::try_from(tail).ok()),
            follow: args.follow,
            watched: false,
        };
        let attempts = logs::attempts(&source.directory)?;
        let wanted = if args.previous { attempts.iter().rev().nth(1) } else { attempts.last() };
        match wanted {
            Some(attempt) => {
                source.reading = Some((*attempt, Reader::open(&source.directory, *attempt, source.tail)?));
            }
            None if args.follow => {}
            // Of several the others are shown.
            None if args.all_containers || args.selector.is_some() => return Ok(None),
            None if args.previous => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "previous terminated container {:?} in pod {:?} not found",
                        container.name, pod.metadata.name
                    ),
                ));
            }
            None => {
                let reason = target::status(pod, &container.name).and_then(|status| match &status.state {
                    Some(ContainerState::Waiting(waiting)) => Some(waiting.reason.clone()),
                    _ => None,
                });
                return Err(Error::failed(format!(
                    "container {:?} in pod {:?} is waiting to start: {}",
                    container.name,
                    pod.metadata.name,
                    reason.unwrap_or_else(|| "PodInitializing".into())
                )));
            }
        }
        Ok(Some(source))
    }

    /// Prints all that is there, attempt after attempt.
    fn print(&mut self, printer: &mut Printer) -> Result<()> {
        loop {
            self.read_on(printer)?;
            let current = self.reading.as_ref().map(|(attempt, _)| *attempt);
            let attempts = if self.follow { logs::attempts(&self.directory)? } else { Vec::new() };
            let Some(next) =
                attempts.into_iter().find(|attempt| current.is_none_or(|current| *attempt > current))
            else {
                return printer.flush();
            };
            // What the attempt before wrote last is on disk before the next one begins.
            self.read_on(printer)?;
            if current.is_some_and(|current| current + 1 < next) {
                self.tell_of_lost_lines();
            }
            self.reading = Some((next, Reader::open(&self.directory, next, None)?));
        }
    }

    fn read_on(&mut self, printer: &mut Printer) -> Result<()> {
        if let Some((_, reader)) = &mut self.reading {
            reader.read(|line| printer.line(&self.label, line))?;
            if reader.has_skipped() {
                self.tell_of_lost_lines();
            }
        }
        Ok(())
    }

    /// Of a reader that is slower than the container writes.
    fn tell_of_lost_lines(&self) {
        output::note(format_args!(
            "warning: container {:?}: lines were rotated away before they could be read",
            self.container
        ));
    }
}

/// Lines on their way to standard output.
struct Printer {
    timestamps: bool,
    prefix: bool,
    /// The first moment that is printed, as the lines write it.
    from: Option<String>,
    /// Which source's line is unfinished, by its label.
    partial: BTreeMap<String, bool>,
    buffer: Vec<u8>,
}

/// How much is gathered before it is written.
const BUFFER: usize = 64 << 10;

impl Printer {
    fn new(args: &Args) -> Self {
        let from = args.since.map(|since| {
            let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            Time::from_unix(Time::now().unix().saturating_sub(seconds)).to_string()
        });
        Self {
            timestamps: args.timestamps,
            prefix: args.prefix,
            from: from.map(|time| time.trim_end_matches('Z').to_owned()).or_else(|| args.since_time.clone()),
            partial: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Takes one line of the file; a part of a line is joined to what follows it.
    fn line(&mut self, label: &str, line: &[u8]) -> Result<bool> {
        // What is no log line was not written by the monitor; it is shown as it is.
        let Some(line) = Line::parse(line) else {
            self.buffer.extend_from_slice(line);
            self.buffer.push(b'\n');
            return Ok(true);
        };
        if self.from.as_deref().is_some_and(|from| line.time < from) {
            return Ok(true);
        }
        let goes_on = self.partial.insert(label.into(), line.partial).unwrap_or(false);
        if !goes_on {
            if self.prefix {
                self.buffer.extend_from_slice(label.as_bytes());
            }
            if self.timestamps {
                self.buffer.extend_from_slice(line.time.as_bytes());
                self.buffer.push(b' ');
            }
        }
        self.buffer.extend_from_slice(line.text);
        if !line.partial {
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(&self.buffer).and_then(|()| out.flush()).map_err(output::failed)?;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_as_the_lines_write_it() {
        for (text, wanted) in [
            ("2026-11-23T20:00:00Z", "2026-11-23T20:00:00."),
            ("2026-11-23T22:00:00.25+02:00", "2026-11-23T20:00:00.25"),
            ("2026-11-23T20:00:00.000000001Z", "2026-11-23T20:00:00.000000001"),
        ] {
            assert_eq!(moment(text).as_deref(), Ok(wanted));
        }
        let line = "2026-11-23T20:00:00.000000001Z";
        assert!(
            line >= moment(line).unwrap().as_str()
                && line >= moment("2026-11-23T20:00:00Z").unwrap().as_str()
        );
        assert!(line < moment("2026-11-23T20:00:00.000000002Z").unwrap().as_str());
        for text in ["5m", "2026-11-23", "", "now"] {
            moment(text).unwrap_err();
        }
    }
}
