//! What identity providers need of the answers, beyond how their requests are read: one test a way of theirs. `facts.rs`
//! says which fact is shown where.

use std::time::Duration;

use serde_json::{Value, json};
use usher::sandbox::{Fault, Options, Quirks, What};

use crate::house::{Answer, House, Plan, TOKEN};

const SCIM: &str = "application/scim+json";
const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
        "name": {"givenName": "Ada", "familyName": "King"},
        "emails": [{"value": name, "type": "work", "primary": true}], "active": true
    })
}

fn patch(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
}

fn client(lines: &str) -> Plan {
    Plan {
        client: lines.to_owned(),
        ..Plan::default()
    }
}

async fn create(house: &House, endpoint: &str, body: &Value) -> String {
    house
        .ask("POST", endpoint, Some(body))
        .await
        .expect(201)
        .id()
}

fn kind(answer: &Answer) -> &str {
    answer.headers["content-type"].to_str().expect("text")
}

/// Checks that an answer is a SCIM error as IdPs read it.
fn check_error(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(kind(answer), SCIM);
    assert_eq!(
        answer.body["schemas"],
        json!(["urn:ietf:params:scim:api:messages:2.0:Error"])
    );
    assert_eq!(answer.body["status"], status.to_string());
    assert!(answer.body["detail"].is_string());
}

#[tokio::test]
async fn a_probe_for_nobody_is_an_empty_list_and_never_a_404() {
    let house = House::new().await;
    for target in [
        "/Users?filter=userName+eq+%2200000000-aaaa-4bbb-8ccc-0123456789ab%22",
        "/Groups?excludedAttributes=members&filter=displayName+eq+%2200000000-aaaa-4bbb-8ccc-0123456789ab%22",
        "/Users?filter=externalId+eq+%22nobody%22",
        "/Users?filter=emails%5Btype+eq+%22work%22%5D.value+eq+%22nobody%40x.example%22",
        "/Users?filter=id+eq+%22nobody%22",
        "/Users?filter=userName+eq+%22onelogin-probe-none%22&",
        "/Users",
        "/Users?",
        "/Groups",
        "/Users?count=1",
        "/Users?startIndex=1&count=2",
        "/Groups?startIndex=1&count=100",
    ] {
        let answer = house.ask("GET", target, None).await.expect(200);
        assert_eq!(kind(&answer), SCIM);
        assert_eq!(answer.body["schemas"], json!([LIST]), "{target}");
        assert_eq!(answer.body["totalResults"], 0, "{target}");
        assert_eq!(answer.body["Resources"], json!([]), "{target}");
    }
}

#[tokio::test]
async fn every_answer_is_scim_json_also_when_the_application_answers_html() {
    let house = House::new().await;
    let id = create(&house, "/Users", &user("a@x.example")).await;
    let path = format!("/Users/{id}");
    for answer in [
        house.ask("GET", &path, None).await.expect(200),
        house.ask("GET", "/Users", None).await.expect(200),
        house
            .ask("PUT", &path, Some(&user("a@x.example")))
            .await
            .expect(200),
        house
            .ask("PATCH", &path, Some(&patch(json!([]))))
            .await
            .expect(200),
    ] {
        assert_eq!(kind(&answer), SCIM);
    }
    check_error(&house.ask("GET", "/Users/nobody", None).await, 404);
    check_error(&house.ask("GET", "/Nothing", None).await, 404);
    check_error(
        &house
            .ask("POST", "/Users", Some(&user("a@x.example")))
            .await,
        409,
    );
    check_error(&house.ask("DELETE", "/Users", None).await, 405);
    check_error(&house.ask("POST", "/Users", Some(&json!([]))).await, 400);
    let foreign = [(
        "authorization",
        String::from(
            "Bearer eyJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL3N0cy53aW5kb3dzLm5ldC8ifQ.c2ln",
        ),
    )];
    let refused = house.knock.send("GET", "/Users", &foreign, None).await;
    check_error(&refused.expect("an answer"), 401);
    // A proxy's page in front of the application is not handed on.
    house.sandbox.state().fail_next(Fault {
        calls: 1,
        matching: None,
        what: What::Status {
            status: 502,
            retry_after: None,
            body: Some(String::from("<html>Bad gateway</html>")),
        },
    });
    let answer = house
        .ask_in_time("POST", "/Users", Some(&user("b@x.example")))
        .await
        .expect(201);
    assert_eq!(kind(&answer), SCIM);
    assert_eq!(answer.body["userName"], "b@x.example");
}

#[tokio::test]
async fn okta_reads_pages_by_numbers_in_a_stable_order() {
    let house = House::new().await;
    for at in 0..5 {
        create(&house, "/Users", &user(&format!("u{at}@x.example"))).await;
    }
    let mut seen = Vec::new();
    for (start, shown) in [(1, 2), (3, 2), (5, 1), (7, 0)] {
        let target = format!("/Users?startIndex={start}&count=2");
        let page = house.ask("GET", &target, None).await.expect(200).body;
        assert_eq!(page["totalResults"], 5, "a number");
        assert_eq!(page["startIndex"], start, "a number");
        assert_eq!(page["itemsPerPage"], shown, "a number");
        let resources = page["Resources"].as_array().expect("Resources").clone();
        assert_eq!(resources.len(), shown);
        assert_eq!(
            house.ask("GET", &target, None).await.body["Resources"],
            page["Resources"]
        );
        seen.extend(resources.iter().map(|user| user["userName"].clone()));
    }
    let wanted: Vec<Value> = (0..5).map(|at| json!(format!("u{at}@x.example"))).collect();
    assert_eq!(seen, wanted);
    // authentik goes on from where it is without a count, until it has seen them all.
    let rest = house
        .ask("GET", "/Users?startIndex=2", None)
        .await
        .expect(200)
        .body;
    assert_eq!(
        (&rest["itemsPerPage"], &rest["totalResults"]),
        (&json!(4), &json!(5))
    );
}

#[tokio::test]
async fn what_oktas_spec_test_asserts() {
    let house = House::new().await;
    let id = create(&house, "/Users", &user("Ada.King@x.example")).await;
    assert!(!id.to_lowercase().contains("bulkid"));
    let found = house
        .ask(
            "GET",
            "/Users?filter=userName%20eq%20%22ADA.KING%40X.EXAMPLE%22",
            None,
        )
        .await
        .expect(200)
        .body;
    assert_eq!(found["totalResults"], 1);
    let shown = &found["Resources"][0];
    assert_eq!(shown["id"], id);
    assert_eq!(shown["userName"], "Ada.King@x.example");
    assert_eq!(
        shown["name"],
        json!({"givenName": "Ada", "familyName": "King"})
    );
    assert_eq!(shown["active"], true);
    assert_eq!(shown["emails"][0]["value"], "Ada.King@x.example");
    // An id is exact.
    check_error(
        &house
            .ask("GET", &format!("/Users/{}", id.to_uppercase()), None)
            .await,
        404,
    );
    check_error(
        &house.ask("GET", "/Users/00919288221112222", None).await,
        404,
    );
    check_error(
        &house
            .ask("GET", "/Entitlements?count=1&startIndex=1", None)
            .await,
        404,
    );
}

#[tokio::test]
async fn media_types_and_headers_as_they_come() {
    let house = House::new().await;
    let bearer = ("authorization", format!("Bearer {TOKEN}"));
    for (at, media) in [
        "application/scim+json",
        "application/scim+json; charset=utf-8",
        "application/json",
        "application/json; charset=UTF-8",
    ]
    .into_iter()
    .enumerate()
    {
        let headers = [
            bearer.clone(),
            (
                "accept",
                String::from("application/scim+json; charset=utf-8"),
            ),
            ("accept-charset", String::from("utf-8")),
            ("user-agent", String::new()),
            ("x-api-key", TOKEN.to_owned()),
            ("content-type", media.to_owned()),
        ];
        let body = user(&format!("m{at}@x.example")).to_string();
        let made = house
            .knock
            .send("POST", "/Users", &headers, Some(body))
            .await;
        let id = made.expect("an answer").expect(201).id();
        // authentik names a Content-Type on GET too.
        let read = house
            .knock
            .send("GET", &format!("/Users/{id}"), &headers, None)
            .await;
        read.expect("an answer").expect(200);
    }
    // Nothing but the bearer token is a way in.
    let key = [("x-api-key", TOKEN.to_owned())];
    let refused = house.knock.send("GET", "/Users", &key, None).await;
    check_error(&refused.expect("an answer"), 401);
}

#[tokio::test]
async fn the_clients_response_type_is_the_one_answered() {
    let house = House::with(client("response_type = \"application/json\"")).await;
    let answer = house.ask("GET", "/Users", None).await.expect(200);
    assert_eq!(kind(&answer), "application/json");
    let made = house
        .ask("POST", "/Users", Some(&user("a@x.example")))
        .await
        .expect(201);
    assert_eq!(kind(&made), "application/json");
}

#[tokio::test]
async fn a_patch_answers_with_the_resource_or_204_as_the_client_is_set() {
    let house = House::new().await;
    let operations = patch(json!([{"op": "Replace", "path": "displayName", "value": "N"}]));
    for (endpoint, body) in [
        ("/Users", user("a@x.example")),
        ("/Groups", json!({"displayName": "G"})),
    ] {
        let id = create(&house, endpoint, &body).await;
        let path = format!("{endpoint}/{id}");
        let answer = house
            .ask("PATCH", &path, Some(&operations))
            .await
            .expect(200);
        assert_eq!(answer.body["displayName"], "N");
        assert_eq!(answer.body, house.ask("GET", &path, None).await.body);
    }
    let house = House::with(client("patch_response = \"none\"")).await;
    let id = create(&house, "/Groups", &json!({"displayName": "G"})).await;
    let path = format!("/Groups/{id}");
    let answer = house
        .ask("PATCH", &path, Some(&operations))
        .await
        .expect(204);
    assert_eq!(answer.body, Value::Null);
    assert_eq!(house.ask("GET", &path, None).await.body["displayName"], "N");
}

#[tokio::test]
async fn who_is_disabled_stays_visible_and_who_is_deleted_does_not() {
    let house = House::new().await;
    let id = create(&house, "/Users", &user("a@x.example")).await;
    let (path, find) = (
        format!("/Users/{id}"),
        "/Users?filter=userName+eq+%22a%40x.example%22",
    );
    for (value, active) in [
        (json!("False"), false),
        (json!("True"), true),
        (json!(false), false),
    ] {
        let operations = patch(json!([{"op": "Replace", "path": "active", "value": value}]));
        house
            .ask("PATCH", &path, Some(&operations))
            .await
            .expect(200);
        assert_eq!(
            house.ask("GET", &path, None).await.expect(200).body["active"],
            active
        );
        let found = house.ask("GET", find, None).await.expect(200).body;
        assert_eq!(found["Resources"][0]["active"], active);
        let zoom = house
            .sandbox
            .state()
            .account("a@x.example")
            .expect("an account");
        assert_eq!(zoom["active"], active);
    }
    house.ask("DELETE", &path, None).await.expect(204);
    check_error(&house.ask("GET", &path, None).await, 404);
    assert_eq!(
        house.ask("GET", find, None).await.expect(200).body["totalResults"],
        0
    );
    check_error(
        &house.ask("PUT", &path, Some(&user("a@x.example"))).await,
        404,
    );
    create(&house, "/Users", &user("a@x.example")).await;
}

#[tokio::test]
async fn a_taken_name_is_refused_by_post_put_and_patch() {
    let house = House::new().await;
    create(&house, "/Users", &user("a@x.example")).await;
    let id = create(&house, "/Users", &user("b@x.example")).await;
    let path = format!("/Users/{id}");
    let before = house.ask("GET", &path, None).await.body;
    let taken = patch(json!([{"op": "replace", "path": "userName", "value": "A@X.EXAMPLE"}]));
    for (method, path, body) in [
        ("POST", "/Users", user("A@x.example")),
        ("PUT", &path, user("A@x.example")),
        ("PATCH", &path, taken),
    ] {
        let answer = house.ask(method, path, Some(&body)).await;
        check_error(&answer, 409);
        assert_eq!(answer.body["scimType"], "uniqueness");
    }
    assert_eq!(house.ask("GET", &path, None).await.body, before);
    create(&house, "/Groups", &json!({"displayName": "G"})).await;
    check_error(
        &house
            .ask("POST", "/Groups", Some(&json!({"displayName": "g"})))
            .await,
        409,
    );
    let house = House::with(client("unique_groups = false")).await;
    create(&house, "/Groups", &json!({"displayName": "G"})).await;
    create(&house, "/Groups", &json!({"displayName": "G"})).await;
}

#[tokio::test]
async fn jumpcloud_activates_with_a_user_and_a_group_of_its_own() {
    let house = House::new().await;
    house.ask("GET", "/Users", None).await.expect(200);
    let id = create(&house, "/Users", &user("jctest@x.example")).await;
    let group = json!({"displayName": "JumpCloud test", "members": [{"value": id}]});
    let group = create(&house, "/Groups", &group).await;
    let off = json!({"userName": "jctest@x.example", "emails": null, "active": false});
    house
        .ask("PUT", &format!("/Users/{id}"), Some(&off))
        .await
        .expect(200);
    house
        .ask("DELETE", &format!("/Groups/{group}"), None)
        .await
        .expect(204);
    house
        .ask("DELETE", &format!("/Users/{id}"), None)
        .await
        .expect(204);
    for endpoint in ["/Users", "/Groups"] {
        assert_eq!(
            house.ask("GET", endpoint, None).await.body["totalResults"],
            0
        );
    }
}

#[tokio::test]
async fn what_is_written_is_answered_and_read_back() {
    let house = House::new().await;
    let mut body = user("a@x.example");
    body["externalId"] = json!("00u1");
    body["phoneNumbers"] =
        json!([{"value": "tel:+1 (201) 555-0123"}, {"value": "020 7946 0000", "type": "x"}]);
    body[ENTERPRISE] = json!({"manager": "26118915"});
    let made = house.ask("POST", "/Users", Some(&body)).await.expect(201);
    assert_eq!(made.body["phoneNumbers"], body["phoneNumbers"]);
    assert_eq!(
        made.body[ENTERPRISE]["manager"],
        json!({"value": "26118915"})
    );
    let path = format!("/Users/{}", made.id());
    assert_eq!(house.ask("GET", &path, None).await.body, made.body);
    // Okta sends back what it read, changed; authentik compares the answer with what it sent.
    let mut again = made.body.clone();
    again["name"]["givenName"] = json!("Augusta");
    let answer = house.ask("PUT", &path, Some(&again)).await.expect(200);
    for key in [
        "schemas",
        "id",
        "userName",
        "externalId",
        "name",
        "emails",
        "phoneNumbers",
        ENTERPRISE,
    ] {
        assert_eq!(answer.body[key], again[key], "{key}");
    }
    assert_eq!(house.ask("GET", &path, None).await.body, answer.body);
    let same = house
        .ask("PUT", &path, Some(&answer.body))
        .await
        .expect(200);
    assert_eq!(same.body["meta"], answer.body["meta"], "nothing changed");
}

#[tokio::test]
async fn members_are_left_out_where_asked_and_shown_where_not() {
    let house = House::new().await;
    let id = create(&house, "/Users", &user("a@x.example")).await;
    let group = json!({"displayName": "G", "members": [{"value": id}]});
    let path = format!("/Groups/{}", create(&house, "/Groups", &group).await);
    let shown = house.ask("GET", &path, None).await.expect(200).body;
    assert_eq!(shown["members"][0]["value"], id);
    let hidden = house
        .ask("GET", &format!("{path}?excludedAttributes=members"), None)
        .await
        .expect(200)
        .body;
    assert_eq!(
        (hidden.get("members"), &hidden["displayName"]),
        (None, &json!("G"))
    );
    let list = "/Groups?excludedAttributes=members&filter=displayName+eq+%22G%22";
    let listed = house.ask("GET", list, None).await.expect(200).body;
    assert_eq!(listed["Resources"][0].get("members"), None);
    let listed = house.ask("GET", "/Groups", None).await.expect(200).body;
    assert_eq!(listed["Resources"][0]["members"][0]["value"], id);
}

#[tokio::test]
async fn a_reference_check_finds_the_manager_and_the_member() {
    let house = House::new().await;
    let boss = create(&house, "/Users", &user("boss@x.example")).await;
    let mut body = user("a@x.example");
    body[ENTERPRISE] = json!({ "manager": boss });
    let id = create(&house, "/Users", &body).await;
    let group = json!({"displayName": "G", "members": [{"value": id}]});
    let group = create(&house, "/Groups", &group).await;
    for (target, found) in [
        (
            format!("/Users?filter=id+eq+%22{id}%22+and+manager+eq+%22{boss}%22&attributes=id"),
            Some(&id),
        ),
        (
            format!("/Users?filter=manager+eq+%22{boss}%22+and+id+eq+%22{id}%22&attributes=id"),
            Some(&id),
        ),
        (
            format!("/Users?filter=id+eq+%22{id}%22+and+manager+eq+%22{id}%22&attributes=id"),
            None,
        ),
        (
            format!("/Groups?filter=id+eq+%22{group}%22+and+members+eq+%22{id}%22&attributes=id"),
            Some(&group),
        ),
        (
            format!("/Groups?filter=members+eq+%22{boss}%22+and+id+eq+%22{group}%22&attributes=id"),
            None,
        ),
    ] {
        let body = house.ask("GET", &target, None).await.expect(200).body;
        assert_eq!(
            body["totalResults"],
            usize::from(found.is_some()),
            "{target}"
        );
        assert_eq!(
            body["Resources"][0]["id"].as_str(),
            found.map(String::as_str)
        );
        assert_eq!(
            body["Resources"][0].get("userName"),
            None,
            "only what was asked"
        );
    }
}

#[tokio::test]
async fn discovery_answers_lists_and_says_what_bulk_takes() {
    let house = House::new().await;
    for endpoint in ["/ResourceTypes?startIndex=1&count=100", "/Schemas"] {
        let body = house.ask("GET", endpoint, None).await.expect(200).body;
        assert_eq!(
            body["schemas"],
            json!([LIST]),
            "{endpoint}: not a bare array"
        );
        let resources = body["Resources"].as_array().expect("Resources");
        assert_eq!(body["totalResults"], resources.len());
        assert_eq!(body["itemsPerPage"], resources.len(), "authentik checks it");
        assert_eq!(body["startIndex"], 1);
        assert!(!body.to_string().contains(":null"), "Entra takes no null");
    }
    let schemas = house.ask("GET", "/Schemas", None).await.body.to_string();
    assert!(schemas.contains("\"readWrite\""), "camelCase");
    for endpoint in ["/ServiceProviderConfig", "/ServiceProviderConfigs"] {
        let body = house.ask("GET", endpoint, None).await.expect(200).body;
        assert!(body["bulk"]["maxOperations"].is_u64(), "{body}");
        assert_eq!(
            (&body["patch"]["supported"], &body["filter"]["supported"]),
            (&json!(true), &json!(true))
        );
    }
}

#[tokio::test]
async fn a_version_that_is_not_the_newest_is_refused() {
    let house = House::new().await;
    let made = house
        .ask("POST", "/Users", Some(&user("a@x.example")))
        .await
        .expect(201);
    let path = format!("/Users/{}", made.id());
    let send = async |tag: &str, title: &str| {
        let headers = [
            ("authorization", format!("Bearer {TOKEN}")),
            ("content-type", SCIM.to_owned()),
            ("if-match", tag.to_owned()),
        ];
        let body = patch(json!([{"op": "replace", "path": "title", "value": title}])).to_string();
        let answer = house.knock.send("PATCH", &path, &headers, Some(body)).await;
        answer.expect("an answer")
    };
    let first = made.body["meta"]["version"]
        .as_str()
        .expect("a version")
        .to_owned();
    send(&first, "One").await.expect(200);
    check_error(&send(&first, "Two").await, 412);
    assert_eq!(house.ask("GET", &path, None).await.body["title"], "One");
}

#[tokio::test]
async fn a_patch_applies_whole_or_not_at_all() {
    let house = House::new().await;
    let path = format!(
        "/Users/{}",
        create(&house, "/Users", &user("a@x.example")).await
    );
    let before = house.ask("GET", &path, None).await.body;
    for last in [
        json!({"op": "replace", "path": "emails[type eq \"home\"]", "value": {"value": "h"}}),
        json!({"op": "replace", "path": "active", "value": "perhaps"}),
        json!({"op": "replace", "path": "meta", "value": {}}),
        json!({"op": "replace", "path": "name.noSuch", "value": "x"}),
        json!({"op": "add", "path": "x509Certificates", "value": [{"value": "not base64!"}]}),
        json!({"op": "remove", "path": "userName"}),
    ] {
        let body = patch(json!([{"op": "replace", "path": "title", "value": "lost"}, last]));
        let answer = house.ask("PATCH", &path, Some(&body)).await;
        check_error(&answer, 400);
        assert!(answer.body["scimType"].is_string(), "{last}");
    }
    assert_eq!(house.ask("GET", &path, None).await.body, before);
}

#[tokio::test]
async fn many_patches_do_not_make_a_resource_larger_than_a_body() {
    let house = House::new().await;
    let path = format!(
        "/Users/{}",
        create(&house, "/Users", &user("a@x.example")).await
    );
    let note = |at: u8| {
        patch(
            json!([{"op": "add", "path": format!("note{at}"), "value": vec!["x".repeat(16_000); 25]}]),
        )
    };
    for at in 0..2 {
        house.ask("PATCH", &path, Some(&note(at))).await.expect(200);
    }
    let refused = house.ask("PATCH", &path, Some(&note(2))).await;
    check_error(&refused, 400);
    assert!(
        refused.body["detail"]
            .as_str()
            .is_some_and(|text| text.contains("1048576"))
    );
    let read = house.ask("GET", &path, None).await.expect(200).body;
    assert_eq!(read.get("note2"), None);
    let off = patch(
        json!([{"op": "replace", "path": "active", "value": false}, {"op": "remove", "path": "note1"}]),
    );
    let answer = house.ask("PATCH", &path, Some(&off)).await.expect(200).body;
    assert_eq!(
        (answer.get("note1"), &answer["active"]),
        (None, &json!(false))
    );
}

#[tokio::test]
async fn no_password_is_kept_shown_or_sent() {
    let house = House::new().await;
    let mut body = user("a@x.example");
    body["password"] = json!("t1ger-sekret");
    body[ENTERPRISE] = json!({"password": "t1ger-sekret", "department": "D"});
    body["urn:x:1.0:User"] = json!({"Password": "t1ger-sekret"});
    let made = house.ask("POST", "/Users", Some(&body)).await.expect(201);
    let path = format!("/Users/{}", made.id());
    let changed = patch(json!([
        {"op": "replace", "value": {"password": "t1ger-sekret", format!("{ENTERPRISE}:password"): "t1ger-sekret"}},
        {"op": "add", "path": "urn:x:1.0:User:password", "value": "t1ger-sekret"},
        {"op": "add", "path": "urn:x:1.0:User", "value": {"password": "t1ger-sekret", "kept": 1}},
        {"op": "replace", "path": "title", "value": "T"}
    ]));
    let changed = house.ask("PATCH", &path, Some(&changed)).await.expect(200);
    assert_eq!(changed.body["urn:x:1.0:User"], json!({"kept": 1}));
    let told = format!(
        "{} {} {:?} {:?} {:?}",
        made.body,
        changed.body,
        house.report(usher::journal::report::Query::default()),
        house.sandbox.state().accounts(),
        house.sandbox.state().calls(),
    );
    assert!(!told.contains("t1ger-sekret"), "{told}");
}

#[tokio::test]
async fn people_are_found_where_zoom_knows_them_by_more_than_a_name() {
    // Zoom needs userName, both names, a work e-mail, displayName and active: whatever miniOrange left out is filled in.
    let plan = Plan {
        sandbox: Options {
            quirks: Quirks {
                associated_domains: vec![String::from("x.example")],
                ..Quirks::default()
            },
            ..Options::default()
        },
        ..Plan::default()
    };
    let house = House::with(plan).await;
    let mini = json!({"userName": "Ada King", "externalId": "5f0c", "displayName": "Ada King", "active": 1,
        "emails": [{"type": "work", "primary": true, "value": "ada@x.example"}], "meta": {"created": 1_790_000_000}});
    create(&house, "/Users", &mini).await;
    house.later(Duration::from_secs(60)).await;
    let zoom = house
        .sandbox
        .state()
        .account("ada@x.example")
        .expect("an account");
    assert_eq!(
        zoom["name"],
        json!({"givenName": "Ada", "familyName": "King"})
    );
    assert_eq!(
        (&zoom["displayName"], &zoom["active"]),
        (&json!("Ada King"), &json!(true))
    );
    assert_eq!(
        (&zoom["emails"][0]["type"], &zoom["emails"][0]["value"]),
        (&json!("work"), &json!("ada@x.example"))
    );
}

#[test]
fn the_defaults_are_within_what_idps_allow() {
    let text = format!(
        "[[client]]\nname = \"entra\"\ntoken_sha256 = [\"{}\"]\n\
         [[application]]\nname = \"zoom\"\nprofile = \"zoom\"\ncredentials = {{ kind = \"bearer\", token = {{ env = \"T\" }} }}\n",
        "0".repeat(64)
    );
    let secret = |_: &str| Some(String::from("secret"));
    let config =
        usher::config::parse(&text, "usher.toml".as_ref(), &secret).expect("a configuration");
    let client = config.clients.first().expect("a client");
    assert!(client.per_second >= 25, "Entra sends as many");
    assert!(
        config.limits.request_timeout < Duration::from_secs(60),
        "Okta waits no longer"
    );
}
