//! What the conversion of one object must know of others.

use std::{collections::BTreeMap, sync::Arc};

use bowline_identity::SpiffeId;
use bowline_mesh::{GatewayName, Labels, Locality, Namespace};

use crate::{
    Manifest, ManifestKind, ManifestName, metadata::LabelSelector, reference_grant::ReferenceGrant,
};

/// The controller of the GatewayClasses that are ours.
const CONTROLLER: &str = "bowline.dev/gateway-controller";

/// The class of gateways that are ours where no GatewayClass object says whose it is.
const DEFAULT_CLASS: &str = "bowline";

/// The label that Kubernetes puts on every namespace.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Facts about other objects, kept up to date by the registry that reads them. When they change, what was converted with them may
/// have to be converted again.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct References {
    namespaces: BTreeMap<Namespace, Labels>,
    /// The controller of each GatewayClass.
    classes: BTreeMap<Arc<str>, Arc<str>>,
    /// The class of each Gateway.
    gateways: BTreeMap<GatewayName, Arc<str>>,
    grants: BTreeMap<GatewayName, ReferenceGrant>,
    /// What is known of the pods that EndpointSlices point to, by namespace and name. Only registries that see pods fill it.
    pub pods: BTreeMap<(Namespace, Arc<str>), PodFacts>,
}

/// What an endpoint has from its pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodFacts {
    /// Its labels.
    pub labels: Labels,
    /// Who it is.
    pub identity: Option<SpiffeId>,
    /// Where it runs, where its node says so.
    pub locality: Option<Locality>,
}

/// A reference from one object to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    pub(crate) from_kind: ManifestKind,
    pub(crate) from_namespace: &'a Namespace,
    pub(crate) to_kind: ManifestKind,
    pub(crate) to_namespace: &'a Namespace,
    pub(crate) to_name: &'a str,
}

impl References {
    /// Notes what a new or changed object says that matters to others.
    pub fn insert(&mut self, name: &ManifestName, manifest: &Manifest) {
        if let Some(namespace) = &name.namespace {
            self.namespace_labels(namespace);
        }
        match manifest {
            Manifest::Namespace(object) => {
                if let Ok(namespace) = name.name.parse() {
                    let labels = self.namespace_labels(&namespace);
                    labels.extend(object.metadata.labels.clone());
                }
            }
            Manifest::GatewayClass(class) => {
                let controller = class.controller().into();
                self.classes.insert(name.name.clone(), controller);
            }
            Manifest::Gateway(gateway) => {
                if let Some(key) = namespaced(name) {
                    self.gateways.insert(key, gateway.class().into());
                }
            }
            Manifest::ReferenceGrant(grant) => {
                if let Some(key) = namespaced(name) {
                    self.grants.insert(key, grant.clone());
                }
            }
            Manifest::Service(_)
            | Manifest::EndpointSlice(_)
            | Manifest::HttpRoute(_)
            | Manifest::TlsRoute(_)
            | Manifest::TcpRoute(_) => {}
        }
    }

    /// Forgets what an object said.
    pub fn remove(&mut self, name: &ManifestName) {
        match name.kind {
            ManifestKind::Namespace => {
                self.namespaces.remove(&*name.name);
            }
            ManifestKind::GatewayClass => {
                self.classes.remove(&name.name);
            }
            ManifestKind::Gateway => {
                namespaced(name).and_then(|key| self.gateways.remove(&key));
            }
            ManifestKind::ReferenceGrant => {
                namespaced(name).and_then(|key| self.grants.remove(&key));
            }
            ManifestKind::Service
            | ManifestKind::EndpointSlice
            | ManifestKind::HttpRoute
            | ManifestKind::TlsRoute
            | ManifestKind::TcpRoute => {}
        }
    }

    /// Every namespace has its own name as a label, also one whose object has not been seen.
    fn namespace_labels(&mut self, namespace: &Namespace) -> &mut Labels {
        let labels = self.namespaces.entry(namespace.clone()).or_default();
        labels.insert(NAMESPACE_NAME_LABEL.into(), namespace.as_str().into());
        labels
    }

    /// The known namespaces that a selector means.
    pub(crate) fn namespaces(&self, selector: &LabelSelector) -> Vec<Namespace> {
        let selected = self
            .namespaces
            .iter()
            .filter(|(_, labels)| selector.matches(labels));
        selected.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// Whether a GatewayClass is ours.
    pub(crate) fn is_our_class(&self, class: &str) -> bool {
        match self.classes.get(class) {
            Some(controller) => **controller == *CONTROLLER,
            None => class == DEFAULT_CLASS,
        }
    }

    /// Whether a Gateway is known to be of another controller's class.
    pub(crate) fn is_foreign_gateway(&self, gateway: &GatewayName) -> bool {
        self.gateways
            .get(gateway)
            .is_some_and(|class| !self.is_our_class(class))
    }

    /// Whether an object may refer to another: within a namespace always, across namespaces if a ReferenceGrant beside the
    /// object that is referred to says so.
    pub(crate) fn allow(&self, reference: &Reference<'_>) -> bool {
        reference.from_namespace == reference.to_namespace
            || self.grants.iter().any(|(key, grant)| {
                key.namespace == *reference.to_namespace && grant.allows(reference)
            })
    }
}

fn namespaced(name: &ManifestName) -> Option<GatewayName> {
    Some(GatewayName {
        namespace: name.namespace.clone()?,
        name: name.name.clone(),
    })
}
