//! All proxies come back with what they hold: to the server, which was started anew, and to another one of the same mesh.

use anyhow::{Result, bail};

use super::{Arena, Deployment, Scenario, cold_start};
use crate::{
    report::{Measured, OURS, Row},
    server::Server,
    world::World,
};

pub(super) async fn run(arena: &mut Arena) -> Result<Vec<Row>> {
    let world = arena.world;
    let mut results = Vec::new();
    for deployment in &mut arena.deployments {
        let result = async {
            deployment.server.restart().await?;
            deployment.crowd.until_ended().await;
            come_back(deployment, &world).await
        };
        results.push(Some(result.await));
    }
    arena.settle(Scenario::Restart.name(), results)
}

pub(super) async fn run_replica(arena: &mut Arena) -> Result<Vec<Row>> {
    let world = arena.world;
    let mut results = Vec::new();
    for deployment in &mut arena.deployments {
        let replica = match &deployment.server {
            Server::Bowline(server) => server.replica().await?,
            // What is told the same is the same.
            Server::Replay(_) => {
                results.push(None);
                continue;
            }
        };
        deployment.crowd.disconnect().await;
        deployment.server = Server::Bowline(replica);
        results.push(Some(come_back(deployment, &world).await));
    }
    arena.settle(Scenario::Replica.name(), results)
}

async fn come_back(deployment: &mut Deployment, world: &World) -> Result<Measured> {
    let mut measured = cold_start::all_ready(deployment, world.proxies).await?;
    let received = measured.traffic.received_bytes as f64;
    let cold = deployment.cold_start_bytes.max(1) as f64;
    let share = 100.0 * received / cold;
    measured
        .details
        .insert("% of the bytes of a cold start", share);
    let is_delta = world.state_of_the_world_percent == 0;
    let allowed = cold * SHARE_MAX + NOTHING_BYTES * world.proxies as f64;
    if deployment.name == OURS && is_delta && received > allowed {
        bail!("proxies that hold everything were sent {share:.2} % of the bytes of a cold start");
    }
    Ok(measured)
}

/// Of the bytes of a cold start, where all proxies speak delta.
const SHARE_MAX: f64 = 0.01;
/// What it takes to tell a proxy that nothing has changed.
const NOTHING_BYTES: f64 = 512.0;
