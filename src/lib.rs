//! usher: an embedded SCIM 2.0 gateway.

pub mod auth;
pub mod bucket;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod error;
pub mod gateway;
pub mod journal;
pub mod mapping;
pub mod policy;
pub mod provision;
pub mod read;
pub mod sandbox;
pub mod scim;
pub mod serve;
pub mod server;
pub mod settle;
pub mod store;
pub mod upstream;
pub mod worker;
