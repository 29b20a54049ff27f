//! What should be against what is known to be, and the dialogue that closes the difference. Pure: an exchange is a
//! sans-IO state machine, planning is a function.

pub mod call;
pub mod drift;
pub mod exchange;
pub mod group;
pub mod import;
pub mod ladder;
pub mod link;
pub mod pace;
pub mod plan;
pub mod profile;
pub mod weigh;
