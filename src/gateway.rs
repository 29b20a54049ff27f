//! The path of a request: identify, admit, decode, settle, reply. [`Gateway::answer`] is the whole of it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, Request, Response};
use tokio::sync::{Semaphore, watch};

use crate::auth::{Authority, Client};
use crate::bulk;
use crate::clock::{Clock, Timestamp};
use crate::config::shape::{Limits, PatchResponse};
use crate::counts::{Action, Requests};
use crate::error::Fault;
use crate::journal::record::{Operation, Status};
use crate::read::{self, Members};
use crate::reply;
use crate::scim::Kind;
use crate::scim::bulk::Bulk;
use crate::scim::condition::Conditions;
use crate::scim::discovery;
use crate::scim::json;
use crate::scim::request::{ListQuery, Parts, ScimRequest, Verb, Write};
use crate::scim::route::{METHODS, Route};
use crate::server::accept::{Connections, Peer};
use crate::server::body::Whole;
use crate::server::media;
use crate::server::outgoing::Outgoing;
use crate::server::room::{Room, Share};
use crate::server::service::{self, Reply};
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

/// What a configuration makes of requests. Never changed: a reload puts another one in its place, and whoever began with
/// this one ends with it.
pub struct Running {
    /// Who may come in.
    pub authority: Authority,
    /// Bounds.
    pub limits: Limits,
    /// What `meta.location` and `$ref` begin with.
    pub base: String,
    /// What settles writes and holds the directory. `None`: the data file is not open yet.
    pub engine: Option<Arc<Engine>>,
}

/// The door that clients come through.
pub struct Gateway {
    running: RwLock<Arc<Running>>,
    clock: Clock,
    /// What the gateway is doing.
    pub phase: watch::Sender<Phase>,
    /// Counts the writes under way: a drain waits for them. They outlive their connections.
    writes: watch::Sender<usize>,
    /// One search at a time: it reads up to 100,000 rows, and one core stays for everybody else.
    search: Arc<Semaphore>,
    /// Memory for the bodies of all requests together.
    pub room: Room,
    /// What was asked, and how it was answered.
    pub counts: Requests,
    /// Connections to the SCIM and admin addresses.
    pub connections: Arc<Connections>,
}

/// How much longer than `request_timeout` an answer may take: whatever gives up by itself at that moment says why.
const LATE: Duration = Duration::from_millis(100);

/// Where SCIM is served.
const PATH: &str = "/scim/v2";

/// A request whose client is known and admitted, and what it goes by to its end.
#[derive(Clone, Copy)]
struct Admitted<'a> {
    running: &'a Running,
    engine: &'a Arc<Engine>,
    client: &'a Client,
    request_id: &'a str,
    deadline: Timestamp,
}

/// What the log says of a request: never a value out of a body.
#[derive(Debug, Default)]
struct Line {
    client: Option<Client>,
    /// `None`: it was refused before it was understood.
    action: Option<Action>,
    operation: Option<Operation>,
    application: Option<(String, Status)>,
    id: String,
    /// The head was refused: what follows on its connection is not read.
    close: bool,
}

impl Gateway {
    /// Counts a write that outlives its connection, until it is dropped: a drain waits for it.
    pub(crate) fn under_way(&self) -> UnderWay {
        UnderWay::begin(&self.writes)
    }

    /// A gateway. Without an engine it answers 503 until it is given one.
    #[must_use]
    pub fn new(running: Running, clock: Clock) -> Self {
        Self {
            running: RwLock::new(Arc::new(running)),
            clock,
            phase: watch::Sender::new(Phase::Opening(0.0)),
            writes: watch::Sender::new(0),
            search: Arc::new(Semaphore::new(1)),
            room: Room::new(),
            counts: Requests::default(),
            connections: Arc::default(),
        }
    }

    /// What requests that begin now are answered by.
    #[must_use]
    pub fn running(&self) -> Arc<Running> {
        // Nothing can panic between the lock and the end of it.
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&running)
    }

    /// Requests that begin from now on are answered by `next`.
    pub fn swap(&self, next: Running) {
        let next = Arc::new(next);
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let last = std::mem::replace(&mut *running, next);
        drop(running);
        // What nobody holds any more is taken apart here, and nobody waits for that.
        drop(last);
    }

    /// The store is open: requests are answered from now on.
    pub fn open(&self, running: Running) {
        self.swap(running);
        // A drain that began meanwhile stays one.
        self.phase.send_if_modified(|phase| {
            let opening = matches!(phase, Phase::Opening(_));
            if opening {
                *phase = Phase::Ready;
            }
            opening
        });
    }

    /// The engine that requests which begin now get, once there is one.
    #[must_use]
    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.running().engine.clone()
    }

    /// Waits until no write is under way.
    pub async fn quiet(&self) {
        let mut writes = self.writes.subscribe();
        // The sender lives in `self`.
        let _gone = writes.wait_for(|count| *count == 0).await;
    }

    /// Answers one request, and logs one line about it.
    pub async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Response<Outgoing> {
        let begun = self.clock.now();
        let request_id = request_id();
        let method = method(request.method());
        let endpoint = endpoint(request.uri().path());
        let plain_json = media::wants_plain_json(request.headers());
        let mut line = Line::default();
        let running = self.running();
        let deadline = begun.plus(running.limits.request_timeout);
        let answering = self.answer(&running, request, &peer, &request_id, deadline, &mut line);
        let answer = self.clock.until(deadline.plus(LATE), answering).await;
        let answer = answer.unwrap_or_else(|| Err(late()));
        // A JSON log shows a u128 as a text.
        let ms = u64::try_from(self.clock.now().since(begun).as_millis()).unwrap_or(u64::MAX);
        let status = answer
            .as_ref()
            .map_or_else(Fault::status, |reply| reply.status);
        match (&line.client, line.action) {
            (Some(client), Some(action)) => {
                client.counts().count(action, status);
                self.counts.took(action, ms);
            }
            _ => self.counts.refused(status),
        }
        let (application, outcome) = line
            .application
            .map_or((None, None), |(name, status)| (Some(name), Some(status)));
        let internal = answer
            .as_ref()
            .err()
            .filter(|fault| fault.status() >= 500)
            .map(Fault::internal);
        let client = line.client.as_ref();
        tracing::info!(
            request = %request_id, client = client.map_or("", Client::name), method, endpoint, operation = line.operation.map(tracing::field::debug), id = line.id,
            application, outcome = outcome.map(tracing::field::debug), status, ms, error = internal.as_deref(), "request"
        );
        let kind = match client {
            _ if plain_json => media::JSON,
            Some(client) => &client.config().response_type,
            None => media::SCIM_JSON,
        };
        let mut reply = answer.unwrap_or_else(|fault| Reply::fault(&fault));
        reply.close |= line.close;
        reply.send(kind, &request_id)
    }

    /// The path of a request.
    async fn answer(
        &self,
        running: &Running,
        mut request: Request<Incoming>,
        peer: &Peer,
        request_id: &str,
        deadline: Timestamp,
        line: &mut Line,
    ) -> Result<Reply, Fault> {
        service::head(&request).inspect_err(|_| line.close = true)?;
        let below = request.uri().path().strip_prefix(PATH);
        if !below.is_some_and(|below| below.is_empty() || below.starts_with('/')) {
            return Err(Fault::NotFound(format!(
                "There is nothing here. SCIM is served under {PATH}."
            )));
        }

        // identify
        let client = running.authority.identify(
            request.headers().get(AUTHORIZATION),
            peer.certificate.as_ref(),
        )?;
        line.client = Some(client.clone());
        // admit
        client.admit(self.clock.now())?;
        let engine = self.ready(running)?;
        // decode
        let path = service::segments(request.uri().path())?;
        let route = Route::of(path.get(2..).unwrap_or_default())?;
        let method = request.method().clone();
        if route.writes(method.as_str()) && client.config().read_only {
            return Err(Fault::Forbidden(String::from("This client may only read.")));
        }
        let (limit, clock) = (running.limits.body, &self.clock);
        let Whole {
            bytes: body,
            mut share,
        } = if matches!(method, Method::POST | Method::PUT | Method::PATCH) {
            service::body(&mut request, limit, &self.room, deadline, clock).await?
        } else {
            Whole {
                bytes: Bytes::new(),
                share: self.room.share(),
            }
        };
        if !body.is_empty() {
            media::is_json(request.headers())?;
            // A small body may be a large value, and a write makes copies of it; a Bulk copies one operation at a time.
            let copies = if route == Route::Bulk { 1 } else { 2 };
            let needed = json::weight(&body).saturating_mul(copies);
            share.grow(needed, deadline, clock).await?;
        }
        let condition = |name| {
            let value = request.headers().get(name);
            // One that is no text names no version of ours.
            value.map(|value| value.to_str().unwrap_or_default())
        };
        let parts = Parts {
            method: method.as_str(),
            route: &route,
            query: request.uri().query(),
            body: &body,
            if_match: condition(IF_MATCH),
            if_none_match: condition(IF_NONE_MATCH),
        };
        let scim = ScimRequest::decode(parts, &running.limits)?;
        line.action = Some(action(&scim));
        if matches!(scim, ScimRequest::Write(_) | ScimRequest::Bulk(_)) {
            engine.store.refuse_unconfirmed()?;
        }
        drop(body);
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
        let admitted = Admitted {
            running,
            engine: &engine,
            client: &client,
            request_id,
            deadline,
        };
        match scim {
            ScimRequest::Options => Ok(Reply {
                allow: Some(route.methods().join(", ")),
                ..Reply::empty(204)
            }),
            ScimRequest::Discover(document) => {
                let document = discovery::document(
                    &document,
                    &running.base,
                    client.config(),
                    &running.limits,
                )?;
                let location = document["meta"]["location"].as_str().map(str::to_owned);
                Ok(Reply {
                    location,
                    ..Reply::new(200, Outgoing::whole(document.to_string()))
                })
            }
            ScimRequest::Bulk(bulk) => self.bulk(admitted, bulk, share).await,
            ScimRequest::Read {
                kind,
                id,
                projection,
                if_match,
                if_none_match,
            } => {
                let conditions = Conditions {
                    if_match: if_match.as_deref(),
                    if_none_match: if_none_match.as_deref(),
                };
                let answer = engine.store.view().and_then(|view| {
                    let found =
                        read::by_id(&view, &running.base, kind, &id, &projection, conditions)?;
                    line.id.clone_from(&found.id);
                    Ok(reply::one(200, found, view, &running.base))
                });
                let known = answer.is_ok().then(|| line.id.clone());
                note(Some(kind), ReadShape::One, known, status(&answer));
                answer
            }
            ScimRequest::List { kind, query } => {
                let shape = match &query.filter {
                    Some(filter) => ReadShape::filter(filter.attributes()),
                    None => ReadShape::List,
                };
                let answer = self.list(admitted, kind, query).await;
                note(kind, shape, None, status(&answer));
                answer
            }
            ScimRequest::Write(write) => self.write(admitted, write, share, line).await,
        }
    }

    /// A page. What may take long is done on a thread of its own, not where requests are accepted and calls are made.
    async fn list(
        &self,
        admitted: Admitted<'_>,
        kind: Option<Kind>,
        query: ListQuery,
    ) -> Result<Reply, Fault> {
        let is_search = read::is_search(kind, &query);
        let deadline = admitted.deadline;
        let (engine, base) = (Arc::clone(admitted.engine), admitted.running.base.clone());
        let name = admitted.client.name().to_owned();
        let listing = move || {
            let view = engine.store.view()?;
            let text = read::list(&view, &base, &name, kind, &query)?;
            Ok(Reply::new(200, reply::body(text, view, &base)))
        };
        if !is_search {
            return listing();
        }
        let waiting = Arc::clone(&self.search).acquire_owned();
        let Some(turn) = self.clock.until(deadline, waiting).await else {
            return Err(Fault::Unavailable {
                retry_after: 5,
                detail: String::from("Too many searches that no index serves are waiting."),
            });
        };
        // The turn ends with the search: a client that hangs up stops neither, and may not begin more of them by it.
        let searching = tokio::task::spawn_blocking(move || {
            let answer = listing();
            drop(turn);
            answer
        });
        searching
            .await
            .map_err(|ended| Fault::Internal(format!("the search ended early: {ended}")))?
    }

    async fn write(
        &self,
        admitted: Admitted<'_>,
        write: Write,
        share: Share,
        line: &mut Line,
    ) -> Result<Reply, Fault> {
        let Admitted {
            running,
            engine,
            client,
            request_id,
            ..
        } = admitted;
        let (deleting, creating, patching) = (
            matches!(write.verb, Verb::Delete(_)),
            matches!(write.verb, Verb::Create(_)),
            matches!(write.verb, Verb::Patch(..)),
        );
        // RFC 7644 3.5.2: who asks for attributes is shown them.
        let quiet_patch = patching
            && client.config().patch_response == PatchResponse::None
            && !write.projection.is_chosen();
        let (kind, projection) = (write.kind, write.projection.clone());
        // hyper drops a handler when its client goes away; what was begun is finished all the same.
        let task = {
            let (engine, client, request, under_way) = (
                Arc::clone(engine),
                client.clone(),
                request_id.to_owned(),
                UnderWay::begin(&self.writes),
            );
            tokio::spawn(async move {
                let settled = engine
                    .settle(&Asked {
                        client: &client,
                        request: &request,
                        write,
                        bulk: None,
                    })
                    .await;
                drop((under_way, share));
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
            return Ok(Reply::empty(204));
        }
        let (view, handle) = (settled.view, settled.handle);
        if quiet_patch {
            let found = read::head(&view, &running.base, kind, handle)?;
            line.id = found.id;
            return Ok(Reply {
                etag: Some(found.etag),
                ..Reply::empty(204)
            });
        }
        let members = if patching {
            Members::UpTo(read::MEMBERS_IN_WRITE_REPLY)
        } else {
            Members::All
        };
        let found = read::by_handle(&view, &running.base, kind, handle, &projection, members)?;
        line.id.clone_from(&found.id);
        let status = if creating { 201 } else { 200 };
        Ok(reply::one(status, found, view, &running.base))
    }

    async fn bulk(&self, admitted: Admitted<'_>, bulk: Bulk, share: Share) -> Result<Reply, Fault> {
        let Admitted {
            running,
            engine,
            client,
            request_id,
            deadline,
        } = admitted;
        // As for a single write: what was begun is finished though the client goes away.
        let (engine, client, request, base) = (
            Arc::clone(engine),
            client.clone(),
            request_id.to_owned(),
            running.base.clone(),
        );
        let (under_way, phase) = (UnderWay::begin(&self.writes), self.phase.subscribe());
        // Those that are under way then have the last quarter, so that the answer tells how each of them ended.
        let begin_until = deadline.minus(running.limits.request_timeout / 4);
        let task = tokio::spawn(async move {
            let stopping = || *phase.borrow() != Phase::Ready;
            let body = bulk::run(
                &engine,
                &client,
                &request,
                &base,
                bulk,
                begin_until,
                stopping,
            )
            .await;
            drop((under_way, share));
            body
        });
        let body = task
            .await
            .map_err(|ended| Fault::Internal(format!("the Bulk's task ended early: {ended}")))?;
        Ok(Reply::new(200, Outgoing::whole(body)))
    }

    fn ready(&self, running: &Running) -> Result<Arc<Engine>, Fault> {
        let wait = |detail: &str| {
            Err(Fault::Unavailable {
                retry_after: 5,
                detail: detail.to_owned(),
            })
        };
        match (*self.phase.borrow(), &running.engine) {
            (Phase::Ready | Phase::Draining, Some(engine)) => Ok(Arc::clone(engine)),
            (Phase::Broken, _) => wait("The gateway is restarting after a storage failure."),
            _ => wait("The gateway is starting: its data file is being checked."),
        }
    }
}

/// Nothing was heard of it in time. A write that has begun goes on: what becomes of it is in the journal.
fn late() -> Fault {
    Fault::Unavailable {
        retry_after: 5,
        detail: String::from(
            "This took longer than server.limits.request_timeout. A write may still be done: read the resource before trying again.",
        ),
    }
}

/// What a request is counted as.
fn action(request: &ScimRequest) -> Action {
    match request {
        ScimRequest::Read { .. } => Action::Read,
        ScimRequest::List { .. } => Action::List,
        ScimRequest::Bulk(_) => Action::Bulk,
        ScimRequest::Discover(_) => Action::Discover,
        ScimRequest::Options => Action::Options,
        ScimRequest::Write(write) => match write.verb {
            Verb::Create(_) => Action::Create,
            Verb::Replace(..) => Action::Replace,
            Verb::Patch(..) => Action::Patch,
            Verb::Delete(_) => Action::Delete,
        },
    }
}

/// The status of a read's answer.
fn status(answer: &Result<Reply, Fault>) -> u16 {
    answer
        .as_ref()
        .map_or_else(Fault::status, |reply| reply.status)
}

/// Holds the count of writes under way.
pub(crate) struct UnderWay(watch::Sender<usize>);

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
    const NAMES: [&str; 8] = [
        "Users",
        "Groups",
        "Bulk",
        ".search",
        "Me",
        "ServiceProviderConfig",
        "ResourceTypes",
        "Schemas",
    ];
    let first = path
        .strip_prefix("/scim/v2/")
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    NAMES
        .into_iter()
        .find(|name| first.eq_ignore_ascii_case(name))
        .unwrap_or("other")
}

/// What a log may say of a method: hyper takes any word for one, of 30 KiB too.
fn method(method: &Method) -> &'static str {
    let known = METHODS.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or("other")
}

/// 64 random bits: enough to find a line in a log.
fn request_id() -> String {
    format!("{:016x}", getrandom::u64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_stranger_makes_up_is_logged() {
        for (word, logged) in [("GET", "GET"), ("PATCH", "PATCH"), ("get", "other")] {
            assert_eq!(
                method(&Method::from_bytes(word.as_bytes()).unwrap()),
                logged
            );
        }
        let made_up = "A".repeat(30_000);
        assert_eq!(
            method(&Method::from_bytes(made_up.as_bytes()).unwrap()),
            "other"
        );
        for (path, logged) in [
            ("/scim/v2/users/ada@example.com", "Users"),
            ("/scim/v2/Users%2Fada", "other"),
            ("/made/up", "other"),
        ] {
            assert_eq!(endpoint(path), logged);
        }
    }
}
