//! The way in: connections, and the caps that hold before anything is thought about.

pub mod accept;
pub mod body;
pub mod media;
pub mod outgoing;
pub mod path;
pub mod room;
pub mod service;
mod streams;
mod timely;
pub mod tls;
