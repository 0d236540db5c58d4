//! The limits of a class, and the counters of a monitoring group: `intel_rdt` of runc's `events`.
//!
//! Invariant: a value that the kernel does not give, or not now ("Unavailable"), is left out.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::schemata;

/// Each resource with runc's name for it, and the numbers of its `info`.
const RESOURCES: [(&str, &str, &[&str]); 2] = [
    ("L3:", "l3_cache", &["min_cbm_bits", "num_closids"]),
    ("MB:", "mem_bw", &["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"]),
];

/// The document of the class `class` below `root`, with the counters of `group`: the class itself, or a
/// monitoring group in it.
pub(super) fn document(root: &Path, class: &Path, group: &Path) -> Value {
    let mut shown = Map::new();
    for (resource, name, numbers) in RESOURCES {
        let info = root.join("info").join(resource.trim_end_matches(':'));
        let mut known: Map<String, Value> =
            numbers.iter().filter_map(|file| Some(((*file).to_owned(), number(&info.join(file))?))).collect();
        if let Some(mask) = text(&info.join("cbm_mask")) {
            known.insert("cbm_mask".to_owned(), mask.into());
        }
        if !known.is_empty() {
            shown.insert(format!("{name}_info"), known.into());
        }
        for (key, class) in [(format!("{name}_schema_root"), root), (format!("{name}_schema"), class)] {
            let lines = text(&class.join("schemata")).unwrap_or_default();
            if let Some(line) = schemata::same_resource(&lines, resource) {
                shown.insert(key, line.into());
            }
        }
    }
    let caches = caches(&group.join("mon_data"));
    for (key, events) in
        [("mbm_stats", &["mbm_total_bytes", "mbm_local_bytes"][..]), ("cmt_stats", &["llc_occupancy"])]
    {
        let counted: Vec<Value> = caches.iter().filter_map(|cache| counted(cache, events)).collect();
        if !counted.is_empty() {
            shown.insert(key.to_owned(), counted.into());
        }
    }
    shown.into()
}

/// The directories of the L3 caches, in their order.
fn caches(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data).into_iter().flatten().flatten();
    let of_l3 = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("mon_L3_"))
    };
    let mut caches: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(of_l3).collect();
    caches.sort();
    caches
}

fn counted(cache: &Path, events: &[&str]) -> Option<Value> {
    let events: Map<String, Value> =
        events.iter().filter_map(|event| Some(((*event).to_owned(), number(&cache.join(event))?))).collect();
    (!events.is_empty()).then_some(json!(events))
}

fn text(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

fn number(file: &Path) -> Option<Value> {
    Some(text(file)?.parse::<u64>().ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(document(root, root, root), json!({}));
        let group = "guaranteed/mon_groups/web";
        for (file, text) in [
            ("info/L3/cbm_mask", "7ff\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("schemata", "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n"),
            ("guaranteed/schemata", "    MB:0=100;1= 20\n    L3:0=7f0;1=01f\n"),
            ("guaranteed/mon_groups/web/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
            ("guaranteed/mon_groups/web/mon_data/mon_L3_01/mbm_total_bytes", "12\n"),
            ("guaranteed/mon_groups/web/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
            ("guaranteed/mon_groups/web/mon_data/mon_L3_00/mbm_total_bytes", "5\n"),
            ("guaranteed/mon_groups/web/mon_data/mon_L3_00/mbm_local_bytes", "3\n"),
        ] {
            let file = root.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let shown = document(root, &root.join("guaranteed"), &root.join(group));
        let expected = json!({
            "l3_cache_info": {"cbm_mask": "7ff", "num_closids": 16},
            "l3_cache_schema_root": "L3:0=7ff;1=7ff",
            "l3_cache_schema": "L3:0=7f0;1=01f",
            "mem_bw_info": {"bandwidth_gran": 10},
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0=100;1= 20",
            "mbm_stats": [{"mbm_total_bytes": 5, "mbm_local_bytes": 3}, {"mbm_total_bytes": 12}],
            "cmt_stats": [{"llc_occupancy": 4096}],
        });
        assert_eq!(shown, expected);
    }
}
