//! The order of the rooms of `image`, and of the files of `engine`: each uses only earlier ones.

use std::collections::BTreeSet;

use super::sources::{code, edges, edges_from, root, sources};

/// The rooms of `image`: each may use those before it, by their own paths.
const IMAGE_ROOMS: [&str; 8] =
    ["model", "progress", "disk", "content", "layer", "store", "registry", "transfer"];

/// What of the rooms' order `text`, the file `name` below `image/`, breaks.
fn rooms_broken(name: &str, text: &str) -> Vec<String> {
    let path = name.trim_end_matches(".rs").trim_end_matches("/mod");
    let room = path.split('/').next().unwrap_or(path);
    let Some(own) = IMAGE_ROOMS.iter().position(|other| *other == room) else {
        return vec![format!("{name}: `{room}` is not in the list of rooms")];
    };
    // As many `super` as there are names in its path lead to `image`.
    let above = "super::".repeat(path.split('/').count());
    let code = code(text).replace(&above, "crate::image::");
    let allowed = |edge: &String| IMAGE_ROOMS[..=own].contains(&edge.as_str());
    let wrong = edges_from(&code, "crate::image::").into_iter().filter(|edge| !allowed(edge));
    wrong.map(|edge| format!("{name}: `{room}` may not use `{edge}`")).collect()
}

#[test]
fn a_room_of_the_images_uses_only_earlier_ones() {
    let sources = sources("runtime/src/image")
        .into_iter()
        .map(|(file, text)| (file.trim_start_matches("runtime/src/image/").to_owned(), text));
    let of_rooms = sources.filter(|(name, _)| !["mod.rs", "fuzz.rs"].contains(&name.as_str()));
    let wrong: Vec<_> = of_rooms.flat_map(|(name, text)| rooms_broken(&name, &text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files of the engine in the order in which `runtime/src/engine/mod.rs` has them.
fn engine_files() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("runtime/src/engine/mod.rs")).expect("sources are UTF-8");
    let head = text.lines().map_while(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join("\n");
    let (_, list) = head.split_once("Each file uses only those before it:").expect("it says the order");
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The files of the engine that `code` uses: of a file at the top (`top`), by `super::` too.
fn engine_edges(code: &str, top: bool) -> BTreeSet<String> {
    let own = code.replace("crate::engine::", "engine::").replace("crate::", "other::");
    let own = if top { own.replace("super::", "engine::") } else { own };
    edges(&own.replace("engine::", "crate::"))
}

#[test]
fn a_file_of_the_engine_uses_only_those_before_it() {
    let order = engine_files();
    let place = |name: &str| order.iter().position(|known| known == name);
    let (mut count, mut wrong) = (0, Vec::new());
    for (file, text) in sources("runtime/src/engine") {
        let below = file.trim_start_matches("runtime/src/engine/");
        let module = below.split('/').next().unwrap_or(below).trim_end_matches(".rs");
        if module == "mod" {
            continue;
        }
        let own = place(module).unwrap_or_else(|| panic!("{file} is not in the engine's order"));
        for edge in engine_edges(&code(&text), !below.contains('/')) {
            count += 1;
            match place(&edge) {
                Some(other) if other < own || edge == module => {}
                Some(_) => wrong.push(format!("{file}: uses `{edge}`, which comes after it")),
                None => wrong.push(format!("{file}: uses `{edge}`, which is no file of the engine")),
            }
        }
    }
    assert!(count > 60, "only {count} uses found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let sample =
        code("use super::plan::Step;\nuse crate::engine::hints;\nuse crate::sys::{Errno, super_name};");
    assert_eq!(engine_edges(&sample, true), BTreeSet::from(["hints", "plan"].map(str::to_owned)));
    assert_eq!(engine_edges(&sample, false), BTreeSet::from(["hints".to_owned()]));
}

#[test]
fn a_room_out_of_order_is_seen() {
    // By the crate's path, by `super`, by the façade, and from a room that is not listed.
    assert_eq!(rooms_broken("content/blob.rs", "use crate::image::{disk::Space, store::record};").len(), 1);
    assert_eq!(rooms_broken("store.rs", "use super::transfer::pull;\nuse super::model::digest;").len(), 1);
    assert_eq!(rooms_broken("layer/unpack/walk.rs", "use super::super::super::store;").len(), 1);
    assert_eq!(rooms_broken("store/lease.rs", "use crate::image::Image;").len(), 1);
    assert_eq!(rooms_broken("attic.rs", "").len(), 1);
    assert!(
        rooms_broken("store/lease.rs", "use super::record;\nuse super::super::layer::layers;").is_empty()
    );
}
