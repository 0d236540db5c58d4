//! kubectl's `-o custom-columns=NAME:.metadata.name,IP:.status.podIP`: a table whose cells are jsonpaths.

use std::str::FromStr;

use serde_json::Value;

use super::jsonpath::{Template, plain};

/// The columns, each with its head.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Columns(Vec<(String, Template)>);

impl Columns {
    /// The columns' heads.
    pub(crate) fn header(&self) -> Vec<String> {
        self.0.iter().map(|(head, _)| head.clone()).collect()
    }

    /// The cells of `object`; one that the object does not have is `<none>`.
    pub(crate) fn row(&self, object: &Value) -> Vec<String> {
        let cell = |path: &Template| {
            let values: Vec<String> = path.select(object).into_iter().map(plain).collect();
            if values.is_empty() { "<none>".to_owned() } else { values.join(",") }
        };
        self.0.iter().map(|(_, path)| cell(path)).collect()
    }
}

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let column = |part: &str| {
            let (head, path) = part
                .split_once(':')
                .filter(|(head, path)| !head.is_empty() && !path.is_empty())
                .ok_or_else(|| format!("`{part}`: HEAD:PATH is wanted, such as NAME:.metadata.name"))?;
            let path = Template::parse_path(path).map_err(|error| format!("{head}: {error}"))?;
            Ok((head.to_owned(), path))
        };
        split(text).into_iter().map(column).collect::<Result<_, _>>().map(Self)
    }
}

/// The columns' texts: a comma within brackets belongs to its path.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_is_what_its_path_selects() {
        let columns: Columns =
            "NAME:.metadata.name,IMAGES:.c[*].image,TWO:{.c[0,1].image},NO:none.of,N:n".parse().unwrap();
        assert_eq!(columns.header(), ["NAME", "IMAGES", "TWO", "NO", "N"]);
        let object = json!({"metadata": {"name": "web"}, "c": [{"image": "a"}, {"image": "b"}], "n": 3});
        assert_eq!(columns.row(&object), ["web", "a,b", "a,b", "<none>", "3"]);
    }

    #[test]
    fn a_column_without_head_or_path_is_refused() {
        for text in ["", "NAME", "NAME:", ":.a", "A:.a,", "A:.a[", "A:{.a"] {
            text.parse::<Columns>().expect_err(text);
        }
    }
}
