//! One change, until the last proxy has it; again and again, by turns.

use anyhow::{Context, Result};

use super::{Arena, Deployment, Measuring, PATIENCE, QUIET};
use crate::{
    report::{Measured, Row},
    world::{Change, World},
};

pub(super) async fn run(
    name: &'static str,
    arena: &mut Arena,
    change: impl Fn(u64) -> Change,
) -> Result<Vec<Row>> {
    let mut measured = vec![Measured::default(); arena.deployments.len()];
    for _ in 0..arena.extent.repetitions {
        let change = change(arena.next_marker());
        let world = arena.world;
        for (deployment, measured) in arena.deployments.iter_mut().zip(&mut measured) {
            once(deployment, &world, change, measured)
                .await
                .with_context(|| format!("server {}", deployment.name))?;
        }
    }
    let rows = arena.deployments.iter().zip(measured);
    let rows = rows.map(|(deployment, mut measured)| {
        let changes = arena.extent.repetitions.max(1) as f64;
        let cpu = measured.used.server.as_secs_f64() * 1000.0 / changes;
        measured.details.insert("server CPU ms a change", cpu);
        measured.row(name, deployment.name)
    });
    Ok(rows.collect())
}

/// Makes a change and waits until all proxies have it and have said so.
pub(super) async fn once(
    deployment: &mut Deployment,
    world: &World,
    change: Change,
    measured: &mut Measured,
) -> Result<()> {
    deployment.server.prepare(change).await?;
    let awaited = world.awaited(change);
    let watches = deployment.crowd.watch(&awaited, world.proxies);
    let measuring = Measuring::begin(deployment)?;
    let at = deployment.server.commit().await?;
    deployment.crowd.begun(&watches, at);
    deployment.crowd.until_arrived(PATIENCE).await?;
    let spread = deployment.crowd.spread(&watches);
    let spread = spread.context("what has arrived has no time")?;
    measured.first.push(spread.first);
    measured.last.push(spread.last);
    // Acknowledgements cost too.
    deployment.crowd.until_quiet(QUIET).await?;
    measuring.end(deployment, measured)?;
    deployment.crowd.forget_watches();
    Ok(())
}
