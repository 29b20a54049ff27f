//! An application's patience: when it may be called again after it said, or showed, that it cannot answer now. Pure.
//!
//! Being unable ([`Health`]) is about the whole application and backs off; being asked to slow down ([`Limit`]) is no
//! failure and is about one rate class ([`rate::Pace`]). [`crate::upstream::gate`] asks both and does the waiting.

pub mod patience;
pub mod rate;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::provision::call::{Answer, Limits, Span};

/// The first back-off; each further failure doubles it.
pub const FIRST: Duration = Duration::from_secs(1);
/// The longest back-off. The application's own Retry-After may be longer.
pub const LONGEST: Duration = Duration::from_secs(60);
/// So many answers in a row must be lost before that counts: one lost answer is a network's hiccup.
pub const LOST: u32 = 3;

/// What a call showed about the application, whatever it meant for the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It answers.
    Well,
    /// It cannot, now; with its Retry-After, if it named one.
    Unavailable(Option<Duration>),
    /// It answers, and wants fewer calls.
    Limited(Limited),
    /// Something was sent and nothing whole came back.
    Lost,
}

/// A 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// What there was too much of.
    pub limit: Limit,
    /// How long the application asks to wait; never zero.
    pub wait: Option<Duration>,
    /// The wait is for calls of every class: it was asked for in so many words and nothing says which calls are meant.
    pub every_class: bool,
}

/// What there was too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Calls in a second.
    Rate,
    /// Calls in a day.
    Day,
    /// Calls at once about one account.
    Concurrency,
}

/// How long an account rests after a 429 for calls at once.
const SETTLE: Duration = Duration::from_secs(2);

impl Limited {
    /// Reads a 429. Zoom says which limit it is in a header or in its text
    /// (<https://developers.zoom.us/docs/api/rate-limits/>).
    #[must_use]
    pub fn of(body: &[u8], retry_after: Option<Duration>, limits: Limits) -> Self {
        let text = body.get(..1_024).unwrap_or(body).to_ascii_lowercase();
        let says = |what: &str| {
            text.windows(what.len())
                .any(|found| found == what.as_bytes())
        };
        let limit = if says("concurrent") || says("disassociate this user") {
            Limit::Concurrency
        } else if limits.span == Some(Span::Day) || says("daily") {
            Limit::Day
        } else {
            Limit::Rate
        };
        // Zero, or a date that has passed by a clock's skew, names no wait.
        let named = |wait: Option<Duration>| wait.filter(|wait| !wait.is_zero());
        Self {
            limit,
            wait: named(retry_after).or(named(limits.reset)),
            every_class: limit == Limit::Rate
                && limits.span.is_none()
                && named(retry_after).is_some(),
        }
    }

    /// How long what was refused waits before it is tried again.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.wait.unwrap_or(match self.limit {
            Limit::Rate => rate::REST,
            Limit::Day => rate::DAY,
            Limit::Concurrency => SETTLE,
        })
    }
}

/// The calls a second that an answer says the application allows.
#[must_use]
pub fn granted(answer: &Answer) -> Option<u32> {
    match answer {
        // Without its span the number may count minutes or hours, as it does with other servers.
        Answer::Reply {
            limits:
                Limits {
                    span: Some(Span::Second),
                    granted,
                    ..
                },
            ..
        } => *granted,
        Answer::Reply { .. } | Answer::NotSent(_) | Answer::Lost(_) => None,
    }
}

impl Heard {
    /// Reads an answer as any SCIM server means it. A profile that knows better (an account-level 400, a 404 on a
    /// collection) says [`Heard::Unavailable`] itself.
    #[must_use]
    pub fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Reply {
                status: 429,
                body,
                retry_after,
                limits,
            } => Self::Limited(Limited::of(body, *retry_after, *limits)),
            Answer::Reply {
                status: 401 | 403 | 408 | 425 | 500..,
                retry_after,
                ..
            } => Self::Unavailable(*retry_after),
            Answer::Reply { .. } => Self::Well,
            Answer::NotSent(_) => Self::Unavailable(None),
            Answer::Lost(_) => Self::Lost,
        }
    }
}

/// What is known of an application's ability to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Rounds of failure in a row. While above zero one call at a time finds out whether it is back.
    pub failures: u32,
    /// Answers lost in a row.
    pub lost: u32,
    /// No call before this.
    pub not_before: Timestamp,
    /// The part of it that the application itself asked for.
    pub asked_until: Timestamp,
}

impl Health {
    /// It fails everybody, and not one account alone: this is not the first failure since it was well, or answers are lost
    /// one after the other.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        self.failures > 1 || self.lost >= LOST
    }

    /// The state after hearing `heard` at `now`.
    #[must_use]
    pub fn heard(self, now: Timestamp, heard: &Heard) -> Self {
        match *heard {
            // A `not_before` still ahead was asked for by a later call than this one: it stands.
            Heard::Well | Heard::Limited(_) => Self {
                failures: 0,
                lost: 0,
                ..self
            },
            Heard::Unavailable(retry_after) => self.failed(now, retry_after),
            Heard::Lost => {
                let lost = self.lost.saturating_add(1);
                let next = Self { lost, ..self };
                if lost < LOST {
                    next
                } else {
                    next.failed(now, None)
                }
            }
        }
    }

    /// The same without the wait that is only ours: a person has mended something and wants to know. One call at a time
    /// finds out, as before.
    #[must_use]
    pub fn try_again(self) -> Self {
        Self {
            not_before: self.not_before.min(self.asked_until),
            ..self
        }
    }

    /// One more failure. Calls that were under way together fail together: those that come in while the application
    /// is left alone already are the same round and lengthen the wait only by their own Retry-After.
    fn failed(self, now: Timestamp, retry_after: Option<Duration>) -> Self {
        // Zero, or a date that has passed by a clock's skew, names no wait.
        let asked = retry_after.filter(|wait| !wait.is_zero());
        let until = asked.map_or(self.asked_until, |wait| now.plus(wait));
        let asked_until = self.asked_until.max(until);
        if now < self.not_before {
            return Self {
                not_before: self.not_before.max(asked_until),
                asked_until,
                ..self
            };
        }
        let failures = self.failures.saturating_add(1);
        Self {
            failures,
            not_before: now.plus(asked.unwrap_or_else(|| back_off(failures))),
            asked_until,
            ..self
        }
    }
}

fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST.saturating_mul(1 << doublings).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOWN: Heard = Heard::Unavailable(None);

    fn asked(seconds: u64) -> Heard {
        Heard::Unavailable(Some(Duration::from_secs(seconds)))
    }

    /// Steps of (second, heard, failures after it, second before which nothing goes).
    fn check(steps: &[(u64, Heard, u32, u64)]) {
        let mut health = Health::default();
        for (n, (at, heard, failures, not_before)) in steps.iter().enumerate() {
            health = health.heard(Timestamp(at * 1000), heard);
            assert_eq!(
                (health.failures, health.not_before),
                (*failures, Timestamp(not_before * 1000)),
                "step {n}"
            );
        }
    }

    #[test]
    fn back_off_doubles_to_a_minute_and_one_success_ends_it() {
        check(&[
            (100, DOWN, 1, 101),
            (101, DOWN, 2, 103),
            (103, DOWN, 3, 107),
            (107, DOWN, 4, 115),
            (115, DOWN, 5, 131),
            (131, DOWN, 6, 163),
            (163, DOWN, 7, 223),
            (223, DOWN, 8, 283),
            (283, Heard::Well, 0, 283),
            (283, DOWN, 1, 284),
        ]);
    }

    #[test]
    fn retry_after_is_obeyed_and_zero_names_no_wait() {
        check(&[
            (100, asked(30), 1, 130),
            (130, asked(3_600), 2, 3_730),
            (3_730, asked(0), 3, 3_734),
        ]);
    }

    #[test]
    fn calls_under_way_together_are_one_failure() {
        check(&[
            (100, DOWN, 1, 101),
            (100, DOWN, 1, 101),
            (100, asked(5), 1, 105),
            (100, asked(2), 1, 105),
            (100, Heard::Well, 0, 105),
        ]);
    }

    #[test]
    fn a_person_ends_our_own_wait_and_not_one_that_was_asked_for() {
        let at = |seconds: u64| Timestamp(seconds * 1_000);
        let again = |health: Health| health.try_again().not_before;
        let failed = Health::default().heard(at(100), &DOWN);
        assert!(again(failed) <= at(100));
        assert_eq!(failed.try_again().failures, 1, "still to be found out");
        // Under way with it, and told more.
        let told = failed.heard(at(100), &asked(5));
        assert_eq!(again(told), at(105));
        // Ours grows beyond what was asked for once.
        let mut longer = told;
        for seconds in [105, 110, 120] {
            longer = longer.heard(at(seconds), &DOWN);
        }
        assert!(longer.not_before > at(120));
        assert_eq!(again(longer), at(105));
    }

    #[test]
    fn lost_answers_count_from_the_third_in_a_row() {
        check(&[
            (100, Heard::Lost, 0, 0),
            (100, Heard::Lost, 0, 0),
            (100, Heard::Well, 0, 0),
            (100, Heard::Lost, 0, 0),
            (100, Heard::Lost, 0, 0),
            (100, Heard::Lost, 1, 101),
            (101, Heard::Lost, 2, 103),
        ]);
    }

    #[test]
    fn answers_are_read() {
        let reply = |status, retry_after| Answer::reply(status, "", retry_after);
        let (nine, wait) = (Some(9), Some(Duration::from_secs(9)));
        for status in [200, 201, 204, 301, 400, 404, 409, 422] {
            assert_eq!(Heard::of(&reply(status, nine)), Heard::Well, "{status}");
        }
        for status in [401, 403, 408, 425, 500, 502, 503, 504, 599] {
            let heard = Heard::of(&reply(status, nine));
            assert_eq!(heard, Heard::Unavailable(wait), "{status}");
        }
        assert_eq!(Heard::of(&Answer::NotSent(String::new())), DOWN);
        assert_eq!(Heard::of(&Answer::Lost(String::new())), Heard::Lost);
    }

    /// (text, Retry-After, span, reset) and what is read from it: limit, wait, every class.
    #[test]
    fn what_there_was_too_much_of() {
        let rate =
            "You have reached the maximum per-second rate limit for this API. Try again later.";
        let day = "You have reached the maximum daily rate limit for this API. Refer to the response header for details on when you can make another request.";
        let once = "Too many concurrent requests. A request to disassociate this user has already been made.";
        let (second, daily) = (Some(Span::Second), Some(Span::Day));
        let table = [
            ("", None, None, None, Limit::Rate, None, false),
            ("", Some(7), None, None, Limit::Rate, Some(7), true),
            ("", Some(0), None, Some(0), Limit::Rate, None, false),
            (rate, None, None, None, Limit::Rate, None, false),
            (rate, None, second, Some(1), Limit::Rate, Some(1), false),
            (rate, Some(3), second, Some(1), Limit::Rate, Some(3), false),
            (day, None, None, None, Limit::Day, None, false),
            (day, Some(900), None, None, Limit::Day, Some(900), false),
            ("", Some(900), daily, None, Limit::Day, Some(900), false),
            (once, None, None, None, Limit::Concurrency, None, false),
            (
                once,
                None,
                second,
                Some(1),
                Limit::Concurrency,
                Some(1),
                false,
            ),
        ];
        for (text, retry_after, span, reset, limit, wait, every_class) in table {
            let limits = Limits {
                span,
                granted: None,
                reset: reset.map(Duration::from_secs),
            };
            let seconds = |wait: Option<u64>| wait.map(Duration::from_secs);
            let read = Limited::of(text.as_bytes(), seconds(retry_after), limits);
            let want = Limited {
                limit,
                wait: seconds(wait),
                every_class,
            };
            assert_eq!(read, want, "{text:?} {retry_after:?} {span:?}");
            assert!(!read.patience().is_zero());
        }
        let told = Heard::of(&Answer::reply(429, rate, None));
        assert!(matches!(told, Heard::Limited(_)), "{told:?}");
    }

    #[test]
    fn only_what_counts_a_second_is_granted() {
        let with = |span| Answer::Reply {
            status: 200,
            body: Vec::new(),
            retry_after: None,
            limits: Limits {
                span,
                granted: Some(20),
                reset: None,
            },
        };
        assert_eq!(granted(&with(Some(Span::Second))), Some(20));
        assert_eq!(granted(&with(Some(Span::Day))), None);
        assert_eq!(granted(&with(None)), None);
        assert_eq!(granted(&Answer::NotSent(String::new())), None);
    }

    #[test]
    fn to_be_asked_to_slow_down_is_to_be_answered() {
        let limited = Heard::of(&Answer::reply(429, "", Some(30)));
        check(&[
            (100, DOWN, 1, 101),
            (101, limited, 0, 101),
            (102, DOWN, 1, 103),
        ]);
    }

    fn heard() -> impl Strategy<Value = Heard> {
        prop_oneof![
            Just(Heard::Well),
            Just(Heard::Lost),
            proptest::option::of(0..100_000u64)
                .prop_map(|s| Heard::Unavailable(s.map(Duration::from_secs))),
        ]
    }

    proptest! {
        /// Whatever is heard in whatever order: a wait that was asked for is never shortened, and without one the
        /// application is left alone for at most the longest back-off.
        #[test]
        fn a_wait_is_never_shortened(steps in proptest::collection::vec((0..200u64, heard()), 1..60)) {
            let mut health = Health::default();
            let mut now = Timestamp(1_000_000);
            for (seconds, heard) in steps {
                now = now.plus(Duration::from_secs(seconds));
                let next = health.heard(now, &heard);
                prop_assert!(next.not_before >= health.not_before);
                match heard {
                    Heard::Unavailable(asked) => {
                        prop_assert!(next.not_before > now);
                        prop_assert!(next.not_before >= now.plus(asked.unwrap_or_default()));
                    }
                    Heard::Well | Heard::Limited(_) => prop_assert_eq!(next.failures, 0),
                    Heard::Lost => prop_assert!(
                        next.not_before <= health.not_before.max(now.plus(LONGEST))
                    ),
                }
                health = next;
            }
        }
    }
}
