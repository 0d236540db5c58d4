//! What a field is given: values at its edges, by its shape and by what its name says of it, and spellings of YAML.
//!
//! Invariant: the lists are plain data in a fixed order, so that a run with the same seed asks the same.

use serde_json::{Value, json};

use runtime::manifest::fields::Shape;

/// What is wrong for most shapes, and right for one or the other.
fn of_any_shape() -> Vec<Value> {
    vec![
        Value::Null,
        json!(""),
        json!("x"),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!(["x"]),
        json!([null]),
        json!({ "x": "y" }),
        json!({ "x": null }),
    ]
}

/// The values that `shape` is tried with in a field called `name`.
pub(crate) fn of(name: &str, shape: &Shape) -> Vec<Value> {
    let mut values = of_any_shape();
    match shape {
        Shape::String | Shape::Time | Shape::Any => values.extend(strings(name)),
        Shape::OneOf(choices) => {
            for choice in *choices {
                values.extend(
                    [(*choice).to_owned(), choice.to_lowercase(), format!("{choice} ")].map(Value::String),
                );
            }
        }
        Shape::Bool => values.extend([json!("true"), json!("false")]),
        Shape::I32 | Shape::I64 | Shape::Port | Shape::IntOrString => values.extend(numbers()),
        Shape::Quantity => values.extend(quantities()),
        Shape::Object(object) => {
            values.extend(object.fields.iter().take(1).map(|field| json!({ field.name: null })));
        }
        Shape::List(inner) => {
            for value in of(name, inner) {
                values.push(json!([value]));
            }
            values.extend(strings(name).into_iter().take(3).map(|value| json!([value, value])));
        }
        Shape::Map(inner) => {
            let plain = if matches!(**inner, Shape::Quantity) { json!("1") } else { json!("v") };
            values.extend(keys(name).into_iter().map(|key| json!({ key: plain })));
            let key = keys(name)[0];
            values.extend(of(name, inner).into_iter().map(|value| json!({ key: value })));
        }
    }
    values
}

fn texts(values: &[&str]) -> Vec<Value> {
    values.iter().map(|value| json!(value)).collect()
}

fn strings(name: &str) -> Vec<Value> {
    match name {
        "ip" | "hostIP" | "nameservers" => texts(&ADDRESSES),
        "path" | "mountPath" | "subPath" | "workingDir" | "terminationMessagePath" | "localhostProfile" => {
            texts(&PATHS)
        }
        "image" => texts(&IMAGES),
        "add" | "drop" => texts(&CAPABILITIES),
        "value" | "args" | "command" => texts(&["a b", "$(A)", "$$(A)", "$(", "\n", "\u{e9}", "\u{1}"]),
        "searches" => [texts(&NAMES), texts(&SEARCHES), long_names()].concat(),
        _ => [texts(&NAMES), texts(&SYSCTLS), long_names()].concat(),
    }
}

/// Names at the limits that the API has: of a label, a domain, a port, a variable.
fn long_names() -> Vec<Value> {
    let mut names: Vec<String> =
        [15, 16, 63, 64, 253, 254].iter().map(|length| "a".repeat(*length)).collect();
    let label = "b".repeat(63);
    names.push(format!("{label}.{label}.{label}.{}", "c".repeat(61)));
    names.push(format!("{label}.{label}.{label}.{}", "c".repeat(62)));
    names.into_iter().map(Value::String).collect()
}

fn numbers() -> Vec<Value> {
    vec![
        json!(80),
        json!("80"),
        json!(65_535),
        json!(65_536),
        json!(2_147_483_647),
        json!(2_147_483_648_u32),
        json!(-2_147_483_648),
        json!(4_294_967_295_u32),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.0),
        json!("http"),
    ]
}

fn quantities() -> Vec<Value> {
    let mut values = texts(&QUANTITIES);
    values.extend([json!(0.1), json!(1000), json!(1e3), json!(134_217_728), json!(i64::MAX)]);
    values
}

/// Keys of a mapping called `name`.
fn keys(name: &str) -> Vec<&'static str> {
    match name {
        "limits" | "requests" | "overhead" => vec![
            "memory",
            "cpu",
            "",
            "Memory",
            "ephemeral-storage",
            "hugepages-2Mi",
            "example.com/gpu",
            "zzz",
            "a b",
            "storage",
        ],
        "annotations" => vec![
            "a",
            "",
            "container.apparmor.security.beta.kubernetes.io/c",
            "container.seccomp.security.alpha.kubernetes.io/c",
            "seccomp.security.alpha.kubernetes.io/pod",
            "podrun.io/x",
            "UPPER/Case",
            "a/b/c",
        ],
        _ => vec!["a", "", "a.b/c", "-a", "A_b", "a/b/c", "kubernetes.io/hostname", "/a", "a/"],
    }
}

const NAMES: [&str; 22] = [
    "a", "a-b", "a.b", "a_b", "A", "1", "-", "-a", "a-", ".", "..", "a.", ".a", "a..b", "a b", " a",
    "\u{e9}", "a\n", "a/b", "v1", "0x1", "$(A)",
];
const SEARCHES: [&str; 5] = ["_", "_a.b", "a_b.c", "example.com.", "*"];
const SYSCTLS: [&str; 9] = [
    "kernel.shm_rmid_forced",
    "kernel/shm_rmid_forced",
    "net.ipv4.ip_unprivileged_port_start",
    "net/ipv4/ip_unprivileged_port_start",
    "net.ipv4.ip_local_port_range",
    "kernel.msgmax",
    "net.ipv4.conf.eth0/1.forwarding",
    "kernel.hostname",
    "vm.swappiness",
];
const ADDRESSES: [&str; 23] = [
    "1.2.3.4",
    "0.0.0.0",
    "127.0.0.1",
    "256.1.1.1",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "0x7f.1",
    " 1.2.3.4",
    "1.2.3.4/24",
    "::",
    "::1",
    "0:0::1",
    "::ffff:1.2.3.4",
    "::1.2.3.4",
    "fe80::1",
    "fe80::1%eth0",
    "[::1]",
    "2001:DB8::1",
    "1::2::3",
    "localhost",
    "224.0.0.1",
    "255.255.255.255",
];
const PATHS: [&str; 24] = [
    "/",
    "/a",
    "/a/",
    "//a",
    "/a//b",
    "/a/../b",
    "/..",
    "..",
    ".",
    "./a",
    "a",
    "a/b",
    "a/../b",
    "a/..",
    "../a",
    "..a",
    "/a:b",
    ":",
    "/a b",
    "/\u{e9}",
    "/dev/termination-log",
    "/proc",
    "/a\n",
    "$(A)",
];
const IMAGES: [&str; 20] = [
    "a",
    "a:1",
    "a:latest",
    "a@sha256:0",
    "A",
    "a b",
    " a",
    "a ",
    "a:",
    ":1",
    "a/b",
    "registry.example.com:5000/a/b:1",
    "a//b",
    "a:1:2",
    "docker.io/library/a",
    "a:\u{e9}",
    "localhost/a",
    "-a",
    "a_b",
    "http://a/b",
];
const CAPABILITIES: [&str; 12] = [
    "NET_ADMIN",
    "CAP_NET_ADMIN",
    "net_admin",
    "ALL",
    "all",
    "CAP_ALL",
    "SYS_ADMIN",
    "CAP_SYS_ADMIN",
    "NOT_ONE",
    " NET_RAW",
    "CHECKPOINT_RESTORE",
    "39",
];
const QUANTITIES: [&str; 40] = [
    "1",
    "0",
    "-1",
    "+1",
    "1.5",
    ".5",
    "5.",
    "1k",
    "1K",
    "1Ki",
    "1M",
    "1Mi",
    "1Gi",
    "1Ti",
    "1Pi",
    "1Ei",
    "1E",
    "1e3",
    "1E3",
    "1e-3",
    "1m",
    "100m",
    "0.1",
    "0.0001",
    "1u",
    "1n",
    "0.5n",
    "1e",
    "1Gi ",
    " 1Gi",
    "1 Gi",
    "1GiB",
    "0x10",
    "1_000",
    "300m",
    "128974848",
    "9223372036854775807",
    "9223372036854775808",
    "1536Mi",
    "1000Gi",
];

/// How YAML can spell a scalar: each is put where a value stands.
pub(crate) const SPELLINGS: [&str; 58] = [
    "~",
    "null",
    "Null",
    "NULL",
    "",
    "yes",
    "Yes",
    "no",
    "on",
    "Off",
    "y",
    "n",
    "true",
    "True",
    "TRUE",
    "tRUE",
    "False",
    "\"true\"",
    "'true'",
    "!!str true",
    "!!bool \"true\"",
    "1",
    "\"1\"",
    "'1'",
    "!!str 1",
    "!!int \"1\"",
    "+1",
    "-0",
    "007",
    "0777",
    "0o17",
    "0x1F",
    "0b11",
    "1_000",
    "1e3",
    "1E3",
    "1.0",
    "1.",
    ".5",
    "1.10",
    ".inf",
    ".nan",
    "190:20",
    "2001-01-01",
    "!!str",
    "!x a",
    "&a b",
    "\"it\\'s\"",
    "'it''s'",
    "\"\\x41\"",
    "a # c",
    "a#b",
    "-",
    "[a, -]",
    "[a,]",
    "{a: b,}",
    "=",
    "<<",
];
