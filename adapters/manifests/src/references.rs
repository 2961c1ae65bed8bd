//! What the conversion of one object must know of others.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    sync::Arc,
};

use bowline_identity::SpiffeId;
use bowline_mesh::{GatewayName, Labels, Locality, Namespace, RegistryId};

use crate::{
    GATEWAY_CONTROLLER, GatewayAddress, Manifest, ManifestKind, ManifestName,
    ingress_class::{self, ClassFacts},
    metadata::LabelSelector,
    network::NETWORK_LABEL,
    reference_grant::ReferenceGrant,
    secrets::{SecretName, Secrets, Sight},
};

/// The class of gateways and of Ingresses that are ours where no object says whose it is.
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
    gateways: BTreeMap<GatewayName, GatewayFacts>,
    /// The Services that expose the proxies of gateways.
    exposures: BTreeMap<GatewayName, BTreeMap<Arc<str>, Exposure>>,
    grants: BTreeMap<GatewayName, ReferenceGrant>,
    ingress_classes: BTreeMap<Arc<str>, ClassFacts>,
    /// The names and numbers of services' ports.
    services: BTreeMap<Namespace, BTreeMap<Arc<str>, PortNames>>,
    /// Pods by namespace and name. Only registries that see pods fill it.
    pods: BTreeMap<Namespace, BTreeMap<Arc<str>, PodFacts>>,
    /// Nodes by name. Only registries that see nodes fill it.
    nodes: BTreeMap<Arc<str>, NodeFacts>,
    /// Secrets with certificates.
    pub secrets: Secrets,
}

type PortNames = Arc<[(Arc<str>, u16)]>;

/// Whom a change of some facts concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Affects {
    /// Nobody.
    #[default]
    Nobody,
    /// Only Ingresses, which name ports of services.
    Ingresses,
    /// Besides them what is said of gateways and routes.
    Statuses,
    /// All objects that decide where requests go.
    Routing,
}

impl Affects {
    /// Whether objects of a kind may mean something else now.
    pub fn concerns(self, kind: ManifestKind) -> bool {
        match self {
            Self::Nobody => false,
            Self::Ingresses | Self::Statuses => kind == ManifestKind::Ingress,
            Self::Routing => kind.is_about_routing(),
        }
    }
}

/// What others must know of a Gateway.
#[derive(Debug, Clone, PartialEq)]
struct GatewayFacts {
    class: Arc<str>,
    /// Where it says that its requests come in.
    addresses: Arc<[GatewayAddress]>,
}

/// How a Service exposes the proxies of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exposure {
    pub(crate) addresses: Vec<GatewayAddress>,
    /// Its load balancer has no address yet.
    pub(crate) waits: bool,
}

/// A port of a service, looked for by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortLookup {
    Found(u16),
    NoPort,
    NoService,
}

/// What an endpoint has from its pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodFacts {
    /// Its labels.
    pub labels: Labels,
    /// Who it is.
    pub identity: Option<SpiffeId>,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Where it stands, if it says so.
    place: Option<Locality>,
    /// Itself, as the mesh knows it: one text for all that runs there.
    node: Arc<str>,
}

impl NodeFacts {
    /// A node of a registry.
    pub fn new(registry: &RegistryId, name: &str, place: Option<Locality>) -> Self {
        let Locality { node, .. } = Locality::default().on_node(registry, name);
        Self { place, node }
    }
}

/// The namespace whose label says the network of a whole cluster.
pub const CLUSTER_NETWORK_NAMESPACE: &str = "istio-system";

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
    /// Notes what a new or changed object says that matters to others. Says who may mean something else now.
    pub fn insert(&mut self, name: &ManifestName, manifest: &Manifest) -> Affects {
        let is_new_namespace = match &name.namespace {
            Some(namespace) if !self.namespaces.contains_key(namespace) => {
                let labels = Labels::new();
                let labels = with_own_name(&labels, namespace.as_str());
                self.namespaces.insert(namespace.clone(), labels);
                true
            }
            Some(_) | None => false,
        };
        let affects = match manifest {
            Manifest::Namespace(object) => match name.name.parse() {
                Ok(namespace) => {
                    let labels = with_own_name(&object.metadata.labels, &name.name);
                    routing(replaced(&mut self.namespaces, namespace, labels))
                }
                Err(_) => Affects::Nobody,
            },
            Manifest::Service(service) => match &name.namespace {
                Some(namespace) => {
                    let services = self.services.entry(namespace.clone()).or_default();
                    let ports: PortNames = service.port_names().collect();
                    let ports_differ = replaced(services, name.name.clone(), ports);
                    let exposes = self.note_exposure(namespace, &name.name, service.exposure());
                    ingresses(ports_differ).max(exposes)
                }
                None => Affects::Nobody,
            },
            Manifest::IngressClass(class) => {
                let facts = class.facts();
                ingresses(replaced(
                    &mut self.ingress_classes,
                    name.name.clone(),
                    facts,
                ))
            }
            Manifest::GatewayClass(class) => {
                let controller = class.controller().into();
                routing(replaced(&mut self.classes, name.name.clone(), controller))
            }
            Manifest::Gateway(gateway) => {
                let secrets = name.namespace.iter();
                let secrets = secrets.flat_map(|namespace| gateway.secrets(namespace));
                self.secrets.refer(name, secrets.collect());
                let facts = GatewayFacts {
                    class: gateway.class().into(),
                    addresses: gateway.addresses().collect(),
                };
                let key = namespaced(name);
                routing(key.is_some_and(|key| replaced(&mut self.gateways, key, facts)))
            }
            Manifest::ReferenceGrant(grant) => routing(
                namespaced(name).is_some_and(|key| replaced(&mut self.grants, key, grant.clone())),
            ),
            Manifest::Secret(secret) => {
                if let Some(key) = secret_name(name) {
                    let certificate = secret.certificate();
                    self.secrets.put(Sight::Everywhere, key, certificate);
                }
                Affects::Nobody
            }
            Manifest::Ingress(ingress) => {
                let secrets = name.namespace.iter();
                let secrets = secrets.flat_map(|namespace| ingress.secrets(namespace));
                self.secrets.refer(name, secrets.collect());
                Affects::Nobody
            }
            Manifest::EndpointSlice(_)
            | Manifest::HttpRoute(_)
            | Manifest::TlsRoute(_)
            | Manifest::TcpRoute(_) => Affects::Nobody,
        };
        affects.max(routing(is_new_namespace))
    }

    /// Forgets what an object said. Says who may mean something else now.
    pub fn remove(&mut self, name: &ManifestName) -> Affects {
        match name.kind {
            ManifestKind::Namespace => routing(self.namespaces.remove(&*name.name).is_some()),
            ManifestKind::Service => {
                let Some(namespace) = &name.namespace else {
                    return Affects::Nobody;
                };
                let Some(services) = self.services.get_mut(namespace) else {
                    return Affects::Nobody;
                };
                let was_there = services.remove(&name.name).is_some();
                if services.is_empty() {
                    self.services.remove(namespace);
                }
                let exposed = self.note_exposure(namespace, &name.name, None);
                ingresses(was_there).max(exposed)
            }
            ManifestKind::IngressClass => {
                ingresses(self.ingress_classes.remove(&name.name).is_some())
            }
            ManifestKind::GatewayClass => routing(self.classes.remove(&name.name).is_some()),
            ManifestKind::Gateway => {
                self.secrets.refer(name, BTreeSet::new());
                routing(namespaced(name).is_some_and(|key| self.gateways.remove(&key).is_some()))
            }
            ManifestKind::ReferenceGrant => {
                routing(namespaced(name).is_some_and(|key| self.grants.remove(&key).is_some()))
            }
            ManifestKind::Secret => {
                if let Some(key) = secret_name(name) {
                    self.secrets.remove(Sight::Everywhere, &key);
                }
                Affects::Nobody
            }
            ManifestKind::Ingress => {
                self.secrets.refer(name, BTreeSet::new());
                Affects::Nobody
            }
            ManifestKind::EndpointSlice
            | ManifestKind::HttpRoute
            | ManifestKind::TlsRoute
            | ManifestKind::TcpRoute => Affects::Nobody,
        }
    }

    /// Who means something else with these facts than with others, apart from who refers to a Secret.
    pub(crate) fn differ(&self, other: &Self) -> Affects {
        let Self {
            namespaces,
            classes,
            gateways,
            exposures,
            grants,
            ingress_classes,
            services,
            pods,
            nodes,
            secrets: _,
        } = self;
        let is_same = *namespaces == other.namespaces
            && *classes == other.classes
            && *gateways == other.gateways
            && *grants == other.grants
            && *pods == other.pods
            && *nodes == other.nodes;
        let is_same_to_ingresses =
            *ingress_classes == other.ingress_classes && *services == other.services;
        let affects = routing(!is_same).max(ingresses(!is_same_to_ingresses));
        match *exposures == other.exposures {
            true => affects,
            false => affects.max(Affects::Statuses),
        }
    }

    /// Notes which gateway's proxies a Service exposes, if it does.
    fn note_exposure(
        &mut self,
        namespace: &Namespace,
        service: &Arc<str>,
        exposure: Option<(Arc<str>, Exposure)>,
    ) -> Affects {
        let mut differs = false;
        let exposed = exposure.as_ref().map(|(gateway, _)| gateway.clone());
        self.exposures.retain(|gateway, services| {
            let is_other =
                gateway.namespace == *namespace && Some(&gateway.name) != exposed.as_ref();
            differs |= is_other && services.remove(service).is_some();
            !services.is_empty()
        });
        if let Some((gateway, exposure)) = exposure {
            let key = GatewayName {
                namespace: namespace.clone(),
                name: gateway,
            };
            let services = self.exposures.entry(key).or_default();
            differs |= replaced(services, service.clone(), exposure);
        }
        match differs {
            true => Affects::Statuses,
            false => Affects::Nobody,
        }
    }

    /// Notes what is known of a pod; `None` forgets it.
    pub fn note_pod(&mut self, namespace: &Namespace, name: &Arc<str>, facts: Option<PodFacts>) {
        match facts {
            Some(facts) => {
                let pods = self.pods.entry(namespace.clone()).or_default();
                pods.insert(name.clone(), facts);
            }
            None => {
                let Some(pods) = self.pods.get_mut(namespace) else {
                    return;
                };
                pods.remove(name);
                if pods.is_empty() {
                    self.pods.remove(namespace);
                }
            }
        }
    }

    /// Notes what is known of a node; `None` forgets it.
    pub fn note_node(&mut self, name: &Arc<str>, facts: Option<NodeFacts>) {
        match facts {
            Some(facts) => self.nodes.insert(name.clone(), facts),
            None => self.nodes.remove(name),
        };
    }

    /// What is known of a pod.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&PodFacts> {
        self.pods.get(namespace)?.get(name)
    }

    /// Whether a node says where it stands.
    pub(crate) fn is_placed(&self, node: &str) -> bool {
        let facts = self.nodes.get(node);
        facts.is_some_and(|facts| facts.place.is_some())
    }

    /// The place on a node: where it stands or, if it does not say so, another.
    pub fn on_node(&self, registry: &RegistryId, name: &str, otherwise: &Locality) -> Locality {
        let Some(NodeFacts { place, node }) = self.nodes.get(name) else {
            return otherwise.on_node(registry, name);
        };
        Locality {
            node: node.clone(),
            ..place.as_ref().unwrap_or(otherwise).clone()
        }
    }

    /// The label with the network of what runs in a namespace: its own, or the whole cluster's.
    pub fn network_label(&self, namespace: &Namespace) -> Option<&Arc<str>> {
        let label = |namespace: &str| self.namespaces.get(namespace)?.get(NETWORK_LABEL);
        [namespace.as_str(), CLUSTER_NETWORK_NAMESPACE]
            .into_iter()
            .filter_map(label)
            .find(|label| !label.is_empty())
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
            Some(controller) => **controller == *GATEWAY_CONTROLLER,
            None => class == DEFAULT_CLASS,
        }
    }

    /// Whether a Gateway is known to be of another controller's class.
    pub(crate) fn is_foreign_gateway(&self, gateway: &GatewayName) -> bool {
        self.gateways
            .get(gateway)
            .is_some_and(|facts| !self.is_our_class(&facts.class))
    }

    /// Whether a Gateway is known, and of a class of ours.
    pub(crate) fn is_our_gateway(&self, gateway: &GatewayName) -> bool {
        self.gateways
            .get(gateway)
            .is_some_and(|facts| self.is_our_class(&facts.class))
    }

    /// Where a Gateway says that its requests come in.
    pub(crate) fn addresses_of(&self, gateway: &GatewayName) -> &[GatewayAddress] {
        let facts = self.gateways.get(gateway);
        facts.map_or(&[], |facts| &facts.addresses)
    }

    /// The Services that expose the proxies of a gateway.
    pub(crate) fn exposures(
        &self,
        gateway: &GatewayName,
    ) -> impl Iterator<Item = (&str, &Exposure)> {
        let services = self.exposures.get(gateway).into_iter().flatten();
        services.map(|(service, exposure)| (&**service, exposure))
    }

    /// Where the Ingresses of a class come in; `None` where they are not ours. Those of no class are of the default class.
    pub(crate) fn ingress_gateway(
        &self,
        class: Option<&str>,
        namespace: &Namespace,
    ) -> Option<GatewayName> {
        let facts = match class {
            Some(class) => match self.ingress_classes.get(class) {
                Some(facts) => Some((class, facts)),
                None if class == DEFAULT_CLASS => {
                    return Some(ingress_class::own_gateway(class, namespace));
                }
                None => None,
            },
            None => {
                let mut classes = self.ingress_classes.iter();
                let default = classes.find(|(_, facts)| facts.is_default);
                default.map(|(class, facts)| (&**class, facts))
            }
        };
        let (class, facts) = facts?;
        facts.is_ours.then(|| facts.gateway(class, namespace))
    }

    /// The number of a service's port.
    pub(crate) fn port_named(
        &self,
        namespace: &Namespace,
        service: &str,
        name: &str,
    ) -> PortLookup {
        let services = self.services.get(namespace);
        let Some(ports) = services.and_then(|services| services.get(service)) else {
            return PortLookup::NoService;
        };
        let mut ports = ports.iter();
        ports
            .find(|(port, _)| **port == *name)
            .map_or(PortLookup::NoPort, |(_, number)| PortLookup::Found(*number))
    }

    /// All gateways that Services expose, with those.
    pub(crate) fn all_exposures(&self) -> impl Iterator<Item = (&GatewayName, &str)> {
        self.exposures.iter().flat_map(|(gateway, services)| {
            let services = services.keys();
            services.map(move |service| (gateway, &**service))
        })
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

/// Every namespace has its own name as a label, also one whose object has not been seen.
fn with_own_name(labels: &Labels, namespace: &str) -> Labels {
    let labels = labels.iter();
    let labels = labels.map(|(key, value)| (key.clone(), value.clone()));
    let own: (Arc<str>, Arc<str>) = (NAMESPACE_NAME_LABEL.into(), namespace.into());
    labels.chain([own]).collect()
}

fn routing(is_different: bool) -> Affects {
    match is_different {
        true => Affects::Routing,
        false => Affects::Nobody,
    }
}

fn ingresses(is_different: bool) -> Affects {
    match is_different {
        true => Affects::Ingresses,
        false => Affects::Nobody,
    }
}

/// Puts a value in, and says whether it is another than before.
fn replaced<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    match map.entry(key) {
        btree_map::Entry::Vacant(vacant) => {
            vacant.insert(value);
            true
        }
        btree_map::Entry::Occupied(occupied) if *occupied.get() == value => false,
        btree_map::Entry::Occupied(mut occupied) => {
            occupied.insert(value);
            true
        }
    }
}

fn namespaced(name: &ManifestName) -> Option<GatewayName> {
    Some(GatewayName {
        namespace: name.namespace.clone()?,
        name: name.name.clone(),
    })
}

fn secret_name(name: &ManifestName) -> Option<SecretName> {
    Some(SecretName {
        namespace: name.namespace.clone()?,
        name: name.name.clone(),
    })
}
