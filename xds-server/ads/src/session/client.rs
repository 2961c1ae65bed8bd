//! What a client can do beyond what the protocol asks of everybody.

use bowline_proto::envoy::config::core::v3::Node;

use super::received::EmptyRequests;

/// A client drops resources whose time to live is over.
const RESOURCE_TTL: &str = "xds.config.supports-resource-ttl";

/// A client reads resources that are wrapped in state of the world: as clients spell it, and as the specification does.
const WRAPPED_RESOURCES: [&str; 2] = [
    "xds.config.resource-in-sotw",
    "xds.config.supports-resource-in-sotw",
];

/// A client, as far as the protocol cares. Features are those of one stream: the next may announce others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) empty_requests: EmptyRequests,
    /// Whether it is told the time to live of resources, and heartbeats, also in state of the world. Delta always has them.
    pub(crate) has_wrapped_ttl: bool,
    /// Whether it reads, in state of the world, which of the names that it asks for do not exist.
    pub(crate) reads_errors: bool,
}

impl Client {
    /// Envoy without any feature.
    pub(crate) const PLAIN: Self = Self {
        empty_requests: EmptyRequests::MeanAll,
        has_wrapped_ttl: false,
        reads_errors: false,
    };

    pub(crate) fn of(node: &Node) -> Self {
        let is_grpc = is_grpc(node);
        let announces = |feature: &str| node.client_features.iter().any(|own| own == feature);
        let wraps = WRAPPED_RESOURCES.iter().any(|feature| announces(feature));
        Self {
            empty_requests: if is_grpc {
                EmptyRequests::MeanNothing
            } else {
                Self::PLAIN.empty_requests
            },
            // gRPC takes the wrapping off and knows nothing of times.
            has_wrapped_ttl: announces(RESOURCE_TTL) || (wraps && !is_grpc),
            reads_errors: is_grpc,
        }
    }
}

/// gRPC clients name themselves `gRPC Go`, `gRPC C-core` and so on.
fn is_grpc(node: &Node) -> bool {
    node.user_agent_name
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(user_agent: &str, features: &[&str]) -> Client {
        Client::of(&Node {
            user_agent_name: user_agent.to_owned(),
            client_features: features
                .iter()
                .map(|feature| (*feature).to_owned())
                .collect(),
            ..Node::default()
        })
    }

    #[test]
    fn features_are_those_that_the_node_announces() {
        // (8)
        assert_eq!(client("envoy", &[]), Client::PLAIN);
        assert_eq!(client("", &["envoy.lrs.supports"]), Client::PLAIN);
        for feature in WRAPPED_RESOURCES.iter().chain([&RESOURCE_TTL]) {
            assert!(
                client("envoy", &[feature]).has_wrapped_ttl,
                "{feature} is announced"
            );
        }
    }

    #[test]
    fn grpc_clients_are_told_errors_and_no_times() {
        // (28, 69, 79)
        let expected = Client {
            empty_requests: EmptyRequests::MeanNothing,
            has_wrapped_ttl: false,
            reads_errors: true,
        };
        for name in ["gRPC Go", "gRPC C-core Linux", "grpc-node-js"] {
            assert_eq!(client(name, &WRAPPED_RESOURCES), expected, "{name}");
        }
    }
}
