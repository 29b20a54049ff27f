//! The configuration: its shape, how it is read and checked, and how mistakes in it are told.

pub mod check;
pub mod load;
pub mod problem;
pub mod shape;

pub use shape::Config;
