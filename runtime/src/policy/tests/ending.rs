//! How a pod ends: by itself, by its deadline, by deletion, and with its monitor.

use super::driver::{Driver, pod};
use crate::manifest::RestartPolicy::*;
use crate::manifest::{ContainerState, PodPhase, Time};
use crate::pod::driver::Loss;
use crate::policy::columns::columns;
use crate::policy::{Event, PodState, StartFailure, lose, observed};

#[test]
fn when_the_apps_are_done_the_sidecars_are_stopped_in_reverse_order() {
    let mut driver = Driver::up(Never, "sidecar:s1 init:i sidecar:s2 a b");
    assert_eq!(driver.exits("a", 0), "");
    assert_eq!(driver.exits("b", 0), "stop s2#0");
    assert_eq!(driver.phase(), PodPhase::Running);
    assert_eq!(driver.exits("s2", 143), "stop s1#0");
    assert_eq!(driver.exits("s1", 143), "stop sandbox");
    assert_eq!(driver.phase(), PodPhase::Succeeded, "a sidecar's exit code does not count");
    assert_eq!(driver.tell(Event::SandboxStopped), "finish");
    assert!(driver.state.is_finished());
    assert_eq!(driver.condition("Ready"), "False PodCompleted");
    assert_eq!(driver.condition("Initialized"), "True PodCompleted");
    assert_eq!(driver.condition("PodReadyToStartContainers"), "False");
    assert_eq!(driver.row(), "0/4 Completed 0");
}

#[test]
fn a_host_that_goes_down_fails_the_pod_and_deletes_nothing() {
    let mut driver = Driver::up(Always, "sidecar:s app");
    assert_eq!(driver.tell(Event::HostStops), "stop app#0");
    assert_eq!(driver.tell(Event::HostStops), "", "it is told once");
    assert_eq!(driver.exits("app", 0), "stop s#0");
    assert_eq!(driver.exits("s", 0), "stop sandbox");
    assert_eq!(driver.phase(), PodPhase::Failed);
    assert_eq!(driver.tell(Event::SandboxStopped), "finish");
    assert_eq!(driver.state.deletion, None);
    assert_eq!(driver.state.verdict.as_ref().map(|verdict| verdict.reason.as_str()), Some("Terminated"));
}

#[test]
fn a_host_that_goes_down_changes_nothing_for_a_pod_that_was_ending() {
    let mut driver = Driver::up(Never, "sidecar:s app");
    driver.exits("app", 0);
    assert_eq!(driver.tell(Event::HostStops), "");
    assert_eq!(driver.exits("s", 0), "stop sandbox");
    assert_eq!(driver.phase(), PodPhase::Succeeded);

    let mut driver = Driver::up(Never, "app");
    driver.delete(None);
    driver.tell(Event::HostStops);
    driver.exits("app", 0);
    assert!(driver.tell(Event::SandboxStopped).starts_with("finish"));
    assert!(driver.state.deletion.is_some() && driver.state.verdict.is_none());
}

#[test]
fn one_app_that_failed_makes_the_pod_failed_under_never() {
    let mut driver = Driver::up(Never, "a b");
    driver.exits("a", 2);
    assert_eq!(driver.phase(), PodPhase::Running);
    assert_eq!(driver.exits("b", 0), "stop sandbox");
    assert_eq!(driver.phase(), PodPhase::Failed);
    assert_eq!(driver.condition("ContainersReady"), "False PodFailed");
    assert_eq!(driver.row(), "0/2 Error 0");
}

#[test]
fn a_sidecar_in_back_off_is_not_waited_for() {
    let mut driver = Driver::up(Never, "sidecar:s app");
    driver.exits("s", 1);
    driver.started("s");
    assert_eq!(driver.exits("s", 1), "");
    assert_eq!(driver.exits("app", 0), "stop sandbox");
}

#[test]
fn a_sidecar_that_is_just_starting_is_stopped_when_it_has_started() {
    let mut driver = Driver::up(Never, "sidecar:s app");
    assert_eq!(driver.exits("s", 1), "start s#1");
    assert_eq!(driver.exits("app", 0), "");
    assert_eq!(driver.phase(), PodPhase::Running);
    assert_eq!(driver.started("s"), "stop s#1");
    assert_eq!(driver.exits("s", 0), "stop sandbox");
}

#[test]
fn sidecars_that_do_not_stop_at_the_natural_end_are_killed_after_the_grace() {
    let mut driver = Driver::up(Never, "sidecar:s app");
    driver.exits("app", 0);
    assert_eq!(driver.wakes_in(), Some(30));
    assert_eq!(driver.after(30), "kill s#0");
    assert_eq!(driver.exits("s", 137), "stop sandbox");
}

#[test]
fn deletion_asks_all_apps_at_once_and_each_sidecar_in_its_turn() {
    let mut driver = Driver::up(Always, "sidecar:s1 sidecar:s2 a b");
    assert_eq!(driver.delete(None), "stop a#0, stop b#0");
    assert_eq!(driver.row(), "4/4 Terminating 0");
    assert_eq!(driver.exits("a", 143), "");
    assert_eq!(driver.exits("s1", 0), "", "not restarted");
    assert_eq!(driver.exits("b", 143), "stop s2#0");
    assert_eq!(driver.exits("s2", 143), "stop sandbox");
    assert_eq!(driver.tell(Event::SandboxStopped), "finish and remove");
    assert_eq!(driver.phase(), PodPhase::Failed);
}

#[test]
fn a_pod_under_always_whose_apps_end_well_on_deletion_has_succeeded() {
    let mut driver = Driver::up(Always, "a");
    driver.delete(None);
    assert_eq!(driver.exits("a", 0), "stop sandbox");
    assert_eq!(driver.phase(), PodPhase::Succeeded);
}

#[test]
fn when_the_grace_is_spent_every_app_left_is_killed() {
    let mut driver = Driver::up(Always, "a b");
    driver.delete(Some(5));
    driver.exits("a", 143);
    assert_eq!(driver.wakes_in(), Some(5));
    assert_eq!(driver.after(5), "kill b#0");
    assert_eq!(driver.wakes_in(), None);
    assert_eq!(driver.exits("b", 137), "stop sandbox");
}

#[test]
fn sidecars_whose_app_used_the_grace_up_are_asked_together_and_have_two_seconds() {
    let mut driver = Driver::up(Always, "sidecar:s sidecar:t a");
    driver.delete(Some(5));
    assert_eq!(driver.after(5), "stop s#0, stop t#0, kill a#0");
    assert_eq!(driver.wakes_in(), Some(2));
    driver.exits("a", 137);
    driver.exits("t", 143);
    assert_eq!(driver.after(2), "kill s#0");
    assert_eq!(driver.wakes_in(), None);
    assert_eq!(driver.exits("s", 137), "stop sandbox");
}

#[test]
fn a_sidecar_whose_turn_comes_late_has_two_seconds_unless_there_is_no_grace_any_more() {
    let mut driver = Driver::up(Always, "sidecar:s a");
    driver.delete(Some(5));
    driver.pass(4);
    assert_eq!(driver.exits("a", 143), "stop s#0");
    assert_eq!(driver.after(1), "");
    assert_eq!(driver.wakes_in(), Some(1));
    assert_eq!(driver.delete(Some(0)), "kill s#0");
}

#[test]
fn no_grace_means_kill_at_once() {
    let mut driver = Driver::up(Always, "sidecar:s a");
    assert_eq!(driver.delete(Some(0)), "kill s#0, kill a#0");
}

#[test]
fn a_second_deletion_can_only_shorten_the_first() {
    let mut driver = Driver::up(Always, "a");
    driver.delete(Some(10));
    driver.pass(2);
    assert_eq!(driver.delete(Some(60)), "");
    assert_eq!(driver.wakes_in(), Some(8));
    assert_eq!(driver.delete(Some(3)), "");
    assert_eq!(driver.wakes_in(), Some(3));
    let metadata = observed(driver.pod.clone(), &driver.state).metadata;
    assert_eq!(metadata.deletion_grace_period_seconds, Some(3));
    assert_eq!(metadata.deletion_timestamp, Some(Time::from(driver.now.plus_seconds(3))));
    assert_eq!(driver.delete(Some(0)), "kill a#0");
    assert_eq!(driver.delete(Some(0)), "");
}

#[test]
fn a_deletion_during_the_natural_end_shortens_its_grace_and_removes_the_pod() {
    let mut driver = Driver::up(Never, "sidecar:s app");
    driver.exits("app", 0);
    assert_eq!(driver.delete(Some(1)), "");
    assert_eq!(driver.after(1), "", "a sidecar has two seconds");
    assert_eq!(driver.after(1), "kill s#0");
    assert_eq!(driver.exits("s", 137), "stop sandbox");
    assert_eq!(driver.tell(Event::SandboxStopped), "finish and remove");
}

#[test]
fn a_container_whose_start_is_under_way_at_deletion_is_stopped_when_it_has_started() {
    let mut driver = Driver::ready(Always, "a b");
    assert_eq!(driver.delete(None), "");
    assert_eq!(driver.started("a"), "stop a#0");
    assert_eq!(driver.exits("a", 0), "stop sandbox");
    assert_eq!(driver.phase(), PodPhase::Failed, "b never ran");
}

#[test]
fn a_start_under_way_that_is_killed_is_killed_again_should_it_succeed() {
    let mut driver = Driver::ready(Always, "a");
    assert_eq!(driver.delete(Some(0)), "kill a#0");
    assert_eq!(driver.started("a"), "kill a#0");
    assert_eq!(driver.exits("a", 137), "stop sandbox");

    let mut driver = Driver::ready(Always, "a");
    driver.delete(Some(0));
    assert_eq!(driver.start_fails("a", StartFailure::StartError), "stop sandbox");
}

#[test]
fn a_running_init_container_is_asked_to_stop_at_deletion() {
    let mut driver = Driver::ready(Always, "sidecar:s init:i app");
    driver.started("s");
    driver.started("i");
    assert_eq!(driver.delete(None), "stop i#0, stop s#0");
}

#[test]
fn deletion_before_the_sandbox_is_ready_ends_it() {
    let mut driver = Driver::new(pod(Always, "a"));
    assert_eq!(driver.delete(None), "stop sandbox");
    assert_eq!(driver.sandbox_ready(), "");
    assert_eq!(driver.tell(Event::SandboxStopped), "finish and remove");
    assert_eq!(driver.tell(Event::Tick), "");
}

#[test]
fn a_container_in_back_off_shows_how_it_ended_once_the_pod_is_deleted() {
    let mut driver = Driver::up(Always, "app");
    driver.exits("app", 4);
    driver.started("app");
    driver.exits("app", 4);
    assert_eq!(driver.delete(None), "stop sandbox");
    assert!(
        matches!(driver.container("app").state, Some(ContainerState::Terminated(ended)) if ended.exit_code == 4)
    );
}

#[test]
fn the_deadline_counts_from_the_start_of_the_pod_and_ends_it_with_grace() {
    let mut timed = pod(Always, "init:i sidecar:s app");
    timed.spec.active_deadline_seconds = Some(60);
    let mut driver = Driver::new(timed);
    driver.pass(20);
    driver.sandbox_ready();
    driver.started("i");
    driver.exits("i", 0);
    driver.started("s");
    driver.started("app");
    assert_eq!(driver.wakes_in(), Some(40));
    assert_eq!(driver.after(40), "stop app#0");
    assert_eq!(driver.phase(), PodPhase::Failed);
    let status = observed(driver.pod.clone(), &driver.state).status;
    assert_eq!(status.reason, "DeadlineExceeded");
    assert_eq!(status.message, "Pod was active on the node longer than the specified deadline");
    assert!(driver.journal().contains(&"DeadlineExceeded - x1".to_owned()));
    assert_eq!(driver.exits("app", 0), "stop s#0");
    assert_eq!(driver.after(30), "kill s#0");
    assert_eq!(driver.exits("s", 137), "stop sandbox");
    assert_eq!(driver.tell(Event::SandboxStopped), "finish");
    assert_eq!(driver.phase(), PodPhase::Failed);
}

#[test]
fn a_pod_that_ended_in_time_has_no_deadline() {
    let mut timed = pod(Never, "app");
    timed.spec.active_deadline_seconds = Some(60);
    let mut driver = Driver::new(timed);
    driver.sandbox_ready();
    driver.started("app");
    driver.exits("app", 0);
    assert_eq!(driver.wakes_in(), None);
    driver.after(100);
    assert_eq!(driver.phase(), PodPhase::Succeeded);
}

#[test]
fn a_pod_whose_monitor_was_lost_is_failed_and_says_so() {
    let mut driver = Driver::up(Always, "init:i sidecar:s app");
    driver.pass(5);
    lose(&driver.pod, &mut driver.state, Loss::MonitorLost, driver.now);
    assert!(driver.state.is_finished());
    assert_eq!(driver.phase(), PodPhase::Failed);
    assert_eq!(observed(driver.pod.clone(), &driver.state).status.reason, "MonitorLost");
    assert_eq!(driver.row(), "0/2 MonitorLost 0");
    let Some(ContainerState::Terminated(ended)) = driver.container("app").state else { panic!() };
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "MonitorLost"));
    assert_eq!(driver.tell(Event::Tick), "");
    assert_eq!(driver.state.wake_at(), None);
}

#[test]
fn a_pod_that_had_ended_before_its_monitor_was_lost_stays_as_it_was() {
    let mut driver = Driver::up(Never, "app");
    driver.exits("app", 0);
    lose(&driver.pod, &mut driver.state, Loss::HostRebooted, driver.now);
    assert_eq!(driver.phase(), PodPhase::Succeeded);
    assert_eq!(driver.row(), "0/1 Completed 0");
}

#[test]
fn a_pod_without_a_record_is_unknown() {
    let manifest = pod(Always, "sidecar:s app");
    let driver = Driver::new(manifest.clone());
    let state = PodState::unknown(&manifest, "its record is missing", driver.now);
    let seen = observed(manifest.clone(), &state);
    assert_eq!(seen.status.phase, Some(PodPhase::Unknown));
    assert_eq!(seen.status.message, "its record is missing");
    let row = columns(&seen, Time::from(driver.now));
    assert_eq!((row.ready.as_str(), row.status.as_str()), ("0/2", "Unknown"));
}
