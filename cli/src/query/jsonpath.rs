//! kubectl's JSONPath templates: `{.items[*].metadata.name}`, `{range .items[*]}…{end}`, filters,
//! slices, unions, recursive descent and quoted text.
//!
//! A template is compiled once into nodes and then evaluated over a JSON value. A path that names
//! an absent field yields nothing, as in `kubectl get`; see
//! <https://kubernetes.io/docs/reference/kubectl/jsonpath/>.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use super::sort::compare;

/// A compiled template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Node>);

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    message: String,
    /// Byte offset in the template.
    at: usize,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jsonpath, character {}: {}", self.at + 1, self.message)
    }
}

impl std::error::Error for SyntaxError {}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Path(Path),
    Range(Path, Vec<Node>),
}

#[derive(Debug, Clone, PartialEq)]
struct Path {
    /// `$` starts at the document, `@`, `.` and a bare name at the current value.
    from_root: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// `..name`: every field of that name at any depth; `..*` and `..` every value.
    Recursive(Option<String>),
    Wildcard,
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    Index(i64),
    Union(Vec<Step>),
    Filter {
        left: Operand,
        op: Option<(Comparison, Operand)>,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Template {
    /// Compiles a template as `-o jsonpath=` takes it.
    pub(crate) fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut parser = Parser { text, at: 0 };
        let (nodes, ended_by_end) = parser.nodes()?;
        if ended_by_end {
            return Err(parser.error("`{end}` without `{range}`"));
        }
        Ok(Self(nodes))
    }

    /// Compiles one path, with or without braces and leading dot, as `--sort-by` and
    /// `wait --for=jsonpath=` take it.
    pub(crate) fn parse_path(text: &str) -> Result<Self, SyntaxError> {
        if text.starts_with('{') {
            return Self::parse(text);
        }
        // What is put in front of the path is not counted in an error's place.
        let begin = if text.starts_with(['.', '$', '@', '[']) { "{" } else { "{." };
        Self::parse(&format!("{begin}{text}}}"))
            .map_err(|error| SyntaxError { at: error.at.saturating_sub(begin.len()), ..error })
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

fn render_nodes(nodes: &[Node], root: &Value, current: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let texts: Vec<String> = path.select(root, current).into_iter().map(plain).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(path, body) => {
                for item in path.select(root, current) {
                    render_nodes(body, root, item, out);
                }
            }
        }
    }
}

/// A value as jsonpath prints it: strings bare, the rest as compact JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Path {
    fn select<'v>(&self, root: &'v Value, current: &'v Value) -> Vec<&'v Value> {
        let mut values = vec![if self.from_root { root } else { current }];
        for step in &self.steps {
            values = values.into_iter().flat_map(|value| step.apply(root, value)).collect();
        }
        values
    }
}

impl Step {
    fn apply<'v>(&self, root: &'v Value, value: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Wildcard => children(value),
            Self::Recursive(name) => {
                let mut found = Vec::new();
                descend(value, name.as_deref(), &mut found);
                found
            }
            Self::Index(index) => value
                .as_array()
                .and_then(|items| items.get(position(*index, items.len())?))
                .into_iter()
                .collect(),
            Self::Slice { start, end, step } => slice(value, *start, *end, *step),
            Self::Union(steps) => steps.iter().flat_map(|step| step.apply(root, value)).collect(),
            Self::Filter { left, op } => {
                let keep = |item: &&Value| match op {
                    None => !left.values(root, item).is_empty(),
                    Some((comparison, right)) => holds(left, *comparison, right, root, item),
                };
                children(value).into_iter().filter(keep).collect()
            }
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn descend<'v>(value: &'v Value, name: Option<&str>, found: &mut Vec<&'v Value>) {
    match name {
        Some(name) => found.extend(value.get(name)),
        None => found.push(value),
    }
    for child in children(value) {
        descend(child, name, found);
    }
}

/// The place of `index` in a list of `len`; negative ones count from the end.
fn position(index: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    usize::try_from(if index < 0 { index + len } else { index }).ok()
}

fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: i64) -> Vec<&Value> {
    let Some(items) = value.as_array() else { return Vec::new() };
    let bound = |index: i64| position(index, items.len()).unwrap_or(0).min(items.len());
    let (from, to) = (start.map_or(0, bound), end.map_or(items.len(), bound));
    let stride = usize::try_from(step).unwrap_or(1).max(1);
    items.get(from..to.max(from)).unwrap_or_default().iter().step_by(stride).collect()
}

impl Operand {
    fn values<'v>(&'v self, root: &'v Value, item: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Path(path) => path.select(root, item),
            Self::Literal(value) => vec![value],
        }
    }
}

fn holds(left: &Operand, comparison: Comparison, right: &Operand, root: &Value, item: &Value) -> bool {
    let (left, right) = (left.values(root, item), right.values(root, item));
    let (Some(left), Some(right)) = (left.first(), right.first()) else { return false };
    match comparison {
        Comparison::Equal => left == right || compare(left, right) == Some(Ordering::Equal),
        Comparison::NotEqual => compare(left, right).is_some_and(|order| order != Ordering::Equal),
        Comparison::Less => compare(left, right) == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(compare(left, right), Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => compare(left, right) == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => {
            matches!(compare(left, right), Some(Ordering::Greater | Ordering::Equal))
        }
    }
}

/// A cursor over the template's text.
struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError { message: message.into(), at: self.at }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), SyntaxError> {
        if self.eat(token) { Ok(()) } else { Err(self.error(format!("expected `{token}`"))) }
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Nodes up to the template's end, or to an `{end}` (then true).
    fn nodes(&mut self) -> Result<(Vec<Node>, bool), SyntaxError> {
        let mut nodes = Vec::new();
        while !self.rest().is_empty() {
            let text = self.rest().split('{').next().unwrap_or_default().to_owned();
            if !text.is_empty() {
                self.at += text.len();
                nodes.push(Node::Text(text));
                continue;
            }
            self.expect("{")?;
            self.skip_spaces();
            if self.eat_word("end") {
                self.close()?;
                return Ok((nodes, true));
            }
            if self.eat_word("range") {
                self.skip_spaces();
                let path = self.path()?;
                self.close()?;
                let (body, ended) = self.nodes()?;
                if !ended {
                    return Err(self.error("`{range}` without `{end}`"));
                }
                nodes.push(Node::Range(path, body));
                continue;
            }
            while self.peek().is_some_and(|c| c != '}') {
                nodes.push(match self.peek() {
                    Some('"' | '\'') => Node::Text(self.quoted()?),
                    _ => Node::Path(self.path()?),
                });
                self.skip_spaces();
            }
            self.close()?;
        }
        Ok((nodes, false))
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        self.skip_spaces();
        self.expect("}")
    }

    /// Takes `word` where it stands alone, so that a field named `ended` is no `end`.
    fn eat_word(&mut self, word: &str) -> bool {
        let ends = |rest: &str| rest.starts_with(|c: char| c == '}' || c.is_whitespace());
        let found = self.rest().strip_prefix(word).is_some_and(ends);
        if found {
            self.at += word.len();
        }
        found
    }

    fn quoted(&mut self) -> Result<String, SyntaxError> {
        let quote = self.peek().unwrap_or('"');
        let (start, mut out) = (self.at, String::new());
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at = start + offset + 1;
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, 'r')) => out.push('\r'),
                    Some((_, other)) => out.push(other),
                    None => break,
                },
                c => out.push(c),
            }
        }
        Err(self.error("a quote is not closed"))
    }

    fn path(&mut self) -> Result<Path, SyntaxError> {
        let from_root = self.eat("$");
        if !from_root {
            self.eat("@");
        }
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                steps.push(Step::Recursive(self.name_or_wildcard()));
            } else if self.eat(".") {
                match self.peek() {
                    Some('*') => {
                        self.at += 1;
                        steps.push(Step::Wildcard);
                    }
                    Some('[') | None => {}
                    _ => steps.extend(self.name().map(Step::Field)),
                }
            } else if self.peek() == Some('[') {
                steps.push(self.bracket()?);
            } else if steps.is_empty() && !from_root {
                match self.name() {
                    Some(name) => steps.push(Step::Field(name)),
                    None => break,
                }
            } else {
                break;
            }
        }
        match self.peek() {
            Some(c) if !(c.is_whitespace() || "})]=!<>,".contains(c)) => {
                Err(self.error(format!("unexpected `{c}`")))
            }
            _ => Ok(Path { from_root, steps }),
        }
    }

    fn name_or_wildcard(&mut self) -> Option<String> {
        if self.eat("*") { None } else { self.name() }
    }

    /// A field's name; `\.` stands for a dot inside it.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if c == '\\' {
                self.at += 1;
                name.extend(self.peek());
                self.at += self.peek().map_or(0, char::len_utf8);
            } else if c.is_alphanumeric() || "_-/".contains(c) {
                name.push(c);
                self.at += c.len_utf8();
            } else {
                break;
            }
        }
        (!name.is_empty()).then_some(name)
    }

    fn bracket(&mut self) -> Result<Step, SyntaxError> {
        self.expect("[")?;
        self.skip_spaces();
        if self.eat("?(") {
            let step = self.filter()?;
            self.expect(")")?;
            self.skip_spaces();
            self.expect("]")?;
            return Ok(step);
        }
        let mut steps = vec![self.subscript()?];
        self.skip_spaces();
        while self.eat(",") {
            self.skip_spaces();
            steps.push(self.subscript()?);
            self.skip_spaces();
        }
        self.expect("]")?;
        Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Union(steps) })
    }

    fn subscript(&mut self) -> Result<Step, SyntaxError> {
        if self.eat("*") {
            return Ok(Step::Wildcard);
        }
        if matches!(self.peek(), Some('"' | '\'')) {
            return Ok(Step::Field(self.quoted()?));
        }
        let start = self.integer()?;
        if !self.eat(":") {
            let index = start.ok_or_else(|| self.error("expected an index, a slice, a name or `*`"))?;
            return Ok(Step::Index(index));
        }
        let end = self.integer()?;
        let step = if self.eat(":") { self.integer()?.unwrap_or(1) } else { 1 };
        if step < 1 {
            return Err(self.error("a slice's step is at least 1"));
        }
        Ok(Step::Slice { start, end, step })
    }

    fn integer(&mut self) -> Result<Option<i64>, SyntaxError> {
        let digits: String = self
            .rest()
            .char_indices()
            .take_while(|(i, c)| c.is_ascii_digit() || (*i == 0 && *c == '-'))
            .map(|(_, c)| c)
            .collect();
        if digits.is_empty() {
            return Ok(None);
        }
        let number = digits.parse().map_err(|_| self.error(format!("`{digits}` is no number")))?;
        self.at += digits.len();
        Ok(Some(number))
    }

    fn filter(&mut self) -> Result<Step, SyntaxError> {
        self.skip_spaces();
        let left = self.operand()?;
        self.skip_spaces();
        const OPERATORS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let operator = OPERATORS.into_iter().find(|(token, _)| self.eat(token));
        let op = match operator {
            None => None,
            Some((_, comparison)) => {
                self.skip_spaces();
                let right = self.operand()?;
                self.skip_spaces();
                Some((comparison, right))
            }
        };
        Ok(Step::Filter { left, op })
    }

    fn operand(&mut self) -> Result<Operand, SyntaxError> {
        match self.peek() {
            Some('"' | '\'') => Ok(Operand::Literal(Value::String(self.quoted()?))),
            Some('@' | '$' | '.') => Ok(Operand::Path(self.path()?)),
            _ => {
                let word: String =
                    self.rest().chars().take_while(|c| c.is_alphanumeric() || "+-.".contains(*c)).collect();
                let literal = serde_json::from_str(&word)
                    .map_err(|_| self.error("expected a path, a number, true, false or a quoted text"))?;
                self.at += word.len();
                Ok(Operand::Literal(literal))
            }
        }
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
