//! Backup and confirmation, for the command line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::Response;
use percent_encoding::percent_decode_str;

use crate::error::Fault;
use crate::server::outgoing::Outgoing;
use crate::store::{BackupError, CommitError};

use super::{Console, fault, json};

const BUSY: &str = "A backup is being written already.";

impl Console {
    /// `POST /backup?path=...&force=true`. One at a time.
    pub(super) async fn write_backup(&self, query: String) -> Response<Outgoing> {
        let asked = self
            .engine()
            .and_then(|engine| Ok((engine, wanted(&query)?, self.backup.begin(BUSY)?)));
        let (engine, (path, force), (asked, turn)) = match asked {
            Ok(asked) => asked,
            Err(refused) => return fault(&refused),
        };
        let (now, progress) = (self.clock.now(), Arc::clone(&asked.0));
        let written = tokio::task::spawn_blocking(move || {
            let written = engine.store.backup(&path, force, now, &progress);
            drop(turn);
            written
        });
        let written = match written.await {
            Ok(written) => written,
            Err(died) => Err(BackupError::Failed(died.to_string())),
        };
        match written {
            Ok(written) => {
                tracing::info!(file = %written.file.display(), rows = written.rows, bytes = written.bytes, "a backup was written");
                match serde_json::to_vec(&written) {
                    Ok(body) => json(200, body),
                    Err(why) => fault(&Fault::Internal(why.to_string())),
                }
            }
            Err(why) => {
                tracing::error!(error = %why, "a backup was not written");
                // Who asks here runs the gateway, and is told what the log is told.
                let status = match why {
                    BackupError::Target(_) => 400,
                    BackupError::Damaged(_) => 422,
                    BackupError::NoRoom(_) | BackupError::Stopped => 503,
                    BackupError::Failed(_) => 500,
                };
                json(
                    status,
                    json!({"detail": why.to_string()}).to_string().into_bytes(),
                )
            }
        }
    }

    /// `GET /backup`: rows done, and rows that there are; nulls where none is being written.
    pub(super) fn backup_progress(&self) -> Vec<u8> {
        self.backup.so_far()
    }

    /// `GET /confirm`: what was restored and is not confirmed, or confirmed and not doubted to its end; null: nothing.
    pub(super) fn restored(&self) -> Result<Vec<u8>, Fault> {
        let restored = self.engine()?.store.view()?.restored()?;
        serde_json::to_vec(&restored).map_err(|why| Fault::Internal(why.to_string()))
    }

    /// `POST /confirm`: answered when writes are taken again.
    pub(super) async fn confirm(&self) -> Result<Vec<u8>, Fault> {
        let engine = self.engine()?;
        let confirmed = engine.store.confirm(self.clock.now()).await;
        let confirmed = confirmed.map_err(|why| match why {
            CommitError::Full | CommitError::DiskFull => Fault::Unavailable {
                retry_after: 5,
                detail: why.to_string(),
            },
            other => Fault::Storage(other.to_string()),
        })?;
        if confirmed {
            tracing::warn!(
                "what was restored is confirmed: writes are taken, and every account is read back"
            );
        }
        Ok(json!({"confirmed": confirmed}).to_string().into_bytes())
    }
}

/// Where a backup goes, and whether in place of one that is there.
fn wanted(query: &str) -> Result<(PathBuf, bool), Fault> {
    let (mut path, mut force) = (None, false);
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("path", text)) => {
                let bytes: Vec<u8> = percent_decode_str(text).collect();
                path = Some(PathBuf::from(OsStr::from_bytes(&bytes)));
            }
            Some(("force", "true")) => force = true,
            Some(("force", "false")) => force = false,
            _ => {
                return Err(Fault::InvalidValue(String::from(
                    "A backup takes path and force (true or false).",
                )));
            }
        }
    }
    // The gateway's own folder is not the one that the person is in.
    let path = path
        .filter(|path| path.is_absolute())
        .ok_or_else(|| Fault::InvalidValue(String::from("A backup takes an absolute path.")))?;
    Ok((path, force))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_any_bytes() {
        let (path, force) = wanted("path=%2Fvar%2Fa%20%FF%26b&force=true").expect("wanted");
        assert_eq!(path.as_os_str().as_bytes(), b"/var/a \xff&b");
        assert!(force);
        assert!(!wanted("path=%2Fa").expect("wanted").1);
        for query in [
            "",
            "path=a",
            "path=%2Fa&force=1",
            "path=%2Fa&mode=1",
            "force=true",
        ] {
            assert!(
                matches!(wanted(query), Err(Fault::InvalidValue(_))),
                "{query}"
            );
        }
    }
}
