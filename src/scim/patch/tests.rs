use proptest::prelude::*;
use serde_json::json;

use super::*;

const E: &str = ENTERPRISE;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn user() -> Map<String, Value> {
    let data: Value =
        serde_json::from_str(include_str!("../../../tests/data/vectors/patch.json")).unwrap();
    normalise(Kind::User, object(data["base"]["User"].clone())).unwrap()
}

fn group() -> Map<String, Value> {
    normalise(Kind::Group, object(json!({"displayName": "Tour Guides"}))).unwrap()
}

fn patched(kind: Kind, before: &Map<String, Value>, operations: Value) -> Result<Applied, Fault> {
    let body = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations });
    let applied = apply(
        kind,
        before,
        &Operation::read(kind, &body, 100, Bounds::default())?,
    )?;
    // One shape, whichever way it came.
    assert_eq!(
        normalise(kind, applied.attributes.clone()).as_ref(),
        Ok(&applied.attributes)
    );
    Ok(applied)
}

/// Applies operations to the vectors' user and checks the attributes that `after` names; null: gone. All others stay.
fn check(operations: Value, after: Value) {
    check_on(&user(), operations, after);
}

fn check_on(before: &Map<String, Value>, operations: Value, after: Value) {
    let applied = patched(Kind::User, before, operations.clone()).unwrap();
    assert_eq!(applied.members, MemberDelta::default());
    let mut wanted = before.clone();
    for (key, value) in object(after) {
        if value.is_null() {
            wanted.remove(&key);
        } else {
            wanted.insert(key, value);
        }
    }
    assert_eq!(
        Value::Object(applied.attributes),
        Value::Object(wanted),
        "{operations}"
    );
}

fn check_refused(kind: Kind, operations: Value, scim_type: &str) {
    let before = if kind == Kind::User { user() } else { group() };
    let fault = patched(kind, &before, operations.clone()).unwrap_err();
    assert_eq!(fault.scim_type(), Some(scim_type), "{operations}: {fault}");
    assert_eq!(fault.status(), 400);
}

fn members(operations: Value) -> (bool, Vec<String>, Vec<String>) {
    let applied = patched(Kind::Group, &group(), operations).unwrap();
    assert_eq!(applied.attributes, group());
    (
        applied.members.clear,
        applied.members.add,
        applied.members.remove,
    )
}

fn check_members(operations: Value, clear: bool, add: &[&str], remove: &[&str]) {
    let text = operations.to_string();
    let own = |ids: &[&str]| -> Vec<String> { ids.iter().map(|id| (*id).to_owned()).collect() };
    assert_eq!(
        members(operations),
        (clear, own(add), own(remove)),
        "{text}"
    );
}

#[test]
fn the_vectors() {
    let data: Value =
        serde_json::from_str(include_str!("../../../tests/data/vectors/patch.json")).unwrap();
    let cases = data["cases"].as_array().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let kind = if case["resource"] == "User" {
            Kind::User
        } else {
            Kind::Group
        };
        let mut base = object(data["base"][kind.name()].clone());
        for key in case["before_without"].as_array().into_iter().flatten() {
            base.remove(key.as_str().unwrap());
        }
        let mut before = normalise(kind, base).unwrap();
        let mut ids: Vec<Value> = Vec::new();
        if let Some(Value::Array(list)) = before.remove("members") {
            ids = list.iter().map(|member| member["value"].clone()).collect();
        }
        let copy = before.clone();
        let result = patched(kind, &before, case["operations"].clone());
        assert_eq!(before, copy);
        let title = &case["title"];
        if case["error"].is_object() {
            let fault = result.unwrap_err();
            let allowed = case["error"]["scimType"].as_array().unwrap();
            assert!(
                allowed.contains(&json!(fault.scim_type())),
                "{title}: {fault}"
            );
            continue;
        }
        let Applied {
            mut attributes,
            members,
        } = result.unwrap_or_else(|fault| panic!("{title}: {fault}"));
        if members.clear {
            ids.clear();
        }
        ids.retain(|id| !members.remove.iter().any(|gone| id == gone));
        for id in members.add {
            if !ids.contains(&json!(id)) {
                ids.push(json!(id));
            }
        }
        if !ids.is_empty() {
            let list = ids.into_iter().map(|id| json!({ "value": id })).collect();
            attributes.insert("members".into(), Value::Array(list));
        }
        for (key, wanted) in case["after"].as_object().into_iter().flatten() {
            assert_eq!(attributes.get(key), Some(wanted), "{title}");
        }
        for key in case["absent"].as_array().into_iter().flatten() {
            assert!(!attributes.contains_key(key.as_str().unwrap()), "{title}");
        }
    }
}

#[test]
fn what_entra_sends() {
    let on = |value: Value| json!([{"op": "Replace", "path": "active", "value": value}]);
    for off in [
        json!("False"),
        json!("false"),
        json!(false),
        json!(["false"]),
        json!(0),
    ] {
        check(on(off), json!({"active": false}));
    }
    check(
        json!([{"op": "replace", "path": "emails[type eq \"work\"].value", "value": "n@x.org"},
               {"op": "replace", "value": {"displayName": "N", "name.givenName": "G", format!("{E}:employeeNumber"): "7", "title": null}}]),
        json!({"displayName": "N", "title": null,
               "emails": [{"value": "n@x.org", "type": "work", "primary": true}, {"value": "babs@jensen.org", "type": "home"}],
               "name": {"formatted": "Barbara Jensen", "familyName": "Jensen", "givenName": "G"},
               E: {"employeeNumber": "7", "department": "Tour Operations", "costCenter": "4130"}}),
    );
    for op in ["Add", "Replace"] {
        check(
            json!([{"op": op, "path": "emails[type eq \"other\"].value", "value": "o@x.org"}]),
            json!({"emails": [{"value": "bjensen@example.com", "type": "work", "primary": true},
                              {"value": "babs@jensen.org", "type": "home"}, {"value": "o@x.org", "type": "other"}]}),
        );
        check(
            json!([{"op": op, "path": "roles[primary eq \"True\"].value", "value": "editor"},
                   {"op": op, "path": "roles[primary eq \"True\"].value", "value": "admin"}]),
            json!({"roles": [{"primary": true, "value": "admin"}]}),
        );
    }
    // A filter on a single-valued attribute.
    check(
        json!([{"op": "Replace", "path": "title[type eq \"x\"]", "value": "T"}]),
        json!({"title": "T"}),
    );
    check(json!([]), json!({}));
    check(
        json!([{"op": "replace", "value": {"password": "x"}}, {"op": "add", "path": "password", "value": "x"}]),
        json!({}),
    );
}

#[test]
fn a_manager_in_every_shape() {
    let enterprise = |manager: Value| {
        let mut kept = json!({"employeeNumber": "701984", "department": "Tour Operations", "costCenter": "4130"});
        if !manager.is_null() {
            kept["manager"] = manager;
        }
        json!({ E: kept })
    };
    for (path, value, wanted) in [
        (format!("{E}:manager"), json!("m1"), json!({"value": "m1"})),
        (
            format!("{E}:manager"),
            json!({"value": "m1"}),
            json!({"value": "m1"}),
        ),
        (
            format!("{E}:manager.value"),
            json!("m1"),
            json!({"value": "m1"}),
        ),
        (
            "manager".into(),
            json!([{"$ref": "u/m1", "value": "m1"}]),
            json!({"$ref": "u/m1", "value": "m1"}),
        ),
    ] {
        check(
            json!([{"op": "Add", "path": path, "value": value}]),
            enterprise(wanted),
        );
    }
    let mut with = user();
    with[E]["manager"] = json!({"value": "m1", "$ref": "u/m1", "displayName": "Old"});
    for (op, value) in [
        ("Replace", json!("")),
        ("Replace", json!({"value": ""})),
        ("Replace", json!({"value": null})),
        ("Replace", json!(null)),
        ("Add", json!([])),
        ("Remove", json!(null)),
    ] {
        let path = format!("{E}:manager");
        check_on(
            &with,
            json!([{"op": op, "path": path, "value": value}]),
            enterprise(Value::Null),
        );
    }
    check_on(
        &with,
        json!([{"op": "replace", "path": format!("{E}:manager"), "value": "m2"}]),
        enterprise(json!({"value": "m2"})),
    );
    check_on(
        &with,
        json!([{"op": "replace", "value": {E: {"manager": {"displayName": "New"}}}}]),
        enterprise(json!({"value": "m1", "$ref": "u/m1", "displayName": "New"})),
    );
}

#[test]
fn values_of_multi_valued_attributes() {
    let work = json!({"value": "bjensen@example.com", "type": "work", "primary": true});
    let home = json!({"value": "babs@jensen.org", "type": "home"});
    let mut second = work.clone();
    second["primary"] = json!(false);
    let cases = [
        // Already there; one object instead of an array; a new primary.
        (
            json!({"op": "add", "path": "emails", "value": [home]}),
            json!([work, home]),
        ),
        (
            json!({"op": "add", "path": "emails", "value": {"value": "x", "PRIMARY": "True"}}),
            json!([second, home, {"value": "x", "primary": true}]),
        ),
        (
            json!({"op": "replace", "path": "emails[type eq \"home\"].primary", "value": "true"}),
            json!([second, {"value": "babs@jensen.org", "type": "home", "primary": true}]),
        ),
        (
            json!({"op": "replace", "path": "emails[type eq \"home\"]", "value": {"value": "y"}}),
            json!([work, {"value": "y"}]),
        ),
        (
            json!({"op": "add", "path": "emails[type eq \"home\"]", "value": {"display": "d"}}),
            json!([work, {"value": "babs@jensen.org", "type": "home", "display": "d"}]),
        ),
        (
            json!({"op": "add", "path": "emails[type eq \"other\"]", "value": {"value": "z"}}),
            json!([work, home, {"type": "other", "value": "z"}]),
        ),
        (
            json!({"op": "replace", "path": "emails[type eq \"home\"].value", "value": null}),
            json!([work, {"type": "home"}]),
        ),
        (
            json!({"op": "remove", "path": "emails[type eq \"home\"].type"}),
            json!([work, {"value": "babs@jensen.org"}]),
        ),
        // Remove with a value is not remove all.
        (
            json!({"op": "remove", "path": "emails", "value": [{"value": "BABS@jensen.org"}]}),
            json!([work]),
        ),
        (
            json!({"op": "remove", "path": "emails", "value": "babs@jensen.org"}),
            json!([work]),
        ),
        (
            json!({"op": "remove", "path": "emails", "value": [{"value": "no"}, {}, {"display": "x"}]}),
            json!([work, home]),
        ),
        (
            json!({"op": "remove", "path": "emails", "value": []}),
            json!([work, home]),
        ),
        (
            json!({"op": "remove", "path": "emails[type eq \"pager\"]"}),
            json!([work, home]),
        ),
        (
            json!({"op": "add", "path": "emails", "value": null}),
            json!([work, home]),
        ),
        (
            json!({"op": "remove", "path": "emails[type pr]"}),
            json!(null),
        ),
        (json!({"op": "remove", "path": "emails"}), json!(null)),
        (
            json!({"op": "replace", "path": "emails", "value": null}),
            json!(null),
        ),
        (
            json!({"op": "replace", "path": "emails", "value": []}),
            json!([]),
        ),
        (
            json!({"op": "replace", "value": {"EMAILS": home}}),
            json!([home]),
        ),
    ];
    for (operation, wanted) in cases {
        check(json!([operation]), json!({ "emails": wanted }));
    }
}

#[test]
fn what_no_schema_knows_is_kept_as_sent() {
    check(
        json!([{"op": "add", "path": "badge", "value": {"N": [1, null]}}]),
        json!({"badge": {"N": [1, null]}}),
    );
    check(
        json!([{"op": "add", "value": {"odd key!": "x", "badge.n": 1}}]),
        json!({"odd key!": "x", "badge": {"n": 1}}),
    );
    let schemas = |urn: &str| json!(["urn:ietf:params:scim:schemas:core:2.0:User", E, urn]);
    for (path, value) in [
        ("urn:x:1.0:User", json!({"a": 1})),
        ("urn:x:1.0:User:a", json!(1)),
    ] {
        check(
            json!([{"op": "add", "path": path, "value": value}]),
            json!({"urn:x:1.0:User": {"a": 1}, "schemas": schemas("urn:x:1.0:User")}),
        );
    }
    // The extension goes, and its URN with it.
    for operation in [
        json!({"op": "remove", "path": E}),
        json!({"op": "replace", "value": {E: null}}),
    ] {
        check(
            json!([operation]),
            json!({E: null, "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"]}),
        );
    }
}

#[test]
fn what_is_refused() {
    let cases = [
        (
            json!({"op": "replace", "path": "groups", "value": []}),
            "mutability",
        ),
        (
            json!({"op": "remove", "path": "meta.created"}),
            "mutability",
        ),
        (
            json!({"op": "change", "path": "title", "value": "x"}),
            "invalidSyntax",
        ),
        (json!("x"), "invalidSyntax"),
        (
            json!({"op": "add", "OP": "add", "path": "title", "value": "x"}),
            "invalidSyntax",
        ),
        (
            json!({"op": "replace", "path": 5, "value": "x"}),
            "invalidPath",
        ),
        (
            json!({"op": "replace", "path": "a b", "value": "x"}),
            "invalidPath",
        ),
        (
            json!({"op": "replace", "path": "title.x", "value": "x"}),
            "invalidPath",
        ),
        (json!({"op": "replace", "path": "title"}), "invalidValue"),
        (json!({"op": "replace", "value": "x"}), "invalidValue"),
        (
            json!({"op": "replace", "path": "title", "value": ["a", "b"]}),
            "invalidValue",
        ),
        (
            json!({"op": "replace", "path": "active", "value": "perhaps"}),
            "invalidValue",
        ),
        (
            json!({"op": "add", "path": "emails", "value": "x@example.com"}),
            "invalidValue",
        ),
        (json!({"op": "remove", "path": "userName"}), "mutability"),
        (
            json!({"op": "replace", "path": "userName", "value": null}),
            "mutability",
        ),
        (
            json!({"op": "replace", "path": "userName", "value": ""}),
            "invalidValue",
        ),
        (
            json!({"op": "replace", "path": "emails[type co \"x\"].value", "value": "x"}),
            "noTarget",
        ),
        (
            json!({"op": "add", "path": "emails[type eq \"a\" and type eq \"b\"].value", "value": "x"}),
            "noTarget",
        ),
    ];
    for (operation, scim_type) in cases {
        check_refused(Kind::User, json!([operation]), scim_type);
    }
    let many = vec![json!({"op": "remove", "path": "title"}); 101];
    check_refused(Kind::User, json!(many), "invalidSyntax");
    let values: Vec<Value> = (0..1001).map(|n| json!({"value": n.to_string()})).collect();
    check_refused(
        Kind::User,
        json!([{"op": "add", "path": "emails", "value": values}]),
        "invalidValue",
    );
    check_refused(
        Kind::Group,
        json!([{"op": "remove", "path": "members[display eq \"x\"]"}]),
        "invalidFilter",
    );
    check_refused(
        Kind::Group,
        json!([{"op": "remove", "path": "members.value"}]),
        "invalidPath",
    );
    check_refused(
        Kind::Group,
        json!([{"op": "add", "path": "members", "value": [{"display": "x"}]}]),
        "invalidValue",
    );
    for body in [
        json!([]),
        json!({}),
        json!({"members": []}),
        json!({"Operations": {}}),
    ] {
        let fault = Operation::read(Kind::User, &body, 100, Bounds::default()).unwrap_err();
        assert_eq!(fault.scim_type(), Some("invalidSyntax"), "{body}");
    }
}

#[test]
fn read_only_attributes_inside_a_value_are_left_alone() {
    check(
        json!([{"op": "replace", "value": {"id": "x", "schemas": ["x"], "meta": {"a": 1}, "groups": [{"value": "g"}], "nickName": "N"}}]),
        json!({"nickName": "N"}),
    );
    let applied = patched(
        Kind::Group,
        &group(),
        json!([{"op": "replace", "value": {"id": "x", "displayName": "New"}}]),
    );
    assert_eq!(applied.unwrap().attributes["displayName"], "New");
}

#[test]
fn members_in_every_shape() {
    let op = |op: &str, path: Value, value: Value| json!({"op": op, "path": path, "value": value});
    let (ab, p) = (
        json!([{"value": "a"}, {"$ref": null, "VALUE": "b"}, "a"]),
        json!("members"),
    );
    check_members(
        json!([op("Add", p.clone(), ab.clone())]),
        false,
        &["a", "b"],
        &[],
    );
    check_members(
        json!([op("Remove", p.clone(), ab.clone())]),
        false,
        &[],
        &["a", "b"],
    );
    check_members(
        json!([op("replace", p.clone(), ab.clone())]),
        true,
        &["a", "b"],
        &[],
    );
    check_members(
        json!([op("replace", json!(null), json!({"members": ab}))]),
        true,
        &["a", "b"],
        &[],
    );
    check_members(
        json!([op("add", json!(""), json!({"members": "c"}))]),
        false,
        &["c"],
        &[],
    );
    check_members(
        json!([op("remove", p.clone(), json!({"value": "a"}))]),
        false,
        &[],
        &["a"],
    );
    check_members(
        json!([op("remove", p.clone(), json!("a"))]),
        false,
        &[],
        &["a"],
    );
    check_members(json!([op("remove", p.clone(), json!([]))]), false, &[], &[]);
    check_members(json!([{"op": "remove", "path": "members"}]), true, &[], &[]);
    check_members(
        json!([op("replace", p.clone(), json!(null))]),
        true,
        &[],
        &[],
    );
    check_members(json!([op("add", p.clone(), json!(null))]), false, &[], &[]);
    check_members(
        json!([op(
            "replace",
            json!("members[value eq \"a\"].display"),
            json!("x")
        )]),
        false,
        &[],
        &[],
    );
    check_members(
        json!([{"op": "remove", "path": "urn:ietf:params:scim:schemas:core:2.0:Group:members[value eq \"a\" and type eq \"User\"]"}]),
        false,
        &[],
        &["a"],
    );
    // In order, the later counts.
    check_members(
        json!([
            op("add", p.clone(), json!("a")),
            op("remove", p.clone(), json!("a")),
            op("remove", p.clone(), json!("b")),
            op("add", p.clone(), json!("b"))
        ]),
        false,
        &["b"],
        &["a"],
    );
    check_members(
        json!([op("add", p.clone(), json!("a")), {"op": "remove", "path": "members"}, op("add", p.clone(), json!("c")), op("remove", p.clone(), json!("d"))]),
        true,
        &["c"],
        &[],
    );
    // On a user, `members` is an attribute like any other that no schema knows.
    check(json!([op("add", p, json!([1]))]), json!({"members": [1]}));
}

#[test]
fn the_member_delta_of_scim_1_1() {
    let body = json!({"schemas": ["urn:scim:schemas:core:1.0"], "displayName": "D",
        "members": [{"value": "a", "operation": "delete"}, {"value": "b", "operation": "add"}, {"value": "c"}]});
    let operations = Operation::read(Kind::Group, &body, 100, Bounds::default()).unwrap();
    let applied = apply(Kind::Group, &group(), &operations).unwrap();
    assert_eq!(applied.attributes["displayName"], "D");
    assert_eq!(
        applied.members,
        MemberDelta {
            clear: false,
            add: vec!["b".into(), "c".into()],
            remove: vec!["a".into()]
        }
    );
}

#[test]
fn keys_of_the_body_come_in_any_case() {
    let body = json!({"operations": [{"OP": "REPLACE", "Path": " TITLE ", "Value": "T"}]});
    let operations = Operation::read(Kind::User, &body, 1, Bounds::default()).unwrap();
    assert_eq!(
        apply(Kind::User, &user(), &operations).unwrap().attributes["title"],
        "T"
    );
}

/// What a path names, as far as the property below needs it: the top-level key, the key within an extension, and the text
/// itself, which with an object for a value may be the URN of an extension.
fn names(text: &str) -> Vec<String> {
    let path = Path::parse(text, Bounds::default()).unwrap();
    let place = schema::place(Kind::User, &user(), &path.attr);
    place
        .extension
        .into_iter()
        .chain([place.key, text.to_owned()])
        .collect()
}

fn any_operation() -> impl Strategy<Value = (String, Value)> {
    let path = prop::sample::select(vec![
        "title",
        "name",
        "name.givenName",
        "emails",
        "emails.value",
        "emails[type eq \"work\"].value",
        "emails[type eq \"home\"]",
        "emails[type eq \"new\"].primary",
        "phoneNumbers[value sw \"5\"]",
        "active",
        "NICKNAME",
        "badge",
        "badge.x",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
        "manager",
        "urn:x:1.0:T:a",
        "userName",
        "externalId",
    ]);
    let value = prop::sample::select(vec![
        json!("x"),
        json!(null),
        json!(true),
        json!("False"),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({"value": "v", "type": "new"}),
        json!([{"value": "v", "primary": true}, {"type": "home"}]),
        json!({"givenName": null, "familyName": "F"}),
        json!(5),
    ]);
    let op = prop::sample::select(vec!["add", "replace", "remove"]);
    (op, path, value, any::<bool>()).prop_map(|(op, path, value, pathless)| {
        let operation = if pathless && op != "remove" && !path.contains('[') {
            json!({"op": op, "value": {path: value}})
        } else {
            json!({"op": op, "path": path, "value": value})
        };
        (path.to_owned(), operation)
    })
}

proptest! {
    #[test]
    fn a_patch_changes_no_attribute_that_it_does_not_name(chosen in proptest::collection::vec(any_operation(), 0..5)) {
        let mut before = user();
        before.insert("badge".into(), json!({"x": 1, "y": 2}));
        let operations: Vec<Value> = chosen.iter().map(|(_, operation)| operation.clone()).collect();
        let named: Vec<String> = chosen.iter().flat_map(|(path, _)| names(path)).collect();
        let Ok(applied) = patched(Kind::User, &before, Value::Array(operations)) else {
            return Ok(());
        };
        let after = applied.attributes;
        for key in before.keys().chain(after.keys()) {
            if key == "schemas" {
                continue;
            }
            if !named.contains(key) {
                prop_assert_eq!(before.get(key), after.get(key));
            } else if let (Some(Value::Object(old)), true) = (before.get(key), key == E) {
                let new = after.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
                for inner in old.keys().filter(|inner| !named.contains(inner)) {
                    prop_assert_eq!(old.get(inner), new.get(inner));
                }
            }
        }
    }
}

#[test]
fn the_filters_of_one_patch_compare_only_so_much() {
    let values: Vec<Value> = (0..1_000)
        .map(|at| json!({ "value": at.to_string() }))
        .collect();
    let mut before = user();
    before.insert("emails".into(), values.into());
    let terms = vec!["value eq \"none\""; 50].join(" or ");
    let operation = json!({"op": "remove", "path": format!("emails[{terms}]")});
    let patch = |operations: usize| {
        patched(
            Kind::User,
            &before,
            vec![operation.clone(); operations].into(),
        )
    };
    // 1,000 values and 50 terms an operation.
    assert!(patch(20).is_ok());
    assert_eq!(
        patch(21).map(|_| ()).map_err(|fault| fault.scim_type()),
        Err(Some("tooMany"))
    );
}
