//! The endpoints of the admin API. The one table of what there is to knock at, and from where.

use crate::error::Fault;

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `GET /healthz`: the process lives.
    Healthz,
    /// `GET /readyz`: it answers requests.
    Readyz,
    /// `GET /metrics`
    Metrics,
    /// `GET /report`
    Report,
    /// `GET /statistics`
    Statistics,
    /// `POST /test?application=NAME`: tries the way to an application.
    Test,
    /// `POST /backup`: writes one.
    Backup,
    /// `GET /backup`: how far the one that is being written is.
    BackupProgress,
    /// `POST /confirm`: what was restored is right.
    Confirm,
    /// `GET /confirm`: what was restored and is not confirmed.
    Restored,
    /// `GET /status`
    Status,
    /// `GET /holds`: removals that wait for a person.
    Holds,
    /// `POST /holds/release`
    Release,
    /// `POST /holds/reject`
    Reject,
    /// `POST /import?application=NAME&claim=BOOL`: takes in what is there; answered when that has ended.
    Import,
    /// `GET /import?application=NAME`: how far the one under way is, or what came of the last one.
    ImportProgress,
    /// `POST /reconcile?application=NAME&fix=BOOL`: compares what is there with the links.
    Reconcile,
    /// `GET /reconcile?application=NAME`: how far that is.
    ReconcileProgress,
    /// `GET /links`
    Links,
    /// `POST /links/unlink?application=NAME&person=NAME`
    Unlink,
    /// `POST /links/rematch?application=NAME&person=NAME`
    Rematch,
    /// `POST /retry?application=NAME&person=NAME`
    Retry,
    /// `GET /undo`: what undoing a client's writes would do.
    Undoable,
    /// `POST /undo`: undoes them.
    Undo,
    /// `POST /replay`: what the configuration in the body would have done.
    Replay,
    /// `GET /replay`: how far that is.
    ReplayProgress,
}

/// Where a request to the admin API comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The admin address, on which anybody may knock.
    Address,
    /// The Unix socket, which is its owner's alone.
    Socket,
}

impl Route {
    /// Every one. What is not in here is not found.
    pub const ALL: [Self; 26] = [
        Self::Healthz,
        Self::Readyz,
        Self::Metrics,
        Self::Report,
        Self::Statistics,
        Self::Test,
        Self::Backup,
        Self::BackupProgress,
        Self::Confirm,
        Self::Restored,
        Self::Status,
        Self::Holds,
        Self::Release,
        Self::Reject,
        Self::Import,
        Self::ImportProgress,
        Self::Reconcile,
        Self::ReconcileProgress,
        Self::Links,
        Self::Unlink,
        Self::Rematch,
        Self::Retry,
        Self::Undoable,
        Self::Undo,
        Self::Replay,
        Self::ReplayProgress,
    ];

    /// Its method and path.
    #[must_use]
    pub fn at(self) -> (&'static str, &'static str) {
        match self {
            Self::Healthz => ("GET", "/healthz"),
            Self::Readyz => ("GET", "/readyz"),
            Self::Metrics => ("GET", "/metrics"),
            Self::Report => ("GET", "/report"),
            Self::Statistics => ("GET", "/statistics"),
            Self::Test => ("POST", "/test"),
            Self::Backup => ("POST", "/backup"),
            Self::BackupProgress => ("GET", "/backup"),
            Self::Confirm => ("POST", "/confirm"),
            Self::Restored => ("GET", "/confirm"),
            Self::Status => ("GET", "/status"),
            Self::Holds => ("GET", "/holds"),
            Self::Release => ("POST", "/holds/release"),
            Self::Reject => ("POST", "/holds/reject"),
            Self::Import => ("POST", "/import"),
            Self::ImportProgress => ("GET", "/import"),
            Self::Reconcile => ("POST", "/reconcile"),
            Self::ReconcileProgress => ("GET", "/reconcile"),
            Self::Links => ("GET", "/links"),
            Self::Unlink => ("POST", "/links/unlink"),
            Self::Rematch => ("POST", "/links/rematch"),
            Self::Retry => ("POST", "/retry"),
            Self::Undoable => ("GET", "/undo"),
            Self::Undo => ("POST", "/undo"),
            Self::Replay => ("POST", "/replay"),
            Self::ReplayProgress => ("GET", "/replay"),
        }
    }

    /// Whether it answers everybody on the admin address, and not the Unix socket alone.
    #[must_use]
    pub fn is_public(self) -> bool {
        matches!(self, Self::Healthz | Self::Readyz | Self::Metrics)
    }

    /// The endpoint of a request. HEAD is a GET. Whoever knocks at the address does not hear what else there is.
    ///
    /// # Errors
    /// 404, 405.
    pub fn of(door: Door, method: &str, path: &str) -> Result<Self, Fault> {
        let open = |route: &Self| door == Door::Socket || route.is_public();
        let there = || {
            let named = Self::ALL.into_iter().filter(|route| route.at().1 == path);
            named.filter(open)
        };
        let methods: Vec<&str> = there().map(|route| route.at().0).collect();
        if methods.is_empty() {
            return Err(Fault::NotFound(String::from(match door {
                Door::Address => "There is no such admin endpoint on this address.",
                Door::Socket => "There is no such admin endpoint.",
            })));
        }
        let wanted = if method == "HEAD" { "GET" } else { method };
        there()
            .find(|route| route.at().0 == wanted)
            .ok_or_else(|| Fault::MethodNotAllowed(methods.join(", ")))
    }
}
