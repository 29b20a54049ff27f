//! The embedded directory, its marks, intents and journal: one redb file. Nothing outside this module knows redb.
//!
//! Reads take a [`View`], a snapshot that never waits for a write. Writes are [`ChangeSet`]s: whole or not at all,
//! durable when their future ends, in the order in which they were handed over.

mod apply;
pub mod change;
mod edges;
mod ids;
mod journal;
mod keys;
mod marker;
mod marks;
mod open;
mod reads;
mod row;
mod space;
mod stretch;
mod tables;
mod transaction;
mod view;
mod writer;

#[cfg(test)]
mod tests;

pub use apply::{CommitError, Committed, Conflict, Intent};
pub use change::{Budget, ChangeSet, Lane, Mark, MarkEdit, MemberEdit, Put};
pub use marks::CAUSES;
pub use open::{OpenError, Options, ReadStore};
pub use reads::{ReadNote, ReadShape};
pub use row::RowRef;
pub use space::{REFUSAL, RESERVE, nearly_full};
pub use stretch::Stretch;
pub use transaction::Tally;
pub use view::{Key, Lookup, View};
pub use writer::{Place, Statistics, Store};
