//! Resource + request -> new resource. Pure: ids and now are inputs.

use serde_json::{Map, Value};

use super::patch::{self, MemberDelta};
use super::request::{Verb, Write};
use super::{Handle, Id, Kind, Resource, schema};
use crate::clock::Timestamp;
use crate::config::shape::PutMembers;
use crate::error::Fault;
use crate::journal::record::{Changed, Operation};

/// A resource as it would be.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// As it would be.
    pub resource: Resource,
    /// As it is; `None` for a create.
    pub before: Option<Resource>,
    /// What happens to a group's members, by outward id.
    pub members: MemberDelta,
    /// What was asked for, for the journal.
    pub operation: Operation,
}

impl Draft {
    /// Whether the row itself differs in anything that a client can see.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.before.as_ref().is_none_or(|before| {
            before.attributes != self.resource.attributes || before.deleted != self.resource.deleted
        })
    }

    /// Checks that what is kept of the resource does not grow over `limit` bytes of JSON or `nodes` values: many PATCHes
    /// could make of it what no single body may hold, and what an IdP could then not PUT back. What is too large already
    /// may still change without growing, so that a removal is never refused.
    ///
    /// # Errors
    /// [`Fault::InvalidValue`] naming the limit.
    pub fn check_size(&self, limit: usize, nodes: usize) -> Result<(), Fault> {
        if !self.differs() || self.resource.deleted.is_some() {
            return Ok(());
        }
        let attributes = &self.resource.attributes;
        let grown = |held: usize, count: fn(&Map<String, Value>) -> usize| {
            let before = self.before.as_ref();
            before.is_none_or(|before| held > count(&before.attributes))
        };
        let kind = self.resource.kind.name();
        let size = written(attributes);
        if size > limit && grown(size, written) {
            return Err(Fault::InvalidValue(format!(
                "The {kind} would hold {size} bytes of attributes; at most {limit} are kept, as many as a body may have (server.limits.body).",
            )));
        }
        // A value is two bytes at least: few resources are long enough to be counted.
        let held = if size / 2 > nodes {
            values(attributes)
        } else {
            0
        };
        if held > nodes && grown(held, values) {
            return Err(Fault::InvalidValue(format!(
                "The {kind} would hold {held} values; at most {nodes} are kept, as many as a body may have.",
            )));
        }
        Ok(())
    }

    /// The client that the resource is taken over from: its owner is another one than before.
    #[must_use]
    pub fn taken_from(&self) -> Option<&str> {
        let before = self.before.as_ref()?;
        (before.owner != self.resource.owner).then_some(before.owner.as_str())
    }

    /// Counts a change that a client can see.
    pub fn rise(&mut self, now: Timestamp) {
        self.resource.version = self.resource.version.saturating_add(1);
        self.resource.modified = self.resource.modified.max(now);
    }

    /// The attributes that change, for the journal. `redacted` names those whose values are not shown.
    #[must_use]
    pub fn changed(&self, redacted: &dyn Fn(&str) -> bool) -> Vec<Changed> {
        let empty = Map::new();
        let old = self
            .before
            .as_ref()
            .map_or(&empty, |before| &before.attributes);
        let new = if self.resource.deleted.is_some() {
            &empty
        } else {
            &self.resource.attributes
        };
        let mut names: Vec<&String> = old
            .keys()
            .chain(new.keys())
            .filter(|name| *name != "schemas")
            .collect();
        names.sort_unstable();
        names.dedup();
        let differing = names
            .into_iter()
            .filter(|name| old.get(*name) != new.get(*name));
        let show = |name: &str, value: Option<&Value>| value.filter(|_| !redacted(name)).cloned();
        differing
            .map(|name| Changed {
                attribute: name.clone(),
                old: show(name, old.get(name)),
                new: show(name, new.get(name)),
            })
            .collect()
    }
}

/// What a new resource is given from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Birth {
    /// The directory's key.
    pub handle: Handle,
    /// The outward id.
    pub id: Id,
}

/// Creates.
///
/// # Errors
/// 400 naming the attribute at fault.
pub fn create(
    kind: Kind,
    body: &Map<String, Value>,
    owner: &str,
    birth: Birth,
    now: Timestamp,
) -> Result<Draft, Fault> {
    let mut attributes = schema::normalise(kind, body.clone())?;
    let members = take_members(&mut attributes, PutMembers::Keep)?;
    schema::check_required(kind, &attributes)?;
    if kind == Kind::User {
        attributes.entry("active").or_insert(Value::Bool(true));
    }
    let resource = Resource {
        handle: birth.handle,
        id: birth.id,
        kind,
        version: 1,
        created: now,
        modified: now,
        owner: owner.to_owned(),
        deleted: None,
        attributes,
        links: Vec::new(),
    };
    Ok(Draft {
        resource,
        before: None,
        members,
        operation: Operation::Create,
    })
}

/// Replaces, patches or deletes what is there.
///
/// # Errors
/// 400 naming what is at fault, 412 when `If-Match` names another version or `If-None-Match` this one. The resource is left as it was.
pub fn change(
    before: Resource,
    write: &Write,
    put_members: PutMembers,
    now: Timestamp,
) -> Result<Draft, Fault> {
    write.conditions().write(before.version)?;
    let kind = before.kind;
    let mut resource = before.clone();
    let mut members = MemberDelta::default();
    match &write.verb {
        Verb::Create(_) => return Err(Fault::Internal(String::from("a create is not a change"))),
        Verb::Replace(_, body) => {
            let mut attributes = schema::normalise(kind, body.clone())?;
            members = take_members(&mut attributes, put_members)?;
            resource.attributes = attributes;
        }
        Verb::Patch(_, operations) => {
            let applied = patch::apply(kind, &before.attributes, operations)?;
            resource.attributes = applied.attributes;
            members = applied.members;
        }
        Verb::Delete(_) => resource.deleted = Some(now),
    }
    if resource.deleted.is_none() {
        schema::check_required(kind, &resource.attributes)?;
        // An IdP that leaves `active` out of a PUT must not deactivate or reactivate anybody by it (Slack, April 2024). A
        // PATCH that takes it away says so, and absent is not false.
        let kept = before
            .attributes
            .get("active")
            .filter(|_| matches!(write.verb, Verb::Replace(..)));
        if let (Some(active), false) = (kept, resource.attributes.contains_key("active")) {
            let kept = (String::from("active"), active.clone());
            resource.attributes.extend([kept]);
        }
    }
    let operation = operation(&before, &resource, &members);
    let mut draft = Draft {
        resource,
        before: Some(before),
        members,
        operation,
    };
    if draft.differs() {
        draft.rise(now);
    }
    Ok(draft)
}

/// How many values of any kind the attributes hold.
fn values(attributes: &Map<String, Value>) -> usize {
    attributes.values().map(count).sum()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(object) => values(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// How many bytes the attributes take as JSON, without writing them anywhere.
fn written(attributes: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Strings for keys and a sink that takes all: cannot fail. If it did, nothing would fit.
    match serde_json::to_writer(&mut count, attributes) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

fn operation(before: &Resource, after: &Resource, members: &MemberDelta) -> Operation {
    let active = |resource: &Resource| {
        resource
            .attributes
            .get("active")
            .and_then(Value::as_bool)
            .unwrap_or(true)
    };
    match (active(before), active(after)) {
        _ if after.deleted.is_some() => Operation::Delete,
        (true, false) => Operation::Deactivate,
        (false, true) => Operation::Reactivate,
        _ if *members != MemberDelta::default() && before.attributes == after.attributes => {
            Operation::Membership
        }
        _ => Operation::Update,
    }
}

/// Takes `members` out of a group's body. With `Clear`, a body without members empties the group.
fn take_members(
    attributes: &mut Map<String, Value>,
    absent: PutMembers,
) -> Result<MemberDelta, Fault> {
    let Some(members) = attributes.remove("members") else {
        return Ok(MemberDelta {
            clear: absent == PutMembers::Clear,
            ..MemberDelta::default()
        });
    };
    let Value::Array(items) = members else {
        return Err(Fault::InvalidValue(String::from(
            "members must be an array.",
        )));
    };
    let mut add = Vec::with_capacity(items.len());
    let mut known = std::collections::HashSet::with_capacity(items.len());
    for item in &items {
        let id = match item {
            Value::String(id) => Some(id.as_str()),
            other => other.get("value").and_then(Value::as_str),
        };
        match id {
            // One member named twice is one member.
            Some(id) if known.insert(id.to_owned()) => add.push(id.to_owned()),
            Some(_) => {}
            None => {
                return Err(Fault::InvalidValue(String::from(
                    "Each of members needs a `value` that is an id.",
                )));
            }
        }
    }
    Ok(MemberDelta {
        clear: true,
        add,
        remove: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(attributes: Value) -> Resource {
        Resource {
            handle: Handle(1),
            id: Id::from("u1"),
            kind: Kind::User,
            version: 1,
            created: Timestamp(0),
            modified: Timestamp(0),
            owner: String::from("idp"),
            deleted: None,
            attributes: attributes.as_object().cloned().unwrap(),
            links: Vec::new(),
        }
    }

    fn draft(before: Option<Value>, after: Value) -> Draft {
        Draft {
            resource: user(after),
            before: before.map(user),
            members: MemberDelta::default(),
            operation: Operation::Update,
        }
    }

    #[test]
    fn a_resource_does_not_grow_over_the_limit_and_may_always_shrink() {
        let (small, large, larger) = (
            json!({"userName": "a", "active": true}),
            json!({"userName": "a", "active": true, "note": "x".repeat(100)}),
            json!({"userName": "a", "active": true, "note": "y".repeat(101)}),
        );
        let limit = large.to_string().len();
        for (before, after, limit, fits) in [
            (None, &large, limit, true),
            (None, &large, limit - 1, false),
            (Some(&small), &large, limit, true),
            (Some(&small), &larger, limit, false),
            // What is too large already, because the limit came down.
            (Some(&large), &larger, 50, false),
            (Some(&larger), &large, 50, true),
            (Some(&large), &large, 50, true),
        ] {
            let draft = draft(before.cloned(), after.clone());
            let checked = draft.check_size(limit, 1_000);
            assert_eq!(checked.is_ok(), fits, "{checked:?}");
            if let Err(fault) = checked {
                assert_eq!(fault.scim_type(), Some("invalidValue"));
                assert!(fault.public().contains("server.limits.body"));
            }
        }
        let list = |n: usize| json!({"userName": "a", "note": vec![0; n]});
        for (before, after, fits) in [(0, 8, true), (0, 9, false), (10, 9, true), (9, 10, false)] {
            let draft = draft((before > 0).then(|| list(before)), list(after));
            assert_eq!(
                draft.check_size(1_000, 10).is_ok(),
                fits,
                "{before} {after}"
            );
        }
        let mut gone = draft(Some(large), larger);
        gone.resource.deleted = Some(Timestamp(1));
        assert_eq!(gone.check_size(10, 1), Ok(()), "a removal is never refused");
    }
}
