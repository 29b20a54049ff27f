//! Bugs that are planted on purpose, so that it is known of what the simulation asks that it can fail.

use std::cell::Cell;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A commit clears a mark whatever its generation: what was asked for meanwhile is forgotten.
    AnyGeneration,
    /// A create that may have happened is done again, and nobody looks first.
    NoLookUp,
    /// The safety limit is not asked in the transaction of the intent.
    NoBudget,
    /// A write without an answer is taken for done.
    LostIsDone,
    /// What was under way when the gateway died is forgotten.
    ForgottenIntents,
    /// A group's members are replaced.
    Replace,
    /// `Retry-After` is no reason to wait.
    Impatient,
    /// What overtakes an exchange under way is left to it.
    Unraised,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether this thread's simulation has this bug.
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Plants one, or none.
pub(super) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
