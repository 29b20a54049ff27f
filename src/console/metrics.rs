//! `GET /metrics`: Prometheus' text format 0.0.4. Labels are names out of the configuration and words out of closed lists,
//! never anything about a person. What needs a look into the store is what `usher status` shows, and bounded as there.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;

use super::status::{self, ApplicationStatus, PolicyState, State, Status};
use super::{Console, fault};
use crate::clock::Timestamp;
use crate::counts::{Action, BOUNDS};
use crate::error::Fault;
use crate::server::outgoing::Outgoing;
use crate::server::service::Reply;
use crate::settle::Engine;
use crate::store::{Lane, Store};
use crate::upstream::gate::OUTCOMES;

/// How long a look into the store may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The format's content type.
const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Console {
    pub(super) async fn metrics(&self) -> Response<Outgoing> {
        let due = self.clock.now().plus(PATIENCE);
        let measured = self.clock.until(due, self.measure()).await;
        let slow = || Fault::Unavailable {
            retry_after: 5,
            detail: String::from("The data file does not answer."),
        };
        match measured.unwrap_or_else(|| Err(slow())) {
            Ok(text) => Reply::new(200, Outgoing::whole(text)).send(KIND, ""),
            Err(refused) => fault(&refused),
        }
    }

    async fn measure(&self) -> Result<String, Fault> {
        let turn = Arc::clone(&self.measuring).lock_owned().await;
        let engine = self.gateway.engine();
        let phase = *self.gateway.phase.borrow();
        let (started, now) = (self.started, self.clock.now());
        let asked = engine.clone();
        // The turn ends with the look, though nobody may wait for it any more.
        let look = move || {
            let status = status::status(phase, started, now, asked.as_ref());
            drop(turn);
            (status, Process::look())
        };
        let looked = tokio::task::spawn_blocking(look).await;
        let (status, process) = looked.map_err(|died| Fault::Internal(died.to_string()))?;
        let status = status?;
        let mut text = Text::default();
        self.process(&mut text, &status, &process);
        self.requests(&mut text);
        if let Some(engine) = &engine {
            writer(&mut text, &engine.store);
            store(&mut text, &status);
            applications(&mut text, &status);
            calls(&mut text, engine, status.now);
        }
        Ok(text.0)
    }

    fn process(&self, text: &mut Text, status: &Status, process: &Process) {
        text.family(
            "usher_build_info",
            "gauge",
            "The version that runs; always 1.",
        );
        text.sample("", &[("version", &status.version)], 1);
        let started = seconds(status.started);
        text.one(
            "process_start_time_seconds",
            "gauge",
            "When the gateway started, since the epoch.",
            Some(started),
        );
        text.one(
            "process_resident_memory_bytes",
            "gauge",
            "Memory in use.",
            process.resident,
        );
        text.one(
            "process_open_fds",
            "gauge",
            "Open file descriptors.",
            process.descriptors,
        );
        text.family(
            "usher_phase",
            "gauge",
            "1 for what the gateway is doing: opening, ready, broken or draining.",
        );
        for phase in ["opening", "ready", "broken", "draining"] {
            text.sample("", &[("phase", phase)], u8::from(phase == status.phase));
        }
        text.one(
            "usher_configuration_generation",
            "gauge",
            "The configuration's generation; a reload that changes it raises it.",
            status.generation,
        );
        text.one(
            "usher_connections_open",
            "gauge",
            "Connections to the SCIM and admin addresses.",
            Some(self.gateway.connections.count()),
        );
        text.one(
            "usher_body_memory_bytes",
            "gauge",
            "Memory that is set aside for bodies of requests.",
            Some(self.gateway.room.in_use()),
        );
        let ends = self.tls.as_ref().and_then(|tls| tls.ends());
        text.one(
            "usher_tls_certificate_end_seconds",
            "gauge",
            "When the certificate in server.tls ends, since the epoch.",
            ends.map(seconds),
        );
    }

    fn requests(&self, text: &mut Text) {
        text.family(
            "usher_requests_total",
            "counter",
            "SCIM requests that were understood, by how they were answered.",
        );
        let running = self.gateway.running();
        for client in running.authority.clients() {
            for (action, class, count) in client.counts().all() {
                let labels = [
                    ("client", client.name()),
                    ("operation", action.name()),
                    ("status", class),
                ];
                text.sample("", &labels, count);
            }
        }
        text.family(
            "usher_requests_refused_total",
            "counter",
            "SCIM requests that were refused before they were understood, by the answer's status.",
        );
        for (status, count) in self.gateway.counts.refusals() {
            text.sample("", &[("status", status)], count);
        }
        text.family(
            "usher_request_duration_seconds",
            "histogram",
            "How long SCIM requests that were understood took to answer.",
        );
        for action in Action::ALL {
            let (within, ms) = self.gateway.counts.times(action);
            let [.., count] = within;
            if count == 0 {
                continue;
            }
            let operation = ("operation", action.name());
            let bounds = BOUNDS.iter().map(|bound| Thousandths(*bound).to_string());
            for (bound, count) in bounds.chain([String::from("+Inf")]).zip(within) {
                text.sample("_bucket", &[operation, ("le", &bound)], count);
            }
            text.sample("_sum", &[operation], Thousandths(ms));
            text.sample("_count", &[operation], count);
        }
    }
}

fn writer(text: &mut Text, store: &Store) {
    let statistics = store.statistics();
    text.one(
        "usher_writer_commits_total",
        "counter",
        "Durable transactions.",
        Some(statistics.commits),
    );
    text.one(
        "usher_writer_rows_total",
        "counter",
        "Rows written and removed.",
        Some(statistics.rows),
    );
    text.one(
        "usher_writer_queue",
        "gauge",
        "Requests that wait for the writer.",
        Some(statistics.waiting),
    );
    text.one(
        "usher_writer_last_commit_seconds",
        "gauge",
        "How long the last batch took to be on disk.",
        Some(statistics.last_commit.as_secs_f64()),
    );
    text.one(
        "usher_read_notes_total",
        "counter",
        "Notes of reads that were written.",
        Some(statistics.notes),
    );
    text.one(
        "usher_read_notes_dropped_total",
        "counter",
        "Notes of reads that were dropped.",
        Some(statistics.notes_dropped),
    );
    text.one(
        "usher_writer_silent_seconds",
        "gauge",
        "For how long the writer has not come round to what it was asked; 0: it has.",
        Some(store.silent_for().as_secs_f64()),
    );
}

fn store(text: &mut Text, status: &Status) {
    let store = status.store.as_ref();
    text.one(
        "usher_store_bytes",
        "gauge",
        "The size of the data file.",
        store.map(|store| store.bytes),
    );
    text.one(
        "usher_store_free_bytes",
        "gauge",
        "Free on the data file's disk.",
        store.and_then(|store| store.free),
    );
    text.one(
        "usher_store_full",
        "gauge",
        "1 where writes are refused because the disk is nearly full.",
        store.map(|store| u8::from(store.full)),
    );
}

fn applications(text: &mut Text, status: &Status) {
    let all = &status.applications;
    text.family(
        "usher_application_state",
        "gauge",
        "1 for how the application is: ok, waiting (told to), failing, refused (its credentials).",
    );
    for one in all {
        for state in ["ok", "waiting", "failing", "refused"] {
            let labels = [("application", &*one.name), ("state", state)];
            text.sample("", &labels, u8::from(state == name(one.state)));
        }
    }
    text.family(
        "usher_application_pace",
        "gauge",
        "Calls a second that are made at most now.",
    );
    for one in all {
        for (class, view) in [("light", &one.light), ("medium", &one.medium)] {
            let labels = [("application", &*one.name), ("class", class)];
            text.sample("", &labels, &view.rate);
        }
    }
    type Value = fn(&ApplicationStatus) -> u64;
    let gauges: [(&str, &str, Value); 8] = [
        (
            "usher_application_calls_in_flight",
            "Calls under way.",
            |one| one.in_flight as u64,
        ),
        (
            "usher_application_waiting",
            "Exchanges that wait for their turn.",
            |one| one.waiting as u64,
        ),
        ("usher_application_accounts", "Active accounts.", |one| {
            one.active
        }),
        (
            "usher_removals_held",
            "Removals that the safety limit holds until a person decides.",
            |one| one.held,
        ),
        (
            "usher_policies_without_group",
            "Policies whose group is not known, never had a member or was deleted.",
            |one| {
                let policies = one.policies.iter();
                policies
                    .filter(|policy| policy.state != PolicyState::Bound)
                    .count() as u64
            },
        ),
        (
            "usher_removals_overdue",
            "Removals that failed to the end of the ladder of retries, and are still tried.",
            |one| one.overdue,
        ),
        (
            "usher_accounts_quarantined",
            "Accounts for which nothing is sent any more until a person or a change asks for it.",
            |one| one.quarantined,
        ),
        ("usher_marks", "All marks.", |one| one.marks),
    ];
    for (family, help, value) in gauges {
        text.family(family, "gauge", help);
        for one in all {
            text.sample("", &[("application", &one.name)], value(one));
        }
    }
    text.family(
        "usher_queue_marks",
        "gauge",
        "Marks by lane: due, later, parked (until a person or a change makes them due). At most 10,000 a lane are counted.",
    );
    for one in all {
        for count in &one.queue {
            let states = [
                ("due", count.due),
                ("later", count.later),
                ("parked", count.parked),
            ];
            for (state, count_of) in states {
                let lane = lane(count.lane);
                let labels = [
                    ("application", &*one.name),
                    ("lane", lane),
                    ("state", state),
                ];
                text.sample("", &labels, count_of);
            }
        }
    }
    text.family(
        "usher_queue_oldest_due_seconds",
        "gauge",
        "How long the mark that is due for longest has been due; 0: none is.",
    );
    for one in all {
        let oldest = one.queue.iter().filter_map(|count| count.oldest).min();
        let age = oldest.map_or(0, |oldest| status.now.0.saturating_sub(oldest.0));
        text.sample("", &[("application", &one.name)], Thousandths(age));
    }
}

fn calls(text: &mut Text, engine: &Arc<Engine>, now: Timestamp) {
    text.family(
        "usher_application_calls_total",
        "counter",
        "Calls to the application, by rate class and by the answer's status; none: no answer.",
    );
    for application in &engine.applications {
        let gate = application.gate.snapshot(now);
        for (class, calls) in ["light", "medium"].into_iter().zip(gate.calls) {
            for (status, count) in OUTCOMES.into_iter().zip(calls) {
                if count > 0 {
                    let labels = [
                        ("application", application.plan.name()),
                        ("class", class),
                        ("status", status),
                    ];
                    text.sample("", &labels, count);
                }
            }
        }
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Waiting { .. } => "waiting",
        State::Failing { .. } => "failing",
        State::Refused { .. } => "refused",
    }
}

fn lane(lane: Lane) -> &'static str {
    match lane {
        Lane::Deactivate => "deactivate",
        Lane::Create => "create",
        Lane::Update => "update",
        Lane::Group => "group",
    }
}

fn seconds(at: Timestamp) -> Thousandths {
    Thousandths(at.0)
}

/// Milliseconds, written as seconds.
#[derive(Debug, Clone, Copy)]
struct Thousandths(u64);

impl Display for Thousandths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

/// What the system says of this process; `None`: it does not.
#[derive(Debug)]
struct Process {
    resident: Option<u64>,
    descriptors: Option<usize>,
}

impl Process {
    fn look() -> Self {
        let status = std::fs::read_to_string("/proc/self/status");
        let resident = status.ok().and_then(|status| resident(&status));
        // The one that reads the folder is among them.
        let descriptors = std::fs::read_dir("/proc/self/fd").ok();
        Self {
            resident,
            descriptors: descriptors.map(|all| all.count().saturating_sub(1)),
        }
    }
}

/// `VmRSS` of proc(5)'s status, which counts in KiB.
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1_024)
}

/// The text as it grows: families one after the other, each with its samples.
#[derive(Debug, Default)]
struct Text(String, &'static str);

impl Text {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.1 = name;
        // A text takes all that is written to it.
        let _written = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample of the last family.
    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(self.1);
        self.0.push_str(suffix);
        for (place, (name, label)) in labels.iter().enumerate() {
            self.0.push(if place == 0 { '{' } else { ',' });
            self.0.push_str(name);
            self.0.push_str("=\"");
            for letter in label.chars() {
                match letter {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    letter => self.0.push(letter),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _written = writeln!(self.0, " {value}");
    }

    /// A family of one sample, if its value is known.
    fn one(&mut self, name: &'static str, kind: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.family(name, kind, help);
            self.sample("", &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_and_labels_escaped() {
        let mut text = Text::default();
        text.one("a_total", "counter", "All.", Some(7));
        text.one("gone", "gauge", "Not known.", None::<u64>);
        text.family("b", "histogram", "Some.");
        text.sample("_bucket", &[("x", "a\"b\\c\nd"), ("le", "+Inf")], 1);
        text.sample("_sum", &[], Thousandths(1_005));
        assert_eq!(
            text.0,
            "# HELP a_total All.\n# TYPE a_total counter\na_total 7\n# HELP b Some.\n# TYPE b histogram\n\
             b_bucket{x=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 1\nb_sum 1.005\n"
        );
    }

    #[test]
    fn resident_memory_is_read() {
        let status = "Name:\tusher\nVmHWM:\t 9 kB\nVmRSS:\t   12 kB\n";
        assert_eq!(resident(status), Some(12_288));
        assert_eq!(resident("VmRSS:\t12 MB\n"), None);
        assert!(Process::look().resident.is_some_and(|bytes| bytes > 0));
        assert!(Process::look().descriptors.is_some_and(|count| count >= 3));
    }
}
