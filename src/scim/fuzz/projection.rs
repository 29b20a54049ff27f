//! What must hold for `attributes` and `excludedAttributes` (RFC 7644 3.9).

use serde_json::{Map, Value};

use super::{group, user};
use crate::scim::projection::Projection;
use crate::scim::{Kind, name};

/// A projection shows part of what there is and never more; `schemas` always, a password never, nothing that was not
/// asked for or was excluded; and what it showed it shows again as it is.
///
/// The input: `attributes` in the first line, `excludedAttributes` in the second.
pub fn projection(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (only, without) = text.split_once('\n').unwrap_or((text, ""));
    let read = |only: &str, without: &str| Projection::read(only.split(','), without.split(','));
    let (projection, alone) = match (read(only, without), read(only, "")) {
        (Ok(projection), Ok(alone)) => (projection, alone),
        (Err(fault), _) | (_, Err(fault)) => {
            return assert_eq!(fault.scim_type(), Some("invalidValue"));
        }
    };
    for (kind, mut whole) in [(Kind::User, user()), (Kind::Group, group())] {
        if kind == Kind::User {
            // It is never stored; were it, it would not be shown (RFC 7643 7).
            whole.insert("password".into(), "secret".into());
        }
        let shown = shown(&projection, kind, &whole);
        assert_eq!(shown.get("schemas"), whole.get("schemas"));
        assert!(!shown.contains_key("password"));
        assert!(is_part_of(&shown, &whole), "{shown:?}");
        assert!(is_part_of(&shown, &self::shown(&alone, kind, &whole)));
        assert_eq!(self::shown(&projection, kind, &shown), shown);
        let shown = shown.keys().filter(|key| *key != "schemas");
        for key in shown.filter(|_| projection.is_chosen()) {
            assert!(is_asked(only, kind, key, &whole), "{key}");
        }
        for name in without.split(',').map(str::trim) {
            // An attribute by its plain name is gone whole.
            let gone = name::key(&whole, name).filter(|key| *key != "schemas" && !name.is_empty());
            let left = self::shown(&projection, kind, &whole);
            assert!(gone.is_none_or(|key| !left.contains_key(key)), "{name}");
        }
    }
}

fn shown(projection: &Projection, kind: Kind, whole: &Map<String, Value>) -> Map<String, Value> {
    let stored = Value::Object(whole.clone()).to_string();
    match projection.fields(kind).stored(stored.as_bytes()) {
        Ok(shown) => shown,
        Err(error) => panic!("{error}"),
    }
}

/// Whether one of the names may mean this key: it names the core schema, or holds the key, or an attribute below it.
fn is_asked(names: &str, kind: Kind, key: &str, whole: &Map<String, Value>) -> bool {
    let key = key.to_ascii_lowercase();
    let below = whole.iter().find(|(one, _)| one.eq_ignore_ascii_case(&key));
    let below = below.and_then(|(_, value)| value.as_object());
    names.split(',').any(|name| {
        let name = name.trim().to_ascii_lowercase();
        let first = name.split('.').next().unwrap_or_default();
        let bare = !name::is_urn(&name);
        name::same(&name, kind.schema())
            || name.contains(&key)
            || (bare
                && name::is_urn(&key)
                && below.is_some_and(|below| name::key(below, first).is_some()))
    })
}

fn is_part_of(part: &Map<String, Value>, whole: &Map<String, Value>) -> bool {
    part.iter()
        .all(|(key, value)| whole.get(key).is_some_and(|whole| is_part(value, whole)))
}

fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => is_part_of(part, whole),
        (Value::Array(part), Value::Array(whole)) => {
            // Each of some element, in their order.
            let mut left = whole.iter();
            part.iter().all(|one| left.any(|whole| is_part(one, whole)))
        }
        (part, whole) => part == whole,
    }
}
