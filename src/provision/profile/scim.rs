//! Any SCIM 2.0 server, by the letter of RFC 7644, and by what servers make of it.
//!
//! A PUT replaces (RFC 7644 3.5.1) and would wipe what others keep in an account. So what changed is written by a PATCH
//! with a path for each value, the form that most servers take alike: without a path some replace a whole `name` by the
//! part that was sent. A server that does not take the PATCH has the account read, changed, and put back whole.

use serde_json::{Map, Value, json};

use super::{Aim, Heard, detail, is_empty};

/// Accounts or groups that a walk through a list sees at most, where no filter finds what is looked for.
pub const WALK: usize = 10_000;
/// The size of a page that is asked for; servers may give less.
pub const PAGE: usize = 100;

pub(super) fn switch(active: bool) -> Value {
    json!({ "op": "replace", "path": "active", "value": active })
}

/// The operations that bring an account from `sent` to `account`; all of it where nothing is known to be there.
pub(super) fn operations(
    account: &Map<String, Value>,
    sent: Option<&Map<String, Value>>,
) -> Vec<Value> {
    let mut operations = Vec::new();
    for (name, value) in account {
        let before = sent.and_then(|sent| sent.get(name));
        match value {
            // A simple or multi-valued attribute stands for itself; a part that is not ours stays.
            Value::Object(parts) => {
                let separator = if name.contains(':') { ':' } else { '.' };
                for (part, value) in parts {
                    let before = before.and_then(|before| before.get(part));
                    operation(
                        format!("{name}{separator}{part}"),
                        value,
                        before,
                        &mut operations,
                    );
                }
            }
            value => operation(name.clone(), value, before, &mut operations),
        }
    }
    operations
}

fn operation(path: String, value: &Value, before: Option<&Value>, operations: &mut Vec<Value>) {
    if before == Some(value) {
        return;
    }
    operations.push(if is_empty(value) {
        // An empty value is the mapping's form of "no longer there" (RFC 7643 2.5).
        json!({ "op": "remove", "path": path })
    } else {
        json!({ "op": "replace", "path": path, "value": value })
    });
}

/// A resource as it was read, with what is ours in it changed: the body of a PUT that wipes nothing.
pub(super) fn rewritten(
    whole: &Map<String, Value>,
    ours: &Map<String, Value>,
) -> Map<String, Value> {
    let mut body = whole.clone();
    // The server's own (RFC 7643 3.1, 4.1.2).
    body.remove("meta");
    body.remove("groups");
    for (name, value) in ours {
        match (body.get_mut(name), value) {
            (Some(Value::Object(there)), Value::Object(parts)) => {
                for (part, value) in parts {
                    put(there, part, value);
                }
            }
            _ => put(&mut body, name, value),
        }
        if name.starts_with("urn:")
            && let Some(Value::Array(schemas)) = body.get_mut("schemas")
            && !schemas.iter().any(|schema| schema == name.as_str())
        {
            schemas.push(Value::from(name.as_str()));
        }
    }
    body
}

fn put(body: &mut Map<String, Value>, name: &str, value: &Value) {
    if is_empty(value) {
        body.remove(name);
    } else {
        body.insert(name.to_owned(), value.clone());
    }
}

/// What an answer says where this profile reads it in its own way.
pub(super) fn hear(aim: Aim, status: u16, body: &[u8]) -> Option<Heard> {
    let reads = matches!(aim, Aim::LookUp | Aim::List | Aim::Read);
    let detail = || detail(body);
    match status {
        405 | 501 => Some(Heard::Unsupported(detail())),
        // Of a read it is a matter of rights, and stops everybody; of one write it may be a matter of that write.
        403 if !reads => Some(Heard::Forbidden(detail())),
        400 if aim == Aim::LookUp => Some(Heard::Unsupported(detail())),
        // Servers say 400, 409 or 422; only the first create of a name goes through.
        400 | 422 if aim == Aim::Create && is_taken(body) => Some(Heard::Exists(detail())),
        400 | 422 if matches!(aim, Aim::Update | Aim::Switch) && is_taken(body) => {
            Some(Heard::Refused {
                status: 409,
                detail: detail(),
            })
        }
        // It knows PATCH, and not this path.
        400 if matches!(aim, Aim::Update | Aim::Switch)
            && matches!(kind(body).as_deref(), Some("invalidPath" | "noTarget")) =>
        {
            Some(Heard::Unsupported(detail()))
        }
        409 if aim == Aim::Create => None,
        // Of a read it says nothing about the account, whatever the number.
        400..=499 if !matches!(status, 401 | 403 | 404 | 408 | 425 | 429) => {
            let detail = detail();
            Some(if reads {
                Heard::Unavailable(detail)
            } else {
                Heard::Refused { status, detail }
            })
        }
        _ => None,
    }
}

/// `scimType` of an error (RFC 7644 3.12).
fn kind(body: &[u8]) -> Option<String> {
    let said: Value = serde_json::from_slice(body).ok()?;
    said.get("scimType")?.as_str().map(str::to_owned)
}

fn is_taken(body: &[u8]) -> bool {
    if let Some(kind) = kind(body) {
        return kind == "uniqueness";
    }
    let said = detail(body).to_lowercase();
    [
        "already exist",
        "already in use",
        "already been taken",
        "must be unique",
    ]
    .iter()
    .any(|text| said.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

    #[test]
    fn a_patch_names_what_differs() {
        let sent = map(json!({
            "userName": "a", "title": "T", "name": {"givenName": "A", "familyName": "B"},
            "emails": [{"value": "a@x.example"}], ENTERPRISE: {"department": "D"},
        }));
        let now = map(json!({
            "userName": "a", "title": "", "name": {"givenName": "C", "familyName": "B"},
            "emails": [{"value": "c@x.example"}], ENTERPRISE: {"department": "E"}, "active": true,
        }));
        let mut found = operations(&now, Some(&sent));
        found.sort_by_key(|operation| operation["path"].to_string());
        assert_eq!(
            found,
            [
                json!({"op": "replace", "path": "active", "value": true}),
                json!({"op": "replace", "path": "emails", "value": [{"value": "c@x.example"}]}),
                json!({"op": "replace", "path": "name.givenName", "value": "C"}),
                json!({"op": "remove", "path": "title"}),
                json!({"op": "replace", "path": format!("{ENTERPRISE}:department"), "value": "E"}),
            ]
        );
        assert_eq!(operations(&sent, Some(&sent)), [] as [Value; 0]);
        assert_eq!(operations(&sent, None).len(), 6);
    }

    #[test]
    fn a_rewritten_account_keeps_what_is_not_ours() {
        let whole = map(json!({
            "schemas": ["urn:u"], "id": 7, "meta": {}, "groups": [], "userName": "a", "nickName": "n", "title": "T",
            "name": {"givenName": "A", "middleName": "M", "familyName": "B"},
        }));
        let ours = map(json!({
            "userName": "b", "title": "", "name": {"givenName": "C", "familyName": ""}, ENTERPRISE: {"department": "D"},
        }));
        assert_eq!(
            Value::Object(rewritten(&whole, &ours)),
            json!({
                "schemas": ["urn:u", ENTERPRISE], "id": 7, "userName": "b", "nickName": "n",
                "name": {"givenName": "C", "middleName": "M"}, ENTERPRISE: {"department": "D"},
            })
        );
    }

    #[test]
    fn refusals_are_told_apart() {
        let heard = |aim, status, body: Value| hear(aim, status, body.to_string().as_bytes());
        let says = |text: &str| json!({ "detail": text });
        for (aim, status, body, wanted) in [
            (Aim::Update, 501, says("x"), "Unsupported"),
            (Aim::Delete, 405, says("x"), "Unsupported"),
            (Aim::LookUp, 400, says("x"), "Unsupported"),
            (Aim::LookUp, 501, says("x"), "Unsupported"),
            (Aim::List, 400, says("x"), "Unavailable"),
            (Aim::Create, 403, says("x"), "Forbidden"),
            (
                Aim::Create,
                400,
                says("User already exists in tenant"),
                "Exists",
            ),
            (
                Aim::Create,
                400,
                json!({"scimType": "uniqueness"}),
                "Exists",
            ),
            (
                Aim::Create,
                400,
                json!({"scimType": "invalidValue", "detail": "it must be unique"}),
                "Refused { status: 400",
            ),
            (
                Aim::Update,
                400,
                json!({"scimType": "uniqueness"}),
                "Refused { status: 409",
            ),
            (
                Aim::Update,
                400,
                json!({"scimType": "invalidPath"}),
                "Unsupported",
            ),
            (
                Aim::Update,
                400,
                json!({"scimType": "invalidValue"}),
                "Refused { status: 400",
            ),
        ] {
            let found = format!("{:?}", heard(aim, status, body.clone()).unwrap());
            assert!(
                found.starts_with(wanted),
                "{aim:?} {status} {body}: {found}"
            );
        }
        // As with any other: unavailable, absent, exists.
        for (aim, status) in [
            (Aim::LookUp, 403),
            (Aim::Create, 401),
            (Aim::Update, 404),
            (Aim::Create, 409),
            (Aim::Create, 500),
        ] {
            assert_eq!(heard(aim, status, json!({})), None, "{aim:?} {status}");
        }
    }
}
