//! The handle of an agent.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Result, bail};
use hyper::service::service_fn;
use tokio::task::JoinSet;

use super::{
    access::Grant,
    answer::{ConsulRequest, Shared},
    datacenter::{Datacenter, Servers},
    fault::Fault,
    instance::Instance,
    listener::{Endpoint, Listener},
    rows::Health,
    tls::{Authority, Clients, Pem},
    world::{Edition, ServiceQueries, World},
};

/// `limits.http_max_conns_per_client` of an agent that was not told otherwise.
const CONNECTIONS_MAX: usize = 200;

/// A Consul agent, with the servers behind it. It ends with this value.
#[derive(Debug)]
pub struct ConsulAgent {
    shared: Arc<Shared>,
    authority: Option<Authority>,
    endpoint: Endpoint,
    serving: JoinSet<()>,
}

/// What a [`ConsulAgent`] is like.
#[derive(Debug, Clone)]
pub struct ConsulBuilder {
    datacenter: String,
    edition: Edition,
    service_queries: ServiceQueries,
    transport: Transport,
    connections_max: usize,
    servers: Option<Arc<Servers>>,
}

#[derive(Debug, Clone)]
enum Transport {
    Http,
    Https(Clients),
    Unix(PathBuf),
}

impl ConsulAgent {
    /// Starts an agent of the datacenter `dc1` on a free port of 127.0.0.1, over HTTP.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// An agent that is not like the usual one.
    pub fn builder() -> ConsulBuilder {
        ConsulBuilder {
            datacenter: "dc1".to_owned(),
            edition: Edition::Community,
            service_queries: ServiceQueries::Streaming,
            transport: Transport::Http,
            connections_max: CONNECTIONS_MAX,
            servers: None,
        }
    }

    /// Another agent of the same datacenter, with the same servers behind it: not started yet.
    pub fn beside(&self) -> ConsulBuilder {
        ConsulBuilder {
            datacenter: self.shared.datacenter.clone(),
            servers: Some(Arc::clone(&self.shared.servers)),
            ..Self::builder()
        }
    }

    /// `http://…`, `https://…` or `unix://…`.
    pub fn url(&self) -> String {
        match &self.endpoint {
            Endpoint::Http(address) => format!("http://{address}"),
            Endpoint::Https(address, _) => format!("https://{address}"),
            Endpoint::Unix(path) => format!("unix://{}", path.display()),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When that is a unix socket.
    pub fn address(&self) -> Result<SocketAddr> {
        match &self.endpoint {
            Endpoint::Http(address) | Endpoint::Https(address, _) => Ok(*address),
            Endpoint::Unix(path) => bail!("it listens on {}", path.display()),
        }
    }

    /// The authority of an agent over HTTPS, as PEM.
    pub fn authority(&self) -> Option<&str> {
        Some(&self.authority.as_ref()?.certificate)
    }

    /// A certificate that an agent over HTTPS accepts from its clients.
    pub fn client(&self) -> Option<&Pem> {
        Some(&self.authority.as_ref()?.client)
    }

    /// Ends it with all of its connections; its servers go on.
    pub async fn stop(&mut self) {
        self.serving.shutdown().await;
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// When somebody else listens there now.
    pub async fn start_again(&mut self) -> Result<()> {
        self.stop().await;
        let listener = Listener::bind(&mut self.endpoint).await?;
        let shared = Arc::clone(&self.shared);
        let service = service_fn(move |request| Arc::clone(&shared).answer(request));
        let connections = Arc::clone(&self.shared.connections);
        self.serving.spawn(listener.serve(connections, service));
        Ok(())
    }

    /// Its own datacenter.
    pub fn own(&self) -> Datacenter {
        self.datacenter(&self.shared.datacenter)
    }

    /// A datacenter, which exists from now on.
    pub fn datacenter(&self, name: &str) -> Datacenter {
        Datacenter::new(&self.shared.servers, name)
    }

    /// Registers an instance in its own datacenter.
    pub fn register(&self, instance: &Instance) {
        self.own().register(instance);
    }

    /// Removes an instance from its own datacenter.
    pub fn deregister(&self, instance: &Instance) {
        self.own().deregister(instance);
    }

    /// Sets the state of an instance's check in its own datacenter.
    pub fn health(&self, instance: &Instance, health: Health) {
        self.own().health(instance, health);
    }

    /// Sets the Raft index of its own datacenter, as a cluster has it that was set up anew ([`Datacenter::restore_index`]).
    pub fn restore_index(&self, index: u64) {
        self.own().restore_index(index);
    }

    /// From now on tokens are needed: who shows none sees nothing, who shows an unknown one is refused.
    pub fn require_tokens(&self) {
        self.shared.servers.change(|world| {
            world.tokens.get_or_insert_default();
        });
    }

    /// Makes a token known, or changes what it may read. Tokens are needed from now on.
    pub fn grant(&self, token: &str, grant: Grant) {
        self.shared.servers.change(|world| {
            let tokens = world.tokens.get_or_insert_default();
            tokens.insert(token.to_owned(), grant);
        });
    }

    /// Makes a token unknown.
    pub fn revoke(&self, token: &str) {
        self.shared.servers.change(|world| {
            if let Some(tokens) = &mut world.tokens {
                tokens.remove(token);
            }
        });
    }

    /// From now on requests whose path begins with this fail so, also those that wait at the moment. The newest fault counts.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.add_fault(path, None, fault);
    }

    /// The same for the next requests only.
    pub fn fault_times(&self, times: usize, path: &str, fault: Fault) {
        self.add_fault(path, Some(times), fault);
    }

    /// No fault any more.
    pub fn heal(&self) {
        self.shared.faults.lock().clear();
        self.shared.servers.change(|_| ());
    }

    /// Cuts every connection now. New ones are accepted.
    pub fn cut_connections(&self) {
        self.shared.connections.cut();
    }

    /// How many connections one client may have from now on. What is open stays open.
    pub fn limit_connections(&self, limit: usize) {
        self.shared.connections.limit(limit);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.connections.open()
    }

    /// How many connections were open at the same time at most.
    pub fn connections_peak(&self) -> usize {
        self.shared.connections.peak()
    }

    /// How many connections were refused because their client had too many.
    pub fn connections_refused(&self) -> usize {
        self.shared.connections.refused()
    }

    /// The requests that it has had, oldest first.
    pub fn requests(&self) -> Vec<ConsulRequest> {
        self.shared.requests.lock().clone()
    }

    /// The same, and forgets them.
    pub fn take_requests(&self) -> Vec<ConsulRequest> {
        std::mem::take(&mut *self.shared.requests.lock())
    }

    /// How many requests whose path begins with this wait for a change at the moment.
    pub fn waiting(&self, path: &str) -> usize {
        let waiting = self.shared.waiting.lock();
        waiting
            .iter()
            .filter(|waits| waits.starts_with(path))
            .count()
    }

    fn add_fault(&self, path: &str, times: Option<usize>, fault: Fault) {
        self.shared.faults.lock().add(path, times, fault);
        self.shared.servers.change(|_| ());
    }
}

impl ConsulBuilder {
    /// In another datacenter than `dc1`.
    #[must_use]
    pub fn datacenter(self, name: &str) -> Self {
        Self {
            datacenter: name.to_owned(),
            ..self
        }
    }

    /// Of another edition than the community's. An agent beside another one is of its edition.
    #[must_use]
    pub fn edition(self, edition: Edition) -> Self {
        Self { edition, ..self }
    }

    /// With another way to answer blocking queries for a service than streaming.
    #[must_use]
    pub fn service_queries(self, service_queries: ServiceQueries) -> Self {
        Self {
            service_queries,
            ..self
        }
    }

    /// Over HTTPS, with HTTP/2 for those who ask for it.
    #[must_use]
    pub fn https(self) -> Self {
        Self {
            transport: Transport::Https(Clients::Anyone),
            ..self
        }
    }

    /// Over HTTPS, for clients with a certificate of its authority ([`ConsulAgent::client`]).
    #[must_use]
    pub fn mutual_tls(self) -> Self {
        Self {
            transport: Transport::Https(Clients::OfOurAuthority),
            ..self
        }
    }

    /// On a unix socket.
    #[must_use]
    pub fn unix(self, path: &Path) -> Self {
        Self {
            transport: Transport::Unix(path.to_owned()),
            ..self
        }
    }

    /// With another limit of connections for one client than 200.
    #[must_use]
    pub fn connections_max(self, limit: usize) -> Self {
        Self {
            connections_max: limit,
            ..self
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(self) -> Result<ConsulAgent> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (endpoint, authority) = match self.transport {
            Transport::Http => (Endpoint::Http(address), None),
            Transport::Unix(path) => (Endpoint::Unix(path), None),
            Transport::Https(clients) => {
                let authority = Authority::new(clients)?;
                let tls = Arc::clone(&authority.server);
                (Endpoint::Https(address, tls), Some(authority))
            }
        };
        let servers = self
            .servers
            .unwrap_or_else(|| Servers::new(World::new(self.edition, &self.datacenter)));
        let shared = Shared::new(
            servers,
            self.datacenter,
            self.service_queries,
            self.connections_max,
        );
        let mut agent = ConsulAgent {
            shared,
            authority,
            endpoint,
            serving: JoinSet::new(),
        };
        agent.start_again().await?;
        Ok(agent)
    }
}
