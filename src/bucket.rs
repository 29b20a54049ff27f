//! A token bucket: governor's arithmetic, time handed in by the caller.
//!
//! Timestamps come from the wall clock, which may jump. A jump back only stands still here; without that, an hour
//! back would shut the bucket for an hour. It never waits: who may not pass is told how long.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Timestamp;

/// So many a second, so many at once.
#[derive(Debug)]
pub struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, Hand, NoOpMiddleware<Nanos>>,
    hand: Hand,
    last: Mutex<Option<Timestamp>>,
}

impl Bucket {
    /// A full bucket. Zero counts as one.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let positive = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(positive(per_second)).allow_burst(positive(burst));
        let hand = Hand::default();
        Self {
            limiter: RateLimiter::direct_with_clock(quota, hand.clone()),
            hand,
            last: Mutex::new(None),
        }
    }

    /// Takes one.
    ///
    /// # Errors
    /// Nothing is there: how long until there is, if nobody else takes it.
    pub fn take(&self, now: Timestamp) -> Result<(), Duration> {
        // The lock orders time with the check; nothing in between can block.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = last.map_or(Duration::ZERO, |last| now.since(last));
        *last = Some(now);
        self.hand.turn(passed);
        self.limiter
            .check()
            .map_err(|not_until| not_until.wait_time_from(self.hand.now()))
    }
}

/// Time as governor reads it: nanoseconds that have passed for this bucket.
#[derive(Debug, Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn turn(&self, passed: Duration) {
        let nanos = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        // A quarter of the range is 146 years: governor adds to this without a check.
        let next = self.0.load(Ordering::Relaxed).saturating_add(nanos);
        self.0.store(next.min(u64::MAX / 4), Ordering::Relaxed);
    }
}

impl governor::clock::Clock for Hand {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of (time in ms, whether one is had); refused ones also say how long to wait, in ms.
    fn check(bucket: &Bucket, steps: &[(u64, Result<(), u64>)]) {
        for (n, (at, want)) in steps.iter().enumerate() {
            let got = bucket.take(Timestamp(*at)).map_err(|wait| wait.as_millis());
            assert_eq!(got, want.map_err(u128::from), "step {n} at {at} ms");
        }
    }

    #[test]
    fn a_burst_then_the_rate() {
        check(
            &Bucket::new(10, 2),
            &[
                (5_000, Ok(())),
                (5_000, Ok(())),
                (5_000, Err(100)),
                (5_060, Err(40)),
                (5_100, Ok(())),
                (5_100, Err(100)),
                (60_000, Ok(())),
                (60_000, Ok(())),
                (60_000, Err(100)),
            ],
        );
    }

    #[test]
    fn a_clock_that_jumps_back_shuts_nobody_out() {
        check(
            &Bucket::new(10, 1),
            &[
                (9_000_000, Ok(())),
                (1_000_000, Err(100)),
                (1_000_100, Ok(())),
            ],
        );
    }

    #[test]
    fn the_far_future_and_zero_do_no_harm() {
        check(
            &Bucket::new(0, 0),
            &[(0, Ok(())), (u64::MAX, Ok(())), (u64::MAX, Err(1_000))],
        );
    }
}
