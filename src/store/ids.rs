//! Outward ids that carry their handle, so that no look-up key is needed for them.
//!
//! A UUIDv7 (RFC 9562 5.7): 48 bits of milliseconds, version, 12 random bits, variant, 22 random bits, and in the last
//! 40 bits the handle under a mask that is drawn from the instance's secret and the bytes before. Nobody can read the
//! directory's size or a neighbour's id out of one; whoever makes one up meets a comparison of the whole id.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::scim::{Handle, Id};

/// The data file's random id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instance(pub(super) [u8; 16]);

impl Instance {
    /// An id for `handle`. A handle over 40 bits does not come back out of it and gets a look-up key instead.
    pub(super) fn mint(self, handle: Handle, now: Timestamp, random: u64) -> Id {
        let [_, _, t0, t1, t2, t3, t4, t5] = now.0.to_be_bytes();
        let [r0, r1, r2, r3, r4, ..] = random.to_be_bytes();
        let head = [
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            0x70 | (r0 & 0x0f),
            r1,
            0x80 | (r2 & 0x3f),
            r3,
            r4,
        ];
        let [_, _, _, h0, h1, h2, h3, h4] = handle.0.to_be_bytes();
        let [m0, m1, m2, m3, m4] = self.mask(&head);
        let mut bytes = [0; 16];
        let (front, back) = bytes.split_at_mut(head.len());
        front.copy_from_slice(&head);
        back.copy_from_slice(&[h0 ^ m0, h1 ^ m1, h2 ^ m2, h3 ^ m3, h4 ^ m4]);
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        Id::from(&*Uuid::from_bytes(bytes).hyphenated().encode_lower(&mut text))
    }

    /// The handle that an id of ours would carry. The caller compares the whole id with the row's.
    pub(super) fn handle(self, id: &str) -> Option<Handle> {
        if id.len() != uuid::fmt::Hyphenated::LENGTH {
            return None;
        }
        let uuid = Uuid::try_parse(id).ok()?;
        let (head, [b0, b1, b2, b3, b4]) = uuid.as_bytes().split_first_chunk::<11>()? else {
            return None;
        };
        let [m0, m1, m2, m3, m4] = self.mask(head);
        Some(Handle(u64::from_be_bytes([
            0,
            0,
            0,
            b0 ^ m0,
            b1 ^ m1,
            b2 ^ m2,
            b3 ^ m3,
            b4 ^ m4,
        ])))
    }

    /// Whether `id` carries `handle`.
    pub(super) fn is_ours(self, id: &Id, handle: Handle) -> bool {
        self.handle(id.as_str()) == Some(handle)
    }

    fn mask(self, head: &[u8; 11]) -> [u8; 5] {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(self.0)
            .chain_update(head)
            .finalize()
            .into();
        let [m0, m1, m2, m3, m4, ..] = digest;
        [m0, m1, m2, m3, m4]
    }
}

/// Bytes in lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ok = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_carries_its_handle(handle in 0_u64..1 << 40, now in 0_u64..1 << 48, random: u64, key: [u8; 16]) {
            let instance = Instance(key);
            let id = instance.mint(Handle(handle), Timestamp(now), random);
            prop_assert_eq!(instance.handle(id.as_str()), Some(Handle(handle)));
            let uuid = Uuid::try_parse(id.as_str()).expect("a UUID");
            prop_assert_eq!(uuid.get_version_num(), 7);
            prop_assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            prop_assert_eq!(&uuid.as_bytes()[..6], &now.to_be_bytes()[2..]);
        }
    }

    #[test]
    fn what_is_not_ours_is_not_taken_for_it() {
        let instance = Instance([1; 16]);
        let wide = Handle(1 << 40);
        assert!(!instance.is_ours(&instance.mint(wide, Timestamp(5), 9), wide));
        assert_eq!(instance.handle("zHt-_2fGQ"), None);
        assert_eq!(instance.handle(""), None);
        let near = instance.mint(Handle(1), Timestamp(5), 9);
        let next = instance.mint(Handle(2), Timestamp(5), 10);
        assert_ne!(near.as_str()[26..], next.as_str()[26..]);
        assert_ne!(Instance([2; 16]).handle(near.as_str()), Some(Handle(1)));
    }
}
