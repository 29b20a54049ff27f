//! What clients ask for, and what they make of the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::model::{Group, Known, Member, Person, group_name};
use super::world::{Shared, World, at};
use crate::auth::Client;
use crate::bulk;
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::scim::Kind;
use crate::scim::request::{Parts, ScimRequest};
use crate::scim::route::Route;
use crate::settle::{Asked, Engine};

/// What a request is about, and what there is when it was done.
#[derive(Debug, Clone)]
pub(super) enum After {
    Person(usize, Person),
    Group(usize, Group),
}

/// One change that a client asks for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    /// Of which resource; none for a new one.
    pub(super) id: Option<String>,
    pub(super) body: Value,
    pub(super) after: After,
    /// Whom nobody else may ask about meanwhile, beside.
    pub(super) beside: Vec<Member>,
}

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

impl After {
    fn kind(&self) -> Kind {
        match self {
            Self::Person(..) => Kind::User,
            Self::Group(..) => Kind::Group,
        }
    }
}

fn patch(operation: Value) -> Value {
    json!({ "schemas": [PATCH], "Operations": [operation] })
}

impl World {
    fn whole(&self, person: usize, after: &Person) -> Value {
        let name = &self.people.names[person];
        json!({
            "schemas": [USER], "userName": name, "externalId": format!("x{person}"),
            "displayName": format!("Person {person} v{}", after.version),
            "name": { "givenName": format!("P{person}"), "familyName": "Person" },
            "emails": [{ "type": "work", "primary": true, "value": name }],
            "title": format!("T{}", after.title), "active": after.active,
        })
    }

    /// Something to ask about a person whom nobody asks about right now.
    pub(super) fn of_person(&mut self, person: usize) -> Option<Ask> {
        let known = &self.people.all[person];
        let [state] = known.may_be.as_slice() else {
            return None;
        };
        if known.busy {
            return None;
        }
        let (mut after, id) = (state.clone(), known.id.clone());
        let roll = self.dice.below(100);
        let ask = |method, id, body, after| {
            Some(Ask {
                method,
                id,
                body,
                after: After::Person(person, after),
                beside: Vec::new(),
            })
        };
        if !state.exists {
            let stands = |group: &Known<Group>| {
                group.busy
                    && group
                        .may_be
                        .iter()
                        .any(|it| it.members.contains(&Member::Person(person)))
            };
            if self.groups.all.iter().any(stands) {
                return None;
            }
            after.exists = true;
            after.active = roll < 92;
            after.version += 1;
            let body = self.whole(person, &after);
            return ask("POST", None, body, after);
        }
        match roll {
            0..12 => {
                after.title = 1 - after.title;
                let title = format!("T{}", after.title);
                let body = patch(json!({ "op": "replace", "path": "title", "value": title }));
                ask("PATCH", id, body, after)
            }
            12..32 => {
                after.version += 1;
                let display = format!("Person {person} v{}", after.version);
                let body =
                    patch(json!({ "op": "replace", "path": "displayName", "value": display }));
                ask("PATCH", id, body, after)
            }
            32..50 => {
                after.version += 1;
                after.active |= self.dice.percent(60);
                let body = self.whole(person, &after);
                ask("PUT", id, body, after)
            }
            50..80 => {
                after.active = !after.active;
                let body =
                    patch(json!({ "op": "replace", "path": "active", "value": after.active }));
                ask("PATCH", id, body, after)
            }
            _ => {
                after.exists = false;
                ask("DELETE", id, Value::Null, after)
            }
        }
    }

    /// Some people and groups that are there and that nobody asks about.
    fn some(&mut self, most: u64, except: usize) -> Vec<(Member, String)> {
        let mut free: Vec<(Member, String)> = Vec::new();
        for (at, one) in self.people.all.iter().enumerate() {
            if let (false, Some(id)) = (one.busy, &one.id) {
                free.push((Member::Person(at), id.clone()));
            }
        }
        for (at, one) in self.groups.all.iter().enumerate() {
            if let (false, Some(id)) = (one.busy || at == except, &one.id)
                && self.dice.percent(20)
            {
                free.push((Member::Group(at), id.clone()));
            }
        }
        let count = 1 + self.dice.below(most);
        let mut some = Vec::new();
        for _ in 0..count {
            if let Some(one) = self.dice.pick(&free).cloned()
                && !some.contains(&one)
            {
                some.push(one);
            }
        }
        some
    }

    /// Something to ask about a group that nobody asks about right now.
    pub(super) fn of_group(&mut self, group: usize) -> Option<Ask> {
        let known = &self.groups.all[group];
        let [state] = known.may_be.as_slice() else {
            return None;
        };
        if known.busy {
            return None;
        }
        let (mut after, id, before) = (state.clone(), known.id.clone(), state.clone());
        let values = |some: &[(Member, String)]| -> Vec<Value> {
            some.iter().map(|(_, id)| json!({ "value": id })).collect()
        };
        let mut beside = Vec::new();
        let roll = self.dice.below(100);
        let (method, body) = if !before.exists {
            let some = self.some(8, group);
            after.exists = true;
            after.renamed = false;
            after.members = some.iter().map(|(member, _)| *member).collect();
            beside.extend(after.members.iter().copied());
            let body = json!({
                "schemas": [GROUP], "displayName": group_name(group, false), "members": values(&some),
            });
            ("POST", body)
        } else if roll < 45 {
            let some = self.some(6, group);
            after.members.extend(some.iter().map(|(member, _)| *member));
            beside.extend(some.iter().map(|(member, _)| *member));
            let body = json!({ "op": "add", "path": "members", "value": values(&some) });
            ("PATCH", patch(body))
        } else if roll < 75 {
            let members: Vec<Member> = before.members.iter().copied().collect();
            let count = 1 + self.dice.below(3);
            let mut leaving = BTreeSet::new();
            for _ in 0..count {
                leaving.extend(self.dice.pick(&members));
            }
            let ids: Vec<Value> = leaving
                .iter()
                .filter_map(|member| self.id_of(*member))
                .map(|id| json!({ "value": id }))
                .collect();
            if ids.len() != leaving.len() || ids.is_empty() {
                return None;
            }
            after.members.retain(|member| !leaving.contains(member));
            beside.extend(leaving);
            (
                "PATCH",
                patch(json!({ "op": "remove", "path": "members", "value": ids })),
            )
        } else if roll < 83 {
            let some = self.some(8, group);
            if before.members.iter().any(|member| self.is_busy(*member)) {
                return None;
            }
            beside.extend(before.members.iter().copied());
            after.members = some.iter().map(|(member, _)| *member).collect();
            beside.extend(after.members.iter().copied());
            let body = json!({
                "schemas": [GROUP], "displayName": group_name(group, before.renamed), "members": values(&some),
            });
            ("PUT", body)
        } else if roll < 93 {
            after.renamed = !before.renamed;
            let name = group_name(group, after.renamed);
            (
                "PATCH",
                patch(json!({ "op": "replace", "path": "displayName", "value": name })),
            )
        } else {
            let stands = |one: &Known<Group>| {
                one.busy
                    && one
                        .may_be
                        .iter()
                        .any(|it| it.members.contains(&Member::Group(group)))
            };
            if self.groups.all.iter().any(stands) {
                return None;
            }
            after.exists = false;
            after.members.clear();
            ("DELETE", Value::Null)
        };
        if beside.iter().any(|member| self.is_busy(*member)) {
            return None;
        }
        Some(Ask {
            method,
            id,
            body,
            after: After::Group(group, after),
            beside,
        })
    }

    fn id_of(&self, member: Member) -> Option<String> {
        match member {
            Member::Person(person) => self.people.all[person].id.clone(),
            Member::Group(group) => self.groups.all[group].id.clone(),
        }
    }

    fn is_busy(&self, member: Member) -> bool {
        match member {
            Member::Person(person) => self.people.all[person].busy,
            Member::Group(group) => self.groups.all[group].busy,
        }
    }

    fn busy(&mut self, member: Member, busy: bool) {
        match member {
            Member::Person(person) => self.people.all[person].busy = busy,
            Member::Group(group) => self.groups.all[group].busy = busy,
        }
    }

    /// From now on it may be so.
    pub(super) fn asks(&mut self, ask: &Ask, now: Timestamp) {
        self.say(|| format!("ask {} {:?}", ask.method, ask.after));
        self.requests += 1;
        match &ask.after {
            After::Person(person, after) => {
                self.busy(Member::Person(*person), true);
                self.people.all[*person].may_be.push(after.clone());
            }
            After::Group(group, after) => {
                self.busy(Member::Group(*group), true);
                self.groups.all[*group].may_be.push(after.clone());
            }
        }
        for member in &ask.beside {
            self.busy(*member, true);
        }
        self.touch(now);
    }

    /// It is so, or it stayed as it was.
    pub(super) fn hears(
        &mut self,
        ask: &Ask,
        request: &str,
        answer: Result<Option<String>, u16>,
        now: Timestamp,
    ) {
        self.now = now;
        self.requests -= 1;
        let status = answer.as_ref().err().copied();
        self.say(|| format!("heard {request}: {:?} {:?}", status, ask.after));
        if let Some(status) = status
            && !matches!(status, 503)
        {
            self.count(if status < 500 {
                "refused by 4xx"
            } else {
                "refused by 5xx"
            });
            if status == 500 {
                self.breaks(format!("{request} is answered 500"));
            }
        }
        if answer.is_ok() {
            self.acknowledged.push(request.to_owned());
            self.count("acknowledged");
        }
        match &ask.after {
            After::Person(person, after) => {
                let known = &mut self.people.all[*person];
                let before = known.may_be.swap_remove(0);
                if let Ok(id) = &answer {
                    known.may_be = vec![after.clone()];
                    known.id = id.clone().or(known.id.take()).filter(|_| after.exists);
                    if !after.exists {
                        self.groups.forget(Member::Person(*person));
                    }
                } else {
                    // A version that was refused may have been sent: the next one is another.
                    known.may_be = vec![Person {
                        version: if before.exists {
                            before.version
                        } else {
                            after.version
                        },
                        ..before
                    }];
                }
                self.busy(Member::Person(*person), false);
            }
            After::Group(group, _) => {
                let known = &mut self.groups.all[*group];
                // What is known of both is without whoever went meanwhile.
                known.may_be.swap_remove(usize::from(answer.is_err()));
                if let Ok(id) = &answer {
                    let exists = known.may_be.iter().all(|it| it.exists);
                    known.id = id.clone().or(known.id.take()).filter(|_| exists);
                    if !exists {
                        self.groups.forget(Member::Group(*group));
                    }
                }
                self.busy(Member::Group(*group), false);
            }
        }
        for member in &ask.beside {
            self.busy(*member, false);
        }
        self.touch(now);
    }
}

/// Asks, and notes what is heard: nothing, where the gateway died meanwhile.
pub(super) async fn ask(
    world: Shared,
    engine: Arc<Engine>,
    client: Client,
    request: String,
    ask: Ask,
) {
    let answer = settle(&engine, &client, &request, &ask).await;
    let now = engine.clock.now();
    let mut world = at(&world);
    if world.disk.is_dead() {
        return;
    }
    match answer {
        Ok(id) => world.hears(&ask, &request, Ok(id), now),
        Err(fault) => {
            world.say(|| format!("{request}: {fault:?}"));
            world.hears(&ask, &request, Err(fault.status()), now);
        }
    }
}

async fn settle(
    engine: &Arc<Engine>,
    client: &Client,
    request: &str,
    ask: &Ask,
) -> Result<Option<String>, Fault> {
    let kind = ask.after.kind();
    let route = match &ask.id {
        None => Route::Collection(kind),
        Some(id) => Route::Resource(kind, id.clone()),
    };
    let body = if ask.body.is_null() {
        Vec::new()
    } else {
        ask.body.to_string().into_bytes()
    };
    let parts = Parts {
        method: ask.method,
        route: &route,
        query: None,
        body: &body,
        if_match: None,
        if_none_match: None,
    };
    let ScimRequest::Write(write) = ScimRequest::decode(parts, &engine.limits)? else {
        return Err(Fault::Internal("no write".into()));
    };
    let asked = Asked {
        client,
        request,
        write,
        bulk: None,
    };
    let settled = engine.settle(&asked).await?;
    settled.view.row(settled.handle, |row| row.id.to_owned())
}

/// The same for several in one Bulk.
pub(super) async fn bulk(
    world: Shared,
    engine: Arc<Engine>,
    client: Client,
    request: String,
    asks: Vec<Ask>,
) {
    let operations: Vec<Value> = asks
        .iter()
        .enumerate()
        .map(|(at, ask)| {
            let collection = match ask.after.kind() {
                Kind::User => "/Users",
                Kind::Group => "/Groups",
            };
            let path = match &ask.id {
                None => collection.to_owned(),
                Some(id) => format!("{collection}/{id}"),
            };
            let mut operation =
                json!({ "method": ask.method, "path": path, "bulkId": format!("b{at}") });
            if !ask.body.is_null() {
                operation["data"] = ask.body.clone();
            }
            operation
        })
        .collect();
    let body = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations });
    let body = body.to_string().into_bytes();
    let parts = Parts {
        method: "POST",
        route: &Route::Bulk,
        query: None,
        body: &body,
        if_match: None,
        if_none_match: None,
    };
    let asked = match ScimRequest::decode(parts, &engine.limits) {
        Ok(ScimRequest::Bulk(asked)) => asked,
        other => panic!("no Bulk: {other:?}"),
    };
    let deadline = engine.clock.now().plus(engine.limits.request_timeout);
    let answer = bulk::run(
        &engine,
        &client,
        &request,
        "http://usher",
        asked,
        deadline,
        || false,
    )
    .await;
    let now = engine.clock.now();
    let mut world = at(&world);
    if world.disk.is_dead() {
        return;
    }
    let answer: Value = serde_json::from_slice(&answer).expect("our own JSON");
    for (number, ask) in asks.iter().enumerate() {
        let one = &answer["Operations"][number];
        let status: u16 = one["status"]
            .as_str()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        let id = one["location"]
            .as_str()
            .and_then(|it| it.rsplit('/').next())
            .map(str::to_owned);
        let heard = if status < 300 { Ok(id) } else { Err(status) };
        world.hears(ask, &request, heard, now);
    }
}
