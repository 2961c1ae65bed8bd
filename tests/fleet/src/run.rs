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
    world::{Routes, World},
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
        default_value = "bowline,floor,floor-tonic,go-snapshot,go-linear"
    )]
    pub servers: Vec<ServerName>,
    /// Smaller and shorter, where nothing else is said: done in three minutes
    #[arg(long)]
    pub quick: bool,
    /// How many proxies connect to each server; 1000, or 200 if it has to be quick
    #[arg(long)]
    pub proxies: Option<usize>,
    /// How many services there are; 1000, or 200 if it has to be quick
    #[arg(long)]
    pub services: Option<usize>,
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
    /// How routes come to proxies that speak delta
    #[arg(long, value_enum, default_value = "by-host")]
    pub routes: Routes,
    /// Of a hundred proxies so many speak state of the world; real fleets have some 30. Servers of a recording then send whole tables to
    /// all of them, because they serve both variants the same
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub sotw: u8,
    /// Over mutual TLS
    #[arg(long)]
    pub tls: bool,
    /// How many proxies share a connection
    #[arg(long, default_value_t = 1, value_parser = positive)]
    pub streams_per_connection: usize,
    /// How often a single change is repeated; 50, or 10 if it has to be quick
    #[arg(long)]
    pub repetitions: Option<usize>,
    /// How many changes there are each second where they are many
    #[arg(long, default_value_t = 100, value_parser = positive)]
    pub rate: usize,
    /// For how many seconds they go on; 60, or 5 if it has to be quick
    #[arg(long)]
    pub seconds: Option<usize>,
    /// How many instances the service has that is restarted; 1000, or 200 if it has to be quick
    #[arg(long)]
    pub large: Option<usize>,
    /// How many proxies connect and disconnect; 10000, or 500 if it has to be quick
    #[arg(long)]
    pub churn: Option<usize>,
    /// Where the figures are written as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// The program `bowline`
    #[arg(long)]
    pub bowline: PathBuf,
    /// This program, where it is not what runs
    #[arg(long, hide = true)]
    pub floor: Option<PathBuf>,
    /// The program of the peer that is built on go-control-plane; where there is none, it is left out
    #[arg(long)]
    pub go_control_plane: Option<PathBuf>,
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
    /// go-control-plane with a snapshot for each kind of proxy
    GoSnapshot,
    /// go-control-plane with linear caches
    GoLinear,
}

impl ServerName {
    fn is_go(self) -> bool {
        match self {
            Self::GoSnapshot | Self::GoLinear => true,
            Self::Bowline | Self::Floor | Self::FloorTonic => false,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bowline => "bowline",
            Self::Floor => "floor",
            Self::FloorTonic => "floor-tonic",
            Self::GoSnapshot => "go-snapshot",
            Self::GoLinear => "go-linear",
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
    let mut left_out = Vec::new();
    for name in &options.servers {
        if name.is_go() && options.go_control_plane.is_none() {
            left_out.push(format!(
                "{}: its program was not built, because Go is not installed",
                name.name()
            ));
            continue;
        }
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
            cold_start_bytes: 0,
        });
    }
    let mut arena = Arena {
        world,
        deployments,
        extent: Extent {
            repetitions: options
                .repetitions
                .unwrap_or(if options.quick { 10 } else { 50 }),
            rate: options.rate,
            seconds: options
                .seconds
                .unwrap_or(if options.quick { 5 } else { 60 }),
            churn: options
                .churn
                .unwrap_or(if options.quick { 500 } else { 10_000 }),
        },
        marker: 1,
        failed: Vec::new(),
    };
    let mut rows = Vec::new();
    for scenario in scenarios(&options.scenarios) {
        say(&format!("{} ...", scenario.name()));
        let news = scenario.run(&mut arena).await?;
        // A run that fails later has said at least this.
        news.iter().for_each(|row| say(&row.summary()));
        rows.extend(news);
    }
    left_out.append(&mut arena.failed);
    Ok(Report {
        world,
        mutual_tls: options.tls,
        streams_per_connection: options.streams_per_connection,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        left_out,
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
    let proxies = options
        .proxies
        .unwrap_or(if options.quick { 200 } else { 1000 });
    let large = match scenarios(&options.scenarios).contains(&Scenario::RollingRestart) {
        true => options
            .large
            .unwrap_or(if options.quick { 200 } else { 1000 }),
        false => 0,
    };
    let world = World {
        services: options
            .services
            .unwrap_or(if options.quick { 200 } else { 1000 }),
        endpoints: options.endpoints,
        large,
        proxies,
        workloads: options.workloads.min(proxies),
        namespaces: options.namespaces.min(options.workloads).min(proxies),
        zones: options.zones,
        networks: options.networks,
        state_of_the_world_percent: options.sotw.into(),
        routes: options.routes,
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
        routes: match world.state_of_the_world_percent {
            0 => world.routes,
            // There are no virtual hosts in it.
            1.. => Routes::Whole,
        },
        ..*world
    };
    let server = Bowline::start(*world, &options.bowline, folder, security).await?;
    let server = Server::Bowline(server);
    let mut crowd = Crowd::new(&few, 1, Memo::new(Keep::Payloads));
    crowd.begin();
    crowd.connect(&server.target(), 0..few.proxies);
    crowd.until_ready(few.proxies, RECORDED_WITHIN).await?;
    let recording = Recording::of(&crowd, world);
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
            path: match &options.floor {
                Some(path) => path.clone(),
                None => std::env::current_exe()?,
            },
            arguments: ["floor", "--carrier", carrier].map(Into::into).to_vec(),
        })
    };
    let go = |cache: &str| -> Result<Program> {
        let path = options.go_control_plane.clone();
        Ok(Program {
            name: name.name(),
            path: path.context("there is no such program")?,
            arguments: ["-cache", cache].map(Into::into).to_vec(),
        })
    };
    let program = match name {
        ServerName::Bowline => {
            let server = Bowline::start(world, &options.bowline, folder, security).await?;
            return Ok(Server::Bowline(server));
        }
        ServerName::Floor => floor("bare")?,
        ServerName::FloorTonic => floor("tonic")?,
        ServerName::GoSnapshot => go("snapshot")?,
        ServerName::GoLinear => go("linear")?,
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
