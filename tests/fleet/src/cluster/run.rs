//! What is measured: loading a cluster, holding it, and the way of one slice to all proxies.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    api::Api,
    proxies::{Arrived, Proxies, Received, Subject},
    rollout::{self, Rollout, Slices},
    scale::{Pods, Scale},
};
use crate::{control, measure::resident_bytes, server::child::Server, statistics::Percentiles};

/// What is done.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The API server that is filled and followed; without it, the double of the tests
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// The program; by default the one beside this
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// How many services there are
    #[arg(long, default_value_t = 10_000)]
    pub services: usize,
    /// How many endpoints each of them has
    #[arg(long, default_value_t = 10)]
    pub endpoints: usize,
    /// Whether there are pods, and they are followed
    #[arg(long, value_enum, default_value_t = Pods::Without)]
    pub pods: Pods,
    /// How many proxies are connected
    #[arg(long, default_value_t = 100)]
    pub proxies: usize,
    /// How many slices are written, one after the other
    #[arg(long, default_value_t = 200)]
    pub changes: u16,
    /// How many pods the Deployment has that is restarted in the end; 0 for none
    #[arg(long, default_value_t = 1_000)]
    pub rollout: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What there was.
    pub scale: Scale,
    /// Whether there were pods.
    pub pods: Pods,
    /// From the start of the program until it was ready.
    pub load_seconds: f64,
    /// What it held then.
    pub loaded_mib: f64,
    /// What it held with all proxies connected, after the changes.
    pub served_mib: f64,
    /// From before the write until the first proxy had it.
    pub first: Option<Percentiles>,
    /// From before the write until the last proxy had it.
    pub last: Option<Percentiles>,
    /// A rolling restart of a Deployment.
    pub rollout: Option<RolloutReport>,
}

/// What a rolling restart of one Deployment cost each proxy.
#[derive(Debug, Serialize)]
pub struct RolloutReport {
    /// How many pods were replaced.
    pub pods: usize,
    /// How often a slice was written: a proxy must know of each, and of several at once where they come fast.
    pub slice_writes: usize,
    /// From the first write until the last proxy had the last.
    pub seconds: f64,
    /// How often a proxy got the endpoints of the service: the fewest and the most of all proxies.
    pub assignments: (usize, usize),
    /// What one of these has on average.
    pub assignment_kib: f64,
    /// What a proxy received: the least and the most of all proxies.
    pub received_mib: (f64, f64),
    /// How much of that was something else than these endpoints: names, versions and the like.
    pub other_percent: f64,
}

#[derive(Debug, Deserialize)]
struct Addresses {
    xds: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

/// Services whose slices change.
const CHANGING_MAX: usize = 100;
const READY_MAX: Duration = Duration::from_secs(300);
const MIB: f64 = 1024.0 * 1024.0;

/// Measures.
///
/// # Errors
/// When something does not happen that has to.
pub async fn run(options: Options, say: &dyn Fn(&str)) -> Result<Report> {
    let scale = Scale {
        services: options.services,
        endpoints: options.endpoints,
    };
    let api = Api::open(options.kubeconfig.as_deref()).await?;
    let begun = Instant::now();
    api.fill(scale, options.pods).await?;
    say(&format!(
        "the API server is full after {:.1?}",
        begun.elapsed()
    ));

    let folder = tempfile::tempdir()?;
    let program = match options.program {
        Some(program) => std::path::absolute(program)?,
        None => std::env::current_exe()?.with_file_name("bowline"),
    };
    let watched = match options.pods {
        Pods::With => "true",
        Pods::Without => "false",
    };
    let registry = format!(
        "name: cluster, kubernetes: {{kubeconfig: {:?}, pods: {watched}}}",
        api.kubeconfig()
    );
    let begun = Instant::now();
    let (server, xds) = start(&program, folder.path(), &registry).await?;
    let load_seconds = begun.elapsed().as_secs_f64();
    let loaded_mib = resident_bytes(server.id())? as f64 / MIB;
    say(&format!(
        "ready after {load_seconds:.1} s with {loaded_mib:.0} MiB"
    ));

    let changing = scale.services.min(CHANGING_MAX);
    let rolled = Rollout {
        endpoints: options.rollout,
        pods: options.pods,
    };
    let (mut slices, writes) = rolled.begin();
    let has_rollout = rolled.endpoints > 0;
    if has_rollout {
        for write in writes {
            api.write(write).await?;
        }
    }
    let subject = Subject::of_scale(changing, has_rollout.then(rollout::cluster));
    let mut proxies = Proxies::connect(xds, options.proxies, &subject).await?;
    let (mut firsts, mut lasts) = (Vec::new(), Vec::new());
    for marker in 0..options.changes {
        // Another service each time.
        let service = usize::from(marker) * 7 % changing.max(1);
        let written = Instant::now();
        let (stored, arrived) =
            tokio::join!(api.mark(scale, service, marker), proxies.until(marker),);
        stored?;
        let Arrived { first, last, .. } = arrived?;
        firsts.push(first.saturating_duration_since(written));
        lasts.push(last.saturating_duration_since(written));
    }
    let served_mib = resident_bytes(server.id())? as f64 / MIB;
    let rollout = match has_rollout {
        true => Some(roll(&api, &mut slices, &mut proxies, options.changes).await?),
        false => None,
    };
    Ok(Report {
        scale,
        pods: options.pods,
        load_seconds,
        loaded_mib,
        served_mib,
        first: Percentiles::of(firsts),
        last: Percentiles::of(lasts),
        rollout,
    })
}

/// Replaces all pods of a Deployment. Markers count on from the given one.
async fn roll(
    api: &Api,
    slices: &mut Slices,
    proxies: &mut Proxies,
    marker: u16,
) -> Result<RolloutReport> {
    let mark = async |slices: &Slices, marker| {
        let write = slices.mark(marker).context("the Deployment has no pods")?;
        api.write(write).await
    };
    // What came before does not count.
    mark(slices, marker).await?;
    proxies.until(marker).await?;
    let begun = Instant::now();
    let writes = slices.replace();
    // The one with the marker is one more.
    let slice_writes = 1 + writes.iter().filter(|write| write.is_of_a_slice()).count();
    let all = async {
        for write in writes {
            api.write(write).await?;
        }
        mark(slices, marker + 1).await
    };
    let (written, arrived) = tokio::join!(all, proxies.until(marker + 1));
    written?;
    let Arrived { last, received, .. } = arrived?;
    let cluster = rollout::cluster();
    let of_service = |received: &Received| {
        let assignments = received.assignments.get(&cluster).copied();
        assignments.unwrap_or_default()
    };
    for received in &received {
        let (count, _) = of_service(received);
        ensure!(
            received.others == 0 && received.assignments.len() == 1 && count <= slice_writes,
            "a proxy was sent more than it must: {received:?}"
        );
    }
    let counts = || received.iter().map(|received| of_service(received).0);
    let bytes = || received.iter().map(|received| received.bytes);
    let range =
        |least: Option<usize>, most: Option<usize>| least.zip(most).context("there are no proxies");
    let (count, content) = received
        .iter()
        .map(of_service)
        .fold((0, 0), |all, of| (all.0 + of.0, all.1 + of.1));
    let (least, most) = range(bytes().min(), bytes().max())?;
    Ok(RolloutReport {
        pods: slices.pods(),
        slice_writes,
        seconds: last.saturating_duration_since(begun).as_secs_f64(),
        assignments: range(counts().min(), counts().max())?,
        assignment_kib: content as f64 / count.max(1) as f64 / 1024.0,
        received_mib: (least as f64 / MIB, most as f64 / MIB),
        other_percent: {
            let all = bytes().sum::<usize>();
            100.0 * all.saturating_sub(content) as f64 / all.max(1) as f64
        },
    })
}

/// Starts the program in a folder, with one registry, and waits until it is ready.
pub(crate) async fn start(
    program: &Path,
    folder: &Path,
    registry: &str,
) -> Result<(Server, SocketAddr)> {
    fs::write(folder.join("bowline.yaml"), configuration(registry))?;
    let listening = folder.join("addresses.json");
    let arguments = ["serve", "--config", "bowline.yaml", "--addresses-file"]
        .map(OsString::from)
        .into_iter()
        .chain([listening.clone().into_os_string()])
        .collect::<Vec<_>>();
    let mut server = Server::start("bowline", program, &arguments, &[], folder)?;
    let addresses: Addresses = server.addresses(&listening, READY_MAX).await?;
    let admin = addresses.admin.context("bowline has no admin API")?;
    server
        .until(READY_MAX, "bowline is ready", async || {
            control::get(admin, "/readyz").await.ok()
        })
        .await?;
    let xds = addresses.xds.context("bowline does not serve xDS")?;
    Ok((server, xds))
}

fn configuration(registry: &str) -> String {
    format!(
        "mesh: {{trust_domain: fleet.example}}\n\
         xds: {{address: \"127.0.0.1:0\"}}\n\
         admin: {{address: \"127.0.0.1:0\"}}\n\
         state: {{path: ./state}}\n\
         log: {{level: warn}}\n\
         start_timeout: 300s\n\
         registries:\n\
         - {{{registry}}}\n"
    )
}
