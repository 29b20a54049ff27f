//! Filters (RFC 7644 3.4.2.2).

use serde_json::{Map, Value};

use crate::scim::Kind;

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    attribute: String,
    equal: bool,
    value: Value,
}

/// Bounds on the input.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes.
    pub length: usize,
    /// Nesting.
    pub depth: usize,
}

/// Why a filter does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// Byte offset in the text.
    pub at: usize,
    /// A sentence.
    pub text: String,
}

impl Filter {
    /// Parses.
    ///
    /// # Errors
    /// Says where and why.
    pub fn parse(text: &str, _bounds: Bounds) -> Result<Self, FilterError> {
        let wrong = || FilterError {
            at: 0,
            text: String::from("expected an attribute, eq or ne, and a value"),
        };
        let mut words = text.splitn(3, ' ');
        let (Some(attribute), Some(operator @ ("eq" | "ne")), Some(value)) =
            (words.next(), words.next(), words.next())
        else {
            return Err(wrong());
        };
        Ok(Self {
            attribute: attribute.to_owned(),
            equal: operator == "eq",
            value: serde_json::from_str(value).map_err(|_| wrong())?,
        })
    }

    /// Whether the resource fits.
    #[must_use]
    pub fn matches(&self, _kind: Kind, resource: &Map<String, Value>) -> bool {
        let is = resource.get(&self.attribute).unwrap_or(&Value::Null);
        (is == &self.value) == self.equal
    }
}
