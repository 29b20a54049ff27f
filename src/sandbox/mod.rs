//! The sandbox: a stand-in for Zoom's SCIM API on a local port, quirks included, so that a gateway can be tried, tested
//! and benched without a Zoom account.
//!
//! It answers the eleven operations that Zoom has and 404 to everything else. What it imitates: PUT merges and silently
//! drops `userName` and `loginType`, PATCH of a user knows only `active`, deactivating takes licences away, replies
//! about groups never hold `members`, ids can hold `&`, errors carry a numeric `status`, and a user of a foreign domain
//! is created, gets an id, and then is denied (pending). Everything is in memory and ends with the process.
//! It never speaks TLS and never calls anybody.
//!
//! ```text
//! usher sandbox --listen 127.0.0.1:9900 --token sandbox-token
//! curl -H 'Authorization: Bearer sandbox-token' http://127.0.0.1:9900/scim2/Users
//! ```
//!
//! Besides the token of its options it takes those that it gives: `POST /oauth/token` with the client's Basic
//! credentials and `grant_type=account_credentials` and `account_id`, in the query, as a form or as JSON.
//!
//! # Quirks
//!
//! All that is odd about Zoom, or was said to be, is a switch of [`Quirks`]: a field there, a flag of `usher sandbox`
//! (`--light 80 --sso-off`), and a name at the control endpoint. The defaults are what Zoom documents. With `--help`
//! each says what it does.
//!
//! | about | switches |
//! |---|---|
//! | tokens | `token_life_seconds`, `new_token_voids_old`, `token_body_only`, `scope`, `scope_status`, `app_deactivated` |
//! | the account | `sso_off`, `missing_permissions`, `any_case_paths`, `base_path_aliases`, `plain_media_type` |
//! | pending users | `associated_domains`, `preexisting`, `pending_filter`, `pending_shown`, `pending_writes`, `pending_a_day`, `login_type_denied` |
//! | how users are shown | `roles_shape`, `groups_shape`, `group_ids_shown`, `rich_list`, `meta_without_dates`, `plain_ids`, `external_id_kept`, `phone_fields_shown`, `old_user_types` |
//! | what is taken at create | `collaboration_refused`, `max_basic_users`, `no_joined_name`, `groups_taken` (also by PUT) |
//! | PUT | `put_drops`, `put_replaces`, `email_change` |
//! | PATCH of users | `patch_profile`, `any_case_operations`, `strict_patch` |
//! | deactivating and deleting | `licences`, `admins`, `admin_delete_refused`, `delete`, `managed_unlink_refused`, `delete_again_ok` |
//! | groups | `default_group`, `members_shown`, `members_on_create`, `member_removal`, `members_a_call`, `patch_characters` |
//! | lists | `max_count`, `default_count`, `start_index_required`, `filter_ignored` |
//! | errors | `error_shape`, `error_status_text`, `not_found_status`, `exists_status` |
//! | rates | `light`, `medium`, `light_a_day`, `medium_a_day`, `rate_window`, `group_patch`, `legacy_one_rps`, `retry_after`, `retry_after_day`, `rate_headers_off`, `concurrency`, `one_call_a_user` |
//! | time | `latency_ms`, `lookup_lag_ms`, `get_lag_ms`, `write_lag_ms` |
//!
//! # Control
//!
//! The same listener answers under `/control`, without a token and to loopback addresses only. JSON in, JSON out.
//!
//! The next calls fail. `matching` (method and the start of the path below `/scim2`) and `calls` (1) may be left out;
//! `what` is one of `{"status":{"status":429,"retry_after":"2","body":"..."}}` (the last two may be left out),
//! `{"delay":500}` (milliseconds, after the effect), `{"cut_after":40}` (bytes of the answer, head included), `"lose_before"`,
//! `"lose_after"`, `"hold"`, `"garbage"`. Faults are used up in order.
//!
//! ```text
//! curl -d '{"calls":2,"matching":["POST","/Users"],"what":"lose_after"}' http://127.0.0.1:9900/control/fail
//! ```
//!
//! A fault is for the token endpoint if it says so: `"matching":["POST","/oauth/token"]`.
//!
//! The quirks, all of them; and a change of those that are named.
//!
//! ```text
//! curl http://127.0.0.1:9900/control/quirks
//! curl -d '{"light":80,"medium":60,"sso_off":true}' http://127.0.0.1:9900/control/quirks
//! ```
//!
//! Writes fail at random, by percent, the same way for the same seed; `null` ends it. With `"reads":true` reads do
//! too, with `"tokens":true` the token endpoint; there are also `garbage_percent`, `cut_percent` and `delay_percent`
//! (up to `delay_ms`).
//!
//! ```text
//! curl -d '{"seed":7,"lose_before_percent":5,"lose_after_percent":5,"error_percent":10}' http://127.0.0.1:9900/control/chaos
//! ```
//!
//! Calls that are held go on.
//!
//! ```text
//! curl -d '' http://127.0.0.1:9900/control/release
//! ```
//!
//! The calls that came (the last 100,000), how many of each method ended how (`TOKEN`: those of the token endpoint),
//! and what there is now: accounts (also the pending and inactive ones) and groups with their members.
//!
//! ```text
//! curl http://127.0.0.1:9900/control/calls
//! curl http://127.0.0.1:9900/control/counts
//! curl http://127.0.0.1:9900/control/state
//! ```
//!
//! Forget everything: accounts, groups, tokens, faults, calls, counts; the quirks are those of the start. Held calls
//! go on.
//!
//! ```text
//! curl -d '' http://127.0.0.1:9900/control/reset
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::Clock;

mod account;
mod control;
mod faults;
mod groups;
mod patched;
mod query;
mod quirks;
mod rate;
mod seen;
mod service;
mod state;
mod token;
mod users;
mod zoom;

pub use faults::{Chaos, Fault, What};
pub use quirks::{
    Admins, Delete, EmailChange, ErrorShape, Licences, MemberRemoval, PendingFilter, PendingWrites,
    Permission, Quirks, RateClass, RetryAfter, SWITCHES, Shape, Switch, Window,
};
pub use seen::{Counts, Seen};
pub use state::State;
pub use zoom::{AccountView, GroupView};

/// What kind of Zoom account is imitated. Set what matters and take the rest from [`Options::default`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one. Default: 127.0.0.1:0.
    pub listen: SocketAddr,
    /// A bearer token that is good without asking for one. Default: `sandbox-token`.
    pub token: String,
    /// The account that a token is asked for. Default: `sandbox-account`.
    pub account_id: String,
    /// The app that asks for tokens. Default: `sandbox-client`.
    pub client_id: String,
    /// Its secret. Default: `sandbox-secret`.
    pub client_secret: String,
    /// How it behaves at the start. Default: as Zoom documents.
    pub quirks: Quirks,
    /// Where the sequence of ids starts. Default: 0.
    pub seed: u64,
    /// Gives `created` and `lastModified` and times the delays. Default: the machine's.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: String::from("sandbox-token"),
            account_id: String::from("sandbox-account"),
            client_id: String::from("sandbox-client"),
            client_secret: String::from("sandbox-secret"),
            quirks: Quirks::default(),
            seed: 0,
            clock: Clock::system(),
        }
    }
}

/// A running sandbox. Dropping it closes its listener and its connections; [`Sandbox::stop`] also waits for that.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    state: State,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Sandbox {
    /// Binds and serves on the current tokio runtime, with nothing in it yet.
    ///
    /// # Errors
    /// The address cannot be bound, or there is no tokio runtime here.
    pub fn start(options: Options) -> io::Result<Self> {
        let listen = options.listen;
        Self::resume(listen, State::new(options))
    }

    /// Binds and serves what another sandbox left behind: Zoom was away and is back.
    ///
    /// # Errors
    /// The address cannot be bound, or there is no tokio runtime here.
    pub fn resume(listen: SocketAddr, state: State) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        state.serve_at(&base_url(address));
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(service::serve(listener, state.clone(), stopped));
        Ok(Self {
            address,
            state,
            stop,
            task,
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a gateway's `token_url` has to be: `http://127.0.0.1:PORT/oauth/token`.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("http://{}{}", self.address, token::PATH)
    }

    /// What a gateway's `base_url` has to be: `http://127.0.0.1:PORT/scim2`.
    #[must_use]
    pub fn base_url(&self) -> String {
        base_url(self.address)
    }

    /// The bearer token that is always good.
    #[must_use]
    pub fn token(&self) -> &str {
        self.state.token()
    }

    /// What is in it, what it was asked, and what goes wrong next.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Closes the listener and every connection, also those with a call under way, and waits until they are closed.
    pub async fn stop(self) {
        drop(self.stop);
        // It ends by itself; a panic in it was printed already.
        let _ended = self.task.await;
    }
}

fn base_url(address: SocketAddr) -> String {
    format!("http://{address}{}", service::BASE_PATH)
}
