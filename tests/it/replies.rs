//! What replies show and say of themselves: projections, versions, conditions, members that are streamed, media types.

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::net::TcpSocket;
use usher::scim::{Id, Kind, Resource};
use usher::store::{ChangeSet, Key, MemberEdit, Put};

use crate::house::{Answer, House, PATIENCE, Plan, TOKEN};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn ada() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
        "userName": "ada@x.example", "active": true, "password": "never shown",
        "name": {"givenName": "Ada", "familyName": "King"},
        "emails": [{"value": "ada@x.example", "type": "work", "primary": true}, {"value": "a@home.example"}],
        ENTERPRISE: {"department": "Engines", "manager": {"value": "m-1"}}
    })
}

async fn create_group(house: &House, name: &str, members: &[&str]) -> String {
    let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
    let group = json!({"displayName": name, "members": members});
    let created = house.ask("POST", "/Groups", Some(&group)).await;
    created.expect(201).id()
}

async fn ask_with(house: &House, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("authorization", format!("Bearer {TOKEN}"))];
    all.extend(
        headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    house.knock.send(method, path, &all, None).await.unwrap()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

fn etag(answer: &Answer) -> String {
    header(answer, "etag").expect("an ETag").to_owned()
}

/// The keys of an object.
fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn every_answer_shows_what_was_asked_for() {
    let house = House::new().await;
    let ada = ada();
    let path = "/Users?attributes=USERNAME";
    let created = house.ask("POST", path, Some(&ada)).await.expect(201);
    assert_eq!(keys(&created.body), ["id", "schemas", "userName"]);
    let id = created.id();
    let user = format!("/Users/{id}");
    for (query, wanted) in [
        (
            "attributes=name.givenName",
            json!({"name": {"givenName": "Ada"}}),
        ),
        ("attributes=password,nothing", json!({})),
        (
            "attributes=urn:ietf:params:scim:schemas:core:2.0:User:emails.value&excludedAttributes=emails.type",
            json!({"emails": [{"value": "ada@x.example"}, {"value": "a@home.example"}]}),
        ),
        (
            "attributes=urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
            json!({ENTERPRISE: {"manager": {"value": "m-1"}}}),
        ),
        (
            "attributes=active,meta.resourceType&excludedAttributes=id,schemas,active",
            json!({"meta": {"resourceType": "User"}}),
        ),
        (
            "excludedAttributes=meta,name,emails,urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
            json!({"userName": "ada@x.example", "active": true}),
        ),
    ] {
        let mut wanted = wanted;
        wanted["id"] = json!(id);
        wanted["schemas"] = ada["schemas"].clone();
        let read = house.ask("GET", &format!("{user}?{query}"), None).await;
        assert_eq!(read.expect(200).body, wanted, "{query}");
        let list = house.ask("GET", &format!("/Users?{query}"), None).await;
        assert_eq!(
            list.expect(200).body["Resources"],
            json!([wanted]),
            "{query}"
        );
    }
    let search = json!({"attributes": ["userName"], "filter": "userName eq \"ADA@x.example\""});
    let found = house.ask("POST", "/Users/.search", Some(&search)).await;
    let found = found.expect(200);
    assert_eq!(
        keys(&found.body["Resources"][0]),
        ["id", "schemas", "userName"]
    );

    let path = format!("{user}?attributes=name.familyName");
    let put = house.ask("PUT", &path, Some(&ada)).await.expect(200);
    assert_eq!(put.body["name"], json!({"familyName": "King"}));
    assert_eq!(keys(&put.body), ["id", "name", "schemas"]);
    let patch = json!({"Operations": [{"op": "replace", "path": "title", "value": "Countess"}]});
    let path = format!("{user}?excludedAttributes=name,emails,meta,active,{ENTERPRISE}");
    let patched = house.ask("PATCH", &path, Some(&patch)).await.expect(200);
    assert_eq!(keys(&patched.body), ["id", "schemas", "title", "userName"]);
    assert_eq!(
        header(&patched, "location"),
        Some(format!("{}{user}", house.base).as_str())
    );
    assert_eq!(
        header(&patched, "content-location"),
        header(&patched, "location")
    );
}

#[tokio::test]
async fn a_client_without_patch_bodies_gets_one_when_it_asks_for_attributes() {
    let plan = Plan {
        client: String::from("patch_response = \"none\""),
        ..Plan::default()
    };
    let house = House::with(plan).await;
    let id = house
        .ask("POST", "/Users", Some(&ada()))
        .await
        .expect(201)
        .id();
    let patch = json!({"Operations": [{"op": "replace", "path": "title", "value": "C"}]});
    let quiet = house
        .ask("PATCH", &format!("/Users/{id}"), Some(&patch))
        .await;
    assert!(quiet.expect(204).body.is_null());
    let path = format!("/Users/{id}?attributes=title");
    let asked = house.ask("PATCH", &path, Some(&patch)).await.expect(200);
    assert_eq!(asked.body["title"], "C");
}

#[tokio::test]
async fn a_read_of_a_known_version_is_304_and_a_write_to_another_one_412() {
    let house = House::new().await;
    let created = house.ask("POST", "/Users", Some(&ada())).await.expect(201);
    let user = format!("/Users/{}", created.id());
    let tag = etag(&created);
    assert_eq!(created.body["meta"]["version"], json!(tag));
    for method in ["GET", "HEAD"] {
        let known = ask_with(&house, method, &user, &[("if-none-match", &tag)]).await;
        assert_eq!((known.status, &known.body), (304, &Value::Null));
        assert_eq!(etag(&known), tag);
        assert_eq!(header(&known, "content-type"), None);
        let other = ask_with(&house, method, &user, &[("if-match", "W/\"99\"")]).await;
        assert_eq!(other.status, 412);
        let new = ask_with(&house, method, &user, &[("if-none-match", "W/\"99\"")]).await;
        assert_eq!(new.status, 200);
        let gone = ask_with(&house, method, "/Users/nobody", &[("if-none-match", "*")]).await;
        assert_eq!(gone.status, 404);
    }
    for (name, value, status) in [
        ("if-match", "W/\"99\"", 412),
        ("if-match", "", 412),
        ("if-none-match", tag.as_str(), 412),
        ("if-none-match", "*", 412),
    ] {
        let refused = ask_with(&house, "DELETE", &user, &[(name, value)]).await;
        assert_eq!(refused.status, status, "{name}: {value}");
        assert_eq!(refused.body["status"], "412");
    }
    let gone = ask_with(
        &house,
        "DELETE",
        "/Users/nobody",
        &[("if-match", "W/\"99\"")],
    )
    .await;
    assert_eq!(gone.status, 404);
    let deleted = ask_with(&house, "DELETE", &user, &[("if-match", &tag)]).await;
    assert_eq!(deleted.status, 204);
}

#[tokio::test]
async fn a_users_version_shows_its_groups_and_a_write_minds_its_row_alone() {
    let house = House::new().await;
    let created = house.ask("POST", "/Users", Some(&ada())).await.expect(201);
    let id = created.id();
    let user = format!("/Users/{id}");
    let mut tags = vec![etag(&created)];
    let group = create_group(&house, "Engines", &[&id]).await;
    let group = format!("/Groups/{group}");
    let mut changed = async |what: &str| {
        let old = tags.last().unwrap().clone();
        let read = ask_with(&house, "GET", &user, &[("if-none-match", &old)]).await;
        assert_eq!(read.status, 200, "{what}: still {old}");
        let new = etag(&read);
        assert!(!tags.contains(&new), "{what}: {new} again");
        assert_eq!(read.body["meta"]["version"], json!(new));
        let list = house.ask("GET", "/Users?attributes=meta", None).await;
        let listed = &list.expect(200).body["Resources"][0]["meta"]["version"];
        assert_eq!(listed, &json!(new), "{what}");
        tags.push(new);
    };
    changed("put into a group").await;
    let rename =
        json!({"Operations": [{"op": "replace", "path": "displayName", "value": "Machines"}]});
    house.ask("PATCH", &group, Some(&rename)).await.expect(200);
    changed("the group renamed").await;
    create_group(&house, "All", &[group.trim_start_matches("/Groups/")]).await;
    changed("the group put into another").await;
    // The row is still what it was: who knew it may change it.
    let first = tags.first().unwrap();
    let patch = json!({"Operations": [{"op": "replace", "path": "title", "value": "C"}]});
    let headers = [
        ("authorization", format!("Bearer {TOKEN}")),
        ("if-match", first.clone()),
    ];
    let body = Some(patch.to_string());
    let patched = house
        .knock
        .send("PATCH", &user, &headers, body.clone())
        .await;
    assert_eq!(patched.unwrap().status, 200);
    let again = house
        .knock
        .send("PATCH", &user, &headers, body)
        .await
        .unwrap();
    assert_eq!(again.status, 412);
}

#[tokio::test]
async fn a_groups_version_shows_that_a_member_was_deleted() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&ada()))
        .await
        .expect(201)
        .id();
    let group = create_group(&house, "Engines", &[&id]).await;
    let group = format!("/Groups/{group}");
    let tag = etag(&house.ask("GET", &group, None).await.expect(200));
    house
        .ask("DELETE", &format!("/Users/{id}"), None)
        .await
        .expect(204);
    let read = ask_with(&house, "GET", &group, &[("if-none-match", &tag)]).await;
    assert_eq!(read.expect(200).body["members"], json!([]));
}

#[tokio::test]
async fn users_show_the_groups_that_their_groups_are_in() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&ada()))
        .await
        .expect(201)
        .id();
    let inner = create_group(&house, "Inner", &[&id]).await;
    let middle = create_group(&house, "Middle", &[&inner]).await;
    let outer = create_group(&house, "Outer", &[&middle]).await;
    let both = create_group(&house, "Both", &[&outer, &id]).await;
    // A circle.
    let circle =
        json!({"Operations": [{"op": "add", "path": "members", "value": [{"value": outer}]}]});
    house
        .ask("PATCH", &format!("/Groups/{inner}"), Some(&circle))
        .await
        .expect(200);
    let group = |id: &str, name: &str, kind: &str| json!({"value": id, "$ref": format!("{}/Groups/{id}", house.base), "display": name, "type": kind});
    let wanted = json!([
        group(&inner, "Inner", "direct"),
        group(&both, "Both", "direct"),
        group(&middle, "Middle", "indirect"),
        group(&outer, "Outer", "indirect"),
    ]);
    let read = house
        .ask("GET", &format!("/Users/{id}"), None)
        .await
        .expect(200);
    assert_eq!(read.body["groups"], wanted);
    let list = house
        .ask("GET", "/Users?attributes=groups", None)
        .await
        .expect(200);
    assert_eq!(list.body["Resources"][0]["groups"], wanted);
    let read = house
        .ask("GET", &format!("/Groups/{both}"), None)
        .await
        .expect(200);
    assert_eq!(
        read.body["members"],
        json!([
            {"value": id, "$ref": format!("{}/Users/{id}", house.base), "type": "User"},
            {"value": outer, "$ref": format!("{}/Groups/{outer}", house.base), "type": "Group"},
        ])
    );
}

/// A resource that was never asked for; a user's id is as long as `pad` and some.
fn resource(house: &House, kind: Kind, name: &str, pad: usize) -> Resource {
    let now = house.clock.now();
    let engine = house.serving.gateway.engine().expect("it is open");
    let (handle, id) = engine.store.mint(now, 7);
    let (key, id) = match kind {
        Kind::User => ("userName", format!("{id}{}", "x".repeat(pad))),
        Kind::Group => ("displayName", id.to_string()),
    };
    let mut attributes = Map::new();
    attributes.insert(String::from("schemas"), json!([kind.schema()]));
    attributes.insert(key.to_owned(), json!(name));
    Resource {
        handle,
        id: Id::from(id.as_str()),
        kind,
        version: 1,
        created: now,
        modified: now,
        owner: String::from("okta"),
        deleted: None,
        attributes,
        links: Vec::new(),
    }
}

fn put(resource: &Resource) -> Put {
    Put {
        resource: resource.clone(),
        expect: None,
        before: None,
    }
}

/// Stores a group of so many users straight into the directory.
async fn store_group(house: &House, name: &str, members: usize, pad: usize) -> String {
    let group = resource(house, Kind::Group, name, 0);
    let mut puts = vec![put(&group)];
    let mut edit = MemberEdit {
        group: group.handle,
        group_id: Some(group.id.clone()),
        ..MemberEdit::default()
    };
    for at in 0..members {
        let user = resource(house, Kind::User, &format!("{name}-{at}@x.example"), pad);
        puts.push(put(&user));
        edit.add.push((user.handle, user.id, user.kind));
    }
    let set = ChangeSet {
        puts,
        members: vec![edit],
        ..ChangeSet::default()
    };
    let engine = house.serving.gateway.engine().expect("it is open");
    engine.store.commit(set).await.expect("stored");
    group.id.to_string()
}

fn members(group: &Value) -> usize {
    let members = group["members"].as_array().expect("members");
    let mut ids: Vec<&str> = members
        .iter()
        .map(|one| one["value"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), members.len(), "a member twice");
    ids.len()
}

#[tokio::test]
async fn large_groups_are_streamed_wherever_they_are_shown() {
    let house = House::new().await;
    let sizes = [0, 1, 200, 201, 400, 401, 1_234];
    let mut groups = Vec::new();
    for size in sizes {
        groups.push(store_group(&house, &format!("g{size}"), size, 0).await);
    }
    for (size, id) in sizes.iter().zip(&groups) {
        let path = format!("/Groups/{id}");
        let read = house.ask("GET", &path, None).await.expect(200);
        assert_eq!(members(&read.body), *size);
        assert_eq!(read.body["meta"]["version"], json!(etag(&read)));
        assert_eq!(read.body["displayName"], format!("g{size}"));
        let streamed = header(&read, "content-length").is_none();
        assert_eq!(streamed, *size > 200, "{size}");
        let head = house.ask("HEAD", &path, None).await.expect(200);
        for name in ["content-length", "etag", "content-type", "location"] {
            assert_eq!(header(&head, name), header(&read, name), "{name}");
        }
        let without = house
            .ask("GET", &format!("{path}?excludedAttributes=members"), None)
            .await;
        let without = without.expect(200);
        assert!(without.body.get("members").is_none());
        assert_eq!(etag(&without), etag(&read));
        let types = house
            .ask("GET", &format!("{path}?attributes=members.type"), None)
            .await;
        let types = types.expect(200).body["members"].clone();
        assert_eq!(types, json!(vec![json!({"type": "User"}); *size]));
        // A write shows them all, but a PATCH leaves more than 200 out unless they are asked for.
        let put = house
            .ask(
                "PUT",
                &path,
                Some(&json!({"displayName": format!("p{size}")})),
            )
            .await;
        assert_eq!(members(&put.expect(200).body), *size);
        let patch = json!({"Operations": [{"op": "replace", "path": "displayName", "value": format!("g{size}")}]});
        let patched = house.ask("PATCH", &path, Some(&patch)).await.expect(200);
        assert_eq!(
            patched.body.get("members").is_some(),
            *size <= 200,
            "{size}"
        );
        let path = format!("{path}?attributes=members");
        let patched = house.ask("PATCH", &path, Some(&patch)).await.expect(200);
        assert_eq!(members(&patched.body), *size);
    }
    let list = house.ask("GET", "/Groups", None).await.expect(200);
    let shown = list.body["Resources"].as_array().unwrap();
    assert_eq!(shown.iter().map(members).collect::<Vec<_>>(), sizes);
    assert_eq!(list.body["itemsPerPage"], sizes.len());
}

#[tokio::test]
async fn many_groups_of_a_list_hold_few_members_at_once() {
    let house = House::new().await;
    let first = store_group(&house, "g0", 150, 0).await;
    let read = house
        .ask("GET", &format!("/Groups/{first}"), None)
        .await
        .expect(200);
    let wanted = json!({
        "displayName": "x", "members": read.body["members"].as_array().unwrap().iter()
            .map(|one| json!({"value": one["value"]})).collect::<Vec<_>>()
    });
    let mut count = 1;
    // As many as 13 would fit; those behind them are streamed.
    while count < 20 {
        let mut group = wanted.clone();
        group["displayName"] = json!(format!("g{count}"));
        house.ask("POST", "/Groups", Some(&group)).await.expect(201);
        count += 1;
    }
    let list = house.ask("GET", "/Groups", None).await.expect(200);
    assert!(header(&list, "content-length").is_none(), "all in memory");
    let shown = list.body["Resources"].as_array().unwrap();
    assert_eq!(shown.iter().map(members).collect::<Vec<_>>(), vec![150; 20]);
}

/// Asks over a connection whose socket holds next to nothing, and reads the answer's head.
async fn ask_slowly(house: &House, path: &str) -> Response<Incoming> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let stream = socket.connect(house.serving.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("/scim/v2{path}"))
        .header("host", "here")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn a_streamed_answer_is_of_one_moment_and_ends_in_time() {
    let house = House::new().await;
    // Some 13 MB: more than sockets hold.
    let size = 10_000;
    let id = store_group(&house, "large", size, 600).await;
    let path = format!("/Groups/{id}");

    let mut slow = ask_slowly(&house, &path).await;
    assert_eq!(slow.status(), 200);
    let tag = slow.headers()["etag"].to_str().unwrap().to_owned();
    let first = slow.body_mut().frame().await.unwrap().unwrap();
    let first = first.into_data().unwrap();
    // Everybody goes while it is under way.
    let clear = json!({"Operations": [{"op": "remove", "path": "members"}]});
    house.ask("PATCH", &path, Some(&clear)).await.expect(200);
    let rest = tokio::time::timeout(PATIENCE, slow.collect()).await;
    let rest = rest.expect("it ends").expect("it is whole").to_bytes();
    let read: Value = serde_json::from_slice(&[first, rest].concat()).unwrap();
    assert_eq!(members(&read), size);
    assert_eq!(read["meta"]["version"], json!(tag));
    let now = house.ask("GET", &path, None).await.expect(200);
    assert_eq!(members(&now.body), 0);

    let id = store_group(&house, "other", size, 600).await;
    let mut slow = ask_slowly(&house, &format!("/Groups/{id}")).await;
    assert!(slow.body_mut().frame().await.unwrap().is_ok());
    house.clock.advance(Duration::from_secs(30));
    let rest = tokio::time::timeout(PATIENCE, slow.collect()).await;
    assert!(rest.expect("it ends").is_err(), "all of it came");
}

#[tokio::test]
async fn errors_come_in_the_clients_media_type() {
    let plan = Plan {
        client: String::from("response_type = \"application/json\""),
        ..Plan::default()
    };
    let house = House::with(plan).await;
    let json = Some("application/json");
    let scim = Some("application/scim+json");
    for (path, accept, token, status, kind) in [
        ("/Users", "*/*", TOKEN, 200, json),
        ("/Users/nobody", "", TOKEN, 404, json),
        ("/Users/nobody", "application/scim+json", TOKEN, 404, json),
        ("/Nothing/at/all", "text/html", TOKEN, 404, json),
        ("/Users?startIndex=x", "", TOKEN, 400, json),
        ("/Users", "", "wrong", 401, scim),
        ("/Nothing/at/all", "", "wrong", 401, scim),
        ("/Users/%2f", "", "wrong", 401, scim),
        ("", "application/json", "wrong", 401, json),
    ] {
        let headers = [
            ("authorization", format!("Bearer {token}")),
            ("accept", accept.to_owned()),
        ];
        let answer = house.knock.send("GET", path, &headers, None).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(header(&answer, "content-type"), kind, "{path} {accept}");
        if status != 200 {
            assert_eq!(answer.body["status"], json!(status.to_string()));
            let error = "urn:ietf:params:scim:api:messages:2.0:Error";
            assert_eq!(answer.body["schemas"], json!([error]));
        }
        let head = house
            .knock
            .send("HEAD", path, &headers, None)
            .await
            .unwrap();
        assert_eq!((head.status, &head.body), (status, &Value::Null));
        for name in ["content-type", "content-length"] {
            assert_eq!(header(&head, name), header(&answer, name), "{path} {name}");
        }
    }
}

#[tokio::test]
async fn media_types_are_taken_and_given_as_they_are_meant() {
    let house = House::new().await;
    for (accept, kind) in [
        ("application/json", "application/json"),
        (
            "application/json, application/scim+json",
            "application/scim+json",
        ),
        ("text/html", "application/scim+json"),
    ] {
        let answer = ask_with(&house, "GET", "/Users", &[("accept", accept)]).await;
        assert_eq!(
            header(&answer.expect(200), "content-type"),
            Some(kind),
            "{accept}"
        );
    }
    for (at, (kind, status)) in [
        (Some("application/json; charset=utf-8"), 201),
        (Some("text/json"), 201),
        (Some("application/x.y+JSON"), 201),
        (None, 201),
        (Some("text/xml"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
    ]
    .into_iter()
    .enumerate()
    {
        let mut headers = vec![("authorization", format!("Bearer {TOKEN}"))];
        headers.extend(kind.map(|kind| ("content-type", kind.to_owned())));
        let mut user = ada();
        user["userName"] = json!(format!("u{at}@x.example"));
        let answer = house
            .knock
            .send("POST", "/Users", &headers, Some(user.to_string()));
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, status, "{kind:?}: {:?}", answer.body);
        if status == 415 {
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("application/scim+json"), "{detail}");
        }
    }
}

#[tokio::test]
async fn endpoints_say_which_methods_they_take() {
    let house = House::new().await;
    for (path, allow, refused) in [
        ("/Users", "GET, HEAD, OPTIONS, POST", "PUT"),
        ("/Users/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT", "POST"),
        ("/Schemas", "GET, HEAD, OPTIONS", "DELETE"),
        ("/Groups/.search", "OPTIONS, POST", "GET"),
    ] {
        let options = house.ask("OPTIONS", path, None).await.expect(204);
        assert_eq!(header(&options, "allow"), Some(allow), "{path}");
        let refused = house.ask(refused, path, None).await.expect(405);
        assert_eq!(header(&refused, "allow"), Some(allow), "{path}");
        assert_eq!(refused.body["status"], "405");
    }
    let empty = house.ask("GET", "/Users?count=0", None).await.expect(200);
    assert_eq!(empty.body["Resources"], json!([]));
    assert_eq!(empty.body["itemsPerPage"], 0);
}

#[tokio::test]
async fn a_user_of_very_many_groups_shows_the_first_thousand() {
    let house = House::new().await;
    let id = house
        .ask("POST", "/Users", Some(&ada()))
        .await
        .expect(201)
        .id();
    let store = &house.serving.gateway.engine().expect("it is open").store;
    let user = {
        let view = store.view().unwrap();
        let handle = view.find(&Key::Id(Kind::User, &id)).unwrap().unwrap();
        (handle, Id::from(id.as_str()), Kind::User)
    };
    let mut set = ChangeSet::default();
    for at in 0..=usher::read::GROUPS {
        let group = resource(&house, Kind::Group, &format!("g{at}"), 0);
        set.members.push(MemberEdit {
            group: group.handle,
            group_id: Some(group.id.clone()),
            add: vec![user.clone()],
            ..MemberEdit::default()
        });
        set.puts.push(put(&group));
    }
    store.commit(set).await.expect("stored");
    let read = house.ask("GET", &format!("/Users/{id}"), None).await;
    let groups = read.expect(200).body["groups"].clone();
    let groups = groups.as_array().unwrap();
    assert_eq!(groups.len(), usher::read::GROUPS);
    let names = |at: usize| groups[at]["display"].as_str().unwrap();
    assert_eq!((names(0), names(999)), ("g0", "g999"));
}

#[tokio::test]
async fn a_members_name_is_shown_to_who_asks_for_it() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for (name, display) in [("a@x.example", Some("Ada")), ("b@x.example", None)] {
        let mut body = json!({"userName": name});
        if let Some(display) = display {
            body["displayName"] = json!(display);
        }
        ids.push(house.ask("POST", "/Users", Some(&body)).await.id());
    }
    let members: Vec<&str> = ids.iter().map(String::as_str).collect();
    let path = format!("/Groups/{}", create_group(&house, "Crew", &members).await);
    for (query, shown) in [
        (
            "",
            json!([["type", "value", "$ref"], ["type", "value", "$ref"]]),
        ),
        ("?attributes=members.display", json!([["display"], []])),
        (
            "?attributes=members.value,members.display",
            json!([["display", "value"], ["value"]]),
        ),
    ] {
        let read = house.ask("GET", &format!("{path}{query}"), None).await;
        let read = read.expect(200).body;
        for (member, keys) in read["members"]
            .as_array()
            .expect("members")
            .iter()
            .zip(shown.as_array().expect("members"))
        {
            let mut got: Vec<&str> = member
                .as_object()
                .expect("one")
                .keys()
                .map(String::as_str)
                .collect();
            let mut want: Vec<&str> = keys
                .as_array()
                .expect("keys")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            got.sort_unstable();
            want.sort_unstable();
            assert_eq!(got, want, "{query}");
        }
        let name = &read["members"][0]["display"];
        assert!(name.is_null() || name == "Ada");
    }
}
