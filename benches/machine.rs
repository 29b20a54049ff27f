//! What the benches read of the machine: processes out of /proc, and how often the disk takes a flush.
#![allow(dead_code, reason = "each bench uses its part of it")]

use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// This process, in place of an id.
pub(crate) const OURSELVES: &str = "self";

/// User and system time of a process so far. The kernel counts in hundredths of a second here (`USER_HZ`).
pub(crate) fn cpu_time(process: &str) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The command's name is in brackets and may hold anything; the state is the first field behind it.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>);
    Ok(Duration::from_millis(ticks.sum::<Result<u64, _>>()? * 10))
}

/// Memory of a process in MiB: `VmRSS` now, `VmHWM` at its peak.
pub(crate) fn memory(process: &str, field: &str) -> Result<f64, Failure> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .ok_or_else(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// Forgets our peak of memory (proc_pid_clear_refs(5)).
pub(crate) fn forget_peak() -> Result<(), Failure> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

/// How often the disk takes a flush of four more kilobytes.
pub(crate) fn flush_rate(home: &Path, span: Duration) -> Result<f64, Failure> {
    let mut file = File::create(home.join("flush"))?;
    let started = Instant::now();
    let mut flushes = 0_u32;
    while started.elapsed() < span {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        flushes += 1;
    }
    Ok(f64::from(flushes) / started.elapsed().as_secs_f64())
}

/// The wait that so many in a hundred do not exceed; `waits` ascend.
pub(crate) fn percentile(waits: &[Duration], percent: usize) -> Duration {
    let place = (waits.len() * percent / 100).min(waits.len().saturating_sub(1));
    waits.get(place).copied().unwrap_or_default()
}

/// Says what is going on to who looks on, over what was said before.
pub(crate) fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{text:<70}\r");
    }
}
