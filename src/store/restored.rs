//! A directory that `usher restore` put in place: read-only until a person confirms that it is the right one.
//!
//! What a backup says of the applications may have changed since it was taken. So nothing is sent on its strength: after
//! the confirmation every link is made uncertain and every account is marked, in slices, and only then are writes taken
//! and accounts read back, at the applications' own pace.

use redb::{ReadableDatabase, ReadableTable};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::provision::link::Uncertain;
use crate::scim::{Handle, Kind, Resource};

use super::apply::{CommitError, Done, Job};
use super::change::{Lane, MarkEdit};
use super::front::Store;
use super::keys;
use super::manifest::{Manifest, rfc3339};
use super::queue::{Door, mixed_up};
use super::row::RowRef;
use super::tables::{self, STATE, Seal, Trouble, name};
use super::transaction::{Transaction, from_json, json};
use super::view::View;

/// What a client is told whose write is refused.
pub(super) const REFUSAL: &str = "The gateway's directory was restored from a backup. It takes no changes until an administrator \
     confirms with `usher confirm` that it is the right one. Reads go on.";

/// Rows that one transaction looks at; each may be written with two more for each of its links.
const SLICE: usize = 300;

/// What was restored, and how far its confirmation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// What was put in place.
    pub manifest: Manifest,
    /// When.
    #[serde(with = "rfc3339")]
    pub restored: Timestamp,
    /// When a person confirmed it. Writes are taken when its links are doubted, too.
    pub confirmed: Option<Timestamp>,
    /// Links that are uncertain by that.
    pub doubted: u64,
    /// The first handle that is not doubted yet.
    pub(super) next: u64,
}

impl Restored {
    pub(super) fn new(manifest: Manifest, now: Timestamp) -> Self {
        Self {
            manifest,
            restored: now,
            confirmed: None,
            doubted: 0,
            next: 0,
        }
    }
}

impl Store {
    /// What was restored and takes no writes yet. It is what stood there when the store was opened.
    #[must_use]
    pub fn restored(&self) -> Option<Restored> {
        self.0.shared.restored.borrow().clone()
    }

    /// Whether the directory was restored and takes no writes yet.
    #[must_use]
    pub fn is_unconfirmed(&self) -> bool {
        self.0.shared.restored.borrow().is_some()
    }

    /// Refuses a write to a directory that was restored and is not confirmed.
    ///
    /// # Errors
    /// [`Fault::Unavailable`].
    pub fn refuse_unconfirmed(&self) -> Result<(), Fault> {
        if self.is_unconfirmed() {
            return Err(Fault::Unavailable {
                retry_after: 60,
                detail: REFUSAL.into(),
            });
        }
        Ok(())
    }

    /// Waits until the directory is not one that was restored and is not confirmed. Nothing is sent before.
    pub async fn confirmed(&self) {
        let mut restored = self.0.shared.restored.subscribe();
        // The sender lives in `self`.
        let _gone = restored.wait_for(Option::is_none).await;
    }

    /// Confirms what was restored, durably, and waits until every link of it is uncertain. Whether there was something
    /// to confirm.
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub async fn confirm(&self, now: Timestamp) -> Result<bool, CommitError> {
        let mut broken = self.broken();
        let Done::Confirmed(waited) = self.run(Job::Confirm(now)).await? else {
            return Err(mixed_up());
        };
        if let Door::Inline(_) = self.0.door {
            self.tidy()?;
        }
        tokio::select! {
            () = self.confirmed() => Ok(waited),
            Ok(why) = broken.wait_for(Option::is_some) => {
                Err(CommitError::Failed(why.clone().unwrap_or_default()))
            }
        }
    }
}

impl View {
    /// What was restored and takes no writes yet, as far as its confirmation is.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn restored(&self) -> Result<Option<Restored>, Fault> {
        Ok(read(&self.table(STATE)?)?)
    }
}

pub(super) fn load(db: &impl ReadableDatabase) -> Result<Option<Restored>, Trouble> {
    read(&db.begin_read()?.open_table(STATE)?)
}

fn read(
    state: &impl ReadableTable<tables::Bytes, tables::Bytes>,
) -> Result<Option<Restored>, Trouble> {
    match tables::read(state, Seal::State, name::RESTORED)? {
        Some(bytes) => from_json(&bytes).map(Some),
        None => Ok(None),
    }
}

/// The one place where a confirmation begins: from here on [`doubt`] goes through the links. Whether there was something
/// to confirm.
pub(super) fn confirmed(
    transaction: &mut Transaction<'_>,
    now: Timestamp,
) -> Result<bool, Trouble> {
    let Some(bytes) = transaction.state(name::RESTORED)? else {
        return Ok(false);
    };
    let mut restored: Restored = from_json(&bytes)?;
    restored.confirmed.get_or_insert(now);
    transaction.put_state(name::RESTORED, json(&restored)?)?;
    transaction.doubts = true;
    Ok(true)
}

/// The next slice of what a confirmation began: links become uncertain, so that each account is read back before
/// anything is sent to it, and marks have that done soon. What is left; `None`: all is done, and writes are taken.
pub(super) fn doubt(transaction: &mut Transaction<'_>) -> Result<Option<Restored>, Trouble> {
    let Some(bytes) = transaction.state(name::RESTORED)? else {
        return Ok(None);
    };
    let mut restored: Restored = from_json(&bytes)?;
    let Some(since) = restored.confirmed else {
        return Ok(Some(restored));
    };
    let (last, resources) = slice(transaction, restored.next)?;
    let Some(last) = last else {
        transaction.drop_state(name::RESTORED)?;
        return Ok(None);
    };
    for before in resources {
        restored.doubted += doubt_links(transaction, &before, since)?;
    }
    restored.next = last.saturating_add(1);
    transaction.put_state(name::RESTORED, json(&restored)?)?;
    Ok(Some(restored))
}

/// The last handle of the next rows, and those of them that have links.
fn slice(
    transaction: &Transaction<'_>,
    from: u64,
) -> Result<(Option<u64>, Vec<Resource>), Trouble> {
    let (mut last, mut found) = (None, Vec::new());
    for entry in transaction.rows.range(from..)?.take(SLICE) {
        let (handle, stored) = entry?;
        let handle = handle.value();
        last = Some(handle);
        let decoded = tables::unseal(Seal::Row, &handle.to_be_bytes(), stored.value())
            .and_then(|bytes| RowRef::parse(Handle(handle), bytes)?.decode());
        match decoded {
            Ok(resource) if resource.links.is_empty() => {}
            Ok(resource) => found.push(resource),
            // Whoever would send something on its strength has to read it first, and cannot.
            Err(Trouble::Damaged(text)) => tracing::error!("a damaged row is left alone: {text}"),
            Err(trouble) => return Err(trouble),
        }
    }
    Ok((last, found))
}

/// How many links that were.
fn doubt_links(
    transaction: &mut Transaction<'_>,
    before: &Resource,
    since: Timestamp,
) -> Result<u64, Trouble> {
    let mut after = before.clone();
    let mut count = 0;
    for link in &mut after.links {
        count += 1;
        link.uncertain.get_or_insert(Uncertain {
            intended: since,
            sent: since,
        });
        if before.kind == Kind::Group && link.remote_id.is_some() {
            transaction.compare_again(&link.application, before.handle)?;
        }
        // A mark that stands is due when it is due, and finds the link uncertain then: what is held stays held.
        let key = keys::mark(before.handle, &link.application);
        if transaction.mark(&key)?.is_none() {
            let set = MarkEdit::Set {
                handle: before.handle,
                application: link.application.clone(),
                due: since,
                attempts: 0,
                lane: match before.kind {
                    Kind::User => Lane::Update,
                    Kind::Group => Lane::Group,
                },
                caused: false,
                read: None,
            };
            transaction.edit_mark(&set, None)?;
        }
    }
    transaction.put_row(Some(before), Some(&after))?;
    Ok(count)
}
