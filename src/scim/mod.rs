//! SCIM 2.0 as RFC 7643 and 7644 say it, and as identity providers speak it. Pure: no async, clock or IO.

pub mod bulk;
pub mod change;
pub mod condition;
pub mod cursor;
pub mod dialect;
pub mod discovery;
pub mod filter;
#[doc(hidden)]
pub mod fuzz;
pub mod json;
pub mod name;
pub mod patch;
pub mod path;
pub mod projection;
pub mod request;
pub mod resource;
pub mod response;
pub mod route;
pub mod schema;
pub mod sort;

pub use resource::{Handle, Id, Kind, Resource};
