//! Small snapshots for tests, written as `TYPE name content`.

use std::sync::Arc;

use bowline_snapshot::{Body, Layer, Resource, ResourceType, Snapshot, Version};
use bytes::Bytes;

/// One layer, for example `layer(&["CDS a 1", "EDS a 1"])`.
pub(crate) fn layer(resources: &[&str]) -> Arc<Layer> {
    let mut layer = Layer::default();
    for text in resources {
        let [short_name, name, content] = text.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{text} is not `TYPE name content`");
        };
        layer.upsert(type_named(short_name), resource(name, content));
    }
    Arc::new(layer)
}

/// A snapshot of one layer.
pub(crate) fn snapshot_of(generation: u64, resources: &[&str]) -> Snapshot {
    Snapshot::new(generation, [layer(resources)])
}

/// A resource whose body is its content as text.
pub(crate) fn resource(name: &str, content: &str) -> Resource {
    let body = Body::Whole(Bytes::copy_from_slice(content.as_bytes()));
    let origin = Arc::from(format!("test {name}"));
    Resource::new(name, body, Version::of([content.as_bytes()]), [origin])
}

/// `CDS` and so on.
pub(crate) fn type_named(short_name: &str) -> ResourceType {
    *ResourceType::ALL
        .iter()
        .find(|resource_type| resource_type.short_name() == short_name)
        .unwrap()
}
