//! The bootstrap of an application whose gRPC library speaks xDS itself: the file that `GRPC_XDS_BOOTSTRAP` names (gRFC A27, A36, A65).

use bowline_translate::name;
use serde_json::{Value, json};

use super::envoy::{Bootstrap, Tls};

/// How often a client looks whether its certificate files were renewed.
const REFRESH_INTERVAL: &str = "60s";

/// The bootstrap as gRPC reads it. The same values give the same text.
pub(super) fn bootstrap(of: &Bootstrap) -> Value {
    let credentials = match &of.tls {
        None => json!({"type": "insecure"}),
        Some(tls) => json!({"type": "tls", "config": certificates(tls)}),
    };
    let mut node = of.node();
    if let Some(node) = node.as_object_mut() {
        // grpc-js refuses a node without one.
        node.entry("locality").or_insert_with(|| json!({}));
    }
    let mut bootstrap = json!({
        "xds_servers": [{
            "server_uri": of.control_plane.to_string(),
            "channel_creds": [credentials],
            "server_features": ["xds_v3"],
        }],
        "node": node,
        "server_listener_resource_name_template": format!("{}%s", name::SERVER_LISTENER),
    });
    if let (Some(tls), Some(bootstrap)) = (&of.tls, bootstrap.as_object_mut()) {
        let provider = json!({"plugin_name": "file_watcher", "config": certificates(tls)});
        bootstrap.insert(
            "certificate_providers".to_owned(),
            json!({"default": provider}),
        );
    }
    bootstrap
}

fn certificates(tls: &Tls) -> Value {
    let file = |name: &str| format!("{}/{name}", tls.directory.display());
    json!({
        "ca_certificate_file": file("bundle.pem"),
        "certificate_file": file("cert.pem"),
        "private_key_file": file("key.pem"),
        "refresh_interval": REFRESH_INTERVAL,
    })
}
