//! Cases, as files.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use bowline_document::{Limits, parse};
use bowline_identity::{Claimed, PeerIdentity};
use bowline_mesh::{
    Capture, GatewayName, HostLookup, Locality, MutualTls, Namespace, Network, OutboundMode, Proxy,
    Role, RouteDelivery,
};
use serde::Deserialize;

/// One folder of `cases/`.
#[derive(Debug)]
pub struct Case {
    /// The folder.
    pub folder: PathBuf,
    /// What `case.yaml` says.
    pub description: Description,
}

/// What `case.yaml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What the case shows, for its readers.
    pub about: String,
    /// What is done with unknown destinations.
    #[serde(default = "pass_through")]
    pub outbound: OutboundMode,
    /// Whether workloads speak mutual TLS with each other, as they will when they have certificates for it.
    #[serde(default)]
    mutual_tls: bool,
    /// Short names of the types of resources to show; empty means all.
    #[serde(default)]
    pub show: Vec<String>,
    /// Also what a proxy gets of an empty mesh.
    #[serde(default)]
    pub show_base: bool,
    /// Whom to look at.
    pub proxies: Vec<ProxyCase>,
}

/// A proxy to look at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyCase {
    /// The name of the file with what it gets, without `.yaml`.
    pub golden: String,
    /// What it is.
    pub kind: ProxyKind,
    /// Its workload's name, or the gateway's.
    #[serde(default)]
    pub name: String,
    /// Its namespace.
    #[serde(default = "shop")]
    pub namespace: Namespace,
    /// Its addresses.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Its network.
    pub network: Option<Network>,
    /// Its locality.
    pub locality: Option<Locality>,
    /// Its routes come host by host, not in whole tables.
    #[serde(default)]
    pub by_host: bool,
}

/// Kinds of proxy.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    /// A sidecar with explicit listeners.
    Explicit,
    /// A sidecar with transparent capture.
    Transparent,
    /// A gateway.
    Gateway,
    /// An east-west gateway.
    #[serde(rename = "east-west")]
    EastWest,
    /// An application with gRPC's own xDS.
    Grpc,
}

fn pass_through() -> OutboundMode {
    OutboundMode::PassThrough
}

#[expect(clippy::expect_used, reason = "a constant")]
fn shop() -> Namespace {
    "shop".parse().expect("a DNS label is a namespace")
}

impl Case {
    /// All cases, by name.
    ///
    /// # Errors
    /// When a folder cannot be read, or its `case.yaml` is not one.
    pub fn all(folder: &Path) -> Result<Vec<Self>> {
        let mut folders = Vec::new();
        for entry in
            fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            folders.push(entry?.path());
        }
        folders.sort();
        folders.into_iter().map(Self::read).collect()
    }

    fn read(folder: PathBuf) -> Result<Self> {
        let path = folder.join("case.yaml");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let documents =
            parse(&text, &Limits::default()).with_context(|| path.display().to_string())?;
        let document = documents
            .first()
            .with_context(|| format!("{} is empty", path.display()))?;
        let description = document
            .decode()
            .with_context(|| path.display().to_string())?;
        Ok(Self {
            folder,
            description,
        })
    }
}

impl Description {
    /// Whether workloads speak mutual TLS with each other.
    pub fn mutual_tls(&self) -> MutualTls {
        match self.mutual_tls {
            true => MutualTls::Spoken,
            false => MutualTls::Absent,
        }
    }
}

impl ProxyCase {
    /// Whether it is no Envoy, but an application with gRPC's own xDS.
    pub fn is_grpc(&self) -> bool {
        matches!(self.kind, ProxyKind::Grpc)
    }

    /// The proxy, as it would connect.
    pub fn proxy(&self) -> Proxy {
        let name: std::sync::Arc<str> = self.name.as_str().into();
        Proxy {
            id: self.golden.as_str().into(),
            role: match self.kind {
                ProxyKind::Explicit => Role::Sidecar(Capture::Explicit),
                ProxyKind::EastWest => Role::EastWest,
                ProxyKind::Grpc => Role::Grpc,
                ProxyKind::Transparent => Role::Sidecar(Capture::Transparent),
                ProxyKind::Gateway => Role::Gateway(GatewayName {
                    namespace: self.namespace.clone(),
                    name: name.clone(),
                }),
            },
            namespace: self.namespace.clone(),
            name,
            addresses: self.addresses.clone(),
            network: self.network.clone(),
            locality: self.locality.clone(),
            host_lookup: HostLookup::Available,
            route_delivery: match self.by_host {
                true => RouteDelivery::ByHost,
                false => RouteDelivery::Whole,
            },
            identity: PeerIdentity::Claimed(Claimed { spiffe_id: None }),
        }
    }
}
