//! The bootstrap itself: what an Envoy needs to find its control plane, and nothing that the control plane can tell it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use bowline_identity::SpiffeId;
use bowline_mesh::{Capture, GatewayName, Hostname, Locality, Namespace, Network};
use bowline_proto::{bowline::node::v1::NodeMetadata, metadata};
use serde_json::{Value, json};

use super::{EnvoyVersion, grpc};
use crate::{cli::sds, node::EAST_WEST};

/// What the bootstrap of one proxy says.
#[derive(Debug, Clone)]
pub(super) struct Bootstrap {
    pub(super) role: ProxyRole,
    pub(super) name: String,
    pub(super) namespace: Namespace,
    pub(super) domain: Hostname,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) locality: Locality,
    pub(super) network: Network,
    pub(super) identity: Option<SpiffeId>,
    pub(super) control_plane: HostPort,
    pub(super) tls: Option<Tls>,
    pub(super) protocol: XdsProtocol,
    pub(super) envoy_version: EnvoyVersion,
    pub(super) admin_port: u16,
    pub(super) reports_loads: bool,
}

/// What a proxy is there for.
#[derive(Debug, Clone)]
pub(super) enum ProxyRole {
    Sidecar(Capture),
    Gateway(GatewayName),
    EastWest,
    Grpc,
}

/// How the proxy proves who it is, and whom it expects.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    /// Where `bowline ca issue` has written, as the proxy sees it.
    pub(super) directory: PathBuf,
    pub(super) server: ServerIdentity,
}

/// Whom the proxy takes for its control plane.
#[derive(Debug, Clone)]
pub(super) enum ServerIdentity {
    /// One with a certificate of the mesh's authority for the control plane.
    Spiffe(SpiffeId),
    /// One with a certificate for this name.
    Dns(String),
}

/// Which variant of xDS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum XdsProtocol {
    /// Only what changes is sent.
    Delta,
    /// State of the world: all of a type is sent whenever one of it changes.
    Sotw,
}

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostPort {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// A host by name or address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(Hostname),
}

/// Why a text is not a host with a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a host and a port from 1 to 65535: write it as `bowline.example:15012` or `[::1]:15012`"
)]
pub(super) struct HostPortError(String);

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let error = || HostPortError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(error)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(address) => Host::Address(IpAddr::V6(address.parse().map_err(|_| error())?)),
            None => match host.parse() {
                Ok(address) => Host::Address(IpAddr::V4(address)),
                Err(_) => Host::Name(host.parse().map_err(|_| error())?),
            },
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
            Host::Address(IpAddr::V4(_)) | Host::Name(_) => write!(f, "{host}:{port}"),
        }
    }
}

impl Bootstrap {
    /// The bootstrap as its reader wants it. The same values give the same text.
    pub(super) fn to_json(&self) -> Value {
        match &self.role {
            ProxyRole::Sidecar(_) | ProxyRole::Gateway(_) | ProxyRole::EastWest => self.for_envoy(),
            ProxyRole::Grpc => grpc::bootstrap(self),
        }
    }

    fn for_envoy(&self) -> Value {
        let mut bootstrap = json!({
            "node": self.node(),
            "dynamic_resources": {
                "ads_config": {
                    "api_type": match self.protocol {
                        XdsProtocol::Delta => "DELTA_GRPC",
                        XdsProtocol::Sotw => "GRPC",
                    },
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
                },
                "cds_config": {"ads": {}, "resource_api_version": "V3"},
                "lds_config": {"ads": {}, "resource_api_version": "V3"},
            },
            "static_resources": {"clusters": [self.xds_cluster()]},
            "admin": {"address": socket_address(&Ipv4Addr::LOCALHOST, self.admin_port)},
            "layered_runtime": {
                "layers": [
                    {"name": "bowline", "static_layer": {EXPRESSION_SIZE_MAX_KEY: EXPRESSION_SIZE_MAX}},
                    // What Envoy has by itself where no layers are given.
                    {"name": "admin", "admin_layer": {}},
                ],
            },
        });
        let Some(fields) = bootstrap.as_object_mut() else {
            return bootstrap;
        };
        if self.envoy_version.has_tag_overrides() {
            // Envoy's own extractor ends a cluster's name at its first dot, and ours have hostnames in them. Older Envoys skip ours.
            let stats = json!({
                "allow_default_tag_overrides": true,
                "stats_tags": [{"tag_name": "envoy.cluster_name", "regex": CLUSTER_NAME_TAG}],
            });
            fields.insert("stats_config".to_owned(), stats);
        }
        if self.reports_loads {
            let load_stats = json!({
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER}}],
            });
            fields.insert(
                "cluster_manager".to_owned(),
                json!({"load_stats_config": load_stats}),
            );
        }
        bootstrap
    }

    /// Who reads it, for the control plane.
    pub(super) fn node(&self) -> Value {
        let Self {
            name,
            namespace,
            domain,
            ..
        } = self;
        // An address that is not known is left empty: any other would be taken for the workload's.
        let address = self
            .addresses
            .first()
            .map(IpAddr::to_string)
            .unwrap_or_default();
        let (kind, bowline_capture, gateway) = match &self.role {
            ProxyRole::Sidecar(Capture::Explicit) => ("sidecar", "explicit", String::new()),
            ProxyRole::Sidecar(Capture::Transparent) => ("sidecar", "transparent", String::new()),
            ProxyRole::Gateway(gateway) => (
                "router",
                "",
                format!("{}/{}", gateway.namespace, gateway.name),
            ),
            ProxyRole::EastWest => ("router", "", String::new()),
            // Its id says it, and its library's user agent.
            ProxyRole::Grpc => ("grpc", "", String::new()),
        };
        let addresses: Vec<_> = self.addresses.iter().map(IpAddr::to_string).collect();
        let metadata = NodeMetadata {
            name: name.clone(),
            namespace: namespace.to_string(),
            instance_ips: addresses.join(","),
            network: match self.network == Network::default() {
                true => String::new(),
                false => self.network.to_string(),
            },
            bowline_capture: bowline_capture.to_owned(),
            gateway,
            identity: self
                .identity
                .as_ref()
                .map(SpiffeId::to_string)
                .unwrap_or_default(),
            generator: String::new(),
            bowline_role: match &self.role {
                ProxyRole::EastWest => EAST_WEST.to_owned(),
                ProxyRole::Sidecar(_) | ProxyRole::Gateway(_) | ProxyRole::Grpc => String::new(),
            },
        };
        let mut node = json!({
            "id": format!("{kind}~{address}~{name}.{namespace}~{namespace}.svc.{domain}"),
            "cluster": format!("{name}.{namespace}"),
            "metadata": metadata::entries(&metadata),
        });
        if self.locality != Locality::default()
            && let Some(node) = node.as_object_mut()
        {
            let Locality {
                region,
                zone,
                subzone,
                node: _,
            } = &self.locality;
            node.insert(
                "locality".to_owned(),
                json!({"region": region, "zone": zone, "sub_zone": subzone}),
            );
        }
        node
    }

    fn xds_cluster(&self) -> Value {
        let HostPort { host, port } = &self.control_plane;
        let mut cluster = json!({
            "name": XDS_CLUSTER,
            "type": match host {
                Host::Address(_) => "STATIC",
                Host::Name(_) => "STRICT_DNS",
            },
            "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": XDS_CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(host, *port)}}]}],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {
                        "http2_protocol_options": {
                            // A stream that only listens would otherwise not notice that its peer is gone.
                            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
                        },
                    },
                },
            },
            "upstream_connection_options": {
                "tcp_keepalive": {"keepalive_time": 60, "keepalive_interval": 10, "keepalive_probes": 3},
            },
        });
        if let (Some(tls), Some(cluster)) = (&self.tls, cluster.as_object_mut()) {
            cluster.insert("transport_socket".to_owned(), tls.transport_socket());
        }
        cluster
    }
}

impl Tls {
    fn transport_socket(&self) -> Value {
        let directory = self.directory.display().to_string();
        // By files of secrets, not by naming certificates here: only the former are read anew when they change.
        let secret = |name: &str, file: &str| {
            json!({
                "name": name,
                "sds_config": {
                    "resource_api_version": "V3",
                    "path_config_source": {
                        "path": format!("{directory}/{file}"),
                        "watched_directory": {"path": directory},
                    },
                },
            })
        };
        let (san, sni) = match &self.server {
            ServerIdentity::Spiffe(id) => (
                json!({"san_type": "URI", "matcher": {"exact": id.to_string()}}),
                None,
            ),
            ServerIdentity::Dns(name) => (
                json!({"san_type": "DNS", "matcher": {"exact": name}}),
                Some(name),
            ),
        };
        let mut context = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [secret(sds::CERTIFICATE_NAME, sds::CERTIFICATE_FILE)],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [san]},
                    "validation_context_sds_secret_config": secret(sds::BUNDLE_NAME, sds::BUNDLE_FILE),
                },
            },
        });
        if let (Some(name), Some(context)) = (sni, context.as_object_mut()) {
            context.insert("sni".to_owned(), json!(name));
        }
        json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
    }
}

fn socket_address(host: &impl fmt::Display, port: u16) -> Value {
    json!({"socket_address": {"address": host.to_string(), "port_value": port}})
}

const XDS_CLUSTER: &str = "bowline-xds";
/// Envoy rejects a whole route configuration for one regular expression that is larger than 100 by its own count. How large one may be is
/// decided where objects are read, with a problem for the one object; this is only not to be the smaller of the two.
const EXPRESSION_SIZE_MAX_KEY: &str = "re2.max_program_size.error_level";
const EXPRESSION_SIZE_MAX: u32 = 32768;
/// The first group is what is taken out of a statistic's name, the second is the tag's value. A cluster's name ends where one of the
/// statistics of clusters begins (Envoy, "Cluster manager: Statistics"). Those that could be a label of a hostname have what follows.
pub(super) const CLUSTER_NAME_TAG: &str = concat!(
    r"^cluster\.((.+?)\.)(?:",
    r"(?:canary|external|internal)\.upstream_|zone\.[^.]+\.[^.]+\.upstream_|",
    r"assignment_|bind_errors$|circuit_breakers\.|client_ssl_socket_factory\.|default\.total_match_count$|",
    r"health_check\.|http[123]\.[a-z]+_|lb_|max_host_weight$|membership_|metadata_|original_dst_|outlier_detection\.|",
    r"retry_or_shadow_abandoned$|ssl\.(?:[a-z]+_|ciphers\.|curves\.|handshake$|sigalgs\.|versions\.)|",
    r"update_|upstream_|version$|version_text$|warming_state$|init_fetch_timeout$)",
);
