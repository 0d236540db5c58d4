//! The schema of runtime-spec 1.3 as a table: the required members of each type, and the names of each
//! enumeration. Everything listed is read.

use super::*;

/// A config in which `value` is where `place` has a `@`.
fn config(place: &str, value: &str) -> Value {
    let text = place.replace('@', value);
    let mut config: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    if let Some(process) = config.get_mut("process").and_then(Value::as_object_mut)
        && place != r#"{"process":@}"#
    {
        process.insert("cwd".into(), json!("/"));
    }
    config
}

fn reads(config: &Value) -> Result<Read<Spec>> {
    spec(config.to_string().as_bytes())
}

/// The place of each type, and an object with only the members that the schema requires. The last named member
/// is refused when missing; for the others Go's decoder and the crate have a zero.
const TYPES: &[(&str, &str, &[&str])] = &[
    ("@", "{}", &[]),
    (r#"{"root":@}"#, r#"{"path":"r"}"#, &["path"]),
    (r#"{"mounts":[@]}"#, r#"{"destination":"/a"}"#, &["destination"]),
    (r#"{"mounts":[{"destination":"/a","uidMappings":[@]}]}"#, IDS, &[]),
    (r#"{"hooks":@}"#, "{}", &[]),
    (r#"{"hooks":{"prestart":[@],"createRuntime":[],"createContainer":[]}}"#, r#"{"path":"/a"}"#, &["path"]),
    (r#"{"hooks":{"startContainer":[],"poststart":[],"poststop":[@]}}"#, r#"{"path":"/a"}"#, &["path"]),
    (r#"{"annotations":@}"#, "{}", &[]),
    (r#"{"process":@}"#, r#"{"cwd":"/"}"#, &["cwd"]),
    (r#"{"process":{"user":@}}"#, "{}", &[]),
    (r#"{"process":{"consoleSize":@}}"#, r#"{"height":1,"width":1}"#, &[]),
    (r#"{"process":{"capabilities":@}}"#, "{}", &[]),
    (r#"{"process":{"ioPriority":@}}"#, r#"{"class":"IOPRIO_CLASS_BE"}"#, &[]),
    (r#"{"process":{"scheduler":@}}"#, r#"{"policy":"SCHED_OTHER"}"#, &["policy"]),
    (r#"{"process":{"rlimits":[@]}}"#, r#"{"type":"RLIMIT_CPU","soft":1,"hard":1}"#, &["type"]),
    (r#"{"process":{"execCPUAffinity":@}}"#, "{}", &[]),
    (r#"{"linux":@}"#, "{}", &[]),
    (r#"{"linux":{"devices":[@]}}"#, r#"{"type":"c","path":"/dev/a"}"#, &["type"]),
    (r#"{"linux":{"netDevices":{"eth0":@}}}"#, "{}", &[]),
    (r#"{"linux":{"uidMappings":[@],"gidMappings":[@]}}"#, IDS, &[]),
    (r#"{"linux":{"namespaces":[@]}}"#, r#"{"type":"pid"}"#, &["type"]),
    (r#"{"linux":{"resources":@}}"#, "{}", &[]),
    (r#"{"linux":{"resources":{"devices":[@]}}}"#, r#"{"allow":true}"#, &[]),
    (r#"{"linux":{"resources":{"pids":@}}}"#, r#"{"limit":1}"#, &[]),
    (r#"{"linux":{"resources":{"blockIO":@}}}"#, "{}", &[]),
    (r#"{"linux":{"resources":{"blockIO":{"weightDevice":[@]}}}}"#, NUMBER, &[]),
    (
        r#"{"linux":{"resources":{"blockIO":{"throttleReadBpsDevice":[@],"throttleWriteIOPSDevice":[@]}}}}"#,
        NUMBER,
        &[],
    ),
    (r#"{"linux":{"resources":{"cpu":@}}}"#, "{}", &[]),
    (r#"{"linux":{"resources":{"memory":@}}}"#, "{}", &[]),
    (r#"{"linux":{"resources":{"hugepageLimits":[@]}}}"#, r#"{"pageSize":"2MB","limit":1}"#, &[]),
    (r#"{"linux":{"resources":{"network":@}}}"#, "{}", &[]),
    (r#"{"linux":{"resources":{"network":{"priorities":[@]}}}}"#, r#"{"name":"eth0","priority":1}"#, &[]),
    (r#"{"linux":{"resources":{"rdma":{"mlx5":@}}}}"#, "{}", &[]),
    (r#"{"linux":{"seccomp":@}}"#, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, &["defaultAction"]),
    (
        r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[@]}}}"#,
        r#"{"names":["read"],"action":"SCMP_ACT_ALLOW"}"#,
        &["names", "action"],
    ),
    (SECCOMP_ARG, r#"{"index":0,"value":1,"op":"SCMP_CMP_EQ"}"#, &["index", "value", "op"]),
    (r#"{"linux":{"intelRdt":@}}"#, "{}", &[]),
    (r#"{"linux":{"memoryPolicy":@}}"#, "{}", &[]),
    (r#"{"linux":{"personality":@}}"#, "{}", &[]),
    (r#"{"linux":{"timeOffsets":{"boottime":@,"monotonic":@}}}"#, "{}", &[]),
];
const IDS: &str = r#"{"containerID":0,"hostID":0,"size":1}"#;
const NUMBER: &str = r#"{"major":8,"minor":0}"#;
const SECCOMP_ARG: &str = r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[@]}]}}}"#;

#[test]
fn what_the_schema_requires_is_enough() {
    for (place, least, refused) in TYPES {
        let read = reads(&config(place, least)).unwrap_or_else(|error| panic!("{place} {least}: {error}"));
        assert!(read.warnings.is_empty(), "{place}: {:?}", read.warnings);
        assert_eq!(
            serde_json::from_value::<Spec>(read.document).unwrap(),
            read.value,
            "what is kept reads the same"
        );
        let least: Map<String, Value> = serde_json::from_str(least).unwrap();
        for field in *refused {
            let mut less = least.clone();
            less.remove(*field).unwrap();
            let error = reads(&config(place, &Value::Object(less).to_string())).unwrap_err();
            assert!(error.message().contains(&format!("`{field}`")), "{place}: {error}");
        }
        let mut more = least.clone();
        more.insert("unknown".into(), json!({"of": ["another", null]}));
        if !place.contains("annotations") {
            reads(&config(place, &Value::Object(more).to_string())).unwrap();
        }
    }
}

/// The place of each enumeration, the prefix of its names, and the names.
const NAMES: &[(&str, &str, &str)] = &[
    (r#"{"process":{"ioPriority":{"class":@}}}"#, "IOPRIO_CLASS_", "RT BE IDLE"),
    (r#"{"process":{"scheduler":{"policy":@}}}"#, "SCHED_", "OTHER FIFO RR BATCH ISO IDLE DEADLINE"),
    (
        r#"{"process":{"scheduler":{"policy":"SCHED_OTHER","flags":[@]}}}"#,
        "SCHED_FLAG_",
        "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX",
    ),
    (
        r#"{"process":{"rlimits":[{"type":@,"soft":1,"hard":1}]}}"#,
        "RLIMIT_",
        "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK",
    ),
    (r#"{"linux":{"devices":[{"path":"/dev/a","type":@}]}}"#, "", "c b u p"),
    (r#"{"linux":{"resources":{"devices":[{"allow":true,"type":@}]}}}"#, "", "a c b"),
    (r#"{"linux":{"namespaces":[{"type":@}]}}"#, "", "mount pid network uts ipc user cgroup time"),
    (
        r#"{"linux":{"memoryPolicy":{"mode":@}}}"#,
        "MPOL_",
        "DEFAULT BIND INTERLEAVE WEIGHTED_INTERLEAVE PREFERRED PREFERRED_MANY LOCAL",
    ),
    (r#"{"linux":{"memoryPolicy":{"flags":[@]}}}"#, "MPOL_F_", "NUMA_BALANCING RELATIVE_NODES STATIC_NODES"),
    (r#"{"linux":{"personality":{"domain":@}}}"#, "LINUX", " 32"),
    (
        r#"{"linux":{"seccomp":{"defaultAction":@}}}"#,
        "SCMP_ACT_",
        "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY",
    ),
    (
        r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","flags":[@]}}}"#,
        "SECCOMP_FILTER_FLAG_",
        "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV",
    ),
    (
        r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":[@]}}}"#,
        "SCMP_ARCH_",
        "X86 X86_64 X32 ARM AARCH64 LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 \
         S390X SH SHEB PARISC PARISC64 RISCV64",
    ),
    (ARG_OP, "SCMP_CMP_", "NE LT LE EQ GE GT MASKED_EQ"),
];
const ARG_OP: &str = r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":1,"op":@}]}]}}}"#;

#[test]
fn every_name_of_the_schema_is_known() {
    for (place, before, names) in NAMES {
        for name in names.split(' ') {
            let text = json!(format!("{before}{name}")).to_string();
            reads(&config(place, &text)).unwrap_or_else(|error| panic!("{place} {text}: {error}"));
        }
        let error = reads(&config(place, r#""BOGUS""#)).unwrap_err();
        assert!(error.message().contains("BOGUS"), "{place}: {error}");
    }
}

/// Where a number stands, and how far it may go.
const NUMBERS: &[(&str, i128, i128)] = &[
    (r#"{"process":{"oomScoreAdj":@}}"#, -1000, 1000),
    (r#"{"process":{"user":{"uid":@,"gid":@,"umask":@,"additionalGids":[@]}}}"#, 0, u32::MAX as i128),
    (r#"{"process":{"consoleSize":{"height":@,"width":@}}}"#, 0, u64::MAX as i128),
    (r#"{"process":{"rlimits":[{"type":"RLIMIT_CPU","soft":@,"hard":@}]}}"#, 0, u64::MAX as i128),
    (
        r#"{"process":{"scheduler":{"policy":"SCHED_OTHER","nice":@,"priority":@}}}"#,
        i32::MIN as i128,
        i32::MAX as i128,
    ),
    (
        r#"{"process":{"scheduler":{"policy":"SCHED_OTHER","runtime":@,"deadline":@,"period":@}}}"#,
        0,
        u64::MAX as i128,
    ),
    (
        r#"{"process":{"ioPriority":{"class":"IOPRIO_CLASS_RT","priority":@}}}"#,
        i32::MIN as i128,
        i32::MAX as i128,
    ),
    (
        r#"{"linux":{"resources":{"memory":{"limit":@,"swap":@,"reservation":@,"kernel":@,"kernelTCP":@}}}}"#,
        i64::MIN as i128,
        i64::MAX as i128,
    ),
    (r#"{"linux":{"resources":{"memory":{"swappiness":@}}}}"#, 0, u64::MAX as i128),
    (r#"{"linux":{"resources":{"hugepageLimits":[{"pageSize":"2MB","limit":@}]}}}"#, 0, u64::MAX as i128),
    (
        r#"{"linux":{"resources":{"cpu":{"shares":@,"period":@,"burst":@,"realtimePeriod":@}}}}"#,
        0,
        u64::MAX as i128,
    ),
    (
        r#"{"linux":{"resources":{"cpu":{"quota":@,"realtimeRuntime":@,"idle":@}}}}"#,
        i64::MIN as i128,
        i64::MAX as i128,
    ),
    (r#"{"linux":{"resources":{"pids":{"limit":@}}}}"#, i64::MIN as i128, i64::MAX as i128),
    (r#"{"linux":{"resources":{"blockIO":{"weight":@,"leafWeight":@}}}}"#, 0, u16::MAX as i128),
    (
        r#"{"linux":{"resources":{"blockIO":{"throttleReadBpsDevice":[{"major":1,"minor":1,"rate":@}]}}}}"#,
        0,
        u64::MAX as i128,
    ),
    (r#"{"linux":{"resources":{"network":{"classID":@}}}}"#, 0, u32::MAX as i128),
    (r#"{"linux":{"resources":{"rdma":{"a":{"hcaHandles":@,"hcaObjects":@}}}}}"#, 0, u32::MAX as i128),
    (
        r#"{"linux":{"devices":[{"path":"/a","type":"c","major":@,"minor":@}]}}"#,
        i64::MIN as i128,
        i64::MAX as i128,
    ),
    (
        r#"{"linux":{"devices":[{"path":"/a","type":"c","fileMode":511,"uid":@,"gid":@}]}}"#,
        0,
        u32::MAX as i128,
    ),
    (
        r#"{"linux":{"uidMappings":[{"containerID":@,"hostID":@,"size":@}],"gidMappings":[]}}"#,
        0,
        u32::MAX as i128,
    ),
    (r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":@}}}"#, 0, u32::MAX as i128),
    (r#"{"linux":{"timeOffsets":{"boottime":{"secs":@}}}}"#, i64::MIN as i128, i64::MAX as i128),
    (r#"{"linux":{"timeOffsets":{"monotonic":{"nanosecs":@}}}}"#, 0, u32::MAX as i128),
];

#[test]
fn numbers_go_as_far_as_the_schema_lets_them() {
    for (place, least, most) in NUMBERS {
        for number in [least, most] {
            reads(&config(place, &number.to_string()))
                .unwrap_or_else(|error| panic!("{place} {number}: {error}"));
        }
    }
}

#[test]
fn a_null_is_an_absent_member() {
    let document = r#"{
        "root": null, "mounts": null, "hooks": {"prestart": null}, "annotations": {"a": null, "b": "c"}, "hostname": null,
        "process": {"cwd": "/", "user": null, "args": null, "env": null, "rlimits": null, "scheduler": null, "capabilities": {"ambient": null}},
        "linux": {
            "devices": null, "namespaces": [{"type": "pid", "path": null}], "sysctl": {"net.a": null}, "netDevices": {"eth0": null},
            "resources": {"pids": {"limit": null}, "memory": {"limit": null}, "unified": {"x": null}, "devices": [{"allow": true, "major": null}]},
            "uidMappings": [{"containerID": null, "hostID": null, "size": 1}], "seccomp": null
        }
    }"#;
    let read = spec(document.as_bytes()).unwrap().value;
    let linux = read.linux().as_ref().unwrap();
    assert_eq!(read.annotations().as_ref().unwrap()["a"], "");
    assert!(linux.net_devices().as_ref().unwrap().contains_key("eth0"));
    assert!(linux.namespaces().as_ref().unwrap()[0].path().is_none());
    let limits = linux.resources().as_ref().unwrap();
    assert!(limits.pids().is_none() && limits.devices().as_ref().unwrap()[0].major().is_none());
    assert!(resources(json!({"pids": null, "cpu": {"shares": null}})).unwrap().pids().is_none());
}

#[test]
fn what_is_mended_means_what_was_written() {
    let read = process(
        br#"{"cwd": "/a", "user": {"username": ""}, "execCPUAffinity": {"initial": " 0-1, ,3 ", "final": ""},
            "scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]},
            "capabilities": {"bounding": ["CAP_KILL", "CAP_BOGUS"], "ambient": ["CAP_BOGUS", "CAP_NEW\u001b"]}}"#,
    )
    .unwrap();
    let process = read.value;
    assert_eq!((process.user().uid(), process.user().gid(), process.user().username()), (0, 0, &None));
    let affinity = process.exec_cpu_affinity().as_ref().unwrap();
    assert_eq!((affinity.initial().as_deref(), affinity.cpu_affinity_final()), (Some("0-1,3"), &None));
    let capabilities = process.capabilities().as_ref().unwrap();
    assert_eq!(capabilities.bounding(), &Some([Capability::Kill].into()));
    assert_eq!(capabilities.ambient(), &Some([].into()));
    let [warning] = read.warnings.as_slice() else { panic!("{:?}", read.warnings) };
    assert!(
        warning
            .starts_with("process.capabilities: podrun knows no capability of the name CAP_BOGUS, CAP_NEW")
    );
    assert!(!warning.contains('\u{1b}'), "{warning:?}");
    let pages = resources(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": u64::MAX}]})).unwrap();
    assert_eq!(pages.hugepage_limits().as_ref().unwrap()[0].limit(), i64::MAX);
    assert!(super::process(br#"{"cwd": "/", "execCPUAffinity": {"initial": "0 1"}}"#).is_err());
}

#[test]
fn what_is_for_other_systems_is_left_out_and_said() {
    let document = r#"{"ociVersion":"1.3.0","windows":{"layerFolders":[]},"freebsd":{},
        "process":{"cwd":"/","user":{"uid":7,"username":"web"}},
        "linux":{"namespaces":[{"type":"network","path":""}]}}"#;
    let read = spec(document.as_bytes()).unwrap();
    let begins: Vec<&str> = read.warnings.iter().filter_map(|text| text.split(": ").next()).collect();
    assert_eq!(begins, ["process.user.username", "freebsd", "windows"]);
    assert!(read.value.windows().is_none());
    assert_eq!(read.value.process().as_ref().unwrap().user().uid(), 7);
    let namespaces = read.value.linux().as_ref().unwrap().namespaces().clone().unwrap();
    assert_eq!(namespaces[0].path(), &None, "an empty path is none, as for Go");
}

#[test]
fn an_error_names_its_place() {
    for (document, begins) in [
        (r#"{"process":{"cwd":"/","user":{"uid":"x"}}}"#, "process.user.uid: invalid type"),
        (r#"{"mounts":[{"destination":"/a"},{"source":"b"}]}"#, "mounts.1: missing field `destination`"),
        (r#"{"process":{"args":[]}}"#, "process: missing field `cwd`"),
        (r#"{"linux":{"sysctl":{"a/b~c":1}}}"#, "linux.sysctl.a/b~c: invalid type"),
        (r#"{"a":"#, "EOF while"),
        ("[]", "expected an object"),
        (r#"{"root":{}}"#, "root: there is no `path`"),
        (r#"{"vm":{"kernel":{"path":"/k"}}}"#, "vm: not supported"),
    ] {
        let error = spec(document.as_bytes()).unwrap_err();
        assert!(error.message().starts_with(begins), "{document}: {error}");
    }
}
