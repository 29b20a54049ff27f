//! How long an answer may take on HTTP/1.1: from its head to its last byte at most `request_timeout`, on our clock. And
//! how long any socket may take no byte at all: as long.
//!
//! A client that does not take its answer would hold the connection, and a streamed answer's snapshot with it, for ever.
//! hyper has no timer for that, and asks for no more of a body while the socket takes no more bytes; so the body and the
//! socket both look at one due time.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{Clock, Timestamp};

/// When the answer that is under way on one connection must be out. Both halves run in the connection's one task.
#[derive(Debug)]
pub(super) struct Due {
    clock: Clock,
    span: Duration,
    /// [`Timestamp::NEVER`]: no answer is under way.
    at: AtomicU64,
    /// hyper has taken the whole body; what is left stands in its buffer.
    taken: AtomicBool,
}

impl Due {
    pub(super) fn new(clock: Clock, span: Duration) -> Arc<Self> {
        Arc::new(Self {
            clock,
            span,
            at: AtomicU64::new(Timestamp::NEVER.0),
            taken: AtomicBool::new(false),
        })
    }

    /// An answer begins.
    pub(super) fn body<B>(self: &Arc<Self>, body: B) -> TimelyBody<B> {
        let at = self.clock.now().plus(self.span);
        self.at.store(at.0, Ordering::Relaxed);
        self.taken.store(false, Ordering::Relaxed);
        TimelyBody {
            body,
            due: Arc::clone(self),
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp(self.at.load(Ordering::Relaxed))
    }

    /// hyper's buffer is empty.
    fn flushed(&self) {
        if self.taken.load(Ordering::Relaxed) {
            self.at.store(Timestamp::NEVER.0, Ordering::Relaxed);
        }
    }
}

/// The body of an answer that is due.
pub(super) struct TimelyBody<B> {
    body: B,
    due: Arc<Due>,
}

impl<B> Drop for TimelyBody<B> {
    fn drop(&mut self) {
        self.due.taken.store(true, Ordering::Relaxed);
    }
}

impl<B> Body for TimelyBody<B>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        if self.due.clock.now() >= self.due.at() {
            return Poll::Ready(Some(Err(overdue().into())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn overdue() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken in time")
}

/// The socket that answers go out by.
pub(super) struct TimelySocket<S> {
    socket: S,
    due: Arc<Due>,
    /// When it must have taken another byte, while it takes none. This holds where no answer is under way as well: for
    /// the frames of HTTP/2, and the last message of TLS.
    stalled: Timestamp,
    /// Set while the socket takes no more bytes.
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> TimelySocket<S> {
    pub(super) fn new(socket: S, due: Arc<Due>) -> Self {
        Self {
            socket,
            due,
            stalled: Timestamp::NEVER,
            wait: None,
        }
    }

    /// The socket took something, or takes nothing now: then waits for it or for the due time.
    fn taken<T>(
        &mut self,
        taken: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if taken.is_ready() {
            self.stalled = Timestamp::NEVER;
            self.wait = None;
            return taken;
        }
        loop {
            let now = self.due.clock.now();
            if self.stalled == Timestamp::NEVER {
                self.stalled = now.plus(self.due.span);
            }
            let due = self.due.at().min(self.stalled);
            if now >= due {
                return Poll::Ready(Err(overdue()));
            }
            let wait = self.wait.get_or_insert_with(|| {
                let clock = self.due.clock.clone();
                Box::pin(async move { clock.sleep_until(due).await })
            });
            ready!(wait.as_mut().poll(context));
            // It may have been for an answer before this one.
            self.wait = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimelySocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimelySocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.taken(taken, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.taken(taken, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper flushes the socket when it has handed over all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let taken = Pin::new(&mut self.socket).poll_flush(context);
        if taken.is_ready() {
            self.due.flushed();
        }
        self.taken(taken, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let taken = Pin::new(&mut self.socket).poll_shutdown(context);
        self.taken(taken, context)
    }
}
