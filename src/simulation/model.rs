//! What clients know that they said: of each person and group one state, or, where no answer came, one of several.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::world::World;
use crate::clock::Timestamp;
use crate::scim::{Handle, Kind};
use crate::store::{Key, Lookup, View};

/// A person, as clients left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) exists: bool,
    pub(super) active: bool,
    pub(super) version: u64,
    /// One of two: what comes back to a former value is another change than what is new.
    pub(super) title: u64,
}

/// A group, as clients left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) exists: bool,
    /// Its second name.
    pub(super) renamed: bool,
    pub(super) members: BTreeSet<Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    Person(usize),
    Group(usize),
}

/// What may be, and who is asking for something else.
#[derive(Debug)]
pub(super) struct Known<T> {
    pub(super) may_be: Vec<T>,
    pub(super) busy: bool,
    /// The outward id, while it exists.
    pub(super) id: Option<String>,
}

#[derive(Debug)]
pub(super) struct People {
    pub(super) all: Vec<Known<Person>>,
    /// For each: since when nothing older than which version may be the last.
    since: Vec<Vec<(Timestamp, u64)>>,
    /// userNames.
    pub(super) names: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Groups {
    pub(super) all: Vec<Known<Group>>,
}

/// The number behind the last `v` of a displayName.
pub(super) fn version_of(display: &str) -> Option<u64> {
    display.rsplit_once(" v")?.1.parse().ok()
}

pub(super) fn group_name(number: usize, renamed: bool) -> String {
    format!("team-{number}{}", if renamed { "b" } else { "" })
}

impl People {
    pub(super) fn new(names: Vec<String>) -> Self {
        let nobody = |_: &String| Known {
            may_be: vec![Person {
                exists: false,
                active: false,
                version: 0,
                title: 0,
            }],
            busy: false,
            id: None,
        };
        Self {
            all: names.iter().map(nobody).collect(),
            since: vec![Vec::new(); names.len()],
            names,
        }
    }

    pub(super) fn named(&self, user_name: &str) -> Option<usize> {
        self.names.iter().position(|name| name == user_name)
    }

    /// The oldest version that may be the last one; nothing is too old for one who may not exist.
    pub(super) fn least(&self, person: usize) -> u64 {
        let versions = self.all[person].may_be.iter();
        versions
            .map(|state| if state.exists { state.version } else { 0 })
            .min()
            .unwrap_or(0)
    }

    /// Notes what is the least now.
    fn note(&mut self, now: Timestamp) {
        for person in 0..self.all.len() {
            let least = self.least(person);
            let since = &mut self.since[person];
            if since.last().is_none_or(|(_, last)| *last != least) {
                since.push((now, least));
            }
        }
    }

    /// The oldest version that an exchange may carry that began no longer than this ago: whoever wrote since was told that
    /// it follows.
    pub(super) fn least_lately(&self, person: usize, now: Timestamp, ago: Duration) -> u64 {
        let mut least = self.least(person);
        for (at, version) in self.since[person].iter().rev() {
            least = least.min(*version);
            if now.since(*at) > ago {
                break;
            }
        }
        least
    }

    pub(super) fn is_active(&self, person: usize) -> bool {
        let mut states = self.all[person].may_be.iter();
        states.all(|state| state.exists && state.active)
    }
}

impl Groups {
    pub(super) fn new(count: usize) -> Self {
        let nothing = |_| Known {
            may_be: vec![Group {
                exists: false,
                renamed: false,
                members: BTreeSet::new(),
            }],
            busy: false,
            id: None,
        };
        Self {
            all: (0..count).map(nothing).collect(),
        }
    }

    /// Everybody who is surely in one of these groups or beneath.
    pub(super) fn beneath(&self, groups: &BTreeSet<usize>) -> BTreeSet<usize> {
        let (mut seen, mut next) = (groups.clone(), groups.iter().copied().collect::<Vec<_>>());
        let mut found = BTreeSet::new();
        while let Some(group) = next.pop() {
            let mut states = self.all[group].may_be.iter();
            let Some(first) = states.next().filter(|one| one.exists) else {
                continue;
            };
            let mut members = first.members.clone();
            for other in states {
                members.retain(|member| other.exists && other.members.contains(member));
            }
            for member in members {
                match member {
                    Member::Person(person) => {
                        found.insert(person);
                    }
                    Member::Group(group) => {
                        if seen.insert(group) {
                            next.push(group);
                        }
                    }
                }
            }
        }
        found
    }

    /// A person or group is gone, and out of every group with it.
    pub(super) fn forget(&mut self, gone: Member) {
        for group in &mut self.all {
            for state in &mut group.may_be {
                state.members.remove(&gone);
            }
        }
    }
}

impl World {
    /// What changed may give or take reasons: notes for whom there is, or may be, one to have no account.
    pub(super) fn touch(&mut self, now: Timestamp) {
        self.now = now;
        self.people.note(now);
        let bindings = match &self.store {
            Some(store) if !self.disk.is_dead() => store
                .view()
                .and_then(|view| self.bound(&view))
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        for at in 0..self.applications.len() {
            let one = &mut self.applications[at];
            if let Some(bound) = bindings.get(at) {
                one.bound.clone_from(bound);
            }
            let in_groups = self.groups.beneath(&one.bound);
            for person in 0..self.people.names.len() {
                if !self.wanted(at, person, &in_groups) {
                    self.applications[at].unwanted.insert(person, now);
                }
            }
        }
    }

    /// Whether an application surely should have somebody.
    pub(super) fn wanted(
        &self,
        application: usize,
        person: usize,
        in_groups: &BTreeSet<usize>,
    ) -> bool {
        let one = &self.applications[application];
        let name = &self.people.names[person];
        let domain = name.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.people.is_active(person)
            && (one.domains.is_empty() || one.domains.iter().any(|it| it == domain))
            && (!one.policies || in_groups.contains(&person))
    }

    /// The groups that each application's policies are bound to.
    fn bound(&self, view: &View) -> Result<Vec<BTreeSet<usize>>, crate::error::Fault> {
        let mut handles: BTreeMap<Handle, usize> = BTreeMap::new();
        for (number, group) in self.groups.all.iter().enumerate() {
            if let Some(id) = &group.id
                && let Some(handle) = view.find(&Key::Id(Kind::Group, id))?
            {
                handles.insert(handle, number);
            }
        }
        let bindings = view.bindings()?;
        let of = |application: &str| {
            let live = bindings
                .iter()
                .filter(|it| it.application == application && it.populated && !it.deleted);
            live.filter_map(|it| handles.get(&it.group).copied())
                .collect()
        };
        Ok(self.applications.iter().map(|it| of(it.name)).collect())
    }

    /// What was written is read back: of everybody whom nobody is changing right now, and after a crash of all, where
    /// what is there then is what is known from now on.
    pub(super) fn read_back(&mut self, view: &View, now: Timestamp) {
        self.now = now;
        for person in 0..self.people.all.len() {
            if self.people.all[person].busy {
                continue;
            }
            let name = self.people.names[person].clone();
            let found = view
                .find(&Key::UserName(&name))
                .and_then(|handle| handle.map_or(Ok(None), |handle| view.resource(handle)));
            let found = match found {
                Ok(found) => found,
                Err(fault) => {
                    self.breaks(format!("{name} cannot be read: {fault:?}"));
                    continue;
                }
            };
            let text = |name: &str| {
                let value = found.as_ref()?.attributes.get(name)?;
                value.as_str().map(str::to_owned)
            };
            let is = Person {
                exists: found.is_some(),
                active: found.as_ref().is_some_and(|one| {
                    one.attributes
                        .get("active")
                        .and_then(serde_json::Value::as_bool)
                        != Some(false)
                }),
                version: text("displayName")
                    .as_deref()
                    .and_then(version_of)
                    .unwrap_or(0),
                title: u64::from(text("title").as_deref() == Some("T1")),
            };
            let known = &mut self.people.all[person];
            let fits = |state: &Person| {
                state.exists == is.exists
                    && (!is.exists
                        || (state.active == is.active
                            && state.version == is.version
                            && state.title == is.title))
            };
            if known.may_be.iter().any(fits) {
                let version = known.may_be.iter().map(|it| it.version).max().unwrap_or(0);
                known.id = found.map(|one| one.id.as_str().to_owned());
                let gone = !is.exists && known.may_be.len() > 1;
                known.may_be = vec![Person {
                    // A name that comes again goes on counting.
                    version: if is.exists { is.version } else { version },
                    ..is
                }];
                if gone {
                    self.groups.forget(Member::Person(person));
                }
            } else {
                let may_be = known.may_be.clone();
                self.breaks(format!("{name} is {is:?}, and should be {may_be:?}"));
                self.people.all[person].may_be = vec![is];
            }
        }
        // First who they are, and who is gone: they stand in each other.
        let mut gone = Vec::new();
        for (number, group) in self.groups.all.iter_mut().enumerate() {
            let names = [false, true].map(|renamed| group_name(number, renamed));
            let found = names.iter().find_map(|name| {
                let handles = view.find_all(Kind::Group, &Lookup::GroupName(name)).ok()?;
                view.row(*handles.first()?, |row| row.id.to_owned()).ok()?
            });
            if !group.busy {
                if found.is_none() && group.may_be.iter().any(|it| !it.exists) {
                    gone.push(Member::Group(number));
                }
                group.id = found;
            }
        }
        for group in gone {
            self.groups.forget(group);
        }
        for group in 0..self.groups.all.len() {
            if !self.groups.all[group].busy
                && let Err(fault) = self.read_group_back(view, group)
            {
                self.breaks(format!("a group cannot be read: {fault:?}"));
            }
        }
    }

    fn read_group_back(&mut self, view: &View, group: usize) -> Result<(), crate::error::Fault> {
        let mut found = None;
        for renamed in [false, true] {
            let name = group_name(group, renamed);
            let handles = view.find_all(Kind::Group, &Lookup::GroupName(&name))?;
            if let Some(handle) = handles.first() {
                found = Some((*handle, renamed));
            }
        }
        let mut is = Group {
            exists: found.is_some(),
            renamed: found.is_some_and(|(_, renamed)| renamed),
            members: BTreeSet::new(),
        };
        let mut id = None;
        if let Some((handle, _)) = found {
            id = view.row(handle, |row| row.id.to_owned())?;
            for (_, member, _) in view.members(handle, None, 10_000)? {
                let member = member.as_str();
                let same = |id: &Option<String>| id.as_deref() == Some(member);
                let person = self.people.all.iter().position(|one| same(&one.id));
                let nested = self.groups.all.iter().position(|one| same(&one.id));
                match (person, nested) {
                    (Some(person), _) => drop(is.members.insert(Member::Person(person))),
                    (None, Some(nested)) => drop(is.members.insert(Member::Group(nested))),
                    (None, None) => self.breaks(format!(
                        "team-{group} has a member {member} that nobody knows"
                    )),
                }
            }
        }
        // Whoever is being deleted or made right now may be in it or not.
        let unsure = |member: &Member| match member {
            Member::Person(person) => self.people.all[*person].busy,
            Member::Group(group) => self.groups.all[*group].busy,
        };
        let known = &self.groups.all[group];
        let fits = |state: &Group| {
            state.exists == is.exists
                && (!is.exists
                    || (state.renamed == is.renamed
                        && state.members.symmetric_difference(&is.members).all(unsure)))
        };
        if known.may_be.iter().any(fits) {
            if known.may_be.len() > 1 {
                self.groups.all[group].may_be = vec![is];
            }
            self.groups.all[group].id = id;
        } else {
            let may_be = known.may_be.clone();
            self.breaks(format!("team-{group} is {is:?}, and should be {may_be:?}"));
            self.groups.all[group].may_be = vec![is];
        }
        Ok(())
    }
}
