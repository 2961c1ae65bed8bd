use std::sync::atomic::{AtomicBool, Ordering};

use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::*;

/// Health of one service, of which it is said whether it is ready.
fn health(is_ready: &Arc<AtomicBool>) -> HealthClient<HealthServer<Health>> {
    let is_ready = is_ready.clone();
    let readiness = Readiness::new(move || is_ready.load(Ordering::Relaxed));
    HealthClient::new(HealthServer::new(Health::new(readiness, &["a.Service"])))
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn every_service_serves_as_soon_as_the_server_is_ready() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let mut health = health(&is_ready);
    for (now, expected) in [
        (false, ServingStatus::NotServing),
        (true, ServingStatus::Serving),
    ] {
        is_ready.store(now, Ordering::Relaxed);
        for name in ["", "a.Service"] {
            let answer = health.check(of(name)).await.unwrap().into_inner();
            assert_eq!(answer.status(), expected, "{name}");
        }
    }
    let refused = health.check(of("b.Service")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn who_watches_is_told_of_every_change() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let mut health = health(&is_ready);
    let mut watched = health.watch(of("")).await.unwrap().into_inner();
    let mut next = async || watched.message().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::NotServing);
    is_ready.store(true, Ordering::Relaxed);
    assert_eq!(next().await, ServingStatus::Serving);
    is_ready.store(false, Ordering::Relaxed);
    assert_eq!(next().await, ServingStatus::NotServing);
    let mut unknown = health.watch(of("b.Service")).await.unwrap().into_inner();
    let said = unknown.message().await.unwrap().unwrap().status();
    assert_eq!(said, ServingStatus::ServiceUnknown);
}

const SERVED: [&str; 2] = [
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
    "grpc.health.v1.Health",
];

/// A client of nothing but reflection.
fn reflection() -> impl Service<
    Request<Body>,
    Response = Response<Body>,
    Error = Infallible,
    Future = BoxFuture<'static, Result<Response<Body>, Infallible>>,
> + Clone {
    let reflection = Arc::new(Reflection::of(&SERVED));
    tower::service_fn(move |request| reflection.call(request))
}

#[tokio::test]
async fn reflection_names_what_is_served_and_describes_every_message() {
    use v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let mut client = ServerReflectionClient::new(reflection());
    let questions = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol(SERVED[0].to_owned()),
        MessageRequest::FileContainingSymbol("envoy.config.cluster.v3.Cluster".to_owned()),
        MessageRequest::FileContainingSymbol("no.such.Message".to_owned()),
    ];
    let requests = questions.map(|question| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    });
    let mut answers = client
        .server_reflection_info(futures_util::stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let mut next = async || answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = next().await else {
        panic!("no list");
    };
    let names: Vec<_> = listed
        .service
        .iter()
        .map(|service| &*service.name)
        .collect();
    assert_eq!(names, SERVED);
    for _ in 0..2 {
        let said = next().await;
        assert!(
            matches!(said, Some(MessageResponse::FileDescriptorResponse(_))),
            "{said:?}"
        );
    }
    let unknown = answers.message().await;
    assert!(
        unknown.is_err()
            || matches!(
                unknown.unwrap().and_then(|answer| answer.message_response),
                Some(MessageResponse::ErrorResponse(_))
            )
    );
}

#[tokio::test]
async fn older_clients_have_reflection_too() {
    use v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let mut client = ServerReflectionClient::new(reflection());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(SERVED[1].to_owned())),
    };
    let mut answers = client
        .server_reflection_info(futures_util::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let said = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(
        said,
        Some(MessageResponse::FileDescriptorResponse(_))
    ));
}
