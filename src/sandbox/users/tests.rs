//! Every operation on users and its quirks, without a socket.

use std::time::Duration;

use serde_json::Value::Null;
use serde_json::json;

use super::super::{Options, Quirks, State};
use super::*;
use crate::clock::Clock;

const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const LICENCES: &str = "urn:ietf:params:scim:schemas:extension:zoom:1.0:User";
const LOGIN: &str = "urn:us:zoom:scim:schemas:extension:1.0:ZoomUser";

fn associated() -> State {
    State::new(Options {
        quirks: Quirks {
            associated_domains: vec![String::from("Example.com")],
            preexisting: vec![String::from("Old@example.com")],
            ..Quirks::default()
        },
        clock: Clock::manual(Timestamp(1_795_465_845_120)),
        ..Options::default()
    })
}

fn ann() -> Value {
    json!({
        "schemas": [CORE, ENTERPRISE, LICENCES],
        "userName": "ann@example.com",
        "externalId": "7",
        "nickName": "A",
        "name": {"givenName": "Ann", "familyName": "Lee", "formatted": "Dr Ann Lee"},
        "emails": [{"type": "home", "value": "h@x.y"}, {"type": "work", "value": "ann@example.com"}],
        "active": true,
        "userType": "Licensed",
        "title": "Engineer",
        "phoneNumbers": [{"type": "work", "value": "+1 2015550123"}],
        ENTERPRISE: {"department": "R&D", "costCenter": "9"},
        LICENCES: {"zoomWhiteboard": true, "zoomPhoneNumber": "+1", "cxInsightsSubscription": "1",
            "pronouns": "she", "badge": "b"},
        LOGIN: {"loginType": {"workEmail": true, "sso": true}},
    })
}

/// Makes a user; the path of it.
fn make(state: &State, body: Value) -> String {
    let (status, body) = state.ask("POST /Users", body);
    assert_eq!(status, 201, "{body}");
    format!(
        "/Users/{}",
        body["id"].as_str().expect("an id").replace('&', "%26")
    )
}

/// Whether everything in `wanted` is in `found`; null stands for absent.
fn holds(found: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(wanted) => wanted
            .iter()
            .all(|(key, wanted)| holds(&found[key], wanted)),
        wanted => found == wanted,
    }
}

#[test]
fn create_answers() {
    let state = associated();
    make(&state, ann());
    let check = |body: Value, status: u16, wanted: Value| {
        let (found, reply) = state.ask("POST /Users", body.clone());
        assert_eq!(found, status, "{body} -> {reply}");
        assert!(holds(&reply, &wanted), "{body} -> {reply}");
    };
    let error = |detail: &str, status: u16| {
        json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "detail": detail,
            "status": status, "scimType": null})
    };
    check(Null, 400, error("The request JSON must not be empty.", 400));
    check(
        json!({}),
        400,
        error("The request JSON must not be empty.", 400),
    );
    check(
        json!("x"),
        400,
        error("The request body must be in JSON format.", 400),
    );
    check(
        json!({"userName": "b@example.com"}),
        400,
        error("The \"schemas\" of the request is invalid.", 400),
    );
    for name in [
        json!("bob"),
        json!("@x"),
        json!("a@"),
        json!("a b@x.y"),
        json!("a@b@c"),
        json!(5),
        Null,
    ] {
        check(
            json!({"schemas": [CORE], "userName": name}),
            400,
            error("The \"userName\" of the request is invalid.", 400),
        );
    }
    let exists = error("The user already exists", 409);
    check(
        json!({"schemas": [CORE], "userName": "ANN@Example.com"}),
        409,
        exists.clone(),
    );
    let taken = json!([{"type": "work", "value": "Ann@example.com"}]);
    check(
        json!({"schemas": [CORE], "userName": "b@example.com", "emails": taken}),
        409,
        exists,
    );
    check(
        json!({"schemas": CORE, "userName": "Bob@example.com"}),
        201,
        json!({
            "schemas": [CORE], "userName": "Bob@example.com", "active": true, "userType": "Basic",
            "emails": [{"type": "work", "value": "Bob@example.com", "primary": true}], "displayName": null,
        }),
    );
    check(
        json!({"schemas": [CORE], "userName": "c@example.com", "active": "False", "userType": "Licensed"}),
        201,
        json!({"active": false, "userType": "Basic"}),
    );
}

#[test]
fn a_single_user_is_rich_and_a_listed_one_slim() {
    let state = associated();
    let path = make(&state, ann());
    let rich = json!({
        "schemas": [CORE, ENTERPRISE, LICENCES],
        "meta": {"resourceType": "User", "created": "2026-11-23T20:30:45Z", "lastModified": "2026-11-23T20:30:45Z",
            "version": "1", "location": path},
        "userName": "ann@example.com", "displayName": "Ann Lee", "active": true, "userType": "Licensed",
        "name": {"givenName": "Ann", "familyName": "Lee", "formatted": null},
        "emails": [{"type": "work", "value": "ann@example.com", "primary": true}],
        "title": "Engineer", "groups": [],
        "phoneNumbers": [{"type": "work", "value": "+1 2015550123"}],
        ENTERPRISE: {"department": "R&D", "costCenter": "9"},
        LICENCES: {"zoomWhiteboard": true, "pronouns": "she", "badge": "b", "zoomPhoneNumber": null},
        LOGIN: null, "externalId": null, "nickName": null,
    });
    let (status, body) = state.ask(&format!("GET {path}"), Null);
    assert_eq!(status, 200);
    assert!(holds(&body, &rich), "{body}");
    assert_eq!(state.account("Ann@Example.com"), Some(body));

    let (status, body) = state.ask("GET /Users", Null);
    let envelope = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": 1, "startIndex": 1, "itemsPerPage": 1});
    assert_eq!(status, 200);
    assert!(holds(&body, &envelope), "{body}");
    let slim = json!({
        "schemas": [CORE, ENTERPRISE, LOGIN],
        "userName": "ann@example.com", "displayName": "Ann Lee", "active": true, "userType": "Licensed",
        "title": null, "phoneNumbers": null, "roles": null, "groups": null, LICENCES: null,
        LOGIN: {"loginType": {"workEmail": true, "sso": true}},
    });
    assert!(holds(&body["Resources"][0], &slim), "{body}");
    assert_eq!(
        body["Resources"][0][ENTERPRISE],
        json!({"department": "R&D"})
    );
}

#[test]
fn put_merges() {
    let check = |body: Value, status: u16, wanted: Value| {
        let state = associated();
        let path = make(&state, ann());
        make(
            &state,
            json!({"schemas": [CORE], "userName": "bob@example.com"}),
        );
        let (found, reply) = state.ask(&format!("PUT {path}"), body.clone());
        assert_eq!(found, status, "{body} -> {reply}");
        assert!(holds(&reply, &wanted), "{body} -> {reply}");
        let (_, after) = state.ask(&format!("GET {path}"), Null);
        assert_eq!(after == reply, status == 200, "{body} -> {after}");
    };
    check(
        json!({"title": "Boss"}),
        200,
        json!({"title": "Boss", "userType": "Licensed", "meta": {"version": "2"}}),
    );
    check(
        json!({"title": "Engineer"}),
        200,
        json!({"meta": {"version": "1"}}),
    );
    check(
        json!({"title": null, "locale": 5}),
        200,
        json!({"title": "Engineer", "locale": null}),
    );
    check(
        json!({"name": {"givenName": "Anna"}}),
        200,
        json!({"name": {"givenName": "Anna", "familyName": "Lee"}, "displayName": "Ann Lee"}),
    );
    check(
        json!({"phoneNumbers": []}),
        200,
        json!({"phoneNumbers": []}),
    );
    check(
        json!({"userName": "new@example.com", "externalId": "8"}),
        200,
        json!({"userName": "ann@example.com", "externalId": null}),
    );
    check(
        json!({LOGIN: {"loginType": {"workEmail": false}}}),
        200,
        json!({"meta": {"version": "1"}}),
    );
    check(
        json!({LICENCES: {"zoomFuture": {"a": 1}, "zoomWhiteboard": null}}),
        200,
        json!({LICENCES: {"zoomFuture": {"a": 1}, "zoomWhiteboard": true, "pronouns": "she"}}),
    );
    check(
        json!({ENTERPRISE: {"department": "Ops"}}),
        200,
        json!({ENTERPRISE: {"department": "Ops", "costCenter": "9"}}),
    );
    check(
        json!({"active": false, "title": "Gone"}),
        200,
        json!({"active": false, "title": "Gone", "userType": "Basic"}),
    );
    check(
        json!({"roles": [{"display": "Admin"}], "active": "false"}),
        200,
        json!({"active": true, "userType": "Licensed"}),
    );
    let email = |value: &str| json!({"emails": [{"type": "work", "value": value}]});
    check(
        email("lee@example.com"),
        200,
        json!({"userName": "ann@example.com", "emails": [{"type": "work", "value": "lee@example.com", "primary": true}]}),
    );
    check(
        email("Ann@example.com"),
        200,
        json!({"emails": [{"type": "work", "value": "Ann@example.com", "primary": true}]}),
    );
    check(
        email("bob@example.com"),
        409,
        json!({"detail": "The user already exists"}),
    );
    check(email("ann@elsewhere.org"), 400, json!({"status": 400}));
    check(
        json!({"emails": []}),
        200,
        json!({"meta": {"version": "1"}}),
    );
    check(
        Null,
        400,
        json!({"detail": "The request JSON must not be empty."}),
    );
}

#[test]
fn a_changed_address_is_found_and_the_old_one_free() {
    let state = associated();
    let path = make(&state, ann());
    for email in ["one@example.com", "two@example.com"] {
        let body = json!({"emails": [{"value": email}]});
        assert_eq!(state.ask(&format!("PUT {path}"), body).0, 200);
    }
    let found = |name: &str| state.account(name).map(|user| user["userName"].clone());
    assert_eq!(found("one@example.com"), None);
    assert_eq!(found("two@example.com"), Some("ann@example.com".into()));
    assert_eq!(found("ann@example.com"), Some("ann@example.com".into()));
    assert_eq!(state.ask(&format!("DELETE {path}"), Null).0, 204);
    assert_eq!(
        (found("two@example.com"), found("ann@example.com")),
        (None, None)
    );
    make(&state, ann());
}

#[test]
fn patch_knows_active_and_nothing_else() {
    let state = associated();
    let path = make(&state, ann());
    let request = format!("PATCH {path}");
    let check = |active: bool, operations: Value| {
        let (status, body) = state.ask(&request, json!({"Operations": operations}));
        assert_eq!(
            (status, &body["active"]),
            (200, &active.into()),
            "{operations}"
        );
        assert!(body.get("title").is_some(), "rich: {body}");
    };
    check(
        false,
        json!([{"op": "replace", "value": {"active": false}}]),
    );
    check(
        true,
        json!([{"op": "Replace", "path": "active", "value": true}]),
    );
    check(
        false,
        json!([{"op": "Replace", "path": "active", "value": "False"}]),
    );
    check(
        true,
        json!([{"op": "Add", "path": "Active", "value": "True"}]),
    );
    check(
        false,
        json!([{"op": "replace", "path": "title", "value": "x"}, {"op": "replace", "path": "active", "value": {"active": false}}]),
    );
    let refuse = |body: Value| {
        let (status, reply) = state.ask(&request, body.clone());
        let text = "The request json did not contains valid active field.";
        assert_eq!(
            (status, &reply["detail"], &reply["status"]),
            (400, &text.into(), &400.into()),
            "{body}"
        );
    };
    refuse(json!({"operations": [{"op": "replace", "value": {"active": true}}]}));
    refuse(json!({"Operations": [{"op": "replace", "path": "title", "value": "x"}]}));
    refuse(json!({"Operations": [{"op": "replace", "value": {"active": "yes"}}]}));
    refuse(json!({"Operations": [{"op": "remove", "path": "active", "value": true}]}));
    refuse(json!({"Operations": []}));
    refuse(json!({"active": true}));
    assert_eq!(
        state.account("ann@example.com").expect("there")["active"],
        false
    );
}

#[test]
fn deactivating_takes_the_licences_for_good() {
    let state = associated();
    let path = make(&state, ann());
    let patch = |active: bool| {
        let body = json!({"Operations": [{"op": "replace", "value": {"active": active}}]});
        state.ask(&format!("PATCH {path}"), body).1
    };
    let bare = json!({"pronouns": "she", "badge": "b"});
    for active in [false, true] {
        let body = patch(active);
        assert_eq!(
            (&body["active"], &body["userType"]),
            (&active.into(), &"Basic".into())
        );
        assert_eq!(body[LICENCES], bare);
    }
    // Again changes nothing.
    assert_eq!(patch(true)["meta"]["version"], "3");
}

#[test]
fn unknown_users_and_operations_are_not_found() {
    let state = associated();
    let path = make(&state, ann());
    assert_eq!(state.ask(&format!("DELETE {path}"), Null), (204, Null));
    let active = json!({"Operations": [{"op": "replace", "value": {"active": false}}]});
    for (request, body) in [
        (format!("GET {path}"), Null),
        (format!("PUT {path}"), json!({"title": "x"})),
        (format!("PATCH {path}"), active),
        (format!("DELETE {path}"), Null),
        (String::from("GET /Users/ann@example.com"), Null),
        (String::from("POST /Users/x"), ann()),
        (String::from("PUT /Users"), ann()),
        (String::from("GET /ServiceProviderConfig"), Null),
        (String::from("GET /Schemas"), Null),
        (String::from("GET /ResourceTypes"), Null),
        (String::from("GET /Me"), Null),
        (String::from("POST /Bulk"), ann()),
        (String::from("POST /Users/.search"), ann()),
        (String::from("GET Users"), Null),
    ] {
        let (status, body) = state.ask(&request, body);
        assert_eq!((status, &body["status"]), (404, &404.into()), "{request}");
    }
    assert_eq!(state.accounts(), []);
}

#[test]
fn pending_users_are_denied() {
    for name in ["ann@elsewhere.org", "old@EXAMPLE.com"] {
        let state = associated();
        let path = make(
            &state,
            json!({"schemas": [CORE], "userName": name, "title": "x"}),
        );
        assert_eq!(state.ask(&format!("GET {path}"), Null).0, 404);
        let (status, body) = state.ask(
            &format!("GET /Users?filter=userName%20eq%20%22{name}%22"),
            Null,
        );
        let text = format!("User {name} not exist or not belong to this account.");
        assert_eq!((status, &body["detail"]), (400, &text.into()));
        assert_eq!(state.ask("GET /Users", Null).1["totalResults"], 0);
        let id = path.trim_start_matches("/Users/");
        let by_id = state.ask(&format!("GET /Users?filter=externalId%20eq%20{id}"), Null);
        assert_eq!((by_id.0, &by_id.1["totalResults"]), (200, &0.into()));
        // Writes are answered as if they had been done.
        assert_eq!(
            state.ask(&format!("PUT {path}"), json!({"title": "y"})).0,
            200
        );
        let account = state.accounts().remove(0);
        assert_eq!(
            (account.pending, &account.user["title"]),
            (true, &"x".into())
        );
        assert_eq!(
            state
                .ask("POST /Users", json!({"schemas": [CORE], "userName": name}))
                .0,
            409
        );
        assert!(state.accept(name) && !state.accept(name));
        assert_eq!(state.ask(&format!("GET {path}"), Null).0, 200);
        assert_eq!(state.ask("GET /Users", Null).1["totalResults"], 1);
    }
    let state = associated();
    let path = make(
        &state,
        json!({"schemas": [CORE], "userName": "ann@elsewhere.org"}),
    );
    assert_eq!(state.ask(&format!("DELETE {path}"), Null).0, 204);
    assert_eq!(state.accounts(), []);
}

#[test]
fn lists_and_filters() {
    let state = associated();
    let mut ids = Vec::new();
    for number in 0..12 {
        let name = format!("u{number}@example.com");
        let path = make(&state, json!({"schemas": [CORE], "userName": name}));
        ids.push(path.trim_start_matches("/Users/").to_owned());
    }
    let check = |query: &str, total: usize, first: &str, length: usize| {
        let (status, body) = state.ask(&format!("GET /Users?{query}"), Null);
        let items = body["Resources"].as_array().expect("a list");
        let name = items.first().and_then(|item| item["userName"].as_str());
        assert_eq!(
            (
                status,
                &body["totalResults"],
                name.unwrap_or(""),
                items.len(),
                &body["itemsPerPage"]
            ),
            (200, &total.into(), first, length, &length.into()),
            "{query}"
        );
    };
    check("", 12, "u0@example.com", 10);
    check("startIndex=11", 12, "u10@example.com", 2);
    check("startIndex=13", 12, "", 0);
    check("startIndex=3&count=1", 12, "u2@example.com", 1);
    check(
        "filter=userName%20eq%20%22U5@Example.com%22",
        1,
        "u5@example.com",
        1,
    );
    check(
        "filter=userName%20eq%20u5@example.com&startIndex=1&count=100",
        1,
        "u5@example.com",
        1,
    );
    check("filter=userName%20eq%20%22nobody@example.com%22", 0, "", 0);
    check(
        &format!("filter=externalId%20eq%20%22{}%22", ids[7]),
        1,
        "u7@example.com",
        1,
    );
    check("filter=externalId%20eq%20nobody", 0, "", 0);
    assert_eq!(state.ask("GET /Users?filter=emails%20eq%20x", Null).0, 400);
    assert_eq!(state.ask(&format!("DELETE /Users/{}", ids[0]), Null).0, 204);
    check("count=1", 11, "u1@example.com", 1);
}

#[test]
fn ids_are_short_distinct_and_often_hold_an_ampersand() {
    let state = associated();
    for number in 0..300 {
        make(
            &state,
            json!({"schemas": [CORE], "userName": format!("u{number}@example.com")}),
        );
    }
    let ids: Vec<_> = state
        .accounts()
        .into_iter()
        .map(|account| account.id)
        .collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 300);
    assert!(ids.iter().all(|id| id.len() == 22));
    assert_eq!(ids.iter().filter(|id| id.contains('&')).count(), 100);
    let location = state.account("u0@example.com").expect("there")["meta"]["location"].clone();
    assert!(ids[0].contains('&') && location.as_str().is_some_and(|at| at.contains("%26")));
    state.reset();
    make(
        &state,
        json!({"schemas": [CORE], "userName": "again@example.com"}),
    );
    assert_eq!(state.accounts()[0].id, ids[0]);
}

#[test]
fn a_new_account_may_stay_out_of_lists_for_a_while() {
    let clock = Clock::manual(Timestamp(1_000));
    let state = State::new(Options {
        quirks: Quirks {
            lookup_lag_ms: 5_000,
            ..Quirks::default()
        },
        clock: clock.clone(),
        ..Options::default()
    });
    let path = make(&state, ann());
    let total =
        |query: &str| state.ask(&format!("GET /Users?{query}"), Null).1["totalResults"].clone();
    let by_name = "filter=userName%20eq%20ann@example.com";
    assert_eq!((total(""), total(by_name)), (0.into(), 0.into()));
    assert_eq!(state.ask(&format!("GET {path}"), Null).0, 200);
    assert_eq!(state.ask("POST /Users", ann()).0, 409);
    clock.advance(Duration::from_secs(5));
    assert_eq!((total(""), total(by_name)), (1.into(), 1.into()));
}
