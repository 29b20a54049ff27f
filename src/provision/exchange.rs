//! The dialogue with an application that settles one plan. A sans-IO state machine: it says which call comes next and
//! hears what became of it; somebody else carries the calls, keeps the time and does the claiming.
//!
//! ```text
//!            begin -> step() -> Step::Call -> hear(answer) -> step() -> ... -> Step::End(outcome)
//!                            -> Step::Claim(remote id) -> claimed(whose) ->
//! ```
//!
//! What it never does: create without a look-up after an ambiguous create; write to an account that another resource
//! holds or that is protected; take a missing answer for a "no".

mod found;
mod trouble;

use std::time::Duration;

use serde_json::{Map, Value};

use super::call::{Answer, Call};
use super::link::{Link, Origin, State, Uncertain, Untaken};
use super::pace;
use super::plan::{Act, Application};
use super::profile::capabilities::Capabilities;
use super::profile::{self, Aim, Heard, Profile, Shown, scim};
use crate::clock::Timestamp;
use crate::journal::record::Operation;
use crate::mapping;
use crate::policy::scope;
#[cfg(test)]
use crate::simulation::{Bug, planted};

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Make this call, then [`Exchange::hear`].
    Call(Call),
    /// An account was found: claim this remote id and look whose it is, then [`Exchange::claimed`].
    Claim(String),
    /// It is over.
    End(Box<Outcome>),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The plan is settled.
    Done,
    /// Refused for good.
    Refused {
        /// The status.
        status: u16,
        /// The application's words, or ours.
        detail: String,
        /// There is an account with this key that is not ours to use.
        uniqueness: bool,
    },
    /// Not now, and not this person's fault.
    Unavailable {
        /// Why.
        detail: String,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Too many calls: nobody failed, and the same is tried again after that time.
    Limited {
        /// Why.
        detail: String,
        /// How long to wait at least.
        wait: Duration,
    },
    /// Sent, and no answer came.
    Unknown(String),
    /// A look-up's miss does not count yet: look again then.
    Later(Timestamp),
    /// The account is pending: a person has to do something.
    Pending(String),
    /// A protected account: no write is made.
    Protected,
    /// An account that was imported and that nobody has claimed: it is not ours to take away.
    Unclaimed,
    /// Accepted without effect: a removal that did not remove.
    Ineffective(String),
    /// The application does not take it, from anybody or from us: asking again is of no use.
    Unsupported(String),
}

/// What is known when it is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The link as it now is; `None`: there is no account.
    pub link: Option<Link>,
    /// How it ended.
    pub end: End,
    /// A call took effect, or may have.
    pub effect: bool,
    /// A writing call left the box, whatever became of it.
    pub sent: bool,
    /// What was really done: a create may turn out to be an adoption.
    pub operation: Operation,
    /// What was accepted and not applied, newly found.
    pub dropped: Vec<String>,
}

/// Why the account is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quest {
    /// A create may have happened.
    Birth,
    /// The application says that it exists.
    Exists,
    /// It is not under the id that we knew.
    Drift,
    /// It is to be taken away and we have no id.
    Removal,
}

/// What an account that was read is put back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// To hold what is mapped, and to be active.
    Attributes,
    /// To be inactive.
    Deactivation,
}

/// A walk through the whole list, because a filter finds nothing or there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Walk {
    /// The number of the first account on the next page.
    next: usize,
    /// The first account of the page before: a server that knows no pages shows it again.
    first: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum At {
    LookUp {
        quest: Quest,
        names: Vec<String>,
    },
    Claim {
        quest: Quest,
        shown: Box<Shown>,
    },
    /// The account is read whole, to be put back changed.
    Whole(Change),
    /// It is put back.
    Rewrite(Change, Map<String, Value>),
    Post,
    /// It was created, and whose it is has still to be asked: some answer with an account that was there.
    Born(Box<Shown>),
    ReadNew,
    ReadBack,
    Activate,
    Put,
    Deactivate,
    Delete,
    End(End),
}

/// One dialogue.
#[derive(Debug)]
pub struct Exchange<'a> {
    application: &'a Application,
    act: Act,
    link: Link,
    /// There is an account, or there may be one.
    linked: bool,
    /// When this exchange's intent was stored.
    intended: Timestamp,
    operation: Operation,
    effect: bool,
    sent: bool,
    /// A POST went out in this exchange already.
    posted: bool,
    dropped: Vec<String>,
    /// What the application can do.
    capabilities: Capabilities,
    walk: Option<Walk>,
    /// Why it was not deleted, and is deactivated instead.
    undeleted: Option<String>,
    at: At,
}

impl<'a> Exchange<'a> {
    /// Begins. `link` is the decision's; `intended` is when the intent was stored.
    #[must_use]
    pub fn begin(
        application: &'a Application,
        act: Act,
        link: Option<Link>,
        intended: Timestamp,
    ) -> Self {
        let linked = link.is_some();
        let link = link.unwrap_or_else(|| Link {
            application: application.name().to_owned(),
            remote_id: None,
            origin: Origin::Created,
            state: State::Unborn,
            uncertain: None,
            sent: None,
            seen_name: None,
            dropped: Vec::new(),
            fresh: false,
            removal: None,
            kept: false,
            untaken: None,
        });
        let link = Link {
            untaken: None,
            ..link
        };
        let operation = act.operation();
        let mut exchange = Self {
            application,
            act,
            link,
            linked,
            intended,
            operation,
            effect: false,
            sent: false,
            posted: false,
            dropped: Vec::new(),
            capabilities: Capabilities::default(),
            walk: None,
            undeleted: None,
            at: At::Post,
        };
        exchange.at = exchange.first();
        exchange
    }

    /// The same for an application of which this is known. Before the first step.
    #[must_use]
    pub fn knowing(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// What is known of the application now: its answers may have shown more.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn first(&self) -> At {
        let known = self.link.remote_id.is_some();
        let uncertain = self.link.uncertain.is_some();
        match &self.act {
            Act::Nothing => At::End(End::Done),
            #[cfg(test)]
            Act::Give { .. } if planted(Bug::NoLookUp) => At::Post,
            Act::Give { .. } if self.linked => self.look(Quest::Birth),
            Act::Give { .. } => At::Post,
            Act::Update { .. } | Act::Reactivate { .. } | Act::Deactivate | Act::Delete
                if !known =>
            {
                self.look(match self.act {
                    Act::Deactivate | Act::Delete => Quest::Removal,
                    _ => Quest::Birth,
                })
            }
            Act::Update { .. }
                if uncertain || matches!(self.link.state, State::Unseen | State::Pending) =>
            {
                At::ReadBack
            }
            Act::Reactivate { .. } => At::Activate,
            Act::Update { .. } => At::Put,
            Act::Deactivate => At::Deactivate,
            Act::Delete => At::Delete,
        }
    }

    /// What comes next.
    pub fn step(&mut self) -> Step {
        let profile = self.application.profile;
        self.at = match std::mem::replace(&mut self.at, At::End(End::Done)) {
            At::Put | At::Activate if self.capabilities.rewrites_attributes() => {
                At::Whole(Change::Attributes)
            }
            At::Activate if self.capabilities.rewrites_active() => At::Whole(Change::Attributes),
            At::Deactivate if self.capabilities.rewrites_active() => {
                At::Whole(Change::Deactivation)
            }
            at => at,
        };
        if let Some(end) = self.barred() {
            self.at = At::End(end);
        }
        let id = self.link.remote_id.as_deref().unwrap_or_default();
        let call = match &self.at {
            At::LookUp { .. } if let Some(walk) = &self.walk => profile.list(walk.next),
            At::LookUp { names, .. } => match names.last() {
                Some(name) => profile.look_up(name),
                None => {
                    return Step::End(Box::new(self.outcome(End::Unavailable {
                        detail: String::from("there is no name to look the account up by"),
                        retry_after: None,
                    })));
                }
            },
            At::Claim { shown, .. } | At::Born(shown) => return Step::Claim(shown.id.clone()),
            At::Post => profile.create(&self.account()),
            At::ReadNew | At::ReadBack | At::Whole(_) => profile.read(id),
            At::Rewrite(change, whole) => profile.rewrite(id, whole, &self.ours(*change)),
            At::Activate => profile.switch(id, true),
            At::Put => {
                // What is in doubt is written whole.
                let sent = self.link.sent.as_ref();
                let sent = sent.filter(|_| self.link.uncertain.is_none());
                match profile.update(id, &self.account(), sent) {
                    Some(call) => call,
                    None => {
                        self.written();
                        return Step::End(Box::new(self.outcome(End::Done)));
                    }
                }
            }
            At::Deactivate => profile.switch(id, false),
            At::Delete => profile.delete(id),
            At::End(end) => return Step::End(Box::new(self.outcome(end.clone()))),
        };
        Step::Call(call)
    }

    /// The last look at the door, before each call that changes an account: whatever was planned, what has been learned of
    /// the account since may be that it is protected.
    fn barred(&self) -> Option<End> {
        let changes = matches!(
            self.at,
            At::Rewrite(..) | At::Activate | At::Put | At::Deactivate | At::Delete
        );
        if !changes {
            return None;
        }
        if self.act.removes() && self.link.origin == Origin::Imported {
            return Some(End::Unclaimed);
        }
        let protected = &self.application.config.safety.protected;
        let seen = self.link.seen_name.as_deref();
        seen.is_some_and(|name| scope::protected(protected, name))
            .then_some(End::Protected)
    }

    /// Hears what became of the call that [`Exchange::step`] gave, and says what it shows about the application itself.
    pub fn hear(&mut self, answer: &Answer, now: Timestamp) -> pace::Heard {
        self.sent |= !matches!(answer, Answer::NotSent(_)) && !self.reads();
        let heard = match answer {
            Answer::Reply { status, body, .. } => {
                self.application.profile.hear(self.aim(), *status, body)
            }
            Answer::NotSent(why) => Heard::Unavailable(why.clone()),
            #[cfg(test)]
            Answer::Lost(_) if planted(Bug::LostIsDone) && !self.reads() => Heard::Done,
            Answer::Lost(why) if self.reads() => Heard::Unavailable(why.clone()),
            Answer::Lost(why) => Heard::Ambiguous(why.clone()),
        };
        let retry_after = match answer {
            Answer::Reply { retry_after, .. } => *retry_after,
            Answer::NotSent(_) | Answer::Lost(_) => None,
        };
        let shown = match (&heard, pace::Heard::of(answer)) {
            // The profile knows better than the status: an account-level 400, a 404 on a collection.
            (Heard::Unavailable(_), pace::Heard::Well) => pace::Heard::Unavailable(retry_after),
            (Heard::Exists(_), pace::Heard::Unavailable(_)) => pace::Heard::Well,
            // It answers, and well: a 501 is no outage, and a 403 of one write is not one of all.
            (Heard::Unsupported(_) | Heard::Forbidden(_), _) => pace::Heard::Well,
            (_, shown) => shown,
        };
        self.at = match (heard, shown) {
            (Heard::Unavailable(detail), pace::Heard::Limited(limited)) => {
                self.limited(detail, limited.patience())
            }
            (Heard::Unavailable(detail), _) => self.unavailable(detail, retry_after),
            (Heard::Ambiguous(detail), _) => self.ambiguous(detail, now),
            (Heard::Unsupported(detail), _) => self.unsupported(detail, now),
            (Heard::Forbidden(detail), _) => self.untaken(detail, now),
            (heard, _) => self.settled(heard, now),
        };
        shown
    }

    /// Hears whose the found account is: `Some(name)` names the resource that holds it.
    pub fn claimed(&mut self, other: Option<&str>) {
        let (quest, shown) = match std::mem::replace(&mut self.at, At::End(End::Done)) {
            At::Claim { quest, shown } => (Some(quest), shown),
            At::Born(shown) => (None, shown),
            at => {
                self.at = at;
                return;
            }
        };
        self.at = match other {
            // What was looked for to be taken away is somebody else's: ours never came to be, and theirs is not touched.
            Some(_) if quest == Some(Quest::Removal) => {
                self.linked = false;
                At::End(End::Done)
            }
            Some(other) => At::End(End::Refused {
                status: 409,
                detail: format!("the account belongs to {other} already"),
                uniqueness: true,
            }),
            None => match quest {
                Some(quest) => self.found(quest, *shown),
                None => self.born(*shown),
            },
        };
    }

    /// Ends it from outside, between two calls: time is up, or the process drains.
    #[must_use]
    pub fn cut(mut self, why: &str) -> Outcome {
        if let At::Born(shown) = &self.at {
            let shown = shown.as_ref().clone();
            self.at = self.born(shown);
        }
        let end = match &self.at {
            At::End(end) => end.clone(),
            At::ReadNew => self.unseen(),
            _ => End::Unavailable {
                detail: why.to_owned(),
                retry_after: None,
            },
        };
        self.outcome(end)
    }

    /// Ends it before a call, because that call's turn comes too late: nobody failed.
    #[must_use]
    pub fn put_off(mut self, why: &str, wait: Duration) -> Outcome {
        if !matches!(self.at, At::End(_)) {
            self.at = self.limited(why.to_owned(), wait);
        }
        self.cut(why)
    }

    fn reads(&self) -> bool {
        matches!(self.aim(), Aim::LookUp | Aim::List | Aim::Read)
    }

    fn aim(&self) -> Aim {
        match self.at {
            At::LookUp { .. } if self.walk.is_some() => Aim::List,
            At::LookUp { .. } | At::Claim { .. } | At::End(_) => Aim::LookUp,
            At::ReadNew | At::ReadBack | At::Whole(_) => Aim::Read,
            At::Post | At::Born(_) => Aim::Create,
            At::Put | At::Rewrite(..) => Aim::Update,
            At::Activate | At::Deactivate => Aim::Switch,
            At::Delete => Aim::Delete,
        }
    }

    /// What goes into a body. The first update after adopting changes neither userName nor e-mail: an address that
    /// somebody typed must not take over an account and rename it in one go.
    fn account(&self) -> Map<String, Value> {
        let mut account = match &self.act {
            Act::Give { account } | Act::Update { account } | Act::Reactivate { account } => {
                account.clone()
            }
            Act::Nothing | Act::Deactivate | Act::Delete => Map::new(),
        };
        if self.link.fresh {
            account.remove("userName");
            account.remove("emails");
        }
        account
    }

    /// What is changed in an account that was read.
    fn ours(&self, change: Change) -> Map<String, Value> {
        let (mut ours, active) = match change {
            Change::Attributes => (self.account(), true),
            Change::Deactivation => (Map::new(), false),
        };
        // What is mapped is active, or else it would be taken away.
        ours.insert(String::from("active"), Value::Bool(active));
        ours
    }

    /// The names to look for: the last one is tried first.
    fn look(&self, quest: Quest) -> At {
        let account = self.account();
        let mapped =
            mapping::user_name(&account).or_else(|| mapping::user_name(self.link.sent.as_ref()?));
        let mut names: Vec<String> = Vec::new();
        for name in [self.link.seen_name.as_deref(), mapped]
            .into_iter()
            .flatten()
        {
            if !names
                .iter()
                .any(|known| crate::scim::schema::fold(known) == crate::scim::schema::fold(name))
            {
                names.push(name.to_owned());
            }
        }
        At::LookUp { quest, names }
    }

    fn has_name(&self) -> bool {
        matches!(self.look(Quest::Removal), At::LookUp { names, .. } if !names.is_empty())
    }

    fn settled(&mut self, heard: Heard, now: Timestamp) -> At {
        let at = self.at.clone();
        match (at, heard) {
            (At::LookUp { quest, .. }, Heard::Found(accounts)) => {
                self.looked_up(quest, accounts, now)
            }
            (At::LookUp { quest, .. }, Heard::Page(accounts, total)) => {
                self.walked(quest, accounts, total, now)
            }
            (At::Whole(change), Heard::Account(shown)) => At::Rewrite(change, shown.attributes),
            (At::Rewrite(Change::Attributes, _), Heard::Account(shown))
                if shown.active == Some(false) =>
            {
                At::End(End::Ineffective(String::from(
                    "the application accepted active:true and still shows the account inactive",
                )))
            }
            (At::Rewrite(Change::Attributes, _), heard @ (Heard::Account(_) | Heard::Done)) => {
                self.activated();
                let put = self.account();
                self.written();
                if let Heard::Account(shown) = heard {
                    self.seen(&put, &shown);
                }
                At::End(End::Done)
            }
            (At::LookUp { .. }, Heard::NotBelonging(detail)) => {
                self.linked = true;
                self.link.state = State::Pending;
                self.link.uncertain = None;
                self.effect = true;
                At::End(End::Pending(detail))
            }
            (At::Post, Heard::Account(shown)) => At::Born(shown),
            (At::Post, Heard::Exists(_)) => self.look(Quest::Exists),
            (At::ReadNew, Heard::Account(shown)) => {
                self.seen(&self.account(), &shown);
                At::End(End::Done)
            }
            (At::ReadNew, Heard::Absent(_)) => {
                self.link.state = State::Pending;
                At::End(End::Pending(String::from(
                    "the application answers that the account it just created does not exist",
                )))
            }
            (At::ReadBack, Heard::Account(shown)) => self.read_back(&shown),
            (At::ReadBack, Heard::Absent(detail))
                if self.link.state == State::Pending
                    || (self.link.state == State::Unseen && self.link.uncertain.is_none()) =>
            {
                self.link.state = State::Pending;
                At::End(End::Pending(detail))
            }
            // In doubt, it may have been missed before and made anew by a gateway that died: then a look-up's miss does
            // not count at once.
            (
                At::ReadBack
                | At::Put
                | At::Activate
                | At::Whole(Change::Attributes)
                | At::Rewrite(Change::Attributes, _),
                Heard::Absent(_),
            ) => self.look(if self.link.uncertain.is_some() {
                Quest::Birth
            } else {
                Quest::Drift
            }),
            (At::Put, Heard::Account(shown)) => {
                let put = self.account();
                self.written();
                self.seen(&put, &shown);
                At::End(End::Done)
            }
            (At::Put, Heard::Done) => {
                self.written();
                At::End(End::Done)
            }
            (At::Activate, Heard::Account(shown)) if shown.active == Some(false) => {
                At::End(End::Ineffective(String::from(
                    "the application accepted active:true and still shows the account inactive",
                )))
            }
            (At::Activate, Heard::Account(_) | Heard::Done) => self.activated(),
            (At::Deactivate | At::Rewrite(Change::Deactivation, _), Heard::Account(shown))
                if shown.active == Some(true) =>
            {
                At::End(End::Ineffective(String::from(
                    "the application accepted the deactivation and still shows the account active (an administrator there?)",
                )))
            }
            (
                At::Deactivate | At::Rewrite(Change::Deactivation, _),
                Heard::Account(_) | Heard::Done,
            ) => self.deactivated(now),
            // A pending account is denied by id; it may come to life yet, so the removal stays open.
            (
                At::Deactivate
                | At::Delete
                | At::Whole(Change::Deactivation)
                | At::Rewrite(Change::Deactivation, _),
                Heard::Absent(detail),
            ) if self.link.state == State::Pending => At::End(End::Pending(detail)),
            // The same for a removal: what was made anew has another id, and must go as well.
            (
                At::Deactivate
                | At::Delete
                | At::Whole(Change::Deactivation)
                | At::Rewrite(Change::Deactivation, _),
                Heard::Absent(_),
            ) if self.link.uncertain.is_some() && self.has_name() => self.look(Quest::Removal),
            (
                At::Deactivate
                | At::Delete
                | At::Whole(Change::Deactivation)
                | At::Rewrite(Change::Deactivation, _),
                Heard::Absent(_),
            )
            | (At::Delete, Heard::Done) => {
                self.effect = true;
                self.linked = false;
                At::End(End::Done)
            }
            (
                At::Post | At::Put | At::Rewrite(..) | At::Activate | At::Deactivate | At::Delete,
                Heard::Refused { status, detail },
            ) => At::End(End::Refused {
                status,
                detail,
                uniqueness: status == 409,
            }),
            // What no profile says for this kind of call.
            (_, other) => At::End(End::Unavailable {
                detail: format!("an answer out of place: {}", name(&other)),
                retry_after: None,
            }),
        }
    }

    fn activated(&mut self) -> At {
        self.effect = true;
        self.link.uncertain = None;
        self.link.state = State::Active;
        At::Put
    }

    /// The application acknowledged everything that is mapped now.
    fn written(&mut self) {
        self.effect = true;
        self.link.uncertain = None;
        let account = match &self.act {
            Act::Give { account } | Act::Update { account } | Act::Reactivate { account } => {
                account
            }
            Act::Nothing | Act::Deactivate | Act::Delete => return,
        };
        // An adopted account keeps its name for now; the next change of the person may bring the new one.
        self.link.sent = Some(account.clone());
        self.link.fresh = false;
    }

    /// What the application shows of what was put.
    fn seen(&mut self, put: &Map<String, Value>, shown: &Shown) {
        self.link.seen_name = shown.user_name.clone();
        let dropped = profile::dropped(self.application.profile, put, shown);
        self.dropped = dropped
            .iter()
            .filter(|name| !self.link.dropped.contains(name))
            .cloned()
            .collect();
        self.link.dropped = dropped;
    }

    fn outcome(&self, end: End) -> Outcome {
        // A call that was surely refused or never sent leaves a new account unborn: no link.
        let link = (self.linked
            && (self.link.state != State::Unborn
                || self.link.uncertain.is_some()
                || self.link.untaken.is_some()))
        .then(|| self.link.clone());
        Outcome {
            link,
            end,
            effect: self.effect,
            sent: self.sent,
            operation: self.operation,
            dropped: self.dropped.clone(),
        }
    }
}

fn name(heard: &Heard) -> &'static str {
    match heard {
        Heard::Account(_) => "an account",
        Heard::Found(_) | Heard::Page(..) => "a list",
        Heard::Done => "done",
        Heard::Exists(_) => "exists",
        Heard::Absent(_) => "absent",
        Heard::NotBelonging(_) => "not belonging",
        Heard::Unavailable(_) => "unavailable",
        Heard::Ambiguous(_) => "ambiguous",
        Heard::Unsupported(_) => "unsupported",
        Heard::Forbidden(_) => "forbidden",
        Heard::Refused { .. } => "refused",
    }
}

/// The link as it stands if nobody lives to hear the answers: what the intent keeps. Such a link equals nothing and is
/// read back, or looked up, before anything else goes.
#[must_use]
pub fn unknown(
    application: &Application,
    act: &Act,
    link: Option<&Link>,
    intended: Timestamp,
) -> Option<Link> {
    let mut exchange = Exchange::begin(application, act.clone(), link.cloned(), intended);
    if matches!(act, Act::Nothing) {
        return link.cloned();
    }
    if matches!(act, Act::Give { .. }) {
        exchange.at = At::Post;
    }
    exchange.in_doubt(intended);
    Some(exchange.link)
}

/// The calls that would go if nothing went wrong: for `mode = "simulate"` and for the intent.
#[must_use]
pub fn rehearse(profile: Profile, act: &Act, link: Option<&Link>) -> Vec<Call> {
    let id = link
        .and_then(|link| link.remote_id.as_deref())
        .unwrap_or("{id}");
    match act {
        Act::Nothing => Vec::new(),
        Act::Give { account } => vec![profile.create(account)],
        Act::Update { account } => profile.update(id, account, None).into_iter().collect(),
        Act::Reactivate { account } => std::iter::once(profile.switch(id, true))
            .chain(profile.update(id, account, None))
            .collect(),
        Act::Deactivate => vec![profile.switch(id, false)],
        Act::Delete => vec![profile.delete(id)],
    }
}

#[cfg(test)]
mod scim_tests;
#[cfg(test)]
mod zoom_tests;
