//! Gateways.

mod listener;

use std::sync::Arc;

use bowline_mesh::{Gateway as MeshGateway, Object, Spec};
use serde::Deserialize;

use crate::{
    Metadata,
    convert::Scope,
    metadata::Present,
    report::{Field, Report},
};

use listener::{Listener, listener, repeated};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[];

/// A Gateway, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Gateway {
    pub(crate) metadata: Metadata,
    spec: GatewaySpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewaySpec {
    gateway_class_name: Arc<str>,
    #[serde(default)]
    listeners: Vec<Listener>,
    addresses: Option<Present>,
    infrastructure: Option<Present>,
    #[serde(rename = "backendTLS")]
    backend_tls: Option<Present>,
    tls: Option<Present>,
    allowed_listeners: Option<Present>,
    default_scope: Option<Present>,
}

impl Gateway {
    pub(crate) fn class(&self) -> &str {
        &self.spec.gateway_class_name
    }
}

/// Nothing, silently, for a gateway of another controller's class.
pub(crate) fn objects(
    gateway: &Gateway,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Object> {
    if !scope.context.references.is_our_class(gateway.class()) {
        return Vec::new();
    }
    let spec = &gateway.spec;
    let field = Field::root("spec");
    not_honoured(spec, &field, report);
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
    vec![scope.object(Spec::Gateway(Arc::new(MeshGateway { listeners })))]
}

fn not_honoured(spec: &GatewaySpec, field: &Field<'_>, report: &mut Report<'_>) {
    let GatewaySpec {
        gateway_class_name: _,
        listeners: _,
        addresses,
        infrastructure,
        backend_tls,
        tls,
        allowed_listeners,
        default_scope,
    } = spec;
    let fields = [
        (
            addresses,
            "addresses",
            "addresses are not asked for",
            "the gateway's proxies listen on all addresses of their machines",
        ),
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
    for (value, name, message, meanwhile) in fields {
        if value.is_some() {
            report.unsupported(&field.key(name), message, meanwhile, "leave it out");
        }
    }
}
