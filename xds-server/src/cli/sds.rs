//! The files by which an Envoy without an agent gets its certificate: secrets of SDS that name the files of `bowline ca issue`.
//!
//! Envoy reads certificates anew only if they come by SDS, and from files only if these are in a watched directory.

use std::path::Path;

use serde_json::{Value, json};

/// The secret with the proxy's own certificate.
pub(super) const CERTIFICATE_NAME: &str = "bowline-certificate";
/// Its file.
pub(super) const CERTIFICATE_FILE: &str = "certificate.sds.yaml";
/// The secret with the authorities that the proxy trusts.
pub(super) const BUNDLE_NAME: &str = "bowline-bundle";
/// Its file.
pub(super) const BUNDLE_FILE: &str = "bundle.sds.yaml";

/// The files with their content, for certificates in a directory as the proxy sees it.
pub(super) fn files(
    directory: &Path,
) -> Result<[(&'static str, String); 2], serde_saphyr::ser::Error> {
    let file = |name: &str| json!({"filename": format!("{}/{name}", directory.display())});
    let watched = json!({"path": directory.display().to_string()});
    let certificate = json!({
        "certificate_chain": file("cert.pem"),
        "private_key": file("key.pem"),
        "watched_directory": watched,
    });
    let bundle = json!({"trusted_ca": file("bundle.pem"), "watched_directory": watched});
    Ok([
        (
            BUNDLE_FILE,
            secret(BUNDLE_NAME, "validation_context", bundle)?,
        ),
        (
            CERTIFICATE_FILE,
            secret(CERTIFICATE_NAME, "tls_certificate", certificate)?,
        ),
    ])
}

fn secret(name: &str, kind: &str, content: Value) -> Result<String, serde_saphyr::ser::Error> {
    let secret = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        kind: content,
    });
    serde_saphyr::to_string(&json!({"resources": [secret]}))
}
