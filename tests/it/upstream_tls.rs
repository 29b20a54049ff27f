//! TLS to applications and token endpoints: authorities of one's own, and every way in which a peer is not who it should be.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use usher::clock::{Clock, Timestamp};
use usher::sandbox::{Options, Sandbox};

use crate::cli::user;
use crate::credentials::{Peer, Standing, config, grant, server_to_server};
use crate::house::PATIENCE;

const BEARER: &str = r#"{ kind = "bearer", token = { env = "SANDBOX_TOKEN" } }"#;

/// An authority that issues certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A certificate for `name` from one year to another, with its key.
    fn issue(
        &self,
        name: &str,
        from: i32,
        to: i32,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.into()]).expect("parameters");
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        (certificate.der().clone(), key)
    }

    fn good(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        self.issue("localhost", 2020, 2090)
    }

    /// A folder with its certificate in `ca.pem`.
    fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), &self.pem).expect("a file");
        folder
    }
}

/// Opens TLS before a plain server at `to`. Says how it went.
struct Front {
    port: u16,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
}

impl Front {
    async fn new(
        (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
        to: String,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate");
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&handshakes);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, keep, to) = (acceptor.clone(), Arc::clone(&keep), to.clone());
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(stream).await else {
                        return;
                    };
                    let kind = tls.get_ref().1.handshake_kind().expect("it is done");
                    keep.lock().expect("no panic").push(kind);
                    let mut behind = TcpStream::connect(to).await.expect("it listens");
                    let _ended = copy_bidirectional(&mut tls, &mut behind).await;
                });
            }
        });
        Self { port, handshakes }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

fn sandbox() -> Sandbox {
    Sandbox::start(Options {
        clock: Clock::manual(Timestamp(1_795_465_845_000)),
        ..Options::default()
    })
    .expect("a sandbox")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_ones_own_is_trusted_for_calls_and_tokens() {
    let authority = Authority::new("own");
    let sandbox = sandbox();
    let token = sandbox.token().to_owned();
    let endpoint = Peer::new(move |_| grant(&token, "scim2")).await;
    let behind = endpoint.url.replace("http://", "");
    let tokens = Front::new(authority.good(), behind).await;
    let zoom = Front::new(authority.good(), sandbox.address().to_string()).await;
    let credentials = server_to_server(&tokens.url("/oauth/token"));
    let text = config(&zoom.url("/scim2"), &credentials, "ca = \"ca.pem\"");
    let gateway = Standing::new(&text, authority.folder()).await;
    gateway.create("ada@example.com").await;
    assert_eq!(gateway.told().0, "success", "{:?}", gateway.last());
    assert!(sandbox.state().account("ada@example.com").is_some());
    assert_eq!(endpoint.seen().len(), 1);

    let test = gateway.usher("test zoom").await;
    assert_eq!((test.code, test.err.as_str()), (0, ""), "{}", test.out);
    assert!(
        test.out.contains("its certificate ends 2090-01-01"),
        "{}",
        test.out
    );
    // The second connection resumes the first one's session.
    let kinds = zoom.handshakes.lock().expect("no panic").clone();
    assert_eq!(kinds.first(), Some(&HandshakeKind::Full), "{kinds:?}");
    assert!(kinds.contains(&HandshakeKind::Resumed), "{kinds:?}");
    assert!(gateway.serving.drain().await.whole);
}

/// A create against it is kept and queued, and the report says why in words.
async fn queued(base_url: &str, application: &str, folder: TempDir, part: &str) {
    let text = config(base_url, BEARER, application);
    let gateway = Standing::new(&text, folder).await;
    gateway.create("ada@example.com").await;
    let (status, why) = gateway.told();
    assert_eq!(status, "queued", "{why}");
    assert!(why.contains(part), "{part}: {why}");
    assert!(gateway.serving.drain().await.whole);
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_queues_and_says_why() {
    let authority = Authority::new("own");
    let other = Authority::new("other");
    // Of the same name, and not the same.
    let twin = Authority::new("own");
    let ca = "ca = \"ca.pem\"";
    for (issued, application, part) in [
        (authority.issue("localhost", 2020, 2021), ca, "has expired"),
        (
            authority.issue("localhost", 2089, 2090),
            ca,
            "is not valid yet",
        ),
        (
            authority.issue("elsewhere.example", 2020, 2090),
            ca,
            "is for another name",
        ),
        (
            other.good(),
            ca,
            "issued by nobody in the file that `ca` names",
        ),
        (
            twin.good(),
            ca,
            "issued by nobody in the file that `ca` names",
        ),
        (authority.good(), "", "add `ca`"),
    ] {
        let sandbox = sandbox();
        let front = Front::new(issued, sandbox.address().to_string()).await;
        queued(&front.url("/scim2"), application, authority.folder(), part).await;
        // Not a byte of the call, let alone the token, went out.
        assert!(sandbox.state().calls().is_empty());
        assert!(front.handshakes.lock().expect("no panic").is_empty());
    }
}

/// A peer that says just this when somebody connects, and hangs up.
pub(crate) async fn says(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "https://{}/scim2",
        listener.local_addr().expect("an address")
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _gone = stream.write_all(bytes).await;
            // The hello has to be read, or the close becomes a reset that swallows what was said.
            let _gone = stream.shutdown().await;
            let mut rest = tokio::io::sink();
            let _gone = tokio::io::copy(&mut stream, &mut rest).await;
        }
    });
    url
}

#[tokio::test]
async fn a_peer_without_tls_that_is_safe_queues_and_says_why() {
    let folder = || tempfile::tempdir().expect("a folder");
    // What a server of TLS 1.1 and older answers to a hello of 1.2: a fatal alert, protocol_version (RFC 5246 7.2.2).
    let old = says(&[0x15, 3, 2, 0, 2, 2, 70]).await;
    queued(&old, "", folder(), "neither TLS 1.2 nor 1.3").await;
    let plain = says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    queued(&plain, "", folder(), "does not speak TLS").await;
    let gone = says(b"").await;
    queued(&gone, "", folder(), "cannot connect").await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_after_ten_seconds() {
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/scim2", mute.local_addr().expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Standing::new(&config(&url, BEARER, "wait = \"15s\""), folder).await;
    let knock = gateway.knock.clone();
    let asked = tokio::spawn(async move {
        knock
            .ask("POST", "/Users", Some(&user("ada@example.com")))
            .await
    });
    // It is in the handshake once it has connected.
    let (_stream, _) = mute.accept().await.expect("a connection");
    gateway.clock.advance(Duration::from_secs(10));
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    answer.expect("in time").expect("an answer").expect(201);
    let (status, why) = gateway.told();
    assert_eq!(status, "queued", "{why}");
    assert!(why.contains("took longer than 10 s"), "{why}");
    assert!(gateway.serving.drain().await.whole);
}
