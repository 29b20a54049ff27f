//! Which attributes a reply shows: `attributes` and `excludedAttributes` (RFC 7644 3.9) over each attribute's `returned`
//! (RFC 7643 7).

use serde_json::{Map, Value};

use super::name::{self, ENTERPRISE};
use super::schema::{self, ENTERPRISE_USER, Returned};
use super::{Kind, json};
use crate::error::Fault;

/// The most names in one parameter. Each is looked for in each attribute of each resource of a page.
const NAMES: usize = 200;

/// What a client asked to see. The default is every attribute whose `returned` is `always` or `default`.
///
/// Names come in any case, with or without their URN: `userName`, `name.givenName`, a whole extension by its URN,
/// `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value`. A bare name that only the enterprise
/// extension knows means that one. A name that nothing has selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Projection {
    /// `attributes`: only these, and those that are always returned. `None`: not asked.
    only: Option<Vec<String>>,
    /// `excludedAttributes`: none of these, but those that are always returned.
    without: Vec<String>,
}

impl Projection {
    /// Reads the two parameters. Where both are given, what is left of the first without the second is shown.
    ///
    /// # Errors
    /// 400 `invalidValue`: too many names.
    pub fn read<'a>(
        only: impl IntoIterator<Item = &'a str>,
        without: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Fault> {
        let only = names("attributes", only)?;
        Ok(Self {
            only: (!only.is_empty()).then_some(only),
            without: names("excludedAttributes", without)?,
        })
    }

    /// Whether nothing was asked: the stored JSON goes out as it is.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.only.is_none() && self.without.is_empty()
    }

    /// Whether `attributes` was given.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.only.is_some()
    }

    /// Whether `attributes` asks for this attribute of the core schema, or for part of it.
    #[must_use]
    pub fn asks_for(&self, kind: Kind, attribute: &str) -> bool {
        let only = self.only.as_deref().unwrap_or_default();
        !matches!(Part::of(only, kind, attribute), Part::Nothing)
    }

    /// What it shows of one kind of resource.
    #[must_use]
    pub fn fields(&self, kind: Kind) -> Fields<'_> {
        Fields {
            projection: self,
            kind,
            members: self.subs(kind, "members", MEMBER),
            groups: self.subs(kind, "groups", GROUP),
            meta: self.subs(kind, "meta", META),
        }
    }

    /// Which of an attribute's sub-attributes are shown.
    fn subs<const N: usize>(&self, kind: Kind, attribute: &str, subs: [&str; N]) -> [bool; N] {
        let on_request = |sub: &str| {
            let attribute = schema::core(kind, attribute).and_then(|attribute| attribute.sub(sub));
            attribute.is_some_and(|sub| sub.returned == Returned::Request)
        };
        if self.is_default() {
            return subs.map(|sub| !on_request(sub));
        }
        let (only, without) = self.parts(kind, attribute);
        subs.map(|sub| {
            let shown = match &only {
                // What is returned on request is asked for by its own name.
                Part::Whole => !on_request(sub),
                only => only.has(sub),
            };
            shown && !without.has(sub)
        })
    }

    /// What is asked and what is left out of a key of a resource: an attribute, or an extension's URN.
    fn parts(&self, kind: Kind, key: &str) -> (Part<'_>, Part<'_>) {
        let returned = schema::core(kind, key).map(|attribute| attribute.returned);
        let only = match (&self.only, returned) {
            (_, Some(Returned::Never)) => Part::Nothing,
            (_, Some(Returned::Always)) => Part::Whole,
            (None, Some(Returned::Request)) => Part::Nothing,
            (None, _) => Part::Whole,
            (Some(only), _) => Part::of(only, kind, key),
        };
        let without = match returned {
            Some(Returned::Always) => Part::Nothing,
            _ => Part::of(&self.without, kind, key),
        };
        (only, without)
    }
}

/// The sub-attributes of `members` that there are, in the order in which they are written.
const MEMBER: [&str; 4] = ["value", "$ref", "type", "display"];
/// Those of a user's `groups`.
const GROUP: [&str; 4] = ["value", "$ref", "display", "type"];
/// Those of `meta`.
const META: [&str; 5] = [
    "resourceType",
    "created",
    "lastModified",
    "location",
    "version",
];

/// What a projection shows of one kind of resource.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    projection: &'a Projection,
    kind: Kind,
    /// Of each member: value, $ref, type, display.
    pub members: [bool; 4],
    /// Of each group that a user is in: value, $ref, display, type.
    pub groups: [bool; 4],
    /// Of meta: resourceType, created, lastModified, location, version.
    pub meta: [bool; 5],
}

impl Fields<'_> {
    /// Whether the stored attributes are shown as they are.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.projection.is_default()
    }

    /// Whether a member's entry shows anything.
    #[must_use]
    pub fn shows_members(&self) -> bool {
        self.members.contains(&true)
    }

    /// Whether the entry of a user's group shows anything.
    #[must_use]
    pub fn shows_groups(&self) -> bool {
        self.groups.contains(&true)
    }

    /// Whether `meta.version` is shown.
    #[must_use]
    pub fn shows_version(&self) -> bool {
        let [.., version] = self.meta;
        version
    }

    /// What is shown of stored attributes. Only that is parsed.
    ///
    /// # Errors
    /// They are no JSON object.
    pub fn stored(&self, attributes: &[u8]) -> serde_json::Result<Map<String, Value>> {
        let parts = |key: &str| self.projection.parts(self.kind, key);
        let mut stored = json::members(attributes, |key| {
            let (only, without) = parts(key);
            !matches!(only, Part::Nothing) && !matches!(without, Part::Whole)
        })?;
        stored.retain(|key, value| {
            let (only, without) = parts(key);
            let kept = match only {
                Part::Some(tails) => keep(value, &tails),
                Part::Whole | Part::Nothing => true,
            };
            kept && match without {
                Part::Some(tails) => leave_out(value, &tails),
                Part::Whole | Part::Nothing => true,
            }
        });
        Ok(stored)
    }
}

/// What a list of names says of one key of a resource.
#[derive(Debug)]
enum Part<'a> {
    Nothing,
    Whole,
    /// These, below it: `givenName`, or `manager.value` in an extension.
    Some(Vec<&'a str>),
}

impl<'a> Part<'a> {
    fn of(names: &'a [String], kind: Kind, key: &str) -> Self {
        let mut tails = Vec::new();
        for name in names {
            match below(name, kind, key) {
                Some("") => return Self::Whole,
                tail => tails.extend(tail),
            }
        }
        if tails.is_empty() {
            Self::Nothing
        } else {
            Self::Some(tails)
        }
    }

    fn has(&self, sub: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Whole => true,
            Self::Some(tails) => tails.iter().any(|tail| name::same(tail, sub)),
        }
    }
}

/// What `name` names below the key of a resource; empty for all of it, `None` for nothing.
fn below<'a>(name: &'a str, kind: Kind, key: &str) -> Option<&'a str> {
    if name::is_urn(key) {
        if !name::is_urn(name) {
            let attribute = name.split('.').next().unwrap_or_default();
            let foreign = name::same(key, ENTERPRISE)
                && kind == Kind::User
                && schema::core(kind, attribute).is_none()
                && ENTERPRISE_USER.attribute(attribute).is_some();
            return foreign.then_some(name);
        }
        return behind(name, key, &[':', '.']);
    }
    let bare = if name::is_urn(name) {
        behind(name, kind.schema(), &[':', '.'])?
    } else {
        name
    };
    if bare.is_empty() {
        return Some(bare);
    }
    behind(bare, key, &['.'])
}

/// What follows `head` and a mark in `text`; empty where nothing does. Entra's old job type writes a dot behind a URN.
fn behind<'a>(text: &'a str, head: &str, marks: &[char]) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(head.len())?;
    if !name::same(start, head) {
        return None;
    }
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix(marks).filter(|tail| !tail.is_empty())
}

/// Leaves only what the tails name. Whether anything is left. As deep as the value, which JSON's own bound holds.
fn keep(value: &mut Value, tails: &[&str]) -> bool {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| match tails_below(tails, key) {
                Part::Whole => true,
                Part::Some(tails) => keep(value, &tails),
                Part::Nothing => false,
            });
            !map.is_empty()
        }
        Value::Array(items) => {
            items.retain_mut(|item| keep(item, tails));
            !items.is_empty()
        }
        _ => false,
    }
}

/// Takes out what the tails name. Whether anything is left.
fn leave_out(value: &mut Value, tails: &[&str]) -> bool {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| match tails_below(tails, key) {
                Part::Whole => false,
                Part::Some(tails) => leave_out(value, &tails),
                Part::Nothing => true,
            });
            !map.is_empty()
        }
        Value::Array(items) => {
            items.retain_mut(|item| leave_out(item, tails));
            !items.is_empty()
        }
        _ => true,
    }
}

fn tails_below<'a>(tails: &[&'a str], key: &str) -> Part<'a> {
    let mut deeper = Vec::new();
    for tail in tails {
        match behind(tail, key, &['.']) {
            Some("") => return Part::Whole,
            tail => deeper.extend(tail),
        }
    }
    if deeper.is_empty() {
        Part::Nothing
    } else {
        Part::Some(deeper)
    }
}

fn names<'a>(
    parameter: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<String>, Fault> {
    let names: Vec<String> = names
        .into_iter()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .take(NAMES + 1)
        .map(str::to_owned)
        .collect();
    if names.len() > NAMES {
        return Err(Fault::InvalidValue(format!(
            "{parameter} takes at most {NAMES} names."
        )));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORED: &str = r#"{"active":true,"emails":[{"primary":true,"type":"work","value":"a@x"},{"value":"b@x"}],"externalId":"e","name":{"familyName":"K","givenName":"A"},"schemas":["s"],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"d","manager":{"$ref":"r","value":"m"}},"urn:x:y:2.0":{"t":1},"userName":"u"}"#;

    fn read(only: &str, without: &str) -> Projection {
        Projection::read(only.split(','), without.split(',')).unwrap()
    }

    fn shown(projection: &Projection) -> Value {
        let fields = projection.fields(Kind::User);
        Value::Object(fields.stored(STORED.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_shown_of_stored_attributes() {
        let e = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        let core = "urn:ietf:params:scim:schemas:core:2.0:User";
        let table: &[(&str, &str, &str)] = &[
            ("userName", "", r#"{"userName":"u"}"#),
            (" USERNAME ,,", "", r#"{"userName":"u"}"#),
            ("nothing", "", "{}"),
            ("1 not a name", "", "{}"),
            ("userName.value", "", "{}"),
            ("name.givenName", "", r#"{"name":{"givenName":"A"}}"#),
            (
                "name,name.givenName",
                "name.familyName",
                r#"{"name":{"givenName":"A"}}"#,
            ),
            ("name.middleName", "", "{}"),
            (
                "emails.value",
                "",
                r#"{"emails":[{"value":"a@x"},{"value":"b@x"}]}"#,
            ),
            ("emails.type", "", r#"{"emails":[{"type":"work"}]}"#),
            (
                &format!("{core}:userName,{core}.active"),
                "",
                r#"{"active":true,"userName":"u"}"#,
            ),
            (
                &format!("{e}:department"),
                "",
                &format!(r#"{{"{e}":{{"department":"d"}}}}"#),
            ),
            (
                "Department",
                "",
                &format!(r#"{{"{e}":{{"department":"d"}}}}"#),
            ),
            (
                &format!("{}:MANAGER.value", e.to_uppercase()),
                "",
                &format!(r#"{{"{e}":{{"manager":{{"value":"m"}}}}}}"#),
            ),
            (
                e,
                &format!("{e}:manager.value,{e}:manager.$ref"),
                &format!(r#"{{"{e}":{{"department":"d"}}}}"#),
            ),
            ("urn:x:y:2.0", "", r#"{"urn:x:y:2.0":{"t":1}}"#),
            ("urn:x:y:2.0:T", "", r#"{"urn:x:y:2.0":{"t":1}}"#),
            ("urn:x:y:2", "", "{}"),
            ("password", "", "{}"),
            (
                "urn:ietf:params:scim:schemas:core:2.0:Group:userName",
                "",
                "{}",
            ),
            (
                "",
                &format!(
                    "ACTIVE,emails,externalId,name.familyName,schemas,id,{e},urn:x:y:2.0:t,{core}:userName"
                ),
                r#"{"name":{"givenName":"A"}}"#,
            ),
            (
                core,
                "name,emails,externalId",
                r#"{"active":true,"userName":"u"}"#,
            ),
        ];
        for (only, without, wanted) in table {
            let mut wanted: Value = serde_json::from_str(wanted).unwrap();
            // Always there.
            wanted["schemas"] = serde_json::json!(["s"]);
            let projection = read(only, without);
            assert!(!projection.is_default());
            assert_eq!(shown(&projection), wanted, "{only:?} without {without:?}");
        }
        let whole: Value = serde_json::from_str(STORED).unwrap();
        assert_eq!(shown(&read(",", " ")), whole);
        assert!(read(",", " ").is_default());
    }

    #[test]
    fn what_is_shown_of_what_is_derived() {
        // A member's display comes on request.
        const DEFAULT: [bool; 4] = [true, true, true, false];
        for (kind, only, without, members, groups, version) in [
            (Kind::Group, "", "", DEFAULT, [true; 4], true),
            (
                Kind::Group,
                "displayName",
                "",
                [false; 4],
                [false; 4],
                false,
            ),
            (Kind::Group, "", "members", [false; 4], [true; 4], true),
            (
                Kind::Group,
                "members.VALUE",
                "",
                [true, false, false, false],
                [false; 4],
                false,
            ),
            (
                Kind::Group,
                "members.display,members.value",
                "",
                [true, false, false, true],
                [false; 4],
                false,
            ),
            (
                Kind::Group,
                "members",
                "members.$ref",
                [true, false, true, false],
                [false; 4],
                false,
            ),
            (
                Kind::User,
                "groups.display,meta.version",
                "",
                [false; 4],
                [false, false, true, false],
                true,
            ),
            (Kind::User, "", "meta", [true; 4], [true; 4], false),
            (
                Kind::Group,
                "urn:ietf:params:scim:schemas:core:2.0:Group:members",
                "",
                DEFAULT,
                [false; 4],
                false,
            ),
        ] {
            let projection = read(only, without);
            let fields = projection.fields(kind);
            let got = (fields.members, fields.groups, fields.shows_version());
            assert_eq!(got, (members, groups, version), "{only:?} {without:?}");
        }
        assert!(read("members.value", "").asks_for(Kind::Group, "members"));
        assert!(!read("", "displayName").asks_for(Kind::Group, "members"));
    }

    #[test]
    fn names_are_counted() {
        let names = vec!["a"; NAMES + 1];
        assert!(Projection::read(names.clone(), []).is_err());
        assert!(Projection::read([], names[1..].to_vec()).is_ok());
    }

    proptest! {
        /// Nothing is shown that was not asked for or was left out; what is always there stays; twice is once.
        #[test]
        fn a_projection_shows_what_it_names(
            only in "((emails|name|userName|urn:x:y:2.0|Active)([.:](value|givenName|t))?,?){0,3}",
            without in "((emails|name|userName|schemas)([.](value|givenName))?,?){0,3}",
        ) {
            let projection = read(&only, &without);
            let once = shown(&projection);
            prop_assert!(once.get("schemas").is_some());
            let object = once.as_object().unwrap();
            for key in object.keys().filter(|key| *key != "schemas") {
                let named = |names: &str| names.to_lowercase().contains(&key.to_lowercase());
                prop_assert!(only.split(',').all(str::is_empty) || named(&only), "{key}");
                prop_assert!(!without.split(',').any(|name| name == key), "{key}");
            }
            let fields = projection.fields(Kind::User);
            let twice = fields.stored(once.to_string().as_bytes()).unwrap();
            prop_assert_eq!(Value::Object(twice), once);
        }
    }
}
