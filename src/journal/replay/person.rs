//! One person's records, gone through again under another configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::account::{attributes, before};
use super::belonging::{Belonging, Unclear};
use super::case::Case;
use super::past::{Past, is_kept};
use super::place::{Moved, Place, Waiting, assigned, is_inactive, is_superseded, is_taken_over};
use super::{Course, Deed, Different, Differs, Event, Line, Tally, Unsaid, wrote};
use crate::clock::Timestamp;
use crate::config::shape::OutOfScope;
use crate::journal::record::{self, Changed, Delivery, Operation, Record};
use crate::policy::assignment::Assigned;
use crate::provision::plan::{Decision, Facts, plan_with};
use crate::scim::{Handle, Id, Kind, Resource};

/// So long after something fell due its record may still come.
const SLACK: Duration = Duration::from_secs(15 * 60);

/// A person as the directory has them now.
#[derive(Debug, Default)]
pub struct Present {
    /// `None`: not any more.
    pub resource: Option<Resource>,
    /// Where they belonged by the new policies.
    pub belonging: Belonging,
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
    /// What a worker began by itself, and has not ended yet.
    unasked: BTreeSet<u64>,
}

impl<'a> Person<'a> {
    /// As they were before the first record.
    #[must_use]
    pub fn begin(cases: &'a [Case<'a>], past: Past, present: Present) -> Self {
        let now = present.resource.as_ref();
        let (attributes, unknown) = past.before(now);
        let begin = &present.belonging.begin;
        let places = cases.iter().enumerate().map(|(at, case)| Place {
            link: before(case, &past, now, &attributes, &unknown),
            again: None,
            blind: unknown.iter().any(|name| case.reads(name)),
            same: true,
            stood: begin.get(at).copied().unwrap_or(Err(Unclear::Gone)),
            assigned: None,
            moved: None,
            then: Course::default(),
            now: Course::default(),
            unsaid: None,
            waiting: Vec::new(),
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
            unasked: BTreeSet::new(),
        }
    }

    /// Goes through their next record.
    pub fn take(&mut self, record: &Record) {
        self.turn(record.sequence, Timestamp::NEVER);
        self.pass(record.time);
        for delivery in &record.deliveries {
            let named = |case: &Case<'_>| case.new.name() == delivery.application;
            if self.only_looks(record, delivery) {
                return;
            }
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
            record::Event::Members => {}
        }
    }

    /// Whether a worker only wanted to see an account that was made before, and did not come to it.
    fn only_looks(&self, record: &Record, delivery: &Delivery) -> bool {
        let named = |case: &Case<'_>| case.new.name() == delivery.application;
        let at = self.cases.iter().position(named);
        let place = at.and_then(|at| self.places.get(at));
        record.event == record::Event::Delivery
            && delivery.operation == Operation::Update
            && delivery.status.is_open()
            && !wrote(delivery)
            && place.is_some_and(|place| place.then.is_unseen())
    }

    /// A client's write that was kept.
    fn write(&mut self, record: &Record) {
        self.seen = record.sequence;
        self.waits(record);
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

    /// Which applications a write waits for, before it changes anything.
    fn waits(&mut self, record: &Record) {
        for (at, place) in self.places.iter_mut().enumerate() {
            let Some(then) = then(record, self.cases, at) else {
                continue;
            };
            place.settled(record, then);
            if then.status.is_open() {
                place.waiting.push(Waiting {
                    sequence: record.sequence,
                    before: self.user.clone(),
                    unknown: self.unknown.clone(),
                });
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
        let mut overtaken = None;
        if let Some(place) = self.places.get_mut(at) {
            overtaken = place.overtaken(record, delivery).cloned();
            place.settled(record, delivery);
        }
        if is_superseded(delivery) {
            return;
        }
        let asked = record.cause.iter().any(|it| !self.unasked.contains(it));
        if record.cause.is_empty() && delivery.status.is_open() {
            self.unasked.insert(record.sequence);
        }
        let done = wrote(delivery) && !asked;
        if let Some(place) = self.places.get_mut(at).filter(|_| done) {
            // No request asked for it: the account was not as it was left there, which the journal does not tell otherwise.
            match (Deed::of(delivery.operation), &mut place.link) {
                (Some(Deed::Update), Some(link)) => link.sent = None,
                (Some(Deed::Create), link) => *link = None,
                _ => {}
            }
        }
        let Some(Waiting {
            before, unknown, ..
        }) = overtaken
        else {
            self.step(at, record.time, Some(delivery));
            return;
        };
        let now = std::mem::replace(&mut self.user, before);
        let unknown_now = std::mem::replace(&mut self.unknown, unknown);
        self.step(at, record.time, Some(delivery));
        (self.user, self.unknown) = (now, unknown_now);
    }

    /// Takes what groups gave and took up to a record, and before `until`.
    fn turn(&mut self, sequence: u64, until: Timestamp) {
        loop {
            let turns = &mut self.present.belonging.turns;
            let next = turns.front();
            if next.is_none_or(|next| next.sequence > sequence || next.time >= until) {
                return;
            }
            let Some(turn) = turns.pop_front() else {
                return;
            };
            self.pass(turn.time);
            for (at, stood) in turn.stood.iter().enumerate() {
                let differs = |place: &Place| place.stood != *stood;
                if !self.places.get(at).is_some_and(differs) {
                    continue;
                }
                self.settle(at, |case, _| !case.same_policies);
                if let Some(place) = self.places.get_mut(at) {
                    place.stood = *stood;
                    place.assigned = None;
                    let stays = self.user.deleted.is_none() && !self.absent;
                    place.moved = stays.then_some(Moved {
                        time: turn.time,
                        quiet: turn.quiet,
                    });
                }
            }
        }
    }

    /// Goes through what a group gave or took, if it waits for that still and `when` says so.
    fn settle(&mut self, at: usize, when: impl Fn(&Case<'_>, Timestamp) -> bool) {
        let moved = self.places.get(at).and_then(|place| place.moved);
        if let (Some(case), Some(moved)) = (self.cases.get(at), moved)
            && when(case, moved.time)
        {
            self.step(at, moved.time, None);
        }
    }

    /// Does what falls due until then.
    fn pass(&mut self, until: Timestamp) {
        for at in 0..self.places.len() {
            // Under the same policies a worker's record of it comes, however long that takes.
            self.settle(at, |case, time| {
                !case.same_policies && time.plus(SLACK) <= until
            });
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
        let moved = place.moved.take();
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
        let then_shown = then.filter(|_| case.same_policies);
        let shown = then_shown.and_then(|then| assigned(then, stays));
        place.assigned = shown.or(place.assigned);
        let gaps = self.present.belonging.gaps;
        let known = match (case.new.config.policies.is_empty(), place.assigned) {
            (true, _) => Ok(Assigned::Everybody),
            // A worker may have decided before a membership moved that stands before its record.
            (false, Some(assigned)) if shown.is_some() || gaps || place.stood.is_err() => {
                Ok(assigned)
            }
            (false, _) => place.stood,
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
        let decision = match known {
            Ok(assigned) => decide(assigned),
            Err(unclear) => {
                let [one, other] = unclear.between().map(decide);
                // Of no account where both come to the same.
                if one != other {
                    place.unsaid = Some(unclear.reason().to_owned());
                    return None;
                }
                one
            }
        };
        place.weigh(case, &decision, then, moved);
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
        self.turn(u64::MAX, until);
        for at in 0..self.places.len() {
            self.settle(at, |case, time| {
                !case.same_policies || time.plus(SLACK) <= until
            });
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
                stood: Ok(Assigned::Everybody),
                assigned: None,
                moved: None,
                then,
                now,
                unsaid: None,
                waiting: Vec::new(),
            };
            tell(tally, &name, &place, Vec::new());
        }
        tally.end.differ += u64::from(differs);
        tally.end.unsaid += u64::from(is_unsaid);
    }
}

/// What the journal says of an application at a record.
fn then<'r>(record: &'r Record, cases: &[Case<'_>], at: usize) -> Option<&'r Delivery> {
    let name = cases.get(at)?.new.name();
    let mut all = record.deliveries.iter();
    all.find(|delivery| delivery.application == name)
}
