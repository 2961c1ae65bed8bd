//! The entries of `registries`, and `manifests`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bowline_document::Node;
use bowline_identity::TrustDomain;
use bowline_kubernetes::{Access, Facts, SecretFacts, Writing};
use bowline_mesh::{GuardSettings, HostPattern, Hostname, Namespace, RegistryId, RegistrySettings};
use serde::Deserialize;

use super::fields::{Fields, Report, decoded};
use super::value::{Share, Span};
use super::{KubernetesConfig, RegistryConfig, RegistrySource, consul};

/// What a registry's entry takes from the mesh where it says nothing itself.
pub(super) struct Defaults {
    pub(super) trust_domain: TrustDomain,
    pub(super) domain: Hostname,
}

/// On whom a registry's policies act.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policies {
    Own,
    Mesh,
}

/// All registries in the order in which they win conflicts.
pub(super) fn read(fields: &mut Fields<'_>, defaults: &Defaults) -> Vec<RegistryConfig> {
    let mut registries: Vec<_> = manifests(fields, defaults).into_iter().collect();
    let mut lines: BTreeMap<RegistryId, u32> = BTreeMap::new();
    for (path, node) in fields.items("registries") {
        let Some(entry) = entry(node, &path, defaults, fields.report()) else {
            continue;
        };
        let id = &entry.settings.id;
        let line = node.line_of("name");
        let name = format!("{path}.name");
        if *id == RegistryId::manifests() {
            let message = format!("'{id}' is the name of what `manifests` reads");
            fields
                .report()
                .add(line, name, message, "take another name");
        } else if let Some(first) = lines.insert(id.clone(), line) {
            let message = format!("another registry is named '{id}', in line {first}");
            let hint = "events and state of a registry are kept under its name: take another one";
            fields.report().add(line, name, message, hint);
        } else {
            registries.push(entry);
        }
    }
    registries
}

/// What `manifests` reads is one registry, whose policies act on all proxies.
fn manifests(fields: &mut Fields<'_>, defaults: &Defaults) -> Option<RegistryConfig> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for (path, node) in fields.items("manifests") {
        let report = fields.report();
        match decoded::<String>(node, &path, report).as_deref() {
            None => {}
            Some("") => report.add(node.line(), path, "the path is empty", ""),
            Some(text) => {
                let resolved = report.resolve(text);
                if paths.contains(&resolved) {
                    let message = format!("'{text}' is listed twice");
                    report.add(node.line(), path, message, "remove one of them");
                } else {
                    paths.push(resolved);
                }
            }
        }
    }
    if paths.is_empty() {
        return None;
    }
    let mut settings = RegistrySettings::new(
        RegistryId::manifests(),
        defaults.trust_domain.clone(),
        defaults.domain.clone(),
        default_namespace()?,
    );
    settings.policies_for_mesh = true;
    settings.guard.doubts_updates = true;
    Some(RegistryConfig {
        settings,
        source: RegistrySource::Manifests(paths),
    })
}

fn entry(
    node: &Node,
    path: &str,
    defaults: &Defaults,
    report: &mut Report,
) -> Option<RegistryConfig> {
    let mut fields = Fields::of(node, path, ENTRY, report)?;
    let id = fields.required(
        "name",
        "a short name for messages and metrics, such as `vms`",
        |fields, name| fields.text(name, "vms"),
    );
    let namespace = match fields.node("namespace") {
        Some(_) => fields.text("namespace", "default"),
        None => default_namespace(),
    };
    let domain = match fields.node("domain") {
        Some(_) => fields.text("domain", "cluster.local"),
        None => Some(defaults.domain.clone()),
    };
    let source = source(&mut fields);
    let hostname_template = fields.text("hostname_template", "{name}.{namespace}.svc.{domain}");
    let network = fields.text("network", "vpc-1");
    let locality = fields.text("locality", "eu-central-1/eu-central-1a/rack-7");
    let allowed_namespaces = fields.value::<Vec<Namespace>>("namespaces");
    let allowed_hostnames = fields.value::<Vec<HostPattern>>("hostnames");
    let policies = fields.value("policies");
    let guard = fields.fields("guard", GUARD).map(guard);

    let mut settings =
        RegistrySettings::new(id?, defaults.trust_domain.clone(), domain?, namespace?);
    settings.hostname_template = hostname_template.unwrap_or_default();
    settings.network = network.unwrap_or_default();
    settings.locality = locality.unwrap_or_default();
    settings.allowed_namespaces = allowed_namespaces;
    settings.allowed_hostnames = allowed_hostnames;
    settings.policies_for_mesh = matches!(policies, Some(Policies::Mesh));
    settings.guard = guard.unwrap_or_default();
    let source = source?;
    settings.guard.doubts_updates = match source {
        RegistrySource::Inventory(_) | RegistrySource::Manifests(_) => true,
        RegistrySource::Kubernetes(_) | RegistrySource::Consul(_) => false,
    };
    Some(RegistryConfig { settings, source })
}

/// Where the registry is: exactly one field says so.
fn source(fields: &mut Fields<'_>) -> Option<RegistrySource> {
    let kinds = ["kubernetes", "consul", "inventory"];
    let given = kinds.map(|name| fields.node(name).is_some().then_some(name));
    let mut given = given.into_iter().flatten();
    let first = given.next();
    if let (Some(first), Some(second)) = (first, given.next()) {
        let message = format!("the registry is where `{first}` says already");
        fields.wrong(second, message, "give each source an entry of its own");
    }
    match first {
        Some("kubernetes") => return kubernetes(fields.fields("kubernetes", KUBERNETES)?),
        Some("consul") => return consul::read(fields.fields("consul", consul::FIELDS)?),
        _ => {}
    }
    fields.required(
        "inventory",
        "it says where the registry is, such as `inventory: {path: ./inventory.yaml}`",
        |fields, name| inventory(fields.fields(name, INVENTORY)?),
    )
}

fn inventory(mut fields: Fields<'_>) -> Option<RegistrySource> {
    fields
        .required(
            "path",
            "a file or a directory, such as `./inventory.yaml`",
            Fields::file,
        )
        .map(RegistrySource::Inventory)
}

fn kubernetes(mut fields: Fields<'_>) -> Option<RegistrySource> {
    let is_given = fields.node("kubeconfig").is_some();
    let path = fields.file("kubeconfig");
    let context = fields.value::<String>("context");
    let pods = fields.value("pods").unwrap_or(true);
    let nodes = fields.value("nodes").unwrap_or(true);
    let ingresses = fields.value("ingresses").unwrap_or(true);
    let secrets = fields
        .fields("secrets", SECRETS)
        .map_or_else(default_secrets, secrets);
    let ignored_namespaces = fields
        .value::<Vec<Namespace>>("ignored_namespaces")
        .map_or_else(own_namespaces, BTreeSet::from_iter);
    let writing = match fields.fields("status", STATUS) {
        Some(fields) => writing(fields)?,
        None => Writing::Statuses {
            lease_namespace: None,
        },
    };
    let remote_clusters = match fields.node("remote_clusters") {
        Some(_) => Some(fields.text("remote_clusters", "istio-system")?),
        None => None,
    };
    if !is_given && context.is_some() {
        fields.wrong(
            "context",
            "contexts are in a kubeconfig, and none is given",
            "give `kubeconfig`, or leave the context out to watch the cluster in which the server runs",
        );
    }
    let access = match path {
        Some(path) => Access::Kubeconfig { path, context },
        None if is_given => return None,
        None => Access::InCluster,
    };
    Some(RegistrySource::Kubernetes(KubernetesConfig {
        access,
        facts: Facts {
            pods,
            nodes,
            ingresses,
            secrets,
        },
        ignored_namespaces,
        writing,
        remote_clusters,
    }))
}

fn secrets(mut fields: Fields<'_>) -> SecretFacts {
    let SecretFacts {
        everywhere,
        namespaces,
    } = default_secrets();
    let named = fields.value::<Vec<Namespace>>("namespaces");
    SecretFacts {
        everywhere: fields.value("everywhere").unwrap_or(everywhere),
        namespaces: named.map_or(namespaces, BTreeSet::from_iter),
    }
}

/// Where they may not be listed, that does no harm.
fn default_secrets() -> SecretFacts {
    SecretFacts {
        everywhere: true,
        namespaces: BTreeSet::new(),
    }
}

fn writing(mut fields: Fields<'_>) -> Option<Writing> {
    let write = fields.value("write").unwrap_or(true);
    let is_given = fields.node("lease_namespace").is_some();
    let lease_namespace = match is_given {
        true => Some(fields.text("lease_namespace", "bowline")?),
        false => None,
    };
    if is_given && !write {
        fields.wrong(
            "lease_namespace",
            "a Lease is needed only where statuses are written",
            "leave it out, or set `write: true`",
        );
    }
    Some(match write {
        true => Writing::Statuses { lease_namespace },
        false => Writing::Nothing,
    })
}

/// The namespaces of what a cluster itself is made of.
fn own_namespaces() -> BTreeSet<Namespace> {
    let names = ["kube-system", "kube-public", "kube-node-lease"];
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

fn guard(mut fields: Fields<'_>) -> GuardSettings {
    let default = GuardSettings::default();
    let share = fields.value("share");
    GuardSettings {
        endpoints_min: fields
            .value("endpoints_min")
            .unwrap_or(default.endpoints_min),
        share_percent: share.map_or(default.share_percent, |Share(percent)| percent),
        hold: fields.value("hold").map_or(default.hold, |Span(hold)| hold),
        doubts_updates: default.doubts_updates,
    }
}

fn default_namespace() -> Option<Namespace> {
    "default".parse().ok()
}

const ENTRY: &[&str] = &[
    "name",
    "inventory",
    "kubernetes",
    "consul",
    "namespace",
    "hostname_template",
    "domain",
    "network",
    "locality",
    "namespaces",
    "hostnames",
    "policies",
    "guard",
];
const INVENTORY: &[&str] = &["path"];
const KUBERNETES: &[&str] = &[
    "kubeconfig",
    "context",
    "pods",
    "nodes",
    "ingresses",
    "secrets",
    "ignored_namespaces",
    "status",
    "remote_clusters",
];
const SECRETS: &[&str] = &["everywhere", "namespaces"];
const STATUS: &[&str] = &["write", "lease_namespace"];
const GUARD: &[&str] = &["endpoints_min", "share", "hold"];

#[cfg(test)]
pub(super) const ALL_FIELDS: &[&[&str]] = &[
    ENTRY,
    INVENTORY,
    KUBERNETES,
    SECRETS,
    STATUS,
    consul::FIELDS,
    consul::TLS,
    GUARD,
];
