//! A pod under test: a manifest in one line, events in, actions out as one word each.

use std::collections::BTreeMap;

use crate::manifest::{
    Container, ContainerRestartPolicy, ContainerStatus, ObjectMeta, Pod, PodPhase, PodSpec, RestartPolicy,
    Time,
};
use crate::policy::columns::columns;
use crate::policy::{
    Action, Event, Exit, ImageFact, Moment, PodState, StartFailure, WaitFor, create_progress, observed,
    status, step,
};

/// When every pod under test begins: some moment with a whole second.
pub(super) const BEGIN: Moment = Moment(1_800_000_000_000);

/// A pod from words: `init:a`, `sidecar:b` and plain names for apps.
pub(super) fn pod(policy: RestartPolicy, words: &str) -> Pod {
    let container = |name: &str| Container {
        name: name.into(),
        image: format!("{name}.example/{name}:1"),
        ..Container::default()
    };
    let mut spec = PodSpec { restart_policy: policy, ..PodSpec::default() };
    for word in words.split_whitespace() {
        match word.split_once(':') {
            Some(("init", name)) => spec.init_containers.push(container(name)),
            Some((_, name)) => spec
                .init_containers
                .push(Container { restart_policy: Some(ContainerRestartPolicy::Always), ..container(name) }),
            None => spec.containers.push(container(word)),
        }
    }
    let metadata = ObjectMeta {
        name: "web".into(),
        namespace: "default".into(),
        uid: "11".into(),
        creation_timestamp: Some(BEGIN.into()),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec, ..Pod::default() }
}

/// A pod, its state and its clock.
pub(super) struct Driver {
    pub(super) pod: Pod,
    pub(super) state: PodState,
    pub(super) now: Moment,
}

impl Driver {
    /// The pod before its sandbox is there.
    pub(super) fn new(pod: Pod) -> Self {
        let image =
            |c: &Container| (c.name.clone(), ImageFact { id: "sha256:1".into(), ..ImageFact::default() });
        let images: BTreeMap<_, _> = pod.spec.all_containers().map(image).collect();
        let state = PodState::new(&pod, &images, BEGIN);
        Self { pod, state, now: BEGIN }
    }

    /// The pod with its sandbox ready; its first start is unanswered.
    pub(super) fn ready(policy: RestartPolicy, words: &str) -> Self {
        let mut driver = Self::new(pod(policy, words));
        driver.sandbox_ready();
        driver
    }

    /// The pod with every start answered well, and its init containers done.
    pub(super) fn up(policy: RestartPolicy, words: &str) -> Self {
        let mut driver = Self::ready(policy, words);
        for word in words.split_whitespace() {
            let name = word.rsplit(':').next().unwrap_or(word);
            driver.started(name);
            if word.starts_with("init:") {
                driver.exits(name, 0);
            }
        }
        driver
    }

    /// Feeds an event and returns the actions, in words, without status writes.
    pub(super) fn tell(&mut self, event: Event) -> String {
        let actions = step(&self.pod, &mut self.state, event, self.now);
        let words = actions.iter().filter(|action| **action != Action::WriteStatus).map(word);
        words.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn sandbox_ready(&mut self) -> String {
        self.tell(Event::SandboxReady {
            host_ips: vec!["192.0.2.1".into()],
            pod_ips: vec!["10.87.0.2".into(), "fd10:87::2".into()],
        })
    }

    fn attempt(&self, name: &str) -> u32 {
        self.state.container(name).unwrap().attempts - 1
    }

    pub(super) fn started(&mut self, name: &str) -> String {
        let attempt = self.attempt(name);
        self.tell(Event::Started { container: name.into(), attempt, id: format!("{name}{attempt}") })
    }

    pub(super) fn start_fails(&mut self, name: &str, failure: StartFailure) -> String {
        let attempt = self.attempt(name);
        let message = "execve(\"/nope\"): ENOENT".into();
        self.tell(Event::StartFailed {
            container: name.into(),
            attempt,
            id: Some("ff".into()),
            failure,
            message,
        })
    }

    pub(super) fn exits(&mut self, name: &str, code: i32) -> String {
        let at = self.now;
        self.exits_as(name, Exit { code, at, ..Exit::default() })
    }

    pub(super) fn exits_with_message(&mut self, name: &str, code: i32, message: &str) -> String {
        let at = self.now;
        self.exits_as(name, Exit { code, at, message: message.into(), ..Exit::default() })
    }

    pub(super) fn exits_as(&mut self, name: &str, exit: Exit) -> String {
        let attempt = self.attempt(name);
        self.tell(Event::Exited { container: name.into(), attempt, exit })
    }

    pub(super) fn delete(&mut self, grace_seconds: Option<u64>) -> String {
        self.tell(Event::DeleteRequested { grace_seconds })
    }

    /// Lets time pass and tells of it.
    pub(super) fn after(&mut self, seconds: u64) -> String {
        self.pass(seconds);
        self.tell(Event::Tick)
    }

    /// Lets time pass in silence.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus_seconds(seconds);
    }

    /// Seconds until the pod next wants to be woken.
    pub(super) fn wakes_in(&self) -> Option<u64> {
        self.state.wake_at().map(|at| at.millis_since(self.now) / 1000)
    }

    pub(super) fn phase(&self) -> PodPhase {
        status(&self.pod, &self.state).phase.unwrap()
    }

    pub(super) fn container(&self, name: &str) -> ContainerStatus {
        let status = status(&self.pod, &self.state);
        let mut all = status.init_container_statuses.into_iter().chain(status.container_statuses);
        all.find(|container| container.name == name).unwrap()
    }

    /// A condition as `True Reason message`.
    pub(super) fn condition(&self, kind: &str) -> String {
        let conditions = status(&self.pod, &self.state).conditions;
        let found = conditions.iter().find(|condition| condition.kind == kind).unwrap();
        format!("{:?} {} {}", found.status, found.reason, found.message).trim_end().to_owned()
    }

    /// READY STATUS RESTARTS, as `get pods` shows them.
    pub(super) fn row(&self) -> String {
        let row = columns(&observed(self.pod.clone(), &self.state), Time::from(self.now));
        format!("{} {} {}", row.ready, row.status, row.restarts)
    }

    pub(super) fn progress(&self, wait: WaitFor) -> crate::policy::Progress {
        create_progress(&self.state, wait)
    }

    /// The journal as `Reason container count`, oldest first.
    pub(super) fn journal(&self) -> Vec<String> {
        let line = |entry: &crate::policy::JournalEntry| {
            let container = entry.container.as_deref().unwrap_or("-");
            format!("{} {container} x{}", entry.reason, entry.count)
        };
        self.state.events.entries().iter().map(line).collect()
    }
}

/// An action as `start app#0`.
fn word(action: &Action) -> String {
    match action {
        Action::Start { container, attempt } => format!("start {container}#{attempt}"),
        Action::Stop { container, attempt } => format!("stop {container}#{attempt}"),
        Action::Kill { container, attempt } => format!("kill {container}#{attempt}"),
        Action::WriteStatus => "write".into(),
        Action::StopSandbox => "stop sandbox".into(),
        Action::Finish { remove: false } => "finish".into(),
        Action::Finish { remove: true } => "finish and remove".into(),
    }
}
