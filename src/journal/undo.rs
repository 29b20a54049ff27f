//! What it takes to bring people and groups back to where they were before a client's writes. Pure: the journal's records
//! and the directory of now in, a proposal for each out.
//!
//! Only what stands as the client left it is brought back. What the journal does not show, or what somebody has changed
//! since, is told with the reason and left alone.

mod fold;
mod members;
mod propose;
mod since;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::scim::Kind;

pub use fold::{Fold, Folded, Passed};
pub use members::{Edge, Memberships, Move, Moves, Stands, inner_first};
pub use propose::{propose, same};

/// What undoing would do for one resource, or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Attributes or memberships are put back.
    Restore,
    /// Somebody deleted is made again.
    Recreate,
    /// Somebody created is taken away.
    Remove,
    /// All is as it was already.
    Nothing,
    /// Nothing is done, and `reason` says why.
    NotUndone,
}

/// One resource that the client changed, or a group that somebody whom it deleted was in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// User or Group.
    pub kind: Kind,
    /// The identifier as the client left it.
    pub user: String,
    /// The id that the client changed.
    pub id: String,
    /// What is done.
    pub step: Step,
    /// The attributes that are put back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Of a group: how many members are put in again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub put_in: usize,
    /// Of a group: how many members are taken out again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub taken_out: usize,
    /// Why something, or all of it, is not undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether all of it was done.
    #[serde(default)]
    pub done: bool,
}

impl Proposal {
    /// Nothing to do so far.
    #[must_use]
    pub fn new(kind: Kind, user: &str, id: &str) -> Self {
        Self {
            kind,
            user: user.to_owned(),
            id: id.to_owned(),
            step: Step::Nothing,
            attributes: Vec::new(),
            put_in: 0,
            taken_out: 0,
            reason: None,
            done: false,
        }
    }

    /// Whether there is something to do.
    #[must_use]
    pub fn is_due(&self) -> bool {
        matches!(self.step, Step::Restore | Step::Recreate | Step::Remove)
    }

    /// Adds a reason to those that it has.
    pub fn tell(&mut self, reason: &str) {
        self.reason = Some(match self.reason.take() {
            Some(before) if before.contains(reason) => before,
            Some(before) => format!("{before}; {reason}"),
            None => reason.to_owned(),
        });
    }
}

/// What is to be written for a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The whole resource as it should be, without members.
    Whole(Map<String, Value>),
    /// It goes.
    Gone,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
