//! What a backup says of itself, and the walk over every row of a file that both ways need.

use std::collections::BTreeMap;

use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata,
    TableDefinition,
};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::scim::{Handle, Kind};

use super::reads;
use super::row::RowRef;
use super::tables::{
    self, Bytes, INDEX, INTENTS, JOURNAL, KEYS, MARKS, READS, ROWS, STATE, Seal, Trouble, name,
};
use super::transaction::from_json;

/// What a backup holds, and of when and whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// When it was taken; of a data file that is no backup, when its journal ends.
    #[serde(with = "rfc3339")]
    pub taken: Timestamp,
    /// The version of usher that took it; `None`: it is a data file as it was, and no backup.
    pub usher: Option<String>,
    /// Its schema.
    pub schema: u64,
    /// The directory's own id, in hex.
    pub instance: String,
    /// The journal's last sequence.
    pub sequence: u64,
    /// Users that clients see.
    pub users: u64,
    /// Groups that clients see.
    pub groups: u64,
    /// Accounts in applications, those of the deleted too.
    pub links: u64,
    /// Rows by table; without the few named values beside them.
    pub tables: BTreeMap<String, u64>,
}

impl Manifest {
    /// Rows in all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.values().sum()
    }
}

/// Times as people and programs read them.
pub(super) mod rfc3339 {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::clock::Timestamp;

    pub(in crate::store) fn serialize<S: Serializer>(
        at: &Timestamp,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.serialize_str(&at.rfc3339())
    }

    pub(in crate::store) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        Timestamp::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time since 1970"))
    }
}

/// A key as the seal of its row has it.
pub(super) trait Sealed: redb::Key + 'static {
    /// Calls `look` with the bytes that the checksum covers.
    fn bytes<R>(key: &Self::SelfType<'_>, look: impl FnOnce(&[u8]) -> R) -> R;
}

impl Sealed for u64 {
    fn bytes<R>(key: &u64, look: impl FnOnce(&[u8]) -> R) -> R {
        look(&key.to_be_bytes())
    }
}

impl Sealed for Bytes {
    fn bytes<R>(key: &&[u8], look: impl FnOnce(&[u8]) -> R) -> R {
        look(key)
    }
}

impl Sealed for (u64, u64) {
    fn bytes<R>(key: &(u64, u64), look: impl FnOnce(&[u8]) -> R) -> R {
        look(&reads::seal_key(key.0, key.1))
    }
}

/// What is done with each table of a file.
pub(super) trait EachTable {
    /// Why it was not done.
    type Error;

    /// Does it.
    fn table<K: Sealed>(
        &mut self,
        table: TableDefinition<'static, K, Bytes>,
        seal: Seal,
    ) -> Result<(), Self::Error>;
}

/// Does it with every table but [`STATE`], which says what the others are worth and so is last.
pub(super) fn each_table<E: EachTable>(each: &mut E) -> Result<(), E::Error> {
    each.table(ROWS, Seal::Row)?;
    each.table(KEYS, Seal::Key)?;
    each.table(MARKS, Seal::Mark)?;
    each.table(INTENTS, Seal::Intent)?;
    each.table(JOURNAL, Seal::Journal)?;
    each.table(INDEX, Seal::Index)?;
    each.table(READS, Seal::Read)
}

/// What was counted of a file whose every row passed by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) users: u64,
    pub(super) groups: u64,
    pub(super) links: u64,
    pub(super) tables: BTreeMap<String, u64>,
}

impl Counted {
    /// Checks one row's seal and counts it.
    pub(super) fn row<K: Sealed>(
        &mut self,
        seal: Seal,
        key: &K::SelfType<'_>,
        stored: &[u8],
    ) -> Result<(), Trouble> {
        K::bytes(key, |key| {
            let value = tables::unseal(seal, key, stored)?;
            if matches!(seal, Seal::Row) {
                self.resource(Handle(tables::number(key)?), value)?;
            }
            Ok(())
        })
    }

    fn resource(&mut self, handle: Handle, value: &[u8]) -> Result<(), Trouble> {
        let row = RowRef::parse(handle, value)?;
        if row.deleted.is_none() {
            match row.kind {
                Kind::User => self.users += 1,
                Kind::Group => self.groups += 1,
            }
        }
        self.links += row.link_count()?;
        Ok(())
    }
}

/// How many rows the tables of a snapshot have together, [`STATE`] left out.
pub(super) fn rows_of(transaction: &ReadTransaction) -> Result<BTreeMap<String, u64>, Trouble> {
    struct Lengths<'a>(&'a ReadTransaction, BTreeMap<String, u64>);
    impl EachTable for Lengths<'_> {
        type Error = Trouble;
        fn table<K: Sealed>(
            &mut self,
            table: TableDefinition<'static, K, Bytes>,
            _seal: Seal,
        ) -> Result<(), Trouble> {
            let rows = self.0.open_table(table)?.len()?;
            self.1.insert(label(&table), rows);
            Ok(())
        }
    }
    let mut lengths = Lengths(transaction, BTreeMap::new());
    each_table(&mut lengths)?;
    Ok(lengths.1)
}

/// A table's name.
pub(super) fn label<K: redb::Key, V: redb::Value>(table: &TableDefinition<'_, K, V>) -> String {
    redb::TableHandle::name(table).to_owned()
}

/// Reads every row of a file, and checks its seal. `share`: how far that is, from 0 to 1.
pub(super) fn verify(db: &Database, share: &dyn Fn(f32)) -> Result<Counted, Trouble> {
    struct Verify<'a> {
        transaction: &'a ReadTransaction,
        counted: Counted,
        done: u64,
        all: u64,
        share: &'a dyn Fn(f32),
    }
    impl EachTable for Verify<'_> {
        type Error = Trouble;
        fn table<K: Sealed>(
            &mut self,
            table: TableDefinition<'static, K, Bytes>,
            seal: Seal,
        ) -> Result<(), Trouble> {
            let rows: ReadOnlyTable<K, Bytes> = self.transaction.open_table(table)?;
            let mut count = 0;
            for entry in redb::ReadableTable::iter(&rows)? {
                let (key, value) = entry?;
                self.counted.row::<K>(seal, &key.value(), value.value())?;
                count += 1;
                self.done += 1;
                if self.done.is_multiple_of(10_000) {
                    (self.share)(fraction(self.done, self.all));
                }
            }
            self.counted.tables.insert(label(&table), count);
            Ok(())
        }
    }
    let transaction = db.begin_read()?;
    for entry in redb::ReadableTable::iter(&transaction.open_table(STATE)?)? {
        let (key, value) = entry?;
        tables::unseal(Seal::State, key.value(), value.value())?;
    }
    let mut verify = Verify {
        all: rows_of(&transaction)?.values().sum(),
        transaction: &transaction,
        counted: Counted::default(),
        done: 0,
        share,
    };
    each_table(&mut verify)?;
    Ok(verify.counted)
}

/// What a backup says of itself; `None`: the file is no backup.
pub(super) fn load(db: &impl ReadableDatabase) -> Result<Option<Manifest>, Trouble> {
    let state = db.begin_read()?.open_table(STATE)?;
    match tables::read(&state, Seal::State, name::BACKUP)? {
        Some(bytes) => from_json(&bytes).map(Some),
        None => Ok(None),
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a fraction for people"
)]
pub(super) fn fraction(done: u64, all: u64) -> f32 {
    (done as f64 / all.max(1) as f64).min(1.0) as f32
}
