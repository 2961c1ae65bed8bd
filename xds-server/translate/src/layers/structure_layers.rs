//! Outbound and inbound layers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_mesh::{
    Capture, Changed, Hostname, Mesh, Problem, Role,
    view::{GatewayView, InboundKey, InboundView, OutboundKey, ServiceView, ViewKey},
};
use bowline_snapshot::Layer;

use super::{east_west_layers::EastWestLayers, grpc_layers::GrpcLayers};
use crate::{OutboundAssembly, ServiceParts, Translated, gateway, inbound, service};

/// The outbound and inbound layers of all kinds of proxy that are connected.
#[derive(Debug, Default)]
pub struct StructureLayers {
    sidecars: BTreeMap<OutboundKey, OutboundAssembly>,
    gateways: BTreeMap<OutboundKey, GatewayView>,
    east_west: EastWestLayers,
    grpc: GrpcLayers,
    inbound: BTreeSet<InboundKey>,
    service_problems: BTreeMap<Hostname, Vec<Problem>>,
    layer_problems: BTreeMap<ViewKey, Vec<Problem>>,
}

impl StructureLayers {
    /// Follows a change of the mesh, makes the layers that are wanted and not there yet, and forgets those that are not wanted.
    /// Returns the layers that may be different now.
    pub fn update(
        &mut self,
        mesh: &Mesh,
        changed: &Changed,
        wanted: &BTreeSet<ViewKey>,
    ) -> Vec<(ViewKey, Layer)> {
        self.forget(changed, wanted);
        let mut layers = Vec::new();
        self.follow_services(mesh, changed, &mut layers);
        layers.extend(self.east_west.follow_services(mesh, changed));
        layers.extend(self.grpc.follow_services(mesh, changed));
        for key in wanted {
            match key {
                ViewKey::Outbound(outbound) => match outbound.role {
                    Role::Sidecar(capture) => {
                        if !self.sidecars.contains_key(outbound) {
                            let layer = self.add_sidecar(mesh, outbound, capture);
                            layers.push((key.clone(), layer));
                        }
                    }
                    Role::Gateway(ref name) => {
                        let is_new = !self.gateways.contains_key(outbound);
                        if is_new || changed.gateways.contains(name) {
                            layers.extend(
                                self.follow_gateway(mesh, outbound)
                                    .map(|layer| (key.clone(), layer)),
                            );
                        }
                    }
                    Role::EastWest => layers.extend(
                        self.east_west
                            .add(mesh, outbound)
                            .map(|layer| (key.clone(), layer)),
                    ),
                    Role::Grpc => layers.extend(
                        self.grpc
                            .add(mesh, outbound)
                            .map(|layer| (key.clone(), layer)),
                    ),
                },
                ViewKey::Inbound(of_workload) => {
                    if !self.inbound.contains(of_workload) {
                        self.inbound.insert(of_workload.clone());
                        let Translated { value, problems } =
                            inbound(&InboundView::new(mesh, of_workload));
                        self.note(key.clone(), problems);
                        layers.push((key.clone(), value));
                    }
                }
                // Endpoints have a set of their own, secrets never share one.
                ViewKey::Endpoints(_) | ViewKey::Own(_) => {}
            }
        }
        layers
    }

    /// What could not be made as written.
    pub fn problems(&self) -> Vec<Problem> {
        let of_services = self.service_problems.values().flatten();
        let mut problems: Vec<_> = of_services
            .chain(self.layer_problems.values().flatten())
            .chain(self.grpc.problems())
            .cloned()
            .collect();
        problems.sort();
        problems.dedup();
        problems
    }

    fn forget(&mut self, changed: &Changed, wanted: &BTreeSet<ViewKey>) {
        if changed.everything {
            *self = Self::default();
            return;
        }
        self.retain(|key| wanted.contains(key));
    }

    /// Forgets layers that nobody uses.
    pub fn retain(&mut self, is_used: impl Fn(&ViewKey) -> bool) {
        self.sidecars
            .retain(|key, _| is_used(&ViewKey::Outbound(key.clone())));
        self.gateways
            .retain(|key, _| is_used(&ViewKey::Outbound(key.clone())));
        self.east_west
            .retain(|key| is_used(&ViewKey::Outbound(key.clone())));
        self.grpc
            .retain(|key| is_used(&ViewKey::Outbound(key.clone())));
        self.inbound
            .retain(|key| is_used(&ViewKey::Inbound(key.clone())));
        self.layer_problems.retain(|key, _| is_used(key));
        if self.sidecars.is_empty() {
            self.service_problems.clear();
        }
    }

    /// Brings the changed services into all sidecars' assemblies.
    fn follow_services(
        &mut self,
        mesh: &Mesh,
        changed: &Changed,
        layers: &mut Vec<(ViewKey, Layer)>,
    ) {
        if changed.services.is_empty() || self.sidecars.is_empty() {
            return;
        }
        for hostname in &changed.services {
            let mut seen = SeenAlike::default();
            for (key, assembly) in &mut self.sidecars {
                let Role::Sidecar(capture) = key.role else {
                    continue;
                };
                let view = ServiceView::new(mesh, key, hostname);
                assembly.set(hostname, view.map(|view| seen.parts(view, capture)));
            }
            note_service(&mut self.service_problems, hostname, seen.into_problems());
        }
        for (key, assembly) in &mut self.sidecars {
            let Translated { value, problems } = assembly.layer();
            let key = ViewKey::Outbound(key.clone());
            note_layer(&mut self.layer_problems, key.clone(), problems);
            layers.push((key, value));
        }
    }

    /// Builds the layer of a new kind of sidecar: from one of the same kind in another namespace if there is one, so that only the
    /// services that both see differently are looked at.
    fn add_sidecar(&mut self, mesh: &Mesh, key: &OutboundKey, capture: Capture) -> Layer {
        let is_like = |other: &OutboundKey| {
            other.role == key.role
                && other.families == key.families
                && other.host_lookup == key.host_lookup
        };
        // Whoever gets routes in another way sees the same services all the same.
        let is_closest = |other: &OutboundKey| other.route_delivery == key.route_delivery;
        let like = self
            .sidecars
            .iter()
            .filter(|(other, _)| is_like(other))
            .max_by_key(|(other, _)| is_closest(other));
        let (like, mut assembly) = match like {
            Some((like, assembly)) => (Some(like.clone()), assembly.for_key(mesh.settings(), key)),
            None => (None, OutboundAssembly::new(mesh.settings(), key)),
        };
        for service in mesh.services() {
            if like
                .as_ref()
                .is_some_and(|like| !ServiceView::may_differ(mesh, like, key, service))
            {
                continue;
            }
            let hostname = &service.hostname;
            let mut seen = SeenAlike::default();
            let view = ServiceView::new(mesh, key, hostname);
            assembly.set(hostname, view.map(|view| seen.parts(view, capture)));
            // Beside those that other kinds of sidecars have with it.
            let problems = seen.into_problems();
            if !problems.is_empty() {
                let of_service = self.service_problems.entry(hostname.clone());
                of_service.or_default().extend(problems);
            }
        }
        let Translated { value, problems } = assembly.layer();
        self.note(ViewKey::Outbound(key.clone()), problems);
        self.sidecars.insert(key.clone(), assembly);
        value
    }

    /// Builds a gateway's layer anew, unless it sees what it saw before.
    fn follow_gateway(&mut self, mesh: &Mesh, key: &OutboundKey) -> Option<Layer> {
        let view = GatewayView::new(mesh, key)?;
        if self.gateways.get(key) == Some(&view) {
            return None;
        }
        let Translated { value, problems } = gateway(&view);
        self.note(ViewKey::Outbound(key.clone()), problems);
        self.gateways.insert(key.clone(), view);
        Some(value)
    }

    fn note(&mut self, key: ViewKey, problems: Vec<Problem>) {
        note_layer(&mut self.layer_problems, key, problems);
    }
}

fn note_layer(all: &mut BTreeMap<ViewKey, Vec<Problem>>, key: ViewKey, problems: Vec<Problem>) {
    if problems.is_empty() {
        all.remove(&key);
    } else {
        all.insert(key, problems);
    }
}

fn note_service(
    all: &mut BTreeMap<Hostname, Vec<Problem>>,
    hostname: &Hostname,
    problems: Vec<Problem>,
) {
    if problems.is_empty() {
        all.remove(hostname);
    } else {
        all.insert(hostname.clone(), problems);
    }
}

/// One service's parts, built once for all callers that see it alike.
#[derive(Default)]
struct SeenAlike(Vec<(ServiceView, Capture, Translated<Arc<ServiceParts>>)>);

impl SeenAlike {
    fn parts(&mut self, view: ServiceView, capture: Capture) -> Arc<ServiceParts> {
        let known = self
            .0
            .iter()
            .find(|(seen, by, _)| *by == capture && *seen == view);
        if let Some((_, _, translated)) = known {
            return translated.value.clone();
        }
        let Translated { value, problems } = service(&view, capture);
        let value = Arc::new(value);
        self.0.push((
            view,
            capture,
            Translated {
                value: value.clone(),
                problems,
            },
        ));
        value
    }

    fn into_problems(self) -> Vec<Problem> {
        let mut problems: Vec<_> = self
            .0
            .into_iter()
            .flat_map(|(_, _, translated)| translated.problems)
            .collect();
        problems.sort();
        problems.dedup();
        problems
    }
}
