//! The tables of the file, and the seal on every row.
//!
//! redb checks pages only while it opens a file (78 % of single flipped bits gave silently wrong rows afterwards), so
//! every value ends in a CRC32 over its table, its key and itself. A row that does not fit is refused, never served.

use redb::{AccessGuard, ReadableTable, TableDefinition};

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::Handle;

/// Raw bytes, as redb's types name them.
pub(super) type Bytes = &'static [u8];

/// Handle -> resource.
pub(super) const ROWS: TableDefinition<'static, u64, Bytes> = TableDefinition::new("rows");
/// Look-up keys, edges, due marks and counters, by tag: see [`super::keys`].
pub(super) const KEYS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("keys");
/// Handle and application -> mark.
pub(super) const MARKS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("marks");
/// Intent -> the change set that is committed if nobody lives to say how it went.
pub(super) const INTENTS: TableDefinition<'static, u64, Bytes> = TableDefinition::new("intents");
/// Sequence -> hash and record.
pub(super) const JOURNAL: TableDefinition<'static, u64, Bytes> = TableDefinition::new("journal");
/// By person, by application, by cause: derived in batches.
pub(super) const INDEX: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("index");
/// Time and place in it -> note of a read.
pub(super) const READS: TableDefinition<'static, (u64, u64), Bytes> = TableDefinition::new("reads");
/// A handful of named values.
pub(super) const STATE: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("state");

/// What this build reads and writes. A file with a higher number is refused, one with a lower is migrated.
pub(super) const SCHEMA: u64 = 4;
/// Handles in a block of the live counts.
pub(super) const BLOCK: u64 = 1024;

/// Names in [`STATE`].
pub(super) mod name {
    pub(in crate::store) const SCHEMA: &[u8] = b"schema";
    pub(in crate::store) const INSTANCE: &[u8] = b"instance";
    pub(in crate::store) const HEAD: &[u8] = b"head";
    pub(in crate::store) const CONFIG: &[u8] = b"config";
    /// What a backup says of itself; in no data file that serves.
    pub(in crate::store) const BACKUP: &[u8] = b"backup";
    /// The file was restored, and nothing of it was sent on yet: see [`super::super::restored`].
    pub(in crate::store) const RESTORED: &[u8] = b"restored";
    /// One row an application follows this.
    pub(in crate::store) const APPLICATION: &str = "application/";
    /// One row an application that is being swept follows this.
    pub(in crate::store) const SWEEP: &str = "sweep/";
    /// One row a set of people that are planned together follows this: application and number.
    pub(in crate::store) const SET: &str = "set/";
    /// One row an application that was imported follows this.
    pub(in crate::store) const IMPORT: &str = "import/";
    /// One row an application that was called follows this.
    pub(in crate::store) const PATIENCE: &str = "patience/";
    /// The groups that policies are bound to.
    pub(in crate::store) const POLICIES: &[u8] = b"policies";
}

/// Why a row was not had.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The row is not what was written.
    Damaged(String),
    /// The engine or the disk failed.
    Engine(String),
}

impl From<redb::StorageError> for Trouble {
    fn from(error: redb::StorageError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<redb::TableError> for Trouble {
    fn from(error: redb::TableError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<redb::TransactionError> for Trouble {
    fn from(error: redb::TransactionError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<redb::CommitError> for Trouble {
    fn from(error: redb::CommitError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Damaged(text) => Self::Internal(format!("damaged row: {text}")),
            Trouble::Engine(text) => Self::Internal(format!("data file: {text}")),
        }
    }
}

/// A table's place in the checksum, so that a row is not taken for one of another table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seal {
    Row = 1,
    Key = 2,
    Mark = 3,
    Intent = 4,
    Journal = 5,
    Index = 6,
    State = 7,
    Read = 8,
}

fn checksum(seal: Seal, key: &[u8], value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[seal as u8]);
    crc.update(key);
    crc.update(value);
    crc.finalize()
}

/// `value` with its checksum behind it.
pub(super) fn seal(seal: Seal, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = checksum(seal, key, &value);
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

/// The value without its checksum, if that fits.
pub(super) fn unseal<'a>(seal: Seal, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], Trouble> {
    let whole = stored
        .split_last_chunk::<4>()
        .filter(|(value, crc)| checksum(seal, key, value) == u32::from_le_bytes(**crc));
    match whole {
        Some((value, _)) => Ok(value),
        None => Err(Trouble::Damaged(format!(
            "{seal:?} {}: its checksum does not fit",
            printable(key)
        ))),
    }
}

/// A key for the log: letters as they are, the rest in hex, at most 80 bytes of it.
fn printable(key: &[u8]) -> String {
    key.iter()
        .take(80)
        .flat_map(|byte| std::ascii::escape_default(*byte))
        .map(char::from)
        .collect()
}

/// A value out of a table with byte keys.
pub(super) fn read(
    table: &impl ReadableTable<Bytes, Bytes>,
    kind: Seal,
    key: &[u8],
) -> Result<Option<Vec<u8>>, Trouble> {
    let Some(found) = table.get(key)? else {
        return Ok(None);
    };
    Ok(Some(unseal(kind, key, found.value())?.to_vec()))
}

/// The handle under a unique key.
pub(super) fn read_handle(
    keys: &impl ReadableTable<Bytes, Bytes>,
    key: &[u8],
) -> Result<Option<Handle>, Trouble> {
    Ok(read_number(keys, key)?.map(Handle))
}

/// The number under a key.
pub(super) fn read_number(
    keys: &impl ReadableTable<Bytes, Bytes>,
    key: &[u8],
) -> Result<Option<u64>, Trouble> {
    let Some(found) = keys.get(key)? else {
        return Ok(None);
    };
    number(unseal(Seal::Key, key, found.value())?).map(Some)
}

/// Eight bytes as a number.
pub(super) fn number(bytes: &[u8]) -> Result<u64, Trouble> {
    match bytes.try_into() {
        Ok(eight) => Ok(u64::from_be_bytes(eight)),
        Err(_) => Err(Trouble::Damaged("a number is not eight bytes".into())),
    }
}

/// Calls `each` with the keys (and values) that start with `prefix`, from `from` on, until it says stop.
pub(super) fn scan(
    table: &impl ReadableTable<Bytes, Bytes>,
    kind: Seal,
    prefix: &[u8],
    from: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<std::ops::ControlFlow<()>, Trouble>,
) -> Result<(), Trouble> {
    let end = after(prefix);
    for entry in table.range::<&[u8]>(from..end.as_slice())? {
        let (key, value): (AccessGuard<'_, Bytes>, AccessGuard<'_, Bytes>) = entry?;
        let value = unseal(kind, key.value(), value.value())?;
        if each(key.value(), value)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The first key behind all that start with `prefix`. Prefixes start with a tag, which is never 0xff.
pub(super) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The counters that every commit moves, in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// The first handle that no stored row or intent ever had.
    pub(super) next_handle: u64,
    /// The journal's next sequence; the first is 1.
    pub(super) next_sequence: u64,
    /// The next intent.
    pub(super) next_intent: u64,
    /// The next generation of a mark. One counter for all of them, so that a cleared and newly set mark is never
    /// taken for the one before.
    pub(super) next_generation: u64,
    /// The time of the last record.
    pub(super) last_time: Timestamp,
    /// The first sequence that the journal's index does not have yet.
    pub(super) indexed: u64,
    /// The hash of the last record.
    pub(super) hash: [u8; 32],
}

impl Default for Head {
    fn default() -> Self {
        Self {
            next_handle: 1,
            next_sequence: 1,
            next_intent: 1,
            next_generation: 1,
            last_time: Timestamp(0),
            indexed: 1,
            hash: [0; 32],
        }
    }
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        for number in [
            self.next_handle,
            self.next_sequence,
            self.next_intent,
            self.next_generation,
            self.last_time.0,
            self.indexed,
        ] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.hash);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Trouble> {
        let damaged = || Trouble::Damaged("the head row has the wrong length".into());
        let (numbers, hash) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
        let (chunks, rest) = numbers.as_chunks::<8>();
        let [handle, sequence, intent, generation, time, indexed] = chunks else {
            return Err(damaged());
        };
        if !rest.is_empty() {
            return Err(damaged());
        }
        Ok(Self {
            next_handle: u64::from_be_bytes(*handle),
            next_sequence: u64::from_be_bytes(*sequence),
            next_intent: u64::from_be_bytes(*intent),
            next_generation: u64::from_be_bytes(*generation),
            last_time: Timestamp(u64::from_be_bytes(*time)),
            indexed: u64::from_be_bytes(*indexed),
            hash: *hash,
        })
    }

    /// The head row, or the one of an empty file.
    pub(super) fn load(state: &impl ReadableTable<Bytes, Bytes>) -> Result<Self, Trouble> {
        match read(state, Seal::State, name::HEAD)? {
            Some(bytes) => Self::decode(&bytes),
            None => Ok(Self::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_sealed_value_shows() {
        let sealed = seal(Seal::Row, &7_u64.to_be_bytes(), b"some value".to_vec());
        assert_eq!(
            unseal(Seal::Row, &7_u64.to_be_bytes(), &sealed).expect("whole"),
            b"some value"
        );
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(Seal::Row, &7_u64.to_be_bytes(), &flipped).is_err());
        }
        assert!(unseal(Seal::Row, &8_u64.to_be_bytes(), &sealed).is_err());
        assert!(unseal(Seal::Mark, &7_u64.to_be_bytes(), &sealed).is_err());
        assert!(unseal(Seal::Row, b"", b"abc").is_err());
    }

    #[test]
    fn the_head_reads_back() {
        let head = Head {
            next_handle: 9,
            next_sequence: 4,
            next_intent: 3,
            next_generation: 12,
            last_time: Timestamp(77),
            indexed: 2,
            hash: [5; 32],
        };
        assert_eq!(Head::decode(&head.encode()).expect("whole"), head);
        assert!(Head::decode(&head.encode()[1..]).is_err());
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_all_of_it() {
        for (prefix, end) in [
            (&b"ab"[..], &b"ac"[..]),
            (b"a\xff", b"b"),
            (b"a\xff\xff", b"b"),
        ] {
            assert_eq!(after(prefix), end);
        }
    }
}
