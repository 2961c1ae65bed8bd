//! Small snapshots for tests, written as `TYPE name content` or `TYPE name content alias alias`. `~name` is on demand, and `content!10` has
//! a time to live of 10 seconds. `beginning%s` is a recipe for all names that begin so.

use std::{sync::Arc, time::Duration};

use bowline_snapshot::{Body, Layer, Recipe, Resource, ResourceType, Snapshot, Version};
use bytes::Bytes;

/// One layer, for example `layer(&["CDS a 1", "EDS a 1"])`.
pub(crate) fn layer(resources: &[&str]) -> Arc<Layer> {
    let mut layer = Layer::default();
    for text in resources {
        let words: Vec<&str> = text.split(' ').collect();
        let [short_name, name, content, aliases @ ..] = &words[..] else {
            panic!("{text} is not `TYPE name content`");
        };
        if let Some(beginning) = name.strip_suffix("%s") {
            let (beginning, content) = (beginning.to_owned(), (*content).to_owned());
            let recipe = Recipe::new(move |name| {
                name.starts_with(&beginning)
                    .then(|| resource(name, &content))
            });
            layer.set_recipe(type_named(short_name), recipe);
            continue;
        }
        let (content, ttl) = match content.split_once('!') {
            Some((content, ttl)) => (content, Some(Duration::from_secs(ttl.parse().unwrap()))),
            None => (*content, None),
        };
        let on_demand = name.strip_prefix('~');
        let mut resource = resource(on_demand.unwrap_or(name), content);
        if let Some(ttl) = ttl {
            resource = resource.with_ttl(ttl);
        }
        if !aliases.is_empty() {
            resource = resource.with_aliases(aliases.iter().map(|alias| Arc::from(*alias)));
        }
        match on_demand {
            Some(_) => layer.upsert_on_demand(type_named(short_name), resource),
            None => layer.upsert(type_named(short_name), resource),
        };
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
