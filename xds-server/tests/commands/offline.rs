//! Commands without a server.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::program::{Ran, Server, bowline, directory, run, write};

#[test]
fn every_help_has_an_example() {
    let directory = directory();
    for command in [
        "",
        "serve",
        "check",
        "render",
        "bootstrap",
        "proxies",
        "registries",
        "registries release",
        "ca",
        "ca issue",
        "ca bundle",
    ] {
        let help = run(directory.path(), &format!("{command} --help")).success();
        assert!(help.contains("Example"), "{command}: {help}");
    }
}

#[test]
fn wrong_usage_has_exit_status_2_and_says_what_is_right() {
    let directory = directory();
    let cases = [
        ("serv", "serve"),
        ("render --config bowline.yaml", "--workload"),
        (
            "render --config bowline.yaml --workload cart",
            "namespace/name",
        ),
        (
            "render --config bowline.yaml --workload shop/cart --type vds",
            "cds, eds",
        ),
        (
            "render --admin https://127.0.0.1 --proxy a",
            "http://127.0.0.1:15014",
        ),
        (
            "proxies --config bowline.yaml --admin http://127.0.0.1:1",
            "cannot be used with",
        ),
        ("registries release vms", "--config <FILE>"),
        (
            "ca issue --config bowline.yaml --identity spiffe://mesh.example/ns/a/sa/b --out inventory.yaml",
            "`--out` is a directory, and inventory.yaml is none",
        ),
        (
            "bootstrap --role sidecar --name a",
            "<--config <FILE>|--xds <HOST:PORT>>",
        ),
        ("check", "<--config <FILE>|--admin <URL>>"),
        (
            "ca issue --config bowline.yaml --identity cart --out .",
            "spiffe",
        ),
        (
            "ca issue --config bowline.yaml --identity spiffe://mesh.example/ns/a/sa/b --out . --ttl 1",
            "30s",
        ),
        (
            "bootstrap --config bowline.yaml --role sidecar --name a",
            "give `--xds HOST:PORT`",
        ),
    ];
    for (line, expected) in cases {
        let ran = run(directory.path(), line);
        assert_eq!(ran.status, 2, "{line}: {ran:?}");
        assert!(ran.err.contains(expected), "{line}: {ran:?}");
    }
}

#[test]
fn check_finds_nothing_wrong_with_what_is_right() {
    let directory = directory();
    let out = run(
        directory.path(),
        "check --config bowline.yaml --deny-warnings",
    )
    .success();
    assert_eq!(
        out,
        "no problems (checked: 1 registry, 1 service, 1 endpoint)\n"
    );
    // Looking leaves nothing behind.
    assert!(!directory.path().join("data").exists());
}

#[test]
fn check_names_what_is_wrong_and_has_exit_status_1() {
    let directory = directory();
    write(
        directory.path(),
        "inventory.yaml",
        "namespace: shop\nservices:\n  - {name: cart, ports: [{number: 0}]}\n",
    );
    let ran = run(directory.path(), "check --config bowline.yaml");
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.out.contains("inventory.yaml:3"), "{ran:?}");
    let listed: Value =
        serde_json::from_str(&run(directory.path(), "check --config bowline.yaml -o json").out)
            .unwrap();
    assert_eq!(
        listed["summary"]["errors"],
        listed["problems"].as_array().unwrap().len()
    );

    write(
        directory.path(),
        "bowline.yaml",
        "mesh: {trust_domain: m}\nxsd: {}\nlog: {level: loud}\n",
    );
    let Ran { status, out, .. } = run(directory.path(), "check --config bowline.yaml");
    assert_eq!(status, 1);
    assert!(
        out.contains("bowline.yaml:2: xsd: unknown field `xsd`")
            && out.contains("bowline.yaml:3: log.level"),
        "{out}"
    );
    assert!(out.contains("2 errors, 0 warnings"), "{out}");
}

#[test]
fn render_shows_routes_as_the_version_of_envoy_takes_them() {
    let directory = directory();
    let line = "render --config bowline.yaml --workload shop/cart-1 -o json";
    let hosts = |version: &str| {
        let all = run(directory.path(), &format!("{line}{version}")).success();
        let all: Value = serde_json::from_str(&all).unwrap();
        let of = |list: &Value| list.as_array().map_or(0, Vec::len);
        let tables = all["RDS"].as_array().unwrap().iter();
        let within: usize = tables
            .map(|table| of(&table["resource"]["virtual_hosts"]))
            .sum();
        (of(&all["VHDS"]), within)
    };
    let (by_themselves, none) = hosts("");
    let (no, within) = hosts(" --envoy-version 1.37.2");
    assert!(by_themselves > 0 && within > 0);
    assert_eq!((none, no), (0, 0));
    let old = run(directory.path(), &format!("{line} --envoy-version 1.20"));
    assert_eq!(old.status, 2, "{old:?}");
}

#[test]
fn render_shows_what_a_workload_would_get() {
    let directory = directory();
    let line = "render --config bowline.yaml --workload shop/cart-1 -o json";
    let all: Value = serde_json::from_str(&run(directory.path(), line).success()).unwrap();
    let names: Vec<_> = all.as_object().unwrap().keys().collect();
    // Every type, also where there is nothing of it: a script need not ask whether it is there.
    assert_eq!(
        names,
        [
            "CDS", "ECDS", "EDS", "LDS", "RDS", "RTDS", "SDS", "SRDS", "VHDS"
        ]
    );
    let cluster = "outbound|80||cart.shop.svc.cluster.local";
    let eds = run(
        directory.path(),
        &format!("{line} --type eds --name {cluster}"),
    )
    .success();
    let eds: Value = serde_json::from_str(&eds).unwrap();
    assert_eq!(eds["EDS"][0]["resource"]["cluster_name"], cluster);
    assert_eq!(
        run(directory.path(), line).out,
        run(directory.path(), line).out
    );
    let nothing = run(
        directory.path(),
        &format!("{line} --type cds --name nothing"),
    );
    assert_eq!(nothing.status, 1, "{nothing:?}");
    let gateway = run(
        directory.path(),
        "render --config bowline.yaml --gateway shop/edge",
    );
    assert_eq!(gateway.status, 1);
    assert!(
        gateway
            .err
            .contains("no registry has gateway shop/edge; there is none"),
        "{gateway:?}"
    );
    let line = "render --config bowline.yaml --east-west vpc-2 -o json --type lds";
    let listeners: Value = serde_json::from_str(&run(directory.path(), line).success()).unwrap();
    assert_eq!(listeners["LDS"][0]["name"], "0.0.0.0_15443");
}

#[test]
fn check_counts_a_mistake_once() {
    let directory = directory();
    write(
        directory.path(),
        "bowline.yaml",
        "mesh: {trust_domain: m}\nregistries: [{name: a, inventory: {path: ./none.yaml}}]\nmanifests: [./nothing/]\n",
    );
    let Ran { status, out, .. } = run(directory.path(), "check --config bowline.yaml");
    assert_eq!(status, 1);
    assert!(out.contains("2 errors, 0 warnings"), "{out}");
}

#[test]
fn check_finds_certificates_with_which_no_server_could_start() {
    let directory = directory();
    write(
        directory.path(),
        "bowline.yaml",
        "mesh: {trust_domain: m}\nxds: {tls: {address: '127.0.0.1:0', certificate: a, key: b, client_ca: c}}\n",
    );
    let Ran { status, out, .. } = run(directory.path(), "check --config bowline.yaml");
    assert_eq!(status, 1);
    assert!(
        out.contains("xds.tls: cannot serve mutual TLS: cannot read a: No such file"),
        "{out}"
    );
    let served = run(directory.path(), "serve --config bowline.yaml");
    assert_eq!(served.status, 1, "{served:?}");
    assert_eq!(served.err.matches("No such file").count(), 1, "{served:?}");
}

#[test]
fn only_a_server_makes_an_authority() {
    let directory = directory();
    for command in [
        "ca bundle --config bowline.yaml",
        "ca issue --config bowline.yaml --identity spiffe://mesh.example/ns/a/sa/b --out certs",
    ] {
        let ran = run(directory.path(), command);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(
            ran.err
                .contains("there is no certificate authority in data"),
            "{ran:?}"
        );
    }
    assert!(!directory.path().join("data").exists());
    assert!(!directory.path().join("certs").exists());
}

#[test]
fn a_certificate_is_issued_without_a_server_and_its_key_is_private() {
    let directory = directory();
    // It has made the authority, and is gone again.
    drop(Server::start(directory.path()));
    let issue = "ca issue --config bowline.yaml --out certs --identity";
    run(
        directory.path(),
        &format!("{issue} spiffe://mesh.example/ns/shop/sa/cart"),
    )
    .success();
    let certs = directory.path().join("certs");
    let mode = std::fs::metadata(certs.join("key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let read = |name: &str| std::fs::read_to_string(certs.join(name)).unwrap();
    let bundle = run(directory.path(), "ca bundle --config bowline.yaml").success();
    assert_eq!(read("bundle.pem"), bundle);
    let sds = read("certificate.sds.yaml");
    assert!(
        sds.contains(
            &certs
                .canonicalize()
                .unwrap()
                .join("key.pem")
                .display()
                .to_string()
        ),
        "{sds}"
    );
    let other = run(
        directory.path(),
        &format!("{issue} spiffe://other.example/ns/shop/sa/cart"),
    );
    assert_eq!(other.status, 1);
    assert!(
        other.err.contains("trust domain 'mesh.example' only"),
        "{other:?}"
    );
    write(
        directory.path(),
        "bowline.yaml",
        "mesh: {trust_domain: mesh.example}\nstate: {memory: true}\n",
    );
    let memory = run(
        directory.path(),
        &format!("{issue} spiffe://mesh.example/ns/shop/sa/cart"),
    );
    assert_eq!(memory.status, 2, "{memory:?}");
}

#[test]
fn output_that_nobody_reads_to_the_end_is_no_error() {
    let directory = directory();
    let mut child = bowline()
        .args([
            "render",
            "--config",
            "bowline.yaml",
            "--workload",
            "shop/cart-1",
        ])
        .current_dir(directory.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
