//! East-west gateways: where connections from other networks come in.
//!
//! A connection says by its TLS server name which port of which service it wants ([`name::server_name`]), and a cluster has that very
//! name. So one filter chain serves all services: one that comes or goes is a cluster more or less, and no connection notices. TLS is not
//! ended here but at the endpoint, and only endpoints of the gateway's own network are behind a cluster.

use bowline_mesh::{Discovery, IpFamilies, MeshSettings, MutualTls, Protocol, view::ServiceView};
use bowline_proto::{
    any,
    envoy::{
        config::{core::v3::TrafficDirection, listener::v3::Listener},
        extensions::matching::common_inputs::network::v3::ServerNameInput,
    },
    xds::{
        core::v3::TypedExtensionConfig,
        r#type::matcher::v3::{Matcher, StringMatcher, matcher, string_matcher},
    },
};
use bowline_snapshot::Resource;

use crate::{
    cluster, endpoints,
    listener::{self, Place, Silence, Socket, any_chain, inspect, tls_inspector},
    name,
    tcp::{StreamTarget, cluster_by_server_name, tcp_proxy},
};

/// The clusters of one service: one for each port that can be called from other networks.
///
/// Whoever sends TLS to what does not expect it can make it take a part of the handshake for a request. So while workloads do not speak
/// mutual TLS with each other, only ports that are said to speak TLS by themselves are behind a gateway.
pub(crate) fn clusters(view: &ServiceView) -> Vec<Resource> {
    match view.service.discovery {
        Discovery::Eds => {}
        // A name may lead out of the network, and back into the gateway.
        Discovery::Dns => return Vec::new(),
    }
    let origins = endpoints::origins(&view.service);
    let ports = view.service.ports.iter();
    let ports = ports.filter(|port| match view.settings.mutual_tls {
        MutualTls::Spoken => true,
        MutualTls::Absent => port.port.protocol == Protocol::Tls,
    });
    ports
        .map(|port| {
            let cluster = cluster::passed_through(view, port);
            Resource::encode(cluster.name.as_str(), &cluster, origins.clone())
        })
        .collect()
}

/// The one listener of an east-west gateway.
pub(crate) fn listener(settings: &MeshSettings, families: IpFamilies) -> Listener {
    let mut listener = listener::listener(
        Place::Everywhere(families),
        settings.east_west_port,
        Socket::Bound,
        TrafficDirection::Outbound,
    );
    let unresolved = StreamTarget::Cluster(name::UNRESOLVED_CLUSTER.to_owned());
    let mut chain = any_chain(SERVICES, tcp_proxy("east_west", unresolved));
    chain.filters.insert(0, cluster_by_server_name());
    listener.filter_chains.push(chain);
    listener.filter_chain_matcher = Some(only_services());
    inspect(&mut listener, vec![tls_inspector()], Silence::IsWaitedFor);
    // Whoever does not begin a TLS handshake at an edge is not waited for forever.
    listener.listener_filters_timeout = None;
    listener.continue_on_listener_filters_timeout = false;
    listener
}

/// The name of the filter chain.
const SERVICES: &str = "services";

/// Closes connections with other server names: they could name any cluster of the proxy, that of its control plane too.
fn only_services() -> Matcher {
    let typed = |name: &str, config| TypedExtensionConfig {
        name: name.to_owned(),
        typed_config: Some(config),
    };
    let begins = StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Prefix(
            name::SERVER_NAME_PREFIX.to_owned(),
        )),
        ..StringMatcher::default()
    };
    let predicate = matcher::matcher_list::Predicate {
        match_type: Some(
            matcher::matcher_list::predicate::MatchType::SinglePredicate(
                matcher::matcher_list::predicate::SinglePredicate {
                    input: Some(typed("server_name", any(&ServerNameInput {}))),
                    matcher: Some(
                        matcher::matcher_list::predicate::single_predicate::Matcher::ValueMatch(
                            begins,
                        ),
                    ),
                },
            ),
        ),
    };
    let field_matcher = matcher::matcher_list::FieldMatcher {
        predicate: Some(predicate),
        on_match: Some(matcher::OnMatch {
            on_match: Some(matcher::on_match::OnMatch::Action(typed(
                SERVICES,
                any(&SERVICES.to_owned()),
            ))),
            ..matcher::OnMatch::default()
        }),
    };
    Matcher {
        matcher_type: Some(matcher::MatcherType::MatcherList(matcher::MatcherList {
            matchers: vec![field_matcher],
        })),
        on_no_match: None,
    }
}
