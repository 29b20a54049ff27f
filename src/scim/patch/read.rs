//! The body of a PATCH.

use serde_json::{Map, Value};

use super::{Op, Operation};
use crate::error::Fault;
use crate::scim::Kind;
use crate::scim::dialect;
use crate::scim::filter::Bounds;
use crate::scim::name::{self, AttrPath};
use crate::scim::path::Path;

pub(super) fn read(
    kind: Kind,
    body: &Value,
    max_ops: usize,
    bounds: Bounds,
) -> Result<Vec<Operation>, Fault> {
    let Value::Object(body) = body else {
        return Err(syntax("The body of a PATCH is an object."));
    };
    let Some(operations) = once(body, "Operations")? else {
        if kind == Kind::Group
            && let Some(members) = once(body, "members")?
        {
            return delta(body, members);
        }
        return Err(syntax("The body of a PATCH needs Operations."));
    };
    let Value::Array(operations) = operations else {
        return Err(syntax("Operations is an array."));
    };
    if operations.len() > max_ops {
        return Err(Fault::InvalidSyntax(format!(
            "A PATCH takes at most {max_ops} operations; this one has {}.",
            operations.len()
        )));
    }
    // Microsoft's validator sends an empty array (fact 27): nothing is asked, nothing changes.
    operations
        .iter()
        .map(|one| operation(one, bounds))
        .collect()
}

fn operation(operation: &Value, bounds: Bounds) -> Result<Operation, Fault> {
    let Value::Object(operation) = operation else {
        return Err(syntax("An operation is an object."));
    };
    let word = once(operation, "op")?.and_then(Value::as_str);
    let Some(op) = word.and_then(dialect::op) else {
        return Err(syntax("An operation needs op: add, replace or remove."));
    };
    let path = match once(operation, "path")? {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(Value::String(text)) => {
            Some(Path::parse(text.trim(), bounds).map_err(|error| {
                Fault::InvalidPath(format!("The path does not parse: {error}."))
            })?)
        }
        Some(_) => return Err(Fault::InvalidPath("A path is a string.".into())),
    };
    let value = once(operation, "value")?.cloned();
    if op != Op::Remove && value.is_none() {
        return Err(Fault::InvalidValue(
            "An add or replace needs a value; null takes an attribute away.".into(),
        ));
    }
    Ok(Operation { op, path, value })
}

/// SCIM 1.1 (OneLogin, fact 81): members to add or delete, and other attributes to replace.
fn delta(body: &Map<String, Value>, members: &Value) -> Result<Vec<Operation>, Fault> {
    let Value::Array(members) = members else {
        return Err(syntax("members is an array."));
    };
    let path = Path {
        attr: AttrPath {
            urn: None,
            attr: "members".into(),
            sub: None,
        },
        filter: None,
        sub: None,
    };
    let mut operations = Vec::with_capacity(members.len() + 1);
    for member in members {
        let word = match member.as_object() {
            Some(member) => once(member, "operation")?,
            None => None,
        };
        let op = match word {
            None | Some(Value::Null) => Op::Add,
            Some(Value::String(word)) if word.eq_ignore_ascii_case("add") => Op::Add,
            Some(Value::String(word)) if word.eq_ignore_ascii_case("delete") => Op::Remove,
            Some(_) => return Err(syntax("A member's operation is add or delete.")),
        };
        operations.push(Operation {
            op,
            path: Some(path.clone()),
            value: Some(member.clone()),
        });
    }
    let others: Map<String, Value> = body
        .iter()
        .filter(|(key, _)| !name::same(key, "members"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !others.is_empty() {
        operations.push(Operation {
            op: Op::Replace,
            path: None,
            value: Some(Value::Object(others)),
        });
    }
    Ok(operations)
}

/// The value under a key in any case, which may stand there in one spelling only.
fn once<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Value>, Fault> {
    let mut found = object.iter().filter(|(name, _)| name::same(name, key));
    let first = found.next().map(|(_, value)| value);
    if found.next().is_some() {
        return Err(Fault::InvalidSyntax(format!(
            "{key} is given twice, in two spellings."
        )));
    }
    Ok(first)
}

fn syntax(text: &str) -> Fault {
    Fault::InvalidSyntax(text.to_owned())
}
