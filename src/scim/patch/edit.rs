//! One operation on one attribute.

use serde_json::{Map, Value};

use super::Op;
use crate::error::Fault;
use crate::scim::dialect::{self, clears_manager, unwrap_one};
use crate::scim::filter::Filter;
use crate::scim::name;
use crate::scim::schema::{Attribute, Type, VALUES, coerce, same_folded, single, too_many};

/// The attribute that an operation changes, in the object that holds it.
pub(super) struct Target<'a> {
    /// Its key there.
    pub(super) key: &'a str,
    /// What the schema says of it.
    pub(super) attribute: Option<&'static Attribute>,
    /// Which of its values.
    pub(super) filter: Option<&'a Filter>,
    /// Which sub-attribute.
    pub(super) sub: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// All of an attribute that no schema knows.
    pub(super) fn plain(key: &'a str) -> Self {
        Self {
            key,
            attribute: None,
            filter: None,
            sub: None,
        }
    }

    /// The sub-attribute's key in an object, and what the schema says of it. The schema is closed where it is known:
    /// `name.noSuch` is a mistake in the path.
    fn sub_key(
        &self,
        sub: &str,
        object: Option<&Map<String, Value>>,
    ) -> Result<(String, Option<&'static Attribute>), Fault> {
        match self.attribute {
            Some(attribute) => match attribute.sub(sub) {
                Some(sub) => Ok((sub.name.to_owned(), Some(sub))),
                None => Err(Fault::InvalidPath(format!(
                    "{} has no sub-attribute {sub}.",
                    attribute.name
                ))),
            },
            None => {
                let key = object.and_then(|object| name::key(object, sub));
                Ok((key.unwrap_or(sub).to_owned(), None))
            }
        }
    }

    fn is_manager(&self) -> bool {
        self.attribute
            .is_some_and(|attribute| attribute.name == "manager")
    }
}

/// Changes the attribute.
pub(super) fn edit(
    object: &mut Map<String, Value>,
    target: &Target<'_>,
    op: Op,
    value: Option<Value>,
) -> Result<(), Fault> {
    let many = match (target.attribute, object.get(target.key)) {
        (Some(attribute), _) => attribute.multi,
        (None, Some(current)) => current.is_array(),
        (None, None) => target.filter.is_some(),
    };
    if many {
        edit_many(object, target, op, value)
    } else {
        // Entra, 2026: a filter on a single-valued attribute (fact 29). It has no meaning and is left out.
        edit_one(object, target, op, value)
    }
}

fn edit_one(
    object: &mut Map<String, Value>,
    target: &Target<'_>,
    op: Op,
    value: Option<Value>,
) -> Result<(), Fault> {
    let mut value = value.unwrap_or(Value::Null);
    if target.attribute.is_some() {
        value = unwrap_one(value);
    }
    if target.is_manager() && clears_manager(target.sub, &value) {
        value = Value::Null;
        if target.sub.is_none_or(|sub| name::same(sub, "value")) {
            object.remove(target.key);
            return Ok(());
        }
    }
    let away = op == Op::Remove || value.is_null();
    if let Some(sub) = target.sub {
        let current = object.get(target.key).and_then(Value::as_object);
        let (key, attribute) = target.sub_key(sub, current)?;
        if away {
            if let Some(Value::Object(current)) = object.get_mut(target.key) {
                current.remove(&key);
                if current.is_empty() {
                    object.remove(target.key);
                }
            }
            return Ok(());
        }
        let value = fit(attribute, value, &format!("{}.{key}", target.key))?;
        return merge(object, target, Map::from_iter([(key, value)]));
    }
    if away {
        object.remove(target.key);
        return Ok(());
    }
    let complex = match target.attribute {
        Some(attribute) => attribute.kind == Type::Complex,
        None => value.is_object() && object.get(target.key).is_some_and(Value::is_object),
    };
    if !complex {
        let value = fit(target.attribute, value, target.key)?;
        object.insert(target.key.to_owned(), value);
        return Ok(());
    }
    // RFC 7644 3.5.2.3: sub-attributes that are not given stay (fact 30). Those given as null go.
    if let (Value::Object(given), Some(Value::Object(current))) =
        (&value, object.get_mut(target.key))
    {
        for (sub, _) in given.iter().filter(|(_, value)| value.is_null()) {
            if let Some(key) = name::key(current, sub).map(str::to_owned) {
                current.remove(&key);
            }
        }
        if current.is_empty() {
            object.remove(target.key);
        }
    }
    match fit(target.attribute, value, target.key)? {
        Value::Object(given) => merge(object, target, given),
        _ => Ok(()),
    }
}

/// Puts sub-attributes into a complex attribute, which is made if it is not there.
fn merge(
    object: &mut Map<String, Value>,
    target: &Target<'_>,
    given: Map<String, Value>,
) -> Result<(), Fault> {
    let current = object
        .entry(target.key)
        .or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(current) = current else {
        return Err(Fault::InvalidPath(format!(
            "{} has no sub-attributes here.",
            target.key
        )));
    };
    let other = given
        .get("value")
        .is_some_and(|value| current.get("value") != Some(value));
    if target.is_manager() && other {
        // Another manager: what was said of the one before goes.
        current.clear();
    }
    current.extend(given);
    Ok(())
}

fn edit_many(
    object: &mut Map<String, Value>,
    target: &Target<'_>,
    op: Op,
    value: Option<Value>,
) -> Result<(), Fault> {
    let mut list = match object.remove(target.key) {
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let given = value.filter(|value| !value.is_null());
    let named = given.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
    check_count(target, named)?;
    if op != Op::Replace || target.filter.is_some() || target.sub.is_some() {
        check_count(target, list.len())?;
    }
    let mut keep_empty = false;
    let touched = if target.filter.is_none() && target.sub.is_none() {
        let given = match (op, given) {
            (Op::Remove, given) => {
                match given {
                    Some(values) => remove_given(&mut list, target.attribute, values),
                    None => list.clear(),
                }
                None
            }
            (_, Some(values)) => Some(many(target, values)?),
            (Op::Replace, None) => {
                list.clear();
                None
            }
            (Op::Add, None) => None,
        };
        match given {
            None => 0..0,
            Some(values) if op == Op::Replace => {
                keep_empty = values.is_empty();
                list = values;
                0..0
            }
            Some(values) => {
                let before = list.len();
                check_count(target, before + values.len())?;
                for value in values {
                    if !list.contains(&value) {
                        list.push(value);
                    }
                }
                before..list.len()
            }
        }
        .collect()
    } else {
        match given.filter(|_| op != Op::Remove) {
            None => {
                remove_selected(&mut list, target)?;
                Vec::new()
            }
            Some(value) => set_selected(&mut list, target, op, value)?,
        }
    };
    one_primary(&mut list, &touched);
    if !list.is_empty() || keep_empty {
        object.insert(target.key.to_owned(), Value::Array(list));
    }
    Ok(())
}

fn check_count(target: &Target<'_>, values: usize) -> Result<(), Fault> {
    if values <= VALUES {
        return Ok(());
    }
    Err(too_many(target.key))
}

/// The values given for a multi-valued attribute, each in its canonical form.
fn many(target: &Target<'_>, values: Value) -> Result<Vec<Value>, Fault> {
    let values = match target.attribute {
        Some(attribute) => coerce(attribute, values, target.key)?.unwrap_or_default(),
        None => values,
    };
    Ok(dialect::values(values))
}

/// Removes the values that a `remove` without a filter names, and no others (facts 26, 130).
fn remove_given(list: &mut Vec<Value>, attribute: Option<&'static Attribute>, values: Value) {
    let values = dialect::values(values);
    list.retain(|value| !values.iter().any(|given| is_named(attribute, value, given)));
}

/// Whether `given` names this value: by its `value` if it is a string, else by all that it says, less what may be told
/// differently of one value.
fn is_named(attribute: Option<&'static Attribute>, value: &Value, given: &Value) -> bool {
    let same = |sub: &str, one: Option<&Value>, other: &Value| match (one, other) {
        (Some(Value::String(one)), Value::String(other)) => {
            let exact = attribute
                .and_then(|attribute| attribute.sub(sub))
                .is_some_and(|sub| sub.case_exact);
            one == other || (!exact && same_folded(one, other))
        }
        (one, other) => one == Some(other),
    };
    let (Value::Object(value), given) = (value, given) else {
        return value == given;
    };
    let Value::Object(given) = given else {
        return same("value", name::get(value, "value"), given);
    };
    let mut told = given
        .iter()
        .filter(|(key, given)| {
            !given.is_null()
                && !["$ref", "display", "primary"]
                    .iter()
                    .any(|sub| name::same(sub, key))
        })
        .peekable();
    told.peek().is_some() && told.all(|(key, given)| same(key, name::get(value, key), given))
}

/// The places of the values that the filter selects; without one, all.
fn selected(list: &[Value], target: &Target<'_>) -> Vec<usize> {
    let holds = |value: &Value| {
        target
            .filter
            .is_none_or(|filter| filter.matches_element(target.attribute, value))
    };
    (0..list.len())
        .filter(|at| list.get(*at).is_some_and(holds))
        .collect()
}

fn remove_selected(list: &mut Vec<Value>, target: &Target<'_>) -> Result<(), Fault> {
    if let Some(sub) = target.sub {
        target.sub_key(sub, None)?;
    }
    list.retain_mut(|value| {
        let selects = target
            .filter
            .is_none_or(|filter| filter.matches_element(target.attribute, value));
        if !selects {
            return true;
        }
        let Some(sub) = target.sub else {
            return false;
        };
        let Value::Object(value) = value else {
            return true;
        };
        if let Some(key) = name::key(value, sub).map(str::to_owned) {
            value.remove(&key);
        }
        !value.is_empty()
    });
    Ok(())
}

/// Sets what is selected and says which places that touched.
fn set_selected(
    list: &mut Vec<Value>,
    target: &Target<'_>,
    op: Op,
    value: Value,
) -> Result<Vec<usize>, Fault> {
    let mut places = selected(list, target);
    let Some(sub) = target.sub else {
        let value = element(target, value)?;
        if places.is_empty() {
            if op == Op::Replace {
                return Err(no_target(target));
            }
            let mut made = stamped(target)?;
            absorb(&mut made, value);
            list.push(made);
            return Ok(vec![list.len() - 1]);
        }
        for place in &places {
            if let Some(old) = list.get_mut(*place) {
                if op == Op::Replace {
                    *old = value.clone();
                } else {
                    absorb(old, value.clone());
                }
            }
        }
        return Ok(places);
    };
    let (key, attribute) = target.sub_key(sub, None)?;
    let value = if attribute.is_some() {
        unwrap_one(value)
    } else {
        value
    };
    let value = fit(attribute, value, &format!("{}.{key}", target.key))?;
    if places.is_empty() {
        // Entra replaces emails[type eq "work"].value where there is none yet (fact 20); a noTarget, which the RFC asks for,
        // would undo the rest of its PATCH as well (fact 133).
        places.push(list.len());
        list.push(stamped(target)?);
    }
    for place in &places {
        let Some(Value::Object(old)) = list.get_mut(*place) else {
            return Err(Fault::InvalidPath(format!(
                "The values of {} have no sub-attributes here.",
                target.key
            )));
        };
        let key = name::key(old, &key).unwrap_or(&key).to_owned();
        old.insert(key, value.clone());
    }
    Ok(places)
}

/// One value of the attribute, canonical.
fn element(target: &Target<'_>, value: Value) -> Result<Value, Fault> {
    let value = unwrap_one(value);
    let value = match target.attribute {
        Some(attribute) => single(attribute, value, target.key)?,
        None => Some(value),
    };
    value.ok_or_else(|| Fault::InvalidValue(format!("{} needs a value.", target.key)))
}

/// A new value for which the filter holds, if its terms say what that would be.
fn stamped(target: &Target<'_>) -> Result<Value, Fault> {
    let Some(filter) = target.filter else {
        return Ok(Value::Object(Map::new()));
    };
    let mut made = Map::new();
    for (path, value) in filter.conjunction().ok_or_else(|| no_target(target))? {
        if path.sub.is_some() {
            return Err(no_target(target));
        }
        let (key, attribute) = match target.attribute {
            Some(_) => target.sub_key(&path.attr, None)?,
            None => (path.attr.clone(), None),
        };
        let value = fit(attribute, value.clone(), &format!("{}.{key}", target.key))?;
        made.insert(key, value);
    }
    let made = Value::Object(made);
    if !filter.matches_element(target.attribute, &made) {
        return Err(no_target(target));
    }
    Ok(made)
}

fn absorb(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => old.extend(new),
        (old, new) => *old = new,
    }
}

/// RFC 7644 3.5.2: `primary` set true on one value makes it false on the others.
fn one_primary(list: &mut [Value], touched: &[usize]) {
    let primary = |value: &Value| value.get("primary") == Some(&Value::Bool(true));
    let chosen = touched
        .iter()
        .rev()
        .find(|at| list.get(**at).is_some_and(primary));
    let Some(chosen) = chosen else {
        return;
    };
    for (at, value) in list.iter_mut().enumerate() {
        if at != *chosen
            && primary(value)
            && let Value::Object(value) = value
        {
            value.insert("primary".into(), Value::Bool(false));
        }
    }
}

/// A value in its attribute's type; as sent if no schema knows the attribute.
fn fit(attribute: Option<&'static Attribute>, value: Value, label: &str) -> Result<Value, Fault> {
    match attribute {
        Some(attribute) => Ok(coerce(attribute, value, label)?.unwrap_or_default()),
        None => Ok(value),
    }
}

fn no_target(target: &Target<'_>) -> Fault {
    Fault::NoTarget(format!(
        "No value of {} is selected by the filter.",
        target.key
    ))
}
