//! The embedded directory, its marks, intents and journal: one redb file. Nothing outside this module knows redb.
//!
//! Reads take a [`View`], a snapshot that never waits for a write. Writes are [`ChangeSet`]s: whole or not at all,
//! durable when their future ends, in the order in which they were handed over.
//!
//! The path of a write: `front` (the [`Store`] that the rest holds) -> `queue` (a place is had first) -> `writer` (the
//! thread) -> `apply` (a batch is one transaction) -> `check` (preconditions) -> `transaction` and `edges`, `sent`,
//! `policies`, `together`, `marks`, `causes`, `import`, `journal`; beside them `reads` and `patience` wait to be taken along. The path of
//! a read: `front` -> `view`, and `stretch` where lists run along an index. What the bytes are: `tables`, `keys`, `row`.
//! Before all of it: `open`, `migrate`, `leftover`. A copy of all of it, and the way back: `backup` and `restore`, with what
//! a copy says of itself in `manifest`; what holds until a person confirms it in `restored`.

mod allowance;
mod apply;
mod backup;
mod causes;
pub mod change;
mod check;
mod configured;
mod edges;
mod front;
mod ids;
mod import;
mod journal;
mod keys;
mod leftover;
mod manifest;
mod marker;
mod marks;
mod migrate;
mod moved;
mod open;
mod patience;
mod policies;
mod queue;
mod read_only;
mod reads;
mod restore;
mod restored;
mod row;
pub mod sent;
mod space;
mod stretch;
mod sweep;
mod tables;
mod together;
mod transaction;
mod upkeep;
mod view;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use apply::{CommitError, Committed, Conflict, Intent};
pub use backup::{BackupError, Progress, Written};
pub use change::{Budget, ChangeSet, Lane, LinkEdit, Mark, MarkEdit, MemberEdit, Put, Stuck};
pub use configured::{Configuration, Configured, InForce};
pub use front::{Statistics, Store};
pub use import::{Clash, Counted, Import};
pub use manifest::Manifest;
pub use marks::LaneCount;
pub use open::{OpenError, Options};
pub use policies::Binding;
pub use queue::Place;
pub use read_only::ReadStore;
pub use reads::{ReadNote, ReadShape};
pub use restore::{Replaced, RestoreError, Restoring, Step, There, restore};
pub use restored::Restored;
pub use row::RowRef;
pub use sent::{Compared, Doubt, Sent, SentEdit};
pub use space::{REFUSAL, RESERVE, nearly_full};
pub use stretch::Stretch;
pub use sweep::{Among, Sweep, SweepPhase, SweepStep};
pub use transaction::Tally;
pub use view::{Key, Lookup, View};
