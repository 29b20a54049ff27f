//! What we know of one kind of application: endpoints, bodies, quirks. Data plus small functions.

pub mod capabilities;
pub mod group;
pub mod scim;
mod zoom;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::call::{Call, Class, Method};
use crate::clock::Timestamp;
use crate::config::shape::ProfileName;
use crate::mapping;

/// RFC 3986 unreserved characters stay; everything else is encoded. Zoom's ids hold `&`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

/// What a call is for, which is what decides how its answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aim {
    /// `filter=userName eq "..."`
    LookUp,
    /// A page of everybody, where no filter finds an account.
    List,
    /// GET by id.
    Read,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH of `active`.
    Switch,
    /// DELETE.
    Delete,
}

/// An account as the application shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its id there.
    pub id: String,
    /// Its userName.
    pub user_name: Option<String>,
    /// `meta.created`.
    pub created: Option<Timestamp>,
    /// `active`; absent is not false.
    pub active: Option<bool>,
    /// Everything.
    pub attributes: Map<String, Value>,
}

/// What an answer says, whatever dialect it says it in.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// The account.
    Account(Box<Shown>),
    /// The accounts that a look-up found.
    Found(Vec<Shown>),
    /// A page of a list, and how many there are in all if it says so.
    Page(Vec<Shown>, Option<usize>),
    /// Done, and nothing more is said.
    Done,
    /// An account with this key is there already.
    Exists(String),
    /// No such account.
    Absent(String),
    /// The look-up says that the account is not, or not yet, one of this customer's (Zoom: a pending invitation).
    NotBelonging(String),
    /// Not this resource's fault, and surely without effect.
    Unavailable(String),
    /// Not this resource's fault, and nobody knows whether it took effect.
    Ambiguous(String),
    /// The application has no such thing, for nobody (groups, or PATCH): asking again is of no use.
    Unsupported(String),
    /// Not allowed for this call: asking again is of no use before something changes.
    Forbidden(String),
    /// Refused for good, without effect.
    Refused {
        /// The status.
        status: u16,
        /// The application's own words, shortened.
        detail: String,
    },
}

/// One kind of application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile(ProfileName);

impl Profile {
    /// The profile of that name.
    #[must_use]
    pub fn of(name: ProfileName) -> Self {
        Self(name)
    }

    /// Looks for an account by its userName.
    #[must_use]
    pub fn look_up(self, user_name: &str) -> Call {
        // The literal is a JSON string (RFC 7644 3.4.2.2), so a quote in a name cannot end it.
        let filter = format!("userName eq {}", Value::from(user_name));
        let query = format!(
            "filter={}&startIndex=1&count=10",
            utf8_percent_encode(&filter, ENCODED)
        );
        Call {
            method: Method::Get,
            path: String::from("/Users"),
            query: Some(query),
            body: None,
            class: Class::Medium,
        }
    }

    /// Reads a page of everybody, from the account of this number on (RFC 7644 3.4.2.4: the first is 1).
    #[must_use]
    pub fn list(self, start: usize) -> Call {
        Call {
            method: Method::Get,
            path: String::from("/Users"),
            query: Some(format!("startIndex={start}&count={}", scim::PAGE)),
            body: None,
            class: Class::Medium,
        }
    }

    /// Reads one account.
    #[must_use]
    pub fn read(self, id: &str) -> Call {
        one(Method::Get, id, None)
    }

    /// Creates an account.
    #[must_use]
    pub fn create(self, account: &Map<String, Value>) -> Call {
        let body = body(account);
        Call {
            method: Method::Post,
            path: String::from("/Users"),
            query: None,
            body: Some(body),
            class: Class::Light,
        }
    }

    /// Writes what is mapped to an account, in one call that leaves everything else in it alone: Zoom's PUT merges, and
    /// others have PATCH. `sent` is what is surely there. `None`: there is nothing to write.
    #[must_use]
    pub fn update(
        self,
        id: &str,
        account: &Map<String, Value>,
        sent: Option<&Map<String, Value>>,
    ) -> Option<Call> {
        if self.0 == ProfileName::Zoom {
            return Some(one(Method::Put, id, Some(body(account))));
        }
        let operations = scim::operations(account, sent);
        if operations.is_empty() {
            return None;
        }
        let body = json!({ "schemas": [PATCH_OP], "Operations": operations });
        Some(one(Method::Patch, id, Some(body.to_string().into_bytes())))
    }

    /// Puts an account back as it was read, with `ours` changed in it: for whoever takes no PATCH.
    #[must_use]
    pub fn rewrite(self, id: &str, whole: &Map<String, Value>, ours: &Map<String, Value>) -> Call {
        let body = Value::Object(scim::rewritten(whole, ours));
        one(Method::Put, id, Some(body.to_string().into_bytes()))
    }

    /// Whether it may say what it can do, and what it cannot (RFC 7644 section 4).
    #[must_use]
    pub fn describes_itself(self) -> bool {
        self.0 == ProfileName::Scim
    }

    /// Reads what the application says of itself.
    #[must_use]
    pub fn discover(self) -> Call {
        Call {
            method: Method::Get,
            path: String::from("/ServiceProviderConfig"),
            query: None,
            body: None,
            class: Class::Light,
        }
    }

    /// Turns `active` on or off.
    #[must_use]
    pub fn switch(self, id: &str, active: bool) -> Call {
        let operation = match self.0 {
            ProfileName::Zoom => zoom::switch(active),
            ProfileName::Scim => scim::switch(active),
        };
        let body = json!({ "schemas": [PATCH_OP], "Operations": [operation] });
        one(Method::Patch, id, Some(body.to_string().into_bytes()))
    }

    /// Deletes an account.
    #[must_use]
    pub fn delete(self, id: &str) -> Call {
        one(Method::Delete, id, None)
    }

    /// Whether the reply to a create shows all that the application keeps. Where it does not, one GET follows: Zoom
    /// answers a create with an id that a GET then denies (a pending user).
    #[must_use]
    pub fn create_reply_is_complete(self) -> bool {
        match self.0 {
            ProfileName::Zoom => false,
            ProfileName::Scim => true,
        }
    }

    /// Whether a single read shows this attribute, so that its absence there means that it was dropped.
    #[must_use]
    pub fn shows(self, attribute: &str) -> bool {
        match self.0 {
            ProfileName::Zoom => zoom::shows(attribute),
            // RFC 7643 7: returned by default, if it is kept at all.
            ProfileName::Scim => attribute != "password",
        }
    }

    /// Whether what is shown of an attribute is what was sent, where this application has a way of its own to show it.
    fn shows_as(self, attribute: &str, sent: &Value, shown: &Value) -> Option<bool> {
        match self.0 {
            ProfileName::Zoom => zoom::shows_as(attribute, sent, shown),
            ProfileName::Scim => None,
        }
    }

    /// Reads an answer.
    #[must_use]
    pub fn hear(self, aim: Aim, status: u16, body: &[u8]) -> Heard {
        let detail = || detail(body);
        if self.0 == ProfileName::Scim
            && let Some(heard) = scim::hear(aim, status, body)
        {
            return heard;
        }
        match status {
            200..=299 => done(aim, body),
            300..=399 => Heard::Unavailable(format!(
                "it answered with a redirect ({status}), which is not followed"
            )),
            // A collection that is not there is a wrong base URL or an outage, never a verdict on a person.
            404 if matches!(aim, Aim::LookUp | Aim::List | Aim::Create) => {
                Heard::Unavailable(detail())
            }
            404 => Heard::Absent(detail()),
            403 if self.0 == ProfileName::Zoom => zoom::forbidden(aim, detail()),
            401 | 403 | 425 | 429 => Heard::Unavailable(detail()),
            408 => unclear(aim, detail()),
            409 if aim == Aim::Create => Heard::Exists(detail()),
            400..=499 => zoom::refusal(aim, status, detail()),
            _ => unclear(aim, detail()),
        }
    }
}

fn unclear(aim: Aim, detail: String) -> Heard {
    match aim {
        Aim::LookUp | Aim::List | Aim::Read => Heard::Unavailable(detail),
        Aim::Create | Aim::Update | Aim::Switch | Aim::Delete => Heard::Ambiguous(detail),
    }
}

/// A 2xx. One that makes no sense is as good as no answer.
fn done(aim: Aim, body: &[u8]) -> Heard {
    let read = || serde_json::from_slice::<Value>(body).ok();
    match aim {
        Aim::Delete => Heard::Done,
        Aim::LookUp => match read().and_then(found) {
            Some(accounts) => Heard::Found(accounts),
            None => Heard::Unavailable(String::from("its list is not a SCIM ListResponse")),
        },
        Aim::List => match page(body) {
            Some((accounts, total)) => Heard::Page(accounts, total),
            None => Heard::Unavailable(String::from("its list is not a SCIM ListResponse")),
        },
        Aim::Read => match read().and_then(shown) {
            Some(account) => Heard::Account(Box::new(account)),
            None => Heard::Unavailable(String::from("its answer is not a SCIM user")),
        },
        Aim::Create => match read().and_then(shown) {
            Some(account) => Heard::Account(Box::new(account)),
            None => Heard::Ambiguous(String::from("its answer is not a SCIM user")),
        },
        // 204 and an empty 200 are good answers to a write (RFC 7644 3.5.2).
        Aim::Update | Aim::Switch if body.is_empty() => Heard::Done,
        Aim::Update | Aim::Switch => match read().and_then(shown) {
            Some(account) => Heard::Account(Box::new(account)),
            None => Heard::Ambiguous(String::from("its answer is not a SCIM user")),
        },
    }
}

/// A page of a list, and `totalResults`.
fn page(body: &[u8]) -> Option<(Vec<Shown>, Option<usize>)> {
    let list: Value = serde_json::from_slice(body).ok()?;
    let total = list.get("totalResults").and_then(Value::as_u64);
    let resources = found(list)?;
    Some((resources, total.and_then(|total| total.try_into().ok())))
}

fn found(list: Value) -> Option<Vec<Shown>> {
    let Value::Object(mut list) = list else {
        return None;
    };
    match list.remove("Resources") {
        Some(Value::Array(items)) => items.into_iter().map(shown).collect(),
        // SCIM servers leave the list out when it is empty.
        None | Some(Value::Null) if list.get("totalResults").and_then(Value::as_u64) == Some(0) => {
            Some(Vec::new())
        }
        _ => None,
    }
}

fn shown(value: Value) -> Option<Shown> {
    let Value::Object(attributes) = value else {
        return None;
    };
    let id = match attributes.get("id")? {
        Value::String(id) if !id.is_empty() => id.clone(),
        // Some servers number their users.
        Value::Number(id) => id.to_string(),
        _ => return None,
    };
    let text = |key: &str| {
        attributes
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let active = match attributes.get("active") {
        Some(Value::Bool(active)) => Some(*active),
        Some(Value::Number(active)) => active.as_u64().map(|active| active != 0),
        Some(Value::String(active)) if active.eq_ignore_ascii_case("true") => Some(true),
        Some(Value::String(active)) if active.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    };
    let created = attributes
        .get("meta")
        .and_then(|meta| meta.get("created"))
        .and_then(Value::as_str)
        .and_then(Timestamp::parse);
    Some(Shown {
        id,
        user_name: text("userName"),
        created,
        active,
        attributes,
    })
}

/// The application's own words: SCIM's `detail`, REST's `message`, or nothing that a person should read.
fn detail(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let text = said.as_ref().and_then(|said| {
        ["detail", "message", "error"]
            .iter()
            .find_map(|key| said.get(key)?.as_str())
    });
    match text {
        Some(text) => text
            .chars()
            .filter(|letter| !letter.is_control())
            .take(200)
            .collect(),
        None => String::from("it gave no reason"),
    }
}

fn one(method: Method, id: &str, body: Option<Vec<u8>>) -> Call {
    let path = format!("/Users/{}", utf8_percent_encode(id, ENCODED));
    Call {
        method,
        path,
        query: None,
        body,
        class: Class::Light,
    }
}

fn body(account: &Map<String, Value>) -> Vec<u8> {
    let mut body = account.clone();
    let extensions = account
        .keys()
        .filter(|key| key.starts_with("urn:"))
        .map(String::as_str);
    body.insert(
        String::from("schemas"),
        std::iter::once(USER).chain(extensions).collect(),
    );
    Value::Object(body).to_string().into_bytes()
}

/// What was sent and is not shown: top-level attributes, in the schema's spelling. What the profile's reads never show
/// is not held against it.
#[must_use]
pub fn dropped(profile: Profile, sent: &Map<String, Value>, shown: &Shown) -> Vec<String> {
    let differs = |key: &str, wanted: &Value| match (key, shown.attributes.get(key)) {
        ("emails", Some(_)) => {
            let (sent, seen) = (
                mapping::work_email(sent),
                mapping::work_email(&shown.attributes),
            );
            sent.is_some() && sent.map(str::to_lowercase) != seen.map(str::to_lowercase)
        }
        ("userName", Some(Value::String(seen))) => wanted
            .as_str()
            .is_some_and(|name| crate::scim::schema::fold(name) != crate::scim::schema::fold(seen)),
        ("active", _) => shown
            .active
            .is_some_and(|active| wanted.as_bool().is_some_and(|wanted| wanted != active)),
        (_, Some(seen)) => !profile
            .shows_as(key, wanted, seen)
            .unwrap_or_else(|| covers(seen, wanted)),
        (_, None) => profile.shows(key) && !is_empty(wanted),
    };
    sent.iter()
        .filter(|(key, wanted)| differs(key, wanted))
        .map(|(key, _)| key.clone())
        .collect()
}

/// Whether `seen` holds everything that `wanted` does; it may hold more (the application's own sub-attributes).
fn covers(seen: &Value, wanted: &Value) -> bool {
    match (seen, wanted) {
        (Value::Object(seen), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            seen.get(key)
                .map_or(is_empty(wanted), |seen| covers(seen, wanted))
        }),
        (Value::Array(seen), Value::Array(wanted)) => wanted
            .iter()
            .all(|wanted| seen.iter().any(|seen| covers(seen, wanted))),
        (seen, wanted) => seen == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_what_the_call_was_for() {
        let (zoom, scim) = (
            Profile::of(ProfileName::Zoom),
            Profile::of(ProfileName::Scim),
        );
        let user = br#"{"id":"k&K","userName":"a@x.example","active":"True","meta":{"created":"2026-11-23T20:00:00Z"}}"#;
        let check = |profile: Profile, aim, status, body: &[u8], want: &str| {
            let heard = format!("{:?}", profile.hear(aim, status, body));
            assert!(
                heard.starts_with(want),
                "{aim:?} {status}: {heard}, wanted {want}"
            );
        };
        let sso = br#"{"status":400,"detail":"Account has not enabled Single Sign-On."}"#;
        let belongs = br#"{"status":400,"detail":"User a@x.example not exist or not belong to this account."}"#;
        check(zoom, Aim::Create, 201, user, "Account(Shown { id: \"k&K\"");
        check(zoom, Aim::Create, 201, b"<html>", "Ambiguous");
        check(zoom, Aim::Create, 409, b"", "Exists");
        check(zoom, Aim::Create, 404, b"", "Unavailable");
        let there = br#"{"status":403,"detail":"The user already exists"}"#;
        let may_not = br#"{"detail":"The request was denied due to insufficient permissions"}"#;
        check(zoom, Aim::Create, 403, there, "Exists");
        check(zoom, Aim::Create, 403, may_not, "Unavailable");
        check(zoom, Aim::Update, 403, there, "Unavailable");
        check(scim, Aim::Create, 403, there, "Forbidden");
        let gone = br#"{"code":300,"message":"User does not exist."}"#;
        check(zoom, Aim::Read, 400, gone, "Absent");
        check(zoom, Aim::Read, 400, b"{}", "Unavailable");
        check(zoom, Aim::Update, 400, gone, "Absent");
        check(zoom, Aim::Create, 400, sso, "Unavailable");
        check(zoom, Aim::Create, 400, b"{}", "Refused { status: 400");
        check(zoom, Aim::Create, 502, b"", "Ambiguous");
        check(zoom, Aim::Create, 302, b"", "Unavailable");
        check(zoom, Aim::LookUp, 400, belongs, "NotBelonging");
        check(zoom, Aim::LookUp, 500, b"", "Unavailable");
        check(
            zoom,
            Aim::LookUp,
            200,
            br#"{"totalResults":0,"Resources":[]}"#,
            "Found([])",
        );
        check(
            scim,
            Aim::LookUp,
            200,
            br#"{"totalResults":0}"#,
            "Found([])",
        );
        check(
            scim,
            Aim::LookUp,
            200,
            br#"{"totalResults":1}"#,
            "Unavailable",
        );
        check(zoom, Aim::Update, 404, b"", "Absent");
        check(zoom, Aim::Update, 204, b"", "Done");
        check(zoom, Aim::Update, 409, b"", "Refused { status: 409");
        check(zoom, Aim::Delete, 204, b"", "Done");
        check(zoom, Aim::Delete, 429, b"", "Unavailable");
        check(scim, Aim::Switch, 200, b"[]", "Ambiguous");
    }

    #[test]
    fn calls_encode_what_they_name() {
        let zoom = Profile::of(ProfileName::Zoom);
        assert_eq!(zoom.read("k&K/..").path, "/Users/k%26K%2F..");
        let query = zoom.look_up("o\"brien+a@x.example").query.unwrap();
        assert_eq!(
            query,
            "filter=userName%20eq%20%22o%5C%22brien%2Ba%40x.example%22&startIndex=1&count=10"
        );
    }

    #[test]
    fn what_was_sent_and_is_not_shown_is_named() {
        let zoom = Profile::of(ProfileName::Zoom);
        let sent = json!({"userName":"New@x.example","displayName":"Ada","name":{"givenName":"Ada"},"userType":"Licensed","nickName":"a"});
        let seen = json!({"id":"1","userName":"old@x.example","displayName":"Ada","name":{"givenName":"Ada","familyName":"K"},"userType":"Basic"});
        let names = dropped(zoom, sent.as_object().unwrap(), &shown(seen).unwrap());
        assert_eq!(names, ["userName", "userType"]);
    }

    #[test]
    fn what_is_shown_in_other_words_was_not_dropped() {
        let role = |name: &str| json!({"display": name, "value": name});
        let table = [
            ("userType", json!("Licensed"), json!("Pro"), true),
            ("userType", json!("On-Prem"), json!("Corp"), true),
            ("userType", json!("Basic"), json!("Pro"), false),
            ("userType", json!("Licensed"), json!("Basic"), false),
            ("roles", json!([role("Admin")]), role("Admin"), true),
            ("roles", json!([role("Admin")]), role("Member"), false),
            ("roles", json!([role("Admin")]), role(""), true),
            (
                "roles",
                json!([role("Admin")]),
                json!([role("Admin")]),
                true,
            ),
            ("roles", json!([role("Admin")]), json!([]), false),
            ("title", json!("Dr"), json!(""), false),
        ];
        for (key, sent, seen, kept) in table {
            let told = format!("{key}: {sent} shown as {seen}");
            let sent = Map::from_iter([(String::from(key), sent)]);
            let seen = shown(json!({"id": "1", key: seen})).unwrap();
            let zoom = dropped(Profile::of(ProfileName::Zoom), &sent, &seen);
            assert_eq!(zoom.is_empty(), kept, "{told}");
        }
        // No other server means Licensed by Pro.
        let sent = Map::from_iter([(String::from("userType"), json!("Licensed"))]);
        let seen = shown(json!({"id": "1", "userType": "Pro"})).unwrap();
        assert_eq!(
            dropped(Profile::of(ProfileName::Scim), &sent, &seen),
            ["userType"]
        );
    }
}
