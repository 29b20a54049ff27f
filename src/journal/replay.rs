//! What another configuration would have done with the same requests. Pure: the journal's records, the directory of now
//! and the new configuration's applications in, one answer for each person and application out.
//!
//! What was done is what the journal says. What would have been done is planned anew, record by record, by the same
//! function as in the gateway; an application is taken to answer as it did, wherever the same is asked of it. What the
//! journal does not show is said to be unknown and never guessed.
//!
//! [`past::Past`] folds a person's records into where they stood before the first of them; [`person::Person`] then goes
//! through the same records again, forward, with a `place` for each application ([`case::Case`]) that holds the `account`.
//! [`groups::Groups`] folds the records of groups, and [`belonging::Relevant`] knows by them who was in the groups of policies
//! when.

mod account;
pub mod belonging;
pub mod case;
pub mod groups;
mod history;
pub mod past;
pub mod person;
mod place;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Delivery, Operation, Status};

/// What is done to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// It was created, or one that was there already was linked.
    Create,
    /// Attributes were changed.
    Update,
    /// It was made active again.
    Reactivate,
    /// It was deactivated.
    Deactivate,
    /// It was deleted.
    Delete,
}

impl Deed {
    fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::Create | Operation::Adopt => Some(Self::Create),
            Operation::Update => Some(Self::Update),
            Operation::Reactivate => Some(Self::Reactivate),
            Operation::Deactivate => Some(Self::Deactivate),
            Operation::Delete => Some(Self::Delete),
            Operation::Membership | Operation::Import => None,
        }
    }

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Reactivate => "reactivate",
            Self::Deactivate => "deactivate",
            Self::Delete => "delete",
        }
    }
}

/// One side of a comparison: what was done, or would have been.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Side {
    /// What was done, each once.
    pub did: Vec<Deed>,
    /// Why, or why nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An attribute that the account has, and what it would have. No value where it is not to be shown, or there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    /// Its name in the application.
    pub attribute: String,
    /// What was sent last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Value>,
    /// What would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// How many people.
    Count(Count),
    /// Somebody for whom it is different.
    Person(Different),
    /// Somebody of whom it cannot be said.
    Unsaid(Unsaid),
    /// The last line.
    End(End),
}

/// For how many people something was done in an application, and for how many it would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The application.
    pub application: String,
    /// What was done; `None`: nothing was, because of `code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<Deed>,
    /// Why nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// By the journal.
    pub then: u64,
    /// By the new configuration.
    pub now: u64,
}

/// A person in an application, where the new configuration would have done something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Different {
    /// The end user's identifier.
    pub user: String,
    /// The directory's id.
    pub id: String,
    /// The application.
    pub application: String,
    /// By the journal.
    pub then: Side,
    /// By the new configuration.
    pub now: Side,
    /// What the account would hold instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Differs>,
}

/// A person of whom it cannot be said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsaid {
    /// The end user's identifier.
    pub user: String,
    /// The directory's id; empty where nobody was created.
    pub id: String,
    /// The application; `None`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// Why.
    pub reason: String,
}

/// What the whole came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct End {
    /// Records in the span.
    pub records: u64,
    /// People whom they are about.
    pub people: u64,
    /// For how many of them something is different.
    pub differ: u64,
    /// Of how many it cannot be said, for an application or for all.
    pub unsaid: u64,
    /// Lines of people that are left out because there are too many.
    #[serde(default)]
    pub left_out: u64,
    /// What to know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The most people that are told one by one: the answer is held in memory.
const MOST: usize = 100_000;

/// What has been counted so far, and whom it is told of.
#[derive(Debug, Default)]
pub struct Tally {
    /// By application; what was done stands before why nothing was.
    counts: BTreeMap<(String, Result<Deed, String>), (u64, u64)>,
    lines: Vec<Line>,
    end: End,
}

impl Tally {
    fn count(&mut self, application: &str, then: &Course, now: &Course) {
        let mut add = |course: &Course, one: fn(&mut (u64, u64))| {
            let mut count = |what| {
                let key = (application.to_owned(), what);
                one(self.counts.entry(key).or_default());
            };
            for deed in &course.deeds {
                count(Ok(*deed));
            }
            if let (true, Some(stopped)) = (course.deeds.is_empty(), &course.stopped) {
                count(Err(stopped.code.clone()));
            }
        };
        add(then, |both| both.0 += 1);
        add(now, |both| both.1 += 1);
    }

    fn tell(&mut self, line: Line) {
        if self.lines.len() < MOST {
            self.lines.push(line);
        } else {
            self.end.left_out += 1;
        }
    }

    /// All lines: counts, people, and what the whole came to.
    #[must_use]
    pub fn end(self, records: u64, notes: Vec<String>) -> Vec<Line> {
        let count = |((application, what), (then, now)): ((String, Result<Deed, String>), _)| {
            Line::Count(Count {
                application,
                did: what.as_ref().ok().copied(),
                code: what.err(),
                then,
                now,
            })
        };
        let mut lines: Vec<Line> = self.counts.into_iter().map(count).collect();
        lines.extend(self.lines);
        lines.push(Line::End(End {
            records,
            notes,
            ..self.end
        }));
        lines
    }
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stopped {
    code: String,
    /// What would be done if the application were not only simulated.
    simulated: Option<Deed>,
}

/// What happens to one person in one application, on one of the two sides.
#[derive(Debug, Clone, Default)]
struct Course {
    deeds: BTreeSet<Deed>,
    /// It waits for the application.
    pending: Option<Deed>,
    /// Why nothing was done at last.
    stopped: Option<Stopped>,
    /// The last words about it.
    code: Option<String>,
    reason: Option<String>,
}

impl Course {
    fn said(&mut self, code: Option<&str>, reason: Option<&str>) {
        self.code = code.map(str::to_owned);
        self.reason = reason.map(str::to_owned);
    }

    fn does(&mut self, deed: Deed) {
        self.deeds.insert(deed);
        self.stopped = None;
        self.pending = None;
    }

    /// The account is as it should be.
    fn rests(&mut self) {
        self.stopped = None;
        self.pending = None;
        self.said(None, None);
    }

    fn stops(&mut self, code: &str, reason: Option<&str>, simulated: Option<Deed>) {
        self.pending = None;
        self.said(Some(code), reason);
        self.stopped = Some(Stopped {
            code: code.to_owned(),
            simulated,
        });
    }

    fn hear(&mut self, event: Event<'_>) {
        match event {
            Event::Rests => self.rests(),
            Event::Waits => {}
            Event::Pends(deed) => self.pending = Some(deed),
            Event::Does(deed, code, reason) => {
                self.does(deed);
                self.said(code, reason);
            }
            Event::Stops(code, reason, simulated) => self.stops(code, reason, simulated),
        }
    }

    /// It was created and not seen since, and nothing else is to be done about it.
    fn is_unseen(&self) -> bool {
        self.pending.is_none() && self.code.as_deref() == Some("unseen")
    }

    /// What still waits at the end is what was to be done.
    fn close(&mut self) {
        self.deeds.extend(self.pending);
    }

    fn side(&self) -> Side {
        Side {
            did: self.deeds.iter().copied().collect(),
            code: self.code.clone(),
            reason: self.reason.clone(),
        }
    }

    /// Whether the two come to the same: the same was done, or nothing was for the same reason.
    fn is_as(&self, other: &Self) -> bool {
        self.deeds == other.deeds && (!self.deeds.is_empty() || self.stopped == other.stopped)
    }
}

/// What one record says of an account, or one plan.
#[derive(Debug, Clone, Copy)]
enum Event<'a> {
    /// The account is as it should be.
    Rests,
    /// Something else comes later.
    Waits,
    /// It waits for the application.
    Pends(Deed),
    /// It was done, or tried: why.
    Does(Deed, Option<&'a str>, Option<&'a str>),
    /// It was not: the code, the reason, and what would be if the application were not only simulated.
    Stops(&'a str, Option<&'a str>, Option<Deed>),
}

impl<'a> Event<'a> {
    /// What the journal says; `None`: nothing of an account.
    fn of(delivery: &'a Delivery) -> Option<Self> {
        let deed = Deed::of(delivery.operation)?;
        let (code, reason) = (delivery.code.as_deref(), delivery.reason.as_deref());
        let idle = deed == Deed::Update && !wrote(delivery);
        Some(match (delivery.status, code.unwrap_or_default()) {
            // Something later took its place.
            (_, "superseded") => return None,
            (Status::Queued, "delete_after") => Self::Waits,
            (Status::Queued, _) => Self::Pends(deed),
            (Status::Skipped, code) => {
                Self::Stops(code, reason, (code == "simulate").then_some(deed))
            }
            (Status::Failure, "missing") => Self::Stops("missing", reason, None),
            (Status::Success, "unchanged") => Self::Rests,
            (Status::Success, _) if idle => Self::Rests,
            (
                Status::Success
                | Status::Warning
                | Status::Failure
                | Status::Held
                | Status::Unknown,
                _,
            ) => Self::Does(deed, code, reason),
        })
    }

    /// Whether the two come to the same.
    fn is_as(self, other: Self) -> bool {
        let whole = |event| match event {
            Event::Rests | Event::Waits => (None, None),
            Event::Pends(deed) | Event::Does(deed, ..) => (Some(deed), None),
            Event::Stops(code, _, simulated) => (simulated, Some(code)),
        };
        whole(self) == whole(other)
    }
}

/// Whether a call was made that changes something there.
fn wrote(delivery: &Delivery) -> bool {
    delivery.calls.iter().any(|call| call.method != "GET")
}
