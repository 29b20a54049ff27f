//! The client that carries one call to an application and tells what became of it.
//!
//! The one question that matters is whether the application may have seen the call, so nothing here is silent: no
//! redirect is followed, nothing is sent a second time, and every request is built afresh from a fixed list of
//! headers. It never looks into a body, waits for the pace or decides whether to try again.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
    RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;

use crate::clock::{Clock, Timestamp};
use crate::config::shape;
use crate::provision::call::{self, Answer, Call};
use crate::upstream::{rate_limits, retry_after};

/// The largest body of an answer, in bytes.
pub const ANSWER: usize = 4 * 1024 * 1024;
/// The largest head of an answer, in bytes.
const HEAD: usize = 64 * 1024;
/// How long connecting may take, the TLS handshake not counted.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept: shorter than the 60 s after which most servers close theirs, so that a
/// call seldom meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(30);

/// One application, by HTTP/1.1 over TLS. Cheap to clone; clones share the connections.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base_url: Arc<str>,
    authorization: HeaderValue,
    clock: Clock,
}

impl Upstream {
    /// A client for `application`. Nothing is connected yet. Plain HTTP goes where `base_url` says so; the
    /// configuration allows that for loopback only.
    ///
    /// # Errors
    /// In a sentence, without the secret: the token cannot stand in a header, or the system's trusted roots cannot
    /// be read.
    pub fn new(application: &shape::Application, clock: Clock) -> Result<Self, String> {
        let name = &application.name;
        let shape::Credentials::Bearer(shape::Secret(token)) = &application.credentials else {
            return Err(String::from("server_to_server comes with a later version"));
        };
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .ok()
            .filter(|_| token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty())
            .ok_or_else(|| {
                format!("the token of application {name} is empty or has a character that no header can carry")
            })?;
        authorization.set_sensitive(true);
        let connector = connector(application.base_url.starts_with("https://"))
            .map_err(|error| format!("application {name}: TLS cannot be set up: {error}"))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(application.pace.concurrency)
            // On by default: it would send a call twice without a word in the journal.
            .retry_canceled_requests(false)
            .http1_max_buf_size(HEAD)
            .build(connector);
        Ok(Self {
            client,
            base_url: application.base_url.as_str().into(),
            authorization,
            clock,
        })
    }

    /// Makes the call, and waits for the whole answer until `deadline`. Also says how many milliseconds it took.
    pub async fn call(&self, call: &Call, deadline: Timestamp) -> (Answer, u64) {
        let began = self.clock.now();
        let answer = if began >= deadline {
            Answer::NotSent("no time was left to call".into())
        } else {
            self.carry(call, deadline).await
        };
        let took = self.clock.now().since(began).as_millis();
        (answer, u64::try_from(took).unwrap_or(u64::MAX))
    }

    async fn carry(&self, call: &Call, deadline: Timestamp) -> Answer {
        let mut request = match self.request(call) {
            Ok(request) => request,
            Err(text) => return Answer::NotSent(text),
        };
        // Shows a connection from the moment before the first byte can go out on it.
        let connection = capture_connection(&mut request);
        let dialogue = async {
            match self.client.request(request).await {
                Ok(response) => self.read(response).await,
                Err(error) if error.is_connect() => {
                    Answer::NotSent(format!("cannot connect: {}", causes(&error)))
                }
                Err(error) => Answer::Lost(format!("no answer: {}", causes(&error))),
            }
        };
        match self.clock.until(deadline, dialogue).await {
            Some(answer) => answer,
            None if connection.connection_metadata().is_some() => {
                Answer::Lost("no whole answer in time".into())
            }
            None => Answer::NotSent("no connection in time".into()),
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, String> {
        // Without the slash the path could extend the host name.
        if !call.path.starts_with('/') {
            return Err("the path of the call has no slash in front".into());
        }
        let mut url = format!("{}{}", self.base_url, call.path);
        if let Some(query) = &call.query {
            url.push('?');
            url.push_str(query);
        }
        let uri = Uri::try_from(url).map_err(|error| format!("not a URL: {error}"))?;
        let mut request = Request::new(Full::from(call.body.clone().unwrap_or_default()));
        *request.uri_mut() = uri;
        *request.method_mut() = method(call.method);
        // hyper adds Host and Content-Length.
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/scim+json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let agent = concat!("usher/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if call.body.is_some() {
            // Zoom's own clients send this and not application/scim+json.
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }

    async fn read(&self, response: Response<Incoming>) -> Answer {
        let (head, body) = response.into_parts();
        if coded(&head.headers) {
            return Answer::Lost("the answer is compressed, which was not asked for".into());
        }
        let retry_after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after::parse(value, self.clock.now()));
        let limits = rate_limits::read(&head.headers, self.clock.now());
        match Limited::new(body, ANSWER).collect().await {
            Ok(whole) => Answer::Reply {
                status: head.status.as_u16(),
                body: whole.to_bytes().into(),
                retry_after,
                limits,
            },
            Err(error) if error.is::<LengthLimitError>() => Answer::Lost("answer too large".into()),
            Err(error) => Answer::Lost(format!("the answer broke off: {}", causes(&*error))),
        }
    }
}

fn connector(tls: bool) -> Result<HttpsConnector<HttpConnector>, String> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    // Named, because rustls panics where it has to guess between two.
    let provider = Arc::new(aws_lc_rs::default_provider());
    if tls {
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(provider)
            .map_err(|error| error.to_string())?;
        return Ok(builder.https_only().enable_http1().wrap_connector(http));
    }
    // Plain HTTP: reading the system's roots would be for nothing, and this trusts nobody.
    let nobody = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = HttpsConnectorBuilder::new().with_tls_config(nobody);
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

fn method(method: call::Method) -> Method {
    match method {
        call::Method::Get => Method::GET,
        call::Method::Post => Method::POST,
        call::Method::Put => Method::PUT,
        call::Method::Patch => Method::PATCH,
        call::Method::Delete => Method::DELETE,
    }
}

/// Decoding is a way to make a small answer large, so there is none.
fn coded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The error with what caused it. hyper's and rustls' errors name no header and no body.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| text.len() < 400) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shape::*;
    use crate::provision::call::Class;
    use crate::upstream::peer::{Act, peer};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    const START: Timestamp = Timestamp(1_000_000);
    const LATE: Timestamp = Timestamp(1_030_000);
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

    fn application(base_url: &str, token: &str) -> Application {
        Application {
            name: "zoom".into(),
            profile: ProfileName::Scim,
            base_url: base_url.into(),
            credentials: Credentials::Bearer(Secret(token.into())),
            ca: None,
            lookup_lag: Duration::ZERO,
            mode: Mode::Live,
            delivery: DeliveryMode::Immediate,
            wait: Duration::ZERO,
            when_unavailable: WhenUnavailable::Queue,
            out_of_scope: OutOfScope::Accept,
            adopt: true,
            authorized_domains: Vec::new(),
            condition: None,
            users: Users {
                create: true,
                update: true,
                delete: true,
                on_delete: Taking::Delete,
                on_leave: Taking::Deactivate,
                delete_after: Duration::ZERO,
                leave_after: Duration::ZERO,
            },
            groups: Groups {
                create: true,
                update: true,
                delete: true,
                membership: true,
                push: Vec::new(),
            },
            safety: Safety {
                max_removals: MaxRemovals::Auto,
                window: Duration::ZERO,
                protected: Vec::new(),
            },
            pace: Pace {
                light: 1,
                medium: 1,
                concurrency: 2,
            },
            map_user: Vec::new(),
            map_group: Vec::new(),
        }
    }

    fn upstream(base_url: &str) -> (Upstream, Clock) {
        let clock = Clock::manual(START);
        let application = application(base_url, "s3cr3t");
        (Upstream::new(&application, clock.clone()).unwrap(), clock)
    }

    fn get() -> Call {
        Call {
            method: call::Method::Get,
            path: "/Users/k%26Kd".into(),
            query: None,
            body: None,
            class: Class::Light,
        }
    }

    fn post() -> Call {
        Call {
            method: call::Method::Post,
            path: "/Users".into(),
            query: Some("a=b%20c".into()),
            body: Some(b"{\"active\":true}".to_vec()),
            class: Class::Light,
        }
    }

    fn reply(status: u16, body: &str, retry_after: Option<u64>) -> Answer {
        Answer::reply(status, body, retry_after)
    }

    /// What one call gets from a peer that does `act`.
    async fn answer_to(act: Act) -> Answer {
        let (url, mut told) = peer(vec![act]).await;
        let answer = upstream(&url).0.call(&post(), LATE).await.0;
        assert!(told.try_recv().is_ok());
        assert!(told.try_recv().is_err(), "sent twice");
        answer
    }

    #[tokio::test]
    async fn requests_are_built_from_a_fixed_list() {
        let (url, mut told) = peer(vec![Act::Send(OK.into()), Act::Send(OK.into())]).await;
        let upstream = upstream(&url).0;
        let mut heads = Vec::new();
        for call in [get(), post()] {
            assert_eq!(upstream.call(&call, LATE).await.0, reply(200, "{}", None));
            let text = told.recv().await.unwrap();
            let mut lines: Vec<_> = text.split("\r\n").map(str::to_owned).collect();
            lines[1..].sort();
            heads.push(
                lines
                    .into_iter()
                    .filter(|line| !line.is_empty())
                    .collect::<Vec<_>>(),
            );
        }
        let host = url
            .strip_prefix("http://")
            .unwrap()
            .strip_suffix("/scim2")
            .unwrap();
        let host = format!("host: {host}");
        let agent = concat!("user-agent: usher/", env!("CARGO_PKG_VERSION"));
        let accept = "accept: application/scim+json";
        let (coding, bearer) = ("accept-encoding: identity", "authorization: Bearer s3cr3t");
        let first = "GET /scim2/Users/k%26Kd HTTP/1.1";
        assert_eq!(heads[0], [first, coding, accept, bearer, &host, agent]);
        let first = "POST /scim2/Users?a=b%20c HTTP/1.1";
        let (length, json) = ("content-length: 15", "content-type: application/json");
        let want = [
            first,
            coding,
            accept,
            bearer,
            length,
            json,
            &host,
            agent,
            "{\"active\":true}",
        ];
        assert_eq!(heads[1], want);
    }

    #[tokio::test]
    async fn whole_answers_are_replies_redirects_too() {
        let table: [(&str, Answer); 6] = [
            ("204 No Content\r\n\r\n", reply(204, "", None)),
            (
                "201 Created\r\nContent-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                reply(201, "{}", None),
            ),
            (
                "302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                reply(302, "", None),
            ),
            (
                "429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno",
                reply(429, "no", Some(7)),
            ),
            (
                "503 Later\r\nRetry-After: 1970-01-01T00:17:40Z\r\nContent-Length: 0\r\n\r\n",
                reply(503, "", Some(60)),
            ),
            (
                "503 Later\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n",
                reply(503, "", None),
            ),
        ];
        for (text, want) in table {
            let act = Act::Send(format!("HTTP/1.1 {text}").into_bytes());
            assert_eq!(answer_to(act).await, want, "{text}");
        }
    }

    #[tokio::test]
    async fn what_may_have_been_seen_is_lost() {
        let huge = |announced: &str| {
            let mut bytes = format!("HTTP/1.1 200 OK\r\n{announced}\r\n\r\n").into_bytes();
            bytes.resize(bytes.len() + ANSWER + 1, b'x');
            bytes
        };
        let length = format!("Content-Length: {}", ANSWER + 1);
        let table: [(Vec<u8>, &str); 7] = [
            (b"".to_vec(), "no answer"),
            (b"HTTP/1.1 200 OK\r\nConte".to_vec(), "no answer"),
            (b"what?\r\n\r\n".to_vec(), "no answer"),
            (
                b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{\"id\"".to_vec(),
                "broke off",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
                    .to_vec(),
                "compressed",
            ),
            (huge(&length), "answer too large"),
            (huge("Connection: close"), "answer too large"),
        ];
        for (bytes, want) in table {
            match answer_to(Act::Cut(bytes)).await {
                Answer::Lost(text) => {
                    assert!(text.contains(want), "{text:?} is not about {want:?}");
                    assert!(!text.contains("s3cr3t"));
                }
                other => panic!("{want}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn the_largest_answer_is_whole() {
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER}\r\n\r\n").into_bytes();
        bytes.resize(bytes.len() + ANSWER, b'x');
        let answer = answer_to(Act::Send(bytes)).await;
        assert!(matches!(answer, Answer::Reply { body, .. } if body.len() == ANSWER));
    }

    #[tokio::test]
    async fn a_call_that_is_never_answered_is_lost_at_the_deadline() {
        let (url, mut told) = peer(vec![Act::Silence]).await;
        let (upstream, clock) = upstream(&url);
        let task = tokio::spawn(async move { upstream.call(&post(), LATE).await });
        told.recv().await.unwrap();
        clock.advance(LATE.since(START));
        let (answer, ms) = task.await.unwrap();
        assert_eq!(answer, Answer::Lost("no whole answer in time".into()));
        assert_eq!(ms, 30_000);
    }

    #[tokio::test]
    async fn without_a_connection_nothing_was_sent() {
        // Nobody listens any more.
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        let (answer, _) = upstream(&url).0.call(&post(), LATE).await;
        assert!(
            matches!(&answer, Answer::NotSent(text) if text.contains("cannot connect")),
            "{answer:?}"
        );

        // The TLS handshake is never answered: there is no connection to send on.
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (upstream, clock) = upstream(&format!("https://{}", mute.local_addr().unwrap()));
        let late = upstream.clone();
        let task = tokio::spawn(async move { upstream.call(&post(), LATE).await });
        let (mut stream, _) = mute.accept().await.unwrap();
        assert_eq!(
            stream.read_u8().await.unwrap(),
            0x16,
            "a TLS handshake record"
        );
        clock.advance(LATE.since(START));
        let answer = task.await.unwrap().0;
        assert_eq!(answer, Answer::NotSent("no connection in time".into()));

        // The deadline has passed already.
        let answer = late.call(&post(), LATE).await.0;
        assert_eq!(answer, Answer::NotSent("no time was left to call".into()));
    }

    #[tokio::test]
    async fn a_connection_that_dies_under_a_call_is_never_tried_again() {
        let acts = vec![
            Act::Send(OK.into()),
            Act::Cut(Vec::new()),
            Act::Send(OK.into()),
        ];
        let (url, mut told) = peer(acts).await;
        let upstream = upstream(&url).0;
        assert_eq!(upstream.call(&post(), LATE).await.0, reply(200, "{}", None));
        let answer = upstream.call(&post(), LATE).await.0;
        assert!(
            matches!(&answer, Answer::Lost(text) if text.contains("no answer")),
            "{answer:?}"
        );
        assert_eq!(upstream.call(&post(), LATE).await.0, reply(200, "{}", None));
        for _ in 0..3 {
            assert!(told.try_recv().is_ok());
        }
        assert!(told.try_recv().is_err(), "sent again without a word");
    }

    /// The peer closes an idle connection, and the next call meets it before the client has noticed. It was not even
    /// begun, and hyper-util would send it once more by itself.
    #[tokio::test]
    async fn a_connection_that_closed_while_idle_is_not_replaced_in_silence() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (close, closing) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let peer = std::thread::spawn(move || {
            let mut seen = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                seen.extend(head.split(' ').nth(1).map(str::to_owned));
                stream.write_all(OK).unwrap();
                closing.recv().unwrap();
                drop(stream);
                tell.send(()).unwrap();
            }
            seen
        });
        let upstream = upstream(&url).0;
        let to = |path: &str| Call {
            path: path.into(),
            ..get()
        };
        let answer = upstream.call(&to("/first"), LATE).await.0;
        assert_eq!(answer, reply(200, "{}", None));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        // Blocks the one thread, so that nobody notices; the yield shows the close to the runtime, and this test goes
        // on before the connection's own task does.
        close.send(()).unwrap();
        told.recv().unwrap();
        tokio::task::yield_now().await;
        let answer = upstream.call(&to("/second"), LATE).await.0;
        assert!(matches!(answer, Answer::Lost(_)), "{answer:?}");
        let answer = upstream.call(&to("/third"), LATE).await.0;
        assert_eq!(answer, reply(200, "{}", None));
        close.send(()).unwrap();
        assert_eq!(peer.join().unwrap(), ["/first", "/third"]);
    }

    #[tokio::test]
    async fn a_path_cannot_reach_another_host() {
        let (upstream, _) = upstream("http://127.0.0.1:9");
        for path in ["@127.0.0.1/", ".example.com/", "0/Users", "", "/a b"] {
            let call = Call {
                path: path.into(),
                ..get()
            };
            let answer = upstream.call(&call, LATE).await.0;
            assert!(
                matches!(&answer, Answer::NotSent(text) if !text.contains("connect")),
                "{path}: {answer:?}"
            );
        }
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_without_showing_it() {
        for token in ["", "s3cr3t\n", "s3\u{0}cr3t", "s3 cr3t", "s3cr\u{e9}t"] {
            let error = Upstream::new(
                &application("http://127.0.0.1:9", token),
                Clock::manual(START),
            );
            assert!(!error.map(drop).unwrap_err().contains("s3"), "{token:?}");
        }
        let fine = Upstream::new(
            &application("http://127.0.0.1:9", "s3cr3t"),
            Clock::manual(START),
        );
        assert!(!format!("{:?}", fine.unwrap()).contains("s3cr3t"));
    }
}
