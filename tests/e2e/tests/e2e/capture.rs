//! Transparent capture with iptables, in a network of its own.
//!
//! The test runs itself again in a new network namespace, where it may redirect connections as a
//! pod's init container does. That takes root and iptables; where they are missing the test says
//! so, and `cargo xtask test` repeats it.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::Duration,
};

use bowline_harness::{Envoy, HttpBackend, Request, TcpBackend, User, eventually, program};

use crate::world::{NAMESPACE, World, answered};

/// Tells the second run from the first.
const INSIDE: &str = "BOWLINE_E2E_NETWORK_OF_ITS_OWN";
/// Envoy's user, whose connections are not captured.
const ENVOY_USER: u32 = 1337;
const WORKLOAD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CART: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const DATABASE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
const SNIFFED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 4);
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 5);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 53);

const INVENTORY: &str = "
services:
- {name: application, ports: [{number: 8080, name: http, protocol: http}]}
- {name: cart, ports: [{number: 80, name: http, protocol: http}]}
- {name: database, ports: [{number: 5432, name: tcp, protocol: tcp}]}
- {name: sniffed, ports: [{number: 7000, name: either, protocol: auto}, {number: 7001, name: other, protocol: auto}]}
workloads:
- {name: caller, address: 10.77.0.1, services: [application], ports: {http: 8080}}
- {name: cart-1, address: 10.77.0.2, services: [cart], ports: {http: 8080}}
- {name: database-1, address: 10.77.0.3, services: [database], ports: {tcp: 5432}}
- {name: sniffed-1, address: 10.77.0.4, services: [sniffed], ports: {either: 7000, other: 7001}}
";

#[tokio::test]
async fn captured_connections_go_where_the_mesh_says() {
    if std::env::var_os(INSIDE).is_some() {
        inside().await;
        return;
    }
    let possible = ["true", "iptables --table nat --list"]
        .iter()
        .all(|command| succeeds(&format!("unshare --net {command}")));
    if !possible {
        eprintln!("not proven here: transparent capture, which takes root, unshare and iptables");
        return;
    }
    // There is no network in there to build or fetch anything with.
    let again = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "capture::captured_connections_go_where_the_mesh_says",
            "--nocapture",
        ])
        .env(INSIDE, "yes")
        .env("BOWLINE_PROGRAM", program().await.unwrap())
        .env("BOWLINE_ENVOY", Envoy::binary().await.unwrap())
        .output()
        .unwrap();
    let said = [again.stdout, again.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(again.status.success(), "{}", said.concat());
}

async fn inside() {
    capture_everything();
    let application = HttpBackend::start_on("application", at(WORKLOAD, 8080))
        .await
        .unwrap();
    let _cart = HttpBackend::start_on("cart", at(CART, 8080)).await.unwrap();
    let _database = TcpBackend::start_on("database", at(DATABASE, 5432))
        .await
        .unwrap();
    let _sniffed_http = HttpBackend::start_on("sniffed", at(SNIFFED, 7000))
        .await
        .unwrap();
    let _sniffed_tcp = TcpBackend::start_on("sniffed", at(SNIFFED, 7001))
        .await
        .unwrap();
    let _unknown_http = HttpBackend::start_on("unknown", at(UNKNOWN, 80))
        .await
        .unwrap();
    let _unknown_tcp = TcpBackend::start_on("unknown", at(UNKNOWN, 9999))
        .await
        .unwrap();
    let world = World::start(INVENTORY, "").await;
    let sidecar = sidecar(&world).await;

    let resolved = async |name: &str| {
        eventually("the sidecar resolves the name", async || resolve(name))
            .await
            .unwrap()
    };
    let cart = resolved("cart.shop.svc.cluster.local").await;
    assert_ne!(cart, CART, "a service has an address of its own");
    assert_eq!(resolved("cart").await, cart);
    assert_eq!(resolved("cart.shop").await, cart);
    let database = resolved("database.shop").await;
    let sniffed = resolved("sniffed").await;

    let to_cart = Request::get(at(cart, 80), "cart", "/");
    assert_eq!(answered(&to_cart).await.backend(), Some("cart"));
    assert_eq!(answered(&to_cart.http2()).await.backend(), Some("cart"));
    assert_eq!(who(database, 5432).await, "database");
    let to_sniffed = Request::get(at(sniffed, 7000), "sniffed:7000", "/");
    assert_eq!(answered(&to_sniffed).await.backend(), Some("sniffed"));

    // The server speaks first here, so that there is nothing to sniff.
    assert_eq!(who(sniffed, 7001).await, "sniffed");

    // What the mesh does not know goes where it wanted to go.
    let to_unknown = Request::get(at(UNKNOWN, 80), "unknown.example", "/");
    assert_eq!(answered(&to_unknown).await.backend(), Some("unknown"));
    assert_eq!(who(UNKNOWN, 9999).await, "unknown");

    // A caller of the workload comes through its sidecar too.
    let before = application.requests();
    let to_application = Request::get(at(WORKLOAD, 8080), "application", "/");
    assert_eq!(
        answered(&to_application).await.backend(),
        Some("application")
    );
    assert!(application.requests() > before);
    let inbound = sidecar.stats().await.unwrap();
    let through = inbound.iter().any(|(name, count)| {
        name.starts_with("cluster.inbound|8080")
            && name.ends_with("upstream_rq_total")
            && *count > 0
    });
    assert!(through, "{inbound:#?}");

    // Straight to its own ports there is nothing to find.
    for port in [15001, 15006] {
        let answer = Request::get(at(WORKLOAD, port), "cart", "/").send().await;
        assert!(
            !answer.is_ok_and(|answer| answer.status.is_success()),
            "port {port}"
        );
    }
    sidecar.rejected_nothing().await.unwrap();
}

async fn sidecar(world: &World) -> Envoy {
    let bootstrap = world
        .bowline
        .output(&[
            "bootstrap",
            "--role",
            "sidecar",
            "--name",
            "caller",
            "--namespace",
            NAMESPACE,
            "--capture",
            "transparent",
            "--address",
            "10.77.0.1",
            "--admin-port",
            "0",
        ])
        .await
        .unwrap();
    let writable = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(world.folder(), writable).unwrap();
    let user = User::Other(ENVOY_USER);
    let mut sidecar = Envoy::start_as(user, "sidecar", &bootstrap, world.folder())
        .await
        .unwrap();
    sidecar.ready().await.unwrap();
    sidecar
}

/// What a pod's init container does. Everybody lives on the loopback interface here, so that calls
/// of the workload are told by their destination.
fn capture_everything() {
    for command in [
        "ip link set lo up",
        "ip address add 10.77.0.1/32 dev lo",
        "ip address add 10.77.0.2/32 dev lo",
        "ip address add 10.77.0.3/32 dev lo",
        "ip address add 10.77.0.4/32 dev lo",
        "ip address add 10.77.0.5/32 dev lo",
        "ip route add default dev lo src 10.77.0.2",
        &format!("iptables -t nat -A OUTPUT -m owner --uid-owner {ENVOY_USER} -j RETURN"),
        "iptables -t nat -A OUTPUT -d 127.0.0.0/8 -j RETURN",
        "iptables -t nat -A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 15053",
        "iptables -t nat -A OUTPUT -p tcp -d 10.77.0.1 -j REDIRECT --to-ports 15006",
        "iptables -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001",
    ] {
        assert!(succeeds(command), "{command}");
    }
}

fn succeeds(command: &str) -> bool {
    let mut words = command.split(' ');
    let program = Path::new(words.next().unwrap());
    Command::new(program)
        .args(words)
        .output()
        .is_ok_and(|output| output.status.success())
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

async fn who(address: Ipv4Addr, port: u16) -> String {
    eventually("the backend answers", async || {
        TcpBackend::who_is_behind(at(address, port)).await
    })
    .await
    .unwrap()
}

/// Asks a resolver for the IPv4 address of a name. (RFC 1035, section 4)
fn resolve(name: &str) -> Result<Ipv4Addr, String> {
    let mut query = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let said = |error: std::io::Error| format!("{name}: {error}");
    let socket = UdpSocket::bind(at(CART, 0)).map_err(said)?;
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .map_err(said)?;
    socket.send_to(&query, at(RESOLVER, 53)).map_err(said)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).map_err(said)?;
    let answer = &answer[..length];
    // The address is the last thing in an answer with one record.
    match (answer[3] & 0x0f, answer[7], answer.last_chunk::<4>()) {
        (0, 1.., Some(address)) => Ok(Ipv4Addr::from(*address)),
        _ => Err(format!("{name}: {answer:?}")),
    }
}
