//! Rules that rewrite a directory user's attributes into an application's, compiled at load. Pure.
//!
//! [`rule::Rule::compile`] reads one row of the file, [`compile::Mapping::compile`] puts the rows and the profile's
//! built-in set together, [`compile::Mapping::run`] gives an account's body, [`compile::Mapping::invert`] goes back.
//! Nothing here sees a link, a network or a clock, and nothing that a user's attributes hold can make it fail.

pub mod attributes;
pub mod compile;
pub mod fuzz;
pub mod invert;
pub mod rule;
pub mod run;
pub mod target;
pub mod transform;
pub mod walk;

#[cfg(test)]
mod tests;

pub use compile::Mapping;
pub use run::{Giving, Mapped, user_name, work_email};
