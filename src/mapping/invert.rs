//! The way back: what the directory's user would be whom a mapping gives as this account. Pure.
//!
//! A rule has a way back where it goes down by names, with at most one `[?@.type=='work']` on the way, changes nothing, and
//! has no table or one that is one to one. What other rules give stays out: a guess would be written to the directory as if
//! somebody had said it. A built-in rule falls back from one attribute to others; its way back is the one that it asks first.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::compile::{Builtin, Mapping, Slot};
use super::rule::{Rule, Source};
use super::target::is_type;
use super::transform::is_given;
use super::walk::{Path, Way};

impl Mapping {
    /// The directory's attributes whom this mapping would give as `account`, as far as its rules have a way back. The first
    /// rule of a target that has one goes it.
    #[must_use]
    pub fn invert(&self, account: &Map<String, Value>) -> Map<String, Value> {
        let mut user = Map::new();
        for slot in &self.slots {
            let Some(value) = slot.target.read(account) else {
                continue;
            };
            // An application may write another kind of value than it takes: a number, "True".
            let Some(value) = slot.target.fit(value.clone()) else {
                continue;
            };
            let mut back = slot.rules.iter().filter_map(|rule| rule.back(&value));
            if let Some((way, value)) = back.next() {
                way.put(&mut user, value);
            }
        }
        user
    }

    /// Whether what stands in the account under this name of its first level is not to be shown.
    #[must_use]
    pub fn conceals(&self, name: &str) -> bool {
        let concealing = |slot: &Slot| {
            let first = slot.target.urn.as_ref().unwrap_or(&slot.target.attribute);
            first.eq_ignore_ascii_case(name) && slot.rules.iter().any(|rule| rule.redact)
        };
        self.slots.iter().any(concealing)
    }
}

/// Where a value goes in the directory's user.
enum Back<'a> {
    /// By names, through at most one entry of a list.
    Way(Way<'a>),
    /// A top-level attribute, or one below another.
    Names(&'a [&'a str]),
    /// The work e-mail.
    WorkEmail,
}

impl Rule {
    /// The way back of a value, and what it is there; `None`: this rule has none.
    fn back(&self, value: &Value) -> Option<(Back<'_>, Value)> {
        if self.has_conditions() {
            return None;
        }
        let value = match self.table() {
            None => value.clone(),
            Some(table) => source_of(table, value)?,
        };
        let back = match self.source() {
            Source::Path(Path::Walk(walk)) => Back::Way(walk.way()?),
            Source::Path(Path::Query(_)) | Source::Constant(_) => return None,
            Source::Builtin(builtin) => builtin.back(),
        };
        Some((back, value))
    }
}

impl Builtin {
    fn back(&self) -> Back<'_> {
        match self {
            Self::UserName => Back::Names(&["userName"]),
            Self::WorkEmail => Back::WorkEmail,
            Self::DisplayName => Back::Names(&["displayName"]),
            Self::GivenName => Back::Names(&["name", "givenName"]),
            Self::FamilyName => Back::Names(&["name", "familyName"]),
            Self::Active => Back::Names(&["active"]),
            Self::AsIs(attribute) => Back::Names(std::slice::from_ref(attribute)),
        }
    }
}

/// What the table makes this value of, if that is one thing.
fn source_of(table: &BTreeMap<String, Value>, value: &Value) -> Option<Value> {
    let mut sources = table.iter().filter(|(_, to)| *to == value);
    let (from, _) = sources.next()?;
    // A boolean or a number is looked up by its text.
    let as_was = |text: &String| match text.as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => Value::String(text.clone()),
    };
    sources.next().is_none().then(|| as_was(from))
}

impl Back<'_> {
    fn put(&self, user: &mut Map<String, Value>, value: Value) {
        match self {
            Self::Names(names) => set(user, names, value),
            Self::WorkEmail => {
                let place = user.entry("emails").or_insert_with(|| json!([]));
                let Some(emails) = place.as_array_mut() else {
                    return;
                };
                // A list that another rule has put back holds it already.
                if !emails.iter().any(|email| is_type(email, "work")) {
                    emails.push(json!({"type": "work", "value": value, "primary": true}));
                }
            }
            Self::Way(Way { head, entry, tail }) => match entry {
                None => set(user, head, value),
                Some((of, is)) => {
                    let Some((name, [])) = head.split_first() else {
                        return;
                    };
                    let place = user.entry(*name).or_insert_with(|| json!([]));
                    let Some(items) = place.as_array_mut() else {
                        return;
                    };
                    let holds = |item: &Value| item.get(*of) == Some(*is);
                    if !items.iter().any(holds) {
                        items.push(json!({ *of: *is }));
                    }
                    let item = items.iter_mut().find(|item| holds(item));
                    if let Some(Value::Object(item)) = item {
                        set(item, tail, value);
                    }
                }
            },
        }
    }
}

/// Sets what stands under these names, one below the other; what is there already stays.
fn set(within: &mut Map<String, Value>, names: &[&str], value: Value) {
    let Some((name, rest)) = names.split_first() else {
        return;
    };
    if rest.is_empty() {
        match (within.entry(*name).or_insert(Value::Null), value) {
            (Value::Object(there), Value::Object(value)) => {
                for (part, value) in value {
                    there.entry(part).or_insert(value);
                }
            }
            (place, value) if !is_given(place) => *place = value,
            _ => {}
        }
        return;
    }
    let place = within.entry(*name).or_insert_with(|| json!({}));
    if let Some(within) = place.as_object_mut() {
        set(within, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::shape::ProfileName::{Scim, Zoom};
    use crate::mapping::Giving;
    use crate::mapping::rule::Row;
    use crate::mapping::tests::{ENTERPRISE, object, row, rule};

    fn inverted(own: &[Row], account: Value) -> Value {
        let own: Vec<Rule> = own.iter().cloned().map(rule).collect();
        Value::Object(Mapping::compile(Scim, &own).invert(object(&account)))
    }

    #[test]
    fn what_has_a_way_back_goes_it_and_nothing_else_does() {
        let table = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            Some(
                pairs
                    .map(|(from, to)| ((*from).into(), json!(to)))
                    .collect(),
            )
        };
        let own = [
            Row {
                table: table(&[("Employee", "Licensed"), ("Intern", "Basic")]),
                ..row("userType", "$.userType")
            },
            Row {
                table: table(&[("a", "one"), ("b", "one")]),
                ..row("nickName", "$.nickName")
            },
            Row {
                transform: vec![("lower".into(), None)],
                ..row("locale", "$.locale")
            },
            Row {
                when: Some("active eq true".into()),
                ..row("timezone", "$.timezone")
            },
            row("preferredLanguage", "$.roles[0].value"),
            row(
                "phoneNumbers[type eq \"office\"].value",
                "$.phoneNumbers[?@.type=='work'].value",
            ),
            row("title", "$.name.honorificPrefix"),
            row(
                &format!("{ENTERPRISE}:department"),
                &format!("$['{ENTERPRISE}'].division"),
            ),
        ];
        let account = json!({
            "id": "7", "userName": "ada", "userType": "Basic", "nickName": "one", "locale": "en", "timezone": "UTC",
            "preferredLanguage": "x", "title": "Countess", "profileUrl": "http://x", "name": {"familyName": "King"},
            "phoneNumbers": [{"type": "office", "value": "1"}, {"type": "fax", "value": "2"}],
            "active": "True", ENTERPRISE: {"department": "R&D", "costCenter": "9"},
        });
        assert_eq!(
            inverted(&own, account),
            json!({
                "userName": "ada", "userType": "Intern", "active": true,
                "name": {"familyName": "King", "honorificPrefix": "Countess"},
                "phoneNumbers": [{"type": "work", "value": "1"}], ENTERPRISE: {"division": "R&D"},
            })
        );
        assert_eq!(inverted(&own, json!({"userType": "Pro"})), json!({}));
    }

    proptest! {
        /// Whatever a client sent: the account that the built-in rules make of it comes back as somebody of whom they make
        /// the same account.
        #[test]
        fn what_the_built_in_rules_map_out_inverts_back(
            name in "[a-z]{1,6}@[a-z]{1,6}\\.example|[a-z]{1,6}",
            display in proptest::option::of("[A-Za-z]{0,5}( [A-Z][a-z]{1,5}){0,2}"),
            given in proptest::option::of("[A-Z][a-z]{0,5}"),
            family in proptest::option::of("[A-Z][a-z]{0,5}"),
            emails in proptest::collection::vec(("work|home|other", "[a-z]{1,5}@[a-z]{1,5}\\.example", any::<bool>()), 0..3),
            active in proptest::option::of(any::<bool>()),
            zoom: bool,
        ) {
            let emails: Vec<Value> = emails
                .iter()
                .map(|(kind, value, primary)| json!({"type": kind, "value": value, "primary": primary}))
                .collect();
            let mut user = json!({"userName": name, "emails": emails, "name": {}});
            for (key, value) in [("displayName", json!(display)), ("active", json!(active))] {
                user[key] = value;
            }
            for (key, value) in [("givenName", given), ("familyName", family)] {
                user["name"][key] = json!(value);
            }
            let mapping = Mapping::compile(if zoom { Zoom } else { Scim }, &[]);
            let mapped = mapping.run(object(&user), Giving::Create);
            // With something missing nothing is sent.
            prop_assume!(mapped.missing.is_empty());
            let account = mapped.account;
            let back = mapping.invert(&account);
            let again = mapping.run(&back, Giving::Create).account;
            // A list that is empty says as little as one that is not there.
            let given = |account: &Map<String, Value>| -> Map<String, Value> {
                let parts = account.iter().filter(|(_, value)| is_given(value));
                parts.map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            prop_assert_eq!(given(&again), given(&account));
        }
    }
}
