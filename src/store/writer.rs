//! The thread that writes. Everything that waits goes into one transaction; left-over work is done behind it.
//!
//! A failed commit is unknown: from then on the store is broken and refuses every write, and the process is expected to
//! end; the next start settles what was on the way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::{Timestamp, monotonic};

use super::apply::{CommitError, Done, Job, Writer};
use super::reads;
use super::restored::{self, Restored};
use super::tables::{Head, Trouble};

/// Requests that one transaction takes.
const BATCH: usize = 256;
/// Records without index at which an idle writer derives it.
const INDEX_AT: u64 = 1_000;
/// ... and at which it does so though requests wait.
const INDEX_NOW: u64 = 8_000;
/// Batches after which a slice of left-over work is done though requests wait.
const PATIENCE: u64 = 16;

/// What the writer tells the rest.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) broken: watch::Sender<Option<String>>,
    pub(super) committed: watch::Sender<u64>,
    /// Sweeps that have begun.
    pub(super) sweeps: watch::Sender<u64>,
    pub(super) last_sequence: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) noted: AtomicU64,
    /// Notes of reads that were dropped.
    pub(super) dropped: AtomicU64,
    /// The disk is nearly full.
    pub(super) full: AtomicBool,
    /// What was restored and takes no writes until it is confirmed.
    pub(super) restored: watch::Sender<Option<Restored>>,
    /// Notes older than this are to be pruned; 0: nobody asked.
    pub(super) prune: AtomicU64,
    /// When the writer was asked for a sign of life that it has not given yet, in milliseconds of [`monotonic`] and one
    /// more; 0: it has.
    pub(super) knocked: AtomicU64,
    /// How long the last batch took to be on disk, in microseconds.
    pub(super) last_commit: AtomicU64,
}

/// What the writer's thread is sent.
#[derive(Debug)]
pub(super) enum Message {
    Do(Request),
    /// Look at the notes of reads: they wait to be written, or are old enough to be pruned. With none it is a knock.
    Notes,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) job: Job,
    pub(super) reply: oneshot::Sender<Result<Done, CommitError>>,
}

impl Shared {
    /// The store takes no writes any more.
    pub(super) fn fail(&self, text: &str) -> CommitError {
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            if first {
                *broken = Some(text.to_owned());
            }
            first
        });
        CommitError::Failed(text.to_owned())
    }

    /// The writer's sign of life: it has come round to what is asked of it.
    fn alive(&self) {
        self.knocked.store(0, Ordering::Release);
    }

    /// Tells the writer what it was asked to prune.
    pub(super) fn asked(&self, writer: &mut Writer) {
        match self.prune.swap(0, Ordering::AcqRel) {
            0 => {}
            before => writer.prune = Some(Timestamp(before)),
        }
    }

    pub(super) fn note(&self, writer: &Writer) {
        self.last_sequence
            .store(last_sequence(&writer.head), Ordering::Release);
        self.commits.store(writer.commits, Ordering::Relaxed);
        self.rows.store(writer.written, Ordering::Relaxed);
        self.noted.store(writer.noted, Ordering::Relaxed);
        self.sweeps
            .send_if_modified(|begun| std::mem::replace(begun, writer.begun) != writer.begun);
        if writer.restored.is_none() && self.restored.borrow().is_some() {
            self.restored.send_replace(None);
        }
        self.committed.send_if_modified(|commits| {
            std::mem::replace(commits, writer.commits) != writer.commits
        });
    }
}

/// Marks the store as broken when the writer's thread unwinds.
struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the writer panicked");
        }
    }
}

/// The writer's thread.
pub(super) fn write(mut writer: Writer, mut requests: mpsc::Receiver<Message>, shared: &Shared) {
    let _guard = Guard(shared);
    let (mut jobs, mut replies) = (Vec::new(), Vec::new());
    let mut busy = 0;
    loop {
        shared.alive();
        // Left-over work waits for requests, but not for ever.
        busy = if requests.is_empty() {
            PATIENCE
        } else {
            busy + 1
        };
        // After a failed commit nobody knows what left-over work would build on.
        if busy >= PATIENCE && shared.broken.borrow().is_none() {
            let idle = requests.is_empty();
            match step(&mut writer, idle) {
                Ok(more) => {
                    shared.note(&writer);
                    if more && requests.is_empty() && !requests.is_closed() {
                        continue;
                    }
                }
                Err(text) => {
                    shared.fail(&text);
                }
            }
            busy = 0;
        }
        let Some(first) = requests.blocking_recv() else {
            break;
        };
        shared.alive();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Do(Request { job, reply }) => {
                    jobs.push(job);
                    replies.push(reply);
                }
                Message::Notes => shared.asked(&mut writer),
            }
            if jobs.len() < BATCH {
                next = requests.try_recv().ok();
            }
        }
        let broken = shared.broken.borrow().clone();
        let begun = monotonic();
        let results = match broken {
            Some(text) => Err(text),
            None => writer.apply(&mut jobs),
        };
        if !jobs.is_empty() {
            let took = monotonic().saturating_sub(begun).as_micros();
            let took = u64::try_from(took).unwrap_or(u64::MAX);
            shared.last_commit.store(took, Ordering::Relaxed);
        }
        // Before anybody hears of it: who reads the last sequence after an answer finds it.
        shared.note(&writer);
        jobs.clear();
        match results {
            Ok(results) => {
                for (reply, result) in replies.drain(..).zip(results) {
                    // Nobody may be waiting any more.
                    let _sent = reply.send(result);
                }
            }
            Err(text) => {
                let failed = shared.fail(&text);
                for reply in replies.drain(..) {
                    let _sent = reply.send(Err(failed.clone()));
                }
            }
        }
    }
    // Closed: the notes that still wait have nobody else to write them.
    for _ in 0..=reads::BUFFER / reads::SLICE {
        if shared.broken.borrow().is_some() {
            break;
        }
        if let Err(text) = writer.apply(&mut []) {
            shared.fail(&text);
        }
        shared.note(&writer);
    }
}

/// One slice of left-over work, in a transaction of its own. Whether there is more.
pub(super) fn step(writer: &mut Writer, idle: bool) -> Result<bool, String> {
    let unindexed = |writer: &Writer| {
        let next = writer.head.next_sequence;
        next.saturating_sub(writer.head.indexed)
    };
    // A commit takes a slice along; with more than that the buffer could run full before the next.
    if idle && writer.notes.len() >= reads::SLICE {
        writer.apply(&mut [])?;
        return Ok(true);
    }
    // Nothing is taken before this is done, so nothing goes before it.
    if writer.doubts {
        let left = writer.transact(restored::doubt);
        writer.restored = left.map_err(|(Trouble::Damaged(text) | Trouble::Engine(text))| text)?;
        writer.doubts = writer.restored.is_some();
        return Ok(true);
    }
    if writer.stuck {
        return Ok(false);
    }
    let done = if writer.sweeps {
        // `transact` only ever raises the flag.
        let swept = writer.transact(|transaction| transaction.sweep());
        swept.map(|more| writer.sweeps = more)
    } else if unindexed(writer) >= if idle { INDEX_AT } else { INDEX_NOW } {
        writer.transact(|transaction| transaction.index())
    } else if let Some(before) = writer.prune {
        let pruned = writer.prune_notes(before);
        pruned.map(|more| writer.prune = writer.prune.filter(|_| more))
    } else {
        return Ok(false);
    };
    match done {
        Ok(()) => Ok(writer.sweeps || unindexed(writer) >= INDEX_AT || writer.prune.is_some()),
        Err(Trouble::Engine(text)) => Err(text),
        Err(Trouble::Damaged(text)) => {
            tracing::error!("the data file's left-over work stops until the next start: {text}");
            writer.stuck = true;
            Ok(false)
        }
    }
}

pub(super) fn last_sequence(head: &Head) -> u64 {
    head.next_sequence.saturating_sub(1)
}
