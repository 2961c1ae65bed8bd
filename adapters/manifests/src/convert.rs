//! From one manifest to objects of the mesh. Pure, and the same for files and for an API server's objects.

use std::{collections::BTreeMap, sync::Arc};

use bowline_mesh::{
    Hostname, Kind, Namespace, Object, ObjectKey, Problem, RegistrySettings, Source, Spec,
};

use crate::{
    Manifest, ManifestKind, ManifestName, References, ingress_class,
    report::{Field, Report},
};

/// What the names of the routes of an Ingress have that those of no HTTPRoute have.
pub(crate) const INGRESS: &str = ":ingress";

/// What a conversion knows besides the object itself.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The registry's place in the mesh.
    pub settings: &'a RegistrySettings,
    /// What other objects say.
    pub references: &'a References,
}

/// What one manifest becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// Its objects, which may be none; `None` if it is invalid, and its last good version should stay.
    pub objects: Option<Vec<Object>>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// Converts an object.
pub fn convert(
    name: &ManifestName,
    manifest: &Manifest,
    source: &Source,
    context: Context<'_>,
) -> Converted {
    let scope = Scope::new(name, source, context);
    let mut report = Report::new(object_key(name, context.settings), source);
    let objects = manifest.objects(&scope, &mut report);
    let (mut problems, is_valid) = report.finish();
    let is_left_out = |problem: &Problem| {
        let mut keys = objects.iter().map(Object::key);
        is_valid && !keys.any(|key| Some(key) == problem.object.as_ref())
    };
    // A problem of an object says that its last good version may stay. One that is left out on purpose must not.
    for problem in problems.iter_mut().filter(|problem| is_left_out(problem)) {
        problem.object = None;
        problem.message = format!("{name}: {}", problem.message).into();
    }
    Converted {
        objects: is_valid.then_some(objects),
        problems,
    }
}

/// The object of the mesh that problems of a manifest are about.
pub(crate) fn object_key(name: &ManifestName, settings: &RegistrySettings) -> Option<ObjectKey> {
    let namespace = name.namespace.as_ref().unwrap_or(&settings.namespace);
    Some(ObjectKey {
        registry: settings.id.clone(),
        partition: None,
        kind: name.kind.object_kind()?,
        namespace: namespace.clone(),
        name: object_name(name.kind, &name.name),
    })
}

/// Those of some objects that a manifest may have become, whatever it says.
pub fn objects_of<'o>(
    name: &ManifestName,
    settings: &RegistrySettings,
    objects: &'o BTreeMap<ObjectKey, Object>,
) -> Vec<&'o Object> {
    let Some(first) = object_key(name, settings) else {
        return Vec::new();
    };
    let further = |index: usize| match (name.kind, index) {
        // It is the one or the other.
        (ManifestKind::Service, 0) => objects
            .get(&ObjectKey {
                kind: Kind::Endpoints,
                name: external_name(&name.name),
                ..first.clone()
            })
            .or_else(|| {
                objects.get(&ObjectKey {
                    kind: Kind::NetworkGateway,
                    ..first.clone()
                })
            }),
        (ManifestKind::Gateway, 0) => objects.get(&ObjectKey {
            kind: Kind::NetworkGateway,
            name: east_west_name(&name.name),
            ..first.clone()
        }),
        (ManifestKind::Ingress, _) => objects.get(&ObjectKey {
            name: ingress_name(&name.name, index + 1),
            ..first.clone()
        }),
        (
            ManifestKind::Service
            | ManifestKind::Gateway
            | ManifestKind::Namespace
            | ManifestKind::EndpointSlice
            | ManifestKind::Secret
            | ManifestKind::IngressClass
            | ManifestKind::GatewayClass
            | ManifestKind::ReferenceGrant
            | ManifestKind::HttpRoute
            | ManifestKind::TlsRoute
            | ManifestKind::TcpRoute,
            _,
        ) => None,
    };
    let further = (0..).map_while(further);
    objects.get(&first).into_iter().chain(further).collect()
}

/// The manifest of a route of the mesh that comes from one with a status of its own.
pub fn route_manifest(key: &ObjectKey) -> Option<ManifestName> {
    let (kind, name) = match (key.kind, key.name.split_once(':')) {
        (Kind::HttpRoute, None) => (ManifestKind::HttpRoute, &*key.name),
        (Kind::StreamRoute, Some((name, "tls"))) => (ManifestKind::TlsRoute, name),
        (Kind::StreamRoute, Some((name, "tcp"))) => (ManifestKind::TcpRoute, name),
        // What is said of an Ingress does not depend on its routes.
        _ => return None,
    };
    Some(ManifestName {
        kind,
        namespace: Some(key.namespace.clone()),
        name: name.into(),
    })
}

/// The name of an Ingress' route of one of its hosts.
pub(crate) fn ingress_name(ingress: &str, index: usize) -> Arc<str> {
    match index {
        0 => format!("{ingress}{INGRESS}").into(),
        index => format!("{ingress}{INGRESS}:{index}").into(),
    }
}

/// The name of a Service's own endpoints: an EndpointSlice may have the name of the service, and `:` is in no name of Kubernetes.
pub(crate) fn external_name(service: &str) -> Arc<str> {
    format!("{service}:external").into()
}

/// The name of a Gateway as an east-west gateway: a Service that is one may have its name.
pub(crate) fn east_west_name(gateway: &str) -> Arc<str> {
    format!("{gateway}:gateway").into()
}

/// Kinds that become the same kind of object may have objects of the same name. `:` is in no name of Kubernetes.
fn object_name(kind: ManifestKind, name: &Arc<str>) -> Arc<str> {
    match kind {
        ManifestKind::TcpRoute => format!("{name}:tcp").into(),
        ManifestKind::TlsRoute => format!("{name}:tls").into(),
        ManifestKind::Ingress => ingress_name(name, 0),
        ManifestKind::IngressClass => ingress_class::object_name(name),
        ManifestKind::Namespace
        | ManifestKind::Service
        | ManifestKind::EndpointSlice
        | ManifestKind::Secret
        | ManifestKind::GatewayClass
        | ManifestKind::Gateway
        | ManifestKind::ReferenceGrant
        | ManifestKind::HttpRoute => name.clone(),
    }
}

/// Where the object that is converted stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) kind: ManifestKind,
    /// Its own, or the registry's where it has none.
    pub(crate) namespace: &'a Namespace,
    pub(crate) name: &'a Arc<str>,
    source: &'a Source,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(name: &'a ManifestName, source: &'a Source, context: Context<'a>) -> Self {
        Self {
            context,
            kind: name.kind,
            namespace: name
                .namespace
                .as_ref()
                .unwrap_or(&context.settings.namespace),
            name: &name.name,
            source,
        }
    }

    /// The object that the manifest becomes.
    pub(crate) fn object(&self, spec: Spec) -> Object {
        self.object_named(object_name(self.kind, self.name), spec)
    }

    /// A further object that the manifest becomes.
    pub(crate) fn object_named(&self, name: Arc<str>, spec: Spec) -> Object {
        Object::new(
            self.context.settings.id.clone(),
            None,
            self.namespace.clone(),
            name,
            self.source.clone(),
            spec,
        )
    }

    /// Where the object is written.
    pub(crate) fn source(&self) -> &'a Source {
        self.source
    }

    /// The hostname of a service in a namespace.
    pub(crate) fn hostname(
        &self,
        name: &str,
        namespace: &Namespace,
        field: &Field<'_>,
        report: &mut Report<'_>,
    ) -> Option<Hostname> {
        match self.context.settings.hostname(name, namespace) {
            Ok(hostname) => Some(hostname),
            Err(error) => {
                report.invalid(
                    field,
                    error.to_string(),
                    "give the service a name of letters, digits and '-'",
                );
                None
            }
        }
    }
}
