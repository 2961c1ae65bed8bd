//! What a test starts from: a folder with an inventory and manifests, and a `bowline` that serves them.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use bowline_harness::{
    Answer, Bowline, Connections, Envoy, Load, Report, Request, eventually, free_port,
};
use serde_json::Value;
use tempfile::TempDir;

/// The namespace of everything in the tests.
pub(crate) const NAMESPACE: &str = "shop";

/// A `bowline` with its files. Start Envoys after it, so that they end before it.
pub(crate) struct World {
    pub(crate) bowline: Bowline,
    explicit_http_port: u16,
    east_west_port: u16,
    configuration: String,
    folder: TempDir,
}

/// Another `bowline` with the same configuration and files of its own.
pub(crate) struct Replica {
    pub(crate) bowline: Bowline,
    folder: TempDir,
}

/// Which variant of xDS an Envoy speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    Delta,
    StateOfTheWorld,
}

impl World {
    /// Serves an inventory and manifests.
    pub(crate) async fn start(inventory: &str, manifests: &str) -> Self {
        let mut world = Self::prepare(inventory, manifests).await;
        world.bowline.launch().await.unwrap();
        world.bowline.ready().await.unwrap();
        world
    }

    /// Serves what the registries of this list (YAML) say, which may have the inventory among them.
    pub(crate) async fn of(registries: &str, inventory: &str) -> Self {
        let mut world = Self::prepare(inventory, "").await;
        let mesh = mesh(world.explicit_http_port, world.east_west_port);
        world.configuration = format!("{mesh}registries:\n{registries}");
        world.bowline.configure(&world.configuration).unwrap();
        world.bowline.launch().await.unwrap();
        world.bowline.ready().await.unwrap();
        world
    }

    /// The same as [`Self::start`] without starting it.
    pub(crate) async fn prepare(inventory: &str, manifests: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (explicit_http_port, east_west_port) = (free_port().unwrap(), free_port().unwrap());
        std::fs::create_dir(folder.path().join("manifests")).unwrap();
        let mesh = mesh(explicit_http_port, east_west_port);
        let configuration = format!(
            "{mesh}registries:\n- name: vms\n  inventory: {{path: ./inventory.yaml}}\n  namespace: {NAMESPACE}\n\
             manifests: [./manifests/]\n"
        );
        let bowline = Bowline::prepare(&configuration, folder.path())
            .await
            .unwrap();
        let world = Self {
            bowline,
            explicit_http_port,
            east_west_port,
            configuration,
            folder,
        };
        world.write_inventory(inventory);
        world.write_manifests(manifests);
        world
    }

    /// A second server that knows what the first does.
    pub(crate) async fn replica(&self) -> Replica {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("manifests")).unwrap();
        for file in ["inventory.yaml", "manifests/all.yaml"] {
            std::fs::copy(self.folder().join(file), folder.path().join(file)).unwrap();
        }
        let bowline = Bowline::start(&self.configuration, folder.path())
            .await
            .unwrap();
        Replica { bowline, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn inventory_file(&self) -> PathBuf {
        self.folder().join("inventory.yaml")
    }

    /// Replaces the inventory, as an editor does.
    pub(crate) fn write_inventory(&self, text: &str) {
        self.replace(&self.inventory_file(), text);
    }

    /// Adds fields to a section of the configuration file, such as `xds`.
    pub(crate) fn configure_more(&self, section: &str, fields: &str) {
        let file = self.bowline.configuration();
        let before = std::fs::read_to_string(&file).unwrap();
        let section = format!("{section}:\n");
        assert!(before.contains(&section));
        self.replace(
            &file,
            &before.replace(&section, &format!("{section}  {fields}\n")),
        );
    }

    /// Replaces the manifests, as an editor does.
    pub(crate) fn write_manifests(&self, text: &str) {
        self.replace(&self.folder().join("manifests/all.yaml"), text);
    }

    /// Replaces a file at once, as an editor does.
    pub(crate) fn replace(&self, file: &Path, text: &str) {
        replace(self.folder(), file, text);
    }

    /// A live gateway that serves the Gateway object `edge`.
    pub(crate) async fn gateway(&self, protocol: Protocol) -> Envoy {
        let mut envoy = self
            .envoy(
                "gateway",
                &["--role", "gateway", "--name", "edge"],
                protocol,
            )
            .await;
        envoy.ready().await.unwrap();
        envoy
    }

    /// A live sidecar with explicit listeners beside a workload.
    pub(crate) async fn sidecar(&self, workload: &str, protocol: Protocol) -> Envoy {
        let mut envoy = self
            .envoy(
                workload,
                &["--role", "sidecar", "--name", workload],
                protocol,
            )
            .await;
        envoy.ready().await.unwrap();
        envoy
    }

    /// A live east-west gateway of a network, and where it listens.
    pub(crate) async fn east_west(&self, network: &str, protocol: Protocol) -> (Envoy, SocketAddr) {
        let role = [
            "--role",
            "east-west",
            "--name",
            "east-west",
            "--network",
            network,
        ];
        let mut envoy = self.envoy("east-west", &role, protocol).await;
        envoy.ready().await.unwrap();
        (envoy, loopback(self.east_west_port))
    }

    /// An Envoy with a bootstrap of ours. It is not waited for.
    pub(crate) async fn envoy(&self, name: &str, node: &[&str], protocol: Protocol) -> Envoy {
        let protocol = match protocol {
            Protocol::Delta => "delta",
            Protocol::StateOfTheWorld => "sotw",
        };
        let command = [
            &[
                "bootstrap",
                "--admin-port",
                "0",
                "--namespace",
                NAMESPACE,
                "--protocol",
                protocol,
            ],
            node,
        ];
        let bootstrap = self.bowline.output(&command.concat()).await.unwrap();
        Envoy::start(name, &bootstrap, self.folder()).await.unwrap()
    }

    /// Issues a certificate, and answers with its folder.
    pub(crate) async fn certificate(&self, service_account: &str) -> String {
        let identity = format!("spiffe://mesh.test/ns/{NAMESPACE}/sa/{service_account}");
        let folder = self.folder().join(format!("certificate-{service_account}"));
        let folder = folder.to_str().unwrap().to_owned();
        self.bowline
            .output(&["ca", "issue", "--identity", &identity, "--out", &folder])
            .await
            .unwrap();
        folder
    }

    /// A request of the application beside the sidecar.
    pub(crate) fn request_to(&self, host: &str) -> Request {
        Request::get(loopback(self.explicit_http_port), host, "/")
    }

    /// The problems that the server sees now.
    pub(crate) async fn problems(&self) -> Vec<Value> {
        let problems = self.bowline.admin_json("/v1/problems").await.unwrap();
        problems.as_array().unwrap().clone()
    }

    /// The status of one registry.
    pub(crate) async fn registry(&self, name: &str) -> Value {
        let registries = self.bowline.admin_json("/v1/registries").await.unwrap();
        let registries = registries.as_array().unwrap();
        let found = registries
            .iter()
            .find(|registry| registry["registry"] == name);
        found
            .unwrap_or_else(|| panic!("no registry {name} in {registries:?}"))
            .clone()
    }
}

impl Replica {
    /// Replaces the inventory, as an editor does.
    pub(crate) fn write_inventory(&self, text: &str) {
        let folder = self.folder.path();
        replace(folder, &folder.join("inventory.yaml"), text);
    }
}

/// What the configuration says of the mesh.
fn mesh(explicit_http_port: u16, east_west_port: u16) -> String {
    format!(
        "mesh: {{trust_domain: mesh.test, explicit_http_port: {explicit_http_port}, east_west_port: {east_west_port}}}\n"
    )
}

fn replace(folder: &Path, file: &Path, text: &str) {
    let fresh = folder.join("fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, file).unwrap();
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A Gateway `edge` with one HTTP listener, and an HTTPRoute for it with these rules (a YAML list).
pub(crate) fn gateway_with_rules(port: u16, rules: &str) -> String {
    format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: {NAMESPACE}}}
spec:
  gatewayClassName: bowline
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: routes, namespace: {NAMESPACE}}}
spec:
  parentRefs: [{{name: edge}}]
  rules: {rules}
"
    )
}

/// An inventory of HTTP services, each with the ports of its machines on loopback.
pub(crate) fn http_services(services: &[(&str, &[u16])]) -> String {
    let mut text = "services:\n".to_owned();
    for (service, _) in services {
        text += &format!("- {{name: {service}, ports: [{{number: 80, protocol: http}}]}}\n");
    }
    text += "workloads:\n- {name: caller, address: 127.0.0.1}\n";
    for (service, ports) in services {
        for port in *ports {
            text += &format!(
                "- {{name: {service}-{port}, address: 127.0.0.1, services: [{service}], ports: {{http: {port}}}}}\n"
            );
        }
    }
    text
}

/// Sends a request until it is answered with success by one of our backends.
pub(crate) async fn answered(request: &Request) -> Answer {
    eventually("a backend answers", async || {
        let answer = request.send().await.map_err(|error| format!("{error:#}"))?;
        match (answer.status.is_success(), answer.backend()) {
            (true, Some(_)) => Ok(answer),
            _ => Err(format!("status {}: {}", answer.status, answer.text())),
        }
    })
    .await
    .unwrap()
}

/// Waits until requests are answered by all of these backends and nothing else. An answer of none of them goes by its status.
pub(crate) async fn answered_by(request: &Request, expected: &[&str]) {
    eventually(&format!("{expected:?} answer"), async || {
        let mut answers = BTreeSet::new();
        for _ in 0..20 {
            let answer = request.send().await.map_err(|error| error.to_string())?;
            let backend = answer.backend().map(str::to_owned);
            answers.insert(backend.unwrap_or_else(|| answer.status.to_string()));
        }
        match answers.iter().eq(expected) {
            true => Ok(()),
            false => Err(format!("{answers:?}")),
        }
    })
    .await
    .unwrap();
}

/// A load that leaves the other core some time.
pub(crate) fn load(request: &Request, connections: Connections) -> Load {
    Load::start(request, connections, 3, 150)
}

/// Waits until the load's report is as it should be.
pub(crate) async fn until(load: &Load, what: &str, holds: impl Fn(&Report) -> bool) {
    eventually(what, async || {
        let report = load.report();
        if holds(&report) {
            Ok(())
        } else {
            Err(report.to_string())
        }
    })
    .await
    .unwrap();
}
