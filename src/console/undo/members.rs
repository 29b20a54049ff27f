//! The memberships of one undo: who is put in again, and who is taken out.

use serde_json::{Value, json};

use super::carry::{Undoing, belongs_to, by_id};
use crate::auth::Client;
use crate::error::Fault;
use crate::journal::undo::{Edge, Move, Moves, Passed, Proposal, Stands, Step};
use crate::scim::bulk::write;
use crate::scim::filter::Bounds;
use crate::scim::patch::{Op, Operation};
use crate::scim::path::Path;
use crate::scim::request::{Verb, Write};
use crate::scim::{Handle, Kind};
use crate::store::{Key, View};

/// Members that one write puts in or takes out.
const AT_ONCE: usize = 1_000;

/// Members that a group is made again with. A policy counts from its group's first member on: who comes later was out for
/// that long. Clients make groups of as many.
const WITH: usize = 20_000;

/// One group whose members are brought back.
struct Target {
    /// The id that the client knew.
    group: String,
    /// The id that it has; `None`: it will be made again, when it is done.
    id: Option<String>,
    /// The place of its proposal.
    place: usize,
    client: Client,
    /// It is somebody else's: only what fell with a deleted member is put back.
    elses: Option<String>,
    moves: Moves,
    /// Some of it could not be written.
    failed: bool,
}

impl Undoing<'_> {
    /// The members that a deleted group is made again with.
    pub(super) fn members_before(&self, passed: &Passed) -> Result<Vec<String>, Fault> {
        let mut members = Vec::new();
        if !self.does {
            return Ok(members);
        }
        let view = self.engine.store.view()?;
        let edges = self.folded.memberships.of(passed.id());
        for (member, _) in edges.filter(|(_, edge)| edge.is_missing() && !edge.is_since()) {
            let (id, stands) = self.stands(&view, None, member)?;
            if stands == Stands::Out {
                members.push(id.to_owned());
            }
            if members.len() == WITH {
                break;
            }
        }
        Ok(members)
    }

    /// Brings all memberships back: everybody is put in before anybody is taken out.
    pub(super) async fn memberships(&mut self) -> Result<(), Fault> {
        let folded = self.folded;
        let mut targets = Vec::new();
        for group in folded.memberships.groups() {
            targets.extend(self.target(group)?);
        }
        for putting_in in [true, false] {
            for target in &mut targets {
                self.bring(target, putting_in).await?;
            }
        }
        for target in targets {
            self.conclude(&target);
        }
        Ok(())
    }

    /// The group to write to, if there is one and it is asked for.
    fn target(&mut self, group: &str) -> Result<Option<Target>, Fault> {
        if self.stays.contains(group) || self.leaving.contains(group) {
            return Ok(None);
        }
        let view = self.engine.store.view()?;
        let told = self.told.get(group).copied();
        let id = match self.made.get(group) {
            Some(made) => made.clone(),
            None => Some(group.to_owned()),
        };
        let found = match &id {
            Some(id) => by_id(&view, Kind::Group, id)?,
            None => None,
        };
        let mut target = Target {
            group: group.to_owned(),
            id,
            place: 0,
            client: Client::undoing(&self.asks.client, &self.asks.client),
            elses: None,
            moves: Moves::default(),
            failed: false,
        };
        let title = match &found {
            Some(found) => {
                if told.is_none() && !self.decides(&view, found)? {
                    return Ok(None);
                }
                if found.owner != self.asks.client {
                    target.client = Client::undoing(&self.asks.client, &found.owner);
                    target.elses = Some(belongs_to(found));
                }
                found.title()
            }
            None if target.id.is_none() => "",
            // What is gone has nobody put in. Of one that the client wrote to its proposal tells.
            None => {
                let missing = || folded_missing(self, group);
                if told.is_none() && self.asks.application.is_none() && missing() {
                    let mut proposal = Proposal::new(Kind::Group, group, group);
                    proposal.step = Step::NotUndone;
                    proposal.tell("deleted since by somebody else");
                    self.proposals.push(proposal);
                }
                return Ok(None);
            }
        };
        target.place = match told {
            Some(place) => place,
            None => {
                self.proposals
                    .push(Proposal::new(Kind::Group, title, group));
                self.proposals.len() - 1
            }
        };
        self.told.insert(group.to_owned(), target.place);
        Ok(Some(target))
    }

    /// Puts in all who are missing, or takes out all who are new.
    async fn bring(&mut self, target: &mut Target, putting_in: bool) -> Result<(), Fault> {
        let folded = self.folded;
        let edges: Vec<(&str, Edge)> = folded
            .memberships
            .of(&target.group)
            .filter(|(_, edge)| edge.is_missing() == putting_in)
            .collect();
        for edges in edges.chunks(AT_ONCE) {
            // Of the directory as it is: somebody may have moved them meanwhile.
            let ids = self.differing(target, edges)?;
            if !ids.is_empty()
                && let Some(id) = &target.id
            {
                let wish = patch(id, &ids, putting_in)?;
                let mut proposal = Proposal::new(Kind::Group, "", "");
                if self.does {
                    let written = self.write_as(&mut proposal, wish, &target.client).await;
                    target.failed |= written.is_none();
                }
                if let (Some(why), Some(told)) =
                    (proposal.reason, self.proposals.get_mut(target.place))
                {
                    told.tell(&why);
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The ids of those who do not stand as they did before the writes.
    fn differing(&self, target: &mut Target, edges: &[(&str, Edge)]) -> Result<Vec<String>, Fault> {
        let view = self.engine.store.view()?;
        let group = match &target.id {
            Some(id) => view.find(&Key::Id(Kind::Group, id))?,
            None => None,
        };
        let mut ids = Vec::new();
        for (member, edge) in edges {
            if target.elses.is_some() && !edge.fell() {
                continue;
            }
            let (id, stands) = self.stands(&view, group, member)?;
            let created = self.stays.contains(*member);
            match target.moves.weigh(*edge, stands, created) {
                Move::PutIn | Move::TakeOut => ids.push(id.to_owned()),
                Move::Nothing | Move::Left => {}
            }
        }
        Ok(ids)
    }

    /// Who a member is now, and how it stands to a group.
    fn stands<'m>(
        &'m self,
        view: &View,
        group: Option<Handle>,
        member: &'m str,
    ) -> Result<(&'m str, Stands), Fault> {
        let id = match self.made.get(member) {
            Some(Some(id)) => id.as_str(),
            // Made again when it is done, and in no group then.
            Some(None) => return Ok((member, Stands::Out)),
            None => member,
        };
        // Only shown: gone when it is done.
        if self.leaving.contains(id) {
            return Ok((id, Stands::Gone));
        }
        let user = view.find(&Key::Id(Kind::User, id))?;
        let found = match user {
            Some(user) => Some(user),
            None => view.find(&Key::Id(Kind::Group, id))?,
        };
        let is_member = match (group, found) {
            (_, None) => return Ok((id, Stands::Gone)),
            (Some(group), Some(member)) => view.is_member(group, member)?,
            (None, Some(_)) => false,
        };
        let stands = if is_member { Stands::In } else { Stands::Out };
        Ok((id, stands))
    }

    /// Adds what came of a group's memberships to its proposal.
    fn conclude(&mut self, target: &Target) {
        let elses = target.elses.as_ref().filter(|_| {
            let mut edges = self.folded.memberships.of(&target.group);
            edges.any(|(_, edge)| !edge.fell())
        });
        let Some(proposal) = self.proposals.get_mut(target.place) else {
            return;
        };
        let before = !proposal.is_due() || proposal.done;
        let moves = target.moves;
        proposal.put_in += moves.put_in;
        proposal.taken_out += moves.taken_out;
        for reason in moves.reason().iter().chain(elses) {
            proposal.tell(reason);
        }
        match proposal.step {
            Step::Nothing | Step::NotUndone if moves.put_in + moves.taken_out > 0 => {
                proposal.step = Step::Restore;
            }
            Step::Nothing if proposal.reason.is_some() => proposal.step = Step::NotUndone,
            _ => {}
        }
        proposal.done = self.does && proposal.is_due() && before && !target.failed;
    }
}

fn folded_missing(undoing: &Undoing<'_>, group: &str) -> bool {
    let mut edges = undoing.folded.memberships.of(group);
    edges.any(|(_, edge)| edge.is_missing())
}

fn patch(group: &str, members: &[String], putting_in: bool) -> Result<Write, Fault> {
    let path = Path::parse("members", Bounds::default())
        .map_err(|why| Fault::Internal(why.to_string()))?;
    let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
    let operation = Operation {
        op: if putting_in { Op::Add } else { Op::Remove },
        path: Some(path),
        value: Some(Value::Array(members)),
    };
    let verb = Verb::Patch(group.to_owned(), vec![operation]);
    Ok(write(Kind::Group, verb))
}
