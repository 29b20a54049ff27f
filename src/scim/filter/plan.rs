//! How the resources that a filter selects are found: through an index where one answers, else by a walk.
//!
//! A plan is made from the filter alone, without a look at the directory, so that all pages of a list are found the same
//! way. It may find more than the filter selects, never less.

use serde_json::Value;

use super::{Filter, Node, Op, Test};
use crate::clock::Timestamp;
use crate::scim::Kind;
use crate::scim::name::{self, AttrPath};
use crate::scim::schema::{self, Attribute, Type};

/// Where to look, and whether that is all there is to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan<'f> {
    /// Where.
    pub(crate) access: Access<'f>,
    /// What is found there is what the filter selects; else each row is to be checked with [`Filter::matches`].
    pub(crate) exact: bool,
}

/// Where to look for resources of one kind. The order is that of choice: the most selective first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Access<'f> {
    /// Nowhere: nothing can match.
    Nothing,
    /// The outward id.
    Id(&'f str),
    /// A user's userName.
    UserName(&'f str),
    /// The asking client's externalId.
    ExternalId(&'f str),
    /// A user's `emails.value`.
    Email(&'f str),
    /// displayName.
    DisplayName(&'f str),
    /// Groups that this id is directly in.
    HasMember(&'f str),
    /// Users who are in the group of this id, directly or through other groups.
    InGroup(&'f str),
    /// Any of these, none of them [`Access::All`] or [`Access::Active`].
    Any(Vec<Self>),
    /// Users whose userName starts so.
    UserNameStarts(&'f str),
    /// displayName starts so.
    DisplayNameStarts(&'f str),
    /// `meta.lastModified`, both ends included.
    Modified(Timestamp, Timestamp),
    /// Users whose `active` is this.
    Active(bool),
    /// Everywhere.
    All,
}

impl Access<'_> {
    fn rank(&self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Id(_) => 1,
            Self::UserName(_) => 2,
            Self::ExternalId(_) => 3,
            Self::Email(_) => 4,
            Self::DisplayName(_) => 5,
            Self::HasMember(_) => 6,
            Self::InGroup(_) => 7,
            Self::Any(several) => several.iter().map(Self::rank).max().unwrap_or(0),
            Self::UserNameStarts(_) => 8,
            Self::DisplayNameStarts(_) => 9,
            Self::Modified(..) => 10,
            Self::Active(false) => 11,
            Self::Active(true) => 12,
            Self::All => 13,
        }
    }
}

impl<'f> Plan<'f> {
    /// Whether it may lead to more than the few that share a key.
    pub(crate) fn is_long(&self) -> bool {
        self.access.rank() >= Access::InGroup("").rank()
    }

    /// The plan for a list without a filter.
    pub(crate) const EVERYTHING: Self = Self {
        access: Access::All,
        exact: true,
    };
    const NOTHING: Self = Self {
        access: Access::Nothing,
        exact: true,
    };
    const WALK: Self = Self {
        access: Access::All,
        exact: false,
    };

    fn exact(access: Access<'f>) -> Self {
        Self {
            access,
            exact: true,
        }
    }

    fn all_if(holds: bool) -> Self {
        if holds {
            Self::EVERYTHING
        } else {
            Self::NOTHING
        }
    }
}

impl Filter {
    /// How what it selects among the resources of a kind is found.
    pub(crate) fn plan(&self, kind: Kind) -> Plan<'_> {
        plan(&self.root, kind)
    }

    /// An attribute that has no order and is compared by order: 400 `invalidFilter` (RFC 7644 3.4.2.2). Its name as the
    /// filter has it.
    pub(crate) fn without_order(&self, kind: Kind) -> Option<String> {
        let mut found = None;
        self.root.visit(None, &mut |within, path, test| {
            let ordered = matches!(test, Test::Compare(Op::Gt | Op::Ge | Op::Lt | Op::Le, _));
            let attribute = match within {
                None => schema::find(kind, path),
                Some(outer) => schema::find(kind, outer).and_then(|outer| outer.sub(&path.attr)),
            };
            // Of a complex attribute its `value` is compared.
            let value = attribute.map(|attribute| attribute.sub("value").unwrap_or(attribute));
            let orderless =
                |attribute: &Attribute| matches!(attribute.kind, Type::Boolean | Type::Binary);
            if ordered && value.is_some_and(orderless) {
                found.get_or_insert_with(|| match within {
                    None => path.to_string(),
                    Some(outer) => format!("{outer}.{path}"),
                });
            }
        });
        found
    }

    /// The attributes that it looks at, for their names and URNs: sub-attributes may or may not be there.
    pub(crate) fn heads(&self) -> Vec<&AttrPath> {
        let mut heads = Vec::new();
        self.root.visit(None, &mut |within, path, _| {
            heads.push(within.unwrap_or(path))
        });
        heads
    }

    /// The ids of the members on which it depends whether it holds for a group; `None` if it depends on others too.
    pub(crate) fn member_ids(&self) -> Option<Vec<&str>> {
        let mut ids = Vec::new();
        depends_on(&self.root, &mut ids).then_some(ids)
    }
}

impl Node {
    /// Calls `look` with each comparison: the attribute whose brackets it stands in, the path, the test.
    fn visit<'f>(
        &'f self,
        within: Option<&'f AttrPath>,
        look: &mut dyn FnMut(Option<&'f AttrPath>, &'f AttrPath, &'f Test),
    ) {
        match self {
            Self::And(nodes) | Self::Or(nodes) => {
                for node in nodes {
                    node.visit(within, look);
                }
            }
            Self::Not(inner) => inner.visit(within, look),
            Self::Term(path, test) => look(within, path, test),
            Self::Element { attr, inner, rest } => {
                inner.visit(Some(attr), look);
                if let Some((path, test)) = rest {
                    look(None, path, test);
                }
            }
        }
    }

    /// The text that one value's `value` must equal for these brackets to hold, and whether that is all they ask.
    fn wanted_value(&self) -> Option<(&str, bool)> {
        let terms = match self {
            Self::And(terms) => terms.as_slice(),
            one => std::slice::from_ref(one),
        };
        let wanted = terms.iter().find_map(|term| match term {
            Self::Term(path, Test::Compare(Op::Eq, Value::String(text)))
                if path.sub.is_none() && name::same(&path.attr, "value") =>
            {
                Some(text.as_str())
            }
            _ => None,
        });
        Some((wanted?, terms.len() == 1))
    }
}

/// The core attribute and sub-attribute that a path names, as the schema spells them.
pub(crate) fn known(kind: Kind, path: &AttrPath) -> Option<(&'static str, Option<&'static str>)> {
    let urn = path.urn.as_deref();
    if !urn.is_none_or(|urn| name::same(urn, kind.schema())) {
        return None;
    }
    let attribute = schema::core(kind, &path.attr)?;
    let sub = match &path.sub {
        None => None,
        Some(sub) => Some(attribute.sub(sub)?.name),
    };
    Some((attribute.name, sub))
}

fn plan(node: &Node, kind: Kind) -> Plan<'_> {
    match node {
        Node::And(nodes) => all_of(nodes.iter().map(|node| plan(node, kind))),
        Node::Or(nodes) => any_of(nodes.iter().map(|node| plan(node, kind))),
        Node::Not(inner) => match plan(inner, kind) {
            Plan {
                access: Access::All,
                exact: true,
            } => Plan::NOTHING,
            Plan {
                access: Access::Nothing,
                ..
            } => Plan::EVERYTHING,
            _ => Plan::WALK,
        },
        Node::Term(path, Test::Present) => match (kind, known(kind, path)) {
            // What every resource has.
            (_, Some(("id", None)))
            | (Kind::User, Some(("userName", None)))
            | (Kind::Group, Some(("displayName", None))) => Plan::EVERYTHING,
            _ => Plan::WALK,
        },
        Node::Term(path, Test::Compare(op, wanted)) => {
            known(kind, path).map_or(Plan::WALK, |named| compared(kind, named, *op, wanted))
        }
        Node::Element { attr, inner, rest } => {
            let rest = rest.as_ref().and_then(|(path, test)| match test {
                Test::Compare(Op::Eq, Value::String(text))
                    if path
                        .sub
                        .as_deref()
                        .is_some_and(|sub| name::same(sub, "value")) =>
                {
                    Some((text.as_str(), false))
                }
                _ => None,
            });
            let alone = !matches!(node, Node::Element { rest: Some(_), .. });
            let wanted = rest.or_else(|| {
                let (text, whole) = inner.wanted_value()?;
                Some((text, whole && alone))
            });
            let (Some((text, exact)), Some((name, None))) = (wanted, known(kind, attr)) else {
                return Plan::WALK;
            };
            let access = match (kind, name) {
                (Kind::User, "emails") => Access::Email(text),
                (Kind::User, "groups") => Access::InGroup(text),
                (Kind::Group, "members") => Access::HasMember(text),
                _ => return Plan::WALK,
            };
            Plan { access, exact }
        }
    }
}

/// One comparison with a core attribute.
fn compared<'f>(
    kind: Kind,
    named: (&'static str, Option<&'static str>),
    op: Op,
    wanted: &'f Value,
) -> Plan<'f> {
    let text = wanted.as_str();
    match (kind, named, op) {
        (_, ("meta", Some("resourceType")), Op::Eq) => Plan::all_if(text == Some(kind.name())),
        (_, ("meta", Some("resourceType")), Op::Ne) => Plan::all_if(text != Some(kind.name())),
        (_, ("meta", Some("lastModified")), Op::Eq | Op::Gt | Op::Ge | Op::Lt | Op::Le) => {
            match text.and_then(|text| modified(op, text)) {
                Some((from, to)) => Plan::exact(Access::Modified(from, to)),
                // Nothing compares with what is no point in time, or is never there.
                None if wanted.is_null() => Plan::WALK,
                None => Plan::NOTHING,
            }
        }
        (Kind::User, ("active", None), Op::Eq) => match wanted {
            Value::Bool(active) => Plan::exact(Access::Active(*active)),
            // Entra writes "True".
            Value::String(text) if text.eq_ignore_ascii_case("true") => {
                Plan::exact(Access::Active(true))
            }
            Value::String(text) if text.eq_ignore_ascii_case("false") => {
                Plan::exact(Access::Active(false))
            }
            Value::Null => Plan::WALK,
            _ => Plan::NOTHING,
        },
        (_, _, Op::Eq) => {
            let access: fn(&'f str) -> Access<'f> = match (kind, named) {
                (_, ("id", None)) => Access::Id,
                (_, ("externalId", None)) => Access::ExternalId,
                (_, ("displayName", None)) => Access::DisplayName,
                (Kind::User, ("userName", None)) => Access::UserName,
                (Kind::User, ("emails", None | Some("value"))) => Access::Email,
                (Kind::User, ("groups", None | Some("value"))) => Access::InGroup,
                (Kind::Group, ("members", None | Some("value"))) => Access::HasMember,
                _ => return Plan::WALK,
            };
            match wanted {
                Value::String(text) => Plan::exact(access(text)),
                // `eq null` asks for absence.
                Value::Null => Plan::WALK,
                // These hold strings; no string equals a number or a boolean.
                _ => Plan::NOTHING,
            }
        }
        (_, _, Op::Sw) => match (kind, named, text) {
            // Every text starts so, and who has none does not: the index cannot tell them apart.
            (_, _, Some("")) => Plan::WALK,
            (Kind::User, ("userName", None), Some(text)) => {
                Plan::exact(Access::UserNameStarts(text))
            }
            (_, ("displayName", None), Some(text)) => Plan::exact(Access::DisplayNameStarts(text)),
            _ => Plan::WALK,
        },
        _ => Plan::WALK,
    }
}

/// The milliseconds for which the comparison holds. `None`: for none.
fn modified(op: Op, text: &str) -> Option<(Timestamp, Timestamp)> {
    const NANOS: i128 = 1_000_000;
    let at: jiff::Timestamp = text.parse().ok()?;
    // What is finer than a millisecond lies between two of ours.
    let floor = at.as_nanosecond().div_euclid(NANOS);
    let whole = at.as_nanosecond().rem_euclid(NANOS) == 0;
    let ceiling = if whole { floor } else { floor + 1 };
    let (from, to) = match op {
        Op::Eq if whole => (floor, floor),
        Op::Gt => (floor + 1, i128::MAX),
        Op::Ge => (ceiling, i128::MAX),
        Op::Lt => (0, ceiling - 1),
        Op::Le => (0, floor),
        _ => return None,
    };
    let to = u64::try_from(to.min(u64::MAX.into())).ok()?;
    let from = u64::try_from(from.max(0)).ok()?;
    (from <= to).then_some((Timestamp(from), Timestamp(to)))
}

/// `and`: the most selective is looked up, the others are checked on what it finds. Two moments make one stretch.
fn all_of<'f>(plans: impl Iterator<Item = Plan<'f>>) -> Plan<'f> {
    let mut stretch = None;
    let mut others = Vec::new();
    for plan in plans {
        match plan {
            Plan {
                access: Access::Nothing,
                ..
            } => return Plan::NOTHING,
            Plan {
                access: Access::All,
                exact: true,
            } => {}
            Plan {
                access: Access::Modified(from, to),
                exact: true,
            } => {
                let (first, last) = stretch.unwrap_or((Timestamp(0), Timestamp::NEVER));
                stretch = Some((from.max(first), to.min(last)));
            }
            other => others.push(other),
        }
    }
    match stretch {
        Some((from, to)) if from > to => return Plan::NOTHING,
        Some((from, to)) => others.push(Plan::exact(Access::Modified(from, to))),
        None => {}
    }
    let alone = others.len() == 1;
    let best = others.into_iter().min_by_key(|plan| plan.access.rank());
    best.map_or(Plan::EVERYTHING, |best| Plan {
        exact: best.exact && alone,
        ..best
    })
}

/// `or`: all of them, if each has an index.
fn any_of<'f>(plans: impl Iterator<Item = Plan<'f>>) -> Plan<'f> {
    let mut several = Vec::new();
    let mut exact = true;
    let mut walk = false;
    for plan in plans {
        exact &= plan.exact;
        match plan.access {
            Access::Nothing => {}
            Access::All if plan.exact => return Plan::EVERYTHING,
            Access::All | Access::Active(_) => walk = true,
            Access::Any(more) => several.extend(more),
            one => several.push(one),
        }
    }
    if walk {
        return Plan::WALK;
    }
    match several.len() {
        0 => Plan::NOTHING,
        1 => several
            .pop()
            .map_or(Plan::NOTHING, |access| Plan { access, exact }),
        _ => Plan {
            access: Access::Any(several),
            exact,
        },
    }
}

/// Whether it is known of which members the node speaks. Which they are is added to `ids`.
fn depends_on<'f>(node: &'f Node, ids: &mut Vec<&'f str>) -> bool {
    let members = |path: &AttrPath| name::same(&path.attr, "members");
    let value = |sub: &Option<String>| sub.as_deref().is_none_or(|sub| name::same(sub, "value"));
    match node {
        Node::And(nodes) | Node::Or(nodes) => nodes.iter().all(|node| depends_on(node, ids)),
        Node::Not(inner) => depends_on(inner, ids),
        Node::Term(path, _) if !members(path) => true,
        Node::Term(path, Test::Compare(Op::Eq, Value::String(id))) if value(&path.sub) => {
            ids.push(id);
            true
        }
        Node::Term(..) => false,
        Node::Element { attr, .. } if !members(attr) => true,
        Node::Element {
            rest: Some((path, Test::Compare(Op::Eq, Value::String(id)))),
            ..
        } if value(&path.sub) => {
            ids.push(id);
            true
        }
        // One value has to satisfy all of it, so that none but this one counts.
        Node::Element { inner, .. } => inner.wanted_value().is_some_and(|(id, _)| {
            ids.push(id);
            true
        }),
    }
}

#[cfg(test)]
mod tests;
