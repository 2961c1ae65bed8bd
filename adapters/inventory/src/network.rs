//! What a network's entry means: how it is entered from other networks.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bowline_document::Node;
use bowline_mesh::{Kind, Network, NetworkGateway, Object, Spec};

use crate::{
    entry::{Context, Entry, Findings, Identity, Subject, text},
    format::NetworkEntry,
    workload::ip_address,
};

/// Reads an item of `networks`.
pub(crate) fn network(node: &Node, context: &Context<'_>) -> Entry {
    Entry::read(node, subject(node, context), |entry, line, findings| {
        Some(vec![object(entry, context, line, findings)])
    })
}

/// What an entry is about, even where the rest of it is wrong.
fn subject(node: &Node, context: &Context<'_>) -> Option<Subject> {
    let network: Network = text(node, "name")??.parse().ok()?;
    Some(Subject {
        key: context.key(Kind::NetworkGateway, &context.namespace, network.as_str()),
        identity: Identity::Network(network),
    })
}

fn object(
    entry: NetworkEntry,
    context: &Context<'_>,
    line: u32,
    findings: &mut Findings,
) -> Object {
    let NetworkEntry { name, gateways } = entry;
    if name == Network::default() {
        findings.refuse(
            "name",
            "a network that is entered from others needs a name",
            "name it, in the entries of its registries and here",
        );
    }
    if gateways.is_empty() {
        findings.refuse(
            "gateways",
            "a network's entry names at least one gateway",
            "leave the entry out if the network has none",
        );
    }
    let mut places = BTreeSet::new();
    for (index, text) in gateways.iter().enumerate() {
        let field = format!("gateways[{index}]");
        let hint = "write an IP address, and a port if it is not 15443: `203.0.113.7:8443`, `[2001:db8::7]:8443`";
        if let Some(place) = findings.take(&field, hint, place(text))
            && !places.insert(place)
        {
            findings.refuse(field, format!("{place} is given twice"), "");
        }
    }
    let namespace = &context.namespace;
    let object_name = name.to_string();
    let gateway = NetworkGateway {
        network: name,
        places,
    };
    let spec = Spec::NetworkGateway(Arc::new(gateway));
    context.object(namespace, object_name, line, spec)
}

fn place(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = match text.parse::<SocketAddr>() {
        Ok(place) if place.port() == 0 => return Err(format!("'{text}' has no port")),
        Ok(place) => (place.ip().to_string(), place.port()),
        Err(_) => (text.to_owned(), NetworkGateway::PORT),
    };
    let address: Option<IpAddr> = ip_address(&host)?;
    let address = address.ok_or_else(|| format!("'{text}' is not an IP address"))?;
    Ok(SocketAddr::new(address, port))
}
