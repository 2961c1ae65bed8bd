//! What is written, and what it becomes.

use bowline_document::files::FileErrorKind;
use bowline_mesh::{Endpoint, Hostname, Service, Spec, Workload};
use proptest::prelude::*;

use super::*;

fn settings() -> RegistrySettings {
    RegistrySettings::new(
        "vms".parse().unwrap(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "default".parse().unwrap(),
    )
}

fn reading(files: &[(&str, &[u8])]) -> Reading {
    let file = |(path, content): &(&str, &[u8])| File {
        path: (*path).into(),
        content: Ok((*content).into()),
    };
    Reading {
        files: files.iter().map(file).collect(),
        errors: Vec::new(),
        empty: Vec::new(),
    }
}

/// An inventory that is changed step by step.
#[derive(Default)]
struct Steps {
    state: State,
}

impl Steps {
    fn read(&mut self, text: &str) -> Option<RegistryEvent> {
        self.read_files(&[("i.yaml", text.as_bytes())])
    }

    fn read_files(&mut self, files: &[(&str, &[u8])]) -> Option<RegistryEvent> {
        self.take(&reading(files))
    }

    fn take(&mut self, reading: &Reading) -> Option<RegistryEvent> {
        let (state, event) = read(reading, &self.state, &settings());
        self.state = state;
        event
    }
}

fn first(text: &str) -> RegistryEvent {
    Steps::default().read(text).unwrap()
}

fn first_csv(text: &str) -> RegistryEvent {
    let files: [(&str, &[u8]); 1] = [("i.csv", text.as_bytes())];
    Steps::default().read_files(&files).unwrap()
}

fn objects(event: &RegistryEvent) -> &[Object] {
    match &event.change {
        Change::Replace(objects) => objects,
        other => panic!("not a Replace: {other:?}"),
    }
}

fn service(event: &RegistryEvent, hostname: &str) -> Arc<Service> {
    let found = objects(event)
        .iter()
        .find_map(|object| match object.spec() {
            Spec::Service(service) if service.hostname.as_str() == hostname => {
                Some(service.clone())
            }
            _ => None,
        });
    found.unwrap_or_else(|| panic!("no service {hostname}: {event:?}"))
}

fn workload(event: &RegistryEvent, name: &str) -> Arc<Workload> {
    let found = objects(event)
        .iter()
        .find_map(|object| match object.spec() {
            Spec::Workload(workload) if &*object.key().name == name => Some(workload.clone()),
            _ => None,
        });
    found.unwrap_or_else(|| panic!("no workload {name}: {event:?}"))
}

fn endpoints(event: &RegistryEvent, hostname: &str) -> Vec<Endpoint> {
    let hostname: Hostname = hostname.parse().unwrap();
    let groups = objects(event)
        .iter()
        .filter_map(|object| match object.spec() {
            Spec::Endpoints(group) if group.service == hostname => Some(&group.endpoints),
            _ => None,
        });
    groups.flatten().cloned().collect()
}

/// Code, line, field and message of each problem.
fn problems(event: &RegistryEvent) -> Vec<String> {
    let shown = |problem: &Problem| {
        let line = problem.source.as_ref().and_then(|source| source.line);
        let (code, field, message) = (problem.code, &problem.field, &problem.message);
        format!("{code} {} {field}: {message}", line.unwrap_or_default())
    };
    event.problems.iter().map(shown).collect()
}

/// Keys that an event upserts and removes.
fn update(event: &Option<RegistryEvent>) -> (Vec<String>, Vec<String>) {
    let key = |key: &ObjectKey| format!("{} {}", key.kind, key.name);
    match event.as_ref().map(|event| &event.change) {
        Some(Change::Update { upserts, removes }) => (
            upserts.iter().map(|object| key(object.key())).collect(),
            removes.iter().map(key).collect(),
        ),
        other => panic!("not an Update: {other:?}"),
    }
}

const SHOP: &str = "
namespace: shop
services:
  - name: cart
    ports: [{number: 80, protocol: http}]
workloads:
  - {name: vm-1, address: 10.0.0.1, services: [cart], ports: {http: 8080}}
  - {name: vm-2, address: 10.0.0.2, services: [cart], ports: {http: 8080}}
";

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
    let readme = include_str!("../../README.md");
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

#[test]
fn a_wrong_entry_is_said_and_left_out_and_the_rest_goes_on() {
    let cases = [
        (
            "services",
            "{ports: [{number: 80}]}",
            "BW0201 3 name: a service needs a name or a hostname",
        ),
        (
            "services",
            "{name: x}",
            "BW0201 3 ports: this field is required",
        ),
        (
            "services",
            "{name: x, ports: []}",
            "BW0201 3 ports: a service needs at least one port",
        ),
        (
            "services",
            "{name: x, ports: [{number: 0}]}",
            "BW0201 3 ports[0].number: expected a whole number from 1 to 65535, found the number 0",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80}, {number: 80}]}",
            "BW0201 3 ports[1].number: port 80 is given twice, first in ports[0]",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80, name: a}, {number: 81, name: a}]}",
            "BW0201 3 ports[1].name: the name `a` is given twice, first in ports[0]",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80, protocol: htpp}]}",
            "BW0201 3 ports[0].protocol: unknown value `htpp`",
        ),
        (
            "services",
            "{name: x, prots: []}",
            "BW0202 3 prots: unknown field `prots`",
        ),
        (
            "services",
            "{name: x.y, ports: [{number: 80}]}",
            "BW0201 3 name: 'x.y' is not a service's name: it has a '.' or '/'",
        ),
        (
            "services",
            "{name: -x, ports: [{number: 80}]}",
            "BW0201 3 name: '-x.default.svc.cluster.local' is not a hostname: a label begins or ends with '-'",
        ),
        (
            "services",
            "{hostname: 10.0.0.1, ports: [{number: 80}]}",
            "BW0201 3 hostname: '10.0.0.1' is not a hostname: it is an IP address",
        ),
        (
            "services",
            "{name: x, addresses: [cart], ports: [{number: 80}]}",
            "BW0201 3 addresses[0]: 'cart' is not an IP address",
        ),
        (
            "services",
            "{name: x, addresses: [0.0.0.0], ports: [{number: 80}]}",
            "BW0201 3 addresses[0]: '0.0.0.0' is not the address of one machine: nothing can connect to it",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80}], health_check: {}}",
            "BW0201 3 health_check: exactly one of `tcp`, `http` and `grpc` says what is asked",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80}], health_check: {http: {path: healthz}}}",
            "BW0201 3 health_check.http.path: a path begins with '/' and has no spaces",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80}], health_check: {tcp: {}, interval: 0s}}",
            "BW0201 3 health_check.interval: it must be longer than 0",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80}], health_check: {tcp: {}, healthy_threshold: 0}}",
            "BW0201 3 health_check.healthy_threshold: expected a whole number of 1 or more, found the number 0",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80}], traffic: {connections_max: -1}}",
            "BW0201 3 traffic.connections_max: expected a whole number of 1 or more, found the number -1",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80}], headless: true, prefer: zone}",
            "BW0201 3 prefer: a headless service is called by the address that the caller has looked up, so there is nothing to prefer",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80}], failover: [eu]}",
            "BW0201 3 failover: it says where callers go that have nothing near them, but they do not look for what is near",
        ),
        (
            "services",
            "{name: x, ports: [{number: 80}], prefer: region, failover: [eu, us/us-1]}",
            "BW0201 3 failover[1]: it is no region",
        ),
        (
            "services",
            "nothing",
            "BW0201 3 : expected a map of fields, found the text \"nothing\"",
        ),
        (
            "networks",
            "{gateways: [203.0.113.7]}",
            "BW0201 3 name: this field is required",
        ),
        (
            "networks",
            "{name: '', gateways: [203.0.113.7]}",
            "BW0201 3 name: a network that is entered from others needs a name",
        ),
        (
            "networks",
            "{name: VPC, gateways: [203.0.113.7]}",
            "BW0201 3 name: 'VPC' is not a network name: only lower-case letters, digits and '-' are allowed",
        ),
        (
            "networks",
            "{name: x}",
            "BW0201 3 gateways: this field is required",
        ),
        (
            "networks",
            "{name: x, gateways: []}",
            "BW0201 3 gateways: a network's entry names at least one gateway",
        ),
        (
            "networks",
            "{name: x, gateways: [gw.example]}",
            "BW0201 3 gateways[0]: 'gw.example' is not an IP address",
        ),
        (
            "networks",
            "{name: x, gateways: ['203.0.113.7:0']}",
            "BW0201 3 gateways[0]: '203.0.113.7:0' has no port",
        ),
        (
            "networks",
            "{name: x, gateways: ['0.0.0.0:15443']}",
            "BW0201 3 gateways[0]: '0.0.0.0' is not the address of one machine: nothing can connect to it",
        ),
        (
            "networks",
            "{name: x, gateways: [203.0.113.7, '203.0.113.7:15443']}",
            "BW0201 3 gateways[1]: 203.0.113.7:15443 is given twice",
        ),
        (
            "workloads",
            "{address: 10.0.0.1}",
            "BW0201 3 name: this field is required",
        ),
        (
            "workloads",
            "{name: a/b, address: 10.0.0.1}",
            "BW0201 3 name: 'a/b' is not a workload's name",
        ),
        (
            "workloads",
            "{name: x}",
            "BW0201 3 address: a workload needs an address",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.300}",
            "BW0201 3 address: '10.0.0.300' is not an IP address",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, addresses: [10.0.0.2]}",
            "BW0201 3 addresses: `address` and `addresses` are both given",
        ),
        (
            "workloads",
            "{name: x, addresses: [10.0.0.1, vm.example]}",
            "BW0201 3 addresses[1]: 'vm.example' is not an IP address",
        ),
        (
            "workloads",
            "{name: x, address: '10.0.0.1:80'}",
            "BW0201 3 address: '10.0.0.1:80' is not an address; ports are given in `ports`",
        ),
        (
            "workloads",
            "{name: x, address: 224.0.0.1}",
            "BW0201 3 address: '224.0.0.1' is not the address of one machine: nothing can connect to it",
        ),
        (
            "workloads",
            "{name: x, address: 'unix:run/x'}",
            "BW0201 3 address: 'unix:run/x' is not a socket: its path begins with '/' and has at most 107 bytes",
        ),
        (
            "workloads",
            "{name: x, address: -x}",
            "BW0201 3 address: '-x' is not a hostname: a label begins or ends with '-'",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, services: [s]}",
            "BW0201 3 ports: a workload that serves needs ports",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, services: [s, s], ports: {a: 1}}",
            "BW0201 3 services[1]: s.default.svc.cluster.local is given twice",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, ports: {http: \"80\"}}",
            "BW0201 3 ports.http: expected a whole number from 1 to 65535, found the text \"80\"",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, ports: [{name: a, number: 80, app_port: 80}]}",
            "BW0201 3 ports: the application and its sidecar cannot both listen on 80",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, weight: -1}",
            "BW0201 3 weight: expected a whole number from 0 to 1000000, found the number -1",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, weight: 1000001}",
            "BW0201 3 weight: expected a whole number from 0 to 1000000, found the number 1000001",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, health: helthy}",
            "BW0201 3 health: unknown value `helthy`",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, labels: {v: 1}}",
            "BW0201 3 labels.v: expected text, found the number 1",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, locality: {zone: a}}",
            "BW0201 3 locality: a zone needs its region, and a subzone its zone",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, locality: a/b/c/d}",
            "BW0201 3 locality: it has more than three parts",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, network: A}",
            "BW0201 3 network: 'A' is not a network name: only lower-case letters, digits and '-' are allowed",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, service_account: a b}",
            "BW0201 3 service_account: 'spiffe://mesh.example/ns/default/sa/a b' has a character in its path that is not a letter, digit, '-', '_' or '.'",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, identity: cart}",
            "BW0201 3 identity: 'cart' is not a SPIFFE id: it must begin with 'spiffe://'",
        ),
        (
            "workloads",
            "{name: x, address: 10.0.0.1, namespace: A}",
            "BW0201 3 namespace: 'A' is not a namespace: only lower-case letters, digits and '-' are allowed",
        ),
    ];
    for (section, entry, expected) in cases {
        let good = match section {
            "services" => "{name: good, ports: [{number: 80}]}",
            "networks" => "{name: good, gateways: [203.0.113.9]}",
            _ => "{name: good, address: 10.0.0.9}",
        };
        let event = first(&format!("{section}:\n- # first\n {entry}\n- {good}\n"));
        assert_eq!(problems(&event), [expected], "{entry}");
        let names: Vec<_> = objects(&event)
            .iter()
            .map(|object| &*object.key().name)
            .collect();
        assert_eq!(names, ["good"], "{entry}");
        let [problem] = &event.problems[..] else {
            panic!("{:?}", event.problems);
        };
        assert!(problem.meanwhile.starts_with("it is left out"), "{problem}");
    }
}

#[test]
fn what_is_odd_is_said_and_taken() {
    let cases = [
        (
            "services: [{name: x, ports: [{number: 80, protocol: http, local_port: 81}]}]",
            "BW0203 1 ports[0].local_port: HTTP ports share one local listener that routes by host",
        ),
        (
            "services: [{name: x, ports: [{number: 80}], health_check: {tcp: {}, interval: 1s, timeout: 2s}}]",
            "BW0201 1 health_check.timeout: it is longer than the interval, so checks are made less often than the interval says",
        ),
    ];
    for (text, expected) in cases {
        let event = first(text);
        assert_eq!(problems(&event), [expected]);
        service(&event, "x.default.svc.cluster.local");
    }
}

#[test]
fn a_wrong_entry_keeps_its_last_good_version() {
    let mut steps = Steps::default();
    steps.read(SHOP);
    let wrong = SHOP.replace("address: 10.0.0.1", "address: 10.0.0.300");
    let event = steps.read(&wrong);
    assert_eq!(update(&event), (vec![], vec![]));
    let event = event.unwrap();
    assert_eq!(
        problems(&event),
        ["BW0201 7 address: '10.0.0.300' is not an IP address"]
    );
    assert_eq!(
        &*event.problems[0].meanwhile,
        "its last version that was right stays in use"
    );
    assert_eq!(steps.read(&wrong), None, "nothing is new");
    let still = wrong.replace("10.0.0.2", "10.0.0.3");
    let event = steps.read(&still);
    assert_eq!(
        update(&event).0,
        [
            "endpoints vm-2/cart.shop.svc.cluster.local",
            "workload vm-2"
        ]
    );
    let event = steps.read(&still.replace("10.0.0.300", "10.0.0.4"));
    assert_eq!(update(&event).0.len(), 2);
    assert_eq!(problems(&event.unwrap()), [""; 0]);
}

#[test]
fn an_entry_whose_name_cannot_be_read_removes_nothing() {
    let mut steps = Steps::default();
    steps.read(SHOP);
    let event = steps.read(&SHOP.replace("name: vm-2", "nmae: vm-2"));
    assert_eq!(update(&event), (vec![], vec![]));
    assert_eq!(event.unwrap().problems.len(), 1);
    let event = steps.read(&SHOP.replace("workloads:", "worklods:"));
    assert_eq!(update(&event), (vec![], vec![]));
    assert_eq!(
        problems(&event.unwrap()),
        ["BW0202 6 worklods: unknown field `worklods`"]
    );
    let event = steps.read(&SHOP.replace("services:\n", "services:\nother:\n"));
    assert_eq!(update(&event), (vec![], vec![]));
    assert_eq!(event.unwrap().problems.len(), 2);
    let event = steps.read("services: []\nworkloads: []\n");
    assert_eq!(update(&event).1.len(), 5, "this says that there is nothing");
}

#[test]
fn a_file_that_says_nothing_keeps_what_it_had() {
    let half = SHOP.split_at(SHOP.len() - 10).0;
    for text in [
        "",
        "\n# nothing\n",
        "namespace: shop\n",
        "just text",
        "a: [",
        "services:\n\tx",
        "\0\0\0\0",
        half,
        "namespace: SHOP\nservices: []\n",
    ] {
        let mut steps = Steps::default();
        steps.read(SHOP);
        let event = steps.read(text);
        assert_eq!(update(&event), (vec![], vec![]), "{text:?}");
        let [problem] = &event.unwrap().problems[..] else {
            panic!("{text:?}");
        };
        assert!(problem.object.is_none());
        assert_eq!(&*problem.meanwhile, "what it last contained stays in use");
        let event = steps.read(SHOP);
        assert_eq!(update(&event), (vec![], vec![]));
        assert_eq!(problems(&event.unwrap()), [""; 0]);
    }
}

#[test]
fn an_inventory_that_was_never_good_is_failing_not_empty() {
    let mut steps = Steps::default();
    let event = steps.read("services: [").unwrap();
    assert!(matches!(&event.change, Change::Failing { error } if error.contains("i.yaml:1")));
    assert_eq!(steps.read("services: ["), None);
    let event = steps.read(SHOP).unwrap();
    assert_eq!(objects(&event).len(), 5);
    let good_and_bad: [(&str, &[u8]); 2] = [("a.yaml", SHOP.as_bytes()), ("b.yaml", b"")];
    let event = Steps::default().read_files(&good_and_bad).unwrap();
    assert_eq!(objects(&event).len(), 5);
    assert_eq!(event.problems.len(), 1);
    let empty = Steps::default().read_files(&[]).unwrap();
    assert_eq!(objects(&empty).len(), 0, "an empty directory is empty");
}

#[test]
fn a_directory_without_a_file_is_warned_of_until_it_has_one() {
    let mut steps = Steps::default();
    let mut empty = reading(&[]);
    empty.empty.push("inventory/".into());
    let event = steps.take(&empty).unwrap();
    assert_eq!(event.change, Change::Replace(Vec::new()));
    let warning = event.problems[0].to_string();
    assert!(
        warning.starts_with("BW0106 warning inventory/ the directory has no file"),
        "{warning}"
    );
    let event = steps.read(SHOP).unwrap();
    assert_eq!(problems(&event), [""; 0]);
}

#[test]
fn what_is_missing_is_failing_until_it_is_back() {
    let mut steps = Steps::default();
    steps.read(SHOP);
    let mut missing = reading(&[("i.yaml", SHOP.as_bytes())]);
    missing.errors.push(FileError {
        path: "i.yaml".into(),
        kind: FileErrorKind::Missing,
        message: "gone".to_owned(),
    });
    let event = steps.take(&missing).unwrap();
    assert_eq!(
        event.change,
        Change::Failing {
            error: "i.yaml: gone".to_owned()
        }
    );
    assert_eq!(event.problems.len(), 1);
    assert_eq!(steps.take(&missing), None);
    let event = steps.read(SHOP).unwrap();
    assert_eq!(objects(&event).len(), 5);
    assert_eq!(problems(&event), [""; 0]);
}

#[test]
fn a_directory_that_cannot_be_read_keeps_its_files_and_others_go_on() {
    let mut steps = Steps::default();
    let other = "workloads: [{name: other, address: 10.0.0.9}]";
    let both: [(&str, &[u8]); 2] = [
        ("d/i.yaml", other.as_bytes()),
        ("d/sub/i.yaml", SHOP.as_bytes()),
    ];
    steps.read_files(&both);
    let changed = other.replace(".9", ".10");
    let mut reading = reading(&[("d/i.yaml", changed.as_bytes())]);
    reading.errors.push(FileError {
        path: "d/sub".into(),
        kind: FileErrorKind::Unreadable,
        message: "permission denied".to_owned(),
    });
    let event = steps.take(&reading);
    assert_eq!(update(&event), (vec!["workload other".to_owned()], vec![]));
    assert_eq!(event.unwrap().problems.len(), 1);
}

#[test]
fn only_what_changed_is_told() {
    let mut steps = Steps::default();
    steps.read(SHOP);
    assert_eq!(steps.read(SHOP), None);
    assert_eq!(steps.read(&format!("# moved\n\n{SHOP}")), None);
    let event = steps.read(&SHOP.replace("10.0.0.2,", "10.0.0.2, weight: 5,"));
    assert_eq!(
        update(&event),
        (
            vec!["endpoints vm-2/cart.shop.svc.cluster.local".to_owned()],
            vec![]
        )
    );
    let without = SHOP.lines().filter(|line| !line.contains("vm-1"));
    let event = steps.read(&without.collect::<Vec<_>>().join("\n"));
    assert_eq!(
        update(&event).1,
        [
            "endpoints vm-1/cart.shop.svc.cluster.local",
            "workload vm-1"
        ]
    );
}

#[test]
fn a_deleted_file_removes_its_objects() {
    let mut steps = Steps::default();
    let other = "workloads: [{name: other, address: 10.0.0.9}]";
    let both: [(&str, &[u8]); 2] = [("a.yaml", other.as_bytes()), ("b.yaml", SHOP.as_bytes())];
    steps.read_files(&both);
    let event = steps.read_files(&both[1..]);
    assert_eq!(update(&event), (vec![], vec!["workload other".to_owned()]));
}

#[test]
fn of_two_entries_of_one_name_the_first_counts() {
    let again = "namespace: shop\nworkloads:\n  - {name: vm-1, address: 10.9.9.9}\nservices:\n  - {hostname: cart.shop.svc.cluster.local, ports: [{number: 1}]}\n";
    let files: [(&str, &[u8]); 2] = [("a.yaml", SHOP.as_bytes()), ("b.yaml", again.as_bytes())];
    let mut steps = Steps::default();
    let event = steps.read_files(&files).unwrap();
    assert_eq!(objects(&event).len(), 5);
    assert_eq!(
        problems(&event),
        [
            "BW0204 5 name: service cart.shop.svc.cluster.local is already at a.yaml:4",
            "BW0204 3 name: workload shop/vm-1 is already at a.yaml:7",
        ]
    );
    let event = steps.read_files(&files[1..]);
    let (upserts, removes) = update(&event);
    assert!(upserts.contains(&"workload vm-1".to_owned()), "{upserts:?}");
    assert!(!removes.contains(&"workload vm-1".to_owned()));
    assert_eq!(problems(&event.unwrap()), [""; 0]);
}

#[test]
fn an_entry_that_is_kept_gives_way_to_one_that_is_written() {
    let mut steps = Steps::default();
    steps.read_files(&[("a.yaml", SHOP.as_bytes())]);
    let moved = "namespace: shop\nworkloads: [{name: vm-2, address: 10.9.9.9}]";
    let event = steps.read_files(&[("a.yaml", b"services: ["), ("b.yaml", moved.as_bytes())]);
    let (upserts, removes) = update(&event);
    assert_eq!(upserts, ["workload vm-2"]);
    assert_eq!(removes, ["endpoints vm-2/cart.shop.svc.cluster.local"]);
    assert_eq!(event.unwrap().problems.len(), 1, "only the syntax error");
}

#[test]
fn last_good_versions_outlive_the_process() {
    let objects_of_before = objects(&first(SHOP)).to_vec();
    let mut steps = Steps {
        state: State::restored(objects_of_before.clone()),
    };
    let broken = SHOP.replace("address: 10.0.0.1", "address: 10.0.0.300");
    let event = steps.read(&broken).unwrap();
    assert_eq!(objects(&event), objects_of_before);
    assert_eq!(event.problems.len(), 1);
    let mut steps = Steps {
        state: State::restored(objects_of_before.clone()),
    };
    let event = steps.read("services: [").unwrap();
    assert_eq!(objects(&event), objects_of_before);
    let mut steps = Steps {
        state: State::restored(objects_of_before),
    };
    let event = steps.read("services: []").unwrap();
    assert_eq!(objects(&event), [], "what is well written is believed");
}

#[test]
fn a_table_is_read_row_by_row() {
    let event = first_csv(
        "\u{feff}Name,address,services,ports,namespace,locality,network,weight,labels,service_account,health
vm-1,10.0.0.1;fd00::1,cart;db.internal,http=8080;db=5432,shop,eu/eu-1,vpc-1,3,version=v1;team=a,cart,healthy
# a comment
vm-2, vm.example.com ,,,,,,,,,
vm-3,10.0.0.300,,,,,,,,,
vm-4,10.0.0.4,,http,,,,,,,
vm-5,10.0.0.5,,,,,,heavy,,,
vm-6,10.0.0.6,,,,,,,,,ill
vm-7,10.0.0.7
",
    );
    let endpoint = &endpoints(&event, "cart.shop.svc.cluster.local")[0];
    assert_eq!(endpoint.ports.len(), 2);
    assert_eq!(endpoint.weight, 3);
    assert_eq!(endpoint.locality.to_string(), "eu/eu-1");
    assert_eq!(endpoints(&event, "db.internal").len(), 2);
    assert_eq!(workload(&event, "vm-1").labels.len(), 2);
    workload(&event, "vm-2");
    assert_eq!(
        problems(&event),
        [
            "BW0201 9 : it has 2 values for 11 columns",
            "BW0201 5 address: '10.0.0.300' is not an IP address",
            "BW0201 6 ports: 'http' is not a port",
            "BW0201 7 weight: expected a whole number from 0 to 1000000, found \"heavy\"",
            "BW0201 8 health: unknown value `ill`",
        ]
    );
}

#[test]
fn lines_of_a_table_are_counted_however_they_end() {
    for end in ["\n", "\r\n"] {
        let rows = ["name,address", "vm-1,10.0.0.1", "vm-1,10.0.0.2", ""];
        let event = first_csv(&rows.join(end));
        assert_eq!(event.problems[0].code.as_str(), "BW0204");
        let source = event.problems[0].source.as_ref().unwrap();
        assert_eq!(source.line, Some(3), "{end:?}");
    }
}

#[test]
fn a_table_without_a_header_or_with_another_is_not_read() {
    for (text, expected) in [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("vm-1,10.0.0.1\n", "this column is not known"),
        ("name,adress\n", "this column is not known"),
        ("name,services\n", "it has no header"),
        ("name,name,address\n", "this column is there twice"),
        ("name,address\nä,\u{0}\n", "a NUL byte"),
    ] {
        let event = first_csv(text);
        assert!(matches!(event.change, Change::Failing { .. }), "{text:?}");
        let message = &problems(&event)[0];
        assert!(message.contains(expected), "{text:?}: {message}");
    }
    let bytes: [(&str, &[u8]); 1] = [("i.csv", b"name,address\na,\xff\n")];
    let event = Steps::default().read_files(&bytes).unwrap();
    assert_eq!(problems(&event), ["BW0102 2 : a byte that is not UTF-8"]);
    let event = first_csv("name,address\n");
    assert_eq!(
        objects(&event),
        [],
        "a header alone says that there is nothing"
    );
}

#[test]
fn a_row_that_is_cut_off_removes_nothing() {
    let mut steps = Steps::default();
    let whole = "name,address,weight\nvm-1,10.0.0.1,1\nvm-20,10.0.0.2,1\n";
    steps.read_files(&[("i.csv", whole.as_bytes())]);
    for end in ["\nvm-1".len(), "\nvm-20,10.0.".len()] {
        let half = whole.split_at(whole.find("\nvm-20").unwrap() + end).0;
        let event = steps.read_files(&[("i.csv", half.as_bytes())]);
        if let Some(event) = event {
            assert_eq!(update(&Some(event)), (vec![], vec![]), "{half}");
        }
    }
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1".to_owned()),
        Just("99999999999".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("{a: b}".to_owned()),
        Just("[1, x]".to_owned()),
        "[a-z0-9./:-]{1,12}".prop_map(|text| format!("\"{text}\"")),
    ]
}

proptest! {
    #[test]
    fn one_wrong_entry_never_changes_the_others(
        field in "(name|namespace|address|addresses|services|ports|locality|network|weight|health|labels|identity|service_account|other)",
        value in any_value(),
        position in 0..3_usize,
    ) {
        let good = ["{name: one, address: 10.0.0.1}", "{name: two, address: 10.0.0.2}"];
        let odd = match &*field {
            "name" => format!("{{name: {value}, address: 10.0.0.3}}"),
            "address" => format!("{{name: odd, address: {value}}}"),
            _ => format!("{{name: odd, address: 10.0.0.3, {field}: {value}}}"),
        };
        let mut items = good.to_vec();
        items.insert(position, &odd);
        let event = first(&format!("workloads: [{}]", items.join(", ")));
        let expected = first(&format!("workloads: [{}]", good.join(", ")));
        let others: Vec<_> = objects(&event)
            .iter()
            .filter(|object| ["one", "two"].contains(&&*object.key().name))
            .map(Object::spec)
            .collect();
        let expected: Vec<_> = objects(&expected).iter().map(Object::spec).collect();
        prop_assert_eq!(others, expected);
        let odd_is_taken = objects(&event).len() > 2;
        prop_assert!(odd_is_taken || !event.problems.is_empty(), "silence about {odd}");
    }

    #[test]
    fn a_cut_that_is_noticed_removes_nothing(length in 0..SHOP.len()) {
        let mut steps = Steps::default();
        steps.read(SHOP);
        let event = steps.read(SHOP.get(..length).unwrap_or_default());
        if let Some(RegistryEvent { change: Change::Update { removes, .. }, problems, .. }) = event {
            prop_assert!(removes.is_empty() || problems.is_empty(), "{length}: {removes:?}");
        }
    }
}
