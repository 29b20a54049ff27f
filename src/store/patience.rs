//! What an application asked for, and how it fails, so that a gateway that starts anew knows it before its first call.
//!
//! A row an application. It waits beside the writer's queue and is written with the next commit, which as a rule is the
//! one that records the answer, or within a second. Only the newest of each waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::provision::pace::patience::Patience;

use super::front::{Store, lock};
use super::tables::{self, STATE, Seal, Trouble, name};
use super::transaction::{Transaction, from_json, json};
use super::view::View;

/// What is stored of one application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// The way there that it is about: at another address nobody asked for anything.
    way: String,
    patience: Patience,
}

/// What waits to be written, by application.
#[derive(Debug, Clone, Default)]
pub(super) struct Unwritten(Arc<Mutex<BTreeMap<String, Row>>>);

impl Unwritten {
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    pub(super) fn take(&self) -> BTreeMap<String, Row> {
        std::mem::take(&mut *lock(&self.0))
    }

    /// What was taken was not committed after all. What came since is newer.
    pub(super) fn put_back(&self, taken: BTreeMap<String, Row>) {
        let mut rows = lock(&self.0);
        for (application, row) in taken {
            rows.entry(application).or_insert(row);
        }
    }
}

fn key(application: &str) -> String {
    format!("{}{application}", name::PATIENCE)
}

impl Store {
    /// Has the next commit write what has to be known of an application after a restart. Never waits.
    pub fn remember(&self, application: &str, way: &str, patience: Patience) {
        let row = Row {
            way: way.to_owned(),
            patience,
        };
        lock(&self.0.unwritten.0).insert(application.to_owned(), row);
    }
}

impl Transaction<'_> {
    pub(super) fn put_patience(&mut self, rows: &BTreeMap<String, Row>) -> Result<(), Trouble> {
        for (application, row) in rows {
            self.put_state(key(application).as_bytes(), json(row)?)?;
        }
        Ok(())
    }
}

impl View {
    /// What is known of an application that is reached this way, if it was ever called so.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn patience(&self, application: &str, way: &str) -> Result<Option<Patience>, Fault> {
        let key = key(application);
        let stored = tables::read(&self.table(STATE)?, Seal::State, key.as_bytes())?;
        let row: Option<Row> = stored.map(|bytes| from_json(&bytes)).transpose()?;
        Ok(row.filter(|row| row.way == way).map(|row| row.patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_with_the_next_commit_or_when_somebody_asks_and_holds_for_its_way_alone() {
        let store = Store::inline_memory().expect("memory");
        let known = |way: &str| {
            let view = store.view().expect("a view");
            view.patience("zoom", way).expect("readable")
        };
        let fails = |failures| Patience {
            failures,
            ..Patience::default()
        };
        store.remember("zoom", "https://one", fails(1));
        store.remember("zoom", "https://one", fails(2));
        assert_eq!(known("https://one"), None, "it waits");
        store.write_notes();
        assert_eq!(known("https://one"), Some(fails(2)), "the newest");
        assert_eq!(known("https://another"), None);
        let commits = store.statistics().commits;
        store.write_notes();
        assert_eq!(store.statistics().commits, commits, "nothing waits");
        // What a transaction that was given up had taken is not lost, and not newer than what came since.
        let unwritten = &store.0.unwritten;
        store.remember("zoom", "https://one", fails(3));
        store.remember("wiki", "https://wiki", fails(1));
        let taken = unwritten.take();
        store.remember("zoom", "https://one", fails(4));
        unwritten.put_back(taken);
        store.write_notes();
        assert_eq!(known("https://one"), Some(fails(4)));
        let view = store.view().expect("a view");
        let wiki = view.patience("wiki", "https://wiki");
        assert_eq!(wiki.expect("readable"), Some(fails(1)));
    }
}
