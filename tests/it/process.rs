//! The real binary as a process of its own: run to its end, or served with until it is told to end. Nothing here waits by
//! the clock: what a process says and the end of it are what wakes who waits.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;
use usher::sandbox::{Options, Sandbox};

use crate::house::{Knock, PATIENCE, Plan, text};

/// What the sandbox's token is: it must be in no log either.
pub(crate) const SANDBOX_TOKEN: &str = "sandbox-token-for-these-tests";

/// A folder with an `usher.toml`, and the sandbox that it names.
pub(crate) struct Site {
    folder: TempDir,
    /// Zoom's stand-in.
    pub(crate) sandbox: Sandbox,
}

impl Site {
    /// Needs a tokio runtime, for the sandbox.
    pub(crate) fn new(plan: &Plan) -> Self {
        let sandbox = Sandbox::start(Options {
            token: SANDBOX_TOKEN.to_owned(),
            ..plan.sandbox.clone()
        })
        .expect("a sandbox");
        let folder = tempfile::tempdir().expect("a folder");
        let config = text(plan, &sandbox.base_url(), "127.0.0.1:0");
        std::fs::write(folder.path().join("usher.toml"), config).expect("a file");
        Self { folder, sandbox }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `usher serve`, when it is ready.
    pub(crate) fn serve(&self, flags: &str) -> Running {
        let running = Running::start(self.path(), &format!("serve {flags}"));
        running.until("ready", |said| {
            (said.contains(": ready\n") || said.contains("\"message\":\"ready\"")).then_some(())
        });
        running
    }

    /// Runs `usher LINE` here to its end.
    pub(crate) fn run(&self, line: &str) -> Ended {
        run(self.path(), line)
    }

    /// The rows of `usher report`.
    pub(crate) fn report(&self, flags: &str) -> Vec<Value> {
        let report = self.run(&format!("report --format json {flags}"));
        assert_eq!(report.code, 0, "{flags}: {}", report.err);
        rows(&report.out)
    }
}

/// A command that came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// `usher LINE`, not started yet.
pub(crate) fn usher(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    command
        .current_dir(folder)
        .args(line.split_whitespace())
        .env("SANDBOX_TOKEN", SANDBOX_TOKEN)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs `usher LINE` in a folder to its end.
pub(crate) fn run(folder: &Path, line: &str) -> Ended {
    let child = usher(folder, line).spawn().expect("it starts");
    let id = child.id();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        send_signal(id, "KILL");
        panic!("usher {line} does not end");
    };
    let output = output.expect("its output");
    Ended {
        code: output.status.code().expect("an exit code, no signal"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn send_signal(id: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), id.to_string()])
        .status()
        .expect("kill");
    assert!(sent.success(), "kill -{signal} {id}");
}

/// What a process has written to standard error so far, and whether that is all.
type Said = (Mutex<(String, bool)>, Condvar);

/// A process that serves. Killed when the test ends early.
pub(crate) struct Running {
    child: Child,
    said: Arc<Said>,
}

impl Running {
    /// Starts `usher LINE`.
    pub(crate) fn start(folder: &Path, line: &str) -> Self {
        Self::of(usher(folder, line))
    }

    /// Starts what becomes `usher serve`.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
        let mut stderr = child.stderr.take().expect("a pipe");
        let said = Arc::new(Said::default());
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = stderr.read(&mut buffer).unwrap_or(0);
                let mut said = heard.0.lock().expect("no panic");
                said.0.push_str(&String::from_utf8_lossy(&buffer[..read]));
                said.1 = read == 0;
                heard.1.notify_all();
                if said.1 {
                    return;
                }
            }
        });
        Self { child, said }
    }

    /// Waits until what it said has `what` in it.
    fn until<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let (lock, more) = &*self.said;
        let deadline = Instant::now() + PATIENCE;
        let mut said = lock.lock().expect("no panic");
        loop {
            if let Some(found) = found(&said.0) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!said.1 && !left.is_zero(), "no {what} in:\n{}", said.0);
            said = more.wait_timeout(said, left).expect("no panic").0;
        }
    }

    /// Where SCIM is, and where health is: what it logs when it listens.
    pub(crate) fn addresses(&self) -> (String, String) {
        self.until("addresses", |said| {
            let line = said.lines().find(|line| line.contains("listening"))?;
            let mut urls = line
                .split("http://")
                .skip(1)
                .map(|rest| rest.split(['"', ' ']).next().unwrap_or_default())
                .map(|rest| format!("http://{rest}"));
            Some((urls.next()?, urls.next()?))
        })
    }

    /// A client of SCIM.
    pub(crate) fn scim(&self) -> Knock {
        Knock::at(self.addresses().0)
    }

    /// A client of the admin address.
    pub(crate) fn admin(&self) -> Knock {
        Knock::at(self.addresses().1)
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL. What it had said.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().expect("it can be killed");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), None, "it did not end by itself");
        self.said.0.lock().expect("no panic").0.clone()
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        send_signal(self.child.id(), "HUP");
    }

    /// Waits until it has said this.
    pub(crate) fn says(&self, what: &str) {
        self.until(what, |said| said.contains(what).then_some(()));
    }

    /// Waits until it has said this; false: it ended before.
    pub(crate) fn says_or_ends(&self, what: &str) -> bool {
        let (lock, more) = &*self.said;
        let said = lock.lock().expect("no panic");
        let over = |said: &mut (String, bool)| !said.0.contains(what) && !said.1;
        let (said, _) = more
            .wait_timeout_while(said, PATIENCE, over)
            .expect("no panic");
        said.0.contains(what)
    }

    /// Waits for the end; the exit code, or none where a signal ended it.
    pub(crate) fn ended_somehow(mut self) -> Option<i32> {
        let (lock, more) = &*self.said;
        let said = lock.lock().expect("no panic");
        let (said, _) = more
            .wait_timeout_while(said, PATIENCE, |said| !said.1)
            .expect("no panic");
        assert!(said.1, "it does not end:\n{}", said.0);
        drop(said);
        self.child.wait().expect("a status").code()
    }

    /// Sends SIGTERM; see [`Running::ended`].
    pub(crate) fn terminate(self) -> Ended {
        send_signal(self.child.id(), "TERM");
        self.ended()
    }

    /// Waits for the end.
    pub(crate) fn ended(mut self) -> Ended {
        let (lock, more) = &*self.said;
        let said = lock.lock().expect("no panic");
        let (said, _) = more
            .wait_timeout_while(said, PATIENCE, |said| !said.1)
            .expect("no panic");
        assert!(said.1, "it does not end:\n{}", said.0);
        let err = said.0.clone();
        drop(said);
        // It has closed standard error: it is ending.
        let status = self.child.wait().expect("a status");
        Ended {
            code: status.code().expect("an exit code, no signal"),
            out: String::new(),
            err,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// JSON lines as values.
pub(crate) fn rows(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect()
}
