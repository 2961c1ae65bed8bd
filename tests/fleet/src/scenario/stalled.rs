//! One proxy reads nothing while endpoints change: the others must not notice, and it gets only what is newest when it reads again.

use anyhow::{Context, Result, bail};

use super::{Arena, Deployment, MIB, PATIENCE, Scenario, change};
use crate::{
    measure::resident_bytes,
    report::{Measured, OURS, Row},
    world::{Change, World},
};

pub(super) async fn run(arena: &mut Arena) -> Result<Vec<Row>> {
    let world = arena.world;
    let changes: Vec<Change> = (0..arena.extent.repetitions)
        .map(|_| {
            let marker = arena.next_marker();
            super::endpoint(&world, marker)
        })
        .collect();
    let mut results = Vec::new();
    for deployment in &mut arena.deployments {
        results.push(Some(stalled(deployment, &world, &changes).await));
    }
    arena.settle(Scenario::StalledReader.name(), results)
}

async fn stalled(
    deployment: &mut Deployment,
    world: &World,
    changes: &[Change],
) -> Result<Measured> {
    let before = resident_bytes(deployment.server.process())?;
    // Whoever shares its connection cannot read either.
    let stalled = deployment.crowd.streams_per_connection().min(world.proxies);
    let first = deployment
        .crowd
        .members()
        .first()
        .context("there are no proxies")?
        .clone();
    first.stall();
    let mut measured = Measured::default();
    for change in changes {
        let proxies = world.proxies - stalled;
        change::once(deployment, world, *change, proxies, &mut measured).await?;
    }
    let messages = first.messages();
    let watched: Vec<_> = changes
        .iter()
        .flat_map(|change| deployment.crowd.watch(&world.awaited(*change), stalled))
        .collect();
    first.resume();
    deployment.crowd.until_arrived(PATIENCE).await?;
    let caught_up = deployment.crowd.spread(&watched);
    let caught_up = caught_up.context("what has arrived has no time")?;
    deployment.crowd.forget_watches();
    let messages = first.messages() - messages;
    if deployment.name == OURS && messages > MESSAGES_MAX {
        bail!(
            "a proxy that had stalled got {messages} responses for {} changes; the newest state is enough",
            changes.len()
        );
    }
    let after = resident_bytes(deployment.server.process())?;
    let details = [
        ("responses to catch up", messages as f64),
        (
            "ms to catch up",
            crate::statistics::milliseconds(caught_up.last),
        ),
        ("MiB grown", (after as f64 - before as f64) / MIB),
    ];
    measured.details.extend(details);
    Ok(measured)
}

/// One that was on its way, one that was made while that one was not acknowledged, and one with the rest.
const MESSAGES_MAX: u64 = 3;
