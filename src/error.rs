//! What can go wrong on a request, and what the person who reads it in the identity provider's console is told.
//!
//! One closed enum, one table to HTTP status and scimType (RFC 7644 3.12), no wildcard arm. [`Fault::public`] is for the
//! wire and holds no value out of the store or of another person; [`Fault::internal`] is for the log.

use std::borrow::Cow;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The body is not JSON, or not of the shape that the operation needs.
    InvalidSyntax(String),
    /// A value does not fit its attribute.
    InvalidValue(String),
    /// The filter does not parse, or is not supported here.
    InvalidFilter(String),
    /// A PATCH path does not parse or names nothing that there is.
    InvalidPath(String),
    /// A PATCH path matched nothing to work on.
    NoTarget(String),
    /// The attribute cannot be changed.
    Mutability(String),
    /// More results than the server is willing to walk.
    TooMany(String),
    /// A unique value is taken.
    Uniqueness(String),
    /// It refers to what is not there, or cannot be: a Bulk's reference (RFC 7644 3.7.1).
    Conflict(String),
    /// No, missing or wrong credentials.
    Unauthorized,
    /// Understood and not allowed.
    Forbidden(String),
    /// No such resource or endpoint.
    NotFound(String),
    /// The endpoint is there, the method is not. Those that it takes, for `Allow`; empty where no endpoint is known yet.
    MethodNotAllowed(String),
    /// `If-Match` names another version, or `If-None-Match` this one.
    PreconditionFailed,
    /// A cursor that we did not give, or gave for another query (RFC 9865).
    InvalidCursor(String),
    /// More operations in one Bulk than are taken (RFC 7644 3.7.4).
    TooManyOperations(usize),
    /// The body is over the limit, in bytes.
    TooLarge(u64),
    /// The request line is over the limit, in bytes.
    UriTooLong(usize),
    /// The head is over the limit, in bytes.
    HeaderTooLarge(usize),
    /// The head has more lines than the limit.
    TooManyHeaders(usize),
    /// The body took too long to arrive.
    BodyTimeout,
    /// The body is coded, or not JSON by its Content-Type.
    UnsupportedMediaType(String),
    /// `Expect` asks for something other than `100-continue`.
    ExpectationFailed,
    /// Over the client's rate. Seconds until the next request may come.
    TooManyRequests(u64),
    /// RFC 7644 has it and usher does not.
    NotImplemented(String),
    /// The application refused the write for good and without effect.
    Refused {
        /// The application's name in the configuration.
        application: String,
        /// What it answered.
        status: u16,
        /// Its own words, shortened.
        detail: String,
        /// It said that the account exists.
        uniqueness: bool,
    },
    /// Not now: try again after so many seconds. The text says what is missing.
    Unavailable {
        /// `Retry-After`, in seconds.
        retry_after: u64,
        /// Why, for the person who reads it.
        detail: String,
    },
    /// A commit's outcome is unknown: never a 2xx (DESIGN: "a failed commit is unknown").
    Storage(String),
    /// A bug or a damaged row. The text is for the log only.
    Internal(String),
}

impl Fault {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidSyntax(_)
            | Self::InvalidValue(_)
            | Self::InvalidFilter(_)
            | Self::InvalidPath(_)
            | Self::NoTarget(_)
            | Self::Mutability(_)
            | Self::TooMany(_)
            | Self::InvalidCursor(_) => 400,
            Self::Unauthorized => 401,
            Self::Forbidden(_) => 403,
            Self::NotFound(_) => 404,
            Self::MethodNotAllowed(_) => 405,
            Self::BodyTimeout => 408,
            Self::Uniqueness(_) | Self::Conflict(_) => 409,
            Self::PreconditionFailed => 412,
            Self::TooLarge(_) | Self::TooManyOperations(_) => 413,
            Self::UriTooLong(_) => 414,
            Self::UnsupportedMediaType(_) => 415,
            Self::ExpectationFailed => 417,
            Self::TooManyRequests(_) => 429,
            Self::HeaderTooLarge(_) | Self::TooManyHeaders(_) => 431,
            Self::NotImplemented(_) => 501,
            Self::Refused {
                uniqueness: true, ..
            } => 409,
            Self::Refused { status, .. } => match status {
                409 | 413 | 422 => 400,
                other => *other,
            },
            Self::Unavailable { .. } => 503,
            Self::Storage(_) | Self::Internal(_) => 500,
        }
    }

    /// The scimType (RFC 7644 3.12), where there is one.
    #[must_use]
    pub fn scim_type(&self) -> Option<&'static str> {
        match self {
            Self::InvalidSyntax(_) => Some("invalidSyntax"),
            Self::InvalidValue(_)
            | Self::Refused {
                uniqueness: false, ..
            } => Some("invalidValue"),
            Self::InvalidFilter(_) => Some("invalidFilter"),
            Self::InvalidPath(_) => Some("invalidPath"),
            Self::NoTarget(_) => Some("noTarget"),
            Self::Mutability(_) => Some("mutability"),
            Self::TooMany(_) => Some("tooMany"),
            Self::InvalidCursor(_) => Some("invalidCursor"),
            Self::Uniqueness(_)
            | Self::Refused {
                uniqueness: true, ..
            } => Some("uniqueness"),
            Self::Conflict(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed(_)
            | Self::PreconditionFailed
            | Self::TooLarge(_)
            | Self::TooManyOperations(_)
            | Self::UriTooLong(_)
            | Self::HeaderTooLarge(_)
            | Self::TooManyHeaders(_)
            | Self::BodyTimeout
            | Self::UnsupportedMediaType(_)
            | Self::ExpectationFailed
            | Self::TooManyRequests(_)
            | Self::NotImplemented(_)
            | Self::Unavailable { .. }
            | Self::Storage(_)
            | Self::Internal(_) => None,
        }
    }

    /// `Retry-After` in seconds, where one belongs.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyRequests(seconds)
            | Self::Unavailable {
                retry_after: seconds,
                ..
            } => Some(*seconds),
            Self::Storage(_) => Some(30),
            Self::InvalidSyntax(_)
            | Self::InvalidValue(_)
            | Self::InvalidFilter(_)
            | Self::InvalidPath(_)
            | Self::NoTarget(_)
            | Self::Mutability(_)
            | Self::TooMany(_)
            | Self::InvalidCursor(_)
            | Self::TooManyOperations(_)
            | Self::Uniqueness(_)
            | Self::Conflict(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed(_)
            | Self::PreconditionFailed
            | Self::TooLarge(_)
            | Self::UriTooLong(_)
            | Self::HeaderTooLarge(_)
            | Self::TooManyHeaders(_)
            | Self::BodyTimeout
            | Self::UnsupportedMediaType(_)
            | Self::ExpectationFailed
            | Self::NotImplemented(_)
            | Self::Refused { .. }
            | Self::Internal(_) => None,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn public(&self) -> Cow<'_, str> {
        match self {
            Self::InvalidSyntax(text)
            | Self::InvalidValue(text)
            | Self::InvalidFilter(text)
            | Self::InvalidPath(text)
            | Self::NoTarget(text)
            | Self::Mutability(text)
            | Self::TooMany(text)
            | Self::InvalidCursor(text)
            | Self::Uniqueness(text)
            | Self::Conflict(text)
            | Self::Forbidden(text)
            | Self::NotFound(text)
            | Self::UnsupportedMediaType(text)
            | Self::NotImplemented(text)
            | Self::Unavailable { detail: text, .. } => Cow::Borrowed(text),
            Self::Unauthorized => "The bearer token is missing or not known here. `usher token NAME` makes one.".into(),
            Self::MethodNotAllowed(_) => "This endpoint does not take that method.".into(),
            Self::PreconditionFailed => "The resource's version is not one in If-Match, or is one in If-None-Match: it was changed since. Read it again.".into(),
            Self::TooManyOperations(limit) => format!("A Bulk takes at most {limit} operations.").into(),
            Self::TooLarge(limit) => format!("The body is larger than {limit} bytes.").into(),
            Self::UriTooLong(limit) => format!("The request's target is longer than {limit} bytes.").into(),
            Self::HeaderTooLarge(limit) => format!("The header is larger than {limit} bytes.").into(),
            Self::TooManyHeaders(limit) => format!("The header has more than {limit} lines.").into(),
            Self::BodyTimeout => "The body did not arrive in time.".into(),
            Self::ExpectationFailed => "The only Expect that is met here is 100-continue.".into(),
            Self::TooManyRequests(_) => "Too many requests from this client; see Retry-After.".into(),
            Self::Refused { application, status, detail, .. } => {
                format!("{application} refused this ({status}): {detail}").into()
            }
            Self::Storage(_) => "The gateway could not store this and does not know whether it did; it is restarting. Try again.".into(),
            Self::Internal(_) => "The gateway failed on this request. Its log has the reason under the request id.".into(),
        }
    }

    /// What the log is told.
    #[must_use]
    pub fn internal(&self) -> Cow<'_, str> {
        match self {
            Self::Storage(text) | Self::Internal(text) => Cow::Borrowed(text),
            other => other.public(),
        }
    }

    /// The status as a number in the SCIM error's string form, its scimType and detail, as bytes to send.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            schemas: [&'static str; 1],
            status: String,
            #[serde(rename = "scimType", skip_serializing_if = "Option::is_none")]
            scim_type: Option<&'static str>,
            detail: &'a str,
        }
        let detail = self.public();
        let body = Body {
            schemas: ["urn:ietf:params:scim:api:messages:2.0:Error"],
            status: self.status().to_string(),
            scim_type: self.scim_type(),
            detail: &detail,
        };
        // Strings and a number: cannot fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.internal())
    }
}

impl std::error::Error for Fault {}
