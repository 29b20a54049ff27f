//! The six operations on users. Pure.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;

use super::account::{Account, is_address, is_dropped, work_email};
use super::patched::{patched_active, patched_profile, strictly_patched_active};
use super::query::{self, Page};
use super::quirks::{Delete, EmailChange, PendingFilter, PendingWrites};
use super::rate;
use super::zoom::{self, AccountView, Reply, Zoom, fold};

/// The accounts and how they are found.
#[derive(Debug, Default)]
pub(super) struct Users {
    accounts: BTreeMap<u64, Account>,
    by_id: HashMap<Box<str>, u64>,
    /// By folded userName and by folded e-mail address.
    by_name: HashMap<String, u64>,
    /// Those that are not pending, in the order of their keys, so that every page costs the same.
    listed: Vec<u64>,
    /// How many are of the type Basic.
    basic: usize,
    /// How accounts were, for reads that lag behind: until when, oldest first.
    past: HashMap<u64, VecDeque<(Timestamp, Account)>>,
    /// The ids that were deleted.
    deleted: HashSet<Box<str>>,
}

impl Users {
    pub(super) fn key(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&self, key: u64) -> Option<&Account> {
        self.accounts.get(&key)
    }

    /// The account as reads show it now.
    fn seen(&self, key: u64, now: Timestamp) -> Option<&Account> {
        let past = self.past.get(&key).and_then(|past| {
            let mut past = past.iter();
            past.find(|(until, _)| now < *until)
        });
        past.map_or_else(|| self.get(key), |(_, account)| Some(account))
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut Account> {
        self.accounts.get_mut(&key)
    }

    /// The account is no longer in that group.
    pub(super) fn leave(&mut self, key: u64, group: u64) {
        if let Some(account) = self.accounts.get_mut(&key) {
            account.groups.remove(&group);
        }
    }

    fn list(&mut self, key: u64) {
        let at = self.listed.partition_point(|listed| *listed < key);
        self.listed.insert(at, key);
    }
}

impl Zoom {
    pub(super) fn list_users(&self, query: Option<&str>, now: Timestamp) -> Result<Reply, Reply> {
        let page = Page::of(query, &self.quirks)?;
        let all: Vec<u64>;
        let listed = if self.quirks.pending_shown {
            all = self.users.accounts.keys().copied().collect();
            &all[..]
        } else {
            &self.users.listed[..]
        };
        let one: Option<u64>;
        let filter = query::filter(query, &["userName", "externalId"], &self.quirks)?;
        let found = match filter {
            None => {
                let shown = listed.partition_point(|key| self.is_visible(*key, now));
                listed.get(..shown).unwrap_or(&[])
            }
            Some((attribute, value)) => {
                one = self.find_user(attribute, &value, now)?;
                one.as_slice()
            }
        };
        let items = page
            .cut(found)
            .iter()
            .filter_map(|key| self.users.seen(*key, now));
        let items = items.map(|account| {
            if self.quirks.rich_list {
                let mut shown = self.rich(account);
                account.add_login(&mut shown);
                return shown;
            }
            account.slim(&self.base_url, &self.quirks)
        });
        Ok(zoom::list(found.len(), page.start, items.collect()))
    }

    pub(super) fn create_user(&mut self, body: &[u8], now: Timestamp) -> Result<Reply, Reply> {
        let given = zoom::object(body)?;
        if !zoom::has_schemas(&given) {
            return Err(Reply::error(
                400,
                "The \"schemas\" of the request is invalid.",
            ));
        }
        let user_name = given
            .get("userName")
            .and_then(Value::as_str)
            .filter(|name| is_address(name))
            .ok_or_else(|| Reply::error(400, "The \"userName\" of the request is invalid."))?;
        let email = work_email(&given).unwrap_or(user_name);
        let names = [fold(user_name), fold(email)];
        if names
            .iter()
            .any(|name| self.users.by_name.contains_key(name))
        {
            return Err(exists());
        }
        let (key, id) = self.new_id();
        let mut account = Account::create(id.clone(), user_name, &given, &self.quirks, now)?;
        account.pending = self.stays_pending(user_name)
            || self.stays_pending(email)
            || (self.quirks.login_type_denied && !account.is_sso_only());
        let most = self.quirks.max_basic_users;
        if account.is_basic() && most > 0 && self.users.basic >= most {
            let detail = format!("The account has its {most} basic users already.");
            return Err(Reply::error(400, &detail));
        }
        if account.pending && !self.rates.invite(self.quirks.pending_a_day, now) {
            return Err(rate::too_many_a_day(&self.quirks, now));
        }
        if !account.pending {
            self.users.list(key);
        }
        self.users.basic += usize::from(account.is_basic());
        self.users.by_id.insert(id, key);
        for name in names {
            self.users.by_name.insert(name, key);
        }
        self.join_named(key, &mut account, &given);
        let body = self.rich(&account);
        self.users.accounts.insert(key, account);
        Ok(Reply::new(201, body).with_effect(true))
    }

    pub(super) fn get_user(&self, id: &str, now: Timestamp) -> Result<Reply, Reply> {
        let key = self.users.key(id).ok_or_else(unknown)?;
        let lag = Duration::from_millis(self.quirks.get_lag_ms);
        let account = self
            .users
            .seen(key, now)
            .filter(|account| !account.pending || self.quirks.pending_shown)
            .filter(|account| account.created.plus(lag) <= now)
            .ok_or_else(unknown)?;
        Ok(Reply::new(200, self.rich(account)))
    }

    pub(super) fn put_user(
        &mut self,
        id: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        let given = zoom::object(body)?;
        self.change_user(id, now, |zoom, key, account| {
            if zoom.quirks.put_replaces {
                account.clear(&zoom.quirks.put_drops);
            }
            zoom.put(key, account, &given)
        })
    }

    pub(super) fn patch_user(
        &mut self,
        id: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        let given = zoom::object(body)?;
        let operations = self.operations(&given);
        let active = if self.quirks.strict_patch {
            operations.and_then(strictly_patched_active)
        } else {
            operations.and_then(patched_active)
        };
        let mut profile = Map::new();
        if self.quirks.patch_profile {
            profile = operations.map(patched_profile).unwrap_or_default();
        }
        if active.is_none() && profile.is_empty() {
            let detail = "The request json did not contains valid active field.";
            return Err(Reply::error(400, detail));
        }
        self.change_user(id, now, |zoom, key, account| {
            account.set_active(active.unwrap_or(account.active), &zoom.quirks)?;
            zoom.put(key, account, &profile)
        })
    }

    pub(super) fn delete_user(&mut self, id: &str) -> Result<Reply, Reply> {
        if self.quirks.delete_again_ok && self.users.deleted.contains(id) {
            return Ok(Reply::empty(false));
        }
        let key = self.users.key(id).ok_or_else(unknown)?;
        let account = self.users.get(key).ok_or_else(unknown)?;
        if account.pending && self.quirks.pending_writes == PendingWrites::Denied {
            return Err(unknown());
        }
        if self.quirks.admin_delete_refused && account.is_admin() {
            let detail = "Users with the role Admin or Owner cannot be deleted.";
            return Err(Reply::error(400, detail));
        }
        let unlinked = self.quirks.delete == Delete::Disassociate;
        if unlinked && self.quirks.managed_unlink_refused && !self.is_foreign(&account.email) {
            let detail = "Users of a managed domain cannot be disassociated.";
            return Err(Reply::error(400, detail));
        }
        let account = self.users.accounts.remove(&key).ok_or_else(unknown)?;
        self.users.by_id.remove(id);
        self.users.past.remove(&key);
        self.users.deleted.insert(id.into());
        let names = [fold(&account.user_name), fold(&account.email)];
        for name in &names {
            self.users.by_name.remove(name);
        }
        if unlinked {
            self.free_accounts.extend(names);
        }
        self.users.basic -= usize::from(account.is_basic());
        if let Ok(at) = self.users.listed.binary_search(&key) {
            self.users.listed.remove(at);
        }
        for group in account.groups {
            self.groups.forget_member(group, key);
        }
        Ok(Reply::empty(true))
    }

    /// A pending user accepts the invitation. False: nobody of that name is pending.
    pub(super) fn accept(&mut self, user_name: &str) -> bool {
        let Some(key) = self.users.by_name.get(&fold(user_name)).copied() else {
            return false;
        };
        let account = self.users.get_mut(key).filter(|account| account.pending);
        let Some(account) = account else {
            return false;
        };
        account.pending = false;
        self.users.list(key);
        true
    }

    /// The account of that userName or e-mail address, pending or not.
    pub(super) fn account(&self, user_name: &str) -> Option<AccountView> {
        let key = self.users.by_name.get(&fold(user_name))?;
        self.users.get(*key).map(|account| self.view(account))
    }

    /// Every account, in the order in which they were made.
    pub(super) fn accounts(&self) -> Vec<AccountView> {
        self.users
            .accounts
            .values()
            .map(|account| self.view(account))
            .collect()
    }

    fn view(&self, account: &Account) -> AccountView {
        AccountView {
            id: account.id.clone().into(),
            user_name: account.user_name.clone(),
            email: account.email.clone(),
            active: account.active,
            pending: account.pending,
            user: self.rich(account),
        }
    }

    fn rich(&self, account: &Account) -> Value {
        let groups = account.groups.iter();
        let groups = groups.filter_map(|group| self.groups.id_and_name(*group));
        account.rich(&self.base_url, &self.quirks, groups)
    }

    fn find_user(
        &self,
        attribute: &str,
        value: &str,
        now: Timestamp,
    ) -> Result<Option<u64>, Reply> {
        let by_name = attribute == "userName";
        let found = if by_name {
            self.users.by_name.get(&fold(value)).copied()
        } else {
            self.users.key(value)
        };
        let pending = found
            .and_then(|key| self.users.get(key))
            .is_some_and(|account| account.pending);
        let found = found.filter(|key| self.is_visible(*key, now));
        match self.quirks.pending_filter {
            _ if !pending => Ok(found),
            PendingFilter::Error if by_name => {
                let detail = format!("User {value} not exist or not belong to this account.");
                Err(Reply::error(400, &detail))
            }
            PendingFilter::Error | PendingFilter::Empty => Ok(None),
            PendingFilter::Found => Ok(found),
        }
    }

    fn is_visible(&self, key: u64, now: Timestamp) -> bool {
        let lag = Duration::from_millis(self.quirks.lookup_lag_ms);
        self.users
            .get(key)
            .is_some_and(|account| account.created.plus(lag) <= now)
    }

    /// Changes a copy and keeps it if the change is allowed. What is written to a pending user is answered as if it
    /// had been done, and by default is not.
    fn change_user(
        &mut self,
        id: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Self, u64, &mut Account) -> Result<(), Reply>,
    ) -> Result<Reply, Reply> {
        let key = self.users.key(id).ok_or_else(unknown)?;
        let before = self.users.get(key).ok_or_else(unknown)?;
        match self.quirks.pending_writes {
            PendingWrites::Ignored if before.pending => {
                return Ok(Reply::new(200, self.rich(before)));
            }
            PendingWrites::Denied if before.pending => return Err(unknown()),
            _ => {}
        }
        let before = before.clone();
        let mut account = before.clone();
        change(self, key, &mut account)?;
        let effect = before != account;
        if effect {
            account.modified = now;
            account.version += 1;
            self.users.basic -= usize::from(before.is_basic());
            self.users.basic += usize::from(account.is_basic());
            self.remember(key, before, now);
        }
        let body = self.rich(&account);
        self.users.accounts.insert(key, account);
        Ok(Reply::new(200, body).with_effect(effect))
    }

    /// Keeps how an account was for the reads that lag behind.
    fn remember(&mut self, key: u64, before: Account, now: Timestamp) {
        let until = now.plus(Duration::from_millis(self.quirks.write_lag_ms));
        if until > now {
            let past = self.users.past.entry(key).or_default();
            past.retain(|(until, _)| now < *until);
            past.push_back((until, before));
        } else {
            self.users.past.remove(&key);
        }
    }

    /// What PUT does with what it was given. The names come late: nothing is refused after they were taken.
    fn put(
        &mut self,
        key: u64,
        account: &mut Account,
        given: &Map<String, Value>,
    ) -> Result<(), Reply> {
        let drops = &self.quirks.put_drops;
        account.merge(given, drops, &self.quirks)?;
        let user_name = given.get("userName").and_then(Value::as_str);
        let user_name = user_name.filter(|name| is_address(name) && !is_dropped(drops, "userName"));
        let email = work_email(given).filter(|_| !is_dropped(drops, "emails"));
        let email = match (email, self.quirks.email_change) {
            (None, _) | (_, EmailChange::Dropped) => None,
            (Some(email), EmailChange::Anywhere) => Some(email),
            (Some(email), _) if fold(email) == fold(&account.email) => Some(email),
            (Some(email), _) if !self.is_foreign(email) => Some(email),
            (Some(_), EmailChange::AssociatedSilent) => None,
            (Some(_), EmailChange::Associated) => {
                let detail = "Domain name doesn't match. Please contact the Zoom Customer Support \
                              to set managed domains for your account.";
                return Err(Reply::error(400, detail));
            }
        };
        self.rename(key, account, user_name, email)?;
        self.join_named(key, account, given);
        Ok(())
    }

    fn rename(
        &mut self,
        key: u64,
        account: &mut Account,
        user_name: Option<&str>,
        email: Option<&str>,
    ) -> Result<(), Reply> {
        let before = [fold(&account.user_name), fold(&account.email)];
        let user_name = user_name.unwrap_or(&account.user_name).to_owned();
        let email = email.unwrap_or(&account.email).to_owned();
        let after = [fold(&user_name), fold(&email)];
        let names = &mut self.users.by_name;
        if after
            .iter()
            .any(|name| names.get(name).is_some_and(|other| *other != key))
        {
            return Err(exists());
        }
        for name in &before {
            names.remove(name);
        }
        for name in after {
            names.insert(name, key);
        }
        account.user_name = user_name;
        account.email = email;
        Ok(())
    }

    /// The operations of a PATCH. `Operations` needs its capital.
    fn operations<'a>(&self, given: &'a Map<String, Value>) -> Option<&'a [Value]> {
        let any_case = self.quirks.any_case_operations;
        let mut found = given.iter().filter(|(key, _)| {
            *key == "Operations" || (any_case && key.eq_ignore_ascii_case("operations"))
        });
        match found.next() {
            Some((_, Value::Array(operations))) => Some(operations),
            _ => None,
        }
    }
}

fn unknown() -> Reply {
    Reply::error(404, "User does not exist.")
}

fn exists() -> Reply {
    Reply::error(409, "The user already exists")
}

#[cfg(test)]
mod tests;
