//! PATCH (RFC 7644 3.5.2), as identity providers send it.
//!
//! All operations work on a copy: the result is a new set of attributes, or a fault and nothing. A group's members are not
//! among its attributes; what happens to them comes out as a [`MemberDelta`].
//!
//! A PATCH changes no attribute that it does not name. "Remove with a value" removes that value, never all.

mod edit;
mod members;
mod read;

use serde_json::{Map, Value};

use super::Kind;
use super::dialect::{self, unwrap_one};
use super::filter::Bounds;
use super::name::{self, AttrPath, ENTERPRISE};
use super::path::Path;
use super::schema::{self, Mutability, check_required, normalise};
use crate::error::Fault;
use edit::{Target, edit};
use members::Members;

pub use members::MemberDelta;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the RFC's word")]
pub enum Op {
    Add,
    Replace,
    Remove,
}

/// One operation of a PATCH.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What it does.
    pub op: Op,
    /// Where; `None`: to each attribute that the value names.
    pub path: Option<Path>,
    /// With what. `null` takes away.
    pub value: Option<Value>,
}

/// What a PATCH makes of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The new attributes, canonical, without members.
    pub attributes: Map<String, Value>,
    /// What happens to a group's members.
    pub members: MemberDelta,
}

impl Operation {
    /// Decodes a PatchOp body: keys and `op` in any case, `schemas` not needed, no operations allowed. For a group also
    /// the member delta of SCIM 1.1, `{"members": [{"value": "..", "operation": "delete"}]}`, that OneLogin's "Core v1.1"
    /// connector still sends.
    ///
    /// # Errors
    /// [`Fault::InvalidSyntax`] for a body of another shape, an unknown `op`, more than `max_ops` operations (a delta is as long as
    /// a body may be);
    /// [`Fault::InvalidPath`] for a path that does not parse or is over `bounds`; [`Fault::InvalidValue`] for a missing value.
    pub fn read(
        kind: Kind,
        body: &Value,
        max_ops: usize,
        bounds: Bounds,
    ) -> Result<Vec<Self>, Fault> {
        read::read(kind, body, max_ops, bounds)
    }
}

/// Applies operations in their order to a resource's canonical attributes.
///
/// # Errors
/// [`Fault::NoTarget`], [`Fault::InvalidPath`], [`Fault::InvalidFilter`], [`Fault::InvalidValue`],
/// [`Fault::InvalidSyntax`] or [`Fault::Mutability`]: the first operation that cannot be done undoes all. Also
/// [`Fault::Mutability`] when what a resource must have would be gone, [`Fault::InvalidValue`] when it would be empty.
pub fn apply(
    kind: Kind,
    attributes: &Map<String, Value>,
    operations: &[Operation],
) -> Result<Applied, Fault> {
    let mut draft = Draft {
        kind,
        attributes: attributes.clone(),
        members: Members::default(),
        compared: 0,
    };
    for operation in operations {
        let value = operation.value.clone();
        match &operation.path {
            Some(path) => draft.at(operation.op, path, value)?,
            None => draft.each(operation.op, value)?,
        }
    }
    if attributes.contains_key(ENTERPRISE) && !draft.attributes.contains_key(ENTERPRISE) {
        // What is gone is not listed; what the client listed and never sent stays listed.
        draft.attributes.remove("schemas");
    }
    let after = normalise(kind, draft.attributes)?;
    if check_required(kind, attributes).is_ok() {
        let key = schema::required(kind);
        if !after.contains_key(key) {
            return Err(Fault::Mutability(format!(
                "{key} is required on a {} and cannot be removed (RFC 7644 3.5.2.2).",
                kind.name()
            )));
        }
        check_required(kind, &after)?;
    }
    Ok(Applied {
        attributes: after,
        members: draft.members.delta(),
    })
}

/// The copy that operations work on.
struct Draft {
    kind: Kind,
    attributes: Map<String, Value>,
    members: Members,
    /// How many values were compared with how many terms of filters so far.
    compared: usize,
}

/// How many comparisons all value filters of one PATCH together may take: a thousand operations with long filters over
/// long lists would hold a thread for many seconds.
const COMPARISONS: usize = 1_000_000;

impl Draft {
    /// An operation with a path.
    fn at(&mut self, op: Op, path: &Path, value: Option<Value>) -> Result<(), Fault> {
        let attr = &path.attr;
        if attr.attr.is_empty() {
            let urn = attr.urn.as_deref().unwrap_or_default();
            if !name::same(urn, self.kind.schema()) {
                return self.extension(op, urn, value);
            }
            return self.each(op, value);
        }
        if let Some(key) = self.whole_extension(path) {
            return self.extension(op, &key, value);
        }
        if self.is_members(attr) {
            return self
                .members
                .apply(op, path.filter.as_ref(), path.sub.as_deref(), value);
        }
        if self.is_ignored(attr) {
            return Ok(());
        }
        if self.is_read_only(attr) {
            return Err(Fault::Mutability(format!(
                "{attr} is read-only: the gateway gives it."
            )));
        }
        self.set(op, path, value)
    }

    /// An operation without a path: to each attribute that its value names.
    fn each(&mut self, op: Op, value: Option<Value>) -> Result<(), Fault> {
        if op == Op::Remove {
            return Err(Fault::NoTarget(
                "A remove without a path names nothing to remove (RFC 7644 3.5.2.2).".into(),
            ));
        }
        let Some(Value::Object(values)) = value.map(unwrap_one) else {
            return Err(Fault::InvalidValue(
                "An operation without a path needs an object as its value.".into(),
            ));
        };
        for (key, value) in values {
            self.entry(op, key, value)?;
        }
        Ok(())
    }

    /// One entry of a value that came without a path. Its key may be an attribute, a path (Entra: `name.givenName`,
    /// `urn:...:User:employeeNumber`, facts 33 and 137) or an extension's URN.
    fn entry(&mut self, op: Op, key: String, value: Value) -> Result<(), Fault> {
        let whole = value.is_object() || value.is_null();
        if whole && self.kind == Kind::User && dialect::is_enterprise(&key) {
            return self.extension(op, ENTERPRISE, Some(value));
        }
        let path = Path::parse(&key, Bounds::default()).ok();
        if name::is_urn(&key) && whole {
            let known = path.as_ref().is_some_and(|path| {
                let urn = path.attr.urn.as_deref().unwrap_or_default();
                let schemas = schema::schemas(self.kind);
                schemas.iter().any(|schema| name::same(schema.urn, urn))
            });
            let is_key = name::key(&self.attributes, &key).is_some();
            if is_key || (!known && value.is_object()) {
                return self.extension(op, &key, Some(value));
            }
        }
        let Some(path) = path else {
            // No attribute's name: kept as it was sent.
            let key = name::key(&self.attributes, &key).map_or(key.clone(), str::to_owned);
            return edit(&mut self.attributes, &Target::plain(&key), op, Some(value));
        };
        // Okta and authentik send read-only attributes along (facts 63, 97); they are not meant to change.
        if !path.attr.attr.is_empty() && self.is_read_only(&path.attr) {
            return Ok(());
        }
        self.at(op, &path, Some(value))
    }

    /// An operation on all of an extension.
    fn extension(&mut self, op: Op, urn: &str, value: Option<Value>) -> Result<(), Fault> {
        let key = if self.kind == Kind::User && dialect::is_enterprise(urn) {
            ENTERPRISE
        } else {
            name::key(&self.attributes, urn).unwrap_or(urn)
        };
        let key = key.to_owned();
        let value = value.map_or(Value::Null, unwrap_one);
        if op == Op::Remove || value.is_null() {
            self.attributes.remove(&key);
            return Ok(());
        }
        let Value::Object(values) = value else {
            return Err(Fault::InvalidValue(format!("{key} must be an object.")));
        };
        for (inner, value) in values {
            let mut attr = AttrPath::parse(&inner)
                .ok()
                .filter(|attr| attr.urn.is_none());
            let sub = attr.as_mut().and_then(|attr| attr.sub.take());
            let attr = AttrPath {
                urn: Some(key.clone()),
                attr: attr.map_or(inner, |attr| attr.attr),
                sub: None,
            };
            let path = Path {
                attr,
                filter: None,
                sub,
            };
            self.set(op, &path, Some(value))?;
        }
        Ok(())
    }

    /// Changes one attribute.
    fn set(&mut self, op: Op, path: &Path, value: Option<Value>) -> Result<(), Fault> {
        let place = schema::place(self.kind, &self.attributes, &path.attr);
        if let Some(filter) = &path.filter {
            let object = match &place.extension {
                None => Some(&self.attributes),
                Some(urn) => self.attributes.get(urn).and_then(Value::as_object),
            };
            let values = object
                .and_then(|object| object.get(&place.key)?.as_array())
                .map_or(0, Vec::len);
            self.compared += values.saturating_mul(filter.terms());
            if self.compared > COMPARISONS {
                return Err(Fault::TooMany(format!(
                    "The filters of one PATCH may take {COMPARISONS} comparisons; send it in parts."
                )));
            }
        }
        let target = Target {
            key: &place.key,
            attribute: place.attribute,
            filter: path.filter.as_ref(),
            sub: path.sub.as_deref(),
        };
        let Some(urn) = place.extension else {
            return edit(&mut self.attributes, &target, op, value);
        };
        let object = self
            .attributes
            .entry(urn.as_str())
            .or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(object) = object else {
            return Err(Fault::InvalidPath(format!("{urn} is not an object here.")));
        };
        edit(object, &target, op, value)?;
        if object.is_empty() {
            self.attributes.remove(&urn);
        }
        Ok(())
    }

    /// `urn:x:1.0:User` without more is read as the attribute `User` of the schema `urn:x:1.0`. It is the extension itself
    /// if that stands here, or if it ends as extensions do.
    fn whole_extension(&self, path: &Path) -> Option<String> {
        if path.filter.is_some() || path.sub.is_some() || path.attr.urn.is_none() {
            return None;
        }
        let text = path.attr.to_string();
        if let Some(key) = name::key(&self.attributes, &text) {
            return Some(key.to_owned());
        }
        let ends = name::same(&path.attr.attr, "User") || name::same(&path.attr.attr, "Group");
        ends.then_some(text)
    }

    fn is_core(&self, attr: &AttrPath) -> bool {
        attr.urn
            .as_deref()
            .is_none_or(|urn| name::same(urn, self.kind.schema()))
    }

    fn is_members(&self, attr: &AttrPath) -> bool {
        self.kind == Kind::Group && self.is_core(attr) && name::same(&attr.attr, "members")
    }

    /// `schemas` is made anew after every change; a password is never kept, whatever its URN.
    fn is_ignored(&self, attr: &AttrPath) -> bool {
        schema::is_password(&attr.attr) || (self.is_core(attr) && name::same(&attr.attr, "schemas"))
    }

    fn is_read_only(&self, attr: &AttrPath) -> bool {
        self.is_core(attr)
            && schema::core(self.kind, &attr.attr)
                .is_some_and(|attribute| attribute.mutability == Mutability::ReadOnly)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
