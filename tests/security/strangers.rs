//! Somebody else on the host, without any right: what of podrun's trees can be opened by whom it is not meant for, and
//! whom a lock keeps waiting.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use support::deadline::wait_for;
use support::fixtures;
use support::host::Host;
use support::pods::{pod, shell};

use crate::oci::Oci;

/// A stranger's shell, and trees that nothing above hides from it. `look` prints every path in them that the stranger can
/// read, write to or lock; of each link that it can be read.
const TREES: &str = r#"
    export PODRUN_ROOT=/run/trees/root PODRUN_STATE_DIR=/run/trees/state PODRUN_LOG_DIR=/run/trees/log
    stranger() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; }
    look() {
        find /run/trees -mindepth 1 -path '*/layers/*' -prune -o -print0 | stranger xargs -0 bash -c '
            for path; do
                if [ -L "$path" ]; then readlink "$path" >/dev/null && echo "link $path"; continue; fi
                [ -r "$path" ] && echo "reads $path"
                [ -w "$path" ] && echo "writes $path"
                flock -n "$path" true 2>/dev/null && echo "locks $path"
            done; :' look | sed "s|/run/trees/||" | sort
    }
"#;

/// What all may look at: names, for completion, and that there are logs.
const NAMES: [&str; 2] = ["root/names", "root/names/default"];

fn seen(host: &Host, umask: &str, script: &str) -> Result<Vec<String>> {
    let outcome = host.script(&format!("umask {umask}\n{TREES}\n{script}"))?;
    Ok(outcome.ok()?.lines().map(str::to_owned).collect())
}

/// The lines that `look` prints of folders that all may list.
fn listed(folders: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> =
        folders.iter().flat_map(|folder| [format!("locks {folder}"), format!("reads {folder}")]).collect();
    lines.sort();
    lines
}

fn make_trees(host: &Host) -> Result<()> {
    host.script("umask 022; mkdir /run/trees")?.ok()?;
    let archive = fixtures::path("busybox.tar")?;
    seen(host, "000", &format!("$podrun load {} >/dev/null", archive.display()))?;
    Ok(())
}

pub(super) fn looks_around(host: &Host) -> Result<()> {
    let mut main = shell("main", "echo said; sleep 1000");
    main["ports"] = json!([{ "containerPort": 80, "hostPort": 8080 }]);
    main["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    let spec = json!({ "containers": [main], "volumes": [{ "name": "v", "emptyDir": {} }] });
    host.write("web.json", &pod("web", &spec).to_string())?;
    let bundle = Oci::new(host)?;
    bundle.config(&["sleep", "1000"], &[])?;
    let oci = "$podrun oci --root /run/trees/state/oci";
    let bundle = bundle.bundle.display().to_string();
    make_trees(host)?;
    for umask in ["000", "077"] {
        let before = seen(host, umask, "look")?;
        let may = |line: &String| line.ends_with(" log") || NAMES.iter().any(|name| line.ends_with(name));
        ensure!(before.iter().all(may), "{before:?}");
        seen(host, umask, "$podrun create web.json >/dev/null")?;
        let uid = seen(host, umask, "$podrun get pod web -o jsonpath={.metadata.uid}")?.join("");
        let logs = format!("log/default_web_{uid}");
        let mut expected = listed(&["log", &logs, &format!("{logs}/main"), NAMES[0], NAMES[1]]);
        expected.push("link root/names/default/web".into());
        expected.sort();
        let running = seen(host, umask, "look")?;
        ensure!(running == expected, "umask {umask}, a pod runs: {running:#?}");
        seen(host, umask, &format!("{oci} create --bundle {bundle} one </dev/null >/dev/null 2>&1"))?;
        let created = seen(host, umask, "look")?;
        ensure!(created == expected, "umask {umask}, and an OCI container: {created:#?}");
        seen(host, umask, &format!("{oci} delete --force one"))?;
        // As a podrun has left it that knew no modes, before a verb that makes nothing.
        seen(
            host,
            umask,
            "find /run/trees ! -path '*/layers/*' ! -type l ! -name trees -exec chmod a+rwX {} +",
        )?;
        let open = seen(host, umask, "look")?;
        ensure!(open.len() > 2 * expected.len(), "the stranger sees all of it: {open:#?}");
        seen(host, umask, "$podrun get pods >/dev/null")?;
        let mended = seen(host, umask, "look | grep -v ' log'")?;
        let expected: Vec<_> = expected.into_iter().filter(|line| !line.contains(" log")).collect();
        ensure!(mended == expected, "umask {umask}, mended: {mended:#?}");
        seen(host, umask, "$podrun delete pod web --force 2>/dev/null >/dev/null")?;
        let after = seen(host, umask, "look")?;
        ensure!(after == listed(&["log", NAMES[0], NAMES[1]]), "umask {umask}, deleted: {after:#?}");
    }
    host.script("rm -r /run/trees")?.ok()?;
    Ok(())
}

pub(super) fn holds_the_lock(host: &Host) -> Result<()> {
    let mut main = shell("main", "sleep 1000");
    main["ports"] = json!([{ "containerPort": 80, "hostPort": 8080 }]);
    for name in ["web", "next"] {
        host.write(&format!("{name}.json"), &pod(name, &json!({ "containers": [main] })).to_string())?;
    }
    make_trees(host)?;
    seen(host, "022", "$podrun create web.json >/dev/null")?;
    // Of an older podrun, under which the stranger has opened what there is.
    let lock = "/run/trees/state/net/podrun0/lock";
    seen(host, "022", "chmod -R a+rwX /run/trees/state")?;
    let holder =
        format!("exec setpriv --reuid=65534 --regid=65534 --clear-groups flock --no-fork {lock} sleep 1000");
    let holder = host.start_script(&holder)?;
    let locked = format!("! flock -n {lock} true");
    wait_for("the stranger has the lock", || host.script(&locked)?.ok())?;
    let begin = Instant::now();
    let refused = host.script(&format!("{TREES}\n$podrun create next.json"))?;
    let said = refused.fails_with(8)?;
    ensure!(said.contains(lock) && said.contains("hint:"), "{said}");
    let deleted = host.script(&format!("{TREES}\n$podrun delete pod web --force"))?;
    ensure!(
        !deleted.status.success() && deleted.stdout.starts_with("pod \"web\""),
        "its bridge stays: {deleted}"
    );
    ensure!(deleted.stderr.contains(lock), "{deleted}");
    ensure!(begin.elapsed() < Duration::from_secs(80), "each wait has an end: {:?}", begin.elapsed());
    host.script(&format!("{TREES}\n$podrun get pod web"))?.fails_with(4)?;
    holder.signal(Signal::SIGKILL)?;
    holder.wait()?;
    // The next verb removes what stayed, and the stranger has no way to the lock any more.
    seen(host, "022", "$podrun create next.json >/dev/null")?;
    let barred = host.script(&format!("{TREES}\nstranger flock -n {lock} true"))?;
    ensure!(!barred.status.success(), "{barred}");
    seen(host, "022", "$podrun delete pod next --force >/dev/null 2>&1")?;
    host.script("rm -r /run/trees")?.ok()?;
    Ok(())
}

pub(super) fn false_boot(host: &Host) -> Result<()> {
    let boot = host.state_dir().join("boot_id");
    host.create(&support::pods::pod("web", &json!({ "containers": [shell("main", "sleep 1000")] })))?;
    // A file without an end to speak of, and a pipe that nobody writes to: the answer comes as fast, and the pod, which
    // lives, is not taken for lost.
    std::fs::File::create(&boot)?.set_len(1 << 40)?;
    for _ in 0..2 {
        host.podrun(&["get", "pods"])?.ok()?;
        ensure!(length(&boot)? == 36, "it is this boot's again");
        ensure!(host.pod("web")?["status"]["phase"] == "Running");
        std::fs::remove_file(&boot)?;
        nix::unistd::mkfifo(&boot, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    }
    host.podrun(&["get", "pods"])?.ok()?;
    host.delete("web")?;
    Ok(())
}

fn length(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.len())
}
