//! The registry contract.

use std::{collections::BTreeSet, future::Future, time::Duration};

use bowline_conformance::{App, Subject};
use bowline_harness::kubernetes::{ApiServer, Fault, objects};
use bowline_kubernetes::{Access, Facts, Kubernetes, Pace, SecretFacts};
use bowline_mesh::{LastGood, Object, RegistryEvent, RegistrySettings};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

bowline_conformance::tests!(Cluster);

pub(crate) const PACE: Pace = Pace {
    retry_min: Duration::from_millis(10),
    retry_max: Duration::from_millis(100),
    absent: Duration::from_millis(50),
    denied: Duration::from_millis(50),
};

/// An API server with a service and a slice for each application.
struct Cluster {
    server: ApiServer,
    is_stopped: bool,
    there: BTreeSet<(String, String)>,
}

impl Cluster {
    async fn write(&mut self, apps: &[App], broken: &str) {
        self.server.heal();
        if self.is_stopped {
            self.server.start_again().await.unwrap();
            self.is_stopped = false;
        }
        let name = |app: &App| {
            let namespace = app.namespace.as_deref().unwrap_or("fallback");
            (namespace.to_owned(), app.name.clone())
        };
        let wanted: BTreeSet<_> = apps.iter().map(name).collect();
        let objects = apps.iter().flat_map(|app| objects_of(app, broken));
        self.server.apply_all(objects).unwrap();
        for (namespace, name) in self.there.difference(&wanted) {
            self.server.remove("services", namespace, name).unwrap();
            let slice = format!("{name}-1");
            let slices = "endpointslices.discovery.k8s.io";
            self.server.remove(slices, namespace, &slice).unwrap();
        }
        self.there = wanted;
    }
}

fn objects_of(app: &App, broken: &str) -> [Value; 2] {
    let namespace = app.namespace.as_deref().unwrap_or("fallback");
    let port = if app.name == broken { 0 } else { app.port };
    let mut service = objects::service(namespace, &app.name, "10.96.0.9", &[]);
    service["spec"]["ports"] = json!([{"name": "http", "port": port, "protocol": "TCP"}]);
    let endpoint = objects::endpoint(&app.address.to_string(), "pod", "node", "zone");
    let ports = [("http", app.port)];
    let mut slice = objects::endpoint_slice(namespace, &app.name, "1", &ports, vec![endpoint]);
    slice["metadata"]["name"] = format!("{}-1", app.name).into();
    [service, slice]
}

impl Subject for Cluster {
    async fn new() -> Self {
        Self {
            server: ApiServer::start().await.unwrap(),
            is_stopped: false,
            there: BTreeSet::new(),
        }
    }

    fn run(
        &self,
        settings: RegistrySettings,
        last_good: Vec<Object>,
        events: mpsc::Sender<RegistryEvent>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let cluster = Kubernetes {
            settings,
            access: Access::Kubeconfig {
                path: self.server.kubeconfig(),
                context: None,
            },
            facts: Facts {
                pods: true,
                nodes: true,
                ingresses: true,
                secrets: SecretFacts {
                    everywhere: true,
                    namespaces: BTreeSet::new(),
                },
            },
            ignored_namespaces: BTreeSet::new(),
            last_good: LastGood {
                objects: last_good,
                saved_at: Duration::ZERO,
            },
            statuses: None,
            pace: PACE,
            parts: Default::default(),
        };
        cluster.run(events, shutdown)
    }

    async fn put(&mut self, apps: &[App]) {
        self.write(apps, "").await;
    }

    async fn put_with_one_broken(&mut self, apps: &[App], broken: &str) {
        self.write(apps, broken).await;
    }

    async fn break_all(&mut self) {
        self.server.fault(Fault::Garbage);
        self.server.break_connections().await.unwrap();
    }

    async fn take_away(&mut self) {
        self.server.stop();
        self.is_stopped = true;
    }
}
