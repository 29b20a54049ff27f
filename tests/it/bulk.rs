//! Bulk (RFC 7644 3.7) over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use usher::journal::record::Status;
use usher::journal::report::Query;

use crate::house::{Answer, House, Plan};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn bulk(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations})
}

fn post(path: &str, bulk_id: &str, data: Value) -> Value {
    json!({"method": "POST", "path": path, "bulkId": bulk_id, "data": data})
}

fn user(name: &str) -> Value {
    json!({"userName": name, "name": {"givenName": "Ada", "familyName": "King"},
        "emails": [{"value": name, "type": "work", "primary": true}]})
}

fn group(name: &str, members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
    json!({"displayName": name, "members": members})
}

fn patch(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
}

async fn send(house: &House, operations: Value) -> Vec<Value> {
    answers(
        &house
            .ask("POST", "/Bulk", Some(&bulk(operations)))
            .await
            .expect(200),
    )
}

fn answers(answer: &Answer) -> Vec<Value> {
    assert_eq!(
        answer.body["schemas"],
        json!(["urn:ietf:params:scim:api:messages:2.0:BulkResponse"])
    );
    answer.body["Operations"]
        .as_array()
        .expect("an array")
        .clone()
}

/// Every answer's status.
fn statuses(answers: &[Value]) -> Vec<&str> {
    answers
        .iter()
        .map(|answer| answer["status"].as_str().expect("a text"))
        .collect()
}

/// Where an answer says that its resource is, below our root.
fn place(house: &House, answer: &Value) -> String {
    let location = answer["location"]
        .as_str()
        .unwrap_or_else(|| panic!("no location: {answer}"));
    location
        .strip_prefix(&house.base)
        .expect("it is ours")
        .to_owned()
}

fn id(house: &House, answer: &Value) -> String {
    place(house, answer)
        .rsplit('/')
        .next()
        .expect("an id")
        .to_owned()
}

/// The ids of a group's members.
async fn members(house: &House, path: &str) -> Vec<String> {
    let body = house.ask("GET", path, None).await.expect(200).body;
    let id = |member: &Value| member["value"].as_str().expect("an id").to_owned();
    body["members"]
        .as_array()
        .into_iter()
        .flatten()
        .map(id)
        .collect()
}

#[tokio::test]
async fn a_thousand_measured() {
    let house = House::new().await;
    let operations: Vec<Value> = (0..1000)
        .map(|at| {
            post(
                "/Users",
                &format!("u{at}"),
                user(&format!("u{at}@x.example")),
            )
        })
        .collect();
    let begun = std::time::Instant::now();
    let answers = send(&house, operations.into()).await;
    assert!(statuses(&answers).iter().all(|status| *status == "201"));
    eprintln!("{:?}", begun.elapsed());
}
