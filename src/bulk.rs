//! A Bulk's operations (RFC 7644 3.7), each by the path of any other write.
//!
//! Each commits on its own; what cannot be in each other's way does so side by side, and shares the wait for the disk.
//! Nothing is exchanged with an application meanwhile: that is the worker's. The order, the circles and the references are
//! [`crate::scim::bulk`]'s.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use serde_json::{Map, Value};

use crate::auth::Client;
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::read;
use crate::scim::Kind;
use crate::scim::bulk::order::Turn;
use crate::scim::bulk::{Answer, Bulk, Method, Operation, Task, order, refer, response, write};
use crate::scim::request::{Verb, Write};
use crate::scim::response::location;
use crate::settle::{Asked, Engine, Settled};

/// How many operations are under way at once: enough to share the wait for the disk, too few to keep others from it.
const TOGETHER: usize = 32;

/// Runs a Bulk and writes its BulkResponse. `stopping` is asked between operations: what is not begun by then, or when
/// `deadline` has passed, is answered 503 and was not done.
pub async fn run(
    engine: &Engine,
    client: &Client,
    request: &str,
    base: &str,
    bulk: Bulk,
    deadline: Timestamp,
    stopping: impl Fn() -> bool,
) -> Vec<u8> {
    let turns = order::turns(&bulk.operations);
    let mut answers: Vec<Option<Answer>> = bulk.operations.iter().map(|_| None).collect();
    let mut operations: Vec<Option<Operation>> = bulk.operations.into_iter().map(Some).collect();
    let mut run = Run {
        engine,
        client,
        request,
        base,
        number: engine.set_number(),
        ids: HashMap::new(),
    };
    let (mut begun, mut errors, mut lost) = (0, 0, false);
    loop {
        // If all of them failed, that would be just as many errors as are taken: none is tried that would not be tried
        // one after the other.
        let room = bulk
            .fail_on_errors
            .map_or(TOGETHER, |most| most.saturating_sub(errors).min(TOGETHER));
        let next = together(&turns, &operations, begun, room);
        let [first, ..] = next else {
            // All are done; or the rest is not tried, and so not in the answer (3.7.3).
            break;
        };
        begun += next.len();
        let places = next.iter().flat_map(|turn| &turn.operations).copied();
        let (places, due): (Vec<usize>, Vec<Operation>) = places
            .filter_map(|place| Some((place, operations.get_mut(place)?.take()?)))
            .unzip();
        let ended = if lost || stopping() || engine.clock.now() >= deadline {
            due.into_iter().map(|one| run.not_begun(one)).collect()
        } else if first.circle {
            run.circle(due).await
        } else {
            run.each(due).await
        };
        for (place, answer) in places.into_iter().zip(ended) {
            errors += usize::from(answer.ended.is_err());
            // A commit's outcome is unknown: nothing more is begun.
            lost |= matches!(answer.ended, Err(Fault::Storage(_)));
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answer);
            }
        }
    }
    let answers: Vec<Answer> = answers.into_iter().flatten().collect();
    // A POST takes away, too: an inactive user takes over the account of somebody of that name who was deleted.
    if answers.iter().any(|answer| answer.ended.is_ok()) {
        engine.close_set(run.number).await;
    }
    tracing::info!(request, operations = answers.len(), errors, "bulk");
    response(&answers)
}

/// The turns that are begun together: at most `room` from `begun` on, all of one method. POSTs do not see each other, except
/// for a name that two of them want, and they are asked in their order; DELETEs of different resources do not, nor do
/// PATCHes. What may rename runs alone, because it may decide what the next one may do: a name that is given up can be
/// taken.
fn together<'t>(
    turns: &'t [Turn],
    operations: &[Option<Operation>],
    begun: usize,
    room: usize,
) -> &'t [Turn] {
    let rest = turns.get(begun..).unwrap_or_default();
    let method = |turn: &Turn| {
        let [place] = turn.operations.as_slice() else {
            return None;
        };
        let task = operations.get(*place)?.as_ref()?.task.as_ref().ok()?;
        (!task.may_rename()).then_some(task.method)
    };
    let first = rest.first().filter(|first| !first.circle).and_then(method);
    let joins = |turn: &&Turn| !turn.circle && turn.behind <= begun && method(turn) == first;
    let more = match first {
        Some(_) => rest.iter().take(room).skip(1).take_while(joins).count(),
        None => 0,
    };
    rest.get(..room.min(1 + more)).unwrap_or_default()
}

/// What a Bulk knows while it runs.
struct Run<'a> {
    engine: &'a Engine,
    client: &'a Client,
    request: &'a str,
    base: &'a str,
    /// Of the set in which its removals are counted together.
    number: u64,
    /// The resources made so far: bulkId and id.
    ids: HashMap<String, String>,
}

/// A resource as a write left it.
struct Left {
    id: String,
    location: String,
    version: String,
}

/// A resource of a circle, made without what it waits for.
struct Made {
    kind: Kind,
    left: Left,
    held: Map<String, Value>,
}

/// The ends of all, in their order. They are asked in their order too, so that of two that want the same the first one
/// gets it.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut ends: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut ready = true;
        for (one, end) in waiting.iter_mut().zip(&mut ends) {
            if end.is_none() {
                match one.as_mut().poll(context) {
                    Poll::Ready(output) => *end = Some(output),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    ends.into_iter().flatten().collect()
}

impl Run<'_> {
    /// Does operations that are not in each other's way.
    async fn each(&mut self, operations: Vec<Operation>) -> Vec<Answer> {
        let ended = {
            let run = &*self;
            all(operations.into_iter().map(|one| run.one(one))).await
        };
        let mut answers = Vec::with_capacity(ended.len());
        for (answer, id) in ended {
            // Whoever refers to it comes later.
            if let (Some(name), Some(id)) = (&answer.bulk_id, id) {
                self.ids.insert(name.clone(), id);
            }
            answers.push(answer);
        }
        answers
    }

    /// Does one, and tells the id of what it made.
    async fn one(&self, operation: Operation) -> (Answer, Option<String>) {
        let Operation {
            method,
            bulk_id,
            task,
        } = operation;
        let mut place = None;
        let ended = match task {
            Ok(task) => self.done(task, &mut place).await,
            Err(fault) => Err(fault),
        };
        let (ended, left) = match ended {
            Ok((status, left)) => (Ok(status), left),
            Err(fault) => (Err(fault), None),
        };
        let (mut location, mut version, mut made) = (place, None, None);
        if let Some(left) = left {
            (location, version) = (Some(left.location), Some(left.version));
            made = (method == "POST").then_some(left.id);
        }
        let answer = Answer {
            method,
            bulk_id,
            location,
            version,
            ended,
        };
        (answer, made)
    }

    /// Does one; `place` becomes the location of what it is about, once that is known.
    async fn done(
        &self,
        mut task: Task,
        place: &mut Option<String>,
    ) -> Result<(u16, Option<Left>), Fault> {
        let resolved = refer::resolve(&mut task, &self.ids);
        // What it is about may be known though what it refers to is not.
        *place = self.place(&task);
        resolved?;
        let method = task.method;
        let settled = self.settle(task.write(&self.engine.limits)?).await?;
        let left = match method {
            Method::Delete => None,
            Method::Post | Method::Put | Method::Patch => Some(self.left(&settled)?),
        };
        Ok((method.status(), left))
    }

    /// Makes resources that refer to each other: all of them first, then what each says of those that came after it. They
    /// stand together or not at all.
    async fn circle(&mut self, operations: Vec<Operation>) -> Vec<Answer> {
        let names: HashSet<String> = operations
            .iter()
            .filter_map(|one| one.bulk_id.clone())
            .collect();
        let mut ends: Vec<Result<Made, Fault>> = Vec::with_capacity(operations.len());
        let mut heads = Vec::with_capacity(operations.len());
        let mut whole = true;
        for operation in operations {
            let end = match operation.task {
                // One of them failed: the others are as good as failed.
                _ if !whole => Err(refer::broken()),
                Ok(task) => self.make(task, &names).await,
                Err(fault) => Err(fault),
            };
            whole &= end.is_ok();
            if let (Some(name), Ok(made)) = (&operation.bulk_id, &end) {
                self.ids.insert(name.clone(), made.left.id.clone());
            }
            heads.push((operation.method, operation.bulk_id));
            ends.push(end);
        }
        for end in &mut ends {
            if let (true, Ok(made)) = (whole, &mut *end)
                && let Err(fault) = self.complete(made).await
            {
                whole = false;
                let undone = self.unmake(made).await;
                *end = Err(if undone { fault } else { stays(&made.left) });
            }
        }
        if !whole {
            for name in &names {
                self.ids.remove(name);
            }
        }
        let mut answers = Vec::with_capacity(ends.len());
        for ((method, bulk_id), end) in heads.into_iter().zip(ends) {
            let (ended, left) = match end {
                Ok(made) if whole => (Ok(Method::Post.status()), Some(made.left)),
                Ok(made) if self.unmake(&made).await => (Err(refer::broken()), None),
                Ok(made) => (Err(stays(&made.left)), None),
                Err(fault) => (Err(fault), None),
            };
            let (location, version) = left.map(|left| (left.location, left.version)).unzip();
            answers.push(Answer {
                method,
                bulk_id,
                location,
                version,
                ended,
            });
        }
        answers
    }

    /// Makes one of a circle, without what names others of it that are not there yet.
    async fn make(&self, mut task: Task, circle: &HashSet<String>) -> Result<Made, Fault> {
        let ids = &self.ids;
        let held = refer::hold_back(&mut task, |name| {
            !ids.contains_key(name) && circle.contains(name)
        });
        refer::resolve(&mut task, ids)?;
        let kind = task.kind;
        let settled = self.settle(task.write(&self.engine.limits)?).await?;
        let left = self.left(&settled)?;
        Ok(Made { kind, left, held })
    }

    /// Puts in what was held back.
    async fn complete(&self, made: &mut Made) -> Result<(), Fault> {
        let mut held = std::mem::take(&mut made.held);
        if held.is_empty() {
            return Ok(());
        }
        refer::fill(&mut held, &self.ids)?;
        let operations = refer::afterwards(made.kind, held);
        let verb = Verb::Patch(made.left.id.clone(), operations);
        let settled = self.settle(write(made.kind, verb)).await?;
        made.left = self.left(&settled)?;
        Ok(())
    }

    /// Takes back one of a circle. False: it could not be, and stands.
    async fn unmake(&self, made: &Made) -> bool {
        let verb = Verb::Delete(made.left.id.clone());
        self.settle(write(made.kind, verb)).await.is_ok()
    }

    async fn settle(&self, write: Write) -> Result<Settled, Fault> {
        let asked = Asked {
            client: self.client,
            request: self.request,
            write,
            bulk: Some(self.number),
        };
        let settled = self.engine.settle(&asked).await;
        if let Err(fault) = &settled
            && fault.status() >= 500
        {
            tracing::warn!(request = self.request, status = fault.status(), error = %fault.internal(), "bulk operation");
        }
        settled
    }

    fn left(&self, settled: &Settled) -> Result<Left, Fault> {
        let Settled {
            kind, handle, view, ..
        } = settled;
        let (kind, handle) = (*kind, *handle);
        let found = read::head(view, self.base, kind, handle)?;
        Ok(Left {
            id: found.id,
            location: found.location,
            version: found.etag,
        })
    }

    fn not_begun(&self, operation: Operation) -> Answer {
        Answer {
            location: operation.task.ok().and_then(|task| self.place(&task)),
            method: operation.method,
            bulk_id: operation.bulk_id,
            version: None,
            ended: Err(Fault::Unavailable {
                retry_after: 1,
                detail: String::from(
                    "The gateway is stopping, or this Bulk took too long: the operation was not begun. Send it again.",
                ),
            }),
        }
    }

    /// The location of what a task is about, unless that is still to be made.
    fn place(&self, task: &Task) -> Option<String> {
        let known = !task.id.is_empty() && !refer::is_reference(&task.id);
        known.then(|| location(self.base, task.kind, &task.id))
    }
}

/// What could not be taken back is named, so that somebody can.
fn stays(left: &Left) -> Fault {
    Fault::Conflict(format!(
        "It was made, what it refers to was not, and it could not be taken away again: delete {}.",
        left.location
    ))
}
