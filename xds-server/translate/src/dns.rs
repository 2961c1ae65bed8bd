//! DNS for services with a virtual address, which no DNS server knows.

use std::net::Ipv4Addr;

use bowline_proto::{
    Message, Name, any, duration,
    envoy::{
        config::{
            core::v3::{
                Address, SocketAddress, TrafficDirection, TypedExtensionConfig, address,
                socket_address,
            },
            listener::v3::Listener,
        },
        data::dns::v3::{DnsTable, dns_table},
        extensions::{
            filters::udp::dns_filter::v3::{
                DnsFilterConfig, dns_filter_config::ClientContextConfig,
            },
            network::dns_resolver::cares::v3::CaresDnsResolverConfig,
        },
    },
};
use bowline_snapshot::{Body, Parts, Resource, Version};
use bytes::Bytes;

use crate::{
    name,
    wire::{field, field_len, open_field},
};

const PORT: u16 = 15053;
/// Envoy takes no less than 30 s. A virtual address never changes while its service lives.
const TTL_SECONDS: u64 = 30;

/// One name in the table, as a field of it.
///
/// It has an IPv6 form of the same address too (`::ffff:240.0.0.1`, which Linux connects to by IPv4). Without it Envoy asks others for
/// the AAAA record, they say that there is no such name, and musl (Alpine) believes them over the A record.
pub(crate) fn entry(name: &str, address: Ipv4Addr) -> Bytes {
    let domain = dns_table::DnsVirtualDomain {
        name: name.to_owned(),
        endpoint: Some(dns_table::DnsEndpoint {
            endpoint_config: Some(dns_table::dns_endpoint::EndpointConfig::AddressList(
                dns_table::AddressList {
                    address: vec![address.to_string(), address.to_ipv6_mapped().to_string()],
                },
            )),
        }),
        answer_ttl: Some(duration(std::time::Duration::from_secs(TTL_SECONDS))),
    };
    field(2, &[&domain.encode_to_vec()])
}

/// The listener that answers from these entries, and asks the machine's own resolver for everything else.
///
/// The table may have a hundred thousand entries and lies six messages deep. It is put last in each of them, so that the listener is
/// a head that ends where the table begins, followed by the entries as they are.
pub(crate) fn listener(entries: Parts) -> Resource {
    let table_head = DnsTable {
        external_retry_count: 1,
        ..DnsTable::default()
    }
    .encode_to_vec();
    let filter_head = filter().encode_to_vec();
    let mut type_url = Vec::new();
    prost::encoding::string::encode(1, &DnsFilterConfig::type_url(), &mut type_url);
    let mut filter_name = Vec::new();
    prost::encoding::string::encode(
        1,
        &"envoy.filters.udp.dns_filter".to_owned(),
        &mut filter_name,
    );
    let listener_head = listener_head().encode_to_vec();

    let mut len = table_head.len() + entries.len();
    // From the inside out: field numbers, and what stands before the field in the message that has it.
    let nested: [(u32, &[u8]); 5] = [
        (1, &[]),            // ServerContextConfig.inline_dns_table
        (2, &filter_head),   // DnsFilterConfig.server_config
        (2, &type_url),      // Any.value
        (3, &filter_name),   // ListenerFilter.typed_config
        (9, &listener_head), // Listener.listener_filters
    ];
    let mut openings = vec![table_head];
    for (number, before) in nested {
        let mut opening = before.to_vec();
        open_field(number, len, &mut opening);
        openings.push(opening);
        len = before.len() + field_len(number, len);
    }
    let head: Vec<u8> = openings.into_iter().rev().flatten().collect();
    let version = Version::of([&head[..], &entries.digest().to_bytes()]);
    let body = Body::Parts(head.into(), entries);
    Resource::new(name::DNS_LISTENER, body, version, [])
}

fn listener_head() -> Listener {
    Listener {
        name: name::DNS_LISTENER.to_owned(),
        address: Some(Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                protocol: socket_address::Protocol::Udp.into(),
                address: Ipv4Addr::LOCALHOST.to_string(),
                port_specifier: Some(socket_address::PortSpecifier::PortValue(PORT.into())),
                ..SocketAddress::default()
            })),
        }),
        traffic_direction: TrafficDirection::Outbound.into(),
        ..Listener::default()
    }
}

fn filter() -> DnsFilterConfig {
    DnsFilterConfig {
        stat_prefix: "dns".to_owned(),
        case_insensitive: true,
        client_config: Some(ClientContextConfig {
            resolver_timeout: Some(duration(std::time::Duration::from_secs(5))),
            // Without resolvers of its own it asks those of /etc/resolv.conf.
            typed_dns_resolver_config: Some(TypedExtensionConfig {
                name: "envoy.network.dns_resolver.cares".to_owned(),
                typed_config: Some(any(&CaresDnsResolverConfig::default())),
            }),
            max_pending_lookups: 256,
            ..ClientContextConfig::default()
        }),
        ..DnsFilterConfig::default()
    }
}
