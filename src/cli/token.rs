//! `usher token NAME`: a new token, shown this once, and the lines of the configuration that let its bearer in.
//! The configuration and the data file never hold the token, only its SHA-256.

use std::process::ExitCode;

use sha2::{Digest, Sha256};

use super::{FAILURE, Format, complain, say};
use crate::config::value::is_name;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `usher token`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The token is shown this once and kept nowhere: give it to the identity provider, and the lines to the configuration.\n\nExample:\n  usher token okta"
)]
pub struct Args {
    /// The client's name in the configuration: a-z, 0-9, _ and -
    #[arg(value_parser = name)]
    name: String,
    /// json: one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(String::from("1 to 64 of a-z, 0-9, _ and -"))
    }
}

/// Makes a token and prints it.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    match fresh() {
        Ok(token) => {
            say(&shown(&args.name, &token, args.format));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!(
                "usher: the system gave no random bytes: {error}\n"
            ));
            ExitCode::from(FAILURE)
        }
    }
}

/// A new token.
///
/// # Errors
/// The system gives no random bytes.
pub fn fresh() -> Result<String, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(token(random))
}

/// 256 bits in 43 letters and digits: 62^43 is just above 2^256.
fn token(mut number: [u8; 32]) -> String {
    let mut digits = [0; 43];
    for digit in digits.iter_mut().rev() {
        // One long division by 62, most significant byte first.
        let mut rest: u16 = 0;
        for byte in &mut number {
            let part = rest * 256 + u16::from(*byte);
            *byte = u8::try_from(part / 62).unwrap_or_default();
            rest = part % 62;
        }
        *digit = LETTERS.get(usize::from(rest)).copied().unwrap_or(b'0');
    }
    format!("ush_{}", String::from_utf8_lossy(&digits))
}

fn shown(name: &str, token: &str, format: Format) -> String {
    let hash: String = Sha256::digest(token)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match format {
        Format::Text => {
            format!("{token}\n\n[[client]]\nname = \"{name}\"\ntoken_sha256 = [\"{hash}\"]\n")
        }
        Format::Json => {
            let answer = serde_json::json!({ "name": name, "token": token, "token_sha256": hash });
            format!("{answer}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn tokens_spell_the_whole_number() {
        for (number, wanted) in [
            ([0; 32], format!("ush_{}", "0".repeat(43))),
            // (2^256 - 1) in base 62.
            (
                [0xff; 32],
                String::from("ush_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"),
            ),
        ] {
            assert_eq!(token(number), wanted);
        }
        let mut one = [0; 32];
        one[31] = 62;
        assert!(token(one).ends_with("0010"));
    }

    #[test]
    fn the_lines_let_the_token_in() {
        let text = shown("okta", "ush_x", Format::Text);
        let (token, lines) = text.split_once("\n\n").expect("two parts");
        let config = crate::config::parse(lines, Path::new("usher.toml"), &|_| None);
        let config = config.expect("a whole configuration");
        assert_eq!(config.clients[0].name, "okta");
        let hash: [u8; 32] = Sha256::digest(token).into();
        assert_eq!(config.clients[0].token_sha256, [hash]);

        let json: serde_json::Value =
            serde_json::from_str(&shown("okta", "ush_x", Format::Json)).expect("JSON");
        assert_eq!(json["token"], "ush_x");
        assert!(lines.contains(json["token_sha256"].as_str().expect("text")));
    }
}
