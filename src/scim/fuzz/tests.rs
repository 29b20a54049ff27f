//! The targets without a fuzzer: hostile inputs, and seeds that a small generator of random numbers spoils.

use super::*;
use crate::spoil::storm;

#[test]
fn hostile_inputs_break_no_promise() {
    let operation = |path: &str, value: &str| {
        format!(
            r#"{{"Operations":[{{"op":"add","path":{},"value":{value}}}]}}"#,
            value!(path)
        )
    };
    let inputs = [
        "(".repeat(12_000),
        "not(".repeat(12_000),
        "a[".repeat(12_000),
        "[".repeat(12_000),
        "{\"a\":".repeat(12_000),
        "a pr and ".repeat(12_000),
        format!("{}a pr{}", "(".repeat(16), ")".repeat(16)),
        format!("a eq \"{}\"", "\\u0000".repeat(600)),
        "a eq \"\\\"".into(),
        "a eq -0 or b eq 1e308 or c eq 123456789012345678901234567890".into(),
        "urn:a:b eq \u{130}".into(),
        "emails[not (type eq \"x\")].value".into(),
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User".into(),
        operation("emails[type eq \"x\" or type eq \"y\"].value", "1"),
        operation("emails[value eq \"v\"].value", "\"w\""),
        operation("urn:x:1.0:User", "{\"a\":{\"b\":null}}"),
        operation("tags[value eq \"x\"].foo", "null"),
        operation("own.a.b", "1"),
        operation("schemas", "[]"),
        r#"{"Operations":[{"op":"add","value":{"urn:ietf:params:scim:schemas:core:2.0:User":{"urn:ietf:params:scim:schemas:core:2.0:User":{"title":null}}}}]}"#.into(),
        r#"{"Operations":[{"op":"add","value":{"password.x":1,"PASSWORD":2,"":3,"urn:":{},"urn:a":{"":1},"[":[]}}]}"#.into(),
        r#"{"Operations":[{"op":"add","value":{"own":{"password":1},"urn:x:1.0:User:Password":"x","a.password":2}},{"op":"add","path":"urn:x:1.0:User","value":{"b":[{"PASSWORD":1}]}}]}"#.into(),
        r#"{"members":[{"value":"a","operation":"delete"},"b",{"value":"b","operation":"DELETE"}]}"#.into(),
        "[1e-320,0.1,-0.0,18446744073709551615,\"\\ud83d\\ude00\"]".into(),
    ];
    for input in inputs {
        for target in [filter, path, patch, json] {
            target(input.as_bytes());
        }
    }
    json(b"\xff\xfe");
    filter(b"\xc3");
}

const FILTERS: &[&str] = &[
    "userName eq \"a@example.com\"",
    "emails[type eq \"work\" and value co \"@example.com\"].value pr",
    "not (active eq true) or meta.lastModified gt \"2011-05-13T04:42:34Z\"",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value sw \"m\"",
    "title pr and userType ne \"Employee\" or (name.familyName ew \"F\" and x le 3.5)",
];

const PATHS: &[&str] = &[
    "members",
    "emails[type eq \"work\"].value",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.$ref",
    "urn:ietf:params:scim:schemas:core:2.0:User",
    "addresses[not (country eq \"GB\")]",
];

const PATCHES: &[&str] = &[
    r#"{"Operations":[{"op":"Add","path":"emails[type eq \"work\"].value","value":"n"},{"op":"replace","value":{"name.givenName":"G","active":"False"}}]}"#,
    r#"{"schemas":["x"],"Operations":[{"op":"remove","path":"members[value eq \"a\"]"},{"op":"add","path":"members","value":[{"value":"b"}]}]}"#,
    r#"{"Operations":[{"op":"replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":{"value":""}}]}"#,
    r#"{"members":[{"value":"a","operation":"delete"},{"value":"b"}],"displayName":"D"}"#,
    r#"{"Operations":[{"op":"remove","path":"tags","value":["x"]},{"op":"add","path":"own.a","value":[1,{"b":null}]}]}"#,
];

const REQUESTS: &[&str] = &[
    "GET /Users?filter=userName%20eq%20%22a%40example.com%22&startIndex=2&count=3&sortBy=name.familyName&sortOrder=descending",
    "GET /?count=0&cursor=&attributes=userName,emails.value",
    "HEAD /Groups/00000000-0000-7000-8000-000000000000?excludedAttributes=members",
    "POST /.search\n{\"filter\":\"meta.resourceType eq \\\"Group\\\"\",\"count\":\"5\",\"startIndex\":null,\"cursor\":\"AAAA\",\"sortBy\":\"id\"}",
    "POST /Groups/.search\n{\"attributes\":[\"displayName\"],\"SORTORDER\":\"Ascending\",\"count\":-1}",
    "PATCH /Users/a%26b?attributes=id\n{\"Operations\":[{\"op\":\"add\",\"path\":\"emails[primary eq true].value\",\"value\":\"x\"}]}",
    "PATCH /Groups/g\n{\"members\":[{\"value\":\"a\",\"operation\":\"delete\"}]}",
    "PUT /users/1\n{\"schemas\":[],\"userName\":\"a\",\"emails\":{\"value\":\"v\"}}",
    "POST /Bulk\n{\"failOnErrors\":1,\"Operations\":[{\"method\":\"POST\",\"path\":\"/Users\",\"bulkId\":\"q\",\"data\":{\"userName\":\"bulkId:q\"}}]}",
    "DELETE /Users/1",
    "OPTIONS /ServiceProviderConfig",
    "GET /Users/1?attributes=id\nHost: h\nAuthorization: Bearer fuzz\nIf-None-Match: W/\"1\"\n",
    "PUT /Groups/1\nHost: h:80\nAuthorization: bearer  fuzz \nIf-Match: *\nContent-Type: application/scim+json\nExpect: 100-continue\n\n{\"displayName\":\"G\"}",
    "GET /Users\nHost: h\nAuthorization: Bearer,fuzz\n",
    "GET /Users\nHost: h\nAuthorization: Bearer\tfuzz\n",
    "DELETE /Users/1\nHost: h\nIf-Match: W/\"7-1a\"\nTransfer-Encoding: chunked\nUpgrade: h2c\n",
    "GET /Schemas/urn:ietf:params:scim:schemas:core:2.0:User?filter=",
    "GET /ResourceTypes?filter=name%20eq%20%22User%22",
    "POST /Me\n{}",
];

/// Spelled in as many ways as JSON has.
const JSONS: &[&str] = &[
    r#"{"a":[1,-2.5e3,{"b":null}],"A ":"\u00e4\\\"","c":{"d":{"e":[[]]}}}"#,
    "[[[0]],{},\"\",true , false\t,null\r\n]",
    r#"{"a":1,"\u0041":2}"#,
    "[0,1,2,3,4,5,6,7,8,9,10]",
    "\"text: [not, a] {list}\"",
    "-0.0e-0",
];

const PROJECTIONS: &[&str] = &[
    "userName, emails.value,urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
    "\nname.givenName,tags,urn:ietf:params:scim:schemas:core:2.0:User:title",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User\ndepartment",
    "emails,displayName,OWN.a\nemails.type,id,schemas",
    "password,urn:x:1.0:User,members.value,meta.version\nurn:x:1.0:User:a",
];

const CURSORS: &[&str] = &[
    "\u{1}\u{2}A",
    "\0\0_person.0000001@example.com\0\0\0\0\0\u{1}",
    "AQAAAAAAAAAAAA",
    "\u{7f}~-",
];

const BULKS: &[&str] = &[
    r#"{"failOnErrors":1,"Operations":[{"method":"POST","path":"/Groups","bulkId":"g","data":{"displayName":"G","members":[{"value":"bulkId:u"}]}},{"method":"post","path":"/Users","bulkId":"u","data":{"userName":"u"}}]}"#,
    r#"{"Operations":[{"method":"POST","path":"/Groups","bulkId":"a","data":{"displayName":"A","members":[{"value":"bulkId:b"},{"value":"x"}]}},{"method":"POST","path":"/Groups","bulkId":"b","data":{"displayName":"B","members":[{"value":"bulkId:a"}]}},{"method":"DELETE","path":"/Users/1","version":"W/\"1\""}]}"#,
    r#"{"Operations":[{"method":"PATCH","path":"/Groups/bulkId:g","data":{"Operations":[{"op":"remove","path":"members[value eq \"bulkId:u\"]"},{"op":"add","path":"members","value":[{"value":"bulkId:u"}]}]}},{"method":"POST","path":"/Groups","bulkId":"g","data":{"displayName":"G"}},{"method":"PUT","path":"/Users/1","data":{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"manager":{"value":"bulkId:u"}}}}]}"#,
    r#"{"Operations":[{"method":"POST","path":"/Users","bulkId":"u","data":{"manager":"bulkId:u","x":[{"y":"bulkId:z"}]}},{"method":"POST","path":"/Users","bulkId":"u","data":{}}]}"#,
];

#[test]
fn spoiled_filters_break_no_promise() {
    storm(filter, FILTERS);
}

#[test]
fn spoiled_paths_break_no_promise() {
    storm(path, PATHS);
}

#[test]
fn spoiled_patches_break_no_promise() {
    storm(patch, PATCHES);
    storm(json, PATCHES);
}

#[test]
fn spoiled_json_breaks_no_promise() {
    let deep = format!("{}0{}", "[".repeat(32), "]".repeat(32));
    let keys: Vec<String> = (0..256).map(|key| format!("\"k{key}\":0")).collect();
    let many = format!("{{{}}}", keys.join(","));
    let long = format!("[\"{}\"]", "a".repeat(16 * 1024));
    let seeds = [JSONS, &[&deep, &many, &long]].concat();
    storm(json, &seeds);
}

#[test]
fn spoiled_projections_break_no_promise() {
    storm(projection, PROJECTIONS);
}

#[test]
fn spoiled_cursors_break_no_promise() {
    storm(cursor, CURSORS);
}

#[test]
fn spoiled_bulks_break_no_promise() {
    storm(bulk, BULKS);
}

#[test]
fn spoiled_requests_break_no_promise() {
    storm(request, REQUESTS);
}
