//! The parser: a loop over the text with a stack of its own, at most [`Bounds::depth`] deep.

use serde_json::{Number, Value};

use super::{Bounds, Filter, FilterError, Node, Op, TERMS, Test};
use crate::scim::dialect;
use crate::scim::name::{self, AttrPath};

/// Parses a whole text.
pub(super) fn parse(text: &str, bounds: Bounds) -> Result<Node, FilterError> {
    let mut parser = Parser::new(text, 0, bounds, false)?;
    let (node, at) = parser.run(Opened::Text)?;
    debug_assert_eq!(at, text.len());
    Ok(node)
}

/// Parses what stands in the brackets of a PATCH path. `at` is the offset after `[`; gives the filter and the offset after
/// the `]` that closes it. Values must be quoted here.
pub(crate) fn parse_brackets(
    text: &str,
    at: usize,
    bounds: Bounds,
) -> Result<(Filter, usize), FilterError> {
    let mut parser = Parser::new(text, at, bounds, true)?;
    let (root, at) = parser.run(Opened::Path)?;
    Ok((Filter { root }, at))
}

/// What opened a level, and so what closes it.
enum Opened {
    /// The whole text.
    Text,
    /// The `[` of a PATCH path.
    Path,
    /// `(`
    Group,
    /// `not (`
    Not,
    /// `attr[`
    Brackets(AttrPath),
}

struct Level {
    opened: Opened,
    /// Whether names are sub-attributes here: some level from here up is in brackets.
    bracketed: bool,
    /// What `or` has joined so far.
    ors: Vec<Node>,
    /// What `and` has joined since the last `or`.
    ands: Vec<Node>,
}

impl Level {
    fn close(mut self) -> (Opened, Node) {
        self.ors.push(and(self.ands));
        (self.opened, or(self.ors))
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    terms: usize,
    quoted_only: bool,
}

impl<'a> Parser<'a> {
    fn new(
        text: &'a str,
        at: usize,
        bounds: Bounds,
        quoted_only: bool,
    ) -> Result<Self, FilterError> {
        if text.len() > bounds.length {
            return Err(FilterError {
                at: bounds.length,
                text: format!("longer than {} bytes", bounds.length),
            });
        }
        Ok(Self {
            text,
            at,
            depth: bounds.depth,
            terms: 0,
            quoted_only,
        })
    }

    /// Gives the tree and the offset after what closed it.
    fn run(&mut self, opened: Opened) -> Result<(Node, usize), FilterError> {
        let mut outer: Vec<Level> = Vec::new();
        let mut level = Level {
            bracketed: matches!(opened, Opened::Path),
            opened,
            ors: Vec::new(),
            ands: Vec::new(),
        };
        'operand: loop {
            self.skip_spaces();
            let opens = match self.peek() {
                Some(b'(') => {
                    self.at += 1;
                    Some(Opened::Group)
                }
                _ if self.eat_not() => Some(Opened::Not),
                _ => None,
            };
            let mut node = match opens {
                Some(opened) => {
                    level = self.open(opened, level, &mut outer)?;
                    continue 'operand;
                }
                None => {
                    let path = self.path(level.bracketed)?;
                    if self.peek() == Some(b'[') {
                        self.check_brackets(&path, level.bracketed)?;
                        self.at += 1;
                        level = self.open(Opened::Brackets(path), level, &mut outer)?;
                        continue 'operand;
                    }
                    Node::Term(path, self.test()?)
                }
            };
            // A term or a closed level stands before us: what joins it to the next, or closes this level?
            loop {
                self.skip_spaces();
                let start = self.at;
                match self.peek() {
                    None => {
                        level.ands.push(node);
                        if !matches!(level.opened, Opened::Text) {
                            return Err(self.error(start, "something opened is not closed"));
                        }
                        return Ok((level.close().1, self.at));
                    }
                    Some(b')') if matches!(level.opened, Opened::Group | Opened::Not) => {}
                    Some(b']') if matches!(level.opened, Opened::Path | Opened::Brackets(_)) => {}
                    Some(b')' | b']') => {
                        return Err(self.error(start, "this closes what is not open here"));
                    }
                    Some(_) => {
                        let word = self.word();
                        if word.eq_ignore_ascii_case("and") {
                            level.ands.push(node);
                        } else if word.eq_ignore_ascii_case("or") {
                            level.ands.push(node);
                            let ands = std::mem::take(&mut level.ands);
                            level.ors.push(and(ands));
                        } else {
                            return Err(self.error(start, "\"and\" or \"or\" is wanted here"));
                        }
                        continue 'operand;
                    }
                }
                self.at += 1;
                level.ands.push(node);
                let (opened, inner) = level.close();
                node = match opened {
                    Opened::Text | Opened::Path => return Ok((inner, self.at)),
                    Opened::Group => inner,
                    Opened::Not => Node::Not(Box::new(inner)),
                    Opened::Brackets(attr) => self.element(attr, inner)?,
                };
                level = match outer.pop() {
                    Some(level) => level,
                    None => return Err(self.error(start, "this closes what is not open here")),
                };
            }
        }
    }

    fn open(
        &self,
        opened: Opened,
        level: Level,
        outer: &mut Vec<Level>,
    ) -> Result<Level, FilterError> {
        let bracketed = level.bracketed || matches!(opened, Opened::Brackets(_));
        outer.push(level);
        if outer.len() > self.depth {
            let text = format!("nested deeper than {}", self.depth);
            return Err(self.error(self.at, &text));
        }
        Ok(Level {
            opened,
            bracketed,
            ors: Vec::new(),
            ands: Vec::new(),
        })
    }

    /// `not`, if a parenthesis follows; else it may be an attribute of that name.
    fn eat_not(&mut self) -> bool {
        let start = self.at;
        if self.word().eq_ignore_ascii_case("not") {
            self.skip_spaces();
            if self.peek() == Some(b'(') {
                self.at += 1;
                return true;
            }
        }
        self.at = start;
        false
    }

    fn path(&mut self, bracketed: bool) -> Result<AttrPath, FilterError> {
        let start = self.at;
        let word = self.word();
        if word.is_empty() {
            return Err(self.error(start, "an attribute is wanted here"));
        }
        if bracketed && name::is_urn(word) {
            return Err(self.error(start, "inside [ ] sub-attributes have no URN"));
        }
        AttrPath::parse(word).map_err(|why| {
            let text = format!("\"{}\" is not an attribute: {why}", shown(word));
            self.error(start, &text)
        })
    }

    fn check_brackets(&self, path: &AttrPath, bracketed: bool) -> Result<(), FilterError> {
        if bracketed {
            return Err(self.error(self.at, "[ ] may not stand inside [ ]"));
        }
        if path.sub.is_some() || path.attr.is_empty() {
            return Err(self.error(self.at, "[ ] follows an attribute, not a sub-attribute"));
        }
        Ok(())
    }

    /// What follows `attr[inner]`: nothing, or `.sub` and a test.
    fn element(&mut self, attr: AttrPath, inner: Node) -> Result<Node, FilterError> {
        let inner = Box::new(inner);
        if self.peek() != Some(b'.') {
            return Ok(Node::Element {
                attr,
                inner,
                rest: None,
            });
        }
        self.at += 1;
        let start = self.at;
        let sub = self.word();
        if !name::is_name(sub) {
            return Err(self.error(start, "a sub-attribute is wanted after the dot"));
        }
        let path = AttrPath {
            sub: Some(sub.to_owned()),
            ..attr.clone()
        };
        let test = self.test()?;
        Ok(Node::Element {
            attr,
            inner,
            rest: Some((path, test)),
        })
    }

    /// Operator and value.
    fn test(&mut self) -> Result<Test, FilterError> {
        self.terms += 1;
        if self.terms > TERMS {
            let text = format!("more than {TERMS} comparisons");
            return Err(self.error(self.at, &text));
        }
        self.need_space("an operator is wanted after the attribute")?;
        let start = self.at;
        let word = self.word();
        if word.eq_ignore_ascii_case("pr") {
            return Ok(Test::Present);
        }
        let Some(op) = Op::ALL
            .into_iter()
            .find(|op| word.eq_ignore_ascii_case(op.word()))
        else {
            if word.is_empty() {
                return Err(self.error(start, "an operator is wanted here"));
            }
            let text = format!("\"{}\" is not an operator", shown(word));
            return Err(self.error(start, &text));
        };
        self.need_space("a value is wanted after the operator")?;
        let start = self.at;
        let value = self.value()?;
        // RFC 7644 3.4.2.2: ordering a boolean is an invalidFilter; null has neither order nor parts.
        if matches!(value, Value::Bool(_) | Value::Null) && !matches!(op, Op::Eq | Op::Ne) {
            return Err(self.error(start, "true, false and null go with eq and ne only"));
        }
        Ok(Test::Compare(op, value))
    }

    fn value(&mut self) -> Result<Value, FilterError> {
        let start = self.at;
        if self.peek() == Some(b'"') {
            return self.string();
        }
        let rest = self.text.get(start..).unwrap_or_default();
        let length = rest
            .find([' ', '\t', '(', ')', '[', ']', '"'])
            .unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or_default();
        self.at += length;
        let value = literal(word, self.quoted_only).ok_or_else(|| {
            self.error(
                start,
                "a value is wanted here: \"text\", a number, true, false or null",
            )
        })?;
        self.need_end()?;
        Ok(value)
    }

    fn string(&mut self) -> Result<Value, FilterError> {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let mut escaped = false;
        let end = rest.bytes().enumerate().skip(1).find(|&(_, byte)| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        });
        let Some((end, _)) = end else {
            return Err(self.error(start, "the quotation mark is not closed"));
        };
        let quoted = rest.get(..=end).unwrap_or_default();
        let Ok(text) = serde_json::from_str::<String>(quoted) else {
            return Err(self.error(start, "the value is not a JSON string"));
        };
        self.at += quoted.len();
        self.need_end()?;
        Ok(Value::String(text))
    }

    /// After a value: a space, what closes a level, or the end.
    fn need_end(&self) -> Result<(), FilterError> {
        match self.peek() {
            None | Some(b' ' | b'\t' | b')' | b']') => Ok(()),
            Some(_) => Err(self.error(self.at, "a space is wanted after the value")),
        }
    }

    fn need_space(&mut self, text: &str) -> Result<(), FilterError> {
        let start = self.at;
        self.skip_spaces();
        if self.at == start {
            return Err(self.error(start, text));
        }
        Ok(())
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// All up to a space, a bracket or a quotation mark.
    fn word(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest
            .find([' ', '\t', '(', ')', '[', ']', '"'])
            .unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn error(&self, at: usize, text: &str) -> FilterError {
        FilterError {
            at,
            text: text.to_owned(),
        }
    }
}

/// A value without quotation marks.
fn literal(word: &str, quoted_only: bool) -> Option<Value> {
    for (literal, value) in [
        ("true", Value::Bool(true)),
        ("false", Value::Bool(false)),
        ("null", Value::Null),
    ] {
        if word == literal || (!quoted_only && word.eq_ignore_ascii_case(literal)) {
            return Some(value);
        }
        // A literal cut off is a mistake, not a name.
        if word.len() >= 3 && literal.starts_with(word) {
            return None;
        }
    }
    if let Some(number) = number(word) {
        return Some(Value::Number(number));
    }
    if quoted_only {
        return None;
    }
    dialect::is_bare_value(word).then(|| Value::String(word.to_owned()))
}

/// A number by JSON's grammar (RFC 8259 6).
fn number(word: &str) -> Option<Number> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    serde_json::from_str(word).ok()
}

fn and(nodes: Vec<Node>) -> Node {
    join(nodes, true)
}

fn or(nodes: Vec<Node>) -> Node {
    join(nodes, false)
}

/// One node stands for itself; a node of the same kind gives its parts.
fn join(mut nodes: Vec<Node>, conjunction: bool) -> Node {
    if nodes.len() == 1
        && let Some(node) = nodes.pop()
    {
        return node;
    }
    let mut flat = Vec::with_capacity(nodes.len());
    for node in nodes {
        match (node, conjunction) {
            (Node::And(inner), true) | (Node::Or(inner), false) => flat.extend(inner),
            (other, _) => flat.push(other),
        }
    }
    if conjunction {
        Node::And(flat)
    } else {
        Node::Or(flat)
    }
}

/// A word of the filter for an error: short and printable.
fn shown(word: &str) -> String {
    word.chars()
        .take(40)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
