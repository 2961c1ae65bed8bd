//! Object by object, as a registry uses the conversion that watches an API server.

use bowline_manifests::{
    Context, EndpointSlice, Gateway, Manifest, ManifestKind, ManifestName, Namespace, NodeFacts,
    PodFacts, References, convert,
};
use bowline_mesh::{Locality, Source, Spec};
use serde_json::json;

use crate::settings;

fn named(manifest: Manifest) -> (ManifestName, Manifest) {
    let name = ManifestName::new(manifest.kind(), manifest.metadata(), &settings()).unwrap();
    (name, manifest)
}

fn spec(manifest: &(ManifestName, Manifest), references: &References) -> Spec {
    let (name, manifest) = manifest;
    let source = Source {
        place: "prod default/x".into(),
        line: None,
    };
    let context = Context {
        settings: &settings(),
        references,
    };
    let converted = convert(name, manifest, &source, context);
    assert_eq!(converted.problems, []);
    converted.objects.unwrap()[0].spec().clone()
}

#[test]
fn endpoints_have_labels_identity_and_locality_of_their_pods() {
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "s", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.1"], "nodeName": "node-1", "zone": "b", "targetRef": {"kind": "Pod", "name": "cart-1"}},
            {"addresses": ["10.0.0.2"], "zone": "b", "targetRef": {"kind": "Pod", "name": "cart-2"}},
        ],
        "ports": null,
        "aFieldOfANewerVersion": true,
    }))
    .unwrap();
    let slice = named(slice.into());
    let mut references = References::default();
    let identity = settings()
        .identity(&"shop".parse().unwrap(), "cart")
        .unwrap();
    let facts = PodFacts {
        labels: [("version".into(), "v1".into())].into(),
        identity: Some(identity.clone()),
    };
    references.note_pod(
        &"shop".parse().unwrap(),
        &"cart-1".into(),
        Some(facts.clone()),
    );
    let place = Locality::new("eu", "a", "");
    let node = NodeFacts::new(&settings().id, "node-1", Some(place));
    references.note_node(&"node-1".into(), Some(node));
    let Spec::Endpoints(group) = spec(&slice, &references) else {
        panic!("a slice becomes endpoints")
    };
    let [first, second] = group.endpoints.as_slice() else {
        panic!("two endpoints")
    };
    assert_eq!(
        (&first.labels, &first.identity),
        (&facts.labels, &Some(identity))
    );
    assert_eq!(first.locality.without_node().to_string(), "eu/a");
    assert_eq!(&*first.locality.node, format!("{}/node-1", settings().id));
    assert_eq!((second.labels.len(), &second.identity), (0, &None));
    assert_eq!(second.locality.to_string(), "/b");
}

#[test]
fn references_can_be_taken_back() {
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": "gold", "labels": {"tier": "gold"}}}))
            .unwrap();
    let namespace = named(namespace.into());
    let gateway: Gateway = serde_json::from_value(json!({
        "metadata": {"name": "edge"},
        "spec": {"gatewayClassName": "bowline", "listeners": [{
            "name": "web", "port": 80, "protocol": "HTTP",
            "allowedRoutes": {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"tier": "gold"}}}},
        }]},
    }))
    .unwrap();
    let gateway = named(gateway.into());
    let allowed = |references: &References| match spec(&gateway, references) {
        Spec::Gateway(gateway) => gateway.listeners[0]
            .allowed_routes
            .allow(&"gold".parse().unwrap(), &"default".parse().unwrap()),
        other => panic!("a gateway became {other:?}"),
    };
    let mut references = References::default();
    assert!(!allowed(&references));
    references.insert(&namespace.0, &namespace.1);
    assert!(allowed(&references));
    references.remove(&namespace.0);
    assert!(!allowed(&references));
    assert_eq!(references, References::default());
}

#[test]
fn each_kind_says_where_an_api_server_has_it() {
    let paths: Vec<_> = ManifestKind::ALL
        .iter()
        .map(|kind| {
            format!(
                "{} {} {}",
                kind.api_version(),
                kind.plural(),
                kind.is_namespaced()
            )
        })
        .collect();
    assert_eq!(paths[0], "v1 namespaces false");
    assert_eq!(paths[9], "gateway.networking.k8s.io/v1 httproutes true");
    assert_eq!(paths.len(), 12);
}
