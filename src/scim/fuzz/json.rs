//! The limits on JSON, against a count that knows nothing of how they are kept.

use serde_json::Value;

use super::refused;
use crate::scim::json::{Bounds, members, read};

/// What is read is what serde_json reads, and it is read exactly if it is within the limits; what is read is written and
/// read again as the same; of an object its members can be had alone.
pub fn json(data: &[u8]) {
    let plain: Option<Value> = serde_json::from_slice(data).ok();
    let counted = plain.as_ref().map(|_| count(data));
    for bounds in [
        Bounds::default(),
        Bounds {
            depth: 3,
            nodes: 12,
        },
        Bounds { depth: 1, nodes: 2 },
    ] {
        let within = counted.as_ref().is_some_and(|counted| {
            counted.depth <= bounds.depth
                && counted.values <= bounds.nodes
                && counted.keys <= 256
                && counted.longest <= 16 * 1024
                && !counted.twice
        });
        match read(data, bounds) {
            Ok(value) => {
                assert!(within, "over {bounds:?}: {counted:?}");
                assert_eq!(Some(&value), plain.as_ref());
                assert_eq!(read(value.to_string().as_bytes(), bounds), Ok(value));
            }
            Err(fault) => {
                assert!(!within, "within {bounds:?}: {counted:?}: {fault}");
                refused(&fault, &[400]);
            }
        }
    }
    if let Some(Value::Object(object)) = plain {
        assert_eq!(members(data, |_| true).ok().as_ref(), Some(&object));
        for name in object.keys() {
            let alone = members(data, |other| other == name).ok();
            let alone = alone.map(|alone| (alone.len(), alone.get(name) == object.get(name)));
            assert_eq!(alone, Some((1, true)));
        }
    }
}

/// What there is in a text that is JSON.
#[derive(Debug, Default)]
struct Counted {
    /// Arrays and objects inside one another.
    depth: usize,
    /// Values of any kind.
    values: usize,
    /// The most keys in one object.
    keys: usize,
    /// Bytes of the longest text or key.
    longest: usize,
    /// Some object has two keys that are the same but for their case.
    twice: bool,
}

/// Looks at one byte after another, and at nothing but brackets, quotes and colons.
fn count(data: &[u8]) -> Counted {
    let mut counted = Counted::default();
    // The keys of those that are open; an array has none.
    let mut open: Vec<Vec<String>> = Vec::new();
    let mut rest = data;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'{' | b'[' => {
                open.push(Vec::new());
                counted.values += 1;
                counted.depth = counted.depth.max(open.len());
                after
            }
            b'}' | b']' => {
                let mut keys = open.pop().unwrap_or_default();
                counted.keys = counted.keys.max(keys.len());
                keys.sort();
                counted.twice |= keys.windows(2).any(|two| two.first() == two.last());
                after
            }
            b'"' => {
                let mut escaped = false;
                let end = after.iter().position(|byte| {
                    let ends = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    ends
                });
                let (text, behind) = rest.split_at(end.unwrap_or_default() + 2);
                let text: String = serde_json::from_slice(text).unwrap_or_default();
                counted.longest = counted.longest.max(text.len());
                if behind.trim_ascii_start().starts_with(b":") {
                    let key = text.to_ascii_lowercase();
                    open.last_mut()
                        .into_iter()
                        .for_each(|keys| keys.push(key.clone()));
                } else {
                    counted.values += 1;
                }
                behind
            }
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => after,
            // A number, or a word.
            _ => {
                counted.values += 1;
                let ends = |byte: &u8| b",:]} \t\r\n".contains(byte);
                let end = rest.iter().position(ends).unwrap_or(rest.len());
                rest.split_at(end).1
            }
        };
    }
    counted
}
