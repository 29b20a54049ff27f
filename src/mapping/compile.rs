//! A profile's built-in rules and the file's own rows as one mapping.
//!
//! The built-in Zoom set gives the six attributes that every identity provider's Zoom connector sends, whatever the
//! client at hand leaves out: miniOrange writes the display name into userName, Google sends the address as userName and
//! no e-mail, Okta may leave displayName out.

use serde_json::{Map, Value, json};

use super::rule::{Apply, Rule};
use super::target::{Target, is_type};
use super::transform::is_given;
use crate::config::shape::ProfileName;
use crate::policy::scope::is_address;

/// All rules of one application, in the order in which they are run.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// Whole attributes before parts of them.
    pub(super) slots: Vec<Slot>,
    /// What is given once or must not be empty: never cleared.
    pub(super) kept: Vec<Target>,
    /// The account's work e-mail is its primary one.
    pub(super) marks_primary: bool,
}

/// One target with every rule that may give it: the first that has a value does.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot {
    pub(super) target: Target,
    pub(super) rules: Vec<Rule>,
    /// Whichever of the rules speaks.
    pub(super) required: bool,
}

/// The source of a built-in rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builtin {
    /// userName if it is an address, else the work, the primary, the first e-mail.
    UserName,
    /// The work, the primary, the first e-mail, else userName if it is an address.
    WorkEmail,
    /// displayName, name.formatted, given and family name.
    DisplayName,
    /// As sent, else all words but the last of name.formatted or displayName; of a single word, that one.
    GivenName,
    /// As sent, else the last word of name.formatted or displayName, even if it is the only one: Zoom wants both names.
    FamilyName,
    /// As sent, else true.
    Active,
    /// As sent.
    AsIs(&'static str),
}

/// Zoom's six. All are required.
const ZOOM: [(&str, Builtin); 6] = [
    ("userName", Builtin::UserName),
    ("emails[type eq \"work\"].value", Builtin::WorkEmail),
    ("displayName", Builtin::DisplayName),
    ("name.givenName", Builtin::GivenName),
    ("name.familyName", Builtin::FamilyName),
    ("active", Builtin::Active),
];

/// What any SCIM server understands. Only userName is required (RFC 7643 4.1.1).
const SCIM: [(&str, Builtin); 5] = [
    ("userName", Builtin::AsIs("userName")),
    ("displayName", Builtin::AsIs("displayName")),
    ("name", Builtin::AsIs("name")),
    ("emails", Builtin::AsIs("emails")),
    ("active", Builtin::Active),
];

impl Mapping {
    /// Puts a profile's built-in set and the file's own rows together. A row replaces the built-in one of the same target,
    /// else it is added. Several rows of one target, told apart by `when`, stand in for each other in the file's order.
    /// userName stays required, whoever gives it.
    #[must_use]
    pub fn compile(profile: ProfileName, own: &[Rule]) -> Self {
        let mut slots = slots(own);
        let (builtin, all_required): (&[(&str, Builtin)], bool) = match profile {
            ProfileName::Zoom => (&ZOOM, true),
            ProfileName::Scim => (&SCIM, false),
        };
        for (text, source) in builtin {
            // Each parses: a test compiles both sets and counts.
            let Ok(target) = Target::parse(text) else {
                continue;
            };
            let is_key = *text == "userName";
            match slots.iter_mut().find(|slot| slot.target.is(&target)) {
                None => slots.push(Slot {
                    target: target.clone(),
                    rules: vec![Rule::builtin(target, *source)],
                    required: all_required || is_key,
                }),
                Some(slot) => slot.required = is_key,
            }
        }
        slots.sort_by_key(|slot| (slot.target.entry.is_some(), slot.target.sub.is_some()));
        let mut kept = kept(&slots);
        if profile == ProfileName::Zoom {
            // A userType that is absent leaves the licence alone; there is no empty one.
            kept.extend(Target::parse("userType"));
        }
        Self {
            slots,
            kept,
            marks_primary: profile == ProfileName::Zoom,
        }
    }

    /// The same for groups, of any profile: displayName as sent, and required (RFC 7643 4.2; Zoom wants it too).
    #[must_use]
    pub fn compile_groups(own: &[Rule]) -> Self {
        const NAME: &str = "displayName";
        let mut slots = slots(own);
        let target = Target::place(None, NAME, None);
        match slots.iter_mut().find(|slot| slot.target.is(&target)) {
            Some(slot) => slot.required = true,
            None => slots.push(Slot {
                target: target.clone(),
                rules: vec![Rule::builtin(target, Builtin::AsIs(NAME))],
                required: true,
            }),
        }
        Self {
            kept: kept(&slots),
            slots,
            marks_primary: false,
        }
    }
}

/// The file's own rows by target.
fn slots(own: &[Rule]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::new();
    for rule in own {
        match slots.iter_mut().find(|slot| slot.target.is(&rule.target)) {
            Some(slot) => slot.rules.push(rule.clone()),
            None => slots.push(Slot {
                target: rule.target.clone(),
                rules: vec![rule.clone()],
                required: false,
            }),
        }
    }
    slots
}

/// What is given once or must not be empty.
fn kept(slots: &[Slot]) -> Vec<Target> {
    let kept = slots.iter().filter(|slot| {
        let held = |rule: &Rule| rule.required || rule.apply != Apply::Always;
        slot.required || slot.rules.iter().any(held)
    });
    kept.map(|slot| slot.target.clone()).collect()
}

impl Builtin {
    /// Whether it may look at this attribute of the first level.
    pub(super) fn reads(self, attribute: &str) -> bool {
        match self {
            Self::UserName | Self::WorkEmail => ["userName", "emails"].contains(&attribute),
            Self::DisplayName | Self::GivenName | Self::FamilyName => {
                ["displayName", "name"].contains(&attribute)
            }
            Self::Active => attribute == "active",
            Self::AsIs(own) => attribute == own,
        }
    }

    pub(super) fn value(self, user: &Map<String, Value>) -> Option<Value> {
        match self {
            Self::UserName => name_address(user)
                .or_else(|| best_email(user))
                .map(Value::from),
            Self::WorkEmail => best_email(user)
                .or_else(|| name_address(user))
                .map(Value::from),
            Self::DisplayName => full_name(user, ["displayName", "name.formatted"])
                .map(Value::from)
                .or_else(|| both_names(user)),
            Self::GivenName => sent_name(user, "givenName")
                .or_else(|| split(user).map(|(given, _)| given))
                .map(Value::from),
            Self::FamilyName => sent_name(user, "familyName")
                .or_else(|| split(user).map(|(_, family)| family.to_owned()))
                .map(Value::from),
            Self::Active => match user.get("active") {
                None | Some(Value::Null) => Some(Value::Bool(true)),
                Some(sent) => Some(sent.clone()),
            },
            Self::AsIs(attribute) => user.get(attribute).cloned(),
        }
    }
}

fn text<'a>(user: &'a Map<String, Value>, attribute: &str) -> Option<&'a str> {
    let value = match attribute.split_once('.') {
        Some((attribute, sub)) => user.get(attribute)?.get(sub)?,
        None => user.get(attribute)?,
    };
    Some(value.as_str()?.trim()).filter(|text| !text.is_empty())
}

fn name_address(user: &Map<String, Value>) -> Option<&str> {
    text(user, "userName").filter(|name| is_address(name))
}

/// The work, the primary, the first e-mail: of those that are addresses.
fn best_email(user: &Map<String, Value>) -> Option<&str> {
    let address =
        |item: &Value| is_address(item.get("value").and_then(Value::as_str).unwrap_or(""));
    let items = user.get("emails")?.as_array()?;
    let find =
        |fits: &dyn Fn(&Value) -> bool| items.iter().find(|item| fits(item) && address(item));
    find(&|item| is_type(item, "work"))
        .or_else(|| find(&|item| item.get("primary") == Some(&Value::Bool(true))))
        .or_else(|| find(&|_| true))?
        .get("value")?
        .as_str()
}

fn full_name<'a>(user: &'a Map<String, Value>, order: [&str; 2]) -> Option<&'a str> {
    order
        .into_iter()
        .find_map(|attribute| text(user, attribute))
}

fn both_names(user: &Map<String, Value>) -> Option<Value> {
    let given = text(user, "name.givenName");
    let family = text(user, "name.familyName");
    match (given, family) {
        (Some(given), Some(family)) => Some(Value::from(format!("{given} {family}"))),
        (one, None) | (None, one) => one.map(Value::from),
    }
}

fn sent_name(user: &Map<String, Value>, part: &str) -> Option<String> {
    let sent = user.get("name")?.get(part)?;
    let sent = sent.as_str()?.trim();
    (!sent.is_empty()).then(|| sent.to_owned())
}

/// The given and the family name out of the whole one.
fn split(user: &Map<String, Value>) -> Option<(String, &str)> {
    let whole = full_name(user, ["name.formatted", "displayName"])?;
    Some(match whole.rsplit_once(char::is_whitespace) {
        Some((given, family)) => {
            let given: Vec<&str> = given.split_whitespace().collect();
            (given.join(" "), family)
        }
        None => (whole.to_owned(), whole),
    })
}

/// Zoom takes the work e-mail for the account's own: it stands as the primary one unless a rule says otherwise.
pub(super) fn mark_primary(account: &mut Map<String, Value>) {
    let Some(Value::Array(items)) = account.get_mut("emails") else {
        return;
    };
    let work = items.iter_mut().find(|item| is_type(item, "work"));
    if let Some(Value::Object(parts)) = work
        && parts.get("value").is_some_and(is_given)
    {
        parts.entry("primary").or_insert(json!(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shape::ProfileName::{Scim, Zoom};
    use crate::mapping::tests::created;

    #[test]
    fn zoom_gets_six_from_every_client() {
        let whole = |name: &str, display: &str, given: &str, family: &str| {
            json!({
                "userName": name,
                "displayName": display,
                "name": {"givenName": given, "familyName": family},
                "emails": [{"type": "work", "value": name, "primary": true}],
                "active": true,
            })
        };
        let ada = || whole("ada@contoso.example", "Ada King", "Ada", "King");
        for (what, user, account, missing) in [
            (
                "miniOrange: the display name as userName, no names",
                json!({
                    "userName": "Ada King", "externalId": "5f0c", "displayName": "Ada King",
                    "emails": [{"type": "work", "primary": true, "value": "ada@contoso.example"}],
                }),
                ada(),
                vec![],
            ),
            (
                "Google: the address as userName, no e-mails",
                json!({"userName": "ada@contoso.example", "name": {"givenName": "Ada", "familyName": "King"}, "active": true}),
                ada(),
                vec![],
            ),
            (
                "Okta without displayName",
                json!({
                    "userName": "ada@contoso.example", "name": {"givenName": "Ada", "familyName": "King"},
                    "emails": [{"primary": true, "value": "ada@contoso.example"}], "active": true,
                }),
                ada(),
                vec![],
            ),
            (
                "the formatted name goes before the display name for names, behind it for display",
                json!({"userName": "a@b.c", "displayName": "Countess", "name": {"formatted": " Ada  Augusta King "}}),
                whole("a@b.c", "Countess", "Ada Augusta", "King"),
                vec![],
            ),
            (
                "a single word is both names",
                json!({"userName": "a@b.c", "displayName": "Ada"}),
                whole("a@b.c", "Ada", "Ada", "Ada"),
                vec![],
            ),
            (
                "one name sent, the other split",
                json!({"userName": "a@b.c", "displayName": "Augusta King", "name": {"givenName": "Ada", "familyName": ""}}),
                whole("a@b.c", "Augusta King", "Ada", "King"),
                vec![],
            ),
            (
                "the work address before the primary one, for both",
                json!({
                    "userName": "Ada King", "displayName": "Ada King",
                    "emails": [
                        {"type": "home", "value": "ada@home.example", "primary": true},
                        {"type": "WORK", "value": "ada@contoso.example"},
                    ],
                }),
                ada(),
                vec![],
            ),
            (
                "the primary before the first, an address before none",
                json!({
                    "userName": "ada", "displayName": "Ada King",
                    "emails": [
                        {"type": "work", "value": "nobody"},
                        {"value": "first@x.example"},
                        {"type": "home", "value": "ada@contoso.example", "primary": true},
                    ],
                }),
                ada(),
                vec![],
            ),
            (
                "userName and e-mail may differ, and false is sent",
                json!({
                    "userName": "king@x.example", "displayName": "Ada King", "active": false,
                    "emails": [{"value": "ada@contoso.example"}],
                }),
                json!({
                    "userName": "king@x.example", "displayName": "Ada King", "active": false,
                    "name": {"givenName": "Ada", "familyName": "King"},
                    "emails": [{"type": "work", "value": "ada@contoso.example", "primary": true}],
                }),
                vec![],
            ),
            (
                "an address and nothing else",
                json!({"userName": "a@b.c", "displayName": null, "emails": [], "active": null}),
                json!({
                    "userName": "a@b.c", "active": true,
                    "emails": [{"type": "work", "value": "a@b.c", "primary": true}],
                }),
                vec!["displayName", "name.givenName", "name.familyName"],
            ),
            (
                "nothing that is an address",
                json!({"userName": "Ada King", "displayName": "Ada King", "active": "perhaps"}),
                json!({"displayName": "Ada King", "name": {"givenName": "Ada", "familyName": "King"}}),
                vec!["userName", "active", "emails[type eq \"work\"].value"],
            ),
        ] {
            let (is, mut lacks) = created(Zoom, &[], &user);
            assert_eq!(is, account, "{what}");
            let mut missing = missing;
            missing.sort_unstable();
            lacks.sort_unstable();
            assert_eq!(lacks, missing, "{what}");
        }
    }

    #[test]
    fn scim_passes_the_core() {
        let user = json!({
            "userName": "ada", "displayName": "Ada", "name": {"formatted": "Ada King"}, "externalId": "7",
            "emails": [{"type": "home", "value": "a@b.c"}], "title": "Countess",
        });
        let account = json!({
            "userName": "ada", "displayName": "Ada", "name": {"formatted": "Ada King"},
            "emails": [{"type": "home", "value": "a@b.c"}], "active": true,
        });
        assert_eq!(created(Scim, &[], &user), (account, vec![]));
        let (_, missing) = created(Scim, &[], &json!({"displayName": "Ada"}));
        assert_eq!(missing, ["userName"]);
    }
}
