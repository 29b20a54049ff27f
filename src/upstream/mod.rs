//! The way out: calls to applications, and the gate that they pass first.

pub mod client;
pub mod gate;
#[cfg(test)]
mod peer;
pub mod rate_limits;
pub mod retry_after;
