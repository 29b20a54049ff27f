//! The admin API's matrix: its two doors, and SCIM's, where it is not.

use usher::console::route::Route as AdminRoute;
use usher::scim::route::{METHODS, Route};

use super::table::{Row, Who, admin, row};
use super::{OTHERS, Tally};
use crate::house::{House, TOKEN};
use crate::way::{Door, State, Way, refusal};

#[tokio::test]
async fn every_admin_route_and_method_is_as_the_table_says_at_every_door() {
    let house = House::new().await;
    house.settled().await;
    let mut paths: Vec<&str> = AdminRoute::ALL.iter().map(|route| route.at().1).collect();
    paths.dedup();
    paths.extend([
        "/",
        "/admin",
        "/Healthz",
        "/healthz/",
        "/healthz/x",
        "/scim/v2/Users",
        "/scim/v2/",
    ]);
    let doors = [
        ("the address", Door::Plain(house.serving.admin)),
        ("the socket", Door::Unix(house.folder().join("usher.sock"))),
        ("SCIM's address", Door::Plain(house.serving.address)),
    ];
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let kinds = [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Basic YTpi\r\n",
        &bearer,
    ];
    let mut tally = Tally::default();
    for (door, to) in &doors {
        for kind in kinds {
            let before = State::of(&house);
            let mut way = Way::new(to.clone(), kind);
            for path in &paths {
                for method in METHODS.iter().chain(&OTHERS) {
                    let wanted = admin_expects(door, method, path, kind == bearer);
                    let said = way.ask(method, path, "{}").await;
                    let said = said.expect("an answer");
                    tally.cells += 1;
                    let explained = said.status < 400 || refusal(method, &said).is_ok();
                    if said.status != wanted || !explained {
                        tally.differing.push(format!(
                            "{method} {path} at {door} with {kind:?}: {}, wanted {wanted}: {}",
                            said.status,
                            said.json()
                        ));
                    }
                }
            }
            tally.credentials += 1;
            let (was, is) = (before.told(), State::of(&house));
            // The socket's owner confirms, and who is known to SCIM is noted for what he reads.
            let may = *door == "the socket" || *door == "SCIM's address" && kind == bearer;
            assert!(
                may || is == before,
                "{door}, {kind:?}: {was} became {}",
                is.told()
            );
        }
    }
    tally.told("admin", paths.len(), METHODS.len() + OTHERS.len());
}

/// No credential opens or shuts a door of the admin API: who is on the socket is the file's owner.
fn admin_expects(door: &str, method: &str, path: &str, is_client: bool) -> u16 {
    let is_address = door == "the address";
    if door == "SCIM's address" {
        let scim = path.starts_with("/scim/v2");
        return match METHODS.iter().position(|known| *known == method) {
            None => 405,
            Some(_) if !scim => 404,
            Some(_) if !is_client => 401,
            Some(at) => {
                let below = path.trim_start_matches("/scim/v2").trim_matches('/');
                let below: Vec<String> = below.split_terminator('/').map(str::to_owned).collect();
                let row: Row = row(&Route::of(&below).unwrap());
                // `{}` is no user.
                let status = row.expects(Who::Owner, Some(at)).unwrap();
                if status == 201 { 400 } else { status }
            }
        };
    }
    let asked = if method == "HEAD" { "GET" } else { method };
    let there: Vec<_> = AdminRoute::ALL
        .into_iter()
        .filter(|route| route.at().1 == path)
        .map(|route| (route.at().0, admin(route)))
        .map(|(method, (address, socket))| (method, if is_address { address } else { socket }))
        .filter(|(_, status)| *status != 404)
        .collect();
    let found = there.iter().find(|(known, _)| *known == asked);
    match found {
        Some((_, status)) => *status,
        None if there.is_empty() => 404,
        None => 405,
    }
}
