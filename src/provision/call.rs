//! One call to an application and what became of it: the words between an exchange, which only thinks, and the
//! upstream client, which only carries.

use std::time::Duration;

/// The HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the HTTP method of that name")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// The method as it stands in a request line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// The application's rate class of a call (Zoom: <https://developers.zoom.us/docs/api/rate-limits/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Reads and writes of one resource.
    Light,
    /// Lists and look-ups.
    Medium,
}

/// A call that an exchange wants made. Built afresh from the plan; nothing that a client sent is ever forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path below the application's base URL, percent-encoded: `/Users/k%26Kd...`.
    pub path: String,
    /// The query without the question mark, percent-encoded.
    pub query: Option<String>,
    /// The body, JSON.
    pub body: Option<Vec<u8>>,
    /// The rate class.
    pub class: Class,
}

impl Call {
    /// Whether it changes anything in the application.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.method != Method::Get
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An answer came, whole.
    Reply {
        /// The status.
        status: u16,
        /// The body as it came, at most the cap.
        body: Vec<u8>,
        /// `Retry-After`, in whichever of its forms (seconds, HTTP date, ISO 8601), from the moment of the answer.
        retry_after: Option<Duration>,
        /// What its rate-limit headers say.
        limits: Limits,
    },
    /// Surely not sent: no connection was had.
    NotSent(String),
    /// It may have been sent, and no whole answer came.
    Lost(String),
}

/// What an answer's rate-limit headers say. Zoom's names, which others share (`X-RateLimit-Type`, `X-RateLimit-Limit`,
/// `X-RateLimit-Reset`); all may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Which limit is meant.
    pub span: Option<Span>,
    /// Calls that the limit allows in its span.
    pub granted: Option<u32>,
    /// How long until the limit starts anew, from the moment of the answer.
    pub reset: Option<Duration>,
}

/// What a limit counts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// `QPS`: a second.
    Second,
    /// `Daily-limit`: a day.
    Day,
}

#[cfg(test)]
impl Answer {
    /// An answer without headers.
    pub(crate) fn reply(status: u16, body: &str, retry_after: Option<u64>) -> Self {
        Self::Reply {
            status,
            body: body.into(),
            retry_after: retry_after.map(Duration::from_secs),
            limits: Limits::default(),
        }
    }
}
