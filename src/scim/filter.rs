//! Filters (RFC 7644 3.4.2.2): parsed once, printed canonically, evaluated over a resource's canonical attributes.
//!
//! Parsing never recurses on its input. The tree that it makes is never deeper than a small multiple of
//! [`Bounds::depth`], so that dropping, cloning, printing and evaluating it may.
//!
//! `not` binds tighter than `and`, `and` tighter than `or`. An absent attribute is null, so `ne` a value is then true.

mod eval;
mod parse;
mod plan;

use std::fmt;

use serde_json::Value;

use super::name::AttrPath;
use crate::config::shape::Limits;

pub(crate) use parse::parse_brackets;
pub(crate) use plan::{Access, Plan, known};

/// Comparisons and presence tests in one filter.
pub const TERMS: usize = 64;

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    root: Node,
}

/// Bounds on the input.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes.
    pub length: usize,
    /// Nesting.
    pub depth: usize,
}

impl Bounds {
    /// Those that the configuration asks for.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        Self {
            length: limits.filter_length,
            depth: limits.filter_depth,
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            length: 4096,
            depth: 16,
        }
    }
}

/// Why a filter does not parse. Safe to show: it may quote an operator or an attribute, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// Byte offset in the text.
    pub at: usize,
    /// A sentence.
    pub text: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.text, self.at)
    }
}

impl std::error::Error for FilterError {}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Ge,
    Lt,
    Le,
}

/// What is asked of an attribute.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Present,
    Compare(Op, Value),
}

/// `And` and `Or` hold two or more and never one of their own kind, so that equal meanings print alike.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Term(AttrPath, Test),
    /// `attr[inner]`: some value of a multi-valued attribute satisfies all of it. With `rest`, `attr[inner].sub eq "x"`
    /// (Entra), that same value does so as well; the path there is `attr.sub`.
    Element {
        attr: AttrPath,
        inner: Box<Self>,
        rest: Option<(AttrPath, Test)>,
    },
}

impl Filter {
    /// Parses.
    ///
    /// # Errors
    /// Says where and why.
    pub fn parse(text: &str, bounds: Bounds) -> Result<Self, FilterError> {
        parse::parse(text, bounds).map(|root| Self { root })
    }

    /// The comparisons, if the filter is one `eq` or an `and` of `eq`s only. `eq null` asks for absence: `None`.
    pub(crate) fn conjunction(&self) -> Option<Vec<(&AttrPath, &Value)>> {
        let terms = match &self.root {
            Node::And(terms) => terms.as_slice(),
            one => std::slice::from_ref(one),
        };
        terms
            .iter()
            .map(|term| match term {
                Node::Term(path, Test::Compare(Op::Eq, value)) if !value.is_null() => {
                    Some((path, value))
                }
                _ => None,
            })
            .collect()
    }

    /// The comparisons, if the filter is one `eq` or an `or` of `eq`s only.
    pub(crate) fn disjunction(&self) -> Option<Vec<(&AttrPath, &Value)>> {
        let terms = match &self.root {
            Node::Or(terms) => terms.as_slice(),
            one => std::slice::from_ref(one),
        };
        terms
            .iter()
            .map(|term| match term {
                Node::Term(path, Test::Compare(Op::Eq, value)) => Some((path, value)),
                _ => None,
            })
            .collect()
    }
}

impl Filter {
    /// The attributes that it looks at, as they were written, without URNs and never with a value.
    #[must_use]
    pub fn attributes(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.root.attributes("", &mut found);
        found
    }
}

impl Filter {
    /// Whether it may look at this attribute of a resource's first level. It names an extension's attributes without their
    /// URN, so that any of them may be meant.
    #[must_use]
    pub fn reads(&self, attribute: &str) -> bool {
        let is = |name: &String| {
            let first = name.split('.').next().unwrap_or_default();
            first.eq_ignore_ascii_case(attribute)
        };
        attribute.contains(':') || self.attributes().iter().any(is)
    }
}

impl Filter {
    /// How many comparisons it makes of one resource, or of one value.
    #[must_use]
    pub fn terms(&self) -> usize {
        self.root.terms()
    }
}

impl Node {
    fn terms(&self) -> usize {
        match self {
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().map(Self::terms).sum(),
            Self::Not(inner) => inner.terms(),
            Self::Term(..) => 1,
            Self::Element { inner, rest, .. } => inner.terms() + usize::from(rest.is_some()),
        }
    }

    /// `within`: the attribute and its dot, inside of brackets. As deep as the tree, which parsing bounds.
    fn attributes(&self, within: &str, found: &mut Vec<String>) {
        let name = |path: &AttrPath| match &path.sub {
            Some(sub) => format!("{within}{}.{sub}", path.attr),
            None => format!("{within}{}", path.attr),
        };
        match self {
            Self::And(nodes) | Self::Or(nodes) => {
                for node in nodes {
                    node.attributes(within, found);
                }
            }
            Self::Not(inner) => inner.attributes(within, found),
            Self::Term(path, _) => found.push(name(path)),
            Self::Element { attr, inner, rest } => {
                inner.attributes(&format!("{}.", name(attr)), found);
                found.extend(rest.as_ref().map(|(path, _)| name(path)));
            }
        }
    }
}

/// Canonical text: operators in lower case, parentheses only where the meaning needs them.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(nodes) => {
                for (at, node) in nodes.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { " or " })?;
                    node.fmt(f)?;
                }
                Ok(())
            }
            Self::And(nodes) => {
                for (at, node) in nodes.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { " and " })?;
                    match node {
                        Self::Or(_) => write!(f, "({node})")?,
                        _ => node.fmt(f)?,
                    }
                }
                Ok(())
            }
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::Term(path, test) => write!(f, "{path} {test}"),
            Self::Element { attr, inner, rest } => {
                write!(f, "{attr}[{inner}]")?;
                match rest {
                    Some((path, test)) => {
                        write!(f, ".{} {test}", path.sub.as_deref().unwrap_or_default())
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("pr"),
            Self::Compare(op, value) => write!(f, "{} {value}", op.word()),
        }
    }
}

impl Op {
    const ALL: [Self; 9] = [
        Self::Eq,
        Self::Ne,
        Self::Co,
        Self::Sw,
        Self::Ew,
        Self::Gt,
        Self::Ge,
        Self::Lt,
        Self::Le,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Co => "co",
            Self::Sw => "sw",
            Self::Ew => "ew",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Lt => "lt",
            Self::Le => "le",
        }
    }
}

#[cfg(test)]
mod tests;
