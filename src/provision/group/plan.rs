//! Deciding for one group and one application.
//!
//! | wanted there | link | plan |
//! |---|---|---|
//! | no | none | nothing |
//! | yes | none, or nobody knows | give: look it up by name, adopt it or create it |
//! | yes | *sent* differs from what the rules give | update |
//! | yes | memberships may differ | members: add and remove, never replace |
//! | no | created by us | delete |
//! | no | adopted | leave: the members that we added go, the group stays |

use serde_json::{Map, Value};

use crate::config::shape::Mode;
use crate::journal::record::{Operation, Status};
use crate::mapping::Giving;
use crate::policy::scope;
use crate::provision::link::{Link, Origin};
use crate::provision::plan::{Application, Note};
use crate::scim::{Resource, schema};

/// What goes to the application.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// There should be a group: find it, or create it.
    Give {
        /// What it should hold, apart from members.
        body: Map<String, Value>,
    },
    /// It should hold something else.
    Update {
        /// What it should hold, apart from members.
        body: Map<String, Value>,
    },
    /// Members should come or go.
    Members,
    /// It should be gone.
    Delete,
    /// It is not ours to delete: the members that we added should go, and then the link.
    Leave,
}

/// What is known of a group's memberships in the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Some may differ.
    pub in_doubt: bool,
    /// Some were refused, and still differ.
    pub refused: bool,
    /// Some were sent.
    pub any_sent: bool,
}

/// What planning says.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What goes.
    pub act: Act,
    /// What the act is about, for the journal.
    pub operation: Operation,
    /// The link as it stands before anything goes.
    pub link: Option<Link>,
    /// Why nothing goes. `None` with [`Act::Nothing`]: there is nothing to say.
    pub note: Option<Note>,
}

impl Decision {
    /// Whether carrying it out may change the group's link, and not its memberships alone.
    #[must_use]
    pub fn relinks(&self, group: &Resource, application: &Application) -> bool {
        self.link.as_ref() != group.link(application.name())
            || matches!(
                self.act,
                Act::Give { .. } | Act::Update { .. } | Act::Delete
            )
    }
}

/// Whether the configuration wants this group there.
#[must_use]
pub fn is_pushed(application: &Application, group: &Resource) -> bool {
    // The same globs as for protected accounts, over the name that the directory has.
    group.deleted.is_none() && scope::protected(&application.config.groups.push, group.title())
}

/// The key by which the group is known there before it has an id: the folded mapped displayName. What claims are taken
/// on; no userName starts like this.
#[must_use]
pub fn account_key(application: &Application, group: &Resource) -> String {
    let mapped = application
        .group_mapping
        .run(&group.attributes, Giving::Create)
        .account;
    format!("Groups/{}", schema::fold(name(&mapped)))
}

/// The displayName in a body.
#[must_use]
pub fn name(body: &Map<String, Value>) -> &str {
    body.get("displayName")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Decides.
#[must_use]
pub fn plan(application: &Application, group: &Resource, facts: Facts) -> Decision {
    let mut link = group.link(application.name()).cloned();
    // What was imported is in no plan until a client writes to the group, or a person says so of it.
    let nobodys = group.owner.is_empty();
    let unclaimed = match &link {
        Some(link) if link.is_unclaimed() => {
            let switches = application.config.groups.create && application.config.adopt;
            nobodys || !switches || !is_pushed(application, group)
        }
        Some(_) => false,
        None => nobodys,
    };
    if unclaimed {
        let reason = "imported, and claimed by nobody yet";
        return nothing(Operation::Update, link, skipped("unclaimed", reason));
    }
    if let Some(link) = link.as_mut().filter(|link| link.is_unclaimed()) {
        link.origin = Origin::Adopted;
    }
    let decision = if is_pushed(application, group) {
        here(application, group, link, facts)
    } else {
        gone(application, link, facts)
    };
    if application.config.mode == Mode::Simulate && decision.act != Act::Nothing {
        let reason = "the application is in simulate mode: this is what would have gone";
        return Decision {
            note: skipped("simulate", reason),
            ..decision
        };
    }
    decision
}

fn nothing(operation: Operation, link: Option<Link>, note: Option<Note>) -> Decision {
    Decision {
        act: Act::Nothing,
        operation,
        link,
        note,
    }
}

fn skipped(code: &'static str, reason: &str) -> Option<Note> {
    Some(Note {
        status: Status::Skipped,
        code,
        reason: reason.to_owned(),
    })
}

fn here(application: &Application, group: &Resource, link: Option<Link>, facts: Facts) -> Decision {
    let switches = &application.config.groups;
    let giving = match link.as_ref().filter(|link| link.remote_id.is_some()) {
        None => Giving::Create,
        Some(link) => Giving::Update {
            current: link.sent.as_ref(),
        },
    };
    let mapped = application.group_mapping.run(&group.attributes, giving);
    let operation = match giving {
        Giving::Create => Operation::Create,
        Giving::Update { .. } => Operation::Update,
    };
    let mut body = mapped.account;
    if !mapped.missing.is_empty() || name(&body).trim().is_empty() {
        let note = Note {
            status: Status::Failure,
            code: "missing",
            reason: format!(
                "{} needs a group's displayName, and the rules give no value",
                application.name()
            ),
        };
        return nothing(operation, link, Some(note));
    }
    let Some(mut link) = link else {
        if !switches.create {
            let note = skipped("create_off", "creating groups is switched off");
            return nothing(operation, None, note);
        }
        return act(Act::Give { body }, operation, None);
    };
    if link.remote_id.is_none() {
        if link.kept && link.seen_name.as_deref() == Some(name(&body)) {
            let note = skipped(
                "unsupported",
                "the application does not take groups, or not from us; it was asked once",
            );
            return nothing(operation, Some(link), note);
        }
        // A create that may have happened is found out about whatever the switches say now.
        let link = Some(link).filter(|link| !link.kept);
        if link.is_none() && !switches.create {
            let note = skipped("create_off", "creating groups is switched off");
            return nothing(operation, None, note);
        }
        return act(Act::Give { body }, operation, link);
    }
    // Wanted again: what was left alone is ours again.
    let unsupported = refuses_members(&link);
    link.kept = false;
    if let Some(sent) = &link.sent {
        application.group_mapping.clear(sent, &mut body);
    }
    let same = link.uncertain.is_none()
        && link
            .sent
            .as_ref()
            .is_some_and(|sent| application.group_mapping.same(sent, &body));
    // Members first: a name that the application refuses must not keep them out.
    let members = switches.membership && !unsupported;
    if facts.in_doubt && members {
        return act(Act::Members, Operation::Membership, Some(link));
    }
    if !same && switches.update {
        return act(Act::Update { body }, Operation::Update, Some(link));
    }
    if facts.refused && members {
        return act(Act::Members, Operation::Membership, Some(link));
    }
    let (operation, note) = if !same {
        let note = skipped("update_off", "updating groups is switched off");
        (Operation::Update, note)
    } else if !facts.in_doubt && !facts.refused {
        (Operation::Update, None)
    } else if unsupported {
        let note = skipped(
            "unsupported",
            "the application does not take members of groups from us; it was asked once",
        );
        (Operation::Membership, note)
    } else {
        let note = skipped(
            "membership_off",
            "adding and removing members is switched off",
        );
        (Operation::Membership, note)
    };
    nothing(operation, Some(link), note)
}

/// The application said that it takes no members of groups.
fn refuses_members(link: &Link) -> bool {
    link.dropped.iter().any(|what| what == "members")
}

/// The application said that it takes nobody out of a group.
#[must_use]
pub fn takes_out(link: Option<&Link>) -> bool {
    !link.is_some_and(|link| link.dropped.iter().any(|what| what == STAYING))
}

/// What a link says it of.
pub const STAYING: &str = "members that leave";

fn act(act: Act, operation: Operation, link: Option<Link>) -> Decision {
    Decision {
        act,
        operation,
        link,
        note: None,
    }
}

/// The group should not be there. Nothing is removed from an application that we did not bring there.
fn gone(application: &Application, link: Option<Link>, facts: Facts) -> Decision {
    let switches = &application.config.groups;
    let not_pushed = || skipped("not_pushed", "the application's `push` does not name it");
    let Some(link) = link else {
        return nothing(Operation::Update, None, not_pushed());
    };
    if link.remote_id.is_none() && link.uncertain.is_none() {
        return nothing(Operation::Delete, None, not_pushed());
    }
    if link.origin != Origin::Created {
        if facts.any_sent && switches.membership && !refuses_members(&link) {
            return act(Act::Leave, Operation::Membership, Some(link));
        }
        let note = Note {
            status: Status::Success,
            code: "left",
            reason: String::from(
                "the group was there before us and stays there; it is not ours any more",
            ),
        };
        return nothing(Operation::Delete, None, Some(note));
    }
    if link.kept {
        let note = skipped("kept", "the application refused to delete it; it stays");
        return nothing(Operation::Delete, Some(link), note);
    }
    if !switches.delete {
        let note = skipped("delete_off", "deleting groups is switched off");
        return nothing(Operation::Delete, Some(link), note);
    }
    act(Act::Delete, Operation::Delete, Some(link))
}

#[cfg(test)]
pub(in crate::provision::group) mod tests;
