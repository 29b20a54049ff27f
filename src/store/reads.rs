//! Notes of reads: who read what, and when. Never a value out of a filter, never what the answer held.
//!
//! A note waits in a bounded buffer and is written with the next commit or within a second, by the writer. No read
//! waits for it: where the buffer is full, the note is dropped and counted. A crash may lose the last second's.

use redb::{ReadableDatabase as _, ReadableTable as _, TableError};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::Kind;

use super::apply::Writer;
use super::tables::{self, READS, Seal, Trouble};
use super::transaction::{Transaction, from_json, json};
use super::view::View;

/// Notes that may wait.
pub(super) const BUFFER: usize = 8_192;
/// Notes that one transaction writes, and that one prunes.
pub(super) const SLICE: usize = 2_000;
/// Attribute names that a note keeps of a filter, and the characters of each: a client makes them up.
const NAMES: usize = 8;
const NAME: usize = 64;

/// One answered read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadNote {
    /// When it was answered. It is the row's key, not part of its value.
    #[serde(skip)]
    pub time: Timestamp,
    /// The client's name in the configuration.
    pub client: String,
    /// The request's id, as in the log and in the answer's head.
    pub request: String,
    /// User or Group. `None`: a query over both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What was asked for.
    pub shape: ReadShape,
    /// The id of the one resource that was read. `None` for a list, and where there was no such resource: what a client
    /// makes up is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The HTTP status of the answer.
    pub status: u16,
}

/// The shape of a read's endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadShape {
    /// One resource by its id.
    One,
    /// A page of all.
    List,
    /// A page of what a filter selects, by the names of the filter's attributes. See [`ReadShape::filter`].
    Filter(Vec<String>),
}

impl ReadShape {
    /// A filter over these attributes: sorted, each once, at most eight, at most 64 characters of each.
    #[must_use]
    pub fn filter(names: impl IntoIterator<Item = String>) -> Self {
        let cut = |name: String| name.chars().take(NAME).collect();
        let mut names: Vec<String> = names.into_iter().map(cut).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(NAMES);
        Self::Filter(names)
    }
}

/// The writer's end of the buffer.
#[derive(Debug)]
pub(super) struct Waiting {
    sender: mpsc::Sender<ReadNote>,
    buffer: mpsc::Receiver<ReadNote>,
    /// Taken out of the buffer by a transaction that was given up.
    again: Vec<ReadNote>,
}

impl Waiting {
    pub(super) fn new() -> Self {
        let (sender, buffer) = mpsc::channel(BUFFER);
        Self {
            sender,
            buffer,
            again: Vec::new(),
        }
    }

    /// The readers' end.
    pub(super) fn sender(&self) -> mpsc::Sender<ReadNote> {
        self.sender.clone()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.again.len() + self.buffer.len()
    }

    /// The next to be written, at most [`SLICE`].
    pub(super) fn take(&mut self) -> Vec<ReadNote> {
        let mut taken = std::mem::take(&mut self.again);
        while taken.len() < SLICE {
            let Ok(note) = self.buffer.try_recv() else {
                break;
            };
            taken.push(note);
        }
        taken
    }

    /// What was taken was not committed after all: it is the next to be taken.
    pub(super) fn put_back(&mut self, taken: Vec<ReadNote>) {
        self.again = taken;
    }
}

impl Transaction<'_> {
    /// Appends notes. Reads no value, so that a damaged note never fails a neighbour's commit.
    pub(super) fn put_notes(&mut self, notes: &[ReadNote]) -> Result<(), Trouble> {
        for note in notes {
            let time = note.time.0;
            // Several in one millisecond are told apart by their place in it.
            let mut same = self.reads.range((time, 0)..=(time, u64::MAX))?;
            let last = same.next_back().transpose()?;
            let place = last.map_or(0, |(key, _)| key.value().1.saturating_add(1));
            drop(same);
            let value = tables::seal(Seal::Read, &seal_key(time, place), json(note)?);
            self.reads.insert((time, place), value.as_slice())?;
            self.written += 1;
        }
        Ok(())
    }

    /// Drops at most [`SLICE`] notes older than `before`. Whether there may be more.
    pub(super) fn prune_notes(&mut self, before: Timestamp) -> Result<bool, Trouble> {
        let mut old = Vec::new();
        for entry in self.reads.range(..(before.0, 0))?.take(SLICE) {
            old.push(entry?.0.value());
        }
        for key in &old {
            self.reads.remove(*key)?;
            self.written += 1;
        }
        Ok(old.len() == SLICE)
    }
}

impl Writer {
    /// One slice of pruning, in a transaction of its own if there is anything to prune. Whether there may be more.
    pub(super) fn prune_notes(&mut self, before: Timestamp) -> Result<bool, Trouble> {
        // A look costs nothing; a transaction costs a sync of the disk.
        let table = self.db.begin_read()?.open_table(READS)?;
        let oldest = table.first()?;
        let due = oldest.is_some_and(|(key, _)| key.value().0 < before.0);
        Ok(due && self.transact(|transaction| transaction.prune_notes(before))?)
    }
}

impl View {
    /// The notes of reads that were answered at `since` or later, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn reads(&self, since: Timestamp, limit: usize) -> Result<Vec<ReadNote>, Fault> {
        let table = match self.transaction.open_table(READS) {
            Ok(table) => table,
            // Nobody has written to the file since notes are kept.
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(Trouble::from(error).into()),
        };
        let mut found = Vec::new();
        let entries = table.range((since.0, 0)..).map_err(Trouble::from)?;
        for entry in entries.rev().take(limit) {
            let (key, stored) = entry.map_err(Trouble::from)?;
            let (time, place) = key.value();
            let bytes = tables::unseal(Seal::Read, &seal_key(time, place), stored.value())?;
            found.push(ReadNote {
                time: Timestamp(time),
                ..from_json(bytes)?
            });
        }
        Ok(found)
    }
}

pub(super) fn seal_key(time: u64, place: u64) -> [u8; 16] {
    (u128::from(time) << 64 | u128::from(place)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filters_shape_is_bounded_whatever_a_client_writes() {
        let names = |shape| match shape {
            ReadShape::Filter(names) => names,
            other => panic!("{other:?}"),
        };
        let few = ["userName", "active", "userName"].map(String::from);
        assert_eq!(names(ReadShape::filter(few)), ["active", "userName"]);
        let many = names(ReadShape::filter(
            (0..64).map(|one| format!("{one:02}{}", "x".repeat(4_000))),
        ));
        assert_eq!(many.len(), 8);
        assert!(many.iter().all(|name| name.len() == 64), "{many:?}");
    }
}
