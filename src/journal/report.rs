//! A provisioning report: one row an operation and application, with its latest state. Pure.
//!
//! A client's request makes the row; a worker's delivery that names the request as its cause settles it. A delivery
//! that settles nothing (a side effect on somebody else, a repaired drift) is a row of its own.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::scim::Kind;

use super::record::{CallRecord, Delivery, Event, Operation, Record, Status};

/// Which rows are wanted. Everything that is `None` lets everything through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// The beginning of the folded end-user identifier.
    pub user_prefix: Option<String>,
    /// The application.
    pub application: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// What was done.
    pub operation: Option<Operation>,
    /// How it stands.
    pub status: Option<Status>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// At most so many rows.
    pub limit: usize,
}

/// One operation in one application, or in the directory where no application is concerned. As JSON its times are
/// RFC 3339: the admin socket and `usher report --format json` speak the same lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// When it was asked for.
    #[serde(with = "super::time")]
    pub time: Timestamp,
    /// When a worker settled it.
    #[serde(with = "super::time::optional")]
    pub settled: Option<Timestamp>,
    /// The journal's sequence of the request.
    pub sequence: u64,
    /// The client; empty for a worker's own.
    pub client: String,
    /// The request's id.
    pub request: String,
    /// The application.
    pub application: Option<String>,
    /// User or Group.
    pub kind: Kind,
    /// What was done.
    pub operation: Operation,
    /// The end user's identifier, or the group's name.
    pub user: String,
    /// The directory's id.
    pub id: String,
    /// The application's id.
    pub remote_id: Option<String>,
    /// How it stands.
    pub status: Status,
    /// Short code.
    pub code: Option<String>,
    /// The same for people.
    pub reason: Option<String>,
    /// The calls that were made last.
    pub calls: Vec<CallRecord>,
}

impl Query {
    /// Whether a row is wanted. `fold` is how names compare.
    #[must_use]
    pub fn takes(&self, row: &Row, fold: impl Fn(&str) -> String) -> bool {
        fn is<T: PartialEq + ?Sized>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        self.application
            .as_ref()
            .is_none_or(|wanted| row.application.as_ref() == Some(wanted))
            && is(self.client.as_deref(), &row.client)
            && is(self.operation.as_ref(), &row.operation)
            && is(self.status.as_ref(), &row.status)
            && self.since.is_none_or(|since| row.time >= since)
            && self.until.is_none_or(|until| row.time < until)
            && self
                .user_prefix
                .as_ref()
                .is_none_or(|prefix| fold(&row.user).starts_with(&fold(prefix)))
    }
}

/// The rows of a record. `later`: the deliveries that name it as their cause, oldest first. `causes`: what it names as
/// its own.
#[must_use]
pub fn rows(record: &Record, later: &[Record], causes: &[Record]) -> Vec<Row> {
    match record.event {
        Event::Request if record.deliveries.is_empty() => vec![row(record, None)],
        Event::Request => record
            .deliveries
            .iter()
            .map(|delivery| settled(record, delivery, later))
            .collect(),
        Event::Delivery => record
            .deliveries
            .iter()
            .filter(|delivery| !causes.iter().any(|cause| settles(record, delivery, cause)))
            .map(|delivery| settled(record, delivery, later))
            .collect(),
        Event::Members => Vec::new(),
    }
}

/// Whether a record may have its end in a later one: a client's request, or what a worker began by itself.
#[must_use]
pub fn asks(record: &Record) -> bool {
    record.event == Event::Request || record.event == Event::Delivery && record.cause.is_empty()
}

/// Whether a delivery shows up in the row of `request` instead of in one of its own.
fn settles(record: &Record, delivery: &Delivery, request: &Record) -> bool {
    record.cause.contains(&request.sequence)
        && asks(request)
        && request.id == record.id
        && request
            .deliveries
            .iter()
            .any(|asked| asked.application == delivery.application)
}

fn settled(request: &Record, asked: &Delivery, later: &[Record]) -> Row {
    let mut row = row(request, Some(asked));
    for record in later {
        let found = record
            .deliveries
            .iter()
            .filter(|delivery| delivery.application == asked.application)
            .find(|delivery| settles(record, delivery, request));
        // A request names what it settles of all applications together: what it leaves open in one of them opens nothing there.
        let opens = |delivery: &&Delivery| {
            record.event == Event::Request && delivery.status.is_open() && !row.status.is_open()
        };
        // What was done was not superseded, though its mark still remembered it.
        let late = |delivery: &&Delivery| {
            delivery.code.as_deref() == Some("superseded")
                && matches!(row.status, Status::Success | Status::Warning)
        };
        let found = found.filter(|delivery| !opens(delivery) && !late(delivery));
        if let Some(delivery) = found {
            row.settled = Some(record.time);
            row.status = delivery.status;
            row.code.clone_from(&delivery.code);
            row.reason.clone_from(&delivery.reason);
            row.calls.clone_from(&delivery.calls);
            if delivery.remote_id.is_some() {
                row.remote_id.clone_from(&delivery.remote_id);
            }
        }
    }
    row
}

fn row(record: &Record, delivery: Option<&Delivery>) -> Row {
    let mut row = Row {
        time: record.time,
        settled: None,
        sequence: record.sequence,
        client: record.client.clone(),
        request: record.request.clone(),
        application: None,
        kind: record.kind,
        operation: record.operation,
        user: record.user.clone(),
        id: record.id.clone(),
        remote_id: None,
        status: record.status,
        code: record.code.clone(),
        reason: record.reason.clone(),
        calls: Vec::new(),
    };
    if let Some(delivery) = delivery {
        row.application = Some(delivery.application.clone());
        row.operation = delivery.operation;
        row.remote_id.clone_from(&delivery.remote_id);
        row.status = delivery.status;
        row.code.clone_from(&delivery.code);
        row.reason.clone_from(&delivery.reason);
        row.calls.clone_from(&delivery.calls);
    }
    row
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record of a request, or with causes of a delivery; `applications` with how it went there.
    pub(crate) fn record(
        sequence: u64,
        id: &str,
        cause: &[u64],
        applications: &[(&str, Status)],
    ) -> Record {
        let event = if cause.is_empty() {
            Event::Request
        } else {
            Event::Delivery
        };
        Record {
            sequence,
            time: Timestamp(1_000 + sequence),
            event,
            client: if cause.is_empty() { "entra" } else { "" }.into(),
            request: format!("q{sequence}"),
            kind: Kind::User,
            operation: Operation::Create,
            user: format!("{id}@example.com"),
            id: id.into(),
            status: Status::Success,
            code: None,
            reason: None,
            deliveries: applications
                .iter()
                .map(|(application, status)| Delivery {
                    application: (*application).into(),
                    operation: Operation::Create,
                    remote_id: (*status == Status::Success).then(|| format!("r-{id}")),
                    status: *status,
                    code: None,
                    reason: None,
                    calls: Vec::new(),
                })
                .collect(),
            cause: cause.to_vec(),
            changed: Vec::new(),
            edges: None,
            generation: 1,
            hash: String::new(),
        }
    }

    fn shown(rows: &[Row]) -> Vec<(Option<&str>, Status, bool)> {
        rows.iter()
            .map(|row| {
                (
                    row.application.as_deref(),
                    row.status,
                    row.settled.is_some(),
                )
            })
            .collect()
    }

    #[test]
    fn a_delivery_settles_the_request_that_caused_it() {
        use Status::{Failure, Queued, Success};
        let request = record(1, "ada", &[], &[("zoom", Queued), ("wiki", Queued)]);
        let failed = record(2, "ada", &[1], &[("zoom", Failure)]);
        let done = record(3, "ada", &[1], &[("zoom", Success)]);
        let other = record(4, "bob", &[1], &[("zoom", Success)]);
        let later = [failed, done.clone(), other.clone()];
        let merged = rows(&request, &later, &[]);
        assert_eq!(
            shown(&merged),
            [(Some("zoom"), Success, true), (Some("wiki"), Queued, false)]
        );
        assert_eq!(merged[0].time, request.time);
        assert_eq!(merged[0].settled, Some(done.time));
        assert_eq!(merged[0].remote_id.as_deref(), Some("r-ada"));
        let causes = [request];
        assert_eq!(shown(&rows(&done, &[], &causes)), []);
        assert_eq!(
            shown(&rows(&other, &[], &causes)),
            [(Some("zoom"), Success, false)]
        );
        assert_eq!(
            shown(&rows(&record(5, "eve", &[], &[]), &[], &[])),
            [(None, Success, false)]
        );
    }

    #[test]
    fn a_request_opens_no_row_of_one_before_it() {
        use Status::{Failure, Queued, Success};
        let request = record(1, "ada", &[], &[("zoom", Queued), ("wiki", Queued)]);
        let done = record(2, "ada", &[1], &[("wiki", Success)]);
        // A later request has waited for zoom too, and is called off at the wiki.
        let mut next = record(3, "ada", &[1], &[("zoom", Success), ("wiki", Queued)]);
        next.event = Event::Request;
        let later = [done, next.clone()];
        let settled = [(Some("zoom"), Success, true), (Some("wiki"), Success, true)];
        assert_eq!(shown(&rows(&request, &later, &[])), settled);
        // What failed is not over while its mark stands: the worker's own word counts, whatever it is.
        let failed = record(2, "ada", &[1], &[("wiki", Failure)]);
        let again = record(4, "ada", &[1], &[("wiki", Queued)]);
        let later = [failed, next, again];
        let merged = rows(&request, &later, &[]);
        assert_eq!(
            shown(&merged),
            [(Some("zoom"), Success, true), (Some("wiki"), Queued, true)]
        );
    }

    #[test]
    fn what_a_worker_began_by_itself_has_its_end_too() {
        use Status::{Held, Queued, Success};
        let mut held = record(1, "ada", &[0], &[("zoom", Held)]);
        held.cause.clear();
        let mut released = record(2, "ada", &[1], &[("zoom", Queued)]);
        let done = record(3, "ada", &[1], &[("zoom", Success)]);
        let later = [released.clone(), done.clone()];
        assert_eq!(
            shown(&rows(&held, &later, &[])),
            [(Some("zoom"), Success, true)]
        );
        let causes = [held];
        assert_eq!(shown(&rows(&done, &[], &causes)), []);
        // What has a cause is part of that, and asks for nothing itself.
        released.cause = vec![9];
        assert!(!asks(&released));
        let causes = [released];
        let row = [(Some("zoom"), Success, false)];
        assert_eq!(
            shown(&rows(
                &record(4, "ada", &[2], &[("zoom", Success)]),
                &[],
                &causes
            )),
            row
        );
    }

    #[test]
    fn a_query_takes_what_it_names() {
        let row = row(&record(9, "Ada", &[], &[]), None);
        let takes = |query: Query| query.takes(&row, |text| text.to_lowercase());
        assert!(takes(Query::default()));
        for (query, wanted) in [
            (
                Query {
                    user_prefix: Some("ada@ex".into()),
                    ..Query::default()
                },
                true,
            ),
            (
                Query {
                    user_prefix: Some("da@".into()),
                    ..Query::default()
                },
                false,
            ),
            (
                Query {
                    application: Some("zoom".into()),
                    ..Query::default()
                },
                false,
            ),
            (
                Query {
                    client: Some("entra".into()),
                    ..Query::default()
                },
                true,
            ),
            (
                Query {
                    client: Some("okta".into()),
                    ..Query::default()
                },
                false,
            ),
            (
                Query {
                    operation: Some(Operation::Delete),
                    ..Query::default()
                },
                false,
            ),
            (
                Query {
                    status: Some(Status::Success),
                    ..Query::default()
                },
                true,
            ),
            (
                Query {
                    since: Some(Timestamp(1_009)),
                    ..Query::default()
                },
                true,
            ),
            (
                Query {
                    since: Some(Timestamp(1_010)),
                    ..Query::default()
                },
                false,
            ),
            (
                Query {
                    until: Some(Timestamp(1_009)),
                    ..Query::default()
                },
                false,
            ),
        ] {
            assert_eq!(takes(query.clone()), wanted, "{query:?}");
        }
    }
}
