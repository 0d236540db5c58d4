//! Which syscalls a container can make: by podrun's own profile, by a file's, by none.
//!
//! The calls are made by the engine's test program (`calls`, `calls32`, `agent`), which a hostPath
//! brings into the containers. A refusal counts only where the same call gets past without a filter.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use support::host::Host;
use support::pods::{container_status, pod, probe, report, shell};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host(
        "a container has a seccomp filter unless its manifest says otherwise",
        &["probe"],
        who_has_one,
    );
    suite.on_host(
        "the default seccomp profile refuses what it should and no more",
        &["busybox"],
        default_profile,
    );
    suite.on_host("a seccomp profile is a file of this host", &["busybox"], localhost);
    suite.on_host("a seccomp profile that is missing or wrong is a config error", &["busybox"], bad_profiles);
    suite.on_host(
        "compiled seccomp programs are kept and never trusted blindly",
        &["busybox"],
        kept_programs,
    );
    suite.on_host("a seccomp agent answers for a pod's container", &["busybox"], agent);
}

/// The test program, which the engine's tests run too: built once, and brought along where there is no gcc.
pub(crate) fn program() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/engine/inside.c");
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inside");
        let changed = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        if changed(&built) < changed(&source) {
            let part = built.with_extension(std::process::id().to_string());
            let gcc = Command::new("gcc").args(["-O1", "-static", "-o"]).arg(&part).arg(&source).status();
            if !gcc.is_ok_and(|status| status.success()) {
                return Err("gcc cannot build it".to_owned());
            }
            std::fs::rename(&part, &built).map_err(|error| format!("{}: {error}", built.display()))?;
        }
        Ok(built)
    };
    BUILT.get_or_init(build).as_deref().map_err(|why| anyhow::anyhow!("{why}"))
}

/// A pod of one container that sleeps and has the program below /calls.
fn sleeper(host: &Host, name: &str, security: &Value) -> Result<Value> {
    let folder = host.file("calls");
    std::fs::create_dir_all(&folder)?;
    for verb in ["calls", "calls32", "mkdir"] {
        if !folder.join(verb).exists() {
            std::fs::copy(program()?, folder.join(verb))?;
        }
    }
    let mut main = shell("main", "sleep 1000");
    main["securityContext"] = security.clone();
    main["volumeMounts"] = json!([{ "name": "calls", "mountPath": "/calls" }]);
    let volumes = json!([{ "name": "calls", "hostPath": { "path": folder } }]);
    Ok(pod(name, &json!({ "containers": [main], "volumes": volumes })))
}

/// What comes of each call in the pod's container.
fn outcomes(host: &Host, name: &str, verb: &str, calls: &[&str]) -> Result<Vec<String>> {
    let program = format!("/calls/{verb}");
    let said = host.podrun(&[&["exec", name, "--", &program], calls].concat())?.ok()?;
    Ok(said.lines().filter_map(|line| line.split_once(' ')).map(|(_, outcome)| outcome.to_owned()).collect())
}

fn profile(kind: &str) -> Value {
    json!({ "seccompProfile": { "type": kind } })
}

fn localhost_profile(name: &str) -> Value {
    json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": name } })
}

fn who_has_one(host: &Host) -> Result<()> {
    let filters = |status: &str| -> Result<u32> {
        let number = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
        Ok(number.with_context(|| status.to_owned())?.trim().parse()?)
    };
    // `make test-enosys` has one around everything.
    let around = filters(&std::fs::read_to_string("/proc/self/status")?)?;
    for (of_pod, of_container, own) in [
        (json!({}), json!({}), 1),
        (profile("RuntimeDefault"), json!({}), 1),
        (profile("Unconfined"), json!({}), 0),
        (profile("Unconfined"), profile("RuntimeDefault"), 1),
        (json!({}), profile("Unconfined"), 0),
        (json!({}), json!({ "privileged": true }), 0),
        (json!({}), json!({ "capabilities": { "add": ["SYS_ADMIN"] } }), 1),
        (json!({}), json!({ "allowPrivilegeEscalation": false, "runAsUser": 1000 }), 1),
        (json!({}), json!({ "runAsUser": 1000 }), 1),
    ] {
        let mut main = probe("main", &["sleep"]);
        main["securityContext"] = of_container.clone();
        let manifest = pod("web", &json!({ "securityContext": of_pod, "containers": [main] }));
        host.create(&manifest)?;
        // The first process's, and that of one which was run inside.
        let first = host.podrun(&["exec", "web", "--", "/probe", "read", "/proc/1/status"])?.ok()?;
        ensure!(filters(&first)? == around + own, "{of_pod} {of_container}: {first}");
        let inside = report(host, "web", "main")?;
        let mode = if around + own > 0 { 2 } else { 0 };
        ensure!(inside["seccomp"] == mode, "{of_pod} {of_container}: {}", inside["seccomp"]);
        host.delete("web")?;
    }
    let warned = json!({ "privileged": true, "seccompProfile": { "type": "RuntimeDefault" } });
    let manifest =
        pod("web", &json!({ "containers": [{ "name": "a", "image": "b", "securityContext": warned }] }));
    let outcome = host.podrun_with_stdin(&["validate", "-"], manifest.to_string().as_bytes())?;
    ensure!(outcome.stderr.contains("seccompProfile: means nothing"), "{outcome}");
    Ok(())
}

/// Calls that succeed or fail for other reasons than rights in a container without a filter.
#[cfg(target_arch = "x86_64")]
const REFUSED: [(&str, &str); 10] = [
    ("socket(AF_ALG)", "41:38"),
    ("socket(AF_VSOCK)", "41:40"),
    ("socket(AF_CAIF)", "41:37"),
    ("unshare(CLONE_NEWUSER)", "272:0x10000000"),
    ("keyctl", "250"),
    ("add_key", "248"),
    ("request_key", "249"),
    ("io_uring_setup", "425"),
    ("kcmp", "312"),
    ("personality(ADDR_NO_RANDOMIZE)", "135:0x40000"),
];

/// Calls for which an unprivileged container lacks the right besides.
#[cfg(target_arch = "x86_64")]
const RIGHTS_TOO: [(&str, &str); 6] = [
    ("bpf", "321"),
    ("mount", "165"),
    ("setns", "308"),
    ("perf_event_open", "298"),
    ("open_by_handle_at", "304"),
    ("fsopen", "430"),
];

#[cfg(target_arch = "x86_64")]
fn default_profile(host: &Host) -> Result<()> {
    host.create(&sleeper(host, "default", &json!({}))?)?;
    host.create(&sleeper(host, "free", &profile("Unconfined"))?)?;
    host.create(&sleeper(host, "admin", &json!({ "capabilities": { "add": ["SYS_ADMIN"] } }))?)?;
    let numbers: Vec<&str> = REFUSED.iter().map(|(_, number)| *number).collect();
    let filtered = outcomes(host, "default", "calls", &numbers)?;
    let free = outcomes(host, "free", "calls", &numbers)?;
    ensure!((filtered.len(), free.len()) == (numbers.len(), numbers.len()), "{filtered:?} {free:?}");
    for ((name, _), (filtered, free)) in REFUSED.iter().zip(filtered.iter().zip(&free)) {
        ensure!(filtered == "EPERM", "{name}: {filtered}");
        ensure!(free != "EPERM", "{name} without a filter: {free}");
    }
    let numbers: Vec<&str> = RIGHTS_TOO.iter().map(|(_, number)| *number).collect();
    for ((name, _), outcome) in RIGHTS_TOO.iter().zip(outcomes(host, "default", "calls", &numbers)?) {
        ensure!(outcome == "EPERM", "{name}: {outcome}");
    }
    // C libraries take clone for clone3, and the old way for what is newer than the profile, at ENOSYS alone.
    ensure!(outcomes(host, "default", "calls", &["435", "9999"])? == ["ENOSYS", "ENOSYS"]);
    ensure!(outcomes(host, "free", "calls", &["435", "9999"])? == ["EINVAL", "ENOSYS"]);
    // What programs need: sockets, names that libseccomp is too old for (mseal), personality as it is.
    // They fail as without a filter, if they fail: for their arguments, or on a kernel that has no mseal.
    let needed = ["41:1", "41:2", "41:10", "41:16", "462", "135:0xffffffff"];
    let allowed = outcomes(host, "default", "calls", &needed)?;
    ensure!(allowed == outcomes(host, "free", "calls", &needed)?, "{allowed:?}");
    ensure!(!allowed.contains(&"EPERM".to_owned()), "{allowed:?}");
    // CAP_SYS_ADMIN brings what it is for, and no more.
    let admin = outcomes(host, "admin", "calls", &["272:0x10000000", "165", "435", "41:38", "250"])?;
    ensure!(admin == ["ok", "EFAULT", "EINVAL", "EPERM", "EPERM"], "{admin:?}");
    // The other architectures that this kernel executes: i386 by int 0x80, x32 by a bit.
    let i386 = host.podrun(&["exec", "free", "--", "/calls/calls32", "20"])?;
    if i386.code() == 0 {
        let calls = ["359:38", "359:40", "310:0x10000000", "288", "425", "359:1"];
        let mut wanted = vec!["EPERM"; 5];
        wanted.push("ok");
        let filtered = outcomes(host, "default", "calls32", &calls)?;
        // The last fails for its type, 0, and not for its family.
        ensure!(filtered[..5] == wanted[..5] && filtered[5] != "EPERM", "{filtered:?}");
        ensure!(
            !outcomes(host, "free", "calls32", &calls)?.contains(&"EPERM".to_owned()),
            "without a filter"
        );
    }
    let x32 = outcomes(host, "default", "calls", &["1073741865:38", "1073742096:0x10000000"])?;
    ensure!(x32 == ["EPERM", "EPERM"], "{x32:?}");
    ["default", "free", "admin"].iter().try_for_each(|name| host.delete(name).map(drop))
}

#[cfg(not(target_arch = "x86_64"))]
fn default_profile(_: &Host) -> Result<()> {
    Ok(())
}

/// Refuses mkdir with an errno that no kernel gives for it.
const NO_MKDIR: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71}]}"#;

fn write_profile(host: &Host, name: &str, text: &str) -> Result<()> {
    let path = host.root().join("seccomp").join(name);
    std::fs::create_dir_all(path.parent().context("a name below the folder")?)?;
    Ok(std::fs::write(path, text)?)
}

fn localhost(host: &Host) -> Result<()> {
    write_profile(host, "profiles/no-mkdir.json", NO_MKDIR)?;
    // docker's form, of which the rule for another capability does not hold here.
    let docker = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"name": "rmdir", "action": "SCMP_ACT_ERRNO", "errnoRet": 71, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71, "includes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;
    write_profile(host, "docker.json", docker)?;
    host.create(&sleeper(host, "oci", &localhost_profile("profiles/no-mkdir.json"))?)?;
    host.create(&sleeper(host, "docker", &localhost_profile("docker.json"))?)?;
    host.create(&sleeper(host, "free", &profile("Unconfined"))?)?;
    let calls = ["83", "84"]; // mkdir and rmdir
    ensure!(outcomes(host, "oci", "calls", &calls)? == ["EPROTO", "EFAULT"]);
    ensure!(outcomes(host, "docker", "calls", &calls)? == ["EFAULT", "EPROTO"]);
    ensure!(outcomes(host, "free", "calls", &calls)? == ["EFAULT", "EFAULT"]);
    ["oci", "docker", "free"].iter().try_for_each(|name| host.delete(name).map(drop))?;
    Ok(std::fs::remove_dir_all(host.root().join("seccomp"))?)
}

fn bad_profiles(host: &Host) -> Result<()> {
    for (name, text, part) in [
        ("missing.json", None, "ENOENT"),
        ("torn.json", Some(r#"{"defaultAction": "SCMP_ACT_ALLOW""#), "EOF"),
        ("action.json", Some(r#"{"defaultAction": "SCMP_ACT_SHRUG"}"#), "SCMP_ACT_SHRUG"),
        ("field.json", Some(r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscall": []}"#), "unknown field"),
        (
            "errno.json",
            Some(r#"{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}"#),
            "defaultErrnoRet",
        ),
    ] {
        if let Some(text) = text {
            write_profile(host, name, text)?;
        }
        let manifest = sleeper(host, "web", &localhost_profile(name))?;
        let outcome = host.podrun_with_stdin(&["create", "-"], manifest.to_string().as_bytes())?;
        ensure!(outcome.code() != 0, "{name}: {outcome}");
        ensure!(outcome.stderr.contains(&format!("localhostProfile \"{name}\"")), "{outcome}");
        ensure!(outcome.stderr.contains(part), "{part}: {outcome}");
        ensure!(host.podrun(&["get", "pods"])?.ok()?.is_empty(), "no pod is left: {outcome}");
    }
    // Without waiting the pod stays, and says why it does not start.
    let manifest = sleeper(host, "web", &localhost_profile("missing.json"))?;
    host.podrun_with_stdin(&["create", "--wait=none", "-"], manifest.to_string().as_bytes())?.ok()?;
    host.wait_for_pod("web", "the reason", |pod| {
        let waiting = |main: &Value| main["state"]["waiting"]["reason"] == "CreateContainerConfigError";
        container_status(pod, "main").is_some_and(waiting)
    })?;
    // The next try finds the profile.
    write_profile(host, "missing.json", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#)?;
    host.wait_for_pod("web", "the start", |pod| {
        container_status(pod, "main").is_some_and(|main| main["state"]["running"].is_object())
    })?;
    host.delete("web")?;
    if host.root().join("seccomp").exists() {
        std::fs::remove_dir_all(host.root().join("seccomp"))?;
    }
    Ok(())
}

fn kept_programs(host: &Host) -> Result<()> {
    let folder = host.root().join("filters");
    let files = || -> Result<Vec<PathBuf>> {
        let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(Vec::new()) };
        Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?)
    };
    ensure!(files()?.is_empty(), "nothing is kept before the first pod");
    // Several monitors compile the same at once.
    let manifests: Vec<Value> =
        (0..4).map(|n| sleeper(host, &format!("p{n}"), &json!({}))).collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        let creates: Vec<_> =
            manifests.iter().map(|manifest| scope.spawn(|| host.create(manifest))).collect();
        creates.into_iter().try_for_each(|create| match create.join() {
            Ok(created) => created.map(drop),
            Err(_) => bail!("a create panicked"),
        })
    })?;
    let [kept] = &files()?[..] else { bail!("one profile, one program: {:?}", files()?) };
    let whole = std::fs::read(kept)?;
    let is_private = |path: &Path, mode: u32| -> Result<bool> {
        use std::os::unix::fs::PermissionsExt as _;
        Ok(std::fs::metadata(path)?.permissions().mode() & 0o777 == mode)
    };
    ensure!(is_private(&folder, 0o700)? && is_private(kept, 0o600)?, "they are root's");
    // A torn one is not what a container gets, and is whole again afterwards.
    for torn in [&whole[..whole.len() / 2], b"", &[&whole[..whole.len() - 8], &[0; 8]].concat()] {
        std::fs::write(kept, torn)?;
        host.create(&sleeper(host, "torn", &json!({}))?)?;
        ensure!(outcomes(host, "torn", "calls", &["272:0x10000000"])? == ["EPERM"], "the filter is in force");
        ensure!(std::fs::read(kept)? == whole, "it is replaced");
        host.delete("torn")?;
    }
    // A whole one is read and not written again.
    let written = std::fs::metadata(kept)?.modified()?;
    host.create(&sleeper(host, "again", &json!({}))?)?;
    ensure!(std::fs::metadata(kept)?.modified()? == written && files()?.len() == 1, "a hit");
    host.delete("again")?;
    (0..4).try_for_each(|n| host.delete(&format!("p{n}")).map(drop))
}

#[cfg(target_arch = "x86_64")]
fn agent(host: &Host) -> Result<()> {
    let socket = host.file("agent.sock");
    let text = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket, "listenerMetadata": "of the pod",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
    });
    write_profile(host, "ask.json", &text.to_string())?;
    let manifest = sleeper(host, "web", &localhost_profile("ask.json"))?;
    let outcome = host.podrun_with_stdin(&["create", "-"], manifest.to_string().as_bytes())?;
    ensure!(outcome.code() != 0 && outcome.stderr.contains("seccomp agent"), "nobody listens: {outcome}");
    // The name of the program is what it does.
    let (program, socket) = (host.file("agent"), socket.display().to_string());
    std::fs::copy(self::program()?, &program)?;
    let said = host.file("said").display().to_string();
    let script = format!("exec {} {socket} >{said}", program.display());
    let agent = host.start_script(&script)?;
    support::deadline::wait_for("the agent listens", || {
        ensure!(std::fs::read_to_string(&said)?.starts_with("ready"), "not yet");
        Ok(())
    })?;
    host.create(&manifest)?;
    let told = std::fs::read_to_string(&said)?;
    let told: Value = serde_json::from_str(told.lines().nth(1).context("what it was sent")?)?;
    ensure!(told["fds"] == json!(["seccompFd"]) && told["metadata"] == "of the pod", "{told}");
    ensure!(told["state"]["status"] == "creating" && told["pid"] == told["state"]["pid"], "{told}");
    let id = told["state"]["id"].as_str().context("an id")?;
    ensure!(
        id.len() == 64 && told["state"]["bundle"].as_str().is_some_and(|path| path.ends_with(id)),
        "{told}"
    );
    // One agent of this program serves one container: for the exec there is none.
    let inside = host.podrun(&["exec", "web", "--", "/calls/mkdir", "/x"])?;
    ensure!(inside.code() != 0 && inside.stderr.contains("seccomp agent"), "{inside}");
    host.delete("web")?;
    ensure!(agent.wait()?.code() == 0, "the agent ends when nobody has the filter any more");
    Ok(std::fs::remove_dir_all(host.root().join("seccomp"))?)
}

#[cfg(not(target_arch = "x86_64"))]
fn agent(_: &Host) -> Result<()> {
    Ok(())
}
