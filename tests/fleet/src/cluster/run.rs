//! What is measured: loading a cluster, holding it, and the way of one slice to all proxies.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    api::Api,
    proxies::{Proxies, Subject},
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
    fs::write(
        folder.path().join("bowline.yaml"),
        configuration(api.kubeconfig(), options.pods),
    )?;
    let program = match options.program {
        Some(program) => std::path::absolute(program)?,
        None => std::env::current_exe()?.with_file_name("bowline"),
    };
    let begun = Instant::now();
    let (server, xds) = start(&program, folder.path()).await?;
    let load_seconds = begun.elapsed().as_secs_f64();
    let loaded_mib = resident_bytes(server.id())? as f64 / MIB;
    say(&format!(
        "ready after {load_seconds:.1} s with {loaded_mib:.0} MiB"
    ));

    let changing = scale.services.min(CHANGING_MAX);
    let mut proxies = Proxies::connect(xds, options.proxies, &Subject::of_scale(changing)).await?;
    let (mut firsts, mut lasts) = (Vec::new(), Vec::new());
    for marker in 0..options.changes {
        // Another service each time.
        let service = usize::from(marker) * 7 % changing.max(1);
        let written = Instant::now();
        let (stored, arrived) =
            tokio::join!(api.mark(scale, service, marker), proxies.until(marker),);
        stored?;
        let (first, last) = arrived?;
        firsts.push(first.saturating_duration_since(written));
        lasts.push(last.saturating_duration_since(written));
    }
    Ok(Report {
        scale,
        pods: options.pods,
        load_seconds,
        loaded_mib,
        served_mib: resident_bytes(server.id())? as f64 / MIB,
        first: Percentiles::of(firsts),
        last: Percentiles::of(lasts),
    })
}

/// Starts the program in the folder of its configuration, and waits until it is ready.
pub(crate) async fn start(program: &Path, folder: &Path) -> Result<(Server, SocketAddr)> {
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

fn configuration(kubeconfig: &Path, pods: Pods) -> String {
    let watched = match pods {
        Pods::With => "true",
        Pods::Without => "false",
    };
    format!(
        "mesh: {{trust_domain: fleet.example}}\n\
         xds: {{address: \"127.0.0.1:0\"}}\n\
         admin: {{address: \"127.0.0.1:0\"}}\n\
         state: {{path: ./state}}\n\
         log: {{level: warn}}\n\
         start_timeout: 300s\n\
         registries:\n\
         - {{name: cluster, kubernetes: {{kubeconfig: {kubeconfig:?}, pods: {watched}}}}}\n"
    )
}
