//! A Consul datacenter: how late is a change of health with all proxies?

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bowline_harness::consul::{Health, Instance, RealConsul};
use bowline_proto::envoy::config::{core::v3::HealthStatus, endpoint::v3::ClusterLoadAssignment};
use prost::Message;

use crate::{
    cluster::{
        proxies::{Arrived, Proxies, Subject},
        run::start,
    },
    statistics::Percentiles,
};

/// What is done.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The program `bowline`
    #[arg(long)]
    pub bowline: PathBuf,
    /// How many services there are, with five instances each
    #[arg(long, value_delimiter = ',', default_value = "20,5000")]
    pub services: Vec<usize>,
    /// How many proxies are connected
    #[arg(long, default_value_t = 100)]
    pub proxies: usize,
    /// How often one instance changes
    #[arg(long, default_value_t = 200)]
    pub changes: usize,
}

const INSTANCES: usize = 5;
const PORT: u16 = 8080;
/// Machines with instances: a change of a check costs Consul time for each other check of its machine.
const MACHINES: usize = 500;
/// Between two changes everything is idle.
const REST: Duration = Duration::from_millis(100);

/// How the program asks Consul.
#[derive(Debug, Clone, Copy)]
enum Transport {
    Https,
    Http,
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    services: usize,
    transport: Transport,
    written: Percentiles,
    first: Percentiles,
    last: Percentiles,
}

/// Measures, and says the rows of a table, one after the other.
///
/// # Errors
/// When something does not happen that has to.
pub async fn run(options: Options, say: &dyn Fn(&str)) -> Result<()> {
    let program = std::path::absolute(&options.bowline)?;
    say(&format!(
        "| services | | Consul has written it: p50, p99 | the first of {} proxies has it: p50, p99 | the last: p50, p99, max |\n\
         | ---: | --- | ---: | ---: | ---: |",
        options.proxies
    ));
    for services in &options.services {
        let folder = tempfile::tempdir()?;
        let builder = RealConsul::builder(folder.path());
        let builder = builder.context("CONSUL_BIN names no Consul")?;
        let servers = builder.start().await?;
        let server = servers.first().context("there is no server")?;
        fill(server, *services).await?;
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, server.authority())?;
        for transport in [Transport::Https, Transport::Http] {
            let registry = match transport {
                Transport::Https => {
                    format!("address: \"{}\", tls: {{ca: {ca:?}}}", server.https_url())
                }
                Transport::Http => format!("address: \"{}\"", server.url()),
            };
            let measured = measure(&options, &program, server, &registry).await?;
            let [written, first, last] = measured;
            say(&Row {
                services: *services,
                transport,
                written,
                first,
                last,
            }
            .to_string());
        }
    }
    Ok(())
}

fn instance(service: usize, number: usize) -> Instance {
    let [_, high, middle, low] = u32::try_from(service * INSTANCES + number)
        .unwrap_or_default()
        .to_be_bytes();
    let name = format!("service-{service}");
    let address = format!("10.{high}.{middle}.{low}");
    Instance::new(&name, &format!("{name}-{number}"), &address, PORT).on(
        &format!("machine-{}", (service + number) % MACHINES),
        "10.8.0.1",
    )
}

async fn fill(server: &RealConsul, services: usize) -> Result<()> {
    let instances = (0..services)
        .flat_map(|service| (0..INSTANCES).map(move |number| instance(service, number)));
    server.register_all(instances).await
}

/// Until Consul has written a change, until the first proxy has it, and until the last one has.
async fn measure(
    options: &Options,
    program: &Path,
    consul: &RealConsul,
    registry: &str,
) -> Result<[Percentiles; 3]> {
    let folder = tempfile::tempdir()?;
    let registry = format!("name: dc1, consul: {{{registry}}}");
    let (_server, xds) = start(program, folder.path(), &registry).await?;
    let changed = instance(0, 0);
    let cluster = format!("outbound|{PORT}||service-0.default.svc.cluster.local");
    let subject = Subject {
        clusters: Arc::new([cluster].into()),
        namespace: |_| "default".to_owned(),
        marker: unhealthy,
    };
    let mut proxies = Proxies::connect(xds, options.proxies, &subject).await?;
    let (mut writes, mut firsts, mut lasts) = (Vec::new(), Vec::new(), Vec::new());
    for change in 0..options.changes {
        tokio::time::sleep(REST).await;
        let (health, marker) = match change % 2 {
            0 => (Health::Critical, 1),
            _ => (Health::Passing, 0),
        };
        let begun = Instant::now();
        let write = async {
            consul.health(&changed, health, "").await?;
            anyhow::Ok(Instant::now())
        };
        let (written, arrived) = tokio::join!(write, proxies.until(marker));
        let Arrived { first, last, .. } = arrived?;
        writes.push(written?.saturating_duration_since(begun));
        firsts.push(first.saturating_duration_since(begun));
        lasts.push(last.saturating_duration_since(begun));
    }
    // The next row begins like this one.
    consul.health(&changed, Health::Passing, "").await?;
    let percentiles = |times| Percentiles::of(times).context("there were no changes");
    Ok([
        percentiles(writes)?,
        percentiles(firsts)?,
        percentiles(lasts)?,
    ])
}

/// How many endpoints of an encoded assignment are said to be unhealthy.
fn unhealthy(assignment: &[u8]) -> Option<u16> {
    let assignment = ClusterLoadAssignment::decode(assignment).ok()?;
    let endpoints = assignment.endpoints.iter().flat_map(|at| &at.lb_endpoints);
    let unhealthy =
        endpoints.filter(|endpoint| endpoint.health_status() == HealthStatus::Unhealthy);
    u16::try_from(unhealthy.count()).ok()
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            services,
            transport,
            written,
            first,
            last,
        } = self;
        let transport = match transport {
            Transport::Https => "https",
            Transport::Http => "http",
        };
        let both = |times: &Percentiles| format!("{:.1}, {:.1}", times.p50_ms, times.p99_ms);
        write!(
            f,
            "| {services} | {transport} | {} | {} | {}, {:.1} ms |",
            both(written),
            both(first),
            both(last),
            last.max_ms
        )
    }
}
