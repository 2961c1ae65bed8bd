//! All proxies connect to a server that was just started.

use anyhow::{Context, Result};

use super::{Arena, Deployment, Measuring, PATIENCE, QUIET, Scenario};
use crate::{
    measure::resident_bytes,
    proxy::kind::Kind,
    report::{KIB_A_PROXY, Measured, Row},
};

pub(super) async fn run(arena: &mut Arena) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let proxies = arena.world.proxies;
    let services = arena.world.services;
    for deployment in &mut arena.deployments {
        let measured = connect(deployment, proxies)
            .await
            .with_context(|| format!("server {}", deployment.name))?;
        check(deployment, services)?;
        rows.push(measured.row(Scenario::ColdStart.name(), deployment.name));
    }
    Ok(rows)
}

/// Connects proxies that have nothing.
pub(super) async fn connect(deployment: &mut Deployment, proxies: usize) -> Result<Measured> {
    let before = resident_bytes(deployment.server.process())?;
    let target = deployment.target();
    let measuring = Measuring::begin(deployment)?;
    let begun = measuring.begun;
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
    let grown = measured.resident_bytes.saturating_sub(before);
    let details = [
        (KIB_A_PROXY, grown as f64 / 1024.0 / proxies as f64),
        ("MiB before", before as f64 / 1024.0 / 1024.0),
        ("distinct resources", deployment.crowd.distinct() as f64),
    ];
    measured.details.extend(details);
    Ok(measured)
}

/// Whether the proxies hold what they have to.
fn check(deployment: &Deployment, services: usize) -> Result<()> {
    for (proxy, member) in deployment.crowd.members().iter().enumerate() {
        for kind in [Kind::Clusters, Kind::Endpoints] {
            let held = member.all(kind).len();
            if held < services {
                anyhow::bail!(
                    "proxy {proxy} of {} holds {held} of {kind:?}; there are {services} services",
                    deployment.name
                );
            }
        }
    }
    Ok(())
}
