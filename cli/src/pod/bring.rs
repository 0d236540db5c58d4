//! Bringing pods up, for `create` and `run`: the images, then the pod, with progress on stderr.
//!
//! Invariant: an image that cannot be had is detected before any part of the pod is made.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use runtime::image::{ImageStore, Present, PullOptions, Reason, Reference, Unavailable};
use runtime::manifest::{Container, ImagePullPolicy, Pod};
use runtime::policy::WaitFor;
use runtime::policy::launch::{self, Options, Ready, Up};
use runtime::{Error, ErrorKind, Result};

use crate::context::Context;
use crate::image::progress::Shown;
use crate::image::registries;
use crate::output;
use crate::print::called;

/// The values of `--wait`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Wait {
    // Ordinary comments, since clap would spread documented values over the screen.
    // As soon as the pod has its network.
    None,
    // Every init container is done and every container is started.
    #[default]
    Started,
    // Every container is ready.
    Ready,
}

impl From<Wait> for WaitFor {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::None => Self::None,
            Wait::Started => Self::Started,
            Wait::Ready => Self::Ready,
        }
    }
}

/// How often a pod's images are fetched when others remove them meanwhile.
const TRIES: u32 = 8;

/// Whether one of `images` is not in the store, or not whole.
fn are_gone(context: &Context, images: &BTreeMap<String, Ready>) -> bool {
    ImageStore::open(&context.host).is_ok_and(|store| images.values().any(|ready| !store.has(&ready.image)))
}

/// Pulls the images of `pod` and brings it up, its terminals with `window` from the start; its errors name it.
pub(crate) fn up(
    context: &Context,
    pod: &mut Pod,
    wait: Wait,
    timeout: Option<Duration>,
    window: Option<(u16, u16)>,
) -> Result<Up> {
    let deadline = timeout.filter(|timeout| !timeout.is_zero()).map(|timeout| Instant::now() + timeout);
    let called = called(pod);
    let options = Options { wait: wait.into(), deadline, window };
    let mut note = |awaited: &str| output::note(format_args!("{called}: {awaited}"));
    let mut tries = 1;
    let up = loop {
        let images = images(context, pod).map_err(|error| error.context(&called))?;
        let mut made = pod.clone();
        match launch::up(&context.host, &mut made, &images, &options, &mut note) {
            Ok(up) => {
                *pod = made;
                break up;
            }
            // Until the pod has its lease, an image may be removed: it is fetched again, as if it had never been here.
            Err(error) if error.kind() == ErrorKind::Image && tries < TRIES && are_gone(context, &images) => {
                tries += 1;
            }
            // `pods "web" already exists` says it all.
            Err(error) if error.kind() == ErrorKind::Exists => return Err(error),
            Err(error) => return Err(error.context(&called)),
        }
    };
    up.warnings.iter().for_each(|warning| output::note(format_args!("warning: {called}: {warning}")));
    Ok(up)
}

/// 126 and 127 are for verbs that pass a child's code on; a pod that cannot start has failed.
pub(crate) fn own_kind(error: Error) -> Error {
    match error.kind() {
        ErrorKind::CommandNotFound | ErrorKind::CommandNotExecutable => error.with_kind(ErrorKind::Failed),
        _ => error,
    }
}

/// Every container's image, each fetched once as the pull policies ask.
fn images(context: &Context, pod: &Pod) -> Result<BTreeMap<String, Ready>> {
    let store = ImageStore::open(&context.host)?;
    let mut fetched: BTreeMap<String, Ready> = BTreeMap::new();
    let mut images = BTreeMap::new();
    for container in pod.spec.all_containers() {
        let known = fetched.get(&container.image).cloned();
        let ready = match known {
            Some(ready) => ready,
            None => fetch(context, &store, container)
                .map_err(|error| error.context(format_args!("container {:?}", container.name)))?,
        };
        fetched.insert(container.image.clone(), ready.clone());
        images.insert(container.name.clone(), ready);
    }
    Ok(images)
}

fn fetch(context: &Context, store: &ImageStore, container: &Container) -> Result<Ready> {
    let policy = container.image_pull_policy.unwrap_or(ImagePullPolicy::IfNotPresent).into();
    let shown = Shown::new(false);
    let options = PullOptions { access: registries::access(&context.config), ..PullOptions::default() };
    let brought = store.bring(&container.image, (policy, Present::Named), &options, &shown);
    shown.finish();
    let brought = brought.map_err(|Unavailable { reason, error }| match reason {
        Reason::NotFound | Reason::Pull => error.hint("an image in a file is loaded by `podrun load FILE`"),
        Reason::InvalidName | Reason::NeverPull | Reason::Inspect => error,
    })?;
    let name = container.image.parse::<Reference>()?.to_string();
    let pulled_millis = brought.pulled.and_then(|took| u64::try_from(took.as_millis()).ok());
    Ok(Ready { image: brought.image, name, pulled_millis })
}
