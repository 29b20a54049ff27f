//! Every operation on groups and its quirks, without a socket.

use serde_json::Value::Null;

use super::super::{Options, Quirks, State};
use super::*;

const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

fn group(state: &State, name: &str) -> String {
    let (status, body) = state.ask(
        "POST /Groups",
        json!({"schemas": [CORE], "displayName": name}),
    );
    assert_eq!(status, 201, "{body}");
    body["id"].as_str().expect("an id").replace('&', "%26")
}

fn user(state: &State, name: &str) -> String {
    let (status, body) = state.ask("POST /Users", json!({"schemas": ["x"], "userName": name}));
    assert_eq!(status, 201, "{body}");
    body["id"].as_str().expect("an id").to_owned()
}

fn patch(state: &State, id: &str, operations: Value) -> u16 {
    let body = json!({"schemas": [PATCH_OP], "Operations": operations});
    let (status, body) = state.ask(&format!("PATCH /Groups/{id}"), body);
    assert_eq!(status == 204, body.is_null(), "{body}");
    status
}

#[test]
fn a_group_is_made_shown_without_members_and_deleted() {
    let state = State::new(Options::default());
    let schemas = [CORE, EXTENSION];
    let check = |request: &str, body: Value, wanted: u16, detail: &str| {
        let (status, body) = state.ask(request, body);
        assert_eq!(
            (status, &body["detail"]),
            (wanted, &detail.into()),
            "{request}"
        );
    };
    check(
        "POST /Groups",
        Null,
        400,
        "The request JSON must not be empty.",
    );
    check(
        "POST /Groups",
        json!([1]),
        400,
        "The request body must be in JSON format.",
    );
    let invalid = "The \"DisplayName\" of the request is invalid.";
    check("POST /Groups", json!({"schemas": schemas}), 400, invalid);
    check(
        "POST /Groups",
        json!({"schemas": schemas, "displayName": " "}),
        400,
        invalid,
    );
    check(
        "POST /Groups",
        json!({"displayName": "a"}),
        400,
        "Create group failed.",
    );
    check("GET /Groups/nobody", Null, 404, "Group does not exist.");
    check(
        "PATCH /Groups/nobody",
        json!({"a": 1}),
        404,
        "Group does not exist.",
    );
    check("DELETE /Groups/nobody", Null, 404, "Group does not exist.");

    let member = user(&state, "a@example.com");
    let made = json!({"schemas": schemas, "displayName": "Sales", "members": [{"value": member}],
        EXTENSION: {"emailAlias": "sales@example.com"}});
    let (status, body) = state.ask("POST /Groups", made);
    assert_eq!(status, 201);
    assert!(body.get("members").is_none());
    assert_eq!(body["schemas"], json!(schemas));
    assert_eq!(body[EXTENSION], json!({"emailAlias": "sales@example.com"}));
    assert_eq!(body["meta"]["resourceType"], "Group");
    let id = body["id"].as_str().expect("an id").replace('&', "%26");
    assert_eq!(
        state.group("sales").map(|(_, members)| members),
        Some(vec![])
    );
    assert_eq!(
        state.ask(&format!("GET /Groups/{id}"), Null),
        (200, body.clone())
    );
    check(
        &format!("PUT /Groups/{id}"),
        body,
        404,
        "The requested resource does not exist.",
    );
    assert_eq!(
        state.ask(&format!("DELETE /Groups/{id}"), Null),
        (204, Null)
    );
    check(
        &format!("DELETE /Groups/{id}"),
        Null,
        404,
        "Group does not exist.",
    );
    assert_eq!(state.group("Sales"), None);
}

#[test]
fn the_default_group_stays() {
    let quirks = Quirks {
        default_group: String::from("Everybody"),
        ..Quirks::default()
    };
    let state = State::new(Options {
        quirks,
        ..Options::default()
    });
    let (id, _) = state.group("Everybody").expect("it is there");
    let (status, body) = state.ask(&format!("DELETE /Groups/{}", id.replace('&', "%26")), Null);
    assert_eq!(
        (status, &body["detail"]),
        (400, &"Cannot delete account default group.".into())
    );
}

#[test]
fn lists_filter_by_name_only() {
    let state = State::new(Options::default());
    for name in ["Sales", "Sales EMEA", "sales"] {
        group(&state, name);
    }
    let check = |query: &str, wanted: &[&str]| {
        let (status, body) = state.ask(&format!("GET /Groups?{query}"), Null);
        let items = body["Resources"].as_array().expect("a list");
        let names: Vec<_> = items.iter().map(|item| &item["displayName"]).collect();
        assert_eq!(
            (status, names),
            (
                200,
                wanted
                    .iter()
                    .copied()
                    .map(Value::from)
                    .collect::<Vec<_>>()
                    .iter()
                    .collect()
            ),
            "{query}"
        );
    };
    check("", &["Sales", "Sales EMEA", "sales"]);
    check("startIndex=2&count=1", &["Sales EMEA"]);
    check(
        "filter=displayName%20eq%20%22Sales%20EMEA%22",
        &["Sales EMEA"],
    );
    check("filter=displayName%20eq%20Sales%20EMEA", &["Sales EMEA"]);
    check("filter=displayName%20eq%20SALES", &["Sales", "sales"]);
    check("filter=displayName%20eq%20nobody", &[]);
    let (status, _) = state.ask("GET /Groups?filter=id%20eq%20x", Null);
    assert_eq!(status, 400);
}

#[test]
fn members_and_names_are_patched() {
    let state = State::new(Options::default());
    let (a, b, c) = (
        user(&state, "a@x.y"),
        user(&state, "b@x.y"),
        user(&state, "c@x.y"),
    );
    let id = group(&state, "Sales");
    let check = |operations: Value, wanted: &[&String]| {
        assert_eq!(patch(&state, &id, operations.clone()), 204, "{operations}");
        let (_, members) = state.group("Sales").expect("it is there");
        assert_eq!(members.iter().collect::<Vec<_>>(), wanted, "{operations}");
    };
    let add = |ids: &[&String]| {
        let members: Vec<_> = ids.iter().map(|id| json!({"value": id})).collect();
        json!([{"op": "add", "path": "members", "value": members}])
    };
    check(add(&[&a]), &[&a]);
    check(add(&[&a, &b]), &[&a, &b]);
    check(add(&[&"nobody".to_owned()]), &[&a, &b]);
    check(
        json!([{"op": "Remove", "path": format!("members[value eq \"{a}\"]")}]),
        &[&b],
    );
    check(
        json!([{"op": "add", "value": {"members": [{"value": c}]}}]),
        &[&b, &c],
    );
    check(
        json!([{"op": "remove", "path": "members", "value": [{"value": b}]}]),
        &[&c],
    );
    check(
        json!([{"op": "remove", "path": "members", "value": []}]),
        &[&c],
    );
    check(
        json!([{"op": "replace", "path": "members", "value": [{"value": a}]}]),
        &[&a],
    );
    check(
        json!([{"op": "add", "path": "members", "value": {"value": b}}]),
        &[&a, &b],
    );
    check(json!([{"op": "remove", "path": "members"}]), &[]);
    let both = json!([{"op": "add", "path": "members", "value": [{"value": a}]}, {"op": "move", "path": "members"}]);
    assert_eq!(patch(&state, &id, both), 400);
    check(json!([]), &[]);
    check(add(&[&a, &b]), &[&a, &b]);

    assert_eq!(
        patch(
            &state,
            &id,
            json!([{"op": "replace", "path": "displayName", "value": "Field"}])
        ),
        204
    );
    assert_eq!(state.group("Sales"), None);
    assert_eq!(
        state.group("Field").map(|(_, members)| members.len()),
        Some(2)
    );
    assert_eq!(
        patch(
            &state,
            &id,
            json!([{"op": "replace", "value": {"displayName": "Sales"}}])
        ),
        204
    );
    check(json!([]), &[&a, &b]);

    // Users show their groups by name; a deleted user is in none, and a deleted group holds nobody.
    let shown = state.account("a@x.y").expect("it is there");
    assert_eq!(
        shown["groups"],
        json!([{"display": "Sales", "type": "direct", "primary": "true"}])
    );
    let path = format!("DELETE /Users/{}", b.replace('&', "%26"));
    assert_eq!(state.ask(&path, Null).0, 204);
    check(json!([]), &[&a]);
    assert_eq!(state.ask(&format!("DELETE /Groups/{id}"), Null).0, 204);
    assert_eq!(
        state.account("a@x.y").expect("it is there")["groups"],
        json!([])
    );
}

#[test]
fn a_wrong_patch_does_nothing() {
    let state = State::new(Options::default());
    let id = group(&state, "Sales");
    let check = |body: Value, wanted: &str| {
        let (status, reply) = state.ask(&format!("PATCH /Groups/{id}"), body.clone());
        assert_eq!((status, &reply["detail"]), (400, &wanted.into()), "{body}");
    };
    check(Null, "The request JSON must not be empty.");
    let failed = "Update group failed.";
    check(json!({"Operations": []}), failed);
    check(json!({"schemas": [PATCH_OP], "operations": []}), failed);
    let wrong = |operation: Value| json!({"schemas": [PATCH_OP], "Operations": [operation]});
    check(
        wrong(json!({"op": "replace", "path": "members", "value": null})),
        failed,
    );
    check(
        wrong(json!({"op": "replace", "path": "displayName", "value": ""})),
        failed,
    );
    check(
        wrong(json!({"op": "remove", "path": "displayName"})),
        failed,
    );
    check(
        wrong(json!({"op": "add", "path": "members", "value": ["bare"]})),
        failed,
    );
    check(
        wrong(json!({"op": "remove", "path": "members[type eq \"User\"]"})),
        failed,
    );
    let long = "e".repeat(100_000);
    check(
        wrong(json!({"op": "add", "value": {"x": long}})),
        "The request body must not be longer than 100000 characters.",
    );
    // Characters, not bytes.
    let wide = "\u{e9}".repeat(99_000);
    assert_eq!(
        patch(&state, &id, json!([{"op": "add", "value": {"x": wide}}])),
        204
    );
}

#[test]
fn a_pending_member_is_passed_over() {
    let quirks = Quirks {
        associated_domains: vec![String::from("example.com")],
        ..Quirks::default()
    };
    let state = State::new(Options {
        quirks,
        ..Options::default()
    });
    let pending = user(&state, "a@elsewhere.org");
    let id = group(&state, "Sales");
    let add = json!([{"op": "add", "path": "members", "value": [{"value": pending}]}]);
    assert_eq!(patch(&state, &id, add), 204);
    assert_eq!(
        state.group("Sales").map(|(_, members)| members),
        Some(vec![])
    );
}
