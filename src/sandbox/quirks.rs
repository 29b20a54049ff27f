//! Every oddity of Zoom's that is known, or reported, or likely, as a switch: one table from which the struct, the
//! control endpoint, the command line's flags and their help are made. Pure.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A switch as a table row: for flags, help, and tests that want to go through all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// Its name in [`Quirks`] and at the control endpoint; the flag has `-` for `_`.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
}

macro_rules! quirks {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr;)+) => {
        /// How the imitated account behaves. The default is what Zoom documents, and where it is silent what was
        /// reported; every yes-or-no is off then, and 0 stands for "no limit" and "at once".
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Quirks {
            $($(#[doc = $doc])+ pub $name: $kind,)+
        }

        impl Default for Quirks {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// Every switch, in the order of [`Quirks`].
        pub const SWITCHES: &[Switch] = &[
            $(Switch { name: stringify!($name), help: concat!($($doc),+) },)+
        ];
    };
}

quirks! {
    /// How long a token from the token endpoint lives, in seconds; `expires_in` says one less.
    token_life_seconds: u64 = 3600;
    /// A new token voids the older ones, as SailPoint warns. Zoom documents that many may be used.
    new_token_voids_old: bool = false;
    /// The token endpoint wants its parameters in the body, not in the query.
    token_body_only: bool = false;
    /// The scopes that tokens have, blanks between; a call needs `scim2` or `scim2:admin`.
    scope: String = String::from("scim2:admin");
    /// The status that goes with code 4700 when the scope is missing: 400 or 401.
    scope_status: u16 = 400;
    /// The app was deactivated: no token is given, and none that was given is good.
    app_deactivated: bool = false;

    /// The account has no Single Sign-On: every call on users is refused.
    sso_off: bool = false;
    /// Role permissions that are missing: `User:Read`, `User:Edit`, `Group:Read`, `Group:Edit`.
    missing_permissions: Vec<Permission> = Vec::new();
    /// Paths are taken in any case: `/scim2/users`.
    any_case_paths: bool = false;
    /// The API also answers under `/scim` (Entra's gallery app) and `/v2/scim2` (Zoom's changelogs).
    base_path_aliases: bool = false;
    /// Answers are `application/json` and not `application/scim+json`.
    plain_media_type: bool = false;

    /// The Associated Domains; a user of another one stays pending. None: every domain is one.
    associated_domains: Vec<String> = Vec::new();
    /// E-mail addresses with a personal Zoom account: their users stay pending.
    preexisting: Vec<String> = Vec::new();
    /// What the filter `userName eq` answers for a pending user: `error` (400), `empty` or `found`.
    pending_filter: PendingFilter = PendingFilter::Error;
    /// Pending users are shown by GET and in lists, as if they were users.
    pending_shown: bool = false;
    /// What becomes of writes to pending users: `ignored` (200 without effect), `applied` or `denied` (404).
    pending_writes: PendingWrites = PendingWrites::Ignored;
    /// How many creates a UTC day may become pending before 429.
    pending_a_day: u32 = 0;
    /// A loginType other than only `sso` makes a user that GET denies, as in 2019.
    login_type_denied: bool = false;

    /// How a user's `roles` are shown: `array`, `object` (the first) or `nameless` (an object with empty names).
    roles_shape: Shape = Shape::Array;
    /// How a user's `groups` are shown: `array`, `object` (the first) or `nameless` (an object with empty names).
    groups_shape: Shape = Shape::Array;
    /// A user's `groups` hold the groups' ids, not only their names.
    group_ids_shown: bool = false;
    /// Lists show as much of a user as GET does.
    rich_list: bool = false;
    /// `meta` is without `created` and `lastModified`, as before 2023-12-26.
    meta_without_dates: bool = false;
    /// New ids hold no `&`.
    plain_ids: bool = false;
    /// `externalId` is kept and shown. A filter by it still means Zoom's id.
    external_id_kept: bool = false;
    /// The phone fields that a create accepts are shown.
    phone_fields_shown: bool = false;
    /// `Pro` and `Corp` are shown for `Licensed` and `On-Prem`, as before 2020-10-20.
    old_user_types: bool = false;
    /// The userTypes `Collaboration` and `None` are refused, as an Entra tenant saw.
    collaboration_refused: bool = false;
    /// How many users of the type Basic there may be.
    max_basic_users: usize = 9_999;
    /// No displayName is made of the first and last name.
    no_joined_name: bool = false;
    /// Create and PUT put a user into the groups that `groups` names, as Okta Workflows has it.
    groups_taken: bool = false;

    /// What PUT drops without a word: SCIM names, those inside of extensions too. Before 2023-11-17 also `displayName`.
    put_drops: Vec<String> = vec![String::from("userName"), String::from("loginType")];
    /// PUT takes away what it does not name, as RFC 7644 has it.
    put_replaces: bool = false;
    /// Changes of the e-mail address: `associated` (refused outside of the Associated Domains), `associated_silent`
    /// (dropped there), `dropped` or `anywhere`.
    email_change: EmailChange = EmailChange::Associated;

    /// PATCH changes the user's profile too, not only `active`.
    patch_profile: bool = false;
    /// PATCH of a user takes `operations` in lower case.
    any_case_operations: bool = false;
    /// PATCH of a user takes only `{"op":"replace","value":{"active":BOOLEAN}}`, letter by letter.
    strict_patch: bool = false;

    /// What deactivating does to licences: `lost` (for good), `returned` (on reactivation) or `kept`.
    licences: Licences = Licences::Lost;
    /// What deactivating an Admin or Owner does: `stays_active` (200, unchanged), `refused` (400) or `deactivated`.
    admins: Admins = Admins::StaysActive;
    /// An Admin or Owner cannot be deleted: 400.
    admin_delete_refused: bool = false;
    /// What DELETE of a user does: `delete`, or `disassociate` (the person keeps a free account of that address).
    delete: Delete = Delete::Delete;
    /// A user of an Associated Domain cannot be disassociated: 400.
    managed_unlink_refused: bool = false;
    /// A second DELETE is answered 204 and not 404.
    delete_again_ok: bool = false;

    /// The name of a group that is there from the start and cannot be deleted. Empty: none.
    default_group: String = String::new();
    /// Groups show their members.
    members_shown: bool = false;
    /// Members in a group's create are taken.
    members_on_create: bool = false;
    /// How members are taken out: `any`, only by the path `members[value eq "id"]` (`path`), or only by the path `members`
    /// and a list of values (`values`); else 400. Zoom documents no form.
    member_removal: MemberRemoval = MemberRemoval::Any;
    /// How many members one PATCH may name.
    members_a_call: usize = 0;
    /// The longest PATCH of a group, in characters.
    patch_characters: usize = 100_000;

    /// The largest page; more is cut to it.
    max_count: usize = 100;
    /// The page when no `count` is given.
    default_count: usize = 10;
    /// A list needs `startIndex`, as the older documentation says: else 400.
    start_index_required: bool = false;
    /// A filter that is not supported is ignored, and everything is listed.
    filter_ignored: bool = false;

    /// The envelope of errors: `scim`, `rest` (`{"code","message"}`) or `mixed` (in turns). 401 and 429 are always REST.
    error_shape: ErrorShape = ErrorShape::Scim;
    /// The status in a SCIM error is text, as RFC 7644 has it, and not a number.
    error_status_text: bool = false;
    /// The status for an unknown user or group: 404 or 400.
    not_found_status: u16 = 404;
    /// The status for a user that exists: 409, or what else is to be tried.
    exists_status: u16 = 409;

    /// Requests a second to endpoints of the class Light. Zoom documents 80 for Business and above.
    light: u32 = 0;
    /// Requests a second to endpoints of the class Medium (lists). Zoom documents 60 for Business and above.
    medium: u32 = 0;
    /// Requests a UTC day to Light endpoints. Zoom documents 6000 for Free, none for Business and above.
    light_a_day: u32 = 0;
    /// Requests a UTC day to Medium endpoints. Zoom documents 2000 for Free, none for Business and above.
    medium_a_day: u32 = 0;
    /// How a second is measured: `fixed` (the clock's seconds) or `bucket` (a token bucket that holds one second's worth).
    rate_window: Window = Window::Fixed;
    /// The class of PATCH on groups: `light` or `medium`.
    group_patch: RateClass = RateClass::Light;
    /// The old rule: each endpoint one request a second.
    legacy_one_rps: bool = false;
    /// `Retry-After` on a 429 of the second: `none`, `iso`, `seconds` or `http_date`.
    retry_after: RetryAfter = RetryAfter::None;
    /// `Retry-After` on a 429 of the day: `iso`, `none`, `seconds` or `http_date`.
    retry_after_day: RetryAfter = RetryAfter::Iso;
    /// No X-RateLimit headers: Zoom's own page names none.
    rate_headers_off: bool = false;
    /// How many calls may be under way at once.
    concurrency: u32 = 0;
    /// Two calls at once on one user: the second is refused.
    one_call_a_user: bool = false;

    /// How long every answer takes, in milliseconds; the effect is at once.
    latency_ms: u64 = 0;
    /// How long something new stays out of lists and filters, though not of GET by id, in milliseconds.
    lookup_lag_ms: u64 = 0;
    /// How long GET by id denies something new, in milliseconds.
    get_lag_ms: u64 = 0;
    /// How long reads show a user as it was before a PUT or PATCH, in milliseconds.
    write_lag_ms: u64 = 0;
}

macro_rules! choice {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $each:literal])+ $variant:ident,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[doc = $each])+ $variant,)+
        }
    };
}

choice! {
    /// What `userName eq` answers for a pending user.
    PendingFilter {
        /// 400: the user does not exist or does not belong to this account.
        Error,
        /// Nobody.
        Empty,
        /// The user.
        Found,
    }
}

choice! {
    /// What becomes of a write to a pending user.
    PendingWrites {
        /// Answered as if it had been done.
        Ignored,
        /// Done.
        Applied,
        /// Answered as if there were no such user.
        Denied,
    }
}

choice! {
    /// How a list of objects is shown.
    Shape {
        /// As a list.
        Array,
        /// As its first object.
        Object,
        /// As an object whose names are empty: the role may not see them.
        Nameless,
    }
}

choice! {
    /// Where an e-mail address may change to.
    EmailChange {
        /// Inside of the Associated Domains; else 400.
        Associated,
        /// Inside of the Associated Domains; else the change is dropped.
        AssociatedSilent,
        /// Nowhere: the change is dropped.
        Dropped,
        /// Anywhere.
        Anywhere,
    }
}

choice! {
    /// What deactivating does to licences.
    Licences {
        /// They are gone for good.
        Lost,
        /// They come back with `active: true`.
        Returned,
        /// They stay.
        Kept,
    }
}

choice! {
    /// What deactivating an Admin or Owner does.
    Admins {
        /// 200, and nothing changes.
        StaysActive,
        /// 400.
        Refused,
        /// They are deactivated like anybody.
        Deactivated,
    }
}

choice! {
    /// What DELETE of a user does.
    Delete {
        /// The user is gone and the address free.
        Delete,
        /// The user leaves the account and keeps a free one of that address.
        Disassociate,
    }
}

choice! {
    /// Which form of taking members out of a group is understood.
    MemberRemoval {
        /// Both.
        Any,
        /// A filter in the path.
        Path,
        /// A list of values.
        Values,
    }
}

choice! {
    /// The envelope of errors.
    ErrorShape {
        /// SCIM's.
        Scim,
        /// That of Zoom's REST API.
        Rest,
        /// In turns.
        Mixed,
    }
}

choice! {
    /// How a second is measured.
    Window {
        /// The clock's seconds.
        Fixed,
        /// A token bucket that holds one second's worth.
        Bucket,
    }
}

choice! {
    /// A class of endpoints that share a rate.
    RateClass {
        /// Reads and writes of one resource.
        Light,
        /// Lists.
        Medium,
    }
}

choice! {
    /// The form of `Retry-After`.
    RetryAfter {
        /// Left out.
        None,
        /// ISO 8601.
        Iso,
        /// Seconds.
        Seconds,
        /// An HTTP date.
        HttpDate,
    }
}

/// A permission of the role that a token's owner has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Permission {
    /// Reading users.
    #[serde(rename = "User:Read")]
    UserRead,
    /// Writing users.
    #[serde(rename = "User:Edit")]
    UserEdit,
    /// Reading groups.
    #[serde(rename = "Group:Read")]
    GroupRead,
    /// Writing groups.
    #[serde(rename = "Group:Edit")]
    GroupEdit,
}

impl Permission {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UserRead => "User:Read",
            Self::UserEdit => "User:Edit",
            Self::GroupRead => "Group:Read",
            Self::GroupEdit => "Group:Edit",
        }
    }
}

impl Quirks {
    /// These, with what is named in `changes` changed.
    ///
    /// # Errors
    /// In a sentence: a name is unknown (the names there are follow), or a value is none for its name.
    pub fn changed(&self, changes: &Map<String, Value>) -> Result<Self, String> {
        let mut all = self.to_object();
        for (name, value) in changes {
            if !all.contains_key(name) {
                let names: Vec<&str> = SWITCHES.iter().map(|switch| switch.name).collect();
                return Err(format!(
                    "there is no quirk `{name}`; there are {}",
                    names.join(", ")
                ));
            }
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            read::<Self>(alone).map_err(|wrong| format!("{name}: {wrong}"))?;
            all.insert(name.clone(), value.clone());
        }
        read(all)
    }

    /// One switch from text, as a flag gives it: yes or no, a number, a word, or words with commas between.
    ///
    /// # Errors
    /// See [`Quirks::changed`].
    pub fn with(&self, name: &str, text: &str) -> Result<Self, String> {
        let value = match self.to_object().get(name) {
            Some(Value::Bool(_)) => text.parse().map_or_else(|_| text.into(), Value::Bool),
            Some(Value::Number(_)) => text
                .parse::<u64>()
                .map_or_else(|_| text.into(), Value::from),
            Some(Value::Array(_)) => text
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .collect(),
            _ => text.into(),
        };
        self.changed(&Map::from_iter([(name.to_owned(), value)]))
    }

    /// Every switch by its name.
    #[must_use]
    pub fn to_object(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(all)) => all,
            // A struct of plain fields is always an object.
            _ => Map::new(),
        }
    }
}

fn read<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(object)).map_err(|wrong| wrong.to_string())
}

#[cfg(test)]
mod tests;
