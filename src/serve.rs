//! A whole gateway: listeners first, then the store, then the worker; and the way down again.
//!
//! `usher serve`, the demo and the tests stand the gateway up through this, so that there is one start and one drain.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::auth::Authority;
use crate::clock::Clock;
use crate::config::Config;
use crate::console::{self, Console};
use crate::gateway::{Gateway, Phase};
use crate::server::accept::{self, DRAIN, Peer};
use crate::server::outgoing::Outgoing;
use crate::server::tls::Acceptor;
use crate::settle::Engine;
use crate::store::{self, OpenError, Store};
use crate::worker;

/// How long the start waits for another process to let go of the data file.
const LOCK: Duration = Duration::from_secs(10);

/// Requests that may wait for the writer; more are refused with 503 before anything is sent.
const QUEUE: usize = 4_096;

/// How long a drain lets calls to applications go on; after that they are cut and become marks.
const CUT: Duration = Duration::from_secs(15);

/// How often the marker beside the data file is renewed, and notes of reads are pruned.
const MINUTE: Duration = Duration::from_secs(60);

/// How often free space is measured.
const SPACE: Duration = Duration::from_secs(5);

/// How long a note of a read waits at most for a commit that takes it along.
const NOTES: Duration = Duration::from_secs(1);

/// Why a gateway does not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener cannot be had.
    Listen(String),
    /// The store does not open.
    Store(OpenError),
    /// The configuration cannot be used after all: an application's address or credentials.
    Config(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen(why) | Self::Config(why) => f.write_str(why),
            Self::Store(why) => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A gateway that listens.
pub struct Serving {
    /// Where SCIM is served.
    pub address: SocketAddr,
    /// Where /healthz and /readyz are.
    pub admin: SocketAddr,
    /// The gateway itself.
    pub gateway: Arc<Gateway>,
    /// What shows the certificate, with `[server.tls]`; a reload replaces what it shows.
    pub tls: Option<Arc<Acceptor>>,
    socket: PathBuf,
    stop: watch::Sender<bool>,
    drain: watch::Sender<bool>,
    listeners: JoinSet<()>,
    opening: tokio::task::JoinHandle<Result<JoinSet<()>, StartError>>,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Everything that was begun was finished in time.
    pub whole: bool,
}

impl Serving {
    /// Binds the listeners and begins to open the store. Requests are answered with 503 until it is open.
    ///
    /// # Errors
    /// A listener cannot be had.
    pub async fn start(
        config: Config,
        clock: Clock,
        accept_store: bool,
    ) -> Result<Self, StartError> {
        let cannot = |what: &str, error: std::io::Error| {
            StartError::Listen(format!("cannot listen on {what}: {error}"))
        };
        let listener = TcpListener::bind(config.server.listen)
            .await
            .map_err(|error| cannot(&config.server.listen.to_string(), error))?;
        let admin = TcpListener::bind(config.admin.listen)
            .await
            .map_err(|error| cannot(&config.admin.listen.to_string(), error))?;
        let unix = console::bind(&config.admin.socket)
            .map_err(|error| cannot(&config.admin.socket.display().to_string(), error))?;
        let address = listener
            .local_addr()
            .map_err(|error| cannot("the SCIM address", error))?;
        let admin_address = admin
            .local_addr()
            .map_err(|error| cannot("the admin address", error))?;

        let tls = config.server.tls.as_ref();
        let tls = tls
            .map(|tls| Acceptor::new(tls, &clock).map(Arc::new))
            .transpose()
            .map_err(StartError::Config)?;
        let base = config.server.base_url.clone().unwrap_or_else(|| {
            let scheme = if tls.is_some() { "https" } else { "http" };
            format!("{scheme}://{address}/scim/v2")
        });
        let gateway = Arc::new(Gateway::new(
            Authority::new(&config.clients),
            config.limits.clone(),
            base,
            clock.clone(),
        ));
        let (stop, drain) = (watch::Sender::new(false), watch::Sender::new(false));
        let admin_tls = tls.clone().filter(|_| beyond_loopback(admin_address));
        let sockets = Sockets {
            scim: (listener, tls.clone()),
            admin: (admin, admin_tls),
            unix,
        };
        let listeners = Self::listen(&config, &gateway, &clock, sockets, &stop);
        let socket = config.admin.socket.clone();
        let opening = tokio::spawn(open(
            config,
            clock,
            Arc::clone(&gateway),
            accept_store,
            drain.subscribe(),
        ));
        Ok(Self {
            address,
            admin: admin_address,
            gateway,
            tls,
            socket,
            stop,
            drain,
            listeners,
            opening,
        })
    }

    fn listen(
        config: &Config,
        gateway: &Arc<Gateway>,
        clock: &Clock,
        sockets: Sockets,
        stop: &watch::Sender<bool>,
    ) -> JoinSet<()> {
        let mut listeners = JoinSet::new();
        let scim = Arc::clone(gateway);
        let serve = move |request, peer| Arc::clone(&scim).serve(request, peer);
        spawn(&mut listeners, sockets.scim, serve, config, clock, stop);
        let console = Arc::new(Console::new(Arc::clone(gateway), clock.clone()));
        let health = Arc::clone(&console);
        let serve = move |request, _peer| {
            let health = Arc::clone(&health);
            async move { health.public(&request).await }
        };
        spawn(&mut listeners, sockets.admin, serve, config, clock, stop);
        listeners.spawn(console.socket(sockets.unix, stop.subscribe()));
        listeners
    }

    /// Whether the admin endpoints have TLS: with `[server.tls]`, beyond loopback. A health check beside the gateway needs
    /// none.
    #[must_use]
    pub fn admin_has_tls(&self) -> bool {
        self.tls.is_some() && beyond_loopback(self.admin)
    }

    /// Waits until requests are answered.
    ///
    /// # Errors
    /// The store does not open, or an application cannot be used.
    pub async fn ready(&mut self) -> Result<(), StartError> {
        let mut phase = self.gateway.phase.subscribe();
        tokio::select! {
            // The sender lives in the gateway.
            _ = phase.wait_for(|phase| *phase == Phase::Ready) => Ok(()),
            ended = &mut self.opening => {
                // A task is awaited once; a drain awaits it too, also after a start that failed.
                let (loops, started) = match ended {
                    Ok(Ok(loops)) => (loops, Ok(())),
                    Ok(Err(why)) => (JoinSet::new(), Err(why)),
                    Err(died) => {
                        (JoinSet::new(), Err(StartError::Config(format!("the start died: {died}"))))
                    }
                };
                self.opening = tokio::spawn(async { Ok(loops) });
                started
            }
        }
    }

    /// Waits until a commit has failed: the process must end, and the next start settles what is unknown.
    pub async fn broken(&self) {
        let mut phase = self.gateway.phase.subscribe();
        let _gone = phase.wait_for(|phase| *phase == Phase::Broken).await;
    }

    /// Stops taking requests, finishes what was begun, and closes the store. At most [`DRAIN`].
    pub async fn drain(mut self) -> Drained {
        self.gateway.phase.send_replace(Phase::Draining);
        self.stop.send_replace(true);
        self.drain.send_replace(true);
        let cutting = self.gateway.engine().cloned().map(|engine| {
            tokio::spawn(async move {
                tokio::time::sleep(CUT).await;
                engine.cut.send_replace(true);
            })
        });
        let finish = async {
            while self.listeners.join_next().await.is_some() {}
            self.gateway.quiet().await;
            if let Ok(Ok(mut loops)) = (&mut self.opening).await {
                while loops.join_next().await.is_some() {}
            }
        };
        // The machine's time on purpose: a drain is a promise to systemd, whatever clock a test shows the gateway.
        let whole = tokio::time::timeout(DRAIN, finish).await.is_ok();
        if let Some(cutting) = cutting {
            cutting.abort();
        }
        if let Some(engine) = self.gateway.engine() {
            let store = engine.store.clone();
            let closed = tokio::task::spawn_blocking(move || store.close()).await;
            if let Ok(Err(why)) = closed {
                tracing::error!(error = %why, "the store did not close cleanly; nothing acknowledged is lost");
            }
        }
        // Best effort: the next start replaces a socket that nobody answers on.
        let _gone = std::fs::remove_file(&self.socket);
        Drained { whole }
    }
}

fn beyond_loopback(address: SocketAddr) -> bool {
    !address.ip().is_loopback()
}

/// A listener, and TLS where it is on.
type Secured = (TcpListener, Option<Arc<Acceptor>>);

/// Where the gateway listens.
struct Sockets {
    scim: Secured,
    admin: Secured,
    unix: UnixListener,
}

fn spawn<S, F>(
    listeners: &mut JoinSet<()>,
    (listener, tls): Secured,
    service: S,
    config: &Config,
    clock: &Clock,
    stop: &watch::Sender<bool>,
) where
    S: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Outgoing>> + Send + 'static,
{
    let (limits, clock, stop) = (config.limits.clone(), clock.clone(), stop.subscribe());
    listeners.spawn(async move {
        let drained = accept::run(listener, tls, service, &limits, &clock, stop).await;
        if drained.cut > 0 {
            tracing::warn!(
                connections = drained.cut,
                "connections were cut with a request under way"
            );
        }
    });
}

async fn open(
    config: Config,
    clock: Clock,
    gateway: Arc<Gateway>,
    accept_store: bool,
    drain: watch::Receiver<bool>,
) -> Result<JoinSet<()>, StartError> {
    let options = store::Options {
        path: config.store.path.clone(),
        cache_bytes: config.store.cache,
        wait_for_lock: LOCK,
        queue: QUEUE,
        accept: accept_store,
        keep_reads: config.journal.keep_reads,
        now: clock.now(),
    };
    let progress = gateway.phase.clone();
    let opened = tokio::task::spawn_blocking(move || {
        Store::open(&options, move |share| {
            progress.send_replace(Phase::Opening(share));
        })
    });
    let opened = opened
        .await
        .map_err(|died| StartError::Config(format!("opening the store died: {died}")))?;
    let store = opened.map_err(StartError::Store)?;
    let generation = store
        .configure(&config.fingerprint)
        .await
        .map_err(|why| StartError::Config(why.to_string()))?;
    let engine = Arc::new(
        Engine::new(store, &config, generation, clock.clone()).map_err(StartError::Config)?,
    );
    if engine.store.rolled_forward() > 0 {
        tracing::warn!(
            intents = engine.store.rolled_forward(),
            "writes that a crash interrupted were rolled forward; their accounts are read back first"
        );
    }
    if let Some(restored) = engine.store.restored() {
        tracing::warn!(
            taken = %restored.manifest.taken.rfc3339(), restored = %restored.restored.rfc3339(),
            users = restored.manifest.users, links = restored.manifest.links,
            "the directory was restored from a backup: reads are served, writes are refused and nothing is sent until \
             `usher confirm`"
        );
    }
    measure(&engine.store).await;
    gateway.open(Arc::clone(&engine));
    let mut loops = worker::start(&engine, &drain);
    loops.spawn(watch_store(engine, gateway, clock, drain));
    Ok(loops)
}

/// Renews the marker, measures free space, has notes of reads written and pruned, and turns readiness red when the store
/// broke.
async fn watch_store(
    engine: Arc<Engine>,
    gateway: Arc<Gateway>,
    clock: Clock,
    mut drain: watch::Receiver<bool>,
) {
    let mut broken = engine.store.broken();
    let now = clock.now();
    let (mut notes, mut space, mut minute) = (now.plus(NOTES), now.plus(SPACE), now.plus(MINUTE));
    while !*drain.borrow() {
        tokio::select! {
            _ = drain.changed() => return,
            changed = broken.changed() => {
                if changed.is_err() { return; }
                if let Some(why) = broken.borrow().as_deref() {
                    tracing::error!(error = why, "a commit failed and its outcome is unknown");
                    gateway.phase.send_replace(Phase::Broken);
                }
            }
            () = clock.sleep_until(notes.min(space).min(minute)) => {
                let now = clock.now();
                if notes <= now {
                    notes = now.plus(NOTES);
                    engine.store.write_notes();
                }
                if space <= now {
                    space = now.plus(SPACE);
                    measure(&engine.store).await;
                }
                if minute <= now {
                    minute = now.plus(MINUTE);
                    engine.store.prune_notes(now);
                    let store = engine.store.clone();
                    let renewed = tokio::task::spawn_blocking(move || store.renew_marker()).await;
                    if let Ok(Err(why)) = renewed {
                        tracing::error!(error = %why, "the marker beside the data file could not be renewed");
                    }
                }
            }
        }
    }
}

/// Measures free space; a filesystem that does not tell changes nothing.
async fn measure(store: &Store) {
    let asked = store.clone();
    match tokio::task::spawn_blocking(move || asked.measure_free_space()).await {
        Ok(Ok(Some(free))) => store.set_free_space(free),
        Ok(Ok(None)) => {}
        Ok(Err(why)) => tracing::warn!(error = %why, "free space could not be measured"),
        Err(died) => tracing::warn!(error = %died, "free space could not be measured"),
    }
}
