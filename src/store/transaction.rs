//! One write transaction: sealed rows in and out, and the counters that are written once at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use redb::{ReadableTable, Table, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::policy::safety::{Allowance, Window};
use crate::provision::link::State;
use crate::scim::{Handle, Kind, Resource};

use super::configured::Generation;
use super::ids::Instance;
use super::keys::{self, Key, tag};
use super::moved::Moved;
use super::policies::{Binding, Rescoped};
use super::row::{self, RowRef, kind_byte};
use super::tables::{
    self, BLOCK, Bytes, Head, INDEX, INTENTS, JOURNAL, KEYS, MARKS, READS, ROWS, STATE, Seal,
    Trouble, name,
};

/// What is counted of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Users with an active account there.
    pub active: u64,
    /// Removals that the safety limit stops.
    pub holds: u64,
    /// Marks, due or not.
    pub marks: u64,
    /// Marks that are quarantined: they failed to the end of the ladder of retries.
    #[serde(default)]
    pub quarantined: u64,
    /// Removals that failed to the end of it, and are still tried.
    #[serde(default)]
    pub overdue: u64,
    /// The safety limit's running window.
    pub window: Option<Window>,
    /// What a person has allowed beyond it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowance: Option<Allowance>,
}

/// A write transaction over all tables. Dropped without [`Transaction::finish`] it has written nothing that counts.
pub(super) struct Transaction<'t> {
    pub(super) rows: Table<'t, u64, Bytes>,
    pub(super) keys: Table<'t, Bytes, Bytes>,
    marks: Table<'t, Bytes, Bytes>,
    intents: Table<'t, u64, Bytes>,
    journal: Table<'t, u64, Bytes>,
    index: Table<'t, Bytes, Bytes>,
    pub(super) state: Table<'t, Bytes, Bytes>,
    pub(super) reads: Table<'t, (u64, u64), Bytes>,
    pub(super) instance: Instance,
    pub(super) head: Head,
    blocks: BTreeMap<(u8, u64), i64>,
    members: BTreeMap<u64, i64>,
    tallies: BTreeMap<String, Tally>,
    /// The configuration in force, once somebody has asked.
    pub(super) configuration: Option<Generation>,
    /// Rows inserted and removed.
    pub(super) written: u64,
    /// Edges of a dead resource are left to be dropped, or something of [`super::sent`].
    pub(super) sweeps: bool,
    /// Links are left to be doubted.
    pub(super) doubts: bool,
    /// Groups whose memberships may differ in an application since this transaction.
    pub(super) doubtful: BTreeSet<(Handle, String)>,
    /// The groups that policies are bound to, once somebody has asked.
    pub(super) bindings: Option<Vec<Binding>>,
    /// Whose scope the change set that is being performed changed.
    pub(super) rescoped: Rescoped,
    /// The memberships that it moved.
    pub(super) moved: Moved,
    /// A sweep or a set has begun, or can go on.
    pub(super) begun: bool,
}

impl<'t> Transaction<'t> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        instance: Instance,
        head: Head,
    ) -> Result<Self, Trouble> {
        Ok(Self {
            rows: transaction.open_table(ROWS)?,
            keys: transaction.open_table(KEYS)?,
            marks: transaction.open_table(MARKS)?,
            intents: transaction.open_table(INTENTS)?,
            journal: transaction.open_table(JOURNAL)?,
            index: transaction.open_table(INDEX)?,
            state: transaction.open_table(STATE)?,
            reads: transaction.open_table(READS)?,
            instance,
            head,
            blocks: BTreeMap::new(),
            members: BTreeMap::new(),
            tallies: BTreeMap::new(),
            configuration: None,
            written: 0,
            sweeps: false,
            doubts: false,
            doubtful: BTreeSet::new(),
            bindings: None,
            rescoped: Rescoped::default(),
            moved: Moved::default(),
            begun: false,
        })
    }

    /// Writes the counters and hands back what the writer carries on with: head and number of rows written.
    pub(super) fn finish(mut self) -> Result<(Head, u64), Trouble> {
        self.mark_doubtful()?;
        let mut totals: BTreeMap<u8, i64> = BTreeMap::new();
        for ((kind, block), delta) in std::mem::take(&mut self.blocks) {
            *totals.entry(kind).or_default() += delta;
            let key = Key::new(tag::BLOCK).byte(kind).number(block).done();
            self.add(key, delta)?;
        }
        for (kind, delta) in totals {
            self.add(Key::new(tag::TOTAL).byte(kind).done(), delta)?;
        }
        for (group, delta) in std::mem::take(&mut self.members) {
            self.add(keys::by_handle(tag::MEMBERS, Handle(group)), delta)?;
        }
        for (application, tally) in std::mem::take(&mut self.tallies) {
            let key = format!("{}{application}", name::APPLICATION);
            self.put_state(key.as_bytes(), json(&tally)?)?;
        }
        let head = self.head.encode();
        self.put_state(name::HEAD, head)?;
        Ok((self.head, self.written))
    }

    // -- rows

    /// Calls `look` with a stored row.
    pub(super) fn row<R>(
        &self,
        handle: Handle,
        look: impl FnOnce(RowRef<'_>) -> R,
    ) -> Result<Option<R>, Trouble> {
        let Some(stored) = self.rows.get(handle.0)? else {
            return Ok(None);
        };
        let bytes = tables::unseal(Seal::Row, &handle.0.to_be_bytes(), stored.value())?;
        Ok(Some(look(RowRef::parse(handle, bytes)?)))
    }

    pub(super) fn resource(&self, handle: Handle) -> Result<Option<Resource>, Trouble> {
        self.row(handle, |row| row.decode())?.transpose()
    }

    /// Whether there is a row that clients can see.
    pub(super) fn is_live(&self, handle: Handle) -> Result<bool, Trouble> {
        Ok(self.row(handle, |row| row.deleted.is_none())? == Some(true))
    }

    /// Replaces `before` by `after`: the row, and what is counted of it. The look-up keys are the caller's.
    pub(super) fn put_row(
        &mut self,
        before: Option<&Resource>,
        after: Option<&Resource>,
    ) -> Result<(), Trouble> {
        for (resource, sign) in [(before, -1), (after, 1)] {
            let Some(resource) = resource else { continue };
            if resource.deleted.is_none() {
                self.count(kind_byte(resource.kind), resource.handle, sign);
            }
            if let Some(what) = keys::what_active_is(resource) {
                self.count(what, resource.handle, sign);
            }
            for link in &resource.links {
                let active = resource.kind == Kind::User
                    && matches!(link.state, State::Active | State::Unseen)
                    // The safety limit is a share of those whom we could take away.
                    && !link.is_unclaimed();
                let held = link
                    .removal
                    .as_ref()
                    .is_some_and(|removal| removal.held.is_some());
                if active || held {
                    let tally = self.tally(&link.application)?;
                    tally.active = tally.active.saturating_add_signed(sign * i64::from(active));
                    tally.holds = tally.holds.saturating_add_signed(sign * i64::from(held));
                }
            }
        }
        match (before, after) {
            (_, Some(resource)) => {
                let handle = resource.handle.0;
                let bytes = tables::seal(Seal::Row, &handle.to_be_bytes(), row::encode(resource)?);
                self.rows.insert(handle, bytes.as_slice())?;
                self.head.next_handle = self.head.next_handle.max(handle.saturating_add(1));
            }
            (Some(resource), None) => {
                self.rows.remove(resource.handle.0)?;
            }
            (None, None) => return Ok(()),
        }
        self.written += 1;
        self.relinked(before, after)
    }

    // -- keys

    pub(super) fn put_key(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), Trouble> {
        self.written += 1;
        let value = tables::seal(Seal::Key, key, value);
        self.keys.insert(key, value.as_slice())?;
        Ok(())
    }

    /// Whether there was one.
    pub(super) fn drop_key(&mut self, key: &[u8]) -> Result<bool, Trouble> {
        let had = self.keys.remove(key)?.is_some();
        self.written += u64::from(had);
        Ok(had)
    }

    /// Drops a key. What stood under it, if there was one: nothing of a damaged row, which goes all the same.
    pub(super) fn take_key(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        let Some(stored) = self.keys.remove(key)? else {
            return Ok(None);
        };
        self.written += 1;
        let value = tables::unseal(Seal::Key, key, stored.value());
        Ok(Some(value.map(<[u8]>::to_vec).unwrap_or_default()))
    }

    /// At most `limit` keys that start with `prefix`.
    pub(super) fn some_keys(&self, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, Trouble> {
        let mut found = Vec::new();
        tables::scan(&self.keys, Seal::Key, prefix, prefix, |key, _| {
            if found.len() == limit {
                return Ok(ControlFlow::Break(()));
            }
            found.push(key.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    fn add(&mut self, key: Vec<u8>, delta: i64) -> Result<(), Trouble> {
        if delta == 0 {
            return Ok(());
        }
        let count = tables::read_number(&self.keys, &key)?.unwrap_or(0);
        match count.saturating_add_signed(delta) {
            0 => self.drop_key(&key).map(drop),
            count => self.put_key(&key, count.to_be_bytes().to_vec()),
        }
    }

    /// Moves the live counts of a kind, or of users whose `active` is not true.
    pub(super) fn count(&mut self, what: u8, handle: Handle, delta: i64) {
        *self.blocks.entry((what, handle.0 / BLOCK)).or_default() += delta;
    }

    /// Moves a group's number of members.
    pub(super) fn count_members(&mut self, group: Handle, delta: i64) {
        *self.members.entry(group.0).or_default() += delta;
    }

    // -- marks

    pub(super) fn mark(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        tables::read(&self.marks, Seal::Mark, key)
    }

    /// The keys of a resource's marks.
    pub(super) fn marks_of(&self, handle: Handle) -> Result<Vec<Vec<u8>>, Trouble> {
        let prefix = handle.0.to_be_bytes();
        let mut found = Vec::new();
        tables::scan(&self.marks, Seal::Mark, &prefix, &prefix, |key, _| {
            found.push(key.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    pub(super) fn put_mark(&mut self, key: &[u8], value: Option<Vec<u8>>) -> Result<(), Trouble> {
        self.written += 1;
        match value {
            Some(value) => {
                let value = tables::seal(Seal::Mark, key, value);
                self.marks.insert(key, value.as_slice())?;
            }
            None => {
                self.marks.remove(key)?;
            }
        }
        Ok(())
    }

    // -- intents

    pub(super) fn has_intent(&self, intent: u64) -> Result<bool, Trouble> {
        Ok(self.intents.get(intent)?.is_some())
    }

    pub(super) fn put_intent(&mut self, intent: u64, value: Vec<u8>) -> Result<(), Trouble> {
        self.written += 1;
        let value = tables::seal(Seal::Intent, &intent.to_be_bytes(), value);
        self.intents.insert(intent, value.as_slice())?;
        Ok(())
    }

    pub(super) fn drop_intent(&mut self, intent: u64) -> Result<(), Trouble> {
        self.written += 1;
        self.intents.remove(intent)?;
        Ok(())
    }

    // -- journal

    pub(super) fn put_record(&mut self, sequence: u64, value: Vec<u8>) -> Result<(), Trouble> {
        self.written += 1;
        let value = tables::seal(Seal::Journal, &sequence.to_be_bytes(), value);
        self.journal.insert(sequence, value.as_slice())?;
        Ok(())
    }

    /// Calls `each` with the records from a sequence on, until it says stop.
    pub(super) fn records(
        &self,
        from: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<ControlFlow<()>, Trouble>,
    ) -> Result<(), Trouble> {
        for entry in self.journal.range(from..)? {
            let (sequence, value) = entry?;
            let sequence = sequence.value();
            let value = tables::unseal(Seal::Journal, &sequence.to_be_bytes(), value.value())?;
            if each(sequence, value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn put_index(&mut self, key: &[u8]) -> Result<(), Trouble> {
        self.written += 1;
        let value = tables::seal(Seal::Index, key, Vec::new());
        self.index.insert(key, value.as_slice())?;
        Ok(())
    }

    // -- state

    pub(super) fn state(&self, name: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        tables::read(&self.state, Seal::State, name)
    }

    pub(super) fn put_state(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), Trouble> {
        self.written += 1;
        let value = tables::seal(Seal::State, name, value);
        self.state.insert(name, value.as_slice())?;
        Ok(())
    }

    pub(super) fn drop_state(&mut self, name: &[u8]) -> Result<(), Trouble> {
        self.written += 1;
        self.state.remove(name)?;
        Ok(())
    }

    /// What is counted of an application; changed in place, written at the end.
    pub(super) fn tally(&mut self, application: &str) -> Result<&mut Tally, Trouble> {
        if !self.tallies.contains_key(application) {
            let tally = read_tally(&self.state, application)?;
            self.tallies.insert(application.to_owned(), tally);
        }
        Ok(self.tallies.entry(application.to_owned()).or_default())
    }
}

/// What is counted of an application as it is stored.
pub(super) fn read_tally(
    state: &impl ReadableTable<Bytes, Bytes>,
    application: &str,
) -> Result<Tally, Trouble> {
    let key = format!("{}{application}", name::APPLICATION);
    match tables::read(state, Seal::State, key.as_bytes())? {
        Some(bytes) => from_json(&bytes),
        None => Ok(Tally::default()),
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, Trouble> {
    serde_json::to_vec(value)
        .map_err(|error| Trouble::Damaged(format!("cannot be stored: {error}")))
}

pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Trouble> {
    serde_json::from_slice(bytes).map_err(|error| Trouble::Damaged(error.to_string()))
}
