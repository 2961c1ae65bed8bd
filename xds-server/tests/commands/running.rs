//! Commands that ask a running server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

use crate::program::{CONFIGURATION, bowline, directory, run, write};

/// A running server. It is killed when the test ends, however it ends.
struct Server {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Server {
    /// Starts one and waits until it listens.
    fn start(directory: &Path) -> Self {
        let mut child = bowline()
            .args([
                "serve",
                "--config",
                "bowline.yaml",
                "--addresses-file",
                "addresses.json",
            ])
            .current_dir(directory)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut server = Self { child, log };
        server.read_until("listening");
        server
    }

    /// Reads the log up to a line with a text. Ends when the server does.
    fn read_until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            let length = self.log.read_line(&mut read).unwrap();
            assert!(
                length > 0,
                "the server ended without saying '{text}':\n{read}"
            );
        }
        read
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
    let released = of("registries release vms --config bowline.yaml").success();
    assert_eq!(released, "no loss in registry vms is held back\n");
    let unknown = of("registries release dc1 --config bowline.yaml");
    assert!(
        unknown.status == 1 && unknown.err.contains("'dc1' is not known here"),
        "{unknown:?}"
    );
    let nobody = of(&format!("proxies cart --admin {admin}"));
    assert!(
        nobody.status == 1 && nobody.err.contains("no proxy with 'cart' in its id"),
        "{nobody:?}"
    );
    let nobody = of(&format!("render --admin {admin} --proxy a/b~c"));
    assert!(
        nobody.status == 1 && nobody.err.contains("the proxy 'a/b~c' is not known here"),
        "{nobody:?}"
    );
}

#[test]
fn a_running_server_issues_by_the_authority_that_it_has_open() {
    let directory = directory();
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
