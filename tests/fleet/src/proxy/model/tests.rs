use bowline_proto::{
    Any, Message, any,
    envoy::{
        config::{
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, DiscoveryType},
            },
            core::v3::ConfigSource,
            endpoint::v3::ClusterLoadAssignment,
            listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
            route::v3::{RouteConfiguration, Vhds, VirtualHost},
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
        },
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            Resource,
        },
    },
};

use super::*;
use crate::proxy::{memo::Keep, request::FRAME_HEAD};

/// A model with what it shares with others, and the nonces that it was given.
struct Talk {
    memo: Memo,
    model: Model,
    nonce: usize,
}

/// A request, in words: `CDS +a -b ack 3`, with what is held as `a@1`.
fn in_words(variant: Variant, request: Request) -> String {
    let bytes = request.into_parts().collect::<Vec<_>>().concat();
    let message = &bytes[FRAME_HEAD..];
    let mut words = Vec::new();
    let (type_url, nonce) = match variant {
        Variant::Delta => {
            let request = DeltaDiscoveryRequest::decode(message).unwrap();
            words.extend(request.node.map(|node| format!("as {}", node.id)));
            let subscribe = request.resource_names_subscribe.iter();
            words.extend(subscribe.map(|name| format!("+{name}")));
            let unsubscribe = request.resource_names_unsubscribe.iter();
            words.extend(unsubscribe.map(|name| format!("-{name}")));
            let held = request.initial_resource_versions.iter();
            words.extend(held.map(|(name, version)| format!("{name}@{version}")));
            (request.type_url, request.response_nonce)
        }
        Variant::StateOfTheWorld => {
            let request = DiscoveryRequest::decode(message).unwrap();
            words.extend(request.node.map(|node| format!("as {}", node.id)));
            words.extend(request.resource_names);
            (request.type_url, request.response_nonce)
        }
    };
    let kind = Kind::of(type_url.as_bytes()).unwrap();
    words.insert(0, short(kind).to_owned());
    if !nonce.is_empty() {
        words.push(format!("ack {nonce}"));
    }
    words.join(" ")
}

fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Clusters => "CDS",
        Kind::Endpoints => "EDS",
        Kind::Listeners => "LDS",
        Kind::Routes => "RDS",
        Kind::Hosts => "VHDS",
    }
}

/// A resource of each kind; of a listener the name is that of its route configuration. `by-host` leaves its virtual hosts to VHDS.
fn content(kind: Kind, name: &str) -> Any {
    let owned = name.to_owned();
    match kind {
        Kind::Clusters => any(&Cluster {
            name: owned,
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            ..Cluster::default()
        }),
        Kind::Endpoints => any(&ClusterLoadAssignment {
            cluster_name: owned,
            ..ClusterLoadAssignment::default()
        }),
        Kind::Listeners => any(&Listener {
            name: owned.clone(),
            filter_chains: vec![FilterChain {
                filters: vec![Filter {
                    config_type: Some(ConfigType::TypedConfig(any(&HttpConnectionManager {
                        route_specifier: Some(RouteSpecifier::Rds(Rds {
                            route_config_name: owned,
                            ..Rds::default()
                        })),
                        ..HttpConnectionManager::default()
                    }))),
                    ..Filter::default()
                }],
                ..FilterChain::default()
            }],
            ..Listener::default()
        }),
        Kind::Routes => any(&RouteConfiguration {
            vhds: (name == "by-host").then(|| Vhds {
                config_source: Some(ConfigSource {
                    resource_api_version: 2,
                    ..ConfigSource::default()
                }),
            }),
            name: owned,
            ..RouteConfiguration::default()
        }),
        Kind::Hosts => any(&VirtualHost {
            name: owned,
            ..VirtualHost::default()
        }),
    }
}

impl Talk {
    fn new(variant: Variant) -> Self {
        Self {
            memo: Memo::new(Keep::Nothing),
            model: Model::new(variant),
            nonce: 0,
        }
    }

    fn words(&self, requests: Vec<Request>) -> Vec<String> {
        let variant = self.model.variant();
        let requests = requests.into_iter();
        requests.map(|request| in_words(variant, request)).collect()
    }

    fn connect(&mut self) -> Vec<String> {
        let node = bowline_proto::envoy::config::core::v3::Node {
            id: "me".to_owned(),
            ..Default::default()
        };
        let requests = self.model.connect(&node.encode_to_vec(), &mut self.memo);
        self.words(requests)
    }

    /// A response with resources at versions, as `a@1`, and the names of some that are gone.
    fn response(&mut self, kind: Kind, resources: &[&str], removed: &[&str]) -> Vec<u8> {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        let resources = resources.iter().map(|text| text.split_once('@').unwrap());
        match self.model.variant() {
            Variant::Delta => DeltaDiscoveryResponse {
                resources: resources
                    .map(|(name, version)| Resource {
                        name: name.to_owned(),
                        version: version.to_owned(),
                        resource: Some(content(kind, name)),
                        ..Resource::default()
                    })
                    .collect(),
                type_url: kind.url().to_owned(),
                nonce,
                removed_resources: removed.iter().map(|&name| name.to_owned()).collect(),
                ..DeltaDiscoveryResponse::default()
            }
            .encode_to_vec(),
            Variant::StateOfTheWorld => DiscoveryResponse {
                version_info: "v".to_owned(),
                resources: resources.map(|(name, _)| content(kind, name)).collect(),
                type_url: kind.url().to_owned(),
                nonce,
                ..DiscoveryResponse::default()
            }
            .encode_to_vec(),
        }
    }

    fn receive(&mut self, kind: Kind, resources: &[&str], removed: &[&str]) -> Vec<String> {
        let message = self.response(kind, resources, removed);
        let reaction = self.model.receive(&message, &mut self.memo).unwrap();
        self.words(reaction.requests)
    }

    /// Two clusters, a listener and its routes.
    fn start(variant: Variant) -> Self {
        let mut talk = Self::new(variant);
        talk.connect();
        talk.receive(Kind::Clusters, &["a@1", "b@1"], &[]);
        talk.receive(Kind::Endpoints, &["a@1", "b@1"], &[]);
        talk.receive(Kind::Listeners, &["80@1"], &[]);
        talk.receive(Kind::Routes, &["80@1"], &[]);
        assert!(talk.model.is_ready());
        talk
    }
}

#[test]
fn a_delta_proxy_starts_as_envoy_does() {
    let mut talk = Talk::new(Variant::Delta);
    assert_eq!(talk.connect(), ["CDS as me"]);
    let asked = talk.receive(Kind::Clusters, &["a@1", "b@1"], &[]);
    assert_eq!(asked, ["EDS +a +b", "CDS ack 1"]);
    assert_eq!(talk.receive(Kind::Endpoints, &["a@1"], &[]), ["EDS ack 2"]);
    // With the last assignment the clusters are there, and listeners are next.
    let asked = talk.receive(Kind::Endpoints, &["b@1"], &[]);
    assert_eq!(asked, ["EDS ack 3", "LDS"]);
    let asked = talk.receive(Kind::Listeners, &["80@1"], &[]);
    assert_eq!(asked, ["RDS +80", "LDS ack 4"]);
    assert!(!talk.model.is_ready());
    assert_eq!(talk.receive(Kind::Routes, &["80@1"], &[]), ["RDS ack 5"]);
    assert!(talk.model.is_ready());
}

#[test]
fn a_state_of_the_world_proxy_names_everything_in_every_request() {
    let mut talk = Talk::new(Variant::StateOfTheWorld);
    assert_eq!(talk.connect(), ["CDS as me"]);
    let asked = talk.receive(Kind::Clusters, &["a@1", "b@1"], &[]);
    assert_eq!(asked, ["EDS a b", "CDS ack 1"]);
    let asked = talk.receive(Kind::Endpoints, &["a@1", "b@1"], &[]);
    assert_eq!(asked, ["EDS a b ack 2", "LDS"]);
    talk.receive(Kind::Listeners, &["80@1"], &[]);
    talk.receive(Kind::Routes, &["80@1"], &[]);
    // What is not in the next response is gone, and so is the interest in its assignment.
    let asked = talk.receive(Kind::Clusters, &["b@1"], &[]);
    assert_eq!(asked, ["EDS b ack 2", "CDS ack 5"]);
    assert_eq!(talk.model.all(Kind::Endpoints).len(), 1);
}

#[test]
fn clusters_are_acknowledged_when_they_are_warm() {
    let mut talk = Talk::start(Variant::Delta);
    assert_eq!(talk.receive(Kind::Clusters, &["c@1"], &[]), ["EDS +c"]);
    let asked = talk.receive(Kind::Endpoints, &["c@1"], &[]);
    assert_eq!(asked, ["EDS ack 6", "CDS ack 5"]);
    // One that has changed asks for nothing and waits for its assignment all the same.
    assert!(talk.receive(Kind::Clusters, &["a@2"], &[]).is_empty());
    assert!(!talk.model.is_ready());
    let asked = talk.receive(Kind::Endpoints, &["a@2"], &[]);
    assert_eq!(asked, ["EDS ack 8", "CDS ack 7"]);
    // What is sent again without a change has nothing to wait for.
    assert_eq!(talk.receive(Kind::Clusters, &["a@2"], &[]), ["CDS ack 9"]);
}

#[test]
fn a_changed_cluster_asks_again_in_state_of_the_world() {
    let mut talk = Talk::start(Variant::StateOfTheWorld);
    let mut changed =
        DiscoveryResponse::decode(&talk.response(Kind::Clusters, &["a@1", "b@1"], &[])[..])
            .unwrap();
    changed.resources[0] = any(&Cluster {
        name: "a".to_owned(),
        alt_stat_name: "other".to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        ..Cluster::default()
    });
    let message = changed.encode_to_vec();
    let reaction = talk.model.receive(&message, &mut talk.memo).unwrap();
    assert_eq!(talk.words(reaction.requests), ["EDS a b ack 2"]);
    let asked = talk.receive(Kind::Endpoints, &["a@1"], &[]);
    assert_eq!(
        asked,
        ["EDS a b ack 6", "CDS a b ack 5"].map(|text| text.replace("CDS a b", "CDS"))
    );
}

#[test]
fn what_is_gone_is_not_subscribed_to_any_more() {
    let mut talk = Talk::start(Variant::Delta);
    let asked = talk.receive(Kind::Clusters, &[], &["a"]);
    assert_eq!(asked, ["EDS -a", "CDS ack 5"]);
    assert_eq!(talk.model.all(Kind::Clusters).len(), 1);
    let asked = talk.receive(Kind::Listeners, &["81@1"], &["80"]);
    assert_eq!(asked, ["RDS +81 -80", "LDS ack 6"]);
    // The answer that there is none is an answer.
    assert!(!talk.model.is_ready());
    talk.receive(Kind::Routes, &[], &["81"]);
    assert!(talk.model.is_ready());
}

#[test]
fn a_proxy_that_comes_back_says_what_it_holds() {
    let mut talk = Talk::start(Variant::Delta);
    assert_eq!(
        talk.connect(),
        [
            "CDS as me a@1 b@1",
            "EDS +a +b a@1 b@1",
            "LDS 80@1",
            "RDS +80 80@1"
        ]
    );
    assert!(!talk.model.is_ready());
    talk.receive(Kind::Clusters, &[], &[]);
    talk.receive(Kind::Listeners, &[], &[]);
    assert!(talk.model.is_ready());

    let mut talk = Talk::start(Variant::StateOfTheWorld);
    assert_eq!(talk.connect(), ["CDS as me", "EDS a b", "LDS", "RDS 80"]);
    // A server that has the same version of all clusters and listeners says nothing about them.
    assert!(!talk.model.is_ready());
    talk.receive(Kind::Endpoints, &["a@1", "b@1"], &[]);
    assert!(talk.model.is_ready());
}

#[test]
fn virtual_hosts_are_asked_for_where_a_route_configuration_leaves_them_to_that() {
    let mut talk = Talk::start(Variant::Delta);
    assert!(talk.model.all(Kind::Hosts).is_empty());
    talk.receive(Kind::Listeners, &["by-host@1"], &["80"]);
    let asked = talk.receive(Kind::Routes, &["by-host@1"], &[]);
    assert_eq!(asked, ["RDS ack 6", "VHDS"]);
    assert!(!talk.model.is_ready());
    let asked = talk.receive(
        Kind::Hosts,
        &["by-host/a@1", "by-host/b@1", "other/c@1"],
        &[],
    );
    assert_eq!(asked, ["VHDS ack 7"]);
    assert!(talk.model.is_ready());
    // What nobody waits for is dropped.
    assert_eq!(talk.model.all(Kind::Hosts).len(), 2);
    talk.receive(Kind::Routes, &["by-host@2"], &[]);
    assert_eq!(
        talk.receive(Kind::Hosts, &[], &["by-host/b"]),
        ["VHDS ack 9"]
    );
    assert_eq!(talk.model.all(Kind::Hosts).len(), 1);

    let asked = talk.connect();
    assert_eq!(asked.last().unwrap(), "VHDS by-host/a@1");
    assert!(!talk.model.is_ready());
}

#[test]
fn a_response_that_envoy_would_reject_is_an_error() {
    let mut talk = Talk::start(Variant::Delta);
    let twice = talk.response(Kind::Clusters, &["a@1", "a@1"], &[]);
    assert!(talk.model.receive(&twice, &mut talk.memo).is_err());
    let both = talk.response(Kind::Clusters, &["a@1"], &["a"]);
    assert!(talk.model.receive(&both, &mut talk.memo).is_err());
    assert!(talk.model.receive(b"\xff", &mut talk.memo).is_err());
    assert!(talk.model.receive(b"", &mut talk.memo).is_err());

    let mut fresh = Talk::new(Variant::Delta);
    fresh.connect();
    let unasked = fresh.response(Kind::Routes, &["80@1"], &[]);
    assert!(fresh.model.receive(&unasked, &mut fresh.memo).is_err());
}
