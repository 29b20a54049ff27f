//! What a mapping gives for one user: the account's body. Deterministic and total.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::compile::{Mapping, Slot, mark_primary};
use super::rule::Apply;
use super::target::{Target, is_type};
use super::transform::is_given;
use super::walk::Subject;

/// What the body is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Giving<'a> {
    /// A new account.
    Create,
    /// One that is there.
    Update {
        /// What is known to stand in it: seen if that is known, else sent. `None`: nothing is known, and `if_empty` rules
        /// leave it alone.
        current: Option<&'a Map<String, Value>>,
    },
}

/// What a mapping gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapped {
    /// The SCIM body without `schemas` and `id`; `active` is in it.
    pub account: Map<String, Value>,
    /// Required targets without a value, in the mapping's order. With any of these no call is made.
    pub missing: Vec<String>,
    /// Targets whose value is never shown, whether there is one or not.
    pub redacted: Vec<String>,
}

impl Mapping {
    /// Maps one user: `user` is the directory's attributes.
    #[must_use]
    pub fn run(&self, user: &Map<String, Value>, how: Giving<'_>) -> Mapped {
        self.run_slots(self.slots.iter(), user, how)
    }

    /// The userName that a new account would get, and nothing else.
    #[must_use]
    pub fn run_user_name(&self, user: &Map<String, Value>) -> Map<String, Value> {
        let is_user_name = |target: &Target| target.urn.is_none() && target.attribute == "userName";
        let slots = self.slots.iter().filter(|slot| is_user_name(&slot.target));
        self.run_slots(slots, user, Giving::Create).account
    }

    fn run_slots<'a>(
        &self,
        slots: impl Iterator<Item = &'a Slot>,
        user: &Map<String, Value>,
        how: Giving<'_>,
    ) -> Mapped {
        let subject = Subject::new(user);
        let mut mapped = Mapped::default();
        for slot in slots {
            let mut required = slot.required;
            let mut given = None;
            for rule in slot.rules.iter().filter(|rule| rule.speaks(user, how)) {
                required |= rule.required;
                given = rule.value(&subject);
                if given.is_some() {
                    break;
                }
            }
            match given {
                Some(value) => slot.target.write(&mut mapped.account, value),
                None if required => mapped.missing.push(slot.target.text()),
                None => {}
            }
            if slot.rules.iter().any(|rule| rule.redact) {
                mapped.redacted.push(slot.target.text());
            }
        }
        if self.marks_primary {
            mark_primary(&mut mapped.account);
        }
        mapped
    }

    /// Adds to an update what the rules gave before and give no longer, in its clearing form: "" for a text, [] for a list.
    /// `previous` is what was sent last. What is required or given only once is left alone, and so is what has no empty
    /// form: numbers, booleans, Zoom's userType.
    pub fn clear(&self, previous: &Map<String, Value>, account: &mut Map<String, Value>) {
        for (name, old) in previous {
            match old {
                // An extension's attributes stand under its URN.
                Value::Object(parts) if name.contains(':') => {
                    for (attribute, old) in parts {
                        self.clear_attribute(Some(name), attribute, old, account);
                    }
                }
                old => self.clear_attribute(None, name, old, account),
            }
        }
    }

    /// Whether what was sent is what this mapping gives now, so that nothing need be sent: the no-op shield. `account` has
    /// been through [`Mapping::clear`]. What is given only once does not count: an update does not carry it.
    #[must_use]
    pub fn same(&self, sent: &Map<String, Value>, account: &Map<String, Value>) -> bool {
        self.lasting(sent) == self.lasting(account)
    }

    /// Whether a change to this attribute of the directory (`title`, `name.givenName`, `urn:...:User:department`) shows
    /// what a rule with `redact` reads.
    #[must_use]
    pub fn redacts(&self, attribute: &str) -> bool {
        let mut rules = self.slots.iter().flat_map(|slot| &slot.rules);
        rules.any(|rule| rule.hides(attribute))
    }

    /// Whether what it gives may depend on this attribute of the directory, a user's first level.
    #[must_use]
    pub fn reads(&self, attribute: &str) -> bool {
        let mut rules = self.slots.iter().flat_map(|slot| &slot.rules);
        rules.any(|rule| rule.reads(attribute))
    }

    /// Whether a rule with `redact` gives (part of) what stands under this key in an account's body.
    #[must_use]
    pub fn redacts_there(&self, key: &str) -> bool {
        let mut rules = self.slots.iter().flat_map(|slot| &slot.rules);
        rules.any(|rule| {
            let under = rule.target.urn.as_ref().unwrap_or(&rule.target.attribute);
            rule.redact && under.eq_ignore_ascii_case(key)
        })
    }

    fn clear_attribute(
        &self,
        urn: Option<&str>,
        attribute: &str,
        old: &Value,
        account: &mut Map<String, Value>,
    ) {
        let within = match urn {
            Some(urn) => account.get(urn).and_then(Value::as_object),
            None => Some(&*account),
        };
        let new = within.and_then(|within| within.get(attribute));
        let mut empty: Vec<(Target, Value)> = Vec::new();
        let mut add = |sub: Option<&str>, old: &Value| {
            if let Some(form) = clearing(old)
                && !self.keeps(urn, attribute, sub)
            {
                empty.push((Target::place(urn, attribute, sub), form));
            }
        };
        match (old, new) {
            (Value::Object(old), new) => {
                for (sub, old) in old {
                    if new.and_then(|new| new.get(sub)).is_none() {
                        add(Some(sub), old);
                    }
                }
            }
            (old, None) => add(None, old),
            (_, Some(_)) => {}
        }
        for (target, form) in empty {
            target.write(account, form);
        }
    }

    /// Whether a place must not be cleared: it, what it is part of, or a part of it is given once or required.
    fn keeps(&self, urn: Option<&str>, attribute: &str, sub: Option<&str>) -> bool {
        self.kept.iter().any(|kept| {
            kept.urn.as_deref() == urn
                && kept.attribute == attribute
                && (kept.entry.is_some()
                    || kept.sub.is_none()
                    || sub.is_none()
                    || kept.sub.as_deref() == sub)
        })
    }

    /// Without what is given only once.
    fn lasting<'a>(&self, account: &'a Map<String, Value>) -> Cow<'a, Map<String, Value>> {
        let mut lasting = Cow::Borrowed(account);
        for slot in &self.slots {
            let once = slot.rules.iter().any(|rule| rule.apply != Apply::Always);
            if once && slot.target.read(account).is_some() {
                slot.target.remove(lasting.to_mut());
            }
        }
        lasting
    }
}

/// The account's userName.
#[must_use]
pub fn user_name(account: &Map<String, Value>) -> Option<&str> {
    given_text(account.get("userName")?)
}

/// The account's work e-mail: the entry of type work, else one that has no type.
#[must_use]
pub fn work_email(account: &Map<String, Value>) -> Option<&str> {
    let items = account.get("emails")?.as_array()?;
    let work = items.iter().find(|item| is_type(item, "work"));
    let untyped = || items.iter().find(|item| item.get("type").is_none());
    given_text(work.or_else(untyped)?.get("value")?)
}

fn given_text(value: &Value) -> Option<&str> {
    value.as_str().filter(|_| is_given(value))
}

/// What a value becomes when it is given no longer.
fn clearing(old: &Value) -> Option<Value> {
    match old {
        Value::String(_) => Some(Value::String(String::new())),
        Value::Array(_) => Some(Value::Array(Vec::new())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::shape::ProfileName::{Scim, Zoom};
    use crate::mapping::rule::Row;
    use crate::mapping::tests::{ENTERPRISE, object, row, rule};

    #[test]
    fn apply() {
        let user = json!({"userName": "a", "title": "new"});
        for (apply, required, on_create, current, on_update, missing) in [
            (
                "always",
                false,
                "new",
                Some(json!({"title": "old"})),
                json!("new"),
                false,
            ),
            ("create", false, "new", Some(json!({})), json!(null), false),
            ("create", true, "new", None, json!(null), false),
            (
                "if_empty",
                false,
                "new",
                Some(json!({"title": "old"})),
                json!(null),
                false,
            ),
            (
                "if_empty",
                true,
                "new",
                Some(json!({"title": " "})),
                json!("new"),
                false,
            ),
            (
                "if_empty",
                false,
                "new",
                Some(json!({})),
                json!("new"),
                false,
            ),
            ("if_empty", true, "new", None, json!(null), false),
        ] {
            let own = [rule(Row {
                apply: Some(apply.into()),
                required,
                ..row("title", "$.title")
            })];
            let mapping = Mapping::compile(Scim, &own);
            let create = mapping.run(object(&user), Giving::Create);
            assert_eq!(create.account["title"], on_create, "{apply}");
            let how = Giving::Update {
                current: current.as_ref().map(object),
            };
            let update = mapping.run(object(&user), how);
            let title = update.account.get("title").cloned().unwrap_or_default();
            assert_eq!(title, on_update, "{apply} {current:?}");
            assert_eq!(!update.missing.is_empty(), missing, "{apply} {current:?}");
        }
    }

    #[test]
    fn what_is_given_no_longer_is_cleared() {
        let own = [
            row("title", "$.title"),
            row("userType", "$.userType"),
            row("name.middleName", "$.name.middleName"),
            row(
                "phoneNumbers[type eq \"mobile\"].value",
                "$.phoneNumbers[0].value",
            ),
            row(&format!("{ENTERPRISE}:department"), "$.department"),
            row(&format!("{ENTERPRISE}:level"), "$.level"),
            Row {
                apply: Some("create".into()),
                ..row("locale", "$.locale")
            },
            Row {
                apply: Some("create".into()),
                ..row("ims[type eq \"x\"].value", "$.locale")
            },
        ]
        .map(rule);
        let mapping = Mapping::compile(Zoom, &own);
        let mut user = json!({
            "userName": "a@b.c", "displayName": "Ada King", "title": "Countess", "userType": "Licensed", "locale": "en",
            "name": {"middleName": "Augusta"}, "phoneNumbers": [{"value": "1"}], "department": "R&D", "level": 3,
        });
        let sent = mapping.run(object(&user), Giving::Create).account;
        let update = |user: &Value, sent: &Map<String, Value>| {
            let how = Giving::Update {
                current: Some(sent),
            };
            let mut account = mapping.run(object(user), how).account;
            mapping.clear(sent, &mut account);
            account
        };

        let again = update(&user, &sent);
        assert!(again.get("locale").is_none() && again.get("ims").is_none());
        assert!(mapping.same(&sent, &again), "nothing changed");

        user["displayName"] = json!("Ada Byron");
        assert!(
            !mapping.same(&sent, &update(&user, &sent)),
            "a name changed"
        );

        for gone in [
            "title",
            "userType",
            "phoneNumbers",
            "department",
            "level",
            "locale",
        ] {
            user[gone] = json!(null);
        }
        user["name"] = json!({});
        let cleared = update(&user, &sent);
        assert_eq!(
            Value::Object(cleared.clone()),
            json!({
                "userName": "a@b.c", "displayName": "Ada Byron", "active": true,
                "name": {"givenName": "Ada", "familyName": "Byron", "middleName": ""},
                "emails": [{"type": "work", "value": "a@b.c", "primary": true}],
                "title": "", "phoneNumbers": [], ENTERPRISE: {"department": ""},
            })
        );
        // Cleared once: the next plan has nothing to do.
        assert!(mapping.same(&cleared, &update(&user, &cleared)));
        // A rule that is gone from the file leaves nothing behind either.
        let mut bare = Mapping::compile(Zoom, &[])
            .run(object(&user), Giving::Create)
            .account;
        Mapping::compile(Zoom, &[]).clear(&sent, &mut bare);
        assert_eq!(bare["title"], "");
    }

    #[test]
    fn the_user_name_alone_is_the_one_of_the_whole() {
        let own = [rule(Row {
            transform: vec![("prefix".into(), Some("x-".into()))],
            ..row("userName", "$.externalId")
        })];
        for (profile, own) in [(Zoom, &[][..]), (Zoom, &own[..]), (Scim, &[][..])] {
            let mapping = Mapping::compile(profile, own);
            for user in [
                json!({"userName": "a@b.c"}),
                json!({"userName": "a", "emails": [{"type": "home", "value": "h@b.c"}, {"value": "w@b.c"}]}),
                json!({"externalId": "e"}),
                json!({}),
            ] {
                let whole = mapping.run(object(&user), Giving::Create).account;
                let alone = mapping.run_user_name(object(&user));
                assert_eq!(user_name(&alone), user_name(&whole), "{user}");
            }
        }
    }

    #[test]
    fn redaction() {
        let own = [
            Row {
                redact: true,
                ..row("title", "$.name.honorificPrefix")
            },
            Row {
                redact: true,
                ..row(
                    &format!("{ENTERPRISE}:department"),
                    &format!("$['{ENTERPRISE}'].department"),
                )
            },
            row("locale", "$.locale"),
        ]
        .map(rule);
        let mapping = Mapping::compile(Scim, &own);
        let mapped = mapping.run(object(&json!({"userName": "a"})), Giving::Create);
        let mut redacted = mapped.redacted;
        redacted.sort_unstable();
        assert_eq!(
            redacted,
            ["title".to_owned(), format!("{ENTERPRISE}:department")]
        );
        for (attribute, hidden) in [
            ("name", true),
            ("name.honorificPrefix", true),
            ("name.honorificPrefixes", false),
            ("name.givenName", false),
            ("nameless", false),
            ("locale", false),
            ("title", false),
            (ENTERPRISE, true),
            (&format!("{ENTERPRISE}:department"), true),
            (&format!("{ENTERPRISE}.department"), true),
            (&format!("{ENTERPRISE}:division"), false),
        ] {
            assert_eq!(mapping.redacts(attribute), hidden, "{attribute}");
        }
        let any = [Row {
            redact: true,
            ..row("title", "$..secret")
        }]
        .map(rule);
        assert!(Mapping::compile(Scim, &any).redacts("locale"));
    }
}
