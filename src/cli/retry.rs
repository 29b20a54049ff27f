//! `usher retry`: what failed is tried again now, and not when its time has come, or, in quarantine, never.

use std::process::ExitCode;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::socket::{self, Door, Failed};
use super::{Format, complain, say};
use crate::settle::Retried;

/// How long the gateway may be silent: it looks at all that waits.
const SILENCE: Duration = Duration::from_secs(60);

/// `usher retry`
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("whom").required(true),
    after_help = "Makes due what failed and waits for its next try, and what is quarantined because it failed to the end: nothing is sent\nfor such an account before this, a change of the user, or a change of the application's configuration. What the safety\nlimit holds is not touched. It takes a running gateway.\nExit code: 0 done, 64 wrong usage, 70 a failure, 75 no gateway answers.\n\nExample:\n  usher retry --application zoom --all"
)]
pub struct Args {
    /// An application's name; without it, all
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Whose: a userName, a group's name, or an id
    #[arg(long, value_name = "USERNAME", group = "whom")]
    person: Option<String>,
    /// Everybody's
    #[arg(long, group = "whom")]
    all: bool,
    /// How it is told what was made due
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    door: Door,
}

/// Asks the gateway, and says how many.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match retry(&args) {
        Ok(retried) => {
            for one in retried {
                say(&match args.format {
                    Format::Json => format!(
                        "{}\n",
                        serde_json::json!({"application": one.application, "due": one.due})
                    ),
                    Format::Text => format!("{}: {} tried again now\n", one.application, one.due),
                });
            }
            ExitCode::SUCCESS
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn retry(args: &Args) -> Result<Vec<Retried>, Failed> {
    let (stream, _) = args.door.knock()?;
    let pairs = [("application", &args.application), ("person", &args.person)];
    let given = pairs.into_iter().filter_map(|(name, value)| {
        let value = utf8_percent_encode(value.as_deref()?, NON_ALPHANUMERIC);
        Some(format!("{name}={value}"))
    });
    let query = given.collect::<Vec<_>>().join("&");
    let body = socket::ask(&stream, "POST", &format!("/retry?{query}"), SILENCE)?;
    serde_json::from_slice(&body).map_err(|_| socket::foreign())
}
