//! All proxies connect to a server that was just started.

use anyhow::{Result, bail};

use super::{Arena, Deployment, MIB, Measuring, PATIENCE, QUIET, Scenario};
use crate::{
    measure::resident_bytes,
    proxy::kind::Kind,
    report::{KIB_A_PROXY, Measured, Row},
};

pub(super) async fn run(arena: &mut Arena) -> Result<Vec<Row>> {
    let mut results = Vec::new();
    let proxies = arena.world.proxies;
    let services = arena.world.services;
    for deployment in &mut arena.deployments {
        let connected = connect(deployment, proxies).await;
        let measured = connected.and_then(|measured| {
            check(deployment, services)?;
            deployment.cold_start_bytes = measured.traffic.received_bytes;
            Ok(measured)
        });
        results.push(Some(measured));
    }
    arena.settle(Scenario::ColdStart.name(), results)
}

/// Connects proxies that have nothing.
async fn connect(deployment: &mut Deployment, proxies: usize) -> Result<Measured> {
    let before = resident_bytes(deployment.server.process())?;
    let mut measured = all_ready(deployment, proxies).await?;
    let grown = measured.resident_bytes.saturating_sub(before);
    let details = [
        (KIB_A_PROXY, grown as f64 / 1024.0 / proxies as f64),
        ("MiB before", before as f64 / MIB),
        ("distinct resources", deployment.crowd.distinct() as f64),
    ];
    measured.details.extend(details);
    Ok(measured)
}

/// Connects all proxies with what they have, and waits until they are ready.
pub(super) async fn all_ready(deployment: &mut Deployment, proxies: usize) -> Result<Measured> {
    let target = deployment.server.target();
    let measuring = Measuring::begin(deployment)?;
    let begun = measuring.begun;
    let refusals = deployment.crowd.refusals();
    let crowd = &mut deployment.crowd;
    crowd.begin();
    crowd.connect(&target, 0..proxies);
    let ready = crowd.until_ready(proxies, PATIENCE).await?;
    crowd.until_quiet(QUIET * 5).await?;
    let mut measured = Measured {
        last: ready.into_iter().map(|at| at - begun).collect(),
        ..Measured::default()
    };
    measuring.end(deployment, &mut measured)?;
    let refusals = deployment.crowd.refusals() - refusals;
    measured
        .details
        .insert("connections tried again", refusals as f64);
    Ok(measured)
}

/// Whether the proxies hold what they have to.
fn check(deployment: &Deployment, services: usize) -> Result<()> {
    for (proxy, member) in deployment.crowd.members().iter().enumerate() {
        for kind in [Kind::Clusters, Kind::Endpoints] {
            let held = member.all(kind).len();
            if held < services {
                bail!("proxy {proxy} holds {held} of {kind:?}; there are {services} services");
            }
        }
    }
    Ok(())
}
