//! The path of a create and of a read through the real binary: requests a second, latency, and CPU time a request.
//!
//! Gateway, stand-in for Zoom and client are three processes on loopback, so that the gateway's CPU time is its own. They
//! share the machine's cores, so requests a second is what all three together manage; CPU time a request is the gateway's.
//! Commits a second mean little without the disk's own rate of flushes, which is measured first.
//!
//! `cargo bench --bench gateway`, or `-- --quick` for a sixth of the time, or `-- read` for the cases with that word.

mod machine;
mod people;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener as Port};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use machine::{Failure, cpu_time, flush_rate, memory, percentile};
use people::{user, user_name};

const USHER: &str = env!("CARGO_BIN_EXE_usher");
const TOKEN: &str = "a-token-for-the-bench-and-for-nothing-else-1";
const SECRET: &str = "sandbox-token";
/// Connections at once, each with one request at a time.
const CONNECTIONS: [usize; 3] = [1, 8, 64];

/// What is configured behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    Simulated,
    Sandbox,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Create,
    Read,
    LookUp,
    List,
    Patch,
}

const CASES: [(&str, Behind, Ask); 9] = [
    ("create, no application", Behind::Nothing, Ask::Create),
    ("patch, no application", Behind::Nothing, Ask::Patch),
    ("read by id", Behind::Nothing, Ask::Read),
    ("look-up by userName", Behind::Nothing, Ask::LookUp),
    ("list, page of 100", Behind::Nothing, Ask::List),
    ("create, simulated", Behind::Simulated, Ask::Create),
    ("create, called inline", Behind::Sandbox, Ask::Create),
    ("patch, called inline", Behind::Sandbox, Ask::Patch),
    ("read by id, with account", Behind::Sandbox, Ask::Read),
];

fn main() -> Result<(), Failure> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let word = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let span = Duration::from_millis(if quick { 500 } else { 3_000 });
    // On the disk that the build is on: a temporary directory may be memory.
    let home =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("gateway-{}", std::process::id()));
    fs::create_dir_all(&home)?;
    // One thread: the client is to take as little of the machine as it can.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let word = word.map_or("", String::as_str);
    let result = runtime.block_on(run(&home, span, word, if quick { 300 } else { 2_000 }));
    fs::remove_dir_all(&home)?;
    result
}

async fn run(home: &Path, span: Duration, word: &str, users: u64) -> Result<(), Failure> {
    let flushes = flush_rate(home, span)?;
    println!("flush alone (4 KiB, fdatasync)   {flushes:.0} a second; a commit is two of them");
    println!(
        "a user as it is sent             {} bytes\n",
        user(1_234_567).to_string().len()
    );
    println!(
        "case                      connections  requests/s  p50 ms  p99 ms  CPU us/request  commits/s  requests/commit"
    );
    let mut resident = Vec::new();
    for behind in [Behind::Nothing, Behind::Simulated, Behind::Sandbox] {
        let chosen = |case: &&(&str, Behind, Ask)| case.1 == behind && case.0.contains(word);
        let cases: Vec<_> = CASES.iter().filter(chosen).collect();
        if cases.is_empty() {
            continue;
        }
        let gateway = Arc::new(Gateway::start(home, behind).await?);
        let idle = memory(&gateway.id(), "VmRSS")?;
        gateway.fill(users).await?;
        for (name, _, ask) in cases {
            for connections in CONNECTIONS {
                let measured = gateway.measure(*ask, connections, span).await?;
                println!("{name:<24}  {connections:>11}  {measured}");
            }
        }
        gateway.check_calls().await?;
        resident.push((
            behind,
            idle,
            memory(&gateway.id(), "VmRSS")?,
            gateway.created.load(Ordering::Relaxed),
        ));
    }
    println!("\nresident memory of the gateway");
    for (behind, idle, loaded, created) in resident {
        let users = format!("{created} users and their requests");
        println!("  {behind:<10?} idle {idle:>5.1} MiB, after {users} {loaded:>5.1} MiB");
    }
    Ok(())
}

/// A process of ours. Ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to do.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

struct Gateway {
    process: Process,
    sandbox: Option<(Process, SocketAddr)>,
    address: SocketAddr,
    socket: PathBuf,
    /// Users asked for so far; each has its number.
    created: AtomicU64,
    next: AtomicU64,
    /// The ids of the users that reads ask for.
    ids: std::sync::OnceLock<Vec<String>>,
}

impl Gateway {
    async fn start(home: &Path, behind: Behind) -> Result<Self, Failure> {
        let home = home.join(format!("{behind:?}").to_lowercase());
        fs::create_dir_all(&home)?;
        let sandbox = if behind == Behind::Sandbox {
            Some(sandbox()?)
        } else {
            None
        };
        let (address, admin) = (free_port()?, free_port()?);
        let application = |mode: &str, at: SocketAddr| {
            format!(
                "[[application]]\nname = \"zoom\"\nprofile = \"zoom\"\nmode = \"{mode}\"\nbase_url = \"http://{at}/scim2\"\n\
                 credentials = {{ kind = \"bearer\", token = {{ env = \"ZOOM_TOKEN\" }} }}\n\
                 [application.pace]\nlight = {{ per_second = 100000 }}\nmedium = {{ per_second = 100000 }}\nconcurrency = 64\n"
            )
        };
        let application = match (&sandbox, behind) {
            (Some((_, at)), _) => application("live", *at),
            (None, Behind::Simulated) => application("simulate", free_port()?),
            (None, _) => String::new(),
        };
        let hash: String = usher::auth::hash(TOKEN.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let config = home.join("usher.toml");
        let text = format!(
            "[server]\nlisten = \"{address}\"\n[admin]\nlisten = \"{admin}\"\n[log]\nlevel = \"warn\"\n\
             [[client]]\nname = \"bench\"\ntoken_sha256 = [\"{hash}\"]\nrate = {{ per_second = 1000000, burst = 1000000 }}\n{application}"
        );
        fs::write(&config, text)?;
        let child = Command::new(USHER)
            .args(["serve", "--config"])
            .arg(&config)
            .env("ZOOM_TOKEN", SECRET)
            .stdin(Stdio::null())
            .spawn()?;
        let mut process = Process(child);
        while !is_ready(admin).await {
            if let Some(ended) = process.0.try_wait()? {
                return Err(format!("the gateway did not start: {ended}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self {
            process,
            sandbox,
            address,
            socket: home.join("usher.sock"),
            created: AtomicU64::new(0),
            next: AtomicU64::new(0),
            ids: std::sync::OnceLock::new(),
        })
    }

    /// Creates the users that are read and patched later.
    async fn fill(self: &Arc<Self>, users: u64) -> Result<(), Failure> {
        let mut tasks = Vec::new();
        for _ in 0..8 {
            let gateway = Arc::clone(self);
            tasks.push(tokio::spawn(async move {
                let mut connection = connect(TcpStream::connect(gateway.address).await?).await?;
                let mut ids = Vec::new();
                while gateway.created.load(Ordering::Relaxed) < users {
                    let body = gateway.ask(&mut connection, Ask::Create).await?;
                    let user: Value = serde_json::from_slice(&body)?;
                    ids.push(
                        user["id"]
                            .as_str()
                            .ok_or("a user without an id")?
                            .to_owned(),
                    );
                }
                Ok::<_, Failure>(ids)
            }));
        }
        let mut ids = Vec::new();
        for task in tasks {
            ids.append(&mut task.await??);
        }
        self.ids.set(ids).map_err(|_| "filled twice")?;
        Ok(())
    }

    /// Asks over so many connections for so long.
    async fn measure(
        self: &Arc<Self>,
        ask: Ask,
        connections: usize,
        span: Duration,
    ) -> Result<Measured, Failure> {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            let mut connection = connect(TcpStream::connect(self.address).await?).await?;
            // The first request of a connection is not what is measured.
            self.ask(&mut connection, ask).await?;
            open.push(connection);
        }
        let (cpu, commits) = (cpu_time(&self.id())?, self.commits().await?);
        let started = Instant::now();
        let tasks: Vec<_> = open
            .into_iter()
            .map(|mut connection| {
                let gateway = Arc::clone(self);
                tokio::spawn(async move {
                    let mut waits = Vec::new();
                    while started.elapsed() < span {
                        let begun = Instant::now();
                        gateway.ask(&mut connection, ask).await?;
                        waits.push(begun.elapsed());
                    }
                    Ok::<_, Failure>(waits)
                })
            })
            .collect();
        let mut waits = Vec::new();
        for task in tasks {
            waits.append(&mut task.await??);
        }
        let elapsed = started.elapsed();
        let (cpu, commits) = (cpu_time(&self.id())? - cpu, self.commits().await? - commits);
        waits.sort_unstable();
        Ok(Measured {
            waits,
            elapsed,
            cpu,
            commits,
        })
    }

    /// One request. Fails unless the answer is what it should be.
    async fn ask(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        ask: Ask,
    ) -> Result<Bytes, Failure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // A step that shares no factor with the number of ids: neighbours in time are not neighbours on disk.
        let id = || -> Result<&str, Failure> {
            let ids = self
                .ids
                .get()
                .filter(|ids| !ids.is_empty())
                .ok_or("nobody to ask for")?;
            let at = usize::try_from(number)?.wrapping_mul(7_919) % ids.len();
            Ok(&ids[at])
        };
        let (method, path, body, want) = match ask {
            Ask::Create => {
                let number = self.created.fetch_add(1, Ordering::Relaxed);
                (
                    Method::POST,
                    String::from("Users"),
                    user(number).to_string(),
                    201,
                )
            }
            Ask::Read => (Method::GET, format!("Users/{}", id()?), String::new(), 200),
            Ask::LookUp => {
                let known = u64::try_from(self.ids.get().map_or(1, Vec::len))?;
                let name = user_name(number.wrapping_mul(7_919) % known).replace('@', "%40");
                let path = format!("Users?filter=userName%20eq%20%22{name}%22");
                (Method::GET, path, String::new(), 200)
            }
            Ask::List => {
                let from = number.wrapping_mul(101) % 150 + 1;
                (
                    Method::GET,
                    format!("Users?startIndex={from}&count=100"),
                    String::new(),
                    200,
                )
            }
            Ask::Patch => {
                let patch = json!({
                    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                    "Operations": [{ "op": "replace", "path": "displayName", "value": format!("Person {number}") }]
                });
                (
                    Method::PATCH,
                    format!("Users/{}", id()?),
                    patch.to_string(),
                    200,
                )
            }
        };
        let (status, body) = send(
            connection,
            method,
            &format!("/scim/v2/{path}"),
            Bytes::from(body),
        )
        .await?;
        let found =
            ask != Ask::LookUp || body.windows(17).any(|part| part == b"\"totalResults\":1,");
        if status != want || !found {
            return Err(format!("{ask:?}: {status} {}", String::from_utf8_lossy(&body)).into());
        }
        Ok(body)
    }

    /// Every user has been created in the application: what was measured was calls, not a queue.
    async fn check_calls(&self) -> Result<(), Failure> {
        let Some((_, at)) = &self.sandbox else {
            return Ok(());
        };
        let mut connection = connect(TcpStream::connect(at).await?).await?;
        let (_, body) = send(
            &mut connection,
            Method::GET,
            "/control/counts",
            Bytes::new(),
        )
        .await?;
        let counts: Value = serde_json::from_slice(&body)?;
        let (there, created) = (
            &counts["POST"]["statuses"]["201"],
            self.created.load(Ordering::Relaxed),
        );
        if there.as_u64() != Some(created) {
            return Err(
                format!("{created} users were created, and in the sandbox: {counts}").into(),
            );
        }
        Ok(())
    }

    /// Durable transactions since the start.
    async fn commits(&self) -> Result<u64, Failure> {
        let mut connection = connect(UnixStream::connect(&self.socket).await?).await?;
        let (_, body) = send(&mut connection, Method::GET, "/statistics", Bytes::new()).await?;
        let statistics: BTreeMap<String, u64> = serde_json::from_slice(&body)?;
        Ok(*statistics
            .get("commits")
            .ok_or("no commits in the statistics")?)
    }

    fn id(&self) -> String {
        self.process.0.id().to_string()
    }
}

/// The stand-in for Zoom, and where it listens.
fn sandbox() -> Result<(Process, SocketAddr), Failure> {
    let at = free_port()?;
    let child = Command::new(USHER)
        .args(["sandbox", "--token", SECRET, "--listen", &at.to_string()])
        .args(["--max-basic-users", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut process = Process(child);
    // It says where it listens once it does.
    let said = process.0.stdout.take().ok_or("the sandbox says nothing")?;
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    if line.contains(&at.to_string()) {
        Ok((process, at))
    } else {
        Err(format!("the sandbox: {line}").into())
    }
}

fn free_port() -> Result<SocketAddr, Failure> {
    Ok(Port::bind("127.0.0.1:0")?.local_addr()?)
}

async fn is_ready(admin: SocketAddr) -> bool {
    let asked = async {
        let mut connection = connect(TcpStream::connect(admin).await?).await?;
        send(&mut connection, Method::GET, "/readyz", Bytes::new()).await
    };
    asked.await.is_ok_and(|(status, _)| status == 200)
}

async fn connect(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends shows in the next request.
    tokio::spawn(async { drop(driver.await) });
    Ok(connection)
}

async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(u16, Bytes), Failure> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/scim+json")
        .body(Full::new(body))?;
    connection.ready().await?;
    let reply = connection.send_request(request).await?;
    let status = reply.status().as_u16();
    Ok((status, reply.into_body().collect().await?.to_bytes()))
}

struct Measured {
    /// Of every request, ascending.
    waits: Vec<Duration>,
    elapsed: Duration,
    cpu: Duration,
    commits: u64,
}

impl Measured {
    fn at(&self, percent: usize) -> f64 {
        percentile(&self.waits, percent).as_secs_f64() * 1e3
    }
}

impl std::fmt::Display for Measured {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (requests, commits) = (self.waits.len().max(1) as f64, self.commits as f64);
        let seconds = self.elapsed.as_secs_f64();
        write!(
            f,
            "{:>10.0}  {:>6.2}  {:>6.2}  {:>14.1}  {:>9.0}",
            requests / seconds,
            self.at(50),
            self.at(99),
            self.cpu.as_secs_f64() * 1e6 / requests,
            commits / seconds,
        )?;
        if self.commits == 0 {
            Ok(())
        } else {
            write!(f, "  {:>15.1}", requests / commits)
        }
    }
}
