//! A resource's account in one application.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::journal::record::Operation;

/// How we came to have the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// We made it.
    Created,
    /// It was there already; we linked it.
    Adopted,
    /// Imported from the application, not yet claimed by a client.
    Imported,
}

/// What we know of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There, and active.
    Active,
    /// There, and deactivated by us.
    Deactivated,
    /// Created, but the read that shows what the application made of it did not come back: it is made up for first.
    Unseen,
    /// Created, but the application denies it (an invitation not accepted yet): never created again, updates wait.
    Pending,
    /// A create was begun and nobody knows yet whether there is an account.
    Unborn,
}

/// Something was sent and the answer never came, or nobody lived to note it. Such a link equals nothing and is read
/// back before anything else is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncertain {
    /// When the intent was stored: an account created before this was found, not created.
    pub intended: Timestamp,
    /// The last moment at which the call may have been sent: a look-up's miss counts only `lookup_lag` after this.
    pub sent: Timestamp,
}

/// Why an account is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The client said `active:false`.
    Inactive,
    /// The client deleted the user.
    Deleted,
    /// The user is out of scope: domain, condition or group.
    OutOfScope,
}

/// A removal that was asked for. It stays on the link until it is done or the person is back: it is never forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Why.
    pub cause: Cause,
    /// When it was asked for; `leave_after` and `delete_after` count from here.
    pub asked: Timestamp,
    /// It was taken from the safety limit already: the deletion that follows a deactivation is not counted again.
    pub counted: bool,
    /// Since when the safety limit stops it. Only a person, or the user's coming back, ends that.
    pub held: Option<Timestamp>,
    /// A person has released it: it goes without asking the safety limit, until then. What has not gone by then is held
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
}

/// The application does not take this, from anybody or from us: it was asked, told once, and is not asked again before
/// something changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Untaken {
    /// What was asked for.
    pub operation: Operation,
    /// What the account should have held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Map<String, Value>>,
    /// When.
    pub at: Timestamp,
    /// The configuration that asked.
    pub by: String,
}

/// resource <-> its account in one application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The application's name in the configuration.
    pub application: String,
    /// The application's id of the account. (application, remote id) is unique in the directory.
    pub remote_id: Option<String>,
    /// How we came to have it.
    pub origin: Origin,
    /// What we know of it.
    pub state: State,
    /// An answer is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertain: Option<Uncertain>,
    /// What the application acknowledged last. Decides what is a no-op. `None`: void, for instance after a
    /// deactivation, which takes licences away at Zoom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Map<String, Value>>,
    /// The userName last seen there: look-ups try it beside the mapped one, `protected` matches it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_name: Option<String>,
    /// What the application was told and silently dropped: warned about once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Adopted and not written since: the first update changes neither userName nor e-mail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh: bool,
    /// A removal that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// The account is left alone on purpose (`keep`, or a removal that a person rejected) until the person has been in
    /// scope again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// What the application does not take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untaken: Option<Untaken>,
}

impl Link {
    /// To an account that is there and that nobody has claimed yet.
    #[must_use]
    pub fn imported(
        application: &str,
        remote_id: &str,
        seen_name: Option<&str>,
        active: Option<bool>,
    ) -> Self {
        Self {
            application: application.to_owned(),
            remote_id: Some(remote_id.to_owned()),
            origin: Origin::Imported,
            // Absent is not false.
            state: if active == Some(false) {
                State::Deactivated
            } else {
                State::Active
            },
            uncertain: None,
            sent: None,
            seen_name: seen_name.map(str::to_owned),
            dropped: Vec::new(),
            fresh: false,
            removal: None,
            kept: false,
            untaken: None,
        }
    }

    /// Whether it was imported and nobody has claimed it: then it is in no plan.
    #[must_use]
    pub fn is_unclaimed(&self) -> bool {
        self.origin == Origin::Imported
    }

    /// Claims an imported one: from now on it is as one that was found and adopted. How long ago it was seen nobody knows,
    /// so what is active is read back first. Any other link is left as it is.
    pub fn claim(&mut self, now: Timestamp) {
        if !self.is_unclaimed() {
            return;
        }
        self.origin = Origin::Adopted;
        self.fresh = true;
        if self.state != State::Deactivated {
            self.uncertain = Some(Uncertain {
                intended: now,
                sent: now,
            });
        }
    }
}
