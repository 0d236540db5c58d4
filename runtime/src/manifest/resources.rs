//! What a manifest's requests and limits mean to the kernel: cgroup values and oom_score_adj, as a
//! kubelet computes them.
//!
//! Invariant: pure arithmetic; a value that is absent from the result is one the kernel's own
//! default serves for.

use oci_spec::runtime::{
    LinuxCpu, LinuxCpuBuilder, LinuxMemory, LinuxMemoryBuilder, LinuxPids, LinuxResources,
    LinuxResourcesBuilder,
};

use super::{Container, Pod, PodSpec, QosClass, ResourceRequirements, qos_class};
use crate::pod::Missing;

/// The scheduler's period that quotas refer to, in microseconds.
const CPU_PERIOD: u64 = 100_000;
/// The smallest quota the kernel takes, in microseconds.
const MIN_QUOTA: u64 = 1_000;
/// The smallest and largest cpu.shares the kernel takes.
const SHARES: (u64, u64) = (2, 262_144);
/// Processes and threads that a container may have where nothing says otherwise: as podman.
const PIDS_LIMIT: i64 = 2048;

/// The limits of one container's cgroup; `devices` are the engine's. No container swaps, and, where memory is limited
/// by cgroup v2 (`unified`), all of it dies when it has used up its own.
pub(crate) fn container(container: &Container, unified: bool, missing: Missing) -> LinuxResources {
    let requirements = &container.resources;
    let mut resources = build(
        cpu(shares_of(cpu_request(requirements), missing), requirements.cpu_limit()),
        requirements.memory_limit().filter(|limit| *limit > 0),
        Some(PIDS_LIMIT).filter(|_| !missing.pids),
    );
    let mut memory = resources.memory().unwrap_or_default();
    // Memory and swap together: none is left for swap.
    memory.set_swap(memory.limit());
    resources.set_memory(memory.limit().map(|_| memory));
    if unified {
        let files = [("memory.oom.group", "1"), ("memory.swap.max", "0")];
        let files = files.map(|(file, value)| (file.to_owned(), value.to_owned()));
        resources.set_unified(Some(files.into()));
    }
    resources
}

/// The limits of the pod's own cgroup: the sums that a kubelet would give it.
pub(crate) fn pod(pod: &Pod, missing: Missing) -> LinuxResources {
    let spec = &pod.spec;
    let cpu_limit = pod_limit(spec, ResourceRequirements::cpu_limit);
    let memory_limit = pod_limit(spec, ResourceRequirements::memory_limit);
    build(cpu(shares_of(peak(spec, cpu_request), missing), cpu_limit), memory_limit, None)
}

/// The request that shares are made of: who asks for nothing has the least of them, where there are any.
fn shares_of(request_milli: u64, missing: Missing) -> Option<u64> {
    Some(request_milli).filter(|milli| *milli > 0 || !missing.cpu)
}

/// What the containers may use together at any moment; `None` where one of them has no limit.
fn pod_limit(spec: &PodSpec, of: fn(&ResourceRequirements) -> Option<u64>) -> Option<u64> {
    let limited = |container: &Container| of(&container.resources).is_some_and(|limit| limit > 0);
    spec.all_containers().all(limited).then(|| peak(spec, |resources| of(resources).unwrap_or(0)))
}

/// A memory volume's size: its own limit, and never more than the containers may use together.
/// `None`: the kernel's default, half of the host's memory.
pub(crate) fn memory_volume_size(spec: &PodSpec, size_limit: Option<u64>) -> Option<u64> {
    let together = pod_limit(spec, ResourceRequirements::memory_limit);
    match (size_limit.filter(|limit| *limit > 0), together) {
        (Some(limit), Some(together)) => Some(limit.min(together)),
        (limit, together) => limit.or(together),
    }
}

/// How readily the kernel kills the container for want of memory, given the host's memory in bytes.
pub(crate) fn oom_score_adj(spec: &PodSpec, container: &Container, host_memory: u64) -> i32 {
    match qos_class(spec) {
        QosClass::Guaranteed => return -997,
        QosClass::BestEffort => return 1000,
        QosClass::Burstable => {}
    }
    let own = burstable_score(container.resources.memory_request().unwrap_or(0), host_memory);
    if !spec.init_containers.iter().any(|init| init.restarts_always() && init.name == container.name) {
        return own;
    }
    // A sidecar must not die before the containers it serves.
    let apps = spec.containers.iter().map(|app| app.resources.memory_request().unwrap_or(0));
    apps.min().map_or(own, |smallest| own.min(burstable_score(smallest, host_memory)))
}

fn burstable_score(request: u64, host_memory: u64) -> i32 {
    let share = u128::from(request) * 1000 / u128::from(host_memory.max(1));
    let score = 1000 - i32::try_from(share).unwrap_or(i32::MAX).min(1000);
    score.clamp(3, 999)
}

fn cpu_request(requirements: &ResourceRequirements) -> u64 {
    requirements.cpu_request().or_else(|| requirements.cpu_limit()).unwrap_or(0)
}

/// The most of a resource that the pod's containers ask for at any moment: app containers and
/// sidecars together, or one init container beside the sidecars before it.
fn peak(spec: &PodSpec, of: impl Fn(&ResourceRequirements) -> u64) -> u64 {
    let mut sidecars = 0_u64;
    let mut highest = 0;
    for init in &spec.init_containers {
        let own = of(&init.resources);
        if init.restarts_always() {
            sidecars = sidecars.saturating_add(own);
            highest = highest.max(sidecars);
        } else {
            highest = highest.max(sidecars.saturating_add(own));
        }
    }
    let running = spec.containers.iter().fold(sidecars, |sum, app| sum.saturating_add(of(&app.resources)));
    highest.max(running)
}

fn cpu(request_milli: Option<u64>, limit_milli: Option<u64>) -> LinuxCpu {
    let mut cpu = LinuxCpuBuilder::default();
    if let Some(milli) = request_milli {
        cpu = cpu.shares((milli.saturating_mul(1024) / 1000).clamp(SHARES.0, SHARES.1));
    }
    if let Some(milli) = limit_milli.filter(|milli| *milli > 0) {
        let quota = (milli.saturating_mul(CPU_PERIOD) / 1000).max(MIN_QUOTA);
        cpu = cpu.quota(i64::try_from(quota).unwrap_or(i64::MAX)).period(CPU_PERIOD);
    }
    cpu.build().expect("every field of LinuxCpu is optional")
}

fn build(cpu: LinuxCpu, memory: Option<u64>, pids: Option<i64>) -> LinuxResources {
    let mut resources = LinuxResourcesBuilder::default().cpu(cpu);
    if let Some(limit) = memory {
        resources = resources.memory(memory_limit(limit));
    }
    if let Some(limit) = pids {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources = resources.pids(pids);
    }
    let mut resources = resources.build().expect("every field of LinuxResources is optional");
    // The library's default denies every device; the engine makes that rule itself.
    resources.set_devices(None);
    resources
}

fn memory_limit(limit: u64) -> LinuxMemory {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    LinuxMemoryBuilder::default().limit(limit).build().expect("every field of LinuxMemory is optional")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod_of(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn with(name: &str, requests: serde_json::Value, limits: serde_json::Value) -> serde_json::Value {
        serde_json::json!({"name": name, "image": "i", "resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn classes() {
        use serde_json::json;
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let class =
            |containers: serde_json::Value| qos_class(&pod_of(json!({"containers": containers})).spec);
        assert_eq!(class(json!([with("a", json!({}), json!({}))])), QosClass::BestEffort);
        assert_eq!(class(json!([with("a", both.clone(), both.clone())])), QosClass::Guaranteed);
        assert_eq!(class(json!([with("a", json!({}), both.clone())])), QosClass::Guaranteed);
        assert_eq!(
            class(json!([with("a", json!({"cpu": "1000m", "memory": "1024Mi"}), both)])),
            QosClass::Guaranteed
        );
        assert_eq!(class(json!([with("a", json!({"cpu": "1"}), json!({}))])), QosClass::Burstable);
    }

    #[test]
    fn shares_quota_and_memory_follow_the_kubelet() {
        use serde_json::json;
        let limits = json!({"cpu": "250m", "memory": "64Mi"});
        let pod_ = pod_of(json!({"containers": [with("a", json!({"cpu": "100m"}), limits)]}));
        let own = container(&pod_.spec.containers[0], false, Missing::default());
        let cpu = own.cpu().as_ref().unwrap();
        assert_eq!((cpu.shares(), cpu.quota(), cpu.period()), (Some(102), Some(25_000), Some(100_000)));
        assert_eq!(own.memory().as_ref().unwrap().limit(), Some(64 << 20));
        assert_eq!(own.pids().as_ref().unwrap().limit(), PIDS_LIMIT);
        let tiny = pod_of(json!({"containers": [with("a", json!({}), json!({"cpu": "1m"}))]}));
        assert_eq!(
            container(&tiny.spec.containers[0], false, Missing::default()).cpu().as_ref().unwrap().quota(),
            Some(1_000)
        );
        let none = pod_of(json!({"containers": [with("a", json!({}), json!({}))]}));
        let none = container(&none.spec.containers[0], false, Missing::default());
        assert_eq!(none.cpu().as_ref().unwrap().shares(), Some(2));
        assert!(none.memory().is_none());
        assert!(none.unified().is_none());
    }

    #[test]
    fn without_a_controller_only_what_is_asked_for_is_there() {
        use serde_json::json;
        let missing = Missing { cpu: true, pids: true };
        let none = pod_of(json!({"containers": [with("a", json!({}), json!({}))]}));
        let asked = pod_of(json!({"containers": [with("a", json!({"cpu": "1"}), json!({}))]}));
        let shares = |resources: LinuxResources| resources.cpu().as_ref().and_then(LinuxCpu::shares);
        for (pod_, expected) in [(&none, None), (&asked, Some(1024))] {
            let own = container(&pod_.spec.containers[0], false, missing);
            assert!(own.pids().is_none());
            assert_eq!((shares(own), shares(pod(pod_, missing))), (expected, expected));
        }
    }

    #[test]
    fn no_container_swaps_and_on_v2_all_of_it_dies_together() {
        use serde_json::json;
        let of = |limits: serde_json::Value, unified: bool| {
            container(
                &pod_of(json!({"containers": [with("a", json!({}), limits)]})).spec.containers[0],
                unified,
                Missing::default(),
            )
        };
        let v1 = of(json!({"memory": "64Mi"}), false);
        let memory = v1.memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(64 << 20), Some(64 << 20)));
        for limits in [json!({}), json!({"memory": "64Mi"})] {
            let files = of(limits, true).unified().clone().unwrap();
            assert_eq!(files.get("memory.oom.group").map(String::as_str), Some("1"));
            assert_eq!(files.get("memory.swap.max").map(String::as_str), Some("0"));
        }
    }

    #[test]
    fn a_pod_is_limited_only_when_every_container_is() {
        use serde_json::json;
        let limited = with("a", json!({"cpu": "1"}), json!({"cpu": "1", "memory": "64Mi"}));
        let two = pod_of(json!({"containers": [limited, with("b", json!({}), json!({"cpu": "1"}))]}));
        let resources = pod(&two, Missing::default());
        assert!(resources.memory().is_none(), "b may use any memory");
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(200_000));
        assert_eq!(resources.cpu().as_ref().unwrap().shares(), Some(2048));
    }

    #[test]
    fn the_peak_counts_init_containers_beside_the_sidecars_before_them() {
        use serde_json::json;
        let mut sidecar = with("s", json!({"cpu": "100m"}), json!({}));
        sidecar["restartPolicy"] = json!("Always");
        let init = with("i", json!({"cpu": "2"}), json!({}));
        let app = with("a", json!({"cpu": "1"}), json!({}));
        let spec = json!({"initContainers": [sidecar, init], "containers": [app]});
        assert_eq!(peak(&pod_of(spec).spec, cpu_request), 2_100);
    }

    #[test]
    fn oom_scores() {
        use serde_json::json;
        let gib = 1_u64 << 30;
        let score = |container: serde_json::Value| {
            let pod = pod_of(json!({"containers": [container]}));
            oom_score_adj(&pod.spec, &pod.spec.containers[0], 4 * gib)
        };
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(score(with("a", both.clone(), both)), -997);
        assert_eq!(score(with("a", json!({}), json!({}))), 1000);
        assert_eq!(score(with("a", json!({"memory": "1Gi"}), json!({}))), 750);
        assert_eq!(score(with("a", json!({"memory": "8Gi"}), json!({}))), 3);
        assert_eq!(score(with("a", json!({"cpu": "1"}), json!({}))), 999);
    }

    #[test]
    fn a_memory_volume_is_never_larger_than_the_containers_memory() {
        use serde_json::json;
        let limited = pod_of(json!({"containers": [with("a", json!({}), json!({"memory": "64Mi"}))]})).spec;
        let free = pod_of(json!({"containers": [with("a", json!({}), json!({}))]})).spec;
        assert_eq!(memory_volume_size(&limited, Some(1 << 30)), Some(64 << 20));
        assert_eq!(memory_volume_size(&limited, Some(1 << 20)), Some(1 << 20));
        assert_eq!(memory_volume_size(&free, Some(1 << 30)), Some(1 << 30));
        assert_eq!(memory_volume_size(&free, None), None);
        // An init container is gone when the others run: the most at a time is what counts.
        let after = |memory: &str| {
            let init = with("i", json!({}), json!({"memory": memory}));
            let app = with("a", json!({}), json!({"memory": "64Mi"}));
            memory_volume_size(&pod_of(json!({"initContainers": [init], "containers": [app]})).spec, None)
        };
        assert_eq!((after("32Mi"), after("96Mi")), (Some(64 << 20), Some(96 << 20)));
    }
}
