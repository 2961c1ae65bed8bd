//! The kinds of objects that the API serves: those that every cluster has, and those of CRDs.

use serde_json::{Value, json};

/// A kind of object, with its place in the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    /// `services`, `endpointslices.discovery.k8s.io`: unique, and how everything here refers to it.
    pub(super) resource: String,
    pub(super) group: String,
    /// Those that are served, the preferred one first.
    pub(super) versions: Vec<String>,
    pub(super) name: String,
    pub(super) plural: String,
    pub(super) short_names: Vec<String>,
    pub(super) scope: Scope,
    pub(super) status: StatusPart,
    pub(super) origin: Origin,
}

/// Whether objects of a kind are in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Cluster,
    Namespaced,
}

/// Whether the status is written apart from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusPart {
    /// By the subresource `/status` only, which writes nothing else.
    Apart,
    /// There is none, or it is a part like any other.
    Within,
}

/// Where a kind comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The server itself. Items of lists carry neither `kind` nor `apiVersion`.
    BuiltIn,
    /// A CustomResourceDefinition.
    Custom,
}

pub(super) const NAMESPACES: &str = "namespaces";
pub(super) const SERVICES: &str = "services";
pub(super) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
pub(super) const ACCESS_REVIEWS: &str = "selfsubjectaccessreviews.authorization.k8s.io";

impl Kind {
    /// `v1`, `discovery.k8s.io/v1`.
    pub(super) fn api_version(&self, version: &str) -> String {
        match self.group.as_str() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// The version that is named first in discovery.
    pub(super) fn preferred(&self) -> &str {
        self.versions.first().map_or("v1", String::as_str)
    }

    /// What an object of it has that has nothing: that of bookmarks.
    pub(super) fn empty(&self) -> Value {
        match (self.origin, self.name.as_str()) {
            (Origin::Custom, _) | (_, "Secret" | "ConfigMap" | "ServiceAccount") => json!({}),
            (_, "EndpointSlice") => json!({"addressType": "", "endpoints": null, "ports": null}),
            (_, "Pod") => json!({"spec": {"containers": null}, "status": {}}),
            (_, "Service" | "Ingress") => json!({"spec": {}, "status": {"loadBalancer": {}}}),
            (_, "Lease") => json!({"spec": {}}),
            (_, _) => json!({"spec": {}, "status": {}}),
        }
    }

    /// What can be done with its objects.
    pub(super) fn verbs(&self) -> &'static [&'static str] {
        match self.resource.as_str() {
            ACCESS_REVIEWS => &["create"],
            _ => &[
                "create", "delete", "get", "list", "patch", "update", "watch",
            ],
        }
    }

    /// The kind that a CustomResourceDefinition defines, if it is complete.
    pub(super) fn defined_by(definition: &Value) -> Option<Self> {
        let spec = definition.get("spec")?;
        let text = |value: &Value, field: &str| Some(value.get(field)?.as_str()?.to_owned());
        let names = spec.get("names")?;
        let group = text(spec, "group")?;
        let plural = text(names, "plural")?;
        let mut versions = Vec::new();
        let mut status = StatusPart::Within;
        for version in spec.get("versions")?.as_array()? {
            if version.get("served") == Some(&Value::Bool(true)) {
                versions.push(text(version, "name")?);
            }
            if version.pointer("/subresources/status").is_some() {
                status = StatusPart::Apart;
            }
        }
        versions.sort_by_key(|version| preference(version));
        let short_names = names.get("shortNames").and_then(Value::as_array);
        Some(Self {
            resource: format!("{plural}.{group}"),
            group,
            versions,
            name: text(names, "kind")?,
            plural,
            short_names: short_names
                .into_iter()
                .flatten()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect(),
            scope: match spec.get("scope").and_then(Value::as_str) {
                Some("Cluster") => Scope::Cluster,
                _ => Scope::Namespaced,
            },
            status,
            origin: Origin::Custom,
        })
    }

    /// The kinds that every cluster has, as far as anybody here asks for them.
    pub(super) fn built_in() -> Vec<Self> {
        use Scope::{Cluster, Namespaced};
        use StatusPart::{Apart, Within};
        let kind = |group: &str, name: &str, plural: &str, short: &[&str], scope, status| Self {
            resource: match group {
                "" => plural.to_owned(),
                group => format!("{plural}.{group}"),
            },
            group: group.to_owned(),
            versions: vec!["v1".to_owned()],
            name: name.to_owned(),
            plural: plural.to_owned(),
            short_names: short.iter().map(|&name| name.to_owned()).collect(),
            scope,
            status,
            origin: Origin::BuiltIn,
        };
        const NETWORKING: &str = "networking.k8s.io";
        vec![
            kind("", "Namespace", NAMESPACES, &["ns"], Cluster, Apart),
            kind("", "Node", "nodes", &["no"], Cluster, Apart),
            kind("", "Service", SERVICES, &["svc"], Namespaced, Apart),
            kind("", "Endpoints", "endpoints", &["ep"], Namespaced, Within),
            kind("", "Pod", "pods", &["po"], Namespaced, Apart),
            kind("", "Secret", "secrets", &[], Namespaced, Within),
            kind("", "ConfigMap", "configmaps", &["cm"], Namespaced, Within),
            kind(
                "",
                "ServiceAccount",
                "serviceaccounts",
                &["sa"],
                Namespaced,
                Within,
            ),
            kind("", "Event", "events", &["ev"], Namespaced, Within),
            kind(
                "apps",
                "Deployment",
                "deployments",
                &["deploy"],
                Namespaced,
                Apart,
            ),
            kind(
                "apps",
                "ReplicaSet",
                "replicasets",
                &["rs"],
                Namespaced,
                Apart,
            ),
            kind(
                "discovery.k8s.io",
                "EndpointSlice",
                "endpointslices",
                &[],
                Namespaced,
                Within,
            ),
            kind(
                NETWORKING,
                "Ingress",
                "ingresses",
                &["ing"],
                Namespaced,
                Apart,
            ),
            kind(
                NETWORKING,
                "IngressClass",
                "ingressclasses",
                &[],
                Cluster,
                Within,
            ),
            kind(
                "coordination.k8s.io",
                "Lease",
                "leases",
                &[],
                Namespaced,
                Within,
            ),
            kind(
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                "customresourcedefinitions",
                &["crd", "crds"],
                Cluster,
                Apart,
            ),
            kind(
                "authorization.k8s.io",
                "SelfSubjectAccessReview",
                "selfsubjectaccessreviews",
                &[],
                Cluster,
                Within,
            ),
        ]
    }
}

/// Versions as Kubernetes prefers them: `v2`, `v1`, `v1beta2`, `v1alpha3`, then the rest by name.
fn preference(version: &str) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>, String) {
    let numbers = |text: &str, stage: &str| -> Option<(u32, u32)> {
        let (major, minor) = match stage {
            "" => (text, "0"),
            stage => text.split_once(stage)?,
        };
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let rest = version.strip_prefix('v').unwrap_or_default();
    for (place, stage) in (0_u8..).zip(["", "beta", "alpha"]) {
        if let Some((major, minor)) = numbers(rest, stage) {
            return (
                place,
                std::cmp::Reverse(major),
                std::cmp::Reverse(minor),
                String::new(),
            );
        }
    }
    let none = std::cmp::Reverse(0);
    (3, none, none, version.to_owned())
}
