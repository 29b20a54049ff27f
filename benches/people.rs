//! Users as identity providers send them.

use serde_json::{Value, json};

pub(crate) fn user_name(number: u64) -> String {
    format!("person.{number:07}@example.com")
}

/// A user: about 1.25 KB.
pub(crate) fn user(number: u64) -> Value {
    let name = user_name(number);
    json!({
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
        ],
        "userName": name,
        "externalId": format!("00u{number:017}"),
        "active": true,
        "displayName": format!("Person Number {number:07}"),
        "nickName": "Nick",
        "profileUrl": "https://people.example.com/directory/research/person-number?view=public",
        "title": "Senior Engineer of Differences",
        "userType": "Employee",
        "preferredLanguage": "en-GB",
        "locale": "en-GB",
        "timezone": "Europe/London",
        "name": {
            "formatted": format!("Dr Person Middle Number {number}"), "givenName": "Person",
            "middleName": "Middle", "familyName": format!("Number {number}"), "honorificPrefix": "Dr"
        },
        "emails": [
            { "value": name, "type": "work", "primary": true },
            { "value": format!("person.{number:07}@home.example.net"), "type": "home" }
        ],
        "phoneNumbers": [
            { "value": "+44 20 7946 0958", "type": "work", "primary": true },
            { "value": "+44 7700 900123", "type": "mobile" }
        ],
        "addresses": [{
            "type": "work", "streetAddress": "12 St James's Square", "locality": "London",
            "region": "Greater London", "postalCode": "SW1Y 4LB", "country": "GB", "primary": true
        }],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
            "employeeNumber": number.to_string(), "costCenter": "4130", "organization": "Example plc",
            "division": "Engines", "department": "Research"
        }
    })
}
