//! The gateway as a service: what systemd hears of it, and sockets that it is given.

use std::io::{BufRead, BufReader, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::house::{PATIENCE, Plan, say};
use crate::process::{Running, SANDBOX_TOKEN, Site, usher};

/// The service manager's end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    /// At a path, or at a name without one.
    fn new(folder: &Path, is_abstract: bool) -> Self {
        let (socket, name) = if is_abstract {
            let name = format!("usher-test-{}", std::process::id());
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name);
            let socket = UnixDatagram::bind_addr(&address.expect("a name"));
            (socket, format!("@{name}"))
        } else {
            let path = folder.join("notify.sock");
            (UnixDatagram::bind(&path), path.display().to_string())
        };
        let socket = socket.expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, name }
    }

    fn start(&self, site: &Site, watchdog: Option<(&str, &str)>) -> Running {
        let mut command = usher(site.path(), "serve");
        command.env("NOTIFY_SOCKET", &self.name);
        if let Some((period, process)) = watchdog {
            command.env("WATCHDOG_USEC", period);
            command.env("WATCHDOG_PID", process);
        }
        Running::of(command)
    }

    /// The next word.
    fn hears(&self) -> String {
        let mut buffer = [0; 4_096];
        let read = self.socket.recv(&mut buffer).expect("a word in time");
        String::from_utf8(buffer[..read].to_vec()).expect("UTF-8")
    }

    /// The first word that begins like this.
    fn hears_first(&self, beginning: &str) -> String {
        loop {
            let word = self.hears();
            if word.starts_with(beginning) {
                return word;
            }
        }
    }

    /// Takes all that was said and not heard yet.
    fn catch_up(&self) {
        self.socket.set_nonblocking(true).expect("set");
        while self.socket.recv(&mut [0; 4_096]).is_ok() {}
        self.socket.set_nonblocking(false).expect("set");
    }

    /// Whether nothing is heard for so long.
    fn is_quiet_for(&self, span: Duration) -> bool {
        self.socket.set_read_timeout(Some(span)).expect("a timeout");
        let heard = self.socket.recv(&mut [0; 4_096]);
        self.socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        match heard {
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_of_start_reload_and_end() {
    for is_abstract in [false, true] {
        let site = Site::new(&Plan::default());
        let manager = Manager::new(site.path(), is_abstract);
        let running = manager.start(&site, None);
        // A word for each step of the check; a small file may be done before the first is said.
        let mut word = manager.hears();
        while let Some(rest) = word.strip_prefix("EXTEND_TIMEOUT_USEC=90000000\n") {
            assert!(rest.starts_with("STATUS=opening the data file: "), "{word}");
            assert!(rest.ends_with(" %\n"), "{word}");
            word = manager.hears();
        }
        assert_eq!(word, "READY=1\nSTATUS=ready\n");
        // Requests are answered when it says so.
        let users = running.scim().ask("GET", "/Users", None).await;
        users.expect(200);

        running.hang_up();
        let reloading = manager.hears();
        let lines: Vec<&str> = reloading.lines().collect();
        let [reloading, began, status] = lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!(reloading, "RELOADING=1");
        let began = began.strip_prefix("MONOTONIC_USEC=").expect("when");
        let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux");
        let uptime: f64 = uptime
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("seconds");
        let began: f64 = began.parse::<f64>().expect("a number") / 1e6;
        // CLOCK_MONOTONIC does not count time asleep, which /proc/uptime does.
        assert!(began > 0.0 && began <= uptime + 1.0, "{began} {uptime}");
        assert_eq!(status, "STATUS=reading the configuration again");
        assert_eq!(manager.hears(), "READY=1\nSTATUS=ready\n");

        std::fs::write(site.path().join("usher.toml"), "no = such key").expect("written");
        running.hang_up();
        assert!(manager.hears().starts_with("RELOADING=1\n"));
        assert_eq!(
            manager.hears(),
            "READY=1\nSTATUS=ready; the last reload was refused, the log says why\n"
        );
        let ended = running.terminate();
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_eq!(
            manager.hears(),
            "STOPPING=1\nSTATUS=draining: finishing what was begun\n"
        );
        for part in ["starting", "version=", "usher.toml", "usher.redb", "live"] {
            assert!(ended.err.contains(part), "{part}: {}", ended.err);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_is_never_ready() {
    let site = Site::new(&Plan::default());
    std::fs::write(site.path().join("usher.redb"), "not a data file").expect("written");
    let manager = Manager::new(site.path(), false);
    let ended = manager.start(&site, Some(("20000", "1"))).ended();
    assert_eq!(ended.code, 65, "{}", ended.err);
    manager.socket.set_nonblocking(true).expect("set");
    let mut buffer = [0; 4_096];
    while let Ok(read) = manager.socket.recv(&mut buffer) {
        let word = String::from_utf8_lossy(&buffer[..read]).into_owned();
        assert!(word.starts_with("EXTEND_TIMEOUT_USEC="), "{word}");
    }
}

/// Holds one thread of another process as a debugger does, until it is dropped. `None`: this is not possible here.
struct Held(Child);

const HOLD: &str = r"
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
ptrace.restype = ctypes.c_long
thread = int(sys.argv[1])
for request in (0x4206, 0x4207): # PTRACE_SEIZE, PTRACE_INTERRUPT
    if ptrace(request, thread, 0, 0) != 0:
        print(os.strerror(ctypes.get_errno()), flush=True)
        sys.exit(1)
os.waitpid(thread, 0x40000000) # __WALL
print('held', flush=True)
sys.stdin.read()
";

impl Held {
    fn new(process: u32, name: &str) -> Result<Self, String> {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("Linux");
        let thread = tasks
            .map(|task| task.expect("a thread").path())
            .find(|task| {
                std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
            })
            .expect("the thread");
        let id = thread.file_name().expect("its id").to_owned();
        let mut python = Command::new("python3")
            .args(["-c", HOLD])
            .arg(id)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|why| format!("python3: {why}"))?;
        let mut said = String::new();
        let stdout = python.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut said).expect("a line");
        if said.trim() == "held" {
            Ok(Self(python))
        } else {
            let _ended = python.wait();
            Err(format!("ptrace: {}", said.trim()))
        }
    }

    fn let_go(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("it ends").success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watchdog_hears_nothing_while_the_writer_hangs() {
    let site = Site::new(&Plan::default());
    let manager = Manager::new(site.path(), false);
    let mut command = usher(site.path(), "serve");
    command.env("NOTIFY_SOCKET", &manager.name);
    command.env("WATCHDOG_USEC", "200000");
    let running = Running::of(command);
    manager.hears_first("READY=1\n");
    for _ in 0..5 {
        manager.hears_first("WATCHDOG=1\n");
    }
    let held = match Held::new(running.id(), "usher-writer") {
        Ok(held) => held,
        Err(why) => {
            say(&format!("NOT RUN: a writer that hangs: {why}"));
            return;
        }
    };
    // However long holding it took, what was said until then is behind us; then silence for many times the period.
    manager.catch_up();
    let quiet = (0..10).any(|_| manager.is_quiet_for(Duration::from_secs(2)));
    assert!(quiet, "signs of life of a gateway that cannot write");
    // It lives, and answers reads.
    let users = running.scim().ask("GET", "/Users", None).await;
    users.expect(200);
    running.says("no sign of life for the watchdog: the writer does not answer");
    let admin = running.admin();
    let mut asked = 0;
    let told = loop {
        let ready = admin.ask("GET", "/readyz", None).await;
        if ready.status != 200 {
            break ready.expect(503).body;
        }
        asked += 1;
        assert!(asked < 100, "{}", ready.body);
        assert!(manager.is_quiet_for(Duration::from_millis(300)));
    };
    assert_eq!(told["components"]["writer"]["status"], "does not answer");
    held.let_go();
    manager.hears_first("WATCHDOG=1\n");
    let made = running
        .scim()
        .ask("POST", "/Users", Some(&user("ada@x.example")))
        .await;
    made.expect(201);
    admin.ask("GET", "/readyz", None).await.expect(200);
    assert_eq!(running.terminate().code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_that_a_restored_directory_waits() {
    let site = Site::new(&Plan::default());
    assert_eq!(site.serve("").terminate().code, 0);
    for line in ["backup copy", "restore copy"] {
        let ran = site.run(line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
    }
    let manager = Manager::new(site.path(), false);
    let running = manager.start(&site, None);
    assert_eq!(
        manager.hears_first("READY=1\n"),
        "READY=1\nSTATUS=ready for reads: the directory was restored and waits for `usher confirm`\n"
    );
    let confirmed = site.run("confirm --yes");
    assert_eq!(confirmed.code, 0, "{}", confirmed.err);
    assert_eq!(manager.hears(), "STATUS=ready\n");
    assert_eq!(running.terminate().code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watchdog_for_another_process_hears_nothing() {
    let site = Site::new(&Plan::default());
    let manager = Manager::new(site.path(), false);
    // The first sign of life would come at once.
    let running = manager.start(&site, Some(("10000", "1")));
    manager.hears_first("READY=1\n");
    running.hang_up();
    assert!(manager.hears().starts_with("RELOADING=1\n"));
    assert!(manager.hears().starts_with("READY=1\n"));
    assert_eq!(running.terminate().code, 0);
    assert!(manager.hears().starts_with("STOPPING=1\n"));
}

/// A person to create.
pub(crate) fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": name,
        "emails": [{"value": name, "type": "work", "primary": true}],
        "name": {"givenName": "Ada", "familyName": "Byron"},
        "active": true
    })
}

/// Opens the sockets, and becomes usher with them as descriptors from 3 on: what systemd does.
const GIVE: &str = r"
import os, socket, sys
kinds, usher = sys.argv[1].split(','), sys.argv[2:]
made = []
for kind in kinds:
    family = socket.AF_UNIX if kind in ('unix', 'open') else socket.AF_INET
    made.append(socket.socket(family, socket.SOCK_DGRAM if kind == 'udp' else socket.SOCK_STREAM))
    host = '0.0.0.0' if kind == 'any' else '127.0.0.1'
    made[-1].bind('given.sock' if family == socket.AF_UNIX else (host, 0))
    if family == socket.AF_UNIX:
        os.chmod('given.sock', 0o666 if kind == 'open' else 0o600)
    if kind in ('tcp', 'any', 'unix', 'open'):
        made[-1].listen()
with open('given.txt', 'w') as out:
    for one in made:
        print(one.getsockname() if one.family == socket.AF_UNIX else '%s:%d' % one.getsockname(), file=out)
high = [os.dup2(one.fileno(), 100 + n) for n, one in enumerate(made)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n, inheritable=True)
os.environ['LISTEN_FDS'] = str(len(made))
os.environ['LISTEN_PID'] = str(os.getpid())
os.execv(usher[0], usher)
";

/// A Python that runs this and then becomes usher. `None`: there is no Python.
fn python(site: &Site, program: &str) -> Option<Command> {
    let version = Command::new("python3").arg("--version").output();
    if !version.is_ok_and(|ran| ran.status.success()) {
        say("NOT RUN: what python3 prepares for usher: no python3");
        return None;
    }
    let mut command = Command::new("python3");
    command
        .current_dir(site.path())
        .args(["-c", program])
        .env("SANDBOX_TOKEN", SANDBOX_TOKEN)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    Some(command)
}

/// `usher serve` with sockets of these kinds. `None`: there is no Python.
fn given(site: &Site, kinds: &str) -> Option<Running> {
    let mut command = python(site, GIVE)?;
    command.args([kinds, env!("CARGO_BIN_EXE_usher"), "serve"]);
    Some(Running::of(command))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_are_given_win() {
    for kinds in ["tcp", "tcp,tcp", "tcp,tcp,unix"] {
        let site = Site::new(&Plan::default());
        let Some(running) = given(&site, kinds) else {
            return;
        };
        running.says(": ready\n");
        let addresses = std::fs::read_to_string(site.path().join("given.txt")).expect("a file");
        let addresses: Vec<&str> = addresses.lines().collect();
        let (scim, admin) = running.addresses();
        assert_eq!(scim, format!("http://{}/scim/v2", addresses[0]), "{kinds}");
        running.says("server.listen is not used");
        if kinds.contains("tcp,tcp") {
            assert_eq!(admin, format!("http://{}", addresses[1]), "{kinds}");
            running.says("admin.listen is not used");
        }
        running.scim().ask("GET", "/Users", None).await.expect(200);
        let ready = running.admin().ask("GET", "/readyz", None).await;
        ready.expect(200);
        let socket = if kinds.ends_with("unix") {
            running.says("admin.socket is not used");
            "given.sock"
        } else {
            "usher.sock"
        };
        let report = site.run(&format!("report --socket {socket}"));
        assert_eq!(report.code, 0, "{}", report.err);
        assert_eq!(running.terminate().code, 0);
        // Ours goes with us; systemd's stays for the next one.
        let stays = kinds.ends_with("unix");
        assert_eq!(site.path().join(socket).exists(), stays, "{kinds}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_a_wrong_kind_are_refused() {
    for (kinds, told) in [
        (
            "udp",
            "the first socket that was given has to be a TCP socket",
        ),
        (
            "unix",
            "the first socket that was given has to be a TCP socket",
        ),
        ("closed", "it does not listen (is it Accept=yes?)"),
        (
            "tcp,udp",
            "the second socket that was given has to be a TCP socket",
        ),
        (
            "tcp,tcp,tcp",
            "the third socket that was given has to be a Unix",
        ),
        ("tcp,tcp,unix,tcp", "4 sockets were given"),
        ("any", "the SCIM socket that was given is on 0.0.0.0:"),
        ("tcp,any", "the admin socket that was given is on 0.0.0.0:"),
        ("tcp,tcp,open", "that others may write to: SocketMode=0600"),
    ] {
        let site = Site::new(&Plan::default());
        let Some(running) = given(&site, kinds) else {
            return;
        };
        let ended = running.ended();
        assert_eq!(ended.code, 64, "{kinds}: {}", ended.err);
        assert!(ended.err.contains(told), "{kinds}: {}", ended.err);
    }
}

/// Becomes usher with files that may not grow beyond so many bytes.
const CRAMP: &str = r"
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_ends_the_gateway_and_loses_nothing() {
    let site = Site::new(&Plan {
        real_time: true,
        ..Plan::default()
    });
    let Some(mut command) = python(&site, CRAMP) else {
        return;
    };
    let manager = Manager::new(site.path(), false);
    let room = (512 * 1024).to_string();
    command.args([&room, env!("CARGO_BIN_EXE_usher"), "serve"]);
    command.env("NOTIFY_SOCKET", &manager.name);
    let running = Running::of(command);
    running.says(": ready\n");
    let scim = running.scim();
    let mut made = 0;
    let failed = loop {
        let person = user(&format!("p{made}@x.example"));
        match scim.try_ask("POST", "/Users", Some(&person)).await {
            Ok(answer) if answer.status == 201 => made += 1,
            other => break other,
        }
        assert!(made < 10_000, "it never fills");
    };
    // Or the end was so quick that there was none.
    assert!(failed.is_err() || failed.is_ok_and(|answer| answer.status >= 500));
    let word = manager.hears_first("STOPPING=1\n");
    assert!(word.contains("STATUS=broken: a commit failed"), "{word}");
    let ended = running.ended();
    assert_eq!(ended.code, 75, "{}", ended.err);

    let running = site.serve("");
    let all = running.scim().ask("GET", "/Users?count=0", None).await;
    let there = all.expect(200).body["totalResults"].as_u64().expect("one");
    // Who had no good answer may be there or not.
    assert!((made..=made + 1).contains(&there), "{made} {there}");
    assert_eq!(running.terminate().code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_leads_nowhere_is_not_shown_unsaid() {
    for (more, told) in [
        ("", true),
        ("base_url = \"https://scim.x.example/scim/v2\"\n", false),
    ] {
        let site = Site::new(&Plan::default());
        let file = site.path().join("usher.toml");
        let text = std::fs::read_to_string(&file).expect("a file");
        let everywhere = format!("listen = \"0.0.0.0:0\"\nplain_http = \"anywhere\"\n{more}");
        let text = text.replacen("listen = \"127.0.0.1:0\"\n", &everywhere, 1);
        std::fs::write(&file, text).expect("written");
        let ended = site.serve("").terminate();
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(ended.err.contains("://0.0.0.0:"), "{}", ended.err);
        let warned = ended.err.contains("server.base_url is not set");
        assert_eq!(warned, told, "{}", ended.err);
    }
}

#[test]
fn the_units_exposure_is_low() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/config/usher.service");
    let ran = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
        .arg(unit)
        .output();
    let Ok(ran) = ran else {
        say("NOT RUN: the unit's exposure: no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&ran.stdout);
    let line = said.lines().find(|line| line.contains("exposure level"));
    let line = line.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&ran.stderr)));
    let level = line
        .split(": ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let level: f64 = level.and_then(|n| n.parse().ok()).expect("a number");
    say(&format!("usher.service: exposure {level}"));
    assert!(level <= 1.5, "{said}");
    assert!(ran.status.success());
}
