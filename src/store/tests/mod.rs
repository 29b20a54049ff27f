//! What the store promises, on an in-memory file and on a real one.

mod backups;
mod batches;
mod commits;
mod configured;
mod damage;
mod journal;
mod links;
mod migration;
mod model;
mod moved;
mod policies;
mod power;
mod reads;
mod recovery;
mod restores;
mod sent;
mod sweeps;

use std::future::Future;

use serde_json::{Map, json};

use super::{ChangeSet, CommitError, Committed, Conflict, MemberEdit, Put, Store};
use crate::clock::Timestamp;
use crate::provision::link::{Link, Origin, State};
use crate::scim::{Handle, Id, Kind, Resource};

pub(crate) fn user(handle: u64, name: &str) -> Resource {
    let mut attributes = Map::new();
    attributes.insert("active".into(), json!(true));
    attributes.insert("userName".into(), json!(name));
    Resource {
        handle: Handle(handle),
        id: Id::from(format!("id-{handle}").as_str()),
        kind: Kind::User,
        version: 1,
        created: Timestamp(1),
        modified: Timestamp(1),
        owner: "entra".into(),
        deleted: None,
        attributes,
        links: Vec::new(),
    }
}

pub(super) fn link(application: &str, remote_id: Option<&str>) -> Link {
    Link {
        application: application.into(),
        remote_id: remote_id.map(Into::into),
        origin: Origin::Created,
        state: State::Active,
        uncertain: None,
        sent: None,
        seen_name: None,
        dropped: Vec::new(),
        fresh: false,
        removal: None,
        kept: false,
        untaken: None,
    }
}

fn wait<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(work)
}

fn inline() -> Store {
    Store::inline_memory().expect("memory")
}

/// A user with a handle and an id of the store's.
fn minted(store: &Store, name: &str) -> Resource {
    let (handle, id) = store.mint(Timestamp(1_000), 7);
    Resource {
        id,
        ..user(handle.0, name)
    }
}

fn minted_group(store: &Store, name: &str) -> Resource {
    let mut group = minted(store, "");
    group.kind = Kind::Group;
    group.attributes.clear();
    group.attributes.insert("displayName".into(), json!(name));
    group
}

fn created(resource: &Resource) -> Put {
    Put {
        resource: resource.clone(),
        expect: None,
        before: None,
    }
}

fn changed(before: &Resource, after: &Resource) -> Put {
    Put {
        resource: after.clone(),
        expect: Some(before.version),
        before: Some(before.links.clone()),
    }
}

fn puts(puts: impl IntoIterator<Item = Put>) -> ChangeSet {
    ChangeSet {
        puts: puts.into_iter().collect(),
        ..ChangeSet::default()
    }
}

fn commit(store: &Store, set: ChangeSet) -> Result<Committed, CommitError> {
    wait(store.commit(set))
}

fn create(store: &Store, resource: &Resource) {
    commit(store, puts([created(resource)])).expect("created");
}

fn conflict(result: Result<Committed, CommitError>) -> Conflict {
    match result {
        Err(CommitError::Conflict(conflict)) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

/// `before` as a tombstone.
fn buried(before: &Resource) -> Resource {
    let mut after = before.clone();
    after.version += 1;
    after.deleted = Some(Timestamp(9));
    after
}

/// `before`, gone for good: deleted, and nothing is left of it anywhere.
fn erased(before: &Resource) -> ChangeSet {
    let mut after = buried(before);
    after.links.clear();
    puts([changed(before, &after)])
}

fn membership(group: &Resource, add: &[&Resource], remove: &[&Resource]) -> ChangeSet {
    ChangeSet {
        members: vec![MemberEdit {
            group: group.handle,
            add: add
                .iter()
                .map(|one| (one.handle, one.id.clone(), one.kind))
                .collect(),
            remove: remove.iter().map(|one| one.handle).collect(),
            touch: Some(Timestamp(50)),
            ..MemberEdit::default()
        }],
        ..ChangeSet::default()
    }
}
