//! The path of a request: identify, admit, decode, settle, reply. [`Gateway::answer`] is the whole of it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, Request, Response};
use tokio::sync::watch;

use crate::auth::{Authority, Client};
use crate::bulk;
use crate::clock::Clock;
use crate::config::shape::{Limits, PatchResponse};
use crate::error::Fault;
use crate::journal::record::{Operation, Status};
use crate::read::{self, Members};
use crate::scim::bulk::Bulk;
use crate::scim::discovery;
use crate::scim::request::{Parts, ScimRequest, Verb, Write};
use crate::scim::route::Route;
use crate::server::service;
use crate::settle::{Asked, Engine};
use crate::store::{ReadNote, ReadShape};

/// What the gateway is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// The store is being checked; so far done, 0 to 1.
    Opening(f32),
    /// Requests are answered.
    Ready,
    /// A commit failed and its outcome is unknown: the process is about to end, the next start settles it.
    Broken,
    /// SIGTERM came: what was begun is finished, nothing new is taken.
    Draining,
}

/// The door that clients come through.
pub struct Gateway {
    authority: Authority,
    limits: Limits,
    base: String,
    clock: Clock,
    engine: OnceLock<Arc<Engine>>,
    /// What the gateway is doing.
    pub phase: watch::Sender<Phase>,
    /// Counts the writes under way: a drain waits for them. They outlive their connections.
    writes: watch::Sender<usize>,
}

const SCIM_JSON: &str = "application/scim+json";

/// A reply on its way out.
#[derive(Debug)]
struct Reply {
    status: u16,
    kind: String,
    etag: Option<String>,
    location: Option<String>,
    allow: Option<String>,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            kind: SCIM_JSON.to_owned(),
            etag: None,
            location: None,
            allow: None,
            body,
        }
    }
}

/// What the log says of a request: never a value out of a body.
#[derive(Debug, Default)]
struct Line {
    client: String,
    operation: Option<Operation>,
    application: Option<(String, Status)>,
    id: String,
}

impl Gateway {
    /// A gateway without an engine yet: it answers 503 until it is given one.
    #[must_use]
    pub fn new(authority: Authority, limits: Limits, base: String, clock: Clock) -> Self {
        Self {
            authority,
            limits,
            base,
            clock,
            engine: OnceLock::new(),
            phase: watch::Sender::new(Phase::Opening(0.0)),
            writes: watch::Sender::new(0),
        }
    }

    /// The store is open: requests are answered from now on.
    pub fn open(&self, engine: Arc<Engine>) {
        if self.engine.set(engine).is_ok() {
            self.phase.send_replace(Phase::Ready);
        }
    }

    /// The engine, once there is one.
    #[must_use]
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.get()
    }

    /// Waits until no write is under way.
    pub async fn quiet(&self) {
        let mut writes = self.writes.subscribe();
        // The sender lives in `self`.
        let _gone = writes.wait_for(|count| *count == 0).await;
    }

    /// Answers one request, and logs one line about it.
    pub async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let begun = self.clock.now();
        let request_id = request_id();
        let method = request.method().clone();
        let endpoint = endpoint(request.uri().path());
        let mut line = Line::default();
        let answer = self.answer(request, &request_id, &mut line).await;
        // A JSON log shows a u128 as a text.
        let ms = u64::try_from(self.clock.now().since(begun).as_millis()).unwrap_or(u64::MAX);
        let status = answer
            .as_ref()
            .map_or_else(Fault::status, |reply| reply.status);
        let (application, outcome) = line
            .application
            .map_or((None, None), |(name, status)| (Some(name), Some(status)));
        let internal = answer
            .as_ref()
            .err()
            .filter(|fault| fault.status() >= 500)
            .map(Fault::internal);
        tracing::info!(
            request = %request_id, client = line.client, method = %method, endpoint, operation = line.operation.map(tracing::field::debug), id = line.id,
            application, outcome = outcome.map(tracing::field::debug), status, ms, error = internal.as_deref(), "request"
        );
        match answer {
            Ok(Reply {
                status,
                kind,
                etag,
                location,
                allow,
                body,
            }) => {
                let mut response = service::reply(
                    status,
                    &kind,
                    etag.as_deref(),
                    location.as_deref(),
                    None,
                    &request_id,
                    Bytes::from(body),
                );
                if let Some(allow) = allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
                    response.headers_mut().insert(ALLOW, allow);
                }
                response
            }
            Err(fault) => service::fault(&fault, SCIM_JSON, &request_id),
        }
    }

    /// The path of a request.
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        request_id: &str,
        line: &mut Line,
    ) -> Result<Reply, Fault> {
        service::head(&request)?;
        let path = service::segments(request.uri().path())?;
        let Some(segments) = path.strip_prefix(["scim".to_owned(), "v2".to_owned()].as_slice())
        else {
            return Err(Fault::NotFound(String::from(
                "There is nothing here. SCIM is served under /scim/v2.",
            )));
        };

        // identify
        let client = self
            .authority
            .identify(request.headers().get(AUTHORIZATION))?;
        client.name().clone_into(&mut line.client);
        // admit
        client.admit(self.clock.now())?;
        let engine = self.ready()?;
        // decode
        let route = Route::of(segments)?;
        let method = request.method().clone();
        if route.writes(method.as_str()) && client.config().read_only {
            return Err(Fault::Forbidden(String::from("This client may only read.")));
        }
        let body = if matches!(method, Method::POST | Method::PUT | Method::PATCH) {
            let deadline = self.clock.now().plus(self.limits.request_timeout);
            service::body(&mut request, self.limits.body, deadline, &self.clock).await?
        } else {
            Bytes::new()
        };
        let condition = |name| {
            let value = request.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        let parts = Parts {
            method: method.as_str(),
            route: &route,
            query: request.uri().query(),
            body: &body,
            if_match: condition(IF_MATCH),
            if_none_match: condition(IF_NONE_MATCH),
        };
        let scim = ScimRequest::decode(parts, &self.limits)?;
        // settle and reply
        let note = |kind, shape, id, status| {
            engine.store.note(ReadNote {
                time: self.clock.now(),
                client: client.name().to_owned(),
                request: request_id.to_owned(),
                kind,
                shape,
                id,
                status,
            });
        };
        let reply = match scim {
            ScimRequest::Options => Reply {
                allow: Some(route.methods().join(", ")),
                ..Reply::json(204, Vec::new())
            },
            ScimRequest::Discover(document) => {
                let document =
                    discovery::document(&document, &self.base, client.config(), &self.limits)?;
                let location = document["meta"]["location"].as_str().map(str::to_owned);
                Reply {
                    location,
                    ..Reply::json(200, document.to_string().into_bytes())
                }
            }
            ScimRequest::Bulk(bulk) => self.bulk(&engine, client.clone(), request_id, bulk).await?,
            ScimRequest::Read {
                kind,
                id,
                projection,
                if_none_match: _,
            } => {
                let members = if projection.shows(kind, "members") {
                    Members::All
                } else {
                    Members::Without
                };
                let found = engine
                    .store
                    .view()
                    .and_then(|view| read::by_id(&view, &self.base, kind, &id, members));
                let known = found.as_ref().ok().map(|found| found.id.clone());
                note(Some(kind), ReadShape::One, known, status(&found));
                let found = found?;
                line.id.clone_from(&found.id);
                Reply {
                    etag: Some(found.etag),
                    ..Reply::json(200, found.body)
                }
            }
            ScimRequest::List { kind, query } => {
                let list = engine
                    .store
                    .view()
                    .and_then(|view| read::list(&view, &self.base, client.name(), kind, &query));
                let shape = match &query.filter {
                    Some(filter) => ReadShape::filter(filter.attributes()),
                    None => ReadShape::List,
                };
                note(kind, shape, None, status(&list));
                Reply::json(200, list?)
            }
            ScimRequest::Write(write) => {
                self.write(&engine, client.clone(), request_id, write, line)
                    .await?
            }
        };
        Ok(Reply {
            kind: client.config().response_type.clone(),
            ..reply
        })
    }

    async fn write(
        &self,
        engine: &Arc<Engine>,
        client: Client,
        request_id: &str,
        write: Write,
        line: &mut Line,
    ) -> Result<Reply, Fault> {
        let (deleting, creating, patching) = (
            matches!(write.verb, Verb::Delete(_)),
            matches!(write.verb, Verb::Create(_)),
            matches!(write.verb, Verb::Patch(..)),
        );
        let quiet_patch = patching && client.config().patch_response == PatchResponse::None;
        let kind = write.kind;
        // hyper drops a handler when its client goes away; what was begun is finished all the same.
        let task = {
            let (engine, request, under_way) = (
                Arc::clone(engine),
                request_id.to_owned(),
                UnderWay::begin(&self.writes),
            );
            tokio::spawn(async move {
                let settled = engine
                    .settle(&Asked {
                        client: &client,
                        request: &request,
                        write,
                        queued: false,
                    })
                    .await;
                drop(under_way);
                settled
            })
        };
        let settled = task
            .await
            .map_err(|ended| Fault::Internal(format!("the write's task ended early: {ended}")))?;
        let settled = settled?;
        line.operation = Some(settled.operation);
        line.application.clone_from(&settled.application);
        if deleting {
            return Ok(Reply::json(204, Vec::new()));
        }
        let members = if patching {
            Members::UpTo(read::MEMBERS_IN_WRITE_REPLY)
        } else {
            Members::All
        };
        let found = read::by_handle(
            &engine.store.view()?,
            &self.base,
            kind,
            settled.handle,
            members,
        )?;
        line.id.clone_from(&found.id);
        if quiet_patch {
            return Ok(Reply {
                etag: Some(found.etag),
                ..Reply::json(204, Vec::new())
            });
        }
        let location = creating.then_some(found.location);
        Ok(Reply {
            etag: Some(found.etag),
            location,
            ..Reply::json(if creating { 201 } else { 200 }, found.body)
        })
    }

    async fn bulk(
        &self,
        engine: &Arc<Engine>,
        client: Client,
        request_id: &str,
        bulk: Bulk,
    ) -> Result<Reply, Fault> {
        // As for a single write: what was begun is finished though the client goes away.
        let (engine, request, base) =
            (Arc::clone(engine), request_id.to_owned(), self.base.clone());
        let (under_way, phase) = (UnderWay::begin(&self.writes), self.phase.subscribe());
        let deadline = self.clock.now().plus(self.limits.request_timeout);
        let task = tokio::spawn(async move {
            let stopping = || *phase.borrow() != Phase::Ready;
            let body = bulk::run(&engine, &client, &request, &base, bulk, deadline, stopping).await;
            drop(under_way);
            body
        });
        let body = task
            .await
            .map_err(|ended| Fault::Internal(format!("the Bulk's task ended early: {ended}")))?;
        Ok(Reply::json(200, body))
    }

    fn ready(&self) -> Result<Arc<Engine>, Fault> {
        let wait = |detail: &str| {
            Err(Fault::Unavailable {
                retry_after: 5,
                detail: detail.to_owned(),
            })
        };
        match (*self.phase.borrow(), self.engine.get()) {
            (Phase::Ready | Phase::Draining, Some(engine)) => Ok(Arc::clone(engine)),
            (Phase::Broken, _) => wait("The gateway is restarting after a storage failure."),
            _ => wait("The gateway is starting: its data file is being checked."),
        }
    }
}

/// The status of a read's answer.
fn status<T>(read: &Result<T, Fault>) -> u16 {
    read.as_ref().err().map_or(200, Fault::status)
}

/// Holds the count of writes under way.
struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    fn begin(writes: &watch::Sender<usize>) -> Self {
        writes.send_modify(|count| *count += 1);
        Self(writes.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// What a log may say of a path: the endpoint, never an id that somebody made up.
fn endpoint(path: &str) -> &'static str {
    match path
        .strip_prefix("/scim/v2/")
        .map(|rest| rest.split('/').next().unwrap_or_default())
    {
        Some(first) if first.eq_ignore_ascii_case("users") => "Users",
        Some(first) if first.eq_ignore_ascii_case("groups") => "Groups",
        _ => "other",
    }
}

/// 64 random bits: enough to find a line in a log.
fn request_id() -> String {
    format!("{:016x}", getrandom::u64().unwrap_or_default())
}
