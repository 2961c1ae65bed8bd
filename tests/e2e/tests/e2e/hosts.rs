//! Routes come host by host: what happens to one service says nothing of the others.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bowline_harness::{Connections, Envoy, HttpBackend, Request, eventually, free_port};
use serde_json::Value;

use crate::world::{
    NAMESPACE, Protocol, World, answered, gateway_with_rules, http_services, load, loopback, until,
};

/// What the only proxy was sent of a type, on its stream.
async fn status(world: &World, of: &str) -> Value {
    let proxies = world.bowline.admin_json("/v1/proxies").await.unwrap();
    assert_eq!(proxies.as_array().unwrap().len(), 1, "{proxies}");
    proxies[0]["types"][of].clone()
}

/// How many messages of virtual hosts and of route configurations.
async fn messages(world: &World) -> [u64; 2] {
    let mut counts = [0; 2];
    for (count, of) in counts.iter_mut().zip(["VHDS", "RDS"]) {
        *count = status(world, of).await["counters"]["messages"]
            .as_u64()
            .unwrap();
    }
    counts
}

/// A route of callers of a service, which says its own name in a header of answers.
fn route_of(service: &str) -> String {
    let rule = "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: \"yes\"}]}}], ";
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {service}, namespace: {NAMESPACE}}}
spec:
  parentRefs: [{{group: '', kind: Service, name: {service}}}]
  rules: [{rule}backendRefs: [{{name: {service}, port: 80}}]}}]
"
    )
}

#[tokio::test]
async fn what_changes_for_one_service_is_one_virtual_host_on_the_wire() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let other = HttpBackend::start("other").await.unwrap();
    let one = http_services(&[("cart", &[cart.port()])]);
    let both = http_services(&[("cart", &[cart.port()]), ("other", &[other.port()])]);
    let world = World::start(&one, "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    let [hosts, tables] = messages(&world).await;

    world.write_inventory(&both);
    answered(&world.request_to("other")).await;
    assert_eq!(messages(&world).await, [hosts + 1, tables]);
    assert_eq!(status(&world, "VHDS").await["sent"]["resources"], 1);

    world.write_manifests(&route_of("cart"));
    eventually("the route is there", async || {
        let answer = answered(&world.request_to("cart")).await;
        answer.header("x-route").map(drop).ok_or("no header")
    })
    .await
    .unwrap();
    assert_eq!(messages(&world).await, [hosts + 2, tables]);
    assert_eq!(status(&world, "VHDS").await["sent"]["resources"], 1);

    world.write_inventory(&one);
    eventually("the virtual host is gone", async || {
        match messages(&world).await {
            now if now == [hosts + 3, tables] => Ok(()),
            now => Err(format!("{now:?}")),
        }
    })
    .await
    .unwrap();
    let sent = status(&world, "VHDS").await["sent"].clone();
    assert_eq!(
        (&sent["resources"], &sent["removed"]),
        (&0.into(), &1.into())
    );
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_host_more_at_a_gateway_is_one_virtual_host_on_the_wire() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let port = free_port().unwrap();
    let rules = "[{backendRefs: [{name: cart, port: 80}]}]";
    let one =
        gateway_with_rules(port, rules).replace("  rules:", "  hostnames: [one.example]\n  rules:");
    let route = one.split("---").nth(1).unwrap();
    let two = format!(
        "{one}---{}",
        route
            .replace("name: routes", "name: two")
            .replace("one.example", "two.example")
    );
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), &one).await;
    let gateway = world.gateway(Protocol::Delta).await;
    answered(&Request::get(loopback(port), "one.example", "/")).await;
    let [hosts, tables] = messages(&world).await;
    let request = Request::get(loopback(port), "two.example", "/");
    assert_eq!(request.send().await.unwrap().status, 404);

    world.write_manifests(&two);
    answered(&request).await;
    assert_eq!(messages(&world).await, [hosts + 1, tables]);
    assert_eq!(status(&world, "VHDS").await["sent"]["resources"], 1);
    gateway.rejected_nothing().await.unwrap();
}

/// Sends a request again and again until it is answered with a status, and says which others there were.
async fn statuses_until(request: &Request, status: u16) -> BTreeSet<u16> {
    let begin = Instant::now();
    let mut others = BTreeSet::new();
    loop {
        let answer = request.send().await.unwrap();
        if answer.status == status {
            return others;
        }
        others.insert(answer.status.as_u16());
        assert!(begin.elapsed() < Duration::from_secs(30), "{others:?}");
    }
}

#[tokio::test]
async fn a_service_that_comes_and_goes_is_unknown_or_answers_and_nothing_else() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let other = HttpBackend::start("other").await.unwrap();
    let one = http_services(&[("cart", &[cart.port()])]);
    let both = http_services(&[("cart", &[cart.port()]), ("other", &[other.port()])]);
    let mut world = World::prepare(&one, "").await;
    let configuration = world.bowline.configuration();
    let passing = std::fs::read_to_string(&configuration).unwrap();
    world.replace(
        &configuration,
        &passing.replace("mesh: {", "mesh: {outbound: refuse, "),
    );
    world.bowline.launch().await.unwrap();
    world.bowline.ready().await.unwrap();
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;

    let load = load(&world.request_to("cart"), Connections::Kept);
    let request = world.request_to("other.shop");
    // An unknown host is answered with 502, nothing else is.
    for _ in 0..20 {
        world.write_inventory(&both);
        let before = statuses_until(&request, 200).await;
        assert!(before.is_subset(&[502].into()), "{before:?}");
        for _ in 0..5 {
            assert_eq!(request.send().await.unwrap().status, 200);
        }
        world.write_inventory(&one);
        let before = statuses_until(&request, 502).await;
        assert!(before.is_subset(&[200].into()), "{before:?}");
    }
    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn another_answer_to_unknown_hosts_costs_services_no_request() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    let load = load(&world.request_to("cart"), Connections::New);
    let configuration = world.bowline.configuration();
    let passing = std::fs::read_to_string(&configuration).unwrap();
    let refusing = passing.replace("mesh: {", "mesh: {outbound: refuse, ");
    let nobody = world.request_to("nobody.invalid");
    for (text, status) in [(&refusing, 502), (&passing, 503), (&refusing, 502)] {
        world.replace(&configuration, text);
        statuses_until(&nobody, status).await;
    }
    until(&load, "requests run", |report| report.succeeded >= 50).await;
    load.stop().await.none_failed().unwrap();
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_control_plane_that_comes_back_sends_no_virtual_host_again() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let other = HttpBackend::start("other").await.unwrap();
    let mut world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    world.bowline.kill().await.unwrap();
    world.bowline.launch().await.unwrap();
    world.bowline.ready().await.unwrap();

    let answered_again = eventually("it is answered again", async || {
        let proxies = world.bowline.admin_json("/v1/proxies").await;
        let proxies = proxies.map_err(|error| error.to_string())?;
        match &proxies[0]["types"]["VHDS"] {
            status if status["sent"].is_object() => Ok(status.clone()),
            _ => Err(proxies.to_string()),
        }
    })
    .await
    .unwrap();
    assert_eq!(answered_again["sent"]["resources"], 0, "{answered_again}");
    let both = http_services(&[("cart", &[cart.port()]), ("other", &[other.port()])]);
    world.write_inventory(&both);
    answered(&world.request_to("other")).await;
    answered(&world.request_to("cart")).await;
    // The new one, and nothing before it.
    let status = status(&world, "VHDS").await;
    assert_eq!(status["counters"]["messages"], 2, "{status}");
    assert_eq!(status["sent"]["resources"], 1, "{status}");
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_rejected_virtual_host_keeps_no_other_away() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let other = HttpBackend::start("other").await.unwrap();
    let bad = HttpBackend::start("bad").await.unwrap();
    let services: [(&str, &[u16]); 3] = [
        ("cart", &[cart.port()]),
        ("bad", &[bad.port()]),
        ("other", &[other.port()]),
    ];
    let expression = "matches: [{path: {type: RegularExpression, value: '/(a{100}b{100}){8}'}}]";
    let manifests = route_of("bad").replace("{filters:", &format!("{{{expression}, filters:"));
    let world = World::start(&http_services(&services[..2]), &manifests).await;

    // It takes smaller expressions than its control plane expects.
    let node = ["--role", "sidecar", "--name", "caller"];
    let common = ["bootstrap", "--admin-port", "0", "--namespace", NAMESPACE];
    let bootstrap = world.bowline.output(&[&common[..], &node].concat()).await;
    let bootstrap = bootstrap.unwrap();
    let strict = bootstrap.replace("32768", "500");
    assert_ne!(strict, bootstrap);
    let mut sidecar = Envoy::start("caller", &strict, world.folder())
        .await
        .unwrap();
    sidecar.ready().await.unwrap();

    answered(&world.request_to("cart")).await;
    let quarantined = eventually("what it rejected is told", async || {
        let status = status(&world, "VHDS").await;
        match status["quarantined"].as_array().map(Vec::len) {
            Some(1..) => Ok(status["quarantined"].clone()),
            _ => Err(status.to_string()),
        }
    })
    .await
    .unwrap();
    assert_eq!(quarantined.as_array().unwrap().len(), 1, "{quarantined}");
    // With the route that made it so.
    let told = quarantined.to_string();
    assert!(
        told.contains("http/bad.shop.svc.cluster.local:80"),
        "{told}"
    );
    assert!(told.contains("HTTP route shop/bad"), "{told}");

    world.write_inventory(&http_services(&services));
    answered(&world.request_to("other")).await;
    world.write_manifests(&route_of("bad"));
    answered(&world.request_to("bad")).await;
}

#[tokio::test]
async fn thousands_of_virtual_hosts_reach_a_sidecar() {
    let backend = HttpBackend::start("backend").await.unwrap();
    let names: Vec<String> = (0..3000)
        .map(|number| format!("service-{number}"))
        .collect();
    let port = [backend.port()];
    let services: Vec<(&str, &[u16])> = names
        .iter()
        .map(|name| (name.as_str(), port.as_slice()))
        .collect();
    let world = World::start(&http_services(&services), "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    for name in [&names[0], &names[1500], &names[2999]] {
        answered(&world.request_to(name)).await;
    }
    // More than fits into one message.
    assert!(messages(&world).await[0] > 1);
    let dump = sidecar.admin_text("/config_dump?resource=dynamic_route_configs");
    let dump = dump.await.unwrap();
    // Each and the one for unknown hosts.
    assert_eq!(dump.matches("\"name\": \"http/").count(), 3001);
    sidecar.rejected_nothing().await.unwrap();
}
