//! The real gateway beside the real sandbox in one process, on port 0, with a clock that only the tests move; and the real
//! binary as a process of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets what it did not expect has failed"
)]

mod appliance;
mod applications;
mod authorisation;
mod backup;
mod belonging;
mod bulk;
mod cli;
mod concurrency;
mod crash;
mod credentials;
mod dialects;
mod discovery;
mod facts;
mod faults;
mod flows;
mod framing;
mod group_push;
mod histories;
mod holds;
mod house;
mod http2;
mod import;
mod limits;
mod lists;
mod logs;
mod monitoring;
mod okta_spec;
mod overtaking;
mod ownership;
mod path_variants;
mod patience;
mod peers;
mod process;
mod quirks;
mod reads;
mod reload;
mod replay;
mod replies;
mod several;
mod tending;
mod tls;
mod transcripts;
mod undo;
mod upstream_tls;
mod way;
mod wire;
