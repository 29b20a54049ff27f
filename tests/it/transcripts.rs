//! Real identity providers' conversations, played against the gateway; then the application's end state.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::house::{Answer, House, Knock, TOKEN, say};

/// What a step must say to be another way in than the bearer token: not this player's business.
const OTHER_WAYS_IN: [&str; 3] = ["{{token_endpoint}}", "{{client_basic}}", "{{basic}}"];

/// Walks `a.b[0].c`; a URN key is matched whole before dots are split, and a key in another case only if none fits as it is.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            let rest_of = |key: &str| {
                path.strip_prefix(key)
                    .filter(|rest| rest.is_empty() || rest.starts_with(['.', '[', ':']))
            };
            let exact = map
                .keys()
                .filter(|key| rest_of(key).is_some())
                .max_by_key(|key| key.len());
            let head = path.split(['.', '[']).next().unwrap_or_default();
            let key = exact.or_else(|| map.keys().find(|key| key.eq_ignore_ascii_case(head)))?;
            at(
                map.get(key)?,
                path.get(key.len()..)?.trim_start_matches(['.', ':']),
            )
        }
        Value::Array(items) => match path.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((index, rest)) => at(
                items.get(index.parse::<usize>().ok()?)?,
                rest.trim_start_matches('.'),
            ),
            None => at(items.first()?, path),
        },
        _ => None,
    }
}

fn fill(text: &str, known: &BTreeMap<String, String>) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{{{name}}}}}"), value)
    })
}

/// Why an answer is not what a step wants of it.
fn judge(step: &Value, answer: &Answer, known: &BTreeMap<String, String>) -> Vec<String> {
    let mut why = Vec::new();
    let (status, expect) = (answer.status, &step["expect"]);
    let wanted = expect["status"].as_array().expect("statuses");
    if !wanted.contains(&Value::from(status)) {
        why.push(format!("status {status}, wanted {}", expect["status"]));
    } else {
        let paths = expect["body_contains_paths"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for path in paths {
            if answer.body.is_null() {
                if status != 204 {
                    why.push(format!("empty body, {path} wanted"));
                }
            } else if at(&answer.body, path).is_none() {
                why.push(format!("{path} is missing"));
            }
        }
        for (path, value) in expect["body_equals"].as_object().into_iter().flatten() {
            let want: Value =
                serde_json::from_str(&fill(&value.to_string(), known)).expect("a value");
            let got = at(&answer.body, path);
            if !(status == 204 && answer.body.is_null()) && got != Some(&want) {
                why.push(format!("{path} is {got:?}, wanted {want}"));
            }
        }
    }
    if status >= 400 {
        let error = Value::from("urn:ietf:params:scim:api:messages:2.0:Error");
        let schemas = answer.body["schemas"].as_array();
        if !schemas.is_some_and(|schemas| schemas.contains(&error))
            || answer.body["status"].as_str() != Some(status.to_string().as_str())
        {
            why.push(format!("not a SCIM error: {}", answer.body));
        }
    }
    why
}

/// Plays a transcript; returns how many steps passed. A step that fails says why.
async fn play(knock: &Knock, transcript: &str) -> usize {
    let mut known = BTreeMap::from([(String::from("token"), TOKEN.to_owned())]);
    let mut failed = Vec::new();
    let mut passed = 0;
    let lines = transcript
        .lines()
        .filter(|line| !OTHER_WAYS_IN.iter().any(|other| line.contains(other)));
    for line in lines {
        let step: Value = serde_json::from_str(line).expect("a step");
        let text = |key: &str| fill(step[key].as_str().unwrap_or_default(), &known);
        let query = text("query");
        let path = if query.is_empty() {
            text("path")
        } else {
            format!("{}?{query}", text("path"))
        };
        let headers: Vec<(&str, String)> = step["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "Accept-Encoding")
            .map(|(name, value)| {
                (
                    name.as_str(),
                    fill(value.as_str().unwrap_or_default(), &known),
                )
            })
            .collect();
        let body = match &step["body"] {
            Value::Null => None,
            Value::String(text) => Some(fill(text, &known)),
            other => Some(fill(&other.to_string(), &known)),
        };
        let method = step["method"].as_str().expect("a method");
        let answer = knock.send(method, &path, &headers, body).await;
        let answer = answer.unwrap_or_else(|why| panic!("{} {path}: {why}", step["seq"]));
        let why = judge(&step, &answer, &known);
        for (name, path) in step["save"].as_object().into_iter().flatten() {
            if let Some(value) = path.as_str().and_then(|path| at(&answer.body, path)) {
                let text = value.as_str().map_or(value.to_string(), str::to_owned);
                known.insert(name.clone(), text);
            }
        }
        if why.is_empty() {
            passed += 1;
        } else {
            failed.push(format!(
                "{} {} {method} {path}: {}",
                step["seq"],
                step["what"],
                why.join("; ")
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    passed
}

/// A transcript on a fresh house: every step must pass.
async fn played(name: &str, transcript: &str, steps: usize) -> House {
    let house = House::new().await;
    let passed = play(&house.knock, transcript).await;
    say(&format!("{name}: {passed} passed, 0 failed"));
    assert_eq!(passed, steps, "{name}");
    house.settled().await;
    house
}

/// Who has an account in the application, and whether it is active.
fn accounts(house: &House) -> Vec<(String, bool)> {
    let mut all: Vec<(String, bool)> = house
        .sandbox
        .state()
        .accounts()
        .iter()
        .map(|account| {
            let name = account.user["userName"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            (name, account.user["active"] == true)
        })
        .collect();
    all.sort();
    all
}

fn wanted(all: &[(&str, bool)]) -> Vec<(String, bool)> {
    all.iter()
        .map(|(name, active)| ((*name).to_owned(), *active))
        .collect()
}

#[tokio::test]
async fn okta() {
    let house = played("okta", include_str!("../data/transcripts/okta.jsonl"), 25).await;
    let state = house.sandbox.state();
    let avery = state
        .account("avery.lund@contoso.example")
        .expect("Avery is there");
    assert_eq!(avery["active"], true, "deactivated and reactivated");
    assert_eq!(avery["name"]["familyName"], "Lund-Reyes");
    assert_eq!(avery["displayName"], "Avery Lund-Reyes");
    let bo = state
        .account("bo.reyes@contoso.example")
        .expect("Bo is there, though Okta sent neither displayName nor a type of e-mail");
    assert_eq!(bo["displayName"], "Bo Reyes");
    assert_eq!(state.accounts().len(), 2, "nobody twice");
}

#[tokio::test]
async fn okta_aiw() {
    let house = played(
        "okta-aiw",
        include_str!("../data/transcripts/okta-aiw.jsonl"),
        26,
    )
    .await;
    let state = house.sandbox.state();
    let avery = state
        .account("avery.lund@contoso.example")
        .expect("Avery is there");
    assert_eq!(
        (&avery["active"], &avery["name"]["familyName"]),
        (&true.into(), &"Lund-Reyes".into())
    );
    assert_eq!(state.accounts().len(), 2, "nobody twice");
}

#[tokio::test]
async fn entra_legacy() {
    let transcript = include_str!("../data/transcripts/entra-legacy.jsonl");
    let house = played("entra-legacy", transcript, 41).await;
    // Deleted by Entra: deactivated at once, deleted a week later.
    let gone = [
        ("avery.lund@contoso.example", false),
        ("bo.reyes@contoso.example", false),
    ];
    assert_eq!(accounts(&house), wanted(&gone));
}

#[tokio::test]
async fn entra_optscim062020() {
    let transcript = include_str!("../data/transcripts/entra-optscim062020.jsonl");
    let house = played("entra-optscim062020", transcript, 39).await;
    let gone = [
        ("avery.lund@contoso.example", false),
        ("bo.reyes@contoso.example", false),
    ];
    assert_eq!(accounts(&house), wanted(&gone));
}

#[tokio::test]
async fn onelogin() {
    let transcript = include_str!("../data/transcripts/onelogin.jsonl");
    let house = played("onelogin", transcript, 18).await;
    let left = [
        ("avery.lund@contoso.example", false),
        ("bo.reyes@contoso.example", true),
    ];
    assert_eq!(accounts(&house), wanted(&left));
}

#[tokio::test]
async fn authentik() {
    let transcript = include_str!("../data/transcripts/authentik.jsonl");
    let house = played("authentik", transcript, 24).await;
    // userName is no address here: the accounts go by the e-mail.
    let gone = [
        ("avery.lund@contoso.example", false),
        ("bo.reyes@contoso.example", false),
    ];
    assert_eq!(accounts(&house), wanted(&gone));
}

#[tokio::test]
async fn miniorange() {
    let transcript = include_str!("../data/transcripts/miniorange.jsonl");
    let house = played("miniorange", transcript, 16).await;
    let gone = [
        ("ada.king@contoso.example", false),
        ("ben.roy@contoso.example", false),
    ];
    assert_eq!(accounts(&house), wanted(&gone));
}

#[tokio::test]
async fn misc() {
    let transcript = include_str!("../data/transcripts/misc.jsonl");
    let house = played("misc", transcript, 11).await;
    assert_eq!(
        accounts(&house),
        wanted(&[("avery.lund@contoso.example", true)])
    );
}
