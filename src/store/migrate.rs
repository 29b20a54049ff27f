//! What an older build wrote becomes what this one reads: a copy of the file first, then one transaction. A crash in
//! between leaves the file as it was, and the next start goes on from the copy.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use serde::Deserialize;

use crate::scim::{Handle, Resource};

use super::change::{ChangeSet, Put};
use super::keys;
use super::marker::{create_private, sync_directory, with_suffix};
use super::open::{Found, OpenError, SMALL_CACHE, check_and_open, failed};
use super::read_only::read_only;
use super::row::RowRef;
use super::tables::{self, Bytes, INTENTS, ROWS, SCHEMA, Seal, Trouble, name};
use super::transaction::{Transaction, from_json, json};

/// Bytes copied between two reports.
const PIECE: u64 = 32 << 20;
/// Rows read before their keys are written.
const SLICE: usize = 1_000;

/// Copies the file that `db` has open, and brings it to [`SCHEMA`]. `progress` hears of both, from 0 to 1.
pub(super) fn with_copy(
    db: &Database,
    path: &Path,
    found: &Found,
    progress: &dyn Fn(f32),
) -> Result<(), OpenError> {
    let copy = with_suffix(path, &format!(".v{}", found.schema));
    tracing::warn!(
        from = found.schema, to = SCHEMA, copy = %copy.display(),
        "an older usher wrote the data file: it is copied, then migrated"
    );
    keep(path, &copy, found, &|share| progress(share / 2.0)).map_err(|error| {
        OpenError::Failed(format!(
            "it is of schema {} and must be copied to {} before it is migrated: {error}",
            found.schema,
            copy.display()
        ))
    })?;
    bring_up(db, found, &|share| progress(0.5 + share / 2.0)).map_err(|trouble| {
        let (Trouble::Damaged(text) | Trouble::Engine(text)) = trouble;
        OpenError::Failed(format!(
            "it could not be brought from schema {} to {SCHEMA} and stays as it was: {text}",
            found.schema
        ))
    })?;
    tracing::info!(copy = %copy.display(), "the data file is migrated; the copy may go when all is well");
    Ok(())
}

/// Makes the copy. One that an interrupted try left is kept; any other file of that name is a person's to move.
fn keep(
    path: &Path,
    copy: &Path,
    found: &Found,
    progress: &dyn Fn(f32),
) -> Result<(), Box<dyn std::error::Error>> {
    if copy.try_exists()? {
        let there = read_only(copy).map_err(|error| failed(copy, error));
        // Every change to the directory moves the head.
        return match there.and_then(|there| Found::load(&there)) {
            Ok(there) if there == *found => Ok(()),
            Ok(_) => Err("there is another state of the file there already; move it away".into()),
            Err(error) => {
                Err(format!("there is a file there already ({error}); move it away").into())
            }
        };
    }
    let new = with_suffix(copy, ".new");
    let made = duplicate(path, &new, progress).and_then(|()| {
        // It gets its name when it is known to open, and is closed cleanly: the file itself is open just now.
        let db = check_and_open(&new, SMALL_CACHE, Duration::ZERO, |_| ())?;
        let same = Found::load(&db)? == *found;
        db.close().map_err(|error| failed(&new, error))?;
        if !same {
            return Err("the copy is not what was copied".into());
        }
        File::open(&new)?.sync_all()?;
        fs::rename(&new, copy)?;
        Ok(sync_directory(copy)?)
    });
    if made.is_err() {
        // Half a copy is worth nothing, and the disk may be full. It may not be there at all.
        let _removed = fs::remove_file(&new);
    }
    made
}

/// Copies a file, and has the copy on disk.
pub(super) fn duplicate(
    from: &Path,
    to: &Path,
    progress: &dyn Fn(f32),
) -> Result<(), Box<dyn std::error::Error>> {
    let from = File::open(from)?;
    let length = from.metadata()?.len();
    let mut to = create_private(to)?;
    let mut done = 0;
    loop {
        let piece = io::copy(&mut (&from).take(PIECE), &mut to)?;
        if piece == 0 {
            break;
        }
        done += piece;
        progress(share(done, length));
    }
    Ok(to.sync_all()?)
}

/// All in one transaction. Schema 3 has records of memberships in the journal, which a build of schema 2 does not read:
/// nothing changes but the number. Schema 4 has change sets of single links.
fn bring_up(db: &Database, found: &Found, progress: &dyn Fn(f32)) -> Result<(), Trouble> {
    let all = db.begin_read()?.open_table(ROWS)?.len()?;
    let mut transaction = db.begin_write()?;
    transaction.set_two_phase_commit(true);
    let mut open = Transaction::open(&transaction, found.instance, found.head.clone())?;
    if found.schema < 2 {
        to_schema_2(&mut open, all, progress)?;
    }
    if found.schema < 4 {
        to_schema_4(&mut open, &db.begin_read()?.open_table(INTENTS)?)?;
    }
    open.put_state(name::SCHEMA, SCHEMA.to_be_bytes().to_vec())?;
    open.finish()?;
    transaction.commit()?;
    Ok(())
}

/// Schema 2 sorts and counts lists by keys: displayName, `meta.lastModified`, `active`.
fn to_schema_2(
    open: &mut Transaction<'_>,
    all: u64,
    progress: &dyn Fn(f32),
) -> Result<(), Trouble> {
    let (mut from, mut done) = (0, 0);
    loop {
        let rows = slice(open, from)?;
        let Some(last) = rows.last() else {
            break;
        };
        from = last.handle.0.saturating_add(1);
        done += rows.len() as u64;
        for resource in rows.iter().filter(|row| row.deleted.is_none()) {
            for key in keys::list_keys(resource) {
                open.put_key(&key, Vec::new())?;
            }
            if let Some(what) = keys::what_active_is(resource) {
                open.count(what, resource.handle, 1);
            }
        }
        progress(share(done, all));
    }
    Ok(())
}

/// Before schema 4 an intent said which rows it erases; since then the writer erases what is deleted and has neither link nor mark.
/// Only a crash leaves intents.
fn to_schema_4(
    open: &mut Transaction<'_>,
    intents: &ReadOnlyTable<u64, Bytes>,
) -> Result<(), Trouble> {
    #[derive(Deserialize)]
    struct Before {
        #[serde(default)]
        erase: Vec<Resource>,
        #[serde(flatten)]
        rest: ChangeSet,
    }
    for entry in intents.iter()? {
        let (intent, stored) = entry?;
        let intent = intent.value();
        let key = intent.to_be_bytes();
        let Before { erase, mut rest } =
            from_json(tables::unseal(Seal::Intent, &key, stored.value())?)?;
        if erase.is_empty() {
            continue;
        }
        rest.puts.extend(erase.into_iter().map(|row| {
            let links = row.links.clone();
            Put {
                expect: Some(row.version),
                before: Some(links),
                resource: Resource {
                    deleted: row.deleted.or(Some(row.modified)),
                    links: Vec::new(),
                    ..row
                },
            }
        }));
        open.put_intent(intent, json(&rest)?)?;
    }
    Ok(())
}

fn slice(transaction: &Transaction<'_>, from: u64) -> Result<Vec<Resource>, Trouble> {
    let mut found = Vec::new();
    for entry in transaction.rows.range(from..)?.take(SLICE) {
        let (handle, stored) = entry?;
        let handle = handle.value();
        let bytes = tables::unseal(Seal::Row, &handle.to_be_bytes(), stored.value())?;
        found.push(RowRef::parse(Handle(handle), bytes)?.decode()?);
    }
    Ok(found)
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a fraction for people"
)]
fn share(done: u64, all: u64) -> f32 {
    (done as f64 / all.max(1) as f64).min(1.0) as f32
}
