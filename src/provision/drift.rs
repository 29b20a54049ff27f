//! What somebody else changed in an account since we wrote to it. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::link::{Link, State};
use super::plan::Application;
use super::profile::{self, Shown};
use crate::scim::schema::fold;

/// An attribute that is not as it was left. No value where it is not to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drifted {
    /// Its name, of the first level.
    pub attribute: String,
    /// As it was sent, or seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Value>,
    /// As it is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Value>,
}

/// Compares an account with what its link says of it. What the application never took, and what it never shows, is no drift.
#[must_use]
pub fn drift(application: &Application, link: &Link, shown: &Shown) -> Vec<Drifted> {
    let mut found = Vec::new();
    let mut tell = |attribute: &str, was: Option<Value>, now: Option<Value>| {
        let conceals = application.mapping.conceals(attribute);
        found.push(Drifted {
            attribute: attribute.to_owned(),
            was: was.filter(|_| !conceals),
            now: now.filter(|_| !conceals),
        });
    };
    let differs: Vec<String> = match &link.sent {
        Some(sent) => profile::dropped(application.profile, sent, shown)
            .into_iter()
            .filter(|name| !link.dropped.contains(name))
            .collect(),
        None => Vec::new(),
    };
    for name in &differs {
        let was = link.sent.as_ref().and_then(|sent| sent.get(name)).cloned();
        tell(name, was, shown.attributes.get(name).cloned());
    }
    let named = |name: &str| differs.iter().any(|known| known == name);
    if let (Some(was), Some(now)) = (&link.seen_name, &shown.user_name)
        && fold(was) != fold(now)
        && !named("userName")
    {
        let text = |name: &String| Some(Value::from(name.as_str()));
        tell("userName", text(was), text(now));
    }
    let active = link.state != State::Deactivated;
    if shown.active.is_some_and(|now| now != active) && !named("active") {
        tell(
            "active",
            Some(Value::from(active)),
            shown.active.map(Value::from),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::shape::ProfileName;
    use crate::mapping::Mapping;
    use crate::mapping::rule::{Row, Rule};

    fn application() -> Application {
        let text = r#"
[[client]]
name = "okta"
token_sha256 = ["4b1f0c6f2e9d7a83c5e1b0d94a7263f8150eab9cd27f4e6618b3a05d9c72e4f1"]
[[application]]
name = "zoom"
profile = "zoom"
credentials = { kind = "bearer", token = { env = "TOKEN" } }
"#;
        let at = std::path::Path::new("/usher.toml");
        let config = crate::config::parse(text, at, &|_| Some(String::from("t"))).unwrap();
        let mut application = Application::compile(config.applications.into_iter().next().unwrap());
        let title = Rule::compile(Row {
            to: String::from("title"),
            from: Some(String::from("$.title")),
            redact: true,
            ..Row::default()
        });
        application.mapping = Mapping::compile(ProfileName::Zoom, &[title.unwrap()]);
        application
    }

    #[test]
    fn what_differs_is_told_attribute_by_attribute() {
        let application = application();
        let shown = |attributes: Value| Shown {
            id: String::from("1"),
            user_name: attributes["userName"].as_str().map(str::to_owned),
            created: None,
            active: attributes["active"].as_bool(),
            attributes: attributes.as_object().cloned().unwrap(),
        };
        let mut link = Link::imported("zoom", "1", Some("Ada@x.example"), Some(true));
        let sent = json!({"userName": "ada@x.example", "displayName": "Ada", "title": "Countess", "locale": "en", "active": true});
        link.sent = sent.as_object().cloned();
        link.dropped = vec![String::from("locale")];
        let same = json!({"userName": "ada@x.example", "displayName": "Ada", "title": "Countess", "locale": "de", "active": true});
        assert_eq!(drift(&application, &link, &shown(same.clone())), []);
        let mut other = same;
        other["displayName"] = json!("Eve");
        other["title"] = json!("Duchess");
        other["active"] = json!(false);
        let told = drift(&application, &link, &shown(other.clone()));
        let told: Vec<Value> = told.iter().map(|one| json!(one)).collect();
        assert_eq!(
            told,
            [
                json!({"attribute": "active", "was": true, "now": false}),
                json!({"attribute": "displayName", "was": "Ada", "now": "Eve"}),
                json!({"attribute": "title"}),
            ]
        );
        // Nothing was sent: what was seen is all that there is.
        link.sent = None;
        link.state = State::Deactivated;
        other["userName"] = json!("eve@x.example");
        other["active"] = json!(true);
        let told = drift(&application, &link, &shown(other));
        let names: Vec<&str> = told.iter().map(|one| one.attribute.as_str()).collect();
        assert_eq!(names, ["userName", "active"]);
    }
}
