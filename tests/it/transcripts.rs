//! Real identity providers' conversations, played against the gateway; then the application's end state.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::house::{House, Knock, TOKEN};

/// Walks `a.b[0].c`; a URN key is matched whole before dots are split.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            let starts = |key: &str| {
                path.strip_prefix(key)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', ':']))
            };
            let key = map
                .keys()
                .filter(|key| starts(key))
                .max_by_key(|key| key.len())?;
            at(
                map.get(key)?,
                path[key.len()..].trim_start_matches(['.', ':']),
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

/// Plays a transcript; returns how many steps passed. A step that fails says why.
async fn play(knock: &Knock, transcript: &str) -> usize {
    let mut known = BTreeMap::from([(String::from("token"), TOKEN.to_owned())]);
    let mut failed = Vec::new();
    let mut passed = 0;
    for line in transcript.lines() {
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
        let body = (!step["body"].is_null()).then(|| fill(&step["body"].to_string(), &known));
        let answer = knock
            .send(
                step["method"].as_str().expect("a method"),
                &path,
                &headers,
                body,
            )
            .await
            .expect("an answer");
        let mut why = Vec::new();
        let expect = &step["expect"];
        if !expect["status"]
            .as_array()
            .expect("statuses")
            .contains(&Value::from(answer.status))
        {
            why.push(format!(
                "status {}, wanted {}",
                answer.status, expect["status"]
            ));
        }
        for path in expect["body_contains_paths"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !answer.body.is_null() && at(&answer.body, path).is_none() {
                why.push(format!("{path} is missing"));
            }
        }
        for (path, value) in expect["body_equals"].as_object().into_iter().flatten() {
            let want: Value =
                serde_json::from_str(&fill(&value.to_string(), &known)).expect("a value");
            if answer.status != 204 && at(&answer.body, path) != Some(&want) {
                why.push(format!(
                    "{path} is {:?}, wanted {want}",
                    at(&answer.body, path)
                ));
            }
        }
        if answer.status >= 400 {
            let error = "urn:ietf:params:scim:api:messages:2.0:Error";
            if at(&answer.body, "schemas[0]").and_then(Value::as_str) != Some(error)
                || !answer.body["status"].is_string()
            {
                why.push(format!("not a SCIM error: {}", answer.body));
            }
        }
        for (name, path) in step["save"].as_object().into_iter().flatten() {
            if let Some(value) = path
                .as_str()
                .and_then(|path| at(&answer.body, path)?.as_str())
            {
                known.insert(name.clone(), value.to_owned());
            }
        }
        if why.is_empty() {
            passed += 1;
        } else {
            failed.push(format!(
                "{} {} {}: {}",
                step["seq"],
                step["what"],
                path,
                why.join("; ")
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    passed
}

#[tokio::test]
async fn okta() {
    let house = House::new().await;
    let passed = play(&house.knock, include_str!("../data/transcripts/okta.jsonl")).await;
    println!("okta: {passed} passed, 0 failed");
    assert_eq!(passed, 25);
    house.settled().await;
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
    let house = House::new().await;
    let passed = play(
        &house.knock,
        include_str!("../data/transcripts/okta-aiw.jsonl"),
    )
    .await;
    println!("okta-aiw: {passed} passed, 0 failed");
    assert_eq!(passed, 26);
    house.settled().await;
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
