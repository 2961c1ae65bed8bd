//! Kubernetes' own kinds and the Gateway API's as objects of the mesh.
//!
//! Objects are read one by one, from files ([`Manifests`]) or from an API server, into types that hold only what is used
//! ([`Manifest`]); [`convert`](convert()) turns each into objects of the mesh and Problems, knowing of other objects only what
//! [`References`] says. A field that is valid but not honoured is a Problem, never silence.
//!
//! Reading order: [`ManifestKind`] (the closed list), [`convert`](convert()), one kind's file, for API servers
//! [`ApiObject`], and for files: `file` (one file's objects), [`read`](read()) (what changed), [`Manifests`] (watching).

mod api_object;
mod backend;
mod certificate;
mod convert;
mod endpoint_slice;
mod file;
mod filter;
mod gateway;
mod gateway_class;
mod header;
mod hostname;
mod http_route;
mod ingress;
mod ingress_class;
mod json;
mod kind;
mod matching;
mod metadata;
mod namespace;
mod network;
mod parent;
mod read;
mod reference_grant;
mod references;
mod regex;
mod report;
mod secret;
mod secrets;
mod service;
mod status;
mod stream_route;
mod tcp_route;
mod tls_route;
mod watch;
mod written;

pub use api_object::ApiObject;
pub use convert::{Context, Converted, convert, objects_of, route_manifest};
pub use endpoint_slice::EndpointSlice;
pub use gateway::Gateway;
pub use gateway_class::GatewayClass;
pub use http_route::HttpRoute;
pub use ingress::Ingress;
pub use ingress_class::IngressClass;
pub use kind::{Manifest, ManifestKind};
pub use metadata::{ManifestName, ManifestNameError, Metadata};
pub use namespace::Namespace;
pub use network::network_of;
pub use read::{State, read};
pub use reference_grant::ReferenceGrant;
pub use references::{Affects, CLUSTER_NETWORK_NAMESPACE, NodeFacts, PodFacts, References};
pub use secret::{Certificate, Secret};
pub use secrets::{SecretChange, SecretName, Secrets, Sight};
pub use service::Service;
pub use status::{
    Condition, GATEWAY_CONTROLLER, GatewayAddress, GatewayStatus, Known, ListenerStatus, Outcome,
    ParentName, ParentStatus, Status, status,
};
pub use tcp_route::TcpRoute;
pub use tls_route::TlsRoute;
pub use watch::Manifests;
pub use written::as_written;
