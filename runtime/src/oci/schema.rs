//! The differences between the schema of runtime-spec 1.3 and the crate oci-spec: corrected in the JSON before
//! the crate sees it.
//!
//! Invariant: exactly the members that the schema requires are required. A null is an absent member, as to Go's
//! decoder. A value left out for another reason, such as an unknown capability, is reported in a warning.

use std::collections::BTreeSet;

use oci_spec::runtime::{Capability, LinuxResources, Process, Spec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result, shown};

/// A document of the specification's, read.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) value: T,
    /// Warnings about values that were left out.
    pub(super) warnings: Vec<String>,
    /// The document as it was read, which the crate takes as it is.
    pub(super) document: Value,
}

fn usage(message: String) -> Error {
    Error::new(ErrorKind::Usage, message)
}

/// Reads a config.json.
pub(super) fn spec(bytes: &[u8]) -> Result<Read<Spec>> {
    let mut document = parse(bytes)?;
    let mut warnings = Vec::new();
    if let Some(process) = object(&mut document, "/process") {
        mend_process(process, &mut warnings);
    }
    if let Some(linux) = object(&mut document, "/linux") {
        mend_linux(linux);
    }
    // A config may serve several platforms; the settings of a virtual machine do not apply to a container.
    for platform in ["freebsd", "solaris", "windows", "zos"] {
        if document.as_object_mut().and_then(|members| members.remove(platform)).is_some() {
            warnings.push(format!("{platform}: it is for another system, and left out"));
        }
    }
    if document.get("vm").is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "vm: not supported: podrun makes no virtual machines",
        ));
    }
    if document.get("root").is_some_and(|root| root.get("path").is_none_or(|path| path == "")) {
        return Err(usage("root: there is no `path`".into()));
    }
    read(document, warnings)
}

/// Reads a process, which `exec --process` is given.
pub(super) fn process(bytes: &[u8]) -> Result<Read<Process>> {
    let mut document = parse(bytes)?;
    let mut warnings = Vec::new();
    if let Some(process) = document.as_object_mut() {
        mend_process(process, &mut warnings);
    }
    read(document, warnings)
}

/// Reads `linux.resources`, which `update` is given.
pub fn resources(mut document: Value) -> Result<LinuxResources> {
    drop_nulls(&mut document);
    if let Some(resources) = document.as_object_mut() {
        mend_resources(resources);
    }
    Ok(read(document, Vec::new())?.value)
}

/// The warning about unknown capabilities; none if all are known.
pub(super) fn unknown_capabilities(field: &str, names: &BTreeSet<String>) -> Option<String> {
    let names: Vec<String> = names.iter().map(|name| shown(name).to_string()).collect();
    (!names.is_empty()).then(|| {
        format!("{field}: podrun knows no capability of the name {}, and leaves it out", names.join(", "))
    })
}

/// A capability by its name, with or without `CAP_`.
pub(super) fn capability(name: &str) -> Option<Capability> {
    serde_json::from_value(json!(name)).ok()
}

fn parse(bytes: &[u8]) -> Result<Value> {
    let mut document = serde_json::from_slice(bytes).map_err(|error| usage(error.to_string()))?;
    drop_nulls(&mut document);
    Ok(document)
}

fn object<'a>(document: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    document.pointer_mut(pointer).and_then(Value::as_object_mut)
}

/// Removes nulls, except values of maps with names of the user's own: there they are Go's empty values.
fn drop_nulls(document: &mut Value) {
    let texts = ["/annotations", "/linux/sysctl", "/linux/resources/unified", "/unified"];
    let objects = ["/linux/netDevices", "/linux/timeOffsets", "/linux/resources/rdma", "/rdma"];
    let empty = texts.map(|map| (map, json!(""))).into_iter().chain(objects.map(|map| (map, json!({}))));
    for (map, empty) in empty {
        let members = object(document, map).into_iter().flat_map(Map::values_mut);
        members.filter(|value| value.is_null()).for_each(|value| *value = empty.clone());
    }
    drop_members(document);
}

fn drop_members(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_members);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_members),
        _ => {}
    }
}

fn mend_process(process: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    let user = process.entry("user").or_insert_with(|| json!({}));
    let name = user.as_object_mut().and_then(|user| user.remove("username"));
    if name.is_some_and(|name| name != "") {
        warnings.push("process.user.username: it is for Windows, and left out: uid and gid count".to_owned());
    }
    let flags = process.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"));
    flags.and_then(Value::as_array_mut).into_iter().flatten().for_each(mend_flag);
    if let Some(affinity) = process.get_mut("execCPUAffinity") {
        for field in ["initial", "final"] {
            if let Some(Value::String(list)) = affinity.get_mut(field) {
                *list = tidy(list);
            }
            drop_empty(affinity, field);
        }
    }
    let Some(sets) = process.get_mut("capabilities") else { return };
    let mut unknown = BTreeSet::new();
    for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
        let Some(names) = sets.get_mut(set).and_then(Value::as_array_mut) else { continue };
        let is_unknown = |name: &Value| name.as_str().is_some_and(|name| capability(name).is_none());
        for name in names.extract_if(.., |name| is_unknown(name)) {
            unknown.extend(name.as_str().map(str::to_owned));
        }
    }
    warnings.extend(unknown_capabilities("process.capabilities", &unknown));
}

/// `SchedulerFlag`, by the names that the crate has in their place.
fn mend_flag(flag: &mut Value) {
    match flag.as_str() {
        Some("SCHED_FLAG_RESET_ON_FORK") => *flag = json!("SCHED_RESET_ON_FORK"),
        Some("SCHED_FLAG_DL_OVERRUN") => *flag = json!("SCHED_FLAG_D_L_OVERRUN"),
        _ => {}
    }
}

/// A list of CPUs without the blanks around numbers and the empty items that the schema lets be there.
fn tidy(list: &str) -> String {
    let item = |item: &str| item.split('-').map(str::trim).collect::<Vec<_>>().join("-");
    list.split(',').map(item).filter(|item| !item.is_empty()).collect::<Vec<_>>().join(",")
}

fn mend_linux(linux: &mut Map<String, Value>) {
    for (field, member, default) in
        [("memoryPolicy", "mode", "MPOL_DEFAULT"), ("personality", "domain", "LINUX")]
    {
        if let Some(object) = linux.get_mut(field).and_then(Value::as_object_mut) {
            object.entry(member).or_insert_with(|| json!(default));
        }
    }
    let namespaces = linux.get_mut("namespaces").and_then(Value::as_array_mut);
    namespaces.into_iter().flatten().for_each(|namespace| drop_empty(namespace, "path"));
    if let Some(resources) = linux.get_mut("resources").and_then(Value::as_object_mut) {
        mend_resources(resources);
    }
}

fn mend_resources(resources: &mut Map<String, Value>) {
    // The crate has a limit of 0 there.
    if resources.get("pids").is_some_and(|pids| pids.get("limit").is_none()) {
        resources.remove("pids");
    }
    let mut each = |list: &str, change: fn(&mut Value)| {
        resources.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(change);
    };
    each("devices", |device| drop_empty(device, "type"));
    // The crate's signed number cannot hold more; no limit above it means the kernel's "no limit".
    each("hugepageLimits", |page| match page.get_mut("limit") {
        Some(limit) if limit.is_u64() && !limit.is_i64() => *limit = json!(i64::MAX),
        _ => {}
    });
}

/// Takes out a text that says nothing.
fn drop_empty(object: &mut Value, member: &str) {
    if let Some(object) = object.as_object_mut()
        && object.get(member).is_some_and(|text| text == "")
    {
        object.remove(member);
    }
}

/// The bytes of a document in which the place of an error is looked for: all of it is read again for each member.
const SOUGHT_MAX: usize = 64 << 10;

fn read<T: for<'de> Deserialize<'de>>(mut document: Value, warnings: Vec<String>) -> Result<Read<T>> {
    if !document.is_object() {
        return Err(usage("expected an object".into()));
    }
    match T::deserialize(&document) {
        Ok(value) => Ok(Read { value, warnings, document }),
        Err(error) => {
            let is_large = document.to_string().len() > SOUGHT_MAX;
            let place = if is_large { String::new() } else { place::<T>(&mut document, &error.to_string()) };
            Err(usage(if place.is_empty() { error.to_string() } else { format!("{place}: {error}") }))
        }
    }
}

/// Where in `document` its `error` is: the innermost member without which there is another one, or none.
fn place<T: for<'de> Deserialize<'de>>(document: &mut Value, error: &str) -> String {
    /// As many members of one object or list are tried.
    const TRIED: usize = 1000;
    let mut pointer = String::new();
    let mut place: Vec<String> = Vec::new();
    loop {
        let keys: Vec<String> = match document.pointer(&pointer) {
            Some(Value::Object(members)) => members.keys().take(TRIED).cloned().collect(),
            Some(Value::Array(items)) => (0..items.len().min(TRIED)).map(|index| index.to_string()).collect(),
            _ => return place.join("."),
        };
        let is_in = |key: &&String| {
            let Some(taken) = take(document, &pointer, key) else { return false };
            let other = T::deserialize(&*document).err().map(|other| other.to_string());
            put_back(document, &pointer, key, taken);
            // Report that member, if it is required itself.
            let missed = |error: &str| error.starts_with("missing field");
            other.is_none_or(|other| other != error && !(missed(&other) && missed(error)))
        };
        let Some(key) = keys.iter().find(is_in).cloned() else { return place.join(".") };
        pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        place.push(key);
    }
}

fn take(document: &mut Value, pointer: &str, key: &str) -> Option<Value> {
    match document.pointer_mut(pointer)? {
        Value::Object(members) => members.remove(key),
        Value::Array(items) => {
            key.parse().ok().filter(|index| *index < items.len()).map(|index| items.remove(index))
        }
        _ => None,
    }
}

fn put_back(document: &mut Value, pointer: &str, key: &str, value: Value) {
    match document.pointer_mut(pointer) {
        Some(Value::Object(members)) => drop(members.insert(key.to_owned(), value)),
        Some(Value::Array(items)) => items.insert(key.parse().unwrap_or(0), value),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
