//! Replies with resources: what was read becomes what is sent, piece by piece where a group is large.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::error::Fault;
use crate::read::{self, Found};
use crate::scim::Handle;
use crate::scim::response::{self, Gap, Text};
use crate::server::outgoing::Outgoing;
use crate::server::service::Reply;
use crate::store::View;

/// How many members are read and sent at a time: some 60 KiB, as much as hyper buffers.
const MEMBERS: usize = 400;

/// A reply that shows one resource, or says that the client has this version already (304, RFC 9110 15.4.5).
pub(crate) fn one(status: u16, found: Found, view: View, base: &str) -> Reply {
    let reply = match found.text {
        Some(text) => Reply::new(status, body(text, view, base)),
        None => Reply::empty(304),
    };
    Reply {
        etag: Some(found.etag),
        location: Some(found.location),
        ..reply
    }
}

/// A text as a body. The snapshot that it was made from is kept only if there are gaps to fill from it.
#[must_use]
pub fn body(text: Text, view: View, base: &str) -> Outgoing {
    if text.gaps.is_empty() {
        return Outgoing::whole(text.bytes);
    }
    Outgoing::pieces(Box::new(Pieces {
        view,
        base: base.to_owned(),
        rest: Bytes::from(text.bytes),
        sent: 0,
        gaps: VecDeque::from(text.gaps),
        filling: None,
    }))
}

/// A text on its way, its gaps being filled from the snapshot that it was made from: what is sent is what its ETag says.
struct Pieces {
    view: View,
    base: String,
    /// What has not been sent of what is not in the gaps.
    rest: Bytes,
    /// How much has.
    sent: usize,
    gaps: VecDeque<Gap>,
    filling: Option<Filling>,
}

/// A gap that the text has been sent up to.
#[derive(Clone, Copy)]
struct Filling {
    gap: Gap,
    /// The last member that was sent.
    after: Option<Handle>,
}

impl Pieces {
    /// The next members of the gap that is being filled; `None` when it is.
    fn members(&mut self, filling: Filling) -> Result<Option<Bytes>, Fault> {
        let Filling { gap, after } = filling;
        let (members, last) = read::members(&self.view, gap.group, after, MEMBERS, gap.fields)?;
        if last.is_none() {
            return Ok(None);
        }
        self.filling = (members.len() == MEMBERS).then_some(Filling { gap, after: last });
        let mut piece = Vec::with_capacity(members.len() * 160);
        response::members(
            &mut piece,
            &self.base,
            &members,
            gap.fields,
            after.is_none(),
        );
        Ok(Some(piece.into()))
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(filling) = self.filling.take() {
                match self.members(filling) {
                    Ok(None) => continue,
                    Ok(Some(piece)) => return Some(Ok(piece)),
                    Err(fault) => return Some(Err(fault)),
                }
            }
            let Some(gap) = self.gaps.pop_front() else {
                let rest = std::mem::take(&mut self.rest);
                return (!rest.is_empty()).then_some(Ok(rest));
            };
            self.filling = Some(Filling { gap, after: None });
            let before = gap.at.saturating_sub(self.sent).min(self.rest.len());
            self.sent += before;
            let piece = self.rest.split_to(before);
            if !piece.is_empty() {
                return Some(Ok(piece));
            }
        }
    }
}
