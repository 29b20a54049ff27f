//! From what a client sent to what the directory keeps: names in the schema's spelling, booleans as booleans, arrays as
//! arrays. What the schema does not know stays as it was sent.

use serde_json::{Map, Value};

use super::{Attribute, ENTERPRISE_USER, Mutability, Type, core};
use crate::error::Fault;
use crate::scim::Kind;
use crate::scim::dialect;
use crate::scim::name::{self, ENTERPRISE};

/// Values of one multi-valued attribute, but for a group's members: every filter and every PATCH operation walks them.
pub(crate) const VALUES: usize = 1_000;

/// Brings a body to the schema.
///
/// Dropped: `null` (fact 13), `id`, `meta` and a user's `groups` (facts 59, 145), `password` wherever it stands, complex
/// values that hold nothing. A group's `members`
/// stay for the caller to take out. `schemas` is made anew: the core URN, the enterprise URN if its object is there or the
/// client listed it (JumpCloud lists it without the object), then every other extension whose object is there.
///
/// # Errors
/// [`Fault::InvalidSyntax`] for one attribute in two spellings, [`Fault::InvalidValue`] for a value of the wrong type;
/// both name the attribute, never a value.
pub fn normalise(kind: Kind, body: Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    let mut kept = Map::new();
    let mut seen = Spellings::default();
    let mut listed = false;
    for (key, value) in body {
        if name::same(&key, kind.schema()) {
            // The core attributes inside an object of their own URN.
            match value {
                Value::Null => {}
                Value::Object(inner) => {
                    for (key, value) in inner {
                        seen.note(&key, "")?;
                        keep(&mut kept, kind, key, value)?;
                    }
                }
                _ => return Err(wrong(kind.schema(), "an object")),
            }
            continue;
        }
        // Two names of the enterprise extension are two spellings of it.
        let alias = kind == Kind::User && dialect::is_enterprise(&key);
        seen.note(if alias { ENTERPRISE } else { &key }, "")?;
        if name::same(&key, "schemas") {
            listed = lists_enterprise(kind, &value)?;
        } else {
            keep(&mut kept, kind, key, value)?;
        }
    }
    let schemas = schemas(kind, &kept, listed);
    kept.insert("schemas".into(), schemas);
    Ok(kept)
}

/// The one attribute that a client must give (RFC 7643 4.1.1, 4.2).
pub(crate) fn required(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "userName",
        Kind::Group => "displayName",
    }
}

/// Checks that a user has a userName and a group a displayName.
///
/// # Errors
/// [`Fault::InvalidValue`] naming what is missing.
pub fn check_required(kind: Kind, attributes: &Map<String, Value>) -> Result<(), Fault> {
    let key = required(kind);
    match attributes.get(key).and_then(Value::as_str) {
        Some(text) if !text.trim().is_empty() => Ok(()),
        _ => Err(Fault::InvalidValue(format!(
            "{key} is required on a {} and may not be empty.",
            kind.name()
        ))),
    }
}

/// Whether this is the one attribute that never leaves memory, on whichever resource, with whichever URN before it and in
/// whichever part of a dotted key.
pub(crate) fn is_password(key: &str) -> bool {
    let last = key.rsplit(':').next().unwrap_or(key);
    last.split('.').any(|part| name::same(part, "password"))
}

/// Takes passwords out of what no schema knows, however deep they lie.
fn without_passwords(mut value: Value) -> Value {
    fn scrub(value: &mut Value) {
        match value {
            Value::Object(object) => {
                object.retain(|key, _| !is_password(key));
                object.values_mut().for_each(scrub);
            }
            Value::Array(values) => values.iter_mut().for_each(scrub),
            _ => {}
        }
    }
    scrub(&mut value);
    value
}

/// RFC 7643 2.3.6: base64 by RFC 4648 4, with or without its padding. Line breaks, which certificates come with, are taken.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches(['\r', '\n']).trim_end_matches('=');
    let padding = text.bytes().filter(|byte| *byte == b'=').count();
    let mut digits = 0_usize;
    for byte in body.bytes() {
        match byte {
            b'\r' | b'\n' => {}
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => digits += 1,
            _ => return false,
        }
    }
    match padding {
        0 => digits % 4 != 1,
        _ => padding < 3 && (digits + padding).is_multiple_of(4),
    }
}

/// Brings one value to its attribute's type. `Ok(None)`: nothing is left of it. `label` is what an error calls it.
pub(crate) fn coerce(
    attribute: &Attribute,
    value: Value,
    label: &str,
) -> Result<Option<Value>, Fault> {
    if value.is_null() {
        return Ok(None);
    }
    if !attribute.multi {
        return single(attribute, value, label);
    }
    let values = dialect::values(value);
    if values.len() > VALUES && attribute.name != "members" {
        return Err(too_many(label));
    }
    let mut kept = Vec::with_capacity(values.len());
    for value in values {
        if let Some(value) = single(attribute, value, label)? {
            kept.push(value);
        }
    }
    Ok(Some(Value::Array(kept)))
}

/// One value of an attribute: an element, if it is multi-valued.
pub(crate) fn single(
    attribute: &Attribute,
    value: Value,
    label: &str,
) -> Result<Option<Value>, Fault> {
    let fits = match attribute.kind {
        _ if value.is_null() => return Ok(None),
        Type::Complex => return complex(attribute, value, label),
        Type::Boolean => {
            return match dialect::boolean(&value) {
                Some(value) => Ok(Some(Value::Bool(value))),
                None => Err(wrong(label, "true or false")),
            };
        }
        Type::String | Type::DateTime | Type::Reference => value.is_string(),
        Type::Binary => value.as_str().is_some_and(is_base64),
        Type::Integer => value.is_i64() || value.is_u64(),
        Type::Decimal => value.is_number(),
    };
    if fits {
        return Ok(Some(value));
    }
    let wanted = match attribute.kind {
        Type::Integer => "a whole number",
        Type::Decimal => "a number",
        Type::Binary => "a base64 text (RFC 7643 2.3.6)",
        _ => "a string",
    };
    Err(wrong(label, wanted))
}

/// `schemas` for these attributes.
pub(crate) fn schemas(kind: Kind, attributes: &Map<String, Value>, listed: bool) -> Value {
    let mut urns = vec![Value::from(kind.schema())];
    if kind == Kind::User && (listed || attributes.contains_key(ENTERPRISE)) {
        urns.push(ENTERPRISE.into());
    }
    for (key, value) in attributes {
        if name::is_urn(key) && value.is_object() && key != ENTERPRISE {
            urns.push(key.as_str().into());
        }
    }
    Value::Array(urns)
}

fn lists_enterprise(kind: Kind, value: &Value) -> Result<bool, Fault> {
    let is = |value: &Value| {
        value
            .as_str()
            .is_some_and(|urn| kind == Kind::User && dialect::is_enterprise(urn))
    };
    match value {
        Value::Array(urns) if urns.iter().all(Value::is_string) => Ok(urns.iter().any(is)),
        Value::String(_) => Ok(is(value)),
        Value::Null => Ok(false),
        _ => Err(wrong("schemas", "an array of strings")),
    }
}

/// Keeps one top-level entry.
fn keep(kept: &mut Map<String, Value>, kind: Kind, key: String, value: Value) -> Result<(), Fault> {
    if value.is_null() || is_password(&key) {
        return Ok(());
    }
    if kind == Kind::User && dialect::is_enterprise(&key) {
        if let Some(extension) = enterprise(value)? {
            kept.insert(ENTERPRISE.to_owned(), extension);
        }
        return Ok(());
    }
    let Some(attribute) = core(kind, &key) else {
        kept.insert(key, without_passwords(value));
        return Ok(());
    };
    if attribute.mutability == Mutability::ReadOnly {
        return Ok(());
    }
    if let Some(value) = coerce(attribute, value, attribute.name)? {
        kept.insert(attribute.name.to_owned(), value);
    }
    Ok(())
}

fn enterprise(value: Value) -> Result<Option<Value>, Fault> {
    let Value::Object(body) = value else {
        return Err(wrong(ENTERPRISE, "an object"));
    };
    let mut kept = Map::new();
    let mut seen = Spellings::default();
    for (key, value) in body {
        seen.note(&key, "")?;
        if value.is_null() {
            continue;
        }
        match ENTERPRISE_USER.attribute(&key) {
            None if is_password(&key) => {}
            None => {
                kept.insert(key, without_passwords(value));
            }
            Some(attribute) => {
                if let Some(value) = coerce(attribute, value, attribute.name)? {
                    kept.insert(attribute.name.to_owned(), value);
                }
            }
        }
    }
    Ok((!kept.is_empty()).then_some(Value::Object(kept)))
}

fn complex(attribute: &Attribute, value: Value, label: &str) -> Result<Option<Value>, Fault> {
    let mut body = match value {
        Value::Object(body) => body,
        Value::String(id) => {
            dialect::bare_id(attribute.name, id).ok_or_else(|| wrong(label, "an object"))?
        }
        _ => return Err(wrong(label, "an object")),
    };
    if attribute.name == "roles" {
        dialect::unpack_role(&mut body);
    }
    let mut kept = Map::new();
    let mut seen = Spellings::default();
    for (key, value) in body {
        seen.note(&key, label)?;
        if value.is_null() {
            continue;
        }
        match attribute.sub(&key) {
            None if is_password(&key) => {}
            None => {
                kept.insert(key, without_passwords(value));
            }
            Some(sub) => {
                if let Some(value) = coerce(sub, value, &format!("{label}.{}", sub.name))? {
                    kept.insert(sub.name.to_owned(), value);
                }
            }
        }
    }
    Ok((!kept.is_empty()).then_some(Value::Object(kept)))
}

/// The names of one object, to see one given twice in two spellings.
#[derive(Default)]
struct Spellings(std::collections::HashSet<String>);

impl Spellings {
    fn note(&mut self, key: &str, within: &str) -> Result<(), Fault> {
        if self.0.insert(key.to_ascii_lowercase()) {
            return Ok(());
        }
        let key: String = key.escape_debug().take(80).collect();
        let place = if within.is_empty() {
            String::new()
        } else {
            format!(" in {within}")
        };
        Err(Fault::InvalidSyntax(format!(
            "The attribute {key} is given twice{place}, in two spellings; names do not differ by case (RFC 7643 2.1)."
        )))
    }
}

pub(crate) fn too_many(label: &str) -> Fault {
    Fault::InvalidValue(format!("{label} may hold at most {VALUES} values."))
}

fn wrong(label: &str, wanted: &str) -> Fault {
    Fault::InvalidValue(format!("{label} must be {wanted}."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const E: &str = ENTERPRISE;
    const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
    const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

    fn normalised(kind: Kind, body: &Value) -> Result<Value, Fault> {
        normalise(kind, body.as_object().unwrap().clone()).map(Value::Object)
    }

    fn check(kind: Kind, body: Value, wanted: Value) {
        assert_eq!(normalised(kind, &body), Ok(wanted), "{body}");
    }

    #[test]
    fn brings_a_body_to_the_schema() {
        // Names, and what the gateway gives itself.
        check(
            Kind::User,
            json!({"USERNAME": "a", "Name": {"GIVENNAME": "G", "familyName": null, "x": null}, "id": "i", "META": {},
                   "groups": [], "Password": "p", "title": null, "schemas": ["x"]}),
            json!({"userName": "a", "name": {"givenName": "G"}, "schemas": [USER]}),
        );
        // Booleans, one object for an array, values that hold nothing.
        check(
            Kind::User,
            json!({"active": "FALSE", "emails": {"value": "v", "Primary": "True"}, "roles": [], "name": {},
                   "ims": [null, {"value": null}, {"value": "i", "primary": 0, "own": {"A": null}}]}),
            json!({"active": false, "emails": [{"value": "v", "primary": true}], "roles": [],
                   "ims": [{"value": "i", "primary": false, "own": {"A": null}}], "schemas": [USER]}),
        );
        // Extensions: known, listed only, unknown, misspelled; the manager as a string.
        check(
            Kind::User,
            json!({"schemas": [USER], E.to_uppercase(): {"MANAGER": "m", "own": 1, "division": null}}),
            json!({E: {"manager": {"value": "m"}, "own": 1}, "schemas": [USER, E]}),
        );
        check(
            Kind::User,
            json!({"schemas": [E, USER, "urn:gone:1.0"], "urn:x:1.0": {"a": null}, "urn:y": "no object"}),
            json!({"urn:x:1.0": {"a": null}, "urn:y": "no object", "schemas": [USER, E, "urn:x:1.0"]}),
        );
        check(
            Kind::User,
            json!({"urn:ietf:params:scim:schemas:extension:enterprise:2.0User": {"department": "d"}}),
            json!({E: {"department": "d"}, "schemas": [USER, E]}),
        );
        check(
            Kind::User,
            json!({USER: {"userName": "a"}, "shoe": [3, null]}),
            json!({"userName": "a", "shoe": [3, null], "schemas": [USER]}),
        );
        // A group keeps its members, and has no enterprise extension.
        check(
            Kind::Group,
            json!({"displayName": "G", "members": ["a", {"value": "b", "$ref": null}], "schemas": [E]}),
            json!({"displayName": "G", "members": [{"value": "a"}, {"value": "b"}], "schemas": [GROUP]}),
        );
        check(
            Kind::Group,
            json!({"password": "p", "urn:ietf:params:scim:schemas:core:2.0:User:PASSWORD": "p"}),
            json!({"schemas": [GROUP]}),
        );
        check(
            Kind::Group,
            json!({"members": []}),
            json!({"members": [], "schemas": [GROUP]}),
        );
    }

    #[test]
    fn refuses_and_names_the_attribute() {
        let cases = [
            (
                json!({"userName": "secret", "USERNAME": "secret"}),
                "invalidSyntax",
                "userName",
            ),
            (
                json!({"shoe": 1, "Shoe": 1}),
                "invalidSyntax",
                "given twice",
            ),
            (
                json!({"name": {"givenName": "secret", "GIVENNAME": "secret"}}),
                "invalidSyntax",
                "givenName is given twice in name",
            ),
            (
                json!({E: {"division": "1", "Division": "2"}}),
                "invalidSyntax",
                "division",
            ),
            (
                json!({"userName": 5}),
                "invalidValue",
                "userName must be a string",
            ),
            (
                json!({"active": "secret"}),
                "invalidValue",
                "active must be true or false",
            ),
            (json!({"active": 2}), "invalidValue", "active"),
            (
                json!({"name": "secret"}),
                "invalidValue",
                "name must be an object",
            ),
            (
                json!({"emails": ["secret"]}),
                "invalidValue",
                "emails must be an object",
            ),
            (
                json!({"emails": [{"primary": "secret"}]}),
                "invalidValue",
                "emails.primary",
            ),
            (
                json!({"title": ["secret"]}),
                "invalidValue",
                "title must be a string",
            ),
            (json!({E: "secret"}), "invalidValue", "must be an object"),
            (
                json!({E: {"manager": {"value": 5}}}),
                "invalidValue",
                "manager.value must be a string",
            ),
            (json!({"schemas": 5}), "invalidValue", "schemas"),
            (
                json!({E: {"division": "1"}, "urn:scim:schemas:extension:enterprise:2.0": {}}),
                "invalidSyntax",
                E,
            ),
            (
                json!({"x509Certificates": [{"value": "-----secret-----"}]}),
                "invalidValue",
                "x509Certificates.value must be a base64 text",
            ),
            (
                json!({"x509Certificates": [{"value": 5}]}),
                "invalidValue",
                "x509Certificates.value",
            ),
            (
                json!({"emails": vec![json!({"value": "x"}); 1001]}),
                "invalidValue",
                "emails may hold at most 1000",
            ),
        ];
        for (body, scim_type, text) in cases {
            let fault = normalised(Kind::User, &body).unwrap_err();
            assert_eq!(fault.scim_type(), Some(scim_type), "{fault}");
            let shown = fault.public().to_lowercase();
            assert!(shown.contains(&text.to_lowercase()), "{fault}");
            assert!(!shown.contains("secret"), "{fault}");
        }
        let members = json!({"members": vec![json!({"value": "x"}); 1001]});
        assert!(normalised(Kind::Group, &members).is_ok());
    }

    #[test]
    fn base64_is_told_from_other_text() {
        for fine in [
            "",
            "QUJD",
            "QUI=",
            "QUI",
            "QQ==",
            "QQ",
            "+/+/",
            "QUJD\r\nQUI=\n",
        ] {
            assert!(is_base64(fine), "{fine:?}");
        }
        for wrong in [
            "QUJDQ",
            "QQ=",
            "Q===",
            "QU=D",
            "====",
            "=",
            "QU JD",
            "-_-_",
            "QUI=QUI=",
            "\u{e4}bcd",
            "not base64!",
        ] {
            assert!(!is_base64(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_password_is_dropped_wherever_it_stands() {
        for key in [
            "password",
            "PASSWORD",
            "urn:x:1.0:User:password",
            "password.value",
            "login.Password",
        ] {
            assert!(is_password(key), "{key}");
        }
        for key in ["passwords", "urn:password:1.0:User", "passwordPolicy", ""] {
            assert!(!is_password(key), "{key}");
        }
        let secret =
            json!({"password": "secret", "deep": [[{"urn:x:PassWord": "secret"}]], "b": 1});
        let kept = json!({"deep": [[{}]], "b": 1});
        check(
            Kind::User,
            json!({"own": secret, E: {"password": "secret", "own": secret}, "urn:x:1": secret,
                   "emails": [{"value": "v", "password": "secret", "own": secret}], "name": {"Password": "secret"}}),
            json!({"own": kept, E: {"own": kept}, "urn:x:1": kept, "emails": [{"value": "v", "own": kept}],
                   "schemas": [USER, E, "urn:x:1"]}),
        );
    }

    #[test]
    fn checks_what_is_required() {
        let cases = [
            (Kind::User, json!({"userName": "a"}), true),
            (Kind::User, json!({"userName": " "}), false),
            (Kind::User, json!({"displayName": "a"}), false),
            (Kind::Group, json!({"displayName": "a"}), true),
            (Kind::Group, json!({"displayName": ""}), false),
            (Kind::Group, json!({}), false),
        ];
        for (kind, body, fine) in cases {
            assert_eq!(
                check_required(kind, body.as_object().unwrap()).is_ok(),
                fine,
                "{body}"
            );
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            prop::sample::select(vec!["", "True", "x"]).prop_map(Value::from),
            Just(json!(1)),
        ];
        let key = prop::sample::select(vec![
            "value",
            "Primary",
            "type",
            "givenName",
            "manager",
            "own",
        ]);
        leaf.prop_recursive(3, 12, 3, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..3).prop_map(|entries| entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_canonical_stays(entries in proptest::collection::vec(
            (prop::sample::select(vec!["userName", "EMAILS", "emails", "name", "active", "own", E, "urn:x", "schemas", "groups"]), any_value()), 0..5
        )) {
            let body: Map<String, Value> = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            if let Ok(once) = normalise(Kind::User, body) {
                prop_assert_eq!(normalise(Kind::User, once.clone()), Ok(once));
            }
        }
    }
}
