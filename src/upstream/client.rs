//! The client that carries one call to an application and tells what became of it.
//!
//! The one question that matters is whether the application may have seen the call, so nothing here is silent: no
//! redirect is followed, nothing is sent a second time, and every request is built afresh from a fixed list of
//! headers. It never looks into a body, waits for the pace or decides whether to try again.

#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
    RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::clock::{Clock, Timestamp};
use crate::config::shape;
use crate::provision::call::{self, Answer, Call};
use crate::scim::json;
use crate::upstream::connect::{Connector, causes, told};
use crate::upstream::token::{self, Token};
use crate::upstream::{rate_limits, retry_after};

/// The largest body of an answer, in bytes.
pub const ANSWER: usize = 4 * 1024 * 1024;
/// What reading an answer may take of memory, in bytes. A body of nothing but `{"":0}` takes a hundred times its size,
/// a list of users 25 times.
const READING: usize = 32 * ANSWER;
/// The largest head of an answer, in bytes.
const HEAD: usize = 64 * 1024;
/// A shorter token than this is not looked for in answers: it would be found in words that are no secret.
const SECRET: usize = 8;
/// How long an unused connection is kept: shorter than the 60 s after which most servers close theirs, so that a
/// call seldom meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(30);

/// One application, by HTTP/1.1 over TLS. Cheap to clone; clones share the connections and the token.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    base_url: Arc<str>,
    credentials: Credentials,
    /// What bodies are said to be.
    media: HeaderValue,
    clock: Clock,
}

/// What opens the application.
#[derive(Debug, Clone)]
enum Credentials {
    /// A token that does not change.
    Bearer(HeaderValue),
    /// Tokens that usher gets for itself.
    Tokens(token::Source),
}

/// What became of a call, and what goes with it.
#[derive(Debug)]
pub struct Called {
    /// What became of it.
    pub answer: Answer,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// It was refused with 401, which has no effect, and its token is not the current one any more: the same call is
    /// worth making once more.
    pub again: bool,
}

impl Upstream {
    /// A client for `application`. Nothing is connected yet and no token asked for. Plain HTTP goes where the URLs say
    /// so; the configuration allows that for loopback only.
    ///
    /// # Errors
    /// In a sentence, without the secret: the credentials cannot stand in a header, or trust cannot be set up.
    pub fn new(application: &shape::Application, clock: Clock) -> Result<Self, String> {
        let name = &application.name;
        let told = |error| format!("application {name}: TLS cannot be set up: {error}");
        let token_url = match &application.credentials {
            shape::Credentials::Bearer(_) => "",
            shape::Credentials::ServerToServer { token_url, .. } => token_url,
        };
        let tls = [application.base_url.as_str(), token_url]
            .iter()
            .any(|url| url.starts_with("https://"));
        let connector =
            Connector::new(application.ca.as_deref(), tls, clock.clone()).map_err(told)?;
        let client = || {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(application.pace.concurrency)
                // On by default: it would send a call twice without a word in the journal.
                .retry_canceled_requests(false)
                .http1_max_buf_size(HEAD)
                .build(connector.clone())
        };
        let credentials = match &application.credentials {
            shape::Credentials::Bearer(secret) => Credentials::Bearer(bearer(name, secret)?),
            shape::Credentials::ServerToServer {
                account_id,
                client_id,
                client_secret,
                token_url,
            } => Credentials::Tokens(
                token::Source::new(
                    client(),
                    account_id,
                    client_id,
                    client_secret,
                    token_url,
                    clock.clone(),
                )
                .map_err(|why| format!("application {name}: {why}"))?,
            ),
        };
        Ok(Self {
            client: client(),
            connector,
            base_url: application.base_url.as_str().into(),
            credentials,
            media: HeaderValue::from_static(match application.profile {
                // Zoom's own clients send this.
                shape::ProfileName::Zoom => "application/json",
                // RFC 7644 3.1; some servers take nothing else.
                shape::ProfileName::Scim => "application/scim+json",
            }),
            clock,
        })
    }

    /// Makes the call, and waits for a token, if it takes one, and the whole answer until `deadline`.
    pub async fn call(&self, call: &Call, deadline: Timestamp) -> Called {
        let began = self.clock.now();
        let (answer, again) = if began >= deadline {
            (Answer::NotSent("no time was left to call".into()), false)
        } else {
            self.authorized(call, deadline).await
        };
        let took = self.clock.now().since(began).as_millis();
        Called {
            answer,
            ms: u64::try_from(took).unwrap_or(u64::MAX),
            again,
        }
    }

    async fn authorized(&self, call: &Call, deadline: Timestamp) -> (Answer, bool) {
        match &self.credentials {
            Credentials::Bearer(bearer) => (self.carry(call, bearer, deadline).await, false),
            Credentials::Tokens(source) => {
                let token = match source.have(deadline).await {
                    Ok(token) => token,
                    Err(why) => return (Answer::NotSent(why), false),
                };
                let answer = self.carry(call, &token.authorization, deadline).await;
                let refused = matches!(answer, Answer::Reply { status: 401, .. });
                (answer, refused && source.renew(token.number))
            }
        }
    }

    /// The token that a call would go out with, waited for until `deadline`; `Ok(None)`: one that does not change.
    /// Where the last request for one failed, another is made.
    ///
    /// # Errors
    /// Why there is none, and what to mend.
    pub async fn token(&self, deadline: Timestamp) -> Result<Option<Token>, String> {
        match &self.credentials {
            Credentials::Bearer(_) => Ok(None),
            Credentials::Tokens(source) => {
                source.try_again();
                source.have(deadline).await.map(Some)
            }
        }
    }

    /// The token of this number is not good enough, although it is taken. Whether [`Upstream::token`] gives another one
    /// now; see [`token::Source::renew`].
    #[must_use]
    pub fn renew(&self, number: u64) -> bool {
        match &self.credentials {
            Credentials::Bearer(_) => false,
            Credentials::Tokens(source) => source.renew(number),
        }
    }

    /// Connects and hangs up: for a test of the way. The peer's certificates (DER), its own first; none without TLS.
    ///
    /// # Errors
    /// Why there is no connection, in words.
    pub async fn knock(&self) -> Result<Vec<Vec<u8>>, String> {
        let uri = Uri::try_from(&*self.base_url).map_err(|error| format!("not a URL: {error}"))?;
        let stream = self.connector.connect(uri).await.map_err(|why| why.0)?;
        let hyper_rustls::MaybeHttpsStream::Https(tls) = stream else {
            return Ok(Vec::new());
        };
        let (_, session) = tls.inner().get_ref();
        let chain = session.peer_certificates().unwrap_or_default();
        Ok(chain.iter().map(|der| der.to_vec()).collect())
    }

    async fn carry(&self, call: &Call, authorization: &HeaderValue, deadline: Timestamp) -> Answer {
        let mut request = match self.request(call, authorization) {
            Ok(request) => request,
            Err(text) => return Answer::NotSent(text),
        };
        // Shows a connection from the moment before the first byte can go out on it.
        let connection = capture_connection(&mut request);
        let dialogue = async {
            match self.client.request(request).await {
                Ok(response) => self.read(response, authorization).await,
                Err(error) if error.is_connect() => {
                    Answer::NotSent(format!("cannot connect: {}", told(&error)))
                }
                Err(error) => Answer::Lost(format!("no answer: {}", causes(&error))),
            }
        };
        match self.clock.until(deadline, dialogue).await {
            Some(answer) => answer,
            None if connection.connection_metadata().is_some() => {
                Answer::Lost("no whole answer in time".into())
            }
            None => Answer::NotSent("no connection in time".into()),
        }
    }

    fn request(
        &self,
        call: &Call,
        authorization: &HeaderValue,
    ) -> Result<Request<Full<Bytes>>, String> {
        // Without the slash the path could extend the host name.
        if !call.path.starts_with('/') {
            return Err("the path of the call has no slash in front".into());
        }
        let mut url = format!("{}{}", self.base_url, call.path);
        if let Some(query) = &call.query {
            url.push('?');
            url.push_str(query);
        }
        let uri = Uri::try_from(url).map_err(|error| format!("not a URL: {error}"))?;
        let mut request = Request::new(Full::from(call.body.clone().unwrap_or_default()));
        *request.uri_mut() = uri;
        *request.method_mut() = method(call.method);
        // hyper adds Host and Content-Length.
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, authorization.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/scim+json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let agent = concat!("usher/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, self.media.clone());
        }
        Ok(request)
    }

    async fn read(&self, response: Response<Incoming>, authorization: &HeaderValue) -> Answer {
        let (head, body) = response.into_parts();
        if coded(&head.headers) {
            return Answer::Lost("the answer is compressed, which was not asked for".into());
        }
        let retry_after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after::parse(value, self.clock.now()));
        let limits = rate_limits::read(&head.headers, self.clock.now());
        let too_large = || Answer::Lost("answer too large".into());
        let body = match Limited::new(body, ANSWER).collect().await {
            Ok(whole) => whole.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return too_large(),
            Err(error) => {
                return Answer::Lost(format!("the answer broke off: {}", causes(&*error)));
            }
        };
        if json::weight(&body) > READING {
            return too_large();
        }
        Answer::Reply {
            status: head.status.as_u16(),
            body: hide(head.status.as_u16(), body.into(), authorization),
            retry_after,
            limits,
        }
    }
}

/// The header that carries a token, marked as sensitive.
fn bearer(name: &str, secret: &shape::Secret) -> Result<HeaderValue, String> {
    let shape::Secret(token) = secret;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
        .ok()
        .filter(|_| token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty())
        .ok_or_else(|| {
            format!("the token of application {name} is empty or has a character that no header can carry")
        })?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

/// A refusal may repeat the token that it refuses, and refusals are shown and journalled.
fn hide(status: u16, body: Vec<u8>, authorization: &HeaderValue) -> Vec<u8> {
    let token = authorization.as_bytes().strip_prefix(b"Bearer ");
    let Some(token) = token.filter(|token| status >= 400 && token.len() >= SECRET) else {
        return body;
    };
    let mut hidden = Vec::new();
    let mut rest = body.as_slice();
    let found =
        |rest: &[u8]| (0..rest.len()).find_map(|at| Some((at, spelled(rest.get(at..)?, token)?)));
    while let Some((at, length)) = found(rest) {
        let (before, after) = rest.split_at(at);
        hidden.extend_from_slice(before);
        hidden.extend_from_slice(b"(token)");
        rest = after.get(length..).unwrap_or_default();
    }
    if hidden.is_empty() && rest.len() == body.len() {
        return body;
    }
    hidden.extend_from_slice(rest);
    hidden
}

/// How many bytes of `text` spell the token at its begin, as it stands or in JSON: PHP writes `\/`, Gson `\u003d`.
fn spelled(text: &[u8], token: &[u8]) -> Option<usize> {
    let mut length = 0;
    for byte in token {
        length += match text.get(length..)? {
            [b'\\', escaped, ..] if escaped == byte => 2,
            [b'\\', b'u', b'0', b'0', high, low, ..]
                if std::str::from_utf8(&[*high, *low])
                    .is_ok_and(|hex| u8::from_str_radix(hex, 16) == Ok(*byte)) =>
            {
                6
            }
            [plain, ..] if plain == byte => 1,
            _ => return None,
        };
    }
    Some(length)
}

fn method(method: call::Method) -> Method {
    match method {
        call::Method::Get => Method::GET,
        call::Method::Post => Method::POST,
        call::Method::Put => Method::PUT,
        call::Method::Patch => Method::PATCH,
        call::Method::Delete => Method::DELETE,
    }
}

/// Decoding is a way to make a small answer large, so there is none.
fn coded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}
