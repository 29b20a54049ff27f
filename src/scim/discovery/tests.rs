use super::*;
use crate::config::shape::{PatchResponse, PutMembers};
use crate::scim::filter::{Bounds, Filter};
use crate::scim::schema::{COMMON, Mutability};

const BASE: &str = "https://h.example/scim/v2";

fn client() -> Client {
    Client {
        name: String::from("okta"),
        token_sha256: Vec::new(),
        per_second: 1,
        burst: 1,
        read_only: false,
        take_over: false,
        certificate_sha256: Vec::new(),
        response_type: String::from("application/scim+json"),
        patch_response: PatchResponse::Resource,
        put_members: PutMembers::Keep,
        unique_groups: true,
        announce_cursors: false,
    }
}

fn limits() -> Limits {
    let wait = std::time::Duration::from_secs(1);
    Limits {
        connections: 1,
        header_timeout: wait,
        request_timeout: wait,
        body: 12_345,
        json_depth: 32,
        filter_length: 4_096,
        filter_depth: 16,
        patch_operations: 1_000,
        bulk_operations: 77,
        page: 66,
    }
}

fn asked(wanted: &Document, client: &Client) -> Value {
    document(wanted, BASE, client, &limits()).unwrap()
}

/// Every resource that discovery holds, with the schema that it says it follows.
fn resources() -> Vec<(Value, &'static Schema)> {
    let client = client();
    let mut all = vec![asked(&Document::ServiceProviderConfig, &client)];
    for list in [Document::ResourceTypes, Document::Schemas] {
        let list = asked(&list, &client);
        all.extend(list["Resources"].as_array().unwrap().iter().cloned());
    }
    all.into_iter()
        .map(|resource| {
            let urn = resource["schemas"][0].as_str().unwrap();
            let schema = SCHEMAS.iter().find(|schema| schema.urn == urn);
            let schema = *schema.unwrap_or_else(|| panic!("{urn} is not published"));
            (resource, schema)
        })
        .collect()
}

/// The document as its own schema wants it: nothing missing, nothing more, each value of its type, nothing null or empty.
fn fits(attributes: &[&Attribute], object: &Value, place: &str) {
    let object = object.as_object().unwrap_or_else(|| panic!("{place}"));
    for (key, value) in object {
        let place = format!("{place}.{key}");
        let known = attributes.iter().find(|attribute| attribute.name == key);
        let attribute = known.unwrap_or_else(|| panic!("{place} is in no schema"));
        let values = match value {
            Value::Array(values) if attribute.multi => values.as_slice(),
            one => {
                assert!(!attribute.multi, "{place}");
                std::slice::from_ref(one)
            }
        };
        for value in values {
            match attribute.kind {
                // What describes sub-attributes describes those of its own as well, which no table can write out.
                Type::Complex if key == "subAttributes" => fits(attributes, value, &place),
                Type::Complex => fits(&attribute.subs.iter().collect::<Vec<_>>(), value, &place),
                Type::Boolean => assert!(value.is_boolean(), "{place}"),
                Type::Integer => assert!(value.is_u64(), "{place}"),
                Type::String | Type::Reference => {
                    let text = value.as_str().unwrap_or_else(|| panic!("{place}"));
                    assert!(!text.is_empty(), "{place}");
                    let suggested = attribute.canonical;
                    assert!(suggested.is_empty() || suggested.contains(&text), "{place}");
                }
                Type::Decimal | Type::DateTime | Type::Binary => panic!("{place}"),
            }
        }
    }
    for attribute in attributes.iter().filter(|attribute| attribute.required) {
        // The one resource without an id (RFC 7643 5).
        let exempt = attribute.name == "id" && place == SERVICE_PROVIDER_CONFIG.name;
        assert!(
            exempt || object.contains_key(attribute.name),
            "{place}.{} is missing",
            attribute.name
        );
    }
}

#[test]
fn every_document_follows_the_schema_that_it_names() {
    let resources = resources();
    assert_eq!(resources.len(), 1 + 2 + 6);
    for (resource, schema) in resources {
        let attributes: Vec<_> = COMMON.iter().chain(schema.attributes).collect();
        fits(&attributes, &resource, schema.name);
        assert_eq!(resource["meta"]["resourceType"], schema.name);
    }
}

#[test]
fn a_location_leads_back_to_its_document() {
    for (resource, _) in resources() {
        let location = resource["meta"]["location"].as_str().unwrap();
        let path = location.strip_prefix(BASE).unwrap();
        let segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
        let wanted = match segments.as_slice() {
            [_] => Document::ServiceProviderConfig,
            [at, name] if at == "ResourceTypes" => Document::ResourceType(name.to_uppercase()),
            [_, urn] => Document::Schema(urn.to_uppercase()),
            _ => panic!("{path}"),
        };
        assert_eq!(asked(&wanted, &client()), resource, "{path}");
    }
}

#[test]
fn a_list_holds_each_once_and_counts_them() {
    for (wanted, count) in [(Document::ResourceTypes, 2), (Document::Schemas, 6)] {
        let list = asked(&wanted, &client());
        let ids = list["Resources"].as_array().unwrap().iter();
        let mut ids: Vec<_> = ids.map(|resource| resource["id"].as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.iter().all(Option::is_some));
        assert_eq!(ids.len(), count);
        assert_eq!(list["totalResults"], count);
        assert_eq!(list["itemsPerPage"], count);
        assert_eq!(list["startIndex"], 1);
    }
}

#[test]
fn what_there_is_not_is_404() {
    for wanted in [
        Document::ResourceType(String::from("Users")),
        Document::ResourceType(String::new()),
        Document::Schema(String::from("User")),
        Document::Schema(String::from("urn:ietf:params:scim:schemas:core:2.0:Users")),
    ] {
        let fault = document(&wanted, BASE, &client(), &limits()).unwrap_err();
        assert_eq!(fault.status(), 404, "{wanted:?}");
    }
}

#[test]
fn a_resource_type_names_its_schemas() {
    let user = asked(&Document::ResourceType(String::from("user")), &client());
    assert_eq!(user["endpoint"], "/Users");
    assert_eq!(user["schema"], USER.urn);
    assert_eq!(
        user["schemaExtensions"],
        json!([{"schema": ENTERPRISE_USER.urn, "required": false}])
    );
    let group = asked(&Document::ResourceType(String::from("Group")), &client());
    assert_eq!(group["endpoint"], "/Groups");
    assert_eq!(group["schema"], GROUP.urn);
    assert_eq!(group["schemaExtensions"], json!([]));
}

#[test]
fn the_config_is_that_of_the_client_that_asks() {
    let config = asked(&Document::ServiceProviderConfig, &client());
    assert_eq!(config["patch"], json!({"supported": true}));
    assert_eq!(
        config["bulk"],
        json!({"supported": true, "maxOperations": 77, "maxPayloadSize": 12_345})
    );
    assert_eq!(
        config["filter"],
        json!({"supported": true, "maxResults": 66})
    );
    assert_eq!(config["changePassword"], json!({"supported": false}));
    assert!(config.get("pagination").is_none());
    let announcing = Client {
        announce_cursors: true,
        ..client()
    };
    assert_eq!(
        asked(&Document::ServiceProviderConfig, &announcing)["pagination"],
        json!({"cursor": true, "index": true, "defaultPaginationMethod": "index", "defaultPageSize": 66, "maxPageSize": 66})
    );
    let reader = Client {
        read_only: true,
        ..client()
    };
    let mut changed = config;
    changed["patch"]["supported"] = false.into();
    changed["bulk"]["supported"] = false.into();
    assert_eq!(asked(&Document::ServiceProviderConfig, &reader), changed);
}

#[test]
fn group_names_are_unique_for_a_client_that_wants_it() {
    let name = |client: &Client| {
        let group = asked(&Document::Schema(GROUP.urn.to_owned()), client);
        group["attributes"][0].clone()
    };
    let unique = name(&client());
    assert_eq!(unique["name"], "displayName");
    assert_eq!(unique["uniqueness"], "server");
    let free = Client {
        unique_groups: false,
        ..client()
    };
    let mut freed = unique;
    freed["uniqueness"] = "none".into();
    assert_eq!(name(&free), freed);
    // A user's name is unique whatever is said of groups.
    let user = Document::Schema(USER.urn.to_owned());
    assert_eq!(asked(&user, &free), asked(&user, &client()));
    assert_eq!(asked(&user, &free)["attributes"][0]["uniqueness"], "server");
}

/// Every attribute of the table is published as it is, but for those that are only written.
#[test]
fn what_is_published_is_the_table() {
    fn same(attributes: &[Attribute], published: &Value) {
        let published = published.as_array().unwrap();
        let attributes: Vec<_> = attributes.iter().collect();
        assert_eq!(attributes.len(), published.len());
        for (attribute, shown) in attributes.iter().zip(published) {
            let name = attribute.name;
            assert_eq!(shown["name"], name);
            assert_eq!(shown["type"], attribute.kind.name(), "{name}");
            assert_eq!(shown["multiValued"], attribute.multi, "{name}");
            assert_eq!(shown["required"], attribute.required, "{name}");
            assert_eq!(shown["mutability"], attribute.mutability.name(), "{name}");
            assert_eq!(shown["returned"], attribute.returned.name(), "{name}");
            let has = |key: &str| shown.as_object().unwrap().contains_key(key);
            // RFC 7643 2.3.
            let text = matches!(
                attribute.kind,
                Type::String | Type::Reference | Type::Binary
            );
            assert_eq!(has("caseExact"), text, "{name}");
            if text {
                assert_eq!(shown["caseExact"], attribute.case_exact, "{name}");
                assert_eq!(shown["uniqueness"], attribute.uniqueness.name(), "{name}");
            } else {
                assert_eq!(attribute.uniqueness, Uniqueness::None, "{name}");
            }
            for (key, values) in [
                ("canonicalValues", attribute.canonical),
                ("referenceTypes", attribute.references),
            ] {
                assert_eq!(has(key), !values.is_empty(), "{name}");
                assert!(values.is_empty() || shown[key] == json!(values), "{name}");
            }
            if attribute.kind == Type::Complex {
                same(attribute.subs, &shown["subAttributes"]);
            } else {
                assert!(!has("subAttributes"), "{name}");
            }
        }
    }
    for schema in SCHEMAS {
        let document = asked(&Document::Schema(schema.urn.to_owned()), &client());
        assert_eq!(document["id"], schema.urn);
        assert_eq!(document["name"], schema.name);
        same(schema.attributes, &document["attributes"]);
    }
}

/// A value of this attribute in the schema's type.
fn sample(attribute: &Attribute) -> Value {
    let one = match attribute.kind {
        Type::String | Type::Reference => json!("Value"),
        Type::Binary => json!("VmFsdWU="),
        Type::Boolean => json!(true),
        Type::Complex => attribute
            .subs
            .iter()
            .map(|sub| (sub.name.to_owned(), sample(sub)))
            .collect(),
        Type::Integer | Type::Decimal | Type::DateTime => panic!("{}", attribute.name),
    };
    if attribute.multi { json!([one]) } else { one }
}

/// What `/Schemas` says of an attribute is what becomes of it: what may be written is kept, what is read-only is not.
#[test]
fn a_body_is_kept_as_its_schema_says() {
    let mut body = Map::new();
    for attribute in USER.attributes {
        body.insert(attribute.name.to_owned(), sample(attribute));
    }
    let extension: Map<_, _> = ENTERPRISE_USER
        .attributes
        .iter()
        .map(|attribute| (attribute.name.to_owned(), sample(attribute)))
        .collect();
    body.insert(ENTERPRISE_USER.urn.to_owned(), extension.clone().into());
    let kept = schema::normalise(Kind::User, body).unwrap();
    for attribute in USER.attributes {
        let written = attribute.mutability == Mutability::ReadWrite;
        let wanted = written.then(|| sample(attribute));
        assert_eq!(
            kept.get(attribute.name),
            wanted.as_ref(),
            "{}",
            attribute.name
        );
    }
    assert_eq!(kept[ENTERPRISE_USER.urn], Value::from(extension));
}

/// `caseExact` is what a filter goes by.
#[test]
fn a_filter_tells_case_where_the_schema_says_so() {
    fn paths(attributes: &[Attribute], before: &str) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        for attribute in attributes {
            let path = format!("{before}{}", attribute.name);
            match attribute.kind {
                Type::Complex => all.extend(paths(attribute.subs, &format!("{path}."))),
                Type::String | Type::Reference => all.push((path, attribute.case_exact)),
                _ => {}
            }
        }
        all
    }
    let extension = format!("{}:", ENTERPRISE_USER.urn);
    for (kind, schema, before) in [
        (Kind::User, &USER, ""),
        (Kind::User, &ENTERPRISE_USER, extension.as_str()),
        (Kind::Group, &GROUP, ""),
    ] {
        let inner: Map<_, _> = schema
            .attributes
            .iter()
            .map(|attribute| (attribute.name.to_owned(), sample(attribute)))
            .collect();
        let resource = if before.is_empty() {
            inner
        } else {
            Map::from_iter([(schema.urn.to_owned(), Value::Object(inner))])
        };
        for (path, exact) in paths(schema.attributes, before) {
            for (value, wanted) in [("Value", true), ("vALUE", !exact), ("other", false)] {
                let bounds = Bounds {
                    length: 1_000,
                    depth: 2,
                };
                let filter = Filter::parse(&format!("{path} eq \"{value}\""), bounds).unwrap();
                assert_eq!(filter.matches(kind, &resource), wanted, "{path} {value}");
            }
        }
    }
}
