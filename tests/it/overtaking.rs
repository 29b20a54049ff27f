//! A call hangs at one application: whoever it is about is written to by clients meanwhile, and changed in the other
//! applications, as if it were well. What hangs is overtaken, and made up for when its answer is there or given up.
//!
//! The clock stands where nobody may wait: who waited would never be answered.

use std::time::Duration;

use serde_json::{Value, json};
use usher::clock::{Clock, Timestamp};
use usher::journal::record::Status;
use usher::journal::report::Query;
use usher::provision::call::Method;
use usher::sandbox::{Fault, Options, Sandbox, What};
use usher::store::Key;

use crate::house::{Answer, House, PATIENCE, Plan};
use crate::several::one_more;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const NAME: &str = "ada@x.example";

/// zoom, where calls will hang, and a wiki beside it.
struct Two {
    house: House,
    wiki: Sandbox,
}

impl Two {
    /// `tables`: of each of the two.
    async fn with(delivery: &str, tables: &str) -> Self {
        let wiki = Sandbox::start(Options {
            token: String::from("sandbox-token"),
            clock: Clock::manual(Timestamp(1_795_465_845_000)),
            ..Options::default()
        })
        .expect("a sandbox");
        let pace =
            "[application.pace]\nlight = { per_second = 100000 }\nmedium = { per_second = 100000 }";
        let more = format!("delivery = \"queued\"\n{pace}\n{tables}");
        let beside = one_more("wiki", "zoom", &wiki.base_url(), &more);
        let house = House::with(Plan {
            application: format!("delivery = \"{delivery}\""),
            tables: format!("{tables}\n{beside}"),
            ..Plan::default()
        })
        .await;
        Self { house, wiki }
    }

    /// The next call of this kind to zoom: it has its effect, and its answer takes a minute.
    fn hang(&self, method: Method, path: &str) {
        self.house.sandbox.state().fail_next(Fault {
            calls: 1,
            matching: Some((method, path.to_owned())),
            what: What::Delay(60_000),
        });
    }

    /// Asked while the clock stands.
    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let answer = self.house.ask(method, path, body);
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        answer.unwrap_or_else(|_| panic!("{method} {path} waits for zoom"))
    }

    async fn create(&self) -> String {
        self.ask("POST", "/Users", Some(&user("Ada")))
            .await
            .expect(201)
            .id()
    }

    async fn rename(&self, id: &str, display: &str) {
        let body = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": display}]});
        let path = format!("/Users/{id}");
        let answer = self.ask("PATCH", &path, Some(&body)).await.expect(200);
        assert_eq!(answer.body["displayName"], display, "it reads back");
    }

    /// Waits for something while the clock stands.
    async fn soon(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("{what} does not come"));
    }

    /// A user is deleted, and the call that takes the account away from zoom is never answered.
    async fn removal_hangs(&self, id: &str) {
        let there = self.house.sandbox.state();
        there.fail_next(Fault {
            calls: 1,
            matching: None,
            what: What::Hold,
        });
        let before = there.calls().len();
        let path = format!("/Users/{id}");
        self.ask("DELETE", &path, None).await.expect(204);
        self.soon("the call that hangs", |it| {
            it.house.sandbox.state().calls().len() > before
        })
        .await;
    }

    /// Time goes on until the worker looks at what became of a call.
    async fn is_read_back(&self) {
        let reads = self.called(Method::Get, "/Users");
        let worker = async {
            while self.called(Method::Get, "/Users") == reads {
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.house.clock.advance(Duration::from_millis(100));
            }
        };
        let worker = tokio::time::timeout(PATIENCE, worker).await;
        worker.expect("the worker reads the account back");
    }

    /// Time goes on until nothing is left to do.
    async fn in_time(&self) {
        let wait = async {
            while self.marks("zoom") + self.marks("wiki") > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.house.clock.advance(Duration::from_millis(100));
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.expect("it is made up for");
    }

    fn marks(&self, application: &str) -> u64 {
        let engine = self.house.serving.gateway.engine().expect("it is open");
        let view = engine.store.view().expect("a view");
        view.mark_count(application).expect("marks")
    }

    async fn quiet(&self) {
        let quiet = |it: &Self| it.marks("zoom") + it.marks("wiki") == 0;
        self.soon("all of it", quiet).await;
    }

    fn called(&self, method: Method, path: &str) -> usize {
        let calls = self.house.sandbox.state().calls();
        let same = calls
            .iter()
            .filter(|call| call.method == method.as_str() && call.path.starts_with(path));
        same.count()
    }

    /// How often zoom was asked so before, plus one, has come.
    async fn hangs(&self, method: Method, path: &str, before: usize) {
        self.soon("the call that hangs", |it| it.called(method, path) > before)
            .await;
    }
}

fn user(display: &str) -> Value {
    json!({
        "schemas": [USER], "userName": NAME, "displayName": display,
        "name": {"givenName": "Ada", "familyName": "King"}, "active": true
    })
}

fn shows(sandbox: &Sandbox, display: &str) -> bool {
    let account = sandbox.state().account(NAME);
    account.is_some_and(|account| account["displayName"] == display)
}

fn is_active(sandbox: &Sandbox) -> Option<bool> {
    sandbox.state().account(NAME)?["active"].as_bool()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_overtakes_one_that_hangs_and_follows_it() {
    let two = Two::with("queued", "").await;
    let id = two.create().await;
    two.quiet().await;
    two.hang(Method::Put, "/Users");
    let before = two.called(Method::Put, "/Users");
    two.rename(&id, "Ada B").await;
    two.hangs(Method::Put, "/Users", before).await;
    two.rename(&id, "Ada C").await;
    two.soon("the wiki's account", |it| shows(&it.wiki, "Ada C"))
        .await;
    // Back to what zoom was sent last that it has answered: not what it may have by now.
    two.rename(&id, "Ada").await;
    two.soon("the wiki's account", |it| shows(&it.wiki, "Ada"))
        .await;
    assert!(
        shows(&two.house.sandbox, "Ada B"),
        "nothing overtakes there"
    );
    two.in_time().await;
    assert!(shows(&two.house.sandbox, "Ada"));
    // Each request has its row, and none of them waits any more.
    let rows = two.house.report(Query::default());
    let open = |status| matches!(status, Status::Queued | Status::Unknown);
    assert!(rows.iter().all(|row| !open(row.status)), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_deleted_while_the_account_is_made_loses_it() {
    let two = Two::with("queued", "[application.users]\non_delete = \"deactivate\"").await;
    two.hang(Method::Post, "/Users");
    let id = two.create().await;
    two.hangs(Method::Post, "/Users", 0).await;
    two.soon("the wiki's account", |it| is_active(&it.wiki) == Some(true))
        .await;
    let path = format!("/Users/{id}");
    two.ask("DELETE", &path, None).await.expect(204);
    two.ask("GET", &path, None).await.expect(404);
    two.soon("the wiki's removal", |it| {
        is_active(&it.wiki) == Some(false)
    })
    .await;
    assert_eq!(is_active(&two.house.sandbox), Some(true));
    two.in_time().await;
    assert_eq!(is_active(&two.house.sandbox), Some(false), "not forgotten");
    assert_eq!(two.called(Method::Post, "/Users"), 1);
}

/// The account outlives its user, and the new user takes it over when it is known what became of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_while_the_removal_hangs_is_let_in_again() {
    let tables = "[application.users]\non_delete = \"deactivate\"";
    let two = Two::with("queued", tables).await;
    let id = two.create().await;
    two.quiet().await;
    let (method, path) = (Method::Patch, "/Users");
    two.hang(method, path);
    let before = two.called(method, path);
    two.ask("DELETE", &format!("/Users/{id}"), None)
        .await
        .expect(204);
    two.hangs(method, path, before).await;
    let again = two.create().await;
    assert_ne!(again, id);
    two.soon("the wiki's account", |it| is_active(&it.wiki) == Some(true))
        .await;
    two.in_time().await;
    assert_eq!(is_active(&two.house.sandbox), Some(true));
    for sandbox in [&two.house.sandbox, &two.wiki] {
        assert_eq!(sandbox.state().accounts().len(), 1, "the same account");
    }
    let engine = two.house.serving.gateway.engine().expect("it is open");
    let view = engine.store.view().expect("a view");
    let mut rows = 0;
    let mut from = Some(usher::scim::Handle(0));
    while let Some(start) = from {
        let page = view.everybody(start, 100, |_| {
            rows += 1;
            Ok(())
        });
        from = page.expect("rows");
    }
    assert_eq!(rows, 1, "nothing is left of the one before");
}

/// The removal never came through, and zoom is down for a while: what is tried again then is not the removal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_came_back_before_the_removal_came_through_stays() {
    let two = Two::with(
        "queued",
        "[application.users]\non_delete = \"delete\"\ndelete_after = \"0s\"",
    )
    .await;
    let id = two.create().await;
    two.quiet().await;
    let there = two.house.sandbox.state();
    let before = there.calls().len();
    two.removal_hangs(&id).await;
    two.create().await;
    there.fail_next(Fault {
        calls: 3,
        matching: None,
        what: What::Status {
            status: 503,
            retry_after: None,
            body: None,
        },
    });
    two.in_time().await;
    assert_eq!(is_active(&two.house.sandbox), Some(true));
    let calls = there.calls();
    let (tried, taken): (Vec<_>, Vec<_>) = calls[before..]
        .iter()
        .filter(|call| call.method != "GET")
        .partition(|call| !call.effect);
    assert!(!tried.is_empty());
    let removes = |body: &Value| body.to_string().contains("\"active\":false");
    let removal = taken.iter().find(|call| {
        call.method == "DELETE" || call.method == "POST" || call.body.as_ref().is_some_and(removes)
    });
    assert_eq!(removal, None, "taken away, and made again");
}

/// A deleted user's account waits for the turn of the new one, who is deleted before it: it waits no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_waits_for_nobody_who_is_gone() {
    let two = Two::with("queued", "[application.users]\non_delete = \"deactivate\"").await;
    let id = two.create().await;
    two.quiet().await;
    two.removal_hangs(&id).await;
    let removal = || {
        let engine = two.house.serving.gateway.engine().expect("it is open");
        let view = engine.store.view().expect("a view");
        let orphan = Key::Orphan {
            application: "zoom",
            account: NAME,
        };
        let orphan = view.find(&orphan).expect("a view").expect("a link");
        view.mark(orphan, "zoom").expect("a view").expect("a mark")
    };
    let again = two.create().await;
    let first = removal();
    two.ask("DELETE", &format!("/Users/{again}"), None)
        .await
        .expect(204);
    let said = removal();
    assert!(
        said.generation > first.generation && said.due <= two.house.clock.now(),
        "{said:?}"
    );
    two.in_time().await;
    assert_eq!(is_active(&two.house.sandbox), Some(false));
    assert_eq!(two.called(Method::Post, "/Users"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_written_to_while_it_is_made() {
    let two = Two::with("queued", "[application.groups]\npush = [\"*\"]").await;
    let id = two.create().await;
    two.quiet().await;
    two.hang(Method::Post, "/Groups");
    let body = json!({"schemas": [GROUP], "displayName": "Staff"});
    let group = two.ask("POST", "/Groups", Some(&body)).await.expect(201);
    two.hangs(Method::Post, "/Groups", 0).await;
    let path = format!("/Groups/{}", group.id());
    for operation in [
        json!({"op": "replace", "path": "displayName", "value": "Crew"}),
        json!({"op": "add", "path": "members", "value": [{"value": id}]}),
    ] {
        let body = json!({"schemas": [PATCH], "Operations": [operation]});
        let answer = two.ask("PATCH", &path, Some(&body)).await;
        assert!(answer.status < 300, "{answer:?}");
    }
    let filled = |sandbox: &Sandbox| {
        let crew = sandbox.state().group("Crew");
        crew.is_some_and(|(_, members)| members.len() == 1)
    };
    two.soon("the wiki's group", |it| filled(&it.wiki)).await;
    two.in_time().await;
    assert!(filled(&two.house.sandbox));
    // Deleted while a rename hangs.
    two.hang(Method::Patch, "/Groups");
    let before = two.called(Method::Patch, "/Groups");
    let body = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": "Hands"}]});
    let answer = two.ask("PATCH", &path, Some(&body)).await;
    assert!(answer.status < 300, "{answer:?}");
    two.hangs(Method::Patch, "/Groups", before).await;
    two.ask("DELETE", &path, None).await.expect(204);
    let gone = |it: &Two| it.wiki.state().groups().is_empty();
    two.soon("the end of the wiki's group", gone).await;
    two.in_time().await;
    assert!(two.house.sandbox.state().groups().is_empty());
}

/// The one application that is called while the client waits is waited for, for as long as the client would wait for its
/// call; then what was asked for is accepted, and follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_called_at_once_is_waited_for_and_not_for_longer() {
    let two = Two::with("immediate", "").await;
    let id = two.create().await;
    two.quiet().await;
    two.hang(Method::Put, "/Users");
    let before = two.called(Method::Put, "/Users");
    // The client's wait cuts its own call, and the worker's next one hangs.
    let body = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": "Ada B"}]});
    let path = format!("/Users/{id}");
    let begun = two.house.clock.now();
    let first = two.house.ask_in_time("PATCH", &path, Some(&body)).await;
    first.expect(200);
    let took = two.house.clock.now().since(begun);
    assert!(
        took >= Duration::from_secs(4) && took < Duration::from_secs(6),
        "{took:?}"
    );
    two.hang(Method::Get, "/Users");
    two.is_read_back().await;
    assert!(two.called(Method::Put, "/Users") > before);
    let begun = two.house.clock.now();
    let body = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": "Ada C"}]});
    let second = two.house.ask_in_time("PATCH", &path, Some(&body)).await;
    second.expect(200);
    let took = two.house.clock.now().since(begun);
    assert!(
        took >= Duration::from_secs(4) && took < Duration::from_secs(6),
        "{took:?}"
    );
    two.in_time().await;
    assert!(shows(&two.house.sandbox, "Ada C") && shows(&two.wiki, "Ada C"));
}

/// What is under way ends in time: the client's own call is made while it waits, and it hears how that went.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_called_at_once_is_called_when_the_other_has_ended() {
    let two = Two::with("immediate", "").await;
    let id = two.create().await;
    two.quiet().await;
    two.hang(Method::Put, "/Users");
    let path = format!("/Users/{id}");
    let body = |display: &str| json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": display}]});
    let first = two
        .house
        .ask_in_time("PATCH", &path, Some(&body("Ada B")))
        .await;
    first.expect(200);
    let state = two.house.sandbox.state();
    state.fail_next(Fault {
        calls: 1,
        matching: Some((Method::Get, String::from("/Users"))),
        what: What::Delay(2_000),
    });
    two.is_read_back().await;
    // From here on the clock moves once.
    let last = body("Ada C");
    let mut second = std::pin::pin!(two.house.ask("PATCH", &path, Some(&last)));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
    assert!(early.is_err(), "it waits for the worker's exchange");
    two.house.clock.advance(Duration::from_secs(2));
    let second = tokio::time::timeout(PATIENCE, second).await;
    second.expect("an answer").expect(200);
    assert!(shows(&two.house.sandbox, "Ada C"), "before it is answered");
    let rows = two.house.report(Query {
        application: Some(String::from("zoom")),
        ..Query::default()
    });
    let last = &rows[0];
    assert_eq!((last.status, last.settled), (Status::Success, None));
    assert!(!last.calls.is_empty(), "{last:?}");
}

/// A group's turn comes to nothing, and was overtaken: what was said meanwhile is not put off with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_overtakes_a_groups_turn_that_fails_is_not_put_off() {
    let two = Two::with("queued", "[application.groups]\npush = [\"*\"]").await;
    let id = two.create().await;
    let body = json!({"schemas": [GROUP], "displayName": "Staff"});
    let group = two.ask("POST", "/Groups", Some(&body)).await.expect(201);
    two.quiet().await;
    let path = format!("/Groups/{}", group.id());
    let changes = async |operation: Value| {
        let body = json!({"schemas": [PATCH], "Operations": [operation]});
        let answer = two.ask("PATCH", &path, Some(&body)).await;
        assert!(answer.status < 300, "{answer:?}");
    };
    let mark = || {
        let engine = two.house.serving.gateway.engine().expect("it is open");
        let view = engine.store.view().expect("a view");
        let key = Key::Id(usher::scim::Kind::Group, &group.id());
        let handle = view.find(&key).expect("a view").expect("the group");
        view.mark(handle, "zoom").expect("a view")
    };
    for (at, overtaking) in [
        json!({"op": "add", "path": "members", "value": [{"value": id}]}),
        json!({"op": "replace", "path": "displayName", "value": "Hands"}),
    ]
    .into_iter()
    .enumerate()
    {
        // It is never answered, and cut after half a minute.
        two.house.sandbox.state().fail_next(Fault {
            calls: 1,
            matching: Some((Method::Patch, String::from("/Groups"))),
            what: What::Hold,
        });
        let before = two.called(Method::Patch, "/Groups");
        changes(json!({"op": "replace", "path": "displayName", "value": format!("Crew {at}")}))
            .await;
        two.hangs(Method::Patch, "/Groups", before).await;
        changes(overtaking).await;
        let overtook = mark().expect("a mark").generation;
        let fails = async {
            while mark().is_some_and(|mark| mark.generation == overtook) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                two.house.clock.advance(Duration::from_secs(1));
            }
        };
        let fails = tokio::time::timeout(PATIENCE, fails).await;
        fails.expect("the turn ends");
        let put_off = mark().is_some_and(|mark| mark.due > two.house.clock.now());
        assert!(!put_off, "{:?}", mark());
        two.in_time().await;
        let title = ["Crew 0", "Hands"][at];
        let there = two.house.sandbox.state().group(title);
        assert_eq!(there.map(|(_, members)| members.len()), Some(1));
    }
}
