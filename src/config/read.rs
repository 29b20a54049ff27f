//! Typed reading of TOML's tree with spans: every table remembers which keys it was asked for and tells of all others,
//! every value tells where it stands. Mistakes are noted and reading goes on with the default.

mod node;

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::problem::{Lines, Problem};
use super::value;
pub(super) use node::Node;

/// Where mistakes are gathered.
pub(super) struct Notes<'t> {
    text: &'t str,
    file: String,
    lines: Lines<'t>,
    /// What stands in the file and is wrong.
    wrong: RefCell<Vec<Problem>>,
    /// What is not there: not told while the syntax is broken, because it may only have been swallowed by that.
    absent: RefCell<Vec<Problem>>,
}

impl<'t> Notes<'t> {
    pub(super) fn new(text: &'t str, file: String) -> Self {
        Self {
            text,
            file,
            lines: Lines::new(text),
            wrong: RefCell::default(),
            absent: RefCell::default(),
        }
    }

    fn problem(&self, at: usize, key: &str, found: String, wanted: String) -> Problem {
        let (line, column) = self.lines.place(at);
        Problem {
            file: self.file.clone(),
            line,
            column,
            key: key.to_owned(),
            found,
            wanted,
            hint: None,
        }
    }

    /// A required key is not there.
    pub(super) fn absent(&self, at: usize, key: &str, wanted: &str) {
        let problem = self.problem(at, key, "nothing".into(), wanted.into());
        self.absent.borrow_mut().push(problem);
    }

    /// All that was noted, with the parser's own complaints, by position.
    pub(super) fn finish(self, syntax: &[toml::de::Error]) -> Vec<Problem> {
        let mut all: Vec<Problem> = syntax
            .iter()
            .map(|error| {
                let at = error.span().map_or(0, |span| span.start);
                let wanted = "a TOML file".to_owned();
                let mut problem = self.problem(at, "", error.message().to_owned(), wanted);
                problem.found = format!("a syntax error ({})", problem.found);
                problem
            })
            .collect();
        let broken: Vec<usize> = all.iter().map(|problem| problem.line).collect();
        // What the parser made of a broken line is its guess, not what the person wrote.
        all.extend(
            self.wrong
                .into_inner()
                .into_iter()
                .filter(|problem| !broken.contains(&problem.line)),
        );
        if broken.is_empty() {
            all.extend(self.absent.into_inner());
        }
        all.sort_by(|a, b| (a.line, a.column, &a.key).cmp(&(b.line, b.column, &b.key)));
        all.dedup();
        all
    }
}

/// A table, or the empty one where the file has none.
pub(super) struct Table<'a> {
    pub(super) notes: &'a Notes<'a>,
    pub(super) key: String,
    /// Where it begins.
    pub(super) at: usize,
    entries: Option<&'a DeTable<'a>>,
    hidden: bool,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    /// The whole file.
    pub(super) fn root(notes: &'a Notes<'a>, entries: &'a DeTable<'a>) -> Self {
        Self {
            notes,
            key: String::new(),
            at: 0,
            entries: Some(entries),
            hidden: false,
            asked: RefCell::default(),
        }
    }

    /// The dotted form of a key in this table.
    pub(super) fn dotted(&self, key: &str) -> String {
        if self.key.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.key)
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &'static str) -> Option<Node<'a>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        let value = self.entries?.get(key)?;
        Some(Node {
            notes: self.notes,
            key: self.dotted(key),
            span: value.span(),
            value: value.get_ref(),
            hidden: self.hidden,
        })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &'static str, wanted: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.notes.absent(self.at, &self.dotted(key), wanted);
        }
        node
    }

    /// Every entry, for tables whose keys are data.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        let entries = self.entries.into_iter().flat_map(|table| table.iter());
        entries.map(|(name, value)| {
            let name: &str = name.get_ref();
            let node = Node {
                notes: self.notes,
                key: self.dotted(name),
                span: value.span(),
                value: value.get_ref(),
                hidden: self.hidden,
            };
            (name, node)
        })
    }

    /// A table under this one.
    pub(super) fn table(&self, key: &'static str) -> Self {
        let found = self.get(key).and_then(|node| node.table());
        found.unwrap_or_else(|| Table {
            notes: self.notes,
            key: self.dotted(key),
            at: self.at,
            entries: None,
            hidden: self.hidden,
            asked: RefCell::default(),
        })
    }

    /// A list of tables under this one: `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Self> {
        let wanted = format!("tables: [[{}]]", self.dotted(key));
        let rows = self.get(key).and_then(|node| match node.value {
            DeValue::Array(_) => node.list(),
            _ => {
                node.wrong(&wanted);
                None
            }
        });
        let rows = rows.unwrap_or_default();
        rows.iter().filter_map(Node::table).collect()
    }

    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        let read = self.get(key).and_then(|node| node.boolean());
        read.unwrap_or(default)
    }

    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)], default: T) -> T {
        let read = self.get(key).and_then(|node| node.word(words));
        read.unwrap_or(default)
    }

    pub(super) fn integer<N: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: N,
    ) -> N {
        let read = self.get(key).and_then(|node| node.integer(range));
        read.and_then(|number| N::try_from(number).ok())
            .unwrap_or(default)
    }

    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        let read = self.get(key).and_then(|node| node.duration());
        read.unwrap_or(default)
    }

    /// A duration that must not be zero.
    pub(super) fn positive(&self, key: &'static str, default: Duration) -> Duration {
        let Some(node) = self.get(key) else {
            return default;
        };
        match node.duration() {
            Some(Duration::ZERO) => {
                node.wrong("a duration longer than nothing");
                default
            }
            read => read.unwrap_or(default),
        }
    }

    pub(super) fn size<N: TryFrom<u64>>(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: N,
    ) -> N {
        let read = self.get(key).and_then(|node| node.size(range));
        read.and_then(|bytes| N::try_from(bytes).ok())
            .unwrap_or(default)
    }

    /// A path; a relative one lies beside the file.
    pub(super) fn path(&self, key: &'static str, default: &str, beside: &Path) -> PathBuf {
        let text = self.get(key).and_then(|node| {
            let text = node.text()?;
            if text.is_empty() || text.contains('\0') {
                node.wrong("a path");
            }
            Some(text)
        });
        beside.join(text.unwrap_or(default))
    }

    /// Tells of every key that nobody asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for name in self.entries.into_iter().flat_map(|table| table.keys()) {
            let text: &str = name.get_ref();
            if asked.contains(&text) {
                continue;
            }
            let wanted = if asked.is_empty() {
                String::from("no key")
            } else {
                format!("one of {}", asked.join(", "))
            };
            let key = self.dotted(&shortened(text));
            let at = name.span().start;
            let mut problem = self
                .notes
                .problem(at, &key, "an unknown key".into(), wanted);
            problem.hint = value::nearest(text, asked.iter().copied())
                .map(|meant| format!("did you mean {meant}?"));
            self.notes.wrong.borrow_mut().push(problem);
        }
    }
}

/// Printable, and short enough for a line.
fn shortened(text: &str) -> String {
    let mut short = String::new();
    for (at, letter) in text.chars().enumerate() {
        if at == 60 {
            short.push_str("...");
            break;
        }
        match letter {
            '\'' => short.push(letter),
            other => short.extend(other.escape_debug()),
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, read: impl FnOnce(&Table<'_>)) -> Vec<String> {
        let (tree, syntax) = DeTable::parse_recoverable(text);
        let notes = Notes::new(text, "f".into());
        read(&Table::root(&notes, tree.get_ref()));
        let problems = notes.finish(&syntax);
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn places_within_strings() {
        for (text, place) in [
            ("a = 'x eq 1'", "f:1:8"),
            ("a = \"x eq 1\"", "f:1:8"),
            ("a = \"\\u0078 eq 1\"", "f:1:5"),
            ("a = '''x eq 1'''", "f:1:5"),
            ("a = 1", "f:1:5"),
        ] {
            let told = problems(text, |table| {
                let node = table.get("a").expect("a value");
                node.tell_within(2, "an operator".into(), "another");
            });
            assert_eq!(
                told,
                [format!("{place}: a: found an operator, wanted another")]
            );
        }
    }

    #[test]
    fn json_values() {
        let text = "a = [1, { b = 'x', c = [true, 0x1f] }, -2.5]\nd = [nan, 99999999999999999999, { e = 07:32:00 }]";
        let told = problems(text, |table| {
            let value = table.get("a").and_then(|node| node.json());
            let wanted = serde_json::json!([1, { "b": "x", "c": [true, 31] }, -2.5]);
            assert_eq!(value, Some(wanted));
            assert_eq!(table.get("d").and_then(|node| node.json()), None);
        });
        let keys: Vec<_> = told
            .iter()
            .filter_map(|line| line.split(": ").nth(1))
            .collect();
        assert_eq!(keys, ["d[0]", "d[1]", "d[2].e"]);
    }
}
