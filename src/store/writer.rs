//! The store as the rest of the program holds it: snapshots for reading, and one thread that writes.
//!
//! Everything that waits goes into one transaction. A failed commit is unknown: from then on the store is broken and
//! refuses every write, and the process is expected to end; the next start settles what was on the way.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, ReadableDatabase};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::{Handle, Id};

use super::apply::{CommitError, Committed, Done, Intent, Job, Writer};
use super::change::ChangeSet;
use super::ids::Instance;
use super::marker::Marker;
use super::open::OpenError;
use super::reads::{self, ReadNote};
use super::space;
use super::tables::{Head, Trouble};
use super::view::View;

/// Requests that one transaction takes.
const BATCH: usize = 256;
/// Records without index at which an idle writer derives it.
const INDEX_AT: u64 = 1_000;
/// ... and at which it does so though requests wait.
const INDEX_NOW: u64 = 8_000;
/// Batches after which a slice of left-over work is done though requests wait.
const PATIENCE: u64 = 16;

/// The directory, its marks, intents and journal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Arc<Database>,
    instance: Instance,
    next_handle: AtomicU64,
    shared: Arc<Shared>,
    door: Door,
    marker: Option<Marker>,
    rolled_forward: usize,
    notes: mpsc::Sender<ReadNote>,
    keep_reads: Duration,
}

/// What the writer tells the rest.
#[derive(Debug)]
struct Shared {
    broken: watch::Sender<Option<String>>,
    committed: watch::Sender<u64>,
    last_sequence: AtomicU64,
    commits: AtomicU64,
    rows: AtomicU64,
    noted: AtomicU64,
    /// Notes of reads that were dropped.
    dropped: AtomicU64,
    /// The disk is nearly full.
    full: AtomicBool,
    /// Notes older than this are to be pruned; 0: nobody asked.
    prune: AtomicU64,
}

#[derive(Debug)]
enum Door {
    Thread {
        queue: Mutex<Option<mpsc::Sender<Message>>>,
        thread: Mutex<Option<JoinHandle<()>>>,
    },
    Inline(Box<Mutex<Writer>>),
}

/// What the writer's thread is sent.
#[derive(Debug)]
enum Message {
    Do(Request),
    /// Look at the notes of reads: they wait to be written, or are old enough to be pruned.
    Notes,
}

/// Why there is no place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// Broken or closed.
    Ending,
    DiskFull,
    Full,
}

#[derive(Debug)]
struct Request {
    job: Job,
    reply: oneshot::Sender<Result<Done, CommitError>>,
}

/// A place in the writer's queue, had before anything is sent to an application: the commit behind it cannot be
/// refused for want of room any more.
#[derive(Debug)]
pub struct Place(Seat);

#[derive(Debug)]
enum Seat {
    Queue(mpsc::OwnedPermit<Message>),
    Inline(Store),
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
            last_sequence: AtomicU64::new(last_sequence(&writer.head)),
            commits: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            noted: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            full: AtomicBool::new(false),
            prune: AtomicU64::new(0),
        });
        let notes = writer.notes.sender();
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
            keep_reads,
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

    /// A place in the queue.
    ///
    /// # Errors
    /// [`Fault::Unavailable`]: the queue is full, the disk is nearly full, or the store takes no writes any more.
    pub fn reserve(&self) -> Result<Place, Fault> {
        self.seat().map_err(Fault::from)
    }

    fn seat(&self) -> Result<Place, Closed> {
        if self.is_broken() {
            return Err(Closed::Ending);
        }
        if self.disk_nearly_full() {
            return Err(Closed::DiskFull);
        }
        let queue = match &self.0.door {
            Door::Inline(_) => return Ok(Place(Seat::Inline(self.clone()))),
            Door::Thread { queue, .. } => lock(queue).clone().ok_or(Closed::Ending)?,
        };
        match queue.try_reserve_owned() {
            Ok(permit) => Ok(Place(Seat::Queue(permit))),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Closed::Full),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Closed::Ending),
        }
    }

    /// Stores an intent and takes the removal budget, durably. Its number, for [`ChangeSet::settles`].
    ///
    /// # Errors
    /// As [`CommitError`] says; nothing of the intent is stored then, unless the store is broken.
    pub async fn intend(&self, intent: Intent) -> Result<u64, CommitError> {
        match self.run(Job::Intend(Box::new(intent))).await? {
            Done::Intended(intent) => Ok(intent),
            Done::Committed(_) | Done::Configured(_) => Err(mixed_up()),
        }
    }

    /// Commits without having reserved.
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub async fn commit(&self, set: ChangeSet) -> Result<Committed, CommitError> {
        let place = self.seat()?;
        place.commit(set).await
    }

    /// The generation of the configuration with this fingerprint: one more than before if it is another one.
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub async fn configure(&self, fingerprint: &str) -> Result<u64, CommitError> {
        match self.run(Job::Configure(fingerprint.to_owned())).await? {
            Done::Configured(generation) => Ok(generation),
            Done::Committed(_) | Done::Intended(_) => Err(mixed_up()),
        }
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
        }
    }

    /// Notes an answered read, unless none are kept. Never waits: a note that finds the buffer or the disk full is
    /// dropped and counted.
    pub fn note(&self, note: ReadNote) {
        if self.0.keep_reads.is_zero() {
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

    /// Has the notes that wait written, if there are any. To be called each second: a commit takes notes along, but
    /// there may be none. Inline it blocks on the disk.
    pub fn write_notes(&self) {
        if self.0.notes.capacity() == self.0.notes.max_capacity() {
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
        let before = now.minus(self.0.keep_reads);
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

    /// Where the data file is; `None` in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.marker.as_ref().map(Marker::data)
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

    async fn run(&self, job: Job) -> Result<Done, CommitError> {
        let place = self.seat()?;
        place.send(job).await
    }

    fn inline(&self, job: Job) -> Result<Done, CommitError> {
        let Door::Inline(writer) = &self.0.door else {
            return Err(mixed_up());
        };
        let mut writer = lock(writer);
        let result = writer.apply(&mut [job]);
        self.0.shared.note(&writer);
        match result {
            Ok(mut results) => results.pop().unwrap_or_else(|| Err(mixed_up())),
            Err(text) => Err(self.0.shared.fail(&text)),
        }
    }
}

#[cfg(test)]
impl Store {
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

impl Place {
    /// Hands the change set to the writer at once; the future only waits. A dropped future takes nothing back.
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub fn commit(
        self,
        set: ChangeSet,
    ) -> impl Future<Output = Result<Committed, CommitError>> + Send + 'static {
        let done = self.send(Job::Commit(Box::new(set)));
        async {
            match done.await? {
                Done::Committed(committed) => Ok(committed),
                Done::Intended(_) | Done::Configured(_) => Err(mixed_up()),
            }
        }
    }

    fn send(self, job: Job) -> impl Future<Output = Result<Done, CommitError>> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        match self.0 {
            Seat::Queue(permit) => {
                permit.send(Message::Do(Request { job, reply }));
            }
            Seat::Inline(store) => {
                // The receiver is right here.
                let _sent = reply.send(store.inline(job));
            }
        }
        async {
            answer.await.unwrap_or_else(|_| {
                Err(CommitError::Failed(
                    "the writer ended without an answer".into(),
                ))
            })
        }
    }
}

impl Shared {
    /// The store takes no writes any more.
    fn fail(&self, text: &str) -> CommitError {
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            if first {
                *broken = Some(text.to_owned());
            }
            first
        });
        CommitError::Failed(text.to_owned())
    }

    /// Tells the writer what it was asked to prune.
    fn asked(&self, writer: &mut Writer) {
        match self.prune.swap(0, Ordering::AcqRel) {
            0 => {}
            before => writer.prune = Some(Timestamp(before)),
        }
    }

    fn note(&self, writer: &Writer) {
        self.last_sequence
            .store(last_sequence(&writer.head), Ordering::Release);
        self.commits.store(writer.commits, Ordering::Relaxed);
        self.rows.store(writer.written, Ordering::Relaxed);
        self.noted.store(writer.noted, Ordering::Relaxed);
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
fn write(mut writer: Writer, mut requests: mpsc::Receiver<Message>, shared: &Shared) {
    let _guard = Guard(shared);
    let (mut jobs, mut replies) = (Vec::new(), Vec::new());
    let mut busy = 0;
    loop {
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
        let results = match broken {
            Some(text) => Err(text),
            None => writer.apply(&mut jobs),
        };
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
fn step(writer: &mut Writer, idle: bool) -> Result<bool, String> {
    let unindexed = |writer: &Writer| {
        let next = writer.head.next_sequence;
        next.saturating_sub(writer.head.indexed)
    };
    // A commit takes a slice along; with more than that the buffer could run full before the next.
    if idle && writer.notes.len() >= reads::SLICE {
        writer.apply(&mut [])?;
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

fn last_sequence(head: &Head) -> u64 {
    head.next_sequence.saturating_sub(1)
}

impl From<Closed> for Fault {
    fn from(closed: Closed) -> Self {
        let (retry_after, detail) = match closed {
            Closed::Ending => (
                30,
                "The gateway takes no writes at the moment; it is restarting.",
            ),
            Closed::DiskFull => (30, space::REFUSAL),
            Closed::Full => (1, "The gateway has more writes waiting than it can take."),
        };
        Self::Unavailable {
            retry_after,
            detail: detail.into(),
        }
    }
}

impl From<Closed> for CommitError {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Ending => Self::Failed("the store takes no writes any more".into()),
            Closed::DiskFull => Self::DiskFull,
            Closed::Full => Self::Full,
        }
    }
}

fn mixed_up() -> CommitError {
    CommitError::Failed("the writer answered another question".into())
}

/// Nothing behind these locks is left half-done by a panic: the writer's head moves after its commit.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
