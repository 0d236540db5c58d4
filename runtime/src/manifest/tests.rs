//! Manifests as they are read: what is accepted, what is refused, and where an error points.

use proptest::prelude::*;
use serde_json::json;

use super::*;

mod bounds;
mod spelling;

/// The message of the error that `text` is refused with.
fn errors(name: &str, text: &str) -> String {
    let error = parse(name, text.as_bytes()).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Manifest);
    error.message().into()
}

fn pods(text: &str) -> Vec<Document> {
    parse("pod", text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const TYPO: &str = r#"{
  "apiVersion": "v1",
  "kind": "Pod",
  "metadata": {"name": "web"},
  "spec": {
    "containers": [{
        "name": "main",
        "image": "nginx:1",
        "imagePulPolicy": "Always"
    }]
  }
}
"#;

#[test]
fn a_typo_is_shown_where_it_stands() {
    assert_eq!(
        errors("pod.json", TYPO),
        "pod.json:9:9: spec.containers[0].imagePulPolicy: unknown field; did you mean imagePullPolicy?\n\
        \x20       \"imagePulPolicy\": \"Always\"\n\
        \x20       ^"
    );
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: main\n    iamge: nginx\n";
    assert_eq!(
        errors("pod.yaml", yaml),
        "pod.yaml:7:5: spec.containers[0].iamge: unknown field; did you mean image?\n    iamge: nginx\n    ^"
    );
}

#[test]
fn every_problem_is_listed_in_the_order_of_the_file() {
    let yaml = "\
apiVersion: v1
kind: Pod
metadata:
  name: Web
  labels: {a b: c}
spec:
  restartPolicy: Sometimes
  hostPID: 'yes'
  containers:
  - name: main
    image: nginx:1
    env: [{name: PORT, value: 80}]
    livenessProbe: {exec: {command: [x]}}
    resources: {limits: {cpu: lots}}
  - name: main
    image: nginx:1
    volumeMounts: [{name: data, mountPath: ../data}]
";
    let message = errors("p.yaml", yaml);
    let heads: Vec<_> = message.lines().filter(|line| line.starts_with("p.yaml:")).collect();
    let expected = [
        "p.yaml:4:9: metadata.name: must be a DNS name (lower case letters, digits, '-' and '.', each part beginning and ending with a letter or digit, at most 253 characters), got \"Web\"",
        "p.yaml:5:12: metadata.labels[a b]: must be a key (letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, at most 63 characters, after an optional DNS name and '/'), got \"a b\"",
        "p.yaml:7:18: spec.restartPolicy: must be \"Always\", \"OnFailure\", \"Never\" or empty, got \"Sometimes\"",
        "p.yaml:8:12: spec.hostPID: expected true or false, got the string \"yes\"",
        "p.yaml:12:31: spec.containers[0].env[0].value: expected a string, got the number 80; quote it: \"80\"",
        "p.yaml:13:5: spec.containers[0].livenessProbe: not supported yet; probes are not run; restartPolicy restarts a container that ends",
        "p.yaml:14:31: spec.containers[0].resources.limits[cpu]: must be a number with an optional suffix, like 500m, 2, 1.5Gi or 2e3, got \"lots\"",
        "p.yaml:15:11: spec.containers[1].name: spec.containers[0] is called \"main\" too",
        "p.yaml:17:27: spec.containers[1].volumeMounts[0].name: spec.volumes has no volume called \"data\"",
        "p.yaml:17:44: spec.containers[1].volumeMounts[0].mountPath: must not contain `..`, got \"../data\"",
    ];
    assert_eq!(heads, expected);
}

#[test]
fn json_that_is_none_is_shown_where_it_breaks() {
    for (text, expected) in [
        ("{\"a\": }", "p:1:7: expected a value, got '}'"),
        ("{\"a\": 1,}", "p:1:8: JSON has no comma before `}`; remove it"),
        ("{\"a\": [1,\n ]}", "p:1:9: JSON has no comma before `]`; remove it"),
        ("{\"a\" 1}", "p:1:6: expected `:` after a key, got '1'"),
        ("{a: 1}", "p:1:2: expected a key in double quotes, got 'a'"),
        ("{\"a\": 'x'}", "p:1:7: expected a value; JSON has double quotes only"),
        ("{\"a\": 1 // one\n}", "p:1:9: expected `,` or `}` after a value; JSON has no comments"),
        ("{\"a\": yes}", "p:1:7: expected a value, got `yes`; strings need double quotes"),
        ("{\"a\": 01}", "p:1:7: `01` is not a number as JSON writes them"),
        ("{\"a\": \"x\n\"}", "p:1:7: the string does not end on its line"),
        ("{\"a\": \"\\q\"}", "p:1:8: no escape sequence of JSON"),
        ("{\"a\": \"\\ud800\"}", "p:1:8: no escape sequence of JSON"),
        ("{\"a\": [1", "p:1:9: the file ends where `,` or `]` after a value was expected"),
        ("{\"é\": \"\t\"}", "p:1:8: '\\t' must be escaped in a string"),
    ] {
        let SyntaxError { at, message } = json::read(text).unwrap_err();
        assert_eq!(format!("p:{}:{}: {message}", at.line, at.column), expected, "{text}");
    }
    // Where it is no YAML either, JSON's mistake is told.
    assert!(errors("p", "{\"a\" 1}").starts_with("p:1:6: expected `:` after a key, got '1'"));
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    assert!(errors("p", &deep).contains("nested deeper than 32 levels"));
}

#[test]
fn a_list_is_its_items() {
    let one = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}});
    let list = |kind: &str, items: serde_json::Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": ""}, "items": items});
    let named = |text: &str| pods(text).into_iter().map(|d| d.pod.metadata.name).collect::<Vec<_>>();
    let nested = list("List", json!([one("x"), list("List", json!([one("y")]))]));
    assert_eq!(named(&nested.to_string()), ["x", "y"]);
    // An API server's items carry no apiVersion and kind.
    let bare = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}});
    assert_eq!(named(&list("PodList", json!([bare])).to_string()), ["x"]);
    assert_eq!(errors("p", &list("List", json!([])).to_string()), "p: no manifest in it");
    for (list, expected) in [
        (list("List", json!([bare])), "apiVersion, kind: required"),
        (list("List", json!({})), "items: expected a list, got a mapping"),
        (list("List", json!([one("x"), one("x")])), "metadata.name: the pod on line 1 is called \"x\" too"),
        (list("List", json!([{"apiVersion": "v1", "kind": "Service"}])), "kind: Service: not supported"),
        (json!({"kind": "List", "items": [one("x")]}), "apiVersion: required"),
        (
            json!({"apiVersion": "v1", "kind": "List", "item": [one("x")]}),
            "item: unknown field; did you mean items?",
        ),
    ] {
        let message = errors("p", &list.to_string());
        assert!(message.contains(expected), "{message}, not {expected}");
    }
    // One message a place.
    let message = errors("p", &list("List", json!([null, one("x"), null])).to_string());
    assert_eq!(message.matches("p:1:").count(), 2, "{message}");
}

#[test]
fn what_a_cluster_mounts_into_every_pod_is_left_out() {
    let mounts = json!([{"name": "v", "mountPath": "/v"}, {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}]);
    let container = |name: &str| json!({"name": name, "image": "b:1", "volumeMounts": mounts});
    let exported = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "uid": "u"}, "spec": {
        "initContainers": [container("i")], "containers": [container("a")],
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "kube-api-access-x7k2p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
    }});
    let document = pods(&exported.to_string()).remove(0);
    assert_eq!(
        document.warnings,
        ["pod: not for podrun, and left out: metadata.uid, spec.volumes[1], \
          spec.initContainers[0].volumeMounts[1], spec.containers[0].volumeMounts[1]"]
    );
    assert_eq!(document.pod.spec.volumes.len(), 1);
    assert!(document.pod.spec.all_containers().all(|container| container.volume_mounts.len() == 1));
    // Another projected volume, or another source of that name, is the user's own.
    for (from, to) in [("kube-api-access-x7k2p", "api-access"), ("projected", "secret")] {
        let text = exported.to_string().replace(from, to).replace("{\"sources\"", "{\"items\"");
        assert!(errors("p", &text).contains("not supported yet"), "{text}");
    }
}

/// A source that is set is a request even when empty: it is no empty directory.
#[test]
fn an_empty_source_is_a_request() {
    let volume = fields::all_objects().into_iter().find(|object| object.name == "Volume").unwrap();
    let sources = volume.fields.iter().filter(|field| matches!(field.state, fields::State::NotYet { .. }));
    let mut count = 0;
    for field in sources {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers: [{{name: a, image: b}}]\n  volumes: [{{name: v, {}: {{}}}}]\n",
            field.name
        );
        assert!(errors("p", &text).contains(&format!("spec.volumes[0].{}: not supported yet; ", field.name)));
        count += 1;
    }
    assert!(count > 25, "{count}");
}

/// The API's own defaults stand for an empty text; where there are none, it is a mistake.
#[test]
fn an_empty_text_is_the_default_where_there_is_one() {
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  restartPolicy: ''
  dnsPolicy: ''
  containers: [{name: a, image: 'b:1', imagePullPolicy: '', terminationMessagePolicy: '', ports: [{containerPort: 1, protocol: ''}], securityContext: {}}]
  hostUsers: true
  nodeSelector: {}
";
    let pod = &pods(text)[0].pod;
    let main = &pod.spec.containers[0];
    assert_eq!((pod.spec.restart_policy, pod.spec.dns_policy), Default::default());
    assert_eq!(
        (main.image_pull_policy, main.ports[0].protocol),
        (Some(ImagePullPolicy::IfNotPresent), Protocol::Tcp)
    );
    for (from, to, expected) in [
        (
            "securityContext: {}",
            "securityContext: {procMount: []}",
            "procMount: expected a string, got a list",
        ),
        (
            "securityContext: {}",
            "securityContext: {procMount: {}}",
            "procMount: expected a string, got a mapping",
        ),
        (
            "hostUsers: true",
            "hostUsers: 'true'",
            "hostUsers: expected true or false, got the string \"true\"",
        ),
        (
            "securityContext: {}",
            "volumeMounts: [{mountPropagation: ''}]",
            "mountPropagation: not supported yet",
        ),
        (
            "securityContext: {}",
            "volumeMounts: [{recursiveReadOnly: ''}]",
            "recursiveReadOnly: not supported yet",
        ),
        ("securityContext: {}", "livenessProbe: []", "livenessProbe: expected a mapping (Probe), got a list"),
        ("securityContext: {}", "restartPolicy: ''", "restartPolicy: must be \"Always\""),
        ("nodeSelector: {}", "nodeSelector: ''", "nodeSelector: expected a mapping"),
        ("nodeSelector: {}", "tolerations: {}", "tolerations: expected a list"),
    ] {
        let message = errors("p", &text.replace(from, to));
        assert!(message.contains(expected), "{message}, not {expected}");
    }
}

#[test]
fn yaml_that_is_none_is_shown_where_it_breaks() {
    let message = errors("p.yaml", "apiVersion: v1\nkind: Pod\n  metadata: x\n");
    assert!(message.starts_with("p.yaml:3:"), "{message}");
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
        d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
        g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    errors("bomb.yaml", bomb);
}

#[test]
fn other_kinds_are_refused_by_name() {
    for (text, expected) in [
        (
            "kind: Deployment\napiVersion: apps/v1",
            "p:1:7: kind: Deployment: not supported; it makes pods out of a template: write its template's metadata and spec as a Pod with a name",
        ),
        ("apiVersion: v1\nkind: pod", "p:2:7: kind: pod: not supported; did you mean Pod?"),
        ("apiVersion: v1\nkind: Gadget", "p:2:7: kind: Gadget: not supported; podrun runs `kind: Pod`"),
        ("apiVersion: v1", "p:1:1: kind: required; podrun runs `kind: Pod`"),
        ("a: b", "p:1:1: apiVersion, kind: required; a pod's are `apiVersion: v1` and `kind: Pod`"),
        ("- a", "p:1:1: expected a manifest (a mapping with apiVersion and kind), got a list"),
        ("kind: 5", "p:1:7: kind: expected \"Pod\", got the number 5"),
    ] {
        assert_eq!(errors("p", text).lines().next(), Some(expected), "{text}");
    }
    let message = errors(
        "p",
        "kind: Pod\napiVersion: v2\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b}]}",
    );
    assert!(message.starts_with("p:2:13: apiVersion: must be \"v1\", got \"v2\""), "{message}");
    assert!(
        errors("p", "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b}]}")
            .contains("apiVersion: required")
    );
    assert_eq!(errors("p", "---\n---\n"), "p: no manifest in it");
    assert_eq!(parse("p", b"a: \xff").unwrap_err().message(), "p:1: not UTF-8 text");
}

#[test]
fn keys_cannot_be_repeated() {
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\", \"labels\": {\"x\": \"1\",\n\"x\": \"2\"}}, \"spec\": {\"containers\": [{\"name\": \"a\", \"image\": \"b\"}]}}";
    let message = errors("p", json);
    assert!(message.contains("p:1:37: kind: the key is repeated; line 1 has it too"), "{message}");
    assert!(
        message.contains("p:2:1: metadata.labels[x]: the key is repeated; line 1 has it too"),
        "{message}"
    );
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\nspec: {containers: [{name: a, image: b}]}";
    assert!(errors("p", yaml).starts_with("p:5:3: metadata.name: the key is repeated; line 4 has it too"));
}

#[test]
fn several_documents_are_several_pods() {
    let one = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}});
    let stream = format!("{}\n{}\n", one("x"), one("y"));
    assert_eq!(pods(&stream).iter().map(|d| d.pod.metadata.name.as_str()).collect::<Vec<_>>(), ["x", "y"]);
    let yaml = format!("---\n{}\n---\n# nothing\n---\n{}\n", one("x"), one("y"));
    assert_eq!(
        pods(&yaml[4..].replace("{\"apiVersion\"", " {\"apiVersion\"").replacen(" {", "# a pod\n{", 1)).len(),
        2
    );
    let mixed = format!(
        "{}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: bad}}\nspec: {{containers: []}}\n",
        one("x")
    );
    assert!(errors("p", &mixed).starts_with("p:6:20: spec.containers: required"), "{}", errors("p", &mixed));
    let same = format!("{}\n{}\n", one("x"), one("x"));
    assert!(
        errors("p", &same).starts_with("p:2:52: metadata.name: the pod on line 1 is called \"x\" too"),
        "{}",
        errors("p", &same)
    );
}

#[test]
fn what_is_not_ours_is_named_in_one_warning() {
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: a, uid: x, creationTimestamp: null, resourceVersion: '5'}
spec:
  nodeName: node
  serviceAccountName: s
  tolerations: []
  priority: 0
  containers: [{name: a, image: 'b:1', resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]}]
status: {phase: Running}
";
    let document = pods(text).remove(0);
    assert_eq!(
        document.warnings,
        ["pod: not for podrun, and left out: metadata.uid, metadata.resourceVersion, spec.nodeName, \
         spec.serviceAccountName, spec.priority, spec.containers[0].resizePolicy, status"]
    );
    assert_eq!(document.pod.metadata.uid, "");
    let typo = text.replace("phase", "fase");
    assert!(errors("p", &typo).contains("status.fase: unknown field; did you mean phase?"));
}

#[test]
fn what_asks_for_nothing_is_no_request() {
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  hostUsers: true
  setHostnameAsFQDN: false
  ephemeralContainers: []
  readinessGates: null
  securityContext: {supplementalGroupsPolicy: Merge}
  resources: {}
  containers: [{name: a, image: 'b:1', livenessProbe: null, lifecycle: {}, envFrom: [], securityContext: {procMount: Default, seLinuxOptions: {}}}]
";
    assert_eq!(pods(text)[0].warnings, [""; 0]);
    for (from, to) in [
        ("hostUsers: true", "hostUsers: false"),
        ("setHostnameAsFQDN: false", "setHostnameAsFQDN: true"),
        ("procMount: Default", "procMount: Unmasked"),
        ("procMount: Default", "procMount: ''"),
        ("resources: {}", "runtimeClassName: ''"),
        ("resources: {}", "hostnameOverride: ''"),
        ("resources: {}", "schedulingGroup: {}"),
        ("livenessProbe: null", "livenessProbe: {}"),
        ("seLinuxOptions: {}", "appArmorProfile: {}"),
        ("supplementalGroupsPolicy: Merge", "supplementalGroupsPolicy: ''"),
        ("supplementalGroupsPolicy: Merge", "fsGroupChangePolicy: ''"),
    ] {
        let field = to.split(':').next().unwrap();
        assert!(
            errors("p", &text.replace(from, to)).contains(&format!("{field}: not supported yet; ")),
            "{to}"
        );
    }
}

#[test]
fn a_volume_has_one_source() {
    let text = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}, \"spec\": {\"containers\": [{\"name\": \"a\", \"image\": \"b\"}],\n\"volumes\": [{\"name\": \"v\", \"emptyDir\": {}, \"hostPath\": {\"path\": \"/x\"}}]}}";
    assert!(errors("p", text).starts_with("p:2:13: spec.volumes[0]: a volume has one source"));
}

/// A pod is written as it was read, with quantities in canonical form and defaults filled in.
#[test]
fn what_is_read_is_written() {
    let given = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": "n", "labels": {"x": "y"}},
        "spec": {
            "containers": [{
                "image": "b:1", "imagePullPolicy": "IfNotPresent", "name": "a",
                "ports": [{"containerPort": 80, "hostIP": "127.0.0.1", "hostPort": 8080, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "250m", "memory": "1Gi"}},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "volumeMounts": [{"mountPath": "/v", "name": "v", "readOnly": true}],
            }],
            "dnsPolicy": "ClusterFirst", "hostIPC": true, "hostPID": true,
            "os": {"name": "linux"},
            "restartPolicy": "Always", "securityContext": {}, "terminationGracePeriodSeconds": 30,
            "volumes": [{"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}, "name": "v"}, {"hostPath": {"path": "/x", "type": ""}, "name": "w"}],
        },
    });
    let mut asked = given.clone();
    asked["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": 0.5, "memory": " 1024Mi"}, "requests": {"cpu": "0.25"}});
    let pod = &pods(&asked.to_string())[0].pod;
    assert_eq!(serde_json::to_value(pod).unwrap(), given);
    let again: Pod = serde_json::from_value(given.clone()).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), given);
}

/// Values of this shape with one field in it that is done, and no other; each with other values that would do as well.
fn samples(shape: &fields::Shape) -> Vec<Vec<serde_json::Value>> {
    use fields::{Shape, State};
    let wrapped = |inner: &Shape, wrap: fn(serde_json::Value) -> serde_json::Value| {
        samples(inner).into_iter().map(|same| same.into_iter().map(wrap).collect()).collect()
    };
    match shape {
        Shape::Object(object) => {
            let done = object.fields.iter().filter(|field| field.state == State::Done);
            let inner = done.flat_map(|field| {
                let named = move |value| json!({ field.name: value });
                samples(&field.shape).into_iter().map(move |same| same.into_iter().map(named).collect())
            });
            inner.collect()
        }
        Shape::List(inner) => wrapped(inner, |value| json!([value])),
        Shape::Map(inner) => wrapped(inner, |value| json!({"key": value})),
        // The empty one never gets to the types.
        Shape::OneOf(values) => {
            vec![values.iter().filter(|value| !value.is_empty()).map(|value| json!(value)).collect()]
        }
        Shape::Bool => vec![vec![json!(true), json!(false)]],
        Shape::I32 | Shape::I64 | Shape::Port => vec![vec![json!(7)]],
        Shape::Quantity => vec![vec![json!("7")]],
        Shape::Time => vec![vec![json!("2026-11-26T00:00:00Z")]],
        Shape::String | Shape::IntOrString | Shape::Any => vec![vec![json!("text")]],
    }
}

fn holds(whole: &serde_json::Value, part: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object};
    match (whole, part) {
        (Object(whole), Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| holds(found, value)))
        }
        (Array(whole), Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(found, value)| holds(found, value))
        }
        _ => whole == part,
    }
}

/// A field that the table calls done and that the types do not have would be dropped in silence.
#[test]
fn every_field_that_is_done_is_kept() {
    let all = samples(&fields::Shape::Object(fields::TABLE));
    assert!(all.len() > 100, "{}", all.len());
    for same in all {
        let kept = same.iter().any(|given| {
            let pod: Pod = serde_json::from_value(given.clone()).unwrap();
            holds(&serde_json::to_value(pod).unwrap(), given)
        });
        assert!(kept, "{}", same[0]);
    }
}

#[test]
fn a_status_is_written_as_kubernetes_does() {
    let status = ContainerStatus {
        name: "a".into(),
        state: Some(ContainerState::Waiting(ContainerStateWaiting {
            reason: "X".into(),
            message: String::new(),
        })),
        ..ContainerStatus::default()
    };
    let written = serde_json::to_value(&status).unwrap();
    assert_eq!(
        written,
        json!({"image": "", "imageID": "", "lastState": {}, "name": "a", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "X"}}})
    );
    assert_eq!(serde_json::from_value::<ContainerStatus>(written).unwrap(), status);
}

#[test]
fn long_lines_are_cut_around_the_caret() {
    let text = format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"a\", \"annotations\": {{\"x\": \"{}\"}}}}, \"spce\": {{}}, \"spec\": {{\"containers\": [{{\"name\": \"a\", \"image\": \"b\"}}], \"hostname\": \"{}\"}}}}",
        "y".repeat(300),
        "z".repeat(60)
    );
    let message = errors("p", &text);
    let lines: Vec<_> = message.lines().collect();
    assert!(lines[1].starts_with("...") && lines[1].ends_with("..."), "{message}");
    assert_eq!(&lines[1][lines[2].len() - 1..][..6], "\"spce\"", "{message}");
}

const VALUES: &[&str] = &["null", "5", "\"x\"", "[]", "{}", "true", "[5]", "{\"a\":{}}", "-1", "1.5"];

proptest! {
    /// No input panics, and an accepted manifest is accepted again as it is written.
    #[test]
    fn any_text_is_read_or_refused(text in "[ \\n\\t{}\\[\\]:,\"a-z0-9&*#|>!%@'-]{0,80}") {
        let _ = parse("p", text.as_bytes());
        let _ = parse("p", format!("{{{text}").as_bytes());
    }

    /// A pod with values of wrong shapes anywhere is refused with a problem, never a decoding error.
    #[test]
    fn wrong_shapes_are_problems(field in 0_usize..48, value in proptest::sample::select(VALUES)) {
        let fields = fields::all_objects();
        let spec = fields.iter().find(|object| object.name == "PodSpec").unwrap();
        let name = spec.fields[field % spec.fields.len()].name;
        let text = format!("{{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"a\"}}, \"spec\": {{\"{name}\": {value}}}}}");
        if let Err(error) = parse("p", text.as_bytes()) {
            prop_assert!(error.message().contains("spec"), "{}", error);
            prop_assert!(!error.message().contains("invalid type"), "{}", error);
        }
    }
}
