//! Who waits for a mark: the records whose end it will be. What the report shows as open has a mark that remembers it.

use crate::journal::record::{Delivery, Event, Operation, Record};
use crate::scim::{Handle, Resource};

use super::keys;
use super::marks::Row;
use super::tables::Trouble;
use super::transaction::{Transaction, from_json, json};

/// Records that a mark remembers; the oldest are forgotten, and their rows in the report closed.
const CAUSES: usize = 8;

impl Transaction<'_> {
    /// A mark that stays waits for what an exchange has left open, though so much was asked for meanwhile that it was
    /// forgotten: no request's row stays open without a mark that will settle it.
    pub(super) fn keep_causes(
        &mut self,
        handle: Handle,
        application: &str,
        records: &[Record],
    ) -> Result<(), Trouble> {
        let caused = |record: &&Record| record.event == Event::Delivery && !record.cause.is_empty();
        let mut caused = records.iter().filter(caused).peekable();
        if caused.peek().is_none() {
            return Ok(());
        }
        let id = self.row(handle, |row| row.id.to_owned())?;
        let here = |record: &&Record| {
            let mut deliveries = record.deliveries.iter();
            let open = |it: &Delivery| it.application == application && it.status.is_open();
            id.as_ref() == Some(&record.id) && deliveries.any(open)
        };
        let left = caused.filter(here).flat_map(|record| &record.cause);
        let key = keys::mark(handle, application);
        let Some(bytes) = self.mark(&key)? else {
            return Ok(());
        };
        let mut row: Row = from_json(&bytes)?;
        let before = row.cause.clone();
        row.cause.extend(left);
        row.cause.sort_unstable();
        row.cause.dedup();
        self.supersede(handle, application, &mut row.cause)?;
        if row.cause != before {
            self.put_mark(&key, Some(json(&row)?))?;
        }
        Ok(())
    }

    /// Forgets the oldest of the requests that a mark settles where they are too many: no row of one stays open.
    pub(super) fn supersede(
        &mut self,
        handle: Handle,
        application: &str,
        cause: &mut Vec<u64>,
    ) -> Result<(), Trouble> {
        let forgotten = cause.len().saturating_sub(CAUSES);
        let forgotten: Vec<u64> = cause.drain(..forgotten).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        let Some(resource) = self.resource(handle)? else {
            return Ok(());
        };
        let reason = "later changes wait as well; what goes to the application is the last of them";
        self.close(&resource, application, forgotten, ("superseded", reason))
    }

    /// Journals that nothing goes to an application for these requests. `why`: the code, and the same for people.
    pub(super) fn close(
        &mut self,
        resource: &Resource,
        application: &str,
        cause: Vec<u64>,
        why: (&str, &str),
    ) -> Result<(), Trouble> {
        let delivery = Delivery::skipped(resource, application, Operation::Update, why);
        let (time, generation) = (self.head.last_time, self.in_force()?.generation);
        let record = Record::delivered(resource, delivery, cause, time, generation);
        self.append(&mut [record]).map(drop)
    }

    /// A mark that was raised since it was read stays for what came since: the requests that these records settle have
    /// nothing to do with what becomes of it.
    pub(super) fn settle_causes(
        &mut self,
        handle: Handle,
        application: &str,
        records: &[Record],
    ) -> Result<(), Trouble> {
        let settled = |cause: &u64| records.iter().any(|record| record.cause.contains(cause));
        let key = keys::mark(handle, application);
        let Some(bytes) = self.mark(&key)? else {
            return Ok(());
        };
        let mut row: Row = from_json(&bytes)?;
        let before = row.cause.len();
        row.cause.retain(|cause| !settled(cause));
        if row.cause.len() < before {
            self.put_mark(&key, Some(json(&row)?))?;
        }
        Ok(())
    }
}
