//! Marks: set, moved, cleared, and found by their due time.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::Handle;
#[cfg(test)]
use crate::simulation::{Bug, planted};

use super::change::{Lane, Mark, MarkEdit, Stuck};
use super::keys::{self, Key, tag};
use super::tables::{self, MARKS, Seal, Trouble};
use super::transaction::{Transaction, from_json, json};
use super::view::View;

const LANES: [Lane; 4] = [Lane::Deactivate, Lane::Create, Lane::Update, Lane::Group];

/// How many marks stand in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneCount {
    /// The lane.
    pub lane: Lane,
    /// Due now.
    pub due: u64,
    /// Due later: retries, and what waits for its time.
    pub later: u64,
    /// Due only when a person or a change makes it so: held, simulated.
    pub parked: u64,
    /// Since when the first one is due.
    pub oldest: Option<Timestamp>,
    /// There are more than were looked at.
    pub more: bool,
}

impl LaneCount {
    fn new(lane: Lane) -> Self {
        Self {
            lane,
            due: 0,
            later: 0,
            parked: 0,
            oldest: None,
            more: false,
        }
    }
}

/// A mark's row; resource and application are its key.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    generation: u64,
    due: Timestamp,
    attempts: u32,
    lane: Lane,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) cause: Vec<u64>,
    /// By somebody who did not read it, and no plan has read it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    raised: bool,
    /// It failed to the end of the ladder of retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stuck: Option<Stuck>,
}

impl Transaction<'_> {
    /// Sets or clears a mark. The generation that a set one has now. `sequence`: the change set's first record.
    ///
    /// The caller has seen to it that the resource is there.
    pub(super) fn edit_mark(
        &mut self,
        edit: &MarkEdit,
        sequence: Option<u64>,
    ) -> Result<Option<u64>, Trouble> {
        match edit {
            MarkEdit::Set {
                handle,
                application,
                due,
                attempts,
                lane,
                caused,
                read,
            } => {
                let before = self.drop_due(*handle, application)?;
                let raised = before
                    .as_ref()
                    .filter(|row| row.raised && *read != Some(row.generation));
                let stays_raised = raised.is_some();
                // What was asked for since is an attempt of its own.
                let (due, lane, attempts) = raised.map_or((*due, *lane, *attempts), |row| {
                    (row.due.min(*due), row.lane.min(*lane), row.attempts)
                });
                if before.is_none() {
                    let tally = self.tally(application)?;
                    tally.marks = tally.marks.saturating_add(1);
                }
                let mut cause = before.map(|row| row.cause).unwrap_or_default();
                cause.extend(sequence.filter(|_| *caused));
                self.supersede(*handle, application, &mut cause)?;
                let generation = self.head.next_generation;
                self.head.next_generation = generation.saturating_add(1);
                let row = Row {
                    generation,
                    due,
                    attempts,
                    lane,
                    cause,
                    raised: stays_raised,
                    stuck: None,
                };
                self.put_mark(&keys::mark(*handle, application), Some(json(&row)?))?;
                self.put_key(&keys::due(application, lane, due, *handle), Vec::new())?;
                Ok(Some(generation))
            }
            MarkEdit::Raise {
                handle,
                application,
                due,
                lane,
                caused,
            } => {
                #[cfg(test)]
                if planted(Bug::Unraised) {
                    return Ok(Some(0));
                }
                let sequence = sequence.filter(|_| *caused);
                self.raise(*handle, application, *due, *lane, sequence)
                    .map(Some)
            }
            MarkEdit::Clear {
                handle,
                application,
                generation,
            } => {
                let key = keys::mark(*handle, application);
                let stands = match self.mark(&key)? {
                    Some(bytes) => from_json::<Row>(&bytes)?.generation == *generation,
                    None => false,
                };
                #[cfg(test)]
                let stands = stands || planted(Bug::AnyGeneration);
                if stands {
                    self.clear_mark(*handle, application)?;
                }
                Ok(None)
            }
            MarkEdit::Stick {
                handle,
                application,
                stuck,
            } => {
                let key = keys::mark(*handle, application);
                let Some(bytes) = self.mark(&key)? else {
                    return Ok(None);
                };
                let mut row: Row = from_json(&bytes)?;
                // What a change has made due again meanwhile is an attempt of its own.
                if !row.raised {
                    self.count_stuck(application, row.stuck.as_ref(), Some(stuck))?;
                    row.stuck = Some(stuck.clone());
                    self.put_mark(&key, Some(json(&row)?))?;
                }
                Ok(None)
            }
        }
    }

    /// Makes a mark due that may stand there already, as it is known otherwise, or sets one in this lane.
    pub(super) fn mark_again(
        &mut self,
        handle: Handle,
        application: &str,
        due: Timestamp,
        lane: Lane,
    ) -> Result<(), Trouble> {
        let before = self.mark(&keys::mark(handle, application))?;
        let before: Option<Row> = before.map(|bytes| from_json(&bytes)).transpose()?;
        let edit = MarkEdit::Set {
            handle,
            application: application.to_owned(),
            due,
            // Who is stuck begins at the foot of the ladder.
            attempts: before
                .as_ref()
                .filter(|row| row.stuck.is_none())
                .map_or(0, |row| row.attempts),
            lane: before.map_or(lane, |row| row.lane),
            caused: false,
            read: None,
        };
        self.edit_mark(&edit, None).map(drop)
    }

    /// A mark is due at this time, whatever a plan that has not read it is about to say. `cause`: the request that it will
    /// settle as well. Its generation.
    pub(super) fn raise(
        &mut self,
        handle: Handle,
        application: &str,
        due: Timestamp,
        lane: Lane,
        cause: Option<u64>,
    ) -> Result<u64, Trouble> {
        let key = keys::mark(handle, application);
        let before = self.mark(&key)?;
        let before: Option<Row> = before.map(|bytes| from_json(&bytes)).transpose()?;
        let lane = before.map_or(lane, |row| row.lane.min(lane));
        let set = MarkEdit::Set {
            handle,
            application: application.to_owned(),
            due,
            attempts: 0,
            lane,
            caused: cause.is_some(),
            read: None,
        };
        let generation = self.edit_mark(&set, cause)?.unwrap_or_default();
        if let Some(bytes) = self.mark(&key)? {
            let mut row: Row = from_json(&bytes)?;
            row.raised = true;
            self.put_mark(&key, Some(json(&row)?))?;
        }
        Ok(generation)
    }

    /// Nobody has a turn at what waits for an application that is not configured any more, and of this resource nothing is
    /// there. The applications, and the requests that waited.
    pub(super) fn clear_unconfigured(
        &mut self,
        handle: Handle,
    ) -> Result<Vec<(String, Vec<u64>)>, Trouble> {
        let in_force = self.in_force()?.clone();
        let configured = |name: &str| in_force.applications.iter().any(|it| it.name == name);
        let mut gone = Vec::new();
        if in_force.generation == 0 {
            return Ok(gone);
        }
        for key in self.marks_of(handle)? {
            let application = application_of(&key)?;
            if !configured(&application)
                && let Some(bytes) = self.mark(&key)?
            {
                let row: Row = from_json(&bytes)?;
                self.clear_mark(handle, &application)?;
                gone.push((application, row.cause));
            }
        }
        Ok(gone)
    }

    /// Whether a resource has a mark after these edits.
    pub(super) fn keeps_marks(&self, handle: Handle, edits: &[MarkEdit]) -> Result<bool, Trouble> {
        let edits = || edits.iter().filter(|edit| edit.handle() == handle);
        let sets = |edit: &MarkEdit| matches!(edit, MarkEdit::Set { .. } | MarkEdit::Raise { .. });
        if edits().any(sets) {
            return Ok(true);
        }
        for key in self.marks_of(handle)? {
            let Some(bytes) = self.mark(&key)? else {
                continue;
            };
            let (of, stands) = (application_of(&key)?, from_json::<Row>(&bytes)?.generation);
            let clears = |edit: &MarkEdit| matches!(edit, MarkEdit::Clear { application, generation, .. } if *application == of && *generation == stands);
            if !edits().any(clears) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn clear_mark(&mut self, handle: Handle, application: &str) -> Result<(), Trouble> {
        self.drop_due(handle, application)?;
        self.put_mark(&keys::mark(handle, application), None)?;
        let tally = self.tally(application)?;
        tally.marks = tally.marks.saturating_sub(1);
        Ok(())
    }

    /// Takes a mark's due key away and returns its row.
    fn drop_due(&mut self, handle: Handle, application: &str) -> Result<Option<Row>, Trouble> {
        let Some(bytes) = self.mark(&keys::mark(handle, application))? else {
            return Ok(None);
        };
        let row: Row = from_json(&bytes)?;
        self.drop_key(&keys::due(application, row.lane, row.due, handle))?;
        self.count_stuck(application, row.stuck.as_ref(), None)?;
        Ok(Some(row))
    }

    fn count_stuck(
        &mut self,
        application: &str,
        before: Option<&Stuck>,
        after: Option<&Stuck>,
    ) -> Result<(), Trouble> {
        for (stuck, sign) in [(before, -1), (after, 1)] {
            let Some(stuck) = stuck else { continue };
            let tally = self.tally(application)?;
            let count = match stuck.removal {
                true => &mut tally.overdue,
                false => &mut tally.quarantined,
            };
            *count = count.saturating_add_signed(sign);
        }
        Ok(())
    }
}

impl View {
    /// One mark.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn mark(&self, handle: Handle, application: &str) -> Result<Option<Mark>, Fault> {
        let table = self.table(MARKS)?;
        let bytes = tables::read(&table, Seal::Mark, &keys::mark(handle, application))?;
        Ok(match bytes {
            Some(bytes) => Some(mark(handle, application, &bytes)?),
            None => None,
        })
    }

    /// All marks of a resource, by application.
    ///
    /// # Errors
    /// As [`View::mark`].
    pub fn marks(&self, handle: Handle) -> Result<Vec<Mark>, Fault> {
        let prefix = handle.0.to_be_bytes();
        let mut found = Vec::new();
        let table = self.table(MARKS)?;
        tables::scan(&table, Seal::Mark, &prefix, &prefix, |key, value| {
            found.push(mark(handle, &application_of(key)?, value)?);
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// At most `limit` marks that are due at `now`: lane by lane, in each the longest due first.
    ///
    /// # Errors
    /// As [`View::mark`].
    pub fn due(&self, application: &str, now: Timestamp, limit: usize) -> Result<Vec<Mark>, Fault> {
        let mut handles = Vec::new();
        self.each_due(application, now, |handle| {
            handles.push(handle);
            handles.len() < limit
        })?;
        let mut found = Vec::with_capacity(handles.len());
        for handle in handles {
            let mark = self.mark(handle, application)?.ok_or_else(|| {
                Trouble::Damaged(format!("{} is due at {application} without mark", handle.0))
            })?;
            found.push(mark);
        }
        Ok(found)
    }

    /// The mark that is due first in the order of [`View::due`] and whose resource is none of `taken`. Costs by the
    /// length of `taken`, not by what is due.
    ///
    /// # Errors
    /// As [`View::mark`].
    pub fn next(
        &self,
        application: &str,
        now: Timestamp,
        taken: &[Handle],
    ) -> Result<Option<Handle>, Fault> {
        let mut first = None;
        self.each_due(application, now, |handle| {
            if !taken.contains(&handle) {
                first = Some(handle);
            }
            first.is_none()
        })?;
        Ok(first)
    }

    /// Shows what is due until `each` has seen enough.
    fn each_due(
        &self,
        application: &str,
        now: Timestamp,
        mut each: impl FnMut(Handle) -> bool,
    ) -> Result<(), Trouble> {
        let mut more = true;
        for lane in LANES {
            if !more {
                break;
            }
            self.due_keys(application, lane, Timestamp(0), |due, handle| {
                let is_due = due <= now && due != Timestamp::NEVER;
                more = !is_due || each(handle);
                is_due && more
            })?;
        }
        Ok(())
    }

    /// How many marks stand in each lane. `bound`: the most that are looked at in a lane.
    ///
    /// # Errors
    /// As [`View::mark`].
    pub fn lanes(
        &self,
        application: &str,
        now: Timestamp,
        bound: u64,
    ) -> Result<[LaneCount; 4], Fault> {
        let mut counts = LANES.map(LaneCount::new);
        for count in &mut counts {
            let mut seen = 0;
            self.due_keys(application, count.lane, Timestamp(0), |due, _| {
                if seen == bound {
                    count.more = true;
                    return false;
                }
                seen += 1;
                if due == Timestamp::NEVER {
                    count.parked += 1;
                } else if due <= now {
                    count.due += 1;
                    count.oldest.get_or_insert(due);
                } else {
                    count.later += 1;
                }
                true
            })?;
        }
        Ok(counts)
    }

    /// The marks that time alone never makes due: what is held, and what was only simulated.
    ///
    /// # Errors
    /// As [`View::mark`].
    pub fn parked(&self, application: &str) -> Result<Vec<Mark>, Fault> {
        let mut handles = Vec::new();
        for lane in LANES {
            self.due_keys(application, lane, Timestamp::NEVER, |_, handle| {
                handles.push(handle);
                true
            })?;
        }
        let marks = handles
            .into_iter()
            .map(|handle| self.mark(handle, application));
        marks.filter_map(Result::transpose).collect()
    }

    /// The marks that failed and wait: for their next rung, or quarantined for a person. Not what is due, held or simulated.
    ///
    /// # Errors
    /// As [`View::mark`].
    pub fn failing(&self, application: &str, now: Timestamp) -> Result<Vec<Mark>, Fault> {
        let mut handles = Vec::new();
        let later = Timestamp(now.0.saturating_add(1));
        for lane in LANES {
            self.due_keys(application, lane, later, |_, handle| {
                handles.push(handle);
                true
            })?;
        }
        let mut found = Vec::new();
        for handle in handles {
            let mark = self.mark(handle, application)?;
            found.extend(mark.filter(|mark| {
                mark.stuck.is_some() || (mark.attempts > 0 && mark.due != Timestamp::NEVER)
            }));
        }
        Ok(found)
    }

    /// When the next mark of an application is due; `None` if none will be by itself.
    ///
    /// # Errors
    /// As [`View::mark`].
    pub fn next_due(&self, application: &str) -> Result<Option<Timestamp>, Fault> {
        let mut next = Timestamp::NEVER;
        for lane in LANES {
            self.due_keys(application, lane, Timestamp(0), |due, _| {
                next = next.min(due);
                false
            })?;
        }
        Ok((next != Timestamp::NEVER).then_some(next))
    }

    /// How many marks an application has, due or not.
    ///
    /// # Errors
    /// As [`View::mark`].
    pub fn mark_count(&self, application: &str) -> Result<u64, Fault> {
        Ok(self.tally(application)?.marks)
    }

    fn due_keys(
        &self,
        application: &str,
        lane: Lane,
        from: Timestamp,
        mut each: impl FnMut(Timestamp, Handle) -> bool,
    ) -> Result<(), Trouble> {
        let prefix = Key::new(tag::DUE).text(application).byte(lane as u8).done();
        let start = [prefix.as_slice(), &from.0.to_be_bytes()].concat();
        tables::scan(&self.keys, Seal::Key, &prefix, &start, |key, _| {
            let due = key.get(prefix.len()..).map_or(0, first_number);
            let more = each(Timestamp(due), Handle(keys::last_number(key)));
            Ok(if more {
                std::ops::ControlFlow::Continue(())
            } else {
                std::ops::ControlFlow::Break(())
            })
        })
    }
}

fn first_number(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk::<8>()
        .map_or(0, |number| u64::from_be_bytes(*number))
}

fn application_of(key: &[u8]) -> Result<String, Trouble> {
    key.get(8..)
        .and_then(|name| std::str::from_utf8(name).ok())
        .map(str::to_owned)
        .ok_or_else(|| Trouble::Damaged("a mark's key names no application".into()))
}

fn mark(handle: Handle, application: &str, bytes: &[u8]) -> Result<Mark, Trouble> {
    let row: Row = from_json(bytes)?;
    Ok(Mark {
        handle,
        application: application.to_owned(),
        generation: row.generation,
        due: row.due,
        attempts: row.attempts,
        lane: row.lane,
        cause: row.cause,
        stuck: row.stuck,
    })
}
