use std::time::Duration;

use bowline_mesh::{
    Change, Labels, MeshSettings, MeshStore, MutualTls, Object, OutboundMode, RegistryEvent,
    RegistrySettings, Source, Spec, TrafficSettings, Workload,
};
use bowline_proto::envoy::{
    config::core::v3::{BuildVersion, Extension},
    r#type::v3::SemanticVersion,
};
use bowline_snapshot::ResourceType;
use prost_types::{ListValue, Struct, Value, value::Kind};

use super::*;

/// A Node's metadata.
type Entries<'a> = &'a [(&'a str, &'a str)];

fn mesh() -> Mesh {
    let settings = MeshSettings {
        trust_domain: "mesh.example".parse().unwrap(),
        domain: "cluster.local".parse().unwrap(),
        outbound: OutboundMode::PassThrough,
        virtual_addresses: "240.0.0.0/8".parse().unwrap(),
        explicit_http_port: 15080,
        east_west_port: 15443,
        mutual_tls: MutualTls::Absent,
        traffic: TrafficSettings::default(),
    };
    let registry = RegistrySettings::new(
        "vms".parse().unwrap(),
        settings.trust_domain.clone(),
        settings.domain.clone(),
        "shop".parse().unwrap(),
    );
    let workload = Workload {
        addresses: vec!["10.0.0.1".parse().unwrap()],
        locality: Locality::default(),
        network: Network::default(),
        labels: Labels::new(),
        identity: Some(id("spiffe://mesh.example/ns/shop/sa/cart")),
        ports: Vec::new(),
    };
    let source = Source {
        place: "test".into(),
        line: None,
    };
    let object = Object::new(
        registry.id.clone(),
        None,
        "shop".parse().unwrap(),
        "vm-1",
        source,
        Spec::Workload(Arc::new(workload)),
    );
    let registry_id = registry.id.clone();
    let mut store = MeshStore::new(Arc::new(settings), [registry], []);
    let change = Change::Replace(vec![object]);
    let event = RegistryEvent {
        registry: registry_id,
        change,
        problems: Vec::new(),
    };
    store.apply(event, Duration::ZERO);
    store.mesh().clone()
}

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn node(id: &str, metadata: &[(&str, &str)]) -> Node {
    let fields = metadata
        .iter()
        .map(|(key, value)| {
            let kind = Some(Kind::StringValue((*value).to_owned()));
            ((*key).to_owned(), Value { kind })
        })
        .collect();
    Node {
        id: id.to_owned(),
        metadata: Some(Struct { fields }),
        ..Node::default()
    }
}

fn described(id: &str, metadata: &[(&str, &str)]) -> String {
    match proxy(&node(id, metadata), None, &mesh()) {
        Ok(Proxy {
            role,
            namespace,
            name,
            addresses,
            ..
        }) => {
            format!("{role}: {namespace}/{name} {addresses:?}")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_node_says_what_it_is_by_its_id_and_its_metadata() {
    let cases: [(&str, Entries<'_>, &str); 9] = [
        (
            "router~~east-west.mesh~x",
            &[("BOWLINE_ROLE", "east-west"), ("GATEWAY", "")],
            "east-west gateway: mesh/east-west []",
        ),
        (
            "sidecar~10.0.0.1~vm-1.shop~shop.svc.cluster.local",
            &[],
            "sidecar, transparent: shop/vm-1 [10.0.0.1]",
        ),
        (
            "sidecar~~vm-1.shop~shop.svc.cluster.local",
            &[
                ("BOWLINE_CAPTURE", "explicit"),
                ("INSTANCE_IPS", "10.0.0.7, fd00::1"),
            ],
            "sidecar: shop/vm-1 [10.0.0.7, fd00::1]",
        ),
        (
            "router~10.0.0.2~edge.web~x",
            &[],
            "gateway web/edge: web/edge [10.0.0.2]",
        ),
        (
            "router~~pod-7.web~x",
            &[("GATEWAY", "infra/edge")],
            "gateway infra/edge: web/pod-7 []",
        ),
        ("any-name", &[], "sidecar: default/any-name []"),
        (
            "any-name",
            &[("NAMESPACE", "shop"), ("NAME", "vm-1")],
            "sidecar: shop/vm-1 []",
        ),
        (
            "any-name",
            &[("GATEWAY", "edge")],
            "gateway default/edge: default/any-name []",
        ),
        (
            "sidecar~10.0.0.1~a.b.shop~x",
            &[],
            "sidecar, transparent: shop/a.b [10.0.0.1]",
        ),
    ];
    for (id, metadata, expected) in cases {
        assert_eq!(described(id, metadata), expected, "{id} {metadata:?}");
    }
}

#[test]
fn an_application_with_grpcs_own_xds_is_told_by_its_library_its_id_or_its_metadata() {
    let agent = |id: &str, user_agent: &str, metadata: Entries<'_>| {
        let node = Node {
            user_agent_name: user_agent.to_owned(),
            ..node(id, metadata)
        };
        proxy(&node, None, &mesh()).unwrap()
    };
    let placed = [("NAMESPACE", "shop"), ("NAME", "vm-1")];
    for application in [
        agent("any-name", "gRPC C-core Linux", &placed),
        agent("any-name", "grpc-go", &placed),
        agent("grpc~10.0.0.1~vm-1.shop~x", "", &[]),
        agent("sidecar~10.0.0.1~vm-1.shop~x", "", &[("GENERATOR", "grpc")]),
    ] {
        assert_eq!(application.role, Role::Grpc, "{application:?}");
        assert!(application.workload(&mesh()).is_some());
    }
    assert_ne!(agent("any-name", "envoy", &placed).role, Role::Grpc);
}

#[test]
fn a_node_that_is_not_understood_is_told_why() {
    let cases: [(&str, Entries<'_>, &str); 7] = [
        ("", &[], "no id"),
        (
            "x",
            &[("BOWLINE_ROLE", "north-south")],
            "BOWLINE_ROLE 'north-south' is not 'east-west'",
        ),
        ("x", &[("NAMESPACE", "Not Valid")], "namespace 'Not Valid'"),
        ("x", &[("BOWLINE_CAPTURE", "magic")], "'magic' is neither"),
        (
            "x",
            &[("INSTANCE_IPS", "10.0.0.1,ten")],
            "INSTANCE_IPS 'ten'",
        ),
        ("x", &[("GATEWAY", "a/b/c")], "'{namespace}/{name}'"),
        ("x", &[("IDENTITY", "root")], "must begin with 'spiffe://'"),
    ];
    for (id, metadata, expected) in cases {
        let message = described(id, metadata);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_value_that_is_no_text_is_refused_with_its_key_and_what_others_write_is_ignored() {
    let with = |key: &str, kind: Kind| {
        let mut node = node("x", &[("NAME", "vm-1")]);
        let kind = Some(kind);
        let fields = &mut node.metadata.as_mut().unwrap().fields;
        fields.insert(key.to_owned(), Value { kind });
        proxy(&node, None, &mesh())
    };
    let number = || Kind::NumberValue(5.0);
    assert_eq!(
        with("NETWORK", number()).unwrap_err().to_string(),
        "node 'x': metadata NETWORK '5' is not a text"
    );
    let list = Kind::ListValue(ListValue {
        values: vec![Value {
            kind: Some(Kind::StringValue("10.0.0.1".to_owned())),
        }],
    });
    assert_eq!(
        with("INSTANCE_IPS", list).unwrap_err().to_string(),
        "node 'x': metadata INSTANCE_IPS '[\"10.0.0.1\"]' is not a text"
    );
    assert!(with("LABELS", number()).is_ok());
    assert_eq!(&*with("NAME", Kind::NullValue(0)).unwrap().name, "x");
}

#[test]
fn a_proxy_that_lists_extensions_can_do_what_it_lists() {
    let found = |names: &[&str]| {
        let mut node = node("x", &[]);
        node.extensions = names
            .iter()
            .map(|name| Extension {
                name: (*name).to_owned(),
                ..Extension::default()
            })
            .collect();
        proxy(&node, None, &mesh()).unwrap().host_lookup
    };
    let router = "envoy.filters.http.router";
    let [cluster, filter] = HOST_LOOKUP_EXTENSIONS;
    assert_eq!(found(&[]), HostLookup::Available);
    assert_eq!(found(&[router, cluster, filter]), HostLookup::Available);
    assert_eq!(found(&[router, cluster]), HostLookup::Unavailable);
    assert_eq!(found(&[router]), HostLookup::Unavailable);
}

#[test]
fn routes_come_host_by_host_to_envoys_that_take_them_so() {
    let aggregated = StreamKind {
        variant: Variant::Delta,
        coverage: Coverage::All,
    };
    let delivery = |name: &str, version: (u32, u32), stream| {
        let (major_number, minor_number) = version;
        let build = BuildVersion {
            version: Some(SemanticVersion {
                major_number,
                minor_number,
                patch: 0,
            }),
            metadata: None,
        };
        let node = Node {
            user_agent_name: name.to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(build)),
            ..node("x", &[])
        };
        route_delivery(&node, stream)
    };
    for version in [(1, 38), (1, 40), (2, 0)] {
        assert_eq!(
            delivery("envoy", version, aggregated),
            RouteDelivery::ByHost
        );
    }
    // They refuse route configurations whose hosts come over ADS, or some of their builds do.
    for version in [(1, 37), (1, 36), (0, 99)] {
        assert_eq!(delivery("envoy", version, aggregated), RouteDelivery::Whole);
    }
    assert_eq!(delivery("other", (1, 40), aggregated), RouteDelivery::Whole);
    let said_nothing = route_delivery(&node("x", &[]), aggregated);
    assert_eq!(said_nothing, RouteDelivery::Whole);
    for stream in [
        StreamKind {
            variant: Variant::StateOfTheWorld,
            coverage: Coverage::All,
        },
        StreamKind {
            variant: Variant::Delta,
            coverage: Coverage::One(ResourceType::ROUTE),
        },
    ] {
        assert_eq!(delivery("envoy", (1, 40), stream), RouteDelivery::Whole);
    }
}

#[test]
fn a_certificate_covers_its_own_workload_and_namespace_only() {
    let mesh = mesh();
    let open = |node_id: &str, metadata: &[(&str, &str)], proven: &str| {
        let proven = Proven::by_certificate(id(proven));
        proxy(&node(node_id, metadata), Some(&proven), &mesh)
    };
    let cart = "spiffe://mesh.example/ns/shop/sa/cart";
    let other = "spiffe://mesh.example/ns/shop/sa/other";
    let vm = "sidecar~10.0.0.1~vm-1.shop~x";
    assert!(open(vm, &[], cart).unwrap().identity.proven().is_some());
    // Another identity of the same namespace, by the workload's name and by its address.
    assert!(matches!(
        open(vm, &[], other),
        Err(NodeError::NotProven { .. })
    ));
    let by_address = "sidecar~10.0.0.1~something.shop~x";
    assert!(matches!(
        open(by_address, &[], other),
        Err(NodeError::NotProven { .. })
    ));
    // Another namespace.
    let elsewhere = "spiffe://mesh.example/ns/web/sa/cart";
    assert!(matches!(
        open(vm, &[], elsewhere),
        Err(NodeError::NotProven { .. })
    ));
    let gateway = [("GATEWAY", "shop/edge"), ("NAMESPACE", "web")];
    assert!(matches!(
        open("gw", &gateway, elsewhere),
        Err(NodeError::NotProven { .. })
    ));
    // A name in the metadata that is not the certificate's.
    assert!(matches!(
        open(vm, &[("IDENTITY", other)], cart),
        Err(NodeError::NotProven { .. })
    ));
    // An identity without a namespace has no place in the mesh.
    assert!(matches!(
        open(vm, &[], "spiffe://mesh.example/vm"),
        Err(NodeError::NotProven { .. })
    ));
}

#[test]
fn what_a_node_says_about_itself_without_a_certificate_is_only_claimed() {
    let claimed = [("IDENTITY", "spiffe://mesh.example/ns/shop/sa/cart")];
    let proxy = proxy(&node("x", &claimed), None, &mesh()).unwrap();
    assert!(proxy.identity.proven().is_none());
    assert_eq!(proxy.identity.spiffe_id(), Some(&id(claimed[0].1)));
}
