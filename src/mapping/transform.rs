//! What a rule may do to a value on its way: a closed list, and a table. Total: a value that a transform has nothing to
//! say about passes as it is, `null` is nothing.

use serde_json::Value;

/// One entry of `transform`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transform {
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// Without blanks at both ends.
    Trim,
    /// The first value of several.
    First,
    /// Several values as one text with this between them.
    Join(String),
    /// This before it.
    Prefix(String),
    /// This behind it.
    Suffix(String),
}

/// The words that a file may use.
const NAMES: [&str; 7] = [
    "lower", "upper", "trim", "first", "join", "prefix", "suffix",
];

impl Transform {
    /// Reads one entry: `("lower", None)`, `("prefix", Some("idp-"))`.
    ///
    /// # Errors
    /// Says in a sentence what is wrong with it.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let bare = |transform: Self| match argument {
            None => Ok(transform),
            Some(_) => Err(format!("`{name}` takes no argument: write \"{name}\"")),
        };
        let with = |make: fn(String) -> Self| match argument {
            Some(text) => Ok(make(text.to_owned())),
            None => Err(format!(
                "`{name}` needs an argument: write {{ {name} = \"...\" }}"
            )),
        };
        match name {
            "lower" => bare(Self::Lower),
            "upper" => bare(Self::Upper),
            "trim" => bare(Self::Trim),
            "first" => bare(Self::First),
            "join" => with(Self::Join),
            "prefix" => with(Self::Prefix),
            "suffix" => with(Self::Suffix),
            _ => Err(unknown(name, &NAMES)),
        }
    }

    /// Whether it makes one value out of several.
    #[must_use]
    pub fn gathers(&self) -> bool {
        matches!(self, Self::First | Self::Join(_))
    }

    /// Applies it. On a list, all but `first` and `join` work on each of its values.
    #[must_use]
    pub fn apply(&self, value: Value) -> Value {
        match self {
            Self::First => match value {
                Value::Array(items) => items.into_iter().find(is_given).unwrap_or(Value::Null),
                one => one,
            },
            Self::Join(between) => match value {
                Value::Array(items) => {
                    let texts: Vec<String> = items
                        .iter()
                        .filter(|item| is_given(item))
                        .filter_map(text)
                        .collect();
                    Value::String(texts.join(between))
                }
                one => one,
            },
            Self::Lower => each(value, |one| on_string(one, str::to_lowercase)),
            Self::Upper => each(value, |one| on_string(one, str::to_uppercase)),
            Self::Trim => each(value, |one| on_string(one, |text| text.trim().to_owned())),
            Self::Prefix(before) => {
                each(value, |one| on_text(one, |text| format!("{before}{text}")))
            }
            Self::Suffix(behind) => {
                each(value, |one| on_text(one, |text| format!("{text}{behind}")))
            }
        }
    }
}

/// Whether there is something in a value: `null`, blank text and empty lists and objects are as good as absent
/// (RFC 7643 2.5; several identity providers send "" for what they do not know).
#[must_use]
pub fn is_given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(parts) => !parts.is_empty(),
    }
}

/// A single value as text: what a table looks up and `join` joins. `None` for lists, objects and null.
#[must_use]
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// "There is no such word", with the nearest one that there is, or all of them.
pub(crate) fn unknown(word: &str, known: &[&str]) -> String {
    let word = super::walk::shown(word);
    match nearest(&word, known) {
        Some(near) => format!("there is no `{word}`: did you mean `{near}`?"),
        None => format!("there is no `{word}`, only {}", known.join(", ")),
    }
}

/// The known word that a mistyped one most likely stands for.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let folded = word.to_lowercase();
    known
        .iter()
        .map(|near| {
            let distance = strsim::osa_distance(&folded, &near.to_lowercase());
            (distance, *near)
        })
        .filter(|(distance, near)| *distance <= 2 && *distance < near.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
}

/// Blanks stay what they are ("idp-" alone names nobody), or fall out of a list.
fn each(value: Value, change: impl Fn(Value) -> Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().filter(is_given).map(change).collect(),
        value if is_given(&value) => change(value),
        blank => blank,
    }
}

fn on_string(value: Value, change: impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(&text)),
        other => other,
    }
}

fn on_text(value: Value, change: impl Fn(&str) -> String) -> Value {
    match text(&value) {
        Some(text) => Value::String(change(&text)),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_transform() {
        for (name, argument, from, to) in [
            ("lower", None, json!("\u{c4}DA"), json!("\u{e4}da")),
            ("upper", None, json!("ada"), json!("ADA")),
            ("trim", None, json!(" a b\t"), json!("a b")),
            ("first", None, json!([null, "", "a", "b"]), json!("a")),
            ("first", None, json!([]), json!(null)),
            ("first", None, json!("a"), json!("a")),
            (
                "join",
                Some(", "),
                json!(["a", 1, null, "", true]),
                json!("a, 1, true"),
            ),
            ("join", Some(", "), json!([]), json!("")),
            ("join", Some(", "), json!("a"), json!("a")),
            ("prefix", Some("idp-"), json!("a"), json!("idp-a")),
            ("prefix", Some("idp-"), json!(7), json!("idp-7")),
            ("prefix", Some("idp-"), json!(""), json!("")),
            ("prefix", Some("idp-"), json!(null), json!(null)),
            ("suffix", Some("!"), json!(["a", "b"]), json!(["a!", "b!"])),
            (
                "lower",
                None,
                json!(["A", {"B": 1}]),
                json!(["a", {"B": 1}]),
            ),
            ("lower", None, json!({"A": "B"}), json!({"A": "B"})),
            ("upper", None, json!(true), json!(true)),
            ("suffix", Some("!"), json!(true), json!("true!")),
        ] {
            let transform = Transform::parse(name, argument).expect(name);
            assert_eq!(
                transform.apply(from.clone()),
                to,
                "{name} {argument:?} {from}"
            );
        }
    }

    #[test]
    fn refused() {
        for (name, argument, says) in [
            ("lwoer", None, "did you mean `lower`?"),
            ("Trim", None, "did you mean `trim`?"),
            ("sha256", None, "only lower, upper, trim"),
            ("lower", Some("x"), "takes no argument"),
            ("join", None, "{ join = \"...\" }"),
        ] {
            let error = Transform::parse(name, argument).expect_err(name);
            assert!(error.contains(says), "{error}");
        }
    }
}
