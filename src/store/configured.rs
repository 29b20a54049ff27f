//! The configuration as the store knows it: which one is in force, and what follows for what was decided under another.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::policy::assignment::Selector;
use crate::scim::{Handle, Kind};

use super::apply::{CommitError, Done, Job};
use super::change::{ChangeSet, Lane, MarkEdit};
use super::front::Store;
use super::queue::mixed_up;
use super::tables::{self, STATE, Seal, Trouble, name};
use super::transaction::{Transaction, from_json, json};
use super::view::View;

/// What the store keeps of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    /// SHA-256 of its file, in hex.
    pub fingerprint: String,
    /// Its applications.
    pub applications: Vec<Configured>,
}

/// What the store keeps of an application's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// Its name.
    pub name: String,
    /// SHA-256 of all that planning reads of it, in hex.
    pub planning: String,
    /// Whether groups go there too, and not users alone.
    pub groups: bool,
    /// The groups of its policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Selector>,
}

/// A configuration that is in force now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Its generation: one more than before if its file is another one.
    pub generation: u64,
    /// Applications of which planning reads something else than before, and new ones: for each a sweep has begun.
    pub sweeps: Vec<String>,
}

/// The configuration in force, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Generation {
    pub(super) generation: u64,
    pub(super) fingerprint: String,
    #[serde(default)]
    pub(super) applications: Vec<Configured>,
}

impl Store {
    /// Puts a configuration in force, and begins the sweeps that it needs.
    ///
    /// # Errors
    /// As [`CommitError`] says.
    pub async fn configure(&self, configuration: Configuration) -> Result<InForce, CommitError> {
        match self.run(Job::Configure(Box::new(configuration))).await? {
            Done::Configured(in_force) => Ok(in_force),
            _ => Err(mixed_up()),
        }
    }
}

impl Transaction<'_> {
    /// The configuration in force; read once a transaction.
    pub(super) fn in_force(&mut self) -> Result<&Generation, Trouble> {
        if self.configuration.is_none() {
            let stored = self.state(name::CONFIG)?;
            let stored = stored.map(|bytes| from_json(&bytes)).transpose()?;
            self.configuration = Some(stored.unwrap_or_default());
        }
        Ok(self.configuration.get_or_insert_default())
    }

    pub(super) fn configure(&mut self, next: &Configuration) -> Result<InForce, Trouble> {
        let last = self.in_force()?.clone();
        let another = u64::from(last.fingerprint != next.fingerprint);
        let stands = Generation {
            generation: last.generation.saturating_add(another),
            fingerprint: next.fingerprint.clone(),
            applications: next.applications.clone(),
        };
        if stands != last {
            self.put_state(name::CONFIG, json(&stands)?)?;
        }
        let generation = stands.generation;
        self.configuration = Some(stands);
        let bound = self.bind_all()?;
        let mut sweeps = Vec::new();
        for application in &next.applications {
            // One that is back counts as new: nobody was marked for it while it was gone.
            let same =
                last.applications.contains(application) && !bound.contains(&application.name);
            if !same && self.begin_sweep(&application.name, false)? {
                sweeps.push(application.name.clone());
            }
        }
        Ok(InForce { generation, sweeps })
    }

    /// What was decided under a configuration that is not in force any more was not asked about the one that is: each
    /// resource that it changed or marked is marked for every application, in the same transaction. The writer alone puts
    /// configurations in force and commits, so nothing can come in between. Where nothing differs the worker finds that.
    pub(super) fn mark_outdated(&mut self, set: &ChangeSet) -> Result<(), Trouble> {
        if set.generation == 0 || set.generation >= self.in_force()?.generation {
            return Ok(());
        }
        let rows = set.puts.iter().map(|put| put.resource.handle);
        let links = set.links.iter().map(|edit| edit.handle);
        let groups = set.members.iter().map(|edit| edit.group);
        // What it put off or parked may be due by the rules of today, and where it found nothing to do there may be.
        let marks = set.marks.iter().map(MarkEdit::handle);
        let changed = rows.chain(links).chain(groups).chain(marks);
        let changed: BTreeSet<Handle> = changed.collect();
        let applications = self.in_force()?.applications.clone();
        // Since the last record, which is this set's own or an older one: due at once.
        let due = self.head.last_time;
        for handle in changed {
            let Some(kind) = self.row(handle, |row| row.kind)? else {
                continue;
            };
            for application in &applications {
                if kind == Kind::User || application.groups {
                    self.mark_again(handle, &application.name, due, Lane::Update)?;
                }
            }
        }
        Ok(())
    }
}

impl View {
    /// The applications of the configuration in force.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn configured(&self) -> Result<Vec<String>, Fault> {
        let names = self.in_force()?.applications.into_iter();
        Ok(names.map(|application| application.name).collect())
    }

    /// The groups that the policies of an application name in the configuration in force; `None`: it has no such
    /// application.
    ///
    /// # Errors
    /// As [`View::configured`].
    pub fn selectors(&self, application: &str) -> Result<Option<Vec<Selector>>, Fault> {
        let mut all = self.in_force()?.applications.into_iter();
        let found = all.find(|configured| configured.name == application);
        Ok(found.map(|configured| configured.policies))
    }

    fn in_force(&self) -> Result<Generation, Fault> {
        Ok(
            match tables::read(&self.table(STATE)?, Seal::State, name::CONFIG)? {
                Some(bytes) => from_json(&bytes)?,
                None => Generation::default(),
            },
        )
    }

    /// The generation of the configuration in force, and its fingerprint; (0, "") before the first.
    ///
    /// # Errors
    /// [`Fault::Internal`]: a damaged row, or the disk.
    pub fn generation(&self) -> Result<(u64, String), Fault> {
        let last = self.in_force()?;
        Ok((last.generation, last.fingerprint))
    }
}
