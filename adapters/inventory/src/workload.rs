//! What a workload's entry means.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use bowline_document::Node;
use bowline_identity::SpiffeId;
use bowline_mesh::{
    Address, Endpoint, EndpointGroup, Hostname, Kind, Labels, Locality, Named, Namespace, Object,
    Spec, Workload,
};

use crate::{
    entry::{Context, Entry, Findings, GROUP_SEPARATOR, Identity, Subject, text},
    format::{LocalityEntry, WorkloadEntry},
    service::referred,
};

use self::{address::workload_addresses, port::workload_ports};

pub(crate) use self::address::ip_address;

mod address;
mod port;

/// Envoy adds up the weights of all endpoints in 32 bits.
pub(crate) const WEIGHT_MAX: u32 = 1_000_000;

/// Reads an item of `workloads`.
pub(crate) fn workload(node: &Node, context: &Context<'_>) -> Entry {
    let text = |field| text(node, field);
    let namespace = match text("namespace") {
        Some(namespace) => namespace.and_then(|namespace| namespace.parse().ok()),
        None => Some(context.namespace.clone()),
    };
    let name = text("name").flatten();
    let subject = subject(name, namespace, context);
    Entry::read(node, subject, |entry, line, findings| {
        Some(objects(entry, context, line, findings))
    })
}

/// Reads a workload whose fields have been read; `line_of` says where each is.
pub(crate) fn workload_entry(
    entry: WorkloadEntry,
    context: &Context<'_>,
    line: u32,
    line_of: impl Fn(&str) -> u32,
) -> Entry {
    let namespace = entry.namespace.as_ref().unwrap_or(&context.namespace);
    let subject = subject(Some(&entry.name), Some(namespace.clone()), context);
    Entry::of_fields(subject, line, line_of, |findings| {
        Some(objects(entry, context, line, findings))
    })
}

/// What an entry is about, even where the rest of it is wrong.
pub(crate) fn subject(
    name: Option<&str>,
    namespace: Option<Namespace>,
    context: &Context<'_>,
) -> Option<Subject> {
    let (name, namespace) = (name?, namespace?);
    valid_name(name).ok()?;
    Some(Subject {
        key: context.key(Kind::Workload, &namespace, name),
        identity: Identity::Workload(namespace, name.into()),
    })
}

fn objects(
    entry: WorkloadEntry,
    context: &Context<'_>,
    line: u32,
    findings: &mut Findings,
) -> Vec<Object> {
    let WorkloadEntry {
        name,
        namespace,
        address,
        addresses,
        services,
        ports,
        locality,
        network,
        weight,
        health,
        labels,
        service_account,
        identity,
    } = entry;
    let namespace = &namespace.unwrap_or_else(|| context.namespace.clone());
    let settings = context.settings;
    let name_hint = "use letters, digits, '-', '_' and '.'";
    findings.take("name", name_hint, valid_name(&name));
    let addresses = workload_addresses(address.as_deref(), &addresses, findings);
    let hostnames = hostnames(&services, namespace, context, findings);
    let ports = workload_ports(ports.0, findings);
    if !hostnames.is_empty() && ports.is_empty() {
        findings.refuse(
            "ports",
            "a workload that serves needs ports",
            "give them by the names of the service's ports, such as `ports: {http: 8080}`",
        );
    }
    let weight = match u32::try_from(weight.unwrap_or(1)) {
        Ok(weight @ 0..=WEIGHT_MAX) => weight,
        Ok(_) | Err(_) => {
            let found = weight.unwrap_or_default();
            let message =
                format!("expected a whole number from 0 to {WEIGHT_MAX}, found the number {found}");
            findings.refuse("weight", message, "only the relation of weights matters");
            0
        }
    };
    if labels.keys().any(String::is_empty) {
        findings.refuse("labels", "a label has an empty name", "");
    }
    let locality = locality.map_or_else(
        || settings.locality.clone(),
        |entry| workload_locality(&entry, findings),
    );
    let network = network.unwrap_or_else(|| settings.network.clone());
    let labels = labels
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    let identity = workload_identity(service_account, identity, namespace, context, findings);

    let port_numbers: Named<u16> = ports
        .iter()
        .map(|port| (port.name.clone(), port.number))
        .collect();
    let endpoint = |address: &Address| Endpoint {
        address: address.clone(),
        ports: port_numbers.clone(),
        locality: locality.clone(),
        network: network.clone(),
        labels: Labels::clone(&labels),
        weight,
        health: health.unwrap_or_default(),
        identity: identity.clone(),
    };
    let endpoints: Vec<_> = addresses.iter().map(endpoint).collect();
    let groups = hostnames.into_iter().map(|service| {
        let group_name = format!("{name}{GROUP_SEPARATOR}{service}");
        let group = EndpointGroup {
            service,
            endpoints: endpoints.clone(),
        };
        let spec = Spec::Endpoints(Arc::new(group));
        context.object(namespace, group_name, line, spec)
    });
    let mut objects: Vec<_> = groups.collect();
    let mut ports = ports;
    let mut numbers = BTreeSet::new();
    ports.retain(|port| numbers.insert(port.number));
    let workload = Workload {
        addresses: addresses.iter().filter_map(ip).collect(),
        locality,
        network,
        labels,
        identity,
        ports,
    };
    let spec = Spec::Workload(Arc::new(workload));
    objects.push(context.object(namespace, name.as_str(), line, spec));
    objects
}

fn valid_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 253 || !name.bytes().all(allowed) {
        let shown: String = name.chars().take(80).collect();
        return Err(format!("'{shown}' is not a workload's name"));
    }
    Ok(())
}

fn hostnames(
    services: &[String],
    namespace: &Namespace,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Vec<Hostname> {
    let mut hostnames = Vec::with_capacity(services.len());
    for (index, text) in services.iter().enumerate() {
        let field = format!("services[{index}]");
        let hint = "write a service's name, `namespace/name`, or a hostname";
        let hostname = referred(text, namespace, context.settings);
        let Some(hostname) = findings.take(&field, hint, hostname) else {
            continue;
        };
        match hostnames.contains(&hostname) {
            true => findings.refuse(field, format!("{hostname} is given twice"), ""),
            false => hostnames.push(hostname),
        }
    }
    hostnames
}

fn workload_locality(entry: &LocalityEntry, findings: &mut Findings) -> Locality {
    let LocalityEntry {
        region,
        zone,
        subzone,
    } = entry;
    if region.is_empty() && !(zone.is_empty() && subzone.is_empty())
        || zone.is_empty() && !subzone.is_empty()
    {
        findings.refuse(
            "locality",
            "a zone needs its region, and a subzone its zone",
            "write it as `region/zone/subzone`",
        );
    }
    if subzone.contains('/') {
        findings.refuse(
            "locality",
            "it has more than three parts",
            "write it as `region/zone/subzone`",
        );
    }
    Locality::new(region, zone, subzone)
}

fn workload_identity(
    service_account: Option<String>,
    identity: Option<SpiffeId>,
    namespace: &Namespace,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<SpiffeId> {
    match (service_account, identity) {
        (None, identity) => identity,
        (Some(account), None) => findings.take(
            "service_account",
            "use letters, digits, '-', '_' and '.'",
            context.settings.identity(namespace, &account),
        ),
        (Some(_), Some(_)) => {
            findings.refuse(
                "identity",
                "`identity` and `service_account` are both given",
                "keep one of them",
            );
            None
        }
    }
}

fn ip(address: &Address) -> Option<IpAddr> {
    match address {
        Address::Ip(address) => Some(*address),
        Address::Dns(_) | Address::Unix(_) => None,
    }
}
