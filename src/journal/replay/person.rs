//! One person's records, gone through again under another configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};

use super::past::{Past, is_kept};
use super::{Course, Deed, Different, Differs, Event, Line, Tally, Unsaid, wrote};
use crate::clock::Timestamp;
use crate::config::shape::{Mode, OutOfScope};
use crate::journal::record::{self, Changed, Delivery, Operation, Record, Status};
use crate::mapping::{Giving, user_name};
use crate::policy::assignment::Assigned;
use crate::provision::link::{Link, Origin, State};
use crate::provision::plan::{Act, Application, Decision, Facts, plan_with};
use crate::scim::{Handle, Id, Kind, Resource};

/// So long after something fell due its record may still come.
const SLACK: Duration = Duration::from_secs(15 * 60);

/// An application of the new configuration.
#[derive(Debug)]
pub struct Case<'a> {
    /// As the new configuration has it.
    pub new: &'a Application,
    /// As the one in force has it, where that is known: what it conceals is not shown.
    pub old: Option<&'a Application>,
    /// Its policies name the groups that they name now: what the journal says of who was in them holds for it too.
    pub same_policies: bool,
}

impl Case<'_> {
    /// Whether what it decides may depend on this attribute.
    fn reads(&self, attribute: &str) -> bool {
        let condition = self.new.scope.condition.as_ref();
        attribute == "active"
            || self.new.mapping.reads(attribute)
            || condition.is_some_and(|condition| condition.reads(attribute))
    }

    fn conceals(&self, attribute: &str) -> bool {
        let conceals = |application: &Application| application.mapping.conceals(attribute);
        conceals(self.new) || self.old.is_some_and(conceals)
    }
}

/// A person as the directory has them now.
#[derive(Debug, Default)]
pub struct Present {
    /// `None`: not any more.
    pub resource: Option<Resource>,
    /// What the new policies come to by the memberships of now, for each application; empty where they are gone.
    pub assigned: Vec<Assigned>,
}

/// One application's side of it.
#[derive(Debug)]
struct Place {
    link: Option<Link>,
    /// When to look again although nothing changes.
    again: Option<Timestamp>,
    /// What the account held before is not known.
    blind: bool,
    /// So far the same was planned as was done: the account is as the journal shows it.
    same: bool,
    /// What the journal has shown last of whether they were in a policy's group.
    assigned: Option<Assigned>,
    then: Course,
    now: Course,
    unsaid: Option<String>,
}

/// A person on the way through their records.
#[derive(Debug)]
pub struct Person<'a> {
    cases: &'a [Case<'a>],
    past: Past,
    present: Present,
    /// As they are at this point.
    user: Resource,
    /// Attributes of them that are not known at this point.
    unknown: BTreeSet<String>,
    /// One for each case.
    places: Vec<Place>,
    /// What the journal says of applications that are not among the cases.
    others: BTreeMap<String, Course>,
    /// The new configuration refused to have them.
    absent: bool,
    /// The last write that was gone through.
    seen: u64,
}

impl<'a> Person<'a> {
    /// As they were before the first record.
    #[must_use]
    pub fn begin(cases: &'a [Case<'a>], past: Past, present: Present) -> Self {
        let now = present.resource.as_ref();
        let (attributes, unknown) = past.before(now);
        let places = cases.iter().map(|case| Place {
            link: before(case, &past, now, &attributes, &unknown),
            again: None,
            blind: unknown.iter().any(|name| case.reads(name)),
            same: true,
            assigned: None,
            then: Course::default(),
            now: Course::default(),
            unsaid: None,
        });
        let places = places.collect();
        let user = Resource {
            handle: now.map_or(Handle(0), |now| now.handle),
            id: Id::from(past.id()),
            kind: Kind::User,
            version: 1,
            created: Timestamp(0),
            modified: Timestamp(0),
            owner: now.map(|now| now.owner.clone()).unwrap_or_default(),
            deleted: None,
            attributes,
            links: Vec::new(),
        };
        Self {
            cases,
            past,
            present,
            user,
            unknown,
            places,
            others: BTreeMap::new(),
            absent: false,
            seen: 0,
        }
    }

    /// Goes through their next record.
    pub fn take(&mut self, record: &Record) {
        self.pass(record.time);
        for delivery in &record.deliveries {
            let named = |case: &Case<'_>| case.new.name() == delivery.application;
            let course = match self.cases.iter().position(named) {
                Some(at) => self.places.get_mut(at).map(|place| &mut place.then),
                None => Some(self.others.entry(delivery.application.clone()).or_default()),
            };
            if let (Some(course), Some(event)) = (course, Event::of(delivery)) {
                course.hear(event);
            }
        }
        match record.event {
            record::Event::Delivery => {
                for delivery in &record.deliveries {
                    self.deliver(record, delivery);
                }
            }
            record::Event::Request if is_kept(record) => self.write(record),
            record::Event::Request => self.refuse(record),
        }
    }

    /// A client's write that was kept.
    fn write(&mut self, record: &Record) {
        self.seen = record.sequence;
        if !record.client.is_empty() && record.code.as_deref() != Some("undo") {
            record.client.clone_into(&mut self.user.owner);
        }
        if record.operation == Operation::Delete {
            self.user.deleted = Some(record.time);
        } else {
            self.change(&record.changed, record.sequence);
        }
        let linked = self.places.iter().any(|place| place.link.is_some());
        let mut ruled_out = !self.places.is_empty();
        for at in 0..self.cases.len() {
            let then = then(record, self.cases, at);
            let decision = self.step(at, record.time, then);
            ruled_out &= decision.is_some_and(|decision| decision.ruled_out);
        }
        let refuses = |case: &Case<'_>| case.new.config.out_of_scope == OutOfScope::Refuse;
        let giving = matches!(
            record.operation,
            Operation::Create | Operation::Update | Operation::Reactivate
        );
        if ruled_out && !linked && giving && self.cases.iter().any(refuses) {
            self.absent |= record.operation == Operation::Create;
            for place in &mut self.places {
                let reason = place.now.reason.clone().unwrap_or_default();
                let told = format!("the write would have been refused with 403: {reason}");
                place.now.stops("refused", Some(&told), None);
            }
        }
    }

    /// A client's write that an application refused, so that it was not kept: what stands is as before.
    fn refuse(&mut self, record: &Record) {
        let (user, unknown) = (self.user.clone(), self.unknown.clone());
        record.client.clone_into(&mut self.user.owner);
        self.change(&record.changed, record.sequence);
        for at in 0..self.cases.len() {
            let then = then(record, self.cases, at);
            let Some(place) = self.places.get(at).filter(|_| then.is_some()) else {
                continue;
            };
            let stood = (place.link.clone(), place.again);
            self.step(at, record.time, then);
            if let Some(place) = self.places.get_mut(at) {
                (place.link, place.again) = stood;
            }
        }
        (self.user, self.unknown) = (user, unknown);
    }

    /// What a worker did.
    fn deliver(&mut self, record: &Record, delivery: &Delivery) {
        let named = |case: &Case<'_>| case.new.name() == delivery.application;
        let Some(at) = self.cases.iter().position(named) else {
            return;
        };
        let done = wrote(delivery) && record.cause.is_empty();
        if let Some(place) = self.places.get_mut(at).filter(|_| done) {
            // No request asked for it: the account was not as it was left there, which the journal does not tell otherwise.
            match (Deed::of(delivery.operation), &mut place.link) {
                (Some(Deed::Update), Some(link)) => link.sent = None,
                (Some(Deed::Create), link) => *link = None,
                _ => {}
            }
        }
        self.step(at, record.time, Some(delivery));
    }

    /// Does what falls due until then.
    fn pass(&mut self, until: Timestamp) {
        for at in 0..self.places.len() {
            // Twice at most: what has left is deactivated, and then deleted.
            for _ in 0..2 {
                let due = self.places.get(at).and_then(|place| place.again);
                // What a worker was to do then may stand in the next record.
                if let Some(due) = due.filter(|due| due.plus(SLACK) <= until) {
                    self.step(at, due, None);
                }
            }
        }
    }

    fn change(&mut self, changed: &[Changed], sequence: u64) {
        for Changed {
            attribute,
            old,
            new,
        } in changed
        {
            let mut value = new.clone();
            self.unknown.remove(attribute);
            if old.is_none() && new.is_none() {
                let now = self.present.resource.as_ref();
                match now.filter(|_| self.past.is_last(attribute, sequence)) {
                    Some(now) => value = now.attributes.get(attribute).cloned(),
                    None => {
                        self.unknown.insert(attribute.clone());
                    }
                }
            }
            match value {
                Some(value) => self.user.attributes.insert(attribute.clone(), value),
                None => self.user.attributes.remove(attribute),
            };
        }
    }

    /// Plans one application anew, and takes it to be carried out as `then` was where the same goes.
    fn step(&mut self, at: usize, now: Timestamp, then: Option<&Delivery>) -> Option<Decision> {
        let case = self.cases.get(at)?;
        let place = self.places.get_mut(at)?;
        place.again = None;
        if self.absent || place.unsaid.is_some() {
            return None;
        }
        let hidden: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
        if self.user.deleted.is_none() && hidden.iter().any(|name| case.reads(name)) {
            let hidden = hidden.join(", ");
            place.unsaid = Some(format!("the journal does not show {hidden}"));
            return None;
        }
        if then.is_some_and(|then| then.code.as_deref() == Some("unclaimed")) {
            self.user.owner.clear();
        }
        if then.is_some_and(is_taken_over) {
            // The account is another person's now.
            place.link = None;
            return None;
        }
        if place.same {
            place.agree(case, &self.user.attributes, then);
        }
        let stays = self.user.deleted.is_none() && !is_inactive(&self.user.attributes);
        if let Some(then) = then.filter(|_| case.same_policies) {
            place.assigned = assigned(then, stays).or(place.assigned);
        }
        let known = self.present.assigned.get(at).copied();
        let known = match case.new.config.policies.is_empty() {
            true => Some(Assigned::Everybody),
            false => place.assigned.or(known),
        };
        let decide = |assigned| {
            let facts = Facts {
                user: &self.user,
                assigned,
                counting: false,
                now,
            };
            plan_with(case.new, facts, place.link.clone())
        };
        let decision = decide(known.unwrap_or(Assigned::Out));
        // Of no account where both come to the same.
        if known.is_none() && decide(Assigned::In) != decision {
            place.unsaid = Some(String::from(
                "gone from the directory, so that nobody knows in which groups they were",
            ));
            return None;
        }
        place.weigh(case, &decision, then);
        Some(decision)
    }

    /// Ends at `until`, and tells what is different.
    pub fn end(mut self, until: Timestamp, tally: &mut Tally) {
        tally.end.people += 1;
        let (user, id) = (self.past.user.clone(), self.past.id.clone());
        let unsaid = |application: Option<&str>, reason: String| {
            Line::Unsaid(Unsaid {
                user: user.clone(),
                id: id.clone(),
                application: application.map(str::to_owned),
                reason,
            })
        };
        if let Some(reason) = self.past.unsaid(self.present.resource.as_ref()) {
            tally.end.unsaid += 1;
            tally.tell(unsaid(None, reason));
            return;
        }
        self.pass(until);
        let (mut differs, mut is_unsaid) = (false, false);
        let mut tell = |tally: &mut Tally, name: &str, place: &Place, attributes: Vec<Differs>| {
            let Place { then, now, .. } = place;
            tally.count(name, then, now);
            if then.is_as(now) && attributes.is_empty() {
                return;
            }
            differs = true;
            tally.tell(Line::Person(Different {
                user: user.clone(),
                id: id.clone(),
                application: name.to_owned(),
                then: then.side(),
                now: now.side(),
                attributes,
            }));
        };
        for (at, case) in self.cases.iter().enumerate() {
            let Some(place) = self.places.get_mut(at) else {
                continue;
            };
            let name = case.new.name();
            if let Some(reason) = place.unsaid.take() {
                is_unsaid = true;
                tally.tell(unsaid(Some(name), reason));
                continue;
            }
            let waits = place.then.pending.is_some();
            place.then.close();
            place.now.close();
            let is_last = self.seen == self.past.last;
            let now = self.present.resource.as_ref();
            let stands = now
                .filter(|_| is_last && !waits)
                .and_then(|now| now.link(name));
            let attributes = stands
                .map(|stands| attributes(case, place, stands, &self.user.attributes))
                .unwrap_or_default();
            tell(tally, name, place, attributes);
        }
        for (name, mut then) in std::mem::take(&mut self.others) {
            then.close();
            let mut now = Course::default();
            if then.deeds.is_empty() {
                now.stopped.clone_from(&then.stopped);
            } else {
                let reason = "the new configuration has no application of this name: nothing goes there, and nothing is taken away";
                now.stops("not_configured", Some(reason), None);
            }
            let place = Place {
                link: None,
                again: None,
                blind: false,
                same: false,
                assigned: None,
                then,
                now,
                unsaid: None,
            };
            tell(tally, &name, &place, Vec::new());
        }
        tally.end.differ += u64::from(differs);
        tally.end.unsaid += u64::from(is_unsaid);
    }
}

impl Place {
    /// Takes the account to be as a record shows it, while nothing else was done here than there: what became of a call
    /// whose answer was lost, or was done there by somebody else, shows in no other way.
    fn agree(&mut self, case: &Case<'_>, user: &Map<String, Value>, then: Option<&Delivery>) {
        let Some((then, deed)) = then.and_then(|then| Some((then, Deed::of(then.operation)?)))
        else {
            return;
        };
        let code = then.code.as_deref().unwrap_or_default();
        let there = || Link {
            origin: Origin::Created,
            ..Link::imported(case.new.name(), "replayed", None, Some(true))
        };
        match (deed, code) {
            (_, "superseded" | "unclaimed" | "unknown_group") => {}
            (Deed::Create, _) | (_, "no_account") => self.link = None,
            (deed, _) => {
                let link = self.link.get_or_insert_with(there);
                let away = is_away(then);
                let was = link.state == State::Deactivated;
                let back = was && (deed == Deed::Update || deed == Deed::Deactivate && wrote(then));
                if away != was && (away || back) {
                    link.state = if away {
                        State::Deactivated
                    } else {
                        State::Active
                    };
                    link.sent = None;
                }
                let rests = matches!(Event::of(then), Some(Event::Rests));
                if link.sent.is_none() && link.state == State::Active && rests && !self.blind {
                    link.sent = Some(case.new.mapping.run(user, Giving::Create).account);
                }
            }
        }
    }

    /// What a decision comes to.
    fn weigh(&mut self, case: &Case<'_>, decision: &Decision, then: Option<&Delivery>) {
        let blind = std::mem::take(&mut self.blind);
        let Some(deed) = Deed::of(decision.operation) else {
            return;
        };
        let note = decision.note.as_ref();
        let code = note.map(|note| note.code);
        let reason = note.map(|note| note.reason.as_str());
        let same = then.filter(|then| Deed::of(then.operation) == Some(deed));
        self.again = decision.again;
        let event = match (&decision.act, note) {
            (Act::Nothing, None) => Event::Rests,
            (Act::Nothing, Some(note)) if note.status == Status::Queued => Event::Waits,
            (Act::Nothing, Some(note)) if note.status == Status::Held => {
                Event::Does(deed, code, reason)
            }
            (Act::Nothing, Some(note)) => Event::Stops(note.code, reason, None),
            _ if case.new.config.mode == Mode::Simulate => {
                Event::Stops("simulate", reason, Some(deed))
            }
            _ if blind && deed == Deed::Update && !same.is_some_and(acts) => {
                self.unsaid = Some(String::from(
                    "the journal does not show what an attribute was before, so that nobody knows whether the account would change",
                ));
                return;
            }
            // It answers as it did where the same is asked of it.
            _ => match same.and_then(answered) {
                Some(answer) => {
                    self.again = None;
                    answer
                }
                None => Event::Does(deed, code, reason),
            },
        };
        let kept = decision.act == Act::Nothing || case.new.config.mode == Mode::Live;
        if kept {
            self.link.clone_from(&decision.link);
        }
        if decision.act != Act::Nothing && kept && same.and_then(answered).is_none() {
            self.link = carried(case, decision);
        }
        let lost = same.is_some_and(|same| same.status == Status::Unknown);
        if let Some(link) = self.link.as_mut().filter(|_| lost) {
            // Nobody knows what it holds.
            link.sent = None;
        }
        let there = then.map_or(Some(Event::Rests), Event::of);
        self.same &= there.is_none_or(|there| there.is_as(event));
        self.now.hear(event);
    }
}

/// How an application answered what did not take effect, or not for certain; `None`: it did as it was asked.
fn answered(then: &Delivery) -> Option<Event<'_>> {
    let its = match (then.status, then.code.as_deref()) {
        (Status::Queued | Status::Held | Status::Unknown, _) => true,
        (Status::Failure, code) => code != Some("missing"),
        // Skipped for what it answered, and not for what a configuration says.
        (Status::Skipped, Some("unsupported")) => true,
        (Status::Skipped, Some("simulate")) => false,
        (Status::Skipped, _) => !then.calls.is_empty(),
        (Status::Success | Status::Warning, _) => false,
    };
    its.then(|| Event::of(then)).flatten()
}

/// What the journal says of an application at a record.
fn then<'r>(record: &'r Record, cases: &[Case<'_>], at: usize) -> Option<&'r Delivery> {
    let name = cases.get(at)?.new.name();
    let mut all = record.deliveries.iter();
    all.find(|delivery| delivery.application == name)
}

fn is_inactive(attributes: &Map<String, Value>) -> bool {
    attributes.get("active") == Some(&Value::Bool(false))
}

/// Whether an entry says of an account that it is deactivated already.
fn is_away(delivery: &Delivery) -> bool {
    match (delivery.operation, delivery.code.as_deref()) {
        (Operation::Reactivate, _) | (Operation::Deactivate, Some("unchanged")) => true,
        (Operation::Delete, Some("delete_after")) => !wrote(delivery),
        _ => false,
    }
}

/// Whether a new user of the same name has taken the account of somebody deleted over.
fn is_taken_over(delivery: &Delivery) -> bool {
    delivery.operation == Operation::Delete && delivery.code.as_deref() == Some("superseded")
}

/// Whether something went, or was to go.
fn acts(delivery: &Delivery) -> bool {
    wrote(delivery) || matches!(delivery.status, Status::Queued | Status::Held)
}

/// What an entry shows of whether the person was in a policy's group; `None`: it says nothing of that. `stays`: no client
/// has deactivated or deleted them.
fn assigned(delivery: &Delivery, stays: bool) -> Option<Assigned> {
    let code = delivery.code.as_deref();
    let gives = match Deed::of(delivery.operation)? {
        Deed::Create | Deed::Update | Deed::Reactivate => true,
        Deed::Deactivate | Deed::Delete => false,
    };
    match (delivery.status, code) {
        (_, Some("not_assigned")) => Some(Assigned::Out),
        (_, Some("unknown_group")) => Some(Assigned::Unknown),
        (_, Some("group_deleted")) => Some(Assigned::Deleted),
        (_, Some("superseded")) => None,
        // What is decided only of those who are in it.
        (
            Status::Skipped,
            Some("inactive" | "simulate" | "create_off" | "update_off" | "protected"),
        ) => gives.then_some(Assigned::In),
        (Status::Skipped, _) => None,
        _ if gives => Some(Assigned::In),
        // Whoever leaves without that left the groups, or is ruled out whatever their groups are.
        _ => stays.then_some(Assigned::Out),
    }
}

/// The link before the first record, as that record shows it.
fn before(
    case: &Case<'_>,
    past: &Past,
    now: Option<&Resource>,
    attributes: &Map<String, Value>,
    unknown: &BTreeSet<String>,
) -> Option<Link> {
    let name = case.new.name();
    let inactive = is_inactive(attributes);
    let known = now.and_then(|now| now.link(name));
    let mut link = match past.first(name) {
        None => known.cloned()?,
        Some(first) => {
            let nobody = first.code.as_deref() == Some("no_account");
            let state = match Deed::of(first.operation)? {
                Deed::Create => return None,
                _ if nobody => return None,
                _ if inactive || is_away(first) => State::Deactivated,
                Deed::Update | Deed::Reactivate | Deed::Deactivate | Deed::Delete => State::Active,
            };
            let remote = first.remote_id.as_deref().unwrap_or("replayed");
            let seen = known.and_then(|link| link.seen_name.as_deref());
            let mut link = Link::imported(name, remote, seen, Some(state == State::Active));
            if first.code.as_deref() != Some("unclaimed") {
                link.origin = known.map_or(Origin::Created, |known| known.origin);
            }
            link
        }
    };
    link.uncertain = None;
    link.untaken = None;
    link.fresh = false;
    let shown = !unknown.iter().any(|name| case.reads(name));
    let holds = link.state != State::Deactivated && shown;
    // As if the new configuration had been in force before: what it makes of the requests is the question.
    link.sent = holds.then(|| case.new.mapping.run(attributes, Giving::Create).account);
    if link.state != State::Deactivated {
        link.state = State::Active;
    }
    Some(link)
}

/// The link once a decision is carried out.
fn carried(case: &Case<'_>, decision: &Decision) -> Option<Link> {
    let mut link = match (&decision.act, &decision.link) {
        (Act::Delete, _) => return None,
        (_, Some(link)) => link.clone(),
        (act, None) => {
            let seen = act.account().and_then(user_name);
            Link::imported(case.new.name(), "replayed", seen, Some(true))
        }
    };
    if link.origin == Origin::Imported {
        link.origin = Origin::Created;
    }
    link.uncertain = None;
    link.fresh = false;
    link.sent = decision.act.account().cloned();
    link.state = match decision.act {
        Act::Deactivate => State::Deactivated,
        _ => State::Active,
    };
    Some(link)
}

/// What an account that stands would hold instead of what was sent to it last.
fn attributes(
    case: &Case<'_>,
    place: &Place,
    stands: &Link,
    user: &Map<String, Value>,
) -> Vec<Differs> {
    let live = case.new.config.mode == Mode::Live;
    let ours = place.link.as_ref().map(|link| link.state);
    let (Some(sent), State::Active, Some(State::Active), true) =
        (&stands.sent, stands.state, ours, live)
    else {
        return Vec::new();
    };
    let leaves = |link: &Link| link.removal.is_some();
    let settled = stands.uncertain.is_none() && stands.untaken.is_none() && !leaves(stands);
    let stops = place.now.stopped.is_some() || place.link.as_ref().is_some_and(leaves);
    if !settled || stops {
        return Vec::new();
    }
    let mapping = &case.new.mapping;
    let how = Giving::Update {
        current: Some(sent),
    };
    let mut account = mapping.run(user, how).account;
    mapping.clear(sent, &mut account);
    if mapping.same(sent, &account) {
        return Vec::new();
    }
    let names: BTreeSet<&String> = sent.keys().chain(account.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let one = |all: &Map<String, Value>| -> Map<String, Value> {
            let value = all.get(name).cloned();
            value
                .map(|value| (name.clone(), value))
                .into_iter()
                .collect()
        };
        if mapping.same(&one(sent), &one(&account)) {
            continue;
        }
        let conceals = case.conceals(name);
        let mut tell = |attribute: String, then: Option<&Value>, now: Option<&Value>| {
            if then != now {
                found.push(Differs {
                    attribute,
                    then: then.filter(|_| !conceals).cloned(),
                    now: now.filter(|_| !conceals).cloned(),
                });
            }
        };
        let empty = Map::new();
        let parts = |all: &'_ Map<String, Value>| all.get(name).is_none_or(Value::is_object);
        if !(parts(sent) && parts(&account)) {
            tell(name.clone(), sent.get(name), account.get(name));
            continue;
        }
        let object = |all: &'_ Map<String, Value>| {
            let object = all.get(name).and_then(Value::as_object);
            object.unwrap_or(&empty).clone()
        };
        let (then, now) = (object(sent), object(&account));
        let dot = if name.contains(':') { ':' } else { '.' };
        let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        for key in keys {
            tell(format!("{name}{dot}{key}"), then.get(key), now.get(key));
        }
    }
    found
}
