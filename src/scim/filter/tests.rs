use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::scim::Kind;
use crate::scim::schema::normalise;

fn parse(text: &str) -> Filter {
    Filter::parse(text, Bounds::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Parses, and checks the promise `parse(print(x)) == x` and that printing is stable.
fn reprinted(text: &str) -> String {
    let filter = parse(text);
    let printed = filter.to_string();
    let wide = Bounds {
        length: 1 << 16,
        ..Bounds::default()
    };
    let again = Filter::parse(&printed, wide).unwrap_or_else(|error| panic!("{printed}: {error}"));
    assert_eq!(again, filter, "{text:?} {printed:?}");
    printed
}

#[test]
fn a_filter_names_its_attributes_and_none_of_its_values() {
    for (text, names) in [
        ("userName eq \"ada\"", vec!["userName"]),
        (
            "not (active eq true) and (id pr or name.givenName sw \"A\")",
            vec!["active", "id", "name.givenName"],
        ),
        (
            "emails[type eq \"work\"].value eq \"ada@x.example\"",
            vec!["emails.type", "emails.value"],
        ),
        (
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq \"7\"",
            vec!["manager.value"],
        ),
    ] {
        assert_eq!(parse(text).attributes(), names, "{text}");
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

#[test]
fn the_vectors_parse_and_match() {
    let data: Value = serde_json::from_str(include_str!(
        "../../../tests/data/vectors/filters_valid.json"
    ))
    .unwrap();
    let users: Vec<(&str, Map<String, Value>)> = data["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| {
            let mut user = normalise(Kind::User, object(resource["doc"].clone())).unwrap();
            user.insert("id".into(), resource["key"].clone());
            user.insert(
                "meta".into(),
                json!({"resourceType": "User", "created": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-01T00:00:00Z"}),
            );
            (resource["key"].as_str().unwrap(), user)
        })
        .collect();
    let cases = data["cases"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let text = case["filter"].as_str().unwrap();
        reprinted(text);
        let Some(wanted) = case["match"].as_array() else {
            continue;
        };
        let filter = parse(text);
        for (key, user) in &users {
            let either = case["either"]
                .as_array()
                .is_some_and(|either| either.contains(&json!(key)));
            if !either {
                assert_eq!(
                    filter.matches(Kind::User, user),
                    wanted.contains(&json!(key)),
                    "{text} {key}"
                );
            }
        }
    }
}

#[test]
fn the_wrong_vectors_do_not_parse() {
    let data: Value = serde_json::from_str(include_str!(
        "../../../tests/data/vectors/filters_invalid.json"
    ))
    .unwrap();
    let cases = data["cases"].as_array().unwrap();
    assert!(cases.len() > 70);
    for case in cases {
        let text = case["filter"].as_str().unwrap();
        let tolerated = case["lenient_ok"] == json!(true) || case["either_ok"] == json!(true);
        if !tolerated {
            assert!(Filter::parse(text, Bounds::default()).is_err(), "{text}");
        }
    }
}

#[test]
fn prints_with_as_few_parentheses_as_the_meaning_needs() {
    let cases = [
        ("((a PR))", "a pr"),
        ("(a pr or b pr) and (c pr)", "(a pr or b pr) and c pr"),
        ("(a pr and b pr) or c pr", "a pr and b pr or c pr"),
        ("a pr and (b pr and (c pr))", "a pr and b pr and c pr"),
        ("NOT(a eq TRUE)", "not (a eq true)"),
        ("not (not (a pr))", "not (not (a pr))"),
        (
            "e[(t eq \"x\") or v Co \"y\"].v Eq \"z\"",
            "e[t eq \"x\" or v co \"y\"].v eq \"z\"",
        ),
        ("externalId eq jyoung", "externalId eq \"jyoung\""),
        ("externalId eq 00u1a2b3c4", "externalId eq \"00u1a2b3c4\""),
        (
            "userName eq a.b@example.com",
            "userName eq \"a.b@example.com\"",
        ),
        ("a eq \"\\u00fc\\/\\n\"", "a eq \"\u{fc}/\\n\""),
        (
            "a eq -1 or a eq 1E+2 or a eq 0.5",
            "a eq -1 or a eq 100.0 or a eq 0.5",
        ),
        ("not eq 1", "not eq 1"),
    ];
    for (text, wanted) in cases {
        assert_eq!(reprinted(text), wanted);
    }
}

#[test]
fn matches_as_identity_providers_mean_it() {
    let user = json!({
        "userName": "Ju\u{308}rgen@Example.com", "externalId": "Ext-1", "active": false,
        "nickName": "", "roles": [{"value": "r1", "primary": true}, {"value": "r2"}], "photos": [],
        "emails": [{"type": "work", "value": "w@x.org"}, {"type": "home", "value": "h@x.org"}],
        "x": {"n": 5, "s": "Text"}, "tags": ["One", "two"],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": {"value": "m1"}, "department": "R"},
        "urn:x:1.0:T": {"Level": 3},
        "meta": {"lastModified": "2026-05-01T10:00:00.000Z"}
    });
    let user = object(user);
    let cases = [
        ("userName eq \"j\u{fc}rgen@example.com\"", true),
        ("externalId eq \"ext-1\"", false),
        ("externalId eq Ext-1", true),
        ("active eq \"False\"", true),
        ("active eq \"True\"", false),
        ("active ne true", true),
        ("roles[primary eq \"True\"].value eq \"r1\"", true),
        ("roles[primary eq \"True\"].value eq \"r2\"", false),
        ("roles[primary ne true]", true),
        ("emails[type eq \"work\"].value eq \"W@X.ORG\"", true),
        ("emails[type eq \"work\"].value eq \"h@x.org\"", false),
        ("emails[type eq \"work\"].display pr", false),
        ("emails eq \"h@x.org\"", true),
        ("emails.value ne \"h@x.org\"", true),
        ("title eq null", true),
        ("title ne null", false),
        ("title ne \"x\"", true),
        ("title gt \"\"", false),
        ("active eq null", false),
        ("nickName pr", false),
        ("photos pr", false),
        ("emails pr", true),
        ("x.n gt 4 and x.n le 5.0", true),
        ("x.n gt \"4\"", false),
        ("x.s eq \"TEXT\"", true),
        ("tags eq \"one\" and tags co \"WO\"", true),
        ("tags[value eq \"two\"]", true),
        ("manager eq \"m1\"", true),
        ("manager eq \"M1\"", false),
        ("department eq \"r\"", true),
        ("urn:x:1.0:t:level ge 3", true),
        (
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr",
            true,
        ),
        ("urn:y:1.0:T:level pr", false),
        ("meta.lastModified gt \"2026-05-01T11:59:59+02:00\"", true),
        ("meta.lastModified eq \"2026-05-01T12:00:00+02:00\"", true),
        ("meta.lastModified gt \"1960-01-01T00:00:00Z\"", true),
        ("meta.lastModified gt \"yesterday\"", false),
        ("not (title pr) and userName ew \"EXAMPLE.COM\"", true),
    ];
    for (text, wanted) in cases {
        assert_eq!(parse(text).matches(Kind::User, &user), wanted, "{text}");
    }
}

#[test]
fn a_conjunction_shows_its_comparisons() {
    let cases: [(&str, Option<&[&str]>); 8] = [
        ("userName eq \"x\"", Some(&["userName \"x\""])),
        (
            "id eq \"a\" and manager eq \"b\"",
            Some(&["id \"a\"", "manager \"b\""]),
        ),
        ("emails[type eq \"work\"].value eq \"x\"", None),
        ("emails[type eq \"work\"]", None),
        ("id eq \"a\" or id eq \"b\"", None),
        ("id eq \"a\" and title pr", None),
        ("not (id eq \"a\")", None),
        ("manager eq null", None),
    ];
    for (text, wanted) in cases {
        let filter = parse(text);
        let found: Option<Vec<String>> = filter.conjunction().map(|terms| {
            terms
                .iter()
                .map(|(path, value)| format!("{path} {value}"))
                .collect()
        });
        let wanted: Option<Vec<String>> =
            wanted.map(|terms| terms.iter().map(|term| (*term).to_owned()).collect());
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn errors_say_where_and_why_and_show_no_value() {
    let cases = [
        ("userName bad \"secret\"", 9, "\"bad\" is not an operator"),
        ("userName eq \"secret", 12, "not closed"),
        ("userName eq secret secret", 19, "\"and\" or \"or\""),
        ("active gt true", 10, "eq and ne only"),
        ("1name pr", 0, "\"1name\" is not an attribute"),
        ("(a pr", 5, "not closed"),
        ("a pr)", 4, "not open"),
        ("a[b pr", 6, "not closed"),
        ("a[b[c pr]]", 3, "inside"),
        ("", 0, "an attribute is wanted"),
    ];
    for (text, at, wanted) in cases {
        let error = Filter::parse(text, Bounds::default()).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.text.contains(wanted), "{text}: {error}");
        assert!(!error.text.contains("secret"), "{text}: {error}");
    }
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let nested = |depth: usize| format!("{}a pr{}", "(".repeat(depth), ")".repeat(depth));
    let joined = |terms: usize| vec!["a pr"; terms].join(" and ");
    let cases = [
        (nested(16), None),
        (nested(17), Some("deeper than 16")),
        ("(".repeat(4096), Some("deeper than 16")),
        ("not (".repeat(800), Some("deeper than 16")),
        ("a[".repeat(2000), Some("inside")),
        (joined(64), None),
        (joined(65), Some("more than 64")),
        ("x".repeat(4097), Some("longer than 4096")),
    ];
    for (text, wanted) in cases {
        let read = Filter::parse(&text, Bounds::default());
        match wanted {
            None => assert!(read.is_ok(), "{read:?}"),
            Some(wanted) => assert!(read.unwrap_err().text.contains(wanted)),
        }
    }
}

fn any_node() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("true".to_owned()),
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(|n| json!(n).to_string()),
        ".{0,6}".prop_map(|text: String| json!(text).to_string()),
        "[a-z][a-z0-9@.]{0,3}[xyz]",
    ];
    let test = prop_oneof![
        Just(" pr".to_owned()),
        ("eq|NE|Eq", value).prop_map(|(op, value)| format!(" {op} {value}")),
        "(co|sw|ew|gt|ge|lt|le) (\"[a-z() ]{0,3}\"|[0-9])".prop_map(|test| format!(" {test}")),
    ];
    let term = ("(urn:a:b:)?[a-c](\\.\\$?[a-c])?", test.clone())
        .prop_map(|(path, test)| format!("{path}{test}"));
    let plain = ("[a-c](\\.[a-c])?", test.clone()).prop_map(|(path, test)| format!("{path}{test}"));
    let joined = |leaf: BoxedStrategy<String>| {
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) OR {b}")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
                inner.prop_map(|a| format!("not ({a})")),
            ]
        })
    };
    let brackets = (
        "(urn:a:b:)?[a-c]",
        joined(plain.boxed()),
        proptest::option::of(test),
    )
        .prop_map(|(path, inner, rest)| match rest {
            Some(test) => format!("{path}[{inner}].s{test}"),
            None => format!("{path}[{inner}]"),
        });
    joined(prop_oneof![3 => term, 1 => brackets].boxed())
}

proptest! {
    #[test]
    fn a_filter_prints_as_it_parses(text in any_node()) {
        if let Err(error) = Filter::parse(&text, Bounds::default()) {
            prop_assert!(error.text.contains("more than 64") || error.text.contains("deeper"), "{}: {}", text, error);
        } else {
            reprinted(&text);
        }
    }

    #[test]
    fn any_text_parses_or_not(text in ".{0,40}") {
        let read = Filter::parse(&text, Bounds::default());
        if let Err(error) = &read {
            prop_assert!(error.at <= text.len());
        }
    }

    #[test]
    fn printing_changes_no_meaning(text in any_node(), a in "[x-z]?", b in any::<bool>(), c in any::<i8>()) {
        if let Ok(filter) = Filter::parse(&text, Bounds::default()) {
            let user = object(json!({"a": a, "b": b, "c": [{"a": c, "value": a}, {"b": b, "s": a}], "urn:a:b": {"a": b}}));
            let again = parse(&filter.to_string());
            prop_assert_eq!(again.matches(Kind::User, &user), filter.matches(Kind::User, &user));
        }
    }
}
