//! Proxies connect and disconnect, again and again: what they took has to be given back.

use anyhow::{Result, bail};

use super::{Arena, Deployment, MIB, Measuring, PATIENCE, Scenario};
use crate::{
    measure::resident_bytes,
    report::{Measured, OURS, Row},
};

pub(super) async fn run(arena: &mut Arena) -> Result<Vec<Row>> {
    let rounds = arena
        .extent
        .churn
        .div_ceil(arena.world.proxies.min(TOGETHER));
    let together = arena.world.proxies.min(TOGETHER);
    let mut results = Vec::new();
    for deployment in &mut arena.deployments {
        results.push(Some(churn(deployment, rounds, together).await));
    }
    arena.settle(Scenario::Churn.name(), results)
}

async fn churn(deployment: &mut Deployment, rounds: usize, together: usize) -> Result<Measured> {
    deployment.crowd.disconnect().await;
    // What a server keeps for those that come next is there after some rounds.
    let warm_up = (rounds / 5).max(1);
    for _ in 0..warm_up {
        round(deployment, together).await?;
    }
    let before = resident_bytes(deployment.server.process())?;
    let mut measured = Measured::default();
    let measuring = Measuring::begin(deployment)?;
    for _ in 0..rounds {
        round(deployment, together).await?;
    }
    measuring.end(deployment, &mut measured)?;
    let grown = (measured.resident_bytes as f64 - before as f64) / MIB;
    let details = [
        ("connections", (rounds * together) as f64),
        ("MiB grown", grown),
        (
            "server CPU ms a connection",
            measured.used.server.as_secs_f64() * 1000.0 / (rounds * together) as f64,
        ),
    ];
    measured.details.extend(details);
    let allowed = GROWTH_MAX_MIB.max(before as f64 / MIB / 10.0);
    if deployment.name == OURS && grown > allowed {
        bail!("the server has grown by {grown:.1} MiB while proxies came and went");
    }
    Ok(measured)
}

/// Some proxies connect with nothing, get everything, and go.
async fn round(deployment: &mut Deployment, together: usize) -> Result<()> {
    let target = deployment.server.target();
    let crowd = &mut deployment.crowd;
    for member in crowd.members().iter().take(together) {
        member.restart();
    }
    crowd.begin();
    crowd.connect(&target, 0..together);
    crowd.until_ready(together, PATIENCE).await?;
    crowd.disconnect().await;
    Ok(())
}

/// How many connect at the same time.
const TOGETHER: usize = 100;
/// What an allocator keeps; a tenth of what was used where that is more.
const GROWTH_MAX_MIB: f64 = 16.0;
