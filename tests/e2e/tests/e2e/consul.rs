//! Services that are registered in Consul.

use bowline_harness::{
    Connections, Envoy, HttpBackend, Request,
    consul::{ConsulAgent, Health, Instance},
    eventually, free_port,
};

use crate::world::{
    NAMESPACE, Protocol, World, answered, gateway_with_rules, http_services, load, loopback, until,
};

/// An inventory in which nothing is.
const NO_MACHINES: &str = "services: []\n";

/// A datacenter, and a gateway that sends everything to the service `cart`.
struct Datacenter {
    gateway: Envoy,
    world: World,
    agent: ConsulAgent,
    request: Request,
}

impl Datacenter {
    /// With these machines in an inventory besides.
    async fn start(agent: ConsulAgent, inventory: &str) -> Self {
        Self::among(agent, &[], inventory).await
    }

    /// With these datacenters in the entry; the gateway stands in the agent's.
    async fn among(agent: ConsulAgent, datacenters: &[&str], inventory: &str) -> Self {
        let port = free_port().unwrap();
        let route = gateway_with_rules(port, "[{backendRefs: [{name: cart, port: 80}]}]");
        let mut world = World::prepare(inventory, &route).await;
        let tls = match agent.authority() {
            Some(authority) => {
                std::fs::write(world.folder().join("consul-ca.pem"), authority).unwrap();
                ", tls: {ca: ./consul-ca.pem}"
            }
            None => "",
        };
        let configuration = format!(
            "mesh: {{trust_domain: mesh.test}}\nmanifests: [./manifests/]\nregistries:\n\
             - name: dc1\n  namespace: {NAMESPACE}\n  consul: {{address: \"{}\", datacenters: [{}]{tls}}}\n\
             - name: vms\n  namespace: {NAMESPACE}\n  inventory: {{path: ./inventory.yaml}}\n",
            agent.url(),
            datacenters.join(", "),
        );
        world.bowline.configure(&configuration).unwrap();
        world.bowline.launch().await.unwrap();
        world.bowline.ready().await.unwrap();
        let node = ["--role", "gateway", "--name", "edge", "--locality", "dc1"];
        let mut gateway = world.envoy("gateway", &node, Protocol::Delta).await;
        gateway.ready().await.unwrap();
        Self {
            gateway,
            world,
            agent,
            request: Request::get(loopback(port), "shop.example", "/"),
        }
    }

    async fn said_to_be(&self, state: &str) {
        eventually("the state of the datacenter", async || {
            let listed = self.world.bowline.output(&["registries"]).await.unwrap();
            let mut lines = listed.lines().filter(|line| line.starts_with("dc1"));
            match lines.any(|line| line.contains(state)) {
                true => Ok(()),
                false => Err(listed),
            }
        })
        .await
        .unwrap();
    }
}

fn instance(backend: &HttpBackend) -> Instance {
    let id = format!("cart-{}", backend.port());
    Instance::new("cart", &id, "127.0.0.1", backend.port())
        .meta("service-port", "80")
        .meta("protocol", "http")
}

#[tokio::test]
async fn an_instance_that_is_registered_is_routed_to() {
    let backend = HttpBackend::start("first").await.unwrap();
    let agent = ConsulAgent::builder().https().start().await.unwrap();
    let datacenter = Datacenter::start(agent, NO_MACHINES).await;
    datacenter.agent.register(&instance(&backend));
    let answer = answered(&datacenter.request).await;
    assert_eq!(answer.backend(), Some("first"));
    datacenter.said_to_be("live").await;
    datacenter.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn maintenance_and_an_agent_that_is_away_cost_no_request() {
    let backends = [
        HttpBackend::start("first").await.unwrap(),
        HttpBackend::start("second").await.unwrap(),
    ];
    let [first, second] = &backends;
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&instance(first));
    agent.register(&instance(second));
    let mut datacenter = Datacenter::start(agent, NO_MACHINES).await;
    answered(&datacenter.request).await;
    let load = load(&datacenter.request, Connections::Kept);
    until(&load, "both answer", |report| {
        report.answered_by("first") > 0 && report.answered_by("second") > 0
    })
    .await;

    datacenter
        .agent
        .own()
        .start_maintenance(&instance(first), "an upgrade");
    until(&load, "only the second answers", |report| {
        report.since_last_of("first") > 100
    })
    .await;
    datacenter.agent.own().end_maintenance(&instance(first));
    let during = load.take_report();
    until(&load, "the first answers again", |report| {
        report.answered_by("first") > 0
    })
    .await;

    datacenter.agent.stop().await;
    datacenter.said_to_be("stale for").await;
    let away = load.take_report();
    until(&load, "traffic goes on", |report| {
        report.answered_by("first") > 50 && report.answered_by("second") > 50
    })
    .await;
    datacenter.agent.deregister(&instance(first));
    datacenter.agent.start_again().await.unwrap();
    until(&load, "only the second answers", |report| {
        report.since_last_of("first") > 100
    })
    .await;
    datacenter.said_to_be("live").await;
    for report in [during, away, load.stop().await] {
        report.none_failed().unwrap();
    }
    datacenter.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_restart_while_the_agent_is_away_costs_no_request() {
    let backend = HttpBackend::start("first").await.unwrap();
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&instance(&backend));
    let mut datacenter = Datacenter::start(agent, NO_MACHINES).await;
    answered(&datacenter.request).await;
    let load = load(&datacenter.request, Connections::Kept);
    datacenter.agent.stop().await;
    datacenter.said_to_be("stale for").await;

    datacenter.world.bowline.terminate().await.unwrap();
    datacenter.world.bowline.launch().await.unwrap();
    datacenter.world.bowline.ready().await.unwrap();
    datacenter.said_to_be("failing").await;
    eventually("the gateway is connected again", async || match datacenter
        .gateway
        .stat("control_plane.connected_state")
        .await
    {
        Ok(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    load.take_report();
    until(&load, "traffic goes on", |report| {
        report.answered_by("first") > 100
    })
    .await;

    let second = HttpBackend::start("second").await.unwrap();
    datacenter.agent.register(&instance(&second));
    datacenter.agent.start_again().await.unwrap();
    until(&load, "what is new answers", |report| {
        report.answered_by("second") > 0
    })
    .await;
    datacenter.said_to_be("live").await;
    load.stop().await.none_failed().unwrap();
    datacenter.gateway.rejected_nothing().await.unwrap();
}

#[tokio::test]
async fn a_service_in_consul_and_in_an_inventory_is_one_cluster() {
    let registered = HttpBackend::start("registered").await.unwrap();
    let written = HttpBackend::start("written").await.unwrap();
    let agent = ConsulAgent::start().await.unwrap();
    agent.register(&instance(&registered));
    let inventory = http_services(&[("cart", &[written.port()])]);
    let datacenter = Datacenter::start(agent, &inventory).await;
    answered(&datacenter.request).await;
    let load = load(&datacenter.request, Connections::Kept);
    until(&load, "both answer", |report| {
        report.answered_by("registered") > 0 && report.answered_by("written") > 0
    })
    .await;
    load.stop().await.none_failed().unwrap();
    let clusters = datacenter.gateway.clusters().await.unwrap();
    let carts: Vec<_> = clusters
        .iter()
        .filter(|cluster| cluster.contains("cart.shop"))
        .collect();
    assert_eq!(carts, ["outbound|80||cart.shop.svc.cluster.local"]);
}

#[tokio::test]
async fn the_own_datacenter_answers_and_when_it_fails_the_others_in_the_order_of_the_entry() {
    let backends = [
        HttpBackend::start("one").await.unwrap(),
        HttpBackend::start("two").await.unwrap(),
        HttpBackend::start("three").await.unwrap(),
    ];
    let [one, two, three] = backends.each_ref().map(instance);
    let agent = ConsulAgent::start().await.unwrap();
    let [dc1, dc2, dc3] = ["dc1", "dc2", "dc3"].map(|name| agent.datacenter(name));
    dc1.register(&one);
    dc2.register(&two);
    dc3.register(&three);
    let datacenter = Datacenter::among(agent, &["dc3", "dc2", "dc1"], NO_MACHINES).await;
    answered(&datacenter.request).await;
    let load = load(&datacenter.request, Connections::Kept);
    let only = async |name: &str| {
        until(&load, &format!("only {name} answers"), |report| {
            let others = ["one", "two", "three"].into_iter();
            let mut others = others.filter(|other| *other != name);
            report.answered_by(name) > 100 && others.all(|other| report.since_last_of(other) > 100)
        })
        .await;
    };
    only("one").await;
    dc1.health(&one, Health::Critical);
    only("three").await;
    dc3.health(&three, Health::Critical);
    only("two").await;
    dc3.health(&three, Health::Passing);
    only("three").await;
    dc1.health(&one, Health::Passing);
    only("one").await;
    load.stop().await.none_failed().unwrap();
    datacenter.gateway.rejected_nothing().await.unwrap();
}
