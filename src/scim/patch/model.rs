//! A PATCH against simple models: a set of members, and a table of places that each hold one text.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Operation, apply};
use crate::scim::Kind;
use crate::scim::schema::normalise;

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn operations(kind: Kind, operations: &[Value]) -> Vec<Operation> {
    Operation::read(kind, &json!({ "Operations": operations }), 100).unwrap()
}

/// One operation on a group's members and what it does to a set of them.
#[derive(Debug, Clone)]
enum Change {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Select(u8),
    Replace(Vec<u8>),
    Empty,
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let ids = || proptest::collection::vec(0_u8..6, 0..4);
        prop_oneof![
            ids().prop_map(Self::Add),
            ids().prop_map(Self::Remove),
            (0_u8..6).prop_map(Self::Select),
            ids().prop_map(Self::Replace),
            Just(Self::Empty),
        ]
    }

    /// In the form that the number chooses: the same change as different IdPs send it.
    fn operation(&self, form: u8) -> Value {
        let values = |ids: &[u8]| -> Value {
            let one = |id: &u8| match form % 3 {
                0 => json!({"value": id.to_string()}),
                1 => json!({"$ref": null, "VALUE": id.to_string(), "display": "x"}),
                _ => json!(id.to_string()),
            };
            ids.iter().map(one).collect()
        };
        let pathless = form % 2 == 1;
        match self {
            Self::Add(ids) if pathless => json!({"op": "Add", "value": {"members": values(ids)}}),
            Self::Add(ids) => json!({"op": "add", "path": "members", "value": values(ids)}),
            Self::Remove(ids) => json!({"op": "Remove", "path": "members", "value": values(ids)}),
            Self::Select(id) => {
                json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")})
            }
            Self::Replace(ids) if pathless => {
                json!({"op": "replace", "value": {"Members": values(ids)}})
            }
            Self::Replace(ids) => json!({"op": "Replace", "path": "members", "value": values(ids)}),
            Self::Empty if pathless => json!({"op": "Replace", "path": "members", "value": null}),
            Self::Empty => json!({"op": "remove", "path": "members"}),
        }
    }

    fn model(&self, members: &mut BTreeSet<String>) {
        let own = |ids: &[u8]| ids.iter().map(u8::to_string).collect::<Vec<_>>();
        match self {
            Self::Add(ids) => members.extend(own(ids)),
            Self::Remove(ids) => members.retain(|id| !own(ids).contains(id)),
            Self::Select(id) => members.retain(|other| *other != id.to_string()),
            Self::Replace(ids) => *members = own(ids).into_iter().collect(),
            Self::Empty => members.clear(),
        }
    }
}

/// Places that hold one text each, as PATCH names them, and where the text then stands.
const PLACES: [(&str, &str); 7] = [
    ("title", "/title"),
    ("NICKNAME", "/nickName"),
    ("name.givenName", "/name/givenName"),
    ("name.familyName", "/name/familyName"),
    (
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
        "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/department",
    ),
    ("urn:x:1.0:Thing:colour", "/urn:x:1.0:Thing/colour"),
    ("badge", "/badge"),
];

proptest! {
    #[test]
    fn members_end_as_a_set_would(
        start in proptest::collection::btree_set(0_u8..6, 0..6),
        changes in proptest::collection::vec((Change::any(), any::<u8>()), 0..8),
    ) {
        let start: BTreeSet<String> = start.iter().map(u8::to_string).collect();
        let sent: Vec<Value> = changes.iter().map(|(change, form)| change.operation(*form)).collect();
        let group = normalise(Kind::Group, object(&json!({"displayName": "G"}))).unwrap();
        let applied = apply(Kind::Group, &group, &operations(Kind::Group, &sent)).unwrap();
        prop_assert_eq!(&applied.attributes, &group);

        let mut wanted = start.clone();
        for (change, _) in &changes {
            change.model(&mut wanted);
        }
        let mut got = if applied.members.clear { BTreeSet::new() } else { start };
        got.retain(|id| !applied.members.remove.contains(id));
        got.extend(applied.members.add.clone());
        prop_assert_eq!(got, wanted, "{:?}", sent);
    }

    #[test]
    fn texts_end_as_a_table_would(
        changes in proptest::collection::vec((0..PLACES.len(), 0_u8..6, "[a-z]{1,3}"), 0..10),
    ) {
        let user = normalise(Kind::User, object(&json!({"userName": "a", "title": "T"}))).unwrap();
        let mut wanted = BTreeMap::from([("/title", "T".to_owned())]);
        let mut sent = Vec::new();
        for (at, form, text) in &changes {
            let (path, place) = PLACES[*at];
            let gone = matches!(form, 3..6);
            sent.push(match form {
                0 => json!({"op": "add", "path": path, "value": text}),
                1 => json!({"op": "Replace", "path": path, "value": text}),
                2 => json!({"op": "replace", "value": {path: text}}),
                3 => json!({"op": "Remove", "path": path}),
                4 => json!({"op": "replace", "path": path, "value": null}),
                _ => json!({"op": "add", "value": {path: null}}),
            });
            if gone {
                wanted.remove(place);
            } else {
                wanted.insert(place, text.clone());
            }
        }
        let applied = apply(Kind::User, &user, &operations(Kind::User, &sent)).unwrap();
        let after = Value::Object(applied.attributes);
        for (_, place) in PLACES {
            let got = after.pointer(place).and_then(Value::as_str);
            prop_assert_eq!(got, wanted.get(place).map(String::as_str), "{} {:?}", place, sent);
        }
    }
}
