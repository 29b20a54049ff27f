//! Long work of which one goes on at a time: how far it is, and that it ends when nobody waits for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use crate::error::Fault;
use crate::store::Progress;

/// The one that is under way, if one is: the backup that is written, or the replay.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<Option<Arc<Progress>>>>);

impl UnderWay {
    /// Nothing behind it is left half-done by a panic.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Progress>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one, if none is under way; `busy` says so.
    pub(super) fn begin(&self, busy: &str) -> Result<(Asked, Turn), Fault> {
        let mut under_way = self.lock();
        if under_way.is_some() {
            return Err(Fault::Unavailable {
                retry_after: 5,
                detail: busy.to_owned(),
            });
        }
        let progress = Arc::new(Progress::default());
        *under_way = Some(Arc::clone(&progress));
        drop(under_way);
        Ok((Asked(progress), Turn(self.clone())))
    }

    /// What is done, and what there is; nulls where none is under way.
    pub(super) fn so_far(&self) -> Vec<u8> {
        let under_way = self.lock().clone();
        let rows = under_way.as_ref().map(|it| it.rows.load(Ordering::Relaxed));
        let of = under_way.as_ref().map(|it| it.of.load(Ordering::Relaxed));
        json!({"rows": rows, "of": of}).to_string().into_bytes()
    }
}

/// Ends what was asked for when whoever asked for it goes away.
pub(super) struct Asked(pub(super) Arc<Progress>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// The next one may begin when this one's last file operation is done, and not when nobody waits for it any more.
pub(super) struct Turn(UnderWay);

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}
