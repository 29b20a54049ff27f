//! The real gateway beside the real sandbox in one process, on port 0, with a clock that only the tests move.

mod concurrency;
mod crash;
mod flows;
mod histories;
mod house;
mod transcripts;
