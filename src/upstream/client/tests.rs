//! Against a peer that does what it is told.

use super::*;
use crate::config::shape::{
    Application, Credentials, DeliveryMode, Groups, MaxRemovals, Mode, OutOfScope, Pace,
    ProfileName, Safety, Secret, Taking, Users, WhenUnavailable,
};
use crate::provision::call::Class;
use crate::upstream::peer::{Act, peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const START: Timestamp = Timestamp(1_000_000);
const LATE: Timestamp = Timestamp(1_030_000);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// An application with a bearer token and everything else at hand.
pub(in crate::upstream) fn application(base_url: &str, token: &str) -> Application {
    Application {
        name: "zoom".into(),
        profile: ProfileName::Scim,
        base_url: base_url.into(),
        credentials: Credentials::Bearer(Secret(token.into())),
        keep_ids: false,
        import_every: None,
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
        policies: Vec::new(),
        map_user: Vec::new(),
        map_group: Vec::new(),
    }
}

impl Upstream {
    /// Where its tokens come from.
    pub(in crate::upstream) fn source(&self) -> &token::Source {
        match &self.credentials {
            super::Credentials::Tokens(source) => source,
            super::Credentials::Bearer(_) | super::Credentials::Simulated(_) => {
                panic!("a token that does not change")
            }
        }
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
    let answer = upstream(&url).0.call(&post(), LATE).await.answer;
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
        assert_eq!(
            upstream.call(&call, LATE).await.answer,
            reply(200, "{}", None)
        );
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
    let (length, json) = ("content-length: 15", "content-type: application/scim+json");
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
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
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
async fn an_answer_that_costs_too_much_to_read_is_not_read() {
    let items = |item: &str| {
        let list = vec![item; ANSWER / (item.len() + 1)].join(",");
        format!("[{list}]")
    };
    let answer = |body: String| async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        answer_to(Act::Send((head + &body).into_bytes())).await
    };
    // A hundred times their size in memory.
    for item in [r#"{"":0}"#, "[0]", "0"] {
        let answer = answer(items(item)).await;
        assert!(
            matches!(&answer, Answer::Lost(why) if why == "answer too large"),
            "{item}"
        );
    }
    // What a group's members and a list's users look like.
    let member =
        r#"{"value":"2819c223-7f76-453a-919d-413861904646","display":"Ada King","type":"User"}"#;
    let user = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"KDcuGIm1QgePTO8WbOqwIQ","userName":"ada@example.com","name":{"givenName":"Ada","familyName":"King"},"emails":[{"value":"ada@example.com","type":"work","primary":true}],"active":true}"#;
    for item in [member, user] {
        assert!(
            matches!(answer(items(item)).await, Answer::Reply { .. }),
            "{item}"
        );
    }
}

#[tokio::test]
async fn a_call_that_is_never_answered_is_lost_at_the_deadline() {
    let (url, mut told) = peer(vec![Act::Silence]).await;
    let (upstream, clock) = upstream(&url);
    let task = tokio::spawn(async move { upstream.call(&post(), LATE).await });
    told.recv().await.unwrap();
    clock.advance(LATE.since(START));
    let Called { answer, ms, .. } = task.await.unwrap();
    assert_eq!(answer, Answer::Lost("no whole answer in time".into()));
    assert_eq!(ms, 30_000);
}

/// However little at a time an answer comes, the deadline is that of the whole.
#[tokio::test]
async fn an_answer_that_drips_is_lost_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (upstream, clock) = upstream(&format!("http://{}", listener.local_addr().unwrap()));
    let task = tokio::spawn(async move { upstream.call(&post(), LATE).await.answer });
    let (mut stream, _) = listener.accept().await.unwrap();
    let dripping = tokio::spawn(async move {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        stream.write_all(head).await.unwrap();
        while stream.write_all(b" ").await.is_ok() {
            clock.advance(Duration::from_millis(500));
            tokio::task::yield_now().await;
        }
    });
    let answer = task.await.unwrap();
    assert_eq!(answer, Answer::Lost("no whole answer in time".into()));
    // The connection does not go back to the pool: it is closed.
    dripping.await.unwrap();
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    // Nobody listens any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let answer = upstream(&url).0.call(&post(), LATE).await.answer;
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
    let answer = task.await.unwrap().answer;
    let why = "cannot connect: connecting, TLS handshake included, took longer than 10 s";
    assert_eq!(answer, Answer::NotSent(why.into()));

    // The deadline has passed already.
    let answer = late.call(&post(), LATE).await.answer;
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
    assert_eq!(
        upstream.call(&post(), LATE).await.answer,
        reply(200, "{}", None)
    );
    let answer = upstream.call(&post(), LATE).await.answer;
    assert!(
        matches!(&answer, Answer::Lost(text) if text.contains("no answer")),
        "{answer:?}"
    );
    assert_eq!(
        upstream.call(&post(), LATE).await.answer,
        reply(200, "{}", None)
    );
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
    let answer = upstream.call(&to("/first"), LATE).await.answer;
    assert_eq!(answer, reply(200, "{}", None));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    // Blocks the one thread, so that nobody notices; the yield shows the close to the runtime, and this test goes
    // on before the connection's own task does.
    close.send(()).unwrap();
    told.recv().unwrap();
    tokio::task::yield_now().await;
    let answer = upstream.call(&to("/second"), LATE).await.answer;
    assert!(matches!(answer, Answer::Lost(_)), "{answer:?}");
    let answer = upstream.call(&to("/third"), LATE).await.answer;
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
        let answer = upstream.call(&call, LATE).await.answer;
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

#[test]
fn a_token_is_hidden_however_json_spells_it() {
    let mut authorization = HeaderValue::from_static("Bearer aB3/x+9\\Q==");
    authorization.set_sensitive(true);
    for (said, shown) in [
        (r"no aB3/x+9\Q==!", "no (token)!"),
        // PHP, Gson, JSON's own.
        (r#"{"m":"aB3\/x+9\\Q=="}"#, r#"{"m":"(token)"}"#),
        (
            r#"{"m":"aB3/x\u002b9\\Q\u003d\u003D."}"#,
            r#"{"m":"(token)."}"#,
        ),
        (r"aB3/x+9\Q==aB3/x+9\Q==", "(token)(token)"),
        (r"aB3/x+9\Q=", r"aB3/x+9\Q="),
        (r"aB3\u012f", r"aB3\u012f"),
        (r"aB3\u00", r"aB3\u00"),
        ("", ""),
    ] {
        let hidden = hide(401, said.into(), &authorization);
        assert_eq!(String::from_utf8(hidden).unwrap(), shown, "{said}");
        assert_eq!(hide(200, said.into(), &authorization), said.as_bytes());
    }
}
