//! How far long work is, for whoever waits for it at a terminal.

use std::io::IsTerminal as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::socket::{self, Door, Failed};
use super::{FAILURE, complain};

/// How long the gateway may be silent about work that goes through all that is in an application.
const SILENCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// ... and while it only tells how far it is.
const SHORT: Duration = Duration::from_secs(5);
/// How often a person is shown that.
const OFTEN: Duration = Duration::from_millis(200);

/// Has the gateway do what takes long, and shows a person how far it is, as it tells at `so_far` and `read` reads: its
/// answer.
pub(super) fn carried(
    door: &Door,
    target: String,
    so_far: &str,
    read: impl Fn(&[u8]) -> Option<(u64, u64)>,
) -> Result<Vec<u8>, Failed> {
    let (stream, path) = door.knock()?;
    let asked = move || socket::ask(&stream, "POST", &target, SILENCE);
    let body = shown(asked, || read(&told(&path, so_far)?));
    body.map_err(|Failed(code, why)| Failed(code, format!("{}: {why}", path.display())))
}

/// What the gateway on this socket tells of how far it is.
pub(super) fn told(path: &Path, target: &str) -> Option<Vec<u8>> {
    let stream = UnixStream::connect(path).ok()?;
    socket::ask(&stream, "GET", target, SHORT).ok()
}

/// Does `work` on a thread of its own, and shows a person how far it is meanwhile: (done, all).
pub(super) fn shown<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
    so_far: impl Fn() -> Option<(u64, u64)>,
) -> Result<T, Failed> {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    let result = loop {
        match done.recv_timeout(OFTEN) {
            Ok(result) => break result,
            Err(RecvTimeoutError::Timeout) => {
                if let Some((done, all)) = so_far().filter(|(_, all)| *all > 0) {
                    complain(&format!("\r{:3} %", done.saturating_mul(100) / all));
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                break Err(Failed(FAILURE, String::from("it ended without an answer")));
            }
        }
    };
    complain("\r     \r");
    result
}
