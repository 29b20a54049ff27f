//! Any SCIM 2.0 server, by the letter of RFC 7644.

use serde_json::{Value, json};

use super::{Aim, Heard};

pub(super) fn switch(active: bool) -> Value {
    json!({ "op": "replace", "path": "active", "value": active })
}

pub(super) fn refusal(aim: Aim, status: u16, detail: String) -> Heard {
    match aim {
        Aim::LookUp | Aim::Read => Heard::Unavailable(detail),
        Aim::Create | Aim::Update | Aim::Switch | Aim::Delete => Heard::Refused { status, detail },
    }
}
