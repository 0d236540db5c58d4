//! Spellings: how kubectl's YAML reader takes them, and how messages show them.

use super::*;

/// A number or a boolean is shown as it stands in the file: the user has to quote that text.
#[test]
fn messages_show_what_is_written() {
    let of = |template: &str, value: &str| errors("p", &template.replace('@', value));
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b, env: [{name: A, value: @}]}]}";
    let aliased = yaml
        .replace("name: a}", "name: a, annotations: {x: '&', generation: &v @}}")
        .replace(": @}]", ": *v}]");
    for (value, kind) in [
        ("0022", "number"),
        ("1.10", "number"),
        ("1e3", "number"),
        ("0x1F", "number"),
        ("1_000", "number"),
        ("+1", "number"),
        ("yes", "boolean"),
        ("Off", "boolean"),
        ("5", "number"),
    ] {
        let expected = format!("value: expected a string, got the {kind} {value}; quote it: \"{value}\"");
        assert!(of(yaml, value).contains(&expected), "{}", of(yaml, value));
        assert!(of(&aliased, value).contains(&expected), "{}", of(&aliased, value));
    }
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\", \"labels\": {\"a\": @}}, \"spec\": {\"containers\": [{\"name\": \"a\", \"image\": \"b\"}]}}";
    for value in ["1.10", "1e3", "0"] {
        let expected = format!("labels[a]: expected a string, got the number {value}; quote it: \"{value}\"");
        assert!(of(json, value).contains(&expected), "{}", of(json, value));
    }
}

/// Booleans as kubectl's reader spells them, and in no other way.
#[test]
fn a_boolean_has_three_spellings_at_most() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostPID: @, containers: [{name: a, image: b, args: [tRUE, oN]}]}";
    for value in ["true", "True", "TRUE", "yes", "y", "On"] {
        assert!(pods(&text.replace('@', value))[0].pod.spec.host_pid, "{value}");
    }
    for value in ["tRUE", "yES", "oN", "tru"] {
        let message = errors("p", &text.replace('@', value));
        assert!(
            message.contains(&format!("hostPID: expected true or false, got the string \"{value}\"")),
            "{message}"
        );
    }
    assert_eq!(pods(&text.replace('@', "no"))[0].pod.spec.containers[0].args, ["tRUE", "oN"]);
}

#[test]
fn yaml_that_kubectl_takes_is_taken() {
    let head =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n    image: b:1\n";
    for (args, expected) in [
        ("[cat, -]", &["cat", "-"][..]),
        ("[tar, -c, -, -f, -]", &["tar", "-c", "-", "-f", "-"]),
        (r#"["it\'s", "a\\'b"]"#, &["it's", "a\\'b"]),
        ("[\n\t\ta,\n\t# x\n\t\t'b' # x\n\t]", &["a", "b"]),
    ] {
        assert_eq!(pods(&format!("{head}    args: {args}\n"))[0].pod.spec.containers[0].args, expected);
    }
    let second = head.replace("name: a}", "name: b}");
    assert_eq!(pods(&format!("{head}---\n\u{feff}{second}")).len(), 2);
    assert_eq!(pods(&format!("{head}\u{feff}---\n{second}")).len(), 2);
    let tabs = "{\n\tapiVersion: v1,\n\tkind: Pod,\n\tmetadata: {\n\t\tname: a,\n\t},\n\tspec: {containers: [{name: a, image: b}]}\n}\n";
    assert_eq!(pods(tabs)[0].pod.metadata.name, "a");
    // A character that mending inserts for a while is an ordinary one elsewhere.
    let glyphs =
        format!("{head}    args: [\u{e000}, \"\\ue001\"]\n    env: [{{name: A, value: '\u{e001}x'}}]\n");
    let pod = &pods(&glyphs)[0].pod;
    assert_eq!(pod.spec.containers[0].args, ["\u{e000}", "\u{e001}"]);
    assert_eq!(pod.spec.containers[0].env[0].value, "\u{e001}x");
    assert!(errors("p", &format!("{head}    args: [-, \"\\ue000\"]\n")).starts_with("p:8:"));
    // A mistake to kubectl stays a mistake, at its place.
    assert!(errors("p", &format!("{head}    args:\n\t- a\n")).starts_with("p:9:"));
    assert!(errors("p", &format!("{head}    args: [-, \"\\q\"]\n")).starts_with("p:8:15: "));
}

/// A document that begins with a brace and does not parse as JSON is YAML, as to kubectl.
#[test]
fn yaml_may_look_like_json() {
    let good = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"},\n\"spec\": {\"containers\": [{\"name\": \"a\", \"image\": \"b\"}]}}";
    for (from, to) in [
        ("{\"name\": \"a\"}", "{\"name\": \"a\",}"),
        ("\"apiVersion\": \"v1\"", "apiVersion: v1"),
        ("\"Pod\"", "'Pod'"),
        ("}]}}", "}]}} # a pod"),
        ("\"metadata\"", "# its name\n\"metadata\""),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good);
        assert_eq!(pods(&text)[0].pod.metadata.name, "a", "{text}");
    }
    for comment in ["// c\n", "/* c */ "] {
        for before in ["\"kind\"", "\"metadata\"", "\"Pod\"", "}]}}"] {
            let text = good.replacen(before, &format!("{comment}{before}"), 1);
            let message = errors("p", &text);
            assert!(message.lines().next().unwrap().ends_with("JSON has no comments"), "{message}");
            assert_eq!(message.matches("p:").count(), 1, "{message}");
        }
    }
    // A slash may be a path's.
    let path = good.replace("\"image\"", "\"command\": [/bin/sh], \"image\"");
    assert_eq!(pods(&path)[0].pod.spec.containers[0].command, ["/bin/sh"]);
}

#[test]
fn quantities_are_read_as_kubernetes_reads_them() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b, resources: {limits: @}}]}";
    let limits =
        |limits: &str| pods(&text.replace('@', limits))[0].pod.spec.containers[0].resources.limits.clone();
    for (given, expected) in [
        ("{memory: null}", "0"),
        ("{memory: 1e6}", "1M"),
        ("{memory: 1024Mi}", "1Gi"),
        ("{memory: ' 1Gi '}", "1Gi"),
        ("{memory: 1.5e9}", "1500M"),
    ] {
        assert_eq!(serde_json::to_value(&limits(given)["memory"]).unwrap(), expected, "{given}");
    }
    assert!(errors("p", &text.replace('@', "{zzz: null}")).contains("limits[zzz]: not supported yet"));
}

#[test]
fn yaml_means_what_it_means_to_kubectl() {
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: a, annotations: {\"on\": 'yes', empty: null}}
spec:
  securityContext: {runAsUser: 0644, runAsNonRoot: yes}
  volumes: [{name: v, emptyDir: }, {name: w}]
  containers:
  - &main
    name: a
    image: 'b:1'
    args: [\"yes\", '1']
    resources: {limits: {cpu: 0.5, memory: 64Mi}}
  - <<: *main
    name: c
";
    let pod = &pods(text)[0].pod;
    assert_eq!(pod.spec.security_context.run_as_user, Some(420));
    assert_eq!(pod.spec.security_context.run_as_non_root, Some(true));
    assert_eq!(pod.metadata.annotations["empty"], "");
    assert!(pod.spec.volumes.iter().all(|volume| volume.source == VolumeSource::default()));
    assert_eq!((pod.spec.containers[1].name.as_str(), pod.spec.containers[1].image.as_str()), ("c", "b:1"));
    assert_eq!(pod.spec.containers[1].resources.cpu_limit(), Some(500));
}
