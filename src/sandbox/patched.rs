//! What the operations of a PATCH on a user come to. Pure.

use serde_json::{Map, Value, json};

use super::account::truth;

/// What the operations say about `active`: any `op` in any case, with the path or inside a value. The last one counts.
pub(super) fn patched_active(operations: &[Value]) -> Option<bool> {
    let mut said = operations.iter().filter_map(|operation| {
        let (path, value) = written(operation)?;
        match path {
            "" => truth(value.get("active")?),
            path if path.eq_ignore_ascii_case("active") => {
                truth(value.get("active").unwrap_or(value))
            }
            _ => None,
        }
    });
    said.next_back()
}

/// The same from the one form that is sure to work.
pub(super) fn strictly_patched_active(operations: &[Value]) -> Option<bool> {
    let [operation] = operations else {
        return None;
    };
    if operation["op"] != "replace" || operation.get("path").is_some() {
        return None;
    }
    operation["value"]["active"].as_bool()
}

/// What else the operations say, as a PUT would: whole attributes, and those below a name or an extension.
pub(super) fn patched_profile(operations: &[Value]) -> Map<String, Value> {
    let mut profile = Map::new();
    for (path, value) in operations.iter().filter_map(written) {
        let parts = match path.rsplit_once(['.', ':']) {
            _ if path.is_empty() => value.as_object().cloned().unwrap_or_default(),
            Some((above, below)) => Map::from_iter([(above.to_owned(), json!({below: value}))]),
            None => Map::from_iter([(path.to_owned(), value.clone())]),
        };
        for (name, value) in parts {
            match (profile.get_mut(&name), value) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                (_, value) => {
                    profile.insert(name, value);
                }
            }
        }
    }
    profile.remove("active");
    profile
}

/// The path and value of an operation that writes.
fn written(operation: &Value) -> Option<(&str, &Value)> {
    let op = operation["op"].as_str()?;
    if !op.eq_ignore_ascii_case("replace") && !op.eq_ignore_ascii_case("add") {
        return None;
    }
    let path = operation.get("path").and_then(Value::as_str).unwrap_or("");
    Some((path, operation.get("value")?))
}
