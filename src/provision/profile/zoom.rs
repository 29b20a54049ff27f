//! Zoom's dialect (<https://developers.zoom.us/docs/api/scim2/>): 11 operations, PUT that merges, PATCH that knows only
//! `active`, errors that use 400 for much.
//!
//! What is odd about it, and what usher does. `tests/it/quirks.rs` tries each, and each with the others.
//!
//! | Zoom | usher |
//! |---|---|
//! | **Tokens** end after an hour, and a new one may void the old | asks at 80 % of their life, once for all who wait; a 401 costs one more, and the call is made again |
//! | the app is off, a scope or SSO is missing (also as 400), the role lacks a permission (403) | the application is away, nobody is refused: all waits, one call at a time finds out whether it is back |
//! | a permission for groups is missing | groups wait, people go on |
//! | **Errors** in SCIM's envelope or the REST API's, `status` a number or text | reads the text of either, and the status of the answer only |
//! | "already exists" with 409, 400 or 403; "does not exist" with 404 or 400 | goes by the text |
//! | **A user exists already** | looked up by name and adopted; the first write changes neither name nor address |
//! | it exists and a look-up does not show it (lag) | looked up again after `lookup_lag`, never created again; a removal waits for it |
//! | **Pending**: created with an id that GET denies, 400 for the look-up | a warning that says what the person has to do; looked at hourly; no writes but removals, no memberships until it is there |
//! | the GET after the create fails | that read is made up for before anything is written, or anybody made a member |
//! | pending users shown like others, writes to them dropped | cannot be told from others: what a reply shows unchanged is a warning, a membership is lost |
//! | so many invitations a day | as any daily limit: what needs that class waits until then |
//! | **PUT** merges, and drops what it does not take | sends all that is mapped, compares the reply, warns once and does not send it again |
//! | an address outside of the Associated Domains: refused, or dropped | the client is refused in Zoom's words, or warned |
//! | PATCH only knows `active` | all else by PUT |
//! | **Deactivating** takes licences away, for good or for a while | everything mapped is sent again after `active: true` |
//! | administrators stay active (200), or are refused (400) | the removal has failed, is told so and tried again |
//! | DELETE makes it a free account, so that coming back is an invitation | pending, as above |
//! | DELETE answers 404, or 204 twice | gone is gone |
//! | **Shown** otherwise: old names of userTypes, one role for a list, roles without names | what says the same is the same, and what cannot be seen was not dropped |
//! | lists poorer than GET, with few or no dates, of one item | asks for a name and takes only an account of that name; without a date it is adopted, not ours |
//! | ids with `&` | encoded |
//! | **Groups** never show members, names are not unique, the default one cannot be deleted | our own record of what was sent; looked up before they are created; kept |
//! | no form of taking a member out is documented | the RFC's, by a filter; were it refused, that is told: a list of values empties the group where servers go by the letter |
//! | a PATCH is bounded in characters, perhaps in members | chunks; a refused one is halved until the one at fault is found |
//! | **Rates** by class, second and day, with or without headers, `Retry-After` in three forms | that class waits as told, or a second, or a day's part; then the pace grows again |
//! | 429 for calls at once | that account rests two seconds |
//! | **Time**: answers slower than `wait` | the client hears 2xx, the worker finds out |
//! | reads behind writes | what was acknowledged counts, not what a read still shows |

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
        Aim::LookUp | Aim::List | Aim::Read => Heard::Unavailable(detail),
        Aim::Create if says_exists(&folded) => Heard::Exists(detail),
        Aim::Update | Aim::Switch | Aim::Delete if folded.contains("not exist") => {
            Heard::Absent(detail)
        }
        Aim::Create | Aim::Update | Aim::Switch | Aim::Delete => Heard::Refused { status, detail },
    }
}
