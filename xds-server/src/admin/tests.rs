use std::os::unix::fs::PermissionsExt;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use bowline_cert_authority::SigningRequest;
use bowline_mesh::{
    Change, Code, MeshStore, Problem, RegistryEvent, RegistrySettings, Severity, Source,
};
use bowline_state::Memory;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::*;
use crate::config::Config;
use crate::pipeline::{Births, PipelineSettings, pipeline};

/// A server without listeners. Its pipeline ends with the test.
struct Server {
    shared: Shared,
    events: tokio::sync::mpsc::Sender<RegistryEvent>,
    configuration: watch::Sender<ConfigurationStatus>,
    state: tempfile::NamedTempFile,
    _tasks: JoinSet<anyhow::Result<()>>,
}

fn server() -> Server {
    let config = Config::parse("b.yaml".as_ref(), b"mesh: {trust_domain: mesh.example}").unwrap();
    let vms = RegistrySettings::new(
        "vms".parse().unwrap(),
        config.mesh.trust_domain.clone(),
        config.mesh.domain.clone(),
        "default".parse().unwrap(),
    );
    let now = SystemTime::now();
    let authority =
        CertificateAuthority::open(&Memory::new(), &config.mesh.trust_domain, now).unwrap();
    let store = MeshStore::new(Arc::new(config.mesh), [vms], []);
    let settings = PipelineSettings {
        start_timeout: Duration::from_secs(3600),
        linger: Duration::from_secs(1),
    };
    let births = Births::default();
    let (writer, handle, events) = pipeline(store, None, settings, births.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(writer.run(CancellationToken::new()));
    let metrics = Arc::new(Metrics::new());
    let (configuration, follow) = watch::channel(ConfigurationStatus::default());
    let state = tempfile::NamedTempFile::new().unwrap();
    let api = Api {
        loads: Default::default(),
        pipeline: handle,
        reports: Default::default(),
        fleet: Fleet::observed_by(metrics.observer(births)),
        metrics,
        authority: Arc::new(authority),
        tls_status: None,
        tls_counts: None,
        state: watch::channel(WriteStatus::default()).1,
        state_file: Some(StateFile::opened(state.path()).unwrap()),
        configuration: follow,
    };
    Server {
        shared: Shared { api, started: now },
        events,
        configuration,
        state,
        _tasks: tasks,
    }
}

impl Server {
    async fn ask(&self, method: Method, path: &str, body: &str) -> (StatusCode, String) {
        exchange(for_owner(self.shared.clone()), method, path, body).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let (status, text) = self.ask(Method::GET, path, "").await;
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// Lets the registry say that it has nothing but a problem, and waits until that has gone through.
    async fn registry_answers(&self) {
        let problem = Problem {
            code: Code::InvalidField,
            severity: Severity::Error,
            object: None,
            source: Some(Source {
                place: "inventory.yaml".into(),
                line: Some(7),
            }),
            field: "ports".into(),
            message: "is wrong".into(),
            meanwhile: "is kept".into(),
            hint: "correct it".into(),
        };
        let event = RegistryEvent {
            registry: "vms".parse().unwrap(),
            change: Change::Replace(vec![]),
            problems: vec![problem],
        };
        self.events.send(event).await.unwrap();
        while !self.shared.api.pipeline.readiness().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

async fn exchange(router: Router, method: Method, path: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_server_lives_before_its_state_is_read() {
    let (opened, open) = watch::channel(None);
    let public = when_open(open);
    let get = async |path| exchange(public.clone(), Method::GET, path, "").await;
    assert_eq!(get("/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let (status, text) = get("/readyz").await;
    let told: Value = serde_json::from_str(&text).unwrap();
    let blocker = json!({"name": "saved state", "reason": "it is being read"});
    let expected = json!({"ready": false, "blockers": [blocker]});
    assert_eq!((status, told), (unavailable, expected));
    for path in ["/v1/proxies", "/metrics", "/nothing"] {
        let (status, text) = get(path).await;
        assert_eq!(status, unavailable, "{path}");
        assert!(text.contains("is starting"), "{text}");
    }
    let server = server();
    opened.send_replace(Some(for_everyone(server.shared.clone())));
    assert_eq!(get("/v1/proxies").await.0, StatusCode::OK);
    assert_eq!(get("/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let server = server();
    assert_eq!(
        server.get("/healthz").await,
        (StatusCode::OK, json!("ok\n"))
    );
    let (status, missing) = server.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(missing["ready"], false);
    assert!(
        missing["blockers"][0]["name"]
            .as_str()
            .unwrap()
            .contains("vms"),
        "{missing}"
    );
    server.registry_answers().await;
    let ready = json!({"ready": true, "blockers": []});
    assert_eq!(server.get("/readyz").await, (StatusCode::OK, ready));
}

#[tokio::test]
async fn listings_say_what_is_known() {
    let server = server();
    server.registry_answers().await;
    let (_, version) = server.get("/v1/version").await;
    assert_eq!(version["trust_domain"], "mesh.example");
    let (_, registries) = server.get("/v1/registries").await;
    assert_eq!(registries[0]["registry"], "vms");
    assert_eq!(registries[0]["state"], "live");
    assert_eq!(registries[0]["age_seconds"], 0);
    let last_event = registries[0]["last_event"].as_str().unwrap();
    time::OffsetDateTime::parse(last_event, &time::format_description::well_known::Rfc3339)
        .unwrap();
    let (_, problems) = server.get("/v1/problems").await;
    assert_eq!(problems[0]["code"], "BW0201");
    assert_eq!(
        problems[0]["source"],
        json!({"place": "inventory.yaml", "line": 7})
    );
    for empty in ["/v1/proxies", "/v1/layers"] {
        assert_eq!(
            server.get(empty).await,
            (StatusCode::OK, json!([])),
            "{empty}"
        );
    }
    let (status, text) = server.ask(Method::GET, "/metrics", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.contains("bowline_problems{code=\"BW0201\",severity=\"error\"} 1"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn what_is_wrong_with_the_server_itself_is_listed_and_counted() {
    let server = server();
    assert_eq!(server.get("/v1/problems").await.1, json!([]));
    server.configuration.send_replace(ConfigurationStatus {
        error: Some("b.yaml:1: is wrong\nb.yaml:2: as well".to_owned()),
        needs_restart: vec!["xds.tls"],
    });
    std::fs::remove_file(server.state.path()).unwrap();
    let (_, problems) = server.get("/v1/problems").await;
    let codes: Vec<_> = problems
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (&problem["code"], &problem["severity"]))
        .collect();
    assert_eq!(
        codes,
        [
            (&json!("BW0501"), &json!("error")),
            (&json!("BW0502"), &json!("warning")),
            (&json!("BW0503"), &json!("error")),
        ]
    );
    assert_eq!(
        problems[0]["message"],
        "b.yaml:1: is wrong; b.yaml:2: as well"
    );
    assert_eq!(problems[1]["field"], "xds.tls");
    let (_, text) = server.ask(Method::GET, "/metrics", "").await;
    assert!(text.contains("bowline_problems{code=\"BW0503\",severity=\"error\"} 1"));
    assert!(text.contains("bowline_configuration_valid{} 0.0"), "{text}");
    // Another file in its place is not the one that is open.
    std::fs::write(server.state.path(), "").unwrap();
    let (_, problems) = server.get("/v1/problems").await;
    assert_eq!(problems[2]["code"], "BW0503");
}

#[tokio::test]
async fn what_is_not_there_is_said_and_nothing_breaks() {
    let server = server();
    let cases = [
        (Method::GET, "/nothing", 404, "`GET /` lists"),
        (Method::POST, "/healthz", 405, "does not take POST"),
        (Method::GET, "/v1/ca/issue", 405, "does not take GET"),
        (
            Method::GET,
            "/v1/proxies/a%20b/resources",
            404,
            "the proxy 'a b' is not known here",
        ),
        (
            Method::GET,
            "/v1/proxies/a/resources?type=xds",
            400,
            "one of rtds, sds",
        ),
        (
            Method::GET,
            "/v1/proxies/a/resources?tpye=cds",
            400,
            "unknown field",
        ),
        (Method::GET, "/v1/proxies/%ff/resources", 400, ""),
        (
            Method::POST,
            "/v1/registries/none/release",
            404,
            "the registry 'none'",
        ),
        (Method::POST, "/v1/ca/issue", 400, ""),
    ];
    for (method, path, status, expected) in cases {
        let (found, text) = server.ask(method, path, "{").await;
        assert_eq!(found.as_u16(), status, "{path}: {text}");
        assert!(text.contains(expected), "{path}: {text}");
    }
    let (status, _) = server
        .ask(Method::POST, "/v1/ca/issue", &"x".repeat(1 << 20))
        .await;
    assert!(status.is_client_error());
}

#[tokio::test]
async fn a_loss_is_released_for_the_owner_only() {
    let server = server();
    let path = "/v1/registries/vms/release";
    let (status, text) = server.ask(Method::POST, path, "null").await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::OK, r#"{"released":false}"#)
    );
    for path in [path, "/v1/ca/issue"] {
        let router = for_everyone(server.shared.clone());
        let (status, _) = exchange(router, Method::POST, path, "null").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn the_owner_gets_certificates_of_the_mesh_only() {
    let server = server();
    let request = |identity: &str, seconds: u64| {
        let request_pem = SigningRequest::generate().unwrap().request_pem;
        json!({"identity": identity, "request_pem": request_pem, "validity_seconds": seconds})
            .to_string()
    };
    let body = request("spiffe://mesh.example/ns/shop/sa/cart", 3600);
    let (status, text) = server.ask(Method::POST, "/v1/ca/issue", &body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let issued: wire::IssueResponse = serde_json::from_str(&text).unwrap();
    assert_eq!(issued.not_after - issued.issued_at, 3600);
    assert_eq!(issued.bundle_pem, server.shared.api.authority.bundle_pem());
    let cases = [
        (
            request("spiffe://other.example/ns/shop/sa/cart", 3600),
            "trust domain",
        ),
        (
            request("spiffe://mesh.example/ns/shop/sa/cart", 1),
            "cannot be valid for 1 s",
        ),
        (request("cart", 3600), "identity"),
        (body.replace("BEGIN CERT", "BEGIN DESS"), "request"),
    ];
    for (body, expected) in cases {
        let (status, text) = server.ask(Method::POST, "/v1/ca/issue", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn the_socket_is_its_owners_and_takes_the_place_of_an_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let first = socket::bind(&path).unwrap();
    let second = socket::bind(&path).unwrap();
    drop(first);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (connected, accepted) =
        tokio::join!(tokio::net::UnixStream::connect(&path), second.accept());
    assert!(connected.is_ok() && accepted.is_ok());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
