//! A mistake in a file leaves the last good state, and is visible.

use bowline_harness::{Connections, HttpBackend, Request, eventually, free_port};

use crate::world::{
    Protocol, World, answered, gateway_with_rules, http_services, load, loopback, until,
};

const RULES: &str = "[{backendRefs: [{name: cart, port: 80}]}]";

/// Writes manifests with a mistake while requests run: none fails, the mistake is said, and a
/// mended file is followed.
async fn check(mistake: impl Fn(&str) -> String, said: &str) {
    let cart = HttpBackend::start("cart").await.unwrap();
    let port = free_port().unwrap();
    let good = gateway_with_rules(port, RULES);
    let world = World::start(&http_services(&[("cart", &[cart.port()])]), &good).await;
    let gateway = world.gateway(Protocol::Delta).await;
    let request = Request::get(loopback(port), "shop.example", "/");
    answered(&request).await;

    let load = load(&request, Connections::New);
    world.write_manifests(&mistake(&good));
    eventually("the mistake is said", async || {
        let problems = format!("{:?}", world.problems().await);
        if problems.contains(said) {
            Ok(())
        } else {
            Err(problems)
        }
    })
    .await
    .unwrap();
    load.take_report();
    until(&load, "requests go on", |report| report.succeeded >= 50).await;
    load.stop().await.none_failed().unwrap();

    let header = "[{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-mended, value: \"yes\"}]}}], \
                  backendRefs: [{name: cart, port: 80}]}]";
    world.write_manifests(&gateway_with_rules(port, header));
    eventually("the mended file is followed", async || {
        let answer = request.send().await.map_err(|error| format!("{error:#}"))?;
        answer
            .header("x-mended")
            .map(drop)
            .ok_or("the header is not there")?;
        let problems = world.problems().await;
        if problems.is_empty() {
            Ok(())
        } else {
            Err(format!("{problems:?}"))
        }
    })
    .await
    .unwrap();
    gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_cut_off_leaves_the_last_good_state() {
    check(
        |good| good.split_at(good.len() / 2).0.to_owned() + "\n  bad: [",
        "all.yaml",
    )
    .await;
}

#[tokio::test]
async fn a_wrong_field_leaves_the_last_good_object() {
    check(|good| good.replace("rules:", "rulez:"), "rulez").await;
}

#[tokio::test]
async fn an_empty_file_leaves_the_last_good_state() {
    check(|_| String::new(), "all.yaml").await;
}

#[tokio::test]
async fn a_route_to_an_unknown_service_answers_500_and_is_named() {
    let port = free_port().unwrap();
    let rules = "[{backendRefs: [{name: nobody, port: 80}]}]";
    let world = World::start(&http_services(&[]), &gateway_with_rules(port, rules)).await;
    let gateway = world.gateway(Protocol::Delta).await;
    let request = Request::get(loopback(port), "shop.example", "/");
    eventually("the route answers", async || {
        let answer = request.send().await.map_err(|error| format!("{error:#}"))?;
        if answer.status.as_u16() == 500 {
            Ok(())
        } else {
            Err(format!("status {}", answer.status))
        }
    })
    .await
    .unwrap();
    let problems = format!("{:?}", world.problems().await);
    assert!(problems.contains("nobody"), "{problems}");
    gateway.rejected_nothing().await.unwrap();
}
