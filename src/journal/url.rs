//! A [`Query`] as the query of a URL and back: how the command line asks a running gateway. Pure.
//!
//! Every parameter may be left out; one that is not known, or stands there twice, is refused rather than ignored: a
//! report that silently shows more than was asked for misleads.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::value;
use crate::error::Fault;

use super::report::Query;

/// Rows, where a query does not say how many.
const LIMIT: usize = 1_000;
/// The most rows that one query gives: they are gathered in memory.
const MOST: usize = 1_000_000;

/// The names that an operation can have, for people.
pub const OPERATIONS: &str =
    "create, update, deactivate, reactivate, delete, adopt, membership or import";
/// The names that a status can have, for people.
pub const STATUSES: &str = "success, failure, skipped, warning, held, queued or unknown";
/// How a moment can be written, for people.
pub const MOMENTS: &str = "a duration back from now (7d, 12h, 90m), a date, or an RFC 3339 time";

impl Query {
    /// Reads a URL's query, without the question mark: `user`, `application`, `client`, `operation`, `status`, `since`,
    /// `until`, `limit` (1000 if left out, at most 1,000,000). Times are what [`moment`] reads, or milliseconds since
    /// the epoch. A plus sign is a plus sign: addresses have them.
    ///
    /// # Errors
    /// [`Fault::InvalidValue`] for what is not known, stands there twice or does not read.
    pub fn from_url(text: &str, now: Timestamp) -> Result<Self, Fault> {
        let mut query = Self::default();
        let mut limit = None;
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| wrong(name, "UTF-8"))?;
            let value: &str = &value;
            let time = || millis(value).or_else(|| moment(value, now));
            let first = match name {
                "user" => set(&mut query.user_prefix, Some(value.to_owned())),
                "application" => set(&mut query.application, Some(value.to_owned())),
                "client" => set(&mut query.client, Some(value.to_owned())),
                "operation" => set(&mut query.operation, word(value)),
                "status" => set(&mut query.status, word(value)),
                "since" => set(&mut query.since, time()),
                "until" => set(&mut query.until, time()),
                "limit" => set(&mut limit, value.parse().ok().filter(|rows| *rows <= MOST)),
                _ => {
                    return Err(Fault::InvalidValue(String::from(
                        "A report is narrowed by user, application, client, operation, status, since, until and limit.",
                    )));
                }
            };
            match first {
                Set::Done => {}
                Set::Unread => return Err(wrong(name, wanted(name))),
                Set::Twice => return Err(wrong(name, "there once")),
            }
        }
        query.limit = limit.unwrap_or(LIMIT);
        Ok(query)
    }

    /// Writes it as the query of a URL, without the question mark. [`Query::from_url`] reads it back as it was, up to
    /// the most rows that it allows.
    #[must_use]
    pub fn to_url(&self) -> String {
        let time = |at: Option<Timestamp>| at.map(|at| at.0.to_string());
        let pairs = [
            ("user", self.user_prefix.clone()),
            ("application", self.application.clone()),
            ("client", self.client.clone()),
            ("operation", self.operation.as_ref().map(name)),
            ("status", self.status.as_ref().map(name)),
            ("since", time(self.since)),
            ("until", time(self.until)),
            ("limit", Some(self.limit.to_string())),
        ];
        let mut text = String::new();
        for (name, value) in pairs {
            let Some(value) = value else { continue };
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.extend(utf8_percent_encode(&value, NON_ALPHANUMERIC));
        }
        text
    }
}

/// A moment as people write it: a duration back from now (`7d`, `12h`, `90m`), a date (its first moment in UTC), or a
/// date and time, in UTC where no offset stands.
#[must_use]
pub fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    value::duration(text)
        .map(|span| now.minus(span))
        .or_else(|| Timestamp::parse(text))
        .or_else(|| Timestamp::parse(&format!("{text}Z")))
        .or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
}

/// An operation or a status by its name in the journal.
#[must_use]
pub fn word<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let text: StrDeserializer<'a, WordError> = text.into_deserializer();
    T::deserialize(text).ok()
}

/// The name of an operation or a status in the journal.
pub(super) fn name<T: Serialize>(word: &T) -> String {
    match serde_json::to_value(word) {
        Ok(serde_json::Value::String(name)) => name,
        // Enums without fields are strings.
        _ => String::new(),
    }
}

fn millis(text: &str) -> Option<Timestamp> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok().map(Timestamp)).flatten()
}

enum Set {
    Done,
    Unread,
    Twice,
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> Set {
    match (slot.is_some(), value) {
        (true, _) => Set::Twice,
        (false, None) => Set::Unread,
        (false, value) => {
            *slot = value;
            Set::Done
        }
    }
}

fn wanted(name: &str) -> &'static str {
    match name {
        "operation" => OPERATIONS,
        "status" => STATUSES,
        "limit" => "a whole number, at most 1000000",
        _ => MOMENTS,
    }
}

fn wrong(name: &str, wanted: &str) -> Fault {
    Fault::InvalidValue(format!("{name} must be {wanted}."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::record::{Operation, Status};

    const NOW: Timestamp = Timestamp(1_795_465_845_120);

    fn queries() -> impl Strategy<Value = Query> {
        use Operation::{
            Adopt, Create, Deactivate, Delete, Import, Membership, Reactivate, Update,
        };
        use Status::{Failure, Held, Queued, Skipped, Success, Unknown, Warning};
        let operations = [
            Create, Update, Deactivate, Reactivate, Delete, Adopt, Membership, Import,
        ];
        let statuses = [Success, Failure, Skipped, Warning, Held, Queued, Unknown];
        let text = || prop::option::of(any::<String>());
        let time = || prop::option::of(any::<u64>().prop_map(Timestamp));
        (
            (text(), text(), text()),
            prop::option::of(prop::sample::select(operations.to_vec())),
            prop::option::of(prop::sample::select(statuses.to_vec())),
            (time(), time()),
            0..=MOST,
        )
            .prop_map(|(texts, operation, status, (since, until), limit)| Query {
                user_prefix: texts.0,
                application: texts.1,
                client: texts.2,
                operation,
                status,
                since,
                until,
                limit,
            })
    }

    proptest! {
        #[test]
        fn a_query_survives_its_url(query in queries()) {
            let url = query.to_url();
            prop_assert!(url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=&%".contains(&byte)), "{}", url);
            prop_assert_eq!(Query::from_url(&url, NOW), Ok(query));
        }

        #[test]
        fn no_url_makes_it_panic(text in ".*") {
            let _either = Query::from_url(&text, NOW);
        }
    }

    #[test]
    fn what_a_person_may_type_into_a_url() {
        let all = Query {
            limit: LIMIT,
            ..Query::default()
        };
        assert_eq!(Query::from_url("", NOW), Ok(all.clone()));
        let query = Query::from_url(
            "user=jane+x%40&since=1h&until=2026-11-01&status=held&limit=5",
            NOW,
        );
        let wanted = Query {
            user_prefix: Some("jane+x@".into()),
            since: Some(Timestamp(NOW.0 - 3_600_000)),
            until: Timestamp::parse("2026-11-01T00:00:00Z"),
            status: Some(Status::Held),
            limit: 5,
            ..all
        };
        assert_eq!(query, Ok(wanted));
        for (text, told) in [
            ("usr=jane", "A report is narrowed by"),
            ("user=%ff", "user must be UTF-8"),
            ("user=a&user=b", "user must be there once"),
            ("status=Success", "status must be success, "),
            ("operation=", "operation must be create, "),
            ("since=soon", "since must be a duration"),
            ("limit=1000001", "limit must be a whole number"),
            ("limit=-1", "limit must be a whole number"),
        ] {
            let fault = Query::from_url(text, NOW).expect_err(text);
            assert_eq!(fault.status(), 400, "{text}");
            assert!(
                fault.public().starts_with(told),
                "{text}: {}",
                fault.public()
            );
        }
    }

    #[test]
    fn moments_as_people_write_them() {
        let at = |text| Timestamp::parse(text).expect(text);
        for (text, wanted) in [
            ("7d", Some(at("2026-11-16T20:30:45.120Z"))),
            ("12h", Some(at("2026-11-23T08:30:45.120Z"))),
            ("90m", Some(at("2026-11-23T19:00:45.120Z"))),
            ("2026-11-01", Some(at("2026-11-01T00:00:00Z"))),
            (
                "2026-11-01T12:00:00+01:00",
                Some(at("2026-11-01T11:00:00Z")),
            ),
            ("2026-11-01 12:00:00", Some(at("2026-11-01T12:00:00Z"))),
            ("7 days", None),
            ("yesterday", None),
            ("2026-13-01", None),
            ("-1d", None),
            ("", None),
        ] {
            assert_eq!(moment(text, NOW), wanted, "{text}");
        }
    }
}
