//! `podrun create`: pods from manifests.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use runtime::manifest::Pod;
use runtime::{Error, ErrorKind, Result};

use super::bring::{self, Wait};
use super::manifests;
use super::resource::{Resource, resource};
use crate::context::Context;
use crate::exit::Failures;
use crate::print::{ObjectFormat, Printer, called};
use crate::{completion, duration, output};

/// Create pods from manifests and start them
///
/// A manifest is a Kubernetes v1 Pod, JSON or YAML, with any number of documents. All are checked
/// before the first pod is made. `pod/NAME created` is printed when every init container is done and
/// every container is started; a pod that cannot come so far is removed again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podrun create pod.json
  podrun create -f web.yaml -f manifests/ --wait=ready --timeout 60s
  podrun create --dry-run=client -o yaml pod.json
  generate | podrun create -")]
pub(crate) struct Args {
    /// Manifests: files, folders of .json, .yaml and .yml, or - for standard input
    #[arg(value_name = "FILE", required_unless_present = "filename", value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    /// A manifest, as kubectl takes it; may be given several times
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    filename: Vec<PathBuf>,
    /// For none (its network is up), started (init containers done, the others started) or ready
    #[arg(long, value_name = "HOW FAR", value_enum, default_value_t, hide_possible_values = true)]
    wait: Wait,
    /// Give up, and remove the pod, after this time [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,
    #[command(flatten)]
    shown: Shown,
}

/// The way to show created objects, or those of a dry run.
#[derive(Debug, clap::Args)]
pub(crate) struct Shown {
    /// Only check, and print what would be created
    #[arg(long, value_name = "client", value_parser = ["client", "none"], num_args = 0..=1, require_equals = true,
          default_missing_value = "client", hide_possible_values = true)]
    dry_run: Option<String>,
    /// json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT", add = completion::words(&["json", "yaml", "name", "jsonpath="]))]
    output: Option<ObjectFormat>,
}

impl Shown {
    /// Whether nothing is to be made.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run.as_deref() == Some("client")
    }

    /// Prints the pod that was made, or would be.
    pub(crate) fn print(&self, printer: &mut Printer, pod: &Pod) -> Result<()> {
        match &self.output {
            Some(format) => printer.object(format, pod),
            None => {
                let dry = if self.is_dry_run() { " (dry run)" } else { "" };
                output::line(format_args!("{} created{dry}", called(pod)))
            }
        }
    }
}

impl Args {
    /// Whether the host is left alone, so that a plain user may.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.shown.is_dry_run()
    }
}

/// Refuses a word that kubectl takes for a resource, as in `create configmap x`, with its meaning here.
fn refuse_resource(word: &Path) -> Result<()> {
    let error = || Error::failed(format!("{}: no such file", word.display()));
    match word.to_str().and_then(resource) {
        Some(Resource::Pods) => {
            Err(error().hint("`podrun run NAME --image=IMAGE` makes a pod without a manifest"))
        }
        Some(Resource::Other(instead)) => Err(error().hint(instead)),
        None => Ok(()),
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    if let Some(first) = args.files.first().filter(|first| !first.exists()) {
        refuse_resource(first)?;
    }
    let sources: Vec<PathBuf> = args.files.iter().chain(&args.filename).cloned().collect();
    let pods = manifests::read(&sources, context.given_namespace.as_deref())?;
    let mut printer = Printer::default();
    if args.is_dry_run() {
        pods.iter().try_for_each(|pod| args.shown.print(&mut printer, pod))?;
        return Ok(ExitCode::SUCCESS);
    }
    // With several pods one that fails does not keep the others from coming up, as with kubectl.
    let mut failures = Failures::default();
    for mut pod in pods {
        let made = bring::up(context, &mut pod, args.wait, args.timeout, None).map_err(bring::own_kind);
        match made.and_then(|_| args.shown.print(&mut printer, &pod)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted || output::is_closed() => return Err(error),
            Err(error) => failures.add(error),
        }
    }
    failures.result()
}
