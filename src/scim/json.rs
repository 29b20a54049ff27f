//! JSON from outside, read strictly.
//!
//! serde_json alone keeps the last of two equal keys, so that one reader sees `active: true` and the next `active:
//! false`; it also takes a body that opens 128 arrays, or holds a million numbers. This reader refuses all of that while
//! it reads. Keys are equal whatever their case, as SCIM's names are (RFC 7643 2.1). Its errors name a place and a key,
//! never a value.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use super::name;
use crate::config::shape::Limits;
use crate::error::Fault;

/// Values of any kind in one body of up to 1 MiB; a larger body may hold more of them in proportion. A group's member is
/// two of them and 49 bytes, so that a body that is full of members stays below.
const NODES: usize = 50_000;

/// Keys in one object. Zoom's extension is an open list of some 60 licences and free attributes beside them, and Entra
/// puts every attribute of a PATCH into one object.
const KEYS: usize = 256;

/// Bytes of one text or key, escapes resolved: a certificate (RFC 7643 4.1.2) takes 3 to 8 KiB.
const TEXT: usize = 16 * 1024;

/// Bytes of memory behind one object: a BTreeMap's first leaf has room for eleven entries. `{"":0}` costs a hundred times
/// its size.
const OBJECT: usize = 688;
/// Behind one array: a Vec begins with four places of 32 bytes.
const ARRAY: usize = 144;
/// Behind one entry more: its place, twice over for growth, and the allocation of its text.
const ENTRY: usize = 96;

/// The most levels that [`Bounds::depth`] can allow: serde_json, which reads what is stored too, takes no more.
pub const DEEPEST: usize = 127;

/// Bounds on the input.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many arrays and objects may stand inside one another.
    pub depth: usize,
    /// How many values there may be in all.
    pub nodes: usize,
}

impl Bounds {
    /// Those that the configuration asks for.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        Self {
            depth: limits.json_depth,
            // A value for every 21 bytes of what a body may be.
            nodes: NODES.max(limits.body / (1024 * 1024 / NODES + 1)),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            depth: 32,
            nodes: NODES,
        }
    }
}

/// How much memory reading a body may take, in bytes, the body itself included. It only counts the signs that begin a
/// value, also those within texts, and so is never too little.
#[must_use]
pub fn weight(bytes: &[u8]) -> usize {
    let (mut objects, mut arrays, mut entries) = (0_usize, 0_usize, 0_usize);
    for byte in bytes {
        objects += usize::from(*byte == b'{');
        arrays += usize::from(*byte == b'[');
        entries += usize::from(matches!(*byte, b',' | b':'));
    }
    2 * bytes.len() + objects * OBJECT + arrays * ARRAY + entries * ENTRY
}

/// Reads those members of a stored object that `named` takes. The others are passed over, which costs a fraction of
/// reading them.
///
/// # Errors
/// It is no JSON object.
pub fn members(
    object: &[u8],
    named: impl Fn(&str) -> bool,
) -> serde_json::Result<Map<String, Value>> {
    serde_json::Deserializer::from_slice(object).deserialize_map(Members(named))
}

struct Members<F>(F);

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Members<F> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if (self.0)(&key) {
                members.insert(key, access.next_value()?);
            } else {
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(members)
    }
}

/// Reads one JSON value.
///
/// # Errors
/// [`Fault::InvalidSyntax`], with line and column: not JSON, two equal keys in one object, something after the value, a
/// byte order mark, over `bounds`, over 256 keys in one object, a text or key of over 16 KiB.
pub fn read(bytes: &[u8], bounds: Bounds) -> Result<Value, Fault> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Fault::InvalidSyntax(
            "The body starts with a byte order mark; JSON has none (RFC 8259 8.1).".into(),
        ));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::InvalidSyntax(
            "The body is empty where JSON is wanted.".into(),
        ));
    }
    let nodes = Cell::new(0);
    let seed = Seed {
        nodes: &nodes,
        left: bounds.depth,
        bounds,
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    seed.deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        // Every value is taken by the visitor, so that serde_json complains of syntax only and echoes nothing.
        .map_err(|error| Fault::InvalidSyntax(format!("The body is not the JSON wanted: {error}.")))
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    nodes: &'a Cell<usize>,
    /// How many more levels may open.
    left: usize,
    bounds: Bounds,
}

impl Seed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(E::custom(format!(
                "nested deeper than {}",
                self.bounds.depth
            )));
        };
        Ok(Self { left, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        let count = self.nodes.get() + 1;
        let most = self.bounds.nodes;
        if count > most {
            return Err(D::Error::custom(format!("more than {most} values")));
        }
        self.nodes.set(count);
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        short(value)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        short(&value)?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.len() == KEYS {
                return Err(A::Error::custom(format!(
                    "more than {KEYS} keys in one object"
                )));
            }
            short(&key)?;
            if object.keys().any(|other| name::same(other, &key)) {
                let key: String = key.escape_debug().take(40).collect();
                return Err(A::Error::custom(format!(
                    "the key \"{key}\" stands twice in one object"
                )));
            }
            object.insert(key, entries.next_value_seed(seed)?);
        }
        Ok(Value::Object(object))
    }
}

fn short<E: serde::de::Error>(text: &str) -> Result<(), E> {
    if text.len() <= TEXT {
        return Ok(());
    }
    Err(E::custom(format!("a text of more than {TEXT} bytes")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_named_members_are_read() {
        let object = br#"{"a":{"b":[1,"\u0041"]},"c":[{}],"urn:d":{"e":null}}"#;
        for (named, wanted) in [
            ("", "{}"),
            ("a", r#"{"a":{"b":[1,"A"]}}"#),
            ("c d", r#"{"c":[{}]}"#),
            (
                "a c urn:d",
                r#"{"a":{"b":[1,"A"]},"c":[{}],"urn:d":{"e":null}}"#,
            ),
        ] {
            let read = members(object, |key| named.split(' ').any(|name| name == key));
            assert_eq!(Value::Object(read.unwrap()).to_string(), wanted);
        }
        for broken in [&b"[]"[..], b"{\"a\":}", b"{\"a\":1", b""] {
            assert!(members(broken, |_| false).is_err());
        }
    }

    fn check(text: &[u8], wanted: Result<&str, &str>) {
        let bounds = Bounds {
            depth: 3,
            ..Bounds::default()
        };
        match (read(text, bounds), wanted) {
            (Ok(value), Ok(wanted)) => assert_eq!(value.to_string(), wanted),
            (Err(Fault::InvalidSyntax(text)), Err(wanted)) => {
                assert!(text.contains(wanted), "{text}");
                assert!(!text.contains("secret"), "{text}");
            }
            (read, wanted) => panic!("{}: {read:?}, {wanted:?}", String::from_utf8_lossy(text)),
        }
    }

    #[test]
    fn reads_strictly() {
        check(
            br#" {"b":[1,-2,0.5,null,true],"a":"\u00e4"} "#,
            Ok("{\"a\":\"\u{e4}\",\"b\":[1,-2,0.5,null,true]}"),
        );
        check(br#"[[[1]]]"#, Ok("[[[1]]]"));
        check(br#"[[[[1]]]]"#, Err("nested deeper than 3"));
        check(br#"{"a":{"a":{"a":{}}}}"#, Err("nested deeper than 3"));
        check(
            br#"{"a":"secret","a":"secret"}"#,
            Err(r#"the key "a" stands twice in one object at line 1 column"#),
        );
        check(br#"{"a":1,"\u0061":1}"#, Err("twice"));
        check(br#"{"a":1,"A":1}"#, Err("twice"));
        check(
            br#"{"a":{"b":1},"b":{"A":1}}"#,
            Ok(r#"{"a":{"b":1},"b":{"A":1}}"#),
        );
        check(b"{} {}", Err("trailing characters"));
        check(b"\xef\xbb\xbf{}", Err("byte order mark"));
        check(b" \n", Err("empty"));
        check(br#"{"a":"secret"#, Err("EOF"));
        check(br#"{"a":secret}"#, Err("line 1 column 6"));
        check(br#"["secret",]"#, Err("trailing comma"));
        check(b"[1e999]", Err("number out of range"));
        check(b"[NaN]", Err("line 1"));
        check(b"\"\xff\"", Err("line 1"));
        check(br#""\ud800""#, Err("line 1"));
    }

    #[test]
    fn the_deepest_that_may_be_configured_is_read() {
        let bounds = Bounds {
            depth: DEEPEST,
            ..Bounds::default()
        };
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(read(nested(DEEPEST).as_bytes(), bounds).is_ok());
        assert!(read(nested(DEEPEST + 1).as_bytes(), bounds).is_err());
    }

    #[test]
    fn counts_what_it_takes() {
        let array = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
        check(array(NODES).as_bytes(), Err("more than 50000 values"));
        assert!(read(array(NODES - 1).as_bytes(), Bounds::default()).is_ok());
        let object = |n: usize| {
            let keys: Vec<String> = (0..n).map(|at| format!("\"{at}\":0")).collect();
            format!("{{{}}}", keys.join(","))
        };
        check(object(KEYS + 1).as_bytes(), Err("more than 256 keys"));
        assert!(read(object(KEYS).as_bytes(), Bounds::default()).is_ok());
        // Two bytes each, six as they are sent.
        let text = |n: usize| "\\u00e4".repeat(n / 2) + &"a".repeat(n % 2);
        for shape in [
            |text: String| format!("[\"{text}\"]"),
            |text| format!("{{\"{text}\":1}}"),
        ] {
            check(
                shape(text(TEXT + 1)).as_bytes(),
                Err("a text of more than 16384 bytes"),
            );
            assert!(read(shape(text(TEXT)).as_bytes(), Bounds::default()).is_ok());
        }
        check("[".repeat(1_000_000).as_bytes(), Err("nested deeper"));
    }

    /// Megabytes of this process that are in memory.
    fn resident() -> f64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: f64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096.0 / 1e6
    }

    /// Which shape a process is to weigh.
    const SHAPE: &str = "USHER_TEST_SHAPE";

    /// Alone in its process, so that what comes to memory is what is read here.
    #[test]
    #[ignore = "the test below runs it"]
    fn weighing() {
        let which = std::env::var(SHAPE).map_or(0, |which| which.parse().unwrap());
        let list = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
        let keys: Vec<String> = (0..KEYS).map(|at| format!("\"{at}\":0")).collect();
        let member = r#"{"value":"2819c223-7f76-453a-919d-413861904646"}"#;
        let user = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ada@example.com","name":{"givenName":"Ada","familyName":"King"},"emails":[{"value":"ada@example.com","type":"work","primary":true}],"active":true}"#;
        let shapes = [
            ("objects of one key", list(r#"{"":0}"#, 24_900)),
            (
                "objects in objects",
                list(&(r#"{"":"#.repeat(30) + "0" + &"}".repeat(30)), 1_600),
            ),
            (
                "objects of many keys",
                list(&format!("{{{}}}", keys.join(",")), 190),
            ),
            ("arrays of one", list("[0]", 24_900)),
            (
                "arrays in arrays",
                list(&("[".repeat(30) + &"]".repeat(30)), 1_600),
            ),
            ("numbers", list("0", 49_900)),
            ("empty texts", list("\"\"", 49_900)),
            ("short texts", list("\"a\"", 49_900)),
            (
                "texts of 17 bytes",
                list(&format!("\"{}\"", "a".repeat(17)), 49_900),
            ),
            (
                "long texts",
                list(&format!("\"{}\"", "a".repeat(16_000)), 64),
            ),
            (
                "escaped texts",
                list(&format!("\"{}\"", "\\u0041".repeat(2_700)), 64),
            ),
            ("members", list(member, 20_000)),
            ("users", list(user, 3_600)),
        ];
        let Some((name, shape)) = shapes.get(which) else {
            println!("no more shapes");
            return;
        };
        let before = resident();
        // Without the text itself, which is one already.
        let weight = (weight(shape.as_bytes()) - shape.len()) as f64 / 1e6;
        let copies = (100.0 / weight).ceil();
        let read: Vec<Value> = (0..copies as usize)
            .map(|_| read(shape.as_bytes(), Bounds::default()).unwrap())
            .collect();
        let cost = (resident() - before) / copies;
        let size = shape.len() as f64 / 1e6;
        println!(
            "{name}: {size:.2} MB cost {cost:.1} MB, {:.0} times as much; weight {weight:.1} MB",
            cost / size
        );
        assert!(cost <= weight * 1.02, "{name}: {cost} over {weight}");
        drop(read);
    }

    #[test]
    fn nothing_costs_more_than_its_weight() {
        for which in 0..99 {
            let mut weighing = std::process::Command::new(std::env::current_exe().unwrap());
            weighing.env(SHAPE, which.to_string()).args([
                "--exact",
                "scim::json::tests::weighing",
                "--ignored",
                "--nocapture",
            ]);
            let weighed = weighing.output().unwrap();
            let said = String::from_utf8_lossy(&weighed.stdout);
            assert!(
                weighed.status.success() && said.contains("1 passed"),
                "{said}{}",
                String::from_utf8_lossy(&weighed.stderr)
            );
            if said.contains("no more shapes") {
                assert!(which > 0);
                return;
            }
            println!(
                "{}",
                said.lines().find(|line| line.contains("cost")).unwrap()
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = read(&bytes, Bounds::default()) {
                prop_assert_eq!(read(value.to_string().as_bytes(), Bounds::default()), Ok(value));
            }
        }

        #[test]
        fn a_number_reads_as_it_prints(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let text = serde_json::to_vec(&number).unwrap();
            let value = read(&text, Bounds::default()).unwrap();
            prop_assert_eq!(value.as_f64(), Some(number));
        }
    }
}
