use serde_json::{Value, json};

use super::*;
use crate::testing::*;

fn port(number: u16, protocol: Protocol, app_port: Option<u16>) -> WorkloadPort {
    WorkloadPort {
        number,
        name: number.to_string().into(),
        protocol,
        app_port,
    }
}

fn translated(capture: Capture, ports: Vec<WorkloadPort>) -> Translated<Layer> {
    let key = InboundKey::Sidecar(SidecarPorts {
        capture,
        ports,
        families: IpFamilies::V4,
    });
    inbound(&InboundView {
        settings: settings(),
        key,
    })
}

#[test]
fn an_explicit_sidecar_stands_in_front_of_ports_that_say_so() {
    let Translated { value, problems } = translated(
        Capture::Explicit,
        vec![
            port(8080, Protocol::Http, Some(9080)),
            port(9090, Protocol::Tcp, None),
        ],
    );
    assert_eq!(problems, []);
    assert_eq!(names(&value, ResourceType::LISTENER), ["0.0.0.0_8080"]);
    assert_eq!(names(&value, ResourceType::CLUSTER), ["inbound|8080||"]);
    let cluster = found(&value, ResourceType::CLUSTER, "inbound|8080||");
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    assert_eq!(
        endpoint["address"]["socket_address"],
        json!({"address": "127.0.0.1", "port_value": 9080})
    );
}

#[test]
fn a_port_that_is_also_that_of_envoys_admin_interface_is_warned_of() {
    let at_admin = vec![port(15000, Protocol::Http, Some(9000))];
    let Translated { value, problems } = translated(Capture::Explicit, at_admin.clone());
    assert_eq!(names(&value, ResourceType::LISTENER), ["0.0.0.0_15000"]);
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].severity, &*problems[0].field),
        (bowline_mesh::Severity::Warning, "ports[15000].number")
    );
    assert_eq!(translated(Capture::Transparent, at_admin).problems, []);
}

#[test]
fn an_explicit_sidecar_never_sends_to_itself() {
    let bad = [
        vec![port(8080, Protocol::Http, Some(8080))],
        vec![
            port(8080, Protocol::Http, Some(8081)),
            port(8081, Protocol::Tcp, Some(9081)),
        ],
        vec![port(15080, Protocol::Http, Some(9000))],
        vec![port(8080, Protocol::Http, Some(15080))],
    ];
    for ports in bad {
        let all = ports.len();
        let Translated { value, problems } = translated(Capture::Explicit, ports);
        let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, [Code::ListenerConflict]);
        assert_eq!(names(&value, ResourceType::LISTENER).len(), all - 1);
    }
}

#[test]
fn a_transparent_sidecar_has_one_listener_with_chains_by_port() {
    let ports = vec![
        port(8080, Protocol::Http, None),
        port(8081, Protocol::Auto, None),
        port(8082, Protocol::Tcp, None),
        port(15006, Protocol::Http, None),
    ];
    let Translated { value, problems } = translated(Capture::Transparent, ports);
    assert_eq!(problems, []);
    assert_eq!(
        names(&value, ResourceType::LISTENER),
        [name::VIRTUAL_INBOUND]
    );
    assert_eq!(
        names(&value, ResourceType::CLUSTER),
        [
            name::INBOUND_PASSTHROUGH_CLUSTER,
            "inbound|8080||",
            "inbound|8081||",
            "inbound|8082||"
        ]
    );
    let listener = found(&value, ResourceType::LISTENER, name::VIRTUAL_INBOUND);
    let chains = listener["filter_chains"].as_array().unwrap();
    let of = |chain: &Value| {
        chain["filter_chain_match"]["destination_port"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(
        chains.iter().map(of).collect::<Vec<_>>(),
        [15001, 15006, 8080, 8081, 8081, 8082]
    );
    // Both chains of the sniffed port say the transport: Envoy would not come back from the first to one that does not.
    let transport =
        |chain: usize| chains[chain]["filter_chain_match"]["transport_protocol"].clone();
    assert_eq!([transport(3), transport(4)], ["raw_buffer", "raw_buffer"]);
    // Only the port that nobody declared is looked into.
    let inspector = &listener["listener_filters"][1]["filter_disabled"];
    assert_eq!(
        inspector["not_match"]["destination_port_range"],
        json!({"start": 8081, "end": 8082})
    );
    let cluster = found(&value, ResourceType::CLUSTER, "inbound|8082||");
    assert_eq!(
        cluster["upstream_bind_config"]["source_address"]["address"],
        "127.0.0.6"
    );
}
