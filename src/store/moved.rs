//! What a request does to memberships, for the journal: whoever undoes it has to know who was where.
//!
//! A record holds as many ids as are quick to read over, the others follow in records of their own. What follows of a
//! dead group is written slice by slice as its edges are dropped.

use crate::journal::record::{Edges, Event, Operation, Record, Status};
use crate::scim::Kind;

use super::tables::Trouble;
use super::transaction::Transaction;

/// The memberships that moved since somebody began to ask.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// `None`: nobody asks.
    edges: Option<Edges>,
    /// More of them move later.
    pub(super) later: bool,
}

/// What happened to a membership, as seen by what the record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// A member came into the group.
    Added,
    /// A member went out of it.
    Removed,
    /// It is dead, and was in this group.
    Left,
}

impl Moved {
    /// Asks from now on, if so.
    pub(super) fn asked(asks: bool) -> Self {
        Self {
            edges: asks.then(Edges::default),
            later: false,
        }
    }

    /// Asks if the first of the records is one that holds memberships. A user who is created or changed has none that move.
    pub(super) fn for_records(records: &[Record]) -> Self {
        Self::asked(records.first().is_some_and(|record| {
            record.event == Event::Request
                && matches!(record.status, Status::Success | Status::Warning)
                && (record.kind == Kind::Group || record.operation == Operation::Delete)
        }))
    }

    pub(super) fn is_asked(&self) -> bool {
        self.edges.is_some()
    }

    /// Notes one by the id at its other end. Undoing does without those whose row was damaged.
    pub(super) fn note(&mut self, how: How, id: Option<&str>) {
        let (Some(edges), Some(id)) = (&mut self.edges, id) else {
            return;
        };
        let ids = match how {
            How::Added => &mut edges.added,
            How::Removed => &mut edges.removed,
            How::Left => &mut edges.left,
        };
        ids.push(id.to_owned());
    }

    /// What one record holds after another, each with whether more follow. The first is there though nothing moved.
    fn end(self) -> Vec<Edges> {
        let Some(mut left) = self.edges else {
            return Vec::new();
        };
        let mut parts = vec![left.take()];
        while !left.is_empty() {
            parts.push(left.take());
        }
        let last = parts.len() - 1;
        for (at, part) in parts.iter_mut().enumerate() {
            part.more = at < last || self.later;
        }
        parts
    }
}

impl Transaction<'_> {
    /// Appends a change set's records, the first one with the memberships that moved.
    pub(super) fn append_with_moved(
        &mut self,
        records: &mut [Record],
    ) -> Result<Option<u64>, Trouble> {
        let mut parts = std::mem::take(&mut self.moved).end().into_iter();
        if let Some((record, part)) = records.first_mut().zip(parts.next()) {
            record.edges = Some(part);
        }
        let first = self.append(records)?;
        if let Some(record) = records.first() {
            for part in parts {
                self.append(&mut [record.continued(part)])?;
            }
        }
        Ok(first)
    }

    /// Appends what one slice of a dead resource's edges adds to the record of the request that it died by.
    pub(super) fn append_slice(&mut self, request: Option<&Record>) -> Result<(), Trouble> {
        let parts = std::mem::take(&mut self.moved).end();
        for part in parts {
            if let Some(request) = request {
                self.append(&mut [request.continued(part)])?;
            }
        }
        Ok(())
    }
}
