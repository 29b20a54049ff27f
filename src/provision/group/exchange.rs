//! The dialogue that creates, renames or deletes a group. A sans-IO state machine, as [`crate::provision::exchange`] is.
//!
//! A group is looked up before it is created: nothing known says that Zoom refuses a second group of one name, so a
//! create that goes first would stand beside the group that was to be adopted.

use std::time::Duration;

use serde_json::{Map, Value};

use super::plan::{Act, name};
use crate::clock::Timestamp;
use crate::journal::record::Operation;
use crate::provision::call::{Answer, Call};
use crate::provision::link::{Link, Origin, State, Uncertain};
use crate::provision::pace;
use crate::provision::plan::Application;
use crate::provision::profile::capabilities::Capabilities;
use crate::provision::profile::group::GroupAim;
use crate::provision::profile::{Heard, Shown, scim};
use crate::scim::schema::fold;

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Make this call, then [`Exchange::hear`].
    Call(Call),
    /// A group was found: claim this remote id and look whose it is, then [`Exchange::claimed`].
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
        /// For scripts: `exists` or `refused`.
        code: &'static str,
        /// The application's words, or ours.
        detail: String,
    },
    /// The application has no groups, or none for us: asking again is of no use.
    Unsupported(String),
    /// Not now.
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
}

/// What is known when it is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The link as it now is; `None`: there is no group.
    pub link: Option<Link>,
    /// How it ended.
    pub end: End,
    /// A call took effect, or may have.
    pub effect: bool,
    /// What was really done: a create may turn out to be an adoption.
    pub operation: Operation,
}

/// Why the group is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quest {
    /// Before it is created.
    First,
    /// A create may have happened.
    Birth,
    /// The application says that it exists.
    Exists,
    /// It is to be taken away, and nobody knows whether it came to be.
    Removal,
}

#[derive(Debug, Clone, PartialEq)]
enum At {
    LookUp(Quest),
    /// The groups that may be it; the last one is asked about.
    Claim(Quest, Vec<Shown>),
    Post,
    Patch,
    /// The group is read whole, to be put back changed.
    Whole,
    /// It is put back.
    Rewrite(Map<String, Value>),
    Delete,
    End(End),
}

/// A walk through the whole list, because a filter finds nothing or there is none.
#[derive(Debug, Clone, PartialEq)]
struct Walk {
    /// The number of the first group on the next page.
    next: usize,
    /// The first group of the page before: a server that knows no pages shows it again.
    first: Option<String>,
    /// The groups of that name so far.
    fitting: Vec<Shown>,
}

/// One dialogue.
#[derive(Debug)]
pub struct Exchange<'a> {
    application: &'a Application,
    act: Act,
    link: Link,
    /// There is a group, or there may be one.
    linked: bool,
    intended: Timestamp,
    operation: Operation,
    effect: bool,
    /// A POST went out in this exchange already.
    posted: bool,
    /// What the application can do.
    capabilities: Capabilities,
    walk: Option<Walk>,
    at: At,
}

impl<'a> Exchange<'a> {
    /// Begins. `link` is the decision's; `intended` is when the intent was stored.
    #[must_use]
    pub fn begin(
        application: &'a Application,
        act: Act,
        operation: Operation,
        link: Option<Link>,
        intended: Timestamp,
    ) -> Self {
        let linked = link.is_some();
        let link = link.unwrap_or_else(|| unborn(application));
        let known = link.remote_id.is_some();
        let at = match &act {
            Act::Nothing | Act::Members | Act::Leave => At::End(End::Done),
            Act::Give { .. } if linked => At::LookUp(Quest::Birth),
            Act::Give { .. } => At::LookUp(Quest::First),
            Act::Update { .. } if known => At::Patch,
            Act::Update { .. } => At::LookUp(Quest::Birth),
            Act::Delete if known => At::Delete,
            Act::Delete => At::LookUp(Quest::Removal),
        };
        Self {
            application,
            act,
            link,
            linked,
            intended,
            operation,
            effect: false,
            posted: false,
            capabilities: Capabilities::default(),
            walk: None,
            at,
        }
    }

    /// The same for an application of which this is known. Before the first step.
    #[must_use]
    pub fn knowing(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// What comes next.
    pub fn step(&mut self) -> Step {
        let profile = self.application.profile;
        let id = self.link.remote_id.as_deref().unwrap_or_default();
        let call = match &self.at {
            At::LookUp(_) => match &self.walk {
                Some(walk) => profile.list_groups(walk.next),
                None => profile.look_up_group(self.sought()),
            },
            At::Claim(_, candidates) => {
                let id = candidates.last().map(|shown| shown.id.clone());
                return Step::Claim(id.unwrap_or_default());
            }
            At::Post => profile.create_group(&self.body()),
            At::Patch if self.capabilities.patch == Some(false) => {
                let call = profile.read_whole_group(id);
                self.at = At::Whole;
                return Step::Call(call);
            }
            At::Patch => profile.update_group(id, &self.body()),
            At::Whole => profile.read_whole_group(id),
            At::Rewrite(whole) => profile.rewrite_group(id, whole, &self.body()),
            At::Delete => profile.delete_group(id),
            At::End(end) => return Step::End(Box::new(self.outcome(end.clone()))),
        };
        Step::Call(call)
    }

    /// Hears what became of the call that [`Exchange::step`] gave, and says what it shows about the application itself.
    pub fn hear(&mut self, answer: &Answer, now: Timestamp) -> pace::Heard {
        let aim = match self.at {
            At::LookUp(_) if self.walk.is_some() => GroupAim::List,
            At::Whole => GroupAim::Read,
            At::LookUp(_) | At::Claim(..) | At::End(_) => GroupAim::LookUp,
            At::Post => GroupAim::Create,
            At::Patch | At::Rewrite(_) => GroupAim::Update,
            At::Delete => GroupAim::Delete,
        };
        let (heard, retry_after, shown) = read(self.application, aim, answer);
        self.at = match heard {
            Heard::Unavailable(detail) => At::End(match shown {
                pace::Heard::Limited(limited) => End::Limited {
                    detail,
                    wait: limited.patience(),
                },
                _ => End::Unavailable {
                    detail,
                    retry_after,
                },
            }),
            Heard::Unsupported(detail) => match self.at {
                // Only its filter may be missing.
                At::LookUp(quest) if self.by_the_rfc() && self.walk.is_none() => self.walk(quest),
                // PATCH is optional, and PUT is not (RFC 7644 3.5).
                At::Patch if self.by_the_rfc() => At::Whole,
                _ => self.unsupported(detail),
            },
            Heard::Forbidden(detail) => self.unsupported(detail),
            Heard::Ambiguous(detail) => self.ambiguous(detail, now),
            heard => self.settled(heard, now),
        };
        shown
    }

    /// Hears whose the found group is: `Some(name)` names the group of ours that holds it.
    pub fn claimed(&mut self, other: Option<&str>) {
        let At::Claim(quest, mut candidates) = std::mem::replace(&mut self.at, At::End(End::Done))
        else {
            return;
        };
        let asked = candidates.pop();
        self.at = match (other, asked) {
            (None, Some(shown)) => self.found(quest, &shown),
            _ if !candidates.is_empty() => At::Claim(quest, candidates),
            // Ours never came to be, and theirs is not touched.
            _ if quest == Quest::Removal => {
                self.linked = false;
                At::End(End::Done)
            }
            (other, _) => At::End(End::Refused {
                code: "exists",
                detail: format!(
                    "the group there belongs to {} already",
                    other.unwrap_or_default()
                ),
            }),
        };
    }

    /// Ends it from outside, between two calls.
    #[must_use]
    pub fn cut(self, why: &str) -> Outcome {
        self.stop(End::Unavailable {
            detail: why.to_owned(),
            retry_after: None,
        })
    }

    /// The next call's turn comes too late: the same is tried again after `wait`.
    #[must_use]
    pub fn put_off(self, why: &str, wait: Duration) -> Outcome {
        self.stop(End::Limited {
            detail: why.to_owned(),
            wait,
        })
    }

    fn stop(self, otherwise: End) -> Outcome {
        let end = match &self.at {
            At::End(end) => end.clone(),
            _ => otherwise,
        };
        self.outcome(end)
    }

    /// The name to look for: the one that a create may have gone out with, else the mapped one.
    fn sought(&self) -> &str {
        let mapped = match &self.act {
            Act::Give { body } | Act::Update { body } => name(body),
            Act::Nothing | Act::Members | Act::Delete | Act::Leave => "",
        };
        let doubt = self.link.seen_name.as_deref();
        doubt
            .filter(|_| self.link.uncertain.is_some() && self.link.remote_id.is_none())
            .unwrap_or(mapped)
    }

    fn body(&self) -> Map<String, Value> {
        match &self.act {
            Act::Give { body } | Act::Update { body } => body.clone(),
            Act::Nothing | Act::Members | Act::Delete | Act::Leave => Map::new(),
        }
    }

    fn in_doubt(&mut self, now: Timestamp) {
        self.effect = true;
        self.linked = true;
        let before = self.link.uncertain;
        self.link.uncertain = Some(Uncertain {
            intended: before.map_or(self.intended, |before| before.intended),
            sent: now,
        });
        if self.link.remote_id.is_none() {
            self.link.seen_name = Some(self.sought().to_owned());
        }
    }

    fn ambiguous(&mut self, detail: String, now: Timestamp) -> At {
        let post = self.at == At::Post;
        self.in_doubt(now);
        if post {
            self.posted = true;
            return At::LookUp(Quest::Birth);
        }
        At::End(End::Unknown(detail))
    }

    fn unsupported(&mut self, detail: String) -> At {
        if !matches!(self.at, At::LookUp(_) | At::Post) || self.link.uncertain.is_some() {
            return At::End(End::Refused {
                code: "unsupported",
                detail,
            });
        }
        // Noted on the link, so that it is asked once and not with every change.
        self.linked = true;
        self.link.kept = true;
        self.link.seen_name = Some(self.sought().to_owned());
        At::End(End::Unsupported(detail))
    }

    fn settled(&mut self, heard: Heard, now: Timestamp) -> At {
        match (self.at.clone(), heard) {
            (At::LookUp(quest), Heard::Found(groups)) => self.looked_up(quest, groups, now),
            (At::LookUp(quest), Heard::Page(groups, total)) => {
                self.walked(quest, groups, total, now)
            }
            (At::Whole, Heard::Account(shown)) => At::Rewrite(shown.attributes),
            (At::Post, Heard::Account(shown)) => {
                self.effect = true;
                self.linked = true;
                self.link.remote_id = Some(shown.id);
                self.link.origin = Origin::Created;
                self.written();
                At::End(End::Done)
            }
            (At::Post, Heard::Exists(_)) => At::LookUp(Quest::Exists),
            (At::Patch | At::Rewrite(_), Heard::Done | Heard::Account(_)) => {
                self.written();
                At::End(End::Done)
            }
            // Somebody deleted it there: it is found again by its name, or made anew.
            (At::Patch | At::Whole | At::Rewrite(_), Heard::Absent(_)) => {
                self.link = unborn(self.application);
                self.linked = false;
                self.operation = Operation::Create;
                At::LookUp(Quest::First)
            }
            (At::Delete, Heard::Done | Heard::Absent(_)) => {
                self.effect = true;
                self.linked = false;
                At::End(End::Done)
            }
            (
                At::Delete,
                Heard::Refused {
                    status: 400,
                    detail,
                },
            ) => {
                // Zoom: "Cannot delete account default group." Asking again would change nothing.
                self.link.kept = true;
                self.link.uncertain = None;
                At::End(End::Refused {
                    code: "refused",
                    detail,
                })
            }
            (_, Heard::Refused { detail, .. }) => At::End(End::Refused {
                code: "refused",
                detail,
            }),
            (_, other) => At::End(End::Unavailable {
                detail: format!("an answer out of place: {other:?}"),
                retry_after: None,
            }),
        }
    }

    /// Those of the name that is looked for: a server that ignores the filter must not have us adopt the first group of
    /// its list.
    fn of_that_name(&self, groups: Vec<Shown>) -> Vec<Shown> {
        let wanted = fold(self.sought());
        let fits = |shown: &Shown| {
            let name = shown.attributes.get("displayName").and_then(Value::as_str);
            name.is_some_and(|name| fold(name) == wanted)
        };
        groups.into_iter().filter(fits).collect()
    }

    /// Zoom lists nothing without a filter, and has no PUT of groups.
    fn by_the_rfc(&self) -> bool {
        self.application.profile.describes_itself()
    }

    /// Looks through the whole list.
    fn walk(&mut self, quest: Quest) -> At {
        self.walk = Some(Walk {
            next: 1,
            first: None,
            fitting: Vec::new(),
        });
        At::LookUp(quest)
    }

    /// A page of that walk. Names need not be unique, so it goes to the end.
    fn walked(
        &mut self,
        quest: Quest,
        groups: Vec<Shown>,
        total: Option<usize>,
        now: Timestamp,
    ) -> At {
        let Some(mut walk) = self.walk.take() else {
            return self.at.clone();
        };
        let first = groups.first().map(|shown| shown.id.clone());
        let again = first.is_some() && first == walk.first;
        walk.first = first;
        walk.next += groups.len();
        let seen = walk.next - 1;
        let over = groups.is_empty() || again || total.is_some_and(|total| seen >= total);
        if !again {
            walk.fitting.extend(self.of_that_name(groups));
        }
        if over && walk.fitting.is_empty() {
            self.walk = Some(walk);
            return self.missed(quest, now);
        }
        if over {
            return self.choose(quest, walk.fitting);
        }
        if seen >= scim::WALK {
            let detail = format!(
                "it has no filter that finds a group by its displayName, and more than {} groups",
                scim::WALK
            );
            return At::End(End::Unavailable {
                detail,
                retry_after: None,
            });
        }
        self.walk = Some(walk);
        At::LookUp(quest)
    }

    fn looked_up(&mut self, quest: Quest, groups: Vec<Shown>, now: Timestamp) -> At {
        let ignored = !groups.is_empty();
        let fitting = self.of_that_name(groups);
        if !fitting.is_empty() {
            return self.choose(quest, fitting);
        }
        // The filter was ignored, or there is none, or it minds case where uniqueness does not.
        let distrusted = self.by_the_rfc()
            && (ignored || quest == Quest::Exists || self.capabilities.filter == Some(false));
        if distrusted {
            return self.walk(quest);
        }
        self.missed(quest, now)
    }

    fn choose(&self, quest: Quest, mut fitting: Vec<Shown>) -> At {
        // The last one is asked about first: ours, if a create of ours may have made one, else the oldest.
        fitting.sort_by_key(|shown| (self.is_ours(shown), std::cmp::Reverse(shown.created)));
        At::Claim(quest, fitting)
    }

    /// A create of ours may have made it: it is not older than the intent. Applications show whole seconds.
    fn is_ours(&self, shown: &Shown) -> bool {
        match (self.link.uncertain, shown.created) {
            (Some(doubt), Some(created)) => created.0 / 1000 >= doubt.intended.0 / 1000,
            _ => false,
        }
    }

    fn missed(&mut self, quest: Quest, now: Timestamp) -> At {
        let lag = self.application.config.lookup_lag;
        match (quest, self.link.uncertain) {
            (Quest::Birth | Quest::Removal, Some(doubt)) if now < doubt.sent.plus(lag) => {
                At::End(End::Later(doubt.sent.plus(lag)))
            }
            (Quest::Removal, _) => {
                self.linked = false;
                At::End(End::Done)
            }
            // It exists and is not shown: not visible yet, or not to us.
            (Quest::Exists, _) => {
                self.in_doubt(now);
                At::End(End::Later(now.plus(lag)))
            }
            (Quest::First | Quest::Birth, _) => {
                if self.posted {
                    return At::End(End::Later(now.plus(lag.max(Duration::from_secs(1)))));
                }
                let other_name = fold(self.sought()) != fold(name(&self.body()));
                self.link = unborn(self.application);
                self.linked = false;
                self.operation = Operation::Create;
                if other_name {
                    // Renamed since: nobody has looked for the new name yet.
                    return At::LookUp(Quest::First);
                }
                if !self.application.config.groups.create {
                    return At::End(End::Refused {
                        code: "refused",
                        detail: String::from(
                            "the group is not there, and creating groups is switched off",
                        ),
                    });
                }
                At::Post
            }
        }
    }

    /// A group was found and no other of ours holds it.
    fn found(&mut self, quest: Quest, shown: &Shown) -> At {
        let ours = self.is_ours(shown);
        if quest == Quest::Removal && !ours {
            // It was there before us, so ours never came to be.
            self.linked = false;
            return At::End(End::Done);
        }
        if !ours && !self.application.config.adopt {
            self.linked = false;
            return At::End(End::Refused {
                code: "exists",
                detail: String::from("a group of this name exists, and adopting is switched off"),
            });
        }
        self.linked = true;
        self.link.uncertain = None;
        self.link.remote_id = Some(shown.id.clone());
        self.link.state = State::Active;
        self.link.sent = None;
        self.link.origin = if ours {
            Origin::Created
        } else {
            self.operation = Operation::Adopt;
            Origin::Adopted
        };
        if quest == Quest::Removal {
            return At::Delete;
        }
        // It was found by its name, so an adopted group is not renamed; what else the rules give is written.
        let body = self.body();
        let all_there = body
            .iter()
            .all(|(key, value)| key == "displayName" || shown.attributes.get(key) == Some(value));
        let same_name = fold(self.sought()) == fold(name(&body));
        if all_there && same_name {
            self.written();
            return At::End(End::Done);
        }
        At::Patch
    }

    /// The application acknowledged everything that is mapped now.
    fn written(&mut self) {
        self.effect = true;
        self.link.uncertain = None;
        self.link.state = State::Active;
        self.link.seen_name = None;
        self.link.sent = Some(self.body());
    }

    fn outcome(&self, end: End) -> Outcome {
        let keeps =
            self.link.remote_id.is_some() || self.link.uncertain.is_some() || self.link.kept;
        let link = (self.linked && keeps).then(|| self.link.clone());
        Outcome {
            link,
            end,
            effect: self.effect,
            operation: self.operation,
        }
    }
}

fn unborn(application: &Application) -> Link {
    Link {
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
    }
}

/// What an answer says of the group, its `Retry-After`, and what it shows of the application: one that has no groups is
/// well.
pub(super) fn read(
    application: &Application,
    aim: GroupAim,
    answer: &Answer,
) -> (Heard, Option<Duration>, pace::Heard) {
    let reads = matches!(aim, GroupAim::LookUp | GroupAim::List | GroupAim::Read);
    let (heard, retry_after) = match answer {
        Answer::Reply {
            status,
            body,
            retry_after,
            ..
        } => (
            application.profile.hear_group(aim, *status, body),
            *retry_after,
        ),
        Answer::NotSent(why) => (Heard::Unavailable(why.clone()), None),
        Answer::Lost(why) if reads => (Heard::Unavailable(why.clone()), None),
        Answer::Lost(why) => (Heard::Ambiguous(why.clone()), None),
    };
    let shown = match (&heard, pace::Heard::of(answer)) {
        (Heard::Unavailable(_), pace::Heard::Well) => pace::Heard::Unavailable(retry_after),
        (Heard::Refused { .. } | Heard::Unsupported(_) | Heard::Forbidden(_), _) => {
            pace::Heard::Well
        }
        (_, shown) => shown,
    };
    (heard, retry_after, shown)
}

/// The link as it stands if nobody lives to hear the answers: what the intent keeps.
#[must_use]
pub fn unknown(
    application: &Application,
    act: &Act,
    link: Option<&Link>,
    intended: Timestamp,
) -> Option<Link> {
    if !matches!(act, Act::Give { .. } | Act::Update { .. } | Act::Delete) {
        return link.cloned();
    }
    let operation = Operation::Update;
    let mut exchange =
        Exchange::begin(application, act.clone(), operation, link.cloned(), intended);
    exchange.in_doubt(intended);
    Some(exchange.link)
}

#[cfg(test)]
mod tests;
