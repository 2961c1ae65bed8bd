//! What the server fills in.

use serde_json::{Value, json};

use crate::kubernetes::json::{at, field, fields, set, text};

/// A namespace's label and phase.
pub(super) fn namespace(value: &mut Value, name: &str) {
    let label = ["metadata", "labels", "kubernetes.io/metadata.name"];
    set(value, &label, name);
    default(value, "spec", json!({"finalizers": ["kubernetes"]}));
    default(value, "status", json!({"phase": "Active"}));
}

/// A service's addresses, families and the rest of its spec; `unique` chooses its address.
pub(super) fn service(value: &mut Value, unique: u64) {
    let spec = field(value, "spec");
    default(spec, "type", "ClusterIP".into());
    default(spec, "sessionAffinity", "None".into());
    default(spec, "internalTrafficPolicy", "Cluster".into());
    if text(spec, "/type") != "ExternalName" {
        // The last two bytes count up through the range that most clusters have: 10.96.0.0/16.
        let [.., third, fourth] = unique.to_be_bytes();
        let address = format!("10.96.{third}.{}", fourth.max(1));
        default(spec, "clusterIP", address.into());
        let addresses = json!([at(spec, "/clusterIP")]);
        default(spec, "clusterIPs", addresses);
        default(spec, "ipFamilies", json!(["IPv4"]));
        default(spec, "ipFamilyPolicy", "SingleStack".into());
    }
    let ports = field(spec, "ports").as_array_mut().into_iter().flatten();
    for port in ports.filter(|port| port.is_object()) {
        default(port, "protocol", "TCP".into());
        let same = at(port, "/port").clone();
        default(port, "targetPort", same);
    }
    set(value, &["status"], json!({"loadBalancer": {}}));
}

/// Writes a field that is not there.
fn default(value: &mut Value, name: &str, default: Value) {
    fields(value).entry(name).or_insert(default);
}
