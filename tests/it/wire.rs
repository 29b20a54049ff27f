//! HTTP/1.1 by hand, for what no client would send: bytes out, and every answer that comes back.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::house::PATIENCE;

/// One connection.
pub(crate) struct Wire<S = TcpStream> {
    socket: S,
    come: Vec<u8>,
}

/// One answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Said {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1);
        lines.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Wire {
    pub(crate) async fn open(at: SocketAddr) -> Self {
        let socket = TcpStream::connect(at).await.expect("it listens");
        Self::over(socket)
    }

    /// Sends and reads at once, as a body larger than any buffer needs.
    pub(crate) async fn send_and_hear(&mut self, bytes: &[u8], method: &str) -> Said {
        let (mut reader, mut writer) = self.socket.split();
        let come = &mut self.come;
        let reading = async {
            loop {
                if let Some((said, rest)) = parse(come, method, false) {
                    *come = rest;
                    return said;
                }
                assert_ne!(more(&mut reader, come).await, 0, "closed: {}", text(come));
            }
        };
        tokio::select! {
            said = reading => said,
            () = async {
                let _hung_up = writer.write_all(bytes).await;
                std::future::pending().await
            } => unreachable!("sending does not end"),
        }
    }

    /// Nothing has come so far.
    pub(crate) fn is_silent(&self) -> bool {
        self.come.is_empty() && self.socket.try_read(&mut [0]).is_err()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Over TLS, a Unix socket, or what else there is.
    pub(crate) fn over(socket: S) -> Self {
        let come = Vec::new();
        Self { socket, come }
    }

    /// Sends, reading nothing meanwhile. A gateway that has hung up by then is no failure.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _hung_up = self.socket.write_all(bytes).await;
        let _as_well = self.socket.flush().await;
    }

    /// It was hung up, or something came that nobody asked for.
    pub(crate) async fn has_ended(&mut self) -> bool {
        let mut byte = [0];
        // A read that waits tells of neither.
        let read = timeout(Duration::ZERO, self.socket.read(&mut byte));
        read.await.is_ok()
    }

    /// No more will be sent.
    pub(crate) async fn end(&mut self) {
        let _hung_up = self.socket.shutdown().await;
    }

    /// The next answer; to HEAD there is no body.
    pub(crate) async fn hear(&mut self, method: &str) -> Said {
        let said = self.try_hear(method).await;
        said.unwrap_or_else(|| panic!("closed: {}", text(&self.come)))
    }

    /// The next answer, unless it hangs up instead.
    pub(crate) async fn try_hear(&mut self, method: &str) -> Option<Said> {
        loop {
            if let Some((said, rest)) = parse(&self.come, method, false) {
                self.come = rest;
                return Some(said);
            }
            if more(&mut self.socket, &mut self.come).await == 0 {
                return None;
            }
        }
    }

    /// Every answer until the gateway hangs up; the `methods` are those of the requests.
    pub(crate) async fn hear_all(&mut self, methods: &[&str]) -> Vec<Said> {
        while more(&mut self.socket, &mut self.come).await > 0 {}
        let mut all = Vec::new();
        let mut of = methods.iter();
        while !self.come.is_empty() {
            let method = match self.come.starts_with(b"HTTP/1.1 100") {
                true => "GET",
                false => of.next().unwrap_or(&"GET"),
            };
            let (said, rest) =
                parse(&self.come, method, true).unwrap_or_else(|| panic!("{}", text(&self.come)));
            self.come = rest;
            all.push(said);
        }
        all
    }
}

/// Reads what there is; 0 at the end, of which a reset is one.
async fn more(socket: &mut (impl AsyncReadExt + Unpin), come: &mut Vec<u8>) -> usize {
    let reading = timeout(PATIENCE, socket.read_buf(come)).await;
    reading.expect("an answer or an end").unwrap_or(0)
}

/// The first answer in `bytes`, and what is behind it.
fn parse(bytes: &[u8], method: &str, ended: bool) -> Option<(Said, Vec<u8>)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, mut rest) = (text(&bytes[..end]), &bytes[end + 4..]);
    let status = head.get(9..12)?.parse().ok()?;
    let mut said = Said {
        status,
        head,
        body: Vec::new(),
    };
    let bodiless = method == "HEAD" || matches!(status, 100 | 204 | 304);
    if bodiless {
        return Some((said, rest.to_vec()));
    }
    if said.header("transfer-encoding") == Some("chunked") {
        loop {
            let line = rest.windows(2).position(|two| two == b"\r\n")?;
            let size = usize::from_str_radix(&text(&rest[..line]), 16).ok()?;
            let chunk = rest.get(line + 2..line + 2 + size)?;
            said.body.extend_from_slice(chunk);
            rest = rest.get(line + 4 + size..)?;
            if size == 0 {
                return Some((said, rest.to_vec()));
            }
        }
    }
    let length = match said.header("content-length") {
        Some(length) => length.parse().ok()?,
        None if ended => rest.len(),
        None => 0,
    };
    said.body = rest.get(..length)?.to_vec();
    Some((said, rest[length..].to_vec()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
