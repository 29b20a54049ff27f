//! Sweeps: everybody is planned again for one application, because what planning reads of it is another. A row says how
//! far one is, and moves in the transaction that sets a slice's marks, so that a crash costs a slice at most.

use redb::ReadableTableMetadata;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::error::Fault;
use crate::scim::{Handle, Resource};

use super::apply::{CommitError, Done, Job, change_mark};
use super::change::MarkEdit;
use super::front::Store;
use super::queue::mixed_up;
use super::tables::{self, STATE, Seal, Trouble, name};
use super::together::set_key;
use super::transaction::{Transaction, from_json, json};
use super::view::{View, parse};

/// A sweep, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// The application.
    pub application: String,
    /// Tells it from every other one.
    pub number: u64,
    /// The generation of the configuration that was in force when it began. An older one knows nothing of what it is about.
    #[serde(default)]
    pub generation: u64,
    /// Who is planned.
    #[serde(default)]
    pub among: Among,
    /// Nothing is certain of what was sent: every link becomes uncertain, so that its account is read back first.
    pub doubt: bool,
    /// What it is at.
    pub phase: SweepPhase,
    /// Resources that there were when it began.
    pub total: u64,
    /// Resources that were planned, after the count.
    pub done: u64,
    /// Resources that differ and were marked.
    pub marked: u64,
    /// People who lose their account by it.
    pub removals: u64,
    /// The first resource that is not planned yet.
    pub next: Handle,
}

/// Who is planned by a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Among {
    /// Everybody: what planning reads of the application is another.
    #[default]
    Everybody,
    /// A set: those whose scope changed at once.
    Set,
}

/// What a sweep is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SweepPhase {
    /// A set of a Bulk that is under way: it grows.
    Open,
    /// A set whose people are not all known yet: groups beneath a group are being read.
    Gathering,
    /// It counts the removals. Nothing is marked yet.
    Counting,
    /// It marks who differs. Removals are within the safety limit and go.
    Marking,
    /// It marks who differs. Removals are over the safety limit, and all of them are held.
    Holding,
}

impl Sweep {
    /// People whose removal it holds.
    #[must_use]
    pub fn held(&self) -> u64 {
        match self.phase {
            SweepPhase::Holding => self.removals,
            SweepPhase::Open
            | SweepPhase::Gathering
            | SweepPhase::Counting
            | SweepPhase::Marking => 0,
        }
    }
}

/// A step of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepStep {
    /// How far it is after this.
    pub sweep: Sweep,
    /// Nobody is left: its row goes.
    pub ends: bool,
    /// Marks to set.
    pub marks: Vec<MarkEdit>,
}

/// What the writer is asked about sweeps.
#[derive(Debug)]
pub(super) enum SweepJob {
    Begin {
        application: String,
        doubt: bool,
    },
    Step(SweepStep),
    /// The set of a Bulk that has ended.
    Close(u64),
}

impl Store {
    /// Begins a sweep for an application, in the place of one that is under way. `doubt`: nothing is certain of what was
    /// sent there; see [`Sweep::doubt`].
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub async fn begin_sweep(&self, application: &str, doubt: bool) -> Result<(), CommitError> {
        let begin = SweepJob::Begin {
            application: application.to_owned(),
            doubt,
        };
        self.swept(begin).await.map(drop)
    }

    /// Takes a sweep one step on. False: it is not under way any more, because another one has taken its place; nothing was
    /// done.
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub async fn step_sweep(&self, step: SweepStep) -> Result<bool, CommitError> {
        self.swept(SweepJob::Step(step)).await
    }

    pub(super) async fn swept(&self, job: SweepJob) -> Result<bool, CommitError> {
        match self.run(Job::Sweep(Box::new(job))).await? {
            Done::Swept(done) => Ok(done),
            _ => Err(mixed_up()),
        }
    }

    /// Changes when a sweep or a set has begun, or can go on.
    #[must_use]
    pub fn sweeps_begun(&self) -> watch::Receiver<u64> {
        self.0.shared.sweeps.subscribe()
    }
}

impl Transaction<'_> {
    pub(super) fn sweep_job(&mut self, job: &SweepJob) -> Result<bool, Trouble> {
        match job {
            SweepJob::Begin { application, doubt } => {
                self.begin_sweep(application, *doubt)?;
                Ok(true)
            }
            SweepJob::Step(step) => self.step_sweep(step),
            SweepJob::Close(number) => self.close_sets(Some(*number)),
        }
    }

    /// False: there is nobody.
    pub(super) fn begin_sweep(&mut self, application: &str, doubt: bool) -> Result<bool, Trouble> {
        let total = self.rows.len()?;
        if total == 0 {
            return Ok(false);
        }
        let key = key(application);
        let before: Option<Sweep> = match self.state(&key)? {
            Some(bytes) => Some(from_json(&bytes)?),
            None => None,
        };
        let number = self.head.next_generation;
        self.head.next_generation = number.saturating_add(1);
        let sweep = Sweep {
            application: application.to_owned(),
            number,
            among: Among::Everybody,
            generation: self.in_force()?.generation,
            // A doubt that was not gone through yet stays one.
            doubt: doubt || before.is_some_and(|before| before.doubt),
            phase: SweepPhase::Counting,
            total,
            done: 0,
            marked: 0,
            removals: 0,
            next: Handle(0),
        };
        self.put_state(&key, json(&sweep)?)?;
        self.begun = true;
        Ok(true)
    }

    fn step_sweep(&mut self, step: &SweepStep) -> Result<bool, Trouble> {
        let set = step.sweep.among == Among::Set;
        let key = match step.sweep.among {
            Among::Everybody => key(&step.sweep.application),
            Among::Set => set_key(&step.sweep.application, step.sweep.number),
        };
        let stands = match self.state(&key)? {
            Some(bytes) => from_json::<Sweep>(&bytes)?.number == step.sweep.number,
            None => false,
        };
        if !stands {
            return Ok(false);
        }
        for edit in &step.marks {
            change_mark(self, edit, None)?;
        }
        if set {
            self.drop_together(&step.sweep, step.ends)?;
        }
        if step.ends {
            self.drop_state(&key)?;
        } else {
            self.put_state(&key, json(&step.sweep)?)?;
        }
        Ok(true)
    }
}

impl View {
    /// The sweep that comes next for an application: a set that is not open any more, or the one over everybody.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn sweep(&self, application: &str) -> Result<Option<Sweep>, Fault> {
        let mut sets = self.sets(application)?.into_iter();
        if let Some(set) = sets.find(|set| set.phase != SweepPhase::Open) {
            return Ok(Some(set));
        }
        let stored = tables::read(&self.table(STATE)?, Seal::State, &key(application))?;
        Ok(stored.map(|bytes| from_json(&bytes)).transpose()?)
    }

    /// Calls `each` with at most `limit` of those that a sweep plans, in handle order from `from` on. The first that is left;
    /// `None`: nobody is.
    ///
    /// # Errors
    /// As [`View::sweep`], or what `each` says.
    pub fn swept(
        &self,
        sweep: &Sweep,
        from: Handle,
        limit: usize,
        each: impl FnMut(Resource) -> Result<(), Fault>,
    ) -> Result<Option<Handle>, Fault> {
        match sweep.among {
            Among::Everybody => self.everybody(from, limit, each),
            Among::Set => self.together(&sweep.application, sweep.number, from, limit, each),
        }
    }

    /// Calls `each` with at most `limit` resources of every kind, tombstones too, in handle order from `from` on. The first
    /// that is left; `None`: nobody is. A damaged row is told to the log and left out: it must not keep everybody else
    /// waiting.
    ///
    /// # Errors
    /// As [`View::sweep`], or what `each` says.
    pub fn everybody(
        &self,
        from: Handle,
        limit: usize,
        mut each: impl FnMut(Resource) -> Result<(), Fault>,
    ) -> Result<Option<Handle>, Fault> {
        let rows = self.rows.range(from.0..).map_err(Trouble::from)?;
        for (at, entry) in rows.enumerate() {
            let (handle, stored) = entry.map_err(Trouble::from)?;
            let handle = Handle(handle.value());
            if at == limit {
                return Ok(Some(handle));
            }
            match parse(handle, stored.value()).and_then(|row| row.decode()) {
                Ok(resource) => each(resource)?,
                Err(Trouble::Damaged(why)) => {
                    tracing::error!(
                        handle = handle.0,
                        why,
                        "a damaged row is left out of a sweep"
                    );
                }
                Err(Trouble::Engine(why)) => return Err(Trouble::Engine(why).into()),
            }
        }
        Ok(None)
    }
}

fn key(application: &str) -> Vec<u8> {
    format!("{}{application}", name::SWEEP).into_bytes()
}
