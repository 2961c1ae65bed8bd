//! Requests for hosts that no registry has, through a sidecar with explicit listeners.

use std::time::{Duration, Instant};

use bowline_harness::{Answer, HttpBackend, TcpBackend, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::world::{Protocol, World, answered, http_services};

#[tokio::test]
async fn a_request_for_an_unknown_host_goes_there() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let stranger = HttpBackend::start("stranger").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    let port = stranger.port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
        let request = world.request_to(&host);
        assert_eq!(answered(&request).await.backend(), Some("stranger"));
        assert_eq!(answered(&request.http2()).await.backend(), Some("stranger"));
    }
    // What clients send that are told to use a proxy.
    let mut by_proxy = world.request_to("cart");
    by_proxy.path = format!("http://localhost:{port}/");
    assert_eq!(answered(&by_proxy).await.backend(), Some("stranger"));
    let nobody = world.request_to("nobody.invalid").send().await.unwrap();
    assert_eq!(nobody.status, 503, "{}", nobody.text());
    sidecar.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_tunnel_to_an_unknown_host_goes_there() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let stranger = TcpBackend::start("stranger").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let _sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    let said = tunnel(
        &world,
        &format!("localhost:{}", stranger.port()),
        "stranger",
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let own = world.request_to("").address;
    for host in [format!("localhost:{}", own.port()), own.to_string()] {
        let said = tunnel(&world, &host, "\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.1 508"), "{said}");
    }
}

#[tokio::test]
async fn a_request_that_would_come_back_ends_at_once() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let mut sidecar = world.sidecar("caller", Protocol::Delta).await;
    answered(&world.request_to("cart")).await;
    let port = world.request_to("").address.port();
    let connections = format!("listener.127.0.0.1_{port}.downstream_cx_total");
    let before = sidecar.stat(&connections).await.unwrap();
    let begin = Instant::now();
    let loops = [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "10.255.255.255",
        "::1",
    ];
    for host in loops {
        let answer = ask(&world, &format!("{host}:{port}")).await;
        assert_eq!(answer.status, 508, "{host}: {}", answer.text());
        assert!(answer.text().contains("would be a loop"), "{host}");
    }
    // What Envoy might read as the same port, and a host that it might read in another way.
    for host in [
        format!("localhost:0{port}"),
        format!("localhost:+{port}"),
        format!("localhost:{port}:"),
        format!("localhost:{}", u32::from(port) + 65536),
        "[::1".to_owned(),
    ] {
        let answer = ask(&world, &host).await;
        assert!(
            matches!(answer.status.as_u16(), 400 | 502 | 503),
            "{host}: {} {}",
            answer.status,
            answer.text()
        );
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    // One for each request, and none that the sidecar made to itself.
    let after = sidecar.stat(&connections).await.unwrap();
    assert_eq!(after - before, loops.len() as u64 + 5);
    answered(&world.request_to("cart")).await;
    sidecar.alive().unwrap();
}

#[tokio::test]
async fn unknown_hosts_are_refused_where_that_is_configured_and_at_once() {
    let cart = HttpBackend::start("cart").await.unwrap();
    let stranger = HttpBackend::start("stranger").await.unwrap();
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), "").await;
    let sidecar = world.sidecar("caller", Protocol::StateOfTheWorld).await;
    let host = format!("localhost:{}", stranger.port());
    let request = world.request_to(&host);
    answered(&request).await;
    let configuration = world.bowline.configuration();
    let passing = std::fs::read_to_string(&configuration).unwrap();
    let refusing = passing.replace("mesh: {", "mesh: {outbound: refuse, ");
    world.replace(&configuration, &refusing);
    eventually("unknown hosts to be refused", async || {
        let answer = request.send().await?;
        match answer.text().contains("no service here has the host") {
            true => Ok(answer),
            false => anyhow::bail!("{} {}", answer.status, answer.text()),
        }
    })
    .await
    .unwrap();
    assert_eq!(ask(&world, &host).await.status, 502);
    answered(&world.request_to("cart")).await;
    world.replace(&configuration, &passing);
    answered(&request).await;
    sidecar.rejected_nothing().await.unwrap();
}

async fn ask(world: &World, host: &str) -> Answer {
    world
        .request_to(host)
        .send()
        .await
        .unwrap_or_else(|error| panic!("{host}: {error:#}"))
}

/// Asks for a tunnel, and answers with what comes out of it until the text is in it.
async fn tunnel(world: &World, host: &str, until: &str) -> String {
    let mut connection = TcpStream::connect(world.request_to(host).address)
        .await
        .unwrap();
    let head = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut said = String::new();
    let mut buffer = [0; 1024];
    while !said.contains(until) {
        match connection.read(&mut buffer).await.unwrap() {
            0 => break,
            read => said += &String::from_utf8_lossy(&buffer[..read]),
        }
    }
    said
}
