//! The five operations on groups. Pure. Members can be written and never read back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;

use super::account::Account;
use super::query::{self, Page};
use super::quirks::{MemberRemoval, PendingWrites, Quirks};
use super::zoom::{self, GroupView, Reply, Zoom, fold};

const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:zoom:2.0:Group";

#[derive(Debug)]
struct Group {
    id: Box<str>,
    name: String,
    email_alias: Option<String>,
    /// The account's default group cannot be deleted.
    default: bool,
    /// The keys of the accounts in it.
    members: BTreeSet<u64>,
    created: Timestamp,
    modified: Timestamp,
    version: u64,
}

/// The groups and how they are found.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<u64, Group>,
    by_id: HashMap<Box<str>, u64>,
    /// By folded name; nothing known says that Zoom refuses a second group of one name.
    by_name: HashMap<String, BTreeSet<u64>>,
    /// In the order of their keys.
    listed: Vec<u64>,
}

impl Groups {
    pub(super) fn id_and_name(&self, key: u64) -> Option<(&str, &str)> {
        let group = self.groups.get(&key)?;
        Some((&group.id, &group.name))
    }

    /// An account is gone.
    pub(super) fn forget_member(&mut self, key: u64, member: u64) {
        if let Some(group) = self.groups.get_mut(&key) {
            group.members.remove(&member);
        }
    }

    fn unname(&mut self, key: u64, name: &str) {
        let name = fold(name);
        if let Some(keys) = self.by_name.get_mut(&name) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_name.remove(&name);
            }
        }
    }
}

/// One step of a PATCH, understood.
#[derive(Debug, PartialEq)]
enum Step {
    Add(Vec<String>),
    Remove(Vec<String>),
    Clear,
    Rename(String),
    EmailAlias(String),
}

impl Zoom {
    pub(super) fn list_groups(&self, query: Option<&str>, now: Timestamp) -> Result<Reply, Reply> {
        let page = Page::of(query, &self.quirks)?;
        let named: Vec<u64>;
        let found = match query::filter(query, &["displayName"], &self.quirks)? {
            None => &self.groups.listed[..],
            Some((_, name)) => {
                let keys = self.groups.by_name.get(&fold(&name));
                named = keys.into_iter().flatten().copied().collect();
                &named[..]
            }
        };
        // In the order of their making: those that lag behind are the last ones.
        let shown =
            found.partition_point(|key| self.is_there(*key, self.quirks.lookup_lag_ms, now));
        let found = found.get(..shown).unwrap_or(&[]);
        let items = page
            .cut(found)
            .iter()
            .filter_map(|key| self.groups.groups.get(key));
        let items = items.map(|group| self.show_group(group)).collect();
        Ok(zoom::list(found.len(), page.start, items))
    }

    pub(super) fn create_group(&mut self, body: &[u8], now: Timestamp) -> Result<Reply, Reply> {
        let given = zoom::object(body)?;
        if !zoom::has_schemas(&given) {
            return Err(Reply::error(400, "Create group failed."));
        }
        let name = given
            .get("displayName")
            .and_then(Value::as_str)
            .filter(|name| !name.trim().is_empty())
            .ok_or_else(|| Reply::error(400, "The \"DisplayName\" of the request is invalid."))?;
        let alias = given.get(EXTENSION).and_then(|part| part.get("emailAlias"));
        let alias = alias
            .or_else(|| given.get("emailAlias"))
            .and_then(Value::as_str);
        let members = given
            .get("members")
            .filter(|_| self.quirks.members_on_create);
        let members = members.and_then(ids);
        let key = self.add_group(name, alias, false, now);
        if let Some(members) = members {
            self.apply(key, Step::Add(members));
        }
        let group = self.groups.groups.get(&key).ok_or_else(unknown)?;
        Ok(Reply::new(201, self.show_group(group)).with_effect(true))
    }

    pub(super) fn get_group(&self, id: &str, now: Timestamp) -> Result<Reply, Reply> {
        let key = *self.groups.by_id.get(id).ok_or_else(unknown)?;
        let group = self.groups.groups.get(&key).ok_or_else(unknown)?;
        if !self.is_there(key, self.quirks.get_lag_ms, now) {
            return Err(unknown());
        }
        Ok(Reply::new(200, self.show_group(group)))
    }

    fn is_there(&self, key: u64, lag_ms: u64, now: Timestamp) -> bool {
        let group = self.groups.groups.get(&key);
        group.is_some_and(|group| group.created.plus(Duration::from_millis(lag_ms)) <= now)
    }

    fn show_group(&self, group: &Group) -> Value {
        let mut shown = group.shown(&self.base_url, &self.quirks);
        if self.quirks.members_shown {
            let members = group.members.iter().filter_map(|key| self.users.get(*key));
            let members = members.map(|user| json!({"value": user.id, "display": user.user_name}));
            shown["members"] = members.collect();
        }
        shown
    }

    pub(super) fn patch_group(
        &mut self,
        id: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        let most = self.quirks.patch_characters;
        if is_longer(body, most) {
            let detail = format!("The request body must not be longer than {most} characters.");
            return Err(Reply::error(400, &detail));
        }
        let given = zoom::object(body)?;
        let key = *self.groups.by_id.get(id).ok_or_else(unknown)?;
        let steps = steps(&given, self.quirks.member_removal);
        let steps = steps.ok_or_else(|| Reply::error(400, "Update group failed."))?;
        let most = self.quirks.members_a_call;
        let named = steps.iter().map(|step| match step {
            Step::Add(ids) | Step::Remove(ids) => ids.len(),
            _ => 0,
        });
        if most > 0 && named.sum::<usize>() > most {
            let detail = format!("The request must not name more than {most} members.");
            return Err(Reply::error(400, &detail));
        }
        let mut effect = false;
        for step in steps {
            effect |= self.apply(key, step);
        }
        if let Some(group) = self.groups.groups.get_mut(&key).filter(|_| effect) {
            group.modified = now;
            group.version += 1;
        }
        Ok(Reply::empty(effect))
    }

    pub(super) fn delete_group(&mut self, id: &str) -> Result<Reply, Reply> {
        let key = *self.groups.by_id.get(id).ok_or_else(unknown)?;
        if self
            .groups
            .groups
            .get(&key)
            .is_some_and(|group| group.default)
        {
            return Err(Reply::error(400, "Cannot delete account default group."));
        }
        let group = self.groups.groups.remove(&key).ok_or_else(unknown)?;
        self.groups.by_id.remove(id);
        self.groups.unname(key, &group.name);
        if let Ok(at) = self.groups.listed.binary_search(&key) {
            self.groups.listed.remove(at);
        }
        for member in group.members {
            self.users.leave(member, key);
        }
        Ok(Reply::empty(true))
    }

    /// Makes the group of that name the default one, and makes it if there is none. Empty: there is no default group.
    pub(super) fn name_default_group(&mut self, name: &str, now: Timestamp) {
        for group in self.groups.groups.values_mut() {
            group.default = false;
        }
        if name.is_empty() {
            return;
        }
        let named = self.groups.by_name.get(&fold(name));
        match named.and_then(|keys| keys.first().copied()) {
            Some(key) => {
                if let Some(group) = self.groups.groups.get_mut(&key) {
                    group.default = true;
                }
            }
            None => {
                self.add_group(name, None, true, now);
            }
        }
    }

    /// Puts an account into the groups that it is given by name; those that there are not are passed over.
    pub(super) fn join_named(
        &mut self,
        key: u64,
        account: &mut Account,
        given: &Map<String, Value>,
    ) {
        let applied = !account.pending || self.quirks.pending_writes == PendingWrites::Applied;
        let Some(Value::Array(named)) = given.get("groups") else {
            return;
        };
        if !(self.quirks.groups_taken && applied) {
            return;
        }
        for name in named.iter().filter_map(|group| group["display"].as_str()) {
            let keys = self.groups.by_name.get(&fold(name));
            let found = keys.and_then(|keys| keys.first().copied());
            if let Some(into) = found
                && let Some(group) = self.groups.groups.get_mut(&into)
            {
                group.members.insert(key);
                account.groups.insert(into);
            }
        }
    }

    /// The first group of that name.
    pub(super) fn group(&self, name: &str) -> Option<GroupView> {
        let key = self.groups.by_name.get(&fold(name))?.first()?;
        self.groups
            .groups
            .get(key)
            .map(|group| self.group_view(group))
    }

    /// Every group, in the order in which they were made.
    pub(super) fn all_groups(&self) -> Vec<GroupView> {
        let groups = self.groups.groups.values();
        groups.map(|group| self.group_view(group)).collect()
    }

    fn group_view(&self, group: &Group) -> GroupView {
        let members = group.members.iter().filter_map(|key| self.users.get(*key));
        GroupView {
            id: group.id.clone().into(),
            display_name: group.name.clone(),
            members: members.map(|account| account.id.clone().into()).collect(),
        }
    }

    fn add_group(&mut self, name: &str, alias: Option<&str>, default: bool, now: Timestamp) -> u64 {
        let (key, id) = self.new_id();
        let group = Group {
            id: id.clone(),
            name: name.to_owned(),
            email_alias: alias.map(str::to_owned),
            default,
            members: BTreeSet::new(),
            created: now,
            modified: now,
            version: 1,
        };
        self.groups.by_id.insert(id, key);
        self.groups
            .by_name
            .entry(fold(name))
            .or_default()
            .insert(key);
        self.groups.listed.push(key);
        self.groups.groups.insert(key, group);
        key
    }

    /// Whether it changed anything. In place: a group of 100,000 is not copied for one more member.
    fn apply(&mut self, key: u64, step: Step) -> bool {
        let Some(group) = self.groups.groups.get_mut(&key) else {
            return false;
        };
        let pending = self.quirks.pending_writes == PendingWrites::Applied;
        let mut effect = false;
        match step {
            // Members that are unknown are passed over without a word, and by default those that are pending.
            Step::Add(ids) => {
                for id in ids {
                    let member = self.users.key(&id);
                    let account = member.and_then(|member| self.users.get_mut(member));
                    if let (Some(member), Some(account)) =
                        (member, account.filter(|a| pending || !a.pending))
                    {
                        account.groups.insert(key);
                        effect |= group.members.insert(member);
                    }
                }
            }
            Step::Remove(ids) => {
                for id in ids {
                    if let Some(member) = self.users.key(&id) {
                        self.users.leave(member, key);
                        effect |= group.members.remove(&member);
                    }
                }
            }
            Step::Clear => {
                for member in std::mem::take(&mut group.members) {
                    self.users.leave(member, key);
                    effect = true;
                }
            }
            Step::Rename(name) => {
                let old = std::mem::replace(&mut group.name, name.clone());
                effect = old != name;
                self.groups.unname(key, &old);
                self.groups
                    .by_name
                    .entry(fold(&name))
                    .or_default()
                    .insert(key);
            }
            Step::EmailAlias(alias) => {
                effect = group.email_alias.as_ref() != Some(&alias);
                group.email_alias = Some(alias);
            }
        }
        effect
    }
}

impl Group {
    fn shown(&self, base_url: &str, quirks: &Quirks) -> Value {
        let location = zoom::location(base_url, "Groups", &self.id);
        let mut extension = Map::new();
        if let Some(alias) = &self.email_alias {
            extension.insert("emailAlias".into(), alias.as_str().into());
        }
        json!({
            "id": self.id,
            "schemas": [CORE, EXTENSION],
            "meta": zoom::meta(quirks, "Group", location, (self.created, self.modified), self.version),
            "displayName": self.name,
            EXTENSION: extension,
        })
    }
}

fn unknown() -> Reply {
    Reply::error(404, "Group does not exist.")
}

fn is_longer(body: &[u8], limit: usize) -> bool {
    body.len() > limit && std::str::from_utf8(body).is_ok_and(|text| text.chars().count() > limit)
}

/// Understands a PATCH whole, so that nothing is done of one that is wrong.
fn steps(given: &Map<String, Value>, removal: MemberRemoval) -> Option<Vec<Step>> {
    let Some(Value::Array(operations)) = given.get("Operations") else {
        return None;
    };
    if !zoom::has_schemas(given) {
        return None;
    }
    let mut steps = Vec::new();
    for operation in operations {
        let op = operation["op"].as_str()?.to_ascii_lowercase();
        let value = operation.get("value").filter(|value| !value.is_null());
        match operation.get("path").and_then(Value::as_str) {
            Some(path) => understand(&op, path, value, removal, &mut steps)?,
            None => {
                for (path, value) in value?.as_object()? {
                    // Clients put `id` and `schemas` into the value too.
                    if path == "members" || path == "displayName" {
                        understand(&op, path, Some(value), removal, &mut steps)?;
                    } else if let (EXTENSION, Some(alias)) =
                        (path.as_str(), value.get("emailAlias"))
                    {
                        understand(&op, "emailAlias", Some(alias), removal, &mut steps)?;
                    }
                }
            }
        }
    }
    Some(steps)
}

fn understand(
    op: &str,
    path: &str,
    value: Option<&Value>,
    removal: MemberRemoval,
    steps: &mut Vec<Step>,
) -> Option<()> {
    match (op, path) {
        ("add", "members") => steps.push(Step::Add(ids(value?)?)),
        ("replace", "members") => steps.extend([Step::Clear, Step::Add(ids(value?)?)]),
        ("remove", "members") => steps.push(match value {
            None => Step::Clear,
            Some(_) if removal == MemberRemoval::Path => return None,
            Some(value) => Step::Remove(ids(value)?),
        }),
        ("remove", path) if removal != MemberRemoval::Values => {
            steps.push(Step::Remove(vec![member(path)?]))
        }
        ("add" | "replace", "displayName") => {
            let name = value?.as_str().filter(|name| !name.trim().is_empty())?;
            steps.push(Step::Rename(name.to_owned()));
        }
        ("add" | "replace", path) if path.rsplit(':').next() == Some("emailAlias") => {
            steps.push(Step::EmailAlias(value?.as_str()?.to_owned()));
        }
        _ => return None,
    }
    Some(())
}

/// The ids in `[{"value": id}, ...]`, or in one such object.
fn ids(value: &Value) -> Option<Vec<String>> {
    let id = |member: &Value| Some(member.get("value")?.as_str()?.to_owned());
    match value {
        Value::Array(members) => members.iter().map(id).collect(),
        member => id(member).map(|id| vec![id]),
    }
}

/// The id in `members[value eq "id"]`.
fn member(path: &str) -> Option<String> {
    let filter = path.strip_prefix("members[")?.strip_suffix(']')?;
    let rest = filter.trim().strip_prefix("value")?.trim_start();
    let (eq, id) = rest.split_once(char::is_whitespace)?;
    if !eq.eq_ignore_ascii_case("eq") {
        return None;
    }
    serde_json::from_str(id.trim()).ok()
}

#[cfg(test)]
mod tests;
