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
        state.stored = Some(*known);
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

    /// What has to be stored because the next gate has to know it: once each time that there is something new.
    #[must_use]
    pub fn news(&self) -> Option<Patience> {
        let now = self.0.clock.now();
        let mut state = self.0.lock();
        let known = state.known();
        let stored = state.stored;
        if stored.is_some_and(|stored| !known.is_news(&stored, now)) {
            return None;
        }
        state.stored = Some(known);
        Some(known)
    }
}

impl State {
    fn known(&self) -> Patience {
        let [light, medium] =
            [Class::Light, Class::Medium].map(|class| self.classes[index(class)].pace);
        Patience::of(self.health, self.since, light, medium)
    }
}
