//! The append-only log of operations. Provisioning reports are queries over it.

pub mod record;
pub mod replay;
pub mod report;
pub mod table;
mod time;
pub mod undo;
pub mod url;
