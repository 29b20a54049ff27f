//! How identity providers bend SCIM: every way of theirs that changes what a request means.
//!
//! No provider is told apart by its User-Agent: what one sends is taken from all. What can stand alone is a function here,
//! used where bodies, paths and queries are read. What lives in the shape of the code that applies a PATCH stays there and
//! names the case. [`cases`] lists them all as requests and what these must come to; `fact` numbers count what was found
//! out about identity providers, and `tests/it/facts.rs` says of each which case or test shows it.

mod cases;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::name::{self, ENTERPRISE};
use super::patch::Op;

#[doc(hidden)]
pub use cases::{Case, Comes, Delta, Given, cases};

/// The names that the enterprise extension goes by: its own; Entra's documentation without the last colon (fact 13);
/// OneLogin's template, from before the RFC (fact 78); SCIM 1.1's.
const ENTERPRISE_NAMES: [&str; 4] = [
    ENTERPRISE,
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0User",
    "urn:scim:schemas:extension:enterprise:2.0",
    "urn:scim:schemas:extension:enterprise:1.0",
];

/// Whether a URN means the enterprise extension (facts 13, 78).
pub(crate) fn is_enterprise(urn: &str) -> bool {
    ENTERPRISE_NAMES.iter().any(|known| name::same(known, urn))
}

/// A boolean as Entra (`"False"`, fact 18), Keycloak (`"true"`, fact 106) and miniOrange (`1`, fact 148) write it.
pub(crate) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => truth(text),
        Value::Number(number) if number.as_u64() == Some(1) => Some(true),
        Value::Number(number) if number.as_u64() == Some(0) => Some(false),
        _ => None,
    }
}

/// A boolean as a text. Entra compares with one as well: `roles[primary eq "True"]` (fact 23).
pub(crate) fn truth(text: &str) -> Option<bool> {
    [("true", true), ("false", false)]
        .into_iter()
        .find(|(word, _)| text.eq_ignore_ascii_case(word))
        .map(|(_, truth)| truth)
}

/// Entra writes `Add`, `Replace`, `Remove` (facts 17, 131).
pub(crate) fn op(word: &str) -> Option<Op> {
    [
        ("add", Op::Add),
        ("replace", Op::Replace),
        ("remove", Op::Remove),
    ]
    .into_iter()
    .find(|(name, _)| word.eq_ignore_ascii_case(name))
    .map(|(_, op)| op)
}

/// The values of a multi-valued attribute. OneLogin sends `emails` as one object (fact 79).
pub(crate) fn values(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        one => vec![one],
    }
}

/// The value of a single-valued attribute: `["false"]` is `"false"` (Oracle, fact 124; SCIM-SDK, fact 109), `[]` nothing.
/// Two values stay an array, which then fits nothing single.
pub(crate) fn unwrap_one(value: Value) -> Value {
    match value {
        Value::Array(mut values) if values.len() < 2 => values.pop().unwrap_or(Value::Null),
        other => other,
    }
}

/// A bare id where an object with a `value` belongs: Entra's manager (facts 14, 21), some clients' members.
pub(crate) fn bare_id(attribute: &str, id: String) -> Option<Map<String, Value>> {
    matches!(attribute, "manager" | "members")
        .then(|| Map::from_iter([("value".to_owned(), Value::String(id))]))
}

/// Entra clears a manager by `""` or `{"value": ""}` (fact 22).
pub(crate) fn clears_manager(sub: Option<&str>, value: &Value) -> bool {
    match value {
        Value::String(id) => id.is_empty(),
        Value::Object(manager) if sub.is_none() => match name::get(manager, "value") {
            Some(Value::String(id)) => id.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        },
        _ => false,
    }
}

/// Whether a filter's word may be a value that lacks its quotation marks: `externalId eq jyoung` (Entra's documentation,
/// fact 6), `userName eq avery` (old authentik,
/// fact 91).
pub(crate) fn is_bare_value(word: &str) -> bool {
    word.starts_with(char::is_alphanumeric)
        && !word.ends_with('.')
        && word
            .chars()
            .all(|c| c.is_alphanumeric() || "@._-+:/=%~#".contains(c))
}

/// The parts of a query as they were meant: a plus for a space (Entra, fact 3), no part for OneLogin's trailing `&` and
/// bare `?` (fact 77). `Err`: the part that is not UTF-8.
pub(crate) fn query_parts(query: &str) -> impl Iterator<Item = Result<(&str, String), &str>> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.replace('+', " ");
            match percent_decode_str(&value).decode_utf8() {
                Ok(text) => Ok((name, text.into_owned())),
                Err(_) => Err(name),
            }
        })
}

#[cfg(test)]
mod tests;
