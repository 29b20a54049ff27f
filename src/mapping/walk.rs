//! The source of a rule as a JSONPath (RFC 9535), parsed once.
//!
//! Nearly every path that people write goes down by name and index, with at most one `[?@.type=='work']` on the way. Such
//! a path becomes a [`Walk`], which follows references and allocates nothing. Any other keeps the parsed query and is run
//! by jsonpath-rust over a copy of the user. What a path gives is the same either way; a property test and a fuzz target
//! hold the two against each other.

use std::cell::OnceCell;

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, JpQuery, Literal, Segment, Selector, SingularQuery,
    SingularQuerySegment,
};
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::{Map, Value};

/// Bytes of a path.
const LENGTH: usize = 1_024;
/// Parentheses in a path: the parser goes over a nested function call again for each way to read it.
const PARENTHESES: usize = 8;
/// Brackets in a path.
const BRACKETS: usize = 32;
/// What one path may give; the rest is left out.
const RESULTS: usize = 1_000;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub enum Path {
    /// Simple: followed directly.
    Walk(Walk),
    /// Anything else.
    Query(Box<JpQuery>),
}

/// A path of names and indexes with at most one equality on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    head: Vec<Step>,
    choice: Option<(Equality, Vec<Step>)>,
}

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into an object.
    Name(String),
    /// Into a list; a negative one counts from the end.
    Index(i64),
}

/// `[?@.type=='work']`
#[derive(Debug, Clone, PartialEq)]
struct Equality {
    of: Vec<Step>,
    is: Value,
}

/// A directory user as a path reads it. Copied whole at most once, and only for a path that is not simple.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The user's attributes.
    pub attributes: &'a Map<String, Value>,
    copy: OnceCell<Value>,
}

impl<'a> Subject<'a> {
    /// Of these attributes.
    #[must_use]
    pub fn new(attributes: &'a Map<String, Value>) -> Self {
        Self {
            attributes,
            copy: OnceCell::new(),
        }
    }

    fn copy(&self) -> &Value {
        self.copy
            .get_or_init(|| Value::Object(self.attributes.clone()))
    }
}

impl Path {
    /// Parses.
    ///
    /// # Errors
    /// Says in a sentence what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('$') {
            return Err(format!(
                "a JSONPath begins with `$`: did you mean `$.{}`?",
                shown(text)
            ));
        }
        if text.len() > LENGTH {
            return Err(format!(
                "the JSONPath is longer than {LENGTH} bytes, which no mapping needs"
            ));
        }
        let count = |c: char| text.matches(c).count();
        if count('(') > PARENTHESES || count('[') > BRACKETS || text.matches("..").count() > 1 {
            return Err(format!(
                "the JSONPath is too involved: at most {PARENTHESES} parentheses, {BRACKETS} brackets and one `..`"
            ));
        }
        let query = parse_json_path(text).map_err(|_| {
            if text.starts_with("$.urn:") {
                String::from(
                    "an attribute of an extension is read as $['urn:...:User'].department, the URN in brackets and quotes",
                )
            } else {
                format!(
                    "`{}` is not a JSONPath (RFC 9535); examples: $.userName, $.name.givenName, $.emails[?@.type=='work'].value",
                    shown(text)
                )
            }
        })?;
        Ok(direct(&query).map_or_else(|| Self::Query(Box::new(query)), Self::Walk))
    }

    /// Whether it may give several values, which a path of names and indexes cannot.
    #[must_use]
    pub fn several(&self) -> bool {
        match self {
            Self::Walk(walk) => walk.choice.is_some(),
            Self::Query(_) => true,
        }
    }

    /// The names that it goes down by, from the user on, as far as that is certain: `["name", "givenName"]`.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let Self::Walk(walk) = self else {
            return Vec::new();
        };
        if walk.head.is_empty() {
            // A choice among all of the user's attributes.
            return Vec::new();
        }
        let tail = walk.choice.iter().flat_map(|(_, tail)| tail);
        walk.head
            .iter()
            .chain(tail)
            .filter_map(|step| match step {
                Step::Name(name) => Some(name.as_str()),
                Step::Index(_) => None,
            })
            .collect()
    }

    /// Hands each value that it gives to `each`, in order, at most 1,000 of them, until that answers false.
    pub fn each(&self, subject: &Subject<'_>, mut each: impl FnMut(&Value) -> bool) {
        match self {
            Self::Walk(walk) => walk.each(subject.attributes, each),
            Self::Query(query) => {
                // An error is a path that gives no node but a bare value: nothing to map.
                let found = js_path_process(query, subject.copy()).unwrap_or_default();
                found.iter().take(RESULTS).all(|node| each(node.val));
            }
        }
    }
}

/// A walk by names alone, which can be gone back.
#[derive(Debug)]
pub(super) struct Way<'a> {
    pub(super) head: Vec<&'a str>,
    /// The entry of a list on the way: a name in it, and what stands there.
    pub(super) entry: Option<(&'a str, &'a Value)>,
    pub(super) tail: Vec<&'a str>,
}

/// The names of these steps; `None`: one of them is an index.
fn names(steps: &[Step]) -> Option<Vec<&str>> {
    let mut names = Vec::with_capacity(steps.len());
    for step in steps {
        match step {
            Step::Name(name) => names.push(name.as_str()),
            Step::Index(_) => return None,
        }
    }
    Some(names)
}

impl Walk {
    /// The names that it goes down by, if those are all that there is to it.
    pub(super) fn way(&self) -> Option<Way<'_>> {
        let head = names(&self.head)?;
        let Some((equality, tail)) = &self.choice else {
            return Some(Way {
                head,
                entry: None,
                tail: Vec::new(),
            });
        };
        let [Step::Name(of)] = equality.of.as_slice() else {
            return None;
        };
        let whole = head.len() == 1 && !tail.is_empty();
        whole.then_some(())?;
        Some(Way {
            head,
            entry: Some((of, &equality.is)),
            tail: names(tail)?,
        })
    }

    fn each(&self, user: &Map<String, Value>, mut each: impl FnMut(&Value) -> bool) {
        let Some((equality, tail)) = &self.choice else {
            if let Some(value) = from_user(&self.head, user) {
                each(value);
            }
            return;
        };
        let mut left = RESULTS;
        let visit = |item: &Value| -> bool {
            if !equality.holds(item) {
                return true;
            }
            let Some(value) = follow(tail, item) else {
                return true;
            };
            left -= 1;
            each(value) && left > 0
        };
        let _all = if self.head.is_empty() {
            user.values().all(visit)
        } else {
            match from_user(&self.head, user) {
                Some(Value::Array(items)) => items.iter().all(visit),
                Some(Value::Object(items)) => items.values().all(visit),
                _ => true,
            }
        };
    }
}

impl Equality {
    fn holds(&self, item: &Value) -> bool {
        follow(&self.of, item) == Some(&self.is)
    }
}

fn from_user<'a>(steps: &[Step], user: &'a Map<String, Value>) -> Option<&'a Value> {
    match steps.split_first()? {
        (Step::Name(name), rest) => follow(rest, user.get(name)?),
        (Step::Index(_), _) => None,
    }
}

fn follow<'a>(steps: &[Step], mut value: &'a Value) -> Option<&'a Value> {
    for step in steps {
        value = match (step, value) {
            (Step::Name(name), Value::Object(object)) => object.get(name)?,
            (Step::Index(index), Value::Array(items)) => {
                let distance = usize::try_from(index.unsigned_abs()).ok()?;
                let at = if *index < 0 {
                    items.len().checked_sub(distance)?
                } else {
                    distance
                };
                items.get(at)?
            }
            _ => return None,
        };
    }
    Some(value)
}

/// The walk that does what `query` does, if there is one.
fn direct(query: &JpQuery) -> Option<Walk> {
    let mut walk = Walk {
        head: Vec::new(),
        choice: None,
    };
    for segment in &query.segments {
        let Segment::Selector(selector) = segment else {
            return None;
        };
        let step = match selector {
            Selector::Name(name) => Step::Name(name.clone()),
            Selector::Index(index) => Step::Index(*index),
            Selector::Filter(filter) if walk.choice.is_none() => {
                walk.choice = Some((equality(filter)?, Vec::new()));
                continue;
            }
            Selector::Filter(_) | Selector::Wildcard | Selector::Slice(..) => return None,
        };
        match &mut walk.choice {
            Some((_, tail)) => tail.push(step),
            None => walk.head.push(step),
        }
    }
    // `$` alone is the whole user, which a walk over its attributes cannot give.
    (!walk.head.is_empty() || walk.choice.is_some()).then_some(walk)
}

/// Strings and booleans only: jsonpath-rust compares numbers with a tolerance.
fn equality(filter: &Filter) -> Option<Equality> {
    let Filter::Atom(FilterAtom::Comparison(comparison)) = bare(filter) else {
        return None;
    };
    let Comparison::Eq(left, right) = comparison.as_ref() else {
        return None;
    };
    let ((Comparable::SingularQuery(query), Comparable::Literal(literal))
    | (Comparable::Literal(literal), Comparable::SingularQuery(query))) = (left, right)
    else {
        return None;
    };
    let SingularQuery::Current(segments) = query else {
        return None;
    };
    let is = match literal {
        Literal::String(text) => Value::from(text.as_str()),
        Literal::Bool(flag) => Value::from(*flag),
        Literal::Int(_) | Literal::Float(_) | Literal::Null => return None,
    };
    let of = segments
        .iter()
        .map(|segment| match segment {
            SingularQuerySegment::Name(name) => Step::Name(name.clone()),
            SingularQuerySegment::Index(index) => Step::Index(*index),
        })
        .collect();
    Some(Equality { of, is })
}

/// Without the parentheses around it: `[?(@.type=='work')]` is the spelling before RFC 9535.
fn bare(mut filter: &Filter) -> &Filter {
    while let Filter::Atom(FilterAtom::Filter { expr, not: false }) = filter {
        filter = expr;
    }
    filter
}

/// A text out of the file as an error shows it.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}

/// What jsonpath-rust gives, for the tests and the fuzz target.
pub(crate) fn library(text: &str, user: &Map<String, Value>) -> Vec<Value> {
    let whole = Value::Object(user.clone());
    let Ok(query) = parse_json_path(text) else {
        return Vec::new();
    };
    js_path_process(&query, &whole)
        .unwrap_or_default()
        .into_iter()
        .take(RESULTS)
        .map(|node| node.val.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn given(path: &Path, user: &Value) -> Vec<Value> {
        let mut all = Vec::new();
        path.each(
            &Subject::new(user.as_object().expect("an object")),
            |value| {
                all.push(value.clone());
                true
            },
        );
        all
    }

    #[test]
    fn paths() {
        let user = json!({
            "userName": "ada@example.com",
            "name": {"givenName": "Ada"},
            "emails": [
                {"type": "home", "value": "h@x"},
                {"type": "work", "value": "w@x", "primary": true},
                {"type": "work", "value": "v@x"}
            ],
            "urn:x:2.0:User": {"department": "R&D"}
        });
        let emails = user["emails"].clone();
        for (path, simple, gives) in [
            ("$.userName", true, json!(["ada@example.com"])),
            ("$['userName']", true, json!(["ada@example.com"])),
            ("$.name.givenName", true, json!(["Ada"])),
            ("$.name.familyName", true, json!([])),
            ("$.userName.nothing", true, json!([])),
            ("$['urn:x:2.0:User'].department", true, json!(["R&D"])),
            ("$[\"urn:x:2.0:User\"].department", true, json!(["R&D"])),
            ("$.emails[0].value", true, json!(["h@x"])),
            ("$.emails[-1].value", true, json!(["v@x"])),
            ("$.emails[3].value", true, json!([])),
            ("$.emails[-4].value", true, json!([])),
            (
                "$.emails[?@.type=='work'].value",
                true,
                json!(["w@x", "v@x"]),
            ),
            (
                "$.emails[?(@.type == \"work\")].value",
                true,
                json!(["w@x", "v@x"]),
            ),
            ("$.emails[?'home'==@.type].value", true, json!(["h@x"])),
            ("$.emails[?@.primary==true].value", true, json!(["w@x"])),
            ("$[?@.givenName=='Ada'].givenName", true, json!(["Ada"])),
            ("$.emails[?@.type!='work'].value", false, json!(["h@x"])),
            ("$.emails[*].value", false, json!(["h@x", "w@x", "v@x"])),
            ("$.emails[0,1].value", false, json!(["h@x", "w@x"])),
            ("$..givenName", false, json!(["Ada"])),
            ("$.emails", true, json!([emails])),
        ] {
            let parsed = Path::parse(path).expect(path);
            assert_eq!(matches!(parsed, Path::Walk(_)), simple, "{path}");
            assert_eq!(Value::from(given(&parsed, &user)), gives, "{path}");
        }
    }

    #[test]
    fn refused() {
        for (path, says) in [
            ("userName", "did you mean `$.userName`?"),
            ("$.urn:x:User.department", "the URN in brackets and quotes"),
            ("$.a-b", "is not a JSONPath"),
            ("$.", "is not a JSONPath"),
            ("$..a..b", "too involved"),
            (&format!("$[?{}", "length(".repeat(100)), "too involved"),
            (&format!("${}", "[0]".repeat(33)), "too involved"),
            (&format!("$.{}", "a".repeat(1_100)), "longer than"),
        ] {
            let error = Path::parse(path).expect_err(path);
            assert!(error.contains(says), "{path}: {error}");
        }
    }

    #[test]
    fn results_are_capped() {
        let many: Vec<Value> = (0..1_500).map(|n| json!({"type": "a", "n": n})).collect();
        let user = json!({ "list": many });
        for path in ["$.list[?@.type=='a'].n", "$.list[*].n", "$..n"] {
            assert_eq!(given(&Path::parse(path).expect(path), &user).len(), 1_000);
        }
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2_i64..3).prop_map(Value::from),
            "work|home|a|".prop_map(Value::from),
        ];
        // Every object has every name and lists are rarely empty, so that most paths find something.
        let tree = leaf.prop_recursive(4, 60, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                object_of(inner),
            ]
        });
        object_of(tree)
    }

    fn object_of(inner: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
        let kind = prop_oneof![2 => "work|home".prop_map(Value::from), 1 => inner.clone()];
        (kind, inner.clone(), inner.clone(), inner)
            .prop_map(|(kind, a, b, urn)| json!({"type": kind, "a": a, "b": b, "urn:x": urn}))
    }

    fn step() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "\\.(a|b|type)",
            3 => "\\['(a|b|type|urn:x)'\\]",
            1 => "\\[\"(a|urn:x)\"\\]",
            2 => "\\[-?[1-3]\\]|\\[0\\]",
        ]
    }

    fn choice() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\[\\?@(\\.(a|type)){0,2} ?== ?('work'|\"home\"|true|'')\\]",
            "\\[\\?\\((false|'work')==@(\\.a|\\[0\\]|\\['type'\\])\\)\\]",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn a_walk_is_the_query(
            user in document(),
            first in "(\\.(a|b|type|nothing)|\\['urn:x'\\])?",
            head in proptest::collection::vec(step(), 0..2),
            choice in proptest::option::of(choice()),
            tail in proptest::collection::vec(step(), 0..2),
        ) {
            let choice = choice.unwrap_or_default();
            let text = format!("${first}{}{choice}{}", head.concat(), tail.concat());
            prop_assume!(text != "$");
            let path = Path::parse(&text).map_err(TestCaseError::fail)?;
            prop_assert!(matches!(path, Path::Walk(_)), "{} is not simple", text);
            prop_assert_eq!(given(&path, &user), library(&text, user.as_object().expect("an object")));
        }
    }
}
