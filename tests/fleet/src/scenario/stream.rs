//! Many changes a second: how far behind is the last proxy?

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{MissedTickBehavior, interval};

use super::{Arena, Deployment, MIB, Measuring, PATIENCE, QUIET};
use crate::{
    measure::resident_bytes,
    report::{Measured, Row},
    statistics::milliseconds,
    world::{Change, World},
};

/// `change` makes a change from how many there were before and a marker.
pub(super) async fn run(
    name: &'static str,
    arena: &mut Arena,
    changes: usize,
    change: impl Fn(usize, u64) -> Change,
) -> Result<Vec<Row>> {
    let world = arena.world;
    let rate = arena.extent.rate;
    let planned: Vec<Change> = (1..=changes)
        .map(|number| change(number, arena.next_marker()))
        .collect();
    let mut results = Vec::new();
    for deployment in &mut arena.deployments {
        results.push(Some(stream(deployment, &world, &planned, rate).await));
    }
    arena.settle(name, results)
}

async fn stream(
    deployment: &mut Deployment,
    world: &World,
    changes: &[Change],
    rate: usize,
) -> Result<Measured> {
    let mut measured = Measured::default();
    let before = resident_bytes(deployment.server.process())?;
    let measuring = Measuring::begin(deployment)?;
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate)?);
    // A machine that is busy makes them later, not fewer.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut watches = Vec::new();
    for change in changes {
        ticks.tick().await;
        deployment.server.prepare(*change).await?;
        let watch = deployment
            .crowd
            .watch(&world.awaited(*change), world.proxies);
        let at = deployment.server.commit().await?;
        deployment.crowd.begun(&watch, at);
        watches.push(watch);
    }
    let took = measuring.begun.elapsed();
    deployment
        .crowd
        .until_arrived(PATIENCE.min(took.max(QUIET) * 2 + QUIET * 50))
        .await?;
    deployment.crowd.until_quiet(QUIET).await?;
    measuring.end(deployment, &mut measured)?;
    for watch in &watches {
        let spread = deployment.crowd.spread(watch);
        let spread = spread.context("what has arrived has no time")?;
        measured.first.push(spread.first);
        measured.last.push(spread.last);
    }
    deployment.crowd.forget_watches();
    let count = changes.len().max(1) as f64;
    let grown = measured.resident_bytes as f64 - before as f64;
    let details = [
        ("changes a second", count / took.as_secs_f64()),
        (
            "server CPU ms a change",
            milliseconds(measured.used.server) / count,
        ),
        (
            "responses a proxy and change",
            measured.traffic.received_messages as f64 / count / world.proxies as f64,
        ),
        ("MiB grown", grown / MIB),
    ];
    measured.details.extend(details);
    Ok(measured)
}
