//! `usher sandbox`: serves the built-in stand-in for Zoom's SCIM API until it is told to stop.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::{Options, Sandbox};

/// The flags of `usher sandbox`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Everything is in memory and ends with the process.\nExit code: 0 stopped, 1 it cannot listen.\n\nExample:\n  usher sandbox --listen 127.0.0.1:9900"
)]
pub struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9900")]
    listen: SocketAddr,
    /// The bearer token that calls must bear
    #[arg(long, default_value = "sandbox-token")]
    token: String,
}

/// Serves until SIGINT or SIGTERM. Exit code 0 then, 1 if it cannot start.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let listen = args.listen;
    let served = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(args)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("usher sandbox: cannot serve on {listen}: {wrong}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let sandbox = Sandbox::start(Options {
        listen: args.listen,
        token: args.token,
        ..Options::default()
    })?;
    // At once, and nobody has to read it: `usher sandbox | head -1` must not end the sandbox.
    let _unread = std::io::stdout().write_all(
        format!(
            "base_url = \"{}\"\ntoken    = \"{}\"\ncontrol  = \"http://{}/control\"\n",
            sandbox.base_url(),
            sandbox.token(),
            sandbox.address()
        )
        .as_bytes(),
    );
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped?,
        _ = terminated.recv() => {}
    }
    sandbox.stop().await;
    Ok(())
}
