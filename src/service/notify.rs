//! What systemd hears of us (sd_notify(3)): ready, reloading, stopping, a status in words, and a sign of life.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::clock::monotonic;
use crate::gateway::{Gateway, Phase};

/// How much longer the start may take from each word of progress on.
const MORE: Duration = Duration::from_secs(90);
/// A word is said after this time, too, though the percentage has not changed.
const WORD: Duration = Duration::from_secs(5);
/// A service manager that does not read is not waited for any longer.
const SEND: Duration = Duration::from_secs(1);

/// The way to the service manager. Cheap to clone; without `NOTIFY_SOCKET` it says nothing.
#[derive(Debug, Clone, Default)]
pub struct Notifier(Option<Arc<UnixDatagram>>);

impl Notifier {
    /// By `NOTIFY_SOCKET`: a path, or `@` and a name without one.
    ///
    /// # Errors
    /// The socket's, in a sentence.
    pub fn from_env() -> Result<Self, String> {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self::default());
        };
        let connect = || {
            let address = match address.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&address)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            socket.set_write_timeout(Some(SEND))?;
            Ok(socket)
        };
        match connect() {
            Ok(socket) => Ok(Self(Some(Arc::new(socket)))),
            Err(error) => {
                let error: std::io::Error = error;
                Err(format!("NOTIFY_SOCKET cannot be used: {error}"))
            }
        }
    }

    /// Says all of this at once.
    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.0 else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }

    /// A sentence for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.tell(&[NotifyState::Status(text)]);
    }

    /// Requests are answered, or a reload is over.
    pub fn ready(&self, text: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(text)]);
    }

    /// A reload begins. `MONOTONIC_USEC` is what `Type=notify-reload` knows it by.
    pub fn reloading(&self) {
        let Ok(now) = NotifyState::monotonic_usec_now() else {
            return;
        };
        let text = NotifyState::Status("reading the configuration again");
        self.tell(&[NotifyState::Reloading, now, text]);
    }

    /// The end begins.
    pub fn stopping(&self, text: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(text)]);
    }

    /// Says how far opening the data file is, and asks for more time with each word. Goes on until it is dropped.
    pub async fn opening(&self, mut phase: watch::Receiver<Phase>) {
        let mut said: Option<(f32, Duration)> = None;
        loop {
            if let Phase::Opening(share) = *phase.borrow_and_update() {
                let percent = (share * 100.0).floor();
                let news = said.is_none_or(|(before, at)| {
                    percent != before || monotonic().saturating_sub(at) >= WORD
                });
                if news {
                    said = Some((percent, monotonic()));
                    let more = u32::try_from(MORE.as_micros()).unwrap_or(u32::MAX);
                    self.tell(&[
                        NotifyState::ExtendTimeoutUsec(more),
                        NotifyState::Status(&format!("opening the data file: {percent} %")),
                    ]);
                }
            }
            if phase.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// How often the service manager wants a sign of life, if it does and means this process (`WATCHDOG_USEC`, `WATCHDOG_PID`).
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
}

/// Gives a sign of life twice in each `period` as long as the gateway is well. It runs where requests are answered: where
/// those get no turn, it gets none.
pub async fn beat(notifier: Notifier, gateway: Arc<Gateway>, period: Duration) {
    // The machine's time on purpose: that is what the service manager goes by.
    let mut ticks = tokio::time::interval(period / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut well = true;
    loop {
        ticks.tick().await;
        let ails = ails(&gateway, period);
        if let Some(why) = &ails
            && well
        {
            tracing::error!("no sign of life for the watchdog: {why}");
        }
        well = ails.is_none();
        if well {
            notifier.tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Why the gateway is not well. A transaction takes milliseconds, on a bad disk seconds: a writer that has not come round
/// for a whole period hangs.
fn ails(gateway: &Gateway, period: Duration) -> Option<String> {
    if *gateway.phase.borrow() == Phase::Broken {
        return Some(String::from("a commit failed"));
    }
    let store = &gateway.engine()?.store;
    if store.is_broken() {
        return Some(String::from("a commit failed"));
    }
    store.knock();
    let silent = store.silent_for();
    (silent >= period).then(|| format!("the writer does not answer for {} ms", silent.as_millis()))
}
