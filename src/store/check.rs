//! What must hold before a change set's first row is written, and what its look-up keys become.

use std::collections::{BTreeMap, BTreeSet};

use crate::scim::{Handle, Resource};

use super::apply::{Conflict, Stop};
use super::change::ChangeSet;
use super::keys::{self, tag};
use super::tables;
use super::transaction::Transaction;

/// What a checked change set has to write beyond its rows.
pub(super) struct Plan {
    /// The row as it stands for each put, then for each erased one.
    pub(super) before: Vec<Option<Resource>>,
    pub(super) remove: BTreeSet<Vec<u8>>,
    pub(super) insert: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Every precondition, before the first row is written. Reads only.
pub(super) fn check(transaction: &Transaction<'_>, set: &ChangeSet) -> Result<Plan, Stop> {
    let mut plan = Plan {
        before: Vec::with_capacity(set.puts.len() + set.erase.len()),
        remove: BTreeSet::new(),
        insert: BTreeMap::new(),
    };
    if let Some(intent) = set.settles
        && !transaction.has_intent(intent)?
    {
        return Err(Conflict::Intent(intent).into());
    }
    let mut seen = BTreeSet::new();
    let puts = set.puts.iter().map(|put| put.resource.handle);
    for handle in puts.chain(set.erase.iter().map(|erased| erased.handle)) {
        if !seen.insert(handle) {
            return Err(Conflict::Row(handle).into());
        }
    }
    for put in &set.puts {
        let handle = put.resource.handle;
        let stored = transaction.resource(handle)?;
        let stands = stored.as_ref().map(|stored| stored.version) == put.expect
            && match (&put.before, &stored) {
                (Some(links), Some(stored)) => *links == stored.links,
                _ => true,
            };
        if !stands {
            return Err(Conflict::Row(handle).into());
        }
        plan.replace(transaction, stored, Some(&put.resource))?;
    }
    for erased in &set.erase {
        let stored = transaction.resource(erased.handle)?;
        if stored.as_ref().map(|stored| stored.version) != Some(erased.version) {
            return Err(Conflict::Row(erased.handle).into());
        }
        plan.replace(transaction, stored, None)?;
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
        before: Option<Resource>,
        after: Option<&Resource>,
    ) -> Result<(), Stop> {
        let list = |resource: &Resource| {
            keys::keys(
                resource,
                transaction.instance.is_ours(&resource.id, resource.handle),
            )
        };
        let mut old = before.as_ref().map(list).unwrap_or_default();
        for (key, value) in after.map(list).unwrap_or_default() {
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
        self.before.push(before);
        Ok(())
    }
}
