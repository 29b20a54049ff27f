//! The listeners of a gateway: opened, or taken over from the service manager.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::StartError;
use crate::clock::Clock;
use crate::config::Config;
use crate::console;
use crate::server::accept::{self, Connections, Peer};
use crate::server::outgoing::Outgoing;
use crate::server::tls::Acceptor;
use crate::service::Inherited;

/// What is open, and where.
pub(super) struct Open {
    pub(super) scim: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) admin: TcpListener,
    pub(super) admin_address: SocketAddr,
    pub(super) unix: UnixListener,
}

/// Opens what was not given.
pub(super) async fn open(given: Inherited, config: &Config) -> Result<Open, StartError> {
    let cannot = |what: &str, error: io::Error| {
        StartError::Listen(format!("cannot listen on {what}: {error}"))
    };
    let scim = bound(given.scim, config.server.listen).await?;
    let admin = bound(given.admin, config.admin.listen).await?;
    let unix = match given.socket {
        Some(listener) => {
            guarded(&listener)?;
            UnixListener::from_std(listener)
        }
        None => console::bind(&config.admin.socket),
    };
    let unix = unix.map_err(|error| cannot(&config.admin.socket.display().to_string(), error))?;
    let address = scim
        .local_addr()
        .map_err(|error| cannot("the SCIM address", error))?;
    let admin_address = admin
        .local_addr()
        .map_err(|error| cannot("the admin address", error))?;
    exposed(config, address, admin_address)?;
    Ok(Open {
        scim,
        address,
        admin,
        admin_address,
        unix,
    })
}

/// A listener that was given, or one of our own.
async fn bound(
    given: Option<std::net::TcpListener>,
    address: SocketAddr,
) -> Result<TcpListener, StartError> {
    let had = match given {
        Some(listener) => TcpListener::from_std(listener),
        None => TcpListener::bind(address).await,
    };
    had.map_err(|error| StartError::Listen(format!("cannot listen on {address}: {error}")))
}

/// What the configuration's check says of addresses holds for sockets that were given, too.
fn exposed(config: &Config, scim: SocketAddr, admin: SocketAddr) -> Result<(), StartError> {
    let plain = config.server.tls.is_none();
    let told = |what: &str, address: SocketAddr, wanted: &str| {
        Err(StartError::Config(format!(
            "the {what} socket that was given is on {address}, beyond loopback, and would be served without TLS: that takes {wanted}"
        )))
    };
    if plain && beyond_loopback(scim) && !config.server.plain_anywhere {
        let wanted = "[server.tls], or plain_http = \"anywhere\" where a proxy before it does TLS";
        return told("SCIM", scim, wanted);
    }
    if plain && beyond_loopback(admin) {
        return told("admin", admin, "[server.tls]");
    }
    Ok(())
}

/// The file's mode is all that guards the admin socket, and systemd makes one that everybody may write to (its
/// `SocketMode` is 0666). Who may not write to it cannot connect.
fn guarded(given: &std::os::unix::net::UnixListener) -> Result<(), StartError> {
    let mode = given.local_addr().and_then(|address| {
        let path = address.as_pathname();
        let path =
            path.ok_or_else(|| io::Error::other("it has no file whose mode would guard it"))?;
        Ok(std::fs::metadata(path)?.permissions().mode())
    });
    let told = match mode {
        Ok(mode) if mode & 0o022 == 0 => return Ok(()),
        Ok(_) => String::from("is one that others may write to: SocketMode=0600"),
        Err(error) => format!("cannot be looked at: {error}"),
    };
    Err(StartError::Config(format!(
        "the admin socket that was given {told}"
    )))
}

pub(super) fn beyond_loopback(address: SocketAddr) -> bool {
    !address.ip().is_loopback()
}

/// A listener, and TLS where it is on.
pub(super) type Secured = (TcpListener, Option<Arc<Acceptor>>);

/// Where the gateway listens.
pub(super) struct Sockets {
    pub(super) scim: Secured,
    pub(super) admin: Secured,
    pub(super) unix: UnixListener,
}

/// Serves one of them until `stop`.
pub(super) fn spawn<S, F>(
    listeners: &mut JoinSet<()>,
    (listener, tls): Secured,
    service: S,
    config: &Config,
    clock: &Clock,
    (open, stop): (&Arc<Connections>, &watch::Sender<bool>),
) where
    S: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Outgoing>> + Send + 'static,
{
    let (limits, clock, stop) = (config.limits.clone(), clock.clone(), stop.subscribe());
    let open = Arc::clone(open);
    listeners.spawn(async move {
        let drained = accept::run(listener, tls, service, &limits, &clock, &open, stop).await;
        if drained.cut > 0 {
            tracing::warn!(
                connections = drained.cut,
                "connections were cut with a request under way"
            );
        }
    });
}
