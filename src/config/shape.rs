//! The configuration as the rest of the program sees it: checked, typed, defaults filled in, relative paths resolved.
//! The keys, their names and their defaults are those of `config/usher.toml`, which a test parses and compares.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::mapping::rule::Rule;
use crate::policy::assignment::Selector;
use crate::scim::filter::Filter;

/// Everything that a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[server.limits]`
    pub limits: Limits,
    /// `[admin]`
    pub admin: Admin,
    /// `[store]`
    pub store: Store,
    /// `[journal]`
    pub journal: Journal,
    /// `[log]`
    pub log: Log,
    /// `[[client]]`
    pub clients: Vec<Client>,
    /// `[[application]]`
    pub applications: Vec<Application>,
    /// SHA-256 of the file's bytes, in hex: a start with another one raises the generation.
    pub fingerprint: String,
}

/// Where a gateway is found: all that a report needs of its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `admin.socket`
    pub socket: PathBuf,
    /// `store.path`
    pub store: PathBuf,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where SCIM is served.
    pub listen: SocketAddr,
    /// What `meta.location` and `$ref` show, without a slash at the end; `None`: made from the bound address.
    pub base_url: Option<String>,
    /// `plain_http = "anywhere"`: without TLS also beyond loopback, because a proxy in front does it.
    pub plain_anywhere: bool,
    /// `[server.tls]`
    pub tls: Option<Tls>,
}

/// `[server.tls]`: the files' contents, read at load, so that a reload which finds a damaged one keeps what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The PEM chain, leaf first.
    pub certificate: Vec<u8>,
    /// The PEM key of the leaf.
    pub key: Secret,
    /// PEM roots of client certificates. `None`: none is asked for.
    pub client_ca: Option<Vec<u8>>,
}

/// `[server.limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each is the key of the same name in config/usher.toml, which explains it"
)]
pub struct Limits {
    pub connections: usize,
    pub header_timeout: Duration,
    pub request_timeout: Duration,
    /// Bytes.
    pub body: usize,
    pub json_depth: usize,
    pub filter_length: usize,
    pub filter_depth: usize,
    pub patch_operations: usize,
    pub bulk_operations: usize,
    pub page: usize,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The Unix socket for the command line.
    pub socket: PathBuf,
    /// /healthz, /readyz and /metrics (the console comes later); with `[server.tls]` beyond loopback too, by its certificate.
    pub listen: SocketAddr,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The data file.
    pub path: PathBuf,
    /// Bytes of cache.
    pub cache: usize,
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// How long records are kept (pruning comes later; kept whole until then).
    pub keep: Duration,
    /// How long notes of reads are kept; zero: reads are not noted.
    pub keep_reads: Duration,
    /// Bytes.
    pub max_size: u64,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter: `info`, `debug`, `usher=trace`, ...
    pub level: String,
    /// JSON instead of text.
    pub json: bool,
}

/// `patch_response`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchResponse {
    /// 200 with the resource.
    Resource,
    /// 204.
    None,
}

/// `put_members`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMembers {
    /// A PUT of a group without `members` keeps them.
    Keep,
    /// ... clears them.
    Clear,
}

/// `[[client]]`: an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its name in logs, journal and reports.
    pub name: String,
    /// SHA-256 of its tokens.
    pub token_sha256: Vec<[u8; 32]>,
    /// Requests a second.
    pub per_second: u32,
    /// Burst.
    pub burst: u32,
    /// Reads only.
    pub read_only: bool,
    /// The Content-Type of replies.
    pub response_type: String,
    /// What a PATCH answers.
    pub patch_response: PatchResponse,
    /// What a PUT of a group without members means.
    pub put_members: PutMembers,
    /// Whether two groups of one displayName are refused.
    pub unique_groups: bool,
    /// Whether ServiceProviderConfig tells of cursors (RFC 9865). They work either way.
    pub announce_cursors: bool,
    /// Whether it may write what another client created; that is its own then.
    pub take_over: bool,
    /// SHA-256 of the client certificates (DER) that it may come with. Not empty: it must come with one of them.
    pub certificate_sha256: Vec<[u8; 32]>,
}

/// `profile`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileName {
    /// Zoom's dialect.
    Zoom,
    /// Any SCIM 2.0 server.
    Scim,
}

/// `mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Calls go out.
    Live,
    /// Everything is decided and journalled, nothing goes out.
    Simulate,
}

/// `delivery`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMode {
    /// While the client waits.
    Immediate,
    /// Afterwards, by the worker.
    Queued,
}

/// `when_unavailable`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// Keep, mark, 2xx.
    Queue,
    /// 503 where nothing was sent.
    Refuse,
}

/// `out_of_scope`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfScope {
    /// Kept in the directory, `skipped` in the journal.
    Accept,
    /// 403 where the user's own attributes rule them out.
    Refuse,
}

/// `on_delete`, `on_leave`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// The account is deleted.
    Delete,
    /// The account is deactivated.
    Deactivate,
    /// The account stays as it is.
    Keep,
}

/// `max_removals`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxRemovals {
    /// 5 under 100 active linked users, else 5 % at most 500.
    Auto,
    /// So many people a window.
    Count(u64),
}

/// A secret: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// `create`, `update`, `delete` under `[application.users]` with what goes with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    /// Governs giving: create, adopt, reactivate.
    pub create: bool,
    /// Governs attributes.
    pub update: bool,
    /// Governs taking away.
    pub delete: bool,
    /// Deleted by the client.
    pub on_delete: Taking,
    /// Out of scope.
    pub on_leave: Taking,
    /// A deletion deactivates at once and deletes after this.
    pub delete_after: Duration,
    /// How long after losing scope anything happens.
    pub leave_after: Duration,
}

/// `credentials`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `kind = "bearer"`: a token that does not change.
    Bearer(Secret),
    /// `kind = "server_to_server"`: Zoom's OAuth for servers.
    ServerToServer {
        /// The Zoom account's id.
        account_id: String,
        /// The app's id.
        client_id: String,
        /// The app's secret.
        client_secret: Secret,
        /// Where tokens are had.
        token_url: String,
    },
}

/// `[application.groups]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Groups are created there.
    pub create: bool,
    /// They are renamed.
    pub update: bool,
    /// They are deleted.
    pub delete: bool,
    /// Their members are added and removed.
    pub membership: bool,
    /// Which groups exist there too: names or globs, folded.
    pub push: Vec<String>,
}

/// `[application.safety]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Safety {
    /// People a window.
    pub max_removals: MaxRemovals,
    /// The window.
    pub window: Duration,
    /// userNames or globs (`svc-*@example.com`), folded.
    pub protected: Vec<String>,
}

/// `[application.pace]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Calls a second of Zoom's class "Light".
    pub light: u32,
    /// Calls a second of Zoom's class "Medium".
    pub medium: u32,
    /// Calls at once.
    pub concurrency: usize,
}

/// `[[application.policy]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name for people.
    pub name: String,
    /// Whose members belong.
    pub group: Selector,
}

/// `[[application]]`: a system that we provision into.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// Its name in the configuration, in the journal and on links.
    pub name: String,
    /// Its dialect.
    pub profile: ProfileName,
    /// Without a slash at the end.
    pub base_url: String,
    /// What opens it, read from file or environment at load.
    pub credentials: Credentials,
    /// PEM roots to trust for `base_url`, the file's content. `None`: the system's.
    pub ca: Option<Vec<u8>>,
    /// What is imported keeps the id that it has there as its id here; one application at most.
    pub keep_ids: bool,
    /// How long a new account may stay unseen by a look-up.
    pub lookup_lag: Duration,
    /// live | simulate
    pub mode: Mode,
    /// immediate | queued
    pub delivery: DeliveryMode,
    /// How long a client's write waits for the application.
    pub wait: Duration,
    /// queue | refuse
    pub when_unavailable: WhenUnavailable,
    /// accept | refuse
    pub out_of_scope: OutOfScope,
    /// Link an account that is already there instead of failing.
    pub adopt: bool,
    /// Domains in their folded ASCII form; `*.x` is every subdomain of x and not x. Empty: every domain.
    pub authorized_domains: Vec<String>,
    /// Who may be there at all.
    pub condition: Option<Filter>,
    /// `[application.users]`
    pub users: Users,
    /// `[application.groups]`
    pub groups: Groups,
    /// `[application.safety]`
    pub safety: Safety,
    /// `[application.import]`: how often it is imported. `None`: only when a person asks.
    pub import_every: Option<Duration>,
    /// `[application.pace]`
    pub pace: Pace,
    /// `[[application.policy]]`: members of any of these groups belong there. None: everybody does.
    pub policies: Vec<Policy>,
    /// `[[application.map.user]]`: the own rows only, in the file's order; the profile's built-in set is added by
    /// [`crate::mapping::compile`].
    pub map_user: Vec<Rule>,
    /// `[[application.map.group]]`, likewise.
    pub map_group: Vec<Rule>,
}
