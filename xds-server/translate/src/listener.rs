//! Listeners and filter chains.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use bowline_mesh::IpFamilies;
use bowline_proto::{
    any, duration,
    envoy::{
        config::{
            core::v3::{Address, SocketAddress, TrafficDirection, address, socket_address},
            listener::v3::{
                AdditionalAddress, Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter,
                ListenerFilterChainMatchPredicate, listener_filter,
            },
        },
        extensions::filters::listener::{
            http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst,
            tls_inspector::v3::TlsInspector,
        },
    },
};

use crate::name;

/// How long a connection whose protocol nobody declared may be silent before it counts as bytes. Long enough for a client of this
/// machine to begin, short enough that a protocol in which the server begins (MySQL, SMTP) loses little.
const SNIFFING: Duration = Duration::from_millis(200);

/// What Envoy's inspectors call HTTP.
const HTTP_PROTOCOLS: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// Where a listener listens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// On one address.
    At(IpAddr),
    /// On all addresses of some families.
    Everywhere(IpFamilies),
}

/// Whether a listener has a socket of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Socket {
    Bound,
    /// It gets connections from `virtualOutbound`, by their original destination.
    HandedOver,
}

/// Who speaks first decides how long an inspector waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Silence {
    /// A silent connection counts as bytes after a moment.
    IsBytes,
    /// The listener waits for the first bytes as long as it takes.
    IsWaitedFor,
}

impl Place {
    /// The address that names the listener.
    pub(crate) fn address(self) -> IpAddr {
        match self {
            Self::At(address) => address,
            Self::Everywhere(IpFamilies::V4 | IpFamilies::Dual) => Ipv4Addr::UNSPECIFIED.into(),
            Self::Everywhere(IpFamilies::V6) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    fn additional(self) -> Option<IpAddr> {
        match self {
            Self::Everywhere(IpFamilies::Dual) => Some(Ipv6Addr::UNSPECIFIED.into()),
            Self::Everywhere(IpFamilies::V4 | IpFamilies::V6) | Self::At(_) => None,
        }
    }
}

/// An address and TCP port.
pub(crate) fn socket_address(ip: IpAddr, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(plain_socket_address(
            &ip.to_string(),
            port,
        ))),
    }
}

/// An address, or a name that the proxy resolves, and TCP port.
pub(crate) fn plain_socket_address(host: &str, port: u16) -> SocketAddress {
    SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    }
}

/// A listener without filter chains, named after its address.
pub(crate) fn listener(
    place: Place,
    port: u16,
    socket: Socket,
    direction: TrafficDirection,
) -> Listener {
    Listener {
        name: name::listener(place.address(), port),
        address: Some(socket_address(place.address(), port)),
        additional_addresses: place
            .additional()
            .map(|address| AdditionalAddress {
                address: Some(socket_address(address, port)),
                ..AdditionalAddress::default()
            })
            .into_iter()
            .collect(),
        bind_to_port: match socket {
            Socket::Bound => None,
            Socket::HandedOver => Some(false),
        },
        traffic_direction: direction.into(),
        ..Listener::default()
    }
}

/// A filter chain for whatever no other chain is for.
pub(crate) fn any_chain(name: &str, filter: Filter) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filters: vec![filter],
        ..FilterChain::default()
    }
}

/// What Envoy calls a connection that no inspector has seen to be TLS.
const WITHOUT_TLS: &str = "raw_buffer";

/// A filter chain for what an inspector has seen to be HTTP without TLS. (A TLS connection may name the same protocols in its ALPN.)
///
/// Envoy chooses by transport protocol first and never goes back: beside this chain, one for other bytes must be for connections
/// [`without_tls`] too, or the default one.
pub(crate) fn http_chain(name: &str, filter: Filter) -> FilterChain {
    FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            transport_protocol: WITHOUT_TLS.to_owned(),
            application_protocols: HTTP_PROTOCOLS.map(str::to_owned).to_vec(),
            ..FilterChainMatch::default()
        }),
        ..any_chain(name, filter)
    }
}

/// A filter chain for TLS connections with these server names; with any, where there are none.
pub(crate) fn server_name_chain(
    name: &str,
    server_names: Vec<String>,
    filter: Filter,
) -> FilterChain {
    FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            transport_protocol: "tls".to_owned(),
            server_names,
            ..FilterChainMatch::default()
        }),
        ..any_chain(name, filter)
    }
}

/// Limits a chain to connections that no inspector has seen to be TLS.
pub(crate) fn without_tls(mut chain: FilterChain) -> FilterChain {
    WITHOUT_TLS.clone_into(
        &mut chain
            .filter_chain_match
            .get_or_insert_default()
            .transport_protocol,
    );
    chain
}

/// Limits a chain to connections for one port, on a listener that gets connections for many.
pub(crate) fn for_port(mut chain: FilterChain, port: u16) -> FilterChain {
    chain
        .filter_chain_match
        .get_or_insert_default()
        .destination_port = Some(port.into());
    chain
}

/// Makes a listener look at the first bytes of connections.
pub(crate) fn inspect(listener: &mut Listener, filters: Vec<ListenerFilter>, silence: Silence) {
    listener.listener_filters.extend(filters);
    listener.listener_filters_timeout = Some(duration(match silence {
        Silence::IsBytes => SNIFFING,
        Silence::IsWaitedFor => Duration::ZERO,
    }));
    listener.continue_on_listener_filters_timeout = true;
}

/// Tells HTTP from other bytes.
pub(crate) fn http_inspector() -> ListenerFilter {
    listener_filter(
        "envoy.filters.listener.http_inspector",
        any(&HttpInspector::default()),
    )
}

/// Tells TLS from other bytes and reads the server name.
pub(crate) fn tls_inspector() -> ListenerFilter {
    listener_filter(
        "envoy.filters.listener.tls_inspector",
        any(&TlsInspector::default()),
    )
}

/// Finds out where a redirected connection wanted to go.
pub(crate) fn original_destination() -> ListenerFilter {
    listener_filter(
        "envoy.filters.listener.original_dst",
        any(&OriginalDst::default()),
    )
}

/// Lets a listener filter act on connections for some ports only, so that the others wait for nothing.
pub(crate) fn only_for_ports(mut filter: ListenerFilter, ports: &[u16]) -> ListenerFilter {
    use bowline_proto::envoy::{
        config::listener::v3::listener_filter_chain_match_predicate::{MatchSet, Rule},
        r#type::v3::Int32Range,
    };
    let predicate = |rule| ListenerFilterChainMatchPredicate { rule: Some(rule) };
    let mut rules: Vec<_> = ports
        .iter()
        .map(|port| {
            let start = i32::from(*port);
            predicate(Rule::DestinationPortRange(Int32Range {
                start,
                end: start + 1,
            }))
        })
        .collect();
    // Envoy wants an "or" to be of two at least.
    let any_port = match (rules.pop(), rules.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            rules.push(last);
            predicate(Rule::OrMatch(MatchSet { rules }))
        }
        (None, _) => return filter,
    };
    filter.filter_disabled = Some(predicate(Rule::NotMatch(Box::new(any_port))));
    filter
}

fn listener_filter(name: &str, config: bowline_proto::Any) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..ListenerFilter::default()
    }
}
