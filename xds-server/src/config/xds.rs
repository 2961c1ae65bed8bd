//! The section `xds`: how proxies are served.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bowline_ads::LoadSettings;
use bowline_cert_authority::ServerNames;
use bowline_document::Node;
use bowline_identity::SpiffeId;

use super::fields::Fields;
use super::read::{duration, overlap, positive_duration};
use super::value::{Bytes, Span};
use super::{XdsCertificates, XdsConfig, XdsLimits, XdsTls};

/// Where the section is not given.
pub(super) fn default() -> XdsConfig {
    XdsConfig {
        plaintext: Some(ADDRESS),
        tls: None,
        limits: DEFAULT_LIMITS,
        loads: DEFAULT_LOADS,
        operators: BTreeSet::new(),
    }
}

pub(super) fn read(mut fields: Fields<'_>) -> Option<XdsConfig> {
    let wants_plaintext = fields.value("plaintext").unwrap_or(false);
    let is_off = fields.node("address").and_then(Node::as_str) == Some("none");
    let plaintext = match fields.node("address") {
        Some(_) if is_off => None,
        Some(_) => fields.text("address", "127.0.0.1:15010"),
        None => Some(ADDRESS),
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
    let tls = fields.fields("tls", TLS).and_then(tls);
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
    let limits = fields
        .fields("limits", LIMITS)
        .map_or(DEFAULT_LIMITS, limits);
    let loads = fields.fields("loads", LOADS).map_or(DEFAULT_LOADS, loads);
    let operators = operators(&mut fields);
    Some(XdsConfig {
        plaintext,
        tls,
        limits,
        loads,
        operators,
    })
}

fn tls(mut fields: Fields<'_>) -> Option<XdsTls> {
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
    let request_bytes_max = bytes("request_bytes_max", DEFAULT_LIMITS.request_bytes_max);
    let response_bytes_max = bytes("response_bytes_max", DEFAULT_LIMITS.response_bytes_max);
    XdsLimits {
        request_bytes_max,
        response_bytes_max,
        progress_timeout: positive_duration(&mut fields, "progress_timeout")
            .unwrap_or(DEFAULT_LIMITS.progress_timeout),
        keepalive_interval: positive_duration(&mut fields, "keepalive_interval")
            .unwrap_or(DEFAULT_LIMITS.keepalive_interval),
        keepalive_timeout: positive_duration(&mut fields, "keepalive_timeout")
            .unwrap_or(DEFAULT_LIMITS.keepalive_timeout),
        make_before_break_timeout: duration(
            &mut fields,
            "make_before_break_timeout",
            DEFAULT_LIMITS.make_before_break_timeout,
        ),
        starting_streams_max: match fields.value::<usize>("starting_streams_max") {
            Some(0) => {
                fields.wrong(
                    "starting_streams_max",
                    "where no stream may start, none is served",
                    "give at least 1, or leave it out",
                );
                DEFAULT_LIMITS.starting_streams_max
            }
            Some(count) => count,
            None => DEFAULT_LIMITS.starting_streams_max,
        },
        connection_age: positive_duration(&mut fields, "connection_age"),
    }
}

fn loads(mut fields: Fields<'_>) -> LoadSettings {
    let wanted = fields.value("report").unwrap_or(DEFAULT_LOADS.wanted);
    let interval = match fields.value("interval") {
        Some(Span(interval)) if interval < LOAD_INTERVAL_MIN => {
            fields.wrong(
                "interval",
                "every proxy reports in each interval, so less than a second costs more than it tells",
                "write it as `10s`",
            );
            DEFAULT_LOADS.interval
        }
        Some(Span(interval)) => interval,
        None => DEFAULT_LOADS.interval,
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

pub(super) const FIELDS: &[&str] = &[
    "address",
    "plaintext",
    "tls",
    "limits",
    "loads",
    "operators",
];
pub(super) const LOADS: &[&str] = &["report", "interval"];
pub(super) const TLS: &[&str] = &["address", "certificate", "key", "client_ca", "dns_names"];
pub(super) const LIMITS: &[&str] = &[
    "request_bytes_max",
    "response_bytes_max",
    "progress_timeout",
    "starting_streams_max",
    "connection_age",
    "make_before_break_timeout",
    "keepalive_interval",
    "keepalive_timeout",
];

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15010);
const DEFAULT_LIMITS: XdsLimits = XdsLimits {
    request_bytes_max: 64 << 20,
    response_bytes_max: 1 << 20,
    progress_timeout: Duration::from_secs(60),
    starting_streams_max: 256,
    connection_age: None,
    make_before_break_timeout: Duration::from_secs(5),
    keepalive_interval: Duration::from_secs(30),
    keepalive_timeout: Duration::from_secs(10),
};
/// Not by themselves: a proxy that reports has one more stream.
const DEFAULT_LOADS: LoadSettings = LoadSettings {
    wanted: false,
    interval: Duration::from_secs(10),
};
const LOAD_INTERVAL_MIN: Duration = Duration::from_secs(1);
const MESSAGE_BYTES_MIN: usize = 4 << 10;
