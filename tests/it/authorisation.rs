//! The matrix of authorisation: every route, every method, every kind of credential, over real sockets, against a table
//! ([`table`]). The routes are the gateway's own; who adds one without a row does not get this to compile.

mod admin;
mod nobodies;
mod table;

use serde_json::{Value, json};
use usher::scim::route::{METHODS, Route};
use usher::server::service::segments;

use crate::house::{House, Plan, TOKEN, say};
use crate::tls::{Card, Issuer, Secured, config};
use crate::way::{Door, State, Way, new, refusal};
use nobodies::nobodies;
use table::{Who, row};

/// Methods that nothing takes.
const OTHERS: [&str; 4] = ["TRACE", "CONNECT", "BREW", "get"];

/// Clients beside okta, each with a token like its name.
fn token(name: &str) -> String {
    format!("ush_a-token-for-the-matrix-and-nothing-else-{name}")
}

fn hex(token: &str) -> String {
    let hash = usher::auth::hash(token.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn client(name: &str, tokens: &[&str], more: &str) -> String {
    let hashes: Vec<String> = tokens.iter().map(|name| hex(&token(name))).collect();
    format!("[[client]]\nname = \"{name}\"\ntoken_sha256 = {hashes:?}\n{more}\n")
}

const FAST: &str = "rate = { per_second = 100000, burst = 100000 }";

/// What is shown, and what it is worth.
struct Credential {
    name: String,
    way: Way,
    /// Behind the path.
    query: String,
    who: Who,
}

/// What a whole matrix came to.
#[derive(Default)]
struct Tally {
    credentials: usize,
    cells: usize,
    differing: Vec<String>,
}

impl Tally {
    fn told(&self, what: &str, routes: usize, methods: usize) {
        say(&format!(
            "{what}: {routes} routes x {methods} methods x {} credentials = {} cells, {} differing",
            self.credentials,
            self.cells,
            self.differing.len()
        ));
        assert_eq!(routes * methods * self.credentials, self.cells);
        assert!(self.differing.is_empty(), "{}", self.differing.join("\n"));
    }
}

/// Asks by every method at every path of SCIM. `maker` creates the resources, where it is not the credential itself.
async fn walk(house: &House, shown: &mut Credential, maker: &mut Way, tally: &mut Tally) {
    let (who, before) = (shown.who, State::of(house));
    let known = matches!(who, Who::Owner | Who::Other | Who::Taker | Who::Reader);
    let mut made = 0;
    let mut user = String::from("01890000-0000-7000-8000-000000000000");
    for (_, template) in Route::PATHS {
        let kind = if template.starts_with("/Groups") {
            "Groups"
        } else {
            "Users"
        };
        let mut id = user.clone();
        for (at, method) in METHODS.iter().chain(&OTHERS).enumerate() {
            let what = format!("{}-{}", tally.credentials, tally.cells);
            let (owner, name) = (who == Who::Owner, format!("n{what}"));
            let writes = owner || who == Who::Taker;
            // One at a time is enough, until it is deleted.
            if known && (at == 0 || at == 1 && writes) {
                let way = if owner { &mut shown.way } else { &mut *maker };
                id = way.create(kind, &name).await;
                if kind == "Users" {
                    user.clone_from(&id);
                }
                made += 1;
            }
            let path = template.replace("{id}", &id);
            let route = Route::of(&segments(&path).unwrap()).unwrap();
            let wanted = row(&route).expects(who, (at < METHODS.len()).then_some(at));
            let target = format!("/scim/v2{path}{}", shown.query);
            let body = body(&route, method, kind, &user, &format!("b{what}"));
            let said = shown.way.ask(method, &target, &body.to_string()).await;
            tally.cells += 1;
            let mut wrong = |why: String| {
                let line = format!("{method} {target} by {}: {why}", shown.name);
                tally.differing.push(line);
            };
            let got = said.as_ref().map(|said| said.status);
            if got != wanted {
                wrong(format!("{got:?}, wanted {wanted:?}"));
            }
            let Some(said) = said else { continue };
            if said.status >= 400
                && let Err(why) = refusal(method, &said)
            {
                wrong(why);
            }
            // A Bulk comes to what each of its operations would have come to alone.
            if known && route == Route::Bulk && said.status == 200 {
                let inner = said.json()["Operations"][0]["status"].clone();
                let wanted = if writes { "200" } else { "403" };
                if inner != wanted {
                    wrong(format!("its operation is {inner}"));
                }
            }
            // What is refused leaves the resource as it was made.
            if known && said.status >= 400 && matches!(route, Route::Resource(..)) {
                let there = maker.ask("GET", &target, "").await.expect("an answer");
                let version = there.json()["meta"]["version"].clone();
                let first = version.as_str().is_some_and(|it| it.starts_with("W/\"1"));
                if said.status != 405 && !first {
                    wrong(format!("it is {} now", there.json()));
                }
            }
        }
    }
    if known {
        assert!(made > 0);
    } else if State::of(house) != before {
        let now = State::of(house);
        let line = format!("{}: {} became {}", shown.name, before.told(), now.told());
        tally.differing.push(line);
    }
    tally.credentials += 1;
}

/// A body that the route takes, where the method has one.
fn body(route: &Route, method: &str, kind: &str, user: &str, name: &str) -> Value {
    let title = json!([{"op": "replace", "path": "displayName", "value": name}]);
    match (method, route) {
        ("POST", Route::Search(_)) => json!({"count": 1}),
        ("POST", Route::Bulk) => {
            json!({"Operations": [{"method": "PATCH", "path": format!("/Users/{user}"),
            "data": {"Operations": title}}]})
        }
        ("PATCH", _) => json!({"Operations": title}),
        _ => new(kind, name),
    }
}

#[tokio::test]
async fn every_route_method_and_token_is_as_the_table_says() {
    let rest = [
        client("entra", &["first", "second"], FAST),
        // Nothing else than that it may only read keeps it from writing.
        client(
            "reader",
            &["reader"],
            &format!("{FAST}\nread_only = true\ntake_over = true"),
        ),
        client("taker", &["taker"], &format!("{FAST}\ntake_over = true")),
        client("slow", &["slow"], "rate = { per_second = 1, burst = 1 }"),
    ]
    .concat();
    // What a reload takes away: a client, and one of a client's tokens.
    let before = rest.replace(&hex(&token("second")), &hex(&token("old")))
        + &client("gone", &["gone"], FAST);
    let plan = |tables: &str| Plan {
        tables: tables.to_owned(),
        ..Plan::default()
    };
    let house = House::with(plan(&before)).await;
    let door = Door::Plain(house.serving.address);
    for name in ["first", "old", "gone"] {
        let mut way = Way::bearing(door.clone(), &token(name));
        let known = way.ask("GET", "/scim/v2/Schemas", "").await;
        assert_eq!(known.expect("an answer").status, 200, "{name}");
    }
    house.reload(&plan(&rest)).await;
    house.settled().await;

    let application = house.sandbox.token().to_owned();
    let good = token("first");
    let mut credentials: Vec<Credential> = nobodies(&good, &["old", "gone"], &application)
        .into_iter()
        .map(|(name, lines, query)| Credential {
            name,
            way: Way::new(door.clone(), &lines),
            query,
            who: Who::Nobody,
        })
        .collect();
    let mut over = Way::bearing(door.clone(), &token("slow"));
    let first = over.ask("GET", "/scim/v2/Schemas", "").await;
    assert_eq!(first.expect("an answer").status, 200);
    let known = |name: &str, lines: String, who| Credential {
        name: name.to_owned(),
        way: Way::new(door.clone(), &lines),
        query: String::new(),
        who,
    };
    let bearer = |scheme: &str, name: &str| format!("Authorization: {scheme} {}\r\n", token(name));
    credentials.push(Credential {
        name: String::from("over the rate"),
        way: over,
        query: String::new(),
        who: Who::Over,
    });
    credentials.extend([
        known("a token", bearer("Bearer", "first"), Who::Owner),
        known("the second token", bearer("Bearer", "second"), Who::Owner),
        known("in lower case", bearer("bearer", "first"), Who::Owner),
        known("two spaces", bearer("BEARER ", "first"), Who::Owner),
        known("another client's", bearer("Bearer", "first"), Who::Other),
        known(
            "one that may take over",
            bearer("Bearer", "taker"),
            Who::Taker,
        ),
        known(
            "one that may only read",
            bearer("Bearer", "reader"),
            Who::Reader,
        ),
    ]);
    let mut maker = Way::bearing(door.clone(), TOKEN);
    let mut tally = Tally::default();
    for credential in &mut credentials {
        walk(&house, credential, &mut maker, &mut tally).await;
    }
    tally.told("tokens", Route::PATHS.len(), METHODS.len() + OTHERS.len());
}

#[tokio::test]
async fn every_route_method_and_certificate_is_as_the_table_says() {
    let (clients, foreign) = (Issuer::new("clients"), Issuer::new("clients"));
    let [card, twin, both, unpinned, gone] = std::array::from_fn(|_| clients.client());
    let stranger = foreign.client();
    let pinned = |name: &str, cards: &[&Card]| {
        let pins: Vec<String> = cards.iter().map(|card| card.pin()).collect();
        format!("[[client]]\nname = \"{name}\"\n{FAST}\ncertificate_sha256 = {pins:?}\n")
    };
    let rest = pinned("card", &[&card, &twin])
        + &pinned("both", &[&both])
        + &format!("token_sha256 = [\"{}\"]\n", hex(&token("both")))
        // Pinned, and still no way in: the handshake asks for the issuer.
        + &pinned("stranger", &[&stranger]);
    let before = rest.clone() + &pinned("gone", &[&gone]);
    let plan = Plan {
        tables: before,
        ..Plan::default()
    };
    let secured = Secured::with(Issuer::new("servers"), Some(&clients), plan).await;
    let door = |card: Option<&Card>| {
        let client = config(&secured.issuer, card, &[b"http/1.1"]);
        Door::Tls(secured.at(), client)
    };
    // Its connection stays: what counts is who is known when a request comes.
    let mut revoked = Way::new(door(Some(&gone)), "");
    let known = revoked.ask("GET", "/scim/v2/Schemas", "").await;
    assert_eq!(known.expect("an answer").status, 200);
    secured.reload(&rest).await;
    secured.house.settled().await;

    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let mut credentials = vec![Credential {
        name: String::from("a certificate of a client that is gone, on its old connection"),
        way: revoked,
        query: String::new(),
        who: Who::Nobody,
    }];
    let (good, with) = (bearer(TOKEN), bearer(&token("both")));
    for (name, card, lines, who) in [
        ("nothing", None, "", Who::Nobody),
        (
            "a certificate of a client that is gone",
            Some(&gone),
            "",
            Who::Nobody,
        ),
        (
            "one that is pinned to nobody",
            Some(&unpinned),
            "",
            Who::Nobody,
        ),
        (
            "a certificate where a token is wanted too",
            Some(&both),
            "",
            Who::Nobody,
        ),
        (
            "a token where a certificate is pinned",
            None,
            &with,
            Who::Nobody,
        ),
        (
            "with another client's certificate",
            Some(&card),
            &with,
            Who::Nobody,
        ),
        (
            "with one that is pinned to nobody",
            Some(&unpinned),
            &with,
            Who::Nobody,
        ),
        (
            "a token, with another client's certificate",
            Some(&card),
            &good,
            Who::Nobody,
        ),
        (
            "a certificate, and a wrong token",
            Some(&card),
            "Authorization: Bearer wrong\r\n",
            Who::Nobody,
        ),
        (
            "a certificate, and an empty token",
            Some(&card),
            "Authorization: Bearer \r\n",
            Who::Nobody,
        ),
        (
            "a certificate, and an empty header",
            Some(&card),
            "Authorization:\r\n",
            Who::Nobody,
        ),
        (
            "a certificate, and Basic",
            Some(&card),
            "Authorization: Basic YTpi\r\n",
            Who::Nobody,
        ),
        (
            "a pinned one of a foreign issuer",
            Some(&stranger),
            "",
            Who::ShutOut,
        ),
        (
            "the same, and a good token",
            Some(&stranger),
            &good,
            Who::ShutOut,
        ),
        ("a certificate", Some(&card), "", Who::Owner),
        ("its second certificate", Some(&twin), "", Who::Owner),
        ("a token", None, &good, Who::Owner),
        (
            "a token, with a certificate that is nobody's",
            Some(&unpinned),
            &good,
            Who::Owner,
        ),
        ("both", Some(&both), &with, Who::Owner),
        ("another client's certificate", Some(&card), "", Who::Other),
        ("another client's two", Some(&both), &with, Who::Other),
    ] {
        credentials.push(Credential {
            name: name.to_owned(),
            way: Way::new(door(card), lines),
            query: String::new(),
            who,
        });
    }
    let mut maker = Way::new(door(None), &good);
    let mut tally = Tally::default();
    for credential in &mut credentials {
        walk(&secured.house, credential, &mut maker, &mut tally).await;
    }
    tally.told(
        "certificates",
        Route::PATHS.len(),
        METHODS.len() + OTHERS.len(),
    );
}
