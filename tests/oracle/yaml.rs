//! A manifest as block YAML, where a value can be spelt as the generator wants it.
//!
//! Invariant: every scalar but the raw ones is spelt as JSON spells it, which YAML reads as the same.

use serde_json::Value;

/// What a string that stands for a raw spelling begins with: a character that no value has.
pub(crate) const RAW: char = '\u{e000}';

/// `value` as block YAML.
pub(crate) fn block(value: &Value) -> String {
    let mut out = String::new();
    node(&mut out, value, 0);
    out.push('\n');
    out
}

fn node(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                start(out, indent);
                out.push_str(&key_of(key));
                out.push(':');
                node(out, value, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for value in items {
                start(out, indent);
                out.push('-');
                node(out, value, indent + 2);
            }
        }
        scalar => {
            out.push(' ');
            match scalar.as_str().and_then(|text| text.strip_prefix(RAW)) {
                Some(raw) => out.push_str(raw),
                None => out.push_str(&scalar.to_string()),
            }
        }
    }
}

fn start(out: &mut String, indent: usize) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.extend(std::iter::repeat_n(' ', indent));
}

fn key_of(key: &str) -> String {
    let is_plain = !key.is_empty() && key.chars().all(|character| character.is_ascii_alphabetic());
    if is_plain { key.to_owned() } else { Value::from(key).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spelling_stands_where_its_value_does() {
        let pod = serde_json::json!({ "a": [{ "b c": format!("{RAW}0o17") }, []], "d": { "e": "x: y" } });
        assert_eq!(block(&pod), "a:\n  -\n    \"b c\": 0o17\n  - []\nd:\n  e: \"x: y\"\n");
    }
}
