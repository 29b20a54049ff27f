//! Every switch, off and on: what a caller sees of it.

use bytes::Bytes;
use serde_json::Value::Null;
use serde_json::json;

use super::super::state::{Act, State, Taken};
use super::super::zoom::{Call, Door};
use super::super::{Options, token};
use super::*;
use crate::clock::{Clock, Timestamp};
use std::time::Duration;

const LICENCES: &str = "urn:ietf:params:scim:schemas:extension:zoom:1.0:User";
const LOGIN: &str = "urn:us:zoom:scim:schemas:extension:1.0:ZoomUser";
const FIXED: &str = "Bearer sandbox-token";

/// One switch: what `see` comes to with it at its default and at `on`, in an account with the quirks `also`.
struct Row {
    name: &'static str,
    on: Value,
    also: Value,
    see: fn(&State) -> Value,
    seen: [Value; 2],
}

fn row(name: &'static str, on: Value, see: fn(&State) -> Value, seen: [Value; 2]) -> Row {
    Row {
        name,
        on,
        also: json!({}),
        see,
        seen,
    }
}

/// The same in an account that is odd already.
fn beside(also: Value, row: Row) -> Row {
    Row { also, ..row }
}

fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).expect("an object")
}

fn state(quirks: Quirks) -> State {
    State::new(Options {
        quirks,
        clock: Clock::manual(Timestamp(1_795_465_845_000)),
        ..Options::default()
    })
}

fn wait(state: &State, millis: u64) {
    state.clock().advance(Duration::from_millis(millis));
}

fn ann() -> Value {
    json!({
        "schemas": ["x"], "userName": "ann@a.example", "externalId": "7", "title": "Engineer",
        "userType": "Licensed", "name": {"givenName": "Ann", "familyName": "Lee"},
        LICENCES: {"zoomWhiteboard": true, "zoomPhoneNumber": "+1"},
        LOGIN: {"loginType": {"workEmail": true, "sso": true}},
    })
}

fn with(mut user: Value, name: &str, value: Value) -> Value {
    user[name] = value;
    user
}

/// Makes that user; the path of it.
fn make(state: &State, user: Value) -> String {
    let (_, body) = state.ask("POST /Users", user);
    path("Users", &body)
}

fn group(state: &State, name: &str) -> String {
    let (_, body) = state.ask(
        "POST /Groups",
        json!({"schemas": ["x"], "displayName": name}),
    );
    path("Groups", &body)
}

fn path(collection: &str, body: &Value) -> String {
    let id = body["id"].as_str().unwrap_or("none");
    format!("/{collection}/{}", id.replace('&', "%26"))
}

fn status(state: &State, request: &str, body: Value) -> Value {
    state.ask(request, body).0.into()
}

fn get(state: &State, path: &str) -> Value {
    state.ask(&format!("GET {path}"), Null).1
}

fn gets(state: &State, path: &str) -> Value {
    status(state, &format!("GET {path}"), Null)
}

fn put(state: &State, path: &str, body: Value) -> Value {
    status(state, &format!("PUT {path}"), body)
}

fn patch(state: &State, path: &str, operation: Value) -> Value {
    let body = json!({"schemas": ["x"], "Operations": [operation]});
    status(state, &format!("PATCH {path}"), body)
}

fn active(state: &State, path: &str, active: bool) -> Value {
    let operation = json!({"op": "replace", "value": {"active": active}});
    patch(state, path, operation)
}

fn add(state: &State, group: &str, users: &[&str]) -> Value {
    let members: Vec<_> = users
        .iter()
        .map(|user| json!({"value": get(state, user)["id"]}))
        .collect();
    let operation = json!({"op": "add", "path": "members", "value": members});
    patch(state, group, operation)
}

/// A call as the service would hand it over, without a socket.
fn take(state: &State, request: &str, authorization: &str, body: &str) -> Taken {
    let (method, target) = request.split_once(' ').expect("METHOD /path");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let door = if path == token::PATH {
        Door::Token
    } else {
        Door::Scim
    };
    let call = Call {
        method: super::super::zoom::method(method),
        path,
        query,
        body: body.as_bytes(),
        door,
        authorization: Some(authorization),
    };
    state.take(call, Bytes::copy_from_slice(body.as_bytes()))
}

fn answer(taken: &Taken) -> (u16, Value) {
    match &taken.act {
        Act::Answer(answer) | Act::Late { answer, .. } => {
            let body = serde_json::from_slice(&answer.body).unwrap_or_default();
            (answer.status, body)
        }
        _ => (0, Null),
    }
}

fn header(taken: &Taken, name: &str) -> Value {
    let Act::Answer(answer) = &taken.act else {
        return Null;
    };
    let mut headers = taken.headers.iter().chain(&answer.headers);
    let found = headers.find(|(found, _)| *found == name);
    found.map_or(Null, |(_, value)| value.as_str().into())
}

fn call(state: &State, request: &str) -> Value {
    answer(&take(state, request, FIXED, "")).0.into()
}

fn ask_token(state: &State, request: &str, body: &str) -> (u16, Value) {
    // sandbox-client:sandbox-secret
    let basic = "Basic c2FuZGJveC1jbGllbnQ6c2FuZGJveC1zZWNyZXQ=";
    answer(&take(state, request, basic, body))
}

/// A token, as it stands in `Authorization`.
fn token(state: &State) -> String {
    let request = "POST /oauth/token?grant_type=account_credentials&account_id=sandbox-account";
    let (_, body) = ask_token(state, request, "");
    format!("Bearer {}", body["access_token"].as_str().unwrap_or("none"))
}

fn call_with(state: &State, authorization: &str) -> Value {
    answer(&take(state, "GET /Users", authorization, ""))
        .0
        .into()
}

/// The statuses of so many equal calls.
fn calls(state: &State, request: &str, count: usize) -> Value {
    (0..count).map(|_| call(state, request)).collect()
}

fn of_tokens() -> Vec<Row> {
    vec![
        row(
            "token_life_seconds",
            json!(60),
            |state| {
                let token = token(state);
                wait(state, 60_000);
                call_with(state, &token)
            },
            [json!(200), json!(401)],
        ),
        row(
            "new_token_voids_old",
            json!(true),
            |state| {
                let (old, new) = (token(state), token(state));
                json!([call_with(state, &old), call_with(state, &new)])
            },
            [json!([200, 200]), json!([401, 200])],
        ),
        row(
            "token_body_only",
            json!(true),
            |state| {
                let parameters = "grant_type=account_credentials&account_id=sandbox-account";
                let query = format!("POST /oauth/token?{parameters}");
                json!([
                    ask_token(state, &query, "").0,
                    ask_token(state, "POST /oauth/token", parameters).0
                ])
            },
            [json!([200, 200]), json!([400, 200])],
        ),
        row(
            "scope",
            json!("user:read:admin"),
            |state| {
                let token = token(state);
                let given = answer(&take(state, "GET /Users", &token, ""));
                json!([given.0, given.1["code"], call_with(state, FIXED)])
            },
            [json!([200, null, 200]), json!([400, 4700, 400])],
        ),
        beside(
            json!({"scope": ""}),
            row(
                "scope_status",
                json!(401),
                |state| call_with(state, FIXED),
                [json!(400), json!(401)],
            ),
        ),
        row(
            "app_deactivated",
            json!(true),
            |state| {
                let token = token(state);
                json!([
                    token == "Bearer none",
                    call_with(state, &token),
                    call_with(state, FIXED)
                ])
            },
            [json!([false, 200, 200]), json!([true, 401, 401])],
        ),
    ]
}

fn of_the_account() -> Vec<Row> {
    let pending = || json!({"preexisting": ["ann@a.example", "bob@a.example"]});
    vec![
        row(
            "sso_off",
            json!(true),
            |state| {
                let (status, body) = state.ask("GET /Users", Null);
                json!([status, body["detail"], gets(state, "/Groups")])
            },
            [
                json!([200, null, 200]),
                json!([400, "Account has not enabled Single Sign-On.", 200]),
            ],
        ),
        row(
            "missing_permissions",
            json!(["User:Edit", "Group:Read"]),
            |state| {
                let (status, body) = state.ask("POST /Users", ann());
                json!([
                    status,
                    body["detail"],
                    gets(state, "/Users"),
                    gets(state, "/Groups")
                ])
            },
            [
                json!([201, null, 200, 200]),
                json!([
                    403,
                    "The request was denied due to insufficient permissions: \"User:Edit\".",
                    200,
                    403
                ]),
            ],
        ),
        row(
            "any_case_paths",
            json!(true),
            |state| gets(state, "/users"),
            [json!(404), json!(200)],
        ),
        row(
            "base_path_aliases",
            json!(true),
            |state| {
                let below = |path| state.below_base(path);
                json!([
                    below("/scim2/Users"),
                    below("/scim/Users"),
                    below("/v2/scim2/Users")
                ])
            },
            [
                json!(["/Users", null, null]),
                json!(["/Users", "/Users", "/Users"]),
            ],
        ),
        row(
            "plain_media_type",
            json!(true),
            |state| take(state, "GET /Users", FIXED, "").plain.into(),
            [json!(false), json!(true)],
        ),
        row(
            "associated_domains",
            json!(["b.example"]),
            |state| gets(state, &make(state, ann())),
            [json!(200), json!(404)],
        ),
        row(
            "preexisting",
            json!(["Ann@a.example"]),
            |state| gets(state, &make(state, ann())),
            [json!(200), json!(404)],
        ),
        beside(
            pending(),
            row(
                "pending_filter",
                json!("empty"),
                |state| {
                    make(state, ann());
                    let request = "GET /Users?filter=userName%20eq%20ann@a.example";
                    let (status, body) = state.ask(request, Null);
                    json!([status, body["totalResults"]])
                },
                [json!([400, null]), json!([200, 0])],
            ),
        ),
        beside(
            pending(),
            row(
                "pending_shown",
                json!(true),
                |state| {
                    let path = make(state, ann());
                    json!([gets(state, &path), get(state, "/Users")["totalResults"]])
                },
                [json!([404, 0]), json!([200, 1])],
            ),
        ),
        beside(
            pending(),
            row(
                "pending_writes",
                json!("applied"),
                |state| {
                    let path = make(state, ann());
                    let status = put(state, &path, json!({"title": "Boss"}));
                    state.accept("ann@a.example");
                    json!([status, get(state, &path)["title"]])
                },
                [json!([200, "Engineer"]), json!([200, "Boss"])],
            ),
        ),
        beside(
            pending(),
            row(
                "pending_a_day",
                json!(1),
                |state| {
                    let one = status(state, "POST /Users", ann());
                    let bob = with(ann(), "userName", json!("bob@a.example"));
                    let two = status(state, "POST /Users", bob.clone());
                    wait(state, 86_400_000);
                    json!([one, two, status(state, "POST /Users", bob)])
                },
                [json!([201, 201, 409]), json!([201, 429, 201])],
            ),
        ),
        row(
            "login_type_denied",
            json!(true),
            |state| {
                let sso = json!({"loginType": {"workEmail": false, "sso": true}});
                let bob = with(with(ann(), LOGIN, sso), "userName", json!("bob@a.example"));
                json!([
                    gets(state, &make(state, ann())),
                    gets(state, &make(state, bob))
                ])
            },
            [json!([200, 200]), json!([404, 200])],
        ),
    ]
}

fn of_shapes() -> Vec<Row> {
    let member = || json!({"display": "Member", "value": "Member", "primary": true});
    vec![
        row(
            "roles_shape",
            json!("object"),
            |state| get(state, &make(state, ann()))["roles"].clone(),
            [json!([member()]), member()],
        ),
        row(
            "groups_shape",
            json!("nameless"),
            |state| get(state, &make(state, ann()))["groups"].clone(),
            [json!([]), json!({"display": "", "value": ""})],
        ),
        row(
            "group_ids_shown",
            json!(true),
            |state| {
                let (user, group) = (make(state, ann()), group(state, "Sales"));
                add(state, &group, &[&user]);
                get(state, &user)["groups"][0]["value"].is_string().into()
            },
            [json!(false), json!(true)],
        ),
        row(
            "rich_list",
            json!(true),
            |state| {
                make(state, ann());
                let list = get(state, "/Users");
                let user = &list["Resources"][0];
                json!([user["title"], user[LOGIN]["loginType"]["sso"]])
            },
            [json!([null, true]), json!(["Engineer", true])],
        ),
        row(
            "meta_without_dates",
            json!(true),
            |state| get(state, &make(state, ann()))["meta"]["created"].clone(),
            [json!("2026-11-23T20:30:45Z"), Null],
        ),
        row(
            "plain_ids",
            json!(true),
            |state| make(state, ann()).contains("%26").into(),
            [json!(true), json!(false)],
        ),
        row(
            "external_id_kept",
            json!(true),
            |state| get(state, &make(state, ann()))["externalId"].clone(),
            [Null, json!("7")],
        ),
        row(
            "phone_fields_shown",
            json!(true),
            |state| get(state, &make(state, ann()))[LICENCES]["zoomPhoneNumber"].clone(),
            [Null, json!("+1")],
        ),
        row(
            "old_user_types",
            json!(true),
            |state| get(state, &make(state, ann()))["userType"].clone(),
            [json!("Licensed"), json!("Pro")],
        ),
        row(
            "collaboration_refused",
            json!(true),
            |state| {
                let user = with(ann(), "userType", json!("Collaboration"));
                status(state, "POST /Users", user)
            },
            [json!(201), json!(400)],
        ),
        row(
            "max_basic_users",
            json!(1),
            |state| {
                let basic = |name: &str| {
                    let user = with(ann(), "userType", json!("Basic"));
                    with(user, "userName", name.into())
                };
                let one = make(state, basic("one@a.example"));
                let two = status(state, "POST /Users", basic("two@a.example"));
                // A Licensed one does not count, and who becomes Licensed makes room.
                let ann = status(state, "POST /Users", ann());
                put(state, &one, json!({"userType": "Licensed"}));
                json!([
                    two,
                    ann,
                    status(state, "POST /Users", basic("new@a.example"))
                ])
            },
            [json!([201, 201, 201]), json!([400, 201, 201])],
        ),
        row(
            "no_joined_name",
            json!(true),
            |state| get(state, &make(state, ann()))["displayName"].clone(),
            [json!("Ann Lee"), Null],
        ),
        row(
            "groups_taken",
            json!(true),
            |state| {
                for name in ["Sales", "Staff"] {
                    group(state, name);
                }
                let named = |name: &str| json!([{"display": name}, {"display": "None"}]);
                let user = make(state, with(ann(), "groups", named("sales")));
                put(
                    state,
                    &user,
                    json!({"schemas": ["x"], "groups": named("Staff")}),
                );
                let members = |name| state.group(name).map_or(0, |(_, all)| all.len());
                let shown = get(state, &user)["groups"].as_array().map_or(0, Vec::len);
                json!([members("Sales"), members("Staff"), shown])
            },
            [json!([0, 0, 0]), json!([1, 1, 2])],
        ),
    ]
}

fn of_writes() -> Vec<Row> {
    vec![
        row(
            "put_drops",
            json!(["displayName"]),
            |state| {
                let path = make(state, ann());
                let login = json!({"loginType": {"workEmail": false, "sso": true}});
                let body = json!({"userName": "eve@a.example", "displayName": "Eve", LOGIN: login});
                let status = put(state, &path, body);
                let user = get(state, &path);
                let list = get(state, "/Users");
                let login = &list["Resources"][0][LOGIN]["loginType"]["workEmail"];
                json!([status, user["userName"], user["displayName"], login])
            },
            [
                json!([200, "ann@a.example", "Eve", true]),
                json!([200, "eve@a.example", "Ann Lee", false]),
            ],
        ),
        row(
            "put_replaces",
            json!(true),
            |state| {
                let path = make(state, ann());
                put(state, &path, json!({"displayName": "Ann"}));
                let user = get(state, &path);
                json!([user["displayName"], user["title"]])
            },
            [json!(["Ann", "Engineer"]), json!(["Ann", null])],
        ),
        beside(
            json!({"associated_domains": ["a.example"]}),
            row(
                "email_change",
                json!("associated_silent"),
                |state| {
                    let path = make(state, ann());
                    let to = |email: &str| {
                        let status = put(state, &path, json!({"emails": [{"value": email}]}));
                        json!([status, get(state, &path)["emails"][0]["value"]])
                    };
                    json!([to("lee@b.example"), to("lee@a.example")])
                },
                [
                    json!([[400, "ann@a.example"], [200, "lee@a.example"]]),
                    json!([[200, "ann@a.example"], [200, "lee@a.example"]]),
                ],
            ),
        ),
        row(
            "patch_profile",
            json!(true),
            |state| {
                let path = make(state, ann());
                let name = json!({"op": "replace", "path": "name.familyName", "value": "Lea"});
                let title = json!({"op": "add", "value": {"title": "Boss"}});
                let statuses = [patch(state, &path, name), patch(state, &path, title)];
                let user = get(state, &path);
                json!([statuses, user["name"], user["title"]])
            },
            [
                json!([[400, 400], {"givenName": "Ann", "familyName": "Lee"}, "Engineer"]),
                json!([[200, 200], {"givenName": "Ann", "familyName": "Lea"}, "Boss"]),
            ],
        ),
        row(
            "any_case_operations",
            json!(true),
            |state| {
                let path = make(state, ann());
                let operations = json!([{"op": "replace", "value": {"active": false}}]);
                status(
                    state,
                    &format!("PATCH {path}"),
                    json!({"operations": operations}),
                )
            },
            [json!(400), json!(200)],
        ),
        row(
            "strict_patch",
            json!(true),
            |state| {
                let path = make(state, ann());
                json!([
                    patch(
                        state,
                        &path,
                        json!({"op": "replace", "path": "active", "value": false})
                    ),
                    patch(
                        state,
                        &path,
                        json!({"op": "Replace", "value": {"active": false}})
                    ),
                    patch(
                        state,
                        &path,
                        json!({"op": "replace", "value": {"active": "False"}})
                    ),
                    active(state, &path, false),
                ])
            },
            [json!([200, 200, 200, 200]), json!([400, 400, 400, 200])],
        ),
        row(
            "licences",
            json!("returned"),
            |state| {
                let path = make(state, ann());
                let seen = |on| {
                    active(state, &path, on);
                    let user = get(state, &path);
                    json!([user["userType"], user[LICENCES]["zoomWhiteboard"]])
                };
                json!([seen(false), seen(true)])
            },
            [
                json!([["Basic", null], ["Basic", null]]),
                json!([["Basic", null], ["Licensed", true]]),
            ],
        ),
        row(
            "admins",
            json!("refused"),
            |state| {
                let path = make(state, with(ann(), "roles", json!([{"value": "Admin"}])));
                json!([active(state, &path, false), get(state, &path)["active"]])
            },
            [json!([200, true]), json!([400, true])],
        ),
        row(
            "admin_delete_refused",
            json!(true),
            |state| {
                let path = make(state, with(ann(), "roles", json!([{"value": "Owner"}])));
                status(state, &format!("DELETE {path}"), Null)
            },
            [json!(204), json!(400)],
        ),
        row(
            "delete",
            json!("disassociate"),
            |state| {
                let path = make(state, ann());
                let gone = status(state, &format!("DELETE {path}"), Null);
                json!([gone, gets(state, &make(state, ann()))])
            },
            [json!([204, 200]), json!([204, 404])],
        ),
        beside(
            json!({"delete": "disassociate"}),
            row(
                "managed_unlink_refused",
                json!(true),
                |state| status(state, &format!("DELETE {}", make(state, ann())), Null),
                [json!(204), json!(400)],
            ),
        ),
        row(
            "delete_again_ok",
            json!(true),
            |state| {
                let request = format!("DELETE {}", make(state, ann()));
                let two = [status(state, &request, Null), status(state, &request, Null)];
                json!([two, status(state, "DELETE /Users/nobody", Null)])
            },
            [json!([[204, 404], 404]), json!([[204, 204], 404])],
        ),
    ]
}

fn of_groups_and_lists() -> Vec<Row> {
    vec![
        row(
            "default_group",
            json!("Everybody"),
            |state| {
                let groups = get(state, "/Groups");
                let path = path("Groups", &groups["Resources"][0]);
                let (status, body) = state.ask(&format!("DELETE {path}"), Null);
                json!([groups["totalResults"], status, body["detail"]])
            },
            [
                json!([0, 404, "Group does not exist."]),
                json!([1, 400, "Cannot delete account default group."]),
            ],
        ),
        row(
            "members_shown",
            json!(true),
            |state| {
                let (user, group) = (make(state, ann()), group(state, "Sales"));
                add(state, &group, &[&user]);
                get(state, &group)["members"][0]["display"].clone()
            },
            [Null, json!("ann@a.example")],
        ),
        row(
            "members_on_create",
            json!(true),
            |state| {
                let user = make(state, ann());
                let members = json!([{"value": get(state, &user)["id"]}]);
                let body = json!({"schemas": ["x"], "displayName": "Sales", "members": members});
                state.ask("POST /Groups", body);
                state
                    .group("Sales")
                    .map_or(0, |(_, members)| members.len())
                    .into()
            },
            [json!(0), json!(1)],
        ),
        row(
            "member_removal",
            json!("values"),
            |state| {
                let (user, group) = (make(state, ann()), group(state, "Sales"));
                add(state, &group, &[&user]);
                let id = get(state, &user)["id"].clone();
                let path = json!({"op": "remove", "path": format!("members[value eq {id}]")});
                let values = json!({"op": "remove", "path": "members", "value": [{"value": id}]});
                json!([patch(state, &group, path), patch(state, &group, values)])
            },
            [json!([204, 204]), json!([400, 204])],
        ),
        row(
            "members_a_call",
            json!(1),
            |state| {
                let bob = make(state, with(ann(), "userName", json!("bob@a.example")));
                let (ann, group) = (make(state, ann()), group(state, "Sales"));
                json!([
                    add(state, &group, &[&ann, &bob]),
                    add(state, &group, &[&ann])
                ])
            },
            [json!([204, 204]), json!([400, 204])],
        ),
        row(
            "patch_characters",
            json!(40),
            |state| add(state, &group(state, "Sales"), &[&make(state, ann())]),
            [json!(204), json!(400)],
        ),
        row(
            "max_count",
            json!(1),
            |state| {
                for name in ["a", "b"] {
                    group(state, name);
                }
                get(state, "/Groups?count=100")["itemsPerPage"].clone()
            },
            [json!(2), json!(1)],
        ),
        row(
            "default_count",
            json!(1),
            |state| {
                for name in ["a", "b"] {
                    group(state, name);
                }
                get(state, "/Groups")["itemsPerPage"].clone()
            },
            [json!(2), json!(1)],
        ),
        row(
            "start_index_required",
            json!(true),
            |state| json!([gets(state, "/Users"), gets(state, "/Users?startIndex=1")]),
            [json!([200, 200]), json!([400, 200])],
        ),
        row(
            "filter_ignored",
            json!(true),
            |state| {
                make(state, ann());
                let (status, body) = state.ask("GET /Users?filter=active%20eq%20false", Null);
                json!([status, body["totalResults"]])
            },
            [json!([400, null]), json!([200, 1])],
        ),
        row(
            "error_shape",
            json!("mixed"),
            |state| {
                let errors = [get(state, "/Users/x"), get(state, "/Users/x")];
                json!([
                    errors[0]["detail"],
                    errors[1]["detail"],
                    errors[1]["message"]
                ])
            },
            [
                json!(["User does not exist.", "User does not exist.", null]),
                json!(["User does not exist.", null, "User does not exist."]),
            ],
        ),
        row(
            "error_status_text",
            json!(true),
            |state| get(state, "/Users/x")["status"].clone(),
            [json!(404), json!("404")],
        ),
        row(
            "not_found_status",
            json!(400),
            |state| {
                json!([
                    state.ask("GET /Users/x", Null).0,
                    get(state, "/Users/x")["status"]
                ])
            },
            [json!([404, 404]), json!([400, 400])],
        ),
        row(
            "exists_status",
            json!(400),
            |state| {
                make(state, ann());
                status(state, "POST /Users", ann())
            },
            [json!(409), json!(400)],
        ),
    ]
}

fn of_rates() -> Vec<Row> {
    vec![
        row(
            "light",
            json!(2),
            |state| {
                let now = calls(state, "GET /Users/x", 3);
                let list = call(state, "GET /Users");
                wait(state, 1_000);
                json!([now, list, call(state, "GET /Users/x")])
            },
            [
                json!([[404, 404, 404], 200, 404]),
                json!([[404, 404, 429], 200, 404]),
            ],
        ),
        row(
            "medium",
            json!(1),
            |state| json!([calls(state, "GET /Users", 2), call(state, "GET /Users/x")]),
            [json!([[200, 200], 404]), json!([[200, 429], 404])],
        ),
        row(
            "light_a_day",
            json!(1),
            |state| {
                let now = calls(state, "GET /Users/x", 2);
                wait(state, 86_400_000);
                json!([now, call(state, "GET /Users/x")])
            },
            [json!([[404, 404], 404]), json!([[404, 429], 404])],
        ),
        row(
            "medium_a_day",
            json!(1),
            |state| calls(state, "GET /Groups", 2),
            [json!([200, 200]), json!([200, 429])],
        ),
        beside(
            json!({"light": 2}),
            row(
                "rate_window",
                json!("bucket"),
                |state| {
                    calls(state, "GET /Users/x", 2);
                    wait(state, 500);
                    let half = call(state, "GET /Users/x");
                    wait(state, 500);
                    json!([half, calls(state, "GET /Users/x", 2)])
                },
                [json!([429, [404, 404]]), json!([404, [404, 429]])],
            ),
        ),
        beside(
            json!({"medium": 1}),
            row(
                "group_patch",
                json!("medium"),
                |state| calls(state, "PATCH /Groups/x", 2),
                [json!([400, 400]), json!([400, 429])],
            ),
        ),
        row(
            "legacy_one_rps",
            json!(true),
            |state| {
                let two = calls(state, "GET /Users/x", 2);
                json!([
                    two,
                    call(state, "DELETE /Users/x"),
                    call(state, "GET /Groups/x")
                ])
            },
            [json!([[404, 404], 404, 404]), json!([[404, 429], 404, 404])],
        ),
        beside(
            json!({"light": 1}),
            row(
                "retry_after",
                json!("seconds"),
                |state| {
                    wait(state, 400);
                    call(state, "GET /Users/x");
                    header(&take(state, "GET /Users/x", FIXED, ""), "retry-after")
                },
                [Null, json!("1")],
            ),
        ),
        beside(
            json!({"light_a_day": 1}),
            row(
                "retry_after_day",
                json!("http_date"),
                |state| {
                    call(state, "GET /Users/x");
                    header(&take(state, "GET /Users/x", FIXED, ""), "retry-after")
                },
                [
                    json!("2026-11-24T00:00:00Z"),
                    json!("Tue, 24 Nov 2026 00:00:00 GMT"),
                ],
            ),
        ),
        beside(
            json!({"light": 1}),
            row(
                "rate_headers_off",
                json!(true),
                |state| {
                    let seen = || {
                        let taken = take(state, "GET /Users/x", FIXED, "");
                        ["category", "type", "limit", "remaining", "reset"]
                            .map(|name| header(&taken, &format!("x-ratelimit-{name}")))
                    };
                    json!([seen(), seen()])
                },
                [
                    json!([
                        ["Light", "QPS", "1", "0", null],
                        ["Light", "QPS", "1", "0", "1795465846"]
                    ]),
                    json!([
                        [null, null, null, null, null],
                        [null, null, null, null, null]
                    ]),
                ],
            ),
        ),
        row(
            "concurrency",
            json!(1),
            |state| {
                let first = take(state, "GET /Users/x", FIXED, "");
                let second = call(state, "GET /Users/y");
                drop(first);
                json!([second, call(state, "GET /Users/y")])
            },
            [json!([404, 404]), json!([429, 404])],
        ),
        row(
            "one_call_a_user",
            json!(true),
            |state| {
                let first = take(state, "GET /Users/x", FIXED, "");
                let others = json!([call(state, "DELETE /Users/x"), call(state, "GET /Users/y")]);
                drop(first);
                json!([others, call(state, "DELETE /Users/x")])
            },
            [json!([[404, 404], 404]), json!([[429, 404], 404])],
        ),
        row(
            "latency_ms",
            json!(250),
            |state| match take(state, "GET /Users", FIXED, "").act {
                Act::Late { due, .. } => json!(due.since(state.clock().now()).as_millis() as u64),
                _ => Null,
            },
            [Null, json!(250)],
        ),
        row(
            "lookup_lag_ms",
            json!(1_000),
            |state| {
                let path = make(state, ann());
                group(state, "Sales");
                let seen = || {
                    let filter = "/Users?filter=userName%20eq%20ann@a.example";
                    let total = |path| get(state, path)["totalResults"].clone();
                    let lists = json!([total("/Users"), total(filter), total("/Groups")]);
                    json!([lists, gets(state, &path)])
                };
                let before = seen();
                wait(state, 1_000);
                json!([before, seen()])
            },
            [
                json!([[[1, 1, 1], 200], [[1, 1, 1], 200]]),
                json!([[[0, 0, 0], 200], [[1, 1, 1], 200]]),
            ],
        ),
        row(
            "get_lag_ms",
            json!(1_000),
            |state| {
                let (user, group) = (make(state, ann()), group(state, "Sales"));
                let seen = || json!([gets(state, &user), gets(state, &group)]);
                let before = seen();
                wait(state, 1_000);
                json!([before, seen()])
            },
            [
                json!([[200, 200], [200, 200]]),
                json!([[404, 404], [200, 200]]),
            ],
        ),
        row(
            "write_lag_ms",
            json!(1_000),
            |state| {
                let path = make(state, ann());
                let seen = || {
                    let list = get(state, "/Users");
                    let user = get(state, &path);
                    json!([
                        user["title"],
                        user["active"],
                        list["Resources"][0]["active"]
                    ])
                };
                put(state, &path, json!({"title": "Boss"}));
                wait(state, 600);
                active(state, &path, false);
                let before = seen();
                wait(state, 600);
                let between = seen();
                wait(state, 600);
                json!([before, between, seen()])
            },
            [
                json!([
                    ["Boss", false, false],
                    ["Boss", false, false],
                    ["Boss", false, false]
                ]),
                json!([
                    ["Engineer", true, true],
                    ["Boss", true, true],
                    ["Boss", false, false]
                ]),
            ],
        ),
    ]
}

fn rows() -> Vec<Row> {
    [
        of_tokens(),
        of_the_account(),
        of_shapes(),
        of_writes(),
        of_groups_and_lists(),
        of_rates(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_switch_is_seen_off_and_on() {
    for row in rows() {
        let off = Quirks::default()
            .changed(&object(row.also))
            .expect(row.name);
        let on = off
            .changed(&Map::from_iter([(row.name.to_owned(), row.on)]))
            .expect(row.name);
        assert_ne!(off, on, "{}", row.name);
        for (quirks, seen) in [off, on].into_iter().zip(row.seen) {
            let state = state(quirks.clone());
            assert_eq!((row.see)(&state), seen, "{} {quirks:?}", row.name);
            // The same when it is switched while the account is served.
            let state = self::state(Quirks::default());
            state.set_quirks(quirks.clone());
            assert_eq!((row.see)(&state), seen, "{} {quirks:?}", row.name);
            assert_eq!(state.quirks(), quirks);
        }
    }
}

#[test]
fn every_switch_has_its_row_and_its_line() {
    let rows = rows();
    let page = include_str!("../mod.rs");
    for switch in SWITCHES {
        let count = rows.iter().filter(|row| row.name == switch.name).count();
        assert_eq!(count, 1, "{} has a row in this table", switch.name);
        let named = page.contains(&format!("`{}`", switch.name));
        assert!(named, "{} is named in the module's page", switch.name);
    }
    assert_eq!(rows.len(), SWITCHES.len());
    assert_eq!(Quirks::default().to_object().len(), SWITCHES.len());
}

#[test]
fn the_other_choices() {
    let seen = |changes: Value, see: fn(&State) -> Value| {
        let quirks = Quirks::default().changed(&object(changes.clone()));
        (see)(&state(
            quirks.unwrap_or_else(|wrong| panic!("{changes}: {wrong}")),
        ))
    };
    let pending = "ann@a.example";
    let filter: fn(&State) -> Value = |state| {
        make(state, ann());
        get(state, "/Users?filter=userName%20eq%20ann@a.example")["totalResults"].clone()
    };
    let changes = json!({"preexisting": [pending], "pending_filter": "found"});
    assert_eq!(seen(changes, filter), 1);
    let changes = json!({"preexisting": [pending], "pending_writes": "denied"});
    let write: fn(&State) -> Value = |state| put(state, &make(state, ann()), json!({"title": "x"}));
    assert_eq!(seen(changes, write), 404);

    let email: fn(&State) -> Value = |state| {
        let path = make(state, ann());
        put(
            state,
            &path,
            json!({"emails": [{"value": "lee@b.example"}]}),
        );
        get(state, &path)["emails"][0]["value"].clone()
    };
    let of = |change: &str| json!({"associated_domains": ["a.example"], "email_change": change});
    assert_eq!(seen(of("dropped"), email), pending);
    assert_eq!(seen(of("anywhere"), email), "lee@b.example");

    let off: fn(&State) -> Value = |state| {
        let path = make(state, with(ann(), "roles", json!([{"value": "Admin"}])));
        active(state, &path, false);
        let user = get(state, &path);
        json!([user["active"], user["userType"]])
    };
    let changes = json!({"admins": "deactivated", "licences": "kept"});
    assert_eq!(seen(changes, off), json!([false, "Licensed"]));

    let roles: fn(&State) -> Value = |state| get(state, &make(state, ann()))["roles"].clone();
    let nameless = json!({"display": "", "value": ""});
    assert_eq!(seen(json!({"roles_shape": "nameless"}), roles), nameless);
    let groups: fn(&State) -> Value = |state| {
        let (user, group) = (make(state, ann()), group(state, "Sales"));
        let none = get(state, &user)["groups"].clone();
        add(state, &group, &[&user]);
        json!([none, get(state, &user)["groups"]["display"]])
    };
    assert_eq!(
        seen(json!({"groups_shape": "object"}), groups),
        json!([null, "Sales"])
    );

    let out: fn(&State) -> Value = |state| {
        let (user, group) = (make(state, ann()), group(state, "Sales"));
        add(state, &group, &[&user]);
        let id = get(state, &user)["id"].clone();
        let values = json!({"op": "remove", "path": "members", "value": [{"value": id}]});
        let path = json!({"op": "remove", "path": format!("members[value eq {id}]")});
        json!([patch(state, &group, values), patch(state, &group, path)])
    };
    let changes = json!({"member_removal": "path"});
    assert_eq!(seen(changes, out), json!([400, 204]));

    let error: fn(&State) -> Value = |state| get(state, "/Groups/x");
    let rest = json!({"code": 404, "message": "Group does not exist."});
    assert_eq!(seen(json!({"error_shape": "rest"}), error), rest);
}

#[test]
fn changes_are_whole_or_not_at_all() {
    let quirks = Quirks::default();
    let check = |changes: Value, wanted: &str| {
        let wrong = quirks.changed(&object(changes.clone())).expect_err(wanted);
        assert!(wrong.contains(wanted), "{changes}: {wrong}");
    };
    check(
        json!({"light": 5, "quantum": 1}),
        "there is no quirk `quantum`",
    );
    check(json!({"quantum": 1}), "lookup_lag_ms");
    check(json!({"light": -1}), "light: ");
    check(json!({"light": "many"}), "light: invalid type");
    check(json!({"sso_off": 1}), "sso_off: ");
    check(
        json!({"licences": "sold"}),
        "licences: unknown variant `sold`",
    );
    check(json!({"missing_permissions": ["User:Fly"]}), "User:Edit");
    let changed = quirks.changed(&object(json!({"light": 5, "licences": "kept"})));
    let wanted = Quirks {
        light: 5,
        licences: Licences::Kept,
        ..Quirks::default()
    };
    assert_eq!(changed, Ok(wanted.clone()));
    assert_eq!(read(wanted.to_object()), Ok(wanted));
}

#[test]
fn what_was_refused_and_what_came_too_early_is_counted() {
    let state = state(Quirks {
        light: 1,
        ..Quirks::default()
    });
    calls(&state, "GET /Users/x", 3);
    call(&state, "GET /Users");
    wait(&state, 1_000);
    call(&state, "GET /Users/x");
    let counts = &state.counts()["GET"];
    assert_eq!(
        (counts.calls, counts.refused_for_rate, counts.early),
        (5, 2, 1)
    );
    assert_eq!(counts.statuses[&429], 2);
    token(&state);
    assert_eq!(
        (state.token_requests(), state.counts()["TOKEN"].effects),
        (1, 1)
    );
    assert_eq!(state.calls().len(), 5);
    state.reset();
    assert_eq!((state.token_requests(), state.calls().len()), (0, 0));
}
