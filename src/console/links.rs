//! `GET /links`: resources and their accounts in the applications, for `usher links`, and what a person may have done about
//! one. The shape of a row is public: scripts read it. What a query asks and what a snapshot holds are values in, values out.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Console;
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::provision::link::{Link, Origin, Removal, State};
use crate::scim::{Handle, Kind, Resource, schema};
use crate::settle::{Engine, Relink};
use crate::store::{Lane, Mark, Stuck, View};

/// Rows of an answer where nobody says how many.
pub const LIMIT: usize = 100;
/// The most rows of an answer.
pub const MOST: usize = 10_000;
/// Resources that are read in one go.
const SLICE: usize = 500;
/// What a row can be narrowed by; each word may stand in [`Row::words`].
pub const STATES: [&str; 12] = [
    "active",
    "deactivated",
    "unseen",
    "pending",
    "unborn",
    "none",
    "uncertain",
    "removal",
    "held",
    "kept",
    "quarantined",
    "overdue",
];

/// Whether a rule of an application keeps what it gives to an attribute to itself.
pub type Hides<'a> = &'a dyn Fn(&str, &str) -> bool;

/// Which rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// An application's name.
    pub application: Option<String>,
    /// The beginning of a userName, or of a group's name; the whole of it, or an id, if `whole`.
    pub person: Option<String>,
    /// Everything of it is shown, and `person` is one.
    pub whole: bool,
    /// One of [`STATES`].
    pub state: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Where the answer before ended.
    pub after: Option<u64>,
}

/// One resource in one application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The application.
    pub application: String,
    /// The userName, or the name of a group.
    pub person: String,
    /// User or group.
    pub kind: Kind,
    /// The directory's id.
    pub id: String,
    /// A client deleted it (milliseconds since the epoch, as all times here).
    pub deleted: Option<Timestamp>,
    /// What is known of the account; none: there is none.
    pub state: Option<State>,
    /// How it came to be linked.
    pub origin: Option<Origin>,
    /// The application's id of it.
    pub remote_id: Option<String>,
    /// An answer is missing: it is looked at before anything is sent.
    pub uncertain: bool,
    /// A removal that was asked for.
    pub removal: Option<Removal>,
    /// It is left alone on purpose.
    pub kept: bool,
    /// What is left to do.
    pub mark: Option<Waiting>,
    /// That failed to the end of the ladder of retries.
    pub stuck: Option<Stuck>,
    /// The rest, where one is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
}

/// Something is left to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// When; none: only a person or a change makes it due.
    pub due: Option<Timestamp>,
    /// Failed attempts.
    pub attempts: u32,
    /// The queue's lane.
    pub lane: Lane,
}

/// What is shown of one link only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Whole {
    /// What the application acknowledged last, without what a rule with `redact` gives; none: void, or not known to whoever
    /// reads the data file alone, because the rules say what is redacted.
    pub sent: Option<Map<String, Value>>,
    /// The name last seen there.
    pub seen_name: Option<String>,
    /// What was sent and silently dropped there.
    pub dropped: Vec<String>,
    /// Adopted and not written since.
    pub fresh: bool,
    /// What the application does not take was asked for then.
    pub untaken: Option<Timestamp>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Page {
    /// In the order in which the resources were made.
    pub rows: Vec<Row>,
    /// What [`Wanted::after`] has to be for the rows behind these; none: there are none.
    pub next: Option<u64>,
}

impl Row {
    /// What is said of it, in words of [`STATES`].
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        let state = match self.state {
            Some(State::Active) => "active",
            Some(State::Deactivated) => "deactivated",
            Some(State::Unseen) => "unseen",
            Some(State::Pending) => "pending",
            Some(State::Unborn) => "unborn",
            None => "none",
        };
        let held = self.removal.as_ref().map(|it| it.held.is_some());
        let removal = self.stuck.as_ref().map(|stuck| stuck.removal);
        let also = [
            (self.uncertain, "uncertain"),
            (held.is_some(), "removal"),
            (held == Some(true), "held"),
            (self.kept, "kept"),
            (removal == Some(false), "quarantined"),
            (removal == Some(true), "overdue"),
        ];
        let also = also.into_iter().filter(|(so, _)| *so);
        let words = std::iter::once(state).chain(also.map(|(_, word)| word));
        words.collect()
    }

    fn of(resource: &Resource, application: &str, mark: Option<&Mark>) -> Self {
        let link = resource.link(application);
        Self {
            application: application.to_owned(),
            person: resource.title().to_owned(),
            kind: resource.kind,
            id: resource.id.as_str().to_owned(),
            deleted: resource.deleted,
            state: link.map(|link| link.state),
            origin: link.map(|link| link.origin),
            remote_id: link.and_then(|link| link.remote_id.clone()),
            uncertain: link.is_some_and(|link| link.uncertain.is_some()),
            removal: link.and_then(|link| link.removal.clone()),
            kept: link.is_some_and(|link| link.kept),
            mark: mark.map(|mark| Waiting {
                due: (mark.due != Timestamp::NEVER).then_some(mark.due),
                attempts: mark.attempts,
                lane: mark.lane,
            }),
            stuck: mark.and_then(|mark| mark.stuck.clone()),
            whole: None,
        }
    }
}

fn whole(link: &Link, hides: Option<&dyn Fn(&str) -> bool>) -> Whole {
    let sent = link.sent.as_ref().zip(hides).map(|(sent, hides)| {
        let shown = sent.iter().map(|(name, value)| {
            let value = match hides(name) {
                true => Value::from("(redacted)"),
                false => value.clone(),
            };
            (name.clone(), value)
        });
        shown.collect()
    });
    Whole {
        sent,
        seen_name: link.seen_name.clone(),
        dropped: link.dropped.clone(),
        fresh: link.fresh,
        untaken: link.untaken.as_ref().map(|untaken| untaken.at),
    }
}

impl Wanted {
    /// Reads it from the query of a URL.
    ///
    /// # Errors
    /// 400: what is not understood.
    pub fn from_url(query: &str) -> Result<Self, Fault> {
        let mut wanted = Self {
            limit: LIMIT,
            ..Self::default()
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            let wrong = || Fault::InvalidValue(format!("{name} is not understood."));
            match name {
                "application" => wanted.application = Some(value),
                "person" => wanted.person = Some(value),
                "whole" => wanted.whole = value == "true",
                "state" if STATES.contains(&value.as_str()) => wanted.state = Some(value),
                "limit" => {
                    let limit = value.parse().ok();
                    let limit = limit.filter(|limit| (1..=MOST).contains(limit));
                    wanted.limit = limit.ok_or_else(wrong)?;
                }
                "after" => wanted.after = Some(value.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        Ok(wanted)
    }

    /// Writes it as the query of a URL.
    #[must_use]
    pub fn to_url(&self) -> String {
        let pairs = [
            ("application", self.application.clone()),
            ("person", self.person.clone()),
            ("whole", self.whole.then(|| String::from("true"))),
            ("state", self.state.clone()),
            ("limit", Some(self.limit.to_string())),
            ("after", self.after.map(|after| after.to_string())),
        ];
        let given = pairs.into_iter().filter_map(|(name, value)| {
            Some(format!(
                "{name}={}",
                utf8_percent_encode(&value?, NON_ALPHANUMERIC)
            ))
        });
        given.collect::<Vec<_>>().join("&")
    }

    fn names(&self, resource: &Resource) -> bool {
        let Some(person) = &self.person else {
            return true;
        };
        let title = schema::fold(resource.title());
        let person_folded = schema::fold(person);
        match self.whole {
            true => title == person_folded || resource.id.as_str() == person,
            false => title.starts_with(&person_folded),
        }
    }

    fn rows(&self, resource: &Resource, marks: &[Mark], hides: Option<Hides<'_>>) -> Vec<Row> {
        let linked = resource.links.iter().map(|link| link.application.as_str());
        // What is left to do for an account that there is not is no link, unless it is in trouble or asked for.
        let marked = marks.iter().filter(|mark| {
            resource.link(&mark.application).is_none() && (self.whole || mark.stuck.is_some())
        });
        let marked = marked.map(|mark| mark.application.as_str());
        let mut rows = Vec::new();
        for application in linked.chain(marked) {
            if self
                .application
                .as_deref()
                .is_some_and(|it| it != application)
            {
                continue;
            }
            let mark = marks.iter().find(|mark| mark.application == application);
            let mut row = Row::of(resource, application, mark);
            let of_state = |state: &String| row.words().contains(&state.as_str());
            if !self.state.as_ref().is_none_or(of_state) {
                continue;
            }
            if self.whole
                && let Some(link) = resource.link(application)
            {
                let here = hides.map(|hides| move |name: &str| hides(application, name));
                let here = here.as_ref().map(|here| here as &dyn Fn(&str) -> bool);
                row.whole = Some(whole(link, here));
            }
            rows.push(row);
        }
        rows
    }
}

/// Finds them. `hides`: whether a rule of an application keeps what it gives to this attribute to itself; `None`: nobody
/// knows. Looks at every resource behind [`Wanted::after`] until there are enough.
///
/// # Errors
/// The store cannot be read.
pub fn find(view: &View, wanted: &Wanted, hides: Option<Hides<'_>>) -> Result<Page, Fault> {
    let mut page = Page::default();
    let mut from = Some(Handle(
        wanted.after.map_or(0, |after| after.saturating_add(1)),
    ));
    while let Some(start) = from {
        // A resource's rows stay together: the one that fills the page is the last.
        let mut last = None;
        from = view.everybody(start, SLICE, |resource| {
            if last.is_none() && wanted.names(&resource) {
                let marks = view.marks(resource.handle)?;
                page.rows.extend(wanted.rows(&resource, &marks, hides));
                if page.rows.len() >= wanted.limit {
                    last = Some(resource.handle.0);
                }
            }
            Ok(())
        })?;
        if last.is_some() {
            page.next = last;
            return Ok(page);
        }
    }
    Ok(page)
}

/// Whom a person named, and where.
fn named(query: &str) -> Result<(String, String), Fault> {
    let wanted = Wanted::from_url(query)?;
    wanted.application.zip(wanted.person).ok_or_else(|| {
        Fault::InvalidValue(String::from("Which one? application=NAME and person=NAME."))
    })
}

impl Console {
    /// `GET /links?application=&person=&whole=&state=&limit=&after=`
    pub(super) async fn links(&self, query: &str) -> Result<Vec<u8>, Fault> {
        let (engine, wanted) = (self.engine()?, Wanted::from_url(query)?);
        let work = move || {
            let hides = |application: &str, name: &str| hidden(&engine, application, name);
            find(&engine.store.view()?, &wanted, Some(&hides))
        };
        let page = tokio::task::spawn_blocking(work).await;
        let page = page.map_err(|died| Fault::Internal(died.to_string()))??;
        serde_json::to_vec(&page).map_err(|why| Fault::Internal(why.to_string()))
    }

    /// `POST /links/unlink?application=&person=` and `POST /links/rematch?...`
    pub(super) async fn relink(&self, query: &str, how: Relink) -> Result<Vec<u8>, Fault> {
        let (engine, (application, person)) = (self.engine()?, named(query)?);
        let relinked = engine.relink(&application, &person, how).await?;
        serde_json::to_vec(&relinked).map_err(|why| Fault::Internal(why.to_string()))
    }

    /// `POST /retry?application=&person=`: everybody's where nobody is named. For each application how many are due now.
    pub(super) async fn retry(&self, query: &str) -> Result<Vec<u8>, Fault> {
        let (engine, wanted) = (self.engine()?, Wanted::from_url(query)?);
        let retried = engine
            .retry(wanted.application.as_deref(), wanted.person.as_deref())
            .await?;
        serde_json::to_vec(&retried).map_err(|why| Fault::Internal(why.to_string()))
    }
}

/// What was sent to an application that is not in the configuration any more is nobody's to show.
fn hidden(engine: &Engine, application: &str, name: &str) -> bool {
    let mut all = engine.applications.iter();
    let known = all.find(|one| one.plan.name() == application);
    known.is_none_or(|one| {
        one.plan.mapping.redacts_there(name) || one.plan.group_mapping.redacts_there(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let wanted = Wanted {
            application: Some(String::from("zoom & co")),
            person: Some(String::from("J\u{fc}rgen+1@example.com")),
            whole: true,
            state: Some(String::from("quarantined")),
            limit: 7,
            after: Some(42),
        };
        assert_eq!(Wanted::from_url(&wanted.to_url()), Ok(wanted));
        for query in [
            "limit=0",
            "limit=10001",
            "after=x",
            "state=odd",
            "colour=red",
        ] {
            assert!(Wanted::from_url(query).is_err(), "{query}");
        }
        assert!(named("application=zoom").is_err());
    }
}
