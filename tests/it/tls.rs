//! TLS from clients: what is spoken, who is let in by which certificate, and how a handshake may go wrong.

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use usher::clock::Clock;
use usher::config::shape;
use usher::server::accept::HANDSHAKE;

use crate::house::{House, PATIENCE, Plan, TOKEN, say};

type Stream = TlsStream<TcpStream>;

/// Who issues certificates.
pub(crate) struct Issuer(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(crate) struct Card {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    pem: String,
}

fn issuing(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Issuer {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(issuing(name), key).unwrap())
    }

    fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(issuing(name), key, &self.0).unwrap())
    }

    /// A certificate for `localhost`, or for a client, as `shape` makes it.
    pub(crate) fn issue(&self, shape: impl FnOnce(&mut CertificateParams)) -> Card {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![String::from("localhost")]).unwrap();
        shape(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Card {
            chain: vec![certificate.der().clone()],
            pem: certificate.pem(),
            key,
        }
    }

    pub(crate) fn client(&self) -> Card {
        self.issue(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// Its own certificate, shown as if it were somebody's.
    fn itself(&self) -> Card {
        let key = self.0.key().serialize_pem();
        Card {
            chain: vec![self.0.der().clone()],
            key: KeyPair::from_pem(&key).unwrap(),
            pem: self.0.pem(),
        }
    }
}

impl Card {
    pub(crate) fn pin(&self) -> String {
        let hash = usher::config::pem::fingerprint(&self.chain[0]);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn tls(&self, client_ca: Option<&Issuer>) -> shape::Tls {
        shape::Tls {
            certificate: self.pem.clone().into_bytes(),
            key: shape::Secret(self.key.serialize_pem()),
            client_ca: client_ca.map(|issuer| issuer.0.pem().into_bytes()),
        }
    }
}

/// A gateway with TLS, and who issued what.
pub(crate) struct Secured {
    pub(crate) house: House,
    pub(crate) issuer: Issuer,
    /// The lines that name certificate and key.
    tls: String,
    _files: tempfile::TempDir,
}

impl Secured {
    pub(crate) async fn new() -> Self {
        let issuer = Issuer::new("servers");
        Self::with(issuer, None, Plan::default()).await
    }

    /// `clients` issues client certificates.
    pub(crate) async fn with(issuer: Issuer, clients: Option<&Issuer>, plan: Plan) -> Self {
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            format!("\"{}\"", path.display())
        };
        let card = issuer.issue(|_| ());
        let mut tls = format!(
            "[server.tls]\ncertificate = {}\nkey = {}\n",
            write("tls.crt", &card.pem),
            write("tls.key", &card.key.serialize_pem())
        );
        if let Some(clients) = clients {
            tls += &format!("client_ca = {}\n", write("clients.pem", &clients.0.pem()));
        }
        let tables = tls.clone() + &plan.tables;
        let house = House::with(Plan { tables, ..plan }).await;
        Self {
            house,
            issuer,
            tls,
            _files: files,
        }
    }

    /// Puts other tables in force, with the same certificate.
    pub(crate) async fn reload(&self, tables: &str) {
        let tables = self.tls.clone() + tables;
        let plan = Plan {
            tables,
            ..Plan::default()
        };
        self.house.reload(&plan).await;
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.house.serving.address
    }

    /// Dials, offering these protocols.
    pub(crate) async fn dial(&self, alpn: &[&[u8]]) -> std::io::Result<Stream> {
        dial(self.at(), &config(&self.issuer, None, alpn)).await
    }
}

/// A client that trusts `issuer` and shows `card`.
pub(crate) fn config(issuer: &Issuer, card: Option<&Card>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    versions(issuer, card, alpn, rustls::DEFAULT_VERSIONS)
}

fn versions(
    issuer: &Issuer,
    card: Option<&Card>,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(issuer.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match card {
        None => builder.with_no_client_auth(),
        Some(card) => {
            let key = PrivateKeyDer::try_from(card.key.serialize_der()).unwrap();
            let chain = card.chain.clone();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

pub(crate) async fn dial(at: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Stream> {
    let stream = TcpStream::connect(at).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await
}

/// Asks once over `stream`, in the HTTP that was agreed on: the status and the body.
async fn ask(
    stream: Stream,
    method: &str,
    path: &str,
    authorization: Option<&str>,
    body: &str,
) -> Result<(u16, Value), String> {
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let uri = if h2 {
        format!("https://localhost/scim/v2{path}")
    } else {
        format!("/scim/v2{path}")
    };
    let mut request = Request::builder().method(method).uri(uri);
    if !h2 {
        request = request.header("host", "localhost");
    }
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let request = request
        .header("content-type", "application/scim+json")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let told = |why: hyper::Error| format!("{why:?}");
    let io = TokioIo::new(stream);
    let answer = if h2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(told)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(told)?
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(told)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(told)?
    };
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.map_err(told)?.to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok((status, body))
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// Does `work` while the clock goes on.
pub(crate) async fn in_time<F: Future>(clock: &Clock, work: F) -> F::Output {
    let passing = async {
        loop {
            // Gives the gateway's tasks the machine; how long does not matter.
            tokio::time::sleep(Duration::from_millis(1)).await;
            clock.advance(Duration::from_millis(50));
        }
    };
    tokio::select! {
        done = tokio::time::timeout(PATIENCE, work) => done.expect("it ends"),
        () = passing => unreachable!("time does not end"),
    }
}

#[tokio::test]
async fn alpn_chooses_the_http_that_is_spoken() {
    let secured = Secured::new().await;
    let user = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ada@example.com","name":{"givenName":"Ada","familyName":"L"},"emails":[{"value":"ada@example.com","type":"work"}]}"#;
    let stream = secured.dial(&[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (status, made) = ask(stream, "POST", "/Users", Some(&bearer()), user)
        .await
        .unwrap();
    assert_eq!(status, 201, "{made}");
    let location = made["meta"]["location"].as_str().unwrap();
    let base = format!("https://{}/scim/v2/Users/", secured.at());
    assert!(location.starts_with(&base), "{location}");
    let path = format!("/Users/{}", made["id"].as_str().unwrap());
    let mut asked = 0;
    for (alpn, wanted) in [
        (&[&b"http/1.1"[..]][..], Some(&b"http/1.1"[..])),
        (&[&b"http/1.1"[..], b"h2"], Some(b"h2")),
        (&[], None),
    ] {
        let stream = secured.dial(alpn).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), wanted);
        let (status, read) = ask(stream, "GET", &path, Some(&bearer()), "")
            .await
            .unwrap();
        assert_eq!((status, &read), (200, &made));
        asked += 1;
    }
    let refused = secured.dial(&[b"spdy/3"]).await.unwrap_err();
    assert!(
        refused.to_string().contains("NoApplicationProtocol"),
        "{refused}"
    );
    say(&format!("alpn: {asked} ways to read what came by HTTP/2"));
}

#[tokio::test]
async fn tls_1_2_and_1_3_resume_and_1_1_is_refused() {
    let secured = Secured::new().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = versions(&secured.issuer, None, &[], &[version]);
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut stream = dial(secured.at(), &client).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            // The tickets come with the first answer.
            let text = b"GET /scim/v2/Users HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(text).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'H');
        }
        let wanted = [
            HandshakeKind::Full,
            HandshakeKind::Resumed,
            HandshakeKind::Resumed,
        ];
        assert_eq!(kinds, wanted, "{version:?}");
    }
    // A ClientHello of TLS 1.1 (RFC 4346 7.4.1.2) with one cipher and one extension.
    let mut hello = vec![0x16, 3, 1, 0, 55, 1, 0, 0, 51, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    // signature_algorithms: ECDSA with P-256
    hello.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut stream = TcpStream::connect(secured.at()).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut alert = Vec::new();
    let _reset = stream.read_to_end(&mut alert).await;
    // A fatal alert (RFC 8446 6.2): protocol_version.
    assert_eq!(alert.first(), Some(&0x15), "{alert:x?}");
    assert_eq!(&alert[5..], [2, 70], "{alert:x?}");
}

/// What is refused in TLS 1.3 is heard of with the first answer only.
async fn outcome(secured: &Secured, client: &Arc<ClientConfig>, token: Option<&str>) -> u16 {
    let Ok(stream) = dial(secured.at(), client).await else {
        return 0;
    };
    ask(stream, "GET", "/Users", token, "")
        .await
        .map_or(0, |(status, _)| status)
}

#[tokio::test]
async fn who_is_let_in_by_which_certificate() {
    let (clients, foreign) = (Issuer::new("clients"), Issuer::new("clients"));
    let middle = clients.below("middle");
    let (card, both, unpinned) = (clients.client(), clients.client(), clients.client());
    let ended = clients.issue(|params| params.not_after = date_time_ymd(2026, 11, 23));
    let early = clients.issue(|params| params.not_before = date_time_ymd(2026, 11, 25));
    let server = clients.issue(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let mut below = middle.client();
    let alone = Card {
        chain: below.chain.clone(),
        key: KeyPair::from_pem(&below.key.serialize_pem()).unwrap(),
        pem: String::new(),
    };
    below.chain.push(middle.0.der().clone());
    let stranger = foreign.client();
    let (above, root) = (middle.itself(), clients.itself());
    let token = "ush_another-token-for-tests-and-nothing-else-02";
    let hash: String = usher::auth::hash(token.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let pins = [
        &card, &ended, &early, &server, &below, &stranger, &above, &root,
    ]
    .map(Card::pin);
    let plan = Plan {
        tables: format!(
            "[[client]]\nname = \"card\"\ncertificate_sha256 = {pins:?}\n[[client]]\nname = \"both\"\ntoken_sha256 = [\"{hash}\"]\ncertificate_sha256 = [\"{}\"]\n",
            both.pin()
        ),
        ..Plan::default()
    };
    let secured = Secured::with(Issuer::new("servers"), Some(&clients), plan).await;
    let tokens = [
        None,
        Some(bearer()),
        Some(format!("Bearer {token}")),
        Some(String::from("Bearer wrong")),
    ];
    let mut cases = 0;
    for (name, shown, wanted) in [
        ("none", None, [401, 200, 401, 401]),
        ("pinned, enough", Some(&card), [200, 401, 401, 401]),
        ("pinned, with a token", Some(&both), [401, 401, 200, 401]),
        ("pinned to nobody", Some(&unpinned), [401, 200, 401, 401]),
        ("by an intermediate", Some(&below), [200, 401, 401, 401]),
        ("the same without it", Some(&alone), [0; 4]),
        ("of a foreign issuer", Some(&stranger), [0; 4]),
        ("ended", Some(&ended), [0; 4]),
        ("not begun", Some(&early), [0; 4]),
        ("for servers", Some(&server), [0; 4]),
        ("an intermediate as leaf", Some(&above), [0; 4]),
        ("the root as leaf", Some(&root), [0; 4]),
    ] {
        for alpn in [&b"h2"[..], b"http/1.1"] {
            for (token, wanted) in tokens.iter().zip(wanted) {
                // Each with a store of sessions of its own: what is looked at is the handshake.
                let client = config(&secured.issuer, shown, &[alpn]);
                let got = outcome(&secured, &client, token.as_deref()).await;
                assert_eq!(got, wanted, "{name}, {token:?}");
                cases += 1;
            }
        }
    }
    // Without a certificate there is no way in for who needs one; with TLS 1.2 it is the same.
    let client = versions(
        &secured.issuer,
        Some(&card),
        &[],
        &[&rustls::version::TLS12],
    );
    assert_eq!(outcome(&secured, &client, None).await, 200);
    say(&format!("client certificates: {} cases", cases + 1));
}

#[tokio::test]
async fn a_session_that_is_taken_up_again_knows_its_certificate_and_its_end() {
    let clients = Issuer::new("clients");
    let long = clients.client();
    let short = clients.issue(|params| params.not_after = date_time_ymd(2026, 12, 1));
    let plan = Plan {
        tables: format!(
            "[[client]]\nname = \"card\"\ncertificate_sha256 = {:?}\n",
            [long.pin(), short.pin()]
        ),
        ..Plan::default()
    };
    let secured = Secured::with(Issuer::new("servers"), Some(&clients), plan).await;
    let (long, short) = (
        config(&secured.issuer, Some(&long), &[]),
        config(&secured.issuer, Some(&short), &[]),
    );
    for client in [&long, &short] {
        assert_eq!(outcome(&secured, client, None).await, 200);
        let again = dial(secured.at(), client).await.unwrap();
        let kind = again.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Resumed));
        let (status, _) = ask(again, "GET", "/Users", None, "").await.unwrap();
        assert_eq!(status, 200);
    }
    secured
        .house
        .clock
        .advance(Duration::from_secs(30 * 86_400));
    for (client, wanted) in [(&long, Some(200)), (&short, None)] {
        let again = dial(secured.at(), client).await.unwrap();
        let kind = again.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Resumed));
        let answer = ask(again, "GET", "/Users", None, "").await;
        assert_eq!(answer.ok().map(|(status, _)| status), wanted);
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_for_new_connections() {
    let secured = Secured::new().await;
    let client = config(&secured.issuer, None, &[]);
    let shown = |stream: &Stream| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let text = b"GET /scim/v2/Users HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut old = dial(secured.at(), &client).await.unwrap();
    old.write_all(text).await.unwrap();
    let mut answer = [0; 12];
    old.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");

    let acceptor = secured.house.serving.tls.as_ref().unwrap();
    let renewed = secured.issuer.issue(|_| ());
    let mixed = shape::Tls {
        key: shape::Secret(renewed.key.serialize_pem()),
        ..secured.issuer.issue(|_| ()).tls(None)
    };
    let why = acceptor.replace(&mixed).unwrap_err();
    assert!(why.contains("server.tls.key"), "{why}");
    let unchanged = dial(secured.at(), &client).await.unwrap();
    assert_eq!(shown(&unchanged), shown(&old));

    acceptor.replace(&renewed.tls(None)).unwrap();
    let new = dial(secured.at(), &client).await.unwrap();
    assert_eq!(shown(&new), renewed.chain[0]);
    // No session of before goes on under what is trusted now.
    let kind = new.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::Full));
    assert_ne!(shown(&old), shown(&new));
    old.write_all(text).await.unwrap();
    let mut twice = Vec::new();
    while !String::from_utf8_lossy(&twice).contains("HTTP/1.1 401") {
        twice.push(old.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn a_reload_that_is_refused_leaves_the_certificate_as_it_was() {
    let secured = Secured::new().await;
    let serving = &secured.house.serving;
    let tls = serving.tls.as_ref().unwrap();
    let before = tls.ends();
    let renewed = secured.issuer.issue(|params| {
        params.not_after = date_time_ymd(2090, 1, 1);
    });
    let mut wanted = secured.house.config(&Plan {
        tables: secured.tls.clone(),
        ..Plan::default()
    });
    wanted.server.tls = Some(renewed.tls(None));
    // It cannot be put on record which configuration is in force.
    let engine = serving.gateway.engine().unwrap();
    engine.store.set_free_space(0);
    assert!(serving.reload(wanted.clone()).await.is_err());
    assert_eq!(tls.ends(), before);
    engine.store.set_free_space(u64::MAX);
    assert!(serving.reload(wanted).await.is_ok());
    assert_ne!(tls.ends(), before);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let secured = Secured::new().await;
    let clock = &secured.house.clock;
    let mut cut = Vec::new();
    for begun in [&b""[..], &[0x16], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
        let before = clock.now();
        let mut stream = TcpStream::connect(secured.at()).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        let ended = in_time(clock, stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{ended:?} {rest:?}");
        let took = clock.now().since(before);
        assert!(took >= HANDSHAKE, "{took:?}");
        cut.push(took);
    }
    say(&format!(
        "handshakes cut after {cut:?} (limit {HANDSHAKE:?})"
    ));
    assert_eq!(
        outcome(
            &secured,
            &config(&secured.issuer, None, &[]),
            Some(&bearer())
        )
        .await,
        200
    );
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_closed_and_nobody_else_minds() {
    let secured = Secured::new().await;
    let text = format!(
        "GET /scim/v2/Users HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\r\n",
        bearer()
    );
    for said in [
        text.as_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xff; 64],
    ] {
        let mut stream = TcpStream::connect(secured.at()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest).await;
        // At most an alert: never an answer.
        assert!(rest.len() <= 7 && !rest.starts_with(b"HTTP"), "{rest:?}");
    }
    let client = config(&secured.issuer, None, &[]);
    assert_eq!(outcome(&secured, &client, Some(&bearer())).await, 200);
    // The admin endpoints are on loopback: a health check needs no TLS there.
    let mut admin = TcpStream::connect(secured.house.serving.admin)
        .await
        .unwrap();
    let text = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    admin.write_all(text).await.unwrap();
    let mut answer = [0; 12];
    admin.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn beyond_loopback_the_admin_endpoints_have_the_same_certificate() {
    let plan = Plan {
        admin: Some("0.0.0.0:0"),
        ..Plan::default()
    };
    let secured = Secured::with(Issuer::new("servers"), None, plan).await;
    let at = SocketAddr::from(([127, 0, 0, 1], secured.house.serving.admin.port()));
    let mut admin = dial(at, &config(&secured.issuer, None, &[])).await.unwrap();
    let text = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    admin.write_all(text).await.unwrap();
    let mut answer = [0; 12];
    admin.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn tls_that_waits_for_a_restart_is_in_no_location_yet() {
    let secured = Secured::new().await;
    let plain = House::new().await;
    let tables = secured.tls.clone();
    for (house, plan, wanted) in [
        (
            &plain,
            Plan {
                tables,
                ..Plan::default()
            },
            "http://",
        ),
        (&secured.house, Plan::default(), "https://"),
    ] {
        let told = house.reload(&plan).await.restart;
        let keys: Vec<&str> = told.iter().map(|it| it.key).collect();
        assert_eq!(keys, ["server.tls"]);
        let base = house.serving.gateway.running().base.clone();
        assert_eq!(base, format!("{wanted}{}/scim/v2", house.serving.address));
    }
}
