//! The OCI image layout: blobs by their digest, and an index that says where to begin
//! (<https://github.com/opencontainers/image-spec>).

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::files;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The program's version, which is the image's tag.
    pub version: String,
    /// The commit, with `-dirty` after it where there were changes.
    pub revision: String,
    /// The commit's time.
    pub created: String,
    /// As OCI names it: `amd64`, `arm64`.
    pub architecture: String,
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LABELS: &str = "org.opencontainers.image";

/// Writes an image with one layer.
///
/// # Errors
/// When files cannot be written.
pub fn write(folder: &Path, layer: &[u8], about: &About) -> Result<()> {
    fs::create_dir_all(folder.join("blobs/sha256"))
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let layer = blob(folder, LAYER, layer)?;
    let config = json!({
        "created": about.created,
        "architecture": about.architecture,
        "os": "linux",
        "config": {
            "User": format!("{0}:{0}", files::USER),
            "Env": [
                "PATH=/usr/local/bin",
                format!("SSL_CERT_FILE={}", files::roots_path()),
            ],
            "Entrypoint": [format!("/{}", files::PROGRAM)],
            "Cmd": ["serve", "--config", "/etc/bowline/bowline.yaml"],
            "WorkingDir": format!("/{}", files::STATE),
            "Labels": labels(about),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.get("digest")]},
        "history": [{"created": about.created, "created_by": "cargo xtask image"}],
    });
    let config = blob(folder, CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": labels(about),
    });
    let mut manifest = blob(folder, MANIFEST, manifest.to_string().as_bytes())?;
    if let Some(manifest) = manifest.as_object_mut() {
        let platform = json!({"architecture": about.architecture, "os": "linux"});
        manifest.insert("platform".to_owned(), platform);
        let name = json!({format!("{LABELS}.ref.name"): about.version});
        manifest.insert("annotations".to_owned(), name);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
    fs::write(folder.join("index.json"), index.to_string())?;
    fs::write(
        folder.join("oci-layout"),
        json!({"imageLayoutVersion": "1.0.0"}).to_string(),
    )?;
    Ok(())
}

/// Reads an image as an engine does, and looks whether everything that it refers to is there, is what it says, and would run as
/// somebody who is not root.
///
/// # Errors
/// With the first thing that is wrong.
pub fn check(folder: &Path) -> Result<()> {
    let read = |name: &str| -> Result<Value> {
        let bytes = fs::read(folder.join(name)).with_context(|| format!("cannot read {name}"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{name} is not JSON"))
    };
    ensure!(
        text(&read("oci-layout")?, "/imageLayoutVersion") == "1.0.0",
        "oci-layout is of another version"
    );
    let index = read("index.json")?;
    let entry = index.pointer("/manifests/0").context("no manifest")?;
    let manifest: Value = serde_json::from_slice(&content(folder, entry, MANIFEST)?)?;
    let config = manifest.pointer("/config").context("no configuration")?;
    let config: Value = serde_json::from_slice(&content(folder, config, CONFIG)?)?;
    ensure!(
        entry.pointer("/platform/architecture") == config.get("architecture"),
        "index and configuration are for different machines"
    );
    let layers = manifest.pointer("/layers").and_then(Value::as_array);
    let layers = layers.context("no layers")?;
    let unpacked = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
    ensure!(
        unpacked.map(Vec::len) == Some(layers.len()),
        "not as many layers as the configuration says"
    );
    for (layer, unpacked) in layers.iter().zip(unpacked.into_iter().flatten()) {
        content(folder, layer, LAYER)?;
        ensure!(
            layer.get("digest") == Some(unpacked),
            "a layer is not what the configuration says"
        );
    }
    let user = text(&config, "/config/User");
    ensure!(
        user.split(':')
            .all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)),
        "the program would run as {user:?}"
    );
    for label in ["title", "version", "revision", "licenses"] {
        let pointer = format!("/config/Labels/{LABELS}.{label}");
        ensure!(!text(&config, &pointer).is_empty(), "no label {label}");
    }
    Ok(())
}

fn labels(about: &About) -> Value {
    json!({
        format!("{LABELS}.title"): "bowline",
        format!("{LABELS}.description"): "An xDS control plane for Envoy fleets",
        format!("{LABELS}.version"): about.version,
        format!("{LABELS}.revision"): about.revision,
        format!("{LABELS}.created"): about.created,
        format!("{LABELS}.licenses"): "Apache-2.0",
    })
}

/// Writes a blob, and answers with what refers to it.
fn blob(folder: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = hex(bytes);
    let path = folder.join("blobs/sha256").join(&digest);
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(json!({
        "mediaType": media_type,
        "digest": format!("sha256:{digest}"),
        "size": bytes.len(),
    }))
}

/// The bytes that something refers to.
fn content(folder: &Path, reference: &Value, media_type: &str) -> Result<Vec<u8>> {
    let found = text(reference, "/mediaType");
    ensure!(found == media_type, "{found} instead of {media_type}");
    let Some(digest) = text(reference, "/digest").strip_prefix("sha256:") else {
        bail!("a reference has no digest");
    };
    let bytes = fs::read(folder.join("blobs/sha256").join(digest))
        .with_context(|| format!("blob {digest} is not there"))?;
    let size = reference.get("size").and_then(Value::as_u64);
    ensure!(
        size == Some(bytes.len() as u64) && hex(&bytes) == digest,
        "blob {digest} is something else"
    );
    Ok(bytes)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
