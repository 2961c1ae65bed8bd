//! A route, its service and its machines are exchanged for others, or come together, at once.

use std::time::{Duration, Instant};

use bowline_harness::{Connections, Envoy, HttpBackend, PATIENCE, Request, eventually, free_port};

use crate::world::{NAMESPACE, Protocol, World, answered, gateway_with_rules, load, loopback};

/// The header of answers that says how many exchanges the route had seen.
const EXCHANGE: &str = "x-exchange";

/// A gateway whose route leads to a service with one machine: all that a blue-green switch exchanges.
pub(crate) fn colour(name: &str, backend: u16, port: u16) -> String {
    exchange(0, name, backend, port)
}

/// The same after so many exchanges.
fn exchange(number: u32, name: &str, backend: u16, port: u16) -> String {
    let rules = format!(
        "[{{filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: {EXCHANGE}, value: \"{number}\"}}]}}}}], \
          backendRefs: [{{name: {name}, port: 80}}]}}]"
    );
    let gateway = gateway_with_rules(port, &rules);
    format!("{gateway}---{}", service(name, backend))
}

/// A Service and its slice.
fn service(name: &str, backend: u16) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: {NAMESPACE}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {backend}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
"
    )
}

/// A gateway between two colours.
struct Exchange {
    gateway: Envoy,
    world: World,
    backends: [HttpBackend; 2],
    port: u16,
    request: Request,
}

impl Exchange {
    async fn start(protocol: Protocol) -> Self {
        let backends = [
            HttpBackend::start("blue").await.unwrap(),
            HttpBackend::start("green").await.unwrap(),
        ];
        let port = free_port().unwrap();
        let manifests = colour("blue", backends[0].port(), port);
        let world = World::start("services: []", &manifests).await;
        let gateway = world.gateway(protocol).await;
        let request = Request::get(loopback(port), "shop.example", "/");
        answered(&request).await;
        Self {
            gateway,
            world,
            backends,
            port,
            request,
        }
    }

    /// Exchanges for the so-manyth time.
    fn exchange(&self, number: u32) {
        let (name, backend) = match number % 2 {
            0 => ("blue", &self.backends[0]),
            _ => ("green", &self.backends[1]),
        };
        let manifests = exchange(number, name, backend.port(), self.port);
        self.world.write_manifests(&manifests);
    }

    /// How many exchanges an answer has seen.
    async fn seen(&self) -> u32 {
        let answer = self.request.send().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let number: u32 = answer.header(EXCHANGE).unwrap().parse().unwrap();
        let colour = ["blue", "green"][number as usize % 2];
        assert_eq!(answer.backend(), Some(colour), "exchange {number}");
        number
    }

    /// The last colour is left alone.
    async fn is_over(&self, gone: &str) {
        eventually("the other colour's cluster is gone", async || {
            let clusters = self.gateway.clusters().await?;
            let is_there = clusters.iter().any(|name| name.contains(gone));
            anyhow::ensure!(!is_there, "{clusters:?}");
            Ok(())
        })
        .await
        .unwrap();
        self.gateway.rejected_nothing().await.unwrap();
    }
}

async fn one_after_the_other(protocol: Protocol) {
    const EXCHANGES: u32 = 200;
    let world = Exchange::start(protocol).await;
    let load = load(&world.request, Connections::Kept);
    let started = Instant::now();
    let mut asked = 0;
    for number in 1..=EXCHANGES {
        world.exchange(number);
        let arrived = async {
            asked += 1;
            while world.seen().await < number {
                asked += 1;
            }
        };
        tokio::time::timeout(PATIENCE, arrived).await.unwrap();
        let report = load.report();
        assert_eq!(report.failed, 0, "exchange {number}: {report}");
    }
    let took = started.elapsed();
    world.is_over("green").await;
    let report = load.stop().await;
    report.none_failed().unwrap();
    let requests = asked + report.succeeded;
    println!("{protocol:?}: {EXCHANGES} exchanges in {took:?}, {requests} requests");
}

#[tokio::test]
async fn two_hundred_exchanges_one_after_the_other_cost_no_request_by_delta() {
    one_after_the_other(Protocol::Delta).await;
}

#[tokio::test]
async fn two_hundred_exchanges_one_after_the_other_cost_no_request_by_state_of_the_world() {
    one_after_the_other(Protocol::StateOfTheWorld).await;
}

/// Exchanges between any two requests. Requests see ever newer ones all the while.
async fn without_a_pause(protocol: Protocol) {
    const EXCHANGES: u32 = 1000;
    // A stall would be as long as Envoy waits for a first answer, which is 15 s.
    const STANDSTILL_MAX: Duration = Duration::from_secs(5);
    let world = Exchange::start(protocol).await;
    let load = load(&world.request, Connections::Kept);
    let (mut newest, mut seen) = (0, 0);
    let mut last = Instant::now();
    let mut standstill = Duration::ZERO;
    let mut asked = 0;
    for number in 1.. {
        if number <= EXCHANGES {
            world.exchange(number);
        }
        asked += 1;
        let now = world.seen().await;
        assert!(now >= newest, "{now} after {newest}");
        standstill = standstill.max(last.elapsed());
        assert!(
            standstill < STANDSTILL_MAX,
            "since exchange {newest} nothing newer, at {number}"
        );
        if now > newest {
            (newest, seen, last) = (now, seen + 1, Instant::now());
        }
        if newest == EXCHANGES {
            break;
        }
    }
    world.is_over("green").await;
    let report = load.stop().await;
    report.none_failed().unwrap();
    let requests = asked + report.succeeded;
    println!(
        "{protocol:?}: {seen} of {EXCHANGES} exchanges seen, the longest time without a newer one is {standstill:?}, {requests} requests"
    );
}

#[tokio::test]
async fn exchanges_without_a_pause_cost_no_request_and_go_on_arriving_by_delta() {
    without_a_pause(Protocol::Delta).await;
}

#[tokio::test]
async fn exchanges_without_a_pause_cost_no_request_and_go_on_arriving_by_state_of_the_world() {
    without_a_pause(Protocol::StateOfTheWorld).await;
}

/// A service and its route come together, a hundred times; whoever asks all the while is not found, and then is served.
async fn additions(protocol: Protocol) {
    const ADDITIONS: u32 = 100;
    let backend = HttpBackend::start("backend").await.unwrap();
    let port = free_port().unwrap();
    let manifests =
        gateway_with_rules(port, "[]").replace("rules: []", "hostnames: [none.example]");
    let world = World::start("services: []", &manifests).await;
    let gateway = world.gateway(protocol).await;
    let started = Instant::now();
    let mut not_found = 0;
    for number in 0..ADDITIONS {
        let addition = format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route-{number}, namespace: {NAMESPACE}}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [host-{number}.example]
  rules: [{{backendRefs: [{{name: service-{number}, port: 80}}]}}]
---{}",
            service(&format!("service-{number}"), backend.port())
        );
        let file = world.folder().join(format!("manifests/{number}.yaml"));
        world.replace(&file, &addition);
        let host = format!("host-{number}.example");
        let request = Request::get(loopback(port), &host, "/");
        let served = async {
            loop {
                // Before the first addition there may be no listener.
                let Ok(answer) = request.send().await else {
                    assert_eq!(number, 0);
                    continue;
                };
                match answer.status.as_u16() {
                    200 => break,
                    404 => not_found += 1,
                    status => panic!("{host}: {status} {}", answer.text()),
                }
            }
        };
        tokio::time::timeout(PATIENCE, served).await.unwrap();
    }
    println!(
        "{protocol:?}: {ADDITIONS} additions in {:?}, {not_found} times not found before",
        started.elapsed()
    );
    assert!(not_found > 0);
    gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_service_and_its_route_that_come_together_are_not_found_and_then_served_by_delta() {
    additions(Protocol::Delta).await;
}

#[tokio::test]
async fn a_service_and_its_route_that_come_together_are_not_found_and_then_served_by_state_of_the_world()
 {
    additions(Protocol::StateOfTheWorld).await;
}
