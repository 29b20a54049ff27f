//! Whom an account that is there already belongs to. Pure: candidates in, a verdict out.

use crate::scim::Resource;

/// Those whom it may belong to, by what it is known by.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// Who has the account linked already.
    pub linked: Option<Resource>,
    /// The user of its userName, or the groups of its displayName.
    pub by_name: Vec<Resource>,
    /// Those whose externalId is the account's, or its id there.
    pub by_external_id: Vec<Resource>,
    /// Those who have its e-mail address.
    pub by_email: Vec<Resource>,
}

/// Whose it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Theirs already.
    Linked(Box<Resource>),
    /// Theirs from now on.
    Link(Box<Resource>),
    /// Nobody's here.
    Nobodys,
    /// It cannot be told, or theirs is another one.
    Clash {
        /// For scripts.
        code: &'static str,
        /// For people.
        reason: String,
    },
}

/// Judges. What an account is called there counts before what somebody wrote into an attribute of it; an existing link is
/// never touched.
#[must_use]
pub fn judge(application: &str, candidates: Candidates) -> Verdict {
    if let Some(linked) = candidates.linked {
        return Verdict::Linked(Box::new(linked));
    }
    let keys = [
        ("name", candidates.by_name),
        ("externalId", candidates.by_external_id),
        ("e-mail address", candidates.by_email),
    ];
    for (key, mut found) in keys {
        let Some(one) = found.pop() else {
            continue;
        };
        if let Some(other) = found.pop() {
            return Verdict::Clash {
                code: "ambiguous",
                reason: format!("{} and {} have this {key} here", named(&other), named(&one)),
            };
        }
        return match one.link(application) {
            None => Verdict::Link(Box::new(one)),
            Some(link) => Verdict::Clash {
                code: "linked_elsewhere",
                reason: match &link.remote_id {
                    Some(id) => format!("{} has the account {id} there", named(&one)),
                    None => format!("an account of {} is under way there", named(&one)),
                },
            },
        };
    }
    Verdict::Nobodys
}

fn named(resource: &Resource) -> String {
    match resource.title() {
        "" => format!("the {} {}", resource.kind.name(), resource.id),
        title => title.to_owned(),
    }
}

/// Whether an id of the application may be one here (`keep_ids`): clients put it into a path, and it must come through whole.
#[must_use]
pub fn may_keep(id: &str) -> bool {
    const LONGEST: usize = 256;
    let plain = id
        .chars()
        .all(|letter| letter.is_ascii_graphic() && letter != '/');
    plain
        && (1..=LONGEST).contains(&id.len())
        && !matches!(id, "." | ".." | ".search")
        && !id.starts_with("bulkId:")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::provision::link::Link;
    use crate::scim::{Handle, Id, Kind};

    fn user(name: &str, link: Option<Option<&str>>) -> Resource {
        let mut user = Resource {
            handle: Handle(1),
            id: Id::from("u"),
            kind: Kind::User,
            version: 1,
            created: Timestamp(0),
            modified: Timestamp(0),
            owner: String::from("okta"),
            deleted: None,
            attributes: json!({"userName": name}).as_object().cloned().unwrap(),
            links: Vec::new(),
        };
        if let Some(remote_id) = link {
            let mut link = Link::imported("zoom", "x", None, None);
            link.remote_id = remote_id.map(str::to_owned);
            user.set_link("zoom", Some(link));
        }
        user
    }

    #[test]
    fn whose_an_account_is() {
        let one = |name: &str| vec![user(name, None)];
        let candidates =
            |names: Vec<Resource>, ids: Vec<Resource>, emails: Vec<Resource>| Candidates {
                linked: None,
                by_name: names,
                by_external_id: ids,
                by_email: emails,
            };
        let linked = Candidates {
            linked: Some(user("a", Some(Some("1")))),
            by_name: one("b"),
            ..Candidates::default()
        };
        for (candidates, says) in [
            (linked, "Linked a"),
            (candidates(one("a"), one("b"), one("c")), "Link a"),
            (candidates(vec![], one("b"), one("c")), "Link b"),
            (candidates(vec![], vec![], one("c")), "Link c"),
            (Candidates::default(), "Nobodys"),
            (
                candidates(vec![], vec![], [one("c"), one("d")].concat()),
                "ambiguous c and d have this e-mail address here",
            ),
            (
                candidates(vec![user("a", Some(Some("9")))], one("b"), vec![]),
                "linked_elsewhere a has the account 9 there",
            ),
            (
                candidates(vec![user("a", Some(None))], vec![], vec![]),
                "linked_elsewhere an account of a is under way there",
            ),
        ] {
            let said = match judge("zoom", candidates) {
                Verdict::Linked(one) => format!("Linked {}", one.title()),
                Verdict::Link(one) => format!("Link {}", one.title()),
                Verdict::Nobodys => String::from("Nobodys"),
                Verdict::Clash { code, reason } => format!("{code} {reason}"),
            };
            assert_eq!(said, says);
        }
    }

    #[test]
    fn ids_that_may_be_kept() {
        for (id, may) in [
            ("k&KdKr6TLWuxdDtk0hjSzL", true),
            ("7", true),
            ("a%2Fb", true),
            ("", false),
            ("a/b", false),
            ("..", false),
            ("a b", false),
            ("\u{e9}", false),
            (".search", false),
            ("bulkId:1", false),
            (&"x".repeat(256), true),
            (&"x".repeat(257), false),
        ] {
            assert_eq!(may_keep(id), may, "{id}");
        }
    }
}
