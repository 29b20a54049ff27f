//! Policies and their groups: which group each policy means, and who is in scope by it.
//!
//! A policy is bound to a group when one is first found that it names, and stays bound to it, whatever the group is called
//! later: a rename in the identity provider must not empty an application. A group that is deleted leaves its policy
//! bound to nothing until another one is named; a group counts from the first person in it on, or in a group in it, because
//! one without people says nothing of anybody yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Fault;
use crate::policy::assignment::{Assigned, Selector};
use crate::scim::{Handle, Kind, Resource};

use super::change::Lane;
use super::keys::{self, tag};
use super::row::{RowRef, kind_byte};
use super::tables::{self, STATE, Seal, Trouble, name};
use super::transaction::{Transaction, from_json, json};
use super::view::View;

/// The group of a policy, once it was known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The application.
    pub application: String,
    /// How the policy names it.
    pub selector: Selector,
    /// The group.
    pub group: Handle,
    /// Its displayName now, or when it was deleted.
    pub name: String,
    /// There was a person in it, or in a group in it, since it was bound.
    pub populated: bool,
    /// It was deleted, and no other one is named.
    pub deleted: bool,
}

impl Binding {
    fn is_live(&self) -> bool {
        self.populated && !self.deleted
    }
}

/// Whose scope one change set changed.
#[derive(Debug, Default)]
pub(super) struct Rescoped {
    /// Users that came into a group: application and user.
    came: BTreeSet<(String, Handle)>,
    /// Users that left one.
    left: BTreeMap<String, BTreeSet<Handle>>,
    /// Groups that came or left, with everybody beneath them.
    beneath: BTreeMap<String, BTreeSet<Handle>>,
}

impl Transaction<'_> {
    fn bindings(&mut self) -> Result<&mut Vec<Binding>, Trouble> {
        if self.bindings.is_none() {
            let stored = self.state(name::POLICIES)?;
            let stored = stored.map(|bytes| from_json(&bytes)).transpose()?;
            self.bindings = Some(stored.unwrap_or_default());
        }
        Ok(self.bindings.get_or_insert_default())
    }

    fn put_bindings(&mut self) -> Result<(), Trouble> {
        let bytes = json(self.bindings()?)?;
        self.put_state(name::POLICIES, bytes)
    }

    /// Binds the policies of the configuration that is now in force, as far as their groups are known, and forgets those
    /// that it does not have. The applications that have a group by it which they did not have before.
    pub(super) fn bind_all(&mut self) -> Result<BTreeSet<String>, Trouble> {
        let applications = self.in_force()?.applications.clone();
        let before = self.bindings()?.clone();
        let mut after: Vec<Binding> = Vec::new();
        let mut anew = BTreeSet::new();
        for application in &applications {
            for selector in &application.policies {
                let same = |one: &&Binding| {
                    one.application == application.name && one.selector == *selector
                };
                let known = before.iter().find(same);
                if let Some(known) = known.filter(|known| !known.deleted) {
                    after.push(known.clone());
                    continue;
                }
                match self.named(selector)? {
                    Some(group) => {
                        anew.insert(application.name.clone());
                        after.push(self.binding(&application.name, selector, &group)?);
                    }
                    None => after.extend(known.cloned()),
                }
            }
        }
        if after != before {
            self.bindings = Some(after);
            self.put_bindings()?;
        }
        Ok(anew)
    }

    fn binding(
        &self,
        application: &str,
        selector: &Selector,
        group: &Resource,
    ) -> Result<Binding, Trouble> {
        Ok(Binding {
            application: application.to_owned(),
            selector: selector.clone(),
            group: group.handle,
            name: group.title().to_owned(),
            populated: self.has_people(group.handle)?,
            deleted: false,
        })
    }

    /// The oldest group that a policy names.
    fn named(&self, selector: &Selector) -> Result<Option<Resource>, Trouble> {
        let prefix = match selector {
            Selector::DisplayName(name) => keys::group_names(name),
            // An externalId is found by its client only, and a policy names none: groups are few, and this is asked when
            // a configuration comes into force.
            Selector::ExternalId(_) => vec![tag::GROUP],
        };
        let mut handles = Vec::new();
        tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, _| {
            handles.push(Handle(keys::last_number(key)));
            Ok(ControlFlow::Continue(()))
        })?;
        for handle in handles {
            if let Some(group) = self.resource(handle)?.filter(|group| selector.names(group)) {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// A group's row changes: what that means for policies.
    pub(super) fn regrouped(
        &mut self,
        before: Option<&Resource>,
        after: Option<&Resource>,
    ) -> Result<(), Trouble> {
        let Some(group) = after.or(before).filter(|one| one.kind == Kind::Group) else {
            return Ok(());
        };
        let handle = group.handle;
        let was_live = before.is_some_and(|group| group.deleted.is_none());
        let Some(after) = after.filter(|group| group.deleted.is_none()) else {
            return if was_live {
                self.group_died(handle)
            } else {
                Ok(())
            };
        };
        if before.is_some_and(|before| was_live && same_names(before, after)) {
            return Ok(());
        }
        let mut changed = false;
        for binding in self.bindings()? {
            if binding.group == handle && !binding.deleted && binding.name != after.title() {
                tracing::warn!(
                    application = binding.application,
                    policy = %binding.selector,
                    "the group of a policy was renamed; the policy stays with it"
                );
                after.title().clone_into(&mut binding.name);
                changed = true;
            }
        }
        let applications = self.in_force()?.applications.clone();
        for application in applications {
            for selector in &application.policies {
                if !selector.names(after) {
                    continue;
                }
                let same = |one: &Binding| {
                    one.application == application.name && one.selector == *selector
                };
                let binding = self.binding(&application.name, selector, after)?;
                let bindings = self.bindings()?;
                match bindings.iter_mut().find(|one| same(one)) {
                    Some(known) if !known.deleted => continue,
                    Some(known) => *known = binding.clone(),
                    None => bindings.push(binding.clone()),
                }
                changed = true;
                if binding.populated {
                    self.begin_sweep(&application.name, false)?;
                }
            }
        }
        if changed {
            self.put_bindings()?;
        }
        Ok(())
    }

    fn group_died(&mut self, group: Handle) -> Result<(), Trouble> {
        let mut orphaned = BTreeSet::new();
        for binding in self.bindings()? {
            if binding.group == group && !binding.deleted {
                tracing::warn!(
                    application = binding.application,
                    policy = %binding.selector,
                    "the group of a policy was deleted: whoever loses an account by that keeps it until a person says so"
                );
                binding.deleted = true;
                orphaned.insert(binding.application.clone());
            }
        }
        if !orphaned.is_empty() {
            self.put_bindings()?;
        }
        for application in orphaned {
            self.begin_sweep(&application, false)?;
        }
        // Where it stood in a policy's group its members leave that one, all at once.
        for application in self.scopes(group)? {
            let groups = self.rescoped.beneath.entry(application).or_default();
            groups.insert(group);
        }
        Ok(())
    }

    /// Whether the members of a dead group are still to be read, and its edges have to stay until then.
    pub(super) fn is_gathered_first(&self, group: Handle) -> bool {
        let mut groups = self.rescoped.beneath.values();
        groups.any(|groups| groups.contains(&group))
    }

    /// The applications of whose policies this group is one, or stands in one of.
    pub(super) fn scopes(&mut self, group: Handle) -> Result<BTreeSet<String>, Trouble> {
        let bound: Vec<(Handle, String)> = self
            .bindings()?
            .iter()
            .filter(|binding| !binding.deleted)
            .map(|binding| (binding.group, binding.application.clone()))
            .collect();
        let mut found = BTreeSet::new();
        if bound.is_empty() {
            return Ok(found);
        }
        let (mut seen, mut next) = (BTreeSet::from([group]), vec![group]);
        while let Some(group) = next.pop() {
            let here = bound.iter().filter(|(bound, _)| *bound == group);
            found.extend(here.map(|(_, application)| application.clone()));
            let prefix = keys::by_handle(tag::IN_GROUP, group);
            tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, _| {
                let above = Handle(keys::last_number(key));
                if seen.insert(above) {
                    next.push(above);
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(found)
    }

    /// A member came into a group of these applications' policies, or left one.
    pub(super) fn rescope(
        &mut self,
        scopes: &BTreeSet<String>,
        member: Handle,
        came: bool,
    ) -> Result<(), Trouble> {
        let Some(kind) = self.row(member, |row| row.kind)? else {
            return Ok(());
        };
        for application in scopes {
            let application = application.clone();
            match (kind, came) {
                (Kind::Group, _) => {
                    let groups = self.rescoped.beneath.entry(application).or_default();
                    groups.insert(member);
                }
                (Kind::User, true) => {
                    self.rescoped.came.insert((application, member));
                }
                (Kind::User, false) => {
                    let users = self.rescoped.left.entry(application).or_default();
                    users.insert(member);
                }
            }
        }
        Ok(())
    }

    /// Has those planned again whose scope a change set changed: one who left at once, several together.
    pub(super) fn mark_rescoped(&mut self, bulk: Option<u64>) -> Result<(), Trouble> {
        let Rescoped {
            came,
            left,
            beneath,
        } = std::mem::take(&mut self.rescoped);
        if came.is_empty() && left.is_empty() && beneath.is_empty() {
            return Ok(());
        }
        let members = came.iter().map(|(application, _)| application);
        self.populate(members.chain(beneath.keys()).cloned().collect())?;
        let due = self.head.last_time;
        for (application, user) in &came {
            self.raise(*user, application, due, Lane::Create, None)?;
        }
        let applications: BTreeSet<&String> = left.keys().chain(beneath.keys()).collect();
        for application in applications {
            let users = left.get(application);
            let groups = beneath.get(application);
            let single = users
                .filter(|users| users.len() == 1 && groups.is_none() && bulk.is_none())
                .and_then(|users| users.first());
            if let Some(user) = single {
                self.raise(*user, application, due, Lane::Deactivate, None)?;
                continue;
            }
            let number = self.set(application, bulk)?;
            for user in users.into_iter().flatten() {
                self.put_together(application, number, *user)?;
            }
            for group in groups.into_iter().flatten() {
                self.gather_beneath(application, number, *group)?;
            }
            self.set_gathered(application, number)?;
        }
        Ok(())
    }

    /// A group of these applications has a person: its policy counts from now on, for everybody.
    fn populate(&mut self, applications: BTreeSet<String>) -> Result<(), Trouble> {
        let empty: Vec<(usize, Handle)> = self
            .bindings()?
            .iter()
            .enumerate()
            .filter(|(_, one)| {
                !one.populated && !one.deleted && applications.contains(&one.application)
            })
            .map(|(at, one)| (at, one.group))
            .collect();
        let mut begin = BTreeSet::new();
        for (at, group) in empty {
            if !self.has_people(group)? {
                continue;
            }
            if let Some(binding) = self.bindings()?.get_mut(at) {
                binding.populated = true;
                begin.insert(binding.application.clone());
            }
        }
        if !begin.is_empty() {
            self.put_bindings()?;
        }
        for application in begin {
            self.begin_sweep(&application, false)?;
        }
        Ok(())
    }
}

/// So many members are looked at for a person in a group. In more groups than that without anybody nobody looks for one:
/// they were not made a moment ago, and the safety limit is asked before anybody goes.
const LOOKS: usize = 2_000;

impl Transaction<'_> {
    /// Whether there is a person in a group, or in a group in it, however deep; circles end.
    fn has_people(&self, group: Handle) -> Result<bool, Trouble> {
        let (mut seen, mut next) = (BTreeSet::from([group]), vec![group]);
        let mut looks = 0;
        while let Some(group) = next.pop() {
            let prefix = keys::by_handle(tag::MEMBER, group);
            let mut found = false;
            tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, value| {
                looks += 1;
                let member = Handle(keys::last_number(key));
                // The edges of the dead are dropped in slices.
                if self.is_live(member)? {
                    let is_user = value.first() == Some(&kind_byte(Kind::User));
                    found |= is_user;
                    if !is_user && seen.insert(member) {
                        next.push(member);
                    }
                }
                Ok(if found || looks >= LOOKS {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })?;
            if found || looks >= LOOKS {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a policy that names one names the other.
fn same_names(before: &Resource, after: &Resource) -> bool {
    let same = |name: &str| {
        let of = |group: &Resource| {
            group
                .attributes
                .get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        of(before) == of(after)
    };
    same("displayName") && same("externalId")
}

impl View {
    /// The groups that policies are bound to, those of every application.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn bindings(&self) -> Result<&[Binding], Fault> {
        if let Some(bindings) = self.bindings.get() {
            return Ok(bindings);
        }
        let stored = tables::read(&self.table(STATE)?, Seal::State, name::POLICIES)?;
        let bindings: Vec<Binding> = match stored {
            Some(bytes) => from_json(&bytes)?,
            None => Vec::new(),
        };
        Ok(self.bindings.get_or_init(|| bindings))
    }

    /// What an application's policies come to for a user.
    ///
    /// # Errors
    /// As [`View::bindings`].
    pub fn assigned<'s>(
        &self,
        application: &str,
        policies: impl IntoIterator<Item = &'s Selector>,
        user: Handle,
    ) -> Result<Assigned, Fault> {
        let mut policies = policies.into_iter().peekable();
        if policies.peek().is_none() {
            return Ok(Assigned::Everybody);
        }
        let (mut groups, mut unknown, mut deleted) = (BTreeSet::new(), false, false);
        for selector in policies {
            let same = |one: &&Binding| one.application == application && one.selector == *selector;
            match self.bindings()?.iter().find(same) {
                Some(binding) if binding.is_live() => {
                    groups.insert(binding.group);
                }
                Some(binding) => {
                    deleted |= binding.deleted;
                    unknown |= !binding.deleted;
                }
                None => unknown = true,
            }
        }
        Ok(if self.is_beneath(user, &groups)? {
            Assigned::In
        } else if unknown {
            Assigned::Unknown
        } else if deleted {
            Assigned::Deleted
        } else {
            Assigned::Out
        })
    }

    /// Whether a group is one of an application's policies, or stands in one, however deep.
    ///
    /// # Errors
    /// As [`View::bindings`].
    pub fn decides(&self, application: &str, group: Handle) -> Result<bool, Fault> {
        let bound = self.bindings()?.iter();
        let bound = bound.filter(|one| one.application == application && !one.deleted);
        let groups: BTreeSet<Handle> = bound.map(|one| one.group).collect();
        Ok(groups.contains(&group) || self.is_beneath(group, &groups)?)
    }

    /// Whether a user is in one of these groups, or in a group in one of them, however deep; circles end.
    fn is_beneath(&self, user: Handle, groups: &BTreeSet<Handle>) -> Result<bool, Fault> {
        if groups.is_empty() {
            return Ok(false);
        }
        // Most are in one of them directly.
        for group in groups {
            if self.is_member(*group, user)? {
                return Ok(true);
            }
        }
        let dead = self.sweeping()?;
        if dead.contains(&user) {
            return Ok(false);
        }
        let (mut seen, mut next) = (BTreeSet::new(), vec![user]);
        let mut found = false;
        while let Some(member) = next.pop().filter(|_| !found) {
            let prefix = keys::by_handle(tag::IN_GROUP, member);
            tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, _| {
                let group = Handle(keys::last_number(key));
                if !dead.contains(&group) && seen.insert(group) {
                    found |= groups.contains(&group);
                    next.push(group);
                }
                Ok(if found {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })?;
        }
        Ok(found)
    }
}

/// Whether a row is a user's that clients can see.
pub(super) fn is_user(row: RowRef<'_>) -> bool {
    row.kind == Kind::User && row.deleted.is_none()
}
