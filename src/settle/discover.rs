//! What an application can do: asked once, before its first exchange, and again after a surprise or a day.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Application, Engine, Passage};
use crate::clock::Timestamp;
use crate::provision::call::Answer;
use crate::provision::pace;
use crate::provision::profile::capabilities::{Capabilities, Told};

/// An answer is believed for so long: applications are upgraded.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Where there was no clear answer: a write does not wait for it each time.
const SOON: Duration = Duration::from_secs(300);

/// What is known of one application, under one configuration.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<State>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    capabilities: Capabilities,
    /// When it is asked next; `None`: it never was.
    again: Option<Timestamp>,
    /// An answer showed something else than was known: that stands, whatever it says of itself.
    surprised: bool,
}

impl Known {
    fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // No step of `work` leaves it half done.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known.
    pub(super) fn capabilities(&self) -> Capabilities {
        self.state(|state| state.capabilities)
    }

    /// Whether to ask now. True for one caller: the others go by what is known so far, which is no harm.
    fn asks(&self, now: Timestamp) -> bool {
        self.state(|state| {
            let due = state.again.is_none_or(|again| again <= now);
            if due {
                state.again = Some(now.plus(SOON));
            }
            due
        })
    }

    fn told(&self, told: Told, now: Timestamp) {
        let said = match told {
            // Asked again soon, as was set when it was asked.
            Told::Unclear => return,
            Told::Silent => Capabilities::default(),
            Told::Known(capabilities) => capabilities,
        };
        self.state(|state| {
            let before = state.capabilities;
            state.capabilities = Capabilities {
                puts_attributes: state.surprised && before.puts_attributes,
                puts_active: state.surprised && before.puts_active,
                ..said
            };
            state.surprised = false;
            state.again = Some(now.plus(DAY));
        });
    }

    /// What an exchange found out beside.
    pub(super) fn learn(&self, found: Capabilities) {
        self.state(|state| {
            let known = &mut state.capabilities;
            let news = (found.puts_attributes && !known.puts_attributes)
                || (found.puts_active && !known.puts_active);
            if news {
                known.puts_attributes |= found.puts_attributes;
                known.puts_active |= found.puts_active;
                state.surprised = true;
                state.again = None;
            }
        });
    }
}

impl Engine {
    /// What the application can do: as it says, if it says anything and was not asked already.
    pub(super) async fn discover(
        &self,
        application: &Application,
        passage: &mut Passage,
    ) -> Capabilities {
        let profile = application.plan.profile;
        let known = &application.known;
        if profile.describes_itself() && known.asks(self.clock.now()) {
            // Not made: the exchange's own first call hears why.
            if let Ok(carried) = self.carry(application, profile.discover(), passage).await {
                let told = match &carried.answer {
                    Answer::Reply { status, body, .. } => Capabilities::read(*status, body),
                    Answer::NotSent(_) | Answer::Lost(_) => Told::Unclear,
                };
                known.told(told, self.clock.now());
                // A server without discovery, or one that keeps it from us, is well.
                let heard = match (&carried.answer, told, pace::Heard::of(&carried.answer)) {
                    (_, Told::Known(_) | Told::Silent, _) => pace::Heard::Well,
                    (Answer::Reply { status: 403, .. }, ..) => pace::Heard::Well,
                    (_, Told::Unclear, heard) => heard,
                };
                carried.shows(&self.store, application, &heard);
            }
        }
        known.capabilities()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_once_and_again_after_a_day_or_a_surprise() {
        let known = Known::default();
        let at = |seconds: u64| Timestamp(1_000).plus(Duration::from_secs(seconds));
        assert!(known.asks(at(0)));
        assert!(!known.asks(at(1)), "one asks for all");
        known.told(Told::Unclear, at(1));
        assert!(!known.asks(at(299)));
        assert!(known.asks(at(300)), "nothing was learnt");

        let patches = Capabilities {
            patch: Some(true),
            ..Capabilities::default()
        };
        known.told(Told::Known(patches), at(300));
        assert!(!known.asks(at(86_000)));
        let found = Capabilities {
            puts_attributes: true,
            ..patches
        };
        known.learn(found);
        assert!(known.asks(at(86_001)), "it said otherwise");
        known.told(Told::Known(patches), at(86_001));
        assert_eq!(known.capabilities(), found, "what it did counts for more");
        known.learn(found);
        assert!(!known.asks(at(86_002)), "no news");

        assert!(known.asks(at(86_001 + 86_400)));
        known.told(Told::Known(patches), at(86_001 + 86_400));
        assert_eq!(
            known.capabilities(),
            patches,
            "after a day PATCH is tried again"
        );
    }
}
