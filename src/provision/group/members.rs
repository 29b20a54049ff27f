//! Bringing members into a group and out of it: what differs, and the dialogue that closes the difference in chunks.
//! Additions and removals only, never a replacement: the application may have members that are none of our business.

use std::collections::VecDeque;
use std::time::Duration;

use super::exchange::read;
use crate::provision::call::{Answer, Call};
use crate::provision::pace;
use crate::provision::plan::Application;
use crate::provision::profile::Heard;
use crate::provision::profile::group::GroupAim;
use crate::scim::Handle;
use crate::store::{Doubt, Sent, SentEdit};

/// Calls that one turn may spend on finding out which members of a refused chunk are at fault.
const SEARCH: usize = 32;

/// What is known of one membership.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The directory has it as a member.
    pub member: bool,
    /// Its account there, if it has one.
    pub account: Option<String>,
    /// What was sent of it.
    pub sent: Option<Sent>,
    /// The account that was sent belongs to somebody else by now, who is a member.
    pub passed_on: bool,
    /// The account that was sent is still one of ours: it can be taken out.
    pub held: bool,
}

/// What closes the difference for one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// There is none.
    None,
    /// This account comes in.
    Add(String),
    /// This account goes out.
    Remove(String),
    /// The account that was sent is gone, and its membership with it: no call, only our note goes.
    Forget,
}

/// Compares one membership with what was sent of it.
#[must_use]
pub fn difference(known: &Known) -> Difference {
    let wanted = known.account.as_ref().filter(|_| known.member);
    match (wanted, &known.sent) {
        (None, None) => Difference::None,
        (Some(account), None) => Difference::Add(account.clone()),
        (Some(account), Some(sent)) if *account == sent.remote_id => {
            if sent.sure {
                Difference::None
            } else {
                Difference::Add(account.clone())
            }
        }
        (wanted, Some(sent)) => {
            if known.held && !known.passed_on {
                return Difference::Remove(sent.remote_id.clone());
            }
            match wanted {
                Some(account) => Difference::Add(account.clone()),
                None => Difference::Forget,
            }
        }
    }
}

/// One member to bring in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The member.
    pub member: Handle,
    /// Its id there.
    pub remote_id: String,
    /// In, or out.
    pub adding: bool,
    /// The doubt that this settles; `None`: it was found by comparing the whole group.
    pub doubt: Option<Doubt>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing was sent.
    Unsent,
    /// Done.
    Done,
    /// Sent, and nobody knows.
    Unsure,
    /// Refused for good.
    Refused,
    /// Refused, and not allowed: asking again is of no use before something changes.
    Forbidden,
    /// The application takes nobody out of a group: it stays as it is.
    Untaken,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Every change was answered.
    Done,
    /// The group is not there any more.
    Gone,
    /// The application takes no members from us: asking again is of no use.
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
}

impl End {
    fn unavailable(detail: String, retry_after: Option<Duration>, shown: &pace::Heard) -> Self {
        match shown {
            pace::Heard::Limited(limited) => Self::Limited {
                detail,
                wait: limited.patience(),
            },
            _ => Self::Unavailable {
                detail,
                retry_after,
            },
        }
    }
}

/// What is known when it is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Members that came in.
    pub added: usize,
    /// Members that went out.
    pub removed: usize,
    /// Members that were refused, those that are not allowed included.
    pub refused: usize,
    /// Members that are not allowed.
    pub forbidden: usize,
    /// Members that stay because the application takes nobody out.
    pub staying: usize,
    /// What the application said of the last refused one.
    pub said: Option<String>,
    /// A call left the box for a change whose doubt, or place behind the cursor, must stay.
    pub open: bool,
    fates: Vec<Fate>,
}

#[derive(Debug)]
enum At {
    /// The next chunk.
    Next,
    /// This chunk's call is out.
    Chunk(Vec<usize>),
    /// Whether "not found" was about the group.
    Check(Vec<usize>, String),
    End(End),
}

/// One dialogue.
#[derive(Debug)]
pub struct Exchange<'a> {
    application: &'a Application,
    /// The group's id there.
    group: &'a str,
    changes: &'a [Change],
    /// Chunks that wait: of one kind each.
    waiting: VecDeque<Vec<usize>>,
    at: At,
    fates: Vec<Fate>,
    said: Option<String>,
    searched: usize,
}

impl<'a> Exchange<'a> {
    /// Begins. Who goes goes first: it is the smaller harm if the rest has to wait.
    #[must_use]
    pub fn begin(application: &'a Application, group: &'a str, changes: &'a [Change]) -> Self {
        Self::with(application, group, changes, true)
    }

    /// The same; `takes_out`: false where the application said that it takes nobody out of a group.
    #[must_use]
    pub fn with(
        application: &'a Application,
        group: &'a str,
        changes: &'a [Change],
        takes_out: bool,
    ) -> Self {
        let mut waiting = VecDeque::new();
        let mut fates = vec![Fate::Unsent; changes.len()];
        if !takes_out {
            for (fate, change) in fates.iter_mut().zip(changes) {
                if !change.adding {
                    *fate = Fate::Untaken;
                }
            }
        }
        let kinds: &[bool] = if takes_out { &[false, true] } else { &[true] };
        for adding in kinds.iter().copied() {
            let mut left: Vec<usize> = (0..changes.len())
                .filter(|at| changes.get(*at).is_some_and(|it| it.adding == adding))
                .collect();
            while !left.is_empty() {
                let ids = left.iter().filter_map(|at| changes.get(*at));
                let fits = application
                    .profile
                    .fit(adding, ids.map(|change| change.remote_id.as_str()));
                let rest = left.split_off(fits.min(left.len()));
                waiting.push_back(std::mem::replace(&mut left, rest));
            }
        }
        Self {
            application,
            group,
            changes,
            waiting,
            at: At::Next,
            fates,
            said: None,
            searched: 0,
        }
    }

    /// The next call; `None`: it is over.
    pub fn step(&mut self) -> Option<Call> {
        if let At::Next = self.at {
            self.at = match self.waiting.pop_front() {
                Some(chunk) => At::Chunk(chunk),
                None => At::End(End::Done),
            };
        }
        let profile = self.application.profile;
        match &self.at {
            At::Chunk(chunk) => {
                let ids: Vec<&str> = self.of(chunk).map(|it| it.remote_id.as_str()).collect();
                let adding = self.of(chunk).any(|change| change.adding);
                Some(if adding {
                    profile.add_members(self.group, &ids)
                } else {
                    profile.remove_members(self.group, &ids)
                })
            }
            At::Check(..) => Some(profile.read_group(self.group)),
            At::Next | At::End(_) => None,
        }
    }

    fn of<'c>(&self, chunk: &'c [usize]) -> impl Iterator<Item = &'a Change> + use<'a, 'c> {
        let changes = self.changes;
        chunk.iter().filter_map(|at| changes.get(*at))
    }

    /// Hears what became of the call, and says what it shows about the application itself.
    pub fn hear(&mut self, answer: &Answer) -> pace::Heard {
        let at = std::mem::replace(&mut self.at, At::Next);
        let aim = match at {
            At::Check(..) => GroupAim::Read,
            At::Next | At::Chunk(_) | At::End(_) => GroupAim::Members,
        };
        let (heard, retry_after, shown) = read(self.application, aim, answer);
        let chunk = match at {
            At::Next | At::End(_) => return shown,
            At::Check(chunk, detail) => {
                self.at = match heard {
                    Heard::Absent(_) => At::End(End::Gone),
                    // It is there: so a member is not.
                    Heard::Account(_) => self.refused(chunk, detail, true, Fate::Refused),
                    Heard::Unavailable(detail) => {
                        At::End(End::unavailable(detail, retry_after, &shown))
                    }
                    other => At::End(out_of_place(&other)),
                };
                return shown;
            }
            At::Chunk(chunk) => chunk,
        };
        self.at = match heard {
            Heard::Done | Heard::Account(_) => {
                self.fate(&chunk, Fate::Done);
                At::Next
            }
            Heard::Absent(detail) => At::Check(chunk, detail),
            Heard::Refused { detail, .. } => {
                let folded = detail.to_lowercase();
                let gone = folded.contains("not a member") || folded.contains("not exist");
                self.refused(chunk, detail, gone, Fate::Refused)
            }
            Heard::Forbidden(detail) => self.refused(chunk, detail, false, Fate::Forbidden),
            // Servers are known that bring members in and take nobody out, unless by a form that would empty the group
            // elsewhere.
            Heard::Unsupported(detail) if self.removes(&chunk) => {
                self.said = Some(detail);
                let staying = self.changes.iter().enumerate();
                let staying: Vec<usize> = staying
                    .filter(|(at, change)| {
                        !change.adding && self.fates.get(*at) == Some(&Fate::Unsent)
                    })
                    .map(|(at, _)| at)
                    .collect();
                self.fate(&staying, Fate::Untaken);
                let changes = self.changes;
                let adds = |at: &usize| changes.get(*at).is_some_and(|change| change.adding);
                self.waiting.retain(|chunk| chunk.iter().all(adds));
                At::Next
            }
            Heard::Unsupported(detail) => At::End(End::Unsupported(detail)),
            Heard::Ambiguous(detail) => {
                self.fate(&chunk, Fate::Unsure);
                At::End(End::Unknown(detail))
            }
            Heard::Unavailable(detail) => At::End(End::unavailable(detail, retry_after, &shown)),
            other => At::End(out_of_place(&other)),
        };
        shown
    }

    /// A chunk was refused whole: its halves are tried, until it is known whom the application does not take. `gone`: it
    /// says that a member is not there, which is what a removal wants.
    fn refused(&mut self, mut chunk: Vec<usize>, detail: String, gone: bool, fate: Fate) -> At {
        let removing = self.removes(&chunk);
        if chunk.len() > 1 && self.searched < SEARCH {
            self.searched += 1;
            let second = chunk.split_off(chunk.len() / 2);
            self.waiting.push_front(second);
            self.waiting.push_front(chunk);
            return At::Next;
        }
        if removing && gone && chunk.len() == 1 {
            self.fate(&chunk, Fate::Done);
        } else {
            self.said = Some(detail);
            self.fate(&chunk, fate);
        }
        At::Next
    }

    fn removes(&self, chunk: &[usize]) -> bool {
        self.of(chunk).any(|change| !change.adding)
    }

    fn fate(&mut self, chunk: &[usize], fate: Fate) {
        for at in chunk {
            if let Some(one) = self.fates.get_mut(*at) {
                *one = fate;
            }
        }
    }

    /// What came of it. `why`: how it is ended from outside, between two calls.
    #[must_use]
    pub fn end(self, why: Option<End>) -> Outcome {
        let count = |fate: Fate, adding: Option<bool>| {
            let both = self.fates.iter().zip(self.changes);
            both.filter(|(it, change)| **it == fate && adding.is_none_or(|a| a == change.adding))
                .count()
        };
        let (added, removed) = (
            count(Fate::Done, Some(true)),
            count(Fate::Done, Some(false)),
        );
        let forbidden = count(Fate::Forbidden, None);
        let refused = count(Fate::Refused, None) + forbidden;
        let staying = count(Fate::Untaken, None);
        let open = count(Fate::Unsent, None) + count(Fate::Unsure, None) > 0;
        let end = match (self.at, why) {
            (At::End(end), _) => end,
            (_, Some(why)) => why,
            (_, None) => End::Done,
        };
        Outcome {
            end,
            added,
            removed,
            refused,
            forbidden,
            staying,
            said: self.said,
            open,
            fates: self.fates,
        }
    }
}

fn out_of_place(heard: &Heard) -> End {
    End::Unavailable {
        detail: format!("an answer out of place: {heard:?}"),
        retry_after: None,
    }
}

/// What stands if nobody lives to hear the answers: everybody may be in, and everything is sent again.
#[must_use]
pub fn unknown(application: &str, group: Handle, changes: &[Change]) -> SentEdit {
    SentEdit {
        application: application.to_owned(),
        group,
        rows: changes.iter().map(unsure).collect(),
        ..SentEdit::default()
    }
}

fn unsure(change: &Change) -> (Handle, Option<Sent>) {
    let sent = Sent {
        remote_id: change.remote_id.clone(),
        sure: false,
    };
    (change.member, Some(sent))
}

/// What is kept of an outcome.
#[must_use]
pub fn kept(application: &str, group: Handle, changes: &[Change], outcome: &Outcome) -> SentEdit {
    let mut edit = SentEdit {
        application: application.to_owned(),
        group,
        ..SentEdit::default()
    };
    for (change, fate) in changes.iter().zip(&outcome.fates) {
        match fate {
            Fate::Unsent => {}
            // What was sent of it stands, and nobody asks for it again.
            Fate::Untaken => edit.settled.extend(change.doubt),
            Fate::Unsure => edit.rows.push(unsure(change)),
            Fate::Done => {
                let sent = change.adding.then(|| Sent {
                    remote_id: change.remote_id.clone(),
                    sure: true,
                });
                edit.rows.push((change.member, sent));
                edit.settled.extend(change.doubt);
            }
            Fate::Refused | Fate::Forbidden if change.doubt.is_some_and(|doubt| doubt.refused) => {}
            Fate::Refused | Fate::Forbidden => {
                edit.settled.extend(change.doubt);
                edit.refused.push(change.member);
            }
        }
    }
    edit
}

#[cfg(test)]
mod tests;
