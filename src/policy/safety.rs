//! The safety limit on removals: arithmetic only. The counters and the holds live in the store, and the writer asks
//! [`take`] inside the transaction that stores the intent.
//!
//! A window is fixed: it opens with its first removal and ends `span` later. What it allows is worked out when it opens,
//! so that an application which empties does not lower its own limit, and one which grows does not raise it. The removal
//! that would go over the limit is held, and so is every one after it until a person has dealt with the holds: time
//! alone never releases.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::clock::Timestamp;

/// Under this many active linked users, `auto` allows [`FEW`].
const SMALL: u64 = 100;
/// What `auto` allows a small application.
const FEW: u64 = 5;
/// What `auto` allows at most.
const MOST: u64 = 500;
/// From this many active linked users on, the last one is never taken.
const KEEPS_ONE: u64 = 10;

/// The durable counter of one application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When its first removal was granted.
    pub started: Timestamp,
    /// How many people may be removed in it.
    pub limit: u64,
    /// How many were.
    pub used: u64,
}

/// Removals beyond the limit that a person has allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// How many are left.
    pub left: u64,
    /// It ends then.
    pub until: Timestamp,
}

impl Allowance {
    /// How many may still go.
    #[must_use]
    pub fn room(self, now: Timestamp) -> u64 {
        if now < self.until { self.left } else { 0 }
    }

    /// One of them, and what is left then; `None`: none is.
    #[must_use]
    pub fn take(self, now: Timestamp) -> Option<Self> {
        let left = self.room(now).checked_sub(1)?;
        Some(Self { left, ..self })
    }
}

/// What the limit says to one removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It may go. This is the window to store.
    Granted(Window),
    /// It may go: this person was counted already, and the window stays as it is.
    Counted,
    /// It waits for a person.
    Held,
}

/// Asks for one removal.
///
/// `window` is the application's last one, `holds` how many removals are held there now, `active` how many active linked
/// users it has now, before this removal. `counted_already` says that this person was counted in this window, or that this
/// is the deletion after a counted deactivation. `limit` is the configuration's; `None` is auto. `span_ms` is the window's
/// length in milliseconds.
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
    let open = current(window, active, limit, span_ms, now);
    if holds > 0 || left(open, limit) == 0 {
        return Take::Held;
    }
    Take::Granted(Window {
        used: open.used.saturating_add(1),
        ..open
    })
}

/// How many removals [`take`] would grant now, one after the other. A set that is decided at once (a reload, an import,
/// a group) is held against this whole, before its first removal.
#[must_use]
pub fn room(
    window: Option<Window>,
    holds: u64,
    active: u64,
    limit: Option<u64>,
    span_ms: u64,
    now: Timestamp,
) -> u64 {
    if holds > 0 {
        return 0;
    }
    left(current(window, active, limit, span_ms, now), limit)
}

/// The window that `now` lies in: the last one, or a new one. A clock that went back stays in the last one.
fn current(
    window: Option<Window>,
    active: u64,
    limit: Option<u64>,
    span_ms: u64,
    now: Timestamp,
) -> Window {
    match window {
        Some(open) if now < open.started.plus(Duration::from_millis(span_ms)) => open,
        _ => Window {
            started: now,
            limit: allowed(active, limit),
            used: 0,
        },
    }
}

/// A limit that the operator has lowered since counts at once; a raised one with the next window.
fn left(open: Window, limit: Option<u64>) -> u64 {
    let most = limit.map_or(open.limit, |limit| open.limit.min(limit));
    most.saturating_sub(open.used)
}

/// What a window that opens now allows.
fn allowed(active: u64, limit: Option<u64>) -> u64 {
    let wanted = limit.unwrap_or_else(|| {
        if active < SMALL {
            FEW
        } else {
            // 5 %: a twentieth, rounded down.
            (active / 20).min(MOST)
        }
    });
    if active >= KEEPS_ONE {
        wanted.min(active - 1)
    } else {
        wanted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_window_allows() {
        for (active, limit, allows) in [
            (0, None, 5),
            (3, None, 5),
            (10, None, 5),
            (99, None, 5),
            (100, None, 5),
            (119, None, 5),
            (120, None, 6),
            (1_000, None, 50),
            (10_000, None, 500),
            (1_000_000, None, 500),
            (u64::MAX, None, 500),
            (50, Some(0), 0),
            (50, Some(7), 7),
            (9, Some(20), 20),
            (10, Some(20), 9),
            (10, Some(9), 9),
            (50, Some(u64::MAX), 49),
        ] {
            assert_eq!(
                room(None, 0, active, limit, HOUR, Timestamp(1)),
                allows,
                "active {active}, limit {limit:?}"
            );
        }
    }

    #[test]
    fn an_allowance_is_used_up_and_ends() {
        let two = Allowance {
            left: 2,
            until: Timestamp(100),
        };
        let one = two.take(Timestamp(99)).expect("two are left");
        assert_eq!((two.room(Timestamp(99)), one.left), (2, 1));
        let none = one.take(Timestamp(99)).expect("one is left");
        assert_eq!(none.take(Timestamp(99)), None);
        assert_eq!(
            (two.room(Timestamp(100)), two.take(Timestamp(100))),
            (0, None)
        );
    }

    #[test]
    fn one_removal_is() {
        let open = |used| Window {
            started: Timestamp(1_000),
            limit: 5,
            used,
        };
        let at = |started, limit, used| {
            Take::Granted(Window {
                started: Timestamp(started),
                limit,
                used,
            })
        };
        let end = 1_000 + HOUR;
        // window, holds, active, counted already, limit, now, what it is
        for (window, holds, active, counted, limit, now, is) in [
            (None, 0, 50, false, None, 7, at(7, 5, 1)),
            (Some(open(4)), 0, 50, false, None, end - 1, at(1_000, 5, 5)),
            (Some(open(5)), 0, 50, false, None, end - 1, Take::Held),
            // The window's end, not the application's size, opens the next one.
            (Some(open(5)), 0, 50_000, false, None, end - 1, Take::Held),
            (Some(open(5)), 0, 200, false, None, end, at(end, 10, 1)),
            // Time alone never releases.
            (Some(open(5)), 1, 50, false, None, end + HOUR, Take::Held),
            (None, 3, 50, false, None, 7, Take::Held),
            // Who was counted goes, whatever else.
            (Some(open(5)), 9, 50, true, None, 2_000, Take::Counted),
            // A clock that went back opens nothing.
            (Some(open(5)), 0, 50, false, None, 10, Take::Held),
            (Some(open(2)), 0, 50, false, None, 10, at(1_000, 5, 3)),
            // Lowered: at once. Raised: with the next window.
            (Some(open(2)), 0, 50, false, Some(2), 2_000, Take::Held),
            (Some(open(5)), 0, 50, false, Some(9), 2_000, Take::Held),
            (None, 0, 50, false, Some(0), 7, Take::Held),
        ] {
            assert_eq!(
                take(window, holds, active, counted, limit, HOUR, Timestamp(now)),
                is,
                "{window:?}, holds {holds}, active {active}, counted {counted}, {limit:?}, now {now}"
            );
        }
    }

    /// The same in the plainest words: a list of the moments at which something was granted.
    #[derive(Default)]
    struct Model {
        granted: Vec<u64>,
        opened: Option<(u64, u64)>,
        holds: u64,
    }

    impl Model {
        fn take(&mut self, active: u64, limit: Option<u64>, span: u64, now: u64) -> bool {
            if self.holds > 0 {
                self.holds += 1;
                return false;
            }
            let (started, allowed) = match self.opened {
                Some((started, allowed)) if now - started < span => (started, allowed),
                _ => {
                    let auto = if active < 100 {
                        5
                    } else {
                        (active * 5 / 100).min(500)
                    };
                    let mut allowed = limit.unwrap_or(auto);
                    while active >= 10 && allowed >= active {
                        allowed -= 1;
                    }
                    (now, allowed)
                }
            };
            let used = self.granted.iter().filter(|at| **at >= started).count();
            if u64::try_from(used).expect("small") >= allowed {
                self.holds += 1;
                return false;
            }
            self.opened = Some((started, allowed));
            self.granted.push(now);
            true
        }
    }

    proptest! {
        #[test]
        fn it_is_the_model(
            limit in proptest::option::of(0_u64..30),
            mut active in 0_u64..400,
            span in 1_u64..500,
            // How much later, how many come instead of one going, whether a person releases everything first.
            steps in proptest::collection::vec((0_u64..60, 0_u64..3, 0_u64..20), 1..120),
        ) {
            let mut model = Model::default();
            let mut window = None;
            let mut holds = 0;
            let mut now = 1_000;
            for (later, come, release) in steps {
                now += later;
                active += come;
                if release == 0 {
                    holds = 0;
                    model.holds = 0;
                }
                let fits = room(window, holds, active, limit, span, Timestamp(now));
                let was = window;
                match take(window, holds, active, false, limit, span, Timestamp(now)) {
                    Take::Granted(next) => {
                        prop_assert!(fits > 0);
                        prop_assert!(next.used <= next.limit);
                        prop_assert!(model.take(active, limit, span, now));
                        prop_assert_eq!(room(Some(next), holds, active, limit, span, Timestamp(now)), fits - 1);
                        window = Some(next);
                        active = active.saturating_sub(1);
                    }
                    Take::Held => {
                        prop_assert_eq!(fits, 0);
                        prop_assert!(!model.take(active, limit, span, now));
                        holds += 1;
                    }
                    Take::Counted => prop_assert!(false, "nobody was counted"),
                }
                prop_assert_eq!(take(was, holds, active, true, limit, span, Timestamp(now)), Take::Counted);
            }
        }

        #[test]
        fn the_last_one_stays(active in 10_u64..2_000, limit in proptest::option::of(0_u64..5_000)) {
            let mut window = None;
            let mut remain = active;
            while let Take::Granted(next) = take(window, 0, remain, false, limit, HOUR, Timestamp(1)) {
                window = Some(next);
                remain -= 1;
            }
            prop_assert!(remain >= 1);
        }
    }
}
