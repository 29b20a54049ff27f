//! Groups in an application: endpoints, bodies, and how answers are read.

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};

use super::{ENCODED, Heard, PATCH_OP, Profile, detail, found, page, scim, shown, zoom};
use crate::config::shape::ProfileName;
use crate::provision::call::{Call, Class, Method};

const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// Members that one call names at most. Zoom documents no number for SCIM; its REST API takes few.
pub const MEMBERS: usize = 100;
/// The longest body of a PATCH of members, in bytes. Zoom refuses more than 100,000 characters.
pub const BODY: usize = 99_000;
/// What a body has beside its members.
const FRAME: usize = 200;

/// What a call about a group is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupAim {
    /// `filter=displayName eq "..."`
    LookUp,
    /// A page of all groups, where no filter finds one.
    List,
    /// GET by id.
    Read,
    /// POST.
    Create,
    /// PATCH of attributes.
    Update,
    /// PATCH of members.
    Members,
    /// DELETE.
    Delete,
}

impl Profile {
    /// Looks for a group by its displayName.
    #[must_use]
    pub fn look_up_group(self, name: &str) -> Call {
        let filter = format!("displayName eq {}", Value::from(name));
        let mut query = format!(
            "filter={}&startIndex=1&count=10",
            utf8_percent_encode(&filter, ENCODED)
        );
        // A group of a hundred thousand need not be sent to us to learn its id (RFC 7644 3.4.2.5). Zoom shows no members.
        if self.0 == ProfileName::Scim {
            query.push_str("&excludedAttributes=members");
        }
        Call {
            method: Method::Get,
            path: String::from("/Groups"),
            query: Some(query),
            body: None,
            class: Class::Medium,
        }
    }

    /// Reads a page of all groups, from the one of this number on (the first is 1).
    #[must_use]
    pub fn list_groups(self, start: usize) -> Call {
        Call {
            method: Method::Get,
            path: String::from("/Groups"),
            query: Some(format!(
                "startIndex={start}&count={}&excludedAttributes=members",
                scim::PAGE
            )),
            body: None,
            class: Class::Medium,
        }
    }

    /// Reads one group with everything in it, to put it back.
    #[must_use]
    pub fn read_whole_group(self, id: &str) -> Call {
        one(Method::Get, id, None)
    }

    /// Puts a group back as it was read, with `ours` changed in it: for whoever takes no PATCH of that. Its members are
    /// those that were read.
    #[must_use]
    pub fn rewrite_group(
        self,
        id: &str,
        whole: &Map<String, Value>,
        ours: &Map<String, Value>,
    ) -> Call {
        let body = Value::Object(scim::rewritten(whole, ours));
        one(Method::Put, id, Some(body.to_string().into_bytes()))
    }

    /// Reads one group, without its members.
    #[must_use]
    pub fn read_group(self, id: &str) -> Call {
        let query = match self.0 {
            ProfileName::Zoom => None,
            ProfileName::Scim => Some(String::from("excludedAttributes=members")),
        };
        Call {
            query,
            ..one(Method::Get, id, None)
        }
    }

    /// Creates a group, without members: Zoom documents none there, and they follow in chunks.
    #[must_use]
    pub fn create_group(self, body: &Map<String, Value>) -> Call {
        let mut body = body.clone();
        let extensions = body.keys().filter(|key| key.starts_with("urn:"));
        let schemas = std::iter::once(GROUP).chain(extensions.map(String::as_str));
        let schemas: Value = schemas.collect();
        body.insert(String::from("schemas"), schemas);
        Call {
            method: Method::Post,
            path: String::from("/Groups"),
            query: None,
            body: Some(Value::Object(body).to_string().into_bytes()),
            class: Class::Light,
        }
    }

    /// Writes attributes of a group. Always a PATCH with paths: Zoom has no PUT, and a PUT without members may empty a
    /// group elsewhere.
    #[must_use]
    pub fn update_group(self, id: &str, attributes: &Map<String, Value>) -> Call {
        let mut operations = Vec::new();
        for (key, value) in attributes {
            match value {
                Value::Object(parts) if key.starts_with("urn:") => {
                    for (part, value) in parts {
                        operations.push(replace(&format!("{key}:{part}"), value));
                    }
                }
                value => operations.push(replace(key, value)),
            }
        }
        patch(id, operations)
    }

    /// Adds members to a group.
    #[must_use]
    pub fn add_members(self, id: &str, members: &[&str]) -> Call {
        let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
        patch(
            id,
            vec![json!({ "op": "add", "path": "members", "value": members })],
        )
    }

    /// Takes members out of a group: one operation a member, in the form of RFC 7644 3.5.2.2. A list of values without a
    /// filter is shorter, but servers by the letter empty the whole group on it.
    #[must_use]
    pub fn remove_members(self, id: &str, members: &[&str]) -> Call {
        patch(id, members.iter().map(|id| removal(id)).collect())
    }

    /// Deletes a group.
    #[must_use]
    pub fn delete_group(self, id: &str) -> Call {
        one(Method::Delete, id, None)
    }

    /// How many of the first members go into one call.
    #[must_use]
    pub fn fit<'m>(self, adding: bool, members: impl Iterator<Item = &'m str>) -> usize {
        let mut size = FRAME;
        let fitting = members.take(MEMBERS).take_while(|id| {
            // With the comma.
            size += 1 + if adding {
                r#"{"value":}"#.len() + Value::from(*id).to_string().len()
            } else {
                removal(id).to_string().len()
            };
            size <= BODY
        });
        // One that is too long goes alone, and is refused.
        fitting.count().max(1)
    }

    /// Reads an answer about a group. Nothing here is taken for an outage that users would suffer from too, unless it
    /// surely is one: an application without groups, or without the right to them, has accounts all the same.
    #[must_use]
    pub fn hear_group(self, aim: GroupAim, status: u16, body: &[u8]) -> Heard {
        use GroupAim::{Create, Delete, List, LookUp, Members, Read, Update};
        let detail = || detail(body);
        let reads = matches!(aim, LookUp | List | Read);
        match status {
            200..=299 => done(aim, body),
            300..=399 => Heard::Unavailable(format!(
                "it answered with a redirect ({status}), which is not followed"
            )),
            405 | 501 => Heard::Unsupported(detail()),
            // It may have groups all the same, and no filter for them.
            400 if self.0 == ProfileName::Scim && aim == LookUp => Heard::Unsupported(detail()),
            // A server that has no groups forbids the whole collection. At Zoom a permission of the role is missing, and
            // an administrator can give it.
            403 if self.0 == ProfileName::Scim && matches!(aim, LookUp | List | Create) => {
                Heard::Unsupported(detail())
            }
            // Of one group it may be a matter of that one, or of one member.
            403 if self.0 == ProfileName::Scim => Heard::Forbidden(detail()),
            404 if matches!(aim, LookUp | List | Create) => Heard::Refused {
                status,
                detail: format!("there are no groups at this address: {}", detail()),
            },
            404 => Heard::Absent(detail()),
            401 | 425 | 429 => Heard::Unavailable(detail()),
            408 | 500.. if reads => Heard::Unavailable(detail()),
            408 | 500.. => Heard::Ambiguous(detail()),
            409 if aim == Create => Heard::Exists(detail()),
            _ => {
                let said = detail();
                let folded = said.to_lowercase();
                let zoom = self.0 == ProfileName::Zoom;
                if zoom && zoom::is_account_level(&folded) {
                    Heard::Unavailable(said)
                } else if aim == Create && folded.contains("already exist") {
                    Heard::Exists(said)
                } else if zoom
                    && matches!(aim, Update | Members | Delete | Read)
                    && folded.contains("group does not exist")
                {
                    Heard::Absent(said)
                } else {
                    Heard::Refused {
                        status,
                        detail: said,
                    }
                }
            }
        }
    }
}

fn done(aim: GroupAim, body: &[u8]) -> Heard {
    let read = || serde_json::from_slice::<Value>(body).ok();
    match aim {
        // Whatever they show of the group, it was done.
        GroupAim::Update | GroupAim::Members | GroupAim::Delete => Heard::Done,
        GroupAim::LookUp => match read().and_then(found) {
            Some(groups) => Heard::Found(groups),
            None => Heard::Unavailable(String::from("its list is not a SCIM ListResponse")),
        },
        GroupAim::List => match page(body) {
            Some((groups, total)) => Heard::Page(groups, total),
            None => Heard::Unavailable(String::from("its list is not a SCIM ListResponse")),
        },
        GroupAim::Read => match read().and_then(shown) {
            Some(group) => Heard::Account(Box::new(group)),
            None => Heard::Unavailable(String::from("its answer is not a SCIM group")),
        },
        GroupAim::Create => match read().and_then(shown) {
            Some(group) => Heard::Account(Box::new(group)),
            None => Heard::Ambiguous(String::from("its answer is not a SCIM group")),
        },
    }
}

fn replace(path: &str, value: &Value) -> Value {
    json!({ "op": "replace", "path": path, "value": value })
}

fn removal(id: &str) -> Value {
    // A JSON string is a SCIM string.
    let path = format!("members[value eq {}]", Value::from(id));
    json!({ "op": "remove", "path": path })
}

fn patch(id: &str, operations: Vec<Value>) -> Call {
    let body = json!({ "schemas": [PATCH_OP], "Operations": operations });
    one(Method::Patch, id, Some(body.to_string().into_bytes()))
}

fn one(method: Method, id: &str, body: Option<Vec<u8>>) -> Call {
    Call {
        method,
        path: format!("/Groups/{}", utf8_percent_encode(id, ENCODED)),
        query: None,
        body,
        class: Class::Light,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZOOM: Profile = Profile(ProfileName::Zoom);
    const SCIM: Profile = Profile(ProfileName::Scim);

    fn body(call: &Call) -> Value {
        serde_json::from_slice(call.body.as_deref().unwrap()).unwrap()
    }

    #[test]
    fn bodies_name_what_they_change() {
        let map = |value: Value| value.as_object().unwrap().clone();
        let given = map(json!({"displayName": "Staff", "urn:x:Group": {"alias": "a"}}));
        let call = ZOOM.create_group(&given);
        assert_eq!(
            body(&call),
            json!({"schemas": [GROUP, "urn:x:Group"], "displayName": "Staff", "urn:x:Group": {"alias": "a"}})
        );
        let call = ZOOM.update_group("k&K", &given);
        assert_eq!(call.path, "/Groups/k%26K");
        assert_eq!(
            body(&call)["Operations"],
            json!([
                {"op": "replace", "path": "displayName", "value": "Staff"},
                {"op": "replace", "path": "urn:x:Group:alias", "value": "a"},
            ])
        );
        assert_eq!(
            body(&SCIM.add_members("1", &["2", "3"]))["Operations"],
            json!([{"op": "add", "path": "members", "value": [{"value": "2"}, {"value": "3"}]}])
        );
        assert_eq!(
            body(&SCIM.remove_members("1", &["a\"b"]))["Operations"],
            json!([{"op": "remove", "path": "members[value eq \"a\\\"b\"]"}])
        );
        let query = SCIM.look_up_group("A b").query.unwrap();
        assert!(query.ends_with("&excludedAttributes=members"), "{query}");
        let query = ZOOM.look_up_group("A b").query.unwrap();
        assert_eq!(
            query,
            "filter=displayName%20eq%20%22A%20b%22&startIndex=1&count=10"
        );
    }

    #[test]
    fn a_chunk_fits_into_a_body() {
        for (length, adding, wanted) in [
            (22, true, MEMBERS),
            (22, false, MEMBERS),
            (2_000, true, 49),
            (2_000, false, 48),
            (60_000, true, 1),
        ] {
            let ids: Vec<String> = (0..250)
                .map(|n| format!("{n:0length$}").replace('0', "\""))
                .collect();
            let plain: Vec<String> = (0..250).map(|n| format!("{n:0length$}")).collect();
            let of = |ids: &[String]| {
                let fits = SCIM.fit(adding, ids.iter().map(String::as_str));
                let some: Vec<&str> = ids.iter().take(fits).map(String::as_str).collect();
                let call = if adding {
                    SCIM.add_members("1", &some)
                } else {
                    SCIM.remove_members("1", &some)
                };
                (fits, call.body.unwrap().len())
            };
            let (fits, size) = of(&plain);
            assert_eq!(fits, wanted, "{length} {adding}: {size}");
            for (fits, size) in [(fits, size), of(&ids)] {
                assert!(size < 100_000 || fits == 1, "{length} {adding}: {size}");
            }
        }
    }

    #[test]
    fn answers_are_read_by_what_the_call_was_for() {
        let check = |profile: Profile, aim, status, body: &str, want: &str| {
            let heard = format!("{:?}", profile.hear_group(aim, status, body.as_bytes()));
            assert!(heard.starts_with(want), "{aim:?} {status}: {heard}");
        };
        let says = |text: &str| json!({ "detail": text }).to_string();
        let default = says("Cannot delete account default group.");
        check(ZOOM, GroupAim::Delete, 400, &default, "Refused");
        let gone = says("Group does not exist.");
        check(ZOOM, GroupAim::Members, 404, &gone, "Absent");
        check(ZOOM, GroupAim::Update, 400, &gone, "Absent");
        let exists = says("Group already exists.");
        check(ZOOM, GroupAim::Create, 400, &exists, "Exists");
        check(SCIM, GroupAim::Create, 409, "", "Exists");
        let scopes = says("The token does not contain scopes.");
        check(ZOOM, GroupAim::Create, 400, &scopes, "Unavailable");
        check(ZOOM, GroupAim::Create, 403, "", "Refused");
        check(SCIM, GroupAim::LookUp, 403, "", "Unsupported");
        for aim in [GroupAim::Members, GroupAim::Update, GroupAim::Delete] {
            check(SCIM, aim, 403, "", "Forbidden");
            check(ZOOM, aim, 403, "", "Refused");
        }
        for status in [405, 501] {
            check(SCIM, GroupAim::Members, status, "", "Unsupported");
        }
        check(SCIM, GroupAim::LookUp, 404, "", "Refused");
        check(ZOOM, GroupAim::Create, 201, "<html>", "Ambiguous");
        check(ZOOM, GroupAim::Members, 204, "", "Done");
        check(ZOOM, GroupAim::Members, 502, "", "Ambiguous");
        check(ZOOM, GroupAim::Read, 502, "", "Unavailable");
        check(ZOOM, GroupAim::Members, 429, "", "Unavailable");
    }
}
