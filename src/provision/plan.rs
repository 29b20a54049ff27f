//! Deciding: what should be (directory, policy, mapping) against what is known to be (link), and the smallest thing that
//! closes the difference. A function of its arguments.

use serde_json::{Map, Value};

use super::link::{Cause, Link, Origin, Removal, State};
use super::profile::Profile;
use crate::clock::Timestamp;
use crate::config::difference;
use crate::config::shape::{self, Mode, Taking};
use crate::journal::record::{Operation, Status};
use crate::mapping::{self, Giving, Mapping};
use crate::policy::assignment::Assigned;
use crate::policy::scope::{self, Scope, Verdict};
use crate::scim::Resource;
use crate::store::Lane;

/// A pending account is looked at again after this: a person has to accept an invitation.
const PENDING_AGAIN: std::time::Duration = std::time::Duration::from_secs(3600);

/// A removal that waits for a count is looked at again after this.
const COUNTING: std::time::Duration = std::time::Duration::from_secs(1);

/// What was not taken may be asked for again after this, where something makes us look: an administrator may have given a
/// right, and another configuration is not the only cure.
const UNTAKEN: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// An application as planning sees it: its configuration, compiled.
#[derive(Debug)]
pub struct Application {
    /// Its keys in the configuration.
    pub config: shape::Application,
    /// Its rules, the profile's and its own.
    pub mapping: Mapping,
    /// The same for groups.
    pub group_mapping: Mapping,
    /// Who belongs there.
    pub scope: Scope,
    /// Its dialect.
    pub profile: Profile,
    /// What tells this configuration of it from another: what was not taken is asked for again under the next.
    pub asked_by: String,
}

impl Application {
    /// Compiles one application.
    #[must_use]
    pub fn compile(config: shape::Application) -> Self {
        Self {
            mapping: Mapping::compile(config.profile, &config.map_user),
            group_mapping: Mapping::compile_groups(&config.map_group),
            scope: Scope {
                domains: config.authorized_domains.clone(),
                condition: config.condition.clone(),
            },
            profile: Profile::of(config.profile),
            asked_by: asked_by(&config),
            config,
        }
    }

    /// The name in configuration, journal and links.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }
}

/// Where it is and what planning reads of it. No secret is in it.
fn asked_by(config: &shape::Application) -> String {
    let mut by = difference::planning(config);
    by.truncate(16);
    format!("{by} {}", config.base_url)
}

/// What goes to the application.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// There should be an account: create it, or find it if a create may have happened, or adopt it.
    Give {
        /// What it should hold.
        account: Map<String, Value>,
    },
    /// It should hold something else.
    Update {
        /// What it should hold.
        account: Map<String, Value>,
    },
    /// It should be active again, and hold this.
    Reactivate {
        /// What it should hold.
        account: Map<String, Value>,
    },
    /// It should be inactive.
    Deactivate,
    /// It should be gone.
    Delete,
}

impl Act {
    /// The worker's lane for it.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            Self::Deactivate | Self::Delete => Lane::Deactivate,
            Self::Give { .. } | Self::Reactivate { .. } => Lane::Create,
            Self::Nothing | Self::Update { .. } => Lane::Update,
        }
    }

    /// The journal's word for it.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::Give { .. } => Operation::Create,
            Self::Nothing | Self::Update { .. } => Operation::Update,
            Self::Reactivate { .. } => Operation::Reactivate,
            Self::Deactivate => Operation::Deactivate,
            Self::Delete => Operation::Delete,
        }
    }

    /// What the account should hold, where the act says so.
    #[must_use]
    pub fn account(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::Give { account } | Self::Update { account } | Self::Reactivate { account } => {
                Some(account)
            }
            Self::Nothing | Self::Deactivate | Self::Delete => None,
        }
    }

    /// Whether it takes something away: what the safety limit counts.
    #[must_use]
    pub fn removes(&self) -> bool {
        matches!(self, Self::Deactivate | Self::Delete)
    }
}

/// Why nothing goes, or what is worth knowing beside what goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The journal's status.
    pub status: Status,
    /// A short code for scripts.
    pub code: &'static str,
    /// The same for people.
    pub reason: String,
}

/// What planning says.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What goes.
    pub act: Act,
    /// What the act is about, for the journal: a removal that is stopped is still a removal.
    pub operation: Operation,
    /// The link as it stands before anything goes: a removal noted, cancelled or kept.
    pub link: Option<Link>,
    /// Why nothing goes. `None` with [`Act::Nothing`] is the no-op shield: nothing to say.
    pub note: Option<Note>,
    /// When to look again although nothing changes.
    pub again: Option<Timestamp>,
    /// The user's own attributes rule them out here (not their groups): `out_of_scope = "refuse"` may answer 403.
    pub ruled_out: bool,
}

/// How far away an account should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Here,
    Deactivated,
    Absent,
}

/// What planning reads beside the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The user as the directory has it.
    pub user: &'a Resource,
    /// What the application's policies come to.
    pub assigned: Assigned,
    /// Removals that were decided together with this one are still being counted.
    pub counting: bool,
    /// Now.
    pub now: Timestamp,
}

impl<'a> Facts<'a> {
    /// Those of an application without policies.
    #[must_use]
    pub fn of(user: &'a Resource, now: Timestamp) -> Self {
        Self {
            user,
            assigned: Assigned::Everybody,
            counting: false,
            now,
        }
    }
}

/// Decides for one user and one application.
#[must_use]
pub fn plan(application: &Application, facts: Facts<'_>) -> Decision {
    let link = facts.user.link(application.name()).cloned();
    plan_with(application, facts, link)
}

/// [`plan`] as if the user's link were this one.
#[must_use]
pub fn plan_with(application: &Application, facts: Facts<'_>, mut link: Option<Link>) -> Decision {
    let (user, now) = (facts.user, facts.now);
    let Some(untaken) = link.as_mut().and_then(|link| link.untaken.take()) else {
        return decide(application, facts, link);
    };
    // A create that was not taken left no account: nothing to look for, and nothing to take away.
    let link = link.filter(|link| link.state != State::Unborn || link.uncertain.is_some());
    let unborn = link.is_none();
    let decision = decide(application, facts, link);
    let same = untaken.operation == decision.act.operation()
        && untaken.account.as_ref() == decision.act.account()
        && untaken.by == application.asked_by
        && now < untaken.at.plus(UNTAKEN);
    if decision.act != Act::Nothing && !same {
        return decision;
    }
    let link = match decision.link {
        None if unborn => user.link(application.name()).cloned(),
        link => link.map(|link| Link {
            untaken: Some(untaken),
            ..link
        }),
    };
    if decision.act == Act::Nothing {
        // As it was: nothing new is known.
        return Decision {
            link: link.filter(|_| !unborn),
            ..decision
        };
    }
    let note = skipped(
        "unsupported",
        "the application does not take this, or not from us; it was asked once",
    );
    nothing(decision.operation, link, note)
}

/// Why a user is out of scope.
struct Out {
    code: &'static str,
    reason: String,
    /// By their own attributes, and not by their groups.
    by_attributes: bool,
    /// Nothing goes before a person has said so.
    held: bool,
}

fn decide(application: &Application, facts: Facts<'_>, link: Option<Link>) -> Decision {
    let user = facts.user;
    let current = link.as_ref().and_then(|link| link.sent.as_ref());
    let giving = match &link {
        None => Giving::Create,
        Some(link) if link.state == State::Unborn => Giving::Create,
        Some(_) => Giving::Update { current },
    };
    let mapped = application.mapping.run(&user.attributes, giving);
    let verdict = scope::decide(&application.scope, &user.attributes, &mapped.account);
    let inactive = user.attributes.get("active").and_then(Value::as_bool) == Some(false);
    let wanted = verdict == Verdict::In && user.deleted.is_none() && !inactive;
    let link = match claimed(application, facts, link, wanted) {
        Ok(link) => link,
        Err(decision) => return *decision,
    };

    let by_groups = |code, reason: &str, held| {
        let policies = application.config.policies.iter();
        let groups: Vec<_> = policies.map(|policy| policy.group.to_string()).collect();
        Some(Out {
            code,
            reason: format!("{reason} ({})", groups.join(", ")),
            by_attributes: false,
            held,
        })
    };
    let (cause, out) = match (verdict, user.deleted, inactive, facts.assigned) {
        (_, Some(_), _, _) => (Cause::Deleted, None),
        (Verdict::Out { code, reason }, None, _, _) => {
            let out = Out {
                code,
                reason,
                by_attributes: true,
                held: false,
            };
            (Cause::OutOfScope, Some(out))
        }
        (Verdict::In, None, _, Assigned::Out) => {
            let reason = "in none of the groups of the application's policies";
            (Cause::OutOfScope, by_groups("not_assigned", reason, false))
        }
        // What the client says of the user itself needs no group.
        (Verdict::In, None, true, _) => (Cause::Inactive, None),
        (Verdict::In, None, false, Assigned::Deleted) => {
            let reason = "a policy's group was deleted, and the user is in no other one";
            (Cause::OutOfScope, by_groups("group_deleted", reason, true))
        }
        (Verdict::In, None, false, Assigned::Unknown) => {
            return undecided(application, facts, link, mapped);
        }
        (Verdict::In, None, false, Assigned::Everybody | Assigned::In) => {
            return here(application, link, mapped, facts.now);
        }
    };
    gone(application, facts, link, cause, out, inactive)
}

/// The link of somebody who is claimed; else what stands for the others: what was imported is in no plan, there and
/// elsewhere, until a client writes to the user, a policy's group has them, or a person says so of the account.
fn claimed(
    application: &Application,
    facts: Facts<'_>,
    link: Option<Link>,
    wanted: bool,
) -> Result<Option<Link>, Box<Decision>> {
    let nobodys = facts.user.owner.is_empty();
    let assigned = facts.assigned == Assigned::In;
    let operation = match link {
        Some(_) => Operation::Update,
        None => Operation::Create,
    };
    let claims = match &link {
        // A client's user that was found there by an import is adopted as by a create.
        Some(link) if link.is_unclaimed() => {
            let config = &application.config;
            let adopts = !nobodys
                && facts.assigned == Assigned::Everybody
                && config.users.create
                && config.adopt;
            wanted && (assigned || adopts)
        }
        Some(_) => true,
        None => !nobodys || assigned,
    };
    if !claims {
        let reason = "imported, and claimed by nobody yet: by a client's write, by a group of a policy, or by `usher import --claim`";
        return Err(Box::new(nothing(
            operation,
            link,
            skipped("unclaimed", reason),
        )));
    }
    Ok(link.map(|mut link| {
        link.claim(facts.now);
        link
    }))
}

/// A policy names a group that is not known: nothing is given and nothing is taken away. What is there is kept up to date.
fn undecided(
    application: &Application,
    facts: Facts<'_>,
    link: Option<Link>,
    mapped: mapping::Mapped,
) -> Decision {
    let stands = link.as_ref().is_some_and(|link| {
        link.state != State::Deactivated && link.removal.is_none() && !link.kept
    });
    if stands {
        return here(application, link, mapped, facts.now);
    }
    let operation = if link.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    let reason = "a policy names a group that is not known or never had a member: nothing is given and nothing taken away until it is";
    nothing(operation, link, skipped("unknown_group", reason))
}

fn nothing(operation: Operation, link: Option<Link>, note: Option<Note>) -> Decision {
    Decision {
        act: Act::Nothing,
        operation,
        link,
        note,
        again: None,
        ruled_out: false,
    }
}

fn skipped(code: &'static str, reason: impl Into<String>) -> Option<Note> {
    Some(Note {
        status: Status::Skipped,
        code,
        reason: reason.into(),
    })
}

fn simulated(decision: Decision, application: &Application) -> Decision {
    if application.config.mode == Mode::Live || decision.act == Act::Nothing {
        return decision;
    }
    let reason = "the application is in simulate mode: this is what would have gone";
    Decision {
        note: skipped("simulate", reason),
        ..decision
    }
}

/// The account should be there and active.
fn here(
    application: &Application,
    link: Option<Link>,
    mapped: mapping::Mapped,
    now: Timestamp,
) -> Decision {
    let users = &application.config.users;
    // Coming back cancels a removal, a hold and what was kept.
    let link = link.map(|link| Link {
        removal: None,
        kept: false,
        ..link
    });
    let state = link.as_ref().map(|link| link.state);
    let operation = match state {
        None | Some(State::Unborn) => Operation::Create,
        Some(State::Deactivated) => Operation::Reactivate,
        Some(State::Active | State::Unseen | State::Pending) => Operation::Update,
    };
    if guarded(
        application,
        link.as_ref(),
        mapping::user_name(&mapped.account),
    ) {
        return nothing(
            operation,
            link,
            skipped(
                "protected",
                "the account is protected: no call is made for it",
            ),
        );
    }
    if !mapped.missing.is_empty() {
        let reason = format!(
            "{} needs {}, and the rules give no value",
            application.name(),
            mapped.missing.join(", ")
        );
        return nothing(
            operation,
            link,
            Some(Note {
                status: Status::Failure,
                code: "missing",
                reason,
            }),
        );
    }
    let mut account = mapped.account;
    let (act, link) = match (link, state) {
        (None, _) | (_, None) => {
            if !users.create {
                return nothing(
                    operation,
                    None,
                    skipped("create_off", "creating accounts is switched off"),
                );
            }
            (Act::Give { account }, None)
        }
        // A create that may have happened is found out about whatever the switches say now.
        (link, Some(State::Unborn)) => (Act::Give { account }, link),
        (link, Some(State::Deactivated)) => {
            if !users.create {
                return nothing(
                    operation,
                    link,
                    skipped("create_off", "reactivating accounts is switched off"),
                );
            }
            (Act::Reactivate { account }, link)
        }
        (Some(link), Some(State::Active | State::Unseen | State::Pending)) => {
            let sent = link
                .sent
                .as_ref()
                .inspect(|sent| application.mapping.clear(sent, &mut account));
            let same = sent.is_some_and(|sent| application.mapping.same(sent, &account));
            if link.uncertain.is_none() && link.state == State::Active && same {
                return nothing(operation, Some(link), None);
            }
            // What is pending is read, and written to only if something differs.
            let read_only = link.state != State::Active && link.uncertain.is_none() && same;
            if !users.update && !read_only {
                return nothing(
                    operation,
                    Some(link),
                    skipped("update_off", "updating accounts is switched off"),
                );
            }
            (Act::Update { account }, Some(link))
        }
    };
    let again = (state == Some(State::Pending)).then(|| now.plus(PENDING_AGAIN));
    simulated(
        Decision {
            act,
            operation,
            link,
            note: None,
            again,
            ruled_out: false,
        },
        application,
    )
}

/// The account should be deactivated or gone. Needs only the remote id: no mapping, missing attribute or `update`
/// switch stops it.
fn gone(
    application: &Application,
    facts: Facts<'_>,
    link: Option<Link>,
    cause: Cause,
    out: Option<Out>,
    inactive: bool,
) -> Decision {
    let (user, now) = (facts.user, facts.now);
    let users = &application.config.users;
    let ruled_out = out.as_ref().is_some_and(|out| out.by_attributes);
    let Some(mut link) = link else {
        let note = match out {
            Some(out) => skipped(out.code, out.reason),
            None if cause == Cause::Inactive => {
                skipped("inactive", "the user is inactive and has no account")
            }
            None => skipped("no_account", "there is no account to take away"),
        };
        let operation = if cause == Cause::Deleted {
            Operation::Delete
        } else {
            Operation::Create
        };
        return Decision {
            ruled_out,
            ..nothing(operation, None, note)
        };
    };

    let asked = match (&link.removal, user.deleted) {
        (_, Some(deleted)) => deleted,
        (Some(removal), None) if removal.cause == cause => removal.asked,
        (_, None) => now,
    };
    let before = link.removal.take();
    link.removal = Some(Removal {
        cause,
        asked,
        counted: before.as_ref().is_some_and(|before| before.counted),
        held: before.as_ref().and_then(|before| before.held),
        released: before.and_then(|before| before.released),
    });

    let (level, again) = level(users, cause, inactive, asked, now);
    let operation = match level {
        Some(Level::Absent) => Operation::Delete,
        _ => Operation::Deactivate,
    };
    let stop = |link: Link, note: Option<Note>, again| Decision {
        again,
        ruled_out,
        ..nothing(operation, Some(link), note)
    };
    let Some(level) = level else {
        // Kept: written on the link, so that it is not planned again until the person has been in scope again.
        link.removal = None;
        link.kept = true;
        return stop(
            link,
            skipped("keep", "the account is left as it is on purpose"),
            None,
        );
    };
    if level == Level::Here {
        return stop(
            link,
            skipped(
                "leave_after",
                "the account stays for now: leave_after has not passed",
            ),
            again,
        );
    }
    if link.kept {
        return stop(
            link,
            skipped(
                "kept",
                "the removal was rejected; the account stays until the person has been in scope again",
            ),
            None,
        );
    }
    if !users.delete {
        return stop(
            link,
            skipped("delete_off", "taking accounts away is switched off"),
            None,
        );
    }
    if link.origin == Origin::Imported {
        return stop(
            link,
            skipped(
                "unclaimed",
                "the account was imported and never claimed: it is not ours to take away",
            ),
            None,
        );
    }
    if guarded(application, Some(&link), None) {
        return stop(
            link,
            skipped(
                "protected",
                "the account is protected: no call is made for it",
            ),
            None,
        );
    }
    if let Some(removal) = &mut link.removal {
        if link.state != State::Deactivated && removal.released.is_some_and(|until| until <= now) {
            // It did not go in the time that a person gave it.
            removal.released = None;
            removal.counted = false;
            removal.held = Some(now);
        }
        let by_group = out.as_ref().is_some_and(|out| out.held);
        if by_group && !removal.counted && removal.released.is_none() {
            removal.held.get_or_insert(now);
        }
        if removal.held.is_some() {
            let note = match out {
                Some(Out {
                    held: true,
                    code,
                    reason,
                    ..
                }) => Note {
                    status: Status::Held,
                    code,
                    reason: format!("{reason}; a person has to release this removal"),
                },
                _ => held_note(),
            };
            return stop(link, Some(note), None);
        }
    }
    if facts.counting && link.state != State::Deactivated {
        let note = Note {
            status: Status::Queued,
            code: "counted",
            reason: String::from(
                "removals that were decided together are counted before the first of them goes",
            ),
        };
        // Not forgotten: who is not one of them after all has nobody else to mark them.
        return stop(link, Some(note), Some(now.plus(COUNTING)));
    }
    let act = match (level, link.state) {
        (Level::Absent, _) => Act::Delete,
        (_, State::Deactivated) if link.uncertain.is_none() => {
            let operation = if again.is_some() {
                Operation::Delete
            } else {
                operation
            };
            let note = again.map(|at| later_note(Status::Queued, at));
            return Decision {
                operation,
                ..stop(link, note, again)
            };
        }
        _ => Act::Deactivate,
    };
    let note = match (out, again) {
        (_, Some(at)) if act == Act::Deactivate => Some(later_note(Status::Success, at)),
        (Some(out), _) => Some(Note {
            status: Status::Success,
            code: out.code,
            reason: out.reason,
        }),
        (None, _) => None,
    };
    simulated(
        Decision {
            act,
            operation,
            link: Some(link),
            note,
            again,
            ruled_out,
        },
        application,
    )
}

/// The account is deactivated now, and deleted when `delete_after` has passed.
fn later_note(status: Status, at: Timestamp) -> Note {
    let reason = format!(
        "deactivated; deleted on {}",
        at.rfc3339().get(..10).unwrap_or_default()
    );
    Note {
        status,
        code: "delete_after",
        reason,
    }
}

/// The note of a removal that the safety limit stopped.
#[must_use]
pub fn held_note() -> Note {
    Note {
        status: Status::Held,
        code: "safety_limit",
        reason: String::from("the safety limit stopped this removal; a person has to release it"),
    }
}

/// How far away the account should be now, and when that changes. `None`: it is left as it is.
fn level(
    users: &shape::Users,
    cause: Cause,
    inactive: bool,
    asked: Timestamp,
    now: Timestamp,
) -> (Option<Level>, Option<Timestamp>) {
    let (taking, from) = match cause {
        Cause::Inactive => return (Some(Level::Deactivated), None),
        Cause::Deleted => (users.on_delete, asked),
        Cause::OutOfScope => (users.on_leave, asked.plus(users.leave_after)),
    };
    // A client's own `active:false` deactivates at once, whatever else is to come.
    let floor = if inactive && cause == Cause::OutOfScope {
        Level::Deactivated
    } else {
        Level::Here
    };
    if taking == Taking::Keep {
        return ((floor > Level::Here).then_some(floor), None);
    }
    if now < from {
        return (Some(floor), Some(from));
    }
    let absent_from = from.plus(users.delete_after);
    match taking {
        Taking::Delete if now >= absent_from => (Some(Level::Absent), None),
        Taking::Delete => (Some(Level::Deactivated), Some(absent_from)),
        Taking::Deactivate | Taking::Keep => (Some(Level::Deactivated), None),
    }
}

/// `protected` matches the mapped name and the one last seen there.
fn guarded(application: &Application, link: Option<&Link>, mapped: Option<&str>) -> bool {
    let list = &application.config.safety.protected;
    let seen = link.and_then(|link| link.seen_name.as_deref());
    let sent = link.and_then(|link| mapping::user_name(link.sent.as_ref()?));
    [mapped, seen, sent]
        .into_iter()
        .flatten()
        .any(|name| scope::protected(list, name))
}

/// The key by which the user's account is known before it has an id: the folded mapped userName. What claims are taken on.
#[must_use]
pub fn account_key(application: &Application, user: &Resource) -> Option<String> {
    let account = application.mapping.run_user_name(&user.attributes);
    mapping::user_name(&account).map(crate::scim::schema::fold)
}
