//! Why a user is in scope of an application, and how many people may lose their account at once. Pure.

pub mod assignment;
pub mod safety;
pub mod scope;
