//! One seed's history: what happens, life after life, until faults end and all that was asked for is so.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::asks::{self, Ask};
use super::dice::Dice;
use super::disk::Disk;
use super::line::{BASE, Line, Weather};
use super::model::{Groups, People};
use super::server::Server;
use super::world::{Application, Place, Shared, World, at};
use crate::auth::{Authority, Client};
use crate::clock::{Clock, Timestamp};
use crate::config::shape::{
    DeliveryMode, MaxRemovals, Mode, Policy, ProfileName, Taking, WhenUnavailable,
};
use crate::config::{self, Config};
use crate::policy::assignment::Selector;
use crate::provision::call::Method;
use crate::provision::profile::Profile;
use crate::sandbox::{Options, Quirks, State};
use crate::settle::Engine;
use crate::store::{Key, Store};
use crate::worker;

/// Events of a history.
pub(super) const EVENTS: u64 = 210;
const PEOPLE: usize = 18;
const GROUPS: usize = 5;
const START: Timestamp = Timestamp(1_795_465_845_000);

/// What came of a seed.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) broken: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) history: Vec<String>,
    pub(super) events: u64,
}

thread_local! {
    static PARKED: Cell<Option<Waker>> = const { Cell::new(None) };
    static DICE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// A number for the gateway's own chance, if a simulation runs on this thread.
pub(crate) fn thrown() -> Option<u64> {
    let seed = DICE.get()?;
    let mut dice = Dice::new(seed);
    let number = dice.next();
    DICE.set(Some(number));
    Some(number)
}

/// Whoever is woken by a commit goes in the order of the applications: the channel that wakes them keeps none.
pub(crate) async fn in_turn(application: &str) {
    if DICE.get().is_some() && application == "crm" {
        tokio::task::yield_now().await;
    }
}

/// Ends when every task waits for something.
async fn idle() {
    let mut asked = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        PARKED.set(Some(context.waker().clone()));
        Poll::Pending
    })
    .await;
}

const TEXT: &str = r#"
[server]
listen = "127.0.0.1:0"
[[client]]
name = "okta"
token_sha256 = ["4b1f0c6f2e9d7a83c5e1b0d94a7263f8150eab9cd27f4e6618b3a05d9c72e4f1"]
rate = { per_second = 100000, burst = 100000 }
take_over = true
[[client]]
name = "entra"
token_sha256 = ["4b1f0c6f2e9d7a83c5e1b0d94a7263f8150eab9cd27f4e6618b3a05d9c72e4f2"]
rate = { per_second = 100000, burst = 100000 }
take_over = true
[[application]]
name = "zoom"
profile = "zoom"
base_url = "BASE0"
credentials = { kind = "bearer", token = { env = "TOKEN" } }
[application.users]
delete_after = "1h"
[application.groups]
push = ["team-*"]
[application.safety]
protected = ["svc-*"]
window = "24h"
[application.pace]
light = { per_second = 1000 }
medium = { per_second = 1000 }
[[application.map.user]]
to = "title"
from = "$.title"
[[application]]
name = "crm"
profile = "scim"
base_url = "BASE1"
credentials = { kind = "bearer", token = { env = "TOKEN" } }
[application.users]
delete_after = "1h"
on_leave = "delete"
[application.groups]
push = ["team-*"]
[application.safety]
protected = ["svc-*"]
window = "24h"
[application.pace]
light = { per_second = 1000 }
medium = { per_second = 1000 }
[[application.map.user]]
to = "title"
from = "$.title"
"#;

fn parsed() -> Config {
    let text = TEXT
        .replace("BASE0", &format!("{BASE}0"))
        .replace("BASE1", &format!("{BASE}1"));
    let token = |_: &str| Some(String::from("a-token-for-nothing"));
    config::parse(&text, Path::new("/simulated/usher.toml"), &token).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

/// How a life ended.
enum Ended {
    Died,
    Drained,
    Over,
}

pub(super) struct Play {
    world: Shared,
    clock: Clock,
    /// As the seed has it, and as it is in force.
    own: Config,
    config: Config,
    clients: Vec<Client>,
    events: u64,
    requests: u64,
    who: Option<String>,
    told: String,
}

/// Plays a seed.
pub(super) fn play(seed: u64, verbose: bool) -> Told {
    let mut told = Told::default();
    let playing = AssertUnwindSafe(|| told = whole(seed, verbose));
    if std::panic::catch_unwind(playing).is_err() {
        told.broken.push(String::from("a panic"));
    }
    Line::lay(None);
    DICE.set(None);
    told
}

fn whole(seed: u64, verbose: bool) -> Told {
    let mut dice = Dice::new(seed);
    DICE.set(Some(seed));
    let clock = Clock::manual(START);
    let play = Play::new(&mut dice, clock, verbose);
    Line::lay(Some(Arc::clone(&play.world)));
    let world = Arc::clone(&play.world);
    let events = play.run();
    let mut world = at(&world);
    world.store = None;
    Told {
        broken: std::mem::take(&mut world.broken),
        counts: std::mem::take(&mut world.counts),
        history: std::mem::take(&mut world.history),
        events,
    }
}

impl Play {
    fn new(dice: &mut Dice, clock: Clock, verbose: bool) -> Self {
        let lag = dice.below(3) * 5_000;
        let silent = dice.percent(40);
        let mut drops = Quirks::default().put_drops;
        if silent {
            drops.push(String::from("title"));
        }
        let quirks = Quirks {
            lookup_lag_ms: lag,
            write_lag_ms: if dice.percent(30) { 2_000 } else { 0 },
            associated_domains: vec!["corp.example".into(), "lab.example".into()],
            put_drops: drops,
            ..Quirks::default()
        };
        let zoom = State::new(Options {
            clock: clock.clone(),
            quirks,
            ..Options::default()
        });
        let mut crm = Server::default();
        crm.lag = Duration::from_millis(lag);
        let mut own = parsed();
        let limit = match dice.below(3) {
            0 => 5,
            1 => 3 + dice.below(5),
            _ => 1_000,
        };
        for one in &mut own.applications {
            if limit != 5 {
                one.safety.max_removals = MaxRemovals::Count(limit);
            }
            if dice.percent(30) {
                one.users.leave_after = Duration::from_secs(600);
            }
            if dice.percent(30) {
                one.when_unavailable = WhenUnavailable::Refuse;
            }
            if dice.percent(30) {
                one.users.on_delete = Taking::Deactivate;
            }
            if dice.percent(40) {
                one.groups.push.clear();
            }
        }
        if dice.percent(30) {
            own.applications[0].delivery = DeliveryMode::Queued;
        }
        let policy = |number: usize| Policy {
            name: format!("policy-{number}"),
            group: Selector::DisplayName(super::model::group_name(number, false)),
        };
        own.applications[0].authorized_domains = vec!["corp.example".into(), "home.example".into()];
        own.applications[1].policies = vec![policy(0), policy(1)];
        if dice.percent(40) {
            own.applications[0].policies = vec![policy(2)];
        }
        let names: Vec<String> = (0..PEOPLE)
            .map(|person| match person {
                0 => String::from("svc-robot@corp.example"),
                1..4 => format!("p{person}@home.example"),
                4..7 => format!("p{person}@lab.example"),
                _ => format!("p{person}@corp.example"),
            })
            .collect();
        let clients = Authority::new(&own.clients).clients().cloned().collect();
        let application = |name, place| Application {
            name,
            place,
            weather: Weather::Fair,
            until: START,
            told: [START; 2],
            removed: BTreeSet::new(),
            deleted: BTreeSet::new(),
            foreign: BTreeSet::new(),
            seen: BTreeMap::new(),
            drops_titles: silent && name == "zoom",
            late: Vec::new(),
            unwanted: BTreeMap::new(),
            domains: Vec::new(),
            policies: false,
            bound: BTreeSet::new(),
        };
        let mut world = World {
            dice: Dice::new(dice.next()),
            disk: Disk::default(),
            store: None,
            applications: vec![
                application("zoom", Place::Zoom(zoom)),
                application("crm", Place::Plain(crm)),
            ],
            people: People::new(names),
            groups: Groups::new(GROUPS),
            called: None,
            sent: BTreeMap::new(),
            limit: usize::try_from(limit).expect("small"),
            begun: START,
            broken: Vec::new(),
            counts: BTreeMap::new(),
            under_way: 0,
            requests: 0,
            acknowledged: Vec::new(),
            mended: false,
            dies_in_call: None,
            history: Vec::new(),
            verbose,
            now: START,
        };
        if silent {
            world.count("silent drops");
        }
        if lag > 0 {
            world.count("read-after-write lag");
        }
        world.strangers();
        Self {
            world: Arc::new(Mutex::new(world)),
            clock,
            config: own.clone(),
            own,
            clients,
            events: 0,
            requests: 0,
            who: std::env::var("USHER_WHO").ok().filter(|_| verbose),
            told: String::new(),
        }
    }

    fn run(mut self) -> u64 {
        loop {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .on_thread_park(|| {
                    if let Some(waker) = PARKED.take() {
                        waker.wake();
                    }
                })
                .build()
                .expect("a runtime");
            let opened = {
                let disk = at(&self.world).disk.clone();
                Store::inline_on(disk, self.clock.now())
            };
            let store = match opened {
                Ok(store) => store,
                // The power went while it was opened, or closed before.
                Err(_) if at(&self.world).disk.is_dead() => {
                    let mut world = at(&self.world);
                    let mut dice = Dice::new(world.dice.next());
                    world.disk.back(&mut dice);
                    continue;
                }
                Err(why) => {
                    at(&self.world).breaks(format!("the store does not open: {why}"));
                    return self.events;
                }
            };
            let ended = runtime.block_on(self.live(store));
            drop(runtime);
            let mut world = at(&self.world);
            world.store = None;
            world.under_way = 0;
            // What was heard of the applications is on disk with the commit that records the answer: a gateway that died
            // before that hears it again.
            if matches!(ended, Ended::Died) {
                for one in &mut world.applications {
                    one.told = [START; 2];
                }
            }
            match ended {
                Ended::Over => return self.events,
                Ended::Drained => world.count("restart"),
                Ended::Died => {
                    world.say(|| String::from("--- dead"));
                    world.requests = 0;
                    for one in &mut world.people.all {
                        one.busy = false;
                    }
                    for one in &mut world.groups.all {
                        one.busy = false;
                    }
                    world.count("crash");
                    let mut dice = Dice::new(world.dice.next());
                    if world.disk.back(&mut dice) {
                        world.count("torn or lost writes");
                    }
                }
            }
            if !world.broken.is_empty() {
                return self.events;
            }
            drop(world);
            self.clock.advance(Duration::from_secs(1));
        }
    }

    async fn live(&mut self, store: Store) -> Ended {
        let configured = store.configure(Engine::configuration(&self.config)).await;
        let Ok(in_force) = configured else {
            return Ended::Died;
        };
        let engine = Engine::new(
            store.clone(),
            &self.config,
            in_force.generation,
            self.clock.clone(),
        );
        let mut engine = Arc::new(engine.expect("it is well configured"));
        {
            let mut world = at(&self.world);
            let now = self.clock.now();
            world.store = Some(store.clone());
            if store.rolled_forward() > 0 {
                world.count("intents rolled forward");
            }
            match store.view() {
                Ok(view) => world.read_back(&view, now),
                Err(fault) => world.breaks(format!("no view: {fault:?}")),
            }
            world.configured(&self.config);
            world.touch(now);
        }
        let mut stop = watch::Sender::new(false);
        let mut loops = JoinSet::new();
        worker::start(&engine, &stop, &mut loops);
        let mut clients = JoinSet::new();
        let mut quiet = 0;
        loop {
            idle().await;
            while clients.try_join_next().is_some() {}
            if at(&self.world).disk.is_dead() {
                return Ended::Died;
            }
            self.watch(&store);
            // A failed commit is the end of a process.
            if store.is_broken() || store.tidy().is_err() {
                at(&self.world).disk.die();
                return Ended::Died;
            }
            idle().await;
            if !at(&self.world).broken.is_empty() {
                return Ended::Over;
            }
            let (under_way, requests) = {
                let world = at(&self.world);
                (world.under_way, world.requests)
            };
            if self.events >= EVENTS {
                if under_way == 0 && requests == 0 {
                    self.mend(&engine, &mut stop, &mut loops).await;
                    return Ended::Over;
                }
                self.pass(Duration::from_millis(500));
                continue;
            }
            if under_way > 0 && at(&self.world).dice.percent(70) {
                let step = 20 + at(&self.world).dice.below(400);
                self.pass(Duration::from_millis(step));
                continue;
            }
            quiet += 1;
            if quiet % 8 == 0 {
                let mut world = at(&self.world);
                if let Ok(view) = store.view() {
                    let now = self.clock.now();
                    world.read_back(&view, now);
                }
            }
            self.events += 1;
            let roll = at(&self.world).dice.below(100);
            match roll {
                0..62 => self.ask(&engine, &mut clients),
                62..66 => self.bulk(&engine, &mut clients),
                66..76 => {
                    let step = match at(&self.world).dice.below(6) {
                        0 => 200,
                        1 => 2_000,
                        2 => 12_000,
                        3 => 40_000,
                        4 => 180_000,
                        _ => 700_000,
                    };
                    self.pass(Duration::from_millis(step));
                }
                76..86 => self.weather(),
                86..91 => {
                    engine = self.reload(&engine, &mut stop, &mut loops).await;
                }
                91..94 => {
                    let mut world = at(&self.world);
                    let flushes = 1 + world.dice.below(7);
                    world.say(|| format!("the power goes in flush {flushes}"));
                    world.count("crash at a flush");
                    world.disk.die_in(flushes);
                }
                94..97 => {
                    let mut world = at(&self.world);
                    let after = world.dice.percent(50);
                    world.dies_in_call = Some(after);
                }
                97 => {
                    at(&self.world).disk.die();
                    return Ended::Died;
                }
                98 => {
                    self.drain(&engine, &stop, &mut loops, &mut clients).await;
                    return if at(&self.world).disk.is_dead() {
                        Ended::Died
                    } else {
                        Ended::Drained
                    };
                }
                _ => {
                    let world = at(&self.world);
                    if let Place::Zoom(state) = &world.applications[0].place {
                        for account in state.accounts() {
                            if account.pending && state.accept(&account.user_name) {
                                break;
                            }
                        }
                    }
                }
            }
        }
    }

    /// With `USHER_WHO=p7@corp.example` every change of that one's links and marks is said.
    fn watch(&mut self, store: &Store) {
        let Some(who) = self.who.clone() else {
            return;
        };
        let told = || {
            let view = store.view().ok()?;
            let mut told = Vec::new();
            for name in ["zoom", "crm"] {
                let key = Key::Orphan {
                    application: name,
                    account: &who,
                };
                told.push(format!("{:?}", view.find(&key)));
            }
            let handle = view.find(&Key::UserName(&who)).ok()??;
            told.push(format!(
                "{:?} {:?}",
                view.resource(handle).ok()??.links,
                view.marks(handle).ok()?
            ));
            Some(told.join(" "))
        };
        let told = told().unwrap_or_else(|| String::from("nobody"));
        if told != self.told {
            at(&self.world).say(|| format!("{who}: {told}"));
            self.told = told;
        }
    }

    fn pass(&self, span: Duration) {
        let end = self.clock.now().plus(span);
        let mut world = at(&self.world);
        // What lies about takes effect when it is due, and not when nobody looks any more.
        while let Some(due) = world.next_late().filter(|due| *due < end) {
            self.clock.advance(due.since(self.clock.now()));
            world.tick(due);
        }
        self.clock.advance(end.since(self.clock.now()));
        world.tick(end);
    }

    fn name(&mut self) -> String {
        self.requests += 1;
        format!("r{}", self.requests)
    }

    fn client(&self, ask: &Ask) -> Client {
        // Everybody has one client, who owns what it made.
        let number = match &ask.after {
            asks::After::Person(person, _) => person % 2,
            asks::After::Group(group, _) => group % 2,
        };
        self.clients[number].clone()
    }

    fn something(&self) -> Option<Ask> {
        let mut world = at(&self.world);
        // Whoever is being settled somewhere is changed again now and then.
        let again = world.called.filter(|_| world.under_way > 0);
        if let Some(person) = again
            && world.dice.percent(25)
        {
            return world.of_person(person);
        }
        if world.dice.percent(70) {
            let person = usize::try_from(world.dice.below(PEOPLE as u64)).ok()?;
            world.of_person(person)
        } else {
            let group = usize::try_from(world.dice.below(GROUPS as u64)).ok()?;
            world.of_group(group)
        }
    }

    fn ask(&mut self, engine: &Arc<Engine>, clients: &mut JoinSet<()>) {
        let Some(ask) = self.something() else {
            return;
        };
        let request = self.name();
        let client = self.client(&ask);
        at(&self.world).asks(&ask, self.clock.now());
        let (world, engine) = (Arc::clone(&self.world), Arc::clone(engine));
        clients.spawn(asks::ask(world, engine, client, request, ask));
    }

    fn bulk(&mut self, engine: &Arc<Engine>, clients: &mut JoinSet<()>) {
        let count = 2 + at(&self.world).dice.below(6);
        let mut all = Vec::new();
        for _ in 0..count {
            if let Some(ask) = self.something() {
                at(&self.world).asks(&ask, self.clock.now());
                all.push(ask);
            }
        }
        if all.is_empty() {
            return;
        }
        at(&self.world).count("bulk");
        let request = self.name();
        // It may take over what another one made.
        let client = self.clients[1].clone();
        let (world, engine) = (Arc::clone(&self.world), Arc::clone(engine));
        clients.spawn(asks::bulk(world, engine, client, request, all));
    }

    fn weather(&self) {
        let mut world = at(&self.world);
        let which = usize::from(world.dice.percent(50));
        let weather = world
            .dice
            .pick(&Weather::ALL)
            .copied()
            .unwrap_or(Weather::Fair);
        let span = match weather {
            Weather::Down if world.dice.percent(30) => 3600,
            _ => 5 + world.dice.below(90),
        };
        let until = self.clock.now().plus(Duration::from_secs(span));
        world.say(|| format!("weather {which}: {weather:?} for {span} s"));
        let one = &mut world.applications[which];
        (one.weather, one.until) = (weather, until);
    }

    /// Another configuration, of those that a person may write.
    async fn reload(
        &mut self,
        engine: &Arc<Engine>,
        stop: &mut watch::Sender<bool>,
        loops: &mut JoinSet<()>,
    ) -> Arc<Engine> {
        let mut next = self.own.clone();
        {
            let mut world = at(&self.world);
            let dice = &mut world.dice;
            let which = usize::from(dice.percent(50));
            let one = &mut next.applications[which];
            let what = dice.below(8);
            match what {
                0 => one.mode = Mode::Simulate,
                1 => one.users.create = false,
                2 => one.users.update = false,
                3 => one.users.delete = false,
                4 => one.authorized_domains = vec!["corp.example".into()],
                5 => one.policies.truncate(1),
                6 => one.map_user.clear(),
                _ => {}
            }
            world.count("reload");
            world.say(|| format!("reload: {which} {what}"));
        }
        next.fingerprint = format!("{}", self.events);
        self.put(next, engine, stop, loops).await
    }

    async fn put(
        &mut self,
        next: Config,
        engine: &Arc<Engine>,
        stop: &mut watch::Sender<bool>,
        loops: &mut JoinSet<()>,
    ) -> Arc<Engine> {
        at(&self.world).touch(self.clock.now());
        let applications = engine.applications(&next).expect("it is well configured");
        let Ok(in_force) = engine.store.configure(Engine::configuration(&next)).await else {
            return Arc::clone(engine);
        };
        let beside = engine.beside(next.limits.clone(), applications, in_force.generation);
        let beside = Arc::new(beside);
        stop.send_replace(true);
        *stop = watch::Sender::new(false);
        worker::start(&beside, stop, loops);
        self.config = next;
        let mut world = at(&self.world);
        world.configured(&self.config);
        world.touch(self.clock.now());
        beside
    }

    /// What was begun is finished, and nothing more is.
    async fn drain(
        &self,
        engine: &Arc<Engine>,
        stop: &watch::Sender<bool>,
        loops: &mut JoinSet<()>,
        clients: &mut JoinSet<()>,
    ) {
        at(&self.world).say(|| String::from("drain"));
        stop.send_replace(true);
        for round in 0..400 {
            idle().await;
            while clients.try_join_next().is_some() {}
            while loops.try_join_next().is_some() {}
            if (clients.is_empty() && loops.is_empty()) || at(&self.world).disk.is_dead() {
                return;
            }
            // One call at most is cut: of several nobody could tell which is the first.
            if round >= 20 && at(&self.world).under_way == 1 {
                engine.cut.send_replace(true);
                at(&self.world).count("call cut by a drain");
            }
            self.pass(Duration::from_millis(500));
        }
        at(&self.world).breaks("a drain does not end");
    }

    /// Faults end, the seed's own configuration is in force, and time passes.
    async fn mend(
        &mut self,
        engine: &Arc<Engine>,
        stop: &mut watch::Sender<bool>,
        loops: &mut JoinSet<()>,
    ) {
        {
            let mut world = at(&self.world);
            world.mended = true;
            world.dies_in_call = None;
            world.disk.live();
            world.say(|| String::from("--- mended"));
        }
        let mut next = self.own.clone();
        next.fingerprint = String::from("the last");
        let engine = self.put(next, engine, stop, loops).await;
        let steps = [(20, 1), (20, 60), (20, 600), (40, 3600), (12, 6 * 3600)];
        let mut settled = 0;
        for (count, seconds) in steps {
            for _ in 0..count {
                idle().await;
                if !at(&self.world).broken.is_empty() {
                    return;
                }
                self.watch(&engine.store);
                if engine.store.tidy().is_err() {
                    at(&self.world).breaks("what is left over cannot be done");
                }
                let world = at(&self.world);
                if let Place::Zoom(state) = &world.applications[0].place {
                    for account in state.accounts().iter().filter(|it| it.pending) {
                        state.accept(&account.user_name);
                    }
                }
                drop(world);
                self.pass(Duration::from_secs(seconds));
                settled += 1;
            }
        }
        idle().await;
        let mut world = at(&self.world);
        world.say(|| format!("--- {settled} steps later"));
        if world.broken.is_empty() {
            world.judge(&engine, self.clock.now());
        }
    }
}

impl World {
    /// Accounts that were there before, and are nobody's of ours.
    fn strangers(&mut self) {
        for one in &mut self.applications {
            for name in ["boss@corp.example", "svc-robot@corp.example"] {
                let call = Profile::of(ProfileName::Scim).create(
                    serde_json::json!({
                        "userName": name, "displayName": "Stranger", "active": true,
                        "emails": [{ "type": "work", "primary": true, "value": name }],
                        "name": { "givenName": "A", "familyName": "Stranger" },
                    })
                    .as_object()
                    .expect("an object"),
                );
                assert_eq!(call.method, Method::Post);
                one.place.answer(&call, START);
                for account in one.place.accounts() {
                    one.seen.insert(account.id.clone(), (account.name, true));
                    one.foreign.insert(account.id);
                }
            }
        }
    }

    /// A configuration is in force.
    fn configured(&mut self, config: &Config) {
        for (one, config) in self.applications.iter_mut().zip(&config.applications) {
            one.domains.clone_from(&config.authorized_domains);
            one.policies = !config.policies.is_empty();
        }
    }
}
