//! A disk that loses, tears and reorders what was not flushed, and one that fails: whatever was acknowledged is there at
//! the next start, and what was on the way is whole or absent.
//!
//! One run of commits is written down, write by write. A crash is a moment in it: what was flushed before is on the disk,
//! and of what was written since each piece is there, or torn, or not. `USHER_IMAGES` gives another number of crashes.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::*;
use crate::error::Fault;
use crate::journal::report::tests::record;
use crate::store::apply::CommitError;
use crate::store::front::{Running, lock};
use crate::store::{Intent, Key};

/// Commits in the run.
const COMMITS: usize = 24;

/// Crashes, and as many again while a crash is being mended.
const IMAGES: u64 = 250;

/// What a torn write is cut at.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Did {
    Write(usize, Vec<u8>),
    Length(usize),
    Flush,
}

/// What fails, counted from the begin of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    Never,
    Flush(usize),
    Write(usize),
}

#[derive(Debug)]
struct Platter {
    shown: Vec<u8>,
    did: Vec<Did>,
    fails: Fails,
    flushes: usize,
    writes: usize,
}

/// A disk that writes down what was done to it.
#[derive(Debug, Clone)]
struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    fn of(bytes: Vec<u8>, fails: Fails) -> Self {
        Self(Arc::new(Mutex::new(Platter {
            shown: bytes,
            did: Vec::new(),
            fails,
            flushes: 0,
            writes: 0,
        })))
    }

    fn did(&self) -> Vec<Did> {
        lock(&self.0).did.clone()
    }

    fn done(&self) -> usize {
        lock(&self.0).did.len()
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a small disk")
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = lock(&self.0);
        let offset = place(offset);
        let there = platter.shown.get(offset..offset + out.len());
        out.copy_from_slice(there.ok_or_else(|| io::Error::other("beyond the end"))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut platter = lock(&self.0);
        platter.shown.resize(place(len), 0);
        platter.did.push(Did::Length(place(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = lock(&self.0);
        platter.flushes += 1;
        if platter.fails == Fails::Flush(platter.flushes) {
            return Err(io::Error::other("EIO"));
        }
        platter.did.push(Did::Flush);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = lock(&self.0);
        platter.writes += 1;
        if platter.fails == Fails::Write(platter.writes) {
            return Err(io::Error::other("ENOSPC"));
        }
        put(&mut platter.shown, place(offset), data);
        platter.did.push(Did::Write(place(offset), data.to_vec()));
        Ok(())
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).expect("below a usize")
    }
}

/// The disk `before`, to which this was done, after a crash at a moment of it. Whether anything was lost or torn.
fn crashed(before: &[u8], did: &[Did], at: usize, dice: &mut Dice) -> (Vec<u8>, bool) {
    let done = &did[..at];
    let flushed = done
        .iter()
        .rposition(|one| matches!(one, Did::Flush))
        .map_or(0, |last| last + 1);
    let (mut bytes, mut lost) = (before.to_vec(), false);
    for one in &done[..flushed] {
        match one {
            Did::Write(offset, data) => put(&mut bytes, *offset, data),
            Did::Length(length) => bytes.resize(*length, 0),
            Did::Flush => {}
        }
    }
    let mut loose: Vec<&Did> = done[flushed..].iter().collect();
    // A disk writes in an order of its own.
    for n in (1..loose.len()).rev() {
        loose.swap(n, dice.below(n + 1));
    }
    // The file is as long as it was made last: that its bytes are not there yet is the harder case.
    let longest = done.iter().rev().find_map(|one| match one {
        Did::Length(length) => Some(*length),
        Did::Write(..) | Did::Flush => None,
    });
    if let Some(length) = longest {
        bytes.resize(length, 0);
    }
    for one in loose {
        let Did::Write(offset, data) = one else {
            continue;
        };
        let length = match dice.below(3) {
            0 => 0,
            1 => data.len() / SECTOR / 2 * SECTOR,
            _ => data.len(),
        };
        lost |= length < data.len();
        put(&mut bytes, *offset, &data[..length]);
    }
    (bytes, lost)
}

/// The run, as far as it came: for each commit where its writes begin and end.
struct Run {
    disk: Disk,
    people: Vec<Resource>,
    spans: Vec<(usize, usize)>,
    /// What the first commit that failed said.
    failed: Option<CommitError>,
    store: Store,
}

/// Each commit creates one person, renames the one before, and has a record; each third goes by an intent.
fn run(disk: Disk) -> Run {
    let store = Store::on(disk.clone(), Running::Inline, Timestamp(1)).expect("opens");
    let people: Vec<Resource> = (0..COMMITS)
        .map(|n| minted(&store, &format!("person{n}")))
        .collect();
    let (mut spans, mut failed) = (Vec::new(), None);
    for n in 0..COMMITS {
        let begun = disk.done();
        let mut set = ChangeSet {
            journal: vec![record(0, &format!("person{n}"), &[], &[])],
            ..puts([created(&people[n])])
        };
        if let Some(before) = n.checked_sub(1).map(|n| &people[n]) {
            set.puts.push(changed(before, &renamed(before)));
        }
        let committed = if n % 3 == 2 {
            let intent = Intent {
                if_unknown: set.clone(),
                ..Intent::default()
            };
            wait(store.intend(intent)).and_then(|intent| {
                set.settles = Some(intent);
                commit(&store, set)
            })
        } else {
            commit(&store, set)
        };
        if let Err(why) = committed {
            spans.push((begun, usize::MAX));
            failed = Some(why);
            break;
        }
        spans.push((begun, disk.done()));
    }
    Run {
        disk,
        people,
        spans,
        failed,
        store,
    }
}

fn renamed(before: &Resource) -> Resource {
    let mut after = before.clone();
    after.version += 1;
    after
        .attributes
        .insert("displayName".into(), json!("Another"));
    after
}

/// What was found after a crash.
#[derive(Debug, Default)]
struct Tally {
    images: u64,
    torn: u64,
    lost: u64,
    phantom: u64,
    unopenable: u64,
}

/// Whether a directory is the one after the first `n` commits.
fn is_after(store: &Store, people: &[Resource], n: usize) -> bool {
    let view = store.view().expect("a view");
    let right = people.iter().enumerate().all(|(at, one)| {
        let found = view.resource(one.handle).expect("no row is damaged");
        let name = one.attributes["userName"].as_str().expect("a name");
        let by_name = view.find(&Key::UserName(name)).expect("whole");
        let wanted = match at {
            _ if at >= n => None,
            _ if at + 1 < n => Some(renamed(one)),
            _ => Some(one.clone()),
        };
        by_name == wanted.as_ref().map(|one| one.handle) && found == wanted
    });
    let last = view.last_sequence().expect("a journal");
    right
        && view.count(Kind::User) == Ok(n as u64)
        && last == n as u64
        && view.verify_chain(1, last) == Ok(None)
}

/// Opens what a crash left. What was acknowledged at that moment is there, what had begun is whole or absent, and nothing
/// else is there.
fn judge(run: &Run, bytes: Vec<u8>, at: usize, tally: &mut Tally) -> Disk {
    tally.images += 1;
    let disk = Disk::of(bytes, Fails::Never);
    let Ok(store) = Store::on(disk.clone(), Running::Inline, Timestamp(2)) else {
        tally.unopenable += 1;
        return disk;
    };
    let acknowledged = run.spans.iter().filter(|(_, end)| *end <= at).count();
    let begun = run.spans.iter().filter(|(begin, _)| *begin < at).count();
    if !(acknowledged..=begun).any(|n| is_after(&store, &run.people, n)) {
        let there = store.view().expect("a view").count(Kind::User);
        match there.expect("a count") < acknowledged as u64 {
            true => tally.lost += 1,
            false => tally.phantom += 1,
        }
    }
    disk
}

#[test]
fn what_was_acknowledged_survives_a_disk_that_loses_tears_and_reorders() {
    let images = std::env::var("USHER_IMAGES").ok();
    let images: u64 = images.map_or(IMAGES, |n| n.parse().expect("a number"));
    let run = run(Disk::of(Vec::new(), Fails::Never));
    assert_eq!((run.failed.clone(), run.spans.len()), (None, COMMITS));
    let did = run.disk.did();
    let first = run.spans[0].0;
    let mut dice = Dice(20_261_123);
    let (mut once, mut twice) = (Tally::default(), Tally::default());
    for _ in 0..images {
        let at = first + dice.below(did.len() - first + 1);
        let (bytes, lost) = crashed(&[], &did, at, &mut dice);
        once.torn += u64::from(lost);
        let mended = judge(&run, bytes.clone(), at, &mut once);
        // The power goes again while the next start mends it.
        let mending = mended.did();
        if mending.is_empty() {
            continue;
        }
        let again = dice.below(mending.len() + 1);
        let (bytes, lost) = crashed(&bytes, &mending, again, &mut dice);
        twice.torn += u64::from(lost);
        judge(&run, bytes, at, &mut twice);
    }
    println!(
        "power: {COMMITS} commits, {} writes; once {once:?}, twice {twice:?}",
        did.len()
    );
    for tally in [once, twice] {
        assert_eq!((tally.lost, tally.phantom, tally.unopenable), (0, 0, 0));
        assert!(tally.torn > images / 4, "hardly anything was lost");
    }
}

/// A disk that fails once, at every flush and every write of the run in turn.
#[test]
fn a_disk_that_fails_at_any_call_ends_the_writes_and_loses_nothing() {
    let whole = run(Disk::of(Vec::new(), Fails::Never));
    let did = whole.disk.did();
    let begun = &did[..whole.spans[0].0];
    let count = |did: &[Did], flushes: bool| {
        let one = |one: &&Did| match one {
            Did::Flush => flushes,
            Did::Write(..) => !flushes,
            Did::Length(_) => false,
        };
        did.iter().filter(one).count()
    };
    let mut dice = Dice(7);
    let (mut covered, mut kept, mut stored) = ([0, 0], 0, 0);
    for (kind, flushes) in [(0, true), (1, false)] {
        // The store has to be there first.
        for n in count(begun, flushes) + 1..=count(&did, flushes) {
            let fails = if flushes {
                Fails::Flush(n)
            } else {
                Fails::Write(n)
            };
            let run = run(Disk::of(Vec::new(), fails));
            let Some(why) = &run.failed else {
                // What a close would have written, and nobody waits for.
                continue;
            };
            covered[kind] += 1;
            assert!(matches!(why, CommitError::Failed(_)), "{fails:?}: {why}");
            assert!(run.store.is_broken(), "{fails:?}");
            let refused = run.store.reserve().expect_err("no more writes");
            assert!(matches!(refused, Fault::Unavailable { .. }), "{refused:?}");
            let acknowledged = run.spans.len() - 1;
            // Reads go on.
            assert!(is_after(&run.store, &run.people, acknowledged), "{fails:?}");
            // What the failed call wrote is there or not.
            let did = run.disk.did();
            let (bytes, _) = crashed(&[], &did, did.len(), &mut dice);
            let next = Disk::of(bytes, Fails::Never);
            let store = Store::on(next.clone(), Running::Inline, Timestamp(2)).expect("opens");
            let outcome = (acknowledged..=acknowledged + 1)
                .find(|n| is_after(&store, &run.people, *n))
                .unwrap_or_else(|| panic!("{fails:?}: neither with nor without the last commit"));
            match outcome == acknowledged {
                true => kept += 1,
                false => stored += 1,
            }
            drop(store);
            // Resolved once: the start after that finds the same, and nothing on the way.
            let store = Store::on(next, Running::Inline, Timestamp(3)).expect("opens");
            assert_eq!(store.rolled_forward(), 0, "{fails:?}");
            assert!(is_after(&store, &run.people, outcome), "{fails:?}");
        }
    }
    println!(
        "failing disk: each of {} flushes and {} writes failed; the unknown commit was absent {kept} times and there {stored}",
        covered[0], covered[1]
    );
    assert!(covered[0] >= COMMITS && covered[1] >= COMMITS);
}
