//! Services that are east-west gateways.

use std::{collections::BTreeSet, net::IpAddr};

use bowline_mesh::{Code, NetworkGateway, Object, ServicePort as MeshPort};

use super::{LoadBalancerAddress, Service, ServiceType};
use crate::{
    convert::Scope,
    metadata::shortened,
    network::{NO_GATEWAY, gateway, gateway_address, leads_into},
    report::{Field, Report},
};

/// The label that says which port is for other networks.
const PORT_LABEL: &str = "networking.istio.io/gatewayPort";

/// The name of a port for other networks.
const PORT_NAME: &str = "tls";

/// The gateway that a service is, if it is one.
pub(super) fn east_west(
    service: &Service,
    ports: &[MeshPort],
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Option<Object> {
    let network = leads_into(&service.metadata.labels, report)?;
    let port = match service.metadata.labels.get(PORT_LABEL) {
        Some(label) => Some(labelled_port(label, report)?),
        None => gateway_port(ports),
    };
    let addresses = addresses(service, report);
    gateway(scope.name.clone(), network, &addresses, port, scope, report)
}

fn labelled_port(label: &str, report: &mut Report<'_>) -> Option<u16> {
    let port = label.parse().ok().filter(|port: &u16| *port != 0);
    if port.is_none() {
        let metadata = Field::root("metadata");
        report.error(
            Code::InvalidField,
            &metadata.key("labels"),
            format!(
                "the label {PORT_LABEL} has '{}', which is no port",
                shortened(label)
            ),
            NO_GATEWAY,
            "give a number from 1 to 65535, or take the label away",
        );
    }
    port
}

fn gateway_port(ports: &[MeshPort]) -> Option<u16> {
    let mut numbers = ports.iter().map(|port| port.number);
    let mut named = ports.iter().filter(|port| *port.name == *PORT_NAME);
    numbers
        .find(|number| *number == NetworkGateway::PORT)
        .or_else(|| named.next().map(|port| port.number))
}

/// Those that other networks can connect to. A ClusterIP is none, and neither is a port of nodes whose addresses nobody named.
fn addresses(service: &Service, report: &mut Report<'_>) -> BTreeSet<IpAddr> {
    let mut addresses = BTreeSet::new();
    if service.spec.r#type == ServiceType::ExternalName {
        return addresses;
    }
    let spec = Field::root("spec");
    let external = spec.key("externalIPs");
    for (index, text) in service.spec.external_ips.iter().enumerate() {
        addresses.extend(gateway_address(text, &external.index(index), report));
    }
    let status = Field::root("status");
    let balancer = status.key("loadBalancer");
    let ingress = balancer.key("ingress");
    for (index, LoadBalancerAddress { ip, hostname }) in
        service.status.load_balancer.ingress.iter().enumerate()
    {
        let field = ingress.index(index);
        match (ip, hostname) {
            (Some(ip), _) => addresses.extend(gateway_address(ip, &field.key("ip"), report)),
            (None, Some(hostname)) => {
                addresses.extend(gateway_address(hostname, &field.key("hostname"), report));
            }
            (None, None) => {}
        }
    }
    addresses
}
