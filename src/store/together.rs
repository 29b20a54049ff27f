//! Sets: people whose scope changed at once, because one request took several of them out of a group, or because a Bulk
//! said so of each. Their removals are counted whole before the first of them goes.
//!
//! A set is a sweep over its own people instead of everybody. It is durable from the transaction that makes it. While it
//! is not counted, [`View::is_counting`] keeps each of its removals back, whoever comes upon it first.

use std::ops::ControlFlow;

use crate::error::Fault;
use crate::scim::{Handle, Kind, Resource};

use super::apply::CommitError;
use super::edges::SLICE;
use super::front::Store;
use super::keys::{self, Key, tag};
use super::policies::is_user;
use super::sweep::{Among, Sweep, SweepJob, SweepPhase};
use super::tables::{self, STATE, Seal, Trouble, name};
use super::transaction::{Transaction, from_json, json};
use super::view::View;

/// A set's row.
pub(super) fn set_key(application: &str, number: u64) -> Vec<u8> {
    format!("{}{application}/{number:020}", name::SET).into_bytes()
}

fn sets_of(application: &str) -> Vec<u8> {
    format!("{}{application}/", name::SET).into_bytes()
}

/// A Bulk has one number, and a set of it in each application: what one of them has planned the others have not.
fn together_prefix(application: &str, number: u64) -> Vec<u8> {
    Key::new(tag::TOGETHER)
        .text(application)
        .number(number)
        .done()
}

fn together_key(application: &str, number: u64, handle: Handle) -> Vec<u8> {
    let mut key = together_prefix(application, number);
    key.extend_from_slice(&handle.0.to_be_bytes());
    key
}

fn within_key(application: &str, handle: Handle) -> Vec<u8> {
    Key::new(tag::WITHIN)
        .text(application)
        .number(handle.0)
        .done()
}

fn beneath_prefix(application: &str, number: u64) -> Vec<u8> {
    Key::new(tag::BENEATH)
        .text(application)
        .number(number)
        .done()
}

fn beneath_key(application: &str, number: u64, group: Handle) -> Vec<u8> {
    let mut key = beneath_prefix(application, number);
    key.extend_from_slice(&group.0.to_be_bytes());
    key
}

/// Application, set and group of a key of groups that are yet to be gathered.
fn beneath_of(key: &[u8]) -> Result<(String, u64, Handle), Trouble> {
    let damaged = || Trouble::Damaged("a key names no set".into());
    let (rest, group) = key.split_last_chunk::<8>().ok_or_else(damaged)?;
    let (rest, number) = rest.split_last_chunk::<8>().ok_or_else(damaged)?;
    let name = rest.get(1..).and_then(|name| name.strip_suffix(&[0, 1]));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    Ok((
        name.ok_or_else(damaged)?.to_owned(),
        u64::from_be_bytes(*number),
        Handle(u64::from_be_bytes(*group)),
    ))
}

impl Store {
    /// A Bulk has ended: what it decided is counted now.
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub async fn close_set(&self, number: u64) -> Result<(), CommitError> {
        self.swept(SweepJob::Close(number)).await.map(drop)
    }
}

impl Transaction<'_> {
    /// The number of the set that a Bulk fills, or of a new one.
    pub(super) fn set(&mut self, application: &str, bulk: Option<u64>) -> Result<u64, Trouble> {
        let number = match bulk {
            Some(number) => number,
            None => {
                let number = self.head.next_generation;
                self.head.next_generation = number.saturating_add(1);
                number
            }
        };
        let key = set_key(application, number);
        if self.state(&key)?.is_none() {
            let set = Sweep {
                application: application.to_owned(),
                number,
                among: Among::Set,
                generation: self.in_force()?.generation,
                doubt: false,
                phase: if bulk.is_some() {
                    SweepPhase::Open
                } else {
                    SweepPhase::Gathering
                },
                total: 0,
                done: 0,
                marked: 0,
                removals: 0,
                next: Handle(0),
            };
            self.put_state(&key, json(&set)?)?;
        }
        Ok(number)
    }

    /// Puts somebody into a set.
    pub(super) fn put_together(
        &mut self,
        application: &str,
        number: u64,
        handle: Handle,
    ) -> Result<(), Trouble> {
        self.put_key(&together_key(application, number, handle), Vec::new())?;
        let within = within_key(application, handle);
        self.put_key(&within, number.to_be_bytes().to_vec())
    }

    /// Everybody beneath a group is to be put into a set; once each, though it stand in a circle.
    pub(super) fn gather_beneath(
        &mut self,
        application: &str,
        number: u64,
        group: Handle,
    ) -> Result<(), Trouble> {
        let seen = together_key(application, number, group);
        if tables::read(&self.keys, Seal::Key, &seen)?.is_some() {
            return Ok(());
        }
        self.put_key(&seen, Vec::new())?;
        let key = beneath_key(application, number, group);
        self.put_key(&key, 0_u64.to_be_bytes().to_vec())?;
        self.sweeps = true;
        Ok(())
    }

    /// A set is counted when nobody is left to be gathered for it.
    pub(super) fn set_gathered(&mut self, application: &str, number: u64) -> Result<(), Trouble> {
        if !self
            .some_keys(&beneath_prefix(application, number), 1)?
            .is_empty()
        {
            return Ok(());
        }
        let key = set_key(application, number);
        let Some(bytes) = self.state(&key)? else {
            return Ok(());
        };
        let mut set: Sweep = from_json(&bytes)?;
        if set.phase != SweepPhase::Gathering {
            return Ok(());
        }
        set.phase = SweepPhase::Counting;
        self.begun = true;
        self.put_state(&key, json(&set)?)
    }

    /// Closes the set of one Bulk, or all of them: an earlier process did not come to it. Whether there was one.
    pub(super) fn close_sets(&mut self, number: Option<u64>) -> Result<bool, Trouble> {
        let prefix = name::SET.as_bytes();
        let mut open = Vec::new();
        tables::scan(&self.state, Seal::State, prefix, prefix, |_, bytes| {
            let set: Sweep = from_json(bytes)?;
            let this = number.is_none_or(|number| number == set.number);
            if this && set.phase == SweepPhase::Open {
                open.push(set);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let any = !open.is_empty();
        for mut set in open {
            let (application, number) = (set.application.clone(), set.number);
            set.phase = SweepPhase::Gathering;
            self.put_state(&set_key(&application, number), json(&set)?)?;
            self.set_gathered(&application, number)?;
        }
        Ok(any)
    }

    /// Gathers one slice of one group. Whether there was anything to gather.
    pub(super) fn gather(&mut self) -> Result<bool, Trouble> {
        let first = self.some_keys(&[tag::BENEATH], 1)?.pop();
        let Some(key) = first else {
            return Ok(false);
        };
        let (application, number, group) = beneath_of(&key)?;
        let from = tables::read_number(&self.keys, &key)?.unwrap_or(0);
        let prefix = keys::by_handle(tag::MEMBER, group);
        let start = keys::edge(tag::MEMBER, group, Handle(from));
        let mut members = Vec::new();
        tables::scan(&self.keys, Seal::Key, &prefix, &start, |key, _| {
            members.push(Handle(keys::last_number(key)));
            Ok(if members.len() > SLICE {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        for member in members.iter().take(SLICE) {
            let Some(kind) = self.row(*member, |row| row.kind)? else {
                continue;
            };
            match kind {
                Kind::User if self.row(*member, is_user)? == Some(true) => {
                    self.put_together(&application, number, *member)?;
                }
                Kind::User => {}
                Kind::Group => self.gather_beneath(&application, number, *member)?,
            }
        }
        match members.get(SLICE) {
            Some(next) => self.put_key(&key, next.0.to_be_bytes().to_vec())?,
            None => {
                self.drop_key(&key)?;
                self.set_gathered(&application, number)?;
            }
        }
        Ok(true)
    }

    /// Whoever was planned of a set is not in it any more.
    pub(super) fn drop_together(&mut self, set: &Sweep, ends: bool) -> Result<(), Trouble> {
        let prefix = together_prefix(&set.application, set.number);
        let mut planned = Vec::new();
        tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, _| {
            let handle = Handle(keys::last_number(key));
            if !ends && handle >= set.next {
                return Ok(ControlFlow::Break(()));
            }
            planned.push(handle);
            Ok(ControlFlow::Continue(()))
        })?;
        for handle in planned {
            self.drop_key(&together_key(&set.application, set.number, handle))?;
            let within = within_key(&set.application, handle);
            if tables::read_number(&self.keys, &within)? == Some(set.number) {
                self.drop_key(&within)?;
            }
        }
        Ok(())
    }
}

impl View {
    /// Whether an earlier process left a set of a Bulk open.
    pub(super) fn has_open_set(&self) -> Result<bool, Trouble> {
        let (table, prefix) = (self.table(STATE)?, name::SET.as_bytes());
        let mut any = false;
        tables::scan(&table, Seal::State, prefix, prefix, |_, bytes| {
            any |= from_json::<Sweep>(bytes)?.phase == SweepPhase::Open;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(any)
    }

    /// The sets of an application that are not planned yet, the oldest first.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn sets(&self, application: &str) -> Result<Vec<Sweep>, Fault> {
        let (table, prefix) = (self.table(STATE)?, sets_of(application));
        let mut sets = Vec::new();
        tables::scan(&table, Seal::State, &prefix, &prefix, |_, bytes| {
            sets.push(from_json(bytes)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(sets)
    }

    /// Whether a removal of this user has to wait until those that were decided with it are counted.
    ///
    /// # Errors
    /// As [`View::sets`].
    pub fn is_counting(&self, application: &str, user: Handle) -> Result<bool, Fault> {
        let sets = self.sets(application)?;
        if sets.is_empty() {
            return Ok(false);
        }
        // Nobody knows yet who is in one that is being gathered.
        if sets.iter().any(|set| set.phase == SweepPhase::Gathering) {
            return Ok(true);
        }
        let within = within_key(application, user);
        Ok(tables::read(&self.keys, Seal::Key, &within)?.is_some())
    }

    /// As [`View::everybody`], for a set.
    ///
    /// # Errors
    /// As [`View::sets`], or what `each` says.
    pub(super) fn together(
        &self,
        application: &str,
        number: u64,
        from: Handle,
        limit: usize,
        mut each: impl FnMut(Resource) -> Result<(), Fault>,
    ) -> Result<Option<Handle>, Fault> {
        let prefix = together_prefix(application, number);
        let start = together_key(application, number, from);
        let mut handles = Vec::new();
        tables::scan(&self.keys, Seal::Key, &prefix, &start, |key, _| {
            handles.push(Handle(keys::last_number(key)));
            Ok(if handles.len() > limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        for handle in handles.iter().take(limit) {
            // Groups stand in it too, so that none is gathered twice.
            if let Some(user) = self.resource(*handle)?.filter(|one| one.kind == Kind::User) {
                each(user)?;
            }
        }
        Ok(handles.get(limit).copied())
    }
}
