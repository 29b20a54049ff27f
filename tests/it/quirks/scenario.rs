//! One scenario, the same under every setting, and what has to be true of it whatever the setting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};
use usher::clock::Timestamp;
use usher::journal::record::Status;
use usher::journal::report::Row as Told;
use usher::provision::call::Method;
use usher::sandbox::{AccountView, Admins, PendingWrites, Quirks, Seen};
use usher::scim::Kind;

use super::rows::{HOME, Row};
use super::stage::Stage;
use crate::cli::patch;

const HOUR: Duration = Duration::from_secs(3_600);
/// How long a setting stays: all of the ladder of retries but its hours.
const ON: Duration = Duration::from_secs(75 * 60);
/// The most calls about whom a write is about in each second that its client waits; and in each second that was begun,
/// those about others included that the worker makes meanwhile.
const A_WRITE: u64 = 8;
/// The most calls in an exchange about a person.
const AN_EXCHANGE: usize = 6;
/// The most calls in one about a group's members, where it takes searching for the one who is at fault.
const A_SEARCH: usize = 40;
/// The most calls while the setting stays: six tries of an hour's ladder for each person and the group.
const WHILE_ON: u64 = 80;
/// The most calls until all is as it should be after it ended.
const AFTER: u64 = 40;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const LICENCES: &str = "urn:ietf:params:scim:schemas:extension:zoom:1.0:User";

const PLAIN: &str = "plain@x.example";
const THERE: &str = "there@x.example";
const ADMIN: &str = "admin@x.example";
const FOREIGN: &str = "foreign@other.example";
const LATE: &str = "late@other.example";
const STRANGER: &str = "stranger@x.example";
const TEAM: &str = "Team";
/// Where PLAIN moves.
const MOVED: &str = "moved@x.example";
/// Where PLAIN may not move.
const AWAY: &str = "away@other.example";

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// Calls of the API.
    pub(crate) calls: u64,
    /// Requests for tokens.
    pub(crate) tokens: u64,
    /// The most calls that one write made.
    pub(crate) a_write: u64,
    /// Calls while the setting stayed and nobody wrote.
    pub(crate) while_on: u64,
    /// Calls after it ended.
    pub(crate) after: u64,
    /// What is wrong.
    pub(crate) wrong: Vec<String>,
}

/// Plays the scenario under these settings.
pub(crate) async fn play(rows: Vec<Row>) -> Played {
    let mut play = Play::begin(&rows).await;
    play.act().await;
    play.stay().await;
    play.end().await;
    play.part().await;
    play.log();
    play.told();
    let Play { stage, played, .. } = play;
    stage.end().await;
    played
}

struct Play {
    stage: Stage,
    /// What is so wherever a row says nothing else.
    base: Quirks,
    /// Directory id by userName.
    ids: BTreeMap<&'static str, String>,
    /// Directory id of the group.
    team: Option<String>,
    /// How often an account of that userName may be created.
    births: BTreeMap<&'static str, usize>,
    /// Whose account may be deactivated and deleted.
    may_go: BTreeSet<&'static str>,
    /// Zoom's ids of everybody who ever was there.
    seen: BTreeMap<String, String>,
    /// Whose account was ever pending.
    invited: BTreeSet<String>,
    stranger: Value,
    played: Played,
    began: Timestamp,
    /// When the setting ended.
    ended: Timestamp,
    /// How it was.
    setting: Quirks,
}

fn person(name: &'static str) -> Value {
    let role = if name == ADMIN { "Admin" } else { "Member" };
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
        "name": {"givenName": "Ada", "familyName": "King"}, "displayName": "Ada King",
        "emails": [{"value": name, "type": "work", "primary": true}], "active": true,
        "userType": "Licensed", "title": "Dr",
        ENTERPRISE: {"department": "R&D"}, LICENCES: {"zoomWhiteboard": true},
        "roles": [{"display": role, "value": role}],
    })
}

/// What is so wherever a row says nothing else.
pub(crate) fn base() -> Quirks {
    Quirks {
        associated_domains: vec![HOME.into()],
        ..Quirks::default()
    }
}

impl Play {
    async fn begin(rows: &[Row]) -> Self {
        let base = base();
        let mut changes = Map::new();
        for row in rows {
            changes.extend(row.changes());
        }
        // A default group is there since long; some people since just now.
        let mut long_ago = changes.clone();
        long_ago.retain(|switch, _| switch == "default_group");
        let mut stage = Stage::new(base.changed(&long_ago).expect("quirks")).await;
        stage.later(HOUR).await;
        for name in [THERE, ADMIN, STRANGER] {
            stage.behind(Method::Post, "/Users", &person(name));
        }
        let stranger = stage.sandbox.state().account(STRANGER).expect("there");
        stage.switch(&base, &changes);
        Self {
            began: stage.clock.now(),
            ended: Timestamp::NEVER,
            setting: stage.sandbox.state().quirks(),
            stage,
            base,
            ids: BTreeMap::new(),
            team: None,
            births: BTreeMap::new(),
            may_go: BTreeSet::new(),
            seen: BTreeMap::new(),
            invited: BTreeSet::new(),
            stranger,
            played: Played::default(),
        }
    }

    fn wrong(&mut self, what: String) {
        self.played.wrong.push(what);
    }

    /// What the client does.
    async fn act(&mut self) {
        for name in [PLAIN, THERE, ADMIN, FOREIGN] {
            self.create(name).await;
        }
        self.births.remove(THERE);
        self.births.remove(ADMIN);
        self.gather(&[PLAIN, THERE, FOREIGN]).await;

        let mut changed = person(PLAIN);
        changed["name"] = json!({"givenName": "Augusta", "familyName": "King"});
        changed["displayName"] = json!("Augusta King");
        changed["userType"] = json!("Basic");
        changed[ENTERPRISE]["department"] = json!("Engines");
        self.change(PLAIN, "PUT", changed).await;
        self.change(PLAIN, "PATCH", patch("userType", json!("Collaboration")))
            .await;
        self.change(PLAIN, "PATCH", patch("userType", json!("Licensed")))
            .await;
        for address in [MOVED, AWAY, MOVED] {
            let emails = json!([{"value": address, "type": "work", "primary": true}]);
            self.change(PLAIN, "PATCH", patch("emails", emails)).await;
        }
        self.change(FOREIGN, "PATCH", patch("title", json!("Prof")))
            .await;

        self.may_go.extend([PLAIN, THERE, ADMIN]);
        self.change(PLAIN, "PATCH", patch("active", json!(false)))
            .await;
        self.change(PLAIN, "PATCH", patch("active", json!(true)))
            .await;
        self.change(ADMIN, "PATCH", patch("active", json!(false)))
            .await;
        self.delete(THERE).await;
        self.create(LATE).await;
        // Whoever was deleted comes back.
        self.create(THERE).await;
        self.regroup("add", &[LATE, THERE]).await;
        self.regroup("remove", &[PLAIN]).await;
    }

    fn members(&self, names: &[&str]) -> Vec<Value> {
        let ids = names.iter().filter_map(|name| self.ids.get(name));
        ids.map(|id| json!({ "value": id })).collect()
    }

    /// Creates the group.
    async fn gather(&mut self, names: &[&str]) {
        let body = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
            "displayName": TEAM, "members": self.members(names),
        });
        let answer = self.write("POST", "/Groups", Some(&body), TEAM).await;
        let id = answer.and_then(|group| group["id"].as_str().map(str::to_owned));
        if id.is_none() {
            self.wrong("the group was refused".into());
        }
        self.team = id;
    }

    /// Adds members to the group or takes them out.
    async fn regroup(&mut self, op: &str, names: &[&str]) {
        let Some(path) = self.team.as_ref().map(|id| format!("/Groups/{id}")) else {
            return;
        };
        let members = self.members(names);
        let operations: Vec<Value> = match op {
            "add" => vec![json!({"op": "add", "path": "members", "value": members})],
            _ => {
                let path = |id: &Value| format!("members[value eq {}]", id["value"]);
                let remove = |id| json!({"op": "remove", "path": path(id)});
                members.iter().map(remove).collect()
            }
        };
        let body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations
        });
        self.write("PATCH", &path, Some(&body), TEAM).await;
        let read = self.stage.ask("GET", &path, None).await.body;
        let reads: BTreeSet<&str> = read["members"]
            .as_array()
            .map_or_else(BTreeSet::new, |all| {
                all.iter().filter_map(|one| one["value"].as_str()).collect()
            });
        for member in &members {
            let id = member["value"].as_str().unwrap_or_default();
            if reads.contains(id) != (op == "add") {
                self.wrong(format!("{op} {id}: the group reads {reads:?}"));
            }
        }
    }

    /// The group there has the members that it has here and that have an account, or the report says why not.
    async fn compare_group(&mut self, when: &str, on: bool) {
        let Some(id) = self.team.clone() else {
            return;
        };
        let group = self
            .stage
            .ask("GET", &format!("/Groups/{id}"), None)
            .await
            .body;
        let state = self.stage.sandbox.state();
        let (groups, accounts) = (state.groups(), state.accounts());
        let teams: Vec<_> = groups
            .iter()
            .filter(|group| group.display_name == TEAM)
            .collect();
        if teams.len() > 1 {
            self.wrong(format!("{when}: {} groups {TEAM}", teams.len()));
        }
        let members = group["members"].as_array().cloned().unwrap_or_default();
        let here: BTreeSet<&str> = self
            .ids
            .iter()
            .filter(|(_, id)| members.iter().any(|member| member["value"] == id.as_str()))
            .map(|(name, _)| *name)
            .collect();
        let pending = |name: &str| {
            accounts
                .iter()
                .any(|one| one.user_name == name && one.pending)
        };
        // Where Zoom shows an invitation like any account and drops its membership without a word, nothing tells.
        let untold = |name: &str| self.setting.pending_shown && self.invited.contains(name);
        let out = |name: &str| pending(name) || untold(name);
        let wanted: BTreeSet<&str> = here.into_iter().filter(|name| !out(name)).collect();
        let there: BTreeSet<&str> = accounts
            .iter()
            .filter(|account| !out(&account.user_name))
            .filter(|account| teams.iter().any(|team| team.members.contains(&account.id)))
            .map(|account| account.user_name.as_str())
            .collect();
        if wanted == there && teams.len() == 1 {
            return;
        }
        let report = self.stage.report();
        let told: Vec<&Told> = report.iter().filter(|row| row.id == id).collect();
        // One that waits for somebody's account is told by that person's row.
        let waits = report.iter().any(|row| {
            let waiting = matches!(
                row.status,
                Status::Queued | Status::Unknown | Status::Failure
            );
            wanted.contains(row.user.as_str()) && waiting
        });
        let open = told.iter().rev().take(2).any(|row| {
            let open = matches!(
                row.status,
                Status::Queued | Status::Unknown | Status::Failure
            );
            open || row.code.as_deref() == Some("refused")
        });
        if !(on && (open || waits)) {
            let rows: Vec<String> = told.iter().rev().take(4).map(|row| short(row)).collect();
            self.wrong(format!(
                "{when}: {} groups with {there:?} for {wanted:?}; told {rows:?}",
                teams.len()
            ));
        }
    }

    /// The setting stays for longer than the client writes.
    async fn stay(&mut self) {
        let before = self.stage.calls();
        self.stage.later(ON).await;
        self.played.while_on = self.stage.calls() - before;
        if self.played.while_on > WHILE_ON {
            self.wrong(format!("{} calls in {ON:?} alone", self.played.while_on));
        }
        self.compare("with the setting", true).await;
        self.compare_group("with the setting", true).await;
    }

    /// The setting ends, the invitations are accepted, and a day passes.
    async fn end(&mut self) {
        let before = self.stage.calls();
        // An administrator there ends being one.
        let base = Quirks {
            admins: Admins::Deactivated,
            ..self.base.clone()
        };
        self.stage.switch(&base, &Map::new());
        self.ended = self.stage.clock.now();
        for _ in 0..30 {
            let state = self.stage.sandbox.state();
            for account in state.accounts() {
                state.accept(&account.user_name);
            }
            self.stage.later(HOUR).await;
        }
        self.played.after = self.stage.calls() - before;
        if self.played.after > AFTER {
            self.wrong(format!("{} calls after it ended", self.played.after));
        }
        self.compare("after the setting", false).await;
        self.compare_group("after the setting", false).await;
        if self.stage.open_marks() {
            self.wrong("a day later something is still to be done".into());
        }
    }

    /// Everybody leaves.
    async fn part(&mut self) {
        if let Some(id) = self.team.take() {
            let path = format!("/Groups/{id}");
            if self.write("DELETE", &path, None, TEAM).await.is_none() {
                self.wrong("the group's end was refused".into());
            }
        }
        let names: Vec<&'static str> = self.ids.keys().copied().collect();
        for name in names {
            self.may_go.insert(name);
            self.delete(name).await;
        }
        self.stage.later(30 * HOUR).await;
        let left = self.stage.sandbox.state().accounts();
        // Who was there already and left before they were ever linked is nobody of ours.
        let linked = |name: &str| {
            let report = self.stage.report();
            let mut rows = report.iter().filter(|row| row.user == name);
            rows.any(|row| row.remote_id.is_some())
        };
        let left: Vec<String> = left
            .into_iter()
            .map(|account| account.user_name)
            .filter(|name| name != STRANGER && (name != ADMIN || linked(name)))
            .collect();
        if !left.is_empty() {
            self.wrong(format!(
                "still in Zoom after everybody was deleted: {left:?}"
            ));
        }
        if self.stage.sandbox.state().account(STRANGER).as_ref() != Some(&self.stranger) {
            self.wrong("the stranger is not as they were".into());
        }
        // A group that was there already is not ours to delete.
        let ours = self.setting.default_group.is_empty();
        if ours && !self.stage.sandbox.state().groups().is_empty() {
            self.wrong("the group is still there".into());
        }
        if self.stage.open_marks() {
            self.wrong("something is to be done for those who left".into());
        }
    }

    async fn create(&mut self, name: &'static str) {
        let body = person(name);
        *self.births.entry(name).or_default() += 1;
        let Some(answer) = self.write("POST", "/Users", Some(&body), name).await else {
            return;
        };
        let id = answer["id"].as_str().expect("an id").to_owned();
        self.ids.insert(name, id);
        self.reads_back(name, &body, &answer).await;
    }

    /// Changes somebody who is there; what a PATCH names is its operation's value.
    async fn change(&mut self, name: &'static str, method: &str, body: Value) {
        let Some(id) = self.ids.get(name).cloned() else {
            return;
        };
        let path = format!("/Users/{id}");
        let before = self.stage.ask("GET", &path, None).await.body;
        match self.write(method, &path, Some(&body), name).await {
            Some(answer) => {
                let wanted = match &body["Operations"][0] {
                    Value::Null => body.clone(),
                    one => json!({one["path"].as_str().expect("a path"): one["value"]}),
                };
                self.reads_back(name, &wanted, &answer).await;
            }
            None => {
                let after = self.stage.ask("GET", &path, None).await.body;
                if after != before {
                    self.wrong(format!(
                        "{method} {name}: refused, and yet it reads {after}"
                    ));
                }
            }
        }
    }

    async fn delete(&mut self, name: &'static str) {
        let Some(id) = self.ids.remove(name) else {
            return;
        };
        let path = format!("/Users/{id}");
        if self.write("DELETE", &path, None, name).await.is_none() {
            self.wrong(format!("DELETE {name}: refused"));
        }
        let status = self.stage.ask("GET", &path, None).await.status;
        if status != 404 {
            self.wrong(format!("DELETE {name}: then GET answers {status}"));
        }
    }

    /// Writes; the body of a 2xx.
    async fn write(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        name: &str,
    ) -> Option<Value> {
        let (before, mut asked) = (self.stage.calls(), self.stage.clock.now());
        let mut answer = self.stage.ask(method, path, body).await;
        let mut calls = self.stage.calls() - before;
        // Where every call takes longer than a client waits, the worker may hold the person for longer too.
        while self.setting.latency_ms > 4_000 && answer.status == 503 {
            let wait = answer.headers["retry-after"].to_str().expect("seconds");
            let wait = wait.parse().expect("seconds");
            self.stage.later(Duration::from_secs(wait)).await;
            let before = self.stage.calls();
            asked = self.stage.clock.now();
            answer = self.stage.ask(method, path, body).await;
            calls = self.stage.calls() - before;
        }
        // Where the client had to wait, even for a moment of the clock, the worker went on with others meanwhile.
        let waited = self.stage.clock.now().since(asked);
        self.look(self.stage.sandbox.state().accounts());
        let made = self.stage.sandbox.state().calls();
        let made = &made[made
            .len()
            .saturating_sub(calls.try_into().unwrap_or(usize::MAX))..];
        let own = made.iter().filter(|call| self.is_about(call, name)).count() as u64;
        if waited.as_secs() == 0 {
            self.played.a_write = self.played.a_write.max(own);
        }
        let begun = waited.as_millis().div_ceil(1_000).try_into().unwrap_or(0);
        if own > A_WRITE * (1 + waited.as_secs()) || calls > A_WRITE * (1 + begun) {
            let made: Vec<String> = made
                .iter()
                .map(|call| format!("{} {} {:?}", call.method, call.path, call.status))
                .collect();
            self.wrong(format!(
                "{method} {name}: {own} of {calls} calls in {waited:?}: {made:?}"
            ));
        }
        if answer.status < 300 {
            return Some(answer.body);
        }
        // Refused because of this person, never because of the application.
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        let folded = detail.to_lowercase();
        let outage = [
            "single sign-on",
            "token",
            "permission",
            "rate limit",
            "concurrent",
            "unavailable",
        ];
        let documented = matches!(answer.status, 400 | 409)
            && answer.body["schemas"] == json!(["urn:ietf:params:scim:api:messages:2.0:Error"])
            && folded.contains("zoom")
            && !outage.iter().any(|word| folded.contains(word));
        if !documented {
            self.wrong(format!(
                "{method} {name}: {} {}",
                answer.status, answer.body
            ));
        }
        None
    }

    fn look(&mut self, accounts: Vec<AccountView>) {
        for account in accounts {
            if account.pending {
                self.invited.insert(account.user_name.clone());
            }
            self.seen.insert(account.id, account.user_name);
        }
    }

    async fn reads_back(&mut self, name: &'static str, wrote: &Value, answer: &Value) {
        let path = format!("/Users/{}", self.ids[name]);
        let read = self.stage.ask("GET", &path, None).await;
        if read.status != 200 || (read.body != *answer && answer.is_object()) {
            self.wrong(format!("{name}: answered {answer}, reads {}", read.body));
        }
        for (key, value) in wrote.as_object().expect("an object") {
            if key != "schemas" && read.body[key] != *value {
                self.wrong(format!(
                    "{name}: wrote {key} {value}, reads {}",
                    read.body[key]
                ));
            }
        }
    }

    /// Every account is as it should be, or the report says what is not and why.
    async fn compare(&mut self, when: &str, on: bool) {
        let report = self.stage.report();
        let accounts = self.stage.sandbox.state().accounts();
        self.look(accounts.clone());
        let mut names = BTreeMap::<String, usize>::new();
        for account in &accounts {
            *names.entry(account.user_name.to_lowercase()).or_default() += 1;
        }
        for (name, count) in names.iter().filter(|(_, count)| **count > 1) {
            self.wrong(format!("{when}: {count} accounts of {name}"));
        }
        for (name, id) in self.ids.clone() {
            let user = self
                .stage
                .ask("GET", &format!("/Users/{id}"), None)
                .await
                .body;
            let account = accounts.iter().find(|account| account.user_name == name);
            let differs = differences(&user, account.map(|account| &account.user));
            let pending = account.is_some_and(|account| account.pending);
            if differs.is_empty() && !pending {
                continue;
            }
            let told: Vec<&Told> = report.iter().filter(|row| row.id == id).collect();
            let excused = |attribute: &str| {
                told.iter().any(|row| {
                    let reason = row.reason.as_deref().unwrap_or_default();
                    row.code.as_deref() == Some("not_applied") && reason.contains(attribute)
                })
            };
            let open = told.last().is_some_and(|row| {
                let code = row.code.as_deref().unwrap_or_default();
                matches!(
                    (row.status, code),
                    (Status::Queued, "queued" | "unavailable" | "paced")
                        | (
                            Status::Unknown,
                            "unavailable" | "no_answer" | "looking_up" | "paced"
                        )
                        | (Status::Warning, "pending")
                        | (Status::Success, "unseen")
                        | (Status::Failure, "ineffective" | "refused" | "exists")
                )
            });
            let unlinked = told.iter().all(|row| row.remote_id.is_none())
                && told
                    .last()
                    .is_some_and(|row| row.code.as_deref() == Some("inactive"));
            let open = (on && open) || unlinked;
            let mut left: Vec<&str> = differs
                .iter()
                .map(String::as_str)
                .filter(|name| !excused(name))
                .collect();
            // Where Zoom shows it like anybody, or writes to it like to anybody, nothing tells it from anybody.
            let applied = self.setting.pending_writes == PendingWrites::Applied;
            if on && pending && !self.setting.pending_shown && !applied {
                left.push("pending");
            }
            if !(left.is_empty() || open) {
                let rows: Vec<String> = told.iter().rev().take(4).map(|row| short(row)).collect();
                self.wrong(format!("{when}: {name} differs in {left:?}; told {rows:?}"));
            }
            if pending && !on {
                self.wrong(format!("{when}: {name} is pending"));
            }
        }
    }

    /// What the sandbox saw.
    fn log(&mut self) {
        let state = self.stage.sandbox.state();
        let (calls, counts) = (state.calls(), state.counts());
        self.played.calls = self.stage.calls();
        self.played.tokens = state.token_requests();
        let mut born = BTreeMap::<String, usize>::new();
        let mut groups = 0;
        for call in calls.iter().filter(|call| call.effect) {
            let body = call.body.as_ref().unwrap_or(&Value::Null);
            let users = call.path.starts_with("/Users");
            if users && call.method == "POST" {
                *born.entry(body["userName"].to_string()).or_default() += 1;
            }
            if call.method == "POST" && !users {
                groups += 1;
            }
            let takes = call.method == "DELETE"
                || (call.method == "PATCH" && body["Operations"][0]["value"]["active"] == false);
            if users && takes {
                let name = self.whose(call);
                if !self.may_go.iter().any(|known| **known == name) {
                    self.wrong(format!("{name} was taken away: {call:?}"));
                }
            }
        }
        for (name, count) in born {
            let name: String = serde_json::from_str(&name).unwrap_or_default();
            let most = self.births.get(name.as_str()).copied().unwrap_or(1);
            if count > most {
                self.wrong(format!("{name} was created {count} times"));
            }
        }
        if groups > 1 {
            self.wrong(format!("{groups} groups were created"));
        }
        let early: u64 = counts.values().map(|counts| counts.early).sum();
        let limited = calls.iter().filter(|call| call.status == Some(429)).count();
        // What was on its way when its class was told to wait: at most so many at once.
        if early > 7 * limited as u64 {
            self.wrong(format!(
                "{early} calls while told to wait, after {limited} 429s"
            ));
        }
        if limited > 40 {
            self.wrong(format!("{limited} times 429"));
        }
        // A token that is refused costs one more; what the endpoint refuses is asked for again after a pause.
        let voided = calls.iter().filter(|call| call.status == Some(401)).count();
        let refused = counts.get("TOKEN").map_or(0, |counts| {
            let bad = counts.statuses.iter().filter(|(status, _)| **status >= 400);
            bad.map(|(_, count)| count).sum()
        });
        if refused > 40 {
            self.wrong(format!("{refused} refused requests for a token"));
        }
        let end = calls.partition_point(|call| call.at < self.ended);
        let most = 3
            + refused
            + voided as u64
            + lives(&calls[..end], self.began, self.setting.token_life_seconds)
            + lives(&calls[end..], self.ended, self.base.token_life_seconds);
        if self.played.tokens > most {
            let tokens = self.played.tokens;
            self.wrong(format!("{tokens} tokens asked for, {most} would do"));
        }
    }

    /// Whether the call may be about who is called so; a look-up may be about anybody.
    fn is_about(&self, call: &Seen, name: &str) -> bool {
        if call.path.starts_with("/Groups") || name == TEAM {
            return call.path.starts_with("/Groups") && name == TEAM;
        }
        match &call.body {
            _ if call.path.starts_with("/Users/") => self.whose(call) == name,
            Some(body) => body["userName"] == name,
            None => true,
        }
    }

    fn whose(&self, call: &Seen) -> String {
        let id = call.path.trim_start_matches("/Users/").replace("%26", "&");
        self.seen.get(&id).cloned().unwrap_or(id)
    }

    /// What the report says of it all.
    fn told(&mut self) {
        let mut last: BTreeMap<String, (String, Timestamp)> = BTreeMap::new();
        for row in self.stage.report() {
            let most = if row.kind == Kind::Group {
                A_SEARCH
            } else {
                AN_EXCHANGE
            };
            if row.calls.len() > most {
                self.wrong(format!(
                    "an exchange of {} calls: {}",
                    row.calls.len(),
                    short(&row)
                ));
            }
            let reason = row.reason.clone().unwrap_or_default();
            if row.code.as_deref() == Some("not_applied") {
                // One delivery may settle several requests: each has its row.
                let at = row.settled.unwrap_or(row.time);
                let warned = last.insert(row.id.clone(), (reason.clone(), at));
                if warned.is_some_and(|(before, then)| before == reason && then != at) {
                    self.wrong(format!("warned twice: {}", short(&row)));
                }
            }
        }
    }
}

fn short(row: &Told) -> String {
    let calls: Vec<String> = row
        .calls
        .iter()
        .map(|call| format!("{} {}", call.method, call.status.unwrap_or(0)))
        .collect();
    format!(
        "{:?} {:?} {} {} {calls:?}",
        row.operation,
        row.status,
        row.code.as_deref().unwrap_or_default(),
        row.reason.as_deref().unwrap_or_default()
    )
}

/// How many tokens it takes to make these calls, each used for four fifths of its life.
fn lives(calls: &[Seen], began: Timestamp, life: u64) -> u64 {
    let life = Duration::from_secs(life.saturating_sub(1)) * 4 / 5;
    let (mut count, mut until) = (0, began);
    for call in calls {
        if call.at >= until {
            count += 1;
            until = call.at.plus(life);
        }
    }
    count
}

/// In what an account differs from what the directory says.
fn differences(user: &Value, account: Option<&Value>) -> Vec<String> {
    let Some(account) = account else {
        return match user["active"] {
            Value::Bool(false) => Vec::new(),
            _ => vec!["account".into()],
        };
    };
    let mut differs = Vec::new();
    let mut same = |name: &str, is: bool| {
        if !is {
            differs.push(name.to_owned());
        }
    };
    same("active", user["active"] == account["active"]);
    if user["active"] == false {
        return differs;
    }
    for key in ["userName", "displayName", "title"] {
        same(key, user[key] == account[key]);
    }
    // `Pro` until 2020-10-20.
    let licensed = user["userType"] == "Licensed" && account["userType"] == "Pro";
    same(
        "userType",
        licensed || user["userType"] == account["userType"],
    );
    for part in ["givenName", "familyName"] {
        same("name", user["name"][part] == account["name"][part]);
    }
    let address = |of: &Value| of["emails"][0]["value"].clone();
    same("emails", address(user) == address(account));
    let role = |of: &Value| match &of["roles"] {
        Value::Array(roles) => roles[0]["value"].clone(),
        one => one["value"].clone(),
    };
    same("roles", role(account) == "" || role(user) == role(account));
    for extension in [ENTERPRISE, LICENCES] {
        same(extension, user[extension] == account[extension]);
    }
    differs
}
