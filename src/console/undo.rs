//! Undoing what a client wrote, for the command line: `GET /undo` proposes, `POST /undo` does.

use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::auth::Client;
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::gateway::{Gateway, Phase};
use crate::journal::report::Query;
use crate::journal::undo::{self, Fold, Passed, Proposal, Wanted};
use crate::scim::bulk::write;
use crate::scim::condition::Tag;
use crate::scim::request::{Verb, Write};
use crate::settle::{Asked, Engine};
use crate::store::{Key, View};

use super::Console;

/// How many resources may be undone at once: what is proposed for each is held in memory.
const MOST: usize = 100_000;

/// Whose writes, from when, and before when.
struct Span {
    client: String,
    since: Timestamp,
    until: Timestamp,
}

impl Console {
    /// `client`, `since` and `until` are those of a report, and all three are needed. Answers JSON lines: one proposal each.
    pub(super) async fn undo(&self, query: &str, does: bool) -> Result<Vec<u8>, Fault> {
        let span = span(query, self.clock.now())?;
        let engine = self.engine()?;
        if does {
            engine.store.refuse_unconfirmed()?;
        }
        let gateway = Arc::clone(&self.gateway);
        let under_way = does.then(|| gateway.under_way());
        // As for a client's write: what was begun is finished though whoever asked goes away.
        let task = tokio::spawn(async move {
            let _under_way = under_way;
            run(&engine, &gateway, span, does).await
        });
        let proposals = task
            .await
            .map_err(|died| Fault::Internal(died.to_string()))??;
        let mut body = Vec::new();
        for proposal in proposals {
            serde_json::to_writer(&mut body, &proposal)
                .map_err(|why| Fault::Internal(why.to_string()))?;
            body.push(b'\n');
        }
        Ok(body)
    }
}

async fn run(
    engine: &Arc<Engine>,
    gateway: &Gateway,
    span: Span,
    does: bool,
) -> Result<Vec<Proposal>, Fault> {
    let client = Client::undoing(&span.client);
    let reader = Arc::clone(engine);
    let passed = tokio::task::spawn_blocking(move || fold(&reader.store.view()?, &span)).await;
    let passed = passed.map_err(|died| Fault::Internal(died.to_string()))??;
    let mut proposals = Vec::with_capacity(passed.len());
    let number = engine.set_number();
    let mut lost = false;
    for one in &passed {
        // Of the directory as the one before it left it: a name that is given up can be taken.
        let (mut proposal, wanted) = propose(&engine.store.view()?, one)?;
        if let Some(write) = wanted.filter(|_| does) {
            if lost || *gateway.phase.borrow() != Phase::Ready {
                proposal.reason = Some(String::from("not begun: the gateway is stopping"));
                proposals.push(proposal);
                continue;
            }
            // As an operation of a Bulk: applications are brought there by the worker at their pace.
            let asked = Asked {
                client: &client,
                request: "undo",
                write,
                bulk: Some(number),
            };
            match engine.settle(&asked).await {
                Ok(_) => proposal.done = true,
                Err(fault) => {
                    lost |= matches!(fault, Fault::Storage(_));
                    proposal.reason = Some(fault.public().into_owned());
                }
            }
        }
        proposals.push(proposal);
    }
    if does {
        // Putting somebody back may also mean taking an account away: those are counted together.
        engine.close_set(number).await;
        let done = proposals.iter().filter(|one| one.done).count();
        tracing::warn!(
            client = client.owner(),
            done,
            "a client's writes were undone"
        );
    }
    Ok(proposals)
}

fn fold(view: &View, span: &Span) -> Result<Vec<Passed>, Fault> {
    let mut fold = Fold::default();
    view.records_between(span.since, span.until, |record| {
        fold.take(&record, &span.client);
        if fold.len() > MOST {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    if fold.len() > MOST {
        return Err(Fault::InvalidValue(format!(
            "More than {MOST} resources were changed in that span; undo it in shorter ones, the latest first."
        )));
    }
    Ok(fold.end())
}

/// What to do for one, and the write that does it.
fn propose(view: &View, passed: &Passed) -> Result<(Proposal, Option<Write>), Fault> {
    let key = match (passed.is_deleted(), passed.name_before()) {
        (true, Some(name)) => Some(Key::UserName(name)),
        (true, None) => None,
        (false, _) => Some(Key::Id(passed.kind(), passed.id())),
    };
    let handle = key.map(|key| view.find(&key)).transpose()?.flatten();
    let found = handle
        .map(|handle| view.resource(handle))
        .transpose()?
        .flatten();
    let now: Option<&Map<String, Value>> = found.as_ref().map(|found| &found.attributes);
    let (proposal, wanted) = undo::propose(passed, now);
    let write = wanted.map(|wanted: Wanted| match &found {
        None => write(passed.kind(), Verb::Create(wanted)),
        Some(found) => Write {
            // What changes meanwhile is not written over.
            if_match: Some(
                Tag {
                    version: found.version,
                    derived: 0,
                }
                .to_string(),
            ),
            ..write(
                passed.kind(),
                Verb::Replace(found.id.as_str().to_owned(), wanted),
            )
        },
    });
    Ok((proposal, write))
}

fn span(query: &str, now: Timestamp) -> Result<Span, Fault> {
    let wrong = || Fault::InvalidValue(String::from("Undoing takes client, since and until."));
    let only = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        matches!(name, "client" | "since" | "until" | "limit")
    };
    if !query.split('&').all(only) {
        return Err(wrong());
    }
    let Query {
        client,
        since,
        until,
        ..
    } = Query::from_url(query, now)?;
    match (client, since, until) {
        (Some(client), Some(since), Some(until)) => Ok(Span {
            client,
            since,
            until,
        }),
        _ => Err(wrong()),
    }
}
