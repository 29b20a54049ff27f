//! Random bodies and operations for the model.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::{
    ATTRIBUTES, At, Attribute, EXTENSIONS, MANAGER, MANY, NAME, Object, Shape, Step,
    holds_something, one_primary, within,
};

fn text() -> impl Strategy<Value = Value> {
    select(vec!["work", "WORK", "home", "x"]).prop_map(Value::from)
}

fn element() -> impl Strategy<Value = Value> {
    let optional = || proptest::option::of(text());
    (text(), optional(), any::<Option<bool>>()).prop_map(|(value, kind, primary)| {
        let mut element = json!({ "value": value, "type": kind, "primary": primary });
        holds_something(&mut element);
        element
    })
}

/// A value that fits.
pub(super) fn fitting(shape: Shape) -> BoxedStrategy<Value> {
    match shape {
        Shape::Text | Shape::ReadOnly => text().boxed(),
        Shape::Flag => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Free => prop_oneof![text(), any::<u8>().prop_map(Value::from)].boxed(),
        Shape::Complex(subs) => proptest::collection::btree_map(select(subs), text(), 1..3)
            .prop_map(|given| json!(given))
            .boxed(),
        // RFC 7643 2.4: `primary` is true no more than once.
        Shape::Many => proptest::collection::vec(element(), 1..4)
            .prop_map(|mut list| {
                let all = 0..list.len();
                one_primary(&mut list, all);
                Value::Array(list)
            })
            .boxed(),
    }
}

/// A value that fits, or once in a while nothing or what does not.
fn given(shape: Shape, op: &'static str) -> impl Strategy<Value = Value> {
    // To add nothing is not well-formed.
    let nothing = if op == "replace" {
        Value::Null
    } else {
        json!(5)
    };
    prop_oneof![30 => fitting(shape), 1 => Just(json!(5)), 1 => Just(nothing)]
}

/// Attributes as in a body.
pub(super) fn body(value: impl Fn(Shape) -> BoxedStrategy<Value>) -> impl Strategy<Value = Object> {
    let writable: Vec<Attribute> = ATTRIBUTES
        .into_iter()
        .filter(|one| one.2 != Shape::ReadOnly)
        .collect();
    let one = select(writable).prop_flat_map(move |one| (Just(one), value(one.2)));
    proptest::collection::vec(one, 1..8).prop_map(|all| {
        let mut body = Object::new();
        for ((urn, name, _), value) in all {
            within(&mut body, urn).insert(name.to_owned(), value);
        }
        body
    })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    select(vec!["add", "replace", "remove"]).prop_flat_map(|op| {
        let at = |at: At, value: BoxedStrategy<Value>| (Just(at), value);
        let whole = select(&ATTRIBUTES[..])
            .prop_flat_map(move |one| at(At::Whole(one), given(one.2, op).boxed()));
        let subs = select(vec![
            (NAME, "givenName"),
            (NAME, "formatted"),
            (NAME, "shoeSize"),
            (MANAGER, "value"),
            (MANAGER, "$ref"),
        ]);
        let sub = subs
            .prop_flat_map(move |(one, sub)| at(At::Sub(one, sub), given(Shape::Text, op).boxed()));
        let by = prop_oneof![
            (select(vec!["type", "value"]), text()),
            Just(("primary", Value::Bool(true))),
        ];
        let which = select(vec![None, Some("value"), Some("type"), Some("primary")]);
        let chosen = (select(&MANY[..]), by, which).prop_flat_map(move |(one, by, sub)| {
            // RFC 7644 does not say what adding to chosen values is.
            let sub = if op == "add" {
                sub.or(Some("value"))
            } else {
                sub
            };
            let value = match sub {
                None => element().boxed(),
                Some("primary") => given(Shape::Flag, op).boxed(),
                Some(_) => given(Shape::Text, op).boxed(),
            };
            at(At::Chosen(one, by, sub), value)
        });
        let object = |body: Object| Value::Object(body);
        let named = body(move |shape| given(shape, op).boxed()).prop_map(object);
        let extension = (select(&EXTENSIONS[..]), body(fitting)).prop_map(|(urn, mut body)| {
            let inner = body.remove(urn).unwrap_or_else(|| json!({}));
            (At::Extension(urn), inner)
        });
        prop_oneof![
            6 => whole,
            3 => sub,
            6 => chosen,
            2 => at(At::Named, named.boxed()),
            1 => extension,
        ]
        .prop_map(move |(at, value)| Step { op, at, value })
    })
}
