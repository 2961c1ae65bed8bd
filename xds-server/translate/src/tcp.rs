//! Connections that are not looked into.

use bowline_proto::{
    any,
    envoy::{
        config::listener::v3::{Filter, filter},
        extensions::filters::network::{
            sni_cluster::v3::SniCluster,
            tcp_proxy::v3::{TcpProxy, tcp_proxy},
        },
    },
};

/// Who gets a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamTarget {
    /// A cluster with endpoints to choose from.
    Cluster(String),
    /// A cluster that sends each connection to one place: there is no other to try.
    OnlyPlace(String),
    /// By weight, none of which is 0.
    Weighted(Vec<(String, u32)>),
}

/// A filter that makes the server name of a TLS connection the name of the cluster that gets it.
pub(crate) fn cluster_by_server_name() -> Filter {
    Filter {
        name: "envoy.filters.network.sni_cluster".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&SniCluster {}))),
    }
}

/// A filter that hands the connection on.
pub(crate) fn tcp_proxy(stat_prefix: &str, target: StreamTarget) -> Filter {
    // An endpoint that has just gone refuses the connection; nothing was sent yet, so another may take it.
    let (max_connect_attempts, cluster_specifier) = match target {
        StreamTarget::Cluster(name) => (Some(3), tcp_proxy::ClusterSpecifier::Cluster(name)),
        StreamTarget::OnlyPlace(name) => (None, tcp_proxy::ClusterSpecifier::Cluster(name)),
        StreamTarget::Weighted(weights) => {
            let clusters = weights
                .into_iter()
                .map(
                    |(name, weight)| tcp_proxy::weighted_cluster::ClusterWeight {
                        name,
                        weight,
                        metadata_match: None,
                    },
                )
                .collect();
            let weighted = tcp_proxy::WeightedCluster { clusters };
            (
                Some(3),
                tcp_proxy::ClusterSpecifier::WeightedClusters(weighted),
            )
        }
    };
    let config = TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        max_connect_attempts,
        cluster_specifier: Some(cluster_specifier),
        ..TcpProxy::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&config))),
    }
}
