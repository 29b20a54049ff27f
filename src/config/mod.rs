//! The configuration: its shape, how it is read and checked, and how mistakes in it are told.
//!
//! [`load`](load()) and [`parse`] either give a whole [`Config`] or every [`Problem`] at once, each with its line and
//! its column. A configuration with a mistake never starts and never replaces a running one.

pub mod check;
pub mod difference;
pub mod fuzz;
pub mod load;
pub mod pem;
pub mod problem;
mod read;
pub mod shape;
pub(crate) mod value;

pub use load::{decisions, load, parse, places, text};
pub use problem::Problem;
pub use shape::{Config, Places};

#[cfg(test)]
mod tests;
