//! Pods whose images come from a registry, and a bigger pod of them from beginning to end.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::fixtures;
use support::host::Host;
use support::pods::{container_status, pod};
use support::registry::Registry;
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("a pod of nginx and redis is pulled run restarted and ended in order", &[], shop);
    suite.on_host("a pull policy decides whether the registry is asked", &[], policies);
    suite.on_host("an image that the registry lacks or spoils fails the create", &[], spoilt);
    suite.on_host("an archive that is spoilt is refused and leaves no image", &[], spoilt_archives);
}

fn shop(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let image = |name: &str| registry.publish(name, &format!("shop/{name}"), "1");
    let (nginx, redis, busybox) = (image("nginx")?, image("redis")?, image("busybox")?);
    let record = host.file("record");
    std::fs::create_dir_all(&record)?;
    let mounts =
        json!([{ "name": "shared", "mountPath": "/shared" }, { "name": "record", "mountPath": "/record" }]);
    let wrapped = |name: &str, program: &str, signal: &str| {
        format!(
            "{program} & trap 'kill -{signal} $!; wait $!; echo {name} ended >>/record/events; exit 0' TERM QUIT; wait $!; exit $?"
        )
    };
    let container = |name: &str, image: &str, script: &str| json!({ "name": name, "image": image, "command": ["sh", "-c", script], "volumeMounts": mounts });
    let mut side = container(
        "side",
        &busybox,
        "trap 'echo side ended >>/record/events; exit 0' TERM; while true; do date >/shared/now; sleep 0.1; done",
    );
    side["restartPolicy"] = json!("Always");
    let mut web = container("nginx", &nginx, &wrapped("nginx", "nginx -g 'daemon off;'", "QUIT"));
    web["volumeMounts"] = json!([
        { "name": "shared", "mountPath": "/var/www/html" }, { "name": "record", "mountPath": "/record" },
    ]);
    let store = container(
        "redis",
        &redis,
        &wrapped("redis", "docker-entrypoint.sh redis-server --protected-mode no", "TERM"),
    );
    let manifest = pod(
        "shop",
        &json!({
            "initContainers": [
                side,
                container("page", &busybox, "test -e /shared/now || sleep 1; echo 'open' >/shared/index.html; echo page >>/record/events"),
            ],
            "containers": [web, store],
            "volumes": [{ "name": "shared", "emptyDir": {} }, { "name": "record", "hostPath": { "path": record } }],
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 20,
        }),
    );
    // The client is killed once the pod is committed to: it is nobody's child.
    let file = host.write("shop.json", &manifest.to_string())?;
    let client =
        host.start_script(&format!("$podrun create {} >created; exec sleep 1000", file.display()))?;
    wait_for("created", || {
        let said = std::fs::read_to_string(host.file("created")).unwrap_or_default();
        ensure!(said == "pod/shop created\n", "{said}");
        Ok(())
    })?;
    client.signal(Signal::SIGKILL)?;
    client.wait()?;
    let ask = |container: &str, script: &str| {
        host.podrun(&["exec", "shop", "-c", container, "--", "sh", "-c", script])?.ok()
    };
    let get = "wget -qO- http://127.0.0.1/";
    wait_for("nginx serves the page of init", || {
        ensure!(ask("side", get)? == "open\n", "another page");
        Ok(())
    })?;
    wait_for("redis answers over localhost", || {
        ensure!(ask("redis", "redis-cli -h 127.0.0.1 ping")? == "PONG\n", "not yet");
        Ok(())
    })?;
    ask("redis", "echo from redis >/shared/note.html")?;
    ensure!(ask("side", "wget -qO- http://127.0.0.1/note.html")? == "from redis\n", "the volume is shared");
    let user = ask("redis", "grep Uid /proc/$(pidof redis-server)/status")?;
    ensure!(user.contains("999"), "redis became its user: {user}");
    let address = host.pod("shop")?["status"]["podIP"].clone();
    // redis dies: it comes back, and neither the address nor the others are concerned.
    let pid = host.run("pgrep", &["-x", "redis-server"])?.ok()?;
    host.run("kill", &["-9", pid.trim()])?.ok()?;
    let shown = host.wait_for_pod("shop", "redis is restarted", |pod| {
        container_status(pod, "redis")
            .is_some_and(|redis| redis["restartCount"] == 1 && redis["state"]["running"].is_object())
    })?;
    let last = &container_status(&shown, "redis").context("redis")?["lastState"]["terminated"];
    ensure!(last["exitCode"] == 137, "{last:#}");
    ensure!(container_status(&shown, "nginx").context("nginx")?["restartCount"] == 0, "{shown:#}");
    ensure!(shown["status"]["podIP"] == address, "the address stays");
    let id = container_status(&shown, "nginx").context("nginx")?["imageID"].as_str().context("imageID")?;
    ensure!(id.contains("@sha256:") && id.contains("shop/nginx"), "{id}");
    wait_for("redis answers again", || {
        ensure!(ask("redis", "redis-cli -h 127.0.0.1 ping")? == "PONG\n", "not yet");
        Ok(())
    })?;
    host.podrun(&["delete", "pod", "shop"])?.ok()?;
    let events = std::fs::read_to_string(record.join("events"))?;
    let events: Vec<&str> = events.lines().collect();
    ensure!(events.first() == Some(&"page") && events.last() == Some(&"side ended"), "{events:?}");
    ensure!(events.contains(&"nginx ended") && events.contains(&"redis ended"), "{events:?}");
    registry.stop()
}

fn job(image: &str, policy: &str) -> Value {
    let main = json!({ "name": "main", "image": image, "args": ["sleep"], "imagePullPolicy": policy });
    pod("job", &json!({ "containers": [main] }))
}

fn policies(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let image = registry.publish("probe", "probe", "1")?;
    let create = |manifest: &Value| host.podrun_with_stdin(&["create", "-"], manifest.to_string().as_bytes());
    let said = create(&job(&image, "Never"))?.fails_with(6)?;
    ensure!(said.contains("Never"), "{said}");
    create(&job(&image, "IfNotPresent"))?.ok()?;
    let listed = host.podrun(&["images"])?.ok()?;
    ensure!(listed.contains("127.0.0.1:5000/probe"), "{listed}");
    let in_use = host.podrun(&["rmi", &image])?;
    ensure!(!in_use.status.success() && in_use.stderr.contains("in use"), "an image in use stays: {in_use}");
    host.delete("job")?;
    registry.stop()?;
    // Without the registry: what is here serves, and Always asks in vain.
    for (policy, code) in [("IfNotPresent", 0), ("Never", 0), ("Always", 6)] {
        let outcome = create(&job(&image, policy))?;
        ensure!(outcome.code() == code, "{policy}: {outcome}");
        if code == 0 {
            host.delete("job")?;
        }
    }
    host.podrun(&["rmi", &image])?.ok()?;
    create(&job(&image, "IfNotPresent"))?.fails_with(6)?;
    ensure!(host.podrun(&["get", "pods"])?.ok()?.is_empty(), "no pod is left");
    Ok(())
}

/// The digest of the first layer of a fixture.
fn first_layer(name: &str) -> Result<String> {
    let layout = fixtures::path(name)?;
    let read = |digest: &str| -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(layout.join("blobs").join(digest.replace(':', "/")))?)?)
    };
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let manifest = read(index["manifests"][0]["digest"].as_str().context("digest")?)?;
    Ok(manifest["layers"][0]["digest"].as_str().context("digest")?.to_owned())
}

fn spoilt(host: &Host) -> Result<()> {
    let registry = Registry::start(host)?;
    let image = registry.publish("probe", "probe", "1")?;
    let refused = |image: &str, words: &[&str]| -> Result<()> {
        let outcome =
            host.podrun_with_stdin(&["create", "-"], job(image, "Always").to_string().as_bytes())?;
        ensure!(outcome.code() == 6, "expected 6: {outcome}");
        ensure!(words.iter().any(|word| outcome.stderr.contains(word)), "none of {words:?}: {outcome}");
        ensure!(host.podrun(&["get", "pods"])?.ok()?.is_empty(), "a pod is left: {outcome}");
        ensure!(!host.podrun(&["images"])?.ok()?.contains("5000/probe"), "an image is left: {outcome}");
        Ok(())
    };
    refused("127.0.0.1:5000/absent:1", &["127.0.0.1:5000/absent:1"])?;
    refused("127.0.0.1:5000/probe:absent", &["probe:absent"])?;
    refused("127.0.0.1:1/probe:1", &["127.0.0.1:1"])?;
    let blob = registry.blob(&first_layer("probe")?);
    let good = std::fs::read(&blob)?;
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    std::fs::write(&blob, &flipped)?;
    refused(&image, &["digest"])?;
    std::fs::write(&blob, &good[..middle])?;
    refused(&image, &["bytes", "size", "short", "digest", "end"])?;
    std::fs::write(&blob, &good)?;
    host.create(&job(&image, "Always"))?;
    host.delete("job")?;
    registry.stop()
}

fn spoilt_archives(host: &Host) -> Result<()> {
    for name in
        ["busybox.wrong-digest", "busybox.truncated", "busybox.wrong-digest.tar", "busybox.truncated.tar"]
    {
        let path = fixtures::path(name)?;
        let said = host.podrun(&["load", &path.to_string_lossy()])?.fails_with(6)?;
        ensure!(said.contains("sha256"), "{name}: {said}");
        ensure!(host.podrun(&["images", "-o", "json"])?.ok()?.trim() != "x", "images");
        ensure!(host.podrun(&["images"])?.ok()?.lines().count() <= 1, "{name} left an image");
    }
    host.podrun(&["load", "/missing.tar"])?
        .fails_with(1)
        .or_else(|_| host.podrun(&["load", "/missing.tar"])?.fails_with(6))?;
    let text = host.write("text.tar", "this is no archive")?;
    ensure!(!host.podrun(&["load", &text.to_string_lossy()])?.status.success(), "no archive");
    let archive = fixtures::path("busybox.docker.tar")?;
    host.podrun(&["load", &archive.to_string_lossy()])?.ok()?;
    ensure!(host.podrun(&["images"])?.ok()?.contains("busybox"), "a whole one is taken afterwards");
    Ok(())
}
