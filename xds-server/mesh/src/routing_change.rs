//! What of routing is different from an earlier version of the mesh, at the cost of the difference.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;

use crate::{Mesh, ObjectKey, SmallMap};

/// What is different, as far as it matters to whether routes act.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoutingChange {
    /// Gateways are others, so any route may be attached otherwise.
    pub gateways: bool,
    /// Routes are others.
    pub routes: bool,
    /// Routes that refer to a service that is another, new or gone.
    pub referring: BTreeSet<ObjectKey>,
}

impl Mesh {
    /// What is different from an earlier version. Endpoints do not count.
    pub fn routing_change(&self, before: &Self) -> RoutingChange {
        let mut referring = BTreeSet::new();
        for item in before.services.diff(&self.services) {
            let hostname = match item {
                DiffItem::Add(hostname, _) | DiffItem::Remove(hostname, _) => hostname,
                DiffItem::Update { new, .. } => new.0,
            };
            let of = self.index.routes_of_service.get(hostname);
            let to = self.index.routes_to_service.get(hostname);
            let routes = of.into_iter().chain(to).flat_map(SmallMap::keys);
            referring.extend(routes.cloned());
        }
        RoutingChange {
            gateways: !self.gateways.ptr_eq(&before.gateways),
            routes: !self.http_routes.ptr_eq(&before.http_routes)
                || !self.stream_routes.ptr_eq(&before.stream_routes),
            referring,
        }
    }
}
