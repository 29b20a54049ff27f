//! What a person says about removals that the safety limit stopped, by the real command line.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use usher::journal::report::Query;

use crate::belonging::{active, group, patch, plan, remove, users};
use crate::house::{House, PATIENCE, Plan};
use crate::process::{Ended, run};

async fn usher(folder: &Path, line: &str) -> Ended {
    let (folder, line) = (folder.to_owned(), line.to_owned());
    let ended = tokio::task::spawn_blocking(move || run(&folder, &line));
    ended.await.expect("no panic")
}

fn lines(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, 0, "{}", ended.err);
    let lines = ended.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names(holds: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = holds
        .iter()
        .map(|hold| hold["user"].as_str().unwrap().split('@').next().unwrap())
        .collect();
    names.sort_unstable();
    names
}

/// A house of 20 people, 8 of whom have left at once and are held: 5 an hour.
async fn house() -> (House, Vec<String>, String) {
    let house = House::with(plan(&["Zoom"], "")).await;
    let ids = users(&house, "u", 20).await;
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let zoom = group(&house, "Zoom", &all).await;
    house.settled().await;
    remove(&house, &zoom, &all[..8]).await;
    assert_eq!(active(&house).len(), 20);
    (house, ids, zoom)
}

async fn list(house: &House) -> Vec<Value> {
    lines(&usher(house.folder(), "holds --socket usher.sock --format json").await)
}

async fn say(house: &House, word: &str) -> Ended {
    let ended = usher(
        house.folder(),
        &format!("holds {word} --application zoom --socket usher.sock"),
    )
    .await;
    house.settled().await;
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_with_names_and_one_who_may_go() {
    let (house, ids, _) = house().await;
    let holds = list(&house).await;
    assert_eq!(
        names(&holds),
        ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"]
    );
    assert_eq!(holds[0]["application"], "zoom");
    assert_eq!(holds[0]["cause"], "out_of_scope");
    assert_eq!(holds[0]["operation"], "deactivate");
    let table = usher(house.folder(), "holds --socket usher.sock").await.out;
    assert!(
        table.contains("u3@example.com") && table.contains("8 held"),
        "{table}"
    );

    let said = say(&house, "release --person U3@example.com").await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "zoom: released 1: u3@example.com\n")
    );
    assert!(!active(&house).contains(&String::from("u3")));
    assert_eq!(active(&house).len(), 19);
    assert_eq!(list(&house).await.len(), 7);
    let rows = house.report(Query {
        user_prefix: Some(String::from("u3@")),
        ..Query::default()
    });
    let told: Vec<_> = rows
        .iter()
        .map(|row| row.code.as_deref().unwrap_or(""))
        .collect();
    assert!(told.contains(&"not_assigned"), "{told:?}");

    let nobody = say(&house, "release --person u3@example.com").await;
    assert_eq!(nobody.code, 70, "{}", nobody.out);
    assert!(
        nobody.err.contains("No removal of that person is held"),
        "{}",
        nobody.err
    );
    let by_id = say(&house, &format!("reject --person {}", ids[4])).await;
    assert_eq!(by_id.out, "zoom: rejected 1: u4@example.com\n");
    assert_eq!(list(&house).await.len(), 6);
    // Who was held by a group's change, which is nobody's request about them, has an end in the report.
    let ended = |person: &str| {
        let rows = house.report(Query {
            user_prefix: Some(format!("{person}@")),
            ..Query::default()
        });
        rows.iter().all(|row| !row.status.is_open())
    };
    assert_eq!(["u3", "u4", "u5"].map(ended), [true, true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowance_has_a_size_and_an_end() {
    let (house, ids, zoom) = house().await;
    let said = say(&house, "release --people 10 --for 2h").await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("zoom: released 8: u"), "{}", said.out);
    assert!(said.out.contains("; 2 more may go until "), "{}", said.out);
    assert_eq!((active(&house).len(), list(&house).await.len()), (12, 0));
    // Five by the limit, two by the allowance: a set of eight is one too many.
    remove(
        &house,
        &zoom,
        &ids[8..16].iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    assert_eq!((active(&house).len(), list(&house).await.len()), (12, 8));
    let back: Vec<Value> = ids[8..16].iter().map(|id| json!({ "value": id })).collect();
    let path = format!("/Groups/{zoom}");
    patch(
        &house,
        &path,
        json!([{"op": "add", "path": "members", "value": back}]),
    )
    .await;
    remove(
        &house,
        &zoom,
        &ids[8..15].iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    assert_eq!((active(&house).len(), list(&house).await.len()), (5, 0));
    // Used up.
    remove(&house, &zoom, &[&ids[15]]).await;
    assert_eq!((active(&house).len(), list(&house).await.len()), (5, 1));

    // One that ends before anybody used it.
    let said = say(&house, "release --people 3 --for 2h").await;
    assert!(said.out.contains("released 1: u15@"), "{}", said.out);
    assert_eq!(active(&house).len(), 4);
    house.later(Duration::from_secs(3 * 3600)).await;
    let last: Vec<&str> = ids[16..].iter().map(String::as_str).collect();
    // A new window would let them go, but for the last one.
    remove(&house, &zoom, &last).await;
    assert_eq!(
        (active(&house).len(), list(&house).await.len()),
        (0, 0),
        "under ten"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_gone_in_its_time_is_held_again() {
    let (house, _, _) = house().await;
    let state = house.sandbox.state();
    let well = state.quirks();
    state.set_quirks(usher::sandbox::Quirks {
        sso_off: true,
        ..well.clone()
    });
    let said = usher(
        house.folder(),
        "holds release --all --for 90m --application zoom --socket usher.sock",
    )
    .await;
    assert!(said.out.starts_with("zoom: released 8"), "{}", said.out);
    house.clock.advance(Duration::from_secs(3600));
    assert_eq!((active(&house).len(), list(&house).await.len()), (20, 0));
    house.clock.advance(Duration::from_secs(3600));
    state.set_quirks(well);
    let engine = house.serving.gateway.engine().unwrap();
    let held = || engine.store.view().unwrap().tally("zoom").unwrap().holds;
    let again = async {
        while held() < 8 {
            house.clock.advance(Duration::from_secs(10));
            // Gives the gateway's tasks the machine; how long does not matter.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("they are held again");
    assert_eq!((active(&house).len(), list(&house).await.len()), (20, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_rejected_stays_until_they_have_been_in_scope_again() {
    let (house, ids, zoom) = house().await;
    let said = say(&house, "reject --all").await;
    assert!(said.out.starts_with("zoom: rejected 8"), "{}", said.out);
    assert_eq!((active(&house).len(), list(&house).await.len()), (20, 0));
    // Neither time nor a reload nor another change takes them.
    house.later(Duration::from_secs(7 * 86_400)).await;
    house
        .reload(&plan(
            &["Zoom"],
            "[application.users]\nleave_after = \"1h\"",
        ))
        .await;
    let rename = json!([{"op": "replace", "path": "displayName", "value": "Other"}]);
    patch(&house, &format!("/Users/{}", ids[0]), rename).await;
    house.later(Duration::from_secs(7 * 86_400)).await;
    assert_eq!((active(&house).len(), list(&house).await.len()), (20, 0));
    let house = house.restart_with(plan(&["Zoom"], "")).await;
    house.settled().await;
    // In again and out again.
    let path = format!("/Groups/{zoom}");
    let member = json!([{ "value": ids[0] }]);
    patch(
        &house,
        &path,
        json!([{"op": "add", "path": "members", "value": member}]),
    )
    .await;
    remove(&house, &zoom, &[&ids[0]]).await;
    assert_eq!((active(&house).len(), list(&house).await.len()), (19, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_read_from_the_file_and_said_to_the_gateway() {
    let (house, _, _) = house().await;
    for (line, told) in [
        (
            "holds release --socket usher.sock --all",
            "which application?",
        ),
        (
            "holds reject --application zoom --socket usher.sock",
            "whom?",
        ),
        (
            "holds release --application zoom --socket usher.sock",
            "required",
        ),
        (
            "holds release --application zoom --socket usher.sock --people 0",
            "invalid value",
        ),
        (
            "holds release --application zoom --socket usher.sock --all --for soon",
            "a time such as",
        ),
        (
            "holds release --application zoom --socket usher.sock --all --person x",
            "cannot be used with",
        ),
        (
            "holds --application nobody --socket usher.sock",
            "no application of this name",
        ),
    ] {
        let ended = usher(house.folder(), line).await;
        assert_eq!(ended.code, 64, "{line}: {} {}", ended.out, ended.err);
        assert!(ended.err.contains(told), "{line}: {}", ended.err);
    }
    let folder = house.folder().to_owned();
    house
        .restart_after(move |_| {
            let found = run(&folder, "holds --store usher.redb --format json");
            assert_eq!(lines(&found).len(), 8);
            assert!(found.err.contains("directly"), "{}", found.err);
            let said = run(
                &folder,
                "holds release --application zoom --all --store usher.redb",
            );
            assert_eq!(said.code, 75, "{}", said.err);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_person_who_was_deleted_is_named_and_goes() {
    let house = House::with(Plan {
        tables: String::from(
            "[application.safety]\nmax_removals = 0\n[application.users]\ndelete_after = \"0s\"",
        ),
        ..Plan::default()
    })
    .await;
    let ids = users(&house, "u", 2).await;
    house
        .ask("DELETE", &format!("/Users/{}", ids[0]), None)
        .await
        .expect(204);
    house.settled().await;
    let holds = list(&house).await;
    assert_eq!(names(&holds), ["u0"]);
    assert_eq!(holds[0]["cause"], "deleted");
    let said = say(&house, "release --people 1").await;
    assert_eq!(said.out, "zoom: released 1: u0@example.com\n");
    assert_eq!(active(&house), ["u1"]);
    assert_eq!(house.sandbox.state().accounts().len(), 1);
}
