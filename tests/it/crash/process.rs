//! The gateway as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::house::PATIENCE;

/// The real binary, serving. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    socket: PathBuf,
    /// Where SCIM is.
    pub(crate) base: String,
    /// Intents that its predecessor left and this one rolled forward.
    pub(crate) rolled_forward: u64,
}

impl Process {
    /// Starts it on `usher.toml` in this folder and waits until it answers requests.
    pub(crate) async fn start(folder: &Path, token: &str) -> Self {
        let log = folder.join("stderr.log");
        let child = Command::new(env!("CARGO_BIN_EXE_usher"))
            .args(["serve", "--config"])
            .arg(folder.join("usher.toml"))
            .env("SANDBOX_TOKEN", token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("the binary");
        // Held from here on, so that it ends with the test whatever goes wrong.
        let mut gateway = Self {
            child,
            socket: folder.join("usher.sock"),
            base: String::new(),
            rolled_forward: 0,
        };
        let ready = async {
            loop {
                let lines = lines(&log);
                if lines.iter().any(|line| line["message"] == "ready") {
                    return lines;
                }
                if let Some(status) = gateway.child.try_wait().expect("a child") {
                    panic!(
                        "it ended with {status}: {}",
                        std::fs::read_to_string(&log).unwrap_or_default()
                    );
                }
                // Waiting for another process: there is nothing to be woken by.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let lines = tokio::time::timeout(PATIENCE, ready)
            .await
            .expect("it gets ready");
        let base = lines
            .iter()
            .find_map(|line| line["scim"].as_str())
            .expect("it says where it listens");
        gateway.base = base.to_owned();
        gateway.rolled_forward = lines
            .iter()
            .filter_map(|line| line["intents"].as_u64())
            .sum();
        gateway
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        let status = self.child.wait().expect("it ends");
        assert_eq!(
            status.code(),
            None,
            "it was killed and did not end by itself"
        );
    }

    /// SIGTERM: it drains and closes its data file.
    pub(crate) fn stop(mut self) {
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .expect("kill");
        assert!(asked.success());
        let status = self.child.wait().expect("it ends");
        assert!(ExitStatus::success(&status), "{status}");
    }

    /// The report's rows that are queued or unknown, some of each.
    pub(crate) async fn open_rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for status in ["queued", "unknown"] {
            rows.extend(self.report(&format!("status={status}&limit=20")).await);
        }
        rows
    }

    /// The report's rows.
    pub(crate) async fn report(&self, query: &str) -> Vec<String> {
        let mut socket = UnixStream::connect(&self.socket)
            .await
            .expect("the admin socket");
        let request =
            format!("GET /report?{query} HTTP/1.1\r\nhost: usher\r\nconnection: close\r\n\r\n");
        socket
            .write_all(request.as_bytes())
            .await
            .expect("it listens");
        let mut answer = String::new();
        socket
            .read_to_string(&mut answer)
            .await
            .expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        body.lines().map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, unless the test panicked.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The log's whole lines.
fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
