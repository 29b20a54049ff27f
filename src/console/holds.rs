//! `/holds`: removals that wait for a person, and the person's word on them.

use std::sync::Arc;

use super::Console;
use super::query::Parameters;
use crate::config::value;
use crate::error::Fault;
use crate::settle::holds::{Hold, Whom};
use crate::settle::{Application, Engine};

impl Console {
    /// `GET /holds?application=NAME`: JSON lines, those held longest first.
    pub(super) async fn holds(&self, query: &str) -> Result<Vec<u8>, Fault> {
        let asked = Parameters::of(query, &["application"])?;
        let engine = self.engine()?;
        let applications = match asked.get("application") {
            Some(name) => vec![named(&engine, name)?],
            None => engine.applications.clone(),
        };
        let reading = tokio::task::spawn_blocking(move || {
            let view = engine.store.view()?;
            let mut holds: Vec<Hold> = Vec::new();
            for application in applications {
                holds.extend(Engine::holds(&view, application.plan.name())?);
            }
            lines(&holds)
        });
        reading
            .await
            .map_err(|died| Fault::Internal(died.to_string()))?
    }

    /// `POST /holds/release?application=NAME&for=24h` with one of `person=NAME`, `people=N`, `all=true`.
    pub(super) async fn release(&self, query: &str) -> Result<Vec<u8>, Fault> {
        let asked = Parameters::of(query, &["application", "for", "person", "people", "all"])?;
        let (engine, application, whom) = self.about(&asked)?;
        let span = asked.get("for").and_then(value::duration);
        let span = span.filter(|span| !span.is_zero()).ok_or_else(|| {
            Fault::InvalidValue(String::from("for is how long it holds, such as 24h."))
        })?;
        let until = self.clock.now().plus(span);
        let said = engine.release(&application, &whom, until).await?;
        serde_json::to_vec(&said).map_err(|why| Fault::Internal(why.to_string()))
    }

    /// `POST /holds/reject?application=NAME` with one of `person=NAME`, `all=true`.
    pub(super) async fn reject(&self, query: &str) -> Result<Vec<u8>, Fault> {
        let asked = Parameters::of(query, &["application", "person", "all"])?;
        let (engine, application, whom) = self.about(&asked)?;
        let said = engine.reject(&application, &whom).await?;
        serde_json::to_vec(&said).map_err(|why| Fault::Internal(why.to_string()))
    }

    fn about(
        &self,
        asked: &Parameters<'_>,
    ) -> Result<(Arc<Engine>, Arc<Application>, Whom), Fault> {
        let engine = self.engine()?;
        engine.store.refuse_unconfirmed()?;
        let name = asked.get("application").unwrap_or_default();
        let application = named(&engine, name)?;
        let people = asked.get("people").map(str::parse);
        let whom = match (asked.get("person"), people, asked.get("all")) {
            (Some(person), None, None) if !person.is_empty() => Whom::Person(person.to_owned()),
            (None, Some(Ok(people)), None) if people > 0 => Whom::People(people),
            (None, None, Some("true")) => Whom::All,
            _ => {
                return Err(Fault::InvalidValue(String::from(
                    "Whom? One of person (a userName or id), people (a number) and all (true).",
                )));
            }
        };
        Ok((engine, application, whom))
    }
}

/// The application of this name.
pub(super) fn named(engine: &Engine, name: &str) -> Result<Arc<Application>, Fault> {
    let mut applications = engine.applications.iter();
    let found = applications.find(|application| application.plan.name() == name);
    found.cloned().ok_or_else(|| {
        Fault::InvalidValue(String::from(
            "The running gateway has no application of this name.",
        ))
    })
}

/// One object a line.
pub(super) fn lines(rows: &[impl serde::Serialize]) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut body, row).map_err(|why| Fault::Internal(why.to_string()))?;
        body.push(b'\n');
    }
    Ok(body)
}
