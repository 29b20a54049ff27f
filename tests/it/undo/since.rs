//! What somebody has changed since is left alone, also where it came back to what the client left.

use super::*;
use crate::belonging::{add, all, group, plan, remove};

async fn members(house: &House, group: &str) -> usize {
    let read = house.ask("GET", &format!("/Groups/{group}"), None).await;
    let members = read.expect(200).body["members"].as_array().cloned();
    members.unwrap_or_default().len()
}

#[tokio::test]
async fn who_was_put_back_and_left_properly_stays_out() {
    let house = House::with(plan(&["Zoom"], TABLES)).await;
    let ids = people(&house, 4).await;
    let zoom = group(&house, "Zoom", &all(&ids)).await;
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    remove(&house, &zoom, &all(&ids[..2])).await;
    replace(&house, &ids[2], "displayName", json!("Wrong")).await;
    let until = until(&house);
    house.later(Duration::from_secs(60)).await;
    // Repaired, and then a change that is meant.
    add(&house, &zoom, &[&ids[0]]).await;
    replace(&house, &ids[2], "displayName", json!("P 2")).await;
    house.later(Duration::from_secs(60)).await;
    remove(&house, &zoom, &[&ids[0]]).await;
    replace(&house, &ids[2], "displayName", json!("Wrong")).await;
    house.settled().await;

    let (undone, code) = undo(&house, &since, &until, &["--yes"]).await;
    assert_eq!((moved(&undone), code), ((1, 0), Some(0)), "{undone:?}");
    let line = |id: &str| undone.iter().find(|line| line["id"] == id).unwrap();
    assert_eq!(
        line(&zoom)["reason"],
        "1 whose membership somebody changed since are left as they are"
    );
    assert_eq!(line(&ids[2])["reason"], "changed since: displayName");
    assert_eq!(members(&house, &zoom).await, 3);

    // What an undo put in again, and somebody took out then, stays out as well.
    house.later(Duration::from_secs(60)).await;
    remove(&house, &zoom, &[&ids[1]]).await;
    let (again, _) = undo(&house, &since, &until, &["--yes"]).await;
    assert_eq!((moved(&again), done(&again)), ((0, 0), 0), "{again:?}");
    assert_eq!(members(&house, &zoom).await, 2);
}

#[tokio::test]
async fn who_was_made_again_and_left_properly_stays_out() {
    let house = House::with(plan(&["Zoom"], TABLES)).await;
    let ids = people(&house, 4).await;
    let zoom = group(&house, "Zoom", &all(&ids)).await;
    house.later(Duration::from_secs(60)).await;
    let since = house.clock.now().rfc3339();
    for id in &ids[..2] {
        let path = format!("/Users/{id}");
        house.ask("DELETE", &path, None).await.expect(204);
    }
    house.settled().await;
    let until = until(&house);
    house.later(Duration::from_secs(60)).await;
    let (undone, _) = undo(&house, &since, &until, &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone)), ((2, 0), 3));
    house.settled().await;
    let again = async |name: &str| {
        let path = format!("/Users?filter=userName%20eq%20%22{name}%40example.com%22");
        let found = house.ask("GET", &path, None).await.expect(200).body;
        found["Resources"][0]["id"].as_str().unwrap().to_owned()
    };
    house.later(Duration::from_secs(60)).await;
    remove(&house, &zoom, &[&again("p00").await]).await;
    let path = format!("/Users/{}", again("p01").await);
    house.ask("DELETE", &path, None).await.expect(204);
    house.settled().await;
    let (undone, _) = undo(&house, &since, &until, &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone)), ((0, 0), 0), "{undone:?}");
    assert_eq!(members(&house, &zoom).await, 2);
    let gone = undone.iter().find(|line| line["id"] == *ids[1]).unwrap();
    assert_eq!(gone["reason"], "somebody had the userName since");
}

#[tokio::test]
async fn spans_are_undone_one_after_the_other_the_latest_first() {
    let house = House::with(plan(&["Zoom"], TABLES)).await;
    let ids = people(&house, 2).await;
    let zoom = group(&house, "Zoom", &all(&ids)).await;
    house.later(Duration::from_secs(60)).await;
    let first = house.clock.now().rfc3339();
    remove(&house, &zoom, &[&ids[0]]).await;
    replace(&house, &ids[1], "displayName", json!("One")).await;
    house.later(Duration::from_secs(60)).await;
    let second = house.clock.now().rfc3339();
    add(&house, &zoom, &[&ids[0]]).await;
    replace(&house, &ids[1], "displayName", json!("Two")).await;
    let until = until(&house);
    house.later(Duration::from_secs(60)).await;
    let (undone, _) = undo(&house, &second, &until, &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone)), ((0, 1), 2), "{undone:?}");
    let (undone, _) = undo(&house, &first, &second, &["--yes"]).await;
    assert_eq!((moved(&undone), done(&undone)), ((1, 0), 2), "{undone:?}");
    let read = house.ask("GET", &format!("/Users/{}", ids[1]), None).await;
    assert_eq!(read.body["displayName"], "P 1");
    assert_eq!(members(&house, &zoom).await, 2);
}
