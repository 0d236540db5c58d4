//! The order of JSON values, for `--sort-by`.

use std::cmp::Ordering;

use serde_json::Value;

use super::jsonpath::{Template, compare};

/// Sorts `items` by the first value that `path` selects in each; items without one come first, and
/// items that compare equal keep their order. `false` where there are items and none has a value.
pub(crate) fn sort_by<T>(items: &mut Vec<T>, path: &Template, json: impl Fn(&T) -> Value) -> bool {
    let key = |item: T| (Key(path.select(&json(&item)).first().map(|value| (*value).clone())), item);
    let mut keyed: Vec<(Key, T)> = std::mem::take(items).into_iter().map(key).collect();
    keyed.sort_by(|(left, _), (right, _)| left.cmp(right));
    let found = keyed.is_empty() || keyed.iter().any(|(key, _)| key.0.is_some());
    items.extend(keyed.into_iter().map(|(_, item)| item));
    found
}

/// A sort key with a total order.
struct Key(Option<Value>);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => compare(left, right).unwrap_or(Ordering::Equal),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_sort_by_number_and_text_and_absent_values_come_first() {
        let mut items = vec![json!({"n": 10, "s": "b"}), json!({"n": 9, "s": "a"}), json!({"s": "c"})];
        let nothing = Template::parse_path("none").expect("a path");
        assert!(!sort_by(&mut items, &nothing, Value::clone));
        assert!(sort_by(&mut Vec::new(), &nothing, Value::clone), "of nothing, nothing is amiss");
        sort_by(&mut items, &Template::parse_path("n").expect("a path"), Value::clone);
        let order: Vec<_> = items.iter().map(|item| item["s"].clone()).collect();
        assert_eq!(order, ["c", "a", "b"]);
        sort_by(&mut items, &Template::parse_path("{.s}").expect("a path"), Value::clone);
        assert_eq!(items[0]["s"], "a");
    }

    #[test]
    fn however_many_items_there_are_they_are_sorted_and_a_field_that_one_has_is_found() {
        let path = Template::parse_path("n").expect("a path");
        for count in 0..6_u64 {
            for having in 0..=count {
                // The first `having` items have the field, with falling values.
                let item = |n: u64| if n < having { json!({ "n": count - n }) } else { json!({}) };
                let mut items: Vec<Value> = (0..count).map(item).collect();
                let found = sort_by(&mut items, &path, Value::clone);
                assert_eq!(found, count == 0 || having > 0, "{having} of {count}");
                assert_eq!(u64::try_from(items.len()), Ok(count));
                let numbers: Vec<_> = items.iter().map(|item| item["n"].as_u64()).collect();
                assert!(numbers.is_sorted(), "{having} of {count}: {numbers:?}");
            }
        }
    }
}
