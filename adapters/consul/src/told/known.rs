//! The objects of one name: what each scope knows, and where it knows nothing now, what was told before.

use std::{collections::BTreeMap, sync::Arc};

use bowline_mesh::{Namespace, Object, ObjectKey, RegistrySettings, Source, Spec};

use super::ScopeView;
use crate::{
    mapping::{Context, Instance, InstanceName, balancing, hostname, label, name, service, source},
    watcher::Known,
};

/// What is told together: everything with one name in one partition, whatever its namespace and scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Family {
    pub(super) partition: Option<Arc<str>>,
    /// The name as a DNS label.
    pub(super) label: Arc<str>,
}

/// Where an object of before the start belongs.
pub(super) fn family_of(object: &Object) -> Option<Family> {
    let key = object.key();
    let label: Arc<str> = match object.spec() {
        Spec::Service(_) => key.name.clone(),
        Spec::Endpoints(_) => label(&InstanceName::parse(&key.name)?.service)?.into(),
        _ => return None,
    };
    Some(Family {
        partition: key.partition.clone(),
        label,
    })
}

/// The services and endpoints of a family.
pub(super) fn objects(
    settings: &RegistrySettings,
    service_port: Option<u16>,
    family: &Family,
    before: &BTreeMap<ObjectKey, Object>,
    views: &[ScopeView<'_>],
) -> BTreeMap<ObjectKey, Object> {
    let Some(consul_name) = name(&family.label) else {
        return BTreeMap::new();
    };
    let mut objects = BTreeMap::new();
    let mut by_namespace: BTreeMap<Namespace, (Vec<&Instance>, Option<Source>)> = BTreeMap::new();
    // Names in Consul whose services have nothing now, and those of which nobody can say anything.
    let mut is_kept = false;
    for view in views
        .iter()
        .filter(|view| view.scope.key_partition() == family.partition)
    {
        let known = match view.watcher.is_complete() {
            true => view.watcher.known(&consul_name),
            false => Known::Unknown,
        };
        match known {
            Known::Content(content) => {
                let context = Context {
                    settings,
                    scope: view.scope,
                    service: &consul_name,
                };
                is_kept |= content.instances.is_empty() && !content.is_foreign;
                // Wrong since before the start: its last good version is known from there only.
                let refused = content
                    .problems
                    .iter()
                    .filter_map(|problem| problem.object.as_ref());
                for name in refused.map(|key| &key.name) {
                    let last_good = before
                        .iter()
                        .find(|(key, object)| is_endpoints(object) && key.name == *name);
                    if let Some((key, object)) = last_good {
                        objects.insert(key.clone(), object.clone());
                        is_kept = true;
                    }
                }
                for (key, instance) in &content.instances {
                    let (instances, place) = by_namespace.entry(key.namespace.clone()).or_default();
                    instances.push(instance);
                    place.get_or_insert_with(|| source(context));
                    objects.insert(key.clone(), instance.object.clone());
                }
            }
            Known::Unknown => {
                let scope = view.scope.to_string();
                let is_its = |key: &ObjectKey| {
                    InstanceName::parse(&key.name).is_some_and(|instance| instance.scope == scope)
                };
                for (key, object) in before {
                    if is_endpoints(object) && is_its(key) {
                        objects.insert(key.clone(), object.clone());
                        is_kept = true;
                    }
                }
            }
            Known::Absent => {}
        }
    }
    let scopes = views.iter().map(|view| view.scope);
    let balancing = balancing(settings, scopes, objects.values());
    for (namespace, (instances, place)) in by_namespace {
        let Ok(hostname) = hostname(settings, &consul_name, &namespace) else {
            continue;
        };
        let service = service(hostname, instances, service_port, balancing.clone());
        if let (Some(service), Some(place)) = (service, place) {
            let object = Object::new(
                settings.id.clone(),
                family.partition.clone(),
                namespace,
                family.label.clone(),
                place,
                Spec::Service(Arc::new(service)),
            );
            objects.insert(object.key().clone(), object);
        }
    }
    // A service of which some endpoints stay, or which has none just now, is as it was.
    if is_kept {
        for (key, object) in before {
            if matches!(object.spec(), Spec::Service(_)) && !objects.contains_key(key) {
                objects.insert(key.clone(), object.clone());
            }
        }
    }
    objects
}

fn is_endpoints(object: &Object) -> bool {
    matches!(object.spec(), Spec::Endpoints(_))
}
