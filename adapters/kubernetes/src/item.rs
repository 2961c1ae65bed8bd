//! Objects as API servers send them, cut down to what is used. What is not used is not kept, so an event that changes nothing else
//! changes nothing.

use std::{net::IpAddr, sync::Arc};

use bowline_manifests::{ApiObject, Certificate, ManifestKind, ManifestName, Secret, SecretName};
use bowline_mesh::{Code, Labels, Locality, Namespace, Problem, RegistrySettings, Severity};
use serde::{Deserialize, Deserializer};

use crate::{Watched, alike::Shared, status::Seen};

/// An object that is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Of a kind that `manifests` knows.
    Manifest(ApiObject, Option<Seen>),
    /// A pod.
    Pod(PodName, Pod),
    /// A node, and where it stands, if it says so.
    Node(Arc<str>, Option<Locality>),
    /// That a Secret with a certificate is there.
    SecretName(SecretName),
    /// Whether a Secret can be used as a certificate.
    Secret(SecretName, Certificate),
}

/// What tells an object from all others of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemName {
    /// Of a kind that `manifests` knows.
    Manifest(ManifestName),
    /// A pod.
    Pod(PodName),
    /// A node.
    Node(Arc<str>),
    /// A Secret of which only the name is known.
    SecretName(SecretName),
    /// A Secret that was read.
    Secret(SecretName),
}

/// A pod's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: Arc<str>,
}

/// A pod, as far as it is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// Its labels.
    pub labels: Labels,
    /// What its processes may claim to be.
    pub service_account: Option<Arc<str>>,
    /// Where it runs; `None` while it is not scheduled.
    pub node: Option<Arc<str>>,
    /// Its own addresses: none before it has any, after it has ended, and where it uses those of its node.
    pub addresses: Box<[IpAddr]>,
}

impl Item {
    /// Reads an object. What it has alike with others of its kind that were read before, it shares with them.
    ///
    /// # Errors
    /// When it cannot be taken and has no last good version to keep. The Problem is the only trace of it.
    pub fn read(
        watched: &Watched,
        json: &str,
        settings: &RegistrySettings,
        shared: &mut Shared,
    ) -> Result<Self, Box<Problem>> {
        match watched {
            Watched::Manifest(kind) => {
                let object = ApiObject::read(*kind, json, settings)?;
                let seen = has_status(*kind).then(|| Seen::read(json)).flatten();
                Ok(Self::Manifest(object, seen))
            }
            Watched::Pod => {
                let ApiPod {
                    metadata,
                    spec,
                    status,
                } = decode(watched, json, settings)?;
                let mut name = pod_name(&metadata, settings)?;
                name.namespace = shared.namespace(name.namespace);
                let pod = Pod {
                    addresses: status.addresses(&spec),
                    labels: shared.labels(metadata.labels),
                    service_account: spec.service_account_name.map(|name| shared.text(name)),
                    node: spec.node_name.map(|name| shared.text(name)),
                };
                Ok(Self::Pod(name, pod))
            }
            Watched::Node => {
                let ApiNode { metadata } = decode(watched, json, settings)?;
                let locality = locality(&metadata.labels);
                Ok(Self::Node(metadata.name, locality))
            }
            Watched::SecretNames => {
                secret_name(watched, json, settings, shared).map(Self::SecretName)
            }
            Watched::Secrets(_) => {
                let name = secret_name(watched, json, settings, shared)?;
                let secret: Secret = decode_secret(watched, json, settings)?;
                Ok(Self::Secret(name, secret.certificate()))
            }
        }
    }

    /// What tells it from others.
    pub fn name(&self) -> ItemName {
        match self {
            Self::Manifest(object, _) => ItemName::Manifest(object.name.clone()),
            Self::Pod(name, _) => ItemName::Pod(name.clone()),
            Self::Node(name, _) => ItemName::Node(name.clone()),
            Self::SecretName(name) => ItemName::SecretName(name.clone()),
            Self::Secret(name, _) => ItemName::Secret(name.clone()),
        }
    }
}

impl ItemName {
    /// Reads the name of an object that is gone.
    ///
    /// # Errors
    /// When it has none that could have been taken.
    pub fn read(
        watched: &Watched,
        json: &str,
        settings: &RegistrySettings,
    ) -> Result<Self, Box<Problem>> {
        match watched {
            Watched::Manifest(kind) => {
                ApiObject::name(*kind, json, settings).map(ItemName::Manifest)
            }
            Watched::Pod => {
                let Named { metadata } = decode(watched, json, settings)?;
                pod_name(&metadata, settings).map(ItemName::Pod)
            }
            Watched::Node => {
                let Named { metadata } = decode(watched, json, settings)?;
                Ok(ItemName::Node(metadata.name))
            }
            Watched::SecretNames => {
                let shared = &mut Shared::default();
                secret_name(watched, json, settings, shared).map(Self::SecretName)
            }
            Watched::Secrets(_) => {
                let shared = &mut Shared::default();
                secret_name(watched, json, settings, shared).map(Self::Secret)
            }
        }
    }

    /// What it is a name of.
    pub fn watched(&self) -> Watched {
        match self {
            Self::Manifest(name) => Watched::Manifest(name.kind),
            Self::Pod(_) => Watched::Pod,
            Self::Node(_) => Watched::Node,
            Self::SecretName(_) => Watched::SecretNames,
            Self::Secret(name) => Watched::Secrets(name.namespace.clone()),
        }
    }
}

/// Whether objects of a kind have a status that is written back.
pub(crate) fn has_status(kind: ManifestKind) -> bool {
    match kind {
        ManifestKind::Ingress
        | ManifestKind::GatewayClass
        | ManifestKind::Gateway
        | ManifestKind::HttpRoute
        | ManifestKind::TlsRoute
        | ManifestKind::TcpRoute => true,
        ManifestKind::Namespace
        | ManifestKind::Service
        | ManifestKind::EndpointSlice
        | ManifestKind::Secret
        | ManifestKind::IngressClass
        | ManifestKind::ReferenceGrant => false,
    }
}

#[derive(Deserialize)]
struct Metadata {
    name: Arc<str>,
    #[serde(default)]
    namespace: String,
    #[serde(default, deserialize_with = "null_is_default")]
    labels: Labels,
}

#[derive(Deserialize)]
struct Named {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct ApiNode {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct ApiPod {
    metadata: Metadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    service_account_name: Option<Arc<str>>,
    node_name: Option<Arc<str>>,
    #[serde(default)]
    host_network: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    #[serde(default)]
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(default, rename = "podIPs", deserialize_with = "null_is_default")]
    pod_ips: Vec<PodIp>,
}

#[derive(Deserialize)]
struct PodIp {
    ip: String,
}

impl PodStatus {
    fn addresses(&self, spec: &PodSpec) -> Box<[IpAddr]> {
        // The addresses of a pod that has ended may be another's by now, although it still names them.
        let has_ended = self.phase == "Succeeded" || self.phase == "Failed";
        if has_ended || spec.host_network {
            return Box::default();
        }
        let all = self.pod_ips.iter().map(|address| address.ip.as_str());
        let mut texts: Vec<&str> = all.collect();
        if texts.is_empty() {
            texts.extend(self.pod_ip.as_deref());
        }
        texts
            .into_iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    }
}

/// Where a node stands, as the cloud's controller labels it.
fn locality(labels: &Labels) -> Option<Locality> {
    let label = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| labels.get(name));
        values.next().map(|value| &**value).unwrap_or_default()
    };
    let region = label(&[
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/region",
    ]);
    let zone = label(&[
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/zone",
    ]);
    let subzone = label(&["topology.istio.io/subzone"]);
    (!region.is_empty() || !zone.is_empty()).then(|| Locality::new(region, zone, subzone))
}

fn pod_name(metadata: &Metadata, settings: &RegistrySettings) -> Result<PodName, Box<Problem>> {
    match metadata.namespace.parse() {
        Ok(namespace) => Ok(PodName {
            namespace,
            name: metadata.name.clone(),
        }),
        Err(error) => Err(unusable(
            &Watched::Pod,
            "metadata.namespace",
            format!("{error}"),
            settings,
        )),
    }
}

fn secret_name(
    watched: &Watched,
    json: &str,
    settings: &RegistrySettings,
    shared: &mut Shared,
) -> Result<SecretName, Box<Problem>> {
    let Named { metadata } = decode_secret(watched, json, settings)?;
    match metadata.namespace.parse() {
        Ok(namespace) => Ok(SecretName {
            namespace: shared.namespace(namespace),
            name: metadata.name,
        }),
        Err(error) => Err(unusable(
            watched,
            "metadata.namespace",
            format!("{error}"),
            settings,
        )),
    }
}

/// An error of the decoder may show what is secret.
fn decode_secret<'t, T: Deserialize<'t>>(
    watched: &Watched,
    json: &'t str,
    settings: &RegistrySettings,
) -> Result<T, Box<Problem>> {
    serde_json::from_str(json).map_err(|_| {
        let message = "it is not of the form of a Secret".to_owned();
        unusable(watched, "", message, settings)
    })
}

fn decode<'t, T: Deserialize<'t>>(
    watched: &Watched,
    json: &'t str,
    settings: &RegistrySettings,
) -> Result<T, Box<Problem>> {
    serde_json::from_str(json).map_err(|error| unusable(watched, "", error.to_string(), settings))
}

fn unusable(
    watched: &Watched,
    field: &str,
    message: String,
    settings: &RegistrySettings,
) -> Box<Problem> {
    Box::new(Problem {
        code: Code::InvalidField,
        severity: Severity::Error,
        object: None,
        source: Some(bowline_mesh::Source {
            place: format!("{} {watched}", settings.id).into(),
            line: None,
        }),
        field: field.into(),
        message: message.into(),
        meanwhile: "it is left out; the other objects act".into(),
        hint: "correct the object, or delete it and make it anew".into(),
    })
}

/// `null` means the same as an absent field, as it does for Kubernetes.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
