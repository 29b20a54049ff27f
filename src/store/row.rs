//! A resource's row: a fixed header, the client's attributes as canonical JSON (sorted keys), the links.
//!
//! A reply needs the header and the attributes' bytes as they are; it never parses them. See [`RowRef`].

use crate::clock::Timestamp;
use crate::scim::{Handle, Id, Kind, Resource};

use super::tables::Trouble;

const FORMAT: u8 = 1;
const HEADER: usize = 46;

/// A stored resource, borrowed: header fields, and the attributes as JSON bytes.
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    /// The directory's key.
    pub handle: Handle,
    /// User or Group.
    pub kind: Kind,
    /// Counts the changes that a client can see.
    pub version: u64,
    /// `meta.created`.
    pub created: Timestamp,
    /// `meta.lastModified`.
    pub modified: Timestamp,
    /// When a client deleted it.
    pub deleted: Option<Timestamp>,
    /// The client that owns it.
    pub owner: &'a str,
    /// The outward id.
    pub id: &'a str,
    /// What the client said: a JSON object with sorted keys, without `id`, `meta`, `members`, `groups`, `password`.
    pub attributes: &'a [u8],
    links: &'a [u8],
}

impl<'a> RowRef<'a> {
    /// Reads an unsealed row.
    pub(super) fn parse(handle: Handle, bytes: &'a [u8]) -> Result<Self, Trouble> {
        parts(handle, bytes)
            .ok_or_else(|| Trouble::Damaged(format!("row {}: its header does not fit", handle.0)))
    }

    /// How many accounts it has.
    pub(super) fn link_count(&self) -> Result<u64, Trouble> {
        let links: Vec<serde::de::IgnoredAny> = serde_json::from_slice(self.links)
            .map_err(|error| Trouble::Damaged(format!("row {}: {error}", self.handle.0)))?;
        Ok(links.len() as u64)
    }

    /// Whether it has any account, or may have one.
    pub(super) fn has_links(&self) -> bool {
        self.links != b"[]"
    }

    /// The whole resource.
    ///
    /// # Errors
    /// The JSON in it does not parse.
    pub(super) fn decode(&self) -> Result<Resource, Trouble> {
        let damaged =
            |error: serde_json::Error| Trouble::Damaged(format!("row {}: {error}", self.handle.0));
        Ok(Resource {
            handle: self.handle,
            id: Id::from(self.id),
            kind: self.kind,
            version: self.version,
            created: self.created,
            modified: self.modified,
            owner: self.owner.to_owned(),
            deleted: self.deleted,
            attributes: serde_json::from_slice(self.attributes).map_err(damaged)?,
            links: if self.links == b"[]" {
                Vec::new()
            } else {
                serde_json::from_slice(self.links).map_err(damaged)?
            },
        })
    }
}

/// A resource as the bytes of its row, without the seal.
pub(super) fn encode(resource: &Resource) -> Result<Vec<u8>, Trouble> {
    let refused = |what: &str| Trouble::Damaged(format!("a resource cannot be stored: {what}"));
    let attributes =
        serde_json::to_vec(&resource.attributes).map_err(|error| refused(&error.to_string()))?;
    let links = serde_json::to_vec(&resource.links).map_err(|error| refused(&error.to_string()))?;
    let short = |text: &str| u16::try_from(text.len()).map_err(|_| refused("a name is too long"));
    let long = |part: &[u8]| u32::try_from(part.len()).map_err(|_| refused("it is too large"));
    let (owner, id) = (resource.owner.as_str(), resource.id.as_str());

    let mut out =
        Vec::with_capacity(HEADER + owner.len() + id.len() + attributes.len() + links.len() + 4);
    out.push(FORMAT);
    out.push(kind_byte(resource.kind));
    let deleted = resource.deleted.map_or(u64::MAX, |at| at.0);
    for number in [
        resource.version,
        resource.created.0,
        resource.modified.0,
        deleted,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&short(owner)?.to_le_bytes());
    out.extend_from_slice(&short(id)?.to_le_bytes());
    out.extend_from_slice(&long(&attributes)?.to_le_bytes());
    out.extend_from_slice(&long(&links)?.to_le_bytes());
    out.extend_from_slice(owner.as_bytes());
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(&attributes);
    out.extend_from_slice(&links);
    Ok(out)
}

/// User or Group in a byte of a key or row.
pub(super) fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::User => b'U',
        Kind::Group => b'G',
    }
}

/// ... and back.
pub(super) fn kind_of(byte: u8) -> Option<Kind> {
    match byte {
        b'U' => Some(Kind::User),
        b'G' => Some(Kind::Group),
        _ => None,
    }
}

fn parts(handle: Handle, bytes: &[u8]) -> Option<RowRef<'_>> {
    let (&[FORMAT, kind], rest) = bytes.split_first_chunk::<2>()? else {
        return None;
    };
    let (version, rest) = rest.split_first_chunk::<8>()?;
    let (created, rest) = rest.split_first_chunk::<8>()?;
    let (modified, rest) = rest.split_first_chunk::<8>()?;
    let (deleted, rest) = rest.split_first_chunk::<8>()?;
    let (owner, rest) = rest.split_first_chunk::<2>()?;
    let (id, rest) = rest.split_first_chunk::<2>()?;
    let (attributes, rest) = rest.split_first_chunk::<4>()?;
    let (links, rest) = rest.split_first_chunk::<4>()?;
    let (owner, rest) = rest.split_at_checked(u16::from_le_bytes(*owner).into())?;
    let (id, rest) = rest.split_at_checked(u16::from_le_bytes(*id).into())?;
    let size = |bytes: [u8; 4]| usize::try_from(u32::from_le_bytes(bytes)).ok();
    let (attributes, rest) = rest.split_at_checked(size(*attributes)?)?;
    let (links, rest) = rest.split_at_checked(size(*links)?)?;
    let deleted = u64::from_le_bytes(*deleted);
    rest.is_empty().then_some(RowRef {
        handle,
        kind: kind_of(kind)?,
        version: u64::from_le_bytes(*version),
        created: Timestamp(u64::from_le_bytes(*created)),
        modified: Timestamp(u64::from_le_bytes(*modified)),
        deleted: (deleted != u64::MAX).then_some(Timestamp(deleted)),
        owner: std::str::from_utf8(owner).ok()?,
        id: std::str::from_utf8(id).ok()?,
        attributes,
        links,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    use crate::store::tests::{link, user};

    #[test]
    fn a_row_reads_back_and_shows_its_bytes() {
        let mut resource = user(7, "Ada@example.com");
        resource.links = vec![link("zoom", Some("r&1"))];
        resource.deleted = Some(Timestamp(12));
        let bytes = encode(&resource).expect("fits");
        let row = RowRef::parse(Handle(7), &bytes).expect("whole");
        assert_eq!(row.decode().expect("JSON"), resource);
        assert_eq!(row.id, resource.id.as_str());
        assert_eq!(
            row.attributes,
            br#"{"active":true,"userName":"Ada@example.com"}"#
        );
        for length in 0..bytes.len() {
            assert!(RowRef::parse(Handle(7), &bytes[..length]).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_row_reads_back(
            owner in ".{0,20}", id in ".{0,40}", name in ".{0,60}",
            numbers in any::<[u32; 3]>(), deleted in any::<Option<u32>>(), group in any::<bool>(),
        ) {
            let mut resource = user(3, &name);
            resource.kind = if group { Kind::Group } else { Kind::User };
            resource.owner = owner;
            resource.id = Id::from(id.as_str());
            resource.version = numbers[0].into();
            resource.created = Timestamp(numbers[1].into());
            resource.modified = Timestamp(numbers[2].into());
            resource.deleted = deleted.map(|at| Timestamp(at.into()));
            resource.attributes.insert("emails".into(), json!([{ "value": name }]));
            let bytes = encode(&resource).expect("fits");
            let row = RowRef::parse(Handle(3), &bytes).expect("whole");
            prop_assert_eq!(row.decode().expect("JSON"), resource);
        }
    }
}
