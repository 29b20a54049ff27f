//! People, what the directory may say of them, and the one writer that each of them has.

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::house::{Answer, Knock};

/// A cheap, reproducible number (`SplitMix64`).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next one.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// What the writers heard.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The ids of the requests that got a 2xx.
    pub(crate) acknowledged: Vec<String>,
    /// Requests without an answer.
    pub(crate) unknown: usize,
    /// Requests that got a 503: nothing was changed.
    pub(crate) refused: usize,
}

impl Tally {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown += other.unknown;
        self.refused += other.refused;
    }
}

/// What a person's writer made of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Is {
    /// displayName and `active`.
    pub(crate) user: Option<(String, bool)>,
    /// Their own group, and whether they are in it.
    pub(crate) group: Option<bool>,
}

/// A person with a group of their own.
pub(crate) struct Person {
    /// The userName.
    pub(crate) name: String,
    group_name: String,
    dice: Dice,
    writes: u64,
    /// One state, or two after a request without an answer: before it and after it.
    may_be: Vec<Is>,
    user_id: String,
    group_id: String,
}

/// A request, and what the person is after it.
struct Ask {
    method: &'static str,
    path: String,
    body: Option<Value>,
    after: Is,
}

impl Person {
    /// Somebody whom nobody has heard of.
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        Self {
            name: format!("p{number}@x.example"),
            group_name: format!("group-{number}"),
            dice: Dice(seed),
            writes: 0,
            may_be: vec![Is::default()],
            user_id: String::new(),
            group_id: String::new(),
        }
    }

    /// What they are, once they were read back.
    pub(crate) fn is(&self) -> &Is {
        &self.may_be[0]
    }

    /// Reads them back and writes until the gateway dies.
    pub(crate) async fn write(
        mut self,
        knock: Knock,
        acknowledged: watch::Sender<usize>,
    ) -> (Self, Tally) {
        let mut tally = Tally::default();
        if self.recall(&knock).await.is_err() {
            return (self, tally);
        }
        loop {
            let ask = self.next();
            match knock
                .try_ask(ask.method, &ask.path, ask.body.as_ref())
                .await
            {
                Err(_) => {
                    tally.unknown += 1;
                    self.may_be.push(ask.after);
                    return (self, tally);
                }
                Ok(answer) if answer.status == 503 => tally.refused += 1,
                Ok(answer) => {
                    let id = &answer.headers["x-request-id"];
                    tally
                        .acknowledged
                        .push(id.to_str().expect("an id").to_owned());
                    self.acknowledged(&ask, &answer);
                    acknowledged.send_modify(|so_far| *so_far += 1);
                }
            }
        }
    }

    fn acknowledged(&mut self, ask: &Ask, answer: &Answer) {
        let wanted = match ask.method {
            "POST" => 201,
            "DELETE" => 204,
            _ => 200,
        };
        assert_eq!(
            answer.status,
            wanted,
            "{} {} of {:?}: {:?}",
            ask.method,
            ask.path,
            self.is(),
            answer.body
        );
        match ask.path.as_str() {
            "/Users" => self.user_id = answer.id(),
            "/Groups" => self.group_id = answer.id(),
            _ => {}
        }
        self.may_be = vec![ask.after.clone()];
    }

    /// Reads them back: what is there must be what it may be.
    pub(crate) async fn recall(&mut self, knock: &Knock) -> Result<(), String> {
        let user = one(knock, "Users", "userName", &self.name).await?;
        let group = one(knock, "Groups", "displayName", &self.group_name).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
        let member = |group: &Value| {
            group["members"]
                .as_array()
                .is_some_and(|members| !members.is_empty())
        };
        let found = Is {
            user: user
                .as_ref()
                .map(|user| (text(&user["displayName"]), user["active"] == true)),
            group: group.as_ref().map(member),
        };
        assert!(
            self.may_be.contains(&found),
            "{} is {found:?} and was to be one of {:?}",
            self.name,
            self.may_be
        );
        self.user_id = user.map(|user| text(&user["id"])).unwrap_or_default();
        self.group_id = group.map(|group| text(&group["id"])).unwrap_or_default();
        self.may_be = vec![found];
        Ok(())
    }

    /// What they write next.
    fn next(&mut self) -> Ask {
        self.writes += 1;
        let display = format!("{} write {}", self.name, self.writes);
        let roll = self.dice.roll() % 100;
        let mut after = self.is().clone();
        let user = format!("/Users/{}", self.user_id);
        let Some((shown, active)) = after.user.clone() else {
            let body = self.body(&display, true);
            after.user = Some((display, true));
            return Ask {
                method: "POST",
                path: String::from("/Users"),
                body: Some(body),
                after,
            };
        };
        match (active, roll) {
            (_, 0..20) => self.group(after),
            (_, 20..40) => {
                after.user = Some((display.clone(), active));
                Ask {
                    method: "PATCH",
                    path: user,
                    body: replace("displayName", json!(display)),
                    after,
                }
            }
            (true, 40..60) => {
                let body = self.body(&display, true);
                after.user = Some((display, true));
                Ask {
                    method: "PUT",
                    path: user,
                    body: Some(body),
                    after,
                }
            }
            (_, 60..75) => {
                after.user = None;
                after.group = after.group.map(|_| false);
                Ask {
                    method: "DELETE",
                    path: user,
                    body: None,
                    after,
                }
            }
            (active, _) => {
                after.user = Some((shown, !active));
                Ask {
                    method: "PATCH",
                    path: user,
                    body: replace("active", json!(!active)),
                    after,
                }
            }
        }
    }

    fn group(&mut self, mut after: Is) -> Ask {
        let group = format!("/Groups/{}", self.group_id);
        let who = json!([{"value": self.user_id}]);
        let members =
            |op: &str| Some(json!({"Operations": [{"op": op, "path": "members", "value": who}]}));
        match after.group {
            None => {
                after.group = Some(true);
                let body = json!({"displayName": self.group_name, "members": who});
                Ask {
                    method: "POST",
                    path: String::from("/Groups"),
                    body: Some(body),
                    after,
                }
            }
            Some(_) if self.dice.roll().is_multiple_of(5) => {
                after.group = None;
                Ask {
                    method: "DELETE",
                    path: group,
                    body: None,
                    after,
                }
            }
            Some(member) => {
                after.group = Some(!member);
                let body = members(if member { "remove" } else { "add" });
                Ask {
                    method: "PATCH",
                    path: group,
                    body,
                    after,
                }
            }
        }
    }

    fn body(&self, display: &str, active: bool) -> Value {
        json!({
            "userName": self.name, "displayName": display, "active": active,
            "name": {"givenName": "A", "familyName": "B"}, "emails": [{"type": "work", "primary": true, "value": self.name}]
        })
    }
}

fn replace(path: &str, value: Value) -> Option<Value> {
    Some(json!({"Operations": [{"op": "replace", "path": path, "value": value}]}))
}

/// The one resource of that name, if there is one; an error is a connection that broke.
async fn one(
    knock: &Knock,
    endpoint: &str,
    attribute: &str,
    name: &str,
) -> Result<Option<Value>, String> {
    let name = name.replace('@', "%40");
    let answer = knock
        .try_ask(
            "GET",
            &format!("/{endpoint}?filter={attribute}%20eq%20%22{name}%22"),
            None,
        )
        .await?;
    let found = answer.expect(200).body["Resources"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(found.len() <= 1, "{found:?}");
    Ok(found.into_iter().next())
}
