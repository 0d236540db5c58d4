//! Reads JSON into a [`Node`] tree, with the line and column of every key and value.
//!
//! Invariant: accepts exactly RFC 8259, and several values one after the other as several
//! documents, as kubectl does. Nesting and values are bounded, so that no input can exhaust stack or memory.

use super::tree::{DEPTH_MAX, Entry, Node, Position, SyntaxError, VALUES_MAX, Value};
use crate::error::shown;

/// Every document in `text`.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut reader = Reader { text, offset: 0, at: Position { line: 1, column: 1 }, depth: 0, values: 0 };
    let mut documents = Vec::new();
    reader.skip_space();
    while reader.peek().is_some() {
        documents.push(reader.value()?);
        reader.skip_space();
    }
    Ok(documents)
}

/// Whether `at` is where a comment begins, as JavaScript and its kin write them.
pub(crate) fn is_comment(text: &str, at: Position) -> bool {
    let line = text.split('\n').nth(at.line as usize - 1).unwrap_or_default();
    let begin = line.char_indices().nth(at.column as usize - 1).map_or(line.len(), |(begin, _)| begin);
    line[begin..].starts_with("//") || line[begin..].starts_with("/*")
}

struct Reader<'a> {
    text: &'a str,
    offset: usize,
    at: Position,
    depth: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.offset..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.offset += next.len_utf8();
        if next == '\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(next)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.take();
        }
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at, message: message.into() })
    }

    /// An error that names the expected token and the one found.
    fn expected<T>(&self, wanted: &str) -> Result<T, SyntaxError> {
        match self.peek() {
            None => self.error(format!("the file ends where {wanted} was expected")),
            Some('/' | '#') => self.error(format!("expected {wanted}; JSON has no comments")),
            Some('\'') => self.error(format!("expected {wanted}; JSON has double quotes only")),
            Some(found) => self.error(format!("expected {wanted}, got {found:?}")),
        }
    }

    /// Counts a value or a key.
    fn count(&mut self) -> Result<(), SyntaxError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            self.error(format!("more than {VALUES_MAX} values and keys"))
        } else {
            Ok(())
        }
    }

    fn value(&mut self) -> Result<Node, SyntaxError> {
        let (at, begin) = (self.at, self.offset);
        self.count()?;
        let value = match self.peek() {
            Some('{') => self.nested(Self::map)?,
            Some('[') => self.nested(Self::list)?,
            Some('"') => Value::String(self.string()?),
            Some('-' | '0'..='9') => self.number()?,
            Some('a'..='z' | 'A'..='Z') => self.word()?,
            _ => return self.expected("a value"),
        };
        Ok(match value {
            Value::Number(_) => Node::spelt(at, value, &self.text[begin..self.offset]),
            value => Node { at, value, spelt: None },
        })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, SyntaxError>) -> Result<Value, SyntaxError> {
        if self.depth == DEPTH_MAX {
            return self.error(format!("nested deeper than {DEPTH_MAX} levels"));
        }
        self.depth += 1;
        self.take();
        self.skip_space();
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn map(&mut self) -> Result<Value, SyntaxError> {
        let mut entries = Vec::new();
        if self.peek() == Some('}') {
            self.take();
            return Ok(Value::Map(entries));
        }
        loop {
            let at = self.at;
            if self.peek() != Some('"') {
                return self.expected("a key in double quotes");
            }
            self.count()?;
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(':') {
                return self.expected("`:` after a key");
            }
            self.take();
            self.skip_space();
            let node = self.value()?;
            entries.push(Entry { at, key, node });
            if self.ends('}', "`,` or `}` after a value")? {
                return Ok(Value::Map(entries));
            }
        }
    }

    fn list(&mut self) -> Result<Value, SyntaxError> {
        let mut items = Vec::new();
        if self.peek() == Some(']') {
            self.take();
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.ends(']', "`,` or `]` after a value")? {
                return Ok(Value::List(items));
            }
        }
    }

    /// Past a comma (false) or the closing bracket (true).
    fn ends(&mut self, close: char, wanted: &str) -> Result<bool, SyntaxError> {
        self.skip_space();
        match self.peek() {
            Some(found) if found == close => {
                self.take();
                Ok(true)
            }
            Some(',') => {
                let comma = self.at;
                self.take();
                self.skip_space();
                if self.peek() == Some(close) {
                    let message = format!("JSON has no comma before `{close}`; remove it");
                    return Err(SyntaxError { at: comma, message });
                }
                Ok(false)
            }
            _ => self.expected(wanted),
        }
    }

    fn word(&mut self) -> Result<Value, SyntaxError> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let value = match &rest[..end] {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            other => {
                return self
                    .error(format!("expected a value, got `{}`; strings need double quotes", shown(other)));
            }
        };
        for _ in 0..end {
            self.take();
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, SyntaxError> {
        let rest = self.rest();
        let end =
            rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let Ok(number) = serde_json::from_str::<serde_json::Number>(&rest[..end]) else {
            return self.error(format!("`{}` is not a number as JSON writes them", shown(&rest[..end])));
        };
        for _ in 0..end {
            self.take();
        }
        Ok(Value::Number(number))
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        let began = self.at;
        self.take();
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.take() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(at)?),
                Some(control) if control < ' ' => {
                    let message = if control == '\n' {
                        "the string does not end on its line".into()
                    } else {
                        format!("{control:?} must be escaped in a string")
                    };
                    return Err(SyntaxError { at: if control == '\n' { began } else { at }, message });
                }
                Some(other) => text.push(other),
                None => return Err(SyntaxError { at: began, message: "the string does not end".into() }),
            }
        }
    }

    fn escape(&mut self, at: Position) -> Result<char, SyntaxError> {
        let bad = || SyntaxError { at, message: "no escape sequence of JSON".into() };
        Ok(match self.take() {
            Some(plain @ ('"' | '\\' | '/')) => plain,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = self.hex().ok_or_else(bad)?;
                if !(0xD800..0xDC00).contains(&first) {
                    return char::from_u32(first).ok_or_else(bad);
                }
                if self.take() != Some('\\') || self.take() != Some('u') {
                    return Err(bad());
                }
                let second = self.hex().filter(|unit| (0xDC00..0xE000).contains(unit)).ok_or_else(bad)?;
                char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or_else(bad)?
            }
            _ => return Err(bad()),
        })
    }

    fn hex(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit * 16 + self.take()?.to_digit(16)?))
    }
}
