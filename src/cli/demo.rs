//! `usher demo`: sandbox and gateway in one process on loopback, and a short day of an identity provider over real HTTP.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{FAILURE, complain, say, token};
use crate::clock::Clock;
use crate::config;
use crate::journal::report::Query;
use crate::journal::table;
use crate::sandbox::{Options, Sandbox};
use crate::serve::Serving;

/// `usher demo`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Everything stays on loopback; the data file is in a temporary folder that goes when the demo ends.\n\nExample:\n  usher demo --once"
)]
pub struct Args {
    /// End after the report instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,
}

/// Plays the demo. Exit code 0 if everything went as it should.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let folder = std::env::temp_dir().join(format!("usher-demo-{}", std::process::id()));
    let played = std::fs::create_dir_all(&folder)
        .map_err(|why| format!("{}: {why}", folder.display()))
        .and_then(|()| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|why| why.to_string())?;
            runtime.block_on(demo(&args, &folder))
        });
    // The folder is ours alone; what cannot be removed now goes with the next boot.
    let _gone = std::fs::remove_dir_all(&folder);
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&format!("usher demo: {why}\n"));
            ExitCode::from(FAILURE)
        }
    }
}

/// Sandbox and gateway, on free ports.
async fn stand(folder: &Path, bearer: &str) -> Result<(Sandbox, Serving), String> {
    let sandbox =
        Sandbox::start(Options::default()).map_err(|why| format!("the sandbox: {why}"))?;
    let hash: String = crate::auth::hash(bearer.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[log]
level = "warn"
[[client]]
name = "demo-idp"
token_sha256 = ["{hash}"]
[[application]]
name = "zoom"
profile = "zoom"
base_url = "{}"
credentials = {{ kind = "bearer", token = {{ env = "SANDBOX_TOKEN" }} }}
authorized_domains = ["example.com"]
"#,
        sandbox.base_url()
    );
    let secret = sandbox.token().to_owned();
    let origin: PathBuf = folder.join("usher.toml");
    let config = config::parse(&text, &origin, &|_| Some(secret.clone())).map_err(|problems| {
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    let _level = super::log::start(&config.log);
    let mut serving = Serving::start(config, Clock::system(), false)
        .await
        .map_err(|why| why.to_string())?;
    serving.ready().await.map_err(|why| why.to_string())?;
    Ok((sandbox, serving))
}

async fn demo(args: &Args, folder: &Path) -> Result<(), String> {
    let bearer = token::fresh().map_err(|why| format!("no random bytes: {why}"))?;
    let (sandbox, serving) = stand(folder, &bearer).await?;
    let base = format!("http://{}/scim/v2", serving.address);
    say(&format!(
        "SCIM base URL  {base}\nToken          {bearer}\nZoom sandbox   {}\n\nTry:\n  \
         curl -H 'Authorization: Bearer {bearer}' {base}/Users\n  \
         curl -H 'Authorization: Bearer {bearer}' -H 'Content-Type: application/scim+json' -d '{{\"userName\":\"you@example.com\",\"name\":{{\"givenName\":\"You\",\"familyName\":\"There\"}}}}' {base}/Users\n  \
         curl -G -H 'Authorization: Bearer {bearer}' --data-urlencode 'filter=userName eq \"you@example.com\"' {base}/Users\n\n",
        sandbox.base_url()
    ));
    day(&Idp::new(base, bearer)).await?;

    let engine = serving.gateway.engine().ok_or("the gateway is not ready")?;
    let query = Query {
        limit: 100,
        ..Query::default()
    };
    let rows = engine
        .store
        .view()
        .and_then(|view| view.journal(&query))
        .map_err(|why| why.to_string())?;
    say(&format!(
        "\nThe provisioning report of it, newest first:\n{}",
        table::table(&rows)
    ));

    if !args.once {
        say("\nServing on. Ctrl-C ends it.\n");
        let mut terminate = signal(SignalKind::terminate()).map_err(|why| why.to_string())?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended.map_err(|why| why.to_string())?,
            _ = terminate.recv() => {}
        }
    }
    let drained = serving.drain().await;
    sandbox.stop().await;
    if drained.whole {
        Ok(())
    } else {
        Err(String::from("not everything was finished in time"))
    }
}

/// What an IdP does on an ordinary day. Each step says what it expects, and fails the demo if it is otherwise.
async fn day(idp: &Idp) -> Result<(), String> {
    say("A short day of an identity provider:\n");
    let jane = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "jane@example.com", "externalId": "00u1",
        "name": {"givenName": "Jane", "familyName": "Doe"}, "emails": [{"value": "jane@example.com", "type": "work", "primary": true}],
        "active": true
    });
    let created = idp
        .step("Jane joins", Method::POST, "/Users", Some(&jane), 201)
        .await?;
    let id = created["id"]
        .as_str()
        .ok_or("the created user has no id")?
        .to_owned();
    let path = format!("/Users/{id}");
    let found = idp
        .step(
            "she is looked up",
            Method::GET,
            "/Users?filter=userName%20eq%20%22JANE@example.com%22",
            None,
            200,
        )
        .await?;
    if found["totalResults"] != 1 {
        return Err(String::from("the look-up did not find Jane"));
    }
    let mut renamed = jane.clone();
    renamed["name"]["familyName"] = json!("Roe");
    idp.step("she marries", Method::PUT, &path, Some(&renamed), 200)
        .await?;
    let guest = json!({"userName": "guest@elsewhere.example", "name": {"givenName": "Guest", "familyName": "Elsewhere"}});
    idp.step(
        "a guest of a foreign domain comes",
        Method::POST,
        "/Users",
        Some(&guest),
        201,
    )
    .await?;
    idp.step(
        "Jane is sent once more",
        Method::POST,
        "/Users",
        Some(&jane),
        409,
    )
    .await?;
    let off = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "value": {"active": false}}]});
    idp.step("Jane leaves", Method::PATCH, &path, Some(&off), 200)
        .await?;
    idp.step("she is deleted", Method::DELETE, &path, None, 204)
        .await?;
    Ok(())
}

struct Idp {
    base: String,
    bearer: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Idp {
    fn new(base: String, bearer: String) -> Self {
        Self {
            base,
            bearer,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    async fn step(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        want: u16,
    ) -> Result<Value, String> {
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {}", self.bearer))
            .header("content-type", "application/scim+json")
            .body(Full::new(Bytes::from(
                body.map_or_else(String::new, Value::to_string),
            )))
            .map_err(|why| why.to_string())?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|why| format!("{what}: {why}"))?;
        let status = answer.status().as_u16();
        let read = Limited::new(answer.into_body(), 4 << 20).collect().await;
        let bytes = read.map_err(|why| format!("{what}: {why}"))?.to_bytes();
        let shown = path.split('?').next().unwrap_or_default();
        say(&format!("  {what:<36} {method:<6} {shown:<44} {status}\n"));
        if status != want {
            return Err(format!(
                "{what}: wanted {want}, got {status}: {}",
                String::from_utf8_lossy(&bytes)
            ));
        }
        if bytes.is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice(&bytes).map_err(|why| format!("{what}: {why}"))
        }
    }
}
