//! What entries mean.

use super::*;

#[test]
fn every_field_of_a_service_arrives() {
    let event = first(
        "
services:
  - name: cart
    namespace: shop
    addresses: [10.96.0.7, 'fd00::7']
    prefer: zone
    failover: [eu, us]
    ports:
      - {number: 80, protocol: http}
      - {number: 81, protocol: http}
      - {number: 82}
      - {number: 83, name: grpc-admin}
      - {number: 5432, name: db, protocol: tcp, local_port: 15432}
    health_check: {http: {path: /healthz, host: cart.internal}, interval: 5s, timeout: 500ms, healthy_threshold: 4, unhealthy_threshold: 6}
    traffic: {connect_timeout: 2s, connections_max: 100, pending_requests_max: 10, requests_max: 20, retries_max: 3}
  - hostname: Legacy.Internal
    headless: true
    ports: [{number: 443, name: https}]
    health_check: {grpc: {}}
",
    );
    assert_eq!(problems(&event), [""; 0]);
    insta_like(
        &*service(&event, "cart.shop.svc.cluster.local"),
        "Service { hostname: Hostname(\"cart.shop.svc.cluster.local\"), addresses: [10.96.0.7, fd00::7], ports: [ServicePort { number: 80, name: \"http\", protocol: Http, local_port: None }, ServicePort { number: 81, name: \"http-81\", protocol: Http, local_port: None }, ServicePort { number: 82, name: \"port-82\", protocol: Auto, local_port: None }, ServicePort { number: 83, name: \"grpc-admin\", protocol: Grpc, local_port: None }, ServicePort { number: 5432, name: \"db\", protocol: Tcp, local_port: Some(15432) }], balancing: PreferZone(RegionOrder([\"eu\", \"us\"])), health_check: Some(HealthCheck { probe: Http { path: \"/healthz\", host: Some(Hostname(\"cart.internal\")) }, interval: 5s, timeout: 500ms, unhealthy_threshold: 6, healthy_threshold: 4 }) }",
    );
    insta_like(
        &*service(&event, "legacy.internal"),
        "Service { hostname: Hostname(\"legacy.internal\"), addresses: [], ports: [ServicePort { number: 443, name: \"https\", protocol: Tls, local_port: None }], balancing: ByAddress, health_check: Some(HealthCheck { probe: Grpc { service: \"\" }, interval: 5s, timeout: 1s, unhealthy_threshold: 3, healthy_threshold: 2 }) }",
    );
    let policy = objects(&event)
        .iter()
        .find_map(|object| match object.spec() {
            Spec::Policy(policy) => Some(policy.clone()),
            _ => None,
        });
    insta_like(
        &*policy.unwrap(),
        "Policy { service: Hostname(\"cart.shop.svc.cluster.local\"), settings: TrafficSettings { connect_timeout: Some(2s), connections_max: Some(100), pending_requests_max: Some(10), requests_max: Some(20), retries_max: Some(3) } }",
    );
}

fn insta_like(value: &impl std::fmt::Debug, expected: &str) {
    assert_eq!(format!("{value:?}"), expected);
}

#[test]
fn every_field_of_a_workload_arrives() {
    let event = first(
        "
namespace: shop
workloads:
  - name: vm-1
    addresses: [10.1.2.3, 'fd00::3']
    services: [cart, other/stock, db.internal]
    ports: [{name: http, number: 8080, app_port: 9080}, {name: db, number: 5432, protocol: tcp}]
    locality: eu/eu-1/rack-7
    network: vpc-1
    weight: 0
    health: draining
    labels: {version: v1}
    service_account: cart
",
    );
    assert_eq!(problems(&event), [""; 0]);
    let endpoint = "ports: {\"db\": 5432, \"http\": 8080}, locality: Locality { region: \"eu\", zone: \"eu-1\", subzone: \"rack-7\", node: \"\" }, network: Network(Some(\"vpc-1\")), labels: {\"version\": \"v1\"}, weight: 0, health: Draining, identity: Some(SpiffeId { trust_domain: TrustDomain(\"mesh.example\"), path: \"/ns/shop/sa/cart\" }) }";
    for hostname in [
        "cart.shop.svc.cluster.local",
        "stock.other.svc.cluster.local",
        "db.internal",
    ] {
        insta_like(
            &endpoints(&event, hostname),
            &format!(
                "[Endpoint {{ address: Ip(10.1.2.3), {endpoint}, Endpoint {{ address: Ip(fd00::3), {endpoint}]"
            ),
        );
    }
    insta_like(
        &*workload(&event, "vm-1"),
        "Workload { addresses: [10.1.2.3, fd00::3], locality: Locality { region: \"eu\", zone: \"eu-1\", subzone: \"rack-7\", node: \"\" }, network: Network(Some(\"vpc-1\")), labels: {\"version\": \"v1\"}, identity: Some(SpiffeId { trust_domain: TrustDomain(\"mesh.example\"), path: \"/ns/shop/sa/cart\" }), ports: [WorkloadPort { number: 8080, name: \"http\", protocol: Http, app_port: Some(9080) }, WorkloadPort { number: 5432, name: \"db\", protocol: Tcp, app_port: None }] }",
    );
}

#[test]
fn addresses_can_be_names_and_sockets_and_loopback() {
    let event = first(
        "
workloads:
  - {name: a, address: vm.example.com, services: [s], ports: {http: 80}}
  - {name: b, address: 'unix:/run/app.sock', services: [s], ports: {http: 1}}
  - {name: c, address: 127.0.0.1, services: [s], ports: {http: 80, web: 80}, identity: 'spiffe://other/c'}
",
    );
    assert_eq!(problems(&event), [""; 0]);
    let addresses: Vec<_> = endpoints(&event, "s.default.svc.cluster.local")
        .iter()
        .map(|endpoint| endpoint.address.to_string())
        .collect();
    assert_eq!(
        addresses,
        ["vm.example.com", "unix:/run/app.sock", "127.0.0.1"]
    );
    assert_eq!(workload(&event, "a").addresses, [] as [std::net::IpAddr; 0]);
    let workload = workload(&event, "c");
    assert_eq!(workload.ports.len(), 1, "one port with two names");
    assert_eq!(
        workload.identity.as_ref().map(ToString::to_string),
        Some("spiffe://other/c".to_owned())
    );
}

#[test]
fn an_empty_value_counts_as_not_given() {
    let event = first(
        "
namespace:
services:
  - {name: cart, hostname: , namespace: , addresses: , ports: [{number: 80, name: , protocol: }], health_check: }
workloads:
  - {name: a, namespace: , address: 10.0.0.1, addresses: , services: , locality: , weight: , labels: }
",
    );
    assert_eq!(problems(&event), [""; 0]);
    service(&event, "cart.default.svc.cluster.local");
    workload(&event, "a");
}

#[test]
fn a_network_is_entered_where_its_entry_says() {
    let event = first(
        "
networks:
  - name: vpc-2
    gateways: [203.0.113.7, '203.0.113.8:8443', '2001:db8::7', '[2001:db8::8]:8443']
",
    );
    assert_eq!(problems(&event), [""; 0]);
    let [object] = objects(&event) else {
        panic!("{event:?}")
    };
    let Spec::NetworkGateway(gateway) = object.spec() else {
        panic!("{object:?}")
    };
    assert_eq!(gateway.network.as_str(), "vpc-2");
    let places: Vec<String> = gateway.places.iter().map(ToString::to_string).collect();
    let expected = [
        "203.0.113.7:15443",
        "203.0.113.8:8443",
        "[2001:db8::7]:15443",
        "[2001:db8::8]:8443",
    ];
    assert_eq!(places, expected);
}

#[test]
fn the_examples_in_the_readme_are_right() {
    let readme = include_str!("../../../README.md");
    let example = |language: &str, begin: &str| {
        let blocks = readme.split("```").skip(1).step_by(2);
        let block = blocks
            .filter_map(|block| block.strip_prefix(language))
            .find(|block| block.trim_start().starts_with(begin));
        block.unwrap_or_else(|| panic!("no {language} block"))
    };
    let event = first(example("yaml", "# inventory.yaml"));
    assert_eq!(problems(&event), [""; 0]);
    assert_eq!(endpoints(&event, "cart.shop.svc.cluster.local").len(), 1);
    let event = first_csv(example("csv", "name,").trim_start());
    assert_eq!(problems(&event), [""; 0]);
    assert_eq!(endpoints(&event, "cart.default.svc.cluster.local").len(), 2);
}

#[test]
fn what_the_registry_sets_is_used_where_nothing_is_written() {
    let mut settings = settings();
    settings.namespace = "vms".parse().unwrap();
    settings.hostname_template = "{name}.{namespace}.internal".parse().unwrap();
    settings.network = "dc1".parse().unwrap();
    settings.locality = bowline_mesh::Locality::new("eu", "eu-2", "");
    let text = "workloads: [{name: a, address: 10.0.0.1, services: [cart], ports: {http: 80}}]";
    let reading = reading(&[("i.json", text.as_bytes())]);
    let (_, event) = read(&reading, &State::default(), &settings);
    let endpoints = endpoints(event.as_ref().unwrap(), "cart.vms.internal");
    assert_eq!(endpoints[0].network.as_str(), "dc1");
    assert_eq!(endpoints[0].locality.to_string(), "eu/eu-2");
}
