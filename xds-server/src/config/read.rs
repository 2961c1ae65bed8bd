//! From a file to a [`Config`].

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use bowline_document::{Limits, Node};
use bowline_identity::TrustDomain;
use bowline_mesh::{
    Hostname, MeshSettings, MutualTls, NetworkGateway, OutboundMode, TrafficSettings,
};
use ipnet::Ipv4Net;

use super::fields::{Fields, Report};
use super::registries::{self, Defaults};
use super::value::{LogFilter, LogFormat, Span};
use super::xds;
use super::{AdminConfig, Config, ConfigErrors, LogConfig, StateConfig, XdsConfig};

pub(super) fn file(path: &Path) -> Result<Config, ConfigErrors> {
    match read_bounded(path) {
        Ok(text) => text_of(path, &text),
        Err(error) => {
            let mut report = Report::new(path);
            let hint = match error.kind() {
                io::ErrorKind::NotFound => {
                    "give the file with `--config`; docs/configuration.md has an example"
                }
                io::ErrorKind::PermissionDenied => {
                    "whoever runs the program must be able to read it"
                }
                _ => "",
            };
            report.add_for_file(format!("the configuration cannot be read: {error}"), hint);
            Err(ConfigErrors(report.errors))
        }
    }
}

pub(super) fn text(path: &Path, text: &[u8]) -> Result<Config, ConfigErrors> {
    text_of(path, text)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte more than is allowed is enough to be refused, and /dev/zero never ends.
    File::open(path)?
        .take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut text)?;
    Ok(text)
}

fn text_of(path: &Path, text: &[u8]) -> Result<Config, ConfigErrors> {
    let mut report = Report::new(path);
    let config = parsed(text, &mut report).and_then(|root| config(&root, &mut report));
    match config {
        Some(config) if report.errors.is_empty() => Ok(config),
        _ => {
            report.errors.sort_by_key(|error| error.line);
            Err(ConfigErrors(report.errors))
        }
    }
}

fn parsed(text: &[u8], report: &mut Report) -> Option<Node> {
    let limits = Limits {
        bytes_max: FILE_BYTES_MAX,
        ..Limits::default()
    };
    let mut documents = match bowline_document::parse(text, &limits) {
        Ok(documents) => documents.into_iter(),
        Err(error) => {
            let message = format!("column {}: {}", error.column, error.message);
            report.add(error.line, "", message, "");
            return None;
        }
    };
    let first = documents.next();
    if first.is_none() {
        report.add_for_file(
            "the configuration is empty",
            "the least that it needs is `mesh: {trust_domain: mesh.example}`",
        );
    }
    if let Some(second) = documents.next() {
        report.add(
            second.line(),
            "",
            "a second document begins here, and the configuration is one",
            "",
        );
    }
    first
}

/// `None` only if something was reported.
fn config(root: &Node, report: &mut Report) -> Option<Config> {
    let path = report.file.clone();
    let mut fields = Fields::of(root, "", ROOT, report)?;
    let mesh = fields.required(
        "mesh",
        "write `mesh: {trust_domain: mesh.example}`",
        |fields, name| mesh(fields.fields(name, MESH)?),
    );
    let trust_domain = mesh.as_ref().map(|mesh| mesh.trust_domain.clone());
    let domain = mesh.as_ref().map(|mesh| mesh.domain.clone());
    let xds = match fields.fields("xds", xds::FIELDS) {
        Some(fields) => xds::read(fields),
        None => Some(xds::default()),
    };
    let admin = match fields.fields("admin", ADMIN) {
        Some(mut fields) => fields.text("address", "127.0.0.1:15014"),
        None => None,
    };
    let admin_address = admin.unwrap_or(ADMIN_ADDRESS);
    if let Some(xds) = &xds {
        distinct_from_admin(&mut fields, admin_address, xds);
    }
    let state = state(&mut fields);
    let start_timeout = duration(&mut fields, "start_timeout", Duration::from_secs(30));
    let shutdown_timeout = duration(&mut fields, "shutdown_timeout", Duration::from_secs(10));
    let log = match fields.fields("log", LOG) {
        Some(mut fields) => LogConfig {
            level: fields
                .text("level", "info,bowline_ads=debug")
                .unwrap_or_default(),
            format: fields.value("format").unwrap_or_default(),
        },
        None => LogConfig {
            level: LogFilter::default(),
            format: LogFormat::default(),
        },
    };
    // With defaults of no consequence in place of what is wrong, the registries are read for what is wrong with them.
    let defaults = Defaults {
        trust_domain: trust_domain.or_else(|| "mesh.example".parse().ok())?,
        domain: domain.or_else(|| DOMAIN.parse().ok())?,
    };
    let registries = registries::read(&mut fields, &defaults);
    Some(Config {
        path,
        mesh: mesh?,
        xds: xds?,
        admin: AdminConfig {
            address: admin_address,
        },
        state,
        start_timeout,
        shutdown_timeout,
        log,
        registries,
    })
}

fn mesh(mut fields: Fields<'_>) -> Option<MeshSettings> {
    let trust_domain: Option<TrustDomain> = fields.required(
        "trust_domain",
        "the realm of your certificates, such as `mesh.example`; it cannot be changed later without new certificates",
        |fields, name| fields.text(name, "mesh.example"),
    );
    let domain: Option<Hostname> = match fields.node("domain") {
        Some(_) => fields.text("domain", DOMAIN),
        None => DOMAIN.parse().ok(),
    };
    let outbound = fields
        .value("outbound")
        .unwrap_or(OutboundMode::PassThrough);
    let virtual_addresses = fields.text("virtual_addresses", "240.0.0.0/8");
    let explicit_http_port = fields.value::<u16>("explicit_http_port");
    if explicit_http_port == Some(0) {
        fields.wrong(
            "explicit_http_port",
            "proxies and applications must agree on a port, so it cannot be 0",
            "",
        );
    }
    let east_west_port = fields.value::<u16>("east_west_port");
    if east_west_port == Some(0) {
        fields.wrong(
            "east_west_port",
            "gateways of other networks must know the port, so it cannot be 0",
            "",
        );
    }
    let traffic = fields.fields("traffic", TRAFFIC).map(traffic);
    Some(MeshSettings {
        trust_domain: trust_domain?,
        domain: domain?,
        outbound,
        virtual_addresses: virtual_addresses.unwrap_or(VIRTUAL_ADDRESSES?),
        explicit_http_port: explicit_http_port.unwrap_or(EXPLICIT_HTTP_PORT),
        east_west_port: east_west_port.unwrap_or(NetworkGateway::PORT),
        // Workloads get no certificates for it yet.
        mutual_tls: MutualTls::Absent,
        traffic: traffic.unwrap_or_default(),
    })
}

fn traffic(mut fields: Fields<'_>) -> TrafficSettings {
    let mut limit = |name| fields.value::<NonZeroU32>(name);
    let (connections_max, pending_requests_max) =
        (limit("connections_max"), limit("pending_requests_max"));
    let (requests_max, retries_max) = (limit("requests_max"), limit("retries_max"));
    TrafficSettings {
        connect_timeout: positive_duration(&mut fields, "connect_timeout"),
        connections_max,
        pending_requests_max,
        requests_max,
        retries_max,
    }
}

fn state(fields: &mut Fields<'_>) -> StateConfig {
    let default = StateConfig::Directory(fields.report().resolve("data"));
    let Some(mut fields) = fields.fields("state", STATE) else {
        return default;
    };
    let memory = fields.value("memory").unwrap_or(false);
    match (fields.file("path"), memory) {
        (Some(_), true) => {
            fields.wrong(
                "memory",
                "state is kept in memory or in a directory, not both",
                "remove `memory` or `path`",
            );
            StateConfig::Memory
        }
        (None, true) => StateConfig::Memory,
        (Some(path), false) => StateConfig::Directory(path),
        (None, false) => default,
    }
}

pub(super) fn duration(fields: &mut Fields<'_>, name: &str, default: Duration) -> Duration {
    fields
        .value(name)
        .map_or(default, |Span(duration)| duration)
}

/// A duration of which zero would mean something else, such as "never" to Envoy.
pub(super) fn positive_duration(fields: &mut Fields<'_>, name: &str) -> Option<Duration> {
    let Span(duration) = fields.value(name)?;
    if duration.is_zero() {
        fields.wrong(
            name,
            "a timeout of nothing lets nothing succeed",
            "write it as `5s`",
        );
        return None;
    }
    Some(duration)
}

fn distinct_from_admin(fields: &mut Fields<'_>, admin: SocketAddr, xds: &XdsConfig) {
    let listeners = [
        ("xds.address", xds.plaintext),
        ("xds.tls.address", xds.tls.as_ref().map(|tls| tls.address)),
    ];
    for (listener, address) in listeners {
        if let Some(address) = address
            && overlap(admin, address)
        {
            let written = match fields.node("admin") {
                Some(_) => "admin",
                None => "xds",
            };
            let message = format!("`{listener}` listens on {address}, as `admin.address` does");
            fields.wrong(written, message, "take another port for one of them");
        }
    }
}

pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

const ROOT: &[&str] = &[
    "mesh",
    "xds",
    "admin",
    "state",
    "start_timeout",
    "shutdown_timeout",
    "log",
    "registries",
    "manifests",
];
const MESH: &[&str] = &[
    "trust_domain",
    "domain",
    "outbound",
    "virtual_addresses",
    "explicit_http_port",
    "east_west_port",
    "traffic",
];
const TRAFFIC: &[&str] = &[
    "connect_timeout",
    "connections_max",
    "pending_requests_max",
    "requests_max",
    "retries_max",
];
const ADMIN: &[&str] = &["address"];
const STATE: &[&str] = &["path", "memory"];
const LOG: &[&str] = &["level", "format"];

#[cfg(test)]
pub(super) const ALL_FIELDS: &[&[&str]] = &[
    ROOT,
    MESH,
    TRAFFIC,
    xds::FIELDS,
    xds::TLS,
    xds::LIMITS,
    xds::LOADS,
    ADMIN,
    STATE,
    LOG,
];

const DOMAIN: &str = "cluster.local";
const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15014);
const EXPLICIT_HTTP_PORT: u16 = 15080;
/// Class E, which no network routes: 16 million addresses that nobody else has.
const VIRTUAL_ADDRESSES: Option<Ipv4Net> = match Ipv4Net::new(Ipv4Addr::new(240, 0, 0, 0), 8) {
    Ok(net) => Some(net),
    Err(_) => None,
};
/// It names registries; whatever grows with the fleet is in them.
const FILE_BYTES_MAX: usize = 1 << 20;
