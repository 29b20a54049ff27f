//! The settings: what is switched, and which two of them make no sense together.

use serde_json::{Map, Value, json};

/// One setting of the sandbox: a switch, and what else it needs to show.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The switches that it sets; the first is the one that it is about.
    pub(crate) set: Vec<(&'static str, Value)>,
    /// Whether anything gets through while it is on.
    pub(crate) reach: Reach,
    /// What of a scenario it touches.
    pub(crate) touches: Touches,
}

/// Whether calls get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// They do.
    All,
    /// None about people does anything.
    Nothing,
}

/// What of a call a switch changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touches {
    /// Every call, also one that is refused: tokens, rates, envelopes, time.
    Calls,
    /// How a limit is told or measured: the limit itself is another row's.
    Telling,
    /// Accounts and groups: it shows only if calls get through.
    Accounts,
    /// Only that more forms of a request are taken, or more is shown: nothing that usher sends is answered otherwise.
    Lenience,
}

impl Row {
    /// `licences=kept`, as the flag would be set.
    pub(crate) fn name(&self) -> String {
        let parts: Vec<String> = self
            .set
            .iter()
            .map(|(switch, value)| format!("{switch}={value}").replace('"', ""))
            .collect();
        parts.join("+")
    }

    /// The switch that it is about.
    pub(crate) fn switch(&self) -> &'static str {
        self.set[0].0
    }

    /// Everything that it sets.
    pub(crate) fn changes(&self) -> Map<String, Value> {
        let set = self.set.iter();
        set.map(|(switch, value)| ((*switch).to_owned(), value.clone()))
            .collect()
    }
}

/// The domain that is an Associated Domain wherever no row says otherwise.
pub(crate) const HOME: &str = "x.example";

/// Every setting, in the order of the sandbox's switches.
pub(crate) fn rows() -> Vec<Row> {
    use Reach::{All, Nothing};
    use Touches::{Accounts, Calls, Lenience, Telling};
    let mut rows = Vec::new();
    let mut row = |set: &[(&'static str, Value)], reach, touches| {
        rows.push(Row {
            set: set.to_vec(),
            reach,
            touches,
        });
    };
    row(&[("token_life_seconds", json!(20))], All, Calls);
    row(&[("new_token_voids_old", json!(true))], All, Calls);
    row(&[("token_body_only", json!(true))], Nothing, Calls);
    row(&[("scope", json!("user:read"))], Nothing, Calls);
    row(
        &[("scope_status", json!(401)), ("scope", json!(""))],
        Nothing,
        Calls,
    );
    row(&[("app_deactivated", json!(true))], Nothing, Calls);
    row(&[("sso_off", json!(true))], Nothing, Calls);
    for permission in ["User:Read", "User:Edit", "Group:Read", "Group:Edit"] {
        let reach = if permission == "User:Edit" {
            Nothing
        } else {
            All
        };
        row(
            &[("missing_permissions", json!([permission]))],
            reach,
            Calls,
        );
    }
    row(&[("any_case_paths", json!(true))], All, Lenience);
    row(&[("base_path_aliases", json!(true))], All, Lenience);
    row(&[("plain_media_type", json!(true))], All, Lenience);
    row(&[("associated_domains", json!([]))], All, Accounts);
    row(
        &[("preexisting", json!(["plain@x.example"]))],
        All,
        Accounts,
    );
    row(&[("pending_filter", json!("empty"))], All, Accounts);
    row(&[("pending_filter", json!("found"))], All, Accounts);
    row(&[("pending_shown", json!(true))], All, Accounts);
    row(&[("pending_writes", json!("applied"))], All, Accounts);
    row(&[("pending_writes", json!("denied"))], All, Accounts);
    row(&[("pending_a_day", json!(1))], All, Accounts);
    row(&[("login_type_denied", json!(true))], All, Lenience);
    row(&[("roles_shape", json!("object"))], All, Accounts);
    row(&[("roles_shape", json!("nameless"))], All, Accounts);
    row(&[("groups_shape", json!("object"))], All, Accounts);
    row(&[("groups_shape", json!("nameless"))], All, Accounts);
    row(&[("group_ids_shown", json!(true))], All, Lenience);
    row(&[("rich_list", json!(true))], All, Lenience);
    row(&[("meta_without_dates", json!(true))], All, Accounts);
    row(&[("plain_ids", json!(true))], All, Lenience);
    row(&[("external_id_kept", json!(true))], All, Lenience);
    row(&[("phone_fields_shown", json!(true))], All, Lenience);
    row(&[("old_user_types", json!(true))], All, Accounts);
    row(&[("collaboration_refused", json!(true))], All, Accounts);
    row(&[("max_basic_users", json!(1))], All, Accounts);
    row(&[("no_joined_name", json!(true))], All, Lenience);
    row(&[("groups_taken", json!(true))], All, Lenience);
    let before_2023 = json!(["userName", "loginType", "displayName"]);
    row(&[("put_drops", before_2023)], All, Accounts);
    let much = json!(["userName", "emails", "department", "userType", "active"]);
    row(&[("put_drops", much)], All, Accounts);
    row(&[("put_replaces", json!(true))], All, Accounts);
    row(
        &[("email_change", json!("associated_silent"))],
        All,
        Accounts,
    );
    row(&[("email_change", json!("dropped"))], All, Accounts);
    row(&[("email_change", json!("anywhere"))], All, Accounts);
    row(&[("patch_profile", json!(true))], All, Lenience);
    row(&[("any_case_operations", json!(true))], All, Lenience);
    row(&[("strict_patch", json!(true))], All, Accounts);
    row(&[("licences", json!("returned"))], All, Accounts);
    row(&[("licences", json!("kept"))], All, Accounts);
    row(&[("admins", json!("refused"))], All, Accounts);
    row(&[("admins", json!("deactivated"))], All, Accounts);
    row(&[("admin_delete_refused", json!(true))], All, Accounts);
    row(&[("delete", json!("disassociate"))], All, Accounts);
    let unlink = [
        ("managed_unlink_refused", json!(true)),
        ("delete", json!("disassociate")),
    ];
    row(&unlink, All, Accounts);
    row(&[("delete_again_ok", json!(true))], All, Lenience);
    row(&[("default_group", json!("Team"))], All, Accounts);
    row(&[("members_shown", json!(true))], All, Lenience);
    row(&[("members_on_create", json!(true))], All, Lenience);
    row(&[("member_removal", json!("values"))], All, Accounts);
    row(&[("members_a_call", json!(1))], All, Accounts);
    row(&[("patch_characters", json!(250))], All, Accounts);
    row(&[("max_count", json!(1))], All, Accounts);
    row(&[("default_count", json!(1))], All, Lenience);
    row(&[("start_index_required", json!(true))], All, Accounts);
    row(&[("filter_ignored", json!(true))], All, Lenience);
    row(&[("error_shape", json!("rest"))], All, Calls);
    row(&[("error_shape", json!("mixed"))], All, Calls);
    row(&[("error_status_text", json!(true))], All, Calls);
    row(&[("not_found_status", json!(400))], All, Accounts);
    row(&[("exists_status", json!(400))], All, Accounts);
    row(&[("exists_status", json!(403))], All, Accounts);
    row(&[("light", json!(2))], All, Calls);
    row(&[("medium", json!(1))], All, Calls);
    row(&[("light_a_day", json!(12))], All, Calls);
    row(&[("medium_a_day", json!(1))], All, Calls);
    let bucket = [("rate_window", json!("bucket")), ("light", json!(2))];
    row(&bucket, All, Telling);
    let group_patch = [("group_patch", json!("medium")), ("medium", json!(1))];
    row(&group_patch, All, Telling);
    row(&[("legacy_one_rps", json!(true))], All, Calls);
    for form in ["iso", "seconds", "http_date"] {
        let told = [("retry_after", json!(form)), ("light", json!(2))];
        row(&told, All, Telling);
    }
    for form in ["none", "seconds", "http_date"] {
        let told = [("retry_after_day", json!(form)), ("light_a_day", json!(12))];
        row(&told, All, Telling);
    }
    let silent = [("rate_headers_off", json!(true)), ("light", json!(2))];
    row(&silent, All, Telling);
    row(&[("concurrency", json!(1))], All, Calls);
    row(&[("one_call_a_user", json!(true))], All, Calls);
    row(&[("latency_ms", json!(300))], All, Calls);
    // Longer than a client's write waits.
    row(&[("latency_ms", json!(5_000))], All, Calls);
    // Shorter than `lookup_lag`.
    row(&[("lookup_lag_ms", json!(20_000))], All, Accounts);
    row(&[("get_lag_ms", json!(20_000))], All, Accounts);
    row(&[("write_lag_ms", json!(20_000))], All, Accounts);
    rows
}

/// Why two settings are not tried together; `None`: they are.
pub(crate) fn excluded(a: &Row, b: &Row) -> Option<&'static str> {
    let (first, second) = (a.changes(), b.changes());
    if first
        .iter()
        .any(|(switch, value)| second.get(switch).is_some_and(|other| other != value))
    {
        return Some("two values of one switch");
    }
    let silent = |stopped: &Row, other: &Row| {
        let shows = matches!(other.touches, Touches::Calls | Touches::Telling);
        stopped.reach == Reach::Nothing && !shows
    };
    if silent(a, b) || silent(b, a) {
        return Some("no call gets through the one, so the other cannot show");
    }
    if a.touches == Touches::Lenience && b.touches == Touches::Lenience {
        return Some(
            "both only take or show more: neither answers anything that usher sends otherwise",
        );
    }
    None
}
