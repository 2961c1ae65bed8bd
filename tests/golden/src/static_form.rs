//! A proxy's configuration as one that needs no control plane, so that a real Envoy can be asked whether it accepts it.

use std::collections::BTreeMap;

use bowline_proto::print::to_json;
use bowline_snapshot::ResourceType;
use serde_json::{Value, json};

use crate::{Rendered, render::any};

/// A bootstrap with everything in it: assignments inside of their clusters, virtual hosts inside of their route configurations, and those
/// inside of their listeners.
pub fn static_form(rendered: &Rendered) -> Value {
    let mut by_type: BTreeMap<ResourceType, BTreeMap<String, Value>> = BTreeMap::new();
    for (resource_type, resource) in rendered.resources() {
        let mut value = to_json(&any(resource_type, resource));
        if let Some(fields) = value.as_object_mut() {
            fields.remove("@type");
        }
        by_type
            .entry(resource_type)
            .or_default()
            .insert(resource.name().to_string(), value);
    }
    let mut take = |resource_type| by_type.remove(&resource_type).unwrap_or_default();
    let assignments = take(ResourceType::ENDPOINT);
    let mut routes = take(ResourceType::ROUTE);
    for (name, host) in take(ResourceType::VIRTUAL_HOST) {
        let of = name.rsplit_once('/').and_then(|(of, _)| routes.get_mut(of));
        if let Some(Value::Object(fields)) = of {
            fields.remove("vhds");
            let hosts = fields.entry("virtual_hosts").or_insert_with(|| json!([]));
            hosts
                .as_array_mut()
                .into_iter()
                .for_each(|hosts| hosts.push(host.clone()));
        }
    }
    let clusters: Vec<Value> = take(ResourceType::CLUSTER)
        .into_iter()
        .map(|(name, cluster)| static_cluster(cluster, assignments.get(&name)))
        .collect();
    let listeners: Vec<Value> = take(ResourceType::LISTENER)
        .into_values()
        .map(|mut listener| {
            inline_routes(&mut listener, &routes);
            listener
        })
        .collect();
    json!({
        "node": {"id": "golden", "cluster": "golden"},
        "static_resources": {"clusters": clusters, "listeners": listeners},
    })
}

fn static_cluster(mut cluster: Value, assignment: Option<&Value>) -> Value {
    if let Some(fields) = cluster.as_object_mut()
        && fields.remove("eds_cluster_config").is_some()
    {
        fields.insert("type".to_owned(), json!("STATIC"));
        if let Some(assignment) = assignment {
            fields.insert("load_assignment".to_owned(), assignment.clone());
        }
    }
    cluster
}

fn inline_routes(value: &mut Value, routes: &BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            if let Some(rds) = fields.remove("rds") {
                let named = rds
                    .get("route_config_name")
                    .and_then(Value::as_str)
                    .and_then(|name| routes.get(name));
                fields.insert(
                    "route_config".to_owned(),
                    named.cloned().unwrap_or(Value::Null),
                );
            }
            fields
                .values_mut()
                .for_each(|value| inline_routes(value, routes));
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| inline_routes(value, routes)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
