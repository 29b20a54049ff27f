//! Which memberships one turn settles: read from one snapshot, at most so many. Nothing is changed here.

use std::collections::BTreeSet;

use super::GroupTurn;
use crate::error::Fault;
use crate::provision::group::members::{self, Change, Difference, Known};
use crate::provision::group::weigh::Left;
use crate::scim::{Handle, Kind};
use crate::store::{Compared, Doubt, Key, Sent, SentEdit, View, sent};

/// Memberships that one turn looks at.
const LOOK: usize = 1_000;
/// Members that one turn brings in or out: five calls of a hundred.
const CHANGES: usize = 500;

/// Some of a group's memberships, compared.
#[derive(Default)]
pub(super) struct Batch {
    /// What goes out.
    pub(super) changes: Vec<Change>,
    /// What stands without a call: nothing differs, or the account is gone.
    pub(super) local: SentEdit,
    /// Where the cursor goes if every change is answered.
    pub(super) compared: Option<Compared>,
    /// What stays, and who was passed over.
    pub(super) left: Left,
}

impl GroupTurn<'_> {
    /// The members that we added to a group which is to be left.
    pub(super) fn leavers(&self, view: &View) -> Result<Batch, Fault> {
        let name = self.name();
        let mut batch = Batch::default();
        // One more shows that more is left; and when none is, the link goes in a turn of its own.
        let sent = view.sent_members(name, self.group.handle, CHANGES)?;
        batch.left.more = true;
        for (member, sent) in sent {
            let holder = view.find(&Key::Remote {
                application: name,
                remote_id: &sent.remote_id,
            })?;
            if holder.is_none() {
                batch.local.rows.push((member, None));
                continue;
            }
            batch.changes.push(Change {
                member,
                remote_id: sent.remote_id,
                adding: false,
                doubt: None,
            });
        }
        Ok(batch)
    }

    /// What differs among the memberships that may: those in doubt, then those behind the cursor, and when there are none
    /// of either, those that were refused before.
    pub(super) fn compare(&self, view: &View) -> Result<Batch, Fault> {
        let (name, group) = (self.name(), self.group.handle);
        let mut batch = Batch::default();
        let mut seen = BTreeSet::new();
        let doubts = view.doubts(name, group, false, LOOK)?;
        let mut room = LOOK.saturating_sub(doubts.len());
        batch.left.more = room == 0;
        let none = doubts.is_empty();
        for doubt in doubts {
            if batch.changes.len() >= CHANGES {
                batch.left.more = true;
                room = 0;
                break;
            }
            seen.insert(doubt.member);
            self.look(view, doubt.member, Some(doubt), &mut batch)?;
        }
        let cursor = view.comparing(name, group)?;
        if let Some(from) = cursor {
            // The page begins behind a handle, and no member has handle 0.
            let behind = from.0.checked_sub(1).map(Handle);
            let page = view.members(group, behind, room)?;
            let whole = page.len() < room;
            let mut next = from;
            let mut full = room == 0;
            for (member, _, kind) in page {
                if batch.changes.len() >= CHANGES {
                    full = true;
                    break;
                }
                next = Handle(member.0.saturating_add(1));
                if kind == Kind::Group {
                    batch.left.nested += 1;
                } else if !seen.contains(&member) {
                    self.look(view, member, None, &mut batch)?;
                }
            }
            if whole && !full {
                batch.compared = Some(Compared::Whole);
            } else {
                batch.compared = Some(Compared::To(next));
                batch.left.more = true;
            }
        }
        if none && cursor.is_none() {
            let doubts = view.doubts(name, group, true, CHANGES)?;
            batch.left.refused = doubts.len() == CHANGES;
            for doubt in doubts {
                self.look(view, doubt.member, Some(doubt), &mut batch)?;
            }
        } else {
            batch.left.refused = !view.doubts(name, group, true, 1)?.is_empty();
        }
        Ok(batch)
    }

    /// Compares one membership.
    fn look(
        &self,
        view: &View,
        member: Handle,
        doubt: Option<Doubt>,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let (name, group) = (self.name(), self.group.handle);
        let resource = view.resource(member)?;
        let is_member = view.is_member(group, member)?;
        let user = resource.filter(|resource| resource.kind == Kind::User);
        if is_member && user.is_none() {
            batch.left.nested += 1;
        }
        let account = user
            .as_ref()
            .and_then(|user| sent::account(user.link(name)?));
        let mut sent: Option<Sent> = view.sent(name, group, member)?;
        if let Some(sent) = &mut sent {
            // Where nothing is certain of the group, nothing is of its members: they are sent again.
            let link = self.decision.link.as_ref();
            sent.sure &= link.is_some_and(|link| link.uncertain.is_none());
        }
        let holder = match &sent {
            Some(sent) => view.find(&Key::Remote {
                application: name,
                remote_id: &sent.remote_id,
            })?,
            None => None,
        };
        let mut passed_on = false;
        if let (Some(sent), Some(other)) = (&sent, holder.filter(|holder| *holder != member)) {
            passed_on = view.is_member(group, other)?;
            // The account is in there, whoever has it now, and whoever has it may leave before anything is sent of them.
            if passed_on && view.sent(name, group, other)?.is_none() {
                batch.local.rows.push((other, Some(sent.clone())));
            }
        }
        let known = Known {
            member: is_member && user.is_some(),
            account: account.map(str::to_owned),
            sent,
            passed_on,
            held: holder.is_some(),
        };
        if known.member && known.account.is_none() {
            batch.left.waiting += 1;
        }
        let (adding, remote_id) = match members::difference(&known) {
            Difference::None => {
                batch.local.settled.extend(doubt);
                return Ok(());
            }
            Difference::Forget => {
                batch.local.rows.push((member, None));
                batch.local.settled.extend(doubt);
                return Ok(());
            }
            Difference::Add(id) => (true, id),
            Difference::Remove(id) => (false, id),
        };
        // Out now and in again under another account: the doubt stays for the second half.
        let half = !adding && known.member && known.account.is_some();
        batch.left.more |= half;
        batch.changes.push(Change {
            member,
            remote_id,
            adding,
            doubt: doubt.filter(|_| !half),
        });
        Ok(())
    }
}
