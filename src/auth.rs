//! Who calls. Credentials in, a [`Client`] out; nothing else can make one, and every handler needs one.
//!
//! Tokens and certificates are known by their SHA-256 only. What is presented is compared with every known one in
//! constant time, so that how long a refusal takes tells nothing about how close it was.

use std::sync::Arc;

use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::bucket::Bucket;
use crate::clock::Timestamp;
use crate::config::{check, shape};
use crate::counts::Answered;
use crate::error::Fault;

/// SHA-256 of a token, as the configuration keeps it.
#[must_use]
pub fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Every client that the configuration names.
#[derive(Debug)]
pub struct Authority {
    clients: Vec<Client>,
    /// Hash and the place of its client in `clients`.
    tokens: Vec<([u8; 32], u64)>,
    /// Likewise. One certificate may be pinned to several clients, if each shows a token too.
    certificates: Vec<([u8; 32], u64)>,
}

impl Authority {
    /// Knows these clients, each with a full bucket.
    #[must_use]
    pub fn new(clients: &[shape::Client]) -> Self {
        Self::known(clients, &[])
    }

    /// Knows these clients. Whose rate is as it was goes on with the bucket that it has: a reload is no way to get a full
    /// one. Counts go on by name.
    #[must_use]
    pub fn renewed(&self, clients: &[shape::Client]) -> Self {
        Self::known(clients, &self.clients)
    }

    /// Every client, in the configuration's order.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter()
    }

    fn known(clients: &[shape::Client], before: &[Client]) -> Self {
        let placed = |hashes: fn(&shape::Client) -> &[[u8; 32]]| {
            (0..)
                .zip(clients)
                .flat_map(|(place, client)| hashes(client).iter().map(move |hash| (*hash, place)))
                .collect()
        };
        let tokens = placed(|client| &client.token_sha256);
        let certificates = placed(|client| &client.certificate_sha256);
        let clients = clients
            .iter()
            .map(|client| {
                let before = before.iter().find(|known| known.name() == client.name);
                let rate = |one: &shape::Client| (one.per_second, one.burst);
                let bucket = before.filter(|known| rate(known.config()) == rate(client));
                Client(Arc::new(Known {
                    bucket: match bucket {
                        Some(Client(known)) => Arc::clone(&known.bucket),
                        None => Arc::new(Bucket::new(client.per_second, client.burst)),
                    },
                    counts: before.map_or_else(Arc::default, |known| Arc::clone(&known.0.counts)),
                    config: client.clone(),
                    undoes: None,
                }))
            })
            .collect();
        Self {
            clients,
            tokens,
            certificates,
        }
    }

    /// Who sent this `Authorization` (RFC 6750 2.1) over a connection that showed this client certificate, which the
    /// handshake has verified; its SHA-256. A client has tokens, certificates or both, and must show one of each kind
    /// that it has. What is shown beside that must not be somebody else's. A certificate that is pinned to nobody counts
    /// as none.
    ///
    /// # Errors
    /// [`Fault::Unauthorized`] without more words: missing, not `Bearer`, or not known here.
    pub fn identify(
        &self,
        authorization: Option<&HeaderValue>,
        certificate: Option<&[u8; 32]>,
    ) -> Result<Client, Fault> {
        let mut found = u64::MAX;
        if let Some(value) = authorization {
            let presented = hash(bearer(value.as_bytes()).ok_or(Fault::Unauthorized)?);
            for (known, place) in &self.tokens {
                found.conditional_assign(place, known.ct_eq(&presented));
            }
        } else if let Some(presented) = certificate {
            for (known, place) in &self.certificates {
                found.conditional_assign(place, known.ct_eq(presented));
            }
        }
        let client = usize::try_from(found)
            .ok()
            .and_then(|place| self.clients.get(place))
            .ok_or(Fault::Unauthorized)?;
        if authorization.is_none() && !client.config().token_sha256.is_empty() {
            return Err(Fault::Unauthorized);
        }
        let (mut own, mut pinned) = (Choice::from(0), Choice::from(0));
        if let Some(presented) = certificate {
            for (known, place) in &self.certificates {
                let same = known.ct_eq(presented);
                pinned |= same;
                own |= same & place.ct_eq(&found);
            }
        }
        let needs = Choice::from(u8::from(!client.config().certificate_sha256.is_empty()));
        if bool::from(own | !(needs | pinned)) {
            Ok(client.clone())
        } else {
            Err(Fault::Unauthorized)
        }
    }
}

/// The token of `Bearer token`, never an empty one. The scheme is case-insensitive (RFC 9110 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at(space);
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer") && !token.is_empty()).then_some(token)
}

/// An identity provider that proved who it is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(Arc<Known>);

#[derive(Debug)]
struct Known {
    config: shape::Client,
    /// Shared with the same client of the configuration before.
    bucket: Arc<Bucket>,
    /// Shared with the client of that name of the configuration before.
    counts: Arc<Answered>,
    /// Whose writes it undoes, and whose is what it writes.
    undoes: Option<(String, String)>,
}

impl Client {
    /// The client by which a person at the admin socket undoes what `client` wrote, in what belongs to `owner`.
    #[must_use]
    pub(crate) fn undoing(client: &str, owner: &str) -> Self {
        let config = shape::Client {
            name: String::from(check::UNDO),
            token_sha256: Vec::new(),
            per_second: 1,
            burst: 1,
            read_only: false,
            response_type: String::new(),
            patch_response: shape::PatchResponse::None,
            put_members: shape::PutMembers::Keep,
            unique_groups: true,
            announce_cursors: false,
            take_over: false,
            certificate_sha256: Vec::new(),
        };
        Self(Arc::new(Known {
            bucket: Arc::new(Bucket::new(config.per_second, config.burst)),
            counts: Arc::default(),
            config,
            undoes: Some((client.to_owned(), owner.to_owned())),
        }))
    }

    /// Whose writes it undoes, if that is what it does.
    #[must_use]
    pub fn undoes(&self) -> Option<&str> {
        self.0.undoes.as_ref().map(|(client, _)| client.as_str())
    }

    /// Whose is what it writes.
    #[must_use]
    pub fn owner(&self) -> &str {
        let undoes = self.0.undoes.as_ref();
        undoes.map_or(self.name(), |(_, owner)| owner.as_str())
    }

    /// Its name in the configuration, in logs, journal and reports.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// All that the configuration says of it.
    #[must_use]
    pub fn config(&self) -> &shape::Client {
        &self.0.config
    }

    /// How its requests were answered.
    #[must_use]
    pub fn counts(&self) -> &Answered {
        &self.0.counts
    }

    /// Counts a request against the client's rate.
    ///
    /// # Errors
    /// [`Fault::TooManyRequests`] with whole seconds, rounded up.
    pub fn admit(&self, now: Timestamp) -> Result<(), Fault> {
        self.0.bucket.take(now).map_err(|wait| {
            let rounded = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Fault::TooManyRequests(rounded.max(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shape::{PatchResponse, PutMembers};

    fn client(name: &str, tokens: &[&str]) -> shape::Client {
        shape::Client {
            name: name.into(),
            token_sha256: tokens.iter().map(|token| hash(token.as_bytes())).collect(),
            per_second: 2,
            burst: 3,
            read_only: false,
            response_type: "application/scim+json".into(),
            patch_response: PatchResponse::Resource,
            put_members: PutMembers::Keep,
            unique_groups: true,
            announce_cursors: false,
            take_over: false,
            certificate_sha256: Vec::new(),
        }
    }

    fn authority() -> Authority {
        // A hash of nothing in the configuration must not let in who sends nothing.
        Authority::new(&[
            client("okta", &["tok-a", "tok-b"]),
            client("nobody", &[""]),
            client("entra", &["tok-c"]),
        ])
    }

    #[test]
    fn the_hash_is_sha_256() {
        let hex: String = hash(b"abc").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn who_is_let_in() {
        let authority = authority();
        let table: &[(Option<&[u8]>, Option<&str>)] = &[
            (None, None),
            (Some(b""), None),
            (Some(b"Bearer"), None),
            (Some(b"Bearer "), None),
            (Some(b"Bearer   "), None),
            (Some(b"Bearer tok-a"), Some("okta")),
            (Some(b"bearer tok-b"), Some("okta")),
            (Some(b"BEARER tok-c"), Some("entra")),
            (Some(b"Bearer  tok-c"), Some("entra")),
            (Some(b"Bearer TOK-A"), None),
            (Some(b"Bearer tok-"), None),
            (Some(b"Bearer tok-aa"), None),
            (Some(b"Bearer tok-a tok-b"), None),
            (Some(b"Bearer,tok-a"), None),
            (Some(b"Bearertok-a"), None),
            (Some(b"tok-a"), None),
            (Some(b"non-token"), None),
            (Some(b"Basic tok-a"), None),
            (Some(b" Bearer tok-a"), None),
            (Some(b"Bearer \xff\xfe"), None),
        ];
        for (sent, want) in table {
            let header = sent.map(|bytes| HeaderValue::from_bytes(bytes).unwrap());
            let got = authority.identify(header.as_ref(), None);
            match want {
                Some(name) => assert_eq!(got.unwrap().name(), *name, "{sent:?}"),
                None => assert_eq!(got.unwrap_err(), Fault::Unauthorized, "{sent:?}"),
            }
        }
    }

    #[test]
    fn tokens_and_certificates() {
        let with = |name: &str, tokens: &[&str], certificates: &[u8]| shape::Client {
            certificate_sha256: certificates.iter().map(|byte| [*byte; 32]).collect(),
            ..client(name, tokens)
        };
        let authority = Authority::new(&[
            with("token", &["t"], &[]),
            with("card", &[], &[1, 2]),
            with("both", &["b"], &[3, 4]),
            with("twin", &["w"], &[4]),
        ]);
        let nobody = 9;
        let mut cases = 0;
        for (certificate, answers) in [
            // By what is sent: nothing, t, b, w, a wrong token, no Bearer.
            (None, [None, Some("token"), None, None, None, None]),
            (Some(nobody), [None, Some("token"), None, None, None, None]),
            (Some(1), [Some("card"), None, None, None, None, None]),
            (Some(2), [Some("card"), None, None, None, None, None]),
            (Some(3), [None, None, Some("both"), None, None, None]),
            (
                Some(4),
                [None, None, Some("both"), Some("twin"), None, None],
            ),
        ] {
            let certificate = certificate.map(|byte| [byte; 32]);
            let sent = [
                "", "Bearer t", "Bearer b", "Bearer w", "Bearer x", "Basic t",
            ];
            for (sent, wanted) in sent.into_iter().zip(answers) {
                let header = (!sent.is_empty()).then(|| HeaderValue::from_static(sent));
                let got = authority.identify(header.as_ref(), certificate.as_ref());
                let got = got.as_ref().map(Client::name);
                let wanted = wanted.ok_or(&Fault::Unauthorized);
                assert_eq!(got, wanted, "{sent:?} and {:?}", certificate.map(|c| c[0]));
                cases += 1;
            }
        }
        assert_eq!(cases, 36);
        // An empty header is not an absent one.
        let (empty, card) = (HeaderValue::from_static(""), [1; 32]);
        let got = authority.identify(Some(&empty), Some(&card));
        assert_eq!(got.unwrap_err(), Fault::Unauthorized);
    }

    #[test]
    fn nobody_is_known_where_nobody_is_configured() {
        let header = HeaderValue::from_static("Bearer tok-a");
        let got = Authority::new(&[]).identify(Some(&header), None);
        assert_eq!(got.unwrap_err(), Fault::Unauthorized);
    }

    #[test]
    fn each_client_has_its_own_rate() {
        let authority = authority();
        let known = |token: &'static str| {
            let header = HeaderValue::from_static(token);
            authority.identify(Some(&header), None).unwrap()
        };
        let now = Timestamp(1_000);
        for _ in 0..3 {
            // Both of okta's tokens draw from one bucket.
            assert_eq!(known("Bearer tok-a").admit(now), Ok(()));
        }
        let over = known("Bearer tok-b").admit(now);
        assert_eq!(over, Err(Fault::TooManyRequests(1)));
        assert_eq!(known("Bearer tok-c").admit(now), Ok(()));
        assert_eq!(known("Bearer tok-b").admit(Timestamp(1_500)), Ok(()));
    }
}
