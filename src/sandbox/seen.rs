//! What calls came, and how many ended how. Bounded: the oldest calls go first.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::clock::Timestamp;

/// How many calls are kept.
const CALLS: usize = 100_000;

/// How many bytes of their bodies are kept.
const BODIES: usize = 64 << 20;

/// What calls of the token endpoint are counted under.
pub(super) const TOKEN: &str = "TOKEN";

/// A call that came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// The method; `OTHER` for those that SCIM has no use for.
    pub method: String,
    /// The path below the base URL as it came, percent-encoded: `/Users/k%26Kd...`.
    pub path: String,
    /// The query as it came.
    pub query: Option<String>,
    /// The body, if it was JSON.
    pub body: Option<Value>,
    /// The answer's status. `None`: not answered, or not yet.
    pub status: Option<u16>,
    /// Whether it changed anything.
    pub effect: bool,
}

/// How the calls of one method ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// How many came.
    pub calls: u64,
    /// How many changed anything, answered or not.
    pub effects: u64,
    /// How many got no answer and had no effect.
    pub lost_before: u64,
    /// How many were carried out and got no answer.
    pub lost_after: u64,
    /// How many were answered with each status.
    pub statuses: BTreeMap<u16, u64>,
    /// How many were refused for a rate or for being too many at once, faults aside.
    pub refused_for_rate: u64,
    /// How many came while their class had been told to wait: by `Retry-After` or `X-RateLimit-Reset`, faults
    /// included. A call that was on its way already counts too.
    pub early: u64,
}

/// A call in the log, while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    number: u64,
    method: &'static str,
}

#[derive(Debug)]
struct Entry {
    at: Timestamp,
    method: &'static str,
    path: Box<str>,
    query: Option<Box<str>>,
    body: Bytes,
    status: Option<u16>,
    effect: bool,
}

/// The calls that came.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the oldest entry that is kept.
    first: u64,
    /// Bytes of bodies in `entries`.
    bodies: usize,
    counts: BTreeMap<&'static str, Counts>,
}

impl Log {
    /// Notes that a call came.
    pub(super) fn arrived(
        &mut self,
        at: Timestamp,
        method: &'static str,
        path: &str,
        query: Option<&str>,
        body: Bytes,
    ) -> Ticket {
        self.counts.entry(method).or_default().calls += 1;
        let number = self.first + u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        self.bodies += body.len();
        self.entries.push_back(Entry {
            at,
            method,
            path: path.into(),
            query: query.map(Into::into),
            body,
            status: None,
            effect: false,
        });
        while self.entries.len() > CALLS || self.bodies > BODIES {
            let Some(gone) = self.entries.pop_front() else {
                break;
            };
            self.first += 1;
            self.bodies -= gone.body.len();
        }
        Ticket { number, method }
    }

    /// Notes that a call of the token endpoint came: it is counted, and not kept.
    pub(super) fn token_requested(&mut self) -> Ticket {
        self.counts.entry(TOKEN).or_default().calls += 1;
        Ticket {
            number: u64::MAX,
            method: TOKEN,
        }
    }

    /// Notes that a call was refused for a rate.
    pub(super) fn refused_for_rate(&mut self, ticket: Ticket) {
        self.counts
            .entry(ticket.method)
            .or_default()
            .refused_for_rate += 1;
    }

    /// Notes that a call came too early.
    pub(super) fn early(&mut self, ticket: Ticket) {
        self.counts.entry(ticket.method).or_default().early += 1;
    }

    /// Notes that a call was carried out.
    pub(super) fn carried_out(&mut self, ticket: Ticket, effect: bool) {
        if effect {
            self.counts.entry(ticket.method).or_default().effects += 1;
            if let Some(entry) = self.entry(ticket) {
                entry.effect = true;
            }
        }
    }

    /// Notes that a call was answered.
    pub(super) fn answered(&mut self, ticket: Ticket, status: u16) {
        let counts = self.counts.entry(ticket.method).or_default();
        *counts.statuses.entry(status).or_default() += 1;
        if let Some(entry) = self.entry(ticket) {
            entry.status = Some(status);
        }
    }

    /// Notes that a call will get no answer: `carried_out` or not.
    pub(super) fn lost(&mut self, ticket: Ticket, carried_out: bool) {
        let counts = self.counts.entry(ticket.method).or_default();
        if carried_out {
            counts.lost_after += 1;
        } else {
            counts.lost_before += 1;
        }
    }

    /// Every call that is kept, oldest first.
    pub(super) fn calls(&self) -> Vec<Seen> {
        self.entries.iter().map(Entry::seen).collect()
    }

    /// By method.
    pub(super) fn counts(&self) -> &BTreeMap<&'static str, Counts> {
        &self.counts
    }

    /// Forgets everything. Numbers go on, so that a call from before finds no entry.
    pub(super) fn clear(&mut self) {
        self.first += u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        self.entries.clear();
        self.bodies = 0;
        self.counts.clear();
    }

    fn entry(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        let at = usize::try_from(ticket.number.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }
}

impl Entry {
    fn seen(&self) -> Seen {
        Seen {
            at: self.at,
            method: self.method.to_owned(),
            path: self.path.clone().into(),
            query: self.query.clone().map(Into::into),
            body: serde_json::from_slice(&self.body).ok(),
            status: self.status,
            effect: self.effect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(log: &mut Log, body: &Bytes) -> Ticket {
        log.arrived(Timestamp(1), "POST", "/Users", None, body.clone())
    }

    #[test]
    fn the_oldest_go_first() {
        let mut log = Log::default();
        let old = arrive(&mut log, &Bytes::new());
        for _ in 0..CALLS {
            arrive(&mut log, &Bytes::new());
        }
        log.answered(old, 201);
        assert_eq!(log.entries.len(), CALLS);
        assert!(log.calls().iter().all(|seen| seen.status.is_none()));
        assert_eq!(log.counts()["POST"].statuses[&201], 1);

        let mut log = Log::default();
        let large = Bytes::from(vec![b'1'; BODIES / 2]);
        for _ in 0..3 {
            arrive(&mut log, &large);
        }
        assert_eq!((log.entries.len(), log.bodies), (2, BODIES));
    }

    #[test]
    fn a_call_from_before_a_reset_finds_no_entry() {
        let mut log = Log::default();
        let old = arrive(&mut log, &Bytes::new());
        log.clear();
        let new = arrive(&mut log, &Bytes::from_static(b"{\"a\":1}"));
        log.answered(old, 500);
        log.answered(new, 200);
        let calls = log.calls();
        assert_eq!((calls.len(), calls[0].status), (1, Some(200)));
        assert_eq!(calls[0].body, Some(serde_json::json!({"a": 1})));
    }
}
