//! What a workload's entry means.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use bowline_document::Node;
use bowline_identity::SpiffeId;
use bowline_mesh::{
    Address, Endpoint, EndpointGroup, Hostname, Kind, Locality, Namespace, Object, Protocol, Spec,
    Workload, WorkloadPort,
};

use crate::{
    entry::{Context, Entry, Findings, GROUP_SEPARATOR, Identity, Subject},
    format::{LocalityEntry, WorkloadEntry, WorkloadPortEntry},
    service::referred,
};

/// Envoy adds up the weights of all endpoints in 32 bits.
const WEIGHT_MAX: u32 = 1_000_000;

/// Reads an item of `workloads`.
pub(crate) fn workload(node: &Node, context: &Context<'_>) -> Entry {
    let text = |field| node.get(field).map(Node::as_str);
    let namespace = match text("namespace") {
        Some(namespace) => namespace.and_then(|namespace| namespace.parse().ok()),
        None => Some(context.namespace.clone()),
    };
    let name = text("name").flatten();
    let line = node.line();
    match node.decode() {
        Err(error) => Entry {
            subject: subject(name, namespace, context),
            line,
            objects: None,
            findings: vec![error.into()],
        },
        Ok(entry) => workload_entry(entry, context, line, |field| node.line_of(field)),
    }
}

/// Reads a workload whose fields have been read; `line_of` says where each is.
pub(crate) fn workload_entry(
    entry: WorkloadEntry,
    context: &Context<'_>,
    line: u32,
    line_of: impl Fn(&str) -> u32,
) -> Entry {
    let namespace = entry.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| context.namespace.clone());
    let subject = subject(Some(&entry.name), Some(namespace.clone()), context);
    let mut findings = Findings::default();
    let objects = objects(entry, &namespace, context, line, &mut findings);
    Entry {
        subject,
        line,
        objects: Some(objects).filter(|_| !findings.refused()),
        findings: findings.placed(line_of),
    }
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

/// An IP address on which something can be reached; `None` if the text is something else.
pub(crate) fn ip_address(text: &str) -> Result<Option<IpAddr>, String> {
    let Ok(address) = text.parse::<IpAddr>() else {
        let looks_like_v4 = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        return match looks_like_v4 {
            true => Err(format!("'{text}' is not an IP address")),
            false => Ok(None),
        };
    };
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || is_broadcast {
        return Err(format!(
            "'{address}' is not the address of one machine: nothing can connect to it"
        ));
    }
    Ok(Some(address))
}

fn objects(
    entry: WorkloadEntry,
    namespace: &Namespace,
    context: &Context<'_>,
    line: u32,
    findings: &mut Findings,
) -> Vec<Object> {
    let WorkloadEntry {
        name,
        namespace: _,
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
    let weight = weight.unwrap_or(1);
    if weight > WEIGHT_MAX {
        let message = format!("{weight} is more than {WEIGHT_MAX}");
        findings.refuse("weight", message, "only the relation of weights matters");
    }
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

    let port_numbers: BTreeMap<Arc<str>, u16> = ports
        .iter()
        .map(|port| (port.name.clone(), port.number))
        .collect();
    let endpoint = |address: &Address| Endpoint {
        address: address.clone(),
        ports: port_numbers.clone(),
        locality: locality.clone(),
        network: network.clone(),
        labels: BTreeMap::clone(&labels),
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

fn workload_addresses(
    address: Option<&str>,
    addresses: &[String],
    findings: &mut Findings,
) -> Vec<Address> {
    match (address, addresses) {
        (Some(text), []) => {
            let hint = "write an IP address, a DNS name, or `unix:/path/of/socket`";
            let address = findings.take("address", hint, any_address(text));
            address.into_iter().collect()
        }
        (None, [_, ..]) => {
            let parsed = addresses.iter().enumerate().filter_map(|(index, text)| {
                let field = format!("addresses[{index}]");
                let hint = "several addresses are IP addresses of the same machine";
                let address = ip_address(text).and_then(|address| {
                    address.ok_or_else(|| format!("'{text}' is not an IP address"))
                });
                findings.take(&field, hint, address)
            });
            let distinct: Vec<_> = parsed.collect();
            let count = distinct.iter().collect::<BTreeSet<_>>().len();
            if count < distinct.len() {
                findings.refuse("addresses", "an address is given twice", "");
            }
            distinct.into_iter().map(Address::Ip).collect()
        }
        (None, []) => {
            findings.refuse(
                "address",
                "a workload needs an address",
                "an IP address, a DNS name, or `unix:/path/of/socket`",
            );
            Vec::new()
        }
        (Some(_), [_, ..]) => {
            findings.refuse(
                "addresses",
                "`address` and `addresses` are both given",
                "keep one of them",
            );
            Vec::new()
        }
    }
}

fn any_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') && path.len() <= 107 {
            true => Ok(Address::Unix(path.into())),
            false => Err(format!(
                "'{text}' is not a socket: its path begins with '/' and has at most 107 bytes"
            )),
        };
    }
    if let Some(address) = ip_address(text)? {
        return Ok(Address::Ip(address));
    }
    if text.contains(':') {
        return Err(format!(
            "'{text}' is not an address; ports are given in `ports`"
        ));
    }
    text.parse()
        .map(Address::Dns)
        .map_err(|error: bowline_mesh::NameError| error.to_string())
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

fn workload_ports(entries: Vec<WorkloadPortEntry>, findings: &mut Findings) -> Vec<WorkloadPort> {
    let mut names = BTreeSet::new();
    let mut app_ports = BTreeMap::new();
    let mut ports = Vec::with_capacity(entries.len());
    for entry in entries {
        let WorkloadPortEntry {
            name,
            number,
            protocol,
            app_port,
        } = entry;
        if name.is_empty() {
            findings.refuse("ports", "a port has an empty name", "");
        }
        if !names.insert(name.clone()) {
            findings.refuse("ports", format!("the name `{name}` is given twice"), "");
        }
        if app_port == Some(number) {
            findings.refuse(
                "ports",
                format!("the application and its sidecar cannot both listen on {number}"),
                "leave out `app_port` where callers reach the application directly",
            );
        }
        // One port may serve the ports of several services, under the name of each.
        if app_ports
            .insert(number, app_port)
            .is_some_and(|before| before != app_port)
        {
            let message = format!("port {number} has different application ports");
            findings.refuse("ports", message, "");
        }
        let protocol = protocol.or_else(|| Protocol::from_name(&name));
        ports.push(WorkloadPort {
            number: number.get(),
            name: name.into(),
            protocol: protocol.unwrap_or(Protocol::Auto),
            app_port: app_port.map(|port| port.get()),
        });
    }
    ports
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
