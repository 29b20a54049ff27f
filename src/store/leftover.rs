//! What an earlier process was about to do when it died.

use redb::{Database, ReadableDatabase};

use crate::clock::Timestamp;
use crate::provision::link::Link;
#[cfg(test)]
use crate::simulation::{Bug, planted};

use super::apply::{Job, Writer};
use super::change::{ChangeSet, MarkEdit};
use super::open::OpenError;
use super::tables::{self, INTENTS, Seal, Trouble};
use super::transaction::from_json;

/// Left-over intents that one transaction takes.
const ROLL: usize = 64;

/// Commits what an earlier process was about to do, as unknown. Its clients had no answer, so either outcome was
/// allowed.
pub(super) fn roll_forward(
    db: &Database,
    writer: &mut Writer,
    now: Timestamp,
) -> Result<usize, OpenError> {
    let mut done = 0;
    loop {
        let mut sets = Vec::new();
        let transaction = db.begin_read().map_err(Trouble::from)?;
        let intents = transaction.open_table(INTENTS).map_err(Trouble::from)?;
        for entry in intents.range::<u64>(..).map_err(Trouble::from)?.take(ROLL) {
            let (intent, stored) = entry.map_err(Trouble::from)?;
            let intent = intent.value();
            let key = intent.to_be_bytes();
            let bytes = tables::unseal(Seal::Intent, &key, stored.value())?;
            sets.push(unknown(from_json(bytes)?, intent, now));
        }
        drop(transaction);
        if sets.is_empty() {
            return Ok(done);
        }
        let mut jobs: Vec<Job> = sets
            .iter()
            .cloned()
            .map(Box::new)
            .map(Job::Commit)
            .collect();
        let results = writer.apply(&mut jobs).map_err(OpenError::Failed)?;
        for (mut set, result) in sets.into_iter().zip(results) {
            done += 1;
            let Err(error) = result else {
                continue;
            };
            tracing::error!(error = %error, "what a crash left half done does not fit the directory: the accounts are read back");
            // Somebody else's commit came in between, which claims rule out. The record and the marks are kept: the
            // worker reads the accounts back.
            set.puts.clear();
            set.links.clear();
            set.members.clear();
            let again = writer
                .apply(&mut [Job::Commit(Box::new(set))])
                .map_err(OpenError::Failed)?;
            if let Some(Err(error)) = again.into_iter().next() {
                return Err(OpenError::Failed(error.to_string()));
            }
        }
    }
}

/// The change set of an intent whose end nobody saw: the last call may have gone out until now.
fn unknown(mut set: ChangeSet, intent: u64, now: Timestamp) -> ChangeSet {
    #[cfg(test)]
    if planted(Bug::ForgottenIntents) {
        set = ChangeSet::default();
    }
    set.settles = Some(intent);
    let rows = set.puts.iter_mut().flat_map(|put| {
        // The others are not this write's, nor is what was sent there.
        let (links, before) = (&mut put.resource.links, put.before.as_ref());
        let others = move |link: &Link| before.is_some_and(|before| before.contains(link));
        links.iter_mut().filter(move |link| !others(link))
    });
    let links = set.links.iter_mut();
    let links = links.filter_map(|edit| edit.after.as_mut());
    for link in rows.chain(links) {
        if let Some(uncertain) = &mut link.uncertain {
            uncertain.sent = uncertain.sent.max(now);
        }
    }
    for mark in &mut set.marks {
        if let MarkEdit::Set { due, .. } | MarkEdit::Raise { due, .. } = mark
            && *due != Timestamp::NEVER
        {
            *due = now;
        }
    }
    for record in &mut set.journal {
        record.time = record.time.max(now);
    }
    set
}

#[cfg(test)]
impl super::front::Store {
    /// What is on disk of writes that are under way: what would be committed of each if nobody lived to say how it went.
    pub(crate) fn intents_for_tests(&self) -> Vec<ChangeSet> {
        let read = || -> Result<Vec<ChangeSet>, Trouble> {
            let transaction = self.0.db.begin_read()?;
            let intents = transaction.open_table(INTENTS)?;
            let mut found = Vec::new();
            for entry in intents.range::<u64>(..)? {
                let (intent, stored) = entry?;
                let key = intent.value().to_be_bytes();
                found.push(from_json(tables::unseal(
                    Seal::Intent,
                    &key,
                    stored.value(),
                )?)?);
            }
            Ok(found)
        };
        read().unwrap_or_default()
    }
}
