//! Connections: accepted up to a cap, secured where TLS is on, served, and drained at the end.
//!
//! Which HTTP is spoken is settled by ALPN, never by looking at the first bytes: without TLS it is HTTP/1.1. What a
//! request may be is decided in [`super::service`] and beyond; nothing here looks into one.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::streams::{Over, Streams};
use super::timely::{Due, TimelySocket};
use super::tls::{Acceptor, Secured};
use crate::clock::{Clock, Timestamp};
use crate::config::shape::Limits;

/// How long requests that are under way may still take after a shutdown began.
pub const DRAIN: Duration = Duration::from_secs(25);
/// Connections that wait for a place. Those beyond them wait in the system's queue until one of these has got one, or given
/// up.
const WAITING: usize = 1_024;
/// How long a TLS handshake may take, a wait for its turn included.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once. Each may hold 64 KiB of the peer's messages and costs a signature, all before anybody has shown
/// who they are. Many, because who waits for a turn behind silent peers waits as long as these may be silent.
const HANDSHAKES: usize = 1_024;
/// hyper's buffer for a head. Above the caps of [`super::service`], whose answers explain themselves; over this one hyper
/// answers with a bare 431. Anybody may have half as much again of our memory with each connection, until the header timer.
const BUFFER: usize = 32 * 1024;
/// The same for HTTP/2, which counts 32 bytes more a line (RFC 9113 6.5.2) and the request's target with the head.
const HEADER_LIST: u32 = 32 * 1024;
/// Requests under way on one HTTP/2 connection.
const STREAMS: u32 = 100;
/// What an HTTP/2 client may send of one body before it is read, and we keep of one answer before it is taken.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The first of these for all of a connection's bodies together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Requests that were taken back before we looked at them: over it the connection is cut (CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Streams that the client's own mistakes made us reset: over it the connection is cut (CVE-2025-8671).
const ERROR_RESETS: usize = 64;
/// How often an HTTP/2 client is asked whether it is there.
const PING: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PONG: Duration = Duration::from_secs(10);
/// The age at which a connection is ended in good order, give or take a tenth: clients come back through whatever
/// balances them, and what one connection may have gathered goes with it.
const AGE: Duration = Duration::from_secs(600);
/// How long a connection that was told to end and has nothing under way may stay.
const GRACE: Duration = Duration::from_secs(1);
/// The longest pause after accepting failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where from.
    pub address: SocketAddr,
    /// SHA-256 of the client certificate's DER, which the handshake has verified. `None`: it showed none.
    pub certificate: Option<[u8; 32]>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut with a request under way.
    pub cut: usize,
}

/// How many connections are open.
#[derive(Debug, Default)]
pub struct Connections(AtomicUsize);

/// One of them.
struct Counted(Arc<Connections>);

impl Connections {
    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn another(self: &Arc<Self>) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(self))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves `listener`, with TLS if there is an acceptor, until `shutdown` becomes true (or its sender is gone), then stops
/// accepting, lets requests that are under way end, and cuts what is left after [`DRAIN`].
///
/// `service` gets each request and its peer. hyper drops its future when the client goes away: what must not be cut
/// half-way belongs in a task of its own. An answer that is not taken within `request_timeout` is cut with its
/// connection. `open` counts connections; listeners may share one.
pub async fn run<S, F, B>(
    listener: TcpListener,
    tls: Option<Arc<Acceptor>>,
    service: S,
    limits: &Limits,
    clock: &Clock,
    open: &Arc<Connections>,
    mut shutdown: watch::Receiver<bool>,
) -> Drained
where
    S: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let places = limits.connections.clamp(1, Semaphore::MAX_PERMITS);
    let waiting = Arc::new(Semaphore::new(WAITING));
    let door = Arc::new(Door {
        tls,
        places: Arc::new(Semaphore::new(places)),
        handshakes: Semaphore::new(HANDSHAKES),
        http1: http1(limits),
        http2: http2(),
        service,
        idle: limits.header_timeout,
        span: limits.request_timeout,
        clock: clock.clone(),
    });
    let mut connections = JoinSet::new();
    let mut failures = 0_u32;
    loop {
        let accepted = tokio::select! {
            biased;
            () = is_down(&mut shutdown) => break,
            accepted = accept(&listener, &waiting, failures) => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, address, waits)) => {
                failures = 0;
                let (door, mut down) = (Arc::clone(&door), shutdown.clone());
                let open = Arc::clone(open);
                connections.spawn(async move {
                    let Some(place) = door.place(&mut down).await else {
                        tracing::debug!(peer = %address, "closed: no place was free in time");
                        return;
                    };
                    drop(waits);
                    let counted = open.another();
                    door.connection(stream, address, down).await;
                    drop((place, counted));
                });
            }
            // The peer's doing; the next one is not concerned.
            Err(error) if of_one_peer(&error) => {}
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(%error, failures, "cannot accept connections");
            }
        }
    }
    drop(listener);
    let draining = async { while connections.join_next().await.is_some() {} };
    let _ended = clock.until(clock.now().plus(DRAIN), draining).await;
    while connections.try_join_next().is_some() {}
    let cut = connections.len();
    connections.shutdown().await;
    Drained { cut }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // 100 headers at most is hyper's own default; naming it would cost an allocation a request. A connection that says
    // nothing, or not enough, is cut by the header timer, which runs only because a timer is set.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(BUFFER)
        .keep_alive(true)
        .half_close(false);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(64 * 1024)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS);
    builder
}

/// The next connection, once it may wait for a place. After `failures` it waits first: where file descriptors have run
/// out (EMFILE) accepting fails at once, again and again.
async fn accept(
    listener: &TcpListener,
    waiting: &Arc<Semaphore>,
    failures: u32,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    if failures > 0 {
        let pause = Duration::from_millis(5).saturating_mul(1 << failures.min(10));
        tokio::time::sleep(pause.min(PAUSE)).await;
    }
    let waits = Arc::clone(waiting).acquire_owned().await;
    let waits = waits.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, waits))
}

async fn is_down(shutdown: &mut watch::Receiver<bool>) {
    // An error: the sender is gone, and with it whoever could say it.
    let _down = shutdown.wait_for(|down| *down).await;
}

fn of_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// What the connections of one listener have in common.
struct Door<S> {
    tls: Option<Arc<Acceptor>>,
    /// `connections`
    places: Arc<Semaphore>,
    handshakes: Semaphore,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    service: S,
    /// `header_timeout`
    idle: Duration,
    /// `request_timeout`
    span: Duration,
    clock: Clock,
}

impl<S, F, B> Door<S>
where
    S: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// A place for a connection, in the order in which they came. `None`: there was none for as long as a head may take,
    /// and whoever waits must hear that this leads nowhere; or the gateway goes down.
    async fn place(&self, down: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
        let due = self.clock.now().plus(self.idle);
        let place = Arc::clone(&self.places).acquire_owned();
        tokio::select! {
            biased;
            () = is_down(down) => None,
            place = self.clock.until(due, place) => place?.ok(),
        }
    }

    /// One connection from its first byte to its last.
    async fn connection(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        mut down: watch::Receiver<bool>,
    ) {
        // Answers are small and whole: waiting to fill a packet only delays them. If it fails, it is only slower.
        let _slower = stream.set_nodelay(true);
        let ended = match &self.tls {
            None => {
                let peer = Peer {
                    address,
                    certificate: None,
                };
                self.http1(stream, peer, down).await
            }
            Some(acceptor) => {
                let secured = tokio::select! {
                    biased;
                    // Nothing was asked for yet.
                    () = is_down(&mut down) => return,
                    secured = self.secure(acceptor, stream) => secured,
                };
                match secured {
                    Ok(secured) => self.secured(secured, address, down).await,
                    Err(error) => Err(error.into()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %address, error, "connection ended early");
        }
    }

    async fn secure(&self, acceptor: &Acceptor, stream: TcpStream) -> io::Result<Secured> {
        let handshake = async {
            let _turn = self.handshakes.acquire().await.map_err(io::Error::other)?;
            acceptor.accept(stream).await
        };
        let due = self.clock.now().plus(HANDSHAKE);
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time");
        let done = self.clock.until(due, handshake).await;
        done.unwrap_or_else(|| Err(late()))
    }

    async fn secured(
        &self,
        secured: Secured,
        address: SocketAddr,
        down: watch::Receiver<bool>,
    ) -> Result<(), Cause> {
        let peer = Peer {
            address,
            certificate: secured.certificate,
        };
        // Boxed, so that a connection without TLS is not as large as one with it.
        if secured.h2 {
            Box::pin(self.http2(secured.stream, peer, down)).await
        } else {
            Box::pin(self.http1(secured.stream, peer, down)).await
        }
    }

    async fn http1<T>(
        &self,
        socket: T,
        peer: Peer,
        down: watch::Receiver<bool>,
    ) -> Result<(), Cause>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let due = Due::new(self.clock.clone(), self.span);
        let socket = TokioIo::new(TimelySocket::new(socket, Arc::clone(&due)));
        let end = self.clock.now().plus(age());
        let service = service_fn(|request| {
            let answer = (self.service)(request, peer);
            async {
                let mut answer = answer.await.map(|body| due.body(body));
                // Said with an answer, never done to a connection that rests: its client may be sending the next request.
                if self.clock.now() >= end {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = pin!(self.http1.serve_connection(socket, service));
        // hyper's header timer ends a quiet one, and the socket one whose answer is not taken.
        let over = |_| std::future::pending();
        let finish = |it: Pin<&mut _>| http1::Connection::graceful_shutdown(it);
        self.see_out(connection, finish, over, Timestamp::NEVER, down)
            .await
    }

    async fn http2<T>(
        &self,
        socket: T,
        peer: Peer,
        down: watch::Receiver<bool>,
    ) -> Result<(), Cause>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let due = Due::new(self.clock.clone(), self.span);
        let socket = TokioIo::new(TimelySocket::new(socket, due));
        let streams = Streams::new(self.clock.clone(), self.span);
        let service = service_fn(|request| {
            let stream = streams.begin();
            let answer = (self.service)(request, peer);
            async { Ok::<_, Infallible>(answer.await.map(|body| stream.answer(body))) }
        });
        let connection = pin!(self.http2.serve_connection(socket, service));
        let over = |idle| streams.over(idle);
        let finish = |it: Pin<&mut _>| http2::Connection::graceful_shutdown(it);
        let end = self.clock.now().plus(age());
        self.see_out(connection, finish, over, end, down).await
    }

    /// Drives a connection to its end. It is asked to end (`finish`: `Connection: close`, or GOAWAY) when the gateway
    /// goes down, when it has been quiet for too long, and at `end`; it is cut when an answer is not taken.
    async fn see_out<C, O>(
        &self,
        mut connection: Pin<&mut C>,
        finish: impl FnOnce(Pin<&mut C>),
        over: impl Fn(Duration) -> O,
        end: Timestamp,
        mut down: watch::Receiver<bool>,
    ) -> Result<(), Cause>
    where
        C: Future<Output = hyper::Result<()>>,
        O: Future<Output = Over>,
    {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended.map_err(Cause::from),
            () = is_down(&mut down) => {}
            () = self.clock.sleep_until(end) => {}
            why = over(self.idle) => {
                if why == Over::Overdue {
                    return Err("an answer was not taken in time".into());
                }
            }
        }
        finish(connection.as_mut());
        // A body may take one span to come, its answer two to be made and one to be taken.
        let last = self.clock.now().plus(self.span * 4);
        tokio::select! {
            biased;
            ended = connection.as_mut() => ended.map_err(Cause::from),
            () = self.clock.sleep_until(last) => Err("it did not end when it was asked to".into()),
            why = over(GRACE) => match why {
                Over::Overdue => Err("an answer was not taken in time".into()),
                Over::Quiet => Ok(()),
            },
        }
    }
}

type Cause = Box<dyn Error + Send + Sync>;

/// How old this connection may become. If there is no random number, they all end at the same age.
fn age() -> Duration {
    let spread = getrandom::u32().unwrap_or(u32::MAX / 2);
    AGE * 9 / 10 + AGE / 5 * (spread >> 16) / (1 << 16)
}

#[cfg(test)]
mod tests;
