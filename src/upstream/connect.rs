//! Connections to applications: whom to trust, how long it may take, and what went wrong in words for the person who
//! can mend it.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::{CertificateError, ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::clock::Clock;
use crate::config::pem;

/// How long connecting may take: the name, TCP and the TLS handshake together.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// How long the addresses of a name may take to answer, all of them together.
const TCP: Duration = Duration::from_secs(5);

/// A connection, TLS or plain.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Makes connections. Clones share the TLS sessions that a later handshake resumes.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    own_authority: bool,
    clock: Clock,
}

/// Why there is no connection, in words.
#[derive(Debug)]
pub(super) struct Unreachable(pub(super) String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unreachable {}

impl Connector {
    /// TLS 1.2 and 1.3 where a URL says https. `ca`: PEM of the only authorities that are trusted; `None`: the system's.
    /// `tls`: whether any URL says https; reading the system's roots would be for nothing else.
    ///
    /// # Errors
    /// What is wrong with `ca`.
    pub(super) fn new(ca: Option<&[u8]>, tls: bool, clock: Clock) -> Result<Self, String> {
        let config = match ca {
            Some(pem) => builder()?.with_root_certificates(pem::roots(pem)?),
            None if tls => {
                let system = builder()?.try_with_platform_verifier();
                or_bundled(system)?
            }
            // Plain HTTP only: this trusts nobody.
            None => builder()?.with_root_certificates(RootCertStore::empty()),
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(TCP));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self {
            https,
            own_authority: ca.is_some(),
            clock,
        })
    }

    /// Connects to where `uri` points, within [`CONNECT`].
    pub(super) async fn connect(&self, uri: Uri) -> Result<Stream, Unreachable> {
        let connecting = self.https.clone().call(uri);
        let due = self.clock.now().plus(CONNECT);
        match self.clock.until(due, connecting).await {
            Some(Ok(stream)) => Ok(stream),
            Some(Err(error)) => Err(Unreachable(explain(&*error, self.own_authority))),
            None => Err(Unreachable(format!(
                "connecting, TLS handshake included, took longer than {} s",
                CONNECT.as_secs()
            ))),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Unreachable;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Unreachable>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unreachable>> {
        // The connector below is always ready: it opens a socket a call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(uri).await })
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    // Named, because rustls panics where it has to guess between two.
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
}

/// The system's roots, or, where it has none (a container made from scratch), Mozilla's as they were when usher was
/// built.
fn or_bundled(
    system: Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    match system {
        Ok(builder) => Ok(builder),
        Err(why) => {
            tracing::warn!(error = %why, "the system has no trusted roots; trusting Mozilla's, built in");
            let roots = RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            };
            Ok(builder()?.with_root_certificates(roots))
        }
    }
}

/// What to tell of an error that kept a call from being sent.
pub(super) fn told(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(Unreachable(text)) = cause.downcast_ref() {
            return text.clone();
        }
        next = cause.source();
    }
    causes(error)
}

/// The error with what caused it. hyper's and rustls' errors name no header and no body.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next.filter(|_| text.len() < 400) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// An error of connecting, in words.
fn explain(error: &(dyn Error + 'static), own_authority: bool) -> String {
    tls_error(error).map_or_else(|| causes(error), |error| in_words(error, own_authority))
}

/// rustls' error within those that wrap it. An `io::Error` shows what it wraps in no other way.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &'e (dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn in_words(error: &rustls::Error, own_authority: bool) -> String {
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) => {
            return String::from("it speaks neither TLS 1.2 nor 1.3 with a cipher that is safe");
        }
        rustls::Error::InvalidMessage(_) => {
            return String::from(
                "what answers there does not speak TLS: is the port right, or is it http://?",
            );
        }
        other => return format!("the TLS handshake failed: {other}"),
    };
    match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => String::from(
            "its certificate has expired: whoever runs it must renew it (or this machine's clock is wrong)",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            String::from("its certificate is not valid yet: is this machine's clock right?")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            String::from(
                "its certificate is for another name: the host in the URL must be one that the certificate names",
            )
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature if own_authority => {
            String::from(
                "its certificate was issued by nobody in the file that `ca` names, which is all that is trusted here",
            )
        }
        CertificateError::UnknownIssuer => String::from(
            "its certificate was issued by an authority that this machine does not trust: if that is your own authority, or a proxy that opens TLS on the way, add `ca` with the authority's PEM file to this application",
        ),
        other => format!(
            "its certificate is not accepted ({other}): if it is of your own making, have it issued by an authority and add `ca` with the authority's PEM file to this application"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_roots_of_the_system_those_built_in_are_trusted() {
        let none = Err(rustls::Error::General("No CA certificates".into()));
        assert!(or_bundled(none).is_ok());
        assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 50);
    }
}
