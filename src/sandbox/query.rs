//! The query of a list: `startIndex`, `count` and `filter` as Zoom reads them. Pure.

use percent_encoding::percent_decode_str;

use super::quirks::Quirks;
use super::zoom::Reply;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// The first, counted from 1.
    pub(super) start: usize,
    /// How many at most.
    pub(super) count: usize,
}

impl Page {
    /// Reads `startIndex` and `count`; what is no number counts as left out (RFC 7644 3.4.2.4 for the rest).
    ///
    /// # Errors
    /// Zoom's answer if `startIndex` has to be there and is not.
    pub(super) fn of(query: Option<&str>, quirks: &Quirks) -> Result<Self, Reply> {
        let number = |name| parameter(query, name)?.trim().parse::<i64>().ok();
        let positive = |number: i64| usize::try_from(number).unwrap_or(0);
        let start = number("startIndex");
        if quirks.start_index_required && start.is_none() {
            let detail = "The \"startIndex\" of the request is invalid.";
            return Err(Reply::error(400, detail));
        }
        let count = number("count").map_or(quirks.default_count, positive);
        Ok(Self {
            start: start.map_or(1, positive).max(1),
            count: count.min(quirks.max_count),
        })
    }

    /// This page of `all`.
    pub(super) fn cut<T>(self, all: &[T]) -> &[T] {
        let rest = all.get(self.start - 1..).unwrap_or(&[]);
        &rest[..rest.len().min(self.count)]
    }
}

/// The value of `ATTRIBUTE eq VALUE`, quoted or not, for one of the attributes that the list can be filtered by.
/// `Ok(None)`: no filter.
///
/// # Errors
/// Zoom's answer to every other filter, unless it ignores those.
pub(super) fn filter(
    query: Option<&str>,
    attributes: &[&'static str],
    quirks: &Quirks,
) -> Result<Option<(&'static str, String)>, Reply> {
    let Some(text) = parameter(query, "filter").filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let found = equals(text.trim(), attributes);
    if found.is_none() && !quirks.filter_ignored {
        let detail = format!("The current filter does not support the filter name: {text}");
        return Err(Reply::error(400, &detail));
    }
    Ok(found)
}

fn equals(text: &str, attributes: &[&'static str]) -> Option<(&'static str, String)> {
    let (name, rest) = text.split_once(char::is_whitespace)?;
    let (operator, value) = rest.trim_start().split_once(char::is_whitespace)?;
    if !operator.eq_ignore_ascii_case("eq") {
        return None;
    }
    let value = value.trim();
    let value = if value.starts_with('"') {
        serde_json::from_str(value).ok()?
    } else if value.contains(char::is_whitespace) && !attributes.contains(&"displayName") {
        // `userName eq a@b.c and active eq true`; a group's name may hold blanks even without quotes.
        return None;
    } else {
        value.to_owned()
    };
    let name = attributes.iter().find(|a| a.eq_ignore_ascii_case(name))?;
    Some((name, value))
}

/// The first value of that parameter, decoded.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| {
            let value = value.replace('+', " ");
            percent_decode_str(&value).decode_utf8_lossy().into_owned()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let all: Vec<usize> = (1..=250).collect();
        let check = |query: &str, first: Option<usize>, length: usize| {
            let page = Page::of(Some(query), &Quirks::default()).expect(query);
            let cut = page.cut(&all);
            assert_eq!(
                (cut.first().copied(), cut.len()),
                (first, length),
                "{query}"
            );
        };
        check("", Some(1), 10);
        check("startIndex=0&count=3", Some(1), 3);
        check("startIndex=-5", Some(1), 10);
        check("startIndex=11", Some(11), 10);
        check("count=100", Some(1), 100);
        check("count=1000", Some(1), 100);
        check("startIndex=201&count=100", Some(201), 50);
        check("startIndex=251&count=100", None, 0);
        check("startIndex=99999999999999999999&count=x", Some(1), 10);
        check("count=0", None, 0);
        check("count=-1", None, 0);
    }

    #[test]
    fn filters() {
        let users = ["userName", "externalId"];
        let check = |query: &str, wanted: Result<Option<(&'static str, &str)>, ()>| {
            let found = filter(Some(query), &users, &Quirks::default()).map_err(|_| ());
            let wanted = wanted.map(|found| found.map(|(name, value)| (name, value.to_owned())));
            assert_eq!(found, wanted, "{query}");
        };
        check("count=1", Ok(None));
        check("filter=", Ok(None));
        check(
            "filter=userName%20eq%20%22a@b.c%22",
            Ok(Some(("userName", "a@b.c"))),
        );
        check(
            "filter=userName+eq+a%2Bx%40b.c",
            Ok(Some(("userName", "a+x@b.c"))),
        );
        check(
            "filter=username%20EQ%20a@b.c",
            Ok(Some(("userName", "a@b.c"))),
        );
        check(
            "filter=externalId%20eq%20%22k%26K%22",
            Ok(Some(("externalId", "k&K"))),
        );
        check(
            "filter=userName%20eq%20%22a%5C%22b%22",
            Ok(Some(("userName", "a\"b"))),
        );
        check("filter=active%20eq%20true", Err(()));
        check("filter=userName%20sw%20a", Err(()));
        check("filter=userName%20pr", Err(()));
        check(
            "filter=userName%20eq%20a%20and%20active%20eq%20true",
            Err(()),
        );
        check(
            "filter=userName%20eq%20%22a%22%20and%20active%20eq%20true",
            Err(()),
        );
        check("filter=userName%20eq%20%22a", Err(()));
    }

    #[test]
    fn a_refused_filter_is_named() {
        let reply = filter(
            Some("filter=emails.value%20eq%20%22a%22"),
            &["userName"],
            &Quirks::default(),
        );
        let body = reply.expect_err("not supported").body.expect("a body");
        let text = "The current filter does not support the filter name: emails.value eq \"a\"";
        assert_eq!(
            (&body["detail"], &body["status"]),
            (&text.into(), &400.into())
        );
    }
}
