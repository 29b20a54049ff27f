//! Why somebody belongs in an application, and how many may be taken away at once. Pure.

pub mod safety;
