//! The limits of a request: a request of any size for each, and what is said of it.

use serde_json::{Value, json};

use crate::house::TOKEN;

/// One request.
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) target: String,
    /// Header lines beside Host, Authorization and those of the body.
    pub(super) lines: String,
    pub(super) body: Vec<u8>,
    pub(super) chunked: bool,
}

impl Ask {
    fn get(target: impl Into<String>) -> Self {
        let (target, lines, body) = (target.into(), String::new(), Vec::new());
        Self {
            method: "GET",
            target,
            lines,
            body,
            chunked: false,
        }
    }

    fn with(method: &'static str, target: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method,
            body: body.into(),
            ..Self::get(target)
        }
    }

    /// A search, whose body may hold anything under `x`.
    fn search(x: &str) -> Self {
        Self::with(
            "POST",
            "/Users/.search",
            format!("{{\"count\":0,\"x\":{x}}}"),
        )
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self {
            method,
            target,
            lines,
            body,
            chunked,
        } = self;
        let mut bytes = format!("{method} /scim/v2{target} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n{lines}").into_bytes();
        if !body.is_empty() {
            bytes.extend_from_slice(b"Content-Type: application/scim+json\r\n");
        }
        if *chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(10_000) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// A limit: how much it lets through, a request of a given size, and what is said at n and at n + 1.
pub(super) struct Limit<'a> {
    pub(super) name: &'a str,
    pub(super) n: usize,
    pub(super) ask: Box<dyn Fn(usize) -> Ask + 'a>,
    pub(super) met: u16,
    pub(super) over: u16,
    pub(super) scim_type: Option<&'a str>,
}

fn limit<'a>(
    name: &'a str,
    n: usize,
    met: u16,
    (over, scim_type): (u16, &'a str),
    ask: impl Fn(usize) -> Ask + 'a,
) -> Limit<'a> {
    let scim_type = (!scim_type.is_empty()).then_some(scim_type);
    Limit {
        name,
        n,
        ask: Box::new(ask),
        met,
        over,
        scim_type,
    }
}

/// Bytes of Host and Authorization as the gateway counts them, with four more a line, and of the length of no body.
fn head() -> usize {
    ("host".len() + 1 + 4)
        + ("authorization".len() + "Bearer ".len() + TOKEN.len() + 4)
        + ("content-length".len() + 1 + 4)
}

fn patch(operations: &Value) -> Vec<u8> {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
        .to_string()
        .into_bytes()
}

pub(super) fn user(name: &str) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "name": {"givenName": "A", "familyName": "B"}})
}

pub(super) fn limits(id: &str) -> Vec<Limit<'_>> {
    let a = |n: usize| "a".repeat(n);
    let one = format!("/Users/{id}");
    let (patched, pathed, deep) = (one.clone(), one.clone(), one.clone());
    let create = |name: &str, n: usize| {
        let mut body = user(name).to_string().into_bytes();
        body.resize(n, b' ');
        Ask::with("POST", "/Users", body)
    };
    let path = |to: &str, path: String| {
        let operation = json!([{"op": "replace", "path": path, "value": "x"}]);
        Ask::with("PATCH", to, patch(&operation))
    };
    let filter = |text: String| {
        Ask::get(format!(
            "/Users?count=0&filter={}",
            text.replace(' ', "+").replace('"', "%22")
        ))
    };
    vec![
        limit("head, bytes", 16_384, 200, (431, ""), move |n| Ask {
            lines: format!("X: {}\r\n", a(n - head() - 5)),
            ..Ask::get("/Users?count=0")
        }),
        limit("head, lines", 64, 200, (431, ""), |n| Ask {
            lines: "X: a\r\n".repeat(n - 3),
            ..Ask::get("/Users?count=0")
        }),
        limit(
            "If-Match, as long as a head may be",
            16_384,
            412,
            (431, ""),
            move |n| Ask {
                method: "DELETE",
                lines: format!("If-Match: {}\r\n", a(n - head() - 12)),
                ..Ask::get(&one)
            },
        ),
        limit("target", 8_192, 200, (414, ""), move |n| {
            Ask::get(format!(
                "/Users?count=0&x={}",
                a(n - "/scim/v2/Users?count=0&x=".len())
            ))
        }),
        limit("body", 1_048_576, 201, (413, ""), move |n| {
            create("length@example.com", n)
        }),
        limit("body in chunks", 1_048_576, 201, (413, ""), move |n| Ask {
            chunked: true,
            ..create("chunks@example.com", n)
        }),
        limit("JSON, depth", 32, 200, (400, "invalidSyntax"), |n| {
            Ask::search(&("[".repeat(n - 1) + &"]".repeat(n - 1)))
        }),
        limit("JSON, values", 50_000, 200, (400, "invalidSyntax"), |n| {
            Ask::search(&format!("[{}0]", "0,".repeat(n - 4)))
        }),
        limit("JSON, keys", 256, 200, (400, "invalidSyntax"), |n| {
            let keys: Vec<String> = (0..n).map(|at| format!("\"{at}\":0")).collect();
            Ask::search(&format!("{{{}}}", keys.join(",")))
        }),
        limit(
            "JSON, keys that are equal but for their case",
            1,
            200,
            (400, "invalidSyntax"),
            |n| {
                Ask::search(if n == 1 {
                    "{\"key\":1}"
                } else {
                    "{\"key\":1,\"KEY\":1}"
                })
            },
        ),
        limit(
            "JSON, text",
            16_384,
            200,
            (400, "invalidSyntax"),
            move |n| Ask::search(&format!("\"{}\"", a(n))),
        ),
        limit("JSON, key", 16_384, 200, (400, "invalidSyntax"), move |n| {
            Ask::search(&format!("{{\"{}\":0}}", a(n)))
        }),
        limit(
            "filter, bytes",
            4_096,
            200,
            (400, "invalidFilter"),
            move |n| {
                filter(format!(
                    "userName eq \"{}\"",
                    a(n - "userName eq \"\"".len())
                ))
            },
        ),
        limit(
            "filter in a body, bytes",
            4_096,
            200,
            (400, "invalidFilter"),
            move |n| {
                let filter = format!("userName eq \"{}\"", a(n - "userName eq \"\"".len()));
                Ask::with(
                    "POST",
                    "/Users/.search",
                    json!({"filter": filter}).to_string(),
                )
            },
        ),
        limit("filter, depth", 16, 200, (400, "invalidFilter"), move |n| {
            filter(format!("{}active eq true{}", "(".repeat(n), ")".repeat(n)))
        }),
        limit("filter, terms", 64, 200, (400, "invalidFilter"), move |n| {
            filter(vec!["active eq true"; n].join(" or "))
        }),
        limit(
            "PATCH, operations",
            1_000,
            200,
            (400, "invalidSyntax"),
            move |n| {
                let operations =
                    vec![json!({"op": "replace", "path": "displayName", "value": "x"}); n];
                Ask::with("PATCH", &patched, patch(&json!(operations)))
            },
        ),
        // A filter that is read and matches nobody, and one that is not read.
        limit("PATCH, path", 4_096, 400, (400, "invalidPath"), move |n| {
            path(
                &pathed,
                format!(
                    "emails[value eq \"{}\"]",
                    a(n - "emails[value eq \"\"]".len())
                ),
            )
        }),
        limit(
            "PATCH, depth of a path's filter",
            16,
            400,
            (400, "invalidPath"),
            move |n| {
                path(
                    &deep,
                    format!("emails[{}value eq \"x\"{}]", "(".repeat(n), ")".repeat(n)),
                )
            },
        ),
        limit("Bulk, operations", 1_000, 200, (413, ""), |n| {
            let operations = vec![json!({"method": "DELETE", "path": "/Users/nobody"}); n];
            Ask::with(
                "POST",
                "/Bulk",
                json!({"Operations": operations}).to_string(),
            )
        }),
        limit("attributes", 200, 200, (400, "invalidValue"), |n| {
            Ask::get(format!(
                "/Users?count=0&attributes={}",
                vec!["a"; n].join(",")
            ))
        }),
        limit("excludedAttributes", 200, 200, (400, "invalidValue"), |n| {
            Ask::with(
                "POST",
                "/Users/.search",
                json!({"excludedAttributes": vec!["a"; n]}).to_string(),
            )
        }),
        // None of ours is that long; a longer text is not even looked at.
        limit("cursor", 16_384, 400, (400, "invalidSyntax"), move |n| {
            Ask::with(
                "POST",
                "/Users/.search",
                json!({"cursor": a(n)}).to_string(),
            )
        }),
        limit("sortBy", 16_384, 200, (400, "invalidSyntax"), move |n| {
            Ask::with(
                "POST",
                "/Users/.search",
                json!({"count": 0, "sortBy": a(n)}).to_string(),
            )
        }),
    ]
}
