//! What is in Consul, and what changes there.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bowline_harness::{
    Request,
    consul::{Instance, RealConsul},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use serde_json::json;
use tokio::time::MissedTickBehavior;

/// Changes of health in a second.
const FLIPS_PER_SECOND: u32 = 150;
/// Of them, on their way at once.
const AT_ONCE: usize = 24;

/// Machines with instances. A change of a check costs Consul time for each other check of its machine.
const MACHINES: usize = 500;

const HOT: &str = "hot";
/// The service that is changed to see how late that is.
pub(crate) const PROBED: &str = "service-7";

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) services: usize,
    /// Of each service.
    pub(crate) instances: usize,
    /// Of one service more.
    pub(crate) hot: usize,
}

impl Size {
    pub(crate) fn instances(self) -> usize {
        self.services * self.instances + self.hot
    }
}

/// Its instance that is changed.
pub(crate) fn probe() -> Instance {
    instance(PROBED, 0, 7)
}

fn instance(service: &str, number: usize, machine: usize) -> Instance {
    let [_, _, high, low] = (number as u32).to_be_bytes();
    Instance::new(
        service,
        &format!("{service}-{number}"),
        &format!("10.9.{high}.{low}"),
        8080,
    )
    .on(&format!("machine-{}", machine % MACHINES), "10.8.0.1")
    .meta("version", "v1")
    .tag("primary")
}

/// Registers everything.
pub(crate) async fn register(server: &RealConsul, size: Size) -> Result<()> {
    let services = (0..size.services).flat_map(|service| {
        // The instances of a service are on machines of their own, and each machine has instances of many services.
        (0..size.instances).map(move |number| {
            let name = format!("service-{service}");
            instance(&name, number, service + number)
        })
    });
    let hot = (0..size.hot).map(|number| instance(HOT, number, number));
    server.register_all(services.chain(hot)).await
}

/// Changes the health of one instance after the other, for ever.
pub(crate) async fn flip(consul: SocketAddr) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / FLIPS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let flips = stream::unfold((0, ticks), async |(number, mut ticks)| {
        ticks.tick().await;
        Some((number, (number + 1, ticks)))
    });
    flips
        .map(async |number| {
            let (round, place) = (number / 2000, number % 2000);
            let health = match round % 2 {
                0 => "critical",
                _ => "passing",
            };
            let instance = instance(HOT, place, place);
            let check = format!("service:{}", instance.id());
            let registration = json!({
                "Node": instance.node(),
                "SkipNodeUpdate": true,
                "Check": {
                    "CheckID": check, "Name": check, "ServiceID": instance.id(), "Status": health,
                },
            });
            let request = Request {
                body: registration.to_string().into(),
                ..Request::get(consul, "consul", "/v1/catalog/register").method(Method::PUT)
            };
            request.send().await.context("Consul does not answer")
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await
}
