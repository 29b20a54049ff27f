//! `POST /test?application=NAME`: tries the way to an application with the running gateway's own token.

use percent_encoding::percent_decode_str;

use super::Console;
use crate::error::Fault;
use crate::upstream::examine::examine;
use crate::upstream::trial::Trial;

impl Console {
    /// The verdict, as JSON.
    pub(super) async fn test(&self, query: &str) -> Result<Vec<u8>, Fault> {
        let name = query.strip_prefix("application=").ok_or_else(|| {
            Fault::InvalidValue(String::from("Which one? /test?application=NAME."))
        })?;
        let name = percent_decode_str(name).decode_utf8_lossy();
        let engine = self.engine()?;
        let application = engine
            .applications
            .iter()
            .find(|application| application.plan.name() == name)
            .ok_or_else(|| {
                Fault::InvalidValue(String::from(
                    "The running gateway has no application of this name.",
                ))
            })?;
        let found = examine(
            &application.plan.config,
            &application.upstream,
            &application.gate,
            &self.clock,
        )
        .await;
        application.remember(&engine.store);
        let trial = Trial::of(&name, &found);
        serde_json::to_vec(&trial).map_err(|why| Fault::Internal(why.to_string()))
    }
}
