//! How a sidecar knows the connections that it makes to its own workload, and why it must.
//!
//! They have a source address that nothing else has. With transparent capture iptables lets them pass by it (Istio's rules know it);
//! anything else would be captured and come back. With explicit listeners a service may have been given the local port that the
//! application was to listen on: the listener towards that service then refuses these connections, which would otherwise go round for
//! ever where the service's endpoint is the workload itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bowline_mesh::IpFamilies;
use bowline_proto::envoy::config::{
    core::v3::{BindConfig, CidrRange, ExtraSourceAddress},
    listener::v3::{FilterChain, Listener},
};

use crate::listener::plain_socket_address;

/// The source address of connections from a sidecar to its own workload.
const OWN_SOURCE_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
/// The same for IPv6: `::6`.
const OWN_SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// Gives connections that source address.
pub(crate) fn own_source(families: IpFamilies) -> BindConfig {
    let (first, other): (IpAddr, Option<IpAddr>) = match families {
        IpFamilies::V4 => (OWN_SOURCE_V4.into(), None),
        IpFamilies::V6 => (OWN_SOURCE_V6.into(), None),
        IpFamilies::Dual => (OWN_SOURCE_V4.into(), Some(OWN_SOURCE_V6.into())),
    };
    let address = |ip: IpAddr| Some(plain_socket_address(&ip.to_string(), 0));
    BindConfig {
        source_address: address(first),
        extra_source_addresses: other
            .map(|ip| ExtraSourceAddress {
                address: address(ip),
                ..ExtraSourceAddress::default()
            })
            .into_iter()
            .collect(),
        ..BindConfig::default()
    }
}

/// Makes a listener on loopback close connections that the sidecar makes to its own workload.
///
/// Each chain gets one beside it for that source, without filters, which closes what it gets. (A filter in the chain itself would come
/// too late: tcp_proxy connects onward before any filter has seen data.)
pub(crate) fn refuse_own(listener: &mut Listener) {
    let refused: Vec<FilterChain> = listener.filter_chains.iter().map(refusal).collect();
    listener.filter_chains.extend(refused);
}

fn refusal(chain: &FilterChain) -> FilterChain {
    let own = CidrRange {
        address_prefix: OWN_SOURCE_V4.to_string(),
        prefix_len: Some(32),
    };
    let mut chain_match = chain.filter_chain_match.clone().unwrap_or_default();
    chain_match.source_prefix_ranges = vec![own];
    FilterChain {
        name: format!("own connections, {}", chain.name),
        filter_chain_match: Some(chain_match),
        ..FilterChain::default()
    }
}
