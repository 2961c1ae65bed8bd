//! `bowline serve`: the wiring, in the order in which data flows.
//!
//! ```text
//! configuration ─► registries ─► pipeline ─► ads ─► listeners          admin reads from all of them
//! ```

mod addresses;
mod clusters;
mod open_files;
mod reload;

use std::{
    collections::BTreeMap, io, net::SocketAddr, os::unix::fs::MetadataExt, path::PathBuf,
    sync::Arc, time::SystemTime,
};

use anyhow::Context;
use bowline_ads::{ClientStatusService, DiscoveryService, Fleet, LoadReportingService, Loads};
use bowline_cert_authority::CertificateAuthority;
use bowline_mesh::{LastGood, MeshStore, RegistryId, RegistrySettings};
use bowline_state::{Embedded, Memory, Store, WriteBehind};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    admin::{self, StateFile},
    config::{Config, ConfigurationStatus, StateConfig, XdsCertificates, XdsConfig},
    grpc::{Lifetime, Listener},
    log,
    metrics::Metrics,
    pipeline::{Births, PipelineSettings, Restored, Saved, pipeline},
    registries::{self, Reports},
    services::{Readiness, Services},
    source::MeshSource,
    tasks::Tasks,
    threads::Places,
    tls::{self, TlsFiles, TlsListener, TlsSource},
};

use clusters::{Clusters, Configured, Known};

pub use addresses::Addresses;

/// How long a layer that nobody reads is kept: longer than a proxy needs to reconnect.
const LAYER_LINGER: std::time::Duration = std::time::Duration::from_secs(60);

/// What the command line says about a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Where to write the addresses that are listened on, once they are.
    pub addresses_file: Option<PathBuf>,
}

/// Serves until it is told to end, connections on threads of their own.
///
/// # Errors
/// When something that is needed to serve cannot be had. What a registry or a proxy does is never an error here.
pub async fn run(options: Options, streams: &Places) -> anyhow::Result<()> {
    let config = Config::load(&options.config)?;
    let log_control = log::start(&config.log)?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), "starting");
    open_files::raise();

    let shutdown = CancellationToken::new();
    let mut tasks = Tasks::new(shutdown.clone());

    let admin_socket = bind(config.admin.address, "admin.address")?;
    let mut addresses = Addresses {
        xds: None,
        xds_tls: None,
        admin: Some(admin_socket.local_addr()?),
    };
    let (admin, serving) = admin::serve(admin_socket, shutdown.clone());
    tasks.spawn("admin", serving);

    let (store, state_file) = open_state(&config.state)?;
    let writer = WriteBehind::start(store.clone())
        .context("cannot start the thread that writes the state")?;
    let authority =
        CertificateAuthority::open(&*store, &config.mesh.trust_domain, SystemTime::now())
            .context("cannot open the certificate authority")?;
    let authority = Arc::new(authority);

    let known = Known::load(&*store, &config.registries)?;
    let registry_settings: Vec<RegistrySettings> = known
        .all(&config.registries)
        .into_iter()
        .map(|(settings, _)| settings)
        .collect();
    let saved = Saved::new(store.clone(), writer.clone());
    let ids: Vec<RegistryId> = registry_settings
        .iter()
        .map(|settings| settings.id.clone())
        .collect();
    let Restored {
        registries: restored,
        virtual_addresses,
    } = saved.restore(&*store, &ids)?;
    let mut mesh = MeshStore::new(
        Arc::new(config.mesh.clone()),
        registry_settings,
        virtual_addresses,
    );
    let mut last_good = BTreeMap::new();
    for (registry, objects, saved_at) in restored {
        info!(%registry, objects = objects.len(), "the last good state is loaded and served until the registry answers");
        mesh.restore(&registry, objects.clone(), saved_at);
        last_good.insert(registry, LastGood { objects, saved_at });
    }

    let births = Births::default();
    let pipeline_settings = PipelineSettings {
        start_timeout: config.start_timeout,
        linger: LAYER_LINGER,
    };
    let (writer_loop, handle, events) =
        pipeline(mesh, Some(saved), pipeline_settings, births.clone());
    let metrics = Arc::new(Metrics::new());
    let fleet = Fleet::observed_by(metrics.observer(births));
    let service = DiscoveryService::new(
        MeshSource::new(handle.clone()),
        ads_settings(&config.xds),
        fleet.clone(),
        shutdown.clone(),
    );

    let loads = Loads::default();
    let load_reporting = LoadReportingService::server(
        MeshSource::new(handle.clone()),
        loads.clone(),
        config.xds.loads,
        shutdown.clone(),
    );
    let readiness = handle.clone();
    let services = Services::new(
        service.clone(),
        ClientStatusService::server(
            fleet.clone(),
            config.xds.operators.clone(),
            shutdown.clone(),
        ),
        load_reporting,
        Readiness::new(move || readiness.readiness().is_empty()),
    );

    let mut listeners = Vec::new();
    if let Some(address) = config.xds.plaintext {
        let listener = Listener::Plaintext(bind(address, "xds.address")?, streams.clone());
        addresses.xds = Some(listener.local_addr()?);
        listeners.push(("xds", listener));
    }
    let mut tls_status = None;
    let mut tls_counts = None;
    if let Some(tls_config) = &config.xds.tls {
        let source = tls_source(&config, &authority);
        let loaded =
            tokio::task::spawn_blocking(move || tls::load(source, SystemTime::now())).await?;
        let (material, upkeep) = loaded.context("xds.tls: cannot serve mutual TLS")?;
        let listener = TlsListener::new(
            bind(tls_config.address, "xds.tls.address")?,
            material.clone(),
            streams.clone(),
        );
        tls_counts = Some(listener.counts());
        tls_status = Some(material.status());
        let listener = Listener::Tls(listener);
        addresses.xds_tls = Some(listener.local_addr()?);
        listeners.push(("xds over TLS", listener));
        let cancelled = shutdown.clone();
        tasks.spawn(
            "certificates",
            async move { Ok(upkeep.run(cancelled).await?) },
        );
    }
    let writer_loop = writer_loop.timed_by(metrics.build_times());
    tasks.spawn("pipeline", writer_loop.run(shutdown.clone()));
    let reports = Reports::default();
    let (configured, configuration_now) = watch::channel(Configured {
        mesh: config.mesh.clone(),
        registries: config.registries.clone(),
    });
    let (placed, follow) = watch::channel(config.registries.clone());
    let clusters = Clusters {
        configured: configuration_now,
        known,
        pipeline: handle.clone(),
        registries: placed,
        writer: writer.clone(),
    };
    tasks.spawn("clusters", clusters.run(shutdown.clone()));
    tasks.spawn(
        "registries",
        registries::run(
            follow,
            last_good,
            events,
            handle.served(),
            reports.clone(),
            shutdown.clone(),
        ),
    );
    let stuck = service.clone();
    let cancelled = shutdown.clone();
    tasks.spawn("stuck streams", async move {
        stuck.end_stuck_streams().await;
        cancelled.cancelled().await;
        Ok(())
    });
    let lifetime = Lifetime {
        age_max: config.xds.limits.connection_age,
        keepalive_interval: config.xds.limits.keepalive_interval,
        keepalive_timeout: config.xds.limits.keepalive_timeout,
        lost: metrics.lost_connections(),
    };
    for (name, listener) in listeners {
        tasks.spawn(
            name,
            listener.serve(services.clone(), lifetime.clone(), shutdown.clone()),
        );
    }
    let (configuration_status, configuration) = watch::channel(ConfigurationStatus::default());
    let api = admin::Api {
        pipeline: handle.clone(),
        reports,
        fleet,
        loads,
        metrics,
        authority,
        tls_status,
        tls_counts,
        state: writer.status(),
        state_file,
        configuration,
    };
    let owner = admin.open(api);
    if let Some(socket) = config.state.admin_socket() {
        tasks.spawn("admin socket", owner.serve(socket, shutdown.clone())?);
    }
    let reload = reload::Reload {
        config: config.clone(),
        configured,
        status: configuration_status,
        log: log_control,
        hangup: signal(SignalKind::hangup())?,
    };
    tasks.spawn("configuration", reload.run(shutdown.clone()));

    tasks.spawn("signals", end_on_signal(shutdown.clone())?);

    if let Some(path) = &options.addresses_file {
        addresses.write(path)?;
    }
    info!(
        xds = addresses.xds.map(tracing::field::display),
        xds_tls = addresses.xds_tls.map(tracing::field::display),
        admin = addresses.admin.map(tracing::field::display),
        "listening"
    );

    let outcome = tasks.supervise().await;
    info!("ending: streams are closed, proxies keep what they have");
    tasks.end(config.shutdown_timeout).await;
    info!("ended");
    outcome
}

fn open_state(config: &StateConfig) -> anyhow::Result<(Arc<dyn Store>, Option<StateFile>)> {
    match config {
        StateConfig::Directory(directory) => {
            let store = Embedded::open(directory).with_context(|| {
                format!(
                    "state.path: cannot open the state in {}",
                    directory.display()
                )
            })?;
            // Not refused: volumes in containers often belong to a group.
            if std::fs::metadata(directory)?.mode() & 0o022 != 0 {
                warn!(
                    directory = %directory.display(),
                    "others can write to the state directory, and so replace the authority's root: make it writable for its owner only"
                );
            }
            let file = StateFile::opened(store.path())
                .with_context(|| format!("state.path: cannot find {}", store.path().display()))?;
            Ok((Arc::new(store), Some(file)))
        }
        StateConfig::Memory => {
            warn!(
                "state is kept in memory: a restart forgets the authority's root and the registries' last good objects"
            );
            Ok((Arc::new(Memory::new()), None))
        }
    }
}

fn ads_settings(xds: &XdsConfig) -> bowline_ads::Settings {
    let limits = xds.limits;
    bowline_ads::Settings {
        request_bytes_max: limits.request_bytes_max,
        response_bytes_max: limits.response_bytes_max,
        progress_limit: limits.progress_timeout,
        make_before_break_limit: limits.make_before_break_timeout,
        starting_streams_max: limits.starting_streams_max,
        ..bowline_ads::Settings::new(control_plane_name())
    }
}

/// Who answers: the machine's name tells replicas apart.
fn control_plane_name() -> String {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match hostname.trim() {
        "" => "bowline".to_owned(),
        name => format!("bowline {name}"),
    }
}

fn tls_source(config: &Config, authority: &Arc<CertificateAuthority>) -> TlsSource {
    if let Some(files) = TlsFiles::configured(config) {
        return TlsSource::Files(files);
    }
    let names = match config.xds.tls.as_ref().map(|tls| &tls.certificates) {
        Some(XdsCertificates::Authority(names)) => names.clone(),
        Some(XdsCertificates::Files { .. }) | None => Default::default(),
    };
    TlsSource::Authority {
        authority: authority.clone(),
        names,
    }
}

/// Connections that may wait to be accepted; the system has a limit of its own (`net.core.somaxconn`). A fleet that comes back all at once
/// must not be turned away, because who is comes again a second later or more.
const BACKLOG: u32 = 16 * 1024;

fn bind(address: SocketAddr, field: &str) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| {
        format!("{field}: cannot listen on {address}; is another server running, or the port below 1024?")
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Cancels the token when the process is told to end. The signals are taken from when this returns; what waits is the future.
fn end_on_signal(
    shutdown: CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = terminate.recv() => info!("SIGTERM received"),
            _ = interrupt.recv() => info!("SIGINT received"),
        }
        shutdown.cancel();
        Ok(())
    })
}
