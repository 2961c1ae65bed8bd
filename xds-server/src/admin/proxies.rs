//! Connected proxies, and where the objects are written that they may have been rejected for.

use std::collections::{BTreeMap, BTreeSet};

use bowline_ads::ProxyStatus;
use bowline_mesh::Mesh;
use serde::Serialize;

/// A proxy as the API lists it.
#[derive(Debug, Serialize)]
pub(super) struct ListedProxy {
    #[serde(flatten)]
    status: ProxyStatus,
    /// Where the objects behind its rejections are written.
    places: BTreeMap<String, String>,
}

pub(super) fn list(proxies: Vec<ProxyStatus>, mesh: &Mesh) -> Vec<ListedProxy> {
    let suspected: BTreeSet<&str> = proxies.iter().flat_map(suspected).collect();
    let mut places = BTreeMap::new();
    // A pass over all objects, so only where somebody has rejected something.
    if !suspected.is_empty() {
        for (key, source) in mesh.sources() {
            let key = key.to_string();
            if suspected.contains(key.as_str()) {
                places.insert(key, source.to_string());
            }
        }
    }
    proxies
        .into_iter()
        .map(|status| {
            let places = suspected_places(&status, &places);
            ListedProxy { status, places }
        })
        .collect()
}

fn suspected_places(
    status: &ProxyStatus,
    places: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    suspected(status)
        .filter_map(|origin| places.get_key_value(origin))
        .map(|(origin, place)| (origin.clone(), place.clone()))
        .collect()
}

/// The objects behind a proxy's rejections.
fn suspected(status: &ProxyStatus) -> impl Iterator<Item = &str> {
    status
        .types
        .values()
        .flat_map(|status| {
            let rejected = status.rejected.iter();
            let suspects = rejected.flat_map(|rejected| &rejected.suspects);
            suspects.chain(&status.quarantined)
        })
        .flat_map(|suspect| suspect.origins.iter())
        .map(|origin| &**origin)
}
