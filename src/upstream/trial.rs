//! What `usher test` found out about the way to an application, step by step, and what to mend. Pure: [`Findings`] are
//! facts, [`Trial::of`] judges them. Zoom's texts are those of its SCIM and OAuth pages.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::shape::ProfileName;
use crate::provision::call::Answer;
use crate::upstream::token::NO_TOKEN;

/// What was found, in the order of the steps. A step that was not reached is `None`.
#[derive(Debug, Clone)]
pub struct Findings {
    /// What the application is.
    pub profile: ProfileName,
    /// The host in base_url.
    pub host: String,
    /// When all this was found.
    pub now: Timestamp,
    /// The host's addresses, or why there are none.
    pub name: Result<Vec<String>, String>,
    /// The connection.
    pub tls: Option<Result<Connected, String>>,
    /// The token.
    pub token: Option<Result<Had, String>>,
    /// One read of the first user.
    pub read: Option<Answer>,
}

/// A connection was had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connected {
    /// Without TLS, on this machine.
    Plain,
    /// With TLS; when the certificate ends, if it tells.
    Tls(Option<Timestamp>),
}

/// A token was had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Had {
    /// One from the configuration. What it is good for shows when it is used.
    Bearer,
    /// One that usher got.
    Token {
        /// How long it still lives.
        lives: Duration,
        /// What it is good for, if the endpoint said so.
        scope: Option<Vec<String>>,
    },
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Well.
    Ok,
    /// It did not.
    Failed,
    /// Not reached, not known or not needed.
    Skipped,
}

impl Outcome {
    /// As people read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// name, tls, token, scope, sso, read
    pub step: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub detail: String,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The application's name in the configuration.
    pub application: String,
    /// No step failed.
    pub ok: bool,
    /// All six, in order.
    pub steps: Vec<Step>,
    /// What to mend and where, about the first step that failed.
    pub mend: Option<String>,
}

/// The scopes that the SCIM endpoints of Zoom take, either of them.
const SCOPES: [&str; 2] = ["scim2", "scim2:admin"];

/// Where scopes are added. Zoom takes them into account when the app is activated again.
const ADD_SCOPE: &str = "In marketplace.zoom.us: Manage > your Server-to-Server OAuth app > Scopes: add scim2:admin (\"SCIM2\"), then activate the app again.";

/// A step as it is judged.
type Judged = (&'static str, Outcome, String);

impl Trial {
    /// Judges.
    #[must_use]
    pub fn of(application: &str, found: &Findings) -> Self {
        let mut steps: Vec<Judged> = Vec::new();
        let mend = judge(found, &mut steps).err();
        let reached = steps.len();
        for step in ["name", "tls", "token", "scope", "sso", "read"]
            .into_iter()
            .skip(reached)
        {
            steps.push((step, Outcome::Skipped, String::from("not reached")));
        }
        let step = |(step, outcome, detail): Judged| Step {
            step: step.to_owned(),
            outcome,
            detail,
        };
        Self {
            application: application.to_owned(),
            ok: mend.is_none(),
            steps: steps.into_iter().map(step).collect(),
            mend,
        }
    }

    /// The step that failed.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        let failed = |step: &&Step| step.outcome == Outcome::Failed;
        self.steps
            .iter()
            .find(failed)
            .map(|step| step.step.as_str())
    }
}

/// Puts the steps down, up to the first that failed: then what to mend.
fn judge(found: &Findings, steps: &mut Vec<Judged>) -> Result<(), String> {
    let host = &found.host;
    let not_reached = || String::from("The test was cut short: run it again.");
    match &found.name {
        Ok(addresses) => {
            let detail = format!("{host} is {}", addresses.join(", "));
            steps.push(("name", Outcome::Ok, detail));
        }
        Err(why) => {
            steps.push(("name", Outcome::Failed, why.clone()));
            return Err(format!(
                "The name {host} cannot be resolved on this machine: check base_url and the machine's DNS."
            ));
        }
    }
    match found.tls.as_ref().ok_or_else(not_reached)? {
        Ok(Connected::Plain) => {
            let detail = format!("connected to {host} without TLS, as base_url says");
            steps.push(("tls", Outcome::Skipped, detail));
        }
        Ok(Connected::Tls(ends)) => {
            let ends = ends.map_or_else(String::new, |ends| {
                let days = ends.since(found.now).as_secs() / 86_400;
                format!("; its certificate ends {}, in {days} days", day(ends))
            });
            steps.push(("tls", Outcome::Ok, format!("connected to {host}{ends}")));
        }
        Err(why) => {
            steps.push(("tls", Outcome::Failed, why.clone()));
            return Err(format!(
                "This machine cannot connect to {host}: {why}. If a firewall or proxy is on the way, it must let usher out to {host} on the URL's port."
            ));
        }
    }
    let had = found.token.as_ref().ok_or_else(not_reached)?;
    let scope = match had {
        Ok(Had::Bearer) => {
            let detail = "a bearer token from the configuration; the read shows whether it holds";
            steps.push(("token", Outcome::Ok, detail.into()));
            None
        }
        Ok(Had::Token { lives, scope }) => {
            let detail = format!("had; it lives for another {} s", lives.as_secs());
            steps.push(("token", Outcome::Ok, detail));
            scope.as_deref()
        }
        Err(why) => {
            steps.push(("token", Outcome::Failed, why.clone()));
            let advice = why.strip_prefix(NO_TOKEN).unwrap_or(why);
            return Err(format!("There is no token: {advice}."));
        }
    };
    scope_of(found, scope, steps)?;
    let Some(answer) = &found.read else {
        return Err(not_reached());
    };
    read(found, answer, steps)
}

fn scope_of(
    found: &Findings,
    scope: Option<&[String]>,
    steps: &mut Vec<Judged>,
) -> Result<(), String> {
    let zoom = found.profile == ProfileName::Zoom;
    // The endpoint may know better than the list that it gave with the token.
    let refused = matches!(&found.read, Some(answer) if zoom && lacks_scope(answer));
    let has = |scope: &[String]| scope.iter().any(|name| SCOPES.contains(&name.as_str()));
    let (outcome, detail) = match scope {
        _ if refused => (
            Outcome::Failed,
            String::from("the read was refused: the token lacks a scope"),
        ),
        _ if !zoom => (
            Outcome::Skipped,
            String::from("known of Zoom's scopes alone"),
        ),
        None => (
            Outcome::Skipped,
            String::from("the token does not tell what it is good for"),
        ),
        Some(scope) if has(scope) => (
            Outcome::Ok,
            String::from("the token is good for SCIM (scim2)"),
        ),
        Some(scope) => (
            Outcome::Failed,
            format!(
                "the token has neither scim2 nor scim2:admin among its {} scopes",
                scope.len()
            ),
        ),
    };
    steps.push(("scope", outcome, detail));
    if outcome == Outcome::Failed {
        return Err(String::from(ADD_SCOPE));
    }
    Ok(())
}

/// Zoom says so in words or by its codes 4700 and 4711, which it also gives for a token that is empty or has ended.
fn lacks_scope(answer: &Answer) -> bool {
    let Answer::Reply {
        status: 400 | 401 | 403,
        body,
        ..
    } = answer
    else {
        return false;
    };
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = words(&value).to_lowercase();
    let code = value.get("code").and_then(Value::as_u64);
    let other = said.contains("empty") || said.contains("expired");
    said.contains("scope") || (matches!(code, Some(4700 | 4711)) && !other)
}

fn words(value: &Value) -> &str {
    let word = |name: &str| value.get(name).and_then(Value::as_str);
    let mut words = ["detail", "message", "reason", "error"].into_iter();
    words.find_map(word).unwrap_or_default()
}

/// The last two steps: what the read says about single sign-on, and the read itself.
fn read(found: &Findings, answer: &Answer, steps: &mut Vec<Judged>) -> Result<(), String> {
    let zoom = found.profile == ProfileName::Zoom;
    let host = &found.host;
    let mut sso = |outcome, detail: &str| {
        let (outcome, detail) = if zoom {
            (outcome, detail)
        } else {
            (Outcome::Skipped, "asked of Zoom alone")
        };
        steps.push(("sso", outcome, detail.to_owned()));
    };
    let unknown = "not known: the read failed before";
    let (status, body) = match answer {
        Answer::Reply { status, body, .. } => (*status, body),
        Answer::NotSent(why) | Answer::Lost(why) => {
            sso(Outcome::Skipped, unknown);
            steps.push(("read", Outcome::Failed, why.clone()));
            return Err(format!(
                "{host} did not answer a read ({why}). Run the test again; where it stays so, ask the network's people, and see status.zoom.us if this is Zoom."
            ));
        }
    };
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let said: String = words(&value)
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    let low = said.to_lowercase();
    if zoom && status == 400 && low.contains("single sign-on") {
        sso(Outcome::Failed, &format!("{status}: {said}"));
        return Err(String::from(
            "Single sign-on is off in this Zoom account, and SCIM needs it: in zoom.us/account/sso (Admin > Advanced > Single Sign-On) enable it, with an approved vanity URL (Account Management > Account Profile > Vanity URL).",
        ));
    }
    if (200..300).contains(&status) {
        sso(Outcome::Ok, "on: the account answers SCIM");
        return users(&value, status, host, steps);
    }
    sso(Outcome::Skipped, unknown);
    let shown = if said.is_empty() {
        format!("status {status}")
    } else {
        format!("{status}: {said}")
    };
    steps.push(("read", Outcome::Failed, shown));
    Err(refused(found, status, &low))
}

/// A success has to be a list (RFC 7644 3.4.2).
fn users(value: &Value, status: u16, host: &str, steps: &mut Vec<Judged>) -> Result<(), String> {
    let listed = value.get("Resources").is_some_and(Value::is_array);
    let total = value.get("totalResults").and_then(Value::as_u64);
    match total {
        Some(total) if status == 200 && (listed || total == 0) => {
            let detail = format!("GET /Users: 200, totalResults {total}");
            steps.push(("read", Outcome::Ok, detail));
            Ok(())
        }
        _ => {
            let detail = format!("GET /Users: {status}, and the answer is no list of users");
            steps.push(("read", Outcome::Failed, detail));
            Err(format!(
                "What answers at {host} is no SCIM server: check base_url (Zoom's is https://api.zoom.us/scim2)."
            ))
        }
    }
}

/// What to mend about a refusal.
fn refused(found: &Findings, status: u16, said: &str) -> String {
    let zoom = found.profile == ProfileName::Zoom;
    let own_token = matches!(found.token, Some(Ok(Had::Token { .. })));
    let text = match status {
        _ if zoom && said.contains("vanity") => {
            "The account needs an approved vanity URL: Zoom's Admin > Account Management > Account Profile > Vanity URL."
        }
        401 if zoom && own_token => {
            "Zoom does not take the token that it gave: in marketplace.zoom.us > Manage > your Server-to-Server OAuth app, see that the app is activated and that no other program uses the same app (a new token may void the old one)."
        }
        401 => {
            "The token is not taken: it has ended, was withdrawn or belongs to something else. Put a new one where `token` of this application points, and restart."
        }
        403 if zoom => {
            "The Zoom role behind the app lacks a permission: in Zoom's Admin > User Management > Roles, edit the role of the app's owner: SCIM needs User: Read and Edit, and Group: Read and Edit."
        }
        403 => {
            "The application does not let this token read users: give its owner that right there."
        }
        404 | 405 | 501 => {
            "There are no users at base_url: check it (Zoom's is https://api.zoom.us/scim2, without /v2)."
        }
        429 => {
            "The application asks for patience (429): run the test later. If that happens often, lower [application.pace]; Zoom counts all apps of the account together."
        }
        300..=399 => {
            "The application redirects, and calls with credentials never follow: write the address that it redirects to as base_url."
        }
        500.. => {
            "The application has a failure of its own: run the test later, and see status.zoom.us if this is Zoom."
        }
        _ if zoom => {
            "Zoom refuses SCIM for this account: it needs a Business or Education account with an approved vanity URL and single sign-on, and an app owned by the account's owner or an admin."
        }
        _ => "The application refuses to list users: see what it said, and check base_url.",
    };
    String::from(text)
}

fn day(at: Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}
