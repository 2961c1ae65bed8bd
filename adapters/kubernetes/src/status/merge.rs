//! From what should be said and what the cluster has to what is written. What others have written stays.

use bowline_manifests::{
    Condition, GATEWAY_CONTROLLER, GatewayAddress, GatewayStatus, ListenerStatus, ManifestKind,
    ManifestName, ParentName, ParentStatus, Status,
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

/// Kubernetes' limit of addresses.
const ADDRESSES_MAX: usize = 16;

/// The part of an object that is read only to write its status.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Counts the changes of its spec.
    pub(crate) generation: i64,
    /// Which version of it that is.
    pub(crate) version: Box<str>,
    /// Its status as JSON; empty where it has none.
    status: Box<str>,
}

impl Seen {
    /// Reads it.
    pub(crate) fn read(json: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Object<'o> {
            metadata: Metadata,
            #[serde(borrow)]
            status: Option<&'o RawValue>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            #[serde(default)]
            generation: i64,
            resource_version: Box<str>,
        }
        let Object { metadata, status } = serde_json::from_str(json).ok()?;
        Some(Self {
            generation: metadata.generation,
            version: metadata.resource_version,
            status: status.map(RawValue::get).unwrap_or_default().into(),
        })
    }

    fn status(&self) -> Value {
        // What is no JSON is an empty status, which is what a new object has.
        serde_json::from_str(&self.status).unwrap_or_default()
    }
}

/// The status to write, as a merge patch of what is seen; `None` where nothing is to be written. `now` is when what changes does so.
pub(crate) fn merged(
    name: &ManifestName,
    status: &Status,
    seen: &Seen,
    now: &str,
) -> Option<Value> {
    let before = seen.status();
    let merging = Merging {
        generation: seen.generation,
        now,
    };
    let (field, after) = match status {
        Status::GatewayClass(conditions) => (
            json!({"conditions": merging.conditions(conditions, part(&before, "conditions"), Others::Stay)}),
            &["conditions"][..],
        ),
        Status::Gateway(gateway) => (
            merging.gateway(gateway, &before),
            &["conditions", "addresses", "listeners"][..],
        ),
        Status::Route(parents) => (
            json!({"parents": merging.parents(name, parents, part(&before, "parents"))}),
            &["parents"][..],
        ),
        Status::Ingress(addresses) => (
            json!({"loadBalancer": {"ingress": balanced(addresses)}}),
            &["loadBalancer"][..],
        ),
    };
    let differs = after
        .iter()
        .any(|name| !is_same(part(&field, name), part(&before, name)));
    differs.then_some(field)
}

/// An empty list is as good as none.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || (is_nothing(one) && is_nothing(other))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What becomes of conditions that are not in the new list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// They are somebody else's.
    Stay,
    /// They are our own of before.
    Go,
}

struct Merging<'m> {
    generation: i64,
    now: &'m str,
}

impl Merging<'_> {
    fn conditions(&self, conditions: &[Condition], before: &Value, others: Others) -> Value {
        let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
        let of_type = |kind: &str| {
            let mut before = before.iter();
            before.find(|condition| part(condition, "type") == kind)
        };
        let mut result: Vec<Value> = Vec::new();
        // In their places, so that a list that is the same is equal.
        for condition in before {
            let kind = part(condition, "type");
            match conditions.iter().find(|ours| *kind == ours.kind) {
                Some(ours) => result.push(self.condition(ours, Some(condition))),
                None if others == Others::Stay => result.push(condition.clone()),
                None => {}
            }
        }
        for condition in conditions {
            if of_type(condition.kind).is_none() {
                result.push(self.condition(condition, None));
            }
        }
        Value::Array(result)
    }

    fn condition(&self, condition: &Condition, before: Option<&Value>) -> Value {
        let status = if condition.holds { "True" } else { "False" };
        let since = before.filter(|before| part(before, "status") == status);
        let since = since.and_then(|before| part(before, "lastTransitionTime").as_str());
        json!({
            "type": condition.kind,
            "status": status,
            "reason": condition.reason,
            "message": condition.message,
            "observedGeneration": self.generation,
            "lastTransitionTime": since.unwrap_or(self.now),
        })
    }

    fn gateway(&self, gateway: &GatewayStatus, before: &Value) -> Value {
        let GatewayStatus {
            conditions,
            addresses,
            listeners,
        } = gateway;
        let addresses: Vec<Value> = addresses.iter().take(ADDRESSES_MAX).map(address).collect();
        let listeners: Vec<Value> = listeners
            .iter()
            .map(|listener| self.listener(listener, part(before, "listeners")))
            .collect();
        json!({
            "conditions": self.conditions(conditions, part(before, "conditions"), Others::Stay),
            "addresses": addresses,
            "listeners": listeners,
        })
    }

    fn listener(&self, listener: &ListenerStatus, before: &Value) -> Value {
        let ListenerStatus {
            name,
            supported_kinds,
            attached_routes,
            conditions,
        } = listener;
        let mut all = before.as_array().into_iter().flatten();
        let before = all.find(|before| *part(before, "name") == **name);
        let before = before.map_or(&Value::Null, |before| part(before, "conditions"));
        let kinds = supported_kinds.iter();
        let kinds: Vec<Value> = kinds
            .map(|kind| json!({"group": kind.group(), "kind": kind.as_str()}))
            .collect();
        json!({
            "name": &**name,
            "supportedKinds": kinds,
            "attachedRoutes": attached_routes,
            "conditions": self.conditions(conditions, before, Others::Go),
        })
    }

    /// Entries of other controllers stay where they are; ours are those of now.
    fn parents(&self, name: &ManifestName, parents: &[ParentStatus], before: &Value) -> Value {
        let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_ours = |entry: &Value| part(entry, "controllerName") == GATEWAY_CONTROLLER;
        let is_of = |entry: &Value, status: &ParentStatus| {
            is_ours(entry) && is_parent(part(entry, "parentRef"), &status.parent, name)
        };
        let mut result: Vec<Value> = Vec::new();
        for entry in before {
            match parents.iter().find(|status| is_of(entry, status)) {
                Some(status) => result.push(self.parent(status, Some(entry))),
                None if is_ours(entry) => {}
                None => result.push(entry.clone()),
            }
        }
        for status in parents {
            if !before.iter().any(|entry| is_of(entry, status)) {
                result.push(self.parent(status, None));
            }
        }
        Value::Array(result)
    }

    fn parent(&self, status: &ParentStatus, before: Option<&Value>) -> Value {
        let ParentStatus { parent, conditions } = status;
        let of_before = before.map_or(&Value::Null, |before| part(before, "conditions"));
        json!({
            // As it was written: an API server may have filled in what was left out.
            "parentRef": before.map_or_else(|| parent_ref(parent), |before| part(before, "parentRef").clone()),
            "controllerName": GATEWAY_CONTROLLER,
            "conditions": self.conditions(conditions, of_before, Others::Go),
        })
    }
}

fn parent_ref(parent: &ParentName) -> Value {
    let ParentName {
        group,
        kind,
        namespace,
        name,
        section,
        port,
    } = parent;
    let mut fields = Map::new();
    fields.insert("group".into(), json!(&**group));
    fields.insert("kind".into(), json!(&**kind));
    fields.insert("name".into(), json!(&**name));
    if let Some(namespace) = namespace {
        fields.insert("namespace".into(), json!(&**namespace));
    }
    if let Some(section) = section {
        fields.insert("sectionName".into(), json!(&**section));
    }
    if let Some(port) = port {
        fields.insert("port".into(), json!(port));
    }
    Value::Object(fields)
}

/// Whether a written reference is to a parent. What it leaves out is what the Gateway API says.
fn is_parent(reference: &Value, parent: &ParentName, route: &ManifestName) -> bool {
    let own = route.namespace.as_ref().map(|namespace| namespace.as_str());
    let text = |field: &str| part(reference, field).as_str();
    text("group").unwrap_or(ManifestKind::Gateway.group()) == &*parent.group
        && text("kind").unwrap_or(ManifestKind::Gateway.as_str()) == &*parent.kind
        && text("name") == Some(&*parent.name)
        && text("namespace").or(own) == parent.namespace.as_deref().or(own)
        && text("sectionName") == parent.section.as_deref()
        && part(reference, "port").as_u64() == parent.port.map(u64::from)
}

fn part<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn address(address: &GatewayAddress) -> Value {
    match address {
        GatewayAddress::Ip(value) => json!({"type": "IPAddress", "value": &**value}),
        GatewayAddress::Hostname(value) => json!({"type": "Hostname", "value": &**value}),
    }
}

fn balanced(addresses: &[GatewayAddress]) -> Vec<Value> {
    let entries = addresses.iter().map(|address| match address {
        GatewayAddress::Ip(value) => json!({"ip": &**value}),
        GatewayAddress::Hostname(value) => json!({"hostname": &**value}),
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: &str = "2026-01-01T00:00:00Z";
    const NOW: &str = "2026-02-02T00:00:00Z";

    fn route() -> ManifestName {
        ManifestName {
            kind: ManifestKind::HttpRoute,
            namespace: Some("shop".parse().unwrap()),
            name: "web".into(),
        }
    }

    fn seen(generation: i64, status: &Value) -> Seen {
        Seen::read(
            &json!({
                "metadata": {"name": "web", "resourceVersion": "7", "generation": generation},
                "status": status,
            })
            .to_string(),
        )
        .unwrap()
    }

    fn condition(kind: &'static str, holds: bool, reason: &'static str) -> Condition {
        Condition {
            kind,
            holds,
            reason,
            message: "m".to_owned(),
        }
    }

    fn parent(name: &str, holds: bool) -> ParentStatus {
        ParentStatus {
            parent: ParentName {
                group: ManifestKind::Gateway.group().into(),
                kind: "Gateway".into(),
                namespace: None,
                name: name.into(),
                section: None,
                port: None,
            },
            conditions: vec![condition("Accepted", holds, "R")],
        }
    }

    fn status(parents: &[ParentStatus]) -> Status {
        Status::Route(parents.to_vec())
    }

    #[test]
    fn what_is_there_already_is_not_written() {
        let wanted = status(&[parent("edge", true)]);
        let first = merged(&route(), &wanted, &seen(1, &Value::Null), THEN).unwrap();
        assert_eq!(merged(&route(), &wanted, &seen(1, &first), NOW), None);
        // An API server fills in what was left out.
        let mut filled = first.clone();
        filled["parents"][0]["parentRef"]["namespace"] = json!("shop");
        assert_eq!(merged(&route(), &wanted, &seen(1, &filled), NOW), None);
        assert_eq!(
            merged(&route(), &status(&[]), &seen(1, &Value::Null), NOW),
            None
        );
        let ingress = Status::Ingress(Vec::new());
        let empty = json!({"loadBalancer": {}});
        assert_eq!(merged(&route(), &ingress, &seen(1, &empty), NOW), None);
    }

    #[test]
    fn the_time_is_that_of_the_last_change_of_the_status() {
        let of = |status: &Value| status["parents"][0]["conditions"][0].clone();
        let holds = status(&[parent("edge", true)]);
        let first = merged(&route(), &holds, &seen(1, &Value::Null), THEN).unwrap();
        let again = merged(&route(), &holds, &seen(2, &first), NOW).unwrap();
        assert_eq!(of(&again)["observedGeneration"], 2);
        assert_eq!(of(&again)["lastTransitionTime"], THEN);
        let fails = status(&[parent("edge", false)]);
        let failing = merged(&route(), &fails, &seen(2, &again), NOW).unwrap();
        assert_eq!(of(&failing)["lastTransitionTime"], NOW);
    }

    #[test]
    fn what_others_have_written_stays() {
        let others = json!({
            "parentRef": {"name": "edge"},
            "controllerName": "example.com/controller",
            "conditions": [{"type": "Accepted", "status": "False", "lastTransitionTime": THEN}],
        });
        let gone = json!({"parentRef": {"name": "gone"}, "controllerName": GATEWAY_CONTROLLER, "conditions": []});
        let before = json!({"parents": [gone, others]});
        let wanted = status(&[parent("edge", true)]);
        let after = merged(&route(), &wanted, &seen(1, &before), NOW).unwrap();
        let parents = after["parents"].as_array().unwrap();
        assert_eq!(parents.len(), 2);
        assert_eq!(parents[0], others);
        assert_eq!(parents[1]["controllerName"], GATEWAY_CONTROLLER);

        let foreign = json!({"type": "Scored", "status": "True"});
        let pending = json!({"type": "Accepted", "status": "Unknown", "lastTransitionTime": THEN});
        let before = json!({"conditions": [pending, foreign]});
        let class = Status::GatewayClass(vec![condition("Accepted", true, "Accepted")]);
        let after = merged(&route(), &class, &seen(1, &before), NOW).unwrap();
        assert_eq!(after["conditions"][0]["lastTransitionTime"], NOW);
        assert_eq!(after["conditions"][1], foreign);
    }
}
