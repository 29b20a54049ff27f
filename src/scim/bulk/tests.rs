use proptest::prelude::*;
use serde_json::json;

use super::*;

fn limits() -> Limits {
    let span = std::time::Duration::from_secs(1);
    Limits {
        connections: 1,
        header_timeout: span,
        request_timeout: span,
        body: 1 << 20,
        json_depth: 32,
        filter_length: 4_096,
        filter_depth: 16,
        patch_operations: 10,
        bulk_operations: 12,
        page: 10,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("no object: {other}"),
    }
}

fn read(body: Value) -> Result<Bulk, Fault> {
    Bulk::read(object(body), &limits())
}

/// The one operation of a Bulk.
fn one(operation: Value) -> Operation {
    let bulk = read(json!({ "Operations": [operation] })).unwrap();
    bulk.operations.into_iter().next().unwrap()
}

fn ids(ids: &[(&str, &str)]) -> HashMap<String, String> {
    let own = |(name, id): &(&str, &str)| ((*name).to_owned(), (*id).to_owned());
    ids.iter().map(own).collect()
}

fn names(task: &Task) -> Vec<String> {
    refer::names(task).into_iter().collect()
}

#[test]
fn a_request_of_another_shape_is_refused_whole() {
    let post = json!({"method": "POST", "path": "/Users", "bulkId": "a", "data": {}});
    for (body, wanted) in [
        (json!({}), "needs Operations"),
        (json!({"Operations": {}}), "needs Operations"),
        (json!({"Operations": [1]}), "is an object"),
        (
            json!({"Operations": [{"path": "/Users"}]}),
            "needs a method",
        ),
        (json!({"Operations": [{"method": 1}]}), "needs a method"),
        (
            json!({"Operations": [{"method": "POST", "bulkId": 1}]}),
            "bulkId is a string",
        ),
        (
            json!({"failOnErrors": -1, "Operations": []}),
            "failOnErrors",
        ),
        (
            json!({"failOnErrors": "few", "Operations": []}),
            "failOnErrors",
        ),
    ] {
        match read(body.clone()) {
            Err(Fault::InvalidSyntax(text)) => assert!(text.contains(wanted), "{body}: {text}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    let many = |count| json!({"Operations": vec![post.clone(); count]});
    assert_eq!(read(many(13)), Err(Fault::TooManyOperations(12)));
    assert_eq!(read(many(12)).unwrap().operations.len(), 12);
    for (given, taken) in [
        (json!(null), None),
        (json!(0), Some(1)),
        (json!(3), Some(3)),
        (json!("2"), Some(2)),
    ] {
        let bulk = read(json!({"operations": [], "FailOnErrors": given})).unwrap();
        assert_eq!(bulk.fail_on_errors, taken);
    }
}

#[test]
fn what_is_wrong_with_one_operation_is_its_own_failure() {
    let wrong = |operation: Value| {
        one(operation.clone())
            .task
            .expect_err(&operation.to_string())
    };
    for (operation, status) in [
        (json!({"method": "GET", "path": "/Users/1"}), 400),
        (json!({"method": "POST", "bulkId": "a", "data": {}}), 400),
        (
            json!({"method": "POST", "bulkId": "a", "path": "/Users"}),
            400,
        ),
        (
            json!({"method": "POST", "bulkId": "a", "path": "/Users", "data": "{}"}),
            400,
        ),
        (json!({"method": "POST", "path": "/Users", "data": {}}), 400),
        (
            json!({"method": "POST", "bulkId": "", "path": "/Users", "data": {}}),
            400,
        ),
        (
            json!({"method": "PUT", "path": "/Users/1", "version": 1, "data": {}}),
            400,
        ),
        (
            json!({"method": "POST", "bulkId": "a", "path": "/Bulk", "data": {}}),
            400,
        ),
        (json!({"method": "DELETE", "path": "/Schemas/urn:x"}), 400),
        (
            json!({"method": "POST", "bulkId": "a", "path": "/Users/1", "data": {}}),
            405,
        ),
        (json!({"method": "DELETE", "path": "/Users"}), 405),
        (json!({"method": "DELETE", "path": "/Devices/1"}), 404),
        (
            json!({"method": "DELETE", "path": "/Users/../Groups/1"}),
            404,
        ),
    ] {
        let fault = wrong(operation.clone());
        assert_eq!(fault.status(), status, "{operation}: {fault:?}");
    }
    let twice = json!({"method": "POST", "path": "/Users", "bulkId": "a", "data": {}});
    let other = json!({"method": "PATCH", "path": "/Users/1", "bulkId": "a", "data": {}});
    let bulk = read(json!({"Operations": [twice, other, twice]})).unwrap();
    let failed: Vec<bool> = bulk
        .operations
        .iter()
        .map(|one| one.task.is_err())
        .collect();
    assert_eq!(failed, [true, false, true]);
}

#[test]
fn paths_are_relative_or_whole_locations() {
    let target = |path: &str| {
        let task = one(json!({"method": "delete", "path": path})).task.unwrap();
        (task.kind, task.id)
    };
    for path in [
        "/Users/a%26b",
        "Users/a%26b",
        " /users/a%26b/ ",
        "/scim/v2/Users/a%26b",
        "https://h.example/scim/v2/Users/a%26b",
        "http://127.0.0.1:8080/Users/a%26b?attributes=id",
    ] {
        assert_eq!(target(path), (Kind::User, String::from("a&b")), "{path}");
    }
    assert_eq!(
        target("/Groups/bulkId:g"),
        (Kind::Group, String::from("bulkId:g"))
    );
}

#[test]
fn references_are_found_and_filled_in_wherever_they_stand() {
    let mut task = one(json!({"method": "patch", "path": "/Groups/bulkId:g", "version": "W/\"1\"", "data": {"operations": [
        {"op": "add", "path": "members", "value": [{"value": "bulkId:u"}, "bulkId:v", "plain"]},
        {"op": "remove", "Path": "members[value eq \"bulkId:w\\\"\\u0041\" or value eq \"bulkId\"]"},
        {"op": "replace", "path": "displayName", "value": "not a bulkId:x, and neither \"bulkId:y\""},
    ]}}))
    .task
    .unwrap();
    assert_eq!(names(&task), ["g", "u", "v", "w\"A"]);
    let known = ids(&[("g", "1"), ("u", "2"), ("v", "3"), ("w\"A", "4\"")]);
    for missing in ["g", "u", "v", "w\"A"] {
        let mut known = known.clone();
        known.remove(missing);
        let fault = refer::resolve(&mut task.clone(), &known).unwrap_err();
        assert_eq!((fault.status(), fault.scim_type()), (409, None));
    }
    refer::resolve(&mut task, &known).unwrap();
    assert_eq!(task.id, "1");
    assert_eq!(
        Value::Object(task.data.clone()),
        json!({"operations": [
            {"op": "add", "path": "members", "value": [{"value": "2"}, "3", "plain"]},
            {"op": "remove", "Path": "members[value eq \"4\\\"\" or value eq \"bulkId\"]"},
            {"op": "replace", "path": "displayName", "value": "not a bulkId:x, and neither \"bulkId:y\""},
        ]})
    );
    assert!(names(&task).is_empty());
    let write = task.write(&limits()).unwrap();
    assert_eq!(write.if_match.as_deref(), Some("W/\"1\""));
    assert_eq!(write.verb.id(), Some("1"));
}

#[test]
fn what_may_rename_is_known() {
    let task = |method: &str, path: &str, data: Value| {
        let operation = json!({"method": method, "path": path, "bulkId": "a", "data": data});
        one(operation).task.unwrap()
    };
    let patch = |path: &str, operation: Value| {
        task("PATCH", path, json!({ "Operations": [operation] })).may_rename()
    };
    assert!(!task("POST", "/Users", json!({"userName": "a"})).may_rename());
    assert!(!task("DELETE", "/Users/1", json!({})).may_rename());
    assert!(task("PUT", "/Users/1", json!({})).may_rename());
    for (path, operation, wanted) in [
        (
            "/Users/1",
            json!({"op": "add", "path": "USERNAME", "value": 1}),
            true,
        ),
        (
            "/Users/1",
            json!({"op": "add", "value": {"urn:x:User:userName": 1}}),
            true,
        ),
        (
            "/Users/1",
            json!({"op": "add", "value": {"displayName": "a"}}),
            false,
        ),
        (
            "/Groups/1",
            json!({"op": "add", "value": {"DisplayName": "a"}}),
            true,
        ),
        (
            "/Groups/1",
            json!({"op": "add", "path": "members", "value": [{"value": "2"}]}),
            false,
        ),
    ] {
        assert_eq!(patch(path, operation.clone()), wanted, "{path} {operation}");
    }
    let delta = json!({"displayName": "a", "members": []});
    assert!(task("PATCH", "/Groups/1", delta).may_rename());
}

#[test]
fn a_path_with_half_a_string_is_left_alone() {
    for path in [
        "members[value eq \"bulkId:x",
        "\"bulkId:x\\\"",
        "\"",
        "a\"b\"c\"",
    ] {
        let task = one(
            json!({"method": "PATCH", "path": "/Groups/1", "data": {"Operations": [{"op": "remove", "path": path}]}}),
        );
        let mut task = task.task.unwrap();
        let before = task.clone();
        assert!(names(&task).is_empty(), "{path}");
        refer::resolve(&mut task, &HashMap::new()).unwrap();
        assert_eq!(task, before);
    }
}

#[test]
fn what_waits_is_held_back_and_patched_in() {
    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let mut task = one(
        json!({"method": "POST", "path": "/Users", "bulkId": "a", "data": {
            "userName": "a", "title": "bulkId:there", "x": [1, {"y": ["bulkId:b"]}],
            ENTERPRISE: {"department": "R&D", "manager": {"value": "bulkId:b"}}
        }}),
    )
    .task
    .unwrap();
    let mut held = refer::hold_back(&mut task, |name| name == "b");
    assert_eq!(
        Value::Object(task.data),
        json!({"userName": "a", "title": "bulkId:there", ENTERPRISE: {"department": "R&D"}})
    );
    refer::fill(&mut held, &ids(&[("b", "2")])).unwrap();
    let [operation] = &*refer::afterwards(Kind::User, held) else {
        panic!("one operation");
    };
    assert_eq!(operation.op, patch::Op::Replace);
    assert_eq!(
        operation.value,
        Some(json!({"x": [1, {"y": ["2"]}], ENTERPRISE: {"manager": {"value": "2"}}}))
    );

    let mut task = one(
        json!({"method": "POST", "path": "/Groups", "bulkId": "g", "data": {
            "displayName": "g", "Members": [{"value": "bulkId:b"}, {"value": "1"}, "bulkId:there"]
        }}),
    )
    .task
    .unwrap();
    let held = refer::hold_back(&mut task, |name| name == "b");
    assert_eq!(
        Value::Object(task.data),
        json!({"displayName": "g", "Members": [{"value": "1"}, "bulkId:there"]})
    );
    let [operation] = &*refer::afterwards(Kind::Group, held) else {
        panic!("one operation");
    };
    assert_eq!(operation.op, patch::Op::Add);
    assert_eq!(operation.value, Some(json!([{"value": "bulkId:b"}])));
}

#[test]
fn an_answer_says_how_each_ended() {
    let answers = [
        Answer {
            method: "POST".into(),
            bulk_id: Some("a\"".into()),
            location: Some("http://h/scim/v2/Users/1".into()),
            version: Some("W/\"1\"".into()),
            ended: Ok(201),
        },
        Answer {
            method: "DELETE".into(),
            bulk_id: None,
            location: Some("http://h/scim/v2/Users/2".into()),
            version: None,
            ended: Err(Fault::NotFound("There is no such User.".into())),
        },
    ];
    let body: Value = serde_json::from_slice(&response(&answers)).unwrap();
    assert_eq!(
        body,
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"],
            "Operations": [
                {"method": "POST", "bulkId": "a\"", "location": "http://h/scim/v2/Users/1", "version": "W/\"1\"", "status": "201"},
                {"method": "DELETE", "location": "http://h/scim/v2/Users/2", "status": "404", "response": {
                    "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "404", "detail": "There is no such User."
                }}
            ]
        })
    );
}

/// Runs the turns of a Bulk of group POSTs and their PATCHes against a directory that is a map.
fn simulate(bulk: &Bulk) -> HashMap<String, Vec<String>> {
    let mut ids = HashMap::new();
    let mut directory: HashMap<String, Vec<String>> = HashMap::new();
    let members = |values: Option<&Value>| -> Vec<String> {
        let values = values.and_then(Value::as_array).into_iter().flatten();
        values
            .map(|one| one["value"].as_str().unwrap().to_owned())
            .collect()
    };
    for turn in order::turns(&bulk.operations) {
        let mut held_back = Vec::new();
        let circle: Vec<&str> = turn
            .operations
            .iter()
            .filter_map(|place| bulk.operations[*place].defines())
            .collect();
        for place in &turn.operations {
            let operation = &bulk.operations[*place];
            let mut task = operation.task.clone().unwrap();
            if let Some(name) = operation.defines() {
                let held = refer::hold_back(&mut task, |name| {
                    !ids.contains_key(name) && circle.contains(&name)
                });
                assert!(held.is_empty() || turn.circle);
                refer::resolve(&mut task, &ids).unwrap();
                let id = format!("id-{name}");
                directory.insert(id.clone(), members(task.data.get("members")));
                ids.insert(name.to_owned(), id.clone());
                held_back.push((id, held));
            } else {
                assert!(!turn.circle);
                refer::resolve(&mut task, &ids).unwrap();
                let added = members(task.data["Operations"][0].get("value"));
                directory.get_mut(&task.id).unwrap().extend(added);
            }
        }
        for (id, mut held) in held_back {
            refer::fill(&mut held, &ids).unwrap();
            for operation in refer::afterwards(Kind::Group, held) {
                directory
                    .get_mut(&id)
                    .unwrap()
                    .extend(members(operation.value.as_ref()));
            }
        }
    }
    directory
}

proptest! {
    /// Groups that refer to each other in any way, sent in any order, with PATCHes of them before and after: in the end
    /// each has the members that were said of it.
    #[test]
    fn any_graph_of_references_is_filled_in(
        graph in proptest::collection::vec(proptest::collection::btree_set(0_usize..6, 0..4), 1..6),
        patches in proptest::collection::vec((0_usize..6, 0_usize..6), 0..5),
        order in proptest::collection::vec(any::<u16>(), 12),
    ) {
        let groups = graph.len();
        let reference = |other: usize| json!({"value": format!("bulkId:{}", other % groups)});
        let mut operations: Vec<Value> = graph.iter().enumerate().map(|(at, others)| {
            let others: std::collections::BTreeSet<usize> = others.iter().map(|other| other % groups).collect();
            let members: Vec<Value> = others.into_iter().map(reference).collect();
            json!({"method": "POST", "path": "/Groups", "bulkId": at.to_string(), "data": {"displayName": at.to_string(), "members": members}})
        }).collect();
        let mut wanted: HashMap<String, Vec<String>> = graph.iter().enumerate().map(|(at, others)| {
            let others: std::collections::BTreeSet<usize> = others.iter().map(|other| other % groups).collect();
            (format!("id-{at}"), others.into_iter().map(|other| format!("id-{other}")).collect())
        }).collect();
        for (at, other) in &patches {
            let at = at % groups;
            operations.push(json!({"method": "PATCH", "path": format!("/Groups/bulkId:{at}"), "data": {"Operations": [
                {"op": "add", "path": "members", "value": [reference(*other)]}
            ]}}));
            wanted.get_mut(&format!("id-{at}")).unwrap().push(format!("id-{}", other % groups));
        }
        let mut order = order.into_iter();
        operations.sort_by_cached_key(|_| order.next());
        let bulk = read(json!({ "Operations": operations })).unwrap();
        let mut reached = simulate(&bulk);
        for members in reached.values_mut().chain(wanted.values_mut()) {
            members.sort_unstable();
        }
        prop_assert_eq!(reached, wanted);
    }

    /// No body panics, and what is left to run has an answer's place.
    #[test]
    fn any_operation_is_read_or_refused(method in "[A-Za-z]{0,6}", path in "[/A-Za-z:.%?]{0,20}", bulk_id in proptest::option::of("[a-c]?"), value in "(bulkId:)?[a-c\"\\\\]{0,4}") {
        let operation = json!({"method": method, "path": path, "bulkId": bulk_id, "data": {"Operations": [{"op": "add", "path": value, "value": value}]}});
        if let Ok(bulk) = read(json!({"Operations": [operation, operation]})) {
            let turns = order::turns(&bulk.operations);
            prop_assert_eq!(turns.iter().map(|turn| turn.operations.len()).sum::<usize>(), 2);
        }
    }
}
