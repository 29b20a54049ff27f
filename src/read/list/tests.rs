//! Every way to a list gives what a plain look at all resources gives.

mod random;
mod town;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use town::{CLIENT, Town, query};

/// Some people that differ in what indexes hold.
fn village() -> Town {
    let mut town = Town::new();
    let people = [
        json!({"userName": "Ada@x.example", "displayName": "Ada", "active": true, "at": 1_000,
            "emails": [{"value": "ada@x.example", "type": "work"}, {"value": "HOME@x.example", "type": "home"}], "externalId": "E1", "title": "Dr"}),
        json!({"userName": "bob", "displayName": "ADAM", "active": false, "at": 3_000,
            "emails": [{"value": "bob@x.example", "type": "home"}], "externalId": "e1"}),
        json!({"userName": "adele", "active": true, "at": 2_000, "name": {"familyName": "Z"}}),
        json!({"userName": "zoe", "displayName": "ada", "at": 3_000, "title": "Dr",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "R", "manager": {"value": "m1"}}}),
        json!({"userName": "yan", "displayName": "", "active": false, "at": 9_000}),
    ];
    for (at, body) in people.into_iter().enumerate() {
        let owner = if at == 1 { "entra" } else { CLIENT };
        town.create(Kind::User, owner, None, body);
    }
    for (name, at) in [("Staff", 1_500), ("staff", 3_000), ("Ada", 10)] {
        let body = json!({"displayName": name, "at": at});
        town.create(Kind::Group, CLIENT, None, body);
    }
    let (users, groups) = (town.of_kind(Kind::User), town.of_kind(Kind::Group));
    for (group, member) in [
        (groups[0], users[0]),
        (groups[0], users[1]),
        (groups[0], groups[1]),
        (groups[1], users[0]),
        // In Staff as well, by its group; and a circle.
        (groups[1], users[3]),
        (groups[1], groups[0]),
    ] {
        town.join(group, member);
    }
    town
}

const FILTERS: [&str; 66] = [
    "id eq \"{u0}\"",
    "id eq \"{g1}\"",
    "id eq 7",
    "userName eq \"ADA@x.example\"",
    "userName eq \"ada\"",
    "userName sw \"AD\"",
    "userName sw \"\"",
    "userName co \"a\"",
    "externalId eq \"E1\"",
    "externalId eq \"e1\"",
    "externalId pr",
    "not (externalId eq \"E1\")",
    "emails.value eq \"Ada@X.example\"",
    "emails eq \"home@x.example\"",
    "emails[type eq \"work\"].value eq \"ada@x.example\"",
    "emails[type eq \"work\"].value eq \"home@x.example\"",
    "emails[type eq \"home\" and value eq \"home@x.example\"]",
    "emails[value eq \"bob@x.example\"]",
    "displayName eq \"ADA\"",
    "displayName eq \"\"",
    "displayName eq \"staff\"",
    "displayName sw \"ada\"",
    "displayName sw \"s\"",
    "displayName pr",
    "active eq true",
    "active eq \"False\"",
    "active ne true",
    "active eq null",
    "not (active eq true)",
    "meta.lastModified eq \"1970-01-01T00:00:03Z\"",
    "meta.lastModified gt \"1970-01-01T00:00:02Z\"",
    "meta.lastModified ge \"1970-01-01T00:00:02Z\" and meta.lastModified lt \"1970-01-01T00:00:09Z\"",
    "meta.lastModified le \"1970-01-01T00:00:02.0001Z\"",
    "meta.lastModified gt \"soon\"",
    "meta.created gt \"1970-01-01T00:00:01Z\"",
    "meta.resourceType eq \"Group\"",
    "meta.resourceType eq \"User\" and title pr",
    "meta.version eq \"W/\\\"1\\\"\"",
    "meta.version eq \"W/\\\"1-3\\\"\"",
    "members.value eq \"{u0}\"",
    "members eq \"{g1}\"",
    "members[value eq \"{u1}\"]",
    "members[value eq \"{u1}\" and type eq \"Group\"]",
    "id eq \"{g0}\" and members eq \"{u1}\"",
    "members eq \"{u0}\" and not (members eq \"{u1}\")",
    "members pr",
    "members.type eq \"Group\"",
    "not (members pr)",
    "groups.value eq \"{g0}\"",
    "groups[value eq \"{g1}\"]",
    "groups[value eq \"{g0}\" and type eq \"indirect\"]",
    "groups.$ref eq \"http://h/scim/v2/Groups/{g0}\"",
    "members.$ref eq \"http://h/scim/v2/Users/{u1}\"",
    "meta.location ew \"{u2}\"",
    "groups.type eq \"indirect\" or title eq \"guide\"",
    "groups.display eq \"STAFF\"",
    "groups[display eq \"staff\" and type eq \"direct\"]",
    "department eq \"r\"",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq \"m1\"",
    "manager eq \"m1\" and active eq null",
    "userName eq \"bob\" or displayName sw \"ada\"",
    "userName eq \"bob\" or active eq true or id eq \"{g0}\"",
    "emails.value eq \"bob@x.example\" and active eq true or userName sw \"z\"",
    "title eq \"dr\" and displayName sw \"a\"",
    "userName eq \"zoe\" and title pr and active eq true",
    "schemas eq \"urn:ietf:params:scim:schemas:core:2.0:Group\"",
];

const SORTS: [&str; 13] = [
    "userName",
    "displayName",
    "active",
    "meta.lastModified",
    "meta.created",
    "emails",
    "title",
    "externalId",
    "department",
    "groups.display",
    "members",
    "id",
    "nothingOfTheKind",
];

const KINDS: [Option<Kind>; 3] = [Some(Kind::User), Some(Kind::Group), None];

#[test]
fn every_way_gives_what_a_plain_look_gives() {
    let mut town = village();
    let mut lists = 0;
    for text in FILTERS.iter().chain([&""]) {
        let text = town.filled(text);
        for kind in KINDS {
            let sorts = SORTS.map(Some).into_iter().chain([None]);
            for by in sorts {
                for descending in [false, true] {
                    let query = query(&text, by.map(|by| (by, descending)), 2);
                    let wanted = town.plain(CLIENT, kind, &query);
                    let shown = format!("{kind:?} {text} {by:?} {descending}");
                    let (total, all) = town.by_index(kind, &query);
                    assert_eq!(all, wanted, "{shown}");
                    assert_eq!(total, wanted.len() as u64, "{shown}");
                    assert_eq!(town.by_cursor(kind, &query, |_, _| {}), wanted, "{shown}");
                    lists += usize::from(!wanted.is_empty());
                }
            }
        }
    }
    assert!(lists > 1_000, "{lists} lists held anything");
}

#[test]
fn what_an_index_says_whole_is_counted_without_reading_rows() {
    let town = village();
    for (kind, text, total) in [
        (Some(Kind::User), "", 5),
        (None, "", 8),
        (Some(Kind::User), "id eq \"{u0}\"", 1),
        (Some(Kind::User), "userName eq \"BOB\"", 1),
        (Some(Kind::User), "externalId eq \"E1\"", 1),
        (Some(Kind::User), "externalId eq \"e1\"", 0),
        (Some(Kind::User), "emails.value eq \"bob@x.example\"", 1),
        (Some(Kind::User), "displayName eq \"ada\"", 2),
        (Some(Kind::Group), "displayName eq \"staff\"", 2),
        (Some(Kind::User), "displayName sw \"ada\"", 3),
        (Some(Kind::User), "userName sw \"ad\"", 2),
        (Some(Kind::User), "active eq true", 2),
        (Some(Kind::User), "active eq false", 2),
        (None, "meta.lastModified gt \"1970-01-01T00:00:02Z\"", 4),
        (Some(Kind::Group), "members.value eq \"{u0}\"", 2),
        (Some(Kind::User), "groups.value eq \"{g0}\"", 3),
        (None, "meta.resourceType eq \"Group\"", 3),
        (
            Some(Kind::User),
            "userName eq \"bob\" or userName sw \"z\" or id eq \"no\"",
            2,
        ),
    ] {
        let query = query(&town.filled(text), None, 0);
        // The union and who is in a group through another one are held as handles, so their limit is not 0.
        let held = text.contains(" or ") || text.contains("groups");
        let limit = if held { 3 } else { 0 };
        let (selected, page) = town.page(limit, kind, &query).expect(text);
        assert_eq!((selected.total, page), (total, Vec::new()), "{text}");
    }
}

#[test]
fn sorts_by_an_index_read_the_page_only() {
    let town = village();
    for (kind, filter, by) in [
        (Kind::User, "", "userName"),
        (Kind::User, "", "displayName"),
        (Kind::User, "", "active"),
        (Kind::User, "", "meta.lastModified"),
        (Kind::Group, "", "displayName"),
        (Kind::User, "userName sw \"a\"", "userName"),
        (Kind::User, "displayName sw \"a\"", "displayName"),
        (Kind::User, "active eq true", "active"),
        (
            Kind::Group,
            "meta.lastModified gt \"1970-01-01T00:00:01Z\"",
            "meta.lastModified",
        ),
    ] {
        for descending in [false, true] {
            let query = query(filter, Some((by, descending)), 2);
            let (selected, page) = town.page(0, Some(kind), &query).expect(by);
            let wanted = town.plain(CLIENT, Some(kind), &query);
            assert_eq!(page, wanted[..wanted.len().min(2)], "{by}");
            assert_eq!(selected.total, wanted.len() as u64, "{by}");
        }
    }
}

#[test]
fn what_no_index_answers_is_walked_up_to_a_limit() {
    let town = village();
    let users = Some(Kind::User);
    for (kind, filter, sort, looked) in [
        (users, "title pr", None, 5),
        (None, "title pr", None, 8),
        (users, "title pr and userName sw \"a\"", None, 2),
        (users, "userName sw \"a\"", Some(("title", false)), 2),
        (users, "", Some(("title", true)), 5),
        // Three groups and six edges.
        (Some(Kind::Group), "members.type eq \"User\"", None, 9),
        (
            Some(Kind::Group),
            "members eq \"{u0}\" and title pr",
            None,
            2,
        ),
    ] {
        let query = query(&town.filled(filter), sort, 5);
        let shown = format!("{filter} {sort:?}");
        assert!(town.page(looked, kind, &query).is_ok(), "{shown}");
        match town.page(looked - 1, kind, &query) {
            Err(Fault::TooMany(text)) => assert!(text.contains("emails.value"), "{text}"),
            other => panic!("{shown}: {other:?}"),
        }
    }
    // An index may find more than is kept: the page has to be near the beginning, or be asked for by cursor.
    let page = |start| {
        let query = ListQuery {
            page: Page::Index(start),
            ..query("userName sw \"\u{61}\" or userName sw \"z\"", None, 1)
        };
        town.page(3, users, &query)
    };
    assert!(page(3).is_ok());
    assert_eq!(page(7).expect("beyond the end").1, []);
    let deep = |start| {
        let query = ListQuery {
            page: Page::Index(start),
            ..query("meta.lastModified gt \"1970-01-01T00:00:00Z\"", None, 1)
        };
        town.page(3, users, &query)
    };
    assert!(deep(3).is_ok());
    assert!(matches!(deep(4), Err(Fault::TooMany(why)) if why.contains("cursor")));
    assert_eq!(deep(6).expect("beyond the end").1, []);
}

#[test]
fn count_zero_asks_for_the_total_alone() {
    let town = village();
    for text in ["", "title pr", "active eq true", "userName sw \"a\""] {
        for page in [Page::Index(1), Page::Cursor(String::new())] {
            for sort in [None, Some(("userName", true)), Some(("title", false))] {
                let query = ListQuery {
                    page: page.clone(),
                    ..query(text, sort, 0)
                };
                let (selected, shown) = town.page(LIMIT, Some(Kind::User), &query).expect(text);
                let total = town.plain(CLIENT, Some(Kind::User), &query).len() as u64;
                assert_eq!((selected.total, shown), (total, Vec::new()), "{text}");
                assert_eq!(selected.next, None, "{text}");
            }
        }
    }
}

#[test]
fn queries_that_cannot_be_are_refused_with_the_reason() {
    let town = village();
    let refused = |filter: &str, sort, page| {
        let query = ListQuery {
            page,
            ..query(filter, sort, 2)
        };
        town.page(LIMIT, Some(Kind::User), &query)
            .expect_err("refused")
    };
    let first = || Page::Index(1);
    assert!(
        matches!(refused("active gt \"a\"", None, first()), Fault::InvalidFilter(why) if why.starts_with("active "))
    );
    assert!(
        matches!(refused("", Some(("name", false)), first()), Fault::InvalidValue(why) if why.contains("name.familyName"))
    );
    let other = query("", Some(("userName", false)), 2);
    let other = ListQuery {
        page: Page::Cursor(String::new()),
        ..other
    };
    let (selected, _) = town.page(LIMIT, Some(Kind::User), &other).expect("a page");
    let next = selected.next.expect("there is more");
    assert!(matches!(
        refused("", None, Page::Cursor(next)),
        Fault::InvalidCursor(_)
    ));
    assert!(matches!(
        refused("", None, Page::Cursor(String::from("zzzz"))),
        Fault::InvalidCursor(_)
    ));
}

#[test]
fn forged_cursors_are_harmless() {
    let town = village();
    for text in ["", "title pr", "active eq true", "userName sw \"a\""] {
        for sort in [
            None,
            Some(("userName", true)),
            Some(("displayName", false)),
            Some(("active", true)),
        ] {
            let query = query(text, sort, 2);
            let fingerprint = Fingerprint::of(CLIENT, Some(Kind::User), &query);
            let wanted: BTreeSet<Handle> = town
                .plain(CLIENT, Some(Kind::User), &query)
                .into_iter()
                .collect();
            for part in [0, 1, 2, 200] {
                for position in [
                    vec![],
                    vec![0; 8],
                    vec![0xff; 8],
                    vec![0xff; 9],
                    vec![1; 100],
                    vec![0xff; POSITION],
                ] {
                    let cursor = Cursor { part, position };
                    let query = ListQuery {
                        page: Page::Cursor(cursor.encode(fingerprint)),
                        ..query.clone()
                    };
                    match town.page(LIMIT, Some(Kind::User), &query) {
                        Ok((_, page)) => assert!(page.iter().all(|one| wanted.contains(one))),
                        Err(Fault::InvalidCursor(_)) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_value_too_long_for_a_cursor_ends_the_page_before_it() {
    let mut town = Town::new();
    for name in ["a", &"b".repeat(3_000), "c", "d"] {
        town.create(Kind::User, CLIENT, None, json!({"userName": name}));
    }
    let wanted = town.of_kind(Kind::User);
    let page = |count, cursor: &str| {
        let query = ListQuery {
            page: Page::Cursor(cursor.to_owned()),
            ..query("", Some(("userName", false)), count)
        };
        town.page(LIMIT, Some(Kind::User), &query)
    };
    let (first, shown) = page(2, "").expect("a page");
    assert_eq!(shown, wanted[..1]);
    let next = first.next.expect("there is more");
    let (second, shown) = page(2, &next).expect("a page");
    assert_eq!(shown, wanted[1..3]);
    let (_, shown) = page(2, &second.next.expect("there is more")).expect("a page");
    assert_eq!(shown, wanted[3..]);
    assert!(matches!(page(1, &next), Err(Fault::TooMany(_))));
}

#[test]
fn the_vectors_select_what_they_match() {
    let data: Value = serde_json::from_str(include_str!(
        "../../../tests/data/vectors/filters_valid.json"
    ))
    .expect("JSON");
    let mut town = Town::new();
    for resource in data["resources"].as_array().expect("resources") {
        let mut body = resource["doc"].clone();
        body["at"] = json!(1_767_225_600_000_u64);
        let key = resource["key"].as_str();
        town.create(Kind::User, CLIENT, key, body);
    }
    let mut checked = 0;
    for case in data["cases"].as_array().expect("cases") {
        let text = case["filter"].as_str().expect("a filter");
        let query = query(text, None, 100);
        let (selected, page) = town.page(LIMIT, Some(Kind::User), &query).expect(text);
        assert_eq!(page, town.plain(CLIENT, Some(Kind::User), &query), "{text}");
        assert_eq!(selected.total, page.len() as u64, "{text}");
        let ids: Vec<Value> = page
            .iter()
            .map(|handle| json!(town.people[handle].id))
            .collect();
        let either = |id: &Value| {
            let either = case["either"].as_array();
            either.is_some_and(|either| either.contains(id))
        };
        if let Some(wanted) = case["match"].as_array() {
            let ids: Vec<&Value> = ids.iter().filter(|id| !either(id)).collect();
            assert_eq!(ids, wanted.iter().collect::<Vec<_>>(), "{text}");
        }
        checked += 1;
    }
    assert_eq!(checked, 105);
}

#[test]
fn what_may_take_long_is_told_from_what_does_not() {
    let asc = |by| Some((by, false));
    for (filter, sort, start, long) in [
        ("", None, 1, false),
        ("", None, 900_000, false),
        ("active eq false", None, 1, false),
        ("userName eq \"a\"", None, 1, false),
        ("title pr and externalId eq \"e\"", None, 1, false),
        ("emails.value eq \"a\" or id eq \"b\"", None, 1, false),
        ("", asc("userName"), 1, false),
        // Keys are skipped and counted one by one.
        ("", asc("userName"), 2, true),
        ("userName sw \"a\"", asc("userName"), 1, true),
        ("userName sw \"a\"", None, 1, true),
        (
            "meta.lastModified gt \"2020-01-01T00:00:00Z\"",
            None,
            1,
            true,
        ),
        ("groups.value eq \"g\"", None, 1, true),
        ("title pr", None, 1, true),
        ("", asc("title"), 1, true),
    ] {
        let asked = ListQuery {
            page: Page::Index(start),
            ..query(filter, sort, 10)
        };
        let told = is_search(Some(Kind::User), &asked);
        assert_eq!(told, long, "{filter:?} {sort:?} {start}");
    }
}
