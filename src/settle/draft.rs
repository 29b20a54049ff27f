//! The first half of a write: what it would change, read from one snapshot of the directory. Nothing is changed here.

use std::collections::BTreeSet;

use super::succession::{Part, part};
use super::{Application, Engine};
use crate::auth::Client;
use crate::claims::{Claim, Held, Mode};
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::policy::assignment::Assigned;
use crate::provision::group;
use crate::provision::link::Link;
use crate::provision::plan::{self, Decision, Facts};
use crate::scim::change::{self, Birth, Draft};
use crate::scim::json;
use crate::scim::patch::MemberDelta;
use crate::scim::request::{Verb, Write};
use crate::scim::{Handle, Id, Kind, Resource, schema};
use crate::store::{Key, Lookup, Mark, MemberEdit, View};

/// A write, worked out against one snapshot.
pub(super) struct Prepared {
    /// The resource as it was and as it would be.
    pub(super) draft: Draft,
    /// What happens to a group's edges.
    pub(super) members: Option<MemberEdit>,
    /// How many members were to be added that nobody is: they were left out.
    pub(super) strangers: usize,
    /// For each application, in the configuration's order; none for a group.
    pub(super) decisions: Vec<Decision>,
    /// What the decisions were made from beside the user: for each application.
    pub(super) facts: Vec<Known>,
    /// The marks as they stood when that was read: the resource's, and those of the tombstones that it takes over.
    pub(super) marks: Vec<Mark>,
    /// Tombstones whose link this resource takes over, as they are, and for which application.
    pub(super) takeovers: Vec<(usize, Resource)>,
    /// Tombstones whose link waited for this resource in vain, and for which application.
    pub(super) let_go: Vec<(usize, Handle)>,
    /// Everything that this write changes for certain.
    pub(super) wanted: BTreeSet<Claim>,
    /// What it may change beside that, for each application. Where somebody else is at it, it changes nothing there.
    pub(super) parts: Vec<BTreeSet<Claim>>,
    /// The applications where somebody else is at it: a mark has this planned there when they have done.
    pub(super) busy: Vec<bool>,
}

/// What a round of preparing knows from those before it.
pub(super) struct Round<'a> {
    /// What is held, so that what is decided may be carried out. Without it only what to claim is asked.
    pub(super) held: Option<&'a Held>,
    /// What the last round drafted.
    pub(super) earlier: Option<Draft>,
}

impl Engine {
    /// Works a client's write out.
    pub(super) fn prepare(
        &self,
        client: &Client,
        write: &Write,
        birth: Option<&Birth>,
        round: Round<'_>,
        now: Timestamp,
    ) -> Result<Prepared, Fault> {
        let decides = round.held.is_some();
        let view = self.store.view()?;
        let mut draft = match round.earlier {
            Some(earlier) if birth.is_some() => again(earlier, now),
            _ => draft(&view, client, write, birth, now)?,
        };
        // Whoever puts somebody back into a group that is nobody's claims nothing by it.
        if !client.owner().is_empty() {
            self.claim_links(&mut draft.resource, now);
        }
        draft.check_size(self.limits.body, json::Bounds::of(&self.limits).nodes)?;
        unique(&view, client, &draft)?;
        let (mut members, strangers) = members(&view, &draft, now)?;
        let wanted = claims(client, write, &draft);
        if decides && wanted.contains(&alone(&draft)) {
            members = differing(&view, &draft, members)?;
            // Who is taken over has its row written, so that the writer does not count this change itself.
            if members.is_some() && draft.taken_from().is_some() && !draft.differs() {
                draft.rise(now);
            }
        }
        let mut prepared = Prepared {
            draft,
            members,
            strangers,
            decisions: Vec::new(),
            facts: Vec::new(),
            marks: Vec::new(),
            takeovers: Vec::new(),
            let_go: Vec::new(),
            wanted,
            parts: Vec::new(),
            busy: Vec::new(),
        };
        match prepared.draft.resource.kind {
            Kind::User => self.plan_all(&view, &mut prepared, round.held, now)?,
            Kind::Group => self.look_round(&mut prepared, round.held),
        }
        if decides {
            // Of the same snapshot: somebody's scope may change while nobody holds a claim on them, and raises their mark.
            prepared.marks = view.marks(prepared.draft.resource.handle)?;
            for (_, tombstone) in &prepared.takeovers {
                prepared.marks.extend(view.marks(tombstone.handle)?);
            }
        }
        Ok(prepared)
    }

    /// A client's write claims what was imported: a user's accounts, and of a group those in applications that have it
    /// pushed. The others stay as they are there when the group is deleted here.
    fn claim_links(&self, resource: &mut Resource, now: Timestamp) {
        if !resource.links.iter().any(Link::is_unclaimed) {
            return;
        }
        let group = (resource.kind == Kind::Group).then(|| resource.clone());
        let pushed = |link: &Link| {
            group.as_ref().is_none_or(|group| {
                let mut applications = self.applications.iter();
                applications.any(|application| {
                    application.plan.name() == link.application
                        && group::plan::is_pushed(&application.plan, group)
                })
            })
        };
        let claims = |link: &&mut Link| link.is_unclaimed() && pushed(link);
        for link in resource.links.iter_mut().filter(claims) {
            link.claim(now);
        }
        if group.is_some() && resource.deleted.is_some() {
            resource.links.retain(|link| !link.is_unclaimed());
        }
    }

    /// Where somebody else is at a group. Memberships alone change no link.
    fn look_round(&self, prepared: &mut Prepared, held: Option<&Held>) {
        let alone = prepared.wanted.contains(&alone(&prepared.draft));
        for application in &self.applications {
            let link = Claim::link(prepared.draft.resource.handle, application.plan.name());
            let claims: BTreeSet<Claim> = alone.then_some(link).into_iter().collect();
            let free = held.is_some_and(|held| held.covers(&claims));
            prepared.parts.push(claims);
            prepared.busy.push(!free);
        }
    }

    fn plan_all(
        &self,
        view: &View,
        prepared: &mut Prepared,
        held: Option<&Held>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        for (at, application) in self.applications.iter().enumerate() {
            let resource = &mut prepared.draft.resource;
            let Part {
                claims,
                orphan,
                hidden,
                let_go,
            } = part(view, application, resource, prepared.draft.before.as_ref())?;
            if hidden {
                // Whoever is at the account would go on to take it away; at the link it is only this user's own.
                let own = Claim::link(resource.handle, application.plan.name());
                let others = claims.iter().filter(|claim| **claim != own);
                prepared.wanted.extend(others.cloned());
            }
            prepared
                .let_go
                .extend(let_go.map(|tombstone| (at, tombstone)));
            let free = held.is_some_and(|held| held.covers(&claims));
            prepared.parts.push(claims);
            prepared.busy.push(!free);
            if let Some((tombstone, link)) = orphan.filter(|_| free) {
                resource.set_link(application.plan.name(), Some(link));
                prepared.takeovers.push((at, tombstone));
            }
            if held.is_some() {
                let known = Known::read(view, application, resource)?;
                let facts = known.facts(resource, now);
                prepared
                    .decisions
                    .push(plan::plan(&application.plan, facts));
                prepared.facts.push(known);
            }
        }
        Ok(())
    }
}

/// What the store knows of a user's place in an application.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    assigned: Assigned,
    counting: bool,
}

impl Known {
    /// Of one snapshot, not after the user's mark was read.
    pub(super) fn read(
        view: &View,
        application: &Application,
        user: &Resource,
    ) -> Result<Self, Fault> {
        let (name, policies) = (application.plan.name(), &application.plan.config.policies);
        let groups = policies.iter().map(|policy| &policy.group);
        Ok(Self {
            assigned: view.assigned(name, groups, user.handle)?,
            // Only who has an account has one to lose.
            counting: user.link(name).is_some() && view.is_counting(name, user.handle)?,
        })
    }

    /// The same where it is this that is being counted.
    pub(super) fn counted(self) -> Self {
        Self {
            counting: false,
            ..self
        }
    }

    pub(super) fn facts(self, user: &Resource, now: Timestamp) -> Facts<'_> {
        let Self { assigned, counting } = self;
        Facts {
            user,
            assigned,
            counting,
            now,
        }
    }
}

/// A create drafted before: it reads nothing of the snapshot, so what is new is the time, and what planning put in goes.
fn again(mut draft: Draft, now: Timestamp) -> Draft {
    draft.resource.links.clear();
    draft.resource.created = now;
    draft.resource.modified = now;
    draft
}

fn draft(
    view: &View,
    client: &Client,
    write: &Write,
    birth: Option<&Birth>,
    now: Timestamp,
) -> Result<Draft, Fault> {
    let id = match (&write.verb, birth) {
        (Verb::Create(body), Some(birth)) => {
            return change::create(write.kind, body, client.owner(), birth.clone(), now);
        }
        (verb, _) => verb.id().unwrap_or_default(),
    };
    let found = view
        .find(&Key::Id(write.kind, id))?
        .map(|handle| view.resource(handle))
        .transpose()?
        .flatten();
    let before = found.ok_or_else(|| absent(write.kind))?;
    // What was imported is nobody's: whoever writes to it first has it.
    let nobodys = before.owner.is_empty();
    if before.owner != client.owner() && !nobodys && !client.config().take_over {
        let (kind, owner, name) = (write.kind.name(), &before.owner, client.name());
        return Err(Fault::Forbidden(format!(
            "This {kind} belongs to the client {owner}; only that client may change it. With take_over = true in the gateway's configuration {name} may, and it belongs to {name} then."
        )));
    }
    let mut draft = change::change(before, write, client.config().put_members, now)?;
    client.owner().clone_into(&mut draft.resource.owner);
    Ok(draft)
}

/// 404 for a resource: says the kind and repeats nothing.
pub(crate) fn absent(kind: Kind) -> Fault {
    Fault::NotFound(format!("There is no such {}.", kind.name()))
}

fn unique(view: &View, client: &Client, draft: &Draft) -> Result<(), Fault> {
    let resource = &draft.resource;
    if resource.deleted.is_some() {
        return Ok(());
    }
    let taken = match resource.kind {
        Kind::User => view
            .find(&Key::UserName(resource.title()))?
            .filter(|handle| *handle != resource.handle),
        // A name that two have already, because another client may or once might, is no reason to refuse a change of
        // something else.
        Kind::Group if client.config().unique_groups && !keeps_name(draft) => {
            let same = view.find_all(Kind::Group, &Lookup::GroupName(resource.title()))?;
            same.into_iter().find(|handle| *handle != resource.handle)
        }
        Kind::Group => None,
    };
    match (taken, resource.kind) {
        (None, _) => Ok(()),
        (Some(_), Kind::User) => Err(Fault::Uniqueness(String::from(
            "userName is taken: another user has it (upper and lower case are the same).",
        ))),
        (Some(_), Kind::Group) => Err(Fault::Uniqueness(String::from(
            "displayName is taken: another group has it (upper and lower case are the same).",
        ))),
    }
}

/// Whether it is called what it was called before.
fn keeps_name(draft: &Draft) -> bool {
    let before = draft.before.as_ref();
    before.is_some_and(|before| schema::same_folded(before.title(), draft.resource.title()))
}

/// What happens to a group's edges, and how many of those who were to come are nobody.
///
/// An id that nobody has is left out of an addition, and the journal says so: Okta sends a refused push never again, so one
/// stale id would keep everybody else out of the group. It is not left out of a list that replaces the members, because
/// what is missing from that list loses its membership: ids of another system would empty the group.
fn members(
    view: &View,
    draft: &Draft,
    now: Timestamp,
) -> Result<(Option<MemberEdit>, usize), Fault> {
    let MemberDelta { clear, add, remove } = &draft.members;
    let resource = &draft.resource;
    if resource.kind != Kind::Group
        || resource.deleted.is_some()
        || (!clear && add.is_empty() && remove.is_empty())
    {
        return Ok((None, 0));
    }
    let replaces = *clear && draft.before.is_some();
    let mut strangers = 0;
    let resolve = |id: &str| -> Result<Option<(Handle, Id, Kind)>, Fault> {
        for kind in [Kind::User, Kind::Group] {
            if let Some(handle) = view.find(&Key::Id(kind, id))? {
                return Ok(Some((handle, Id::from(id), kind)));
            }
        }
        Ok(None)
    };
    let mut edit = MemberEdit {
        group: resource.handle,
        group_id: Some(resource.id.clone()),
        clear: *clear,
        touch: Some(now),
        ..MemberEdit::default()
    };
    for id in add {
        match resolve(id)? {
            Some(member) if member.0 == resource.handle => {
                return Err(Fault::InvalidValue(String::from(
                    "A group cannot be a member of itself.",
                )));
            }
            Some(member) => edit.add.push(member),
            None if replaces => {
                return Err(Fault::InvalidValue(String::from(
                    "members names an id that there is not. Create the user first.",
                )));
            }
            None => strangers += 1,
        }
    }
    for id in remove {
        // Who is not there cannot be a member: nothing to remove.
        edit.remove.extend(resolve(id)?.map(|(handle, ..)| handle));
    }
    Ok((Some(edit), strangers))
}

/// How many edges are read at once.
const PAGE: usize = 1_000;

/// The edit without what is so already, compared with the edges as they stand. Only while nobody else may change them.
/// `None`: no edge changes.
fn differing(
    view: &View,
    draft: &Draft,
    edit: Option<MemberEdit>,
) -> Result<Option<MemberEdit>, Fault> {
    let Some(mut edit) = edit else {
        return Ok(None);
    };
    if draft.before.is_none() {
        // A new group has no edges yet.
        edit.clear = false;
        return Ok(Some(edit));
    }
    let group = edit.group;
    if edit.clear {
        edit.clear = false;
        // Handles only: a group may have more members than one would like to hold in memory with their ids.
        let mut coming: BTreeSet<Handle> = edit.add.iter().map(|(handle, ..)| *handle).collect();
        let mut after = None;
        loop {
            let page = view.members(group, after, PAGE)?;
            after = page.last().map(|(handle, ..)| *handle);
            for (member, ..) in page {
                if !coming.remove(&member) {
                    edit.remove.push(member);
                }
            }
            if after.is_none() {
                break;
            }
        }
        edit.add.retain(|(handle, ..)| coming.contains(handle));
    } else {
        let is_member = |handle| view.is_member(group, handle);
        let mut differs = Vec::with_capacity(edit.add.len());
        for member in edit.add {
            if !is_member(member.0)? {
                differs.push(member);
            }
        }
        edit.add = differs;
        let mut differs = Vec::with_capacity(edit.remove.len());
        for member in edit.remove {
            if is_member(member)? {
                differs.push(member);
            }
        }
        edit.remove = differs;
    }
    Ok((!edit.add.is_empty() || !edit.remove.is_empty()).then_some(edit))
}

/// Whether what was imported is claimed by it: the row changes.
fn claims_links(draft: &Draft) -> bool {
    let before = draft.before.as_ref();
    before.is_some_and(|before| before.links != draft.resource.links)
}

/// The claim that keeps everybody else from a group's edges.
fn alone(draft: &Draft) -> Claim {
    Claim::Members(draft.resource.handle, Mode::Exclusive)
}

/// Everything that the write changes for certain: the row, its names, the edges, and links that imports left to whoever
/// comes first.
fn claims(client: &Client, write: &Write, draft: &Draft) -> BTreeSet<Claim> {
    let resource = &draft.resource;
    let before = draft.before.iter().flat_map(|before| &before.links);
    let claimed = before.filter(|link| resource.link(&link.application) != Some(link));
    let claimed = claimed.map(|link| Claim::link(resource.handle, &link.application));
    let mut wanted: BTreeSet<Claim> = claimed.collect();
    let titles = [Some(resource), draft.before.as_ref()]
        .into_iter()
        .flatten()
        .map(|resource| schema::fold(resource.title()));
    match resource.kind {
        Kind::User => {
            wanted.insert(Claim::Resource(resource.handle));
            wanted.extend(titles.map(Claim::UserName));
        }
        // Membership changes share a claim on their group and commute, but not those that are for one version of it: the
        // first of them makes another.
        Kind::Group
            if draft.before.is_some()
                && !write.conditions().any()
                && draft.taken_from().is_none()
                && !claims_links(draft)
                && !draft.differs()
                && !draft.members.clear
                && draft.members != MemberDelta::default() =>
        {
            wanted.insert(Claim::Members(resource.handle, Mode::Shared));
        }
        Kind::Group => {
            wanted.insert(alone(draft));
            if client.config().unique_groups {
                wanted.extend(titles.map(Claim::GroupName));
            }
        }
    }
    wanted
}
