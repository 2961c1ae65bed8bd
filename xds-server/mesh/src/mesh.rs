//! The mesh as one immutable value.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use imbl::{OrdMap, OrdSet};

use crate::{
    EndpointGroup, Gateway, GatewayName, Hostname, HttpRoute, MergedService, MeshSettings,
    Namespace, Network, NetworkGateway, Object, ObjectKey, Policy, Problem, RegistryId, Service,
    SmallMap, Source, Spec, StreamRoute, Workload, small_map::SmallSet,
};

/// Groups of endpoints of one service, by the object that they come from.
pub type EndpointGroups = SmallMap<ObjectKey, Arc<EndpointGroup>>;

/// Everything known, merged over registries. A clone costs a few reference counts and never changes.
#[derive(Debug, Clone)]
pub struct Mesh {
    pub(crate) settings: Arc<MeshSettings>,
    /// All objects of each registry. What is below shares their contents.
    pub(crate) objects: OrdMap<RegistryId, Objects>,
    pub(crate) services: OrdMap<Hostname, Arc<MergedService>>,
    pub(crate) endpoints: OrdMap<Hostname, EndpointGroups>,
    pub(crate) http_routes: OrdMap<ObjectKey, Arc<HttpRoute>>,
    pub(crate) stream_routes: OrdMap<ObjectKey, Arc<StreamRoute>>,
    /// Of several registries with a gateway of one name, by rank: the first wins.
    pub(crate) gateways: OrdMap<GatewayName, SmallMap<Ranked, Arc<Gateway>>>,
    /// The east-west gateways of each network, united.
    pub(crate) network_gateways: OrdMap<Network, SmallMap<ObjectKey, Arc<NetworkGateway>>>,
    pub(crate) policies: OrdMap<Hostname, SmallMap<Ranked, Arc<Policy>>>,
    /// Registries whose policies act on all proxies.
    pub(crate) policies_for_mesh: OrdSet<RegistryId>,
    /// What each registry says about a hostname, in the order in which they win.
    pub(crate) contributions: OrdMap<Hostname, SmallMap<Ranked, Arc<Service>>>,
    /// What registries and the store found wrong. The rest is found when asked for ([`Mesh::problems`]).
    pub(crate) reported: OrdMap<RegistryId, Arc<[Problem]>>,
    pub(crate) not_allowed: OrdMap<ObjectKey, Problem>,
    /// Local ports that sidecars with explicit listeners offer services on, and how many services want each.
    pub(crate) explicit_ports: OrdMap<u16, usize>,
    /// How many services' balancing looks at the caller's node. Nearly always none, and then nodes are in no key.
    pub(crate) services_by_node: usize,
    pub(crate) index: Index,
}

/// The objects of one registry.
pub(crate) type Objects = OrdMap<ObjectKey, Said>;

/// An object as its registry has said it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) source: Source,
    pub(crate) spec: Spec,
}

/// An object's key with its registry's place in the configuration before it, so that order is precedence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked {
    pub(crate) rank: usize,
    pub(crate) key: ObjectKey,
}

/// Who refers to whom, backwards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// HTTP routes attached to a service.
    pub(crate) routes_of_service: OrdMap<Hostname, SmallSet<ObjectKey>>,
    /// Routes of both kinds attached to a gateway.
    pub(crate) routes_of_gateway: OrdMap<GatewayName, SmallSet<ObjectKey>>,
    /// Routes of both kinds that send to a service.
    pub(crate) routes_to_service: OrdMap<Hostname, SmallSet<ObjectKey>>,
    /// How many policies each registry has.
    pub(crate) registries_with_policies: OrdMap<RegistryId, usize>,
    /// Workloads by namespace and name.
    pub(crate) workloads_named: OrdMap<(Namespace, Arc<str>), SmallSet<Ranked>>,
    /// Workloads by address.
    pub(crate) workloads_at: OrdMap<IpAddr, SmallSet<Ranked>>,
}

impl Said {
    /// The object that it is of.
    pub(crate) fn with_key(self, key: ObjectKey) -> Object {
        let ObjectKey {
            registry,
            partition,
            kind: _,
            namespace,
            name,
        } = key;
        let Self { source, spec } = self;
        Object::new(registry, partition, namespace, name, source, spec)
    }

    fn workload(&self) -> Option<&Arc<Workload>> {
        match &self.spec {
            Spec::Workload(workload) => Some(workload),
            _ => None,
        }
    }
}

impl Mesh {
    pub(crate) fn empty(settings: Arc<MeshSettings>) -> Self {
        Self {
            settings,
            objects: OrdMap::new(),
            services: OrdMap::new(),
            endpoints: OrdMap::new(),
            http_routes: OrdMap::new(),
            stream_routes: OrdMap::new(),
            gateways: OrdMap::new(),
            network_gateways: OrdMap::new(),
            policies: OrdMap::new(),
            policies_for_mesh: OrdSet::new(),
            contributions: OrdMap::new(),
            reported: OrdMap::new(),
            not_allowed: OrdMap::new(),
            explicit_ports: OrdMap::new(),
            services_by_node: 0,
            index: Index::default(),
        }
    }

    /// Settings of the mesh as a whole.
    pub fn settings(&self) -> &Arc<MeshSettings> {
        &self.settings
    }

    /// The service with this hostname.
    pub fn service(&self, hostname: &Hostname) -> Option<&Arc<MergedService>> {
        self.services.get(hostname)
    }

    /// All services by hostname.
    pub fn services(&self) -> impl Iterator<Item = &Arc<MergedService>> {
        self.services.values()
    }

    /// Number of services.
    pub fn services_len(&self) -> usize {
        self.services.len()
    }

    /// The endpoints of a hostname, whether or not there is a service for it.
    pub fn endpoints(&self, hostname: &Hostname) -> EndpointGroups {
        self.endpoints.get(hostname).cloned().unwrap_or_default()
    }

    /// All workloads, found by a pass over all objects.
    pub fn workloads(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Workload>)> {
        let objects = self.objects.values().flatten();
        objects.filter_map(|(key, said)| Some((key, said.workload()?)))
    }

    /// The workload with this key.
    pub fn workload(&self, key: &ObjectKey) -> Option<&Arc<Workload>> {
        self.said(key)?.workload()
    }

    /// The workload of this name.
    pub fn workload_named(
        &self,
        namespace: &Namespace,
        name: &Arc<str>,
    ) -> Option<(&ObjectKey, &Arc<Workload>)> {
        let (ranked, ()) = self
            .index
            .workloads_named
            .get(&(namespace.clone(), name.clone()))?
            .first()?;
        self.workload_with_key(ranked)
    }

    /// The workload with this address.
    pub fn workload_at(&self, address: IpAddr) -> Option<(&ObjectKey, &Arc<Workload>)> {
        let (ranked, ()) = self.index.workloads_at.get(&address)?.first()?;
        self.workload_with_key(ranked)
    }

    fn workload_with_key(&self, ranked: &Ranked) -> Option<(&ObjectKey, &Arc<Workload>)> {
        let objects = self.objects.get(&ranked.key.registry)?;
        let (key, said) = objects.get_key_value(&ranked.key)?;
        Some((key, said.workload()?))
    }

    /// The gateway of this name, of the registry that wins.
    pub fn gateway(&self, name: &GatewayName) -> Option<(&ObjectKey, &Arc<Gateway>)> {
        let (ranked, gateway) = self.gateways.get(name)?.first()?;
        Some((&ranked.key, gateway))
    }

    /// The names of all gateways.
    pub fn gateways(&self) -> impl Iterator<Item = &GatewayName> {
        self.gateways.keys()
    }

    /// Where a network is entered from others.
    pub(crate) fn network_places(&self, network: &Network) -> impl Iterator<Item = SocketAddr> {
        let gateways = self.network_gateways.get(network).into_iter().flatten();
        gateways.flat_map(|(_, gateway)| gateway.places.iter().copied())
    }

    /// Where an object is written.
    pub fn source(&self, key: &ObjectKey) -> Option<&Source> {
        self.said(key).map(|said| &said.source)
    }

    /// Where all objects are written.
    pub fn sources(&self) -> impl Iterator<Item = (&ObjectKey, &Source)> {
        let objects = self.objects.values().flatten();
        objects.map(|(key, said)| (key, &said.source))
    }

    /// An object as its registry has said it.
    pub(crate) fn said(&self, key: &ObjectKey) -> Option<&Said> {
        self.objects.get(&key.registry)?.get(key)
    }

    /// The objects of a registry.
    pub(crate) fn objects_of(
        &self,
        registry: &RegistryId,
    ) -> impl Iterator<Item = (&ObjectKey, &Said)> {
        self.objects.get(registry).into_iter().flatten()
    }
}
