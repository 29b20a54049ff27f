//! The bodies of the fuzz targets: what must hold for any bytes whatever.
//!
//! They panic where a promise is broken, which is their whole purpose; nothing else calls them.
#![allow(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise must stop the fuzzer"
)]

mod bulk;
mod cursor;
mod json;
mod projection;
mod request;

use serde_json::{Map, Value, json as value};

use super::filter::{Bounds, Filter};
use super::json::{Bounds as Limits, read};
use super::name::AttrPath;
use super::patch::{Operation, apply};
use super::path::Path;
use super::schema::normalise;
use super::{Kind, name};

pub use bulk::bulk;
pub use cursor::cursor;
pub use json::json;
pub use projection::projection;
pub use request::request;
pub(crate) use request::{fields, refused};

/// Canonical text may be longer than what it was made from.
const WIDE: Bounds = Bounds {
    length: 1 << 16,
    depth: 16,
};

/// `parse(print(x)) == x`, and matching never fails.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Filter::parse(text, Bounds::default()) {
        Ok(filter) => {
            let again = match Filter::parse(&filter.to_string(), WIDE) {
                Ok(again) => again,
                Err(error) => panic!("{filter}: {error}"),
            };
            assert_eq!(again, filter);
            for (kind, resource) in [(Kind::User, user()), (Kind::Group, group())] {
                let meant = filter.matches(kind, &resource);
                assert_eq!(again.matches(kind, &resource), meant);
            }
        }
        Err(error) => assert!(error.at <= text.len()),
    }
}

/// `parse(print(x)) == x`, for what a PATCH names and for what a projection or `sortBy` names.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(path) = Path::parse(text, Bounds::default()) {
        assert_eq!(Path::parse(&path.to_string(), WIDE).as_ref(), Ok(&path));
    }
    if let Ok(path) = AttrPath::parse(text) {
        assert_eq!(AttrPath::parse(&path.to_string()).as_ref(), Ok(&path));
        assert!(path.same(&path) && path.without_sub().sub.is_none());
    }
}

/// A PATCH gives canonical attributes or a fault, and twice the same.
pub fn patch(data: &[u8]) {
    let Ok(body) = read(data, Limits::default()) else {
        return;
    };
    for (kind, before) in [(Kind::User, user()), (Kind::Group, group())] {
        let Ok(operations) = Operation::read(kind, &body, 1_000, Bounds::default()) else {
            continue;
        };
        let untouched = before.clone();
        let first = apply(kind, &before, &operations);
        assert_eq!(before, untouched);
        assert_eq!(first, apply(kind, &before, &operations));
        if let Ok(applied) = first {
            assert_eq!(
                normalise(kind, applied.attributes.clone()).as_ref(),
                Ok(&applied.attributes)
            );
            let members = &applied.members;
            assert!(!members.add.iter().any(|id| members.remove.contains(id)));
            assert!(!holds_password(&Value::Object(applied.attributes)));
        }
    }
}

/// Whether a password stands anywhere in it.
fn holds_password(value: &Value) -> bool {
    match value {
        Value::Object(object) => object
            .iter()
            .any(|(key, value)| name::same(key, "password") || holds_password(value)),
        Value::Array(values) => values.iter().any(holds_password),
        _ => false,
    }
}

fn user() -> Map<String, Value> {
    canonical(
        Kind::User,
        value!({
            "userName": "a@example.com", "title": "T", "active": true, "name": {"givenName": "G", "familyName": "F"},
            "emails": [{"type": "work", "value": "a@example.com", "primary": true}, {"type": "home", "value": "b"}],
            "own": {"a": [1, "x"]}, "tags": ["x", 1],
            (name::ENTERPRISE): {"department": "D", "manager": {"value": "m"}},
            "urn:x:1.0:User": {"a": 1}
        }),
    )
}

fn group() -> Map<String, Value> {
    canonical(Kind::Group, value!({"displayName": "G", "externalId": "e"}))
}

fn canonical(kind: Kind, body: Value) -> Map<String, Value> {
    let Value::Object(body) = body else {
        return Map::new();
    };
    match normalise(kind, body) {
        Ok(attributes) => attributes,
        Err(fault) => panic!("{fault}"),
    }
}

#[cfg(test)]
mod tests;
