//! An import and how far it is: one row an application, which moves in the transaction that takes an account in. So a crash
//! costs what was read and not yet taken in, and each account counts once.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::Kind;

use super::tables::{self, STATE, Seal, Trouble, name};
use super::transaction::{Transaction, from_json, json};
use super::view::View;

/// Conflicts that the row names; the journal has all of them.
const NAMED: usize = 200;

/// An application's import: the one under way, or else the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The application.
    pub application: String,
    /// Tells it from every other one of the application.
    pub number: u64,
    /// What is taken in is claimed at once, by a person's word.
    pub claim: bool,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended; `None`: it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why it did not come to its end. The next one goes on where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The id of one that could not be read, which ended an import: if it cannot be read by the next one either, though the
    /// list can, it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
    /// What it is at: groups first.
    pub at: Kind,
    /// The place in the application's list of the first one that is not taken in yet, from 1.
    pub next: usize,
    /// How many there are in that list, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// What came of the groups.
    pub groups: Counted,
    /// What came of the users.
    pub users: Counted,
    /// Why groups were left out, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_groups: Option<String>,
    /// The first of those that could not be taken in.
    pub conflicts: Vec<Clash>,
    /// How many users the last whole look through the list found: a list that is much shorter is not believed.
    #[serde(default)]
    pub whole: u64,
}

/// What came of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Seen there.
    pub found: u64,
    /// Of those: linked here, before or now.
    pub matched: u64,
    /// Created here.
    pub created: u64,
    /// Neither.
    pub conflicted: u64,
}

/// One that could not be taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clash {
    /// User or Group.
    pub kind: Kind,
    /// Its id there.
    pub remote_id: String,
    /// Its userName or displayName there.
    pub name: String,
    /// For scripts.
    pub code: String,
    /// For people.
    pub reason: String,
}

impl Import {
    /// One that begins after `before`: where that one failed, it goes on.
    #[must_use]
    pub fn after(before: Option<Self>, application: &str, claim: bool, now: Timestamp) -> Self {
        if let Some(before) = before
            .as_ref()
            .filter(|before| before.failed.is_some() && before.claim == claim)
        {
            return Self {
                number: before.number.saturating_add(1),
                begun: now,
                ended: None,
                failed: None,
                ..before.clone()
            };
        }
        Self {
            application: application.to_owned(),
            number: before
                .as_ref()
                .map_or(1, |before| before.number.saturating_add(1)),
            claim,
            begun: now,
            ended: None,
            failed: None,
            stuck: None,
            at: Kind::Group,
            next: 1,
            total: None,
            groups: Counted::default(),
            users: Counted::default(),
            without_groups: None,
            conflicts: Vec::new(),
            whole: before.map_or(0, |before| before.whole),
        }
    }

    /// The counts of what it is at.
    pub fn counted(&mut self) -> &mut Counted {
        match self.at {
            Kind::User => &mut self.users,
            Kind::Group => &mut self.groups,
        }
    }

    /// Counts a conflict, and names it if it is one of the first.
    pub fn clashes(&mut self, clash: Clash) {
        self.counted().conflicted += 1;
        if self.conflicts.len() < NAMED {
            self.conflicts.push(clash);
        }
    }
}

impl Transaction<'_> {
    pub(super) fn put_import(&mut self, import: &Import) -> Result<(), Trouble> {
        self.put_state(&key(&import.application), json(import)?)
    }
}

impl View {
    /// The import of an application that is under way, or else its last one.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn import(&self, application: &str) -> Result<Option<Import>, Fault> {
        let stored = tables::read(&self.table(STATE)?, Seal::State, &key(application))?;
        Ok(stored.map(|bytes| from_json(&bytes)).transpose()?)
    }
}

fn key(application: &str) -> Vec<u8> {
    format!("{}{application}", name::IMPORT).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_goes_on_where_one_failed_and_begins_anew_after_a_whole_one() {
        let mut first = Import::after(None, "zoom", false, Timestamp(1));
        (first.at, first.next, first.whole) = (Kind::User, 41, 9);
        first.counted().found = 40;
        first.ended = Some(Timestamp(2));
        let anew = Import::after(Some(first.clone()), "zoom", false, Timestamp(3));
        assert_eq!(
            (anew.number, anew.next, anew.users.found, anew.whole),
            (2, 1, 0, 9)
        );
        first.failed = Some(String::from("away"));
        let on = Import::after(Some(first.clone()), "zoom", false, Timestamp(3));
        assert_eq!((on.number, on.next, on.users.found), (2, 41, 40));
        assert_eq!((on.begun, on.ended, on.failed), (Timestamp(3), None, None));
        // What was taken in before was not claimed.
        let other = Import::after(Some(first), "zoom", true, Timestamp(3));
        assert_eq!(other.next, 1);
    }

    #[test]
    fn the_row_names_the_first_conflicts_and_counts_all() {
        let mut import = Import::after(None, "zoom", false, Timestamp(1));
        for number in 0..NAMED + 5 {
            import.clashes(Clash {
                kind: Kind::Group,
                remote_id: number.to_string(),
                name: String::new(),
                code: String::new(),
                reason: String::new(),
            });
        }
        assert_eq!(import.conflicts.len(), NAMED);
        assert_eq!(import.groups.conflicted, NAMED as u64 + 5);
    }
}
