//! What a service's entry means.

use std::{net::IpAddr, sync::Arc};

use bowline_document::Node;
use bowline_mesh::{
    Balancing, Hostname, Kind, NameError, Namespace, Object, Policy, RegionOrder, RegistrySettings,
    Service, Spec, TrafficSettings,
};

use crate::{
    entry::{Context, Entry, Findings, Identity, Subject, text},
    format::{Prefer, ServiceEntry, TrafficEntry},
    workload::ip_address,
};

use self::{health_check::health_check, port::service_ports};

mod health_check;
mod port;

/// Reads an item of `services`.
pub(crate) fn service(node: &Node, context: &Context<'_>) -> Entry {
    Entry::read(node, subject(node, context), |entry, line, findings| {
        objects(entry, context, line, findings)
    })
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
    let text = |field| text(node, field);
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
        failover,
        headless,
        health_check: health_check_entry,
        traffic: traffic_entry,
    } = entry;
    let namespace = namespace.unwrap_or_else(|| context.namespace.clone());
    let hostname = hostname.or_else(|| named(name.as_deref(), &namespace, context, findings));
    let addresses: Vec<_> = addresses
        .iter()
        .enumerate()
        .filter_map(|(index, text)| {
            let hint = "write an IP address, or leave it out to have one given";
            findings.take(&format!("addresses[{index}]"), hint, service_address(text))
        })
        .collect();
    let balancing = balancing(prefer, failover, headless, findings);
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

/// The hostname that a name makes.
fn named(
    name: Option<&str>,
    namespace: &Namespace,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Hostname> {
    let Some(name) = name else {
        findings.refuse("name", "a service needs a name or a hostname", "");
        return None;
    };
    let hint = "use letters, digits and '-', or give a `hostname`";
    let hostname = single_label(name).and_then(|()| {
        let hostname = context.settings.hostname(name, namespace);
        hostname.map_err(|error| error.to_string())
    });
    findings.take("name", hint, hostname)
}

/// How callers pick an endpoint.
fn balancing(
    prefer: Option<Prefer>,
    failover: Vec<String>,
    headless: bool,
    findings: &mut Findings,
) -> Balancing {
    if prefer.is_none() && !failover.is_empty() {
        findings.refuse(
            "failover",
            "it says where callers go that have nothing near them, but they do not look for what is near",
            "add `prefer: region` or `prefer: zone`, or remove `failover`",
        );
    }
    if let Some(place) = failover.iter().position(|region| !is_region(region)) {
        findings.refuse(
            format!("failover[{place}]"),
            "it is no region",
            "write the first part of a `locality`, such as `eu-west-1`",
        );
    }
    let order = RegionOrder::new(failover.into_iter().map(Arc::from));
    match (prefer, headless) {
        (None, false) => Balancing::Everywhere,
        (None, true) => Balancing::ByAddress,
        (Some(Prefer::Zone), false) => Balancing::PreferZone(order),
        (Some(Prefer::Region), false) => Balancing::PreferRegion(order),
        (Some(_), true) => {
            findings.refuse(
                "prefer",
                "a headless service is called by the address that the caller has looked up, so there is nothing to prefer",
                "remove `prefer` or `headless`",
            );
            Balancing::ByAddress
        }
    }
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
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
