//! Which kinds there are, in the old form (a document a group) and in the aggregated one.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    json::set,
    kind::{Kind, Origin, Scope, StatusPart},
    store::Store,
};

/// The two places under which groups are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// `/api`: the group without a name.
    Core,
    /// `/apis`: all others.
    Groups,
}

impl Store {
    /// `/api`.
    pub(super) fn core_versions() -> Value {
        json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [
                {"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"},
            ],
        })
    }

    /// `/apis`.
    pub(super) fn groups(&self) -> Value {
        let groups: Vec<_> = self
            .versions_by_group()
            .iter()
            .filter(|(group, _)| !group.is_empty())
            .map(|(group, versions)| description(group, versions))
            .collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// `/apis/{group}`.
    pub(super) fn group(&self, group: &str) -> Option<Value> {
        let groups = self.versions_by_group();
        let mut document = description(group, groups.get(group)?);
        set(&mut document, &["kind"], "APIGroup");
        set(&mut document, &["apiVersion"], "v1");
        Some(document)
    }

    /// `/api/v1`, `/apis/{group}/{version}`.
    pub(super) fn resources(&self, group: &str, version: &str) -> Option<Value> {
        let kinds = self.kinds_in(group, version);
        if kinds.is_empty() {
            return None;
        }
        let mut resources = Vec::new();
        for kind in &kinds {
            let mut resource = json!({
                "name": kind.plural,
                "singularName": kind.name.to_lowercase(),
                "namespaced": kind.scope == Scope::Namespaced,
                "kind": kind.name,
                "verbs": kind.verbs(),
            });
            if !kind.short_names.is_empty() {
                set(&mut resource, &["shortNames"], kind.short_names.clone());
            }
            if kind.origin == Origin::BuiltIn && kind.verbs().contains(&"list") {
                set(&mut resource, &["storageVersionHash"], "pfRBR8dBrDQ=");
            }
            resources.push(resource);
            if kind.status == StatusPart::Apart {
                resources.push(json!({
                    "name": format!("{}/status", kind.plural),
                    "singularName": "",
                    "namespaced": kind.scope == Scope::Namespaced,
                    "kind": kind.name,
                    "verbs": ["get", "patch", "update"],
                }));
            }
        }
        let group_version = match group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        Some(json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": resources,
        }))
    }

    /// `/api` or `/apis` with everything in one document.
    pub(super) fn aggregated(&self, root: Root) -> Value {
        let items: Vec<_> = self
            .versions_by_group()
            .iter()
            .filter(|(group, _)| group.is_empty() == (root == Root::Core))
            .map(|(group, versions)| {
                let versions: Vec<_> = versions
                    .iter()
                    .map(|version| {
                        let kinds = self.kinds_in(group, version);
                        let resources: Vec<_> =
                            kinds.iter().map(|kind| aggregated(kind, version)).collect();
                        json!({"version": version, "resources": resources, "freshness": "Current"})
                    })
                    .collect();
                let mut metadata = json!({"creationTimestamp": null});
                if !group.is_empty() {
                    set(&mut metadata, &["name"], group.clone());
                }
                json!({"metadata": metadata, "versions": versions})
            })
            .collect();
        json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": items,
        })
    }

    /// The kind that a path names.
    pub(super) fn kind_at(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.kinds_in(group, version)
            .into_iter()
            .find(|kind| kind.plural == plural)
    }

    fn kinds_in(&self, group: &str, version: &str) -> Vec<Arc<Kind>> {
        self.kinds()
            .filter(|kind| kind.group == group && kind.versions.iter().any(|v| v == version))
            .cloned()
            .collect()
    }

    fn versions_by_group(&self) -> BTreeMap<String, Vec<String>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for kind in self.kinds() {
            let versions = groups.entry(kind.group.clone()).or_default();
            for version in &kind.versions {
                if !versions.contains(version) {
                    versions.push(version.clone());
                }
            }
        }
        groups
    }
}

fn description(group: &str, versions: &[String]) -> Value {
    let versions: Vec<_> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn aggregated(kind: &Kind, version: &str) -> Value {
    let this = json!({"group": kind.group, "version": version, "kind": kind.name});
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": this,
        "scope": match kind.scope { Scope::Cluster => "Cluster", Scope::Namespaced => "Namespaced" },
        "singularResource": kind.name.to_lowercase(),
        "verbs": kind.verbs(),
    });
    if !kind.short_names.is_empty() {
        set(&mut resource, &["shortNames"], kind.short_names.clone());
    }
    if kind.status == StatusPart::Apart {
        let status = json!([
            {"subresource": "status", "responseKind": this, "verbs": ["get", "patch", "update"]},
        ]);
        set(&mut resource, &["subresources"], status);
    }
    resource
}
