//! `usher serve`: the gateway as a service.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{DATA, FAILURE, TEMPORARY, USAGE, complain, log};
use crate::clock::Clock;
use crate::config;
use crate::config::shape::Mode;
use crate::serve::{Reloaded, Serving, StartError};
use crate::service::{self, Inherited, Notifier};
use crate::store::OpenError;

/// What the service manager shows of a gateway that answers.
const READY: &str = "ready";
/// ... of one whose directory was restored,
const UNCONFIRMED: &str =
    "ready for reads: the directory was restored and waits for `usher confirm`";
/// ... and after a reload that changed nothing.
const REFUSED: &str = "ready; the last reload was refused, the log says why";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  usher serve --config /etc/usher/usher.toml\n\nExit codes: 0 drained, 64 mistakes in the configuration, 65 the data file is not the one expected or does not open,\n70 a failure of our own, 75 try again (the data file is in use, or a commit failed).\n\nSIGHUP reads the configuration again, with all that it names: `kill -HUP`, `systemctl reload usher`. One with a mistake\nchanges nothing, and the log says why."
)]
pub struct Args {
    /// The configuration.
    #[arg(long, default_value = "usher.toml")]
    config: PathBuf,
    /// Take the data file as it is although the marker beside it says that it is another or an older one.
    #[arg(long)]
    accept_store: bool,
}

/// Runs until SIGTERM or SIGINT.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(problems) => {
            problems
                .iter()
                .for_each(|problem| complain(&format!("{problem}\n")));
            return ExitCode::from(USAGE);
        }
    };
    // While there is one thread: what names the sockets is taken out of the environment.
    let inherited = match Inherited::take() {
        Ok(inherited) => inherited,
        Err(why) => return failed(&StartError::Config(why)),
    };
    let level = log::start(&config.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(why) => {
            complain(&format!("usher: no runtime: {why}\n"));
            return ExitCode::from(FAILURE);
        }
    };
    runtime.block_on(serve(config, inherited, level, args))
}

async fn serve(
    config: config::Config,
    inherited: Inherited,
    level: log::Level,
    args: Args,
) -> ExitCode {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        complain("usher: signals cannot be had\n");
        return ExitCode::from(FAILURE);
    };
    let notifier = Notifier::from_env().unwrap_or_else(|why| {
        tracing::warn!("{why}");
        Notifier::default()
    });
    introduce(&config, &inherited, &args.config);
    let is_named = config.server.base_url.is_some();
    let clock = Clock::system();
    let mut serving = match Serving::start_on(inherited, config, clock, args.accept_store).await {
        Ok(serving) => serving,
        Err(why) => return failed(&why),
    };
    if let Some(period) = service::watchdog() {
        let gateway = Arc::clone(&serving.gateway);
        tokio::spawn(service::beat(notifier.clone(), gateway, period));
    }
    let scheme = |tls: bool| if tls { "https" } else { "http" };
    let (scim, admin) = (
        scheme(serving.tls.is_some()),
        scheme(serving.admin_has_tls()),
    );
    tracing::info!(scim = %format!("{scim}://{}/scim/v2", serving.address), admin = %format!("{admin}://{}", serving.admin), "listening");
    if !is_named && serving.address.ip().is_unspecified() {
        tracing::warn!(
            "server.base_url is not set, so meta.location and $ref show {}, where no client finds anything",
            serving.address
        );
    }
    let phase = serving.gateway.phase.subscribe();
    let started = tokio::select! {
        () = notifier.opening(phase) => None,
        started = serving.ready() => Some(started),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let broken = match started {
        Some(Err(why)) => {
            let code = failed(&why);
            serving.drain().await;
            return code;
        }
        // Told to end while the data file was still being checked.
        None => false,
        Some(Ok(())) => {
            tracing::info!("ready");
            let mut now = standing(&serving);
            notifier.ready(now);
            loop {
                tokio::select! {
                    _ = terminate.recv() => break false,
                    _ = interrupt.recv() => break false,
                    () = serving.broken() => break true,
                    () = confirmed(&serving), if now == UNCONFIRMED => {
                        now = READY;
                        notifier.status(now);
                    }
                    // Not polled before the gateway is ready: a signal that came earlier waits.
                    _ = hangup.recv() => {
                        notifier.reloading();
                        // A file on a disk that hangs must not keep it from ending. What is stored of a reload that is
                        // left then is what the next start reads anyway.
                        let done = tokio::select! {
                            done = reload(&serving, &level, &args.config) => done,
                            _ = terminate.recv() => break false,
                            _ = interrupt.recv() => break false,
                        };
                        notifier.ready(if done { now } else { REFUSED });
                    }
                }
            }
        }
    };
    tracing::info!("draining");
    notifier.stopping(if broken {
        "broken: a commit failed; the next start settles what is unknown"
    } else {
        "draining: finishing what was begun"
    });
    let drained = serving.drain().await;
    tracing::info!(whole = drained.whole, "stopped");
    if broken {
        ExitCode::from(TEMPORARY)
    } else {
        ExitCode::SUCCESS
    }
}

fn standing(serving: &Serving) -> &'static str {
    let engine = serving.gateway.engine();
    if engine.is_some_and(|engine| engine.store.is_unconfirmed()) {
        UNCONFIRMED
    } else {
        READY
    }
}

async fn confirmed(serving: &Serving) {
    if let Some(engine) = serving.gateway.engine() {
        engine.store.confirmed().await;
    }
}

/// What an administrator wants to see first in the log: which usher this is, and what it goes by.
fn introduce(config: &config::Config, inherited: &Inherited, path: &Path) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), config = %path.display(), data = %config.store.path.display(),
        socket = %config.admin.socket.display(), "starting"
    );
    for application in &config.applications {
        let mode = match application.mode {
            Mode::Live => "live",
            Mode::Simulate => "simulate",
        };
        tracing::info!(name = application.name, mode, "application");
    }
    for (given, key) in [
        (inherited.scim.is_some(), "server.listen"),
        (inherited.admin.is_some(), "admin.listen"),
        (inherited.socket.is_some(), "admin.socket"),
    ] {
        if given {
            tracing::info!("the service manager opened a socket for us: {key} is not used");
        }
    }
}

fn load(path: &Path) -> Result<config::Config, Vec<config::Problem>> {
    config::load(path, &|name| std::env::var(name).ok())
}

/// SIGHUP: the file is read again, with all that it names. Mistakes are told as at the start, and change nothing. Whether
/// it is in force.
async fn reload(serving: &Serving, level: &log::Level, path: &Path) -> bool {
    let file = path.to_owned();
    let loaded = match tokio::task::spawn_blocking(move || load(&file)).await {
        Ok(Ok(config)) => Ok(config),
        Ok(Err(problems)) => Err(problems.iter().map(ToString::to_string).collect()),
        Err(died) => Err(vec![died.to_string()]),
    };
    let logged = loaded.as_ref().ok().map(|config| config.log.clone());
    let reloaded = match loaded {
        Ok(config) => serving.reload(config).await,
        Err(mistakes) => Err(mistakes),
    };
    let Reloaded {
        generation,
        clients,
        applications,
        sweeps,
        restart,
    } = match reloaded {
        Ok(reloaded) => reloaded,
        Err(mistakes) => {
            for mistake in &mistakes {
                tracing::error!("{mistake}");
            }
            tracing::error!(
                mistakes = mistakes.len(),
                "not reloaded: the configuration that ran before stays in force"
            );
            return false;
        }
    };
    if logged.is_some_and(|log| !level.set(&log)) {
        tracing::warn!("log.level needs a restart");
    }
    for (what, names) in [("client", clients), ("application", applications)] {
        let changes = [
            ("added", names.added),
            ("removed", names.removed),
            ("changed", names.changed),
        ];
        for (change, names) in changes {
            for name in names {
                tracing::info!(name, "{what} {change}");
            }
        }
    }
    for application in sweeps {
        tracing::info!(application, "everybody is planned again");
    }
    for key in restart {
        tracing::warn!("{key}");
    }
    tracing::info!(generation, "reloaded");
    true
}

fn failed(why: &StartError) -> ExitCode {
    complain(&format!("usher: {why}\n"));
    ExitCode::from(match why {
        StartError::Config(_) => USAGE,
        StartError::Listen(_) => FAILURE,
        StartError::Store(OpenError::Locked(_)) => TEMPORARY,
        StartError::Store(
            OpenError::Refused(_)
            | OpenError::Missing(_)
            | OpenError::Newer { .. }
            | OpenError::Older { .. }
            | OpenError::NeedsRepair(_)
            | OpenError::Failed(_),
        ) => DATA,
    })
}
