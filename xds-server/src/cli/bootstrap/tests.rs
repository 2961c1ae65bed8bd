use std::path::Path;

use bowline_identity::{Claimed, PeerIdentity};
use bowline_mesh::{Capture, HostLookup, MeshSettings, MeshStore, Proxy};
use bowline_proto::envoy::config::bootstrap::v3::Bootstrap as EnvoyBootstrap;
use bowline_proto::{Message, parse, type_url};
use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::node;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    command: Command,
}

fn made(line: &str, config: Option<&str>) -> Result<Value> {
    let line = format!("bootstrap {line}");
    let Line { command } = Line::try_parse_from(line.split_whitespace())?;
    let config = config.map(|text| Config::parse(Path::new("bowline.yaml"), text.as_bytes()));
    let bootstrap = bootstrap(&command, config.transpose()?.as_ref())?;
    Ok(bootstrap.to_json())
}

fn checked(line: &str, config: Option<&str>) -> Value {
    let json = made(line, config).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    // Refuses what Envoy's API does not have.
    let any = parse::from_json(&type_url::<EnvoyBootstrap>(), json.clone())
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    EnvoyBootstrap::decode(any.value).unwrap();
    json
}

const TLS: &str = "mesh: {trust_domain: mesh.example, domain: mesh.internal}\nxds: {tls: {address: '10.0.0.1:15012'}}";

#[test]
fn a_sidecar_says_who_it_is_and_expects_the_control_plane() {
    let line = "--config c --role sidecar --name cart-1 --namespace shop --cert-dir /certs --capture transparent \
                --locality eu/eu-1/r7 --network vpc-1 --address 10.1.2.3 --address fd00::1";
    let bootstrap = checked(line, Some(TLS));
    let node = json!({
        "id": "sidecar~10.1.2.3~cart-1.shop~shop.svc.mesh.internal",
        "cluster": "cart-1.shop",
        "metadata": {
            "NAME": "cart-1",
            "NAMESPACE": "shop",
            "BOWLINE_CAPTURE": "transparent",
            "INSTANCE_IPS": "10.1.2.3,fd00::1",
            "NETWORK": "vpc-1",
        },
        "locality": {"region": "eu", "zone": "eu-1", "sub_zone": "r7"},
    });
    assert_eq!(bootstrap["node"], node);
    let cluster = &bootstrap["static_resources"]["clusters"][0];
    assert_eq!(cluster["type"], "STATIC");
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    let address = json!({"address": "10.0.0.1", "port_value": 15012});
    assert_eq!(cluster.pointer(endpoint), Some(&address));
    let context = &cluster["transport_socket"]["typed_config"]["common_tls_context"];
    let san = context.pointer(
        "/combined_validation_context/default_validation_context/match_typed_subject_alt_names/0",
    );
    let expected = json!({"san_type": "URI", "matcher": {"exact": "spiffe://mesh.example/ns/bowline/sa/control-plane"}});
    assert_eq!(san, Some(&expected));
    let source =
        context.pointer("/tls_certificate_sds_secret_configs/0/sds_config/path_config_source");
    let expected =
        json!({"path": "/certs/certificate.sds.yaml", "watched_directory": {"path": "/certs"}});
    assert_eq!(source, Some(&expected));
    assert_eq!(
        bootstrap["dynamic_resources"]["ads_config"]["api_type"],
        "DELTA_GRPC"
    );
}

#[test]
fn a_gateway_serves_the_gateway_of_its_name_unless_told_otherwise() {
    let edge = checked(
        "--xds [::1]:15010 --role gateway --name edge --protocol sotw --admin-port 0",
        None,
    );
    let node = json!({
        "id": "router~~edge.default~default.svc.cluster.local",
        "cluster": "edge.default",
        "metadata": {"NAME": "edge", "NAMESPACE": "default", "GATEWAY": "default/edge"},
    });
    assert_eq!(edge["node"], node);
    assert_eq!(edge["dynamic_resources"]["ads_config"]["api_type"], "GRPC");
    assert_eq!(
        edge["static_resources"]["clusters"][0].get("transport_socket"),
        None
    );
    assert_eq!(
        edge["admin"]["address"]["socket_address"]["address"],
        "127.0.0.1"
    );
    let other = checked(
        "--xds bowline.example:15010 --role gateway --name edge-1 --gateway shop/edge",
        None,
    );
    assert_eq!(other["node"]["metadata"]["GATEWAY"], "shop/edge");
    assert_eq!(
        other["static_resources"]["clusters"][0]["type"],
        "STRICT_DNS"
    );
}

#[test]
fn the_server_reads_what_the_bootstrap_says() {
    let read = |line: &str| {
        let any = parse::from_json(&type_url::<EnvoyBootstrap>(), checked(line, None)).unwrap();
        let node = EnvoyBootstrap::decode(any.value).unwrap().node.unwrap();
        node::proxy(&node, None, MeshStore::new(settings(), [], []).mesh()).unwrap()
    };
    let sidecar = read(
        "--xds h:1 --role sidecar --name cart-1 --namespace shop --capture transparent --locality eu/eu-1/r7 --network vpc-1 \
         --address 10.1.2.3 --address fd00::1 --identity spiffe://mesh.example/ns/shop/sa/cart",
    );
    let claimed = Claimed {
        spiffe_id: Some("spiffe://mesh.example/ns/shop/sa/cart".parse().unwrap()),
    };
    let expected = Proxy {
        id: "sidecar~10.1.2.3~cart-1.shop~shop.svc.cluster.local".into(),
        role: bowline_mesh::Role::Sidecar(Capture::Transparent),
        namespace: "shop".parse().unwrap(),
        name: "cart-1".into(),
        addresses: vec!["10.1.2.3".parse().unwrap(), "fd00::1".parse().unwrap()],
        network: Some("vpc-1".parse().unwrap()),
        locality: Some("eu/eu-1/r7".parse().unwrap()),
        host_lookup: HostLookup::Available,
        route_delivery: bowline_mesh::RouteDelivery::Whole,
        identity: PeerIdentity::Claimed(claimed),
    };
    assert_eq!(sidecar, expected);
    let gateway = read("--xds h:1 --role gateway --name edge-1 --gateway shop/edge");
    let expected = Proxy {
        id: "router~~edge-1.default~default.svc.cluster.local".into(),
        role: bowline_mesh::Role::Gateway(GatewayName {
            namespace: "shop".parse().unwrap(),
            name: "edge".into(),
        }),
        namespace: "default".parse().unwrap(),
        name: "edge-1".into(),
        addresses: Vec::new(),
        network: None,
        locality: None,
        identity: PeerIdentity::Claimed(Claimed { spiffe_id: None }),
        ..expected
    };
    assert_eq!(gateway, expected);
    let east_west = read("--xds h:1 --role east-west --name east-west --network vpc-2");
    assert_eq!(east_west.role, bowline_mesh::Role::EastWest);
    assert_eq!(east_west.network, Some("vpc-2".parse().unwrap()));
}

fn settings() -> Arc<MeshSettings> {
    let text = "mesh: {trust_domain: mesh.example}";
    Arc::new(
        Config::parse(Path::new("bowline.yaml"), text.as_bytes())
            .unwrap()
            .mesh,
    )
}

#[test]
fn envoy_takes_expressions_as_large_as_those_that_are_read() {
    let bootstrap = checked("--xds h:1 --role sidecar --name a", None);
    let layers = &bootstrap["layered_runtime"]["layers"];
    assert_eq!(
        layers[0]["static_layer"]["re2.max_program_size.error_level"],
        32768
    );
    // Without it, nobody could change the runtime of a running Envoy.
    assert_eq!(layers[1]["admin_layer"], json!({}));
}

#[test]
fn an_envoy_is_given_only_fields_that_it_knows() {
    let has_tags = |version: &str| {
        let line = format!("--xds h:1 --role sidecar --name a {version}");
        checked(&line, None).get("stats_config").is_some()
    };
    for version in ["--envoy-version 1.36", "--envoy-version 1.38.3"] {
        assert!(!has_tags(version), "{version}");
    }
    for version in ["", "--envoy-version 1.39.0", "--envoy-version 1.41"] {
        assert!(has_tags(version), "{version}");
    }
}

#[test]
fn the_default_version_is_the_one_that_the_help_says() {
    let help = <Line as clap::CommandFactory>::command()
        .render_help()
        .to_string();
    let said = format!("[default: {}]", EnvoyVersion::NEWEST);
    assert!(help.contains(&said), "{help}");
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    let line = "--config c --role sidecar --name a --cert-dir /c --identity spiffe://mesh.example/ns/x/sa/y";
    assert_eq!(
        checked(line, Some(TLS)).to_string(),
        checked(line, Some(TLS)).to_string()
    );
}

#[test]
fn a_certificate_that_is_not_ours_is_known_by_its_dns_name() {
    let line = "--xds bowline.example:15012 --role sidecar --name a --cert-dir /c --server-name bowline.example";
    let bootstrap = checked(line, None);
    let context = &bootstrap["static_resources"]["clusters"][0]["transport_socket"]["typed_config"];
    assert_eq!(context["sni"], "bowline.example");
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    let files = "mesh: {trust_domain: m}\nxds: {tls: {address: '10.0.0.1:1', certificate: c, key: k, client_ca: a}}";
    let any = "mesh: {trust_domain: m}\nxds: {address: none, tls: {address: '0.0.0.0:15012'}}";
    let cases = [
        (
            "--role sidecar --name a",
            None,
            "<--config <FILE>|--xds <HOST:PORT>>",
        ),
        (
            "--role sidecar --name a --xds 10.0.0.1",
            None,
            "is not a host and a port",
        ),
        (
            "--role sidecar --name a --xds h:0",
            None,
            "is not a host and a port",
        ),
        (
            "--role sidecar --name a~b --xds h:1",
            None,
            "letters, digits",
        ),
        (
            "--role sidecar --name a --namespace A_b --xds h:1",
            None,
            "namespace",
        ),
        (
            "--role sidecar --name a --gateway x/y --xds h:1",
            None,
            "`--gateway` is for `--role gateway`",
        ),
        (
            "--role gateway --name a --capture transparent --xds h:1",
            None,
            "`--capture` is for `--role sidecar`",
        ),
        (
            "--role sidecar --name a --locality a/b/c/d --xds h:1",
            None,
            "write it as `region/zone/subzone`",
        ),
        (
            "--role gateway --name a --gateway edge --xds h:1",
            None,
            "namespace/name",
        ),
        (
            "--role sidecar --name a --xds h:1 --envoy-version 1.34",
            None,
            "Envoy 1.34 is older than 1.36, the oldest that is supported",
        ),
        (
            "--role sidecar --name a --xds h:1 --envoy-version v1",
            None,
            "write it as `1.38` or `1.38.2`",
        ),
        (
            "--role sidecar --name a --xds h:1 --cert-dir c",
            None,
            "give `--config`, `--trust-domain` or `--server-name`",
        ),
        (
            "--role sidecar --name a --xds h:1 --server-name n",
            None,
            "--cert-dir",
        ),
        (
            "--role sidecar --name a --config c",
            Some(any),
            "has no `xds.address`; proxies connect over mutual TLS: give `--cert-dir`",
        ),
        (
            "--role sidecar --name a --config c --cert-dir c",
            Some(any),
            "give `--xds HOST:PORT`",
        ),
        (
            "--role sidecar --name a --config c --cert-dir c",
            Some(files),
            "`--server-name`",
        ),
    ];
    for (line, config, expected) in cases {
        let error = made(line, config).expect_err(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn names_of_clusters_are_told_from_what_is_counted_of_them() {
    let tag = regex::Regex::new(envoy::CLUSTER_NAME_TAG).unwrap();
    let cases = [
        (
            "outbound|80||cart.default.svc.cluster.local",
            "upstream_cx_total",
        ),
        (
            "outbound|80||cart.default.svc.cluster.local",
            "default.total_match_count",
        ),
        ("outbound|443|v1|cart.ssl.svc.example", "ssl.handshake"),
        (
            "outbound|80||a.zone.internal.version.io",
            "internal.upstream_rq_200",
        ),
        ("inbound|8080||", "membership_healthy"),
        ("bowline-xds", "http2.keepalive_timeout"),
        ("passthrough", "circuit_breakers.default.cx_open"),
    ];
    for (name, statistic) in cases {
        let text = format!("cluster.{name}.{statistic}");
        let found = tag.captures(&text).map(|found| found[2].to_owned());
        assert_eq!(found.as_deref(), Some(name), "{text}");
    }
}

#[test]
fn a_grpc_application_says_who_it_is_and_where_its_control_plane_is() {
    let bootstrap = made(
        "--xds [::1]:15010 --role grpc --name web-1 --namespace shop --locality eu/eu-1",
        None,
    )
    .unwrap();
    let expected = json!({
        "xds_servers": [{
            "server_uri": "[::1]:15010",
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {
            "id": "grpc~~web-1.shop~shop.svc.cluster.local",
            "cluster": "web-1.shop",
            "metadata": {"NAME": "web-1", "NAMESPACE": "shop"},
            "locality": {"region": "eu", "zone": "eu-1", "sub_zone": ""},
        },
        "server_listener_resource_name_template": "grpc/server?xds.resource.listening_address=%s",
    });
    assert_eq!(bootstrap, expected);
}

#[test]
fn a_grpc_application_proves_who_it_is_with_its_certificate() {
    let line = "--config c --role grpc --name web-1 --cert-dir /certs";
    let bootstrap = made(line, Some(TLS)).unwrap();
    let credentials = &bootstrap["xds_servers"][0]["channel_creds"][0];
    assert_eq!(credentials["type"], "tls");
    assert_eq!(credentials["config"]["certificate_file"], "/certs/cert.pem");
    assert_eq!(
        credentials["config"],
        bootstrap["certificate_providers"]["default"]["config"]
    );
}

#[test]
fn what_is_for_envoys_only_is_refused_for_grpc() {
    for line in [
        "--xds [::1]:15010 --role grpc --name a --capture explicit",
        "--xds [::1]:15010 --role grpc --name a --gateway shop/edge",
        "--xds [::1]:15010 --role grpc --name a --envoy-version 1.40",
    ] {
        assert!(made(line, None).is_err(), "{line}");
    }
}

#[test]
fn loads_are_reported_where_the_configuration_or_the_command_line_wants_it() {
    let reporting = TLS.replace("xds: {", "xds: {loads: {report: true}, ");
    let line = "--config c --role sidecar --name a --cert-dir /certs";
    let service = |bootstrap: &Value| {
        bootstrap
            .pointer("/cluster_manager/load_stats_config/grpc_services/0/envoy_grpc/cluster_name")
            .cloned()
    };
    assert_eq!(
        service(&checked(line, Some(&reporting))),
        Some(json!("bowline-xds"))
    );
    assert_eq!(service(&checked(line, Some(TLS))), None);
    let line = "--xds [::1]:15010 --role sidecar --name a --report-loads";
    assert!(service(&checked(line, None)).is_some());
}
