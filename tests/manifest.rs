//! The manifest's table of fields against Kubernetes' own Pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use runtime::manifest::fields;

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
    let none = BTreeMap::new();
    let fields = |schema: &schema::Schema, object: &String| schema.get(object).unwrap_or(&none).clone();
    for object in theirs.keys().chain(ours.keys()) {
        let (ours, theirs) = (fields(&ours, object), fields(&theirs, object));
        let differ = |(name, shape): &(&String, &String), other: &BTreeMap<String, String>| {
            other.get(*name) != Some(shape)
        };
        let missing: Vec<_> = theirs.iter().filter(|field| differ(field, &ours)).collect();
        let extra: Vec<_> = ours.iter().filter(|field| differ(field, &theirs)).collect();
        assert!(missing.is_empty() && extra.is_empty(), "{object}: missing {missing:?}, extra {extra:?}");
    }
}
