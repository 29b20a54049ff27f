//! usher: an embedded SCIM 2.0 gateway.

pub mod auth;
pub mod bucket;
pub mod claims;
pub mod clock;
pub mod config;
pub mod error;
pub mod journal;
pub mod mapping;
pub mod provision;
pub mod scim;
pub mod server;
pub mod store;
pub mod upstream;
