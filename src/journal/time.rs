//! A row's times as JSON: RFC 3339 in UTC with milliseconds. Internal: only [`super::report::Row`] speaks this way; the
//! records on disk keep milliseconds as numbers.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

use crate::clock::Timestamp;

pub(super) fn serialize<S: Serializer>(at: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&at.rfc3339())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    read(&String::deserialize(from)?)
}

fn read<E: Error>(text: &str) -> Result<Timestamp, E> {
    Timestamp::parse(text).ok_or_else(|| E::custom("not an RFC 3339 time since 1970"))
}

pub(super) mod optional {
    use super::{Deserialize, Deserializer, Serializer, Timestamp, read};

    pub(in crate::journal) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, out),
            None => out.serialize_none(),
        }
    }

    pub(in crate::journal) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|text| read(&text)).transpose()
    }
}
