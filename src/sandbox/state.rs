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
use super::seen::{Counts, Log, Seen, Ticket};
use super::zoom::{AccountView, Call, GroupView, Reply, Zoom};

/// What is in a sandbox, what it was asked, and what goes wrong next. Cheap to clone; every clone is the same one.
#[derive(Debug, Clone)]
pub struct State(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    inner: Mutex<Inner>,
    /// Changes when held calls may go on.
    released: watch::Sender<()>,
    /// How many calls came.
    arrived: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    zoom: Zoom,
    faults: Faults,
    log: Log,
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
    pub(super) retry_after: Option<String>,
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
        };
        Self(Arc::new(Shared {
            options,
            inner: Mutex::new(inner),
            released: watch::Sender::new(()),
            arrived: watch::Sender::new(0),
        }))
    }

    /// Something goes wrong with the next calls, after what waits already. See [`Fault`].
    pub fn fail_next(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Writes fail by chance from now on, or no longer. Faults that wait come first.
    pub fn chaos(&self, chaos: Option<Chaos>) {
        self.lock().faults.set_chaos(chaos);
    }

    /// Calls that are held go on.
    pub fn release(&self) {
        self.0.released.send_replace(());
    }

    /// Forgets accounts, groups, faults, chaos, calls and counts; ids start again. Held calls go on.
    pub fn reset(&self) {
        let mut inner = self.lock();
        let base_url = std::mem::take(&mut inner.zoom.base_url);
        inner.zoom = Zoom::new(&self.0.options, base_url);
        inner.faults = Faults::default();
        inner.log.clear();
        self.0.arrived.send_replace(0);
        drop(inner);
        self.release();
    }

    /// Waits until so many calls came since the start or the last reset. Whatever they do at once, they have done.
    pub async fn arrived(&self, calls: u64) {
        let mut arrived = self.0.arrived.subscribe();
        // The sender lives in `self`, so this cannot fail while we wait.
        let _gone = arrived.wait_for(|count| *count >= calls).await;
    }

    /// The calls that came, oldest first, at most the last 100,000.
    #[must_use]
    pub fn calls(&self) -> Vec<Seen> {
        self.lock().log.calls()
    }

    /// How many calls of each method came and how they ended.
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
        };
        let reply = self.lock().zoom.answer(call, self.clock().now());
        (reply.status, reply.body)
    }

    /// The token that calls must bear.
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

    /// Notes a call and, unless it is held, carries it out. `authorized`: it bore the token.
    pub(super) fn take(&self, call: Call<'_>, body: Bytes, authorized: bool) -> Act {
        let mut inner = self.lock();
        let now = self.clock().now();
        let ticket = inner.log.arrived(
            now,
            call.method.map_or("OTHER", Method::as_str),
            call.path,
            call.query,
            body,
        );
        let act = if authorized {
            let what = inner.faults.take(call.method, call.path);
            self.meet(&mut inner, what, call, now, ticket)
        } else {
            Turn::Reply(Reply::new(401, faults::body_for(401)))
        };
        if let Turn::Reply(reply) = &act {
            inner.log.answered(ticket, reply.status);
        }
        // Inside the lock, so that a reset cannot come between.
        self.0.arrived.send_modify(|calls| *calls += 1);
        drop(inner);
        match act {
            Turn::Reply(reply) => Act::Answer(reply.into()),
            Turn::Act(act) => act,
        }
    }

    /// Carries out a call that was held.
    pub(super) fn carry_out(&self, call: Call<'_>, ticket: Ticket) -> Answer {
        let mut inner = self.lock();
        let reply = inner.carry_out(call, self.clock().now(), ticket);
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
            None => Turn::Reply(inner.carry_out(call, now, ticket)),
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
                inner.carry_out(call, now, ticket);
                inner.log.lost(ticket, true);
                Turn::Act(Act::Close)
            }
            Some(What::Delay(millis)) => Turn::Act(Act::Late {
                answer: inner.carry_out(call, now, ticket).into(),
                due: now.plus(Duration::from_millis(millis)),
                ticket,
            }),
            Some(What::CutAfter(bytes)) => {
                let mut answer = Answer::from(inner.carry_out(call, now, ticket));
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
                let body = body.unwrap_or_else(|| faults::body_for(status).to_string());
                Turn::Act(Act::Answer(Answer {
                    status,
                    retry_after,
                    body: body.into(),
                    cut: None,
                }))
            }
            Some(What::Garbage) => {
                let reply = inner.carry_out(call, now, ticket);
                if reply.status >= 300 {
                    return Turn::Reply(reply);
                }
                let status = if call.method == Some(Method::Post) {
                    201
                } else {
                    200
                };
                inner.log.answered(ticket, status);
                Turn::Act(Act::Answer(Answer {
                    status,
                    retry_after: None,
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
    fn carry_out(&mut self, call: Call<'_>, now: Timestamp, ticket: Ticket) -> Reply {
        let reply = self.zoom.answer(call, now);
        self.log.carried_out(ticket, reply.effect);
        reply
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        let body = reply.body.map(|body| body.to_string()).unwrap_or_default();
        Self {
            status: reply.status,
            retry_after: None,
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
