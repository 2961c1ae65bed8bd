use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_mesh::{OutboundMode, RegistryId};

use super::*;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(Path::new("/etc/bowline/bowline.yaml"), text.as_bytes())
}

fn parsed(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const LEAST: &str = "mesh: {trust_domain: mesh.example}\n";

#[test]
fn the_least_configuration_has_all_defaults() {
    let config = parsed(LEAST);
    assert_eq!(config.mesh.trust_domain.as_str(), "mesh.example");
    assert_eq!(config.mesh.domain.as_str(), "cluster.local");
    assert_eq!(config.mesh.outbound, OutboundMode::PassThrough);
    assert_eq!(config.mesh.virtual_addresses.to_string(), "240.0.0.0/8");
    assert_eq!(config.mesh.explicit_http_port, 15080);
    assert_eq!(config.mesh.east_west_port, 15443);
    assert_eq!(config.xds.plaintext, Some(address("127.0.0.1:15010")));
    assert_eq!(config.xds.tls, None);
    assert_eq!(config.admin.address, address("127.0.0.1:15014"));
    let data = PathBuf::from("/etc/bowline/data");
    assert_eq!(config.state, StateConfig::Directory(data.clone()));
    assert_eq!(config.state.admin_socket(), Some(data.join("admin.sock")));
    assert_eq!(config.start_timeout, Duration::from_secs(30));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
    assert_eq!(config.registries, []);
}

#[test]
fn the_example_of_the_manual_is_right() {
    let manual = include_str!("../../../docs/configuration.md");
    let example = manual
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let config = parsed(example.expect("docs/configuration.md has an example in YAML"));
    let names: Vec<_> = config
        .registries
        .iter()
        .map(|registry| registry.settings.id.as_str())
        .collect();
    assert_eq!(names, ["manifests", "vms", "dc2"]);
    // It is complete, so whoever adds a field adds it there.
    for fields in [read::ALL_FIELDS, registries::ALL_FIELDS].concat() {
        for field in fields {
            assert!(
                manual.contains(field),
                "docs/configuration.md does not mention `{field}`"
            );
        }
    }
}

#[test]
fn registries_are_in_the_order_in_which_they_win() {
    let config = parsed(
        "mesh: {trust_domain: mesh.example, domain: mesh.internal}
registries:
  - {name: zz, inventory: {path: ./zz.yaml}, namespaces: [shop], hostnames: ['*.shop.example'], policies: mesh}
  - name: aa
    inventory: {path: /aa}
    namespace: vms
    network: vpc-1
    locality: eu/eu-1/rack-7
    hostname_template: '{name}.vms.example'
    guard: {endpoints_min: 5, share: 20%, hold: 1m}
manifests: [./policies/, more]
",
    );
    let [manifests, zz, aa] = config.registries.as_slice() else {
        panic!("{:?}", config.registries);
    };
    assert_eq!(manifests.settings.id, RegistryId::manifests());
    assert!(manifests.settings.policies_for_mesh && manifests.settings.guard.doubts_updates);
    let paths = ["policies/", "more"].map(|path| Path::new("/etc/bowline").join(path));
    assert_eq!(manifests.source, RegistrySource::Manifests(paths.to_vec()));
    assert_eq!(
        zz.source,
        RegistrySource::Inventory("/etc/bowline/zz.yaml".into())
    );
    assert!(zz.settings.policies_for_mesh);
    assert_eq!(
        zz.settings.allowed_namespaces,
        Some(vec!["shop".parse().unwrap()])
    );
    assert_eq!(zz.settings.domain.as_str(), "mesh.internal");
    assert_eq!(aa.source, RegistrySource::Inventory("/aa".into()));
    assert_eq!(aa.settings.locality.to_string(), "eu/eu-1/rack-7");
    assert_eq!(aa.settings.guard.share_percent, 20);
    assert_eq!(aa.settings.guard.hold, Duration::from_secs(60));
    assert!(aa.settings.guard.doubts_updates);
}

#[test]
fn values_have_the_forms_that_people_write() {
    let config = parsed(
        "mesh: {trust_domain: mesh.example, outbound: refuse, virtual_addresses: 10.96.0.0/12, traffic: {connect_timeout: 250ms, connections_max: 7}}
xds:
  address: none
  tls: {address: '0.0.0.0:15012', certificate: tls.crt, key: tls.key, client_ca: /ca.crt}
  limits: {request_bytes_max: 1MiB, response_bytes_max: 65536, progress_timeout: 1m30s, starting_streams_max: 3, connection_age: 1h, keepalive_interval: 3s}
  loads: {report: true, interval: 1m}
  operators: [spiffe://mesh.example/ns/ops/sa/admin]
state: {memory: true}
log: {level: 'warn,bowline_ads=trace', format: json}
shutdown_timeout: 0s
registries: [{name: vms, inventory: {path: ~/inventory.yaml}, guard: {share: off}}]
",
    );
    assert_eq!(config.mesh.outbound, OutboundMode::Refuse);
    assert_eq!(
        config.mesh.traffic.connect_timeout,
        Some(Duration::from_millis(250))
    );
    assert_eq!(config.xds.plaintext, None);
    let certificates = XdsCertificates::Files {
        certificate: "/etc/bowline/tls.crt".into(),
        key: "/etc/bowline/tls.key".into(),
        client_authorities: "/ca.crt".into(),
    };
    assert_eq!(
        config.xds.tls.map(|tls| tls.certificates),
        Some(certificates)
    );
    assert_eq!(config.xds.limits.request_bytes_max, 1 << 20);
    assert_eq!(config.xds.limits.response_bytes_max, 65536);
    assert_eq!(config.xds.limits.progress_timeout, Duration::from_secs(90));
    assert_eq!(config.xds.limits.keepalive_interval, Duration::from_secs(3));
    assert_eq!(config.xds.limits.keepalive_timeout, Duration::from_secs(10));
    assert_eq!(config.xds.limits.starting_streams_max, 3);
    assert_eq!(
        config.xds.limits.connection_age,
        Some(Duration::from_secs(3600))
    );
    assert!(config.xds.loads.wanted);
    assert_eq!(config.xds.loads.interval, Duration::from_secs(60));
    assert_eq!(config.xds.operators.len(), 1);
    assert_eq!(config.state.admin_socket(), None);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level.to_string(), "warn,bowline_ads=trace");
    assert!(config.registries[0].settings.guard.share_percent > 100);
    let RegistrySource::Inventory(path) = &config.registries[0].source else {
        panic!("{:?}", config.registries[0].source);
    };
    assert!(!path.starts_with("/etc/bowline"), "{}", path.display());
}

#[test]
fn secrets_are_watched_where_the_entry_says() {
    let secrets = |text: &str| {
        let config = parsed(&format!(
            "{LEAST}\nregistries: [{{name: k, kubernetes: {{{text}}}}}]"
        ));
        let RegistrySource::Kubernetes(cluster) = &config.registries[0].source else {
            panic!("{:?}", config.registries[0].source);
        };
        let namespaces: Vec<_> = cluster.facts.secrets.namespaces.iter().collect();
        (cluster.facts.secrets.everywhere, format!("{namespaces:?}"))
    };
    let none = "[]".to_owned();
    assert_eq!(secrets(""), (true, none.clone()));
    assert_eq!(secrets("secrets: {everywhere: false}"), (false, none));
    let edge = r#"[Namespace("edge")]"#.to_owned();
    assert_eq!(secrets("secrets: {namespaces: [edge]}"), (true, edge));
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_what_to_do() {
    // Each text is put below the least configuration, of which line 1 is.
    let cases: &[(&str, &str)] = &[
        (
            "xsd: {}",
            "2: xsd: unknown field `xsd` (did you mean `xds`?)",
        ),
        (
            "xds: {adress: 1}",
            "2: xds.adress: unknown field `adress` (did you mean `address`?)",
        ),
        (
            "xds: 15010",
            "2: xds: expected a map of fields, found a number (known fields: address, plaintext, tls, limits, loads, operators)",
        ),
        (
            "xds: {address: 15010}",
            "2: xds.address: expected text, found the number 15010 (put it in quotes)",
        ),
        (
            "xds: {address: localhost}",
            "2: xds.address: 'localhost': invalid socket address syntax (write it as `127.0.0.1:15010`)",
        ),
        (
            "xds: {address: '0.0.0.0:15010'}",
            "2: xds.address: 0.0.0.0:15010 can be reached from other machines, and this listener is plaintext: its clients prove nothing \
             (use `xds.tls.address` for mutual TLS, or ask for this with `xds.plaintext: true`)",
        ),
        (
            "xds: {address: none}",
            "2: xds.address: no proxy can connect: there is no `xds.tls` either (give one of them)",
        ),
        (
            "xds: {tls: {}}",
            "2: xds.tls.address: this field is required (such as `0.0.0.0:15012`)",
        ),
        (
            "xds: {tls: {address: '0.0.0.0:15010'}}",
            "2: xds.tls: listens on 0.0.0.0:15010, as `xds.address` does (take another port)",
        ),
        (
            "xds: {tls: {address: '0.0.0.0:1', key: k}}",
            "2: xds.tls.certificate: this field is required where another of `certificate`, `key`, `client_ca` is given (without all three, our own authority's certificates are used)\n\
             2: xds.tls.client_ca: this field is required where another of `certificate`, `key`, `client_ca` is given (without all three, our own authority's certificates are used)",
        ),
        (
            "xds: {tls: {address: '0.0.0.0:1', dns_names: ['a b']}}",
            "2: xds.tls.dns_names: 'a b' is neither a DNS name nor an IP address",
        ),
        (
            "xds: {limits: {request_bytes_max: 100}}",
            "2: xds.limits.request_bytes_max: a limit of 100 bytes leaves no room for any message (give at least `4KiB`)",
        ),
        (
            "xds: {limits: {request_bytes_max: 4MB}}",
            "2: xds.limits.request_bytes_max: expected a number of bytes such as `65536`, `64KiB` or `4MiB`, found the text \"4MB\"",
        ),
        (
            "xds: {limits: {starting_streams_max: 0}}",
            "2: xds.limits.starting_streams_max: where no stream may start, none is served (give at least 1, or leave it out)",
        ),
        (
            "xds: {loads: {interval: 10ms}}",
            "2: xds.loads.interval: every proxy reports in each interval, so less than a second costs more than it tells (write it as `10s`)",
        ),
        (
            "xds: {operators: [admin]}",
            "2: xds.operators: 'admin' is not a SPIFFE id: it must begin with 'spiffe://' (write it as `spiffe://mesh.example/ns/ops/sa/admin`)",
        ),
        (
            "xds: {limits: {progress_timeout: 0s}}",
            "2: xds.limits.progress_timeout: a timeout of nothing lets nothing succeed (write it as `5s`)",
        ),
        (
            "start_timeout: 30",
            "2: start_timeout: a duration needs a unit: write `30s` or `30ms`",
        ),
        (
            "state: {path: d, memory: true}",
            "2: state.memory: state is kept in memory or in a directory, not both (remove `memory` or `path`)",
        ),
        ("state: {path: ''}", "2: state.path: the path is empty"),
        (
            "log: {level: loud}",
            "2: log.level: 'loud' is not one of off, error, warn, info, debug, trace (write it as `info,bowline_ads=debug`)",
        ),
        (
            "log: {format: xml}",
            "2: log.format: unknown value `xml` (one of text, json)",
        ),
        (
            "manifests: ./policies",
            "2: manifests: expected a list, found text (begin each item with `- `)",
        ),
        ("manifests: ['']", "2: manifests[0]: the path is empty"),
        (
            "manifests: [./a/, a]",
            "2: manifests[1]: 'a' is listed twice (remove one of them)",
        ),
        (
            "xds: {address: '127.0.0.1:15014'}",
            "2: xds: `xds.address` listens on 127.0.0.1:15014, as `admin.address` does (take another port for one of them)",
        ),
        (
            "xds: {tls: {address: '0.0.0.0:9'}}\nadmin: {address: '127.0.0.1:9'}",
            "3: admin: `xds.tls.address` listens on 0.0.0.0:9, as `admin.address` does (take another port for one of them)",
        ),
        (
            "registries: [{}]",
            "2: registries[0].name: this field is required (a short name for messages and metrics, such as `vms`)\n2: registries[0].inventory: this field is required (it says where the registry is, such as `inventory: {path: ./inventory.yaml}`)",
        ),
        (
            "registries: [{name: v, inventory: {}}]",
            "2: registries[0].inventory.path: this field is required (a file or a directory, such as `./inventory.yaml`)",
        ),
        (
            "registries: [{name: manifests, inventory: {path: x}}]",
            "2: registries[0].name: 'manifests' is the name of what `manifests` reads (take another name)",
        ),
        (
            "registries:\n- {name: a, inventory: {path: x}}\n- {name: a, inventory: {path: y}}",
            "4: registries[1].name: another registry is named 'a', in line 3 (events and state of a registry are kept under its name: take another one)",
        ),
        (
            "registries: [{name: c, consul: {address: x}}]",
            "2: registries[0].consul.address: 'x' is not the address of a Consul agent: it begins with `http://`, `https://` or `unix://` \
             (where an agent listens, such as `http://127.0.0.1:8500`, `https://consul.example:8501` or `unix:///run/consul.sock`)",
        ),
        (
            "registries: [{name: c, consul: {address: \"https://a\"}}]",
            "2: registries[0].consul.tls: an `https` address needs the certificate of who issued the agents' certificates \
             (write `tls: {ca: ./consul-ca.pem}`)",
        ),
        (
            "registries: [{name: c, consul: {address: \"http://a\", service_port: 0}}]",
            "2: registries[0].consul.service_port: 0 is not a number from 1 to 65535 (leave the field out for the default)",
        ),
        (
            "registries: [{name: c, consul: {address: \"http://a\", datacenters: [dc1, dc1]}}]",
            "2: registries[0].consul.datacenters: 'dc1' is listed twice (remove one of them)",
        ),
        (
            "registries: [{name: k, kubernetes: {context: prod}}]",
            "2: registries[0].kubernetes.context: contexts are in a kubeconfig, and none is given (give `kubeconfig`, or leave the context out \
             to watch the cluster in which the server runs)",
        ),
        (
            "registries: [{name: k, kubernetes: {kubeconfig: x}, inventory: {path: y}}]",
            "2: registries[0].inventory: the registry is where `kubernetes` says already (give each source an entry of its own)",
        ),
        (
            "registries: [{name: v, inventory: {path: x}, guard: {share: 50}}]",
            "2: registries[0].guard.share: a share is written in percent: `50%`",
        ),
        (
            "registries: [{name: v, inventory: {path: x}, guard: {share: 0%}}]",
            "2: registries[0].guard.share: expected a share from `1%` to `100%`, or `off`, found the text \"0%\"",
        ),
        (
            "registries: [{name: v, inventory: {path: x}, namespaces: [Shop]}]",
            "2: registries[0].namespaces[0]: ",
        ),
        ("- a", "2"),
        ("mesh: {}", "2"),
    ];
    for (text, expected) in cases {
        let errors = parse(&format!("{LEAST}{text}"))
            .expect_err(text)
            .to_string();
        let expected: Vec<_> = expected
            .split('\n')
            .map(|line| format!("/etc/bowline/bowline.yaml:{line}"))
            .collect();
        let mut lines = errors.lines();
        for expected in &expected {
            let line = lines.next().unwrap_or_default();
            let complete = expected.ends_with([')', '`', '"']) || expected.contains(": the path");
            assert!(
                if complete {
                    line == expected
                } else {
                    line.starts_with(expected)
                },
                "{text}\n  found    {errors}\n  expected {expected}"
            );
        }
        assert_eq!(lines.next(), None, "{text}");
    }
}

#[test]
fn the_mesh_is_checked_too() {
    let cases = [
        (
            "",
            "the configuration is empty (the least that it needs is `mesh: {trust_domain: mesh.example}`)",
        ),
        ("# nothing\n", "the configuration is empty"),
        (
            "{}",
            "1: mesh: this field is required (write `mesh: {trust_domain: mesh.example}`)",
        ),
        ("mesh: {}", "1: mesh.trust_domain: this field is required"),
        (
            "mesh: {trust_domain: 'a b'}",
            "1: mesh.trust_domain: 'a b' ",
        ),
        (
            "mesh: {trust_domain: m, domain: a..b}",
            "1: mesh.domain: 'a..b'",
        ),
        (
            "mesh: {trust_domain: m, outbound: reject}",
            "1: mesh.outbound: unknown value `reject`",
        ),
        (
            "mesh: {trust_domain: m, virtual_addresses: 'fd00::/8'}",
            "1: mesh.virtual_addresses: 'fd00::/8'",
        ),
        (
            "mesh: {trust_domain: m, explicit_http_port: 70000}",
            "1: mesh.explicit_http_port: ",
        ),
        (
            "mesh: {trust_domain: m, explicit_http_port: 0}",
            "1: mesh.explicit_http_port: ",
        ),
        (
            "mesh: {trust_domain: m, east_west_port: 0}",
            "1: mesh.east_west_port: ",
        ),
        (
            "mesh: {trust_domain: m, traffic: {requests_max: 0}}",
            "1: mesh.traffic.requests_max: ",
        ),
        (
            "mesh: {trust_domain: m}\n---\nmesh: {trust_domain: n}",
            "3: a second document begins here",
        ),
        ("mesh: {trust_domain: m", "1: column "),
    ];
    for (text, expected) in cases {
        let errors = parse(text).expect_err(text).to_string();
        let line = errors
            .strip_prefix("/etc/bowline/bowline.yaml:")
            .unwrap_or_default();
        assert!(
            line.trim_start().starts_with(expected),
            "{text}\n  found {errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{text}\n{errors}");
    }
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_lines() {
    let errors = parse(
        "mesh: {domain: 'a b'}\nxds: {address: x}\nregistries:\n  - {name: A}\n  - {name: b, inventory: {path: p}, typo: 1}\n",
    )
    .unwrap_err();
    let lines: Vec<_> = errors
        .errors()
        .iter()
        .filter_map(|error| error.line)
        .collect();
    assert_eq!(lines, [1, 1, 2, 4, 4, 5], "{errors}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Config::load(&directory.path().join("none.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("none.yaml: the configuration cannot be read: No such file"),
        "{missing}"
    );
    let other = directory.path().join("latin1.yaml");
    std::fs::write(&other, b"mesh: {trust_domain: caf\xe9}").unwrap();
    assert!(
        Config::load(&other)
            .unwrap_err()
            .to_string()
            .contains("latin1.yaml:1: ")
    );
    std::fs::write(&other, vec![b'#'; 50 << 20]).unwrap();
    let large = Config::load(&other).unwrap_err().to_string();
    assert!(large.contains("may have 1048576"), "{large}");
    assert!(Config::load(directory.path()).is_err());
}

#[test]
fn a_relative_file_has_relative_paths() {
    let config = Config::parse(Path::new("bowline.yaml"), LEAST.as_bytes()).unwrap();
    assert_eq!(config.state, StateConfig::Directory("data".into()));
}

#[test]
fn a_change_is_applied_as_far_as_it_can_be_while_running() {
    let running = parsed(LEAST);
    assert_eq!(running.difference(&running), Difference::default());
    let new = parsed(
        "mesh: {trust_domain: other.example, outbound: refuse}
xds: {address: '127.0.0.1:1'}
admin: {address: '127.0.0.1:2'}
log: {level: debug, format: json}
manifests: [m]
",
    );
    let difference = running.difference(&new);
    assert!(difference.registries && difference.mesh && difference.log_level);
    assert_eq!(
        difference.needs_restart,
        [
            "mesh.trust_domain",
            "xds.address",
            "admin.address",
            "log.format"
        ]
    );
    let applied = running.applied_live(new.clone());
    assert_eq!(applied.mesh.outbound, OutboundMode::Refuse);
    assert_eq!(applied.mesh.trust_domain, running.mesh.trust_domain);
    assert_eq!(
        applied.registries[0].settings.trust_domain,
        running.mesh.trust_domain
    );
    assert_eq!(applied.xds, running.xds);
    // What waits for the restart is still different, and the rest is not said again.
    let rest = applied.difference(&new);
    assert!(!rest.log_level && !rest.needs_restart.is_empty());
}
