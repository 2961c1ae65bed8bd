//! What of a Node can change while its proxy runs.

use bowline_proto::{Message, envoy::config::core::v3::Node};
use bowline_snapshot::Version;

/// The fingerprint of what a source may choose by. Some Envoys repeat their Node in every request, and parameters in it change; the
/// extensions, which make up most of it, are those of the program and stay.
pub(crate) fn fingerprint(node: &Node) -> Version {
    let Node {
        id,
        cluster,
        metadata,
        dynamic_parameters,
        locality,
        client_features,
        ..
    } = node;
    let metadata = metadata
        .as_ref()
        .map_or_else(Vec::new, Message::encode_to_vec);
    let locality = locality
        .as_ref()
        .map_or_else(Vec::new, Message::encode_to_vec);
    let parameters: Vec<_> = dynamic_parameters
        .iter()
        .map(|(type_url, parameters)| (type_url, parameters.encode_to_vec()))
        .collect();
    let parameters = parameters
        .iter()
        .flat_map(|(type_url, parameters)| [type_url.as_bytes(), parameters]);
    let features = client_features.iter().map(String::as_bytes);
    let head = [id.as_bytes(), cluster.as_bytes(), &metadata, &locality];
    let counts = [dynamic_parameters.len(), client_features.len()].map(usize::to_le_bytes);
    let counts = counts.iter().map(|count| &count[..]);
    Version::of(
        head.into_iter()
            .chain(counts)
            .chain(parameters)
            .chain(features),
    )
}

#[cfg(test)]
mod tests {
    use bowline_proto::{
        envoy::config::core::v3::{Extension, Locality},
        xds::core::v3::ContextParams,
    };

    use super::*;

    #[test]
    fn what_changes_while_a_proxy_runs_changes_the_fingerprint() {
        let node = Node {
            id: "a".to_owned(),
            ..Node::default()
        };
        let same = Node {
            extensions: vec![Extension::default()],
            ..node.clone()
        };
        assert_eq!(fingerprint(&node), fingerprint(&same));
        let mut parameters = node.clone();
        let params = [("k".to_owned(), "v".to_owned())].into_iter().collect();
        parameters
            .dynamic_parameters
            .insert("t".to_owned(), ContextParams { params });
        let locality = Node {
            locality: Some(Locality {
                zone: "z".to_owned(),
                ..Locality::default()
            }),
            ..node.clone()
        };
        let cluster = Node {
            cluster: "c".to_owned(),
            ..node.clone()
        };
        for other in [parameters, locality, cluster] {
            assert_ne!(fingerprint(&node), fingerprint(&other), "{other:?}");
        }
    }
}
