//! Connections: accepted up to a cap, served, and drained at the end.
//!
//! A connection that says nothing, or not enough, is cut by hyper's header timer, which runs only because a timer is
//! set. What a request may be is decided in [`super::service`] and beyond; nothing here looks into one.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::timely::{Due, TimelySocket};
use crate::clock::Clock;
use crate::config::shape::Limits;

/// How long requests that are under way may still take after a shutdown began.
pub const DRAIN: Duration = Duration::from_secs(25);
/// hyper's buffer for a head. Well above the caps of [`super::service`], whose answers explain themselves; over this
/// one hyper answers with a bare 431.
const BUFFER: usize = 64 * 1024;
/// The longest pause after accepting failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut with a request under way.
    pub cut: usize,
}

/// Serves `listener` until `shutdown` becomes true (or its sender is gone), then stops accepting, lets requests that
/// are under way end, and cuts what is left after [`DRAIN`].
///
/// `service` gets each request and the peer's address. hyper drops its future when the client goes away: what must not
/// be cut half-way belongs in a task of its own. An answer that is not taken within `request_timeout` is cut with its
/// connection.
pub async fn run<S, F, B>(
    listener: TcpListener,
    service: S,
    limits: &Limits,
    clock: &Clock,
    mut shutdown: watch::Receiver<bool>,
) -> Drained
where
    S: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let places = limits.connections.clamp(1, Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places));
    let builder = builder(limits);
    let mut connections = JoinSet::new();
    let mut failures = 0_u32;
    loop {
        let accepted = tokio::select! {
            biased;
            () = is_down(&mut shutdown) => break,
            accepted = accept(&listener, &places, failures) => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer, place)) => {
                failures = 0;
                let (builder, service, down) = (builder.clone(), service.clone(), shutdown.clone());
                let due = Due::new(clock.clone(), limits.request_timeout);
                connections.spawn(async move {
                    serve(&builder, stream, peer, service, due, down).await;
                    drop(place);
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

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // 100 headers at most is hyper's own default; naming it would cost an allocation a request.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(BUFFER)
        .keep_alive(true)
        .half_close(false);
    builder
}

/// The next connection, once there is a place for it. After `failures` it waits first: where file descriptors have run
/// out (EMFILE) accepting fails at once, again and again.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    failures: u32,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    if failures > 0 {
        let pause = Duration::from_millis(5).saturating_mul(1 << failures.min(10));
        tokio::time::sleep(pause.min(PAUSE)).await;
    }
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
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

async fn serve<S, F, B>(
    builder: &http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    due: Arc<Due>,
    mut down: watch::Receiver<bool>,
) where
    S: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // Answers are small and whole: waiting to fill a packet only delays them. If it fails, it is only slower.
    let _slower = stream.set_nodelay(true);
    let socket = TokioIo::new(TimelySocket::new(stream, Arc::clone(&due)));
    let service = service_fn(|request| {
        let answer = service(request, peer);
        async { Ok::<_, Infallible>(answer.await.map(|body| due.body(body))) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(socket, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_down(&mut down) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, mpsc};
    use tokio::task::JoinHandle;

    /// Far above what a test needs, so that only the test about it meets it.
    const LONG: Duration = Duration::from_secs(600);

    /// More than any socket buffers.
    const HUGE: usize = 64 * 1024 * 1024;

    struct House {
        at: SocketAddr,
        down: watch::Sender<bool>,
        clock: Clock,
        task: JoinHandle<Drained>,
        /// The paths of the requests that have come.
        come: mpsc::UnboundedReceiver<String>,
        /// Lets a request for `/slow` end.
        go: Arc<Notify>,
    }

    async fn house(connections: usize, header_timeout: Duration) -> House {
        let limits = Limits {
            connections,
            header_timeout,
            request_timeout: LONG,
            body: 0,
            json_depth: 0,
            filter_length: 0,
            filter_depth: 0,
            patch_operations: 0,
            bulk_operations: 0,
            page: 0,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (down, shutdown) = watch::channel(false);
        let (tell, come) = mpsc::unbounded_channel();
        let go = Arc::new(Notify::new());
        let clock = Clock::manual(Timestamp(0));
        let (gone, ours) = (Arc::clone(&go), clock.clone());
        let service = move |request: Request<Incoming>, peer: SocketAddr| {
            let (tell, go) = (tell.clone(), Arc::clone(&gone));
            async move {
                assert!(peer.ip().is_loopback());
                let path = request.uri().path().to_owned();
                tell.send(path.clone()).unwrap();
                if path == "/slow" {
                    go.notified().await;
                }
                Response::new(if path == "/huge" {
                    Full::from(vec![b'x'; HUGE])
                } else {
                    Full::from("hello")
                })
            }
        };
        let task =
            tokio::spawn(async move { run(listener, service, &limits, &ours, shutdown).await });
        House {
            at,
            down,
            clock,
            task,
            come,
            go,
        }
    }

    impl House {
        async fn dial(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.at).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        }
    }

    async fn ask(stream: &mut TcpStream, path: &str) {
        let text = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads one answer; false if the connection was closed instead.
    async fn answered(stream: &mut TcpStream) -> bool {
        let mut text = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).await.is_ok_and(|n| n == 1) {
            text.push(byte[0]);
            if text.ends_with(b"hello") {
                return true;
            }
        }
        false
    }

    /// Reads to the end; what came. A reset is an end too.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        let _reset = stream.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_socket_that_says_too_little_is_cut() {
        let house = house(9, Duration::from_millis(40)).await;
        for text in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: here\r\n"] {
            let mut stream = house.dial(text).await;
            // hyper answers 408 to half a head, and nothing to silence.
            let said = rest(&mut stream).await;
            assert!(!said.contains("hello"), "{text:?}: {said}");
        }
        // Between two requests as well.
        let mut stream = house.dial("").await;
        ask(&mut stream, "/").await;
        assert!(answered(&mut stream).await);
        assert_eq!(rest(&mut stream).await, "");
    }

    #[tokio::test]
    async fn connections_are_kept_and_used_again() {
        let house = house(9, LONG).await;
        let mut stream = house.dial("").await;
        for _ in 0..3 {
            ask(&mut stream, "/").await;
            assert!(answered(&mut stream).await);
        }
    }

    #[tokio::test]
    async fn over_the_cap_the_next_one_waits_for_a_place() {
        let mut house = house(1, LONG).await;
        let mut first = house.dial("").await;
        ask(&mut first, "/first").await;
        assert!(answered(&mut first).await);
        let mut second = house.dial("").await;
        ask(&mut second, "/second").await;
        ask(&mut first, "/first").await;
        assert!(answered(&mut first).await);
        drop(first);
        assert!(answered(&mut second).await);
        for path in ["/first", "/first", "/second"] {
            assert_eq!(house.come.recv().await.unwrap(), path);
        }
    }

    #[tokio::test]
    async fn a_head_beyond_the_buffer_is_refused() {
        let house = house(9, LONG).await;
        let huge = "x".repeat(4 * BUFFER);
        let mut stream = TcpStream::connect(house.at).await.unwrap();
        let text = format!("GET / HTTP/1.1\r\nHost: here\r\nX: {huge}\r\n\r\n");
        let (mut reader, mut writer) = stream.split();
        let (_refused, first) = tokio::join!(writer.write_all(text.as_bytes()), async {
            let mut line = [0; 12];
            reader.read_exact(&mut line).await.map(|_| line)
        });
        assert_eq!(&first.unwrap(), b"HTTP/1.1 431");
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_is_cut_with_its_connection() {
        let house = house(9, LONG).await;
        // One that is taken sets nothing off, however long the connection is kept.
        let mut quick = house.dial("").await;
        ask(&mut quick, "/").await;
        assert!(answered(&mut quick).await);
        let mut slow = house.dial("").await;
        ask(&mut slow, "/huge").await;
        assert_eq!(slow.read_u8().await.unwrap(), b'H');
        house.clock.advance(LONG);
        let said = rest(&mut slow).await;
        assert!(said.len() < HUGE, "all of it came");
        ask(&mut quick, "/").await;
        assert!(answered(&mut quick).await);
        // A drain has nothing to wait for.
        drop(quick);
        house.down.send(true).unwrap();
        assert_eq!(house.task.await.unwrap(), Drained { cut: 0 });
    }

    #[tokio::test]
    async fn a_drain_lets_requests_end_and_idle_connections_go() {
        let mut house = house(9, LONG).await;
        let mut silent = house.dial("").await;
        let mut idle = house.dial("").await;
        ask(&mut idle, "/").await;
        assert!(answered(&mut idle).await);
        let mut slow = house.dial("").await;
        ask(&mut slow, "/slow").await;
        assert_eq!(house.come.recv().await.unwrap(), "/");
        assert_eq!(house.come.recv().await.unwrap(), "/slow");
        house.down.send(true).unwrap();
        assert_eq!(rest(&mut idle).await, "");
        assert_eq!(rest(&mut silent).await, "");
        assert!(TcpStream::connect(house.at).await.is_err(), "still accepts");
        house.go.notify_one();
        let said = rest(&mut slow).await;
        assert!(
            said.contains("connection: close") && said.ends_with("hello"),
            "{said}"
        );
        assert_eq!(house.task.await.unwrap(), Drained { cut: 0 });
    }

    #[tokio::test]
    async fn what_does_not_end_is_cut_and_counted() {
        let mut house = house(9, LONG).await;
        let mut slow = house.dial("").await;
        ask(&mut slow, "/slow").await;
        assert_eq!(house.come.recv().await.unwrap(), "/slow");
        let mut idle = house.dial("").await;
        ask(&mut idle, "/").await;
        assert!(answered(&mut idle).await);
        house.down.send(true).unwrap();
        assert_eq!(rest(&mut idle).await, "");
        while TcpStream::connect(house.at).await.is_ok() {}
        house.clock.advance(DRAIN);
        assert_eq!(house.task.await.unwrap(), Drained { cut: 1 });
        assert_eq!(rest(&mut slow).await, "");
    }
}
