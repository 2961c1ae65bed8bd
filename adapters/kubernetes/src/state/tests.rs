//! What follows from what a cluster has, told step by step.

mod secrets;

use std::collections::BTreeSet;

use bowline_manifests::ManifestKind;
use bowline_mesh::{
    Change, Endpoint, Health, Object, PartState, Protocol, RegistryEvent, RegistrySettings, Spec,
    Workload,
};
use serde_json::{Value, json};

use super::{ClusterState, News, Trouble};
use crate::{Facts, Item, ItemName, SecretFacts, Shared, Watched};

const SERVICE: Watched = Watched::Manifest(ManifestKind::Service);
const SLICE: Watched = Watched::Manifest(ManifestKind::EndpointSlice);
const NAMESPACE: Watched = Watched::Manifest(ManifestKind::Namespace);
const CLASS: Watched = Watched::Manifest(ManifestKind::GatewayClass);
const GATEWAY: Watched = Watched::Manifest(ManifestKind::Gateway);

/// A cluster, as its watches tell of it.
struct Cluster(ClusterState);

impl Cluster {
    /// One of which everything is known: nothing but these.
    fn with(objects: &[(Watched, Value)]) -> Self {
        let mut cluster = Self::after(Vec::new());
        cluster.list(objects);
        cluster
    }

    fn after(last_good: Vec<Object>) -> Self {
        let ignored = BTreeSet::from(["kube-system".parse().unwrap()]);
        Self(ClusterState::new(settings(), ignored, &all(), last_good))
    }

    fn list(&mut self, objects: &[(Watched, Value)]) {
        for watched in all() {
            self.list_kind(watched, objects);
        }
    }

    fn list_kind(&mut self, watched: Watched, objects: &[(Watched, Value)]) {
        let of_kind = objects.iter().filter(|(kind, _)| *kind == watched);
        let items = of_kind.map(|(_, object)| item(&watched, object)).collect();
        let wrong = Vec::new();
        self.0.take(watched, News::Listed { items, wrong });
    }

    fn put(&mut self, watched: Watched, object: Value) {
        let item = item(&watched, &object);
        self.0.take(watched, News::Put(item));
    }

    fn delete(&mut self, watched: Watched, object: Value) {
        let name = ItemName::read(&watched, &object.to_string(), &settings()).unwrap();
        self.0.take(watched, News::Gone(name));
    }

    fn fail(&mut self, watched: Watched, error: &str) {
        let error = error.to_owned();
        let trouble = Trouble::Away;
        self.0.take(watched, News::Failing { error, trouble });
    }

    fn next(&mut self) -> Option<RegistryEvent> {
        while self.0.settle(1) {}
        self.0.event()
    }

    fn event(&mut self) -> RegistryEvent {
        self.next().expect("something is told")
    }

    fn replace(&mut self) -> Vec<Object> {
        match self.event().change {
            Change::Replace(objects) => objects,
            other => panic!("expected everything, got {other:?}"),
        }
    }

    fn update(&mut self) -> (Vec<Object>, usize) {
        match self.event().change {
            Change::Update { upserts, removes } => (upserts, removes.len()),
            other => panic!("expected a change, got {other:?}"),
        }
    }
}

fn all() -> Vec<Watched> {
    Watched::all(&Facts {
        pods: true,
        nodes: true,
        ingresses: true,
        secrets: SecretFacts {
            everywhere: true,
            namespaces: ["edge".parse().unwrap()].into(),
        },
    })
}

fn settings() -> RegistrySettings {
    RegistrySettings::new(
        "prod".parse().unwrap(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "default".parse().unwrap(),
    )
}

fn item(watched: &Watched, object: &Value) -> Item {
    Item::read(
        watched,
        &object.to_string(),
        &settings(),
        &mut Shared::default(),
    )
    .unwrap()
}

fn service(name: &str, port: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [port]},
        "status": {"loadBalancer": {}},
    })
}

fn http() -> Value {
    json!({"name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http"})
}

fn slice(service: &str, pod: &str) -> Value {
    json!({
        "metadata": {"name": format!("{service}-1"), "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "node-1", "zone": "b", "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": pod, "uid": "u"}}],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

fn pod(name: &str, version: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"version": version}, "managedFields": [{}]},
        "spec": {"serviceAccountName": "cart", "nodeName": "node-1", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
    })
}

fn node(zone: &str) -> Value {
    json!({"metadata": {"name": "node-1", "labels": {
        "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": zone}}})
}

fn endpoints(objects: &[Object]) -> Vec<Endpoint> {
    let groups = objects.iter().filter_map(|object| match object.spec() {
        Spec::Endpoints(group) => Some(group.endpoints.clone()),
        _ => None,
    });
    groups.flatten().collect()
}

fn workload(objects: &[Object]) -> Workload {
    let mut workloads = objects.iter().filter_map(|object| match object.spec() {
        Spec::Workload(workload) => Some(Workload::clone(workload)),
        _ => None,
    });
    workloads.next().expect("a workload")
}

fn cart() -> Vec<(Watched, Value)> {
    vec![
        (SERVICE, service("cart", http())),
        (SLICE, slice("cart", "cart-1")),
        (Watched::Pod, pod("cart-1", "v1")),
        (Watched::Node, node("a")),
    ]
}

#[test]
fn nothing_is_told_before_every_kind_was_listed_once() {
    let mut cluster = Cluster::after(Vec::new());
    for watched in all().into_iter().filter(Watched::is_required) {
        assert_eq!(cluster.next(), None);
        cluster.list_kind(watched, &cart());
    }
    assert_eq!(cluster.replace().len(), 3);
    assert_eq!(cluster.next(), None);
}

#[test]
fn what_pods_and_nodes_say_reaches_endpoints_and_workloads() {
    let mut cluster = Cluster::with(&cart());
    let told = cluster.replace();
    let endpoint = &endpoints(&told)[0];
    assert_eq!(endpoint.labels.get("version"), Some(&"v1".into()));
    assert_eq!(endpoint.locality.to_string(), "eu/a//prod/node-1");
    assert_eq!(
        endpoint.identity.as_ref().unwrap().to_string(),
        "spiffe://mesh.example/ns/shop/sa/cart"
    );
    let workload = workload(&told);
    assert_eq!(workload.identity, endpoint.identity);
    assert_eq!(workload.locality, endpoint.locality);
    let [port] = workload.ports.as_slice() else {
        panic!("one port")
    };
    assert_eq!((port.number, port.protocol), (8080, Protocol::Http));
}

#[test]
fn pods_and_nodes_may_come_after_the_slices_that_point_to_them() {
    let cart = cart();
    let mut cluster = Cluster::with(&cart[..2]);
    let endpoint = endpoints(&cluster.replace())[0].clone();
    assert_eq!((endpoint.labels.len(), endpoint.identity), (0, None));
    assert_eq!(endpoint.locality.to_string(), "/b//prod/node-1");
    for (watched, object) in &cart[2..] {
        cluster.put(watched.clone(), object.clone());
    }
    let (upserts, removes) = cluster.update();
    let endpoint = &endpoints(&upserts)[0];
    assert_eq!(endpoint.labels.len(), 1);
    assert_eq!(endpoint.locality.to_string(), "eu/a//prod/node-1");
    assert_eq!((upserts.len(), removes), (2, 0));
    cluster.put(Watched::Node, node("c"));
    let (upserts, _) = cluster.update();
    assert_eq!(
        endpoints(&upserts)[0].locality.to_string(),
        "eu/c//prod/node-1"
    );
    assert_eq!(workload(&upserts).locality.to_string(), "eu/c//prod/node-1");
}

fn namespace(name: &str, network: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"topology.istio.io/network": network}}})
}

#[test]
fn a_label_of_the_pod_or_its_namespace_or_the_cluster_says_the_network() {
    let mut cluster = Cluster::with(&cart());
    let told = cluster.replace();
    assert_eq!(endpoints(&told)[0].network.as_str(), "");
    let networks = |cluster: &mut Cluster| {
        let (upserts, _) = cluster.update();
        let endpoint = endpoints(&upserts)[0].network.clone();
        assert_eq!(workload(&upserts).network, endpoint);
        endpoint.to_string()
    };
    cluster.put(NAMESPACE, namespace("istio-system", "vpc-1"));
    assert_eq!(networks(&mut cluster), "vpc-1");
    cluster.put(NAMESPACE, namespace("shop", "vpc-2"));
    assert_eq!(networks(&mut cluster), "vpc-2");
    // Another namespace's is not its own.
    cluster.put(NAMESPACE, namespace("web", "vpc-9"));
    assert_eq!(cluster.next(), None);
    let mut labelled = pod("cart-1", "v1");
    labelled["metadata"]["labels"]["topology.istio.io/network"] = "vpc-3".into();
    cluster.put(Watched::Pod, labelled);
    assert_eq!(networks(&mut cluster), "vpc-3");
    cluster.put(Watched::Pod, pod("cart-1", "v1"));
    assert_eq!(networks(&mut cluster), "vpc-2");
    cluster.delete(NAMESPACE, namespace("shop", "vpc-2"));
    assert_eq!(networks(&mut cluster), "vpc-1");
}

#[test]
fn an_east_west_gateway_comes_with_its_address_and_goes_with_its_label() {
    let mut cluster = Cluster::with(&cart());
    cluster.replace();
    let east_west = |ingress: Value| {
        let mut service = service("east-west", json!({"name": "tls", "port": 15443}));
        service["metadata"]["labels"] = json!({"topology.istio.io/network": "vpc-1"});
        service["status"]["loadBalancer"]["ingress"] = ingress;
        service
    };
    let places = |objects: &[Object]| -> Vec<String> {
        let gateways = objects.iter().filter_map(|object| match object.spec() {
            Spec::NetworkGateway(gateway) => Some(&gateway.places),
            _ => None,
        });
        gateways.flatten().map(ToString::to_string).collect()
    };
    cluster.put(SERVICE, east_west(json!([])));
    let event = cluster.event();
    assert!(event.problems[0].message.contains("has no address"));
    cluster.put(SERVICE, east_west(json!([{"ip": "203.0.113.1"}])));
    let event = cluster.event();
    assert_eq!(event.problems, []);
    let Change::Update { upserts, .. } = event.change else {
        panic!("a change")
    };
    assert_eq!(places(&upserts), ["203.0.113.1:15443"]);
    cluster.put(SERVICE, east_west(json!([{"ip": "203.0.113.2"}])));
    let (upserts, removes) = cluster.update();
    assert_eq!(
        (places(&upserts), upserts.len(), removes),
        (vec!["203.0.113.2:15443".to_owned()], 1, 0)
    );
    cluster.put(
        SERVICE,
        service("east-west", json!({"name": "tls", "port": 15443})),
    );
    assert_eq!(cluster.update(), (vec![], 1));
}

#[test]
fn what_changes_nothing_that_is_used_is_not_told() {
    let mut cluster = Cluster::with(&cart());
    cluster.replace();
    let mut same = service("cart", http());
    same["metadata"]["resourceVersion"] = "99".into();
    same["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    same["status"] = json!({"conditions": [{"type": "Ready"}]});
    cluster.put(SERVICE, same);
    let mut same = pod("cart-1", "v1");
    same["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    cluster.put(Watched::Pod, same);
    let mut same = node("a");
    same["status"] = json!({"conditions": [{"lastHeartbeatTime": "now"}]});
    cluster.put(Watched::Node, same);
    assert_eq!(cluster.next(), None);
    // Nor is what changed and changed back before anybody heard of it.
    cluster.put(Watched::Node, node("b"));
    while cluster.0.settle(100) {}
    cluster.put(Watched::Node, node("a"));
    assert_eq!(cluster.next(), None);
}

#[test]
fn a_protocol_that_a_service_changes_reaches_its_pods() {
    let mut cluster = Cluster::with(&cart());
    cluster.replace();
    let grpc = json!({"name": "http", "port": 80, "appProtocol": "grpc"});
    cluster.put(SERVICE, service("cart", grpc));
    let (upserts, _) = cluster.update();
    assert_eq!(workload(&upserts).ports[0].protocol, Protocol::Grpc);
    cluster.delete(SLICE, slice("cart", "cart-1"));
    let (upserts, removes) = cluster.update();
    assert_eq!((workload(&upserts).ports.len(), removes), (0, 1));
}

#[test]
fn a_pod_that_has_ended_is_no_workload() {
    let mut cluster = Cluster::with(&cart());
    cluster.replace();
    let mut ended = pod("cart-1", "v1");
    ended["status"]["phase"] = "Succeeded".into();
    cluster.put(Watched::Pod, ended);
    assert_eq!(cluster.update(), (Vec::new(), 1));
    let mut of_node = pod("cart-1", "v1");
    of_node["spec"]["hostNetwork"] = true.into();
    cluster.put(Watched::Pod, of_node);
    assert_eq!(cluster.next(), None);
}

#[test]
fn conditions_of_endpoints_are_health() {
    let cases = [
        (json!({"ready": true}), Health::Healthy),
        (json!({}), Health::Healthy),
        (json!({"ready": false}), Health::Unhealthy),
        (
            json!({"ready": false, "serving": true, "terminating": true}),
            Health::Draining,
        ),
        (
            json!({"ready": false, "serving": false, "terminating": true}),
            Health::Unhealthy,
        ),
    ];
    for (conditions, health) in cases {
        let mut slice = slice("cart", "cart-1");
        slice["endpoints"][0]["conditions"] = conditions.clone();
        let told = Cluster::with(&[(SERVICE, service("cart", http())), (SLICE, slice)]).replace();
        assert_eq!(endpoints(&told)[0].health, health, "{conditions}");
    }
}

#[test]
fn a_broken_object_keeps_its_last_good_version_also_over_a_restart() {
    let mut cluster = Cluster::with(&cart());
    let told = cluster.replace();
    let broken = service("cart", json!({"name": "http", "port": "eighty"}));
    cluster.put(SERVICE, broken.clone());
    let event = cluster.event();
    let nothing = Change::Update {
        upserts: Vec::new(),
        removes: Vec::new(),
    };
    assert_eq!(event.change, nothing);
    assert_eq!(&*event.problems[0].field, "spec.ports[0].port");

    let mut cluster = Cluster::after(told.clone());
    let mut objects = cart();
    objects[0] = (SERVICE, broken);
    cluster.list(&objects);
    let event = cluster.event();
    assert_eq!(event.problems.len(), 1);
    let Change::Replace(objects) = event.change else {
        panic!("everything is told first")
    };
    let services = |objects: &[Object]| -> Vec<Object> {
        let services = objects.iter();
        let services = services.filter(|object| matches!(object.spec(), Spec::Service(_)));
        services.cloned().collect()
    };
    assert_eq!(services(&objects), services(&told));
    cluster.put(SERVICE, service("cart", http()));
    assert_eq!(cluster.event().problems, []);
}

#[test]
fn what_is_known_from_before_the_start_is_stale_and_not_down() {
    let told = Cluster::with(&cart()).replace();
    let mut cluster = Cluster::after(told);
    let standing = |cluster: &Cluster, watched: Watched| {
        let parts = cluster.0.parts();
        let name = watched.to_string();
        let part = parts.iter().find(|part| *part.name == *name).unwrap();
        (part.state, part.services, part.instances)
    };
    assert_eq!(standing(&cluster, SERVICE), (PartState::Starting, 1, 0));
    for watched in all() {
        cluster.fail(watched, "nobody answers");
    }
    assert_eq!(standing(&cluster, SERVICE), (PartState::Stale, 1, 0));
    assert_eq!(standing(&cluster, SLICE), (PartState::Stale, 0, 1));
    assert_eq!(standing(&cluster, Watched::Pod), (PartState::Stale, 0, 1));
    // Of which there is nothing in the mesh.
    assert_eq!(standing(&cluster, Watched::Node), (PartState::Down, 0, 0));
    cluster.list(&[]);
    assert_eq!(standing(&cluster, SERVICE), (PartState::Live, 0, 0));
}

#[test]
fn a_pod_that_left_its_slice_while_that_was_broken_serves_nothing_more() {
    let mut cluster = Cluster::with(&cart());
    cluster.replace();
    let mut broken = slice("cart", "cart-1");
    broken["ports"] = "none".into();
    cluster.put(SLICE, broken);
    cluster.update();
    cluster.put(SLICE, slice("cart", "cart-2"));
    let (upserts, _) = cluster.update();
    assert_eq!(workload(&upserts).ports, []);
}

#[test]
fn a_field_that_is_not_known_is_said_and_the_service_acts() {
    let mut object = service("cart", http());
    object["spec"]["aNewField"] = true.into();
    let event = Cluster::with(&[(SERVICE, object)]).event();
    assert!(matches!(&event.change, Change::Replace(objects) if objects.len() == 1));
    assert_eq!(&*event.problems[0].field, "spec.aNewField");
}

#[test]
fn what_disappears_unseen_is_told_with_everything_and_what_is_deleted_alone() {
    let mut cluster = Cluster::with(&cart());
    cluster.replace();
    cluster.list_kind(SLICE, &[]);
    assert_eq!(endpoints(&cluster.replace()), []);
    cluster.delete(SERVICE, service("cart", http()));
    assert_eq!(cluster.update(), (Vec::new(), 1));
}

#[test]
fn a_cluster_that_was_away_is_told_again_as_a_whole() {
    let mut cluster = Cluster::with(&cart());
    cluster.replace();
    for watched in all() {
        cluster.fail(watched, "unreachable");
    }
    let failing = Change::Failing {
        error: "unreachable".to_owned(),
    };
    assert_eq!(cluster.event().change, failing);
    assert_eq!(cluster.next(), None);
    cluster.0.take(SERVICE, News::Live);
    cluster.delete(SERVICE, service("cart", http()));
    // The rest comes back too, and all of it is told as one.
    assert_eq!(cluster.next(), None);
    assert!(cluster.0.holds_changes());
    for watched in all() {
        cluster.0.take(watched, News::Live);
    }
    assert_eq!(cluster.replace().len(), 2);
    assert_eq!(cluster.next(), None);
}

#[test]
fn one_kind_that_is_denied_does_not_keep_the_others_from_being_told() {
    let mut cluster = Cluster::with(&cart());
    cluster.replace();
    cluster.fail(Watched::Pod, "denied");
    assert!(matches!(cluster.event().change, Change::Failing { .. }));
    cluster.put(Watched::Node, node("z"));
    assert_eq!(cluster.next(), None);
    cluster.0.tell_meanwhile();
    assert_eq!(cluster.update().0.len(), 2);
    // It is still not read as a whole, and is told again as a whole once it is.
    assert!(matches!(cluster.event().change, Change::Failing { .. }));
    assert_eq!(cluster.next(), None);
    cluster.0.take(Watched::Pod, News::Live);
    assert_eq!(cluster.replace().len(), 3);
}

#[test]
fn the_clusters_own_services_are_left_out() {
    let mut api = service("kubernetes", json!({"name": "https", "port": 443}));
    api["metadata"]["namespace"] = "default".into();
    let mut dns = service("kube-dns", json!({"name": "dns-tcp", "port": 53}));
    dns["metadata"]["namespace"] = "kube-system".into();
    let mut own = service("kubernetes", json!({"name": "https", "port": 443}));
    own["metadata"]["namespace"] = "shop".into();
    let told = Cluster::with(&[(SERVICE, api), (SERVICE, dns), (SERVICE, own)]).replace();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].key().namespace.as_str(), "shop");
}

#[test]
fn names_that_lead_in_a_circle_are_a_problem_and_nothing_else_is() {
    let external = |name: &str, target: &str| {
        let object = json!({
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "ExternalName", "externalName": target, "ports": [{"name": "http", "port": 80}]},
        });
        (SERVICE, object)
    };
    let shop = |name: &str| format!("{name}.shop.svc.cluster.local");
    let mut cluster = Cluster::with(&[
        external("a", &shop("b")),
        external("b", &shop("c")),
        external("c", &shop("b")),
        external("d", &shop("d")),
        external("e", "example.com"),
    ]);
    let event = cluster.event();
    let wrong: BTreeSet<_> = event
        .problems
        .iter()
        .map(|problem| &*problem.object.as_ref().unwrap().name)
        .collect();
    assert_eq!(wrong, BTreeSet::from(["b", "c", "d"]));
    for name in ["c", "d"] {
        let (_, fixed) = external(name, "example.com");
        cluster.put(SERVICE, fixed);
    }
    assert_eq!(cluster.event().problems, []);
}

#[test]
fn a_class_that_becomes_ours_makes_its_gateways_ours() {
    let class = |controller: &str| json!({"metadata": {"name": "edge"}, "spec": {"controllerName": controller}});
    let gateway = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"gatewayClassName": "edge", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    });
    let mut cluster = Cluster::with(&[(CLASS, class("example.com/other")), (GATEWAY, gateway)]);
    assert_eq!(cluster.replace(), []);
    cluster.put(CLASS, class("bowline.dev/gateway-controller"));
    assert_eq!(cluster.update().0.len(), 1);
    cluster.delete(CLASS, class(""));
    assert_eq!(cluster.update(), (Vec::new(), 1));
}

#[test]
fn objects_of_any_shape_are_refused_without_harm() {
    let shapes = [
        json!(null),
        json!([]),
        json!({}),
        json!({"metadata": null}),
        json!({"metadata": {"name": 7}}),
        json!({"metadata": {"name": "../../etc", "namespace": "shop"}}),
        json!({"metadata": {"name": "a", "namespace": "A B"}}),
        json!({"metadata": {"name": "a".repeat(10_000), "namespace": "shop"}}),
        json!({"metadata": {"name": "a", "namespace": "shop", "labels": {"x": {}}}}),
        json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": {"ports": 7}}),
        json!({"metadata": {"name": "a", "namespace": "shop"}, "addressType": "IPv9", "endpoints": [null]}),
        json!({"metadata": {"name": "a", "namespace": "shop"}, "status": {"podIPs": [{"ip": "not one"}]}}),
    ];
    let mut cluster = Cluster::with(&cart());
    cluster.replace();
    for shape in &shapes {
        for watched in all() {
            let text = shape.to_string();
            match Item::read(&watched, &text, &settings(), &mut Shared::default()) {
                Ok(item) => cluster.0.take(watched, News::Put(item)),
                Err(problem) => cluster.0.take(watched, News::Wrong(*problem)),
            }
        }
    }
    let event = cluster.event();
    assert!(!event.problems.is_empty());
    let removed = match event.change {
        Change::Update { removes, .. } => removes.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(removed, 0);
}

#[test]
fn an_ingress_follows_the_ports_that_its_backends_name() {
    const INGRESS: Watched = Watched::Manifest(ManifestKind::Ingress);
    let ingress = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "ingressClassName": "bowline",
            "defaultBackend": {"service": {"name": "cart", "port": {"name": "http"}}},
        },
    });
    let mut cluster = Cluster::with(&[(INGRESS, ingress)]);
    let port = |objects: &[Object]| {
        objects.iter().find_map(|object| match object.spec() {
            Spec::HttpRoute(route) => route.destinations().next().map(|(_, port)| port),
            _ => None,
        })
    };
    assert_eq!(port(&cluster.replace()), None);
    for number in [80, 8080] {
        let port_now = json!({"name": "http", "port": number});
        cluster.put(SERVICE, service("cart", port_now));
        assert_eq!(port(&cluster.update().0), Some(number));
    }
    cluster.delete(SERVICE, service("cart", http()));
    assert_eq!(port(&cluster.update().0), None);
}
