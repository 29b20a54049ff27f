//! The imitated application: the accounts and groups of one Zoom account, and which of the eleven operations a call
//! is. Pure: a call and the time in, a reply out.

use std::collections::HashSet;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::provision::call::Method;

use super::Options;
use super::faults::mix;
use super::groups::Groups;
use super::users::Users;

/// RFC 3986 2.3: what needs no encoding in a path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An account as it is, for asserting how things ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AccountView {
    /// Zoom's user id.
    pub id: String,
    /// The userName, which never changes.
    pub user_name: String,
    /// The e-mail address.
    pub email: String,
    /// Whether it is active.
    pub active: bool,
    /// Whether it is an invitation that nobody accepted: Zoom denies that there is such a user.
    pub pending: bool,
    /// The user as GET by id shows it.
    pub user: Value,
}

/// A group as it is, with the members that Zoom does not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// Zoom's group id.
    pub id: String,
    /// The name.
    pub display_name: String,
    /// The members' user ids, in the order in which the accounts were made.
    pub members: Vec<String>,
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// `None`: a method that SCIM has no use for.
    pub(super) method: Option<Method>,
    /// Below the base URL, percent-encoded.
    pub(super) path: &'a str,
    /// Without the question mark, percent-encoded.
    pub(super) query: Option<&'a str>,
    /// As it came.
    pub(super) body: &'a [u8],
}

/// One reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Option<Value>,
    /// Whether anything changed.
    pub(super) effect: bool,
}

impl Reply {
    /// An answer to a read, or to a write that changed nothing.
    pub(super) fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            body: Some(body),
            effect: false,
        }
    }

    /// 204.
    pub(super) fn empty(effect: bool) -> Self {
        Self {
            status: 204,
            body: None,
            effect,
        }
    }

    /// Zoom's error: the status is a number, and there is no scimType.
    pub(super) fn error(status: u16, detail: &str) -> Self {
        Self::new(status, error_body(status, detail))
    }

    /// The same, of a write that changed something if `effect`.
    pub(super) fn with_effect(self, effect: bool) -> Self {
        Self { effect, ..self }
    }
}

/// The body of Zoom's error.
pub(super) fn error_body(status: u16, detail: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "detail": detail,
        "status": status,
    })
}

/// The method of that name.
pub(super) fn method(name: &str) -> Option<Method> {
    [
        Method::Get,
        Method::Post,
        Method::Put,
        Method::Patch,
        Method::Delete,
    ]
    .into_iter()
    .find(|method| method.as_str() == name)
}

/// Accounts, groups and the rules of the account that they are in.
#[derive(Debug)]
pub(super) struct Zoom {
    /// What `meta.location` starts with.
    pub(super) base_url: String,
    pub(super) users: Users,
    pub(super) groups: Groups,
    pub(super) lookup_lag: Duration,
    associated_domains: Option<HashSet<String>>,
    preexisting: HashSet<String>,
    seed: u64,
    made: u64,
}

impl Zoom {
    pub(super) fn new(options: &Options, base_url: String) -> Self {
        let folded = |texts: &Vec<String>| texts.iter().map(|text| fold(text)).collect();
        let mut zoom = Self {
            base_url,
            users: Users::default(),
            groups: Groups::default(),
            lookup_lag: options.lookup_lag,
            associated_domains: options.associated_domains.as_ref().map(folded),
            preexisting: folded(&options.preexisting),
            seed: options.seed,
            made: 0,
        };
        if let Some(name) = &options.default_group {
            zoom.add_default_group(name, options.clock.now());
        }
        zoom
    }

    /// Carries out one call.
    pub(super) fn answer(&mut self, call: Call<'_>, now: Timestamp) -> Reply {
        let (collection, id) = match call.path.strip_prefix('/') {
            None => ("", None),
            Some(path) => match path.split_once('/') {
                None => (path, None),
                Some((collection, id)) => {
                    let id = percent_decode_str(id).decode_utf8_lossy().into_owned();
                    (collection, Some(id))
                }
            },
        };
        let done = match (collection, call.method, id.as_deref()) {
            ("Users", Some(Method::Get), None) => self.list_users(call.query, now),
            ("Users", Some(Method::Post), None) => self.create_user(call.body, now),
            ("Users", Some(Method::Get), Some(id)) => self.get_user(id),
            ("Users", Some(Method::Put), Some(id)) => self.put_user(id, call.body, now),
            ("Users", Some(Method::Patch), Some(id)) => self.patch_user(id, call.body, now),
            ("Users", Some(Method::Delete), Some(id)) => self.delete_user(id),
            ("Groups", Some(Method::Get), None) => self.list_groups(call.query),
            ("Groups", Some(Method::Post), None) => self.create_group(call.body, now),
            ("Groups", Some(Method::Get), Some(id)) => self.get_group(id),
            ("Groups", Some(Method::Patch), Some(id)) => self.patch_group(id, call.body, now),
            ("Groups", Some(Method::Delete), Some(id)) => self.delete_group(id),
            _ => Err(Reply::error(404, "The requested resource does not exist.")),
        };
        done.unwrap_or_else(|refused| refused)
    }

    /// Whether a user of this address stays pending until they accept.
    pub(super) fn stays_pending(&self, email: &str) -> bool {
        self.is_foreign(email) || self.preexisting.contains(&fold(email))
    }

    /// Whether the address is of none of the Associated Domains.
    pub(super) fn is_foreign(&self, email: &str) -> bool {
        let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.associated_domains
            .as_ref()
            .is_some_and(|domains| !domains.contains(&fold(domain)))
    }

    /// A new key, and an id of 22 characters of which every third holds an `&`, as Zoom's can.
    pub(super) fn new_id(&mut self) -> (u64, Box<str>) {
        const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        self.made += 1;
        let mut id = String::from("k");
        if self.made % 3 == 1 {
            id.push('&');
        } else {
            id.push('u');
        }
        for half in 0..2 {
            let mut left = mix(self.seed.wrapping_add(self.made * 2 + half));
            for _ in 0..10 {
                let digit = usize::try_from(left % 62)
                    .ok()
                    .and_then(|at| DIGITS.get(at));
                id.push(char::from(digit.copied().unwrap_or(b'0')));
                left /= 62;
            }
        }
        (self.made, id.into())
    }
}

/// How e-mail addresses, domains and group names compare.
pub(super) fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// The time as Zoom writes it: no fractions.
pub(super) fn zulu(at: Timestamp) -> String {
    let mut text = at.rfc3339();
    text.truncate("YYYY-MM-DDThh:mm:ss".len());
    text.push('Z');
    text
}

/// `meta` of a user or group.
pub(super) fn meta(
    kind: &str,
    location: String,
    (created, modified): (Timestamp, Timestamp),
    version: u64,
) -> Value {
    json!({
        "resourceType": kind,
        "location": location,
        "version": version.to_string(),
        "created": zulu(created),
        "lastModified": zulu(modified),
    })
}

/// Where a user or group is.
pub(super) fn location(base_url: &str, collection: &str, id: &str) -> String {
    format!(
        "{base_url}/{collection}/{}",
        utf8_percent_encode(id, ENCODED)
    )
}

/// RFC 7644 3.4.2.
pub(super) fn list(total: usize, start: usize, resources: Vec<Value>) -> Reply {
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    });
    Reply::new(200, body)
}

/// The object that a body is.
///
/// # Errors
/// Zoom's words for an empty body and for one that is none.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Reply> {
    let object = if body.trim_ascii().is_empty() {
        Map::new()
    } else {
        serde_json::from_slice(body)
            .map_err(|_| Reply::error(400, "The request body must be in JSON format."))?
    };
    if object.is_empty() {
        return Err(Reply::error(400, "The request JSON must not be empty."));
    }
    Ok(object)
}

/// Whether `schemas` is there. Zoom does not look into it, and takes a bare string.
pub(super) fn has_schemas(object: &Map<String, Value>) -> bool {
    match object.get("schemas") {
        Some(Value::Array(schemas)) => !schemas.is_empty(),
        Some(Value::String(schema)) => !schema.is_empty(),
        _ => false,
    }
}
