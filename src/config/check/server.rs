//! `[server]` and `[admin]`: where is listened, and how.

use std::net::SocketAddr;
use std::path::Path;

use super::{Source, Surroundings, later_rows, limits, only_empty, socket};
use crate::config::pem::{self, Mistake};
use crate::config::read::{Node, Table};
use crate::config::shape::{Admin, Limits, Secret, Server, Tls};
use crate::config::value;

pub(super) fn server(table: Table<'_>, around: &Surroundings<'_>) -> (Server, Limits) {
    let words = [("loopback", false), ("anywhere", true)];
    let plain_anywhere = table.word("plain_http", &words, false);
    only_empty(&table, "trusted_proxies");
    let tls = table.get("tls");
    let beyond = if tls.is_some() || plain_anywhere {
        None
    } else {
        Some(
            "a loopback address, or [server.tls] for another one, or plain_http = \"anywhere\" where a proxy before it does TLS",
        )
    };
    let server = Server {
        listen: listen(&table, SocketAddr::from(([127, 0, 0, 1], 8080)), beyond),
        base_url: table.get("base_url").and_then(|node| {
            let text = node.text()?;
            match value::url(text) {
                Ok(url) => Some(url.text),
                Err(found) => {
                    let wanted = "a URL such as \"https://scim.example.com/scim/v2\"";
                    node.tell(found.into(), wanted, None);
                    None
                }
            }
        }),
        plain_anywhere,
        tls: tls
            .and_then(|node| node.table())
            .map(|table| self::tls(table, around)),
    };
    let limits = limits(table.table("limits"));
    table.finish();
    (server, limits)
}

/// What cannot be read is told and left empty.
fn tls(table: Table<'_>, around: &Surroundings<'_>) -> Tls {
    let chain = table.required("certificate", "the path of a PEM certificate chain");
    let secret = table.required("key", "the path of the certificate's PEM key");
    let roots = table.get("client_ca");
    if !around.opens {
        table.finish();
        return Tls {
            certificate: Vec::new(),
            key: Secret(String::new()),
            client_ca: roots.map(|_| Vec::new()),
        };
    }
    let certificate = chain.as_ref().and_then(|node| public(node, around));
    let key = secret.as_ref().and_then(|node| {
        let path = around.beside.join(node.text()?);
        match (around.secret)(Source::Key(&path)) {
            Ok(key) => Some(key),
            Err(refusal) => {
                node.tell(refusal.found, &refusal.wanted, None);
                None
            }
        }
    });
    if let (Some(certificate), Some(key)) = (&certificate, &key)
        && let Err(mistake) = pem::identity(certificate, key)
    {
        let (node, found, wanted) = match mistake {
            Mistake::Certificate(found) => (&chain, found, "PEM certificates, the leaf first"),
            Mistake::Key(found) => (&secret, found, "the PEM key of the leaf in certificate"),
        };
        if let Some(node) = node {
            node.tell(found, wanted, None);
        }
    }
    let client_ca = roots.as_ref().and_then(|node| {
        let bytes = public(node, around)?;
        if let Err(found) = pem::roots(&bytes) {
            node.tell(
                found,
                "PEM certificates of those who issue client certificates",
                None,
            );
        }
        Some(bytes)
    });
    table.finish();
    Tls {
        certificate: certificate.unwrap_or_default(),
        key: Secret(key.unwrap_or_default()),
        // A key that is there counts, so that what needs it is not told of as well.
        client_ca: client_ca.or_else(|| roots.map(|_| Vec::new())),
    }
}

fn public(node: &Node<'_>, around: &Surroundings<'_>) -> Option<Vec<u8>> {
    match (around.public)(&around.beside.join(node.text()?)) {
        Ok(bytes) => Some(bytes),
        Err(refusal) => {
            node.tell(refusal.found, &refusal.wanted, None);
            None
        }
    }
}

pub(super) fn admin(table: Table<'_>, scim: &Server, beside: &Path) -> Admin {
    let beyond = if scim.tls.is_some() {
        None
    } else {
        Some("a loopback address: beyond it only with [server.tls]")
    };
    let admin = Admin {
        socket: socket(&table, beside),
        listen: listen(&table, SocketAddr::from(([127, 0, 0, 1], 8081)), beyond),
    };
    if admin.listen == scim.listen && scim.listen.port() != 0 {
        let wanted = "another port than server.listen has";
        match table.get("listen") {
            Some(node) => node.wrong(wanted),
            None => {
                let key = table.dotted("listen");
                let wanted = "an address of its own: server.listen has its default";
                table.notes.absent(table.at, &key, wanted);
            }
        }
    }
    // The console that would edit the file comes later; both answers are fine until then.
    table.boolean("editable", true);
    later_rows(&table, "user", &["name", "role", "password_hash"]);
    table.finish();
    admin
}

/// An address to listen on. `beyond`: what is wanted instead of one beyond loopback, where that may not be.
fn listen(table: &Table<'_>, default: SocketAddr, beyond: Option<&str>) -> SocketAddr {
    let Some(node) = table.get("listen") else {
        return default;
    };
    let Some(text) = node.text() else {
        return default;
    };
    let Ok(address) = text.parse::<SocketAddr>() else {
        let meant = text.replacen("localhost", "127.0.0.1", 1);
        let meant = if text.starts_with(':') {
            format!("127.0.0.1{text}")
        } else {
            meant
        };
        let meant = meant.parse::<SocketAddr>().is_ok().then_some(meant);
        node.mistaken(
            &format!("an address and port such as \"{default}\""),
            meant.map(|address| format!("\"{address}\"")),
        );
        return default;
    };
    if let Some(wanted) = beyond
        && !address.ip().is_loopback()
    {
        let near = format!("\"{}:{}\"", default.ip(), address.port());
        node.mistaken(wanted, Some(near));
    }
    address
}
