//! The state as others read it: the v1 status, and kubectl's columns.

use super::driver::{BEGIN, Driver};
use crate::manifest::RestartPolicy::*;
use crate::manifest::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodPhase, Time};
use crate::policy::columns::{columns, human_duration};
use crate::policy::{ImageFact, Journal, Moment, PodState, StartFailure, status};

#[test]
fn the_status_has_kubernetes_shape() {
    let mut driver = Driver::up(Always, "app");
    driver.pass(1);
    let json = serde_json::to_value(status(&driver.pod, &driver.state)).unwrap();
    let at = Time::from(BEGIN).to_string();
    let condition = |kind: &str| serde_json::json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": at});
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .map(condition);
    assert_eq!(json["conditions"], serde_json::Value::from(conditions.to_vec()));
    assert_eq!(json["phase"], "Running");
    assert_eq!(json["qosClass"], "BestEffort");
    assert_eq!(json["hostIP"], "192.0.2.1");
    assert_eq!(json["podIP"], "10.87.0.2");
    assert_eq!(json["podIPs"], serde_json::json!([{"ip": "10.87.0.2"}, {"ip": "fd10:87::2"}]));
    assert_eq!(json["startTime"], at);
    let container = serde_json::json!({
        "containerID": "podrun://app0",
        "image": "app.example/app:1",
        "imageID": "sha256:1",
        "lastState": {},
        "name": "app",
        "ready": true,
        "restartCount": 0,
        "started": true,
        "state": {"running": {"startedAt": at}},
    });
    assert_eq!(json["containerStatuses"], serde_json::json!([container]));
}

#[test]
fn the_messages_of_a_pod_share_twelve_kib() {
    for (containers, most) in [("a b c", 4096), ("init:i a b c", 3072), ("a b c d e f", 2048)] {
        let mut driver = Driver::up(Never, containers);
        if containers.starts_with("init") {
            driver.exits("i", 0);
        }
        driver.exits_with_message("a", 1, &"\u{e4}".repeat(2048));
        let statuses = status(&driver.pod, &driver.state).container_statuses;
        let Some(ContainerState::Terminated(ended)) = &statuses[0].state else { panic!("{statuses:?}") };
        assert_eq!(ended.message.len(), most, "{containers}");
    }
    let mut driver = Driver::up(Never, "a b c d e");
    driver.exits_with_message("a", 1, &"\u{20ac}".repeat(1365));
    let statuses = status(&driver.pod, &driver.state).container_statuses;
    let Some(ContainerState::Terminated(ended)) = &statuses[0].state else { panic!("{statuses:?}") };
    assert_eq!(ended.message.len(), 2457, "2457 bytes are its share, and 819 whole characters fit");
}

#[test]
fn a_condition_keeps_the_moment_at_which_it_last_changed() {
    let mut driver = Driver::up(Always, "app");
    driver.pass(7);
    driver.exits("app", 1);
    driver.pass(7);
    driver.start_fails("app", StartFailure::StartError);
    let conditions = status(&driver.pod, &driver.state).conditions;
    let since =
        |kind: &str| conditions.iter().find(|c| c.kind == kind).unwrap().last_transition_time.unwrap();
    assert_eq!(since("Ready"), Time::from(BEGIN.plus_seconds(7)));
    assert_eq!(since("Initialized"), Time::from(BEGIN));
    assert_eq!(driver.condition("Ready"), "False ContainersNotReady containers with unready status: [app]");
}

#[test]
fn a_state_survives_being_written_and_read_back() {
    let mut driver = Driver::up(OnFailure, "init:i sidecar:s a b");
    driver.exits("a", 1);
    driver.start_fails("a", StartFailure::CreateContainerError);
    driver.exits("b", 1);
    driver.delete(Some(9));
    let written = serde_json::to_string(&driver.state).unwrap();
    assert_eq!(serde_json::from_str::<PodState>(&written).unwrap(), driver.state);
}

#[test]
fn the_journal_does_not_grow_for_ever() {
    let mut journal = Journal::default();
    for round in 0..1000 {
        let error = format!("{round}");
        crate::policy::narrate::failed(&mut journal, "app", &error, Moment(round));
        crate::policy::narrate::started(&mut journal, "app", Moment(round));
    }
    assert_eq!(journal.entries().len(), Journal::LIMIT);
    let last = journal.entries().last().unwrap();
    assert_eq!((last.count, last.first_at, last.last_at), (1000, Moment(0), Moment(999)));
}

#[test]
fn the_pull_is_told_as_kubernetes_tells_it() {
    let mut driver = Driver::new(super::driver::pod(Always, "app"));
    driver.state.containers[0].image =
        ImageFact { pulled_millis: Some(2305), size: 42, ..ImageFact::default() };
    driver.sandbox_ready();
    driver.started("app");
    driver.exits("app", 0);
    let told: Vec<_> = driver.state.events.entries().iter().map(|entry| entry.message.as_str()).collect();
    let pulled = "Successfully pulled image \"app.example/app:1\" in 2.305s (2.305s including waiting). \
                  Image size: 42 bytes.";
    assert_eq!(told[0], pulled);
    assert_eq!(told[3], "Container image \"app.example/app:1\" already present on machine");
}

#[test]
fn durations_are_written_as_kubectl_writes_them() {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    for (seconds, words) in [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (10 * MINUTE - 1, "9m59s"),
        (10 * MINUTE + 5, "10m"),
        (3 * HOUR - 1, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + MINUTE, "3h1m"),
        (8 * HOUR - 1, "7h59m"),
        (8 * HOUR + MINUTE, "8h"),
        (2 * DAY - 1, "47h"),
        (2 * DAY, "2d"),
        (2 * DAY + HOUR, "2d1h"),
        (8 * DAY - 1, "7d23h"),
        (8 * DAY + HOUR, "8d"),
        (2 * YEAR - 1, "729d"),
        (2 * YEAR, "2y"),
        (2 * YEAR + DAY, "2y1d"),
        (8 * YEAR - 1, "7y364d"),
        (8 * YEAR + DAY, "8y"),
    ] {
        assert_eq!(human_duration(seconds), words, "{seconds}");
    }
}

/// A pod with one container that ended thus, and no reason for it.
fn ended_without_reason(init: bool, exit_code: i32, signal: i32) -> Pod {
    let mut pod = super::driver::pod(Never, "init:i app");
    let ended = ContainerStateTerminated { exit_code, signal, ..ContainerStateTerminated::default() };
    let status = ContainerStatus {
        name: if init { "i" } else { "app" }.into(),
        state: Some(ContainerState::Terminated(ended)),
        ..ContainerStatus::default()
    };
    pod.status.phase = Some(PodPhase::Failed);
    if init {
        pod.status.init_container_statuses = vec![status];
    } else {
        pod.status.container_statuses = vec![status];
    }
    pod
}

#[test]
fn where_no_reason_is_known_the_signal_or_the_exit_code_is_shown() {
    for (init, code, signal, words) in [
        (false, 3, 0, "ExitCode:3"),
        (false, 137, 9, "Signal:9"),
        (true, 3, 0, "Init:ExitCode:3"),
        (true, 137, 9, "Init:Signal:9"),
    ] {
        let pod = ended_without_reason(init, code, signal);
        assert_eq!(columns(&pod, Time::from(BEGIN)).status, words);
    }
}

#[test]
fn a_pod_without_containers_statuses_shows_its_reason_else_its_phase() {
    let mut pod = super::driver::pod(Never, "app");
    pod.status.phase = Some(PodPhase::Pending);
    assert_eq!(columns(&pod, Time::from(BEGIN)).status, "Pending");
    pod.status.reason = "Evicted".into();
    assert_eq!(columns(&pod, Time::from(BEGIN)).status, "Evicted");
    assert_eq!(columns(&pod, Time::from(BEGIN.plus_seconds(90))).age, "90s");
}
