//! A gateway and a sandbox to knock at.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;
use usher::clock::{Clock, Timestamp};
use usher::journal::report::{Query, Row};
use usher::sandbox::{Options, Sandbox};
use usher::serve::Serving;

/// The token that the tests' client bears.
pub(crate) const TOKEN: &str = "ush_a-token-for-tests-and-for-nothing-else-0001";

/// A test that waits this long for something that should have happened has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Says something even where the test passes: what is printed is shown of failed tests only.
pub(crate) fn say(line: &str) {
    let _closed = writeln!(std::io::stderr(), "{line}");
}

/// What a test changes of the configuration: lines for the application's table and the tables below it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Lines inside `[[application]]`.
    pub(crate) application: String,
    /// Whole tables after it: `[application.users]`, `[[application.map.user]]`, ...
    pub(crate) tables: String,
    /// Lines inside `[[client]]`.
    pub(crate) client: String,
    /// The sandbox's options; its clock is the house's.
    pub(crate) sandbox: Options,
    /// Where the admin endpoints are; none: a port of 127.0.0.1.
    pub(crate) admin: Option<&'static str>,
    /// Light and medium calls a second, and calls at once; `None`: more than any test makes.
    pub(crate) pace: Option<(u32, u32, usize)>,
    /// The machine's clock instead of one that stands still.
    pub(crate) real_time: bool,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The head.
    pub(crate) headers: HeaderMap,
    /// The body; null where there is none.
    pub(crate) body: Value,
}

/// The part of a version that counts the row's own changes: `W/"7-1a"` is `W/"7"` with something derived from edges.
pub(crate) fn row_version(version: &str) -> String {
    match version.split_once('-') {
        Some((row, _)) => format!("{row}\""),
        None => version.to_owned(),
    }
}

impl Answer {
    /// The `id` of the resource in the body.
    pub(crate) fn id(&self) -> String {
        self.body["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id in {:?}", self))
            .to_owned()
    }

    /// Checks the status.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}", self.body);
        self
    }
}

/// A gateway, its sandbox, and a client.
pub(crate) struct House {
    /// Zoom's stand-in.
    pub(crate) sandbox: Sandbox,
    /// The gateway.
    pub(crate) serving: Serving,
    /// Time for both.
    pub(crate) clock: Clock,
    /// Where SCIM is.
    pub(crate) base: String,
    /// A knocker.
    pub(crate) knock: Knock,
    plan: Plan,
    folder: TempDir,
}

/// Sends requests as an IdP would. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Knock {
    http: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Knock {
    /// Sends to a gateway at `base`.
    pub(crate) fn at(base: String) -> Self {
        Self {
            http: Client::builder(TokioExecutor::new()).build_http(),
            base,
        }
    }

    /// Asks, as the tests' client.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_ask(method, path, body)
            .await
            .unwrap_or_else(|why| panic!("{method} {path}: {why}"))
    }

    /// Asks; an error is a connection that broke.
    pub(crate) async fn try_ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let headers = [
            ("authorization", format!("Bearer {TOKEN}")),
            ("content-type", String::from("application/scim+json")),
        ];
        self.send(method, path, &headers, body.map(Value::to_string))
            .await
    }

    /// Sends just this.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: Option<String>,
    ) -> Result<Answer, String> {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).map_err(|why| why.to_string())?)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|why| why.to_string())?;
        let answer = self
            .http
            .request(request)
            .await
            .map_err(|why| format!("{why:?}"))?;
        let (head, body) = answer.into_parts();
        let bytes = body
            .collect()
            .await
            .map_err(|why| why.to_string())?
            .to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|why| format!("{why}: {bytes:?}"))?
        };
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }
}

/// The configuration of a house.
pub(crate) fn text(plan: &Plan, base_url: &str, listen: &str) -> String {
    let hash: String = usher::auth::hash(TOKEN.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (light, medium, concurrency) = plan.pace.unwrap_or((100_000, 100_000, 64));
    format!(
        r#"
[server]
listen = "{listen}"
[admin]
listen = "{admin}"
[[client]]
name = "okta"
token_sha256 = ["{hash}"]
rate = {{ per_second = 100000, burst = 100000 }}
{client}
[[application]]
name = "zoom"
profile = "zoom"
base_url = "{base_url}"
credentials = {{ kind = "bearer", token = {{ env = "SANDBOX_TOKEN" }} }}
{application}
[application.pace]
light = {{ per_second = {light} }}
medium = {{ per_second = {medium} }}
concurrency = {concurrency}
{tables}
"#,
        admin = plan.admin.unwrap_or("127.0.0.1:0"),
        client = plan.client,
        application = plan.application,
        tables = plan.tables
    )
}

/// A configuration's text, as if it stood in this folder.
fn parsed(text: &str, secret: &str, folder: &Path) -> usher::config::Config {
    let origin = folder.join("usher.toml");
    usher::config::parse(text, &origin, &|_| Some(secret.to_owned())).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

impl House {
    /// A house with everything at its default.
    pub(crate) async fn new() -> Self {
        Self::with(Plan::default()).await
    }

    /// A house to a plan.
    pub(crate) async fn with(plan: Plan) -> Self {
        let clock = if plan.real_time {
            Clock::system()
        } else {
            Clock::manual(Timestamp(1_795_465_845_000))
        };
        let sandbox = Sandbox::start(Options {
            clock: clock.clone(),
            ..plan.sandbox.clone()
        })
        .expect("a sandbox");
        let folder = tempfile::tempdir().expect("a folder");
        Self::stand(plan, clock, sandbox, folder).await
    }

    async fn stand(plan: Plan, clock: Clock, sandbox: Sandbox, folder: TempDir) -> Self {
        let text = text(&plan, &sandbox.base_url(), "127.0.0.1:0");
        let config = parsed(&text, sandbox.token(), folder.path());
        let mut serving = Serving::start(config, clock.clone(), false)
            .await
            .expect("it listens");
        serving.ready().await.expect("it opens");
        let base = format!("http://{}/scim/v2", serving.address);
        Self {
            sandbox,
            serving,
            clock,
            knock: Knock::at(base.clone()),
            base,
            plan,
            folder,
        }
    }

    /// Drains the gateway and starts it again on the same file.
    pub(crate) async fn restart(self) -> Self {
        assert!(self.serving.drain().await.whole, "a drain is whole");
        Self::stand(self.plan, self.clock, self.sandbox, self.folder).await
    }

    /// Drains the gateway, does something with its folder, and starts it again.
    pub(crate) async fn restart_after(self, work: impl FnOnce(&Path)) -> Self {
        assert!(self.serving.drain().await.whole, "a drain is whole");
        work(self.folder.path());
        Self::stand(self.plan, self.clock, self.sandbox, self.folder).await
    }

    /// The same, with another configuration.
    pub(crate) async fn restart_with(self, plan: Plan) -> Self {
        assert!(self.serving.drain().await.whole, "a drain is whole");
        Self::stand(plan, self.clock, self.sandbox, self.folder).await
    }

    /// The configuration that another plan makes.
    pub(crate) fn config(&self, plan: &Plan) -> usher::config::Config {
        self.config_of(&text(plan, &self.sandbox.base_url(), "127.0.0.1:0"))
    }

    /// The configuration of a text.
    pub(crate) fn config_of(&self, text: &str) -> usher::config::Config {
        parsed(text, self.sandbox.token(), self.folder.path())
    }

    /// Puts another configuration in force, as SIGHUP does.
    pub(crate) async fn reload(&self, plan: &Plan) -> usher::serve::Reloaded {
        let reloaded = self.serving.reload(self.config(plan)).await;
        reloaded.expect("it takes the place of the one before")
    }

    /// Where the data file is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks as the tests' client.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.knock.ask(method, path, body).await
    }

    /// Asks while the clock goes on: for what waits on the clock before it answers.
    pub(crate) async fn ask_in_time(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let passing = async {
            loop {
                // Gives the gateway's tasks the machine; how long does not matter.
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.clock.advance(Duration::from_millis(50));
            }
        };
        tokio::select! {
            answer = self.ask(method, path, body) => answer,
            () = passing => unreachable!("time does not end"),
        }
    }

    /// Waits until no sweep is under way and the worker has nothing to do that is due.
    pub(crate) async fn settled(&self) {
        let engine = self.serving.gateway.engine().expect("it is open");
        let mut committed = engine.store.committed();
        let wait = async {
            loop {
                committed.mark_unchanged();
                let view = engine.store.view().expect("a view");
                let swept = view.sweep("zoom").expect("sweeps").is_none();
                let due = view.due("zoom", self.clock.now(), 1).expect("marks");
                if swept && due.is_empty() {
                    return;
                }
                drop(view);
                // The clock stands still here. Whoever waits for it (for the pace, or because a call was cut when the clock
                // was moved) would wait for ever.
                let stands = tokio::time::sleep(Duration::from_millis(50));
                tokio::select! {
                    changed = committed.changed() => changed.expect("the store lives"),
                    () = stands => self.clock.advance(Duration::from_millis(100)),
                }
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let view = engine.store.view().expect("a view");
            let left = (view.sweep("zoom"), view.due("zoom", self.clock.now(), 9));
            panic!("the worker does not settle what is due: {left:?}");
        }
    }

    /// Moves the clock, and waits until what became due is settled.
    pub(crate) async fn later(&self, span: Duration) {
        self.clock.advance(span);
        self.settled().await;
    }

    /// The report, newest first.
    pub(crate) fn report(&self, query: Query) -> Vec<Row> {
        let engine = self.serving.gateway.engine().expect("it is open");
        let query = Query {
            limit: query.limit.max(10_000),
            ..query
        };
        engine
            .store
            .view()
            .and_then(|view| view.journal(&query))
            .expect("a report")
    }

    /// The newest row about an application: operation, status and code as text.
    pub(crate) fn last(&self) -> (String, String, String) {
        let row = self
            .report(Query::default())
            .into_iter()
            .next()
            .expect("a row");
        let code = row.code.unwrap_or_default();
        (
            format!("{:?}", row.operation).to_lowercase(),
            format!("{:?}", row.status).to_lowercase(),
            code,
        )
    }
}
