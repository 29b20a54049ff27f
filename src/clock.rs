//! The only reader of time. Everything that thinks is handed a [`Timestamp`]; everything that waits asks a [`Clock`].
//!
//! A manual clock moves only when a test moves it, so that tests stand beside real sockets and threads and never
//! sleep to be safe (tokio's own pause does not mix with either).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

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
    Manual(Mutex<Hands>),
}

/// A manual clock's hands, and who waits for them: woken in the order of their times and of their coming, and not before.
#[derive(Debug)]
struct Hands {
    now: Timestamp,
    came: u64,
    waiting: BTreeMap<(Timestamp, u64), Waker>,
}

/// Waits for a manual clock.
struct Rest<'a> {
    hands: &'a Mutex<Hands>,
    due: Timestamp,
    number: Option<u64>,
}

fn lock(hands: &Mutex<Hands>) -> MutexGuard<'_, Hands> {
    hands.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Future for Rest<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut hands = lock(self.hands);
        if hands.now >= self.due {
            return Poll::Ready(());
        }
        let number = self.number.unwrap_or(hands.came);
        hands.came = hands.came.max(number + 1);
        let key = (self.due, number);
        hands.waiting.insert(key, context.waker().clone());
        drop(hands);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            lock(self.hands).waiting.remove(&(self.due, number));
        }
    }
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
        Self(Arc::new(Source::Manual(Mutex::new(Hands {
            now: start,
            came: 0,
            waiting: BTreeMap::new(),
        }))))
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
            Source::Manual(hands) => lock(hands).now,
        }
    }

    /// Moves a manual clock forward and wakes who waits for it. The machine's clock is left alone.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual(hands) = &*self.0 {
            let mut hands = lock(hands);
            hands.now = hands.now.plus(span);
            let later = (Timestamp(hands.now.0.saturating_add(1)), 0);
            let still = hands.waiting.split_off(&later);
            let due = std::mem::replace(&mut hands.waiting, still);
            drop(hands);
            due.into_values().for_each(Waker::wake);
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
            Source::Manual(hands) => {
                let number = None;
                Rest { hands, due, number }.await;
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
