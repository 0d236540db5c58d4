//! The command line: kubectl's words, columns and habits.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use support::deadline::wait_for;
use support::fixtures::reference;
use support::host::Host;
use support::pods::{ensure_kubernetes_pod, pod, probe, report, sleeper};
use support::suite::Suite;

const IMAGES: &[&str] = &["probe"];

pub(crate) fn add(suite: &mut Suite) {
    suite.on_host("get selects sorts and prints as kubectl does", IMAGES, get);
    suite.on_host("another resource's word is refused before anything is done", IMAGES, other_resources);
    suite.on_host("each verb is right about no pod one two and many", IMAGES, none_to_many);
    suite.on_host("get chooses by fields and files and prints chosen columns", IMAGES, get_chosen);
    suite.on_host("get -w prints the table and then a row for each change", IMAGES, get_watch);
    suite.on_host("a namespace separates pods and a mismatch is refused", IMAGES, namespaces);
    suite.on_host_with_controller(
        "describe shows a pod with what happened to it",
        "memory",
        IMAGES,
        describe,
    );
    suite.on_host("wait ends with its condition and 8 is its timeout", IMAGES, wait);
    suite.on_host("delete takes names labels files and all", IMAGES, delete);
    suite.on_host("a second delete shortens the grace of the first", IMAGES, delete_twice);
    suite.on_host("delete --wait=false returns before the end", IMAGES, delete_without_waiting);
    suite.on_host("ns shows who shares which namespace", IMAGES, ns);
    suite.on_host("run makes a pod from flags", IMAGES, run);
    suite.on_host("a dry run prints the pod and makes none", IMAGES, dry_run);
    suite.on_host("create takes several files and folders and generates names", IMAGES, several_files);
    suite.on_host("create gives up at its timeout and removes the pod", IMAGES, create_timeout);
    suite.on_host("create waits for what it is asked to", IMAGES, create_waits);
    suite.on_host("the annotation names the default container", &["busybox"], default_container);
    suite.on_host("validate checks without root and lists all that is wrong", &[], validate);
}

fn labelled(name: &str, labels: &Value) -> Value {
    let mut manifest = sleeper(name);
    manifest["metadata"]["labels"] = labels.clone();
    manifest
}

fn delete_all(host: &Host) -> Result<()> {
    host.podrun(&["delete", "pods", "--all", "-A", "--force"])?.ok()?;
    Ok(())
}

fn first_words(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

fn get(host: &Host) -> Result<()> {
    let ask = |arguments: &[&str]| host.podrun(&[&["get"], arguments].concat())?.ok();
    let none = host.podrun(&["get", "pods", "-A"])?;
    ensure!(none.stderr == "No resources found.\n" && none.stdout.is_empty() && none.code() == 0, "{none}");
    host.create(&labelled("b", &json!({ "app": "web", "tier": "front" })))?;
    host.create(&labelled("a", &json!({ "app": "db" })))?;
    host.create(&labelled("c", &json!({ "app": "web" })))?;
    ensure!(first_words(&ask(&["pods"])?) == ["NAME", "a", "b", "c"], "{}", ask(&["pods"])?);
    for word in ["pod", "pods", "po"] {
        ensure!(first_words(&ask(&[word])?).len() == 4, "{word}");
    }
    ensure!(first_words(&ask(&["pods", "b", "a", "--no-headers"])?) == ["b", "a"], "as they are named");
    ensure!(first_words(&ask(&["pod/b", "--no-headers"])?) == ["b"], "pod/NAME");
    for (selector, names) in [
        ("app=web", vec!["b", "c"]),
        ("app!=web", vec!["a"]),
        ("app in (web, db),tier", vec!["b"]),
        ("!tier", vec!["a", "c"]),
    ] {
        let found = ask(&["pods", "-l", selector, "--no-headers"])?;
        ensure!(first_words(&found) == names, "{selector}: {found}");
    }
    let sorted = ask(&["pods", "--sort-by=.metadata.labels.app", "--no-headers"])?;
    ensure!(first_words(&sorted)[0] == "a", "{sorted}");
    ensure!(ask(&["pods", "-o", "name"])? == "pod/a\npod/b\npod/c\n", "-o name");
    let wide = ask(&["pod", "b", "-o", "wide", "--show-labels"])?;
    let heads = ["IP", "NODE", "NOMINATED NODE", "READINESS GATES", "LABELS"];
    ensure!(heads.iter().all(|head| wide.contains(head)) && wide.contains("app=web,tier=front"), "{wide}");
    ensure!(wide.contains("10.87.0.") && wide.contains("<none>"), "{wide}");
    let address = ask(&["pod", "b", "-o", "jsonpath={.status.podIP}"])?;
    ensure!(address.starts_with("10.87.0.") && !address.contains('\n'), "{address:?}");
    let names = ask(&["pods", "-o", "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}"])?;
    ensure!(names == "a\nb\nc\n", "{names:?}");
    let yaml: Value = serde_saphyr::from_str(&ask(&["pod", "b", "-o", "yaml"])?)?;
    ensure!(yaml == host.pod("b")?, "YAML and JSON say the same");
    let identity = yaml["metadata"]["uid"].as_str().context("uid")?;
    ensure!(identity.len() == 36 && identity.as_bytes()[14] == b'4', "{identity} is no v4 UUID");
    let missing = host.podrun(&["get", "pods", "a", "x"])?;
    ensure!(missing.code() == 4 && missing.stdout.contains("Running"), "{missing}");
    ensure!(missing.stderr.contains("pod \"x\" not found"), "{missing}");
    let missing = host.podrun(&["get", "pods", "x", "y"])?.fails_with(4)?;
    ensure!(missing.contains("pod \"x\"") && missing.contains("pod \"y\""), "each is named: {missing}");
    let unsorted = host.podrun(&["get", "pods", "--sort-by=.metadata.nothing"])?.fails_with(1)?;
    ensure!(unsorted.contains("none of the pods has this field"), "{unsorted}");
    ensure!(host.podrun(&["get", "pod", "x", "--ignore-not-found"])?.ok()?.is_empty(), "ignored");
    host.podrun(&["get", "pods", "-o", "toml"])?.fails_with(2)?;
    delete_all(host)
}

fn other_resources(host: &Host) -> Result<()> {
    host.create(&sleeper("web"))?;
    host.create(&sleeper("job"))?;
    for (line, instead) in [
        (vec!["delete", "svc", "web", "--now"], "hostPort"),
        (vec!["delete", "SVC/web", "--now"], "hostPort"),
        (vec!["delete", "deployments.apps", "web", "--now"], "by its own name"),
        (vec!["delete", "pods,svc", "web", "--now"], "hostPort"),
        (vec!["delete", "job", "web", "--now"], "the pod of that name is written pod/job"),
        (vec!["delete", "deploy", "--ignore-not-found"], "by its own name"),
        (vec!["get", "deploy"], "by its own name"),
        (vec!["get", "nodes", "-A"], "podrun doctor"),
        (vec!["describe", "cm", "web"], "hostPath"),
        (vec!["wait", "sts", "web", "--for=delete"], "by its own name"),
        (vec!["wait", "svc", "--for=delete"], "hostPort"),
        (vec!["ns", "rs", "web"], "by its own name"),
        (vec!["logs", "deploy/web"], "by its own name"),
        (vec!["attach", "job/web"], "restartPolicy"),
    ] {
        let said = host.podrun(&line)?.fails_with(2)?;
        ensure!(said.contains("podrun has pods only") && said.contains(instead), "{line:?}: {said}");
    }
    let said = host.podrun(&["exec", "deploy/web", "--", "true"])?.fails_with(125)?;
    ensure!(said.contains("podrun has pods only"), "{said}");
    for word in ["deploy", "configmap"] {
        let said = host.podrun(&["create", word, "x"])?.fails_with(1)?;
        ensure!(said.contains("no such file\nhint: "), "{said}");
    }
    for words in [vec!["PODS"], vec!["pod.v1"], vec!["pods.v1.", "web", "job"], vec!["Pod/web", "po/job"]] {
        let names =
            host.podrun(&[&["get"], &words[..], &["-o", "name", "--sort-by=metadata.name"]].concat())?;
        ensure!(
            names.stdout.contains("pod/web\n") && names.stdout.contains("pod/job\n"),
            "{words:?}: {names}"
        );
    }
    // Alone, it is the pod's name where there is such a pod.
    ensure!(host.podrun(&["delete", "job", "--force"])?.ok()? == "pod \"job\" force deleted\n", "job");
    ensure!(host.podrun(&["get", "pods", "-o", "name"])?.ok()? == "pod/web\n", "web is there");
    delete_all(host)
}

fn none_to_many(host: &Host) -> Result<()> {
    for count in [0, 1, 2, 5] {
        let names: Vec<String> = (0..count).map(|number| format!("web-{number}")).collect();
        for name in &names {
            host.create(&labelled(name, &json!({ "app": "web" })))?;
        }
        let rows = |line: &[&str]| {
            let said = host.podrun(line)?;
            ensure!(said.code() == 0, "{line:?} of {count}: {said}");
            Ok::<_, anyhow::Error>(said.stdout.lines().filter(|line| line.contains("web-")).count())
        };
        for line in [
            vec!["get", "pods"],
            vec!["get", "pods", "-A", "-o", "wide"],
            vec!["get", "pods", "-o", "name"],
            vec!["get", "pods", "--sort-by=.metadata.name"],
            vec!["get", "pods", "--sort-by=.status.startTime", "-l", "app"],
            vec!["get", "pods", "--field-selector=status.phase=Running"],
            vec!["get", "pods", "-o", "custom-columns=N:.metadata.name"],
            vec!["get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}"],
        ] {
            ensure!(rows(&line)? == count, "{line:?} of {count}");
        }
        for format in ["json", "yaml"] {
            let list: Value = serde_saphyr::from_str(&host.podrun(&["get", "pods", "-o", format])?.ok()?)?;
            ensure!(
                list["kind"] == "List" && list["items"].as_array().map(Vec::len) == Some(count),
                "{list}"
            );
        }
        let described = host.podrun(&["describe", "pods"])?.ok()?;
        ensure!(described.matches("\nNamespace: ").count() == count, "{described}");
        let sorted = host.podrun(&["get", "pods", "--sort-by=.metadata.nothing"])?;
        ensure!(sorted.code() == i32::from(count > 0), "{count}: {sorted}");
        let unready = host.podrun(&["wait", "--all", "--for=condition=Ready"])?;
        ensure!(
            unready.stdout.lines().count() == count && unready.code() == if count > 0 { 0 } else { 4 },
            "{unready}"
        );
        host.podrun(&["ns", "--all"])?.ok()?;
        let logs = host.podrun(&["logs", "-l", "app=web"])?;
        ensure!(logs.code() == 0 && logs.stderr.contains("No resources") == (count == 0), "{logs}");
        let gone = host.podrun(&["delete", "pods", "--all", "--force"])?.ok()?;
        ensure!(gone.lines().count() == count, "{gone}");
    }
    Ok(())
}

fn get_chosen(host: &Host) -> Result<()> {
    let ask = |arguments: &[&str]| host.podrun(&[&["get", "pods"], arguments].concat())?.ok();
    host.create(&labelled("a", &json!({ "app": "web", "example.com/tier": "front" })))?;
    host.create(&labelled("b", &json!({ "app": "db" })))?;
    for (selector, names) in [
        ("metadata.name=a", "pod/a\n"),
        ("metadata.name!=a,status.phase=Running", "pod/b\n"),
        ("status.phase!=Running", ""),
        ("metadata.namespace=default", "pod/a\npod/b\n"),
    ] {
        let found = ask(&["--field-selector", selector, "-o", "name"])?;
        ensure!(found == names, "{selector}: {found}");
    }
    let said = host.podrun(&["get", "pods", "--field-selector=spec.nodeName=x"])?.fails_with(2)?;
    ensure!(said.contains("status.phase"), "{said}");
    host.podrun(&["get", "pods", "a", "-l", "app=db"])?.fails_with(2)?;
    let table = ask(&["-o", "custom-columns=NAME:.metadata.name,APP:.metadata.labels.app,NO:.x"])?;
    ensure!(table == "NAME   APP   NO\na      web   <none>\nb      db    <none>\n", "{table}");
    let table = ask(&["-L", "app,example.com/tier", "--no-headers"])?;
    let ends: Vec<_> =
        table.lines().map(|line| line.split_whitespace().skip(5).collect::<Vec<_>>()).collect();
    ensure!(ends == [vec!["web", "front"], vec!["db"]], "{table}");
    ensure!(
        ask(&["-L", "example.com/tier"])?.lines().next().is_some_and(|line| line.ends_with(" TIER")),
        "TIER"
    );
    for (format, way) in [("go-template={{.x}}", "jsonpath="), ("jsonpath-file=f", "$(cat f)")] {
        let said = host.podrun(&["get", "pods", "-o", format])?.fails_with(2)?;
        ensure!(said.contains(way), "{format}: {said}");
    }
    let file = host.write("b.json", &sleeper("b").to_string())?;
    let file = file.to_string_lossy();
    for verb in ["get", "describe"] {
        let shown = host.podrun(&[verb, "-f", &file])?.ok()?;
        ensure!(shown.contains("Running") && !shown.contains("web"), "{verb}: {shown}");
    }
    host.podrun(&["wait", "-f", &file, "--for=condition=Ready"])?.ok()?;
    host.podrun(&["delete", "--field-selector=metadata.name=b", "--force"])?.ok()?;
    ensure!(ask(&["-o", "name"])? == "pod/a\n", "b has gone");
    delete_all(host)
}

fn get_watch(host: &Host) -> Result<()> {
    host.create(&sleeper("first"))?;
    // A file, so that what has been printed can be read while it goes on.
    let watch = host.start_script("exec $podrun get pods -w >rows")?;
    let rows = || Ok::<_, anyhow::Error>(std::fs::read_to_string(host.file("rows")).unwrap_or_default());
    wait_for("the table", || {
        ensure!(rows()?.lines().count() == 2, "{}", rows()?);
        Ok(())
    })?;
    host.create(&sleeper("second"))?;
    wait_for("a row for the new pod", || {
        let rows = rows()?;
        ensure!(rows.lines().any(|line| line.starts_with("second ") && line.contains("Running")), "{rows}");
        Ok(())
    })?;
    // A pod that has ended changes no more: one more row tells that it was deleted.
    let over = json!({ "restartPolicy": "Never", "containers": [probe("main", &["exit", "0"])] });
    host.create(&pod("over", &over))?;
    let of_over = || Ok::<_, anyhow::Error>(rows()?.lines().filter(|line| line.starts_with("over ")).count());
    wait_for("a row for its end", || {
        let rows = rows()?;
        ensure!(rows.lines().any(|line| line.starts_with("over ") && line.contains("Completed")), "{rows}");
        Ok(())
    })?;
    let before = of_over()?;
    for name in ["first", "second", "over"] {
        host.delete(name)?;
    }
    wait_for("a row for what was over", || {
        ensure!(of_over()? > before, "{}", rows()?);
        Ok(())
    })?;
    wait_for("a last row for each deleted pod", || {
        let rows = rows()?;
        for name in ["first ", "second "] {
            let last = rows.lines().rfind(|line| line.starts_with(name));
            let ended =
                |line: &str| ["Terminating", "Completed", "Error"].iter().any(|word| line.contains(word));
            ensure!(last.is_some_and(ended), "{name}: {rows}");
        }
        Ok(())
    })?;
    ensure!(rows()?.matches("NAME").count() == 1, "one header: {}", rows()?);
    watch.signal(Signal::SIGINT)?;
    let ended = watch.wait()?;
    ensure!(ended.code() == 130, "{ended}");
    Ok(())
}

fn namespaces(host: &Host) -> Result<()> {
    let mut manifest = sleeper("web");
    manifest["metadata"]["namespace"] = json!("blue");
    host.create(&manifest)?;
    host.create(&sleeper("web"))?;
    ensure!(first_words(&host.podrun(&["get", "pods"])?.ok()?) == ["NAME", "web"], "of default only");
    let all = host.podrun(&["get", "pods", "-A"])?.ok()?;
    ensure!(all.starts_with("NAMESPACE") && first_words(&all) == ["NAMESPACE", "blue", "default"], "{all}");
    let blue = host.podrun(&["-n", "blue", "get", "pod", "web", "-o", "json"])?.ok()?;
    let blue: Value = serde_json::from_str(&blue)?;
    ensure!(blue["metadata"]["namespace"] == "blue", "{}", blue["metadata"]);
    ensure!(blue["metadata"]["uid"] != host.pod("web")?["metadata"]["uid"], "they are two");
    host.podrun(&["exec", "-n", "blue", "web", "--", "/probe", "exit", "0"])?.ok()?;
    let other = host.podrun_with_stdin(&["-n", "green", "create", "-"], manifest.to_string().as_bytes())?;
    let said = other.fails_with(2)?;
    ensure!(said.contains("blue") && said.contains("green"), "{said}");
    let climbing =
        host.podrun_with_stdin(&["-n", "../x", "create", "-"], sleeper("a").to_string().as_bytes())?;
    ensure!(climbing.fails_with(2)?.contains("--namespace: must be a DNS label"), "no path");
    ensure!(host.podrun(&["get", "pods", "-n", ""])?.ok()?.contains("web"), "an empty one is none");
    let empty = host.podrun(&["get", "pods", "-n", "green"])?;
    ensure!(empty.stderr.contains("No resources found in green namespace."), "{empty}");
    host.podrun(&["delete", "pod", "web", "-n", "blue", "--now"])?.ok()?;
    ensure!(host.pod("web")?["status"]["phase"] == "Running", "the other goes on");
    host.delete("web")?;
    Ok(())
}

fn describe(host: &Host) -> Result<()> {
    let mut main = probe("main", &["sleep"]);
    main["env"] = json!([{ "name": "MODE", "value": "fast" }]);
    main["resources"] = json!({ "limits": { "memory": "64Mi" } });
    main["ports"] = json!([{ "containerPort": 80 }]);
    let spec = json!({ "containers": [main, probe("crash", &["exit", "7"])] });
    host.create(&pod("web", &spec))?;
    host.wait_for_pod("web", "a restart", |pod| {
        pod["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one["restartCount"] == 1)
    })?;
    let text = host.podrun(&["describe", "pod", "web"])?.ok()?;
    for part in [
        "Name:",
        "Namespace:",
        "Status:",
        "IP:",
        "Containers:",
        "main:",
        "Image:",
        "Limits:",
        "memory:",
        "MODE",
        "Conditions:",
        "Volumes:",
        "QoS Class:",
        "Events:",
        "Last State:",
        "Exit Code:",
        "Restart Count:",
    ] {
        ensure!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    let events = text.split_once("Events:").context("events")?.1;
    for reason in ["Pulled", "Created", "Started", "BackOff"] {
        wait_for(reason, || {
            let text = host.podrun(&["describe", "pod", "web"])?.ok()?;
            ensure!(text.contains(reason), "{events}");
            Ok(())
        })?;
    }
    let none = host.podrun(&["describe", "pods", "-l", "app=none"])?;
    ensure!(none.stdout.is_empty() && none.stderr == "No resources found in default namespace.\n", "{none}");
    host.podrun(&["describe", "pod", "none"])?.fails_with(4)?;
    let some = host.podrun(&["describe", "pod", "none", "web"])?;
    ensure!(some.code() == 4 && some.stdout.starts_with("Name:"), "what is there is described: {some}");
    host.create(&sleeper("other"))?;
    let all = host.podrun(&["describe", "pods"])?.ok()?;
    let names: Vec<&str> = all.lines().filter(|line| line.starts_with("Name:")).collect();
    ensure!(names == ["Name:         other", "Name:         web"], "{names:?}");
    host.podrun(&["describe"])?.fails_with(2)?;
    host.delete("other")?;
    host.delete("web")?;
    Ok(())
}

fn wait(host: &Host) -> Result<()> {
    let ready = host.start(&["wait", "pod/web", "--for=condition=Ready", "--timeout=30s"])?;
    let outcome = ready.wait()?;
    outcome.fails_with(4)?;
    host.create(&sleeper("web"))?;
    let met = host.podrun(&["wait", "pod", "web", "--for=condition=Ready"])?.ok()?;
    ensure!(met == "pod/web condition met\n", "{met:?}");
    host.podrun(&["wait", "web", "--for=jsonpath={.status.phase}=Running"])?.ok()?;
    let late = host.podrun(&["wait", "web", "--for=condition=Ready=False", "--timeout=0"])?;
    ensure!(late.fails_with(8)?.contains("timed out"), "a timeout is said");
    let gone = host.start(&["wait", "pod/web", "--for=delete", "--timeout=-1s"])?;
    let ended =
        host.start(&["wait", "pod/web", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=0"])?;
    ended.wait()?.fails_with(8)?;
    host.delete("web")?;
    ensure!(gone.wait()?.ok()? == "pod/web condition met\n", "deleted");
    ensure!(
        host.podrun(&["wait", "pod/web", "--for=delete"])?.ok()? == "pod/web condition met\n",
        "gone already"
    );
    host.podrun(&["wait", "web"])?.fails_with(2)?;
    Ok(())
}

fn delete(host: &Host) -> Result<()> {
    let names = || host.podrun(&["get", "pods", "-o", "name"])?.ok();
    for (name, labels) in
        [("a", json!({ "app": "x" })), ("b", json!({ "app": "x" })), ("c", json!({ "app": "y" }))]
    {
        host.create(&labelled(name, &labels))?;
    }
    let file = host.write("d.json", &sleeper("d").to_string())?;
    host.podrun(&["create", &file.to_string_lossy()])?.ok()?;
    host.podrun(&["delete"])?.fails_with(2)?;
    host.podrun(&["delete", "pod"])?.fails_with(2)?;
    host.podrun(&["delete", "pod", "--all", "a"])?.fails_with(2)?;
    host.podrun(&["delete", "pod", "-A", "a"])?.fails_with(2)?;
    ensure!(names()? == "pod/a\npod/b\npod/c\npod/d\n", "nothing went: {}", names()?);
    let said = host.podrun(&["delete", "pods", "-l", "app=x", "--now"])?.ok()?;
    ensure!(said == "pod \"a\" deleted\npod \"b\" deleted\n", "{said:?}");
    ensure!(names()? == "pod/c\npod/d\n", "{}", names()?);
    host.podrun(&["delete", "-f", &file.to_string_lossy(), "--now"])?.ok()?;
    let some = host.podrun(&["delete", "c", "missing", "--force"])?;
    ensure!(some.code() == 4 && some.stderr.contains("\"missing\" not found"), "{some}");
    ensure!(names()?.is_empty(), "{}", names()?);
    host.podrun(&["delete", "pod/missing", "--ignore-not-found"])?.ok()?;
    host.podrun(&["delete", "pods", "--all"])?.ok()?;
    // Any prefix of the id that is unique will do.
    host.create(&sleeper("e"))?;
    let ns: Value = serde_json::from_str(&host.podrun(&["ns", "e", "-o", "json"])?.ok()?)?;
    let id = ns["pods"][0]["id"].as_str().context("id")?;
    host.podrun(&["delete", &id[..12], "--force"])?.ok()?;
    ensure!(names()?.is_empty(), "{}", names()?);
    Ok(())
}

fn deaf(name: &str) -> Value {
    let spec =
        json!({ "containers": [probe("main", &["ignore-term"])], "terminationGracePeriodSeconds": 3600 });
    pod(name, &spec)
}

fn delete_twice(host: &Host) -> Result<()> {
    host.create(&deaf("deaf"))?;
    let first = host.start(&["delete", "pod", "deaf"])?;
    host.wait_for_pod("deaf", "a deletion", |pod| pod["metadata"]["deletionTimestamp"].is_string())?;
    ensure!(host.podrun(&["get", "pods"])?.ok()?.contains("Terminating"), "the table says so");
    host.podrun(&["delete", "pod", "deaf", "--grace-period=1"])?.ok()?;
    first.wait()?.ok()?;
    Ok(())
}

fn delete_without_waiting(host: &Host) -> Result<()> {
    host.create(&deaf("deaf"))?;
    let said = host.podrun(&["delete", "pod", "deaf", "--wait=false"])?.ok()?;
    ensure!(said == "pod \"deaf\" deleted\n", "{said:?}");
    ensure!(host.pod("deaf")?["metadata"]["deletionTimestamp"].is_string(), "it is on its way");
    host.podrun(&["delete", "pod", "deaf", "--timeout=1s"])?.fails_with(8)?;
    host.podrun(&["delete", "pod", "deaf", "--wait=false", "--grace-period=1"])?.ok()?;
    wait_for("it is gone", || host.podrun(&["get", "pod", "deaf"])?.fails_with(4))?;
    Ok(())
}

fn ns(host: &Host) -> Result<()> {
    host.create(&pod("two", &json!({ "containers": [probe("a", &["sleep"]), probe("b", &["sleep"])] })))?;
    host.create(&sleeper("one"))?;
    let table = host.podrun(&["ns", "two"])?.ok()?;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let kinds = ["CGROUP", "IPC", "MNT", "NET", "PID", "TIME", "USER", "UTS"];
    ensure!(kinds.iter().all(|kind| rows[0].contains(kind)), "all eight kinds: {table}");
    let column = |kind: &str| rows[0].iter().rposition(|head| *head == kind).context("a column");
    let row = |name: &str| rows.iter().find(|row| row.join(" ").starts_with(name)).context(name.to_owned());
    let (a, b) = (row("two/a")?, row("two/b")?);
    for kind in ["NET", "IPC", "UTS"] {
        ensure!(a[column(kind)?] == b[column(kind)?] && a[column(kind)?] != "*", "{kind}: {table}");
    }
    for kind in ["MNT", "PID"] {
        ensure!(a[column(kind)?] != b[column(kind)?], "{kind}: {table}");
    }
    ensure!(a[column("USER")?] == "*" && a[column("TIME")?] == "*", "the host's: {table}");
    row("host")?;
    row("two (monitor)")?;
    let seen = report(host, "two", "a")?;
    ensure!(table.contains(&format!("net:[{}]", seen["namespaces"]["net"])), "{table}");
    // The PID outside is the one that nsenter takes.
    let pid = a[1];
    let name = host.run("nsenter", &["--target", pid, "--uts", "hostname"])?.ok()?;
    ensure!(name == "two\n" && a[2] == "1", "{name} {table}");
    let all: Value = serde_json::from_str(&host.podrun(&["ns", "--all", "-o", "json"])?.ok()?)?;
    ensure!(all["pods"].as_array().map(Vec::len) == Some(2), "{all:#}");
    host.podrun(&["ns", "none"])?.fails_with(4)?;
    delete_all(host)
}

fn run(host: &Host) -> Result<()> {
    let image = format!("--image={}", reference("probe"));
    let said =
        host.podrun(&["run", "web", &image, "--port=80", "--env=A=1", "--", "serve", "80", "text"])?.ok()?;
    ensure!(said == "pod/web created\n", "{said:?}");
    let shown = host.pod("web")?;
    ensure!(shown["metadata"]["labels"] == json!({ "run": "web" }), "{}", shown["metadata"]);
    let container = &shown["spec"]["containers"][0];
    ensure!(
        container["name"] == "web" && container["args"] == json!(["serve", "80", "text"]),
        "{container:#}"
    );
    ensure!(
        container["ports"][0]["containerPort"] == 80 && container["env"][0]["name"] == "A",
        "{container:#}"
    );
    ensure!(shown["spec"]["restartPolicy"] == "Always", "{}", shown["spec"]["restartPolicy"]);
    host.podrun(&["run", "web", &image])?.fails_with(5)?;
    host.podrun(&["run", "Web_", &image])?.fails_with(3)?;
    host.podrun(&["run", "other"])?.fails_with(2)?;
    host.podrun(&["run", "job", &image, "--restart=Never", "--labels=a=b,c=d", "--", "exit", "0"])?.ok()?;
    let job = host.wait_for_pod("job", "Succeeded", |pod| pod["status"]["phase"] == "Succeeded")?;
    ensure!(job["metadata"]["labels"] == json!({ "a": "b", "c": "d" }), "{}", job["metadata"]);
    ensure!(host.podrun(&["get", "pod", "job"])?.ok()?.contains("Completed"), "the table");
    delete_all(host)
}

fn dry_run(host: &Host) -> Result<()> {
    let image = format!("--image={}", reference("probe"));
    let printed = host.podrun(&["run", "web", &image, "--dry-run=client", "-o", "yaml"])?.ok()?;
    let pod: Value = serde_saphyr::from_str(&printed)?;
    ensure_kubernetes_pod(&pod)?;
    ensure!(pod["kind"] == "Pod" && pod["metadata"]["name"] == "web", "{printed}");
    let file = host.write("web.json", &sleeper("web").to_string())?;
    let said = host.podrun(&["create", &file.to_string_lossy(), "--dry-run=client"])?.ok()?;
    ensure!(said == "pod/web created (dry run)\n", "{said:?}");
    ensure!(host.podrun(&["get", "pods"])?.ok()?.is_empty(), "none is made");
    let mut both = sleeper("one").to_string();
    both.push_str("\n---\n");
    let mut generated = sleeper("x");
    generated["metadata"] = json!({ "generateName": "made-" });
    both.push_str(&generated.to_string());
    let file = host.write("both.yaml", &both)?;
    let dry = |format: &str| {
        host.podrun(&["create", &file.to_string_lossy(), "--dry-run=client", "-o", format])?.ok()
    };
    ensure!(dry("name")? == "pod/one\npod/made-*\n", "{}", dry("name")?);
    let checked = host.podrun_with_stdin(&["validate", "-"], dry("yaml")?.as_bytes())?.ok()?;
    ensure!(checked == "<stdin>: ok, pod/one, pod/made-*\n", "two documents: {checked}");
    // What it printed can be given back.
    let made = host.podrun_with_stdin(&["create", "-f", "-"], printed.as_bytes())?.ok()?;
    ensure!(made == "pod/web created\n", "{made}");
    host.delete("web")?;
    Ok(())
}

fn several_files(host: &Host) -> Result<()> {
    std::fs::create_dir_all(host.file("folder"))?;
    host.write("folder/b.yaml", &sleeper("b").to_string())?;
    host.write("folder/a.json", &sleeper("a").to_string())?;
    host.write("folder/notes.txt", "not a manifest")?;
    let mut generated = sleeper("x");
    generated["metadata"] = json!({ "generateName": "made-" });
    let file = host.write("c.json", &generated.to_string())?;
    let file = file.to_string_lossy();
    let folder = host.file("folder");
    let said = host.podrun(&["create", "-f", &folder.to_string_lossy(), "-f", &file])?.ok()?;
    let lines: Vec<&str> = said.lines().collect();
    ensure!(lines[..2] == ["pod/a created", "pod/b created"] && lines.len() == 3, "{said}");
    let name = lines[2].strip_prefix("pod/made-").and_then(|rest| rest.strip_suffix(" created"));
    ensure!(name.is_some_and(|rest| rest.len() == 5), "{said}");
    // Some exist: the others are made all the same, and the exit code says so.
    host.delete("a")?;
    let again = host.podrun(&["create", &folder.to_string_lossy()])?;
    ensure!(again.code() == 5 && again.stdout == "pod/a created\n", "{again}");
    ensure!(again.stderr.contains("pods \"b\" already exists"), "{again}");
    delete_all(host)
}

fn create_timeout(host: &Host) -> Result<()> {
    let spec =
        json!({ "initContainers": [probe("wait", &["sleep"])], "containers": [probe("main", &["sleep"])] });
    let manifest = pod("slow", &spec).to_string();
    let outcome = host.podrun_with_stdin(&["create", "-", "--timeout=1s"], manifest.as_bytes())?;
    let said = outcome.fails_with(8)?;
    ensure!(said.contains("timed out"), "{said}");
    host.podrun(&["get", "pod", "slow"])?.fails_with(4)?;
    host.podrun_with_stdin(&["create", "-", "--wait=none"], manifest.as_bytes())?.ok()?;
    host.wait_for_pod("slow", "its init container runs", |pod| {
        pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object()
    })?;
    ensure!(host.podrun(&["get", "pods"])?.ok()?.contains("Init:0/1"), "the table");
    host.delete("slow")?;
    Ok(())
}

fn create_waits(host: &Host) -> Result<()> {
    let file = host.write("web.json", &sleeper("web").to_string())?;
    let file = file.to_string_lossy();
    for wait in ["none", "started", "ready"] {
        let said = host.podrun(&["create", &file, &format!("--wait={wait}")])?.ok()?;
        ensure!(said == "pod/web created\n", "{said:?}");
        host.wait_for_pod("web", "Running", |pod| pod["status"]["phase"] == "Running")?;
        host.delete("web")?;
    }
    // A container that fails is tried again: create says so meanwhile and goes on.
    let init = json!({
        "name": "init", "image": reference("probe"), "args": ["exit", "3"],
    });
    let spec = json!({ "initContainers": [init], "containers": [probe("main", &["sleep"])] });
    let running = host.start_script(&format!(
        "cat <<'END' | exec $podrun create - --timeout=2s\n{}\nEND",
        pod("again", &spec)
    ))?;
    let outcome = running.wait()?;
    ensure!(
        outcome.code() == 8 && outcome.stderr.contains("init") && outcome.stderr.contains('3'),
        "{outcome}"
    );
    Ok(())
}

fn default_container(host: &Host) -> Result<()> {
    let shell = support::pods::shell;
    let containers =
        [shell("first", "echo from first; sleep 1001"), shell("second", "echo from second; sleep 1002")];
    let mut manifest = pod("two", &json!({ "containers": containers }));
    host.create(&manifest)?;
    let first = host.podrun(&["exec", "two", "--", "cat", "/proc/1/cmdline"])?;
    ensure!(first.stdout.contains("1001"), "{first}");
    ensure!(first.stderr.contains("Defaulted container \"first\" out of: first, second"), "{first}");
    manifest["metadata"]["name"] = json!("named");
    manifest["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/default-container": "second" });
    host.create(&manifest)?;
    wait_for("its log", || {
        let log = host.podrun(&["logs", "named"])?;
        ensure!(log.stdout == "from second\n" && log.stderr.is_empty(), "{log}");
        Ok(())
    })?;
    let first = host.podrun(&["exec", "named", "-c", "first", "--", "cat", "/proc/1/cmdline"])?.ok()?;
    ensure!(first.contains("1001"), "-c: {first}");
    delete_all(host)
}

fn validate(host: &Host) -> Result<()> {
    let good = host.write("good.json", &sleeper("web").to_string())?;
    let mut wrong = sleeper("web");
    wrong["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 0 }]);
    wrong["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "missing", "mountPath": "/v" }]);
    wrong["spec"]["hostNetworc"] = json!(true);
    let bad = host.write("bad.json", &wrong.to_string())?;
    host.podrun(&["validate", &good.to_string_lossy()])?.ok()?;
    let said = host.podrun(&["validate", &good.to_string_lossy(), &bad.to_string_lossy()])?.fails_with(3)?;
    ensure!(said.contains("hostNetwork?"), "{said}");
    wrong["spec"].as_object_mut().context("spec")?.remove("hostNetworc");
    let bad = host.write("bad.json", &wrong.to_string())?;
    let said = host.podrun(&["validate", &bad.to_string_lossy()])?.fails_with(3)?;
    for place in ["spec.containers[0].ports[0].containerPort", "spec.containers[0].volumeMounts[0].name"] {
        ensure!(said.contains(place), "{place}: {said}");
    }
    Ok(())
}
