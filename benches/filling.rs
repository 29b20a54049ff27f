//! A directory with so many users and their groups, filled in as fast as the store takes it.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use usher::auth::{Authority, Client};
use usher::clock::{Clock, Timestamp};
use usher::scim::{Handle, Id, Kind, Resource};
use usher::settle::Engine;
use usher::store::{ChangeSet, MemberEdit, Options, Put, Store};

use crate::machine::{Failure, progress};
use crate::people;

/// Groups of so many, their members spread evenly over all users.
pub(crate) const GROUPS: [u64; 3] = [10, 1_000, 100_000];
/// Everybody is in a team of so many as well.
const TEAM: u64 = 100;
/// One user in so many is not active.
pub(crate) const INACTIVE: u64 = 5;
/// Users in one commit.
const SLICE: u64 = 2_000;
/// Users whose ids are kept.
const KEPT: u64 = 1_000;

/// A filled directory, and who asks it.
pub(crate) struct Directory {
    pub(crate) size: u64,
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) runtime: Runtime,
    /// The cursor of the page to be asked for next.
    pub(crate) next_page: RefCell<String>,
    /// When the first user was made; the others follow by the second.
    since: Timestamp,
    path: PathBuf,
    /// Of each `size / KEPT`th user.
    ids: Vec<Id>,
    groups: Vec<(u64, Handle, Id)>,
}

impl Directory {
    /// Fills one in.
    pub(crate) fn fill(home: &Path, size: u64) -> Result<Self, Failure> {
        let token = "a-token-for-the-bench-and-for-nothing-else-1";
        let hash = usher::auth::hash(token.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("[[client]]\nname = \"bench\"\ntoken_sha256 = [\"{hash}\"]\n");
        let config = usher::config::parse(&text, &home.join("usher.toml"), &|_| None)
            .map_err(|problems| format!("{problems:?}"))?;
        let bearer = HeaderValue::try_from(format!("Bearer {token}"))?;
        let client = Authority::new(&config.clients)
            .identify(Some(&bearer), None)
            .map_err(|fault| fault.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let clock = Clock::system();
        let path = home.join(format!("{size}.redb"));
        let store = Store::open(&Options::new(&path, clock.now()), |_| ())?;
        let configured = store.configure(Engine::configuration(&config));
        let generation = runtime.block_on(configured)?.generation;
        let since = Timestamp(clock.now().0 - (size + 86_400) * 1_000);
        let engine = Engine::new(store, &config, generation, clock)?;
        let mut directory = Self {
            size,
            engine,
            client,
            runtime,
            next_page: RefCell::default(),
            since,
            path,
            ids: Vec::new(),
            groups: Vec::new(),
        };
        directory.fill_in()?;
        Ok(directory)
    }

    fn fill_in(&mut self) -> Result<(), Failure> {
        let mut first = ChangeSet::default();
        for members in GROUPS.into_iter().filter(|members| *members <= self.size) {
            let group = self.make(Kind::Group, 0, group(&format!("Group of {members}")));
            self.groups.push((members, group.handle, group.id.clone()));
            first.puts.push(put(group));
        }
        self.commit(first)?;
        for from in (0..self.size).step_by(usize::try_from(SLICE)?) {
            progress(&format!("filling in: {from} of {} users", self.size));
            let slice = self.slice(from..(from + SLICE).min(self.size));
            self.commit(slice)?;
        }
        Ok(())
    }

    /// Some users, their teams, and their places in the groups.
    fn slice(&mut self, numbers: std::ops::Range<u64>) -> ChangeSet {
        let mut set = ChangeSet::default();
        let mut joins: Vec<MemberEdit> = self
            .groups
            .iter()
            .map(|(_, handle, id)| join(*handle, id))
            .collect();
        let mut team = None;
        for number in numbers {
            if number % TEAM == 0 {
                set.members.extend(team.take());
                let made = self.make(
                    Kind::Group,
                    number,
                    group(&format!("Team {}", number / TEAM)),
                );
                team = Some(join(made.handle, &made.id));
                set.puts.push(put(made));
            }
            let mut attributes = people::user(number);
            attributes["active"] = (number % INACTIVE != INACTIVE - 1).into();
            let user = self.make(Kind::User, number, attributes);
            let member = (user.handle, user.id.clone(), Kind::User);
            for ((members, ..), edit) in self.groups.iter().zip(&mut joins) {
                if number % (self.size / members) == 0 {
                    edit.add.push(member.clone());
                }
            }
            if number % (self.size / KEPT) == 0 {
                self.ids.push(user.id.clone());
            }
            team.iter_mut()
                .for_each(|team| team.add.push(member.clone()));
            set.puts.push(put(user));
        }
        set.members.extend(team.into_iter().chain(joins));
        set
    }

    fn make(&self, kind: Kind, number: u64, attributes: Value) -> Resource {
        let at = self.modified(number);
        let (handle, id) = self
            .engine
            .store
            .mint(at, number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Resource {
            handle,
            id,
            kind,
            version: 1,
            created: at,
            modified: at,
            owner: String::from("bench"),
            deleted: None,
            attributes: match attributes {
                Value::Object(attributes) => attributes,
                _ => Map::new(),
            },
            links: Vec::new(),
        }
    }

    fn commit(&self, set: ChangeSet) -> Result<(), Failure> {
        self.runtime.block_on(self.engine.store.commit(set))?;
        Ok(())
    }

    /// When a user was made and changed last.
    pub(crate) fn modified(&self, number: u64) -> Timestamp {
        Timestamp(self.since.0 + number * 1_000)
    }

    /// A user's number, another one each turn: a step that shares no factor with the size, so that neighbours in time
    /// are not neighbours on disk. An active one.
    pub(crate) fn pick(&self, turn: u64) -> u64 {
        let number = turn.wrapping_mul(7_919) % self.size;
        number - u64::from(number % INACTIVE == INACTIVE - 1)
    }

    /// Some user's id, another one each turn.
    pub(crate) fn some(&self, turn: usize) -> &str {
        self.ids[turn.wrapping_mul(7) % self.ids.len()].as_str()
    }

    /// Somebody who is in all of [`GROUPS`].
    pub(crate) fn member(&self, turn: usize) -> &str {
        self.ids[turn % 10 * (self.ids.len() / 10)].as_str()
    }

    /// The id of the group of so many.
    pub(crate) fn group(&self, members: u64) -> &str {
        let found = self.groups.iter().find(|group| group.0 == members);
        found.map_or("", |(_, _, id)| id.as_str())
    }

    /// Bytes of the data file for each user.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn bytes_each(&self) -> Result<f64, Failure> {
        Ok(fs::metadata(&self.path)?.len() as f64 / self.size as f64)
    }

    /// Closes the store and takes the file away.
    pub(crate) fn close(self) -> Result<(), Failure> {
        self.engine.store.close()?;
        drop(self.engine);
        Ok(fs::remove_file(self.path)?)
    }
}

fn group(name: &str) -> Value {
    json!({"schemas": [Kind::Group.schema()], "displayName": name})
}

fn put(resource: Resource) -> Put {
    Put {
        resource,
        expect: None,
        before: None,
    }
}

fn join(group: Handle, id: &Id) -> MemberEdit {
    MemberEdit {
        group,
        group_id: Some(id.clone()),
        ..MemberEdit::default()
    }
}
