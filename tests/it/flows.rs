//! What people who run usher expect of it, end to end: over HTTP in, over HTTP out, and in the report.

use std::time::Duration;

use serde_json::{Value, json};
use usher::journal::record::Status;
use usher::journal::report::Query;
use usher::sandbox::{Fault, Options, Quirks, What};

use crate::house::{House, PATIENCE, Plan};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "externalId": format!("x-{name}"),
        "name": {"givenName": "Ada", "familyName": "King"}, "displayName": "Ada King",
        "emails": [{"value": name, "type": "work", "primary": true}], "active": true
    })
}

fn patch(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
}

fn application(lines: &str) -> Plan {
    Plan {
        application: lines.to_owned(),
        ..Plan::default()
    }
}

fn tables(tables: &str) -> Plan {
    Plan {
        tables: tables.to_owned(),
        ..Plan::default()
    }
}

fn status(status: u16) -> What {
    What::Status {
        status,
        retry_after: None,
        body: None,
    }
}

fn told(operation: &str, status: &str, code: &str) -> (String, String, String) {
    (operation.to_owned(), status.to_owned(), code.to_owned())
}

#[tokio::test]
async fn what_a_client_wrote_is_what_it_reads_back_also_after_a_restart() {
    let house = House::new().await;
    let mut ada = user("Ada.King@x.example");
    ada["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"] =
        json!({"department": "R&D", "manager": {"value": "26118915"}});
    ada["urn:example:badge:1.0"] = json!({"colour": "blue", "floors": [3, 1, 2]});
    ada["phoneNumbers"] =
        json!([{"type": "work", "value": "+1 (555) 0100"}, {"type": "mobile", "value": "555"}]);
    let created = house.ask("POST", "/Users", Some(&ada)).await.expect(201);
    let id = created.id();
    assert_eq!(
        created.headers["location"],
        format!("{}/Users/{id}", house.base).as_str()
    );
    assert_eq!(created.headers["etag"], "W/\"1\"");
    assert_eq!(created.headers["content-type"], "application/scim+json");
    for (key, value) in ada.as_object().expect("an object") {
        if key != "schemas" {
            assert_eq!(&created.body[key], value, "{key}");
        }
    }
    assert_eq!(created.body["meta"]["version"], "W/\"1\"");
    let house = house.restart().await;
    let read = house
        .ask("GET", &format!("/Users/{id}"), None)
        .await
        .expect(200);
    let without_meta = |mut body: Value| {
        body.as_object_mut().map(|map| map.remove("meta"));
        body
    };
    assert_eq!(without_meta(read.body), without_meta(created.body));
    let zoom = house
        .sandbox
        .state()
        .account("ada.king@x.example")
        .expect("an account");
    assert_eq!(zoom["active"], true);
}

#[tokio::test]
async fn errors_are_scim_json_and_change_nothing() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&user("a@x.example")))
        .await
        .expect(201)
        .id();
    let path = format!("/Users/{id}");
    let before = house.ask("GET", &path, None).await.expect(200).body;
    type Case<'a> = (&'a str, &'a str, Option<Value>, u16, Option<&'a str>);
    let cases: [Case<'_>; 14] = [
        (
            "POST",
            "/Users",
            Some(user("A@X.example")),
            409,
            Some("uniqueness"),
        ),
        (
            "POST",
            "/Users",
            Some(json!({"name": {"givenName": "A"}})),
            400,
            Some("invalidValue"),
        ),
        (
            "POST",
            "/Users",
            Some(json!([1])),
            400,
            Some("invalidSyntax"),
        ),
        (
            "POST",
            "/Users",
            Some(json!({"userName": 7})),
            400,
            Some("invalidValue"),
        ),
        (
            "GET",
            "/Users?filter=active%20gt%20%22x%22",
            None,
            400,
            Some("invalidFilter"),
        ),
        (
            "GET",
            "/Users?filter=userName%20eq",
            None,
            400,
            Some("invalidFilter"),
        ),
        (
            "GET",
            "/Users?filter=userName%20is%20%22x%22",
            None,
            400,
            Some("invalidFilter"),
        ),
        ("GET", "/Users/nobody", None, 404, None),
        ("GET", "/Robots", None, 404, None),
        ("PUT", "/Users", Some(user("a@x.example")), 405, None),
        (
            "PATCH",
            &path,
            Some(patch(
                json!([{"op": "dance", "path": "active", "value": true}]),
            )),
            400,
            Some("invalidSyntax"),
        ),
        (
            "PATCH",
            &path,
            Some(patch(
                json!([{"op": "replace", "path": "emails[", "value": "x"}]),
            )),
            400,
            Some("invalidPath"),
        ),
        (
            "PATCH",
            &path,
            Some(patch(json!([{"op": "remove"}]))),
            400,
            Some("noTarget"),
        ),
        (
            "PATCH",
            &path,
            Some(patch(
                json!([{"op": "replace", "path": "userName", "value": null}]),
            )),
            400,
            Some("mutability"),
        ),
    ];
    for (method, path, body, status, scim_type) in cases {
        let answer = house.ask(method, path, body.as_ref()).await;
        let told = format!("{method} {path}: {}", answer.body);
        assert_eq!(answer.status, status, "{told}");
        assert_eq!(
            answer.body["schemas"],
            json!(["urn:ietf:params:scim:api:messages:2.0:Error"]),
            "{told}"
        );
        assert_eq!(answer.body["status"], status.to_string(), "{told}");
        assert_eq!(answer.body["scimType"].as_str(), scim_type, "{told}");
        assert!(
            answer.body["detail"]
                .as_str()
                .is_some_and(|text| text.len() > 10),
            "{told}"
        );
    }
    for token in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic YTpi",
        "non-token",
    ] {
        let headers = [("authorization", token.to_owned())];
        let answer = house
            .knock
            .send("GET", "/Users", &headers, None)
            .await
            .expect("an answer");
        assert_eq!(
            (answer.status, answer.body["status"].as_str()),
            (401, Some("401")),
            "{token}"
        );
    }
    assert_eq!(house.ask("GET", &path, None).await.body, before);
    assert_eq!(
        house.ask("GET", "/Users", None).await.body["totalResults"],
        1
    );
}

#[tokio::test]
async fn lists_filter_and_page() {
    let house = House::with(application("delivery = \"queued\"\nmode = \"simulate\"")).await;
    for at in 0..25 {
        house
            .ask(
                "POST",
                "/Users",
                Some(&user(&format!("u{at:02}@x.example"))),
            )
            .await
            .expect(201);
    }
    let names = |body: &Value| -> Vec<String> {
        body["Resources"]
            .as_array()
            .expect("Resources")
            .iter()
            .map(|user| user["userName"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let mut all = Vec::new();
    for start in [1, 11, 21, 31] {
        let page = house
            .ask("GET", &format!("/Users?startIndex={start}&count=10"), None)
            .await
            .expect(200)
            .body;
        assert_eq!(page["totalResults"], 25);
        assert_eq!(
            page["itemsPerPage"].as_u64(),
            Some(names(&page).len() as u64)
        );
        all.extend(names(&page));
    }
    assert_eq!(
        all,
        (0..25)
            .map(|at| format!("u{at:02}@x.example"))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        house.ask("GET", "/Users?count=0", None).await.body["Resources"],
        json!([])
    );
    let check = async |filter: &str, want: &[&str]| {
        let filter: String = filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let body = house
            .ask("GET", &format!("/Users?filter={filter}"), None)
            .await
            .expect(200)
            .body;
        assert_eq!(names(&body), want, "{filter}");
        assert_eq!(body["totalResults"].as_u64(), Some(want.len() as u64));
    };
    check("userName eq \"U07@X.example\"", &["u07@x.example"]).await;
    check(
        "username EQ \"u07@x.example\" and externalId eq \"x-u07@x.example\"",
        &["u07@x.example"],
    )
    .await;
    check("externalId eq x-u03@x.example", &["u03@x.example"]).await;
    check("externalId eq \"X-u03@x.example\"", &[]).await;
    check("emails.value eq \"u09@x.example\"", &["u09@x.example"]).await;
    check(
        "emails[type eq \"work\"].value eq \"u09@x.example\"",
        &["u09@x.example"],
    )
    .await;
    check("emails[type eq \"home\"].value eq \"u09@x.example\"", &[]).await;
    check(
        "userName eq \"u07@x.example\" and externalId eq \"x-u08@x.example\"",
        &[],
    )
    .await;
    let id = house
        .ask("GET", "/Users?startIndex=4&count=1", None)
        .await
        .body["Resources"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    check(&format!("id eq \"{id}\""), &["u03@x.example"]).await;
}

#[tokio::test]
async fn patch_takes_the_common_forms() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&user("p@x.example")))
        .await
        .expect(201)
        .id();
    let path = format!("/Users/{id}");
    let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let steps = [
        (
            json!([{"op": "Replace", "path": "active", "value": "False"}]),
            "/active",
            json!(false),
        ),
        (
            json!([{"op": "replace", "value": {"active": true}}]),
            "/active",
            json!(true),
        ),
        (
            json!([{"op": "ADD", "path": "emails[type eq \"home\"].value", "value": "h@x.example"}]),
            "/emails/1",
            json!({"type": "home", "value": "h@x.example"}),
        ),
        (
            json!([{"op": "replace", "path": "emails[type eq \"work\"].value", "value": "w@x.example"}]),
            "/emails/0/value",
            json!("w@x.example"),
        ),
        (
            json!([{"op": "replace", "value": {"name.givenName": "Augusta", "displayName": "Augusta King"}}]),
            "/name/givenName",
            json!("Augusta"),
        ),
        (
            json!([{"op": "add", "path": format!("{urn}:department"), "value": "R&D"}]),
            &format!("/{urn}/department"),
            json!("R&D"),
        ),
        (
            json!([{"op": "remove", "path": "emails[type eq \"home\"]"}]),
            "/emails/1",
            Value::Null,
        ),
        (
            json!([{"op": "replace", "path": "NICKNAME", "value": "Ada"}]),
            "/nickName",
            json!("Ada"),
        ),
    ];
    for (operations, pointer, want) in steps {
        let answer = house
            .ask("PATCH", &path, Some(&patch(operations.clone())))
            .await
            .expect(200);
        assert_eq!(
            answer.body.pointer(pointer).cloned().unwrap_or_default(),
            want,
            "{operations}: {}",
            answer.body
        );
    }
    let zoom = house
        .sandbox
        .state()
        .account("p@x.example")
        .expect("an account");
    assert_eq!(
        (
            &zoom["displayName"],
            &zoom["active"],
            &zoom["name"]["givenName"]
        ),
        (&json!("Augusta King"), &json!(true), &json!("Augusta"))
    );
    let tag = house.ask("GET", &path, None).await.headers["etag"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(tag, "W/\"9\"", "one version a change");
}

#[tokio::test]
async fn three_idps_users_become_valid_zoom_users() {
    let house = House::new().await;
    // miniOrange sends the display name as userName, no schemas, and Unix times in meta.
    let mini = json!({"userName": "Ada King", "externalId": "5f0c", "displayName": "Ada King",
        "emails": [{"type": "work", "primary": true, "value": "ada.king@x.example"}], "active": 1, "meta": {"created": 1790000100}});
    let body = house
        .ask("POST", "/Users", Some(&mini))
        .await
        .expect(201)
        .body;
    assert_eq!(
        (&body["userName"], &body["active"]),
        (&json!("Ada King"), &json!(true))
    );
    // Google sends the address as userName and no e-mail.
    let google = json!({"userName": "grace.hopper@x.example", "name": {"givenName": "Grace", "familyName": "Hopper"}});
    house.ask("POST", "/Users", Some(&google)).await.expect(201);
    // Okta without displayName.
    let mut okta = user("olga@x.example");
    okta.as_object_mut().map(|map| map.remove("displayName"));
    house.ask("POST", "/Users", Some(&okta)).await.expect(201);
    let state = house.sandbox.state();
    let check = |name: &str, given: &str, family: &str, display: &str| {
        let zoom = state.account(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(zoom["userName"], name);
        assert_eq!(
            (
                &zoom["name"]["givenName"],
                &zoom["name"]["familyName"],
                &zoom["displayName"]
            ),
            (&json!(given), &json!(family), &json!(display))
        );
        assert_eq!(zoom["emails"][0]["value"], name);
    };
    check("ada.king@x.example", "Ada", "King", "Ada King");
    check("grace.hopper@x.example", "Grace", "Hopper", "Grace Hopper");
    check("olga@x.example", "Ada", "King", "Ada King");
}

#[tokio::test]
async fn own_rules_add_and_replace() {
    let rules = r#"
[[application.map.user]]
to = "userType"
from = "$.userType"
table = { Employee = "Licensed", Intern = "Basic" }
[[application.map.user]]
to = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department'
from = '$["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"].department'
transform = ["trim", "upper"]
redact = true
[[application.map.user]]
to = "displayName"
from = "$.nickName"
default = "Nobody"
transform = [{ prefix = "x-" }]
"#;
    let house = House::with(tables(rules)).await;
    let mut ada = user("r@x.example");
    ada["userType"] = json!("Employee");
    ada["nickName"] = json!("Countess");
    ada["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"] =
        json!({"department": " sales "});
    house.ask("POST", "/Users", Some(&ada)).await.expect(201);
    let zoom = house
        .sandbox
        .state()
        .account("r@x.example")
        .expect("an account");
    assert_eq!(
        (&zoom["userType"], &zoom["displayName"]),
        (&json!("Licensed"), &json!("x-Countess"))
    );
    assert_eq!(
        zoom["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["department"],
        "SALES"
    );
    let engine = house.serving.gateway.engine().expect("open");
    let view = engine.store.view().expect("a view");
    let record = view
        .record(view.last_sequence().expect("a sequence"))
        .expect("reads")
        .expect("a record");
    let department = record
        .changed
        .iter()
        .find(|changed| changed.attribute.contains("enterprise"))
        .expect("it changed");
    assert_eq!(
        (&department.old, &department.new),
        (&None, &None),
        "redacted"
    );
}

#[tokio::test]
async fn a_foreign_domain_is_kept_and_skipped_or_refused() {
    let house = House::with(application(
        "authorized_domains = [\"x.example\", \"*.y.example\"]",
    ))
    .await;
    for (name, code) in [
        ("a@x.example", ""),
        ("a@z.example", "foreign_domain"),
        ("a@y.example", "foreign_domain"),
        ("a@b.y.example", ""),
    ] {
        house
            .ask("POST", "/Users", Some(&user(name)))
            .await
            .expect(201);
        assert_eq!(house.last().2, code, "{name}");
        assert_eq!(
            house.sandbox.state().account(name).is_some(),
            code.is_empty(),
            "{name}"
        );
    }
    let house = House::with(application(
        "authorized_domains = [\"x.example\"]\nout_of_scope = \"refuse\"",
    ))
    .await;
    let refused = house
        .ask("POST", "/Users", Some(&user("a@z.example")))
        .await
        .expect(403);
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|text| text.contains("z.example")),
        "{}",
        refused.body
    );
    assert_eq!(
        house.ask("GET", "/Users", None).await.body["totalResults"],
        0
    );
    let id = house
        .ask("POST", "/Users", Some(&user("a@x.example")))
        .await
        .expect(201)
        .id();
    // Never for a removal: leaving the domain takes the account away and is not refused.
    let moved = json!([{"op": "replace", "value": {"userName": "a@z.example", "emails": [{"type": "work", "value": "a@z.example"}]}}]);
    house
        .ask("PATCH", &format!("/Users/{id}"), Some(&patch(moved)))
        .await
        .expect(200);
    assert_eq!(
        house
            .sandbox
            .state()
            .account("a@x.example")
            .expect("still there")["active"],
        false
    );
}

#[tokio::test]
async fn a_condition_rules_people_in_and_out() {
    let house = House::with(application("condition = 'userType ne \"Contractor\"'")).await;
    let mut ada = user("c@x.example");
    let id = house
        .ask("POST", "/Users", Some(&ada))
        .await
        .expect(201)
        .id();
    let path = format!("/Users/{id}");
    let active = || {
        house
            .sandbox
            .state()
            .account("c@x.example")
            .expect("an account")["active"]
            .clone()
    };
    assert_eq!(active(), true, "absent is null, and null is not Contractor");
    ada["userType"] = json!("Contractor");
    house.ask("PUT", &path, Some(&ada)).await.expect(200);
    assert_eq!(active(), false, "on_leave deactivates");
    assert_eq!(house.last(), told("deactivate", "success", "condition"));
    ada["userType"] = json!("Employee");
    house.ask("PUT", &path, Some(&ada)).await.expect(200);
    assert_eq!(
        active(),
        true,
        "and coming back reactivates the same account"
    );
    assert_eq!(house.sandbox.state().accounts().len(), 1);
}

#[tokio::test]
async fn the_switches_are_obeyed() {
    let house = House::with(tables("[application.users]\ncreate = false")).await;
    house
        .ask("POST", "/Users", Some(&user("s@x.example")))
        .await
        .expect(201);
    assert_eq!(house.last(), told("create", "skipped", "create_off"));
    assert!(house.sandbox.state().accounts().is_empty());

    let house = House::with(tables(
        "[application.users]\nupdate = false\ndelete = false",
    ))
    .await;
    let id = house
        .ask("POST", "/Users", Some(&user("s@x.example")))
        .await
        .expect(201)
        .id();
    let path = format!("/Users/{id}");
    house
        .ask(
            "PATCH",
            &path,
            Some(&patch(
                json!([{"op": "replace", "path": "displayName", "value": "New"}]),
            )),
        )
        .await
        .expect(200);
    assert_eq!(house.last(), told("update", "skipped", "update_off"));
    house.ask("DELETE", &path, None).await.expect(204);
    assert_eq!(house.last(), told("deactivate", "skipped", "delete_off"));
    let zoom = house
        .sandbox
        .state()
        .account("s@x.example")
        .expect("untouched");
    assert_eq!(
        (&zoom["active"], &zoom["displayName"]),
        (&json!(true), &json!("Ada King"))
    );
}

#[tokio::test]
async fn a_delete_deactivates_at_once_and_deletes_after_a_week() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&user("d@x.example")))
        .await
        .expect(201)
        .id();
    house
        .ask("DELETE", &format!("/Users/{id}"), None)
        .await
        .expect(204);
    house
        .ask("GET", &format!("/Users/{id}"), None)
        .await
        .expect(404);
    let account = |house: &House| house.sandbox.state().account("d@x.example");
    assert_eq!(account(&house).expect("still there")["active"], false);
    house.later(WEEK - Duration::from_secs(60)).await;
    assert!(account(&house).is_some());
    let house = house.restart().await;
    house.later(Duration::from_secs(120)).await;
    assert!(
        account(&house).is_none(),
        "gone after delete_after, across a restart"
    );
    let engine = house.serving.gateway.engine().expect("open");
    assert_eq!(
        engine
            .store
            .view()
            .expect("a view")
            .mark_count("zoom")
            .expect("a count"),
        0
    );
}

#[tokio::test]
async fn a_new_user_of_the_same_name_takes_the_account_over() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&user("t@x.example")))
        .await
        .expect(201)
        .id();
    let zoom_id = house.sandbox.state().account("t@x.example").expect("there")["id"].clone();
    house
        .ask("DELETE", &format!("/Users/{id}"), None)
        .await
        .expect(204);
    let again = house
        .ask("POST", "/Users", Some(&user("T@x.example")))
        .await
        .expect(201)
        .id();
    assert_ne!(id, again, "ids are never reused");
    let zoom = house.sandbox.state().account("t@x.example").expect("there");
    assert_eq!((&zoom["id"], &zoom["active"]), (&zoom_id, &json!(true)));
    house.later(WEEK * 2).await;
    assert_eq!(
        house
            .sandbox
            .state()
            .account("t@x.example")
            .expect("the deletion is off the table")["active"],
        true
    );
}

#[tokio::test]
async fn what_on_delete_and_on_leave_say() {
    let keep = House::with(tables("[application.users]\non_delete = \"keep\"")).await;
    let id = keep
        .ask("POST", "/Users", Some(&user("k@x.example")))
        .await
        .expect(201)
        .id();
    keep.ask("DELETE", &format!("/Users/{id}"), None)
        .await
        .expect(204);
    assert_eq!(keep.last(), told("deactivate", "skipped", "keep"));
    assert_eq!(
        keep.sandbox.state().account("k@x.example").expect("kept")["active"],
        true
    );

    let now = House::with(tables("[application.users]\ndelete_after = \"0s\"")).await;
    let id = now
        .ask("POST", "/Users", Some(&user("k@x.example")))
        .await
        .expect(201)
        .id();
    now.ask("DELETE", &format!("/Users/{id}"), None)
        .await
        .expect(204);
    assert!(now.sandbox.state().account("k@x.example").is_none());

    let plan = Plan {
        application: String::from("condition = 'title ne \"gone\"'"),
        tables: String::from(
            "[application.users]\non_leave = \"delete\"\ndelete_after = \"0s\"\nleave_after = \"1h\"",
        ),
        ..Plan::default()
    };
    let leave = House::with(plan).await;
    let path = format!(
        "/Users/{}",
        leave
            .ask("POST", "/Users", Some(&user("l@x.example")))
            .await
            .expect(201)
            .id()
    );
    let title = |title: &str| patch(json!([{"op": "replace", "path": "title", "value": title}]));
    leave
        .ask("PATCH", &path, Some(&title("gone")))
        .await
        .expect(200);
    assert_eq!(leave.last().2, "leave_after");
    leave.later(Duration::from_secs(1800)).await;
    leave
        .ask("PATCH", &path, Some(&title("back")))
        .await
        .expect(200);
    leave.later(Duration::from_secs(7200)).await;
    assert!(
        leave.sandbox.state().account("l@x.example").is_some(),
        "coming back cancels"
    );
    leave
        .ask("PATCH", &path, Some(&title("gone")))
        .await
        .expect(200);
    leave.later(Duration::from_secs(3601)).await;
    assert!(leave.sandbox.state().account("l@x.example").is_none());
}

#[tokio::test]
async fn the_safety_limit_holds_and_only_coming_back_cancels() {
    let house = House::with(tables(
        "[application.safety]\nmax_removals = 2\nprotected = [\"boss@*\"]",
    ))
    .await;
    let mut paths = Vec::new();
    for at in 0..5 {
        let id = house
            .ask("POST", "/Users", Some(&user(&format!("h{at}@x.example"))))
            .await
            .expect(201)
            .id();
        paths.push(format!("/Users/{id}"));
    }
    let off = patch(json!([{"op": "replace", "path": "active", "value": false}]));
    let on = patch(json!([{"op": "replace", "path": "active", "value": true}]));
    let inactive = || {
        house
            .sandbox
            .state()
            .accounts()
            .iter()
            .filter(|account| !account.active)
            .count()
    };
    for (at, path) in paths.iter().enumerate().take(4) {
        house.ask("PATCH", path, Some(&off)).await.expect(200);
        assert_eq!(house.last().1, if at < 2 { "success" } else { "held" });
    }
    assert_eq!(inactive(), 2);
    // Time alone never releases.
    house.later(Duration::from_secs(86_400)).await;
    assert_eq!(inactive(), 2);
    // All after it are held as well.
    house.ask("PATCH", &paths[4], Some(&off)).await.expect(200);
    assert_eq!(house.last(), told("deactivate", "held", "safety_limit"));
    for path in &paths[2..] {
        house.ask("PATCH", path, Some(&on)).await.expect(200);
    }
    assert_eq!(inactive(), 2);
    house.ask("PATCH", &paths[4], Some(&off)).await.expect(200);
    assert_eq!(inactive(), 3, "with no hold left, a new window is open");
    let calls = house.sandbox.state().calls().len();
    house
        .ask("POST", "/Users", Some(&user("boss@x.example")))
        .await
        .expect(201);
    assert_eq!(house.last(), told("create", "skipped", "protected"));
    assert_eq!(
        house.sandbox.state().calls().len(),
        calls,
        "such accounts get no call at all"
    );
}

#[tokio::test]
async fn simulate_sends_nothing_and_going_live_sends_it() {
    let house = House::with(application("mode = \"simulate\"")).await;
    house
        .ask("POST", "/Users", Some(&user("m@x.example")))
        .await
        .expect(201);
    assert_eq!(house.last(), told("create", "skipped", "simulate"));
    let calls = house.report(Query::default())[0].calls.clone();
    assert_eq!(
        (
            calls.len(),
            calls[0].method.as_str(),
            calls[0].path.as_str()
        ),
        (1, "POST", "/Users")
    );
    house.later(WEEK).await;
    assert!(house.sandbox.state().calls().is_empty());
    let house = house.restart_with(Plan::default()).await;
    house.sandbox.state().arrived(1).await;
    house.settled().await;
    assert!(house.sandbox.state().account("m@x.example").is_some());
}

/// An application that never answers must not hold a drain up: the call is cut, and what it was for is a mark.
#[tokio::test]
async fn a_drain_cuts_a_call_that_hangs() {
    let house = House::with(application("delivery = \"queued\"")).await;
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Hold,
    });
    house
        .ask("POST", "/Users", Some(&user("hang@x.example")))
        .await
        .expect(201);
    house.sandbox.state().arrived(1).await;
    let engine = house.serving.gateway.engine().expect("open");
    engine.cut.send_replace(true);
    drop(engine);
    let house = house.restart().await;
    house.sandbox.state().release();
    house.later(Duration::from_secs(60)).await;
    assert_eq!(house.sandbox.state().accounts().len(), 1, "made once");
    assert_eq!(house.report(Query::default())[0].status, Status::Success);
}

#[tokio::test]
async fn an_account_that_is_there_is_adopted_or_left_alone() {
    let seed = |house: &House| {
        let (status, _) = house.sandbox.state().answer(usher::provision::call::Method::Post, "/Users", None, Some(&json!({
            "schemas": ["x"], "userName": "there@x.example", "name": {"givenName": "Old", "familyName": "Name"}
        })));
        assert_eq!(status, 201);
    };
    let house = House::new().await;
    seed(&house);
    house
        .ask("POST", "/Users", Some(&user("there@x.example")))
        .await
        .expect(201);
    assert_eq!(house.last(), told("adopt", "success", "adopted"));
    assert_eq!(
        house
            .sandbox
            .state()
            .account("there@x.example")
            .expect("there")["displayName"],
        "Ada King"
    );
    let put = house
        .sandbox
        .state()
        .calls()
        .into_iter()
        .find(|call| call.method == "PUT")
        .expect("a PUT");
    let body = put.body.expect("a body");
    assert!(
        body.get("userName").is_none() && body.get("emails").is_none(),
        "the first update after adopting changes neither: {body}"
    );

    let house = House::with(application("adopt = false")).await;
    seed(&house);
    let refused = house
        .ask("POST", "/Users", Some(&user("there@x.example")))
        .await
        .expect(409);
    assert_eq!(refused.body["scimType"], "uniqueness");
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|text| text.contains("zoom"))
    );
    assert_eq!(
        house.ask("GET", "/Users", None).await.body["totalResults"],
        0,
        "the directory stays"
    );
    assert_eq!(
        house
            .sandbox
            .state()
            .account("there@x.example")
            .expect("there")["displayName"],
        "Old Name"
    );
}

#[tokio::test]
async fn one_account_is_never_two_peoples() {
    let house = House::new().await;
    house
        .ask("POST", "/Users", Some(&user("one@x.example")))
        .await
        .expect(201);
    let mut other = user("one@x.example");
    other["userName"] = json!("Somebody Else");
    let refused = house.ask("POST", "/Users", Some(&other)).await.expect(409);
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|text| text.contains("one@x.example")),
        "{}",
        refused.body
    );
}

#[tokio::test]
async fn an_outage_is_queued_or_refused_and_never_a_4xx() {
    let house = House::new().await;
    let address = house.sandbox.address();
    let state = house.sandbox.state().clone();
    for code in [500, 429, 401, 403] {
        house.sandbox.state().fail_next(Fault {
            calls: 1,
            matching: None,
            what: status(code),
        });
        let name = format!("q{code}@x.example");
        house
            .ask_in_time("POST", "/Users", Some(&user(&name)))
            .await
            .expect(201);
        let row = house.report(Query::default()).remove(0);
        // After a 500 nobody knows; the others surely had no effect.
        let want = if code == 500 {
            Status::Unknown
        } else {
            Status::Queued
        };
        assert_eq!(row.status, want, "{code}: {row:?}");
        house.later(Duration::from_secs(120)).await;
        assert!(
            house.sandbox.state().account(&name).is_some(),
            "{code}: sent afterwards"
        );
        assert_eq!(
            house.report(Query::default())[0].status,
            Status::Success,
            "{code}: and the report says so"
        );
    }
    let House {
        sandbox,
        serving,
        clock,
        knock,
        ..
    } = house;
    sandbox.stop().await;
    knock
        .ask("POST", "/Users", Some(&user("down@x.example")))
        .await
        .expect(201);
    let sandbox =
        usher::sandbox::Sandbox::resume(address, state).expect("it is back on the same address");
    let engine = serving.gateway.engine().expect("open");
    let mut committed = engine.store.committed();
    clock.advance(Duration::from_secs(120));
    let arrived = async {
        while sandbox.state().account("down@x.example").is_none() {
            committed.changed().await.expect("the store lives");
        }
    };
    tokio::time::timeout(PATIENCE, arrived)
        .await
        .expect("sent once it is back");
    assert_eq!(sandbox.state().accounts().len(), 5, "nobody twice");
}

#[tokio::test]
async fn refuse_answers_503_where_nothing_was_sent_and_keeps_nothing() {
    let house = House::with(application("when_unavailable = \"refuse\"")).await;
    let id = house
        .ask("POST", "/Users", Some(&user("first@x.example")))
        .await
        .expect(201)
        .id();
    let House {
        sandbox,
        serving,
        knock,
        ..
    } = house;
    sandbox.stop().await;
    for _ in 0..2 {
        let refused = knock
            .ask("POST", "/Users", Some(&user("late@x.example")))
            .await
            .expect(503);
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(refused.body["status"], "503");
    }
    assert_eq!(
        knock.ask("GET", "/Users", None).await.body["totalResults"],
        1
    );
    // Nor does the report say that anything of it waits.
    let engine = serving.gateway.engine().expect("it is open");
    let late = Query {
        user_prefix: Some(String::from("late@x.example")),
        limit: 10,
        ..Query::default()
    };
    let rows = engine.store.view().expect("a view").journal(&late);
    let rows = rows.expect("a report");
    let statuses: Vec<Status> = rows.iter().map(|row| row.status).collect();
    assert_eq!(statuses, [Status::Failure; 2], "{rows:?}");
    // A removal is always committed, whatever the application answers.
    knock
        .ask("DELETE", &format!("/Users/{id}"), None)
        .await
        .expect(204);
    knock
        .ask("GET", &format!("/Users/{id}"), None)
        .await
        .expect(404);
}

#[tokio::test]
async fn a_refusal_for_good_reaches_the_client_and_changes_nothing() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&user("g@x.example")))
        .await
        .expect(201)
        .id();
    let body = Some(String::from(
        "{\"detail\":\"Names must not rhyme.\",\"status\":400}",
    ));
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Status {
            status: 400,
            retry_after: None,
            body,
        },
    });
    let change = patch(json!([{"op": "replace", "path": "displayName", "value": "Rhyme Time"}]));
    let refused = house
        .ask("PATCH", &format!("/Users/{id}"), Some(&change))
        .await
        .expect(400);
    assert_eq!(
        refused.body["detail"],
        "zoom refused this (400): Names must not rhyme."
    );
    let user = house.ask("GET", &format!("/Users/{id}"), None).await.body;
    assert_eq!(
        (&user["displayName"], &user["meta"]["version"]),
        (&json!("Ada King"), &json!("W/\"1\""))
    );
    assert_eq!(house.last(), told("update", "failure", "refused"));
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_account() {
    for what in [
        What::LoseBefore,
        What::LoseAfter,
        What::Garbage,
        What::CutAfter(40),
    ] {
        let house = House::new().await;
        let told = format!("{what:?}");
        house.sandbox.state().fail_next(Fault {
            calls: 1,
            matching: None,
            what,
        });
        house
            .ask("POST", "/Users", Some(&user("lost@x.example")))
            .await
            .expect(201);
        house.settled().await;
        house.later(Duration::from_secs(31)).await;
        assert_eq!(house.sandbox.state().accounts().len(), 1, "{told}");
        assert_eq!(
            house.report(Query::default())[0].status,
            Status::Success,
            "{told}"
        );
        let posts = house
            .sandbox
            .state()
            .calls()
            .iter()
            .filter(|call| call.method == "POST" && call.effect)
            .count();
        assert_eq!(posts, 1, "{told}");
    }
}

#[tokio::test]
async fn a_slow_application_does_not_keep_the_client_waiting() {
    let house = House::new().await;
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Hold,
    });
    let asking = {
        let knock = house.knock.clone();
        tokio::spawn(async move {
            knock
                .ask("POST", "/Users", Some(&user("slow@x.example")))
                .await
        })
    };
    house.sandbox.state().arrived(1).await;
    house.clock.advance(Duration::from_secs(5));
    let answer = asking.await.expect("no panic").expect(201);
    assert_eq!(answer.body["userName"], "slow@x.example");
    assert_eq!(
        house.last().1,
        "unknown",
        "after `wait` it is not known whether it took effect"
    );
    house.sandbox.state().release();
    house.later(Duration::from_secs(60)).await;
    assert_eq!(house.sandbox.state().accounts().len(), 1);
    assert_eq!(house.last().1, "success");
}

#[tokio::test]
async fn a_pending_account_is_said_and_not_made_again() {
    let sandbox = Options {
        quirks: Quirks {
            associated_domains: vec![String::from("x.example")],
            ..Quirks::default()
        },
        ..Options::default()
    };
    let house = House::with(Plan {
        sandbox,
        ..Plan::default()
    })
    .await;
    house
        .ask("POST", "/Users", Some(&user("p@elsewhere.example")))
        .await
        .expect(201);
    assert_eq!(house.last(), told("create", "warning", "pending"));
    house.later(Duration::from_secs(7200)).await;
    let posts = || {
        house
            .sandbox
            .state()
            .calls()
            .iter()
            .filter(|call| call.method == "POST")
            .count()
    };
    assert_eq!(posts(), 1);
    assert!(house.sandbox.state().accept("p@elsewhere.example"));
    house.later(Duration::from_secs(7200)).await;
    assert_eq!(house.report(Query::default())[0].status, Status::Success);
    assert_eq!(posts(), 1);
}

#[tokio::test]
async fn what_the_application_drops_is_said_once() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&user("old@x.example")))
        .await
        .expect(201)
        .id();
    let mut renamed = user("new@x.example");
    renamed["emails"][0]["value"] = json!("old@x.example");
    house
        .ask("PUT", &format!("/Users/{id}"), Some(&renamed))
        .await
        .expect(200);
    assert_eq!(house.last(), told("update", "warning", "not_applied"));
    let calls = house.sandbox.state().calls().len();
    house
        .ask("PUT", &format!("/Users/{id}"), Some(&renamed))
        .await
        .expect(200);
    assert_eq!(
        house.last(),
        told("update", "success", "unchanged"),
        "no loop"
    );
    assert_eq!(
        house.sandbox.state().calls().len(),
        calls,
        "the no-op shield"
    );
}

#[tokio::test]
async fn groups_live_on_edges() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for at in 0..3 {
        ids.push(
            house
                .ask("POST", "/Users", Some(&user(&format!("g{at}@x.example"))))
                .await
                .expect(201)
                .id(),
        );
    }
    let group = json!({"displayName": "Staff", "members": [{"value": ids[0]}]});
    let made = house.ask("POST", "/Groups", Some(&group)).await.expect(201);
    let path = format!("/Groups/{}", made.id());
    house
        .ask("POST", "/Groups", Some(&json!({"displayName": "STAFF"})))
        .await
        .expect(409);
    let members = async || -> Vec<String> {
        let body = house.ask("GET", &path, None).await.expect(200).body;
        let members = body["members"].as_array().expect("members");
        members
            .iter()
            .map(|member| member["value"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(members().await, [ids[0].clone()]);
    let steps = [
        (
            json!([{"op": "add", "path": "members", "value": [{"value": ids[1]}, {"value": ids[2]}, {"value": ids[1]}]}]),
            vec![0, 1, 2],
        ),
        (
            json!([{"op": "Remove", "path": "members", "value": [{"value": ids[1]}]}]),
            vec![0, 2],
        ),
        (
            json!([{"op": "remove", "path": format!("members[value eq \"{}\"]", ids[0])}]),
            vec![2],
        ),
        (
            json!([{"op": "replace", "path": "members", "value": [{"value": ids[0]}, {"value": ids[1]}]}]),
            vec![0, 1],
        ),
        (
            json!([{"op": "replace", "value": {"id": "x", "displayName": "Crew"}}]),
            vec![0, 1],
        ),
        (json!([{"op": "remove", "path": "members"}]), vec![]),
    ];
    for (operations, want) in steps {
        house
            .ask("PATCH", &path, Some(&patch(operations.clone())))
            .await
            .expect(200);
        assert_eq!(
            members().await,
            want.iter()
                .map(|at: &usize| ids[*at].clone())
                .collect::<Vec<_>>(),
            "{operations}"
        );
    }
    house
        .ask(
            "PATCH",
            &path,
            Some(&patch(
                json!([{"op": "replace", "path": "members", "value": [{"value": "nobody"}]}]),
            )),
        )
        .await
        .expect(400);
    house
        .ask(
            "PUT",
            &path,
            Some(&json!({"displayName": "Crew", "members": [{"value": ids[2]}]})),
        )
        .await
        .expect(200);
    house
        .ask("PUT", &path, Some(&json!({"displayName": "Crew"})))
        .await
        .expect(200);
    assert_eq!(
        members().await,
        [ids[2].clone()],
        "a PUT without members keeps them"
    );
    let user = house
        .ask("GET", &format!("/Users/{}", ids[2]), None)
        .await
        .body;
    assert_eq!(
        (&user["groups"][0]["display"], &user["groups"][0]["value"]),
        (&json!("Crew"), &json!(made.id()))
    );
    let found = house
        .ask(
            "GET",
            "/Groups?filter=displayName%20eq%20%22crew%22&excludedAttributes=members",
            None,
        )
        .await
        .expect(200)
        .body;
    assert_eq!(found["totalResults"], 1);
    assert!(found["Resources"][0].get("members").is_none());
    house
        .ask("DELETE", &format!("/Users/{}", ids[2]), None)
        .await
        .expect(204);
    assert!(members().await.is_empty(), "who is deleted is no member");
    house.ask("DELETE", &path, None).await.expect(204);
    house.ask("GET", &path, None).await.expect(404);
}

#[tokio::test]
async fn clients_own_what_they_make_and_may_be_read_only() {
    let second = format!(
        "[[client]]\nname = \"entra\"\ntoken_sha256 = [\"{}\"]\nread_only = false",
        usher::auth::hash(b"second-token-second-token-second")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    );
    let house = House::with(Plan {
        tables: second,
        ..Plan::default()
    })
    .await;
    let id = house
        .ask("POST", "/Users", Some(&user("own@x.example")))
        .await
        .expect(201)
        .id();
    let headers = [(
        "authorization",
        String::from("bearer second-token-second-token-second"),
    )];
    let path = format!("/Users/{id}");
    assert_eq!(
        house
            .knock
            .send("GET", &path, &headers, None)
            .await
            .expect("an answer")
            .status,
        200
    );
    let refused = house
        .knock
        .send("DELETE", &path, &headers, None)
        .await
        .expect("an answer")
        .expect(403);
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|text| text.contains("okta"))
    );

    let house = House::with(Plan {
        client: String::from("read_only = true"),
        ..Plan::default()
    })
    .await;
    house
        .ask("POST", "/Users", Some(&user("own@x.example")))
        .await
        .expect(403);
    house.ask("GET", "/Users", None).await.expect(200);
}

#[tokio::test]
async fn every_write_is_in_the_journal_and_the_chain_holds() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&user("j@x.example")))
        .await
        .expect(201)
        .id();
    let mut secret = user("k@x.example");
    secret["password"] = json!("canary-3f81");
    house.ask("POST", "/Users", Some(&secret)).await.expect(201);
    house.ask("POST", "/Users", Some(&secret)).await.expect(409);
    house
        .ask(
            "PATCH",
            &format!("/Users/{id}"),
            Some(&patch(
                json!([{"op": "replace", "path": "displayName", "value": "J"}]),
            )),
        )
        .await
        .expect(200);
    house
        .ask("PATCH", "/Users/nobody", Some(&patch(json!([]))))
        .await
        .expect(404);
    house
        .ask("DELETE", &format!("/Users/{id}"), None)
        .await
        .expect(204);
    let engine = house.serving.gateway.engine().expect("open");
    let view = engine.store.view().expect("a view");
    let last = view.last_sequence().expect("a sequence");
    assert_eq!(last, 6, "one request each");
    assert_eq!(view.verify_chain(1, last).expect("reads"), None);
    for sequence in 1..=last {
        let record = view.record(sequence).expect("reads").expect("a record");
        let text = serde_json::to_string(&record).expect("JSON");
        assert!(
            !text.contains("canary")
                && !text.contains(crate::house::TOKEN)
                && !text.contains("sandbox-token"),
            "{text}"
        );
        assert!(
            !record.request.is_empty() && record.client == "okta",
            "{text}"
        );
    }
    drop(view);
    let bytes = std::fs::read(house.folder().join("usher.redb")).expect("the file");
    assert!(
        !bytes.windows(6).any(|window| window == b"canary"),
        "passwords never leave memory"
    );
}

/// A row that does not read is its own trouble, and nobody else's: whoever stands in line behind it goes on.
#[tokio::test]
async fn a_damaged_row_keeps_nobody_else_waiting() {
    let house = House::with(Plan {
        pace: Some((100_000, 100_000, 1)),
        ..Plan::default()
    })
    .await;
    house.sandbox.state().fail_next(Fault {
        calls: 1_000,
        matching: None,
        what: What::Status {
            status: 503,
            retry_after: None,
            body: None,
        },
    });
    for name in ["ada@x.example", "bob@x.example"] {
        let made = house.ask_in_time("POST", "/Users", Some(&user(name))).await;
        made.expect(201);
    }
    // Whoever is first in line.
    let engine = house.serving.gateway.engine().expect("it is open");
    let later = house.clock.now().plus(WEEK);
    let due = engine.store.view().expect("a view").due("zoom", later, 9);
    let due = due.expect("marks");
    assert_eq!(due.len(), 2);
    let first = due[0].handle.0;
    drop(engine);
    let house = house
        .restart_after(|folder| {
            const ROWS: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("rows");
            let db = redb::Database::open(folder.join("usher.redb")).expect("a data file");
            let transaction = db.begin_write().expect("writes");
            {
                let mut rows = transaction.open_table(ROWS).expect("rows");
                let row = redb::ReadableTable::get(&rows, first).expect("reads");
                let mut bytes = row.expect("a row").value().to_vec();
                *bytes.last_mut().expect("bytes") ^= 1;
                rows.insert(first, bytes.as_slice()).expect("written");
            }
            transaction.commit().expect("on disk");
        })
        .await;
    house.sandbox.state().reset();
    let engine = house.serving.gateway.engine().expect("it is open");
    let mut committed = engine.store.committed();
    house.clock.advance(WEEK);
    let goes_on = async {
        while house.sandbox.state().accounts().is_empty() {
            committed.changed().await.expect("the store lives");
        }
    };
    tokio::time::timeout(PATIENCE, goes_on)
        .await
        .expect("the other one is not kept waiting");
}
