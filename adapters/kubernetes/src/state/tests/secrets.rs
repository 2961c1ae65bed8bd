//! Secrets come, go, and may not be looked at.

use bowline_mesh::{Code, Problem};

use super::*;

const INGRESS: Watched = Watched::Manifest(ManifestKind::Ingress);
const GRANT: Watched = Watched::Manifest(ManifestKind::ReferenceGrant);

fn within() -> Watched {
    Watched::Secrets("edge".parse().unwrap())
}

fn secret(namespace: &str, name: &str, data: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": "1"},
        "type": "kubernetes.io/tls", "data": data,
    })
}

/// Base64 of the beginnings and ends of PEM.
fn certificate() -> Value {
    const CERTIFICATE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJzekNDQVZtZwotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS0tCg==";
    const KEY: &str = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JR0hBZ0VBTUJNRwotLS0tLUVORCBQUklWQVRFIEtFWS0tLS0tCg==";
    json!({"tls.crt": CERTIFICATE, "tls.key": KEY})
}

fn gateway(name: &str, references: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "edge"},
        "spec": {"gatewayClassName": "bowline", "listeners": [
            {"name": "plain", "port": 80, "protocol": "HTTP"},
            {"name": "web", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": references}},
        ]},
    })
}

fn ingress(secret: &str) -> Value {
    json!({
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"ingressClassName": "bowline", "tls": [{"secretName": secret}],
            "defaultBackend": {"service": {"name": "cart", "port": {"number": 80}}}},
    })
}

/// What is said of references.
fn said(problems: &[Problem]) -> Vec<&str> {
    let about = problems.iter();
    let about =
        about.filter(|problem| matches!(problem.code, Code::UnresolvedReference | Code::Hidden));
    about.map(|problem| &*problem.message).collect()
}

fn deny(cluster: &mut Cluster, watched: Watched) {
    let error = format!("not permitted ({})", watched.grant());
    let trouble = Trouble::NotPermitted;
    cluster.0.take(watched, News::Failing { error, trouble });
}

#[test]
fn certificates_that_come_and_go_are_told_of_where_they_are_referred_to() {
    let objects = [
        (GATEWAY, gateway("web", json!([{"name": "cert"}]))),
        (INGRESS, ingress("shop")),
    ];
    let mut cluster = Cluster::with(&objects);
    let event = cluster.event();
    assert_eq!(
        said(&event.problems),
        [
            "there is no Secret shop/shop of the type kubernetes.io/tls",
            "there is no Secret edge/cert of the type kubernetes.io/tls"
        ]
    );
    // The watch of all namespaces says nothing of what is read in this one.
    cluster.put(Watched::SecretNames, secret("edge", "cert", json!({})));
    assert_eq!(cluster.next(), None);
    cluster.put(
        within(),
        secret("edge", "cert", json!({"tls.crt": "SGVsbG8="})),
    );
    assert_eq!(
        said(&cluster.event().problems).last(),
        Some(&"the Secret edge/cert has no certificate as PEM in tls.crt")
    );
    cluster.put(within(), secret("edge", "cert", certificate()));
    let shop = ["there is no Secret shop/shop of the type kubernetes.io/tls"];
    assert_eq!(said(&cluster.event().problems), shop);
    cluster.delete(Watched::SecretNames, secret("edge", "cert", json!({})));
    assert_eq!(cluster.next(), None);
    cluster.put(Watched::SecretNames, secret("shop", "shop", json!({})));
    assert!(said(&cluster.event().problems).is_empty());
    cluster.delete(within(), secret("edge", "cert", json!({})));
    cluster.delete(Watched::SecretNames, secret("shop", "shop", json!({})));
    assert_eq!(said(&cluster.event().problems).len(), 2);
    // References go as well as what they lead to.
    cluster.delete(GATEWAY, gateway("web", json!([])));
    assert_eq!(said(&cluster.event().problems), shop);
}

#[test]
fn a_secret_of_another_namespace_needs_a_grant() {
    let references = json!([{"name": "cert", "namespace": "shop"}]);
    let objects = [
        (GATEWAY, gateway("web", references)),
        (Watched::SecretNames, secret("shop", "cert", json!({}))),
    ];
    let mut cluster = Cluster::with(&objects);
    let refused = ["namespace shop does not allow references from edge"];
    assert_eq!(said(&cluster.event().problems), refused);
    let grant = json!({
        "metadata": {"name": "edge", "namespace": "shop"},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "edge"}],
            "to": [{"group": "", "kind": "Secret"}],
        },
    });
    cluster.put(GRANT, grant.clone());
    assert!(said(&cluster.event().problems).is_empty());
    cluster.delete(GRANT, grant);
    assert_eq!(said(&cluster.event().problems), refused);
}

#[test]
fn what_nobody_refers_to_is_nobodys_work() {
    let mut cluster = Cluster::with(&[(GATEWAY, gateway("web", json!([{"name": "cert"}])))]);
    cluster.replace();
    cluster.0.doubted.clear();
    for number in 0..100 {
        cluster.put(within(), secret("edge", &format!("s{number}"), json!({})));
        let name = format!("s{number}");
        cluster.put(Watched::SecretNames, secret("shop", &name, json!({})));
    }
    cluster.delete(within(), secret("edge", "s1", json!({})));
    assert!(cluster.0.dirty.is_empty() && cluster.0.doubted.is_empty());
    assert!(!cluster.0.has_news());
    cluster.put(within(), secret("edge", "cert", json!({})));
    let concerned: Vec<_> = cluster.0.dirty.iter().map(ToString::to_string).collect();
    assert_eq!(concerned, ["Gateway edge/web"]);
}

#[test]
fn secrets_that_may_not_be_looked_at_hurt_nobody() {
    let objects = [
        (GATEWAY, gateway("web", json!([{"name": "cert"}]))),
        (INGRESS, ingress("shop")),
    ];
    let mut cluster = Cluster::after(Vec::new());
    for watched in all().into_iter().filter(Watched::is_required) {
        cluster.list_kind(watched, &objects);
    }
    // Nothing waits for an answer, and nothing is said before there is one.
    assert!(!cluster.0.knows_secrets());
    assert!(said(&cluster.event().problems).is_empty());
    deny(&mut cluster, Watched::SecretNames);
    let event = cluster.event();
    assert!(matches!(event.change, Change::Update { .. }));
    let hidden =
        "whether there is a Secret shop/shop cannot be looked up: Secrets may not be listed there";
    assert_eq!(said(&event.problems), [hidden]);
    assert!(!cluster.0.knows_secrets());
    // What is named is known all the same.
    cluster.list_kind(
        within(),
        &[(within(), secret("edge", "cert", certificate()))],
    );
    assert!(cluster.0.knows_secrets());
    assert_eq!(cluster.next(), None);
    let part = |cluster: &Cluster, name: &str| {
        let parts = cluster.0.parts();
        let part = parts
            .iter()
            .find(|part| &*part.name == name)
            .unwrap()
            .clone();
        (part.state, part.instances, part.denied, part.last_error)
    };
    let (state, instances, denied, error) = part(&cluster, "secrets");
    assert_eq!((state, instances, denied), (PartState::NotPermitted, 0, 0));
    assert!(error.unwrap().contains("grant list and watch of secrets"));
    assert_eq!(part(&cluster, "secrets in edge").0, PartState::Live);
    cluster.list_kind(Watched::SecretNames, &[]);
    assert_eq!(
        said(&cluster.event().problems),
        ["there is no Secret shop/shop of the type kubernetes.io/tls"]
    );
    // A permission that is taken back leaves nothing behind.
    deny(&mut cluster, within());
    deny(&mut cluster, Watched::SecretNames);
    assert_eq!(said(&cluster.event().problems).len(), 2);
    assert_eq!(part(&cluster, "secrets in edge").1, 0);
}

#[test]
fn nothing_of_what_a_secret_holds_is_kept() {
    let mut object = secret("edge", "cert", certificate());
    object["metadata"]["annotations"] = json!({"note": "HIDDEN"});
    object["metadata"]["labels"] = json!({"note": "HIDDEN"});
    let read = item(&within(), &object);
    assert_eq!(
        format!("{read:?}"),
        r#"Secret(SecretName { namespace: Namespace("edge"), name: "cert" }, Usable)"#
    );
    assert_eq!(
        format!("{:?}", item(&Watched::SecretNames, &object)),
        r#"SecretName(SecretName { namespace: Namespace("edge"), name: "cert" })"#
    );
    for broken in [
        json!({"metadata": {"name": "cert", "namespace": "edge"}, "data": "HIDDEN"}),
        json!({"metadata": {"name": "cert", "namespace": "edge"}, "data": {"tls.key": ["HIDDEN"]}}),
        json!({"metadata": {"name": "cert", "namespace": ["HIDDEN"]}}),
        json!("HIDDEN"),
    ] {
        let text = broken.to_string();
        let problem = Item::read(&within(), &text, &settings(), &mut Shared::default());
        let problem = format!("{:?}", problem.unwrap_err());
        assert!(!problem.contains("HIDDEN"), "{problem}");
    }
    let mut cluster = Cluster::with(&[(GATEWAY, gateway("web", json!([{"name": "cert"}])))]);
    cluster.put(within(), object);
    let event = cluster.event();
    let shown = format!("{event:?} {:?}", cluster.0);
    for held in ["HIDDEN", "MIIB", "LS0t", "BEGIN"] {
        assert!(!shown.contains(held), "{shown}");
    }
}
