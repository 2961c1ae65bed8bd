//! Ingresses: a route of HTTP requests for each of their hosts.

use std::{collections::BTreeMap, sync::Arc};

use bowline_mesh::{
    Backend, Code, Destination, GatewayName, HeaderChanges, HostPattern, HttpAction, HttpMatch,
    HttpRoute, HttpRule, Namespace, Object, PathMatch, Rewrite, RouteParent, Spec, Timeouts,
};
use serde::Deserialize;

use crate::{
    Metadata, References, SecretName, certificate,
    convert::{self, Scope},
    hostname, matching,
    metadata::{Present, null_is_default, shortened},
    references::PortLookup,
    report::{Field, Report},
};

/// Fields that mean nothing here.
pub(crate) const IGNORED: &[&str] = &[];

/// An Ingress, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ingress {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    spec: IngressSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IngressSpec {
    ingress_class_name: Option<Arc<str>>,
    default_backend: Option<IngressBackend>,
    #[serde(default, deserialize_with = "null_is_default")]
    tls: Vec<IngressTls>,
    #[serde(default, deserialize_with = "null_is_default")]
    rules: Vec<IngressRule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IngressTls {
    /// The certificate itself says for which hosts it is.
    hosts: Option<Present>,
    secret_name: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct IngressRule {
    #[serde(default)]
    host: String,
    http: Option<IngressHttp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct IngressHttp {
    #[serde(default, deserialize_with = "null_is_default")]
    paths: Vec<IngressPath>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IngressPath {
    #[serde(default)]
    path: Arc<str>,
    path_type: PathType,
    backend: IngressBackend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum PathType {
    Exact,
    Prefix,
    ImplementationSpecific,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct IngressBackend {
    service: Option<ServiceBackend>,
    resource: Option<Present>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct ServiceBackend {
    name: Arc<str>,
    #[serde(default)]
    port: BackendPort,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct BackendPort {
    #[serde(default)]
    name: Arc<str>,
    #[serde(default)]
    number: u16,
}

impl Ingress {
    /// The Secrets to which it refers.
    pub(crate) fn secrets(&self, own: &Namespace) -> impl Iterator<Item = SecretName> {
        let names = self.spec.tls.iter().filter_map(IngressTls::secret);
        names.map(|name| SecretName {
            namespace: own.clone(),
            name: name.clone(),
        })
    }

    /// Where its requests come in; `None` where it is not ours.
    pub(crate) fn gateway(
        &self,
        references: &References,
        scope: &Scope<'_>,
    ) -> Option<GatewayName> {
        // The annotation is older than the field, and where both are given it has always won.
        let annotated = self.metadata.annotations.ingress_class.as_ref();
        let class = annotated.or(self.spec.ingress_class_name.as_ref());
        references.ingress_gateway(
            class.map(|class| &**class),
            &scope.context.settings.namespace,
        )
    }
}

impl IngressTls {
    fn secret(&self) -> Option<&Arc<str>> {
        self.secret_name.as_ref().filter(|name| !name.is_empty())
    }
}

/// Nothing, silently, for an Ingress of another controller's class.
pub(crate) fn objects(
    ingress: &Ingress,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Vec<Object> {
    let Some(gateway) = ingress.gateway(scope.context.references, scope) else {
        return Vec::new();
    };
    let IngressSpec {
        ingress_class_name: _,
        default_backend,
        tls,
        rules,
    } = &ingress.spec;
    let field = Field::root("spec");
    not_encrypted(tls, &field.key("tls"), scope, report);
    if rules.is_empty() && default_backend.is_none() {
        report.invalid(
            &field,
            "the Ingress has neither rules nor a default backend",
            "give it at least one of them",
        );
    }
    let created = ingress.metadata.created(report);
    let default = default_backend.as_ref().map(|default| {
        let backend = backend(default, &field.key("defaultBackend"), scope, report);
        rule(PathMatch::Below("/".into()), backend)
    });
    let mut hosts = by_host(rules, &field.key("rules"), scope, report);
    if let Some(default) = default {
        // What no path of a host takes is the default backend's, and so are all other hosts.
        let any = PathMatch::Below("/".into());
        hosts.entry(HostPattern::Any).or_default();
        for rules in hosts.values_mut() {
            let is_taken = rules
                .iter()
                .any(|rule| rule.matches.iter().any(|each| each.path == any));
            if !is_taken {
                rules.push(default.clone());
            }
        }
    }
    let parent = RouteParent::Gateway {
        gateway,
        section: None,
        port: None,
    };
    let hosts = hosts.into_iter().filter(|(_, rules)| !rules.is_empty());
    let routes = hosts.enumerate().map(|(index, (host, rules))| {
        let route = HttpRoute {
            parents: vec![parent.clone()],
            hostnames: match host {
                HostPattern::Any => Vec::new(),
                host => vec![host],
            },
            rules,
            created,
        };
        let name = convert::ingress_name(scope.name, index);
        scope.object_named(name, Spec::HttpRoute(Arc::new(route)))
    });
    routes.collect()
}

fn not_encrypted(
    tls: &[IngressTls],
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) {
    const MEANWHILE: &str = "the hosts are served without TLS";
    if tls.is_empty() {
        return;
    }
    report.unsupported(
        field,
        "a gateway does not end TLS yet: certificates for listeners come later",
        MEANWHILE,
        "leave it out, or end TLS in front of the gateway",
    );
    for (index, tls) in tls.iter().enumerate() {
        let unresolved = tls.secret();
        let unresolved =
            unresolved.and_then(|name| certificate::unresolved(name, scope.namespace, scope));
        if let Some(unresolved) = unresolved {
            let field = field.index(index);
            unresolved.tell(&field.key("secretName"), MEANWHILE, scope, report);
        }
    }
}

/// The rules of each host. Several rules may name one host.
fn by_host(
    rules: &[IngressRule],
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<HostPattern, Vec<HttpRule>> {
    let mut hosts: BTreeMap<HostPattern, Vec<HttpRule>> = BTreeMap::new();
    for (index, IngressRule { host, http }) in rules.iter().enumerate() {
        let field = field.index(index);
        let host = match host.as_str() {
            "" => HostPattern::Any,
            text => match hostname::pattern(text, &field.key("host"), report) {
                Some(host) => host,
                None => continue,
            },
        };
        let field = field.key("http");
        let field = field.key("paths");
        let of_host = hosts.entry(host).or_default();
        let paths = http.iter().flat_map(|http| &http.paths);
        for (index, path) in paths.enumerate() {
            let field = field.index(index);
            let matched = path_match(path, &field, report);
            let backend = backend(&path.backend, &field.key("backend"), scope, report);
            of_host.push(rule(matched, backend));
        }
    }
    hosts
}

/// A path of type ImplementationSpecific is a prefix, as nearly all controllers have it.
fn path_match(path: &IngressPath, field: &Field<'_>, report: &mut Report<'_>) -> PathMatch {
    let field = field.key("path");
    match (path.path_type, &*path.path) {
        (PathType::ImplementationSpecific, "") => PathMatch::Below("/".into()),
        (PathType::Exact, _) => matching::exact(path.path.clone(), &field, report),
        (PathType::Prefix | PathType::ImplementationSpecific, _) => {
            matching::prefix(path.path.clone(), &field, report)
        }
    }
}

fn rule(path: PathMatch, backend: Backend) -> HttpRule {
    HttpRule {
        name: None,
        matches: vec![HttpMatch {
            path,
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        }],
        action: HttpAction::Forward {
            backends: vec![backend],
            rewrite: Rewrite::default(),
        },
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        timeouts: Timeouts::default(),
    }
}

fn backend(
    backend: &IngressBackend,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Backend {
    Backend {
        destination: destination(backend, field, scope, report).unwrap_or(Destination::Unresolved),
        weight: 1,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
    }
}

fn destination(
    backend: &IngressBackend,
    field: &Field<'_>,
    scope: &Scope<'_>,
    report: &mut Report<'_>,
) -> Option<Destination> {
    const MEANWHILE: &str = "its requests are answered with 500";
    let service = match backend {
        IngressBackend {
            service: Some(service),
            resource: None,
        } => service,
        IngressBackend {
            service: None,
            resource: Some(_),
        } => {
            report.error(
                Code::UnsupportedKind,
                &field.key("resource"),
                "requests are not sent to a resource",
                MEANWHILE,
                "send them to a Service",
            );
            return None;
        }
        IngressBackend { .. } => {
            report.invalid(
                field,
                "a backend is either a service or a resource",
                "give it a service",
            );
            return None;
        }
    };
    let field = field.key("service");
    let hostname = scope.hostname(&service.name, scope.namespace, &field.key("name"), report)?;
    let port = match (&*service.port.name, service.port.number) {
        ("", 0) => {
            report.invalid(
                &field.key("port"),
                "a backend needs a port",
                "give the name or the number of the service's port",
            );
            return None;
        }
        ("", number) => number,
        (name, 0) => {
            let references = scope.context.references;
            match references.port_named(scope.namespace, &service.name, name) {
                PortLookup::Found(number) => number,
                lookup => {
                    report.error(
                        Code::UnresolvedReference,
                        &field.key("port").key("name"),
                        match lookup {
                            PortLookup::NoService => format!(
                                "there is no service {}/{}",
                                scope.namespace,
                                shortened(&service.name)
                            ),
                            PortLookup::NoPort | PortLookup::Found(_) => format!(
                                "the service {}/{} has no port '{}'",
                                scope.namespace,
                                shortened(&service.name),
                                shortened(name)
                            ),
                        },
                        MEANWHILE,
                        "correct the name, or define the service's port",
                    );
                    return None;
                }
            }
        }
        (_, _) => {
            report.invalid(
                &field.key("port"),
                "a port is given by its name or by its number",
                "leave one of them out",
            );
            return None;
        }
    };
    Some(Destination::Service { hostname, port })
}
