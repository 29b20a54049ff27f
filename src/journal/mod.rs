//! The append-only log of operations. Provisioning reports are queries over it.

pub mod record;
pub mod report;
