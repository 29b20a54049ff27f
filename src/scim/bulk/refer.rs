//! References between a Bulk's operations: `bulkId:..` stands where the id of a resource will stand that another operation
//! makes (RFC 7644 3.7.2). In its data it is all of a string; in a PATCH's paths, a string in quotes; in its own path, the
//! id.
//!
//! Nothing here recurses: how deep the data is was the sender's choice.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::{Method, Task};
use crate::error::Fault;
use crate::scim::Kind;
use crate::scim::name::{self, AttrPath};
use crate::scim::patch::{Op, Operation};
use crate::scim::path::Path;

/// What a reference begins with.
const MARK: &str = "bulkId:";

/// The bulkIds that a task refers to.
#[must_use]
pub fn names(task: &Task) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    names.extend(name(&task.id).map(str::to_owned));
    each_name(task.data.values(), |name| {
        names.insert(name.to_owned());
    });
    if task.method == Method::Patch {
        let paths = operations(&task.data).into_iter().flatten();
        for path in paths.filter_map(|one| name::get(one.as_object()?, "path")?.as_str()) {
            within(path, |name| {
                names.insert(name.to_owned());
                None
            });
        }
    }
    names
}

/// Puts ids in the place of all references.
///
/// # Errors
/// 409 for one that is not among `ids` (3.7.1, 3.7.2); the task is of no use then.
pub fn resolve(task: &mut Task, ids: &HashMap<String, String>) -> Result<(), Fault> {
    if let Some(name) = name(&task.id) {
        task.id
            .clone_from(ids.get(name).ok_or_else(|| dangling(name))?);
    }
    if task.method == Method::Patch {
        // Before the rest: what stands there by then is an id.
        let key = name::key(&task.data, "Operations").map(str::to_owned);
        let operations = key
            .and_then(|key| task.data.get_mut(&key))
            .and_then(Value::as_array_mut);
        for operation in operations
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            let key = name::key(operation, "path").map(str::to_owned);
            if let Some(Value::String(path)) = key.and_then(|key| operation.get_mut(&key)) {
                let mut missing = None;
                *path = within(path, |name| {
                    if !ids.contains_key(name) {
                        missing.get_or_insert_with(|| dangling(name));
                    }
                    ids.get(name).cloned()
                });
                missing.map_or(Ok(()), Err)?;
            }
        }
    }
    fill(&mut task.data, ids)
}

/// Puts ids in the place of all references in data.
///
/// # Errors
/// As [`resolve`].
pub fn fill(data: &mut Map<String, Value>, ids: &HashMap<String, String>) -> Result<(), Fault> {
    let mut left: Vec<&mut Value> = data.values_mut().collect();
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => {
                if let Some(name) = name(text) {
                    let id = ids.get(name).ok_or_else(|| dangling(name))?;
                    text.clone_from(id);
                }
            }
            Value::Array(items) => left.extend(items),
            Value::Object(object) => left.extend(object.values_mut()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    Ok(())
}

/// Takes out of a new resource what refers to others that wait: those of a group's members, else whole attributes. What is
/// left can be made before them, and [`afterwards`] puts the rest in.
pub fn hold_back(task: &mut Task, waits: impl Fn(&str) -> bool) -> Map<String, Value> {
    let waits = |value: &Value| {
        let mut found = false;
        each_name(std::iter::once(value), |name| found |= waits(name));
        found
    };
    let mut held = Map::new();
    let keys: Vec<String> = task
        .data
        .iter()
        .filter(|(_, value)| waits(value))
        .map(|(key, _)| key.clone())
        .collect();
    for key in keys {
        let part = match task.data.get_mut(&key) {
            Some(Value::Array(items))
                if task.kind == Kind::Group && name::same(&key, "members") =>
            {
                let (waiting, there) = std::mem::take(items)
                    .into_iter()
                    .partition(|item| waits(item));
                *items = there;
                Some(Value::Array(waiting))
            }
            Some(Value::Object(extension)) if name::is_urn(&key) => {
                let inner: Vec<String> = extension
                    .iter()
                    .filter(|(_, value)| waits(value))
                    .map(|(key, _)| key.clone())
                    .collect();
                Some(Value::Object(
                    inner
                        .into_iter()
                        .filter_map(|key| extension.remove_entry(&key))
                        .collect(),
                ))
            }
            _ => task.data.remove(&key),
        };
        held.extend(part.map(|part| (key, part)));
    }
    held
}

/// The PATCH that puts in what [`hold_back`] took out. Members are added: somebody else may have added some meanwhile.
#[must_use]
pub fn afterwards(kind: Kind, held: Map<String, Value>) -> Vec<Operation> {
    let (members, others): (Map<_, _>, Map<_, _>) = held
        .into_iter()
        .partition(|(key, _)| kind == Kind::Group && name::same(key, "members"));
    let members = members.into_iter().map(|(key, value)| Operation {
        op: Op::Add,
        path: Some(Path {
            attr: AttrPath {
                urn: None,
                attr: key,
                sub: None,
            },
            filter: None,
            sub: None,
        }),
        value: Some(value),
    });
    let others = (!others.is_empty()).then_some(Operation {
        op: Op::Replace,
        path: None,
        value: Some(Value::Object(others)),
    });
    members.chain(others).collect()
}

/// What a circle hears whose operations cannot all be done.
#[must_use]
pub fn broken() -> Fault {
    Fault::Conflict(String::from(
        "It refers to other operations of this Bulk that refer back to it, and one of them could not be done: none of them is (RFC 7644 3.7.1).",
    ))
}

fn dangling(name: &str) -> Fault {
    let name: String = name.escape_debug().take(64).collect();
    Fault::Conflict(format!(
        "bulkId:{name} stands for no resource: no POST of this Bulk that was done has that bulkId (RFC 7644 3.7.2)."
    ))
}

/// Whether an id still stands for what another operation makes.
#[must_use]
pub fn is_reference(id: &str) -> bool {
    name(id).is_some()
}

/// The bulkId that a text refers to.
fn name(text: &str) -> Option<&str> {
    text.strip_prefix(MARK)
}

fn operations(data: &Map<String, Value>) -> Option<&Vec<Value>> {
    name::get(data, "Operations")?.as_array()
}

fn each_name<'a>(values: impl IntoIterator<Item = &'a Value>, mut each: impl FnMut(&str)) {
    let mut left: Vec<&Value> = values.into_iter().collect();
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => {
                if let Some(name) = name(text) {
                    each(name);
                }
            }
            Value::Array(items) => left.extend(items),
            Value::Object(object) => left.extend(object.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// A PATCH's path with ids in the place of references in quotes: `members[value eq "bulkId:x"]`. Where there is no id for
/// one it stays as it is.
fn within(path: &str, mut id: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, text, after)) = quoted(rest) {
        out.push_str(before);
        let literal: Option<String> = serde_json::from_str(text).ok();
        match literal.as_deref().and_then(name).and_then(&mut id) {
            Some(id) => out.push_str(&Value::String(id).to_string()),
            None => out.push_str(text),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The first string in quotes, quotes included, with what stands before and after it.
fn quoted(text: &str) -> Option<(&str, &str, &str)> {
    let (before, from) = text.split_at(text.find('"')?);
    let mut escaped = false;
    let closing = |byte: u8| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    };
    let length = from.bytes().skip(1).position(closing)?;
    let (literal, after) = from.split_at(length + 2);
    Some((before, literal, after))
}
