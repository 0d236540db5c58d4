//! How ended containers are started again.

use super::driver::Driver;
use crate::manifest::RestartPolicy::*;
use crate::manifest::{ContainerState, PodPhase};
use crate::policy::{Event, Exit, StartFailure};

fn waiting(driver: &Driver, name: &str) -> (String, String) {
    match driver.container(name).state {
        Some(ContainerState::Waiting(waiting)) => (waiting.reason, waiting.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_restart_is_immediate_and_each_later_one_waits_twice_as_long_up_to_five_minutes() {
    let mut driver = Driver::up(Always, "app");
    assert_eq!(driver.exits("app", 1), "start app#1");
    for (attempt, seconds, words) in [
        (2, 10, "10s"),
        (3, 20, "20s"),
        (4, 40, "40s"),
        (5, 80, "1m20s"),
        (6, 160, "2m40s"),
        (7, 300, "5m0s"),
        (8, 300, "5m0s"),
    ] {
        driver.started("app");
        assert_eq!(driver.exits("app", 1), "");
        let (reason, message) = waiting(&driver, "app");
        assert_eq!(reason, "CrashLoopBackOff");
        assert_eq!(message, format!("back-off {words} restarting failed container=app pod=web_default(11)"));
        assert_eq!(driver.phase(), PodPhase::Running);
        assert_eq!(driver.wakes_in(), Some(seconds));
        assert_eq!(driver.after(seconds - 1), "");
        assert_eq!(driver.after(1), format!("start app#{attempt}"));
        assert_eq!(driver.container("app").restart_count, attempt);
    }
}

#[test]
fn a_run_of_more_than_ten_minutes_clears_the_back_off() {
    let mut driver = Driver::up(Always, "app");
    for _ in 0..2 {
        driver.exits("app", 1);
        driver.after(10);
        driver.started("app");
    }
    driver.pass(601);
    assert_eq!(driver.exits("app", 1), "start app#3");
    driver.started("app");
    driver.exits("app", 1);
    assert_eq!(driver.wakes_in(), Some(10));
}

#[test]
fn each_container_has_a_back_off_of_its_own() {
    let mut driver = Driver::up(Always, "a b");
    driver.exits("a", 1);
    driver.started("a");
    assert_eq!(driver.exits("a", 1), "");
    assert_eq!(driver.exits("b", 1), "start b#1");
    assert_eq!(driver.row(), "0/2 CrashLoopBackOff 2 (0s ago)");
}

#[test]
fn always_restarts_after_success_too() {
    assert_eq!(Driver::up(Always, "app").exits("app", 0), "start app#1");
}

#[test]
fn on_failure_restarts_only_after_failure() {
    let mut driver = Driver::up(OnFailure, "a b");
    assert_eq!(driver.exits("a", 0), "");
    assert_eq!(driver.phase(), PodPhase::Running);
    assert_eq!(driver.row(), "1/2 NotReady 0");
    assert_eq!(driver.exits("b", 1), "start b#1");
    driver.started("b");
    assert_eq!(driver.exits("b", 0), "stop sandbox");
    assert_eq!(driver.phase(), PodPhase::Succeeded);
    assert_eq!(driver.row(), "0/2 Completed 1 (0s ago)");
}

#[test]
fn never_restarts_nothing_but_sidecars() {
    let mut driver = Driver::up(Never, "sidecar:s a b");
    assert_eq!(driver.exits("a", 1), "");
    assert_eq!(driver.exits("s", 0), "start s#1");
}

#[test]
fn a_container_that_cannot_be_started_is_start_error_128_and_restarted_by_policy() {
    let mut driver = Driver::ready(Never, "a b");
    driver.start_fails("a", StartFailure::CommandNotExecutable);
    let Some(ContainerState::Terminated(ended)) = driver.container("a").state else { panic!() };
    assert_eq!((ended.exit_code, ended.reason.as_str()), (128, "StartError"));
    assert_eq!(ended.message, "execve(\"/nope\"): ENOENT");

    let mut driver = Driver::ready(Always, "a");
    assert_eq!(driver.start_fails("a", StartFailure::StartError), "start a#1");
    driver.start_fails("a", StartFailure::StartError);
    assert_eq!(waiting(&driver, "a").0, "CrashLoopBackOff");
    let Some(ContainerState::Terminated(ended)) = driver.container("a").last_state else { panic!() };
    assert_eq!((ended.exit_code, ended.reason.as_str()), (128, "StartError"));
}

#[test]
fn the_last_state_is_how_the_attempt_before_ended() {
    let mut driver = Driver::up(Always, "app");
    assert_eq!(driver.container("app").last_state, None);
    let exit = Exit { code: 137, signal: Some(9), oom_killed: true, message: "tight".into(), at: driver.now };
    driver.exits_as("app", exit);
    driver.started("app");
    driver.pass(20);
    let container = driver.container("app");
    let Some(ContainerState::Terminated(ended)) = container.last_state else { panic!() };
    assert_eq!((ended.exit_code, ended.signal), (137, 9));
    assert_eq!((ended.reason.as_str(), ended.message.as_str()), ("OOMKilled", "tight"));
    assert_eq!(ended.container_id, "podrun://app0");
    assert_eq!(container.container_id, "podrun://app1");
    assert!(container.ready);
    assert_eq!(container.started, Some(true));
    assert_eq!(driver.row(), "1/1 Running 1 (20s ago)");
}

#[test]
fn restarts_that_are_due_together_are_done_one_after_the_other() {
    let mut driver = Driver::up(Always, "a b");
    driver.exits("a", 1);
    assert_eq!(driver.exits("b", 1), "");
    assert_eq!(driver.wakes_in(), None, "the answer to the start is what it waits for");
    assert_eq!(driver.started("a"), "start b#1");
}

#[test]
fn news_of_another_attempt_or_another_container_changes_nothing() {
    let mut driver = Driver::up(Always, "app");
    let before = driver.state.clone();
    let exit = Exit { at: driver.now, ..Exit::default() };
    for (name, attempt) in [("app", 1), ("nobody", 0)] {
        let container = name.to_owned();
        assert_eq!(driver.tell(Event::Exited { container, attempt, exit: exit.clone() }), "");
        assert_eq!(driver.tell(Event::Started { container: name.into(), attempt, id: "x".into() }), "");
    }
    assert_eq!(driver.tell(Event::Started { container: "app".into(), attempt: 0, id: "x".into() }), "");
    assert_eq!(driver.sandbox_ready(), "");
    assert_eq!(driver.tell(Event::SandboxStopped), "");
    assert_eq!(driver.state, before);
}

#[test]
fn the_journal_tells_of_it_in_kubernetes_words() {
    let mut driver = Driver::up(Always, "app");
    assert_eq!(driver.journal(), ["Pulled app x1", "Created app x1", "Started app x1"]);
    for _ in 0..2 {
        driver.exits("app", 1);
        driver.started("app");
    }
    let told = ["Pulled app x2", "Created app x2", "Started app x2", "BackOff app x1"];
    assert_eq!(driver.journal(), told);
    let back_off = &driver.state.events.entries()[3];
    assert_eq!(back_off.message, "Back-off restarting failed container app in pod web_default(11)");
    driver.start_fails("app", StartFailure::StartError);
    driver.delete(None);
    driver.after(30);
    assert!(!driver.journal().iter().any(|line| line.starts_with("Killing")), "nothing was left to kill");
}
