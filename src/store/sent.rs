//! Memberships in applications: what was sent of a group's members, because Zoom shows it to nobody, and which of them
//! may differ from the directory.
//!
//! What may differ is known by index, so that one change costs the same in a group of ten as of a hundred thousand: an
//! edge that changes, or a member's account that comes or goes, leaves a [`Doubt`] for each application that has the
//! group, and marks the group. A group that has just come to an application is compared whole, in slices, by a cursor.
//!
//! What holds at every commit, for a group that has an account: a membership whose edge and sent row disagree has a
//! doubt, or lies behind the cursor.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::provision::link::Link;
use crate::scim::{Handle, Kind, Resource};

use super::change::Lane;
use super::edges::SLICE;
use super::keys::{self, Key, tag};
use super::row::RowRef;
use super::tables::{self, Seal, Trouble};
use super::transaction::Transaction;
use super::view::View;

/// What the application was told last of one membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The member's id there, as it was sent.
    pub remote_id: String,
    /// The application acknowledged it. Else the answer is missing, and nobody knows.
    pub sure: bool,
}

/// "This membership may differ from the application."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// The member.
    pub member: Handle,
    /// A commit settles a doubt only if it is still the one that was read.
    pub generation: u64,
    /// The application refused it before: looked at when there is nothing else to do.
    pub refused: bool,
}

/// How far the comparison of a whole group has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compared {
    /// Members before this handle are compared.
    To(Handle),
    /// All are.
    Whole,
}

/// What a turn of the worker leaves of a group's memberships in one application.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SentEdit {
    /// The application.
    pub application: String,
    /// The group.
    pub group: Handle,
    /// What stands for these members from now on; `None`: nothing was sent.
    pub rows: Vec<(Handle, Option<Sent>)>,
    /// These doubts are settled.
    pub settled: Vec<Doubt>,
    /// These were refused: they stay in doubt.
    pub refused: Vec<Handle>,
    /// The cursor moves.
    pub compared: Option<Compared>,
}

fn of_group(tag: u8, application: &str, group: Handle) -> Key {
    Key::new(tag).text(application).number(group.0)
}

fn sent_key(application: &str, group: Handle, member: Handle) -> Vec<u8> {
    let key = of_group(tag::SENT, application, group);
    key.number(member.0).done()
}

fn doubt_key(application: &str, group: Handle, refused: bool, member: Handle) -> Vec<u8> {
    let key = of_group(tag::DOUBT, application, group).byte(u8::from(refused));
    key.number(member.0).done()
}

fn compare_key(application: &str, group: Handle) -> Vec<u8> {
    of_group(tag::COMPARE, application, group).done()
}

fn forget_key(application: &str, group: Handle) -> Vec<u8> {
    of_group(tag::FORGET, application, group).done()
}

fn follow_key(application: &str, member: Handle) -> Vec<u8> {
    of_group(tag::FOLLOW, application, member).done()
}

/// The application that a key of ours names: what stands between the tag and the handle behind it.
fn application_of(key: &[u8]) -> Result<String, Trouble> {
    let damaged = || Trouble::Damaged("a key names no application".into());
    let text = key.get(1..).and_then(|rest| rest.split_last_chunk::<8>());
    // The name is of a to z, digits, _ and -: closed by 0, 1, and never escaped.
    let name = text.and_then(|(name, _)| name.strip_suffix(&[0, 1]));
    let name = name.ok_or_else(damaged)?;
    String::from_utf8(name.to_vec()).map_err(|_| damaged())
}

/// The account by which a member is named in an application: one that is there. A pending one takes no membership
/// (Zoom answers 204 and applies nothing), and a deactivated one is a member all the same.
#[must_use]
pub fn account(link: &Link) -> Option<&str> {
    use crate::provision::link::State;
    // Nothing is done with what nobody has claimed.
    if link.is_unclaimed() {
        return None;
    }
    match link.state {
        State::Active | State::Deactivated => link.remote_id.as_deref(),
        State::Unseen | State::Pending | State::Unborn => None,
    }
}

fn of_row(row: RowRef<'_>) -> Result<Vec<String>, Trouble> {
    if row.deleted.is_some() || !row.has_links() {
        return Ok(Vec::new());
    }
    let linked = row.decode()?.links.into_iter();
    Ok(linked
        .filter(|link| link.remote_id.is_some() && !link.is_unclaimed())
        .map(|link| link.application)
        .collect())
}

impl Transaction<'_> {
    /// The applications that have this group, if clients see it.
    pub(super) fn having(&self, group: Handle) -> Result<Vec<String>, Trouble> {
        let found = self.row(group, of_row)?;
        found.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// A membership may differ from now on, and its group is marked.
    pub(super) fn doubt(
        &mut self,
        application: &str,
        group: Handle,
        member: Handle,
    ) -> Result<(), Trouble> {
        let generation = self.next_generation();
        let key = doubt_key(application, group, false, member);
        self.put_key(&key, generation.to_be_bytes().to_vec())?;
        self.doubtful.insert((group, application.to_owned()));
        Ok(())
    }

    /// What was sent of a group's members is not certain any more: all of them are compared again, by a link that is not
    /// certain either.
    pub(super) fn compare_again(
        &mut self,
        application: &str,
        group: Handle,
    ) -> Result<(), Trouble> {
        let key = compare_key(application, group);
        self.put_key(&key, 0_u64.to_be_bytes().to_vec())
    }

    fn next_generation(&mut self) -> u64 {
        let generation = self.head.next_generation;
        self.head.next_generation = generation.saturating_add(1);
        generation
    }

    /// Marks the groups that this transaction brought into doubt. Due at once: the writer has no clock, and no record is
    /// ever younger than now.
    pub(super) fn mark_doubtful(&mut self) -> Result<(), Trouble> {
        let due = self.head.last_time;
        for (handle, application) in std::mem::take(&mut self.doubtful) {
            if self.row(handle, |_| ())?.is_some() {
                // A turn under way may not have read it.
                self.raise(handle, &application, due, Lane::Group, None)?;
            }
        }
        Ok(())
    }

    /// What a change of links means for memberships: a group that comes to an application is compared whole, what was
    /// sent of one that is gone there is forgotten, and a member's groups follow its account.
    pub(super) fn relinked(
        &mut self,
        before: Option<&Resource>,
        after: Option<&Resource>,
    ) -> Result<(), Trouble> {
        let Some(resource) = after.or(before) else {
            return Ok(());
        };
        let links = [before, after]
            .into_iter()
            .flatten()
            .flat_map(|it| &it.links);
        let applications: BTreeSet<&str> = links.map(|link| link.application.as_str()).collect();
        for application in applications {
            let of = |resource: Option<&Resource>| {
                let link = resource?.link(application)?;
                match resource?.kind {
                    Kind::User => account(link).map(str::to_owned),
                    Kind::Group => link.remote_id.clone().filter(|_| !link.is_unclaimed()),
                }
            };
            let (old, new) = (of(before), of(after));
            if old == new {
                continue;
            }
            match resource.kind {
                Kind::User => self.follow(application, resource.handle, Handle(0))?,
                Kind::Group => {
                    if old.is_some() {
                        self.drop_key(&compare_key(application, resource.handle))?;
                        self.forget(application, resource.handle)?;
                    }
                    if new.is_some() {
                        self.compare_again(application, resource.handle)?;
                        self.doubtful
                            .insert((resource.handle, application.to_owned()));
                    }
                }
            }
        }
        Ok(())
    }

    /// A member's account came or went: its memberships may differ, from this group on. A note stays where there are more
    /// groups than fit into one slice.
    fn follow(&mut self, application: &str, member: Handle, from: Handle) -> Result<(), Trouble> {
        let prefix = keys::by_handle(tag::IN_GROUP, member);
        let start = keys::edge(tag::IN_GROUP, member, from);
        let mut groups = Vec::new();
        tables::scan(&self.keys, Seal::Key, &prefix, &start, |key, _| {
            groups.push(Handle(keys::last_number(key)));
            Ok(go_on(groups.len() <= SLICE))
        })?;
        for group in groups.iter().take(SLICE) {
            if self.having(*group)?.iter().any(|it| it == application) {
                self.doubt(application, *group, member)?;
            }
        }
        let note = follow_key(application, member);
        match groups.get(SLICE) {
            Some(next) => {
                self.sweeps = true;
                self.put_key(&note, next.0.to_be_bytes().to_vec())
            }
            None => self.drop_key(&note).map(drop),
        }
    }

    /// Drops what was sent of a group that is gone there. A note stays where that is more than one slice.
    fn forget(&mut self, application: &str, group: Handle) -> Result<(), Trouble> {
        let mut room = SLICE;
        let mut all = true;
        for tag in [tag::SENT, tag::DOUBT] {
            let prefix = of_group(tag, application, group).done();
            let found = self.some_keys(&prefix, room.saturating_add(1))?;
            all &= found.len() <= room;
            for key in found.iter().take(room) {
                self.drop_key(key)?;
            }
            room = room.saturating_sub(found.len());
        }
        let note = forget_key(application, group);
        if all {
            // A turn waits for this: it has to hear of it.
            if self.drop_key(&note)? {
                self.doubtful.insert((group, application.to_owned()));
            }
            return Ok(());
        }
        self.sweeps = true;
        self.put_key(&note, Vec::new())
    }

    /// Does one slice of what was put off, if any was. Whether there is more.
    pub(super) fn sweep_memberships(&mut self) -> Result<bool, Trouble> {
        if let Some(key) = self.some_keys(&[tag::FORGET], 1)?.first() {
            self.forget(&application_of(key)?, Handle(keys::last_number(key)))?;
        } else if let Some(key) = self.some_keys(&[tag::FOLLOW], 1)?.first() {
            let from = tables::read_number(&self.keys, key)?.unwrap_or(0);
            let member = Handle(keys::last_number(key));
            self.follow(&application_of(key)?, member, Handle(from))?;
        }
        for tag in [tag::FORGET, tag::FOLLOW] {
            if !self.some_keys(&[tag], 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a turn leaves.
    pub(super) fn edit_sent(&mut self, edit: &SentEdit) -> Result<(), Trouble> {
        let (application, group) = (edit.application.as_str(), edit.group);
        for (member, sent) in &edit.rows {
            let key = sent_key(application, group, *member);
            match sent {
                Some(sent) => {
                    let mut value = vec![u8::from(sent.sure)];
                    value.extend_from_slice(sent.remote_id.as_bytes());
                    self.put_key(&key, value)?;
                }
                None => {
                    self.drop_key(&key)?;
                }
            }
        }
        for doubt in &edit.settled {
            let key = doubt_key(application, group, doubt.refused, doubt.member);
            if tables::read_number(&self.keys, &key)? == Some(doubt.generation) {
                self.drop_key(&key)?;
            }
        }
        for member in &edit.refused {
            let generation = self.next_generation();
            let key = doubt_key(application, group, true, *member);
            self.put_key(&key, generation.to_be_bytes().to_vec())?;
        }
        let cursor = compare_key(application, group);
        match edit.compared {
            Some(Compared::To(next)) => self.put_key(&cursor, next.0.to_be_bytes().to_vec()),
            Some(Compared::Whole) => self.drop_key(&cursor).map(drop),
            None => Ok(()),
        }
    }
}

impl View {
    /// At most `limit` doubts about a group's memberships in an application, in handle order: of those that were refused
    /// before, or of the others.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn doubts(
        &self,
        application: &str,
        group: Handle,
        refused: bool,
        limit: usize,
    ) -> Result<Vec<Doubt>, Fault> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let prefix = of_group(tag::DOUBT, application, group)
            .byte(u8::from(refused))
            .done();
        tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, value| {
            found.push(Doubt {
                member: Handle(keys::last_number(key)),
                generation: tables::number(value)?,
                refused,
            });
            Ok(go_on(found.len() < limit))
        })?;
        Ok(found)
    }

    /// From which member on a group is yet to be compared; `None`: it was compared whole.
    ///
    /// # Errors
    /// As [`View::doubts`].
    pub fn comparing(&self, application: &str, group: Handle) -> Result<Option<Handle>, Fault> {
        let key = compare_key(application, group);
        Ok(tables::read_handle(&self.keys, &key)?)
    }

    /// Whether what was sent of an earlier group there is still being dropped: nothing may be sent until it is.
    ///
    /// # Errors
    /// As [`View::doubts`].
    pub fn forgetting(&self, application: &str, group: Handle) -> Result<bool, Fault> {
        let key = forget_key(application, group);
        Ok(tables::read(&self.keys, Seal::Key, &key)?.is_some())
    }

    /// What was sent of one membership.
    ///
    /// # Errors
    /// As [`View::doubts`].
    pub fn sent(
        &self,
        application: &str,
        group: Handle,
        member: Handle,
    ) -> Result<Option<Sent>, Fault> {
        let key = sent_key(application, group, member);
        let found = tables::read(&self.keys, Seal::Key, &key)?;
        Ok(found.map(|value| sent_of(&value)).transpose()?)
    }

    /// At most `limit` memberships that were sent, in handle order.
    ///
    /// # Errors
    /// As [`View::doubts`].
    pub fn sent_members(
        &self,
        application: &str,
        group: Handle,
        limit: usize,
    ) -> Result<Vec<(Handle, Sent)>, Fault> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let prefix = of_group(tag::SENT, application, group).done();
        tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, value| {
            found.push((Handle(keys::last_number(key)), sent_of(value)?));
            Ok(go_on(found.len() < limit))
        })?;
        Ok(found)
    }

    /// Every group that an application has of us, the deleted ones too.
    ///
    /// # Errors
    /// As [`View::doubts`].
    pub fn groups_in(&self, application: &str) -> Result<Vec<Handle>, Fault> {
        let mut found = Vec::new();
        let prefix = Key::new(tag::REMOTE_GROUP).text(application).done();
        tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |_, value| {
            found.push(Handle(tables::number(value)?));
            Ok(go_on(true))
        })?;
        Ok(found)
    }

    /// Whether an earlier process put off any of this, or of [`super::together`].
    pub(super) fn put_off(&self) -> Result<bool, Trouble> {
        let mut found = false;
        for tag in [tag::FORGET, tag::FOLLOW, tag::BENEATH] {
            tables::scan(&self.keys, Seal::Key, &[tag], &[tag], |_, _| {
                found = true;
                Ok(go_on(false))
            })?;
        }
        Ok(found)
    }
}

fn sent_of(value: &[u8]) -> Result<Sent, Trouble> {
    let damaged = || Trouble::Damaged("a sent membership does not read".into());
    let (sure, id) = value.split_first().ok_or_else(damaged)?;
    Ok(Sent {
        remote_id: std::str::from_utf8(id).map_err(|_| damaged())?.to_owned(),
        sure: *sure == 1,
    })
}

fn go_on(more: bool) -> ControlFlow<()> {
    if more {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}
