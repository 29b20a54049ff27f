//! What must hold for a Bulk (RFC 7644 3.7).

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::request::{limits, refused};
use crate::scim::bulk::{Bulk, Method, Task, order, refer};
use crate::scim::json;

/// Any body is refused, or every operation runs once, after all that it refers to; where they refer to each other in a
/// circle, all of it is made first and the rest is put in afterwards; and nothing is left that refers to an operation.
pub fn bulk(data: &[u8]) {
    let Ok(Value::Object(body)) = json::read(data, json::Bounds::default()) else {
        return;
    };
    let bulk = match Bulk::read(body.clone(), limits()) {
        Ok(bulk) => bulk,
        Err(fault) => return refused(&fault, &[400, 413]),
    };
    assert_eq!(Bulk::read(body, limits()).as_ref(), Ok(&bulk));
    assert!(bulk.operations.len() <= limits().bulk_operations);
    assert!(bulk.fail_on_errors != Some(0));
    for operation in &bulk.operations {
        if let Err(fault) = &operation.task {
            refused(fault, &[400, 404, 405]);
        }
    }
    let turns = order::turns(&bulk.operations);
    assert_eq!(turns, order::turns(&bulk.operations));
    let mut places: Vec<usize> = turns
        .iter()
        .flat_map(|turn| turn.operations.clone())
        .collect();
    places.sort_unstable();
    assert!(places.into_iter().eq(0..bulk.operations.len()));

    // As it would run, if all went well.
    let defined = |name: &str| {
        let mut operations = bulk.operations.iter();
        operations.any(|one| one.task.is_ok() && one.defines() == Some(name))
    };
    let mut made: HashMap<String, String> = HashMap::new();
    for (at, turn) in turns.iter().enumerate() {
        assert!(turn.behind <= at);
        let operations: Vec<_> = turn
            .operations
            .iter()
            .filter_map(|place| bulk.operations.get(*place))
            .collect();
        let circle: BTreeSet<&str> = operations.iter().filter_map(|one| one.defines()).collect();
        let (mut held, mut broken) = (Vec::new(), false);
        for operation in &operations {
            let Ok(task) = &operation.task else {
                broken = true;
                continue;
            };
            let mut task = task.clone();
            // What it needs is there by now, unless nothing ever makes it or it is of this circle.
            let names = refer::names(&task);
            let here = |name: &String| turn.circle && circle.contains(name.as_str());
            let dangles = names.iter().any(|name| !here(name) && !defined(name));
            broken |= dangles;
            for name in names.iter().filter(|name| !here(name) && defined(name)) {
                assert!(made.contains_key(name), "{name} is needed and not made");
            }
            if turn.circle {
                assert_eq!(task.method, Method::Post);
                let there = &made;
                let waits = |name: &str| circle.contains(name) && !there.contains_key(name);
                held.push((task.kind, refer::hold_back(&mut task, waits)));
            }
            resolves(&mut task, &made, dangles);
            if let Some(name) = operation.defines() {
                made.insert(name.to_owned(), format!("id-{}", made.len()));
            }
        }
        for (kind, mut held) in held {
            // What was held back names others of the circle only by where it stands: an attribute that also names what
            // nothing makes is refused with the whole circle.
            let filled = refer::fill(&mut held, &made);
            assert!(filled.is_ok() || broken, "{filled:?}");
            assert_eq!(
                refer::afterwards(kind, held.clone()).is_empty(),
                held.is_empty()
            );
        }
    }
}

/// References become ids, all of them; only one that nothing makes is refused.
fn resolves(task: &mut Task, made: &HashMap<String, String>, dangles: bool) {
    match refer::resolve(task, made) {
        Ok(()) => {
            let names = refer::names(task);
            assert!(names.is_empty(), "{names:?} are left");
            if let Err(fault) = task.clone().write(limits()) {
                refused(&fault, &[400]);
            }
        }
        Err(fault) => {
            assert_eq!(fault.status(), 409);
            assert!(dangles, "{fault}");
        }
    }
}
