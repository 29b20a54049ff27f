//! HTTP/2 from clients, frame by frame: the bounds that hold, and what is cut.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use usher::clock::Clock;

use crate::house::{PATIENCE, TOKEN, say};
use crate::tls::{Secured, in_time};

// Frame types and flags (RFC 9113 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
// Error codes (RFC 9113 7).
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// `header_timeout`
const IDLE: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The last four bytes of the first eight or four: the error code of GOAWAY or RST_STREAM.
    fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A client that says exactly what it is told to.
struct Raw(TlsStream<TcpStream>);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A text in HPACK (RFC 7541 5.2), without Huffman's code.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let length = text.len();
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
    } else {
        bytes.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    bytes.extend(text.as_bytes());
}

/// A head: every line as a literal that is not indexed (RFC 7541 6.2.2).
fn block(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let authorization = format!("Bearer {TOKEN}");
    let mut bytes = Vec::new();
    let lines = [
        (":method", method),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
        ("authorization", &authorization),
        ("content-type", "application/scim+json"),
    ];
    for (name, value) in lines.iter().chain(more) {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

impl Raw {
    /// Connects, says what every client says first, and reads the server's SETTINGS.
    async fn new(secured: &Secured) -> (Self, Vec<u8>) {
        let mut raw = Self(secured.dial(&[b"h2"]).await.unwrap());
        raw.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        // HEADER_TABLE_SIZE 0: what the server says can be read line by line.
        raw.send(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]).await;
        let settings = raw.until(|frame| frame.kind == SETTINGS).await.unwrap();
        raw.send(SETTINGS, ACK, 0, &[]).await;
        (raw, settings.payload)
    }

    async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let bytes = frame(kind, flags, stream, payload);
        self.say(&bytes).await.unwrap();
    }

    /// `None`: the connection is closed.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// The first frame that is wanted, or `None` at the end.
    async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        let reading = async {
            loop {
                let frame = self.next().await?;
                if wanted(&frame) {
                    return Some(frame);
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("in time")
    }

    /// The status of the answer on `stream`, read off its first byte where HPACK has it (RFC 7541 A), and its body.
    async fn answer(&mut self, stream: u32) -> (u16, Value) {
        let head = self
            .until(|frame| frame.stream == stream && frame.kind == HEADERS)
            .await
            .expect("an answer");
        // Where it says that its table has no room (RFC 7541 6.3), that comes first.
        let skip = usize::from(head.payload[0] == 0x20);
        let line = &head.payload[skip..];
        let status = match line[0] {
            0x88 => 200,
            0x8c => 400,
            // A literal with the name of entry 8: `:status`, its digits by Huffman's code or as they are.
            0x08 | 0x48 => huffman_digits(&line[1..]),
            other => panic!("{other:x}"),
        };
        let mut body = Vec::new();
        let mut ended = head.flags & END_STREAM != 0;
        while !ended {
            let data = self
                .until(|frame| frame.stream == stream)
                .await
                .expect("a body");
            if data.kind == DATA {
                body.extend(&data.payload);
            }
            ended = data.flags & END_STREAM != 0 || data.kind == RST_STREAM;
        }
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Reads to the end while time passes.
    async fn closed(mut self, clock: &Clock) {
        in_time(clock, async { while self.next().await.is_some() {} }).await;
    }
}

/// A number as HPACK has it: plain, or its digits of five (0 to 2) and six bits (RFC 7541 B).
fn huffman_digits(bytes: &[u8]) -> u16 {
    let length = usize::from(bytes[0] & 127);
    let bytes_of = &bytes[1..=length];
    if bytes[0] & 128 == 0 {
        return std::str::from_utf8(bytes_of).unwrap().parse().unwrap();
    }
    let bits: String = bytes_of.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut number, mut rest) = (0, bits.as_str());
    for _ in 0..3 {
        let (five, six) = (
            u16::from_str_radix(&rest[..5], 2).unwrap(),
            u16::from_str_radix(&rest[..6], 2).unwrap(),
        );
        let (digit, length) = if five < 3 { (five, 5) } else { (six - 0x16, 6) };
        number = number * 10 + digit;
        rest = &rest[length..];
    }
    number
}

async fn is_served(secured: &Secured) {
    let (mut raw, _) = Raw::new(secured).await;
    let head = block("GET", "/scim/v2/Users", &[]);
    raw.send(HEADERS, END_STREAM | END_HEADERS, 1, &head).await;
    assert_eq!(raw.answer(1).await.0, 200);
}

#[tokio::test]
async fn the_bounds_are_announced_and_hold() {
    let secured = Secured::new().await;
    let (mut raw, settings) = Raw::new(&secured).await;
    let announced: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|pair| {
            (
                u16::from_be_bytes([pair[0], pair[1]]),
                u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]),
            )
        })
        .collect();
    // MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE
    for setting in [(3, 100), (4, 64 * 1024), (6, 32 * 1024)] {
        assert!(announced.contains(&setting), "{announced:?}");
    }
    // The window of the connection is not a setting: it is opened from 65,535 (RFC 9113 6.9.2).
    let window = raw.until(|it| it.kind == WINDOW_UPDATE && it.stream == 0);
    let window = window.await.expect("a window").payload;
    assert_eq!(window, (1024 * 1024 - 65_535_u32).to_be_bytes());
    // 100 whose bodies do not come, and one more.
    let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "a@example.com",
        "name": {"givenName": "A", "familyName": "B"}, "emails": [{"value": "a@example.com", "type": "work"}]});
    let head = block("POST", "/scim/v2/Users", &[]);
    for stream in 0..101 {
        raw.send(HEADERS, END_HEADERS, 2 * stream + 1, &head).await;
    }
    let refused = raw.until(|frame| frame.kind == RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.code()), (201, REFUSED_STREAM));
    // The first 100 are well.
    raw.send(DATA, END_STREAM, 1, user.to_string().as_bytes())
        .await;
    let (status, body) = raw.answer(1).await;
    assert_eq!(status, 201, "{body}");
    let list = block("GET", "/scim/v2/Users", &[]);
    raw.send(HEADERS, END_STREAM | END_HEADERS, 203, &list)
        .await;
    let (status, body) = raw.answer(203).await;
    assert_eq!((status, &body["totalResults"]), (200, &json!(1)));
    say(&format!(
        "settings {announced:?}; stream 101 of 101 refused"
    ));
}

#[tokio::test]
async fn a_head_and_a_body_over_their_limits_are_told_in_scim() {
    let secured = Secured::new().await;
    let (mut raw, _) = Raw::new(&secured).await;
    let mut stream = 1;
    for (length, wanted, detail) in [
        (12 * 1024, 200, false),
        (18 * 1024, 431, true),
        // Beyond what h2 reads at all.
        (40 * 1024, 431, false),
    ] {
        let value = "x".repeat(length);
        let head = block("GET", "/scim/v2/Users", &[("x-long", &value)]);
        let mut pieces = head.chunks(16 * 1024);
        let last = pieces.len() - 1;
        let flags = |at: usize| if at == last { END_HEADERS } else { 0 };
        raw.send(
            HEADERS,
            END_STREAM | flags(0),
            stream,
            pieces.next().unwrap(),
        )
        .await;
        for (at, piece) in (1..).zip(pieces) {
            raw.send(CONTINUATION, flags(at), stream, piece).await;
        }
        let (status, body) = raw.answer(stream).await;
        assert_eq!(status, wanted, "{length}: {body}");
        assert_eq!(
            body["detail"].is_string() && body["status"] == "431",
            detail
        );
        stream += 2;
    }
    // A body that says its length, and one that does not.
    for more in [&[("content-length", "1048577")][..], &[]] {
        let head = block("POST", "/scim/v2/Users", more);
        raw.send(HEADERS, END_HEADERS, stream, &head).await;
        let mut left = 1_048_577_usize;
        let mut window = 65_536_usize;
        // Within the window; more of it comes as the gateway reads.
        while left > 0 {
            while window < 16_384.min(left) {
                let more = raw
                    .until(|it| it.kind == WINDOW_UPDATE && it.stream == stream)
                    .await
                    .expect("a window");
                window += u32::from_be_bytes(more.payload.try_into().unwrap()) as usize;
            }
            let size = left.min(16_384);
            let flags = if size == left { END_STREAM } else { 0 };
            raw.send(DATA, flags, stream, &vec![b' '; size]).await;
            (left, window) = (left - size, window - size);
        }
        let (status, body) = raw.answer(stream).await;
        assert_eq!((status, &body["status"]), (413, &json!("413")), "{more:?}");
        stream += 2;
    }
}

/// A flood on one connection, in bursts: how many frames it took until the connection was cut, and by which code.
async fn flood(raw: &mut Raw, burst: &[u8], frames: usize) -> (usize, Option<u32>) {
    let mut sent = 0;
    let mut code = None;
    let (mut reader, mut writer) = tokio::io::split(&mut raw.0);
    let reading = async {
        let mut all = Vec::new();
        let _reset = reader.read_to_end(&mut all).await;
        all
    };
    let writing = async {
        while sent < 200_000
            && writer.write_all(burst).await.is_ok()
            && writer.flush().await.is_ok()
        {
            sent += frames;
        }
        // Where it was never cut, the test must not wait for ever.
        let _gone = writer.shutdown().await;
    };
    let both = async { tokio::join!(reading, writing) };
    let (all, ()) = tokio::time::timeout(PATIENCE, both)
        .await
        .expect("it is cut");
    let mut rest = all.as_slice();
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, more)) = after.split_at_checked(length) else {
            break;
        };
        // The first one says why.
        if *kind == GOAWAY && code.is_none() {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = more;
    }
    (sent, code)
}

/// One after another, so that none of them is over the bound on streams.
#[tokio::test]
async fn so_many_mistakes_and_no_more_are_forgiven() {
    let secured = Secured::new().await;
    let head = block("POST", "/scim/v2/Users", &[]);
    for (mistakes, forgiven) in [(64, true), (65, false)] {
        let (mut raw, _) = Raw::new(&secured).await;
        let mut cut = None;
        for stream in (0..mistakes).map(|at| 2 * at + 1) {
            let open = frame(HEADERS, END_HEADERS, stream, &head);
            let overflow = frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
            raw.say(&[open, overflow].concat()).await.unwrap();
            let said = raw.until(|it| matches!(it.kind, RST_STREAM | GOAWAY)).await;
            cut = said.filter(|said| said.kind == GOAWAY);
            assert!(cut.is_none() || stream == 2 * mistakes - 1, "{stream}");
        }
        let code = cut.map(|cut| cut.code());
        assert_eq!(code, (!forgiven).then_some(ENHANCE_YOUR_CALM), "{mistakes}");
    }
}

#[tokio::test]
async fn floods_are_cut_while_others_are_served() {
    let secured = Secured::new().await;
    let head = block("GET", "/scim/v2/Users", &[]);
    let cancel = 8_u32.to_be_bytes();
    // Rapid reset: one burst, so that resets are read together with what they take back.
    let mut rapid = Vec::new();
    for stream in 0..2_000 {
        rapid.extend(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            2 * stream + 1,
            &head,
        ));
        rapid.extend(frame(RST_STREAM, 0, 2 * stream + 1, &cancel));
    }
    // MadeYouReset: the gateway itself must reset each, for a window that overflows.
    let mut made = Vec::new();
    for stream in 0..2_000 {
        made.extend(frame(HEADERS, END_HEADERS, 2 * stream + 1, &head));
        made.extend(frame(
            WINDOW_UPDATE,
            0,
            2 * stream + 1,
            &[0x7f, 0xff, 0xff, 0xff],
        ));
    }
    for (name, burst) in [("rapid reset", rapid), ("made-you-reset", made)] {
        let (mut raw, _) = Raw::new(&secured).await;
        let (((_, code), ()), took) = {
            let begun = std::time::Instant::now();
            let both = async { tokio::join!(flood(&mut raw, &burst, 4_000), is_served(&secured)) };
            (both.await, begun.elapsed())
        };
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name}");
        say(&format!("{name}: cut in {took:?} with ENHANCE_YOUR_CALM"));
    }
    // A head that never ends.
    let mut begin = vec![0];
    text(&mut begin, "x");
    text(&mut begin, "y");
    let (mut raw, _) = Raw::new(&secured).await;
    raw.send(HEADERS, END_STREAM, 1, &begin).await;
    let burst = frame(CONTINUATION, 0, 1, &begin);
    let ((sent, code), ()) = tokio::join!(flood(&mut raw, &burst, 1), is_served(&secured));
    assert!(
        sent < 10_000 && code.is_some_and(|code| code != 0),
        "{sent} {code:?}"
    );
    say(&format!(
        "CONTINUATION: cut after at most {sent} frames, code {code:?}"
    ));
    // DATA without a byte in it (RUSTSEC-2026-0258).
    let (mut raw, _) = Raw::new(&secured).await;
    let post = block("POST", "/scim/v2/Users", &[]);
    raw.send(HEADERS, END_HEADERS, 1, &post).await;
    let burst = frame(DATA, 0, 1, &[]).repeat(100);
    let ((sent, code), ()) = tokio::join!(flood(&mut raw, &burst, 100), is_served(&secured));
    assert!(sent < 200_000, "{sent} {code:?}");
    say(&format!(
        "empty DATA: cut after at most {sent} frames, code {code:?}"
    ));
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_cut() {
    let secured = Secured::new().await;
    let clock = &secured.house.clock;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [&preface[..], &frame(SETTINGS, 0, 0, &[])].concat();
    let half = frame(HEADERS, END_STREAM, 1, &block("GET", "/scim/v2/Users", &[]));
    let mut cut = Vec::new();
    for said in [
        b"".to_vec(),
        preface[..7].to_vec(),
        preface.to_vec(),
        settings.clone(),
        [&settings[..], &half].concat(),
        [&settings[..], &frame(PING, 0, 0, &[7; 8])].concat(),
    ] {
        let before = clock.now();
        let mut raw = Raw(secured.dial(&[b"h2"]).await.unwrap());
        raw.say(&said).await.unwrap();
        raw.closed(clock).await;
        cut.push(clock.now().since(before));
    }
    // Between two requests too.
    let before = clock.now();
    let (mut raw, _) = Raw::new(&secured).await;
    let head = block("GET", "/scim/v2/Users", &[]);
    raw.send(HEADERS, END_STREAM | END_HEADERS, 1, &head).await;
    assert_eq!(raw.answer(1).await.0, 200);
    raw.closed(clock).await;
    cut.push(clock.now().since(before));
    assert!(cut.iter().all(|took| *took >= IDLE), "{cut:?}");
    say(&format!(
        "quiet connections cut after {cut:?} (limit {IDLE:?} + 1s)"
    ));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_in_time() {
    let secured = Secured::new().await;
    let (mut raw, _) = Raw::new(&secured).await;
    let head = block("POST", "/scim/v2/Users", &[]);
    raw.send(HEADERS, END_HEADERS, 1, &head).await;
    let (status, body) = in_time(&secured.house.clock, raw.answer(1)).await;
    assert_eq!((status, &body["status"]), (408, &json!("408")));
}

#[tokio::test]
async fn a_drain_finishes_a_request_that_is_under_way() {
    let secured = Secured::new().await;
    let at = secured.at();
    let (mut raw, _) = Raw::new(&secured).await;
    let head = block("POST", "/scim/v2/Users", &[]);
    raw.send(HEADERS, END_HEADERS, 1, &head).await;
    // An answer to what came after it: it is under way.
    let list = block("GET", "/scim/v2/Users", &[]);
    raw.send(HEADERS, END_STREAM | END_HEADERS, 3, &list).await;
    assert_eq!(raw.answer(3).await.0, 200);
    let drain = tokio::spawn(secured.house.serving.drain());
    let away = raw.until(|frame| frame.kind == GOAWAY).await.unwrap();
    assert_eq!(away.code(), 0);
    while TcpStream::connect(at).await.is_ok() {}
    // h2 asks whether we have heard it (RFC 9113 6.8).
    let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "a@example.com",
        "name": {"givenName": "A", "familyName": "B"}, "emails": [{"value": "a@example.com", "type": "work"}]});
    raw.send(DATA, END_STREAM, 1, user.to_string().as_bytes())
        .await;
    let (status, body) = raw.answer(1).await;
    assert_eq!(status, 201, "{body}");
    drop(raw);
    assert!(drain.await.unwrap().whole, "the drain is whole");
}

#[tokio::test]
async fn what_http_1_1_only_has_is_refused_and_without_tls_there_is_no_http_2() {
    let secured = Secured::new().await;
    for line in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
    ] {
        let (mut raw, _) = Raw::new(&secured).await;
        let head = block("GET", "/scim/v2/Users", &[line]);
        raw.send(HEADERS, END_STREAM | END_HEADERS, 1, &head).await;
        // A malformed request (RFC 9113 8.2.2).
        let reset = raw.until(|frame| frame.kind == RST_STREAM).await.unwrap();
        assert_eq!((reset.stream, reset.code()), (1, 1), "{line:?}");
    }
    let (mut raw, _) = Raw::new(&secured).await;
    let mut stream = 1;
    for (lines, wanted) in [
        (&[("host", "localhost")][..], 200),
        (&[("host", "elsewhere")], 400),
        (&[("host", "localhost"), ("host", "localhost")], 400),
        (&[("te", "trailers")], 200),
    ] {
        let head = block("GET", "/scim/v2/Users", lines);
        raw.send(HEADERS, END_STREAM | END_HEADERS, stream, &head)
            .await;
        assert_eq!(raw.answer(stream).await.0, wanted, "{lines:?}");
        stream += 2;
    }
    let plain = crate::house::House::new().await;
    let mut stream = TcpStream::connect(plain.serving.address).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _reset = stream.read_to_end(&mut rest).await;
    // Closed, without an answer in either.
    assert!(rest.is_empty(), "{rest:?}");
}
