//! All that a sandbox knows, behind one lock: the imitated application, what goes wrong next, what calls came.
//!
//! The lock is never held across an await: a call is noted, decided and carried out in one turn, and what has to wait
//! (a delay, a hold) waits outside of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::provision::call::Method;

use super::Options;
use super::faults::{self, Chaos, Fault, Faults, What};
use super::quirks::Quirks;
use super::rate::{Header, UnderWay};
use super::seen::{self, Counts, Log, Seen, Ticket};
use super::token::Tokens;
use super::zoom::{AccountView, Call, Door, Endpoint, GroupView, Reply, Zoom};
use crate::upstream::retry_after;

/// What is in a sandbox, what it was asked, and what goes wrong next. Cheap to clone; every clone is the same one.
#[derive(Debug, Clone)]
pub struct State(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    inner: Mutex<Inner>,
    /// Changes when held calls may go on.
    released: watch::Sender<()>,
    /// How many calls came, of the API and of the token endpoint.
    arrived: watch::Sender<Arrived>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Arrived {
    calls: u64,
    tokens: u64,
}

#[derive(Debug)]
struct Inner {
    zoom: Zoom,
    faults: Faults,
    log: Log,
    tokens: Tokens,
}

/// A call that came: what to do with it, and what goes with the answer.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) act: Act,
    /// Headers for the answer, whatever it is.
    pub(super) headers: Vec<Header>,
    /// Whether answers are `application/json`.
    pub(super) plain: bool,
    /// To be held until the answer is made.
    pub(super) _under_way: Option<Turnstile>,
}

/// A call that counts as under way until it is dropped.
#[derive(Debug)]
pub(super) struct Turnstile {
    state: State,
    call: UnderWay,
}

impl Drop for Turnstile {
    fn drop(&mut self) {
        self.state.lock().zoom.rates.ended(&self.call);
    }
}

/// What the service has to do with a call.
#[derive(Debug)]
pub(super) enum Act {
    /// Answer.
    Answer(Answer),
    /// Answer, but not before `due`.
    Late {
        answer: Answer,
        due: Timestamp,
        ticket: Ticket,
    },
    /// Wait, then [`State::carry_out`].
    Hold {
        released: watch::Receiver<()>,
        ticket: Ticket,
    },
    /// Close the connection.
    Close,
}

/// An answer to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<Header>,
    pub(super) body: Bytes,
    /// Send only so many bytes, head included, then close the connection.
    pub(super) cut: Option<u64>,
}

impl State {
    /// Nothing in it yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let inner = Inner {
            zoom: Zoom::new(&options, String::new()),
            faults: Faults::default(),
            log: Log::default(),
            tokens: Tokens::default(),
        };
        Self(Arc::new(Shared {
            options,
            inner: Mutex::new(inner),
            released: watch::Sender::new(()),
            arrived: watch::Sender::new(Arrived::default()),
        }))
    }

    /// Something goes wrong with the next calls, after what waits already. See [`Fault`].
    pub fn fail_next(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// How the account behaves now.
    #[must_use]
    pub fn quirks(&self) -> Quirks {
        self.lock().zoom.quirks.clone()
    }

    /// The account behaves so from now on. What is in it stays; the default group is made or named anew.
    pub fn set_quirks(&self, quirks: Quirks) {
        let now = self.clock().now();
        self.lock().zoom.set_quirks(quirks, now);
    }

    /// Calls fail by chance from now on, or no longer. Faults that wait come first.
    pub fn chaos(&self, chaos: Option<Chaos>) {
        self.lock().faults.set_chaos(chaos);
    }

    /// Faults that wait are forgotten: what comes from now on is answered as usual, or as chaos has it.
    pub fn mend(&self) {
        self.lock().faults.clear();
    }

    /// Calls that are held go on.
    pub fn release(&self) {
        self.0.released.send_replace(());
    }

    /// Forgets accounts, groups, tokens, faults, chaos, calls and counts; ids start again, and the quirks are those
    /// of the start. Held calls go on.
    pub fn reset(&self) {
        let mut inner = self.lock();
        let base_url = std::mem::take(&mut inner.zoom.base_url);
        let mut rates = std::mem::take(&mut inner.zoom.rates);
        rates.clear();
        inner.zoom = Zoom::new(&self.0.options, base_url);
        inner.zoom.rates = rates;
        inner.tokens = Tokens::default();
        inner.faults = Faults::default();
        inner.log.clear();
        self.0.arrived.send_replace(Arrived::default());
        drop(inner);
        self.release();
    }

    /// Waits until so many calls of the API came since the start or the last reset. Whatever they do at once, they
    /// have done.
    pub async fn arrived(&self, calls: u64) {
        let mut arrived = self.0.arrived.subscribe();
        // The sender lives in `self`, so this cannot fail while we wait.
        let _gone = arrived.wait_for(|came| came.calls >= calls).await;
    }

    /// The same for calls of the token endpoint.
    pub async fn tokens_requested(&self, requests: u64) {
        let mut arrived = self.0.arrived.subscribe();
        let _gone = arrived.wait_for(|came| came.tokens >= requests).await;
    }

    /// How many calls of the token endpoint came, whatever became of them. [`State::counts`] has more under `TOKEN`.
    #[must_use]
    pub fn token_requests(&self) -> u64 {
        let counts = self.counts();
        counts.get(seen::TOKEN).map_or(0, |counts| counts.calls)
    }

    /// The calls that came, oldest first, at most the last 100,000.
    #[must_use]
    pub fn calls(&self) -> Vec<Seen> {
        self.lock().log.calls()
    }

    /// How many calls of each method came and how they ended; those of the token endpoint under `TOKEN`.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, Counts> {
        self.lock().log.counts().clone()
    }

    /// The user of that userName or e-mail address as GET by id shows it; also a pending one.
    #[must_use]
    pub fn account(&self, user_name: &str) -> Option<Value> {
        self.lock()
            .zoom
            .account(user_name)
            .map(|account| account.user)
    }

    /// Every account, also pending and inactive ones, in the order in which they were made.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountView> {
        self.lock().zoom.accounts()
    }

    /// The first group of that name: its id and its members' ids.
    #[must_use]
    pub fn group(&self, display_name: &str) -> Option<(String, Vec<String>)> {
        let group = self.lock().zoom.group(display_name)?;
        Some((group.id, group.members))
    }

    /// Every group with its members, in the order in which they were made.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupView> {
        self.lock().zoom.all_groups()
    }

    /// A pending user accepts the invitation. False: nobody of that name is pending.
    pub fn accept(&self, user_name: &str) -> bool {
        self.lock().zoom.accept(user_name)
    }

    /// Carries out one operation here and now: status and body. It is not noted among the calls, needs no token and
    /// meets no faults. `path` is below the base URL and percent-encoded, as is `query`.
    #[must_use]
    pub fn answer(
        &self,
        method: Method,
        path: &str,
        query: Option<&str>,
        body: Option<&Value>,
    ) -> (u16, Option<Value>) {
        let text = body.map(Value::to_string).unwrap_or_default();
        let call = Call {
            method: Some(method),
            path,
            query,
            body: text.as_bytes(),
            door: Door::Scim,
            authorization: None,
        };
        let reply = self.lock().zoom.answer(call, self.clock().now());
        (reply.status, reply.body)
    }

    /// The token that is always good.
    pub(super) fn token(&self) -> &str {
        &self.0.options.token
    }

    /// The clock that it was given.
    pub(super) fn clock(&self) -> &Clock {
        &self.0.options.clock
    }

    /// Where it is served from now on.
    pub(super) fn serve_at(&self, base_url: &str) {
        base_url.clone_into(&mut self.lock().zoom.base_url);
    }

    /// The path below the base URL, if it is below that, or below one of the other names it may have.
    pub(super) fn below_base<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(super::service::BASE_PATH).or_else(|| {
            let aliases = self.lock().zoom.quirks.base_path_aliases;
            let mut names = ["/v2/scim2", "/scim"].into_iter().filter(|_| aliases);
            names.find_map(|name| path.strip_prefix(name))
        })
    }

    /// Notes a call and, unless it is held, carries it out.
    pub(super) fn take(&self, call: Call<'_>, body: Bytes) -> Taken {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let now = self.clock().now();
        let ticket = match call.door {
            Door::Token => inner.log.token_requested(),
            Door::Scim => {
                let method = call.method.map_or("OTHER", Method::as_str);
                inner.log.arrived(now, method, call.path, call.query, body)
            }
        };
        let (mut headers, mut under_way) = (Vec::new(), None);
        let act = match self.enter(inner, call, now, ticket) {
            Ok(entered) => {
                (headers, under_way) = entered;
                let what = match call.door {
                    Door::Token => inner.faults.take_for_token(),
                    Door::Scim => inner.faults.take(call.method, call.path),
                };
                self.meet(inner, what, call, now, ticket)
            }
            Err(reply) => Turn::Reply(reply),
        };
        if let Turn::Reply(reply) = &act {
            inner.log.answered(ticket, reply.status);
        }
        // Inside the lock, so that a reset cannot come between.
        self.0.arrived.send_modify(|came| match call.door {
            Door::Token => came.tokens += 1,
            Door::Scim => came.calls += 1,
        });
        let plain = inner.zoom.quirks.plain_media_type || call.door == Door::Token;
        drop(guard);
        Taken {
            act: match act {
                Turn::Reply(reply) => Act::Answer(reply.into()),
                Turn::Act(act) => act,
            },
            headers,
            plain,
            // Not inside the lock, which dropping it takes.
            _under_way: under_way.map(|call| Turnstile {
                state: self.clone(),
                call,
            }),
        }
    }

    /// Lets a call in, in the order of Zoom's common layer: the token, the rate, how many there are at once.
    fn enter(
        &self,
        inner: &mut Inner,
        call: Call<'_>,
        now: Timestamp,
        ticket: Ticket,
    ) -> Result<(Vec<Header>, Option<UnderWay>), Reply> {
        if call.door == Door::Token {
            return Ok((Vec::new(), None));
        }
        let (quirks, rates) = (&inner.zoom.quirks, &mut inner.zoom.rates);
        let options = &self.0.options;
        inner
            .tokens
            .admit(options, quirks, call.authorization, now)?;
        let endpoint = Endpoint::of(call.path, quirks.any_case_paths);
        let (Some(method), Some((endpoint, id))) = (call.method, endpoint) else {
            return Ok((Vec::new(), None));
        };
        if rates.is_early(quirks, (method, endpoint), now) {
            inner.log.early(ticket);
        }
        let mut headers = Vec::new();
        let entered = rates
            .admit(quirks, (method, endpoint), now)
            .and_then(|rate| {
                headers = rate;
                if quirks.concurrency == 0 && !quirks.one_call_a_user {
                    return Ok(None);
                }
                let user = Some(id.as_str()).filter(|_| endpoint == Endpoint::User);
                rates.begin(quirks, user).map(Some)
            });
        match entered {
            Ok(under_way) => Ok((headers, under_way)),
            Err(refused) => {
                inner.log.refused_for_rate(ticket);
                let mut reply = Reply::rest(429, 429, refused.message);
                reply.headers = headers;
                reply.headers.extend(refused.headers);
                Err(reply)
            }
        }
    }

    /// Carries out a call that was held.
    pub(super) fn carry_out(&self, call: Call<'_>, ticket: Ticket) -> Answer {
        let mut inner = self.lock();
        let reply = inner.carry_out(&self.0.options, call, self.clock().now(), ticket);
        inner.log.answered(ticket, reply.status);
        drop(inner);
        reply.into()
    }

    /// Notes that a late answer went out.
    pub(super) fn answered(&self, ticket: Ticket, status: u16) {
        self.lock().log.answered(ticket, status);
    }

    fn meet(
        &self,
        inner: &mut Inner,
        what: Option<What>,
        call: Call<'_>,
        now: Timestamp,
        ticket: Ticket,
    ) -> Turn {
        match what {
            None => {
                let reply = inner.carry_out(&self.0.options, call, now, ticket);
                let latency = Duration::from_millis(inner.zoom.quirks.latency_ms);
                if latency.is_zero() {
                    return Turn::Reply(reply);
                }
                Turn::Act(Act::Late {
                    answer: reply.into(),
                    due: now.plus(latency),
                    ticket,
                })
            }
            Some(What::Hold) => Turn::Act(Act::Hold {
                // From here on a release is not missed.
                released: self.0.released.subscribe(),
                ticket,
            }),
            Some(What::LoseBefore) => {
                inner.log.lost(ticket, false);
                Turn::Act(Act::Close)
            }
            Some(What::LoseAfter) => {
                inner.carry_out(&self.0.options, call, now, ticket);
                inner.log.lost(ticket, true);
                Turn::Act(Act::Close)
            }
            Some(What::Delay(millis)) => Turn::Act(Act::Late {
                answer: inner.carry_out(&self.0.options, call, now, ticket).into(),
                due: now.plus(Duration::from_millis(millis)),
                ticket,
            }),
            Some(What::CutAfter(bytes)) => {
                let mut answer = Answer::from(inner.carry_out(&self.0.options, call, now, ticket));
                answer.cut = Some(bytes);
                inner.log.lost(ticket, true);
                Turn::Act(Act::Answer(answer))
            }
            Some(What::Status {
                status,
                retry_after,
                body,
            }) => {
                inner.log.answered(ticket, status);
                inner.tell(call, retry_after.as_deref(), now);
                let body = body.unwrap_or_else(|| faults::body_for(status).to_string());
                Turn::Act(Act::Answer(Answer {
                    status,
                    headers: retry_after
                        .map(|text| ("retry-after", text))
                        .into_iter()
                        .collect(),
                    body: body.into(),
                    cut: None,
                }))
            }
            Some(What::Garbage) => {
                let reply = inner.carry_out(&self.0.options, call, now, ticket);
                if reply.status >= 300 {
                    return Turn::Reply(reply);
                }
                let status = if call.method == Some(Method::Post) && call.door == Door::Scim {
                    201
                } else {
                    200
                };
                inner.log.answered(ticket, status);
                Turn::Act(Act::Answer(Answer {
                    status,
                    headers: Vec::new(),
                    body: Bytes::from_static(b"<html><body>It works!</body></html>"),
                    cut: None,
                }))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test's panic elsewhere does not make what is in here wrong.
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a call's turn under the lock came to: a reply that is yet to be written out, or something else.
enum Turn {
    Reply(Reply),
    Act(Act),
}

impl Inner {
    fn carry_out(
        &mut self,
        options: &Options,
        call: Call<'_>,
        now: Timestamp,
        ticket: Ticket,
    ) -> Reply {
        let reply = match call.door {
            Door::Scim => self.zoom.answer(call, now),
            Door::Token => {
                let zoom = &self.zoom;
                self.tokens
                    .answer(options, &zoom.quirks, &zoom.base_url, call, now)
            }
        };
        self.log.carried_out(ticket, reply.effect);
        reply
    }

    /// Notes what a fault told a call to wait.
    fn tell(&mut self, call: Call<'_>, told: Option<&str>, now: Timestamp) {
        let zoom = &mut self.zoom;
        let wait = told.and_then(|text| retry_after::parse(text, now));
        let endpoint = Endpoint::of(call.path, zoom.quirks.any_case_paths);
        if let (Some(wait), Some(method), Some((endpoint, _))) = (wait, call.method, endpoint) {
            let until = now.plus(wait);
            zoom.rates.tell(&zoom.quirks, (method, endpoint), until);
        }
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        let body = reply.body.map(|body| body.to_string()).unwrap_or_default();
        Self {
            status: reply.status,
            headers: reply.headers,
            body: body.into(),
            cut: None,
        }
    }
}

#[cfg(test)]
impl State {
    /// [`State::answer`] with `METHOD /path?query`, and null for no body.
    pub(super) fn ask(&self, request: &str, body: Value) -> (u16, Value) {
        let (method, target) = request.split_once(' ').expect("METHOD /path?query");
        let method = super::zoom::method(method).expect("a method of SCIM's");
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let body = Some(body).filter(|body| !body.is_null());
        let (status, body) = self.answer(method, path, query, body.as_ref());
        (status, body.unwrap_or(Value::Null))
    }
}
