//! How many calls a second one rate class may make, now: what the configuration says, never above what the application
//! granted, halved where it says "too many", and won back step by step. Pure; the bucket itself is [`crate::bucket`].

use std::time::Duration;

use super::Limit;
use crate::clock::Timestamp;

/// How long a class rests after "too many a second" that names no wait.
pub const REST: Duration = Duration::from_secs(1);
/// How long a class is closed for the day where the application does not say until when: then one call finds out.
pub const DAY: Duration = Duration::from_secs(60 * 60);
/// After each of these without another "too many", a tenth of the ceiling is won back.
pub const STEP: Duration = Duration::from_secs(5);
/// However often it is halved, one call in four seconds is left: it shows when things are better.
pub const FLOOR: Rate = Rate(250);

/// A tenth of a second's calls may follow each other without a gap after a pause.
const BURST: u32 = 10;

/// Calls in a thousand seconds, so that less than one a second is a number too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u32);

impl Rate {
    /// So many a second; zero counts as one.
    #[must_use]
    pub fn per_second(calls: u32) -> Self {
        Self(calls.max(1).saturating_mul(1_000))
    }

    /// Calls that may follow each other without a gap: a few, so that a create and the look at it need not wait.
    #[must_use]
    pub fn burst(self) -> u32 {
        (self.0 / 1_000 / BURST).max(1)
    }

    /// How fast the bucket behind the burst fills: burst and filling together are less than this rate in any stretch of
    /// a second, as calls that were let go one by one may arrive closer together.
    #[must_use]
    pub fn filling(self) -> Self {
        match self.burst() {
            1 => self,
            burst => Self(self.0 - burst * 1_000),
        }
    }

    /// How long `calls` take at this rate.
    #[must_use]
    pub fn time_for(self, calls: usize) -> Duration {
        let calls = u64::try_from(calls).unwrap_or(u64::MAX);
        let millis = calls.saturating_mul(1_000_000) / u64::from(self.0.max(1));
        Duration::from_millis(millis)
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 1_000, self.0 % 1_000);
        if rest == 0 {
            write!(f, "{whole}")
        } else {
            let digits = format!("{rest:03}");
            write!(f, "{whole}.{}", digits.trim_end_matches('0'))
        }
    }
}

/// One class's pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    configured: u32,
    granted: Option<u32>,
    cut: Option<Cut>,
    not_before: Timestamp,
}

/// The last time that the rate was halved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    to: Rate,
    at: Timestamp,
}

impl Pace {
    /// So many calls a second; zero counts as one.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self {
            configured: per_second.max(1),
            granted: None,
            cut: None,
            not_before: Timestamp::default(),
        }
    }

    /// Another configuration. What was learnt stands, below the new ceiling.
    pub fn retune(&mut self, per_second: u32) {
        self.configured = per_second.max(1);
    }

    /// Calls a second by the configuration.
    #[must_use]
    pub fn configured(&self) -> u32 {
        self.configured
    }

    /// Calls a second that the application says it allows, if it ever said.
    #[must_use]
    pub fn granted(&self) -> Option<u32> {
        self.granted
    }

    /// No call of this class before this.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The rate at best: the configuration's, never above what was granted.
    #[must_use]
    pub fn ceiling(&self) -> Rate {
        Rate::per_second(
            self.granted
                .map_or(self.configured, |granted| granted.min(self.configured)),
        )
    }

    /// The rate at `now`.
    #[must_use]
    pub fn rate(&self, now: Timestamp) -> Rate {
        let ceiling = self.ceiling();
        let Some(cut) = self.cut else {
            return ceiling;
        };
        // Rest is no proof that it is better: the steps count from its end.
        let well = now.since(cut.at.max(self.not_before)).as_millis();
        let steps = u32::try_from(well / STEP.as_millis()).unwrap_or(u32::MAX);
        let back = steps.saturating_mul(ceiling.0 / 10);
        Rate(cut.to.0.saturating_add(back)).min(ceiling)
    }

    /// The application says how many calls a second it allows.
    pub fn grant(&mut self, per_second: u32) {
        self.granted = Some(per_second.max(1));
    }

    /// No call before `until`; a later moment known already stands.
    pub fn rest(&mut self, until: Timestamp) {
        self.not_before = self.not_before.max(until);
    }

    /// "Too many", heard at `now` by a call that was sent at `sent`. `wait`: how long the application asks for.
    pub fn limited(
        &mut self,
        sent: Timestamp,
        now: Timestamp,
        limit: Limit,
        wait: Option<Duration>,
    ) {
        match limit {
            Limit::Rate => {
                // Calls under way together hear it together: they are one round, and one halving.
                if self.cut.is_none_or(|cut| sent > cut.at) {
                    let to = Rate(self.rate(now).0 / 2).max(FLOOR);
                    self.cut = Some(Cut { to, at: now });
                }
                self.rest(now.plus(wait.unwrap_or(REST)));
            }
            Limit::Day => self.rest(now.plus(wait.unwrap_or(DAY))),
            // About one account, and not about how many calls there are.
            Limit::Concurrency => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp(1_000_000);

    fn at(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn too_many(pace: &mut Pace, seconds: u64) {
        pace.limited(at(seconds), at(seconds), Limit::Rate, None);
    }

    #[test]
    fn halved_then_won_back_by_tenths() {
        let mut pace = Pace::new(40);
        assert_eq!(pace.rate(at(0)), Rate(40_000));
        too_many(&mut pace, 0);
        assert_eq!(pace.not_before(), at(1));
        for (seconds, rate) in [
            (0, 20),
            (1, 20),
            (5, 20),
            (6, 24),
            (11, 28),
            (21, 36),
            (26, 40),
            (900, 40),
        ] {
            assert_eq!(
                pace.rate(at(seconds)),
                Rate::per_second(rate),
                "second {seconds}"
            );
        }
        too_many(&mut pace, 11);
        assert_eq!(pace.rate(at(11)), Rate(14_000));
    }

    #[test]
    fn calls_under_way_together_are_one_halving() {
        let mut pace = Pace::new(40);
        for n in 0..8 {
            pace.limited(
                at(0),
                at(0).plus(Duration::from_millis(n)),
                Limit::Rate,
                None,
            );
        }
        assert_eq!(pace.rate(at(1)), Rate(20_000));
        // Sent before the first was heard, and heard long after.
        pace.limited(at(0), at(3), Limit::Rate, None);
        assert_eq!(pace.rate(at(4)), Rate(20_000));
        pace.limited(at(5), at(5), Limit::Rate, None);
        assert_eq!(pace.rate(at(5)), Rate(10_000));
    }

    #[test]
    fn it_never_stops_altogether() {
        let mut pace = Pace::new(2);
        for n in 0..20 {
            too_many(&mut pace, n * 2);
        }
        assert_eq!(pace.rate(at(40)), FLOOR);
        assert_eq!(pace.rate(at(39 + 50)), Rate(2_000));
    }

    #[test]
    fn a_day_is_over_when_the_application_says_so() {
        let mut pace = Pace::new(40);
        pace.limited(at(0), at(0), Limit::Day, Some(Duration::from_secs(7_000)));
        assert_eq!(
            (pace.not_before(), pace.rate(at(0))),
            (at(7_000), Rate(40_000))
        );
        pace.limited(at(7_000), at(7_000), Limit::Day, None);
        assert_eq!(pace.not_before(), at(7_000).plus(DAY));
    }

    #[test]
    fn concurrency_is_not_rate() {
        let mut pace = Pace::new(40);
        pace.limited(at(0), at(0), Limit::Concurrency, Some(STEP));
        assert_eq!(pace, Pace::new(40));
    }

    #[test]
    fn a_reload_keeps_what_was_learnt() {
        let mut pace = Pace::new(40);
        pace.grant(20);
        too_many(&mut pace, 0);
        pace.retune(100);
        assert_eq!(
            (pace.ceiling(), pace.rate(at(0))),
            (Rate(20_000), Rate(10_000))
        );
        assert_eq!(pace.not_before(), at(1));
        pace.retune(8);
        assert_eq!(pace.rate(at(0)), Rate(8_000));
        pace.grant(80);
        assert_eq!(pace.ceiling(), Rate(8_000));
    }

    #[test]
    fn rates_are_written_as_people_write_them() {
        for (rate, text) in [
            (40_000, "40"),
            (250, "0.25"),
            (2_500, "2.5"),
            (1_005, "1.005"),
        ] {
            assert_eq!(Rate(rate).to_string(), text);
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Happens {
        Limited(Limit, Option<u64>),
        Granted(u32),
        Retuned(u32),
    }

    fn happens() -> impl Strategy<Value = Happens> {
        let limit = prop_oneof![
            3 => Just(Limit::Rate),
            1 => Just(Limit::Day),
            1 => Just(Limit::Concurrency)
        ];
        prop_oneof![
            4 => (limit, proptest::option::of(1..500u64)).prop_map(|(limit, wait)| Happens::Limited(limit, wait)),
            1 => (0..200u32).prop_map(Happens::Granted),
            1 => (0..200u32).prop_map(Happens::Retuned),
        ]
    }

    proptest! {
        /// Whatever happens: never above what is configured and granted, a wait that was asked for stands, the rate does
        /// not fall by time alone, and after a while without complaint all is won back.
        #[test]
        fn never_above_what_was_granted_and_all_comes_back(
            first in 0..200u32,
            steps in proptest::collection::vec((0..20_000u64, 0..5_000u64, happens()), 1..60),
        ) {
            let mut pace = Pace::new(first);
            let mut now = START;
            for (after, took, what) in steps {
                let before = pace.rate(now);
                now = now.plus(Duration::from_millis(after));
                prop_assert!(pace.rate(now) >= before);
                let known = pace.not_before();
                match what {
                    Happens::Limited(limit, wait) => {
                        let sent = now.minus(Duration::from_millis(took));
                        let wait = wait.map(Duration::from_secs);
                        pace.limited(sent, now, limit, wait);
                        if limit != Limit::Concurrency {
                            prop_assert!(pace.not_before() > now);
                            prop_assert!(pace.not_before() >= now.plus(wait.unwrap_or_default()));
                        }
                    }
                    Happens::Granted(rate) => pace.grant(rate),
                    Happens::Retuned(rate) => pace.retune(rate),
                }
                prop_assert!(pace.not_before() >= known);
                let most = pace.granted().unwrap_or(u32::MAX).min(pace.configured());
                prop_assert!(pace.rate(now) <= Rate::per_second(most));
                prop_assert!(pace.rate(now) >= FLOOR);
            }
            let well = pace.not_before().max(now).plus(STEP * 11);
            prop_assert_eq!(pace.rate(well), pace.ceiling());
        }

        #[test]
        fn burst_and_filling_stay_within_the_rate(rate in 250..1_000_000u32) {
            let rate = Rate(rate);
            prop_assert!(rate.filling().0 + (rate.burst() - 1) * 1_000 <= rate.0);
            prop_assert!(rate.filling().0 > 0 && rate.burst() > 0);
        }
    }
}
