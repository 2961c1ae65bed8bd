//! Gateways.

mod listener;

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::{Gateway as MeshGateway, Namespace, Object, Spec};
use serde::Deserialize;

use crate::{
    GatewayAddress, Metadata, SecretName,
    convert::{self, Scope},
    metadata::{Present, null_is_default},
    network::{self, gateway_address, leads_into},
    report::{Field, Report},
};

use listener::{listener, passthrough_port, repeated};

pub(crate) use listener::Listener;

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[];

/// A Gateway, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Gateway {
    pub(crate) metadata: Metadata,
    spec: GatewaySpec,
    #[serde(default, deserialize_with = "null_is_default")]
    status: GatewayStatus,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewaySpec {
    gateway_class_name: Arc<str>,
    #[serde(default)]
    listeners: Vec<Listener>,
    #[serde(default, deserialize_with = "null_is_default")]
    addresses: Vec<WrittenAddress>,
    infrastructure: Option<Present>,
    #[serde(rename = "backendTLS")]
    backend_tls: Option<Present>,
    tls: Option<Present>,
    allowed_listeners: Option<Present>,
    default_scope: Option<Present>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct GatewayStatus {
    #[serde(default, deserialize_with = "null_is_default")]
    addresses: Vec<WrittenAddress>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct WrittenAddress {
    r#type: Option<Arc<str>>,
    #[serde(default)]
    value: Arc<str>,
}

impl Gateway {
    /// The addresses that it says it has.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = GatewayAddress> {
        let addresses = self.spec.addresses.iter();
        addresses.filter_map(|address| {
            let value = || address.value.clone();
            match address.r#type.as_deref() {
                _ if address.value.is_empty() => None,
                None | Some("IPAddress") => Some(GatewayAddress::Ip(value())),
                Some("Hostname") => Some(GatewayAddress::Hostname(value())),
                Some(_) => None,
            }
        })
    }

    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.spec.listeners
    }

    /// The Secrets to which its listeners refer.
    pub(crate) fn secrets(&self, own: &Namespace) -> impl Iterator<Item = SecretName> {
        let listeners = self.spec.listeners.iter();
        let certificates = listeners.flat_map(Listener::certificates);
        certificates.filter_map(|certificate| certificate.secret(own))
    }

    pub(crate) fn class(&self) -> &str {
        &self.spec.gateway_class_name
    }
}

/// Nothing, silently, for a gateway of another controller's class, unless it leads into a network.
pub(crate) fn objects(
    gateway: &Gateway,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Object> {
    let east_west = east_west(gateway, scope, report);
    if !scope.context.references.is_our_class(gateway.class()) {
        return east_west.into_iter().collect();
    }
    let spec = &gateway.spec;
    let field = Field::root("spec");
    not_honoured(gateway, &field, report);
    let listeners = field.key("listeners");
    if spec.listeners.is_empty() {
        report.invalid(
            &listeners,
            "the gateway has no listener",
            "give it at least one",
        );
    }
    repeated(&spec.listeners, &listeners, report);
    let listeners = spec.listeners.iter().enumerate();
    let field = field.key("listeners");
    let listeners = listeners
        .filter_map(|(index, item)| listener(item, &field.index(index), scope, report))
        .collect();
    let gateway = scope.object(Spec::Gateway(Arc::new(MeshGateway { listeners })));
    std::iter::once(gateway).chain(east_west).collect()
}

/// The east-west gateway that a gateway is, if it is one. Whose class it is does not matter: it is there and passes TLS through.
fn east_west(gateway: &Gateway, scope: &Scope<'_>, report: &mut Report<'_>) -> Option<Object> {
    let network = leads_into(&gateway.metadata.labels, report)?;
    let mut addresses = BTreeSet::new();
    let roots = [
        (Field::root("spec"), &gateway.spec.addresses),
        (Field::root("status"), &gateway.status.addresses),
    ];
    for (root, written) in roots {
        let field = root.key("addresses");
        for (index, address) in written.iter().enumerate() {
            // Of an address in the spec without a value, the status has what was given.
            if !address.value.is_empty() {
                addresses.extend(gateway_address(&address.value, &field.index(index), report));
            }
        }
    }
    let name = convert::east_west_name(scope.name);
    let port = passthrough_port(&gateway.spec.listeners);
    network::gateway(name, network, &addresses, port, scope, report)
}

fn not_honoured(gateway: &Gateway, field: &Field<'_>, report: &mut Report<'_>) {
    let GatewaySpec {
        gateway_class_name: _,
        listeners: _,
        addresses,
        infrastructure,
        backend_tls,
        tls,
        allowed_listeners,
        default_scope,
    } = &gateway.spec;
    let fields = [
        (
            infrastructure,
            "infrastructure",
            "proxies are not deployed",
            "the gateway is served by the proxies that are started for it",
        ),
        (
            backend_tls,
            "backendTLS",
            "certificates towards backends are not read yet",
            "backends are called as the mesh calls them",
        ),
        (
            tls,
            "tls",
            "TLS settings of a whole gateway are not read yet",
            "the listeners act without them",
        ),
        (
            allowed_listeners,
            "allowedListeners",
            "ListenerSets are not read yet",
            "the gateway has the listeners that are written in it",
        ),
        (
            default_scope,
            "defaultScope",
            "a gateway is not the default of routes",
            "only routes that name the gateway attach to it",
        ),
    ];
    // Where its proxies are reached is the operator's to arrange, and to say.
    if addresses.len() != gateway.addresses().count() {
        report.unsupported(
            &field.key("addresses"),
            "addresses are not asked for, and those of other types than IPAddress and Hostname mean nothing here",
            "the gateway's proxies listen on all addresses of their machines",
            "give addresses at which its proxies are reached, or leave it out",
        );
    }
    for (value, name, message, meanwhile) in fields {
        if value.is_some() {
            report.unsupported(&field.key(name), message, meanwhile, "leave it out");
        }
    }
}
