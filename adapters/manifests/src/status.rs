//! What is said of an object in its status: computed as a value, from what the object has become and from the mesh.
//!
//! A kind with a status is a case in [`status`](status()). Whoever writes it back knows what is there already, and since when.

mod gateway;
mod ingress;
mod route;

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::{
    GatewayName, Namespace, Object, Problem, RegistrySettings, Served, Severity, Source,
};

use crate::{Context, Manifest, ManifestKind, ManifestName, References, convert::Scope};

/// Who writes conditions, as GatewayClasses and the parents of routes name it.
pub const GATEWAY_CONTROLLER: &str = "bowline.dev/gateway-controller";

/// More of it nobody reads, and API servers limit it.
const MESSAGE_CHARACTERS_MAX: usize = 1_000;

/// What a status is computed from, besides its object.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// The registry's place in the mesh.
    pub settings: &'k RegistrySettings,
    /// What other objects say.
    pub references: &'k References,
    /// What is served.
    pub served: &'k Served,
}

impl Known<'_> {
    /// The gateways of which a Service that exposes them has an endpoint that is ready.
    pub fn ready_gateways(&self) -> BTreeSet<GatewayName> {
        let exposed = self.references.all_exposures();
        let ready =
            exposed.filter(|(gateway, service)| is_ready(service, &gateway.namespace, *self));
        ready.map(|(gateway, _)| gateway.clone()).collect()
    }
}

/// What an object has become.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'o> {
    /// Its objects in the mesh, perhaps of its last good version.
    pub objects: &'o [Object],
    /// What is wrong with it.
    pub problems: &'o [Problem],
    /// Whether it acts as it is, and not as its last good version.
    pub is_current: bool,
}

/// What is said of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Of a GatewayClass.
    GatewayClass(Vec<Condition>),
    /// Of a Gateway.
    Gateway(GatewayStatus),
    /// Of a route, for each of its parents that is ours.
    Route(Vec<ParentStatus>),
    /// Of an Ingress: where its requests come in.
    Ingress(Vec<GatewayAddress>),
}

/// What is said of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Of the whole.
    pub conditions: Vec<Condition>,
    /// Where its requests come in.
    pub addresses: Vec<GatewayAddress>,
    /// Of each listener, in their order.
    pub listeners: Vec<ListenerStatus>,
}

/// What is said of a listener of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The kinds of routes that may attach.
    pub supported_kinds: Vec<ManifestKind>,
    /// How many do.
    pub attached_routes: usize,
    /// How it is doing.
    pub conditions: Vec<Condition>,
}

/// What is said of a route at one parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentStatus {
    /// The parent, as the route names it.
    pub parent: ParentName,
    /// How the route is doing there.
    pub conditions: Vec<Condition>,
}

/// A parent as a route names it, with group and kind filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentName {
    /// Its API group.
    pub group: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its namespace, where the route gives one.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// The section that is meant.
    pub section: Option<Arc<str>>,
    /// The port that is meant.
    pub port: Option<u16>,
}

/// One thing that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about: `Accepted`, `Programmed`…
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Why, for machines.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

/// Where requests come in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GatewayAddress {
    /// An IP address.
    Ip(Arc<str>),
    /// A DNS name.
    Hostname(Arc<str>),
}

impl Condition {
    fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(kind, true, reason, message.into())
    }

    fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(kind, false, reason, message.into())
    }

    fn new(kind: &'static str, holds: bool, reason: &'static str, message: String) -> Self {
        Self {
            kind,
            holds,
            reason,
            message: match message.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
                Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
                None => message,
            },
        }
    }
}

/// What is to be said of an object; `None` where that is not ours to say.
pub fn status(
    name: &ManifestName,
    manifest: &Manifest,
    outcome: Outcome<'_>,
    known: Known<'_>,
) -> Option<Status> {
    let source = Source {
        place: "".into(),
        line: None,
    };
    let context = Context {
        settings: known.settings,
        references: known.references,
    };
    let scope = Scope::new(name, &source, context);
    match manifest {
        Manifest::GatewayClass(class) => {
            let is_ours = known.references.is_our_class(&name.name);
            is_ours.then(|| Status::GatewayClass(vec![class_accepted(class)]))
        }
        Manifest::Gateway(gateway) => {
            gateway::status(gateway, &scope, outcome, known).map(Status::Gateway)
        }
        Manifest::HttpRoute(route) => {
            let parents = route.parents();
            Some(Status::Route(route::status(
                parents, &scope, outcome, known,
            )))
        }
        Manifest::TlsRoute(route) => {
            let parents = route.parents();
            Some(Status::Route(route::status(
                parents, &scope, outcome, known,
            )))
        }
        Manifest::TcpRoute(route) => {
            let parents = route.parents();
            Some(Status::Route(route::status(
                parents, &scope, outcome, known,
            )))
        }
        Manifest::Ingress(object) => ingress::addresses(object, &scope, known).map(Status::Ingress),
        Manifest::Namespace(_)
        | Manifest::Service(_)
        | Manifest::EndpointSlice(_)
        | Manifest::Secret(_)
        | Manifest::IngressClass(_)
        | Manifest::ReferenceGrant(_) => None,
    }
}

fn class_accepted(class: &crate::GatewayClass) -> Condition {
    match class.has_parameters() {
        false => Condition::yes("Accepted", "Accepted", "its gateways are ours"),
        true => Condition::no(
            "Accepted",
            "InvalidParameters",
            "parameters of a class are not read: its gateways act without them",
        ),
    }
}

/// The errors among some problems, for people.
fn errors(problems: &[Problem], is_meant: impl Fn(&Problem) -> bool) -> Option<String> {
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error && is_meant(problem));
    let texts: Vec<String> = errors
        .map(|problem| match &*problem.field {
            "" => problem.message.to_string(),
            field => format!("{field}: {}", problem.message),
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// What acts in the place of an object that is wrong.
fn last_good(outcome: Outcome<'_>) -> &'static str {
    match outcome.objects.is_empty() {
        true => "it does not act",
        false => "its last good version acts",
    }
}

/// Whether an endpoint of a service is ready.
fn is_ready(service: &str, namespace: &Namespace, known: Known<'_>) -> bool {
    let Ok(hostname) = known.settings.hostname(service, namespace) else {
        return false;
    };
    let groups = known.served.mesh.endpoints(&hostname);
    groups.values().any(|group| {
        let mut endpoints = group.endpoints.iter();
        endpoints.any(|endpoint| endpoint.health == bowline_mesh::Health::Healthy)
    })
}
