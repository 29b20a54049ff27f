//! An application under which records are gone through again.

use crate::provision::plan::Application;

/// An application of the new configuration.
#[derive(Debug)]
pub struct Case<'a> {
    /// As the new configuration has it.
    pub new: &'a Application,
    /// As the one in force has it, where that is known: what it conceals is not shown.
    pub old: Option<&'a Application>,
    /// Its policies name the groups that they name now: what the journal says of who was in them holds for it too.
    pub same_policies: bool,
}

impl Case<'_> {
    /// Whether what it decides may depend on this attribute.
    pub(super) fn reads(&self, attribute: &str) -> bool {
        let condition = self.new.scope.condition.as_ref();
        attribute == "active"
            || self.new.mapping.reads(attribute)
            || condition.is_some_and(|condition| condition.reads(attribute))
    }

    pub(super) fn conceals(&self, attribute: &str) -> bool {
        let conceals = |application: &Application| application.mapping.conceals(attribute);
        conceals(self.new) || self.old.is_some_and(conceals)
    }
}
