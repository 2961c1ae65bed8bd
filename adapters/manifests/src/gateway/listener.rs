//! What a gateway listens on.

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::{AllowedRoutes, GatewayListener, GatewayProtocol, HostPattern, NetworkGateway};
use serde::Deserialize;

use crate::{
    ManifestKind,
    certificate::CertificateRef,
    convert::Scope,
    hostname,
    metadata::{LabelSelector, Present, null_is_default, shortened},
    report::{Field, Report},
};

const LEFT_OUT: &str = "the listener is left out; the others act";

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listener {
    name: Arc<str>,
    hostname: Option<String>,
    port: u16,
    protocol: String,
    tls: Option<ListenerTls>,
    #[serde(default)]
    allowed_routes: RouteFilter,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListenerTls {
    #[serde(default)]
    mode: TlsMode,
    #[serde(default, deserialize_with = "null_is_default")]
    certificate_refs: Vec<CertificateRef>,
    frontend_validation: Option<Present>,
    options: Option<Present>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum TlsMode {
    #[default]
    Terminate,
    Passthrough,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct RouteFilter {
    #[serde(default)]
    namespaces: RouteNamespaces,
    #[serde(default)]
    kinds: Vec<RouteKind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct RouteNamespaces {
    #[serde(default)]
    from: FromNamespaces,
    selector: Option<LabelSelector>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum FromNamespaces {
    #[default]
    Same,
    All,
    Selector,
    None,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RouteKind {
    group: Option<Arc<str>>,
    kind: Arc<str>,
}

impl Listener {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it refers to for its certificate; nothing where TLS does not end here.
    pub(crate) fn certificates(&self) -> &[CertificateRef] {
        match (self.protocol.as_str(), &self.tls) {
            ("HTTPS" | "TLS", Some(tls)) if tls.mode == TlsMode::Terminate => &tls.certificate_refs,
            (_, _) => &[],
        }
    }

    /// The kinds of routes that may attach, and whether all that it names are such.
    pub(crate) fn route_kinds(&self) -> (Vec<ManifestKind>, bool) {
        let passes_through = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.mode == TlsMode::Passthrough);
        let kind = match (self.protocol.as_str(), passes_through) {
            ("HTTP", _) => ManifestKind::HttpRoute,
            ("TCP", _) => ManifestKind::TcpRoute,
            ("TLS", true) => ManifestKind::TlsRoute,
            _ => return (Vec::new(), true),
        };
        let named = &self.allowed_routes.kinds;
        let is_named = named.is_empty() || named.iter().any(|named| named.is(kind));
        let kinds = if is_named { vec![kind] } else { Vec::new() };
        (kinds, named.iter().all(|named| named.is(kind)))
    }
}

impl RouteKind {
    fn is(&self, kind: ManifestKind) -> bool {
        let group = self.group.as_deref();
        group.unwrap_or(ManifestKind::Gateway.group()) == kind.group()
            && *self.kind == *kind.as_str()
    }
}

/// Names, and combinations of port, protocol and hostname, are given once.
pub(super) fn repeated(listeners: &[Listener], field: &Field<'_>, report: &mut Report<'_>) {
    let mut names = BTreeSet::new();
    let mut places = BTreeSet::new();
    for (index, listener) in listeners.iter().enumerate() {
        let field = field.index(index);
        if !names.insert(&listener.name) {
            report.invalid(
                &field.key("name"),
                format!(
                    "another listener has the name '{}' too",
                    shortened(&listener.name)
                ),
                "give each listener a name of its own",
            );
        }
        if !places.insert((listener.port, &listener.protocol, &listener.hostname)) {
            report.invalid(
                &field,
                "another listener has the same port, protocol and hostname",
                "change one of them, or leave one listener out",
            );
        }
    }
}

/// The port on which TLS is passed through for other networks: 15443, or that of the only such listener.
pub(super) fn passthrough_port(listeners: &[Listener]) -> Option<u16> {
    let passes_through = |listener: &&Listener| {
        let mode = listener.tls.as_ref().map(|tls| tls.mode);
        listener.port != 0 && listener.protocol == "TLS" && mode == Some(TlsMode::Passthrough)
    };
    let ports = listeners.iter().filter(passes_through);
    let ports: BTreeSet<u16> = ports.map(|listener| listener.port).collect();
    match (ports.contains(&NetworkGateway::PORT), ports.len()) {
        (true, _) => Some(NetworkGateway::PORT),
        (false, 1) => ports.first().copied(),
        (false, _) => None,
    }
}

pub(super) fn listener(
    listener: &Listener,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Option<GatewayListener> {
    if listener.port == 0 {
        report.invalid(
            &field.key("port"),
            "0 is not a port",
            "give a number from 1 to 65535",
        );
    }
    let hostname = match &listener.hostname {
        None => HostPattern::Any,
        Some(text) if text.is_empty() => HostPattern::Any,
        Some(text) => hostname::pattern(text, &field.key("hostname"), report)?,
    };
    certificates(listener, field, scope, report);
    let (protocol, route_kind) = protocol(listener, field, report)?;
    if protocol == GatewayProtocol::Tcp && hostname != HostPattern::Any {
        report.invalid(
            &field.key("hostname"),
            "a TCP listener has no hostname",
            "leave it out",
        );
    }
    Some(GatewayListener {
        name: listener.name.clone(),
        port: listener.port,
        protocol,
        hostname,
        allowed_routes: allowed_routes(
            &listener.allowed_routes,
            route_kind,
            &field.key("allowedRoutes"),
            scope,
            report,
        ),
    })
}

fn certificates(
    listener: &Listener,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) {
    let field = field.key("tls");
    let field = field.key("certificateRefs");
    for (index, certificate) in listener.certificates().iter().enumerate() {
        if let Some(unresolved) = certificate.unresolved(scope) {
            let field = field.index(index);
            unresolved.tell(&field.key(unresolved.field()), LEFT_OUT, scope, report);
        }
    }
}

/// What a listener speaks, and which kind of route belongs to it.
fn protocol(
    listener: &Listener,
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> Option<(GatewayProtocol, ManifestKind)> {
    if let Some(tls) = &listener.tls {
        tls_not_honoured(tls, &field.key("tls"), report);
    }
    match (listener.protocol.as_str(), &listener.tls) {
        ("HTTP", None) => Some((GatewayProtocol::Http, ManifestKind::HttpRoute)),
        ("TCP", None) => Some((GatewayProtocol::Tcp, ManifestKind::TcpRoute)),
        ("HTTP" | "TCP" | "UDP", Some(_)) => {
            report.invalid(
                &field.key("tls"),
                format!("a listener for {} has no TLS", listener.protocol),
                "leave it out, or set the protocol to TLS",
            );
            None
        }
        ("TLS", Some(tls)) if tls.mode == TlsMode::Passthrough => {
            Some((GatewayProtocol::TlsPassthrough, ManifestKind::TlsRoute))
        }
        ("TLS" | "HTTPS", tls) => {
            if tls
                .as_ref()
                .is_some_and(|tls| tls.mode == TlsMode::Passthrough)
            {
                report.invalid(
                    &field.key("tls").key("mode"),
                    "an HTTPS listener ends TLS and does not pass it through",
                    "set the protocol to TLS",
                );
                return None;
            }
            report.unsupported(
                &field.key("protocol"),
                "a gateway does not end TLS yet: certificates for listeners come later",
                LEFT_OUT,
                "use HTTP, or TLS with mode Passthrough",
            );
            None
        }
        (other, _) => {
            report.unsupported(
                &field.key("protocol"),
                format!("listeners for '{}' are not made", shortened(other)),
                LEFT_OUT,
                "use HTTP, TCP, or TLS with mode Passthrough",
            );
            None
        }
    }
}

fn tls_not_honoured(tls: &ListenerTls, field: &Field<'_>, report: &mut Report<'_>) {
    let ListenerTls {
        mode,
        certificate_refs,
        frontend_validation,
        options,
    } = tls;
    // Where TLS ends at the gateway, the whole listener is reported.
    if *mode == TlsMode::Terminate {
        return;
    }
    let fields = [
        (!certificate_refs.is_empty(), "certificateRefs"),
        (frontend_validation.is_some(), "frontendValidation"),
        (options.is_some(), "options"),
    ];
    for (is_given, name) in fields {
        if is_given {
            report.unsupported(
                &field.key(name),
                "it means nothing where TLS is passed through",
                "TLS is passed through without it",
                "leave it out",
            );
        }
    }
}

fn allowed_routes(
    allowed: &RouteFilter,
    route_kind: ManifestKind,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> AllowedRoutes {
    let nobody = AllowedRoutes::Namespaces(Vec::new());
    if !kinds_include(&allowed.kinds, route_kind, &field.key("kinds"), report) {
        return nobody;
    }
    let RouteNamespaces { from, selector } = &allowed.namespaces;
    match (from, selector) {
        (FromNamespaces::Same, _) => AllowedRoutes::Same,
        (FromNamespaces::All, _) => AllowedRoutes::All,
        (FromNamespaces::None, _) => nobody,
        (FromNamespaces::Selector, Some(selector)) => {
            AllowedRoutes::Namespaces(scope.context.references.namespaces(selector))
        }
        (FromNamespaces::Selector, None) => {
            report.invalid(
                &field.key("namespaces").key("selector"),
                "from: Selector needs a selector",
                "give one; an empty one ({}) means all namespaces",
            );
            nobody
        }
    }
}

/// Whether the kind of route that belongs to a listener may attach. An empty list means that it may.
fn kinds_include(
    kinds: &[RouteKind],
    route_kind: ManifestKind,
    field: &Field<'_>,
    report: &mut Report<'_>,
) -> bool {
    let mut included = kinds.is_empty();
    for (index, named) in kinds.iter().enumerate() {
        if named.is(route_kind) {
            included = true;
        } else {
            report.unsupported(
                &field.index(index).key("kind"),
                format!(
                    "a listener of this protocol takes no {}",
                    shortened(&named.kind)
                ),
                "no route of this kind attaches; the other kinds act",
                "leave it out",
            );
        }
    }
    included
}
