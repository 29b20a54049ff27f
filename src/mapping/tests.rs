use serde_json::{Map, Value, json};

use super::compile::Mapping;
use super::rule::{Row, Rule};
use super::run::Giving;
use crate::config::shape::ProfileName::{self, Scim, Zoom};

pub(super) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

pub(super) fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

pub(super) fn row(to: &str, from: &str) -> Row {
    Row {
        to: to.to_owned(),
        from: Some(from.to_owned()),
        ..Row::default()
    }
}

pub(super) fn rule(row: Row) -> Rule {
    Rule::compile(row).expect("compiles")
}

pub(super) fn created(profile: ProfileName, own: &[Rule], user: &Value) -> (Value, Vec<String>) {
    let mapped = Mapping::compile(profile, own).run(object(user), Giving::Create);
    (Value::Object(mapped.account), mapped.missing)
}

/// What one row gives for one user beside the plain scim set, `null` if nothing.
fn gives(row: Row, user: &Value) -> Value {
    let rule = rule(row);
    let account = Mapping::compile(Scim, std::slice::from_ref(&rule))
        .run(object(user), Giving::Create)
        .account;
    rule.target.read(&account).cloned().unwrap_or(Value::Null)
}

#[test]
fn own_rows_replace_or_add() {
    let user = json!({
        "userName": "a@b.c", "displayName": "Ada King", "userType": "Intern",
        "emails": [{"type": "work", "value": "Ada@B.C"}],
        "phoneNumbers": [{"type": "mobile", "value": "1"}],
        ENTERPRISE: {"department": " R&D "},
    });
    let mut lower = row(
        "EMAILS[type eq \"Work\"]",
        "$.emails[?@.type=='work'].value",
    );
    lower.transform = vec![("lower".to_owned(), None)];
    let mut department = row(
        &format!("{ENTERPRISE}:department"),
        &format!("$['{ENTERPRISE}'].department"),
    );
    department.transform = vec![("trim".to_owned(), None)];
    let own = [
        lower,
        row("displayName", "$.userType"),
        row(
            "phoneNumbers[type eq \"office\"].value",
            "$.phoneNumbers[0].value",
        ),
        row("phoneNumbers", "$.phoneNumbers"),
        department,
    ]
    .map(rule);
    let (account, missing) = created(Zoom, &own, &user);
    assert_eq!(
        account,
        json!({
            "userName": "a@b.c", "displayName": "Intern", "active": true,
            "name": {"givenName": "Ada", "familyName": "King"},
            "emails": [{"type": "Work", "value": "ada@b.c", "primary": true}],
            // The whole list first, then the entry, whatever the file's order.
            "phoneNumbers": [{"type": "mobile", "value": "1"}, {"type": "office", "value": "1"}],
            ENTERPRISE: {"department": "R&D"},
        })
    );
    assert_eq!(missing, Vec::<String>::new());
    // A replaced one is as required as its row says; userName always is.
    let own = ["displayName", "userName"].map(|to| rule(row(to, "$.nickName")));
    assert_eq!(created(Zoom, &own, &user).1, ["userName"]);
}

#[test]
fn one_row() {
    let user = json!({
        "userName": "ada", "title": " Countess ", "userType": "Employee", "active": false, "nickName": "",
        "roles": [{"value": "a"}, {"value": ""}, {"value": "b"}],
        "emails": [{"type": "home", "value": "H@x"}, {"type": "work", "value": "W@x"}],
        "x": {"level": 7, "deep": {"er": "y"}},
    });
    let table = |pairs: &[(&str, Value)]| {
        Some(
            pairs
                .iter()
                .map(|(from, to)| ((*from).to_owned(), to.clone()))
                .collect(),
        )
    };
    let with = |from: &str, change: &dyn Fn(&mut Row)| {
        let mut row = row("title", from);
        change(&mut row);
        row
    };
    let transform = |from: &str, list: &[(&str, Option<&str>)]| {
        let list = list
            .iter()
            .map(|(name, arg)| ((*name).to_owned(), arg.map(str::to_owned)));
        let list: Vec<_> = list.collect();
        with(from, &|row| row.transform.clone_from(&list))
    };
    for (what, row, value) in [
        ("as it is", row("title", "$.title"), json!(" Countess ")),
        ("absent", row("title", "$.locale"), json!(null)),
        ("blank is absent", row("title", "$.nickName"), json!(null)),
        (
            "constant",
            Row {
                to: "title".into(),
                value: Some(json!("x")),
                ..Row::default()
            },
            json!("x"),
        ),
        (
            "default for absent",
            with("$.locale", &|row| row.default = Some(json!("d"))),
            json!("d"),
        ),
        (
            "default for blank",
            with("$.nickName", &|row| row.default = Some(json!("d"))),
            json!("d"),
        ),
        (
            "no default needed",
            with("$.userType", &|row| row.default = Some(json!("d"))),
            json!("Employee"),
        ),
        (
            "in order",
            transform(
                "$.title",
                &[
                    ("trim", None),
                    ("upper", None),
                    ("prefix", Some("<")),
                    ("suffix", Some(">")),
                ],
            ),
            json!("<COUNTESS>"),
        ),
        (
            "absent stays absent",
            transform("$.locale", &[("prefix", Some("x"))]),
            json!(null),
        ),
        (
            "join",
            transform("$.roles[*].value", &[("join", Some("+"))]),
            json!("a+b"),
        ),
        (
            "join of one",
            transform(
                "$.emails[?@.type=='work'].value",
                &[("lower", None), ("join", Some("+"))],
            ),
            json!("w@x"),
        ),
        (
            "first",
            transform("$.emails[*].value", &[("first", None), ("lower", None)]),
            json!("h@x"),
        ),
        (
            "the first of several",
            row("title", "$.emails[*].value"),
            json!("H@x"),
        ),
        ("number as text", row("title", "$.x.level"), json!("7")),
        (
            "an object is no text",
            row("title", "$.x.deep"),
            json!(null),
        ),
        (
            "several into a list",
            row("roles", "$.roles[*]"),
            json!([{"value": "a"}, {"value": ""}, {"value": "b"}]),
        ),
        (
            "one into a list",
            row("roles", "$.roles[0]"),
            json!([{"value": "a"}]),
        ),
        (
            "table of text",
            with("$.userType", &|row| {
                row.table = table(&[("Employee", json!("Licensed"))])
            }),
            json!("Licensed"),
        ),
        (
            "table of booleans",
            with("$.active", &|row| {
                row.table = table(&[("true", json!("in")), ("false", json!("out"))])
            }),
            json!("out"),
        ),
        (
            "table of numbers",
            with("$.x.level", &|row| {
                row.table = table(&[("7", json!("seven"))])
            }),
            json!("seven"),
        ),
        (
            "not in the table",
            with("$.userType", &|row| {
                row.table = table(&[("employee", json!("x"))])
            }),
            json!(null),
        ),
        (
            "not in the table, default",
            with("$.userType", &|row| {
                row.table = table(&[("Intern", json!("Basic"))]);
                row.default = Some(json!("Basic"));
            }),
            json!("Basic"),
        ),
        (
            "transform before table",
            with("$.userType", &|row| {
                row.transform = vec![("lower".into(), None)];
                row.table = table(&[("employee", json!("Licensed"))]);
            }),
            json!("Licensed"),
        ),
        (
            "to a number",
            Row {
                to: "urn:x:Y:level".into(),
                table: table(&[("Employee", json!(3))]),
                ..row("title", "$.userType")
            },
            json!(3),
        ),
        (
            "when it holds",
            with("$.userType", &|row| {
                row.when = Some("userType eq \"Employee\"".into())
            }),
            json!("Employee"),
        ),
        (
            "when it does not",
            with("$.userType", &|row| {
                row.when = Some("active eq true".into())
            }),
            json!(null),
        ),
        (
            "when nothing, no default",
            with("$.locale", &|row| {
                row.when = Some("active eq true".into());
                row.default = Some(json!("d"));
            }),
            json!(null),
        ),
        (
            "absent is not equal",
            with("$.userType", &|row| {
                row.when = Some("locale ne \"en\"".into())
            }),
            json!("Employee"),
        ),
    ] {
        assert_eq!(gives(row, &user), value, "{what}");
    }
}

#[test]
fn rows_refused() {
    let key = row("userName", "$.userName");
    let with = |change: &dyn Fn(&mut Row)| {
        let mut row = row("title", "$.title");
        change(&mut row);
        row
    };
    for (row, key, says) in [
        (
            with(&|row| row.to = "titel".into()),
            "to",
            "did you mean `title`?",
        ),
        (with(&|row| row.from = None), "from", "no source"),
        (
            with(&|row| row.value = Some(json!("x"))),
            "value",
            "not both",
        ),
        (
            with(&|row| row.expr = Some("user.title".into())),
            "expr",
            "comes with a later version",
        ),
        (
            with(&|row| row.from = Some("title".into())),
            "from",
            "did you mean `$.title`?",
        ),
        (
            with(&|row| row.from = Some("$.username".into())),
            "from",
            "spells it `userName`",
        ),
        (
            with(&|row| row.from = Some("$.name.givenname".into())),
            "from",
            "spells it `givenName`",
        ),
        (
            with(&|row| row.from = Some("$.emails[0].Value".into())),
            "from",
            "spells it `value`",
        ),
        (
            with(&|row| row.from = Some("$.password".into())),
            "from",
            "not among the attributes",
        ),
        (
            with(&|row| row.default = Some(json!(1))),
            "default",
            "`title` takes a text in quotes",
        ),
        (
            with(&|row| row.default = Some(json!({"expr": "x"}))),
            "default",
            "later version",
        ),
        (
            Row {
                to: "active".into(),
                value: Some(json!("yes")),
                ..Row::default()
            },
            "value",
            "`active` takes true or false",
        ),
        (
            Row {
                to: "title".into(),
                value: Some(json!("x")),
                default: Some(json!("y")),
                ..Row::default()
            },
            "default",
            "never lacks one",
        ),
        (
            with(&|row| row.transform = vec![("triim".into(), None)]),
            "transform",
            "did you mean `trim`?",
        ),
        (
            with(&|row| row.table = Some([("a".to_owned(), json!([]))].into())),
            "table",
            "for \"a\": `title` takes",
        ),
        (with(&|row| row.table = Some([].into())), "table", "empty"),
        (
            with(&|row| row.when = Some("userType".into())),
            "when",
            "at byte",
        ),
        (
            with(&|row| row.apply = Some("ifempty".into())),
            "apply",
            "did you mean `if_empty`?",
        ),
        (
            with(&|row| row.apply = Some("sometimes".into())),
            "apply",
            "only always, create, if_empty",
        ),
        (
            Row {
                apply: Some("create".into()),
                ..key
            },
            "apply",
            "always given",
        ),
    ] {
        let error = Rule::compile(row.clone()).expect_err(says);
        assert_eq!(error.key, key, "{row:?}: {}", error.text);
        assert!(error.text.contains(says), "{}", error.text);
    }
}

#[test]
fn several_rows_of_one_target_stand_in_for_each_other() {
    let rows = |when: &str, value: &str| {
        rule(Row {
            to: "userType".into(),
            value: Some(json!(value)),
            when: Some(when.into()),
            required: true,
            ..Row::default()
        })
    };
    let own = [
        rows("title eq \"Boss\"", "Licensed"),
        rows("title ne \"Ghost\"", "Basic"),
    ];
    for (title, is) in [
        ("Boss", json!("Licensed")),
        ("Clerk", json!("Basic")),
        ("Ghost", json!(null)),
    ] {
        let (account, missing) = created(Scim, &own, &json!({"userName": "a", "title": title}));
        assert_eq!(account["userType"], is, "{title}");
        // A rule that does not speak asks for nothing.
        assert_eq!(missing, Vec::<String>::new(), "{title}");
    }
}
