//! Secrets with certificates, as far as one may look.

use bowline_harness::kubernetes::{ApiServer, Fault, objects};
use serde_json::{Value, json};

use crate::{
    status::{self, GATEWAYS, Replica, becomes},
    watching::Watching,
};

const SECRETS: &str = "secrets";

/// A gateway of the namespace `shop` with a certificate of another.
fn gateway(namespace: &str) -> Value {
    let mut gateway = objects::gateway("shop", "edge", "bowline", 8443);
    gateway["spec"]["listeners"][0]["protocol"] = "HTTPS".into();
    gateway["spec"]["listeners"][0]["tls"] =
        json!({"certificateRefs": [{"name": "cert", "namespace": namespace}]});
    gateway
}

fn grant(namespace: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "ReferenceGrant",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "shop"}],
            "to": [{"group": "", "kind": "Secret"}],
        },
    })
}

fn secret(namespace: &str, kind: &str) -> Value {
    objects::secret(namespace, "cert", kind, json!({"tls.crt": "SGVsbG8="}))
}

/// An API server with a gateway whose certificate is in a namespace, which allows that.
async fn server(namespace: &str) -> ApiServer {
    let server = status::server().await;
    server
        .apply_all([gateway(namespace), grant(namespace)])
        .unwrap();
    server
}

async fn says_nothing(watching: &mut Watching) {
    watching
        .until("no problem with a Secret", |known| {
            !known.has_problem("Secret")
        })
        .await;
}

#[tokio::test]
async fn certificates_are_followed_with_and_without_streamed_lists() {
    for minor in [31, 36] {
        let server = server("certs").await;
        server.pretend(minor);
        server.apply(secret("certs", "Opaque")).unwrap();
        let mut watching = Watching::start(server.kubeconfig());
        watching.says("there is no Secret certs/cert").await;
        server.remove(SECRETS, "certs", "cert").unwrap();
        server.apply(secret("certs", "kubernetes.io/tls")).unwrap();
        says_nothing(&mut watching).await;
        server.compact();
        server.expire_watches(SECRETS);
        server.remove(SECRETS, "certs", "cert").unwrap();
        watching.says("there is no Secret certs/cert").await;
    }
}

#[tokio::test]
async fn what_is_in_a_namespace_that_is_named_is_looked_at() {
    let server = server("edge").await;
    server.apply(secret("edge", "kubernetes.io/tls")).unwrap();
    let mut watching = Watching::start(server.kubeconfig());
    watching.says("has no certificate as PEM in tls.crt").await;
    server.remove(SECRETS, "edge", "cert").unwrap();
    watching.says("there is no Secret edge/cert").await;
}

#[tokio::test]
async fn a_cluster_whose_secrets_are_denied_is_live_and_watched_again_once_they_are_granted() {
    let server = server("certs").await;
    server.fault_for(SECRETS, Fault::Forbidden);
    let mut watching = Watching::start(server.kubeconfig());
    watching.says("certs/cert cannot be looked up").await;
    assert!(watching.has("edge") && watching.failing.is_none());
    server.apply(secret("certs", "kubernetes.io/tls")).unwrap();
    server.heal();
    says_nothing(&mut watching).await;
    assert_eq!(watching.replaces, 1);
}

#[tokio::test]
async fn a_namespace_that_is_named_is_known_where_all_others_are_denied() {
    let server = server("edge").await;
    server.fault_for(SECRETS, Fault::ForbiddenOutside("edge".to_owned()));
    let mut watching = Watching::start(server.kubeconfig());
    watching.says("there is no Secret edge/cert").await;
    server
        .apply_all([gateway("certs"), grant("certs")])
        .unwrap();
    watching.says("certs/cert cannot be looked up").await;
}

#[tokio::test]
async fn a_listener_says_whether_its_certificate_is_there() {
    let server = server("certs").await;
    let replica = Replica::start(server.kubeconfig(), &[]);
    let becomes = async |resolved: &str| {
        let wanted = [
            "Accepted=False/UnsupportedProtocol",
            "Programmed=False/Invalid",
            resolved,
            "Conflicted=False/NoConflicts",
        ];
        becomes(&server, GATEWAYS, "edge", "/listeners/0", &wanted).await;
    };
    becomes("ResolvedRefs=False/InvalidCertificateRef").await;
    server.apply(secret("certs", "kubernetes.io/tls")).unwrap();
    becomes("ResolvedRefs=True/ResolvedRefs").await;
    let grants = "referencegrants.gateway.networking.k8s.io";
    server.remove(grants, "certs", "shop").unwrap();
    becomes("ResolvedRefs=False/RefNotPermitted").await;
    replica.end().await;
}
