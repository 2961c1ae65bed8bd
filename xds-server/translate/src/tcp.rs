//! Connections that are not looked into.

use bowline_proto::{
    any,
    envoy::{
        config::listener::v3::{Filter, filter},
        extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy},
    },
};

/// Who gets a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamTarget {
    Cluster(String),
    /// By weight, none of which is 0.
    Weighted(Vec<(String, u32)>),
}

/// A filter that hands the connection on.
pub(crate) fn tcp_proxy(stat_prefix: &str, target: StreamTarget) -> Filter {
    let cluster_specifier = match target {
        StreamTarget::Cluster(name) => tcp_proxy::ClusterSpecifier::Cluster(name),
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
            tcp_proxy::ClusterSpecifier::WeightedClusters(tcp_proxy::WeightedCluster { clusters })
        }
    };
    let config = TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        // An endpoint that has just gone refuses the connection; nothing was sent yet, so another may take it.
        max_connect_attempts: Some(3),
        cluster_specifier: Some(cluster_specifier),
        ..TcpProxy::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&config))),
    }
}
