//! The journal: records in a hash chain, the index that is derived from them in batches, and the queries over both.
//!
//! What the index does not have yet, the tail, is scanned: a commit pays for its record only.

use std::collections::HashMap;
use std::ops::ControlFlow;

use redb::ReadOnlyTable;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::journal::record::{Event, Record};
use crate::journal::report::{self, Query, Row};

use super::ids::hex;
use super::keys::{self, Key};
use super::tables::{self, Bytes, Head, INDEX, JOURNAL, STATE, Seal, Trouble};
use super::transaction::{Transaction, from_json, json};
use super::view::View;
use crate::scim::schema::fold;

/// Records that one index transaction takes; each gives two or three rows.
const SLICE: usize = 700;

/// Index entries that a search for people may collect. A shorter prefix than that hits so often that walking the
/// journal from its end finds them as fast.
const PEOPLE: usize = 10_000;

mod tag {
    /// folded user, sequence
    pub(super) const PERSON: u8 = b'p';
    /// application, sequence
    pub(super) const APPLICATION: u8 = b'a';
    /// sequence of a request, sequence of a delivery that names it
    pub(super) const CAUSE: u8 = b'c';
}

impl Transaction<'_> {
    /// Appends records. Gives each its sequence, a time not before its predecessor's, and its place in the chain.
    /// They are stamped in place: should the transaction fail, the next one stamps them anew. The first one's sequence.
    pub(super) fn append(&mut self, records: &mut [Record]) -> Result<Option<u64>, Trouble> {
        let first = self.head.next_sequence;
        for record in &mut *records {
            record.sequence = self.head.next_sequence;
            record.time = record.time.max(self.head.last_time);
            record.hash.clear();
            let body = json(record)?;
            let hash = chain(&self.head.hash, &body);
            let mut value = Vec::with_capacity(body.len() + 36);
            value.extend_from_slice(&hash);
            value.extend_from_slice(&body);
            self.put_record(record.sequence, value)?;
            self.head.hash = hash;
            self.head.last_time = record.time;
            self.head.next_sequence = record.sequence.saturating_add(1);
        }
        Ok((!records.is_empty()).then_some(first))
    }

    /// One record that stands already.
    pub(super) fn journalled(&self, sequence: u64) -> Result<Option<Record>, Trouble> {
        let mut found = None;
        self.records(sequence, |at, value| {
            if at == sequence {
                found = Some(decode(at, value)?);
            }
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Indexes the next records.
    pub(super) fn index(&mut self) -> Result<(), Trouble> {
        let mut found = Vec::new();
        self.records(self.head.indexed, |sequence, value| {
            found.push((sequence, indexed(sequence, value)?));
            Ok(if found.len() < SLICE {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        for (sequence, record) in found {
            self.head.indexed = sequence.saturating_add(1);
            // No report looks for it.
            if record.event == Event::Members {
                continue;
            }
            self.put_index(&keyed(tag::PERSON, &fold(&record.user), sequence))?;
            for delivery in &record.deliveries {
                self.put_index(&keyed(tag::APPLICATION, &delivery.application, sequence))?;
            }
            for cause in &record.cause {
                let key = Key::new(tag::CAUSE).number(*cause).number(sequence);
                self.put_index(&key.done())?;
            }
        }
        Ok(())
    }
}

impl View {
    /// One record, with its sequence and its hash in hex.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn record(&self, sequence: u64) -> Result<Option<Record>, Fault> {
        Ok(read(&self.table(JOURNAL)?, sequence)?)
    }

    /// The last record's sequence; 0 in an empty journal.
    ///
    /// # Errors
    /// As [`View::record`].
    pub fn last_sequence(&self) -> Result<u64, Fault> {
        Ok(Head::load(&self.table(STATE)?)?
            .next_sequence
            .saturating_sub(1))
    }

    /// The rows that a query names, newest first. Costs by what it returns where it names a person, an application or
    /// a time; else it walks the journal from its end.
    ///
    /// # Errors
    /// As [`View::record`].
    pub fn journal(&self, query: &Query) -> Result<Vec<Row>, Fault> {
        Ok(Search::new(self, query)?.run()?)
    }

    /// Calls `each` with every record from `since` on and before `until`, oldest first, until it says stop.
    ///
    /// # Errors
    /// As [`View::record`].
    pub fn records_between(
        &self,
        since: Timestamp,
        until: Timestamp,
        mut each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let (journal, head) = (self.table(JOURNAL)?, Head::load(&self.table(STATE)?)?);
        let from = first_at(&journal, &head, since)?;
        let end = first_at(&journal, &head, until)?.max(from);
        for entry in journal.range(from..end).map_err(Trouble::from)? {
            let (sequence, value) = entry.map_err(Trouble::from)?;
            let sequence = sequence.value();
            if each(decode(sequence, unsealed(sequence, value.value())?)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The first of the records `from..=to` that does not follow from the one before it; `None`: all do.
    ///
    /// # Errors
    /// As [`View::record`].
    pub fn verify_chain(&self, from: u64, to: u64) -> Result<Option<u64>, Fault> {
        let journal = self.table(JOURNAL)?;
        let mut before = [0; 32];
        let mut expected = from.saturating_sub(1).max(1);
        for entry in journal.range(expected..=to).map_err(Trouble::from)? {
            let (sequence, value) = entry.map_err(Trouble::from)?;
            let sequence = sequence.value();
            let value = unsealed(sequence, value.value())?;
            let Some((hash, body)) = value.split_first_chunk::<32>() else {
                return Ok(Some(sequence));
            };
            let follows = sequence < from || chain(&before, body) == *hash;
            if sequence != expected || !follows {
                return Ok(Some(expected));
            }
            before = *hash;
            expected = expected.saturating_add(1);
        }
        Ok((expected <= to).then_some(expected))
    }
}

/// One query on its way.
struct Search<'v> {
    query: &'v Query,
    journal: ReadOnlyTable<u64, Bytes>,
    index: ReadOnlyTable<Bytes, Bytes>,
    /// The records that the index does not have, oldest first.
    tail: Vec<Record>,
    /// Request -> places in the tail of what settles it.
    settling: HashMap<u64, Vec<usize>>,
    indexed: u64,
    /// Sequences that the query's time span covers: from, and the one behind.
    span: (u64, u64),
    rows: Vec<Row>,
}

impl<'v> Search<'v> {
    fn new(view: &View, query: &'v Query) -> Result<Self, Trouble> {
        let head = Head::load(&view.table(STATE)?)?;
        let journal = view.table(JOURNAL)?;
        let mut tail = Vec::new();
        for entry in journal.range(head.indexed..)? {
            let (sequence, value) = entry?;
            let sequence = sequence.value();
            tail.push(decode(sequence, unsealed(sequence, value.value())?)?);
        }
        let mut settling: HashMap<u64, Vec<usize>> = HashMap::new();
        for (place, record) in tail.iter().enumerate() {
            for cause in &record.cause {
                settling.entry(*cause).or_default().push(place);
            }
        }
        let bound = |time: Option<Timestamp>, default: u64| match time {
            Some(time) => first_at(&journal, &head, time),
            None => Ok(default),
        };
        let span = (bound(query.since, 0)?, bound(query.until, u64::MAX)?);
        Ok(Self {
            query,
            index: view.table(INDEX)?,
            journal,
            tail,
            settling,
            indexed: head.indexed,
            span,
            rows: Vec::new(),
        })
    }

    fn run(mut self) -> Result<Vec<Row>, Trouble> {
        let tail = std::mem::take(&mut self.tail);
        for record in tail.iter().rev() {
            if self.is_full() {
                break;
            }
            self.show(record, &tail)?;
        }
        let end = self.span.1.min(self.indexed);
        let people = match &self.query.user_prefix {
            Some(prefix) => self.people(prefix)?,
            None => None,
        };
        if let Some(sequences) = people {
            for sequence in sequences.into_iter().rev().filter(|one| *one < end) {
                self.look_up(sequence, &tail)?;
            }
        } else if let Some(application) = &self.query.application {
            let from = keyed(tag::APPLICATION, application, self.span.0);
            let to = keyed(tag::APPLICATION, application, end);
            if from < to {
                for entry in self
                    .index
                    .range::<&[u8]>(from.as_slice()..to.as_slice())?
                    .rev()
                {
                    let (key, value) = entry?;
                    tables::unseal(Seal::Index, key.value(), value.value())?;
                    self.look_up(keys::last_number(key.value()), &tail)?;
                    if self.is_full() {
                        break;
                    }
                }
            }
        } else if self.span.0 < end {
            for entry in self.journal.range(self.span.0..end)?.rev() {
                if self.is_full() {
                    break;
                }
                let (sequence, value) = entry?;
                let sequence = sequence.value();
                let record = decode(sequence, unsealed(sequence, value.value())?)?;
                self.show(&record, &tail)?;
            }
        }
        self.rows.truncate(self.query.limit);
        Ok(self.rows)
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.query.limit
    }

    fn look_up(&mut self, sequence: u64, tail: &[Record]) -> Result<(), Trouble> {
        if self.is_full() || sequence < self.span.0 {
            return Ok(());
        }
        let record = self.get(sequence, tail)?;
        self.show(&record, tail)
    }

    /// Adds the rows of a record that the query takes.
    fn show(&mut self, record: &Record, tail: &[Record]) -> Result<(), Trouble> {
        if record.sequence < self.span.0 || record.sequence >= self.span.1 {
            return Ok(());
        }
        let (mut later, mut causes) = (Vec::new(), Vec::new());
        match record.event {
            _ if report::asks(record) => {
                let prefix = Key::new(tag::CAUSE).number(record.sequence).done();
                let mut sequences = Vec::new();
                tables::scan(&self.index, Seal::Index, &prefix, &prefix, |key, _| {
                    sequences.push(keys::last_number(key));
                    Ok(ControlFlow::Continue(()))
                })?;
                for sequence in sequences {
                    later.push(self.get(sequence, tail)?);
                }
                let places = self.settling.get(&record.sequence).into_iter().flatten();
                later.extend(places.filter_map(|place| tail.get(*place)).cloned());
            }
            Event::Request | Event::Delivery => {
                for cause in &record.cause {
                    // A cause that was pruned settles nothing any more.
                    causes.extend(read(&self.journal, *cause)?);
                }
            }
            Event::Members => return Ok(()),
        }
        let rows = report::rows(record, &later, &causes);
        let query = self.query;
        self.rows
            .extend(rows.into_iter().filter(|row| query.takes(row, fold)));
        Ok(())
    }

    fn get(&self, sequence: u64, tail: &[Record]) -> Result<Record, Trouble> {
        let place = sequence
            .checked_sub(self.indexed)
            .and_then(|place| usize::try_from(place).ok());
        let there = place.and_then(|place| tail.get(place));
        if let Some(record) = there.filter(|record| record.sequence == sequence) {
            return Ok(record.clone());
        }
        read(&self.journal, sequence)?
            .ok_or_else(|| Trouble::Damaged(format!("record {sequence} is indexed and not there")))
    }

    /// The indexed sequences of everybody whose folded name starts so, ascending; `None`: too many to sort.
    fn people(&self, prefix: &str) -> Result<Option<Vec<u64>>, Trouble> {
        let prefix = Key::new(tag::PERSON).open_text(&fold(prefix)).done();
        let mut found = Vec::new();
        tables::scan(&self.index, Seal::Index, &prefix, &prefix, |key, _| {
            found.push(keys::last_number(key));
            Ok(if found.len() <= PEOPLE {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        if found.len() > PEOPLE {
            return Ok(None);
        }
        found.sort_unstable();
        Ok(Some(found))
    }
}

/// The first sequence whose record is not before `time`. Times rise with sequences, so halving finds it.
fn first_at(
    journal: &ReadOnlyTable<u64, Bytes>,
    head: &Head,
    time: Timestamp,
) -> Result<u64, Trouble> {
    let (mut low, mut high) = (1, head.next_sequence);
    while low < high {
        let middle = low + (high - low) / 2;
        // The first one that stands from there on: what was pruned leaves a gap.
        let Some(entry) = journal.range(middle..high)?.next() else {
            high = middle;
            continue;
        };
        let (sequence, value) = entry?;
        let sequence = sequence.value();
        if decode(sequence, unsealed(sequence, value.value())?)?.time < time {
            low = sequence + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn chain(before: &[u8; 32], body: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(before)
        .chain_update(body)
        .finalize()
        .into()
}

fn read(journal: &ReadOnlyTable<u64, Bytes>, sequence: u64) -> Result<Option<Record>, Trouble> {
    let Some(stored) = journal.get(sequence)? else {
        return Ok(None);
    };
    decode(sequence, unsealed(sequence, stored.value())?).map(Some)
}

fn unsealed(sequence: u64, stored: &[u8]) -> Result<&[u8], Trouble> {
    tables::unseal(Seal::Journal, &sequence.to_be_bytes(), stored)
}

/// What the index needs of a record. What changed is most of one, and skipped.
#[derive(Deserialize)]
struct Indexed {
    event: Event,
    user: String,
    #[serde(default)]
    deliveries: Vec<Concerned>,
    #[serde(default)]
    cause: Vec<u64>,
}

#[derive(Deserialize)]
struct Concerned {
    application: String,
}

fn indexed(sequence: u64, value: &[u8]) -> Result<Indexed, Trouble> {
    from_json(parts(sequence, value)?.1)
}

/// A stored record: its hash, and its JSON.
fn parts(sequence: u64, value: &[u8]) -> Result<(&[u8; 32], &[u8]), Trouble> {
    let parts = value.split_first_chunk::<32>();
    parts.ok_or_else(|| Trouble::Damaged(format!("record {sequence} is too short")))
}

fn decode(sequence: u64, value: &[u8]) -> Result<Record, Trouble> {
    let (hash, body) = parts(sequence, value)?;
    let mut record: Record = from_json(body)?;
    record.hash = hex(hash);
    Ok(record)
}

fn keyed(tag: u8, text: &str, sequence: u64) -> Vec<u8> {
    Key::new(tag).text(text).number(sequence).done()
}
