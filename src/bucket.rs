//! A token bucket: governor's arithmetic, time handed in by the caller.
//!
//! Timestamps come from the wall clock, which may jump. A jump back only stands still here; without that, an hour
//! back would shut the bucket for an hour. It never waits: who may not pass is told how long.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Timestamp;

/// So many a second, so many at once.
#[derive(Debug)]
pub struct Bucket(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    limiter: RateLimiter<NotKeyed, InMemoryState, Hand, NoOpMiddleware<Nanos>>,
    burst: NonZeroU32,
    hand: Hand,
    last: Option<Timestamp>,
}

impl Bucket {
    /// A full bucket. Zero counts as one.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self::of(Quota::per_second(positive(per_second)), burst)
    }

    /// A full bucket that fills by one each `period`. Zero counts as one, and as one nanosecond.
    #[must_use]
    pub fn every(period: Duration, burst: u32) -> Self {
        Self::of(quota(period), burst)
    }

    fn of(quota: Quota, burst: u32) -> Self {
        let hand = Hand::default();
        let burst = positive(burst);
        Self(Mutex::new(Inner {
            limiter: RateLimiter::direct_with_clock(quota.allow_burst(burst), hand.clone()),
            burst,
            hand,
            last: None,
        }))
    }

    /// Takes one.
    ///
    /// # Errors
    /// Nothing is there: how long until there is, if nobody else takes it.
    pub fn take(&self, now: Timestamp) -> Result<(), Duration> {
        // The lock orders time with the check; nothing in between can block.
        let mut inner = self.lock();
        inner.turn(now);
        let checked = inner.limiter.check();
        checked.map_err(|not_until| not_until.wait_time_from(inner.hand.now()))
    }

    /// From `now` on it fills by one each `period` and holds at most `burst`. What was in it stays in it: a change is
    /// no occasion to take more.
    pub fn refit(&self, period: Duration, burst: u32, now: Timestamp) {
        let mut inner = self.lock();
        inner.turn(now);
        let burst = positive(burst);
        // governor does not tell what is left, but it can be taken out and counted.
        let mut left = 0;
        while left < inner.burst.get() && inner.limiter.check().is_ok() {
            left += 1;
        }
        let quota = quota(period).allow_burst(burst);
        inner.limiter = RateLimiter::direct_with_clock(quota, inner.hand.clone());
        inner.burst = burst;
        for _ in left..burst.get() {
            let _taken = inner.limiter.check();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn turn(&mut self, now: Timestamp) {
        let passed = self.last.map_or(Duration::ZERO, |last| now.since(last));
        self.last = Some(now);
        self.hand.turn(passed);
    }
}

fn positive(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

fn quota(period: Duration) -> Quota {
    // Nothing but zero has no quota.
    Quota::with_period(period).unwrap_or(Quota::per_second(NonZeroU32::MAX))
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
    fn a_new_rate_is_no_occasion_to_take_more() {
        let bucket = Bucket::every(Duration::from_millis(100), 4);
        check(
            &bucket,
            &[(5_000, Ok(())), (5_000, Ok(())), (5_000, Ok(()))],
        );
        bucket.refit(Duration::from_millis(200), 4, Timestamp(5_000));
        check(&bucket, &[(5_000, Ok(())), (5_000, Err(200))]);
        bucket.refit(Duration::from_millis(50), 8, Timestamp(5_000));
        check(
            &bucket,
            &[(5_000, Err(50)), (5_050, Ok(())), (5_050, Err(50))],
        );
        // A smaller one spills what it cannot hold.
        bucket.refit(Duration::from_millis(100), 1, Timestamp(60_000));
        check(&bucket, &[(60_000, Ok(())), (60_000, Err(100))]);
    }

    #[test]
    fn the_far_future_and_zero_do_no_harm() {
        check(
            &Bucket::new(0, 0),
            &[(0, Ok(())), (u64::MAX, Ok(())), (u64::MAX, Err(1_000))],
        );
    }
}
