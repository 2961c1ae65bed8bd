//! One change, until the last proxy has it; again and again, by turns.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::{MissedTickBehavior, interval};

use super::{Arena, Deployment, Measuring, PATIENCE, QUIET};
use crate::{
    measure::processor_time,
    report::{Measured, Row},
    server::Server,
    statistics::milliseconds,
    world::{Change, World},
};

pub(super) async fn run(
    name: &'static str,
    arena: &mut Arena,
    repetitions: usize,
    change: impl Fn(u64) -> Change,
) -> Result<Vec<Row>> {
    let mut results: Vec<Option<Result<Measured>>> = arena
        .deployments
        .iter()
        .map(|deployment| can(&deployment.server, change(0)).then(|| Ok(Measured::default())))
        .collect();
    for _ in 0..repetitions {
        let change = change(arena.next_marker());
        let world = arena.world;
        for (turn, result) in results.iter_mut().enumerate() {
            until_all_rest(&arena.deployments).await?;
            let Some(deployment) = arena.deployments.get_mut(turn) else {
                continue;
            };
            if let Some(Ok(measured)) = result
                && let Err(error) = once(deployment, &world, change, world.proxies, measured).await
            {
                *result = Some(Err(error));
            }
        }
    }
    let changes = repetitions.max(1) as f64;
    let proxies = arena.world.proxies as f64;
    for measured in results.iter_mut().flatten().flatten() {
        let received = measured.traffic.received_bytes as f64;
        let details = [
            (
                "server CPU ms a change",
                milliseconds(measured.used.server) / changes,
            ),
            (
                "received KiB a proxy and change",
                received / 1024.0 / changes / proxies,
            ),
        ];
        measured.details.extend(details);
    }
    arena.settle(name, results)
}

/// Waits until no server works any more: what one does after its turn, others must not pay for.
async fn until_all_rest(deployments: &[Deployment]) -> Result<()> {
    let used = || -> Result<Duration> {
        let processes = deployments.iter().map(|it| it.server.process());
        processes.map(processor_time).sum()
    };
    let begun = Instant::now();
    let mut looks = interval(QUIET);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.tick().await;
    let mut before = used()?;
    while begun.elapsed() < REST_MAX {
        looks.tick().await;
        let now = used()?;
        if now.saturating_sub(before) < QUIET / 10 {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Some never rest.
const REST_MAX: Duration = Duration::from_secs(5);

/// What was recorded has no resources that are new.
fn can(server: &Server, change: Change) -> bool {
    match (server, change) {
        (Server::Replay(_), Change::Service { .. }) => false,
        (Server::Bowline(_) | Server::Replay(_), _) => true,
    }
}

/// Makes a change and waits until so many proxies have it and have said so.
pub(super) async fn once(
    deployment: &mut Deployment,
    world: &World,
    change: Change,
    proxies: usize,
    measured: &mut Measured,
) -> Result<()> {
    deployment.server.prepare(change).await?;
    let watches = deployment.crowd.watch(&world.awaited(change), proxies);
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
