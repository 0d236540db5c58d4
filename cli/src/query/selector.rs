//! Label selectors: `app=web,tier!=db,env in (a,b),!canary,release`.
//!
//! The grammar and its meaning are Kubernetes':
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>.

use std::collections::BTreeMap;
use std::str::FromStr;

/// What labels must hold; empty selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    /// The label is there with one of these values.
    In(String, Vec<String>),
    /// The label is absent, or has none of these values.
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// Whether an object with `labels` is selected.
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        split(text).into_iter().map(|part| requirement(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// The requirements' texts: commas inside parentheses do not part.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text.trim().is_empty() {
        parts.push(&text[start..]);
    }
    parts
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let bad = |why: &str| format!("label selector `{text}`: {why}");
    let word = |raw: &str| match raw.trim() {
        "" => Err(bad("a key is missing")),
        key if key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)) => Ok(key.to_owned()),
        key => Err(bad(&format!("`{key}` is no label"))),
    };
    let value = |raw: &str| if raw.trim().is_empty() { Ok(String::new()) } else { word(raw) };
    if let Some((key, one)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(word(key)?, vec![value(one)?]));
    }
    if let Some((key, one)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(word(key)?, vec![value(one)?]));
    }
    if let Some(head) = text.strip_suffix(')') {
        let (head, list) = head.split_once('(').ok_or_else(|| bad("`)` without `(`"))?;
        let values = list.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        return match head.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => Ok(Requirement::In(word(key)?, values)),
            [key, "notin"] => Ok(Requirement::NotIn(word(key)?, values)),
            _ => Err(bad("expected `key in (…)` or `key notin (…)`")),
        };
    }
    match text.strip_prefix('!') {
        Some(key) => Ok(Requirement::Absent(word(key)?)),
        None => Ok(Requirement::Exists(word(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn a_selector_selects_what_kubernetes_would() {
        let web = labels(&[("app", "web"), ("tier", "front"), ("app.io/x", "")]);
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier = front", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("app in (a, web)", true),
            ("app notin (a,b)", true),
            ("other notin (a)", true),
            ("app in (a,b),tier=front", false),
            ("app.io/x=", true),
        ] {
            let selector: Selector = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(selector.matches(&web), expected, "{text}");
        }
    }

    #[test]
    fn a_broken_selector_is_refused() {
        for text in ["=x", "a in b)", "a within (b)", "a b", ",", "a=%"] {
            text.parse::<Selector>().expect_err(text);
        }
    }
}
