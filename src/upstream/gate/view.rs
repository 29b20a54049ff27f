//! What a person is shown of a gate.

use super::{CLASSES, Gate, Kept, State, TURNS, Turn, index};
use crate::clock::Timestamp;
use crate::provision::call::Class;
use crate::provision::pace::rate::Rate;
use crate::provision::pace::{Heard, Limit};

/// A gate at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateView {
    /// Calls under way.
    pub in_flight: usize,
    /// Calls at once at most.
    pub concurrency: usize,
    /// How many exchanges stand in line to go on, or with a client waiting.
    pub waiting: usize,
    /// How many of the worker's stand in line.
    pub queued: usize,
    /// Zoom's "Light".
    pub light: ClassView,
    /// Zoom's "Medium".
    pub medium: ClassView,
    /// Rounds of failure in a row.
    pub failures: u32,
    /// Since when rounds of failure follow each other.
    pub failing_since: Option<Timestamp>,
    /// Until when the application is left alone, if it is.
    pub left_alone_until: Option<Timestamp>,
    /// What was heard last.
    pub last: Option<Last>,
    /// Calls since the start: light ones, medium ones, each in the order of [`OUTCOMES`].
    pub calls: [[u64; OUTCOMES.len()]; CLASSES],
}

/// A rate class at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassView {
    /// Calls a second by the configuration.
    pub configured: u32,
    /// Calls a second that the application says it allows, if it ever said.
    pub granted: Option<u32>,
    /// Now.
    pub rate: Rate,
    /// Until when no call of this class is made, if it has to wait.
    pub not_before: Option<Timestamp>,
}

/// How a call is counted: by its answer's status, where it means something of its own, or its hundred; `none`: there was no
/// answer.
pub const OUTCOMES: [&str; 10] = [
    "2xx", "3xx", "401", "403", "404", "409", "429", "4xx", "5xx", "none",
];

/// The place in [`OUTCOMES`].
pub(super) fn outcome(status: Option<u16>) -> usize {
    match status {
        None => 9,
        Some(401) => 2,
        Some(403) => 3,
        Some(404) => 4,
        Some(409) => 5,
        Some(429) => 6,
        Some(..300) => 0,
        Some(300..400) => 1,
        Some(400..500) => 7,
        Some(500..) => 8,
    }
}

/// What a call heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// When.
    pub at: Timestamp,
    /// The answer's status; `None`: there was no answer.
    pub status: Option<u16>,
    /// What it showed.
    pub heard: Heard,
}

impl std::fmt::Display for Last {
    /// Without a word of the application's: those may name people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Some(status) => write!(f, "answered {status}")?,
            None => f.write_str("no answer")?,
        }
        match self.heard {
            Heard::Limited(limited) => f.write_str(match limited.limit {
                Limit::Rate => ": too many calls a second",
                Limit::Day => ": too many calls today",
                Limit::Concurrency => ": too many calls at once about one account",
            }),
            Heard::Well | Heard::Unavailable(_) | Heard::Lost => Ok(()),
        }
    }
}

impl Gate {
    /// The gate as it is now.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> GateView {
        let state = self.0.lock();
        let standing = |turn: Turn| -> usize {
            let line = |class: usize| state.waiting[class][turn as usize];
            (0..CLASSES).map(line).sum()
        };
        let [underway, inline, queued] = TURNS.map(standing);
        GateView {
            in_flight: state.in_flight,
            concurrency: state.concurrency,
            waiting: underway + inline,
            queued,
            light: state.class(Class::Light).view(now),
            medium: state.class(Class::Medium).view(now),
            failures: state.health.failures,
            failing_since: state.since,
            left_alone_until: Some(state.health.not_before).filter(|until| *until > now),
            last: state.last,
            calls: state.calls,
        }
    }
}

impl State {
    fn class(&self, class: Class) -> &Kept {
        &self.classes[index(class)]
    }
}

impl Kept {
    fn view(&self, now: Timestamp) -> ClassView {
        ClassView {
            configured: self.pace.configured(),
            granted: self.pace.granted(),
            rate: self.pace.rate(now),
            not_before: Some(self.pace.not_before()).filter(|until| *until > now),
        }
    }
}
