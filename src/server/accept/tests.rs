//! Connections from the outside, plain and with TLS.

use super::*;
use crate::config::shape::{Secret, Tls};
use http_body_util::{BodyExt, Empty, Full};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Far above what a test needs, so that only the test about it meets it.
const LONG: Duration = Duration::from_secs(600);

const SPAN: Duration = Duration::from_secs(30);

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
    open: Arc<Connections>,
}

async fn house(connections: usize, header_timeout: Duration) -> House {
    stand(connections, header_timeout, None).await
}

async fn stand(connections: usize, header_timeout: Duration, tls: Option<Tls>) -> House {
    let limits = Limits {
        connections,
        header_timeout,
        request_timeout: SPAN,
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
    let acceptor = tls.map(|tls| Arc::new(Acceptor::new(&tls, &clock).unwrap()));
    let (gone, ours) = (Arc::clone(&go), clock.clone());
    let service = move |request: Request<Incoming>, peer: Peer| {
        let (tell, go) = (tell.clone(), Arc::clone(&gone));
        async move {
            assert!(peer.address.ip().is_loopback() && peer.certificate.is_none());
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
    let open = Arc::<Connections>::default();
    let counted = Arc::clone(&open);
    let task = tokio::spawn(async move {
        run(
            listener, acceptor, service, &limits, &ours, &counted, shutdown,
        )
        .await
    });
    House {
        at,
        down,
        clock,
        task,
        come,
        go,
        open,
    }
}

impl House {
    async fn dial(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

async fn ask(stream: &mut (impl AsyncWrite + Unpin), path: &str) {
    let text = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Reads one answer; false if the connection was closed instead.
async fn answered(stream: &mut (impl AsyncRead + Unpin)) -> bool {
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
    assert_eq!(house.open.count(), 1);
    house.down.send(true).unwrap();
    assert_eq!(house.task.await.unwrap(), Drained { cut: 0 });
    assert_eq!(house.open.count(), 0);
}

#[tokio::test]
async fn over_the_cap_who_gets_no_place_in_time_is_closed() {
    let limit = Duration::from_secs(60);
    let house = house(1, limit).await;
    let mut first = house.dial("").await;
    ask(&mut first, "/").await;
    assert!(answered(&mut first).await);
    let mut second = house.dial("").await;
    ask(&mut second, "/second").await;
    let begun = house.clock.now();
    let end = loop {
        ask(&mut first, "/").await;
        assert!(answered(&mut first).await, "it had the place");
        let mut byte = [0];
        match second.try_read(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // It had sent something that nobody read: that is a reset.
            end => break end.unwrap_or(0),
        }
        house.clock.advance(Duration::from_secs(1));
    };
    assert_eq!(end, 0, "it was answered");
    let took = house.clock.now().since(begun);
    assert!(took >= limit && took < AGE / 2, "{took:?}");
    // Who is still waiting when the gateway goes down does not keep it.
    let mut third = house.dial("").await;
    ask(&mut third, "/third").await;
    ask(&mut first, "/").await;
    assert!(answered(&mut first).await);
    assert_eq!(house.open.count(), 1);
    house.down.send(true).unwrap();
    assert_eq!(house.task.await.unwrap(), Drained { cut: 0 });
    assert_eq!(rest(&mut third).await, "");
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
    house.clock.advance(SPAN);
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
async fn a_connection_ends_at_its_age() {
    let mut house = house(9, LONG).await;
    let mut idle = house.dial("").await;
    ask(&mut idle, "/").await;
    assert!(answered(&mut idle).await);
    let mut busy = house.dial("").await;
    ask(&mut busy, "/slow").await;
    for path in ["/", "/slow"] {
        assert_eq!(house.come.recv().await.unwrap(), path);
    }
    house.clock.advance(AGE * 9 / 10 - Duration::from_millis(1));
    ask(&mut idle, "/").await;
    assert!(answered(&mut idle).await, "too early");
    house.clock.advance(AGE / 5 + Duration::from_millis(1));
    // One that rests is not cut in its client's next request: it ends with that.
    ask(&mut idle, "/").await;
    house.go.notify_one();
    for stream in [&mut idle, &mut busy] {
        let said = rest(stream).await;
        assert!(
            said.contains("connection: close") && said.ends_with("hello"),
            "{said}"
        );
    }
    for _ in 0..1_000 {
        let age = age();
        assert!(AGE * 9 / 10 <= age && age <= AGE * 11 / 10, "{age:?}");
    }
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

/// A gateway with TLS and a client that trusts it and offers `alpn`.
async fn secured(alpn: &[u8]) -> (House, tokio_rustls::TlsConnector) {
    secured_for(9, alpn).await
}

async fn secured_for(connections: usize, alpn: &[u8]) -> (House, tokio_rustls::TlsConnector) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![String::from("localhost")]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let tls = Tls {
        certificate: certificate.pem().into_bytes(),
        key: Secret(key.serialize_pem()),
        client_ca: None,
    };
    let house = stand(connections, LONG, Some(tls)).await;
    (house, Arc::new(config).into())
}

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

async fn dial(house: &House, connector: &tokio_rustls::TlsConnector) -> Stream {
    let stream = TcpStream::connect(house.at).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, stream).await.unwrap()
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("https://localhost{path}");
    Request::get(uri).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn handshakes_over_the_cap_wait_for_their_turn() {
    let (house, connector) = secured_for(2 * HANDSHAKES, b"http/1.1").await;
    let mut known = dial(&house, &connector).await;
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES {
        silent.push(house.dial("").await);
    }
    while house.open.count() < HANDSHAKES + 1 {
        tokio::task::yield_now().await;
    }
    let mut dialling = Box::pin(dial(&house, &connector));
    // More than a handshake takes, and it has come by the end of it.
    let mut rounds = 0;
    while rounds < 20 || house.open.count() < HANDSHAKES + 2 {
        let round = async {
            ask(&mut known, "/").await;
            answered(&mut known).await
        };
        tokio::select! {
            biased;
            _ = &mut dialling => panic!("it had its turn at once"),
            answered = round => assert!(answered),
        }
        rounds += 1;
    }
    drop(silent.pop());
    let mut stream = dialling.await;
    ask(&mut stream, "/").await;
    assert!(answered(&mut stream).await);
}

#[tokio::test]
async fn over_tls_an_answer_that_is_not_taken_is_cut_with_its_connection() {
    let (house, connector) = secured(b"http/1.1").await;
    let mut slow = dial(&house, &connector).await;
    let text = b"GET /huge HTTP/1.1\r\nHost: here\r\n\r\n";
    slow.write_all(text).await.unwrap();
    assert_eq!(slow.read_u8().await.unwrap(), b'H');
    house.clock.advance(SPAN);
    let mut said = Vec::new();
    let _reset = slow.read_to_end(&mut said).await;
    assert!(said.len() < HUGE, "all of it came");
    house.down.send(true).unwrap();
    assert_eq!(house.task.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn in_http_2_an_answer_that_is_not_taken_is_cut_with_its_connection() {
    let (mut house, connector) = secured(b"h2").await;
    // A window that is full; one that had room for the first byte, so that h2 holds the rest and no body is left to ask;
    // and a socket that nobody reads.
    let most = (1 << 31) - 1;
    for (path, window, reads) in [
        ("/huge", 65_535, true),
        ("/", 1, true),
        ("/huge", most, false),
    ] {
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(window)
            .initial_connection_window_size(most);
        let stream = TokioIo::new(dial(&house, &connector).await);
        let (mut sender, connection) = builder.handshake(stream).await.unwrap();
        let mut connection = Box::pin(connection);
        let response = tokio::select! {
            response = sender.send_request(get(path)) => response.unwrap(),
            _ = connection.as_mut() => panic!("it ended"),
        };
        assert_eq!(response.status(), 200);
        assert_eq!(house.come.recv().await.unwrap(), path);
        house.clock.advance(SPAN - Duration::from_millis(1));
        if reads {
            // It is there, and a second request is served beside the first.
            let second = tokio::select! {
                response = sender.send_request(get("/second")) => response.unwrap(),
                _ = connection.as_mut() => panic!("it ended early"),
            };
            assert_eq!(house.come.recv().await.unwrap(), "/second");
            drop(second);
        }
        house.clock.advance(Duration::from_millis(1));
        let _how = connection.await;
        let rest = response.into_body().collect().await;
        assert!(rest.is_err(), "all of it came");
    }
    house.down.send(true).unwrap();
    assert_eq!(house.task.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn an_http_2_connection_ends_at_its_age_after_what_is_under_way() {
    let (mut house, connector) = secured(b"h2").await;
    let stream = TokioIo::new(dial(&house, &connector).await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let slow = tokio::spawn(sender.send_request(get("/slow")));
    assert_eq!(house.come.recv().await.unwrap(), "/slow");
    house.clock.advance(AGE * 9 / 10 - Duration::from_millis(1));
    let early = sender.send_request(get("/early")).await.unwrap();
    assert_eq!(
        early.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
    house.clock.advance(AGE / 5 + Duration::from_millis(1));
    house.go.notify_one();
    let slow = slow.await.unwrap().unwrap();
    assert_eq!(
        slow.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
    // GOAWAY ends it, though the client would go on.
    connection.await.unwrap().unwrap();
    assert!(sender.send_request(get("/late")).await.is_err());
}
