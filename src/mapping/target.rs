//! Where a rule puts its value: a small grammar of its own over the account's body.
//!
//! `displayName`, `name.givenName`, `phoneNumbers[type eq "mobile"].value`, and the same below an extension's URN:
//! `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department`. Core attributes are known by name, so that
//! a slip of the pen is found at load; extensions are open.

use serde_json::{Map, Value, json};

use super::attributes::{CLOSED, Shape, core, names};
use super::transform::{is_given, nearest, text, unknown};
use super::walk::shown;

const CORE_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:User:";

/// A place in an account's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The extension it belongs to.
    pub urn: Option<String>,
    /// The attribute.
    pub attribute: String,
    /// Which entry of a list: the one whose `type` is this.
    pub entry: Option<String>,
    /// The part of an object or entry.
    pub sub: Option<String>,
    /// What fits there.
    pub shape: Shape,
}

impl Target {
    /// Parses.
    ///
    /// # Errors
    /// Says in a sentence what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let core = CORE_URN.len();
        let text = match text.get(..core) {
            Some(urn) if urn.eq_ignore_ascii_case(CORE_URN) => &text[core..],
            _ => text,
        };
        // A colon may stand in the quotes of a filter; a dot stands in a URN's version.
        let before = text.split('[').next().unwrap_or_default();
        let (urn, path) = match before.rfind(':') {
            Some(at) => (Some(&text[..at]), &text[at + 1..]),
            None => (None, text),
        };
        if let Some(urn) = urn {
            whole_urn(urn, path)?;
        }
        let (attribute, entry, sub) = parts(path)?;
        let mut target = Self {
            urn: urn.map(str::to_owned),
            attribute: attribute.to_owned(),
            entry,
            sub: sub.map(str::to_owned),
            shape: Shape::Any,
        };
        if urn.is_none() {
            target.check()?;
        } else if target.entry.is_some() && target.sub.is_none() {
            target.sub = Some(String::from("value"));
        }
        Ok(target)
    }

    /// A place that is known to be one.
    pub(super) fn place(urn: Option<&str>, attribute: &str, sub: Option<&str>) -> Self {
        Self {
            urn: urn.map(str::to_owned),
            attribute: attribute.to_owned(),
            entry: None,
            sub: sub.map(str::to_owned),
            shape: Shape::Any,
        }
    }

    /// The target in its canonical spelling: two targets are the same if this is.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(urn) = &self.urn {
            text.push_str(urn);
            text.push(':');
        }
        text.push_str(&self.attribute);
        if let Some(entry) = &self.entry {
            // A JSON string is a SCIM string.
            text.push_str(&format!("[type eq {}]", Value::from(entry.as_str())));
        }
        if let Some(sub) = &self.sub {
            text.push('.');
            text.push_str(sub);
        }
        text
    }

    /// Whether the two are one place: types, URNs and names compare folded.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.text().eq_ignore_ascii_case(&other.text())
    }

    /// The value there, if there is something in it.
    #[must_use]
    pub fn read<'a>(&self, account: &'a Map<String, Value>) -> Option<&'a Value> {
        let within = match &self.urn {
            Some(urn) => account.get(urn)?.as_object()?,
            None => account,
        };
        let mut value = within.get(&self.attribute)?;
        if let Some(entry) = &self.entry {
            value = value.as_array()?.iter().find(|item| is_type(item, entry))?;
        }
        if let Some(sub) = &self.sub {
            value = value.get(sub)?;
        }
        is_given(value).then_some(value)
    }

    /// Puts a value there, making the objects, lists and entries on the way.
    pub fn write(&self, account: &mut Map<String, Value>, value: Value) {
        let within = match &self.urn {
            Some(urn) => object(account.entry(urn.as_str()).or_insert(Value::Null)),
            None => Some(account),
        };
        let Some(within) = within else { return };
        let mut place = within.entry(self.attribute.as_str()).or_insert(Value::Null);
        if let Some(entry) = &self.entry {
            let Some(items) = list(place) else { return };
            let at = items.iter().position(|item| is_type(item, entry));
            let at = at.unwrap_or(items.len());
            if at == items.len() {
                items.push(json!({ "type": entry }));
            }
            let Some(item) = items.get_mut(at) else {
                return;
            };
            place = item;
        }
        match &self.sub {
            None => *place = value,
            Some(sub) => {
                if let Some(parts) = object(place) {
                    parts.insert(sub.clone(), value);
                }
            }
        }
    }

    /// Takes away what is there, and the entry, list or object that is left with nothing in it.
    pub fn remove(&self, account: &mut Map<String, Value>) {
        match &self.urn {
            Some(urn) => {
                if let Some(Value::Object(within)) = account.get_mut(urn) {
                    self.remove_within(within);
                    if within.is_empty() {
                        account.remove(urn);
                    }
                }
            }
            None => self.remove_within(account),
        }
    }

    /// Makes a value fit: `None` if it cannot, or if there is nothing in it. Numbers and booleans become text where
    /// text is wanted, "true" and "False" become booleans where one is (Entra sent them as text for years).
    #[must_use]
    pub fn fit(&self, value: Value) -> Option<Value> {
        if !is_given(&value) {
            return None;
        }
        match (self.shape, value) {
            (Shape::Any, value) => Some(value),
            (Shape::Text, value) => text(&value).map(Value::String),
            (Shape::Flag, Value::Bool(flag)) => Some(Value::Bool(flag)),
            (Shape::Flag, Value::String(word)) => {
                let word = word.trim().to_ascii_lowercase();
                word.parse().ok().map(Value::Bool)
            }
            (Shape::Complex(_), value @ Value::Object(_))
            | (Shape::Many(_), value @ Value::Array(_)) => Some(value),
            (Shape::Many(_), one) => Some(Value::Array(vec![one])),
            (Shape::Flag | Shape::Complex(_), _) => None,
        }
    }

    /// Whether a constant of the file may stand there as it is.
    ///
    /// # Errors
    /// Says what is wanted there.
    pub fn accepts(&self, constant: &Value) -> Result<(), String> {
        let wanted = match (self.shape, constant) {
            (Shape::Any, _)
            | (Shape::Text, Value::String(_))
            | (Shape::Flag, Value::Bool(_))
            | (Shape::Complex(_), Value::Object(_))
            | (Shape::Many(_), Value::Array(_)) => return Ok(()),
            (Shape::Text, _) => "a text in quotes",
            (Shape::Flag, _) => "true or false",
            (Shape::Complex(_), _) => "a table",
            (Shape::Many(_), _) => "a list",
        };
        Err(format!("`{}` takes {wanted}", self.text()))
    }

    fn remove_within(&self, within: &mut Map<String, Value>) {
        let empty = match (within.get_mut(&self.attribute), &self.entry, &self.sub) {
            (Some(Value::Array(items)), Some(entry), sub) => {
                let sub = sub.as_deref().unwrap_or("value");
                for item in items.iter_mut().filter(|item| is_type(item, entry)) {
                    if let Value::Object(parts) = item {
                        parts.remove(sub);
                    }
                }
                // Its type and rank alone say nothing.
                items.retain(|item| match item {
                    Value::Object(parts) => {
                        !is_type(item, entry)
                            || parts.keys().any(|key| key != "type" && key != "primary")
                    }
                    _ => true,
                });
                items.is_empty()
            }
            (Some(Value::Object(parts)), None, Some(sub)) => {
                parts.remove(sub);
                parts.is_empty()
            }
            (Some(_), None, None) => true,
            _ => false,
        };
        if empty {
            within.remove(&self.attribute);
        }
    }

    /// Holds a core target against the schema, and brings it into the schema's spelling.
    fn check(&mut self) -> Result<(), String> {
        if let Some(closed) = CLOSED
            .iter()
            .find(|closed| closed.eq_ignore_ascii_case(&self.attribute))
        {
            return Err(format!("a rule cannot write `{closed}`"));
        }
        let Some((name, shape)) = core(&self.attribute) else {
            let names = names();
            let wrong = shown(&self.attribute);
            return Err(match nearest(&wrong, &names) {
                Some(_) => unknown(&wrong, &names),
                None => format!(
                    "there is no core attribute `{wrong}`; one of an extension is written with its URN, urn:...:User:{wrong}"
                ),
            });
        };
        name.clone_into(&mut self.attribute);
        self.shape = match (shape, &self.entry, &self.sub) {
            (shape, None, None) => shape,
            (Shape::Complex(parts), None, Some(sub)) | (Shape::Many(parts), Some(_), Some(sub)) => {
                let Some(part) = parts.iter().find(|part| part.eq_ignore_ascii_case(sub)) else {
                    return Err(format!("in `{name}`, {}", unknown(sub, parts)));
                };
                if *part == "type" {
                    return Err(format!(
                        "the type of an entry of `{name}` stands in its brackets"
                    ));
                }
                self.sub = Some((*part).to_owned());
                if *part == "primary" {
                    Shape::Flag
                } else {
                    Shape::Text
                }
            }
            (Shape::Many(parts), Some(_), None) if parts.contains(&"value") => {
                self.sub = Some(String::from("value"));
                Shape::Text
            }
            (Shape::Many(_), Some(entry), None) => {
                return Err(format!(
                    "say which part: `{name}[type eq \"{entry}\"].locality`"
                ));
            }
            (Shape::Many(_), None, Some(sub)) => {
                return Err(format!(
                    "`{name}` is a list: say which entry, `{name}[type eq \"work\"].{sub}`"
                ));
            }
            (_, Some(_), _) => return Err(format!("`{name}` is not a list")),
            (_, None, Some(_)) => return Err(format!("`{name}` has no parts")),
        };
        Ok(())
    }
}

/// Whether an entry of a list has this type (types compare folded: RFC 7643 has `caseExact` false).
pub(crate) fn is_type(item: &Value, kind: &str) -> bool {
    item.get("type")
        .and_then(Value::as_str)
        .is_some_and(|is| is.eq_ignore_ascii_case(kind))
}

/// The object there; what is none becomes an empty one.
fn object(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

/// The list there; what is none becomes an empty one.
fn list(value: &mut Value) -> Option<&mut Vec<Value>> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut()
}

fn whole_urn(urn: &str, attribute: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_graphic() && !"[]\"'".contains(c);
    if !urn
        .get(..4)
        .is_some_and(|head| head.eq_ignore_ascii_case("urn:"))
        || !urn.chars().all(plain)
    {
        return Err(String::from(
            "before the colon stands the URN of an extension: urn:...:User:department",
        ));
    }
    // urn:...:enterprise:2.0:User is a schema; its attributes stand one colon further on.
    let last = urn.rsplit(':').next().unwrap_or_default();
    if last.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!(
            "this names a schema and not an attribute of it: add one, `{urn}:{attribute}:department`"
        ));
    }
    Ok(())
}

/// `name`, `name.sub`, `name[type eq "work"]`, `name[type eq "work"].sub`
fn parts(path: &str) -> Result<(&str, Option<String>, Option<&str>), String> {
    let wrong = || {
        format!(
            "`{}` is not a target; examples: displayName, name.givenName, emails[type eq \"work\"].value, urn:...:User:department",
            shown(path)
        )
    };
    let (attribute, entry, rest) = match path.split_once('[') {
        None => match path.split_once('.') {
            Some((attribute, sub)) => (attribute, None, Some(sub)),
            None => (path, None, None),
        },
        Some((attribute, rest)) => {
            let (term, rest) = rest.rsplit_once(']').ok_or_else(wrong)?;
            let sub = match rest {
                "" => None,
                rest => Some(rest.strip_prefix('.').ok_or_else(wrong)?),
            };
            (attribute, Some(kind(term).ok_or_else(wrong)?), sub)
        }
    };
    if !is_name(attribute) || !rest.is_none_or(is_name) {
        return Err(wrong());
    }
    Ok((attribute, entry, rest))
}

/// The one term that a target knows: `type eq "work"`.
fn kind(term: &str) -> Option<String> {
    let (attribute, rest) = term.trim().split_once(' ')?;
    let (operator, value) = rest.trim_start().split_once(' ')?;
    if !attribute.eq_ignore_ascii_case("type") || !operator.eq_ignore_ascii_case("eq") {
        return None;
    }
    let kind: String = serde_json::from_str(value.trim()).ok()?;
    (!kind.is_empty()).then_some(kind)
}

/// RFC 7643 2.1: ATTRNAME, and `$ref`.
fn is_name(name: &str) -> bool {
    let mut letters = name.strip_prefix('$').unwrap_or(name).chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

    #[test]
    fn targets_write_read_and_remove() {
        let body = json!({"emails": [{"type": "Work", "value": "w"}], "name": {"givenName": "A"}});
        for (text, canonical, written) in [
            ("displayName", "displayName", json!({"displayName": "x"})),
            ("DISPLAYNAME", "displayName", json!({"displayName": "x"})),
            (
                "urn:ietf:params:scim:schemas:core:2.0:User:title",
                "title",
                json!({"title": "x"}),
            ),
            (
                "name.familyname",
                "name.familyName",
                json!({"name": {"givenName": "A", "familyName": "x"}}),
            ),
            (
                "emails[type eq \"work\"].value",
                "emails[type eq \"work\"].value",
                json!({"emails": [{"type": "Work", "value": "x"}]}),
            ),
            (
                "emails[type eq \"work\"]",
                "emails[type eq \"work\"].value",
                json!({"emails": [{"type": "Work", "value": "x"}]}),
            ),
            (
                "emails[Type EQ \"a:b.c]\"].display",
                "emails[type eq \"a:b.c]\"].display",
                json!({"emails": [{"type": "Work", "value": "w"}, {"type": "a:b.c]", "display": "x"}]}),
            ),
            (
                &format!("{ENTERPRISE}:department"),
                &format!("{ENTERPRISE}:department"),
                json!({ENTERPRISE: {"department": "x"}}),
            ),
            (
                &format!("{ENTERPRISE}:manager.value"),
                &format!("{ENTERPRISE}:manager.value"),
                json!({ENTERPRISE: {"manager": {"value": "x"}}}),
            ),
        ] {
            let target = Target::parse(text).expect(text);
            assert_eq!(target.text(), canonical);
            assert_eq!(Target::parse(canonical).as_ref(), Ok(&target));
            let mut account = body.as_object().expect("an object").clone();
            target.write(&mut account, json!("x"));
            let mut after = body.as_object().expect("an object").clone();
            after.extend(written.as_object().expect("an object").clone());
            assert_eq!(account, after, "{text}");
            assert_eq!(target.read(&account), Some(&json!("x")), "{text}");
            target.remove(&mut account);
            assert_eq!(target.read(&account), None, "{text}");
        }
    }

    #[test]
    fn refused() {
        for (text, says) in [
            ("", "is not a target"),
            ("dispalyName", "did you mean `displayName`?"),
            ("name.givenNam", "did you mean `givenName`?"),
            ("name.nothingLikeIt", "only formatted, familyName"),
            ("zoomPhone", "urn:...:User:zoomPhone"),
            ("emails.value", "emails[type eq \"work\"].value"),
            ("emails[primary eq true].value", "is not a target"),
            ("emails[type eq work].value", "is not a target"),
            ("emails[type eq \"work\"]value", "is not a target"),
            ("emails[type eq \"work\"].type", "stands in its brackets"),
            ("addresses[type eq \"work\"]", "say which part"),
            ("title[type eq \"work\"]", "is not a list"),
            ("title.value", "has no parts"),
            ("id", "cannot write `id`"),
            ("Password", "cannot write `password`"),
            ("a b", "is not a target"),
            ("department:User", "the URN of an extension"),
            (ENTERPRISE, "names a schema"),
        ] {
            let error = Target::parse(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn values_are_made_to_fit() {
        for (target, value, fits) in [
            ("title", json!("x"), json!("x")),
            ("title", json!(7), json!("7")),
            ("title", json!(true), json!("true")),
            ("title", json!(" "), json!(null)),
            ("title", json!(["x"]), json!(null)),
            ("active", json!(false), json!(false)),
            ("active", json!("False"), json!(false)),
            ("active", json!("perhaps"), json!(null)),
            ("active", json!(0), json!(null)),
            ("name", json!({"givenName": "A"}), json!({"givenName": "A"})),
            ("name", json!("A"), json!(null)),
            ("roles", json!("admin"), json!(["admin"])),
            ("roles", json!(["a"]), json!(["a"])),
            ("roles", json!([]), json!(null)),
            ("roles[type eq \"x\"].primary", json!("TRUE"), json!(true)),
            ("urn:x:A:b", json!(0), json!(0)),
            ("urn:x:A:b", json!({"c": 1}), json!({"c": 1})),
            ("urn:x:A:b", json!(""), json!(null)),
        ] {
            let fitted = Target::parse(target).expect(target).fit(value.clone());
            assert_eq!(fitted.unwrap_or(Value::Null), fits, "{target} {value}");
        }
    }
}
