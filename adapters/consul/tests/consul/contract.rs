//! Agents as sources of the registry contract.

use std::{future::Future, time::Duration};

use bowline_conformance::{App, Subject};
use bowline_consul::{Consul, ConsulSettings};
use bowline_harness::consul::{ConsulAgent, Fault, Instance};
use bowline_mesh::{LastGood, Object, RegistryEvent, RegistrySettings};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// An agent that is reached over HTTPS or HTTP, with so many connections.
pub(crate) struct Agent<const IS_HTTPS: bool, const CONNECTIONS_MAX: usize> {
    agent: ConsulAgent,
    settings: ConsulSettings,
    registered: Vec<Instance>,
    /// The agent's authority.
    _directory: TempDir,
}

/// A blocking query for each service, a connection for each query.
pub(crate) type Http = Agent<false, 64>;
/// A blocking query for each service, all on one connection.
pub(crate) type Https = Agent<true, 64>;
/// So few connections that services are read when their checks say so.
pub(crate) type ByChecks = Agent<false, 5>;

impl<const IS_HTTPS: bool, const CONNECTIONS_MAX: usize> Agent<IS_HTTPS, CONNECTIONS_MAX> {
    async fn write(&mut self, apps: &[App], broken: Option<&str>) {
        let instances: Vec<Instance> = apps
            .iter()
            .map(|app| instance(app, broken == Some(&app.name)))
            .collect();
        for old in std::mem::take(&mut self.registered) {
            let is_kept = |instance: &Instance| instance.id() == old.id();
            if !instances.iter().any(is_kept) {
                self.agent.deregister(&old);
            }
        }
        for instance in &instances {
            self.agent.register(instance);
        }
        self.registered = instances;
        self.agent.heal();
        // Where it was taken away.
        if tokio::net::TcpStream::connect(self.agent.address().unwrap())
            .await
            .is_err()
        {
            self.agent.start_again().await.unwrap();
        }
    }
}

fn instance(app: &App, is_broken: bool) -> Instance {
    let address = match is_broken {
        true => "no address at all".to_owned(),
        false => app.address.to_string(),
    };
    let instance = Instance::new(&app.name, &app.name, &address, app.port).meta("protocol", "http");
    match &app.namespace {
        Some(namespace) => instance.meta("namespace", namespace),
        None => instance,
    }
}

impl<const IS_HTTPS: bool, const CONNECTIONS_MAX: usize> Subject
    for Agent<IS_HTTPS, CONNECTIONS_MAX>
{
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let builder = ConsulAgent::builder();
        let builder = if IS_HTTPS { builder.https() } else { builder };
        let agent = builder.start().await.unwrap();
        let mut settings = ConsulSettings::at(vec![agent.url().parse().unwrap()]);
        settings.connections_max = CONNECTIONS_MAX;
        if let Some(authority) = agent.authority() {
            let ca = directory.path().join("ca.pem");
            std::fs::write(&ca, authority).unwrap();
            settings.tls.ca = Some(ca);
        }
        Self {
            agent,
            settings,
            registered: Vec::new(),
            _directory: directory,
        }
    }

    fn run(
        &self,
        settings: RegistrySettings,
        last_good: Vec<Object>,
        events: mpsc::Sender<RegistryEvent>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let consul = Consul {
            settings,
            consul: self.settings.clone(),
            last_good: LastGood {
                objects: last_good,
                saved_at: Duration::ZERO,
            },
            parts: watch::Sender::default(),
        };
        consul.run(events, shutdown)
    }

    async fn put(&mut self, apps: &[App]) {
        self.write(apps, None).await;
    }

    async fn put_with_one_broken(&mut self, apps: &[App], broken: &str) {
        self.write(apps, Some(broken)).await;
    }

    async fn break_all(&mut self) {
        self.agent.fault("/v1/", Fault::Body("<html>".to_owned()));
    }

    async fn take_away(&mut self) {
        self.agent.stop().await;
    }
}
