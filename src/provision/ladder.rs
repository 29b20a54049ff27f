//! The ladder of retries for one account: seconds, minutes, hours, and then an end. Pure.
//!
//! What fails to the end of it is not sent any more before a person or a change asks for it. A removal is: somebody who is to
//! lose an account must not keep it because nobody looked. It is tried at the last rung's pace, and told of as overdue.

use std::time::Duration;

use super::weigh::Due;
use crate::clock::Timestamp;
use crate::journal::record::Delivery;
use crate::store::{Lane, Stuck};

/// The rungs, in seconds.
const LADDER: [u64; 8] = [1, 5, 30, 120, 600, 3_600, 10_800, 21_600];

/// How long to wait before attempt `attempts + 1`: the ladder's rung, give or take a fifth. `dice` is any number.
#[must_use]
pub fn back_off(attempts: u32, dice: u64) -> Duration {
    let rung = LADDER
        .get(attempts as usize)
        .or(LADDER.last())
        .copied()
        .unwrap_or(1)
        * 1_000;
    Duration::from_millis(rung * 4 / 5 + dice % (rung * 2 / 5).max(1))
}

/// Where a resource stands on the ladder in one application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Failed attempts before this one.
    pub attempts: u32,
    /// The application fails everybody at the moment: what it does not answer says nothing about this account. Its retries
    /// climb the ladder, but not to its end.
    pub outage: bool,
    /// Any number: spreads retries.
    pub dice: u64,
}

impl Tries {
    /// What was tried did not go: when it is tried again. `blames`: it is about this account whatever the application is like.
    /// `least`: the application asked for as much.
    #[must_use]
    pub fn again(self, blames: bool, least: Option<Duration>, lane: Lane, now: Timestamp) -> Due {
        let wait = back_off(self.attempts, self.dice).max(least.unwrap_or_default());
        let next = self.attempts.saturating_add(1);
        let attempts = if blames || !self.outage {
            next
        } else {
            let last = u32::try_from(LADDER.len()).unwrap_or(u32::MAX);
            next.min(last).max(self.attempts)
        };
        Due {
            at: now.plus(wait),
            attempts,
            lane,
        }
    }

    /// Whether that attempt was the last of the ladder: then `due` waits for a person or a change, or for `again`, when
    /// something else is to be done. A removal goes on.
    #[must_use]
    pub fn ends(
        self,
        due: &mut Due,
        removal: bool,
        again: Option<Timestamp>,
        line: &Delivery,
        now: Timestamp,
    ) -> Option<Stuck> {
        if due.attempts <= self.attempts || due.attempts as usize <= LADDER.len() {
            return None;
        }
        if !removal {
            due.at = again.unwrap_or(Timestamp::NEVER);
        }
        Some(Stuck {
            since: now,
            removal,
            code: line.code.clone().unwrap_or_default(),
            reason: line.reason.clone().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::{Operation, Status};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn line() -> Delivery {
        Delivery {
            application: String::from("zoom"),
            operation: Operation::Update,
            remote_id: None,
            status: Status::Failure,
            code: Some(String::from("refused")),
            reason: Some(String::from("no")),
            calls: Vec::new(),
        }
    }

    fn tries(attempts: u32, outage: bool) -> Tries {
        Tries {
            attempts,
            outage,
            dice: 0,
        }
    }

    #[test]
    fn a_rung_is_kept_give_or_take_a_fifth() {
        for (attempts, seconds) in [(0, 1), (1, 5), (2, 30), (7, 21_600), (99, 21_600)] {
            for dice in [0, 1, 77_777, u64::MAX] {
                let wait = back_off(attempts, dice).as_millis();
                let rung = seconds * 1_000;
                assert!(
                    (rung * 4 / 5..=rung * 6 / 5).contains(&wait),
                    "{attempts}: {wait}"
                );
            }
        }
    }

    #[test]
    fn the_ladder_has_an_end_and_a_removal_goes_on_beyond_it() {
        for (attempts, removal, again, at, stuck) in [
            (7, false, None, None, false),
            (8, false, None, Some(Timestamp::NEVER), true),
            (8, false, Some(Timestamp(7)), Some(Timestamp(7)), true),
            (8, true, None, None, true),
            (50, true, None, None, true),
        ] {
            let mut due = tries(attempts, false).again(true, None, Lane::Update, NOW);
            let rung = due.at;
            let found = tries(attempts, false).ends(&mut due, removal, again, &line(), NOW);
            assert_eq!(found.is_some(), stuck, "{attempts} {removal}");
            assert_eq!(due.at, at.unwrap_or(rung), "{attempts} {removal}");
        }
    }

    #[test]
    fn an_outage_is_nobodys_fault() {
        let away = tries(8, true);
        let mut due = away.again(false, None, Lane::Create, NOW);
        assert_eq!(due.attempts, 8);
        assert_eq!(away.ends(&mut due, false, None, &line(), NOW), None);
        // What is refused meanwhile is.
        let due = away.again(true, None, Lane::Create, NOW);
        assert_eq!(due.attempts, 9);
    }

    #[test]
    fn what_the_application_asks_for_is_waited() {
        let hour = Duration::from_secs(3_600);
        let due = tries(0, false).again(false, Some(hour), Lane::Create, NOW);
        assert_eq!(due.at, NOW.plus(hour));
    }
}
