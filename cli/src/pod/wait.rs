//! `podrun wait`: until a condition holds, a field has a value, or the pod is gone.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use runtime::manifest::Pod;
use runtime::pod::changes::{Changed, Changes};
use runtime::policy;
use runtime::policy::store::{self, PodEntry};
use runtime::{Error, ErrorKind, Result};
use serde_json::Value;

use super::target::{self, Choice, Wanted};
use crate::completion;
use crate::context::Context;
use crate::exit::Failures;
use crate::print;
use crate::query::jsonpath::{Template, plain};
use crate::{duration, output};

/// Wait until pods are as asked
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun wait pod/web --for=condition=Ready --timeout 60s
  podrun wait job --for=jsonpath='{.status.phase}'=Succeeded
  podrun wait web --for=delete")]
pub(crate) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// condition=NAME[=VALUE], jsonpath=PATH[=VALUE] or delete
    #[arg(long = "for", value_name = "WHAT",
          add = completion::words(&["condition=Ready", "condition=ContainersReady", "condition=Initialized",
                                    "condition=PodScheduled", "condition=PodReadyToStartContainers", "delete", "jsonpath="]))]
    goal: Goal,
    /// Give up after this time; 0 asks once, -1s waits for a week
    #[arg(long, value_name = "DURATION", value_parser = limit, default_value = "30s", allow_negative_numbers = true)]
    timeout: Duration,
    /// All pods of the namespace
    #[arg(long, conflicts_with_all = ["selector", "filename"])]
    all: bool,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
enum Goal {
    Delete,
    Condition {
        name: String,
        value: String,
    },
    /// A field has a value, or any.
    Field {
        path: Template,
        value: Option<String>,
    },
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "delete" {
            return Ok(Self::Delete);
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (name, value) = condition.split_once('=').unwrap_or((condition, "True"));
            return Ok(Self::Condition { name: name.into(), value: value.into() });
        }
        let Some(rest) = text.strip_prefix("jsonpath=") else {
            return Err("one of condition=NAME[=VALUE], jsonpath='{PATH}'[=VALUE], delete is wanted".into());
        };
        // The value follows the closing brace: a filter inside has `==` of its own.
        let (path, value) = match rest.rfind('}') {
            Some(end) => (&rest[..=end], rest[end + 1..].strip_prefix('=')),
            None => rest.split_once('=').map_or((rest, None), |(path, value)| (path, Some(value))),
        };
        let path = Template::parse_path(path).map_err(|error| error.to_string())?;
        Ok(Self::Field { path, value: value.map(str::to_owned) })
    }
}

impl Goal {
    fn is_met(&self, pod: &Pod) -> bool {
        match self {
            Self::Delete => false,
            Self::Condition { name, value } => pod.status.conditions.iter().any(|condition| {
                condition.kind.eq_ignore_ascii_case(name)
                    && format!("{:?}", condition.status).eq_ignore_ascii_case(value)
            }),
            Self::Field { path, value } => {
                let object = print::json_of(pod);
                let found = path.select(&object);
                match value {
                    Some(value) => found.iter().any(|one| plain(one) == *value),
                    None => found.iter().any(|one| !matches!(one, Value::Null)),
                }
            }
        }
    }
}

/// A duration; a negative one stands for the week that kubectl takes it for.
fn limit(text: &str) -> Result<Duration, String> {
    match text.strip_prefix('-') {
        Some(rest) => duration::parse(rest).map(|_| Duration::from_secs(7 * 24 * 3600)),
        None => duration::parse(text),
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let deadline = Instant::now() + args.timeout;
    let entries = pods(args, context)?;
    let mut changes = Changes::new(&context.host, policy::fronts)?;
    for entry in &entries {
        // Before it is read: what changes afterwards wakes us.
        changes.follow(&entry.id)?;
    }
    let mut failures = Failures::default();
    let mut waiting: BTreeMap<String, PodEntry> = BTreeMap::new();
    for entry in entries {
        if !is_over(args, context, &entry, &mut failures)? {
            waiting.insert(entry.id.clone(), entry);
        }
    }
    while !waiting.is_empty() {
        let ids: Vec<String> = match changes.wait(Some(deadline))? {
            Some(Changed::Pods(ids)) => ids.into_iter().filter(|id| waiting.contains_key(id)).collect(),
            Some(Changed::Any) => waiting.keys().cloned().collect(),
            None => break,
        };
        for id in ids {
            if is_over(args, context, &waiting[&id], &mut failures)? {
                waiting.remove(&id);
            }
        }
    }
    let mut late: Vec<&str> = waiting.values().map(|entry| entry.name.as_str()).collect();
    late.sort_unstable();
    for name in late {
        let message = format!("timed out waiting for the condition on pods/{name}");
        failures.add(Error::new(ErrorKind::Timeout, message));
    }
    failures.result()
}

fn pods(args: &Args, context: &Context) -> Result<Vec<PodEntry>> {
    let choice = &args.choice;
    let is_deletion = args.goal == Goal::Delete;
    let names = match choice.wanted(context)? {
        Wanted::Named(names) => names,
        Wanted::Selected if !args.all && !choice.selects() && !choice.all_namespaces => {
            return Err(Error::new(ErrorKind::Usage, "no pod is named")
                .hint("name pods, or choose them by -l or --all"));
        }
        selected @ Wanted::Selected => {
            let (chosen, _) = choice.find(context, &selected)?;
            return if chosen.is_empty() && !is_deletion {
                Err(Error::new(ErrorKind::NotFound, "no matching pods found"))
            } else {
                Ok(chosen)
            };
        }
    };
    target::refuse_names_beside(&names, args.all, "--all")?;
    let mut found = Vec::new();
    for (namespace, name) in &names {
        match target::find_in(context, namespace, name) {
            Ok(entry) => found.push(entry),
            // What is gone already is what was waited for.
            Err(error) if error.kind() == ErrorKind::NotFound && is_deletion => {
                output::line(format_args!("pod/{name} condition met"))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Whether the pod has not to be waited for any more: it is as asked, which is said, or never will be.
fn is_over(args: &Args, context: &Context, entry: &PodEntry, failures: &mut Failures) -> Result<bool> {
    let met = match store::with_id(&context.host, &entry.id)? {
        Some(now) => args.goal.is_met(&now.pod),
        None if args.goal == Goal::Delete => true,
        None => {
            let message = format!("pod {:?} was deleted before the condition was met", entry.name);
            failures.add(Error::new(ErrorKind::NotFound, message));
            return Ok(true);
        }
    };
    if met {
        output::line(format_args!("pod/{} condition met", entry.name))?;
    }
    Ok(met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_as_kubectl_reads_them() {
        assert_eq!("delete".parse(), Ok(Goal::Delete));
        let ready = |value: &str| Goal::Condition { name: "Ready".into(), value: value.into() };
        assert_eq!("condition=Ready".parse(), Ok(ready("True")));
        assert_eq!("condition=Ready=false".parse(), Ok(ready("false")));
        for (text, wanted) in [
            ("jsonpath={.status.phase}=Running", Some("Running")),
            (".status.phase", None),
            (r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}=True"#, Some("True")),
            ("jsonpath=.status.podIP", None),
        ] {
            match text.parse::<Goal>() {
                Ok(Goal::Field { value, .. }) => assert_eq!(value.as_deref(), wanted, "{text}"),
                other => assert!(wanted.is_none() && other.is_err(), "{text}: {other:?}"),
            }
        }
    }
}
