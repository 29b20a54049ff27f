//! The six operations on users. Pure.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::clock::Timestamp;

use super::account::{Account, is_address, truth, work_email};
use super::query::{self, Page};
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
}

impl Users {
    pub(super) fn key(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&self, key: u64) -> Option<&Account> {
        self.accounts.get(&key)
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
        let page = Page::of(query);
        let shown = self
            .users
            .listed
            .partition_point(|key| self.is_visible(*key, now));
        let one: Option<u64>;
        let found = match query::filter(query, &["userName", "externalId"])? {
            None => self.users.listed.get(..shown).unwrap_or(&[]),
            Some((attribute, value)) => {
                one = self.find_user(attribute, &value, now)?;
                one.as_slice()
            }
        };
        let items = page
            .cut(found)
            .iter()
            .filter_map(|key| self.users.get(*key));
        let items = items.map(|account| account.slim(&self.base_url)).collect();
        Ok(zoom::list(found.len(), page.start, items))
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
        let mut account = Account::create(id.clone(), user_name, &given, now);
        account.pending = self.stays_pending(user_name) || self.stays_pending(email);
        if !account.pending {
            self.users.list(key);
        }
        self.users.by_id.insert(id, key);
        for name in names {
            self.users.by_name.insert(name, key);
        }
        let body = self.rich(&account);
        self.users.accounts.insert(key, account);
        Ok(Reply::new(201, body).with_effect(true))
    }

    pub(super) fn get_user(&self, id: &str) -> Result<Reply, Reply> {
        let account = self.users.key(id).and_then(|key| self.users.get(key));
        let account = account
            .filter(|account| !account.pending)
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
            if let Some(email) = work_email(&given) {
                zoom.change_email(key, account, email)?;
            }
            account.merge(&given);
            Ok(())
        })
    }

    pub(super) fn patch_user(
        &mut self,
        id: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Reply, Reply> {
        let given = zoom::object(body)?;
        let active = patched_active(&given).ok_or_else(|| {
            Reply::error(400, "The request json did not contains valid active field.")
        })?;
        self.change_user(id, now, |_, _, account| {
            account.set_active(active);
            Ok(())
        })
    }

    pub(super) fn delete_user(&mut self, id: &str) -> Result<Reply, Reply> {
        let key = self.users.by_id.remove(id).ok_or_else(unknown)?;
        let account = self.users.accounts.remove(&key).ok_or_else(unknown)?;
        self.users.by_name.remove(&fold(&account.user_name));
        self.users.by_name.remove(&fold(&account.email));
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
        let names = groups.filter_map(|group| self.groups.name(*group));
        account.rich(&self.base_url, names)
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
        if pending && by_name {
            let detail = format!("User {value} not exist or not belong to this account.");
            return Err(Reply::error(400, &detail));
        }
        Ok(found.filter(|key| !pending && self.is_visible(*key, now)))
    }

    fn is_visible(&self, key: u64, now: Timestamp) -> bool {
        self.users
            .get(key)
            .is_some_and(|account| account.created.plus(self.lookup_lag) <= now)
    }

    /// Changes a copy and keeps it if the change is allowed. What is written to a pending user is answered as if it
    /// had been done, and is not.
    fn change_user(
        &mut self,
        id: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Self, u64, &mut Account) -> Result<(), Reply>,
    ) -> Result<Reply, Reply> {
        let key = self.users.key(id).ok_or_else(unknown)?;
        let before = self.users.get(key).ok_or_else(unknown)?;
        if before.pending {
            return Ok(Reply::new(200, self.rich(before)));
        }
        let mut account = before.clone();
        change(self, key, &mut account)?;
        let effect = self.users.get(key) != Some(&account);
        if effect {
            account.modified = now;
            account.version += 1;
        }
        let body = self.rich(&account);
        self.users.accounts.insert(key, account);
        Ok(Reply::new(200, body).with_effect(effect))
    }

    fn change_email(&mut self, key: u64, account: &mut Account, email: &str) -> Result<(), Reply> {
        let (old, new) = (fold(&account.email), fold(email));
        if old != new {
            if self.is_foreign(email) {
                let detail = "Domain name doesn't match. Please contact the Zoom Customer Support \
                              to set managed domains for your account.";
                return Err(Reply::error(400, detail));
            }
            if self
                .users
                .by_name
                .get(&new)
                .is_some_and(|other| *other != key)
            {
                return Err(exists());
            }
            if old != fold(&account.user_name) {
                self.users.by_name.remove(&old);
            }
            self.users.by_name.insert(new, key);
        }
        email.clone_into(&mut account.email);
        Ok(())
    }
}

fn unknown() -> Reply {
    Reply::error(404, "User does not exist.")
}

fn exists() -> Reply {
    Reply::error(409, "The user already exists")
}

/// What the operations say about `active`: any `op` in any case, with the path or inside a value. The last one counts.
/// `Operations` needs its capital.
fn patched_active(given: &Map<String, Value>) -> Option<bool> {
    let Some(Value::Array(operations)) = given.get("Operations") else {
        return None;
    };
    let mut said = operations.iter().filter_map(|operation| {
        let op = operation["op"].as_str()?;
        if !op.eq_ignore_ascii_case("replace") && !op.eq_ignore_ascii_case("add") {
            return None;
        }
        let value = operation.get("value")?;
        match operation.get("path").and_then(Value::as_str).unwrap_or("") {
            "" => truth(value.get("active")?),
            path if path.eq_ignore_ascii_case("active") => {
                truth(value.get("active").unwrap_or(value))
            }
            _ => None,
        }
    });
    said.next_back()
}

#[cfg(test)]
mod tests;
