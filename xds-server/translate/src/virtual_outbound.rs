//! What a sidecar with transparent capture does with connections that no service claims.

use bowline_mesh::{IpFamilies, OutboundMode};
use bowline_proto::envoy::config::{
    cluster::v3::{Cluster, cluster},
    core::v3::TrafficDirection,
    listener::v3::{FilterChain, Listener},
};

use crate::{
    cluster::{discovery, original_destination},
    listener::{
        self, Place, Socket, any_chain, for_port, original_destination as find_destination,
    },
    name,
    tcp::{StreamTarget, tcp_proxy},
};

/// Where iptables redirects what goes out.
pub(crate) const OUTBOUND_PORT: u16 = 15001;
/// Where iptables redirects what comes in.
pub(crate) const INBOUND_PORT: u16 = 15006;

/// Gets every connection that goes out, and hands it to the listener of its original destination: first the one of address and port,
/// then the one of the port.
pub(crate) fn virtual_outbound(families: IpFamilies, mode: OutboundMode) -> Listener {
    let place = Place::Everywhere(families);
    let mut listener = listener::listener(
        place,
        OUTBOUND_PORT,
        Socket::Bound,
        TrafficDirection::Outbound,
    );
    name::VIRTUAL_OUTBOUND.clone_into(&mut listener.name);
    listener.use_original_dst = Some(true);
    listener.listener_filters.push(find_destination());
    // A connection to the proxy's own port would be handed to itself, again and again.
    listener.filter_chains.push(loop_chain(OUTBOUND_PORT));
    listener.default_filter_chain = Some(unknown_destination(mode));
    listener
}

/// Ends what was meant for the proxy's own port.
pub(crate) fn loop_chain(port: u16) -> FilterChain {
    for_port(
        any_chain(
            "loop",
            tcp_proxy(name::BLACK_HOLE_CLUSTER, black_hole_target()),
        ),
        port,
    )
}

/// What happens to a connection to a destination that no registry has.
pub(crate) fn unknown_destination(mode: OutboundMode) -> FilterChain {
    match mode {
        OutboundMode::PassThrough => any_chain(
            "passthrough",
            tcp_proxy(
                name::PASSTHROUGH_CLUSTER,
                StreamTarget::OnlyPlace(name::PASSTHROUGH_CLUSTER.to_owned()),
            ),
        ),
        OutboundMode::Refuse => any_chain(
            "refused",
            tcp_proxy(name::BLACK_HOLE_CLUSTER, black_hole_target()),
        ),
    }
}

fn black_hole_target() -> StreamTarget {
    StreamTarget::OnlyPlace(name::BLACK_HOLE_CLUSTER.to_owned())
}

/// The cluster that sends a connection where it wanted to go.
pub(crate) fn passthrough_cluster() -> Cluster {
    let mut cluster = Cluster {
        name: name::PASSTHROUGH_CLUSTER.to_owned(),
        circuit_breakers: Some(crate::circuit_breaker::circuit_breakers(&Default::default())),
        // Whatever the application speaks: unknown destinations get what they would get without us.
        typed_extension_protocol_options: crate::cluster::protocol_options(
            bowline_mesh::Protocol::Auto,
            crate::cluster::Caller::Sidecar(bowline_mesh::Capture::Transparent),
        ),
        ..Cluster::default()
    };
    original_destination(&mut cluster);
    cluster
}

/// The cluster without endpoints.
pub(crate) fn black_hole_cluster() -> Cluster {
    Cluster {
        name: name::BLACK_HOLE_CLUSTER.to_owned(),
        cluster_discovery_type: Some(discovery(cluster::DiscoveryType::Static)),
        ..Cluster::default()
    }
}
