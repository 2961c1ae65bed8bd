use bowline_proto::{
    Any, Message, any,
    envoy::{
        config::{
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
            },
            endpoint::v3::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints},
            listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
            route::v3::RouteConfiguration,
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
        },
        service::discovery::v3::Resource,
    },
};

use super::*;

/// What is found in a resource: its marker, and the names that it refers to.
fn check(kind: Kind, content: Any, expected: (u64, &[&str])) {
    let mut memo = Memo::new(Keep::Nothing);
    let entry = Resource {
        name: "one".to_owned(),
        version: "v1".to_owned(),
        resource: Some(content.clone()),
        ..Resource::default()
    };
    let referred = match kind {
        Kind::Clusters | Kind::Endpoints => Kind::Endpoints,
        Kind::Listeners => Kind::Routes,
        Kind::Routes | Kind::Hosts => Kind::Hosts,
    };
    let delta = memo.of_delta(kind, &entry.encode_to_vec()).unwrap();
    let all = memo
        .of_state_of_the_world(kind, &content.encode_to_vec())
        .unwrap();
    for (id, version) in [(delta, "v1"), (all, "")] {
        let payload = memo.payload(kind, id).unwrap();
        assert_eq!(memo.name(kind, payload.name), "one");
        assert_eq!(&*payload.version, version);
        let refers_to = payload.refers_to.iter();
        let refers_to: Vec<&str> = refers_to.map(|id| memo.name(referred, *id)).collect();
        assert_eq!((payload.marker, &refers_to[..]), expected);
    }
}

fn cluster(discovery: DiscoveryType, service: &str) -> Any {
    any(&Cluster {
        name: "one".to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            service_name: service.to_owned(),
            ..EdsClusterConfig::default()
        }),
        ..Cluster::default()
    })
}

#[test]
fn a_cluster_refers_to_its_assignment() {
    check(
        Kind::Clusters,
        cluster(DiscoveryType::Eds, ""),
        (0, &["one"]),
    );
    check(
        Kind::Clusters,
        cluster(DiscoveryType::Eds, "other"),
        (0, &["other"]),
    );
    check(
        Kind::Clusters,
        cluster(DiscoveryType::StrictDns, ""),
        (0, &[]),
    );
}

#[test]
fn the_largest_weight_marks_an_assignment() {
    let locality = |weights: &[u32]| LocalityLbEndpoints {
        lb_endpoints: weights
            .iter()
            .map(|weight| LbEndpoint {
                load_balancing_weight: Some(*weight),
                ..LbEndpoint::default()
            })
            .collect(),
        load_balancing_weight: Some(900),
        ..LocalityLbEndpoints::default()
    };
    let assignment = any(&ClusterLoadAssignment {
        cluster_name: "one".to_owned(),
        endpoints: vec![locality(&[1, 7]), locality(&[300])],
        ..ClusterLoadAssignment::default()
    });
    check(Kind::Endpoints, assignment, (300, &[]));
}

#[test]
fn a_listener_refers_to_the_route_configurations_of_all_its_chains() {
    let chain = |name: &str| FilterChain {
        filters: vec![Filter {
            config_type: Some(ConfigType::TypedConfig(any(&HttpConnectionManager {
                route_specifier: Some(RouteSpecifier::Rds(Rds {
                    route_config_name: name.to_owned(),
                    ..Rds::default()
                })),
                ..HttpConnectionManager::default()
            }))),
            ..Filter::default()
        }],
        ..FilterChain::default()
    };
    let listener = any(&Listener {
        name: "one".to_owned(),
        filter_chains: vec![chain("80"), chain("81"), chain("80")],
        default_filter_chain: Some(chain("82")),
        ..Listener::default()
    });
    check(Kind::Listeners, listener, (0, &["80", "81", "82"]));
}

#[test]
fn the_newest_marker_in_its_text_marks_a_route_configuration() {
    let routes = any(&RouteConfiguration {
        name: "one".to_owned(),
        internal_only_headers: ["marker-000000012", "marker-7", "marker-", "x-marker-x"]
            .map(str::to_owned)
            .to_vec(),
        ..RouteConfiguration::default()
    });
    check(Kind::Routes, routes, (12, &[]));
}

#[test]
fn equal_resources_are_read_once_and_kept_only_if_that_is_wanted() {
    let entry = |version: &str| {
        Resource {
            name: "one".to_owned(),
            version: version.to_owned(),
            resource: Some(cluster(DiscoveryType::Eds, "")),
            ..Resource::default()
        }
        .encode_to_vec()
    };
    for keep in [Keep::Nothing, Keep::Payloads] {
        let mut memo = Memo::new(keep);
        let first = memo.of_delta(Kind::Clusters, &entry("1")).unwrap();
        assert_eq!(memo.of_delta(Kind::Clusters, &entry("1")).unwrap(), first);
        assert_ne!(memo.of_delta(Kind::Clusters, &entry("2")).unwrap(), first);
        assert_eq!(memo.distinct(Kind::Clusters), 2);
        let kept = memo.payload(Kind::Clusters, first).unwrap().kept.clone();
        let expected = (keep == Keep::Payloads).then(|| Bytes::from(entry("1")));
        assert_eq!(kept, expected);
    }
}

#[test]
fn what_is_of_another_type_or_unreadable_is_an_error() {
    let mut memo = Memo::new(Keep::Nothing);
    let foreign = cluster(DiscoveryType::Eds, "").encode_to_vec();
    assert!(memo.of_state_of_the_world(Kind::Routes, &foreign).is_err());
    assert!(memo.of_delta(Kind::Clusters, b"\xff\xff").is_err());
    let nameless = any(&RouteConfiguration::default()).encode_to_vec();
    assert!(memo.of_state_of_the_world(Kind::Routes, &nameless).is_err());
    assert_eq!(memo.distinct(Kind::Routes), 0);
}

#[test]
fn a_name_that_is_twice_in_one_response_is_seen() {
    let mut memo = Memo::new(Keep::Nothing);
    let name = memo.name_id(Kind::Routes, "80");
    for _ in 0..2 {
        memo.begin_response(Kind::Routes);
        assert!(!memo.was_seen(Kind::Routes, name));
        assert!(memo.see(Kind::Routes, name));
        assert!(!memo.see(Kind::Routes, name));
        assert!(memo.was_seen(Kind::Routes, name));
        // A name that came up while the response was read.
        let late = memo.name_id(Kind::Routes, "81");
        memo.see(Kind::Routes, late);
        assert!(memo.was_seen(Kind::Routes, late));
    }
}

#[test]
fn equal_subscriptions_share_their_encoding() {
    let mut memo = Memo::new(Keep::Nothing);
    let mut names = NameSet::default();
    names.insert(memo.name_id(Kind::Routes, "80"));
    let one = memo.encoded(Kind::Routes, &names);
    let other = memo.encoded(Kind::Routes, &names.clone());
    assert_eq!(
        (&one[..], one.as_ptr()),
        (&b"\x1a\x0280"[..], other.as_ptr())
    );
}
