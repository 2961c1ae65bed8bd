//! What is said of objects, as text.

use std::{collections::BTreeSet, fmt::Write, sync::Arc, time::Duration};

use bowline_manifests::{
    ApiObject, Condition, Context, GatewayAddress, GatewayStatus, Known, ManifestKind, Outcome,
    References, Status, convert, status,
};
use bowline_mesh::{
    Change, GatewayName, MeshSettings, MeshStore, Object, OutboundMode, RegistryEvent, Served,
    TrafficSettings,
};
use serde_json::{Value, json};

use crate::settings;

const GATEWAY: &str = "gateway.networking.k8s.io";

/// What is said of each of some objects where one proxy of each of these gateways is connected.
fn told(objects: &[(ManifestKind, Value)], gateways: &[&str]) -> String {
    let settings = settings();
    let read = |(kind, json): &(ManifestKind, Value)| {
        ApiObject::read(*kind, &json.to_string(), &settings).unwrap()
    };
    let objects: Vec<ApiObject> = objects.iter().map(read).collect();
    let mut references = References::default();
    for object in &objects {
        if let Some(manifest) = &object.manifest {
            references.insert(&object.name, manifest);
        }
    }
    let context = Context {
        settings: &settings,
        references: &references,
    };
    let converted: Vec<_> = objects
        .iter()
        .map(|object| {
            let manifest = object.manifest.as_ref();
            let manifest = manifest.unwrap_or_else(|| panic!("{:?}", object.problems));
            convert(&object.name, manifest, &object.source, context)
        })
        .collect();
    let all: Vec<Object> = converted
        .iter()
        .flat_map(|each| each.objects.clone().unwrap_or_default())
        .collect();
    let mut store = MeshStore::new(Arc::new(mesh()), [settings.clone()], []);
    let event = RegistryEvent {
        registry: settings.id.clone(),
        change: Change::Replace(all),
        problems: Vec::new(),
    };
    store.apply(event, Duration::ZERO);
    let gateways = gateways.iter().map(|name| GatewayName {
        namespace: "shop".parse().unwrap(),
        name: (*name).into(),
    });
    let served = Served {
        mesh: store.mesh().clone(),
        gateways: Arc::new(gateways.collect::<BTreeSet<_>>()),
    };
    let known = Known {
        settings: &settings,
        references: &references,
        served: &served,
    };
    let mut text = String::new();
    for (object, converted) in objects.iter().zip(&converted) {
        let outcome = Outcome {
            objects: converted.objects.as_deref().unwrap_or_default(),
            problems: &converted.problems,
            is_current: converted.objects.is_some(),
        };
        let manifest = object.manifest.as_ref().unwrap();
        if let Some(status) = status(&object.name, manifest, outcome, known) {
            writeln!(text, "{}", object.name).unwrap();
            write_status(&status, &mut text);
        }
    }
    text
}

fn write_status(status: &Status, text: &mut String) {
    match status {
        Status::GatewayClass(conditions) => write_conditions("", conditions, text),
        Status::Gateway(GatewayStatus {
            conditions,
            addresses,
            listeners,
        }) => {
            write_conditions("", conditions, text);
            write_addresses(addresses, text);
            for listener in listeners {
                let kinds = listener.supported_kinds.iter().map(|kind| kind.as_str());
                let kinds = kinds.collect::<Vec<_>>().join(", ");
                let (name, routes) = (&listener.name, listener.attached_routes);
                writeln!(text, "  listener {name}: {routes} routes of [{kinds}]").unwrap();
                write_conditions("  ", &listener.conditions, text);
            }
        }
        Status::Route(parents) => {
            for parent in parents {
                let of = &parent.parent;
                let section = of.section.as_deref().unwrap_or("-");
                writeln!(text, "  at {} {} {section}", of.kind, of.name).unwrap();
                write_conditions("  ", &parent.conditions, text);
            }
        }
        Status::Ingress(addresses) => write_addresses(addresses, text),
    }
}

fn write_conditions(indent: &str, conditions: &[Condition], text: &mut String) {
    for Condition {
        kind,
        holds,
        reason,
        message,
    } in conditions
    {
        writeln!(text, "{indent}  {kind}: {holds} {reason}: {message}").unwrap();
    }
}

fn write_addresses(addresses: &[GatewayAddress], text: &mut String) {
    for address in addresses {
        writeln!(text, "  {address:?}").unwrap();
    }
}

fn mesh() -> MeshSettings {
    MeshSettings {
        trust_domain: "mesh.example".parse().unwrap(),
        domain: "cluster.local".parse().unwrap(),
        outbound: OutboundMode::PassThrough,
        virtual_addresses: "240.0.0.0/8".parse().unwrap(),
        explicit_http_port: 15080,
        east_west_port: 15443,
        mutual_tls: bowline_mesh::MutualTls::Absent,
        traffic: TrafficSettings::default(),
    }
}

fn class(name: &str, controller: &str) -> (ManifestKind, Value) {
    let class = json!({"metadata": {"name": name}, "spec": {"controllerName": controller}});
    (ManifestKind::GatewayClass, class)
}

fn gateway(name: &str, class: &str, listeners: Value) -> (ManifestKind, Value) {
    let gateway = json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"gatewayClassName": class, "listeners": listeners},
    });
    (ManifestKind::Gateway, gateway)
}

fn route(name: &str, namespace: &str, spec: Value) -> (ManifestKind, Value) {
    let route = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
    (ManifestKind::HttpRoute, route)
}

fn stream(kind: ManifestKind, name: &str, section: &str) -> (ManifestKind, Value) {
    let route = json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "parentRefs": [{"name": "edge", "sectionName": section}],
            "rules": [{"backendRefs": [{"name": "edge", "port": 80}]}],
        },
    });
    (kind, route)
}

fn service(name: &str, spec: Value) -> (ManifestKind, Value) {
    let label = json!({"gateway.networking.k8s.io/gateway-name": name});
    let metadata = json!({"name": name, "namespace": "shop", "labels": label});
    (
        ManifestKind::Service,
        json!({"metadata": metadata, "spec": spec}),
    )
}

fn web() -> Value {
    json!([{"name": "web", "port": 80, "protocol": "HTTP", "hostname": "*.example"}])
}

fn cart() -> (ManifestKind, Value) {
    service("cart", json!({"ports": [{"port": 80}]}))
}

/// What is said of the references of a listener to these certificates.
fn resolved(references: &Value, further: Vec<(ManifestKind, Value)>) -> String {
    let gateway = json!({
        "metadata": {"name": "edge", "namespace": "shop"},
        "spec": {"gatewayClassName": "bowline", "listeners": [
            {"name": "web", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": references}},
        ]},
    });
    let objects: Vec<_> = further
        .into_iter()
        .chain([(ManifestKind::Gateway, gateway)])
        .collect();
    let told = told(&objects, &[]);
    let line = told.lines().find(|line| line.contains("ResolvedRefs"));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn a_listener_is_told_which_of_its_certificates_are_not_there() {
    let secret = |namespace: &str, name: &str| {
        let object = json!({
            "metadata": {"name": name, "namespace": namespace}, "type": "kubernetes.io/tls",
        });
        (ManifestKind::Secret, object)
    };
    let grant = json!({
        "metadata": {"name": "edge", "namespace": "certs"},
        "spec": {
            "from": [{"group": GATEWAY, "kind": "Gateway", "namespace": "shop"}],
            "to": [{"group": "", "kind": "Secret"}],
        },
    });
    let grant = (ManifestKind::ReferenceGrant, grant);
    let elsewhere = json!([{"name": "a", "namespace": "certs"}]);
    let told = [
        resolved(&json!([{"name": "a"}]), vec![]),
        resolved(&json!([{"name": "a"}]), vec![secret("shop", "b")]),
        resolved(
            &json!([{"name": "a"}, {"name": "c"}]),
            vec![secret("shop", "a")],
        ),
        resolved(&json!([{"name": "a", "kind": "ConfigMap"}]), vec![]),
        resolved(&elsewhere, vec![secret("shop", "a")]),
        resolved(&elsewhere, vec![]),
        resolved(&elsewhere, vec![secret("shop", "a"), grant.clone()]),
        resolved(&elsewhere, vec![grant]),
    ];
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_route_is_told_why_it_does_not_act() {
    let at = |parents: Value, rule: Value| json!({"parentRefs": parents, "rules": [rule]});
    let to = |backend: Value| json!({"backendRefs": [backend]});
    let cart_80 = || to(json!({"name": "cart", "port": 80}));
    let edge = || json!([{"name": "edge"}]);
    let mut elsewhere = at(edge(), cart_80());
    elsewhere["hostnames"] = json!(["shop.test"]);
    let mut retrying = cart_80();
    retrying["retry"] = json!({});
    let invalid = json!({"matches": [{"path": {"value": "cart"}}]});
    let objects = [
        class("theirs", "example.com/controller"),
        gateway("edge", "bowline", web()),
        gateway("foreign", "theirs", web()),
        cart(),
        route(
            "acts",
            "shop",
            at(
                json!([{"name": "edge"}, {"name": "foreign"}, {"name": "none"}]),
                cart_80(),
            ),
        ),
        route("other-hosts", "shop", elsewhere),
        route(
            "other-namespace",
            "default",
            at(
                json!([{"name": "edge", "namespace": "shop"}]),
                to(json!({"name": "cart", "namespace": "shop", "port": 80})),
            ),
        ),
        route(
            "no-listener",
            "shop",
            at(json!([{"name": "edge", "sectionName": "x"}]), cart_80()),
        ),
        route(
            "of-a-service",
            "shop",
            at(
                json!([{"group": "", "kind": "Service", "name": "cart"}]),
                cart_80(),
            ),
        ),
        route(
            "no-backend",
            "shop",
            at(edge(), to(json!({"name": "nobody", "port": 80}))),
        ),
        route(
            "no-port",
            "shop",
            at(edge(), to(json!({"name": "cart", "port": 81}))),
        ),
        route(
            "odd-backend",
            "shop",
            at(
                edge(),
                to(json!({"kind": "Bucket", "name": "b", "port": 80})),
            ),
        ),
        route("partly", "shop", at(edge(), retrying)),
        route("invalid", "shop", at(edge(), invalid)),
    ];
    let told = told(&objects, &["edge"]);
    let routes = told.split_once("\nHTTPRoute").map(|(_, routes)| routes);
    insta::assert_snapshot!(routes.unwrap());
}

#[test]
fn a_gateway_is_told_what_it_lacks() {
    let listeners = json!([
        {"name": "web", "port": 80, "protocol": "HTTP"},
        {"name": "bytes", "port": 80, "protocol": "TCP"},
        {"name": "ended", "port": 443, "protocol": "HTTPS", "tls": {}},
        {"name": "grpc", "port": 81, "protocol": "HTTP", "allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}},
        {"name": "sni", "port": 444, "protocol": "TLS", "tls": {"mode": "Passthrough"}},
    ]);
    let (_, mut addressed) = gateway("addressed", "bowline", web());
    addressed["spec"]["addresses"] =
        json!([{"value": "192.0.2.1"}, {"type": "Hostname", "value": "edge.test"}]);
    let (_, mut with_parameters) = class("parameters", bowline_manifests::GATEWAY_CONTROLLER);
    with_parameters["spec"]["parametersRef"] = json!({"group": "a", "kind": "b", "name": "c"});
    let (kind, mut balanced) = service(
        "edge",
        json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
    );
    balanced["status"] = json!({"loadBalancer": {"ingress": [{"hostname": "lb.test"}]}});
    let objects = [
        class("bowline", bowline_manifests::GATEWAY_CONTROLLER),
        class("theirs", "example.com/controller"),
        (ManifestKind::GatewayClass, with_parameters),
        (kind, balanced),
        service(
            "waiting",
            json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
        ),
        service(
            "inside",
            json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}),
        ),
        gateway("edge", "bowline", listeners),
        gateway("waiting", "bowline", web()),
        gateway("inside", "bowline", web()),
        gateway("foreign", "theirs", web()),
        gateway(
            "none",
            "bowline",
            json!([{"name": "u", "port": 53, "protocol": "UDP"}]),
        ),
        gateway(
            "invalid",
            "bowline",
            json!([{"name": "u", "port": 0, "protocol": "HTTP"}]),
        ),
        gateway("unserved", "bowline", web()),
        (ManifestKind::Gateway, addressed),
        route(
            "web",
            "shop",
            json!({"parentRefs": [{"group": GATEWAY, "name": "edge"}]}),
        ),
        stream(ManifestKind::TlsRoute, "by-name", "sni"),
        stream(ManifestKind::TcpRoute, "of-requests", "web"),
    ];
    insta::assert_snapshot!(told(&objects, &["edge", "waiting", "inside", "addressed"]));
}
