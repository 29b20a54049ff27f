//! The cases: requests as identity providers send them, and what each must come to. Data only; the test beside
//! `dialect.rs` plays them through the real decoding and changing.

mod create;
mod members;
mod patch;
mod query;

/// One way of an identity provider.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is, in a few words.
    pub name: &'static str,
    /// The facts that it shows.
    pub facts: &'static [u16],
    /// What is sent.
    pub given: Given,
    /// What it must come to.
    pub comes: Comes,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    /// The method.
    pub method: &'static str,
    /// Path and query, below `/scim/v2`.
    pub target: &'static str,
    /// The body as it is on the wire; empty where there is none.
    pub body: &'static str,
    /// The attributes of the resource that it meets; empty where there is none.
    pub meets: &'static str,
}

/// What a request comes to.
#[derive(Debug, Clone, Copy)]
pub enum Comes {
    /// All attributes of the resource but `schemas`, which counts only where it is named.
    Whole(&'static str, Delta),
    /// The attributes that differ from those of the resource it met, as a JSON object; null: gone. All others stay.
    Differs(&'static str, Delta),
    /// A list: the filter as it prints, `startIndex`, `count`, and whether a group's members are shown.
    Lists(&'static str, u64, usize, bool),
    /// 400 with this scimType.
    Refused(&'static str),
}

/// What happens to a group's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta {
    /// All go first.
    pub clear: bool,
    /// These come.
    pub add: &'static [&'static str],
    /// These go.
    pub remove: &'static [&'static str],
}

/// No member comes or goes.
const NOBODY: Delta = Delta {
    clear: false,
    add: &[],
    remove: &[],
};

/// All cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [create::CASES, patch::CASES, members::CASES, query::CASES]
        .into_iter()
        .flatten()
}

const fn case(
    name: &'static str,
    facts: &'static [u16],
    method: &'static str,
    target: &'static str,
    body: &'static str,
    meets: &'static str,
    comes: Comes,
) -> Case {
    Case {
        name,
        facts,
        given: Given {
            method,
            target,
            body,
            meets,
        },
        comes,
    }
}

/// The body of a PATCH around its operations.
macro_rules! operations {
    ($operations:expr) => {
        concat!(
            r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":["#,
            $operations,
            "]}"
        )
    };
}
use operations;
