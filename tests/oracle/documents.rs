//! Whole manifests in the spellings that people and programs write: JSON-like YAML, quotes, tabs, anchors, comments.
//!
//! Invariant: each is one pod called `p` to whoever takes it, so that what is compared is the reader alone.

/// The manifests.
pub(crate) fn all() -> Vec<String> {
    let mut all: Vec<String> = FLOW.iter().map(|text| (*text).to_owned()).collect();
    all.extend(BLOCK.iter().map(|tail| format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n{tail}")));
    all.extend(ARGUMENTS.iter().map(|args| {
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: c\n    image: i\n    args: {args}\n")
    }));
    let plain = format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n{SPEC}");
    let changed: [fn(&str) -> String; 14] = [
        |text| format!("\u{feff}{text}"),
        |text| format!("---\n{text}"),
        |text| format!("--- # a comment\n{text}"),
        |text| format!("%YAML 1.2\n---\n{text}"),
        |text| format!("{text}...\n"),
        |text| format!("\n\n# a comment\n\n{text}"),
        |text| format!("{text}# the end"),
        |text| text.replace('\n', "\r\n"),
        |text| text.replace('\n', "\r"),
        |text| text.replace("  ", "\t"),
        |text| text.replace('\n', " \t\n"),
        |text| text.trim_end().to_owned(),
        |text| text.lines().map(|line| format!("  {line}\n")).collect(),
        |text| text.replace(": p", ":\tp"),
    ];
    all.extend(changed.iter().map(|change| change(&plain)));
    all
}

const SPEC: &str = "spec:\n  containers:\n  - name: c\n    image: i\n";

/// Manifests that begin with a brace, or nearly.
const FLOW: [&str; 17] = [
    "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}",
    "{ \"apiVersion\": \"v1\", kind: Pod, \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"i\"}]} }",
    "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"i\"}]},}",
    "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"i\",},]}}",
    "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"i\"}]}} # a comment",
    "{\"apiVersion\": \"v1\", # a comment\n\"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"i\"}]}}",
    "{'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'p'}, 'spec': {'containers': [{'name': 'c', 'image': 'i'}]}}",
    "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\n\t\t\"name\": \"p\"\n\t},\n\t\"spec\": {\n\t\t\"containers\": [\n\t\t\t{\"name\": \"c\", \"image\": \"i\"}\n\t\t]\n\t}\n}\n",
    "{\n\tapiVersion: v1,\n\tkind: Pod,\n\tmetadata: {\n\t\tname: p\n\t},\n\tspec: {\n\t\tcontainers: [\n\t\t\t{name: c, image: i}\n\t\t]\n\t}\n}\n",
    "# a comment\n{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"i\"}]}}",
    "---\n{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"i\"}]}}",
    "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"p\"}, \"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"i\"}]}}\n...\n",
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}} x",
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"args\":[\"\\ud83d\\ude00\", \"\\/\", \"\\u0041\"]}]}}",
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"args\":[\"\\ud83d\"]}]}}",
    "[{\"apiVersion\": \"v1\"}]",
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"Metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
];

/// What follows the pod's name.
const BLOCK: [&str; 14] = [
    "spec:\n  containers:\n    - name: c\n      image: i\n",
    "spec:\n  containers:\n  -\n    name: c\n    image: i\n",
    "spec: &s\n  containers:\n  - &c\n    name: c\n    image: i\n",
    "  labels: &l {a: b}\n  annotations: *l\nspec:\n  containers:\n  - name: c\n    image: i\n",
    "  labels: &l {a: b}\n  annotations: {<<: *l, c: d}\nspec:\n  containers:\n  - name: c\n    image: i\n",
    "spec:\n  ? containers\n  : - name: c\n      image: i\n",
    "spec:\n  \"containers\":\n  - 'name': c\n    \"image\": i\n",
    "spec:\n  containers:\n  - name: c\n    image: i\n    image: i\n",
    "spec: !!map\n  containers: !!seq\n  - name: !!str c\n    image: i\n",
    "spec: !x\n  containers:\n  - name: c\n    image: i\n",
    "spec:\n  containers: [{name: c,\n    image: i}]\n",
    "spec:\n  containers: [\n  {name: c,\n  image: i}\n  ]\n",
    "spec:\n  containers: [{name: c, image: i}] # a comment\n",
    "spec:\n  containers:\n  # - name: d\n  - name: c # a comment\n    image: i\n# the end\n",
];

/// Lists of arguments.
const ARGUMENTS: [&str; 34] = [
    "[cat, -]",
    "[-]",
    "[ - ]",
    "[cat, -, x]",
    "[\"it\\'s\"]",
    "['it''s']",
    "[\"a\\\n      b\"]",
    "[\"a\n      b\"]",
    "[a\n      b]",
    "[a,\n\tb]",
    "[\ta, b]",
    "[a,\tb]",
    "[a , b ]",
    "[a,, b]",
    "[a, b,]",
    "[,]",
    "[a b, c: d]",
    "[\"a\":b]",
    "[a:b, c]",
    "[http://a/b?c=d&e#f]",
    "[?x]",
    "[? x]",
    "[@x]",
    "[`x`]",
    "[%x]",
    "[!x]",
    "[*x]",
    "[\"\\x41\\u0041\\U00000041\\e\\0\\N\\_\"]",
    "[\"\\q\"]",
    "\n    - |\n      a\n       b\n    - >-\n      c\n      d\n",
    "\n    - |2\n        a\n    - |+\n      a\n\n    - >\n      a\n       b\n",
    "\n    - - a\n",
    "\n    - a: b\n",
    "\n    - a\n      b\n    -\n    - ~\n    - \"\"\n",
];
