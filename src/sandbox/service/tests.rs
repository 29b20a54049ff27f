//! The sandbox over real sockets: credentials, faults and the control endpoint.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::{Chaos, Fault, Options, Quirks, Sandbox, Seen, What};
use crate::clock::{Clock, Timestamp};
use crate::provision::call::Method;

const TOKEN: &str = "Authorization: Bearer sandbox-token\r\n";

fn start() -> (Sandbox, Clock) {
    let clock = Clock::manual(Timestamp(1_000));
    let options = Options {
        clock: clock.clone(),
        ..Options::default()
    };
    (Sandbox::start(options).expect("a free port"), clock)
}

fn fail(sandbox: &Sandbox, what: What) {
    sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what,
    });
}

fn user(name: &str) -> String {
    json!({"schemas": ["x"], "userName": name}).to_string()
}

fn request(line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

/// Sends one request on a connection of its own and reads until it closes. Empty: lost.
async fn send(sandbox: &Sandbox, line: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(sandbox.address())
        .await
        .expect("it listens");
    let headers = format!("{headers}Connection: close\r\n");
    let request = request(line, &headers, body);
    stream.write_all(request.as_bytes()).await.expect("sent");
    read(stream).await
}

async fn read(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is as good as an end.
    let _ended = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).expect("UTF-8")
}

/// Status and body; status 0: lost.
async fn call(sandbox: &Sandbox, line: &str, headers: &str, body: &str) -> (u16, Value) {
    let text = send(sandbox, line, headers, body).await;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        assert_eq!(text, "");
        return (0, Value::Null);
    };
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(body).unwrap_or_else(|_| body.into())
    };
    (status.expect("a status"), body)
}

fn last(sandbox: &Sandbox) -> Seen {
    sandbox.state().calls().pop().expect("a call")
}

#[tokio::test]
async fn calls_need_the_token_and_get_zooms_media_type() {
    let (sandbox, _) = start();
    let check = async |line: &str, headers: &str, wanted: u16| {
        assert_eq!(
            call(&sandbox, line, headers, "").await.0,
            wanted,
            "{line} {headers}"
        );
    };
    check("GET /scim2/Users", TOKEN, 200).await;
    check(
        "GET /scim2/Users",
        "authorization: bearer sandbox-token\r\n",
        200,
    )
    .await;
    check("GET /scim2/Users", "", 401).await;
    check("GET /scim2/Users", "Authorization: Bearer other\r\n", 401).await;
    check(
        "GET /scim2/Users",
        "Authorization: Basic sandbox-token\r\n",
        401,
    )
    .await;
    check("GET /scim2/Schemas", TOKEN, 404).await;
    check("OPTIONS /scim2/Users", TOKEN, 404).await;
    check("GET /scim/Users", TOKEN, 404).await;
    check("GET /scim2Users", TOKEN, 404).await;
    check("GET /", TOKEN, 404).await;
    let (_, body) = call(&sandbox, "GET /scim2/Users", "", "").await;
    assert_eq!(
        body,
        json!({"code": 124, "message": "Invalid access token."})
    );
    let text = send(&sandbox, "GET /scim2/Users", TOKEN, "").await;
    assert!(
        text.contains("content-type: application/scim+json;charset=UTF-8\r\n"),
        "{text}"
    );
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(
        call(&sandbox, "POST /scim2/Users", TOKEN, &large).await.0,
        413
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn a_call_is_carried_out_and_noted() {
    let (sandbox, clock) = start();
    clock.advance(Duration::from_secs(1));
    for media in ["json", "scim+json"] {
        let headers = format!("{TOKEN}Content-Type: application/{media}\r\n");
        let name = format!("{}@x.y", media.len());
        assert_eq!(
            call(&sandbox, "POST /scim2/Users", &headers, &user(&name))
                .await
                .0,
            201
        );
    }
    let account = sandbox.state().accounts().remove(0);
    let id = account.id.replace('&', "%26");
    let location = format!("{}/Users/{id}", sandbox.base_url());
    assert_eq!(account.user["meta"]["location"], location);
    let line = format!("DELETE /scim2/Users/{id}?why=x");
    let text = send(&sandbox, &line, TOKEN, "").await;
    assert!(
        text.starts_with("HTTP/1.1 204 ") && !text.contains("content-type"),
        "{text}"
    );
    let wanted = Seen {
        at: Timestamp(2_000),
        method: String::from("DELETE"),
        path: format!("/Users/{id}"),
        query: Some(String::from("why=x")),
        body: None,
        status: Some(204),
        effect: true,
    };
    assert_eq!(last(&sandbox), wanted);
    let calls = sandbox.state().calls();
    assert_eq!(
        (calls.len(), &calls[0].body),
        (3, &serde_json::from_str(&user("4@x.y")).ok())
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn calls_are_lost_before_and_after_their_effect() {
    let (sandbox, _) = start();
    let post = async |name: &str| {
        call(&sandbox, "POST /scim2/Users", TOKEN, &user(name))
            .await
            .0
    };
    fail(&sandbox, What::LoseBefore);
    assert_eq!(post("a@x.y").await, 0);
    assert_eq!(sandbox.state().accounts().len(), 0);
    assert_eq!(
        (last(&sandbox).status, last(&sandbox).effect),
        (None, false)
    );
    fail(&sandbox, What::LoseAfter);
    assert_eq!(post("a@x.y").await, 0);
    assert_eq!(sandbox.state().accounts().len(), 1);
    assert_eq!((last(&sandbox).status, last(&sandbox).effect), (None, true));
    assert_eq!(post("a@x.y").await, 409);
    let counts = sandbox.state().counts()["POST"].clone();
    assert_eq!(
        (
            counts.calls,
            counts.effects,
            counts.lost_before,
            counts.lost_after
        ),
        (3, 1, 1, 1)
    );
    assert_eq!(counts.statuses.into_iter().collect::<Vec<_>>(), [(409, 1)]);
    sandbox.stop().await;
}

#[tokio::test]
async fn an_answer_is_cut_after_so_many_bytes() {
    let (sandbox, _) = start();
    let whole = send(&sandbox, "GET /scim2/Users", TOKEN, "").await;
    for bytes in [0, 1, whole.len() - 1, whole.len(), whole.len() + 1_000] {
        // Also on a connection that the caller wants to keep.
        fail(&sandbox, What::CutAfter(bytes.try_into().expect("small")));
        let mut stream = TcpStream::connect(sandbox.address())
            .await
            .expect("it listens");
        let request = request("GET /scim2/Users", TOKEN, "");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let cut = read(stream).await;
        assert_eq!(cut.len(), bytes.min(whole.len()), "{cut}");
        // The date may differ, the rest may not.
        assert_eq!(
            cut.get(..40),
            whole.get(..40.min(cut.len())).filter(|_| cut.len() >= 40)
        );
    }
    fail(&sandbox, What::CutAfter(60));
    let cut = send(&sandbox, "POST /scim2/Users", TOKEN, &user("a@x.y")).await;
    assert!(
        cut.starts_with("HTTP/1.1 201 Created\r\n") && cut.len() == 60,
        "{cut}"
    );
    assert_eq!(
        (sandbox.state().accounts().len(), last(&sandbox).status),
        (1, None)
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn a_late_answer_waits_for_the_clock() {
    let (sandbox, clock) = start();
    fail(&sandbox, What::Delay(3_000));
    let body = user("a@x.y");
    let late = call(&sandbox, "POST /scim2/Users", TOKEN, &body);
    let mut late = std::pin::pin!(late);
    tokio::select! {
        biased;
        answer = &mut late => panic!("too early: {answer:?}"),
        () = sandbox.state().arrived(1) => {}
    }
    assert_eq!((last(&sandbox).status, last(&sandbox).effect), (None, true));
    // The next call is not late.
    assert_eq!(call(&sandbox, "GET /scim2/Users", TOKEN, "").await.0, 200);
    clock.advance(Duration::from_millis(2_999));
    assert_eq!(call(&sandbox, "GET /scim2/Users", TOKEN, "").await.0, 200);
    assert_eq!(sandbox.state().calls()[0].status, None);
    clock.advance(Duration::from_millis(1));
    assert_eq!(late.await.0, 201);
    assert_eq!(sandbox.state().calls()[0].status, Some(201));
}

#[tokio::test]
async fn a_held_call_hangs_until_it_is_released() {
    let (sandbox, _) = start();
    fail(&sandbox, What::Hold);
    let body = user("a@x.y");
    let held = call(&sandbox, "POST /scim2/Users", TOKEN, &body);
    let mut held = std::pin::pin!(held);
    tokio::select! {
        biased;
        answer = &mut held => panic!("not held: {answer:?}"),
        () = sandbox.state().arrived(1) => {}
    }
    assert_eq!(
        (last(&sandbox).status, last(&sandbox).effect),
        (None, false)
    );
    assert_eq!(sandbox.state().accounts().len(), 0);
    sandbox.state().release();
    assert_eq!(held.await.0, 201);
    assert_eq!(
        (last(&sandbox).status, last(&sandbox).effect),
        (Some(201), true)
    );
    // A release is for those that are held, not for those to come.
    fail(&sandbox, What::Hold);
    let next = call(&sandbox, "GET /scim2/Users", TOKEN, "");
    tokio::select! {
        biased;
        answer = next => panic!("not held: {answer:?}"),
        () = sandbox.state().arrived(2) => {}
    }
}

#[tokio::test]
async fn stopping_closes_what_hangs_and_another_one_goes_on() {
    let (sandbox, _) = start();
    let (address, state) = (sandbox.address(), sandbox.state().clone());
    fail(&sandbox, What::Hold);
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let text = request("POST /scim2/Users", TOKEN, &user("a@x.y"));
    stream.write_all(text.as_bytes()).await.expect("sent");
    state.arrived(1).await;
    sandbox.stop().await;
    assert_eq!(read(stream).await, "");
    assert!(TcpStream::connect(address).await.is_err());
    let sandbox = Sandbox::resume(address, state).expect("the port is free");
    assert_eq!(
        call(&sandbox, "POST /scim2/Users", TOKEN, &user("a@x.y"))
            .await
            .0,
        201
    );
    assert_eq!(sandbox.state().counts()["POST"].calls, 2);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_call_is_answered_as_told() {
    let (sandbox, _) = start();
    fail(
        &sandbox,
        What::Status {
            status: 429,
            retry_after: Some(String::from("7")),
            body: None,
        },
    );
    let text = send(&sandbox, "POST /scim2/Users", TOKEN, &user("a@x.y")).await;
    assert!(
        text.starts_with("HTTP/1.1 429 ") && text.contains("retry-after: 7\r\n"),
        "{text}"
    );
    assert!(
        text.contains("You have reached the maximum per-second rate limit"),
        "{text}"
    );
    assert_eq!(
        (last(&sandbox).status, last(&sandbox).effect),
        (Some(429), false)
    );
    fail(
        &sandbox,
        What::Status {
            status: 502,
            retry_after: None,
            body: Some(String::from("oops")),
        },
    );
    assert_eq!(
        call(&sandbox, "GET /scim2/Users", TOKEN, "").await,
        (502, "oops".into())
    );
    fail(
        &sandbox,
        What::Status {
            status: 500,
            retry_after: None,
            body: None,
        },
    );
    assert_eq!(
        call(&sandbox, "GET /scim2/Users", TOKEN, "").await.1["status"],
        500
    );
    for (line, wanted) in [("POST /scim2/Users", 201), ("GET /scim2/Users", 200)] {
        fail(&sandbox, What::Garbage);
        let (status, body) = call(&sandbox, line, TOKEN, &user("a@x.y")).await;
        assert!(status == wanted && body.is_string(), "{status} {body}");
    }
    assert_eq!(sandbox.state().accounts().len(), 1);
    // No token: no fault is used up.
    fail(&sandbox, What::LoseBefore);
    assert_eq!(call(&sandbox, "GET /scim2/Users", "", "").await.0, 401);
    assert_eq!(call(&sandbox, "GET /scim2/Users", TOKEN, "").await.0, 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn chaos_loses_writes_and_counts_them() {
    let (sandbox, _) = start();
    sandbox.state().chaos(Some(Chaos {
        seed: 3,
        lose_before_percent: 25,
        lose_after_percent: 25,
        error_percent: 25,
        ..Chaos::default()
    }));
    let (mut lost, mut made) = (0, 0);
    for number in 0..60 {
        let body = user(&format!("u{number}@x.y"));
        match call(&sandbox, "POST /scim2/Users", TOKEN, &body).await.0 {
            0 => lost += 1,
            201 => made += 1,
            _ => {}
        }
        assert_eq!(call(&sandbox, "GET /scim2/Users", TOKEN, "").await.0, 200);
    }
    let counts = sandbox.state().counts()["POST"].clone();
    assert!(
        counts.lost_before > 5 && counts.lost_after > 5,
        "{counts:?}"
    );
    assert_eq!(counts.lost_before + counts.lost_after, lost);
    assert_eq!(
        (counts.calls, counts.effects),
        (60, made + counts.lost_after)
    );
    assert_eq!(counts.statuses.values().sum::<u64>(), 60 - lost);
    assert_eq!(
        u64::try_from(sandbox.state().accounts().len()).ok(),
        Some(counts.effects)
    );
    sandbox.state().chaos(None);
    for number in 60..80 {
        let body = user(&format!("u{number}@x.y"));
        assert_eq!(
            call(&sandbox, "POST /scim2/Users", TOKEN, &body).await.0,
            201
        );
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn other_processes_control_it_over_http() {
    let (sandbox, _) = start();
    let control = async |line: &str, body: &str| call(&sandbox, line, "", body).await;
    let ok = (200, json!({"ok": true}));
    let post = async |name: &str| {
        call(&sandbox, "POST /scim2/Users", TOKEN, &user(name))
            .await
            .0
    };

    let lose = r#"{"calls":1,"matching":["POST","/Users"],"what":"lose_after"}"#;
    assert_eq!(control("POST /control/fail", lose).await, ok);
    assert_eq!(call(&sandbox, "GET /scim2/Users", TOKEN, "").await.0, 200);
    assert_eq!(post("a@x.y").await, 0);

    let chaos = r#"{"seed":1,"lose_before_percent":100}"#;
    assert_eq!(control("POST /control/chaos", chaos).await, ok);
    assert_eq!(post("b@x.y").await, 0);
    assert_eq!(control("POST /control/chaos", "null").await, ok);

    let (_, state) = control("GET /control/state", "").await;
    assert_eq!(
        (&state["accounts"][0]["user_name"], &state["accounts"][1]),
        (&"a@x.y".into(), &Value::Null)
    );
    assert_eq!(state["groups"], json!([]));
    let (_, calls) = control("GET /control/calls", "").await;
    assert_eq!(
        (&calls[1]["path"], &calls[1]["effect"], &calls[1]["status"]),
        (&"/Users".into(), &true.into(), &Value::Null)
    );
    let (_, counts) = control("GET /control/counts", "").await;
    assert_eq!(
        (&counts["POST"]["lost_before"], &counts["GET"]["statuses"]),
        (&1.into(), &json!({"200": 1}))
    );

    assert_eq!(
        control("POST /control/fail", r#"{"what":"hold"}"#).await,
        ok
    );
    let held = post("c@x.y");
    let mut held = std::pin::pin!(held);
    tokio::select! {
        biased;
        answer = &mut held => panic!("not held: {answer}"),
        () = sandbox.state().arrived(4) => {}
    }
    assert_eq!(control("POST /control/release", "").await, ok);
    assert_eq!(held.await, 201);

    assert_eq!(control("POST /control/reset", "").await, ok);
    assert_eq!(control("GET /control/calls", "").await, (200, json!([])));
    assert_eq!(
        control("GET /control/state", "").await.1["accounts"],
        json!([])
    );
    for (line, body, wanted) in [
        ("POST /control/fail", r#"{"what":"explode"}"#, 400),
        ("POST /control/chaos", "", 400),
        ("GET /control/fail", "", 404),
        ("GET /control", "", 404),
    ] {
        let (status, body) = control(line, body).await;
        assert!(
            status == wanted && body["error"].is_string(),
            "{line} {body}"
        );
    }
}

#[tokio::test]
async fn a_token_that_was_given_opens_the_door() {
    let (sandbox, clock) = start();
    // sandbox-client:sandbox-secret
    let basic = "Authorization: Basic c2FuZGJveC1jbGllbnQ6c2FuZGJveC1zZWNyZXQ=\r\n";
    let line = "POST /oauth/token?grant_type=account_credentials&account_id=sandbox-account";
    let text = send(&sandbox, line, basic, "").await;
    assert!(
        text.contains("content-type: application/json;charset=UTF-8\r\n"),
        "{text}"
    );
    let (status, given) = call(&sandbox, line, basic, "").await;
    assert_eq!((status, &given["expires_in"]), (200, &3599.into()));
    let token = given["access_token"].as_str().expect("a token");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(call(&sandbox, "GET /scim2/Users", &bearer, "").await.0, 200);
    clock.advance(Duration::from_secs(3600));
    let (status, body) = call(&sandbox, "GET /scim2/Users", &bearer, "").await;
    assert_eq!((status, &body["code"]), (401, &124.into()));

    // Faults of the API pass it by, and it has its own.
    fail(&sandbox, What::LoseBefore);
    sandbox.state().fail_next(Fault {
        calls: 1,
        matching: Some((Method::Post, String::from("/oauth/token"))),
        what: What::Garbage,
    });
    let (status, body) = call(&sandbox, line, basic, "").await;
    assert!(status == 200 && body.is_string(), "{status} {body}");
    assert_eq!(call(&sandbox, line, basic, "").await.0, 200);
    assert_eq!(call(&sandbox, line, "", "").await.0, 401);
    assert_eq!(call(&sandbox, "GET /oauth/token", basic, "").await.0, 404);
    assert_eq!(call(&sandbox, "GET /scim2/Users", TOKEN, "").await.0, 0);
    sandbox.state().tokens_requested(5).await;
    assert_eq!(sandbox.state().token_requests(), 5);
    let (_, counts) = call(&sandbox, "GET /control/counts", "", "").await;
    assert_eq!(counts["TOKEN"]["statuses"], json!({"200": 4, "401": 1}));
    sandbox.stop().await;
}

#[tokio::test]
async fn quirks_are_read_and_changed_over_http() {
    let (sandbox, clock) = start();
    let control = async |line: &str, body: &str| call(&sandbox, line, "", body).await;
    let (status, before) = control("GET /control/quirks", "").await;
    assert_eq!((status, &before), (200, &json!(Quirks::default())));
    let changes = r#"{"light":1,"retry_after":"iso","plain_media_type":true}"#;
    let (status, after) = control("POST /control/quirks", changes).await;
    assert_eq!((status, &after["light"]), (200, &1.into()));
    assert_eq!(control("GET /control/quirks", "").await.1, after);
    for body in [r#"{"light":2,"quantum":1}"#, r#"{"light":"x"}"#, "", "[]"] {
        let (status, body) = control("POST /control/quirks", body).await;
        assert!(status == 400 && body["error"].is_string(), "{body}");
    }
    assert_eq!(sandbox.state().quirks().light, 1);

    let text = send(&sandbox, "POST /scim2/Users", TOKEN, &user("a@x.y")).await;
    for part in [
        "HTTP/1.1 201 ",
        "content-type: application/json;charset=UTF-8\r\n",
        "x-ratelimit-category: Light\r\n",
        "x-ratelimit-type: QPS\r\n",
        "x-ratelimit-limit: 1\r\n",
        "x-ratelimit-remaining: 0\r\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = send(&sandbox, "POST /scim2/Users", TOKEN, &user("b@x.y")).await;
    for part in [
        "HTTP/1.1 429 ",
        "x-ratelimit-reset: 2\r\n",
        "retry-after: 1970-01-01T00:00:02Z\r\n",
        "You have reached the maximum per-second rate limit for this API. Try again later.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        call(&sandbox, "POST /scim2/Users", TOKEN, &user("b@x.y"))
            .await
            .0,
        201
    );
    // The start's come back.
    assert_eq!(control("POST /control/reset", "").await.0, 200);
    assert_eq!(sandbox.state().quirks(), Quirks::default());
    sandbox.stop().await;
}

#[tokio::test]
async fn who_is_held_is_under_way_until_the_answer() {
    let (sandbox, _) = start();
    sandbox.state().set_quirks(Quirks {
        one_call_a_user: true,
        ..Quirks::default()
    });
    fail(&sandbox, What::Hold);
    let mut held = Box::pin(call(&sandbox, "DELETE /scim2/Users/x", TOKEN, ""));
    tokio::select! {
        biased;
        answer = &mut held => panic!("not held: {answer:?}"),
        () = sandbox.state().arrived(1) => {}
    }
    let get = async |id| call(&sandbox, &format!("GET /scim2/Users/{id}"), TOKEN, "").await;
    let (status, body) = get("x").await;
    let text =
        "Too many concurrent requests. A request to disassociate this user has already been made.";
    assert_eq!((status, &body["message"]), (429, &text.into()));
    assert_eq!(sandbox.state().counts()["GET"].refused_for_rate, 1);
    assert_eq!(get("y").await.0, 404);
    sandbox.state().release();
    assert_eq!(held.await.0, 404);
    assert_eq!(get("x").await.0, 404);
    sandbox.stop().await;
}

#[tokio::test]
async fn chaos_is_of_reads_and_tokens_if_it_is_told_so() {
    let (sandbox, _) = start();
    let line = "POST /oauth/token";
    let chaos = Chaos {
        lose_before_percent: 100,
        ..Chaos::default()
    };
    for (reads, tokens) in [(false, false), (true, false), (false, true)] {
        sandbox.state().chaos(Some(Chaos {
            reads,
            tokens,
            ..chaos
        }));
        let read = call(&sandbox, "GET /scim2/Users", TOKEN, "").await.0;
        let token = call(&sandbox, line, "", "").await.0;
        assert_eq!((read == 0, token == 0), (reads, tokens));
        assert_eq!(
            call(&sandbox, "DELETE /scim2/Users/x", TOKEN, "").await.0,
            0
        );
    }
    sandbox.stop().await;
}
