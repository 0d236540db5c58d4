//! Thousands of random histories: a world that starts, crashes, ignores and dawdles as it likes, against
//! which every action of the policy is held.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::driver::{BEGIN, pod};
use crate::manifest::{Pod, PodPhase, RestartPolicy};
use crate::policy::{
    Action, Event, Exit, Moment, PodState, Role, Sandbox, StartFailure, WaitFor, create_progress, observed,
    status, step,
};

/// One thing that the world does.
#[derive(Debug, Clone)]
enum Deed {
    /// The unanswered start succeeds.
    Start,
    /// The unanswered start fails thus.
    FailStart(StartFailure),
    /// One of the running containers ends.
    Exit { which: usize, code: i32 },
    /// Time passes.
    Pass { millis: u64 },
    /// The pod's timer fires, however long that takes.
    Fire,
    /// Someone deletes the pod.
    Delete { grace: Option<u64> },
    /// News that no longer fits.
    Stale { which: usize, attempt: u32 },
    /// The state is written and read back.
    Reload,
}

fn deed() -> impl Strategy<Value = Deed> {
    let failure = prop_oneof![
        Just(StartFailure::CreateContainerConfigError),
        Just(StartFailure::CreateContainerError),
        Just(StartFailure::CommandNotFound),
        Just(StartFailure::StartError),
    ];
    let grace = prop_oneof![Just(None), (0_u64..40).prop_map(Some)];
    prop_oneof![
        12 => Just(Deed::Start),
        2 => failure.prop_map(Deed::FailStart),
        8 => (any::<usize>(), prop_oneof![Just(0), Just(1), Just(137)])
            .prop_map(|(which, code)| Deed::Exit { which, code }),
        3 => (0_u64..700_000).prop_map(|millis| Deed::Pass { millis }),
        8 => Just(Deed::Fire),
        1 => grace.prop_map(|grace| Deed::Delete { grace }),
        1 => (any::<usize>(), 0_u32..4).prop_map(|(which, attempt)| Deed::Stale { which, attempt }),
        1 => Just(Deed::Reload),
    ]
}

/// A manifest, as far as it matters here.
#[derive(Debug, Clone)]
struct Shape {
    policy: RestartPolicy,
    words: String,
    deadline: Option<i64>,
    grace: i64,
}

fn shape() -> impl Strategy<Value = Shape> {
    let policy =
        prop_oneof![Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)];
    let deadline = prop_oneof![3 => Just(None), 1 => (1_i64..2000).prop_map(Some)];
    (policy, prop::collection::vec(any::<bool>(), 0..4), 1_usize..4, deadline, 0_i64..40).prop_map(
        |(policy, inits, apps, deadline, grace)| {
            let role = |sidecar: bool| if sidecar { "sidecar" } else { "init" };
            let inits = inits.iter().enumerate().map(|(n, sidecar)| format!("{}:i{n}", role(*sidecar)));
            let words: Vec<_> = inits.chain((0..apps).map(|n| format!("a{n}"))).collect();
            Shape { policy, words: words.join(" "), deadline, grace }
        },
    )
}

/// The true history of a container.
#[derive(Debug, Clone, Default)]
struct Seen {
    role: Role,
    /// The attempts that were made, whether they ran or not.
    made: u32,
    ever_started: bool,
    /// An init container's turn is over.
    done: bool,
}

/// The pod, and a monitor that performs and remembers the actions.
struct World {
    pod: Pod,
    state: PodState,
    now: Moment,
    order: Vec<String>,
    seen: BTreeMap<String, Seen>,
    unanswered: Option<(String, u32)>,
    running: BTreeMap<String, u32>,
    phase: PodPhase,
    ending: bool,
    sandbox_stopped: bool,
    finished: Option<bool>,
}

impl World {
    fn new(shape: &Shape) -> Self {
        let mut pod = pod(shape.policy, &shape.words);
        pod.spec.active_deadline_seconds = shape.deadline;
        pod.spec.termination_grace_period_seconds = shape.grace;
        let state = PodState::new(&pod, &BTreeMap::new(), BEGIN);
        let order: Vec<_> = state.containers.iter().map(|run| run.name.clone()).collect();
        let seen = |name: &String| {
            let role = state.container(name).map(|run| run.role).unwrap_or_default();
            (name.clone(), Seen { role, ..Seen::default() })
        };
        let seen = order.iter().map(seen).collect();
        let mut world = Self {
            pod,
            state,
            now: BEGIN,
            order,
            seen,
            unanswered: None,
            running: BTreeMap::new(),
            phase: PodPhase::Pending,
            ending: false,
            sandbox_stopped: false,
            finished: None,
        };
        world.tell(Event::SandboxReady { host_ips: vec![], pod_ips: vec![] });
        world
    }

    fn seen(&mut self, name: &str) -> &mut Seen {
        self.seen.get_mut(name).expect("the policy names only containers of the pod")
    }

    fn tell(&mut self, event: Event) {
        let actions = step(&self.pod, &mut self.state, event, self.now);
        self.ending |= self.state.stopping.is_some();
        for (index, action) in actions.iter().enumerate() {
            assert!(self.finished.is_none(), "{action:?} after the end");
            self.perform(action);
            assert!(self.finished.is_none() || index + 1 == actions.len(), "finish is the last action");
        }
        self.check();
    }

    fn perform(&mut self, action: &Action) {
        match action {
            Action::Start { container, attempt } => self.perform_start(container, *attempt),
            Action::Stop { container, attempt } => self.perform_stop(container, *attempt),
            Action::Kill { container, attempt } => {
                let unanswered = self.unanswered == Some((container.clone(), *attempt));
                assert!(unanswered || self.running.get(container) == Some(attempt), "kill of nothing");
                assert!(self.state.stopping.is_some_and(|stopping| stopping.kill_at <= self.now));
            }
            Action::WriteStatus => {}
            Action::StopSandbox => {
                assert!(self.running.is_empty() && self.unanswered.is_none(), "something still runs");
                assert!(!self.sandbox_stopped, "the sandbox is stopped once");
                self.sandbox_stopped = true;
            }
            Action::Finish { remove } => {
                assert!(self.sandbox_stopped);
                self.finished = Some(*remove);
            }
        }
    }

    fn perform_start(&mut self, container: &str, attempt: u32) {
        assert!(self.unanswered.is_none(), "one start at a time");
        assert!(!self.running.contains_key(container), "two attempts of one name");
        assert!(!self.ending, "nothing starts once the end has begun");
        for earlier in self.order.iter().take_while(|name| *name != container) {
            let seen = &self.seen[earlier];
            match seen.role {
                Role::Init => assert!(seen.done, "{container} before init container {earlier} is done"),
                Role::Sidecar => {
                    assert!(seen.ever_started, "{container} before sidecar {earlier} is started")
                }
                Role::App => {}
            }
        }
        let seen = self.seen(container);
        assert!(!seen.done, "an init container that is done runs again");
        assert_eq!(attempt, seen.made, "attempts count up, and one that was not made does not count");
        self.unanswered = Some((container.to_owned(), attempt));
    }

    fn perform_stop(&mut self, container: &str, attempt: u32) {
        assert_eq!(self.running.get(container), Some(&attempt), "stop of nothing");
        assert!(self.ending);
        if self.seen[container].role == Role::Sidecar {
            let mut later = self.order.iter().rev().take_while(|name| *name != container);
            let blocks = |name: &String| {
                let alive = self.running.contains_key(name)
                    || self.unanswered.as_ref().is_some_and(|(starting, _)| starting == name);
                alive && self.seen[name].role != Role::Init
            };
            let is_late = self.state.stopping.is_some_and(|stopping| stopping.kill_at <= self.now);
            assert!(
                is_late || !later.any(blocks),
                "a sidecar is asked after all apps and later sidecars ended"
            );
        }
    }

    /// Checks the rules that hold after every step.
    fn check(&mut self) {
        if let Some(at) = self.state.wake_at() {
            assert!(at > self.now, "a timer that is due is not pending any more");
        }
        let status = status(&self.pod, &self.state);
        let phase = status.phase.expect("there is always a phase");
        let legal = match (self.phase, phase) {
            (PodPhase::Pending, _) => true,
            (PodPhase::Running, next) => next != PodPhase::Pending,
            (ended, next) => ended == next,
        };
        assert!(legal, "phase {:?} -> {phase:?}", self.phase);
        self.phase = phase;
        for container in status.init_container_statuses.iter().chain(&status.container_statuses) {
            let made = self.seen[&container.name].made
                + u32::from(self.unanswered.as_ref().is_some_and(|(name, _)| *name == container.name));
            assert_eq!(container.restart_count, made.saturating_sub(1));
            assert_eq!(container.started, Some(self.running.contains_key(&container.name)));
        }
        let _ = create_progress(&self.state, WaitFor::Ready);
    }

    fn answer(&mut self, failure: Option<StartFailure>) {
        let Some((container, attempt)) = self.unanswered.take() else { return };
        let seen = self.seen(&container);
        if failure.is_none_or(StartFailure::consumes_attempt) {
            seen.made += 1;
        }
        let event = match failure {
            None => {
                seen.ever_started = true;
                self.running.insert(container.clone(), attempt);
                Event::Started { container, attempt, id: "id".into() }
            }
            Some(failure) => {
                Event::StartFailed { container, attempt, id: None, failure, message: "why".into() }
            }
        };
        self.tell(event);
    }

    fn exit(&mut self, which: usize, code: i32) {
        if self.running.is_empty() {
            return;
        }
        let index = which % self.running.len();
        let (container, attempt) =
            self.running.iter().nth(index).map(|(n, a)| (n.clone(), *a)).expect("index");
        self.running.remove(&container);
        let seen = self.seen(&container);
        seen.done |= seen.role == Role::Init && code == 0;
        let exit = Exit { code, at: self.now, ..Exit::default() };
        self.tell(Event::Exited { container, attempt, exit });
    }

    fn live_through(&mut self, deed: Deed) {
        match deed {
            Deed::Start => self.answer(None),
            Deed::FailStart(failure) => self.answer(Some(failure)),
            Deed::Exit { which, code } => self.exit(which, code),
            Deed::Pass { millis } => {
                self.now = self.now.plus_millis(millis);
                self.tell(Event::Tick);
            }
            Deed::Fire => {
                if let Some(at) = self.state.wake_at() {
                    self.now = at;
                    self.tell(Event::Tick);
                }
            }
            Deed::Delete { grace } => self.tell(Event::DeleteRequested { grace_seconds: grace }),
            Deed::Stale { which, attempt } => self.stale(which, attempt),
            Deed::Reload => {
                let written = serde_json::to_vec(&self.state).expect("a state serialises");
                self.state = serde_json::from_slice(&written).expect("and is read back");
                let seen = observed(self.pod.clone(), &self.state);
                let written = serde_json::to_vec(&seen).expect("a pod with its status serialises");
                assert_eq!(serde_json::from_slice::<Pod>(&written).expect("and is read back"), seen);
            }
        }
        if self.sandbox_stopped && self.finished.is_none() {
            self.tell(Event::SandboxStopped);
        }
    }

    /// News of an attempt that is neither running nor being started.
    fn stale(&mut self, which: usize, attempt: u32) {
        let container = self.order[which % self.order.len()].clone();
        let current = self.running.get(&container) == Some(&attempt)
            || self.unanswered == Some((container.clone(), attempt));
        if current {
            return;
        }
        let exit = Exit { at: self.now, ..Exit::default() };
        let before = self.state.clone();
        self.tell(Event::Started { container: container.clone(), attempt, id: "id".into() });
        self.tell(Event::Exited { container, attempt, exit });
        assert_eq!(self.state, before);
    }

    /// Lets everything that is under way come to its end.
    fn drain(&mut self, code: i32) {
        for round in 0..200 {
            if self.finished.is_some() {
                return;
            }
            self.live_through(Deed::Start);
            self.live_through(Deed::Exit { which: round, code });
            self.live_through(Deed::Fire);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_a_rule_and_a_deleted_pod_is_always_removed(
        shape in shape(),
        deeds in prop::collection::vec(deed(), 0..80),
    ) {
        let mut world = World::new(&shape);
        for deed in deeds {
            world.live_through(deed);
        }
        if world.finished.is_none() {
            world.live_through(Deed::Delete { grace: Some(1) });
            world.drain(0);
            prop_assert_eq!(world.finished, Some(true));
        }
        prop_assert!(world.state.sandbox == Sandbox::Stopped);
        prop_assert!(matches!(world.phase, PodPhase::Succeeded | PodPhase::Failed));
    }

    #[test]
    fn under_never_a_pod_whose_containers_all_end_is_finished(
        mut shape in shape(),
        deeds in prop::collection::vec(deed(), 0..40),
        code in 0..2,
    ) {
        shape.policy = RestartPolicy::Never;
        let mut world = World::new(&shape);
        for deed in deeds {
            world.live_through(deed);
        }
        world.drain(code);
        prop_assert!(world.finished.is_some());
    }

    #[test]
    fn under_always_a_pod_never_ends_by_itself(
        mut shape in shape(),
        deeds in prop::collection::vec(deed(), 0..80),
    ) {
        shape.policy = RestartPolicy::Always;
        shape.deadline = None;
        let mut world = World::new(&shape);
        for deed in deeds.into_iter().filter(|deed| !matches!(deed, Deed::Delete { .. })) {
            world.live_through(deed);
        }
        prop_assert!(world.state.stopping.is_none());
        prop_assert!(matches!(world.phase, PodPhase::Pending | PodPhase::Running));
    }

    #[test]
    fn the_same_history_gives_the_same_state(
        shape in shape(),
        deeds in prop::collection::vec(deed(), 0..40),
    ) {
        let mut worlds = [World::new(&shape), World::new(&shape)];
        for world in &mut worlds {
            for deed in &deeds {
                world.live_through(deed.clone());
            }
        }
        prop_assert_eq!(&worlds[0].state, &worlds[1].state);
    }
}
