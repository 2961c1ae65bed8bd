//! What is wrong or odd in an entry.

use super::*;

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
