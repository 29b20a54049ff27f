//! What somebody has to ask for now and then: notes of reads, free space, the marker, left-over work.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::{Timestamp, monotonic};

use super::apply::CommitError;
use super::front::{Store, lock, milliseconds};
use super::queue::Door;
use super::reads::{self, ReadNote};
use super::space;
use super::writer::{Message, step};

impl Store {
    /// How long notes of reads are kept from now on; zero: reads are not noted, and what was noted goes.
    pub fn keep_reads(&self, span: Duration) {
        self.0
            .keep_reads
            .store(milliseconds(span), Ordering::Relaxed);
    }

    /// Notes an answered read, unless none are kept. Never waits: a note that finds the buffer or the disk full is
    /// dropped and counted.
    pub fn note(&self, note: ReadNote) {
        if self.0.keep_reads.load(Ordering::Relaxed) == 0 {
            return;
        }
        if self.disk_nearly_full() || self.0.notes.try_send(note).is_err() {
            self.0.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A whole transaction's worth need not wait out its second, in which the buffer could run full.
        let waiting = self.0.notes.max_capacity() - self.0.notes.capacity();
        if waiting.is_multiple_of(reads::SLICE) {
            self.wake();
        }
    }

    /// Has the notes that wait written, and what was heard of applications, if there are any. To be called each second: a
    /// commit takes them along, but there may be none. Inline it blocks on the disk.
    pub fn write_notes(&self) {
        let noted = self.0.notes.capacity() < self.0.notes.max_capacity();
        if !noted && self.0.unwritten.is_empty() {
            return;
        }
        match &self.0.door {
            Door::Thread { .. } => self.wake(),
            Door::Inline(writer) => {
                let mut writer = lock(writer);
                if !self.is_broken()
                    && let Err(text) = writer.apply(&mut [])
                {
                    self.0.shared.fail(&text);
                }
                self.0.shared.note(&writer);
            }
        }
    }

    /// Has the notes pruned that are older than they are kept, in slices behind waiting requests. To be called now and
    /// then. Inline it is [`Store::tidy`] that prunes.
    pub fn prune_notes(&self, now: Timestamp) {
        let keep = Duration::from_millis(self.0.keep_reads.load(Ordering::Relaxed));
        let before = now.minus(keep);
        self.0.shared.prune.store(before.0, Ordering::Release);
        self.wake();
    }

    /// Best effort: a full queue means that a commit is about to take the notes along anyway.
    fn wake(&self) {
        if let Door::Thread { queue, .. } = &self.0.door
            && let Some(queue) = lock(queue).as_ref()
        {
            let _sent = queue.try_send(Message::Notes);
        }
    }

    /// Asks the writer for a sign of life; see [`Store::silent_for`]. Costs it nothing but a look.
    pub fn knock(&self) {
        let Door::Thread { queue, .. } = &self.0.door else {
            return;
        };
        let queue = lock(queue);
        let knocked = &self.0.shared.knocked;
        let Some(queue) = queue.as_ref() else {
            // Closed: nobody is expected to answer.
            knocked.store(0, Ordering::Release);
            return;
        };
        let now = milliseconds(monotonic()).saturating_add(1);
        // One that waits already keeps its time.
        let _waits = knocked.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
        // A full queue is as good a reason to come round.
        let _sent = queue.try_send(Message::Notes);
    }

    /// How long the writer has left a knock unanswered; zero: it has answered the last one. One that is in the middle of a
    /// transaction answers after it.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        match self.0.shared.knocked.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => monotonic().saturating_sub(Duration::from_millis(since - 1)),
        }
    }

    /// Requests that wait for the writer.
    pub(super) fn waiting(&self) -> usize {
        match &self.0.door {
            Door::Inline(_) => 0,
            Door::Thread { queue, .. } => lock(queue)
                .as_ref()
                .map_or(0, |queue| queue.max_capacity() - queue.capacity()),
        }
    }

    /// Bytes free where the data file is; `None` in memory. Blocks on a slow disk.
    ///
    /// # Errors
    /// The filesystem's.
    pub fn measure_free_space(&self) -> std::io::Result<Option<u64>> {
        self.path().map(space::free).transpose()
    }

    /// Takes note of how many bytes are free: under [`space::RESERVE`] writes are refused from now on, else they are
    /// taken again. What has a place in the queue is still committed.
    pub fn set_free_space(&self, free: u64) {
        let full = space::nearly_full(free);
        match (self.0.shared.full.swap(full, Ordering::AcqRel), full) {
            (false, true) => tracing::error!(
                free,
                "the disk is nearly full: writes are refused, reads go on"
            ),
            (true, false) => {
                tracing::info!(free, "the disk has room again: writes are taken again");
            }
            _ => {}
        }
    }

    /// Whether writes are refused because the disk is nearly full.
    #[must_use]
    pub fn disk_nearly_full(&self) -> bool {
        self.0.shared.full.load(Ordering::Acquire)
    }

    /// Writes the last sequence into the marker beside the file. Once a minute is enough: it is what an older copy of
    /// the file is told by. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn renew_marker(&self) -> std::io::Result<()> {
        match &self.0.marker {
            Some(marker) => marker.write(self.0.instance, self.last_sequence()),
            None => Ok(()),
        }
    }

    /// Does left-over work until there is none: dropping the edges of the dead, and deriving the journal's index of
    /// what is worth it. The thread does this by itself; a simulation asks for it.
    ///
    /// # Errors
    /// [`CommitError::Failed`].
    pub fn tidy(&self) -> Result<(), CommitError> {
        let Door::Inline(writer) = &self.0.door else {
            return Ok(());
        };
        let mut writer = lock(writer);
        self.0.shared.asked(&mut writer);
        while step(&mut writer, true).map_err(|text| self.0.shared.fail(&text))? {}
        self.0.shared.note(&writer);
        Ok(())
    }
}
