//! Undoing what a client wrote, for the command line: `GET /undo` proposes, `POST /undo` does.

mod carry;
mod members;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::error::Fault;
use crate::gateway::Gateway;
use crate::journal::report::Query;
use crate::journal::undo::{Fold, Folded, Proposal};
use crate::settle::Engine;
use crate::store::View;

use super::Console;
use carry::Undoing;

/// How many resources may be undone at once: what is proposed for each is held in memory.
const MOST: usize = 100_000;
/// The same for memberships.
const MOST_MEMBERSHIPS: usize = 500_000;

/// What is to be undone.
struct Asks {
    /// Whose writes,
    client: String,
    /// from when,
    since: Timestamp,
    /// and before when.
    until: Timestamp,
    /// Only where this application is concerned.
    application: Option<String>,
    /// What was created goes.
    created: bool,
}

impl Console {
    /// `client`, `since` and `until` are those of a report, and all three are needed; `application` and `created` may be
    /// there. Answers JSON lines: one proposal each.
    pub(super) async fn undo(&self, query: &str, does: bool) -> Result<Vec<u8>, Fault> {
        let asks = asks(query, self.clock.now())?;
        let engine = self.engine()?;
        if let Some(name) = &asks.application {
            let mut all = engine.applications.iter();
            if !all.any(|application| application.plan.name() == name) {
                return Err(Fault::InvalidValue(format!(
                    "There is no application {name}."
                )));
            }
        }
        if does {
            engine.store.refuse_unconfirmed()?;
        }
        let gateway = Arc::clone(&self.gateway);
        let under_way = does.then(|| gateway.under_way());
        // As for a client's write: what was begun is finished though whoever asked goes away.
        let task = tokio::spawn(async move {
            let _under_way = under_way;
            run(&engine, &gateway, asks, does).await
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
    asks: Asks,
    does: bool,
) -> Result<Vec<Proposal>, Fault> {
    let reader = Arc::clone(engine);
    let task = tokio::task::spawn_blocking(move || {
        let folded = fold(&reader.store.view()?, &asks)?;
        Ok::<_, Fault>((folded, asks))
    });
    let (folded, asks) = task
        .await
        .map_err(|died| Fault::Internal(died.to_string()))??;
    let mut undoing = Undoing::new(engine, gateway, &asks, &folded, does);
    let carried = carry(&mut undoing).await;
    // Whatever came of it: what was begun is counted and goes its way.
    let proposals = undoing.end().await;
    carried.map(|()| proposals)
}

/// People before groups, so that who is put in is there; and all that is put in before anything is taken out, so that
/// nobody is in no group of a policy for a moment.
async fn carry(undoing: &mut Undoing<'_>) -> Result<(), Fault> {
    undoing.find_made_again().await?;
    undoing.created().await?;
    undoing.people().await?;
    undoing.groups().await?;
    undoing.memberships().await
}

fn fold(view: &View, asks: &Asks) -> Result<Folded, Fault> {
    let mut fold = Fold::new(&asks.client, asks.application.as_deref());
    let much = |fold: &Fold| fold.resources() > MOST || fold.memberships() > MOST_MEMBERSHIPS;
    view.records_between(asks.since, asks.until, |record| {
        fold.take(&record);
        if much(&fold) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    // What somebody changed since may stand as the client left it, and is theirs all the same. And a dead group's members
    // are noted as its edges are dropped, which may be behind the span.
    if fold.resources() > 0 && !much(&fold) {
        fold.behind();
        view.records_between(asks.until, Timestamp::NEVER, |record| {
            fold.take_behind(&record);
            if much(&fold) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
    }
    if much(&fold) {
        return Err(Fault::InvalidValue(format!(
            "More than {MOST} resources or {MOST_MEMBERSHIPS} memberships were changed in that span; undo it in shorter ones, the latest first."
        )));
    }
    Ok(fold.end())
}

fn asks(query: &str, now: Timestamp) -> Result<Asks, Fault> {
    let wrong = || {
        Fault::InvalidValue(String::from(
            "Undoing takes client, since and until, and may take application and created.",
        ))
    };
    let mut created = false;
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=').map_or((pair, ""), |pair| pair) {
            ("created", value) => created = value.parse().map_err(|_| wrong())?,
            ("client" | "since" | "until" | "application" | "limit", _) => rest.push(pair),
            _ => return Err(wrong()),
        }
    }
    let query = Query::from_url(&rest.join("&"), now)?;
    match (query.client, query.since, query.until) {
        (Some(client), Some(since), Some(until)) => Ok(Asks {
            client,
            since,
            until,
            application: query.application,
            created,
        }),
        _ => Err(wrong()),
    }
}
