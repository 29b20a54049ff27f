//! Lists as a client asks for them: filters, sorts, pages by number and by cursor, over all kinds.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::house::{Answer, House, Plan};

/// A query with its values escaped.
fn query(parts: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in parts {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                write!(text, "%{byte:02X}").expect("memory");
            }
        }
    }
    text
}

fn names(list: &Value) -> Vec<&str> {
    let resources = list["Resources"].as_array().expect("Resources");
    assert_eq!(list["itemsPerPage"], resources.len(), "{list}");
    let mut names = Vec::new();
    for one in resources {
        let name = one.get("userName").or(one.get("displayName"));
        names.push(name.and_then(Value::as_str).expect("a name"));
    }
    names
}

/// Five people and two groups; the first two people are in Staff. Nothing is provisioned.
async fn village() -> (House, Vec<String>) {
    let house = House::with(Plan {
        application: String::from("mode = \"simulate\""),
        ..Plan::default()
    })
    .await;
    let mut ids = Vec::new();
    for (name, display, active, title) in [
        ("eve@x.example", Some("Eve"), true, "Guide"),
        ("ada@x.example", Some("ada"), true, "Dr"),
        ("Bob@x.example", None, false, "guide"),
        ("cy@x.example", Some("Cy"), true, "Dr"),
        ("dan@x.example", Some("Bo"), false, "Dr"),
    ] {
        let mut user = json!({"userName": name, "active": active, "title": title, "externalId": name,
            "emails": [{"value": name, "type": "work"}]});
        if let Some(display) = display {
            user["displayName"] = json!(display);
        }
        ids.push(
            house
                .ask("POST", "/Users", Some(&user))
                .await
                .expect(201)
                .id(),
        );
        house.clock.advance(std::time::Duration::from_secs(1));
    }
    for (name, members) in [("Staff", &ids[..2]), ("All", &[])] {
        let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
        let group = json!({"displayName": name, "members": members});
        house.ask("POST", "/Groups", Some(&group)).await.expect(201);
    }
    (house, ids)
}

async fn list(house: &House, path: &str, parts: &[(&str, &str)]) -> Value {
    let path = format!("{path}{}", query(parts));
    house.ask("GET", &path, None).await.expect(200).body
}

async fn refused(house: &House, path: &str, parts: &[(&str, &str)]) -> (String, String) {
    let path = format!("{path}{}", query(parts));
    let Answer { body, .. } = house.ask("GET", &path, None).await.expect(400);
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    (text("scimType"), text("detail"))
}

#[tokio::test]
async fn filters_select_and_count() {
    let (house, ids) = village().await;
    let member = format!("members.value eq \"{}\"", ids[0]);
    let id = format!("id eq \"{}\" and active eq true", ids[1]);
    for (path, filter, wanted) in [
        (
            "/Users",
            "userName eq \"ADA@x.example\"",
            vec!["ada@x.example"],
        ),
        ("/Users", "userName sw \"b\"", vec!["Bob@x.example"]),
        ("/Users", "displayName sw \"B\"", vec!["dan@x.example"]),
        (
            "/Users",
            "active eq false",
            vec!["Bob@x.example", "dan@x.example"],
        ),
        (
            "/Users",
            "title eq \"guide\"",
            vec!["eve@x.example", "Bob@x.example"],
        ),
        (
            "/Users",
            "externalId eq \"cy@x.example\"",
            vec!["cy@x.example"],
        ),
        ("/Users", "externalId eq \"CY@x.example\"", vec![]),
        (
            "/Users",
            "emails[type eq \"work\"].value eq \"cy@x.example\"",
            vec!["cy@x.example"],
        ),
        (
            "/Users",
            "groups.display eq \"staff\"",
            vec!["eve@x.example", "ada@x.example"],
        ),
        ("/Users", &id, vec!["ada@x.example"]),
        ("/Users", "userName eq \"nobody\"", vec![]),
        ("/Groups", &member, vec!["Staff"]),
        ("/Groups", "not (members pr)", vec!["All"]),
        ("/", "meta.resourceType eq \"Group\"", vec!["Staff", "All"]),
        ("/", "displayName sw \"a\"", vec!["ada@x.example", "All"]),
    ] {
        let found = list(&house, path, &[("filter", filter)]).await;
        assert_eq!(names(&found), wanted, "{filter}");
        assert_eq!(found["totalResults"], wanted.len(), "{filter}");
        assert_eq!(found["startIndex"], 1, "{filter}");
        // The total alone.
        let counted = list(&house, path, &[("filter", filter), ("count", "0")]).await;
        assert_eq!(names(&counted), [""; 0], "{filter}");
        assert_eq!(counted["totalResults"], wanted.len(), "{filter}");
    }
    let since = house.ask("GET", &format!("/Users/{}", ids[2]), None).await;
    let since = since.expect(200).body["meta"]["lastModified"].to_string();
    let filter = format!("meta.lastModified gt {since}");
    let found = list(&house, "/Users", &[("filter", &filter)]).await;
    assert_eq!(names(&found), ["cy@x.example", "dan@x.example"]);
}

#[tokio::test]
async fn sorts_follow_type_and_case_and_what_is_missing_comes_last() {
    let (house, _) = village().await;
    for (by, wanted) in [
        ("userName", ["ada", "Bob", "cy", "dan", "eve"]),
        ("displayName", ["ada", "dan", "cy", "eve", "Bob"]),
        ("active", ["Bob", "dan", "eve", "ada", "cy"]),
        ("meta.created", ["eve", "ada", "Bob", "cy", "dan"]),
        ("title", ["ada", "cy", "dan", "eve", "Bob"]),
        ("emails", ["ada", "Bob", "cy", "dan", "eve"]),
    ] {
        let mut wanted = wanted.to_vec();
        let short = |list: &Value| -> Vec<String> {
            let names = names(list).into_iter();
            names.map(|name| name.replace("@x.example", "")).collect()
        };
        let found = list(&house, "/Users", &[("sortBy", by)]).await;
        assert_eq!(short(&found), wanted, "{by}");
        wanted.reverse();
        let parts = [("sortBy", by), ("sortOrder", "descending")];
        assert_eq!(short(&list(&house, "/Users", &parts).await), wanted, "{by}");
    }
    let both = list(&house, "/", &[("sortBy", "displayName"), ("count", "3")]).await;
    assert_eq!(names(&both), ["ada@x.example", "All", "dan@x.example"]);
    assert_eq!(both["totalResults"], 7);
}

#[tokio::test]
async fn pages_by_number_end_where_the_list_does() {
    let (house, _) = village().await;
    let page = async |start: &str| {
        let parts = [
            ("startIndex", start),
            ("count", "2"),
            ("sortBy", "userName"),
        ];
        list(&house, "/Users", &parts).await
    };
    assert_eq!(names(&page("1").await), ["ada@x.example", "Bob@x.example"]);
    let last = page("5").await;
    assert_eq!(names(&last), ["eve@x.example"]);
    assert_eq!(
        (&last["startIndex"], &last["itemsPerPage"]),
        (&json!(5), &json!(1))
    );
    assert_eq!(last.get("nextCursor"), None);
    let beyond = page("6").await;
    assert_eq!(beyond["Resources"], json!([]));
    assert_eq!(beyond["totalResults"], 5);
    let root = list(&house, "/", &[("startIndex", "5"), ("count", "2")]).await;
    assert_eq!(names(&root), ["dan@x.example", "Staff"]);
    assert_eq!(root["totalResults"], 7);
}

#[tokio::test]
async fn cursors_go_through_a_list_while_people_come_and_go() {
    let (house, ids) = village().await;
    for (path, extra) in [
        ("/Users", vec![]),
        ("/Users", vec![("sortBy", "userName")]),
        (
            "/Users",
            vec![("sortBy", "displayName"), ("sortOrder", "descending")],
        ),
        ("/Users", vec![("filter", "emails pr"), ("sortBy", "title")]),
        ("/", vec![]),
    ] {
        let wanted = list(&house, path, &extra).await;
        let mut cursor = String::new();
        let mut seen = Vec::new();
        loop {
            let mut parts = extra.clone();
            parts.extend([("cursor", cursor.as_str()), ("count", "2")]);
            let page = list(&house, path, &parts).await;
            assert_eq!(page["totalResults"], wanted["totalResults"]);
            assert_eq!(page.get("startIndex"), None);
            seen.extend(names(&page).into_iter().map(str::to_owned));
            match page.get("nextCursor") {
                None => break,
                Some(next) => {
                    next.as_str().expect("a text").clone_into(&mut cursor);
                }
            }
        }
        assert_eq!(seen, names(&wanted), "{path} {extra:?}");
    }
    // Who is on the first page leaves: the second page begins where it would have.
    let first = list(&house, "/Users", &[("cursor", ""), ("count", "2")]).await;
    assert_eq!(names(&first), ["eve@x.example", "ada@x.example"]);
    for id in &ids[..2] {
        let one = format!("/Users/{id}");
        house.ask("DELETE", &one, None).await.expect(204);
    }
    let late = json!({"userName": "late@x.example"});
    house.ask("POST", "/Users", Some(&late)).await.expect(201);
    let next = first["nextCursor"].as_str().expect("a cursor");
    let parts = [("cursor", next), ("count", "100")];
    let rest = list(&house, "/Users", &parts).await;
    let wanted = [
        "Bob@x.example",
        "cy@x.example",
        "dan@x.example",
        "late@x.example",
    ];
    assert_eq!(names(&rest), wanted);
    assert_eq!(rest["totalResults"], 4);
}

#[tokio::test]
async fn a_search_by_post_is_the_same_list() {
    let (house, _) = village().await;
    let search = async |path: &str, body: Value| {
        let path = format!("{path}/.search");
        house.ask("POST", &path, Some(&body)).await.expect(200).body
    };
    let urn = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
    let users = json!({"schemas": [urn], "filter": "active eq true", "sortBy": "userName", "sortOrder": "descending", "startIndex": 2, "count": 1});
    let found = search("/Users", users).await;
    assert_eq!(names(&found), ["cy@x.example"]);
    assert_eq!(
        (&found["totalResults"], &found["startIndex"]),
        (&json!(3), &json!(2))
    );
    let root = json!({"schemas": [urn], "filter": "displayName eq \"staff\" or userName sw \"e\"", "cursor": "", "count": 1});
    let found = search("", root.clone()).await;
    assert_eq!(names(&found), ["eve@x.example"]);
    assert_eq!(found["totalResults"], 2);
    let mut next = root;
    next["cursor"] = found["nextCursor"].clone();
    let found = search("", next).await;
    assert_eq!(names(&found), ["Staff"]);
    assert_eq!(found.get("nextCursor"), None);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_the_reason() {
    let (house, _) = village().await;
    let first = list(&house, "/Users", &[("cursor", ""), ("count", "2")]).await;
    let next = first["nextCursor"].as_str().expect("a cursor");
    for (path, parts, scim_type, word) in [
        (
            "/Users",
            vec![("filter", "active gt \"x\"")],
            "invalidFilter",
            "active has no order",
        ),
        (
            "/Users",
            vec![("filter", "x509Certificates.value le \"x\"")],
            "invalidFilter",
            "no order",
        ),
        (
            "/Users",
            vec![("filter", "title eq")],
            "invalidFilter",
            "At byte",
        ),
        (
            "/Users",
            vec![("sortBy", "name")],
            "invalidValue",
            "name.familyName",
        ),
        (
            "/Users",
            vec![("cursor", "nonsense")],
            "invalidCursor",
            "none that was given here",
        ),
        (
            "/Users",
            vec![("cursor", next), ("filter", "title pr")],
            "invalidCursor",
            "another query",
        ),
        (
            "/Groups",
            vec![("cursor", next)],
            "invalidCursor",
            "another query",
        ),
    ] {
        let (found, detail) = refused(&house, path, &parts).await;
        assert_eq!(found, scim_type, "{detail}");
        assert!(detail.contains(word), "{detail}");
    }
    // What nobody has sorts as missing everywhere: in the order of creation.
    let found = list(&house, "/Users", &[("sortBy", "shoeSize"), ("count", "2")]).await;
    assert_eq!(names(&found), ["eve@x.example", "ada@x.example"]);
}

#[tokio::test]
async fn filters_see_groups_and_versions_as_replies_show_them() {
    let (house, ids) = village().await;
    let found = list(&house, "/Groups", &[("filter", "displayName eq \"Staff\"")]).await;
    let staff = found["Resources"][0]["id"].clone();
    let group =
        json!({"displayName": "Everybody", "members": [{"value": staff}, {"value": ids[3]}]});
    let everybody = house.ask("POST", "/Groups", Some(&group)).await.expect(201);
    let filter = format!("groups.value eq \"{}\"", everybody.id());
    let found = list(&house, "/Users", &[("filter", &filter)]).await;
    let wanted = ["eve@x.example", "ada@x.example", "cy@x.example"];
    assert_eq!(names(&found), wanted);
    let found = list(
        &house,
        "/Users",
        &[("filter", "groups.type eq \"indirect\"")],
    )
    .await;
    assert_eq!(names(&found), wanted[..2]);

    let all = list(&house, "/", &[]).await;
    let all = all["Resources"].as_array().expect("Resources");
    assert_eq!(all.len(), 8);
    for one in all {
        let (version, location) = (&one["meta"]["version"], &one["meta"]["location"]);
        let filter = format!("meta.version eq {version} and meta.location eq {location}");
        let found = list(&house, "/", &[("filter", &filter)]).await;
        assert_eq!(found["totalResults"], 1, "{filter}");
    }
}
