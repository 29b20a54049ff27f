//! ServiceProviderConfig, ResourceTypes and Schemas over HTTP (RFC 7644 4): what an identity provider does before it writes.

use serde_json::{Value, json};

use crate::house::{Answer, House, Plan, TOKEN};

const USER: &str = "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User";

/// Every path at which a document stands.
const PATHS: [&str; 12] = [
    "/ServiceProviderConfig",
    "/ResourceTypes",
    "/ResourceTypes/User",
    "/ResourceTypes/Group",
    "/Schemas",
    USER,
    "/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group",
    "/Schemas/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
    "/Schemas/urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig",
    "/Schemas/urn:ietf:params:scim:schemas:core:2.0:ResourceType",
    "/Schemas/urn:ietf:params:scim:schemas:core:2.0:Schema",
    // What SCIM 1.1 calls the first.
    "/ServiceProviderConfigs",
];

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name)?.to_str().ok()
}

fn is_error(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{:?}", answer.body);
    let schema = "urn:ietf:params:scim:api:messages:2.0:Error";
    assert_eq!(answer.body["schemas"], json!([schema]));
    assert_eq!(answer.body["status"], status.to_string());
    assert!(!answer.body["detail"].as_str().unwrap().is_empty());
    assert_eq!(
        header(answer, "content-type"),
        Some("application/scim+json")
    );
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(values) => values.values().any(has_null),
        _ => false,
    }
}

#[tokio::test]
async fn every_document_is_read_where_it_says_that_it_is() {
    let house = House::new().await;
    for path in PATHS {
        let answer = house.ask("GET", path, None).await.expect(200);
        assert_eq!(
            header(&answer, "content-type"),
            Some("application/scim+json"),
            "{path}"
        );
        assert!(!has_null(&answer.body), "{path}");
        let location = answer.body["meta"]["location"].as_str();
        assert_eq!(header(&answer, "location"), location, "{path}");
        if let Some(location) = location {
            let there = location.strip_prefix(&house.base).unwrap();
            assert!(PATHS.contains(&there), "{there}");
            assert_eq!(house.ask("GET", there, None).await.body, answer.body);
        } else {
            let resources = answer.body["Resources"].as_array().unwrap();
            assert!(!resources.is_empty(), "{path}");
            for resource in resources {
                let location = resource["meta"]["location"].as_str().unwrap();
                let there = location.strip_prefix(&house.base).unwrap();
                assert_eq!(&house.ask("GET", there, None).await.body, resource);
            }
        }
        // RFC 9110 9.3.2.
        let head = house.ask("HEAD", path, None).await.expect(200);
        assert_eq!(head.body, Value::Null);
        assert_eq!(
            header(&head, "content-length"),
            header(&answer, "content-length"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn paging_is_ignored_and_a_filter_is_refused() {
    let house = House::new().await;
    for path in ["/ResourceTypes", "/Schemas"] {
        let whole = house.ask("GET", path, None).await.expect(200);
        // authentik reads with startIndex and count and counts what it got.
        for query in [
            "?startIndex=1&count=100",
            "?startIndex=2&count=1&sortBy=id",
            "?count=all",
        ] {
            let answer = house.ask("GET", &format!("{path}{query}"), None).await;
            assert_eq!(answer.expect(200).body, whole.body, "{path}{query}");
        }
    }
    for path in [
        "/ServiceProviderConfig",
        "/ResourceTypes",
        "/ResourceTypes/User",
        "/Schemas",
        USER,
    ] {
        let filtered = format!("{path}?filter=name%20eq%20%22User%22");
        is_error(&house.ask("GET", &filtered, None).await, 403);
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_done_is_said() {
    let house = House::new().await;
    for path in [
        "/ResourceTypes/Device",
        "/ResourceTypes/User/more",
        "/Schemas/urn:ietf:params:scim:schemas:core:2.0:Device",
        "/Schemas/User",
        "/ServiceProviderConfig/1",
    ] {
        is_error(&house.ask("GET", path, None).await, 404);
    }
    // Names fold case.
    for path in ["/resourcetypes/USER", &USER.to_uppercase()] {
        let answer = house.ask("GET", path, None).await.expect(200);
        assert_eq!(answer.body["name"], "User");
    }
    for path in PATHS {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let answer = house.ask(method, path, Some(&json!({}))).await;
            is_error(&answer, 405);
            assert_eq!(header(&answer, "allow"), Some("GET, HEAD, OPTIONS"));
        }
        let answer = house.ask("OPTIONS", path, None).await.expect(204);
        assert_eq!(header(&answer, "allow"), Some("GET, HEAD, OPTIONS"));
    }
}

#[tokio::test]
async fn discovery_needs_a_token_too() {
    let house = House::new().await;
    let wrong = ("authorization", format!("Bearer {TOKEN}x"));
    for path in PATHS {
        for headers in [&[][..], std::slice::from_ref(&wrong)] {
            let answer = house.knock.send("GET", path, headers, None).await;
            is_error(&answer.expect("an answer"), 401);
        }
    }
}

#[tokio::test]
async fn a_client_reads_what_holds_for_it() {
    let house = House::with(Plan {
        client: String::from(
            "read_only = true\nannounce_cursors = true\nunique_groups = false\nresponse_type = \"application/json\"",
        ),
        tables: String::from("[server.limits]\npage = 7\nbulk_operations = 9\nbody = \"64KiB\""),
        ..Plan::default()
    })
    .await;
    let config = house.ask("GET", "/ServiceProviderConfig", None).await;
    assert_eq!(header(&config, "content-type"), Some("application/json"));
    let config = config.expect(200).body;
    assert_eq!(config["patch"]["supported"], false);
    assert_eq!(
        config["bulk"],
        json!({"supported": false, "maxOperations": 9, "maxPayloadSize": 65_536})
    );
    assert_eq!(config["filter"]["maxResults"], 7);
    assert_eq!(config["pagination"]["maxPageSize"], 7);
    let path = "/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group";
    let group = house.ask("GET", path, None).await.expect(200).body;
    assert_eq!(group["attributes"][0]["name"], "displayName");
    assert_eq!(group["attributes"][0]["uniqueness"], "none");
    // It says so, and it is so.
    let body = json!({"displayName": "Ours"});
    house.ask("POST", "/Groups", Some(&body)).await.expect(403);
    // What nobody may do is not what this client may not do.
    house.ask("PATCH", "/Users", Some(&body)).await.expect(405);
    house.ask("POST", "/Me", Some(&body)).await.expect(501);
}

#[tokio::test]
async fn what_a_schema_requires_is_required() {
    let house = House::new().await;
    let bodies = [
        ("User", json!({"userName": "ada@x.example"})),
        (
            "Group",
            json!({"displayName": "Ours", "members": [{"type": "User"}]}),
        ),
    ];
    let mut required = Vec::new();
    for (name, body) in bodies {
        let path = format!("/Schemas/urn:ietf:params:scim:schemas:core:2.0:{name}");
        let schema = house.ask("GET", &path, None).await.expect(200).body;
        for attribute in schema["attributes"].as_array().unwrap() {
            let key = attribute["name"].as_str().unwrap();
            let mut body = body.clone();
            if attribute["required"] == true {
                body.as_object_mut().unwrap().remove(key);
                body.as_object_mut().unwrap().remove("members");
                required.push(format!("{name}.{key}"));
            } else if key == "members" {
                // Its `value` is what this body lacks.
                assert_eq!(attribute["subAttributes"][0]["name"], "value");
                assert_eq!(attribute["subAttributes"][0]["required"], true);
            } else {
                continue;
            }
            let endpoint = format!("/{name}s");
            let answer = house.ask("POST", &endpoint, Some(&body)).await;
            is_error(&answer, 400);
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains(key), "{detail}");
        }
    }
    assert_eq!(required, ["User.userName", "Group.displayName"]);
}
