//! What happens to servers and proxies, and what is measured.
//!
//! All servers of a run have their proxies connected at the same time, and take turns: what the rest of the machine does meanwhile hits
//! all of them alike, so that ratios hold.

mod change;
mod churn;
mod cold_start;
mod restart;
mod stalled;
mod stream;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{
    crowd::{Crowd, member::Sums},
    measure::{Moment, resident_bytes},
    report::{Measured, OURS, Row},
    server::Server,
    world::{Change, World},
};

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Scenario {
    /// All proxies connect to a server that was just started
    ColdStart,
    /// One endpoint changes, until the last proxy has it
    EndpointChange,
    /// One route changes, until the last proxy has it
    RouteChange,
    /// Endpoints change many times a second
    EndpointStream,
    /// The instances of a large service are replaced one after the other
    RollingRestart,
    /// One proxy reads nothing while endpoints change, and then reads again
    StalledReader,
    /// A service is added, until the last proxy has its cluster, endpoints and virtual host
    ServiceAdded,
    /// The server is started anew, and all proxies come back with what they hold
    Restart,
    /// All proxies move to another server of the same mesh with what they hold
    Replica,
    /// Proxies connect and disconnect, again and again
    Churn,
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How often a single change is repeated.
    pub repetitions: usize,
    /// How many changes there are each second where they are many.
    pub rate: usize,
    /// How long they go on.
    pub seconds: usize,
    /// How many proxies connect and disconnect.
    pub churn: usize,
}

/// A server with its proxies.
#[derive(Debug)]
pub struct Deployment {
    /// The name in reports.
    pub name: &'static str,
    /// The server.
    pub server: Server,
    /// Its proxies.
    pub crowd: Crowd,
    /// Bytes that the proxies received when they had nothing.
    pub cold_start_bytes: u64,
}

/// The servers of a run.
#[derive(Debug)]
pub struct Arena {
    /// What is served.
    pub world: World,
    /// By whom.
    pub deployments: Vec<Deployment>,
    /// How much is done.
    pub extent: Extent,
    /// The last marker that was used.
    pub marker: u64,
    /// Peers that could not do something and are not there any more, with what it was.
    pub failed: Vec<String>,
}

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// After a change, until nothing of it is under way.
const QUIET: Duration = Duration::from_millis(20);

impl Scenario {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::ColdStart => "cold-start",
            Self::EndpointChange => "endpoint-change",
            Self::RouteChange => "route-change",
            Self::EndpointStream => "endpoint-stream",
            Self::RollingRestart => "rolling-restart",
            Self::StalledReader => "stalled-reader",
            Self::ServiceAdded => "service-added",
            Self::Restart => "restart",
            Self::Replica => "replica",
            Self::Churn => "churn",
        }
    }

    /// Makes it happen to all servers: a row for each. Peers that cannot do it are left out from then on.
    ///
    /// # Errors
    /// When something does not happen that has to.
    pub async fn run(self, arena: &mut Arena) -> Result<Vec<Row>> {
        let name = self.name();
        let repetitions = arena.extent.repetitions;
        // What sends every proxy hundreds of kilobytes is repeated less often.
        let few = repetitions.div_ceil(5);
        match self {
            Self::ColdStart => cold_start::run(arena).await,
            Self::EndpointChange => {
                let world = arena.world;
                change::run(name, arena, repetitions, move |marker| {
                    endpoint(&world, marker)
                })
                .await
            }
            Self::RouteChange => {
                change::run(name, arena, few, |marker| Change::Route { marker }).await
            }
            Self::EndpointStream => {
                let changes = arena.extent.rate * arena.extent.seconds;
                let world = arena.world;
                stream::run(name, arena, changes, move |_, marker| {
                    endpoint(&world, marker)
                })
                .await
            }
            Self::RollingRestart => {
                let replacements = arena.world.large.saturating_sub(1);
                let change = |replaced, marker| Change::Replacement { replaced, marker };
                stream::run(name, arena, replacements, change).await
            }
            Self::StalledReader => stalled::run(arena).await,
            Self::ServiceAdded => {
                change::run(name, arena, few, |marker| Change::Service { marker }).await
            }
            Self::Restart => restart::run(arena).await,
            Self::Replica => restart::run_replica(arena).await,
            Self::Churn => churn::run(arena).await,
        }
        .with_context(|| format!("scenario {name}"))
    }
}

/// Another service each time.
fn endpoint(world: &World, marker: u64) -> Change {
    Change::Endpoint {
        service: usize::try_from(marker).unwrap_or(0) * 7 % world.changing(),
        marker,
    }
}

impl Arena {
    /// A marker that is newer than all before.
    fn next_marker(&mut self) -> u64 {
        self.marker += 1;
        self.marker
    }

    /// Takes what came of something for each deployment, in their order. Ours has to do everything; a peer that does not is gone.
    fn settle(
        &mut self,
        scenario: &'static str,
        results: Vec<Option<Result<Measured>>>,
    ) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let deployments = std::mem::take(&mut self.deployments);
        for (deployment, result) in deployments.into_iter().zip(results) {
            match result {
                Some(Ok(measured)) => rows.push(measured.row(scenario, deployment.name)),
                Some(Err(error)) if deployment.name == OURS => {
                    return Err(error.context(deployment.name));
                }
                Some(Err(error)) => {
                    let name = deployment.name;
                    self.failed
                        .push(format!("{name} from {scenario} on: {error:#}"));
                    continue;
                }
                // It was not asked to.
                None => {}
            }
            self.deployments.push(deployment);
        }
        Ok(rows)
    }
}

/// A measurement that is under way.
struct Measuring {
    begun: Instant,
    moment: Moment,
    traffic: Sums,
}

impl Measuring {
    fn begin(deployment: &Deployment) -> Result<Self> {
        Ok(Self {
            begun: Instant::now(),
            moment: Moment::now(deployment.server.process())?,
            traffic: deployment.crowd.traffic(),
        })
    }

    /// Adds what was used since the beginning.
    fn end(self, deployment: &Deployment, measured: &mut Measured) -> Result<()> {
        let process = deployment.server.process();
        measured.used += Moment::now(process)?.since(self.moment);
        measured.traffic += deployment.crowd.traffic().since(self.traffic);
        measured.elapsed += self.begun.elapsed();
        measured.resident_bytes = resident_bytes(process)?;
        Ok(())
    }
}

const MIB: f64 = 1024.0 * 1024.0;
