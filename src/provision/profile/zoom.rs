//! Zoom's dialect (<https://developers.zoom.us/docs/api/scim2/>): 11 operations, PUT that merges, PATCH that knows only
//! `active`, errors that use 400 for much.

use serde_json::{Value, json};

use super::{Aim, Heard};

/// The form that a public client is known to use: no `path` (other forms are untested against Zoom).
pub(super) fn switch(active: bool) -> Value {
    json!({ "op": "replace", "value": { "active": active } })
}

/// The attributes of a single read. Extensions are left out: licences and custom attributes come and go with plans.
pub(super) fn shows(attribute: &str) -> bool {
    matches!(
        attribute,
        "userName" | "displayName" | "name" | "emails" | "active" | "userType" | "title" | "locale"
    )
}

/// 400s that are about the whole account, not about this person: the person must not be given up for them.
const ACCOUNT_LEVEL: [&str; 3] = [
    "has not enabled single sign-on",
    "access token",
    "does not contain scopes",
];

/// A 403 that is about this person all the same: IBM's connector reads Zoom's 403 as a conflict. Any other says that the
/// token's owner may not do this to anybody.
pub(super) fn forbidden(aim: Aim, detail: String) -> Heard {
    if aim == Aim::Create && says_exists(&detail.to_lowercase()) {
        return Heard::Exists(detail);
    }
    Heard::Unavailable(detail)
}

fn says_exists(folded: &str) -> bool {
    folded.contains("already exist")
}

/// Whether what is shown of this attribute is what was sent, in other words. `None`: by the common rules.
pub(super) fn shows_as(attribute: &str, sent: &Value, shown: &Value) -> Option<bool> {
    match (attribute, shown) {
        // The names until 2020-10-20.
        ("userType", Value::String(old)) => {
            let now = match old.as_str() {
                "Pro" => "Licensed",
                "Corp" => "On-Prem",
                _ => return None,
            };
            Some(sent == now || sent == shown)
        }
        // One object for the whole list, and with empty names where the token's owner may not see them.
        ("roles" | "groups", Value::Object(one)) => {
            let hidden = one.values().all(|part| part == "" || part.is_boolean());
            let sent = sent.as_array()?;
            Some(hidden || sent.iter().any(|sent| super::covers(shown, sent)))
        }
        _ => None,
    }
}

/// Whether a refusal is about the whole account. The text is lower case.
pub(super) fn is_account_level(folded: &str) -> bool {
    ACCOUNT_LEVEL.iter().any(|text| folded.contains(text))
}

pub(super) fn refusal(aim: Aim, status: u16, detail: String) -> Heard {
    let folded = detail.to_lowercase();
    if is_account_level(&folded) {
        return Heard::Unavailable(detail);
    }
    match aim {
        Aim::LookUp if folded.contains("not belong to this account") => Heard::NotBelonging(detail),
        // Not-found may be a 400.
        Aim::Read if folded.contains("not exist") => Heard::Absent(detail),
        // A look-up that is refused says nothing about the account.
        Aim::LookUp | Aim::Read => Heard::Unavailable(detail),
        Aim::Create if says_exists(&folded) => Heard::Exists(detail),
        Aim::Update | Aim::Switch | Aim::Delete if folded.contains("not exist") => {
            Heard::Absent(detail)
        }
        Aim::Create | Aim::Update | Aim::Switch | Aim::Delete => Heard::Refused { status, detail },
    }
}
