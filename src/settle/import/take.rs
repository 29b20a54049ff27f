//! One account or group of an import, taken in: by the path of any other change, claimed and looked at again, with the
//! import's own row in the same commit.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::peruse::Read;
use super::super::record::put;
use super::super::verdict::lost;
use super::super::{Application, Engine, TRIES};
use super::{denied, remote};
use crate::claims::{Claim, Mode};
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::journal::record::{Delivery, Operation, Status};
use crate::mapping::Mapping;
use crate::provision::group;
use crate::provision::import::{Candidates, Verdict, judge, may_keep};
use crate::provision::link::Link;
use crate::provision::plan;
use crate::provision::profile::Shown;
use crate::scim::change::{self, Birth};
use crate::scim::{Handle, Kind, Resource, json, schema};
use crate::store::{ChangeSet, Clash, Import, Key, Lookup, MemberEdit, View};

/// What becomes of one, worked out against one snapshot.
struct Taken {
    /// Everything that it may change.
    wanted: BTreeSet<Claim>,
    outcome: Outcome,
    change: ChangeSet,
    /// For the journal: as it will be here.
    resource: Resource,
}

enum Outcome {
    /// Linked already.
    Known,
    Linked,
    /// It was imported before, and is claimed now.
    Claimed,
    Created,
    Clash {
        code: &'static str,
        reason: String,
    },
}

impl Outcome {
    fn code(&self) -> &'static str {
        match self {
            Self::Known => "unchanged",
            Self::Linked => "linked",
            Self::Claimed => "claimed",
            Self::Created => "created",
            Self::Clash { code, .. } => code,
        }
    }
}

impl Engine {
    /// Takes one in. `listed` is how the list shows it; `read` what a read of it found, where one was made.
    pub(super) async fn take_in(
        &self,
        application: &Application,
        import: &mut Import,
        listed: &Shown,
        read: Option<Read>,
    ) -> Result<(), Fault> {
        let patience = self.clock.now().plus(self.patience());
        let birth = self.birth(self.clock.now())?;
        let mut wanted = BTreeSet::new();
        for _ in 0..TRIES {
            let held = self.claims.acquire(&wanted, patience, &self.clock).await?;
            let view = self.store.view()?;
            let taken =
                self.look_at(&view, application, import, (listed, read.as_ref()), &birth)?;
            drop(view);
            if held.covers(&taken.wanted) {
                return self
                    .carry_in(application, import, listed, read, taken)
                    .await;
            }
            drop(held);
            wanted = taken.wanted;
        }
        Err(Fault::Unavailable {
            retry_after: 1,
            detail: String::from("Too many writes are after the same resources; try again."),
        })
    }

    async fn carry_in(
        &self,
        application: &Application,
        import: &mut Import,
        listed: &Shown,
        read: Option<Read>,
        taken: Taken,
    ) -> Result<(), Fault> {
        let Taken {
            outcome,
            mut change,
            resource,
            ..
        } = taken;
        let mut next = import.clone();
        next.next += 1;
        next.counted().found += 1;
        match &outcome {
            Outcome::Known => {
                next.counted().matched += 1;
                *import = next;
                return Ok(());
            }
            Outcome::Linked | Outcome::Claimed => next.counted().matched += 1,
            Outcome::Created => next.counted().created += 1,
            Outcome::Clash { code, reason } => next.clashes(Clash {
                kind: import.at,
                remote_id: listed.id.clone(),
                name: name_of(import.at, &listed.attributes).to_owned(),
                code: (*code).to_owned(),
                reason: reason.clone(),
            }),
        }
        let (status, reason) = match &outcome {
            Outcome::Clash { reason, .. } => (Status::Warning, Some(reason.clone())),
            _ => (Status::Success, None),
        };
        let delivery = Delivery {
            application: application.plan.name().to_owned(),
            operation: Operation::Import,
            remote_id: Some(listed.id.clone()),
            status,
            code: Some(outcome.code().to_owned()),
            reason,
            calls: read.map(|read| read.calls).unwrap_or_default(),
        };
        let mut record = self.delivered(&resource, delivery, Vec::new());
        if let Outcome::Clash { .. } = outcome {
            record.id.clear();
        }
        change.journal.push(record);
        change.import = Some(Box::new(next.clone()));
        self.store.reserve()?.commit(change).await.map_err(lost)?;
        *import = next;
        self.imports
            .send_modify(|told| *told = told.wrapping_add(1));
        Ok(())
    }

    /// What becomes of it, and what has to be claimed for that. Reads only.
    fn look_at(
        &self,
        view: &View,
        application: &Application,
        import: &Import,
        (listed, read): (&Shown, Option<&Read>),
        birth: &Birth,
    ) -> Result<Taken, Fault> {
        let (kind, name, now) = (import.at, application.plan.name(), self.clock.now());
        let shown = read.and_then(|read| read.shown.as_ref()).unwrap_or(listed);
        let user = mapping(application, kind).invert(&shown.attributes);
        let mut resource = Resource {
            handle: birth.handle,
            id: birth.id.clone(),
            kind,
            version: 1,
            created: now,
            modified: now,
            owner: String::new(),
            deleted: None,
            attributes: user.clone(),
            links: Vec::new(),
        };
        let wanted = claims(application, kind, &listed.id, &resource, shown);
        let taken = |wanted, outcome, change, resource: &Resource| Taken {
            wanted,
            outcome,
            change,
            resource: resource.clone(),
        };
        let clash = |code, reason: String| Outcome::Clash { code, reason };
        let linked = view.find(&remote(kind, name, &listed.id))?;
        if denied(read) && linked.is_none() {
            let denied =
                "it is in the list, and denied when it is asked for: pending, or just deleted";
            let (code, reason) = match read.and_then(|read| read.unreadable.as_ref()) {
                Some(why) => (
                    "unreadable",
                    format!("a read of it gives no good answer: {why}"),
                ),
                None => ("denied", denied.to_owned()),
            };
            resource.attributes = shown.attributes.clone();
            let outcome = clash(code, reason);
            return Ok(taken(wanted, outcome, ChangeSet::default(), &resource));
        }
        let candidates = match linked {
            Some(holder) => Candidates {
                linked: view.resource(holder)?,
                ..Candidates::default()
            },
            None => self.candidates(view, kind, &user, shown)?,
        };
        match judge(name, candidates) {
            Verdict::Clash { code, reason } => {
                resource.attributes = shown.attributes.clone();
                let outcome = clash(code, reason);
                Ok(taken(wanted, outcome, ChangeSet::default(), &resource))
            }
            Verdict::Linked(before) => {
                let mut after = (*before).clone();
                let claims = import.claim && claimable(application, &after);
                let link = after
                    .link(name)
                    .filter(|link| link.is_unclaimed() && claims);
                let Some(mut link) = link.cloned() else {
                    return Ok(taken(wanted, Outcome::Known, ChangeSet::default(), &before));
                };
                link.claim(now);
                after.set_link(name, Some(link));
                let (wanted, change) = changed(wanted, application, Some(&before), after.clone());
                Ok(taken(wanted, Outcome::Claimed, change, &after))
            }
            Verdict::Link(before) => {
                let mut after = (*before).clone();
                after.set_link(name, Some(link(application, import, &after, shown, now)));
                let (mut wanted, mut change) =
                    changed(wanted, application, Some(&before), after.clone());
                self.join(view, name, &after, shown, now, (&mut wanted, &mut change))?;
                Ok(taken(wanted, Outcome::Linked, change, &after))
            }
            Verdict::Nobodys => {
                let mut birth = birth.clone();
                if application.plan.config.keep_ids && is_free(view, &shown.id)? {
                    birth.id = shown.id.as_str().into();
                }
                let made = change::create(kind, &user, "", birth, now).and_then(|draft| {
                    let nodes = json::Bounds::of(&self.limits).nodes;
                    draft.check_size(self.limits.body, nodes).map(|()| draft)
                });
                let mut after = match made {
                    Ok(draft) => draft.resource,
                    Err(fault) => {
                        resource.attributes = shown.attributes.clone();
                        let outcome = clash("invalid", fault.public().into_owned());
                        return Ok(taken(wanted, outcome, ChangeSet::default(), &resource));
                    }
                };
                after.set_link(name, Some(link(application, import, &after, shown, now)));
                let (mut wanted, mut change) = changed(wanted, application, None, after.clone());
                self.join(view, name, &after, shown, now, (&mut wanted, &mut change))?;
                Ok(taken(wanted, Outcome::Created, change, &after))
            }
        }
    }

    /// Those whose it may be, if nobody has it linked.
    fn candidates(
        &self,
        view: &View,
        kind: Kind,
        user: &Map<String, Value>,
        shown: &Shown,
    ) -> Result<Candidates, Fault> {
        let both = [user, &shown.attributes];
        let texts = |name: &str| -> BTreeSet<&str> {
            let texts = both.iter().filter_map(|from| from.get(name)?.as_str());
            texts.filter(|text| !text.trim().is_empty()).collect()
        };
        let (mut by_name, mut by_external_id, mut by_email) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        match kind {
            Kind::User => {
                for name in texts("userName") {
                    by_name.extend(view.find(&Key::UserName(name))?);
                }
                for address in both.iter().flat_map(|from| addresses(from)) {
                    by_email.extend(view.find_all(kind, &Lookup::Email(address))?);
                }
            }
            Kind::Group => {
                for name in texts("displayName") {
                    by_name.extend(view.find_all(kind, &Lookup::GroupName(name))?);
                }
            }
        }
        for value in texts("externalId") {
            for client in &self.clients {
                let lookup = Lookup::ExternalId { client, value };
                by_external_id.extend(view.find_all(kind, &lookup)?);
            }
        }
        let all = |handles: BTreeSet<Handle>| -> Result<Vec<Resource>, Fault> {
            let mut found = Vec::new();
            for handle in handles {
                found.extend(view.resource(handle)?);
            }
            Ok(found)
        };
        Ok(Candidates {
            linked: None,
            by_name: all(by_name)?,
            by_external_id: all(by_external_id)?,
            by_email: all(by_email)?,
        })
    }

    /// Makes a user a member of the groups that the application shows with it: of those that an import made and that nobody
    /// has claimed. A group that decides who belongs is never filled by what is in an application.
    fn join(
        &self,
        view: &View,
        name: &str,
        user: &Resource,
        shown: &Shown,
        now: Timestamp,
        (wanted, change): (&mut BTreeSet<Claim>, &mut ChangeSet),
    ) -> Result<(), Fault> {
        if user.kind == Kind::Group {
            return Ok(());
        }
        let mut joined = BTreeSet::new();
        for shown in groups_of(&shown.attributes) {
            let text = |key: &str| shown.get(key).and_then(Value::as_str);
            // By its id where that is shown; Zoom shows the name alone, which may be several groups'.
            let by_id = match text("value") {
                Some(id) => view.find(&remote(Kind::Group, name, id))?,
                None => None,
            };
            let same = match (by_id, text("display")) {
                (Some(handle), _) => vec![handle],
                (None, Some(display)) => view.find_all(Kind::Group, &Lookup::GroupName(display))?,
                (None, None) => Vec::new(),
            };
            let [handle] = same.as_slice() else {
                continue;
            };
            let Some(group) = view.resource(*handle)? else {
                continue;
            };
            let bound = view.bindings()?.iter().any(|bound| bound.group == *handle);
            let imported = group.owner.is_empty() && group.link(name).is_some();
            if bound
                || !imported
                || view.is_member(*handle, user.handle)?
                || !joined.insert(*handle)
            {
                continue;
            }
            wanted.insert(Claim::Members(*handle, Mode::Shared));
            change.members.push(MemberEdit {
                group: *handle,
                group_id: Some(group.id),
                add: vec![(user.handle, user.id.clone(), Kind::User)],
                touch: Some(now),
                ..MemberEdit::default()
            });
        }
        Ok(())
    }
}

fn mapping(application: &Application, kind: Kind) -> &Mapping {
    match kind {
        Kind::User => &application.plan.mapping,
        Kind::Group => &application.plan.group_mapping,
    }
}

fn name_of(kind: Kind, attributes: &Map<String, Value>) -> &str {
    let key = match kind {
        Kind::User => "userName",
        Kind::Group => "displayName",
    };
    attributes.get(key).and_then(Value::as_str).unwrap_or("")
}

/// What it may be known by, here and there.
fn claims(
    application: &Application,
    kind: Kind,
    remote_id: &str,
    resource: &Resource,
    shown: &Shown,
) -> BTreeSet<Claim> {
    let name = application.plan.name();
    let mut wanted = BTreeSet::from([Claim::Remote {
        application: name.to_owned(),
        id: match kind {
            Kind::User => remote_id.to_owned(),
            Kind::Group => format!("Groups/{remote_id}"),
        },
    }]);
    let title = Some(resource.title()).filter(|title| !title.is_empty());
    let shown = name_of(kind, &shown.attributes);
    let titles = title.into_iter().chain([shown]).map(schema::fold);
    match kind {
        Kind::User => wanted.extend(titles.map(Claim::UserName)),
        Kind::Group => wanted.extend(titles.map(Claim::GroupName)),
    }
    wanted.extend(account(application, resource));
    wanted
}

/// The account that a resource maps to.
fn account(application: &Application, resource: &Resource) -> Option<Claim> {
    let key = match resource.kind {
        Kind::User => plan::account_key(&application.plan, resource)?,
        Kind::Group => group::plan::account_key(&application.plan, resource),
    };
    Some(Claim::Account {
        application: application.plan.name().to_owned(),
        key,
    })
}

/// A changed row as a change set, with what has to be claimed for it.
fn changed(
    mut wanted: BTreeSet<Claim>,
    application: &Application,
    before: Option<&Resource>,
    after: Resource,
) -> (BTreeSet<Claim>, ChangeSet) {
    wanted.insert(Claim::Resource(after.handle));
    wanted.insert(Claim::link(after.handle, application.plan.name()));
    if after.kind == Kind::Group {
        wanted.insert(Claim::Members(after.handle, Mode::Exclusive));
    }
    wanted.extend(account(application, &after));
    let mut change = ChangeSet::default();
    put(&mut change, before, after);
    (wanted, change)
}

fn link(
    application: &Application,
    import: &Import,
    resource: &Resource,
    shown: &Shown,
    now: Timestamp,
) -> Link {
    let seen = name_of(import.at, &shown.attributes);
    let seen = Some(seen).filter(|name| !name.is_empty());
    let mut link = Link::imported(application.plan.name(), &shown.id, seen, shown.active);
    if import.claim && claimable(application, resource) {
        link.claim(now);
    }
    link
}

/// Whether a person's word makes it ours: a user's account, and a group that is to exist there by the configuration. One
/// that is not is left to itself.
fn claimable(application: &Application, resource: &Resource) -> bool {
    resource.kind == Kind::User || group::plan::is_pushed(&application.plan, resource)
}

/// Whether the application's id may be the one here.
fn is_free(view: &View, id: &str) -> Result<bool, Fault> {
    if !may_keep(id) {
        return Ok(false);
    }
    // Members are named by their id alone.
    for kind in [Kind::User, Kind::Group] {
        if view.find(&Key::Id(kind, id))?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn addresses(attributes: &Map<String, Value>) -> Vec<&str> {
    let emails = attributes.get("emails").and_then(Value::as_array);
    let values = emails.into_iter().flatten();
    values
        .filter_map(|email| email.get("value")?.as_str())
        .filter(|address| !address.trim().is_empty())
        .collect()
}

/// A user's groups: a list, or one object (Zoom shows both).
fn groups_of(attributes: &Map<String, Value>) -> &[Value] {
    match attributes.get("groups") {
        Some(Value::Array(groups)) => groups.as_slice(),
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        _ => &[],
    }
}
