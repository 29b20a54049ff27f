//! Tries the way to an application, step by step, as calls take it. The verdict is [`crate::upstream::trial`]'s.

use std::time::Duration;

use hyper::Uri;
use rustls::pki_types::CertificateDer;
use tokio::net::lookup_host;

use crate::clock::{Clock, Timestamp};
use crate::config::{pem, shape};
use crate::provision::call::{Answer, Call, Class, Method};
use crate::provision::pace::{self, Heard};
use crate::upstream::client::Upstream;
use crate::upstream::connect::CONNECT;
use crate::upstream::gate::{Gate, Turn};
use crate::upstream::token::NO_TOKEN;
use crate::upstream::trial::{Connected, Findings, Had, Trial};

/// How long the token and the read may take together.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a whole test takes at most, with something to spare for the answer.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Tries one step after another, up to the first that fails. The application's own token is used: another one might
/// void it. The read passes the application's gate, and what it shows counts there.
pub async fn examine(
    application: &shape::Application,
    upstream: &Upstream,
    gate: &Gate,
    clock: &Clock,
) -> Findings {
    let uri: Option<Uri> = application.base_url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let port = uri.as_ref().and_then(Uri::port_u16).unwrap_or(443);
    let mut found = Findings {
        profile: application.profile,
        host: host.to_owned(),
        now: clock.now(),
        name: addresses(host, port, clock).await,
        tls: None,
        token: None,
        read: None,
    };
    if found.name.is_err() {
        return found;
    }
    let tls = application.base_url.starts_with("https://");
    let knocked = upstream.knock().await.map(|chain| {
        let leaf = chain
            .first()
            .map(|der| CertificateDer::from(der.as_slice()));
        let ends = leaf.as_ref().and_then(pem::good_until);
        if tls {
            Connected::Tls(ends)
        } else {
            Connected::Plain
        }
    });
    let connected = knocked.is_ok();
    found.tls = Some(knocked);
    if !connected {
        return found;
    }
    let deadline = clock.now().plus(PATIENCE);
    for last in [false, true] {
        let token = match upstream.token(deadline).await {
            Ok(token) => token,
            Err(why) => {
                found.token = Some(Err(why));
                found.read = None;
                break;
            }
        };
        let number = token.as_ref().map(|token| token.number);
        found.token = Some(Ok(token.map_or(Had::Bearer, |token| Had::Token {
            lives: token.expires.since(clock.now()),
            scope: token.scope.map(|scope| scope.to_vec()),
        })));
        match read(&application.name, upstream, gate, deadline, clock).await {
            // The one that was there was not taken.
            Answer::NotSent(why) if why.starts_with(NO_TOKEN) => {
                found.token = Some(Err(why));
                found.read = None;
                break;
            }
            answer => found.read = Some(answer),
        }
        // A scope that was added is none of the tokens' that were given before.
        let scopeless = Trial::of(&application.name, &found).failed() == Some("scope");
        let another = number.filter(|_| scopeless && !last);
        if !another.is_some_and(|number| upstream.renew(number)) {
            break;
        }
    }
    found
}

async fn addresses(host: &str, port: u16, clock: &Clock) -> Result<Vec<String>, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let due = clock.now().plus(CONNECT);
    let looked = clock.until(due, lookup_host((bare, port))).await;
    let found = looked
        .ok_or_else(|| format!("looking {host} up took longer than {} s", CONNECT.as_secs()))?;
    let found = found.map_err(|error| format!("{host}: {error}"))?;
    let mut addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(format!("{host} has no address"));
    }
    Ok(addresses)
}

/// One user: enough to show that the token is taken and for what.
async fn read(
    name: &str,
    upstream: &Upstream,
    gate: &Gate,
    deadline: Timestamp,
    clock: &Clock,
) -> Answer {
    let call = Call {
        method: Method::Get,
        path: String::from("/Users"),
        query: Some(String::from("startIndex=1&count=1")),
        body: None,
        class: Class::Medium,
    };
    for last in [false, true] {
        let permit = loop {
            // That it failed before is why a person asks.
            gate.try_again();
            match gate.pass(call.class, Turn::Inline, deadline).await {
                Ok(permit) => break permit,
                // Another call is finding out whether it is back.
                Err(closed) if closed.until < deadline => clock.sleep_until(closed.until).await,
                Err(closed) => {
                    let wait = closed.until.since(clock.now()).as_millis().div_ceil(1_000);
                    return Answer::NotSent(format!(
                        "{name} asked to be left alone, for another {wait} s"
                    ));
                }
            }
        };
        let called = upstream.call(&call, deadline).await;
        if called.again && !last {
            continue;
        }
        match (&called.answer, Heard::of(&called.answer)) {
            // An account-level 400 and a 404 on a collection are known to the profile alone: nothing is said of health.
            (
                Answer::Reply {
                    status: 300..500, ..
                },
                Heard::Well,
            ) => drop(permit),
            (answer, heard) => {
                let status = match answer {
                    Answer::Reply { status, .. } => Some(*status),
                    Answer::NotSent(_) | Answer::Lost(_) => None,
                };
                permit.heard(&heard, status, pace::granted(answer));
            }
        }
        return called.answer;
    }
    Answer::NotSent(String::from("the token was refused twice"))
}
