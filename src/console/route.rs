//! The endpoints of the admin API. The one table of what there is to knock at, and from where.

use crate::error::Fault;

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `GET /healthz`: the process lives.
    Healthz,
    /// `GET /readyz`: it answers requests.
    Readyz,
    /// `GET /report`
    Report,
    /// `GET /statistics`
    Statistics,
    /// `GET /status`
    Status,
}

impl Route {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Healthz,
        Self::Readyz,
        Self::Report,
        Self::Statistics,
        Self::Status,
    ];

    /// Its method and path.
    #[must_use]
    pub fn at(self) -> (&'static str, &'static str) {
        match self {
            Self::Healthz => ("GET", "/healthz"),
            Self::Readyz => ("GET", "/readyz"),
            Self::Report => ("GET", "/report"),
            Self::Statistics => ("GET", "/statistics"),
            Self::Status => ("GET", "/status"),
        }
    }

    /// Whether it answers everybody on the admin address, and not the Unix socket alone.
    #[must_use]
    pub fn is_public(self) -> bool {
        matches!(self, Self::Healthz | Self::Readyz)
    }

    /// The endpoint of a request. HEAD is a GET.
    ///
    /// # Errors
    /// 404, 405.
    pub fn of(method: &str, path: &str) -> Result<Self, Fault> {
        let mut there = Self::ALL
            .into_iter()
            .filter(|route| route.at().1 == path)
            .peekable();
        let Some(first) = there.peek().copied() else {
            return Err(Fault::NotFound(String::from(
                "There is no such admin endpoint.",
            )));
        };
        let wanted = if method == "HEAD" { "GET" } else { method };
        there
            .find(|route| route.at().0 == wanted)
            .ok_or_else(|| Fault::MethodNotAllowed(first.at().0.to_owned()))
    }
}
