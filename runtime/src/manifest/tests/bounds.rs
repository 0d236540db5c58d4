//! The cost of a stranger's manifest, and its effect on a terminal.

use super::*;
use crate::error::steers;

/// A pod of one container, changed.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    change(&mut pod);
    pod.to_string()
}

/// A pod with `value` at `pointer`.
fn with(pointer: &str, value: serde_json::Value) -> String {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    changed(|pod| pod.pointer_mut(parent).unwrap()[name] = value)
}

fn map(count: usize, key: impl Fn(usize) -> String) -> serde_json::Value {
    (0..count).map(|number| (key(number), json!("v"))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn of_many_problems_the_first_are_shown_and_the_others_counted() {
    const MANY: usize = 20_000;
    let container = "/spec/containers/0";
    let named = |field: &str| format!("{container}/{field}");
    let mut documents = changed(|_| ()) + "\n";
    documents.extend((0..MANY / 4).map(|_| changed(|_| ()) + "\n"));
    for (what, text, problems) in [
        ("unknown fields", changed(|pod| pod["spec"] = map(MANY, |at| format!("containerz{at}"))), MANY),
        (
            "repeated keys",
            changed(|_| ()).replacen('{', &format!("{{{}", r#""kind":"Pod","#.repeat(MANY)), 1),
            MANY,
        ),
        ("labels", with("/metadata/labels", map(MANY, |at| format!("{at} "))), MANY),
        (
            "capabilities",
            with(&named("securityContext"), json!({"capabilities": {"add": vec!["NO"; MANY]}})),
            MANY,
        ),
        ("types", with(&named("args"), json!(vec![1; MANY])), MANY),
        (
            "containers",
            with("/spec/containers", json!(vec![json!({"name": "c", "image": "i"}); MANY])),
            MANY - 1,
        ),
        (
            "mounts",
            with(&named("volumeMounts"), json!(vec![json!({"name": "v", "mountPath": "/m"}); MANY])),
            2 * MANY - 1,
        ),
        (
            "host ports",
            with(&named("ports"), json!(vec![json!({"containerPort": 1, "hostPort": 1}); MANY])),
            MANY - 1,
        ),
        ("volumes", with("/spec/volumes", json!(vec![json!({"name": "v", "emptyDir": {}}); MANY])), MANY - 1),
        ("documents", documents, MANY / 4),
        ("kinds", r#"{"kind":"X"}"#.repeat(MANY), MANY),
    ] {
        let said = errors("p", &text);
        let shown = said.lines().filter(|line| line.starts_with("p:")).count();
        assert_eq!(shown, 21, "{what}: {said}");
        assert!(said.ends_with(&format!("\np: … and {} more", problems - 20)), "{what}: {said}");
        assert!(said.len() < 20_000, "{what}: {} bytes", said.len());
    }
    let document =
        pods(&with(&named("env"), json!(vec![json!({"name": "E", "value": "v"}); MANY]))).remove(0);
    assert_eq!(document.warnings.len(), 21);
    assert_eq!(document.warnings[20], format!("pod: … and {} more", MANY - 21));
}

/// Places in a manifest where any text can stand.
fn places(text: &str) -> Vec<String> {
    let mut places: Vec<String> = [
        "/kind",
        "/apiVersion",
        "/metadata/name",
        "/metadata/generateName",
        "/metadata/namespace",
        "/metadata/labels",
        "/spec/restartPolicy",
        "/spec/hostname",
        "/spec/hostPID",
        "/spec/activeDeadlineSeconds",
        "/spec/containers",
        "/spec/containers/0/name",
        "/spec/containers/0/image",
        "/spec/containers/0/imagePullPolicy",
        "/spec/containers/0/workingDir",
        "/spec/containers/0/args",
        "/spec/containers/0/terminationMessagePath",
    ]
    .map(|pointer| with(pointer, json!(text)))
    .into();
    let container = |field: &str, value| with(&format!("/spec/containers/0/{field}"), value);
    places.extend([
        with("/metadata/labels", json!({ text: "v" })),
        with("/metadata/labels", json!({ "k": text })),
        with("/metadata/annotations", json!({ text: "v" })),
        with("/metadata/creationTimestamp", json!(text)),
        with("/spec/nodeSelector", json!({ text: 1 })),
        with("/spec/hostAliases", json!([{"ip": text, "hostnames": [text]}])),
        with("/spec/dnsConfig", json!({"nameservers": [text], "searches": [text]})),
        with("/spec/volumes", json!([{"name": text, "hostPath": {"path": text}}])),
        with("/spec/volumes", json!([{"name": "v", "emptyDir": {"sizeLimit": text}}])),
        with("/spec/securityContext", json!({"sysctls": [{"name": text, "value": "1"}]})),
        with("/spec/securityContext", json!({"sysctls": [{"name": "net.a", "value": text}]})),
        with("/spec/securityContext", json!({"seccompProfile": {"type": text}})),
        container("env", json!([{"name": text, "value": "v"}, {"name": text, "value": "v"}])),
        container("ports", json!([{"name": text, "containerPort": 1, "hostIP": text, "protocol": text}])),
        container("resources", json!({"limits": {"cpu": text, text: "1"}})),
        container("securityContext", json!({"capabilities": {"add": [text]}})),
        container("volumeMounts", json!([{"name": text, "mountPath": text, "subPath": format!("/{text}")}])),
        changed(|pod| pod[text] = json!(1)),
        changed(|pod| pod["spec"][text] = json!({ text: 1 })),
        changed(|pod| pod["spec"]["containers"][0][text] = json!(text)),
        // Text that is neither JSON nor YAML.
        format!("{{\"a\": {text}}}"),
        format!("{{\"a\": x{text}}}"),
        format!("{{\"a\": 1{text}}}"),
        format!("a: *{text}"),
        format!("a: &{text} *{text}"),
        format!("- !{text} [a"),
        text.to_owned(),
    ]);
    let yaml: Vec<_> = places.iter().map(|json| format!("---\n{json}")).collect();
    places.extend(yaml);
    places
}

#[test]
fn nothing_in_a_manifest_steers_a_terminal_or_fills_it() {
    let long = "x".repeat(100_000);
    let texts =
        ["\u{1b}[31m", "\u{9b}31m", "\u{7f}\u{7}", "\u{202e}", "\u{2066}", "\u{2028}", "a\u{85}b", &long];
    for text in texts {
        for manifest in places(text) {
            let said = match parse(&format!("file-{}", text.get(..40).unwrap_or(text)), manifest.as_bytes()) {
                Ok(documents) => documents.into_iter().flat_map(|document| document.warnings).collect(),
                Err(error) => {
                    vec![error.message().to_owned(), error.hint_text().unwrap_or_default().to_owned()]
                }
            };
            for said in said {
                assert!(!said.contains(|c| c != '\n' && steers(c)), "{said:?}");
                assert!(said.len() < 5000, "{} bytes: {}…", said.len(), &said[..1000]);
            }
        }
    }
}

#[test]
fn a_file_is_no_larger_than_what_an_api_server_takes() {
    let padded = |len: usize| changed(|_| ()) + &" ".repeat(len - changed(|_| ()).len());
    pods(&padded(FILE_MAX));
    let error = parse("p", padded(FILE_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error.message(), "p: larger than 3145728 bytes, which are the most of a manifest");
    // The rest of the pod is twenty.
    let values = |count: usize| with("/spec/containers/0/args", json!(vec![""; count]));
    pods(&values(249_980));
    assert!(errors("p", &values(249_981)).contains("more than 250000 values and keys"));
}

#[test]
fn aliases_and_nesting_multiply_nothing() {
    let laughs: String = (1..9)
        .map(|level| format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(",")))
        .collect();
    let text = "x".repeat(100_000);
    let anchors: String = (0..100).map(|at| format!("b{at}: &b{at} x\n")).collect();
    for (manifest, says) in [
        (
            format!("a0: &a0 [x,x,x,x,x,x,x,x,x]\n{laughs}"),
            "more than 250000 values and keys, aliases written out",
        ),
        (format!("a: &a {text}\n{anchors}b: [{}]", vec!["*a"; 900].join(",")), "bytes, aliases written out"),
        (
            format!("a: &a [x]\nb: [{}]", vec!["*a"; 10_000].join(",")),
            "more anchors and aliases than any manifest has",
        ),
        ("- ".repeat(1000), "nested deeper than 32 levels"),
        ("[".repeat(100_000), "recursion limit exceeded"),
        ("{\"a\":".repeat(100_000), "nested deeper than 32 levels"),
        ("a: b\n---\n".repeat(1025), "more than 1024 documents"),
    ] {
        let said = errors("p", &manifest);
        assert!(said.contains(says), "{says}: {said}");
    }
}
