//! What every route answers to whom: the table that the matrix is compared with. Both matches are exhaustive, so that a
//! route without a row does not compile.

use usher::console::route::Route as AdminRoute;
use usher::scim::route::Route;

/// What is shown is worth this much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Nobody whom the gateway knows.
    Nobody,
    /// Somebody whom it knows, over the rate.
    Over,
    /// The handshake fails: there is no answer.
    ShutOut,
    /// The client that the resource belongs to.
    Owner,
    /// Another client.
    Other,
    /// Another client, that may change what others created.
    Taker,
    /// A client that may only read.
    Reader,
}

/// Statuses by method: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT.
type Statuses = [u16; 7];

/// What a client is answered.
pub(super) struct Row {
    owner: Statuses,
    other: Statuses,
    reader: Statuses,
}

/// SCIM.
#[rustfmt::skip]
pub(super) fn row(route: &Route) -> Row {
    match route {
        Route::Root                  => all([405, 200, 200, 204, 405, 405, 405]),
        Route::Collection(_) => Row {
            owner:                          [405, 200, 200, 204, 405, 201, 405],
            other:                          [405, 200, 200, 204, 405, 201, 405],
            reader:                         [405, 200, 200, 204, 405, 403, 405],
        },
        Route::Resource(..) => Row {
            owner:                          [204, 200, 200, 204, 200, 405, 200],
            other:                          [403, 200, 200, 204, 403, 405, 403],
            reader:                         [403, 200, 200, 204, 403, 405, 403],
        },
        Route::Search(_)             => all([405, 405, 405, 204, 405, 200, 405]),
        Route::Bulk => Row {
            owner:                          [405, 405, 405, 204, 405, 200, 405],
            other:                          [405, 405, 405, 204, 405, 200, 405],
            reader:                         [405, 405, 405, 204, 405, 403, 405],
        },
        Route::Me                    => all([501, 501, 501, 501, 501, 501, 501]),
        Route::ServiceProviderConfig => all([405, 200, 200, 204, 405, 405, 405]),
        Route::ResourceTypes         => all([405, 200, 200, 204, 405, 405, 405]),
        Route::ResourceType(_)       => all([405, 200, 200, 204, 405, 405, 405]),
        Route::Schemas               => all([405, 200, 200, 204, 405, 405, 405]),
        Route::Schema(_)             => all([405, 200, 200, 204, 405, 405, 405]),
    }
}

/// Every client the same.
fn all(statuses: Statuses) -> Row {
    Row {
        owner: statuses,
        other: statuses,
        reader: statuses,
    }
}

impl Row {
    /// What this one is answered; `None`: nothing. `at` is the method's place among those that there are, if it is one.
    pub(super) fn expects(&self, who: Who, at: Option<usize>) -> Option<u16> {
        let Some(at) = at else {
            // Looked at before anybody is asked who they are.
            return (who != Who::ShutOut).then_some(405);
        };
        match who {
            Who::ShutOut => None,
            Who::Nobody => Some(401),
            Who::Over => Some(429),
            Who::Owner | Who::Taker => Some(self.owner[at]),
            Who::Other => Some(self.other[at]),
            Who::Reader => Some(self.reader[at]),
        }
    }
}

/// The admin API, asked by its own method and without a query: on the admin address, and on the socket.
#[rustfmt::skip]
pub(super) fn admin(route: AdminRoute) -> (u16, u16) {
    match route {
        AdminRoute::Healthz        => (200, 200),
        AdminRoute::Readyz         => (200, 200),
        AdminRoute::Metrics        => (200, 200),
        AdminRoute::Report         => (404, 200),
        AdminRoute::Statistics     => (404, 200),
        AdminRoute::Test           => (404, 400),
        AdminRoute::Holds          => (404, 200),
        AdminRoute::Release        => (404, 400),
        AdminRoute::Reject         => (404, 400),
        AdminRoute::Backup         => (404, 400),
        AdminRoute::BackupProgress => (404, 200),
        AdminRoute::Confirm        => (404, 200),
        AdminRoute::Restored       => (404, 200),
        AdminRoute::Status         => (404, 200),
        AdminRoute::Import         => (404, 400),
        AdminRoute::ImportProgress => (404, 400),
        AdminRoute::Reconcile      => (404, 400),
        AdminRoute::ReconcileProgress => (404, 400),
        AdminRoute::Links          => (404, 200),
        AdminRoute::Unlink         => (404, 400),
        AdminRoute::Rematch        => (404, 400),
        AdminRoute::Retry          => (404, 200),
        AdminRoute::Undoable       => (404, 400),
        AdminRoute::Undo           => (404, 400),
        AdminRoute::Replay         => (404, 400),
        AdminRoute::ReplayProgress => (404, 200),
    }
}
