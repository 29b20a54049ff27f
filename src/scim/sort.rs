//! The order of `sortBy` (RFC 7644 3.4.2.3), as bytes that compare so.
//!
//! Texts compare by the schema's `caseExact`, without regard to case where the schema knows nothing; dateTimes by time,
//! numbers by size, `false` before `true`. Of a multi-valued attribute the primary value counts, else the first; of a
//! complex one its `value`. A resource without the attribute comes last, or first when descending. Attributes that no
//! schema knows sort by what was stored under their name; values of unlike types by type.

use serde_json::{Map, Value};

use super::Kind;
use super::name::{self, AttrPath};
use super::schema::{self, Attribute, Type, fold};
use crate::error::Fault;

/// How much of a text counts: a key is kept for each resource that is sorted, and goes into cursors. Texts that agree so
/// far are ties.
const TEXT: usize = 256;

/// A resource's place among others. Compare it with keys of the same sort only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SortKey(pub(crate) Box<[u8]>);

impl SortKey {
    /// Behind every other.
    fn missing() -> Self {
        Self([0xff].into())
    }

    fn tagged(tag: u8, bytes: &[u8]) -> Self {
        let mut key = Vec::with_capacity(1 + bytes.len());
        key.push(tag);
        key.extend_from_slice(bytes);
        Self(key.into())
    }
}

/// Checks that an attribute can be sorted by. What no schema knows can: a client may have stored it.
///
/// # Errors
/// 400 `invalidValue`: a complex attribute without a `value` needs a sub-attribute, such as `name.givenName`.
pub fn check(kind: Kind, by: &AttrPath) -> Result<(), Fault> {
    let whole = match schema::find(kind, by) {
        _ if by.attr.is_empty() => true,
        Some(attribute) => attribute.kind == Type::Complex && attribute.sub("value").is_none(),
        None => false,
    };
    if whole {
        return Err(Fault::InvalidValue(format!(
            "sortBy: {by} has several sub-attributes; name one of them (RFC 7644 3.4.2.3), such as name.familyName."
        )));
    }
    Ok(())
}

/// The key of a resource's canonical attributes.
#[must_use]
pub fn key(kind: Kind, resource: &Map<String, Value>, by: &AttrPath) -> SortKey {
    let place = schema::place(kind, resource, by);
    let object = match &place.extension {
        None => Some(resource),
        Some(urn) => resource.get(urn).and_then(Value::as_object),
    };
    let value = object.and_then(|object| object.get(&place.key));
    let Some(one) = value.and_then(chosen) else {
        return SortKey::missing();
    };
    let sub = by.sub.as_deref().unwrap_or("value");
    match one {
        Value::Object(object) => {
            let attribute = place.attribute.and_then(|attribute| attribute.sub(sub));
            name::get(object, sub)
                .and_then(chosen)
                .map_or_else(SortKey::missing, |value| of(attribute, value))
        }
        bare => of(place.attribute, bare),
    }
}

/// The primary value of several, else the first.
fn chosen(value: &Value) -> Option<&Value> {
    let Value::Array(values) = value else {
        return Some(value);
    };
    let primary = |value: &&Value| value.get("primary") == Some(&Value::Bool(true));
    values.iter().find(primary).or(values.first())
}

fn of(attribute: Option<&'static Attribute>, value: &Value) -> SortKey {
    match value {
        Value::Bool(value) => SortKey::tagged(1, &[u8::from(*value)]),
        Value::Number(number) => match number.as_f64() {
            Some(number) => SortKey::tagged(2, &ordered(number)),
            None => SortKey::missing(),
        },
        Value::String(text) => {
            let is = |kind: Type| attribute.is_some_and(|attribute| attribute.kind == kind);
            if is(Type::DateTime)
                && let Ok(at) = text.parse::<jiff::Timestamp>()
            {
                // The sign bit turned over, so that what lies before 1970 comes first.
                let nanos = at.as_nanosecond() ^ i128::MIN;
                return SortKey::tagged(3, &nanos.to_be_bytes());
            }
            let bytes = |text: &str| {
                let bytes = text.as_bytes();
                SortKey::tagged(4, bytes.get(..TEXT).unwrap_or(bytes))
            };
            if attribute.is_some_and(|attribute| attribute.case_exact) {
                bytes(text)
            } else {
                bytes(&fold(text))
            }
        }
        Value::Null | Value::Array(_) | Value::Object(_) => SortKey::missing(),
    }
}

/// A number as bytes that compare as it does.
fn ordered(number: f64) -> [u8; 8] {
    // -0 is 0.
    let bits = (number + 0.0).to_bits();
    let turned = if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    };
    turned.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn keyed(kind: Kind, by: &str, resource: &Value) -> SortKey {
        let by = AttrPath::parse(by).unwrap();
        key(kind, resource.as_object().unwrap(), &by)
    }

    /// The resources are in order, each behind the one before; those in one slice are ties.
    fn ascending(by: &str, classes: &[&[Value]]) {
        let keys: Vec<Vec<SortKey>> = classes
            .iter()
            .map(|class| class.iter().map(|one| keyed(Kind::User, by, one)).collect())
            .collect();
        for (at, class) in keys.iter().enumerate() {
            assert!(class.iter().all(|one| one == &class[0]), "{by} {class:?}");
            if let Some(next) = keys.get(at + 1) {
                assert!(class[0] < next[0], "{by}: {:?}", classes[at]);
            }
        }
    }

    #[test]
    fn resources_sort_by_type_and_case() {
        ascending(
            "userName",
            &[
                &[json!({"userName": "Ada"}), json!({"userName": "ADA"})],
                &[json!({"userName": "adam"})],
                &[json!({"userName": "B"})],
                &[json!({}), json!({"userName": null})],
            ],
        );
        ascending(
            "externalId",
            &[&[json!({"externalId": "B"})], &[json!({"externalId": "a"})]],
        );
        ascending(
            "meta.created",
            &[
                &[json!({"meta": {"created": "1960-01-01T00:00:00Z"}})],
                &[
                    json!({"meta": {"created": "2026-01-01T01:00:00+01:00"}}),
                    json!({"meta": {"created": "2026-01-01T00:00:00.000Z"}}),
                ],
                &[json!({"meta": {"created": "2026-01-01T00:00:00.1Z"}})],
                &[json!({})],
            ],
        );
        ascending(
            "active",
            &[
                &[json!({"active": false})],
                &[json!({"active": true})],
                &[json!({})],
            ],
        );
        let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        ascending(
            "department",
            &[
                &[json!({enterprise: {"department": "a"}})],
                &[json!({enterprise: {"department": "B"}})],
                &[json!({})],
            ],
        );
        ascending(
            "weight",
            &[
                &[json!({"weight": true})],
                &[json!({"weight": -1e9})],
                &[json!({"weight": -2})],
                &[json!({"weight": 0}), json!({"weight": -0.0})],
                &[json!({"WEIGHT": 3})],
                &[json!({"weight": "10"})],
                &[json!({"weight": "9"})],
                &[json!({"weight": {}}), json!({"weight": []})],
            ],
        );
    }

    #[test]
    fn of_many_values_the_primary_counts_else_the_first() {
        let first = json!({"emails": [{"value": "b"}, {"value": "a"}]});
        let primary = json!({"emails": [{"value": "c"}, {"value": "a", "primary": true}]});
        let none = json!({"emails": []});
        ascending(
            "emails",
            &[from_ref(&primary), from_ref(&first), from_ref(&none)],
        );
        ascending("emails.value", &[&[primary], &[first]]);
        ascending(
            "manager",
            &[
                &[
                    json!({"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"value": "a"}}}),
                ],
                &[json!({})],
            ],
        );
    }

    #[test]
    fn a_complex_attribute_needs_a_sub_attribute() {
        for (by, fits) in [
            ("name", false),
            ("meta", false),
            ("addresses", false),
            ("urn:ietf:params:scim:schemas:core:2.0:User", false),
            ("name.familyName", true),
            ("emails", true),
            ("manager", true),
            ("whatever", true),
        ] {
            let checked = check(Kind::User, &AttrPath::parse(by).unwrap());
            assert_eq!(checked.is_ok(), fits, "{by}");
        }
    }

    proptest! {
        #[test]
        fn numbers_sort_by_size(one in any::<f64>().prop_filter("finite", |n| n.is_finite()), other in any::<i32>()) {
            let (a, b) = (json!({"n": one}), json!({"n": other}));
            let order = keyed(Kind::User, "n", &a).cmp(&keyed(Kind::User, "n", &b));
            prop_assert_eq!(Some(order), one.partial_cmp(&f64::from(other)));
        }
    }
}
