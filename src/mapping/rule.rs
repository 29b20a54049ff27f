//! One line of attribute mapping.
//!
//! A rule has a target, one source and modifiers. The value goes: source, `transform` in order, `table`, and if nothing
//! is left, `default`, which is used as it is. Everything is parsed and type-checked when the file is loaded; running a
//! rule cannot fail.
//!
//! A path that can give several values gives the first of them, unless `join` puts them together or the target is a list.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::attributes::{Shape, misread};
use super::compile::Builtin;
use super::run::Giving;
use super::target::Target;
use super::transform::{Transform, is_given, text, unknown};
use super::walk::{Path, Subject};
use crate::scim::Kind;
use crate::scim::filter::{Bounds, Filter};

/// What `when` may be: the defaults of `filter_length` and `filter_depth`.
const WHEN: Bounds = Bounds {
    length: 4_096,
    depth: 16,
};

/// A row of `[[application.map.user]]` as the file has it, types checked, nothing compiled.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// The target: a SCIM path.
    pub to: String,
    /// JSONPath.
    pub from: Option<String>,
    /// CEL (not built yet: refused by the configuration).
    pub expr: Option<String>,
    /// A constant.
    pub value: Option<Value>,
    /// What to use when the source gives nothing: a constant.
    pub default: Option<Value>,
    /// Closed list, in order: name and argument (`("prefix", Some("idp-"))`, `("lower", None)`).
    pub transform: Vec<(String, Option<String>)>,
    /// From source value to target value.
    pub table: Option<BTreeMap<String, Value>>,
    /// SCIM filter over the directory's user.
    pub when: Option<String>,
    /// always | create | if_empty
    pub apply: Option<String>,
    /// Without it nothing is sent.
    pub required: bool,
    /// Never shown in journal or logs.
    pub redact: bool,
}

/// Why a row does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// The key at fault: `to`, `from`, `expr`, `transform`, `table`, `when`, `apply`, `default`, `value`.
    pub key: &'static str,
    /// What was found and what was wanted, in a sentence.
    pub text: String,
}

/// When a rule gives its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Apply {
    /// On every create and update.
    #[default]
    Always,
    /// Only with the account's creation.
    Create,
    /// Only while the account has nothing there.
    IfEmpty,
}

/// A compiled row.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub(super) target: Target,
    source: Source,
    transforms: Vec<Transform>,
    table: Option<BTreeMap<String, Value>>,
    default: Option<Value>,
    when: Option<Filter>,
    pub(super) apply: Apply,
    pub(super) required: bool,
    pub(super) redact: bool,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    Path(Path),
    Constant(Value),
    Builtin(Builtin),
}

impl Rule {
    /// Compiles a row: the JSONPath is parsed, simple ones become direct walks, types are checked.
    ///
    /// # Errors
    /// Names the key at fault; the first one, in the order of [`Row`].
    pub fn compile(row: Row) -> Result<Self, RowError> {
        let target = Target::parse(&row.to).map_err(at("to"))?;
        let source = source(&row, &target)?;
        if let Some(default) = &row.default {
            check_default(&row, default, &target)?;
        }
        let transforms = row
            .transform
            .iter()
            .map(|(name, argument)| Transform::parse(name, argument.as_deref()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(at("transform"))?;
        if let Some(table) = &row.table {
            if table.is_empty() {
                return Err(at("table")(String::from("the table is empty")));
            }
            for (from, to) in table {
                target
                    .accepts(to)
                    .map_err(|wanted| at("table")(format!("for \"{from}\": {wanted}")))?;
            }
        }
        let when = row
            .when
            .as_deref()
            .map(|when| Filter::parse(when, WHEN))
            .transpose()
            .map_err(|error| at("when")(format!("{} (at byte {})", error.text, error.at)))?;
        let apply = match row.apply.as_deref() {
            None | Some("always") => Apply::Always,
            Some("create") => Apply::Create,
            Some("if_empty") => Apply::IfEmpty,
            Some(word) => {
                return Err(at("apply")(unknown(
                    word,
                    &["always", "create", "if_empty"],
                )));
            }
        };
        if apply != Apply::Always && target.urn.is_none() && target.attribute == "userName" {
            return Err(at("apply")(String::from(
                "userName is what an account is known by: it is always given",
            )));
        }
        Ok(Self {
            target,
            source,
            transforms,
            table: row.table,
            default: row.default,
            when,
            apply,
            required: row.required,
            redact: row.redact,
        })
    }

    /// A rule of a profile's own set.
    pub(super) fn builtin(target: Target, builtin: Builtin) -> Self {
        Self {
            target,
            source: Source::Builtin(builtin),
            transforms: Vec::new(),
            table: None,
            default: None,
            when: None,
            apply: Apply::Always,
            required: false,
            redact: false,
        }
    }

    /// The target in its canonical spelling: `name.givenName`, `emails[type eq "work"].value`.
    #[must_use]
    pub fn target(&self) -> String {
        self.target.text()
    }

    /// Where its value comes from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Its table.
    pub(super) fn table(&self) -> Option<&BTreeMap<String, Value>> {
        self.table.as_ref()
    }

    /// Whether it changes its value, or speaks about some users only: what it gives cannot be told from what it was given.
    pub(super) fn has_conditions(&self) -> bool {
        !self.transforms.is_empty() || self.when.is_some()
    }

    /// Whether the rule speaks at all, about this user and in this call.
    pub(super) fn speaks(&self, user: &Map<String, Value>, how: Giving<'_>) -> bool {
        let applies = match (self.apply, how) {
            (Apply::Always, _) | (Apply::Create | Apply::IfEmpty, Giving::Create) => true,
            (Apply::Create, Giving::Update { .. }) => false,
            // What is not known to be empty is left alone.
            (Apply::IfEmpty, Giving::Update { current }) => {
                current.is_some_and(|current| self.target.read(current).is_none())
            }
        };
        applies
            && self
                .when
                .as_ref()
                .is_none_or(|when| when.matches(Kind::User, user))
    }

    /// The value for the target, if there is one.
    pub(super) fn value(&self, subject: &Subject<'_>) -> Option<Value> {
        let mut value = match &self.source {
            Source::Path(path) => self.read(path, subject),
            Source::Constant(value) => Some(value.clone()),
            Source::Builtin(builtin) => builtin.value(subject.attributes),
        };
        for transform in &self.transforms {
            value = value.map(|value| transform.apply(value));
        }
        if let Some(table) = &self.table {
            value = value.and_then(|value| look_up(table, value));
        }
        value
            .and_then(|value| self.target.fit(value))
            .or_else(|| self.default.clone())
    }

    /// Whether a change to this directory attribute shows what a redacted rule keeps to itself. A path that is not
    /// simple may read anything.
    pub(super) fn hides(&self, attribute: &str) -> bool {
        if !self.redact {
            return false;
        }
        match &self.source {
            // A constant is nobody's secret, and no built-in rule is redacted.
            Source::Constant(_) | Source::Builtin(_) => false,
            Source::Path(path) => {
                let names = path.names();
                match names.split_first() {
                    None => true,
                    Some((first, rest)) => {
                        let parts = rest.iter().copied();
                        overlaps(attribute, first, parts)
                    }
                }
            }
        }
    }

    /// Whether its value may depend on this attribute, a user's first level. A path that is not simple may read anything.
    pub(super) fn reads(&self, attribute: &str) -> bool {
        let from = match &self.source {
            Source::Constant(_) => false,
            Source::Builtin(builtin) => builtin.reads(attribute),
            Source::Path(path) => {
                let names = path.names();
                let first = names.first();
                first.is_none_or(|first| first.eq_ignore_ascii_case(attribute))
            }
        };
        from || self.when.as_ref().is_some_and(|when| when.reads(attribute))
    }

    fn read(&self, path: &Path, subject: &Subject<'_>) -> Option<Value> {
        let all = path.several()
            && (matches!(self.target.shape, Shape::Many(_))
                || self.transforms.iter().any(Transform::gathers));
        if all {
            let mut values = Vec::new();
            path.each(subject, |value| {
                values.push(value.clone());
                true
            });
            values.retain(is_given);
            return (!values.is_empty()).then_some(Value::Array(values));
        }
        let mut first = None;
        path.each(subject, |value| {
            if is_given(value) {
                first = Some(value.clone());
            }
            first.is_none()
        });
        first
    }
}

fn at(key: &'static str) -> impl Fn(String) -> RowError {
    move |text| RowError { key, text }
}

/// Exactly one of `from`, `expr` and `value`.
fn source(row: &Row, target: &Target) -> Result<Source, RowError> {
    if row.expr.is_some() {
        return Err(at("expr")(String::from(
            "`expr` comes with a later version: use `from`, `table` and `transform`",
        )));
    }
    match (&row.from, &row.value) {
        (Some(_), Some(_)) => Err(at("value")(String::from(
            "a rule has one source: `from` or `value`, not both (what to use when `from` gives nothing is `default`)",
        ))),
        (None, None) => Err(at("from")(String::from(
            "the rule has no source: give it `from` (a JSONPath) or `value` (a constant)",
        ))),
        (None, Some(value)) => {
            target.accepts(value).map_err(at("value"))?;
            Ok(Source::Constant(value.clone()))
        }
        (Some(from), None) => {
            let path = Path::parse(from).map_err(at("from"))?;
            if let Some(why) = misread(&path.names()) {
                return Err(at("from")(why));
            }
            Ok(Source::Path(path))
        }
    }
}

fn check_default(row: &Row, default: &Value, target: &Target) -> Result<(), RowError> {
    let wrong = at("default");
    if default.get("expr").is_some() {
        return Err(wrong(String::from(
            "an `expr` as default comes with a later version: give a constant",
        )));
    }
    if row.value.is_some() {
        return Err(wrong(String::from(
            "a rule with `value` never lacks one: a default belongs to `from`",
        )));
    }
    target.accepts(default).map_err(wrong)
}

/// What is not in the table is nothing.
fn look_up(table: &BTreeMap<String, Value>, value: Value) -> Option<Value> {
    let find = |one: &Value| table.get(text(one)?.as_str()).cloned();
    match &value {
        Value::Array(items) => Some(items.iter().filter_map(find).collect()),
        Value::String(key) => table.get(key).cloned(),
        one => find(one),
    }
}

/// Whether `attribute` (`name`, `name.givenName`, `urn:...:User:department`) lies on the way to `first` and the parts
/// below it, or behind them.
fn overlaps<'a>(attribute: &str, first: &str, parts: impl Iterator<Item = &'a str>) -> bool {
    let Some(mut rest) = attribute.strip_prefix(first) else {
        return false;
    };
    for part in parts {
        let Some(tail) = rest.strip_prefix(['.', ':']) else {
            break;
        };
        let Some(tail) = tail.strip_prefix(part) else {
            return false;
        };
        rest = tail;
    }
    rest.is_empty() || rest.starts_with(['.', ':', '['])
}
