//! Free space where the data file is. A file that cannot grow fails a commit, and a failed commit ends the process; so
//! writes are refused while there is still room for what was begun. Reads need none and go on.

use std::io;
use std::path::Path;

/// Bytes that must stay free: what was begun, the marker, left-over work and a person's repairs live on them.
pub const RESERVE: u64 = 256 << 20;

/// What a client is told whose write is refused.
pub const REFUSAL: &str = "The gateway's disk is nearly full: it takes no changes until there is room again. Reads go on.";

/// Whether writes are refused with so many bytes free.
#[must_use]
pub fn nearly_full(free: u64) -> bool {
    free < RESERVE
}

/// Bytes that this process may still write to the filesystem of `path`. Blocks on a slow one.
pub(super) fn free(path: &Path) -> io::Result<u64> {
    let filesystem = rustix::fs::statvfs(path)?;
    // `f_bavail`, not `f_bfree`: what is set aside for root is not ours.
    Ok(filesystem.f_bavail.saturating_mul(filesystem.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_256_mib() {
        for (free, refused) in [
            (0, true),
            ((256 << 20) - 1, true),
            (256 << 20, false),
            (u64::MAX, false),
        ] {
            assert_eq!(nearly_full(free), refused, "{free} bytes free");
        }
    }

    #[test]
    fn a_filesystem_is_measured_and_a_missing_one_is_an_error() {
        let home = tempfile::tempdir().expect("a directory");
        let whole = rustix::fs::statvfs(home.path()).expect("measured");
        let free = free(home.path()).expect("measured");
        assert!(free <= whole.f_blocks.saturating_mul(whole.f_frsize));
        assert!(free > 0, "tests need room to write");
        assert!(super::free(&home.path().join("gone")).is_err());
    }
}
