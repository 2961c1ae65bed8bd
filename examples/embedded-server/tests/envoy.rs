//! The example with a real Envoy, as its README says.

#![cfg(test)]

use std::{
    io::Write,
    process::{Command, Stdio},
};

use bowline_harness::{Envoy, Request, eventually, free_port};

#[tokio::test]
async fn an_envoy_answers_what_was_published_for_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let (xds, port) = (free_port().unwrap(), free_port().unwrap());
    let mut server = Command::new(env!("CARGO_BIN_EXE_embedded-server"))
        .args([format!("127.0.0.1:{xds}"), port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = server.stdin.take().unwrap();
    input.write_all(b"green not for you\nblue hello\n").unwrap();

    let bootstrap = include_str!("../envoy.yaml").replace("18000", &xds.to_string());
    let bootstrap = format!("node: {{id: one, cluster: blue}}\n{bootstrap}");
    let mut envoy = Envoy::start("envoy", &bootstrap, folder.path())
        .await
        .unwrap();
    envoy.ready().await.unwrap();
    let address = ([127, 0, 0, 1], port).into();
    for text in ["hello", "hello again"] {
        input
            .write_all(format!("blue {text}\n").as_bytes())
            .unwrap();
        eventually("the answer is what was published", async || {
            let answer = Request::get(address, "any", "/").send().await?.text();
            anyhow::ensure!(answer == text, "it is {answer}");
            Ok(())
        })
        .await
        .unwrap();
    }
    envoy.rejected_nothing().await.unwrap();
    envoy.kill().await.unwrap();
    // The end of its input is the end of the server.
    drop(input);
    assert!(server.wait().unwrap().success());
}
