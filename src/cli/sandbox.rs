//! `usher sandbox`: serves the built-in stand-in for Zoom's SCIM API until it is told to stop.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::{Options, Quirks, SWITCHES, Sandbox, Switch};

/// The flags of `usher sandbox`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Everything is in memory and ends with the process. A number without a default is 0: no limit, or at once. A quirk can be changed while it runs:\n  curl -d '{\"light\":80,\"medium\":60}' http://127.0.0.1:9900/control/quirks\nExit code: 0 stopped, 1 it cannot listen, 64 a flag is wrong.\n\nExample:\n  usher sandbox --listen 127.0.0.1:9900 --light 80 --medium 60"
)]
pub struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9900")]
    listen: SocketAddr,
    /// A bearer token that is good without asking for one
    #[arg(long, default_value = "sandbox-token")]
    token: String,
    /// The account that a token is asked for at /oauth/token
    #[arg(long, default_value = "sandbox-account")]
    account_id: String,
    /// The app that asks for tokens
    #[arg(long, default_value = "sandbox-client")]
    client_id: String,
    /// Its secret
    #[arg(long, default_value = "sandbox-secret")]
    client_secret: String,
    #[command(flatten)]
    quirks: Flags,
}

/// The flags' names: those of [`SWITCHES`] with `-` for `_`.
static LONGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = SWITCHES.iter().map(|switch| switch.name);
    names.map(|name| name.replace('_', "-")).collect()
});

/// A flag for each of [`SWITCHES`], made from that table.
#[derive(Debug)]
struct Flags(Box<Quirks>);

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let defaults = Quirks::default().to_object();
        command.args(SWITCHES.iter().zip(LONGS.iter()).map(|(switch, long)| {
            let default = defaults.get(switch.name).unwrap_or(&Value::Null);
            flag(*switch, long, default)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self(Box::default());
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for switch in SWITCHES {
            if let Some(text) = matches.get_one::<String>(switch.name) {
                *self.0 = self
                    .0
                    .with(switch.name, text)
                    .map_err(|wrong| clap::Error::raw(ErrorKind::InvalidValue, wrong + "\n"))?;
            }
        }
        Ok(())
    }
}

/// A yes-or-no is said by the flag alone; all else has a value.
fn flag(switch: Switch, long: &'static str, default: &Value) -> Arg {
    let (value, shown) = match default {
        Value::Bool(_) => ("", String::new()),
        Value::Number(number) => ("NUMBER", number.to_string()),
        Value::Array(words) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            ("A,B", words.join(","))
        }
        other => ("WORD", other.as_str().unwrap_or_default().to_owned()),
    };
    let mut help = switch.help.trim().to_owned();
    if !shown.is_empty() && shown != "0" {
        help = format!("{help} [default: {shown}]");
    }
    let arg = Arg::new(switch.name)
        .long(long)
        .help(help)
        .help_heading("Quirks")
        .action(ArgAction::Set);
    if value.is_empty() {
        arg.value_name("BOOLEAN")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else {
        arg.value_name(value)
    }
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
    let client = format!(
        "account_id = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n",
        args.account_id, args.client_id, args.client_secret
    );
    let sandbox = Sandbox::start(Options {
        listen: args.listen,
        token: args.token,
        account_id: args.account_id,
        client_id: args.client_id,
        client_secret: args.client_secret,
        quirks: *args.quirks.0,
        ..Options::default()
    })?;
    // At once, and nobody has to read it: `usher sandbox | head -1` must not end the sandbox.
    let _unread = std::io::stdout().write_all(
        format!(
            "base_url = \"{}\"\ntoken = \"{}\"\ntoken_url = \"{}\"\n{client}control = \"http://{}/control\"\n",
            sandbox.base_url(),
            sandbox.token(),
            sandbox.token_url(),
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn quirks(line: &str) -> Result<Quirks, String> {
        Line::try_parse_from(line.split(' '))
            .map(|line| *line.args.quirks.0)
            .map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn flags_set_quirks() {
        let check = |line: &str, wanted: Quirks| assert_eq!(quirks(line), Ok(wanted), "{line}");
        let none = Quirks::default;
        check("sandbox", none());
        check(
            "sandbox --light 80 --medium 60 --sso-off",
            Quirks {
                light: 80,
                medium: 60,
                sso_off: true,
                ..none()
            },
        );
        check("sandbox --sso-off=false", none());
        check(
            "sandbox --associated-domains a.example,b.example --put-drops=",
            Quirks {
                associated_domains: vec!["a.example".into(), "b.example".into()],
                put_drops: Vec::new(),
                ..none()
            },
        );
        for (line, wanted) in [
            ("sandbox --light many", "light: invalid type"),
            ("sandbox --licences sold", "licences: unknown variant"),
            ("sandbox --missing-permissions User:Fly", "User:Fly"),
            ("sandbox --quantum", "unexpected argument"),
        ] {
            let wrong = quirks(line).expect_err(line);
            assert!(wrong.contains(wanted), "{line}: {wrong}");
        }
    }

    #[test]
    fn every_quirk_has_a_flag_that_says_what_it_does() {
        let help = <Flags as clap::Args>::augment_args(Command::new("x"))
            .render_long_help()
            .to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for switch in SWITCHES {
            let long = format!("--{}", switch.name.replace('_', "-"));
            let text = switch.help.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(help.contains(&long) && help.contains(&text), "{long}");
        }
    }
}
