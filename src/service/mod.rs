//! What the service manager is told and gives: readiness, the watchdog, sockets that it opened. Without systemd nothing of
//! this does anything.

pub mod inherited;
pub mod notify;

pub use inherited::Inherited;
pub use notify::{Notifier, beat, watchdog};
