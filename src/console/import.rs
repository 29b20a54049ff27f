//! Imports and comparisons, for the command line.

use std::sync::Arc;

use hyper::Response;
use percent_encoding::percent_decode_str;

use super::{Console, fault, json};
use crate::error::Fault;
use crate::server::outgoing::Outgoing;
use crate::settle::{Application, Comparison, Engine};

impl Console {
    /// `POST /import?application=NAME&claim=true`: begins one, or joins the one under way, and answers when that has ended.
    pub(super) async fn import(&self, query: &str) -> Result<Vec<u8>, Fault> {
        let (engine, application, claim) = self.named(query, "claim")?;
        let number = engine.begin_import(&application, claim).await?;
        let ended = engine.import_ended(application.plan.name(), number).await?;
        written(&ended)
    }

    /// `GET /import?application=NAME`: the one under way, or the last one; null: there was none.
    pub(super) fn import_progress(&self, query: &str) -> Result<Vec<u8>, Fault> {
        let (engine, application, _) = self.named(query, "")?;
        let import = engine.store.view()?.import(application.plan.name())?;
        // Number 0 remembers a comparison.
        written(&import.filter(|import| import.number > 0))
    }

    /// `POST /reconcile?application=NAME&fix=true`
    pub(super) async fn reconcile(&self, query: &str) -> Response<Outgoing> {
        let compared = match self.named(query, "fix") {
            Ok((engine, application, fix)) => engine.reconcile(&application, fix).await,
            Err(refused) => Err(refused),
        };
        match compared {
            Ok(Comparison::Whole(found)) => match written(&found) {
                Ok(body) => json(200, body),
                Err(why) => fault(&why),
            },
            // What came is not what was expected; who asks tells it by this.
            Ok(Comparison::Short(why)) => {
                json(422, json!({"detail": why}).to_string().into_bytes())
            }
            Err(refused) => fault(&refused),
        }
    }

    /// `GET /reconcile?application=NAME`: accounts compared, and accounts that there are.
    pub(super) fn reconcile_progress(&self, query: &str) -> Result<Vec<u8>, Fault> {
        let (_, application, _) = self.named(query, "")?;
        let (done, of) = application.reading.progress();
        written(&json!({"done": done, "of": of}))
    }

    /// The application that a query names, and whether `flag` is set in it.
    fn named(
        &self,
        query: &str,
        flag: &str,
    ) -> Result<(Arc<Engine>, Arc<Application>, bool), Fault> {
        let (name, set) = wanted(query, flag)?;
        let engine = self.engine()?;
        let mut all = engine.applications.iter();
        let application = all.find(|application| application.plan.name() == name);
        let application = application.cloned().ok_or_else(|| {
            Fault::InvalidValue(String::from(
                "The running gateway has no application of this name.",
            ))
        })?;
        Ok((engine, application, set))
    }
}

fn written(body: &impl serde::Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(body).map_err(|why| Fault::Internal(why.to_string()))
}

fn wanted(query: &str, flag: &str) -> Result<(String, bool), Fault> {
    let (mut name, mut set) = (None, false);
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("application", text)) => {
                name = Some(percent_decode_str(text).decode_utf8_lossy().into_owned());
            }
            Some((key, "true")) if key == flag => set = true,
            Some((key, "false")) if key == flag => set = false,
            _ => {
                return Err(Fault::InvalidValue(format!(
                    "This takes application=NAME{}.",
                    if flag.is_empty() {
                        String::new()
                    } else {
                        format!(" and {flag} (true or false)")
                    }
                )));
            }
        }
    }
    let name = name
        .ok_or_else(|| Fault::InvalidValue(String::from("Which one? application=NAME says it.")))?;
    Ok((name, set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let zoom = |set| Ok((String::from("zoom"), set));
        assert_eq!(wanted("application=zoom", "claim"), zoom(false));
        assert_eq!(wanted("application=z%6Fom&claim=true", "claim"), zoom(true));
        for query in [
            "",
            "claim=true",
            "application=zoom&claim=1",
            "application=zoom&fix=true",
        ] {
            let refused = wanted(query, "claim");
            assert!(matches!(refused, Err(Fault::InvalidValue(_))), "{query}");
        }
    }
}
