//! Exotic framing, by hand over a socket: what HTTP desync, request smuggling and path tricks are made of. Whatever comes,
//! nothing is done that was not asked for, and the next client is served.

mod cases;
mod heads;

use serde_json::json;

use crate::house::{House, Plan, TOKEN, say};
use crate::wire::Wire;
use cases::{Case, End, cases};

/// What a case's POST makes, if it makes anything.
const BODY: &str = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"made@example.com","name":{"givenName":"M","familyName":"Ade"}}"#;

/// Puts in what a case's text names.
fn fill(text: &str, victim: &str) -> Vec<u8> {
    let auth = format!("Host: h\r\nAuthorization: Bearer {TOKEN}\r\n");
    let delete = format!("DELETE /scim/v2/Users/{victim} HTTP/1.1\r\n{auth}\r\n");
    let post =
        format!("POST /scim/v2/Users HTTP/1.1\r\n{auth}Content-Type: application/scim+json\r\n");
    let text = text
        .replace("{post}", &post)
        .replace("{get}", "GET /scim/v2/Users?count=0 HTTP/1.1\r\n")
        .replace("{auth}", &auth)
        .replace("{bearer}", &format!("Authorization: Bearer {TOKEN}\r\n"))
        .replace(
            "{chunked}",
            &format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len()),
        )
        .replace("{hex}", &format!("{:x}", BODY.len()))
        .replace("{length}", &BODY.len().to_string())
        .replace("{body}", BODY)
        // The whole of it, and how long it is.
        .replace("{delete}", &delete)
        .replace("{delete-length}", &delete.len().to_string())
        .replace("{delete-after-chunks}", &(delete.len() + 5).to_string())
        .replace("{victim}", victim);
    // Bytes that no text can hold.
    let mut bytes = Vec::with_capacity(text.len());
    for piece in text.split_inclusive('}') {
        match piece.split_once("{byte ") {
            Some((before, hex)) => {
                bytes.extend_from_slice(before.as_bytes());
                let hex = hex.trim_end_matches('}');
                bytes.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
            }
            None => bytes.extend_from_slice(piece.as_bytes()),
        }
    }
    bytes
}

/// Nothing of a case is left; says whether it made its user.
async fn clean(house: &House, case: &str, victim: &str) -> bool {
    let there = house.ask("GET", &format!("/Users/{victim}"), None).await;
    assert_eq!(there.status, 200, "{case}: it was deleted");
    let all = house
        .ask("GET", "/Users?attributes=userName", None)
        .await
        .expect(200);
    let all = all.body["Resources"].as_array().expect("a list").clone();
    let mut made = false;
    for one in &all {
        match one["userName"].as_str() {
            Some("victim@example.com") => {}
            Some("made@example.com") => {
                made = true;
                let id = one["id"].as_str().expect("an id");
                house
                    .ask("DELETE", &format!("/Users/{id}"), None)
                    .await
                    .expect(204);
            }
            other => panic!("{case}: {other:?}"),
        }
    }
    house.settled().await;
    made
}

#[tokio::test]
async fn nothing_is_smuggled() {
    let house = House::with(Plan {
        real_time: true,
        ..Plan::default()
    })
    .await;
    let body = json!({"userName": "victim@example.com", "name": {"givenName": "V", "familyName": "Ictim"}});
    let victim = house
        .ask("POST", "/Users", Some(&body))
        .await
        .expect(201)
        .id();
    house.settled().await;
    let cases = cases();
    let mut wrong = Vec::new();
    for Case {
        name,
        send,
        methods,
        want,
        end,
        makes,
    } in &cases
    {
        let calls = house.sandbox.state().calls().len();
        let mut wire = Wire::open(house.serving.address).await;
        wire.send(&fill(send, &victim)).await;
        let mut said = Vec::new();
        match end {
            // Another request on the same connection is answered, and is the next one.
            End::Open => {
                for (at, _) in want.iter().enumerate() {
                    said.push(wire.hear(methods.get(at).unwrap_or(&"GET")).await);
                }
                let last = format!(
                    "GET /scim/v2/Schemas HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
                );
                wire.send(last.as_bytes()).await;
                let last = wire.hear_all(&[]).await;
                let statuses: Vec<u16> = last.iter().map(|said| said.status).collect();
                if statuses != [200] || last[0].json()["Resources"].is_null() {
                    wrong.push(format!("{name}: then {statuses:?}"));
                }
            }
            End::Shut => said = wire.hear_all(methods).await,
            End::Cut => {
                wire.end().await;
                said = wire.hear_all(methods).await;
            }
        }
        let statuses: Vec<u16> = said.iter().map(|said| said.status).collect();
        if statuses != *want {
            wrong.push(format!("{name}: {statuses:?}, wanted {want:?}"));
        }
        for said in &said {
            // What hyper refuses by itself has no body at all; what we refuse says why.
            let kind = said.header("content-type");
            let explained = said.json()["status"].as_str() == Some(&said.status.to_string());
            if said.status >= 400 && kind.is_some() && !explained {
                wrong.push(format!("{name}: {:?}", String::from_utf8_lossy(&said.body)));
            }
        }
        if house.sandbox.state().calls().len() != calls && !makes {
            wrong.push(format!("{name}: it called the application"));
        }
        if clean(&house, name, &victim).await != *makes {
            wrong.push(format!("{name}: made: {}", !makes));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 60);
    say(&format!(
        "framing: {} cases, none of them smuggled anything",
        cases.len()
    ));
}
