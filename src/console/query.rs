//! The query of an admin request. Strict: what is not known, or stands there twice, is refused rather than ignored.

use percent_encoding::percent_decode_str;

use crate::error::Fault;

/// The parameters of a query, each of them one of `known`.
pub(super) struct Parameters<'q>(Vec<(&'q str, String)>);

impl<'q> Parameters<'q> {
    pub(super) fn of(query: &'q str, known: &[&str]) -> Result<Self, Fault> {
        let mut found: Vec<(&str, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                return Err(Fault::InvalidValue(format!(
                    "What can be asked is: {}.",
                    known.join(", ")
                )));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(Fault::InvalidValue(format!("{name} stands there twice.")));
            }
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| Fault::InvalidValue(format!("{name} is not UTF-8.")))?;
            found.push((name, value.into_owned()));
        }
        Ok(Self(found))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        let known = ["a", "b"];
        let found = Parameters::of("a=1%2B2&b=", &known).unwrap();
        assert_eq!((found.get("a"), found.get("b")), (Some("1+2"), Some("")));
        assert_eq!(Parameters::of("", &known).unwrap().get("a"), None);
        for wrong in ["c=1", "a=1&a=2", "a=%ff"] {
            assert!(Parameters::of(wrong, &known).is_err(), "{wrong}");
        }
    }
}
