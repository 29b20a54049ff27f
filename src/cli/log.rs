//! Logs: to standard error, as text or JSON, by the configuration's level. Never colours: the lines are for journald
//! and for files as much as for a terminal.

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

use crate::config::shape::Log;

/// What is logged from now on may be changed here.
pub struct Level(Box<dyn Fn(EnvFilter) -> bool + Send + Sync>);

impl Level {
    /// Goes by the level of another configuration. Whether that was possible.
    #[must_use]
    pub fn set(&self, log: &Log) -> bool {
        (self.0)(filter(log))
    }

    fn of<S: Subscriber>(handle: Handle<EnvFilter, S>) -> Self {
        Self(Box::new(move |filter| handle.reload(filter).is_ok()))
    }
}

/// Starts logging for the whole process. Only the first call has an effect.
pub fn start(log: &Log) -> Level {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(log))
        .with_writer(std::io::stderr)
        .with_ansi(false);
    if log.json {
        let lines = lines.json().flatten_event(true).with_filter_reloading();
        let level = Level::of(lines.reload_handle());
        let _started_before = lines.try_init();
        level
    } else {
        let lines = lines.with_filter_reloading();
        let level = Level::of(lines.reload_handle());
        let _started_before = lines.try_init();
        level
    }
}

/// The configuration was checked with the same parser; a value made by hand falls back to `info`.
fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"))
}
