//! Field selectors: `status.phase!=Running,metadata.name=web`, of the fields by which Kubernetes selects pods.
//!
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/>

use std::str::FromStr;

use serde_json::Value;

use super::jsonpath::plain;

/// What fields must hold; empty selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    field: Field,
    /// Whether the field has to have the value, or any other.
    equal: bool,
    value: String,
}

/// A field, and what it is where it is left out.
type Field = (&'static str, &'static str);

const FIELDS: [Field; 6] = [
    ("metadata.name", ""),
    ("metadata.namespace", ""),
    ("spec.restartPolicy", "Always"),
    ("spec.hostNetwork", "false"),
    ("status.phase", ""),
    ("status.podIP", ""),
];

impl Requirement {
    fn is_met(&self, object: &Value) -> bool {
        let (path, unset) = self.field;
        let field = path.split('.').try_fold(object, |value, name| value.get(name));
        (field.map_or_else(|| unset.to_owned(), plain) == self.value) == self.equal
    }
}

impl FieldSelector {
    /// Whether `object` is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.is_met(object))
    }
}

impl FromStr for FieldSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(requirement).collect::<Result<_, _>>().map(Self)
    }
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let split = [("!=", false), ("==", true), ("=", true)]
        .into_iter()
        .find_map(|(sign, equal)| text.split_once(sign).map(|(name, value)| (name, equal, value)));
    let (name, equal, value) =
        split.ok_or_else(|| format!("field selector `{text}`: FIELD=VALUE or FIELD!=VALUE is wanted"))?;
    let known = FIELDS.iter().find(|(known, _)| *known == name.trim());
    let field = known.ok_or_else(|| {
        let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        format!(
            "field selector `{text}`: one of {} is wanted; jsonpath's filters know the others",
            names.join(", ")
        )
    })?;
    Ok(Requirement { field: *field, equal, value: value.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_selects_what_kubernetes_would() {
        let pod = json!({"metadata": {"name": "web"}, "status": {"phase": "Running"}});
        for (text, expected) in [
            ("", true),
            ("metadata.name=web", true),
            ("metadata.name==web,status.phase=Running", true),
            (" metadata.name = web ", true),
            ("metadata.name!=web", false),
            ("status.phase!=Succeeded,status.phase!=Failed", true),
            ("status.phase=running", false),
            ("spec.restartPolicy=Always,spec.hostNetwork=false,status.podIP=", true),
        ] {
            let selector: FieldSelector = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(selector.matches(&pod), expected, "{text}");
        }
    }

    #[test]
    fn another_field_is_refused_by_name() {
        for text in ["spec.nodeName=x", "metadata.name", "=x", "status.phase>Running"] {
            text.parse::<FieldSelector>().expect_err(text);
        }
    }
}
