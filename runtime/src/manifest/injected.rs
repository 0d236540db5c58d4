//! Fields that an API server adds to every pod, and that a manifest read back from a cluster has.
//!
//! Invariant: only the credentials for that server are taken out: the projected volumes called
//! `kube-api-access-…`, and their mounts. The server appends them, so that every other item keeps its index.

use std::collections::HashSet;

use super::path::Path;
use super::tree::{Node, Value};

/// The prefix of the server's volumes, before five random characters.
const PREFIX: &str = "kube-api-access-";

/// Removes them from a pod's tree, and returns their paths.
pub(crate) fn take_out(tree: &mut Node) -> Vec<Path> {
    let mut taken = Vec::new();
    let Some(spec) = tree.entry_mut("spec") else { return taken };
    let path = Path::of("spec");
    let mut names = HashSet::new();
    if let Some(volumes) = spec.entry_mut("volumes") {
        take(volumes, &path.field("volumes"), &mut taken, |volume| {
            let name = named(volume).filter(|name| name.starts_with(PREFIX));
            let is_projected =
                volume.entry("projected").is_some_and(|source| source.node.value != Value::Null);
            is_projected && name.is_some_and(|name| names.insert(name.to_owned()))
        });
    }
    if names.is_empty() {
        return taken;
    }
    for list in ["initContainers", "containers"] {
        let Some(Value::List(containers)) = spec.entry_mut(list).map(|list| &mut list.value) else {
            continue;
        };
        for (index, container) in containers.iter_mut().enumerate() {
            let Some(mounts) = container.entry_mut("volumeMounts") else { continue };
            let path = path.field(list).index(index).field("volumeMounts");
            take(mounts, &path, &mut taken, |mount| named(mount).is_some_and(|name| names.contains(name)));
        }
    }
    taken
}

fn named(item: &Node) -> Option<&str> {
    match item.entry("name").map(|entry| &entry.node.value) {
        Some(Value::String(name)) => Some(name),
        _ => None,
    }
}

/// Takes the items of `list` that are `meant` out of it, and adds their paths to `taken`.
fn take(list: &mut Node, path: &Path, taken: &mut Vec<Path>, mut meant: impl FnMut(&Node) -> bool) {
    let Value::List(items) = &mut list.value else { return };
    let mut index = 0;
    items.retain(|item| {
        let is_meant = meant(item);
        taken.extend(is_meant.then(|| path.index(index)));
        index += 1;
        !is_meant
    });
}
