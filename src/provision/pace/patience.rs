//! What has to be known of an application's patience after a restart: until when it asked to be left alone, whether it was
//! failing, and how many calls a second it allows. Pure.

use serde::{Deserialize, Serialize};

use super::{Health, rate::Pace};
use crate::clock::Timestamp;

/// What a gate knows, as far as the next one has to know it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Patience {
    /// Rounds of failure in a row. While above zero one call at a time finds out whether it is back.
    #[serde(default)]
    pub failures: u32,
    /// Since when they follow each other.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// No call of any class before this.
    #[serde(default)]
    pub not_before: Timestamp,
    /// The part of it that the application itself asked for.
    #[serde(default)]
    pub asked_until: Timestamp,
    /// Light calls.
    #[serde(default)]
    pub light: Rests,
    /// Medium calls.
    #[serde(default)]
    pub medium: Rests,
}

/// The same of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rests {
    /// No call of it before this.
    #[serde(default)]
    pub not_before: Timestamp,
    /// Calls a second that the application said it allows.
    #[serde(default)]
    pub granted: Option<u32>,
}

impl Patience {
    /// What is known of an application's health, and of the pace of light and medium calls.
    #[must_use]
    pub fn of(health: Health, since: Option<Timestamp>, light: Pace, medium: Pace) -> Self {
        let rests = |pace: Pace| Rests {
            not_before: pace.not_before(),
            granted: pace.granted(),
        };
        Self {
            failures: health.failures,
            since,
            not_before: health.not_before,
            asked_until: health.asked_until,
            light: rests(light),
            medium: rests(medium),
        }
    }

    /// The health to begin with. A time that lies beyond `cap` was written by another clock, and is not believed.
    #[must_use]
    pub fn health(&self, cap: Timestamp) -> Health {
        Health {
            failures: self.failures,
            lost: 0,
            not_before: self.not_before.min(cap),
            asked_until: self.asked_until.min(cap),
        }
    }

    /// Whether a restart that knew `stored` alone would call where it must not, or be shy where it need not. What is over
    /// already is left out, so that an application that stays well is written once.
    #[must_use]
    pub fn is_news(&self, stored: &Self, now: Timestamp) -> bool {
        let fails = |one: &Self| one.failures > 0;
        let longer = self.not_before > stored.not_before.max(now)
            || self.asked_until > stored.asked_until.max(now);
        let rests = |mine: &Rests, stored: &Rests| {
            let longer = mine.not_before > stored.not_before.max(now);
            // More than was granted before shows with the next answer; less has to be known before the next call.
            let less = mine
                .granted
                .is_some_and(|mine| stored.granted.is_none_or(|stored| mine < stored));
            longer || less
        };
        fails(self) != fails(stored)
            || longer
            || rests(&self.light, &stored.light)
            || rests(&self.medium, &stored.medium)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn rests(until: u64, granted: Option<u32>) -> Rests {
        Rests {
            not_before: Timestamp(until),
            granted,
        }
    }

    #[test]
    fn what_a_restart_must_know_is_news_and_nothing_else_is() {
        let well = Patience::default();
        let failing = Patience {
            failures: 1,
            not_before: Timestamp(1_001_000),
            ..well
        };
        let light = |light| Patience { light, ..well };
        let table = [
            ("well and known to be", well, well, false),
            ("it fails", failing, well, true),
            ("it fails, as is known", failing, failing, false),
            ("it answers again", well, failing, true),
            (
                "it fails for longer",
                Patience {
                    failures: 2,
                    not_before: Timestamp(1_060_000),
                    ..failing
                },
                failing,
                true,
            ),
            (
                "it asks for a part of what we wait of ourselves",
                Patience {
                    asked_until: Timestamp(1_000_500),
                    ..failing
                },
                failing,
                true,
            ),
            ("a second's rest", light(rests(1_001_000, None)), well, true),
            ("half a minute", light(rests(1_030_000, None)), well, true),
            (
                "half a minute, as is known",
                light(rests(1_030_000, None)),
                light(rests(1_030_000, None)),
                false,
            ),
            (
                "a rest that is over",
                well,
                light(rests(900_000, None)),
                false,
            ),
            ("a grant", light(rests(0, Some(20))), well, true),
            (
                "a smaller grant",
                light(rests(0, Some(10))),
                light(rests(0, Some(20))),
                true,
            ),
            (
                "a larger one",
                light(rests(0, Some(30))),
                light(rests(0, Some(20))),
                false,
            ),
        ];
        for (what, mine, stored, news) in table {
            assert_eq!(mine.is_news(&stored, NOW), news, "{what}");
        }
    }

    #[test]
    fn times_of_another_clock_are_not_believed() {
        let far = Patience {
            failures: 3,
            not_before: Timestamp(u64::MAX),
            asked_until: Timestamp(7),
            ..Patience::default()
        };
        let health = far.health(NOW);
        assert_eq!(
            (health.failures, health.not_before, health.asked_until),
            (3, NOW, Timestamp(7))
        );
    }

    #[test]
    fn a_row_reads_back_and_one_of_less_is_read_too() {
        let whole = Patience {
            failures: 2,
            since: Some(NOW),
            not_before: NOW,
            asked_until: NOW,
            light: rests(5, Some(20)),
            medium: rests(6, None),
        };
        let text = serde_json::to_string(&whole).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Patience>(&text).expect("read"),
            whole
        );
        let less: Patience = serde_json::from_str("{\"failures\":1}").expect("read");
        assert_eq!(less.failures, 1);
    }
}
