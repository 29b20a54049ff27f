//! Logs: to standard error, as text or JSON, by the configuration's level. Never colours: the lines are for journald
//! and for files as much as for a terminal.

use tracing_subscriber::EnvFilter;

use crate::config::shape::Log;

/// Starts logging for the whole process. Only the first call has an effect.
pub fn start(log: &Log) {
    // The configuration was checked with the same parser; a value made by hand falls back to `info`.
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let _started_before = if log.json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.try_init()
    };
}
