//! Seccomp profiles: precedence, the default one, reading of files.

use oci_spec::runtime::LinuxSeccompArg;
use serde_json::{Value, json};

use super::super::{Facts, User};
use super::*;
use crate::image::ImageConfig;
use crate::manifest::Pod;

/// The filter of a container with this security context in a pod with that one.
fn filter(pod: Value, container: Value, file: Option<&str>) -> Result<Option<LinuxSeccomp>> {
    let spec = json!({"securityContext": pod, "containers": [{"name": "c", "securityContext": container}]});
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
    let all = ["CHOWN", "SYS_ADMIN", "SYS_CHROOT", "BPF", "SYS_PTRACE"].map(|name| name.parse().unwrap());
    let facts = Facts { capabilities: all.into(), kernel: (6, 15), ..Facts::default() };
    let config = crate::manifest::container_config(&pod, &pod.spec.containers[0], 0, &facts).unwrap();
    seccomp(&Inputs {
        config: &config,
        image: &ImageConfig::default(),
        user: &User { uid: 0, gid: 0, groups: Vec::new() },
        hostname: "web",
        cgroup: "/c",
        volume_sources: &[],
        seccomp_profile: file,
        facts: &facts,
    })
}

/// The rules for a name.
fn rules(filter: &LinuxSeccomp, name: &str) -> Vec<LinuxSyscall> {
    let named = |rule: &&LinuxSyscall| rule.names().iter().any(|own| own == name);
    filter.syscalls().iter().flatten().filter(named).cloned().collect()
}

fn default_for(container: Value) -> LinuxSeccomp {
    filter(json!({}), container, None).unwrap().unwrap()
}

#[test]
fn the_container_speaks_before_its_pod_and_nobody_means_the_default() {
    let kinds = |pod: Option<&str>, own: Option<&str>| {
        let context =
            |kind: Option<&str>| kind.map_or(json!({}), |kind| json!({"seccompProfile": {"type": kind}}));
        filter(context(pod), context(own), None).unwrap().is_some()
    };
    assert!(kinds(None, None));
    assert!(kinds(Some("RuntimeDefault"), None) && kinds(Some("Unconfined"), Some("RuntimeDefault")));
    assert!(!kinds(Some("Unconfined"), None) && !kinds(Some("RuntimeDefault"), Some("Unconfined")));
    let privileged = json!({"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}});
    assert!(filter(json!({}), privileged, None).unwrap().is_none());
}

#[test]
fn the_default_profile_makes_sense_and_names_each_syscall_once_in_a_rule() {
    let filter = default_for(json!({}));
    assert!(check_seccomp(&filter).unwrap().is_empty());
    let allowed = filter.syscalls().iter().flatten().flat_map(LinuxSyscall::names).count();
    assert!(allowed > 380, "{allowed}");
    for rule in filter.syscalls().iter().flatten() {
        let mut names = rule.names().clone();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), rule.names().len(), "{names:?}");
    }
    #[cfg(target_arch = "x86_64")]
    assert_eq!(
        filter.architectures().as_deref().unwrap(),
        [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]
    );
}

#[test]
fn the_default_profile_leaves_out_what_containers_have_no_business_with() {
    let filter = default_for(json!({}));
    for name in [
        "add_key",
        "keyctl",
        "request_key",
        "bpf",
        "mount",
        "unshare",
        "setns",
        "userfaultfd",
        "io_uring_setup",
        "kexec_load",
        "init_module",
        "open_by_handle_at",
        "perf_event_open",
        "reboot",
        "pivot_root",
    ] {
        assert_eq!(rules(&filter, name), [], "{name}");
    }
    let families: Vec<(LinuxSeccompArg, LinuxSeccompAction)> = rules(&filter, "socket")
        .iter()
        .map(|rule| (rule.args().as_ref().unwrap()[0], rule.action()))
        .collect();
    let allows = |family: u64| {
        families.iter().any(|(arg, action)| {
            assert_eq!((arg.index(), *action), (0, LinuxSeccompAction::ScmpActAllow));
            match arg.op() {
                oci_spec::runtime::LinuxSeccompOperator::ScmpCmpLt => family < arg.value(),
                oci_spec::runtime::LinuxSeccompOperator::ScmpCmpEq => family == arg.value(),
                other => panic!("{other}"),
            }
        })
    };
    let refused: Vec<u64> = (0..64).filter(|family| !allows(*family)).collect();
    let mut expected = vec![12, 19, 20, 23, 25, 34, 37, 38, 40];
    expected.extend(46..64);
    assert_eq!(refused, expected);
    let [clone3] = &rules(&filter, "clone3")[..] else { panic!("one rule for clone3") };
    assert_eq!((clone3.action(), clone3.errno_ret()), (LinuxSeccompAction::ScmpActErrno, Some(38)));
    let [clone] = &rules(&filter, "clone")[..] else { panic!("one rule for clone") };
    // CLONE_NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWNS.
    assert_eq!(clone.args().as_ref().unwrap()[0].value(), 0x7e02_0000);
}

#[test]
fn capabilities_widen_the_default_profile() {
    let with = |name: &str| default_for(json!({"capabilities": {"add": [name]}}));
    let admin = with("SYS_ADMIN");
    for name in ["mount", "unshare", "setns", "bpf", "fsopen", "clone", "clone3", "sethostname"] {
        let [rule] = &rules(&admin, name)[..] else { panic!("one rule for {name}") };
        assert_eq!((rule.action(), rule.args()), (LinuxSeccompAction::ScmpActAllow, &None), "{name}");
    }
    assert_eq!(rules(&admin, "chroot").len(), 1, "SYS_CHROOT is one of the default");
    assert_eq!(rules(&default_for(json!({"capabilities": {"drop": ["SYS_CHROOT"]}})), "chroot"), []);
    assert_eq!(rules(&with("BPF"), "bpf").len(), 1);
    assert_eq!(rules(&with("SYS_PTRACE"), "pidfd_getfd").len(), 1);
}

#[test]
fn a_file_may_have_either_form_and_is_refused_where_it_makes_no_sense() {
    let local = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}});
    let of = |text: &str| filter(local.clone(), json!({}), Some(text));
    let oci = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71,
            "args": [{"index": 1, "value": 2, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#;
    let expected: LinuxSeccomp = serde_json::from_str(oci).unwrap();
    assert_eq!(of(oci).unwrap().unwrap(), expected);
    let docker = format!(
        r#"{{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": null}}], "syscalls": [
            {{"name": "read", "action": "SCMP_ACT_ALLOW", "comment": "why", "args": null}},
            {{"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {{"arches": ["{here}", "none"], "minKernel": "6.15"}}}},
            {{"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {{"arches": ["none"]}}}},
            {{"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {{"minKernel": "6.16"}}}},
            {{"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {{"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}}}},
            {{"names": ["e"], "action": "SCMP_ACT_ALLOW", "excludes": {{"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}}}},
            {{"names": ["f"], "action": "SCMP_ACT_ALLOW", "excludes": {{"caps": [], "arches": ["none"]}}, "includes": {{}}}}]}}"#,
        here = NATIVE.1
    );
    let resolved = of(&docker).unwrap().unwrap();
    let names: Vec<&String> = resolved.syscalls().iter().flatten().flat_map(LinuxSyscall::names).collect();
    assert_eq!(names, ["read", "a", "f"], "of the two capabilities the container has one");
    for (text, part) in [
        ("", "EOF"),
        ("{", "EOF"),
        (r#"{"defaultAction": "SCMP_ACT_SHRUG"}"#, "SCMP_ACT_SHRUG"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscall": []}"#, "unknown field `syscall`"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}"#, "defaultErrnoRet"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]}"#,
            "names no syscall",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}]}"#,
            "cannot both",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG", "includes": {"caps": ["CAP_FLY"]}}]}"#,
            "CAP_FLY",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "new"}}]}"#,
            "minKernel",
        ),
    ] {
        let error = of(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Manifest, "{text}");
        assert!(error.message().starts_with("localhostProfile \"p.json\": "), "{error}");
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn a_file_is_looked_for_below_the_profiles_folder_alone() {
    let root = tempfile::tempdir().unwrap();
    let host = Host { root: root.path().into(), ..Host::default() };
    let context = |name: &str| json!({"seccompProfile": {"type": "Localhost", "localhostProfile": name}});
    let read = |name: &str| {
        let spec = json!({"containers": [{"name": "c", "securityContext": context(name)}]});
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
        let facts = Facts::default();
        let config = crate::manifest::container_config(&pod, &pod.spec.containers[0], 0, &facts)?;
        localhost_profile(&host, &config.rights)
    };
    assert_eq!(read("p.json").unwrap_err().kind(), ErrorKind::Manifest, "not even the folder is there");
    std::fs::create_dir_all(root.path().join("seccomp/profiles")).unwrap();
    std::fs::write(root.path().join("seccomp/profiles/p.json"), "text").unwrap();
    std::fs::write(root.path().join("secret"), "no").unwrap();
    std::os::unix::fs::symlink("../secret", root.path().join("seccomp/link")).unwrap();
    std::os::unix::fs::symlink("profiles/p.json", root.path().join("seccomp/within")).unwrap();
    assert_eq!(read("profiles/p.json").unwrap().unwrap(), "text");
    assert_eq!(read("within").unwrap().unwrap(), "text");
    for name in ["missing.json", "link", "profiles"] {
        let error = read(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Manifest, "{name}");
        assert!(
            error.message().contains(name) && error.hint_text().unwrap().contains("/seccomp"),
            "{error:?}"
        );
    }
    let long = root.path().join("seccomp/long");
    std::fs::write(&long, vec![b' '; usize::try_from(LONGEST).unwrap() + 1]).unwrap();
    assert!(read("long").unwrap_err().message().contains("at most"));
}
