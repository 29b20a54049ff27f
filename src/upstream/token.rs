//! Tokens that usher gets for itself: OAuth client credentials in Zoom's form for servers
//! (<https://developers.zoom.us/docs/internal-apps/s2s-oauth>). One request for all who wait, in good time before the old
//! token ends, and none in a storm: Zoom voids old tokens when many are asked for.

mod reply;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::config::shape::Secret;
use crate::upstream::connect::{Connector, told};
use crate::upstream::retry_after;

pub use reply::{Granted, NO_TOKEN, REPLY, Refused, Why, read};

/// How long one request for a token may take. It outlives the callers that give up before.
const REQUEST: Duration = Duration::from_secs(20);
/// The first pause after a request that failed; each further failure doubles it.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. The endpoint's own Retry-After may be longer.
const LONGEST: Duration = Duration::from_secs(60);
/// A 401 may cost one token in so long: where somebody else's requests void ours, two would chase each other.
const RENEW: Duration = Duration::from_secs(10);

/// A token to make a call with.
#[derive(Debug, Clone)]
pub struct Token {
    /// `Bearer ...`, marked as sensitive.
    pub authorization: HeaderValue,
    /// Which one it is: a 401 to an older one than the current says nothing about the current one.
    pub number: u64,
    /// When it is asked for anew, in the background: at 80 % of its life.
    pub refresh: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// What it is good for, if the endpoint said so.
    pub scope: Option<Arc<[String]>>,
}

/// Where one application's tokens come from. Cheap to clone; clones share the token.
#[derive(Debug, Clone)]
pub struct Source(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client<Connector, Full<Bytes>>,
    uri: Uri,
    authorization: HeaderValue,
    client_secret: Secret,
    clock: Clock,
    state: Mutex<State>,
}

/// What a request for a token came to. The text holds no secret.
type Outcome = Result<Token, String>;
type Flight = watch::Receiver<Option<Outcome>>;

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    flight: Option<Flight>,
    failed: Option<Failed>,
    granted: u64,
    /// When a 401 last cost a token.
    renewed: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Failed {
    text: String,
    /// No request before this.
    until: Timestamp,
    times: u32,
    /// The endpoint itself asked to be left alone.
    asked: bool,
}

impl Source {
    /// Nothing is asked for yet.
    ///
    /// # Errors
    /// In a sentence, without the secret: the credentials make no URL or header.
    pub(super) fn new(
        client: Client<Connector, Full<Bytes>>,
        account_id: &str,
        client_id: &str,
        client_secret: &Secret,
        token_url: &str,
        clock: Clock,
    ) -> Result<Self, String> {
        let account = utf8_percent_encode(account_id, NON_ALPHANUMERIC);
        let uri = format!("{token_url}?grant_type=account_credentials&account_id={account}");
        let uri = Uri::try_from(uri).map_err(|error| format!("token_url is not a URL: {error}"))?;
        let Secret(secret) = client_secret;
        let basic = BASE64_STANDARD.encode(format!("{client_id}:{secret}"));
        // Base64 is visible ASCII.
        let mut authorization = HeaderValue::from_str(&format!("Basic {basic}"))
            .map_err(|_| String::from("the client's credentials fit into no header"))?;
        authorization.set_sensitive(true);
        Ok(Self(Arc::new(Inner {
            client,
            uri,
            authorization,
            client_secret: client_secret.clone(),
            clock,
            state: Mutex::default(),
        })))
    }

    /// A token that is good now: the one that is there, or the next one, waited for until `deadline`.
    ///
    /// # Errors
    /// Why there is none, and what to mend. The same request's outcome is everybody's, and a failed one is not repeated
    /// for a while.
    pub async fn have(&self, deadline: Timestamp) -> Result<Token, String> {
        let mut flight = {
            let mut state = self.lock();
            let now = self.0.clock.now();
            if let Some(token) = state.token.clone().filter(|token| now < token.expires) {
                if now >= token.refresh {
                    // In the background; that it cannot be had now matters at the old one's end only.
                    let _later = self.ask(&mut state, now);
                }
                return Ok(token);
            }
            self.ask(&mut state, now)?
        };
        let landed = async {
            let outcome = flight.wait_for(Option::is_some).await;
            let outcome = outcome.ok().and_then(|outcome| outcome.clone());
            outcome.unwrap_or_else(|| Err(String::from("the request for a token was cut short")))
        };
        let outcome = self.0.clock.until(deadline, landed).await;
        outcome.unwrap_or_else(|| Err(String::from("no token in time")))
    }

    /// The application answered 401 to the token of this number, or it lacks a scope. Whether it is worth calling again with the one that
    /// [`Source::have`] gives then.
    #[must_use]
    pub fn renew(&self, number: u64) -> bool {
        let mut state = self.lock();
        let now = self.0.clock.now();
        let current = state
            .token
            .as_ref()
            .is_some_and(|token| token.number == number);
        if !current {
            // Somebody else has renewed it, or is about to.
            return true;
        }
        if state.renewed.is_some_and(|at| now.since(at) < RENEW) {
            return false;
        }
        state.renewed = Some(now);
        state.token = None;
        true
    }

    /// Lets the next caller ask at once although the last request failed, unless the endpoint itself asked for a pause:
    /// a person has mended something.
    pub fn try_again(&self) {
        let mut state = self.lock();
        state.failed = state.failed.take().filter(|failed| failed.asked);
    }

    /// The request that is under way, or a new one. It belongs to a task of its own: who asked may go away.
    fn ask(&self, state: &mut State, now: Timestamp) -> Result<Flight, String> {
        // One whose task died with its runtime has nobody to end it.
        let alive = |flight: &&Flight| flight.has_changed().is_ok();
        if let Some(flight) = state.flight.as_ref().filter(alive) {
            return Ok(flight.clone());
        }
        if let Some(failed) = state.failed.as_ref().filter(|failed| now < failed.until) {
            return Err(failed.text.clone());
        }
        let (tell, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        let source = self.clone();
        tokio::spawn(async move {
            let due = source.0.clock.now().plus(REQUEST);
            let asked = source.0.clock.until(due, source.request()).await;
            let asked = asked.unwrap_or_else(|| {
                let host = source.host();
                let text = format!("no token: {host} did not answer in {} s", REQUEST.as_secs());
                Err((text, None))
            });
            let outcome = source.keep(asked);
            tell.send_replace(Some(outcome));
        });
        Ok(flight)
    }

    fn keep(&self, asked: Result<Granted, (String, Option<Duration>)>) -> Outcome {
        let mut state = self.lock();
        let now = self.0.clock.now();
        state.flight = None;
        match asked {
            Ok(granted) => {
                let Secret(token) = &granted.token;
                // The reply's reader lets nothing else through.
                let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| String::from("the token fits into no header"))?;
                authorization.set_sensitive(true);
                state.failed = None;
                state.granted += 1;
                let token = Token {
                    authorization,
                    number: state.granted,
                    refresh: now.plus(granted.lives / 5 * 4),
                    expires: now.plus(granted.lives),
                    scope: granted.scope.map(Into::into),
                };
                state.token = Some(token.clone());
                let lives = granted.lives.as_secs();
                tracing::info!(endpoint = self.host(), seconds = lives, "a token was had");
                Ok(token)
            }
            Err((text, asked)) => {
                let times = state
                    .failed
                    .as_ref()
                    .map_or(0, |failed| failed.times)
                    .saturating_add(1);
                let pause = PAUSE.saturating_mul(1 << (times - 1).min(16)).min(LONGEST);
                let asked = asked.filter(|wait| !wait.is_zero());
                state.failed = Some(Failed {
                    text: text.clone(),
                    until: now.plus(asked.unwrap_or(pause)),
                    times,
                    asked: asked.is_some(),
                });
                tracing::warn!(endpoint = self.host(), why = text, "no token was had");
                Err(text)
            }
        }
    }

    /// One request. An error comes with the endpoint's Retry-After.
    async fn request(&self) -> Result<Granted, (String, Option<Duration>)> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.0.uri.clone();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.0.authorization.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        // hyper leaves it out of an empty POST, and some servers answer 411 then (RFC 9110 8.6).
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let agent = concat!("usher/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let host = self.host();
        let response = self.0.client.request(request).await.map_err(|error| {
            let text = format!("no token: {host} cannot be asked: {}", told(&error));
            (text, None)
        })?;
        let (head, body) = response.into_parts();
        let retry_after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after::parse(value, self.0.clock.now()));
        let status = head.status.as_u16();
        let body = match Limited::new(body, REPLY).collect().await {
            Ok(whole) => whole.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let text = format!("no token: {host} answers more than {REPLY} bytes");
                return Err((text, retry_after));
            }
            Err(_) => {
                let text = format!("no token: the answer of {host} broke off");
                return Err((text, retry_after));
            }
        };
        read(status, &body).map_err(|mut refused| {
            // Before it is shortened: a part of a secret would not be found.
            refused.said = refused.said.map(|said| self.hide(said));
            (refused.to_string(), retry_after)
        })
    }

    /// An endpoint may repeat what it was sent.
    fn hide(&self, mut text: String) -> String {
        let Secret(secret) = &self.0.client_secret;
        let basic = self.0.authorization.to_str().ok();
        let basic = basic.and_then(|basic| basic.strip_prefix("Basic "));
        for secret in basic.into_iter().chain([secret.as_str()]) {
            if !secret.is_empty() {
                text = text.replace(secret, "(secret)");
            }
        }
        text
    }

    pub(super) fn host(&self) -> &str {
        self.0.uri.host().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
