mod belonging;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::belonging::Belonging;
use super::case::Case;
use super::past::{Past, whose};
use super::person::{Person, Present};
use super::{Deed, Line, Tally};
use crate::clock::Timestamp;
use crate::config;
use crate::journal::record::{CallRecord, Changed, Delivery, Event, Operation, Record, Status};
use crate::policy::assignment::Assigned;
use crate::policy::scope::REFUSED;
use crate::provision::link::{Link, Origin};
use crate::provision::plan::Application;
use crate::scim::{Handle, Id, Kind, Resource};

const HOUR: u64 = 3_600_000;
const END: Timestamp = Timestamp(1_000 * HOUR);

fn application(more: &str) -> Application {
    let text = format!(
        r#"
[[client]]
name = "okta"
token_sha256 = ["4b1f0c6f2e9d7a83c5e1b0d94a7263f8150eab9cd27f4e6618b3a05d9c72e4f1"]
[[application]]
name = "zoom"
profile = "scim"
base_url = "https://app.example.com"
credentials = {{ kind = "bearer", token = {{ env = "TOKEN" }} }}
{more}
"#
    );
    let config = config::decisions(&text, Path::new("/usher.toml")).expect("no mistake");
    Application::compile(config.applications.into_iter().next().expect("one"))
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

/// What changes between two sides.
fn changes(old: &Value, new: &Value) -> Vec<Changed> {
    let (old, new) = (object(old), object(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let differing = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    differing
        .map(|name| Changed {
            attribute: name.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

fn record(at: u64, event: Event, operation: Operation, changed: Vec<Changed>) -> Record {
    Record {
        sequence: at,
        time: Timestamp(at * HOUR),
        event,
        client: String::from("okta"),
        request: String::new(),
        kind: Kind::User,
        operation,
        user: String::from("ada@example.com"),
        id: String::from("ada"),
        status: Status::Success,
        code: None,
        reason: None,
        deliveries: Vec::new(),
        cause: Vec::new(),
        changed,
        generation: 1,
        edges: None,
        hash: String::new(),
    }
}

fn delivery(operation: Operation, status: Status, code: &str) -> Delivery {
    let call = CallRecord {
        method: String::from("PUT"),
        path: String::from("/Users/1"),
        status: Some(200),
        ms: 1,
    };
    let idle = matches!(status, Status::Queued | Status::Skipped) || code == "unchanged";
    Delivery {
        application: String::from("zoom"),
        operation,
        remote_id: Some(String::from("1")),
        status,
        code: Some(code.to_owned()).filter(|code| !code.is_empty()),
        reason: None,
        calls: if idle { Vec::new() } else { vec![call] },
    }
}

fn write(at: u64, operation: Operation, sides: (&Value, &Value), then: Delivery) -> Record {
    let (old, new) = sides;
    Record {
        deliveries: vec![then],
        ..record(at, Event::Request, operation, changes(old, new))
    }
}

fn worker(at: u64, cause: &[u64], then: Delivery) -> Record {
    Record {
        deliveries: vec![then.clone()],
        cause: cause.to_vec(),
        ..record(at, Event::Delivery, then.operation, Vec::new())
    }
}

/// They belong all the time, or never.
fn stands(assigned: Assigned) -> Belonging {
    Belonging {
        begin: vec![Ok(assigned)],
        ..Belonging::default()
    }
}

/// As the directory has them now.
fn present(attributes: &Value) -> Present {
    Present {
        resource: Some(Resource {
            handle: Handle(1),
            id: Id::from("ada"),
            kind: Kind::User,
            version: 1,
            created: Timestamp(0),
            modified: Timestamp(0),
            owner: String::from("okta"),
            deleted: None,
            attributes: object(attributes),
            links: Vec::new(),
        }),
        belonging: stands(Assigned::Everybody),
    }
}

fn run(new: &Application, records: &[Record], present: Present) -> Vec<Line> {
    let cases = [Case {
        new,
        old: None,
        same_policies: true,
    }];
    let mut past = Past::default();
    for record in records {
        past.take(record, END);
    }
    let mut person = Person::begin(&cases, past, present);
    for record in records {
        person.take(record);
    }
    let mut tally = Tally::default();
    person.end(END, &mut tally);
    let records = u64::try_from(records.len()).expect("few");
    tally.end(records, Vec::new())
}

/// What was done, and what would have been, where it is not the same.
fn sides(lines: &[Line]) -> Option<(Vec<Deed>, Vec<Deed>)> {
    lines.iter().find_map(|line| match line {
        Line::Person(one) => Some((one.then.did.clone(), one.now.did.clone())),
        _ => None,
    })
}

fn unsaid(lines: &[Line]) -> Option<&str> {
    lines.iter().find_map(|line| match line {
        Line::Unsaid(one) => Some(one.reason.as_str()),
        _ => None,
    })
}

fn is_same(lines: &[Line]) {
    assert_eq!((sides(lines), unsaid(lines)), (None, None), "{lines:?}");
}

fn user(title: &str) -> Value {
    json!({"userName": "ada@example.com", "displayName": title, "active": true})
}

#[test]
fn an_application_answers_as_it_did() {
    use Operation::{Adopt, Create, Deactivate, Update};
    let new = application("");
    let (a, b, none) = (user("A"), user("B"), json!({}));
    let waits = |operation| delivery(operation, Status::Queued, "queued");
    // Down: three requests, one call.
    let down = [
        write(1, Create, (&none, &a), waits(Create)),
        write(2, Update, (&a, &b), waits(Create)),
        worker(3, &[1, 2], delivery(Create, Status::Success, "")),
    ];
    is_same(&run(&new, &down, present(&b)));
    is_same(&run(&new, &down[..2], present(&b)));
    // Refused for good, and tried again.
    let refused = [
        write(
            1,
            Create,
            (&none, &a),
            delivery(Create, Status::Failure, "refused"),
        ),
        write(
            2,
            Update,
            (&a, &b),
            delivery(Create, Status::Failure, "refused"),
        ),
        worker(3, &[2], delivery(Adopt, Status::Success, "adopted")),
    ];
    is_same(&run(&new, &refused, present(&b)));
    // Held, and never released.
    let mut idle = b.clone();
    idle["active"] = json!(false);
    let held = [
        write(
            1,
            Deactivate,
            (&b, &idle),
            delivery(Deactivate, Status::Held, "safety_limit"),
        ),
        write(
            2,
            Update,
            (&idle, &idle),
            delivery(Deactivate, Status::Held, "safety_limit"),
        ),
    ];
    is_same(&run(&new, &held, present(&idle)));
    // What somebody changed there was put back, and what was lost was made again.
    let drifted = [
        worker(1, &[], delivery(Update, Status::Success, "")),
        worker(2, &[], delivery(Create, Status::Success, "")),
    ];
    is_same(&run(&new, &drifted, present(&b)));
    // Without a word of them anywhere they are as they are.
    let other = application("authorized_domains = [\"other.example\"]");
    let told = run(&other, &down, present(&b));
    assert_eq!(sides(&told), Some((vec![Deed::Create], vec![])));
    let told = run(&other, &drifted, present(&b));
    let (_, now) = sides(&told).expect("it is different");
    assert_eq!(now, [Deed::Deactivate]);
}

/// A turn is planned when it begins, and written when it ends: what was asked for meanwhile stands before it.
#[test]
fn what_overtakes_a_turn_follows_it() {
    use Operation::{Create, Deactivate, Delete, Update};
    let waits = |operation| delivery(operation, Status::Queued, "queued");
    let done = |operation| delivery(operation, Status::Success, "");
    let (a, b, none) = (user("A"), user("B"), json!({}));
    let mut lost = delivery(Create, Status::Unknown, "interrupted");
    lost.calls.clear();
    for (first, second) in [(Status::Success, Update), (Status::Unknown, Update)] {
        let turn = match first {
            Status::Success => done(Create),
            _ => lost.clone(),
        };
        let mut overtaken = vec![
            write(1, Create, (&none, &a), waits(Create)),
            write(2, Update, (&a, &b), waits(Create)),
            worker(3, &[1], turn),
        ];
        if first == Status::Unknown {
            overtaken.push(worker(4, &[1, 2], done(Create)));
        } else {
            overtaken.push(worker(4, &[2], done(second)));
        }
        is_same(&run(&application(""), &overtaken, present(&b)));
    }
    // A worker wants to see what was made, and the application is away again.
    let mut away = delivery(Update, Status::Queued, "unavailable");
    away.calls = delivery(Update, Status::Success, "").calls;
    away.calls[0].method = String::from("GET");
    let looked = [
        write(1, Create, (&none, &a), waits(Create)),
        worker(2, &[1], delivery(Create, Status::Success, "unseen")),
        worker(3, &[1], away.clone()),
    ];
    is_same(&run(&application(""), &looked, present(&a)));
    let mut more = looked.to_vec();
    more.push(write(4, Update, (&a, &b), waits(Update)));
    more.push(worker(5, &[1, 4], away));
    is_same(&run(&application(""), &more, present(&b)));
    let out = application("authorized_domains = [\"other.example\"]");
    let told = run(&out, &more, present(&b));
    let then = vec![Deed::Create, Deed::Update];
    assert_eq!(sides(&told), Some((then, vec![])));
    // Nobody has to be there when the account is made.
    let gone = [
        write(1, Create, (&none, &a), waits(Create)),
        write(2, Delete, (&a, &none), waits(Create)),
        worker(3, &[1], done(Create)),
        worker(4, &[2], done(Deactivate)),
    ];
    let keeps = application("[application.users]\non_delete = \"deactivate\"");
    is_same(&run(&keeps, &gone, Present::default()));
    // What says that a request waits for a later one is no turn.
    let mut closed = delivery(Update, Status::Skipped, "superseded");
    closed.remote_id = None;
    let words = [
        write(1, Create, (&none, &a), done(Create)),
        write(2, Update, (&a, &b), waits(Update)),
        worker(3, &[2], closed),
        write(4, Update, (&b, &a), waits(Update)),
        worker(5, &[4], delivery(Update, Status::Success, "unchanged")),
    ];
    is_same(&run(&application(""), &words, present(&a)));
}

#[test]
fn what_falls_due_later_is_done_in_its_time() {
    let (a, none) = (user("A"), json!({}));
    let removed = |wait: &str| {
        application(&format!(
            "[application.users]\non_delete = \"delete\"\ndelete_after = \"{wait}\""
        ))
    };
    let records = [
        write(
            1,
            Operation::Create,
            (&none, &a),
            delivery(Operation::Create, Status::Success, ""),
        ),
        write(
            2,
            Operation::Delete,
            (&a, &none),
            delivery(Operation::Delete, Status::Success, ""),
        ),
    ];
    is_same(&run(&removed("0s"), &records, Present::default()));
    for (wait, now) in [
        ("9h", vec![Deed::Create, Deed::Deactivate, Deed::Delete]),
        ("9000h", vec![Deed::Create, Deed::Deactivate]),
    ] {
        let told = run(&removed(wait), &records, Present::default());
        let then = vec![Deed::Create, Deed::Delete];
        assert_eq!(sides(&told), Some((then, now)), "{wait}");
    }
}

#[test]
fn simulated_is_told_from_done() {
    let (a, none) = (user("A"), json!({}));
    let mut simulated = delivery(Operation::Create, Status::Skipped, "simulate");
    simulated.calls = delivery(Operation::Create, Status::Success, "").calls;
    let records = [write(1, Operation::Create, (&none, &a), simulated)];
    is_same(&run(
        &application("mode = \"simulate\""),
        &records,
        present(&a),
    ));
    let told = run(&application(""), &records, present(&a));
    assert_eq!(sides(&told), Some((vec![], vec![Deed::Create])));
    let out = application("mode = \"simulate\"\nauthorized_domains = [\"other.example\"]");
    let told = run(&out, &records, present(&a));
    assert_eq!(
        sides(&told),
        Some((vec![], vec![])),
        "another reason for nothing"
    );
}

#[test]
fn a_refused_write_leaves_what_was() {
    let (a, b) = (user("A"), user("B"));
    let update = |at, sides, status, code| {
        write(
            at,
            Operation::Update,
            sides,
            delivery(Operation::Update, status, code),
        )
    };
    let mut refused = update(1, (&a, &b), Status::Failure, "refused");
    refused.status = Status::Failure;
    let records = [refused.clone(), update(2, (&a, &b), Status::Success, "")];
    is_same(&run(&application(""), &records, present(&b)));
    is_same(&run(&application(""), &[refused], present(&a)));

    // A create that an application refused leaves nobody.
    let create = delivery(Operation::Create, Status::Failure, "exists");
    let mut refused = write(1, Operation::Create, (&json!({}), &a), create);
    refused.status = Status::Failure;
    let records = [refused];
    is_same(&run(&application(""), &records, Present::default()));
    let out = application("authorized_domains = [\"other.example\"]");
    let told = run(&out, &records, Present::default());
    assert_eq!(sides(&told), Some((vec![Deed::Create], vec![])));
}

#[test]
fn what_the_journal_does_not_show_is_not_guessed() {
    let new = application("");
    let (a, b, c) = (user("A"), user("B"), user("C"));
    let update = |at, sides| {
        let then = delivery(Operation::Update, Status::Success, "");
        write(at, Operation::Update, sides, then)
    };
    let hide = |mut record: Record| {
        for changed in &mut record.changed {
            (changed.old, changed.new) = (None, None);
        }
        record
    };
    let whole = [update(1, (&a, &b)), update(2, (&b, &c))];
    is_same(&run(&new, &whole, present(&c)));
    // A hole between them, or behind them.
    let torn = [update(1, (&a, &b)), update(2, (&a, &c))];
    for (records, now) in [(&torn[..], &c), (&whole[..1], &c)] {
        let told = run(&new, records, present(now));
        let reason = unsaid(&told).expect("it is said");
        assert!(reason.contains("records are missing"), "{reason}");
    }
    let told = run(&new, &whole, Present::default());
    assert!(unsaid(&told).is_some_and(|why| why.contains("gone from the directory")));
    // Hidden once, and last: what it wrote stands in the directory, what was before nobody knows. It was an update then.
    is_same(&run(&new, &[hide(update(1, (&a, &b)))], present(&b)));
    let calm = delivery(Operation::Update, Status::Success, "unchanged");
    let calm = hide(write(1, Operation::Update, (&a, &b), calm));
    let told = run(&new, std::slice::from_ref(&calm), present(&b));
    assert!(
        unsaid(&told).is_some_and(|why| why.contains("was before")),
        "{told:?}"
    );
    // Hidden twice: what stood between is not known, and matters to who reads it.
    let twice = [hide(update(1, (&a, &b))), hide(update(2, (&b, &c)))];
    let told = run(&new, &twice, present(&c));
    assert_eq!(unsaid(&told), Some("the journal does not show displayName"));
    let blind = "[[application.map.user]]\nto = \"displayName\"\nvalue = \"Somebody\"\n";
    let told = run(&application(blind), &twice, present(&c));
    assert_eq!(unsaid(&told), None, "{told:?}");
    let condition = format!("condition = 'displayName ne \"X\"'\n{blind}");
    let told = run(&application(&condition), &twice, present(&c));
    assert!(unsaid(&told).is_some(), "a condition reads too");
}

#[test]
fn who_was_in_a_group_is_told_by_the_journal_if_the_policies_are_the_same() {
    let policy = "[[application.policy]]\nname = \"p\"\ngroup = \"Staff\"\n";
    let new = application(policy);
    let (a, b, none) = (user("A"), user("B"), json!({}));
    let records = [
        write(
            1,
            Operation::Create,
            (&none, &a),
            delivery(Operation::Create, Status::Skipped, "not_assigned"),
        ),
        worker(2, &[], delivery(Operation::Create, Status::Success, "")),
        write(
            3,
            Operation::Update,
            (&a, &b),
            delivery(Operation::Update, Status::Success, ""),
        ),
        worker(
            4,
            &[],
            delivery(Operation::Deactivate, Status::Success, "not_assigned"),
        ),
    ];
    for assigned in [Assigned::In, Assigned::Out] {
        let now = Present {
            belonging: stands(assigned),
            ..present(&b)
        };
        is_same(&run(&new, &records, now));
    }
    // Gone: nobody knows who was in another policy's group.
    let gone = [
        records[0].clone(),
        write(
            5,
            Operation::Delete,
            (&a, &none),
            delivery(Operation::Delete, Status::Skipped, "no_account"),
        ),
    ];
    is_same(&run(&new, &gone, Present::default()));
    let cases = [Case {
        new: &new,
        old: None,
        same_policies: false,
    }];
    let mut past = Past::default();
    gone.iter().for_each(|record| past.take(record, END));
    let mut person = Person::begin(&cases, past, Present::default());
    gone.iter().for_each(|record| person.take(record));
    let mut tally = Tally::default();
    person.end(END, &mut tally);
    let told = tally.end(2, Vec::new());
    assert!(
        unsaid(&told).is_some_and(|why| why.contains("in which groups")),
        "{told:?}"
    );
}

#[test]
fn a_rule_more_is_shown_where_the_account_stands() {
    let rule = "[[application.map.user]]\nto = \"title\"\nfrom = \"$.displayName\"\n";
    let redacted = format!("{rule}redact = true\n");
    let (a, none) = (user("A"), json!({}));
    let records = [write(
        1,
        Operation::Create,
        (&none, &a),
        delivery(Operation::Create, Status::Success, ""),
    )];
    for (more, shown) in [(rule, true), (redacted.as_str(), false)] {
        let mut now = present(&a);
        let mut link = Link::imported("zoom", "1", None, Some(true));
        link.origin = Origin::Created;
        link.sent = Some(object(&a));
        if let Some(resource) = &mut now.resource {
            resource.set_link("zoom", Some(link));
        }
        let told = run(&application(more), &records, now);
        let told = told.iter().find_map(|line| match line {
            Line::Person(one) => Some(&one.attributes),
            _ => None,
        });
        let told = told.expect("it is different");
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            (told[0].attribute.as_str(), &told[0].then),
            ("title", &None)
        );
        assert_eq!(told[0].now, shown.then(|| json!("A")));
    }
}

#[test]
fn records_that_say_nothing_of_a_users_accounts_are_nobodys() {
    let kept = record(1, Event::Request, Operation::Create, Vec::new());
    assert_eq!(whose(&kept), Some(String::from("ada")));
    let mut group = kept.clone();
    group.kind = Kind::Group;
    let mut refused = kept.clone();
    refused.status = Status::Failure;
    let mut import = kept.clone();
    import.operation = Operation::Import;
    for record in [&group, &refused, &import] {
        assert_eq!(whose(record), None);
    }
    refused.id.clear();
    refused.reason = Some(format!("{REFUSED}: a foreign domain."));
    assert_eq!(whose(&refused), Some(String::from("name ada@example.com")));
    let mut past = Past::default();
    past.take(&refused, END);
    assert!(past.is_spanned());
    let mut later = Past::default();
    later.take(&kept, Timestamp(0));
    assert!(!later.is_spanned(), "after the span");
}
