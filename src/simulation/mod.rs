//! A deterministic simulation: random histories of clients, group changes, reloads, crashes and an application's faults
//! through the real core and store, in one thread, on a disk that loses what was not flushed and a clock that nobody waits
//! for. What the gateway promises is asked of it at every step and at the end.
//!
//! A seed is a history. One that fails prints itself with its end, and `USHER_SEED=n cargo test --lib simulation` plays
//! just that one, and says all of it. `USHER_SEEDS=n` plays more of them.
//!
//! ```text
//! history   what happens, life after life            asks     what clients ask for
//! world     the applications, and what must not be   model    what clients know that they said
//! line      the way to the applications, and faults  server   a SCIM server that takes a second account of one name
//! disk      what is not flushed is lost              judge    the end: what should be against what is
//! bugs      planted on purpose
//! ```

mod asks;
mod bugs;
mod dice;
mod disk;
mod history;
mod judge;
mod line;
mod model;
mod server;
mod tests;
mod world;

pub(crate) use bugs::{Bug, planted};
pub(crate) use history::{in_turn, thrown};
pub(crate) use line::Line;
