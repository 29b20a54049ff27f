//! A gateway, a sandbox, and time that goes on only when nobody has anything left to do at the present moment.

use std::time::Duration;

use serde_json::{Map, Value};
use tempfile::TempDir;
use usher::clock::{Clock, Timestamp};
use usher::journal::report::{Query, Row};
use usher::provision::call::{Class, Method};
use usher::sandbox::{Options, Quirks, Sandbox};
use usher::serve::Serving;
use usher::upstream::gate::{Gate, Turn};

use crate::house::{Answer, Knock, PATIENCE, Plan, text};

const BEARER: &str = r#"{ kind = "bearer", token = { env = "SANDBOX_TOKEN" } }"#;
const MAPPED: &str = r#"
[application.users]
delete_after = "0s"
[application.safety]
max_removals = 1000
[application.groups]
push = ["*"]
[[application.map.user]]
to = "userType"
from = "$.userType"
[[application.map.user]]
to = "title"
from = "$.title"
[[application.map.user]]
to = "roles"
from = "$.roles"
[[application.map.user]]
to = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"
from = '$["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"].department'
[[application.map.user]]
to = "urn:ietf:params:scim:schemas:extension:zoom:1.0:User:zoomWhiteboard"
from = '$["urn:ietf:params:scim:schemas:extension:zoom:1.0:User"].zoomWhiteboard'
"#;

/// A gateway with Server-to-Server credentials beside its sandbox.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Clock,
    serving: Serving,
    knock: Knock,
    gate: Gate,
    /// A call may take long by the clock.
    slow: bool,
    _folder: TempDir,
}

impl Stage {
    /// Stands it up, the sandbox at these quirks.
    pub(crate) async fn new(quirks: Quirks) -> Self {
        let clock = Clock::manual(Timestamp(1_795_465_845_000));
        let sandbox = Sandbox::start(Options {
            clock: clock.clone(),
            quirks,
            ..Options::default()
        })
        .expect("a sandbox");
        let plan = Plan {
            tables: MAPPED.into(),
            ..Plan::default()
        };
        let credentials = format!(
            r#"{{ kind = "server_to_server", account_id = "sandbox-account", client_id = "sandbox-client", client_secret = {{ env = "SANDBOX_TOKEN" }}, token_url = "{}" }}"#,
            sandbox.token_url()
        );
        let text = text(&plan, &sandbox.base_url(), "127.0.0.1:0").replace(BEARER, &credentials);
        let folder = tempfile::tempdir().expect("a folder");
        let origin = folder.path().join("usher.toml");
        let config = usher::config::parse(&text, &origin, &|_| Some("sandbox-secret".into()))
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut serving = Serving::start(config, clock.clone(), false)
            .await
            .expect("it listens");
        serving.ready().await.expect("it opens");
        let knock = Knock::at(format!("http://{}/scim/v2", serving.address));
        let engine = serving.gateway.engine().expect("it is open");
        let gate = engine.applications[0].gate.clone();
        Self {
            sandbox,
            clock,
            serving,
            knock,
            gate,
            slow: false,
            _folder: folder,
        }
    }

    /// Changes the sandbox's quirks from what they are at the start of a scenario.
    pub(crate) fn switch(&mut self, base: &Quirks, changes: &Map<String, Value>) {
        let quirks = base.changed(changes).expect("quirks");
        // Also later: a call may be under way that began before.
        self.slow |= quirks.latency_ms > 0;
        self.sandbox.state().set_quirks(quirks);
    }

    /// Does something in the sandbox behind the gateway's back.
    pub(crate) fn behind(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, answer) = self.sandbox.state().answer(
            method,
            path,
            None,
            Some(body).filter(|body| !body.is_null()),
        );
        assert!(status < 300, "{status}: {answer:?}");
        answer.unwrap_or_default()
    }

    /// Asks as the client; time goes on while whatever is asked waits for it.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let work = async {
            tokio::select! {
                answer = self.knock.ask(method, path, body) => answer,
                () = self.pass() => unreachable!("time does not end"),
            }
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| panic!("no answer to {method} {path}"))
    }

    /// Time goes on, where nothing goes on without it.
    async fn pass(&self) {
        // Most of what waits waits for the machine and not for the clock.
        tokio::time::sleep(Duration::from_millis(20)).await;
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.stuck() {
                self.clock.advance(Duration::from_millis(50));
            }
        }
    }

    fn stuck(&self) -> bool {
        self.slow || self.gate.snapshot(self.clock.now()).in_flight == 0
    }

    /// Lets that much time pass, with all that becomes due in it done at its time.
    pub(crate) async fn later(&self, span: Duration) {
        let end = self.clock.now().plus(span);
        let done = tokio::time::timeout(PATIENCE, self.until(end)).await;
        if done.is_err() {
            let now = self.clock.now();
            let engine = self.serving.gateway.engine().expect("it is open");
            let view = engine.store.view().expect("a view");
            panic!(
                "what is due is not done at {}: {:?}; {:?}",
                now.rfc3339(),
                view.due("zoom", now, 9),
                self.gate.snapshot(now)
            );
        }
    }

    async fn until(&self, end: Timestamp) {
        let engine = self.serving.gateway.engine().expect("it is open");
        let mut committed = engine.store.committed();
        loop {
            let now = self.clock.now();
            committed.mark_unchanged();
            let view = engine.store.view().expect("a view");
            let due = view.due("zoom", now, 1).expect("marks");
            let rests = now < end && !due.is_empty();
            if rests {
                let changed =
                    tokio::time::timeout(Duration::from_millis(4), committed.changed()).await;
                if changed.is_err() && self.stuck() {
                    // The worker waits for the application's patience.
                    let line = |class| self.gate.hopeless(class, Turn::Queued, now, now);
                    let lines = [Class::Light, Class::Medium].into_iter().filter_map(line);
                    let opens = lines.min().unwrap_or(now);
                    let step = opens.max(now.plus(Duration::from_millis(100))).min(end);
                    self.clock.advance(step.since(now));
                }
                continue;
            }
            if now >= end {
                return;
            }
            let next = view
                .next_due("zoom")
                .expect("marks")
                .filter(|due| *due > now);
            let step = next.unwrap_or(end).min(end);
            self.clock.advance(step.since(now));
        }
    }

    /// Whether anything is left to do, ever.
    pub(crate) fn open_marks(&self) -> bool {
        let engine = self.serving.gateway.engine().expect("it is open");
        let view = engine.store.view().expect("a view");
        view.next_due("zoom").expect("marks").is_some()
    }

    /// The report, oldest first.
    pub(crate) fn report(&self) -> Vec<Row> {
        let engine = self.serving.gateway.engine().expect("it is open");
        let query = Query {
            limit: 10_000,
            ..Query::default()
        };
        let rows = engine.store.view().and_then(|view| view.journal(&query));
        let mut rows = rows.expect("a report");
        rows.reverse();
        rows
    }

    /// Calls of the API so far.
    pub(crate) fn calls(&self) -> u64 {
        let counts = self.sandbox.state().counts();
        let api = counts.iter().filter(|(method, _)| **method != "TOKEN");
        api.map(|(_, counts)| counts.calls).sum()
    }

    /// Ends it.
    pub(crate) async fn end(self) {
        assert!(self.serving.drain().await.whole, "a drain is whole");
        self.sandbox.stop().await;
    }
}
