//! Credentials from the configuration to the wire, and `usher test`: the real gateway, and the real binary beside it, against
//! a token endpoint and applications that fail in every way that has something to mend.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use usher::clock::{Clock, Timestamp};
use usher::journal::report::{Query, Row};
use usher::sandbox::{Fault, Options, Quirks, Sandbox, What};
use usher::serve::Serving;

use crate::cli::user;
use crate::house::{Knock, PATIENCE, Plan, text};
use crate::process::{Ended, Running, SANDBOX_TOKEN, run};
use crate::upstream_tls;

/// What `text` writes.
const BEARER: &str = r#"{ kind = "bearer", token = { env = "SANDBOX_TOKEN" } }"#;
/// `usher-app:sandbox-token-for-these-tests`, as it stands in a header: it must show nowhere else.
const BASIC: &str = "dXNoZXItYXBwOnNhbmRib3gtdG9rZW4tZm9yLXRoZXNlLXRlc3Rz";

/// A small HTTP server that answers by a function of the request, and keeps the requests.
#[derive(Clone)]
pub(crate) struct Peer {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// Answers each request, which comes as its head.
    pub(crate) async fn new(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (keep, answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (keep, answer) = (Arc::clone(&keep), Arc::clone(&answer));
                tokio::spawn(async move {
                    while let Some(head) = head(&mut stream).await {
                        let said = answer(&head);
                        keep.lock().expect("no panic").push(head);
                        if stream.write_all(said.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, seen }
    }

    /// The heads of the requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").clone()
    }
}

/// Reads one request without a body, or whose body has a length.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).expect("UTF-8");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}

/// An answer with a body.
pub(crate) fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A token reply as Zoom's.
pub(crate) fn grant(token: &str, scope: &str) -> String {
    let body = format!(
        r#"{{"access_token":"{token}","token_type":"bearer","expires_in":3599,"scope":"{scope}","api_url":"https://api.zoom.us"}}"#
    );
    http("200 OK", &body)
}

fn wrong_secret() -> String {
    let body = format!(
        r#"{{"reason":"Invalid client_id or client_secret {SANDBOX_TOKEN}","error":"invalid_client"}}"#
    );
    http("400 Bad Request", &body)
}

/// Server-to-server credentials for a token endpoint.
pub(crate) fn server_to_server(token_url: &str) -> String {
    format!(
        r#"{{ kind = "server_to_server", account_id = "acc", client_id = "usher-app", client_secret = {{ env = "SANDBOX_TOKEN" }}, token_url = "{token_url}" }}"#
    )
}

/// The tests' configuration with another application.
pub(crate) fn config(base_url: &str, credentials: &str, application: &str) -> String {
    let plan = Plan {
        application: application.into(),
        ..Plan::default()
    };
    let text = text(&plan, base_url, "127.0.0.1:0");
    assert!(text.contains(BEARER));
    text.replace(BEARER, credentials)
}

/// A gateway in a folder with its `usher.toml`.
pub(crate) struct Standing {
    pub(crate) serving: Serving,
    pub(crate) knock: Knock,
    pub(crate) clock: Clock,
    folder: TempDir,
}

impl Standing {
    /// Stands it up. Its clock is at the sandbox's.
    pub(crate) async fn new(config: &str, folder: TempDir) -> Self {
        let clock = Clock::manual(Timestamp(1_795_465_845_000));
        let origin = folder.path().join("usher.toml");
        std::fs::write(&origin, config).expect("a file");
        let config = usher::config::load(&origin, &|_| Some(SANDBOX_TOKEN.into()))
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut serving = Serving::start(config, clock.clone(), false)
            .await
            .expect("it listens");
        serving.ready().await.expect("it opens");
        let knock = Knock::at(format!("http://{}/scim/v2", serving.address));
        Self {
            serving,
            knock,
            clock,
            folder,
        }
    }

    /// Creates a user: 201, whatever the application says.
    pub(crate) async fn create(&self, name: &str) {
        let answer = self.knock.ask("POST", "/Users", Some(&user(name))).await;
        answer.expect(201);
    }

    /// The newest row of the report.
    pub(crate) fn last(&self) -> Row {
        let query = Query {
            limit: 1,
            ..Query::default()
        };
        let engine = self.serving.gateway.engine().expect("it is open");
        let rows = engine
            .store
            .view()
            .and_then(|view| view.journal(&query))
            .expect("a report");
        rows.into_iter().next().expect("a row")
    }

    /// The status of the newest row, as text, and its reason.
    pub(crate) fn told(&self) -> (String, String) {
        let row = self.last();
        let status = format!("{:?}", row.status).to_lowercase();
        (status, row.reason.unwrap_or_default())
    }

    /// Moves the clock until the newest row has this status.
    pub(crate) async fn until(&self, status: &str) {
        let engine = self.serving.gateway.engine().expect("it is open");
        let mut committed = engine.store.committed();
        let wait = async {
            loop {
                committed.mark_unchanged();
                if self.told().0 == status {
                    return;
                }
                self.clock.advance(Duration::from_secs(5));
                committed.changed().await.expect("the store lives");
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{:?}", self.last());
    }

    /// Runs the binary beside it.
    pub(crate) async fn usher(&self, line: &'static str) -> Ended {
        command(self.folder.path(), line).await
    }
}

async fn command(folder: &Path, line: &'static str) -> Ended {
    let folder = folder.to_owned();
    let ran = tokio::task::spawn_blocking(move || run(&folder, line)).await;
    ran.expect("no panic")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn sandbox() -> Sandbox {
    Sandbox::start(Options {
        clock: Clock::manual(Timestamp(1_795_465_845_000)),
        ..Options::default()
    })
    .expect("a sandbox")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_opens_zoom_for_all_writes() {
    let sandbox = sandbox();
    let token = sandbox.token().to_owned();
    let endpoint = Peer::new(move |_| grant(&token, "scim2:admin")).await;
    let credentials = server_to_server(&format!("{}/oauth/token", endpoint.url));
    let gateway = Standing::new(&config(&sandbox.base_url(), &credentials, ""), folder()).await;
    let creating = (0..20).map(|n| {
        let knock = gateway.knock.clone();
        tokio::spawn(async move {
            let user = user(&format!("user{n}@example.com"));
            knock.ask("POST", "/Users", Some(&user)).await.expect(201);
        })
    });
    for created in creating.collect::<Vec<_>>() {
        created.await.expect("created");
    }
    assert_eq!(sandbox.state().accounts().len(), 20);
    assert_eq!(gateway.told().0, "success");
    let seen = endpoint.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(
        seen[0].starts_with(
            "POST /oauth/token?grant_type=account_credentials&account_id=acc HTTP/1.1\r\n"
        ) && seen[0].contains(&format!("authorization: Basic {BASIC}\r\n")),
        "{seen:?}"
    );
    assert!(gateway.serving.drain().await.whole);
}

#[tokio::test]
async fn a_token_that_zoom_voided_is_renewed_once_and_both_calls_are_on_the_record() {
    let sandbox = sandbox();
    let token = sandbox.token().to_owned();
    let first = Mutex::new(true);
    let endpoint = Peer::new(move |_| {
        let mut first = first.lock().expect("no panic");
        let voided = std::mem::replace(&mut *first, false);
        grant(if voided { "voided-token" } else { &token }, "scim2")
    })
    .await;
    let credentials = server_to_server(&endpoint.url);
    let gateway = Standing::new(&config(&sandbox.base_url(), &credentials, ""), folder()).await;
    gateway.create("ada@example.com").await;
    let row = gateway.last();
    let statuses: Vec<_> = row.calls.iter().map(|call| call.status).collect();
    // The account is read back after it was created.
    assert_eq!(statuses, [Some(401), Some(201), Some(200)], "{row:?}");
    let methods: Vec<_> = row.calls.iter().map(|call| call.method.as_str()).collect();
    assert_eq!(methods, ["POST", "POST", "GET"]);
    let engine = gateway.serving.gateway.engine().expect("it is open");
    let gate = engine.applications[0].gate.snapshot(engine.clock.now());
    let counted: u64 = gate.calls.iter().flatten().sum();
    assert_eq!(counted, 3, "as in the journal: {:?}", gate.calls);
    assert_eq!(gateway.told().0, "success");
    assert_eq!(sandbox.state().accounts().len(), 1);
    assert_eq!(endpoint.seen().len(), 2);

    // Voided again, and so is every next one: the 401 stands, and the token endpoint is left in peace.
    sandbox.state().fail_next(Fault {
        calls: 1_000,
        matching: None,
        what: What::Status {
            status: 401,
            retry_after: None,
            body: None,
        },
    });
    for name in ["bob@example.com", "eve@example.com", "joe@example.com"] {
        gateway.create(name).await;
        assert_eq!(gateway.told().0, "queued", "{:?}", gateway.last());
    }
    assert_eq!(endpoint.seen().len(), 2);
    assert!(gateway.serving.drain().await.whole);
}

#[tokio::test]
async fn a_refused_token_queues_says_what_to_mend_and_heals() {
    let sandbox = sandbox();
    let mended = Arc::new(Mutex::new(None::<String>));
    let state = Arc::clone(&mended);
    let endpoint = Peer::new(move |_| match &*state.lock().expect("no panic") {
        Some(token) => grant(token, "scim2"),
        None => wrong_secret(),
    })
    .await;
    let credentials = server_to_server(&endpoint.url);
    let gateway = Standing::new(&config(&sandbox.base_url(), &credentials, ""), folder()).await;
    gateway.create("ada@example.com").await;
    let (status, why) = gateway.told();
    assert_eq!(status, "queued", "{why}");
    assert!(
        why.contains("client_id or client_secret is wrong") && why.contains("App Credentials"),
        "{why}"
    );
    let row = format!("{:?}", gateway.last());
    assert!(
        !row.contains(SANDBOX_TOKEN) && !row.contains(BASIC),
        "{row}"
    );
    assert_eq!(sandbox.state().calls().len(), 0);
    *mended.lock().expect("no panic") = Some(sandbox.token().to_owned());
    gateway.until("success").await;
    assert_eq!(sandbox.state().accounts().len(), 1);
    assert!(gateway.serving.drain().await.whole);
}

#[tokio::test]
async fn without_a_token_nothing_was_sent_so_refusing_is_honest() {
    let endpoint = Peer::new(|_| wrong_secret()).await;
    let credentials = server_to_server(&endpoint.url);
    let refuse = "when_unavailable = \"refuse\"";
    let text = config("http://127.0.0.1:9/scim2", &credentials, refuse);
    let gateway = Standing::new(&text, folder()).await;
    let user = user("ada@example.com");
    let answer = gateway.knock.ask("POST", "/Users", Some(&user)).await;
    let said = answer.expect(503).body.to_string();
    assert!(!said.contains(SANDBOX_TOKEN), "{said}");
    assert!(gateway.serving.drain().await.whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_any_log() {
    let sandbox = sandbox();
    let token = sandbox.token().to_owned();
    let asked = Mutex::new(0);
    let endpoint = Peer::new(move |_| {
        let mut asked = asked.lock().expect("no panic");
        *asked += 1;
        match *asked {
            1 => wrong_secret(),
            2 => grant("voided-canary-token", "scim2"),
            _ => grant(&token, "scim2"),
        }
    })
    .await;
    let credentials = server_to_server(&endpoint.url);
    let text =
        config(&sandbox.base_url(), &credentials, "") + "[log]\nlevel = 'trace'\nformat = 'json'\n";
    let folder = folder();
    std::fs::write(folder.path().join("usher.toml"), text).expect("a file");
    let running = Running::start(folder.path(), "serve");
    let scim = running.scim();
    // Answered 503 until the store is open.
    loop {
        let answer = scim
            .ask("POST", "/Users", Some(&user("ada@example.com")))
            .await;
        if answer.status != 503 {
            answer.expect(201);
            break;
        }
    }
    // Mended, which the test is told of without waiting.
    let tested = command(folder.path(), "test zoom").await;
    let retested = command(folder.path(), "test zoom --format json").await;
    let log = running.terminate().err;
    assert!(log.contains("no token was had"), "{log}");
    for shown in [&log, &tested.out, &tested.err, &retested.out, &retested.err] {
        for secret in [SANDBOX_TOKEN, BASIC, "voided-canary-token", sandbox.token()] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    assert!(
        log.contains("a token was had"),
        "{log}\n{tested:?}\n{retested:?}"
    );
}

/// The steps' outcomes by their first letters, from the table.
fn outcomes(out: &str) -> String {
    let steps = ["name", "tls", "token", "scope", "sso", "read"];
    let lines = out.lines().take(steps.len());
    let letters = lines.zip(steps).map(|(line, step)| {
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some(step), "{out}");
        match words.next() {
            Some("ok") => 'o',
            Some("FAILED") => 'F',
            Some("skipped") => '-',
            _ => panic!("{out}"),
        }
    });
    letters.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_asks_the_running_gateway_and_uses_its_token() {
    let sandbox = sandbox();
    let token = sandbox.token().to_owned();
    let endpoint = Peer::new(move |_| grant(&token, "scim2:admin")).await;
    let credentials = server_to_server(&endpoint.url);
    let gateway = Standing::new(&config(&sandbox.base_url(), &credentials, ""), folder()).await;
    gateway.create("ada@example.com").await;
    let test = gateway.usher("test zoom").await;
    assert_eq!((test.code, test.err.as_str()), (0, ""), "{}", test.out);
    assert_eq!(outcomes(&test.out), "o-oooo", "{}", test.out);
    assert!(test.out.contains("totalResults 1"), "{}", test.out);
    assert!(test.out.contains("another 3599 s"), "{}", test.out);
    assert!(test.out.ends_with("zoom: all is well\n"), "{}", test.out);
    assert_eq!(endpoint.seen().len(), 1, "a second token was asked for");

    let json = gateway
        .usher("test zoom --format json --socket usher.sock")
        .await;
    assert_eq!(json.code, 0, "{}", json.err);
    let json: Value = serde_json::from_str(&json.out).expect("one object");
    assert_eq!((&json["ok"], &json["mend"]), (&true.into(), &Value::Null));
    assert_eq!(json["steps"].as_array().map(Vec::len), Some(6));

    let unknown = gateway.usher("test slack").await;
    assert_eq!(unknown.code, 64, "{}", unknown.err);
    assert!(
        unknown.err.contains("no application of this name"),
        "{}",
        unknown.err
    );
    assert!(gateway.serving.drain().await.whole);

    // Nobody answers any more: it is tried from here, with a token of its own.
    let alone = command(gateway.folder.path(), "test zoom").await;
    assert_eq!(alone.code, 0, "{}{}", alone.out, alone.err);
    assert!(alone.err.contains("no gateway answers on"), "{}", alone.err);
    assert!(alone.err.contains("tried from here"), "{}", alone.err);
    assert_eq!(endpoint.seen().len(), 2);
    let unknown = command(gateway.folder.path(), "test slack").await;
    assert_eq!(unknown.code, 64, "{}", unknown.err);
    assert!(unknown.err.contains("it has zoom"), "{}", unknown.err);
    let socket = command(gateway.folder.path(), "test zoom --socket usher.sock").await;
    assert_eq!(socket.code, 75, "{}", socket.err);
    let nowhere = command(gateway.folder.path(), "test zoom --config none.toml").await;
    assert_eq!(nowhere.code, 64, "{}", nowhere.err);

    // Something listens there, and hangs up.
    let listener = tokio::net::UnixListener::bind(gateway.folder.path().join("mute.sock"));
    let listener = listener.expect("a socket");
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let mute = command(gateway.folder.path(), "test zoom --socket mute.sock").await;
    assert_eq!(mute.code, 75, "{}", mute.err);
}

/// What was mended in Zoom counts for the next token only, and what was switched off there ends the one that we have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_finds_what_changed_since_the_token_was_had() {
    let sandbox = Sandbox::start(Options {
        clock: Clock::manual(Timestamp(1_795_465_845_000)),
        account_id: "acc".into(),
        client_id: "usher-app".into(),
        client_secret: SANDBOX_TOKEN.into(),
        ..Options::default()
    })
    .expect("a sandbox");
    let state = sandbox.state();
    let credentials = server_to_server(&sandbox.token_url());
    let gateway = Standing::new(&config(&sandbox.base_url(), &credentials, ""), folder()).await;
    let quirks = |scope: &str, app_deactivated| Quirks {
        scope: scope.into(),
        app_deactivated,
        ..Quirks::default()
    };
    for (now, wanted, mend, tokens) in [
        (quirks("user:read", false), "o-oF--", "add scim2:admin", 2),
        (quirks("scim2", false), "o-oooo", "all is well", 3),
        (quirks("scim2", false), "o-oooo", "all is well", 3),
        (quirks("scim2", true), "o-F---", "Activate your app", 4),
        (quirks("scim2", false), "o-oooo", "all is well", 5),
    ] {
        state.set_quirks(now.clone());
        // A token is given up once in ten seconds at most.
        gateway.clock.advance(Duration::from_secs(10));
        let test = gateway.usher("test zoom").await;
        assert_eq!(outcomes(&test.out), wanted, "{now:?}: {}", test.out);
        let last = test.out.lines().last().expect("a line");
        assert!(last.contains(mend), "{mend}: {}", test.out);
        assert_eq!(state.token_requests(), tokens, "{mend}: {}", test.out);
    }
    assert!(gateway.serving.drain().await.whole);
}

/// Whoever runs it does so because nothing goes: the gateway's own pauses must not be what it finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_minds_no_pause_but_one_that_was_asked_for() {
    let sandbox = sandbox();
    let state = sandbox.state();
    let sso_off = |sso_off| Quirks {
        sso_off,
        ..Quirks::default()
    };
    state.set_quirks(sso_off(true));
    let token = sandbox.token().to_owned();
    let endpoint = Peer::new(move |_| grant(&token, "scim2:admin")).await;
    let credentials = server_to_server(&endpoint.url);
    let gateway = Standing::new(&config(&sandbox.base_url(), &credentials, ""), folder()).await;
    gateway.create("ada@example.com").await;
    let engine = gateway.serving.gateway.engine().expect("it is open");
    let gate = engine.applications[0].gate.clone();
    let mut committed = engine.store.committed();
    let failing = async {
        while gate.health().failures < 7 {
            committed.mark_unchanged();
            gateway.clock.advance(Duration::from_secs(6 * 3_600));
            committed.changed().await.expect("the store lives");
        }
    };
    let failed = tokio::time::timeout(PATIENCE, failing).await;
    assert!(failed.is_ok(), "{:?}", gate.health());
    let pause = gate.health().not_before.since(gateway.clock.now());
    assert!(pause > Duration::from_secs(30), "{pause:?}");
    for (off, wanted) in [(true, "o-ooF-"), (false, "o-oooo")] {
        state.set_quirks(sso_off(off));
        let test = gateway.usher("test zoom").await;
        assert_eq!(outcomes(&test.out), wanted, "{}", test.out);
    }
    assert_eq!(gate.health().failures, 0);

    state.fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Status {
            status: 503,
            retry_after: Some("3600".into()),
            body: None,
        },
    });
    gateway.create("bob@example.com").await;
    let calls = state.calls().len();
    let test = gateway.usher("test zoom").await;
    assert_eq!(outcomes(&test.out), "o-oo-F", "{}", test.out);
    assert!(test.out.contains("asked to be left alone"), "{}", test.out);
    assert_eq!(state.calls().len(), calls, "asked while told to wait");
    assert!(gateway.serving.drain().await.whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_says_what_to_mend_for_each_step_that_can_fail() {
    let zoom = Peer::new(|_| http("200 OK", r#"{"totalResults":1,"Resources":[{}]}"#)).await;
    let scim_error = |status: &str, detail: &str| {
        let body = serde_json::json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "detail": detail,
            "status": status[..3].parse::<u16>().expect("a status"),
        });
        http(status, &body.to_string())
    };
    let sso = scim_error("400 Bad Request", "Account has not enabled Single Sign-On.");
    let sso = Peer::new(move |_| sso.clone()).await;
    let denied = scim_error(
        "403 Forbidden",
        "The request was denied due to insufficient permissions: \"User:Read\".",
    );
    let denied = Peer::new(move |_| denied.clone()).await;
    let scopeless = http(
        "400 Bad Request",
        r#"{"code":4700,"message":"Invalid access token, does not contain scopes."}"#,
    );
    let scopeless = Peer::new(move |_| scopeless.clone()).await;
    let voided = http(
        "401 Unauthorized",
        r#"{"code":124,"message":"Invalid access token."}"#,
    );
    let voided = Peer::new(move |_| voided.clone()).await;
    let website = Peer::new(|_| http("200 OK", "<html>")).await;

    let grants = Peer::new(|_| grant("t0k3n-of-tests", "user:read scim2:admin")).await;
    let other_scope = Peer::new(|_| grant("t0k3n-of-tests", "user:read")).await;
    let refuses = Peer::new(|_| wrong_secret()).await;
    let disabled = http(
        "400 Bad Request",
        r#"{"reason":"This app has been disabled","error":"invalid_client"}"#,
    );
    let disabled = Peer::new(move |_| disabled.clone()).await;
    let tls_where_none_is =
        upstream_tls::says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    // No label of a name is as long (RFC 1035 2.3.4): no resolver has to be asked.
    let no_name = format!("https://{}.invalid", "x".repeat(64));
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody_url = format!("http://{}", nobody.local_addr().expect("an address"));
    drop(nobody);

    let bearer = BEARER.to_owned();
    let tokens = |peer: &Peer| server_to_server(&peer.url);
    for (base_url, credentials, wanted, mend) in [
        (&zoom.url, tokens(&grants), "o-oooo", "all is well"),
        (&zoom.url, bearer.clone(), "o-o-oo", "all is well"),
        (&no_name, bearer.clone(), "F-----", "DNS"),
        (&nobody_url, bearer.clone(), "oF----", "firewall"),
        (
            &tls_where_none_is,
            bearer.clone(),
            "oF----",
            "does not speak TLS",
        ),
        (&zoom.url, tokens(&refuses), "o-F---", "App Credentials"),
        (&zoom.url, tokens(&disabled), "o-F---", "Activate your app"),
        (&zoom.url, tokens(&website), "o-F---", "no token endpoint"),
        (
            &zoom.url,
            server_to_server(&nobody_url),
            "o-F---",
            "cannot be asked",
        ),
        (&zoom.url, tokens(&other_scope), "o-oF--", "add scim2:admin"),
        (&scopeless.url, bearer.clone(), "o-oF--", "add scim2:admin"),
        (&sso.url, tokens(&grants), "o-ooF-", "zoom.us/account/sso"),
        (
            &denied.url,
            tokens(&grants),
            "o-oo-F",
            "User: Read and Edit",
        ),
        (
            &voided.url,
            tokens(&grants),
            "o-oo-F",
            "no other program uses the same app",
        ),
        (&voided.url, bearer.clone(), "o-o--F", "Put a new one"),
        (&website.url, bearer.clone(), "o-o-oF", "no SCIM server"),
    ] {
        let text = config(base_url, &credentials, "");
        let gateway = Standing::new(&text, folder()).await;
        let test = gateway.usher("test zoom").await;
        let code = i32::from(mend != "all is well");
        assert_eq!((test.code, test.err.as_str()), (code, ""), "{}", test.out);
        assert_eq!(outcomes(&test.out), wanted, "{base_url}: {}", test.out);
        let last = test.out.lines().last().expect("a line");
        assert!(last.contains(mend), "{mend}: {}", test.out);
        assert!(!test.out.contains(SANDBOX_TOKEN), "{}", test.out);
        assert!(gateway.serving.drain().await.whole);
    }
    // A 401 costs one token and one more call.
    assert_eq!(voided.seen().len(), 3);
}
