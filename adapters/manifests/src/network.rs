//! Networks: where endpoints are, and the gateways that lead to them.
//!
//! A label says both: on a Pod or Namespace in which network it is, on a Service or Gateway into which network it leads.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bowline_mesh::{
    Code, Labels, NameError, Namespace, Network, NetworkGateway, Object, RegistrySettings, Spec,
};

use crate::{
    References,
    convert::Scope,
    metadata::shortened,
    report::{Field, Report},
};

/// The label that names a network.
pub(crate) const NETWORK_LABEL: &str = "topology.istio.io/network";

/// The network of what runs in a namespace, with the labels of its pod: the label of the pod, of the namespace, or of the cluster.
/// Otherwise it is the registry's.
///
/// # Errors
/// When the label is not the name of a network; given with it is the network that counts all the same.
pub fn network_of(
    pod: Option<&Labels>,
    namespace: &Namespace,
    references: &References,
    settings: &RegistrySettings,
) -> Result<Network, (NameError, Network)> {
    let label = pod
        .and_then(|labels| labels.get(NETWORK_LABEL))
        .filter(|label| !label.is_empty())
        .or_else(|| references.network_label(namespace));
    match label.map(|label| label.parse()) {
        None => Ok(settings.network.clone()),
        Some(Ok(network)) => Ok(network),
        Some(Err(error)) => Err((error, settings.network.clone())),
    }
}

/// The same, with a problem where the label is wrong.
pub(crate) fn reported_network(
    pod: Option<&Labels>,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Network {
    let context = scope.context;
    let found = network_of(pod, scope.namespace, context.references, context.settings);
    found.unwrap_or_else(|(error, network)| {
        report.error(
            Code::InvalidField,
            field,
            format!("the label {NETWORK_LABEL} of its pod or namespace names no network: {error}"),
            "it is in the network of the registry",
            "give the label a name of lower-case letters, digits and '-'",
        );
        network
    })
}

/// The network into which an object with these labels leads, if it is an east-west gateway.
pub(crate) fn leads_into(labels: &Labels, report: &mut Report<'_>) -> Option<Network> {
    let label = labels.get(NETWORK_LABEL)?;
    let metadata = Field::root("metadata");
    let field = metadata.key("labels");
    let message = match label.parse::<Network>() {
        Ok(network) if network != Network::default() => return Some(network),
        Ok(_) => format!("the label {NETWORK_LABEL} is empty"),
        Err(error) => format!("the label {NETWORK_LABEL} names no network: {error}"),
    };
    report.error(
        Code::InvalidField,
        &field,
        message,
        NO_GATEWAY,
        "name the network into which it leads, in lower-case letters, digits and '-', or take the label away",
    );
    None
}

/// An address of an east-west gateway.
pub(crate) fn gateway_address(
    text: &str,
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Option<IpAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => Some(address),
        Ok(_) => {
            report.error(
                Code::InvalidField,
                field,
                format!("'{text}' is not the address of a gateway"),
                LEFT_OUT,
                "give an address that other networks can connect to",
            );
            None
        }
        Err(_) => {
            report.unsupported(
                field,
                format!("the gateway's name '{}' is not resolved", shortened(text)),
                LEFT_OUT,
                "name its IP addresses, in the object or in `networks` of an inventory",
            );
            None
        }
    }
}

/// The gateway that an object is, of the given name; `None` if nobody could connect to it.
pub(crate) fn gateway(
    name: Arc<str>,
    network: Network,
    addresses: &BTreeSet<IpAddr>,
    port: Option<u16>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Option<Object> {
    let spec = Field::root("spec");
    let Some(port) = port else {
        report.error(
            Code::UnresolvedReference,
            &spec,
            format!("an east-west gateway into network {network} has no port for other networks"),
            NO_GATEWAY,
            "give it a port with the number 15443 or the name tls; of a Gateway, a listener that passes TLS through",
        );
        return None;
    };
    if addresses.is_empty() {
        report.warning(
            Code::UnresolvedReference,
            &spec,
            format!("an east-west gateway into network {network} has no address for other networks"),
            NO_GATEWAY,
            "wait until its load balancer has one, or give it one: of a Service in externalIPs, of a Gateway in addresses",
        );
        return None;
    }
    let places = addresses.iter();
    let gateway = NetworkGateway {
        network,
        places: places.map(|ip| SocketAddr::new(*ip, port)).collect(),
    };
    Some(scope.object_named(name, Spec::NetworkGateway(Arc::new(gateway))))
}

/// What becomes of a gateway that is none.
pub(crate) const NO_GATEWAY: &str = "the network is not reached through it";
const LEFT_OUT: &str = "this address is not used; the others are";
