//! The closed list of kinds that are read. A kind is added by one line here and a file with its type and its conversion.

use std::fmt;

use bowline_document::{DecodeError, Node};
use bowline_mesh::{Kind, Object};
use serde::de::DeserializeOwned;

use crate::{
    Metadata,
    convert::Scope,
    endpoint_slice::{self, EndpointSlice},
    gateway::{self, Gateway},
    gateway_class::{self, GatewayClass},
    http_route::{self, HttpRoute},
    ingress::{self, Ingress},
    ingress_class::{self, IngressClass},
    json::{self, JsonError},
    namespace::{self, Namespace},
    reference_grant::{self, ReferenceGrant},
    report::Report,
    secret::{self, Secret},
    service::{self, Service},
    tcp_route::{self, TcpRoute},
    tls_route::{self, TlsRoute},
};

const CORE: &str = "";
const DISCOVERY: &str = "discovery.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const GATEWAY: &str = "gateway.networking.k8s.io";

macro_rules! kinds {
    ($(
        $name:literal $kind:ident($module:ident) = $group:ident [$($version:literal)+] $plural:literal $scope:ident
        $(=> $object_kind:ident)?;
    )*) => {
        /// A kind of object that is read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ManifestKind {
            $(#[doc = concat!("`", $name, "`")] $kind,)*
        }

        /// An object of one of the kinds.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Manifest {
            $(#[doc = concat!("`", $name, "`")] $kind($kind),)*
        }

        impl ManifestKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Its name, as `kind:` has it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Its API group; empty for the core group.
            pub fn group(self) -> &'static str {
                match self { $(Self::$kind => $group,)* }
            }

            /// The versions of it that are read, the best one first.
            pub fn versions(self) -> &'static [&'static str] {
                match self { $(Self::$kind => &[$($version),+],)* }
            }

            /// Its name in the API's paths.
            pub fn plural(self) -> &'static str {
                match self { $(Self::$kind => $plural,)* }
            }

            /// Whether its objects live in namespaces.
            pub fn is_namespaced(self) -> bool {
                match self { $(Self::$kind => Reach::$scope == Reach::Namespaced,)* }
            }

            /// What its objects become in the mesh; `None` for kinds that only say something about others.
            pub fn object_kind(self) -> Option<Kind> {
                match self { $(Self::$kind => object_kind!($($object_kind)?),)* }
            }

            /// Paths of fields that are known and mean nothing here, such as `spec.ports[].nodePort`.
            pub(crate) fn ignored_fields(self) -> &'static [&'static str] {
                match self { $(Self::$kind => $module::IGNORED,)* }
            }

            /// An object of this kind, and the fields that its type does not have.
            pub(crate) fn decode(self, node: &Node) -> Result<(Manifest, Vec<DecodeError>), DecodeError> {
                match self { $(Self::$kind => decode::<$kind>(node),)* }
            }

            /// As [`ManifestKind::decode`], of JSON.
            pub(crate) fn decode_json(self, text: &str) -> Result<(Manifest, Vec<String>), JsonError> {
                match self { $(Self::$kind => json::decode::<$kind>(self, text),)* }
            }
        }

        impl Manifest {
            /// What it is.
            pub fn kind(&self) -> ManifestKind {
                match self { $(Self::$kind(_) => ManifestKind::$kind,)* }
            }

            /// Its metadata.
            pub fn metadata(&self) -> &Metadata {
                match self { $(Self::$kind(object) => &object.metadata,)* }
            }

            pub(crate) fn objects(&self, scope: &Scope<'_>, report: &mut Report<'_>) -> Vec<Object> {
                match self { $(Self::$kind(object) => $module::objects(object, scope, report),)* }
            }
        }

        $(impl From<$kind> for Manifest {
            fn from(object: $kind) -> Self {
                Self::$kind(object)
            }
        })*
    };
}

/// Where the objects of a kind live.
#[derive(PartialEq, Eq)]
enum Reach {
    Cluster,
    Namespaced,
}

impl ManifestKind {
    /// Group and best version, as `apiVersion:` has it.
    pub fn api_version(self) -> String {
        let version = self.versions().first().unwrap_or(&"v1");
        match self.group() {
            "" => (*version).to_owned(),
            group => format!("{group}/{version}"),
        }
    }
}

impl ManifestKind {
    /// Whether every cluster has it; the others are installed as CustomResourceDefinitions, which may come and go.
    pub fn is_built_in(self) -> bool {
        matches!(self.group(), CORE | DISCOVERY | NETWORKING)
    }

    /// Whether its objects decide where requests go: what they mean depends on other objects, and one that is only half understood
    /// would send requests elsewhere.
    pub fn is_about_routing(self) -> bool {
        matches!(self.group(), NETWORKING | GATEWAY)
    }

    /// Whether a field that no type has is known all the same: what every object has, or what means nothing here.
    pub(crate) fn is_known_field(self, path: &str) -> bool {
        let everywhere = ["apiVersion", "kind", "status"];
        everywhere.contains(&path)
            || path.starts_with("metadata.")
            // Controllers write what they like there.
            || path.starts_with("status.")
            || self
                .ignored_fields()
                .contains(&without_indexes(path).as_str())
    }
}

/// `ports[3].name` as `ports[].name`.
fn without_indexes(path: &str) -> String {
    let mut parts = path.split('[');
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str("[]");
        result.push_str(part.split_once(']').map_or(part, |(_, after)| after));
    }
    result
}

impl fmt::Display for ManifestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn decode<T: DeserializeOwned + Into<Manifest>>(
    node: &Node,
) -> Result<(Manifest, Vec<DecodeError>), DecodeError> {
    let (object, unknown) = node.decode_noting::<T>()?;
    Ok((object.into(), unknown))
}

macro_rules! object_kind {
    () => {
        None
    };
    ($kind:ident) => {
        Some(Kind::$kind)
    };
}

kinds! {
    "Namespace" Namespace(namespace) = CORE ["v1"] "namespaces" Cluster;
    "Service" Service(service) = CORE ["v1"] "services" Namespaced => Service;
    "EndpointSlice" EndpointSlice(endpoint_slice) = DISCOVERY ["v1"] "endpointslices" Namespaced => Endpoints;
    "Secret" Secret(secret) = CORE ["v1"] "secrets" Namespaced;
    "IngressClass" IngressClass(ingress_class) = NETWORKING ["v1"] "ingressclasses" Cluster => Gateway;
    "Ingress" Ingress(ingress) = NETWORKING ["v1"] "ingresses" Namespaced => HttpRoute;
    "GatewayClass" GatewayClass(gateway_class) = GATEWAY ["v1" "v1beta1"] "gatewayclasses" Cluster;
    "Gateway" Gateway(gateway) = GATEWAY ["v1" "v1beta1"] "gateways" Namespaced => Gateway;
    "ReferenceGrant" ReferenceGrant(reference_grant) = GATEWAY ["v1" "v1beta1"] "referencegrants" Namespaced;
    "HTTPRoute" HttpRoute(http_route) = GATEWAY ["v1" "v1beta1"] "httproutes" Namespaced => HttpRoute;
    "TLSRoute" TlsRoute(tls_route) = GATEWAY ["v1" "v1alpha3" "v1alpha2"] "tlsroutes" Namespaced => StreamRoute;
    "TCPRoute" TcpRoute(tcp_route) = GATEWAY ["v1" "v1alpha2"] "tcproutes" Namespaced => StreamRoute;
}
