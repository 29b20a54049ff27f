use proptest::prelude::*;
use serde_json::json;

use super::*;

const E: &str = ENTERPRISE;
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

fn normalised(kind: Kind, body: &Value) -> Result<Value, Fault> {
    normalise(kind, body.as_object().unwrap().clone()).map(Value::Object)
}

fn check(kind: Kind, body: Value, wanted: Value) {
    assert_eq!(normalised(kind, &body), Ok(wanted), "{body}");
}

#[test]
fn brings_a_body_to_the_schema() {
    // Names, and what the gateway gives itself.
    check(
        Kind::User,
        json!({"USERNAME": "a", "Name": {"GIVENNAME": "G", "familyName": null, "x": null}, "id": "i", "META": {},
               "groups": [], "Password": "p", "title": null, "schemas": ["x"]}),
        json!({"userName": "a", "name": {"givenName": "G"}, "schemas": [USER]}),
    );
    // Booleans, one object for an array, values that hold nothing.
    check(
        Kind::User,
        json!({"active": "FALSE", "emails": {"value": "v", "Primary": "True"}, "roles": [], "name": {},
               "ims": [null, {"value": null}, {"value": "i", "primary": 0, "own": {"A": null}}]}),
        json!({"active": false, "emails": [{"value": "v", "primary": true}], "roles": [],
               "ims": [{"value": "i", "primary": false, "own": {"A": null}}], "schemas": [USER]}),
    );
    // Extensions: known, listed only, unknown, misspelled; the manager as a string.
    check(
        Kind::User,
        json!({"schemas": [USER], E.to_uppercase(): {"MANAGER": "m", "own": 1, "division": null}}),
        json!({E: {"manager": {"value": "m"}, "own": 1}, "schemas": [USER, E]}),
    );
    check(
        Kind::User,
        json!({"schemas": [E, USER, "urn:gone:1.0"], "urn:x:1.0": {"a": null}, "urn:y": "no object"}),
        json!({"urn:x:1.0": {"a": null}, "urn:y": "no object", "schemas": [USER, E, "urn:x:1.0"]}),
    );
    check(
        Kind::User,
        json!({"urn:ietf:params:scim:schemas:extension:enterprise:2.0User": {"department": "d"}}),
        json!({E: {"department": "d"}, "schemas": [USER, E]}),
    );
    check(
        Kind::User,
        json!({USER: {"userName": "a"}, "shoe": [3, null]}),
        json!({"userName": "a", "shoe": [3, null], "schemas": [USER]}),
    );
    // A group keeps its members, and has no enterprise extension.
    check(
        Kind::Group,
        json!({"displayName": "G", "members": ["a", {"value": "b", "$ref": null}], "schemas": [E]}),
        json!({"displayName": "G", "members": [{"value": "a"}, {"value": "b"}], "schemas": [GROUP]}),
    );
    check(
        Kind::Group,
        json!({"password": "p", "urn:ietf:params:scim:schemas:core:2.0:User:PASSWORD": "p"}),
        json!({"schemas": [GROUP]}),
    );
    check(
        Kind::Group,
        json!({"members": []}),
        json!({"members": [], "schemas": [GROUP]}),
    );
}

#[test]
fn refuses_and_names_the_attribute() {
    let cases = [
        (
            json!({"userName": "secret", "USERNAME": "secret"}),
            "invalidSyntax",
            "userName",
        ),
        (
            json!({"shoe": 1, "Shoe": 1}),
            "invalidSyntax",
            "given twice",
        ),
        (
            json!({"name": {"givenName": "secret", "GIVENNAME": "secret"}}),
            "invalidSyntax",
            "givenName is given twice in name",
        ),
        (
            json!({E: {"division": "1", "Division": "2"}}),
            "invalidSyntax",
            "division",
        ),
        (
            json!({"userName": 5}),
            "invalidValue",
            "userName must be a string",
        ),
        (
            json!({"active": "secret"}),
            "invalidValue",
            "active must be true or false",
        ),
        (json!({"active": 2}), "invalidValue", "active"),
        (
            json!({"name": "secret"}),
            "invalidValue",
            "name must be an object",
        ),
        (
            json!({"emails": ["secret"]}),
            "invalidValue",
            "emails must be an object",
        ),
        (
            json!({"emails": [{"primary": "secret"}]}),
            "invalidValue",
            "emails.primary",
        ),
        (
            json!({"title": ["secret"]}),
            "invalidValue",
            "title must be a string",
        ),
        (json!({E: "secret"}), "invalidValue", "must be an object"),
        (
            json!({E: {"manager": {"value": 5}}}),
            "invalidValue",
            "manager.value must be a string",
        ),
        (json!({"schemas": 5}), "invalidValue", "schemas"),
        (
            json!({E: {"division": "1"}, "urn:scim:schemas:extension:enterprise:2.0": {}}),
            "invalidSyntax",
            E,
        ),
        (
            json!({"x509Certificates": [{"value": "-----secret-----"}]}),
            "invalidValue",
            "x509Certificates.value must be a base64 text",
        ),
        (
            json!({"x509Certificates": [{"value": 5}]}),
            "invalidValue",
            "x509Certificates.value",
        ),
        (
            json!({"emails": vec![json!({"value": "x"}); 1001]}),
            "invalidValue",
            "emails may hold at most 1000",
        ),
    ];
    for (body, scim_type, text) in cases {
        let fault = normalised(Kind::User, &body).unwrap_err();
        assert_eq!(fault.scim_type(), Some(scim_type), "{fault}");
        let shown = fault.public().to_lowercase();
        assert!(shown.contains(&text.to_lowercase()), "{fault}");
        assert!(!shown.contains("secret"), "{fault}");
    }
    let members = json!({"members": vec![json!({"value": "x"}); 1001]});
    assert!(normalised(Kind::Group, &members).is_ok());
}

#[test]
fn base64_is_told_from_other_text() {
    for fine in [
        "",
        "QUJD",
        "QUI=",
        "QUI",
        "QQ==",
        "QQ",
        "+/+/",
        "QUJD\r\nQUI=\n",
    ] {
        assert!(is_base64(fine), "{fine:?}");
    }
    for wrong in [
        "QUJDQ",
        "QQ=",
        "Q===",
        "QU=D",
        "====",
        "=",
        "QU JD",
        "-_-_",
        "QUI=QUI=",
        "\u{e4}bcd",
        "not base64!",
    ] {
        assert!(!is_base64(wrong), "{wrong:?}");
    }
}

#[test]
fn a_password_is_dropped_wherever_it_stands() {
    for key in [
        "password",
        "PASSWORD",
        "urn:x:1.0:User:password",
        "password.value",
        "login.Password",
    ] {
        assert!(is_password(key), "{key}");
    }
    for key in ["passwords", "urn:password:1.0:User", "passwordPolicy", ""] {
        assert!(!is_password(key), "{key}");
    }
    let secret = json!({"password": "secret", "deep": [[{"urn:x:PassWord": "secret"}]], "b": 1});
    let kept = json!({"deep": [[{}]], "b": 1});
    check(
        Kind::User,
        json!({"own": secret, E: {"password": "secret", "own": secret}, "urn:x:1": secret,
               "emails": [{"value": "v", "password": "secret", "own": secret}], "name": {"Password": "secret"}}),
        json!({"own": kept, E: {"own": kept}, "urn:x:1": kept, "emails": [{"value": "v", "own": kept}],
               "schemas": [USER, E, "urn:x:1"]}),
    );
}

#[test]
fn checks_what_is_required() {
    let cases = [
        (Kind::User, json!({"userName": "a"}), true),
        (Kind::User, json!({"userName": " "}), false),
        (Kind::User, json!({"displayName": "a"}), false),
        (Kind::Group, json!({"displayName": "a"}), true),
        (Kind::Group, json!({"displayName": ""}), false),
        (Kind::Group, json!({}), false),
    ];
    for (kind, body, fine) in cases {
        assert_eq!(
            check_required(kind, body.as_object().unwrap()).is_ok(),
            fine,
            "{body}"
        );
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec!["", "True", "x"]).prop_map(Value::from),
        Just(json!(1)),
    ];
    let key = prop::sample::select(vec![
        "value",
        "Primary",
        "type",
        "givenName",
        "manager",
        "own",
    ]);
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..3).prop_map(|entries| entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_canonical_stays(entries in proptest::collection::vec(
        (prop::sample::select(vec!["userName", "EMAILS", "emails", "name", "active", "own", E, "urn:x", "schemas", "groups"]), any_value()), 0..5
    )) {
        let body: Map<String, Value> = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        if let Ok(once) = normalise(Kind::User, body) {
            prop_assert_eq!(normalise(Kind::User, once.clone()), Ok(once));
        }
    }
}
