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
use serde_json::Value;

use crate::clock::Timestamp;
use crate::config;
use crate::error::Fault;
use crate::journal::record::Record;
use crate::journal::replay::belonging::{Bound, Move, Policy, Relevant, is_silent};
use crate::journal::replay::case::Case;
use crate::journal::replay::groups::{Groups, Names, Standing};
use crate::journal::replay::past::{Past, whose};
use crate::journal::replay::person::{Person, Present};
use crate::journal::replay::{Line, Tally};
use crate::journal::report::Query;
use crate::policy::assignment::Selector;
use crate::provision::plan::Application;
use crate::scim::{Handle, Kind, Resource};
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
    let (mut cases, mut policies) = (Vec::new(), Vec::new());
    for application in new {
        let name = application.name();
        let now = view.selectors(name)?;
        let same_policies = now.is_some_and(|now| {
            now.iter().collect::<BTreeSet<_>>() == selectors(application).collect()
        });
        policies.push(bound(view, application)?);
        cases.push(Case {
            new: application,
            old: old.iter().find(|old| old.name() == name).copied(),
            same_policies,
        });
    }
    let mut passes = Passes::new(view, span, progress)?;
    let (groups, mut relevant) = memberships(&mut passes, &policies)?;
    let mut people = BTreeSet::new();
    let (mut records, mut of_groups, mut first) = (0, 0, None);
    let hash = |id: &str| Hasher::default().hash_one(id);
    let to = if relevant.ids().is_empty() {
        span.until
    } else {
        Timestamp::NEVER
    };
    passes.pass(to, |record| {
        relevant.count(record, &groups);
        if record.time >= span.until {
            return;
        }
        records += 1;
        first.get_or_insert((record.sequence, record.time));
        of_groups += u64::from(record.kind == Kind::Group);
        people.extend(whose(record).map(|whose| hash(&whose)));
        relevant.moves(record, &groups, |member, _| {
            people.insert(hash(member));
        });
    })?;
    relevant.settle(&groups, &policies);
    let relevant = relevant;
    let affected: Vec<Handle> = relevant
        .affected(span.until)
        .into_iter()
        .filter_map(|at| relevant.ids().get(at))
        .filter_map(|id| view.find(&Key::Id(Kind::Group, id)).transpose())
        .collect::<Result<_, _>>()?;
    for group in &affected {
        members(view, *group, |id| {
            people.insert(hash(id));
        })?;
    }
    let share = u64::try_from(people.len().div_ceil(PEOPLE).max(1)).unwrap_or(u64::MAX);
    drop(people);
    passes.expect(share);
    let mut tally = Tally::default();
    for turn in 0..share {
        let is_its = |id: &str| hash(id) % share == turn;
        let its = |record: &Record| whose(record).filter(|whose| is_its(whose));
        let mut pasts: HashMap<String, Past> = HashMap::new();
        let mut moves: HashMap<String, Vec<Move>> = HashMap::new();
        let mut silent = BTreeSet::new();
        // To the journal's end: what was written since is what makes the directory of now another one than it was.
        passes.pass(Timestamp::NEVER, |record| {
            relevant.moves(record, &groups, |member, one| {
                if is_its(member) {
                    moves.entry(member.to_owned()).or_default().push(one);
                }
            });
            if let Some(whose) = its(record) {
                if is_silent(record) {
                    silent.insert(whose.clone());
                }
                pasts.entry(whose).or_default().take(record, span.until);
            }
        })?;
        for id in moves.keys() {
            pasts.entry(id.clone()).or_default();
        }
        for group in &affected {
            members(view, *group, |id| {
                if is_its(id) {
                    pasts.entry(id.to_owned()).or_default();
                }
            })?;
        }
        let mut replayed = HashMap::with_capacity(pasts.len());
        for (whose, mut past) in pasts {
            let id = if past.id().is_empty() {
                whose.as_str()
            } else {
                past.id()
            };
            let moves = moves.remove(id).unwrap_or_default();
            let is_silent = silent.contains(id);
            let present = present(view, &relevant, id, &moves, is_silent)?;
            let turns = &mut present.belonging.turns.iter();
            if !past.is_spanned() && !turns.any(|turn| turn.time < span.until) {
                continue;
            }
            if !past.is_spanned() {
                let user = present.resource.as_ref().map_or("", Resource::title);
                past.pick(&whose, user);
            }
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
    let all = view.count(Kind::User)?;
    if all > 0 {
        notes.push(format!(
            "only people whom something was asked of in this time were looked at: a reload plans all {all}"
        ));
    }
    if let Some((sequence, time)) = first
        && sequence > 1
        && view.record(sequence - 1)?.is_none()
    {
        notes.push(format!(
            "the journal begins at {}: what was before is not in it",
            time.rfc3339()
        ));
    }
    if of_groups > 0 {
        notes.push(format!(
            "groups in applications are not replayed: of {of_groups} records of groups only who belongs by them is looked at"
        ));
    }
    if let Some(time) = relevant.blind() {
        notes.push(format!(
            "who was in a policy's group before {} is taken from then, where the journal does not show it: an older usher wrote no memberships",
            time.rfc3339()
        ));
    }
    Ok(tally.end(records, notes))
}

fn selectors(application: &Application) -> impl Iterator<Item = &Selector> {
    application.config.policies.iter().map(|one| &one.group)
}

/// An application's policies, with the groups that they are bound to already.
fn bound(view: &View, application: &Application) -> Result<Vec<Policy>, Fault> {
    let mut policies = Vec::new();
    for selector in selectors(application) {
        let its =
            |one: &&Binding| one.application == application.name() && one.selector == *selector;
        let mut bound = None;
        if let Some(binding) = view.bindings()?.iter().find(its) {
            let group = view.resource(binding.group)?;
            let group = group.filter(|group| !binding.deleted && group.deleted.is_none());
            bound = Some(Bound {
                group: group.map(|group| group.id.as_str().to_owned()),
                name: binding.name.clone(),
                populated: binding.populated,
            });
        }
        policies.push(Policy {
            selector: selector.clone(),
            bound,
        });
    }
    Ok(policies)
}

/// The groups that policies have or had, walked through the whole journal since the span's beginning: first for which of all
/// ids are groups, then for what is in them.
fn memberships(
    passes: &mut Passes<'_>,
    policies: &[Vec<Policy>],
) -> Result<(Groups, Relevant), Fault> {
    let view = passes.view;
    if policies.iter().all(Vec::is_empty) {
        let (groups, mut relevant) = (Groups::default(), Relevant::default());
        relevant.settle(&groups, policies);
        return Ok((groups, relevant));
    }
    passes.before = 2;
    passes.expect(1);
    let mut groups = Groups::of(standing(view)?);
    passes.pass(Timestamp::NEVER, |record| groups.name(record))?;
    passes.pass(Timestamp::NEVER, |record| groups.take(record))?;
    groups.close();
    let mut relevant = Relevant::of(&groups, policies);
    let mut people = Vec::with_capacity(relevant.ids().len());
    for id in relevant.ids() {
        let mut count = 0;
        if let Some(group) = view.find(&Key::Id(Kind::Group, id))? {
            members(view, group, |_| count += 1)?;
        }
        people.push(count);
    }
    relevant.people(&people, &groups);
    Ok((groups, relevant))
}

/// All groups of now.
fn standing(view: &View) -> Result<Vec<Standing>, Fault> {
    let mut handles = Vec::new();
    view.walk(Kind::Group, Handle(0), |row| {
        handles.push(row.handle);
        ControlFlow::Continue(())
    })?;
    let mut all = Vec::with_capacity(handles.len());
    for handle in handles {
        let Some(group) = view.resource(handle)? else {
            continue;
        };
        let text = |name: &str| {
            let value = group.attributes.get(name).and_then(Value::as_str);
            value.map(str::to_owned)
        };
        let above = view.groups_of(handle)?.into_iter();
        all.push(Standing {
            id: group.id.as_str().to_owned(),
            names: Names {
                display: text("displayName"),
                external: text("externalId"),
            },
            above: above.map(|(_, id)| id.as_str().to_owned()).collect(),
        });
    }
    Ok(all)
}

/// The people in a group, by their ids.
fn members(view: &View, group: Handle, mut each: impl FnMut(&str)) -> Result<(), Fault> {
    let mut after = None;
    loop {
        let some = view.members(group, after, PEOPLE)?;
        for (_, id, kind) in &some {
            if *kind == Kind::User {
                each(id.as_str());
            }
        }
        match some.last() {
            Some((last, ..)) if some.len() == PEOPLE => after = Some(*last),
            _ => return Ok(()),
        }
    }
}

/// A person as the directory has them now, and where they belonged.
fn present(
    view: &View,
    relevant: &Relevant,
    id: &str,
    moves: &[Move],
    is_silent: bool,
) -> Result<Present, Fault> {
    let handle = view.find(&Key::Id(Kind::User, id))?;
    let resource = handle.map(|handle| view.resource(handle)).transpose()?;
    let resource = resource.flatten();
    let mut now = Vec::new();
    if let Some(resource) = resource.as_ref().filter(|_| !relevant.ids().is_empty()) {
        let groups = view.groups_of(resource.handle)?.into_iter();
        now = groups.map(|(_, id)| id.as_str().to_owned()).collect();
    }
    let known = (!is_silent).then_some(now.as_slice());
    Ok(Present {
        belonging: relevant.belonging(known, moves),
        resource,
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
    /// Passes before the people's.
    before: u64,
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
            before: 0,
        };
        passes.expect(1);
        Ok(passes)
    }

    /// So many shares of people come, of two passes each, after the one that counts them.
    fn expect(&self, shares: u64) {
        let passes = shares.saturating_mul(2).saturating_add(1 + self.before);
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
