//! One undo on its way: what is proposed for each resource, and done.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::Asks;
use crate::auth::Client;
use crate::error::Fault;
use crate::gateway::{Gateway, Phase};
use crate::journal::undo::{self, Folded, Passed, Proposal, Step, Wanted};
use crate::scim::bulk::write;
use crate::scim::condition::Tag;
use crate::scim::request::{Verb, Write};
use crate::scim::schema::fold;
use crate::scim::{Kind, Resource};
use crate::settle::{Asked, Engine};
use crate::store::{Key, Lookup, View};

/// What is told of a group whose members are still being noted.
const INCOMPLETE: &str = "the journal does not hold all of its memberships yet: try again";
/// What is told of what was not begun any more.
const STOPPING: &str = "not begun: the gateway is stopping";

/// What is there to be undone, and what came of it so far.
pub(super) struct Undoing<'a> {
    pub(super) engine: &'a Arc<Engine>,
    gateway: &'a Gateway,
    pub(super) asks: &'a Asks,
    pub(super) folded: &'a Folded,
    pub(super) does: bool,
    client: Client,
    /// Of the set of people whose removals are counted together.
    number: u64,
    /// The store failed: nobody knows what is on disk, and nothing more is begun.
    lost: bool,
    /// The id of somebody deleted -> that of whoever was made again in its place; `None`: will be, when it is done.
    pub(super) made: HashMap<String, Option<String>>,
    /// Who was created by these writes and goes.
    pub(super) leaving: HashSet<String>,
    /// Whose name is put back, and so given up.
    renamed: HashSet<String>,
    /// The id of somebody deleted -> who was created with their name since, and goes just before they are made again.
    pairs: HashMap<String, (Proposal, Write)>,
    /// Who was created by these writes and stays.
    pub(super) stays: HashSet<String>,
    pub(super) proposals: Vec<Proposal>,
    /// A group's id -> the place of its proposal.
    pub(super) told: HashMap<String, usize>,
}

impl<'a> Undoing<'a> {
    pub(super) fn new(
        engine: &'a Arc<Engine>,
        gateway: &'a Gateway,
        asks: &'a Asks,
        folded: &'a Folded,
        does: bool,
    ) -> Self {
        Self {
            engine,
            gateway,
            asks,
            folded,
            does,
            client: Client::undoing(&asks.client, &asks.client),
            number: engine.set_number(),
            lost: false,
            made: HashMap::new(),
            leaving: HashSet::new(),
            renamed: HashSet::new(),
            pairs: HashMap::new(),
            stays: HashSet::new(),
            proposals: Vec::new(),
            told: HashMap::new(),
        }
    }

    /// Finds those who were deleted and made again with the same attributes already: by an undo that did not come to its
    /// end, or by the client.
    pub(super) async fn find_made_again(&mut self) -> Result<(), Fault> {
        let passed = self.folded.passed.iter();
        for passed in passed.filter(|one| one.is_deleted() && !one.is_created()) {
            // There may be many, and others have the machine, too.
            tokio::task::yield_now().await;
            let found = found(&self.engine.store.view()?, passed)?;
            if let Some(found) = found.filter(|found| undo::same(passed, found)) {
                let id = found.id.as_str().to_owned();
                self.made.insert(passed.id().to_owned(), Some(id));
            }
        }
        Ok(())
    }

    /// What was created goes where that is asked for. Before all else, because it may stand in the way of what is put back.
    pub(super) async fn created(&mut self) -> Result<(), Fault> {
        let again: HashSet<String> = self.made.values().flatten().cloned().collect();
        let deleted = self.deleted();
        for passed in self.folded.passed.iter().filter(|one| one.is_created()) {
            let view = self.engine.store.view()?;
            let found = found(&view, passed)?;
            if !self.concerns(&view, passed, found.as_ref())? {
                continue;
            }
            let (mut proposal, wanted) = undo::propose(passed, found.as_ref(), self.asks.created);
            if again.contains(passed.id()) {
                // It stands for somebody deleted.
                proposal.step = Step::Nothing;
                proposal.reason = None;
                self.stays.insert(passed.id().to_owned());
                self.proposals.push(proposal);
                continue;
            }
            let mut left = wanted.is_some();
            // Whoever had the name before is there as long as this one is: only both go together, or neither.
            let before = found.as_ref().and_then(|found| {
                let before = deleted.get(&(found.kind, fold(found.title())));
                before
                    .copied()
                    .filter(|one| !self.made.contains_key(one.id()))
            });
            if let Some(found) = found.as_ref().filter(|_| proposal.is_due()) {
                let elses = self.not_as_left(&view, passed, found)?;
                if let Some(reason) = elses {
                    proposal.step = Step::NotUndone;
                    proposal.tell(&reason);
                    left = false;
                } else if let Some(why) = before.and_then(cannot_be_made_again) {
                    proposal.step = Step::NotUndone;
                    proposal.tell(&format!(
                        "it has the name of one that these writes deleted and that cannot be made again: {why}"
                    ));
                    left = false;
                }
            }
            drop(view);
            match found.filter(|_| left) {
                Some(found) => {
                    self.leaving.insert(passed.id().to_owned());
                    let gone = Write {
                        if_match: Some(version(&found)),
                        ..write(passed.kind(), Verb::Delete(passed.id().to_owned()))
                    };
                    if let Some(before) = before
                        && !self.pairs.contains_key(before.id())
                    {
                        self.pairs.insert(before.id().to_owned(), (proposal, gone));
                        continue;
                    }
                    proposal.done = self.write(&mut proposal, gone).await.is_some();
                }
                None => {
                    self.stays.insert(passed.id().to_owned());
                }
            }
            self.proposals.push(proposal);
        }
        Ok(())
    }

    /// What was deleted and was there before, by its folded name.
    fn deleted(&self) -> HashMap<(Kind, String), &'a Passed> {
        let passed = self.folded.passed.iter();
        passed
            .filter(|one| one.is_deleted() && !one.is_created())
            .map(|one| {
                // Where the name is not shown: whoever has it now stays, as nobody can be made again without one.
                let name = one.name_before().unwrap_or(one.user());
                ((one.kind(), fold(name)), one)
            })
            .collect()
    }

    /// Attributes are put back, and then who was deleted is made again: a name is given up before it is taken.
    pub(super) async fn people(&mut self) -> Result<(), Fault> {
        let users = || {
            let passed = self.folded.passed.iter();
            passed.filter(|one| one.kind() == Kind::User && !one.is_created())
        };
        let (deleted, others): (Vec<_>, Vec<_>) = users().partition(|one| one.is_deleted());
        for passed in others.into_iter().chain(deleted) {
            self.resource(passed, Vec::new()).await?;
        }
        Ok(())
    }

    /// The same for groups; one that was deleted is made again with its members, in one write.
    pub(super) async fn groups(&mut self) -> Result<(), Fault> {
        let all = &self.folded.passed;
        let others = all
            .iter()
            .filter(|one| one.kind() == Kind::Group && !one.is_created() && !one.is_deleted());
        for passed in others {
            self.resource(passed, Vec::new()).await?;
        }
        let deleted = undo::inner_first(all, &self.folded.memberships);
        for passed in deleted.into_iter().filter_map(|place| all.get(place)) {
            let members = self.members_before(passed)?;
            self.resource(passed, members).await?;
        }
        Ok(())
    }

    /// One that was there before the writes. `members`: those that it is made again with.
    async fn resource(&mut self, passed: &Passed, members: Vec<String>) -> Result<(), Fault> {
        tokio::task::yield_now().await;
        // Right before it is made again: a stop between the two is made up for when it is run again, and is no long one.
        let pair = self.pairs.remove(passed.id());
        let paired = pair.is_some();
        if let Some((mut proposal, gone)) = pair {
            proposal.done = self.write(&mut proposal, gone).await.is_some();
            self.proposals.push(proposal);
        }
        // Of the directory as the one before it left it.
        let view = self.engine.store.view()?;
        let gives_up = |id: &str| {
            let renamed = passed.is_deleted() && self.renamed.contains(id);
            !self.does && (renamed || self.leaving.contains(id))
        };
        // Where it is only shown: whoever will have given the name up by then stands in nobody's way.
        let found = found(&view, passed)?.filter(|found| !gives_up(found.id.as_str()));
        if !paired && !self.concerns(&view, passed, found.as_ref())? {
            return Ok(());
        }
        let (mut proposal, wanted) = undo::propose(passed, found.as_ref(), false);
        let others = found.as_ref().filter(|found| {
            !passed.is_deleted() && proposal.is_due() && found.owner != self.asks.client
        });
        if let Some(others) = others {
            proposal.step = Step::NotUndone;
            proposal.tell(&belongs_to(others));
        }
        let waits = passed.is_incomplete() && proposal.step == Step::Recreate;
        if waits {
            proposal.tell(INCOMPLETE);
        }
        drop(view);
        let wanted = wanted.filter(|_| proposal.is_due() && !waits);
        if let Some(Wanted::Whole(mut whole)) = wanted {
            let makes = proposal.step == Step::Recreate;
            let name = match passed.kind() {
                Kind::User => "userName",
                Kind::Group => "displayName",
            };
            if proposal.attributes.iter().any(|one| one == name) {
                self.renamed.insert(passed.id().to_owned());
            }
            if makes {
                self.made.insert(passed.id().to_owned(), None);
            }
            let put_in = members.len();
            let wish = match &found {
                Some(found) if !makes => Write {
                    // What changes meanwhile is not written over.
                    if_match: Some(version(found)),
                    ..write(
                        passed.kind(),
                        Verb::Replace(found.id.as_str().to_owned(), whole),
                    )
                },
                _ => {
                    if put_in > 0 {
                        let members = members.into_iter().map(Value::String).collect();
                        whole.insert(String::from("members"), Value::Array(members));
                    }
                    write(passed.kind(), Verb::Create(whole))
                }
            };
            let written = self.write(&mut proposal, wish).await;
            proposal.done = written.is_some();
            if makes && self.does {
                match written {
                    Some(id) => {
                        proposal.put_in += put_in;
                        self.made.insert(passed.id().to_owned(), Some(id));
                    }
                    None => {
                        self.made.remove(passed.id());
                    }
                }
            }
        }
        if passed.kind() == Kind::Group {
            self.told
                .insert(passed.id().to_owned(), self.proposals.len());
        }
        self.proposals.push(proposal);
        Ok(())
    }

    /// Writes, where it is to be done. The id of what was written; else the proposal says why not.
    pub(super) async fn write(&mut self, proposal: &mut Proposal, write: Write) -> Option<String> {
        let client = self.client.clone();
        self.write_as(proposal, write, &client).await
    }

    pub(super) async fn write_as(
        &mut self,
        proposal: &mut Proposal,
        write: Write,
        client: &Client,
    ) -> Option<String> {
        if !self.does {
            return None;
        }
        if self.lost || *self.gateway.phase.borrow() != Phase::Ready {
            proposal.tell(STOPPING);
            return None;
        }
        // As an operation of a Bulk: applications are brought there by the worker at their pace.
        let asked = Asked {
            client,
            request: "undo",
            write,
            bulk: Some(self.number),
        };
        let written = match self.engine.settle(&asked).await {
            Ok(settled) => settled.view.row(settled.handle, |row| row.id.to_owned()),
            Err(fault) => {
                self.lost |= matches!(fault, Fault::Storage(_));
                Err(fault)
            }
        };
        match written {
            // Nothing is left of what was deleted.
            Ok(id) => Some(id.unwrap_or_default()),
            Err(fault) => {
                proposal.tell(&fault.public());
                None
            }
        }
    }

    /// Why something created does not stand as the client left it.
    fn not_as_left(
        &self,
        view: &View,
        passed: &Passed,
        found: &Resource,
    ) -> Result<Option<String>, Fault> {
        if found.owner != self.asks.client {
            return Ok(Some(belongs_to(found)));
        }
        let mut edges = self.folded.memberships.of(passed.id());
        if edges.any(|(_, edge)| edge.is_since()) {
            return Ok(Some(String::from("changed since: members")));
        }
        let put_in = |member: &str| {
            let edge = self.folded.memberships.get(passed.id(), member);
            edge.is_some_and(undo::Edge::is_new)
        };
        let mut after = None;
        loop {
            let page = view.members(found.handle, after, 1_000)?;
            let Some((last, ..)) = page.last() else {
                return Ok(None);
            };
            after = Some(*last);
            if !page.iter().all(|(_, id, _)| put_in(id.as_str())) {
                let reason = "it has members that these writes did not put in";
                return Ok(Some(String::from(reason)));
            }
        }
    }

    /// Whether it has to do with the application that is asked for.
    pub(super) fn concerns(
        &self,
        view: &View,
        passed: &Passed,
        found: Option<&Resource>,
    ) -> Result<bool, Fault> {
        let Some(application) = &self.asks.application else {
            return Ok(true);
        };
        if passed.is_concerned() || found.is_some_and(|one| one.link(application).is_some()) {
            return Ok(true);
        }
        if passed.kind() == Kind::User {
            return Ok(false);
        }
        if let Some(found) = found {
            return self.decides(view, found);
        }
        let was_bound = view.bindings()?.iter().any(|binding| {
            let same = Some(binding.name.as_str()) == passed.name_before();
            binding.application == *application && binding.deleted && same
        });
        if was_bound {
            return Ok(true);
        }
        // It stood in one that decides.
        for group in self.folded.memberships.groups() {
            let edge = self.folded.memberships.get(group, passed.id());
            if edge.is_some_and(undo::Edge::is_missing)
                && let Some(above) = by_id(view, Kind::Group, group)?
                && self.decides(view, &above)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a group decides who belongs in the application that is asked for, or is pushed there.
    pub(super) fn decides(&self, view: &View, group: &Resource) -> Result<bool, Fault> {
        let Some(application) = &self.asks.application else {
            return Ok(true);
        };
        Ok(group.link(application).is_some() || view.decides(application, group.handle)?)
    }

    /// Putting somebody back may also mean taking an account away: those are counted together now.
    pub(super) async fn end(self) -> Vec<Proposal> {
        if self.does {
            self.engine.close_set(self.number).await;
            let done = self.proposals.iter().filter(|one| one.done).count();
            tracing::warn!(
                client = self.asks.client,
                done,
                "a client's writes were undone"
            );
        }
        self.proposals
    }
}

/// Why something deleted could not be made again though its name were free.
fn cannot_be_made_again(passed: &Passed) -> Option<String> {
    if passed.is_incomplete() {
        return Some(String::from(INCOMPLETE));
    }
    let (proposal, _) = undo::propose(passed, None, false);
    (proposal.step != Step::Recreate).then(|| proposal.reason.unwrap_or_default())
}

/// What the client changed as it is now; of what it deleted, whoever has the name.
fn found(view: &View, passed: &Passed) -> Result<Option<Resource>, Fault> {
    if !passed.is_deleted() {
        return by_id(view, passed.kind(), passed.id());
    }
    let Some(name) = passed.name_before() else {
        return Ok(None);
    };
    if passed.kind() == Kind::User {
        let handle = view.find(&Key::UserName(name))?;
        return Ok(handle
            .map(|handle| view.resource(handle))
            .transpose()?
            .flatten());
    }
    let mut found = None;
    for handle in view.find_all(Kind::Group, &Lookup::GroupName(name))? {
        let Some(group) = view.resource(handle)? else {
            continue;
        };
        if undo::same(passed, &group) {
            return Ok(Some(group));
        }
        found = Some(group);
    }
    Ok(found)
}

pub(super) fn by_id(view: &View, kind: Kind, id: &str) -> Result<Option<Resource>, Fault> {
    let handle = view.find(&Key::Id(kind, id))?;
    Ok(handle
        .map(|handle| view.resource(handle))
        .transpose()?
        .flatten())
}

pub(super) fn belongs_to(found: &Resource) -> String {
    match found.owner.as_str() {
        "" => String::from("it is nobody's now"),
        owner => format!("it belongs to the client {owner} now"),
    }
}

fn version(found: &Resource) -> String {
    let tag = Tag {
        version: found.version,
        derived: 0,
    };
    tag.to_string()
}
