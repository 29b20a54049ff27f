//! What a gate tells the next one, and how it begins with what the one before it knew.

use super::{Gate, State, index};
use crate::provision::call::Class;
use crate::provision::pace::Health;
use crate::provision::pace::patience::Patience;
use crate::upstream::retry_after::CAP;

impl Gate {
    /// Begins with what was known before the start: who was told to wait goes on waiting, and whether an application that
    /// failed is back is found out by one call.
    pub fn resume(&self, known: &Patience) {
        let cap = self.0.clock.now().plus(CAP);
        let mut state = self.0.lock();
        state.health = known.health(cap);
        state.since = known.since.filter(|_| known.failures > 0);
        for (class, rests) in [(Class::Light, known.light), (Class::Medium, known.medium)] {
            let pace = &mut state.kept(class).pace;
            pace.rest(rests.not_before.min(cap));
            if let Some(granted) = rests.granted {
                pace.grant(granted);
            }
        }
        // What another clock wrote is told anew, or it would hold at every start.
        state.stored = (state.known() == *known).then_some(*known);
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Begins as if the application had failed: nobody knows how it was, so one call finds out.
    pub fn doubt(&self) {
        let mut state = self.0.lock();
        state.health = Health {
            failures: 1,
            ..state.health
        };
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Hands over what the next gate has to know: once each time that there is something new. What is handed over last is
    /// the newest, so that `keep` may not call back.
    pub fn news(&self, keep: impl FnOnce(Patience)) {
        let now = self.0.clock.now();
        let mut state = self.0.lock();
        let known = state.known();
        let stored = state.stored;
        if stored.is_none_or(|stored| known.is_news(&stored, now)) {
            state.stored = Some(known);
            keep(known);
        }
    }
}

impl State {
    fn known(&self) -> Patience {
        let [light, medium] =
            [Class::Light, Class::Medium].map(|class| self.classes[index(class)].pace);
        Patience::of(self.health, self.since, light, medium)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::config::shape;
    use crate::provision::pace::Heard;
    use crate::upstream::gate::Turn;

    fn gate(clock: &Clock) -> Gate {
        let pace = shape::Pace {
            light: 10,
            medium: 10,
            concurrency: 4,
        };
        Gate::new(&pace, clock.clone())
    }

    fn news(gate: &Gate) -> Option<Patience> {
        let mut told = None;
        gate.news(|patience| told = Some(patience));
        told
    }

    /// Whether a call goes at once, and whether it finds out.
    async fn goes(gate: &Gate, clock: &Clock) -> Option<bool> {
        let now = clock.now();
        let passed = gate.pass(
            Class::Light,
            Turn::Inline,
            now.plus(Duration::from_millis(1)),
        );
        passed.await.ok().map(|permit| permit.probes())
    }

    #[tokio::test]
    async fn the_next_gate_waits_as_long_and_then_asks_once() {
        let clock = Clock::manual(Timestamp(1_000_000));
        let first = gate(&clock);
        assert!(news(&first).is_some(), "nobody knows what is stored");
        assert_eq!(news(&first), None, "once");
        let passed = first.pass(Class::Light, Turn::Inline, Timestamp(1_000_001));
        let permit = passed.await.expect("it is open");
        let asked = Heard::Unavailable(Some(Duration::from_secs(60)));
        let _down = permit.heard(&asked, Some(503), Some(7));
        let known = news(&first).expect("it asked to be left alone");
        let next = gate(&clock);
        next.resume(&known);
        assert_eq!(news(&next), None, "it is stored");
        let seen = next.snapshot(clock.now());
        assert_eq!(seen.left_alone_until, Some(Timestamp(1_060_000)));
        assert_eq!((seen.failures, seen.light.granted), (1, Some(7)));
        assert_eq!(goes(&next, &clock).await, None);
        clock.advance(Duration::from_secs(60));
        assert_eq!(goes(&next, &clock).await, Some(true));
        // A clock that stood wrong when it was stored makes nobody wait for ever.
        let far = Patience {
            not_before: Timestamp::NEVER,
            ..known
        };
        let next = gate(&clock);
        next.resume(&far);
        let until = next.snapshot(clock.now()).left_alone_until;
        assert_eq!(until, Some(clock.now().plus(CAP)));
        let told = news(&next).expect("what is stored is not what holds");
        assert_eq!(told.not_before, clock.now().plus(CAP));
    }

    #[tokio::test]
    async fn where_nobody_knows_how_it_was_one_call_finds_out() {
        let clock = Clock::manual(Timestamp(1_000_000));
        let gate = gate(&clock);
        gate.doubt();
        let passed = gate.pass(Class::Light, Turn::Inline, Timestamp(1_000_001));
        let permit = passed.await.expect("at once");
        assert!(permit.probes());
        assert_eq!(goes(&gate, &clock).await, None, "one alone");
        let _up = permit.heard(&Heard::Well, Some(200), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(goes(&gate, &clock).await, Some(false));
    }
}
