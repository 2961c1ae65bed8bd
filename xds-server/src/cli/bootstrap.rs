//! `bowline bootstrap`: what an Envoy, or an application with gRPC's own xDS, is started with.

mod envoy;
mod grpc;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bowline_cert_authority::control_plane_identity;
use bowline_identity::{SpiffeId, TrustDomain};
use bowline_mesh::{GatewayName, Hostname, Locality, NameError, Namespace, Network};
use clap::{Args, ValueEnum};

use self::envoy::{Bootstrap, Host, HostPort, ProxyRole, ServerIdentity, Tls, XdsProtocol};
use super::output::{self, Document};
use super::{Outcome, Usage, envoy_version::EnvoyVersion};
use crate::config::{Config, XdsCertificates};

#[cfg(test)]
mod tests;

/// Print the bootstrap of an Envoy, or of a gRPC application without one: who it is, and where its control plane is
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
#[command(group = clap::ArgGroup::new("control plane").required(true).multiple(true).args(["config", "xds"]))]
pub(super) struct Command {
    /// What it is there for
    #[arg(long, value_enum)]
    role: Role,
    /// The workload beside which it stands, or its own name if it is a gateway of either kind
    #[arg(long, value_name = "NAME")]
    name: NodeName,
    /// The namespace of the workload or gateway
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    namespace: Namespace,
    /// How connections come to a sidecar: by listeners on localhost, or redirected by iptables [default: explicit]
    #[arg(long, value_enum)]
    capture: Option<CaptureMode>,
    /// The Gateway object that a gateway serves; by default the one with its own name
    #[arg(long, value_name = "NAMESPACE/NAME")]
    gateway: Option<ObjectName>,
    /// Take the control plane's address and the mesh's names from Bowline's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The control plane as the Envoy reaches it
    #[arg(long, value_name = "HOST:PORT")]
    xds: Option<HostPort>,
    /// Prove who it is with the files that `bowline ca issue` has written to this directory (its path where the Envoy runs)
    #[arg(long, value_name = "DIRECTORY")]
    cert_dir: Option<PathBuf>,
    /// The DNS name in the control plane's certificate, where that is not one of Bowline's own authority
    #[arg(long, value_name = "NAME", requires = "cert_dir")]
    server_name: Option<Hostname>,
    /// The mesh's trust domain, where no configuration says it
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    trust_domain: Option<TrustDomain>,
    /// What hostnames of services end in, where no configuration says it [default: cluster.local]
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    domain: Option<Hostname>,
    /// The variant of xDS
    #[arg(long, value_enum, default_value = "delta")]
    protocol: XdsProtocol,
    /// The version of the Envoy that reads it, which refuses fields that it does not know [default: 1.40]
    #[arg(long, value_name = "VERSION")]
    envoy_version: Option<EnvoyVersion>,
    /// The port of Envoy's admin interface on 127.0.0.1; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = bowline_translate::ADMIN_PORT)]
    admin_port: u16,
    /// Where it stands
    #[arg(long, value_name = "REGION/ZONE/SUBZONE")]
    locality: Option<Locality>,
    /// The network that it is in
    #[arg(long, value_name = "NAME")]
    network: Option<Network>,
    /// An address that it has; may be given several times
    #[arg(long = "address", value_name = "IP")]
    addresses: Vec<IpAddr>,
    /// The identity that it claims where it has no certificate to prove one
    #[arg(long, value_name = "SPIFFE-ID")]
    identity: Option<SpiffeId>,
    /// Have it report the loads that it sends, where no configuration says so
    #[arg(long, conflicts_with = "config")]
    report_loads: bool,
    /// How it is printed: Envoy reads both, gRPC only JSON [default: yaml, and json for gRPC]
    #[arg(short, long, value_enum)]
    output: Option<Document>,
}

const EXAMPLE: &str = "Examples:
  The sidecar of workload cart-1, over mutual TLS:
    bowline ca issue --config bowline.yaml --identity spiffe://mesh.example/ns/shop/sa/cart --out /etc/bowline/cart
    bowline bootstrap --config bowline.yaml --role sidecar --name cart-1 --namespace shop --cert-dir /etc/bowline/cart > envoy.yaml
    envoy -c envoy.yaml

  A gateway that reaches its control plane on this machine without TLS:
    bowline bootstrap --xds 127.0.0.1:15010 --role gateway --name edge > envoy.yaml

  The east-west gateway of network vpc-2:
    bowline bootstrap --xds 127.0.0.1:15010 --role east-west --network vpc-2 --name east-west > envoy.yaml

  An application that dials `xds:///cart.shop:50051` by itself, without an Envoy:
    bowline bootstrap --xds 127.0.0.1:15010 --role grpc --name web-1 --namespace shop > grpc.json
    GRPC_XDS_BOOTSTRAP=grpc.json ./web";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// It stands beside one workload
    Sidecar,
    /// It takes requests from outside
    Gateway,
    /// It takes connections from other networks for the services of its own
    EastWest,
    /// No Envoy: an application whose gRPC library speaks xDS
    Grpc,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum CaptureMode {
    /// Applications call ports on localhost
    Explicit,
    /// iptables redirects all connections
    Transparent,
}

impl From<CaptureMode> for bowline_mesh::Capture {
    fn from(mode: CaptureMode) -> Self {
        match mode {
            CaptureMode::Explicit => Self::Explicit,
            CaptureMode::Transparent => Self::Transparent,
        }
    }
}

/// The name of a workload or gateway: it becomes part of the node id, whose parts are told apart by `~`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeName(String);

/// A name in a namespace: `shop/edge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectName(pub(super) GatewayName);

#[derive(Debug, thiserror::Error)]
#[error("a name has 1 to 253 letters, digits, '-', '_' and '.'")]
pub(super) struct NodeNameError;

#[derive(Debug, thiserror::Error)]
pub(super) enum ObjectNameError {
    #[error("write it as `namespace/name`")]
    Form,
    #[error(transparent)]
    Namespace(#[from] NameError),
    #[error(transparent)]
    Name(#[from] NodeNameError),
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        match text.len() {
            1..=253 if text.bytes().all(allowed) => Ok(Self(text.to_owned())),
            _ => Err(NodeNameError),
        }
    }
}

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        let (namespace, name) = text.split_once('/').ok_or(ObjectNameError::Form)?;
        let NodeName(name) = name.parse()?;
        Ok(Self(GatewayName {
            namespace: namespace.parse()?,
            name: name.into(),
        }))
    }
}

pub(super) fn run(command: &Command) -> Result<Outcome> {
    let config = command.config.as_deref().map(Config::load).transpose()?;
    let bootstrap = bootstrap(command, config.as_ref())?;
    let output = match (command.role, command.output) {
        (Role::Grpc, Some(Document::Yaml)) => {
            return Err(Usage::new("gRPC reads its bootstrap as JSON only").into());
        }
        (Role::Grpc, _) => Document::Json,
        (Role::Sidecar | Role::Gateway | Role::EastWest, output) => {
            output.unwrap_or(Document::Yaml)
        }
    };
    output::print(&output.text(&bootstrap.to_json())?)?;
    Ok(Outcome::Success)
}

fn bootstrap(command: &Command, config: Option<&Config>) -> Result<Bootstrap> {
    let NodeName(name) = &command.name;
    let role = match (command.role, command.capture, &command.gateway) {
        (Role::Sidecar | Role::EastWest | Role::Grpc, _, Some(_)) => {
            return Err(Usage::new("`--gateway` is for `--role gateway`").into());
        }
        (Role::Gateway | Role::EastWest | Role::Grpc, Some(_), _) => {
            return Err(Usage::new("`--capture` is for `--role sidecar`").into());
        }
        (Role::EastWest, None, None) => ProxyRole::EastWest,
        (Role::Grpc, None, None) => ProxyRole::Grpc,
        (Role::Sidecar, capture, None) => {
            ProxyRole::Sidecar(capture.unwrap_or(CaptureMode::Explicit).into())
        }
        (Role::Gateway, None, Some(ObjectName(gateway))) => ProxyRole::Gateway(gateway.clone()),
        (Role::Gateway, None, None) => ProxyRole::Gateway(GatewayName {
            namespace: command.namespace.clone(),
            name: Arc::from(name.as_str()),
        }),
    };
    let envoy_version = match (command.role, command.envoy_version) {
        (Role::Grpc, Some(_)) => {
            return Err(Usage::new("`--envoy-version` is for Envoys, not for gRPC").into());
        }
        (Role::Sidecar | Role::Gateway | Role::EastWest | Role::Grpc, given) => {
            given.unwrap_or(EnvoyVersion::NEWEST)
        }
    };
    let domain = match (config, &command.domain) {
        (Some(config), _) => config.mesh.domain.clone(),
        (None, Some(domain)) => domain.clone(),
        (None, None) => "cluster.local".parse().context("the default domain")?,
    };
    let control_plane = match &command.xds {
        Some(address) => address.clone(),
        None => listener(command, config)?,
    };
    let tls = match &command.cert_dir {
        Some(directory) => Some(Tls {
            directory: std::path::absolute(directory)?,
            server: server_identity(command, config)?,
        }),
        None => None,
    };
    Ok(Bootstrap {
        role,
        name: name.clone(),
        namespace: command.namespace.clone(),
        domain,
        addresses: command.addresses.clone(),
        locality: command.locality.clone().unwrap_or_default(),
        network: command.network.clone().unwrap_or_default(),
        identity: command.identity.clone(),
        control_plane,
        tls,
        protocol: command.protocol,
        envoy_version,
        admin_port: command.admin_port,
        reports_loads: config.map_or(command.report_loads, |config| config.xds.loads.wanted),
    })
}

/// Where the configuration says that the listener of the wanted kind is.
fn listener(command: &Command, config: Option<&Config>) -> Result<HostPort> {
    let xds = config.map(|config| &config.xds);
    let (field, address) = match command.cert_dir {
        Some(_) => (
            "xds.tls",
            xds.and_then(|xds| xds.tls.as_ref()).map(|tls| tls.address),
        ),
        None => ("xds.address", xds.and_then(|xds| xds.plaintext)),
    };
    let Some(address) = address else {
        let other = match command.cert_dir {
            Some(_) => "without `--cert-dir` it would connect in plaintext",
            None => "proxies connect over mutual TLS: give `--cert-dir`",
        };
        let message = format!("the configuration has no `{field}`; {other}");
        return Err(Usage::new(message).into());
    };
    if address.ip().is_unspecified() || address.port() == 0 {
        let message = format!(
            "`{field}` listens on {address}, which does not say how a proxy reaches it: give `--xds HOST:PORT`"
        );
        return Err(Usage::new(message).into());
    }
    Ok(HostPort {
        host: Host::Address(address.ip()),
        port: address.port(),
    })
}

fn server_identity(command: &Command, config: Option<&Config>) -> Result<ServerIdentity> {
    if let Some(name) = &command.server_name {
        return Ok(ServerIdentity::Dns(name.to_string()));
    }
    let certificates = config
        .and_then(|config| config.xds.tls.as_ref())
        .map(|tls| &tls.certificates);
    if let Some(XdsCertificates::Files { certificate, .. }) = certificates {
        let message = format!(
            "the control plane uses the certificate {}, not one of its own authority: say with `--server-name` which DNS name is in it",
            certificate.display()
        );
        return Err(Usage::new(message).into());
    }
    let trust_domain = config
        .map(|config| &config.mesh.trust_domain)
        .or(command.trust_domain.as_ref())
        .ok_or_else(|| Usage::new("with `--cert-dir` the proxy must know whom to expect: give `--config`, `--trust-domain` or `--server-name`"))?;
    Ok(ServerIdentity::Spiffe(control_plane_identity(
        trust_domain,
    )?))
}
