//! How a pod comes up.

use super::driver::{Driver, pod};
use crate::manifest::PodPhase;
use crate::manifest::RestartPolicy::*;
use crate::policy::{Event, Progress, StartFailure, WaitFor};

#[test]
fn nothing_is_started_before_the_sandbox_is_ready() {
    let mut driver = Driver::new(pod(Always, "app"));
    assert_eq!(driver.tell(Event::Tick), "");
    assert_eq!(driver.condition("PodReadyToStartContainers"), "False");
    assert_eq!(driver.sandbox_ready(), "start app#0");
    assert_eq!(driver.condition("PodReadyToStartContainers"), "True");
}

#[test]
fn apps_are_started_one_after_the_other_in_the_order_of_the_manifest() {
    let mut driver = Driver::ready(Always, "a b c");
    assert_eq!(driver.tell(Event::Tick), "");
    assert_eq!(driver.started("a"), "start b#0");
    assert_eq!(driver.started("b"), "start c#0");
    assert_eq!(driver.phase(), PodPhase::Pending);
    assert_eq!(driver.started("c"), "");
    assert_eq!(driver.phase(), PodPhase::Running);
    assert_eq!(driver.row(), "3/3 Running 0");
}

#[test]
fn an_app_that_cannot_be_started_does_not_hold_up_the_next() {
    let mut driver = Driver::ready(Never, "a b");
    assert_eq!(driver.start_fails("a", StartFailure::CommandNotFound), "start b#0");
    assert_eq!(driver.started("b"), "");
}

#[test]
fn init_containers_run_one_at_a_time_each_to_its_end() {
    let mut driver = Driver::ready(Always, "init:a init:b app");
    assert_eq!(driver.row(), "0/1 Init:0/2 0");
    assert_eq!(driver.started("a"), "");
    assert_eq!(
        driver.condition("Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [a b]"
    );
    assert_eq!(driver.exits("a", 0), "start b#0");
    assert_eq!(driver.row(), "0/1 Init:1/2 0");
    assert_eq!(driver.started("b"), "");
    assert_eq!(driver.exits("b", 0), "start app#0");
    assert_eq!(driver.row(), "0/1 PodInitializing 0");
    assert_eq!(driver.condition("Initialized"), "True");
    assert_eq!(driver.phase(), PodPhase::Pending);
    driver.started("app");
    assert_eq!(driver.row(), "1/1 Running 0");
    assert!(driver.container("a").ready);
    assert_eq!(driver.container("a").started, Some(false));
}

#[test]
fn a_failed_init_container_is_tried_again_unless_the_policy_is_never() {
    for policy in [Always, OnFailure] {
        let mut driver = Driver::ready(policy, "init:a app");
        driver.started("a");
        assert_eq!(driver.exits("a", 3), "start a#1");
        driver.started("a");
        assert_eq!(driver.exits("a", 3), "");
        assert_eq!(driver.row(), "0/1 Init:CrashLoopBackOff 1 (0s ago)");
        assert_eq!(driver.phase(), PodPhase::Pending);
        assert_eq!(driver.after(10), "start a#2");
    }
}

#[test]
fn an_init_container_that_fails_under_never_fails_the_pod_and_ends_the_sidecars() {
    let mut driver = Driver::ready(Never, "sidecar:s1 sidecar:s2 init:a app");
    driver.started("s1");
    driver.started("s2");
    driver.started("a");
    assert_eq!(driver.exits("a", 1), "stop s2#0");
    assert_eq!(driver.phase(), PodPhase::Failed);
    assert_eq!(driver.row(), "2/3 Init:Error 0");
    assert_eq!(driver.exits("s2", 0), "stop s1#0");
    assert_eq!(driver.exits("s1", 0), "stop sandbox");
    assert_eq!(driver.tell(Event::SandboxStopped), "finish");
    assert_eq!(driver.phase(), PodPhase::Failed);
    assert_eq!(driver.row(), "0/3 Init:Error 0");
}

#[test]
fn the_next_init_container_starts_when_the_sidecar_before_it_is_started() {
    let mut driver = Driver::ready(Always, "sidecar:s init:a app");
    assert_eq!(driver.row(), "0/2 Init:0/2 0");
    assert_eq!(driver.started("s"), "start a#0");
    assert_eq!(driver.row(), "1/2 Init:1/2 0");
    driver.started("a");
    assert_eq!(driver.exits("a", 0), "start app#0");
}

#[test]
fn a_sidecar_that_cannot_be_started_holds_up_what_comes_after_it() {
    let mut driver = Driver::ready(Never, "sidecar:s app");
    assert_eq!(driver.start_fails("s", StartFailure::StartError), "start s#1");
    assert_eq!(driver.start_fails("s", StartFailure::StartError), "");
    assert_eq!(driver.row(), "0/2 Init:CrashLoopBackOff 1 (0s ago)");
    assert_eq!(driver.after(10), "start s#2");
    assert_eq!(driver.started("s"), "start app#0");
}

#[test]
fn a_sidecar_that_crashes_while_an_init_container_runs_is_restarted_at_once() {
    let mut driver = Driver::ready(Never, "sidecar:s init:a app");
    driver.started("s");
    driver.started("a");
    assert_eq!(driver.exits("s", 0), "start s#1");
    assert_eq!(driver.started("s"), "");
    assert_eq!(driver.exits("a", 0), "start app#0");
}

#[test]
fn a_container_that_could_not_be_made_waits_and_keeps_its_attempt() {
    let mut driver = Driver::ready(Never, "app");
    assert_eq!(driver.start_fails("app", StartFailure::CreateContainerConfigError), "");
    assert_eq!(driver.row(), "0/1 CreateContainerConfigError 0");
    assert_eq!(driver.phase(), PodPhase::Pending);
    assert_eq!(driver.wakes_in(), Some(10));
    assert_eq!(driver.after(10), "start app#0");
    driver.started("app");
    assert_eq!(driver.container("app").restart_count, 0);
}

#[test]
fn create_is_done_when_inits_are_done_and_all_others_are_started() {
    let mut driver = Driver::ready(Never, "init:a sidecar:s app");
    assert_eq!(driver.progress(WaitFor::None), Progress::Done);
    let pending = |driver: &Driver, wait| match driver.progress(wait) {
        Progress::Pending { note, .. } => note,
        other => panic!("{other:?}"),
    };
    driver.started("a");
    assert_eq!(pending(&driver, WaitFor::Started), "init container \"a\": running");
    driver.exits("a", 0);
    assert_eq!(pending(&driver, WaitFor::Started), "sidecar \"s\": starting");
    driver.started("s");
    assert_eq!(pending(&driver, WaitFor::Started), "container \"app\": starting");
    driver.started("app");
    assert_eq!(driver.progress(WaitFor::Started), Progress::Done);
    assert_eq!(driver.progress(WaitFor::Ready), Progress::Done);
    driver.exits("app", 1);
    assert_eq!(driver.progress(WaitFor::Started), Progress::Done, "it was started, however it ended");
    let failed = "container \"app\": exit code 1 (Error)".to_owned();
    let failed = Progress::Failed { container: Some("app".into()), failure: None, message: failed };
    assert_eq!(driver.progress(WaitFor::Ready), failed);
}

#[test]
fn create_fails_when_a_command_cannot_be_executed_whatever_the_policy() {
    for policy in [Always, OnFailure, Never] {
        let mut driver = Driver::ready(policy, "a b");
        driver.start_fails("a", StartFailure::CommandNotFound);
        let failed = Progress::Failed {
            container: Some("a".into()),
            failure: Some(StartFailure::CommandNotFound),
            message: "container \"a\": execve(\"/nope\"): ENOENT".into(),
        };
        assert_eq!(driver.progress(WaitFor::Started), failed);
        assert_eq!(driver.progress(WaitFor::Ready), failed);
        assert_eq!(driver.progress(WaitFor::None), Progress::Done);
    }
}

#[test]
fn create_fails_when_an_init_container_fails_under_never_and_else_says_that_it_is_retried() {
    let mut driver = Driver::ready(Never, "init:a app");
    driver.started("a");
    driver.exits("a", 7);
    let message = "init container \"a\": exit code 7 (Error)".to_owned();
    let failed = Progress::Failed { container: Some("a".into()), failure: None, message };
    assert_eq!(driver.progress(WaitFor::Started), failed);

    let mut driver = Driver::ready(Always, "init:a app");
    for _ in 0..2 {
        driver.started("a");
        driver.exits("a", 7);
    }
    let note = "init container \"a\": exit code 7 (Error), restarting in 10s".to_owned();
    assert_eq!(driver.progress(WaitFor::Started), Progress::Pending { container: Some("a".into()), note });
}

#[test]
fn create_fails_when_the_pod_is_deleted_or_runs_out_of_time_first() {
    let mut driver = Driver::ready(Always, "init:a app");
    driver.delete(None);
    assert!(matches!(driver.progress(WaitFor::Started), Progress::Failed { container: None, .. }));

    let mut slow = pod(Always, "init:a app");
    slow.spec.active_deadline_seconds = Some(5);
    let mut driver = Driver::new(slow);
    driver.sandbox_ready();
    driver.started("a");
    driver.after(5);
    let Progress::Failed { message, .. } = driver.progress(WaitFor::Started) else { panic!() };
    assert!(message.starts_with("DeadlineExceeded"), "{message}");
}

#[test]
fn a_job_that_has_succeeded_is_ready() {
    let mut driver = Driver::up(Never, "sidecar:s app");
    driver.exits("app", 0);
    assert_eq!(driver.progress(WaitFor::Ready), Progress::Done);
}
