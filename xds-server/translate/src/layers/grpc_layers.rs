//! Outbound layers of gRPC clients without a proxy.

use std::{collections::BTreeMap, sync::Arc};

use bowline_mesh::{
    Changed, Hostname, Mesh, Problem,
    view::{OutboundKey, ServiceView, ViewKey},
};
use bowline_snapshot::Layer;

use crate::{GrpcAssembly, GrpcParts, Translated, grpc};

/// The outbound layers of all kinds of gRPC clients that are connected.
#[derive(Debug, Default)]
pub(super) struct GrpcLayers {
    assemblies: BTreeMap<OutboundKey, GrpcAssembly>,
    service_problems: BTreeMap<Hostname, Vec<Problem>>,
    layer_problems: BTreeMap<OutboundKey, Vec<Problem>>,
}

impl GrpcLayers {
    /// Brings the changed services into all assemblies. Returns the layers that may be different now.
    pub(super) fn follow_services(
        &mut self,
        mesh: &Mesh,
        changed: &Changed,
    ) -> Vec<(ViewKey, Layer)> {
        if changed.services.is_empty() || self.assemblies.is_empty() {
            return Vec::new();
        }
        for hostname in &changed.services {
            let mut seen = SeenAlike::default();
            for (key, assembly) in &mut self.assemblies {
                let view = ServiceView::new(mesh, key, hostname);
                assembly.set(hostname, view.map(|view| seen.parts(view)));
            }
            note(
                &mut self.service_problems,
                hostname.clone(),
                seen.into_problems(),
            );
        }
        let mut layers = Vec::new();
        for (key, assembly) in &mut self.assemblies {
            let Translated { value, problems } = assembly.layer();
            note(&mut self.layer_problems, key.clone(), problems);
            layers.push((ViewKey::Outbound(key.clone()), value));
        }
        layers
    }

    /// Builds the layer of a new kind of client: from one in another namespace if there is one, so that only the services that both
    /// see differently are looked at. `None` where it is there already.
    pub(super) fn add(&mut self, mesh: &Mesh, key: &OutboundKey) -> Option<Layer> {
        if self.assemblies.contains_key(key) {
            return None;
        }
        let mut assemblies = self.assemblies.iter();
        let like = assemblies.find(|(other, _)| other.families == key.families);
        let (like, mut assembly) = match like {
            Some((like, assembly)) => (Some(like.clone()), assembly.for_key(mesh.settings(), key)),
            None => (None, GrpcAssembly::new(mesh.settings(), key)),
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
            assembly.set(hostname, view.map(|view| seen.parts(view)));
            note(
                &mut self.service_problems,
                hostname.clone(),
                seen.into_problems(),
            );
        }
        let Translated { value, problems } = assembly.layer();
        note(&mut self.layer_problems, key.clone(), problems);
        self.assemblies.insert(key.clone(), assembly);
        Some(value)
    }

    /// Forgets layers that nobody uses.
    pub(super) fn retain(&mut self, is_used: impl Fn(&OutboundKey) -> bool) {
        self.assemblies.retain(|key, _| is_used(key));
        self.layer_problems.retain(|key, _| is_used(key));
        if self.assemblies.is_empty() {
            self.service_problems.clear();
        }
    }

    /// What could not be made as written.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let of_services = self.service_problems.values().flatten();
        of_services.chain(self.layer_problems.values().flatten())
    }
}

fn note<K: Ord>(all: &mut BTreeMap<K, Vec<Problem>>, key: K, problems: Vec<Problem>) {
    if problems.is_empty() {
        all.remove(&key);
    } else {
        all.insert(key, problems);
    }
}

/// One service's parts, built once for all callers that see it alike.
#[derive(Default)]
struct SeenAlike(Vec<(ServiceView, Arc<GrpcParts>, Vec<Problem>)>);

impl SeenAlike {
    fn parts(&mut self, view: ServiceView) -> Arc<GrpcParts> {
        if let Some((_, parts, _)) = self.0.iter().find(|(seen, _, _)| *seen == view) {
            return parts.clone();
        }
        let Translated { value, problems } = grpc(&view);
        let parts = Arc::new(value);
        self.0.push((view, parts.clone(), problems));
        parts
    }

    fn into_problems(self) -> Vec<Problem> {
        let mut problems: Vec<_> = self
            .0
            .into_iter()
            .flat_map(|(_, _, problems)| problems)
            .collect();
        problems.sort();
        problems.dedup();
        problems
    }
}
