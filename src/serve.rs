//! A whole gateway: listeners first, then the store, then the worker; another configuration in its place; and the way
//! down again.
//!
//! `usher serve`, the demo and the tests stand the gateway up through this, so that there is one start and one drain.

mod listeners;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::auth::Authority;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::difference::{Names, Restart, restarts};
use crate::console::Console;
use crate::gateway::{Gateway, Phase, Running};
use crate::server::accept::DRAIN;
use crate::server::tls::Acceptor;
use crate::service::Inherited;
use crate::settle::Engine;
use crate::store::{self, InForce, OpenError, Store};
use crate::worker;

use listeners::{Open, Sockets, beyond_loopback, spawn};

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
    /// The admin socket's file, if it is ours and not systemd's.
    socket: Option<PathBuf>,
    stop: watch::Sender<bool>,
    drain: watch::Sender<bool>,
    listeners: JoinSet<()>,
    opening: tokio::task::JoinHandle<Result<(), StartError>>,
    behind: Arc<Mutex<Behind>>,
}

/// What works behind the listeners. Held while one configuration takes the place of another.
struct Behind {
    /// What the process was started with: some of it stays to the end.
    started: Config,
    /// What is in force.
    config: Config,
    /// Ends the loops of the configuration in force.
    stop: watch::Sender<bool>,
    /// Those loops, those of the configurations before that still finish what they had begun, and the store's watch.
    loops: JoinSet<()>,
}

impl Behind {
    /// Starts the loops of a configuration, and ends those of the one before, which is returned: they finish what they have
    /// begun beside the new ones, and claims keep them apart.
    fn begin(&mut self, config: Config, engine: &Arc<Engine>) -> Config {
        self.stop.send_replace(true);
        self.stop = watch::Sender::new(false);
        while self.loops.try_join_next().is_some() {}
        worker::start(engine, &self.stop, &mut self.loops);
        std::mem::replace(&mut self.config, config)
    }

    fn new(config: Config) -> Self {
        Self {
            started: config.clone(),
            config,
            stop: watch::Sender::new(false),
            loops: JoinSet::new(),
        }
    }
}

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The configuration's generation: what the journal's records carry from now on.
    pub generation: u64,
    /// `[[client]]`
    pub clients: Names,
    /// `[[application]]`
    pub applications: Names,
    /// Applications for which everybody is planned again.
    pub sweeps: Vec<String>,
    /// What only a restart changes. Everything else is in force.
    pub restart: Vec<Restart>,
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
        Self::start_on(Inherited::default(), config, clock, accept_store).await
    }

    /// The same, on sockets that are open already: they win over the addresses in the configuration.
    ///
    /// # Errors
    /// Also: one is beyond loopback and would be served without TLS, which the configuration does not allow.
    pub async fn start_on(
        inherited: Inherited,
        config: Config,
        clock: Clock,
        accept_store: bool,
    ) -> Result<Self, StartError> {
        let socket = inherited
            .socket
            .is_none()
            .then(|| config.admin.socket.clone());
        let Open {
            scim,
            address,
            admin,
            admin_address,
            unix,
        } = listeners::open(inherited, &config).await?;
        let tls = config.server.tls.as_ref();
        let tls = tls
            .map(|tls| Acceptor::new(tls, &clock).map(Arc::new))
            .transpose()
            .map_err(StartError::Config)?;
        let running = Running {
            authority: Authority::new(&config.clients),
            limits: config.limits.clone(),
            base: base(&config, tls.is_some(), address),
            engine: None,
        };
        let gateway = Arc::new(Gateway::new(running, clock.clone()));
        let (stop, drain) = (watch::Sender::new(false), watch::Sender::new(false));
        let admin_tls = tls.clone().filter(|_| beyond_loopback(admin_address));
        let sockets = Sockets {
            scim: (scim, tls.clone()),
            admin: (admin, admin_tls),
            unix,
        };
        let listeners = Self::listen(&config, &gateway, &clock, sockets, &stop);
        let behind = Arc::new(Mutex::new(Behind::new(config.clone())));
        let opening = Opening {
            config,
            address,
            clock,
            gateway: Arc::clone(&gateway),
            accept_store,
            drain: drain.subscribe(),
            behind: Arc::clone(&behind),
        };
        let opening = tokio::spawn(opening.open());
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
            behind,
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
        let tls = sockets.scim.1.clone();
        let scim = Arc::clone(gateway);
        let serve = move |request, peer| Arc::clone(&scim).serve(request, peer);
        let open = &gateway.connections;
        spawn(
            &mut listeners,
            sockets.scim,
            serve,
            config,
            clock,
            (open, stop),
        );
        let console = Console::new(Arc::clone(gateway), tls, clock.clone());
        let console = Arc::new(console);
        let health = Arc::clone(&console);
        let serve = move |request, _peer| {
            let health = Arc::clone(&health);
            async move { health.public(request).await }
        };
        spawn(
            &mut listeners,
            sockets.admin,
            serve,
            config,
            clock,
            (open, stop),
        );
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
                let started = match ended {
                    Ok(started) => started,
                    Err(died) => Err(StartError::Config(format!("the start died: {died}"))),
                };
                // A task is awaited once; a drain awaits it too, also after a start that failed.
                self.opening = tokio::spawn(async { Ok(()) });
                started
            }
        }
    }

    /// Puts another configuration in the place of the one in force. Requests and exchanges that have begun end with what
    /// they began with; what begins after this goes by the new one. Whatever is refused here leaves everything as it was.
    ///
    /// # Errors
    /// Every reason why the configuration cannot be used now, in sentences.
    pub async fn reload(&self, config: Config) -> Result<Reloaded, Vec<String>> {
        let mut behind = self.behind.lock().await;
        let running = self.gateway.running();
        let (Some(engine), Phase::Ready) = (&running.engine, *self.gateway.phase.borrow()) else {
            return Err(vec![String::from(
                "the gateway is starting or ending, and takes no other configuration",
            )]);
        };
        // Trusted roots are read from the disk.
        let building = {
            let (engine, config) = (Arc::clone(engine), config.clone());
            tokio::task::spawn_blocking(move || engine.applications(&config))
        };
        let applications = building.await.map_err(|died| vec![died.to_string()])??;
        // What can be refused comes before what cannot be taken back. TLS switched on or off needs a restart.
        let certificate = match (&self.tls, &config.server.tls) {
            (Some(acceptor), Some(tls)) => {
                let next = acceptor.next(tls).map_err(|why| vec![why])?;
                Some((acceptor, next))
            }
            _ => None,
        };
        let InForce { generation, sweeps } = engine
            .store
            .configure(Engine::configuration(&config))
            .await
            .map_err(|why| vec![why.to_string()])?;
        if let Some((acceptor, next)) = certificate {
            acceptor.put(next);
        }
        let next = engine.beside(config.limits.clone(), applications, generation);
        let next = Arc::new(next.known_by(&config));
        next.store.keep_reads(config.journal.keep_reads);
        self.gateway.swap(Running {
            authority: running.authority.renewed(&config.clients),
            limits: config.limits.clone(),
            base: base(&config, self.tls.is_some(), self.address),
            engine: Some(Arc::clone(&next)),
        });
        let before = behind.begin(config, &next);
        Ok(Reloaded {
            generation,
            sweeps,
            clients: Names::of(&before.clients, &behind.config.clients, |one| &one.name),
            applications: Names::of(&before.applications, &behind.config.applications, |one| {
                &one.name
            }),
            restart: restarts(&behind.started, &behind.config),
        })
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
        self.behind.lock().await.stop.send_replace(true);
        let cutting = self.gateway.engine().map(|engine| {
            tokio::spawn(async move {
                tokio::time::sleep(CUT).await;
                engine.cut.send_replace(true);
            })
        });
        let finish = async {
            while self.listeners.join_next().await.is_some() {}
            self.gateway.quiet().await;
            // A start that failed has told so.
            let _opened = (&mut self.opening).await;
            let mut behind = self.behind.lock().await;
            // Loops that began while the drain did.
            behind.stop.send_replace(true);
            while behind.loops.join_next().await.is_some() {}
        };
        // The machine's time on purpose: a drain is a promise to systemd, whatever clock a test shows the gateway.
        let whole = tokio::time::timeout(DRAIN, finish).await.is_ok();
        if let Some(cutting) = cutting {
            cutting.abort();
            // It holds the store, and whoever drained may want the file.
            let _aborted = cutting.await;
        }
        if let Some(engine) = self.gateway.engine() {
            let store = engine.store.clone();
            let closed = tokio::task::spawn_blocking(move || store.close()).await;
            if let Ok(Err(why)) = closed {
                tracing::error!(error = %why, "the store did not close cleanly; nothing acknowledged is lost");
            }
        }
        // Best effort: the next start replaces a socket that nobody answers on.
        let _gone = self.socket.map(std::fs::remove_file);
        Drained { whole }
    }
}

/// What `meta.location` and `$ref` begin with. `tls`: whether the listener has it; a file that was read again may want it
/// otherwise, and waits for a restart.
fn base(config: &Config, tls: bool, address: SocketAddr) -> String {
    let base = config.server.base_url.clone();
    let scheme = if tls { "https" } else { "http" };
    base.unwrap_or_else(|| format!("{scheme}://{address}/scim/v2"))
}

/// The store, on its way to being open.
struct Opening {
    config: Config,
    address: SocketAddr,
    clock: Clock,
    gateway: Arc<Gateway>,
    accept_store: bool,
    drain: watch::Receiver<bool>,
    behind: Arc<Mutex<Behind>>,
}

impl Opening {
    async fn open(self) -> Result<(), StartError> {
        let config = self.config;
        let options = store::Options {
            path: config.store.path.clone(),
            cache_bytes: config.store.cache,
            wait_for_lock: LOCK,
            queue: QUEUE,
            accept: self.accept_store,
            keep_reads: config.journal.keep_reads,
            now: self.clock.now(),
        };
        let progress = self.gateway.phase.clone();
        let opened = tokio::task::spawn_blocking(move || {
            Store::open(&options, move |share| {
                // A drain that began meanwhile stays one.
                progress.send_if_modified(|phase| {
                    let opening = matches!(phase, Phase::Opening(_));
                    if opening {
                        *phase = Phase::Opening(share);
                    }
                    opening
                });
            })
        });
        let opened = opened
            .await
            .map_err(|died| StartError::Config(format!("opening the store died: {died}")))?;
        let store = opened.map_err(StartError::Store)?;
        let in_force = store
            .configure(Engine::configuration(&config))
            .await
            .map_err(|why| StartError::Config(why.to_string()))?;
        let engine = Engine::new(store, &config, in_force.generation, self.clock.clone());
        let engine = Arc::new(engine.map_err(StartError::Config)?);
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
        // Held until all loops run, so that a reload finds them.
        let mut behind = self.behind.lock().await;
        let tls = config.server.tls.is_some();
        self.gateway.open(Running {
            authority: self.gateway.running().authority.renewed(&config.clients),
            limits: config.limits.clone(),
            base: base(&config, tls, self.address),
            engine: Some(Arc::clone(&engine)),
        });
        let store = engine.store.clone();
        let watching = watch_store(store, self.gateway, self.clock, self.drain.clone());
        behind.loops.spawn(watching);
        if !*self.drain.borrow() {
            behind.begin(config, &engine);
        }
        Ok(())
    }
}

/// Renews the marker, measures free space, has notes of reads written and pruned, and turns readiness red when the store
/// broke.
async fn watch_store(
    store: Store,
    gateway: Arc<Gateway>,
    clock: Clock,
    mut drain: watch::Receiver<bool>,
) {
    let mut broken = store.broken();
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
                    store.write_notes();
                }
                if space <= now {
                    space = now.plus(SPACE);
                    measure(&store).await;
                }
                if minute <= now {
                    minute = now.plus(MINUTE);
                    store.prune_notes(now);
                    let asked = store.clone();
                    let renewed = tokio::task::spawn_blocking(move || asked.renew_marker()).await;
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
