//! The outbound layer of gRPC clients, kept up with changes of single services.

use std::{collections::BTreeSet, sync::Arc};

use bowline_mesh::{Code, Hostname, MeshSettings, Problem, view::OutboundKey};
use bowline_snapshot::{Layer, Resource, ResourceType};
use imbl::{OrdMap, OrdSet};

use super::GrpcParts;
use crate::{Translated, problem::Report, service::Rank};

/// The outbound layer of gRPC clients with one key, put together from [`GrpcParts`].
///
/// Services share nothing here but names that clients dial, so a change costs the service and those that claim its names. A clone
/// shares everything.
#[derive(Debug, Clone)]
pub struct GrpcAssembly {
    settings: Arc<MeshSettings>,
    key: OutboundKey,
    services: OrdMap<Hostname, Arc<GrpcParts>>,
    /// Who wants a listener's name, the winner first: own names go before short ones, then the first hostname wins.
    claims: OrdMap<Arc<str>, OrdSet<(Rank, Hostname)>>,
    layer: Layer,
    conflicts: OrdMap<Arc<str>, Vec<Problem>>,
    touched: BTreeSet<Arc<str>>,
}

impl GrpcAssembly {
    /// An assembly without services.
    pub fn new(settings: &Arc<MeshSettings>, key: &OutboundKey) -> Self {
        Self {
            settings: settings.clone(),
            key: key.clone(),
            services: OrdMap::new(),
            claims: OrdMap::new(),
            layer: Layer::default(),
            conflicts: OrdMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// An assembly for another key with the same services, which whoever asked then [`set`](Self::set)s where the other key sees
    /// other parts. It begins anew where keys or settings differ in what all parts depend on.
    pub fn for_key(&self, settings: &Arc<MeshSettings>, key: &OutboundKey) -> Self {
        if *self.settings != **settings
            || self.key.role != key.role
            || self.key.families != key.families
        {
            return Self::new(settings, key);
        }
        Self {
            settings: settings.clone(),
            key: key.clone(),
            ..self.clone()
        }
    }

    /// The service's parts, or that it is gone. The same `Arc` again changes nothing.
    pub fn set(&mut self, hostname: &Hostname, parts: Option<Arc<GrpcParts>>) {
        let before = self.services.get(hostname).cloned();
        if let (Some(before), Some(parts)) = (&before, &parts)
            && Arc::ptr_eq(before, parts)
        {
            return;
        }
        if let Some(before) = &before {
            self.take_out(hostname, before, parts.as_deref());
        }
        let Some(parts) = parts else {
            self.services.remove(hostname);
            return;
        };
        for cluster in &parts.clusters {
            self.layer.upsert(ResourceType::CLUSTER, cluster.clone());
        }
        for routes in &parts.routes {
            self.layer.upsert(ResourceType::ROUTE, routes.clone());
        }
        for (rank, listener) in &parts.listeners {
            self.claims
                .entry(listener.name().clone())
                .or_default()
                .insert((*rank, hostname.clone()));
            self.touched.insert(listener.name().clone());
        }
        self.services.insert(hostname.clone(), parts);
    }

    /// Takes out what a service had, but for resources whose place is taken by newer ones: those that stay the same change nothing.
    fn take_out(&mut self, hostname: &Hostname, before: &GrpcParts, parts: Option<&GrpcParts>) {
        let stays = |resource: &Resource, of: fn(&GrpcParts) -> &[Resource]| {
            parts.is_some_and(|parts| of(parts).iter().any(|kept| kept.name() == resource.name()))
        };
        for cluster in &before.clusters {
            if !stays(cluster, |parts| &parts.clusters) {
                self.layer.remove(ResourceType::CLUSTER, cluster.name());
            }
        }
        for routes in &before.routes {
            if !stays(routes, |parts| &parts.routes) {
                self.layer.remove(ResourceType::ROUTE, routes.name());
            }
        }
        for (rank, listener) in &before.listeners {
            let name = listener.name();
            if let Some(claims) = self.claims.get_mut(name) {
                claims.remove(&(*rank, hostname.clone()));
                if claims.is_empty() {
                    self.claims.remove(name);
                }
            }
            self.touched.insert(name.clone());
        }
    }

    /// The layer with all changes in it, and where services claim the same name.
    pub fn layer(&mut self) -> Translated<Layer> {
        for name in std::mem::take(&mut self.touched) {
            self.update_listener(&name);
        }
        let problems = self.conflicts.values().flatten().cloned().collect();
        Translated::new(self.layer.clone(), problems)
    }

    /// Puts the winner's listener in its place, and says who has lost.
    fn update_listener(&mut self, name: &Arc<str>) {
        let mut claimants = self
            .claims
            .get(name)
            .into_iter()
            .flatten()
            .map(|(_, hostname)| hostname);
        let winner = claimants.next();
        let listener = winner
            .and_then(|winner| self.services.get(winner))
            .and_then(|parts| {
                let mut listeners = parts.listeners.iter().map(|(_, listener)| listener);
                listeners.find(|listener| listener.name() == name)
            });
        match listener {
            Some(listener) => self.layer.upsert(ResourceType::LISTENER, listener.clone()),
            None => self.layer.remove(ResourceType::LISTENER, name),
        };
        let losers: Vec<Problem> = claimants
            .filter(|loser| Some(*loser) != winner)
            .map(|loser| self.lost(name, loser, winner))
            .collect();
        if losers.is_empty() {
            self.conflicts.remove(name);
        } else {
            self.conflicts.insert(name.clone(), losers);
        }
    }

    fn lost(&self, name: &str, loser: &Hostname, winner: Option<&Hostname>) -> Problem {
        let winner = winner.map(Hostname::as_str).unwrap_or_default();
        Report {
            code: Code::Shadowed,
            object: self
                .services
                .get(loser)
                .and_then(|parts| parts.object.as_ref()),
            field: "",
            message: format!("to gRPC clients without a proxy the name {name} is that of {winner} and cannot be that of {loser} too"),
            meanwhile: "who dials it gets the first",
            hint: "dial it by its full hostname, or give one of the services another name",
        }
        .warning()
    }
}
