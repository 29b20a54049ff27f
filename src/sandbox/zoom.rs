//! The imitated application: the accounts and groups of one Zoom account, and which of the eleven operations a call
//! is. Pure: a call and the time in, a reply out.

use std::collections::HashSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::provision::call::Method;

use super::Options;
use super::faults::mix;
use super::groups::Groups;
use super::quirks::{ErrorShape, Permission, Quirks};
use super::rate::{Header, Rates};
use super::users::Users;

/// RFC 3986 2.3: what needs no encoding in a path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const NO_SUCH_PATH: &str = "The requested resource does not exist.";

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
    /// Whose it is.
    pub(super) door: Door,
    /// `Authorization`, as it came.
    pub(super) authorization: Option<&'a str>,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// The SCIM API.
    Scim,
    /// The token endpoint.
    Token,
}

/// What a path below the base URL is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Users,
    User,
    Groups,
    Group,
}

impl Endpoint {
    /// The endpoint, and the id if it is of one resource. `None`: Zoom has no such path.
    pub(super) fn of(path: &str, any_case: bool) -> Option<(Self, String)> {
        let path = path.strip_prefix('/')?;
        let (collection, id) = match path.split_once('/') {
            None => (path, None),
            Some((collection, id)) => (collection, Some(id)),
        };
        let is =
            |name: &str| collection == name || (any_case && collection.eq_ignore_ascii_case(name));
        let endpoint = match id {
            None if is("Users") => Self::Users,
            None if is("Groups") => Self::Groups,
            Some(_) if is("Users") => Self::User,
            Some(_) if is("Groups") => Self::Group,
            _ => return None,
        };
        let id = percent_decode_str(id.unwrap_or("")).decode_utf8_lossy();
        Some((endpoint, id.into_owned()))
    }

    fn is_of_users(self) -> bool {
        matches!(self, Self::Users | Self::User)
    }
}

/// One reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Option<Value>,
    /// Whether anything changed.
    pub(super) effect: bool,
    /// Headers beyond those of the body.
    pub(super) headers: Vec<Header>,
}

impl Reply {
    /// An answer to a read, or to a write that changed nothing.
    pub(super) fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            body: Some(body),
            effect: false,
            headers: Vec::new(),
        }
    }

    /// 204.
    pub(super) fn empty(effect: bool) -> Self {
        Self {
            status: 204,
            body: None,
            effect,
            headers: Vec::new(),
        }
    }

    /// Zoom's error: the status is a number, and there is no scimType.
    pub(super) fn error(status: u16, detail: &str) -> Self {
        Self::new(status, error_body(status, detail))
    }

    /// An error in the form of Zoom's REST API, which its common layer uses everywhere.
    pub(super) fn rest(status: u16, code: u16, message: &str) -> Self {
        Self::new(status, json!({"code": code, "message": message}))
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
    pub(super) quirks: Quirks,
    pub(super) rates: Rates,
    /// The addresses of those who were disassociated: they have a free account now.
    pub(super) free_accounts: HashSet<String>,
    /// Folded, as in the quirks.
    associated_domains: HashSet<String>,
    preexisting: HashSet<String>,
    /// How many errors were answered, for those that go in turns.
    errors: u64,
    seed: u64,
    made: u64,
}

impl Zoom {
    pub(super) fn new(options: &Options, base_url: String) -> Self {
        let mut zoom = Self {
            base_url,
            users: Users::default(),
            groups: Groups::default(),
            quirks: Quirks::default(),
            rates: Rates::default(),
            free_accounts: HashSet::new(),
            associated_domains: HashSet::new(),
            preexisting: HashSet::new(),
            errors: 0,
            seed: options.seed,
            made: 0,
        };
        zoom.set_quirks(options.quirks.clone(), options.clock.now());
        zoom
    }

    /// Behaves so from now on. What is there stays as it is; only the default group is made or named.
    pub(super) fn set_quirks(&mut self, quirks: Quirks, now: Timestamp) {
        let folded = |texts: &[String]| texts.iter().map(|text| fold(text)).collect();
        self.associated_domains = folded(&quirks.associated_domains);
        self.preexisting = folded(&quirks.preexisting);
        let before = std::mem::replace(&mut self.quirks, quirks);
        if before.default_group != self.quirks.default_group {
            let name = self.quirks.default_group.clone();
            self.name_default_group(&name, now);
        }
    }

    /// Carries out one call.
    pub(super) fn answer(&mut self, call: Call<'_>, now: Timestamp) -> Reply {
        let reply = match self.carry_out(call, now) {
            Ok(reply) => reply,
            Err(refused) => self.in_its_envelope(refused),
        };
        debug_assert!(
            reply.status < 400 || !reply.effect,
            "an error has no effect"
        );
        reply
    }

    fn carry_out(&mut self, call: Call<'_>, now: Timestamp) -> Result<Reply, Reply> {
        let none = || Reply::error(404, NO_SUCH_PATH);
        let (endpoint, id) =
            Endpoint::of(call.path, self.quirks.any_case_paths).ok_or_else(none)?;
        let method = call.method.ok_or_else(none)?;
        self.check_account(method, endpoint)?;
        let (id, body) = (id.as_str(), call.body);
        match (endpoint, method) {
            (Endpoint::Users, Method::Get) => self.list_users(call.query, now),
            (Endpoint::Users, Method::Post) => self.create_user(body, now),
            (Endpoint::User, Method::Get) => self.get_user(id, now),
            (Endpoint::User, Method::Put) => self.put_user(id, body, now),
            (Endpoint::User, Method::Patch) => self.patch_user(id, body, now),
            (Endpoint::User, Method::Delete) => self.delete_user(id),
            (Endpoint::Groups, Method::Get) => self.list_groups(call.query, now),
            (Endpoint::Groups, Method::Post) => self.create_group(body, now),
            (Endpoint::Group, Method::Get) => self.get_group(id, now),
            (Endpoint::Group, Method::Patch) => self.patch_group(id, body, now),
            (Endpoint::Group, Method::Delete) => self.delete_group(id),
            _ => Err(none()),
        }
    }

    /// What stands in the way of every call of a kind: no Single Sign-On, a permission that is missing.
    fn check_account(&self, method: Method, endpoint: Endpoint) -> Result<(), Reply> {
        if self.quirks.sso_off && endpoint.is_of_users() {
            return Err(Reply::error(400, "Account has not enabled Single Sign-On."));
        }
        let needed = match (endpoint.is_of_users(), method) {
            (true, Method::Get) => Permission::UserRead,
            (true, _) => Permission::UserEdit,
            (false, Method::Get) => Permission::GroupRead,
            (false, _) => Permission::GroupEdit,
        };
        if self.quirks.missing_permissions.contains(&needed) {
            let detail = format!(
                "The request was denied due to insufficient permissions: \"{}\".",
                needed.name()
            );
            return Err(Reply::error(403, &detail));
        }
        Ok(())
    }

    /// A SCIM error as this account writes it.
    fn in_its_envelope(&mut self, mut refused: Reply) -> Reply {
        let detail = refused
            .body
            .as_ref()
            .and_then(|body| body["detail"].as_str());
        let Some(detail) = detail.map(str::to_owned) else {
            return refused;
        };
        refused.status = match refused.status {
            404 if detail != NO_SUCH_PATH => self.quirks.not_found_status,
            409 => self.quirks.exists_status,
            status => status,
        };
        self.errors += 1;
        let rest = match self.quirks.error_shape {
            ErrorShape::Scim => false,
            ErrorShape::Rest => true,
            ErrorShape::Mixed => self.errors.is_multiple_of(2),
        };
        if rest {
            // 300 is the general code of Zoom's REST API.
            let code = if refused.status == 400 {
                300
            } else {
                refused.status
            };
            refused.body = Some(json!({"code": code, "message": detail}));
        } else if let Some(body) = &mut refused.body {
            body["status"] = match self.quirks.error_status_text {
                true => refused.status.to_string().into(),
                false => refused.status.into(),
            };
        }
        refused
    }

    /// Whether a user of this address stays pending until they accept.
    pub(super) fn stays_pending(&self, email: &str) -> bool {
        let folded = fold(email);
        self.is_foreign(email)
            || self.preexisting.contains(&folded)
            || self.free_accounts.contains(&folded)
    }

    /// Whether the address is of none of the Associated Domains.
    pub(super) fn is_foreign(&self, email: &str) -> bool {
        let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
        !self.associated_domains.is_empty() && !self.associated_domains.contains(&fold(domain))
    }

    /// A new key, and an id of 22 characters of which every third holds an `&`, as Zoom's can.
    pub(super) fn new_id(&mut self) -> (u64, Box<str>) {
        const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        self.made += 1;
        let mut id = String::from("k");
        if self.made % 3 == 1 && !self.quirks.plain_ids {
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
    quirks: &Quirks,
    kind: &str,
    location: String,
    (created, modified): (Timestamp, Timestamp),
    version: u64,
) -> Value {
    let mut meta = json!({
        "resourceType": kind,
        "location": location,
        "version": version.to_string(),
    });
    if !quirks.meta_without_dates {
        meta["created"] = zulu(created).into();
        meta["lastModified"] = zulu(modified).into();
    }
    meta
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
