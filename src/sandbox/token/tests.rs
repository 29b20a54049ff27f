//! What the token endpoint answers.

use serde_json::Value::Null;

use super::super::zoom::Door;
use super::*;
use crate::provision::call::Method;

const GRANT: &str = "grant_type=account_credentials&account_id=sandbox-account";

fn ask(pair: Option<&str>, query: &str, body: &str) -> (u16, Value) {
    let authorization = pair.map(|pair| format!("Basic {}", STANDARD.encode(pair)));
    let call = Call {
        method: Some(Method::Post),
        path: PATH,
        query: Some(query),
        body: body.as_bytes(),
        door: Door::Token,
        authorization: authorization.as_deref(),
    };
    let (options, quirks) = (Options::default(), Quirks::default());
    let base_url = "http://127.0.0.1:9900/scim2";
    let reply = Tokens::default().answer(&options, &quirks, base_url, call, Timestamp(0));
    (reply.status, reply.body.unwrap_or_default())
}

#[test]
fn a_token_is_given_for_credentials_and_grant() {
    let pair = Some("sandbox-client:sandbox-secret");
    let json = r#"{"grant_type":"account_credentials","account_id":"sandbox-account"}"#;
    for (query, body) in [(GRANT, ""), ("", GRANT), ("", json)] {
        let (status, mut reply) = ask(pair, query, body);
        let token = reply["access_token"].take();
        assert!(
            token.as_str().is_some_and(|token| token.len() > 32),
            "{token}"
        );
        let wanted = json!({"access_token": null, "token_type": "bearer", "expires_in": 3599,
            "scope": "scim2:admin", "api_url": "http://127.0.0.1:9900"});
        assert_eq!((status, reply), (200, wanted), "{query} {body}");
    }
    let refused = |reason: &str, error: &str| json!({"reason": reason, "error": error});
    let client = || refused("Invalid client_id or client_secret", "invalid_client");
    let request = || refused("Bad Request", "invalid_request");
    for (pair, query, status, reply) in [
        (None, GRANT, 401, client()),
        (Some("sandbox-client:wrong"), GRANT, 400, client()),
        (Some("sandbox-client"), GRANT, 400, client()),
        (pair, "", 400, request()),
        (pair, "grant_type=account_credentials", 400, request()),
        (
            pair,
            "grant_type=account_credentials&account_id=x",
            400,
            request(),
        ),
        (
            pair,
            "grant_type=client_credentials&account_id=sandbox-account",
            400,
            refused("unsupported grant type", "unsupported_grant_type"),
        ),
    ] {
        assert_eq!(ask(pair, query, ""), (status, reply), "{pair:?} {query}");
    }
}

#[test]
fn each_token_is_another_and_ends_by_itself() {
    let (options, quirks) = (Options::default(), Quirks::default());
    let mut tokens = Tokens::default();
    let pair = format!("Basic {}", STANDARD.encode("sandbox-client:sandbox-secret"));
    let call = Call {
        method: Some(Method::Post),
        path: PATH,
        query: Some(GRANT),
        body: b"",
        door: Door::Token,
        authorization: Some(&pair),
    };
    let mut give = |now| {
        let reply = tokens.answer(&options, &quirks, "", call, Timestamp(now));
        let token = reply.body.unwrap_or(Null)["access_token"].take();
        format!("Bearer {}", token.as_str().expect("a token"))
    };
    let (first, second) = (give(0), give(1_000));
    assert_ne!(first, second);
    let good = |token: &str, now| {
        let admitted = tokens.admit(&options, &quirks, Some(token), Timestamp(now));
        admitted.is_ok()
    };
    assert!(good(&first, 3_599_999) && good(&second, 3_600_999));
    assert!(!good(&first, 3_600_000) && !good(&second, 3_601_000));
    assert!(good("bearer sandbox-token", u64::MAX) && !good("Bearer sandbox-secret", 0));
}
