//! A template's text, compiled.
//!
//! Invariant: what is no template is refused with the place where it stops being one.

use std::fmt;

use serde_json::Value;

use super::evaluate::{Comparison, Node, Operand, Path, Step};

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    message: String,
    /// Byte offset in the template.
    at: usize,
}

impl SyntaxError {
    /// The same of a template whose first `count` bytes were put in front of it.
    pub(super) fn without(self, count: usize) -> Self {
        Self { at: self.at.saturating_sub(count), ..self }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jsonpath, character {}: {}", self.at + 1, self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// The nodes of a whole template.
pub(super) fn nodes(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut parser = Parser { text, at: 0 };
    let (nodes, ended_by_end) = parser.nodes()?;
    if ended_by_end {
        return Err(parser.error("`{end}` without `{range}`"));
    }
    Ok(nodes)
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
