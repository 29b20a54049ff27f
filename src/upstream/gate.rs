//! The gate that every call to an application passes: so many a second, so many at once, and none while the
//! application wants to be left alone. All waiting is on our clock and ends at the caller's deadline.
//!
//! ```text
//! who waits for a class stands in one of three lines, served in this order:
//!   under way   an exchange that was begun: it holds claims, and whatever it is about waits for it
//!   inline      a client waits for its answer
//!   queued      the worker, before it claims anything
//! ```
//!
//! Inline calls pass the worker [`IN_A_ROW`] times in a row and no more: where clients ask for more than the pace allows, a
//! leaver's deactivation in the queue still has its turn.
//!
//! The first of a line goes when nobody stands in a line before it, there is a place, and the class's bucket has a call
//! left. Only the first of a line looks: a place that is freed wakes at most one of each line.
//!
//! It does not call anybody. What an answer means for health and pace is [`crate::provision::pace`].

mod restart;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::bucket::Bucket;
use crate::clock::{Clock, Timestamp};
use crate::config::shape;
use crate::provision::call::Class;
use crate::provision::pace::patience::Patience;
use crate::provision::pace::rate::{Pace, Rate};
use crate::provision::pace::{Health, Heard};
#[cfg(test)]
use crate::simulation::{Bug, planted};

pub use view::{ClassView, GateView, Last, OUTCOMES};

/// When to ask again about something that gives no time of its own.
const SOON: Duration = Duration::from_secs(1);

/// So many inline calls go before a queued one that waits.
const IN_A_ROW: u32 = 4;

/// Who wants to call. The order is the order in which they are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// An exchange that was begun goes on.
    Underway,
    /// A client is waiting for its answer.
    Inline,
    /// The worker begins. It leaves the last free place to those who wait.
    Queued,
}

const TURNS: [Turn; 3] = [Turn::Underway, Turn::Inline, Turn::Queued];
const CLASSES: usize = 2;

/// No call now; try again at `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The earliest moment at which trying again makes sense.
    pub until: Timestamp,
}

/// One application's gate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    /// Who is first in each line holds its lock; the lock is fair.
    lines: [[tokio::sync::Mutex<()>; TURNS.len()]; CLASSES],
    /// Something changed that the first of a line may have waited for.
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    health: Health,
    /// Since when rounds of failure follow each other.
    since: Option<Timestamp>,
    /// One call is finding out whether the application is back.
    probing: bool,
    concurrency: usize,
    in_flight: usize,
    /// How many stand in each line, the first one too.
    waiting: [[usize; TURNS.len()]; CLASSES],
    /// How many inline calls in a row passed the queued line.
    passed: [u32; CLASSES],
    classes: [Kept; CLASSES],
    /// What the next gate will know; `None`: nobody knows what is stored.
    stored: Option<Patience>,
    last: Option<Last>,
    /// Calls since the start, by class and in the order of [`OUTCOMES`].
    calls: [[u64; OUTCOMES.len()]; CLASSES],
}

/// A class's pace and the bucket that keeps it.
#[derive(Debug)]
struct Kept {
    pace: Pace,
    bucket: Bucket,
    /// What the bucket is fitted to.
    fitted: Rate,
}

/// What an answer changes about the application as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swing {
    /// Nothing.
    None,
    /// It was well, and is left alone from now on but for one call at a time that finds out.
    Down,
    /// It was left alone, and is well.
    Up,
}

enum Entry {
    /// It may go; whether it finds out if the application is back.
    Go(bool),
    /// Not before then.
    Ahead(Timestamp),
    /// Not before something changes.
    Behind,
    /// Another call is finding out.
    Taken,
}

impl Gate {
    /// An open gate. Zero in `pace` counts as one.
    #[must_use]
    pub fn new(pace: &shape::Pace, clock: Clock) -> Self {
        let state = State {
            health: Health::default(),
            since: None,
            probing: false,
            concurrency: pace.concurrency.max(1),
            in_flight: 0,
            waiting: Default::default(),
            passed: [0; CLASSES],
            classes: [Kept::new(pace.light), Kept::new(pace.medium)],
            stored: None,
            last: None,
            calls: Default::default(),
        };
        Self(Arc::new(Inner {
            clock,
            lines: Default::default(),
            changed: Notify::new(),
            state: Mutex::new(state),
        }))
    }

    /// Another configuration: health and what was learnt of the pace stand, below the new ceilings. Calls under way end.
    pub fn retune(&self, pace: &shape::Pace) {
        let mut state = self.0.lock();
        state.concurrency = pace.concurrency.max(1);
        for (class, per_second) in [(Class::Light, pace.light), (Class::Medium, pace.medium)] {
            state.kept(class).pace.retune(per_second);
        }
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Waits for a place and for the rate, until `deadline`. After the application failed, the first call that comes
    /// through finds out whether it is back, and is alone.
    ///
    /// # Errors
    /// [`Closed`]: the application or the class is left alone beyond `deadline`, another call is finding out, more stand
    /// in line than can go by then, or neither place nor rate was had. At once where it is known at once.
    pub async fn pass(
        &self,
        class: Class,
        turn: Turn,
        deadline: Timestamp,
    ) -> Result<Permit, Closed> {
        let clock = &self.0.clock;
        if let Some(until) = self.hopeless(class, turn, clock.now(), deadline) {
            return Err(Closed { until });
        }
        let _standing = Standing::join(&self.0, class, turn);
        let line = &self.0.lines[index(class)][turn as usize];
        let first = clock.until(deadline, line.lock()).await;
        let _first = first.ok_or_else(|| self.soon())?;
        loop {
            // Told before looking: what changes after the look is not missed.
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let now = clock.now();
            if now >= deadline {
                return Err(self.soon());
            }
            let entry = self.0.lock().enter(class, turn, now);
            let until = match entry {
                Entry::Go(probe) => {
                    return Ok(Permit {
                        gate: self.clone(),
                        class,
                        taken: now,
                        probe,
                    });
                }
                Entry::Taken => return Err(self.soon()),
                Entry::Ahead(until) if until > deadline => return Err(Closed { until }),
                Entry::Ahead(until) => until,
                Entry::Behind => deadline,
            };
            tokio::select! {
                () = changed => {}
                () = clock.sleep_until(until) => {}
            }
        }
    }

    /// Until when a call that is wanted by `deadline` need not even be tried; `None`: it may come through.
    #[must_use]
    pub fn hopeless(
        &self,
        class: Class,
        turn: Turn,
        now: Timestamp,
        deadline: Timestamp,
    ) -> Option<Timestamp> {
        let state = self.0.lock();
        if let Some(until) = state.left_alone(now) {
            // Another call finds out, or who waits would wait too long.
            return (state.health.not_before <= now || until > deadline).then_some(until);
        }
        let kept = &state.classes[index(class)];
        let rests = kept.pace.not_before();
        if rests > deadline {
            return Some(rests);
        }
        let standing = TURNS.iter().zip(&state.waiting[index(class)]);
        let standing = standing.filter(|(other, _)| **other <= turn);
        // What begins takes two calls as a rule: a create and the look at what became of it.
        let calls = |(other, count): (&Turn, &usize)| match other {
            Turn::Underway => *count,
            Turn::Inline | Turn::Queued => count.saturating_mul(2),
        };
        let ahead = standing.map(calls).sum();
        let until = now.max(rests).plus(kept.pace.rate(now).time_for(ahead));
        (until > deadline).then_some(until)
    }

    /// Lets the next call find out at once whether the application is back, unless it asked itself to be left alone: a
    /// person has mended something.
    pub fn try_again(&self) {
        let mut state = self.0.lock();
        state.health = state.health.try_again();
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// The application's health as it is now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.lock().health
    }

    /// Until when no call would pass at once, whatever its class: the application is left alone, or another call is
    /// finding out whether it is back. `None`: one might.
    #[must_use]
    pub fn closed(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.lock().left_alone(now)
    }

    /// Whether the next call finds out whether the application is back: then one is enough.
    #[must_use]
    pub fn probing(&self) -> bool {
        self.0.lock().health.failures > 0
    }

    fn soon(&self) -> Closed {
        let until = self.0.clock.now().plus(SOON);
        Closed { until }
    }
}

fn index(class: Class) -> usize {
    match class {
        Class::Light => 0,
        Class::Medium => 1,
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kept(&mut self, class: Class) -> &mut Kept {
        &mut self.classes[index(class)]
    }

    fn left_alone(&self, now: Timestamp) -> Option<Timestamp> {
        if now < self.health.not_before {
            Some(self.health.not_before)
        } else {
            (self.health.failures > 0 && self.probing).then(|| now.plus(SOON))
        }
    }

    /// How many stand in the lines of this class that are served before `turn`'s.
    fn before(&self, class: Class, turn: Turn) -> usize {
        let [underway, inline, queued] = self.waiting[index(class)];
        let passed_enough = self.passed[index(class)] >= IN_A_ROW;
        // The last free place is not kept from clients by who may not take it.
        let has_room = self.concurrency <= 1 || self.in_flight + 1 < self.concurrency;
        match turn {
            Turn::Underway => 0,
            Turn::Inline if passed_enough && has_room => underway + queued,
            Turn::Inline => underway,
            Turn::Queued if passed_enough => underway,
            Turn::Queued => underway + inline,
        }
    }

    /// Notes whose turn it was.
    fn went(&mut self, class: Class, turn: Turn) {
        let [.., queued] = self.waiting[index(class)];
        let passed = &mut self.passed[index(class)];
        match turn {
            Turn::Underway => {}
            Turn::Inline if queued > 0 => *passed += 1,
            Turn::Inline | Turn::Queued => *passed = 0,
        }
    }

    fn enter(&mut self, class: Class, turn: Turn, now: Timestamp) -> Entry {
        if now < self.health.not_before {
            return Entry::Ahead(self.health.not_before);
        }
        let probe = self.health.failures > 0;
        if probe && self.probing {
            return Entry::Taken;
        }
        let rests = self.kept(class).pace.not_before();
        #[cfg(test)]
        let rests = if planted(Bug::Impatient) { now } else { rests };
        if now < rests {
            return Entry::Ahead(rests);
        }
        if self.before(class, turn) > 0 {
            return Entry::Behind;
        }
        // With one place alone all are equal.
        let left_free = usize::from(turn == Turn::Queued && self.concurrency > 1);
        if self.in_flight + left_free >= self.concurrency {
            return Entry::Behind;
        }
        if let Err(wait) = self.kept(class).take(now) {
            // The clock counts whole milliseconds: a fraction waits for the next one.
            return Entry::Ahead(now.plus(wait).plus(Duration::from_millis(1)));
        }
        self.in_flight += 1;
        self.probing |= probe;
        self.went(class, turn);
        Entry::Go(probe)
    }

    fn count(&mut self, class: Class, status: Option<u16>) {
        if let Some(calls) = self.calls[index(class)].get_mut(view::outcome(status)) {
            *calls += 1;
        }
    }

    fn heard(&mut self, class: Class, sent: Timestamp, now: Timestamp, heard: &Heard) -> Swing {
        let failed = self.health.failures > 0;
        self.health = self.health.heard(now, heard);
        let swing = match (failed, self.health.failures > 0) {
            (false, true) => Swing::Down,
            (true, false) => Swing::Up,
            (false, false) | (true, true) => Swing::None,
        };
        self.since = match self.health.failures {
            0 => None,
            _ => self.since.or(Some(now)),
        };
        let Heard::Limited(limited) = heard else {
            return swing;
        };
        if limited.every_class {
            let until = now.plus(limited.patience());
            for kept in &mut self.classes {
                kept.pace.rest(until);
            }
        }
        self.kept(class)
            .pace
            .limited(sent, now, limited.limit, limited.wait);
        swing
    }
}

impl Kept {
    fn new(per_second: u32) -> Self {
        let pace = Pace::new(per_second);
        let fitted = pace.ceiling();
        Self {
            pace,
            bucket: Bucket::every(period(fitted), fitted.burst()),
            fitted,
        }
    }

    fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
        let rate = self.pace.rate(now);
        if rate != self.fitted {
            self.bucket.refit(period(rate), rate.burst(), now);
            self.fitted = rate;
        }
        self.bucket.take(now)
    }
}

fn period(rate: Rate) -> Duration {
    Duration::from_nanos(1_000_000_000_000 / u64::from(rate.filling().0.max(1)))
}

/// A place in a line, given up when this is dropped.
struct Standing<'a> {
    gate: &'a Inner,
    class: Class,
    turn: Turn,
}

impl<'a> Standing<'a> {
    fn join(gate: &'a Inner, class: Class, turn: Turn) -> Self {
        gate.lock().waiting[index(class)][turn as usize] += 1;
        Self { gate, class, turn }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.gate.lock().waiting[index(self.class)][self.turn as usize] -= 1;
        self.gate.changed.notify_waiters();
    }
}

/// The right to make one call. Dropping it gives the place back and says nothing about the application.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Permit {
    gate: Gate,
    class: Class,
    taken: Timestamp,
    probe: bool,
}

impl Permit {
    /// Ends the call with what was heard. `status` is the answer's; `granted` the calls a second that it allows. What that
    /// changes about the application as a whole.
    pub fn heard(self, heard: &Heard, status: Option<u16>, granted: Option<u32>) -> Swing {
        let now = self.gate.0.clock.now();
        let mut state = self.gate.0.lock();
        if let Some(per_second) = granted {
            state.kept(self.class).pace.grant(per_second);
        }
        let swing = state.heard(self.class, self.taken, now, heard);
        state.count(self.class, status);
        state.last = Some(Last {
            at: now,
            status,
            heard: *heard,
        });
        // Dropping `self` wakes who waits, after the lock is gone.
        drop(state);
        swing
    }

    /// Ends a call that was made and shows nothing about the application: it is made once more with another token, or we
    /// cut it ourselves.
    pub fn shows_nothing(self, status: Option<u16>) {
        self.gate.0.lock().count(self.class, status);
    }

    /// Whether this call finds out if the application is back.
    #[must_use]
    pub fn probes(&self) -> bool {
        self.probe
    }

    /// The class of call that it is for.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether it still holds: since it was given, nobody heard that calls of this class have to wait.
    #[must_use]
    pub fn holds(&self) -> bool {
        let now = self.gate.0.clock.now();
        let mut state = self.gate.0.lock();
        let rests = state.kept(self.class).pace.not_before();
        now >= rests.max(state.health.not_before) && (self.probe || state.health.failures == 0)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.gate.0.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        if self.probe {
            state.probing = false;
        }
        drop(state);
        self.gate.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
