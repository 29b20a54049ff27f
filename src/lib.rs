//! usher: an embedded SCIM 2.0 gateway. Identity providers point SCIM at it; it keeps what they say in an embedded
//! directory, decides by policy who belongs in which application, rewrites attributes through compiled rules, and brings
//! each application to that state: gently, durably and on the record.
//!
//! # The words
//!
//! | word | meaning |
//! |---|---|
//! | client | an identity provider that calls us |
//! | application | a system that we provision into: Zoom, or any SCIM server |
//! | directory | our record of what clients said; answers every read |
//! | resource | a SCIM User or Group |
//! | rule | one line of attribute mapping, compiled at load |
//! | profile | what we know of one kind of application: endpoints, quirks |
//! | link | resource <-> its account in one application: remote id, origin, state, what was sent, what was seen |
//! | removal | taking an account away, because of `active:false`, a DELETE, or loss of scope |
//! | claim | an in-memory right to change something, held from reading it until the change is on disk |
//! | intent | the durable plan of a write that is about to call an application |
//! | mark | "this resource may differ from this application": the unit of queued work |
//! | exchange | the dialogue with an application that settles one plan; a sans-IO state machine |
//! | journal | the append-only log of operations; reports are queries over it |
//! | hold | a removal stopped by the safety limit |
//! | sandbox | the built-in stand-in for Zoom |
//!
//! # The house
//!
//! Data flows one way. [`gateway`] is the path of a request: identify ([`auth`]), admit, decode ([`scim`]), settle, reply
//! ([`read`]); a Bulk's operations go through [`bulk`]. [`settle`] is the one way anything changes: claim ([`claims`]), change ([`scim::change`]), plan
//! ([`provision::plan`], with [`mapping`] and [`policy`]), intend, exchange ([`provision::exchange`] over [`upstream`]),
//! commit ([`store`]). [`worker`] settles marks by the same path. [`serve`] stands all of it up, puts another
//! configuration in force, and takes it down; [`service`] is what systemd is told and gives.
//! What planning reads of an application may change by that: a sweep then plans
//! everybody again and marks who differs.
//!
//! [`scim`], [`policy`], [`mapping`], [`provision`] and [`journal`] are pure: values in, values out; no async, clock or
//! IO. [`clock`] is the only reader of time. Nothing outside [`store`] knows redb.
//!
//! # The promises
//!
//! 1. No writing call leaves before its intent is on disk; no 2xx before its commit is.
//! 2. Kill -9 at any instruction: nothing acknowledged is lost, no account is created twice, every intent is settled.
//! 3. What a client wrote is what it reads back.
//! 4. Every input has a bound.
//! 5. Every write is in the journal once; no secret or password is in it, in a log or in an error.
//! 6. `parse(print(x)) == x`; a PATCH changes nothing that it does not name; planning is a function.
//! 7. A configuration with a mistake does not start; all mistakes are told at once.
//! 8. Absent is not false, "remove with a value" is not "remove all", empty is not "delete everybody".
//! 9. Nothing is removed that usher did not create, adopt or have claimed. A removal asked for is never forgotten.

pub mod auth;
pub mod bucket;
pub mod bulk;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod counts;
pub mod error;
pub mod gateway;
pub mod journal;
pub mod mapping;
pub mod policy;
pub mod provision;
pub mod read;
pub mod reply;
pub mod sandbox;
pub mod scim;
pub mod serve;
pub mod server;
pub mod service;
pub mod settle;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod spoil;
pub mod store;
pub mod upstream;
pub mod worker;
