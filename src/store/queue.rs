//! The writer's queue: a place in it is had before anything is sent, so that no commit is refused behind a call.

use std::future::Future;
use std::sync::Mutex;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::error::Fault;

use super::apply::{CommitError, Committed, Done, Intent, Job, Writer};
use super::change::ChangeSet;
use super::front::{Store, lock};
use super::writer::{Message, Request};
use super::{restored, space};

/// The way to the writer.
#[derive(Debug)]
pub(super) enum Door {
    Thread {
        queue: Mutex<Option<mpsc::Sender<Message>>>,
        thread: Mutex<Option<JoinHandle<()>>>,
    },
    Inline(Box<Mutex<Writer>>),
}

/// Why there is no place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// Broken or closed.
    Ending,
    DiskFull,
    Full,
    /// It was restored, and nobody has confirmed it.
    Unconfirmed,
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

impl Store {
    /// A place in the queue.
    ///
    /// # Errors
    /// [`Fault::Unavailable`]: the queue is full, the disk is nearly full, the directory was restored and is not
    /// confirmed, or the store takes no writes any more.
    pub fn reserve(&self) -> Result<Place, Fault> {
        self.seat().map_err(Fault::from)
    }

    fn seat(&self) -> Result<Place, Closed> {
        if self.is_unconfirmed() {
            return Err(Closed::Unconfirmed);
        }
        self.any_seat()
    }

    fn any_seat(&self) -> Result<Place, Closed> {
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
        let place = self.seat()?;
        match place.send(Job::Intend(Box::new(intent))).await? {
            Done::Intended(intent) => Ok(intent),
            _ => Err(mixed_up()),
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

    /// Does what is ours and no client's: that is done though what was restored is not confirmed.
    pub(super) async fn run(&self, job: Job) -> Result<Done, CommitError> {
        let place = self.any_seat()?;
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
                _ => Err(mixed_up()),
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

impl From<Closed> for Fault {
    fn from(closed: Closed) -> Self {
        let (retry_after, detail) = match closed {
            Closed::Ending => (
                30,
                "The gateway takes no writes at the moment; it is restarting.",
            ),
            Closed::DiskFull => (30, space::REFUSAL),
            Closed::Full => (1, "The gateway has more writes waiting than it can take."),
            Closed::Unconfirmed => (60, restored::REFUSAL),
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
            Closed::Unconfirmed => Self::Failed(restored::REFUSAL.into()),
        }
    }
}

pub(super) fn mixed_up() -> CommitError {
    CommitError::Failed("the writer answered another question".into())
}
