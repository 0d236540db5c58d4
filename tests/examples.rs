//! The examples do what their heads say. web-and-sidecar.json and shop.yaml have their tests in pods.rs and
//! lifecycle.rs; that each is a valid v1 Pod is held by manifests.rs.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use support::deadline::wait_for;
use support::host::Host;
use support::pods::container_status;
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.plain("the list of examples names each of them", listed);
    suite.on_host("the example of a memory volume shows what the other wrote", &["busybox"], shared_memory);
    suite.on_host("the example of a job succeeds and ends its sidecar", &["busybox"], job);
    suite.on_host("the example of a host's port is reached by it", &["nginx"], host_port);
    suite.on_host_with_controller(
        "the example with few rights serves without any",
        "memory",
        &["busybox"],
        few_rights,
    );
}

fn folder() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples").into()
}

fn create(host: &Host, name: &str) -> Result<()> {
    host.podrun(&["create", &folder().join(name).to_string_lossy()])?.ok()?;
    Ok(())
}

fn listed() -> Result<()> {
    let list = std::fs::read_to_string(folder().join("README.md"))?;
    for entry in std::fs::read_dir(folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(name == "README.md" || list.contains(&format!("]({name})")), "{name} is not in the list");
    }
    Ok(())
}

fn shared_memory(host: &Host) -> Result<()> {
    create(host, "shared-memory.yaml")?;
    wait_for("the reader shows the writer's second message", || {
        let log = host.podrun(&["logs", "board", "-c", "reader"])?.ok()?;
        ensure!(log.contains("message 2 of board\n"), "{log}");
        Ok(())
    })?;
    let size = host.podrun(&["exec", "board", "-c", "writer", "--", "df", "/board"])?.ok()?;
    ensure!(size.contains("tmpfs") && size.contains(" 1024 "), "a tmpfs of 1 MiB: {size}");
    let write = host.podrun(&["exec", "board", "-c", "reader", "--", "touch", "/board/x"])?;
    ensure!(write.code() == 1 && write.stderr.contains("Read-only file system"), "{write}");
    host.delete("board")?;
    Ok(())
}

fn job(host: &Host) -> Result<()> {
    create(host, "job.yaml")?;
    let phase = "--for=jsonpath={.status.phase}=Succeeded";
    host.podrun(&["wait", "pod", "report", phase, "--timeout=30s"])?.ok()?;
    let log = host.podrun(&["logs", "report"])?.ok()?;
    ensure!(log == "sum 5050\n", "{log}");
    let shown = host.pod("report")?;
    for name in ["fetch", "files", "sum"] {
        let status = container_status(&shown, name).context(name)?;
        ensure!(status["state"]["terminated"]["exitCode"] == 0, "{name} has ended well: {status:#}");
        ensure!(status["restartCount"] == 0, "{name} was never restarted: {status:#}");
    }
    host.podrun(&["delete", "pod", "report"])?.ok()?;
    Ok(())
}

fn host_port(host: &Host) -> Result<()> {
    create(host, "host-port.yaml")?;
    let get = "exec 3<>/dev/tcp/127.0.0.1/8081; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    wait_for("nginx answers on the host's port", || {
        let page = host.run("bash", &["-c", get])?.ok()?;
        ensure!(page.contains("Welcome to nginx in a pod!"), "{page}");
        Ok(())
    })?;
    host.delete("front")?;
    Ok(())
}

fn few_rights(host: &Host) -> Result<()> {
    create(host, "few-rights.yaml")?;
    let inside = |line: &[&str]| host.podrun(&[&["exec", "few-rights", "--"], line].concat());
    wait_for("the server answers", || {
        let page = inside(&["wget", "-qO-", "http://127.0.0.1:8080/"])?.ok()?;
        ensure!(page == "served by uid 1000\n", "{page}");
        Ok(())
    })?;
    let id = inside(&["id"])?.ok()?;
    ensure!(id.contains("uid=1000") && id.contains("gid=1000") && id.contains("2000"), "{id}");
    let write = inside(&["touch", "/etc/passwd"])?;
    ensure!(write.code() == 1 && write.stderr.contains("Read-only file system"), "{write}");
    let status = inside(&["cat", "/proc/1/status"])?.ok()?;
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        ensure!(status.contains(line), "no {line} in {status}");
    }
    host.delete("few-rights")?;
    Ok(())
}
