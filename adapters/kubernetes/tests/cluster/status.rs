//! Statuses that are written back, and by whom.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use bowline_harness::{
    eventually,
    kubernetes::{ApiServer, Fault, objects},
};
use bowline_kubernetes::{Access, Kubernetes, Statuses, Timing};
use bowline_mesh::{
    GatewayName, MeshSettings, MeshStore, OutboundMode, PartState, RegistryEvent, RegistryPart,
    Served, TrafficSettings,
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::watching::cluster;

pub(crate) const CONTROLLER: &str = "bowline.dev/gateway-controller";
const CLASSES: &str = "gatewayclasses.gateway.networking.k8s.io";
pub(crate) const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";
const LEASES: &str = "leases.coordination.k8s.io";

/// A server that watches a cluster and writes its statuses.
pub(crate) struct Replica {
    parts: watch::Receiver<Vec<RegistryPart>>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Replica {
    /// One with a proxy of each of these gateways of the namespace `shop`.
    pub(crate) fn start(kubeconfig: PathBuf, gateways: &[&str]) -> Self {
        Self::start_with(kubeconfig, "shop", gateways)
    }

    /// One with a proxy of each of these gateways of a namespace.
    pub(crate) fn start_with(kubeconfig: PathBuf, namespace: &str, gateways: &[&str]) -> Self {
        let (serve, served) = watch::channel(None);
        let (parts, parts_now) = watch::channel(Vec::new());
        let access = Access::Kubeconfig {
            path: kubeconfig,
            context: None,
        };
        let registry = Kubernetes {
            statuses: Some(Statuses {
                served,
                lease_namespace: Some("default".parse().unwrap()),
                timing: Timing {
                    lease: Duration::from_secs(1),
                    renew: Duration::from_millis(700),
                    retry: Duration::from_millis(50),
                    look: Duration::from_millis(10),
                    again: Duration::from_millis(500),
                    denied: Duration::from_millis(100),
                },
            }),
            parts,
            ..cluster(access)
        };
        let gateways = gateways.iter().map(|name| GatewayName {
            namespace: namespace.parse().unwrap(),
            name: (*name).into(),
        });
        let store = MeshStore::new(Arc::new(mesh()), [registry.settings.clone()], []);
        let (sender, events) = mpsc::channel(16);
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(registry.run(sender, shutdown.clone()));
        tasks.spawn(serving(store, events, serve, Arc::new(gateways.collect())));
        Self {
            parts: parts_now,
            shutdown,
            tasks,
        }
    }

    /// Ends as it should.
    pub(crate) async fn end(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    fn status_part(&self) -> Option<RegistryPart> {
        let parts = self.parts.borrow();
        parts.iter().find(|part| &*part.name == "status").cloned()
    }
}

/// What the pipeline does, as far as it matters here.
async fn serving(
    mut store: MeshStore,
    mut events: mpsc::Receiver<RegistryEvent>,
    serve: watch::Sender<Option<Served>>,
    gateways: Arc<BTreeSet<GatewayName>>,
) {
    while let Some(event) = events.recv().await {
        store.apply(event, Duration::ZERO);
        serve.send_replace(Some(Served {
            mesh: store.mesh().clone(),
            gateways: gateways.clone(),
        }));
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

/// An API server with a class of ours, a gateway `edge` and a service `cart`.
pub(crate) async fn server() -> ApiServer {
    let server = ApiServer::start().await.unwrap();
    server.apply_all(objects::gateway_api()).unwrap();
    server
        .apply_all([
            objects::gateway_class("bowline", CONTROLLER),
            objects::gateway("shop", "edge", "bowline", 8080),
            objects::service("shop", "cart", "10.96.0.7", &[("http", 80, 8080)]),
        ])
        .unwrap();
    server
}

fn route(name: &str, backend: &str) -> Value {
    objects::http_route("shop", name, "edge", "shop.example", (backend, 80))
}

/// `Accepted=True/Accepted`, of a list of conditions.
pub(crate) fn told(conditions: &Value) -> Vec<String> {
    let conditions = conditions.as_array().into_iter().flatten();
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    conditions
        .map(|each| {
            format!(
                "{}={}/{}",
                text(each, "type"),
                text(each, "status"),
                text(each, "reason")
            )
        })
        .collect()
}

/// Waits until a part of an object's status is so.
pub(crate) async fn becomes(
    server: &ApiServer,
    resource: &str,
    name: &str,
    part: &str,
    wanted: &[&str],
) {
    eventually(&format!("{resource} {name}{part}"), async || {
        let namespace = if resource == CLASSES { "" } else { "shop" };
        let object = server.object(resource, namespace, name).unwrap_or_default();
        let told = told(
            object
                .pointer(&format!("/status{part}/conditions"))
                .unwrap_or(&Value::Null),
        );
        match told == wanted {
            true => Ok(()),
            false => Err(format!("{told:?}")),
        }
    })
    .await
    .unwrap();
}

fn patches(server: &ApiServer, resource: &str, name: &str) -> usize {
    let asked = server.requests();
    let is_patch = |verb: &str| verb == "patch" || verb == "update";
    asked
        .iter()
        .filter(|asked| is_patch(&asked.verb) && asked.resource == resource && asked.name == name)
        .count()
}

const ACTS: &[&str] = &["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"];

#[tokio::test]
async fn what_acts_and_what_does_not_is_said_where_users_look() {
    let server = server().await;
    server
        .apply_all([route("web", "cart"), route("lost", "nobody")])
        .unwrap();
    let _replica = Replica::start(server.kubeconfig(), &["edge"]);
    becomes(&server, CLASSES, "bowline", "", &["Accepted=True/Accepted"]).await;
    let programmed = ["Accepted=True/Accepted", "Programmed=True/Programmed"];
    becomes(&server, GATEWAYS, "edge", "", &programmed).await;
    becomes(&server, ROUTES, "web", "/parents/0", ACTS).await;
    let lost = [
        "Accepted=True/Accepted",
        "ResolvedRefs=False/BackendNotFound",
    ];
    becomes(&server, ROUTES, "lost", "/parents/0", &lost).await;
    eventually("both routes are counted", async || {
        let gateway = server.object(GATEWAYS, "shop", "edge").unwrap();
        let listener = gateway["status"]["listeners"][0].clone();
        match listener["attachedRoutes"] == 2 {
            true => Ok(()),
            false => Err(listener),
        }
    })
    .await
    .unwrap();
    // Once its backend is there, the route is as it should be.
    let service = objects::service("shop", "nobody", "10.96.0.8", &[("http", 80, 8080)]);
    server.apply(service).unwrap();
    becomes(&server, ROUTES, "lost", "/parents/0", ACTS).await;
}

#[tokio::test]
async fn what_is_refused_is_said_and_what_was_good_goes_on() {
    let server = server().await;
    server.apply(route("web", "cart")).unwrap();
    let _replica = Replica::start(server.kubeconfig(), &["edge"]);
    becomes(&server, ROUTES, "web", "/parents/0", ACTS).await;
    let refused = ["Accepted=False/UnsupportedValue", ACTS[1]];
    let mut newer = route("web", "cart");
    newer["spec"]["rules"][0]["ofTheFuture"] = json!(true);
    server.apply(newer).unwrap();
    becomes(&server, ROUTES, "web", "/parents/0", &refused).await;
    let object = server.object(ROUTES, "shop", "web").unwrap();
    let condition = &object["status"]["parents"][0]["conditions"][0];
    let message = condition["message"].as_str().unwrap();
    assert!(
        message.contains("ofTheFuture") && message.contains("last good version acts"),
        "{message}"
    );
    assert_eq!(
        condition["observedGeneration"],
        object["metadata"]["generation"]
    );
    // One that never was good is told so as well.
    let mut wrong = route("wrong", "cart");
    wrong["spec"]["rules"][0]["ofTheFuture"] = json!(true);
    server.apply(wrong).unwrap();
    becomes(&server, ROUTES, "wrong", "/parents/0", &refused).await;
}

#[tokio::test]
async fn statuses_of_any_form_are_replaced() {
    let server = server().await;
    let odd = [
        json!("text"),
        json!({"parents": 7}),
        json!({"parents": [null, 1, {"controllerName": CONTROLLER, "parentRef": []}]}),
        json!({"parents": [{"controllerName": CONTROLLER, "conditions": "x",
                            "parentRef": {"name": "edge"}}]}),
    ];
    for (number, status) in odd.iter().enumerate() {
        let mut object = route(&format!("odd-{number}"), "cart");
        object["status"] = status.clone();
        server.apply(object).unwrap();
    }
    let _replica = Replica::start(server.kubeconfig(), &["edge"]);
    for (number, place) in [0, 0, 2, 0].iter().enumerate() {
        let part = format!("/parents/{place}");
        becomes(&server, ROUTES, &format!("odd-{number}"), &part, ACTS).await;
    }
}

#[tokio::test]
async fn what_has_not_changed_is_not_written() {
    let server = server().await;
    server.apply(route("web", "cart")).unwrap();
    let first = Replica::start(server.kubeconfig(), &["edge"]);
    becomes(&server, ROUTES, "web", "/parents/0", ACTS).await;
    let programmed = ["Accepted=True/Accepted", "Programmed=True/Programmed"];
    becomes(&server, GATEWAYS, "edge", "", &programmed).await;
    first.end().await;
    server.take_requests();
    let _second = Replica::start(server.kubeconfig(), &["edge"]);
    // When the new route has its status, all others have been looked at.
    server.apply(route("new", "cart")).unwrap();
    becomes(&server, ROUTES, "new", "/parents/0", ACTS).await;
    assert_eq!(patches(&server, ROUTES, "web"), 0);
    assert_eq!(patches(&server, CLASSES, "bowline"), 0);
    assert_eq!(patches(&server, ROUTES, "new"), 1);
}

#[tokio::test]
async fn gateways_and_routes_of_another_controller_are_left_alone() {
    let server = server().await;
    let mut shared = route("shared", "cart");
    shared["spec"]["parentRefs"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "theirs"}));
    let entry = json!({
        "parentRef": {"name": "theirs"}, "controllerName": "example.com/controller",
        "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    shared["status"] = json!({"parents": [entry]});
    let mut alien = route("alien", "cart");
    alien["spec"]["parentRefs"] = json!([{"name": "theirs"}]);
    server
        .apply_all([
            objects::gateway_class("other", "example.com/controller"),
            objects::gateway("shop", "theirs", "other", 8081),
            shared,
            alien,
        ])
        .unwrap();
    let _replica = Replica::start(server.kubeconfig(), &["edge"]);
    becomes(&server, ROUTES, "shared", "/parents/1", ACTS).await;
    let object = server.object(ROUTES, "shop", "shared").unwrap();
    assert_eq!(object["status"]["parents"][0], entry);
    assert_eq!(object["status"]["parents"][1]["controllerName"], CONTROLLER);
    assert_eq!(patches(&server, ROUTES, "alien"), 0);
    assert_eq!(patches(&server, GATEWAYS, "theirs"), 0);
    assert_eq!(patches(&server, CLASSES, "other"), 0);
}

#[tokio::test]
async fn others_may_write_and_delete_the_same_objects_meanwhile() {
    let server = server().await;
    let _replica = Replica::start(server.kubeconfig(), &["edge"]);
    for number in 0..40 {
        let mut object = route("contended", "cart");
        let entry = json!({"parentRef": {"name": "x"}, "controllerName": "example.com/controller",
                           "conditions": [{"type": "Round", "status": "True", "reason": number.to_string()}]});
        let before = server.object(ROUTES, "shop", "contended");
        let ours = before.and_then(|object| {
            let parents = object["status"]["parents"].as_array()?.clone();
            parents
                .into_iter()
                .find(|parent| parent["controllerName"] == CONTROLLER)
        });
        let parents: Vec<Value> = std::iter::once(entry).chain(ours).collect();
        object["status"] = json!({"parents": parents});
        server.apply(object).unwrap();
        let passing = route(&format!("passing-{number}"), "cart");
        server.apply(passing.clone()).unwrap();
        tokio::task::yield_now().await;
        server.delete(&passing).unwrap();
    }
    becomes(&server, ROUTES, "contended", "/parents/1", ACTS).await;
    let object = server.object(ROUTES, "shop", "contended").unwrap();
    assert_eq!(
        told(&object["status"]["parents"][0]["conditions"]),
        ["Round=True/39"]
    );
}

#[tokio::test]
async fn without_permission_all_goes_on_and_it_is_said_once() {
    let server = server().await;
    server.fault(Fault::ReadOnly);
    let replica = Replica::start(server.kubeconfig(), &["edge"]);
    eventually("it is said", async || {
        let part = replica.status_part();
        match part
            .as_ref()
            .is_some_and(|part| part.state == PartState::Denied)
        {
            true => Ok(()),
            false => Err(format!("{part:?}")),
        }
    })
    .await
    .unwrap();
    let error = replica
        .status_part()
        .and_then(|part| part.last_error)
        .unwrap();
    assert!(error.contains("leases.coordination.k8s.io"), "{error}");
    server.heal();
    server.fault_for(GATEWAYS, Fault::ReadOnly);
    server.apply(route("web", "cart")).unwrap();
    becomes(&server, ROUTES, "web", "/parents/0", ACTS).await;
    server.heal();
    let programmed = ["Accepted=True/Accepted", "Programmed=True/Programmed"];
    becomes(&server, GATEWAYS, "edge", "", &programmed).await;
}

/// Who holds the Lease.
fn holder(server: &ApiServer) -> String {
    let lease = server.object(LEASES, "default", "bowline-status");
    let holder = lease.as_ref().map(|lease| &lease["spec"]["holderIdentity"]);
    holder
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn one_of_several_replicas_writes_and_another_takes_over() {
    let server = server().await;
    let first = Replica::start(server.kubeconfig(), &["edge"]);
    becomes(&server, CLASSES, "bowline", "", &["Accepted=True/Accepted"]).await;
    let held = holder(&server);
    let second = Replica::start(server.kubeconfig(), &["edge"]);
    let third = Replica::start(server.kubeconfig(), &["edge"]);
    server.apply(route("one", "cart")).unwrap();
    becomes(&server, ROUTES, "one", "/parents/0", ACTS).await;
    assert_eq!(holder(&server), held);
    assert_eq!(patches(&server, ROUTES, "one"), 1);
    // One that ends gives it up.
    first.end().await;
    server.apply(route("two", "cart")).unwrap();
    becomes(&server, ROUTES, "two", "/parents/0", ACTS).await;
    let next = holder(&server);
    assert_ne!(next, held);
    assert_eq!(patches(&server, ROUTES, "two"), 1);
    // One that breaks does not, and loses it.
    drop(second);
    drop(third);
    let _fourth = Replica::start(server.kubeconfig(), &["edge"]);
    server.apply(route("three", "cart")).unwrap();
    becomes(&server, ROUTES, "three", "/parents/0", ACTS).await;
    assert_ne!(holder(&server), next);
}

#[tokio::test]
async fn addresses_are_those_of_the_services_that_expose_a_gateway() {
    let server = server().await;
    let exposed = |gateway: &str, ingress: Value| {
        let mut service = objects::service("shop", gateway, "10.96.0.9", &[("http", 80, 8080)]);
        service["metadata"]["labels"] = json!({"gateway.networking.k8s.io/gateway-name": gateway});
        service["spec"]["type"] = json!("LoadBalancer");
        service["status"] = json!({"loadBalancer": {"ingress": ingress}});
        service
    };
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "bowline"},
        "spec": {
            "controller": "bowline.dev/ingress-controller",
            "parameters": {"apiGroup": "gateway.networking.k8s.io", "kind": "Gateway", "scope": "Namespace",
                           "namespace": "shop", "name": "edge"},
        },
    });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ingressClassName": "bowline",
                 "defaultBackend": {"service": {"name": "cart", "port": {"name": "http"}}}},
        "status": {"loadBalancer": {}},
    });
    server
        .apply_all([exposed("edge", json!([])), class, ingress])
        .unwrap();
    let _replica = Replica::start(server.kubeconfig(), &["edge"]);
    let waits = [
        "Accepted=True/Accepted",
        "Programmed=False/AddressNotAssigned",
    ];
    becomes(&server, GATEWAYS, "edge", "", &waits).await;
    server
        .apply(exposed("edge", json!([{"ip": "192.0.2.7"}])))
        .unwrap();
    let programmed = ["Accepted=True/Accepted", "Programmed=True/Programmed"];
    becomes(&server, GATEWAYS, "edge", "", &programmed).await;
    let gateway = server.object(GATEWAYS, "shop", "edge").unwrap();
    let address = json!([{"type": "IPAddress", "value": "192.0.2.7"}]);
    assert_eq!(gateway["status"]["addresses"], address);
    eventually("the Ingress has the address", async || {
        let ingress = server
            .object("ingresses.networking.k8s.io", "shop", "web")
            .unwrap();
        match ingress["status"] == json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}) {
            true => Ok(()),
            false => Err(ingress["status"].clone()),
        }
    })
    .await
    .unwrap();
}
