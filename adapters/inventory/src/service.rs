//! What a service's entry means.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use bowline_document::Node;
use bowline_mesh::{
    Balancing, Code, HealthCheck, Hostname, Kind, NameError, Namespace, Object, Policy, Probe,
    Protocol, RegistrySettings, Service, ServicePort, Spec, TrafficSettings,
};

use crate::{
    entry::{Context, Entry, Findings, Identity, Subject},
    format::{
        GrpcProbe, HealthCheckEntry, HttpProbe, Prefer, ServiceEntry, ServicePortEntry,
        TrafficEntry,
    },
    workload::ip_address,
};

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(1);
const UNHEALTHY_THRESHOLD: u32 = 3;
const HEALTHY_THRESHOLD: u32 = 2;

/// Reads an item of `services`.
pub(crate) fn service(node: &Node, context: &Context<'_>) -> Entry {
    let subject = subject(node, context);
    let line = node.line();
    match node.decode::<ServiceEntry>() {
        Err(error) => Entry {
            subject,
            line,
            objects: None,
            findings: vec![error.into()],
        },
        Ok(entry) => {
            let mut findings = Findings::default();
            let objects = objects(entry, context, line, &mut findings);
            Entry {
                subject,
                line,
                objects: objects.filter(|_| !findings.refused()),
                findings: findings.placed(|field| node.line_of(field)),
            }
        }
    }
}

/// The hostname that a text in a workload's `services` means: a hostname if it has a dot, else a name here or, written
/// `namespace/name`, in another namespace.
pub(crate) fn referred(
    text: &str,
    namespace: &Namespace,
    settings: &RegistrySettings,
) -> Result<Hostname, NameError> {
    match text.split_once('/') {
        Some((namespace, name)) => settings.hostname(name, &namespace.parse()?),
        None if text.contains('.') => text.parse(),
        None => settings.hostname(text, namespace),
    }
}

/// What an entry is about, even where the rest of it is wrong.
fn subject(node: &Node, context: &Context<'_>) -> Option<Subject> {
    let text = |field| node.get(field).map(Node::as_str);
    let namespace = match text("namespace") {
        Some(namespace) => namespace?.parse().ok()?,
        None => context.namespace.clone(),
    };
    let (name, hostname) = match (text("name"), text("hostname")) {
        (name, Some(hostname)) => {
            let hostname: Hostname = hostname?.parse().ok()?;
            (
                name.flatten().unwrap_or(hostname.as_str()).to_owned(),
                hostname,
            )
        }
        (Some(name), None) => {
            let name = name?;
            let hostname = context.settings.hostname(name, &namespace).ok()?;
            (name.to_owned(), hostname)
        }
        (None, None) => return None,
    };
    Some(Subject {
        identity: Identity::Service(hostname),
        key: context.key(Kind::Service, &namespace, &name),
    })
}

fn objects(
    entry: ServiceEntry,
    context: &Context<'_>,
    line: u32,
    findings: &mut Findings,
) -> Option<Vec<Object>> {
    let ServiceEntry {
        name,
        hostname,
        namespace,
        addresses,
        ports,
        prefer,
        headless,
        health_check: health_check_entry,
        traffic: traffic_entry,
    } = entry;
    let namespace = namespace.unwrap_or_else(|| context.namespace.clone());
    let hostname = match (&name, hostname) {
        (_, Some(hostname)) => Some(hostname),
        (Some(name), None) => findings.take(
            "name",
            "use letters, digits and '-', or give a `hostname`",
            single_label(name).and_then(|()| {
                let hostname = context.settings.hostname(name, &namespace);
                hostname.map_err(|error| error.to_string())
            }),
        ),
        (None, None) => {
            findings.refuse("name", "a service needs a name or a hostname", "");
            None
        }
    };
    let addresses: Vec<_> = addresses
        .iter()
        .enumerate()
        .filter_map(|(index, text)| {
            let hint = "write an IP address, or leave it out to have one given";
            findings.take(&format!("addresses[{index}]"), hint, service_address(text))
        })
        .collect();
    let balancing = match (prefer, headless) {
        (None, false) => Balancing::Everywhere,
        (None, true) => Balancing::ByAddress,
        (Some(Prefer::Zone), false) => Balancing::PreferZone,
        (Some(Prefer::Region), false) => Balancing::PreferRegion,
        (Some(_), true) => {
            findings.refuse(
                "prefer",
                "a headless service is called by the address that the caller has looked up, so there is nothing to prefer",
                "remove `prefer` or `headless`",
            );
            Balancing::ByAddress
        }
    };
    let ports = service_ports(ports, findings);
    let health_check = health_check_entry.and_then(|entry| health_check(entry, findings));
    let settings = traffic_entry.map(|entry| traffic(entry, findings));
    let hostname = hostname?;
    let name: Arc<str> = name.as_deref().unwrap_or(hostname.as_str()).into();
    let service = Service {
        hostname: hostname.clone(),
        addresses,
        ports,
        balancing,
        health_check,
    };
    let mut objects = vec![context.object(
        &namespace,
        name.clone(),
        line,
        Spec::Service(Arc::new(service)),
    )];
    if let Some(settings) = settings {
        let policy = Policy {
            service: hostname,
            settings,
        };
        objects.push(context.object(&namespace, name, line, Spec::Policy(Arc::new(policy))));
    }
    Some(objects)
}

/// A name with dots could not be told from a hostname where workloads refer to it.
fn single_label(name: &str) -> Result<(), String> {
    match name.contains(['.', '/']) {
        true => Err(format!(
            "'{name}' is not a service's name: it has a '.' or '/'"
        )),
        false => Ok(()),
    }
}

fn service_address(text: &str) -> Result<IpAddr, String> {
    match ip_address(text)? {
        Some(address) => Ok(address),
        None => Err(format!("'{text}' is not an IP address")),
    }
}

fn service_ports(entries: Vec<ServicePortEntry>, findings: &mut Findings) -> Vec<ServicePort> {
    if entries.is_empty() {
        findings.refuse(
            "ports",
            "a service needs at least one port",
            "such as `ports: [{number: 80, protocol: http}]`",
        );
    }
    let mut numbers = BTreeMap::new();
    let mut names: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(first) = numbers.insert(entry.number, index) {
            let message = format!(
                "port {} is given twice, first in ports[{first}]",
                entry.number
            );
            findings.refuse(format!("ports[{index}].number"), message, "");
        }
        let Some(name) = &entry.name else { continue };
        if name.is_empty() {
            findings.refuse(format!("ports[{index}].name"), "the name is empty", "");
        }
        if let Some(first) = names.insert(name.as_str().into(), index) {
            let message = format!("the name `{name}` is given twice, first in ports[{first}]");
            findings.refuse(format!("ports[{index}].name"), message, "");
        }
    }
    let mut ports = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let ServicePortEntry {
            number,
            name,
            protocol,
            local_port,
        } = entry;
        let said = protocol.or_else(|| Protocol::from_name(name.as_deref()?));
        let protocol = said.unwrap_or(Protocol::Auto);
        let name = match name {
            Some(name) => name.into(),
            None => default_name(protocol, number.get(), &names),
        };
        names.insert(name.clone(), index);
        if protocol.is_http() && local_port.is_some() {
            findings.remark(
                Code::UnsupportedField,
                format!("ports[{index}].local_port"),
                "HTTP ports share one local listener that routes by host",
                "the field is ignored",
                "remove it, or set `protocol: tcp` if this is not HTTP",
            );
        }
        ports.push(ServicePort {
            number: number.get(),
            name,
            protocol,
            local_port: local_port
                .filter(|_| !protocol.is_http())
                .map(|port| port.get()),
        });
    }
    ports
}

/// The protocol's name; with the number where that is not said or would not be unique.
fn default_name(protocol: Protocol, number: u16, taken: &BTreeMap<Arc<str>, usize>) -> Arc<str> {
    let word = match protocol {
        Protocol::Http => "http",
        Protocol::Http2 => "http2",
        Protocol::Grpc => "grpc",
        Protocol::Tls => "tls",
        Protocol::Tcp => "tcp",
        Protocol::Auto => return format!("port-{number}").into(),
    };
    match taken.contains_key(word) {
        false => word.into(),
        true => format!("{word}-{number}").into(),
    }
}

fn health_check(entry: HealthCheckEntry, findings: &mut Findings) -> Option<HealthCheck> {
    let HealthCheckEntry {
        tcp,
        http,
        grpc,
        interval,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
    } = entry;
    let interval = interval.unwrap_or(INTERVAL);
    let timeout = timeout.unwrap_or(TIMEOUT);
    for (field, duration) in [("interval", interval), ("timeout", timeout)] {
        if duration.is_zero() {
            findings.refuse(
                format!("health_check.{field}"),
                "it must be longer than 0",
                "such as `5s`",
            );
        }
    }
    if timeout > interval && !interval.is_zero() {
        findings.remark(
            Code::InvalidField,
            "health_check.timeout",
            "it is longer than the interval, so checks are made less often than the interval says",
            "it is used as written",
            "make it shorter than `interval`",
        );
    }
    let probe = match (tcp, http, grpc) {
        (Some(_), None, None) => Probe::Tcp,
        (None, Some(HttpProbe { path, host }), None) => {
            if !path.starts_with('/') || path.contains(|c: char| c.is_control() || c == ' ') {
                findings.refuse(
                    "health_check.http.path",
                    "a path begins with '/' and has no spaces",
                    "such as `/healthz`",
                );
            }
            Probe::Http {
                path: path.into(),
                host,
            }
        }
        (None, None, Some(GrpcProbe { service })) => Probe::Grpc {
            service: service.into(),
        },
        _ => {
            findings.refuse(
                "health_check",
                "exactly one of `tcp`, `http` and `grpc` says what is asked",
                "such as `tcp: {}` or `http: {path: /healthz}`",
            );
            return None;
        }
    };
    Some(HealthCheck {
        probe,
        interval,
        timeout,
        unhealthy_threshold: unhealthy_threshold.map_or(UNHEALTHY_THRESHOLD, |count| count.get()),
        healthy_threshold: healthy_threshold.map_or(HEALTHY_THRESHOLD, |count| count.get()),
    })
}

fn traffic(entry: TrafficEntry, findings: &mut Findings) -> TrafficSettings {
    let TrafficEntry {
        connect_timeout,
        connections_max,
        pending_requests_max,
        requests_max,
        retries_max,
    } = entry;
    if connect_timeout.is_some_and(|timeout| timeout.is_zero()) {
        findings.refuse(
            "traffic.connect_timeout",
            "it must be longer than 0",
            "such as `2s`",
        );
    }
    TrafficSettings {
        connect_timeout,
        connections_max,
        pending_requests_max,
        requests_max,
        retries_max,
    }
}
