//! From an xDS Node to the proxy that it describes, and who that proxy is.
//!
//! Ids of the form `sidecar~{address}~{name}.{namespace}~{domain}` and `router~…`, which Istio's agents write too, say the role, the
//! address, the name and the namespace. Any other id is the name of a sidecar with explicit listeners. Metadata goes before the id: the
//! entries are those of [`NodeMetadata`] (`proto/bowline/node/v1/node.proto`), which `bowline bootstrap` writes. The identity in it is
//! only believed as far as [`bowline_identity::Claimed`] goes.
//!
//! A client whose user agent is a gRPC library, whose id begins with `grpc~`, or whose metadata has `GENERATOR: grpc` as Istio's agents
//! write it, is an application without a proxy.

use std::{net::IpAddr, sync::Arc};

use bowline_ads::{Coverage, StreamKind, Variant};
use bowline_identity::{Claimed, PeerIdentity, Proven, SpiffeId};
use bowline_mesh::{
    Capture, GatewayName, HostLookup, Locality, Mesh, Namespace, Network, Proxy, Role,
    RouteDelivery,
};
use bowline_proto::{
    bowline::node::v1::NodeMetadata,
    envoy::config::core::v3::{Node, node::UserAgentVersionType},
    metadata,
};

/// The namespace of a proxy that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Why a Node does not describe a proxy that can be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// There is no id, so nobody could tell this proxy from another.
    #[error("the Node has no id: set `node.id` in the bootstrap (`bowline bootstrap` writes one)")]
    NoId,
    /// A part of it is not what it should be.
    #[error("node '{id}': {field} '{value}' {reason}")]
    Invalid {
        /// The Node's id.
        id: String,
        /// Which part.
        field: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate proves somebody else.
    #[error("node '{id}' claims to be {claimed}, but its certificate proves {proven}: {hint}")]
    NotProven {
        /// The Node's id.
        id: String,
        /// Who it says it is.
        claimed: String,
        /// Who it is.
        proven: SpiffeId,
        /// What to do.
        hint: &'static str,
    },
}

/// The proxy that a Node describes. `proven` is what its certificate says, if it showed one.
///
/// # Errors
/// When the Node is not understood, or claims more than the certificate proves.
pub fn proxy(node: &Node, proven: Option<&Proven>, mesh: &Mesh) -> Result<Proxy, NodeError> {
    if node.id.is_empty() {
        return Err(NodeError::NoId);
    }
    let parts = IdParts::of(&node.id);
    let invalid = |field: &str, value: &str, reason: String| NodeError::Invalid {
        id: node.id.clone(),
        field: field.to_owned(),
        value: value.to_owned(),
        reason,
    };
    let NodeMetadata {
        name,
        namespace,
        instance_ips,
        network,
        bowline_capture,
        gateway,
        identity,
        generator,
        bowline_role,
    } = match &node.metadata {
        Some(entries) => metadata::from_struct(entries).map_err(|error| {
            invalid(
                &format!("metadata {}", error.key),
                &error.value.to_string(),
                "is not a text".to_owned(),
            )
        })?,
        None => NodeMetadata::default(),
    };
    let namespace = given(&namespace)
        .or(parts.namespace)
        .unwrap_or(DEFAULT_NAMESPACE);
    let namespace: Namespace = namespace
        .parse()
        .map_err(|error| invalid("namespace", namespace, format!("{error}")))?;
    let name: Arc<str> = given(&name).unwrap_or(parts.name).into();
    let is_east_west = match given(&bowline_role) {
        None => false,
        Some(EAST_WEST) => true,
        Some(other) => {
            let reason = format!("is not '{EAST_WEST}', the only role that is said there");
            return Err(invalid("metadata BOWLINE_ROLE", other, reason));
        }
    };
    let role = match (given(&gateway), parts.is_gateway) {
        _ if is_east_west => Role::EastWest,
        _ if parts.is_grpc || is_grpc(node, &generator) => Role::Grpc,
        (Some(gateway), _) => {
            Role::Gateway(gateway_name(gateway, &namespace).ok_or_else(|| {
                invalid(
                    "metadata GATEWAY",
                    gateway,
                    "is not '{namespace}/{name}'".to_owned(),
                )
            })?)
        }
        (None, true) => Role::Gateway(GatewayName {
            namespace: namespace.clone(),
            name: name.clone(),
        }),
        (None, false) => Role::Sidecar(match given(&bowline_capture) {
            None if parts.is_known_form => Capture::Transparent,
            None | Some("explicit") => Capture::Explicit,
            Some("transparent") => Capture::Transparent,
            Some(other) => {
                let reason = "is neither 'explicit' nor 'transparent'".to_owned();
                return Err(invalid("metadata BOWLINE_CAPTURE", other, reason));
            }
        }),
    };
    let addresses = match given(&instance_ips) {
        Some(list) => list
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(|text| {
                text.parse()
                    .map_err(|error| invalid("metadata INSTANCE_IPS", text, format!("{error}")))
            })
            .collect::<Result<Vec<IpAddr>, _>>()?,
        None => parts.address.into_iter().collect(),
    };
    let network = given(&network)
        .map(|text| {
            text.parse::<Network>()
                .map_err(|error| invalid("metadata NETWORK", text, format!("{error}")))
        })
        .transpose()?;
    let locality = node
        .locality
        .as_ref()
        .map(|locality| Locality::new(&locality.region, &locality.zone, &locality.sub_zone))
        .filter(|locality| *locality != Locality::default());
    let claimed = given(&identity)
        .map(|text| {
            text.parse::<SpiffeId>()
                .map_err(|error| invalid("metadata IDENTITY", text, format!("{error}")))
        })
        .transpose()?;
    let proxy = Proxy {
        id: node.id.as_str().into(),
        role,
        namespace,
        name,
        addresses,
        network,
        locality,
        host_lookup: host_lookup(node),
        // Only a stream tells more.
        route_delivery: RouteDelivery::Whole,
        identity: match proven {
            Some(proven) => PeerIdentity::Proven(proven.clone()),
            None => PeerIdentity::Claimed(Claimed {
                spiffe_id: claimed.clone(),
            }),
        },
    };
    match proven {
        Some(proven) => check(&proxy, claimed.as_ref(), proven.spiffe_id(), mesh).map(|()| proxy),
        None => Ok(proxy),
    }
}

/// The role of an east-west gateway.
pub(crate) const EAST_WEST: &str = "east-west";

/// What forwards requests by their host, in Envoy's names.
const HOST_LOOKUP_EXTENSIONS: [&str; 2] = [
    "envoy.clusters.dynamic_forward_proxy",
    "envoy.filters.http.dynamic_forward_proxy",
];

/// Every Envoy lists what it was built with; whoever lists nothing only does not say.
fn host_lookup(node: &Node) -> HostLookup {
    let has = |name: &str| {
        node.extensions
            .iter()
            .any(|extension| extension.name == name)
    };
    match node.extensions.is_empty() || HOST_LOOKUP_EXTENSIONS.into_iter().all(has) {
        true => HostLookup::Available,
        false => HostLookup::Unavailable,
    }
}

/// The first Envoy of which every build takes virtual hosts from the stream that its route configurations come from: 1.36 refuses such
/// a route configuration, and so do the first builds between it and 1.37.
const TAKES_HOSTS_SINCE: (u32, u32) = (1, 38);

/// How routes come to the client on a stream: host by host, where it can take them so. That is a matter of the protocol (VHDS has no
/// state of the world, and has to come after its route configuration on the same stream), and of the program.
pub fn route_delivery(node: &Node, stream: StreamKind) -> RouteDelivery {
    let is_one_stream = match stream {
        StreamKind {
            variant: Variant::Delta,
            coverage: Coverage::All,
        } => true,
        StreamKind {
            variant: Variant::Delta | Variant::StateOfTheWorld,
            coverage: Coverage::All | Coverage::One(_),
        } => false,
    };
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map(|version| (version.major_number, version.minor_number)),
        Some(UserAgentVersionType::UserAgentVersion(_)) | None => None,
    };
    match version {
        Some((major, minor)) if is_one_stream && node.user_agent_name == "envoy" => {
            route_delivery_of(major, minor)
        }
        Some(_) | None => RouteDelivery::Whole,
    }
}

/// How routes come to an Envoy of this version that speaks delta on one stream.
pub fn route_delivery_of(major: u32, minor: u32) -> RouteDelivery {
    match (major, minor) >= TAKES_HOSTS_SINCE {
        true => RouteDelivery::ByHost,
        false => RouteDelivery::Whole,
    }
}

/// Whether a certificate covers all that a proxy says it is.
fn check(
    proxy: &Proxy,
    claimed: Option<&SpiffeId>,
    proven: &SpiffeId,
    mesh: &Mesh,
) -> Result<(), NodeError> {
    let refuse = |claimed: String, hint| {
        Err(NodeError::NotProven {
            id: proxy.id.to_string(),
            claimed,
            proven: proven.clone(),
            hint,
        })
    };
    if let Some(claimed) = claimed
        && claimed != proven
    {
        return refuse(
            claimed.to_string(),
            "use the certificate of that identity, or take IDENTITY out of the metadata",
        );
    }
    let proven_namespace = proven
        .namespace_and_service_account()
        .map(|(namespace, _)| namespace);
    let namespaces = match &proxy.role {
        Role::Gateway(gateway) => [&proxy.namespace, &gateway.namespace],
        Role::Sidecar(_) | Role::EastWest | Role::Grpc => [&proxy.namespace, &proxy.namespace],
    };
    if let Some(other) = namespaces
        .into_iter()
        .find(|namespace| Some(namespace.as_str()) != proven_namespace)
    {
        return refuse(
            format!("in namespace {other}"),
            "the namespace of a proxy must be that of its certificate; issue one with `bowline ca issue`",
        );
    }
    if let Some((key, workload)) = proxy.workload(mesh)
        && let Some(identity) = &workload.identity
        && identity != proven
    {
        return refuse(
            format!(
                "workload {}/{} with identity {identity}",
                key.namespace, key.name
            ),
            "a workload's proxy must show the certificate of the workload's identity",
        );
    }
    Ok(())
}

/// gRPC libraries name themselves `gRPC Go`, `gRPC C-core Linux` and so on.
fn is_grpc(node: &Node, generator: &str) -> bool {
    let start = node.user_agent_name.get(..4);
    start.is_some_and(|start| start.eq_ignore_ascii_case("grpc")) || generator == "grpc"
}

fn gateway_name(text: &str, namespace: &Namespace) -> Option<GatewayName> {
    let (namespace, name) = match text.split_once('/') {
        Some((of, name)) => (of.parse().ok()?, name),
        None => (namespace.clone(), text),
    };
    (!name.is_empty() && !name.contains('/')).then(|| GatewayName {
        namespace,
        name: name.into(),
    })
}

/// What an id says.
struct IdParts<'n> {
    is_known_form: bool,
    is_gateway: bool,
    is_grpc: bool,
    address: Option<IpAddr>,
    name: &'n str,
    namespace: Option<&'n str>,
}

impl<'n> IdParts<'n> {
    fn of(id: &'n str) -> Self {
        let mut parts = id.split('~');
        let known = (parts.next(), parts.next(), parts.next(), parts.next());
        if let (
            Some(kind @ ("sidecar" | "router" | "grpc")),
            Some(address),
            Some(workload),
            Some(_),
        ) = known
        {
            let (name, namespace) = match workload.rsplit_once('.') {
                Some((name, namespace)) => (name, Some(namespace)),
                None => (workload, None),
            };
            return Self {
                is_known_form: true,
                is_gateway: kind == "router",
                is_grpc: kind == "grpc",
                address: address.parse().ok(),
                name,
                namespace,
            };
        }
        Self {
            is_known_form: false,
            is_gateway: false,
            is_grpc: false,
            address: None,
            name: id,
            namespace: None,
        }
    }
}

/// What is not given is empty.
fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
