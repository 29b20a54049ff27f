//! Reading a request's body: capped, timed on our clock (hyper has no timer for bodies), and in a room that all bodies
//! share.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Body;
use hyper::header::EXPECT;

use super::room::{Room, Share};
use crate::clock::{Clock, Timestamp};
use crate::error::Fault;

/// How much of a body that is too large is still read, so that its sender comes to read our answer.
const DRAIN: usize = 8 * 1024 * 1024;
/// For how long that goes on.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// So many bytes must come ...
const PACE: usize = 5 * 1024;
/// ... within this, or the rest of the body. Who sends more slowly holds a share of the room that others wait for.
const PACE_TIME: Duration = Duration::from_secs(5);

/// A body that has come whole.
#[derive(Debug)]
pub struct Whole {
    /// What came.
    pub bytes: Bytes,
    /// Its share of the room, so far for the bytes alone.
    pub share: Share,
}

/// Reads the body, at most `limit` bytes, until `deadline`. The request keeps its head.
///
/// # Errors
/// [`Fault::TooLarge`], [`Fault::BodyTimeout`], [`Fault::Unavailable`] where `room` had no place until `deadline`, or
/// [`Fault::InvalidSyntax`] where the body broke off.
pub async fn body<B>(
    request: &mut Request<B>,
    limit: usize,
    room: &Room,
    deadline: Timestamp,
    clock: &Clock,
) -> Result<Whole, Fault>
where
    B: Body<Data = Bytes> + Unpin,
{
    let waits = request.headers().contains_key(EXPECT);
    let body = request.body_mut();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let read = if announced > limit {
        None
    } else {
        read(body, limit, room, deadline, clock).await?
    };
    if let Some(whole) = read {
        return Ok(whole);
    }
    // Closing on unread bytes resets the connection, and a client that writes first and reads afterwards would never
    // see why. One that waits for 100 Continue sends nothing more.
    if !waits {
        let drained = clock.now().plus(DRAIN_TIME).min(deadline);
        let _enough = clock.until(drained, drain(body)).await;
    }
    Err(Fault::TooLarge(u64::try_from(limit).unwrap_or(u64::MAX)))
}

/// `None`: it is longer than `limit`.
async fn read<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    limit: usize,
    room: &Room,
    deadline: Timestamp,
    clock: &Clock,
) -> Result<Option<Whole>, Fault> {
    let mut whole: Vec<u8> = Vec::new();
    let mut single = Bytes::new();
    let mut share = room.share();
    let (mut paced, mut due) = (0, clock.now().plus(PACE_TIME));
    loop {
        let next = clock.until(due.min(deadline), body.frame()).await;
        let Some(frame) = next.ok_or(Fault::BodyTimeout)? else {
            break;
        };
        let Ok(frame) = frame else {
            return Err(Fault::InvalidSyntax("The body broke off.".into()));
        };
        // Trailers are dropped.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = whole.len() + single.len() + data.len();
        if length > limit {
            return Ok(None);
        }
        // By what has come and not by what was announced: a promise takes no place.
        let waited = share.grow(length, deadline, clock).await?;
        if waited || length - paced >= PACE {
            (paced, due) = (length, clock.now().plus(PACE_TIME));
        }
        // Most bodies come in one piece, which is kept as it is.
        if whole.is_empty() && single.is_empty() {
            single = data;
            continue;
        }
        whole.extend_from_slice(&std::mem::take(&mut single));
        whole.extend_from_slice(&data);
    }
    let bytes = if whole.is_empty() {
        single
    } else {
        whole.into()
    };
    Ok(Some(Whole { bytes, share }))
}

async fn drain<B: Body<Data = Bytes> + Unpin>(body: &mut B) {
    let mut read = 0_usize;
    while let Some(Ok(frame)) = body.frame().await {
        read = read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if read > DRAIN {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use hyper::body::Frame;
    use hyper::header::{HeaderMap, HeaderValue};
    use std::collections::VecDeque;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    /// A body in pieces, which then ends, breaks off, or hangs.
    struct Pieces {
        data: VecDeque<&'static str>,
        end: End,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum End {
        Whole,
        Trailers,
        Cut,
        Never,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            if let Some(data) = self.data.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data.as_bytes())))));
            }
            match std::mem::replace(&mut self.end, End::Whole) {
                End::Whole => Poll::Ready(None),
                End::Trailers => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
                End::Cut => Poll::Ready(Some(Err("cut"))),
                End::Never => {
                    self.end = End::Never;
                    Poll::Pending
                }
            }
        }
    }

    fn pieces(data: &[&'static str], end: End) -> Request<Pieces> {
        let data = data.iter().copied().collect();
        Request::new(Pieces { data, end })
    }

    #[tokio::test]
    async fn bodies() {
        let clock = Clock::manual(Timestamp(0));
        let table: &[(&[&str], End, Result<&str, u16>)] = &[
            (&[], End::Whole, Ok("")),
            (&["12345678"], End::Whole, Ok("12345678")),
            (&["1234", "", "5678"], End::Whole, Ok("12345678")),
            (&["1", "2", "3"], End::Whole, Ok("123")),
            (&["12"], End::Trailers, Ok("12")),
            (&["123456789"], End::Whole, Err(413)),
            (&["1234", "5678", "9"], End::Whole, Err(413)),
            (&["12"], End::Cut, Err(400)),
            (&["123456789"], End::Cut, Err(413)),
        ];
        for (data, end, want) in table {
            let mut request = pieces(data, *end);
            let got = body(&mut request, 8, &Room::new(), Timestamp(1), &clock).await;
            let got = got.map(|whole| whole.bytes).map_err(|fault| fault.status());
            assert_eq!(
                got,
                want.map(|text| Bytes::from(text.to_owned())),
                "{data:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_drained() {
        let clock = Clock::manual(Timestamp(0));
        let refused = |request: Request<Full<Bytes>>| {
            let clock = clock.clone();
            async move {
                let mut request = request;
                let refused = body(&mut request, 8, &Room::new(), Timestamp(1), &clock).await;
                assert_eq!(refused.unwrap_err(), Fault::TooLarge(8));
                request.body().is_end_stream()
            }
        };
        let mut request = Request::new(Full::from("123456789"));
        assert!(refused(request.clone()).await, "not drained");
        let waits = HeaderValue::from_static("100-continue");
        request.headers_mut().insert(EXPECT, waits);
        assert!(!refused(request).await, "told to send the body");

        // One that never ends is drained for so long only.
        let mut request = pieces(&["123456789"], End::Never);
        let room = Room::new();
        let mut reading = pin!(body(&mut request, 8, &room, Timestamp(30_000), &clock));
        assert!(poll(reading.as_mut()).is_pending());
        clock.advance(DRAIN_TIME);
        assert_eq!(reading.await.unwrap_err(), Fault::TooLarge(8));
    }

    /// When a body is cut of which `pieces` come a second apart, and then nothing more.
    async fn cut(pieces: usize, each: usize, deadline: u64) -> u64 {
        let clock = Clock::manual(Timestamp(0));
        let (sender, body) = Piecemeal::new();
        let (mut request, room) = (Request::new(body), Room::new());
        let mut reading = pin!(super::body(
            &mut request,
            1 << 20,
            &room,
            Timestamp(deadline),
            &clock
        ));
        for _ in 0..pieces {
            sender.send(Bytes::from(vec![b'x'; each])).unwrap();
            if let Poll::Ready(cut) = poll(reading.as_mut()) {
                assert_eq!(cut.unwrap_err(), Fault::BodyTimeout);
                return clock.now().0;
            }
            clock.advance(Duration::from_secs(1));
        }
        loop {
            if let Poll::Ready(cut) = poll(reading.as_mut()) {
                assert_eq!(cut.unwrap_err(), Fault::BodyTimeout);
                return clock.now().0;
            }
            clock.advance(Duration::from_secs(1));
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_cut_by_the_clock() {
        for (pieces, each, deadline, want) in [
            (0, 0, 30_000, 5_000),
            (0, 0, 3_000, 3_000),
            // Five pieces by the fourth second: the next five may take until the ninth.
            (20, 1024, 30_000, 24_000),
            (90, 1024, 30_000, 30_000),
            (20, 500, 30_000, 5_000),
            (1, 100_000, 30_000, 5_000),
        ] {
            assert_eq!(
                cut(pieces, each, deadline).await,
                want,
                "{pieces} {each} {deadline}"
            );
        }
    }

    /// A body that comes when it is sent.
    struct Piecemeal(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

    impl Piecemeal {
        fn new() -> (tokio::sync::mpsc::UnboundedSender<Bytes>, Self) {
            let (sender, pieces) = tokio::sync::mpsc::unbounded_channel();
            (sender, Self(pieces))
        }
    }

    impl Body for Piecemeal {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            let piece = self.0.poll_recv(context);
            piece.map(|piece| piece.map(|data| Ok(Frame::data(data))))
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }
}
