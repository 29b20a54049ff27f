//! Certificates and keys as PEM files hold them (RFC 7468). Pure: bytes in, values out.

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

/// Why a server cannot show itself with a pair of files: what was found in which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// The certificate's file.
    Certificate(String),
    /// The key's file. Nothing of the key is in the text.
    Key(String),
}

/// Every certificate of a file, in its order.
///
/// # Errors
/// What was found instead: none, or one that is damaged.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(String::from("a file without a PEM certificate")),
        Ok(all) => Ok(all),
        Err(_) => Err(String::from("a file with a damaged PEM certificate")),
    }
}

/// What a server shows itself with: its chain, leaf first, and the leaf's key.
///
/// # Errors
/// One of the two cannot be read, or they do not belong together.
pub fn identity(certificate: &[u8], key: &str) -> Result<CertifiedKey, Mistake> {
    let chain = certificates(certificate).map_err(Mistake::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        let found = "a file without a PEM key (one behind a passphrase is of no use here)";
        Mistake::Key(String::from(found))
    })?;
    let key = any_supported_type(&key)
        .map_err(|_| Mistake::Key(String::from("a key that is neither RSA, ECDSA nor Ed25519")))?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Ok(()) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let found = "the key of another certificate than the file's first one";
            Err(Mistake::Key(String::from(found)))
        }
        Err(_) => Err(Mistake::Certificate(String::from(
            "a first certificate that cannot be read",
        ))),
    }
}

/// Roots to trust.
///
/// # Errors
/// What was found instead.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (count, root) in (1..).zip(certificates(pem)?) {
        roots
            .add(root)
            .map_err(|_| format!("a certificate (number {count}) that cannot be a root"))?;
    }
    Ok(roots)
}

/// SHA-256 of a certificate, as the configuration pins one.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// Until when a certificate is good: its notAfter (RFC 5280 4.1.2.5). `None`: it has none that can be read, or one
/// beyond the calendar, as "no end" is written.
#[must_use]
pub fn good_until(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, whole, _) = element(certificate)?;
    let (_, signed, _) = element(whole)?;
    let (tag, _, after_version) = element(signed)?;
    // The version is left out where it is 1.
    let mut rest = if tag == 0xa0 { after_version } else { signed };
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, not_after) = element(validity)?;
    let (tag, text, _) = element(not_after)?;
    let text = std::str::from_utf8(text).ok()?;
    let (century, text) = match tag {
        // UTCTime has two digits for the year: 50 and above are of the last century.
        0x17 if text.get(..2)? >= "50" => ("19", text),
        0x17 => ("20", text),
        // GeneralizedTime
        0x18 => text.split_at_checked(2)?,
        _ => return None,
    };
    let part = |from: usize| text.get(from..from + 2);
    Timestamp::parse(&format!(
        "{century}{}-{}-{}T{}:{}:{}Z",
        part(0)?,
        part(2)?,
        part(4)?,
        part(6)?,
        part(8)?,
        part(10)?
    ))
}

/// The first element of DER: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // The length of the length. No certificate needs more than four bytes.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn made(year: i32) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![String::from("localhost")]).unwrap();
        params.not_after = date_time_ymd(year, 2, 3);
        let certificate = params.self_signed(&key).unwrap();
        (certificate, key)
    }

    #[test]
    fn a_certificate_and_its_key() {
        let (certificate, key) = made(2040);
        let (other, _) = made(2040);
        let (pem, key) = (certificate.pem(), key.serialize_pem());
        let chain = format!("{pem}{}", other.pem());
        assert_eq!(identity(chain.as_bytes(), &key).unwrap().cert.len(), 2);
        let damaged = pem.replace(
            "-----BEGIN CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!",
        );
        let mine = |found: &str| Mistake::Certificate(found.into());
        let keys = |found: &str| Mistake::Key(found.into());
        for (pem, key, wanted) in [
            ("", key.as_str(), mine("without a PEM")),
            (key.as_str(), &key, mine("without a PEM")),
            (&damaged, &key, mine("damaged")),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                &key,
                mine("cannot be read"),
            ),
            (&pem, "", keys("without a PEM key")),
            (&pem, &pem, keys("without a PEM key")),
            (
                &pem,
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                keys("neither RSA"),
            ),
            (&other.pem(), &key, keys("another certificate")),
        ] {
            let found = identity(pem.as_bytes(), key).unwrap_err();
            let fits = match (&found, &wanted) {
                (Mistake::Certificate(found), Mistake::Certificate(part))
                | (Mistake::Key(found), Mistake::Key(part)) => found.contains(part),
                _ => false,
            };
            assert!(fits, "{found:?} is not {wanted:?}");
        }
        assert_eq!(roots(chain.as_bytes()).unwrap().len(), 2);
        assert!(roots(b"").is_err());
    }

    #[test]
    fn the_end_of_a_certificate() {
        for (year, wanted) in [
            (1999, "1999-02-03T00:00:00.000Z"),
            (2031, "2031-02-03T00:00:00.000Z"),
            (2049, "2049-02-03T00:00:00.000Z"),
            (2050, "2050-02-03T00:00:00.000Z"),
            (4096, "4096-02-03T00:00:00.000Z"),
        ] {
            let (certificate, _) = made(year);
            let end = good_until(certificate.der()).map(Timestamp::rfc3339);
            assert_eq!(end.as_deref(), Some(wanted));
        }
        let (certificate, _) = made(2031);
        for length in 0..certificate.der().len().min(160) {
            let cut = CertificateDer::from(certificate.der()[..length].to_vec());
            assert_eq!(good_until(&cut), None, "{length} bytes");
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_may_call_itself_a_certificate(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _read = good_until(&CertificateDer::from(bytes));
        }
    }
}
