//! What a person allows beyond an application's limit on removals.

use crate::policy::safety::Allowance;

use super::apply::{CommitError, Done, Job};
use super::front::Store;
use super::queue::mixed_up;

impl Store {
    /// Allows removals beyond an application's limit, in the place of what was allowed before.
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub async fn allow(
        &self,
        application: &str,
        allowance: Option<Allowance>,
    ) -> Result<(), CommitError> {
        match self
            .run(Job::Allow(application.to_owned(), allowance))
            .await?
        {
            Done::Allowed => Ok(()),
            _ => Err(mixed_up()),
        }
    }
}
