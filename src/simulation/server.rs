//! A SCIM server by the letter that does not refuse a second account of the same name and shows a new one to look-ups
//! only after a while: whoever creates twice has two.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::provision::call::{Call, Method};

/// An answer: status and body.
pub(super) type Reply = (u16, Option<Value>);

#[derive(Debug, Clone)]
struct Account {
    attributes: Map<String, Value>,
    created: Timestamp,
    shown_from: Timestamp,
}

#[derive(Debug, Clone)]
struct Group {
    name: String,
    members: BTreeSet<String>,
    shown_from: Timestamp,
}

/// The server.
#[derive(Debug, Default)]
pub(super) struct Server {
    accounts: BTreeMap<String, Account>,
    groups: BTreeMap<String, Group>,
    made: u64,
    /// How long something new stays out of look-ups.
    pub(super) lag: Duration,
}

/// An account or group as it is, for asserting.
#[derive(Debug, Clone)]
pub(super) struct There {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) active: bool,
    pub(super) pending: bool,
    pub(super) display: String,
    pub(super) title: String,
    pub(super) members: BTreeSet<String>,
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn absent() -> Reply {
    (404, Some(json!({ "status": "404", "detail": "not found" })))
}

/// The value of `... eq "value"` in a query.
fn wanted(query: Option<&str>) -> Option<String> {
    let filter = query?
        .split('&')
        .find_map(|part| part.strip_prefix("filter="))?;
    let filter = percent_decode_str(filter).decode_utf8_lossy().into_owned();
    let (_, literal) = filter.split_once(" eq ")?;
    serde_json::from_str(literal).ok()
}

fn list(found: Vec<Value>) -> Reply {
    let all = json!({ "totalResults": found.len(), "startIndex": 1, "itemsPerPage": found.len(), "Resources": found });
    (200, Some(all))
}

impl Server {
    fn next(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}", self.made)
    }

    fn show(id: &str, account: &Account) -> Value {
        let mut shown = account.attributes.clone();
        shown.insert("id".into(), id.into());
        let meta = json!({ "resourceType": "User", "created": account.created.rfc3339() });
        shown.insert("meta".into(), meta);
        Value::Object(shown)
    }

    fn show_group(id: &str, group: &Group) -> Value {
        json!({ "id": id, "displayName": group.name })
    }

    /// Carries out a call.
    pub(super) fn answer(&mut self, call: &Call, now: Timestamp) -> Reply {
        let body: Value = match &call.body {
            Some(bytes) => serde_json::from_slice(bytes).expect("our own JSON"),
            None => Value::Null,
        };
        let path = percent_decode_str(&call.path)
            .decode_utf8_lossy()
            .into_owned();
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let (collection, id) = (parts.next().unwrap_or_default(), parts.next());
        match (collection, id) {
            ("Users", None) => self.users(call, &body, now),
            ("Users", Some(id)) => self.user(call.method, id, &body),
            ("Groups", None) => self.all_groups(call, &body, now),
            ("Groups", Some(id)) => self.group(call.method, id, &body),
            _ => absent(),
        }
    }

    fn users(&mut self, call: &Call, body: &Value, now: Timestamp) -> Reply {
        if call.method == Method::Post {
            let id = self.next("u");
            let mut attributes = body.as_object().cloned().unwrap_or_default();
            attributes.remove("schemas");
            attributes.entry("active").or_insert(Value::Bool(true));
            let account = Account {
                attributes,
                created: now,
                shown_from: now.plus(self.lag),
            };
            let shown = Self::show(&id, &account);
            self.accounts.insert(id, account);
            return (201, Some(shown));
        }
        let name = wanted(call.query.as_deref());
        let found = self.accounts.iter().filter(|(_, account)| {
            let is = text(account.attributes.get("userName"));
            account.shown_from <= now
                && name
                    .as_ref()
                    .is_none_or(|name| is.eq_ignore_ascii_case(name))
        });
        list(found.map(|(id, account)| Self::show(id, account)).collect())
    }

    fn user(&mut self, method: Method, id: &str, body: &Value) -> Reply {
        if method == Method::Delete {
            return match self.accounts.remove(id) {
                Some(_) => {
                    for group in self.groups.values_mut() {
                        group.members.remove(id);
                    }
                    (204, None)
                }
                None => absent(),
            };
        }
        let Some(account) = self.accounts.get_mut(id) else {
            return absent();
        };
        match method {
            Method::Patch => {
                for operation in body["Operations"].as_array().into_iter().flatten() {
                    patch(&mut account.attributes, operation);
                }
            }
            Method::Put => {
                account.attributes = body.as_object().cloned().unwrap_or_default();
                account.attributes.remove("schemas");
            }
            _ => {}
        }
        (200, Some(Self::show(id, account)))
    }

    fn all_groups(&mut self, call: &Call, body: &Value, now: Timestamp) -> Reply {
        if call.method == Method::Post {
            let id = self.next("g");
            let group = Group {
                name: text(body.get("displayName")),
                members: BTreeSet::new(),
                shown_from: now.plus(self.lag),
            };
            let shown = Self::show_group(&id, &group);
            self.groups.insert(id, group);
            return (201, Some(shown));
        }
        let name = wanted(call.query.as_deref());
        let found = self.groups.iter().filter(|(_, group)| {
            group.shown_from <= now
                && name
                    .as_ref()
                    .is_none_or(|name| group.name.eq_ignore_ascii_case(name))
        });
        list(
            found
                .map(|(id, group)| Self::show_group(id, group))
                .collect(),
        )
    }

    fn group(&mut self, method: Method, id: &str, body: &Value) -> Reply {
        if method == Method::Delete {
            return match self.groups.remove(id) {
                Some(_) => (204, None),
                None => absent(),
            };
        }
        let Some(group) = self.groups.get_mut(id) else {
            return absent();
        };
        if method == Method::Patch {
            for operation in body["Operations"].as_array().into_iter().flatten() {
                let (op, path) = (text(operation.get("op")), text(operation.get("path")));
                let value = &operation["value"];
                match (op.as_str(), path.as_str()) {
                    ("replace", "displayName") => group.name = text(Some(value)),
                    ("add", "members") => {
                        for member in value.as_array().into_iter().flatten() {
                            let id = text(member.get("value"));
                            if !self.accounts.contains_key(&id) {
                                return (400, Some(json!({ "detail": "no such member" })));
                            }
                            group.members.insert(id);
                        }
                    }
                    ("replace", "members") => {
                        let members = value.as_array().into_iter().flatten();
                        group.members = members.map(|one| text(one.get("value"))).collect();
                    }
                    ("remove", path) => {
                        let id = path.split('"').nth(1).unwrap_or_default();
                        group.members.remove(id);
                    }
                    other => panic!("an operation on a group that nobody should send: {other:?}"),
                }
            }
        }
        (200, Some(Self::show_group(id, group)))
    }

    /// Every account.
    pub(super) fn accounts(&self) -> Vec<There> {
        let all = self.accounts.iter().map(|(id, account)| There {
            id: id.clone(),
            name: text(account.attributes.get("userName")),
            active: account.attributes.get("active") != Some(&Value::Bool(false)),
            pending: false,
            display: text(account.attributes.get("displayName")),
            title: text(account.attributes.get("title")),
            members: BTreeSet::new(),
        });
        all.collect()
    }

    /// Every group.
    pub(super) fn groups(&self) -> Vec<There> {
        let all = self.groups.iter().map(|(id, group)| There {
            id: id.clone(),
            name: group.name.clone(),
            active: true,
            pending: false,
            display: group.name.clone(),
            title: String::new(),
            members: group.members.clone(),
        });
        all.collect()
    }
}

fn patch(attributes: &mut Map<String, Value>, operation: &Value) {
    let (op, path) = (text(operation.get("op")), text(operation.get("path")));
    let (name, part) = match path.split_once('.') {
        Some((name, part)) => (name, Some(part)),
        None => (path.as_str(), None),
    };
    let target = match part {
        None => attributes,
        Some(_) => match attributes.entry(name).or_insert_with(|| json!({})) {
            Value::Object(parts) => parts,
            _ => return,
        },
    };
    let key = part.unwrap_or(name);
    if op == "remove" {
        target.remove(key);
    } else {
        target.insert(key.to_owned(), operation["value"].clone());
    }
}
