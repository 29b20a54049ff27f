//! What a client created stays, unless it is said that it goes; then that is a removal like any other.

use super::*;
use crate::belonging::{active, all, group, held, plan};

const FLAGS: [&str; 2] = ["--yes", "--created"];

async fn newcomers(house: &House, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let body = json!({
            "schemas": [CORE_USER], "userName": format!("n{number}@example.com"), "displayName": "New",
            "name": {"givenName": "N", "familyName": "N"}, "userType": "Employee",
        });
        let made = house.ask("POST", "/Users", Some(&body)).await;
        ids.push(made.expect(201).id());
    }
    house.settled().await;
    ids
}

#[tokio::test]
async fn it_stays_by_default_and_goes_when_asked_for() {
    let house = House::with(plan(&["Zoom"], TABLES)).await;
    let old = people(&house, 3).await;
    let zoom = group(&house, "Zoom", &all(&old)).await;
    house.settled().await;
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    let new = newcomers(&house, 4).await;
    crate::belonging::add(&house, &zoom, &all(&new)).await;
    let team = group(&house, "Team", &all(&new)).await;
    house.settled().await;
    assert_eq!(licensed(&house), 7);
    let until = until(&house);
    house.later(Duration::from_secs(60)).await;
    replace(&house, &new[3], "displayName", json!("Kept")).await;
    house.settled().await;

    let calls = house.sandbox.state().calls().len();
    let (undone, code) = undo(&house, &since, &until, &["--yes"]).await;
    assert_eq!((done(&undone), moved(&undone), code), (0, (0, 0), Some(0)));
    assert_eq!(count(&undone, "not_undone"), 6, "{undone:?}");
    house.settled().await;
    assert_eq!(house.sandbox.state().calls().len(), calls);

    let (shown, _) = undo(&house, &since, &until, &["--created"]).await;
    assert_eq!((count(&shown, "remove"), done(&shown)), (4, 0), "{shown:?}");
    let (undone, code) = undo(&house, &since, &until, &FLAGS).await;
    assert_eq!((count(&undone, "remove"), done(&undone)), (4, 4));
    assert_eq!(code, Some(0));
    let kept = undone.iter().find(|line| line["id"] == *new[3]).unwrap();
    assert_eq!(kept["reason"], "changed since: displayName");
    house.settled().await;
    assert_eq!(licensed(&house), 4);
    let path = format!("/Groups/{team}");
    house.ask("GET", &path, None).await.expect(404);
    let (again, _) = undo(&house, &since, &until, &FLAGS).await;
    assert_eq!(
        (done(&again), count(&again, "nothing")),
        (0, 4),
        "{again:?}"
    );
}

#[tokio::test]
async fn too_many_are_held_like_any_other_removal() {
    let house = House::with(Plan {
        tables: TABLES.replace("max_removals = 50", "max_removals = 2"),
        ..Plan::default()
    })
    .await;
    people(&house, 3).await;
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    newcomers(&house, 3).await;
    let (undone, _) = undo(&house, &since, &until(&house), &FLAGS).await;
    assert_eq!(done(&undone), 3);
    house.settled().await;
    assert_eq!((active(&house).len(), held(&house)), (6, 3));
}

#[tokio::test]
async fn who_was_deleted_and_created_anew_is_who_they_were() {
    let house = House::with(Plan {
        tables: TABLES.to_owned(),
        ..Plan::default()
    })
    .await;
    let ids = people(&house, 2).await;
    let team = group(&house, "Team", &all(&ids)).await;
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    for id in &ids {
        let path = format!("/Users/{id}");
        house.ask("DELETE", &path, None).await.expect(204);
    }
    house.settled().await;
    let again = people(&house, 1).await;
    let (undone, code) = undo(&house, &since, &until(&house), &FLAGS).await;
    assert_eq!(
        (count(&undone, "recreate"), count(&undone, "remove")),
        (1, 0)
    );
    assert_eq!((moved(&undone), code), ((2, 0), Some(0)));
    house.settled().await;
    assert_eq!(licensed(&house), 2);
    let read = house.ask("GET", &format!("/Groups/{team}"), None).await;
    let members = read.body["members"].as_array().unwrap().clone();
    assert_eq!(members.len(), 2);
    assert!(members.iter().any(|one| one["value"] == *again[0]));
}

#[tokio::test]
async fn who_was_deleted_and_created_anew_stays_where_they_cannot_be_made_as_they_were() {
    let house = House::with(Plan {
        tables: format!(
            "{TABLES}\n[[application.map.user]]\nto = \"displayName\"\nfrom = \"$.displayName\"\nredact = true\n"
        ),
        ..Plan::default()
    })
    .await;
    let ids = people(&house, 1).await;
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    let path = format!("/Users/{}", ids[0]);
    house.ask("DELETE", &path, None).await.expect(204);
    house.settled().await;
    let again = people(&house, 1).await;
    let (undone, code) = undo(&house, &since, &until(&house), &FLAGS).await;
    assert_eq!((done(&undone), code), (0, Some(0)), "{undone:?}");
    let kept = undone.iter().find(|line| line["id"] == *again[0]).unwrap();
    assert_eq!(kept["step"], "not_undone");
    assert_eq!(
        kept["reason"],
        "it has the name of one that these writes deleted and that cannot be made again: the journal does not show displayName"
    );
    let path = format!("/Users/{}", again[0]);
    house.ask("GET", &path, None).await.expect(200);
    house.settled().await;
    assert_eq!(licensed(&house), 1);
}

#[tokio::test]
async fn who_was_created_anew_as_another_makes_room_for_who_was_deleted() {
    let house = House::with(Plan {
        tables: TABLES.to_owned(),
        ..Plan::default()
    })
    .await;
    let ids = people(&house, 2).await;
    let team = group(&house, "Team", &all(&ids)).await;
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    for path in [format!("/Users/{}", ids[0]), format!("/Groups/{team}")] {
        house.ask("DELETE", &path, None).await.expect(204);
    }
    house.settled().await;
    let body = json!({
        "schemas": [CORE_USER], "userName": "P00@example.com", "displayName": "Other",
        "name": {"givenName": "O", "familyName": "O"}, "userType": "Employee",
    });
    let other = house.ask("POST", "/Users", Some(&body)).await;
    let other = other.expect(201).id();
    house.settled().await;
    let (shown, _) = undo(&house, &since, &until(&house), &["--created"]).await;
    let both = |lines: &[Value]| (count(lines, "remove"), count(lines, "recreate"));
    assert_eq!(both(&shown), (1, 2), "{shown:?}");
    let (undone, code) = undo(&house, &since, &until(&house), &FLAGS).await;
    assert_eq!((both(&undone), done(&undone), code), ((1, 2), 3, Some(0)));
    // One right after the other: whatever stops it, nobody is out for longer than it takes.
    let place = undone.iter().position(|line| line["step"] == "remove");
    assert_eq!(undone[place.unwrap()]["id"], *other);
    assert_eq!(undone[place.unwrap() + 1]["id"], *ids[0]);
    house.settled().await;
    assert_eq!(licensed(&house), 2);
    let found = house.ask("GET", "/Groups", None).await.expect(200).body;
    let members = found["Resources"][0]["members"].as_array().unwrap();
    assert_eq!(members.len(), 2);
}

#[tokio::test]
async fn an_account_that_was_there_before_is_not_taken_away() {
    let house = House::with(Plan {
        tables: TABLES.to_owned(),
        ..Plan::default()
    })
    .await;
    let body = crate::import::body("ada");
    crate::import::account(&house, &body);
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    house.ask("POST", "/Users", Some(&body)).await.expect(201);
    newcomers(&house, 1).await;
    let (undone, code) = undo(&house, &since, &until(&house), &FLAGS).await;
    assert_eq!((done(&undone), code), (1, Some(0)), "{undone:?}");
    let ada = undone
        .iter()
        .find(|line| line["user"] == "ada@example.com")
        .unwrap();
    assert_eq!(ada["step"], "not_undone");
    assert_eq!(ada["reason"], "its account in zoom was there before");
    house.settled().await;
    assert_eq!(active(&house), ["ada"]);
}
