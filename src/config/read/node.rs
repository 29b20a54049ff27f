//! One value of the file, where it stands, and the types that it may be asked for.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::{Notes, Table, shortened};
use crate::config::value;

/// A value and where it stands.
#[derive(Clone)]
pub(in crate::config) struct Node<'a> {
    pub(in crate::config) notes: &'a Notes<'a>,
    pub(in crate::config) key: String,
    pub(in crate::config) span: Range<usize>,
    pub(in crate::config) value: &'a DeValue<'a>,
    pub(super) hidden: bool,
}

impl<'a> Node<'a> {
    /// The same, and what stands in it is never shown: it is, or may by mistake be, a secret.
    pub(in crate::config) fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// The same, and it may be shown, whatever it stands in.
    pub(in crate::config) fn shown(mut self) -> Self {
        self.hidden = false;
        self
    }

    /// Something else was wanted.
    pub(in crate::config) fn wrong(&self, wanted: &str) {
        self.tell(self.describe(), wanted, None);
    }

    /// Something else was wanted, and this is probably what was meant (as it would be written in the file).
    pub(in crate::config) fn mistaken(&self, wanted: &str, meant: Option<String>) {
        let meant = meant.filter(|_| !self.hidden);
        let hint = meant.map(|meant| format!("did you mean {meant}?"));
        self.tell(self.describe(), wanted, hint);
    }

    /// Notes a mistake in one's own words.
    pub(in crate::config) fn tell(&self, found: String, wanted: &str, hint: Option<String>) {
        self.tell_at(self.span.start, found, wanted, hint);
    }

    /// The same, about a byte within a string (from its first letter). Only a string without escapes has such a place.
    pub(in crate::config) fn tell_within(&self, offset: usize, found: String, wanted: &str) {
        let raw = self.notes.text.get(self.span.clone()).unwrap_or("");
        let plain = match self.value {
            DeValue::String(text) => raw
                .get(1..)
                .is_some_and(|raw| raw.starts_with(text.as_ref())),
            _ => false,
        };
        let at = if plain {
            self.span.start + 1 + offset
        } else {
            self.span.start
        };
        self.tell_at(at, found, wanted, None);
    }

    fn tell_at(&self, at: usize, found: String, wanted: &str, hint: Option<String>) {
        let mut problem = self.notes.problem(at, &self.key, found, wanted.to_owned());
        problem.hint = hint;
        self.notes.wrong.borrow_mut().push(problem);
    }

    /// Its feature is not built yet: only the default may stand here.
    pub(in crate::config) fn later(&self, default: &str) {
        self.wrong(&format!(
            "{default} (the default): anything else comes with a later version"
        ));
    }

    /// The line that it stands in.
    pub(in crate::config) fn line(&self) -> usize {
        self.notes.lines.place(self.span.start).0
    }

    /// What stands here, for the person who wrote it.
    pub(in crate::config) fn describe(&self) -> String {
        match self.value {
            DeValue::String(_) if self.hidden => String::from("a text (not shown)"),
            DeValue::Integer(_) | DeValue::Float(_) if self.hidden => String::from("a number"),
            DeValue::String(text) => format!("\"{}\"", shortened(text)),
            DeValue::Integer(number) => shortened(&number.to_string()),
            DeValue::Float(number) => shortened(&number.to_string()),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Datetime(_) => String::from("a date"),
            DeValue::Array(list) if list.is_empty() => String::from("an empty list"),
            DeValue::Array(_) => String::from("a list"),
            DeValue::Table(_) => String::from("a table"),
        }
    }

    pub(in crate::config) fn text(&self) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            let meant = match self.value {
                DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                    Some(format!("\"{}\"", self.describe()))
                }
                _ => None,
            };
            self.mistaken("a text in quotes", meant);
        }
        text
    }

    pub(in crate::config) fn boolean(&self) -> Option<bool> {
        let truth = self.value.as_bool();
        if truth.is_none() {
            let words = match self.value.as_str() {
                Some("true" | "yes" | "on") => Some("true"),
                Some("false" | "no" | "off") => Some("false"),
                _ => None,
            };
            self.mistaken("true or false", words.map(String::from));
        }
        truth
    }

    /// One of a closed list of words.
    pub(in crate::config) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.value.as_str();
        let found = words.iter().find(|(word, _)| Some(*word) == text);
        if found.is_none() {
            let all: Vec<String> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            let near =
                text.and_then(|text| value::nearest(text, words.iter().map(|(word, _)| *word)));
            self.mistaken(&all.join(" or "), near.map(|word| format!("\"{word}\"")));
        }
        found.map(|(_, meaning)| *meaning)
    }

    pub(in crate::config) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self
            .value
            .as_integer()
            .and_then(whole)
            .filter(|number| range.contains(number));
        if number.is_none() {
            let (from, to) = range.clone().into_inner();
            let meant = self
                .value
                .as_str()
                .and_then(|text| text.trim().parse().ok());
            let meant = meant.filter(|number| range.contains(number));
            self.mistaken(
                &format!("a whole number from {from} to {to}"),
                meant.map(|number: u64| number.to_string()),
            );
        }
        number
    }

    pub(in crate::config) fn duration(&self) -> Option<Duration> {
        let span = self.value.as_str().and_then(value::duration);
        if span.is_none() {
            let meant = match self.value {
                DeValue::String(text) => value::nearest_duration(text),
                DeValue::Integer(number) => value::nearest_duration(number.as_str()),
                _ => None,
            };
            self.mistaken(
                "a duration such as \"4s\" (units: ms, s, m, h, d)",
                meant.map(|text| format!("\"{text}\"")),
            );
        }
        span
    }

    pub(in crate::config) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let bytes = self.value.as_str().and_then(value::size);
        let Some(bytes) = bytes else {
            let meant = match self.value {
                DeValue::String(text) => value::nearest_size(text),
                DeValue::Integer(number) => value::nearest_size(number.as_str()),
                _ => None,
            };
            self.mistaken(
                "a size such as \"1MiB\" (units: B, KiB, MiB, GiB, TiB)",
                meant.map(|text| format!("\"{text}\"")),
            );
            return None;
        };
        if !range.contains(&bytes) {
            let (from, to) = range.into_inner();
            self.wrong(&format!("a size from {from} to {to} bytes"));
            return None;
        }
        Some(bytes)
    }

    pub(in crate::config) fn list(&self) -> Option<Vec<Node<'a>>> {
        let DeValue::Array(list) = self.value else {
            let meant = match self.value {
                DeValue::String(_) => Some(format!("[{}]", self.describe())),
                _ => None,
            };
            self.mistaken("a list in brackets", meant);
            return None;
        };
        let node = |(at, value): (usize, &'a Spanned<DeValue<'a>>)| Node {
            notes: self.notes,
            key: format!("{}[{at}]", self.key),
            span: value.span(),
            value: value.get_ref(),
            hidden: self.hidden,
        };
        Some(list.iter().enumerate().map(node).collect())
    }

    pub(in crate::config) fn table(&self) -> Option<Table<'a>> {
        let DeValue::Table(entries) = self.value else {
            self.wrong("a table");
            return None;
        };
        Some(Table {
            notes: self.notes,
            key: self.key.clone(),
            at: self.span.start,
            entries: Some(entries),
            hidden: self.hidden,
            asked: RefCell::default(),
        })
    }

    /// The value as JSON. Dates, and numbers that JSON does not have, are mistakes.
    pub(in crate::config) fn json(&self) -> Option<serde_json::Value> {
        // The parser bounds nesting (80 deep), so this recursion is bounded too.
        match self.value {
            DeValue::String(text) => Some(text.as_ref().into()),
            DeValue::Boolean(truth) => Some((*truth).into()),
            DeValue::Integer(number) => {
                let read = i64::from_str_radix(number.as_str(), number.radix()).ok();
                if read.is_none() {
                    self.wrong("a number of 64 bits");
                }
                read.map(Into::into)
            }
            DeValue::Float(number) => {
                let read = number.as_str().parse().ok();
                let read = read.and_then(serde_json::Number::from_f64);
                if read.is_none() {
                    self.wrong("a number that JSON has");
                }
                read.map(serde_json::Value::Number)
            }
            DeValue::Datetime(_) => {
                self.wrong("a value that JSON has: put the date in quotes");
                None
            }
            DeValue::Array(_) => {
                let list = self.list()?;
                let list: Vec<_> = list.iter().map(Node::json).collect();
                list.into_iter().collect()
            }
            DeValue::Table(_) => {
                let table = self.table()?;
                let entries: Vec<_> = table
                    .entries()
                    .map(|(name, node)| node.json().map(|value| (name.to_owned(), value)))
                    .collect();
                entries.into_iter().collect()
            }
        }
    }
}

fn whole(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}
