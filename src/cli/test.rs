//! `usher test`: the way to an application, step by step, and what to mend. Asks a running gateway over its admin
//! socket, so that its own token is used; where none answers, tries by itself.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::socket::{self, Failed};
use super::{FAILURE, Format, TEMPORARY, USAGE, complain, say};
use crate::clock::Clock;
use crate::config::{self, Problem};
use crate::upstream::client::Upstream;
use crate::upstream::examine::{LONGEST, examine};
use crate::upstream::gate::Gate;
use crate::upstream::trial::Trial;

/// A step failed: the answer says which one.
const FOUND: u8 = 1;

/// `usher test`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is changed: the last step reads one user. A running gateway is asked on its admin socket, because a second\ntoken may void the first; where none answers, the configuration is read, with its secrets, and tried from here.\nWith --socket and without --config, only the socket is tried.\nExit code: 0 all is well, 1 a step failed, 64 wrong usage, no such application or mistakes in the configuration,\n70 a failure of our own, 75 the gateway does not answer: try again.\n\nExample:\n  usher test zoom --config /etc/usher/usher.toml"
)]
pub struct Args {
    /// The application's name in the configuration
    #[arg(value_name = "APPLICATION")]
    application: String,
    /// The configuration [default: usher.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway's admin socket
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// json: one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Tries and prints.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match find(&args) {
        Ok(trial) => {
            say(&match args.format {
                Format::Text => table(&trial),
                // Texts and a truth: cannot fail.
                Format::Json => serde_json::to_string(&trial).unwrap_or_default() + "\n",
            });
            ExitCode::from(if trial.ok { 0 } else { FOUND })
        }
        Err(Failed(code, text)) => {
            complain(&format!("usher: {text}\n"));
            ExitCode::from(code)
        }
    }
}

fn find(args: &Args) -> Result<Trial, Failed> {
    let config = match (&args.config, &args.socket) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(PathBuf::from("usher.toml")),
    };
    let socket = match (&args.socket, &config) {
        (Some(path), _) => path.clone(),
        (None, Some(config)) => config::places(config).map_err(mistakes)?.socket,
        (None, None) => PathBuf::new(),
    };
    match (UnixStream::connect(&socket), config) {
        (Ok(stream), _) => ask(&stream, &args.application)
            .map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", socket.display()))),
        (Err(why), None) => Err(Failed(
            TEMPORARY,
            format!("no gateway answers on {} ({why})", socket.display()),
        )),
        (Err(why), Some(config)) => {
            complain(&format!(
                "usher: no gateway answers on {} ({why}); tried from here, with {}\n",
                socket.display(),
                config.display()
            ));
            alone(&config, &args.application)
        }
    }
}

/// Asks a running gateway.
fn ask(stream: &UnixStream, application: &str) -> Result<Trial, Failed> {
    let name = utf8_percent_encode(application, NON_ALPHANUMERIC);
    let target = format!("/test?application={name}");
    let body = socket::ask(stream, "POST", &target, LONGEST)?;
    serde_json::from_slice(&body).map_err(|_| socket::foreign())
}

/// Tries without a gateway.
fn alone(config: &std::path::Path, name: &str) -> Result<Trial, Failed> {
    let failed = |why: String| Failed(FAILURE, why);
    let config = config::load(config, &|name| std::env::var(name).ok()).map_err(mistakes)?;
    let application = config
        .applications
        .iter()
        .find(|application| application.name == name);
    let application = application.ok_or_else(|| {
        let names: Vec<&str> = config
            .applications
            .iter()
            .map(|application| application.name.as_str())
            .collect();
        let there = match names.as_slice() {
            [] => String::from("it has none"),
            names => format!("it has {}", names.join(", ")),
        };
        Failed(
            USAGE,
            format!("the configuration has no application of this name; {there}"),
        )
    })?;
    let clock = Clock::system();
    let upstream = Upstream::new(application, clock.clone()).map_err(|why| Failed(USAGE, why))?;
    let gate = Gate::new(&application.pace, clock.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| failed(format!("no runtime: {why}")))?;
    let found = runtime.block_on(examine(application, &upstream, &gate, &clock));
    // What was let go without waiting, such as a look-up of a name, must not hold up the answer.
    runtime.shutdown_background();
    Ok(Trial::of(name, &found))
}

fn mistakes(problems: Vec<Problem>) -> Failed {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failed(USAGE, problems.join("\nusher: "))
}

/// A line a step, and what to mend.
fn table(trial: &Trial) -> String {
    let mut text = String::new();
    for step in &trial.steps {
        let outcome = step.outcome.as_str();
        text.push_str(&format!("{:<6} {outcome:<8} {}\n", step.step, step.detail));
    }
    match &trial.mend {
        Some(mend) => text.push_str(&format!("\n{mend}\n")),
        None => text.push_str(&format!("\n{}: all is well\n", trial.application)),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::trial::{Outcome, Step};

    #[test]
    fn a_trial_in_both_forms() {
        let step = |step: &str, outcome, detail: &str| Step {
            step: step.into(),
            outcome,
            detail: detail.into(),
        };
        let mut trial = Trial {
            application: "zoom".into(),
            ok: false,
            steps: vec![
                step("name", Outcome::Ok, "fine"),
                step("tls", Outcome::Failed, "its certificate has expired"),
                step("token", Outcome::Skipped, "not reached"),
            ],
            mend: Some("Renew it.".into()),
        };
        assert_eq!(
            table(&trial),
            "name   ok       fine\ntls    FAILED   its certificate has expired\ntoken  skipped  not reached\n\nRenew it.\n"
        );
        let json = serde_json::to_string(&trial).expect("JSON");
        assert!(
            json.contains(r#""step":"tls","outcome":"failed""#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Trial>(&json).expect("JSON"), trial);
        (trial.ok, trial.mend) = (true, None);
        assert!(table(&trial).ends_with("\n\nzoom: all is well\n"));
    }
}
