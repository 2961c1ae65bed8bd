//! From a file to a [`Config`].

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use bowline_ads::LoadSettings;
use bowline_cert_authority::ServerNames;
use bowline_document::{Limits, Node};
use bowline_identity::{SpiffeId, TrustDomain};
use bowline_mesh::{Hostname, MeshSettings, OutboundMode, TrafficSettings};
use ipnet::Ipv4Net;

use super::fields::{Fields, Report};
use super::registries::{self, Defaults};
use super::value::{Bytes, LogFilter, LogFormat, Span};
use super::{
    AdminConfig, Config, ConfigErrors, LogConfig, StateConfig, XdsCertificates, XdsConfig,
    XdsLimits, XdsTls,
};

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
    let xds = match fields.fields("xds", XDS) {
        Some(fields) => xds(fields),
        None => Some(XdsConfig {
            plaintext: Some(XDS_ADDRESS),
            tls: None,
            limits: LIMITS,
            loads: LOADS,
            operators: BTreeSet::new(),
        }),
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
    let traffic = fields.fields("traffic", TRAFFIC).map(traffic);
    Some(MeshSettings {
        trust_domain: trust_domain?,
        domain: domain?,
        outbound,
        virtual_addresses: virtual_addresses.unwrap_or(VIRTUAL_ADDRESSES?),
        explicit_http_port: explicit_http_port.unwrap_or(EXPLICIT_HTTP_PORT),
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

fn xds(mut fields: Fields<'_>) -> Option<XdsConfig> {
    let wants_plaintext = fields.value("plaintext").unwrap_or(false);
    let is_off = fields.node("address").and_then(Node::as_str) == Some("none");
    let plaintext = match fields.node("address") {
        Some(_) if is_off => None,
        Some(_) => fields.text("address", "127.0.0.1:15010"),
        None => Some(XDS_ADDRESS),
    };
    if let Some(address) = plaintext
        && !address.ip().is_loopback()
        && !wants_plaintext
    {
        fields.wrong(
            "address",
            format!("{address} can be reached from other machines, and this listener is plaintext: its clients prove nothing"),
            "use `xds.tls.address` for mutual TLS, or ask for this with `xds.plaintext: true`",
        );
    }
    let tls_is_given = fields.node("tls").is_some();
    let tls = fields.fields("tls", XDS_TLS).and_then(xds_tls);
    if is_off && !tls_is_given {
        fields.wrong(
            "address",
            "no proxy can connect: there is no `xds.tls` either",
            "give one of them",
        );
    }
    if let (Some(plaintext), Some(tls)) = (plaintext, &tls)
        && overlap(plaintext, tls.address)
    {
        fields.wrong(
            "tls",
            format!("listens on {}, as `xds.address` does", tls.address),
            "take another port",
        );
    }
    let limits = fields.fields("limits", XDS_LIMITS).map_or(LIMITS, limits);
    let loads = fields.fields("loads", XDS_LOADS).map_or(LOADS, loads);
    let operators = operators(&mut fields);
    Some(XdsConfig {
        plaintext,
        tls,
        limits,
        loads,
        operators,
    })
}

fn xds_tls(mut fields: Fields<'_>) -> Option<XdsTls> {
    let address = fields.required("address", "such as `0.0.0.0:15012`", |fields, name| {
        fields.text(name, "0.0.0.0:15012")
    });
    let names: Vec<String> = fields.value("dns_names").unwrap_or_default();
    let names = match ServerNames::parse(&names) {
        Ok(names) => names,
        Err(error) => {
            fields.wrong("dns_names", error, "");
            ServerNames::none()
        }
    };
    let files = (
        fields.file("certificate"),
        fields.file("key"),
        fields.file("client_ca"),
    );
    let certificates = match files {
        (None, None, None) => XdsCertificates::Authority(names),
        (Some(certificate), Some(key), Some(client_authorities)) => {
            if fields.node("dns_names").is_some() {
                fields.wrong(
                    "dns_names",
                    "the certificate is given by `certificate`, and has its names already",
                    "remove it",
                );
            }
            XdsCertificates::Files {
                certificate,
                key,
                client_authorities,
            }
        }
        _ => {
            for name in ["certificate", "key", "client_ca"] {
                if fields.node(name).is_none() {
                    fields.wrong(name, "this field is required where another of `certificate`, `key`, `client_ca` is given", "without all three, our own authority's certificates are used");
                }
            }
            return None;
        }
    };
    Some(XdsTls {
        address: address?,
        certificates,
    })
}

fn limits(mut fields: Fields<'_>) -> XdsLimits {
    let mut bytes = |name, default| match fields.value::<Bytes>(name) {
        Some(Bytes(bytes)) if bytes < MESSAGE_BYTES_MIN => {
            fields.wrong(
                name,
                format!("a limit of {bytes} bytes leaves no room for any message"),
                "give at least `4KiB`",
            );
            default
        }
        Some(Bytes(bytes)) => bytes,
        None => default,
    };
    let request_bytes_max = bytes("request_bytes_max", LIMITS.request_bytes_max);
    let response_bytes_max = bytes("response_bytes_max", LIMITS.response_bytes_max);
    XdsLimits {
        request_bytes_max,
        response_bytes_max,
        progress_timeout: positive_duration(&mut fields, "progress_timeout")
            .unwrap_or(LIMITS.progress_timeout),
        make_before_break_timeout: duration(
            &mut fields,
            "make_before_break_timeout",
            LIMITS.make_before_break_timeout,
        ),
        starting_streams_max: match fields.value::<usize>("starting_streams_max") {
            Some(0) => {
                fields.wrong(
                    "starting_streams_max",
                    "where no stream may start, none is served",
                    "give at least 1, or leave it out",
                );
                LIMITS.starting_streams_max
            }
            Some(count) => count,
            None => LIMITS.starting_streams_max,
        },
        connection_age: positive_duration(&mut fields, "connection_age"),
    }
}

fn loads(mut fields: Fields<'_>) -> LoadSettings {
    let wanted = fields.value("report").unwrap_or(LOADS.wanted);
    let interval = match fields.value("interval") {
        Some(Span(interval)) if interval < LOAD_INTERVAL_MIN => {
            fields.wrong(
                "interval",
                "every proxy reports in each interval, so less than a second costs more than it tells",
                "write it as `10s`",
            );
            LOADS.interval
        }
        Some(Span(interval)) => interval,
        None => LOADS.interval,
    };
    LoadSettings { wanted, interval }
}

fn operators(fields: &mut Fields<'_>) -> BTreeSet<SpiffeId> {
    let names: Vec<String> = fields.value("operators").unwrap_or_default();
    let mut operators = BTreeSet::new();
    for name in names {
        match name.parse() {
            Ok(operator) => {
                operators.insert(operator);
            }
            Err(error) => fields.wrong(
                "operators",
                error,
                "write it as `spiffe://mesh.example/ns/ops/sa/admin`",
            ),
        }
    }
    operators
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

fn duration(fields: &mut Fields<'_>, name: &str, default: Duration) -> Duration {
    fields
        .value(name)
        .map_or(default, |Span(duration)| duration)
}

/// A duration of which zero would mean something else, such as "never" to Envoy.
fn positive_duration(fields: &mut Fields<'_>, name: &str) -> Option<Duration> {
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

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
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
    "traffic",
];
const TRAFFIC: &[&str] = &[
    "connect_timeout",
    "connections_max",
    "pending_requests_max",
    "requests_max",
    "retries_max",
];
const XDS: &[&str] = &[
    "address",
    "plaintext",
    "tls",
    "limits",
    "loads",
    "operators",
];
const XDS_LOADS: &[&str] = &["report", "interval"];
const XDS_TLS: &[&str] = &["address", "certificate", "key", "client_ca", "dns_names"];
const XDS_LIMITS: &[&str] = &[
    "request_bytes_max",
    "response_bytes_max",
    "progress_timeout",
    "starting_streams_max",
    "connection_age",
    "make_before_break_timeout",
];
const ADMIN: &[&str] = &["address"];
const STATE: &[&str] = &["path", "memory"];
const LOG: &[&str] = &["level", "format"];

#[cfg(test)]
pub(super) const ALL_FIELDS: &[&[&str]] = &[
    ROOT, MESH, TRAFFIC, XDS, XDS_TLS, XDS_LIMITS, XDS_LOADS, ADMIN, STATE, LOG,
];

const DOMAIN: &str = "cluster.local";
const XDS_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15010);
const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15014);
const EXPLICIT_HTTP_PORT: u16 = 15080;
/// Class E, which no network routes: 16 million addresses that nobody else has.
const VIRTUAL_ADDRESSES: Option<Ipv4Net> = match Ipv4Net::new(Ipv4Addr::new(240, 0, 0, 0), 8) {
    Ok(net) => Some(net),
    Err(_) => None,
};
const LIMITS: XdsLimits = XdsLimits {
    request_bytes_max: 64 << 20,
    response_bytes_max: 1 << 20,
    progress_timeout: Duration::from_secs(60),
    starting_streams_max: 256,
    connection_age: None,
    make_before_break_timeout: Duration::from_secs(5),
};
/// Not by themselves: a proxy that reports has one more stream.
const LOADS: LoadSettings = LoadSettings {
    wanted: false,
    interval: Duration::from_secs(10),
};
const LOAD_INTERVAL_MIN: Duration = Duration::from_secs(1);
const MESSAGE_BYTES_MIN: usize = 4 << 10;
/// It names registries; whatever grows with the fleet is in them.
const FILE_BYTES_MAX: usize = 1 << 20;
