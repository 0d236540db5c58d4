//! No dialect of ours: what podrun takes and what it prints are Kubernetes' v1 Pod, by a decoder that
//! nobody here wrote.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use support::host::Host;
use support::pods::{pod, probe, sleeper, unknown_fields};
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
