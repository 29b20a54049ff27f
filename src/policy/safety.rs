//! The safety limit's arithmetic.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A running count of removals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it began.
    pub started: Timestamp,
    /// How many it allows.
    pub limit: u64,
    /// How many were taken from it.
    pub used: u64,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Taken: the window as it is now.
    Granted(Window),
    /// This person was counted in this window already.
    Counted,
    /// Over the limit, or something is held already.
    Held,
}

/// Takes one removal from the window, or opens a new one where it has ended.
#[must_use]
pub fn take(
    window: Option<Window>,
    holds: u64,
    active: u64,
    counted_already: bool,
    limit: Option<u64>,
    span_ms: u64,
    now: Timestamp,
) -> Take {
    if counted_already {
        return Take::Counted;
    }
    if holds > 0 {
        return Take::Held;
    }
    let auto = if active < 100 {
        5
    } else {
        (active / 20).min(500)
    };
    let window = window
        .filter(|window| now.0 < window.started.0.saturating_add(span_ms))
        .unwrap_or(Window {
            started: now,
            limit: limit.unwrap_or(auto),
            used: 0,
        });
    if window.used >= window.limit {
        return Take::Held;
    }
    Take::Granted(Window {
        used: window.used.saturating_add(1),
        ..window
    })
}
