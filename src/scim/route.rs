//! The endpoints of RFC 7644 3.2, and the methods that each takes. The one table of what there is to knock at.

use super::Kind;
use crate::error::Fault;

/// Makes [`Route`] and [`Route::PATHS`] out of the same rows: a route without a path does not compile, and the matrix of
/// authorisation in the tests knocks at every path.
macro_rules! routes {
    ($($(#[$doc:meta])* $name:ident $(($($field:ty),+))? at [$($path:literal),+];)+) => {
        /// Where a request goes.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Route {
            $($(#[$doc])* $name $(($($field),+))?,)+
        }

        impl Route {
            /// Each route's name and the paths that it has below `/scim/v2`. `{id}` stands for a resource's id.
            pub const PATHS: &[(&str, &str)] = &[$($((stringify!($name), $path),)+)+];
        }
    };
}

routes! {
    /// `/`: a query over all resource types (3.4.2.1).
    Root at ["/"];
    /// A collection.
    Collection(Kind) at ["/Users", "/Groups"];
    /// One resource.
    Resource(Kind, String) at ["/Users/{id}", "/Groups/{id}"];
    /// A query by POST (3.4.3). `None`: over all resource types.
    Search(Option<Kind>) at ["/.search", "/Users/.search", "/Groups/.search"];
    /// Many changes (3.7).
    Bulk at ["/Bulk"];
    /// `/Me` (3.11), and whatever follows it.
    Me at ["/Me", "/Me/groups"];
    /// What this server can do (4). The plural is SCIM 1.1's; authentik's Salesforce mode asks for it.
    ServiceProviderConfig at ["/ServiceProviderConfig", "/ServiceProviderConfigs"];
    /// Users and groups.
    ResourceTypes at ["/ResourceTypes"];
    /// One of them.
    ResourceType(String) at ["/ResourceTypes/User"];
    /// Every schema.
    Schemas at ["/Schemas"];
    /// One of them.
    Schema(String) at ["/Schemas/urn:ietf:params:scim:schemas:core:2.0:User"];
}

const READ: &[&str] = &["GET", "HEAD", "OPTIONS"];
const COLLECTION: &[&str] = &["GET", "HEAD", "OPTIONS", "POST"];
const RESOURCE: &[&str] = &["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"];
const POST: &[&str] = &["OPTIONS", "POST"];

/// Every method that any endpoint takes.
pub const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

impl Route {
    /// The route of a path below `/scim/v2`, cut into segments. Names fold case: one client writes `/users`.
    ///
    /// # Errors
    /// 404.
    pub fn of(segments: &[String]) -> Result<Self, Fault> {
        let (first, rest) = match segments {
            [] => return Ok(Self::Root),
            [first, rest @ ..] => (first.as_str(), rest),
        };
        let is = |name: &str| first.eq_ignore_ascii_case(name);
        if is("Me") {
            return Ok(Self::Me);
        }
        let kind = [Kind::User, Kind::Group]
            .into_iter()
            .find(|kind| is(kind.endpoint()));
        match (kind, rest) {
            (Some(kind), []) => Ok(Self::Collection(kind)),
            (Some(kind), [search]) if search.eq_ignore_ascii_case(".search") => {
                Ok(Self::Search(Some(kind)))
            }
            (Some(kind), [id]) => Ok(Self::Resource(kind, id.clone())),
            (None, []) if is(".search") => Ok(Self::Search(None)),
            (None, []) if is("Bulk") => Ok(Self::Bulk),
            (None, []) if is("ServiceProviderConfig") || is("ServiceProviderConfigs") => {
                Ok(Self::ServiceProviderConfig)
            }
            (None, []) if is("ResourceTypes") => Ok(Self::ResourceTypes),
            (None, [name]) if is("ResourceTypes") => Ok(Self::ResourceType(name.clone())),
            (None, []) if is("Schemas") => Ok(Self::Schemas),
            (None, [urn]) if is("Schemas") => Ok(Self::Schema(urn.clone())),
            _ => Err(Fault::NotFound(String::from(
                "There is no such endpoint. SCIM is served under /scim/v2: /Users, /Groups, /Bulk, /.search, /ServiceProviderConfig, /ResourceTypes and /Schemas.",
            ))),
        }
    }

    /// The methods that it takes, for `Allow`.
    #[must_use]
    pub fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Root
            | Self::ServiceProviderConfig
            | Self::ResourceTypes
            | Self::ResourceType(_)
            | Self::Schemas
            | Self::Schema(_) => READ,
            Self::Collection(_) => COLLECTION,
            Self::Resource(..) => RESOURCE,
            Self::Search(_) | Self::Bulk => POST,
            // Answered 501 whatever the method (3.11).
            Self::Me => &METHODS,
        }
    }

    /// Whether the method changes anything there. A search is a POST and changes nothing, as does what is not taken.
    #[must_use]
    pub fn writes(&self, method: &str) -> bool {
        let reads = matches!(method, "GET" | "HEAD" | "OPTIONS");
        !reads && !matches!(self, Self::Search(_) | Self::Me) && self.methods().contains(&method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::service::segments;

    #[test]
    fn every_path_is_its_routes() {
        for (name, path) in Route::PATHS {
            let route = segments(path).and_then(|segments| Route::of(&segments));
            let route = format!("{:?}", route.unwrap());
            assert_eq!(route.split('(').next(), Some(*name), "{path}");
        }
    }
}
