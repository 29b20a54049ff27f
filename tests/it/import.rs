//! What is in an application already: taken in by reading alone, claimed by whoever may, and compared with what was left
//! there.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use usher::clock::Timestamp;
use usher::journal::record::{Operation, Status};
use usher::journal::report::Query;
use usher::provision::call::Method;
use usher::provision::link::{Link, Origin};
use usher::provision::plan::{self, Act, Facts};
use usher::sandbox::{Fault, Options, Quirks, State, What};
use usher::scim::{Kind, Resource};
use usher::settle::{Comparison, Reconciled};
use usher::store::{Import, Key, Lookup};

use crate::applications::scim2_server;
use crate::house::{Answer, House, Knock, PATIENCE, Plan, TOKEN};
use crate::process::{Ended, Site, run};
use crate::several::one_more;

const CORE_USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const CORE_GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
/// Nothing is given there by itself.
const GIVE_NOTHING: &str = "[application.users]\ncreate = false\n";

fn with_tables(tables: &str) -> Plan {
    Plan {
        tables: tables.to_owned(),
        ..Plan::default()
    }
}

pub(crate) fn body(name: &str) -> Value {
    json!({
        "schemas": [CORE_USER], "userName": format!("{name}@example.com"), "displayName": name, "title": "Dr",
        "name": {"givenName": name, "familyName": "Test"},
        "emails": [{"value": format!("{name}@example.com"), "type": "work", "primary": true}],
    })
}

/// An account that is there already. Its id.
pub(crate) fn account(house: &House, body: &Value) -> String {
    made(house.sandbox.state(), "/Users", body)
}

fn made(state: &State, path: &str, body: &Value) -> String {
    let (status, made) = state.answer(Method::Post, path, None, Some(body));
    assert_eq!(status, 201, "{made:?}");
    made.unwrap()["id"].as_str().unwrap().to_owned()
}

fn accounts(house: &House, prefix: &str, count: usize) -> Vec<String> {
    let each = (0..count).map(|number| account(house, &body(&format!("{prefix}{number:03}"))));
    each.collect()
}

/// A group that is there already.
pub(crate) fn group_there(house: &House, name: &str, members: &[String]) -> String {
    let state = house.sandbox.state();
    let body = json!({"schemas": [CORE_GROUP], "displayName": name});
    let id = made(state, "/Groups", &body);
    let value: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
    let add = json!({"schemas": [PATCH], "Operations": [{"op": "add", "path": "members", "value": value}]});
    let path = format!("/Groups/{}", encoded(&id));
    let (status, said) = state.answer(Method::Patch, &path, None, Some(&add));
    assert_eq!(status, 204, "{said:?}");
    id
}

fn encoded(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Imports, to its end.
pub(crate) async fn import(house: &House, claim: bool) -> Import {
    let engine = house.serving.gateway.engine().unwrap();
    let application = engine.applications[0].clone();
    let number = engine.begin_import(&application, claim).await.unwrap();
    ended(house, number).await
}

async fn ended(house: &House, number: u64) -> Import {
    let engine = house.serving.gateway.engine().unwrap();
    let ended = engine.import_ended("zoom", number);
    let ended = tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("it ends");
    let import = ended.unwrap();
    assert_eq!(import.number, number);
    import
}

/// found, matched, created, conflicted
fn users(import: &Import) -> [u64; 4] {
    let counted = import.users;
    [
        counted.found,
        counted.matched,
        counted.created,
        counted.conflicted,
    ]
}

async fn reconcile(house: &House, fix: bool) -> Result<Reconciled, String> {
    let engine = house.serving.gateway.engine().unwrap();
    let application = engine.applications[0].clone();
    match engine.reconcile(&application, fix).await.unwrap() {
        Comparison::Whole(found) => Ok(found),
        Comparison::Short(why) => Err(why),
    }
}

/// Calls that change anything there.
fn writing_calls(house: &House) -> u64 {
    writes(house.sandbox.state())
}

fn writes(state: &State) -> u64 {
    let counts = state.counts();
    let writing = ["POST", "PUT", "PATCH", "DELETE"];
    writing
        .iter()
        .filter_map(|method| counts.get(method))
        .map(|counts| counts.calls)
        .sum()
}

fn find(house: &House, name: &str) -> Option<Resource> {
    let view = house
        .serving
        .gateway
        .engine()
        .unwrap()
        .store
        .view()
        .unwrap();
    let name = format!("{name}@example.com");
    let handle = view.find(&Key::UserName(&name)).unwrap()?;
    view.resource(handle).unwrap()
}

fn here(house: &House, name: &str) -> Resource {
    find(house, name).unwrap_or_else(|| panic!("no {name}"))
}

fn link(house: &House, name: &str) -> Link {
    let user = here(house, name);
    user.link("zoom")
        .cloned()
        .unwrap_or_else(|| panic!("{name} has no link"))
}

/// The one group of that name here.
fn group_here(house: &House, name: &str) -> Resource {
    let view = house
        .serving
        .gateway
        .engine()
        .unwrap()
        .store
        .view()
        .unwrap();
    let found = view
        .find_all(Kind::Group, &Lookup::GroupName(name))
        .unwrap();
    assert_eq!(found.len(), 1, "{name}");
    view.resource(found[0]).unwrap().unwrap()
}

async fn user(house: &House, body: &Value) -> Answer {
    house.ask("POST", "/Users", Some(body)).await.expect(201)
}

async fn patch(house: &House, path: &str, operations: Value) -> Answer {
    let body = json!({ "schemas": [PATCH], "Operations": operations });
    house.ask("PATCH", path, Some(&body)).await
}

/// `usher LINE` beside the gateway.
async fn usher(house: &House, line: &str) -> Ended {
    let (folder, line) = (
        house.folder().to_owned(),
        format!("{line} --socket usher.sock"),
    );
    let ended = tokio::task::spawn_blocking(move || run(&folder, &line));
    ended.await.expect("no panic")
}

fn held(house: &House) -> u64 {
    let view = house
        .serving
        .gateway
        .engine()
        .unwrap()
        .store
        .view()
        .unwrap();
    view.tally("zoom").unwrap().holds
}

fn active_there(house: &House) -> usize {
    let accounts = house.sandbox.state().accounts();
    accounts.iter().filter(|account| account.active).count()
}

/// The report's rows of a person in the application: operation, status, code; newest first.
fn told(house: &House, user: &str) -> Vec<(Operation, Status, String)> {
    let rows = house.report(Query::default());
    let rows = rows
        .into_iter()
        .filter(|row| row.user == user && row.application.is_some());
    rows.map(|row| (row.operation, row.status, row.code.unwrap_or_default()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_taken_in_by_reading_alone_and_once() {
    let title = "[[application.map.user]]\nto = \"title\"\nfrom = \"$.title\"\n";
    let foreign = Quirks {
        associated_domains: vec![String::from("example.com")],
        ..Quirks::default()
    };
    let house = House::with(Plan {
        sandbox: Options {
            quirks: foreign,
            ..Options::default()
        },
        ..with_tables(title)
    })
    .await;
    let ids = accounts(&house, "u", 230);
    let mut guest = body("guest");
    guest["userName"] = json!("guest@elsewhere.example");
    account(&house, &guest);
    let off =
        json!({"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": false}}]});
    let path = format!("/Users/{}", encoded(&ids[7]));
    let (status, _) = house
        .sandbox
        .state()
        .answer(Method::Patch, &path, None, Some(&off));
    assert_eq!(status, 200);
    group_there(&house, "Sales", &ids[..3]);
    group_there(&house, "Staff", &ids);

    let ended = usher(&house, "import zoom").await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let lines: Vec<Vec<&str>> = ended
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(
        lines.contains(&vec!["users", "230", "0", "230", "0"]),
        "{}",
        ended.out
    );
    assert_eq!(writing_calls(&house), 0);
    let pages = |house: &House| {
        let calls = house.sandbox.state().calls();
        calls.iter().filter(|call| call.path == "/Users").count()
    };
    assert_eq!(pages(&house), 3);

    // Lists are slim: a title is shown by a read of one alone.
    let one = here(&house, "u041");
    assert_eq!(one.attributes["title"], "Dr");
    assert_eq!(
        one.attributes["name"],
        json!({"givenName": "u041", "familyName": "Test"})
    );
    assert_eq!(
        (one.owner.as_str(), &one.attributes["active"]),
        ("", &json!(true))
    );
    assert_eq!(here(&house, "u007").attributes["active"], json!(false));
    let linked = link(&house, "u041");
    assert_eq!(linked.origin, Origin::Imported);
    assert_eq!(linked.remote_id.as_deref(), Some(ids[41].as_str()));
    assert_eq!(
        told(&house, "u041@example.com"),
        [(Operation::Import, Status::Success, String::from("created"))]
    );

    // A client reads and lists it as any other, with the groups that the application shows with it.
    let filter = "/Users?filter=userName%20eq%20%22u002%40example.com%22";
    let found = house.ask("GET", filter, None).await.expect(200);
    let groups = &found.body["Resources"][0]["groups"];
    let names: BTreeSet<&str> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["display"].as_str().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["Sales", "Staff"]));
    let all = house.ask("GET", "/Users?count=1", None).await.expect(200);
    assert_eq!(all.body["totalResults"], 230);

    // Again, after a start: the same is found, nobody is read, and nothing is made.
    let house = house.restart().await;
    house.settled().await;
    let before = house.sandbox.state().calls().len();
    let again = usher(&house, "import zoom --format json").await;
    assert_eq!(again.code, 0, "{}", again.err);
    let again: Import = serde_json::from_str(&again.out).unwrap();
    assert_eq!(users(&again), [230, 230, 0, 0]);
    assert_eq!((again.groups.found, again.groups.matched), (2, 2));
    let calls = house.sandbox.state().calls().split_off(before);
    assert!(
        calls
            .iter()
            .all(|call| matches!(call.path.as_str(), "/Users" | "/Groups")),
        "{calls:?}"
    );
    assert_eq!(writing_calls(&house), 0);
    assert_eq!(
        house.ask("GET", "/Users?count=1", None).await.body["totalResults"],
        230
    );
}

#[tokio::test]
async fn whom_the_directory_knows_is_linked_and_who_cannot_be_told_is_told() {
    let external = "[[application.map.user]]\nto = \"externalId\"\nfrom = \"$.externalId\"\n";
    let quirks = Quirks {
        external_id_kept: true,
        get_lag_ms: 1_000,
        ..Quirks::default()
    };
    let house = House::with(Plan {
        sandbox: Options {
            quirks,
            ..Options::default()
        },
        ..with_tables(&format!("{GIVE_NOTHING}{external}"))
    })
    .await;
    let with = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut body = body(name);
        change(&mut body);
        body
    };
    let mail = |address: &str| json!([{"value": address, "type": "work"}]);
    // Here: by name; by e-mail; by externalId; two with one e-mail; one who has another account there.
    user(&house, &body("ada")).await;
    user(
        &house,
        &with("bob", &|body| body["emails"] = mail("robert@example.com")),
    )
    .await;
    user(
        &house,
        &with("cyd", &|body| {
            body["externalId"] = json!("x-7");
            body["emails"] = json!([]);
        }),
    )
    .await;
    for name in ["dan", "dora"] {
        user(
            &house,
            &with(name, &|body| body["emails"] = mail("d@example.com")),
        )
        .await;
    }
    user(
        &house,
        &with("eve", &|body| body["emails"] = mail("eve.two@example.com")),
    )
    .await;
    // There.
    account(&house, &with("ADA", &|_| ()));
    account(&house, &with("robert", &|_| ()));
    account(
        &house,
        &with("zoe", &|body| body["externalId"] = json!("x-7")),
    );
    account(&house, &with("d", &|_| ()));
    account(
        &house,
        &with("eve", &|body| body["emails"] = mail("eve@example.com")),
    );
    account(&house, &with("eve.two", &|_| ()));
    account(&house, &with("new", &|_| ()));
    house.clock.advance(Duration::from_secs(2));
    account(&house, &with("late", &|_| ()));

    let done = import(&house, false).await;
    assert_eq!(users(&done), [8, 4, 1, 3], "{:?}", done.conflicts);
    for (name, there) in [
        ("ada", "ADA"),
        ("bob", "robert"),
        ("cyd", "zoe"),
        ("eve", "eve"),
    ] {
        let linked = link(&house, name);
        assert_eq!(linked.origin, Origin::Imported);
        assert_eq!(linked.seen_name, Some(format!("{there}@example.com")));
        assert_eq!(here(&house, name).owner, "okta");
    }
    let clashes: Vec<(&str, &str)> = done
        .conflicts
        .iter()
        .map(|clash| (clash.name.split('@').next().unwrap(), clash.code.as_str()))
        .collect();
    assert_eq!(
        clashes,
        [
            ("d", "ambiguous"),
            ("eve.two", "linked_elsewhere"),
            ("late", "denied")
        ]
    );
    assert_eq!(
        told(&house, "d@example.com"),
        [(
            Operation::Import,
            Status::Warning,
            String::from("ambiguous")
        )]
    );
    assert_eq!(writing_calls(&house), 0);
    // Links stand as they are, conflicts are told again, and who is shown now is taken in.
    house.clock.advance(Duration::from_secs(2));
    let again = import(&house, false).await;
    assert_eq!(users(&again), [8, 5, 1, 2], "{:?}", again.conflicts);
}

#[tokio::test]
async fn what_is_nobodys_is_in_no_plan_anywhere() {
    // A second application that knows nobody, at the same address.
    let house = House::with(with_tables("")).await;
    accounts(&house, "u", 3);
    group_there(&house, "Sales", &[]);
    import(&house, false).await;
    let crm = format!(
        "[application.groups]\npush = [\"*\"]\n[[application]]\nname = \"crm\"\nprofile = \"scim\"\nbase_url = \"{}\"\ncredentials = {{ kind = \"bearer\", token = {{ env = \"SANDBOX_TOKEN\" }} }}\n",
        house.sandbox.base_url()
    );
    // Everybody is planned again, for both.
    house.reload(&with_tables(&crm)).await;
    house.settled().await;
    let engine = house.serving.gateway.engine().unwrap();
    let mut committed = engine.store.committed();
    while engine.store.view().unwrap().sweep("crm").unwrap().is_some() {
        committed.changed().await.unwrap();
    }
    assert_eq!(
        engine
            .store
            .view()
            .unwrap()
            .due("crm", Timestamp::NEVER, 9)
            .unwrap(),
        []
    );
    assert_eq!(writing_calls(&house), 0);
    assert_eq!(link(&house, "u000").origin, Origin::Imported);
    for application in &engine.applications {
        let user = here(&house, "u000");
        let planned = plan::plan(&application.plan, Facts::of(&user, house.clock.now()));
        let note = planned.note.expect("why nothing goes");
        assert_eq!(
            (planned.act, note.status, note.code),
            (Act::Nothing, Status::Skipped, "unclaimed")
        );
        assert_eq!(planned.link.as_ref(), user.link(application.plan.name()));
    }
    assert_eq!(
        group_here(&house, "Sales").link("zoom").unwrap().origin,
        Origin::Imported
    );
    // A client that only puts them into a group of its own claims none of them.
    let id = here(&house, "u000").id;
    let group = json!({"schemas": [CORE_GROUP], "displayName": "Mine", "members": [{"value": id.as_str()}]});
    house.ask("POST", "/Groups", Some(&group)).await.expect(201);
    house.settled().await;
    assert_eq!(here(&house, "u000").owner, "");
    let (_, members) = house.sandbox.state().group("Mine").expect("pushed");
    assert_eq!(
        members,
        Vec::<String>::new(),
        "nothing is done with who is nobody's"
    );
}

#[tokio::test]
async fn groups_are_known_by_their_names_and_users_go_without_them() {
    let by_id = Quirks {
        group_ids_shown: true,
        ..Quirks::default()
    };
    let house = House::with(Plan {
        sandbox: Options {
            quirks: by_id,
            ..Options::default()
        },
        ..Plan::default()
    })
    .await;
    let ids = accounts(&house, "u", 2);
    // One that a client has; its members are the client's to say.
    let ours = json!({"schemas": [CORE_GROUP], "displayName": "ours"});
    house.ask("POST", "/Groups", Some(&ours)).await.expect(201);
    group_there(&house, "Ours", &ids);
    // Names need not be unique there.
    group_there(&house, "Twin", &ids[..1]);
    group_there(&house, "Twin", &ids[1..]);
    let away = |status| Fault {
        calls: 1,
        matching: Some((Method::Get, String::from("/Groups"))),
        what: What::Status {
            status,
            retry_after: None,
            body: None,
        },
    };
    house.sandbox.state().fail_next(away(403));
    let without = import(&house, false).await;
    assert!(without.without_groups.is_some() && without.failed.is_none());
    assert_eq!((without.groups.found, users(&without)), (0, [2, 0, 2, 0]));

    account(&house, &body("late"));
    let late = house.sandbox.state().account("late@example.com").unwrap();
    let twin = &house.sandbox.state().groups()[1].id;
    let add = json!({"schemas": [PATCH], "Operations": [{"op": "add", "path": "members", "value": [{"value": late["id"]}]}]});
    let path = format!("/Groups/{}", encoded_as_zoom(twin));
    let (status, _) = house
        .sandbox
        .state()
        .answer(Method::Patch, &path, None, Some(&add));
    assert_eq!(status, 204);
    let done = import(&house, false).await;
    let groups = done.groups;
    assert_eq!(
        (
            groups.found,
            groups.matched,
            groups.created,
            groups.conflicted
        ),
        (3, 1, 1, 1)
    );
    assert_eq!(done.conflicts[0].code, "linked_elsewhere");
    let linked = group_here(&house, "Ours");
    assert_eq!(
        (linked.owner.as_str(), linked.link("zoom").unwrap().origin),
        ("okta", Origin::Imported)
    );
    let members = async |name: &str| {
        let path = format!("/Groups/{}", group_here(&house, name).id);
        house.ask("GET", &path, None).await.expect(200).body["members"].clone()
    };
    assert_eq!(members("Ours").await, json!([]));
    let late = here(&house, "late").id;
    assert_eq!(members("Twin").await[0]["value"], late.as_str());
    assert_eq!(writing_calls(&house), 0);
}

#[tokio::test]
async fn a_clients_first_write_claims() {
    let house = House::new().await;
    accounts(&house, "u", 3);
    import(&house, false).await;
    let path_of = |name: &str| format!("/Users/{}", here(&house, name).id);
    let rename = json!([{"op": "replace", "path": "displayName", "value": "Ada"}]);
    patch(&house, &path_of("u000"), rename).await.expect(200);
    house.settled().await;
    assert_eq!(here(&house, "u000").owner, "okta");
    let linked = link(&house, "u000");
    assert_eq!((linked.origin, linked.uncertain), (Origin::Adopted, None));
    assert_eq!(
        house.sandbox.state().account("u000@example.com").unwrap()["displayName"],
        "Ada"
    );
    let rows = house.report(Query::default());
    let request = rows.iter().find(|row| row.client == "okta").unwrap();
    assert_eq!(request.operation, Operation::Update);
    // Whoever leaves by a first write leaves there, too; the third is nobody's still.
    let off = json!([{"op": "replace", "path": "active", "value": false}]);
    patch(&house, &path_of("u001"), off).await.expect(200);
    house.settled().await;
    assert_eq!(active_there(&house), 2);
    assert_eq!(link(&house, "u002").origin, Origin::Imported);
    // A group that is deleted here is nobody's to delete there.
    group_there(&house, "Sales", &[]);
    import(&house, false).await;
    let path = format!("/Groups/{}", group_here(&house, "Sales").id);
    house.ask("DELETE", &path, None).await.expect(204);
    house.settled().await;
    assert!(house.sandbox.state().group("Sales").is_some());
    assert_eq!(import(&house, false).await.groups.created, 1);
    // Whose it is now nobody else writes to: okta has it, and its externalId is its own.
    let named = json!([{"op": "add", "path": "externalId", "value": "x-1"}]);
    patch(&house, &path_of("u002"), named).await.expect(200);
    let found = house
        .ask("GET", "/Users?filter=externalId%20eq%20%22x-1%22", None)
        .await
        .expect(200);
    assert_eq!(found.body["totalResults"], 1);
}

#[tokio::test]
async fn a_policys_group_claims_and_what_it_lets_go_is_taken_away() {
    let house = House::with(with_tables(
        "[[application.policy]]\nname = \"p\"\ngroup = \"Zoom\"\n",
    ))
    .await;
    let ids = accounts(&house, "u", 3);
    // A group of the policy's name in the application decides nothing.
    group_there(&house, "Zoom", &ids);
    import(&house, false).await;
    house.settled().await;
    let zoom = group_here(&house, "Zoom");
    let members = house
        .ask("GET", &format!("/Groups/{}", zoom.id), None)
        .await
        .expect(200);
    assert_eq!(members.body["members"], json!([]));
    assert_eq!(link(&house, "u000").origin, Origin::Imported);

    let member = here(&house, "u000").id;
    let path = format!("/Groups/{}", zoom.id);
    let add = json!([{"op": "add", "path": "members", "value": [{"value": member.as_str()}]}]);
    assert!(patch(&house, &path, add).await.status < 300);
    house.settled().await;
    assert_eq!(link(&house, "u000").origin, Origin::Adopted);
    assert_eq!(link(&house, "u001").origin, Origin::Imported);
    assert_eq!(
        (here(&house, "u000").owner.as_str(), active_there(&house)),
        ("", 3)
    );
    let remove = json!([{"op": "remove", "path": format!("members[value eq \"{member}\"]")}]);
    assert!(patch(&house, &path, remove).await.status < 300);
    house.settled().await;
    assert_eq!((active_there(&house), held(&house)), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_word_claims_and_the_removals_are_counted_first() {
    // Eight leavers whose accounts were never taken away, among twenty.
    let house = House::with(with_tables("")).await;
    accounts(&house, "u", 20);
    import(&house, false).await;
    let sales = "condition = 'displayName ne \"gone\"'";
    let house = house
        .restart_with(Plan {
            application: String::from(sales),
            ..with_tables("")
        })
        .await;
    house.settled().await;
    let state = house.sandbox.state().clone();
    for number in 20..28 {
        let mut gone = body(&format!("u{number:03}"));
        gone["displayName"] = json!("gone");
        account(&house, &gone);
    }
    // What is off already is left so without a call.
    let off =
        json!({"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": false}}]});
    let path = format!("/Users/{}", encoded_as_zoom(&account(&house, &body("off"))));
    assert_eq!(state.answer(Method::Patch, &path, None, Some(&off)).0, 200);
    let done = usher(&house, "import zoom --claim --format json").await;
    let done: Import = serde_json::from_str(&done.out).unwrap();
    assert_eq!(users(&done), [29, 20, 9, 0]);
    assert_eq!(done.groups.found, 0);
    house.settled().await;
    assert_eq!(link(&house, "u003").origin, Origin::Adopted);
    assert_eq!(
        (active_there(&house), held(&house)),
        (28, 8),
        "five may go an hour: all eight wait"
    );
    // What is as it should be is read, and nothing is written.
    assert_eq!(writing_calls(&house), 0);
    let calls = state.calls().into_iter();
    let read = calls
        .filter(|call| call.path.starts_with("/Users/"))
        .count();
    assert_eq!(read, 20 + 9 + 20, "as imported, as imported, as claimed");
}

#[tokio::test]
async fn kept_ids_are_the_applications_own() {
    let house = House::with(Plan {
        application: String::from("keep_ids = true"),
        ..Plan::default()
    })
    .await;
    // Two of them hold what a path cannot hold as it is.
    let ids = accounts(&house, "u", 40);
    let group = group_there(&house, "Sales", &ids[..1]);
    import(&house, false).await;
    assert!(
        ids.iter().any(|id| id.contains('&')),
        "the sandbox's ids are Zoom's"
    );
    for (number, id) in ids.iter().enumerate() {
        let path = format!("/Users/{}", encoded(id));
        let found = house.ask("GET", &path, None).await.expect(200);
        assert_eq!(found.body["userName"], format!("u{number:03}@example.com"));
        assert_eq!(found.id(), *id);
    }
    let found = house
        .ask("GET", &format!("/Groups/{}", encoded(&group)), None)
        .await
        .expect(200);
    assert_eq!(found.body["members"][0]["value"], ids[0]);
    // One that a client makes gets one of ours.
    let made = user(&house, &body("ada")).await;
    assert_eq!(made.id().len(), 36);
    // It is its id for good, also when a client has it.
    let house = house.restart().await;
    let path = format!("/Users/{}", encoded(&ids[5]));
    let rename = json!([{"op": "replace", "path": "displayName", "value": "Ada"}]);
    assert_eq!(patch(&house, &path, rename).await.expect(200).id(), ids[5]);
    house.settled().await;
    let account = house.sandbox.state().account("u005@example.com").unwrap();
    assert_eq!(account["displayName"], "Ada");
}

#[tokio::test]
async fn an_import_goes_on_where_a_restart_ended_it() {
    let house = House::new().await;
    let ids = accounts(&house, "u", 120);
    let state = house.sandbox.state().clone();
    let held = format!("/Users/{}", encoded_as_zoom(&ids[60]));
    state.fail_next(Fault {
        calls: 1,
        matching: Some((Method::Get, held.clone())),
        what: What::Hold,
    });
    let engine = house.serving.gateway.engine().unwrap();
    let number = engine
        .begin_import(&engine.applications[0], false)
        .await
        .unwrap();
    until_called(&state, &held).await;
    drop(engine);
    // The gateway ends while that one is read.
    let (house, ()) = tokio::join!(house.restart(), async { state.release() });
    let done = ended(&house, number).await;
    assert_eq!(users(&done), [120, 0, 120, 0], "each counts once");
    let read: Vec<String> = state
        .calls()
        .into_iter()
        .map(|call| call.path)
        .filter(|path| path.len() > "/Users/".len() && path.starts_with("/Users/"))
        .collect();
    let once: BTreeSet<&String> = read.iter().collect();
    assert_eq!(once.len(), 120);
    assert!(
        read.len() < 140,
        "what was taken in is not read again: {}",
        read.len()
    );
    assert_eq!(writing_calls(&house), 0);
}

/// Waits until a call of this path has come.
async fn until_called(state: &State, path: &str) {
    let coming = async {
        let mut came = 0;
        while !state.calls().iter().any(|call| call.path == path) {
            came += 1;
            state.arrived(came).await;
        }
    };
    tokio::time::timeout(PATIENCE, coming)
        .await
        .expect("it comes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_goes_on_with_its_import() {
    let site = Site::new(&Plan::default());
    let state = site.sandbox.state().clone();
    let ids: Vec<String> = (0..120)
        .map(|number| made(&state, "/Users", &body(&format!("u{number:03}"))))
        .collect();
    let held = format!("/Users/{}", encoded_as_zoom(&ids[60]));
    state.fail_next(Fault {
        calls: 1,
        matching: Some((Method::Get, held.clone())),
        what: What::Hold,
    });
    let running = site.serve("");
    let folder = site.path().to_owned();
    let asked = tokio::task::spawn_blocking(move || run(&folder, "import zoom"));
    until_called(&state, &held).await;
    running.kill();
    let asked = asked.await.expect("no panic");
    assert_eq!(asked.code, 75, "{}", asked.err);
    let running = site.serve("");
    // Asked again before that one has ended, or after: everybody is here once.
    let folder = site.path().to_owned();
    let again = tokio::task::spawn_blocking(move || run(&folder, "import zoom --format json"));
    let again = again.await.expect("no panic");
    let again: Import = serde_json::from_str(&again.out).expect("one object");
    assert_eq!((again.users.found, again.users.conflicted), (120, 0));
    let all = running.scim().ask("GET", "/Users?count=1", None).await;
    assert_eq!(all.body["totalResults"], 120);
    let imported = site.report("--operation import --limit 1000");
    assert_eq!(imported.len(), 120, "each is in the journal once");
    assert_eq!(writes(&state), 0);
}

/// As the gateway encodes an id.
fn encoded_as_zoom(id: &str) -> String {
    const ENCODED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(id, ENCODED).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_of_what_is_away_says_so_and_the_next_goes_on() {
    let house = House::new().await;
    let ids = accounts(&house, "u", 30);
    let state = house.sandbox.state().clone();
    let fails = |calls| {
        state.fail_next(Fault {
            calls,
            matching: Some((Method::Get, format!("/Users/{}", encoded_as_zoom(&ids[20])))),
            what: What::Status {
                status: 503,
                retry_after: None,
                body: None,
            },
        });
    };
    let asked = async || {
        let passing = async {
            loop {
                // Gives the gateway's tasks the machine; how long does not matter.
                tokio::time::sleep(Duration::from_millis(1)).await;
                house.clock.advance(Duration::from_millis(500));
            }
        };
        tokio::select! {
            ended = usher(&house, "import zoom --format json") => ended,
            () = passing => unreachable!("time does not end"),
        }
    };
    fails(5);
    let failed = asked().await;
    assert_eq!(failed.code, 75, "{}", failed.err);
    assert!(
        failed
            .err
            .contains("the next import goes on where this one ended"),
        "{}",
        failed.err
    );
    // Again it gives no good answer, and the list does: it must not keep those behind it out.
    fails(5);
    let done = asked().await;
    assert_eq!(done.code, 0, "{}", done.err);
    let done: Import = serde_json::from_str(&done.out).unwrap();
    assert_eq!(users(&done), [30, 0, 29, 1]);
    assert_eq!(done.conflicts[0].remote_id, ids[20]);
    assert_eq!(done.conflicts[0].code, "unreadable");
    // And it is taken in as soon as it does.
    assert_eq!(users(&import(&house, false).await), [30, 29, 1, 0]);
}

#[tokio::test]
async fn a_schedule_imports_by_the_clock() {
    let house = House::with(with_tables("[application.import]\nevery = \"24h\"\n")).await;
    // The first one is due at the start, and finds nobody.
    let first = ended(&house, 1).await;
    assert_eq!(users(&first), [0; 4]);
    accounts(&house, "u", 2);
    house.clock.advance(Duration::from_secs(23 * 3_600));
    house.settled().await;
    let engine = house.serving.gateway.engine().unwrap();
    let number = || {
        let view = engine.store.view().unwrap();
        view.import("zoom").unwrap().unwrap().number
    };
    assert_eq!(number(), 1);
    house.clock.advance(Duration::from_secs(3_600));
    let mut committed = engine.store.committed();
    let second = async {
        while number() < 2 {
            committed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, second)
        .await
        .expect("it is due");
    let second = ended(&house, 2).await;
    assert_eq!(users(&second), [2, 0, 2, 0]);
    assert_eq!(writing_calls(&house), 0);
    drop((committed, engine));
    // A start before the next is due begins none.
    let house = house.restart().await;
    house.settled().await;
    let view = house
        .serving
        .gateway
        .engine()
        .unwrap()
        .store
        .view()
        .unwrap();
    assert_eq!(view.import("zoom").unwrap().unwrap().number, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_is_told_and_mended_as_far_as_policy_allows() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(user(&house, &body(&format!("u{number:03}"))).await.id());
    }
    house.settled().await;
    let same = usher(&house, "reconcile zoom").await;
    assert_eq!(same.code, 0, "{}{}", same.out, same.err);
    let state = house.sandbox.state().clone();
    let there = |name: &str| {
        let account = state.account(&format!("{name}@example.com")).unwrap();
        format!(
            "/Users/{}",
            encoded_as_zoom(account["id"].as_str().unwrap())
        )
    };
    // u001 goes, u002 is renamed, u003 is switched off by hand there, and guest came by nobody here.
    assert_eq!(
        state.answer(Method::Delete, &there("u001"), None, None).0,
        204
    );
    let other = json!({"schemas": [CORE_USER], "displayName": "Eve"});
    assert_eq!(
        state
            .answer(Method::Put, &there("u002"), None, Some(&other))
            .0,
        200
    );
    let switch = |on: bool| json!({"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": on}}]});
    assert_eq!(
        state
            .answer(Method::Patch, &there("u003"), None, Some(&switch(false)))
            .0,
        200
    );
    // u004 left, and an administrator let them in again.
    let off = json!([{"op": "replace", "path": "active", "value": false}]);
    patch(&house, &format!("/Users/{}", ids[4]), off)
        .await
        .expect(200);
    assert_eq!(
        state
            .answer(Method::Patch, &there("u004"), None, Some(&switch(true)))
            .0,
        200
    );
    account(&house, &body("guest"));
    let before = writing_calls(&house);
    let told = usher(&house, "reconcile zoom --format json").await;
    assert_eq!(told.code, 1, "{}", told.err);
    let found: Reconciled = serde_json::from_str(&told.out).unwrap();
    assert_eq!((found.accounts, found.links), (12, 12));
    let names = |told: &usher::settle::Told| -> Vec<String> {
        let accounts = told.accounts.iter();
        accounts
            .map(|account| account.user.split('@').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&found.missing), ["u001"]);
    assert_eq!(names(&found.foreign), ["guest"]);
    assert_eq!(names(&found.drifted), ["u002", "u003", "u004"]);
    let drifted = &found.drifted.accounts[0].attributes;
    assert_eq!(
        json!(drifted),
        json!([{"attribute": "displayName", "was": "u002", "now": "Eve"}])
    );
    house.settled().await;
    assert_eq!(writing_calls(&house), before, "telling changes nothing");

    let fixed = reconcile(&house, true).await.unwrap();
    assert_eq!((fixed.marked, fixed.left), (4, 0));
    house.settled().await;
    house.later(Duration::from_secs(60)).await;
    assert_eq!(
        state.account("u002@example.com").unwrap()["displayName"],
        "u002"
    );
    assert_eq!(state.account("u003@example.com").unwrap()["active"], true);
    assert_eq!(state.account("u004@example.com").unwrap()["active"], false);
    assert!(state.account("u001@example.com").is_some(), "made again");
    assert!(
        state.account("guest@example.com").unwrap()["active"] == true,
        "nobody's is never touched"
    );
    assert_eq!(reconcile(&house, false).await.unwrap().foreign.count, 1);
    let after = reconcile(&house, false).await.unwrap();
    assert_eq!(
        (after.missing.count, after.drifted.count),
        (0, 0),
        "{after:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_policy_keeps_is_left_and_what_is_imported_is_left() {
    let house = House::with(with_tables("[application.users]\nupdate = false\n")).await;
    accounts(&house, "u", 3);
    import(&house, false).await;
    user(&house, &body("ada")).await;
    house.settled().await;
    let state = house.sandbox.state().clone();
    for name in ["u000", "ada"] {
        let id = state.account(&format!("{name}@example.com")).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let path = format!("/Users/{}", encoded_as_zoom(&id));
        let off = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": false}}]});
        assert_eq!(state.answer(Method::Patch, &path, None, Some(&off)).0, 200);
    }
    let before = writing_calls(&house);
    let found = reconcile(&house, true).await.unwrap();
    assert_eq!((found.drifted.count, found.marked, found.left), (2, 0, 2));
    house.settled().await;
    assert_eq!(writing_calls(&house), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_that_follow_are_counted_whole() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(user(&house, &body(&format!("u{number:03}"))).await.id());
    }
    let state = house.sandbox.state().clone();
    // Six left, two hours apart by threes, and all of them were let in again there.
    for (number, id) in ids.iter().take(6).enumerate() {
        let off = json!([{"op": "replace", "path": "active", "value": false}]);
        patch(&house, &format!("/Users/{id}"), off)
            .await
            .expect(200);
        if number == 2 {
            house.later(Duration::from_secs(2 * 3_600)).await;
        }
    }
    assert_eq!(active_there(&house), 24);
    house.later(Duration::from_secs(2 * 3_600)).await;
    for number in 0..6 {
        let account = state.account(&format!("u{number:03}@example.com")).unwrap();
        let path = format!(
            "/Users/{}",
            encoded_as_zoom(account["id"].as_str().unwrap())
        );
        let on = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": true}}]});
        assert_eq!(state.answer(Method::Patch, &path, None, Some(&on)).0, 200);
    }
    let found = reconcile(&house, true).await.unwrap();
    assert_eq!((found.drifted.count, found.marked), (6, 6));
    house.settled().await;
    assert_eq!(
        (active_there(&house), held(&house)),
        (30, 6),
        "more than five at once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_too_short_is_not_believed() {
    let house = House::new().await;
    for number in 0..10 {
        user(&house, &body(&format!("u{number:03}"))).await;
    }
    let state = house.sandbox.state().clone();
    let short = |shown: usize| {
        let all = state.accounts();
        let items: Vec<Value> = all
            .into_iter()
            .take(shown)
            .map(|account| account.user)
            .collect();
        let body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": shown, "startIndex": 1, "itemsPerPage": shown, "Resources": items,
        });
        state.fail_next(Fault {
            calls: 1,
            matching: Some((Method::Get, String::from("/Users"))),
            what: What::Status {
                status: 200,
                retry_after: None,
                body: Some(body.to_string()),
            },
        });
    };
    let before = writing_calls(&house);
    short(7);
    let refused = usher(&house, "reconcile zoom --fix").await;
    assert_eq!(refused.code, 65, "{}{}", refused.out, refused.err);
    assert!(
        refused
            .err
            .contains("zoom shows 7 accounts, and 10 are linked here"),
        "{}",
        refused.err
    );
    // Eight of ten may be so; and who is not in the list is asked for before anybody says that they are gone.
    short(8);
    let found = reconcile(&house, true).await.unwrap();
    assert_eq!((found.missing.count, found.marked), (0, 0));
    // Nobody of these is linked, but there were as many the last time.
    accounts(&house, "v", 40);
    assert_eq!(reconcile(&house, false).await.unwrap().foreign.count, 40);
    short(20);
    let why = reconcile(&house, true).await.unwrap_err();
    assert!(why.contains("50 were there the last time"), "{why}");
    house.settled().await;
    assert_eq!(writing_calls(&house), before);
}

/// A SCIM server that is none of ours, as its user would: taken in, claimed by a client's write, compared, mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_server_is_taken_in_and_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((_peer, base)) = scim2_server(&folder).await else {
        return;
    };
    let shop = Knock::at(base.clone());
    let mut ids = Vec::new();
    for name in ["ada", "bob", "eve"] {
        let made = shop.ask("POST", "/Users", Some(&body(name))).await;
        ids.push(made.expect(201).id());
    }
    let staff =
        json!({"schemas": [CORE_GROUP], "displayName": "Staff", "members": [{"value": ids[0]}]});
    shop.ask("POST", "/Groups", Some(&staff)).await.expect(201);
    let all = async || {
        let users = shop.ask("GET", "/Users", None).await.expect(200).body;
        let groups = shop.ask("GET", "/Groups", None).await.expect(200).body;
        (users["Resources"].clone(), groups["Resources"].clone())
    };
    let before = all().await;

    let fast = "lookup_lag = \"0s\"\n[application.pace]\nlight = { per_second = 100000 }\nmedium = { per_second = 100000 }";
    let tables = one_more("shop", "scim", &base, fast);
    let house = House::with(Plan {
        sandbox: Options {
            token: TOKEN.to_owned(),
            ..Options::default()
        },
        ..with_tables(&tables)
    })
    .await;
    house.settled().await;
    let ended = usher(&house, "import shop --format json").await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let import: Import = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(users(&import), [3, 0, 3, 0]);
    assert_eq!((import.groups.found, import.groups.created), (1, 1));
    assert_eq!(all().await, before, "importing changes nothing there");
    let linked = here(&house, "ada");
    let linked = linked.link("shop").expect("a link");
    assert_eq!(linked.origin, Origin::Imported);
    assert_eq!(linked.remote_id.as_deref(), Some(ids[0].as_str()));
    assert_eq!(writing_calls(&house), 0, "nobody's is given to another");
    let same = usher(&house, "reconcile shop").await;
    assert_eq!(same.code, 0, "{}{}", same.out, same.err);

    // A client's first write claims: what it says goes there, and to the other application, as for anybody's.
    let named = json!([{"op": "replace", "path": "displayName", "value": "Ada King"}]);
    let path = format!("/Users/{}", here(&house, "ada").id.as_str());
    patch(&house, &path, named).await.expect(200);
    until_idle(&house, &["zoom", "shop"]).await;
    let there = format!("/Users/{}", ids[0]);
    let ada = shop.ask("GET", &there, None).await.expect(200).body;
    assert_eq!(ada["displayName"], "Ada King");
    assert_eq!(house.sandbox.state().accounts().len(), 1);

    // Somebody changes it there by hand, and makes one more.
    let other = json!({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": "Eve"}]});
    shop.ask("PATCH", &there, Some(&other)).await.expect(204);
    let guest = shop.ask("POST", "/Users", Some(&body("guest"))).await;
    guest.expect(201);
    let told = usher(&house, "reconcile shop --fix --format json").await;
    assert_eq!(told.code, 1, "{}", told.err);
    let found: Reconciled = serde_json::from_str(&told.out).unwrap();
    assert_eq!((found.drifted.count, found.foreign.count), (1, 1));
    until_idle(&house, &["zoom", "shop"]).await;
    let ada = shop.ask("GET", &there, None).await.expect(200).body;
    assert_eq!(ada["displayName"], "Ada King");
    let users = shop.ask("GET", "/Users", None).await.expect(200).body;
    assert_eq!(users["totalResults"], 4);
}

/// Waits, while the clock goes on, until nothing is due in these applications.
async fn until_idle(house: &House, applications: &[&str]) {
    let engine = house.serving.gateway.engine().unwrap();
    let idle = async {
        loop {
            let view = engine.store.view().unwrap();
            let marks = applications
                .iter()
                .map(|name| view.mark_count(name).unwrap());
            if marks.sum::<u64>() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            house.clock.advance(Duration::from_millis(5));
        }
    };
    tokio::time::timeout(PATIENCE, idle).await.expect("it ends");
}
