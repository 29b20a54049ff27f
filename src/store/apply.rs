//! The synchronous writer: a batch of jobs becomes one durable transaction.
//!
//! Each job's preconditions are checked before its first row is written, so that one that fails takes no neighbour
//! with it. The thread in [`super::writer`] only loops over this; a simulation calls it inline.

use std::sync::Arc;

use redb::Database;

use crate::clock::Timestamp;
use crate::policy::safety::{self, Allowance, Take};
use crate::provision::link::Link;
use crate::scim::{Handle, Resource};
#[cfg(test)]
use crate::simulation::{Bug, planted};

use super::change::{Budget, ChangeSet, Lane, MarkEdit, MemberEdit};
use super::check::{Plan, check};
use super::configured::{Configuration, InForce};
use super::ids::Instance;
use super::keys;
use super::moved::Moved;
use super::patience::Unwritten;
use super::reads::Waiting;
use super::restored::{self, Restored};
use super::sweep::SweepJob;
use super::tables::{self, Head, Trouble};
use super::transaction::{Transaction, json};

/// The durable plan of a write that is about to call an application.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Intent {
    /// What is committed if nobody lives to say how it went: links `uncertain`, marks due, journal `unknown`.
    pub if_unknown: ChangeSet,
    /// What the safety limit is asked first.
    pub budget: Option<Budget>,
}

/// What stands in the way of a commit. The caller's snapshot was not the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The resource's row is not the one that the change was made from.
    Row(Handle),
    /// This one has the userName.
    UserName(Handle),
    /// This one has the id.
    Id(Handle),
    /// This one has the account.
    Remote(Handle),
    /// The intent is settled already.
    Intent(u64),
}

/// Why nothing was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// A precondition does not hold. Nothing was written.
    Conflict(Conflict),
    /// The safety limit refuses the removal. Nothing was written.
    Held,
    /// The queue is full. Nothing was written.
    Full,
    /// The disk is nearly full: writes are refused until there is room. Nothing was written.
    DiskFull,
    /// The write failed. Where the store is broken now, nobody knows whether it is on disk; else it is not.
    Failed(String),
}

impl std::fmt::Display for CommitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Conflict(conflict) => write!(f, "a precondition does not hold: {conflict:?}"),
            Self::Held => f.write_str("the safety limit holds this removal"),
            Self::Full => f.write_str("the queue of writes is full"),
            Self::DiskFull => f.write_str("the disk is nearly full"),
            Self::Failed(text) => write!(f, "the write failed: {text}"),
        }
    }
}

impl std::error::Error for CommitError {}

/// A commit that is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// The sequence of the change set's first record; 0 if it had none.
    pub first_sequence: u64,
    /// The generations of the marks that were set, in the order of their edits; 0 where the resource is gone.
    pub generations: Vec<u64>,
}

/// One thing for the writer to do.
#[derive(Debug)]
pub(super) enum Job {
    Commit(Box<ChangeSet>),
    Intend(Box<Intent>),
    /// A person says, at this time, that what was restored is right.
    Confirm(Timestamp),
    Configure(Box<Configuration>),
    /// A person allows removals beyond an application's limit, or none any more.
    Allow(String, Option<Allowance>),
    Sweep(Box<SweepJob>),
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    Committed(Committed),
    Intended(u64),
    /// Whether there was something to confirm.
    Confirmed(bool),
    Configured(InForce),
    Allowed,
    /// Whether the sweep is the one that is under way.
    Swept(bool),
}

/// Why a job was not done.
pub(super) enum Stop {
    Refused(CommitError),
    Trouble(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Conflict> for Stop {
    fn from(conflict: Conflict) -> Self {
        Self::Refused(CommitError::Conflict(conflict))
    }
}

/// The only writer of a data file.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) db: Arc<Database>,
    instance: Instance,
    /// As it is on disk.
    pub(super) head: Head,
    /// Rows written since this started.
    pub(super) written: u64,
    /// Commits since this started.
    pub(super) commits: u64,
    /// Edges of the dead are left to be dropped.
    pub(super) sweeps: bool,
    /// What was restored is confirmed, and links are left to be doubted.
    pub(super) doubts: bool,
    /// Transactions since this started that began sweeps or sets.
    pub(super) begun: u64,
    /// What was restored and takes no writes yet.
    pub(super) restored: Option<Restored>,
    /// Notes of reads older than this are to be pruned.
    pub(super) prune: Option<Timestamp>,
    /// Notes of reads that wait to be written.
    pub(super) notes: Waiting,
    /// What is to be known of applications after a restart, and is not written yet.
    pub(super) unwritten: Unwritten,
    /// Notes written since this started.
    pub(super) noted: u64,
    /// Left-over work met a damaged row: it is left alone until the next start, requests go on.
    pub(super) stuck: bool,
}

impl Writer {
    /// `sweeps`: an earlier process left edges of the dead.
    pub(super) fn new(db: Arc<Database>, instance: Instance, head: Head, sweeps: bool) -> Self {
        Self {
            db,
            instance,
            head,
            written: 0,
            commits: 0,
            sweeps,
            doubts: false,
            begun: 0,
            restored: None,
            prune: None,
            notes: Waiting::new(),
            unwritten: Unwritten::default(),
            noted: 0,
            stuck: false,
        }
    }

    /// One durable transaction: two-phase, because a commit that a crash interrupts is then whole or absent whatever
    /// the disk made of the order; no quick repair, because the check at every open would not use it.
    pub(super) fn transact<R>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_two_phase_commit(true);
        let mut open = Transaction::open(&transaction, self.instance, self.head.clone())?;
        let result = work(&mut open)?;
        let (sweeps, doubts, begun) = (open.sweeps, open.doubts, open.begun);
        let (head, written) = open.finish()?;
        transaction.commit()?;
        self.head = head;
        self.written += written;
        self.commits += 1;
        self.sweeps |= sweeps;
        self.doubts |= doubts;
        self.begun += u64::from(begun);
        Ok(result)
    }

    /// Does all of a batch in one transaction, and writes what waits beside it: notes of reads, and what was heard of
    /// applications; of an empty batch only that, if there is any. An error means that the engine failed and nobody knows
    /// what is on disk.
    pub(super) fn apply(
        &mut self,
        batch: &mut [Job],
    ) -> Result<Vec<Result<Done, CommitError>>, String> {
        let notes = self.notes.take();
        let heard = self.unwritten.take();
        if batch.is_empty() && notes.is_empty() && heard.is_empty() {
            return Ok(Vec::new());
        }
        let together = self.transact(|transaction| {
            transaction.put_notes(&notes)?;
            transaction.put_patience(&heard)?;
            batch
                .iter_mut()
                .map(|job| match run(transaction, job) {
                    Ok(done) => Ok(Ok(done)),
                    Err(Stop::Refused(error)) => Ok(Err(error)),
                    Err(Stop::Trouble(trouble)) => Err(trouble),
                })
                .collect::<Result<Vec<_>, Trouble>>()
        });
        match together {
            Ok(_) => self.noted += notes.len() as u64,
            // Tried again below, without a neighbour.
            Err(_) => {
                self.notes.put_back(notes);
                self.unwritten.put_back(heard);
            }
        }
        match (together, batch) {
            (Ok(results), _) => Ok(results),
            (Err(Trouble::Engine(text)), _) => Err(text),
            (Err(Trouble::Damaged(text)), [_]) => Ok(vec![Err(CommitError::Failed(text))]),
            // The transaction is gone. One job met a damaged row; alone, it fails alone.
            (Err(Trouble::Damaged(_)), jobs) => {
                let mut results = Vec::with_capacity(jobs.len());
                for job in jobs {
                    results.append(&mut self.apply(std::slice::from_mut(job))?);
                }
                Ok(results)
            }
        }
    }
}

#[cfg(test)]
impl Writer {
    /// Changes rows behind the seal's back.
    pub(super) fn raw_for_tests(
        &mut self,
        work: impl FnOnce(&mut redb::Table<'_, u64, tables::Bytes>),
    ) -> Result<(), Trouble> {
        let transaction = self.db.begin_write()?;
        work(&mut transaction.open_table(tables::ROWS)?);
        Ok(transaction.commit()?)
    }
}

fn run(transaction: &mut Transaction<'_>, job: &mut Job) -> Result<Done, Stop> {
    match job {
        Job::Commit(set) => {
            let plan = check(transaction, set)?;
            Ok(Done::Committed(perform(transaction, set, plan)?))
        }
        Job::Intend(intent) => intend(transaction, intent).map(Done::Intended),
        Job::Configure(next) => Ok(Done::Configured(transaction.configure(next)?)),
        Job::Allow(application, allowance) => {
            transaction.tally(application)?.allowance = *allowance;
            Ok(Done::Allowed)
        }
        Job::Sweep(job) => Ok(Done::Swept(transaction.sweep_job(job)?)),
        Job::Confirm(now) => Ok(Done::Confirmed(restored::confirmed(transaction, *now)?)),
    }
}

fn intend(transaction: &mut Transaction<'_>, intent: &Intent) -> Result<u64, Stop> {
    check(transaction, &intent.if_unknown)?;
    #[cfg(test)]
    let unasked = planted(Bug::NoBudget);
    #[cfg(not(test))]
    let unasked = false;
    if let Some(budget) = intent.budget.as_ref().filter(|_| !unasked) {
        take(transaction, budget)?;
    }
    let id = transaction.head.next_intent;
    transaction.head.next_intent = id.saturating_add(1);
    // A handle that an intent names is spoken for, though its row is not there yet.
    for put in &intent.if_unknown.puts {
        let next = put.resource.handle.0.saturating_add(1);
        transaction.head.next_handle = transaction.head.next_handle.max(next);
    }
    transaction.put_intent(id, json(&intent.if_unknown)?)?;
    Ok(id)
}

fn take(transaction: &mut Transaction<'_>, budget: &Budget) -> Result<(), Stop> {
    let key = keys::counted(&budget.application, budget.handle);
    let counted = tables::read_number(&transaction.keys, &key)?;
    let tally = transaction.tally(&budget.application)?;
    let already = tally.window.is_some_and(|window| {
        counted == Some(window.started.0)
            && budget.now.0 < window.started.0.saturating_add(budget.window)
    });
    let taken = safety::take(
        tally.window,
        tally.holds,
        tally.active,
        already,
        budget.limit,
        budget.window,
        budget.now,
    );
    match taken {
        Take::Granted(window) => {
            tally.window = Some(window);
            transaction.put_key(&key, window.started.0.to_be_bytes().to_vec())?;
            Ok(())
        }
        Take::Counted => Ok(()),
        Take::Held => {
            let allowed = tally.allowance.and_then(|it| it.take(budget.now));
            if allowed.is_none() {
                return Err(Stop::Refused(CommitError::Held));
            }
            tally.allowance = allowed;
            Ok(())
        }
    }
}

fn perform(
    transaction: &mut Transaction<'_>,
    set: &mut ChangeSet,
    plan: Plan,
) -> Result<Committed, Trouble> {
    transaction.moved = Moved::for_records(&set.journal);
    for key in plan
        .remove
        .iter()
        .filter(|key| !plan.insert.contains_key(*key))
    {
        transaction.drop_key(key)?;
    }
    for (key, value) in plan.insert {
        transaction.put_key(&key, value)?;
    }
    let mut unconfigured = Vec::new();
    let puts = set.puts.iter().map(Some).chain(std::iter::repeat(None));
    for (row, put) in plan.rows.iter().zip(puts) {
        let before = row.before.as_ref();
        let Some(after) = row.merged.as_ref().or(put.map(|put| &put.resource)) else {
            continue;
        };
        if is_spent(after) {
            let waited = transaction.clear_unconfigured(after.handle)?;
            let waited = waited.into_iter().filter(|(_, cause)| !cause.is_empty());
            unconfigured.extend(waited.map(|waited| (after.clone(), waited)));
        }
        let erased = is_spent(after) && !transaction.keeps_marks(after.handle, &set.marks)?;
        let after = (!erased).then_some(after);
        transaction.put_row(before, after)?;
        transaction.regrouped(before, after)?;
        let was_live = before.is_some_and(|row| row.deleted.is_none());
        let is_live = after.is_some_and(|row| row.deleted.is_none());
        if let Some(before) = before
            && was_live
            && !is_live
        {
            // The first record is appended below, and is the one that names them.
            let of = transaction.head.next_sequence;
            let of = transaction.moved.is_asked().then_some(of);
            transaction.drop_edges(before.handle, of)?;
        }
        if let Some(before) = before.filter(|_| !is_live) {
            // Who is gone there for good is not removed there again.
            let gone =
                |link: &&Link| after.is_none_or(|after| after.link(&link.application).is_none());
            for link in before.links.iter().filter(gone) {
                transaction.drop_key(&keys::counted(&link.application, before.handle))?;
            }
        }
    }
    for edit in &set.members {
        change_members(transaction, set, edit)?;
    }
    for edit in &set.sent {
        transaction.edit_sent(edit)?;
    }
    let first_sequence = transaction.append_with_moved(&mut set.journal)?;
    // Behind the set's own first record, which others name.
    for (resource, (application, cause)) in unconfigured {
        let why = (
            "not_configured",
            "the application is not in the configuration any more",
        );
        transaction.close(&resource, &application, cause, why)?;
    }
    let mut generations = Vec::new();
    for edit in &set.marks {
        let parked = counted_first(transaction, set.bulk, edit)?;
        let edit = parked.as_ref().unwrap_or(edit);
        generations.extend(change_mark(transaction, edit, first_sequence)?);
    }
    for edit in &set.marks {
        match edit {
            MarkEdit::Clear {
                handle,
                application,
                ..
            } => {
                transaction.settle_causes(*handle, application, &set.journal)?;
                erase_spent(transaction, *handle)?;
            }
            MarkEdit::Set {
                handle,
                application,
                ..
            } => transaction.keep_causes(*handle, application, &set.journal)?,
            MarkEdit::Raise { .. } | MarkEdit::Stick { .. } => {}
        }
    }
    transaction.mark_rescoped(set.bulk)?;
    transaction.mark_outdated(set)?;
    if let Some(intent) = set.settles {
        transaction.drop_intent(intent)?;
    }
    if let Some(import) = &set.import {
        transaction.put_import(import)?;
    }
    Ok(Committed {
        first_sequence: first_sequence.unwrap_or(0),
        generations,
    })
}

/// A tombstone that has nothing left to take away anywhere.
fn is_spent(resource: &Resource) -> bool {
    resource.deleted.is_some() && resource.links.is_empty()
}

/// Erases what stood for its last mark only: an account was being made when its user was deleted, and none came of it.
fn erase_spent(transaction: &mut Transaction<'_>, handle: Handle) -> Result<(), Trouble> {
    let spent = transaction.row(handle, |row| row.deleted.is_some() && !row.has_links())?;
    if spent == Some(true) && !transaction.keeps_marks(handle, &[])? {
        let row = transaction.resource(handle)?;
        transaction.put_row(row.as_ref(), None)?;
    }
    Ok(())
}

/// A removal that a Bulk decided is not due before all of them are counted.
fn counted_first(
    transaction: &mut Transaction<'_>,
    bulk: Option<u64>,
    edit: &MarkEdit,
) -> Result<Option<MarkEdit>, Trouble> {
    let (
        Some(bulk),
        MarkEdit::Set {
            handle,
            application,
            due,
            lane: Lane::Deactivate,
            ..
        }
        | MarkEdit::Raise {
            handle,
            application,
            due,
            lane: Lane::Deactivate,
            ..
        },
    ) = (bulk, edit)
    else {
        return Ok(None);
    };
    // Gone with this very change set, or put off anyway.
    if *due > transaction.head.last_time || transaction.row(*handle, |_| ())?.is_none() {
        return Ok(None);
    }
    let number = transaction.set(application, Some(bulk))?;
    transaction.put_together(application, number, *handle)?;
    let mut parked = edit.clone();
    if let MarkEdit::Set { due, .. } | MarkEdit::Raise { due, .. } = &mut parked {
        *due = Timestamp::NEVER;
    }
    Ok(Some(parked))
}

fn change_members(
    transaction: &mut Transaction<'_>,
    set: &ChangeSet,
    edit: &MemberEdit,
) -> Result<(), Trouble> {
    let Some(group) = transaction.resource(edit.group)? else {
        return Ok(());
    };
    // The group goes in this very change set, and its edges with it.
    if group.deleted.is_some() {
        return Ok(());
    }
    let changed = transaction.edit_members(edit)?;
    let put = set.puts.iter().any(|put| put.resource.handle == edit.group);
    if changed && !put {
        transaction.touch(&group, edit)?;
    }
    Ok(())
}

/// The generation of a mark that was set; 0 where its resource is gone.
pub(super) fn change_mark(
    transaction: &mut Transaction<'_>,
    edit: &MarkEdit,
    sequence: Option<u64>,
) -> Result<Option<u64>, Trouble> {
    if let MarkEdit::Set { handle, .. } | MarkEdit::Raise { handle, .. } = edit
        && transaction.row(*handle, |_| ())?.is_none()
    {
        return Ok(Some(0));
    }
    transaction.edit_mark(edit, sequence)
}
