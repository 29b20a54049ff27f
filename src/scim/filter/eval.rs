//! Whether a filter holds for a resource.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{Filter, Node, Op, Test};
use crate::scim::Kind;
use crate::scim::dialect;
use crate::scim::name::{self, AttrPath};
use crate::scim::schema::{self, Attribute, Type, fold};

impl Filter {
    /// Whether the filter holds for a resource's canonical attributes; `id` and `meta` count if they are in the map.
    ///
    /// Strings compare by the schema's `caseExact`, without regard to case where the schema knows nothing. Of a
    /// multi-valued attribute any value counts; of a complex one without a sub-attribute its `value`. `gt` and the like
    /// are chronological for dateTimes, numeric for numbers, lexical for strings. What cannot be compared is not equal,
    /// not greater and not less.
    #[must_use]
    pub fn matches(&self, kind: Kind, resource: &Map<String, Value>) -> bool {
        holds(&self.root, Scope::Resource(kind, resource))
    }

    /// Whether the filter in a path's brackets holds for one value of the attribute. A bare value is taken for its `value`.
    pub(crate) fn matches_element(
        &self,
        attribute: Option<&'static Attribute>,
        element: &Value,
    ) -> bool {
        holds(&self.root, Scope::Element(attribute, element))
    }
}

/// What names refer to.
#[derive(Clone, Copy)]
enum Scope<'a> {
    Resource(Kind, &'a Map<String, Value>),
    Element(Option<&'static Attribute>, &'a Value),
}

fn holds(node: &Node, scope: Scope<'_>) -> bool {
    match node {
        Node::And(nodes) => nodes.iter().all(|node| holds(node, scope)),
        Node::Or(nodes) => nodes.iter().any(|node| holds(node, scope)),
        Node::Not(inner) => !holds(inner, scope),
        Node::Term(path, test) => {
            let (attribute, value) = find(scope, path);
            test_holds(test, attribute, value, path.sub.as_deref())
        }
        Node::Element { attr, inner, rest } => {
            let (attribute, value) = find(scope, attr);
            elements(value).iter().any(|element| {
                holds(inner, Scope::Element(attribute, element))
                    && rest.as_ref().is_none_or(|(path, test)| {
                        test_holds(test, attribute, Some(element), path.sub.as_deref())
                    })
            })
        }
    }
}

/// The value of the attribute that a path names, before its sub-attribute.
fn find<'a>(scope: Scope<'a>, path: &AttrPath) -> (Option<&'static Attribute>, Option<&'a Value>) {
    match scope {
        Scope::Resource(kind, resource) => {
            let place = schema::place(kind, resource, path);
            let object = match &place.extension {
                None => Some(resource),
                Some(urn) if place.key.is_empty() => return (None, resource.get(urn)),
                Some(urn) => resource.get(urn).and_then(Value::as_object),
            };
            (
                place.attribute,
                object.and_then(|object| object.get(&place.key)),
            )
        }
        Scope::Element(attribute, Value::Object(element)) => (
            attribute.and_then(|attribute| attribute.sub(&path.attr)),
            name::get(element, &path.attr),
        ),
        Scope::Element(attribute, element) => (
            attribute,
            name::same(&path.attr, "value").then_some(element),
        ),
    }
}

/// The values of an attribute, whether it holds one or many.
fn elements(value: Option<&Value>) -> &[Value] {
    match value {
        None => &[],
        Some(Value::Array(values)) => values,
        Some(one) => std::slice::from_ref(one),
    }
}

fn test_holds(
    test: &Test,
    attribute: Option<&'static Attribute>,
    value: Option<&Value>,
    sub: Option<&str>,
) -> bool {
    let values = elements(value);
    let Test::Compare(op, wanted) = test else {
        return match sub {
            None => values.iter().any(is_present),
            Some(sub) => values
                .iter()
                .filter_map(|value| name::get(value.as_object()?, sub))
                .any(is_present),
        };
    };
    let sub = sub.unwrap_or("value");
    let mut absent = true;
    for value in values {
        let (attribute, value) = match value {
            Value::Object(object) => (
                attribute.and_then(|attribute| attribute.sub(sub)),
                name::get(object, sub),
            ),
            bare => (attribute, Some(bare)),
        };
        for leaf in elements(value) {
            if leaf.is_null() {
                continue;
            }
            absent = false;
            if compare(*op, attribute, leaf, wanted) {
                return true;
            }
        }
    }
    // An absent attribute is null.
    absent
        && match op {
            Op::Eq => wanted.is_null(),
            Op::Ne => !wanted.is_null(),
            _ => false,
        }
}

/// `pr`: "a non-empty or non-null value" (RFC 7644 3.4.2.2).
fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => values.iter().any(is_present),
        Value::Object(object) => object.values().any(is_present),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn compare(op: Op, attribute: Option<&'static Attribute>, value: &Value, wanted: &Value) -> bool {
    match op {
        Op::Eq => order(attribute, value, wanted) == Some(Ordering::Equal),
        Op::Ne => order(attribute, value, wanted) != Some(Ordering::Equal),
        Op::Gt => order(attribute, value, wanted).is_some_and(Ordering::is_gt),
        Op::Ge => order(attribute, value, wanted).is_some_and(Ordering::is_ge),
        Op::Lt => order(attribute, value, wanted).is_some_and(Ordering::is_lt),
        Op::Le => order(attribute, value, wanted).is_some_and(Ordering::is_le),
        Op::Co | Op::Sw | Op::Ew => {
            let (Value::String(value), Value::String(wanted)) = (value, wanted) else {
                return false;
            };
            let test = |value: &str, wanted: &str| match op {
                Op::Co => value.contains(wanted),
                Op::Sw => value.starts_with(wanted),
                _ => value.ends_with(wanted),
            };
            if is_exact(attribute) {
                test(value, wanted)
            } else {
                test(&fold(value), &fold(wanted))
            }
        }
    }
}

/// How a value stands to the filter's; `None` if the two cannot be compared.
fn order(attribute: Option<&'static Attribute>, value: &Value, wanted: &Value) -> Option<Ordering> {
    match (value, wanted) {
        (Value::String(value), Value::String(wanted)) => {
            if attribute.is_some_and(|attribute| attribute.kind == Type::DateTime) {
                let value: jiff::Timestamp = value.parse().ok()?;
                let wanted: jiff::Timestamp = wanted.parse().ok()?;
                return Some(value.cmp(&wanted));
            }
            if is_exact(attribute) {
                return Some(value.cmp(wanted));
            }
            if schema::same_folded(value, wanted) {
                return Some(Ordering::Equal);
            }
            Some(fold(value).cmp(&fold(wanted)))
        }
        (Value::Number(value), Value::Number(wanted)) => match (integer(value), integer(wanted)) {
            (Some(value), Some(wanted)) => Some(value.cmp(&wanted)),
            _ => value.as_f64()?.partial_cmp(&wanted.as_f64()?),
        },
        // Booleans have no order: equal, or nothing.
        (Value::Bool(value), Value::Bool(wanted)) => (value == wanted).then_some(Ordering::Equal),
        (Value::Bool(value), Value::String(wanted)) => {
            (dialect::truth(wanted) == Some(*value)).then_some(Ordering::Equal)
        }
        _ => None,
    }
}

fn integer(number: &serde_json::Number) -> Option<i128> {
    number
        .as_i64()
        .map(i128::from)
        .or_else(|| number.as_u64().map(i128::from))
}

fn is_exact(attribute: Option<&'static Attribute>) -> bool {
    attribute.is_some_and(|attribute| attribute.case_exact)
}
