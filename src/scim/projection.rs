//! Which attributes a reply shows: `attributes` and `excludedAttributes` (RFC 7644 3.9) over each attribute's `returned`
//! (RFC 7643 7).

use super::Kind;
use super::name::{self, AttrPath};
use crate::error::Fault;

/// What a client asked to see. The default is every attribute whose `returned` is `always` or `default`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Projection {
    /// `attributes`: only these, and those that are always returned. Empty: not asked.
    only: Vec<AttrPath>,
    /// `excludedAttributes`: none of these, but those that are always returned.
    without: Vec<AttrPath>,
}

impl Projection {
    /// Reads the two parameters: names with or without their URN.
    ///
    /// # Errors
    /// 400 `invalidValue` for what is no attribute's name.
    pub fn read<'a>(
        only: impl IntoIterator<Item = &'a str>,
        without: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            only: paths(only)?,
            without: paths(without)?,
        })
    }

    /// Whether nothing was asked: the stored JSON goes out as it is.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.only.is_empty() && self.without.is_empty()
    }

    /// Whether anything of this core attribute (`members`, `groups`, `meta`) is shown.
    #[must_use]
    pub fn shows(&self, kind: Kind, attribute: &str) -> bool {
        let core = |path: &&AttrPath| {
            let urn = path.urn.as_deref();
            urn.is_none_or(|urn| name::same(urn, kind.schema()))
                && (path.attr.is_empty() || name::same(&path.attr, attribute))
        };
        let left_out = self
            .without
            .iter()
            .filter(core)
            .any(|path| path.sub.is_none());
        !left_out && (self.only.is_empty() || self.only.iter().any(|path| core(&path)))
    }
}

fn paths<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<AttrPath>, Fault> {
    names
        .into_iter()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| {
            AttrPath::parse(name).map_err(|why| Fault::InvalidValue(format!("attributes: {why}.")))
        })
        .collect()
}
