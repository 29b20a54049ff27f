//! One account: what Zoom keeps of what it is given, and the two shapes in which it shows it. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;

use super::quirks::{Admins, Licences, Quirks, Shape};
use super::zoom::{self, Reply};

const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Licences and profile fields; set by PUT, not shown in lists.
const LICENCES: &str = "urn:ietf:params:scim:schemas:extension:zoom:1.0:User";

/// How the user signs in; set at create only, shown in lists only.
const LOGIN: &str = "urn:us:zoom:scim:schemas:extension:1.0:ZoomUser";

/// Keys of [`LICENCES`] that are accepted and never shown.
const UNSHOWN: [&str; 3] = [
    "zoomPhoneNumber",
    "zoomPhoneCallingPlan",
    "zoomPhoneCallingPlanSubscription",
];

/// An account.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Account {
    pub(super) id: Box<str>,
    pub(super) user_name: String,
    pub(super) email: String,
    pub(super) active: bool,
    pub(super) pending: bool,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) version: u64,
    /// The keys of the groups that it is in.
    pub(super) groups: BTreeSet<u64>,
    /// What else Zoom keeps, by its SCIM name.
    attributes: Map<String, Value>,
    /// What deactivating took away, where it comes back: the userType and the licences.
    taken: Option<(Value, Map<String, Value>)>,
}

impl Account {
    /// A new account from the body of a POST.
    pub(super) fn create(
        id: Box<str>,
        user_name: &str,
        given: &Map<String, Value>,
        quirks: &Quirks,
        now: Timestamp,
    ) -> Result<Self, Reply> {
        let mut account = Self {
            id,
            user_name: user_name.to_owned(),
            email: work_email(given).unwrap_or(user_name).to_owned(),
            active: true,
            pending: false,
            created: now,
            modified: now,
            version: 1,
            groups: BTreeSet::new(),
            attributes: Map::new(),
            taken: None,
        };
        let login = given.get(LOGIN).filter(|login| login.is_object());
        let login = login
            .cloned()
            .unwrap_or_else(|| json!({"loginType": {"workEmail": false, "sso": true}}));
        account.attributes.insert(LOGIN.into(), login);
        account.attributes.insert("userType".into(), "Basic".into());
        account.attributes.insert(
            "roles".into(),
            json!([{"display": "Member", "value": "Member", "primary": true}]),
        );
        account.merge(given, &[], quirks)?;
        if let Some(joined) = account.joined_name().filter(|_| !quirks.no_joined_name) {
            account.attributes.entry("displayName").or_insert(joined);
        }
        Ok(account)
    }

    /// What PUT does where it replaces: what it does not name is gone, but for what Zoom decides by itself.
    pub(super) fn clear(&mut self, drops: &[String]) {
        self.attributes.retain(|key, _| {
            matches!(key.as_str(), LOGIN | "roles" | "userType") || is_dropped(drops, key)
        });
    }

    /// What PUT does: takes what is given and keeps the rest. Also `active`, not the e-mail address or the userName.
    /// What Zoom does not know, and what is in `drops`, is dropped without a word.
    pub(super) fn merge(
        &mut self,
        given: &Map<String, Value>,
        drops: &[String],
        quirks: &Quirks,
    ) -> Result<(), Reply> {
        for (key, value) in given.iter().filter(|(key, _)| !is_dropped(drops, key)) {
            match (key.as_str(), value) {
                ("userType", Value::String(kind))
                    if quirks.collaboration_refused
                        && matches!(kind.as_str(), "Collaboration" | "None") =>
                {
                    let detail = "The \"userType\" of the request is invalid.";
                    return Err(Reply::error(400, detail));
                }
                ("externalId", Value::String(_)) if !quirks.external_id_kept => {}
                (
                    "displayName" | "userType" | "title" | "locale" | "externalId",
                    Value::String(_),
                )
                | ("phoneNumbers" | "roles", Value::Array(_)) => {
                    self.attributes.insert(key.clone(), value.clone());
                }
                ("name", Value::Object(parts)) => self.merge_into(key, parts, |part| {
                    matches!(part, "givenName" | "familyName") && !is_dropped(drops, part)
                }),
                (ENTERPRISE | LICENCES, Value::Object(parts)) => {
                    self.merge_into(key, parts, |part| !is_dropped(drops, part));
                }
                (LOGIN, Value::Object(parts)) => {
                    self.merge_into(key, parts, |part| !is_dropped(drops, part));
                }
                _ => {}
            }
        }
        match given.get("active").filter(|_| !is_dropped(drops, "active")) {
            Some(active) => self.set_active(truth(active).unwrap_or(self.active), quirks),
            None => self.set_active(self.active, quirks),
        }
    }

    /// Activates or deactivates. By default an inactive account has no licences, and an admin's stays active without
    /// an error.
    pub(super) fn set_active(&mut self, active: bool, quirks: &Quirks) -> Result<(), Reply> {
        let spared = !active && self.active && self.is_admin();
        if spared && quirks.admins == Admins::Refused {
            let detail = "Users with the role Admin or Owner cannot be deactivated.";
            return Err(Reply::error(400, detail));
        }
        let was = self.active;
        self.active = active || (spared && quirks.admins == Admins::StaysActive);
        if self.active {
            if let Some((kind, licences)) = self.taken.take() {
                self.attributes.insert("userType".into(), kind);
                self.merge_into(LICENCES, &licences, |_| true);
            }
            return Ok(());
        }
        if quirks.licences == Licences::Kept {
            return Ok(());
        }
        let kind = self.attributes.insert("userType".into(), "Basic".into());
        let mut taken = Map::new();
        if let Some(Value::Object(licences)) = self.attributes.get_mut(LICENCES) {
            let names: Vec<String> = licences
                .keys()
                .filter(|key| is_licence(key))
                .cloned()
                .collect();
            for name in names {
                if let Some(licence) = licences.remove(&name) {
                    taken.insert(name, licence);
                }
            }
        }
        if was && quirks.licences == Licences::Returned {
            self.taken = kind.map(|kind| (kind, taken));
        }
        Ok(())
    }

    /// Whether it counts against the number of Basic users.
    pub(super) fn is_basic(&self) -> bool {
        self.attributes
            .get("userType")
            .is_some_and(|kind| kind == "Basic")
    }

    /// Whether the person signs in by Single Sign-On and by nothing else.
    pub(super) fn is_sso_only(&self) -> bool {
        let login = self.attributes.get(LOGIN).map(|login| &login["loginType"]);
        login.is_some_and(|login| login["sso"] == true && login["workEmail"] != true)
    }

    /// The item of a list: poor.
    pub(super) fn slim(&self, base_url: &str, quirks: &Quirks) -> Value {
        let department = self
            .attributes
            .get(ENTERPRISE)
            .and_then(|extension| extension.get("department"));
        let mut shown = self.core(base_url, quirks, department.is_some(), LOGIN);
        if let Some(department) = department {
            shown.insert(ENTERPRISE.into(), json!({"department": department}));
        }
        self.show(&mut shown, &[LOGIN]);
        Value::Object(shown)
    }

    /// The single user: rich. `groups` are the ids and names of its groups.
    pub(super) fn rich<'a>(
        &self,
        base_url: &str,
        quirks: &Quirks,
        groups: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Value {
        let enterprise = self.attributes.contains_key(ENTERPRISE);
        let mut shown = self.core(base_url, quirks, enterprise, LICENCES);
        self.show(
            &mut shown,
            &[
                "title",
                "locale",
                "phoneNumbers",
                "roles",
                ENTERPRISE,
                LICENCES,
            ],
        );
        if let Some(Value::Object(licences)) = shown.get_mut(LICENCES) {
            licences.retain(|key, _| quirks.phone_fields_shown || !UNSHOWN.contains(&key.as_str()));
        }
        if let Some(Value::Array(roles)) = shown.remove("roles") {
            shape(&mut shown, "roles", roles, quirks.roles_shape);
        }
        // No id: a reader has to look the group up by its name. `primary` is a string here.
        let groups = groups.enumerate().map(|(at, (id, name))| {
            let primary = if at == 0 { "true" } else { "false" };
            let mut group = json!({"display": name, "type": "direct", "primary": primary});
            if quirks.group_ids_shown {
                group["value"] = id.into();
            }
            group
        });
        shape(&mut shown, "groups", groups.collect(), quirks.groups_shape);
        Value::Object(shown)
    }

    /// What a list that is not slim shows.
    pub(super) fn add_login(&self, shown: &mut Value) {
        if let Value::Object(shown) = shown {
            self.show(shown, &[LOGIN]);
        }
    }

    fn core(
        &self,
        base_url: &str,
        quirks: &Quirks,
        enterprise: bool,
        extension: &str,
    ) -> Map<String, Value> {
        let mut schemas = vec![CORE];
        if enterprise {
            schemas.push(ENTERPRISE);
        }
        if self.attributes.contains_key(extension) {
            schemas.push(extension);
        }
        let location = zoom::location(base_url, "Users", &self.id);
        let mut shown = Map::new();
        shown.insert("id".into(), (*self.id).into());
        shown.insert("schemas".into(), schemas.into());
        shown.insert(
            "meta".into(),
            zoom::meta(
                quirks,
                "User",
                location,
                (self.created, self.modified),
                self.version,
            ),
        );
        shown.insert("userName".into(), self.user_name.as_str().into());
        shown.insert("active".into(), self.active.into());
        shown.insert(
            "emails".into(),
            json!([{"type": "work", "value": self.email, "primary": true}]),
        );
        self.show(
            &mut shown,
            &["name", "displayName", "userType", "externalId"],
        );
        if quirks.old_user_types {
            let old = match shown.get("userType").and_then(Value::as_str) {
                Some("Licensed") => Some("Pro"),
                Some("On-Prem") => Some("Corp"),
                _ => None,
            };
            if let Some(old) = old {
                shown.insert("userType".into(), old.into());
            }
        }
        shown
    }

    fn show(&self, shown: &mut Map<String, Value>, keys: &[&str]) {
        for key in keys {
            if let Some(value) = self.attributes.get(*key) {
                shown.insert((*key).to_owned(), value.clone());
            }
        }
    }

    fn merge_into(&mut self, key: &str, parts: &Map<String, Value>, known: impl Fn(&str) -> bool) {
        let into = self
            .attributes
            .entry(key)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(into) = into {
            for (part, value) in parts {
                if known(part) && !value.is_null() {
                    into.insert(part.clone(), value.clone());
                }
            }
        }
    }

    fn joined_name(&self) -> Option<Value> {
        let name = self.attributes.get("name")?;
        let part = |key| name.get(key).and_then(Value::as_str).unwrap_or("").trim();
        let joined = format!("{} {}", part("givenName"), part("familyName"));
        let joined = joined.trim();
        (!joined.is_empty()).then(|| joined.into())
    }

    /// Whether a role of it is Admin or Owner.
    pub(super) fn is_admin(&self) -> bool {
        let Some(Value::Array(roles)) = self.attributes.get("roles") else {
            return false;
        };
        let names = roles
            .iter()
            .flat_map(|role| [&role["display"], &role["value"]]);
        names
            .filter_map(Value::as_str)
            .any(|name| name.eq_ignore_ascii_case("admin") || name.eq_ignore_ascii_case("owner"))
    }
}

/// Whether PUT drops what is called so.
pub(super) fn is_dropped(drops: &[String], name: &str) -> bool {
    drops.iter().any(|drop| drop.eq_ignore_ascii_case(name))
}

/// Shows a list as this account does. An object of nothing is left out.
fn shape(shown: &mut Map<String, Value>, name: &str, items: Vec<Value>, shape: Shape) {
    let value = match shape {
        Shape::Array => Value::Array(items),
        Shape::Object => match items.into_iter().next() {
            Some(first) => first,
            None => return,
        },
        Shape::Nameless => json!({"display": "", "value": ""}),
    };
    shown.insert(name.to_owned(), value);
}

/// Whether the text looks like an e-mail address.
pub(super) fn is_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.is_empty()
            && !domain.contains('@')
            && !text.contains(char::is_whitespace)
    })
}

/// The one address that Zoom takes out of `emails`: work, else primary, else the first.
pub(super) fn work_email(given: &Map<String, Value>) -> Option<&str> {
    let Some(Value::Array(emails)) = given.get("emails") else {
        return None;
    };
    let work = |email: &&Value| {
        email["type"]
            .as_str()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("work"))
    };
    let primary = |email: &&Value| email["primary"].as_bool() == Some(true);
    let email = emails.iter().find(work);
    let email = email
        .or_else(|| emails.iter().find(primary))
        .or(emails.first())?;
    email["value"].as_str().filter(|value| is_address(value))
}

/// A boolean, also as the word that Entra sends.
pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Zoom's list of licences grows with every release; its names follow these patterns. The rest of the extension is the
/// user's profile (`pronouns`, `personalLinkName`) and the account's own attributes.
fn is_licence(key: &str) -> bool {
    key.starts_with("zoom")
        || key.ends_with("Subscription")
        || matches!(
            key,
            "eduStandardStudent"
                | "visitorManagement"
                | "clinicalNotes"
                | "deepfakeRiskDetection"
                | "wvHqAgent"
                | "workforceManagementRole"
                | "qualityManagementRole"
        )
}
