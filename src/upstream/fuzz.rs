//! The bodies of the fuzz targets over what comes back from outside: a token endpoint's reply, an application's answer.
//!
//! They panic where a promise is broken, which is their whole purpose; nothing else calls them.
#![allow(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a broken promise must stop the fuzzer"
)]

use std::time::Duration;

use hyper::header::{HeaderValue, RETRY_AFTER};
use serde_json::Value;

use super::retry_after::CAP;
use super::token::{REPLY, read};
use super::{rate_limits, retry_after};
use crate::clock::Timestamp;
use crate::config::shape::{ProfileName, Secret};
use crate::provision::profile::group::GroupAim;
use crate::provision::profile::{Aim, Heard, Profile, Shown};
use crate::scim::fuzz::fields;

/// 2026-11-23T20:30:45Z
const NOW: Timestamp = Timestamp(1_795_465_845_000);
/// The most of somebody else's words that a person is shown, in characters.
const WORDS: usize = 200;

/// The status in the first line, and what follows it.
fn status(data: &[u8]) -> (u16, &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (line, rest) = data.split_at(end.unwrap_or(data.len()));
    let line = std::str::from_utf8(line).unwrap_or_default();
    (
        line.trim().parse().unwrap_or(200),
        rest.get(1..).unwrap_or_default(),
    )
}

/// Words of somebody else's that a person may see.
fn shown(words: &str) {
    assert!(
        words.chars().count() <= WORDS && !words.contains(char::is_control),
        "{words:?}"
    );
}

/// A token endpoint's reply: the status in the first line, then the body.
///
/// There is a token exactly where RFC 6749 5.1 has one that a header can carry. It lives a minute to a day, and is not
/// printed by accident. A refusal names its status and what to do.
pub fn token(data: &[u8]) {
    let (status, body) = status(data);
    let granted = read(status, body);
    assert_eq!(granted, read(status, body));
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let good = |token: &&str| {
        (1..=16 * 1024).contains(&token.len())
            && token.chars().all(|letter| ('!'..='~').contains(&letter))
    };
    let kind = value["token_type"].as_str().unwrap_or("bearer");
    let wanted = value["access_token"].as_str().filter(good).filter(|_| {
        (200..=299).contains(&status) && body.len() <= REPLY && kind.eq_ignore_ascii_case("bearer")
    });
    match granted {
        Ok(granted) => {
            let Secret(token) = &granted.token;
            assert_eq!(Some(token.as_str()), wanted);
            assert!(HeaderValue::from_str(&format!("Bearer {token}")).is_ok());
            let lives = granted.lives.as_secs_f64();
            assert!((60.0..=86_400.0).contains(&lives));
            if let Some(told) = value["expires_in"].as_u64() {
                assert_eq!(granted.lives, Duration::from_secs(told.clamp(60, 86_400)));
            }
            let hidden = format!("{:?}", Secret(String::from("x")));
            assert_eq!(format!("{:?}", granted.token), hidden);
            for name in granted.scope.iter().flatten() {
                assert!(!name.is_empty() && !name.contains([' ', ',']));
            }
        }
        Err(refused) => {
            assert_eq!(wanted, None);
            assert_eq!(refused.status, status);
            let told = refused.to_string();
            let said = told
                .strip_prefix("no token: ")
                .and_then(|told| told.strip_prefix(refused.advice()));
            let said = said.and_then(|said| said.strip_prefix(&format!(" (status {status}")));
            shown(
                said.unwrap_or(&told)
                    .trim_start_matches(": ")
                    .trim_end_matches(')'),
            );
            assert!(told.contains(refused.advice()) && told.contains(&status.to_string()));
        }
    }
}

/// An application's answer: the status in the first line, a line for each header, then the body.
///
/// Whatever it was asked, a read never harms, somebody else's outage is nobody's refusal, and what may have taken effect
/// is never taken for what surely did not. How long it wants to be left alone is at most a day, and never grows by
/// waiting.
pub fn answer(data: &[u8]) {
    let (status, rest) = status(data);
    let (headers, body) = fields(rest);
    for name in [ProfileName::Zoom, ProfileName::Scim] {
        for aim in [
            Aim::LookUp,
            Aim::List,
            Aim::Read,
            Aim::Create,
            Aim::Update,
            Aim::Switch,
            Aim::Delete,
        ] {
            let heard = Profile::of(name).hear(aim, status, body);
            assert_eq!(heard, Profile::of(name).hear(aim, status, body));
            meant(name, aim, status, body, &heard);
        }
        for aim in [
            GroupAim::LookUp,
            GroupAim::List,
            GroupAim::Read,
            GroupAim::Create,
            GroupAim::Update,
            GroupAim::Members,
            GroupAim::Delete,
        ] {
            let heard = Profile::of(name).hear_group(aim, status, body);
            let good = matches!(
                heard,
                Heard::Account(_) | Heard::Found(_) | Heard::Page(..) | Heard::Done
            );
            assert!(!good || (200..=299).contains(&status), "{aim:?} {status}");
            let ambiguous = matches!(heard, Heard::Ambiguous(_));
            let reads = matches!(aim, GroupAim::LookUp | GroupAim::List | GroupAim::Read);
            assert!(!(ambiguous && reads), "{aim:?} {status}");
        }
    }
    let later = NOW.plus(Duration::from_secs(3_600));
    if let Some(text) = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
    {
        let (wait, then) = (
            retry_after::parse(text, NOW),
            retry_after::parse(text, later),
        );
        assert_eq!(wait.is_some(), then.is_some());
        assert!(wait.is_none_or(|wait| wait <= CAP) && then <= wait);
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let seconds = text.parse().unwrap_or(u64::MAX);
            assert_eq!(wait, Some(Duration::from_secs(seconds).min(CAP)));
        }
    }
    let (limits, then) = (
        rate_limits::read(&headers, NOW),
        rate_limits::read(&headers, later),
    );
    assert_eq!((limits.span, limits.granted), (then.span, then.granted));
    assert!(limits.reset.is_none_or(|reset| reset <= CAP) && then.reset <= limits.reset);
}

fn meant(name: ProfileName, aim: Aim, status: u16, body: &[u8], heard: &Heard) {
    let (reads, well) = (
        matches!(aim, Aim::LookUp | Aim::List | Aim::Read),
        (200..=299).contains(&status),
    );
    // About the resource, and not about the account, the rate, or the way.
    let verdict = (400..=499).contains(&status) && !matches!(status, 401 | 403 | 408 | 425 | 429);
    let account = |shown: &Shown| {
        assert!(!shown.id.is_empty() && shown.attributes.contains_key("id"));
        let name = shown.attributes.get("userName").and_then(Value::as_str);
        assert_eq!(shown.user_name.as_deref(), name);
        // Absent is not false.
        assert!(shown.active.is_none() || shown.attributes.contains_key("active"));
    };
    let right = match heard {
        Heard::Account(one) => {
            account(one);
            well && !matches!(aim, Aim::LookUp | Aim::List | Aim::Delete)
        }
        Heard::Found(all) => {
            all.iter().for_each(account);
            well && aim == Aim::LookUp
        }
        Heard::Done => {
            let silent = matches!(aim, Aim::Update | Aim::Switch) && body.is_empty();
            well && (aim == Aim::Delete || silent)
        }
        Heard::Exists(words) => {
            shown(words);
            // Zoom may say it with a 403.
            let zoom = name == ProfileName::Zoom && status == 403;
            (verdict || zoom) && status != 404 && aim == Aim::Create
        }
        Heard::Absent(words) => {
            shown(words);
            // Zoom's not-found may be a 400.
            let zoom = name == ProfileName::Zoom;
            verdict
                && !matches!(aim, Aim::LookUp | Aim::List | Aim::Create)
                && (status == 404 || !reads || zoom)
        }
        Heard::NotBelonging(words) => {
            shown(words);
            verdict && aim == Aim::LookUp && name == ProfileName::Zoom
        }
        Heard::Unavailable(words) => {
            shown(words);
            // A write that it may have done is never taken for one that it did not do.
            reads || (300..=499).contains(&status) && status != 408
        }
        Heard::Ambiguous(words) => {
            shown(words);
            !reads && (!(300..=499).contains(&status) || status == 408)
        }
        Heard::Page(all, _) => {
            all.iter().for_each(account);
            well && aim == Aim::List
        }
        Heard::Unsupported(words) => {
            shown(words);
            name == ProfileName::Scim && (verdict || status == 501)
        }
        Heard::Forbidden(words) => {
            shown(words);
            name == ProfileName::Scim && status == 403 && !reads
        }
        Heard::Refused {
            status: told,
            detail,
        } => {
            shown(detail);
            // A name that is taken is a conflict, whatever number a server gives it.
            let taken = name == ProfileName::Scim && *told == 409;
            !reads && verdict && status != 404 && (*told == status || taken)
        }
    };
    assert!(right, "{name:?} {aim:?} {status}: {heard:?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spoil::storm;

    #[test]
    fn spoiled_token_replies_break_no_promise() {
        storm(
            token,
            &[
                "200\n{\"access_token\":\"eyJ0.b-c_d\",\"token_type\":\"bearer\",\"expires_in\":3599,\"scope\":\"scim2:read scim2:write\",\"api_url\":\"https://api.zoom.us\"}",
                "200\n{\"access_token\":\"t\",\"expires_in\":\"86401\",\"scope\":[\"a\",\"b c,d\"]}",
                "201\n{\"access_token\":7,\"token_type\":\"mac\",\"expires_in\":-1e300}",
                "400\n{\"reason\":\"Invalid client_id or client_secret\",\"error\":\"invalid_client\"}",
                "400\n{\"code\":4702,\"message\":\"Invalid client\",\"errorMessage\":\"\\u001b[31m\"}",
                "429\n{\"reason\":\"\\u00e9\\u00e9\\u00e9\",\"error\":\"\"}",
                "200\n{\"error\":\"invalid_grant\",\"error_description\":\"x\"}",
                "503\n<html>busy</html>",
                "65535\n",
            ],
        );
    }

    #[test]
    fn spoiled_answers_break_no_promise() {
        let seeds = [
            "200\n\n{\"id\":\"k&Kd\",\"userName\":\"a@example.com\",\"active\":true,\"meta\":{\"created\":\"2026-11-23T20:30:45Z\"}}",
            "200\nX-RateLimit-Type: QPS\nX-RateLimit-Limit: 80\nX-RateLimit-Reset: 1795465846\n\n{\"totalResults\":1,\"Resources\":[{\"id\":7,\"active\":\"False\"}]}",
            "200\n\n{\"totalResults\":0,\"Resources\":null}",
            "204\n",
            "301\nLocation: https://elsewhere.example\n",
            "400\n\n{\"schemas\":[\"urn:ietf:params:scim:api:messages:2.0:Error\"],\"detail\":\"User already exist in this account\",\"status\":\"400\"}",
            "400\n\n{\"code\":300,\"message\":\"User not exist\"}",
            "400\n\n{\"message\":\"user does not belong to this account\"}",
            "400\n\n{\"detail\":\"This account has not enabled single sign-on\"}",
            "401\n\n{\"code\":124,\"message\":\"Invalid access token.\"}",
            "404\n\n{\"detail\":\"User not exist\"}",
            "408\n",
            "409\n\n{\"scimType\":\"uniqueness\",\"detail\":\"\\u0000taken\"}",
            "429\nRetry-After: 2026-11-24T00:00:00Z\nX-RateLimit-Type: Daily-limit\nX-RateLimit-Reset: 30\n",
            "429\nRetry-After: Mon, 23 Nov 2026 20:31:45 GMT\n\n{\"message\":\"You have reached the maximum per-second rate limit\"}",
            "500\nRetry-After: -7\n\nbusy",
            "0\n",
        ];
        storm(answer, &seeds);
        // Every status with every body.
        for status in 100..=700_u16 {
            for seed in seeds {
                let rest = seed.split_once('\n').map_or("", |(_, rest)| rest);
                answer(format!("{status}\n{rest}").as_bytes());
            }
        }
    }
}
