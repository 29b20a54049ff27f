//! From what a client sent to what the directory keeps: names in the schema's spelling, booleans as booleans, arrays as
//! arrays. What the schema does not know stays as it was sent.

use serde_json::{Map, Value};

use super::{Attribute, ENTERPRISE_USER, Mutability, Type, core};
use crate::error::Fault;
use crate::scim::Kind;
use crate::scim::dialect;
use crate::scim::name::{self, ENTERPRISE};

/// Values of one multi-valued attribute, but for a group's members: every filter and every PATCH operation walks them.
pub(crate) const VALUES: usize = 1_000;

/// Brings a body to the schema.
///
/// Dropped: `null` (fact 13), `id`, `meta` and a user's `groups` (facts 59, 145), `password` wherever it stands, complex
/// values that hold nothing. A group's `members`
/// stay for the caller to take out. `schemas` is made anew: the core URN, the enterprise URN if its object is there or the
/// client listed it (JumpCloud lists it without the object), then every other extension whose object is there.
///
/// # Errors
/// [`Fault::InvalidSyntax`] for one attribute in two spellings, [`Fault::InvalidValue`] for a value of the wrong type;
/// both name the attribute, never a value.
pub fn normalise(kind: Kind, body: Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    let mut kept = Map::new();
    let mut seen = Spellings::default();
    let mut listed = false;
    for (key, value) in body {
        if name::same(&key, kind.schema()) {
            // The core attributes inside an object of their own URN.
            match value {
                Value::Null => {}
                Value::Object(inner) => {
                    for (key, value) in inner {
                        seen.note(&key, "")?;
                        keep(&mut kept, kind, key, value)?;
                    }
                }
                _ => return Err(wrong(kind.schema(), "an object")),
            }
            continue;
        }
        // Two names of the enterprise extension are two spellings of it.
        let alias = kind == Kind::User && dialect::is_enterprise(&key);
        seen.note(if alias { ENTERPRISE } else { &key }, "")?;
        if name::same(&key, "schemas") {
            listed = lists_enterprise(kind, &value)?;
        } else {
            keep(&mut kept, kind, key, value)?;
        }
    }
    let schemas = schemas(kind, &kept, listed);
    kept.insert("schemas".into(), schemas);
    Ok(kept)
}

/// The one attribute that a client must give (RFC 7643 4.1.1, 4.2).
pub(crate) fn required(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "userName",
        Kind::Group => "displayName",
    }
}

/// Checks that a user has a userName and a group a displayName.
///
/// # Errors
/// [`Fault::InvalidValue`] naming what is missing.
pub fn check_required(kind: Kind, attributes: &Map<String, Value>) -> Result<(), Fault> {
    let key = required(kind);
    match attributes.get(key).and_then(Value::as_str) {
        Some(text) if !text.trim().is_empty() => Ok(()),
        _ => Err(Fault::InvalidValue(format!(
            "{key} is required on a {} and may not be empty.",
            kind.name()
        ))),
    }
}

/// Whether this is the one attribute that never leaves memory, on whichever resource, with whichever URN before it and in
/// whichever part of a dotted key.
pub(crate) fn is_password(key: &str) -> bool {
    let last = key.rsplit(':').next().unwrap_or(key);
    last.split('.').any(|part| name::same(part, "password"))
}

/// Takes passwords out of what no schema knows, however deep they lie.
fn without_passwords(mut value: Value) -> Value {
    fn scrub(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.retain(|key, _| !is_password(key));
                object.values_mut().for_each(scrub);
            }
            Value::Array(values) => values.iter_mut().for_each(scrub),
            _ => {}
        }
    }
    scrub(&mut value);
    value
}

/// RFC 7643 2.3.6: base64 by RFC 4648 4, with or without its padding. Line breaks, which certificates come with, are taken.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches(['\r', '\n']).trim_end_matches('=');
    let padding = text.bytes().filter(|byte| *byte == b'=').count();
    let mut digits = 0_usize;
    for byte in body.bytes() {
        match byte {
            b'\r' | b'\n' => {}
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => digits += 1,
            _ => return false,
        }
    }
    match padding {
        0 => digits % 4 != 1,
        _ => padding < 3 && (digits + padding).is_multiple_of(4),
    }
}

/// Brings one value to its attribute's type. `Ok(None)`: nothing is left of it. `label` is what an error calls it.
pub(crate) fn coerce(
    attribute: &Attribute,
    value: Value,
    label: &str,
) -> Result<Option<Value>, Fault> {
    if value.is_null() {
        return Ok(None);
    }
    if !attribute.multi {
        return single(attribute, value, label);
    }
    let values = dialect::values(value);
    if values.len() > VALUES && attribute.name != "members" {
        return Err(too_many(label));
    }
    let mut kept = Vec::with_capacity(values.len());
    for value in values {
        if let Some(value) = single(attribute, value, label)? {
            kept.push(value);
        }
    }
    Ok(Some(Value::Array(kept)))
}

/// One value of an attribute: an element, if it is multi-valued.
pub(crate) fn single(
    attribute: &Attribute,
    value: Value,
    label: &str,
) -> Result<Option<Value>, Fault> {
    let fits = match attribute.kind {
        _ if value.is_null() => return Ok(None),
        Type::Complex => return complex(attribute, value, label),
        Type::Boolean => {
            return match dialect::boolean(&value) {
                Some(value) => Ok(Some(Value::Bool(value))),
                None => Err(wrong(label, "true or false")),
            };
        }
        Type::String | Type::DateTime | Type::Reference => value.is_string(),
        Type::Binary => value.as_str().is_some_and(is_base64),
        Type::Integer => value.is_i64() || value.is_u64(),
        Type::Decimal => value.is_number(),
    };
    if fits {
        return Ok(Some(value));
    }
    let wanted = match attribute.kind {
        Type::Integer => "a whole number",
        Type::Decimal => "a number",
        Type::Binary => "a base64 text (RFC 7643 2.3.6)",
        _ => "a string",
    };
    Err(wrong(label, wanted))
}

/// `schemas` for these attributes.
pub(crate) fn schemas(kind: Kind, attributes: &Map<String, Value>, listed: bool) -> Value {
    let mut urns = vec![Value::from(kind.schema())];
    if kind == Kind::User && (listed || attributes.contains_key(ENTERPRISE)) {
        urns.push(ENTERPRISE.into());
    }
    for (key, value) in attributes {
        if name::is_urn(key) && value.is_object() && key != ENTERPRISE {
            urns.push(key.as_str().into());
        }
    }
    Value::Array(urns)
}

fn lists_enterprise(kind: Kind, value: &Value) -> Result<bool, Fault> {
    let is = |value: &Value| {
        value
            .as_str()
            .is_some_and(|urn| kind == Kind::User && dialect::is_enterprise(urn))
    };
    match value {
        Value::Array(urns) if urns.iter().all(Value::is_string) => Ok(urns.iter().any(is)),
        Value::String(_) => Ok(is(value)),
        Value::Null => Ok(false),
        _ => Err(wrong("schemas", "an array of strings")),
    }
}

/// Keeps one top-level entry.
fn keep(kept: &mut Map<String, Value>, kind: Kind, key: String, value: Value) -> Result<(), Fault> {
    if value.is_null() || is_password(&key) {
        return Ok(());
    }
    if kind == Kind::User && dialect::is_enterprise(&key) {
        if let Some(extension) = enterprise(value)? {
            kept.insert(ENTERPRISE.to_owned(), extension);
        }
        return Ok(());
    }
    let Some(attribute) = core(kind, &key) else {
        kept.insert(key, without_passwords(value));
        return Ok(());
    };
    if attribute.mutability == Mutability::ReadOnly {
        return Ok(());
    }
    if let Some(value) = coerce(attribute, value, attribute.name)? {
        kept.insert(attribute.name.to_owned(), value);
    }
    Ok(())
}

fn enterprise(value: Value) -> Result<Option<Value>, Fault> {
    let Value::Object(body) = value else {
        return Err(wrong(ENTERPRISE, "an object"));
    };
    let mut kept = Map::new();
    let mut seen = Spellings::default();
    for (key, value) in body {
        seen.note(&key, "")?;
        if value.is_null() {
            continue;
        }
        match ENTERPRISE_USER.attribute(&key) {
            None if is_password(&key) => {}
            None => {
                kept.insert(key, without_passwords(value));
            }
            Some(attribute) => {
                if let Some(value) = coerce(attribute, value, attribute.name)? {
                    kept.insert(attribute.name.to_owned(), value);
                }
            }
        }
    }
    Ok((!kept.is_empty()).then_some(Value::Object(kept)))
}

fn complex(attribute: &Attribute, value: Value, label: &str) -> Result<Option<Value>, Fault> {
    let body = match value {
        Value::Object(body) => body,
        Value::String(id) => {
            dialect::bare_id(attribute.name, id).ok_or_else(|| wrong(label, "an object"))?
        }
        _ => return Err(wrong(label, "an object")),
    };
    let mut kept = Map::new();
    let mut seen = Spellings::default();
    for (key, value) in body {
        seen.note(&key, label)?;
        if value.is_null() {
            continue;
        }
        match attribute.sub(&key) {
            None if is_password(&key) => {}
            None => {
                kept.insert(key, without_passwords(value));
            }
            Some(sub) => {
                if let Some(value) = coerce(sub, value, &format!("{label}.{}", sub.name))? {
                    kept.insert(sub.name.to_owned(), value);
                }
            }
        }
    }
    Ok((!kept.is_empty()).then_some(Value::Object(kept)))
}

/// The names of one object, to see one given twice in two spellings.
#[derive(Default)]
struct Spellings(std::collections::HashSet<String>);

impl Spellings {
    fn note(&mut self, key: &str, within: &str) -> Result<(), Fault> {
        if self.0.insert(key.to_ascii_lowercase()) {
            return Ok(());
        }
        let key: String = key.escape_debug().take(80).collect();
        let place = if within.is_empty() {
            String::new()
        } else {
            format!(" in {within}")
        };
        Err(Fault::InvalidSyntax(format!(
            "The attribute {key} is given twice{place}, in two spellings; names do not differ by case (RFC 7643 2.1)."
        )))
    }
}

pub(crate) fn too_many(label: &str) -> Fault {
    Fault::InvalidValue(format!("{label} may hold at most {VALUES} values."))
}

fn wrong(label: &str, wanted: &str) -> Fault {
    Fault::InvalidValue(format!("{label} must be {wanted}."))
}

#[cfg(test)]
mod tests;
