//! The store as the rest of the program holds it: snapshots for reading, and one thread that writes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::{Database, ReadableDatabase};
use tokio::sync::{mpsc, watch};

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::{Handle, Id};

use super::apply::Writer;
use super::ids::Instance;
use super::marker::Marker;
use super::open::OpenError;
use super::patience::Unwritten;
use super::queue::Door;
use super::reads::ReadNote;
use super::tables::Trouble;
use super::view::View;
use super::writer::{Shared, last_sequence, write};

/// The directory, its marks, intents and journal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) db: Arc<Database>,
    pub(super) instance: Instance,
    pub(super) next_handle: AtomicU64,
    pub(super) shared: Arc<Shared>,
    pub(super) door: Door,
    pub(super) marker: Option<Marker>,
    pub(super) rolled_forward: usize,
    pub(super) notes: mpsc::Sender<ReadNote>,
    pub(super) unwritten: Unwritten,
    /// Milliseconds. 0: reads are not noted.
    pub(super) keep_reads: AtomicU64,
}

/// What the writer has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Durable transactions.
    pub commits: u64,
    /// Rows inserted and removed.
    pub rows: u64,
    /// Notes of reads that are on disk.
    pub notes: u64,
    /// Notes of reads that were dropped: the buffer was full, or the disk nearly so.
    pub notes_dropped: u64,
    /// Requests that wait for the writer.
    pub waiting: usize,
    /// How long the last batch took to be on disk; zero: there was none.
    pub last_commit: Duration,
}

/// How the writer runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Running {
    /// In its own thread, behind a queue of this length.
    Thread(usize),
    /// On its caller.
    Inline,
}

impl Store {
    pub(super) fn start(
        writer: Writer,
        db: Arc<Database>,
        instance: Instance,
        marker: Option<Marker>,
        rolled_forward: usize,
        keep_reads: Duration,
        running: Running,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            broken: watch::Sender::new(None),
            committed: watch::Sender::new(0),
            sweeps: watch::Sender::new(0),
            last_sequence: AtomicU64::new(last_sequence(&writer.head)),
            commits: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            noted: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            full: AtomicBool::new(false),
            restored: watch::Sender::new(writer.restored.clone()),
            prune: AtomicU64::new(0),
            knocked: AtomicU64::new(0),
            last_commit: AtomicU64::new(0),
        });
        let notes = writer.notes.sender();
        let unwritten = writer.unwritten.clone();
        let next_handle = AtomicU64::new(writer.head.next_handle);
        let door = match running {
            Running::Inline => Door::Inline(Box::new(Mutex::new(writer))),
            Running::Thread(length) => {
                let (queue, requests) = mpsc::channel(length.max(1));
                let told = Arc::clone(&shared);
                let thread = std::thread::Builder::new()
                    .name("usher-writer".into())
                    .spawn(move || write(writer, requests, &told))
                    .map_err(|error| OpenError::Failed(format!("no writer thread: {error}")))?;
                Door::Thread {
                    queue: Mutex::new(Some(queue)),
                    thread: Mutex::new(Some(thread)),
                }
            }
        };
        Ok(Self(Arc::new(Inner {
            db,
            instance,
            next_handle,
            shared,
            door,
            marker,
            rolled_forward,
            notes,
            unwritten,
            keep_reads: AtomicU64::new(milliseconds(keep_reads)),
        })))
    }

    /// A consistent snapshot of what is committed.
    ///
    /// # Errors
    /// [`Fault::Internal`]: the disk.
    pub fn view(&self) -> Result<View, Fault> {
        let transaction = self.0.db.begin_read().map_err(Trouble::from)?;
        Ok(View::new(transaction, self.0.instance)?)
    }

    /// The next handle, and an id that carries it. `random`: 34 random bits in the upper five bytes.
    #[must_use]
    pub fn mint(&self, now: Timestamp, random: u64) -> (Handle, Id) {
        let handle = Handle(self.0.next_handle.fetch_add(1, Ordering::Relaxed));
        (handle, self.0.instance.mint(handle, now, random))
    }

    /// Why the store takes no writes any more, as soon as that is so. The process is expected to end with 75 then.
    #[must_use]
    pub fn broken(&self) -> watch::Receiver<Option<String>> {
        self.0.shared.broken.subscribe()
    }

    /// Changes with every durable transaction: whoever waits for marks looks again then.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.shared.committed.subscribe()
    }

    /// Whether a commit has failed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.shared.broken.borrow().is_some()
    }

    /// How many intents the last process left, all of them committed as unknown at the start.
    #[must_use]
    pub fn rolled_forward(&self) -> usize {
        self.0.rolled_forward
    }

    /// The journal's last sequence that is on disk.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.0.shared.last_sequence.load(Ordering::Acquire)
    }

    /// What the writer has done since the start.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            commits: self.0.shared.commits.load(Ordering::Relaxed),
            rows: self.0.shared.rows.load(Ordering::Relaxed),
            notes: self.0.shared.noted.load(Ordering::Relaxed),
            notes_dropped: self.0.shared.dropped.load(Ordering::Relaxed),
            waiting: self.waiting(),
            last_commit: Duration::from_micros(self.0.shared.last_commit.load(Ordering::Relaxed)),
        }
    }

    /// Where the data file is; `None` in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.marker.as_ref().map(Marker::data)
    }

    /// Takes no more writes, lets those that have a place finish, and renews the marker. The file is closed when the
    /// last clone of the store and the last view are gone. Blocks until the queue is empty.
    ///
    /// # Errors
    /// The disk's, from writing the marker.
    pub fn close(&self) -> std::io::Result<()> {
        if let Door::Thread { queue, thread } = &self.0.door {
            drop(lock(queue).take());
            if let Some(thread) = lock(thread).take() {
                // A panic over there has marked the store as broken.
                let _ended = thread.join();
            }
        }
        self.renew_marker()
    }
}

#[cfg(test)]
impl Store {
    /// Whether its writer runs on its caller.
    pub(crate) fn is_inline(&self) -> bool {
        matches!(self.0.door, Door::Inline(_))
    }

    /// A second writer on the same file, for tests that hand it whole batches.
    pub(super) fn writer_for_tests(&self) -> Writer {
        let Door::Inline(writer) = &self.0.door else {
            panic!("only inline");
        };
        let head = lock(writer).head.clone();
        Writer::new(Arc::clone(&self.0.db), self.0.instance, head, false)
    }

    /// Derives the journal's index to its end.
    pub(super) fn index_for_tests(&self) {
        let Door::Inline(writer) = &self.0.door else {
            panic!("only inline");
        };
        let done = lock(writer).transact(|transaction| transaction.index());
        done.expect("indexed");
    }

    /// The first sequence that is not indexed.
    pub(super) fn indexed_for_tests(&self) -> u64 {
        match &self.0.door {
            Door::Inline(writer) => lock(writer).head.indexed,
            Door::Thread { .. } => panic!("only inline"),
        }
    }
}

pub(super) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Nothing behind these locks is left half-done by a panic: the writer's head moves after its commit.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
