//! What is under way on one HTTP/2 connection, and how long that may go on, on our clock.
//!
//! hyper has no deadline for a peer that opens a connection and says nothing, nor for one that asks and then opens no
//! window for the answer: h2 keeps the answer until it does. So every request is on a list until the last byte of its
//! answer has gone to the socket, and the connection's task looks at that list.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};

use crate::clock::{Clock, Timestamp};

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    clock: Clock,
    /// How long an answer may take from its head to its last byte.
    span: Duration,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    next: u64,
    /// When each answer must be out; [`Timestamp::NEVER`] while it is being made.
    due: BTreeMap<u64, Timestamp>,
    /// Since when there is nothing on the list.
    quiet: Timestamp,
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing was asked for too long.
    Quiet,
    /// An answer was not taken in time.
    Overdue,
}

impl Streams {
    pub(super) fn new(clock: Clock, span: Duration) -> Arc<Self> {
        let open = Mutex::new(Open {
            next: 0,
            due: BTreeMap::new(),
            quiet: clock.now(),
        });
        Arc::new(Self { clock, span, open })
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Stream {
        let mut open = self.lock();
        let number = open.next;
        open.next += 1;
        open.due.insert(number, Timestamp::NEVER);
        drop(open);
        Stream(Arc::new(Entry {
            streams: Arc::clone(self),
            number,
        }))
    }

    /// Waits until nothing has been under way for `idle`, or an answer is overdue.
    pub(super) async fn over(&self, idle: Duration) -> Over {
        // Nobody wakes this. What comes meanwhile is due one `span` after it came, and quiet lasts one `idle`: who looks
        // again before the shorter one has passed misses neither.
        let often = idle.min(self.span);
        loop {
            let now = self.clock.now();
            let next = {
                let open = self.lock();
                match open.due.values().min() {
                    None if open.quiet.plus(idle) <= now => return Over::Quiet,
                    None => open.quiet.plus(idle),
                    Some(due) if *due <= now => return Over::Overdue,
                    Some(due) => *due,
                }
            };
            self.clock.sleep_until(next.min(now.plus(often))).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, until the last byte of its answer has gone out or its client has taken it back.
#[derive(Debug, Clone)]
pub(super) struct Stream(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    streams: Arc<Streams>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let now = self.streams.clock.now();
        let mut open = self.streams.lock();
        open.due.remove(&self.number);
        if open.due.is_empty() {
            open.quiet = now;
        }
    }
}

impl Stream {
    /// Its answer begins.
    pub(super) fn answer<B>(self, body: B) -> Answer<B> {
        let Entry { streams, number } = &*self.0;
        let due = streams.clock.now().plus(streams.span);
        streams.lock().due.insert(*number, due);
        Answer { body, stream: self }
    }
}

/// The body of an answer on its stream.
pub(super) struct Answer<B> {
    body: B,
    stream: Stream,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let piece = |bytes| Piece {
            bytes,
            _stream: self.stream.clone(),
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece of an answer. h2 drops it when it has written it.
pub(super) struct Piece {
    bytes: Bytes,
    _stream: Stream,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};

    const IDLE: Duration = Duration::from_secs(10);
    const SPAN: Duration = Duration::from_secs(30);

    /// When `streams` is over, in whole seconds from now; the clock is moved second by second.
    async fn over_after(streams: &Arc<Streams>) -> (u32, Over) {
        let mut over = std::pin::pin!(streams.over(IDLE));
        for second in 0..100 {
            let waker = std::task::Waker::noop();
            if let Poll::Ready(why) = over.as_mut().poll(&mut Context::from_waker(waker)) {
                return (second, why);
            }
            streams.clock.advance(Duration::from_secs(1));
        }
        panic!("it is never over");
    }

    #[tokio::test]
    async fn quiet_and_overdue() {
        let new = || Streams::new(Clock::manual(Timestamp(1_000)), SPAN);
        assert_eq!(over_after(&new()).await, (10, Over::Quiet));

        // Quiet counts from the end of the last answer; work on an answer has its own bounds.
        let streams = new();
        let request = streams.begin();
        streams.clock.advance(SPAN * 3);
        let mut answer = request.answer(Full::new(Bytes::from_static(b"hello")));
        streams.clock.advance(Duration::from_secs(7));
        let piece = answer.frame().await.unwrap().unwrap();
        drop(answer);
        streams.clock.advance(Duration::from_secs(7));
        drop(piece);
        assert_eq!(over_after(&streams).await, (10, Over::Quiet));

        // An answer whose last piece h2 still holds is not out.
        let streams = new();
        let mut answer = streams
            .begin()
            .answer(Full::new(Bytes::from_static(b"hello")));
        let piece = answer.frame().await.unwrap().unwrap();
        drop(answer);
        let other = streams.begin();
        assert_eq!(over_after(&streams).await, (30, Over::Overdue));
        drop((piece, other));
    }

    #[tokio::test]
    async fn what_begins_while_it_is_watched() {
        // An answer that begins in the third second is overdue in the 33rd; one that ends in it is quiet in the 13th.
        for (ends, wanted) in [(false, (33, Over::Overdue)), (true, (13, Over::Quiet))] {
            let streams = Streams::new(Clock::manual(Timestamp(1_000)), SPAN);
            let first = streams.begin();
            let mut over = std::pin::pin!(streams.over(IDLE));
            let waker = std::task::Waker::noop();
            let mut context = Context::from_waker(waker);
            let mut held = Some(first);
            let mut answer = None;
            for second in 0..100 {
                if second == 3 {
                    let begun = held.take().unwrap().answer(Full::new(Bytes::new()));
                    answer = (!ends).then_some(begun);
                }
                if let Poll::Ready(why) = over.as_mut().poll(&mut context) {
                    assert_eq!((second, why), wanted);
                    break;
                }
                streams.clock.advance(Duration::from_secs(1));
                assert!(second < 99);
            }
            drop(answer);
        }
    }
}
