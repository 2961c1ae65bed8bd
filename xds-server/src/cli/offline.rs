//! The mesh of a configuration without a server: every registry read once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use bowline_identity::{Claimed, PeerIdentity};
use bowline_manifests::as_written;
use bowline_mesh::view::ViewKey;
use bowline_mesh::{
    Capture, Change, Changed, GatewayName, HostLookup, Mesh, MeshStore, Namespace, Network,
    Problem, Proxy, RegistryStatus, Role, RouteDelivery,
};
use bowline_translate::layers::{EndpointLayer, EndpointLayers, StructureLayers};

use crate::config::Config;
use crate::registries;

/// What the registries of a configuration say.
#[derive(Debug)]
pub(super) struct Offline {
    pub(super) mesh: Mesh,
    pub(super) registries: Vec<RegistryStatus>,
    /// Why registries cannot be read at all, where no problem says so already.
    pub(super) failures: Vec<String>,
}

/// Reads every registry once.
pub(super) fn read(config: &Config) -> Offline {
    let settings: Vec<_> = config
        .registries
        .iter()
        .map(|registry| registry.settings.clone())
        .collect();
    // Virtual addresses that a server has given are in its state store; here they are given anew.
    let mut store = MeshStore::new(Arc::new(config.mesh.clone()), settings, Vec::new());
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut failures = Vec::new();
    for registry in &config.registries {
        let event = registries::load(registry);
        if let Change::Failing { error } = &event.change
            && event.problems.is_empty()
        {
            failures.push(format!(
                "registry {} cannot be read: {error}",
                event.registry
            ));
        }
        store.apply(event, now);
    }
    Offline {
        mesh: store.mesh().clone(),
        registries: store.registries(),
        failures,
    }
}

impl Offline {
    /// Everything that is wrong: with objects, and with their translation for every kind of proxy that could connect.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let wanted: BTreeSet<ViewKey> = self
            .proxies()
            .iter()
            .flat_map(|proxy| ViewKey::of(proxy, &self.mesh))
            .collect();
        let mut structure = StructureLayers::default();
        structure.update(&self.mesh, &Changed::default(), &wanted);
        let mut endpoints = EndpointLayers::default();
        for key in &wanted {
            match key {
                ViewKey::Endpoints(key) => endpoints.insert(key.clone(), EndpointLayer::default()),
                ViewKey::Outbound(_) | ViewKey::Inbound(_) | ViewKey::Own(_) => {}
            }
        }
        endpoints.update(
            &self.mesh,
            self.mesh.services().map(|service| &service.hostname),
        );
        let translation = structure
            .problems()
            .into_iter()
            .chain(endpoints.problems().into_iter().cloned());
        let problems = self
            .mesh
            .problems()
            .into_iter()
            .chain(translation)
            .collect();
        let mut problems = self.mesh.located(problems);
        as_written(&mut problems, |place| std::fs::read(place).ok());
        problems.sort();
        problems
    }

    /// One proxy for each workload and kind of capture, and one for each gateway. What they share is built once. gRPC applications
    /// without a proxy are not among them: what those cannot do concerns only who has some, and is told once one is connected.
    fn proxies(&self) -> Vec<Proxy> {
        let captures = [Capture::Explicit, Capture::Transparent];
        let namespaces = self
            .mesh
            .services()
            .map(|service| service.namespace.clone());
        let nobody = namespaces.map(|namespace| (namespace, Arc::from("")));
        let workloads = self
            .mesh
            .workloads()
            .map(|(key, _)| (key.namespace.clone(), key.name.clone()));
        let sidecars: BTreeSet<(Namespace, Arc<str>)> = nobody.chain(workloads).collect();
        let sidecars = sidecars.into_iter().flat_map(|(namespace, name)| {
            captures.map(|capture| {
                let role = Role::Sidecar(capture);
                beside_workload(&self.mesh, namespace.clone(), name.clone(), role)
            })
        });
        let gateways = self.mesh.gateways().map(|name| gateway(name.clone()));
        sidecars.chain(gateways).collect()
    }
}

/// The proxy beside a workload, or the workload's application itself.
pub(super) fn beside_workload(
    mesh: &Mesh,
    namespace: Namespace,
    name: Arc<str>,
    role: Role,
) -> Proxy {
    let workload = mesh.workload_named(&namespace, &name);
    Proxy {
        id: format!("sidecar~~{name}.{namespace}~").into(),
        role,
        addresses: workload
            .map(|(_, workload)| workload.addresses.clone())
            .unwrap_or_default(),
        namespace,
        name,
        network: None,
        locality: None,
        host_lookup: HostLookup::Available,
        route_delivery: RouteDelivery::ByHost,
        identity: nobody(),
    }
}

/// The proxy that is a gateway.
pub(super) fn gateway(gateway: GatewayName) -> Proxy {
    Proxy {
        id: format!("router~~{}.{}~", gateway.name, gateway.namespace).into(),
        namespace: gateway.namespace.clone(),
        name: gateway.name.clone(),
        role: Role::Gateway(gateway),
        addresses: Vec::new(),
        network: None,
        locality: None,
        host_lookup: HostLookup::Available,
        route_delivery: RouteDelivery::ByHost,
        identity: nobody(),
    }
}

/// The proxy that is the east-west gateway of a network.
pub(super) fn east_west(namespace: Namespace, network: Network) -> Proxy {
    let name = "east-west";
    Proxy {
        id: format!("router~~{name}.{namespace}~").into(),
        role: Role::EastWest,
        namespace,
        name: name.into(),
        addresses: Vec::new(),
        network: Some(network),
        locality: None,
        route_delivery: RouteDelivery::ByHost,
        host_lookup: HostLookup::Available,
        identity: nobody(),
    }
}

fn nobody() -> PeerIdentity {
    PeerIdentity::Claimed(Claimed { spiffe_id: None })
}
