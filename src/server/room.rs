//! Memory for the bodies of all requests together, and for what is made of them.
//!
//! A share grows as bytes come, then once more for what reading them takes, and is given back when the request is
//! answered. Places are handed out in the order in which they were asked for. Requests that each hold a part and wait
//! for more could wait for each other for ever; so there is one last place beyond the rest, large enough for any body, and
//! whoever has it waits for nothing more.
//!
//! What is charged is what reading costs ([`crate::scim::json::weight`]), twice for a write. Its copies may take as much
//! again for a moment: with every place taken by the worst bodies there are, the process was seen at 180 to 340 MiB, the
//! store's cache of 64 MiB and what the allocator keeps included.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::{Clock, Timestamp};
use crate::error::Fault;

/// The whole room, in bytes, without the last place.
pub const ROOM: usize = 64 * 1024 * 1024;
/// What one permit stands for, in bytes.
const UNIT: usize = 1024;

/// The room.
#[derive(Debug)]
pub struct Room {
    /// In units.
    size: usize,
    places: Arc<Semaphore>,
    last: Arc<Semaphore>,
}

/// One request's part of the room; dropping it gives it back.
#[derive(Debug)]
#[must_use = "the part is given back when this is dropped"]
pub struct Share {
    size: usize,
    places: Arc<Semaphore>,
    last: Arc<Semaphore>,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Nothing,
    Places(OwnedSemaphorePermit),
    /// Whatever it needs.
    Last {
        _permit: OwnedSemaphorePermit,
    },
}

impl Room {
    /// An empty room.
    #[must_use]
    pub fn new() -> Self {
        Self::of(ROOM)
    }

    fn of(bytes: usize) -> Self {
        let size = bytes / UNIT;
        Self {
            size,
            places: Arc::new(Semaphore::new(size)),
            last: Arc::new(Semaphore::new(1)),
        }
    }

    /// Bytes that are in use. Whoever has the last place counts as nothing: nobody knows what it needs.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let taken = self.size.saturating_sub(self.places.available_permits());
        taken * UNIT
    }

    /// A share of nothing so far.
    pub fn share(&self) -> Share {
        Share {
            size: self.size,
            places: Arc::clone(&self.places),
            last: Arc::clone(&self.last),
            held: Held::Nothing,
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl Share {
    /// Makes it `bytes` in all; it never shrinks. Says whether it had to wait for others.
    ///
    /// # Errors
    /// [`Fault::Unavailable`]: there was no place until `deadline`.
    pub async fn grow(
        &mut self,
        bytes: usize,
        deadline: Timestamp,
        clock: &Clock,
    ) -> Result<bool, Fault> {
        let held = match &self.held {
            Held::Nothing => 0,
            Held::Places(permit) => permit.num_permits(),
            Held::Last { .. } => return Ok(false),
        };
        let wanted = bytes.div_ceil(UNIT);
        let more = wanted.saturating_sub(held);
        if more == 0 {
            return Ok(false);
        }
        let more = match u32::try_from(more) {
            Ok(more) if wanted <= self.size => more,
            // Who waited for it would only keep places from others.
            _ => return self.wait(None, deadline, clock).await,
        };
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_many_owned(more) {
            self.add(permit);
            return Ok(false);
        }
        self.wait(Some(more), deadline, clock).await
    }

    /// Waits for `more` places, or for the last one.
    async fn wait(
        &mut self,
        more: Option<u32>,
        deadline: Timestamp,
        clock: &Clock,
    ) -> Result<bool, Fault> {
        let (places, last) = (Arc::clone(&self.places), Arc::clone(&self.last));
        let waiting = async {
            tokio::select! {
                biased;
                Ok(permit) = async {
                    match more {
                        Some(more) => places.acquire_many_owned(more).await.map_err(drop),
                        None => Err(()),
                    }
                } => self.add(permit),
                Ok(permit) = last.acquire_owned() => {
                    // What it held goes to those who wait.
                    self.held = Held::Last { _permit: permit };
                }
                // Neither is ever closed.
                else => std::future::pending().await,
            }
        };
        match clock.until(deadline, waiting).await {
            Some(()) => Ok(true),
            None => Err(Fault::Unavailable {
                retry_after: 5,
                detail: String::from(
                    "Too many large requests are under way at once. Try again, or send smaller ones.",
                ),
            }),
        }
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.held {
            Held::Places(held) => held.merge(permit),
            held => *held = Held::Places(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    const LATE: Timestamp = Timestamp(30_000);

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_share_grows_and_is_given_back() {
        let (room, clock) = (Room::of(4 * UNIT), Clock::manual(Timestamp(0)));
        let mut share = room.share();
        for (bytes, free) in [
            (0, 4),
            (1, 3),
            (UNIT, 3),
            (UNIT + 1, 2),
            (5, 2),
            (4 * UNIT, 0),
        ] {
            assert_eq!(share.grow(bytes, LATE, &clock).await, Ok(false));
            assert_eq!(room.places.available_permits(), free, "{bytes}");
        }
        drop(share);
        assert_eq!(room.places.available_permits(), 4);
    }

    #[tokio::test]
    async fn what_the_room_cannot_hold_is_admitted_alone() {
        let (room, clock) = (Room::of(4 * UNIT), Clock::manual(Timestamp(0)));
        for bytes in [5 * UNIT, usize::MAX] {
            let (mut first, mut second) = (room.share(), room.share());
            assert_eq!(first.grow(UNIT, LATE, &clock).await, Ok(false));
            assert_eq!(first.grow(bytes, LATE, &clock).await, Ok(true));
            assert_eq!(room.places.available_permits(), 4, "it keeps none");
            let mut waiting = pin!(second.grow(bytes, LATE, &clock));
            assert!(poll(waiting.as_mut()).is_pending());
            drop(first);
            assert_eq!(waiting.await, Ok(true));
        }
        assert_eq!(room.last.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_waits_gets_a_place_in_order_and_hears_when_there_is_none() {
        let (room, clock) = (Room::of(4 * UNIT), Clock::manual(Timestamp(0)));
        let mut shares = [(); 4].map(|()| room.share());
        let [one, two, three, four] = &mut shares;
        assert_eq!(one.grow(2 * UNIT, LATE, &clock).await, Ok(false));
        assert_eq!(two.grow(2 * UNIT, LATE, &clock).await, Ok(false));
        // All that hold a part want more: the last place sees one of them through, and its part goes to the next.
        assert_eq!(one.grow(4 * UNIT, LATE, &clock).await, Ok(true));
        assert_eq!(two.grow(4 * UNIT, LATE, &clock).await, Ok(false));
        let (mut large, mut small) = (
            pin!(three.grow(3 * UNIT, LATE, &clock)),
            pin!(four.grow(UNIT, Timestamp(29_000), &clock)),
        );
        assert!(poll(large.as_mut()).is_pending());
        assert!(poll(small.as_mut()).is_pending());
        clock.advance(std::time::Duration::from_millis(29_000));
        let Poll::Ready(Err(refused)) = poll(small.as_mut()) else {
            panic!("it does not give up");
        };
        assert_eq!((refused.status(), refused.retry_after()), (503, Some(5)));
        assert!(poll(large.as_mut()).is_pending());
        *two = room.share();
        assert_eq!(large.await, Ok(true));
    }
}
