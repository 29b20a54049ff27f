//! PATCH beside a model of RFC 7644 3.5.2 that works on plain JSON and uses nothing of the code next door.
//!
//! The model knows what the RFC defines: well-formed operations on attributes whose shape it is told. What identity
//! providers write beyond that has its own cases in `tests`. Where the RFC leaves a choice, a comment says which is ours.

mod random;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Operation, apply};
use crate::clock::Timestamp;
use crate::config::shape::PutMembers;
use crate::scim::change::change;
use crate::scim::filter::Bounds;
use crate::scim::name::ENTERPRISE;
use crate::scim::request::{Verb, Write};
use crate::scim::schema::normalise;
use crate::scim::{Handle, Kind, Resource};
use random::{body, fitting, step};

type Object = Map<String, Value>;

/// An extension that no schema knows.
const BADGE: &str = "urn:example:badge:1.0:User";
const EXTENSIONS: [&str; 2] = [ENTERPRISE, BADGE];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Text,
    Flag,
    /// Whatever was sent.
    Free,
    /// With these sub-attributes, all texts.
    Complex(&'static [&'static str]),
    /// Values with `value`, `type` and `primary`.
    Many,
    ReadOnly,
}

/// The extension that it belongs to, its name, its shape.
type Attribute = (Option<&'static str>, &'static str, Shape);

const NAME: Attribute = (
    None,
    "name",
    Shape::Complex(&["givenName", "familyName", "formatted"]),
);
const MANAGER: Attribute = (
    Some(ENTERPRISE),
    "manager",
    Shape::Complex(&["value", "$ref"]),
);
const MANY: [Attribute; 2] = [
    (None, "emails", Shape::Many),
    (None, "phoneNumbers", Shape::Many),
];
const ATTRIBUTES: [Attribute; 12] = [
    (None, "userName", Shape::Text),
    (None, "title", Shape::Text),
    (None, "externalId", Shape::Text),
    (None, "active", Shape::Flag),
    NAME,
    MANY[0],
    MANY[1],
    (Some(ENTERPRISE), "department", Shape::Text),
    MANAGER,
    (Some(BADGE), "number", Shape::Free),
    (Some(BADGE), "colour", Shape::Free),
    (None, "id", Shape::ReadOnly),
];

/// Where an operation works.
#[derive(Debug, Clone)]
enum At {
    /// No path: on each attribute that the value names.
    Named,
    Extension(&'static str),
    Whole(Attribute),
    Sub(Attribute, &'static str),
    /// `[sub eq value]` of a multi-valued attribute, and perhaps one sub-attribute of those.
    Chosen(Attribute, (&'static str, Value), Option<&'static str>),
}

impl At {
    fn path(&self) -> Option<String> {
        let full = |(urn, name, _): &Attribute| {
            urn.map_or((*name).to_owned(), |urn| format!("{urn}:{name}"))
        };
        Some(match self {
            Self::Named => return None,
            Self::Extension(urn) => (*urn).to_owned(),
            Self::Whole(attribute) => full(attribute),
            Self::Sub(attribute, sub) => format!("{}.{sub}", full(attribute)),
            Self::Chosen(attribute, (by, value), sub) => {
                let sub = sub.map_or(String::new(), |sub| format!(".{sub}"));
                format!("{}[{by} eq {value}]{sub}", full(attribute))
            }
        })
    }
}

#[derive(Debug, Clone)]
struct Step {
    op: &'static str,
    at: At,
    value: Value,
}

impl Step {
    fn operation(&self) -> Value {
        let mut operation = json!({ "op": self.op });
        if let Some(path) = self.at.path() {
            operation["path"] = path.into();
        }
        if self.op != "remove" {
            operation["value"] = self.value.clone();
        }
        operation
    }

    /// Whether it names this attribute.
    fn names(&self, urn: Option<&str>, key: &str) -> bool {
        match &self.at {
            At::Named => urn
                .map_or(Some(&self.value), |urn| self.value.get(urn))
                .is_some_and(|object| object.get(key).is_some()),
            At::Extension(extension) => urn == Some(*extension),
            At::Whole((of, name, _))
            | At::Sub((of, name, _), _)
            | At::Chosen((of, name, _), ..) => urn == *of && key == *name,
        }
    }
}

/// The model says that it is refused; not why.
#[derive(Debug, PartialEq)]
struct Refused;

fn patched(before: &Object, steps: &[Step]) -> Result<Object, Refused> {
    let mut after = before.clone();
    for step in steps {
        work(&mut after, step.op, &step.at, &step.value)?;
        // RFC 7643 2.5: what holds nothing is not there.
        after.retain(|_, value| holds_something(value));
    }
    // What is required may be gone between two operations, not after the last.
    after
        .contains_key("userName")
        .then_some(after)
        .ok_or(Refused)
}

fn work(resource: &mut Object, op: &str, at: &At, value: &Value) -> Result<(), Refused> {
    match at {
        // 3.5.2.2: a remove needs a path.
        At::Named if op == "remove" => Err(Refused),
        At::Named => value
            .as_object()
            .into_iter()
            .flatten()
            .try_for_each(|(key, value)| {
                let extension = EXTENSIONS.into_iter().find(|urn| urn == key);
                let at = extension.map_or_else(|| At::Whole(known(None, key)), At::Extension);
                work(resource, op, &at, value)
            }),
        At::Extension(urn) if op == "remove" => {
            resource.remove(*urn);
            Ok(())
        }
        At::Extension(urn) => {
            value
                .as_object()
                .into_iter()
                .flatten()
                .try_for_each(|(key, value)| {
                    work(resource, op, &At::Whole(known(Some(urn), key)), value)
                })
        }
        At::Whole(attribute) => whole(within(resource, attribute.0), attribute, op, value),
        At::Sub(attribute, sub) => {
            let (Shape::Complex(subs), object) = (attribute.2, within(resource, attribute.0))
            else {
                unreachable!("a path of the model leads into complex attributes only")
            };
            if !subs.contains(sub) {
                return Err(Refused);
            }
            if op != "remove" && !value.is_null() {
                return whole(object, attribute, op, &json!({ *sub: value }));
            }
            if let Some(Value::Object(current)) = object.get_mut(attribute.1) {
                current.remove(*sub);
            }
            Ok(())
        }
        At::Chosen(attribute, by, sub) => {
            let object = within(resource, attribute.0);
            chosen(list(object, attribute.1), by, *sub, op, value)
        }
    }
}

fn whole(
    object: &mut Object,
    (_, name, shape): &Attribute,
    op: &str,
    value: &Value,
) -> Result<(), Refused> {
    if *shape == Shape::ReadOnly {
        return Err(Refused);
    }
    if op == "remove" || value.is_null() {
        object.remove(*name);
        return Ok(());
    }
    match (shape, value) {
        // 3.5.2.1: what is there already is not added again.
        (Shape::Many, Value::Array(values)) if op == "add" => {
            let list = list(object, name);
            let before = list.len();
            for value in values {
                if !list.contains(value) {
                    list.push(value.clone());
                }
            }
            let added = before..list.len();
            one_primary(list, added);
        }
        // 3.5.2.3: sub-attributes that are not given stay.
        (Shape::Complex(_), Value::Object(given)) if given.values().all(Value::is_string) => {
            let current = object.entry(*name).or_insert_with(|| json!({}));
            if *name == "manager" && given.get("value").is_some_and(|id| current["value"] != *id) {
                // Ours: another manager is another person, and what was said of the one before goes.
                *current = json!({});
            }
            current.as_object_mut().unwrap().extend(given.clone());
        }
        (Shape::Many, Value::Array(_))
        | (Shape::Text, Value::String(_))
        | (Shape::Flag, Value::Bool(_))
        | (Shape::Free, _) => {
            object.insert((*name).to_owned(), value.clone());
        }
        _ => return Err(Refused),
    }
    Ok(())
}

fn chosen(
    list: &mut Vec<Value>,
    (by, wanted): &(&str, Value),
    sub: Option<&str>,
    op: &str,
    value: &Value,
) -> Result<(), Refused> {
    let is = |one: &Value| match (&one[*by], wanted) {
        (Value::String(one), Value::String(wanted)) => one.eq_ignore_ascii_case(wanted),
        (one, wanted) => one == wanted,
    };
    let mut places: Vec<usize> = (0..list.len()).filter(|at| is(&list[*at])).collect();
    let Some(sub) = sub else {
        if op == "remove" {
            list.retain(|one| !is(one));
            return Ok(());
        }
        // 3.5.2.3: a filter that selects nothing is noTarget.
        if !value.is_object() || places.is_empty() {
            return Err(Refused);
        }
        for at in &places {
            list[*at] = value.clone();
        }
        one_primary(list, places);
        return Ok(());
    };
    if op == "remove" || value.is_null() {
        for at in places {
            list[at].as_object_mut().unwrap().remove(sub);
        }
        return Ok(());
    }
    if value.is_boolean() != (sub == "primary") || value.is_number() {
        return Err(Refused);
    }
    if places.is_empty() {
        // Ours, as Entra needs it: a value path that ends in a sub-attribute makes the value that it misses.
        places.push(list.len());
        list.push(json!({ *by: wanted }));
    }
    for at in &places {
        list[*at][sub] = value.clone();
    }
    one_primary(list, places);
    Ok(())
}

/// 3.5.2: a value that is made primary makes the others not so. Ours: of several the last.
fn one_primary(list: &mut [Value], touched: impl IntoIterator<Item = usize>) {
    let last = touched
        .into_iter()
        .filter(|at| list[*at]["primary"] == true)
        .last();
    for (at, value) in list.iter_mut().enumerate() {
        if last.is_some_and(|last| last != at) && value["primary"] == true {
            value["primary"] = false.into();
        }
    }
}

fn holds_something(value: &mut Value) -> bool {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| holds_something(value));
            !object.is_empty()
        }
        Value::Array(list) => {
            list.retain_mut(holds_something);
            !list.is_empty()
        }
        other => !other.is_null(),
    }
}

/// The object that holds an attribute.
fn within<'a>(resource: &'a mut Object, urn: Option<&str>) -> &'a mut Object {
    match urn {
        None => resource,
        Some(urn) => resource
            .entry(urn)
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .unwrap(),
    }
}

fn list<'a>(object: &'a mut Object, name: &str) -> &'a mut Vec<Value> {
    object
        .entry(name)
        .or_insert_with(|| json!([]))
        .as_array_mut()
        .unwrap()
}

fn known(urn: Option<&str>, name: &str) -> Attribute {
    *ATTRIBUTES
        .iter()
        .find(|one| one.0 == urn && one.1 == name)
        .unwrap()
}

/// Whether a PUT of what a PATCH left would change it.
fn put_differs(attributes: &Object) -> bool {
    let resource = Resource {
        handle: Handle(1),
        id: "i".into(),
        kind: Kind::User,
        version: 1,
        created: Timestamp(0),
        modified: Timestamp(0),
        owner: String::from("idp"),
        deleted: None,
        attributes: attributes.clone(),
        links: Vec::new(),
    };
    let put = Write {
        kind: Kind::User,
        verb: Verb::Replace(String::from("i"), attributes.clone()),
        if_match: None,
        if_none_match: None,
        projection: Default::default(),
    };
    change(resource, &put, PutMembers::Keep, Timestamp(1))
        .unwrap()
        .differs()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]
    #[test]
    fn a_patch_does_what_the_model_does(
        body in body(fitting),
        steps in proptest::collection::vec(step(), 1..6),
    ) {
        let mut body = body;
        body.entry("userName").or_insert_with(|| "ada".into());
        let before = normalise(Kind::User, body).unwrap();
        let mut plain = before.clone();
        plain.remove("schemas");

        let operations: Vec<Value> = steps.iter().map(Step::operation).collect();
        let sent = json!({ "Operations": operations });
        let read = Operation::read(Kind::User, &sent, 100, Bounds::default());
        let applied = read.and_then(|operations| apply(Kind::User, &before, &operations));
        match (patched(&plain, &steps), applied) {
            (Err(Refused), Err(fault)) => prop_assert_eq!(fault.status(), 400),
            (Ok(wanted), Ok(applied)) => {
                let mut after = applied.attributes;
                prop_assert!(!put_differs(&after), "{}", sent);
                let listed = after.remove("schemas").unwrap();
                prop_assert_eq!(&after, &wanted, "{}", sent);
                let listed: BTreeSet<&str> = listed.as_array().unwrap().iter().filter_map(Value::as_str).collect();
                let there = after.keys().filter(|key| key.starts_with("urn:")).map(String::as_str);
                prop_assert_eq!(listed, there.chain([Kind::User.schema()]).collect());
                untouched(&plain, &after, &steps, None)?;
                for urn in EXTENSIONS {
                    let of = |all: &Object| all.get(urn).and_then(Value::as_object).cloned().unwrap_or_default();
                    untouched(&of(&plain), &of(&after), &steps, Some(urn))?;
                }
            }
            (wanted, got) => prop_assert!(false, "{sent} on {}: {got:?}, wanted {wanted:?}", Value::Object(plain)),
        }
    }

    #[test]
    fn members_come_and_go_as_in_the_model(
        before in proptest::collection::btree_set(0..6_u8, 0..5),
        steps in proptest::collection::vec((0..6_u8, proptest::collection::vec(0..6_u8, 1..4)), 1..6),
    ) {
        let mut wanted = before.clone();
        let mut operations = Vec::new();
        for (kind, ids) in steps {
            let values: Vec<Value> = ids.iter().map(|id| json!({ "value": id.to_string() })).collect();
            let either: Vec<String> = ids.iter().map(|id| format!("value eq \"{id}\"")).collect();
            let chosen = format!("members[{}]", either.join(" or "));
            operations.push(match kind {
                0 | 1 => json!({"op": "add", "path": "members", "value": values}),
                2 => json!({"op": "remove", "path": "members", "value": values}),
                3 => json!({"op": "remove", "path": chosen}),
                4 => json!({"op": "replace", "value": {"members": values}}),
                _ => json!({"op": "remove", "path": "members"}),
            });
            match kind {
                0 | 1 => wanted.extend(ids),
                2 | 3 => wanted.retain(|id| !ids.contains(id)),
                4 => wanted = ids.into_iter().collect(),
                _ => wanted.clear(),
            }
        }
        let group = normalise(Kind::Group, Object::from_iter([("displayName".into(), "G".into())])).unwrap();
        let read = Operation::read(Kind::Group, &json!({ "Operations": operations }), 100, Bounds::default()).unwrap();
        let applied = apply(Kind::Group, &group, &read).unwrap();
        prop_assert_eq!(applied.attributes, group);
        let number = |id: &String| id.parse::<u8>().unwrap();
        let mut after = if applied.members.clear { BTreeSet::new() } else { before };
        after.retain(|id| !applied.members.remove.iter().any(|gone| number(gone) == *id));
        after.extend(applied.members.add.iter().map(number));
        prop_assert_eq!(after, wanted);
    }
}

/// Promise 6: what no operation names is as it was.
fn untouched(
    before: &Object,
    after: &Object,
    steps: &[Step],
    urn: Option<&str>,
) -> Result<(), TestCaseError> {
    for key in before.keys().chain(after.keys()) {
        let extension = urn.is_none() && EXTENSIONS.contains(&key.as_str());
        if !extension && !steps.iter().any(|step| step.names(urn, key)) {
            prop_assert_eq!(before.get(key), after.get(key));
        }
    }
    Ok(())
}
