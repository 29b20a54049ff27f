//! `usher serve`: the gateway as a service.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{DATA, FAILURE, TEMPORARY, USAGE, complain, log};
use crate::clock::Clock;
use crate::config;
use crate::serve::{Serving, StartError};
use crate::store::OpenError;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  usher serve --config /etc/usher/usher.toml\n\nExit codes: 0 drained, 64 mistakes in the configuration, 65 the data file is not the one expected or does not open,\n70 a failure of our own, 75 try again (the data file is in use, or a commit failed)."
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
    let config = match config::load(&args.config, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(problems) => {
            problems
                .iter()
                .for_each(|problem| complain(&format!("{problem}\n")));
            return ExitCode::from(USAGE);
        }
    };
    log::start(&config.log);
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
    runtime.block_on(serve(config, args.accept_store))
}

async fn serve(config: config::Config, accept_store: bool) -> ExitCode {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        complain("usher: signals cannot be had\n");
        return ExitCode::from(FAILURE);
    };
    let mut serving = match Serving::start(config, Clock::system(), accept_store).await {
        Ok(serving) => serving,
        Err(why) => return failed(&why),
    };
    let scheme = |tls: bool| if tls { "https" } else { "http" };
    let (scim, admin) = (
        scheme(serving.tls.is_some()),
        scheme(serving.admin_has_tls()),
    );
    tracing::info!(scim = %format!("{scim}://{}/scim/v2", serving.address), admin = %format!("{admin}://{}", serving.admin), "listening");
    let started = tokio::select! {
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
            loop {
                tokio::select! {
                    _ = terminate.recv() => break false,
                    _ = interrupt.recv() => break false,
                    () = serving.broken() => break true,
                    // The default would end the process without a drain.
                    _ = hangup.recv() => tracing::warn!("SIGHUP: a reload comes with a later version; restart to apply a changed file"),
                }
            }
        }
    };
    tracing::info!("draining");
    let drained = serving.drain().await;
    tracing::info!(whole = drained.whole, "stopped");
    if broken {
        ExitCode::from(TEMPORARY)
    } else {
        ExitCode::SUCCESS
    }
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
