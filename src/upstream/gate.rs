//! The gate that every call to an application passes: so many a second, so many at once, and none while the
//! application wants to be left alone. All waiting is on our clock and ends at the caller's deadline.
//!
//! It does not call anybody. What an answer means for the application's health is [`crate::provision::pace`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::bucket::Bucket;
use crate::clock::{Clock, Timestamp};
use crate::config::shape::Pace;
use crate::provision::call::Class;
use crate::provision::pace::{Health, Heard};

/// An eighth of a second's calls may follow each other without a gap after a pause, within the rate.
const BURST: u32 = 8;
/// When to ask again about something that gives no time of its own.
const SOON: Duration = Duration::from_secs(1);

/// Who wants to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A client is waiting for its answer.
    Inline,
    /// The worker. It leaves the last free place to those who wait.
    Queued,
}

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
    light: Bucket,
    medium: Bucket,
    places: Arc<Semaphore>,
    /// Whether there is a place to leave to inline calls: with one place alone all are equal.
    spare: bool,
    /// Queued calls wait in line here, so that one place given back wakes one of them.
    queue: tokio::sync::Mutex<()>,
    freed: Notify,
    health: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    health: Health,
    /// One call is finding out whether the application is back.
    probing: bool,
}

enum Entry {
    Open,
    Probe,
    Ahead(Timestamp),
    Taken,
}

impl Gate {
    /// An open gate. Zero in `pace` counts as one.
    #[must_use]
    pub fn new(pace: &Pace, clock: Clock) -> Self {
        let places = pace.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let bucket = |rate: u32| Bucket::new(rate, rate.div_ceil(BURST));
        Self(Arc::new(Inner {
            clock,
            light: bucket(pace.light),
            medium: bucket(pace.medium),
            places: Arc::new(Semaphore::new(places)),
            spare: places > 1,
            queue: tokio::sync::Mutex::new(()),
            freed: Notify::new(),
            health: Mutex::default(),
        }))
    }

    /// Waits for a place and for the rate, until `deadline`. After the application failed, the first call that comes
    /// through finds out whether it is back, and is alone.
    ///
    /// # Errors
    /// [`Closed`]: the application is left alone beyond `deadline`, another call is finding out, or neither place nor
    /// rate was had by then. At once where it is known at once.
    pub async fn pass(
        &self,
        class: Class,
        turn: Turn,
        deadline: Timestamp,
    ) -> Result<Permit, Closed> {
        let clock = &self.0.clock;
        loop {
            // Looked at before waiting in line, so that who cannot pass hears it at once.
            let seen = self.0.lock().look(clock.now());
            match seen {
                Entry::Ahead(until) => {
                    self.wait_for(until, deadline).await?;
                    continue;
                }
                Entry::Taken => return Err(self.soon()),
                Entry::Open | Entry::Probe => {}
            }
            let waiting = clock.until(deadline, self.place(turn));
            let place = waiting.await.ok_or_else(|| self.soon())?;
            self.rate(class, deadline).await?;
            let now = clock.now();
            if now >= deadline {
                return Err(self.soon());
            }
            // And again: it may have failed while this one stood in line.
            let probe = match self.0.lock().enter(now) {
                Entry::Ahead(_) => continue,
                Entry::Taken => return Err(self.soon()),
                Entry::Open => false,
                Entry::Probe => true,
            };
            return Ok(Permit {
                gate: self.clone(),
                place: Some(place),
                probe,
            });
        }
    }

    /// The application's health as it is now.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.lock().health
    }

    /// Until when no call would pass at once: the application is left alone, or another call is finding out whether it
    /// is back. `None`: one would.
    #[must_use]
    pub fn closed(&self, now: Timestamp) -> Option<Timestamp> {
        match self.0.lock().look(now) {
            Entry::Ahead(until) => Some(until),
            Entry::Taken => Some(now.plus(SOON)),
            Entry::Open | Entry::Probe => None,
        }
    }

    /// Whether the next call finds out whether the application is back: then one is enough.
    #[must_use]
    pub fn probing(&self) -> bool {
        self.0.lock().health.failures > 0
    }

    async fn wait_for(&self, until: Timestamp, deadline: Timestamp) -> Result<(), Closed> {
        if until > deadline {
            return Err(Closed { until });
        }
        self.0.clock.sleep_until(until).await;
        Ok(())
    }

    async fn place(&self, turn: Turn) -> Place {
        // Made first: dropped while waiting, it still wakes who looks at what the semaphore took back.
        let mut place = Place {
            permit: None,
            gate: Arc::clone(&self.0),
        };
        place.permit = match turn {
            Turn::Queued if self.0.spare => self.spare_permit().await,
            Turn::Queued | Turn::Inline => {
                let places = Arc::clone(&self.0.places);
                // The semaphore is never closed.
                places.acquire_owned().await.ok()
            }
        };
        place
    }

    async fn spare_permit(&self) -> Option<OwnedSemaphorePermit> {
        let _first_in_line = self.0.queue.lock().await;
        loop {
            // Two are taken in one step and one is given back: a free place is left for who waits.
            if let Ok(mut two) = Arc::clone(&self.0.places).try_acquire_many_owned(2) {
                return two.split(1);
            }
            // A place given back between the attempt and this is remembered.
            self.0.freed.notified().await;
        }
    }

    async fn rate(&self, class: Class, deadline: Timestamp) -> Result<(), Closed> {
        let bucket = match class {
            Class::Light => &self.0.light,
            Class::Medium => &self.0.medium,
        };
        loop {
            let now = self.0.clock.now();
            let Err(wait) = bucket.take(now) else {
                return Ok(());
            };
            // The clock counts whole milliseconds: a fraction waits for the next one.
            let until = now.plus(wait.max(Duration::from_millis(1)));
            self.wait_for(until, deadline).await?;
        }
    }

    fn soon(&self) -> Closed {
        let until = self.0.clock.now().plus(SOON);
        Closed { until }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&self, now: Timestamp) -> Entry {
        if now < self.health.not_before {
            Entry::Ahead(self.health.not_before)
        } else if self.health.failures == 0 {
            Entry::Open
        } else if self.probing {
            Entry::Taken
        } else {
            Entry::Probe
        }
    }

    fn enter(&mut self, now: Timestamp) -> Entry {
        let entry = self.look(now);
        if matches!(entry, Entry::Probe) {
            self.probing = true;
        }
        entry
    }
}

/// The right to make one call. Dropping it gives the place back and says nothing about the application.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Permit {
    gate: Gate,
    place: Option<Place>,
    probe: bool,
}

impl Permit {
    /// Ends the call with what was heard.
    pub fn heard(self, heard: &Heard) {
        let now = self.gate.0.clock.now();
        let mut state = self.gate.0.lock();
        state.health = state.health.heard(now, heard);
    }

    /// Whether this call finds out if the application is back.
    #[must_use]
    pub fn probes(&self) -> bool {
        self.probe
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe {
            self.gate.0.lock().probing = false;
        }
        self.place = None;
    }
}

/// A place among the calls at once.
#[derive(Debug)]
struct Place {
    permit: Option<OwnedSemaphorePermit>,
    gate: Arc<Inner>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        self.gate.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    const LATE: Timestamp = Timestamp(1_000_000);
    const DOWN: Heard = Heard::Unavailable(None);

    fn gate(light: u32, concurrency: usize) -> (Gate, Clock) {
        let clock = Clock::manual(Timestamp(10_000));
        let pace = Pace {
            light,
            medium: 1,
            concurrency,
        };
        (Gate::new(&pace, clock.clone()), clock)
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// What `pass` says without waiting: `None` if it would wait.
    fn now(
        gate: &Gate,
        class: Class,
        turn: Turn,
        deadline: Timestamp,
    ) -> Option<Result<Permit, Closed>> {
        match poll(pin!(gate.pass(class, turn, deadline))) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    fn light(gate: &Gate, turn: Turn) -> Option<Result<Permit, Closed>> {
        now(gate, Class::Light, turn, LATE)
    }

    fn through(gate: &Gate, turn: Turn) -> Permit {
        light(gate, turn).expect("no wait").expect("open")
    }

    #[tokio::test]
    async fn the_rate_is_kept_by_class_and_waits_for_the_clock() {
        let (gate, clock) = gate(25, 9);
        let held: Vec<_> = (0..4).map(|_| through(&gate, Turn::Inline)).collect();
        let soon = clock.now().plus(Duration::from_millis(39));
        let refused = now(&gate, Class::Light, Turn::Inline, soon).expect("known at once");
        assert_eq!(refused.unwrap_err().until, Timestamp(10_040));
        assert!(now(&gate, Class::Medium, Turn::Inline, soon).is_some_and(|got| got.is_ok()));
        let mut waiting = pin!(gate.pass(Class::Light, Turn::Inline, LATE));
        assert!(poll(waiting.as_mut()).is_pending());
        clock.advance(Duration::from_millis(40));
        assert!(waiting.await.is_ok());
        drop(held);
    }

    #[tokio::test]
    async fn queued_calls_leave_a_place_to_inline_ones() {
        let (gate, _clock) = gate(1_000, 2);
        let first = through(&gate, Turn::Queued);
        assert!(light(&gate, Turn::Queued).is_none(), "took the last place");
        let second = through(&gate, Turn::Inline);
        let mut queued = pin!(gate.pass(Class::Light, Turn::Queued, LATE));
        let mut inline = pin!(gate.pass(Class::Light, Turn::Inline, LATE));
        assert!(poll(queued.as_mut()).is_pending());
        assert!(poll(inline.as_mut()).is_pending());
        drop(first);
        assert!(poll(queued.as_mut()).is_pending(), "went before inline");
        let Poll::Ready(Ok(third)) = poll(inline.as_mut()) else {
            panic!("a place is free");
        };
        drop(second);
        assert!(poll(queued.as_mut()).is_pending());
        drop(third);
        assert!(queued.await.is_ok());
    }

    #[tokio::test]
    async fn a_cancelled_inline_wait_wakes_the_queue() {
        let (gate, clock) = gate(1_000, 2);
        let held = [through(&gate, Turn::Inline), through(&gate, Turn::Inline)];
        let mut inline = Box::pin(gate.pass(Class::Light, Turn::Inline, LATE));
        assert!(poll(inline.as_mut()).is_pending());
        let waiting = gate.clone();
        let queued =
            tokio::spawn(
                async move { waiting.pass(Class::Light, Turn::Queued, LATE).await.is_ok() },
            );
        tokio::task::yield_now().await;
        // One place goes to the inline call, which never looks; the queue is told of both too early.
        drop(held);
        tokio::task::yield_now().await;
        drop(inline);
        tokio::task::yield_now().await;
        clock.advance(LATE.since(clock.now()));
        assert!(queued.await.unwrap());
    }

    #[tokio::test]
    async fn one_place_is_for_all_alike() {
        let (gate, clock) = gate(1_000, 1);
        let held = through(&gate, Turn::Queued);
        let mut waiting = Box::pin(gate.pass(Class::Light, Turn::Inline, Timestamp(14_000)));
        assert!(poll(waiting.as_mut()).is_pending());
        clock.advance(Duration::from_secs(4));
        assert_eq!(waiting.await.unwrap_err().until, Timestamp(15_000));
        drop(held);
        drop(through(&gate, Turn::Queued));
        drop(through(&gate, Turn::Inline));
    }

    #[tokio::test]
    async fn an_application_that_failed_is_left_alone_then_asked_by_one() {
        let (gate, clock) = gate(1_000, 4);
        let under_way = through(&gate, Turn::Inline);
        through(&gate, Turn::Inline).heard(&Heard::Unavailable(Some(Duration::from_secs(30))));
        let refused = now(&gate, Class::Light, Turn::Inline, Timestamp(14_000));
        let until = Timestamp(40_000);
        assert_eq!(refused.expect("at once").unwrap_err(), Closed { until });

        let mut patient = pin!(gate.pass(Class::Light, Turn::Queued, LATE));
        assert!(poll(patient.as_mut()).is_pending());
        clock.advance(Duration::from_secs(30));
        let probe = patient.await.expect("the time has come");
        assert!(probe.probes());
        let soon = Timestamp(41_000);
        let other = light(&gate, Turn::Inline).expect("at once");
        assert_eq!(other.unwrap_err(), Closed { until: soon });

        // It fails: left alone longer. A probe that says nothing lets another one ask.
        probe.heard(&DOWN);
        assert_eq!(gate.health().not_before, Timestamp(42_000));
        clock.advance(Duration::from_secs(2));
        drop(through(&gate, Turn::Inline));
        let probe = through(&gate, Turn::Inline);
        assert!(probe.probes());
        probe.heard(&Heard::Well);
        let [one, two] = [through(&gate, Turn::Inline), through(&gate, Turn::Inline)];
        assert!(!one.probes() && !two.probes());
        drop(under_way);
    }

    #[tokio::test]
    async fn who_stood_in_line_when_it_failed_does_not_go() {
        let (gate, _clock) = gate(1_000, 1);
        let first = through(&gate, Turn::Inline);
        let mut second = pin!(gate.pass(Class::Light, Turn::Inline, Timestamp(10_500)));
        assert!(poll(second.as_mut()).is_pending());
        first.heard(&DOWN);
        let until = Timestamp(11_000);
        assert_eq!(second.await.unwrap_err(), Closed { until });
    }

    #[tokio::test]
    async fn a_deadline_that_has_passed_gets_no_call() {
        let (gate, clock) = gate(1_000, 1);
        assert!(matches!(
            now(&gate, Class::Light, Turn::Inline, clock.now()),
            Some(Err(_))
        ));
        drop(through(&gate, Turn::Inline));
    }
}
