//! What another configuration would have done with the requests in the journal: `POST /replay` for the command line, and
//! the same over a data file that no gateway has open.
//!
//! The journal is read in passes, and people are gone through some at a time, so that what is held in memory does not grow
//! with the journal.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::clock::Timestamp;
use crate::config;
use crate::error::Fault;
use crate::journal::record::Record;
use crate::journal::replay::case::Case;
use crate::journal::replay::past::{Past, whose};
use crate::journal::replay::person::{Person, Present};
use crate::journal::replay::{Line, Tally};
use crate::journal::report::Query;
use crate::provision::plan::Application;
use crate::scim::Kind;
use crate::store::{Binding, Key, Progress, View};

use super::Console;

/// People who are gone through at a time.
const PEOPLE: usize = 10_000;

/// The largest configuration, in bytes.
const LARGEST: usize = 16 << 20;

const BUSY: &str = "Another replay is under way.";

/// From when, and before when.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Not before this.
    pub since: Timestamp,
    /// Before this.
    pub until: Timestamp,
}

impl Console {
    /// `since` and `until` are those of a report; the body is the configuration. Answers JSON lines. One at a time.
    pub(super) async fn replay(&self, query: &str, body: Incoming) -> Result<Vec<u8>, Fault> {
        let span = span(query, self.clock.now())?;
        let engine = self.engine()?;
        let text = Limited::new(body, LARGEST).collect().await;
        let text = text.map_err(|why| Fault::InvalidSyntax(why.to_string()))?;
        let text = String::from_utf8(text.to_bytes().into());
        let text =
            text.map_err(|_| Fault::InvalidSyntax(String::from("The body is not UTF-8.")))?;
        let (asked, turn) = self.replay.begin(BUSY)?;
        let progress = Arc::clone(&asked.0);
        let work = move || {
            let _turn = turn;
            let new = applications(&text)?;
            let old: Vec<_> = engine.applications.iter().map(|one| &one.plan).collect();
            let mut body = Vec::new();
            for line in replay(&engine.store.view()?, &new, &old, span, &progress)? {
                serde_json::to_writer(&mut body, &line)
                    .map_err(|why| Fault::Internal(why.to_string()))?;
                body.push(b'\n');
            }
            Ok(body)
        };
        let done = tokio::task::spawn_blocking(work).await;
        drop(asked);
        done.map_err(|died| Fault::Internal(died.to_string()))?
    }

    /// `GET /replay`: records read, and how many there are to read; nulls where none is under way.
    pub(super) fn replay_progress(&self) -> Vec<u8> {
        self.replay.so_far()
    }
}

/// The applications of a configuration's text.
///
/// # Errors
/// [`Fault::InvalidValue`] with all mistakes.
pub fn applications(text: &str) -> Result<Vec<Application>, Fault> {
    let config = config::decisions(text, Path::new("usher.toml")).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Fault::InvalidValue(problems.join("\n"))
    })?;
    let all = config.applications.into_iter();
    Ok(all.map(Application::compile).collect())
}

fn span(query: &str, now: Timestamp) -> Result<Span, Fault> {
    let only = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        matches!(name, "since" | "until" | "limit")
    };
    let asked = Query::from_url(query, now)?;
    match (asked.since, asked.until) {
        (Some(since), Some(until)) if query.split('&').all(only) => Ok(Span { since, until }),
        _ => Err(Fault::InvalidValue(String::from(
            "A replay takes since and until.",
        ))),
    }
}

/// One that finds the same in each pass.
type Hasher = BuildHasherDefault<DefaultHasher>;

/// Goes through the journal's records of the span under the applications `new`. `old`: those in force, as far as they are
/// known.
///
/// # Errors
/// [`Fault::Internal`]: a damaged row, or the disk; [`Fault::Unavailable`]: it was told to stop.
pub fn replay(
    view: &View,
    new: &[Application],
    old: &[&Application],
    span: Span,
    progress: &Progress,
) -> Result<Vec<Line>, Fault> {
    let (mut cases, mut bindings) = (Vec::new(), Vec::new());
    for application in new {
        let name = application.name();
        let policies: Vec<_> = selectors(application).collect();
        let now = view.selectors(name)?;
        let same_policies = now.is_some_and(|now| {
            now.iter().collect::<BTreeSet<_>>() == policies.iter().copied().collect()
        });
        bindings.push(view.bind(name, policies)?);
        cases.push(Case {
            new: application,
            old: old.iter().find(|old| old.name() == name).copied(),
            same_policies,
        });
    }
    let mut passes = Passes::new(view, span, progress)?;
    let mut people = BTreeSet::new();
    let (mut records, mut groups, mut first) = (0, 0, None);
    passes.pass(span.until, |record| {
        records += 1;
        first.get_or_insert((record.sequence, record.time));
        groups += u64::from(record.kind == Kind::Group);
        people.extend(whose(record).map(|whose| Hasher::default().hash_one(whose)));
    })?;
    let share = u64::try_from(people.len().div_ceil(PEOPLE).max(1)).unwrap_or(u64::MAX);
    drop(people);
    passes.expect(share);
    let mut tally = Tally::default();
    for turn in 0..share {
        let its = |record: &Record| {
            whose(record).filter(|whose| Hasher::default().hash_one(whose) % share == turn)
        };
        let mut pasts: HashMap<String, Past> = HashMap::new();
        // To the journal's end: what was written since is what makes the directory of now another one than it was.
        passes.pass(Timestamp::NEVER, |record| {
            if let Some(whose) = its(record) {
                pasts.entry(whose).or_default().take(record, span.until);
            }
        })?;
        pasts.retain(|_, past| past.is_spanned());
        let mut replayed = HashMap::with_capacity(pasts.len());
        for (whose, past) in pasts {
            let present = present(view, new, &bindings, past.id())?;
            replayed.insert(whose, Person::begin(&cases, past, present));
        }
        passes.pass(span.until, |record| {
            if let Some(person) = its(record).and_then(|whose| replayed.get_mut(&whose)) {
                person.take(record);
            }
        })?;
        let mut ended: Vec<_> = replayed.into_iter().collect();
        // Ids of ours are in the order of creation.
        ended.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (_, person) in ended {
            person.end(span.until, &mut tally);
        }
    }
    let mut notes = Vec::new();
    if let Some((sequence, time)) = first
        && sequence > 1
        && view.record(sequence - 1)?.is_none()
    {
        notes.push(format!(
            "the journal begins at {}: what was before is not in it",
            time.rfc3339()
        ));
    }
    if groups > 0 {
        notes.push(format!(
            "groups are not replayed: {groups} records of groups were passed over"
        ));
    }
    if new.iter().any(|one| selectors(one).next().is_some()) {
        notes.push(String::from(
            "who is in a policy's group is taken from now, where the journal does not show it",
        ));
    }
    Ok(tally.end(records, notes))
}

fn selectors(
    application: &Application,
) -> impl Iterator<Item = &crate::policy::assignment::Selector> {
    application.config.policies.iter().map(|one| &one.group)
}

/// A person as the directory has them now.
fn present(
    view: &View,
    new: &[Application],
    bindings: &[Vec<Binding>],
    id: &str,
) -> Result<Present, Fault> {
    let handle = view.find(&Key::Id(Kind::User, id))?;
    let resource = handle.map(|handle| view.resource(handle)).transpose()?;
    let Some(resource) = resource.flatten() else {
        return Ok(Present::default());
    };
    let mut assigned = Vec::with_capacity(new.len());
    for (application, bindings) in new.iter().zip(bindings) {
        let policies = selectors(application);
        let name = application.name();
        assigned.push(view.assigned_by(bindings, name, policies, resource.handle)?);
    }
    Ok(Present {
        resource: Some(resource),
        assigned,
    })
}

/// Reads the journal from the beginning of the span, again and again, and tells how far that is.
struct Passes<'v> {
    view: &'v View,
    since: Timestamp,
    progress: &'v Progress,
    /// Sequences from the span's beginning to the journal's end.
    length: u64,
    done: u64,
}

impl<'v> Passes<'v> {
    fn new(view: &'v View, span: Span, progress: &'v Progress) -> Result<Self, Fault> {
        let mut first = None;
        view.records_between(span.since, Timestamp::NEVER, |record| {
            first = Some(record.sequence);
            ControlFlow::Break(())
        })?;
        let last = view.last_sequence()?;
        let length = first.map_or(0, |first| last.saturating_sub(first) + 1);
        let passes = Self {
            view,
            since: span.since,
            progress,
            length,
            done: 0,
        };
        passes.expect(1);
        Ok(passes)
    }

    /// So many shares of people come, of two passes each, after the one that counts them.
    fn expect(&self, shares: u64) {
        let passes = shares.saturating_mul(2).saturating_add(1);
        let of = self.length.saturating_mul(passes);
        self.progress.of.store(of, Ordering::Relaxed);
    }

    fn pass(&mut self, until: Timestamp, mut each: impl FnMut(&Record)) -> Result<(), Fault> {
        let Self {
            view,
            since,
            progress,
            ..
        } = *self;
        let mut stopped = false;
        view.records_between(since, until, |record| {
            each(&record);
            progress.rows.fetch_add(1, Ordering::Relaxed);
            stopped = progress.stop.load(Ordering::Relaxed);
            if stopped {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        if stopped {
            return Err(Fault::Unavailable {
                retry_after: 5,
                detail: String::from("The replay was stopped."),
            });
        }
        self.done = self.done.saturating_add(self.length);
        progress.rows.store(self.done, Ordering::Relaxed);
        Ok(())
    }
}
