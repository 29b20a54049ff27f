//! The exchange without a socket: every history of answers, losses, delays and crashes to a stated depth, against a
//! small model of an application.
//!
//! A history is a script of what a client asks for, and for each call to the application one of [`WAYS`] in which it can
//! go. The first `DEPTH` calls of a script go in every combination of ways; after that the application is well and the
//! worker is run until it has nothing left to do. Then what should be is what is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use usher::clock::Timestamp;
use usher::journal::record::Status;
use usher::provision::call::{Answer, Call, Method};
use usher::provision::exchange::{self, End, Exchange, Outcome, Step};
use usher::provision::ladder::Tries;
use usher::provision::link::{Link, Origin, State, Uncertain};
use usher::provision::plan::{self, Act, Application, Decision, Facts};
use usher::provision::weigh::{self, Due, Weighed};
use usher::scim::{Handle, Id, Kind, Resource};

/// So many calls of every script go in every combination of ways: one more for the script of one step.
const DEPTH: usize = 3;

/// How many histories there were for each kind of application when this was written.
const LEAST: [u64; 4] = [29_000, 29_000, 32_000, 31_000];

const LAG: Duration = Duration::from_secs(30);

/// How a call can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It takes effect and is answered.
    Well,
    /// No connection was had.
    NotSent,
    /// Lost before it took effect.
    LostBefore,
    /// It takes effect and the answer is lost.
    LostAfter,
    /// No answer, and it takes effect only later, within the application's lag.
    Late,
    /// 503 without effect.
    Sick,
    /// 502 with effect.
    SickAfter,
    /// 429.
    Throttled,
    /// It takes effect, the answer is 2xx and not JSON.
    Garbled,
    /// It takes effect and is answered, but look-ups do not show it for a while.
    Hidden,
    /// The gateway dies before the call leaves.
    CrashBefore,
    /// The gateway dies after the call took effect.
    CrashAfter,
}

const WAYS: [Way; 12] = [
    Way::Well,
    Way::NotSent,
    Way::LostBefore,
    Way::LostAfter,
    Way::Late,
    Way::Sick,
    Way::SickAfter,
    Way::Throttled,
    Way::Garbled,
    Way::Hidden,
    Way::CrashBefore,
    Way::CrashAfter,
];

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Create,
    Rename,
    Deactivate,
    Reactivate,
    Delete,
    /// Time passes.
    Wait(u64),
}

const SCRIPTS: [&[Ask]; 7] = [
    &[Ask::Create],
    &[Ask::Create, Ask::Rename],
    &[Ask::Create, Ask::Deactivate],
    &[Ask::Create, Ask::Delete],
    &[Ask::Create, Ask::Deactivate, Ask::Reactivate],
    &[Ask::Create, Ask::Delete, Ask::Create],
    &[
        Ask::Create,
        Ask::Wait(5),
        Ask::Rename,
        Ask::Deactivate,
        Ask::Wait(60),
        Ask::Reactivate,
        Ask::Delete,
    ],
];

/// What kind of application it is, and what is there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kindness {
    /// A second account of one name is refused.
    RefusesDuplicates,
    /// It is not refused, but shown within the lag.
    TakesDuplicates,
    /// Somebody else made the account before, and it is adopted.
    ThereBefore,
    /// Somebody else made the account before, and adopting is switched off.
    Strangers,
}

#[derive(Debug, Clone, PartialEq)]
struct Account {
    user_name: String,
    display: String,
    active: bool,
    created: Timestamp,
    shown_from: Timestamp,
}

struct World {
    kind: Kindness,
    accounts: BTreeMap<String, Account>,
    late: Vec<(Timestamp, Call)>,
    next: u64,
    posts: u64,
}

impl World {
    fn show(id: &str, account: &Account) -> Value {
        json!({
            "id": id, "userName": account.user_name, "displayName": account.display, "active": account.active,
            "name": {"givenName": "Ada", "familyName": "King"},
            "emails": [{"type": "work", "primary": true, "value": "ada@x.example"}],
            "meta": {"created": account.created.rfc3339()}
        })
    }

    fn by_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a String, &'a Account)> {
        self.accounts
            .iter()
            .filter(move |(_, account)| account.user_name == name)
    }

    /// What became due since.
    fn tick(&mut self, now: Timestamp) {
        let due: Vec<Call> = self
            .late
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, call)| call.clone())
            .collect();
        self.late.retain(|(at, _)| *at > now);
        for call in due {
            self.answer(&call, now, now);
        }
    }

    /// The application's plain self.
    fn answer(&mut self, call: &Call, now: Timestamp, shown_from: Timestamp) -> (u16, Value) {
        let id = call
            .path
            .strip_prefix("/Users/")
            .map(|id| id.replace("%26", "&"));
        let body: Value = call.body.as_deref().map_or(Value::Null, |body| {
            serde_json::from_slice(body).expect("our own JSON")
        });
        let absent = (404, json!({"detail": "User does not exist."}));
        match (call.method, id) {
            (Method::Get, None) => {
                let query = call.query.as_deref().unwrap_or_default();
                let found: Vec<Value> = self
                    .accounts
                    .iter()
                    .filter(|(_, account)| {
                        account.shown_from <= now
                            && query.contains(&account.user_name.replace('@', "%40"))
                    })
                    .map(|(id, account)| Self::show(id, account))
                    .collect();
                (
                    200,
                    json!({"totalResults": found.len(), "Resources": found}),
                )
            }
            (Method::Post, _) => {
                self.posts += 1;
                let name = body["userName"].as_str().expect("a userName").to_owned();
                if self.kind != Kindness::TakesDuplicates && self.by_name(&name).next().is_some() {
                    return (409, json!({"detail": "The user already exists"}));
                }
                self.next += 1;
                let id = format!("k&{}", self.next);
                let display = body["displayName"].as_str().unwrap_or_default().to_owned();
                let account = Account {
                    user_name: name,
                    display,
                    active: true,
                    created: now,
                    shown_from,
                };
                let shown = Self::show(&id, &account);
                self.accounts.insert(id, account);
                (201, shown)
            }
            (Method::Get, Some(id)) => self
                .accounts
                .get(&id)
                .map_or(absent, |account| (200, Self::show(&id, account))),
            (Method::Put, Some(id)) => {
                let Some(account) = self.accounts.get_mut(&id) else {
                    return absent;
                };
                if let Some(display) = body["displayName"].as_str() {
                    account.display = display.to_owned();
                }
                if let Some(active) = body["active"].as_bool() {
                    account.active = active;
                }
                (200, Self::show(&id, account))
            }
            (Method::Patch, Some(id)) => {
                let Some(account) = self.accounts.get_mut(&id) else {
                    return absent;
                };
                account.active = body["Operations"][0]["value"]["active"]
                    .as_bool()
                    .expect("active");
                (200, Self::show(&id, account))
            }
            (Method::Delete, Some(id)) => match self.accounts.remove(&id) {
                Some(_) => (204, Value::Null),
                None => absent,
            },
            (method, None) => panic!("{method:?} without an id"),
        }
    }
}

/// The gateway's memory of one person, as the store would keep it.
struct Sim<'a> {
    application: &'a Application,
    world: World,
    now: Timestamp,
    resource: Option<Resource>,
    mark: Option<Due>,
    handles: u64,
    /// The ways chosen so far, and how many were used.
    ways: Vec<usize>,
    used: usize,
    depth: usize,
    asked_more: bool,
}

enum Ended {
    Outcome(Box<Outcome>),
    Crashed,
}

impl Sim<'_> {
    fn way(&mut self) -> Way {
        let way = match self.ways.get(self.used) {
            Some(at) => WAYS[*at],
            None => {
                self.asked_more |= self.used < self.depth;
                Way::Well
            }
        };
        self.used += 1;
        way
    }

    fn converse(&mut self, decision: &Decision, deadline: Timestamp) -> Ended {
        let application = self.application;
        let mut exchange = Exchange::begin(
            application,
            decision.act.clone(),
            decision.link.clone(),
            self.now,
        );
        for _ in 0..40 {
            let call = match exchange.step() {
                Step::End(outcome) => return Ended::Outcome(outcome),
                Step::Claim(_) => {
                    exchange.claimed(None);
                    continue;
                }
                Step::Call(call) => call,
            };
            if self.now >= deadline {
                return Ended::Outcome(Box::new(exchange.cut("time is up")));
            }
            self.now = self.now.plus(Duration::from_millis(100));
            self.world.tick(self.now);
            let now = self.now;
            let answer = match self.way() {
                Way::Well => reply(self.world.answer(&call, now, now)),
                Way::Hidden => reply(self.world.answer(&call, now, now.plus(LAG / 2))),
                Way::NotSent => Answer::NotSent(String::from("refused")),
                Way::LostBefore => Answer::Lost(String::from("reset")),
                Way::LostAfter => {
                    self.world.answer(&call, now, now);
                    Answer::Lost(String::from("reset"))
                }
                Way::Late => {
                    if call.writes() {
                        self.world.late.push((now.plus(LAG / 2), call));
                    }
                    self.now = self.now.plus(Duration::from_secs(4));
                    Answer::Lost(String::from("time is up"))
                }
                Way::Sick => reply((503, json!({"detail": "busy"}))),
                Way::SickAfter => {
                    self.world.answer(&call, now, now);
                    reply((502, Value::Null))
                }
                Way::Throttled => reply((429, json!({"message": "slow down"}))),
                Way::Garbled => {
                    self.world.answer(&call, now, now);
                    Answer::Reply {
                        status: 200,
                        body: b"<html>".to_vec(),
                        retry_after: None,
                        limits: usher::provision::call::Limits::default(),
                    }
                }
                Way::CrashBefore => return Ended::Crashed,
                Way::CrashAfter => {
                    self.world.answer(&call, now, now);
                    return Ended::Crashed;
                }
            };
            exchange.hear(&answer, self.now);
        }
        panic!("an exchange without an end: {exchange:?}");
    }

    /// What the client hears: whether it was refused.
    fn ask(&mut self, ask: Ask) -> bool {
        let before = self.resource.clone();
        let mut after = match (ask, &before) {
            (Ask::Wait(seconds), _) => {
                self.now = self.now.plus(Duration::from_secs(seconds));
                return false;
            }
            (Ask::Create, Some(tombstone)) if tombstone.deleted.is_some() => {
                let link = tombstone.link("zoom").cloned();
                let mut fresh = self.born();
                fresh.set_link("zoom", link);
                fresh
            }
            (Ask::Create, _) => self.born(),
            // What was never taken cannot be changed.
            (_, None) => return false,
            (_, Some(before)) if before.deleted.is_some() => return false,
            (_, Some(before)) => before.clone(),
        };
        let set = |resource: &mut Resource, key: &str, value: Value| {
            resource.attributes.insert(key.to_owned(), value)
        };
        match ask {
            Ask::Rename => drop(set(&mut after, "displayName", json!("Ada Lovelace"))),
            Ask::Deactivate => drop(set(&mut after, "active", json!(false))),
            Ask::Reactivate => drop(set(&mut after, "active", json!(true))),
            Ask::Delete => after.deleted = Some(self.now),
            Ask::Create | Ask::Wait(_) => {}
        }
        self.settle(after, 0, Duration::from_secs(4), true)
    }

    fn born(&mut self) -> Resource {
        self.handles += 1;
        let attributes = json!({
            "userName": "ada@x.example", "displayName": "Ada King", "active": true,
            "name": {"givenName": "Ada", "familyName": "King"},
            "emails": [{"type": "work", "primary": true, "value": "ada@x.example"}]
        });
        let Value::Object(attributes) = attributes else {
            unreachable!()
        };
        Resource {
            handle: Handle(self.handles),
            id: Id::from("u"),
            kind: Kind::User,
            version: 1,
            created: self.now,
            modified: self.now,
            owner: String::from("okta"),
            deleted: None,
            attributes,
            links: Vec::new(),
        }
    }

    /// Plan, intend, exchange, commit; returns whether the client was refused.
    fn settle(
        &mut self,
        mut resource: Resource,
        attempts: u32,
        wait: Duration,
        inline: bool,
    ) -> bool {
        let mut decision = plan::plan(self.application, Facts::of(&resource, self.now));
        if let Some(removal) = decision
            .link
            .as_mut()
            .and_then(|link| link.removal.as_mut())
        {
            removal.counted = true;
        }
        let weighed = if decision.act == Act::Nothing {
            weigh::unsent(self.application, &decision, self.now, attempts, "")
        } else {
            let intended = self.now;
            let presumed = exchange::unknown(
                self.application,
                &decision.act,
                decision.link.as_ref(),
                intended,
            );
            match self.converse(&decision, self.now.plus(wait)) {
                Ended::Crashed => {
                    // Rolled forward at the next start, some time later.
                    self.now = self.now.plus(Duration::from_secs(3));
                    self.world.tick(self.now);
                    let link = presumed.map(|mut link: Link| {
                        if let Some(doubt) = &mut link.uncertain {
                            doubt.sent = self.now;
                        }
                        link
                    });
                    resource.set_link("zoom", link);
                    self.resource = Some(resource);
                    self.mark = Some(Due {
                        at: self.now,
                        attempts,
                        lane: decision.act.lane(),
                    });
                    return false;
                }
                Ended::Outcome(outcome) => {
                    let refused = matches!(outcome.end, End::Refused { .. })
                        && !outcome.effect
                        && !decision.act.removes();
                    if refused && inline {
                        return true;
                    }
                    weigh::weigh(
                        self.application,
                        Facts::of(&resource, self.now),
                        &decision,
                        *outcome,
                        Tries {
                            attempts,
                            outage: false,
                            dice: 0,
                        },
                        self.now,
                    )
                }
            }
        };
        let Weighed {
            link,
            mark,
            delivery,
            stuck: _,
        } = weighed;
        assert!(
            delivery.status != Status::Held,
            "nothing here passes the safety limit"
        );
        resource.set_link("zoom", link);
        let gone = resource.deleted.is_some() && resource.links.is_empty();
        self.resource = (!gone).then_some(resource);
        self.mark = mark.filter(|_| !gone);
        false
    }

    /// The worker, until nothing is left to do.
    fn work(&mut self) {
        assert!(
            self.work_for(60),
            "the worker never comes to rest: {:?} {:?}",
            self.mark,
            self.resource
        );
    }

    /// So many turns of the worker; whether it came to rest.
    fn work_for(&mut self, turns: usize) -> bool {
        for _ in 0..turns {
            let Some(mark) = self.mark.filter(|mark| mark.at != Timestamp::NEVER) else {
                return true;
            };
            self.now = self.now.max(mark.at);
            self.world.tick(self.now);
            let Some(resource) = self.resource.clone() else {
                return true;
            };
            self.settle(resource, mark.attempts, Duration::from_secs(60), false);
        }
        false
    }
}

fn reply((status, body): (u16, Value)) -> Answer {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    Answer::Reply {
        status,
        body,
        retry_after: None,
        limits: usher::provision::call::Limits::default(),
    }
}

fn application(adopt: bool) -> Application {
    let text = format!(
        r#"
        [[client]]
        name = "okta"
        token_sha256 = ["0000000000000000000000000000000000000000000000000000000000000001"]
        [[application]]
        name = "zoom"
        profile = "zoom"
        base_url = "http://127.0.0.1:1/scim2"
        credentials = {{ kind = "bearer", token = {{ env = "T" }} }}
        adopt = {adopt}
        [application.users]
        delete_after = "0s"
    "#
    );
    let config = usher::config::parse(&text, Path::new("usher.toml"), &|_| {
        Some(String::from("secret"))
    })
    .expect("a good configuration");
    Application::compile(
        config
            .applications
            .into_iter()
            .next()
            .expect("one application"),
    )
}

/// Plays one history; returns whether it would have gone on with more ways.
fn play(application: &Application, kind: Kindness, script: &[Ask], ways: &[usize]) -> bool {
    let start = Timestamp(1_800_000_000_000);
    let mut world = World {
        kind,
        accounts: BTreeMap::new(),
        late: Vec::new(),
        next: 0,
        posts: 0,
    };
    if matches!(kind, Kindness::ThereBefore | Kindness::Strangers) {
        let before = start.minus(Duration::from_secs(86_400));
        let account = Account {
            user_name: "ada@x.example".into(),
            display: "Somebody".into(),
            active: true,
            created: before,
            shown_from: before,
        };
        world.accounts.insert(String::from("k&0"), account);
    }
    let mut sim = Sim {
        application,
        world,
        now: start,
        resource: None,
        mark: None,
        handles: 0,
        ways: ways.to_vec(),
        used: 0,
        depth: DEPTH + usize::from(script.len() == 1),
        asked_more: false,
    };
    for ask in script {
        let refused = sim.ask(*ask);
        assert!(
            !refused || kind == Kindness::Strangers,
            "nothing here is a reason to refuse"
        );
    }
    if kind == Kindness::Strangers {
        // The worker never comes to rest while the client insists; what matters is that nothing there is touched.
        sim.work_for(10);
        let account = sim
            .world
            .accounts
            .get("k&0")
            .expect("a stranger's account is never deleted");
        assert!(
            account.active && account.display == "Somebody" && sim.world.accounts.len() == 1,
            "{script:?} {ways:?} {:?}",
            sim.world.accounts
        );
        return sim.asked_more;
    }
    sim.work();
    // What was still on its way arrives; the worker has no reason to look, so only the count matters then.
    let told = || {
        format!(
            "{kind:?} {script:?} {:?}\nworld {:?}\nlink {:?}",
            ways.iter().map(|at| WAYS[*at]).collect::<Vec<_>>(),
            sim.world.accounts,
            sim.resource
        )
    };
    let accounts: Vec<&Account> = sim
        .world
        .by_name("ada@x.example")
        .map(|(_, account)| account)
        .collect();
    assert!(
        accounts.len() <= 1,
        "two accounts of one person: {}",
        told()
    );
    // An account that somebody else made and that was never adopted is not ours to take away.
    let ours: Vec<&&Account> = accounts
        .iter()
        .filter(|account| account.display != "Somebody" || !account.active)
        .collect();
    match &sim.resource {
        None => assert!(ours.is_empty(), "deleted and still there: {}", told()),
        Some(resource) => {
            let wanted = |key: &str| resource.attributes.get(key).cloned().unwrap_or_default();
            assert!(
                resource.deleted.is_none(),
                "a tombstone is left with nothing to do: {}",
                told()
            );
            let link = resource.link("zoom");
            if wanted("active") == json!(true) {
                let account = accounts
                    .first()
                    .unwrap_or_else(|| panic!("no account: {}", told()));
                assert!(account.active, "inactive: {}", told());
                assert_eq!(json!(account.display), wanted("displayName"), "{}", told());
                let link = link.unwrap_or_else(|| panic!("no link: {}", told()));
                assert_eq!(
                    (link.state, link.uncertain),
                    (State::Active, None),
                    "{}",
                    told()
                );
            } else {
                assert!(
                    ours.iter().all(|account| !account.active),
                    "still active: {}",
                    told()
                );
                assert_eq!(link.is_some(), !ours.is_empty(), "{}", told());
            }
        }
    }
    sim.asked_more
}

/// Plays them all for one kind of application. `least` is how many there must be: fewer means that something is not
/// looked at any more.
fn every_history(kind: Kindness, least: u64) {
    let application = application(kind != Kindness::Strangers);
    let mut histories = 0_u64;
    for script in SCRIPTS {
        let mut open: Vec<Vec<usize>> = vec![Vec::new()];
        while let Some(ways) = open.pop() {
            histories += 1;
            if play(&application, kind, script, &ways) {
                open.extend((0..WAYS.len()).map(|way| [ways.as_slice(), &[way]].concat()));
            }
        }
    }
    println!(
        "{kind:?}: {histories} histories to a depth of {DEPTH} calls, {} ways each, {} scripts",
        WAYS.len(),
        SCRIPTS.len()
    );
    assert!(
        histories >= least,
        "only {histories} histories were looked at"
    );
}

#[test]
fn where_duplicates_are_refused() {
    every_history(Kindness::RefusesDuplicates, LEAST[0]);
}

#[test]
fn where_duplicates_are_taken_and_shown_within_the_lag() {
    every_history(Kindness::TakesDuplicates, LEAST[1]);
}

#[test]
fn where_somebody_made_the_account_before() {
    every_history(Kindness::ThereBefore, LEAST[2]);
}

#[test]
fn where_strangers_accounts_are_left_alone() {
    every_history(Kindness::Strangers, LEAST[3]);
}

/// A look-up that finds the first of a list that was not filtered must not adopt a stranger.
#[test]
fn an_account_of_another_name_is_never_taken() {
    let application = application(true);
    let account: Map<String, Value> = json!({"userName": "ada@x.example"})
        .as_object()
        .cloned()
        .expect("an object");
    let mut exchange = Exchange::begin(&application, Act::Give { account }, None, Timestamp(0));
    let Step::Call(post) = exchange.step() else {
        panic!("a call")
    };
    assert_eq!(post.method, Method::Post);
    exchange.hear(
        &reply((409, json!({"detail": "The user already exists"}))),
        Timestamp(1),
    );
    assert!(matches!(exchange.step(), Step::Call(_)));
    let stranger =
        json!({"totalResults": 1, "Resources": [{"id": "1", "userName": "owner@x.example"}]});
    exchange.hear(&reply((200, stranger)), Timestamp(2));
    let Step::End(outcome) = exchange.step() else {
        panic!("the end")
    };
    assert_eq!(outcome.end, End::Later(Timestamp(2).plus(LAG)));
    assert!(outcome.link.is_some_and(|link| link.remote_id.is_none()));
}

/// An account was missed there and made anew by a gateway that died before it noted the new id: the link still has the
/// old one. A removal must find what was made, and an update must not make it once more before it had time to show.
#[test]
fn what_was_made_anew_before_a_crash_is_found() {
    let application = application(true);
    let account: Map<String, Value> = json!({"userName": "ada@x.example"})
        .as_object()
        .cloned()
        .expect("an object");
    let (intended, sent) = (Timestamp(1_800_000_000_000), Timestamp(1_800_000_002_000));
    let link = Link {
        application: String::from("zoom"),
        remote_id: Some(String::from("old")),
        origin: Origin::Created,
        state: State::Active,
        uncertain: Some(Uncertain { intended, sent }),
        sent: None,
        seen_name: Some(String::from("ada@x.example")),
        dropped: Vec::new(),
        fresh: false,
        removal: None,
        kept: false,
        untaken: None,
    };
    let found = json!({"totalResults": 1, "Resources": [{"id": "new", "userName": "ada@x.example", "active": true, "meta": {"created": intended.rfc3339()}}]});
    let none = json!({"totalResults": 0, "Resources": []});
    let soon = sent.plus(Duration::from_secs(1));
    let begin = |act| Exchange::begin(&application, act, Some(link.clone()), soon);
    let call =
        |exchange: &mut Exchange<'_>, wanted: Method, path: &str, answer: (u16, Value), now| {
            let Step::Call(call) = exchange.step() else {
                panic!("{wanted:?} {path}: {exchange:?}")
            };
            assert_eq!((call.method, call.path.as_str()), (wanted, path));
            exchange.hear(&reply(answer), now);
        };
    let absent = || (404, json!({"detail": "User does not exist."}));
    for (act, method, done) in [
        (Act::Delete, Method::Delete, (204, Value::Null)),
        (Act::Deactivate, Method::Patch, (204, Value::Null)),
    ] {
        let mut exchange = begin(act);
        call(&mut exchange, method, "/Users/old", absent(), soon);
        call(
            &mut exchange,
            Method::Get,
            "/Users",
            (200, found.clone()),
            soon,
        );
        assert_eq!(exchange.step(), Step::Claim(String::from("new")));
        exchange.claimed(None);
        call(&mut exchange, method, "/Users/new", done, soon);
        let Step::End(outcome) = exchange.step() else {
            panic!("the end")
        };
        assert_eq!(outcome.end, End::Done);
    }
    for (act, first) in [
        (Act::Update { account }, Method::Get),
        (Act::Delete, Method::Delete),
    ] {
        let mut exchange = begin(act);
        call(&mut exchange, first, "/Users/old", absent(), soon);
        call(
            &mut exchange,
            Method::Get,
            "/Users",
            (200, none.clone()),
            soon,
        );
        let Step::End(outcome) = exchange.step() else {
            panic!("it would make a second account")
        };
        assert_eq!(outcome.end, End::Later(sent.plus(LAG)));
        assert!(outcome.link.is_some(), "it is looked up again");
    }
}

/// A removal in doubt that finds an account which another resource holds is over: it must neither touch that account
/// nor be tried for ever.
#[test]
fn a_removal_in_doubt_leaves_anothers_account_alone() {
    let application = application(true);
    let (intended, now) = (Timestamp(1_800_000_000_000), Timestamp(1_800_000_100_000));
    let doubt = Uncertain {
        intended,
        sent: intended,
    };
    let link = Link {
        application: String::from("zoom"),
        remote_id: None,
        origin: Origin::Created,
        state: State::Unborn,
        uncertain: Some(doubt),
        sent: None,
        seen_name: Some(String::from("ada@x.example")),
        dropped: Vec::new(),
        fresh: false,
        removal: None,
        kept: false,
        untaken: None,
    };
    let found = json!({"totalResults": 1, "Resources": [{"id": "theirs", "userName": "ada@x.example", "active": true}]});
    for act in [Act::Delete, Act::Deactivate] {
        let mut exchange = Exchange::begin(&application, act, Some(link.clone()), now);
        assert!(matches!(exchange.step(), Step::Call(call) if call.method == Method::Get));
        exchange.hear(&reply((200, found.clone())), now);
        assert_eq!(exchange.step(), Step::Claim(String::from("theirs")));
        exchange.claimed(Some("somebody"));
        let Step::End(outcome) = exchange.step() else {
            panic!("a call goes to another's account")
        };
        assert_eq!((outcome.end, outcome.link), (End::Done, None));
    }
}
