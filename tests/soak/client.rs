//! A client: one verb after the other, as its dice say, on pods that are its own to make and end, and on everybody's.
//!
//! Invariant: what a verb said is held to what is seen next. A create or delete that no killed monitor and no disk stood in the
//! way of succeeds.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use support::dice::Dice;
use support::pods::{monitors, pod, shell};

use crate::Asked;
use crate::keepers::Keepers;
use crate::site::Site;
use crate::tally::Tally;

/// A client.
pub(crate) struct Client<'a> {
    site: &'a Site,
    tally: &'a Tally,
    keepers: &'a Keepers,
    dice: Dice,
    /// The pods that it alone makes and ends.
    own: Vec<String>,
    /// Pods that it looks at: the keepers and everybody's.
    all: Vec<String>,
}

/// A pod that sleeps until it is told to end.
pub(crate) fn sleeper(name: &str) -> Value {
    pod(name, &json!({ "containers": [shell("main", SLEEP)] }))
}

/// A shell that ends when it is told to.
const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";

impl<'a> Client<'a> {
    pub(crate) fn new(
        site: &'a Site,
        tally: &'a Tally,
        keepers: &'a Keepers,
        number: usize,
        asked: &Asked,
    ) -> Self {
        let name = |pod: usize| format!("pod-{pod}");
        let own = (number..asked.pods).step_by(asked.clients).map(name).collect();
        let all = keepers.names.iter().cloned().chain((0..asked.pods).map(name)).collect();
        let seed = asked.seed.wrapping_add(number as u64);
        Self { site, tally, keepers, dice: Dice::of(seed), own, all }
    }

    /// Works until `end`.
    pub(crate) fn work_until(&mut self, end: Instant) {
        while Instant::now() < end {
            let done = match self.dice.below(100) {
                0..25 => self.create(),
                25..40 => self.delete(),
                40..44 => self.kill(),
                _ => {
                    self.look();
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.tally.wrong(format!("{error:#}"));
            }
        }
    }

    /// Runs a verb, counts it and gives its exit code.
    fn verb(&self, arguments: &[&str]) -> Option<i32> {
        self.tally.ended(arguments[0], self.site.verb(arguments)).map(|outcome| outcome.code())
    }

    /// The same of a verb that changes a pod, which is remembered.
    fn change(&self, pod: &str, arguments: &[&str]) -> Option<i32> {
        let outcome = self.tally.ended(arguments[0], self.site.verb(arguments))?;
        self.site.remember(pod, outcome.to_string());
        Some(outcome.code())
    }

    /// Whether a pod is there that nobody is deleting: one whose delete was in trouble goes when a verb finds it.
    fn stands(&self, pod: &str) -> Option<bool> {
        let outcome = self.tally.ended("get", self.site.verb(&["get", "pod", pod, "-o", "json"]))?;
        Some(outcome.code() == 0 && !outcome.stdout.contains("deletionTimestamp"))
    }

    fn create(&mut self) -> Result<()> {
        if self.own.is_empty() {
            return Ok(());
        }
        let name = self.dice.one_of(&self.own).clone();
        let manifest = manifest(&name, &mut self.dice);
        let file = self.site.host().write(&format!("{name}.json"), &manifest.to_string())?;
        let (well, stood) = (self.site.is_well(), self.stands(&name));
        let code = self.change(&name, &["create", &file.to_string_lossy(), "--timeout=30s"]);
        if code == Some(0) && stood == Some(true) {
            self.tally.wrong(format!("{name} was there, and create made it once more"));
        }
        // Its monitor can have been killed before it came up, and nothing is to be there then.
        let is_left = code == Some(1) && stood == Some(false) && self.stands(&name) == Some(true);
        if is_left && self.stayed_well(well) {
            let history = self.site.history_of(&name);
            self.tally.wrong(format!("create of {name} failed, and the pod is there\n  {history}"));
        }
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        if self.own.is_empty() {
            return Ok(());
        }
        let name = self.dice.one_of(&self.own).clone();
        let well = self.site.is_well();
        let how: &[&str] = match self.dice.below(3) {
            0 => &["--grace-period=0", "--force"],
            1 => &["--now"],
            _ => &[],
        };
        let code = self.change(&name, &[&["delete", "pod", &name], how].concat());
        if code == Some(0) && self.stands(&name) == Some(true) {
            self.tally.wrong(format!("{name} was deleted, and is still there"));
        }
        if code.is_some_and(|code| code != 0 && code != 4) && self.stayed_well(well) {
            let history = self.site.history_of(&name);
            self.tally.wrong(format!("delete of {name} fails, and no disk is in its way\n  {history}"));
        }
        Ok(())
    }

    /// Whether no disk has been in trouble since `well` was asked.
    fn stayed_well(&self, well: Option<u64>) -> bool {
        well.is_some() && well == self.site.is_well()
    }

    /// Kills the monitor of somebody's pod.
    fn kill(&mut self) -> Result<()> {
        let pids: Vec<String> =
            monitors(self.site.host())?.into_iter().filter(|pid| !self.keepers.have(pid)).collect();
        if pids.is_empty() {
            return Ok(());
        }
        let pid = self.dice.one_of(&pids).clone();
        self.tally.count("monitors killed", 1);
        self.site.kill(&pid)
    }

    /// Looks at or works in a pod, whoever's.
    fn look(&mut self) {
        let name = self.dice.one_of(&self.all).as_str();
        let verb: &[&str] = match self.dice.below(12) {
            0 => &["get", "pods"],
            1 => &["get", "pods", "-o", "json"],
            2 => &["get", "pod", name, "-o", "yaml"],
            3 => &["describe", "pod", name],
            4 => &["logs", name, "--previous"],
            5 => &["logs", name, "--all-containers", "--tail=1"],
            6 => &["wait", "pod", name, "--for=condition=Ready", "--timeout=1s"],
            7 => &["ns", name],
            8 => &["exec", name, "--", "sh", "-c", "echo x; echo y >&2"],
            9 => &["exec", name, "--", "dd", "if=/dev/zero", "bs=64k", "count=4"],
            10 => &["exec", name, "--", "sh", "-c", "kill -9 $$"],
            _ => &["exec", name, "--", "true"],
        };
        self.verb(verb);
    }
}

/// A pod of one of the kinds that end, stay, wait for each other or hold something of the host.
fn manifest(name: &str, dice: &mut Dice) -> Value {
    let sleep = || shell("main", SLEEP);
    let spec = match dice.below(7) {
        0 => json!({ "containers": [sleep()] }),
        1 => json!({ "containers": [shell("main", "echo done")], "restartPolicy": "Never" }),
        2 => json!({ "containers": [shell("main", "sleep 0.3; exit 3")] }),
        3 => json!({ "containers": [sleep(), shell("chatty", "while :; do echo line; sleep 0.05; done")] }),
        4 => {
            json!({ "containers": [sleep()], "initContainers": [shell("first", "true")], "shareProcessNamespace": true })
        }
        5 => {
            let mut main = sleep();
            main["ports"] = json!([{ "containerPort": 80, "hostPort": 20_000 + dice.below(2000) }]);
            json!({ "containers": [main] })
        }
        _ => {
            let mut main = shell(
                "main",
                "dd if=/dev/zero of=/disk/x bs=1k count=64; sleep 1; date >/memory/x; exec sleep 1000",
            );
            main["volumeMounts"] = json!([{ "name": "disk", "mountPath": "/disk" }, { "name": "memory", "mountPath": "/memory" }]);
            let volumes = json!([{ "name": "disk", "emptyDir": {} }, { "name": "memory", "emptyDir": { "medium": "Memory" } }]);
            json!({ "containers": [main], "volumes": volumes })
        }
    };
    pod(name, &spec)
}
