//! What happens to servers and proxies, and what is measured.
//!
//! All servers of a run have their proxies connected at the same time, and take turns: what the rest of the machine does meanwhile hits
//! all of them alike, so that ratios hold.

mod change;
mod cold_start;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{
    crowd::{Crowd, connection::Target, member::Sums},
    measure::{Moment, resident_bytes},
    report::{Measured, Row},
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
}

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How often a single change is repeated.
    pub repetitions: usize,
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
        }
    }

    /// Makes it happen to all servers: a row for each.
    ///
    /// # Errors
    /// When something does not happen that has to.
    pub async fn run(self, arena: &mut Arena) -> Result<Vec<Row>> {
        let name = self.name();
        match self {
            Self::ColdStart => cold_start::run(arena).await,
            Self::EndpointChange => {
                let services = arena.world.services;
                let change = move |marker: u64| Change::Endpoint {
                    service: usize::try_from(marker).unwrap_or(0) * 7 % services,
                    marker,
                };
                change::run(name, arena, change).await
            }
            Self::RouteChange => change::run(name, arena, |marker| Change::Route { marker }).await,
        }
        .with_context(|| format!("scenario {name}"))
    }
}

impl Arena {
    /// A marker that is newer than all before.
    fn next_marker(&mut self) -> u64 {
        self.marker += 1;
        self.marker
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

impl Deployment {
    fn target(&self) -> Target {
        self.server.target()
    }
}
