//! Objects on standard output: JSON, YAML, names and jsonpath, as `-o` asks.
//!
//! Invariant: of pods, the v1 Pod itself is printed, or a v1 List of them, and nothing else.

use std::str::FromStr;

use runtime::error::steers;
use runtime::manifest::Pod;
use runtime::{Error, Result};
use serde::Serialize as _;
use serde_json::{Value, json};

use crate::output;
use crate::query::columns::Columns;
use crate::query::jsonpath::Template;
use crate::table::Table;

/// The format of `-o`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Format {
    /// The table with more columns.
    Wide,
    /// A table of columns that the caller chose.
    Columns(Columns),
    /// The objects.
    Object(ObjectFormat),
}

/// How objects are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ObjectFormat {
    Json,
    Yaml,
    /// `pod/web`, a line each.
    Name,
    JsonPath(Template),
}

impl FromStr for ObjectFormat {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        object_format(text).unwrap_or_else(|| Err(not_taken(text, "json, yaml, name, jsonpath=TEMPLATE")))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "wide" {
            return Ok(Self::Wide);
        }
        if let Some(columns) = text.strip_prefix("custom-columns=") {
            return columns.parse().map(Self::Columns);
        }
        let taken = "wide, json, yaml, name, jsonpath=TEMPLATE, custom-columns=HEAD:PATH,...";
        let why = || match text.split_once('=').map_or(text, |(name, _)| name) {
            "custom-columns" => {
                "columns are wanted, as in custom-columns=NAME:.metadata.name,IP:.status.podIP".into()
            }
            "custom-columns-file" => "custom-columns=HEAD:PATH,... takes the columns themselves".into(),
            _ => not_taken(text, taken),
        };
        object_format(text).unwrap_or_else(|| Err(why())).map(Self::Object)
    }
}

/// The format named by `text`; `None` if it names none.
fn object_format(text: &str) -> Option<std::result::Result<ObjectFormat, String>> {
    let template = match text {
        "json" => return Some(Ok(ObjectFormat::Json)),
        "yaml" => return Some(Ok(ObjectFormat::Yaml)),
        "name" => return Some(Ok(ObjectFormat::Name)),
        _ => text.strip_prefix("jsonpath=")?,
    };
    Some(Template::parse(template).map(ObjectFormat::JsonPath).map_err(|error| error.to_string()))
}

/// The message about an unsupported format: kubectl's others have an alternative.
fn not_taken(text: &str, taken: &str) -> String {
    let (name, file) = text.split_once('=').unwrap_or((text, "FILE"));
    match name {
        "go-template" | "template" | "go-template-file" | "templatefile" => {
            "no Go templates; jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}' writes what it names"
                .into()
        }
        "jsonpath-file" => format!("jsonpath=\"$(cat {file})\" takes the template from a file"),
        "jsonpath-as-json" => "json prints the whole object; jq selects of it".into(),
        "jsonpath" => "a template is wanted, as in jsonpath='{.status.podIP}'".into(),
        _ => format!("one of {taken} is wanted"),
    }
}

/// `pod/web`; for a name that is not drawn yet, its prefix and a star.
pub(crate) fn called(pod: &Pod) -> String {
    match pod.metadata.name.as_str() {
        "" => format!("pod/{}*", pod.metadata.generate_name),
        name => format!("pod/{name}"),
    }
}

/// Objects one after the other, in a form that can be read back: YAML documents are separated.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    goes_on: bool,
}

impl Printer {
    /// Prints one object.
    pub(crate) fn object(&mut self, format: &ObjectFormat, pod: &Pod) -> Result<()> {
        if *format == ObjectFormat::Yaml && std::mem::replace(&mut self.goes_on, true) {
            output::line("---")?;
        }
        match format {
            ObjectFormat::Name => output::line(called(pod)),
            _ => value(format, &json_of(pod)),
        }
    }
}

/// Prints several objects: a v1 List.
pub(crate) fn list(format: &ObjectFormat, pods: &[&Pod]) -> Result<()> {
    if *format == ObjectFormat::Name {
        return pods.iter().try_for_each(|pod| Printer::default().object(format, pod));
    }
    let items: Vec<Value> = pods.iter().map(|pod| json_of(pod)).collect();
    value(
        format,
        &json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}),
    )
}

/// Prints a table of the columns that the caller chose.
pub(crate) fn columns(columns: &Columns, objects: &[Value], header: bool) -> Result<()> {
    let mut table = Table::new(columns.header());
    objects.iter().for_each(|object| table.row(columns.row(object)));
    output::text(table.render(header))
}

/// The pod as JSON.
pub(crate) fn json_of(pod: &Pod) -> Value {
    serde_json::to_value(pod).expect("a pod's keys are strings")
}

/// Plain data as JSON.
pub(crate) fn plain(data: &impl serde::Serialize) -> Value {
    serde_json::to_value(data).expect("its keys are strings")
}

/// Prints an object other than a pod; the caller prints its name.
pub(crate) fn value(format: &ObjectFormat, value: &Value) -> Result<()> {
    match format {
        ObjectFormat::Json => output::json(&indented(value)?),
        ObjectFormat::Yaml => {
            let text = serde_saphyr::to_string(value).map_err(|error| Error::failed(error.to_string()))?;
            // JSON is YAML too, and has escapes for all that would steer a terminal.
            match text.contains(|c| c != '\n' && steers(c)) {
                true => output::json(&indented(value)?),
                false => output::text(text),
            }
        }
        ObjectFormat::JsonPath(template) => output::text(template.render(value)),
        ObjectFormat::Name => Ok(()),
    }
}

/// JSON as kubectl writes it, four spaces a level.
fn indented(value: &Value) -> Result<String> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    value.serialize(&mut serializer).map_err(|error| Error::failed(error.to_string()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_kubectls_and_others_are_refused_by_name() {
        assert_eq!("json".parse(), Ok(Format::Object(ObjectFormat::Json)));
        assert_eq!("wide".parse(), Ok(Format::Wide));
        assert!(matches!("jsonpath={.kind}".parse(), Ok(Format::Object(ObjectFormat::JsonPath(_)))));
        assert!(matches!("custom-columns=N:.n".parse(), Ok(Format::Columns(_))));
        for (text, words) in [
            ("toml", "wide, json"),
            ("custom-columns=x", "HEAD:PATH"),
            ("go-template={{.a}}", "jsonpath="),
            ("go-template-file=f", "jsonpath="),
            ("jsonpath-file=f", "jsonpath=\"$(cat f)\""),
            ("jsonpath", "a template is wanted"),
        ] {
            let why = text.parse::<Format>().unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
        assert!("jsonpath={.a".parse::<Format>().unwrap_err().contains("expected"));
        "wide".parse::<ObjectFormat>().unwrap_err();
    }
}
