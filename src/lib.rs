//! usher: an embedded SCIM 2.0 gateway.

pub mod clock;
pub mod config;
pub mod error;
pub mod journal;
pub mod mapping;
pub mod policy;
pub mod provision;
pub mod scim;
pub mod store;
