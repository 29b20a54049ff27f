//! Against peers that do what they are told: one that gives tokens, and one that takes them.

use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::config::shape;
use crate::provision::call::{Answer, Call, Class, Method};
use crate::upstream::client::tests::application;
use crate::upstream::client::{Called, Upstream};
use crate::upstream::peer::{Act, peer};

const START: Timestamp = Timestamp(1_000_000);
const LATE: Timestamp = Timestamp(START.0 + 30_000);
const SECRET: &str = "cl1ent-s3cr3t";
/// `client+1:cl1ent-s3cr3t` in base64.
const BASIC: &str = "Y2xpZW50KzE6Y2wxZW50LXMzY3IzdA==";

fn http(status: &str, more: &str, body: &str) -> Act {
    let length = body.len();
    Act::Send(format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\n\r\n{body}").into())
}

fn grant(token: &str, seconds: u64) -> Act {
    let body = format!(
        "{{\"access_token\":\"{token}\",\"token_type\":\"bearer\",\"expires_in\":{seconds},\"scope\":\"scim2:admin\"}}"
    );
    http("200 OK", "", &body)
}

fn fine() -> Act {
    http("200 OK", "", "{}")
}

fn unauthorized() -> Act {
    let body = "{\"code\":124,\"message\":\"Invalid access token.\"}";
    http("401 Unauthorized", "", body)
}

fn get() -> Call {
    Call {
        method: Method::Get,
        path: "/Users/1".into(),
        query: None,
        body: None,
        class: Class::Light,
    }
}

/// An application, its token endpoint, and what they were asked.
struct Town {
    upstream: Upstream,
    clock: Clock,
    tokens: UnboundedReceiver<String>,
    calls: UnboundedReceiver<String>,
}

async fn town(tokens: Vec<Act>, calls: Vec<Act>) -> Town {
    let (token_url, tokens) = peer(tokens).await;
    let (base_url, calls) = peer(calls).await;
    let clock = Clock::manual(START);
    let mut application = application(&base_url, "");
    application.credentials = shape::Credentials::ServerToServer {
        account_id: "acc/ount&1".into(),
        client_id: "client+1".into(),
        client_secret: Secret(SECRET.into()),
        token_url,
    };
    let upstream = Upstream::new(&application, clock.clone()).unwrap();
    for secret in [SECRET, BASIC] {
        assert!(!format!("{application:?} {upstream:?}").contains(secret));
    }
    Town {
        upstream,
        clock,
        tokens,
        calls,
    }
}

impl Town {
    async fn call(&self) -> Called {
        self.upstream
            .call(&get(), self.clock.now().plus(Duration::from_secs(30)))
            .await
    }

    async fn status(&self) -> (u16, bool) {
        let called = self.call().await;
        match called.answer {
            Answer::Reply { status, .. } => (status, called.again),
            other => panic!("{other:?}"),
        }
    }

    async fn not_sent(&self) -> String {
        match self.call().await.answer {
            Answer::NotSent(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn seconds(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The token that the next call which the application heard came with.
    async fn bearer(&mut self) -> String {
        let head = self.calls.recv().await.unwrap();
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: Bearer "));
        line.expect("a token").to_owned()
    }
}

#[tokio::test]
async fn the_request_is_zooms() {
    let mut town = town(vec![grant("t1", 3_599)], vec![fine()]).await;
    assert_eq!(town.status().await, (200, false));
    let head = town.tokens.recv().await.unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").filter(|line| !line.is_empty()).collect();
    lines.retain(|line| !line.starts_with("host: "));
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "POST /scim2?grant_type=account_credentials&account_id=acc%2Fount%261 HTTP/1.1",
            "accept-encoding: identity",
            "accept: application/json",
            &format!("authorization: Basic {BASIC}"),
            "content-length: 0",
            "content-type: application/x-www-form-urlencoded",
            concat!("user-agent: usher/", env!("CARGO_PKG_VERSION")),
        ]
    );
    assert_eq!(town.bearer().await, "t1");
    let token = town.upstream.token(LATE).await.unwrap().unwrap();
    assert_eq!(token.expires, START.plus(Duration::from_secs(3_599)));
    assert_eq!(
        token.scope.as_deref(),
        Some(&[String::from("scim2:admin")][..])
    );
    assert!(!format!("{token:?} {:?}", town.upstream).contains("t1"));
}

#[tokio::test]
async fn all_who_wait_share_one_request() {
    let calls = (0..64).map(|_| fine()).collect();
    let mut town = town(vec![grant("t1", 3_600)], calls).await;
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let upstream = town.upstream.clone();
            tokio::spawn(async move { upstream.call(&get(), LATE).await.answer })
        })
        .collect();
    for caller in callers {
        let answer = caller.await.unwrap();
        assert!(
            matches!(answer, Answer::Reply { status: 200, .. }),
            "{answer:?}"
        );
    }
    for _ in 0..64 {
        assert_eq!(town.bearer().await, "t1");
    }
    assert!(town.tokens.recv().await.is_some());
    assert!(town.tokens.try_recv().is_err(), "asked twice");
}

#[tokio::test]
async fn at_80_percent_of_its_life_the_next_is_asked_for_while_the_old_one_serves() {
    let calls = (0..4).map(|_| fine()).collect();
    let mut town = town(vec![grant("t1", 1_000), grant("t2", 1_000)], calls).await;
    assert_eq!(town.status().await, (200, false));
    town.seconds(799);
    assert_eq!(town.status().await, (200, false));
    assert!(town.tokens.recv().await.is_some());
    assert!(town.tokens.try_recv().is_err(), "too early");
    town.seconds(1);
    assert_eq!(town.status().await, (200, false));
    // The request that the call set off, whose outcome the next token shows.
    assert!(town.tokens.recv().await.is_some());
    while town.upstream.token(LATE).await.unwrap().unwrap().number == 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(town.status().await, (200, false));
    for token in ["t1", "t1", "t1", "t2"] {
        assert_eq!(town.bearer().await, token);
    }
}

#[tokio::test]
async fn at_its_end_callers_wait_for_the_next() {
    let mut town = town(
        vec![grant("t1", 100), grant("t2", 100)],
        vec![fine(), fine()],
    )
    .await;
    town.status().await;
    town.seconds(100);
    assert_eq!(town.status().await, (200, false));
    assert_eq!(town.bearer().await, "t1");
    assert_eq!(town.bearer().await, "t2");
}

#[tokio::test]
async fn a_failed_refresh_in_the_background_leaves_the_old_token_in_use() {
    let refused = http("503 Later", "", "");
    let mut town = town(
        vec![grant("t1", 100), refused, grant("t2", 100)],
        (0..4).map(|_| fine()).collect(),
    )
    .await;
    town.status().await;
    town.seconds(80);
    town.status().await;
    let mut asked = Vec::new();
    for _ in 0..2 {
        asked.push(town.tokens.recv().await.unwrap());
    }
    // Until its failure has come in, the request is still the one under way.
    let source = town.upstream.source();
    while source.lock().failed.is_none() {
        tokio::task::yield_now().await;
    }
    town.status().await;
    assert!(town.tokens.try_recv().is_err(), "not again at once");
    town.seconds(20);
    assert_eq!(town.status().await, (200, false));
    for token in ["t1", "t1", "t1", "t2"] {
        assert_eq!(town.bearer().await, token);
    }
}

#[tokio::test]
async fn a_401_costs_the_current_token_once() {
    let calls = vec![
        fine(),
        unauthorized(),
        unauthorized(),
        fine(),
        unauthorized(),
    ];
    let mut town = town(vec![grant("t1", 3_600), grant("t2", 3_600)], calls).await;
    town.status().await;
    let old = town.upstream.token(LATE).await.unwrap().unwrap();
    // Two calls went out with the old token; both are worth making again, and one request serves both.
    let (first, second) = tokio::join!(town.status(), town.status());
    assert_eq!((first, second), ((401, true), (401, true)));
    assert_eq!(town.status().await, (200, false));
    let new = town.upstream.token(LATE).await.unwrap().unwrap();
    assert_eq!((old.number, new.number), (1, 2));
    // One more so soon is no reason to void yet another.
    assert_eq!(town.status().await, (401, false));
    let bearers = [
        town.bearer().await,
        town.bearer().await,
        town.bearer().await,
        town.bearer().await,
        town.bearer().await,
    ];
    assert_eq!(bearers, ["t1", "t1", "t1", "t2", "t2"]);
    for _ in 0..2 {
        assert!(town.tokens.recv().await.is_some());
    }
    assert!(town.tokens.try_recv().is_err(), "asked a third time");
}

#[tokio::test]
async fn later_a_401_may_cost_another() {
    let calls = vec![
        unauthorized(),
        fine(),
        unauthorized(),
        unauthorized(),
        fine(),
    ];
    let tokens = vec![grant("t1", 3_600), grant("t2", 3_600), grant("t3", 3_600)];
    let town = town(tokens, calls).await;
    assert_eq!(town.status().await, (401, true));
    assert_eq!(town.status().await, (200, false));
    town.seconds(9);
    assert_eq!(town.status().await, (401, false));
    town.seconds(1);
    assert_eq!(town.status().await, (401, true));
    assert_eq!(town.status().await, (200, false));
}

#[tokio::test]
async fn a_refusal_is_everybodys_and_is_remembered() {
    let echo = format!("Invalid client_id or client_secret {SECRET} {BASIC}");
    let body = format!("{{\"reason\":\"{echo}\",\"error\":\"invalid_client\"}}");
    let refused = || http("400 Bad Request", "", &body);
    let mut town = town(
        vec![refused(), refused(), refused(), grant("t1", 60)],
        vec![fine()],
    )
    .await;
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let upstream = town.upstream.clone();
            tokio::spawn(async move { upstream.call(&get(), LATE).await })
        })
        .collect();
    for caller in callers {
        let called = caller.await.unwrap();
        let Answer::NotSent(why) = called.answer else {
            panic!("{:?}", called.answer);
        };
        assert!(why.contains("client_secret is wrong"), "{why}");
        assert!(why.contains("marketplace.zoom.us"), "{why}");
        assert!(!why.contains(SECRET) && !why.contains(BASIC), "{why}");
        assert!(!called.again);
    }
    assert!(town.tokens.recv().await.is_some());
    assert!(town.tokens.try_recv().is_err(), "a storm");
    // One second, then two.
    town.seconds(1);
    town.not_sent().await;
    assert!(town.tokens.recv().await.is_some());
    town.seconds(1);
    town.not_sent().await;
    assert!(town.tokens.try_recv().is_err(), "too soon");
    // A person who mended something does not wait.
    assert!(town.upstream.token(LATE).await.is_err());
    assert!(town.tokens.recv().await.is_some());
    assert!(town.upstream.token(LATE).await.is_ok());
    assert_eq!(town.status().await, (200, false));
    assert!(town.tokens.recv().await.is_some());
}

#[tokio::test]
async fn a_secret_that_is_repeated_is_hidden_wherever_the_text_is_cut() {
    for before in 180..210 {
        for secret in [SECRET, BASIC] {
            let echo = format!("{}{secret}", ".".repeat(before));
            let body = format!("{{\"reason\":\"{echo}\",\"error\":\"invalid_client\"}}");
            let town = town(vec![http("400 Bad Request", "", &body)], Vec::new()).await;
            let why = town.not_sent().await;
            assert!(!why.contains(&secret[..3]), "{before}: {why}");
        }
    }
}

#[tokio::test]
async fn a_retry_after_is_obeyed_even_by_a_test() {
    let slow = http("429 Slow", "Retry-After: 7\r\n", "{}");
    let mut town = town(vec![slow, grant("t1", 60)], vec![fine()]).await;
    assert!(town.not_sent().await.contains("too many token requests"));
    town.seconds(6);
    assert!(town.not_sent().await.contains("too many token requests"));
    assert!(town.upstream.token(LATE).await.is_err());
    assert!(town.tokens.recv().await.is_some());
    assert!(town.tokens.try_recv().is_err(), "asked before its time");
    town.seconds(1);
    assert_eq!(town.status().await, (200, false));
}

#[tokio::test]
async fn each_waits_until_its_own_deadline_and_the_request_goes_on() {
    let mut town = town(vec![Act::Silence], vec![]).await;
    let soon = START.plus(Duration::from_secs(4));
    let callers: Vec<_> = [soon, LATE]
        .into_iter()
        .map(|deadline| {
            let upstream = town.upstream.clone();
            tokio::spawn(async move { upstream.call(&get(), deadline).await.answer })
        })
        .collect();
    assert!(town.tokens.recv().await.is_some());
    town.seconds(4);
    let mut callers = callers.into_iter();
    let first = callers.next().unwrap().await.unwrap();
    assert_eq!(first, Answer::NotSent("no token in time".into()));
    town.seconds(16);
    let second = callers.next().unwrap().await.unwrap();
    assert!(
        matches!(&second, Answer::NotSent(why) if why.contains("did not answer in 20 s")),
        "{second:?}"
    );
    assert!(town.tokens.try_recv().is_err(), "asked twice");
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_take_the_request_along() {
    let mut town = town(vec![grant("t1", 3_600)], vec![fine()]).await;
    let upstream = town.upstream.clone();
    let first = tokio::spawn(async move { upstream.call(&get(), LATE).await });
    // It has asked; whether the answer is in does not matter.
    let head = town.tokens.recv().await;
    first.abort();
    assert!(head.is_some());
    assert!(town.upstream.token(LATE).await.is_ok());
    assert!(town.tokens.try_recv().is_err(), "asked twice");
}

#[tokio::test]
async fn odd_endpoints() {
    let huge = " ".repeat(REPLY + 1);
    for (act, part) in [
        (http("200 OK", "", "<html>"), "no token endpoint"),
        (
            http("302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
            "no token endpoint",
        ),
        (
            http("404 Not Found", "", ""),
            "no token endpoint at token_url",
        ),
        (http("200 OK", "", &huge), "more than 65536 bytes"),
        (
            Act::Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec()),
            "broke off",
        ),
        (Act::Cut(Vec::new()), "cannot be asked"),
    ] {
        let town = town(vec![act], vec![]).await;
        let why = town.not_sent().await;
        assert!(why.contains(part) && why.starts_with("no token: "), "{why}");
    }
}

/// A refusal that repeats the token goes no further with it.
#[tokio::test]
async fn an_echo_of_the_token_is_hidden() {
    let body = "{\"message\":\"bad token abcdefgh-1 (abcdefgh-1)\"}";
    let echo = http("403 Forbidden", "", body);
    let town = town(vec![grant("abcdefgh-1", 3_600)], vec![echo]).await;
    let Answer::Reply { body, .. } = town.call().await.answer else {
        panic!("no reply");
    };
    assert_eq!(body, b"{\"message\":\"bad token (token) ((token))\"}");
}
