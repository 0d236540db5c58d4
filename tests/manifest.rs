//! The manifest's table of fields against Kubernetes' own Pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use runtime::pod::manifest::fields;

#[path = "manifest/schema.rs"]
mod schema;

/// The table in the terms of [`schema`].
fn table() -> schema::Schema {
    let fields = |object: &fields::Object| -> BTreeMap<String, String> {
        object.fields.iter().map(|field| (field.name.into(), field.shape.describe())).collect()
    };
    fields::all_objects().into_iter().map(|object| (object.name.into(), fields(object))).collect()
}

#[test]
fn the_table_has_every_field_of_the_pod_and_no_other() {
    let (ours, theirs) = (table(), schema::of::<Pod>());
    assert!(theirs.len() > 100 && theirs["Container"].len() > 20, "the probe saw the whole Pod");
    for (object, fields) in &theirs {
        assert_eq!(ours.get(object), Some(fields), "{object}");
    }
    let extra: Vec<_> = ours.keys().filter(|object| !theirs.contains_key(*object)).collect();
    assert!(extra.is_empty(), "not in Kubernetes: {extra:?}");
}
