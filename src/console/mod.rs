//! The admin API: health and metrics for everybody on the admin address, reports for the command line on the Unix socket. It decides
//! nothing; the file's mode (0600) is what guards the socket.

mod backup;
mod health;
mod holds;
mod import;
pub mod links;
pub mod metrics;
mod query;
pub mod replay;
pub mod route;
pub mod status;
mod test;
mod under_way;
mod undo;

use std::path::Path;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::clock::{Clock, Timestamp};
use crate::error::Fault;
use crate::gateway::Gateway;
use crate::journal::report::Query;
use crate::server::outgoing::Outgoing;
use crate::server::service::Reply;
use crate::server::tls::Acceptor;
use crate::settle::{Engine, Relink};
use crate::store::Statistics;

use route::{Door, Route};

const JSON: &str = "application/json";

/// Binds the socket for its owner alone, over a stale one that nobody answers on.
///
/// # Errors
/// The folder is not there, another gateway answers on it, or there is something else than a socket.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if path.exists() {
        // A path that was mistaken may be the data file's.
        if !std::fs::metadata(path)?.file_type().is_socket() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "something that is no socket is there",
            ));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::AddrInUse,
                "another usher answers there",
            ));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers administrators and monitors.
pub struct Console {
    gateway: Arc<Gateway>,
    clock: Clock,
    backup: under_way::UnderWay,
    replay: under_way::UnderWay,
    started: Timestamp,
    /// What shows the certificate, with `[server.tls]`.
    tls: Option<Arc<Acceptor>>,
    /// Metrics read queues out of the store: one at a time.
    measuring: Arc<Mutex<()>>,
}

impl Console {
    /// A console for a gateway.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, tls: Option<Arc<Acceptor>>, clock: Clock) -> Self {
        let started = clock.now();
        Self {
            gateway,
            clock,
            backup: under_way::UnderWay::default(),
            replay: under_way::UnderWay::default(),
            started,
            tls,
            measuring: Arc::default(),
        }
    }

    /// What anybody on the admin address may ask.
    pub async fn public(&self, request: Request<Incoming>) -> Response<Outgoing> {
        self.answer(Door::Address, request).await
    }

    /// Serves the command line on the Unix socket until `stop`.
    pub async fn socket(self: Arc<Self>, listener: UnixListener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        while !*stop.borrow() {
            let accepted = tokio::select! {
                _ = stop.changed() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors: taking a breath beats spinning.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let console = Arc::clone(&self);
            connections.spawn(async move {
                let answer = service_fn(|request| {
                    let console = Arc::clone(&console);
                    async move {
                        let answer = console.answer(Door::Socket, request).await;
                        Ok::<_, std::convert::Infallible>(answer)
                    }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new());
                let served = http.serve_connection(TokioIo::new(stream), answer).await;
                if let Err(why) = served {
                    tracing::debug!(error = %why, "an admin connection ended early");
                }
            });
        }
    }

    async fn answer(&self, door: Door, request: Request<Incoming>) -> Response<Outgoing> {
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default();
        let route = Route::of(door, head.method.as_str(), head.uri.path());
        let reply = match route {
            Ok(Route::Healthz) => return self.healthz(),
            Ok(Route::Readyz) => return self.readyz(),
            Ok(Route::Metrics) => return self.metrics().await,
            Ok(Route::Report) => self.report(query.to_owned()).await,
            Ok(Route::Statistics) => self.statistics(),
            Ok(Route::Test) => self.test(query).await,
            Ok(Route::Backup) => return self.write_backup(query.to_owned()).await,
            Ok(Route::BackupProgress) => Ok(self.backup_progress()),
            Ok(Route::Confirm) => self.confirm().await,
            Ok(Route::Restored) => self.restored(),
            Ok(Route::Status) => self.status().await,
            Ok(Route::Holds) => self.holds(query).await,
            Ok(Route::Release) => self.release(query).await,
            Ok(Route::Reject) => self.reject(query).await,
            Ok(Route::Import) => self.import(query).await,
            Ok(Route::ImportProgress) => self.import_progress(query),
            Ok(Route::Reconcile) => return self.reconcile(query).await,
            Ok(Route::ReconcileProgress) => self.reconcile_progress(query),
            Ok(Route::Links) => self.links(query).await,
            Ok(Route::Unlink) => self.relink(query, Relink::Forget).await,
            Ok(Route::Rematch) => self.relink(query, Relink::Rematch).await,
            Ok(Route::Retry) => self.retry(query).await,
            Ok(Route::Undoable) => self.undo(query, false).await,
            Ok(Route::Undo) => self.undo(query, true).await,
            Ok(Route::Replay) => self.replay(query, body).await,
            Ok(Route::ReplayProgress) => Ok(self.replay_progress()),
            Err(refused) => Err(refused),
        };
        reply.map_or_else(|refused| fault(&refused), |body| json(200, body))
    }

    fn engine(&self) -> Result<Arc<Engine>, Fault> {
        let starting = || Fault::Unavailable {
            retry_after: 5,
            detail: String::from("The gateway is starting: its data file is being checked."),
        };
        self.gateway.engine().ok_or_else(starting)
    }

    /// What the writer has done since the start.
    fn statistics(&self) -> Result<Vec<u8>, Fault> {
        let Statistics {
            commits,
            rows,
            notes,
            notes_dropped,
            ..
        } = self.engine()?.store.statistics();
        Ok(json!({"commits": commits, "rows": rows, "notes": notes, "notes_dropped": notes_dropped})
            .to_string()
            .into_bytes())
    }

    /// How the gateway and its applications are.
    async fn status(&self) -> Result<Vec<u8>, Fault> {
        let (phase, engine) = (*self.gateway.phase.borrow(), self.gateway.engine());
        let (started, now) = (self.started, self.clock.now());
        let work = move || status::status(phase, started, now, engine.as_ref());
        let status = tokio::task::spawn_blocking(work).await;
        let status = status.map_err(|died| Fault::Internal(died.to_string()))??;
        serde_json::to_vec(&status).map_err(|why| Fault::Internal(why.to_string()))
    }

    async fn report(&self, query: String) -> Result<Vec<u8>, Fault> {
        let engine = self.engine()?;
        let query = Query::from_url(&query, self.clock.now())?;
        let rows = tokio::task::spawn_blocking(move || engine.store.view()?.journal(&query)).await;
        let rows = rows.map_err(|died| Fault::Internal(died.to_string()))??;
        let mut body = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut body, &row)
                .map_err(|why| Fault::Internal(why.to_string()))?;
            body.push(b'\n');
        }
        Ok(body)
    }
}

fn fault(fault: &Fault) -> Response<Outgoing> {
    Reply::fault(fault).send(JSON, "")
}

fn json(status: u16, body: Vec<u8>) -> Response<Outgoing> {
    Reply::new(status, Outgoing::whole(body)).send(JSON, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usher.sock");
        drop(bind(&path).unwrap());
        assert!(path.exists());
        let listener = bind(&path).unwrap();
        let answered = bind(&path).unwrap_err();
        assert_eq!(answered.kind(), std::io::ErrorKind::AddrInUse);
        drop(listener);

        // admin.socket may name the wrong file, and what is in it may be all that there is.
        let file = folder.path().join("usher.redb");
        std::fs::write(&file, "precious").unwrap();
        assert!(bind(&file).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}
