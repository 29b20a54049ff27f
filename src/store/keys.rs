//! The look-up keys of a resource. Pure: what a commit has to write is the difference of two of these lists.
//!
//! All keys share one tree, told apart by a tag. Text in a key is escaped and closed, so that no value can reach into
//! the next part; numbers are big-endian, so that ranges run in handle and time order.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::scim::{Handle, Kind, Resource};

use super::change::Lane;
use super::row::kind_byte;
use crate::scim::schema::fold;

/// First byte of every key.
pub(super) mod tag {
    /// kind, id -> handle. Only for ids that do not carry their handle. Unique.
    pub(in crate::store) const ID: u8 = b'i';
    /// folded userName -> handle. Unique.
    pub(in crate::store) const USER_NAME: u8 = b'u';
    /// folded group displayName, handle.
    pub(in crate::store) const GROUP_NAME: u8 = b'g';
    /// handle of a live group, so that groups are listed without walking the users between them.
    pub(in crate::store) const GROUP: u8 = b'h';
    /// folded displayName of a user, handle.
    pub(in crate::store) const DISPLAY_NAME: u8 = b'a';
    /// handle of a user without displayName, so that a sort by it is whole.
    pub(in crate::store) const NAMELESS: u8 = b'w';
    /// kind, `meta.lastModified`, handle.
    pub(in crate::store) const MODIFIED: u8 = b'l';
    /// what `active` is instead of true, handle: of users where it is not true.
    pub(in crate::store) const NOT_ACTIVE: u8 = b'z';
    /// client, externalId, kind, handle.
    pub(in crate::store) const EXTERNAL: u8 = b'x';
    /// folded address, handle; left out where it equals the folded userName.
    pub(in crate::store) const EMAIL: u8 = b'e';
    /// application, remote id -> handle. Unique.
    pub(in crate::store) const REMOTE: u8 = b'r';
    /// application, remote id of a group -> handle. Unique. Apart from users': some servers number both from 1.
    pub(in crate::store) const REMOTE_GROUP: u8 = b'k';
    /// application, folded account name, handle of a tombstone.
    pub(in crate::store) const ORPHAN: u8 = b'o';
    /// group, member -> the member's kind and id.
    pub(in crate::store) const MEMBER: u8 = b'm';
    /// member, group -> the group's id.
    pub(in crate::store) const IN_GROUP: u8 = b'b';
    /// group -> number of members.
    pub(in crate::store) const MEMBERS: u8 = b'n';
    /// application, lane, due, handle.
    pub(in crate::store) const DUE: u8 = b'd';
    /// application, handle -> start of the window in which this person was counted.
    pub(in crate::store) const COUNTED: u8 = b'p';
    /// kind (or what `active` is instead of true), block -> live resources in it.
    pub(in crate::store) const BLOCK: u8 = b'c';
    /// kind (or what `active` is instead of true) -> live resources.
    pub(in crate::store) const TOTAL: u8 = b't';
    /// handle of a dead resource whose edges are being dropped.
    pub(in crate::store) const SWEEP: u8 = b's';
    /// application, group, member -> whether it was acknowledged, and the member's id there.
    pub(in crate::store) const SENT: u8 = b'y';
    /// application, group, whether it was refused before, member -> generation: this membership may differ.
    pub(in crate::store) const DOUBT: u8 = b'q';
    /// application, group -> the member from which on the group is yet to be compared.
    pub(in crate::store) const COMPARE: u8 = b'v';
    /// application, handle of a group that is gone there and whose SENT and DOUBT are being dropped.
    pub(in crate::store) const FORGET: u8 = b'f';
    /// application, handle of a member whose account came or went -> the group from which on it is yet to follow.
    pub(in crate::store) const FOLLOW: u8 = b'j';
    /// set, handle of a resource that is planned together with the others of its set.
    pub(in crate::store) const TOGETHER: u8 = b'S';
    /// application, handle of a user -> the set that it is in.
    pub(in crate::store) const WITHIN: u8 = b'W';
    /// application, set, group -> the member from which on the group is yet to be gathered into the set.
    pub(in crate::store) const BENEATH: u8 = b'U';
}

/// What `active` is instead of true, in a byte of a key that stands where a kind's byte may stand.
pub(super) mod active {
    /// It is false.
    pub(in crate::store) const OFF: u8 = b'F';
    /// It is not there: a client may remove it, and absent is not false.
    pub(in crate::store) const ABSENT: u8 = b'N';
}

/// Builds a key.
#[derive(Debug)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn new(tag: u8) -> Self {
        let mut bytes = Vec::with_capacity(48);
        bytes.push(tag);
        Self(bytes)
    }

    /// Text, closed: nothing behind it can be taken for part of it.
    pub(super) fn text(self, text: &str) -> Self {
        let mut key = self.open_text(text);
        key.0.extend_from_slice(&[0, 1]);
        key
    }

    /// The beginning of a text, for ranges.
    pub(super) fn open_text(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// The number at the end of a key.
pub(super) fn last_number(key: &[u8]) -> u64 {
    key.split_last_chunk::<8>()
        .map_or(0, |(_, number)| u64::from_be_bytes(*number))
}

pub(super) fn id(kind: Kind, id: &str) -> Vec<u8> {
    Key::new(tag::ID).byte(kind_byte(kind)).text(id).done()
}

pub(super) fn user_name(name: &str) -> Vec<u8> {
    Key::new(tag::USER_NAME).text(&fold(name)).done()
}

pub(super) fn remote(application: &str, remote_id: &str) -> Vec<u8> {
    Key::new(tag::REMOTE)
        .text(application)
        .text(remote_id)
        .done()
}

pub(super) fn remote_group(application: &str, remote_id: &str) -> Vec<u8> {
    Key::new(tag::REMOTE_GROUP)
        .text(application)
        .text(remote_id)
        .done()
}

/// Everything under one value: the handle follows.
pub(super) fn orphans(application: &str, account: &str) -> Vec<u8> {
    Key::new(tag::ORPHAN)
        .text(application)
        .text(&fold(account))
        .done()
}

/// Everything under one value: the handle follows.
pub(super) fn emails(address: &str) -> Vec<u8> {
    Key::new(tag::EMAIL).text(&fold(address)).done()
}

/// Everything under one value: the handle follows.
pub(super) fn group_names(name: &str) -> Vec<u8> {
    Key::new(tag::GROUP_NAME).text(&fold(name)).done()
}

/// Everything under one value: the handle follows.
pub(super) fn external_ids(client: &str, value: &str, kind: Kind) -> Vec<u8> {
    Key::new(tag::EXTERNAL)
        .text(client)
        .text(value)
        .byte(kind_byte(kind))
        .done()
}

/// Everything under one value: the handle follows.
pub(super) fn display_names(name: &str) -> Vec<u8> {
    Key::new(tag::DISPLAY_NAME).text(&fold(name)).done()
}

/// Everything of one moment: the handle follows.
pub(super) fn modified(kind: Kind, at: Timestamp) -> Vec<u8> {
    Key::new(tag::MODIFIED)
        .byte(kind_byte(kind))
        .number(at.0)
        .done()
}

/// Where a list by `meta.lastModified` finds a resource.
pub(super) fn modified_at(resource: &Resource) -> Vec<u8> {
    followed(modified(resource.kind, resource.modified), resource.handle)
}

/// Everything under one of [`active`]: the handle follows.
pub(super) fn not_active(what: u8) -> Vec<u8> {
    Key::new(tag::NOT_ACTIVE).byte(what).done()
}

/// One of [`active`] for a user that clients see and whose `active` is not true.
pub(super) fn what_active_is(resource: &Resource) -> Option<u8> {
    if resource.kind != Kind::User || resource.deleted.is_some() {
        return None;
    }
    match resource.attributes.get("active") {
        Some(Value::Bool(true)) => None,
        Some(Value::Bool(false)) => Some(active::OFF),
        _ => Some(active::ABSENT),
    }
}

/// One number under a tag, or the beginning of keys with a second one.
pub(super) fn by_handle(tag: u8, handle: Handle) -> Vec<u8> {
    Key::new(tag).number(handle.0).done()
}

/// An edge.
pub(super) fn edge(tag: u8, from: Handle, to: Handle) -> Vec<u8> {
    Key::new(tag).number(from.0).number(to.0).done()
}

pub(super) fn due(application: &str, lane: Lane, due: Timestamp, handle: Handle) -> Vec<u8> {
    Key::new(tag::DUE)
        .text(application)
        .byte(lane as u8)
        .number(due.0)
        .number(handle.0)
        .done()
}

pub(super) fn counted(application: &str, handle: Handle) -> Vec<u8> {
    Key::new(tag::COUNTED)
        .text(application)
        .number(handle.0)
        .done()
}

/// A mark's key in its own table.
pub(super) fn mark(handle: Handle, application: &str) -> Vec<u8> {
    let mut key = handle.0.to_be_bytes().to_vec();
    key.extend_from_slice(application.as_bytes());
    key
}

/// The look-up keys of a resource and what stands under them. `ours`: its id carries its handle.
///
/// A tombstone keeps its remote ids, because its accounts are still its own, and is found by their names.
pub(super) fn keys(resource: &Resource, ours: bool) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut keys = BTreeMap::new();
    let handle = resource.handle.0.to_be_bytes().to_vec();
    for link in &resource.links {
        if let Some(remote_id) = &link.remote_id {
            let key = match resource.kind {
                Kind::User => remote(&link.application, remote_id),
                Kind::Group => remote_group(&link.application, remote_id),
            };
            keys.insert(key, handle.clone());
        }
        // A user of a deleted group's name must not take the group for an account.
        if resource.deleted.is_some() && resource.kind == Kind::User {
            for account in accounts(link) {
                keys.insert(
                    followed(orphans(&link.application, account), resource.handle),
                    Vec::new(),
                );
            }
        }
    }
    if resource.deleted.is_some() {
        return keys;
    }
    let text = |name: &str| resource.attributes.get(name).and_then(Value::as_str);
    if !ours {
        keys.insert(id(resource.kind, resource.id.as_str()), handle.clone());
    }
    if let Some(value) = text("externalId") {
        let under = external_ids(&resource.owner, value, resource.kind);
        keys.insert(followed(under, resource.handle), Vec::new());
    }
    keys.extend(list_keys(resource).map(|key| (key, Vec::new())));
    match resource.kind {
        Kind::User => {
            let name = text("userName");
            if let Some(name) = name {
                keys.insert(user_name(name), handle);
            }
            let name = name.map(fold);
            for address in addresses(resource).filter(|address| name.as_ref() != Some(address)) {
                keys.insert(followed(emails(&address), resource.handle), Vec::new());
            }
        }
        Kind::Group => {
            keys.insert(by_handle(tag::GROUP, resource.handle), Vec::new());
            if let Some(name) = text("displayName") {
                keys.insert(followed(group_names(name), resource.handle), Vec::new());
            }
        }
    }
    keys
}

/// The keys of a live resource that schema 2 brought: what lists are sorted and counted by.
pub(super) fn list_keys(resource: &Resource) -> impl Iterator<Item = Vec<u8>> {
    let handle = resource.handle;
    let name = (resource.kind == Kind::User).then(|| {
        match resource
            .attributes
            .get("displayName")
            .and_then(Value::as_str)
        {
            Some(name) => followed(display_names(name), handle),
            None => by_handle(tag::NAMELESS, handle),
        }
    });
    let flag = what_active_is(resource).map(|what| followed(not_active(what), handle));
    [Some(modified_at(resource)), name, flag]
        .into_iter()
        .flatten()
}

/// The folded values of `emails`.
pub(super) fn addresses(resource: &Resource) -> impl Iterator<Item = String> {
    resource
        .attributes
        .get("emails")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|email| email.get("value")?.as_str())
        .map(fold)
}

/// The names under which an account may be looked up.
fn accounts(link: &crate::provision::link::Link) -> impl Iterator<Item = &str> {
    let sent = link
        .sent
        .as_ref()
        .and_then(|sent| sent.get("userName")?.as_str());
    link.seen_name.as_deref().into_iter().chain(sent)
}

fn followed(mut key: Vec<u8>, handle: Handle) -> Vec<u8> {
    key.extend_from_slice(&handle.0.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    use crate::store::tests::{link, user};

    #[test]
    fn names_fold_by_nfc_and_case() {
        for (text, folded) in [
            ("ADA@Example.com", "ada@example.com"),
            ("Zoe\u{308}", "zo\u{eb}"),
            ("ZO\u{cb}", "zo\u{eb}"),
            ("\u{212b}", "\u{e5}"),
            ("\u{130}", "i\u{307}"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in "\\PC{0,12}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }

        #[test]
        fn closed_texts_never_run_into_each_other(a in "[ab\0\u{1}]{0,4}", b in "[ab\0\u{1}]{0,4}", c in "[ab\0\u{1}]{0,4}", d in "[ab\0\u{1}]{0,4}") {
            let one = Key::new(1).text(&a).text(&b).done();
            let two = Key::new(1).text(&c).text(&d).done();
            prop_assert_eq!(one == two, (&a, &b) == (&c, &d));
            let starts = two.starts_with(&Key::new(1).text(&a).done());
            prop_assert_eq!(starts, a == c);
        }
    }

    #[test]
    fn each_resource_has_the_keys_of_its_state() {
        let tags = |resource: &Resource, ours| -> String {
            keys(resource, ours)
                .keys()
                .map(|key| char::from(key[0]))
                .collect()
        };
        let mut person = user(7, "Ada@example.com");
        assert_eq!(tags(&person, true), "luw");
        assert_eq!(tags(&person, false), "iluw");
        person.attributes.insert("displayName".into(), json!("Ada"));
        assert_eq!(tags(&person, true), "alu");
        for not_true in [json!(false), Value::Null] {
            person.attributes.insert("active".into(), not_true);
            assert_eq!(tags(&person, true), "aluz");
        }
        person.attributes.remove("active");
        assert_eq!(tags(&person, true), "aluz");
        person.attributes.insert("active".into(), json!(true));
        person.attributes.insert("externalId".into(), json!("x1"));
        person.attributes.insert(
            "emails".into(),
            json!([{ "value": "ADA@example.com" }, { "value": "ada@home.example" }, { "type": "work" }]),
        );
        person.links = vec![link("zoom", Some("r1")), link("other", None)];
        assert_eq!(tags(&person, true), "aelrux");
        person.deleted = Some(Timestamp(5));
        person.links[0].seen_name = Some("ada@example.com".into());
        assert_eq!(tags(&person, false), "or");
        person.deleted = None;
        person.kind = Kind::Group;
        person
            .attributes
            .insert("displayName".into(), json!("Staff"));
        assert_eq!(tags(&person, true), "ghklx");
    }
}
