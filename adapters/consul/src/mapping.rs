//! From what Consul says of one service to model objects. Pure.
//!
//! One instance is one group with one endpoint, an object of its own: a change of one costs one. One that is wrong is one Problem, and
//! stays as it was when it was last right.

mod balancing;
mod convention;
mod key;
mod name;
mod place;
mod service;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_mesh::{
    Code, Endpoint, EndpointGroup, Health, Hostname, Namespace, Object, ObjectKey, Problem,
    RegistrySettings, Severity, Source, Spec,
};

pub(crate) use balancing::balancing;
pub(crate) use key::InstanceName;
pub(crate) use name::{label, name};
pub(crate) use service::service;

use crate::{
    scope::Scope,
    wire::{Check, Entry},
};
use convention::{CalledPort, Conventions};

/// Instances of one service that are read; more would be a mistake or an attack.
const INSTANCES_MAX: usize = 20_000;
/// The longest name of a node or an instance.
const NAME_BYTES_MAX: usize = 512;
/// Envoy sums weights in 32 bits; Consul's own DNS has the same limit.
const WEIGHT_MAX: i64 = 65_535;

/// What is needed to understand what Consul says of one service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a RegistrySettings,
    pub(crate) scope: &'a Scope,
    /// The service, in lower case.
    pub(crate) service: &'a str,
}

/// What one scope says of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) instances: BTreeMap<ObjectKey, Arc<Instance>>,
    pub(crate) problems: Vec<Problem>,
    /// The machines of its instances.
    pub(crate) nodes: BTreeSet<Arc<str>>,
    /// Whether an instance has no health check of its own, so that its coming and going is visible in no list of checks.
    pub(crate) has_unchecked: bool,
    /// Instances that get requests.
    pub(crate) healthy: usize,
    /// Whether all that it has are proxies and gateways of Consul's own mesh.
    pub(crate) is_foreign: bool,
}

/// One instance as it is told to the mesh, with what it says about the service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) object: Object,
    pub(crate) ports: Vec<CalledPort>,
}

impl Instance {
    fn is_healthy(&self) -> bool {
        match self.object.spec() {
            Spec::Endpoints(group) => group
                .endpoints
                .iter()
                .any(|endpoint| endpoint.health == Health::Healthy),
            _ => false,
        }
    }
}

/// What is wrong with an instance.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Understands what Consul says of one service, given what was understood before.
pub(crate) fn map(
    context: Context<'_>,
    (entries, errors): (Vec<Entry>, Vec<String>),
    before: Option<&Mapped>,
) -> Mapped {
    let mut mapped = Mapped {
        is_foreign: !entries.is_empty(),
        ..Mapped::default()
    };
    let source = source(context);
    for error in errors {
        let finding = Finding::new("", format!("it cannot be read: {}", shortened(&error)));
        mapped
            .problems
            .push(problem(&finding, None, &source, Meanwhile::LeftOut));
    }
    let count = entries.len();
    if count > INSTANCES_MAX {
        let finding = Finding::new(
            "",
            format!("it has {count} instances, more than {INSTANCES_MAX} are not read"),
        );
        let mut problem = problem(&finding, None, &source, Meanwhile::LeftOut);
        problem.code = Code::TooLarge;
        mapped.problems.push(problem);
    }
    for entry in entries.into_iter().take(INSTANCES_MAX) {
        take(context, entry, before, &source, &mut mapped);
    }
    mapped.problems.sort();
    mapped.problems.dedup();
    let instances = mapped.instances.values();
    mapped.healthy = instances.filter(|instance| instance.is_healthy()).count();
    mapped
}

fn take(
    context: Context<'_>,
    entry: Entry,
    before: Option<&Mapped>,
    source: &Source,
    mapped: &mut Mapped,
) {
    // Proxies and gateways of Consul's own mesh are no applications.
    if !entry.service.kind.as_deref().unwrap_or_default().is_empty() {
        return;
    }
    mapped.is_foreign = false;
    let checks = entry.checks.as_deref().unwrap_or_default();
    mapped.has_unchecked |= checks.iter().all(|check| check.service_id.is_empty());
    let read = instance(context, &entry, source);
    if !entry.node.node.is_empty() {
        mapped.nodes.insert(entry.node.node.as_str().into());
    }
    match read {
        Ok((instance, findings)) => {
            let key = instance.object.key().clone();
            for finding in findings {
                mapped
                    .problems
                    .push(problem(&finding, Some(&key), source, Meanwhile::Ignored));
            }
            // Contents that did not change are held once, however often they are read.
            let known = before.and_then(|before| before.instances.get(&key));
            let shared = match known {
                Some(known) if **known == instance => known.clone(),
                _ => Arc::new(instance),
            };
            mapped.instances.insert(key, shared);
        }
        Err(finding) => {
            let name = instance_name(context, &entry).to_text();
            let known = before.and_then(|before| {
                let mut instances = before.instances.iter();
                instances.find(|(key, _)| *key.name == *name)
            });
            let key = match known {
                Some((key, _)) => Some(key.clone()),
                None => key(context, &context.settings.namespace, &name),
            };
            let refused = problem(&finding, key.as_ref(), source, Meanwhile::Refused);
            mapped.problems.push(refused);
            if let Some((key, instance)) = known {
                mapped.instances.insert(key.clone(), instance.clone());
            }
        }
    }
}

/// One instance, and what in it was ignored.
fn instance(
    context: Context<'_>,
    entry: &Entry,
    source: &Source,
) -> Result<(Instance, Vec<Finding>), Finding> {
    let Context {
        settings,
        scope,
        service,
    } = context;
    for (field, text) in [
        ("Node.Node", &entry.node.node),
        ("Service.ID", &entry.service.id),
    ] {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(Finding::new(
                field,
                format!(
                    "it has {} bytes instead of 1 to {NAME_BYTES_MAX}",
                    text.len()
                ),
            ));
        }
    }
    let mut findings = Vec::new();
    let conventions = Conventions::of(entry, &mut findings);
    let namespace = namespace(context, &conventions)?;
    let hostname = hostname(settings, service, &namespace)?;
    let (address, port) = place::address(entry, scope)?;
    let ports = convention::ports(&conventions, port)?;
    let (health, weight) = health(entry);
    let identity = conventions.identity(settings, &namespace)?;
    let endpoint = Endpoint {
        address,
        ports: ports
            .iter()
            .map(|port| (port.name.clone(), port.instance))
            .collect(),
        locality: place::locality(entry, &conventions, settings, scope),
        network: conventions
            .network()?
            .unwrap_or_else(|| settings.network.clone()),
        labels: conventions.labels(),
        weight,
        health,
        identity,
    };
    let name = instance_name(context, entry).to_text();
    let object = Object::new(
        settings.id.clone(),
        scope.key_partition(),
        namespace,
        name,
        source.clone(),
        Spec::Endpoints(Arc::new(EndpointGroup {
            service: hostname,
            endpoints: vec![endpoint],
        })),
    );
    Ok((Instance { object, ports }, findings))
}

/// The hostname of a service.
pub(crate) fn hostname(
    settings: &RegistrySettings,
    service: &str,
    namespace: &Namespace,
) -> Result<Hostname, Finding> {
    let wrong = |message: String| Finding::new("Service.Service", message);
    let label = label(service).ok_or_else(|| {
        wrong("the name is too long: as a DNS label it has more than 63 bytes".to_owned())
    })?;
    settings
        .hostname(&label, namespace)
        .map_err(|error| wrong(error.to_string()))
}

fn namespace(context: Context<'_>, conventions: &Conventions) -> Result<Namespace, Finding> {
    let Context {
        settings, scope, ..
    } = context;
    // Where Consul itself has namespaces, it says who may register in which.
    if let (None, Some(text)) = (&scope.namespace, conventions.get("namespace")) {
        return text.parse().map_err(|error: bowline_mesh::NameError| {
            Finding::new("Service.Meta.namespace", error.to_string())
        });
    }
    scope.mesh_namespace(settings).ok_or_else(|| {
        Finding::new(
            "Service.Namespace",
            "Consul's namespace cannot be a namespace of the mesh",
        )
    })
}

/// Consul's word on the health of an instance: the worst of its own checks and its machine's.
fn health(entry: &Entry) -> (Health, u32) {
    let checks = entry.checks.as_deref().unwrap_or_default();
    let (passing, warning) = match &entry.service.weights {
        Some(weights) => (weights.passing, weights.warning),
        None => (1, 1),
    };
    let clamped = |weight: i64| {
        let weight = weight.clamp(1, WEIGHT_MAX);
        u32::try_from(weight).unwrap_or(1)
    };
    let is_maintenance = |check: &Check| {
        check.check_id == "_node_maintenance" || check.check_id.starts_with("_service_maintenance:")
    };
    let is = |status: &str| checks.iter().any(|check| check.status == status);
    let is_failing = |check: &Check| check.status == "critical";
    let is_broken = checks
        .iter()
        .any(|check| is_failing(check) && !is_maintenance(check));
    if checks
        .iter()
        .any(|check| is_failing(check) && is_maintenance(check))
    {
        return (Health::Draining, clamped(passing));
    }
    // Not taken away: how many of them fail decides how much another region is to take.
    if is_broken {
        return (Health::Unhealthy, clamped(passing));
    }
    match is("warning") {
        true if warning < 1 => (Health::Unhealthy, 1),
        true => (Health::Healthy, clamped(warning)),
        false => (Health::Healthy, clamped(passing)),
    }
}

fn instance_name(context: Context<'_>, entry: &Entry) -> InstanceName {
    let bounded = |text: &str| text.chars().take(NAME_BYTES_MAX).collect();
    InstanceName {
        service: context.service.to_owned(),
        scope: context.scope.to_string(),
        node: bounded(&entry.node.node),
        id: bounded(&entry.service.id),
    }
}

fn key(context: Context<'_>, namespace: &Namespace, name: &str) -> Option<ObjectKey> {
    let group = EndpointGroup {
        service: hostname(context.settings, context.service, namespace).ok()?,
        endpoints: Vec::new(),
    };
    let object = Object::new(
        context.settings.id.clone(),
        context.scope.key_partition(),
        namespace.clone(),
        name,
        source(context),
        Spec::Endpoints(Arc::new(group)),
    );
    Some(object.key().clone())
}

/// Where it is written, as people find it.
pub(crate) fn source(context: Context<'_>) -> Source {
    Source {
        place: format!("consul {} {}", context.scope, shortened(context.service)).into(),
        line: None,
    }
}

/// What happens with what is wrong.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Refused,
    LeftOut,
    Ignored,
}

fn problem(
    finding: &Finding,
    object: Option<&ObjectKey>,
    source: &Source,
    meanwhile: Meanwhile,
) -> Problem {
    let Finding { field, message } = finding;
    let (severity, meanwhile) = match meanwhile {
        Meanwhile::Refused => (
            Severity::Error,
            "the instance stays as it was when it was last right; one that never was is left out",
        ),
        Meanwhile::LeftOut => (Severity::Error, "the instance is left out"),
        Meanwhile::Ignored => (Severity::Warning, "the instance is used without it"),
    };
    Problem {
        code: Code::InvalidField,
        severity,
        object: object.cloned(),
        source: Some(source.clone()),
        field: field.as_str().into(),
        message: message.as_str().into(),
        meanwhile: meanwhile.into(),
        hint: "correct the registration in Consul; it is seen at once".into(),
    }
}

/// Texts from outside can be of any length; messages are for people.
pub(crate) fn shortened(text: &str) -> String {
    let is_long = text.chars().nth(200).is_some();
    let mut short: String = text
        .chars()
        .take(200)
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    if is_long {
        short.push('…');
    }
    short
}

/// One instance whose port is a version, for tests of those who do not look into it.
#[cfg(test)]
pub(crate) fn for_tests(name: &str, version: u64) -> (ObjectKey, Arc<Instance>) {
    let port = u16::try_from(version).unwrap();
    let json = format!(
        r#"[{{"Node": {{"Node": "n", "Address": "10.0.0.1"}}, "Service": {{"ID": "{name}", "Port": {port}}}}}]"#
    );
    let settings = RegistrySettings::new(
        "dc".parse().unwrap(),
        "mesh.example".parse().unwrap(),
        "cluster.local".parse().unwrap(),
        "default".parse().unwrap(),
    );
    let scope = Scope {
        datacenter: "dc1".into(),
        is_own: true,
        partition: None,
        namespace: None,
        peer: None,
    };
    let context = Context {
        settings: &settings,
        scope: &scope,
        service: name,
    };
    let list = crate::wire::list(json.as_bytes()).unwrap();
    map(context, list, None)
        .instances
        .into_iter()
        .next()
        .unwrap()
}

#[cfg(test)]
mod tests;
