//! How callers pick among instances in several datacenters.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_mesh::{Balancing, Object, RegionOrder, RegistrySettings, Spec};

use super::{InstanceName, place::default_region};
use crate::scope::Scope;

/// Regions of one service whose order is kept; what names more comes last.
const REGIONS_MAX: usize = 64;

/// How callers pick an instance: what is in their own region, then what the other datacenters have, in the order of the entry, in
/// which the scopes are. Where there is one datacenter only, all are alike.
///
/// The region of each datacenter is named also where nothing is in it, so that an instance that comes or goes is no change of the
/// service.
pub(crate) fn balancing<'a>(
    settings: &RegistrySettings,
    scopes: impl Iterator<Item = &'a Scope> + Clone,
    instances: impl Iterator<Item = &'a Object>,
) -> Balancing {
    let datacenters: BTreeSet<&Arc<str>> = scopes.clone().map(|scope| &scope.datacenter).collect();
    if datacenters.len() < 2 {
        return Balancing::Everywhere;
    }
    let mut found: BTreeMap<String, BTreeSet<&Arc<str>>> = BTreeMap::new();
    for object in instances {
        if let (Spec::Endpoints(group), Some(name)) =
            (object.spec(), InstanceName::parse(&object.key().name))
        {
            let regions = group.endpoints.iter().map(|it| &it.locality.region);
            found.entry(name.scope).or_default().extend(regions);
        }
    }
    let regions = scopes.flat_map(|scope| {
        let own = found.remove(&scope.to_string()).unwrap_or_default();
        std::iter::once(default_region(settings, scope))
            .chain(own)
            .cloned()
            .collect::<Vec<_>>()
    });
    Balancing::PreferRegion(RegionOrder::new(regions.take(REGIONS_MAX)))
}
