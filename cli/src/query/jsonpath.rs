//! kubectl's JSONPath templates: `{.items[*].metadata.name}`, `{range .items[*]}…{end}`, filters,
//! slices, unions, recursive descent and quoted text.
//!
//! A template is compiled once into nodes and then evaluated over a JSON value. A path that names
//! an absent field yields nothing, as in `kubectl get`; see
//! <https://kubernetes.io/docs/reference/kubectl/jsonpath/>.

mod evaluate;
mod parse;

use serde_json::Value;

pub(crate) use evaluate::{compare, plain};
pub(crate) use parse::SyntaxError;

use evaluate::{Node, render_nodes};

/// A compiled template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Node>);

impl Template {
    /// Compiles a template as `-o jsonpath=` takes it.
    pub(crate) fn parse(text: &str) -> Result<Self, SyntaxError> {
        parse::nodes(text).map(Self)
    }

    /// Compiles one path, with or without braces and leading dot, as `--sort-by` and
    /// `wait --for=jsonpath=` take it.
    pub(crate) fn parse_path(text: &str) -> Result<Self, SyntaxError> {
        if text.starts_with('{') {
            return Self::parse(text);
        }
        // What is put in front of the path is not counted in an error's place.
        let begin = if text.starts_with(['.', '$', '@', '[']) { "{" } else { "{." };
        Self::parse(&format!("{begin}{text}}}")).map_err(|error| error.without(begin.len()))
    }

    /// The template's text for `value`. The values of one path are joined by spaces.
    pub(crate) fn render(&self, value: &Value) -> String {
        let mut out = String::new();
        render_nodes(&self.0, value, value, &mut out);
        out
    }

    /// The values that the template's paths select, in order; text is passed over.
    pub(crate) fn select<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let paths = self.0.iter().filter_map(|node| match node {
            Node::Path(path) => Some(path),
            Node::Text(_) | Node::Range(..) => None,
        });
        paths.flat_map(|path| path.select(value, value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods() -> Value {
        json!({"kind": "List", "items": [
            {"metadata": {"name": "web", "labels": {"app.kubernetes.io/name": "w", "tier": "front"}},
             "status": {"restarts": 3, "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "False"}]}},
            {"metadata": {"name": "job", "labels": {}}, "status": {"restarts": 0, "conditions": []}},
        ]})
    }

    fn render(template: &str) -> String {
        Template::parse(template).unwrap_or_else(|e| panic!("{template}: {e}")).render(&pods())
    }

    #[test]
    fn templates_render_as_kubectl_renders_them() {
        for (template, expected) in [
            ("{.kind}", "List"),
            ("{$.kind}", "List"),
            ("{kind}", "List"),
            ("{.items[*].metadata.name}", "web job"),
            ("{.items[0].metadata.name}", "web"),
            ("{.items[-1].metadata.name}", "job"),
            ("{.items[0:1].metadata.name}", "web"),
            ("{.items[::2].metadata.name}", "web"),
            ("{.items[9].metadata.name}", ""),
            ("{.absent.field}", ""),
            (
                "{.items[*]['metadata.name','status']}",
                r#"{"restarts":3,"conditions":[{"type":"Ready","status":"True"},{"type":"Initialized","status":"False"}]} {"restarts":0,"conditions":[]}"#,
            ),
            (r"{.items[0].metadata.labels.app\.kubernetes\.io/name}", "w"),
            ("{.items[0].metadata.labels['tier']}", "front"),
            (r#"{range .items[*]}{.metadata.name}{"\t"}{.status.restarts}{"\n"}{end}"#, "web\t3\njob\t0\n"),
            (r#"{.items[0].status.conditions[?(@.type=="Ready")].status}"#, "True"),
            (r#"{.items[?(@.status.restarts>1)].metadata.name}"#, "web"),
            (r#"{.items[?(@.status.restarts <= 3)].metadata.name}"#, "web job"),
            (r#"{.items[?(@.metadata.labels.tier)].metadata.name}"#, "web"),
            ("{..name}", "web job"),
            ("names: {.items[*].metadata.name}!", "names: web job!"),
            ("{.items[0].metadata.name} {.items[1].metadata.name}", "web job"),
            ("{.items[0].metadata.name .items[1].metadata.name}", "webjob"),
            ("plain", "plain"),
        ] {
            assert_eq!(render(template), expected, "{template}");
        }
    }

    #[test]
    fn ranges_nest() {
        let template =
            r#"{range .items[*]}{.metadata.name}:{range .status.conditions[*]} {.type}{end};{end}"#;
        assert_eq!(render(template), "web: Ready Initialized;job:;");
    }

    #[test]
    fn broken_templates_are_refused_with_their_place() {
        for (template, part) in [
            ("{.items", "expected `}`"),
            ("{range .items[*]}{.x}", "without `{end}`"),
            ("{end}", "without `{range}`"),
            ("{.items[}", "expected an index"),
            ("{.items[0:1:0]}", "step"),
            (r#"{"open}"#, "not closed"),
            ("{.a%}", "unexpected `%`"),
            ("{.items[?(@.x==)]}", "expected a path"),
        ] {
            let error = Template::parse(template).expect_err(template).to_string();
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    #[test]
    fn a_bare_path_needs_neither_braces_nor_dot() {
        for text in ["{.kind}", ".kind", "kind"] {
            let path = Template::parse_path(text).expect("a path");
            assert_eq!(path.select(&pods()), [&json!("List")], "{text}");
        }
    }
}
