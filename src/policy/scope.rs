//! Who belongs in an application by their own attributes: the domains of the mapped names and the condition. Group
//! assignments are edges in the store and are decided elsewhere.
//!
//! The mapped names count, not what the client sent: they are what the application would see.

use std::borrow::Cow;

use idna::AsciiDenyList;
use serde_json::{Map, Value};

use crate::mapping;
use crate::scim::Kind;
use crate::scim::filter::Filter;

/// What an application's configuration says about who may be there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Domains in their folded ASCII form; `*.x` is every subdomain of x and not x. Empty: every domain.
    pub domains: Vec<String>,
    /// Over the directory's user.
    pub condition: Option<Filter>,
}

/// How a write is refused whose user no application takes: the beginning of what the client and the journal are told.
pub const REFUSED: &str = "No application takes this user";

/// In or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// In scope.
    In,
    /// Out of scope.
    Out {
        /// For scripts: `foreign_domain` or `condition`.
        code: &'static str,
        /// For people. Names the domain, and no other value of the user.
        reason: String,
    },
}

/// Decides for one user: `user` as the directory has it, `account` as the mapping gives it.
///
/// A name that is missing is not judged here. It is a required target without a value, for which the plan makes no call;
/// to call it foreign would take an account away because an attribute is absent.
#[must_use]
pub fn decide(scope: &Scope, user: &Map<String, Value>, account: &Map<String, Value>) -> Verdict {
    if !scope.domains.is_empty() {
        let names = [
            ("userName", mapping::user_name(account)),
            ("work e-mail", mapping::work_email(account)),
        ];
        for (what, address) in names {
            if let Some(reason) = address.and_then(|it| foreign(&scope.domains, what, it)) {
                return out("foreign_domain", reason);
            }
        }
    }
    match &scope.condition {
        Some(condition) if !condition.matches(Kind::User, user) => out(
            "condition",
            String::from("The application's condition does not hold for this user."),
        ),
        _ => Verdict::In,
    }
}

/// The domain of an e-mail address in its folded ASCII form; `None` if the text is not an address.
///
/// Stricter than RFC 5321 on purpose: a second `@` (a quoted local part) is refused, because two parsers may see two
/// domains in it.
#[must_use]
pub fn domain(name: &str) -> Option<String> {
    ascii_domain(name).map(Cow::into_owned)
}

/// Whether the text is an e-mail address.
#[must_use]
pub fn is_address(name: &str) -> bool {
    ascii_domain(name).is_some()
}

/// Whether `name` is one of `list`: userNames or globs in which `*` stands for any text, compared folded. Linear in the
/// length of both: each piece between two stars is looked for once.
#[must_use]
pub fn protected(list: &[String], name: &str) -> bool {
    if list.is_empty() {
        return false;
    }
    let name = fold(name);
    list.iter().any(|glob| fits(&fold(glob), &name))
}

fn out(code: &'static str, reason: String) -> Verdict {
    Verdict::Out { code, reason }
}

/// Why `address` is in none of `domains`; `None` if it is in one.
fn foreign(domains: &[String], what: &str, address: &str) -> Option<String> {
    let Some(domain) = ascii_domain(address) else {
        return Some(format!(
            "The {what} is not an e-mail address, so it is in none of the authorized domains."
        ));
    };
    if domains.iter().any(|allowed| authorizes(allowed, &domain)) {
        return None;
    }
    Some(format!(
        "The {what} is in the domain {domain}, which is not an authorized one."
    ))
}

fn authorizes(allowed: &str, domain: &str) -> bool {
    match allowed.strip_prefix("*.") {
        Some(parent) => domain
            .strip_suffix(parent)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|rest| !rest.is_empty()),
        None => allowed == domain,
    }
}

fn ascii_domain(name: &str) -> Option<Cow<'_, str>> {
    let (local, domain) = name.split_once('@')?;
    let strange = |c: char| c.is_whitespace() || c.is_control();
    if local.is_empty() || domain.contains('@') || name.contains(strange) {
        return None;
    }
    let ascii = idna::domain_to_ascii_cow(domain.as_bytes(), AsciiDenyList::URL).ok()?;
    if ascii.split('.').any(str::is_empty) {
        return None;
    }
    Some(ascii)
}

/// As names fold in the directory: NFC and lower case.
fn fold(text: &str) -> Cow<'_, str> {
    if text
        .bytes()
        .all(|b| b.is_ascii() && !b.is_ascii_uppercase())
    {
        return Cow::Borrowed(text);
    }
    Cow::Owned(crate::scim::schema::fold(text))
}

fn fits(glob: &str, name: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else {
        return glob == name;
    };
    let Some(name) = name.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut name) = name.strip_suffix(tail) else {
        return false;
    };
    for piece in middle.split('*') {
        let Some(at) = name.find(piece) else {
            return false;
        };
        name = &name[at + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::scim::filter::Bounds;

    #[test]
    fn domains() {
        for (name, is) in [
            ("ada@example.com", Some("example.com")),
            ("Ada@EXAMPLE.com", Some("example.com")),
            ("ada@b\u{fc}cher.example", Some("xn--bcher-kva.example")),
            ("ada@B\u{dc}CHER.example", Some("xn--bcher-kva.example")),
            ("ada@xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("ada@corp", Some("corp")),
            ("Ada King", None),
            ("", None),
            ("@example.com", None),
            ("ada@", None),
            ("ada@.example.com", None),
            ("ada@example.com.", None),
            ("ada@example..com", None),
            ("ada@exa mple.com", None),
            ("ada king@example.com", None),
            ("ada@example.com\n", None),
            ("ada@evil.net@example.com", None),
            ("ada@[10.0.0.1]", None),
        ] {
            assert_eq!(domain(name).as_deref(), is, "{name:?}");
            assert_eq!(is_address(name), is.is_some(), "{name:?}");
        }
    }

    #[test]
    fn scope() {
        let both = |name: &str, mail: &str| json!({"userName": name, "emails": [{"type": "home", "value": "x@home.example"}, {"type": "work", "value": mail}]});
        let foreign = Some("foreign_domain");
        let list: &[&str] = &["example.com", "*.example.org", "xn--bcher-kva.example"];
        for (domains, account, code) in [
            (list, both("a@example.com", "a@example.com"), None),
            (list, both("a@Example.COM", "a@b\u{fc}cher.example"), None),
            (list, both("a@x.example.org", "a@y.z.example.org"), None),
            (list, both("a@example.org", "a@example.com"), foreign),
            (list, both("a@notexample.org", "a@example.com"), foreign),
            (list, both("a@.example.org", "a@example.com"), foreign),
            (list, both("a@example.com", "a@evil.net"), foreign),
            (list, both("a@evil.net", "a@example.com"), foreign),
            (list, both("a@sub.example.com", "a@example.com"), foreign),
            (list, both("Ada King", "a@example.com"), foreign),
            (list, both("a@example.com", "nobody"), foreign),
            (list, json!({"userName": "a@example.com"}), None),
            (list, json!({"emails": []}), None),
            (list, json!({"emails": [{"value": "a@evil.net"}]}), foreign),
            (
                list,
                json!({"userName": "a@example.com", "emails": [{"type": "home", "value": "a@evil.net"}]}),
                None,
            ),
            (&[], both("Ada King", "a@evil.net"), None),
        ] {
            let scope = Scope {
                domains: domains.iter().map(ToString::to_string).collect(),
                condition: None,
            };
            let account = account.as_object().expect("an object");
            let is = match decide(&scope, &Map::new(), account) {
                Verdict::In => None,
                Verdict::Out { code, reason } => {
                    assert!(!reason.contains("a@"), "a value in {reason:?}");
                    Some(code)
                }
            };
            assert_eq!(is, code, "{account:?}");
        }
    }

    #[test]
    fn the_reason_names_the_domain() {
        let scope = Scope {
            domains: vec![String::from("example.com")],
            condition: None,
        };
        let account = json!({"userName": "ada@Evil.net"});
        assert_eq!(
            decide(&scope, &Map::new(), account.as_object().expect("an object")),
            Verdict::Out {
                code: "foreign_domain",
                reason: String::from(
                    "The userName is in the domain evil.net, which is not an authorized one."
                ),
            }
        );
    }

    #[test]
    fn the_condition_reads_the_directory() {
        let bounds = Bounds {
            length: 100,
            depth: 4,
        };
        let scope = Scope {
            domains: Vec::new(),
            condition: Filter::parse("userType ne \"Contractor\"", bounds).ok(),
        };
        let account = json!({"userName": "a@b.c", "userType": "Contractor"});
        let account = account.as_object().expect("an object");
        for (user, is_in) in [
            (json!({"userType": "Employee"}), true),
            (json!({}), true),
            (json!({"userType": "Contractor"}), false),
        ] {
            let verdict = decide(&scope, user.as_object().expect("an object"), account);
            assert_eq!(verdict == Verdict::In, is_in, "{user}");
            if let Verdict::Out { code, .. } = verdict {
                assert_eq!(code, "condition");
            }
        }
    }

    #[test]
    fn protected_names() {
        for (glob, name, is) in [
            ("owner@example.com", "owner@example.com", true),
            ("Owner@Example.com", "oWNER@example.COM", true),
            ("owner@example.com", "owner@example.co", false),
            ("svc-*@example.com", "svc-backup@example.com", true),
            ("svc-*@example.com", "svc-@example.com", true),
            ("svc-*@example.com", "svc-a@example.com.evil.net", false),
            ("svc-*@example.com", "xsvc-a@example.com", false),
            ("*", "", true),
            ("*", "anybody", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*", "abc", true),
            ("*b*d*", "abcd", true),
            ("*d*b*", "abcd", false),
            ("**b**", "b", true),
            ("ab*ba", "aba", false),
            ("J\u{f6}rg@*", "jo\u{308}rg@example.com", true),
            ("\u{c4}*", "\u{e4}da", true),
        ] {
            assert_eq!(protected(&[glob.to_owned()], name), is, "{glob} {name}");
        }
        assert!(!protected(&[], "anybody"));
    }

    fn slow(glob: &[u8], name: &[u8]) -> bool {
        match (glob.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                slow(&glob[1..], name) || (!name.is_empty() && slow(glob, &name[1..]))
            }
            (Some(a), Some(b)) if a == b => slow(&glob[1..], &name[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_is_what_it_says(glob in "[ab*]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(fits(&glob, &name), slow(glob.as_bytes(), name.as_bytes()));
        }
    }
}
