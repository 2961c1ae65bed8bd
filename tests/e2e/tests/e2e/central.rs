//! `examples/central-controller`, as its README says, with doubles of its clusters' API servers.

use std::path::{Path, PathBuf};

use bowline_harness::{
    Bowline, Connections, Envoy, HttpBackend, Request, eventually, free_port,
    kubernetes::{ApiServer, objects},
    run,
};
use serde_json::Value;
use tempfile::TempDir;
use xtask::{kubectl, workspace};

use crate::world::{self, answered, loopback, until};

/// The example's clusters, and the regions that its configuration gives them.
const REGIONS: [(&str, &str); 3] = [
    ("eu", "eu-central-1"),
    ("us", "us-east-1"),
    ("ap", "ap-south-1"),
];

fn example() -> PathBuf {
    workspace::root().join("examples/central-controller")
}

/// What the example has users apply to each cluster.
async fn applied(folder: &Path) -> Vec<Value> {
    let kubectl = tokio::task::spawn_blocking(kubectl::binary);
    let kubectl = kubectl.await.unwrap().unwrap();
    let rendered = run(&kubectl, ["kustomize", "cluster"], folder)
        .await
        .unwrap();
    assert!(rendered.success, "{}", rendered.stderr);
    let documents = rendered.stdout.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

/// A cluster with what the example has in it.
struct Cluster {
    server: ApiServer,
    pod: HttpBackend,
}

impl Cluster {
    async fn start(name: &str, objects: &[Value]) -> Self {
        let cluster = Self {
            server: ApiServer::start().await.unwrap(),
            pod: HttpBackend::start(name).await.unwrap(),
        };
        for object in objects {
            // The double has no controllers: what they would make of the Deployment is the slice below.
            if object["kind"] != "Deployment" {
                cluster.server.apply(object.clone()).unwrap();
            }
        }
        cluster.server.apply(cluster.slice()).unwrap();
        cluster
    }

    /// As the cluster of an example has it: no node says where it is.
    fn slice(&self) -> Value {
        let mut endpoint = objects::endpoint("127.0.0.1", "cart-1", "control-plane", "");
        endpoint.as_object_mut().unwrap().remove("zone");
        let ports = [("http", self.pod.port())];
        objects::endpoint_slice("shop", "cart", "1", &ports, vec![endpoint])
    }
}

/// The example with its placeholders filled in: a running control plane, its gateway, and the clusters.
struct Example {
    gateway: Envoy,
    bowline: Bowline,
    clusters: Vec<Cluster>,
    request: Request,
    _folder: TempDir,
}

impl Example {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = applied(&example()).await;
        let mut clusters = Vec::new();
        std::fs::create_dir(folder.path().join("kubeconfigs")).unwrap();
        for (name, _) in REGIONS {
            let cluster = Cluster::start(name, &objects).await;
            let kubeconfig = folder.path().join(format!("kubeconfigs/{name}.yaml"));
            std::fs::write(kubeconfig, cluster.server.kubeconfig_text()).unwrap();
            clusters.push(cluster);
        }
        let port = free_port().unwrap();
        std::fs::create_dir(folder.path().join("manifests")).unwrap();
        for file in ["bowline.yaml", "manifests/gateway.yaml"] {
            let mut text = std::fs::read_to_string(example().join(file)).unwrap();
            text = text.replace("10080", &port.to_string());
            for placeholder in ["15010", "15012", "15014"] {
                text = text.replace(placeholder, &free_port().unwrap().to_string());
            }
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let bowline = Bowline::start_as_configured(folder.path()).await.unwrap();
        let command = "bootstrap --role gateway --name edge --namespace shop --locality eu-central-1 --admin-port 0";
        let command: Vec<&str> = command.split(' ').collect();
        let bootstrap = bowline.output(&command).await.unwrap();
        let mut gateway = Envoy::start("edge", &bootstrap, folder.path())
            .await
            .unwrap();
        gateway.ready().await.unwrap();
        Self {
            gateway,
            bowline,
            clusters,
            request: Request::get(loopback(port), "127.0.0.1", "/"),
            _folder: folder,
        }
    }

    /// Waits until `bowline registries` shows a cluster like this.
    async fn is_shown(&self, name: &str, state: &str) {
        eventually("the cluster's state is shown", async || {
            let listed = self.bowline.output(&["registries", "-o", "json"]).await?;
            let listed: Value = serde_json::from_str(&listed)?;
            let all = listed.as_array().into_iter().flatten();
            let shown = all.into_iter().find(|entry| entry["registry"] == name);
            anyhow::ensure!(
                shown.is_some_and(|entry| entry["state"] == state),
                "{listed}"
            );
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_service_is_balanced_over_all_clusters_and_one_of_them_is_lost_and_comes_back() {
    let mut example = Example::start().await;
    answered(&example.request).await;
    let load = world::load(&example.request, Connections::Kept);
    let all_answer = |report: &bowline_harness::Report| {
        REGIONS
            .iter()
            .all(|(name, _)| report.answered_by(name) >= 10)
    };
    until(&load, "every cluster answers", all_answer).await;
    let endpoints = example.gateway.admin_text("/clusters").await.unwrap();
    for (cluster, (_, region)) in example.clusters.iter().zip(REGIONS) {
        let said = format!("127.0.0.1:{}::region::{region}\n", cluster.pod.port());
        assert!(endpoints.contains(&said), "no {said} in {endpoints}");
    }

    // Its API server is away: its pods serve, and the other clusters are followed.
    example.clusters[1].server.stop();
    example.is_shown("us", "failing").await;
    load.take_report().none_failed().unwrap();
    let eu = &example.clusters[0];
    eu.server.delete(&eu.slice()).unwrap();
    until(&load, "eu gets nothing more, us still does", |report| {
        report.since_last_of("eu") >= 50 && report.answered_by("us") > 0
    })
    .await;
    eu.server.apply(eu.slice()).unwrap();
    load.take_report().none_failed().unwrap();
    until(&load, "every cluster answers", all_answer).await;

    // A restart meanwhile takes nothing away.
    example.bowline.terminate().await.unwrap();
    example.bowline.launch().await.unwrap();
    example.bowline.ready().await.unwrap();
    example.is_shown("us", "failing").await;
    load.take_report().none_failed().unwrap();
    until(&load, "every cluster answers", all_answer).await;

    // All of it is away: what cannot connect goes elsewhere.
    load.stop().await.none_failed().unwrap();
    let us = example.clusters.remove(1);
    let (address, mut server) = (us.pod.address(), us.server);
    drop(us.pod);
    let load = world::load(&example.request, Connections::Kept);
    until(&load, "the others answer", |report| report.succeeded >= 100).await;
    let report = load.report();
    assert_eq!(report.answered_by("us"), 0, "{report}");

    // It is back.
    let pod = HttpBackend::start_on("us", address).await.unwrap();
    server.start_again().await.unwrap();
    example.is_shown("us", "live").await;
    until(&load, "every cluster answers", all_answer).await;
    load.stop().await.none_failed().unwrap();
    drop(pod);
    example.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn the_examples_configuration_finds_nothing_wrong_with_its_clusters() {
    let example = Example::start().await;
    let checked = example
        .bowline
        .command(&["check", "--kubernetes", "--deny-warnings"])
        .await
        .unwrap();
    assert!(checked.success, "{}{}", checked.stdout, checked.stderr);
    assert_eq!(example.clusters.len(), REGIONS.len());
    let problems = example.bowline.admin_json("/v1/problems").await.unwrap();
    assert_eq!(problems, serde_json::json!([]));
}
