//! The way out: calls to applications, the tokens that open them, and the gate that calls pass first.

pub mod client;
mod connect;
pub mod examine;
pub mod fuzz;
pub mod gate;
#[cfg(test)]
mod peer;
pub mod rate_limits;
pub mod retry_after;
pub mod token;
pub mod trial;
