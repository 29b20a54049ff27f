//! `usher check`: every mistake in a configuration, or one line that says what is in it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Format, USAGE, say};
use crate::config::{self, Config, Problem};

/// `usher check`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Secrets that the file names are read too, so run it as the user that the gateway runs as.\nExit code: 0 no mistake, 64 mistakes.\n\nExample:\n  usher check --config /etc/usher/usher.toml"
)]
pub struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "usher.toml")]
    config: PathBuf,
    /// json: one object a mistake
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Checks and prints.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match config::load(&args.config, &|name| std::env::var(name).ok()) {
        Ok(config) => {
            say(&praise(
                &args.config.display().to_string(),
                &config,
                args.format,
            ));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            say(&blame(&problems, args.format));
            ExitCode::from(USAGE)
        }
    }
}

fn praise(file: &str, config: &Config, format: Format) -> String {
    let (clients, applications) = (config.clients.len(), config.applications.len());
    match format {
        Format::Text => format!(
            "{file}: ok: {}, {}\n",
            counted(clients, "client"),
            counted(applications, "application")
        ),
        Format::Json => {
            let answer = serde_json::json!({
                "file": file, "ok": true, "clients": clients, "applications": applications,
            });
            format!("{answer}\n")
        }
    }
}

fn blame(problems: &[Problem], format: Format) -> String {
    problems
        .iter()
        .map(|problem| match format {
            Format::Text => format!("{problem}\n"),
            // Strings and numbers: cannot fail.
            Format::Json => serde_json::to_string(problem).unwrap_or_default() + "\n",
        })
        .collect()
}

fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_and_success_in_both_forms() {
        let text = "[[client]]\nname = 'a'\ntoken_sha256 = ['HASH']\n[[client]]\nname = 'b'\ntoken_sha256 = []\n";
        let text = text.replace("HASH", &"ab".repeat(32));
        let path = std::path::Path::new("usher.toml");
        let problems = config::parse(&text, path, &|_| None).expect_err("a mistake");
        assert!(
            blame(&problems, Format::Text).starts_with(
                "usher.toml:6:16: client[1].token_sha256: found an empty list, wanted "
            )
        );
        let json: serde_json::Value =
            serde_json::from_str(&blame(&problems, Format::Json)).expect("JSON");
        assert_eq!((&json["line"], &json["column"]), (&6.into(), &16.into()));
        assert_eq!(json["key"], "client[1].token_sha256");

        let good = text.replace("[]", &format!("['{}']", "cd".repeat(32)));
        let config = config::parse(&good, path, &|_| None).expect("no mistake");
        assert_eq!(
            praise("usher.toml", &config, Format::Text),
            "usher.toml: ok: 2 clients, 0 applications\n"
        );
        assert_eq!(
            praise("usher.toml", &config, Format::Json),
            "{\"applications\":0,\"clients\":2,\"file\":\"usher.toml\",\"ok\":true}\n"
        );
    }
}
