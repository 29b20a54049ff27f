//! What must hold before a change set's first row is written, and what its look-up keys become.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::provision::link::Link;
use crate::scim::{Handle, Resource};

use super::apply::{Conflict, Stop};
use super::change::{ChangeSet, Put};
use super::keys::{self, tag};
use super::tables;
use super::transaction::Transaction;

/// What a checked change set has to write beyond its rows.
pub(super) struct Plan {
    /// For each put, then for each row of which only links change.
    pub(super) rows: Vec<Row>,
    pub(super) remove: BTreeSet<Vec<u8>>,
    pub(super) insert: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A row that changes.
pub(super) struct Row {
    /// As it stands.
    pub(super) before: Option<Resource>,
    /// As it will be; `None`: as its put has it.
    pub(super) merged: Option<Resource>,
}

/// Every precondition, before the first row is written. Reads only.
pub(super) fn check(transaction: &Transaction<'_>, set: &ChangeSet) -> Result<Plan, Stop> {
    let mut plan = Plan {
        rows: Vec::with_capacity(set.puts.len() + set.links.len()),
        remove: BTreeSet::new(),
        insert: BTreeMap::new(),
    };
    if let Some(intent) = set.settles
        && !transaction.has_intent(intent)?
    {
        return Err(Conflict::Intent(intent).into());
    }
    let mut seen = BTreeSet::new();
    for put in &set.puts {
        let handle = put.resource.handle;
        let stored = transaction.resource(handle)?;
        let stands = stored.as_ref().map(|stored| stored.version) == put.expect;
        if !stands || !seen.insert(handle) {
            return Err(Conflict::Row(handle).into());
        }
        let merged = match &stored {
            Some(stored) => merged(put, stored)?,
            None => None,
        };
        let after = merged.as_ref().unwrap_or(&put.resource);
        plan.replace(transaction, stored.as_ref(), after)?;
        plan.rows.push(Row {
            before: stored,
            merged,
        });
    }
    let mut relinked: BTreeMap<Handle, (Resource, Resource)> = BTreeMap::new();
    for edit in &set.links {
        let conflict = Conflict::Row(edit.handle);
        if seen.contains(&edit.handle) {
            return Err(conflict.into());
        }
        let row = match relinked.entry(edit.handle) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(place) => {
                let stored = transaction.resource(edit.handle)?.ok_or(conflict)?;
                place.insert((stored.clone(), stored))
            }
        };
        if row.1.link(&edit.application) != edit.before.as_ref() {
            return Err(conflict.into());
        }
        row.1.set_link(&edit.application, edit.after.clone());
    }
    for (before, after) in relinked.into_values() {
        plan.replace(transaction, Some(&before), &after)?;
        plan.rows.push(Row {
            before: Some(before),
            merged: Some(after),
        });
    }
    for edit in &set.members {
        let put = set
            .puts
            .iter()
            .find(|put| put.resource.handle == edit.group);
        if put.is_none() && !transaction.is_live(edit.group)? {
            return Err(Conflict::Row(edit.group).into());
        }
    }
    for (key, value) in &plan.insert {
        if let Some(conflict) = unique(key)
            && let Some(holder) = tables::read_handle(&transaction.keys, key)?
            && value.as_slice() != holder.0.to_be_bytes().as_slice()
            && !plan.remove.contains(key)
        {
            return Err(conflict(holder).into());
        }
    }
    Ok(plan)
}

/// A put whose row has other links by now than it was made from: its own changes to links, among the others as they
/// stand. `None`: it can be written as it is.
fn merged(put: &Put, stored: &Resource) -> Result<Option<Resource>, Conflict> {
    let Some(before) = put.before.as_ref().filter(|links| **links != stored.links) else {
        return Ok(None);
    };
    let of = |links: &[Link], application: &str| {
        let mut links = links.iter();
        links.find(|link| link.application == application).cloned()
    };
    let wanted = &put.resource.links;
    let mut after = put.resource.clone();
    after.links.clone_from(&stored.links);
    let applications = before.iter().chain(wanted).map(|link| &link.application);
    for application in applications.collect::<BTreeSet<_>>() {
        let (from, to) = (of(before, application), of(wanted, application));
        if from == to {
            continue;
        }
        if of(&stored.links, application) != from {
            return Err(Conflict::Row(stored.handle));
        }
        after.set_link(application, to);
    }
    Ok(Some(after))
}

/// What it is called when somebody else has this key; `None`: several may have it.
fn unique(key: &[u8]) -> Option<fn(Handle) -> Conflict> {
    match key.first() {
        Some(&tag::ID) => Some(Conflict::Id),
        Some(&tag::USER_NAME) => Some(Conflict::UserName),
        Some(&tag::REMOTE | &tag::REMOTE_GROUP) => Some(Conflict::Remote),
        _ => None,
    }
}

impl Plan {
    /// Notes what becomes of the look-up keys. What stands in the file decides, not what the caller remembers of it.
    fn replace(
        &mut self,
        transaction: &Transaction<'_>,
        before: Option<&Resource>,
        after: &Resource,
    ) -> Result<(), Stop> {
        let list = |resource: &Resource| {
            keys::keys(
                resource,
                transaction.instance.is_ours(&resource.id, resource.handle),
            )
        };
        let mut old = before.map(list).unwrap_or_default();
        for (key, value) in list(after) {
            if old.remove(&key).is_some() {
                continue;
            }
            let conflict = unique(&key);
            // Two rows of one change set must not want the same key either.
            if let Some(first) = self.insert.insert(key, value)
                && let Some(conflict) = conflict
            {
                return Err(conflict(Handle(tables::number(&first)?)).into());
            }
        }
        self.remove.extend(old.into_keys());
        Ok(())
    }
}
