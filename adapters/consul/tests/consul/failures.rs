//! No failure of Consul takes anything out of the mesh.

use bowline_consul::ConsulSettings;
use bowline_harness::consul::{ConsulAgent, Fault, Grant, Instance, Leader};
use bowline_mesh::{Object, PartState};

use crate::running::{Running, SAVED_BEFORE, at, registry};

fn instance(name: &str, last: u8) -> Instance {
    Instance::new(
        name,
        &format!("{name}-{last}"),
        &format!("10.0.0.{last}"),
        8080,
    )
}

/// An agent with two services, and an adapter that has told them.
async fn started(
    settings: impl FnOnce(ConsulSettings) -> ConsulSettings,
) -> (ConsulAgent, Running) {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&instance("cart", 1));
    agent.register(&instance("stock", 2));
    let mut running = Running::start(settings(at(&agent)));
    running
        .until_addresses(&["cart 10.0.0.1", "stock 10.0.0.2"])
        .await;
    (agent, running)
}

#[tokio::test]
async fn every_way_to_fail_keeps_everything_and_says_why() {
    let (agent, mut running) = started(|settings| settings).await;
    for (fault, state) in [
        (Fault::NoLeader, PartState::Stale),
        (Fault::NoPath, PartState::Stale),
        (Fault::Denied, PartState::Denied),
        (Fault::Partial, PartState::Stale),
        (Fault::Cut, PartState::Stale),
        (Fault::Body("[]".to_owned()), PartState::Stale),
        (Fault::Body("{\"a\":".to_owned()), PartState::Stale),
        (
            Fault::Status(http_status(502), "<html>".to_owned()),
            PartState::Stale,
        ),
    ] {
        agent.fault("/v1/catalog/services", fault.clone());
        agent.fault("/v1/health/", fault.clone());
        agent.cut_connections();
        running
            .until(&format!("{fault:?}"), Running::is_failing)
            .await;
        running.until_state(state).await;
        let part = running.parts.borrow().first().cloned().unwrap();
        assert!(
            part.last_error.is_some() && part.stale_for.is_some(),
            "{part:?}"
        );
        assert_eq!(
            running.addresses(),
            ["cart 10.0.0.1", "stock 10.0.0.2"],
            "{fault:?}"
        );
        agent.heal();
        running
            .until("that it is live", |running| !running.is_failing())
            .await;
        running.until_state(PartState::Live).await;
        assert_eq!(
            running.addresses(),
            ["cart 10.0.0.1", "stock 10.0.0.2"],
            "{fault:?}"
        );
    }
    running.stop().await;
}

fn http_status(code: u16) -> http::StatusCode {
    http::StatusCode::from_u16(code).unwrap()
}

#[tokio::test]
async fn an_agent_that_comes_back_with_less_lost_what_is_not_there_any_more() {
    let (mut agent, mut running) = started(|settings| settings).await;
    agent.stop().await;
    running.until("that it fails", Running::is_failing).await;
    assert_eq!(running.addresses(), ["cart 10.0.0.1", "stock 10.0.0.2"]);
    agent.deregister(&instance("stock", 2));
    agent.start_again().await.unwrap();
    running.until_addresses(&["cart 10.0.0.1"]).await;
    assert!(!running.is_failing());
    running.stop().await;
}

#[tokio::test]
async fn another_agent_is_asked_when_the_first_is_gone() {
    let mut first = ConsulAgent::start().await.unwrap();
    let second = first.beside().start().await.unwrap();
    first.register(&instance("cart", 1));
    let mut settings = at(&first);
    settings.addresses.push(second.url().parse().unwrap());
    let mut running = Running::start(settings);
    running.until_addresses(&["cart 10.0.0.1"]).await;
    first.stop().await;
    second.register(&instance("stock", 2));
    running
        .until_addresses(&["cart 10.0.0.1", "stock 10.0.0.2"])
        .await;
    second.register(&instance("cart", 3));
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.3", "stock 10.0.0.2"])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn an_index_that_goes_back_is_a_new_beginning_whose_losses_the_guard_doubts() {
    let agent = ConsulAgent::start().await.unwrap();
    for last in 1..=30 {
        agent.register(&instance("cart", last));
    }
    let mut running = Running::start(at(&agent));
    running
        .until("30 endpoints", |running| running.addresses().len() == 30)
        .await;
    // A snapshot is restored in which most of them are missing.
    let own = agent.own();
    for last in 3..=30 {
        agent.deregister(&instance("cart", last));
    }
    agent.restore_index(5);
    running
        .until("that the loss is held back", |running| {
            running.store.holds_back(&registry().id)
        })
        .await;
    assert_eq!(running.addresses().len(), 30);
    own.register(&instance("stock", 99));
    running
        .until("a new service", |running| running.addresses().len() == 31)
        .await;
    running.stop().await;
}

#[tokio::test]
async fn without_a_leader_nothing_new_is_believed_until_there_is_one() {
    let (agent, mut running) = started(|settings| settings).await;
    agent.own().leader(Leader::Lost);
    running.until("that it fails", Running::is_failing).await;
    assert_eq!(running.addresses(), ["cart 10.0.0.1", "stock 10.0.0.2"]);
    agent.own().leader(Leader::Known);
    agent.register(&instance("cart", 3));
    running
        .until_addresses(&["cart 10.0.0.1", "cart 10.0.0.3", "stock 10.0.0.2"])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_token_may_not_see_any_more_stays_and_what_is_drained_goes() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let agent = ConsulAgent::start().await.unwrap();
    agent.grant("secret", Grant::everything());
    for (name, last) in [("cart", 1), ("stock", 2), ("front", 3)] {
        agent.register(&instance(name, last));
    }
    let mut running = Running::start(ConsulSettings {
        token_file: Some(token.clone()),
        ..at(&agent)
    });
    let all = ["cart 10.0.0.1", "front 10.0.0.3", "stock 10.0.0.2"];
    running.until_addresses(&all).await;
    agent.grant("secret", Grant::services(["cart", "front"]));
    running
        .until("that something is hidden", |running| {
            let mut problems = running.problems.iter();
            problems.any(|problem| problem.code.as_str() == "BW0105")
        })
        .await;
    agent.deregister(&instance("front", 3));
    running
        .until_addresses(&["cart 10.0.0.1", "stock 10.0.0.2"])
        .await;
    agent.revoke("secret");
    agent.cut_connections();
    running.until_state(PartState::Denied).await;
    assert_eq!(running.addresses(), ["cart 10.0.0.1", "stock 10.0.0.2"]);
    agent.grant("another", Grant::everything());
    std::fs::write(&token, "another").unwrap();
    running
        .until("that it is live", |running| !running.is_failing())
        .await;
    running
        .until("no problem", |running| running.problems.is_empty())
        .await;
    assert_eq!(running.addresses(), ["cart 10.0.0.1", "stock 10.0.0.2"]);
    running.stop().await;
}

#[tokio::test]
async fn an_agent_that_refuses_connections_is_read_with_fewer() {
    let agent = ConsulAgent::builder()
        .connections_max(40)
        .start()
        .await
        .unwrap();
    let instances: Vec<Instance> = (0..50)
        .map(|place| instance(&format!("s{place}"), place))
        .collect();
    for instance in &instances {
        agent.register(instance);
    }
    let mut running = Running::start(at(&agent));
    running
        .until("all of them", |running| running.addresses().len() == 50)
        .await;
    running
        .until_part("another way to watch", |part| &*part.mode == "by checks")
        .await;
    let added = instance("s7", 200);
    agent.register(&added);
    running
        .until("one more", |running| running.addresses().len() == 51)
        .await;
    agent.deregister(&added);
    running
        .until("one less", |running| running.addresses().len() == 50)
        .await;
    running.stop().await;
}

#[tokio::test]
async fn an_agent_with_a_rate_limit_is_asked_less_often_and_nothing_is_lost() {
    let (agent, mut running) = started(|settings| settings).await;
    agent.fault_times(5, "/v1/health/service/", Fault::Throttled);
    agent.register(&instance("front", 3));
    running
        .until_addresses(&["cart 10.0.0.1", "front 10.0.0.3", "stock 10.0.0.2"])
        .await;
    running
        .until_part("that it counts", |part| part.throttled > 0)
        .await;
    running.stop().await;
}

#[tokio::test]
async fn one_service_that_cannot_be_read_holds_nobody_up() {
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&instance("cart", 1));
    agent.register(&instance("stock", 2));
    agent.fault("/v1/health/service/stock", Fault::Body("<html>".to_owned()));
    let mut running = Running::start(at(&agent));
    running.until_addresses(&["cart 10.0.0.1"]).await;
    assert_eq!(running.problems.len(), 1, "{:?}", running.problems);
    agent.heal();
    running
        .until_addresses(&["cart 10.0.0.1", "stock 10.0.0.2"])
        .await;
    running
        .until("no problem", |running| running.problems.is_empty())
        .await;
    running.stop().await;
}

#[tokio::test]
async fn after_a_restart_without_consul_everything_of_before_is_there() {
    let (mut agent, running) = started(|settings| settings).await;
    let saved: Vec<Object> = running.objects();
    running.stop().await;
    agent.stop().await;
    let mut running = Running::restarted(at(&agent), saved);
    running.until("that it fails", Running::is_failing).await;
    assert_eq!(running.addresses(), ["cart 10.0.0.1", "stock 10.0.0.2"]);
    agent.start_again().await.unwrap();
    agent.deregister(&instance("stock", 2));
    running.until_addresses(&["cart 10.0.0.1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn after_a_restart_without_consul_it_is_reported_what_is_kept_and_how_old_it_is() {
    let (mut agent, running) = started(|settings| settings).await;
    let saved = running.objects();
    running.stop().await;
    agent.stop().await;
    for datacenter in [None, Some("dc1".into())] {
        let settings = ConsulSettings {
            datacenter,
            ..at(&agent)
        };
        let mut running = Running::restarted(settings, saved.clone());
        running.until_state(PartState::Stale).await;
        let parts = running.parts.borrow().clone();
        let [part] = parts.as_slice() else {
            panic!("one datacenter is known: {parts:?}");
        };
        assert_eq!(
            (&*part.name, part.services, part.instances),
            ("dc1", 2, 2),
            "{part:?}"
        );
        assert!(part.stale_for >= Some(SAVED_BEFORE), "{part:?}");
        assert!(part.last_error.is_some(), "{part:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_instance_is_said_also_while_consul_is_away() {
    let (mut agent, mut running) = started(|settings| settings).await;
    agent.register(&instance("cart", 3).address("no address"));
    running
        .until("a problem", |running| running.problems.len() == 1)
        .await;
    agent.stop().await;
    running.until("that it fails", Running::is_failing).await;
    assert_eq!(running.problems.len(), 1, "{:?}", running.problems);
    running.stop().await;
}
