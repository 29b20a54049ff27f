//! What a commit holds: rows, marks, and the journal's records.

use super::Engine;
use super::draft::Prepared;
use super::verdict::lost;
use super::write::Asked;
use crate::error::Fault;
use crate::journal::record::{Delivery, Event, Operation, Record, Status};
use crate::provision::link::Link;
use crate::provision::weigh::Weighed;
use crate::scim::request::{Verb, Write};
use crate::scim::{Handle, Kind, Resource};
use crate::store::{ChangeSet, Lane, LinkEdit, Mark, MarkEdit, Put, Stuck};

impl Engine {
    /// Everything that the write changes, as one set.
    pub(super) fn change_set(
        &self,
        asked: &Asked<'_>,
        prepared: &Prepared,
        weighed: Vec<Weighed>,
        marks: &[Mark],
        settles: Option<u64>,
    ) -> ChangeSet {
        let mut resource = prepared.draft.resource.clone();
        let mut change = ChangeSet {
            settles,
            generation: self.generation,
            bulk: asked.bulk,
            ..ChangeSet::default()
        };
        let mut record = self.record(asked, Some(&prepared.draft), Status::Success);
        if let Some(former) = prepared.draft.taken_from() {
            let (code, reason) = if former.is_empty() {
                (
                    "claimed",
                    String::from("it was imported, and is this client's now"),
                )
            } else {
                ("taken_over", format!("taken over from the client {former}"))
            };
            record.code = Some(code.to_owned());
            record.reason = Some(reason);
        }
        if prepared.strangers > 0 {
            let left_out = format!(
                "{} of the members to add have an id that nobody has and were left out",
                prepared.strangers
            );
            record.status = Status::Warning;
            record.code = Some(String::from("unknown_member"));
            // Whom it was taken from is told all the same.
            record.reason = Some(match record.reason.take() {
                Some(taken) => format!("{taken}; {left_out}"),
                None => left_out,
            });
        }
        let mut closed = Vec::new();
        let all = self.applications.iter().zip(&prepared.busy).zip(weighed);
        for (at, ((application, busy), mut weighed)) in all.enumerate() {
            if !busy {
                resource.set_link(application.plan.name(), weighed.link.take());
            }
            if let Some(standing) = standing(marks, resource.handle, application.plan.name())
                && weighed.mark.is_none()
            {
                // No request's row may stay open when its mark is gone.
                record.cause.extend(&standing.cause);
            }
            let status = weighed.delivery.status;
            let open = status.is_open() || status == Status::Warning;
            // Memberships alone change no link, so that it is not claimed: a turn at the group may be under way.
            let unclaimed = resource.kind == Kind::Group && prepared.parts[at].is_empty();
            if *busy || unclaimed && weighed.mark.is_some() {
                change.marks.extend(raise(&weighed, resource.handle, open));
            } else {
                change.marks.extend(mark(
                    &weighed,
                    resource.handle,
                    application.plan.name(),
                    marks,
                    open,
                ));
            }
            record.deliveries.push(weighed.delivery);
        }
        for (at, tombstone) in &prepared.takeovers {
            let application = &self.applications[*at];
            let standing = standing(marks, tombstone.handle, application.plan.name());
            closed.extend(self.take_over(&mut change, application, tombstone, standing));
        }
        let now = record.time;
        let let_go = prepared.let_go.iter();
        change
            .marks
            .extend(let_go.map(|(at, tombstone)| MarkEdit::Raise {
                handle: *tombstone,
                application: self.applications[*at].plan.name().to_owned(),
                due: now,
                lane: Lane::Deactivate,
                caused: false,
            }));
        // First, because marks name it as their cause.
        change.journal.push(record);
        change.journal.extend(closed);
        put(&mut change, prepared.draft.before.as_ref(), resource);
        change.members.extend(prepared.members.clone());
        change
    }

    pub(super) fn record(
        &self,
        asked: &Asked<'_>,
        draft: Option<&crate::scim::change::Draft>,
        status: Status,
    ) -> Record {
        let redacted = |name: &str| {
            self.applications
                .iter()
                .any(|application| application.plan.mapping.redacts(name))
        };
        let operation = match (&asked.write.verb, draft) {
            (_, Some(draft)) => draft.operation,
            (Verb::Create(_), None) => Operation::Create,
            (Verb::Delete(_), None) => Operation::Delete,
            (Verb::Replace(..) | Verb::Patch(..), None) => Operation::Update,
        };
        let named = |key: &str| match &asked.write.verb {
            Verb::Create(body) | Verb::Replace(_, body) => body
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(key))
                .and_then(|(_, value)| value.as_str()),
            Verb::Patch(..) | Verb::Delete(_) => None,
        };
        let title = match asked.write.kind {
            Kind::User => "userName",
            Kind::Group => "displayName",
        };
        Record {
            sequence: 0,
            time: self.clock.now(),
            event: Event::Request,
            client: asked.client.name().to_owned(),
            request: asked.request.to_owned(),
            kind: asked.write.kind,
            operation,
            user: draft
                .map(|draft| draft.resource.title())
                .or_else(|| named(title))
                .unwrap_or_default()
                .to_owned(),
            id: draft
                .map(|draft| draft.resource.id.as_str())
                .or(asked.write.verb.id())
                .unwrap_or_default()
                .to_owned(),
            status,
            code: asked.client.undoes().map(|_| String::from("undo")),
            reason: asked
                .client
                .undoes()
                .map(|client| format!("undoes what the client {client} wrote")),
            deliveries: Vec::new(),
            cause: Vec::new(),
            changed: draft
                .map(|draft| draft.changed(&redacted))
                .unwrap_or_default(),
            edges: None,
            generation: self.generation,
            hash: String::new(),
        }
    }

    /// A write that was understood and not done: journalled, nothing else changes.
    pub(super) async fn refused(&self, asked: &Asked<'_>, fault: Fault) -> Fault {
        if matches!(fault, Fault::Storage(_) | Fault::Internal(_)) {
            return fault;
        }
        let mut record = self.record(asked, None, Status::Failure);
        record.code = Some(
            fault
                .scim_type()
                .map_or_else(|| fault.status().to_string(), str::to_owned),
        );
        record.reason = Some(fault.public().into_owned());
        if asked.write.verb.id().is_some() && record.user.is_empty() {
            record.user = self.title_of(&asked.write).unwrap_or_default();
        }
        let change = ChangeSet {
            journal: vec![record],
            ..ChangeSet::default()
        };
        let committed = match self.store.reserve() {
            Ok(place) => place.commit(change).await.map_err(lost),
            Err(full) => Err(full),
        };
        match committed {
            Ok(_) => fault,
            Err(worse) => worse,
        }
    }

    fn title_of(&self, write: &Write) -> Option<String> {
        let view = self.store.view().ok()?;
        let handle = view
            .find(&crate::store::Key::Id(write.kind, write.verb.id()?))
            .ok()??;
        Some(view.resource(handle).ok()??.title().to_owned())
    }

    /// The journal's record of a delivery.
    pub(super) fn delivered(
        &self,
        resource: &Resource,
        delivery: Delivery,
        cause: Vec<u64>,
    ) -> Record {
        let now = self.clock.now();
        Record::delivered(resource, delivery, cause, now, self.generation)
    }
}

/// The row as it will be, if it differs.
pub(super) fn put(change: &mut ChangeSet, before: Option<&Resource>, after: Resource) {
    // One that never was on disk, and is to be gone, leaves nothing.
    if before != Some(&after) && (before.is_some() || after.deleted.is_none()) {
        change.puts.push(Put {
            expect: before.map(|before| before.version),
            before: before.map(|before| before.links.clone()),
            resource: after,
        });
    }
}

/// One link as it will be, if it differs: whatever becomes of the row and of the others meanwhile.
pub(super) fn relink(
    change: &mut ChangeSet,
    before: &Resource,
    application: &str,
    after: Option<Link>,
) {
    let before_it = before.link(application);
    if before_it != after.as_ref() {
        change.links.push(LinkEdit {
            handle: before.handle,
            application: application.to_owned(),
            before: before_it.cloned(),
            after,
        });
    }
}

fn standing<'m>(marks: &'m [Mark], handle: Handle, application: &str) -> Option<&'m Mark> {
    marks
        .iter()
        .find(|mark| mark.handle == handle && mark.application == application)
}

/// A mark where somebody else is at it, who knows nothing of this.
fn raise(weighed: &Weighed, handle: Handle, caused: bool) -> Option<MarkEdit> {
    let due = weighed.mark?;
    Some(MarkEdit::Raise {
        handle,
        application: weighed.delivery.application.clone(),
        due: due.at,
        lane: due.lane,
        caused,
    })
}

pub(super) fn mark(
    weighed: &Weighed,
    handle: Handle,
    application: &str,
    marks: &[Mark],
    caused: bool,
) -> Vec<MarkEdit> {
    let standing = standing(marks, handle, application);
    let Some(due) = weighed.mark else {
        let clear = standing.map(|mark| MarkEdit::Clear {
            handle,
            application: application.to_owned(),
            generation: mark.generation,
        });
        return clear.into_iter().collect();
    };
    let mut edits = vec![MarkEdit::Set {
        handle,
        application: application.to_owned(),
        due: due.at,
        attempts: due.attempts,
        lane: due.lane,
        caused,
        read: standing.map(|mark| mark.generation),
    }];
    edits.extend(weighed.stuck.clone().map(|stuck| {
        // What goes on failing has done so since it first did.
        let before = standing.and_then(|mark| mark.stuck.as_ref());
        MarkEdit::Stick {
            handle,
            application: application.to_owned(),
            stuck: Stuck {
                since: before.map_or(stuck.since, |before| before.since),
                ..stuck
            },
        }
    }));
    edits
}
