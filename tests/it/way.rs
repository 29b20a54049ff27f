//! A way to knock: through which door, over what, and showing what. Requests are written by hand, so that nothing makes
//! them any better than they are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::house::House;
use crate::tls::dial;
use crate::wire::{Said, Wire};

/// Any connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Where it leads.
#[derive(Clone)]
pub(crate) enum Door {
    Plain(SocketAddr),
    Tls(SocketAddr, Arc<ClientConfig>),
    Unix(PathBuf),
}

/// A way, with a connection that stays as long as the gateway lets it.
pub(crate) struct Way {
    door: Door,
    /// Whole lines of a head, each with its end.
    lines: String,
    open: Option<Wire<Box<dyn Stream>>>,
}

impl Way {
    pub(crate) fn new(door: Door, lines: &str) -> Self {
        Self {
            door,
            lines: lines.to_owned(),
            open: None,
        }
    }

    /// Shows this token.
    pub(crate) fn bearing(door: Door, token: &str) -> Self {
        Self::new(door, &format!("Authorization: Bearer {token}\r\n"))
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match &self.door {
            Door::Plain(at) => Box::new(TcpStream::connect(at).await?),
            Door::Tls(at, client) => Box::new(dial(*at, client).await?),
            Door::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }

    /// Asks; `None`: no answer at all, the connection was shut instead. A body goes along with what writes.
    pub(crate) async fn ask(&mut self, method: &str, target: &str, body: &str) -> Option<Said> {
        // One that nobody used for long is closed by the gateway.
        let mut kept = self.open.take();
        if let Some(wire) = &mut kept
            && wire.has_ended().await
        {
            kept = None;
        }
        let mut wire = match kept {
            Some(wire) => wire,
            None => Wire::over(self.connect().await.ok()?),
        };
        let mut text = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{}",
            self.lines
        );
        if matches!(method, "POST" | "PUT" | "PATCH") {
            let length = body.len();
            text += &format!(
                "Content-Type: application/scim+json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        } else {
            text += "\r\n";
        }
        wire.send(text.as_bytes()).await;
        let said = wire.try_hear(method).await?;
        // An answer to CONNECT, whatever it is, ends the HTTP on its connection for some.
        let shut = said.header("connection") == Some("close") || method == "CONNECT";
        if !shut {
            self.open = Some(wire);
        }
        Some(said)
    }

    /// Creates a user or a group, and says its id.
    pub(crate) async fn create(&mut self, kind: &str, name: &str) -> String {
        let body = new(kind, name).to_string();
        let made = self.ask("POST", &format!("/scim/v2/{kind}"), &body).await;
        let made = made.expect("an answer");
        assert_eq!(made.status, 201, "{}", made.json());
        made.json()["id"].as_str().expect("an id").to_owned()
    }
}

/// The body that creates a user or a group of this name.
pub(crate) fn new(kind: &str, name: &str) -> Value {
    match kind {
        "Groups" => json!({"displayName": name}),
        _ => {
            json!({"userName": format!("{name}@example.com"), "name": {"givenName": "A", "familyName": "B"},
            "emails": [{"value": format!("{name}@example.com"), "type": "work", "primary": true}], "active": true})
        }
    }
}

/// A refusal is a SCIM error (RFC 7644 3.12) with the header that its status wants; else what is wrong with it.
pub(crate) fn refusal(method: &str, said: &Said) -> Result<(), String> {
    let wanted = match said.status {
        401 => Some("www-authenticate"),
        405 => Some("allow"),
        429 => Some("retry-after"),
        _ => None,
    };
    if let Some(name) = wanted.filter(|name| said.header(name).is_none()) {
        return Err(format!("{} without {name}", said.status));
    }
    let body = said.json();
    let explained = body["status"] == json!(said.status.to_string())
        && body["schemas"] == json!(["urn:ietf:params:scim:api:messages:2.0:Error"])
        && body["detail"].as_str().is_some_and(|text| !text.is_empty());
    if method == "HEAD" || explained {
        Ok(())
    } else {
        Err(format!("{} is explained by {body}", said.status))
    }
}

/// Everything that a request which is refused must leave as it is: the data file to the byte, what the writer did, what is
/// waiting to be noted, and the application's log.
#[derive(PartialEq, Eq)]
pub(crate) struct State {
    file: Vec<u8>,
    written: (u64, u64, u64, u64),
    journal: u64,
    calls: usize,
}

impl State {
    pub(crate) fn of(house: &House) -> Self {
        let engine = house.serving.gateway.engine().expect("it is open");
        let done = engine.store.statistics();
        let view = engine.store.view().expect("a view");
        Self {
            file: std::fs::read(house.folder().join("usher.redb")).expect("the data file"),
            written: (done.commits, done.rows, done.notes, done.notes_dropped),
            journal: view.last_sequence().expect("a journal"),
            calls: house.sandbox.state().calls().len(),
        }
    }

    /// Its parts, without the bytes.
    pub(crate) fn told(&self) -> String {
        let (commits, rows, notes, _) = self.written;
        format!(
            "{} bytes, {commits} commits, {rows} rows, {notes} notes, {} records, {} calls",
            self.file.len(),
            self.journal,
            self.calls
        )
    }
}
