//! What strangers write: manifests, images and names that ask for much memory and time, or would steer a terminal.
//!
//! Invariant: each is refused by name, with little memory to be had, and nothing is left of it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::deadline::wait_for;
use support::host::Host;
use support::pods::{container_status, pod, shell};
use support::run::Outcome;

use crate::hostile::tar::{Layout, NAME, Tar, digest};

/// The exit code of a manifest that is wrong.
const MANIFEST: i32 = 3;
/// The exit code of an image that is not what it says.
const IMAGE: i32 = 6;

/// What podrun may have of memory that it can write, in kB, where a manifest asks for hundreds of megabytes.
const MANIFEST_MEMORY: u32 = 64 << 10;

/// A pod whose variables nest: each is ten times the one before.
fn nested(levels: usize, image: &str) -> Value {
    let variable = |level: usize| match level {
        0 => json!({"name": "E0", "value": "x".repeat(36)}),
        _ => json!({"name": format!("E{level}"), "value": format!("$(E{})", level - 1).repeat(10)}),
    };
    let env: Vec<Value> = (0..=levels).map(variable).collect();
    pod("nested", &json!({"containers": [{"name": "main", "image": image, "env": env}]}))
}

/// Runs podrun on a manifest with little memory to be had.
fn with_little_memory(host: &Host, verb: &str, manifest: &str) -> Result<Outcome> {
    let file = host.write("manifest.json", manifest)?;
    host.script(&format!("ulimit -d {MANIFEST_MEMORY}; exec $podrun {verb} {}", file.display()))
}

/// Ten references of ten, seven deep, in 762 bytes.
pub(super) fn expansions(host: &Host) -> Result<()> {
    let manifest = nested(7, "example.com/none:1").to_string();
    for verb in ["validate", "create"] {
        let said = with_little_memory(host, verb, &manifest)?.fails_with(MANIFEST)?;
        for word in
            ["spec.containers[0].env[4].value", "container \"main\"", "variable \"E4\"", "131071 bytes"]
        {
            ensure!(said.contains(word), "{word} is not in: {said}");
        }
    }
    // What is below the limit a thousand times is above that of all.
    let mut many = nested(3, "example.com/none:1");
    many["spec"]["containers"][0]["args"] = json!(vec!["$(E3)"; 1000]);
    let said = with_little_memory(host, "validate", &many.to_string())?.fails_with(MANIFEST)?;
    ensure!(said.contains("args[1") && said.contains("6291456 bytes"), "{said}");
    let left = host.podrun(&["get", "pods", "-A"])?;
    ensure!(left.stdout.is_empty(), "{left}");
    Ok(())
}

/// What only together with the image's variables is too much.
pub(super) fn with_the_image(host: &Host) -> Result<()> {
    let folder = host.file("layout");
    let layer = Tar::default().dir("bin").end();
    let env: Vec<String> = (0..20).map(|number| format!("I{number}={}", "x".repeat(100_000))).collect();
    Layout::stored(&folder, &[(digest(&layer), layer)], &json!({ "Env": env, "Entrypoint": ["/bin/none"] }))?;
    host.podrun(&["load", "-q", &folder.to_string_lossy()])?.ok()?;
    let env: Vec<Value> =
        (0..20).map(|number| json!({"name": format!("M{number}"), "value": "x".repeat(100_000)})).collect();
    let spec = json!({
        "restartPolicy": "Never",
        "containers": [{"name": "main", "image": NAME, "imagePullPolicy": "Never", "env": env}],
    });
    let said = why_it_does_not_start(host, &pod("both", &spec))?;
    ensure!(said.contains("variable \"M") && said.contains("2097152 bytes"), "{said}");
    Ok(())
}

/// Manifests that are full of one thing, at the most that a file may have.
pub(super) fn full_manifests(host: &Host) -> Result<()> {
    let container = |field: &str, value: Value| {
        let mut pod = pod("full", &json!({"containers": [{"name": "main", "image": "example.com/none:1"}]}));
        pod["spec"]["containers"][0][field] = value;
        pod
    };
    let keys = |count: usize| (0..count).map(|at| (format!("containerz{at}"), json!(1))).collect::<Value>();
    let list = |count, item: Value| Value::Array(vec![item; count]);
    let mut unknown = pod("full", &json!({}));
    unknown["spec"] = keys(30_000);
    let cases = [
        ("unknown fields", unknown),
        ("variables", container("env", list(20_000, json!({"name": "E", "value": ""})))),
        ("arguments", container("args", list(200_000, json!("")))),
        ("wrong arguments", container("args", list(200_000, json!(1)))),
        ("ports", container("ports", list(20_000, json!({"containerPort": 1, "hostPort": 1})))),
        ("mounts", container("volumeMounts", list(20_000, json!({"name": "v", "mountPath": "/v"})))),
        (
            "capabilities",
            container("securityContext", json!({"capabilities": {"add": list(30_000, json!("NO"))}})),
        ),
        ("containers", pod("full", &json!({"containers": list(20_000, json!({"name": "c", "image": "i"}))}))),
    ];
    for (what, manifest) in cases {
        let outcome = with_little_memory(host, "validate", &manifest.to_string()).context(what)?;
        ensure!([0, MANIFEST].contains(&outcome.code()), "{what}: {outcome}");
        ensure!(outcome.stderr.len() < 32_768, "{what}: {} bytes were said", outcome.stderr.len());
    }
    // One that has no end.
    let outcome = host.script(&format!("ulimit -d {MANIFEST_MEMORY}; exec $podrun validate - </dev/zero"))?;
    ensure!(outcome.fails_with(MANIFEST)?.contains("larger than 3145728 bytes"), "a file without an end");
    Ok(())
}

/// An image's config with far more of something than any image has: it is not taken, by name.
pub(super) fn full_images(host: &Host) -> Result<()> {
    let texts = |count: usize| (0..count).map(|at| Value::from(format!("A{at}="))).collect::<Value>();
    let paths = |count: usize| (0..count).map(|at| (format!("/v{at}"), json!({}))).collect::<Value>();
    let layer = Tar::default().file("f", b"").end();
    let user = |text: String| json!({ "User": text });
    for (own, says) in [
        (json!({ "Env": texts(100_000) }), "Env has 100000 entries, and 4096 are the most"),
        (
            json!({ "Env": ["A=".to_owned() + &"x".repeat(200_000)] }),
            "an entry of Env has 200002 bytes, and 131071 are",
        ),
        (json!({ "Cmd": texts(100_000) }), "Cmd has 100000 entries, and 4096 are the most"),
        (json!({ "Volumes": paths(100_000) }), "Volumes has 100000 entries, and 256 are the most"),
        (json!({ "ExposedPorts": paths(70_000) }), "ExposedPorts has 70000 entries, and 65536 are the most"),
        (user("u".repeat(3_500_000)), "the user of User has 3500000 bytes, and 256 are the most"),
        (user(format!("0:{}", "g".repeat(3_500_000))), "the group of User has 3500000 bytes"),
        (
            json!({ "WorkingDir": "/d".repeat(1_000_000) }),
            "WorkingDir has 2000000 bytes, and 4095 are the most",
        ),
        (json!({ "StopSignal": "9".repeat(100) }), "StopSignal has 100 bytes, and 64 are the most"),
    ] {
        let folder = host.file("layout");
        Layout::stored(&folder, &[(digest(&layer), layer.clone())], &own)?;
        let said = host.podrun(&["load", "-q", &folder.to_string_lossy()])?.fails_with(IMAGE)?;
        ensure!(said.contains(NAME) && said.contains(says), "{says:?} is not in: {said:.1000}");
        ensure!(said.len() < 1000, "{} bytes were said", said.len());
        std::fs::remove_dir_all(&folder)?;
    }
    // Made here, an image has no more.
    let tar = host.file("root.tar");
    std::fs::write(&tar, &layer)?;
    let volumes: Vec<String> = (0..300).map(|at| format!("/v{at}")).collect();
    let change = format!("VOLUME {}", volumes.join(" "));
    let import = ["image", "import", "--change", &change, &tar.to_string_lossy(), "made:1"];
    ensure!(host.podrun(&import)?.fails_with(IMAGE)?.contains("Volumes has 300 entries"), "an import");
    ensure!(host.podrun(&["images", "-q"])?.ok()?.is_empty(), "images were kept");
    Ok(())
}

/// A user in more groups than a process can have, in a file of the image's.
pub(super) fn full_groups(host: &Host) -> Result<()> {
    let folder = host.file("layout");
    let groups: String = (1..=200_000).map(|gid| format!("g:x:{gid}:www\n")).collect();
    let layer = Tar::default()
        .dir("etc")
        .file("etc/passwd", b"www:x:33:33::/:\n")
        .file("etc/group", groups.as_bytes())
        .end();
    let own = json!({ "User": "www", "Entrypoint": ["/none"] });
    Layout::stored(&folder, &[(digest(&layer), layer)], &own)?;
    host.podrun(&["load", "-q", &folder.to_string_lossy()])?.ok()?;
    let main = json!({"name": "main", "image": NAME, "imagePullPolicy": "Never"});
    let said = why_it_does_not_start(host, &pod("grouped", &json!({"containers": [main]})))?;
    ensure!(said.contains("the image's /etc/group: more than the 65536 groups"), "{said}");
    Ok(())
}

/// What is said of the pod's container `main`, which cannot be started. The pod is gone afterwards.
fn why_it_does_not_start(host: &Host, manifest: &Value) -> Result<String> {
    let name = manifest["metadata"]["name"].as_str().context("a name")?;
    let file = host.write("manifest.json", &manifest.to_string())?;
    // A quarter of the stack's limit is what the kernel takes of arguments and variables.
    host.script(&format!("ulimit -s 8192; exec $podrun create --wait=none {}", file.display()))?.ok()?;
    let said = wait_for("why the container does not start", || {
        let pod = host.pod(name)?;
        let status = container_status(&pod, "main").context("its status")?;
        let places = ["/state/waiting/message", "/state/terminated/message", "/lastState/terminated/message"];
        let message = places.iter().find_map(|place| status.pointer(place)?.as_str());
        Ok(message.with_context(|| format!("{status:#}"))?.to_owned())
    })?;
    host.delete(name)?;
    Ok(said)
}

/// What a running container is given besides: its variables are fewer than the kernel takes, and with the arguments of an
/// exec they are more.
pub(super) fn with_an_exec(host: &Host) -> Result<()> {
    let env: Vec<Value> =
        (0..19).map(|number| json!({"name": format!("E{number}"), "value": "x".repeat(100_000)})).collect();
    let mut main = shell("main", "sleep 100000");
    main["env"] = json!(env);
    let file = host.write("manifest.json", &pod("full", &json!({"containers": [main]})).to_string())?;
    host.script(&format!("ulimit -s 8192; exec $podrun create {}", file.display()))?.ok()?;
    host.podrun(&["exec", "full", "--", "true"])?.ok()?;
    let argument = "x".repeat(100_000);
    let said =
        host.podrun(&["exec", "full", "--", "true", &argument, &argument, &argument])?.fails_with(126)?;
    ensure!(said.contains("E2BIG") && said.contains("a quarter of the stack's limit"), "{said:.2000}");
    host.delete("full").map(drop)
}

/// Whatever is named, quoted or printed.
pub(super) fn terminals(host: &Host) -> Result<()> {
    // A colour by ESC and by C1's CSI, and text that turns around.
    for text in ["\u{1b}[31mx", "\u{9b}31mx", "\u{202e}x"] {
        let manifest = json!({
            "apiVersion": "v1", "kind": "Pod", text: 1,
            "metadata": {"name": text, "labels": { text: text }, "annotations": { "note": text }},
            "spec": {"containers": [{"name": text, "image": text, text: text}]},
        });
        let wrong = host.write(&format!("{text}.json"), &manifest.to_string())?;
        let kind =
            host.write("kind.yaml", &format!("apiVersion: v1\nkind: \"{text}\"\n").replace('\u{1b}', "\\e"))?;
        let spec = json!({"containers": [{"name": "main", "image": "example.com/none:1", "command": [text], "env": [
            {"name": "E", "value": text},
        ]}]});
        let mut well = pod("well", &spec);
        well["metadata"]["annotations"] = json!({ "note": text });
        let well = host.write("well.json", &well.to_string())?;
        let [wrong, kind, well] = [&wrong, &kind, &well].map(|path| path.to_string_lossy().into_owned());
        let none = format!("{}/{text}", host.file("none").display());
        let lines: [&[&str]; 24] = [
            &["validate", &wrong],
            &["validate", &kind],
            &["validate", &none],
            &["create", &wrong],
            &["create", &kind],
            &["create", &none],
            &["create", text],
            &["create", "--dry-run=client", "-o", "json", &well],
            &["create", "--dry-run=client", "-o", "yaml", &well],
            &["run", text, "--image", text],
            &["run", "a", "--image", text, "--dry-run=client"],
            &["run", "a", "--image=x", "-l", text],
            &["get", "pods", text],
            &["get", "pods", "-n", text],
            &["get", "pods", "-o", text],
            &["describe", "pod", text],
            &["delete", "pod", text],
            &["logs", text],
            &["exec", text, "--", "true"],
            &["images", text],
            &["pull", text],
            &["load", &none],
            &[text],
            &["get", &format!("--{text}")],
        ];
        for line in lines {
            let outcome = host.podrun(line)?;
            for said in [&outcome.stdout, &outcome.stderr] {
                let steers = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
                ensure!(!said.contains(steers), "{line:?}: {said:?}");
            }
        }
        ensure_json(host, &well, text)?;
    }
    Ok(())
}

/// What is escaped in JSON reads the same.
fn ensure_json(host: &Host, file: &str, text: &str) -> Result<()> {
    let printed = host.podrun(&["create", "--dry-run=client", "-o", "json", file])?.ok()?;
    let value: Value = serde_json::from_str(&printed).with_context(|| printed.clone())?;
    ensure!(value["metadata"]["annotations"]["note"] == text, "{printed}");
    Ok(())
}
