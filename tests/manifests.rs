//! No dialect of ours: what podrun takes and what it prints are Kubernetes' v1 Pod, by a decoder that
//! nobody here wrote.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::host::Host;
use support::pods::{pod, probe, shell, sleeper, unknown_fields};
use support::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.plain("every example is a v1 Pod with nothing unknown left over", examples_are_pods);
    suite.on_host("every example is valid to podrun", &[], examples_are_valid);
    suite.on_host_with_controller(
        "what get prints is a v1 Pod with nothing unknown left over",
        "memory",
        &["probe"],
        get_prints_a_pod,
    );
    suite.on_host("fields of a cluster are accepted with one warning that lists them", &["probe"], not_ours);
    suite.on_host(
        "what get prints of all pods creates them again elsewhere",
        &["probe"],
        what_get_prints_can_be_created,
    );
    suite.on_host(
        "a manifest exported from a cluster runs without its kube-api-access volume",
        &["busybox"],
        exported,
    );
    suite.on_host(
        "what validate refuses create refuses and nothing else",
        &["probe"],
        validate_and_create_agree,
    );
    suite.on_host("a relative path is from the container's root on", &["busybox"], relative_paths);
    suite.on_host("one port leads elsewhere on IPv4 and on IPv6", &["probe"], port_of_each_family);
    suite.on_host("a long generateName is cut", &["probe"], long_generate_name);
    suite.on_host("several documents are all checked before the first pod is made", &["probe"], all_or_none);
}

fn examples() -> Result<Vec<(String, Value)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let value = serde_saphyr::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
        all.push((path.to_string_lossy().into_owned(), value));
    }
    ensure!(all.len() >= 2, "only {} examples", all.len());
    Ok(all)
}

fn examples_are_pods() -> Result<()> {
    for (path, value) in examples()? {
        let unknown = unknown_fields(&value).with_context(|| path.clone())?;
        ensure!(unknown.is_empty(), "{path}: {unknown:?}");
    }
    let mut wrong = sleeper("x");
    wrong["spec"]["containers"][0]["imagePulPolicy"] = json!("Never");
    let unknown = unknown_fields(&wrong)?;
    ensure!(
        unknown.len() == 1 && unknown[0].ends_with("imagePulPolicy"),
        "the decoder sees a typo: {unknown:?}"
    );
    Ok(())
}

fn examples_are_valid(host: &Host) -> Result<()> {
    for (path, _) in examples()? {
        host.podrun(&["validate", &path])?.ok()?;
    }
    Ok(())
}

fn get_prints_a_pod(host: &Host) -> Result<()> {
    let mut main = probe("main", &["sleep"]);
    main["resources"] = json!({ "limits": { "memory": "64Mi" }, "requests": { "cpu": "10m" } });
    main["ports"] = json!([{ "containerPort": 80, "hostPort": 8080, "name": "http" }]);
    main["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    let spec = json!({
        "containers": [main, probe("crash", &["exit", "1"])],
        "initContainers": [probe("init", &["exit", "0"])],
        "volumes": [{ "name": "v", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }],
        "hostAliases": [{ "ip": "10.1.2.3", "hostnames": ["a", "b"] }],
        "securityContext": { "supplementalGroups": [1] },
    });
    host.create(&pod("shown", &spec))?;
    host.wait_for_pod("shown", "a restart", |pod| {
        let statuses = pod["status"]["containerStatuses"].as_array();
        statuses.into_iter().flatten().any(|status| status["restartCount"].as_u64() > Some(0))
    })?;
    let shown = host.pod("shown")?;
    let unknown = unknown_fields(&shown)?;
    ensure!(unknown.is_empty(), "{unknown:?}");
    ensure!(shown["apiVersion"] == "v1" && shown["kind"] == "Pod", "{shown:#}");
    for field in ["uid", "creationTimestamp", "namespace"] {
        ensure!(shown["metadata"][field].is_string(), "metadata.{field}");
    }
    let list: Value = serde_json::from_str(&host.podrun(&["get", "pods", "-o", "json"])?.ok()?)?;
    ensure!(list["kind"] == "List" && list["items"][0] == host.pod("shown")?, "{list:#}");
    // What was printed can be given back: nothing in it is refused.
    let file = host.write("again.json", &shown.to_string())?;
    host.podrun(&["validate", &file.to_string_lossy()])?.ok()?;
    host.delete("shown")?;
    Ok(())
}

fn not_ours(host: &Host) -> Result<()> {
    let mut manifest = sleeper("cluster");
    manifest["spec"]["nodeSelector"] = json!({ "disk": "fast" });
    manifest["spec"]["serviceAccountName"] = json!("robot");
    let outcome = host.podrun_with_stdin(&["create", "-f", "-"], manifest.to_string().as_bytes())?;
    let warnings: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.to_lowercase().contains("warning")).collect();
    ensure!(warnings.len() == 1, "one warning: {outcome}");
    ensure!(warnings[0].contains("nodeSelector") && warnings[0].contains("serviceAccountName"), "{outcome}");
    outcome.ok()?;
    host.delete("cluster")?;
    Ok(())
}

fn all_or_none(host: &Host) -> Result<()> {
    let good = serde_json::to_string(&sleeper("good"))?;
    let text = format!(
        "{good}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: bad}}\nspec: {{containers: []}}\n"
    );
    let outcome = host.podrun_with_stdin(&["create", "-f", "-"], text.as_bytes())?;
    ensure!(outcome.fails_with(3)?.contains("spec.containers"), "the bad one is named");
    ensure!(host.podrun(&["get", "pods"])?.ok()?.is_empty(), "the good one was made");
    Ok(())
}

fn what_get_prints_can_be_created(host: &Host) -> Result<()> {
    let mut main = probe("main", &["sleep"]);
    main["resources"] =
        json!({ "limits": { "cpu": "0.25", "memory": "1.5Gi" }, "requests": { "memory": 1e9 } });
    host.create(&pod("one", &json!({ "containers": [main] })))?;
    host.create(&sleeper("two"))?;
    for format in ["yaml", "json"] {
        let printed = host.podrun(&["get", "pods", "-o", format])?.ok()?;
        let said = host.podrun_with_stdin(&["create", "-n", format, "-"], printed.as_bytes())?;
        ensure!(said.code() == 2 && said.stderr.contains("namespace is `default`"), "{said}");
        let moved = printed.replace("namespace: default", "namespace: yaml");
        let moved = moved.replace("\"namespace\": \"default\"", "\"namespace\": \"json\"");
        let said = host.podrun_with_stdin(&["create", "-"], moved.as_bytes())?.ok()?;
        ensure!(said == "pod/one created\npod/two created\n", "{said}");
    }
    let shown: Value =
        serde_json::from_str(&host.podrun(&["get", "pod", "one", "-n", "yaml", "-o", "json"])?.ok()?)?;
    let resources = &shown["spec"]["containers"][0]["resources"];
    ensure!(
        *resources
            == json!({ "limits": { "cpu": "250m", "memory": "1536Mi" }, "requests": { "cpu": "250m", "memory": "1G" } }),
        "{resources}"
    );
    for namespace in ["default", "yaml", "json"] {
        host.podrun(&["delete", "pods", "--all", "--now", "-n", namespace])?.ok()?;
    }
    Ok(())
}

fn exported(host: &Host) -> Result<()> {
    let mut main = shell("main", "sleep 1000");
    let inside = "/var/run/secrets/kubernetes.io/serviceaccount";
    main["volumeMounts"] = json!([
        { "name": "v", "mountPath": "/v" },
        { "name": "kube-api-access-x7k2p", "mountPath": inside, "readOnly": true },
    ]);
    let sources = json!([{ "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } }]);
    let volumes = json!([
        { "name": "v", "emptyDir": {} },
        { "name": "kube-api-access-x7k2p", "projected": { "defaultMode": 420, "sources": sources } },
    ]);
    let manifest = pod("exported", &json!({ "containers": [main], "volumes": volumes, "nodeName": "n" }));
    let outcome = host.podrun_with_stdin(&["create", "-"], manifest.to_string().as_bytes())?;
    let left_out = "left out: spec.nodeName, spec.volumes[1], spec.containers[0].volumeMounts[1]";
    ensure!(outcome.stderr.matches("warning").count() == 1 && outcome.stderr.contains(left_out), "{outcome}");
    outcome.ok()?;
    let script = format!("test -d /v && ! test -e {inside}");
    host.podrun(&["exec", "exported", "--", "sh", "-c", &script])?.ok()?;
    host.delete("exported")?;
    Ok(())
}

/// A pod of which one thing is changed.
fn changed(pointer: &str, value: Value) -> Result<Value> {
    let mut manifest = sleeper("same");
    manifest["spec"]["volumes"] = json!([{ "name": "v", "emptyDir": {} }]);
    manifest["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    let (at, key) = pointer.rsplit_once('/').context("a pointer")?;
    manifest.pointer_mut(at).context("a place")?[key] = value;
    Ok(manifest)
}

fn validate_and_create_agree(host: &Host) -> Result<()> {
    let main = "/spec/containers/0";
    let of = |field: &str| format!("{main}/{field}");
    let port = |ip: &str| json!([{ "containerPort": 1, "hostPort": 8080, "hostIP": ip }]);
    let mount = |path: &str, sub: &str| json!([{ "name": "v", "mountPath": path, "subPath": sub }]);
    for (pointer, value, is_well) in [
        (of("ports"), port("::1"), false),
        (of("ports"), port("0:0::1"), false),
        (of("ports"), port("0:0::0"), true),
        (of("volumeMounts"), mount("v/", "."), true),
        (of("volumeMounts"), mount("./v", "./x/"), true),
        (of("volumeMounts"), mount("v", "./.."), false),
        (of("volumeMounts"), mount("./", "x"), false),
        (of("terminationMessagePath"), json!("log"), true),
        (of("terminationMessagePath"), json!("../log"), false),
        (of("terminationMessagePath"), json!("/"), false),
        (of("workingDir"), json!("srv"), false),
        (of("image"), json!("Not A Name"), false),
        (of("resources"), json!({ "limits": { "memory": "300m" } }), false),
        (
            of("securityContext"),
            json!({ "allowPrivilegeEscalation": false, "capabilities": { "add": ["SYS_ADMIN"] } }),
            true,
        ),
        (of("securityContext"), json!({ "appArmorProfile": {} }), false),
        (of("restartPolicy"), json!("Never"), false),
        ("/spec/restartPolicy".into(), json!(""), true),
        ("/spec/volumes/0/secret".into(), json!({}), false),
        ("/metadata/generateName".into(), json!("a."), false),
        (
            "/metadata/annotations".into(),
            json!({ "container.apparmor.security.beta.kubernetes.io/main": "localhost/p" }),
            false,
        ),
    ] {
        let manifest = changed(&pointer, value.clone())?.to_string();
        let judged = host.podrun_with_stdin(&["validate", "-"], manifest.as_bytes())?;
        let made = host.podrun_with_stdin(&["create", "-"], manifest.as_bytes())?;
        let code = if is_well { 0 } else { 3 };
        ensure!(judged.code() == code && made.code() == code, "{pointer}: {value}: {judged} {made}");
        if is_well {
            host.delete("same")?;
        }
    }
    Ok(())
}

fn relative_paths(host: &Host) -> Result<()> {
    let folder = host.file("shared");
    std::fs::create_dir_all(folder.join("x"))?;
    std::fs::write(folder.join("x/file"), "host\n")?;
    let mut main = shell("main", "echo ended >/end; sleep 1000");
    main["terminationMessagePath"] = json!("end");
    main["volumeMounts"] = json!([
        { "name": "disk", "mountPath": "disk", "subPath": "." },
        { "name": "disk", "mountPath": "./part", "subPath": "./x/./y" },
        { "name": "memory", "mountPath": "memory", "subPath": "./" },
        { "name": "host", "mountPath": "host", "subPath": "./x" },
    ]);
    let volumes = json!([
        { "name": "disk", "emptyDir": {} },
        { "name": "memory", "emptyDir": { "medium": "Memory" } },
        { "name": "host", "hostPath": { "path": folder.to_string_lossy() } },
    ]);
    host.create(&pod("relative", &json!({ "containers": [main], "volumes": volumes })))?;
    let script = "touch /part/deep; ls /disk/x/y; grep -c ' /memory ' /proc/mounts; cat /host/file /end";
    let seen = wait_for("the message is written", || {
        host.podrun(&["exec", "relative", "--", "sh", "-ec", script])?.ok()
    })?;
    ensure!(seen == "deep\n1\nhost\nended\n", "{seen}");
    host.delete("relative")?;
    Ok(())
}

fn port_of_each_family(host: &Host) -> Result<()> {
    let server = |name: &str, port: u16, ip: &str| {
        let mut server = probe(name, &["serve", &port.to_string(), name]);
        server["ports"] = json!([{ "containerPort": port, "hostPort": 8080, "hostIP": ip }]);
        server
    };
    let spec = json!({ "containers": [server("four", 81, "0.0.0.0"), server("six", 82, "::")] });
    host.create(&pod("both", &spec))?;
    for (address, expected) in [("127.0.0.1", "four"), ("10.87.0.1", "four"), ("fd10:87::1", "six")] {
        let said = crate::network::ask_host(host, address, 8080)?;
        ensure!(said.ends_with(expected), "{address}: {said}");
    }
    // All of one family meet each of its addresses, in another pod too; those of the other family do not.
    for (ip, code) in [("127.0.0.1", 1), ("", 1), ("fd10:87::1", 1)] {
        let second = pod("second", &json!({ "containers": [server("a", 81, ip)] }));
        let outcome = host.podrun_with_stdin(&["create", "-"], second.to_string().as_bytes())?;
        ensure!(outcome.code() == code && outcome.stderr.contains("is taken by pod"), "{ip}: {outcome}");
    }
    host.delete("both")?;
    Ok(())
}

fn long_generate_name(host: &Host) -> Result<()> {
    let mut manifest = sleeper("");
    manifest["metadata"] = json!({ "generateName": "a".repeat(253) });
    let said = host.podrun_with_stdin(&["create", "-"], manifest.to_string().as_bytes())?.ok()?;
    let name = said.trim_start_matches("pod/").trim_end().trim_end_matches(" created");
    ensure!(name.len() == 63 && name.starts_with(&"a".repeat(58)), "{said}");
    host.delete(name)?;
    Ok(())
}
