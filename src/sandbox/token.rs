//! The token endpoint of a Server-to-Server app, and which tokens are good. Pure: time comes in.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::clock::Timestamp;

use super::Options;
use super::faults::mix;
use super::query;
use super::quirks::Quirks;
use super::zoom::{Call, Reply};

/// Where tokens are to be had, on the same listener.
pub(super) const PATH: &str = "/oauth/token";

/// The tokens that were given.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    given: HashMap<String, Grant>,
    made: u64,
}

#[derive(Debug)]
struct Grant {
    ends: Timestamp,
    scope: String,
}

impl Tokens {
    /// Answers a call of the token endpoint.
    pub(super) fn answer(
        &mut self,
        options: &Options,
        quirks: &Quirks,
        base_url: &str,
        call: Call<'_>,
        now: Timestamp,
    ) -> Reply {
        if let Err((status, reason, error)) = check(options, quirks, call) {
            return Reply::new(status, json!({"reason": reason, "error": error}));
        }
        if quirks.new_token_voids_old {
            self.given.clear();
        }
        self.given.retain(|_, grant| now < grant.ends);
        self.made += 1;
        let token = format!(
            "sandbox-{:016x}{:016x}",
            mix(options.seed ^ mix(self.made)),
            mix(self.made)
        );
        let life = Duration::from_secs(quirks.token_life_seconds);
        let grant = Grant {
            ends: now.plus(life),
            scope: quirks.scope.clone(),
        };
        self.given.insert(token.clone(), grant);
        // The fact sheet's samples have it without the path of the API.
        let api_url = base_url.trim_end_matches("/scim2");
        let reply = json!({
            "access_token": token,
            "token_type": "bearer",
            "expires_in": quirks.token_life_seconds.saturating_sub(1),
            "scope": quirks.scope,
            "api_url": api_url,
        });
        Reply::new(200, reply).with_effect(true)
    }

    /// Whether a call with this `Authorization` may come in.
    ///
    /// # Errors
    /// Zoom's answer if not.
    pub(super) fn admit(
        &self,
        options: &Options,
        quirks: &Quirks,
        authorization: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Reply> {
        let refuse = |status, code: u16, message: &str| {
            Err(Reply::new(
                status,
                json!({"code": code, "message": message}),
            ))
        };
        let invalid = || refuse(401, 124, "Invalid access token.");
        let Some(token) = credentials(authorization, "bearer") else {
            return invalid();
        };
        if quirks.app_deactivated {
            return invalid();
        }
        // The token of the options never ends and has whatever scope tokens have now.
        let scope = if token == options.token {
            &quirks.scope
        } else {
            match self.given.get(token).filter(|grant| now < grant.ends) {
                Some(grant) => &grant.scope,
                None => return invalid(),
            }
        };
        if scope
            .split_whitespace()
            .any(|scope| scope == "scim2" || scope == "scim2:admin")
        {
            return Ok(());
        }
        let text = "Invalid access token, does not contain scopes:[scim2:admin].";
        refuse(quirks.scope_status, 4700, text)
    }
}

/// What is wrong with a call of the token endpoint: the status, the reason, and the code of RFC 6749 5.2.
fn check(
    options: &Options,
    quirks: &Quirks,
    call: Call<'_>,
) -> Result<(), (u16, &'static str, &'static str)> {
    const UNKNOWN: &str = "Invalid client_id or client_secret";
    let basic = credentials(call.authorization, "basic").ok_or((401, UNKNOWN, "invalid_client"))?;
    let given = STANDARD.decode(basic).unwrap_or_default();
    if given != format!("{}:{}", options.client_id, options.client_secret).into_bytes() {
        return Err((400, UNKNOWN, "invalid_client"));
    }
    if quirks.app_deactivated {
        return Err((400, "The app is deactivated.", "invalid_client"));
    }
    let body = std::str::from_utf8(call.body).unwrap_or_default();
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let query = call.query.filter(|_| !quirks.token_body_only);
    let parameter = |name| {
        query::parameter(query, name)
            .or_else(|| query::parameter(Some(body), name))
            .or_else(|| json.get(name)?.as_str().map(str::to_owned))
    };
    match parameter("grant_type").as_deref() {
        Some("account_credentials") => {}
        None => return Err((400, "Bad Request", "invalid_request")),
        Some(_) => return Err((400, "unsupported grant type", "unsupported_grant_type")),
    }
    if parameter("account_id").as_deref() != Some(&options.account_id) {
        return Err((400, "Bad Request", "invalid_request"));
    }
    Ok(())
}

fn credentials<'a>(authorization: Option<&'a str>, wanted: &str) -> Option<&'a str> {
    let (scheme, given) = authorization?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| given.trim())
}

#[cfg(test)]
mod tests;
