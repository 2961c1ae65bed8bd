//! Pods as workloads: what a proxy in a pod needs to know of its own side.

use std::{collections::BTreeMap, sync::Arc};

use bowline_identity::SpiffeId;
use bowline_manifests::{Manifest, network_of};
use bowline_mesh::{Object, Protocol, ServicePort, Source, Spec, Workload, WorkloadPort};

use super::{ClusterState, Known, service_of};
use crate::item::{Pod, PodName};

impl ClusterState {
    /// Who a pod is.
    pub(super) fn identity(&mut self, name: &PodName, pod: &Pod) -> Option<SpiffeId> {
        let account = pod.service_account.as_deref().unwrap_or("default");
        let identity = self.settings.identity(&name.namespace, account).ok()?;
        Some(self.identities.get(identity))
    }

    /// The workload that a pod is, once it has an address of its own.
    pub(super) fn workload(&self, name: &PodName, pod: &Pod) -> Option<Workload> {
        if pod.addresses.is_empty() {
            return None;
        }
        let facts = self.references.pod(name.namespace.as_str(), &name.name);
        let place = &self.settings.locality;
        // Where the label is wrong, the slices with the pod say so.
        let network = network_of(
            Some(&pod.labels),
            &name.namespace,
            &self.references,
            &self.settings,
        );
        let network = network.unwrap_or_else(|(_, network)| network);
        Some(Workload {
            addresses: pod.addresses.to_vec(),
            locality: match &pod.node {
                Some(node) => self.references.on_node(&self.settings.id, node, place),
                None => place.clone(),
            },
            network,
            labels: pod.labels.clone(),
            identity: facts.and_then(|facts| facts.identity.clone()),
            ports: self.ports(name),
        })
    }

    /// The object that a pod's workload is.
    pub(super) fn pod_object(&self, name: &PodName, workload: Arc<Workload>) -> Object {
        let source = Source {
            place: format!("{} Pod {}/{}", self.settings.id, name.namespace, name.name).into(),
            line: None,
        };
        Object::new(
            self.settings.id.clone(),
            None,
            name.namespace.clone(),
            name.name.clone(),
            source,
            Spec::Workload(workload),
        )
    }

    /// What the services of a pod say that it serves. Where they disagree about a port, the first slice by name wins.
    fn ports(&self, pod: &PodName) -> Vec<WorkloadPort> {
        let mut slices: Vec<_> = self.slices_of_pod.get(pod).into_iter().flatten().collect();
        slices.sort_unstable();
        let mut ports: BTreeMap<u16, WorkloadPort> = BTreeMap::new();
        for name in slices {
            let manifest = self.manifests.get(name).and_then(Known::manifest);
            let Some(Manifest::EndpointSlice(slice)) = manifest else {
                continue;
            };
            let service_ports = service_of(name, slice)
                .and_then(|service| self.manifests.get(&service))
                .map(|known| known.objects.as_slice())
                .and_then(service_ports)
                .unwrap_or_default();
            for (port_name, number) in slice.tcp_ports() {
                let protocol = match service_ports {
                    [only] => Some(only),
                    several => several.iter().find(|port| port.name == port_name),
                };
                ports.entry(number).or_insert_with(|| WorkloadPort {
                    number,
                    name: port_name,
                    protocol: protocol.map_or(Protocol::Auto, |port| port.protocol),
                    app_port: None,
                });
            }
        }
        ports.into_values().collect()
    }
}

fn service_ports(objects: &[Object]) -> Option<&[ServicePort]> {
    objects.iter().find_map(|object| match object.spec() {
        Spec::Service(service) => Some(service.ports.as_slice()),
        _ => None,
    })
}
