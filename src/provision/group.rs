//! Groups that exist in an application too: which, called what, with whom. The same words as for users (plan, exchange,
//! weigh), over two dialogues: [`exchange`] creates, renames and deletes a group, [`members`] brings members in and out.
//! Pure.

pub mod exchange;
pub mod members;
pub mod plan;
pub mod weigh;
