//! What is found before a cluster is watched.

use bowline_harness::kubernetes::{ApiServer, Fault, objects};
use bowline_kubernetes::{Access, Facts, Finding, SecretFacts, Verdict, Writing, preflight};

async fn findings(server: &ApiServer) -> Vec<Finding> {
    let access = Access::Kubeconfig {
        path: server.kubeconfig(),
        context: None,
    };
    let facts = Facts {
        pods: true,
        nodes: false,
        ingresses: true,
        secrets: SecretFacts {
            everywhere: true,
            namespaces: ["edge".parse().unwrap()].into(),
        },
    };
    let writing = Writing::Statuses {
        lease_namespace: None,
    };
    preflight(&access, &facts, &writing).await
}

fn bad(findings: &[Finding]) -> Vec<(Verdict, &str)> {
    let bad = findings.iter();
    let bad = bad.filter(|finding| finding.verdict > Verdict::Note);
    bad.map(|finding| (finding.verdict, finding.what.as_str()))
        .collect()
}

#[tokio::test]
async fn a_cluster_that_can_be_watched_has_no_bad_findings() {
    let server = ApiServer::start().await.unwrap();
    let found = findings(&server).await;
    assert_eq!(bad(&found), []);
    let says = |text: &str| found.iter().any(|finding| finding.what.contains(text));
    assert!(says("Kubernetes v1.") && says("pods: may be listed") && !says("nodes"));
    assert!(says("httproutes.gateway.networking.k8s.io: not installed"));
    for definition in objects::gateway_api() {
        server.apply(definition).unwrap();
    }
    let found = findings(&server).await;
    let says = |text: &str| found.iter().any(|finding| finding.what.contains(text));
    assert!(says("httproutes.gateway.networking.k8s.io: may be listed"));
    assert!(says("statuses: may be written"));
}

#[tokio::test]
async fn what_may_not_be_read_and_a_wrong_clock_are_found() {
    let server = ApiServer::start().await.unwrap();
    server.fault_for("pods", Fault::Forbidden);
    server.fault(Fault::Clock(600));
    let found = findings(&server).await;
    let bad = bad(&found);
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(
        bad.iter()
            .any(|(verdict, what)| *verdict == Verdict::Warning && what.contains("clocks"))
    );
    assert!(bad.contains(&(Verdict::Error, "pods: may not list and watch")));
}

#[tokio::test]
async fn statuses_that_may_not_be_written_are_no_error() {
    let server = ApiServer::start().await.unwrap();
    server.fault_for("leases.coordination.k8s.io", Fault::ReadOnly);
    let found = findings(&server).await;
    let bad = bad(&found);
    assert!(
        matches!(bad.as_slice(), [(Verdict::Warning, what)] if what.contains("create leases.coordination.k8s.io in default")),
        "{bad:?}"
    );
}

#[tokio::test]
async fn secrets_that_may_not_be_looked_at_are_a_note() {
    let server = ApiServer::start().await.unwrap();
    server.fault_for("secrets", Fault::ForbiddenOutside("edge".to_owned()));
    let found = findings(&server).await;
    assert_eq!(bad(&found), []);
    let verdict = |what: &str| {
        let mut found = found.iter().filter(|finding| finding.what == what);
        found.next().map(|finding| finding.verdict)
    };
    assert_eq!(
        verdict("secrets: may not list and watch"),
        Some(Verdict::Note)
    );
    assert_eq!(
        verdict("secrets in edge: may be listed and watched"),
        Some(Verdict::Ok)
    );
    server.heal();
    server.fault_for("secrets", Fault::Forbidden);
    let found = findings(&server).await;
    let named = (Verdict::Warning, "secrets in edge: may not list and watch");
    assert_eq!(bad(&found), [named]);
    // Nobody's Secret was read to find that out.
    let requests = server.requests();
    assert!(!requests.iter().any(|request| request.resource == "secrets"));
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_one_error() {
    let mut server = ApiServer::start().await.unwrap();
    server.fault(Fault::Unauthorized);
    let found = findings(&server).await;
    assert!(
        matches!(bad(&found).as_slice(), [(Verdict::Error, what)] if what.contains("credentials"))
    );
    server.stop();
    let found = findings(&server).await;
    assert!(
        matches!(bad(&found).as_slice(), [(Verdict::Error, what)] if what.contains("cannot be reached"))
    );
}
