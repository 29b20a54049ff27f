//! What the real binary writes to its log, and what it never does.

use serde_json::{Value, json};
use usher::provision::call::Method;
use usher::sandbox::{Fault, What};

use crate::cli::{patch, user};
use crate::house::{Plan, TOKEN};
use crate::process::{SANDBOX_TOKEN, Site, rows};

/// Stands in every place of a request that a log might show.
const CANARY: &str = "canary-4711";
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_has_a_line_a_request_and_no_value_out_of_one() {
    let site = Site::new(&Plan {
        tables: "[log]\nlevel = 'trace'\nformat = 'json'".into(),
        ..Plan::default()
    });
    let serving = site.serve("");
    let scim = serving.scim();
    let canary = |name: &str| {
        let mut user = user(&format!("{CANARY}-{name}@example.com"));
        user["displayName"] = json!(CANARY);
        user["password"] = json!(CANARY);
        user["externalId"] = json!(CANARY);
        user
    };
    let ada = scim.ask("POST", "/Users", Some(&canary("ada"))).await;
    let path = format!("/Users/{}", ada.clone().expect(201).id());
    let mut answers = vec![ada];
    // Refused by the application, which repeats what it was sent.
    let body = json!({"detail": CANARY, "status": "400"}).to_string();
    for status in [400, 500] {
        site.sandbox.state().fail_next(Fault {
            calls: 1,
            matching: Some((Method::Post, "/Users".into())),
            what: What::Status {
                status,
                retry_after: None,
                body: Some(body.clone()),
            },
        });
        let name = format!("refused{status}");
        let refused = scim.ask("POST", "/Users", Some(&canary(&name))).await;
        answers.push(refused.expect(if status == 400 { 400 } else { 201 }));
    }
    let filter = format!("/Users?filter=externalId%20eq%20%22{CANARY}%22");
    let wrong_filter = format!("/Users?filter=displayName%20is%20%22{CANARY}");
    let unknown = format!("/Users/{CANARY}");
    let nowhere = format!("/{CANARY}/{CANARY}");
    let twin = canary("ADA");
    let group = json!({"displayName": CANARY});
    let rename = patch("displayName", json!(format!("{CANARY} again")));
    let wrong_patch = patch(&format!("emails[value eq \"{CANARY}"), json!(CANARY));
    for (method, path, body, status) in [
        ("POST", "/Users", Some(&twin), 409),
        ("GET", &filter, None, 200),
        ("GET", &wrong_filter, None, 400),
        ("GET", &unknown, None, 404),
        ("GET", &nowhere, None, 404),
        ("POST", "/Groups", Some(&group), 201),
        ("PATCH", &path, Some(&rename), 200),
        ("PATCH", &path, Some(&wrong_patch), 400),
        ("DELETE", &path, None, 204),
    ] {
        answers.push(scim.ask(method, path, body).await.expect(status));
    }
    for (token, body, status) in [
        (CANARY, "{}", 401),
        (TOKEN, "{\"userName\": canary-4711", 400),
    ] {
        let headers = [("authorization", format!("Bearer {token}"))];
        let sent = scim.send("POST", "/Users", &headers, Some(body.to_owned()));
        answers.push(sent.await.expect("an answer").expect(status));
    }

    let log = serving.terminate().err;
    for secret in [CANARY, TOKEN, SANDBOX_TOKEN] {
        for line in log.lines() {
            assert!(!line.to_lowercase().contains(secret), "{line}");
        }
    }
    let log = rows(&log);
    assert!(
        log.iter().any(|line| line["message"] == "call"),
        "the level is trace"
    );
    let lines: Vec<Value> = log
        .into_iter()
        .filter(|line| line["message"] == "request")
        .collect();
    assert_eq!(lines.len(), answers.len(), "{lines:?}");
    for answer in &answers {
        let request = answer.headers["x-request-id"].to_str().expect("text");
        let mine: Vec<&Value> = lines
            .iter()
            .filter(|line| line["request"] == request)
            .collect();
        let [line] = mine[..] else {
            panic!("{request}: {mine:?}")
        };
        let client = if answer.status == 401 || answer.status == 404 && line["client"] == "" {
            ""
        } else {
            "okta"
        };
        assert_eq!(
            (&line["status"], &line["client"]),
            (&json!(answer.status), &json!(client)),
            "{line}"
        );
        assert!(
            line["ms"].is_u64() && line["timestamp"].is_string(),
            "{line}"
        );
    }
    let created = lines
        .iter()
        .find(|line| line["status"] == 201)
        .expect("a create");
    assert_eq!(
        (&created["application"], &created["endpoint"]),
        (&json!("zoom"), &json!("Users")),
        "{created}"
    );
}
