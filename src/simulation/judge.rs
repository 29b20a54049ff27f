//! The end of a history: what should be against what is.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Member, group_name};
use super::server::There;
use super::world::World;
use crate::clock::Timestamp;
use crate::journal::record::Event;
use crate::journal::report::Query;
use crate::policy::assignment::Assigned;
use crate::provision::link::{Link, State};
use crate::scim::{Handle, Kind};
use crate::settle::Engine;
use crate::store::{Key, View};

impl World {
    /// Everything that was promised, now that faults are over and time has passed.
    pub(super) fn judge(&mut self, engine: &Engine, now: Timestamp) {
        self.now = now;
        let view = match engine.store.view() {
            Ok(view) => view,
            Err(fault) => return self.breaks(format!("no view: {fault:?}")),
        };
        self.read_back(&view, now);
        self.touch(now);
        for at in 0..self.applications.len() {
            self.judge_accounts(&view, engine, at);
            self.judge_groups(&view, engine, at);
            self.judge_marks(&view, at, now);
        }
        let left = engine.store.intents_for_tests().len();
        if left > 0 {
            self.breaks(format!("{left} intents are left"));
        }
        self.judge_journal(&view);
    }

    fn judge_accounts(&mut self, view: &View, engine: &Engine, at: usize) {
        let one = &self.applications[at];
        let (name, accounts) = (one.name, one.place.accounts());
        let in_groups = self.groups.beneath(&one.bound);
        let policies = &engine.applications[at].plan.config.policies;
        for person in 1..self.people.names.len() {
            let user_name = self.people.names[person].clone();
            let theirs: Vec<&There> = accounts.iter().filter(|it| it.name == user_name).collect();
            let state = &self.people.all[person].may_be[0];
            let (version, title) = (state.version, format!("T{}", state.title));
            let drops_titles = self.applications[at].drops_titles;
            let handle = self.people.all[person]
                .id
                .as_ref()
                .and_then(|id| view.find(&Key::Id(Kind::User, id)).ok()?);
            if self.wanted(at, person, &in_groups) {
                let is_well = matches!(theirs.as_slice(), [it] if it.active && !it.pending
                    && it.display.ends_with(&format!(" v{version}"))
                    && (drops_titles || it.title == title));
                let link = handle.and_then(|it| view.resource(it).ok()?);
                let untaken = |link: &Link| link.untaken.is_some();
                // A pending account was deleted and nobody heard it: what is denied then is taken for pending still, and
                // never made again. A person is told.
                let deleted = &self.applications[at].deleted;
                let denied = |link: &Link| {
                    let id = link.remote_id.as_ref();
                    link.state == State::Pending && id.is_some_and(|id| deleted.contains(id))
                };
                let link_there = link.as_ref().and_then(|it| it.link(name));
                if !is_well && link_there.is_some_and(denied) {
                    self.count("pending and gone");
                } else if !is_well && link_there.is_some_and(untaken) {
                    // It was refused once, the journal says why, and it is asked for again with the next change.
                    self.count("not taken");
                } else if !is_well {
                    let mark = handle.and_then(|it| view.mark(it, name).ok()?);
                    let link = link.and_then(|it| it.link(name).cloned());
                    self.breaks(format!("{name}: {user_name} should be there with v{version} {title}, and there is {theirs:?}; {link:?} {mark:?}"));
                }
                continue;
            }
            let Some(there) = theirs.iter().find(|it| it.active && !it.pending) else {
                continue;
            };
            let link = link_of(view, name, &there.id).or_else(|| {
                // Nobody knows the account's id, because what created it was never heard.
                let account = user_name.as_str();
                let orphan = view
                    .find(&Key::Orphan {
                        application: name,
                        account,
                    })
                    .ok()?;
                let handle = handle.or(orphan)?;
                let link = view.resource(handle).ok()??.link(name).cloned()?;
                Some((handle, link))
            });
            let held = link.as_ref().is_some_and(|(_, link)| {
                link.kept
                    || link.untaken.is_some()
                    || link.removal.as_ref().is_some_and(|it| it.held.is_some())
            });
            let selectors = policies.iter().map(|policy| &policy.group);
            let unknown = handle.is_some_and(|it| {
                view.assigned(name, selectors, it)
                    .is_ok_and(|it| it == Assigned::Unknown)
            }) && self.people.is_active(person);
            if held {
                self.count("held at the end");
            } else if !unknown {
                let mark = link.as_ref().map(|(handle, _)| view.mark(*handle, name));
                self.breaks(format!(
                    "{name}: {user_name} should be gone, and there is {there:?}; {link:?} {mark:?}"
                ));
            }
        }
    }

    fn judge_groups(&mut self, view: &View, engine: &Engine, at: usize) {
        let one = &self.applications[at];
        let pushed = !engine.applications[at].plan.config.groups.push.is_empty();
        let (name, accounts, groups) = (one.name, one.place.accounts(), one.place.groups());
        let in_groups = self.groups.beneath(&one.bound);
        let by_id: BTreeMap<&str, &str> = accounts
            .iter()
            .map(|it| (it.id.as_str(), it.name.as_str()))
            .collect();
        for number in 0..self.groups.all.len() {
            let state = self.groups.all[number].may_be[0].clone();
            for renamed in [false, true] {
                let title = group_name(number, renamed);
                let mut theirs: Vec<&There> = groups.iter().filter(|it| it.name == title).collect();
                let wanted = pushed && state.exists && state.renamed == renamed;
                if !wanted && theirs.iter().all(|it| it.members.is_empty()) {
                    // What was found there is not ours to delete: its members went, and the group stays.
                    if !theirs.is_empty() {
                        self.count("groups left");
                    }
                    continue;
                }
                if theirs.len() > 1 {
                    // One that stayed so may have the name that another one is given.
                    let ours = |it: &There| {
                        let key = Key::RemoteGroup {
                            application: name,
                            remote_id: &it.id,
                        };
                        !it.members.is_empty() || view.find(&key).is_ok_and(|it| it.is_some())
                    };
                    theirs.retain(|it| ours(it));
                    self.count("groups left");
                }
                if theirs.len() != usize::from(wanted) {
                    let id = self.groups.all[number].id.as_ref();
                    let handle = id.and_then(|id| view.find(&Key::Id(Kind::Group, id)).ok()?);
                    let mark = handle.map(|it| view.mark(it, name));
                    let link =
                        handle.and_then(|it| Some(view.resource(it).ok()??.link(name).cloned()));
                    self.breaks(format!(
                        "{name}: there are {} groups {title}, wanted {wanted}; {link:?} {mark:?}",
                        theirs.len()
                    ));
                    continue;
                }
                let [there] = theirs.as_slice() else {
                    continue;
                };
                let members: BTreeSet<&str> = there
                    .members
                    .iter()
                    .filter_map(|it| by_id.get(it.as_str()).copied())
                    .collect();
                for person in 1..self.people.names.len() {
                    let user_name = self.people.names[person].clone();
                    let is = members.contains(user_name.as_str());
                    let should = state.members.contains(&Member::Person(person));
                    let has_account = self.wanted(at, person, &in_groups);
                    if (is && !should) || (!is && should && has_account) {
                        self.breaks(format!(
                            "{name}: {user_name} in {title}: is {is}, should be {should}"
                        ));
                    }
                }
            }
        }
    }

    fn judge_marks(&mut self, view: &View, at: usize, now: Timestamp) {
        let name = self.applications[at].name;
        match view.due(name, now, 10) {
            Ok(due) if due.is_empty() => {}
            other => self.breaks(format!("{name}: marks are due at the end: {other:?}")),
        }
        let held = view
            .tally(name)
            .map(|tally| tally.holds)
            .unwrap_or_default();
        if let Ok(parked) = view.parked(name)
            && (parked.len() as u64) > held
        {
            self.breaks(format!(
                "{name}: {held} removals are held, and these marks are never due: {parked:?}"
            ));
        }
        match view.sets(name) {
            Ok(sets) if sets.is_empty() => {}
            other => self.breaks(format!("{name}: sets are left: {other:?}")),
        }
        match view.sweep(name) {
            Ok(None) => {}
            other => self.breaks(format!("{name}: a sweep is left: {other:?}")),
        }
    }

    fn judge_journal(&mut self, view: &View) {
        let last = view.last_sequence().unwrap_or(0);
        match view.verify_chain(1, last) {
            Ok(None) => {}
            other => self.breaks(format!("the journal's chain breaks: {other:?}")),
        }
        let mut requests: BTreeMap<String, usize> = BTreeMap::new();
        for sequence in 1..=last {
            match view.record(sequence) {
                Ok(Some(record)) if record.event == Event::Request => {
                    *requests.entry(record.request).or_default() += 1;
                }
                Ok(Some(_)) => self.count("deliveries"),
                other => self.breaks(format!("record {sequence} cannot be read: {other:?}")),
            }
        }
        self.judge_rows(view);
        let mut acknowledged: BTreeMap<String, usize> = BTreeMap::new();
        for request in std::mem::take(&mut self.acknowledged) {
            *acknowledged.entry(request).or_default() += 1;
        }
        for (request, times) in acknowledged {
            let there = requests.get(&request).copied().unwrap_or(0);
            if there < times {
                self.breaks(format!(
                    "{request} was acknowledged {times} times and is in the journal {there} times"
                ));
            }
        }
    }

    /// Whose end the report does not know yet has a mark that will settle it.
    fn judge_rows(&mut self, view: &View) {
        let mut waited = BTreeSet::new();
        let mut from = Some(Handle(0));
        while let Some(start) = from {
            let page = view.everybody(start, 100, |it| {
                let marks = view.marks(it.handle)?;
                let causes = marks.into_iter().flat_map(|mark| {
                    let named = move |cause| (mark.application.clone(), cause);
                    mark.cause.into_iter().map(named)
                });
                waited.extend(causes);
                Ok(())
            });
            from = page.unwrap_or_default();
        }
        let all = Query {
            limit: usize::MAX,
            ..Query::default()
        };
        let rows = view.journal(&all).unwrap_or_default();
        for row in rows.iter().filter(|row| row.status.is_open()) {
            let Some(application) = row.application.clone() else {
                continue;
            };
            if !waited.contains(&(application, row.sequence)) {
                self.breaks(format!("nobody settles it any more: {row:?}"));
            }
        }
    }
}

/// Whose an account is, tombstones too.
fn link_of(view: &View, application: &str, remote_id: &str) -> Option<(Handle, Link)> {
    let key = Key::Remote {
        application,
        remote_id,
    };
    let handle = view.find(&key).ok()??;
    let link = view.resource(handle).ok()??.link(application).cloned()?;
    Some((handle, link))
}
