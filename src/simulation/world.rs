//! What there is beside the gateway: the applications, what clients know that they said, and what was seen of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::dice::Dice;
use super::disk::Disk;
use super::line::Weather;
use super::model::{Groups, People};
use super::server::{Reply, Server, There};
use crate::clock::Timestamp;
use crate::provision::call::{Call, Class, Method};
use crate::sandbox::State;
use crate::scim::{Kind, Resource};
use crate::store::{MarkEdit, Store};

/// The world, as the driver, its clients and the lines hold it.
pub(super) type Shared = Arc<Mutex<World>>;

pub(super) fn at(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is behind a line.
#[derive(Debug)]
pub(super) enum Place {
    Zoom(State),
    Plain(Server),
}

/// An application as the world knows it.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) weather: Weather,
    /// Until when the weather lasts.
    pub(super) until: Timestamp,
    /// Until when calls of the class light, and of the class medium, were told to wait.
    pub(super) told: [Timestamp; 2],
    /// Accounts that were taken away since the begin.
    pub(super) removed: BTreeSet<String>,
    /// Accounts: userName, and whether it is active.
    pub(super) seen: BTreeMap<String, (String, bool)>,
    /// Accounts that are gone.
    pub(super) deleted: BTreeSet<String>,
    /// Accounts that are nobody's of ours.
    pub(super) foreign: BTreeSet<String>,
    /// Titles are accepted there and not applied.
    pub(super) drops_titles: bool,
    /// Calls that take effect later.
    pub(super) late: Vec<(Timestamp, Call)>,
    /// When each person last was, or may have been, somebody that the application should not have.
    pub(super) unwanted: BTreeMap<usize, Timestamp>,
    /// Domains, none for every one, and whether there are policies: of the configuration in force.
    pub(super) domains: Vec<String>,
    pub(super) policies: bool,
    /// Groups, by their number, that its policies are bound to.
    pub(super) bound: BTreeSet<usize>,
}

/// A removal's reason may be as old as its exchange.
const EXCHANGE: Duration = Duration::from_secs(75);

/// In the first window of the safety limit every removal is counted against one number.
pub(super) const WINDOW: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) disk: Disk,
    pub(super) store: Option<Store>,
    pub(super) applications: Vec<Application>,
    pub(super) people: People,
    pub(super) groups: Groups,
    /// Whom the last call was about.
    pub(super) called: Option<usize>,
    /// The last version that each application was sent of each person.
    pub(super) sent: BTreeMap<(usize, usize), u64>,
    /// What the safety limit is at most in each application.
    pub(super) limit: usize,
    pub(super) begun: Timestamp,
    /// What must not be, and was.
    pub(super) broken: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// Calls and requests under way.
    pub(super) under_way: usize,
    pub(super) requests: usize,
    /// Requests that were answered well.
    pub(super) acknowledged: Vec<String>,
    /// Faults are over.
    pub(super) mended: bool,
    /// The gateway dies in the next call that writes: after its effect, or before.
    pub(super) dies_in_call: Option<bool>,
    pub(super) history: Vec<String>,
    pub(super) verbose: bool,
    pub(super) now: Timestamp,
}

impl Place {
    pub(super) fn answer(&mut self, call: &Call, now: Timestamp) -> Reply {
        match self {
            Self::Plain(server) => server.answer(call, now),
            Self::Zoom(state) => {
                let body: Option<Value> = call
                    .body
                    .as_deref()
                    .map(|body| serde_json::from_slice(body).expect("our own JSON"));
                state.answer(
                    call.method,
                    &call.path,
                    call.query.as_deref(),
                    body.as_ref(),
                )
            }
        }
    }

    pub(super) fn accounts(&self) -> Vec<There> {
        match self {
            Self::Plain(server) => server.accounts(),
            Self::Zoom(state) => {
                let all = state.accounts().into_iter().map(|account| There {
                    id: account.id,
                    name: account.user_name,
                    active: account.active,
                    pending: account.pending,
                    display: account.user["displayName"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    title: account.user["title"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    members: BTreeSet::new(),
                });
                all.collect()
            }
        }
    }

    pub(super) fn groups(&self) -> Vec<There> {
        match self {
            Self::Plain(server) => server.groups(),
            Self::Zoom(state) => {
                let all = state.groups().into_iter().map(|group| There {
                    id: group.id,
                    name: group.display_name.clone(),
                    active: true,
                    pending: false,
                    display: group.display_name,
                    title: String::new(),
                    members: group.members.into_iter().collect(),
                });
                all.collect()
            }
        }
    }
}

/// The id in a path.
fn id_of(call: &Call) -> Option<String> {
    let (_, id) = call.path.get(1..)?.split_once('/')?;
    Some(percent_decode_str(id).decode_utf8_lossy().into_owned())
}

/// Whether a call of a user takes the account away, or puts it back.
fn switches(call: &Call, body: &Value) -> Option<bool> {
    if call.method == Method::Delete {
        return Some(false);
    }
    let operations = body["Operations"].as_array().into_iter().flatten();
    let patched = operations
        .map(|operation| &operation["value"])
        .find_map(|value| value.as_bool().or_else(|| value["active"].as_bool()));
    patched.or_else(|| body["active"].as_bool())
}

/// The displayName that a call of a user writes.
fn display(body: &Value) -> Option<&str> {
    let operations = body["Operations"].as_array().into_iter().flatten();
    let patched = operations
        .filter(|operation| operation["path"] == "displayName")
        .find_map(|operation| operation["value"].as_str());
    patched.or_else(|| body["displayName"].as_str())
}

impl World {
    /// Notes what must not be.
    pub(super) fn breaks(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.say(|| format!("BROKEN: {what}"));
        self.broken.push(what);
    }

    pub(super) fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        let at = self.now.since(self.begun).as_millis();
        let line = format!("{:>6}.{:03} {}", at / 1000, at % 1000, line());
        if self.verbose {
            println!("{line}");
        }
        self.history.push(line);
    }

    /// Before a call leaves.
    pub(super) fn begins(&mut self, application: usize, call: &Call, now: Timestamp) {
        self.now = now;
        if self.disk.is_dead() {
            return;
        }
        let one = &self.applications[application];
        let name = one.name;
        if now < one.told[usize::from(call.class == Class::Medium)] {
            self.breaks(format!(
                "{name}: {} {} while told to wait",
                call.method.as_str(),
                call.path
            ));
        }
        if !call.writes() {
            return;
        }
        let body: Value = match &call.body {
            Some(bytes) => serde_json::from_slice(bytes).expect("our own JSON"),
            None => Value::Null,
        };
        if !self.is_intended(name, call, &body) {
            self.breaks(format!(
                "{name}: {} {} leaves and no intent is on disk",
                call.method.as_str(),
                call.path
            ));
        }
        if call.path.starts_with("/Groups") {
            let operations = body["Operations"].as_array().into_iter().flatten();
            let mut members = operations.filter(|one| one["path"] == "members");
            if members.any(|one| one["op"] == "replace") {
                self.breaks(format!("{name}: a group's members are replaced"));
            }
            return;
        }
        self.of_user(application, call, &body, now);
    }

    fn of_user(&mut self, application: usize, call: &Call, body: &Value, now: Timestamp) {
        let one = &self.applications[application];
        let name = one.name;
        let id = id_of(call);
        let there = id.as_ref().and_then(|id| one.seen.get(id)).cloned();
        let user_name = there
            .as_ref()
            .map(|(name, _)| name.clone())
            .or_else(|| body["userName"].as_str().map(str::to_owned))
            .unwrap_or_default();
        if id.as_ref().is_some_and(|id| one.foreign.contains(id)) || user_name.starts_with("svc-") {
            self.breaks(format!(
                "{name}: {} of {user_name}, which is foreign or protected",
                call.method.as_str()
            ));
            return;
        }
        let Some(person) = self.people.named(&user_name) else {
            return;
        };
        self.called = Some(person);
        if let Some(version) = display(body).and_then(super::model::version_of) {
            let least = self.people.least_lately(person, now, EXCHANGE);
            let last = self.sent.entry((application, person)).or_default();
            let behind = std::mem::replace(last, version.max(*last));
            // What was sent and then refused was never said.
            let inverts = version < behind && behind <= self.people.least(person);
            if version < least || inverts {
                self.breaks(format!(
                    "{name}: v{version} of {user_name} is sent; v{least} was acknowledged before its exchange began, and v{behind} was sent"
                ));
            }
            if version < self.people.least(person) {
                self.count("overtaken exchanges");
            }
        }
        let (Some(id), Some(false)) = (id, switches(call, body)) else {
            return;
        };
        if there.is_none_or(|(_, active)| !active) {
            return;
        }
        self.count("removals");
        self.touch(now);
        let one = &mut self.applications[application];
        one.removed.insert(id);
        let (removed, since) = (one.removed.len(), one.unwanted.get(&person).copied());
        if now < self.begun.plus(WINDOW) && removed > self.limit {
            let limit = self.limit;
            self.breaks(format!(
                "{name}: {user_name} is removal {removed} in a window of {limit}"
            ));
        }
        if since.is_none_or(|since| now.since(since) > EXCHANGE) {
            self.breaks(format!(
                "{name}: {user_name} is removed, and belongs there (unwanted last at {since:?})"
            ));
        }
    }

    /// Whether what would be committed of this call, if nobody lived to say how it went, is on disk.
    fn is_intended(&self, application: &str, call: &Call, body: &Value) -> bool {
        let Some(store) = &self.store else {
            return false;
        };
        let Ok(view) = store.view() else {
            return false;
        };
        let user = call.path.starts_with("/Users");
        let id = id_of(call);
        store.intents_for_tests().iter().any(|intent| {
            let put = intent.puts.iter().map(|put| put.resource.clone());
            // Whose link alone is another one, and who is as before.
            let links = intent.links.iter().map(|edit| edit.handle);
            let marked = intent.marks.iter().map(MarkEdit::handle);
            let others = links.chain(marked);
            let others = others.filter_map(|handle| view.resource(handle).ok()?);
            let fits = |resource: Resource| {
                let link = resource.link(application);
                let known = link.and_then(|link| link.remote_id.as_ref());
                (resource.kind == Kind::User) == user
                    && match &id {
                        Some(id) => known.is_none_or(|known| known == id),
                        None if user => resource.attributes.get("userName") == body.get("userName"),
                        None => true,
                    }
            };
            put.chain(others).any(fits)
        })
    }

    /// A call takes effect.
    pub(super) fn effect(&mut self, application: usize, call: &Call, now: Timestamp) -> Reply {
        self.now = now;
        self.tick(now);
        self.carry_out(application, call, now)
    }

    fn carry_out(&mut self, application: usize, call: &Call, now: Timestamp) -> Reply {
        let one = &mut self.applications[application];
        let name = one.name;
        let reply = one.place.answer(call, now);
        let creates = call.method == Method::Post && call.path == "/Users" && reply.0 == 201;
        if creates {
            let body = reply.1.clone().unwrap_or_default();
            let user_name = body["userName"].as_str().unwrap_or_default().to_owned();
            let id = body["id"].as_str().unwrap_or_default().to_owned();
            if one.seen.values().any(|(name, _)| *name == user_name) {
                self.breaks(format!("{name}: {user_name} has two accounts"));
            }
            self.count("creates");
            if name == "zoom" && user_name.ends_with("@home.example") {
                self.count("pending");
            }
            self.applications[application]
                .seen
                .insert(id, (user_name, true));
        } else if let Some(id) =
            id_of(call).filter(|_| call.path.starts_with("/Users") && reply.0 < 300)
        {
            let body = call
                .body
                .as_deref()
                .map(|body| serde_json::from_slice(body).expect("our own JSON"));
            match switches(call, &body.unwrap_or_default()) {
                _ if call.method == Method::Delete => {
                    one.seen.remove(&id);
                    one.deleted.insert(id);
                }
                Some(active) if call.writes() => {
                    if let Some(seen) = one.seen.get_mut(&id) {
                        seen.1 = active;
                    }
                }
                _ => {}
            }
        }
        let status = reply.0;
        if !matches!(status, 200..=299 | 404 | 409) {
            self.say(|| format!("{name} answers {status} {:?}", reply.1));
        }
        reply
    }

    pub(super) fn late(&mut self, application: usize, call: &Call, due: Timestamp) {
        self.applications[application]
            .late
            .push((due, call.clone()));
    }

    /// When the next of the calls that lie about takes effect.
    pub(super) fn next_late(&self) -> Option<Timestamp> {
        let late = self.applications.iter().flat_map(|one| &one.late);
        late.map(|(due, _)| *due).min()
    }

    /// What became due since takes effect.
    pub(super) fn tick(&mut self, now: Timestamp) {
        self.now = now;
        for application in 0..self.applications.len() {
            let one = &mut self.applications[application];
            let late = std::mem::take(&mut one.late);
            let (due, still): (Vec<_>, Vec<_>) = late.into_iter().partition(|(at, _)| *at <= now);
            one.late = still;
            for (at, call) in due {
                self.say(|| format!("late: {} {}", call.method.as_str(), call.path));
                self.carry_out(application, &call, at);
            }
        }
    }
}
