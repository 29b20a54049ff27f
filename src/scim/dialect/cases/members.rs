//! PATCH of a group's members.

use super::{Case, Comes, Delta, case, operations};

const fn group(
    name: &'static str,
    facts: &'static [u16],
    body: &'static str,
    differs: &'static str,
    delta: Delta,
) -> Case {
    case(
        name,
        facts,
        "PATCH",
        "/Groups/g1",
        body,
        r#"{"displayName":"G"}"#,
        Comes::Differs(differs, delta),
    )
}

const fn add(ids: &'static [&'static str]) -> Delta {
    Delta {
        clear: false,
        add: ids,
        remove: &[],
    }
}

const fn remove(ids: &'static [&'static str]) -> Delta {
    Delta {
        clear: false,
        add: &[],
        remove: ids,
    }
}

const fn only(ids: &'static [&'static str]) -> Delta {
    Delta {
        clear: true,
        add: ids,
        remove: &[],
    }
}

pub(super) static CASES: &[Case] = &[
    group(
        "Entra adds a member with a null reference",
        &[25],
        operations!(r#"{"op":"Add","path":"members","value":[{"$ref":null,"value":"a"}]}"#),
        "{}",
        add(&["a"]),
    ),
    group(
        "several members in one operation, one of them named twice",
        &[25],
        operations!(
            r#"{"op":"Add","path":"members","value":[{"value":"a"},{"value":"b"},{"value":"a"}]}"#
        ),
        "{}",
        add(&["a", "b"]),
    ),
    group(
        "remove with a value array removes those, not all",
        &[26, 87, 96, 130],
        operations!(
            r#"{"op":"Remove","path":"members","value":[{"$ref":null,"value":"a"}]},{"op":"remove","path":"members","value":[{"value":"b"}]}"#
        ),
        "{}",
        remove(&["a", "b"]),
    ),
    group(
        "remove with an empty value array removes nobody",
        &[26, 130],
        operations!(r#"{"op":"Remove","path":"members","value":[]}"#),
        "{}",
        remove(&[]),
    ),
    group(
        "members replaced by null: nobody stays",
        &[30],
        operations!(r#"{"op":"Replace","path":"members","value":null}"#),
        "{}",
        only(&[]),
    ),
    group(
        "a member removed by a filter",
        &[34, 63, 64, 132],
        operations!(r#"{"op":"remove","path":"members[value eq \"a\"]"}"#),
        "{}",
        remove(&["a"]),
    ),
    group(
        "Okta removes by a filter and adds in one request",
        &[63],
        operations!(
            r#"{"op":"remove","path":"members[value eq \"a\"]"},{"op":"add","path":"members","value":[{"value":"b","display":"B"}]}"#
        ),
        "{}",
        Delta {
            clear: false,
            add: &["b"],
            remove: &["a"],
        },
    ),
    group(
        "Okta replaces the full list",
        &[63],
        operations!(
            r#"{"op":"replace","path":"members","value":[{"value":"a","display":"A"},{"value":"b","display":"B"}]}"#
        ),
        "{}",
        only(&["a", "b"]),
    ),
    group(
        "OneLogin adds one member",
        &[80],
        operations!(r#"{"op":"add","path":"members","value":[{"value":"a"}]}"#),
        "{}",
        add(&["a"]),
    ),
    group(
        "the member delta of SCIM 1.1",
        &[81],
        r#"{"schemas":["urn:scim:schemas:core:1.0"],"members":[{"value":"a","operation":"delete"},{"value":"b","operation":"add"},{"value":"c"}]}"#,
        "{}",
        Delta {
            clear: false,
            add: &["b", "c"],
            remove: &["a"],
        },
    ),
    group(
        "authentik adds with one operation a user",
        &[95],
        operations!(
            r#"{"op":"add","path":"members","value":[{"value":"a"}]},{"op":"add","path":"members","value":[{"value":"b"}]}"#
        ),
        "{}",
        add(&["a", "b"]),
    ),
    group(
        "Keycloak replaces members, name and externalId",
        &[107],
        operations!(
            r#"{"op":"replace","path":"members","value":[{"value":"a","$ref":"Users/a"}]},{"op":"replace","path":"displayName","value":"N"},{"op":"replace","path":"externalId","value":"e"}"#
        ),
        r#"{"displayName":"N","externalId":"e"}"#,
        only(&["a"]),
    ),
    group(
        "Keycloak empties a group by remove without a value",
        &[107],
        operations!(r#"{"op":"remove","path":"members"}"#),
        "{}",
        only(&[]),
    ),
    group(
        "members as bare ids, inside a value without a path",
        &[116],
        operations!(r#"{"op":"add","value":{"members":["a","b"]}}"#),
        "{}",
        add(&["a", "b"]),
    ),
];
