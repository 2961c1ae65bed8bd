//! What a gRPC server that speaks xDS itself is told of an address at which it listens (gRFC A36).
//!
//! A server asks for a listener by the address that its code gives, and serves nothing before it has one. Which addresses there are
//! only the servers know, so the listener is made from the name. It lets every call in, in plaintext; what an identity needs to be
//! let in, and how it is proven, belongs into the filter chain and before the router.

use std::net::SocketAddr;

use bowline_proto::envoy::{
    config::{
        core::v3::{Address, TrafficDirection, address},
        listener::v3::Listener,
        route::v3::{NonForwardingAction, RouteConfiguration, VirtualHost, route::Action},
    },
    extensions::filters::network::http_connection_manager::v3::{
        HttpConnectionManager, http_connection_manager as hcm,
    },
};
use bowline_snapshot::Resource;

use crate::{
    http::{manager_filter, router},
    listener::{any_chain, plain_socket_address},
    name, route,
};

/// The listener with this name; `None` where that is not of an IP address and a port.
pub(crate) fn listener(name: &str) -> Option<Resource> {
    let listening = name.strip_prefix(name::SERVER_LISTENER)?;
    let address: SocketAddr = listening.parse().ok()?;
    // The library compares texts: the address comes back as it was spelled.
    let (host, _) = listening.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = Address {
        address: Some(address::Address::SocketAddress(plain_socket_address(
            host,
            address.port(),
        ))),
    };
    let manager = HttpConnectionManager {
        stat_prefix: INBOUND.to_owned(),
        route_specifier: Some(hcm::RouteSpecifier::RouteConfig(every_call())),
        http_filters: vec![router()],
        ..HttpConnectionManager::default()
    };
    let listener = Listener {
        name: name.to_owned(),
        address: Some(address),
        // Java's library refuses any other.
        traffic_direction: TrafficDirection::Inbound.into(),
        filter_chains: vec![any_chain(INBOUND, manager_filter(&manager))],
        ..Listener::default()
    };
    Some(Resource::encode(name, &listener, []))
}

const INBOUND: &str = "inbound";

/// The routes of a server that answers each call itself.
fn every_call() -> RouteConfiguration {
    let answered_here = Action::NonForwardingAction(NonForwardingAction {});
    RouteConfiguration {
        name: INBOUND.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: INBOUND.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route::catch_all("default", answered_here)],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

#[cfg(test)]
mod tests {
    use bowline_snapshot::ResourceType;
    use serde_json::json;

    use super::*;
    use crate::testing::json;

    const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

    fn of(listening: &str) -> Option<Resource> {
        listener(&format!("{}{listening}", name::SERVER_LISTENER))
    }

    #[test]
    fn a_server_has_a_listener_at_the_address_that_it_asks_for_and_answers_all_calls_itself() {
        let resource = of("0.0.0.0:50051").unwrap();
        let listener = json(ResourceType::LISTENER, &resource);
        assert_eq!(listener["name"], **resource.name());
        assert_eq!(
            listener["address"]["socket_address"],
            json!({"address": "0.0.0.0", "port_value": 50051})
        );
        assert_eq!(listener["traffic_direction"], "INBOUND");
        for absent in ["listener_filters", "use_original_dst", "api_listener"] {
            assert!(listener.get(absent).is_none(), "{absent}: {listener}");
        }
        let [chain] = listener["filter_chains"].as_array().unwrap().as_slice() else {
            panic!("{listener}");
        };
        assert!(chain.get("filter_chain_match").is_none());
        let [manager] = chain["filters"].as_array().unwrap().as_slice() else {
            panic!("{chain}");
        };
        let manager = &manager["typed_config"];
        let filters = manager["http_filters"].as_array().unwrap();
        assert_eq!(filters.last().unwrap()["typed_config"]["@type"], ROUTER);
        let hosts = manager["route_config"]["virtual_hosts"].as_array().unwrap();
        assert_eq!(hosts.len(), 1);
        assert_eq!(
            (&hosts[0]["domains"], &hosts[0]["routes"]),
            (
                &json!(["*"]),
                &json!([{"name": "default", "match": {"prefix": "/"}, "non_forwarding_action": {}}])
            )
        );
    }

    #[test]
    fn the_address_of_a_server_comes_back_as_it_was_spelled() {
        for (listening, address, port) in [
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::]:50051", "::", 50051),
            ("[::1]:65535", "::1", 65535),
            ("[0:0:0:0:0:0:0:1]:80", "0:0:0:0:0:0:0:1", 80),
            ("[fe80::1%2]:80", "fe80::1%2", 80),
        ] {
            let listener = json(ResourceType::LISTENER, &of(listening).unwrap());
            assert_eq!(
                listener["address"]["socket_address"],
                json!({"address": address, "port_value": port})
            );
        }
    }

    #[test]
    fn a_name_that_is_no_address_is_of_no_server() {
        for listening in [
            "",
            "%s",
            "50051",
            ":50051",
            "::1:50051",
            "[::1]",
            "10.0.0.1",
            "10.0.0.1:",
            "10.0.0.1:65536",
            "10.0.0.1:-1",
            "10.0.0:1",
            "[10.0.0.1]:80",
            "cart.shop:50051",
            " 10.0.0.1:80",
            "10.0.0.1:80&x=y",
        ] {
            assert_eq!(of(listening), None, "{listening}");
        }
        for name in ["", "0.0.0.0:50051", "grpc/server", "cart.shop:80"] {
            assert_eq!(listener(name), None, "{name}");
        }
    }
}
