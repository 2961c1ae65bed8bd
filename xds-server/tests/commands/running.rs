//! Commands that ask a running server.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::program::{CONFIGURATION, Server, directory, run, write};

fn admin(directory: &Path) -> String {
    let addresses = std::fs::read(directory.join("addresses.json")).unwrap();
    let addresses: Value = serde_json::from_slice(&addresses).unwrap();
    format!("http://{}", addresses["admin"].as_str().unwrap())
}

#[test]
fn a_running_server_is_asked_over_http_or_by_its_owner() {
    let directory = directory();
    let _server = Server::start(directory.path());
    let admin = admin(directory.path());
    let of = |line: &str| run(directory.path(), line);
    assert_eq!(
        of(&format!("proxies --admin {admin}")).success(),
        "no proxy is connected\n"
    );
    // The port of the configuration is 0, so this goes to the owner's socket.
    assert_eq!(
        of("proxies --config bowline.yaml -o json").success(),
        "[]\n"
    );
    let registries = of(&format!("registries --admin {admin}")).success();
    assert!(registries.contains("vms"), "{registries}");
    assert!(registries.contains("LAST EVENT"), "{registries}");
    let released = of("registries release vms --config bowline.yaml").success();
    assert_eq!(released, "no loss in registry vms is held back\n");
    let unknown = of("registries release dc1 --config bowline.yaml");
    assert!(
        unknown.status == 1 && unknown.err.contains("'dc1' is not known here"),
        "{unknown:?}"
    );
    let nobody = of(&format!("proxies cart --admin {admin}"));
    assert!(
        nobody.status == 1 && nobody.err.contains("no proxy is connected at all"),
        "{nobody:?}"
    );
    let nobody = of(&format!("render --admin {admin} --proxy a/b~c"));
    assert!(
        nobody.status == 1
            && nobody
                .err
                .contains("no proxy with 'a/b~c' in its id is connected"),
        "{nobody:?}"
    );
}

#[test]
fn a_running_server_issues_by_the_authority_that_it_has_open() {
    let directory = directory();
    drop(Server::start(directory.path()));
    let bundle = run(directory.path(), "ca bundle --config bowline.yaml").success();
    let _server = Server::start(directory.path());
    let line = "ca issue --config bowline.yaml --identity spiffe://mesh.example/ns/shop/sa/cart --out certs";
    run(directory.path(), line).success();
    let written = std::fs::read_to_string(directory.path().join("certs/bundle.pem")).unwrap();
    assert_eq!(written, bundle);
    assert_eq!(
        run(directory.path(), "ca bundle --config bowline.yaml").success(),
        bundle
    );
    assert!(directory.path().join("certs/key.pem").exists());
}

#[test]
fn the_configuration_is_followed_and_a_wrong_one_changes_nothing() {
    let directory = directory();
    let mut server = Server::start(directory.path());
    write(directory.path(), "bowline.yaml", "mesh: {}\n");
    server.signal("HUP");
    let log = server.read_until("goes on with the one it has");
    assert!(
        log.contains("mesh.trust_domain: this field is required"),
        "{log}"
    );
    let check = format!("check --admin {}", admin(directory.path()));
    let wrong = run(directory.path(), &check);
    assert!(
        wrong.status == 1 && wrong.out.contains("error BW0501"),
        "{wrong:?}"
    );
    let changed = CONFIGURATION.replace("admin:", "log: {level: debug}\nadmin:");
    write(
        directory.path(),
        "bowline.yaml",
        &changed.replace("127.0.0.1:0', tls", "127.0.0.1:1', tls"),
    );
    server.signal("HUP");
    let log = server.read_until("log level changed");
    assert!(
        log.contains("takes effect with the next restart") && log.contains("xds.address"),
        "{log}"
    );
    assert!(log.contains("the configuration is right again"), "{log}");
    let is_ready = (0..1000).any(|_| run(directory.path(), &check).status == 0);
    let waiting = run(directory.path(), &check).success();
    assert!(is_ready);
    assert!(
        waiting.contains("warning BW0502\n    xds.address: "),
        "{waiting}"
    );
}

#[test]
fn a_server_that_is_told_to_end_does_so_and_leaves_no_socket() {
    let directory = directory();
    let mut server = Server::start(directory.path());
    let socket = directory.path().join("data/admin.sock");
    assert!(socket.exists());
    server.signal("TERM");
    assert!(server.child.wait().unwrap().success());
    assert!(!socket.exists());
    let admin = admin(directory.path());
    let gone = run(directory.path(), &format!("proxies --admin {admin}"));
    assert_eq!(gone.status, 1);
    assert!(
        gone.err.contains("is `bowline serve` running there?"),
        "{gone:?}"
    );
}

#[test]
fn a_state_directory_that_is_gone_is_an_error_of_the_server() {
    let directory = directory();
    let _server = Server::start(directory.path());
    let admin = admin(directory.path());
    let check = format!("check --admin {admin}");
    // It listens before its registries have answered.
    let is_ready = (0..1000).any(|_| run(directory.path(), &check).status == 0);
    assert!(is_ready, "{:?}", run(directory.path(), &check));
    std::fs::rename(
        directory.path().join("data"),
        directory.path().join("elsewhere"),
    )
    .unwrap();
    let gone = run(directory.path(), &check);
    assert!(
        gone.status == 1 && gone.out.contains("error BW0503"),
        "{gone:?}"
    );
    let issue = "ca issue --config bowline.yaml --identity spiffe://mesh.example/ns/shop/sa/cart --out certs";
    let refused = run(directory.path(), issue);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(!directory.path().join("data").exists());
}

#[test]
fn a_state_directory_that_others_can_write_to_is_warned_of() {
    let directory = directory();
    let warning = "others can write to the state directory";
    let server = Server::start(directory.path());
    assert!(!server.started.contains(warning), "{}", server.started);
    drop(server);
    let data = directory.path().join("data");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    let server = Server::start(directory.path());
    assert!(server.started.contains(warning), "{}", server.started);
}

#[test]
fn a_port_without_an_admin_api_is_said_to_have_none() {
    let directory = directory();
    let _server = Server::start(directory.path());
    let addresses = std::fs::read(directory.path().join("addresses.json")).unwrap();
    let addresses: Value = serde_json::from_slice(&addresses).unwrap();
    let xds = addresses["xds"].as_str().unwrap();
    let ran = run(directory.path(), &format!("check --admin http://{xds}"));
    assert!(
        ran.status == 1 && ran.err.contains("what answers there is no admin API"),
        "{ran:?}"
    );
}

#[test]
fn a_second_server_on_the_same_state_is_refused() {
    let directory = directory();
    let _server = Server::start(directory.path());
    let second = run(directory.path(), "serve --config bowline.yaml");
    assert_eq!(second.status, 1);
    assert!(
        second.err.contains("in use by another process"),
        "{second:?}"
    );
}
