//! Reading: a consistent snapshot of the directory, in its own terms. Marks, edges and journal have theirs beside
//! their writing.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use redb::{Key as TableKey, ReadOnlyTable, ReadTransaction, TableDefinition, Value as TableValue};

use crate::error::Fault;
use crate::scim::{Handle, Kind, Resource};

use super::ids::Instance;
use super::keys::{self, Key as KeyBytes, tag};
use super::policies::Binding;
use super::row::{RowRef, kind_byte};
use super::tables::{self, BLOCK, Bytes, KEYS, ROWS, STATE, Seal, Trouble};
use super::transaction::{Tally, read_tally};

/// A key under which there is at most one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// The outward id. Tombstones are not found.
    Id(Kind, &'a str),
    /// userName, in any case. Tombstones are not found.
    UserName(&'a str),
    /// The account's id in an application. Tombstones are found.
    Remote {
        /// The application.
        application: &'a str,
        /// Its id of the account.
        remote_id: &'a str,
    },
    /// The id of a group in an application. Tombstones are found.
    RemoteGroup {
        /// The application.
        application: &'a str,
        /// Its id of the group.
        remote_id: &'a str,
    },
    /// The name of an account that a tombstone still has; the newest one's.
    Orphan {
        /// The application.
        application: &'a str,
        /// The account's userName there, in any case.
        account: &'a str,
    },
}

/// A key under which there may be several resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// userName, in any case.
    UserName(&'a str),
    /// externalId, exactly, as this client gave it.
    ExternalId {
        /// The client that owns the resource.
        client: &'a str,
        /// The value.
        value: &'a str,
    },
    /// Any of `emails.value`, in any case.
    Email(&'a str),
    /// A group's displayName, in any case.
    GroupName(&'a str),
}

/// A snapshot. Sees nothing that is committed after it was taken, and keeps the pages it needs from being reused: not
/// for keeping.
pub struct View {
    pub(super) transaction: ReadTransaction,
    pub(super) rows: ReadOnlyTable<u64, Bytes>,
    pub(super) keys: ReadOnlyTable<Bytes, Bytes>,
    /// The dead whose edges still stand, once somebody has asked.
    pub(super) dead: OnceLock<BTreeSet<Handle>>,
    /// The groups that policies are bound to, once somebody has asked.
    pub(super) bindings: OnceLock<Vec<Binding>>,
    instance: Instance,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

impl View {
    pub(super) fn new(transaction: ReadTransaction, instance: Instance) -> Result<Self, Trouble> {
        Ok(Self {
            rows: transaction.open_table(ROWS)?,
            keys: transaction.open_table(KEYS)?,
            dead: OnceLock::new(),
            bindings: OnceLock::new(),
            transaction,
            instance,
        })
    }

    pub(super) fn table<K: TableKey + 'static, V: TableValue + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, Trouble> {
        Ok(self.transaction.open_table(table)?)
    }

    /// The resource under a unique key.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn find(&self, key: &Key<'_>) -> Result<Option<Handle>, Fault> {
        Ok(match key {
            Key::Id(kind, id) => self.by_id(*kind, id)?,
            Key::UserName(name) => tables::read_handle(&self.keys, &keys::user_name(name))?,
            Key::Remote {
                application,
                remote_id,
            } => tables::read_handle(&self.keys, &keys::remote(application, remote_id))?,
            Key::RemoteGroup {
                application,
                remote_id,
            } => tables::read_handle(&self.keys, &keys::remote_group(application, remote_id))?,
            Key::Orphan {
                application,
                account,
            } => self.under(&keys::orphans(application, account))?.pop(),
        })
    }

    /// The resources of a kind under a key, in handle order. Tombstones are not found.
    ///
    /// # Errors
    /// As [`View::find`].
    pub fn find_all(&self, kind: Kind, lookup: &Lookup<'_>) -> Result<Vec<Handle>, Fault> {
        Ok(match (kind, lookup) {
            (Kind::User, Lookup::UserName(name)) => {
                let found = tables::read_handle(&self.keys, &keys::user_name(name))?;
                found.into_iter().collect()
            }
            (Kind::User, Lookup::Email(address)) => self.by_email(address)?,
            (Kind::Group, Lookup::GroupName(name)) => self.under(&keys::group_names(name))?,
            (kind, Lookup::ExternalId { client, value }) => {
                self.under(&keys::external_ids(client, value, kind))?
            }
            (Kind::Group, Lookup::UserName(_) | Lookup::Email(_))
            | (Kind::User, Lookup::GroupName(_)) => Vec::new(),
        })
    }

    /// Calls `look` with a row, tombstones too. `None`: there is none.
    ///
    /// # Errors
    /// As [`View::find`].
    pub fn row<R>(
        &self,
        handle: Handle,
        look: impl FnOnce(RowRef<'_>) -> R,
    ) -> Result<Option<R>, Fault> {
        Ok(self.look(handle, look)?)
    }

    /// A whole resource, tombstones too.
    ///
    /// # Errors
    /// As [`View::find`].
    pub fn resource(&self, handle: Handle) -> Result<Option<Resource>, Fault> {
        Ok(self.look(handle, |row| row.decode())?.transpose()?)
    }

    /// How many resources of a kind clients can see.
    ///
    /// # Errors
    /// As [`View::find`].
    pub fn count(&self, kind: Kind) -> Result<u64, Fault> {
        let key = KeyBytes::new(tag::TOTAL).byte(kind_byte(kind)).done();
        Ok(tables::read_number(&self.keys, &key)?.unwrap_or(0))
    }

    /// Calls `each` with at most `count` resources in handle order, the first of them the `start_index`-th from 1
    /// (RFC 7644 3.4.2.4; below 1 counts as 1). Counts of blocks are skipped over, so that every page costs the same.
    ///
    /// # Errors
    /// As [`View::find`].
    pub fn page(
        &self,
        kind: Kind,
        start_index: u64,
        count: usize,
        mut each: impl FnMut(RowRef<'_>),
    ) -> Result<(), Fault> {
        let mut skip = start_index.max(1) - 1;
        let mut first = None;
        let prefix = KeyBytes::new(tag::BLOCK).byte(kind_byte(kind)).done();
        tables::scan(&self.keys, Seal::Key, &prefix, &prefix, |key, value| {
            let live = tables::number(value)?;
            if skip < live {
                first = Some(keys::last_number(key).saturating_mul(BLOCK));
                return Ok(ControlFlow::Break(()));
            }
            skip -= live;
            Ok(ControlFlow::Continue(()))
        })?;
        let Some(first) = first else {
            return Ok(());
        };
        let mut left = count;
        if left == 0 {
            return Ok(());
        }
        self.walk(kind, Handle(first), |row| {
            if skip > 0 {
                skip -= 1;
                return ControlFlow::Continue(());
            }
            each(row);
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    /// Calls `each` with every resource of a kind that clients can see, in handle order from `from` on, until it says
    /// stop. For cursors, walking filters and sweeps.
    ///
    /// # Errors
    /// As [`View::find`].
    pub fn walk(
        &self,
        kind: Kind,
        from: Handle,
        mut each: impl FnMut(RowRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        if kind == Kind::User {
            let rest = from..=Handle(u64::MAX);
            return Ok(self.users_between(rest, false, &mut each).map(drop)?);
        }
        let start = keys::by_handle(tag::GROUP, from);
        let end = tables::after(&[tag::GROUP]);
        Ok(self.keys_between(&start, &end, false, |key, _| {
            self.listed(Handle(keys::last_number(key)), &mut each)
        })?)
    }

    /// What is counted of an application.
    ///
    /// # Errors
    /// As [`View::find`].
    pub fn tally(&self, application: &str) -> Result<Tally, Fault> {
        Ok(read_tally(&self.table(STATE)?, application)?)
    }

    /// An id of ours carries its handle; the whole id must be the row's all the same. Others have a key.
    fn by_id(&self, kind: Kind, id: &str) -> Result<Option<Handle>, Trouble> {
        if let Some(handle) = self.instance.handle(id) {
            let is_it = |row: RowRef<'_>| row.id == id && row.kind == kind && row.deleted.is_none();
            if self.look(handle, is_it)? == Some(true) {
                return Ok(Some(handle));
            }
        }
        tables::read_handle(&self.keys, &keys::id(kind, id))
    }

    /// An address that equals the userName has no key of its own, and not every userName is one of the addresses.
    fn by_email(&self, address: &str) -> Result<Vec<Handle>, Trouble> {
        let mut found = self.under(&keys::emails(address))?;
        if let Some(handle) = tables::read_handle(&self.keys, &keys::user_name(address))? {
            let folded = crate::scim::schema::fold(address);
            let resource = self.look(handle, |row| row.decode())?.transpose()?;
            if resource.is_some_and(|one| keys::addresses(&one).any(|it| it == folded)) {
                found.push(handle);
                found.sort_unstable();
            }
        }
        Ok(found)
    }

    fn under(&self, prefix: &[u8]) -> Result<Vec<Handle>, Trouble> {
        let mut found = Vec::new();
        tables::scan(&self.keys, Seal::Key, prefix, prefix, |key, _| {
            found.push(Handle(keys::last_number(key)));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    pub(super) fn look<R>(
        &self,
        handle: Handle,
        look: impl FnOnce(RowRef<'_>) -> R,
    ) -> Result<Option<R>, Trouble> {
        let Some(stored) = self.rows.get(handle.0)? else {
            return Ok(None);
        };
        Ok(Some(look(parse(handle, stored.value())?)))
    }
}

pub(super) fn parse(handle: Handle, stored: &[u8]) -> Result<RowRef<'_>, Trouble> {
    let bytes = tables::unseal(Seal::Row, &handle.0.to_be_bytes(), stored)?;
    RowRef::parse(handle, bytes)
}
