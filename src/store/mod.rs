//! The embedded directory, its marks, intents and journal: one redb file. Nothing outside this module knows redb.

pub mod change;

pub use change::{Budget, ChangeSet, Lane, Mark, MarkEdit, MemberEdit, Put};
