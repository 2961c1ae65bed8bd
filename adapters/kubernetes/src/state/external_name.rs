//! ExternalNames that lead in a circle: nobody can resolve them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_mesh::{Address, Code, Hostname, Object, Problem, Severity, Spec};

/// A problem for each service whose external name leads back to it. Given are the objects of each manifest.
pub(super) fn circles<'a>(manifests: impl Iterator<Item = &'a [Object]>) -> Vec<Problem> {
    let targets: BTreeMap<&Hostname, (&Hostname, &Object)> = manifests.filter_map(target).collect();
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for start in targets.keys() {
        let mut path: Vec<&Hostname> = Vec::new();
        let mut next = *start;
        while seen.insert(next) {
            path.push(next);
            match targets.get(next) {
                Some((target, _)) => next = target,
                None => break,
            }
        }
        // Names that were seen from an earlier start are in no new circle.
        let circle = path.iter().position(|name| *name == next);
        let circle = circle.and_then(|begin| path.get(begin..));
        for name in circle.unwrap_or_default() {
            if let Some((target, service)) = targets.get(name) {
                problems.push(problem(name, target, service));
            }
        }
    }
    problems
}

/// Whether objects of a manifest say that a service stands for a DNS name.
pub(super) fn is_external(objects: &[Object]) -> bool {
    target(objects).is_some()
}

fn target(objects: &[Object]) -> Option<(&Hostname, (&Hostname, &Object))> {
    let [first, second] = objects else {
        return None;
    };
    let (Spec::Service(service), Spec::Endpoints(group)) = (first.spec(), second.spec()) else {
        return None;
    };
    match &group.endpoints.first()?.address {
        Address::Dns(target) => Some((&service.hostname, (target, first))),
        Address::Ip(_) | Address::Unix(_) => None,
    }
}

fn problem(name: &Hostname, target: &Hostname, service: &Object) -> Problem {
    Problem {
        code: Code::InvalidField,
        severity: Severity::Error,
        object: Some(service.key().clone()),
        source: Some(service.source.clone()),
        field: Arc::from("spec.externalName"),
        message: format!("{name} stands for {target}, which leads back to {name}").into(),
        meanwhile: "calls fail: the name resolves to nothing".into(),
        hint: "give one of the services in the circle a name outside of it".into(),
    }
}
