//! The command line's side of the admin socket: one request, one whole answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{DATA, FAILURE, TEMPORARY, USAGE};
use crate::config;

/// The largest answer, in bytes.
const ANSWER: u64 = 1 << 30;

/// Why a command did not do what it was asked: the exit code, and what to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed(pub(super) u8, pub(super) String);

/// Where a command finds the gateway, or else its data file.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Places {
    /// The configuration, for the places of socket and data file [default: usher.toml]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The gateway's admin socket
    #[arg(long, value_name = "FILE")]
    pub(super) socket: Option<PathBuf>,
    /// The data file
    #[arg(long, value_name = "FILE")]
    pub(super) store: Option<PathBuf>,
}

/// Where a command finds the gateway, which it needs.
#[derive(Debug, clap::Args)]
pub(super) struct Door {
    /// The configuration, for the place of the socket [default: usher.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway's admin socket
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

impl Places {
    /// See [`reach`].
    pub(super) fn reach(&self) -> Result<Reach, Failed> {
        let [config, socket, store] = [&self.config, &self.socket, &self.store];
        reach(config.as_deref(), socket.as_deref(), store.as_deref())
    }
}

impl Door {
    /// The gateway, which has to answer: on this socket, or where the configuration says. With where that is.
    pub(super) fn knock(&self) -> Result<(UnixStream, PathBuf), Failed> {
        let path = match &self.socket {
            Some(socket) => socket.clone(),
            None => places(self.config.as_deref(), None, None)?
                .0
                .unwrap_or_default(),
        };
        match UnixStream::connect(&path) {
            Ok(stream) => Ok((stream, path)),
            Err(why) => Err(silent(&path, &why)),
        }
    }
}

fn silent(path: &Path, why: &std::io::Error) -> Failed {
    let path = path.display();
    Failed(TEMPORARY, format!("no gateway answers on {path} ({why})"))
}

/// Who answers a command.
#[derive(Debug)]
pub(super) enum Reach {
    /// The gateway, on its socket at this place.
    Gateway(UnixStream, PathBuf),
    /// Nobody; there is the data file, and why no gateway was asked.
    File(PathBuf, Option<String>),
}

/// The gateway if it answers, else the data file. What is named beats the configuration, which is read unless something
/// is named without it.
pub(super) fn reach(
    config: Option<&Path>,
    socket: Option<&Path>,
    store: Option<&Path>,
) -> Result<Reach, Failed> {
    let (socket, store) = places(config, socket, store)?;
    let unanswered = match socket {
        None => None,
        Some(path) => match UnixStream::connect(&path) {
            Ok(stream) => return Ok(Reach::Gateway(stream, path)),
            Err(why) => Some(silent(&path, &why).1),
        },
    };
    match (unanswered, store) {
        (why, Some(store)) => Ok(Reach::File(store, why)),
        (Some(why), None) => Err(Failed(TEMPORARY, why)),
        (None, None) => Err(Failed(
            USAGE,
            String::from("neither a socket nor a data file is known"),
        )),
    }
}

/// Socket and data file.
pub(super) fn places(
    config: Option<&Path>,
    socket: Option<&Path>,
    store: Option<&Path>,
) -> Result<(Option<PathBuf>, Option<PathBuf>), Failed> {
    let (socket, store) = (socket.map(Path::to_owned), store.map(Path::to_owned));
    let config = match config {
        None if socket.is_some() || store.is_some() => return Ok((socket, store)),
        None => Path::new("usher.toml"),
        Some(path) => path,
    };
    let places = config::places(config).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failed(USAGE, problems.join("\nusher: "))
    })?;
    Ok((
        Some(socket.unwrap_or(places.socket)),
        Some(store.unwrap_or(places.store)),
    ))
}

/// Asks a running gateway: `method` and `target` (path and query). It may be silent for `silence`. The body of a 200.
pub(super) fn ask(
    stream: &UnixStream,
    method: &str,
    target: &str,
    silence: Duration,
) -> Result<Vec<u8>, Failed> {
    send(stream, method, target, b"", silence)
}

/// [`ask`] with a body.
pub(super) fn send(
    mut stream: &UnixStream,
    method: &str,
    target: &str,
    body: &[u8],
    silence: Duration,
) -> Result<Vec<u8>, Failed> {
    let lost =
        |why: std::io::Error| Failed(TEMPORARY, format!("the gateway did not answer ({why})"));
    stream.set_read_timeout(Some(silence)).map_err(lost)?;
    stream.set_write_timeout(Some(silence)).map_err(lost)?;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: usher\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(lost)?;
    stream.write_all(body).map_err(lost)?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer).map_err(lost)?;
    answered(&answer)
}

/// What answers is not what this version of usher answers.
pub(super) fn foreign() -> Failed {
    Failed(
        FAILURE,
        String::from("what answers there is no usher of this version"),
    )
}

/// The body of an answer with a Content-Length, so that one which was cut shows.
fn answered(answer: &[u8]) -> Result<Vec<u8>, Failed> {
    let cut = || {
        Failed(
            TEMPORARY,
            String::from("the gateway's answer was cut short"),
        )
    };
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .ok_or_else(cut)?;
    let (head, body) = answer.split_at(end);
    let body = body.get(4..).unwrap_or_default();
    let mut lines = std::str::from_utf8(head)
        .map_err(|_| foreign())?
        .split("\r\n");
    let status: u16 = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .ok_or_else(foreign)?;
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(foreign)?;
    let body = body.get(..length).ok_or_else(cut)?;
    if status != 200 {
        return Err(refused(status, body));
    }
    Ok(body.to_vec())
}

/// A SCIM error (RFC 7644 3.12) in our own words' place.
fn refused(status: u16, body: &[u8]) -> Failed {
    let error: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = error
        .as_ref()
        .and_then(|error| error.get("detail")?.as_str());
    let detail = detail.map_or_else(|| format!("the gateway answered {status}"), str::to_owned);
    let code = match status {
        503 => TEMPORARY,
        400 => USAGE,
        422 => DATA,
        _ => FAILURE,
    };
    Failed(code, detail)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::error::Fault;

    /// An answer as the console gives it.
    pub(crate) fn http(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    #[test]
    fn answers() {
        let starting = Fault::Unavailable {
            retry_after: 5,
            detail: "The gateway is starting.".into(),
        };
        let wrong = Fault::InvalidValue("since must be a date.".into());
        let whole = http("200 OK", b"{\"a\":1}\n");
        let half = whole.get(..whole.len() - 3).expect("most of it").to_vec();
        for (answer, code, told) in [
            (
                http("503 Service Unavailable", &starting.body()),
                TEMPORARY,
                "The gateway is starting.",
            ),
            (
                http("400 Bad Request", &wrong.body()),
                USAGE,
                "since must be a date.",
            ),
            (
                http("500 Internal Server Error", b"oops"),
                FAILURE,
                "the gateway answered 500",
            ),
            (half, TEMPORARY, "cut short"),
            (Vec::new(), TEMPORARY, "cut short"),
            (
                b"HTTP/1.1 200 OK\r\n\r\n{}".to_vec(),
                FAILURE,
                "no usher of this version",
            ),
            (
                b"SSH-2.0-x\r\n\r\n".to_vec(),
                FAILURE,
                "no usher of this version",
            ),
        ] {
            let Failed(found, text) = answered(&answer).expect_err(told);
            assert_eq!(found, code, "{text}");
            assert!(text.contains(told), "{text}");
        }
        assert_eq!(answered(&whole), Ok(b"{\"a\":1}\n".to_vec()));
        assert_eq!(answered(&http("200 OK", b"")), Ok(Vec::new()));
    }
}
