//! The engine on a real kernel: containers are spawned from a small root, looked into, and gone
//! afterwards. Needs root; each case runs in a process of its own with one thread, as the engine wants.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Process, Spec};
use runtime::cgroup::{Cgroup, Layout};
use runtime::engine::HeldMounts;
use runtime::engine::{self, Attached, Child, ExecInputs, Inputs, Nodes, Plan, Rootfs, Stdio, Tie};
use runtime::sys::io::socket;
use runtime::sys::process::pidfd::{self, Exit, Wait};
use runtime::{Error, ErrorKind};
use serde_json::{Value, json};

#[path = "engine/allocator.rs"]
mod allocator;
#[path = "engine/bench.rs"]
mod bench;
#[path = "engine/cgroups.rs"]
mod cgroups;
#[path = "engine/fields.rs"]
mod fields;
#[path = "engine/mounts.rs"]
mod mounts;
#[path = "engine/namespaces.rs"]
mod namespaces;
#[path = "engine/order.rs"]
mod order;
#[path = "engine/process.rs"]
mod process;
#[path = "engine/seccomp.rs"]
mod seccomp;

use bench::*;

type Case = fn(&Bench);

const CASES: &[(&str, Case)] = &[
    ("a_command_runs_to_its_end", process::a_command_runs_to_its_end),
    ("a_container_is_pid_1_of_its_own_and_sees_only_its_own", namespaces::a_container_is_alone),
    ("rights_are_what_the_spec_says", process::rights_are_what_the_spec_says),
    ("only_the_standard_streams_are_open", process::only_the_standard_streams_are_open),
    ("a_process_can_be_run_inside", process::a_process_can_be_run_inside),
    ("missing_and_forbidden_commands_are_told_apart", process::missing_and_forbidden_commands),
    ("a_working_directory_outside_is_refused", process::a_working_directory_outside_is_refused),
    ("a_failed_step_reads_like_strace", process::a_failed_step_reads_like_strace),
    ("what_is_masked_is_empty", mounts::what_is_masked_is_empty),
    ("images_cannot_lead_mounts_astray", mounts::images_cannot_lead_mounts_astray),
    ("volumes_held_by_descriptor_are_shared", mounts::volumes_held_by_descriptor_are_shared),
    ("an_overlay_held_by_descriptor_is_a_root", mounts::an_overlay_is_a_root),
    ("limits_hold_and_an_oom_kill_is_counted", cgroups::limits_hold),
    ("devices_are_denied_unless_allowed", cgroups::devices_are_denied),
    ("a_cgroup_is_killed_and_removed_with_what_is_below", cgroups::a_cgroup_is_killed_and_removed),
    ("a_terminal_is_the_controlling_one", process::a_terminal_is_the_controlling_one),
    ("a_shared_pid_namespace_has_a_powerless_init", namespaces::a_shared_pid_namespace),
    ("the_order_of_the_steps_is_the_security_order", order::the_order_is_the_security_order),
    ("what_goes_among_others_has_all_behind_it", order::the_order_of_going_inside),
    ("a_seccomp_filter_holds_from_the_first_instruction", seccomp::a_filter_holds),
    ("a_seccomp_filter_has_to_allow_execve_and_capset_only", seccomp::what_a_filter_has_to_allow),
    ("a_seccomp_filter_is_for_32_bit_calls_too", seccomp::a_filter_is_for_32_bit_calls_too),
    ("a_seccomp_filter_is_kept_by_what_it_says", seccomp::a_filter_is_kept),
    ("a_seccomp_agent_is_told_and_asked", seccomp::an_agent_is_told_and_asked),
    ("a_seccomp_agent_that_is_not_there_is_an_error", seccomp::an_agent_that_is_not_there),
    ("a_start_is_awaited_with_nothing_in_hand", process::a_start_is_awaited),
    ("a_paused_child_still_sees_the_host", process::a_paused_child_still_sees_the_host),
    ("ids_of_a_user_namespace_are_the_hosts_others", namespaces::ids_of_a_user_namespace),
    ("a_process_runs_where_and_when_it_is_told_to", fields::placement),
    ("clocks_of_a_time_namespace_are_shifted", fields::time_namespace),
    ("a_user_namespace_is_joined_by_its_path", fields::joined_user_namespace),
    ("a_namespace_of_another_type_is_refused", fields::wrong_namespace),
    ("a_bind_mount_shows_other_owners", fields::idmap),
    ("a_tmpfs_begins_with_what_it_covers", fields::copy_up),
    ("a_child_that_allocates_would_abort", allocator::is_watched),
    ("nothing_is_left", nothing_is_left),
    ("timing", timing),
];

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if let Ok(case) = std::env::var("ENGINE_CASE") {
        let (_, run) =
            CASES.iter().find(|(name, _)| *name == case).expect("the case was named by this program");
        allocator::watch();
        run(&Bench::new(&case));
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|argument| argument == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) != 0) {
        println!("test engine ... ignored, needs root");
        return ExitCode::SUCCESS;
    }
    let own = std::env::current_exe().expect("/proc is mounted");
    let mut failed = 0;
    let unified_only = Layout::detect().is_ok_and(|layout| layout.is_unified_only());
    for view in [View::Host, View::Unified] {
        if view == View::Unified && unified_only {
            println!("the host has cgroup v2 alone: its view is the other one too");
            continue;
        }
        // What it prints is for a reader, so it runs only when asked for by name.
        let wanted = |name: &str| match &filter {
            None => name != "timing",
            Some(part) => name.contains(part.as_str()),
        };
        for (name, _) in CASES.iter().filter(|(name, _)| wanted(name)) {
            if view == View::Unified && ["limits_hold_and_an_oom_kill_is_counted", "timing"].contains(name) {
                println!("test {name} ({view:?}) ... ignored, needs controllers");
                continue;
            }
            let run = view.command(&own).env("ENGINE_CASE", name).status().expect("it can be run again");
            println!("test {name} ({view:?}) ... {}", if run.success() { "ok" } else { "FAILED" });
            failed += u32::from(!run.success());
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How a case sees the host's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// As they are.
    Host,
    /// As on a host that has v2 alone, if without controllers.
    Unified,
}

impl View {
    fn command(self, program: &Path) -> Command {
        match self {
            Self::Host => Command::new(program),
            Self::Unified => {
                let mut command = Command::new("unshare");
                let script =
                    "umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\"";
                command.args(["-m", "sh", "-c", script]).arg(program);
                command
            }
        }
    }
}

fn nothing_is_left(bench: &Bench) {
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let fds = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = (mounts(), fds());
    for _ in 0..20 {
        bench.print(&["true"], &[]);
        bench.fail(&["nothing"], &[]);
        let init = bench.pause();
        exec(bench, &init, &["true"], json!({})).unwrap();
        kill(&init);
    }
    assert_eq!((mounts(), fds()), before);
    assert!(bench.cgroup.pids().unwrap().is_empty());
}

/// Not a check: what spawning costs here, beside the floor program where one is named by FLOOR.
fn timing(bench: &Bench) {
    let mut spec = serde_json::to_value(bench.spec(&["true"], &[])).unwrap();
    spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "cgroup");
    if std::env::var_os("BARE").is_some() {
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
    }
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let (mut compile, mut run, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..200 {
        let begin = Instant::now();
        let cgroup =
            Cgroup::create(&bench.layout, &format!("{}/t{number}", bench.cgroup.path()), None).unwrap();
        let compiled = Instant::now();
        let plan = engine::compile(plain(&spec, &cgroup, stdio(null()))).unwrap();
        let spawned = Instant::now();
        let child = start(&plan).unwrap();
        run.push(spawned.elapsed());
        assert_eq!(end(&child), Exit::Code(0));
        cgroup.remove().unwrap();
        whole.push(begin.elapsed());
        compile.push(spawned - compiled);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let init = bench.pause();
    let mut inside = Vec::new();
    for _ in 0..100 {
        let begin = Instant::now();
        exec(bench, &init, &["true"], json!({})).unwrap();
        inside.push(begin.elapsed());
    }
    kill(&init);
    println!(
        "compile {:?}, spawn to exec {:?}, cgroup to end {:?}; exec of true {:?}",
        median(&mut compile),
        median(&mut run),
        median(&mut whole),
        median(&mut inside)
    );
    let Some(floor) = std::env::var_os("FLOOR") else { return };
    let mut times = Vec::new();
    for number in 0..100 {
        let begin = Instant::now();
        let cgroup = format!("/sys/fs/cgroup/unified/floor{number}");
        assert!(Command::new(&floor).arg("run").arg(bench.root()).arg(cgroup).status().unwrap().success());
        times.push(begin.elapsed());
    }
    println!("floor run {:?}", median(&mut times));
}
