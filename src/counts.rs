//! Counts of what clients asked and how it was answered. Atomics only: counting never waits, and nobody waits for it.
//! What they are called for a monitor is said in [`crate::console::metrics`].

use std::sync::atomic::{AtomicU64, Ordering};

/// What a request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// GET of one resource.
    Read,
    /// A page of resources.
    List,
    /// POST of a resource.
    Create,
    /// PUT.
    Replace,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// POST to Bulk, counted once.
    Bulk,
    /// What this server can do.
    Discover,
    /// OPTIONS.
    Options,
}

impl Action {
    /// Every one, in the order in which it is counted.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::List,
        Self::Create,
        Self::Replace,
        Self::Patch,
        Self::Delete,
        Self::Bulk,
        Self::Discover,
        Self::Options,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Bulk => "bulk",
            Self::Discover => "discover",
            Self::Options => "options",
        }
    }
}

const ACTIONS: usize = Action::ALL.len();

/// Statuses by their hundred.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// How one client's requests were answered.
#[derive(Debug, Default)]
pub struct Answered([[AtomicU64; CLASSES.len()]; ACTIONS]);

impl Answered {
    /// Counts an answer.
    pub fn count(&self, action: Action, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        // Both are within: `as` of an enum is its place in `ALL`.
        if let Some(count) = self.0.get(action as usize).and_then(|row| row.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every count that is not zero: what was asked, the status's class, how often.
    pub fn all(&self) -> impl Iterator<Item = (Action, &'static str, u64)> {
        Action::ALL
            .into_iter()
            .zip(&self.0)
            .flat_map(|(action, row)| {
                let counts = CLASSES.into_iter().zip(row);
                let counts = counts.map(move |(class, count)| (action, class, load(count)));
                counts.filter(|(_, _, count)| *count > 0)
            })
    }
}

/// The upper bounds of the histogram of answering times, in milliseconds. What takes longer is in the last one, which has
/// none.
pub const BOUNDS: [u64; 7] = [1, 5, 25, 100, 500, 2_500, 10_000];

/// Statuses of requests that were refused before they were understood; the last one stands for all others.
pub const REFUSALS: [&str; 13] = [
    "400", "401", "403", "404", "405", "408", "413", "414", "415", "429", "431", "503", "other",
];

/// What all requests together came to.
#[derive(Debug, Default)]
pub struct Requests {
    took: [Took; ACTIONS],
    refused: [AtomicU64; REFUSALS.len()],
}

/// How long answers took.
#[derive(Debug, Default)]
struct Took {
    /// One more than [`BOUNDS`] has.
    within: [AtomicU64; BOUNDS.len() + 1],
    ms: AtomicU64,
}

impl Requests {
    /// Counts how many milliseconds an answer took.
    pub fn took(&self, action: Action, ms: u64) {
        let place = BOUNDS.iter().position(|bound| ms <= *bound);
        let Some(took) = self.took.get(action as usize) else {
            return;
        };
        if let Some(count) = took.within.get(place.unwrap_or(BOUNDS.len())) {
            count.fetch_add(1, Ordering::Relaxed);
            took.ms.fetch_add(ms, Ordering::Relaxed);
        }
    }

    /// Counts a request that was refused before it was understood.
    pub fn refused(&self, status: u16) {
        let last = REFUSALS.len() - 1;
        let is_it = |name: &&str| name.parse() == Ok(status);
        let place = REFUSALS.iter().position(is_it).unwrap_or(last);
        if let Some(count) = self.refused.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each of [`REFUSALS`] was answered.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REFUSALS.into_iter().zip(self.refused.iter().map(load))
    }

    /// How many answers took at most each of [`BOUNDS`], then how many there were, and how many milliseconds they took in
    /// all.
    #[must_use]
    pub fn times(&self, action: Action) -> ([u64; BOUNDS.len() + 1], u64) {
        let mut counts = [0; BOUNDS.len() + 1];
        let Some(took) = self.took.get(action as usize) else {
            return (counts, 0);
        };
        let mut sum = 0;
        for (count, within) in counts.iter_mut().zip(&took.within) {
            sum += load(within);
            *count = sum;
        }
        (counts, load(&took.ms))
    }
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_its_own_row() {
        let answered = Answered::default();
        for (place, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, place, "{action:?}");
            for _ in 0..=place {
                answered.count(action, 204);
            }
        }
        answered.count(Action::Read, 404);
        answered.count(Action::Read, 999);
        let found: Vec<_> = answered.all().collect();
        let mut wanted: Vec<_> = Action::ALL
            .into_iter()
            .zip(1..)
            .map(|(action, count)| (action, "2xx", count))
            .collect();
        wanted.splice(1..1, [(Action::Read, "4xx", 1), (Action::Read, "5xx", 1)]);
        assert_eq!(found, wanted);
    }

    #[test]
    fn times_are_cumulative_and_bounds_inclusive() {
        let requests = Requests::default();
        for ms in [0, 1, 2, 5, 6, 10_000, 10_001, 99_999] {
            requests.took(Action::List, ms);
        }
        let (counts, ms) = requests.times(Action::List);
        assert_eq!(counts, [2, 4, 5, 5, 5, 5, 6, 8]);
        assert_eq!(ms, 120_014);
        assert_eq!(requests.times(Action::Read), ([0; 8], 0));
    }

    #[test]
    fn refusals_are_counted_by_status() {
        let requests = Requests::default();
        for status in [401, 401, 429, 417, 500] {
            requests.refused(status);
        }
        let found: Vec<_> = requests.refusals().filter(|(_, n)| *n > 0).collect();
        assert_eq!(found, [("401", 2), ("429", 1), ("other", 2)]);
    }
}
