//! The configuration file: where to listen, which registries to watch, where state lives. Nothing about traffic is in it.
//!
//! It is parsed, not validated: a [`Config`] has only values that can be used, defaults filled in and paths resolved. Everything that is
//! wrong with a file is reported at once, each thing with its line ([`ConfigErrors`]). [`Config::difference`] says what of a changed
//! file can be applied while running.

mod change;
mod consul;
mod error;
mod fields;
mod read;
mod registries;
mod status;
mod value;
mod xds;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_ads::LoadSettings;
use bowline_cert_authority::ServerNames;
use bowline_consul::ConsulSettings;
use bowline_identity::SpiffeId;
use bowline_kubernetes::{Access, Facts, Writing};
use bowline_mesh::{MeshSettings, Namespace, RegistrySettings};

pub use change::Difference;
pub use error::{ConfigError, ConfigErrors};
pub use status::ConfigurationStatus;
pub use value::{LogFilter, LogFormat};

#[cfg(test)]
mod tests;

/// What a configuration file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// The mesh as a whole.
    pub mesh: MeshSettings,
    /// How proxies are served.
    pub xds: XdsConfig,
    /// Where health, metrics and the API behind the commands are.
    pub admin: AdminConfig,
    /// Where state lives.
    pub state: StateConfig,
    /// How long the start waits for registries that do not answer.
    pub start_timeout: Duration,
    /// How long streams have to end when the program is told to.
    pub shutdown_timeout: Duration,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Where everything is read from, in the order in which they win conflicts: `manifests` first, because a file of the operator's
    /// own is written to have its way, then the entries of `registries`.
    pub registries: Vec<RegistryConfig>,
}

/// How proxies are served: in plaintext, over mutual TLS, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsConfig {
    /// Where plaintext is served, if it is. Its clients prove nothing.
    pub plaintext: Option<SocketAddr>,
    /// Where mutual TLS is served, if it is.
    pub tls: Option<XdsTls>,
    /// What a stream may cost.
    pub limits: XdsLimits,
    /// Whether and how often proxies report the loads that they send.
    pub loads: LoadSettings,
    /// Who may ask over xDS what proxies are served, besides clients on loopback.
    pub operators: BTreeSet<SpiffeId>,
}

/// The mutual TLS of the xDS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XdsTls {
    /// Where to listen.
    pub address: SocketAddr,
    /// Whose certificates are used.
    pub certificates: XdsCertificates,
}

/// Whose certificates the xDS listener uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XdsCertificates {
    /// Those of our own authority, for these names besides the control plane's identity.
    Authority(ServerNames),
    /// Somebody else's.
    Files {
        /// The server's certificate and those between it and its root, as PEM.
        certificate: PathBuf,
        /// The certificate's key, as PEM.
        key: PathBuf,
        /// The roots of clients' certificates, as PEM.
        client_authorities: PathBuf,
    },
}

/// What a stream may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XdsLimits {
    /// Largest request. The first of a reconnecting proxy lists all that it holds.
    pub request_bytes_max: usize,
    /// Responses that can be split are, above this size.
    pub response_bytes_max: usize,
    /// A stream that takes none of what is ready for it for so long is ended.
    pub progress_timeout: Duration,
    /// How long listeners and routes wait for the acknowledgement of their clusters, and removals for that of listeners and routes.
    pub make_before_break_timeout: Duration,
    /// How many streams may be starting at the same time; the next wait.
    pub starting_streams_max: usize,
    /// After so long a connection is asked to come again; `None` for never.
    pub connection_age: Option<Duration>,
    /// A peer of which nothing is heard for so long is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// A peer that gives none for so long is gone.
    pub keepalive_timeout: Duration,
}

/// The API behind the commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where to listen.
    pub address: SocketAddr,
}

/// Where state lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateConfig {
    /// In a directory.
    Directory(PathBuf),
    /// Nowhere: it ends with the process.
    Memory,
}

impl StateConfig {
    /// The socket for calls that only the owner of the state directory may make; none where there is no directory.
    pub fn admin_socket(&self) -> Option<PathBuf> {
        match self {
            Self::Directory(directory) => Some(directory.join("admin.sock")),
            Self::Memory => None,
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// What.
    pub level: LogFilter,
    /// How.
    pub format: LogFormat,
}

/// One registry: its place in the mesh, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Its place in the mesh.
    pub settings: RegistrySettings,
    /// Where it is.
    pub source: RegistrySource,
}

/// Where a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrySource {
    /// A file, or a directory of files, with services and machines.
    Inventory(PathBuf),
    /// Files and directories with Kubernetes and Gateway API objects.
    Manifests(Vec<PathBuf>),
    /// A Kubernetes cluster.
    Kubernetes(KubernetesConfig),
    /// Consul datacenters.
    Consul(ConsulSettings),
}

/// A Kubernetes cluster, and what of it is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// How its API server is reached.
    pub access: Access,
    /// What is watched besides services and routes.
    pub facts: Facts,
    /// Namespaces whose services and pods are left out.
    pub ignored_namespaces: BTreeSet<Namespace>,
    /// Whether what is said of Gateways, routes and Ingresses is written back, and where the Lease is by which one of several
    /// replicas does that.
    pub writing: Writing,
    /// The namespace whose Secrets say how other clusters are reached; `None` where none are read.
    pub remote_clusters: Option<Namespace>,
}

/// As messages name it.
impl fmt::Display for RegistrySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inventory(path) => write!(f, "inventory {}", path.display()),
            Self::Consul(consul) => {
                f.write_str("consul")?;
                let mut addresses = consul.addresses.iter();
                addresses.try_for_each(|address| write!(f, " {address}"))
            }
            Self::Kubernetes(cluster) => write!(f, "kubernetes: {}", cluster.access),
            Self::Manifests(paths) => {
                f.write_str("manifests")?;
                paths
                    .iter()
                    .try_for_each(|path| write!(f, " {}", path.display()))
            }
        }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        read::file(path)
    }

    /// Reads the text of a configuration file. Its paths are relative to the directory of `path`.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ConfigErrors> {
        read::text(path, text)
    }
}
