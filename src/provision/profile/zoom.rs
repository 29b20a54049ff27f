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
        // A look-up that is refused says nothing about the account.
        Aim::LookUp | Aim::List | Aim::Read => Heard::Unavailable(detail),
        Aim::Create if folded.contains("already exist") => Heard::Exists(detail),
        Aim::Update | Aim::Switch | Aim::Delete if folded.contains("not exist") => {
            Heard::Absent(detail)
        }
        Aim::Create | Aim::Update | Aim::Switch | Aim::Delete => Heard::Refused { status, detail },
    }
}
