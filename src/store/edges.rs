//! Memberships: an edge from the group to the member and one back, so that adding one costs the same in a group of ten
//! as of a hundred thousand.
//!
//! A dead resource's edges are dropped in slices. Until that is done a row in the sweep list keeps them from being
//! shown, and outlives a crash.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use crate::error::Fault;
use crate::scim::{Handle, Id, Kind, Resource};

use super::change::MemberEdit;
use super::keys::{self, tag};
use super::moved::{How, Moved};
use super::row::{kind_byte, kind_of};
use super::tables::{self, Seal, Trouble};
use super::transaction::Transaction;
use super::view::View;

/// Edges dropped in one transaction for a dead resource.
pub(super) const SLICE: usize = 1_000;

impl Transaction<'_> {
    /// Changes a group's members. Whoever is not there (any more) is not added: that equals being added and then
    /// deleted. Returns whether any edge changed in the end: who would go and come again just stays.
    pub(super) fn edit_members(&mut self, edit: &MemberEdit) -> Result<bool, Trouble> {
        let group = edit.group;
        let mut changed = false;
        let having = self.having(group)?;
        let scopes = self.scopes(group)?;
        let stay: HashSet<Handle> = if edit.clear || !edit.remove.is_empty() {
            edit.add.iter().map(|(member, ..)| *member).collect()
        } else {
            HashSet::new()
        };
        if edit.clear {
            let prefix = keys::by_handle(tag::MEMBER, group);
            for key in self.some_keys(&prefix, usize::MAX)? {
                let member = Handle(keys::last_number(&key));
                if !stay.contains(&member) && self.leave(&having, group, member, How::Removed)? {
                    self.rescope(&scopes, member, false)?;
                    changed = true;
                }
            }
        }
        for member in &edit.remove {
            if !stay.contains(member) && self.leave(&having, group, *member, How::Removed)? {
                self.rescope(&scopes, *member, false)?;
                changed = true;
            }
        }
        if edit.add.is_empty() {
            return Ok(changed);
        }
        let group_id = match &edit.group_id {
            Some(id) => Some(id.clone()),
            None => self.row(group, |row| Id::from(row.id))?,
        };
        let Some(group_id) = group_id else {
            return Ok(changed);
        };
        for (member, id, kind) in &edit.add {
            let key = keys::edge(tag::MEMBER, group, *member);
            let there = tables::read(&self.keys, Seal::Key, &key)?.is_some();
            if there || !self.is_live(*member)? {
                continue;
            }
            let mut value = vec![kind_byte(*kind)];
            value.extend_from_slice(id.as_str().as_bytes());
            self.put_key(&key, value)?;
            let back = keys::edge(tag::IN_GROUP, *member, group);
            self.put_key(&back, group_id.as_str().as_bytes().to_vec())?;
            self.moved.note(How::Added, Some(id.as_str()));
            self.count_members(group, 1);
            for application in &having {
                self.doubt(application, group, *member)?;
            }
            self.rescope(&scopes, *member, true)?;
            changed = true;
        }
        Ok(changed)
    }

    /// A group's row moves because its members did.
    pub(super) fn touch(&mut self, before: &Resource, edit: &MemberEdit) -> Result<(), Trouble> {
        let Some(modified) = edit.touch else {
            return Ok(());
        };
        let mut after = before.clone();
        after.modified = after.modified.max(modified);
        after.version = after.version.saturating_add(1);
        if after.modified != before.modified {
            self.drop_key(&keys::modified_at(before))?;
            self.put_key(&keys::modified_at(&after), Vec::new())?;
        }
        self.put_row(Some(before), Some(&after))
    }

    /// Drops the edges of a dead resource, and leaves a note where there are more than fit into one slice. `of`: the
    /// sequence of the request that it died by, whose record names them.
    pub(super) fn drop_edges(&mut self, handle: Handle, of: Option<u64>) -> Result<(), Trouble> {
        let note = keys::by_handle(tag::SWEEP, handle);
        let noted = of.map(|of| of.to_be_bytes().to_vec()).unwrap_or_default();
        if self.is_gathered_first(handle) {
            self.sweeps = true;
            self.moved.later = true;
            return self.put_key(&note, noted);
        }
        let mut room = SLICE;
        for (there, forward) in [(tag::MEMBER, true), (tag::IN_GROUP, false)] {
            // One more than fits shows that there is more.
            let found = self.some_keys(&keys::by_handle(there, handle), room.saturating_add(1))?;
            let all = found.len() <= room;
            for key in found.iter().take(room) {
                let other = Handle(keys::last_number(key));
                let (group, member, how) = if forward {
                    (handle, other, How::Removed)
                } else {
                    (other, handle, How::Left)
                };
                // A dead group goes from the applications whole.
                let having = if forward {
                    Vec::new()
                } else {
                    self.having(group)?
                };
                self.leave(&having, group, member, how)?;
            }
            if !all {
                self.sweeps = true;
                self.moved.later = true;
                return self.put_key(&note, noted);
            }
            room = room.saturating_sub(found.len());
        }
        self.drop_key(&note).map(drop)
    }

    /// Does one slice of one sweep. Whether there is more to do.
    pub(super) fn sweep(&mut self) -> Result<bool, Trouble> {
        // Before the edges by which they are found are dropped.
        if self.gather()? {
            return Ok(true);
        }
        if let Some(key) = self.some_keys(&[tag::SWEEP], 1)?.first() {
            // Empty where the request's record names none.
            let noted = tables::read(&self.keys, Seal::Key, key)?.unwrap_or_default();
            let of = tables::number(&noted).ok();
            let request = match of.map(|of| self.journalled(of)).transpose() {
                // Undoing does without; the edges go all the same.
                Err(Trouble::Damaged(_)) => None,
                found => found?.flatten(),
            };
            self.moved = Moved::asked(request.is_some());
            self.drop_edges(Handle(keys::last_number(key)), of)?;
            self.append_slice(request.as_ref())?;
        }
        let more = self.sweep_memberships()?;
        Ok(more || !self.some_keys(&[tag::SWEEP], 1)?.is_empty())
    }

    /// Drops an edge, which brings it into doubt in the applications that have the group. Whether there was one.
    fn leave(
        &mut self,
        having: &[String],
        group: Handle,
        member: Handle,
        how: How,
    ) -> Result<bool, Trouble> {
        let Some(there) = self.take_key(&keys::edge(tag::MEMBER, group, member))? else {
            return Ok(false);
        };
        let back = self.take_key(&keys::edge(tag::IN_GROUP, member, group))?;
        let other = match how {
            How::Left => back.as_deref().and_then(|id| text(id).ok()),
            How::Added | How::Removed => there.split_first().and_then(|(_, id)| text(id).ok()),
        };
        self.moved.note(how, other.filter(|id| !id.is_empty()));
        self.count_members(group, -1);
        for application in having {
            self.doubt(application, group, member)?;
        }
        Ok(true)
    }
}

impl View {
    /// At most `limit` members of a group behind `after`, in handle order: handle, outward id, kind.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn members(
        &self,
        group: Handle,
        after: Option<Handle>,
        limit: usize,
    ) -> Result<Vec<(Handle, Id, Kind)>, Fault> {
        let mut found = Vec::new();
        let dead = self.sweeping()?;
        if dead.contains(&group) || limit == 0 {
            return Ok(found);
        }
        let first = after.map_or(0, |after| after.0.saturating_add(1));
        let prefix = keys::by_handle(tag::MEMBER, group);
        let from = keys::edge(tag::MEMBER, group, Handle(first));
        tables::scan(&self.keys, Seal::Key, &prefix, &from, |key, value| {
            let member = Handle(keys::last_number(key));
            if !dead.contains(&member) {
                let (id, kind) = member_of(value)?;
                found.push((member, id, kind));
            }
            Ok(flow(found.len() < limit))
        })?;
        Ok(found)
    }

    /// How many members a group has.
    ///
    /// # Errors
    /// As [`View::members`].
    pub fn member_count(&self, group: Handle) -> Result<u64, Fault> {
        if self.sweeping()?.contains(&group) {
            return Ok(0);
        }
        let key = keys::by_handle(tag::MEMBERS, group);
        Ok(tables::read_number(&self.keys, &key)?.unwrap_or(0))
    }

    /// Whether `member` is directly in `group`.
    ///
    /// # Errors
    /// As [`View::members`].
    pub fn is_member(&self, group: Handle, member: Handle) -> Result<bool, Fault> {
        let dead = self.sweeping()?;
        let key = keys::edge(tag::MEMBER, group, member);
        Ok(!dead.contains(&group)
            && !dead.contains(&member)
            && tables::read(&self.keys, Seal::Key, &key)?.is_some())
    }

    /// The groups that `member` is directly in: handle and outward id, in handle order.
    ///
    /// # Errors
    /// As [`View::members`].
    pub fn groups_of(&self, member: Handle) -> Result<Vec<(Handle, Id)>, Fault> {
        let mut found = Vec::new();
        let dead = self.sweeping()?;
        if dead.contains(&member) {
            return Ok(found);
        }
        let prefix = keys::by_handle(tag::IN_GROUP, member);
        tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, value| {
            let group = Handle(keys::last_number(key));
            if !dead.contains(&group) {
                found.push((group, Id::from(text(value)?)));
            }
            Ok(flow(true))
        })?;
        Ok(found)
    }

    /// The dead whose edges still stand. Empty but for some seconds after a large group was deleted.
    /// Looked up once a snapshot: every resource of a list asks.
    pub(super) fn sweeping(&self) -> Result<&BTreeSet<Handle>, Trouble> {
        if let Some(dead) = self.dead.get() {
            return Ok(dead);
        }
        let mut dead = BTreeSet::new();
        let prefix = [tag::SWEEP];
        tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, _| {
            dead.insert(Handle(keys::last_number(key)));
            Ok(flow(true))
        })?;
        Ok(self.dead.get_or_init(|| dead))
    }
}

fn flow(more: bool) -> ControlFlow<()> {
    if more {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

fn member_of(value: &[u8]) -> Result<(Id, Kind), Trouble> {
    value
        .split_first()
        .and_then(|(kind, id)| Some((kind_of(*kind)?, id)))
        .ok_or_else(|| Trouble::Damaged("an edge names no kind".into()))
        .and_then(|(kind, id)| Ok((Id::from(text(id)?), kind)))
}

fn text(bytes: &[u8]) -> Result<&str, Trouble> {
    std::str::from_utf8(bytes).map_err(|_| Trouble::Damaged("an id is not UTF-8".into()))
}
