//! What the store promises, on an in-memory file and on a real one.

use serde_json::{Map, json};

use crate::clock::Timestamp;
use crate::provision::link::{Link, Origin, State};
use crate::scim::{Handle, Id, Kind, Resource};

pub(super) fn user(handle: u64, name: &str) -> Resource {
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
    }
}
