//! A run: servers are started, scenarios happen to them, a report is written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    crowd::Crowd,
    proxy::memo::{Keep, Memo},
    recording::Recording,
    report::Report,
    scenario::{Arena, Deployment, Extent, Scenario},
    security::Security,
    server::{
        Server,
        bowline::Bowline,
        replay::{Program, Replay},
    },
    world::World,
};

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What happens; all scenarios if none is named
    #[arg(value_enum)]
    pub scenarios: Vec<Scenario>,
    /// Which servers take turns
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "bowline,floor"
    )]
    pub servers: Vec<ServerName>,
    /// How many proxies connect to each server
    #[arg(long, default_value_t = 1000)]
    pub proxies: usize,
    /// How many services there are
    #[arg(long, default_value_t = 1000)]
    pub services: usize,
    /// How many endpoints each service has in every network
    #[arg(long, default_value_t = 10)]
    pub endpoints: usize,
    /// Kinds of workload that proxies stand beside, each with a port of its own
    #[arg(long, default_value_t = 200)]
    pub workloads: usize,
    /// Namespaces
    #[arg(long, default_value_t = 50)]
    pub namespaces: usize,
    /// Zones
    #[arg(long, default_value_t = 3)]
    pub zones: usize,
    /// Networks
    #[arg(long, default_value_t = 2)]
    pub networks: usize,
    /// Of a hundred proxies so many speak state of the world; real fleets have some 30
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub sotw: u8,
    /// Over mutual TLS
    #[arg(long)]
    pub tls: bool,
    /// How many proxies share a connection
    #[arg(long, default_value_t = 1, value_parser = positive)]
    pub streams_per_connection: usize,
    /// How often a single change is repeated
    #[arg(long, default_value_t = 50)]
    pub repetitions: usize,
    /// Where the figures are written as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// The program `bowline`
    #[arg(long)]
    pub bowline: PathBuf,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) => Err("it has to be at least 1".to_owned()),
        Err(error) => Err(format!("{error}")),
    }
}

/// A server that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum ServerName {
    /// The real program
    Bowline,
    /// Nothing but sending what Bowline served, on bare HTTP/2
    Floor,
    /// The same on tonic
    FloorTonic,
}

impl ServerName {
    fn name(self) -> &'static str {
        match self {
            Self::Bowline => "bowline",
            Self::Floor => "floor",
            Self::FloorTonic => "floor-tonic",
        }
    }
}

/// Measures. `say` is told what is being done.
///
/// # Errors
/// When a server does not do what it has to.
pub async fn run(options: Options, say: &dyn Fn(&str)) -> Result<Report> {
    let world = world(&options)?;
    raise_open_files()?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let security = match options.tls {
        true => Security::mutual_tls(&folder.path().join("certificates"), world.namespaces)?,
        false => Security::Plaintext,
    };
    let replays = options
        .servers
        .iter()
        .any(|name| *name != ServerName::Bowline);
    let recording = match replays {
        true => {
            say("recording what Bowline serves ...");
            Some(record(&world, &options, &folder.path().join("recorded"), &security).await?)
        }
        false => None,
    };
    let mut deployments = Vec::new();
    for name in &options.servers {
        say(&format!("starting {} ...", name.name()));
        let folder = folder.path().join(name.name());
        let server = start(
            *name,
            world,
            recording.as_ref(),
            &options,
            &folder,
            &security,
        )
        .await
        .with_context(|| format!("server {}", name.name()))?;
        deployments.push(Deployment {
            name: name.name(),
            server,
            crowd: Crowd::new(
                &world,
                options.streams_per_connection,
                Memo::new(Keep::Nothing),
            ),
        });
    }
    let mut arena = Arena {
        world,
        deployments,
        extent: Extent {
            repetitions: options.repetitions,
        },
        marker: 1,
    };
    let mut rows = Vec::new();
    for scenario in scenarios(&options.scenarios) {
        say(&format!("{} ...", scenario.name()));
        rows.extend(scenario.run(&mut arena).await?);
    }
    Ok(Report {
        world,
        mutual_tls: options.tls,
        streams_per_connection: options.streams_per_connection,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        left_out: Vec::new(),
        rows,
    })
}

/// In the order in which they can happen: without a cold start nobody is connected.
fn scenarios(wanted: &[Scenario]) -> Vec<Scenario> {
    use clap::ValueEnum;
    let all = Scenario::value_variants().iter().copied();
    all.filter(|scenario| {
        wanted.is_empty() || *scenario == Scenario::ColdStart || wanted.contains(scenario)
    })
    .collect()
}

fn world(options: &Options) -> Result<World> {
    let world = World {
        services: options.services,
        endpoints: options.endpoints,
        large: 0,
        proxies: options.proxies,
        workloads: options.workloads.min(options.proxies),
        namespaces: options.namespaces.min(options.workloads),
        zones: options.zones,
        networks: options.networks,
        state_of_the_world_percent: options.sotw.into(),
    };
    let numbers = [
        world.services,
        world.endpoints,
        world.proxies,
        world.workloads,
        world.namespaces,
        world.zones,
        world.networks,
    ];
    if numbers.contains(&0) {
        bail!(
            "services, endpoints, proxies, workloads, namespaces, zones and networks: there has to be one of each at least"
        );
    }
    if world.workloads > 1000 {
        bail!("there are more than 1000 workloads: they have no ports of their own");
    }
    Ok(world)
}

async fn record(
    world: &World,
    options: &Options,
    folder: &Path,
    security: &Security,
) -> Result<Recording> {
    // One proxy for everything that differs is enough, and says it in delta.
    let few = World {
        proxies: world.representatives(),
        state_of_the_world_percent: 0,
        ..*world
    };
    let server = Bowline::start(*world, &options.bowline, folder, security).await?;
    let server = Server::Bowline(server);
    let mut crowd = Crowd::new(&few, 1, Memo::new(Keep::Payloads));
    crowd.begin();
    crowd.connect(&server.target(), 0..few.proxies);
    crowd.until_ready(few.proxies, RECORDED_WITHIN).await?;
    let recording = Recording::of(&crowd, &few);
    crowd.disconnect().await;
    recording
}

const RECORDED_WITHIN: std::time::Duration = std::time::Duration::from_secs(120);

async fn start(
    name: ServerName,
    world: World,
    recording: Option<&Recording>,
    options: &Options,
    folder: &Path,
    security: &Security,
) -> Result<Server> {
    let floor = |carrier: &str| -> Result<Program> {
        Ok(Program {
            name: name.name(),
            path: std::env::current_exe()?,
            arguments: ["floor", "--carrier", carrier].map(Into::into).to_vec(),
        })
    };
    let program = match name {
        ServerName::Bowline => {
            let server = Bowline::start(world, &options.bowline, folder, security).await?;
            return Ok(Server::Bowline(server));
        }
        ServerName::Floor => floor("bare")?,
        ServerName::FloorTonic => floor("tonic")?,
    };
    let recording = recording.context("nothing was recorded")?.clone();
    let server = Replay::start(world, recording, program, folder, security).await?;
    Ok(Server::Replay(server))
}

/// A connection is a file, here and in the servers, which inherit the limit.
fn raise_open_files() -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Some(OPEN_FILES);
    let unlimited = |limit: Option<u64>| limit.is_none_or(|limit| limit >= OPEN_FILES);
    if unlimited(current) {
        return Ok(());
    }
    let higher = Rlimit {
        current: wanted,
        maximum: if unlimited(maximum) { maximum } else { wanted },
    };
    // Only root may raise the maximum; everybody may use it up.
    setrlimit(Resource::Nofile, higher)
        .or_else(|_| {
            setrlimit(
                Resource::Nofile,
                Rlimit {
                    current: maximum,
                    maximum,
                },
            )
        })
        .context("cannot raise the number of open files")
}

/// Enough for some servers with ten thousand proxies each.
const OPEN_FILES: u64 = 100_000;

/// Writes the report as JSON.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(report: &Report, path: &Path) -> Result<()> {
    let json = serde_json::to_vec_pretty(report)?;
    fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
}
