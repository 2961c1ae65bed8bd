//! What a registry may contribute: to which namespaces and hostnames its entry in the configuration lets it.

use crate::{Code, HostPattern, ObjectKey, Problem, RegistrySettings, Severity, Source, Spec};

/// Why a registry may not contribute an object; `None` where it may.
pub(super) fn not_allowed(
    settings: &RegistrySettings,
    key: &ObjectKey,
    source: &Source,
    spec: &Spec,
) -> Option<Problem> {
    let namespaces = settings.allowed_namespaces.as_ref();
    let hostnames = settings.allowed_hostnames.as_ref();
    let hostname = match spec {
        Spec::Service(service) => Some(&service.hostname),
        Spec::Endpoints(group) => Some(&group.service),
        Spec::Policy(policy) => Some(&policy.service),
        Spec::Workload(_)
        | Spec::HttpRoute(_)
        | Spec::StreamRoute(_)
        | Spec::Gateway(_)
        | Spec::NetworkGateway(_) => None,
    };
    let (field, message) = if namespaces.is_some_and(|allowed| !allowed.contains(&key.namespace)) {
        (
            "namespace",
            format!(
                "registry {} may not contribute to namespace {}",
                key.registry, key.namespace
            ),
        )
    } else if let Some(hostname) = hostname
        && hostnames.is_some_and(|allowed: &Vec<HostPattern>| {
            !allowed.iter().any(|pattern| pattern.matches(hostname))
        })
    {
        (
            "hostname",
            format!("registry {} may not contribute to {hostname}", key.registry),
        )
    } else {
        return None;
    };
    Some(Problem {
        code: Code::NotAllowed,
        severity: Severity::Error,
        object: Some(key.clone()),
        source: Some(source.clone()),
        field: field.into(),
        message: message.into(),
        meanwhile: "the object is ignored".into(),
        hint: format!(
            "allow it in the entry of registry {} in the configuration, or take the object out",
            key.registry
        )
        .into(),
    })
}
