//! What a PATCH does to a group's members.

use std::collections::HashMap;

use serde_json::Value;

use super::Op;
use crate::error::Fault;
use crate::scim::dialect;
use crate::scim::filter::Filter;
use crate::scim::name;

/// What happens to a group's members: first the clearing, then the removals, then the additions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberDelta {
    /// Every member goes.
    pub clear: bool,
    /// Ids that come, in the order in which they were first named, each once.
    pub add: Vec<String>,
    /// Ids that go; none that comes as well.
    pub remove: Vec<String>,
}

/// Composes operations: of two that name one member the later counts.
#[derive(Debug, Default)]
pub(super) struct Members {
    clear: bool,
    order: Vec<String>,
    /// Whether the member named comes (or goes).
    comes: HashMap<String, bool>,
}

impl Members {
    pub(super) fn apply(
        &mut self,
        op: Op,
        filter: Option<&Filter>,
        sub: Option<&str>,
        value: Option<Value>,
    ) -> Result<(), Fault> {
        let value = value.filter(|value| !value.is_null());
        // What else an identity provider says of a member (`display`) is the member's own affair.
        let whole = sub.is_none_or(|sub| name::same(sub, "value"));
        if !whole {
            return Ok(());
        }
        if let Some(filter) = filter {
            let named = named(filter)?;
            let instead = match (op, value) {
                (Op::Remove, _) | (_, None) => Vec::new(),
                (_, Some(value)) => ids(value)?,
            };
            // An add to members that it names leaves them where they are.
            if op != Op::Add {
                self.note(named, false);
            }
            self.note(instead, true);
            return Ok(());
        }
        match (op, value) {
            (Op::Add, None) => {}
            (Op::Add, Some(value)) => self.note(ids(value)?, true),
            (Op::Replace, value) => {
                let ids = value.map_or(Ok(Vec::new()), ids)?;
                self.empty();
                self.note(ids, true);
            }
            // Entra and authentik (facts 26, 96): remove with a value removes that, not all.
            (Op::Remove, Some(value)) => self.note(ids(value)?, false),
            // Keycloak empties a group so (fact 107).
            (Op::Remove, None) if sub.is_none() => self.empty(),
            (Op::Remove, None) => {
                return Err(Fault::InvalidPath(
                    "members.value cannot be taken from a member; remove the member.".into(),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn delta(self) -> MemberDelta {
        let (add, remove) = self
            .order
            .into_iter()
            .partition(|id| self.comes.get(id) == Some(&true));
        MemberDelta {
            clear: self.clear,
            add,
            remove: if self.clear { Vec::new() } else { remove },
        }
    }

    fn empty(&mut self) {
        *self = Self {
            clear: true,
            ..Self::default()
        };
    }

    fn note(&mut self, ids: Vec<String>, comes: bool) {
        for id in ids {
            if self.comes.insert(id.clone(), comes).is_none() {
                self.order.push(id);
            }
        }
    }
}

/// The ids that a value names: an array, an object or a string.
fn ids(value: Value) -> Result<Vec<String>, Fault> {
    dialect::values(value)
        .into_iter()
        .map(|value| {
            let id = match &value {
                Value::Object(member) => name::get(member, "value").and_then(Value::as_str),
                other => other.as_str(),
            };
            match id {
                Some(id) if !id.is_empty() => Ok(id.to_owned()),
                _ => Err(Fault::InvalidValue(
                    "members: each needs a value that is a resource's id.".into(),
                )),
            }
        })
        .collect()
}

/// The ids that a filter names. The members themselves are not here to be searched.
fn named(filter: &Filter) -> Result<Vec<String>, Fault> {
    let is_value = |path: &name::AttrPath| path.sub.is_none() && name::same(&path.attr, "value");
    let ids = filter.disjunction().and_then(|terms| {
        terms
            .into_iter()
            .map(|(path, value)| is_value(path).then(|| value.as_str().map(str::to_owned))?)
            .collect::<Option<Vec<String>>>()
    });
    let ids = ids.or_else(|| {
        // `value eq "id" and type eq "User"`: one id, and what it is anyway.
        let terms = filter.conjunction()?;
        let (ids, others): (Vec<_>, Vec<_>) =
            terms.into_iter().partition(|(path, _)| is_value(path));
        let typed = others
            .iter()
            .all(|(path, _)| name::same(&path.attr, "type"));
        match ids.as_slice() {
            [(_, Value::String(id))] if typed => Some(vec![id.clone()]),
            _ => None,
        }
    });
    ids.ok_or_else(|| {
        Fault::InvalidFilter(
            "Members are selected by their ids only: members[value eq \"id\"], joined by or."
                .into(),
        )
    })
}
