//! Other people's SCIM servers behind the gateway, each as a process of its own: what the `scim` profile does in them.
//! `.ci/peers` installs them; without them these tests say that they did not run, as in `peers`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use usher::clock::Clock;
use usher::journal::record::Status;
use usher::journal::report::{Query, Row};
use usher::serve::Serving;

use crate::house::{Answer, Knock, PATIENCE, Plan, TOKEN, say, text};
use crate::peers::{Peer, programs};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// What is known of one server, from trying it.
struct Server {
    name: &'static str,
    /// An attribute that others keep there, and that no rule of ours gives.
    foreign: &'static str,
    /// It keeps displayName, and does not make one up itself.
    display_name: bool,
    /// It shows the members of a group.
    shows_members: bool,
    /// It takes members out of a group.
    takes_out: bool,
    /// A userName that differs by case only is taken.
    folds: bool,
    /// It says what it can do.
    describes_itself: bool,
}

/// Between the gateway and the server: notes what is asked, and can lose the answer to a create.
struct Wire {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
    lose: Arc<AtomicBool>,
}

impl Wire {
    async fn to(base: &str) -> Self {
        let rest = base.strip_prefix("http://").expect("plain HTTP");
        let (host, path) = rest.split_once('/').expect("a path");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}/{path}", listener.local_addr().expect("bound"));
        let wire = Self {
            base,
            asked: Arc::default(),
            lose: Arc::default(),
        };
        let (host, asked, lose) = (
            host.to_owned(),
            Arc::clone(&wire.asked),
            Arc::clone(&wire.lose),
        );
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&host).await.expect("the server listens");
                tokio::spawn(carry(near, far, Arc::clone(&asked), Arc::clone(&lose)));
            }
        });
        wire
    }

    /// What was asked since the last time: methods and paths, without queries.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }
}

async fn carry(
    mut near: TcpStream,
    mut far: TcpStream,
    asked: Arc<Mutex<Vec<String>>>,
    lose: Arc<AtomicBool>,
) {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    let mut creating = false;
    loop {
        tokio::select! {
            read = near.read(&mut up) => match read {
                Ok(size @ 1..) => {
                    let head = String::from_utf8_lossy(&up[..size]);
                    let mut line = head.lines().next().unwrap_or_default().split(' ');
                    if let (Some(method), Some(path), Some("HTTP/1.1")) = (line.next(), line.next(), line.next()) {
                        creating = method == "POST";
                        let path = path.split('?').next().unwrap_or_default();
                        asked.lock().expect("no panic").push(format!("{method} {path}"));
                    }
                    if far.write_all(&up[..size]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            read = far.read(&mut down) => match read {
                // It was done, and nobody hears of it.
                Ok(1..) if creating && lose.swap(false, Ordering::SeqCst) => return,
                Ok(size @ 1..) => {
                    if near.write_all(&down[..size]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

/// A server, the wire to it, and a gateway before it.
struct Bench {
    server: Server,
    /// Asks the gateway.
    gateway: Knock,
    /// Asks the server, as somebody else.
    there: Knock,
    wire: Wire,
    serving: Serving,
    can: Vec<(&'static str, String)>,
    _peer: Peer,
    _folder: TempDir,
}

impl Bench {
    async fn start(server: Server, mut command: Command, folder: TempDir) -> Self {
        let mut peer = Peer::start(&mut command);
        let Some(base) = peer.line().await else {
            panic!("{}: {}", server.name, peer.complaint());
        };
        // Some libraries greet first.
        let base = match base.starts_with("http://") {
            true => base,
            false => peer.line().await.expect("its address"),
        };
        let wire = Wire::to(&base).await;
        let plan = Plan {
            application: String::from("wait = \"20s\"\nlookup_lag = \"0s\""),
            tables: String::from(
                "[application.users]\ndelete_after = \"0s\"\n[application.groups]\npush = [\"*\"]\n",
            ),
            ..Plan::default()
        };
        let text = text(&plan, &wire.base, "127.0.0.1:0")
            .replace("profile = \"zoom\"", "profile = \"scim\"");
        let config = usher::config::parse(&text, &folder.path().join("usher.toml"), &|_| {
            Some(TOKEN.into())
        });
        let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut serving = Serving::start(config, Clock::system(), false)
            .await
            .expect("it starts");
        serving.ready().await.expect("it opens");
        Self {
            server,
            gateway: Knock::at(format!("http://{}/scim/v2", serving.address)),
            there: Knock::at(base),
            wire,
            serving,
            can: Vec::new(),
            _peer: peer,
            _folder: folder,
        }
    }

    fn can(&mut self, what: &'static str, how: impl Into<String>) {
        self.can.push((what, how.into()));
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.gateway.ask(method, path, Some(&body)).await
    }

    /// Waits until nothing is left to send.
    async fn quiet(&self) {
        let engine = self.serving.gateway.engine().expect("it is open");
        let mut committed = engine.store.committed();
        let waiting = async {
            loop {
                committed.mark_unchanged();
                let view = engine.store.view().expect("a view");
                if view.mark_count("zoom").expect("marks") == 0 {
                    return;
                }
                drop(view);
                committed.changed().await.expect("the store lives");
            }
        };
        let done = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(done.is_ok(), "{:#?}", self.report());
    }

    /// The journal, newest first.
    fn report(&self) -> Vec<Row> {
        let engine = self.serving.gateway.engine().expect("it is open");
        let query = Query {
            limit: 10_000,
            ..Query::default()
        };
        let view = engine.store.view().expect("a view");
        view.journal(&query).expect("a report")
    }

    /// The newest lines say that all was well there.
    fn well(&self, what: &str) {
        let row = self.report().into_iter().next().expect("a row");
        assert_eq!(row.status, Status::Success, "{what}: {row:#?}");
    }

    /// All resources of a kind there whose name is this one, in any case.
    async fn named(&self, kind: &str, attribute: &str, name: &str) -> Vec<Value> {
        let list = self.there.ask("GET", &format!("/{kind}"), None).await;
        let all = list.body["Resources"].as_array().cloned();
        let folded = name.to_lowercase();
        let mut named = all.unwrap_or_default();
        named.retain(|one| one[attribute].as_str().map(str::to_lowercase) == Some(folded.clone()));
        named
    }

    async fn account(&self, name: &str) -> Value {
        let mut all = self.named("Users", "userName", name).await;
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        all.remove(0)
    }

    /// Somebody else writes their attribute into an account.
    async fn mark_foreign(&self, name: &str) {
        let mut account = self.account(name).await;
        let path = format!("/Users/{}", account["id"].as_str().expect("an id"));
        account[self.server.foreign] = json!("theirs");
        let put = self.there.ask("PUT", &path, Some(&account)).await;
        put.expect(200);
    }

    async fn expect(&self, name: &str, active: bool, given: &str, display: &str) {
        let account = self.account(name).await;
        assert_eq!(account["active"], active, "{account}");
        assert_eq!(account["name"]["givenName"], given, "{account}");
        assert_eq!(account["emails"][0]["value"], name, "{account}");
        if self.server.display_name {
            assert_eq!(account["displayName"], display, "{account}");
        }
    }

    async fn members(&self, group: &str) -> Vec<String> {
        let found = self.named("Groups", "displayName", group).await;
        assert_eq!(found.len(), 1, "{group}: {found:?}");
        let path = format!("/Groups/{}", found[0]["id"].as_str().expect("an id"));
        let group = self.there.ask("GET", &path, None).await.expect(200).body;
        let members = group["members"].as_array().cloned().unwrap_or_default();
        let mut ids: Vec<String> = members
            .iter()
            .map(|member| member["value"].as_str().expect("a value").to_owned())
            .collect();
        ids.sort();
        ids
    }
}

fn person(name: &str, given: &str) -> Value {
    json!({
        "schemas": [USER], "userName": name, "displayName": format!("{given} L"),
        "name": {"givenName": given, "familyName": "L"},
        "emails": [{"value": name, "type": "work", "primary": true}], "active": true,
    })
}

fn patch(operations: Value) -> Value {
    json!({"schemas": [PATCH_OP], "Operations": operations})
}

fn writes(asked: &[String]) -> Vec<&str> {
    let writing = asked.iter().filter(|call| !call.starts_with("GET "));
    writing
        .map(|call| call.split(' ').next().unwrap_or_default())
        .collect()
}

/// All that an identity provider does with people.
async fn people(bench: &mut Bench) -> String {
    let made = bench
        .ask("POST", "/Users", person("ada@x.example", "Ada"))
        .await;
    let ada = made.expect(201).id();
    bench.expect("ada@x.example", true, "Ada", "Ada L").await;
    let asked = bench.wire.asked();
    assert_eq!(
        asked.len(),
        2,
        "it is asked what it can do, once: {asked:?}"
    );
    bench.can("create", "yes");
    bench.mark_foreign("ada@x.example").await;

    let path = format!("/Users/{ada}");
    let change = patch(json!([
        {"op": "replace", "path": "name.givenName", "value": "Augusta"},
        {"op": "replace", "path": "displayName", "value": "Augusta K"},
    ]));
    bench.ask("PATCH", &path, change).await.expect(200);
    bench
        .expect("ada@x.example", true, "Augusta", "Augusta K")
        .await;
    let how = writes(&bench.wire.asked()).join(", ");
    bench.can("update", how);

    let change = patch(json!([
        {"op": "replace", "path": "userName", "value": "augusta@x.example"},
        {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "augusta@x.example"},
    ]));
    bench.ask("PATCH", &path, change).await.expect(200);
    bench
        .expect("augusta@x.example", true, "Augusta", "Augusta K")
        .await;
    let how = writes(&bench.wire.asked()).join(", ");
    bench.can("rename", how);

    // The same once more.
    let same = json!({
        "schemas": [USER], "userName": "augusta@x.example", "displayName": "Augusta K",
        "name": {"givenName": "Augusta", "familyName": "L"},
        "emails": [{"value": "augusta@x.example", "type": "work", "primary": true}], "active": true,
    });
    bench.ask("PUT", &path, same).await.expect(200);
    assert_eq!(bench.wire.asked(), [] as [&str; 0], "nothing differs");

    for active in [false, true] {
        let change = patch(json!([{"op": "replace", "path": "active", "value": active}]));
        bench.ask("PATCH", &path, change).await.expect(200);
        bench
            .expect("augusta@x.example", active, "Augusta", "Augusta K")
            .await;
        let how = writes(&bench.wire.asked()).join(", ");
        bench.can(if active { "reactivate" } else { "deactivate" }, how);
    }
    bench.quiet().await;
    bench.well("reactivated");
    let account = bench.account("augusta@x.example").await;
    assert_eq!(account[bench.server.foreign], "theirs", "{account}");
    bench.can("what others keep", "stays");
    ada
}

/// Accounts that are there already, and one of which nobody knows.
async fn strangers(bench: &mut Bench) -> String {
    let theirs = person("bob@x.example", "Robert");
    bench
        .there
        .ask("POST", "/Users", Some(&theirs))
        .await
        .expect(201);
    bench.mark_foreign("bob@x.example").await;
    let made = bench
        .ask("POST", "/Users", person("bob@x.example", "Bob"))
        .await;
    let bob = made.expect(201).id();
    bench.quiet().await;
    bench.expect("bob@x.example", true, "Bob", "Bob L").await;
    let account = bench.account("bob@x.example").await;
    assert_eq!(account[bench.server.foreign], "theirs", "{account}");
    bench.can("adopt", "yes");

    if bench.server.folds {
        let theirs = person("Carl@X.example", "Carl");
        bench
            .there
            .ask("POST", "/Users", Some(&theirs))
            .await
            .expect(201);
        let made = bench
            .ask("POST", "/Users", person("carl@x.example", "Charles"))
            .await;
        made.expect(201);
        bench.quiet().await;
        let account = bench.account("carl@x.example").await;
        assert_eq!(account["name"]["givenName"], "Charles", "{account}");
        bench.can("adopt in another case", "yes");
    } else {
        bench.can("adopt in another case", "another account");
    }

    bench.wire.lose.store(true, Ordering::SeqCst);
    let made = bench
        .ask("POST", "/Users", person("eve@x.example", "Eve"))
        .await;
    made.expect(201);
    assert!(
        !bench.wire.lose.load(Ordering::SeqCst),
        "an answer was lost"
    );
    bench.quiet().await;
    bench.expect("eve@x.example", true, "Eve", "Eve L").await;
    bench.can("a lost answer", "one account");
    bob
}

async fn groups(bench: &mut Bench, ada: &str, bob: &str) {
    let id = async |name| {
        bench.account(name).await["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let (ada_there, bob_there) = (id("augusta@x.example").await, id("bob@x.example").await);
    let group = json!({"schemas": [GROUP], "displayName": "Staff", "members": [{"value": ada}]});
    let made = bench.ask("POST", "/Groups", group).await.expect(201).id();
    bench.quiet().await;
    bench.well("a group");
    let path = format!("/Groups/{made}");
    let shown = bench.server.shows_members;
    let members = bench.members("Staff").await;
    assert_eq!(
        members,
        if shown {
            vec![ada_there.clone()]
        } else {
            vec![]
        }
    );
    bench.can("create a group", "yes");

    let change = patch(json!([
        {"op": "add", "path": "members", "value": [{"value": bob}]},
        {"op": "remove", "path": format!("members[value eq \"{ada}\"]")},
    ]));
    bench.ask("PATCH", &path, change).await.expect(200);
    bench.quiet().await;
    let members = bench.members("Staff").await;
    let mut wanted = vec![bob_there];
    if !bench.server.takes_out {
        wanted.push(ada_there);
        wanted.sort();
        let told = bench.report();
        let told = told
            .iter()
            .filter(|row| row.code.as_deref() == Some("unsupported"));
        assert_eq!(
            told.count(),
            1,
            "said, and said once: {:#?}",
            bench.report()
        );
        bench.can("members", "come in, and do not go out");
    } else {
        bench.well("members");
        bench.can(
            "members",
            if shown {
                "come and go"
            } else {
                "are sent, and not shown"
            },
        );
    }
    assert_eq!(members, if shown { wanted.clone() } else { vec![] });
    bench.wire.asked();

    let change = patch(json!([{"op": "replace", "path": "displayName", "value": "Crew"}]));
    bench.ask("PATCH", &path, change).await.expect(200);
    bench.quiet().await;
    bench.well("a renamed group");
    let how = writes(&bench.wire.asked()).join(", ");
    bench.can("rename a group", how);
    assert_eq!(
        bench.members("Crew").await,
        if shown { wanted } else { vec![] }
    );
    assert_eq!(
        bench.named("Groups", "displayName", "Staff").await,
        [] as [Value; 0]
    );

    bench.gateway.ask("DELETE", &path, None).await.expect(204);
    bench.quiet().await;
    bench.well("a deleted group");
    assert_eq!(
        bench.named("Groups", "displayName", "Crew").await,
        [] as [Value; 0]
    );
    bench.can("delete a group", "yes");

    let theirs = json!({"schemas": [GROUP], "displayName": "Board"});
    bench
        .there
        .ask("POST", "/Groups", Some(&theirs))
        .await
        .expect(201);
    let group = json!({"schemas": [GROUP], "displayName": "Board"});
    bench.ask("POST", "/Groups", group).await.expect(201);
    bench.quiet().await;
    bench.members("Board").await;
    bench.can("adopt a group", "yes");
}

async fn exercise(server: Server, command: Command, folder: TempDir) {
    let mut bench = Bench::start(server, command, folder).await;
    let ada = people(&mut bench).await;
    let bob = strangers(&mut bench).await;
    groups(&mut bench, &ada, &bob).await;

    let path = format!("/Users/{ada}");
    bench.gateway.ask("DELETE", &path, None).await.expect(204);
    bench.quiet().await;
    bench.well("deleted");
    let left = bench.named("Users", "userName", "augusta@x.example").await;
    assert_eq!(left, [] as [Value; 0]);
    // Somebody else was faster.
    let account = bench.account("bob@x.example").await;
    let there = format!("/Users/{}", account["id"].as_str().expect("an id"));
    let gone = bench.there.ask("DELETE", &there, None).await;
    assert!((200..300).contains(&gone.status), "{gone:?}");
    bench
        .gateway
        .ask("DELETE", &format!("/Users/{bob}"), None)
        .await
        .expect(204);
    bench.quiet().await;
    bench.well("deleted twice");
    bench.can("delete", "yes");

    let headers = [("authorization", format!("Bearer {TOKEN}"))];
    let config = bench
        .there
        .send("GET", "/ServiceProviderConfig", &headers, None)
        .await;
    // Jackson's answer is a page of HTML.
    let described = config.is_ok_and(|config| config.status == 200);
    assert_eq!(described, bench.server.describes_itself);
    let trouble: Vec<Row> = bench
        .report()
        .into_iter()
        .filter(|row| row.status == Status::Failure)
        .collect();
    assert!(trouble.is_empty(), "{trouble:#?}");
    say(&format!("{}:", bench.server.name));
    for (what, how) in &bench.can {
        say(&format!("  {what:<22} {how}"));
    }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A Python server.
fn python(name: &str, list: &str, script: &str, folder: &TempDir) -> Option<Command> {
    let programs = programs(name, list)?;
    let mut command = Command::new(programs.join("python"));
    command.arg(here("tests/peers/servers").join(script));
    command.args([folder.path().as_os_str(), TOKEN.as_ref()]);
    Some(command)
}

/// A server on Node.js.
fn node(script: &str) -> Option<Command> {
    programs("node", include_str!("../peers/node/package-lock.json"))?;
    let home = here("target/peers/node");
    let stamp = std::fs::read_to_string(home.join("stamp")).expect("it was read before");
    let mut command = Command::new(stamp.lines().next().expect("a line"));
    command.arg(here("tests/peers/servers").join(script));
    command.args([home.as_os_str(), TOKEN.as_ref()]);
    Some(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_scim2_is_provisioned() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = include_str!("../peers/django.txt");
    let Some(command) = python("django", list, "django_app.py", &folder) else {
        return;
    };
    let server = Server {
        name: "django-scim2",
        foreign: "externalId",
        display_name: false,
        shows_members: true,
        takes_out: false,
        folds: false,
        describes_itself: true,
    };
    exercise(server, command, folder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scim2_server_is_provisioned() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = include_str!("../peers/scim2-server.txt");
    let Some(command) = python("scim2-server", list, "scim2_app.py", &folder) else {
        return;
    };
    let server = Server {
        name: "scim2-server",
        foreign: "nickName",
        display_name: true,
        shows_members: true,
        takes_out: true,
        folds: true,
        describes_itself: true,
    };
    exercise(server, command, folder).await;
}

/// scim2-server alone, and its base URL, where it is installed. It takes [`TOKEN`].
pub(crate) async fn scim2_server(folder: &TempDir) -> Option<(Peer, String)> {
    let list = include_str!("../peers/scim2-server.txt");
    let mut command = python("scim2-server", list, "scim2_app.py", folder)?;
    let mut peer = Peer::start(&mut command);
    let base = peer.line().await;
    let base = base.unwrap_or_else(|| panic!("scim2-server: {}", peer.complaint()));
    Some((peer, base))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scimmy_is_provisioned() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(command) = node("scimmy.mjs") else {
        return;
    };
    let server = Server {
        name: "SCIMMY",
        foreign: "nickName",
        display_name: true,
        shows_members: true,
        takes_out: true,
        folds: true,
        describes_itself: true,
    };
    exercise(server, command, folder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jackson_is_provisioned() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(command) = node("jackson.mjs") else {
        return;
    };
    let server = Server {
        name: "Jackson directory sync",
        foreign: "nickName",
        display_name: true,
        shows_members: false,
        takes_out: true,
        folds: false,
        describes_itself: false,
    };
    exercise(server, command, folder).await;
}
