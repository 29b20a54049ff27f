//! Damage to the data file, closed and open: what is not right is refused, and never served, and never empty.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::*;
use crate::error::Fault;
use crate::store::{Key, OpenError, Options};

const PEOPLE: usize = 60;

fn open(path: &Path) -> Result<Store, OpenError> {
    // Hardly a cache, so that what is read is read from the file.
    let options = Options {
        cache_bytes: 4_096,
        ..Options::new(path, Timestamp(7_000))
    };
    Store::open(&options, |_| ())
}

fn filled(path: &Path) -> Vec<Resource> {
    let store = open(path).expect("created");
    let people: Vec<Resource> = (0..PEOPLE)
        .map(|n| minted(&store, &format!("somebody{n:03}@x.example")))
        .collect();
    commit(&store, puts(people.iter().map(created))).expect("created");
    store.close().expect("closed");
    people
}

/// Everybody as they are, or refused; how many are refused.
fn right_or_refused(store: &Store, people: &[Resource], what: &str) -> usize {
    let view = store.view().expect("a view");
    let mut refused = 0;
    for one in people {
        match view.resource(one.handle) {
            Ok(found) => assert_eq!(found.as_ref(), Some(one), "{what}"),
            Err(Fault::Internal(_)) => refused += 1,
            Err(other) => panic!("{what}: {other:?}"),
        }
    }
    refused
}

#[test]
fn a_file_that_was_cut_short_is_refused_and_never_empty() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let people = filled(&path);
    let whole = fs::read(&path).expect("read");
    let (mut refused, mut harmless) = (0, 0);
    for part in 0..100 {
        let length = whole.len() * part / 100;
        fs::write(&path, &whole[..length]).expect("written");
        let what = format!("cut to {length} of {}", whole.len());
        match open(&path) {
            Ok(store) => {
                assert_eq!(right_or_refused(&store, &people, &what), 0, "{what}");
                store.close().expect("closed");
                harmless += 1;
            }
            Err(why) => {
                assert!(why.to_string().len() > 20, "{what}: {why}");
                refused += 1;
            }
        }
    }
    println!("truncated at 100 lengths: {refused} refused, {harmless} harmless, 0 wrong, 0 empty");
    assert!(refused > 50, "only {refused} refused");
}

/// The disk rots under a directory that is being served: the rows that it takes are refused, one by one, and all others
/// are served and written.
#[test]
fn a_row_that_rots_while_the_file_is_open_is_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("usher.redb");
    let people = filled(&path);
    let store = open(&path).expect("opens");
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .expect("opens");
    let bytes = fs::read(&path).expect("read");
    let (mut flips, mut refusals) = (0, 0);
    for (n, one) in people.iter().enumerate().step_by(7) {
        let name = format!("somebody{n:03}@x.example");
        // Wherever it stands: in the row, under its look-up keys, and in pages that are no longer used.
        let places: Vec<usize> = bytes
            .windows(name.len())
            .enumerate()
            .filter(|(_, part)| *part == name.as_bytes())
            .map(|(place, _)| place)
            .collect();
        assert!(!places.is_empty(), "{name} is in the file");
        for place in &places {
            let place = *place as u64 + 8;
            file.write_all_at(&[bytes[place as usize] ^ 0x04], place)
                .expect("written");
            flips += 1;
            refusals += right_or_refused(&store, &people, &name);
            let view = store.view().expect("a view");
            let found = view.find(&Key::UserName(&name));
            assert!(
                matches!(&found, Ok(Some(handle)) if *handle == one.handle)
                    || matches!(&found, Ok(None) | Err(Fault::Internal(_))),
                "{name}: {found:?}"
            );
            // Nobody is taken for the one whose name the rotten one has now.
            let other = format!("somebod}}{n:03}@x.example");
            let found = view.find(&Key::UserName(&other));
            assert!(
                matches!(found, Ok(None) | Err(Fault::Internal(_))),
                "{found:?}"
            );
            file.write_all_at(&[bytes[place as usize]], place)
                .expect("written");
        }
    }
    println!("open file: {flips} bits flipped, {refusals} rows refused, 0 wrong");
    assert!(refusals >= 9, "a row that rots is refused: {refusals}");
    assert_eq!(right_or_refused(&store, &people, "all is as it was"), 0);
}
