//! The only reader of time. Everything that thinks is handed a [`Timestamp`]; everything that waits asks a [`Clock`].
//!
//! A manual clock moves only when a test moves it, so that tests stand beside real sockets and threads and never
//! sleep to be safe (tokio's own pause does not mix with either).

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The far future: a mark with this due time is never due.
    pub const NEVER: Self = Self(u64::MAX);

    /// This moment plus `span`, saturating.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// This moment minus `span`, saturating at the epoch.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC with milliseconds, as `meta.created` wants it (RFC 7643 2.3.5).
    #[must_use]
    pub fn rfc3339(self) -> String {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).map_or_else(
            |_| String::from("9999-12-31T23:59:59.999Z"),
            |at| format!("{at:.3}"),
        )
    }

    /// Reads RFC 3339 (any offset). `None` if it is not one, or lies before 1970.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.trim().parse().ok()?;
        u64::try_from(at.as_millisecond()).ok().map(Self)
    }
}

/// How long ago this was first asked, on a clock that nobody sets: for how long the machine itself takes, whatever clock a
/// test shows the gateway.
#[must_use]
pub fn monotonic() -> Duration {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed()
}

#[derive(Debug)]
enum Source {
    System,
    Manual(watch::Sender<Timestamp>),
}

/// Where time comes from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Source::Manual(watch::Sender::new(start))))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Manual(at) => *at.borrow(),
        }
    }

    /// Moves a manual clock forward and wakes who waits for it. The machine's clock is left alone.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual(at) = &*self.0 {
            at.send_modify(|now| *now = now.plus(span));
        }
    }

    /// Waits until the clock shows `due` or later.
    pub async fn sleep_until(&self, due: Timestamp) {
        match &*self.0 {
            Source::System => {
                if due == Timestamp::NEVER {
                    return std::future::pending().await;
                }
                tokio::time::sleep(due.since(self.now())).await;
            }
            Source::Manual(at) => {
                let mut seen = at.subscribe();
                // The sender lives in `self`, so this cannot fail while we wait.
                let _gone = seen.wait_for(|now| *now >= due).await;
            }
        }
    }

    /// Waits for `span` on this clock.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.now().plus(span)).await;
    }

    /// Runs `work` until it ends or the clock shows `due`, whichever comes first.
    pub async fn until<F: Future>(&self, due: Timestamp, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.sleep_until(due) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_and_read_back() {
        let at = Timestamp(1_795_465_845_120);
        assert_eq!(at.rfc3339(), "2026-11-23T20:30:45.120Z");
        assert_eq!(Timestamp::parse(&at.rfc3339()), Some(at));
        assert_eq!(Timestamp::parse("2026-11-23T21:30:45.12+01:00"), Some(at));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[tokio::test]
    async fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp(1_000));
        let due = clock.now().plus(Duration::from_secs(4));
        assert_eq!(clock.until(due, async { 7 }).await, Some(7));
        let waiting = clock.clone();
        let task =
            tokio::spawn(async move { waiting.until(due, std::future::pending::<()>()).await });
        clock.advance(Duration::from_secs(4));
        assert_eq!(task.await.expect("the task ends"), None);
        assert_eq!(clock.now(), Timestamp(5_000));
    }
}
