//! TLS from clients: what a handshake goes by, and what it says of the peer.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::clock::{Clock, Timestamp};
use crate::config::pem::{self, Mistake};
use crate::config::shape::Tls;

/// HTTP/2 in ALPN (RFC 9113 3.2).
const H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301 6).
const HTTP_1_1: &[u8] = b"http/1.1";
/// A certificate with less than this to go is told of in the log.
pub const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Does the handshakes of a listener. What new ones go by can be replaced; running connections keep what they began with.
#[derive(Debug)]
pub struct Acceptor {
    config: RwLock<Arc<ServerConfig>>,
    /// When the certificate ends, in milliseconds since the epoch; 0: it does not say so in a way that we read.
    ends: AtomicU64,
    clock: Clock,
}

/// What handshakes will go by.
#[derive(Debug)]
pub struct Next {
    config: Arc<ServerConfig>,
    ends: Timestamp,
}

/// A handshake that is done.
pub(super) struct Secured {
    pub(super) stream: TlsStream<TcpStream>,
    /// The client chose HTTP/2.
    pub(super) h2: bool,
    /// SHA-256 of the client's certificate, verified.
    pub(super) certificate: Option<[u8; 32]>,
}

impl Acceptor {
    /// One that shows the certificate of `tls`. A certificate that has ended is warned of in the log and used all the
    /// same: a client may not look, and a gateway that does not start helps nobody.
    ///
    /// # Errors
    /// What is wrong with its files. A checked configuration has nothing of this.
    pub fn new(tls: &Tls, clock: &Clock) -> Result<Self, String> {
        let (config, ends) = config(tls, clock)?;
        Ok(Self {
            config: RwLock::new(config),
            ends: AtomicU64::new(ends.0),
            clock: clock.clone(),
        })
    }

    /// Has new handshakes go by `tls`. No session of before is taken up again: its client may not be trusted any more.
    ///
    /// # Errors
    /// What is wrong with its files; nothing is replaced then.
    pub fn replace(&self, tls: &Tls) -> Result<(), String> {
        self.put(self.next(tls)?);
        Ok(())
    }

    /// What [`Acceptor::put`] puts in force: all that can go wrong goes wrong here.
    ///
    /// # Errors
    /// What is wrong with its files.
    pub fn next(&self, tls: &Tls) -> Result<Next, String> {
        let (config, ends) = config(tls, &self.clock)?;
        Ok(Next { config, ends })
    }

    /// Has new handshakes go by it.
    pub fn put(&self, Next { config, ends }: Next) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        self.ends.store(ends.0, Ordering::Relaxed);
    }

    /// When the certificate that new handshakes show ends, if that could be read.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        let ends = Timestamp(self.ends.load(Ordering::Relaxed));
        (ends.0 > 0).then_some(ends)
    }

    /// Does one handshake. It takes as long as the peer takes: the caller brings the patience.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<Secured> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let h2 = session.alpn_protocol() == Some(H2);
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let certificate = leaf.map(|leaf| self.verified(leaf)).transpose()?;
        Ok(Secured {
            stream,
            h2,
            certificate,
        })
    }

    /// A session that is taken up again brings its certificate along without another look at it (RFC 8446 2.2): it may
    /// have ended meanwhile.
    fn verified(&self, leaf: &CertificateDer<'_>) -> io::Result<[u8; 32]> {
        if pem::good_until(leaf).is_some_and(|end| end < self.clock.now()) {
            return Err(io::Error::other("the client's certificate has ended"));
        }
        Ok(pem::fingerprint(leaf))
    }
}

/// What handshakes go by, and when the certificate ends.
fn config(tls: &Tls, clock: &Clock) -> Result<(Arc<ServerConfig>, Timestamp), String> {
    let identity =
        pem::identity(&tls.certificate, &tls.key.0).map_err(|mistake| match mistake {
            Mistake::Certificate(found) => format!("server.tls.certificate: {found}"),
            Mistake::Key(found) => format!("server.tls.key: {found}"),
        })?;
    let ends = identity.cert.first().and_then(pem::good_until);
    if let Some(end) = ends {
        tell_of_end(end, clock.now());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let time = Arc::new(Time(clock.clone()));
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), time)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| error.to_string())?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let told = |error: &dyn fmt::Display| format!("server.tls.client_ca: {error}");
            let roots = pem::roots(roots).map_err(|found| told(&found))?;
            // Without one too: which client needs one is said by its `certificate_sha256`.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| told(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    // Sessions are taken up again by tickets, which cost us no memory. Their key is this configuration's own.
    config.ticketer = Ticketer::new().map_err(|error| error.to_string())?;
    Ok((Arc::new(config), ends.unwrap_or_default()))
}

fn tell_of_end(end: Timestamp, now: Timestamp) {
    let at = end.rfc3339();
    if end < now {
        tracing::warn!(
            ended = at,
            "the certificate in server.tls.certificate has ended: most clients will not connect"
        );
    } else if end < now.plus(SOON) {
        tracing::warn!(
            ends = at,
            "the certificate in server.tls.certificate ends soon"
        );
    }
}

/// Our clock, as rustls asks for it.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.now().since(Timestamp(0));
        Some(UnixTime::since_unix_epoch(since))
    }
}
