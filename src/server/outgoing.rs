//! The body of an answer: whole, or made piece by piece while the client takes it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::error::Fault;

/// The pieces of a long answer. The next one is asked for when the client has taken what went before.
pub type Pieces = Box<dyn Iterator<Item = Result<Bytes, Fault>> + Send>;

/// An answer's body.
pub struct Outgoing(Rest);

/// What has not been handed over yet.
enum Rest {
    /// Empty when it is over.
    Whole(Bytes),
    Pieces {
        pieces: Pieces,
        request: String,
    },
}

impl Outgoing {
    /// One that stands in memory; its length is announced.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Rest::Whole(bytes.into()))
    }

    /// One that does not. A piece that fails ends the connection, because the status is out already.
    #[must_use]
    pub fn pieces(pieces: Pieces) -> Self {
        Self(Rest::Pieces {
            pieces,
            request: String::new(),
        })
    }

    /// Names the request, for the log.
    #[must_use]
    pub fn of_request(mut self, id: &str) -> Self {
        if let Rest::Pieces { request, .. } = &mut self.0 {
            id.clone_into(request);
        }
        self
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Rest::Whole(_) => "Outgoing(whole)",
            Rest::Pieces { .. } => "Outgoing(pieces)",
        })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let next = match &mut self.0 {
            Rest::Whole(bytes) if bytes.is_empty() => None,
            Rest::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Rest::Pieces { pieces, request } => match pieces.next() {
                Some(Err(fault)) => {
                    tracing::error!(request, error = %fault, "an answer broke off");
                    Some(Err(fault))
                }
                next => next,
            },
        };
        if !matches!(next, Some(Ok(_))) {
            self.0 = Rest::Whole(Bytes::new());
        }
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Rest::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Rest::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Rest::Pieces { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn bodies_end_where_their_pieces_do() {
        let whole = Outgoing::whole("abc");
        assert_eq!(whole.size_hint().exact(), Some(3));
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "abc");
        assert!(Outgoing::whole("").is_end_stream());

        let pieces = ["ab", "c"].map(|piece| Ok(Bytes::from(piece)));
        let pieces = Outgoing::pieces(Box::new(pieces.into_iter()));
        assert_eq!(pieces.size_hint().exact(), None);
        assert_eq!(pieces.collect().await.unwrap().to_bytes(), "abc");

        let fault = Fault::Internal(String::from("a damaged row"));
        let pieces = [
            Ok(Bytes::from("ab")),
            Err(fault.clone()),
            Ok(Bytes::from("c")),
        ];
        let mut broken = Outgoing::pieces(Box::new(pieces.into_iter()));
        assert!(broken.frame().await.unwrap().is_ok());
        assert_eq!(broken.frame().await.unwrap().unwrap_err(), fault);
        assert!(broken.frame().await.is_none() && broken.is_end_stream());
    }
}
