//! A mistake in the configuration, told so that whoever reads it knows where it is and what to write instead.
//! A secret is never part of one.

use std::fmt;

use serde::Serialize;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, as it was named by whoever asked.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The dotted key: `application[0].users.on_delete`. Empty where the mistake is in the file itself.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub wanted: String,
    /// The way out, where one is known: `did you mean "4s"?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "found {}, wanted {}", self.found, self.wanted)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Where the lines of a text begin: from a byte's offset to line and column.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    /// Line and column of a byte, both from 1; an offset beyond the text is its end.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|at| self.starts.get(at));
        let before = self.text.get(start.copied().unwrap_or(0)..offset);
        let column = before.map_or(0, |text| text.chars().count());
        (line, column + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_places() {
        let lines = Lines::new("ab\n\u{e9}x = 1\n");
        for (offset, place) in [
            (0, (1, 1)),
            (2, (1, 3)),
            (3, (2, 1)),
            (5, (2, 2)),
            (11, (3, 1)),
            (99, (3, 1)),
        ] {
            assert_eq!(lines.place(offset), place, "offset {offset}");
        }
        assert_eq!(Lines::new("").place(0), (1, 1));
    }

    #[test]
    fn it_reads_as_a_sentence() {
        let problem = Problem {
            file: "usher.toml".into(),
            line: 12,
            column: 8,
            key: "application[0].wait".into(),
            found: "\"4 parsecs\"".into(),
            wanted: "a duration such as \"4s\"".into(),
            hint: Some("did you mean \"4s\"?".into()),
        };
        assert_eq!(
            problem.to_string(),
            "usher.toml:12:8: application[0].wait: found \"4 parsecs\", wanted a duration such as \"4s\"; did you mean \"4s\"?"
        );
    }
}
