//! Report rows as a table for people, CSV for spreadsheets, JSON lines for programs. Pure.
//!
//! What stands in a row came from outside: a name can hold line ends, terminal escapes or a spreadsheet's formula. None
//! of them leaves here as such, except in JSON, which has its own escapes.

use std::borrow::Cow;

use crate::clock::Timestamp;

use super::record::CallRecord;
use super::report::Row;
use super::url::name;

/// The widest line of a table, in characters.
const LINE: usize = 160;
/// Between two columns.
const GAP: &str = "  ";
/// Titles, and the widest that a column may become; the last one takes what is left of the line.
const COLUMNS: [(&str, usize); 6] = [
    ("TIME", 19),
    ("USER", 48),
    ("OPERATION", 10),
    ("APPLICATION", 24),
    ("STATUS", 7),
    ("REASON", LINE),
];
/// The fields of CSV, those of the JSON lines in an order for people.
const FIELDS: [&str; 15] = [
    "time",
    "client",
    "application",
    "operation",
    "user",
    "status",
    "reason",
    "code",
    "request",
    "sequence",
    "id",
    "remote_id",
    "kind",
    "settled",
    "calls",
];

/// A table whose columns are as wide as what is in them and whose lines are at most 160 characters, with the number of
/// rows below.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::from("no operations match\n");
    }
    let lines: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let mut widths = [0; 6];
    let mut left = LINE;
    for (at, (width, (title, most))) in widths.iter_mut().zip(COLUMNS).enumerate() {
        let found = lines.iter().map(|cells| length(&cells[at])).max();
        *width = found.unwrap_or(0).max(title.len()).min(most).min(left);
        left = left.saturating_sub(*width + GAP.len());
    }
    let mut text = line(&COLUMNS.map(|(title, _)| title.to_owned()), &widths);
    for cells in &lines {
        text.push_str(&line(cells, &widths));
    }
    let plural = if rows.len() == 1 { "" } else { "s" };
    text.push_str(&format!("{} row{plural}\n", rows.len()));
    text
}

/// RFC 4180: a header, every field, CRLF. Where a cell would be a formula to a spreadsheet an apostrophe goes first.
#[must_use]
pub fn csv(rows: &[Row]) -> String {
    let mut text = FIELDS.join(",") + "\r\n";
    for row in rows {
        let calls: Vec<String> = row.calls.iter().map(call).collect();
        let cells = [
            row.time.rfc3339(),
            row.client.clone(),
            row.application.clone().unwrap_or_default(),
            name(&row.operation),
            row.user.clone(),
            name(&row.status),
            row.reason.clone().unwrap_or_default(),
            row.code.clone().unwrap_or_default(),
            row.request.clone(),
            row.sequence.to_string(),
            row.id.clone(),
            row.remote_id.clone().unwrap_or_default(),
            name(&row.kind),
            row.settled.map(Timestamp::rfc3339).unwrap_or_default(),
            calls.join("; "),
        ];
        text.push_str(&cells.map(|cell| quoted(&cell)).join(","));
        text.push_str("\r\n");
    }
    text
}

/// One object a line, with the fields of [`Row`].
#[must_use]
pub fn json(rows: &[Row]) -> String {
    // Strings and numbers: cannot fail.
    rows.iter()
        .map(|row| serde_json::to_string(row).unwrap_or_default() + "\n")
        .collect()
}

fn cells(row: &Row) -> [String; 6] {
    let reason = row.reason.as_deref().or(row.code.as_deref());
    [
        moment(row.time),
        plain(&row.user),
        name(&row.operation),
        plain(row.application.as_deref().unwrap_or("-")),
        name(&row.status),
        plain(reason.unwrap_or("")),
    ]
}

/// `2026-11-23 20:30:45`, UTC.
fn moment(at: Timestamp) -> String {
    let text = at.rfc3339();
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

fn line(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let mut line = String::with_capacity(LINE + 1);
    for (cell, width) in cells.iter().zip(widths) {
        let cut = cut(cell, *width);
        line.push_str(&cut);
        let padding = width.saturating_sub(length(&cut)) + GAP.len();
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if length(text) <= width {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(width.saturating_sub(3)).collect();
    Cow::Owned(kept + "...")
}

/// Nothing in it moves a cursor, ends a line, or shows letters in another order than they stand.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        let hidden = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if letter.is_control() || hidden {
            plain.extend(letter.escape_unicode());
        } else {
            plain.push(letter);
        }
    }
    plain
}

fn call(call: &CallRecord) -> String {
    let status = call
        .status
        .map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    format!("{} {} {status} {} ms", call.method, call.path, call.ms)
}

/// OWASP's list of what begins a formula.
fn quoted(cell: &str) -> String {
    let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    if cell.contains([',', '"', '\r', '\n']) {
        format!("\"{guard}{}\"", cell.replace('"', "\"\""))
    } else {
        format!("{guard}{cell}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::record::{Operation, Status};
    use crate::scim::Kind;

    fn row(user: &str, reason: Option<&str>) -> Row {
        Row {
            time: Timestamp(1_795_465_845_120),
            settled: Some(Timestamp(1_795_465_846_000)),
            sequence: 12,
            client: "okta".into(),
            request: "00ff".into(),
            application: Some("zoom".into()),
            kind: Kind::User,
            operation: Operation::Create,
            user: user.into(),
            id: "0190".into(),
            remote_id: Some("k&K".into()),
            status: Status::Success,
            code: None,
            reason: reason.map(str::to_owned),
            calls: vec![
                CallRecord {
                    method: "POST".into(),
                    path: "/Users".into(),
                    status: Some(201),
                    ms: 7,
                },
                CallRecord {
                    method: "GET".into(),
                    path: "/Users/k".into(),
                    status: None,
                    ms: 3,
                },
            ],
        }
    }

    #[test]
    fn a_table_fits_what_is_in_it() {
        let mut bare = row("Staff", None);
        bare.application = None;
        bare.code = Some("inactive".into());
        bare.status = Status::Skipped;
        let wanted = "\
TIME                 USER              OPERATION  APPLICATION  STATUS   REASON
2026-11-23 20:30:45  jane@example.com  create     zoom         success  found
2026-11-23 20:30:45  Staff             create     -            skipped  inactive
2 rows
";
        assert_eq!(
            table(&[row("jane@example.com", Some("found")), bare]),
            wanted
        );
        assert!(table(&[row("jane@example.com", None)]).ends_with("success\n1 row\n"));
        assert_eq!(table(&[]), "no operations match\n");
    }

    #[test]
    fn a_long_cell_is_cut_and_its_line_stays_whole() {
        let mut long = row(&"u".repeat(300), Some(&"r".repeat(300)));
        long.application = Some("a".repeat(64));
        let text = table(&[long]);
        let line = text.lines().nth(1).expect("a row");
        assert_eq!(line.chars().count(), LINE);
        for cell in ["u...  create", "a...  success", "r..."] {
            assert!(line.contains(cell), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_cell_breaks_a_line(user in any::<String>(), reason in any::<String>()) {
            let text = table(&[row(&user, Some(&reason)), row("jane", None)]);
            prop_assert_eq!(text.lines().count(), 4);
            prop_assert!(text.lines().all(|line| line.chars().count() <= LINE));
            prop_assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()));
        }
    }

    #[test]
    fn hostile_letters_are_shown_and_not_obeyed() {
        for (hostile, shown) in [
            ("a\nb", "a\\u{a}b"),
            ("a\r\n2026-11-23", "a\\u{d}\\u{a}2026-11-23"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("\u{9b}31mx", "\\u{9b}31mx"),
            ("\u{202e}moc", "\\u{202e}moc"),
            ("a\u{2028}b", "a\\u{2028}b"),
            ("a\tb\0", "a\\u{9}b\\u{0}"),
        ] {
            let text = table(&[row(hostile, Some(hostile))]);
            assert_eq!(text.lines().count(), 3, "{text:?}");
            assert_eq!(text.matches(shown).count(), 2, "{text:?}");
            assert!(!text.contains(hostile), "{text:?}");
        }
    }

    #[test]
    fn csv_has_every_field() {
        let text = csv(&[row("jane@example.com", Some("said \"no\", twice"))]);
        let wanted = "time,client,application,operation,user,status,reason,code,request,sequence,id,remote_id,kind,settled,calls\r\n\
            2026-11-23T20:30:45.120Z,okta,zoom,create,jane@example.com,success,\"said \"\"no\"\", twice\",,00ff,12,0190,k&K,user,2026-11-23T20:30:46.000Z,\
            POST /Users 201 7 ms; GET /Users/k no answer 3 ms\r\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (cell, wanted) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            (
                "=HYPERLINK(\"x\",\"y\")",
                "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"",
            ),
            ("a=1", "a=1"),
            ("a\nb", "\"a\nb\""),
            ("", ""),
        ] {
            assert_eq!(quoted(cell), wanted, "{cell:?}");
            let text = csv(&[row(cell, None)]);
            assert!(
                text.contains(&format!(",create,{wanted},success,")),
                "{text:?}"
            );
        }
    }

    #[test]
    fn json_lines_have_every_field_and_read_back() {
        let mut bare = row("a\nb", None);
        (bare.application, bare.settled) = (None, None);
        let rows = [row("jane", Some("found")), bare];
        let text = json(&rows);
        let read: Vec<Row> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a row"))
            .collect();
        assert_eq!(read, rows);
        for line in text.lines() {
            let object: serde_json::Map<_, _> = serde_json::from_str(line).expect("an object");
            let mut fields: Vec<&str> = object.keys().map(String::as_str).collect();
            let mut wanted = FIELDS;
            fields.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(fields, wanted);
            assert_eq!(object["time"], "2026-11-23T20:30:45.120Z");
        }
    }
}
