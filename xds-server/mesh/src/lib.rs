//! The model: everything known about services, endpoints, workloads, routes, gateways and policies, merged over registries.
//!
//! ```text
//! RegistryEvent ──► MeshStore (the single writer) ──► Mesh (immutable) ──► View (what one kind of proxy sees of it)
//! ```
//!
//! There is no I/O here, no async, no Envoy and no Kubernetes: registries are told apart by name only, and what a view says is
//! turned into Envoy configuration elsewhere. Reading order: the objects ([`Service`], [`Endpoint`], [`Workload`], [`HttpRoute`],
//! [`Gateway`], [`Policy`]), how they arrive ([`RegistryEvent`]), how they are kept ([`MeshStore`], [`Mesh`]), and how they are
//! seen ([`view`]).

mod attachment;
mod endpoint;
mod event;
mod gateway;
mod guard;
mod known_problems;
mod merge;
mod mesh;
mod name;
mod named;
mod network_gateway;
mod object;
mod policy;
mod problem;
mod proxy;
mod registry;
mod route;
mod routing_change;
mod served;
mod service;
mod settings;
mod small_map;
mod store;
pub mod view;
mod virtual_address;
mod workload;

pub use attachment::{AttachedRoute, NotAttached, RouteTraffic};
pub use endpoint::{Address, Endpoint, EndpointGroup, Health, Labels, Locality, LocalityError};
pub use event::{Change, RegistryEvent};
pub use gateway::{AllowedRoutes, Gateway, GatewayListener, GatewayProtocol};
pub use guard::GuardSettings;
pub use merge::{Discovery, MergedPort, MergedService};
pub use mesh::{EndpointGroups, Mesh};
pub use name::{HostPattern, Hostname, NameError, Namespace, Network, RegistryId};
pub use named::Named;
pub use network_gateway::NetworkGateway;
pub use object::{Kind, Object, ObjectKey, Source, Spec};
pub use policy::{Policy, TrafficSettings};
pub use problem::{Code, Problem, Severity};
pub use proxy::{Balancer, Capture, HostLookup, IpFamilies, Proxy, Role, RouteDelivery};
pub use registry::{Held, LastGood, PartState, RegistryPart, RegistryState, RegistryStatus};
pub use route::{
    Backend, Destination, GatewayName, HeaderChanges, HttpAction, HttpMatch, HttpRoute, HttpRule,
    NamedMatch, PathChange, PathMatch, Redirect, RedirectScheme, Rewrite, RouteParent, StreamRoute,
    Timeouts, ValueMatch,
};
pub use routing_change::RoutingChange;
pub use served::Served;
pub use service::{Balancing, HealthCheck, Probe, Protocol, RegionOrder, Service, ServicePort};
pub use settings::{
    HostnameTemplate, MeshSettings, MutualTls, OutboundMode, RegistrySettings, TemplateError,
};
pub use small_map::SmallMap;
pub use store::{Applied, Changed, MeshStore, Persist};
pub use workload::{Workload, WorkloadPort};
